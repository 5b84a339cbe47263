/*
 * What failed in a completed run, tried again: a run of its own, with the settings, inputs and release of the first and
 * its mini-batches. Those that are not tried again are done from the beginning: their files are taken over from the
 * output by a second name (a copy, where the file system has no such), their dead letters from its record.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <yyjson.h>

#include "base/link.h"
#include "batch/sink.h"
#include "batch/source.h"

#define RETRY_LINE_BYTES_MAX (1 << 20)
#define RETRY_KEPT_TEMP      "kept" /* below what is staged, until all is there */

/* ---- which ---- */

static const batch_wanted retry_wanted = {"completed", "completed", "only a completed one has an output to be mended"};

typedef yyjson_doc *retry_doc;
static void retry_doc_drop(retry_doc *doc)
{
    yyjson_doc_free(*doc);
}

/* Another attempt may answer a row whose model could not be asked or read; a key without a model stays one. */
static bool retry_may_help(const myr_mini_batch_row *row)
{
    MYR_AUTO(retry_doc) doc = yyjson_read(row->report, strlen(row->report), 0);
    yyjson_val *statuses = yyjson_obj_get(yyjson_doc_get_root(doc), "statuses");
    return yyjson_get_sint(yyjson_arr_get(statuses, MYR_ROW_UNAVAILABLE)) > 0 ||
           yyjson_get_sint(yyjson_arr_get(statuses, MYR_ROW_BROKEN_MODEL)) > 0 ||
           yyjson_get_sint(yyjson_arr_get(statuses, MYR_ROW_FAILED)) > 0;
}

static bool retry_redo(const batch *b, const myr_mini_batch_row *row)
{
    (void)b;
    return strcmp(row->state, "failed") == 0 || (strcmp(row->state, "done") == 0 && retry_may_help(row));
}

/* The output must still be the one that this run made. */
static myr_rc retry_check_output(batch *b, int64_t run_id, myr_err *err)
{
    batch_manifest manifest = {0};
    bool is_there = false;
    if (b->sink_count != 1 || b->sinks[0].kind != &myr_batch_sink_dir) {
        MYR_FAIL(err, UNSUPPORTED, "run %lld did not write into a directory: begin a new run with --force",
                 (long long)run_id);
    }
    if (myr_batch_manifest_read(b->sinks[0].name, &manifest) && manifest.run_id != run_id) {
        MYR_FAIL(err, CONFLICT, "%s is the output of run %lld by now, not of run %lld", b->sinks[0].name,
                 (long long)manifest.run_id, (long long)run_id);
    }
    MYR_TRY(myr_batch_sinks_hold(b, run_id, &manifest, &is_there, err));
    if (!is_there) {
        MYR_FAIL(err, CONFLICT, "%s is not what run %lld wrote any more: begin a new run", b->sinks[0].name,
                 (long long)run_id);
    }
    if (b->opts.action == MYR_BATCH_APPEND) {
        MYR_FAIL(err, UNSUPPORTED,
                 "run %lld wrote one file (output_action: append_row), of which no part can be "
                 "replaced: begin a new run with --force",
                 (long long)run_id);
    }
    return MYR_OK;
}

/* ---- what is kept ---- */

static batch_task *retry_find_task(const batch *b, myr_str name)
{
    for (size_t i = 0; i < b->task_count; i++) {
        if (myr_str_is(name, b->tasks[i]->row.name)) return b->tasks[i];
    }
    return NULL;
}

/* `part-07.0-1.parquet` is of 07.0. */
static bool retry_is_kept(const myr_map *kept, const char *file)
{
    static const char prefix[] = "part-";
    myr_str rest = myr_str_of(file);
    if (!myr_str_starts_with(rest, prefix)) return false;
    rest = myr_str_make(rest.data + strlen(prefix), rest.size - strlen(prefix));
    const char *dash = memchr(rest.data, '-', rest.size);
    if (dash != NULL) {
        rest.size = (size_t)(dash - rest.data);
    } else {
        const char *dot = strrchr(rest.data, '.');
        if (dot == NULL) return false;
        rest.size = (size_t)(dot - rest.data);
    }
    return myr_map_find(kept, rest, NULL);
}

static myr_rc retry_take_over(const char *from, const char *to, myr_err *err)
{
    myr_rc rc = myr_io_link(from, to, err);
    return rc == MYR_UNSUPPORTED ? myr_batch_copy(from, to, err) : rc;
}

