/*
 * Which models (score.py, large ONNX models) have a worker: started when a row first asks for one, asked by one thread
 * at a time, ended when room is needed or nobody has asked for long. One that ended by itself, or was ended because it
 * hung, is started again, but not at once: each failure doubles the time in which callers are told the failure instead.
 */
#include <stdio.h>
#include <string.h>

#include "runtime/python.h"

#define PYTHON_ENTRIES_MAX 4096 /* models that are remembered */
#define PYTHON_WAITERS_MAX 8    /* threads that wait for one worker; more are BUSY */
#define PYTHON_BACKOFF_MS  200  /* after the first failure … */
#define PYTHON_BACKOFF_MAX 8    /* … doubled so often at most: 51 s */
#define PYTHON_IDLE_NS     600000000000
#define PYTHON_PATIENCE_NS 1000000000 /* that a call may be late before nobody waits for it any more */
#define PYTHON_PATIENCE    8          /* times of what its rows should take */
#define PYTHON_WEIGHT      4          /* of what was, against what is */

typedef struct python_entry {
    struct python_entry *next;
    char hex[MYR_SHA256_HEX_BYTES];
    python_model *model; /* whoever made it busy; the lock's while it is not */
    bool is_code;        /* score.py, not a large ONNX model */
    bool is_busy;
    bool is_retired; /* nobody serves it any more: its process ends when it is idle */
    int waiters;
    int failures;     /* one after another */
    int64_t until_ns; /* until then callers are told err */
    int64_t used_ns;
    int64_t busy_ns, busy_rows; /* since when it is busy, with how many rows */
    int64_t row_ns;             /* how long a row takes, about; 0: not known */
    myr_err err;
} python_entry;

struct runtime_python {
    const myr_runtime_opts *opts;
    myr_mutex lock; /* guards what follows */
    myr_cond changed;
    python_entry *entries; /* the last used first */
    int64_t entry_count;
    int64_t model_count; /* workers, and those that are being started */
    int64_t failures;    /* calls that failed */
};

runtime_python *myr_runtime_python_new(const myr_runtime_opts *opts)
{
    runtime_python *python = myr_calloc(1, sizeof *python);
    if (python == NULL) return NULL;
    python->opts = opts;
    myr_mutex_init(&python->lock);
    myr_cond_init(&python->changed);
    return python;
}

void myr_runtime_python_free(runtime_python *python)
{
    if (python == NULL) return;
    while (python->entries != NULL) {
        python_entry *entry = python->entries;
        python->entries = entry->next;
        MYR_ASSERT(!entry->is_busy && entry->waiters == 0);
        myr_runtime_python_close(entry->model);
        myr_free(entry);
    }
    myr_cond_fini(&python->changed);
    myr_mutex_fini(&python->lock);
    myr_free(python);
}

/* ---- entries, under the lock ---- */

/* To the front: the list is in the order of use. */
static python_entry *python_find(runtime_python *python, const char *hex)
{
    for (python_entry **link = &python->entries; *link != NULL; link = &(*link)->next) {
        python_entry *entry = *link;
        if (strcmp(entry->hex, hex) != 0) continue;
        *link = entry->next;
        entry->next = python->entries;
        python->entries = entry;
        return entry;
    }
    return NULL;
}

static bool python_is_idle(const python_entry *entry)
{
    return !entry->is_busy && entry->waiters == 0;
}

static void python_forget_last(runtime_python *python)
{
    python_entry **last = NULL;
    for (python_entry **link = &python->entries; *link != NULL; link = &(*link)->next) {
        if (python_is_idle(*link) && (*link)->model == NULL) last = link;
    }
    if (last == NULL) return;
    python_entry *entry = *last;
    *last = entry->next;
    myr_free(entry);
    python->entry_count--;
}

static python_entry *python_find_or_add(runtime_python *python, const char *hex)
{
    python_entry *entry = python_find(python, hex);
    if (entry != NULL) return entry;
    if (python->entry_count >= PYTHON_ENTRIES_MAX) python_forget_last(python);
    entry = myr_calloc(1, sizeof *entry);
    if (entry == NULL) return NULL;
    snprintf(entry->hex, sizeof entry->hex, "%s", hex);
    entry->next = python->entries;
    python->entries = entry;
    python->entry_count++;
    return entry;
}

/* Its worker, which is idle, or NULL; the caller's to close. */
static python_model *python_take_model(runtime_python *python, python_entry *entry)
{
    python_model *model = entry->model;
    entry->model = NULL;
    if (model != NULL) python->model_count--;
    return model;
}

