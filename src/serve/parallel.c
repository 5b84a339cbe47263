/*
 * Rows of a large request are scored on several threads, each a run of neighbours with a scratch of its own. A row's
 * bits don't depend on its neighbours, so the answers are those of one thread, in the same places. Only for callers
 * that may wait; who asks does the first part itself.
 */
#include "serve/internal.h"

#define PARALLEL_THREADS_MAX 64

typedef struct parallel_part {
    struct parallel_call *call;
    myr_score_rows rows;
    myr_score_out out;
    myr_rc rc;
    myr_err err, trouble;
} parallel_part;

typedef struct parallel_call {
    serve_helpers *helpers;
    const myr_scorer *scorer;
    myr_mutex lock;
    myr_cond over;
    uint32_t left; /* under lock: parts that other threads have not done */
} parallel_call;

/* One per thread of the pool, taken for the time of a part. */
typedef struct parallel_scratch {
    struct parallel_scratch *next;
    myr_score_scratch *scratch;
} parallel_scratch;

struct serve_helpers {
    myr_pool *pool;
    uint32_t thread_count;
    int64_t part_rows; /* fewer rows are not worth a thread */
    myr_mutex lock;
    parallel_scratch *idle; /* under lock */
    parallel_scratch scratches[PARALLEL_THREADS_MAX];
};

/* ---- helpers ---- */

