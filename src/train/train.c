/*
 * Training from spec to release: read, fit all segments in parallel, bring the winners in with one import (all or
 * none), make the release. Everything that is written is written after the last fit.
 */
#include <stdio.h>
#include <string.h>

#include <yyjson.h>

#include "train/internal.h"
#include "train/lapack.h"

/* One training: owned by the caller's stack; items are fitted by several threads, each with its own scratch. */
typedef struct train_run {
    myr_workspace *workspace;
    myr_train_plan *plan;
    myr_train_xgboost *xgboost;
    myr_train_lapack lapack;
    myr_train_table *table;
    myr_train_scratch *scratches;
    int threads;
    myr_mutex lock; /* guards done and the calls of progress */
    int64_t done;
    myr_train_progress progress;
    void *progress_ctx;
    myr_train_report *report;
} train_run;

static void train_tell(train_run *run, const char *stage, int64_t done, int64_t total)
{
    if (run->progress != NULL) run->progress(run->progress_ctx, stage, done, total);
}

static void train_run_fini(train_run *run)
{
    for (int i = 0; run->scratches != NULL && i < run->threads; i++)
        myr_train_scratch_fini(&run->scratches[i]);
    myr_free(run->scratches);
    myr_train_table_free(run->table);
    myr_train_xgboost_close(run->xgboost);
    myr_train_plan_free(run->plan);
    myr_mutex_fini(&run->lock);
}

/* ---- before the fits ---- */

static int train_threads(const myr_train_plan *plan, int asked)
{
    int threads = asked > 0 ? asked : plan->threads > 0 ? (int)plan->threads : myr_cpu_count();
    return threads < MYR_PARALLEL_THREADS_MAX ? threads : MYR_PARALLEL_THREADS_MAX;
}