/* The worker that was asked least lately and is idle, since before `before_ns`; it is the caller's to close. */
static python_model *python_take_idle(runtime_python *python, int64_t before_ns)
{
    python_entry *last = NULL;
    for (python_entry *entry = python->entries; entry != NULL; entry = entry->next) {
        if (python_is_idle(entry) && entry->model != NULL && entry->used_ns <= before_ns) last = entry;
    }
    return last != NULL ? python_take_model(python, last) : NULL;
}

/* ---- take and give ---- */

/*
 * Until when those who wait hope for their turn. A call that takes much longer than such calls do hangs, most likely:
 * threads that other models need must not wait for it as long as it may take.
 */
static int64_t python_hope_ns(const runtime_python *python, const python_entry *entry)
{
    int64_t most_ns = python->opts->python_timeout_ms * 1000000;
    int64_t hope_ns = PYTHON_PATIENCE_NS + PYTHON_PATIENCE * entry->row_ns * entry->busy_rows;
    return entry->busy_ns + (entry->row_ns == 0 || hope_ns > most_ns ? most_ns : hope_ns);
}

/* Wait for the model's turn, at most until until_ns (0: as long as there is hope). Under the lock. */
static myr_rc python_wait(runtime_python *python, python_entry *entry, int64_t until_ns, myr_err *err)
{
    if (entry->waiters >= PYTHON_WAITERS_MAX) {
        MYR_FAIL(err, BUSY, "%d threads wait for its worker already", entry->waiters);
    }
    entry->waiters++;
    while (entry->is_busy) {
        int64_t hope_ns = python_hope_ns(python, entry), now_ns = myr_clock_mono_ns();
        int64_t left_ns = (until_ns != 0 && until_ns < hope_ns ? until_ns : hope_ns) - now_ns;
        if (left_ns <= 0) break;
        MYR_IGNORE(myr_cond_wait_ms(&python->changed, &python->lock, left_ns / 1000000 + 1)); /* the loop looks */
    }
    entry->waiters--;
    if (entry->is_busy) MYR_FAIL(err, BUSY, "its worker is busy with other rows, or still being started: ask again");
    return MYR_OK;
}

static myr_rc python_take(runtime_python *python, const char *hex, bool is_code, const myr_runner_call *call,
                          python_entry **out, myr_err *err)
{
    myr_mutex_lock(&python->lock);
    python_entry *entry = python_find_or_add(python, hex);
    myr_rc rc = entry != NULL ? MYR_OK : MYR_ERROR(err, NO_MEMORY, "no memory for a worker");
    if (rc == MYR_OK && entry->is_busy) rc = python_wait(python, entry, call->until_ns, err);
    if (rc == MYR_OK && entry->until_ns > myr_clock_mono_ns()) { /* told again, also to those who waited */
        if (err != NULL) *err = entry->err;
        rc = (myr_rc)entry->err.rc;
    }
    if (rc == MYR_OK) {
        entry->is_code = is_code;
        entry->is_busy = true;
        entry->is_retired = false;
        entry->busy_ns = myr_clock_mono_ns();
        entry->busy_rows = call->row_count;
        *out = entry;
    }
    myr_mutex_unlock(&python->lock);
    return rc;
}

/* has_ended: its worker is gone, or must go. A call that did not run tells nothing about how long one takes. */
static void python_give(runtime_python *python, python_entry *entry, myr_rc rc, bool has_ended, const myr_err *err)
{
    python_model *gone = NULL;
    int64_t now_ns = myr_clock_mono_ns();
    myr_mutex_lock(&python->lock);
    entry->is_busy = false;
    entry->used_ns = now_ns;
    python->failures += rc != MYR_OK && rc != MYR_BUSY;
    if (has_ended) {
        int doublings = entry->failures < PYTHON_BACKOFF_MAX ? entry->failures : PYTHON_BACKOFF_MAX;
        entry->failures++;
        entry->until_ns = now_ns + ((int64_t)PYTHON_BACKOFF_MS << doublings) * 1000000;
        entry->err = *err;
    } else if (entry->is_retired && entry->waiters == 0) {
        gone = python_take_model(python, entry);
    } else if (rc == MYR_OK) {
        int64_t row_ns = (now_ns - entry->busy_ns) / entry->busy_rows + 1;
        entry->row_ns = entry->row_ns == 0 ? row_ns : entry->row_ns + (row_ns - entry->row_ns) / PYTHON_WEIGHT;
        entry->failures = 0;
        gone = python_take_idle(python, now_ns - PYTHON_IDLE_NS);
    }
    myr_cond_broadcast(&python->changed);
    myr_mutex_unlock(&python->lock);
    myr_runtime_python_close(gone);
}

/* ---- run ---- */

