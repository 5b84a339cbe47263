/*
 * A table of features as requests read it. Questions wait in a lane; a thread takes all that wait and asks for all
 * their keys in one round trip. Rows are read from JSON into the question's own arena by the same thread, so that the
 * loop that asked only copies numbers.
 *
 * A few keys of an SQLite file are looked up where they are asked for, in microseconds, without a thread's turn: on
 * connections that were opened for that, while such look-ups are quick. Where they are not (pages that have to come
 * from a disk), all questions go to the lane for a while, whose thread may wait.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <yyjson.h>

#include "online/feature.h"
#include "online/lane.h"

#define SOURCE_WAITING_MAX    4096
#define SOURCE_JOB_BYTES_MAX  (64u << 20) /* of one question: keys, rows, cells */
#define SOURCE_JOB_BYTES_KEPT (32u << 10) /* by a slot between questions */
#define SOURCE_WARM_MS        1000
#define SOURCE_CONNECTIONS    2
#define SOURCE_NEAR_MAX       16           /* connections for look-ups where they are asked for */
#define SOURCE_NEAR_KEYS_MAX  16           /* of one such question */
#define SOURCE_NEAR_BUSY_MS   1            /* for a lock: then the lane has it */
#define SOURCE_NEAR_SLOW_NS   300000LL     /* more is slow … */
#define SOURCE_NEAR_PATIENCE  32           /* … and counts for 8: with so much, the lane has all … */
#define SOURCE_NEAR_PAUSE_NS  1000000000LL /* … for so long */

typedef enum source_count {
    SOURCE_FOUND,
    SOURCE_MISSING,
    SOURCE_STALE,
    SOURCE_FAILED,
    SOURCE_LATE,
    SOURCE_BUSY
} source_count;
#define SOURCE_COUNTS 6

typedef struct source_thread source_thread;

struct myr_source {
    myr_source_opts opts; /* its texts are copies, in the arena */
    myr_mutex near_lock;
    source_thread *near[SOURCE_NEAR_MAX]; /* under near_lock: those that nobody uses */
    int near_count;
    bool looks_near, has_near; /* of a kind that can be looked at so; they were opened: the lane's thread alone */
    _Atomic int near_slow;
    _Atomic int64_t near_after_ns;
    myr_arena *arena;
    online_lane *lane;
    myr_metric *counts[SOURCE_COUNTS];
    myr_metric *round_trips, *duration;
};

/* A question; the payload of a slot. */
struct myr_lookup {
    lane_job job;
    myr_source *source;
    myr_arena *arena;
    myr_str *keys;
    size_t key_count;
    myr_feature_row *rows;
};

/* What a thread keeps. */
struct source_thread {
    myr_source *source;
    myr_feature_store *store; /* NULL: not open (a file that is not there yet) */
    myr_str *keys;            /* of all questions that are asked together */
    struct {
        myr_lookup *lookup;
        size_t key_idx;
    } * places;
    size_t room;
};

/* ---- rows ---- */

static myr_rc source_read_cell(yyjson_val *val, myr_feature_cell *out)
{
    *out = (myr_feature_cell){.number = NAN};
    if (val == NULL || yyjson_is_null(val)) return MYR_OK;
    if (yyjson_is_num(val)) {
        out->number = yyjson_get_num(val);
    } else if (yyjson_is_bool(val)) {
        out->number = yyjson_get_bool(val) ? 1 : 0;
    } else if (yyjson_is_str(val)) {
        out->text = myr_str_make(yyjson_get_str(val), yyjson_get_len(val));
    } else {
        return MYR_BAD_FORMAT;
    }
    return MYR_OK;
}

