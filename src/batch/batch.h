/*
 * The face of batch: score a whole table with the right model for each row and publish the result at once: staged
 * beside the output, synced, renamed. A row without a model is a row with a status, never a lost row.
 */
#ifndef MYR_BATCH_BATCH_H
#define MYR_BATCH_BATCH_H

#include "base/base.h"
#include "fleet/fleet.h"
#include "table/table.h"

#define MYR_BATCH_WORKERS_MAX 256
/* How much is done at once, how often it is tried, and how much may fail. */
typedef struct myr_batch_limits {
    bool is_auto_size;                  /* mini-batches as large as is good for the input */
    myr_table_size mini_batch;          /* else so large; both 0: whole files */
    int64_t workers_min;                /* that are not let go, and started at once */
    int64_t workers_max;                /* 0: one per processor */
    int64_t idle_ms;                    /* a worker that has nothing to do for so long ends */
    int64_t worker_memory_bytes;        /* 0: no limit */
    int64_t worker_cpu_milli;           /* thousandths of a processor; 0: no limit */
    int64_t first_task_timeout_ms;      /* until the first mini-batch is begun; 0: none */
    int64_t max_retries;                /* of a mini-batch, after the first attempt */
    int64_t backoff_ms;                 /* before the first retry; twice as long before each further one */
    int64_t timeout_ms;                 /* of an attempt; 0: none */
    int64_t progress_timeout_ms;        /* of an attempt without a row more; 0: none */
    int64_t error_threshold;            /* rows that may fail; -1: any number */
    int64_t mini_batch_error_threshold; /* mini-batches that may fail; -1: any number */
    double allowed_failed_percent;      /* of the mini-batches */
} myr_batch_limits;
myr_batch_limits myr_batch_limits_default(void);

#define MYR_BATCH_ITEM       "file" /* the feature by which a model that is code is given files */
#define MYR_BATCH_ITEMS_MAX  2048   /* of a mini-batch: what a model is given at once */
#define MYR_BATCH_ITEMS_ONCE 50     /* of a mini-batch, unless the job says more */

/* What a run reads: items, or a query, or a table; the others are NULL. */
typedef struct myr_batch_input {
    const char *const *items; /* files, patterns, directories; NULL-terminated */
    bool as_items;            /* of any kind: each file is a row, not a table (MYR_BATCH_ITEM) */
    const char *sql, *dir;    /* DuckDB's; relative names of files in it are looked for in dir, which may be NULL */
    const char *table;        /* `sales` or `schema.sales`, as it is written in the database */
    const char *database;     /* postgresql://… or sqlite:PATH */
    const char *filter;       /* a SQL condition, in the words of whoever reads; NULL: all rows */
} myr_batch_input;

/* What becomes of the rows that are scored. */
typedef enum myr_batch_action {
    MYR_BATCH_PARTS,  /* files of mini-batches, below directories with `by` */
    MYR_BATCH_APPEND, /* one file */
    MYR_BATCH_SUMMARY /* they are counted */
} myr_batch_action;

/* What is written of each answer beside its numbers, in this order. */
typedef enum myr_batch_detail {
    MYR_BATCH_MODEL,
    MYR_BATCH_MODEL_VERSION,
    MYR_BATCH_LEVEL,
    MYR_BATCH_STATUS,
    MYR_BATCH_DETAIL_COUNT
} myr_batch_detail;
const char *myr_batch_detail_name(myr_batch_detail detail); /* model, model_version, level, status: their columns */
/*
 * Those of these names are written, the others are left out: out_leaves has one for each. None of them: no names, or
 * `none` alone. Errors: BAD_INPUT, a name that is not known (the nearest that is), or twice there.
 */
myr_rc myr_batch_details_choose(const char *const *names, size_t count, bool *out_leaves, myr_err *err);

