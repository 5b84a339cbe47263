/*
 * partition_keys: before the first mini-batch a worker sorts the rows of all inputs by these columns into one file
 * beside the output, with the whole engine for itself. Mini-batches are parts of that file, cut between two keys, and
 * written into the ledger when it is safe on the disk: a run that was killed before that begins with it again.
 */
#include <stdio.h>
#include <string.h>

#include "batch/source.h"

#define GROUP_DIR  "grouped" /* below what is staged */
#define GROUP_NAME GROUP_DIR "/rows.parquet"

myr_rc myr_batch_group_place(batch *b, myr_err *err)
{
    char path[MYR_PATH_BYTES_MAX];
    if (b->opts.partition_keys == NULL) return MYR_OK;
    MYR_TRY(myr_path_join(path, sizeof path, myr_batch_staging(b), GROUP_NAME, err));
    b->grouped = myr_arena_strndup(b->arena, path, strlen(path));
    if (b->grouped == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a path");
    return MYR_OK;
}

static myr_rc group_request(const batch *b, myr_buf *out, myr_err *err)
{
    const myr_batch_limits *limits = b->opts.limits;
    int64_t rows = limits->is_auto_size ? myr_batch_size_default(false).rows : limits->mini_batch.rows;
    myr_buf_printf(out, "{\"rows\":%lld,\"threads\":%d,\"memory\":%lld", (long long)rows, b->worker_count,
                   (long long)b->opts.memory_bytes);
    myr_buf_json_field(out, "group", b->grouped);
    for (size_t i = 0; i < b->input_count; i++) {
        myr_buf_puts(out, i == 0 ? ",\"files\":[" : ",");
        myr_buf_json_string(out, myr_str_of(b->inputs[i].path));
    }
    for (size_t i = 0; i < b->input_count; i++) {
        myr_buf_puts(out, i == 0 ? "],\"names\":[" : ",");
        myr_buf_json_string(out, myr_str_of(myr_batch_input_name(&b->inputs[i])));
    }
    myr_buf_puts(out, "]}");
    return myr_buf_check(out, err);
}

myr_rc myr_batch_group(batch *b, myr_err *err)
{
    MYR_AUTO(myr_buf) request = {0};
    char dir[MYR_PATH_BYTES_MAX];
    if (b->grouped == NULL) return MYR_OK;
    if (b->task_count > 0 && myr_io_exists(b->grouped)) return MYR_OK;
    MYR_TRY(myr_path_join(dir, sizeof dir, myr_batch_staging(b), GROUP_DIR, err));
    MYR_TRY(myr_io_mkdirs(dir, err));
    MYR_TRY(group_request(b, &request, err));
    MYR_TRY(myr_batch_work_ask(b, request.data, err));
    MYR_TRY(myr_io_sync_tree(dir, err));
    MYR_TRY(myr_io_sync_dir(myr_batch_staging(b), err));
    if (b->task_count > 0) return MYR_OK; /* of a retry: the same rows in the same order */
    MYR_TRY(myr_batch_split_grouped(b, err));
    return myr_batch_work_write_new(b, err);
}