static myr_rc source_read_row(const myr_source *source, myr_lookup *lookup, size_t key_idx, int64_t written_ms,
                              myr_str json, myr_err *err)
{
    yyjson_alc alc;
    myr_arena_yyjson(lookup->arena, &alc);
    myr_feature_cell *cells = myr_arena_calloc(lookup->arena, source->opts.feature_count + 1, sizeof *cells);
    yyjson_doc *doc = cells == NULL
                          ? NULL
                          : yyjson_read_opts((char *)(uintptr_t)json.data, json.size, YYJSON_READ_NOFLAG, &alc, NULL);
    if (cells == NULL || myr_arena_is_full(lookup->arena)) {
        MYR_FAIL(err, TOO_LARGE, "the rows of '%s' for one request have more than %u bytes", source->opts.table,
                 SOURCE_JOB_BYTES_MAX);
    }
    yyjson_val *root = doc != NULL ? yyjson_doc_get_root(doc) : NULL;
    bool is_good = yyjson_is_obj(root);
    for (uint32_t i = 0; is_good && i < source->opts.feature_count; i++)
        is_good = source_read_cell(yyjson_obj_get(root, source->opts.features[i]), &cells[i]) == MYR_OK;
    if (!is_good) {
        MYR_FAIL(err, BAD_FORMAT,
                 "the row of '%s' in '%s' is not a JSON object of numbers, texts and nulls: write it again",
                 lookup->keys[key_idx].data, source->opts.table);
    }
    myr_feature_row *row = &lookup->rows[key_idx];
    int64_t age_ms = myr_clock_unix_ms() - written_ms;
    bool is_stale = source->opts.max_age_ms > 0 && age_ms > source->opts.max_age_ms;
    *row = (myr_feature_row){is_stale ? MYR_FEATURE_STALE : MYR_FEATURE_FOUND, written_ms, cells};
    return MYR_OK;
}

/* A damaged row is its question's error, not that of the others who were asked with it. */
static myr_rc source_on_row(void *ctx, size_t key_idx, int64_t written_ms, myr_str json, myr_err *err)
{
    const source_thread *thread = ctx;
    myr_lookup *lookup = thread->places[key_idx].lookup;
    (void)err;
    if (lookup->job.err.rc == MYR_OK) {
        MYR_IGNORE(source_read_row(thread->source, lookup, thread->places[key_idx].key_idx, written_ms, json,
                                   &lookup->job.err)); /* the question's */
    }
    return MYR_OK;
}

/* ---- the thread ---- */

static void *source_thread_open(void *ctx)
{
    source_thread *thread = myr_calloc(1, sizeof *thread);
    if (thread != NULL) thread->source = ctx;
    return thread;
}

static void source_thread_close(void *state)
{
    source_thread *thread = state;
    myr_feature_store_close(thread->store);
    myr_free(thread->keys);
    myr_free(thread->places);
    myr_free(thread);
}

/* ---- connections for who looks himself ---- */

static source_thread *source_near_take(myr_source *source)
{
    myr_mutex_lock(&source->near_lock);
    source_thread *near = source->near_count > 0 ? source->near[--source->near_count] : NULL;
    myr_mutex_unlock(&source->near_lock);
    return near;
}

static void source_near_give(myr_source *source, source_thread *near)
{
    myr_mutex_lock(&source->near_lock);
    MYR_ASSERT(source->near_count < SOURCE_NEAR_MAX);
    source->near[source->near_count++] = near;
    myr_mutex_unlock(&source->near_lock);
}

/* The file is there: one for each processor. What fails is no matter: the lane has those questions. */
static void source_near_open(myr_source *source)
{
    int count = myr_cpu_count() < SOURCE_NEAR_MAX ? myr_cpu_count() : SOURCE_NEAR_MAX;
    if (source->has_near || !source->looks_near) return;
    source->has_near = true;
    for (int i = 0; i < count; i++) {
        source_thread *near = source_thread_open(source);
        if (near == NULL) return;
        if (myr_feature_store_open(source->opts.uri, false, &near->store, NULL) != MYR_OK) {
            source_thread_close(near);
            return;
        }
        myr_feature_store_hurry(near->store, SOURCE_NEAR_BUSY_MS);
        source_near_give(source, near);
    }
}

static void source_near_close(myr_source *source)
{
    while (source->near_count > 0)
        source_thread_close(source->near[--source->near_count]);
}

static bool source_near_may(myr_source *source, size_t key_count, int64_t now_ns)
{
    return source->looks_near && key_count <= SOURCE_NEAR_KEYS_MAX &&
           now_ns >= atomic_load_explicit(&source->near_after_ns, memory_order_relaxed);
}

