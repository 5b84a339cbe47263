/* The option rows `runtime.onnx.*` and `runtime.python.*`, and what the program's configuration made of them. */
#include "runtime/runtime.h"

static const myr_opt_row runtime_rows[] = {
    {"runtime.onnx.library", "", MYR_OPT_TEXT, 0, 0, sizeof((myr_runtime_opts *)0)->library,
     offsetof(myr_runtime_opts, library),
     "ONNX Runtime's library, libonnxruntime.so. Empty: the one it was built with, then the system's."},
    {"runtime.onnx.bytes-max", "1GiB", MYR_OPT_BYTES, 0, 1 << 20, 1LL << 44, offsetof(myr_runtime_opts, bytes_max),
     "Memory that ONNX models may take together, as measured; the least recently used are unloaded."},
    {"runtime.onnx.threads", "1", MYR_OPT_INT, 0, 1, 256, offsetof(myr_runtime_opts, threads),
     "Threads of the pool that all ONNX models share. 1: each request's thread works alone."},
    {"runtime.onnx.isolate", "256MiB", MYR_OPT_BYTES, 0, 0, 1LL << 44, offsetof(myr_runtime_opts, isolate_bytes),
     "ONNX models whose files are at least so large run in a process of their own. 0: none."},
    {"runtime.onnx.isolate-memory", "16GiB", MYR_OPT_BYTES, 0, 0, 1LL << 44, offsetof(myr_runtime_opts, isolate_memory),
     "Address space that each of these may have. 0: no limit."},
    {"runtime.onnx.isolate-timeout", "30s", MYR_OPT_DURATION, 0, 10, 3600000,
     offsetof(myr_runtime_opts, isolate_timeout_ms),
     "Time for loading such a model, and for one run; then its process is ended."},
    {"runtime.python.program", "", MYR_OPT_TEXT, 0, 0, sizeof((myr_runtime_opts *)0)->python_program,
     offsetof(myr_runtime_opts, python_program), "Python that runs score.py models. Empty: python3 of PATH."},
    {"runtime.python.environments", "", MYR_OPT_TEXT, 0, 0, sizeof((myr_runtime_opts *)0)->python_environments,
     offsetof(myr_runtime_opts, python_environments),
     "Where environments of models with a requirements.txt lie. Empty: ~/.cache/myriad/environments."},
    {"runtime.python.workers", "4", MYR_OPT_INT, 0, 1, 256, offsetof(myr_runtime_opts, python_workers),
     "Processes of score.py and large ONNX models together, one each; the least recently asked is ended for another."},
    {"runtime.python.memory", "2GiB", MYR_OPT_BYTES, 0, 0, 1LL << 44, offsetof(myr_runtime_opts, python_memory),
     "Address space that each of them may have. 0: no limit."},
    {"runtime.python.timeout", "30s", MYR_OPT_DURATION, 0, 10, 3600000, offsetof(myr_runtime_opts, python_timeout_ms),
     "Time for init(), and for one call of run(); then the process is ended."},
    {"runtime.python.keep", "1d", MYR_OPT_DURATION, 0, 0, 31536000000, offsetof(myr_runtime_opts, python_keep_ms),
     "Environments that no process has used for so long are removed."},
    {"runtime.python.environments-bytes", "10GiB", MYR_OPT_BYTES, 0, 0, 1LL << 44,
     offsetof(myr_runtime_opts, python_environments_bytes),
     "Disk that environments may take together; those used least lately are removed, never one in use. 0: no limit."},
    {"runtime.python.require-hashes", "false", MYR_OPT_BOOL, 0, 0, 0, offsetof(myr_runtime_opts, python_require_hashes),
     "Lists of requirements without a --hash for each package are refused."},
};

const myr_opt_table myr_runtime_opt_table = {runtime_rows, MYR_COUNT_OF(runtime_rows)};

static myr_mutex options_lock = MYR_MUTEX_INIT; /* guards what follows */
static bool options_are_set;
static myr_runtime_opts options_set;

void myr_runtime_set_defaults(const myr_runtime_opts *opts)
{
    myr_mutex_lock(&options_lock);
    options_set = *opts;
    options_are_set = true;
    myr_mutex_unlock(&options_lock);
}

myr_rc myr_runtime_defaults(myr_runtime_opts *out, myr_err *err)
{
    myr_mutex_lock(&options_lock);
    bool is_set = options_are_set;
    if (is_set) *out = options_set;
    myr_mutex_unlock(&options_lock);
    if (is_set) return MYR_OK;
    myr_opt_defaults(myr_runtime_opt_table, out);
    return myr_opt_environment(myr_runtime_opt_table, out, err);
}
