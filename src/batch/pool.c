/*
 * Workers that take mini-batches from a queue. Each slot is a thread of the coordinator that has at most one worker
 * process: it starts one when there is work, asks it, kills and replaces it when it fails, and lets it go when there
 * has been nothing to do for a while. Only slots talk to workers; only the coordinator's own thread knows the ledger.
 */
#include <stdlib.h>
#include <string.h>

#include "batch/internal.h"

#define POOL_ANSWER_MS (24LL * 3600 * 1000) /* of one step without a bound of its own */
#define POOL_START_MS  60000                /* to open a fleet and an engine */

extern char **environ;

typedef struct pool_slot {
    batch_pool *pool;
    myr_thread thread;
    int number;
    myr_worker *worker;
    bool has_plan, has_warmed;
} pool_slot;

struct batch_pool {
    batch_pool_opts opts;
    myr_cgroup cgroup;
    int64_t start_ns;
    atomic_llong first_row_ns; /* 0: none yet */
    pool_slot *slots;
    int slot_count;
    atomic_bool stop;
    atomic_bool has_begun; /* a worker has begun with a mini-batch */
    myr_mutex mutex;       /* guards what follows */
    myr_cond changed;
    const char *plan;
    batch_ask *queue, **queue_end;
    batch_ask *over, **over_end;
    int warm; /* slots below this number start a worker without work */
};

void myr_batch_ask_free(batch_ask *ask)
{
    if (ask == NULL) return;
    myr_buf_fini(&ask->request);
    myr_buf_fini(&ask->answer);
    myr_free(ask);
}

/* ---- a slot ---- */

static myr_rc slot_ask(pool_slot *slot, const char *request, int64_t timeout_ms, myr_err *err)
{
    MYR_AUTO(myr_buf) frame = {0};
    MYR_AUTO(myr_buf) answer = {0};
    int64_t unused = 0;
    myr_err said = {0};
    myr_buf_puts(&frame, request);
    MYR_TRY(myr_buf_check(&frame, err));
    MYR_TRY(myr_worker_ask(slot->worker, &frame, myr_clock_mono_ns() + timeout_ms * 1000000, &answer, err));
    if (myr_batch_wire_read(&answer, &unused, &said) != BATCH_SAID_ERROR) return MYR_OK;
    return myr_err_set(err, (myr_rc)said.rc, said.file, said.line, "%s", said.message);
}

static void slot_end(pool_slot *slot)
{
    if (slot->pool->opts.end_ms > 0)
        myr_worker_end(slot->worker, slot->pool->opts.end_ms);
    else
        myr_worker_stop(slot->worker);
    slot->worker = NULL;
    slot->has_plan = false;
}

static myr_rc slot_start(pool_slot *slot, myr_err *err)
{
    const char *const own[] = {"/proc/self/exe", MYR_BATCH_WORKER, slot->pool->opts.workspace, NULL};
    if (slot->worker != NULL) return MYR_OK;
    myr_worker_opts opts = {.argv = slot->pool->opts.argv != NULL ? slot->pool->opts.argv : own,
                            .env = (const char *const *)environ,
                            .dir = ".",
                            .memory_bytes_max = slot->pool->opts.memory_bytes,
                            .cpu_milli_max = slot->pool->opts.cpu_milli,
                            .cgroup = &slot->pool->cgroup,
                            .stop = &slot->pool->stop};
    MYR_TRY(myr_worker_start(&opts, &slot->worker, err));
    myr_rc rc = slot_ask(slot, slot->pool->opts.hello, POOL_START_MS, err);
    if (rc != MYR_OK) slot_end(slot);
    return rc;
}

static void slot_has_row(pool_slot *slot)
{
    long long none = 0;
    (void)atomic_compare_exchange_strong(&slot->pool->first_row_ns, &none, myr_clock_mono_ns());
}