/* Calls itself for directories; depth bounds it. */
static myr_rc retry_keep_files(const myr_map *kept, const char *from, const char *to, int depth, myr_err *err)
{
    char **names = NULL;
    size_t count = 0;
    if (depth > BATCH_DEPTH_MAX)
        MYR_FAIL(err, TOO_LARGE, "%s: directories are nested more than %d deep", from, BATCH_DEPTH_MAX);
    MYR_TRY(myr_io_list(from, &names, &count, err));
    myr_rc rc = MYR_OK;
    for (size_t i = 0; rc == MYR_OK && i < count; i++) {
        char path[MYR_PATH_BYTES_MAX], kept_path[MYR_PATH_BYTES_MAX];
        rc = myr_path_join(path, sizeof path, from, names[i], err);
        if (rc == MYR_OK) rc = myr_path_join(kept_path, sizeof kept_path, to, names[i], err);
        if (rc != MYR_OK) break;
        if (myr_io_is_dir(path)) {
            rc = myr_io_mkdirs(kept_path, err);
            if (rc == MYR_OK) rc = retry_keep_files(kept, path, kept_path, depth + 1, err);
        } else if (retry_is_kept(kept, names[i])) {
            rc = retry_take_over(path, kept_path, err);
        }
    }
    myr_names_free(names, count);
    return rc;
}

/* The lines of one mini-batch stand together. */
static myr_rc retry_keep_letters(const batch *b, const char *text, size_t size, myr_err *err)
{
    myr_str rest = myr_str_make(text, size), line;
    batch_task *now = NULL;
    MYR_AUTO(myr_buf) lines = {0};
    for (;;) {
        bool is_over = !myr_str_split(&rest, '\n', &line);
        batch_task *task = NULL;
        if (!is_over && line.size > 0) {
            MYR_AUTO(retry_doc) doc = yyjson_read(line.data, line.size, 0);
            const char *name = yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), "mini_batch"));
            task = name != NULL ? retry_find_task(b, myr_str_of(name)) : NULL;
        }
        if (task != now || is_over) {
            if (now != NULL && strcmp(now->row.state, "done") == 0) {
                char path[MYR_PATH_BYTES_MAX];
                MYR_TRY(myr_buf_check(&lines, err));
                int bytes = snprintf(path, sizeof path, "%s/work/%s-%lld.jsonl", myr_batch_staging(b), now->row.name,
                                     (long long)now->row.attempts);
                if (bytes < 0 || (size_t)bytes >= sizeof path)
                    MYR_FAIL(err, BAD_INPUT, "%s: the path is too long", myr_batch_staging(b));
                MYR_TRY(myr_file_write(path, lines.data, lines.size, err));
            }
            myr_buf_clear(&lines);
            now = task;
        }
        if (is_over) return MYR_OK;
        if (task == NULL) continue;
        myr_buf_append(&lines, line.data, line.size);
        myr_buf_putc(&lines, '\n');
    }
}

static myr_rc retry_keep_dead(const batch *b, int64_t run_id, myr_err *err)
{
    char dir[MYR_PATH_BYTES_MAX], path[MYR_PATH_BYTES_MAX];
    myr_mapping map = {0};
    MYR_TRY(myr_batch_record_dir(b->workspace, run_id, dir, sizeof dir, err));
    MYR_TRY(myr_path_join(path, sizeof path, dir, BATCH_DEAD_NAME, err));
    if (b->dead_rows == 0) return MYR_OK;
    MYR_TRY(myr_io_map(path, &map, err));
    myr_rc rc = retry_keep_letters(b, (const char *)map.data, map.size, err);
    myr_io_unmap(&map);
    return rc;
}

