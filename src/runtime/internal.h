/*
 * What the files of runtime share. Not for other directories.
 *
 * library.c opens the library; env.c has the one environment and the counting allocator; session.c makes a session and
 * knows its tensors; tensors.c moves cells; cache.c decides what is in memory.
 */
#ifndef MYR_RUNTIME_INTERNAL_H
#define MYR_RUNTIME_INTERNAL_H

#include <stdatomic.h>

#include <onnxruntime_c_api.h>

#include "runtime/runtime.h"

#ifndef MYR_DEFAULT_ONNXRUNTIME_LIB
#define MYR_DEFAULT_ONNXRUNTIME_LIB ""
#endif

#define RUNTIME_API_MIN 18 /* ONNX Runtime 1.18: external data from memory */
#define RUNTIME_API_MAX 21 /* the header that this was written with */
_Static_assert(ORT_API_VERSION >= RUNTIME_API_MAX, "the header is too old");

#define RUNTIME_BLOCKS_SHARE  2 /* blocks of sessions and of runs together: so many times the budget */
#define RUNTIME_VERSION_BYTES 32
#define RUNTIME_ROWS_MAX      1024 /* rows that a session gets at once */
#define RUNTIME_CELLS_MAX     (1u << 20)

/* ---- library.c ---- */

typedef struct runtime_library {
    const OrtApi *api;
    uint32_t api_version; /* that was asked for */
    char version[RUNTIME_VERSION_BYTES];
    char path[MYR_PATH_BYTES_MAX];
} runtime_library;

/* The library stays in the process: ONNX Runtime does not survive being unloaded. */
myr_rc myr_runtime_library_open(const char *asked, runtime_library *out, myr_err *err);

/* An error in ONNX Runtime's words, shortened, as `rc`; the status is released. NULL is MYR_OK. */
myr_rc myr_runtime_check(const OrtApi *api, OrtStatus *status, myr_rc rc, const char *what, myr_err *err);

/* ---- env.c ---- */

/* Bytes that one session holds in the shared allocator. Counted by its blocks and its session. */
typedef struct runtime_charge {
    _Atomic int64_t bytes;
    _Atomic int64_t refs;
} runtime_charge;

runtime_charge *myr_runtime_charge_new(void);
void myr_runtime_charge_release(runtime_charge *charge); /* NULL accepted */
/* What this thread allocates from now on is charged to it; NULL: to nobody. */
void myr_runtime_charge_set(runtime_charge *charge);
int64_t myr_runtime_env_bytes(void); /* live in the shared allocator */
bool myr_runtime_env_refused(void);  /* did it refuse this thread a block since this was asked last? */

/* The one environment of the process: made by the first, ended by the last. Its options are those of the first. */
myr_rc myr_runtime_env_acquire(const OrtApi *api, int64_t threads, int64_t bytes_max, OrtEnv **out, myr_err *err);
void myr_runtime_env_release(const OrtApi *api);

/* ---- session.c ---- */

typedef enum runtime_class {
    RUNTIME_FLOAT,
    RUNTIME_DOUBLE,
    RUNTIME_INT64,
    RUNTIME_INT32,
    RUNTIME_BOOL,
    RUNTIME_TEXT,
    RUNTIME_BYTES, /* inputs: a file, alone */
    RUNTIME_MAPS,  /* outputs: a sequence of maps, one per row */
    RUNTIME_CLASS_COUNT
} runtime_class;
const char *myr_runtime_class_name(runtime_class kind);
size_t myr_runtime_class_bytes(runtime_class kind); /* of one value; TEXT and MAPS: 0 */
ONNXTensorElementDataType myr_runtime_class_type(runtime_class kind);

#define RUNTIME_RANK_MAX 8

typedef struct runtime_tensor {
    char *name;
    runtime_class kind;
    int64_t dims[RUNTIME_RANK_MAX]; /* inputs: with the width filled in; dims[0] is the rows: -1 = any */
    uint32_t rank;
    uint32_t width;
    bool is_value;
} runtime_tensor;

typedef struct runtime_session {
    const OrtApi *api;
    OrtSession *session;
    OrtMemoryInfo *memory; /* of tensors over our own cells */
    runtime_tensor *inputs;
    runtime_tensor *outputs; /* those that are values come first: only they are asked for */
    uint32_t input_count;
    uint32_t output_count;
    uint32_t value_tensors; /* outputs that are values */
    uint32_t feature_count;
    uint32_t value_count;
    bool takes_file; /* its one input is a file's bytes, its one feature the file's name: a run per file */
    int64_t batch;   /* rows of a run if the model has a fixed number; 0: any */
    runtime_charge *charge;
} runtime_session;

/* feature_count 0: not known. The bundle may go when this returns. */
myr_rc myr_runtime_session_open(const OrtApi *api, OrtEnv *env, const myr_runtime_bundle *bundle,
                                uint32_t feature_count, runtime_session **out, myr_err *err);
void myr_runtime_session_close(runtime_session *session); /* NULL accepted */

/* ---- tensors.c ---- */

/* Widths of outputs, from one row of zeros. */
myr_rc myr_runtime_session_probe(runtime_session *session, myr_err *err);
myr_rc myr_runtime_session_run(const runtime_session *session, const myr_runner_call *call, myr_err *err);

#endif
