/* How many pages of mapped files were lost: one number, written from a signal handler. */
#include <stdatomic.h>

#include "base/io.h"

static _Atomic uint64_t io_lost_pages; /* lock-free on every 64-bit target, so a handler may touch it */

void myr_io_map_lose(void)
{
    atomic_fetch_add(&io_lost_pages, 1);
}
uint64_t myr_io_map_losses(void)
{
    return atomic_load(&io_lost_pages);
}
