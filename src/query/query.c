/*
 * Fleets in SQL. A call names its fleet, which is opened when the query is read and kept for the others; its chunks of
 * rows go to myr_score, as those of batch and serve do.
 */
#include "query/query.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define QUERY_FLEETS_MAX 64 /* of one session, each opened once */

/* What score() tells beside the values, in this order. */
enum { QUERY_MODEL, QUERY_VERSION, QUERY_LEVEL, QUERY_STATUS, QUERY_TOLD_COUNT };
static const myr_table_output query_told[QUERY_TOLD_COUNT] = {
    [QUERY_MODEL] = {.name = "model", .type = MYR_COL_TEXT},
    [QUERY_VERSION] = {.name = "model_version", .type = MYR_COL_INT64},
    [QUERY_LEVEL] = {.name = "level", .type = MYR_COL_TEXT},
    [QUERY_STATUS] = {.name = "status", .type = MYR_COL_TEXT}};

/* A fleet that a query named. Immutable once it is in the list. */
typedef struct query_fleet {
    myr_query *query;
    const char *subject; /* as it was named */
    myr_fleet *fleet;
    myr_table_parameter *parameters; /* partition columns, then features */
    uint32_t parameter_count;
    uint32_t value_count;
} query_fleet;

struct myr_query {
    myr_workspace *workspace;
    myr_arena *arena;
    myr_table_engine *engine;
    myr_table_functions *functions;
    query_fleet fleets[QUERY_FLEETS_MAX];
    uint32_t fleet_count;
    myr_mutex mutex; /* guards trouble */
    myr_err trouble;
};

/* What a thread keeps for one call. Owner: one of DuckDB's threads. */
typedef struct query_thread {
    query_fleet *of;
    myr_score_scratch *scratch;
    myr_arena *arena;  /* names */
    myr_str *names;    /* per model; data == NULL: this thread has not met it */
    int64_t *versions; /* per model; 0: the same */
    uint32_t *model_idxs;
    uint8_t *levels, *statuses;
    int64_t room; /* rows that these three have room for */
} query_thread;

/* ---- a chunk of rows ---- */

static void query_thread_free(void *arg)
{
    query_thread *thread = arg;
    if (thread == NULL) return;
    myr_score_scratch_free(thread->scratch);
    myr_arena_free(thread->arena);
    myr_free(thread->names);
    myr_free(thread->versions);
    myr_free(thread->model_idxs);
    myr_free(thread->levels);
    myr_free(thread->statuses);
    myr_free(thread);
}

static void *query_thread_new(void *ctx)
{
    query_fleet *of = ctx;
    query_thread *thread = myr_calloc(1, sizeof *thread);
    if (thread == NULL) return NULL;
    size_t models = (size_t)of->fleet->info->model_count + 1;
    thread->of = of;
    thread->scratch = myr_score_scratch_new();
    thread->arena = myr_arena_new(0);
    thread->names = myr_calloc(models, sizeof *thread->names);
    thread->versions = myr_calloc(models, sizeof *thread->versions);
    if (thread->scratch != NULL && thread->arena != NULL && thread->names != NULL && thread->versions != NULL)
        return thread;
    query_thread_free(thread);
    return NULL;
}

static myr_rc query_room(query_thread *thread, int64_t row_count, myr_err *err)
{
    if (row_count <= thread->room) return MYR_OK;
    size_t count = (size_t)row_count;
    uint32_t *model_idxs = myr_realloc_array(thread->model_idxs, count, sizeof *model_idxs);
    if (model_idxs != NULL) thread->model_idxs = model_idxs;
    uint8_t *levels = myr_realloc_array(thread->levels, count, sizeof *levels);
    if (levels != NULL) thread->levels = levels;
    uint8_t *statuses = myr_realloc_array(thread->statuses, count, sizeof *statuses);
    if (statuses != NULL) thread->statuses = statuses;
    if (model_idxs == NULL || levels == NULL || statuses == NULL)
        MYR_FAIL(err, NO_MEMORY, "no memory for %zu rows", count);
    thread->room = row_count;
    return MYR_OK;
}

static myr_rc query_version(query_thread *thread, uint32_t model_idx, int64_t *out, myr_err *err)
{
    int64_t *version = &thread->versions[model_idx];
    if (*version == 0) {
        myr_pack_entry entry;
        MYR_TRY(myr_pack_get_entry(thread->of->fleet->pack, model_idx, &entry, err));
        *version = entry.version;
    }
    *out = *version;
    return MYR_OK;
}

