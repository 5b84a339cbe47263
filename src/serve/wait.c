/*
 * Work that waits for the answers of other threads: of stores, mostly. On a loop the request sleeps without a thread,
 * if its protocol can do that; on a compute thread the thread waits. What was started is always waited for: those
 * threads hold the work's memory.
 *
 * `pending` counts what was started and one more for the thread that starts; who takes away the last wakes the request.
 */
#include "serve/internal.h"

bool myr_serve_wait_can(const serve_work *work)
{
    return work->may_block || work->sleep.park != NULL;
}

myr_rc myr_serve_wait_begin(serve_work *work, myr_err *err)
{
    MYR_ASSERT(myr_serve_wait_can(work) && atomic_load(&work->sleep.pending) == 0);
    if (!work->may_block && !work->sleep.park(work->sleep.ctx)) {
        MYR_FAIL(err, BUSY, "too many requests wait already: try again in a second");
    }
    atomic_store(&work->sleep.pending, 1);
    return MYR_OK;
}

void myr_serve_wait_more(serve_work *work)
{
    atomic_fetch_add(&work->sleep.pending, 1);
}

static void wait_less(serve_work *work)
{
    serve_thread *thread = work->thread;
    void (*wake)(void *ctx) = work->sleep.wake; /* read before: after the last one the work is another thread's */
    void *ctx = work->sleep.ctx;
    if (!work->may_block) {
        if (atomic_fetch_sub(&work->sleep.pending, 1) == 1) wake(ctx);
        return;
    }
    myr_mutex_lock(&thread->wait_lock);
    if (atomic_fetch_sub(&work->sleep.pending, 1) == 1) myr_cond_signal(&thread->wait_over);
    myr_mutex_unlock(&thread->wait_lock);
}

void myr_serve_wait_done(void *ctx)
{
    wait_less(ctx);
}

void myr_serve_wait_end(serve_work *work)
{
    serve_thread *thread = work->thread;
    if (!work->may_block) {
        work->waits = true; /* before the last: then the work is again this loop's, but later */
        wait_less(work);
        return;
    }
    myr_mutex_lock(&thread->wait_lock);
    atomic_fetch_sub(&work->sleep.pending, 1);
    while (atomic_load(&work->sleep.pending) > 0)
        myr_cond_wait(&thread->wait_over, &thread->wait_lock);
    myr_mutex_unlock(&thread->wait_lock);
}