/* Where a run is done instead of in processes of this machine. */
typedef struct myr_batch_spark {
    const char *master;      /* spark://HOST:PORT; NULL: what spark-defaults.conf says */
    const char *python;      /* the program that has pyspark and the package myriad */
    const char *const *conf; /* KEY=VALUE of Spark's own, NULL-terminated; NULL: none */
    int64_t executors_min;   /* stay; counts with executors_max alone */
    int64_t executors_max;   /* come when tasks wait, go when idle; 0: as many as Spark gives, all the time */
} myr_batch_spark;

/* Who is told that a run is over. */
typedef struct myr_batch_notify {
    const char *webhook;        /* URL that it is POSTed to, or env:NAME; NULL: none */
    const char *const *command; /* gets it on its standard input; NULL-terminated; NULL: none */
    bool on_completed, on_failed, on_canceled;
} myr_batch_notify;

/* A place of its own for a part of the output. */
#define MYR_BATCH_STORES_MAX 256
typedef struct myr_batch_store {
    const char *group;          /* `brand=1` or `store=2,brand=1`: values of columns of `by`; the longest counts */
    const char *output, *table; /* as those of the options */
    bool append;
} myr_batch_store;

typedef struct myr_batch_opts {
    const char *job; /* its name, or NULL */
    const char *fleet;
    int64_t release;   /* 0 = what the alias names */
    const char *alias; /* NULL: champion */
    myr_batch_input input;
    /* A directory (an earlier complete output of ours is replaced, anything else is EXISTS), or the URI of a database:
     * postgresql://… or sqlite:PATH. */
    const char *output;
    const char *table;             /* of the database; made if it is not there. NULL: output is a directory */
    bool append;                   /* rows are added to the table's; else they take their place */
    const myr_batch_store *stores; /* what belongs to none of them goes to output */
    size_t store_count;
    const char *const *by; /* columns of the output's directories; NULL-terminated or NULL */
    const char *const
        *keep; /* NULL-terminated; NULL: every input column that is neither key nor feature nor named as one we make */
    /* A prediction store, sqlite:PATH or postgresql://…, that gets the predictions too, or NULL; and for how long they
     * are valid from the beginning of the run, 0: for ever. */
    const char *predictions;
    int64_t valid_ms;
    const myr_output *kinds;                 /* what is written, in this order; kind_count 0: the value alone */
    uint32_t kind_count;                     /* at most MYR_OUTPUT_COUNT, each once */
    bool leaves_out[MYR_BATCH_DETAIL_COUNT]; /* details that are not written; all false: all are */
    const char *const *partition_keys; /* columns whose rows of one value are never in two mini-batches; NULL-terminated
                                          or NULL. Mini-batches are then counted in rows */
    myr_table_format format;
    myr_batch_action action;
    const char *append_name;        /* of that one file; NULL: predictions.parquet or .csv */
    int64_t retry_of;               /* the run whose failures are tried again; 0: it is a run of its own */
    const myr_batch_limits *limits; /* NULL: the defaults */
    const char *cgroup;             /* as of myr_cgroup_find; NULL: "" */
    const myr_batch_spark *spark;   /* NULL: worker processes of this machine */
    const myr_batch_notify *notify; /* NULL: nobody is told */
    myr_ask network;                /* of models that are code: over what they ask for */
    bool require_hashes;            /* in their lists of requirements, whatever they ask for */
    int threads;                    /* workers at once, if not 0 */
    int64_t memory_bytes;           /* of all their table engines together; 0: no limit */
    bool force;                     /* also if the output is there already */
    /* As soon as the run has a number, with its settings (myr_batch_settings_text); may be NULL. */
    void (*started)(void *ctx, int64_t run_id, const char *settings);
    myr_progress progress; /* rows done, rows in all (0 = not known); on the caller's thread */
    void *ctx;             /* of both */
} myr_batch_opts;

#define MYR_BATCH_DROPPED_BYTES 256
#define MYR_BATCH_VALUES_MAX    16384 /* columns of numbers that a run writes */
typedef struct myr_batch_report {
    int64_t run_id;
    bool is_unchanged; /* nothing was done: the output is that of this run already */
    int64_t mini_batches, mini_batches_failed;
    int64_t attempts_lost; /* that failed and were made again */
    int64_t dead_rows;     /* rows without an answer: dead letters */
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
    int64_t stored_rows;                           /* in the prediction store */
    char dropped_columns[MYR_BATCH_DROPPED_BYTES]; /* input columns left out for their names, `a, b`; "" = none */
    myr_err trouble; /* why the first rows with status `unavailable` have it; rc OK = there are none */
} myr_batch_report;

