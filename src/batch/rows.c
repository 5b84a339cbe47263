/*
 * One chunk of rows: keys and features go into myr_score, THE scoring path; values come out straight into the output's
 * columns. Around it: names of models, written once per model and thread, and counts, kept per thread and added up at
 * the end.
 */
#include <math.h>
#include <string.h>

#include "batch/internal.h"

/* What a thread keeps between chunks. Owner: one of DuckDB's threads. */
typedef struct rows_thread {
    batch_rows *rows;
    myr_score_scratch *scratch;
    myr_arena *arena; /* names */
    myr_str *names;   /* per model index; data == NULL: not written yet by this thread. NULL: none is */
    uint8_t *is_used; /* per model index */
    uint32_t *model_idxs;
    uint8_t *levels, *statuses;         /* of the chunk: columns of its output, or else the next two */
    uint8_t *own_levels, *own_statuses; /* of rows whose output does not have them */
    uint8_t *more_statuses;             /* of the kinds after the first */
    int64_t room;                       /* rows that the arrays of ours have room for */
    batch_counts counts;
} rows_thread;

/* Neumaier's sum. */
void myr_batch_sum_add(batch_sum *sum, double value)
{
    double next = sum->sum + value;
    sum->rest += fabs(sum->sum) >= fabs(value) ? (sum->sum - next) + value : (value - next) + sum->sum;
    sum->sum = next;
}

/* ---- before the first row ---- */

