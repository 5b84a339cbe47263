/*
 * Rows without an answer, one JSON object a line: which file, which row of it, which key, why. Written while a
 * mini-batch is scored; what a lost attempt wrote goes with it.
 */
#include <fcntl.h>
#include <string.h>

#include "batch/internal.h"

#define DEAD_BUFFER_BYTES (1 << 20)

static myr_rc dead_flush(batch_dead *dead, myr_err *err)
{
    MYR_TRY(myr_buf_check(&dead->text, err));
    if (dead->fd < 0) MYR_TRY(myr_io_open(dead->path, O_WRONLY | O_CREAT | O_TRUNC, 0644, &dead->fd, err));
    MYR_TRY(myr_io_write(dead->fd, dead->path, dead->text.data, dead->text.size, err));
    myr_buf_clear(&dead->text);
    return MYR_OK;
}

static void dead_key(myr_buf *out, const myr_col *col, int64_t row_idx)
{
    myr_buf_json_string(out, myr_str_of(col->name));
    myr_buf_putc(out, ':');
    if (myr_col_is_null(col, row_idx)) {
        myr_buf_puts(out, "null");
    } else if (col->type == MYR_COL_INT64) {
        myr_buf_printf(out, "%lld", (long long)col->data.i64[row_idx]);
    } else if (col->type == MYR_COL_TEXT) {
        myr_buf_json_string(out, col->data.text[row_idx]);
    } else {
        myr_buf_json_double(out, col->data.f64[row_idx]);
    }
}

void myr_batch_dead_keys(const myr_col *cols, uint32_t count, int64_t row_idx, myr_buf *out)
{
    myr_buf_puts(out, ",\"key\":{");
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0) myr_buf_putc(out, ',');
        dead_key(out, &cols[i], row_idx);
    }
    myr_buf_putc(out, '}');
}

myr_rc myr_batch_dead_add(batch_dead *dead, const myr_key_schema *keys, const myr_table_chunk *chunk, int64_t row_idx,
                          int64_t row, const char *cause, const char *why, myr_err *err)
{
    myr_buf *out = &dead->text;
    int64_t number = (dead->part->end >= 0 ? dead->part->begin : 0) + row + 1;
    bool is_moved = dead->from_file != NULL, is_item = is_moved && dead->from_row == NULL;
    if (dead->count == 0 && !is_moved) MYR_TRY(myr_table_lines_open(dead->part, &dead->lines, err));
    if (dead->from_row != NULL) number = dead->from_row->data.i64[row_idx];
    myr_buf_puts(out, "{\"file\":");
    myr_buf_json_string(out, is_moved ? dead->from_file->data.text[row_idx] : myr_str_of(dead->file));
    if (dead->lines != NULL)
        myr_buf_printf(out, ",\"line\":%lld", (long long)myr_table_lines_at(dead->lines, row));
    else if (!is_item)
        myr_buf_printf(out, ",\"row\":%lld", (long long)number);
    myr_batch_dead_keys(chunk->inputs, keys->column_count, row_idx, out);
    myr_buf_json_field(out, "cause", cause);
    if (why != NULL) myr_buf_json_field(out, "why", why);
    myr_buf_json_field(out, "mini_batch", dead->mini_batch);
    myr_buf_printf(out, ",\"attempt\":%lld}\n", (long long)dead->attempt);
    dead->count++;
    return out->size >= DEAD_BUFFER_BYTES ? dead_flush(dead, err) : myr_buf_check(out, err);
}

void myr_batch_dead_close(batch_dead *dead)
{
    myr_table_lines_close(dead->lines);
    dead->lines = NULL;
    myr_buf_fini(&dead->text);
    myr_fd_drop(&dead->fd);
}

myr_rc myr_batch_dead_end(batch_dead *dead, myr_err *err)
{
    if (dead->count == 0) return MYR_OK;
    MYR_TRY(dead_flush(dead, err));
    MYR_TRY(myr_io_sync(dead->fd, dead->path, err));
    return myr_io_close(&dead->fd, dead->path, err);
}
