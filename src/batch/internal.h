/* What the files of batch share: the plan of a run, its working state, and the steps of publishing. */
#ifndef MYR_BATCH_INTERNAL_H
#define MYR_BATCH_INTERNAL_H

#include <stdatomic.h>

#include "batch/batch.h"
#include "compute/compute.h"

#define BATCH_MANIFEST_NAME "_myriad.json"
#define BATCH_FILES_MAX     1000000 /* files of one output */
#define BATCH_DEPTH_MAX     64      /* directories below one another in an output */

#define BATCH_SYNC_EACH 4 /* more files are synced with their file system: a call for each would take longer */

/* What limits of a run may be. */
#define BATCH_MILLISECONDS_MAX (7LL * 24 * 3600 * 1000)
#define BATCH_RETRIES_MAX      1000
#define BATCH_COUNT_MAX        INT32_MAX /* of what may fail */
#define BATCH_CPU_MILLI_MAX    1024000   /* thousandths of a processor, of a worker */

struct yyjson_val;
struct batch_sink;
typedef struct batch_sink batch_sink;

/* ---- settings.c ---- */
myr_table_size myr_batch_size_default(bool is_text);
bool myr_batch_action_parse(const char *text, myr_batch_action *out);
/* As JSON; opts->limits is set. */
void myr_batch_settings_print(const myr_batch_opts *opts, myr_buf *out);
/* Texts live in `arena`, as do the limits. BAD_FORMAT. */
myr_rc myr_batch_settings_parse(const char *text, size_t size, myr_arena *arena, myr_batch_opts *out, myr_err *err);
/* What tells one output from another: settings that shape it, the release's pack, inputs with size and time. */
void myr_batch_settings_hash(const myr_batch_opts *opts, const myr_run_input_row *inputs, size_t input_count,
                             const char *pack, char out[MYR_SHA256_HEX_BYTES]);
/* A list of texts, NULL-terminated; NULL: it is none. */
const char *const *myr_batch_settings_list(struct yyjson_val *list, myr_arena *arena);

/* ---- details.c ---- */
bool myr_batch_details_are_all(const myr_batch_opts *opts);

/* ---- moment.c: `{date}` and the like ---- */
/* The text with its places filled, appended. BAD_INPUT: a place that is not known, with the nearest. */
myr_rc myr_batch_moment_fill(const myr_batch_moment *moment, const char *text, myr_buf *out, myr_err *err);

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
    int detail_at[MYR_BATCH_DETAIL_COUNT];  /* which output; -1: it is not written, nor made */
    const char *dropped;                    /* `a, b`: input columns left out for their names; NULL = none */
} batch_plan;
typedef struct batch_files {
    const char *input; /* what they are called together */
    const char *const *paths;
    size_t count; /* at least one */
} batch_files;
/* A map as far as the plan has it: without its input. */
myr_table_map myr_batch_plan_map(const batch_plan *plan, const myr_batch_opts *opts);
/* Borrows fleet, opts and files; the rest is in `arena`. BAD_INPUT: a column is missing
 * (nearest named) or would stand twice.
 */
myr_rc myr_batch_plan(myr_table_engine *engine, const myr_fleet *fleet, const myr_batch_opts *opts, myr_arena *arena,
                      const batch_files *files, batch_plan *out, myr_err *err);
/* The same without the table: opts->keep is all of plan->keep, and whether the target is there is known. */
myr_rc myr_batch_plan_again(const myr_fleet *fleet, const myr_batch_opts *opts, bool has_target, myr_arena *arena,
                            batch_plan *out, myr_err *err);

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