static myr_rc rows_baselines(batch_rows *rows, myr_workspace *workspace, myr_arena *arena, myr_err *err)
{
    const myr_fleet *fleet = rows->fleet;
    uint32_t count = fleet->info->model_count;
    myr_model_row *models = NULL;
    size_t model_count = 0;
    double *baselines = myr_arena_calloc(arena, count + 1u, sizeof *baselines);
    if (baselines == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %u models", count);
    MYR_TRY(myr_registry_release_models(workspace->registry, arena, fleet->row.id, fleet->release, &models,
                                        &model_count, err));
    if (model_count != count) {
        MYR_FAIL(err, BAD_FORMAT, "%s release %lld: the registry knows %zu models, the pack %u", fleet->name,
                 (long long)fleet->release, model_count, count);
    }
    for (uint32_t i = 0; i < count; i++)
        baselines[i] = models[i].baseline;
    rows->baselines = baselines;
    return MYR_OK;
}

myr_rc myr_batch_rows_begin(batch_rows *rows, myr_workspace *workspace, myr_arena *arena, myr_err *err)
{
    const myr_fleet *fleet = rows->fleet;
    uint32_t count = fleet->info->model_count;
    int64_t *versions = myr_arena_calloc(arena, count + 1u, sizeof *versions);
    rows->is_used = myr_arena_calloc(arena, count + 1u, 1);
    if (versions == NULL || rows->is_used == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %u models", count);
    for (uint32_t i = 0; i < count; i++) {
        myr_pack_entry entry;
        MYR_TRY(myr_pack_get_entry(fleet->pack, i, &entry, err));
        versions[i] = entry.version;
    }
    rows->versions = versions;
    rows->is_log = fleet->row.target_transform != NULL && strcmp(fleet->row.target_transform, "log") == 0;
    return rows->plan->has_target ? rows_baselines(rows, workspace, arena, err) : MYR_OK;
}

/* ---- threads ---- */

void *myr_batch_rows_thread_new(void *ctx)
{
    batch_rows *rows = ctx;
    rows_thread *thread = myr_calloc(1, sizeof *thread);
    if (thread == NULL) return NULL;
    thread->rows = rows;
    thread->scratch = myr_score_scratch_new();
    thread->arena = myr_arena_new(0);
    size_t model_count = rows->fleet->info->model_count;
    bool has_names = rows->plan->detail_at[MYR_BATCH_MODEL] >= 0;
    if (has_names) thread->names = myr_calloc(model_count + 1, sizeof *thread->names);
    thread->is_used = myr_calloc(model_count + 1, 1);
    bool ok = thread->scratch != NULL && thread->arena != NULL && thread->is_used != NULL;
    if (ok && (thread->names != NULL || !has_names)) return thread;
    myr_batch_rows_thread_free(thread);
    return NULL;
}

static void rows_sum_merge(batch_sum *into, const batch_sum *from)
{
    myr_batch_sum_add(into, from->sum);
    myr_batch_sum_add(into, from->rest);
}

/* Add this thread's counts to the run's. The sums carry their rounding error, so the order of threads hardly shows. */
static void rows_merge(rows_thread *thread)
{
    batch_rows *rows = thread->rows;
    batch_counts *into = &rows->counts;
    const batch_counts *from = &thread->counts;
    myr_mutex_lock(&rows->mutex);
    for (int i = 0; i < MYR_LEVEL_COUNT; i++)
        into->level_rows[i] += from->level_rows[i];
    for (int i = 0; i < MYR_ROW_STATUS_COUNT; i++)
        into->status_rows[i] += from->status_rows[i];
    into->compared_rows += from->compared_rows;
    rows_sum_merge(&into->error, &from->error);
    rows_sum_merge(&into->baseline_error, &from->baseline_error);
    rows_sum_merge(&into->units_error, &from->units_error);
    rows_sum_merge(&into->units_baseline_error, &from->units_baseline_error);
    for (uint32_t i = 0; thread->is_used != NULL && i < rows->fleet->info->model_count; i++)
        rows->is_used[i] |= thread->is_used[i];
    myr_mutex_unlock(&rows->mutex);
}

void myr_batch_rows_thread_free(void *state)
{
    rows_thread *thread = state;
    if (thread == NULL) return;
    rows_merge(thread);
    myr_score_scratch_free(thread->scratch);
    myr_arena_free(thread->arena);
    myr_free(thread->names);
    myr_free(thread->is_used);
    myr_free(thread->model_idxs);
    myr_free(thread->own_levels);
    myr_free(thread->own_statuses);
    myr_free(thread->more_statuses);
    myr_free(thread);
}

static myr_rc rows_room(rows_thread *thread, int64_t row_count, myr_err *err)
{
    if (row_count <= thread->room) return MYR_OK;
    size_t count = (size_t)row_count;
    uint8_t **bytes[] = {&thread->own_levels, &thread->own_statuses, &thread->more_statuses};
    uint32_t *model_idxs = myr_realloc_array(thread->model_idxs, count, sizeof *model_idxs);
    bool ok = model_idxs != NULL;
    if (ok) thread->model_idxs = model_idxs;
    for (size_t i = 0; ok && i < MYR_COUNT_OF(bytes); i++) {
        uint8_t *more = myr_realloc_array(*bytes[i], count, sizeof *more);
        ok = more != NULL;
        if (ok) *bytes[i] = more;
    }
    if (!ok) MYR_FAIL(err, NO_MEMORY, "no memory for %zu rows", count);
    thread->room = row_count;
    return MYR_OK;
}

/* ---- a chunk ---- */

/* Keep the first value seen that is not of its column's type, for the case that no row is better. */
static void rows_bad_key(batch_rows *rows, const myr_table_chunk *chunk, int64_t row_idx)
{
    const myr_key_schema *schema = &rows->fleet->info->keys;
    myr_mutex_lock(&rows->mutex);
    for (uint32_t i = 0; i < schema->column_count && rows->bad_key.message[0] == '\0'; i++) {
        const myr_col *key = &chunk->inputs[i];
        char scratch[MYR_KEY_SCRATCH_BYTES];
        myr_key_value value;
        if (myr_key_value_from_col(schema->columns[i].type, key, row_idx, scratch, &value, NULL) == MYR_OK) continue;
        myr_str text = key->type == MYR_COL_TEXT ? key->data.text[row_idx] : (myr_str){0};
        if (text.size > 60) text.size = 60;
        MYR_IGNORE(MYR_ERROR(&rows->bad_key, BAD_INPUT,
                             "'%s' holds '" MYR_STR_FMT "' where the fleet has a whole number", schema->columns[i].name,
                             MYR_STR_ARG(text))); /* filled, told later */
    }
    if (rows->bad_key.message[0] == '\0')
        MYR_IGNORE(MYR_ERROR(&rows->bad_key, BAD_INPUT, "its values are too long")); /* filled, told later */
    myr_mutex_unlock(&rows->mutex);
}

/* Whether one of the row's predictions is a NaN or infinite. The other kinds may leave out some of their columns. */
static bool rows_is_finite(const batch_plan *plan, const myr_table_chunk *chunk, int64_t r)
{
    for (uint32_t k = 0, first = 0; k < plan->kind_count; first += plan->kind_widths[k++]) {
        for (uint32_t i = 0; plan->kinds[k] == MYR_OUTPUT_VALUE && i < plan->kind_widths[k]; i++) {
            if (!isfinite(chunk->f64[first + i][r])) return false;
        }
    }
    return true;
}

/* A row without an answer, or whose answer nobody can use, is named. */
static myr_rc rows_name(batch_rows *rows, const myr_table_chunk *chunk, int64_t r, myr_row_status status, myr_err *err)
{
    const char *cause = status != MYR_ROW_OK ? myr_row_status_name(status) : "not_finite";
    const char *why = status == MYR_ROW_UNAVAILABLE && rows->trouble.rc != MYR_OK ? rows->trouble.message : NULL;
    return myr_batch_dead_add(&rows->dead, &rows->fleet->info->keys, chunk, r, rows->done_rows + r, cause, why, err);
}

/* Name and version of each row's model, as far as they are written. */
static myr_rc rows_tell_models(rows_thread *thread, const myr_table_chunk *chunk, myr_err *err)
{
    const batch_rows *rows = thread->rows;
    int name_at = rows->plan->detail_at[MYR_BATCH_MODEL], version_at = rows->plan->detail_at[MYR_BATCH_MODEL_VERSION];
    for (int64_t r = 0; name_at >= 0 && r < chunk->row_count; r++) {
        if (thread->model_idxs[r] == MYR_PACK_NONE) continue; /* a text that is none is null */
        MYR_TRY(myr_score_model_name_kept(rows->fleet->scorer, thread->model_idxs[r], thread->arena, thread->names,
                                          &chunk->text[name_at][r], err));
    }
    for (int64_t r = 0; version_at >= 0 && r < chunk->row_count; r++) {
        bool is_none = thread->model_idxs[r] == MYR_PACK_NONE;
        chunk->i64[version_at][r] = is_none ? 0 : rows->versions[thread->model_idxs[r]];
        if (is_none) chunk->valid[version_at][r] = 0;
    }
    return MYR_OK;
}

/* How often each code stands there, added; equal ones come in long runs. */
static void rows_count(const uint8_t *codes, int64_t row_count, int64_t *counts)
{
    for (int64_t r = 0, begin = 0; r < row_count; begin = r) {
        while (r < row_count && codes[r] == codes[begin])
            r++;
        counts[codes[begin]] += r - begin;
    }
}

static myr_rc rows_describe(rows_thread *thread, const myr_table_chunk *chunk, myr_err *err)
{
    const batch_plan *plan = thread->rows->plan;
    bool has_bad_key = thread->counts.status_rows[MYR_ROW_BAD_KEY] > 0;
    for (int64_t r = 0; r < chunk->row_count; r++) {
        uint32_t model_idx = thread->model_idxs[r];
        uint8_t level = thread->levels[r], status = thread->statuses[r];
        MYR_ASSERT(level < MYR_LEVEL_COUNT && status < MYR_ROW_STATUS_COUNT);
        for (uint32_t i = 0; status != MYR_ROW_OK && i < plan->value_count; i++)
            chunk->valid[i][r] = 0;
        MYR_ASSERT(model_idx == MYR_PACK_NONE || model_idx < thread->rows->fleet->info->model_count);
        if (model_idx != MYR_PACK_NONE) thread->is_used[model_idx] = 1;
        if (status != MYR_ROW_OK || !rows_is_finite(plan, chunk, r))
            MYR_TRY(rows_name(thread->rows, chunk, r, (myr_row_status)status, err));
        if (status == MYR_ROW_BAD_KEY && !has_bad_key) {
            rows_bad_key(thread->rows, chunk, r);
            has_bad_key = true;
        }
    }
    rows_count(thread->levels, chunk->row_count, thread->counts.level_rows);
    rows_count(thread->statuses, chunk->row_count, thread->counts.status_rows);
    return rows_tell_models(thread, chunk, err);
}

static double rows_squared(double value, double actual)
{
    return (value - actual) * (value - actual);
}

static void rows_compare(rows_thread *thread, const myr_table_chunk *chunk)
{
    const batch_rows *rows = thread->rows;
    const double *actuals = chunk->inputs[rows->plan->key_count + rows->plan->feature_count].data.f64;
    batch_counts *counts = &thread->counts;
    for (int64_t r = 0; r < chunk->row_count; r++) {
        if (thread->statuses[r] != MYR_ROW_OK) continue;
        double actual = actuals[r], value = chunk->f64[0][r], baseline = rows->baselines[thread->model_idxs[r]];
        if (!isfinite(actual) || !isfinite(value) || !isfinite(baseline)) continue;
        counts->compared_rows++;
        myr_batch_sum_add(&counts->error, rows_squared(value, actual));
        myr_batch_sum_add(&counts->baseline_error, rows_squared(baseline, actual));
        if (!rows->is_log) continue;
        myr_batch_sum_add(&counts->units_error, rows_squared(exp(value), exp(actual)));
        myr_batch_sum_add(&counts->units_baseline_error, rows_squared(exp(baseline), exp(actual)));
    }
}

static void rows_progress(batch_rows *rows, int64_t row_count)
{
    rows->done_rows += row_count;
    if (rows->progress != NULL) rows->progress(rows->progress_ctx, rows->done_rows, 0);
}

static void rows_note_trouble(batch_rows *rows, const myr_err *trouble)
{
    if (trouble->rc == MYR_OK) return;
    myr_mutex_lock(&rows->mutex);
    if (rows->trouble.rc == MYR_OK) rows->trouble = *trouble;
    myr_mutex_unlock(&rows->mutex);
}

/*
 * Code that fails takes the rows beside the bad one with it, and those that come before it is started again: the
 * attempt fails, so that the bad row is found.
 */
static myr_rc rows_check_code(batch_rows *rows, const myr_err *trouble, myr_err *err)
{
    myr_runtime_stats stats;
    if (rows->is_lenient || rows->runtime == NULL || trouble->rc != MYR_UNAVAILABLE) return MYR_OK;
    myr_runtime_get_stats(rows->runtime, &stats);
    if (stats.code_failures == rows->code_failures) return MYR_OK; /* it is not here at all */
    rows->has_code_failed = true;
    return myr_err_set(err, MYR_UNAVAILABLE, trouble->file, trouble->line, "%s", trouble->message);
}

/* The columns of kind k, which begin at `first`. A row that one kind can't answer is answered by none. */
static myr_rc rows_score_kind(rows_thread *thread, const myr_table_chunk *chunk, uint32_t k, uint32_t first,
                              myr_err *err)
{
    const batch_plan *plan = thread->rows->plan;
    myr_score_rows in = {.row_count = chunk->row_count,
                         .keys = chunk->inputs,
                         .features = chunk->inputs + plan->key_count,
                         .fixed_model = MYR_PACK_NONE,
                         .output = plan->kinds[k]};
    myr_score_out out = {.values = chunk->f64 + first, /* numbers are the first outputs */
                         .model_idxs = thread->model_idxs,
                         .levels = thread->levels,
                         .statuses = k == 0 ? thread->statuses : thread->more_statuses};
    MYR_TRY(myr_score(thread->rows->fleet->scorer, thread->scratch, &in, &out, err));
    MYR_TRY(rows_check_code(thread->rows, myr_score_trouble(thread->scratch), err));
    rows_note_trouble(thread->rows, myr_score_trouble(thread->scratch));
    for (int64_t r = 0; k > 0 && r < chunk->row_count; r++) {
        if (thread->statuses[r] == MYR_ROW_OK) thread->statuses[r] = thread->more_statuses[r];
    }
    return MYR_OK;
}

myr_rc myr_batch_rows_score(void *ctx, void *thread_state, const myr_table_chunk *chunk, myr_err *err)
{
    batch_rows *rows = ctx;
    rows_thread *thread = thread_state;
    MYR_ASSERT(thread->rows == rows);
    MYR_TRY(rows_room(thread, chunk->row_count, err));
    int level_at = rows->plan->detail_at[MYR_BATCH_LEVEL], status_at = rows->plan->detail_at[MYR_BATCH_STATUS];
    thread->levels = level_at >= 0 ? chunk->codes[level_at] : thread->own_levels;
    thread->statuses = status_at >= 0 ? chunk->codes[status_at] : thread->own_statuses;
    uint32_t first = 0;
    if (rows->item_idx >= 0) {
        rows->dead.from_file = &chunk->inputs[rows->item_idx];
    } else if (rows->is_grouped) {
        rows->dead.from_file = &chunk->inputs[rows->plan->want_count];
        rows->dead.from_row = &chunk->inputs[rows->plan->want_count + 1];
    }
    for (uint32_t k = 0; k < rows->plan->kind_count; k++) {
        MYR_TRY(rows_score_kind(thread, chunk, k, first, err));
        first += rows->plan->kind_widths[k];
    }
    MYR_TRY(rows_describe(thread, chunk, err));
    if (rows->baselines != NULL) rows_compare(thread, chunk);
    rows_progress(rows, chunk->row_count);
    return MYR_OK;
}
