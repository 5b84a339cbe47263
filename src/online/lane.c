/*
 * Lanes. One lock guards the lists; nothing is done under it but moving pointers. A job ends once: whoever of thread
 * and watchdog swaps its state away from LANE_WAITS tells the taker.
 */
#include "online/lane.h"

#include <string.h>

struct online_lane {
    lane_opts opts;
    unsigned char *slots;
    size_t slot_bytes;
    myr_mutex lock; /* guards what follows */
    myr_cond has_work, watch_wake;
    lane_job *free_list;
    lane_job *first, *last; /* wait for a thread */
    size_t waiting;         /* so many */
    size_t taken;           /* by the one thread of a lane that gathers, none of them told yet */
    size_t together;        /* so many were there at once when the last batch ended */
    lane_job *out;          /* submitted, not ended */
    size_t in_use;
    bool is_stopping, is_watch_over, is_watch_asleep;
    myr_thread threads[LANE_THREADS_MAX];
    int started;
    myr_thread watchdog;
    bool has_watchdog;
};

static lane_job *lane_slot(const online_lane *lane, size_t idx)
{
    return (lane_job *)(void *)(lane->slots + idx * lane->slot_bytes);
}

/* ---- slots; under the lock ---- */

static void lane_unref(online_lane *lane, lane_job *job)
{
    MYR_ASSERT(job->refs > 0);
    if (--job->refs > 0) return;
    MYR_ASSERT(!job->is_out);
    job->next = lane->free_list;
    lane->free_list = job;
    lane->in_use--;
}

static void lane_put_out(online_lane *lane, lane_job *job)
{
    job->before = NULL;
    job->after = lane->out;
    if (lane->out != NULL) lane->out->before = job;
    lane->out = job;
    job->is_out = true;
}

static void lane_take_out(online_lane *lane, lane_job *job)
{
    if (!job->is_out) return;
    if (job->before != NULL) job->before->after = job->after;
    if (job->after != NULL) job->after->before = job->before;
    if (lane->out == job) lane->out = job->after;
    job->is_out = false;
}

/* ---- the taker's side ---- */

myr_rc myr_lane_take(online_lane *lane, lane_job **out, myr_err *err)
{
    myr_mutex_lock(&lane->lock);
    lane_job *job = lane->is_stopping ? NULL : lane->free_list;
    bool is_stopping = lane->is_stopping;
    if (job != NULL) {
        lane->free_list = job->next;
        lane->in_use++;
        job->refs = 1;
        job->err = (myr_err){0};
        job->skips = false;
        atomic_store(&job->state, LANE_FREE);
    }
    myr_mutex_unlock(&lane->lock);
    if (is_stopping) MYR_FAIL(err, UNAVAILABLE, "%s: the server is stopping", lane->opts.name);
    if (job == NULL) {
        MYR_FAIL(err, BUSY, "%s: %zu requests wait for it already: try again later", lane->opts.name,
                 lane->opts.job_max);
    }
    *out = job;
    return MYR_OK;
}

static void lane_enqueue(lane_job *job, int64_t deadline_ns, myr_online_done done, void *ctx, bool gives)
{
    online_lane *lane = job->owner;
    job->deadline_ns = deadline_ns;
    job->done = done;
    job->ctx = ctx;
    job->next = NULL;
    atomic_store(&job->state, LANE_WAITS);
    myr_mutex_lock(&lane->lock);
    if (!gives) job->refs++;
    bool was_empty = lane->first == NULL;
    if (was_empty) {
        lane->first = job;
    } else {
        lane->last->next = job;
    }
    lane->last = job;
    lane_put_out(lane, job);
    lane->waiting++;
    if (was_empty || lane->waiting == lane->together) myr_cond_signal(&lane->has_work);
    if (lane->is_watch_asleep) myr_cond_signal(&lane->watch_wake);
    myr_mutex_unlock(&lane->lock);
}

void myr_lane_submit(lane_job *job, int64_t deadline_ns, myr_online_done done, void *ctx)
{
    lane_enqueue(job, deadline_ns, done, ctx, false);
}

void myr_lane_submit_and_give(lane_job *job, int64_t deadline_ns)
{
    lane_enqueue(job, deadline_ns, NULL, NULL, true);
}

void myr_lane_give(lane_job *job)
{
    if (job == NULL) return;
    online_lane *lane = job->owner;
    myr_mutex_lock(&lane->lock);
    lane_unref(lane, job);
    myr_mutex_unlock(&lane->lock);
}

size_t myr_lane_in_use(online_lane *lane)
{
    myr_mutex_lock(&lane->lock);
    size_t count = lane->in_use;
    myr_mutex_unlock(&lane->lock);
    return count;
}

/* ---- the threads ---- */

/*
 * Those who are answered together ask again together, one after the other: the first of them would have the thread to
 * itself. So it waits for the others, but never long, and not at all for one who comes alone. (PostgreSQL's
 * commit_delay; how many to wait for is what was there when the batch before ended.) Under the lock.
 */
