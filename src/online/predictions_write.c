/*
 * The one thread that stores: all that waits is one transaction and one sync. Who waits is told, then it cleans up. A
 * sync that failed is not tried again, and nothing is acknowledged after it: what the system still holds of the file
 * may not be what is on disk.
 */
#include "online/predictions.h"

#define WRITER_PAUSE_MS       20    /* between two attempts, for those whom nobody waits for */
#define WRITER_TRY_MS         5000  /* of one transaction of those */
#define WRITER_CLEAN_MS       1000  /* between two cleanings */
#define WRITER_CLEAN_ROWS_MIN 500   /* removed at once, and twice what was stored since … */
#define WRITER_CLEAN_ROWS_MAX 20000 /* … up to that */
#define WRITER_LOG_PAGES      16384 /* 64 MiB: then what is left of the log is brought into the file here */

typedef struct writer {
    myr_predictions *store;
    void *self;           /* NULL: not open */
    myr_err broken;       /* rc OK: sound */
    int64_t clean_ns;     /* when it cleaned last */
    int64_t stored;       /* rows since then */
    bool was_bad;         /* the last batch failed: said once */
    int64_t settle_pages; /* of the log: settle when it has so many */
} writer;

void *myr_predictions_writer_open(void *ctx)
{
    writer *w = myr_calloc(1, sizeof *w);
    if (w == NULL) return NULL;
    w->store = ctx;
    w->clean_ns = myr_clock_mono_ns();
    return w;
}

void myr_predictions_writer_close(void *state)
{
    writer *w = state;
    if (w->self != NULL) w->store->kind->close(w->self, w->broken.rc == MYR_OK && !atomic_load(&w->store->is_broken));
    myr_free(w);
}

void myr_predictions_writer_warm(void *state)
{
    writer *w = state;
    MYR_IGNORE(w->store->kind->open(w->store->uri, true, &w->self, NULL)); /* or by the first batch */
}

/* ---- one batch ---- */

/* Those that are still to be stored. */
static size_t writer_choose(prediction_job **jobs, size_t count, prediction_job **out)
{
    size_t chosen = 0;
    for (size_t i = 0; i < count; i++) {
        if (!myr_prediction_is_wanted(jobs[i])) continue;
        jobs[i]->job.skips = false; /* also if it was late before we came to it */
        out[chosen++] = jobs[i];
    }
    return chosen;
}

static int64_t writer_deadline(prediction_job **jobs, size_t count)
{
    int64_t latest_ns = 0, limit_ns = myr_clock_mono_ns() + WRITER_TRY_MS * 1000000LL;
    for (size_t i = 0; i < count; i++) {
        int64_t deadline_ns = jobs[i]->stores_late ? limit_ns : jobs[i]->job.deadline_ns;
        if (deadline_ns > latest_ns) latest_ns = deadline_ns;
    }
    return latest_ns < limit_ns ? latest_ns : limit_ns;
}

static void writer_forget(prediction_job **jobs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        jobs[i]->is_kept = false;
        jobs[i]->kept = (myr_kept_answer){0};
    }
}

/* Is it given up? Also the reader may have found that the file can't be synced. */
static myr_rc writer_check(writer *w, myr_err *err)
{
    if (w->broken.rc == MYR_OK && atomic_load(&w->store->is_broken)) {
        MYR_IGNORE(MYR_ERROR(&w->broken, IO,
                             "%s: nothing is stored until the server is started anew, since a sync failed",
                             w->store->shown));
    }
    if (w->broken.rc != MYR_OK && err != NULL) *err = w->broken;
    return (myr_rc)w->broken.rc;
}

static myr_rc writer_try(writer *w, prediction_job **jobs, size_t count, bool *out_unknown, myr_err *err)
{
    *out_unknown = false;
    MYR_TRY(writer_check(w, err));
    if (w->self == NULL) MYR_TRY(w->store->kind->open(w->store->uri, true, &w->self, err));
    int64_t start_ns = myr_clock_mono_ns();
    myr_rc rc = w->store->kind->write(w->self, jobs, count, writer_deadline(jobs, count), out_unknown, err);
    myr_metric_observe_ns(w->store->commit_duration, myr_clock_mono_ns() - start_ns);
    myr_metric_add(w->store->commits, 1);
    if (rc == MYR_OK) {
        rc = writer_check(w, err); /* given up meanwhile: it is not acknowledged any more */
        *out_unknown = rc != MYR_OK;
    }
    if (rc != MYR_OK) writer_forget(jobs, count);
    return rc;
}

/* A file whose writes failed; a server decides that for itself. */
static bool writer_is_lost(const writer *w, myr_rc rc)
{
    return rc == MYR_IO && w->store->kind == &myr_prediction_sqlite;
}

/* From now on this store says no. */
static void writer_break(writer *w, const myr_err *why)
{
    w->broken = *why;
    MYR_IGNORE(myr_err_prefix(&w->broken, (myr_rc)why->rc,
                              "nothing is stored until the server is started anew, since a write failed: "));
    atomic_store(&w->store->is_broken, true);
    myr_log_err(MYR_LOG_ERROR, "online", "the prediction store is given up", why);
}

/* A failure that may be over soon, of a transaction that surely did not take effect. */
static bool writer_may_retry(const writer *w, myr_rc rc, bool is_unknown)
{
    bool is_brief = rc == MYR_BUSY || rc == MYR_UNAVAILABLE || rc == MYR_CONFLICT || rc == MYR_TIMEOUT;
    return is_brief && !is_unknown && !atomic_load(&w->store->is_stopping);
}

/* It was answered already, and is stored after that. */
static bool writer_is_alone(prediction_job *job)
{
    return job->job.done == NULL || (job->stores_late && atomic_load(&job->job.state) == LANE_LATE);
}

