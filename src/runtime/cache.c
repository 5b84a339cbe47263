/*
 * Which sessions are in memory: as many as the budget of measured bytes holds. A model is loaded by the first thread
 * that asks for it while the others wait (single flight); what is in use or pinned is never unloaded; of the rest the
 * least recently used goes first. When models come back soon after they went (more are in turn than fit), the most
 * recently used goes instead, so that a part of them stays and answers without loading.
 *
 * Measured: blocks of the shared allocator are counted exactly; what ONNX Runtime takes from the heap besides (the
 * graph, kernels) is how much the heap grew meanwhile. Loads are therefore made one at a time.
 */
#include <malloc.h>
#include <stdio.h>
#include <string.h>

#include "runtime/internal.h"
#include "runtime/python.h"

#define CACHE_SLOTS        1024      /* of the table by artifact; entries beyond hang on chains */
#define CACHE_ENTRIES_MAX  65536     /* models that are in memory or remembered; the longest unused is forgotten */
#define CACHE_FAILURE_MS   5000      /* a failure to load is told again for so long */
#define CACHE_RETURN_MS    60000     /* a model that comes back sooner was unloaded too early */
#define CACHE_RETURNS      8         /* loads looked back at: half of them returns is churn */
#define CACHE_TURN         8         /* under churn each 8th that goes is the oldest: what is not asked for any more */
#define CACHE_ROOM_WAIT_MS 30000     /* for models in use to be done */
#define CACHE_HEAP_SHARE   32        /* heap growth counted at most: so many times the model's files … */
#define CACHE_HEAP_LEAST   (1 << 20) /* … and this, since other threads allocate too */

typedef enum cache_state { CACHE_GONE, CACHE_LOADING, CACHE_READY, CACHE_FAILED } cache_state;

typedef struct cache_entry {
    struct cache_entry *next; /* in its slot */
    char hex[MYR_SHA256_HEX_BYTES];
    cache_state state;
    runtime_session *session; /* READY */
    int64_t bytes;            /* measured; GONE: when it was last there, 0 = never */
    int64_t uses;             /* runs now */
    int64_t pins;
    int64_t waiters;
    int64_t used_tick;
    int64_t until_ns;   /* FAILED: told again until; GONE with bytes: when it went */
    int64_t file_bytes; /* 0: not measured yet; never while no model is isolated */
    myr_err err;        /* FAILED */
} cache_entry;

struct myr_runtime {
    _Atomic int64_t refs;
    myr_runtime_opts opts;
    myr_mutex load_lock;     /* one load at a time; taken before `lock` */
    runtime_library library; /* guarded by load_lock until has_env, then constant */
    OrtEnv *env;
    bool has_env;
    myr_mutex lock; /* guards what follows */
    myr_cond changed;
    cache_entry *slots[CACHE_SLOTS];
    int64_t entry_count;
    int64_t tick;
    uint32_t returns; /* bit i: the i-th last load was of a model that had just gone */
    myr_runtime_stats stats;
    runtime_python *python; /* models that are code; its own lock */
};

/* ---- entries ---- */

static cache_entry **cache_slot(myr_runtime *runtime, const char *hex)
{
    return &runtime->slots[myr_hash64(hex, strlen(hex), 0) % CACHE_SLOTS];
}

static bool cache_is_idle(const cache_entry *entry)
{
    return entry->uses == 0 && entry->pins == 0 && entry->waiters == 0;
}

/* Forget the longest unused of those that are not in memory. */
static void cache_forget_one(myr_runtime *runtime)
{
    cache_entry **oldest = NULL;
    for (size_t s = 0; s < CACHE_SLOTS; s++) {
        for (cache_entry **link = &runtime->slots[s]; *link != NULL; link = &(*link)->next) {
            bool is_there = (*link)->state == CACHE_READY || (*link)->state == CACHE_LOADING;
            if (is_there || !cache_is_idle(*link)) continue;
            if (oldest == NULL || (*link)->used_tick < (*oldest)->used_tick) oldest = link;
        }
    }
    if (oldest == NULL) return;
    cache_entry *entry = *oldest;
    *oldest = entry->next;
    myr_free(entry);
    runtime->entry_count--;
}