static myr_rc train_open(train_run *run, const char *spec_path, int threads, myr_err *err)
{
    bool needs_xgboost = false, needs_lapack = false;
    MYR_TRY(myr_train_plan_load(spec_path, &run->plan, err));
    for (uint32_t c = 0; c < run->plan->candidate_count; c++) {
        needs_xgboost = needs_xgboost || run->plan->candidates[c].algorithm->needs_xgboost;
        needs_lapack = needs_lapack || run->plan->candidates[c].algorithm->needs_lapack;
    }
    if (needs_xgboost) MYR_TRY(myr_train_xgboost_open(&run->xgboost, err)); /* said before any work is done */
    if (needs_lapack) MYR_TRY(myr_train_lapack_open(&run->lapack, err));
    run->threads = train_threads(run->plan, threads);
    run->scratches = myr_calloc((size_t)run->threads, sizeof *run->scratches);
    if (run->scratches == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %d threads", run->threads);
    for (int i = 0; i < run->threads; i++)
        run->scratches[i] = (myr_train_scratch){.xgboost = run->xgboost, .lapack = &run->lapack};
    return MYR_OK;
}

/* ---- fits ---- */

static myr_rc train_fit(void *ctx, size_t item_idx, int thread_idx, myr_err *err)
{
    train_run *run = ctx;
    MYR_ASSERT(thread_idx >= 0 && thread_idx < run->threads);
    MYR_TRY(myr_train_segment_fit(run->table, &run->table->segments[item_idx], &run->scratches[thread_idx], err));
    myr_mutex_lock(&run->lock);
    train_tell(run, "fit", ++run->done, run->table->segment_count);
    myr_mutex_unlock(&run->lock);
    return MYR_OK;
}

static myr_rc train_fit_all(train_run *run, myr_err *err)
{
    const myr_train_table *t = run->table;
    if (t->order_count == 0) MYR_FAIL(err, BAD_INPUT, "%s: no row has a key and a time", run->plan->data);
    train_tell(run, "fit", 0, t->segment_count);
    MYR_TRY(myr_parallel(run->threads, t->segment_count, train_fit, run, err));
    const myr_train_segment *global = &t->segments[t->level_first[t->level_count - 1]];
    if (!global->is_fitted) {
        MYR_FAIL(err, BAD_INPUT, "%s: %u rows before the test set, at least %lld (min_rows) are needed",
                 run->plan->data, global->fit_rows, (long long)run->plan->min_rows);
    }
    return MYR_OK;
}

/* ---- registering ---- */

static myr_rc train_item(const train_run *run, const myr_train_segment *s, myr_arena *arena, myr_fleet_item *out,
                         myr_err *err)
{
    const myr_train_plan *plan = run->plan;
    const char *algorithm = plan->candidates[s->winner].algorithm->name;
    MYR_AUTO(myr_buf) metrics = {0};
    myr_train_metrics_json(plan, s, &metrics);
    MYR_TRY(myr_buf_check(&metrics, err));
    uint32_t tag_count = plan->tag_count + 2;
    myr_tag *tags = myr_arena_calloc(arena, tag_count, sizeof *tags);
    const char *text = myr_arena_strndup(arena, metrics.data, metrics.size);
    if (tags == NULL || text == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to register '%s'", s->text);
    tags[0] = (myr_tag){.key = "level", .value = myr_train_level_name(run->table, s->level)};
    tags[1] = (myr_tag){.key = "algorithm", .value = algorithm};
    if (plan->tag_count > 0) memcpy(tags + 2, plan->tags, plan->tag_count * sizeof *tags);
    *out = (myr_fleet_item){.name = "trained",
                            .data = s->artifact.data,
                            .size_bytes = s->artifact.size,
                            .segment = s->text,
                            .algorithm = algorithm,
                            .metrics = text,
                            .fingerprint = s->fingerprint,
                            .source = "train",
                            .baseline = s->baseline,
                            .tags = tags,
                            .tag_count = tag_count};
    return MYR_OK;
}

static void train_register_progress(void *ctx, int64_t done, int64_t total)
{
    train_tell(ctx, "register", done, total);
}

static myr_rc train_register(train_run *run, myr_err *err)
{
    const myr_train_plan *plan = run->plan;
    const myr_train_table *t = run->table;
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_fleet_item *items = arena != NULL ? myr_arena_calloc(arena, t->segment_count, sizeof *items) : NULL;
    if (items == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to register %u models", t->segment_count);
    size_t count = 0;
    for (uint32_t i = 0; i < t->segment_count; i++) {
        if (t->segments[i].is_fitted) MYR_TRY(train_item(run, &t->segments[i], arena, &items[count++], err));
    }
    const myr_fleet_def def = {.name = plan->fleet,
                               .partition_columns = plan->partition,
                               .partition_count = plan->partition_count,
                               .features = plan->features,
                               .feature_count = plan->feature_count,
                               .target = plan->target,
                               .target_transform = plan->transform};
    MYR_ASSERT(count > 0 && count <= t->segment_count);
    size_t failed = 0;
    myr_rc rc = myr_fleet_import(run->workspace, &def, items, count, train_register_progress, run, &failed, err);
    if (rc != MYR_OK) return failed < count ? myr_err_prefix(err, rc, "segment '%.120s': ", items[failed].segment) : rc;
    for (size_t i = 0; i < count; i++) {
        run->report->models_reused += items[i].out_reused;
        run->report->models_added += !items[i].out_reused;
    }
    return MYR_OK;
}

/* ---- files ---- */

static myr_rc train_report_path(const train_run *run, const char *suffix, char out[MYR_PATH_BYTES_MAX], myr_err *err)
{
    char name[MYR_NAME_BYTES_MAX + 32];
    snprintf(name, sizeof name, "reports/%s-%s", run->plan->fleet, suffix);
    return myr_path_join(out, MYR_PATH_BYTES_MAX, run->workspace->root, name, err);
}

/* Whether the last report of this fleet says that it wrote the file of test rows that stands there now. */
static bool train_wrote_test_file(const train_run *run)
{
    char path[MYR_PATH_BYTES_MAX], *text = NULL;
    size_t size_bytes = 0;
    if (train_report_path(run, "train.json", path, NULL) != MYR_OK) return false;
    if (myr_file_read(path, MYR_FILE_BYTES_MAX, &text, &size_bytes, NULL) != MYR_OK) return false;
    yyjson_doc *doc = yyjson_read(text, size_bytes, 0);
    const char *file = yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), "test_file"));
    bool is_ours = file != NULL && strcmp(file, run->plan->test_write) == 0;
    yyjson_doc_free(doc);
    myr_free(text);
    return is_ours;
}