/* Frames come while it works: rows so far. The last is its answer. */
static myr_rc slot_work(pool_slot *slot, batch_ask *ask, myr_err *err)
{
    int64_t begin_ns = myr_clock_mono_ns();
    int64_t end_ns = begin_ns + (ask->timeout_ms > 0 ? ask->timeout_ms : POOL_ANSWER_MS) * 1000000;
    const myr_buf *request = &ask->request;
    for (int64_t rows = 0;; request = NULL) {
        int64_t step_ms = ask->progress_timeout_ms > 0 ? ask->progress_timeout_ms : POOL_ANSWER_MS;
        int64_t until_ns = myr_clock_mono_ns() + step_ms * 1000000;
        MYR_TRY(myr_worker_ask(slot->worker, request, until_ns < end_ns ? until_ns : end_ns, &ask->answer, err));
        myr_err said = {0};
        switch (myr_batch_wire_read(&ask->answer, &rows, &said)) {
        case BATCH_SAID_ROWS:
            atomic_store(&ask->rows_now, rows);
            if (rows > 0) slot_has_row(slot);
            continue;
        case BATCH_SAID_ERROR:
            ask->is_code = myr_batch_wire_is_code(&ask->answer);
            return myr_err_set(err, (myr_rc)said.rc, said.file, said.line, "%s", said.message);
        case BATCH_SAID_DONE:
            slot_has_row(slot);
            return MYR_OK;
        }
    }
}

/* An error that a worker tells of leaves it alive; when the worker itself is the trouble, it is replaced. */
static myr_rc slot_try(pool_slot *slot, batch_ask *ask, const char *plan, myr_err *err)
{
    MYR_TRY(slot_start(slot, err));
    ask->worker = myr_worker_pid(slot->worker);
    if (!slot->has_plan) MYR_TRY(slot_ask(slot, plan, POOL_START_MS, err));
    slot->has_plan = true;
    if (ask->owner != NULL) atomic_store(&slot->pool->has_begun, true);
    return slot_work(slot, ask, err);
}

static void slot_run(pool_slot *slot, batch_ask *ask, const char *plan)
{
    int64_t begin_ns = myr_clock_mono_ns();
    ask->started_ms = myr_clock_unix_ms();
    ask->err = (myr_err){0};
    myr_rc rc = slot_try(slot, ask, plan, &ask->err);
    ask->duration_ms = (myr_clock_mono_ns() - begin_ns) / 1000000;
    MYR_ASSERT((rc == MYR_OK) == (ask->err.rc == MYR_OK));
    if (rc != MYR_OK && slot->worker != NULL &&
        (rc == MYR_TIMEOUT || ask->is_code || atomic_load(&slot->pool->stop) || !myr_worker_is_alive(slot->worker)))
        slot_end(slot);
}

/* The next ask, or NULL when the pool stops. Called and left with the mutex held. */
static batch_ask *slot_wait(pool_slot *slot)
{
    batch_pool *pool = slot->pool;
    for (;;) {
        if (atomic_load(&pool->stop)) return NULL;
        batch_ask *ask = pool->plan != NULL ? pool->queue : NULL;
        if (ask != NULL) {
            pool->queue = ask->next;
            if (pool->queue == NULL) pool->queue_end = &pool->queue;
            return ask;
        }
        if (slot->worker == NULL && slot->number < pool->warm && pool->plan == NULL && !slot->has_warmed) {
            slot->has_warmed = true;
            myr_mutex_unlock(&pool->mutex);
            MYR_IGNORE(slot_start(slot, NULL)); /* with the first ask it is tried again, and told then */
            myr_mutex_lock(&pool->mutex);
            continue; /* meanwhile something may have changed */
        }
        bool has_changed = myr_cond_wait_ms(&pool->changed, &pool->mutex, pool->opts.idle_ms);
        if (has_changed || slot->worker == NULL || slot->number < pool->opts.min) continue;
        myr_mutex_unlock(&pool->mutex);
        slot_end(slot);
        myr_mutex_lock(&pool->mutex);
    }
}

static void *slot_main(void *arg)
{
    pool_slot *slot = arg;
    batch_pool *pool = slot->pool;
    myr_mutex_lock(&pool->mutex);
    for (batch_ask *ask = slot_wait(slot); ask != NULL; ask = slot_wait(slot)) {
        const char *plan = pool->plan;
        myr_mutex_unlock(&pool->mutex);
        slot_run(slot, ask, plan);
        myr_mutex_lock(&pool->mutex);
        ask->next = NULL;
        *pool->over_end = ask;
        pool->over_end = &ask->next;
        myr_cond_broadcast(&pool->changed);
    }
    myr_mutex_unlock(&pool->mutex);
    slot_end(slot);
    return NULL;
}

/* ---- the pool ---- */

