/* Inputs become mini-batches: numbered in the order of the files and of the rows in them, each a part of one file. */
#include <stdio.h>
#include <string.h>

#include "batch/internal.h"

#define SPLIT_TASKS_MAX 1000000

myr_rc myr_batch_task_add(batch *b, const myr_mini_batch_row *row, batch_task **out, myr_err *err)
{
    if (b->task_count == SPLIT_TASKS_MAX)
        MYR_FAIL(err, TOO_LARGE, "more than %d mini-batches: make them larger with mini_batch_size", SPLIT_TASKS_MAX);
    if (b->task_count == b->task_room) {
        size_t room = b->task_room > 0 ? 2 * b->task_room : 64;
        batch_task **tasks = myr_arena_realloc(b->arena, b->tasks, b->task_room * sizeof *tasks, room * sizeof *tasks);
        if (tasks == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %zu mini-batches", room);
        b->tasks = tasks;
        b->task_room = room;
    }
    batch_task *task = myr_arena_calloc(b->arena, 1, sizeof *task);
    if (task == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a mini-batch");
    task->row = *row;
    task->row.number = (int64_t)b->task_count + 1;
    b->tasks[b->task_count++] = task;
    if (out != NULL) *out = task;
    return MYR_OK;
}

static myr_mini_batch_row split_row(const myr_table_part *part, int64_t input)
{
    return (myr_mini_batch_row){.input = input,
                                .first = part->begin,
                                .past = part->end,
                                .first_line = part->first_line,
                                .row_count = part->row_count,
                                .state = "created",
                                .name = "",
                                .message = "",
                                .report = ""};
}

/* Numbers from 0, all of one width, so that files in the order of their names are rows in the order of the input. */
static myr_rc split_name(batch *b, myr_err *err)
{
    int digits = 1;
    for (size_t rest = (b->task_count > 0 ? b->task_count - 1 : 0) / 10; rest > 0; rest /= 10)
        digits++;
    for (size_t i = 0; i < b->task_count; i++) {
        b->tasks[i]->row.name = myr_arena_printf(b->arena, "%0*zu", digits, i);
        if (b->tasks[i]->row.name == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the names of mini-batches");
    }
    return MYR_OK;
}

static bool split_is_text(const char *path)
{
    return !myr_str_ends_with(myr_str_of(path), ".parquet");
}

myr_rc myr_batch_split_grouped(batch *b, myr_err *err)
{
    const myr_batch_limits *limits = b->opts.limits;
    myr_table_map map = myr_batch_plan_map(&b->plan, &b->opts);
    myr_table_part *parts = NULL;
    size_t count = 0;
    int64_t rows = limits->is_auto_size ? myr_batch_size_default(false).rows : limits->mini_batch.rows;
    map.plan = b->table_plan;
    MYR_TRY(myr_table_group_cut(b->engine, &map, b->grouped, rows, b->arena, &parts, &count, err));
    for (size_t p = 0; p < count; p++) {
        myr_mini_batch_row row = split_row(&parts[p], 0);
        b->total_rows += row.row_count;
        MYR_TRY(myr_batch_task_add(b, &row, NULL, err));
    }
    b->left = b->task_count;
    b->root_count = (int64_t)b->task_count;
    return split_name(b, err);
}

myr_table_part myr_batch_task_part(const batch *b, const batch_task *task)
{
    return (myr_table_part){.file = b->grouped != NULL ? b->grouped : b->inputs[task->row.input].path,
                            .begin = task->row.first,
                            .end = task->row.past,
                            .first_line = task->row.first_line,
                            .row_count = task->row.row_count};
}

/* Text of one size is cut into parts of one size, an even number of them: workers end together. Models that are code
 * may be a thousand times slower than ours: large parts would be much to do again. */
static myr_table_size split_size(const batch *b, size_t input, bool has_code)
{
    const myr_batch_limits *limits = b->opts.limits;
    bool is_text = split_is_text(b->inputs[input].path);
    if (!limits->is_auto_size) return limits->mini_batch;
    if (b->opts.input.as_items) return (myr_table_size){.rows = MYR_BATCH_ITEMS_ONCE};
    myr_table_size size = myr_batch_size_default(is_text);
    int64_t bytes = b->inputs[input].bytes;
    if (has_code) size.rows_max = 0;
    if (!is_text || bytes <= size.bytes) return size;
    int64_t parts = (bytes + size.bytes - 1) / size.bytes;
    parts += parts % 2;
    size.bytes = bytes / parts + 1;
    return size;
}

myr_rc myr_batch_split(batch *b, myr_err *err)
{
    bool is_known = true;
    const char **code = NULL;
    size_t code_count = 0;
    MYR_TRY(myr_registry_release_code(b->workspace->registry, b->arena, b->fleet->row.id, b->fleet->release, &code,
                                      &code_count, err));
    for (size_t i = 0; i < b->input_count; i++) {
        const char *path = b->inputs[i].path;
        myr_table_size size = split_size(b, i, code_count > 0);
        myr_table_part *parts = NULL;
        size_t count = 0;
        MYR_TRY(myr_table_cut(b->engine, path, &size, b->arena, &parts, &count, err));
        for (size_t p = 0; p < count; p++) {
            myr_mini_batch_row row = split_row(&parts[p], (int64_t)i);
            is_known = is_known && row.row_count >= 0;
            b->total_rows += row.row_count;
            MYR_TRY(myr_batch_task_add(b, &row, NULL, err));
        }
    }
    if (!is_known) b->total_rows = 0;
    b->left = b->task_count;
    b->root_count = (int64_t)b->task_count;
    return split_name(b, err);
}

/* Its number stands before the first dot of the name. */
batch_task *myr_batch_task_root(const batch *b, const batch_task *task)
{
    myr_str rest = myr_str_of(task->row.name), number;
    int64_t idx = -1;
    bool ok = myr_str_split(&rest, '.', &number) && myr_parse_int64(number, &idx);
    MYR_ASSERT(ok && idx >= 0 && idx < b->root_count);
    return b->tasks[idx];
}

myr_rc myr_batch_split_task(batch *b, batch_task *task, bool *out_can, myr_err *err)
{
    myr_table_part part = myr_batch_task_part(b, task);
    myr_table_part halves[2];
    MYR_TRY(myr_table_halve(b->engine, &part, halves, out_can, err));
    if (!*out_can) return MYR_OK;
    for (int i = 0; i < 2; i++) {
        myr_mini_batch_row row = split_row(&halves[i], task->row.input);
        row.name = myr_arena_printf(b->arena, "%s.%d", task->row.name, i);
        if (row.name == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the names of mini-batches");
        MYR_TRY(myr_batch_task_add(b, &row, NULL, err));
    }
    task->row.state = "split";
    b->left += 2;
    return MYR_OK;
}
