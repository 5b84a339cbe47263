/*
 * The one environment of the process, with the one pool of threads and the one allocator that all sessions share. The
 * allocator counts: each block knows whom it is charged to, so that the weights of a session (and what ONNX Runtime
 * packs them into) are known to the byte while it lives.
 */
#include <dlfcn.h>
#include <string.h>

#include "runtime/internal.h"

#define ENV_BLOCK_ALIGN 64 /* what kernels of ONNX Runtime expect, and the room of the note before each block */

typedef struct env_note {
    runtime_charge *charge; /* or NULL */
    size_t size_bytes;
} env_note;
_Static_assert(sizeof(env_note) <= ENV_BLOCK_ALIGN, "the note fits before the block");

/* The allocator is process-wide: blocks may outlive the environment that asked for them. */
static _Atomic int64_t env_live_bytes;
static _Atomic int64_t env_bytes_max; /* that all blocks may have together */
static _Thread_local runtime_charge *env_charge;
static _Thread_local bool env_was_refused; /* this thread was, since it asked last */

/* ---- charges ---- */

runtime_charge *myr_runtime_charge_new(void)
{
    runtime_charge *charge = myr_calloc(1, sizeof *charge);
    if (charge != NULL) atomic_store(&charge->refs, 1);
    return charge;
}

void myr_runtime_charge_release(runtime_charge *charge)
{
    if (charge == NULL) return;
    int64_t before = atomic_fetch_sub(&charge->refs, 1);
    MYR_ASSERT(before > 0);
    if (before > 1) return;
    MYR_ASSERT(atomic_load(&charge->bytes) == 0);
    myr_free(charge);
}

void myr_runtime_charge_set(runtime_charge *charge)
{
    env_charge = charge;
}

int64_t myr_runtime_env_bytes(void)
{
    return atomic_load(&env_live_bytes);
}

bool myr_runtime_env_refused(void)
{
    bool was = env_was_refused;
    env_was_refused = false;
    return was;
}

/* ---- the allocator ---- */

typedef struct env_allocator {
    OrtAllocator face; /* first: ONNX Runtime holds a pointer to it */
    OrtMemoryInfo *info;
} env_allocator;

/*
 * ONNX Runtime walks through a NULL (1.32 does): its own allocators throw std::bad_alloc, which it turns into an error.
 * So does this one, by the C++ library's own function for it; the frame here has nothing to clean up.
 */
typedef void (*env_throw)(void);
static _Atomic(env_throw) env_throw_bad_alloc;

static void *env_refuse(void)
{
    env_throw throw_it = atomic_load(&env_throw_bad_alloc);
    env_was_refused = true;
    if (throw_it != NULL) throw_it();
    return NULL;
}

static void env_find_throw(void)
{
    env_throw throw_it = NULL;
    void *library = dlopen("libstdc++.so.6", RTLD_NOW | RTLD_NOLOAD); /* ONNX Runtime's, which is loaded */
    void *found = dlsym(library != NULL ? library : RTLD_DEFAULT, "_ZSt17__throw_bad_allocv");
    if (found != NULL) memcpy(&throw_it, &found, sizeof throw_it);
    atomic_store(&env_throw_bad_alloc, throw_it);
}

static bool env_has_room(size_t size_bytes)
{
    int64_t most = atomic_load(&env_bytes_max), live = atomic_load(&env_live_bytes);
    return size_bytes <= (size_t)most && live <= most - (int64_t)size_bytes;
}

static void *ORT_API_CALL env_alloc(OrtAllocator *face, size_t size_bytes)
{
    (void)face;
    char *base = env_has_room(size_bytes) ? myr_alloc_aligned(ENV_BLOCK_ALIGN, size_bytes + ENV_BLOCK_ALIGN) : NULL;
    if (base == NULL) return env_refuse();
    env_note note = {.charge = env_charge, .size_bytes = size_bytes};
    memcpy(base, &note, sizeof note);
    atomic_fetch_add(&env_live_bytes, (int64_t)size_bytes);
    if (note.charge != NULL) {
        atomic_fetch_add(&note.charge->refs, 1);
        atomic_fetch_add(&note.charge->bytes, (int64_t)size_bytes);
    }
    return base + ENV_BLOCK_ALIGN;
}

static void ORT_API_CALL env_free(OrtAllocator *face, void *block)
{
    (void)face;
    if (block == NULL) return;
    char *base = (char *)block - ENV_BLOCK_ALIGN;
    env_note note;
    memcpy(&note, base, sizeof note);
    atomic_fetch_sub(&env_live_bytes, (int64_t)note.size_bytes);
    if (note.charge != NULL) {
        atomic_fetch_sub(&note.charge->bytes, (int64_t)note.size_bytes);
        myr_runtime_charge_release(note.charge);
    }
    myr_free(base);
}

