/*
 * The face of batch: score a whole table with the right model for each row and publish the result at once: staged
 * beside the output, synced, renamed. A row without a model is a row with a status, never a lost row.
 */
#ifndef MYR_BATCH_BATCH_H
#define MYR_BATCH_BATCH_H

#include "base/base.h"
#include "fleet/fleet.h"
#include "table/table.h"

typedef struct myr_batch_opts {
    const char *fleet;
    int64_t release; /* 0 = champion */
    const char *input;
    const char *output;    /* directory; an earlier complete output of ours is replaced, anything else is EXISTS */
    const char *const *by; /* columns of the output's directories; NULL-terminated or NULL */
    const char *const
        *keep; /* NULL-terminated; NULL: every input column that is neither key nor feature nor named as one we make */
    const myr_output *kinds; /* what is written, in this order; kind_count 0: the value alone */
    uint32_t kind_count;     /* at most MYR_OUTPUT_COUNT, each once */
    myr_table_format format;
    int threads;
    int64_t memory_bytes;
    myr_progress progress; /* rows done, rows in all (0 = not known); any thread, one call at a time */
    void *progress_ctx;
} myr_batch_opts;

#define MYR_BATCH_DROPPED_BYTES 256
#define MYR_BATCH_VALUES_MAX    16384 /* columns of numbers that a run writes */
typedef struct myr_batch_report {
    int64_t run_id;
    int64_t release;
    int64_t rows;
    int64_t level_rows[MYR_LEVEL_COUNT];
    int64_t status_rows[MYR_ROW_STATUS_COUNT];
    int64_t models_used;
    int64_t duration_ms;
    /* against the actuals, when the input has the fleet's target column: over rows with status ok and a known baseline
     */
    int64_t compared_rows;
    double rmse, baseline_rmse;             /* in the target's scale */
    double units_rmse, units_baseline_rmse; /* after exp() if the target is a log; else the same */
    bool has_units;
    int64_t output_files;
    int64_t output_bytes;
    char dropped_columns[MYR_BATCH_DROPPED_BYTES]; /* input columns left out for their names, `a, b`; "" = none */
    myr_err trouble; /* why the first rows with status `unavailable` have it; rc OK = there are none */
} myr_batch_report;

/*
 * Score `input` into the directory `output`: partition columns, columns of `by`, kept columns, then prediction (or
 * prediction_0 …) or what `kinds` asks for (myr_scorer_column_name), model, model_version, level, status. Killed
 * anywhere, the output is the old one or the new one.
 *
 * Ownership: borrows everything until it returns.
 * Thread:    the workspace's owner; opts->progress is called on DuckDB's threads, one call at a time.
 * Errors:    NOT_FOUND fleet, release or input; BAD_INPUT UNSUPPORTED a kind that the models do not give; BAD_INPUT a
 * column is missing, not numeric, or the file is damaged (file and line named); EXISTS something else is at the
 * output's place; NO_SPACE; NO_MEMORY; IO. Then the output is as it was.
 */
myr_rc myr_batch_run(myr_workspace *workspace, const myr_batch_opts *opts, myr_batch_report *out, myr_err *err);

#endif