/* Dead letters first: from when the directory has its name, all is there. */
static myr_rc retry_keep(const batch *b, int64_t run_id, myr_err *err)
{
    char temp[MYR_PATH_BYTES_MAX], work[MYR_PATH_BYTES_MAX];
    MYR_AUTO(myr_map_ptr) kept = myr_map_new();
    if (kept == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the names of files");
    for (size_t i = 0; i < b->task_count; i++) {
        if (strcmp(b->tasks[i]->row.state, "done") == 0)
            MYR_TRY(myr_map_put(kept, myr_str_of(b->tasks[i]->row.name), 1, err));
    }
    MYR_TRY(myr_path_join(work, sizeof work, myr_batch_staging(b), "work", err));
    MYR_TRY(myr_path_join(temp, sizeof temp, myr_batch_staging(b), RETRY_KEPT_TEMP, err));
    MYR_TRY(myr_io_mkdirs(work, err));
    MYR_TRY(retry_keep_dead(b, run_id, err));
    MYR_TRY(myr_io_mkdirs(temp, err));
    MYR_TRY(retry_keep_files(kept, b->sinks[0].name, temp, 0, err));
    MYR_TRY(myr_io_sync_tree(temp, err));
    MYR_TRY(myr_io_sync_tree(work, err));
    MYR_TRY(myr_io_rename(temp, b->sinks[0].stage.data, err));
    return myr_io_sync_dir(myr_batch_staging(b), err);
}

/* ---- the run ---- */

static int64_t retry_count(const batch *b)
{
    int64_t count = 0;
    for (size_t i = 0; i < b->task_count; i++)
        count += strcmp(b->tasks[i]->row.state, "created") == 0;
    return count;
}

static myr_rc retry_stage(batch *b, int64_t run_id, myr_err *err)
{
    MYR_TRY(myr_batch_sinks_stage(b, false, err));
    MYR_TRY(myr_batch_group_place(b, err));
    return retry_keep(b, run_id, err);
}

static myr_rc retry_inputs_again(batch *b, myr_err *err)
{
    MYR_TRY(myr_batch_sources_again(b, b->run_id, err));
    if (b->brought != NULL) {
        MYR_FAIL(err, UNSUPPORTED,
                 "run %lld brought its input from elsewhere, and it is gone: begin a new run with "
                 "--force",
                 (long long)b->run_id);
    }
    return myr_batch_sources_check(b, err);
}

/* The list of files went with the run; it is made again, and must be the same. */
static myr_rc retry_list_again(batch *b, myr_err *err)
{
    myr_run_input_row *was = NULL;
    size_t count = 0;
    MYR_TRY(myr_registry_run_inputs(b->workspace->registry, b->arena, b->run_id, &was, &count, err));
    MYR_TRY(myr_table_engine_open(0, b->opts.memory_bytes, &b->engine, err));
    MYR_TRY(myr_batch_sources_find(b, err));
    if (count == 1 && b->input_count == 1 && strcmp(was[0].identity, b->inputs[0].identity) == 0) return MYR_OK;
    MYR_FAIL(err, BAD_INPUT,
             "files of %.100s have changed since run %lld began: begin a new run with `myriad batch run`",
             b->input_name, (long long)b->run_id);
}

static myr_rc retry_prepare(batch *b, const myr_run_row *row, myr_err *err)
{
    MYR_TRY(myr_batch_read(b, row, err));
    if (b->opts.spark != NULL) {
        MYR_FAIL(err, UNSUPPORTED, "run %lld was one on Spark, which does not know where its rows came from: --force",
                 (long long)row->id);
    }
    MYR_TRY(retry_check_output(b, row->id, err));
    b->run_id = row->id; /* until the new one has its own */
    MYR_TRY(myr_batch_open_fleet(b, err));
    MYR_TRY(b->opts.input.as_items ? retry_list_again(b, err) : retry_inputs_again(b, err));
    MYR_TRY(myr_batch_read_plan(b, row, err));
    MYR_TRY(myr_batch_load_tasks(b, row->id, retry_redo, err));
    myr_batch_open_tasks(b);
    b->opts.retry_of = row->id;
    return MYR_OK;
}

static myr_rc retry_run(batch *b, int64_t run_id, myr_batch_report *out, myr_err *err)
{
    myr_run_row row;
    MYR_TRY(myr_batch_begin(b, err));
    MYR_TRY(myr_batch_find_run(b, run_id, &retry_wanted, &row, err));
    MYR_TRY(retry_prepare(b, &row, err));
    if (retry_count(b) == 0) {
        myr_batch_report report = {0};
        myr_batch_report_fill(b, &report);
        report.is_unchanged = true;
        *out = report;
        return MYR_OK;
    }
    MYR_TRY(myr_batch_start_pool(b, err));
    if (b->engine == NULL) MYR_TRY(myr_table_engine_open(0, b->opts.memory_bytes, &b->engine, err));
    MYR_TRY(myr_batch_sinks_sweep(b, err));
    MYR_TRY(myr_batch_start(b, err));
    return myr_batch_to_its_end(b, retry_stage(b, row.id, err), out, err);
}

/* Thread: the workspace's. */
myr_rc myr_batch_retry(myr_workspace *workspace, int64_t run_id, const myr_batch_opts *opts, myr_batch_report *out,
                       myr_err *err)
{
    MYR_AUTO(batch) b = {.workspace = workspace, .asked = opts};
    myr_err local = {0};
    if (err == NULL) err = &local; /* the message is told */
    myr_rc rc = retry_run(&b, run_id, out, err);
    bool has_begun = b.opts.retry_of > 0 && b.run_id != b.opts.retry_of; /* else there is no run to tell of */
    if (has_begun) myr_batch_notify_send(&b, rc, false, rc == MYR_OK ? "" : err->message);
    return rc;
}