static const OrtMemoryInfo *ORT_API_CALL env_info(const OrtAllocator *face)
{
    return ((const env_allocator *)(const void *)face)->info;
}

/* ---- the environment ---- */

static myr_mutex env_lock = MYR_MUTEX_INIT; /* guards what follows */
static int64_t env_refs;
static OrtEnv *env_env;
static env_allocator env_shared;

static void ORT_API_CALL env_log(void *param, OrtLoggingLevel severity, const char *category, const char *logid,
                                 const char *code_location, const char *message)
{
    (void)param, (void)severity, (void)category, (void)logid, (void)code_location;
    myr_log(MYR_LOG_DEBUG, "runtime", "onnxruntime", "text", message, NULL);
}

static myr_rc env_threads(const OrtApi *api, OrtThreadingOptions *options, int64_t threads, myr_err *err)
{
    static const char what[] = "threads";
    OrtStatus *status = api->SetGlobalIntraOpNumThreads(options, (int)threads);
    MYR_TRY(myr_runtime_check(api, status, MYR_UNAVAILABLE, what, err));
    MYR_TRY(myr_runtime_check(api, api->SetGlobalInterOpNumThreads(options, 1), MYR_UNAVAILABLE, what, err));
    return myr_runtime_check(api, api->SetGlobalSpinControl(options, 0), MYR_UNAVAILABLE, what, err);
}

static myr_rc env_make_allocator(const OrtApi *api, OrtEnv *env, myr_err *err)
{
    static const char what[] = "the allocator";
    OrtStatus *status = api->CreateCpuMemoryInfo(OrtDeviceAllocator, OrtMemTypeDefault, &env_shared.info);
    MYR_TRY(myr_runtime_check(api, status, MYR_UNAVAILABLE, what, err));
    env_shared.face = (OrtAllocator){
        .version = RUNTIME_API_MIN, .Alloc = env_alloc, .Free = env_free, .Info = env_info, .Reserve = env_alloc};
    return myr_runtime_check(api, api->RegisterAllocator(env, &env_shared.face), MYR_UNAVAILABLE, what, err);
}

static void env_end(const OrtApi *api)
{
    if (env_env != NULL) api->ReleaseEnv(env_env);
    if (env_shared.info != NULL) api->ReleaseMemoryInfo(env_shared.info);
    env_env = NULL;
    env_shared.info = NULL;
}

static myr_rc env_start(const OrtApi *api, OrtThreadingOptions *options, int64_t threads, myr_err *err)
{
    MYR_TRY(env_threads(api, options, threads, err));
    OrtStatus *status = api->CreateEnvWithCustomLoggerAndGlobalThreadPools(env_log, NULL, ORT_LOGGING_LEVEL_ERROR,
                                                                           "myriad", options, &env_env);
    MYR_TRY(myr_runtime_check(api, status, MYR_UNAVAILABLE, "the environment", err));
    MYR_IGNORE(
        myr_runtime_check(api, api->DisableTelemetryEvents(env_env), MYR_OK, "telemetry", NULL)); /* there is none
                                                                                                    on Linux */
    myr_rc rc = env_make_allocator(api, env_env, err);
    if (rc != MYR_OK) env_end(api);
    return rc;
}

myr_rc myr_runtime_env_acquire(const OrtApi *api, int64_t threads, int64_t bytes_max, OrtEnv **out, myr_err *err)
{
    MYR_ASSERT(threads >= 1 && bytes_max > 0);
    OrtThreadingOptions *options = NULL;
    myr_mutex_lock(&env_lock);
    myr_rc rc = MYR_OK;
    if (env_refs == 0) {
        atomic_store(&env_bytes_max, bytes_max);
        env_find_throw();
        rc = myr_runtime_check(api, api->CreateThreadingOptions(&options), MYR_UNAVAILABLE, "threads", err);
        if (rc == MYR_OK) rc = env_start(api, options, threads, err);
        if (options != NULL) api->ReleaseThreadingOptions(options);
    }
    if (rc == MYR_OK) {
        env_refs++;
        *out = env_env;
    }
    myr_mutex_unlock(&env_lock);
    return rc;
}

void myr_runtime_env_release(const OrtApi *api)
{
    myr_mutex_lock(&env_lock);
    MYR_ASSERT(env_refs > 0);
    if (--env_refs == 0) env_end(api);
    myr_mutex_unlock(&env_lock);
}
