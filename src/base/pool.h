/* Compute threads behind one bounded queue. Thread: submit from any; a job runs on one of the pool's threads. */
#ifndef MYR_BASE_POOL_H
#define MYR_BASE_POOL_H

#include <stddef.h>

#include "base/err.h"

typedef struct myr_pool myr_pool;
typedef void (*myr_job)(void *arg);

myr_rc myr_pool_start(const char *name, int thread_count, size_t queue_max, myr_pool **out, myr_err *err);
myr_rc myr_pool_submit(myr_pool *pool, myr_job job, void *arg, myr_err *err); /* BUSY when the queue is full */
void myr_pool_stop(myr_pool *pool); /* runs what is queued, joins, frees; NULL accepted */
size_t myr_pool_waiting(myr_pool *pool);

#define MYR_PARALLEL_THREADS_MAX 256 /* more are not started */

/*
 * Run fn(ctx, i) for i in [0, count) on up to thread_count threads (the caller's is one of them), each i once.
 * The first failure stops the handing out of further items and is returned.
 */
typedef myr_rc (*myr_item_fn)(void *ctx, size_t item_idx, int thread_idx, myr_err *err);
myr_rc myr_parallel(int thread_count, size_t count, myr_item_fn fn, void *ctx, myr_err *err);

#endif
