/*
 * A batch run, step by step: open the fleet, plan the columns, cut the inputs into mini-batches, write them into the
 * ledger, let workers score them, publish, write down how it ended. A run that was killed goes on from its ledger.
 */
#include "batch/batch.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "batch/sink.h"
#include "batch/source.h"

#define RUN_WARM_BYTES (8 << 20) /* inputs from here on have work for more than one worker */

void myr_batch_let_go(batch *b)
{
    myr_batch_pool_stop(b->pool); /* first: its workers write into what goes */
    b->pool = NULL;
    myr_batch_environments_drop(b);
    myr_batch_sinks_close(b);
    myr_batch_sources_close(b);
}

void myr_batch_drop(batch *b)
{
    myr_batch_let_go(b);
    myr_table_engine_close(b->engine);
    myr_fleet_close(b->fleet);
    myr_mutex_fini(&b->rows.mutex);
    myr_arena_free(b->arena);
}

const char *myr_batch_staging(const batch *b)
{
    return b->sinks[0].stage.staging;
}

/* ---- what workers are told ---- */

static int run_workers(const batch *b)
{
    int64_t count = b->asked->threads > 0 ? b->asked->threads : b->opts.limits->workers_max;
    if (count == 0) count = myr_cpu_count();
    if (b->opts.spark != NULL) count = 1; /* which has executors */
    return (int)(count < MYR_BATCH_WORKERS_MAX ? count : MYR_BATCH_WORKERS_MAX);
}

