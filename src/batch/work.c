/*
 * The coordinator at work: what is not done is put into the pool's queue; what comes back is made safe on the disk and
 * then written into the ledger, several mini-batches in one commit if they come together. A mini-batch that failed is
 * tried again after a while; one that fails for good is cut in halves, if that may help, or counts as failed.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "batch/sink.h"
#include "batch/source.h"

#define WORK_LOOK_MS     100  /* how often progress is told */
#define WORK_BEAT_MS     5000 /* how often the lease is renewed */
#define WORK_LEASE_MS    30000
#define WORK_BACKOFF_MAX 30000
#define WORK_SPLITS_MAX  1000 /* cuts of one run */
#define WORK_MISSES_MAX  16   /* cuts in a row without a good part: a damaged row group has no good row to find */
#define WORK_COMMIT_MAX  64   /* mini-batches of one commit */

/* ---- one out ---- */

/* Where an attempt writes, and its dead letters. */
static myr_rc work_paths(const batch *b, const batch_task *task, char dir[MYR_PATH_BYTES_MAX],
                         char dead[MYR_PATH_BYTES_MAX], myr_err *err)
{
    int size = snprintf(dir, MYR_PATH_BYTES_MAX, "%s/work/%s-%lld", myr_batch_staging(b), task->row.name,
                        (long long)task->row.attempts);
    if (size < 0 || size + 8 >= MYR_PATH_BYTES_MAX)
        MYR_FAIL(err, BAD_INPUT, "%s: the path is too long", myr_batch_staging(b));
    (void)snprintf(dead, MYR_PATH_BYTES_MAX, "%.*s.jsonl", size, dir);
    return MYR_OK;
}

