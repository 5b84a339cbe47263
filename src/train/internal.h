/*
 * What the files of train share: the plan (a spec, read and checked), the table with its segments, and what a fit
 * needs. Thread: plan and table do not change while segments are fitted; a segment and a scratch belong to one thread
 * at a time.
 */
#ifndef MYR_TRAIN_INTERNAL_H
#define MYR_TRAIN_INTERNAL_H

#include "import/import.h"
#include "registry/registry.h"
#include "spec/spec.h"
#include "table/table.h"
#include "train/train.h"

#define MYR_TRAIN_CANDIDATES_MAX 64 /* algorithms times settings */
#define MYR_TRAIN_SETTINGS_MAX   16 /* settings of one algorithm */
#define MYR_TRAIN_FEATURES_MAX   4096
#define MYR_TRAIN_WINDOWS_MAX    100
#define MYR_TRAIN_ROWS_MAX       (1u << 30)
#define MYR_TRAIN_SEGMENTS_MAX   1000000 /* of all levels together */
#define MYR_TRAIN_VALUE_MAX      1e38 /* what XGBoost's floats hold: past it a feature is missing, a target unusable */
#define MYR_TRAIN_LEVELS_MAX     (MYR_PARTITION_COLUMNS_MAX + 1)

/* ---- memory of one thread: grows to the largest segment it met, freed at the end ---- */

typedef struct myr_train_room {
    void *data;
    size_t bytes;
} myr_train_room;
/* At least `count` items; what stood there may be gone. NULL: no memory. */
void *myr_train_room_take(myr_train_room *room, size_t count, size_t item_bytes);

typedef struct myr_train_scratch {
    myr_train_room rows, judged; /* row numbers: to fit on, to judge on */
    myr_train_room x, y;         /* the sample */
    myr_train_room judged_x, predicted;
    myr_train_room sorted;                   /* for medians */
    myr_train_room work;                     /* of an algorithm */
    const struct myr_train_xgboost *xgboost; /* NULL when the plan has no use for it */
    const struct myr_train_lapack *lapack;   /* the same */
} myr_train_scratch;
void myr_train_scratch_fini(myr_train_scratch *scratch);

/* ---- algorithms ---- */

/* Rows to fit on: features row-major (NaN = missing), no missing target, row_count > 0. */
typedef struct myr_train_sample {
    const double *x, *y;
    uint32_t row_count, feature_count;
    const char *const *features;
    bool is_leaf; /* a small one of many: speed per fit counts */
    int64_t seed;
} myr_train_sample;

typedef struct myr_train_setting {
    const char *name;
    double preset; /* when the spec is silent */
    double min, max;
    bool is_whole;
    const char *const *words; /* NULL-terminated: the value is a word, kept as its index */
} myr_train_setting;

/* Fit and append the model's file to `out`. Deterministic. Thread: any, each with its own scratch. */
typedef myr_rc (*myr_train_fit_fn)(const myr_train_sample *sample, const double *values, myr_train_scratch *scratch,
                                   myr_buf *out, myr_err *err);
typedef struct myr_train_algorithm {
    const char *name;
    const myr_train_setting *settings;
    uint32_t setting_count;
    bool needs_xgboost, needs_lapack;
    myr_train_fit_fn fit;
} myr_train_algorithm;
extern const myr_train_algorithm myr_train_mean, myr_train_ridge, myr_train_boosted;
extern const myr_train_algorithm *const myr_train_algorithms[]; /* NULL-terminated, the simplest first */

typedef struct myr_train_candidate {
    const myr_train_algorithm *algorithm;
    double values[MYR_TRAIN_SETTINGS_MAX];
    uint32_t given; /* bit i: setting i stands in the spec */
} myr_train_candidate;

double myr_train_average(const double *values, uint32_t count); /* count > 0 */

/* LAPACKE's functions (lapack.h), found once per training. UNAVAILABLE says how to get it. */
typedef struct myr_train_lapack myr_train_lapack;
myr_rc myr_train_lapack_open(myr_train_lapack *out, myr_err *err);

/* XGBoost's library, opened once per training. UNAVAILABLE says how to get it. */
typedef struct myr_train_xgboost myr_train_xgboost;
myr_rc myr_train_xgboost_open(myr_train_xgboost **out, myr_err *err);
void myr_train_xgboost_close(myr_train_xgboost *xgboost); /* NULL accepted */

/* ---- the plan ---- */

typedef struct myr_train_plan {
    myr_spec *spec;   /* owns the texts */
    myr_arena *arena; /* owns the rest */
    const char *fleet;
    const char *data; /* path or glob */
    const char *const *partition;
    uint32_t partition_count;
    const char *target, *transform; /* transform: "" or "log" */
    const char *time;
    const char *const *features;
    uint32_t feature_count;
    double test_last;
    const char *test_write; /* "": not asked for */
    uint32_t window_count;
    double window_size;
    bool cleans;
    double clean_limit, clean_share;
    int64_t min_rows, seed, threads;
    /* One more than candidate_count: the last is `mean`, for segments where nothing can be compared. */
    myr_train_candidate candidates[MYR_TRAIN_CANDIDATES_MAX + 1];
    uint32_t candidate_count;
    uint32_t mean_idx; /* `mean` among the candidates, or candidate_count */
    myr_tag *tags;
    uint32_t tag_count;
} myr_train_plan;
/* Ownership: *out is the caller's. Errors: BAD_INPUT with file:line:column. */
myr_rc myr_train_plan_load(const char *spec_path, myr_train_plan **out, myr_err *err);
void myr_train_plan_free(myr_train_plan *plan); /* NULL accepted */
/* The trials of a spec, into candidates and mean_idx. */
myr_rc myr_train_plan_trials(const myr_spec *spec, const myr_spec_node *root, myr_train_plan *plan, myr_err *err);

