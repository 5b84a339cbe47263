/*
 * Models that are code: a directory with score.py, run in a worker process. Private to runtime.
 *
 * python_worker.c is one such model in its process; python.c keeps some of them, each asked by one thread at a time.
 */
#ifndef MYR_RUNTIME_PYTHON_H
#define MYR_RUNTIME_PYTHON_H

#include "compute/compute.h"
#include "runtime/runtime.h"

#define PYTHON_REQUIREMENTS "requirements.txt"

/* Owned by whoever asks it. */
typedef struct python_model {
    char dir[MYR_PATH_BYTES_MAX / 2 + 64]; /* its files; "" while there is none */
    myr_fd lock;                           /* held as long as dir is there */
    myr_runtime_wants wants;
    myr_environment *environment;
    char environments[MYR_PATH_BYTES_MAX]; /* where it lies; "" if it has none of its own */
    int64_t keep_ms, bytes_max;            /* of environments: how long, and how many, when it is closed */
    myr_worker *worker;
    const char *run_name; /* what it does, in messages */
    int64_t timeout_ms;   /* for its start, and for one ask */
    myr_buf request, answer;
    const char *const *features; /* what score.py names; NULL: nothing. In the arena of open */
    const char *const *texts;
    uint32_t feature_count, text_count;
    bool takes_files;     /* run() is given a list of names of files */
    int64_t output_count; /* of one that does: values a file, as score.py says */
} python_model;

/* Its files are written, its environment made, its process started and init() run. arena NULL: its names are not
 * wanted. only_found: BUSY while its environment is not there. */
myr_rc myr_runtime_python_open(const myr_runtime_opts *opts, const myr_runtime_bundle *bundle, myr_arena *arena,
                               bool only_found, python_model **out, myr_err *err);
/* The same of an ONNX model in a process of its own (isolated.c). */
myr_rc myr_runtime_isolated_open(const myr_runtime_opts *opts, const myr_runtime_bundle *bundle,
                                 const myr_external *external, python_model **out, myr_err *err);
/* Its environment alone, held until it is closed. stop: ends it soon, NULL: nothing does. */
myr_rc myr_runtime_python_prepare(const myr_runtime_opts *opts, const myr_runtime_bundle *bundle, bool only_found,
                                  const _Atomic bool *stop, python_model **out, myr_err *err);
void myr_runtime_python_close(python_model *model); /* NULL accepted */
/* *out_ends: it can't be asked again, whatever the result. */
myr_rc myr_runtime_python_ask(python_model *model, const myr_external *external, const myr_runner_call *call,
                              bool *out_ends, myr_err *err);
/* Values per row, by a row of zeros and empty texts. */
myr_rc myr_runtime_python_width(python_model *model, const myr_runtime_opts *opts, const char *const *features,
                                const uint8_t *is_text, uint32_t feature_count, uint32_t *out, myr_err *err);

/* isolated.c: are there such processes; start one, its files are in model->dir. */
bool myr_runtime_isolated_is_on(const myr_runtime_opts *opts);
myr_rc myr_runtime_isolated_spawn(python_model *model, const myr_runtime_opts *opts, const myr_runtime_bundle *bundle,
                                  const myr_external *external, myr_err *err);
void myr_runtime_frame_put_u32(myr_buf *out, uint32_t value); /* little-endian */

typedef struct runtime_python runtime_python;
/* opts outlive it. NULL: no memory. */
runtime_python *myr_runtime_python_new(const myr_runtime_opts *opts);
void myr_runtime_python_free(runtime_python *python); /* NULL accepted; ends all workers */
/* What myr_runtime_run does for such a model. Thread: any. */
myr_rc myr_runtime_python_run(runtime_python *python, const myr_runtime_source *source, const char *artifact_hex,
                              const myr_external *external, const myr_runner_call *call, myr_err *err);
int64_t myr_runtime_python_failures(runtime_python *python); /* of calls, since the start */
/* End the processes of all score.py models but these. One that is asked now ends when it has answered. */
void myr_runtime_python_keep(runtime_python *python, const char *const *hexes, size_t count);

#endif