/* ---- dead.c: rows without an answer, one JSON object a line ---- */
typedef struct batch_dead {
    const char *path; /* made with the first row */
    const myr_table_part *part;
    const char *file;                    /* what it is called */
    const myr_col *from_file, *from_row; /* of the chunk: where its rows came from; NULL: they are the part's */
    const char *mini_batch;
    int64_t attempt;
    myr_table_lines *lines; /* NULL: its rows have none */
    myr_fd fd;
    myr_buf text;
    int64_t count;
} batch_dead;
/* `,"key":{"store":2}`, appended: of a row, the first `count` columns. */
void myr_batch_dead_keys(const myr_col *cols, uint32_t count, int64_t row_idx, myr_buf *out);
/* Which input of a plan is the file that is a row; -1: rows are rows. */
int64_t myr_batch_plan_item(const batch_plan *plan, const myr_batch_opts *opts);
/* The key as `store=2,brand=1`; row_idx is of the chunk, row of the part from 0. */
myr_rc myr_batch_dead_add(batch_dead *dead, const myr_key_schema *keys, const myr_table_chunk *chunk, int64_t row_idx,
                          int64_t row, const char *cause, const char *why, myr_err *err);
/* Write what is left, and sync. Fine when there was none. */
myr_rc myr_batch_dead_end(batch_dead *dead, myr_err *err);
void myr_batch_dead_close(batch_dead *dead); /* whatever became of it */

/* Shared by all threads of a mini-batch; in a worker that is one. */
typedef struct batch_rows {
    const myr_fleet *fleet;
    const batch_plan *plan;
    const double *baselines; /* per model index; NaN = not known. NULL when nothing is compared */
    const int64_t *versions; /* per model index */
    bool is_log;             /* exp() of the target is in units */
    bool is_grouped;         /* chunks say where their rows came from */
    int64_t item_idx;        /* of the inputs, which one is a file that is the row; -1: rows are rows */
    myr_runtime *runtime;    /* asked whether code has failed; NULL: nobody asks */
    bool is_lenient;         /* rows of code that fails are `unavailable`; else the attempt fails */
    bool has_code_failed;    /* that is why it failed */
    int64_t code_failures;   /* before the chunk */
    myr_progress progress;
    void *progress_ctx;
    int64_t done_rows;
    myr_mutex mutex; /* guards what follows */
    batch_counts counts;
    uint8_t *is_used; /* per model index */
    myr_err trouble;  /* why the first rows of a model that is not ours have no answer; guarded by mutex */
    myr_err bad_key;  /* names one value that is not of its column's type; guarded by mutex */
    batch_dead dead;  /* rows come in the order of the part, on one thread */
} batch_rows;
/* The three functions of a myr_table_map whose ctx is a batch_rows. */
myr_rc myr_batch_rows_score(void *ctx, void *thread_state, const myr_table_chunk *chunk, myr_err *err);
void *myr_batch_rows_thread_new(void *ctx);
void myr_batch_rows_thread_free(void *state);
/* Before the first row. rows->fleet and rows->plan are set; the rest is filled, in `arena`. */
myr_rc myr_batch_rows_begin(batch_rows *rows, myr_workspace *workspace, myr_arena *arena, myr_err *err);

/* ---- counts.c: what a worker has counted, as JSON, and added up ---- */
void myr_batch_counts_print(const batch_rows *rows, int64_t row_count, myr_buf *out);
/* Add a worker's to `into`; *out_rows: how many rows it had. BAD_FORMAT. */
myr_rc myr_batch_counts_add(batch_rows *into, const char *json, int64_t *out_rows, myr_err *err);
/* What an output says of all its rows; rows.fleet is set. */
void myr_batch_counts_report(const batch_rows *rows, myr_batch_report *out);

/* ---- stage.c: where an output is put together ---- */
typedef struct batch_stage {
    char place[MYR_PATH_BYTES_MAX]; /* absolute: staged is beside it */
    char parent[MYR_PATH_BYTES_MAX];
    char base[MYR_PATH_BYTES_MAX];    /* name in parent */
    char staging[MYR_PATH_BYTES_MAX]; /* <place>.staging-<run> */
    char data[MYR_PATH_BYTES_MAX];    /* below staging: what becomes the output */
    char temp[MYR_PATH_BYTES_MAX];    /* below staging: what DuckDB spills */
    char old[MYR_PATH_BYTES_MAX];     /* below staging: what was replaced, where names cannot be exchanged */
    char lock_path[MYR_PATH_BYTES_MAX];
    myr_fd lock;  /* held while staging exists */
    bool is_kept; /* what is staged outlives us: somebody may go on with it */
} batch_stage;
myr_rc myr_batch_stage_at(batch_stage *stage, const char *place, myr_err *err);
/* Lock it and make it. again: of a run that is taken up again, what is staged stays. BUSY: somebody is at work on it.
 */