/* Nulls where there is no answer, and, of a function that tells, which model, level and status. */
static myr_rc query_tell(query_thread *thread, const myr_table_chunk *chunk, bool tells, myr_err *err)
{
    uint32_t first = thread->of->value_count;
    for (int64_t r = 0; r < chunk->row_count; r++) {
        if (thread->statuses[r] != MYR_ROW_OK) chunk->valid[0][r] = 0;
        if (!tells) continue;
        uint32_t model_idx = thread->model_idxs[r];
        if (model_idx == MYR_PACK_NONE) {
            chunk->valid[first + QUERY_MODEL][r] = 0;
            chunk->valid[first + QUERY_VERSION][r] = 0;
        } else {
            MYR_TRY(myr_score_model_name_kept(thread->of->fleet->scorer, model_idx, thread->arena, thread->names,
                                              &chunk->text[first + QUERY_MODEL][r], err));
            MYR_TRY(query_version(thread, model_idx, &chunk->i64[first + QUERY_VERSION][r], err));
        }
        chunk->text[first + QUERY_LEVEL][r] = myr_str_of(myr_level_name((myr_level)thread->levels[r]));
        chunk->text[first + QUERY_STATUS][r] = myr_str_of(myr_row_status_name((myr_row_status)thread->statuses[r]));
    }
    return MYR_OK;
}

static void query_note_trouble(myr_query *query, const myr_err *trouble)
{
    if (trouble->rc == MYR_OK) return;
    myr_mutex_lock(&query->mutex);
    if (query->trouble.rc == MYR_OK) query->trouble = *trouble;
    myr_mutex_unlock(&query->mutex);
}

static myr_rc query_score(query_thread *thread, const myr_table_chunk *chunk, bool tells, myr_err *err)
{
    const myr_fleet *fleet = thread->of->fleet;
    MYR_TRY(query_room(thread, chunk->row_count, err));
    myr_score_rows in = {.row_count = chunk->row_count,
                         .keys = chunk->inputs,
                         .features = chunk->inputs + fleet->info->keys.column_count,
                         .fixed_model = MYR_PACK_NONE,
                         .output = MYR_OUTPUT_VALUE};
    myr_score_out out = {
        .values = chunk->f64, .model_idxs = thread->model_idxs, .levels = thread->levels, .statuses = thread->statuses};
    MYR_TRY(myr_score(fleet->scorer, thread->scratch, &in, &out, err));
    query_note_trouble(thread->of->query, myr_score_trouble(thread->scratch));
    return query_tell(thread, chunk, tells, err);
}

static myr_rc query_predict_chunk(void *ctx, void *state, const myr_table_chunk *chunk, myr_err *err)
{
    (void)ctx;
    return query_score(state, chunk, false, err);
}

static myr_rc query_score_chunk(void *ctx, void *state, const myr_table_chunk *chunk, myr_err *err)
{
    (void)ctx;
    return query_score(state, chunk, true, err);
}

/* ---- a call ---- */

/* `oj`, `oj/3`, `oj/challenger`: the release, 0 for the champion. */
static myr_rc query_release(const myr_query *query, const char *fleet, const char *which, int64_t *out, myr_err *err)
{
    *out = 0;
    if (which == NULL) return MYR_OK;
    if (myr_parse_int64(myr_str_of(which), out) && *out > 0) return MYR_OK;
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a fleet");
    myr_fleet_row row;
    MYR_TRY(myr_registry_fleet_get(query->workspace->registry, arena, fleet, &row, err));
    return myr_registry_alias_get(query->workspace->registry, row.id, which, out, err);
}

