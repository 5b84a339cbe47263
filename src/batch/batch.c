/*
 * A batch run, step by step: open the fleet, plan the columns, cut the inputs into mini-batches, write them into the
 * ledger, let workers score them, publish, write down how it ended. A run that was killed goes on from its ledger.
 */
#include "batch/batch.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <yyjson.h>

#include "batch/internal.h"

#define RUN_WARM_BYTES (8 << 20) /* inputs from here on have work for more than one worker */

static void batch_drop(batch *b)
{
    myr_batch_pool_stop(b->pool); /* first: its workers write into what goes */
    myr_table_engine_close(b->engine);
    myr_batch_output_close(&b->output);
    myr_fleet_close(b->fleet);
    myr_mutex_fini(&b->rows.mutex);
    myr_arena_free(b->arena);
}

/* ---- what workers are told ---- */

static int run_workers(const batch *b)
{
    int64_t count = b->asked->threads > 0 ? b->asked->threads : b->opts.limits->workers_max;
    if (count == 0) count = myr_cpu_count();
    return (int)(count < MYR_BATCH_WORKERS_MAX ? count : MYR_BATCH_WORKERS_MAX);
}

static myr_rc run_take_text(batch *b, myr_buf *text, const char **out, myr_err *err)
{
    MYR_TRY(myr_buf_check(text, err));
    *out = myr_arena_strndup(b->arena, text->data, text->size);
    if (*out == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a batch run");
    return MYR_OK;
}

static myr_rc run_hello(batch *b, myr_err *err)
{
    MYR_AUTO(myr_buf) hello = {0};
    MYR_AUTO(myr_buf) settings = {0};
    myr_batch_settings_print(&b->opts, &settings);
    MYR_TRY(run_take_text(b, &settings, &b->settings_text, err));
    myr_buf_printf(&hello, "{\"memory\":%lld,\"workspace\":", (long long)(b->opts.memory_bytes / run_workers(b)));
    myr_buf_json_string(&hello, myr_str_of(b->workspace->root));
    myr_buf_puts(&hello, ",\"open\":");
    myr_buf_json_string(&hello, myr_str_of(b->settings_text));
    myr_buf_putc(&hello, '}');
    return run_take_text(b, &hello, &b->hello, err);
}

static myr_rc run_start_pool(batch *b, myr_err *err)
{
    MYR_TRY(run_hello(b, err));
    batch_pool_opts opts = {.workspace = b->workspace->root,
                            .hello = b->hello,
                            .max = run_workers(b),
                            .idle_ms = b->opts.limits->idle_ms,
                            .memory_bytes = b->opts.limits->worker_memory_bytes};
    return myr_batch_pool_start(&opts, &b->pool, err);
}

/* How inputs are read, for workers, and for whoever goes on with the run. */
static myr_rc run_plan_text(batch *b, myr_err *err)
{
    MYR_AUTO(myr_buf) table = {0};
    MYR_AUTO(myr_buf) plan = {0};
    myr_table_map map = {.input = b->opts.input,
                         .wants = b->plan.wants,
                         .want_count = b->plan.want_count,
                         .keep = b->plan.keep,
                         .keep_count = b->plan.keep_count,
                         .partition_by = b->plan.partition_by};
    MYR_TRY(myr_table_map_plan(b->engine, &map, &table, err));
    myr_buf_printf(&plan, "{\"has_target\":%s,\"keep\":[", b->plan.has_target ? "true" : "false");
    for (uint32_t i = 0; i < b->plan.keep_count; i++) {
        if (i > 0) myr_buf_putc(&plan, ',');
        myr_buf_json_string(&plan, myr_str_of(b->plan.keep[i]));
    }
    myr_buf_puts(&plan, "],\"dropped\":");
    myr_buf_json_string(&plan, myr_str_of(b->plan.dropped != NULL ? b->plan.dropped : ""));
    myr_buf_puts(&plan, ",\"plan\":");
    myr_buf_json_string(&plan, myr_str_make(table.data, table.size));
    myr_buf_putc(&plan, '}');
    return run_take_text(b, &plan, &b->plan_text, err);
}

/* The frame is the plan, and where to spill. */
static myr_rc run_tell_plan(batch *b, myr_err *err)
{
    MYR_AUTO(myr_buf) frame = {0};
    const char *text = NULL;
    myr_buf_puts(&frame, "{\"temp\":");
    myr_buf_json_string(&frame, myr_str_of(b->output.temp));
    myr_buf_putc(&frame, ',');
    myr_buf_puts(&frame, b->plan_text + 1); /* past its brace */
    MYR_TRY(run_take_text(b, &frame, &text, err));
    myr_batch_pool_plan(b->pool, text);
    return MYR_OK;
}

/* ---- before the first row ---- */

static myr_rc run_begin(batch *b, myr_err *err)
{
    static const myr_batch_limits none;
    myr_batch_limits *limits = NULL;
    myr_mutex_init(&b->rows.mutex);
    b->output.lock = -1;
    b->begin_ns = myr_clock_mono_ns();
    b->arena = myr_arena_new(0);
    if (b->arena != NULL) limits = myr_arena_calloc(b->arena, 1, sizeof none);
    if (limits == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a batch run");
    *limits = b->opts.limits != NULL ? *b->opts.limits : myr_batch_limits_default();
    b->opts.limits = limits;
    return MYR_OK;
}

/* The fleet, and room for what is counted over its models. */
static myr_rc run_open_fleet(batch *b, myr_err *err)
{
    if (b->opts.release == 0 && b->opts.alias != NULL) {
        myr_fleet_row row;
        MYR_TRY(myr_registry_fleet_get(b->workspace->registry, b->arena, b->opts.fleet, &row, err));
        MYR_TRY(myr_registry_alias_get(b->workspace->registry, row.id, b->opts.alias, &b->opts.release, err));
    }
    MYR_TRY(myr_fleet_open(b->workspace, b->opts.fleet, b->opts.release, &b->fleet, err));
    b->opts.release = b->fleet->release;
    b->rows.fleet = b->fleet;
    b->rows.is_log = b->fleet->row.target_transform != NULL && strcmp(b->fleet->row.target_transform, "log") == 0;
    b->rows.is_used = myr_arena_calloc(b->arena, b->fleet->info->model_count + 1u, 1);
    if (b->rows.is_used == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %u models", b->fleet->info->model_count);
    return MYR_OK;
}

/* A path that is the same from everywhere. A pattern's links are not looked at. */
static myr_rc run_absolute(batch *b, const char **path, myr_err *err)
{
    char cwd[MYR_PATH_BYTES_MAX];
    if ((*path)[0] == '/') return MYR_OK;
    if (getcwd(cwd, sizeof cwd) == NULL) MYR_FAIL(err, NOT_FOUND, "the current directory is gone");
    const char *joined = myr_arena_printf(b->arena, "%s/%s", cwd, *path);
    if (joined == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a path");
    *path = joined;
    return MYR_OK;
}

/* A release never changes; that it is this one shows in when it was made. */
static myr_rc run_fingerprint(batch *b, myr_err *err)
{
    myr_release_row release;
    MYR_TRY(
        myr_registry_release_get(b->workspace->registry, b->arena, b->fleet->row.id, b->fleet->release, &release, err));
    const char *pack = myr_arena_printf(b->arena, "%s %lld", release.pack, (long long)release.created_ms);
    if (pack == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a batch run");
    myr_batch_settings_hash(&b->opts, b->inputs, b->input_count, pack, b->fingerprint);
    return MYR_OK;
}

static myr_rc run_prepare(batch *b, myr_err *err)
{
    const char *const *files = NULL;
    size_t file_count = 0;
    int64_t bytes = 0;
    MYR_TRY(run_open_fleet(b, err));
    MYR_TRY(run_start_pool(b, err)); /* workers open what they need while the inputs are looked at */
    MYR_TRY(myr_table_engine_open(0, b->opts.memory_bytes, &b->engine, err));
    myr_table_engine_set_lenient(b->engine, b->opts.limits->mini_batch_error_threshold != 0);
    MYR_TRY(myr_table_files(b->engine, b->opts.input, b->arena, &files, &file_count, err));
    MYR_TRY(myr_batch_inputs_find(b, files, file_count, err));
    for (size_t i = 0; i < file_count; i++)
        bytes += b->inputs[i].bytes;
    if (bytes >= RUN_WARM_BYTES) myr_batch_pool_warm(b->pool, run_workers(b));
    MYR_TRY(myr_batch_plan(b->engine, b->fleet, &b->opts, b->arena, files, &b->plan, err));
    MYR_TRY(run_plan_text(b, err));
    MYR_TRY(myr_batch_output_open(b->opts.output, &b->output, err));
    MYR_TRY(myr_batch_output_check_input(&b->output, files, file_count, err));
    b->opts.output = b->output.path;
    return run_fingerprint(b, err);
}

/* ---- the ledger ---- */

static const char *run_owner(char *out, size_t out_bytes)
{
    char host[128] = "";
    if (gethostname(host, sizeof host - 1) != 0) host[0] = '\0';
    (void)snprintf(out, out_bytes, "%s:%lld", host, (long long)getpid());
    return out;
}

static myr_rc run_write(batch *b, myr_err *err)
{
    myr_registry *registry = b->workspace->registry;
    char owner[192];
    myr_run_row row = {.fleet = b->opts.fleet,
                       .release = b->fleet->release,
                       .input = b->opts.input,
                       .output = b->output.path,
                       .started_ms = myr_clock_unix_ms(),
                       .job = b->opts.job,
                       .fingerprint = b->fingerprint,
                       .owner = run_owner(owner, sizeof owner),
                       .lease_ms = myr_batch_lease_ms(),
                       .settings = b->settings_text,
                       .plan = b->plan_text};
    MYR_TRY(myr_registry_run_start(registry, &row, &b->run_id, err));
    MYR_TRY(myr_registry_run_inputs_add(registry, b->run_id, b->inputs, b->input_count, err));
    for (size_t i = 0; i < b->task_count; i++)
        MYR_TRY(myr_registry_mini_batch_put(registry, b->run_id, &b->tasks[i]->row, err));
    b->written_count = b->task_count;
    return MYR_OK;
}

/* A run is in the ledger with all its mini-batches, or not at all. */
static myr_rc run_start(batch *b, myr_err *err)
{
    MYR_TRY(myr_registry_begin(b->workspace->registry, err));
    myr_rc rc = run_write(b, err);
    if (rc == MYR_OK) rc = myr_registry_commit(b->workspace->registry, err);
    if (rc != MYR_OK) {
        myr_registry_rollback(b->workspace->registry);
        b->run_id = 0;
        return rc;
    }
    if (b->asked->started != NULL) b->asked->started(b->asked->ctx, b->run_id);
    return MYR_OK;
}

/* ---- the run ---- */

/* Not all rows have a bad key: then a column is not what the fleet takes it for. */
static myr_rc run_check_rows(const batch *b, myr_err *err)
{
    int64_t counted = 0;
    for (int i = 0; i < MYR_ROW_STATUS_COUNT; i++)
        counted += b->rows.counts.status_rows[i];
    if (counted != b->done_rows) {
        MYR_FAIL(err, INTERNAL, "%s: %lld rows were scored and %lld written", b->opts.input, (long long)counted,
                 (long long)b->done_rows);
    }
    if (counted == 0 || b->rows.counts.status_rows[MYR_ROW_BAD_KEY] < counted) return MYR_OK;
    MYR_FAIL(err, BAD_INPUT, "%s: no row has a usable key: %s", b->opts.input, b->rows.bad_key.message);
}

/* All that the ledger counted must be there, and nothing else. */
static myr_rc run_check_files(const batch *b, int64_t files, int64_t bytes, myr_err *err)
{
    int64_t found_files = 0, found_bytes = 0;
    MYR_TRY(myr_batch_attempt_count(b->output.data, &found_files, &found_bytes, err));
    if (found_files == files && found_bytes == bytes) return MYR_OK;
    MYR_FAIL(err, IO, "%s has %lld files with %lld bytes, its mini-batches wrote %lld with %lld: begin the run again",
             b->output.data, (long long)found_files, (long long)found_bytes, (long long)files, (long long)bytes);
}

/* From the attempts that won into one directory. Those that were moved before are not there any more. */
static myr_rc run_collect(batch *b, myr_err *err)
{
    int64_t files = 0, bytes = 0;
    if (!myr_io_exists(b->output.data)) MYR_TRY(myr_io_mkdirs(b->output.data, err));
    MYR_TRY(myr_batch_manifest_remove(b->output.data, err));
    for (size_t i = 0; i < b->task_count; i++) {
        char dir[MYR_PATH_BYTES_MAX];
        const myr_mini_batch_row *row = &b->tasks[i]->row;
        if (strcmp(row->state, "done") != 0) continue;
        int size = snprintf(dir, sizeof dir, "%s/work/%s-%lld", b->output.staging, row->name, (long long)row->attempts);
        MYR_ASSERT(size > 0 && (size_t)size < sizeof dir); /* it was made */
        if (myr_io_exists(dir)) MYR_TRY(myr_batch_attempt_move(dir, b->output.data, row->name, err));
        files += row->file_count;
        bytes += row->byte_count;
    }
    return run_check_files(b, files, bytes, err);
}

static myr_rc run_execute(batch *b, myr_batch_report *report, myr_err *err)
{
    b->output.is_kept = false; /* from here on we finish it, or it is over */
    MYR_TRY(run_tell_plan(b, err));
    MYR_TRY(myr_batch_work_off(b, err));
    MYR_TRY(run_check_rows(b, err));
    MYR_TRY(myr_batch_record_write(b, err));
    MYR_TRY(run_collect(b, err));
    batch_manifest manifest = {
        .run_id = b->run_id, .fleet = b->opts.fleet, .release = b->fleet->release, .rows = b->done_rows};
    memcpy(manifest.fingerprint, b->fingerprint, sizeof manifest.fingerprint);
    return myr_batch_output_publish(&b->output, &manifest, &report->output_files, &report->output_bytes, err);
}

static void run_report(const batch *b, myr_batch_report *report)
{
    myr_batch_counts_report(&b->rows, report);
    report->run_id = b->run_id;
    report->release = b->fleet->release;
    report->rows = b->done_rows;
    report->mini_batches = b->root_count;
    report->mini_batches_failed = b->failed_count;
    report->attempts_lost = b->attempts_lost;
    report->dead_rows = b->rows.dead.count + b->failed_rows;
    (void)snprintf(report->dropped_columns, sizeof report->dropped_columns, "%s",
                   b->plan.dropped != NULL ? b->plan.dropped : "");
    report->duration_ms = (myr_clock_mono_ns() - b->begin_ns) / 1000000;
}

/* From the stage on: done or failed, the ledger says how it ended. */
static myr_rc run_to_its_end(batch *b, myr_rc rc, myr_batch_report *out, myr_err *err)
{
    myr_batch_report report = {0};
    myr_err local = {0};
    if (err == NULL) err = &local; /* the message goes into the ledger too */
    if (rc == MYR_OK) rc = run_execute(b, &report, err);
    const char *state = rc == MYR_CANCELLED ? "canceled" : "failed";
    if (rc != MYR_OK) {
        MYR_IGNORE(myr_batch_record_write(b, NULL)); /* rc is the one to tell */
        MYR_IGNORE(myr_batch_report_write(b, state, err->message, NULL));
        MYR_IGNORE(myr_registry_run_end(b->workspace->registry, b->run_id, state, b->done_rows,
                                        b->rows.counts.status_rows[MYR_ROW_OK], err->message,
                                        NULL)); /* rc is the one to tell */
        return rc;
    }
    run_report(b, &report);
    MYR_TRY(myr_registry_run_end(b->workspace->registry, b->run_id, "completed", report.rows,
                                 report.status_rows[MYR_ROW_OK], "", err));
    MYR_IGNORE(myr_batch_report_write(b, "completed", "", NULL)); /* the output is there, and the ledger knows it */
    *out = report;
    return MYR_OK;
}

/* ---- a run that was done before ---- */

/* Whether what a mini-batch wrote is still there: where it was written, or where everything is put together. */
static bool run_has_files(const batch *b, const myr_mini_batch_row *row)
{
    char dir[MYR_PATH_BYTES_MAX];
    int size = snprintf(dir, sizeof dir, "%s/work/%s-%lld", b->output.staging, row->name, (long long)row->attempts);
    return (size > 0 && (size_t)size < sizeof dir && myr_io_exists(dir)) || myr_io_exists(b->output.data);
}

static myr_rc run_load_tasks(batch *b, int64_t run_id, bool needs_files, myr_err *err)
{
    myr_mini_batch_row *rows = NULL;
    size_t count = 0;
    MYR_TRY(myr_registry_mini_batches(b->workspace->registry, b->arena, run_id, &rows, &count, err));
    for (size_t i = 0; i < count; i++) {
        batch_task *task = NULL;
        int64_t done = 0;
        MYR_TRY(myr_batch_task_add(b, &rows[i], &task, err));
        if (strcmp(rows[i].state, "done") != 0) continue;
        if (needs_files && !run_has_files(b, &rows[i])) {
            task->row.state = "created";
            continue;
        }
        MYR_TRY(myr_batch_counts_add(&b->rows, rows[i].report, &done, err));
        b->done_rows += done;
    }
    b->dead_rows = b->rows.dead.count;
    b->written_count = b->task_count;
    while ((size_t)b->root_count < b->task_count && strchr(b->tasks[b->root_count]->row.name, '.') == NULL)
        b->root_count++;
    for (size_t i = 0; i < b->task_count; i++) {
        batch_task *task = b->tasks[i], *root = myr_batch_task_root(b, task);
        if (strcmp(task->row.state, "failed") != 0) continue;
        b->failed_count += !root->has_failed;
        root->has_failed = true;
        b->failed_rows += task->row.row_count > 0 ? task->row.row_count : 1;
    }
    return MYR_OK;
}

/* The output that is there is what this run would make. */
static bool run_is_there(const batch *b, batch_manifest *manifest, myr_batch_report *report)
{
    return !b->asked->force && myr_batch_manifest_read(b->output.path, manifest) &&
           strcmp(manifest->fingerprint, b->fingerprint) == 0 &&
           myr_batch_manifest_holds(b->output.path, &report->output_files, &report->output_bytes);
}

static myr_rc run_unchanged(batch *b, const batch_manifest *manifest, myr_batch_report *report, myr_err *err)
{
    b->run_id = manifest->run_id;
    MYR_TRY(run_load_tasks(b, manifest->run_id, false, err));
    b->done_rows = manifest->rows;
    run_report(b, report);
    report->is_unchanged = true;
    return MYR_OK;
}

/* Errors: NOT_FOUND (fleet, release, input), BAD_INPUT (table), EXISTS (output), NO_SPACE, IO, NO_MEMORY. Thread: the
 * workspace's. */
myr_rc myr_batch_run(myr_workspace *workspace, const myr_batch_opts *opts, myr_batch_report *out, myr_err *err)
{
    MYR_ASSERT(opts->fleet != NULL && opts->input != NULL && opts->output != NULL);
    MYR_AUTO(batch) b = {.workspace = workspace, .opts = *opts, .asked = opts};
    myr_batch_report report = {0};
    batch_manifest manifest;
    MYR_TRY(run_begin(&b, err));
    MYR_TRY(run_absolute(&b, &b.opts.input, err));
    MYR_TRY(run_prepare(&b, err));
    if (run_is_there(&b, &manifest, &report)) {
        MYR_TRY(run_unchanged(&b, &manifest, &report, err));
        *out = report;
        return MYR_OK;
    }
    MYR_TRY(myr_batch_output_sweep(&b.output, workspace->registry, err));
    MYR_TRY(myr_batch_split(&b, err));
    MYR_TRY(run_start(&b, err));
    return run_to_its_end(&b, myr_batch_output_stage(&b.output, b.run_id, err), out, err);
}

/* ---- a run that goes on ---- */

/* The newest that is not over, or the one that is asked for. */
static myr_rc resume_find(batch *b, int64_t run_id, myr_run_row *out, myr_err *err)
{
    myr_registry *registry = b->workspace->registry;
    if (run_id == 0) {
        myr_run_row *runs = NULL;
        size_t count = 0;
        MYR_TRY(myr_registry_runs(registry, b->arena, &runs, &count, err));
        for (size_t i = 0; i < count && run_id == 0; i++) {
            if (strcmp(runs[i].state, "running") == 0 && runs[i].fingerprint[0] != '\0') run_id = runs[i].id;
        }
        if (run_id == 0) MYR_FAIL(err, NOT_FOUND, "no run is unfinished: `myriad batch list` shows them");
    }
    MYR_TRY(myr_registry_run_get(registry, b->arena, run_id, out, err));
    if (strcmp(out->state, "running") != 0)
        MYR_FAIL(err, CONFLICT, "run %lld is %s: there is nothing to resume", (long long)run_id, out->state);
    if (out->settings[0] == '\0')
        MYR_FAIL(err, UNSUPPORTED, "run %lld is of an older version: begin a new one", (long long)run_id);
    return MYR_OK;
}

typedef yyjson_doc *resume_doc;
static void resume_doc_drop(resume_doc *doc)
{
    yyjson_doc_free(*doc);
}

/* The plan as it was made when the run began. */
static myr_rc resume_plan(batch *b, const myr_run_row *row, myr_err *err)
{
    MYR_AUTO(resume_doc) doc = yyjson_read(row->plan, strlen(row->plan), 0);
    yyjson_val *root = yyjson_doc_get_root(doc);
    const char *dropped = yyjson_get_str(yyjson_obj_get(root, "dropped"));
    if (dropped == NULL) MYR_FAIL(err, BAD_FORMAT, "the plan of run %lld is damaged", (long long)row->id);
    b->plan.dropped = myr_arena_strndup(b->arena, dropped, strlen(dropped));
    if (b->plan.dropped == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a batch run");
    b->plan_text = row->plan;
    return MYR_OK;
}

/* What is done stays done if its files are there; the rest is done again. */
static void resume_open_tasks(batch *b)
{
    for (size_t i = 0; i < b->task_count; i++) {
        myr_mini_batch_row *row = &b->tasks[i]->row;
        if (strcmp(row->state, "running") == 0) row->state = "created";
        if (strcmp(row->state, "created") == 0) b->left++;
        if (strcmp(row->state, "split") != 0) b->total_rows += row->row_count > 0 ? row->row_count : 0;
    }
}

/* What it is, and its lock: from here on nobody else goes on with it. */
static myr_rc resume_open(batch *b, const myr_run_row *row, myr_err *err)
{
    MYR_TRY(myr_batch_settings_parse(row->settings, strlen(row->settings), b->arena, &b->opts, err));
    b->run_id = row->id;
    (void)snprintf(b->fingerprint, sizeof b->fingerprint, "%s", row->fingerprint);
    MYR_TRY(myr_batch_output_open(row->output, &b->output, err));
    MYR_TRY(myr_batch_output_stage_again(&b->output, b->run_id, err));
    MYR_TRY(myr_registry_run_inputs(b->workspace->registry, b->arena, row->id, &b->inputs, &b->input_count, err));
    return run_open_fleet(b, err);
}

/* It had published before it was killed: what is staged is the output of before, and only the ledger is behind. */
static myr_rc resume_settle(batch *b, bool *out_is_published, myr_batch_report *report, myr_err *err)
{
    batch_manifest manifest;
    myr_batch_report found = {0};
    *out_is_published = myr_batch_manifest_read(b->output.path, &manifest) && manifest.run_id == b->run_id &&
                        strcmp(manifest.fingerprint, b->fingerprint) == 0 &&
                        myr_batch_manifest_holds(b->output.path, &found.output_files, &found.output_bytes);
    if (!*out_is_published) return MYR_OK;
    MYR_TRY(run_load_tasks(b, b->run_id, false, err));
    MYR_TRY(myr_batch_output_settle(&b->output, err));
    MYR_TRY(myr_registry_run_end(b->workspace->registry, b->run_id, "completed", b->done_rows,
                                 b->rows.counts.status_rows[MYR_ROW_OK], "killed after it had published", err));
    b->output.is_kept = false;
    run_report(b, &found);
    *report = found;
    return MYR_OK;
}

static myr_rc resume_prepare(batch *b, const myr_run_row *row, myr_err *err)
{
    char owner[192];
    MYR_TRY(myr_batch_inputs_check(b, err));
    MYR_TRY(run_start_pool(b, err));
    MYR_TRY(resume_plan(b, row, err));
    MYR_TRY(run_load_tasks(b, row->id, true, err));
    resume_open_tasks(b);
    MYR_TRY(myr_table_engine_open(1, b->opts.memory_bytes, &b->engine, err));
    return myr_registry_run_again(b->workspace->registry, row->id, run_owner(owner, sizeof owner), myr_batch_lease_ms(),
                                  err);
}

/* Thread: the workspace's. */
myr_rc myr_batch_resume(myr_workspace *workspace, int64_t run_id, const myr_batch_opts *opts, myr_batch_report *out,
                        myr_err *err)
{
    MYR_AUTO(batch) b = {.workspace = workspace, .asked = opts};
    myr_run_row row;
    bool is_published = false;
    MYR_TRY(run_begin(&b, err));
    MYR_TRY(resume_find(&b, run_id, &row, err));
    MYR_TRY(resume_open(&b, &row, err));
    MYR_TRY(resume_settle(&b, &is_published, out, err));
    if (is_published) return MYR_OK;
    MYR_TRY(resume_prepare(&b, &row, err));
    if (opts->started != NULL) opts->started(opts->ctx, b.run_id);
    return run_to_its_end(&b, MYR_OK, out, err);
}