static void lane_gather(online_lane *lane)
{
    if (lane->waiting == 0 || lane->waiting >= lane->together || lane->is_stopping) return;
    MYR_IGNORE(
        myr_cond_wait_us(&lane->has_work, &lane->lock, lane->opts.gather_us)); /* all are there, or the time is over */
}

/* Before the first of a batch is told, who may come again at once. Under the lock. */
static void lane_count_together(online_lane *lane)
{
    if (lane->taken == 0) return;
    lane->together = lane->taken + lane->waiting < LANE_BATCH_MAX ? lane->taken + lane->waiting : LANE_BATCH_MAX;
    lane->taken = 0;
}

/* Wait for jobs and take what is there; 0: the lane stops and nothing is left. *out_idle: it was quiet for a while. */
static size_t lane_collect(online_lane *lane, lane_job **jobs, bool *out_idle)
{
    size_t count = 0;
    *out_idle = false;
    myr_mutex_lock(&lane->lock);
    while (lane->first == NULL && !lane->is_stopping && !*out_idle) {
        if (lane->opts.idle == NULL) {
            myr_cond_wait(&lane->has_work, &lane->lock);
        } else {
            *out_idle = !myr_cond_wait_ms(&lane->has_work, &lane->lock, lane->opts.idle_ms) && lane->first == NULL;
        }
    }
    lane_gather(lane);
    while (lane->first != NULL && count < LANE_BATCH_MAX) {
        lane_job *job = lane->first;
        lane->first = job->next;
        lane->waiting--;
        job->skips = atomic_load(&job->state) != LANE_WAITS;
        jobs[count++] = job;
    }
    if (lane->opts.gather_us > 0) lane->taken = count;
    if (lane->first != NULL) myr_cond_signal(&lane->has_work); /* more than one takes: for the next thread */
    myr_mutex_unlock(&lane->lock);
    return count;
}

/* What the threads hold is let go first, so that a taker who is told finds a free slot. */
static void lane_end(online_lane *lane, lane_job **jobs, size_t count)
{
    struct {
        myr_online_done done;
        void *ctx;
    } told[LANE_BATCH_MAX];
    size_t told_count = 0;
    myr_mutex_lock(&lane->lock);
    lane_count_together(lane);
    for (size_t i = 0; i < count; i++) {
        int waits = LANE_WAITS;
        bool is_mine = atomic_compare_exchange_strong(&jobs[i]->state, &waits, LANE_DONE);
        if (is_mine && jobs[i]->done != NULL) {
            told[told_count].done = jobs[i]->done;
            told[told_count++].ctx = jobs[i]->ctx;
        }
        lane_take_out(lane, jobs[i]);
        lane_unref(lane, jobs[i]);
    }
    myr_mutex_unlock(&lane->lock);
    for (size_t i = 0; i < told_count; i++)
        told[i].done(told[i].ctx);
}

bool myr_lane_tell(lane_job *job)
{
    int waits = LANE_WAITS;
    if (!atomic_compare_exchange_strong(&job->state, &waits, LANE_DONE)) return false;
    myr_mutex_lock(&job->owner->lock);
    lane_count_together(job->owner);
    lane_take_out(job->owner, job);
    myr_mutex_unlock(&job->owner->lock);
    if (job->done != NULL) job->done(job->ctx);
    return true;
}

typedef struct lane_start {
    online_lane *lane;
    void *state;
} lane_start;

static void *lane_body(void *arg)
{
    lane_start start = *(lane_start *)arg;
    online_lane *lane = start.lane;
    lane_job *jobs[LANE_BATCH_MAX];
    myr_free(arg);
    if (lane->opts.warm != NULL) lane->opts.warm(start.state);
    for (;;) {
        bool is_idle;
        size_t count = lane_collect(lane, jobs, &is_idle);
        if (count == 0 && !is_idle) break;
        if (is_idle) {
            lane->opts.idle(start.state);
            continue;
        }
        lane->opts.work(start.state, jobs, count);
        lane_end(lane, jobs, count);
    }
    lane->opts.close(start.state);
    return NULL;
}

/* ---- the watchdog ---- */

/* Under the lock: the jobs whose time is over, at most `max`. */
static size_t lane_find_late(online_lane *lane, lane_job **out, size_t max)
{
    int64_t now_ns = myr_clock_mono_ns();
    size_t count = 0;
    lane_job *next;
    for (lane_job *job = lane->out; job != NULL && count < max; job = next) {
        next = job->after;
        int waits = LANE_WAITS;
        if (job->deadline_ns > now_ns) continue;
        if (!atomic_compare_exchange_strong(&job->state, &waits, LANE_LATE)) continue;
        lane_take_out(lane, job);
        job->refs++; /* until told: the thread may let go meanwhile */
        out[count++] = job;
    }
    return count;
}