/* Before any work: the test rows replace an earlier training's, never a file of someone else. */
static myr_rc train_check_test_file(train_run *run, myr_err *err)
{
    char *path = run->report->test_path;
    if (run->plan->test_write[0] == '\0') return MYR_OK;
    MYR_TRY(myr_path_join(path, MYR_PATH_BYTES_MAX, run->workspace->root, run->plan->test_write, err));
    if (!myr_io_exists(path) || train_wrote_test_file(run)) return MYR_OK;
    MYR_FAIL(err, EXISTS,
             "%s exists and is not the test rows of an earlier training of '%s': give test.write another name", path,
             run->plan->fleet);
}

/* After the report, which says whose file it is: a training that is killed between the two can be run again. */
static myr_rc train_write_test(train_run *run, myr_err *err)
{
    if (run->plan->test_write[0] == '\0') return MYR_OK;
    train_tell(run, "write", 0, 0);
    return myr_train_table_write_test(run->table, run->report->test_path, err);
}

static myr_rc train_write_reports(train_run *run, myr_err *err)
{
    char dir[MYR_PATH_BYTES_MAX];
    train_tell(run, "report", 0, 0);
    MYR_TRY(myr_path_join(dir, sizeof dir, run->workspace->root, "reports", err));
    MYR_TRY(myr_io_mkdirs(dir, err));
    MYR_TRY(train_report_path(run, "segments.svg", run->report->plot_path, err));
    MYR_TRY(myr_train_plot_write(run->table, run->report->plot_path, &run->scratches[0], err));
    MYR_TRY(train_report_path(run, "train.json", run->report->report_path, err));
    return myr_train_report_write(run->table, run->report, run->report->report_path, err);
}

/* ---- the whole ---- */

static myr_rc train_steps(train_run *run, const char *spec_path, int threads, myr_err *err)
{
    MYR_TRY(train_open(run, spec_path, threads, err));
    snprintf(run->report->fleet, sizeof run->report->fleet, "%s", run->plan->fleet);
    MYR_TRY(train_check_test_file(run, err));
    train_tell(run, "read", 0, 0);
    MYR_TRY(myr_train_table_load(run->plan, run->threads, &run->table, err));
    MYR_TRY(train_fit_all(run, err));
    myr_train_report_sum(run->table, run->report);
    MYR_TRY(train_register(run, err));
    train_tell(run, "release", 0, 0);
    MYR_TRY(myr_release_create(run->workspace, run->plan->fleet, true, &run->report->release, err));
    MYR_TRY(train_write_reports(run, err));
    return train_write_test(run, err);
}

myr_rc myr_train(myr_workspace *workspace, const char *spec_path, int threads, myr_train_progress progress,
                 void *progress_ctx, myr_train_report *out, myr_err *err)
{
    int64_t start_ns = myr_clock_mono_ns();
    myr_train_report *report = myr_calloc(1, sizeof *report);
    if (report == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to train");
    train_run run = {.workspace = workspace, .progress = progress, .progress_ctx = progress_ctx, .report = report};
    myr_mutex_init(&run.lock);
    myr_rc rc = train_steps(&run, spec_path, threads, err);
    train_run_fini(&run);
    if (rc == MYR_OK) {
        report->duration_ms = (myr_clock_mono_ns() - start_ns) / 1000000;
        *out = *report;
    }
    myr_free(report);
    return rc;
}