/* Sum up how slow they are; a race between two loses one, which is as good. */
static void source_near_took(myr_source *source, int64_t took_ns, int64_t now_ns)
{
    int slow = atomic_load_explicit(&source->near_slow, memory_order_relaxed);
    if (took_ns <= SOURCE_NEAR_SLOW_NS) {
        if (slow > 0) atomic_store_explicit(&source->near_slow, slow - 1, memory_order_relaxed);
        return;
    }
    bool is_enough = slow + 8 > SOURCE_NEAR_PATIENCE;
    atomic_store_explicit(&source->near_slow, is_enough ? 0 : slow + 8, memory_order_relaxed);
    if (is_enough) atomic_store_explicit(&source->near_after_ns, now_ns + SOURCE_NEAR_PAUSE_NS, memory_order_relaxed);
}

/* ---- the lane ---- */

static myr_rc source_make_room(source_thread *thread, size_t count, myr_err *err)
{
    if (count <= thread->room) return MYR_OK;
    void *keys = myr_realloc_array(thread->keys, count, sizeof *thread->keys);
    if (keys != NULL) thread->keys = keys;
    void *places = myr_realloc_array(thread->places, count, sizeof *thread->places);
    if (places != NULL) thread->places = places;
    if (keys == NULL || places == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %zu keys", count);
    thread->room = count;
    return MYR_OK;
}

static myr_rc source_ask(source_thread *thread, lane_job **jobs, size_t count, myr_err *err)
{
    size_t key_count = 0;
    int64_t deadline_ns = 0;
    for (size_t i = 0; i < count; i++) {
        if (!jobs[i]->skips) key_count += ((myr_lookup *)jobs[i])->key_count;
    }
    MYR_TRY(source_make_room(thread, key_count, err));
    key_count = 0;
    for (size_t i = 0; i < count; i++) {
        myr_lookup *lookup = (myr_lookup *)jobs[i];
        if (jobs[i]->skips) continue;
        if (jobs[i]->deadline_ns > deadline_ns) deadline_ns = jobs[i]->deadline_ns;
        for (size_t k = 0; k < lookup->key_count; k++) {
            thread->keys[key_count] = lookup->keys[k];
            thread->places[key_count].lookup = lookup;
            thread->places[key_count++].key_idx = k;
        }
    }
    if (key_count == 0) return MYR_OK;
    const myr_source_opts *opts = &thread->source->opts;
    if (thread->store == NULL) {
        MYR_TRY(myr_feature_store_open(opts->uri, false, &thread->store, err));
        source_near_open(thread->source);
    }
    return myr_feature_store_get(thread->store, opts->table, thread->keys, key_count, deadline_ns, source_on_row,
                                 thread, err);
}

/* The first request need not wait for a connection. What fails here is said when it is asked for. */
static myr_rc source_on_nothing(void *ctx, size_t key_idx, int64_t written_ms, myr_str json, myr_err *err)
{
    (void)ctx;
    (void)key_idx;
    (void)written_ms;
    (void)json;
    (void)err;
    return MYR_OK;
}

static void source_warm(void *state)
{
    source_thread *thread = state;
    const myr_source_opts *opts = &thread->source->opts;
    const myr_str key = myr_str_of("?");
    if (myr_feature_store_open(opts->uri, false, &thread->store, NULL) != MYR_OK) return;
    source_near_open(thread->source);
    MYR_IGNORE(myr_feature_store_get(thread->store, opts->table, &key, 1,
                                     myr_clock_mono_ns() + SOURCE_WARM_MS * 1000000LL, source_on_nothing, NULL, NULL));
}

static void source_work(void *state, lane_job **jobs, size_t count)
{
    source_thread *thread = state;
    myr_err err = {0};
    int64_t start_ns = myr_clock_mono_ns();
    if (source_ask(thread, jobs, count, &err) != MYR_OK) {
        for (size_t i = 0; i < count; i++) {
            if (!jobs[i]->skips) jobs[i]->err = err;
        }
    }
    myr_metric_add(thread->source->round_trips, 1);
    myr_metric_observe_ns(thread->source->duration, myr_clock_mono_ns() - start_ns);
}

/* ---- a question ---- */

static myr_rc lookup_fill(myr_lookup *lookup, const myr_str *keys, size_t key_count, myr_err *err)
{
    if (lookup->arena == NULL) lookup->arena = myr_arena_new(SOURCE_JOB_BYTES_MAX);
    if (lookup->arena == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %zu keys", key_count);
    lookup->keys = myr_arena_calloc(lookup->arena, key_count + 1, sizeof *lookup->keys);
    lookup->rows = myr_arena_calloc(lookup->arena, key_count + 1, sizeof *lookup->rows);
    bool ok = lookup->keys != NULL && lookup->rows != NULL;
    for (size_t i = 0; ok && i < key_count; i++) {
        const char *copy = myr_arena_strndup(lookup->arena, keys[i].data, keys[i].size);
        lookup->keys[i] = myr_str_make(copy, keys[i].size);
        ok = copy != NULL;
    }
    if (!ok) MYR_FAIL(err, TOO_LARGE, "%zu keys need more than %u bytes", key_count, SOURCE_JOB_BYTES_MAX);
    lookup->key_count = key_count;
    return MYR_OK;
}

/* A large arena goes with its question; not of one that is late: the thread may still be writing into it. */
static void lookup_let_go(myr_lookup *lookup)
{
    if (atomic_load(&lookup->job.state) != LANE_LATE && lookup->arena != NULL &&
        myr_arena_used_bytes(lookup->arena) > SOURCE_JOB_BYTES_KEPT) {
        myr_arena_free(lookup->arena);
        lookup->arena = NULL;
    }
    myr_lane_give(&lookup->job);
}

static myr_rc lookup_new(myr_source *source, const myr_str *keys, size_t key_count, myr_lookup **out, myr_err *err)
{
    if (key_count > MYR_FEATURE_KEYS_MAX)
        MYR_FAIL(err, TOO_LARGE, "%zu keys, the most of one question is %d", key_count, MYR_FEATURE_KEYS_MAX);
    lane_job *job = NULL;
    myr_rc rc = myr_lane_take(source->lane, &job, err);
    if (rc != MYR_OK) {
        myr_metric_add(source->counts[SOURCE_BUSY], 1);
        return rc;
    }
    myr_lookup *lookup = (myr_lookup *)job;
    lookup->source = source;
    if (lookup->arena != NULL && myr_arena_used_bytes(lookup->arena) > SOURCE_JOB_BYTES_KEPT) {
        myr_arena_free(lookup->arena);
        lookup->arena = NULL;
    } else if (lookup->arena != NULL) {
        myr_arena_reset(lookup->arena);
    }
    rc = lookup_fill(lookup, keys, key_count, err);
    if (rc != MYR_OK) {
        lookup_let_go(lookup);
        return rc;
    }
    *out = lookup;
    return MYR_OK;
}

myr_rc myr_lookup_start(myr_source *source, const myr_str *keys, size_t key_count, int64_t deadline_ns,
                        myr_online_done done, void *ctx, myr_lookup **out, myr_err *err)
{
    myr_lookup *lookup = NULL;
    MYR_TRY(lookup_new(source, keys, key_count, &lookup, err));
    *out = lookup;
    myr_lane_submit(&lookup->job, deadline_ns, done, ctx);
    return MYR_OK;
}

/* What fails here is asked anew of the lane, which says why. */
bool myr_lookup_now(myr_source *source, const myr_str *keys, size_t key_count, myr_lookup **out)
{
    int64_t start_ns = myr_clock_mono_ns();
    if (!source_near_may(source, key_count, start_ns)) return false;
    source_thread *near = source_near_take(source);
    myr_lookup *lookup = NULL;
    if (near == NULL) return false;
    bool ok = lookup_new(source, keys, key_count, &lookup, NULL) == MYR_OK;
    if (ok) {
        lane_job *job = &lookup->job;
        ok = source_ask(near, &job, 1, NULL) == MYR_OK;
        atomic_store(&job->state, LANE_DONE); /* never submitted: no thread and no watchdog has it */
    }
    source_near_give(source, near);
    int64_t now_ns = myr_clock_mono_ns();
    source_near_took(source, now_ns - start_ns, now_ns);
    if (!ok) {
        if (lookup != NULL) lookup_let_go(lookup);
        return false;
    }
    myr_metric_add(source->round_trips, 1);
    myr_metric_observe_ns(source->duration, now_ns - start_ns);
    *out = lookup;
    return true;
}

static void lookup_count(const myr_lookup *lookup)
{
    int64_t counts[SOURCE_COUNTS] = {0};
    for (size_t i = 0; i < lookup->key_count; i++) {
        myr_feature_state state = lookup->rows[i].state;
        counts[state == MYR_FEATURE_FOUND   ? SOURCE_FOUND
               : state == MYR_FEATURE_STALE ? SOURCE_STALE
                                            : SOURCE_MISSING]++;
    }
    for (int i = 0; i < SOURCE_COUNTS; i++) {
        if (counts[i] > 0) myr_metric_add(lookup->source->counts[i], counts[i]);
    }
}

myr_rc myr_lookup_rows(const myr_lookup *lookup, const myr_feature_row **out, myr_err *err)
{
    const myr_source *source = lookup->source;
    int state = atomic_load(&lookup->job.state);
    MYR_ASSERT(state == LANE_DONE || state == LANE_LATE);
    if (state == LANE_LATE) {
        myr_metric_add(source->counts[SOURCE_LATE], 1);
        MYR_FAIL(err, TIMEOUT, "the features of '%s' were not there in time", source->opts.table);
    }
    if (lookup->job.err.rc != MYR_OK) {
        myr_metric_add(source->counts[SOURCE_FAILED], 1);
        if (err != NULL) *err = lookup->job.err;
        return (myr_rc)lookup->job.err.rc;
    }
    lookup_count(lookup);
    *out = lookup->rows;
    return MYR_OK;
}

void myr_lookup_free(myr_lookup *lookup)
{
    if (lookup != NULL) lookup_let_go(lookup);
}

/* ---- life ---- */

static void fetch_fini(lane_job *job)
{
    myr_arena_free(((myr_lookup *)job)->arena);
}

static const char *const *source_copy_names(myr_arena *arena, const char *const *names, uint32_t count)
{
    const char **copy = myr_arena_calloc(arena, count + 1, sizeof *copy);
    for (uint32_t i = 0; copy != NULL && i < count; i++) {
        copy[i] = myr_arena_strndup(arena, names[i], strlen(names[i]));
        if (copy[i] == NULL) return NULL;
    }
    return copy;
}

static bool source_copy(myr_source *source, const myr_source_opts *opts)
{
    source->opts = *opts;
    source->opts.uri = myr_arena_strndup(source->arena, opts->uri, strlen(opts->uri));
    source->opts.table = myr_arena_strndup(source->arena, opts->table, strlen(opts->table));
    source->opts.keys = source_copy_names(source->arena, opts->keys, opts->key_count);
    source->opts.features = source_copy_names(source->arena, opts->features, opts->feature_count);
    return source->opts.uri != NULL && source->opts.table != NULL && source->opts.keys != NULL &&
           source->opts.features != NULL;
}

static void source_metrics(myr_source *source)
{
    static const char *const results[SOURCE_COUNTS] = {"found", "missing", "stale", "failed", "late", "busy"};
    if (source->opts.metrics == NULL) return;
    char labels[MYR_NAME_BYTES_MAX + 64];
    for (int i = 0; i < SOURCE_COUNTS; i++) {
        snprintf(labels, sizeof labels, "table=\"%.128s\",result=\"%s\"", source->opts.table, results[i]);
        source->counts[i] = myr_metrics_series(source->opts.metrics, MYR_METRIC_COUNTER, "myriad_features_total",
                                               "keys asked of the feature store (found, missing, stale) and questions "
                                               "without an answer (failed, late, busy)",
                                               labels);
    }
    snprintf(labels, sizeof labels, "table=\"%.128s\"", source->opts.table);
    source->round_trips =
        myr_metrics_series(source->opts.metrics, MYR_METRIC_COUNTER, "myriad_features_round_trips_total",
                           "round trips to the feature store", labels);
    source->duration = myr_metrics_series(source->opts.metrics, MYR_METRIC_HISTOGRAM, "myriad_features_seconds",
                                          "duration of a round trip to the feature store", labels);
}

static myr_rc source_start(myr_source *source, const myr_source_opts *opts, myr_err *err)
{
    myr_db_kind kind;
    MYR_TRY(myr_db_uri_kind(opts->uri, &kind, err));
    if (!source_copy(source, opts)) MYR_FAIL(err, NO_MEMORY, "no memory for the source '%s'", opts->table);
    source_metrics(source);
    source->looks_near = kind == MYR_DB_SQLITE;
    lane_opts lane = {.name = source->opts.table,
                      .thread_count = opts->connections > 0   ? opts->connections
                                      : kind == MYR_DB_SQLITE ? 1
                                                              : SOURCE_CONNECTIONS,
                      .job_max = opts->waiting_max > 0 ? opts->waiting_max : SOURCE_WAITING_MAX,
                      .job_bytes = sizeof(myr_lookup),
                      .open = source_thread_open,
                      .close = source_thread_close,
                      .warm = source_warm,
                      .work = source_work,
                      .fini_job = fetch_fini,
                      .ctx = source};
    if (lane.thread_count > LANE_THREADS_MAX)
        MYR_FAIL(err, BAD_INPUT, "'%s': %d connections, the most is %d", opts->table, opts->connections,
                 LANE_THREADS_MAX);
    return myr_lane_start(&lane, &source->lane, err);
}

myr_rc myr_source_open(const myr_source_opts *opts, myr_source **out, myr_err *err)
{
    MYR_ASSERT(opts->key_count > 0 && opts->key_count <= MYR_PARTITION_COLUMNS_MAX);
    myr_source *source = myr_calloc(1, sizeof *source);
    if (source == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the source '%s'", opts->table);
    myr_mutex_init(&source->near_lock);
    source->arena = myr_arena_new(0);
    myr_rc rc = source->arena != NULL ? source_start(source, opts, err)
                                      : MYR_ERROR(err, NO_MEMORY, "no memory for the source '%s'", opts->table);
    if (rc != MYR_OK) {
        myr_source_close(source);
        return rc;
    }
    *out = source;
    return MYR_OK;
}

void myr_source_close(myr_source *source)
{
    if (source == NULL) return;
    myr_lane_stop(source->lane);
    source_near_close(source);
    myr_mutex_fini(&source->near_lock);
    myr_arena_free(source->arena);
    myr_free(source);
}

/* ---- is it what the service file says? ---- */

static myr_rc source_compare(const myr_source_opts *opts, const myr_feature_table *table, myr_err *err)
{
    bool same = table->keys.column_count == opts->key_count;
    MYR_AUTO(myr_buf) has = {0};
    for (uint32_t i = 0; i < table->keys.column_count; i++) {
        same = same && strcmp(table->keys.columns[i].name, opts->keys[i]) == 0;
        myr_buf_printf(&has, "%s%s", i > 0 ? ", " : "", table->keys.columns[i].name);
    }
    MYR_TRY(myr_buf_check(&has, err));
    if (!same)
        MYR_FAIL(err, BAD_INPUT, "the feature table '%s' has the keys [%s]: write them so", opts->table, has.data);
    for (uint32_t i = 0; i < opts->feature_count; i++) {
        uint32_t at = 0;
        while (at < table->feature_count && strcmp(table->features[at], opts->features[i]) != 0)
            at++;
        if (at < table->feature_count) continue;
        const char *nearest = myr_nearest(opts->features[i], table->features);
        MYR_FAIL(err, BAD_INPUT, "the feature table '%s' has no feature '%s'%s%s%s", opts->table, opts->features[i],
                 nearest != NULL ? ": did you mean '" : "", nearest != NULL ? nearest : "",
                 nearest != NULL ? "'?" : "");
    }
    return MYR_OK;
}

myr_rc myr_source_check(const myr_source *source, int64_t deadline_ns, myr_err *err)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "no memory");
    myr_feature_store *store = NULL;
    myr_feature_table table;
    MYR_TRY(myr_feature_store_open(source->opts.uri, false, &store, err));
    myr_rc rc = myr_feature_store_describe(store, source->opts.table, arena, &table, deadline_ns, err);
    myr_feature_store_close(store);
    MYR_TRY(rc);
    return source_compare(&source->opts, &table, err);
}
