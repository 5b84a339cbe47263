/*
 * Scoring through the C ABI: rows come row-major, as Python, Spark and C callers have them; they are turned into
 * columns a chunk at a time and go through myr_score, the path of everything else.
 */
#include <math.h>
#include <string.h>

#include "api/internal.h"

#define API_CHUNK_BYTES ((size_t)4 << 20) /* columns of a chunk: bounds the memory of a call */
#define API_CHUNK_ROWS  65536             /* more would not be grouped together anyway */

_Static_assert(MYR_MODELS_BY_KEY == MYR_PACK_NONE, "the same number says: choose by key");

/* One call. */
typedef struct api_call {
    const myr_models *models;
    const myr_models_rows *rows;
    size_t stride;
    double *out_values;
    uint8_t *out_levels;
    uint8_t *out_statuses;
    api_work *work;
} api_call;

/* ---- what is asked ---- */

static myr_rc score_check(const myr_models *models, const myr_models_rows *rows, const double *out_values, myr_err *err)
{
    const myr_pack_info *info = &models->info;
    if (rows->row_count < 0) MYR_FAIL(err, BAD_INPUT, "row_count is %lld", (long long)rows->row_count);
    if (rows->row_count == 0) return MYR_OK;
    if (out_values == NULL) MYR_FAIL(err, BAD_INPUT, "out_values is NULL");
    if (rows->features == NULL && info->feature_count > 0) MYR_FAIL(err, BAD_INPUT, "features is NULL");
    if (rows->row_stride < 0 || (rows->row_stride > 0 && rows->row_stride < (int64_t)info->feature_count)) {
        MYR_FAIL(err, BAD_INPUT, "row_stride is %lld, there are %u features", (long long)rows->row_stride,
                 info->feature_count);
    }
    if (rows->model_idx == MYR_MODELS_BY_KEY) {
        if (rows->key_texts == NULL && info->keys.column_count > 0) MYR_FAIL(err, BAD_INPUT, "key_texts is NULL");
    } else if (rows->model_idx >= info->model_count) {
        MYR_FAIL(err, BAD_INPUT, "there is no model %u, there are %u", rows->model_idx, info->model_count);
    }
    return MYR_OK;
}

/* ---- one model file ---- */

static void score_single(const api_call *call)
{
    size_t row_count = (size_t)call->rows->row_count;
    myr_model_predict(call->models->model, call->rows->features, call->stride, row_count, call->out_values);
    if (call->out_levels != NULL) memset(call->out_levels, MYR_LEVEL_GLOBAL, row_count);
    if (call->out_statuses != NULL) memset(call->out_statuses, MYR_ROW_OK, row_count);
}

/* ---- a pack ---- */

static myr_rc score_no_memory(myr_err *err)
{
    MYR_FAIL(err, NO_MEMORY, "no memory to score rows");
}

static myr_rc score_make_features(const api_call *call, int64_t first, size_t count, myr_col **out, myr_err *err)
{
    const myr_pack_info *info = &call->models->info;
    myr_col *cols = myr_arena_calloc(call->work->arena, info->feature_count, sizeof *cols);
    if (cols == NULL) return score_no_memory(err);
    for (uint32_t j = 0; j < info->feature_count; j++) {
        double *cells = myr_arena_alloc(call->work->arena, count * sizeof *cells);
        if (cells == NULL) return score_no_memory(err);
        const double *from = call->rows->features + (size_t)first * call->stride + j;
        for (size_t i = 0; i < count; i++, from += call->stride)
            cells[i] = *from;
        cols[j] = (myr_col){.name = info->features[j], .type = MYR_COL_DOUBLE, .data.f64 = cells};
    }
    *out = cols;
    return MYR_OK;
}

static myr_rc score_make_keys(const api_call *call, int64_t first, size_t count, myr_col **out, myr_err *err)
{
    const myr_key_schema *schema = &call->models->info.keys;
    myr_col *cols = myr_arena_calloc(call->work->arena, schema->column_count, sizeof *cols);
    if (cols == NULL) return score_no_memory(err);
    for (uint32_t k = 0; k < schema->column_count; k++) {
        myr_str *cells = myr_arena_calloc(call->work->arena, count, sizeof *cells);
        uint8_t *valid = myr_arena_calloc(call->work->arena, count, sizeof *valid);
        if (cells == NULL || valid == NULL) return score_no_memory(err);
        const char *const *from = call->rows->key_texts + (size_t)first * schema->column_count + k;
        for (size_t i = 0; i < count; i++, from += schema->column_count) {
            cells[i] = myr_str_of(*from);
            valid[i] = *from != NULL;
        }
        cols[k] = (myr_col){.name = schema->columns[k].name, .type = MYR_COL_TEXT, .valid = valid, .data.text = cells};
    }
    *out = cols;
    return MYR_OK;
}