static void *lane_watch(void *arg)
{
    online_lane *lane = arg;
    lane_job *late[LANE_BATCH_MAX];
    int idle_looks = 0;
    myr_mutex_lock(&lane->lock);
    while (!lane->is_watch_over) {
        idle_looks = lane->out == NULL ? idle_looks + 1 : 0;
        if (idle_looks > LANE_WATCH_IDLE) { /* not at once: waking it for each job would cost more than its looks */
            lane->is_watch_asleep = true;
            myr_cond_wait(&lane->watch_wake, &lane->lock);
            lane->is_watch_asleep = false;
            idle_looks = 0;
            continue;
        }
        MYR_IGNORE(myr_cond_wait_ms(&lane->watch_wake, &lane->lock, LANE_WATCH_MS));
        size_t count = lane_find_late(lane, late, LANE_BATCH_MAX);
        myr_mutex_unlock(&lane->lock);
        for (size_t i = 0; i < count; i++) {
            if (late[i]->done != NULL) late[i]->done(late[i]->ctx);
        }
        myr_mutex_lock(&lane->lock);
        for (size_t i = 0; i < count; i++)
            lane_unref(lane, late[i]);
    }
    myr_mutex_unlock(&lane->lock);
    return NULL;
}

/* ---- start and stop ---- */

static void lane_free(online_lane *lane)
{
    for (size_t i = 0; lane->slots != NULL && lane->opts.fini_job != NULL && i < lane->opts.job_max; i++)
        lane->opts.fini_job(lane_slot(lane, i));
    myr_cond_fini(&lane->has_work);
    myr_cond_fini(&lane->watch_wake);
    myr_mutex_fini(&lane->lock);
    myr_free(lane->slots);
    myr_free(lane);
}

static myr_rc lane_start_thread(online_lane *lane, myr_err *err)
{
    lane_start *start = myr_calloc(1, sizeof *start);
    if (start == NULL) MYR_FAIL(err, NO_MEMORY, "%s: no memory for a thread", lane->opts.name);
    start->lane = lane;
    start->state = lane->opts.open(lane->opts.ctx);
    myr_rc rc = MYR_OK;
    if (start->state == NULL) rc = MYR_ERROR(err, NO_MEMORY, "%s: no memory for a connection", lane->opts.name);
    if (rc == MYR_OK) rc = myr_thread_start(&lane->threads[lane->started], "lane", lane_body, start, err);
    if (rc == MYR_OK) {
        lane->started++;
        return MYR_OK;
    }
    if (start->state != NULL) lane->opts.close(start->state);
    myr_free(start);
    return rc;
}

myr_rc myr_lane_start(const lane_opts *opts, online_lane **out, myr_err *err)
{
    MYR_ASSERT(opts->gather_us == 0 || opts->thread_count == 1);
    MYR_ASSERT(opts->thread_count >= 1 && opts->thread_count <= LANE_THREADS_MAX && opts->job_max > 0);
    online_lane *lane = myr_calloc(1, sizeof *lane);
    if (lane == NULL) MYR_FAIL(err, NO_MEMORY, "%s: no memory", opts->name);
    lane->opts = *opts;
    lane->slot_bytes = (opts->job_bytes + 63) / 64 * 64;
    myr_mutex_init(&lane->lock);
    myr_cond_init(&lane->has_work);
    myr_cond_init(&lane->watch_wake);
    lane->slots = myr_calloc(opts->job_max, lane->slot_bytes);
    if (lane->slots == NULL) {
        lane_free(lane);
        MYR_FAIL(err, NO_MEMORY, "%s: no memory for %zu jobs", opts->name, opts->job_max);
    }
    for (size_t i = opts->job_max; i-- > 0;) {
        lane_slot(lane, i)->owner = lane;
        lane_slot(lane, i)->next = lane->free_list;
        lane->free_list = lane_slot(lane, i);
    }
    myr_rc rc = myr_thread_start(&lane->watchdog, "lane watch", lane_watch, lane, err);
    lane->has_watchdog = rc == MYR_OK;
    for (int i = 0; rc == MYR_OK && i < opts->thread_count; i++)
        rc = lane_start_thread(lane, err);
    if (rc != MYR_OK) {
        myr_lane_stop(lane);
        return rc;
    }
    *out = lane;
    return MYR_OK;
}

void myr_lane_stop(online_lane *lane)
{
    if (lane == NULL) return;
    myr_mutex_lock(&lane->lock);
    lane->is_stopping = true;
    myr_cond_broadcast(&lane->has_work);
    myr_mutex_unlock(&lane->lock);
    for (int i = 0; i < lane->started; i++)
        myr_thread_join(lane->threads[i]);
    myr_mutex_lock(&lane->lock);
    lane->is_watch_over = true;
    myr_cond_broadcast(&lane->watch_wake);
    myr_mutex_unlock(&lane->lock);
    if (lane->has_watchdog) myr_thread_join(lane->watchdog);
    lane_free(lane);
}
