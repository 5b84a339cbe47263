/*
 * The face of runtime: models that are not ours, run by ONNX Runtime. Its library is opened at run time, on the first
 * model that needs it; sessions are loaded on demand inside a budget of measured bytes, and share one environment, one
 * thread pool and one allocator.
 *
 * ONNX Runtime reads model files inside this process, but for large ones (runtime.onnx.isolate), which have a process
 * of their own: a file that breaks its parser breaks the process that reads it.
 */
#ifndef MYR_RUNTIME_RUNTIME_H
#define MYR_RUNTIME_RUNTIME_H

#include "base/base.h"
#include "score/score.h"

#define MYR_RUNTIME_ONNX   "onnxruntime" /* the runner's name in a model's compiled bytes */
#define MYR_RUNTIME_PYTHON "python"      /* that of a directory with score.py */
#define MYR_RUNTIME_WORKER "onnx-worker" /* the word that makes this program a worker: see myr_runtime_set_worker */

#define MYR_RUNTIME_FILE "file" /* the feature of a model that takes files: one's name */

#define MYR_RUNTIME_TENSORS_MAX 256 /* inputs of a model, and outputs */
#define MYR_RUNTIME_FILES_MAX   256 /* files of a model: itself and its external data */

/* ---- options ---- */

/* What a job says of something that models ask for: nothing, or the last word. */
typedef enum myr_ask { MYR_ASK_MODEL, MYR_ASK_YES, MYR_ASK_NO } myr_ask;

/* The option rows `runtime.onnx.*` and `runtime.python.*`; the struct is theirs. */
typedef struct myr_runtime_opts {
    char library[MYR_PATH_BYTES_MAX]; /* "": look in the usual places */
    int64_t bytes_max;                /* sessions in memory together, as measured */
    int64_t threads;                  /* of the pool that all sessions share; 1: the calling thread works alone */
    int64_t isolate_bytes;            /* files of a model from which on it has a process; 0: none has */
    int64_t isolate_memory;           /* of address space of each such process; 0: no limit */
    int64_t isolate_timeout_ms;       /* for loading, and for one run */
    char python_program[MYR_PATH_BYTES_MAX];      /* "": python3 of PATH */
    char python_environments[MYR_PATH_BYTES_MAX]; /* "": the user's cache */
    int64_t python_workers;                       /* processes together */
    int64_t python_memory;                        /* of address space of each; 0: no limit */
    int64_t python_timeout_ms;                    /* for init(), and for one call of run() */
    int64_t python_keep_ms;                       /* environments that nobody uses */
    int64_t python_environments_bytes;            /* of all of them on the disk; 0: no limit */
    bool python_require_hashes;                   /* lists of requirements without them are refused */
    bool takes_files;                             /* set by myr_runtime_take_files */
    myr_ask network;                              /* set by myr_runtime_set_environment, as … */
    bool job_hashes;                              /* … this is */
} myr_runtime_opts;
extern const myr_opt_table myr_runtime_opt_table;
/* What a runtime without options of its own gets from now on: the program's configuration. Thread: any. */
void myr_runtime_set_defaults(const myr_runtime_opts *opts);
/* The defaults of the rows, then the environment, unless myr_runtime_set_defaults said otherwise. */
myr_rc myr_runtime_defaults(myr_runtime_opts *out, myr_err *err);

/*
 * Large ONNX models have processes of their own if there is a program that can be one: `PROGRAM onnx-worker …`, whose
 * main hands what follows that word to myr_runtime_worker_main and ends with what that gives. Before threads start.
 */
void myr_runtime_set_worker(const char *program);
int myr_runtime_worker_main(int argc, char **argv);

/* ---- a runtime ---- */

