/*
 * What failed in a completed run, tried again: a run of its own, with the settings, inputs and release of the first and
 * its mini-batches. Those that are not tried again are done from the beginning: their files are taken over from the
 * output by a second name (a copy, where the file system has no such), their dead letters from its record.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <yyjson.h>

#include "batch/sink.h"
#include "batch/source.h"

#define RETRY_KEPT_TEMP "kept" /* below what is staged, until all is there */

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

/* One place, which must still have what this run wrote there, and must say which file is of what. */
static myr_rc retry_check_sink(batch_sink *sink, int64_t run_id, myr_err *err)
{
    batch_manifest there = {0};
    bool is_there = false;
    if (sink->kind->bring == NULL && sink->append) {
        MYR_FAIL(
            err, UNSUPPORTED,
            "run %lld added to %s, whose rows do not say what they are of: give the rows that its dead letters name "
            "(runs/%lld/dead_letters.jsonl) to a run of their own",
            (long long)run_id, sink->name, (long long)run_id);
    }
    if (sink->kind->bring == NULL) {
        MYR_FAIL(err, UNSUPPORTED,
                 "run %lld wrote into %s, whose rows do not say what they are of: begin a new run with --force, which "
                 "replaces them all",
                 (long long)run_id, sink->name);
    }
    MYR_TRY(sink->kind->find(sink, 0, sink->b->fingerprint, &there, &is_there, err));
    if (!is_there)
        MYR_FAIL(err, CONFLICT, "%s is not what run %lld wrote any more: begin a new run", sink->name,
                 (long long)run_id);
    if (there.run_id != run_id)
        MYR_FAIL(err, CONFLICT, "%s is the output of run %lld by now, not of run %lld", sink->name,
                 (long long)there.run_id, (long long)run_id);
    return MYR_OK;
}

static myr_rc retry_check_output(batch *b, int64_t run_id, myr_err *err)
{
    if (b->opts.action == MYR_BATCH_APPEND) {
        MYR_FAIL(err, UNSUPPORTED,
                 "run %lld wrote one file (output_action: append_row), of which no part can be "
                 "replaced: begin a new run with --force",
                 (long long)run_id);
    }
    for (size_t i = 0; i < b->sink_count; i++)
        MYR_TRY(retry_check_sink(&b->sinks[i], run_id, err));
    return MYR_OK;
}

/* Passwords went with the run. What one is asked by must be known some other way then. */
static myr_rc retry_check_secrets(const batch *b, int64_t run_id, myr_err *err)
{
    const char *const uris[] = {b->opts.input.database, b->opts.predictions};
    for (size_t i = 0; i < MYR_COUNT_OF(uris); i++) {
        if (uris[i] == NULL || strstr(uris[i], "***") == NULL) continue;
        MYR_FAIL(err, UNSUPPORTED,
                 "run %lld was told a password of %.120s, which is kept nowhere: begin a new run with --force (from "
                 "~/.pgpass it would be known still)",
                 (long long)run_id, uris[i]);
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

static myr_rc retry_keep_place(batch_sink *sink, const myr_map *kept, myr_err *err)
{
    char temp[MYR_PATH_BYTES_MAX];
    MYR_TRY(myr_path_join(temp, sizeof temp, sink->stage.staging, RETRY_KEPT_TEMP, err));
    MYR_TRY(myr_io_mkdirs(temp, err));
    MYR_TRY(sink->kind->bring(sink, kept, temp, err));
    MYR_TRY(myr_io_sync_tree(temp, err));
    MYR_TRY(myr_io_rename(temp, sink->stage.data, err));
    return myr_io_sync_dir(sink->stage.staging, err);
}

/* Dead letters first, the first place last: from when its directory has its name, all is there. */
static myr_rc retry_keep(const batch *b, int64_t run_id, myr_err *err)
{
    char work[MYR_PATH_BYTES_MAX];
    MYR_AUTO(myr_map_ptr) kept = myr_map_new();
    if (kept == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the names of files");
    for (size_t i = 0; i < b->task_count; i++) {
        if (strcmp(b->tasks[i]->row.state, "done") == 0)
            MYR_TRY(myr_map_put(kept, myr_str_of(b->tasks[i]->row.name), 1, err));
    }
    MYR_TRY(myr_path_join(work, sizeof work, myr_batch_staging(b), "work", err));
    MYR_TRY(myr_io_mkdirs(work, err));
    MYR_TRY(retry_keep_dead(b, run_id, err));
    MYR_TRY(myr_io_sync_tree(work, err));
    for (size_t i = b->sink_count; i > 0; i--)
        MYR_TRY(retry_keep_place(&b->sinks[i - 1], kept, err));
    return MYR_OK;
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

static bool retry_is_same(const myr_run_input_row *was, const myr_run_input_row *is)
{
    if (was->identity[0] != '\0') return strcmp(was->name, is->name) == 0 && strcmp(was->identity, is->identity) == 0;
    return strcmp(was->path, is->path) == 0 && was->bytes == is->bytes && was->modified_ns == is->modified_ns;
}

/* What was brought, or made, went with the run: it is brought again, and must be the same. */
static myr_rc retry_bring_again(batch *b, const myr_run_input_row *was, size_t count, myr_err *err)
{
    MYR_TRY(myr_table_engine_open(0, b->opts.memory_bytes, &b->engine, err));
    MYR_TRY(myr_batch_sources_find(b, err));
    bool is_same = count == b->input_count;
    for (size_t i = 0; is_same && i < count; i++)
        is_same = retry_is_same(&was[i], &b->inputs[i]);
    if (is_same) return MYR_OK;
    MYR_FAIL(err, BAD_INPUT,
             "the input %.100s has changed since run %lld began: begin a new run with `myriad batch run`",
             b->input_name, (long long)b->run_id);
}

static myr_rc retry_inputs(batch *b, myr_err *err)
{
    myr_run_input_row *was = NULL;
    size_t count = 0;
    bool is_brought = false;
    MYR_TRY(myr_registry_run_inputs(b->workspace->registry, b->arena, b->run_id, &was, &count, err));
    for (size_t i = 0; i < count; i++)
        is_brought = is_brought || was[i].identity[0] != '\0';
    if (is_brought) return retry_bring_again(b, was, count, err);
    MYR_TRY(myr_batch_sources_again(b, b->run_id, err));
    return myr_batch_sources_check(b, err);
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
    MYR_TRY(myr_batch_load_tasks(b, row->id, retry_redo, err));
    myr_batch_open_tasks(b);
    if (retry_count(b) == 0) return MYR_OK; /* nothing is to be read */
    MYR_TRY(retry_check_secrets(b, row->id, err));
    MYR_TRY(retry_inputs(b, err));
    MYR_TRY(myr_batch_read_plan(b, row, err));
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