myr_rc myr_batch_stage_open(batch_stage *stage, int64_t run_id, bool again, myr_err *err);
/* Make all below `dir`, so many files, safe on the disk. */
myr_rc myr_batch_stage_sync(const batch_stage *stage, const char *dir, int64_t files, myr_err *err);
/* Remove what is staged, if it is not kept, and let the lock go. Fine if it was not opened. */
void myr_batch_stage_close(batch_stage *stage);
/* What runs on the same place left that were killed, each with its lock held, is given to fn, then removed. */
typedef myr_rc (*myr_batch_stage_fn)(void *ctx, batch_stage *dead, int64_t run_id, myr_err *err);
myr_rc myr_batch_stage_bury(const batch_stage *stage, myr_batch_stage_fn fn, void *ctx, myr_err *err);
/* A lock on a file that is made for it. BUSY: somebody has it, for longer than a moment. */
myr_rc myr_batch_stage_lock(const char *path, myr_fd *out, myr_err *err);

/* What an output says of itself. */
typedef struct batch_manifest {
    int64_t run_id;
    const char *fleet; /* NULL when it was read */
    int64_t release;
    int64_t rows;     /* of this place */
    int64_t run_rows; /* of the whole run, in all of its places; 0 when it was read */
    int64_t files, bytes;
    char fingerprint[MYR_SHA256_HEX_BYTES];
} batch_manifest;

/* ---- manifest.c ---- */
/* List the files below `dir`, count them into the manifest, and write <dir>/_myriad.json. */
myr_rc myr_batch_manifest_write(const char *dir, batch_manifest *manifest, myr_err *err);
/* Whether `dir` is an output of ours; then *out is what it says, but for its files. */
bool myr_batch_manifest_read(const char *dir, batch_manifest *out);
typedef struct batch_manifest_file {
    const char *path; /* below the output */
    int64_t bytes;
} batch_manifest_file;
/* The same of a text, with out->files files; their paths live in `arena`. False: it is none of ours, or no memory. */
bool myr_batch_manifest_parse(const char *text, size_t size, myr_arena *arena, batch_manifest *out,
                              batch_manifest_file **out_files);
/* Of a coordinator that died before it had moved `dir`: its manifest, whole or half written. Fine if there is none. */
myr_rc myr_batch_manifest_remove(const char *dir, myr_err *err);
/* Whether its files are all there, as long as they were. */
bool myr_batch_manifest_holds(const char *dir, int64_t *out_files, int64_t *out_bytes);

/* ---- attempt.c: what one attempt at a mini-batch wrote ---- */
/* Files below `dir`, and their bytes. */
myr_rc myr_batch_attempt_count(const char *dir, int64_t *out_files, int64_t *out_bytes, myr_err *err);
/*
 * Move its files to where they belong, below `data` of their sink's stage, at the same places, under the mini-batch's
 * name: part-0.parquet becomes part-<name>.parquet, part-1.parquet part-<name>-1.parquet. Files that were moved before
 * are not there any more.
 */
struct batch;
myr_rc myr_batch_attempt_move(const struct batch *b, const char *dir, const char *name, myr_err *err);

