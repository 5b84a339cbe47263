/*
 * The face of train: stages 1 and 2. Read a table, remove anomalies, split into segments (and their parents, and the
 * whole), fit candidates on each, compare them over rolling origins, register the winners, make one release.
 *
 * The test set (per segment the rows of its last weeks) takes no part in any fit, choice, imputation or anomaly rule.
 */
#ifndef MYR_TRAIN_TRAIN_H
#define MYR_TRAIN_TRAIN_H

#include "base/base.h"
#include "fleet/fleet.h"

typedef struct myr_train_algorithm_count {
    const char *algorithm;
    int64_t wins;
} myr_train_algorithm_count;

typedef struct myr_train_report {
    char fleet[MYR_NAME_BYTES_MAX + 1];
    int64_t rows_read, rows_test, rows_train, rows_anomalous;
    int64_t rows_unusable;              /* without key or time, or (before the test set) without target */
    int64_t segments, parents, globals; /* with a model */
    int64_t segments_small;             /* left to their parent: fewer than min_rows rows */
    int64_t models_added, models_reused;
    myr_train_algorithm_count wins[16]; /* over the leaf segments */
    uint32_t win_count;
    double rmse, baseline_rmse;           /* pooled over the test rows of the leaf segments, in the target's scale */
    int64_t segments_worse;               /* whose winner loses against the baseline on its test rows */
    char test_path[MYR_PATH_BYTES_MAX];   /* where the test rows were written; "" if not asked for */
    char report_path[MYR_PATH_BYTES_MAX]; /* JSON with a line per segment */
    char plot_path[MYR_PATH_BYTES_MAX];   /* SVG: four segments, actual against predicted */
    int64_t duration_ms;
    myr_release_report release;
} myr_train_report;

/* stage: "read", "fit", "register", …; total 0 = not known. Any thread, one call at a time. */
typedef void (*myr_train_progress)(void *ctx, const char *stage, int64_t done, int64_t total);

/*
 * Paths in the spec are relative to the spec's directory for inputs and to the workspace for outputs.
 * Deterministic: the same rows and spec give the same winners and the same pack, whatever the number of threads.
 * Errors: BAD_INPUT with file:line:column for the spec (an unknown algorithm lists the known ones); UNAVAILABLE names
 * the missing XGBoost library and how to get it.
 */
myr_rc myr_train(myr_workspace *workspace, const char *spec_path, int threads, myr_train_progress progress,
                 void *progress_ctx, myr_train_report *out, myr_err *err);

#endif