static cache_entry *cache_find(myr_runtime *runtime, const char *hex)
{
    cache_entry *entry = *cache_slot(runtime, hex);
    while (entry != NULL && strcmp(entry->hex, hex) != 0)
        entry = entry->next;
    return entry;
}

static cache_entry *cache_find_or_add(myr_runtime *runtime, const char *hex)
{
    cache_entry *entry = cache_find(runtime, hex);
    if (entry != NULL) return entry;
    if (runtime->entry_count >= CACHE_ENTRIES_MAX) cache_forget_one(runtime);
    entry = myr_calloc(1, sizeof *entry);
    if (entry == NULL) return NULL;
    memcpy(entry->hex, hex, sizeof entry->hex);
    cache_entry **slot = cache_slot(runtime, hex);
    entry->next = *slot;
    *slot = entry;
    runtime->entry_count++;
    return entry;
}

/* ---- making room ---- */

static bool cache_is_churning(const myr_runtime *runtime)
{
    return __builtin_popcount(runtime->returns & ((1u << CACHE_RETURNS) - 1)) * 2 >= CACHE_RETURNS;
}

static cache_entry *cache_victim(myr_runtime *runtime)
{
    bool newest = cache_is_churning(runtime) && runtime->stats.evictions % CACHE_TURN != 0;
    cache_entry *victim = NULL;
    for (size_t s = 0; s < CACHE_SLOTS; s++) {
        for (cache_entry *entry = runtime->slots[s]; entry != NULL; entry = entry->next) {
            if (entry->state != CACHE_READY || !cache_is_idle(entry)) continue;
            if (victim == NULL || (entry->used_tick > victim->used_tick) == newest) victim = entry;
        }
    }
    return victim;
}

/* Unload one idle session; false: there is none. The lock is held, and given up while ONNX Runtime frees it. */
static bool cache_evict(myr_runtime *runtime)
{
    cache_entry *victim = cache_victim(runtime);
    if (victim == NULL) return false;
    runtime_session *session = victim->session;
    victim->session = NULL;
    victim->state = CACHE_GONE;
    victim->until_ns = myr_clock_mono_ns();
    runtime->stats.bytes -= victim->bytes;
    runtime->stats.sessions--;
    runtime->stats.evictions++;
    MYR_ASSERT(runtime->stats.bytes >= 0 && runtime->stats.sessions >= 0);
    myr_mutex_unlock(&runtime->lock);
    myr_runtime_session_close(session);
    myr_mutex_lock(&runtime->lock);
    return true;
}

static void cache_trim(myr_runtime *runtime)
{
    while (runtime->stats.bytes > runtime->opts.bytes_max && cache_evict(runtime)) {
    }
}

/* Room for `bytes` more: unload what is idle, wait for what is in use. The lock is held. */
static myr_rc cache_make_room(myr_runtime *runtime, int64_t bytes, myr_err *err)
{
    int64_t give_up_ns = myr_clock_mono_ns() + CACHE_ROOM_WAIT_MS * 1000000LL;
    while (runtime->stats.bytes > runtime->opts.bytes_max - bytes) {
        if (cache_evict(runtime)) continue;
        int64_t wait_ms = (give_up_ns - myr_clock_mono_ns()) / 1000000;
        if (wait_ms <= 0) {
            char used[32], most[32];
            MYR_FAIL(err, BUSY,
                     "ONNX models in use or pinned take %s of runtime.onnx.bytes-max %s: raise it, or ask later",
                     myr_format_bytes(runtime->stats.bytes, used, sizeof used),
                     myr_format_bytes(runtime->opts.bytes_max, most, sizeof most));
        }
        MYR_IGNORE(myr_cond_wait_ms(&runtime->changed, &runtime->lock, wait_ms)); /* time is looked at above */
    }
    return MYR_OK;
}

