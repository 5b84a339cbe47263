/*
 * A batch run without what makes it one: no ledger, no worker processes, no mini-batches, nothing staged or synced. One
 * process scores one file on all processors into its output directory. Usage: plain WORKSPACE FLEET INPUT
 * OUTPUT_DIR BY KEEP. run.py times it beside `myriad batch run`.
 */
#include <stdio.h>

#include "batch/internal.h"

static myr_rc run(char **argv, myr_err *err)
{
    const char *const by[] = {argv[5], NULL}, *const keep[] = {argv[6], NULL};
    const char *const input[] = {argv[3], NULL};
    myr_batch_opts opts = {.fleet = argv[2], .input = {.items = input}, .output = argv[4], .by = by, .keep = keep};
    batch_files files = {.input = input[0], .paths = input, .count = 1};
    myr_workspace *workspace = NULL;
    myr_fleet *fleet = NULL;
    myr_table_engine *engine = NULL;
    myr_arena *arena = myr_arena_new(0); /* the process ends: nothing is given back */
    batch_plan plan;
    int64_t row_count = 0;
    MYR_TRY(myr_workspace_open(argv[1], &workspace, err));
    MYR_TRY(myr_fleet_open(workspace, opts.fleet, 0, &fleet, err));
    MYR_TRY(myr_table_engine_open(0, 0, &engine, err));
    MYR_TRY(myr_batch_plan(engine, fleet, &opts, arena, &files, &plan, err));
    batch_rows rows = {.fleet = fleet, .plan = &plan, .dead = {.fd = -1}};
    myr_mutex_init(&rows.mutex);
    MYR_TRY(myr_batch_rows_begin(&rows, workspace, arena, err));
    myr_table_map map = {.input = input[0],
                         .wants = plan.wants,
                         .want_count = plan.want_count,
                         .keep = plan.keep,
                         .keep_count = plan.keep_count,
                         .outputs = plan.outputs,
                         .output_count = plan.output_count,
                         .output_dir = opts.output,
                         .partition_by = plan.partition_by,
                         .fn = myr_batch_rows_score,
                         .ctx = &rows,
                         .make_state = myr_batch_rows_thread_new,
                         .free_state = myr_batch_rows_thread_free};
    MYR_TRY(myr_table_map_run(engine, &map, &row_count, err));
    printf("%lld\n", (long long)row_count);
    return MYR_OK;
}

int main(int argc, char **argv)
{
    myr_err err = {0};
    if (argc != 7) {
        fprintf(stderr, "usage: plain WORKSPACE FLEET INPUT OUTPUT_DIR BY KEEP\n");
        return 64;
    }
    if (run(argv, &err) == MYR_OK) return 0;
    fprintf(stderr, "plain: %s\n", err.message);
    return 1;
}