static myr_rc work_put(batch *b, batch_task *task, myr_err *err)
{
    char dir[MYR_PATH_BYTES_MAX], dead[MYR_PATH_BYTES_MAX];
    task->row.attempts++;
    MYR_TRY(work_paths(b, task, dir, dead, err));
    MYR_TRY(myr_io_remove_tree(dir, err)); /* of a coordinator that died */
    batch_ask *ask = myr_calloc(1, sizeof *ask);
    if (ask == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a mini-batch");
    ask->owner = task;
    ask->timeout_ms = b->opts.limits->timeout_ms;
    ask->progress_timeout_ms = b->opts.limits->progress_timeout_ms;
    myr_buf_printf(&ask->request, "{\"begin\":%lld,\"end\":%lld,\"line\":%lld,\"attempt\":%lld",
                   (long long)task->row.first, (long long)task->row.past, (long long)task->row.first_line,
                   (long long)task->row.attempts);
    myr_buf_json_field(&ask->request, "score", myr_batch_task_part(b, task).file);
    myr_buf_json_field(&ask->request, "file", myr_batch_input_name(&b->inputs[task->row.input]));
    myr_buf_json_field(&ask->request, "dir", dir);
    myr_buf_json_field(&ask->request, "dead", dead);
    myr_buf_json_field(&ask->request, "name", task->row.name);
    if (task->is_lenient) myr_buf_puts(&ask->request, ",\"lenient\":true");
    myr_buf_putc(&ask->request, '}');
    myr_rc rc = myr_buf_check(&ask->request, err);
    if (rc != MYR_OK) {
        myr_batch_ask_free(ask);
        return rc;
    }
    task->is_queued = true;
    task->ask = ask;
    myr_batch_pool_put(b->pool, ask);
    return MYR_OK;
}

static bool work_is_open(const batch_task *task)
{
    return strcmp(task->row.state, "created") == 0 || strcmp(task->row.state, "running") == 0;
}

/* Everything that may run now. *out_wait_ms: until something else may. */
static myr_rc work_put_due(batch *b, int64_t *out_wait_ms, myr_err *err)
{
    int64_t now_ns = myr_clock_mono_ns();
    *out_wait_ms = WORK_LOOK_MS;
    for (size_t i = b->first_open; i < b->task_count; i++) {
        batch_task *task = b->tasks[i];
        if (i == b->first_open && !work_is_open(task)) b->first_open++;
        if (task->is_queued || !work_is_open(task)) continue;
        int64_t left_ms = (task->not_before_ns - now_ns + 999999) / 1000000;
        if (left_ms <= 0)
            MYR_TRY(work_put(b, task, err));
        else if (left_ms < *out_wait_ms)
            *out_wait_ms = left_ms;
    }
    return MYR_OK;
}

/* ---- one back ---- */

/* Whether the same mini-batch may do better when it is tried again. */
static bool work_may_pass(myr_rc rc)
{
    return rc == MYR_UNAVAILABLE || rc == MYR_TIMEOUT || rc == MYR_IO || rc == MYR_NO_MEMORY || rc == MYR_BUSY;
}

/* Where it stands, for people: `rows 5 to 9 of in.parquet`. */
static void work_where(const batch *b, const batch_task *task, char *out, size_t out_bytes)
{
    const myr_mini_batch_row *row = &task->row;
    const char *path = myr_batch_input_name(&b->inputs[row->input]);
    if (b->grouped != NULL)
        (void)snprintf(out, out_bytes, "%.2000s in the order of partition_keys, rows %lld to %lld", b->input_name,
                       (long long)row->first + 1, (long long)row->past);
    else if (row->past < 0)
        (void)snprintf(out, out_bytes, "%s", b->opts.spark != NULL ? b->input_name : path);
    else if (row->first_line > 0)
        (void)snprintf(out, out_bytes, "%s from line %lld on", path, (long long)row->first_line);
    else
        (void)snprintf(out, out_bytes, "%s, rows %lld to %lld", path, (long long)row->first + 1, (long long)row->past);
}

/* Why the run ends now: too much has failed. */
static myr_rc work_too_much(const batch *b, const batch_task *task, const myr_err *cause, myr_err *err)
{
    const myr_batch_limits *limits = b->opts.limits;
    int64_t rows = b->dead_rows + b->failed_rows, batches = b->failed_count;
    if (limits->error_threshold >= 0 && rows > limits->error_threshold) {
        MYR_FAIL(err, BAD_INPUT, "%lld rows have failed, error_threshold is %lld: runs/%lld/%s names them",
                 (long long)rows, (long long)limits->error_threshold, (long long)b->run_id, BATCH_DEAD_NAME);
    }
    bool is_percent = (double)batches * 100 > limits->allowed_failed_percent * (double)b->root_count;
    bool is_count = limits->mini_batch_error_threshold >= 0 && batches > limits->mini_batch_error_threshold;
    if (cause == NULL || (!is_count && !is_percent)) return MYR_OK;
    if (batches > 1) {
        MYR_FAIL(err, BAD_INPUT, "%lld of %lld mini-batches have failed, %s: the last: %.160s", (long long)batches,
                 (long long)b->root_count,
                 is_count ? "more than mini_batch_error_threshold" : "more than allowed_failed_percent",
                 cause->message);
    }
    char where[MYR_PATH_BYTES_MAX + 64];
    work_where(b, task, where, sizeof where);
    MYR_IGNORE(myr_err_set(err, (myr_rc)cause->rc, cause->file, cause->line, "%s", cause->message)); /* told below */
    if (cause->rc == MYR_BAD_INPUT || cause->rc == MYR_NO_SPACE) return (myr_rc)cause->rc;           /* it says where */
    return myr_err_prefix(err, (myr_rc)cause->rc, "%s, after %lld attempts: ", where, (long long)task->row.attempts);
}

static myr_rc work_done(batch *b, batch_task *task, const batch_ask *ask, myr_err *err)
{
    char dir[MYR_PATH_BYTES_MAX], dead[MYR_PATH_BYTES_MAX];
    int64_t rows = 0;
    MYR_TRY(work_paths(b, task, dir, dead, err));
    MYR_TRY(myr_batch_attempt_count(dir, &task->row.file_count, &task->row.byte_count, err));
    task->row.report = myr_arena_strndup(b->arena, ask->answer.data, ask->answer.size);
    if (task->row.report == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a mini-batch's report");
    MYR_TRY(myr_batch_counts_add(&b->rows, task->row.report, &rows, err));
    task->row.dead_count = b->rows.dead.count - b->dead_rows;
    b->dead_rows = b->rows.dead.count;
    task->row.row_count = rows;
    task->row.state = "done";
    task->row.message = "";
    myr_batch_task_root(b, task)->misses = 0;
    b->done_rows += rows;
    b->left--;
    return work_too_much(b, task, NULL, err);
}

/* It will not be tried again. */
static myr_rc work_fail(batch *b, batch_task *task, const myr_err *cause, myr_err *err)
{
    batch_task *root = myr_batch_task_root(b, task);
    task->row.state = "failed";
    b->failed_count += !root->has_failed;
    root->has_failed = true;
    b->failed_rows += task->row.row_count > 0 ? task->row.row_count : 1;
    b->left--;
    return work_too_much(b, task, cause, err);
}

/* Whether a smaller part of it may do better. */
static bool work_may_be_cut(const batch *b, const batch_task *task, const myr_err *cause, bool is_code)
{
    bool is_allowed = b->opts.spark == NULL && (b->opts.limits->mini_batch_error_threshold != 0 || is_code) &&
                      b->split_count < WORK_SPLITS_MAX && myr_batch_task_root(b, task)->misses < WORK_MISSES_MAX;
    return is_allowed && (work_may_pass((myr_rc)cause->rc) || cause->rc == MYR_BAD_INPUT);
}

/* Parts of a mini-batch that failed are cut further at once: their trouble is known. */
static bool work_is_part(const batch_task *task)
{
    return strchr(task->row.name, '.') != NULL;
}

static myr_rc work_failed(batch *b, batch_task *task, const batch_ask *ask, myr_err *err)
{
    const myr_batch_limits *limits = b->opts.limits;
    char dir[MYR_PATH_BYTES_MAX], dead[MYR_PATH_BYTES_MAX];
    bool is_last =
        !work_may_pass((myr_rc)ask->err.rc) || task->row.attempts - task->attempts_before > limits->max_retries;
    bool is_cut = false;
    MYR_TRY(work_paths(b, task, dir, dead, err));
    MYR_IGNORE(myr_io_remove_tree(dir, NULL)); /* what stays goes with the staging directory */
    MYR_IGNORE(myr_io_unlink(dead, NULL));
    task->row.state = "created";
    task->row.message = myr_arena_strndup(b->arena, ask->err.message, strlen(ask->err.message));
    if (task->row.message == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a message");
    if (ask->err.rc == MYR_NO_SPACE) /* no row's fault, so no threshold allows it */
        return myr_err_set(err, MYR_NO_SPACE, ask->err.file, ask->err.line, "%s", ask->err.message);
    if (work_may_be_cut(b, task, &ask->err, ask->is_code) && (is_last || work_is_part(task)))
        MYR_IGNORE(myr_batch_split_task(b, task, &is_cut, NULL)); /* a file that can't be cut fails whole */
    if (is_cut) {
        b->left--; /* its halves are counted */
        b->split_count++;
        myr_batch_task_root(b, task)->misses++;
        return MYR_OK;
    }
    if (is_last && ask->is_code && !task->is_lenient) {
        task->is_lenient = true; /* what is left of it: its rows are `unavailable`, and no mini-batch has failed */
        b->attempts_lost++;
        return MYR_OK;
    }
    if (is_last) return work_fail(b, task, &ask->err, err);
    int64_t wait_ms = limits->backoff_ms;
    for (int64_t i = 1; i < task->row.attempts - task->attempts_before && wait_ms < WORK_BACKOFF_MAX; i++)
        wait_ms *= 2;
    if (wait_ms > WORK_BACKOFF_MAX) wait_ms = WORK_BACKOFF_MAX;
    task->not_before_ns = myr_clock_mono_ns() + wait_ms * 1000000;
    b->attempts_lost++;
    return MYR_OK;
}

static myr_rc work_back(batch *b, batch_ask *ask, myr_err *err)
{
    batch_task *task = ask->owner;
    task->is_queued = false;
    task->ask = NULL;
    task->row.worker = ask->worker;
    task->row.started_ms = ask->started_ms;
    task->row.ended_ms = ask->started_ms + ask->duration_ms;
    if (ask->err.rc != MYR_OK) myr_batch_sources_rename(b, task->row.input, &ask->err);
    return ask->err.rc == MYR_OK ? work_done(b, task, ask, err) : work_failed(b, task, ask, err);
}

static myr_rc work_write_one(batch *b, const batch_ask *ask, myr_err *err)
{
    const batch_task *task = ask->owner;
    bool is_done = ask->err.rc == MYR_OK;
    myr_attempt_row attempt = {.number = task->row.number,
                               .attempt = task->row.attempts,
                               .worker = ask->worker,
                               .started_ms = ask->started_ms,
                               .duration_ms = ask->duration_ms,
                               .row_count = is_done ? task->row.row_count : (int64_t)atomic_load(&ask->rows_now),
                               .cause = is_done ? "" : ask->err.message};
    MYR_TRY(myr_registry_attempt_add(b->workspace->registry, b->run_id, &attempt, err));
    return myr_registry_mini_batch_put(b->workspace->registry, b->run_id, &task->row, err);
}

/* Make what these have written safe on the disk: all at once if they are many files. */
static myr_rc work_seal(const batch *b, batch_ask *const *asks, int count, myr_err *err)
{
    const batch_stage *stage = &b->sinks[0].stage;
    int64_t files = 0;
    for (int i = 0; i < count; i++) {
        const batch_task *task = asks[i]->owner;
        if (asks[i]->err.rc == MYR_OK) files += task->row.file_count + 1;
    }
    for (int i = 0; i < count; i++) {
        char dir[MYR_PATH_BYTES_MAX], dead[MYR_PATH_BYTES_MAX];
        const batch_task *task = asks[i]->owner;
        if (asks[i]->err.rc != MYR_OK) continue;
        MYR_TRY(work_paths(b, task, dir, dead, err));
        MYR_TRY(myr_batch_stage_sync(stage, dir, files, err));
        if (files > BATCH_SYNC_EACH) return MYR_OK;
    }
    return MYR_OK;
}

static myr_rc work_write(batch *b, batch_ask *const *asks, int count, myr_err *err)
{
    myr_registry *registry = b->workspace->registry;
    MYR_TRY(myr_registry_begin(registry, err));
    myr_rc rc = MYR_OK;
    for (int i = 0; rc == MYR_OK && i < count; i++)
        rc = work_write_one(b, asks[i], err);
    for (size_t i = b->written_count; rc == MYR_OK && i < b->task_count; i++)
        rc = myr_registry_mini_batch_put(registry, b->run_id, &b->tasks[i]->row, err);
    if (rc == MYR_OK) rc = myr_registry_commit(registry, err);
    if (rc != MYR_OK) myr_registry_rollback(registry);
    b->written_count = b->task_count;
    return rc;
}

/* This one and those that are over too, in one commit; it begins when all they wrote is on the disk. */
static myr_rc work_take(batch *b, batch_ask *ask, myr_err *err)
{
    batch_ask *asks[WORK_COMMIT_MAX] = {0};
    int count = 0;
    myr_rc rc = MYR_OK;
    while (ask != NULL) {
        if (rc == MYR_OK) rc = work_back(b, ask, err);
        asks[count++] = ask;
        ask = rc == MYR_OK && count < WORK_COMMIT_MAX ? myr_batch_pool_take(b->pool, 0) : NULL;
    }
    /* the ledger knows of the one too that ends the run */
    myr_rc written = work_seal(b, asks, count, rc == MYR_OK ? err : NULL);
    if (written == MYR_OK) written = work_write(b, asks, count, rc == MYR_OK ? err : NULL);
    for (int i = 0; i < count; i++)
        myr_batch_ask_free(asks[i]);
    return rc != MYR_OK ? rc : written;
}

/* ---- meanwhile ---- */

static void work_progress(const batch *b)
{
    if (b->asked->progress == NULL) return;
    int64_t rows = b->done_rows;
    for (size_t i = b->first_open; i < b->task_count; i++) {
        if (b->tasks[i]->ask != NULL) rows += atomic_load(&b->tasks[i]->ask->rows_now);
    }
    b->asked->progress(b->asked->ctx, rows, b->total_rows);
}

/* first_task_creation_timeout: workers start, open the fleet and what its models need, rows are put together. */
static myr_rc work_check_first(const batch *b, myr_err *err)
{
    int64_t most_ms = b->opts.limits->first_task_timeout_ms;
    if (most_ms == 0 || myr_clock_mono_ns() - b->begin_ns < most_ms * 1000000 || myr_batch_pool_has_begun(b->pool))
        return MYR_OK;
    MYR_FAIL(err, TIMEOUT, "no worker has begun with a mini-batch after %lld ms: first_task_creation_timeout",
             (long long)most_ms);
}

/* Now and then: the lease, what runs, and whether somebody wants the end. */
myr_rc myr_batch_work_beat(batch *b, myr_err *err)
{
    int64_t now_ns = myr_clock_mono_ns(), change = 0;
    MYR_TRY(work_check_first(b, err));
    MYR_TRY(myr_registry_change_number(b->workspace->registry, &change, err));
    if (change == b->change && now_ns - b->beat_ns < WORK_BEAT_MS * 1000000LL) return MYR_OK;
    b->change = change; /* somebody else has written: it may be about us */
    b->beat_ns = now_ns;
    bool cancel = false;
    MYR_TRY(myr_registry_run_beat(b->workspace->registry, b->run_id, myr_clock_unix_ms() + WORK_LEASE_MS, b->done_rows,
                                  &cancel, err));
    if (cancel) MYR_FAIL(err, CANCELLED, "run %lld was canceled", (long long)b->run_id);
    return MYR_OK;
}

myr_rc myr_batch_work_write_new(batch *b, myr_err *err)
{
    return work_write(b, NULL, 0, err);
}

myr_rc myr_batch_work_ask(batch *b, const char *request, myr_err *err)
{
    b->beat_ns = myr_clock_mono_ns();
    MYR_TRY(myr_registry_change_number(b->workspace->registry, &b->change, err));
    for (int64_t attempt = 0;; attempt++) {
        batch_ask *ask = myr_calloc(1, sizeof *ask);
        if (ask == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a request");
        batch_ask *over = NULL;
        myr_buf_puts(&ask->request, request);
        myr_rc has_text = myr_buf_check(&ask->request, err);
        if (has_text != MYR_OK) {
            myr_batch_ask_free(ask);
            return has_text;
        }
        myr_batch_pool_put(b->pool, ask);
        while (over == NULL) {
            over = myr_batch_pool_take(b->pool, WORK_LOOK_MS);
            myr_rc rc = myr_batch_work_beat(b, err);
            if (rc == MYR_OK) continue;
            myr_batch_ask_free(over);
            return rc;
        }
        myr_err found = over->err;
        myr_batch_ask_free(over);
        if (found.rc == MYR_OK) return MYR_OK;
        if (work_may_pass((myr_rc)found.rc) && attempt < b->opts.limits->max_retries) continue;
        return myr_err_set(err, (myr_rc)found.rc, found.file, found.line, "%s", found.message);
    }
}

int64_t myr_batch_lease_ms(void)
{
    return myr_clock_unix_ms() + WORK_LEASE_MS;
}

/* A run that goes on may have had its last failure before its coordinator died: it is over, and nobody has said so. */
static myr_rc work_check_before(const batch *b, myr_err *err)
{
    const batch_task *task = NULL;
    myr_err cause = {.rc = MYR_UNAVAILABLE};
    for (size_t i = 0; i < b->task_count; i++) {
        if (strcmp(b->tasks[i]->row.state, "failed") == 0) task = b->tasks[i];
    }
    if (task == NULL) return work_too_much(b, NULL, NULL, err);
    (void)snprintf(cause.message, sizeof cause.message, "%s", task->row.message);
    return work_too_much(b, task, &cause, err);
}

myr_rc myr_batch_work_off(batch *b, myr_err *err)
{
    MYR_TRY(work_check_before(b, err));
    b->beat_ns = myr_clock_mono_ns();
    MYR_TRY(myr_registry_change_number(b->workspace->registry, &b->change, err));
    while (b->left > 0) {
        int64_t wait_ms = 0;
        MYR_TRY(work_put_due(b, &wait_ms, err));
        batch_ask *ask = myr_batch_pool_take(b->pool, wait_ms);
        if (ask != NULL) MYR_TRY(work_take(b, ask, err));
        work_progress(b);
        MYR_TRY(myr_batch_work_beat(b, err));
    }
    return MYR_OK;
}
