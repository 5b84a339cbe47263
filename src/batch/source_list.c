/*
 * Files as items: the input is a list of files of any kind, a row each, with what its path says (`store=7/`), its size
 * and its time. Whatever happens to rows of tables happens to them: mini-batches, dead letters, what goes on. A model
 * that is code opens them.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "batch/source.h"

#define LIST_NAME       "items.csv"
#define LIST_STEP_BYTES (1 << 20)

/* Columns that every list has; a partition column may not have their names. */
static const char *const list_columns[] = {MYR_BATCH_ITEM, "bytes", "modified_ns"};

typedef struct list_file {
    char path[MYR_PATH_BYTES_MAX];
    myr_fd fd;
    myr_buf text;
} list_file;
static void list_file_drop(list_file *list)
{
    myr_fd_drop(&list->fd);
    myr_buf_fini(&list->text);
}

static void list_cell(myr_buf *out, myr_str cell)
{
    myr_buf_putc(out, '"');
    for (size_t i = 0; i < cell.size; i++) {
        if (cell.data[i] == '"') myr_buf_putc(out, '"');
        myr_buf_putc(out, cell.data[i]);
    }
    myr_buf_putc(out, '"');
}

static myr_rc list_flush(list_file *list, myr_err *err)
{
    MYR_TRY(myr_buf_check(&list->text, err));
    MYR_TRY(myr_io_write(list->fd, list->path, list->text.data, list->text.size, err));
    myr_buf_clear(&list->text);
    return MYR_OK;
}

static myr_rc list_header(const batch *b, list_file *list, myr_err *err)
{
    const myr_key_schema *keys = &b->fleet->info->keys;
    for (size_t i = 0; i < MYR_COUNT_OF(list_columns); i++) {
        if (i > 0) myr_buf_putc(&list->text, ',');
        list_cell(&list->text, myr_str_of(list_columns[i]));
    }
    for (uint32_t k = 0; k < keys->column_count; k++) {
        for (size_t i = 0; i < MYR_COUNT_OF(list_columns); i++) {
            if (strcmp(keys->columns[k].name, list_columns[i]) != 0) continue;
            MYR_FAIL(err, UNSUPPORTED, "the fleet's partition column '%s' has the name of a column of a list of files",
                     list_columns[i]);
        }
        myr_buf_putc(&list->text, ',');
        list_cell(&list->text, myr_str_of(keys->columns[k].name));
    }
    myr_buf_putc(&list->text, '\n');
    return myr_buf_check(&list->text, err);
}

static myr_rc list_row(const batch *b, const myr_run_input_row *input, list_file *list, myr_err *err)
{
    const myr_key_schema *keys = &b->fleet->info->keys;
    MYR_AUTO(myr_buf) value = {0};
    if (!myr_utf8_is_valid(myr_str_of(input->path)))
        MYR_FAIL(err, BAD_INPUT, "the name of %s is not UTF-8: rename the file", input->path);
    list_cell(&list->text, myr_str_of(input->path));
    myr_buf_printf(&list->text, ",%lld,%lld", (long long)input->bytes, (long long)input->modified_ns);
    for (uint32_t k = 0; k < keys->column_count; k++) {
        myr_buf_putc(&list->text, ',');
        myr_buf_clear(&value);
        if (!myr_table_path_get(input->path, keys->columns[k].name, &value)) {
            MYR_FAIL(err, BAD_INPUT, "%s: its path has no directory '%s=…', by which the fleet chooses a model",
                     input->path, keys->columns[k].name);
        }
        MYR_TRY(myr_buf_check(&value, err));
        if (value.size > 0) list_cell(&list->text, myr_str_make(value.data, value.size));
    }
    myr_buf_putc(&list->text, '\n');
    return list->text.size < LIST_STEP_BYTES ? myr_buf_check(&list->text, err) : list_flush(list, err);
}

static bool list_takes_items(const myr_fleet *fleet)
{
    bool has = false;
    for (uint32_t i = 0; i < fleet->info->feature_count; i++)
        has = has || strcmp(fleet->info->features[i], MYR_BATCH_ITEM) == 0;
    return has;
}

myr_rc myr_batch_source_items(batch *b, myr_err *err)
{
    MYR_AUTO(list_file) list = {.fd = -1};
    if (!list_takes_items(b->fleet)) {
        MYR_FAIL(err, BAD_INPUT,
                 "fleet %s does not take files: its models have no feature '" MYR_BATCH_ITEM
                 "' (items = \"files\" in score.py)",
                 b->fleet->name);
    }
    MYR_TRY(myr_batch_source_path(b, LIST_NAME, list.path, err));
    MYR_TRY(myr_io_open(list.path, O_WRONLY | O_CREAT | O_TRUNC, 0644, &list.fd, err));
    MYR_TRY(list_header(b, &list, err));
    for (size_t i = 0; i < b->input_count; i++)
        MYR_TRY(list_row(b, &b->inputs[i], &list, err));
    MYR_TRY(list_flush(&list, err));
    MYR_TRY(myr_io_sync(list.fd, list.path, err));
    MYR_TRY(myr_io_close(&list.fd, list.path, err));
    return myr_batch_source_take(b, list.path, b->input_name, err);
}
