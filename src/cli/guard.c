/*
 * SIGBUS on a mapped file: a page of zeros is put under the fault, so that the read ends, and base counts the loss
 * (myr_io_map_lost), so that whoever scored from a mapping refuses the result. Everything here is safe in a handler:
 * two system calls and one atomic.
 */
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/base.h"
#include "cli/guard.h"

static uintptr_t guard_page_bytes;

static void guard_on_bus(int number, siginfo_t *info, void *context)
{
    (void)context;
    uintptr_t page = (uintptr_t)info->si_addr & ~(guard_page_bytes - 1);
    if (info->si_code == BUS_ADRERR) {
        myr_io_map_lose(); /* first: no reader may see zeros while the count says that nothing was lost */
        void *zeros = mmap((void *)page, guard_page_bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
        if (zeros != MAP_FAILED) return;
    }
    (void)signal(number, SIG_DFL); /* not ours: the same access faults again and ends the process */
}

void myr_guard_install(void)
{
    guard_page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = guard_on_bus;
    action.sa_flags = SA_SIGINFO;
    (void)sigemptyset(&action.sa_mask);
    (void)sigaction(SIGBUS, &action, NULL);
}
