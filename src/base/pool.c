/*
 * Compute threads. Jobs lie by value in a ring of their own, so that handing one over allocates nothing; stopping runs
 * what was accepted. myr_parallel is the other shape of work: a known number of items, and the caller waits.
 */
#include "base/pool.h"

#include <stdatomic.h>
#include <string.h>

#include "base/mem.h"
#include "base/thread.h"

typedef struct pool_job {
    myr_job run;
    void *arg;
} pool_job;

struct myr_pool {
    myr_mutex lock; /* guards the ring and is_stopping */
    myr_cond changed;
    pool_job *jobs;
    size_t jobs_max;
    size_t first;
    size_t count;
    bool is_stopping;
    myr_thread *threads; /* the owner's: started in myr_pool_start, joined in myr_pool_stop */
    int thread_count;
};

/* Wait for a job; false when there will be none. */
static bool pool_next(myr_pool *pool, pool_job *out_job)
{
    myr_mutex_lock(&pool->lock);
    while (pool->count == 0 && !pool->is_stopping)
        myr_cond_wait(&pool->changed, &pool->lock);
    bool has_job = pool->count > 0;
    if (has_job) {
        *out_job = pool->jobs[pool->first];
        pool->first = (pool->first + 1) % pool->jobs_max;
        pool->count--;
    }
    myr_mutex_unlock(&pool->lock);
    return has_job;
}

static void *pool_thread(void *arg)
{
    myr_pool *pool = arg;
    pool_job job;
    while (pool_next(pool, &job))
        job.run(job.arg);
    return NULL;
}

/* A pool without threads, or NULL. */
static myr_pool *pool_new(int thread_count, size_t queue_max)
{
    myr_pool *pool = myr_calloc(1, sizeof *pool);
    if (pool == NULL) return NULL;
    pool->jobs = myr_calloc(queue_max, sizeof *pool->jobs);
    pool->threads = myr_calloc((size_t)thread_count, sizeof *pool->threads);
    if (pool->jobs == NULL || pool->threads == NULL) {
        myr_free(pool->jobs);
        myr_free(pool->threads);
        myr_free(pool);
        return NULL;
    }
    pool->jobs_max = queue_max;
    myr_mutex_init(&pool->lock);
    myr_cond_init(&pool->changed);
    return pool;
}

myr_rc myr_pool_start(const char *name, int thread_count, size_t queue_max, myr_pool **out, myr_err *err)
{
    MYR_ASSERT(thread_count > 0 && queue_max > 0);
    myr_pool *pool = pool_new(thread_count, queue_max);
    if (pool == NULL) {
        MYR_FAIL(err, NO_MEMORY, "out of memory for pool %s of %d threads and %zu jobs", name, thread_count, queue_max);
    }
    while (pool->thread_count < thread_count) {
        myr_rc rc = myr_thread_start(&pool->threads[pool->thread_count], name, pool_thread, pool, err);
        if (rc != MYR_OK) {
            myr_pool_stop(pool); /* joins those that run */
            return rc;
        }
        pool->thread_count++;
    }
    *out = pool;
    return MYR_OK;
}

myr_rc myr_pool_submit(myr_pool *pool, myr_job job, void *arg, myr_err *err)
{
    myr_mutex_lock(&pool->lock);
    MYR_ASSERT(!pool->is_stopping && pool->count <= pool->jobs_max);
    bool has_room = pool->count < pool->jobs_max;
    if (has_room) {
        pool->jobs[(pool->first + pool->count) % pool->jobs_max] = (pool_job){.run = job, .arg = arg};
        pool->count++;
        myr_cond_signal(&pool->changed);
    }
    myr_mutex_unlock(&pool->lock);
    if (!has_room) MYR_FAIL(err, BUSY, "the queue of compute jobs is full: %zu wait", pool->jobs_max);
    return MYR_OK;
}

void myr_pool_stop(myr_pool *pool)
{
    if (pool == NULL) return;
    myr_mutex_lock(&pool->lock);
    pool->is_stopping = true;
    myr_cond_broadcast(&pool->changed);
    myr_mutex_unlock(&pool->lock);
    for (int i = 0; i < pool->thread_count; i++)
        myr_thread_join(pool->threads[i]);
    MYR_ASSERT(pool->count == 0 || pool->thread_count == 0);
    myr_cond_fini(&pool->changed);
    myr_mutex_fini(&pool->lock);
    myr_free(pool->jobs);
    myr_free(pool->threads);
    myr_free(pool);
}

size_t myr_pool_waiting(myr_pool *pool)
{
    myr_mutex_lock(&pool->lock);
    size_t count = pool->count;
    myr_mutex_unlock(&pool->lock);
    return count;
}

/* ---- parallel ---- */

/* One run: shared by its threads, owned by the caller's stack. */
typedef struct parallel_run {
    myr_item_fn fn;
    void *ctx;
    size_t count;
    atomic_size_t next;
    atomic_bool is_stopped;
    myr_mutex lock; /* guards rc and err */
    myr_rc rc;      /* of the first failure */
    myr_err err;
} parallel_run;

typedef struct parallel_thread {
    parallel_run *run;
    int thread_idx;
    myr_thread thread;
} parallel_thread;

/* Keep the first failure, let the others be forgotten. */
static void parallel_fail(parallel_run *run, myr_rc rc, const myr_err *err)
{
    myr_mutex_lock(&run->lock);
    if (run->rc == MYR_OK) {
        run->rc = rc;
        run->err = *err;
    }
    myr_mutex_unlock(&run->lock);
    atomic_store(&run->is_stopped, true);
}

static void *parallel_body(void *arg)
{
    const parallel_thread *me = arg;
    parallel_run *run = me->run;
    while (!atomic_load_explicit(&run->is_stopped, memory_order_relaxed)) {
        size_t item_idx = atomic_fetch_add_explicit(&run->next, 1, memory_order_relaxed);
        if (item_idx >= run->count) break;
        myr_err err = {0};
        myr_rc rc = run->fn(run->ctx, item_idx, me->thread_idx, &err);
        if (rc != MYR_OK) parallel_fail(run, rc, &err);
    }
    return NULL;
}

myr_rc myr_parallel(int thread_count, size_t count, myr_item_fn fn, void *ctx, myr_err *err)
{
    MYR_ASSERT(thread_count > 0);
    if (thread_count > MYR_PARALLEL_THREADS_MAX) thread_count = MYR_PARALLEL_THREADS_MAX;
    if ((size_t)thread_count > count) thread_count = count > 0 ? (int)count : 1;
    parallel_run run = {.fn = fn, .ctx = ctx, .count = count};
    myr_mutex_init(&run.lock);
    parallel_thread threads[MYR_PARALLEL_THREADS_MAX];
    int started = 1; /* the caller */
    threads[0] = (parallel_thread){.run = &run, .thread_idx = 0};
    for (; started < thread_count; started++) {
        threads[started] = (parallel_thread){.run = &run, .thread_idx = started};
        myr_rc rc = myr_thread_start(&threads[started].thread, "parallel", parallel_body, &threads[started], NULL);
        if (rc != MYR_OK) break; /* fewer threads are slower, not wrong */
    }
    (void)parallel_body(&threads[0]);
    for (int i = 1; i < started; i++)
        myr_thread_join(threads[i].thread);
    myr_mutex_fini(&run.lock);
    if (run.rc == MYR_OK) return MYR_OK;
    if (err != NULL) {
        *err = run.err;
        if (err->rc == MYR_OK) return myr_err_set(err, run.rc, __FILE__, __LINE__, "%s", myr_rc_text(run.rc));
    }
    return run.rc;
}
