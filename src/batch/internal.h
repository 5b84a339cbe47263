/* What the files of batch share: the plan of a run, its working state, and the steps of publishing. */
#ifndef MYR_BATCH_INTERNAL_H
#define MYR_BATCH_INTERNAL_H

#include <stdatomic.h>

#include "batch/batch.h"

/* The columns that a run adds, in this order: predictions, then these. */
enum { BATCH_MODEL, BATCH_VERSION, BATCH_LEVEL, BATCH_STATUS, BATCH_ADDED_COUNT };

#define BATCH_MANIFEST_NAME "_myriad.json"
#define BATCH_LOCK_RETRIES  50
#define BATCH_FILES_MAX     1000000 /* files of one output */

/* ---- plan.c: which columns are read, copied and made ---- */
typedef struct batch_plan {
    myr_table_want *wants; /* keys, features, then the target if it is compared */
    uint32_t want_count;
    uint32_t key_count, feature_count;
    bool has_target;
    const char **keep; /* partition columns, columns of --by, kept columns */
    uint32_t keep_count;
    const char *const *partition_by; /* NULL-terminated or NULL */
    myr_table_output *outputs;
    uint32_t output_count;
    uint32_t value_count; /* of the outputs, how many are numbers that models gave */
    myr_output kinds[MYR_OUTPUT_COUNT];
    uint32_t kind_count;
    uint32_t kind_widths[MYR_OUTPUT_COUNT]; /* columns of each kind, one after the other */
    const char *dropped;                    /* `a, b`: input columns left out for their names; NULL = none */
} batch_plan;
/* Borrows fleet, opts and files (of the input, at least one); the rest is in `arena`. BAD_INPUT: a column is missing
 * (nearest named) or would stand twice.
 */
myr_rc myr_batch_plan(myr_table_engine *engine, const myr_fleet *fleet, const myr_batch_opts *opts, myr_arena *arena,
                      const char *const *files, batch_plan *out, myr_err *err);

/* ---- rows.c: what happens to a chunk of rows ---- */
/* A sum that carries its own rounding error along, so that it hardly depends on the order of its parts. */
typedef struct batch_sum {
    double sum, rest;
} batch_sum;
void myr_batch_sum_add(batch_sum *sum, double value);

typedef struct batch_counts {
    int64_t level_rows[MYR_LEVEL_COUNT];
    int64_t status_rows[MYR_ROW_STATUS_COUNT];
    int64_t compared_rows;
    batch_sum error, baseline_error, units_error, units_baseline_error; /* squared */
} batch_counts;

/* Shared by all threads of a run. */
typedef struct batch_rows {
    const myr_fleet *fleet;
    const batch_plan *plan;
    const double *baselines; /* per model index; NaN = not known. NULL when nothing is compared */
    const int64_t *versions; /* per model index */
    bool is_log;             /* exp() of the target is in units */
    int64_t total_rows;      /* 0 = not known */
    myr_progress progress;
    void *progress_ctx;
    int64_t done_rows; /* guarded by mutex, as are progress and what follows */
    myr_mutex mutex;
    batch_counts counts;
    uint8_t *is_used; /* per model index */
    myr_err trouble;  /* why the first rows of a model that is not ours have no answer; guarded by mutex */
    myr_err bad_key;  /* names one value that is not of its column's type; guarded by mutex */
} batch_rows;
/* The three functions of a myr_table_map whose ctx is a batch_rows. */
myr_rc myr_batch_rows_score(void *ctx, void *thread_state, const myr_table_chunk *chunk, myr_err *err);
void *myr_batch_rows_thread_new(void *ctx);
void myr_batch_rows_thread_free(void *state);

/* ---- publish.c: the output appears at once or not at all ---- */
typedef struct batch_output {
    char path[MYR_PATH_BYTES_MAX]; /* canonical, absolute */
    char parent[MYR_PATH_BYTES_MAX];
    char base[MYR_PATH_BYTES_MAX];    /* name in parent */
    char sync_to[MYR_PATH_BYTES_MAX]; /* directories from parent up to this one are synced: some were made now */
    char staging[MYR_PATH_BYTES_MAX]; /* <path>.staging-<run> */
    char data[MYR_PATH_BYTES_MAX];    /* below staging: what becomes the output */
    char temp[MYR_PATH_BYTES_MAX];    /* below staging: what DuckDB spills */
    char old[MYR_PATH_BYTES_MAX];     /* below staging: the replaced output, where names cannot be exchanged */
    char lock_path[MYR_PATH_BYTES_MAX];
    myr_fd lock; /* held while staging exists */
} batch_output;
/* No file of the input may lie in the output: it would go with it. BAD_INPUT names the first that does. */
myr_rc myr_batch_output_check_input(const batch_output *output, const char *const *files, size_t count, myr_err *err);
/* Find where the output will stand and make its parents. EXISTS: something that is not an output of ours is there. */
myr_rc myr_batch_output_open(const char *path, batch_output *out, myr_err *err);
/* Remove what runs left behind that were killed, and say in the registry how those runs ended. */
myr_rc myr_batch_output_sweep(batch_output *output, myr_registry *registry, myr_err *err);
myr_rc myr_batch_output_stage(batch_output *output, int64_t run_id, myr_err *err);
typedef struct batch_manifest {
    int64_t run_id;
    const char *fleet;
    int64_t release;
    int64_t rows;
} batch_manifest;
/* Write the manifest, sync everything, move it into place. After MYR_OK the output is there for good. */
myr_rc myr_batch_output_publish(batch_output *output, const batch_manifest *manifest, int64_t *out_files,
                                int64_t *out_bytes, myr_err *err);
/* Remove the staging directory and the lock. Fine after each of the steps above. */
void myr_batch_output_close(batch_output *output);

/* ---- manifest.c ---- */
/* List the files below `dir` and write <dir>/_myriad.json. */
myr_rc myr_batch_manifest_write(const char *dir, const batch_manifest *manifest, int64_t *out_files, int64_t *out_bytes,
                                myr_err *err);
/* Whether `dir` is an output of ours; then *out has run and rows (no strings). */
bool myr_batch_manifest_read(const char *dir, batch_manifest *out);

#endif