/* ---- loading ---- */

/* load_lock is held. */
static myr_rc cache_open_library(myr_runtime *runtime, myr_err *err)
{
    if (runtime->has_env) return MYR_OK;
    MYR_TRY(myr_runtime_library_open(runtime->opts.library, &runtime->library, err));
    MYR_TRY(myr_runtime_env_acquire(runtime->library.api, runtime->opts.threads,
                                    runtime->opts.bytes_max * RUNTIME_BLOCKS_SHARE, &runtime->env, err));
    runtime->has_env = true;
    return MYR_OK;
}

static int64_t bundle_bytes(const myr_runtime_bundle *bundle)
{
    int64_t bytes = 0;
    for (uint32_t i = 0; i < bundle->file_count; i++)
        bytes += (int64_t)bundle->files[i].size_bytes;
    return bytes;
}

static int64_t heap_bytes(void)
{
    struct mallinfo2 info = mallinfo2();
    return (int64_t)(info.uordblks + info.hblkhd);
}

static myr_rc cache_too_large(const myr_runtime *runtime, const char *name, int64_t bytes, myr_err *err)
{
    char has[32], most[32];
    MYR_FAIL(err, TOO_LARGE,
             "%.80s takes %s of memory, all ONNX models together may take %s: raise runtime.onnx.bytes-max", name,
             myr_format_bytes(bytes, has, sizeof has), myr_format_bytes(runtime->opts.bytes_max, most, sizeof most));
}

/* A session and its measure; load_lock is held, the lock is not. */
static myr_rc cache_measure(myr_runtime *runtime, const myr_runtime_bundle *bundle, uint32_t feature_count,
                            runtime_session **out, int64_t *out_bytes, myr_err *err)
{
    runtime_session *session = NULL;
    int64_t file_bytes = bundle_bytes(bundle);
    int64_t heap_before = heap_bytes(), shared_before = myr_runtime_env_bytes();
    MYR_TRY(myr_runtime_session_open(runtime->library.api, runtime->env, bundle, feature_count, &session, err));
    int64_t shared = myr_runtime_env_bytes() - shared_before;
    int64_t heap = heap_bytes() - heap_before - shared;
    int64_t heap_most = file_bytes * CACHE_HEAP_SHARE + CACHE_HEAP_LEAST;
    int64_t heap_least = bundle->files[0].size_bytes > INT64_MAX ? 0 : (int64_t)bundle->files[0].size_bytes;
    if (heap > heap_most) heap = heap_most;
    if (heap < heap_least) heap = heap_least; /* at least the graph; also where the heap tells nothing (sanitizers) */
    *out_bytes = heap + atomic_load(&session->charge->bytes);
    *out = session;
    return MYR_OK;
}

static myr_rc cache_load_bundle(myr_runtime *runtime, const cache_entry *entry, const myr_runtime_bundle *bundle,
                                uint32_t feature_count, runtime_session **out, int64_t *out_bytes, myr_err *err)
{
    int64_t expected = entry->bytes > 0 ? entry->bytes : bundle_bytes(bundle);
    if (expected > runtime->opts.bytes_max) return cache_too_large(runtime, bundle->files[0].name, expected, err);
    myr_mutex_lock(&runtime->lock);
    myr_rc rc = cache_make_room(runtime, expected, err);
    myr_mutex_unlock(&runtime->lock);
    MYR_TRY(rc);
    MYR_TRY(cache_measure(runtime, bundle, feature_count, out, out_bytes, err));
    if (*out_bytes <= runtime->opts.bytes_max) return MYR_OK;
    myr_runtime_session_close(*out);
    return cache_too_large(runtime, bundle->files[0].name, *out_bytes, err);
}