/*
 * Score `input` into the directory `output`: partition columns, columns of `by`, kept columns, then prediction (or
 * prediction_0 …) or what `kinds` asks for (myr_scorer_column_name), then the details. Killed
 * anywhere, the output is the old one or the new one.
 *
 * The work is done by processes that this one starts (myr_batch_work in the same program). Ownership: borrows
 * everything until it returns.
 * Thread:    the workspace's owner; callbacks are called on it.
 * Errors:    NOT_FOUND fleet, release or input; BAD_INPUT UNSUPPORTED a kind that the models do not give; BAD_INPUT a
 * column is missing, not numeric, or the file is damaged (file and line named); EXISTS something else is at the
 * output's place; NO_SPACE; NO_MEMORY; IO. Then the output is as it was.
 */
myr_rc myr_batch_run(myr_workspace *workspace, const myr_batch_opts *opts, myr_batch_report *out, myr_err *err);
/*
 * Go on with a run that was killed: what is done is not done again. Of opts only threads, progress and ctx count; the
 * rest is what the run began with. run_id 0: the newest that is not over. Errors besides: NOT_FOUND; BUSY somebody is
 * at work on it; CONFLICT it is over; BAD_INPUT an input has changed, which is named.
 */
myr_rc myr_batch_resume(myr_workspace *workspace, int64_t run_id, const myr_batch_opts *opts, myr_batch_report *out,
                        myr_err *err);

/* What a run is for: fills `{date}`, `{run}` and the like in the paths of its job file. */
typedef struct myr_batch_moment {
    const char *time; /* 2026-11-30T02:30:00+01:00: as the clock of the job's zone shows it; that much at least */
    const char *run;  /* of this run alone; goes into paths */
} myr_batch_moment;
/*
 * A run of its own that does again what failed in a completed one (run_id 0: the newest): mini-batches that failed, and
 * those with a row whose status may turn out otherwise (unavailable, broken_model). The rest of its output is taken
 * over as it is, and the whole is published anew. Of opts as above. Nothing to do: *out says unchanged. Errors besides:
 * those of resume; CONFLICT: it is not completed, or its output is not there any more; UNSUPPORTED: an output in one
 * file.
 */
myr_rc myr_batch_retry(myr_workspace *workspace, int64_t run_id, const myr_batch_opts *opts, myr_batch_report *out,
                       myr_err *err);
/* The settings of a run, as its row in the registry has them, in the words of a job file, appended. BAD_FORMAT. */
myr_rc myr_batch_settings_text(const char *settings, myr_buf *out, myr_err *err);

/*
 * A job file (docs/batch.md). What it leaves out is not set; inputs are relative to its directory, the output to
 * output_root. Ownership: *out is the caller's, and its options live as long as it. Thread: immutable, any. Errors:
 * BAD_INPUT file:line:column with the nearest known key or what is allowed.
 */
typedef struct myr_batch_job myr_batch_job;
myr_rc myr_batch_job_load(const char *path, const char *output_root, const myr_batch_moment *moment,
                          myr_batch_job **out, myr_err *err);
const myr_batch_opts *myr_batch_job_opts(const myr_batch_job *job);
void myr_batch_job_free(myr_batch_job *job); /* NULL accepted */
typedef myr_batch_job *myr_batch_job_ptr;
static inline void myr_batch_job_ptr_drop(myr_batch_job_ptr *job)
{
    myr_batch_job_free(*job);
}

/*
 * A worker: started by the two above with MYR_BATCH_WORKER and the workspace's directory as its arguments, in which its
 * program finds its configuration; returns when nobody asks any more.
 */
#define MYR_BATCH_WORKER "batch-worker"
myr_rc myr_batch_work(myr_err *err);

#endif