/* Room for one more worker. */
static myr_rc python_reserve(runtime_python *python, myr_err *err)
{
    python_model *gone = NULL;
    myr_rc rc = MYR_OK;
    myr_mutex_lock(&python->lock);
    if (python->model_count >= python->opts->python_workers) {
        gone = python_take_idle(python, INT64_MAX);
        if (gone == NULL) {
            rc = MYR_ERROR(err, BUSY, "all of the %lld workers are busy: runtime.python.workers allows more",
                           (long long)python->opts->python_workers);
        }
    }
    if (rc == MYR_OK) python->model_count++;
    myr_mutex_unlock(&python->lock);
    myr_runtime_python_close(gone);
    return rc;
}

static void python_drop(runtime_python *python, python_entry *entry)
{
    myr_runtime_python_close(entry->model);
    entry->model = NULL;
    myr_mutex_lock(&python->lock);
    python->model_count--;
    myr_mutex_unlock(&python->lock);
}

static bool python_is_code(const myr_external *external)
{
    return strncmp(external->runtime, MYR_RUNTIME_PYTHON, MYR_EXTERNAL_RUNTIME_BYTES) == 0;
}

/* only_found: who asks has a deadline, and does not make an environment: whoever serves it does. */
static myr_rc python_start(runtime_python *python, const myr_runtime_source *source, python_entry *entry,
                           const myr_external *external, bool only_found, bool *out_ended, myr_err *err)
{
    myr_runtime_bundle bundle = {0};
    MYR_TRY(python_reserve(python, err));
    *out_ended = true;
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_rc rc = arena != NULL ? source->load(source->ctx, entry->hex, arena, &bundle, err)
                              : MYR_ERROR(err, NO_MEMORY, "no memory for a worker");
    if (rc == MYR_OK) {
        rc = python_is_code(external)
                 ? myr_runtime_python_open(python->opts, &bundle, NULL, only_found, &entry->model, err)
                 : myr_runtime_isolated_open(python->opts, &bundle, external, &entry->model, err);
        if (source->unload != NULL) source->unload(source->ctx, &bundle);
        if (rc == MYR_TIMEOUT) {
            rc = MYR_ERROR(err, UNAVAILABLE, "%s took too long: its worker was ended",
                           python_is_code(external) ? "init()" : "loading");
        }
    }
    if (rc == MYR_OK) {
        *out_ended = false;
        return MYR_OK;
    }
    *out_ended = rc != MYR_BUSY; /* its environment is being made: no failure of its own */
    python_drop(python, entry);
    return rc;
}

static myr_rc python_ask(runtime_python *python, const myr_runtime_source *source, python_entry *entry,
                         const myr_external *external, const myr_runner_call *call, bool *out_ended, myr_err *err)
{
    *out_ended = false;
    if (entry->model != NULL && !myr_worker_is_alive(entry->model->worker)) python_drop(python, entry);
    if (entry->model == NULL)
        MYR_TRY(python_start(python, source, entry, external, call->until_ns != 0, out_ended, err));
    myr_rc rc = myr_runtime_python_ask(entry->model, external, call, out_ended, err);
    if (rc == MYR_OK) *out_ended = false;
    if (*out_ended) python_drop(python, entry);
    return rc;
}

myr_rc myr_runtime_python_run(runtime_python *python, const myr_runtime_source *source, const char *artifact_hex,
                              const myr_external *external, const myr_runner_call *call, myr_err *err)
{
    python_entry *entry;
    bool has_ended;
    myr_err why = {0};
    MYR_TRY(python_take(python, artifact_hex, python_is_code(external), call, &entry, err));
    myr_rc rc = python_ask(python, source, entry, external, call, &has_ended, &why);
    if (rc != MYR_OK) MYR_IGNORE(myr_err_prefix(&why, rc, python_is_code(external) ? "score.py: " : "ONNX: "));
    python_give(python, entry, rc, has_ended, &why);
    if (rc != MYR_OK && err != NULL) *err = why;
    return rc;
}

int64_t myr_runtime_python_failures(runtime_python *python)
{
    myr_mutex_lock(&python->lock);
    int64_t failures = python->failures;
    myr_mutex_unlock(&python->lock);
    return failures;
}

static bool python_is_kept(const python_entry *entry, const char *const *hexes, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(entry->hex, hexes[i]) == 0) return true;
    }
    return false;
}

void myr_runtime_python_keep(runtime_python *python, const char *const *hexes, size_t count)
{
    for (;;) { /* closing waits for a process: not under the lock */
        python_model *gone = NULL;
        myr_mutex_lock(&python->lock);
        for (python_entry *entry = python->entries; entry != NULL && gone == NULL; entry = entry->next) {
            if (!entry->is_code || python_is_kept(entry, hexes, count)) continue;
            entry->is_retired = true;
            if (python_is_idle(entry)) gone = python_take_model(python, entry);
        }
        myr_mutex_unlock(&python->lock);
        if (gone == NULL) return;
        myr_runtime_python_close(gone);
    }
}
