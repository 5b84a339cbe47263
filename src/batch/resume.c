/* A run that goes on: what it is stands in the ledger, what is done stays done, and whatever is left is done. */
#include <stdio.h>
#include <string.h>
#include <yyjson.h>

#include "batch/sink.h"
#include "batch/source.h"

/* ---- what is done ---- */

/* Whether what a mini-batch wrote is still there: where it was written, or where everything is put together. */
static bool resume_has_files(const batch *b, const myr_mini_batch_row *row)
{
    char dir[MYR_PATH_BYTES_MAX];
    int size = snprintf(dir, sizeof dir, "%s/work/%s-%lld", myr_batch_staging(b), row->name, (long long)row->attempts);
    return (size > 0 && (size_t)size < sizeof dir && myr_io_exists(dir)) || myr_io_exists(b->sinks[0].stage.data);
}

/* Whether it is done, but what it wrote is gone. */
static bool resume_lacks_files(const batch *b, const myr_mini_batch_row *row)
{
    return strcmp(row->state, "done") == 0 && !resume_has_files(b, row);
}

myr_rc myr_batch_load_tasks(batch *b, int64_t run_id, batch_redo redo, myr_err *err)
{
    myr_mini_batch_row *rows = NULL;
    size_t count = 0;
    MYR_TRY(myr_registry_mini_batches(b->workspace->registry, b->arena, run_id, &rows, &count, err));
    for (size_t i = 0; i < count; i++) {
        batch_task *task = NULL;
        int64_t done = 0;
        MYR_TRY(myr_batch_task_add(b, &rows[i], &task, err));
        if (redo != NULL && redo(b, &rows[i])) {
            task->row.state = "created";
            task->row.message = task->row.report = "";
            task->row.dead_count = 0;
            task->attempts_before = rows[i].attempts;
        }
        if (strcmp(task->row.state, "done") != 0) continue;
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

/* ---- a run that goes on ---- */

static const batch_wanted resume_wanted = {"running", "unfinished", "there is nothing to resume"};

myr_rc myr_batch_find_run(batch *b, int64_t run_id, const batch_wanted *wanted, myr_run_row *out, myr_err *err)
{
    myr_registry *registry = b->workspace->registry;
    if (run_id == 0) MYR_TRY(myr_registry_run_newest(registry, wanted->state, &run_id, err));
    if (run_id == 0) MYR_FAIL(err, NOT_FOUND, "no run is %s: `myriad batch list` shows them", wanted->called);
    MYR_TRY(myr_registry_run_get(registry, b->arena, run_id, out, err));
    if (strcmp(out->state, wanted->state) != 0)
        MYR_FAIL(err, CONFLICT, "run %lld is %s: %s", (long long)run_id, out->state, wanted->else_why);
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
myr_rc myr_batch_read_plan(batch *b, const myr_run_row *row, myr_err *err)
{
    MYR_AUTO(resume_doc) doc = yyjson_read(row->plan, strlen(row->plan), 0);
    yyjson_val *root = yyjson_doc_get_root(doc);
    const char *dropped = yyjson_get_str(yyjson_obj_get(root, "dropped"));
    const char *table = yyjson_get_str(yyjson_obj_get(root, "plan"));
    bool has_target = yyjson_get_bool(yyjson_obj_get(root, "has_target"));
    myr_batch_opts opts = b->opts;
    opts.keep = myr_batch_settings_list(yyjson_obj_get(root, "keep"), b->arena);
    if (dropped == NULL || table == NULL || opts.keep == NULL)
        MYR_FAIL(err, BAD_FORMAT, "the plan of run %lld is damaged", (long long)row->id);
    MYR_TRY(myr_batch_plan_again(b->fleet, &opts, has_target, b->arena, &b->plan, err));
    b->plan.dropped = myr_arena_strndup(b->arena, dropped, strlen(dropped));
    b->table_plan = myr_arena_strndup(b->arena, table, strlen(table));
    if (b->plan.dropped == NULL || b->table_plan == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a batch run");
    b->plan_text = row->plan;
    return MYR_OK;
}

/* What is done stays done if its files are there; the rest is done again. */
void myr_batch_open_tasks(batch *b)
{
    for (size_t i = 0; i < b->task_count; i++) {
        myr_mini_batch_row *row = &b->tasks[i]->row;
        if (strcmp(row->state, "running") == 0) row->state = "created";
        if (strcmp(row->state, "created") == 0) b->left++;
        if (strcmp(row->state, "split") != 0) b->total_rows += row->row_count > 0 ? row->row_count : 0;
    }
}

myr_rc myr_batch_read(batch *b, const myr_run_row *row, myr_err *err)
{
    MYR_TRY(myr_batch_settings_parse(row->settings, strlen(row->settings), b->arena, &b->opts, err));
    (void)snprintf(b->fingerprint, sizeof b->fingerprint, "%s", row->fingerprint);
    return myr_batch_sinks_open(b, err);
}

/* What it is, and its lock: from here on nobody else goes on with it. */
static myr_rc resume_open(batch *b, const myr_run_row *row, myr_err *err)
{
    b->run_id = row->id;
    b->started_ms = row->started_ms;
    MYR_TRY(myr_batch_read(b, row, err));
    myr_batch_sinks_keep(b, true); /* until we begin to finish it */
    MYR_TRY(myr_batch_sinks_stage(b, true, err));
    MYR_TRY(myr_batch_group_place(b, err));
    MYR_TRY(myr_batch_sources_again(b, row->id, err));
    return myr_batch_open_fleet(b, err);
}

/* It had published before it was killed: what is staged is the output of before, and only the ledger is behind. */
static myr_rc resume_settle(batch *b, bool *out_is_published, myr_batch_report *report, myr_err *err)
{
    batch_manifest manifest;
    myr_batch_report found = {0};
    MYR_TRY(myr_batch_sinks_hold(b, b->run_id, &manifest, out_is_published, err));
    if (!*out_is_published) return MYR_OK;
    MYR_TRY(myr_batch_load_tasks(b, b->run_id, NULL, err));
    MYR_TRY(myr_batch_sinks_settle(b, err));
    MYR_TRY(myr_registry_run_end(b->workspace->registry, b->run_id, "completed", b->done_rows,
                                 b->rows.counts.status_rows[MYR_ROW_OK], "killed after it had published", err));
    myr_batch_sinks_keep(b, false);
    myr_batch_report_fill(b, &found);
    found.output_files = manifest.files;
    found.output_bytes = manifest.bytes;
    *report = found;
    return MYR_OK;
}

static myr_rc resume_prepare(batch *b, const myr_run_row *row, myr_err *err)
{
    char owner[192];
    MYR_TRY(myr_batch_sources_check(b, err));
    MYR_TRY(myr_batch_start_pool(b, err));
    MYR_TRY(myr_batch_read_plan(b, row, err));
    MYR_TRY(myr_batch_load_tasks(b, row->id, resume_lacks_files, err));
    myr_batch_open_tasks(b);
    MYR_TRY(myr_table_engine_open(1, b->opts.memory_bytes, &b->engine, err));
    return myr_registry_run_again(b->workspace->registry, row->id, myr_batch_owner(owner, sizeof owner),
                                  myr_batch_lease_ms(), err);
}

static myr_rc resume_run(batch *b, int64_t run_id, myr_batch_report *out, myr_err *err)
{
    myr_run_row row;
    bool is_published = false;
    MYR_TRY(myr_batch_begin(b, err));
    MYR_TRY(myr_batch_find_run(b, run_id, &resume_wanted, &row, err));
    MYR_TRY(resume_open(b, &row, err));
    MYR_TRY(resume_settle(b, &is_published, out, err));
    if (is_published) return MYR_OK;
    MYR_TRY(resume_prepare(b, &row, err));
    if (b->asked->started != NULL) b->asked->started(b->asked->ctx, b->run_id, b->settings_text);
    return myr_batch_to_its_end(b, MYR_OK, out, err);
}

/* Thread: the workspace's. */
myr_rc myr_batch_resume(myr_workspace *workspace, int64_t run_id, const myr_batch_opts *opts, myr_batch_report *out,
                        myr_err *err)
{
    MYR_AUTO(batch) b = {.workspace = workspace, .asked = opts};
    myr_err local = {0};
    if (err == NULL) err = &local; /* the message is told */
    myr_rc rc = resume_run(&b, run_id, out, err);
    myr_batch_notify_send(&b, rc, false, rc == MYR_OK ? "" : err->message);
    return rc;
}
