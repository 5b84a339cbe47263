/*
 * The prediction store: requests hand over what is to be stored, or ask what is there. One thread stores
 * (predictions_write.c), another looks, so that a question does not wait for a sync.
 */
#include "online/predictions.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include <yyjson.h>

#define WRITER_GATHER_US     300 /* a commit takes about as long */
#define READER_IDLE_MS       50
#define READER_UNSETTLED_MAX 2000 /* rows in the log; then it is brought into the file while nobody asks */

/* ---- jobs ---- */

bool myr_prediction_keep(prediction_job *job, myr_str text, myr_str *out)
{
    if (text.data == NULL) {
        *out = (myr_str){0};
        return true;
    }
    const char *copy = myr_arena_strndup(job->arena, text.data, text.size);
    if (copy != NULL) *out = myr_str_make(copy, text.size);
    return copy != NULL;
}

myr_rc myr_prediction_values(prediction_job *job, double value, myr_str outputs, myr_err *err)
{
    size_t count = 1, idx, max;
    yyjson_val *item, *list = NULL;
    yyjson_alc alc;
    myr_arena_yyjson(job->arena, &alc);
    if (outputs.data != NULL) {
        yyjson_doc *doc =
            yyjson_read_opts((char *)(uintptr_t)outputs.data, outputs.size, YYJSON_READ_NOFLAG, &alc, NULL);
        list = doc != NULL ? yyjson_doc_get_root(doc) : NULL;
        count = yyjson_arr_size(list);
        if (count == 0 || count > MYR_OUTPUTS_MAX) MYR_FAIL(err, BAD_FORMAT, "a stored prediction is damaged");
    }
    double *values = myr_arena_calloc(job->arena, count, sizeof *values);
    if (values == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a stored prediction");
    values[0] = value;
    yyjson_arr_foreach(list, idx, max, item)
    {
        values[idx] = yyjson_is_num(item) ? yyjson_get_num(item) : NAN;
    }
    job->latest.values = values;
    job->latest.value_count = (uint32_t)count;
    return MYR_OK;
}

myr_rc myr_prediction_take(myr_predictions *store, online_lane *lane, prediction_ask ask, prediction_job **out,
                           myr_err *err)
{
    lane_job *taken = NULL;
    myr_rc rc = myr_lane_take(lane, &taken, err);
    if (rc != MYR_OK) {
        myr_metric_add(store->counts[PREDICTION_BUSY], 1);
        return rc;
    }
    prediction_job *job = (prediction_job *)taken;
    myr_arena *arena = job->arena;
    if (arena != NULL && myr_arena_used_bytes(arena) > PREDICTIONS_JOB_BYTES_KEPT) {
        myr_arena_free(arena);
        arena = NULL;
    }
    if (arena != NULL) myr_arena_reset(arena);
    if (arena == NULL) arena = myr_arena_new(PREDICTIONS_JOB_BYTES_MAX);
    memset((char *)job + sizeof job->job, 0, sizeof *job - sizeof job->job);
    job->arena = arena;
    job->store = store;
    job->ask = ask;
    if (arena != NULL) {
        *out = job;
        return MYR_OK;
    }
    myr_lane_give(taken);
    MYR_FAIL(err, NO_MEMORY, "%s: no memory for a request", store->shown);
}

myr_rc myr_prediction_ended(const prediction_job *job, myr_err *err)
{
    int state = atomic_load(&job->job.state);
    MYR_ASSERT(state == LANE_DONE || state == LANE_LATE);
    if (state == LANE_LATE) {
        myr_metric_add(job->store->counts[PREDICTION_LATE], 1);
        MYR_FAIL(err, TIMEOUT, "%s: no answer in time%s", job->store->shown,
                 job->ask == PREDICTION_STORE ? ": the prediction may be stored all the same" : "");
    }
    if (err != NULL && job->job.err.rc != MYR_OK) *err = job->job.err;
    return (myr_rc)job->job.err.rc;
}

/* ---- looking ---- */

typedef struct reader {
    myr_predictions *store;
    void *self; /* NULL: not open */
} reader;

static void *reader_open(void *ctx)
{
    reader *r = myr_calloc(1, sizeof *r);
    if (r != NULL) r->store = ctx;
    return r;
}

static void reader_close(void *state)
{
    reader *r = state;
    if (r->self != NULL) r->store->kind->close(r->self, !atomic_load(&r->store->is_broken));
    myr_free(r);
}

static void reader_warm(void *state)
{
    reader *r = state;
    MYR_IGNORE(r->store->kind->open(r->store->uri, false, &r->self, NULL)); /* or by the first question */
}

static myr_rc reader_one(reader *r, prediction_job *job, myr_err *err)
{
    const prediction_kind *kind = r->store->kind;
    if (r->self == NULL) MYR_TRY(kind->open(r->store->uri, false, &r->self, err));
    return job->ask == PREDICTION_ANSWER ? kind->find_answer(r->self, job, err) : kind->find_latest(r->self, job, err);
}

static void reader_work(void *state, lane_job **jobs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!myr_lane_is_wanted(jobs[i])) continue;
        MYR_IGNORE(reader_one(state, (prediction_job *)jobs[i], &jobs[i]->err)); /* the job's */
        MYR_IGNORE(myr_lane_tell(jobs[i]));                                      /* or it is late */
    }
}

