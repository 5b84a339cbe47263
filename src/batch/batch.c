/*
 * A batch run, step by step: open the fleet, plan the columns, stage, map every row through the scoring path, publish,
 * write down how it ended.
 */
#include "batch/batch.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "batch/internal.h"

/* What a run holds; everything is released by batch_fini in the right order. */
typedef struct batch {
    myr_workspace *workspace;
    const myr_batch_opts *opts;
    myr_arena *arena;
    myr_fleet *fleet;
    myr_table_engine *engine;
    batch_plan plan;
    batch_rows rows;
    batch_output output;
    int64_t run_id; /* 0: no row in the registry yet */
} batch;

static void batch_drop(batch *b)
{
    myr_table_engine_close(b->engine); /* before the directory goes that it spills to */
    myr_batch_output_close(&b->output);
    myr_fleet_close(b->fleet);
    myr_mutex_fini(&b->rows.mutex);
    myr_arena_free(b->arena);
}

/* ---- before the first row ---- */

/* What the release knows of each model, by its index in the pack. */
static myr_rc batch_models(batch *b, myr_err *err)
{
    uint32_t count = b->fleet->info->model_count;
    double *baselines = myr_arena_calloc(b->arena, count + 1u, sizeof *baselines);
    int64_t *versions = myr_arena_calloc(b->arena, count + 1u, sizeof *versions);
    b->rows.is_used = myr_arena_calloc(b->arena, count + 1u, 1);
    if (baselines == NULL || versions == NULL || b->rows.is_used == NULL)
        MYR_FAIL(err, NO_MEMORY, "no memory for %u models", count);
    for (uint32_t i = 0; i < count; i++) {
        myr_pack_entry entry;
        MYR_TRY(myr_pack_get_entry(b->fleet->pack, i, &entry, err));
        versions[i] = entry.version;
        baselines[i] = NAN;
    }
    b->rows.versions = versions;
    if (!b->plan.has_target) return MYR_OK;
    myr_model_row *models = NULL;
    size_t model_count = 0;
    MYR_TRY(myr_registry_release_models(b->workspace->registry, b->arena, b->fleet->row.id, b->fleet->release, &models,
                                        &model_count, err));
    if (model_count != count) {
        MYR_FAIL(err, BAD_FORMAT, "%s release %lld: the registry knows %zu models, the pack %u", b->opts->fleet,
                 (long long)b->fleet->release, model_count, count);
    }
    for (uint32_t i = 0; i < count; i++)
        baselines[i] = models[i].baseline;
    b->rows.baselines = baselines;
    return MYR_OK;
}