/* load_lock is held, the lock is not: files are read and sessions made without it. */
static myr_rc cache_load_steps(myr_runtime *runtime, const myr_runtime_source *source, const cache_entry *entry,
                               uint32_t feature_count, runtime_session **out, int64_t *out_bytes, myr_err *err)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_runtime_bundle bundle = {0};
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to load a model");
    MYR_TRY(cache_open_library(runtime, err));
    MYR_TRY(source->load(source->ctx, entry->hex, arena, &bundle, err));
    myr_rc rc = cache_load_bundle(runtime, entry, &bundle, feature_count, out, out_bytes, err);
    if (source->unload != NULL) source->unload(source->ctx, &bundle);
    return rc;
}

/* The lock is held on entry and exit, not meanwhile. The entry is LOADING, so nobody else touches it. */
static void cache_load(myr_runtime *runtime, const myr_runtime_source *source, cache_entry *entry,
                       uint32_t feature_count)
{
    runtime_session *session = NULL;
    int64_t bytes = 0;
    myr_err err = {0};
    bool was_there = entry->bytes > 0;
    bool is_return = was_there && myr_clock_mono_ns() - entry->until_ns < CACHE_RETURN_MS * 1000000LL;
    myr_mutex_unlock(&runtime->lock);
    myr_mutex_lock(&runtime->load_lock);
    myr_rc rc = cache_load_steps(runtime, source, entry, feature_count, &session, &bytes, &err);
    myr_mutex_lock(&runtime->lock);
    myr_mutex_unlock(&runtime->load_lock);
    if (rc != MYR_OK) {
        entry->state = CACHE_FAILED;
        entry->until_ns = myr_clock_mono_ns() + CACHE_FAILURE_MS * 1000000LL;
        entry->err = err;
        runtime->stats.failures++;
        return;
    }
    entry->state = CACHE_READY;
    entry->session = session;
    entry->bytes = bytes;
    runtime->returns = runtime->returns << 1 | (is_return ? 1u : 0u);
    runtime->stats.loads++;
    runtime->stats.reloads += was_there ? 1 : 0;
    runtime->stats.sessions++;
    runtime->stats.bytes += bytes;
    if (runtime->stats.bytes > runtime->stats.bytes_peak) runtime->stats.bytes_peak = runtime->stats.bytes;
}

/* ---- using ---- */

/* Until something changed. BUSY: the time is over, whoever loads goes on. */
static myr_rc cache_wait(myr_runtime *runtime, int64_t until_ns, myr_err *err)
{
    if (until_ns == 0) {
        myr_cond_wait(&runtime->changed, &runtime->lock);
        return MYR_OK;
    }
    int64_t left_ms = (until_ns - myr_clock_mono_ns()) / 1000000;
    if (left_ms <= 0) MYR_FAIL(err, BUSY, "the model is still being loaded: ask again");
    MYR_IGNORE(myr_cond_wait_ms(&runtime->changed, &runtime->lock, left_ms)); /* time is looked at above */
    return MYR_OK;
}

/* One more use of a model's session, loaded if it must be. */
static myr_rc cache_acquire(myr_runtime *runtime, const myr_runtime_source *source, const char *hex,
                            uint32_t feature_count, int64_t until_ns, cache_entry **out, myr_err *err)
{
    myr_rc rc = MYR_OK;
    bool is_mine = false; /* this very call loaded: it tells what it found, however old that is by now */
    myr_mutex_lock(&runtime->lock);
    cache_entry *entry = cache_find_or_add(runtime, hex);
    if (entry == NULL) {
        myr_mutex_unlock(&runtime->lock);
        MYR_FAIL(err, NO_MEMORY, "no memory to load a model");
    }
    entry->waiters++;
    entry->used_tick = ++runtime->tick;
    while (entry->state != CACHE_READY) {
        if (entry->state == CACHE_LOADING) {
            rc = cache_wait(runtime, until_ns, err);
            if (rc != MYR_OK) break;
            is_mine = true; /* it was being loaded while this call waited */
            continue;
        }
        if (entry->state == CACHE_FAILED && (is_mine || myr_clock_mono_ns() < entry->until_ns)) {
            if (err != NULL) *err = entry->err;
            rc = (myr_rc)entry->err.rc;
            break;
        }
        entry->state = CACHE_LOADING;
        cache_load(runtime, source, entry, feature_count);
        is_mine = true;
        myr_cond_broadcast(&runtime->changed);
    }
    entry->waiters--;
    if (rc == MYR_OK) {
        entry->uses++;
        cache_trim(runtime); /* what was loaded may have been more than was expected */
        *out = entry;
    }
    myr_mutex_unlock(&runtime->lock);
    return rc;
}

