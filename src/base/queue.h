/* A bounded queue of pointers between threads: a full one refuses, it never grows. Thread: any number on both ends. */
#ifndef MYR_BASE_QUEUE_H
#define MYR_BASE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

typedef struct myr_queue myr_queue;

myr_queue *myr_queue_new(size_t items_max);                        /* NULL: no memory */
void myr_queue_free(myr_queue *queue);                             /* must be empty of owners; NULL accepted */
myr_rc myr_queue_push(myr_queue *queue, void *item, myr_err *err); /* BUSY when full, CANCELLED when closed */
bool myr_queue_pop(myr_queue *queue, void **out_item);             /* waits; false when closed and empty */
void myr_queue_close(myr_queue *queue);                            /* no push from now; pops drain what is there */
size_t myr_queue_count(myr_queue *queue);

#endif