static void reader_idle(void *state)
{
    reader *r = state;
    myr_predictions *store = r->store;
    if (store->kind->settle == NULL || r->self == NULL || atomic_load(&store->is_broken)) return;
    if (atomic_load(&store->unsettled_rows) < READER_UNSETTLED_MAX) return;
    myr_err err = {0};
    atomic_store(&store->unsettled_rows, 0);
    if (store->kind->settle(r->self, &err) == MYR_IO) {
        atomic_store(&store->is_broken, true); /* the writer looks before and after each transaction */
        myr_log_err(MYR_LOG_ERROR, "online", "the prediction store is given up", &err);
    }
}

/* ---- life ---- */

static void predictions_metrics(myr_predictions *store)
{
    static const char *const results[PREDICTION_COUNTS] = {"stored", "failed", "late", "busy", "lost", "repeated"};
    if (store->opts.metrics == NULL) return;
    char labels[64];
    for (int i = 0; i < PREDICTION_COUNTS; i++) {
        snprintf(labels, sizeof labels, "result=\"%s\"", results[i]);
        store->counts[i] =
            myr_metrics_series(store->opts.metrics, MYR_METRIC_COUNTER, "myriad_predictions_total",
                               "predictions stored, failed (the client was told), lost (it was answered before), "
                               "repeated; requests late and busy",
                               labels);
    }
    store->commits = myr_metrics_series(store->opts.metrics, MYR_METRIC_COUNTER, "myriad_prediction_commits_total",
                                        "transactions of the prediction store", NULL);
    store->commit_duration =
        myr_metrics_series(store->opts.metrics, MYR_METRIC_HISTOGRAM, "myriad_prediction_commit_seconds",
                           "duration of a transaction of the prediction store", NULL);
}

static void prediction_fini(lane_job *job)
{
    myr_arena_free(((prediction_job *)job)->arena);
}

static myr_rc predictions_lanes(myr_predictions *store, myr_err *err)
{
    lane_opts writer = {.name = store->shown,
                        .thread_count = 1,
                        .job_max = store->opts.waiting_max,
                        .job_bytes = sizeof(prediction_job),
                        .open = myr_predictions_writer_open,
                        .close = myr_predictions_writer_close,
                        .warm = myr_predictions_writer_warm,
                        .work = myr_predictions_writer_work,
                        .gather_us = WRITER_GATHER_US,
                        .fini_job = prediction_fini,
                        .ctx = store};
    lane_opts look = writer;
    look.open = reader_open;
    look.close = reader_close;
    look.warm = reader_warm;
    look.work = reader_work;
    look.idle = store->kind->settle != NULL ? reader_idle : NULL;
    look.idle_ms = READER_IDLE_MS;
    look.gather_us = 0;
    MYR_TRY(myr_lane_start(&writer, &store->writer, err));
    return myr_lane_start(&look, &store->reader, err);
}