static void cache_release(myr_runtime *runtime, cache_entry *entry)
{
    myr_mutex_lock(&runtime->lock);
    MYR_ASSERT(entry->uses > 0 && entry->state == CACHE_READY);
    entry->uses--;
    cache_trim(runtime);
    myr_cond_broadcast(&runtime->changed); /* who waits for room may find some */
    myr_mutex_unlock(&runtime->lock);
}

static void runtime_hex(const unsigned char sha256[MYR_SHA256_BYTES], char out[MYR_SHA256_HEX_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < MYR_SHA256_BYTES; i++) {
        out[2 * i] = digits[sha256[i] / 16];
        out[2 * i + 1] = digits[sha256[i] % 16];
    }
    out[2 * MYR_SHA256_BYTES] = '\0';
}

/* Is it so large that it has a process of its own? Measured once, without the lock: two that do it at once agree. */
static myr_rc cache_is_isolated(myr_runtime *runtime, const myr_runtime_source *source, const char *hex, bool *out,
                                myr_err *err)
{
    *out = false;
    if (!myr_runtime_isolated_is_on(&runtime->opts) || source->measure == NULL) return MYR_OK;
    myr_mutex_lock(&runtime->lock);
    cache_entry *entry = cache_find_or_add(runtime, hex);
    int64_t bytes = entry != NULL ? entry->file_bytes : 0;
    myr_mutex_unlock(&runtime->lock);
    if (bytes == 0) {
        MYR_TRY(source->measure(source->ctx, hex, &bytes, err));
        myr_mutex_lock(&runtime->lock);
        entry = cache_find(runtime, hex); /* forgotten meanwhile: measured again the next time */
        if (entry != NULL) entry->file_bytes = bytes > 0 ? bytes : 1;
        myr_mutex_unlock(&runtime->lock);
    }
    *out = bytes >= runtime->opts.isolate_bytes;
    return MYR_OK;
}

myr_rc myr_runtime_run(myr_runtime *runtime, const myr_runtime_source *source, const myr_runner_call *call,
                       myr_err *err)
{
    myr_external external;
    char hex[MYR_SHA256_HEX_BYTES];
    cache_entry *entry = NULL;
    if (!myr_model_external(call->model, &external)) MYR_FAIL(err, BAD_FORMAT, "the model's bytes are lost");
    runtime_hex(external.sha256, hex);
    if (strncmp(external.runtime, MYR_RUNTIME_PYTHON, MYR_EXTERNAL_RUNTIME_BYTES) == 0) {
        return myr_runtime_python_run(runtime->python, source, hex, &external, call, err);
    }
    if (strncmp(external.runtime, MYR_RUNTIME_ONNX, MYR_EXTERNAL_RUNTIME_BYTES) != 0) {
        MYR_FAIL(err, UNAVAILABLE, "the model wants the runtime '%.31s', this program has %s and %s", external.runtime,
                 MYR_RUNTIME_ONNX, MYR_RUNTIME_PYTHON);
    }
    bool is_isolated = false;
    MYR_TRY(cache_is_isolated(runtime, source, hex, &is_isolated, err));
    if (is_isolated) return myr_runtime_python_run(runtime->python, source, hex, &external, call, err);
    MYR_TRY(cache_acquire(runtime, source, hex, external.feature_count, call->until_ns, &entry, err));
    myr_rc rc = entry->session->takes_file && !runtime->opts.takes_files
                    ? MYR_ERROR(err, UNAVAILABLE,
                                "it takes files, which a batch job gives it (input: {items: …}), and nobody else")
                    : myr_runtime_session_run(entry->session, call, err);
    cache_release(runtime, entry);
    return rc;
}