static myr_rc run_take_text(batch *b, myr_buf *text, const char **out, myr_err *err)
{
    MYR_TRY(myr_buf_check(text, err));
    *out = myr_arena_strndup(b->arena, text->data, text->size);
    if (*out == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a batch run");
    return MYR_OK;
}

static myr_rc run_settings(batch *b, myr_err *err)
{
    MYR_AUTO(myr_buf) settings = {0};
    myr_batch_settings_print(&b->opts, &settings);
    return run_take_text(b, &settings, &b->settings_text, err);
}

static myr_rc run_hello(batch *b, myr_err *err)
{
    MYR_AUTO(myr_buf) hello = {0};
    MYR_TRY(run_settings(b, err));
    myr_buf_printf(&hello, "{\"memory\":%lld,\"workspace\":", (long long)(b->opts.memory_bytes / run_workers(b)));
    myr_buf_json_string(&hello, myr_str_of(b->workspace->root));
    myr_buf_puts(&hello, ",\"open\":");
    myr_buf_json_string(&hello, myr_str_of(b->settings_text));
    myr_buf_putc(&hello, '}');
    return run_take_text(b, &hello, &b->hello, err);
}

myr_rc myr_batch_start_pool(batch *b, myr_err *err)
{
    MYR_TRY(run_hello(b, err));
    b->worker_count = run_workers(b);
    batch_pool_opts opts = {.workspace = b->workspace->root,
                            .hello = b->hello,
                            .min = (int)b->opts.limits->workers_min,
                            .max = b->worker_count,
                            .cpu_milli = b->opts.limits->worker_cpu_milli,
                            .cgroup = b->opts.cgroup,
                            .idle_ms = b->opts.limits->idle_ms,
                            .memory_bytes = b->opts.limits->worker_memory_bytes};
    if (b->opts.spark != NULL) MYR_TRY(myr_batch_spark_pool(b, &opts, err));
    return myr_batch_pool_start(&opts, &b->pool, err);
}

static myr_rc run_files(batch *b, batch_files *out, myr_err *err)
{
    const char **paths = myr_arena_calloc(b->arena, b->input_count + 1, sizeof *paths);
    if (paths == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a list of %zu files", b->input_count);
    for (size_t i = 0; i < b->input_count; i++)
        paths[i] = b->inputs[i].path;
    *out = (batch_files){.input = b->input_name, .paths = paths, .count = b->input_count};
    return MYR_OK;
}

/* How inputs are read, for workers, and for whoever goes on with the run. */
static myr_rc run_plan_text(batch *b, const batch_files *files, myr_err *err)
{
    MYR_AUTO(myr_buf) table = {0};
    MYR_AUTO(myr_buf) plan = {0};
    myr_table_map map = myr_batch_plan_map(&b->plan, &b->opts);
    map.input = files->input;
    map.files = files->paths;
    map.file_count = files->count;
    MYR_TRY(myr_table_map_plan(b->engine, &map, &table, err));
    MYR_TRY(run_take_text(b, &table, &b->table_plan, err));
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
    myr_buf_json_string(&frame, myr_str_of(b->sinks[0].stage.temp));
    myr_buf_putc(&frame, ',');
    if (b->opts.spark != NULL) myr_batch_spark_files(b, &frame);
    myr_buf_puts(&frame, b->plan_text + 1); /* past its brace */
    MYR_TRY(run_take_text(b, &frame, &text, err));
    myr_batch_pool_plan(b->pool, text);
    return MYR_OK;
}

/* ---- before the first row ---- */

myr_rc myr_batch_begin(batch *b, myr_err *err)
{
    static const myr_batch_limits none;
    myr_batch_limits *limits = NULL;
    myr_mutex_init(&b->rows.mutex);
    b->brought_lock = -1;
    b->begin_ns = myr_clock_mono_ns();
    b->arena = myr_arena_new(0);
    if (b->arena != NULL) limits = myr_arena_calloc(b->arena, 1, sizeof none);
    if (limits == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a batch run");
    *limits = b->opts.limits != NULL ? *b->opts.limits : myr_batch_limits_default();
    b->opts.limits = limits;
    return MYR_OK;
}

/* The fleet, and room for what is counted over its models. */
myr_rc myr_batch_open_fleet(batch *b, myr_err *err)
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
    batch_files files;
    int64_t bytes = 0;
    MYR_TRY(myr_batch_paths(b, err));
    MYR_TRY(myr_batch_spark_check(b, err));
    MYR_TRY(myr_batch_open_fleet(b, err));
    MYR_TRY(myr_batch_start_pool(b, err)); /* workers open what they need while the inputs are looked at */
    MYR_TRY(myr_table_engine_open(0, b->opts.memory_bytes, &b->engine, err));
    myr_table_engine_set_lenient(b->engine, b->opts.limits->mini_batch_error_threshold != 0);
    MYR_TRY(myr_batch_sources_find(b, err));
    for (size_t i = 0; i < b->input_count; i++)
        bytes += b->inputs[i].bytes;
    if (bytes >= RUN_WARM_BYTES) myr_batch_pool_warm(b->pool, run_workers(b));
    MYR_TRY(run_files(b, &files, err));
    myr_rc rc = myr_batch_plan(b->engine, b->fleet, &b->opts, b->arena, &files, &b->plan, err);
    if (rc == MYR_OK) rc = run_plan_text(b, &files, err);
    if (rc != MYR_OK) {
        myr_batch_sources_rename_any(b, err);
        return rc;
    }
    MYR_TRY(myr_batch_predictions_check(b, err));
    MYR_TRY(myr_batch_sinks_open(b, err));
    MYR_TRY(myr_batch_sinks_check(b, err));
    MYR_TRY(run_settings(b, err)); /* with paths that mean the same from anywhere */
    return run_fingerprint(b, err);
}

/* ---- the ledger ---- */

const char *myr_batch_owner(char *out, size_t out_bytes)
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
    b->started_ms = myr_clock_unix_ms();
    myr_run_row row = {.fleet = b->opts.fleet,
                       .release = b->fleet->release,
                       .input = b->input_name,
                       .output = b->sinks[0].name,
                       .started_ms = b->started_ms,
                       .job = b->opts.job,
                       .fingerprint = b->fingerprint,
                       .owner = myr_batch_owner(owner, sizeof owner),
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
myr_rc myr_batch_start(batch *b, myr_err *err)
{
    MYR_TRY(myr_registry_begin(b->workspace->registry, err));
    myr_rc rc = run_write(b, err);
    if (rc == MYR_OK) rc = myr_registry_commit(b->workspace->registry, err);
    if (rc != MYR_OK) {
        myr_registry_rollback(b->workspace->registry);
        b->run_id = 0;
        return rc;
    }
    if (b->asked->started != NULL) b->asked->started(b->asked->ctx, b->run_id, b->settings_text);
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
        MYR_FAIL(err, INTERNAL, "%s: %lld rows were scored and %lld written", b->input_name, (long long)counted,
                 (long long)b->done_rows);
    }
    if (counted == 0 || b->rows.counts.status_rows[MYR_ROW_BAD_KEY] < counted) return MYR_OK;
    MYR_FAIL(err, BAD_INPUT, "%s: no row has a usable key: %s", b->input_name, b->rows.bad_key.message);
}

/* The place is away, for now: what is scored waits for `batch resume`. */
static myr_rc run_wait(batch *b, myr_rc rc, myr_err *err)
{
    if (rc != MYR_UNAVAILABLE && rc != MYR_TIMEOUT && rc != MYR_BUSY) return rc;
    myr_batch_sinks_keep(b, true);
    return myr_err_prefix(err, rc, "run %lld is scored and not published yet, `myriad batch resume %lld` goes on: ",
                          (long long)b->run_id, (long long)b->run_id);
}

static myr_rc run_execute(batch *b, myr_batch_report *report, myr_err *err)
{
    myr_batch_sinks_keep(b, false); /* from here on we finish it, or it is over */
    MYR_TRY(myr_batch_environments_make(b, err));
    MYR_TRY(run_tell_plan(b, err));
    MYR_TRY(myr_batch_group(b, err));
    MYR_TRY(myr_batch_work_off(b, err));
    myr_batch_pool_dismiss(b->pool);
    MYR_TRY(run_check_rows(b, err));
    MYR_TRY(myr_batch_record_write(b, err));
    myr_rc rc = myr_batch_publish(b, report, err);
    return rc == MYR_OK ? rc : run_wait(b, rc, err);
}

void myr_batch_report_fill(const batch *b, myr_batch_report *report)
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
myr_rc myr_batch_to_its_end(batch *b, myr_rc rc, myr_batch_report *out, myr_err *err)
{
    myr_batch_report report = {0};
    myr_err local = {0};
    if (err == NULL) err = &local; /* the message goes into the ledger too */
    if (rc == MYR_OK) rc = run_execute(b, &report, err);
    const char *state = rc == MYR_CANCELLED ? "canceled" : "failed";
    if (rc != MYR_OK && b->is_kept) { /* not over: its lease is */
        bool unused = false;
        MYR_IGNORE(myr_registry_run_beat(b->workspace->registry, b->run_id, myr_clock_unix_ms(), b->done_rows, &unused,
                                         NULL)); /* rc is the one to tell */
        return rc;
    }
    if (rc != MYR_OK) {
        MYR_IGNORE(myr_batch_record_write(b, NULL)); /* rc is the one to tell */
        MYR_IGNORE(myr_batch_report_write(b, state, err->message, NULL));
        MYR_IGNORE(myr_registry_run_end(b->workspace->registry, b->run_id, state, b->done_rows,
                                        b->rows.counts.status_rows[MYR_ROW_OK], err->message,
                                        NULL)); /* rc is the one to tell */
        return rc;
    }
    myr_batch_report_fill(b, &report);
    MYR_TRY(myr_registry_run_end(b->workspace->registry, b->run_id, "completed", report.rows,
                                 report.status_rows[MYR_ROW_OK], "", err));
    MYR_IGNORE(myr_batch_report_write(b, "completed", "", NULL)); /* the output is there, and the ledger knows it */
    *out = report;
    return MYR_OK;
}

/* ---- a run whose output is there already ---- */

static myr_rc run_unchanged(batch *b, const batch_manifest *manifest, myr_batch_report *report, myr_err *err)
{
    b->run_id = manifest->run_id;
    MYR_TRY(myr_batch_load_tasks(b, manifest->run_id, NULL, err));
    if (b->task_count == 0) b->done_rows = manifest->rows; /* of another registry */
    myr_batch_report_fill(b, report);
    report->output_files = manifest->files;
    report->output_bytes = manifest->bytes;
    report->is_unchanged = true;
    return MYR_OK;
}

static myr_rc run_new(batch *b, myr_batch_report *out, myr_err *err)
{
    myr_batch_report report = {0};
    batch_manifest manifest;
    bool is_there = false;
    MYR_TRY(myr_batch_begin(b, err));
    MYR_TRY(run_prepare(b, err));
    MYR_TRY(myr_batch_sinks_sweep(b, err)); /* also when nothing is to be done: a dead run may have made it */
    MYR_TRY(myr_batch_sources_sweep(b, err));
    if (!b->asked->force) MYR_TRY(myr_batch_sinks_hold(b, 0, &manifest, &is_there, err));
    if (is_there) {
        MYR_TRY(run_unchanged(b, &manifest, &report, err));
        *out = report;
        return MYR_OK;
    }
    if (b->opts.spark != NULL) MYR_TRY(myr_batch_spark_split(b, err));
    if (b->opts.spark == NULL && b->opts.partition_keys == NULL) MYR_TRY(myr_batch_split(b, err));
    MYR_TRY(myr_batch_start(b, err));
    myr_rc rc = myr_batch_sinks_stage(b, false, err);
    if (rc == MYR_OK) rc = myr_batch_group_place(b, err);
    return myr_batch_to_its_end(b, rc, out, err);
}

/* Errors: NOT_FOUND (fleet, release, input), BAD_INPUT (table), EXISTS (output), NO_SPACE, IO, NO_MEMORY. Thread: the
 * workspace's. */
myr_rc myr_batch_run(myr_workspace *workspace, const myr_batch_opts *opts, myr_batch_report *out, myr_err *err)
{
    MYR_ASSERT(opts->fleet != NULL && opts->output != NULL);
    MYR_ASSERT((opts->input.items != NULL) + (opts->input.sql != NULL) + (opts->input.table != NULL) == 1);
    MYR_AUTO(batch) b = {.workspace = workspace, .opts = *opts, .asked = opts};
    myr_err local = {0};
    if (err == NULL) err = &local; /* the message is told */
    myr_rc rc = run_new(&b, out, err);
    myr_batch_notify_send(&b, rc, rc == MYR_OK && out->is_unchanged, rc == MYR_OK ? "" : err->message);
    return rc;
}