/* ---- the table ---- */

typedef enum myr_train_row {
    MYR_TRAIN_ROW_OUT, /* no key, no time, or (before the test set) no target: takes part in nothing */
    MYR_TRAIN_ROW_FIT,
    MYR_TRAIN_ROW_TEST
} myr_train_row;

typedef struct myr_train_segment {
    uint32_t level;        /* 0: all partition columns; one fewer from the left at each level; the last is global */
    uint32_t first, count; /* its rows in the order of its level */
    const char *text;      /* "store=2,brand=1" */
    double origin;         /* rows past it are test rows (of leaves), windows end here */
    /* what fitting finds */
    bool is_fitted; /* false: too few rows */
    uint32_t fit_rows, anomalies;
    uint32_t window_count; /* that could be judged */
    uint32_t winner;       /* candidate */
    double *trial_rmse;    /* per candidate; NaN if not judged */
    double baseline;
    uint32_t test_rows; /* with a target */
    double test_sse, baseline_sse;
    myr_buf artifact;
    char fingerprint[MYR_SHA256_HEX_BYTES];
} myr_train_segment;

typedef struct myr_train_table {
    myr_arena *arena;
    myr_table_data *data;
    const myr_train_plan *plan;
    uint32_t row_count, out_count, test_count;
    const myr_col *keys; /* per partition column */
    const double *time, *target;
    bool time_is_whole; /* all times are whole numbers: written as such */
    const double **features;
    uint8_t *states;   /* per row: myr_train_row */
    uint32_t *leaf_of; /* per row: its segment of level 0, as index into segments; meaningless for OUT rows */
    uint32_t level_count;
    uint32_t *orders[MYR_TRAIN_LEVELS_MAX]; /* row numbers without OUT rows, by key then time then place in the file */
    uint32_t order_count;
    myr_train_segment *segments; /* the global one first, the leaves last: the largest fits start first */
    uint32_t segment_count;
    uint32_t level_first[MYR_TRAIN_LEVELS_MAX], level_segments[MYR_TRAIN_LEVELS_MAX];
} myr_train_table;

/* Read and cut into segments. Ownership: *out is the caller's; the plan must outlive it. */
myr_rc myr_train_table_load(const myr_train_plan *plan, int threads, myr_train_table **out, myr_err *err);
void myr_train_table_free(myr_train_table *table); /* NULL accepted */
/* "segment", "parent", "global". */
const char *myr_train_level_name(const myr_train_table *table, uint32_t level);
/* The test rows as a file: keys, time, features, target. */
myr_rc myr_train_table_write_test(const myr_train_table *table, const char *path, myr_err *err);
/* Copy the features of rows, row-major, into out (count * feature_count). */
void myr_train_gather(const myr_train_table *table, const uint32_t *rows, uint32_t count, double *out);

/* ---- cleaning, fitting, judging ---- */

/*
 * Keep in rows[0..count) those whose target is within `limit` robust deviations (1.4826 MAD) of the median; all stay
 * when more than `max_share` of them would go, or when the MAD is 0: that is how the values are spread, not an anomaly.
 * Returns how many stay. sorted: room for count doubles.
 */
uint32_t myr_train_clean(const double *target, double limit, double max_share, uint32_t *rows, uint32_t count,
                         double *sorted);

/* Try the candidates on a segment, keep the best, refit it, judge it on the test rows. */
myr_rc myr_train_segment_fit(const myr_train_table *table, myr_train_segment *segment, myr_train_scratch *scratch,
                             myr_err *err);
/* Predict rows as a release will: the model's file through import, compile and the kernels. NULL: no memory. */
myr_rc myr_train_predict(const myr_train_table *table, const myr_buf *artifact, const uint32_t *rows, uint32_t count,
                         myr_train_scratch *scratch, const double **out, myr_err *err);

/* ---- what is told ---- */

/* {"rmse":…,"test_rmse":…,"baseline_test_rmse":…,"rows":…,"anomalies":…,"trials":[…]} */
void myr_train_metrics_json(const myr_train_plan *plan, const myr_train_segment *segment, myr_buf *out);
/* Sums over the leaves: into the counts, wins and errors of the report. */
void myr_train_report_sum(const myr_train_table *table, myr_train_report *report);
myr_rc myr_train_report_write(const myr_train_table *table, const myr_train_report *report, const char *path,
                              myr_err *err);
/* Actual against predicted for four segments. */
myr_rc myr_train_plot_write(const myr_train_table *table, const char *path, myr_train_scratch *scratch, myr_err *err);

#endif