static myr_rc batch_prepare(batch *b, myr_err *err)
{
    const myr_batch_opts *opts = b->opts;
    b->arena = myr_arena_new(0);
    if (b->arena == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a batch run");
    MYR_TRY(myr_fleet_open(b->workspace, opts->fleet, opts->release, &b->fleet, err));
    MYR_TRY(myr_table_engine_open(opts->threads, opts->memory_bytes, &b->engine, err));
    const char *const *files = NULL;
    size_t file_count = 0;
    MYR_TRY(myr_table_files(b->engine, opts->input, b->arena, &files, &file_count, err));
    MYR_TRY(myr_batch_plan(b->engine, b->fleet, opts, b->arena, files, &b->plan, err));
    MYR_TRY(batch_models(b, err));
    b->rows.fleet = b->fleet;
    b->rows.plan = &b->plan;
    b->rows.is_log = b->fleet->row.target_transform != NULL && strcmp(b->fleet->row.target_transform, "log") == 0;
    b->rows.progress = opts->progress;
    b->rows.progress_ctx = opts->progress_ctx;
    if (opts->progress != NULL) MYR_TRY(myr_table_count_rows(b->engine, opts->input, &b->rows.total_rows, err));
    MYR_TRY(myr_batch_output_open(opts->output, &b->output, err));
    MYR_TRY(myr_batch_output_check_input(&b->output, files, file_count, err));
    return myr_batch_output_sweep(&b->output, b->workspace->registry, err);
}

/* ---- the run ---- */

/* Each row has its status, and not all of them have a bad key: then a column is not what the fleet takes it for. */
static myr_rc batch_check_rows(const batch *b, int64_t rows, myr_err *err)
{
    const int64_t *statuses = b->rows.counts.status_rows;
    int64_t counted = 0;
    for (int i = 0; i < MYR_ROW_STATUS_COUNT; i++)
        counted += statuses[i];
    if (counted != rows) {
        MYR_FAIL(err, INTERNAL, "%s: %lld rows were scored and %lld written", b->opts->input, (long long)counted,
                 (long long)rows);
    }
    if (rows == 0 || statuses[MYR_ROW_BAD_KEY] < rows) return MYR_OK;
    MYR_FAIL(err, BAD_INPUT, "%s: no row has a usable key: %s", b->opts->input, b->rows.bad_key.message);
}

static myr_rc batch_execute(batch *b, myr_batch_report *report, myr_err *err)
{
    const myr_batch_opts *opts = b->opts;
    MYR_TRY(myr_batch_output_stage(&b->output, b->run_id, err));
    MYR_TRY(myr_table_engine_set_temp(b->engine, b->output.temp, err));
    myr_table_map map = {.input = opts->input,
                         .wants = b->plan.wants,
                         .want_count = b->plan.want_count,
                         .keep = b->plan.keep,
                         .keep_count = b->plan.keep_count,
                         .outputs = b->plan.outputs,
                         .output_count = b->plan.output_count,
                         .output_dir = b->output.data,
                         .partition_by = b->plan.partition_by,
                         .format = opts->format,
                         .fn = myr_batch_rows_score,
                         .ctx = &b->rows,
                         .make_state = myr_batch_rows_thread_new,
                         .free_state = myr_batch_rows_thread_free};
    MYR_TRY(myr_table_map_run(b->engine, &map, &report->rows, err));
    MYR_TRY(batch_check_rows(b, report->rows, err));
    batch_manifest manifest = {
        .run_id = b->run_id, .fleet = opts->fleet, .release = b->fleet->release, .rows = report->rows};
    return myr_batch_output_publish(&b->output, &manifest, &report->output_files, &report->output_bytes, err);
}

static double batch_rmse(const batch_sum *sum, int64_t row_count)
{
    return row_count > 0 ? sqrt((sum->sum + sum->rest) / (double)row_count) : 0;
}

static void batch_report(const batch *b, myr_batch_report *report)
{
    const batch_counts *counts = &b->rows.counts;
    memcpy(report->level_rows, counts->level_rows, sizeof report->level_rows);
    memcpy(report->status_rows, counts->status_rows, sizeof report->status_rows);
    for (uint32_t i = 0; i < b->fleet->info->model_count; i++)
        report->models_used += b->rows.is_used[i];
    report->run_id = b->run_id;
    report->release = b->fleet->release;
    report->compared_rows = counts->compared_rows;
    report->has_units = b->rows.is_log;
    report->trouble = b->rows.trouble;
    snprintf(report->dropped_columns, sizeof report->dropped_columns, "%s",
             b->plan.dropped != NULL ? b->plan.dropped : "");
    report->rmse = batch_rmse(&counts->error, counts->compared_rows);
    report->baseline_rmse = batch_rmse(&counts->baseline_error, counts->compared_rows);
    report->units_rmse = report->has_units ? batch_rmse(&counts->units_error, counts->compared_rows) : report->rmse;
    report->units_baseline_rmse =
        report->has_units ? batch_rmse(&counts->units_baseline_error, counts->compared_rows) : report->baseline_rmse;
}

static myr_rc batch_start(batch *b, myr_err *err)
{
    myr_run_row row = {.fleet = b->opts->fleet,
                       .release = b->fleet->release,
                       .input = b->opts->input,
                       .output = b->output.path,
                       .state = "running",
                       .started_ms = myr_clock_unix_ms(),
                       .message = ""};
    return myr_registry_run_start(b->workspace->registry, &row, &b->run_id, err);
}

/* Errors: NOT_FOUND (fleet, release, input), BAD_INPUT (table), EXISTS (output), NO_SPACE, IO, NO_MEMORY. Thread: the
 * workspace's. */
myr_rc myr_batch_run(myr_workspace *workspace, const myr_batch_opts *opts, myr_batch_report *out, myr_err *err)
{
    MYR_ASSERT(opts->fleet != NULL && opts->input != NULL && opts->output != NULL);
    int64_t begin_ns = myr_clock_mono_ns();
    MYR_AUTO(batch) b = {.workspace = workspace, .opts = opts, .output = {.lock = -1}};
    myr_mutex_init(&b.rows.mutex);
    MYR_TRY(batch_prepare(&b, err));
    MYR_TRY(batch_start(&b, err));
    myr_batch_report report = {0};
    myr_err local = {0};
    if (err == NULL) err = &local; /* the message goes into the registry too */
    myr_rc rc = batch_execute(&b, &report, err);
    if (rc != MYR_OK) {
        MYR_IGNORE(myr_registry_run_end(workspace->registry, b.run_id, "failed", 0, 0, err->message,
                                        NULL)); /* rc is the one to tell */
        return rc;
    }
    batch_report(&b, &report);
    MYR_TRY(myr_registry_run_end(workspace->registry, b.run_id, "completed", report.rows,
                                 report.status_rows[MYR_ROW_OK], "", err));
    report.duration_ms = (myr_clock_mono_ns() - begin_ns) / 1000000;
    *out = report;
    return MYR_OK;
}