static myr_rc score_make_values(const api_call *call, size_t count, double ***out, myr_err *err)
{
    uint32_t output_count = call->models->info.output_count;
    double **values = myr_arena_calloc(call->work->arena, output_count, sizeof *values);
    for (uint32_t k = 0; values != NULL && k < output_count; k++) {
        values[k] = myr_arena_alloc(call->work->arena, count * sizeof **values);
        if (values[k] == NULL) return score_no_memory(err);
    }
    if (values == NULL) return score_no_memory(err);
    *out = values;
    return MYR_OK;
}

static myr_rc score_chunk(const api_call *call, int64_t first, size_t count, myr_err *err)
{
    uint32_t output_count = call->models->info.output_count;
    myr_col *features = NULL;
    myr_col *keys = NULL;
    double **values = NULL;
    myr_arena_reset(call->work->arena);
    MYR_TRY(score_make_features(call, first, count, &features, err));
    if (call->rows->model_idx == MYR_MODELS_BY_KEY) MYR_TRY(score_make_keys(call, first, count, &keys, err));
    MYR_TRY(score_make_values(call, count, &values, err));
    myr_score_rows rows = {
        .row_count = (int64_t)count, .keys = keys, .features = features, .fixed_model = call->rows->model_idx};
    myr_score_out out = {
        .values = values,
        .levels = call->out_levels == NULL ? NULL : call->out_levels + first,
        .statuses = call->out_statuses == NULL ? NULL : call->out_statuses + first,
    };
    MYR_TRY(myr_score(call->models->scorer, call->work->scratch, &rows, &out, err));
    for (uint32_t k = 0; k < output_count; k++) {
        double *to = call->out_values + (size_t)first * output_count + k;
        for (size_t i = 0; i < count; i++, to += output_count)
            *to = values[k][i];
    }
    return MYR_OK;
}

static size_t score_chunk_rows(const myr_pack_info *info)
{
    size_t row_bytes = ((size_t)info->feature_count + info->output_count) * sizeof(double) +
                       info->keys.column_count * (sizeof(myr_str) + 1);
    size_t rows = API_CHUNK_BYTES / (row_bytes + 1);
    if (rows == 0) return 1;
    return rows < API_CHUNK_ROWS ? rows : API_CHUNK_ROWS;
}

static myr_rc score_pack(api_call *call, myr_err *err)
{
    size_t chunk_rows = score_chunk_rows(&call->models->info);
    call->work = myr_api_work_take(call->models->pool);
    if (call->work == NULL) return score_no_memory(err);
    myr_rc rc = MYR_OK;
    /* The first chunk is the largest: if its memory was there, no later one fails half-way through the caller's arrays.
     */
    for (int64_t first = 0; rc == MYR_OK && first < call->rows->row_count; first += (int64_t)chunk_rows) {
        size_t left = (size_t)(call->rows->row_count - first);
        rc = score_chunk(call, first, left < chunk_rows ? left : chunk_rows, err);
    }
    myr_api_work_give(call->models->pool, call->work);
    return rc;
}

int32_t myr_models_score(const myr_models *models, const myr_models_rows *rows, double *out_values, uint8_t *out_levels,
                         uint8_t *out_statuses, myr_err *err)
{
    if (models == NULL || rows == NULL) MYR_FAIL(err, BAD_INPUT, "models and rows are needed");
    MYR_TRY(myr_api_check_struct(rows->struct_size, sizeof(myr_models_rows), "myr_models_rows", err));
    MYR_TRY(score_check(models, rows, out_values, err));
    if (rows->row_count == 0) return MYR_OK;
    api_call call = {
        .models = models,
        .rows = rows,
        .stride = rows->row_stride > 0 ? (size_t)rows->row_stride : models->info.feature_count,
        .out_values = out_values,
        .out_levels = out_levels,
        .out_statuses = out_statuses,
    };
    if (models->pack != NULL) return score_pack(&call, err);
    score_single(&call);
    return MYR_OK;
}