static myr_rc query_parameters(query_fleet *of, myr_err *err)
{
    const myr_pack_info *info = of->fleet->info;
    uint32_t keys = info->keys.column_count;
    of->parameter_count = keys + info->feature_count;
    of->parameters = myr_arena_calloc(of->query->arena, (size_t)of->parameter_count + 1, sizeof *of->parameters);
    if (of->parameters == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the columns of %s", of->subject);
    for (uint32_t i = 0; i < keys; i++)
        of->parameters[i] = (myr_table_parameter){info->keys.columns[i].name, "a partition column", MYR_TABLE_USE_KEY};
    for (uint32_t i = 0; i < info->feature_count; i++) {
        myr_table_use use = myr_pack_takes_text(info, i) ? MYR_TABLE_USE_NAME : MYR_TABLE_USE_NUMBER;
        of->parameters[keys + i] = (myr_table_parameter){info->features[i], "a feature", use};
    }
    size_t width = 0;
    MYR_TRY(myr_scorer_check_output(of->fleet->scorer, MYR_PACK_NONE, MYR_OUTPUT_VALUE, &width, err));
    of->value_count = (uint32_t)width;
    return MYR_OK;
}

static myr_rc query_open_fleet(query_fleet *of, myr_err *err)
{
    myr_query *query = of->query;
    const char *slash = strchr(of->subject, '/');
    size_t size = slash != NULL ? (size_t)(slash - of->subject) : strlen(of->subject);
    const char *name = myr_arena_strndup(query->arena, of->subject, size);
    int64_t release = 0;
    if (name == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a fleet");
    MYR_TRY(query_release(query, name, slash != NULL ? slash + 1 : NULL, &release, err));
    MYR_TRY(myr_fleet_open(query->workspace, name, release, &of->fleet, err));
    return query_parameters(of, err);
}

static myr_rc query_find_fleet(myr_query *query, const char *subject, query_fleet **out, myr_err *err)
{
    for (uint32_t i = 0; i < query->fleet_count; i++) {
        *out = &query->fleets[i];
        if (strcmp(query->fleets[i].subject, subject) == 0) return MYR_OK;
    }
    if (query->fleet_count == QUERY_FLEETS_MAX)
        MYR_FAIL(err, TOO_LARGE, "a query may name at most %d fleets and releases", QUERY_FLEETS_MAX);
    query_fleet made = {.query = query, .subject = myr_arena_strndup(query->arena, subject, strlen(subject))};
    if (made.subject == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a fleet");
    myr_rc rc = query_open_fleet(&made, err);
    if (rc != MYR_OK) {
        myr_fleet_close(made.fleet);
        return rc;
    }
    *out = &query->fleets[query->fleet_count++];
    **out = made;
    return MYR_OK;
}

static myr_rc query_bind(myr_query *query, const char *subject, myr_table_fn fn, myr_table_call *out, myr_err *err)
{
    query_fleet *of = NULL;
    MYR_TRY(query_find_fleet(query, subject, &of, err));
    *out = (myr_table_call){.parameters = of->parameters,
                            .parameter_count = of->parameter_count,
                            .value_count = of->value_count,
                            .fn = fn,
                            .ctx = of,
                            .make_state = query_thread_new,
                            .free_state = query_thread_free};
    return MYR_OK;
}

static myr_rc query_bind_predict(void *ctx, const char *subject, myr_table_call *out, myr_err *err)
{
    return query_bind(ctx, subject, query_predict_chunk, out, err);
}

static myr_rc query_bind_score(void *ctx, const char *subject, myr_table_call *out, myr_err *err)
{
    return query_bind(ctx, subject, query_score_chunk, out, err);
}

/* ---- a session ---- */

static myr_rc query_start(myr_query *query, int threads, int64_t memory_bytes, myr_err *err)
{
    const myr_table_function functions[] = {
        {.name = "predict", .of_many = "score_all()", .bind = query_bind_predict, .ctx = query},
        {.name = "score",
         .values_name = "prediction",
         .of_many = "score_all()",
         .told = query_told,
         .told_count = QUERY_TOLD_COUNT,
         .bind = query_bind_score,
         .ctx = query},
        {.name = "score_all",
         .values_name = "predictions",
         .values_as_list = true,
         .told = query_told,
         .told_count = QUERY_TOLD_COUNT,
         .bind = query_bind_score,
         .ctx = query},
    };
    query->arena = myr_arena_new(0);
    if (query->arena == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for SQL");
    MYR_TRY(myr_table_functions_new(&query->functions, err));
    MYR_TRY(myr_table_engine_open(threads, memory_bytes, &query->engine, err));
    for (size_t i = 0; i < MYR_COUNT_OF(functions); i++)
        MYR_TRY(myr_table_function_add(query->engine, query->functions, &functions[i], err));
    return MYR_OK;
}

myr_rc myr_query_open(myr_workspace *workspace, int threads, int64_t memory_bytes, myr_query **out, myr_err *err)
{
    myr_query *query = myr_calloc(1, sizeof *query);
    if (query == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for SQL");
    query->workspace = workspace;
    myr_mutex_init(&query->mutex);
    myr_rc rc = query_start(query, threads, memory_bytes, err);
    if (rc != MYR_OK) {
        myr_query_close(query);
        return rc;
    }
    *out = query;
    return MYR_OK;
}

void myr_query_close(myr_query *query)
{
    if (query == NULL) return;
    myr_table_engine_close(query->engine); /* its threads and calls end here */
    myr_table_functions_free(query->functions);
    for (uint32_t i = 0; i < query->fleet_count; i++)
        myr_fleet_close(query->fleets[i].fleet);
    myr_mutex_fini(&query->mutex);
    myr_arena_free(query->arena);
    myr_free(query);
}

myr_rc myr_query_rows(myr_query *query, const char *sql, const myr_table_rows *rows, myr_err *err)
{
    return myr_table_query_rows(query->engine, query->functions, sql, rows, err);
}

myr_rc myr_query_write(myr_query *query, const char *sql, const char *path, int64_t *out_rows, myr_err *err)
{
    return myr_table_query_write(query->engine, query->functions, sql, path, out_rows, err);
}

const myr_err *myr_query_trouble(const myr_query *query)
{
    return &query->trouble;
}