myr_rc myr_serve_helpers_start(int64_t part_rows, serve_helpers **out, myr_err *err)
{
    int count = myr_cpu_count() > 2 ? myr_cpu_count() - 1 : 1;
    if (part_rows == 0) return MYR_OK;
    serve_helpers *helpers = myr_calloc(1, sizeof *helpers);
    if (helpers == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for threads that score");
    helpers->thread_count = count < PARALLEL_THREADS_MAX ? (uint32_t)count : PARALLEL_THREADS_MAX;
    helpers->part_rows = part_rows;
    myr_mutex_init(&helpers->lock);
    myr_rc rc = MYR_OK;
    for (uint32_t i = 0; rc == MYR_OK && i < helpers->thread_count; i++) {
        helpers->scratches[i].scratch = myr_score_scratch_new();
        helpers->scratches[i].next = helpers->idle;
        helpers->idle = &helpers->scratches[i];
        if (helpers->scratches[i].scratch == NULL)
            rc = MYR_ERROR(err, NO_MEMORY, "out of memory for threads that score");
    }
    size_t jobs_max = (size_t)helpers->thread_count * 4; /* what is more is done by who asks */
    if (rc == MYR_OK) rc = myr_pool_start("score", (int)helpers->thread_count, jobs_max, &helpers->pool, err);
    if (rc != MYR_OK) {
        myr_serve_helpers_stop(helpers);
        return rc;
    }
    *out = helpers;
    return MYR_OK;
}

void myr_serve_helpers_stop(serve_helpers *helpers)
{
    if (helpers == NULL) return;
    myr_pool_stop(helpers->pool);
    for (uint32_t i = 0; i < helpers->thread_count; i++)
        myr_score_scratch_free(helpers->scratches[i].scratch);
    myr_mutex_fini(&helpers->lock);
    myr_free(helpers);
}

/* There is one for each thread of the pool. */
static parallel_scratch *parallel_take(serve_helpers *helpers)
{
    myr_mutex_lock(&helpers->lock);
    parallel_scratch *scratch = helpers->idle;
    MYR_ASSERT(scratch != NULL);
    helpers->idle = scratch->next;
    myr_mutex_unlock(&helpers->lock);
    return scratch;
}

static void parallel_give(serve_helpers *helpers, parallel_scratch *scratch)
{
    myr_mutex_lock(&helpers->lock);
    scratch->next = helpers->idle;
    helpers->idle = scratch;
    myr_mutex_unlock(&helpers->lock);
}

/* ---- a part ---- */

static void parallel_score(parallel_part *part, myr_score_scratch *scratch)
{
    part->rc = myr_score(part->call->scorer, scratch, &part->rows, &part->out, &part->err);
    part->trouble = *myr_score_trouble(scratch);
}

static void parallel_run(void *arg)
{
    parallel_part *part = arg;
    parallel_call *call = part->call;
    parallel_scratch *scratch = parallel_take(call->helpers);
    parallel_score(part, scratch->scratch);
    parallel_give(call->helpers, scratch);
    myr_mutex_lock(&call->lock);
    if (--call->left == 0) myr_cond_signal(&call->over);
    myr_mutex_unlock(&call->lock);
}

/* The same column from a row on. */
static myr_col parallel_col(const myr_col *col, size_t first, int64_t stride)
{
    myr_col part = *col;
    if (part.valid != NULL) part.valid += first;
    if (col->type == MYR_COL_TEXT) {
        part.data.text += first;
    } else if (col->type == MYR_COL_INT64) {
        part.data.i64 += first;
    } else {
        part.data.f64 += (int64_t)first * stride;
    }
    return part;
}

static bool parallel_cut(const serve_work *work, const myr_score_out *out, size_t width, size_t first, size_t count,
                         parallel_part *part)
{
    const myr_pack_info *info = work->target.fleet->fleet->info;
    const myr_score_rows *rows = &work->rows;
    int64_t stride = rows->feature_stride != 0 ? rows->feature_stride : 1;
    myr_col *keys = myr_arena_alloc(work->arena, ((size_t)info->keys.column_count + 1) * sizeof *keys);
    myr_col *features = myr_arena_alloc(work->arena, ((size_t)info->feature_count + 1) * sizeof *features);
    double **values = myr_arena_alloc(work->arena, (width + 1) * sizeof *values);
    if (keys == NULL || features == NULL || values == NULL) return false;
    bool by_key = rows->fixed_model == MYR_PACK_NONE;
    for (uint32_t i = 0; by_key && i < info->keys.column_count; i++)
        keys[i] = parallel_col(&rows->keys[i], first, 1);
    for (uint32_t i = 0; i < info->feature_count; i++)
        features[i] = parallel_col(&rows->features[i], first, stride);
    for (size_t k = 0; k < width; k++)
        values[k] = out->values[k] + first;
    part->rows = *rows;
    part->rows.row_count = (int64_t)count;
    part->rows.keys = keys;
    part->rows.features = features;
    part->out = (myr_score_out){values, out->model_idxs + first, out->levels + first, out->statuses + first};
    return true;
}

/* ---- a call ---- */

static uint32_t parallel_parts(const serve_work *work)
{
    const serve_helpers *helpers = work->server->helpers;
    if (helpers == NULL || !work->may_block) return 1;
    int64_t parts = work->rows.row_count / helpers->part_rows;
    if (parts > (int64_t)helpers->thread_count + 1) parts = (int64_t)helpers->thread_count + 1;
    return parts > 1 ? (uint32_t)parts : 1;
}

static myr_rc parallel_wait(parallel_call *call, parallel_part *parts, uint32_t count, myr_err *trouble, myr_err *err)
{
    myr_mutex_lock(&call->lock);
    while (call->left > 0)
        myr_cond_wait(&call->over, &call->lock);
    myr_mutex_unlock(&call->lock);
    myr_cond_fini(&call->over);
    myr_mutex_fini(&call->lock);
    for (uint32_t i = count; i-- > 0;) { /* the first in the order of rows is told */
        if (parts[i].trouble.rc != MYR_OK) *trouble = parts[i].trouble;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (parts[i].rc == MYR_OK) continue;
        if (err != NULL) *err = parts[i].err;
        return parts[i].rc;
    }
    return MYR_OK;
}

myr_rc myr_serve_score(serve_work *work, const myr_score_out *out, size_t width, myr_err *trouble, myr_err *err)
{
    const myr_scorer *scorer = work->target.fleet->fleet->scorer;
    uint32_t count = parallel_parts(work);
    if (count == 1) {
        myr_rc rc = myr_score(scorer, work->thread->scratch, &work->rows, out, err);
        if (myr_score_trouble(work->thread->scratch)->rc != MYR_OK)
            *trouble = *myr_score_trouble(work->thread->scratch);
        return rc;
    }
    parallel_call call = {.helpers = work->server->helpers, .scorer = scorer, .left = count - 1};
    parallel_part *parts = myr_arena_calloc(work->arena, count, sizeof *parts);
    if (parts == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for %u parts of a request", count);
    size_t row_count = (size_t)work->rows.row_count, first = 0;
    for (uint32_t i = 0; i < count; i++) {
        size_t until = row_count * (i + 1) / count;
        parts[i].call = &call;
        if (!parallel_cut(work, out, width, first, until - first, &parts[i])) {
            MYR_FAIL(err, NO_MEMORY, "out of memory for %u parts of a request", count);
        }
        first = until;
    }
    myr_mutex_init(&call.lock);
    myr_cond_init(&call.over);
    for (uint32_t i = 1; i < count; i++) {
        if (myr_pool_submit(call.helpers->pool, parallel_run, &parts[i], NULL) == MYR_OK) continue;
        parallel_score(&parts[i], work->thread->scratch); /* all are busy */
        myr_mutex_lock(&call.lock);
        call.left--;
        myr_mutex_unlock(&call.lock);
    }
    parallel_score(&parts[0], work->thread->scratch);
    return parallel_wait(&call, parts, count, trouble, err);
}