myr_rc myr_batch_pool_start(const batch_pool_opts *opts, batch_pool **out, myr_err *err)
{
    MYR_ASSERT(opts->max > 0 && opts->hello != NULL);
    batch_pool *pool = myr_calloc(1, sizeof *pool);
    pool_slot *slots = myr_calloc((size_t)opts->max, sizeof *slots);
    if (pool == NULL || slots == NULL) {
        myr_free(pool);
        myr_free(slots);
        MYR_FAIL(err, NO_MEMORY, "no memory for %d workers", opts->max);
    }
    pool->opts = *opts;
    pool->slots = slots;
    pool->queue_end = &pool->queue;
    pool->over_end = &pool->over;
    pool->warm = opts->min > 1 ? opts->min : 1;
    pool->start_ns = myr_clock_mono_ns();
    if (opts->memory_bytes > 0 || opts->cpu_milli > 0)
        myr_cgroup_find(MYR_CGROUP_ROOT, MYR_CGROUP_SELF, opts->cgroup != NULL ? opts->cgroup : "", &pool->cgroup);
    myr_mutex_init(&pool->mutex);
    myr_cond_init(&pool->changed);
    for (int i = 0; i < opts->max; i++) {
        slots[i] = (pool_slot){.pool = pool, .number = i};
        myr_rc rc = myr_thread_start(&slots[i].thread, "slot", slot_main, &slots[i], err);
        if (rc != MYR_OK) {
            myr_batch_pool_stop(pool);
            return rc;
        }
        pool->slot_count++;
    }
    *out = pool;
    return MYR_OK;
}

void myr_batch_pool_plan(batch_pool *pool, const char *plan)
{
    myr_mutex_lock(&pool->mutex);
    pool->plan = plan;
    myr_cond_broadcast(&pool->changed);
    myr_mutex_unlock(&pool->mutex);
}

bool myr_batch_pool_has_begun(batch_pool *pool)
{
    return atomic_load(&pool->has_begun);
}

int64_t myr_batch_pool_first_row_ms(batch_pool *pool)
{
    int64_t first_ns = atomic_load(&pool->first_row_ns);
    return first_ns != 0 ? (first_ns - pool->start_ns) / 1000000 : -1;
}

void myr_batch_pool_holds(const batch_pool *pool, myr_hold *out_memory, myr_hold *out_cpu)
{
    const myr_worker_opts opts = {
        .memory_bytes_max = pool->opts.memory_bytes, .cpu_milli_max = pool->opts.cpu_milli, .cgroup = &pool->cgroup};
    myr_worker_holds(&opts, out_memory, out_cpu);
}

void myr_batch_pool_warm(batch_pool *pool, int count)
{
    myr_mutex_lock(&pool->mutex);
    if (count > pool->warm) pool->warm = count;
    myr_cond_broadcast(&pool->changed);
    myr_mutex_unlock(&pool->mutex);
}

void myr_batch_pool_put(batch_pool *pool, batch_ask *ask)
{
    ask->next = NULL;
    myr_mutex_lock(&pool->mutex);
    *pool->queue_end = ask;
    pool->queue_end = &ask->next;
    myr_cond_broadcast(&pool->changed);
    myr_mutex_unlock(&pool->mutex);
}

batch_ask *myr_batch_pool_take(batch_pool *pool, int64_t wait_ms)
{
    int64_t until_ns = myr_clock_mono_ns() + wait_ms * 1000000;
    myr_mutex_lock(&pool->mutex);
    while (pool->over == NULL) {
        int64_t left_ms = (until_ns - myr_clock_mono_ns() + 999999) / 1000000;
        if (left_ms <= 0) break;
        MYR_IGNORE(!myr_cond_wait_ms(&pool->changed, &pool->mutex, left_ms)); /* the loop looks */
    }
    batch_ask *ask = pool->over;
    if (ask != NULL) pool->over = ask->next;
    if (pool->over == NULL) pool->over_end = &pool->over;
    myr_mutex_unlock(&pool->mutex);
    return ask;
}

static void pool_free_jobs(batch_ask *ask)
{
    while (ask != NULL) {
        batch_ask *next = ask->next;
        myr_batch_ask_free(ask);
        ask = next;
    }
}

void myr_batch_pool_dismiss(batch_pool *pool)
{
    if (pool == NULL) return;
    myr_mutex_lock(&pool->mutex);
    atomic_store(&pool->stop, true);
    myr_cond_broadcast(&pool->changed);
    myr_mutex_unlock(&pool->mutex);
}

void myr_batch_pool_stop(batch_pool *pool)
{
    if (pool == NULL) return;
    myr_batch_pool_dismiss(pool);
    for (int i = 0; i < pool->slot_count; i++)
        myr_thread_join(pool->slots[i].thread);
    pool_free_jobs(pool->queue);
    pool_free_jobs(pool->over);
    myr_cond_fini(&pool->changed);
    myr_mutex_fini(&pool->mutex);
    myr_free(pool->slots);
    myr_free(pool);
}
