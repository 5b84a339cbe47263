/*
 * What stays of a run beside the ledger: runs/<id>/ in the workspace, with its dead letters and its report. Written
 * when it ends, whichever way, before what was staged goes.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "batch/source.h"

#define RECORD_STEP_BYTES 65536
#define RECORD_ITEMS_MAX  1000000 /* files of a mini-batch that are named when it fails */

/* ---- dead letters ---- */

typedef struct record_file {
    char temp[MYR_PATH_BYTES_MAX], path[MYR_PATH_BYTES_MAX];
    myr_fd fd;
} record_file;
static void record_file_drop(record_file *file)
{
    myr_fd_drop(&file->fd);
}

static myr_rc record_copy(record_file *to, const char *path, myr_err *err)
{
    MYR_AUTO(myr_fd) fd = -1;
    char part[RECORD_STEP_BYTES];
    int64_t bytes = 0;
    MYR_TRY(myr_io_size(path, &bytes, err));
    MYR_TRY(myr_io_open(path, O_RDONLY, 0, &fd, err));
    for (int64_t at = 0; at < bytes;) {
        size_t next = bytes - at < RECORD_STEP_BYTES ? (size_t)(bytes - at) : RECORD_STEP_BYTES;
        MYR_TRY(myr_io_pread(fd, path, part, next, at, err));
        MYR_TRY(myr_io_write(to->fd, to->temp, part, next, err));
        at += (int64_t)next;
    }
    return MYR_OK;
}

myr_rc myr_batch_copy(const char *from, const char *to, myr_err *err)
{
    MYR_AUTO(record_file) file = {.fd = -1};
    (void)snprintf(file.temp, sizeof file.temp, "%s", to);
    MYR_TRY(myr_io_open(to, O_WRONLY | O_CREAT | O_TRUNC, 0644, &file.fd, err));
    MYR_TRY(record_copy(&file, from, err));
    return myr_io_close(&file.fd, to, err);
}

typedef myr_table_data *record_row;
static void record_row_drop(record_row *row)
{
    myr_table_data_free(*row);
}

/* Where it stands in its file; of rows that were put together, where they came from is in `found` (`at` of them). */
static void record_place(const batch *b, const batch_task *task, const myr_table_data *found, int64_t at, myr_buf *line)
{
    const myr_mini_batch_row *row = &task->row;
    bool is_moved = b->grouped != NULL && found != NULL;
    int64_t item = found != NULL ? myr_batch_plan_item(&b->plan, &b->opts) : -1;
    myr_buf_puts(line, "{\"file\":");
    if (item >= 0) {
        myr_buf_json_string(line, found->cols[item].data.text[at]);
        myr_batch_dead_keys(found->cols, b->plan.key_count, at, line);
        return;
    }
    if (is_moved)
        myr_buf_json_string(line, found->cols[b->plan.key_count].data.text[at]);
    else
        myr_buf_json_string(line, myr_str_of(b->grouped != NULL || b->opts.spark != NULL
                                                 ? b->input_name
                                                 : myr_batch_input_name(&b->inputs[row->input])));
    if (is_moved) {
        myr_buf_printf(line, ",\"row\":%lld", (long long)found->cols[b->plan.key_count + 1].data.i64[at]);
    } else if (b->grouped != NULL) {
        myr_buf_printf(line, ",\"rows\":%lld", (long long)row->row_count);
    } else if (row->first_line > 0 && row->past >= 0) {
        myr_buf_printf(line, ",\"line\":%lld", (long long)row->first_line);
    } else if (row->past >= 0) {
        myr_buf_printf(line, ",\"row\":%lld", (long long)row->first + 1);
        if (row->past - row->first > 1) myr_buf_printf(line, ",\"to_row\":%lld", (long long)row->past);
    }
    if (found != NULL) myr_batch_dead_keys(found->cols, b->plan.key_count, at, line);
}

/* The rows of a part that could not be scored, as far as they can be read: their keys. NULL: they can't, or it is no
 * single row and stands in its file as it is. */
static myr_table_data *record_rows(const batch *b, const batch_task *task)
{
    myr_table_data *found = NULL;
    myr_table_part part = myr_batch_task_part(b, task);
    myr_table_map map = myr_batch_plan_map(&b->plan, &b->opts);
    map.plan = b->table_plan;
    map.part = &part;
    if (b->table_plan == NULL || b->engine == NULL) return NULL;
    if (part.end < 0 && !b->opts.input.as_items) return NULL;
    bool is_item = myr_batch_plan_item(&b->plan, &b->opts) >= 0, is_each = b->grouped != NULL || is_item;
    if (!is_each && part.row_count > 1) return NULL;
    int64_t limit = b->grouped != NULL ? part.row_count : is_item ? RECORD_ITEMS_MAX : 2;
    uint32_t count = b->plan.key_count + (is_item ? b->plan.feature_count : 0);
    if (myr_table_map_peek(b->engine, &map, count, limit, &found, NULL) != MYR_OK) return NULL;
    if (found->row_count > 0 && (is_each || found->row_count == 1)) return found;
    myr_table_data_free(found);
    return NULL;
}