/* A budget and the sessions in it. Any thread. Counted: whoever holds one shares it. */
typedef struct myr_runtime myr_runtime;
/* opts NULL: the defaults. The library is not opened yet. Ownership: *out is the caller's share. */
myr_rc myr_runtime_new(const myr_runtime_opts *opts, myr_runtime **out, myr_err *err);
myr_runtime *myr_runtime_acquire(myr_runtime *runtime);
void myr_runtime_release(myr_runtime *runtime); /* NULL accepted; the last one unloads all sessions */
typedef myr_runtime *myr_runtime_ptr;
static inline void myr_runtime_ptr_drop(myr_runtime_ptr *runtime)
{
    myr_runtime_release(*runtime);
}

/*
 * Open the library now and say what was found: "1.32.0", and the file. Errors: UNAVAILABLE names the library that was
 * looked for, where, and what to type; or the version that was found and the one that is needed.
 */
myr_rc myr_runtime_find(myr_runtime *runtime, char *out_version, size_t version_bytes, char *out_path,
                        size_t path_bytes, myr_err *err);

/* ---- model files ---- */

/* The files of one model, in memory: the first is the model, the others are the external data that it names. */
typedef struct myr_runtime_file {
    const char *name; /* as the model names it, relative to its directory; the model's own name stands in messages */
    const void *data;
    size_t size_bytes;
} myr_runtime_file;
/* What a model that is code asks of its environment (score.yaml beside score.py). */
typedef struct myr_runtime_wants {
    bool network;        /* its process has one */
    bool require_hashes; /* each package has its hash in the list */
} myr_runtime_wants;
typedef struct myr_runtime_bundle {
    const myr_runtime_file *files;
    uint32_t file_count;
    myr_runtime_wants wants;
} myr_runtime_bundle;

/* What a model takes and gives, one tensor each. */
typedef struct myr_runtime_tensor {
    const char *name;
    const char *type; /* "float", "double", "int64", "int32", "bool", "string", "bytes" (an input: a file); an output:
                         also "map" (ZipMap) */
    uint32_t width;   /* values per row; 0: any number (a dimension without a size) */
    bool is_text;
    bool is_value; /* outputs: goes into the answer */
} myr_runtime_tensor;
typedef struct myr_runtime_signature {
    const myr_runtime_tensor *inputs;
    uint32_t input_count;
    const myr_runtime_tensor *outputs;
    uint32_t output_count;
    uint32_t feature_count; /* columns that all inputs take together */
    uint32_t value_count;   /* values per row */
} myr_runtime_signature;

/*
 * Load a model for a moment, run one row of zeros (and ""), and say what it takes and gives; names in the arena.
 * feature_count: how many columns there are, or 0 if not known; needed when an input has any number of them.
 * Errors: UNAVAILABLE: no library; BAD_FORMAT: ONNX Runtime refuses the file, in its words; UNSUPPORTED names the input
 * or output of a type or shape that rows of a table can't be; BAD_INPUT: too few or too many columns; TOO_LARGE.
 */
myr_rc myr_runtime_describe(myr_runtime *runtime, const myr_runtime_bundle *bundle, uint32_t feature_count,
                            myr_arena *arena, myr_runtime_signature *out, myr_err *err);

/*
 * The same for a model that is code: the bundle is a directory's files, score.py the first. Its worker is started,
 * init() run, then run() with one row of zeros (one that takes files says how many values it gives). features NULL:
 * those that score.py names. Each input is one column. Errors: UNAVAILABLE: no Python, an environment that can't be
 * made, an error in score.py with its line; BAD_INPUT: nobody names the features; TIMEOUT; UNSUPPORTED: no value, or
 * too many.
 */
myr_rc myr_runtime_describe_python(myr_runtime *runtime, const myr_runtime_bundle *bundle, const char *const *features,
                                   uint32_t feature_count, myr_arena *arena, myr_runtime_signature *out, myr_err *err);

/* ---- answers ---- */