/* Those whose failure is final are told; the others stay for another attempt. */
static void writer_fail(const writer *w, prediction_job **jobs, size_t count, const myr_err *err, bool is_unknown)
{
    int64_t now_ns = myr_clock_mono_ns();
    for (size_t i = 0; i < count; i++) {
        bool is_alone = writer_is_alone(jobs[i]);
        bool waits = is_alone || err->rc == MYR_BUSY || err->rc == MYR_CONFLICT ||
                     (err->rc == MYR_TIMEOUT && jobs[i]->stores_late);
        bool has_time = jobs[i]->retry_until_ns > now_ns && waits;
        if (has_time && writer_may_retry(w, (myr_rc)err->rc, is_unknown)) continue;
        jobs[i]->job.err = *err;
        myr_metric_add(w->store->counts[is_alone ? PREDICTION_LOST : PREDICTION_FAILED], (int64_t)jobs[i]->row_count);
        bool is_told = myr_lane_tell(&jobs[i]->job);
        jobs[i]->is_over = is_alone || is_told || !jobs[i]->stores_late; /* late just now: it stays */
    }
}

static void writer_succeed(writer *w, prediction_job **jobs, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        int64_t rows = (int64_t)jobs[i]->row_count;
        if (jobs[i]->job.skips) continue; /* was told that it is late, and is not stored */
        myr_metric_add(w->store->counts[jobs[i]->is_kept ? PREDICTION_REPEATED : PREDICTION_STORED], rows);
        if (!jobs[i]->is_kept) w->stored += rows;
        if (!jobs[i]->is_kept) atomic_fetch_add(&w->store->unsettled_rows, rows);
        jobs[i]->is_over = true;
        MYR_IGNORE(myr_lane_tell(&jobs[i]->job)); /* or it is late */
    }
    if (w->was_bad) myr_log(MYR_LOG_INFO, "online", "predictions are stored again", "store", w->store->shown, NULL);
    w->was_bad = false;
}

static void writer_store(writer *w, prediction_job **jobs, size_t count)
{
    prediction_job *chosen[LANE_BATCH_MAX];
    for (;;) {
        size_t left = writer_choose(jobs, count, chosen);
        bool is_unknown;
        myr_err err = {0};
        if (left == 0) return;
        myr_rc rc = writer_try(w, chosen, left, &is_unknown, &err);
        if (rc == MYR_OK) {
            writer_succeed(w, chosen, left);
            return;
        }
        if (writer_is_lost(w, rc) && w->broken.rc == MYR_OK) writer_break(w, &err);
        if (!w->was_bad && rc != MYR_BUSY) myr_log_err(MYR_LOG_WARN, "online", "predictions are not stored", &err);
        w->was_bad = w->was_bad || rc != MYR_BUSY;
        writer_fail(w, chosen, left, w->broken.rc != MYR_OK ? &w->broken : &err, is_unknown);
        if (rc != MYR_BUSY) myr_clock_sleep_ms(WRITER_PAUSE_MS); /* BUSY has waited already */
    }
}

/* ---- between batches ---- */

static void writer_clean(writer *w)
{
    int64_t now_ns = myr_clock_mono_ns(), now_ms = myr_clock_unix_ms();
    if (w->self == NULL || now_ns - w->clean_ns < WRITER_CLEAN_MS * 1000000LL) return;
    int64_t rows = WRITER_CLEAN_ROWS_MIN + 2 * w->stored;
    if (rows > WRITER_CLEAN_ROWS_MAX) rows = WRITER_CLEAN_ROWS_MAX;
    int64_t keep_ms = w->store->opts.keep_ms;
    myr_err err = {0};
    myr_rc rc = w->store->kind->clean(w->self, now_ms, keep_ms > 0 ? now_ms - keep_ms : 0, rows,
                                      now_ns + WRITER_TRY_MS * 1000000LL, &err);
    if (writer_is_lost(w, rc)) writer_break(w, &err);
    w->clean_ns = myr_clock_mono_ns();
    w->stored = 0;
}

/*
 * The reader settles beside us, but a log that never rests is never at its end, and grows. Here nothing is added
 * meanwhile, so that the next transaction begins the log anew: over blocks that the file has, which sync faster than
 * new ones.
 */
static void writer_settle(writer *w)
{
    const prediction_kind *kind = w->store->kind;
    if (kind->settle == NULL || w->self == NULL) return;
    int64_t pages = kind->unsettled_pages(w->self);
    if (w->settle_pages == 0 || pages < w->settle_pages - WRITER_LOG_PAGES) w->settle_pages = WRITER_LOG_PAGES;
    if (pages < w->settle_pages) return;
    w->settle_pages = pages + WRITER_LOG_PAGES; /* a slow reader kept the log from its end: not at each commit */
    myr_err err = {0};
    atomic_store(&w->store->unsettled_rows, 0);
    if (kind->settle(w->self, &err) == MYR_IO) writer_break(w, &err);
}

void myr_predictions_writer_work(void *state, lane_job **lane_jobs, size_t count)
{
    writer *w = state;
    prediction_job *jobs[LANE_BATCH_MAX];
    for (size_t i = 0; i < count; i++)
        jobs[i] = (prediction_job *)lane_jobs[i];
    writer_store(w, jobs, count);
    for (size_t i = 0; i < count; i++) {
        atomic_fetch_sub(&w->store->bytes, jobs[i]->bytes);
        myr_claim_free(jobs[i]->claim);
        jobs[i]->claim = NULL;
    }
    if (writer_check(w, NULL) != MYR_OK) return;
    writer_clean(w);
    if (w->broken.rc == MYR_OK) writer_settle(w);
}