/* A mini-batch that failed for good: the row that it is, or all that it is. */
static myr_rc record_failed(const batch *b, const batch_task *task, record_file *to, myr_err *err)
{
    MYR_AUTO(myr_buf) line = {0};
    MYR_AUTO(record_row) found = record_rows(b, task);
    int64_t count = found != NULL ? found->row_count : 1;
    for (int64_t i = 0; i < count; i++) {
        record_place(b, task, found, i, &line);
        myr_buf_json_field(&line, "cause", task->row.message);
        myr_buf_json_field(&line, "mini_batch", task->row.name);
        myr_buf_printf(&line, ",\"attempt\":%lld}\n", (long long)task->row.attempts);
        if (line.size < RECORD_STEP_BYTES && i + 1 < count) continue;
        MYR_TRY(myr_buf_check(&line, err));
        MYR_TRY(myr_io_write(to->fd, to->temp, line.data, line.size, err));
        myr_buf_clear(&line);
    }
    return MYR_OK;
}

/* In the order of the input: parts of what failed come last in the ledger. */
static int record_compare(const void *a, const void *b)
{
    const myr_mini_batch_row *x = &(*(batch_task *const *)a)->row, *y = &(*(batch_task *const *)b)->row;
    if (x->input != y->input) return x->input < y->input ? -1 : 1;
    return x->first < y->first ? -1 : x->first > y->first;
}

static myr_rc record_write_dead(const batch *b, record_file *to, myr_err *err)
{
    batch_task **tasks = myr_arena_calloc(b->arena, b->task_count + 1, sizeof *tasks);
    if (tasks == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %zu mini-batches", b->task_count);
    memcpy(tasks, b->tasks, b->task_count * sizeof *tasks);
    qsort(tasks, b->task_count, sizeof *tasks, record_compare);
    for (size_t i = 0; i < b->task_count; i++) {
        const myr_mini_batch_row *row = &tasks[i]->row;
        char path[MYR_PATH_BYTES_MAX];
        if (strcmp(row->state, "failed") == 0) MYR_TRY(record_failed(b, tasks[i], to, err));
        if (strcmp(row->state, "done") != 0 || row->dead_count == 0) continue;
        int size = snprintf(path, sizeof path, "%s/work/%s-%lld.jsonl", myr_batch_staging(b), row->name,
                            (long long)row->attempts);
        MYR_ASSERT(size > 0 && (size_t)size < sizeof path); /* it was made */
        MYR_TRY(record_copy(to, path, err));
    }
    return MYR_OK;
}

/* runs/<id>/dead_letters.jsonl; none if there are none. */
static myr_rc record_dead(const batch *b, const char *dir, myr_err *err)
{
    MYR_AUTO(record_file) to = {.fd = -1};
    MYR_TRY(myr_path_join(to.path, sizeof to.path, dir, BATCH_DEAD_NAME, err));
    MYR_TRY(myr_path_join(to.temp, sizeof to.temp, dir, BATCH_DEAD_NAME ".tmp", err));
    MYR_TRY(myr_io_open(to.temp, O_WRONLY | O_CREAT | O_TRUNC, 0644, &to.fd, err));
    MYR_TRY(record_write_dead(b, &to, err));
    MYR_TRY(myr_io_sync(to.fd, to.temp, err));
    MYR_TRY(myr_io_rename(to.temp, to.path, err));
    return myr_io_sync_dir(dir, err);
}

/* ---- the record ---- */

myr_rc myr_batch_record_dir(const myr_workspace *workspace, int64_t run_id, char *out, size_t out_bytes, myr_err *err)
{
    char name[64];
    (void)snprintf(name, sizeof name, "runs/%lld", (long long)run_id);
    return myr_path_join(out, out_bytes, workspace->root, name, err);
}

myr_rc myr_batch_record_write(const batch *b, myr_err *err)
{
    char dir[MYR_PATH_BYTES_MAX];
    if (b->rows.dead.count == 0 && b->failed_rows == 0) return MYR_OK;
    MYR_TRY(myr_batch_record_dir(b->workspace, b->run_id, dir, sizeof dir, err));
    MYR_TRY(myr_io_mkdirs(dir, err));
    return record_dead(b, dir, err);
}