/* ---- pool.c: workers that take mini-batches from a queue ---- */
typedef struct batch_ask {
    myr_buf request; /* the frame that asks for it */
    int64_t timeout_ms, progress_timeout_ms;
    void *owner;
    struct batch_ask *next;
    atomic_llong rows_now; /* so far */
    /* what became of it */
    myr_err err;  /* rc OK: `answer` is the worker's */
    bool is_code; /* a model that is code failed; the worker did not */
    myr_buf answer;
    int64_t worker, started_ms, duration_ms;
} batch_ask;
typedef struct batch_pool batch_pool;
typedef struct batch_pool_opts {
    const char *workspace;   /* its directory: a worker's argument, for its configuration */
    const char *hello;       /* the first frame that a worker is sent */
    const char *const *argv; /* of a worker; NULL: this program's own */
    int min, max;            /* workers that are not let go; at once */
    int64_t idle_ms, memory_bytes, cpu_milli;
    const char *cgroup; /* as of myr_cgroup_find */
    int64_t end_ms;     /* how long a worker that is not needed any more may take to end by itself; 0: it is killed */
} batch_pool_opts;
/* One worker starts at once, the others with work for them. Thread of all: the coordinator's. */
myr_rc myr_batch_pool_start(const batch_pool_opts *opts, batch_pool **out, myr_err *err);
/* The frame that every worker is sent before its first ask; borrowed. */
void myr_batch_pool_plan(batch_pool *pool, const char *plan);
bool myr_batch_pool_has_begun(batch_pool *pool);           /* has a worker begun with a mini-batch? */
void myr_batch_pool_warm(batch_pool *pool, int count);     /* so many should be started by now */
void myr_batch_pool_put(batch_pool *pool, batch_ask *ask); /* the pool's until it is taken */
/* From the start of the pool to the first row that a worker has answered; -1: none has yet. */
int64_t myr_batch_pool_first_row_ms(batch_pool *pool);
/* What holds its workers within their limits. */
void myr_batch_pool_holds(const batch_pool *pool, myr_hold *out_memory, myr_hold *out_cpu);
/* An ask that is over; NULL: none within wait_ms. */
batch_ask *myr_batch_pool_take(batch_pool *pool, int64_t wait_ms);
/* Nothing will be asked any more: the workers are killed, beside what the caller does next. NULL accepted. */
void myr_batch_pool_dismiss(batch_pool *pool);
/* The same, waited for; asks that were not taken are freed with it. NULL accepted. */
void myr_batch_pool_stop(batch_pool *pool);
void myr_batch_ask_free(batch_ask *ask);

/* ---- wire.c: what coordinator and worker say to each other ---- */
/* A failure as an answer, and back: gives back its code, or BAD_FORMAT. is_code: of a model that is code. */
void myr_batch_wire_error(const myr_err *err, bool is_code, myr_buf *out);
bool myr_batch_wire_is_code(const myr_buf *frame);
typedef enum batch_said { BATCH_SAID_DONE, BATCH_SAID_ROWS, BATCH_SAID_ERROR } batch_said;
/* What kind of answer a frame is; rows so far, or the error. */
batch_said myr_batch_wire_read(const myr_buf *frame, int64_t *out_rows, myr_err *out_err);