/* Where a model's files come from when its session is loaded: called on one thread at a time per runtime. */
typedef struct myr_runtime_source {
    void *ctx;
    myr_rc (*load)(void *ctx, const char *artifact_hex, myr_arena *arena, myr_runtime_bundle *out, myr_err *err);
    void (*unload)(void *ctx, const myr_runtime_bundle *bundle); /* the session has what it needs; may be NULL */
    /* How large its files are together, without reading them; NULL: not known, so it stays in this process. */
    myr_rc (*measure)(void *ctx, const char *artifact_hex, int64_t *out_bytes, myr_err *err);
} myr_runtime_source;

/*
 * Run some rows of one model: what a myr_runner does. The session is loaded if it is not there: once, however many
 * threads ask; the others wait, at most until call->until_ns, and are told the same error.
 * Thread: any. Errors: UNAVAILABLE, BAD_FORMAT, TOO_LARGE (larger than the whole budget), BUSY (the budget is in use,
 * or it is still being loaded), NO_MEMORY, those of the source. A failure to load is remembered for a few seconds. A
 * row that the model refuses is call->is_bad, not an error.
 */
myr_rc myr_runtime_run(myr_runtime *runtime, const myr_runtime_source *source, const myr_runner_call *call,
                       myr_err *err);

/* Load a model and keep it until as many unpins came. Errors as myr_runtime_run. */
myr_rc myr_runtime_pin(myr_runtime *runtime, const myr_runtime_source *source, const char *artifact_hex,
                       uint32_t feature_count, myr_err *err);
void myr_runtime_unpin(myr_runtime *runtime, const char *artifact_hex);

/* From now on models that are code may be given names of files, which they open. Nobody else's requests may be. */
void myr_runtime_take_files(myr_runtime *runtime);

/* What a job says of the environments of its models: over what they ask for; hashes if any of all wants them. Before
 * the first of them is asked. */
void myr_runtime_set_environment(myr_runtime *runtime, myr_ask network, bool require_hashes);
/* What keeps processes of models that are code from the network, in words; *out_is_kept: whether anything does. */
const char *myr_runtime_offline(bool *out_is_kept);

/*
 * What a model that is code needs, held: nobody removes it meanwhile. The bundle is the model's, or its
 * requirements.txt alone where only_found. Errors: BUSY: it is not there, and only to be found; UNAVAILABLE with pip's
 * words, or once *stop is set (NULL: nothing stops it). Released ones are removed when nobody has had them for
 * runtime.python.keep, or to make room (runtime.python.environments-bytes). Whoever runs a model with a deadline
 * (until_ns) does not make its environment: BUSY until somebody has made it here.
 */
typedef struct python_model myr_runtime_environment;
myr_rc myr_runtime_environment_acquire(myr_runtime *runtime, const myr_runtime_bundle *bundle, bool only_found,
                                       const _Atomic bool *stop, myr_runtime_environment **out, myr_err *err);
void myr_runtime_environment_release(myr_runtime_environment *environment); /* NULL accepted */
/* Where environments lie, and the Python that makes them, as the options have it. NOT_FOUND: no such Python. */
myr_rc myr_runtime_environments_dir(const myr_runtime_opts *opts, char out[MYR_PATH_BYTES_MAX], myr_err *err);
myr_rc myr_runtime_python_program(const myr_runtime_opts *opts, char out[MYR_PATH_BYTES_MAX], myr_err *err);
/* End the processes of all models that are code but these. */
void myr_runtime_keep_code(myr_runtime *runtime, const char *const *hexes, size_t count);

typedef struct myr_runtime_stats {
    int64_t bytes;      /* of sessions in memory, measured */
    int64_t bytes_peak; /* the most that were counted at once */
    int64_t bytes_max;
    int64_t sessions;      /* in memory */
    int64_t loads;         /* since the start */
    int64_t reloads;       /* of those: were there before and had been unloaded */
    int64_t evictions;     /* unloaded to make room */
    int64_t failures;      /* loads that failed */
    int64_t code_failures; /* calls that a model with a process of its own failed at */
} myr_runtime_stats;
void myr_runtime_get_stats(myr_runtime *runtime, myr_runtime_stats *out);

#endif