static myr_rc predictions_start(myr_predictions *store, const myr_predictions_opts *opts, myr_err *err)
{
    myr_db_kind kind;
    MYR_AUTO(myr_buf) shown = {0};
    MYR_TRY(myr_db_uri_kind(opts->uri, &kind, err));
    myr_db_uri_show(opts->uri, &shown);
    MYR_TRY(myr_buf_check(&shown, err));
    if (kind == MYR_DB_REDIS)
        MYR_FAIL(err, UNSUPPORTED,
                 "%s: predictions are stored in SQLite or PostgreSQL, Redis loses what it acknowledges", shown.data);
    store->shown = myr_buf_take(&shown);
    store->uri = myr_strdup(opts->uri);
    if (store->shown == NULL || store->uri == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a prediction store");
    store->kind = kind == MYR_DB_SQLITE ? &myr_prediction_sqlite : &myr_prediction_pg;
    store->opts = *opts;
    store->opts.uri = store->uri;
    if (store->opts.waiting_max == 0) store->opts.waiting_max = PREDICTIONS_WAITING_MAX;
    if (store->opts.answer_keep_ms == 0) store->opts.answer_keep_ms = PREDICTIONS_ANSWER_KEEP_MS;
    if (kind == MYR_DB_SQLITE) { /* a path that can't be is said now */
        void *self = NULL;
        MYR_TRY(store->kind->open(store->uri, true, &self, err));
        store->kind->close(self, true);
    }
    predictions_metrics(store);
    return predictions_lanes(store, err);
}

myr_rc myr_predictions_open(const myr_predictions_opts *opts, myr_predictions **out, myr_err *err)
{
    myr_predictions *store = myr_calloc(1, sizeof *store);
    if (store == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a prediction store");
    myr_mutex_init(&store->claims_lock);
    myr_rc rc = predictions_start(store, opts, err);
    if (rc != MYR_OK) {
        myr_predictions_close(store);
        return rc;
    }
    *out = store;
    return MYR_OK;
}

void myr_predictions_close(myr_predictions *store)
{
    if (store == NULL) return;
    atomic_store(&store->is_stopping, true);
    myr_lane_stop(store->writer); /* first: it frees claims, whose questions are the reader's */
    myr_lane_stop(store->reader);
    for (size_t i = 0; i < PREDICTIONS_CLAIM_BUCKETS; i++)
        MYR_ASSERT(store->claims[i] == NULL);
    myr_mutex_fini(&store->claims_lock);
    myr_free(store->uri);
    myr_free(store->shown);
    myr_free(store);
}

/* ---- the latest of a key ---- */

struct myr_latest {
    prediction_job job;
};

myr_rc myr_latest_start(myr_predictions *store, myr_str fleet, myr_str key, int64_t deadline_ns, myr_online_done done,
                        void *ctx, myr_latest **out, myr_err *err)
{
    prediction_job *job = NULL;
    MYR_TRY(myr_prediction_take(store, store->reader, PREDICTION_LATEST, &job, err));
    if (!myr_prediction_keep(job, fleet, &job->fleet) || !myr_prediction_keep(job, key, &job->key)) {
        myr_lane_give(&job->job);
        MYR_FAIL(err, NO_MEMORY, "%s: no memory for a question", store->shown);
    }
    *out = (myr_latest *)job;
    myr_lane_submit(&job->job, deadline_ns, done, ctx);
    return MYR_OK;
}

myr_rc myr_latest_result(const myr_latest *latest, myr_latest_row *out, myr_err *err)
{
    MYR_TRY(myr_prediction_ended(&latest->job, err));
    *out = latest->job.latest;
    return MYR_OK;
}

void myr_latest_free(myr_latest *latest)
{
    if (latest != NULL) myr_lane_give(&latest->job.job);
}