/* ---- batch.c: one run, by its coordinator ---- */
typedef struct batch_task {
    myr_mini_batch_row row;  /* texts in the run's arena */
    int64_t not_before_ns;   /* of a retry */
    int64_t attempts_before; /* that do not count: it was done, or failed, and is done again */
    bool is_queued;
    bool is_lenient; /* code failed at it, and it can't be cut any more: its rows say so */
    int misses;      /* of one that the inputs were cut into: parts that failed since one was done */
    bool has_failed; /* of one that the inputs were cut into: some part of it has, for good */
    batch_ask *ask;  /* while it is queued: the pool's */
} batch_task;
typedef struct batch_environments batch_environments;
typedef struct batch {
    myr_workspace *workspace;
    myr_batch_opts opts; /* effective: release and paths are resolved */
    const myr_batch_opts *asked;
    myr_arena *arena;
    myr_fleet *fleet;
    myr_table_engine *engine;
    batch_pool *pool;
    batch_environments *environments; /* NULL: no model needs one */
    batch_plan plan;
    struct batch_sink *sinks; /* the first one's stage is where workers write */
    size_t sink_count;
    bool is_kept; /* what is staged and brought outlives us */
    myr_run_input_row *inputs;
    size_t input_count, input_room;
    const char *input_name; /* what they are called together */
    const char *brought;    /* directory of those that were brought, or NULL */
    myr_fd brought_lock;
    batch_task **tasks;
    size_t task_count, task_room;
    size_t left;          /* not yet over */
    size_t first_open;    /* none before it is */
    size_t written_count; /* of the tasks, the ledger has these */
    batch_rows rows;      /* what the workers have counted, added up */
    const char *hello, *plan_text, *settings_text;
    const char *table_plan; /* of plan_text, how the inputs are read */
    int worker_count;       /* at most at once */
    const char *grouped;    /* the file in which rows are put together by partition_keys; NULL: there are none */
    char fingerprint[MYR_SHA256_HEX_BYTES];
    int64_t run_id; /* 0: no row in the registry yet */
    int64_t begin_ns, beat_ns;
    int64_t started_ms;            /* of the run, also of one that goes on */
    int64_t change;                /* of the registry, when we looked last */
    int64_t split_count;           /* mini-batches that became two */
    int64_t total_rows, done_rows; /* total 0: not known */
    int64_t attempts_lost;
    int64_t root_count;   /* mini-batches that the inputs were cut into: the first of the tasks */
    int64_t failed_count; /* of these, how many have a row that failed for good */
    int64_t failed_rows;  /* in mini-batches that failed for good */
    int64_t dead_rows;    /* counted by workers */
} batch;
/* The steps that a run and one that goes on have in common. */
myr_rc myr_batch_begin(batch *b, myr_err *err);
/* Workers end, what was staged goes, locks are given back; what is left is memory. Fine more than once. */
void myr_batch_let_go(batch *b);
void myr_batch_drop(batch *b);
static inline void batch_drop(batch *b)
{
    myr_batch_drop(b);
}
myr_rc myr_batch_open_fleet(batch *b, myr_err *err);
myr_rc myr_batch_start_pool(batch *b, myr_err *err);
const char *myr_batch_owner(char *out, size_t out_bytes); /* host:pid */
/* From the stage on, if rc is OK: done or failed, the ledger says how it ended. */
myr_rc myr_batch_to_its_end(batch *b, myr_rc rc, myr_batch_report *out, myr_err *err);
void myr_batch_report_fill(const batch *b, myr_batch_report *report);
const char *myr_batch_staging(const batch *b); /* where workers write; borrowed */
/* Into the ledger, with all its mini-batches. */
myr_rc myr_batch_start(batch *b, myr_err *err);
/* ---- resume.c ---- */
typedef struct batch_wanted {
    const char *state;    /* of the run */
    const char *called;   /* in words: there is none */
    const char *else_why; /* in words: it is of another */
} batch_wanted;
/* Run run_id, or (0) the newest that is wanted. NOT_FOUND; CONFLICT it is not wanted; UNSUPPORTED it is too old. */
myr_rc myr_batch_find_run(batch *b, int64_t run_id, const batch_wanted *wanted, myr_run_row *out, myr_err *err);
/* A run that there was: its settings, and where its output stands; once its fleet is open, its plan. */
myr_rc myr_batch_read(batch *b, const myr_run_row *row, myr_err *err);
myr_rc myr_batch_read_plan(batch *b, const myr_run_row *row, myr_err *err);
/* Mini-batches of a run as the ledger has them; those of which redo says so are not done. NULL: all are as they are. */
typedef bool (*batch_redo)(const batch *b, const myr_mini_batch_row *row);
myr_rc myr_batch_load_tasks(batch *b, int64_t run_id, batch_redo redo, myr_err *err);
/* Those that are not done are to be done. */
void myr_batch_open_tasks(batch *b);
/* ---- paths.c: what is written down means the same from anywhere; texts in the run's arena ---- */
myr_rc myr_batch_path(batch *b, const char **path, myr_err *err);         /* of a file; URIs stay */
myr_rc myr_batch_path_database(batch *b, const char **uri, myr_err *err); /* of SQLite's; other URIs stay */
myr_rc myr_batch_paths(batch *b, myr_err *err);                           /* those of b->opts, but for the output's */
/* ---- environments.c ---- */
/* Of the models that are code. UNAVAILABLE: one can't be made, with pip's words; CANCELLED, TIMEOUT as of work. */
myr_rc myr_batch_environments_make(batch *b, myr_err *err);
void myr_batch_environments_drop(batch *b);
/* ---- group.c: partition_keys ---- */
/* Where the grouped file of this run is; once its output is staged. */
myr_rc myr_batch_group_place(batch *b, myr_err *err);
/* Let a worker make it, then cut it into mini-batches, which go into the ledger. */
myr_rc myr_batch_group(batch *b, myr_err *err);
/* ---- append.c ---- */
/* MYR_BATCH_APPEND: the parts in the stage's `data` become one file, in a directory that takes its place. */
myr_rc myr_batch_append(batch *b, myr_err *err);
/* ---- predictions.c ---- */
/* UNSUPPORTED: what the fleet predicts can't be stored. */
myr_rc myr_batch_predictions_check(const batch *b, myr_err *err);
/* What is staged into the prediction store, each row once, whoever did a part of it before. */
myr_rc myr_batch_predictions_store(batch *b, int64_t *out_rows, myr_err *err);
/* ---- publish.c ---- */
/* From the attempts that won to the sinks' places. */
myr_rc myr_batch_publish(batch *b, myr_batch_report *report, myr_err *err);
/* ---- split.c ---- */
/* Cut the inputs into mini-batches. */
myr_rc myr_batch_split(batch *b, myr_err *err);
/* The same of the grouped file. */
myr_rc myr_batch_split_grouped(batch *b, myr_err *err);
/* What it is a part of, and which. */
myr_table_part myr_batch_task_part(const batch *b, const batch_task *task);
myr_rc myr_batch_task_add(batch *b, const myr_mini_batch_row *row, batch_task **out, myr_err *err);
/* Two halves take the place of a mini-batch; *out_can = false: it can't be cut. */
myr_rc myr_batch_split_task(batch *b, batch_task *task, bool *out_can, myr_err *err);
/* The mini-batch of the inputs that this one is a part of, or is. */
batch_task *myr_batch_task_root(const batch *b, const batch_task *task);
/* ---- record.c: what stays of a run ---- */
#define BATCH_DEAD_NAME "dead_letters.jsonl"
myr_rc myr_batch_record_dir(const myr_workspace *workspace, int64_t run_id, char *out, size_t out_bytes, myr_err *err);
myr_rc myr_batch_copy(const char *from, const char *to, myr_err *err); /* a file, not synced */
/* ---- report.c ---- */
/* report.json and report.html beside them. */
myr_rc myr_batch_report_write(const batch *b, const char *state, const char *message, myr_err *err);
/* While what was staged is still there. */
myr_rc myr_batch_record_write(const batch *b, myr_err *err);
/* ---- spark.c: a run with opts.spark ---- */
/* UNSUPPORTED: what Spark's workers don't write. Fine without Spark. */
myr_rc myr_batch_spark_check(const batch *b, myr_err *err);
/* Which worker is started, and how it ends. NOT_FOUND: no such Python. */
myr_rc myr_batch_spark_pool(const batch *b, batch_pool_opts *opts, myr_err *err);
/* A field of the frame with the plan: all inputs; appended, with a comma behind it. */
void myr_batch_spark_files(const batch *b, myr_buf *frame);
myr_rc myr_batch_spark_split(batch *b, myr_err *err);
/* ---- notify.c ---- */
#define BATCH_COMMAND_MAX 64 /* words of a command */
#define BATCH_NOTIFY_NAME "notifications.jsonl"
/* The run is over with rc: tell whoever is to be told, and write down what became of it. Nothing of it fails the run,
 * whose workers and locks are let go of before. */
void myr_batch_notify_send(batch *b, myr_rc rc, bool is_unchanged, const char *message);
/* ---- work.c ---- */
/* Hand out what is not done until it is. */
myr_rc myr_batch_work_off(batch *b, myr_err *err);
/* Something else that a worker does, to its end, tried again if that may help. The text is its request. */
myr_rc myr_batch_work_ask(batch *b, const char *request, myr_err *err);
/* Mini-batches that the ledger does not have yet, in one commit. */
myr_rc myr_batch_work_write_new(batch *b, myr_err *err);
/* Now and then, while something else is waited for: the lease, and whether the run is to end. CANCELLED, TIMEOUT. */
myr_rc myr_batch_work_beat(batch *b, myr_err *err);
int64_t myr_batch_lease_ms(void); /* until when a lease that is renewed now lasts */

#endif