myr_rc myr_runtime_pin(myr_runtime *runtime, const myr_runtime_source *source, const char *artifact_hex,
                       uint32_t feature_count, myr_err *err)
{
    cache_entry *entry = NULL;
    MYR_ASSERT(strlen(artifact_hex) == MYR_SHA256_HEX_BYTES - 1);
    MYR_TRY(cache_acquire(runtime, source, artifact_hex, feature_count, 0, &entry, err));
    myr_mutex_lock(&runtime->lock);
    entry->pins++;
    myr_mutex_unlock(&runtime->lock);
    cache_release(runtime, entry);
    return MYR_OK;
}

void myr_runtime_unpin(myr_runtime *runtime, const char *artifact_hex)
{
    myr_mutex_lock(&runtime->lock);
    cache_entry *entry = cache_find(runtime, artifact_hex);
    MYR_ASSERT(entry != NULL && entry->pins > 0);
    entry->pins--;
    cache_trim(runtime);
    myr_cond_broadcast(&runtime->changed);
    myr_mutex_unlock(&runtime->lock);
}

/* ---- a model looked at ---- */

static myr_rc describe_copy(const runtime_tensor *tensors, uint32_t count, myr_arena *arena,
                            const myr_runtime_tensor **out, myr_err *err)
{
    myr_runtime_tensor *copies = myr_arena_calloc(arena, (size_t)count + 1, sizeof *copies);
    for (uint32_t i = 0; copies != NULL && i < count; i++) {
        const runtime_tensor *tensor = &tensors[i];
        copies[i] = (myr_runtime_tensor){.name = myr_arena_strndup(arena, tensor->name, strlen(tensor->name)),
                                         .type = myr_runtime_class_name(tensor->kind),
                                         .width = tensor->width,
                                         .is_text = tensor->kind == RUNTIME_TEXT || tensor->kind == RUNTIME_BYTES,
                                         .is_value = tensor->is_value};
        if (copies[i].name == NULL) copies = NULL;
    }
    if (copies == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %u tensors", count);
    *out = copies;
    return MYR_OK;
}

static myr_rc describe_session(const runtime_session *session, myr_arena *arena, myr_runtime_signature *out,
                               myr_err *err)
{
    myr_runtime_signature signature = {.input_count = session->input_count,
                                       .output_count = session->output_count,
                                       .feature_count = session->feature_count,
                                       .value_count = session->value_count};
    MYR_TRY(describe_copy(session->inputs, session->input_count, arena, &signature.inputs, err));
    MYR_TRY(describe_copy(session->outputs, session->output_count, arena, &signature.outputs, err));
    *out = signature;
    return MYR_OK;
}

static myr_rc describe_steps(myr_runtime *runtime, const myr_runtime_bundle *bundle, uint32_t feature_count,
                             myr_arena *arena, myr_runtime_signature *out, myr_err *err)
{
    runtime_session *session = NULL;
    int64_t bytes = 0;
    const cache_entry none = {0};
    MYR_TRY(cache_open_library(runtime, err));
    MYR_TRY(cache_load_bundle(runtime, &none, bundle, feature_count, &session, &bytes, err));
    myr_rc rc = describe_session(session, arena, out, err);
    myr_runtime_session_close(session);
    return rc;
}

myr_rc myr_runtime_describe(myr_runtime *runtime, const myr_runtime_bundle *bundle, uint32_t feature_count,
                            myr_arena *arena, myr_runtime_signature *out, myr_err *err)
{
    myr_mutex_lock(&runtime->load_lock);
    myr_rc rc = describe_steps(runtime, bundle, feature_count, arena, out, err);
    myr_mutex_unlock(&runtime->load_lock);
    return rc;
}

/* One feature, the file's name; what it gives stands in score.py, since no file is at hand. */
static myr_rc describe_files(const python_model *model, const char *const *features, uint32_t feature_count,
                             myr_arena *arena, myr_runtime_signature *out, myr_err *err)
{
    myr_runtime_tensor *input = myr_arena_calloc(arena, 1, sizeof *input);
    if (input == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a feature");
    if (features != NULL && (feature_count != 1 || strcmp(features[0], MYR_RUNTIME_FILE) != 0))
        MYR_FAIL(err, BAD_INPUT, "it takes files: its one feature is '" MYR_RUNTIME_FILE "', leave out --features");
    if (model->output_count < 1 || model->output_count > MYR_OUTPUTS_MAX) {
        MYR_FAIL(err, UNSUPPORTED, "outputs in score.py is %lld: numbers per file, 1 to %d",
                 (long long)model->output_count, MYR_OUTPUTS_MAX);
    }
    *input = (myr_runtime_tensor){.name = MYR_RUNTIME_FILE, .type = "string", .width = 1, .is_text = true};
    *out = (myr_runtime_signature){
        .inputs = input, .input_count = 1, .feature_count = 1, .value_count = (uint32_t)model->output_count};
    return MYR_OK;
}

static myr_rc describe_python(python_model *model, const myr_runtime_opts *opts, const char *const *features,
                              uint32_t feature_count, myr_arena *arena, myr_runtime_signature *out, myr_err *err)
{
    if (model->takes_files) return describe_files(model, features, feature_count, arena, out, err);
    if (features == NULL) {
        features = model->features;
        feature_count = model->feature_count;
    }
    if (features == NULL || feature_count == 0) {
        MYR_FAIL(err, BAD_INPUT, "nobody names its features: --features, or features = [\"…\"] in score.py");
    }
    uint8_t *is_text = myr_arena_calloc(arena, feature_count, 1);
    myr_runtime_tensor *inputs = myr_arena_calloc(arena, feature_count, sizeof *inputs);
    if (is_text == NULL || inputs == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %u features", feature_count);
    for (uint32_t j = 0; j < feature_count; j++) {
        for (uint32_t t = 0; t < model->text_count; t++)
            is_text[j] |= strcmp(model->texts[t], features[j]) == 0;
        inputs[j] = (myr_runtime_tensor){
            .name = features[j], .type = is_text[j] ? "string" : "double", .width = 1, .is_text = is_text[j] != 0};
    }
    uint32_t width = 0;
    MYR_TRY(myr_runtime_python_width(model, opts, features, is_text, feature_count, &width, err));
    *out = (myr_runtime_signature){
        .inputs = inputs, .input_count = feature_count, .feature_count = feature_count, .value_count = width};
    return MYR_OK;
}

myr_rc myr_runtime_describe_python(myr_runtime *runtime, const myr_runtime_bundle *bundle, const char *const *features,
                                   uint32_t feature_count, myr_arena *arena, myr_runtime_signature *out, myr_err *err)
{
    python_model *model;
    MYR_TRY(myr_runtime_python_open(&runtime->opts, bundle, arena, false, &model, err));
    myr_rc rc = describe_python(model, &runtime->opts, features, feature_count, arena, out, err);
    myr_runtime_python_close(model);
    return rc;
}

void myr_runtime_take_files(myr_runtime *runtime)
{
    runtime->opts.takes_files = true;
}

void myr_runtime_set_environment(myr_runtime *runtime, myr_ask network, bool require_hashes)
{
    runtime->opts.network = network;
    runtime->opts.job_hashes = require_hashes;
}

myr_rc myr_runtime_environment_acquire(myr_runtime *runtime, const myr_runtime_bundle *bundle, bool only_found,
                                       const _Atomic bool *stop, myr_runtime_environment **out, myr_err *err)
{
    return myr_runtime_python_prepare(&runtime->opts, bundle, only_found, stop, out, err);
}

void myr_runtime_environment_release(myr_runtime_environment *environment)
{
    myr_runtime_python_close(environment);
}

void myr_runtime_keep_code(myr_runtime *runtime, const char *const *hexes, size_t count)
{
    myr_runtime_python_keep(runtime->python, hexes, count);
}

/* ---- the runtime ---- */

myr_rc myr_runtime_new(const myr_runtime_opts *opts, myr_runtime **out, myr_err *err)
{
    myr_runtime *runtime = myr_calloc(1, sizeof *runtime);
    if (runtime == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for ONNX Runtime");
    myr_rc rc = MYR_OK;
    if (opts != NULL) {
        runtime->opts = *opts;
    } else {
        rc = myr_runtime_defaults(&runtime->opts, err);
    }
    runtime->opts.takes_files = false;
    runtime->opts.network = MYR_ASK_MODEL;
    runtime->opts.job_hashes = false;
    runtime->python = rc == MYR_OK ? myr_runtime_python_new(&runtime->opts) : NULL;
    if (rc == MYR_OK && runtime->python == NULL) rc = MYR_ERROR(err, NO_MEMORY, "no memory for workers");
    if (rc != MYR_OK) {
        myr_free(runtime);
        return rc;
    }
    MYR_ASSERT(runtime->opts.bytes_max > 0 && runtime->opts.threads >= 1);
    atomic_store(&runtime->refs, 1);
    runtime->stats.bytes_max = runtime->opts.bytes_max;
    myr_mutex_init(&runtime->load_lock);
    myr_mutex_init(&runtime->lock);
    myr_cond_init(&runtime->changed);
    *out = runtime;
    return MYR_OK;
}

myr_runtime *myr_runtime_acquire(myr_runtime *runtime)
{
    MYR_ASSERT(atomic_fetch_add(&runtime->refs, 1) > 0);
    return runtime;
}

void myr_runtime_release(myr_runtime *runtime)
{
    if (runtime == NULL || atomic_fetch_sub(&runtime->refs, 1) > 1) return;
    for (size_t s = 0; s < CACHE_SLOTS; s++) {
        while (runtime->slots[s] != NULL) {
            cache_entry *entry = runtime->slots[s];
            runtime->slots[s] = entry->next;
            MYR_ASSERT(entry->uses == 0 && entry->waiters == 0);
            myr_runtime_session_close(entry->session);
            myr_free(entry);
        }
    }
    myr_runtime_python_free(runtime->python);
    if (runtime->has_env) myr_runtime_env_release(runtime->library.api);
    myr_cond_fini(&runtime->changed);
    myr_mutex_fini(&runtime->lock);
    myr_mutex_fini(&runtime->load_lock);
    myr_free(runtime);
}

myr_rc myr_runtime_find(myr_runtime *runtime, char *out_version, size_t version_bytes, char *out_path,
                        size_t path_bytes, myr_err *err)
{
    myr_mutex_lock(&runtime->load_lock);
    myr_rc rc = cache_open_library(runtime, err);
    if (rc == MYR_OK) {
        snprintf(out_version, version_bytes, "%s", runtime->library.version);
        snprintf(out_path, path_bytes, "%s", runtime->library.path);
    }
    myr_mutex_unlock(&runtime->load_lock);
    return rc;
}

void myr_runtime_get_stats(myr_runtime *runtime, myr_runtime_stats *out)
{
    myr_mutex_lock(&runtime->lock);
    *out = runtime->stats;
    myr_mutex_unlock(&runtime->lock);
    out->code_failures = myr_runtime_python_failures(runtime->python);
}
