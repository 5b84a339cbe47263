/*
 * A run on Apache Spark: one worker, the Python package, that is asked for all inputs at once. It starts executors,
 * writes where any worker would, and says what one would say; ledger, record and publishing are those of every run.
 */
#include <string.h>

#include "batch/sink.h"

#define SPARK_END_MS 15000 /* to give its executors back before it is killed */

myr_rc myr_batch_spark_check(const batch *b, myr_err *err)
{
    const myr_batch_opts *opts = &b->opts;
    if (opts->spark == NULL) return MYR_OK;
    const char *what = opts->partition_keys != NULL      ? "partition_keys"
                       : opts->action != MYR_BATCH_PARTS ? "output_action"
                       : opts->input.as_items            ? "items"
                                                         : NULL;
    if (what != NULL)
        MYR_FAIL(err, UNSUPPORTED, "%s: runs with `compute: {type: local}` have it, not those on Spark", what);
    if (opts->format == MYR_TABLE_JSONL || (opts->store_count > 0 && myr_batch_has_tables(opts))) {
        MYR_FAIL(err, UNSUPPORTED, "%s: runs with `compute: {type: local}` have it, not those on Spark",
                 opts->format == MYR_TABLE_JSONL ? "format: jsonl" : "a table among the stores");
    }
    if (opts->kind_count > 1) {
        MYR_FAIL(err, UNSUPPORTED, "%u outputs are asked for, and a run on Spark writes one: value, margin, ...",
                 opts->kind_count);
    }
    if (opts->kind_count == 1 && opts->kinds[0] == MYR_OUTPUT_LEAF)
        MYR_FAIL(err, UNSUPPORTED, "leaf numbers are written by runs with `compute: {type: local}`, not on Spark");
    return MYR_OK;
}

myr_rc myr_batch_spark_pool(const batch *b, batch_pool_opts *opts, myr_err *err)
{
    char program[MYR_PATH_BYTES_MAX];
    const char **argv = myr_arena_calloc(b->arena, 5, sizeof *argv);
    MYR_TRY(myr_program_find(b->opts.spark->python, program, sizeof program, err));
    if (argv != NULL) argv[0] = myr_arena_strndup(b->arena, program, strlen(program));
    if (argv == NULL || argv[0] == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a batch run");
    argv[1] = "-m";
    argv[2] = "myriad.spark";
    argv[3] = "--worker";
    opts->argv = argv;
    opts->end_ms = SPARK_END_MS;
    opts->min = 0;
    opts->memory_bytes = opts->cpu_milli =
        0; /* Java takes address space as it likes; executors have limits of their own */
    return MYR_OK;
}

void myr_batch_spark_files(const batch *b, myr_buf *frame)
{
    myr_buf_puts(frame, "\"files\":[");
    for (size_t i = 0; i < b->input_count; i++) {
        if (i > 0) myr_buf_putc(frame, ',');
        myr_buf_json_string(frame, myr_str_of(b->inputs[i].path));
    }
    myr_buf_puts(frame, "],");
}

/* Spark cuts the inputs by itself: here they are one mini-batch. */
myr_rc myr_batch_spark_split(batch *b, myr_err *err)
{
    const myr_mini_batch_row row = {
        .name = "0", .past = -1, .row_count = -1, .state = "created", .message = "", .report = ""};
    MYR_TRY(myr_batch_task_add(b, &row, NULL, err));
    b->left = 1;
    b->root_count = 1;
    return MYR_OK;
}
