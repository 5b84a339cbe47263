/*
 * Scoring through the C ABI. A matrix is scored where it lies, whatever its strides; columns of an Arrow batch are read
 * in place if they are doubles and converted a chunk at a time if not. Everything goes through myr_score, the path of
 * batch and serving.
 */
#include <math.h>
#include <string.h>

#include "api/internal.h"

#define API_CHUNK_BYTES ((size_t)4 << 20) /* converted cells of a chunk: bounds the memory of a call */
#define API_CHUNK_ROWS  65536             /* more would not be grouped together anyway */

_Static_assert(MYR_MODELS_BY_KEY == MYR_PACK_NONE, "the same number says: choose by key");
_Static_assert((int)MYR_MODELS_VALUE == (int)MYR_OUTPUT_VALUE && (int)MYR_MODELS_MARGIN == (int)MYR_OUTPUT_MARGIN &&
                   (int)MYR_MODELS_PROBABILITY == (int)MYR_OUTPUT_PROBABILITY &&
                   (int)MYR_MODELS_LEAF == (int)MYR_OUTPUT_LEAF &&
                   (int)MYR_MODELS_CONTRIBUTION == (int)MYR_OUTPUT_CONTRIBUTION,
               "outputs have the same numbers");

/* One call. Arrays are in the arena of its work. */
typedef struct api_call {
    const myr_models *models;
    const myr_models_rows *rows;
    const myr_models_out *out;
    int64_t matrix_row_stride, matrix_column_stride;
    int64_t out_row_stride, out_column_stride;
    size_t width;
    api_work *work;
    api_batch *batch;  /* NULL: no Arrow */
    myr_col *features; /* pointed at each chunk in turn */
    myr_col *keys;
    double **values;
} api_call;

static myr_rc score_no_memory(myr_err *err)
{
    MYR_FAIL(err, NO_MEMORY, "no memory to score rows");
}

/* ---- what is asked ---- */

static myr_rc score_check_matrix(const myr_pack_info *info, const myr_models_rows *rows, myr_err *err)
{
    if (rows->column_stride != 0) {
        if (rows->row_stride != 0 || rows->row_count <= 1) return MYR_OK;
        MYR_FAIL(err, BAD_INPUT, "row_stride is 0 beside a column_stride of %lld: all rows would be the same",
                 (long long)rows->column_stride);
    }
    if (rows->row_stride < 0 || (rows->row_stride > 0 && rows->row_stride < (int64_t)info->feature_count)) {
        MYR_FAIL(err, BAD_INPUT, "row_stride is %lld, there are %u features", (long long)rows->row_stride,
                 info->feature_count);
    }
    return MYR_OK;
}

static myr_rc score_check_batch(const myr_models_rows *rows, myr_err *err)
{
    if (rows->batch == NULL && rows->schema == NULL) return MYR_OK;
    if (rows->batch == NULL || rows->schema == NULL) MYR_FAIL(err, BAD_INPUT, "schema and batch are needed together");
    if (rows->row_count != rows->batch->length) {
        MYR_FAIL(err, BAD_INPUT, "row_count is %lld, the batch has %lld rows", (long long)rows->row_count,
                 (long long)rows->batch->length);
    }
    return MYR_OK;
}

static myr_rc score_check(const myr_models *models, const myr_models_rows *rows, myr_err *err)
{
    const myr_pack_info *info = &models->info;
    bool with_batch = rows->batch != NULL;
    if (rows->row_count < 0) MYR_FAIL(err, BAD_INPUT, "row_count is %lld", (long long)rows->row_count);
    MYR_TRY(score_check_batch(rows, err));
    if (rows->row_count == 0) return MYR_OK;
    if (rows->features != NULL) {
        MYR_TRY(score_check_matrix(info, rows, err));
    } else if (!with_batch && info->feature_count > 0) {
        MYR_FAIL(err, BAD_INPUT, "features is NULL, and there is no batch");
    }
    if (rows->model_idx == MYR_MODELS_BY_KEY) {
        if (rows->key_texts == NULL && !with_batch && info->keys.column_count > 0) {
            MYR_FAIL(err, BAD_INPUT, "key_texts is NULL, and there is no batch");
        }
    }
    return MYR_OK;
}

myr_rc myr_api_rows_get(const myr_models *models, const myr_models_rows *rows, myr_models_rows *out, myr_err *err)
{
    if (models == NULL || rows == NULL) MYR_FAIL(err, BAD_INPUT, "models and rows are needed");
    size_t least = offsetof(myr_models_rows, column_stride);
    MYR_TRY(myr_api_check_struct(rows->struct_size, least, "myr_models_rows", err));
    *out = (myr_models_rows){0};
    memcpy(out, rows, rows->struct_size < sizeof *out ? rows->struct_size : sizeof *out);
    if (out->row_count == 0 && out->batch != NULL) out->row_count = out->batch->length;
    return MYR_OK;
}

myr_rc myr_api_width(const myr_models *models, uint32_t model_idx, int32_t output, size_t *out_width, myr_err *err)
{
    if (output < 0 || output >= MYR_OUTPUT_COUNT) MYR_FAIL(err, BAD_INPUT, "there is no output %d", output);
    if (model_idx != MYR_MODELS_BY_KEY && model_idx >= models->info.model_count) {
        MYR_FAIL(err, BAD_INPUT, "there is no model %u, there are %u", model_idx, models->info.model_count);
    }
    return myr_scorer_check_output(models->scorer, model_idx, (myr_output)output, out_width, err);
}

size_t myr_models_width(const myr_models *models, uint32_t model_idx, int32_t output)
{
    size_t width = 0;
    if (models == NULL) return 0;
    return myr_api_width(models, model_idx, output, &width, NULL) == MYR_OK ? width : 0;
}

/* ---- a chunk of rows ---- */

static myr_rc score_put_features(const api_call *call, int64_t first, size_t count, myr_err *err)
{
    const myr_models_rows *rows = call->rows;
    if (rows->features == NULL) {
        if (call->batch == NULL) return MYR_OK; /* no features at all */
        return myr_api_batch_features(call->batch, first, count, call->work->chunk_arena, call->features, err);
    }
    const double *cells = rows->features + first * call->matrix_row_stride;
    for (uint32_t j = 0; j < call->models->info.feature_count; j++, cells += call->matrix_column_stride) {
        call->features[j] =
            (myr_col){.name = call->models->info.features[j], .type = MYR_COL_DOUBLE, .data.f64 = cells};
    }
    return MYR_OK;
}

static myr_rc score_put_keys(const api_call *call, int64_t first, size_t count, myr_err *err)
{
    const myr_key_schema *schema = &call->models->info.keys;
    if (call->rows->model_idx != MYR_MODELS_BY_KEY || schema->column_count == 0) return MYR_OK;
    if (call->rows->key_texts == NULL) {
        return myr_api_batch_keys(call->batch, first, count, call->work->chunk_arena, call->keys, err);
    }
    for (uint32_t k = 0; k < schema->column_count; k++) {
        myr_str *cells = myr_arena_calloc(call->work->chunk_arena, count, sizeof *cells);
        uint8_t *valid = myr_arena_calloc(call->work->chunk_arena, count, sizeof *valid);
        if (cells == NULL || valid == NULL) return score_no_memory(err);
        const char *const *from = call->rows->key_texts + (size_t)first * schema->column_count + k;
        for (size_t i = 0; i < count; i++, from += schema->column_count) {
            cells[i] = myr_str_of(*from);
            valid[i] = *from != NULL;
        }
        call->keys[k] =
            (myr_col){.name = schema->columns[k].name, .type = MYR_COL_TEXT, .valid = valid, .data.text = cells};
    }
    return MYR_OK;
}

/* A column of answers without gaps is written in place. */
static bool score_is_in_place(const api_call *call)
{
    return call->out_row_stride == 1;
}

static myr_rc score_put_values(const api_call *call, int64_t first, size_t count, myr_err *err)
{
    for (size_t k = 0; k < call->width; k++) {
        if (score_is_in_place(call)) {
            call->values[k] = call->out->values + first + (int64_t)k * call->out_column_stride;
            continue;
        }
        call->values[k] = myr_arena_alloc(call->work->chunk_arena, count * sizeof **call->values);
        if (call->values[k] == NULL) return score_no_memory(err);
    }
    return MYR_OK;
}

static void score_spread_values(const api_call *call, int64_t first, size_t count)
{
    if (score_is_in_place(call)) return;
    for (size_t k = 0; k < call->width; k++) {
        double *to = call->out->values + first * call->out_row_stride + (int64_t)k * call->out_column_stride;
        for (size_t i = 0; i < count; i++, to += call->out_row_stride)
            *to = call->values[k][i];
    }
}

static myr_rc score_chunk(const api_call *call, int64_t first, size_t count, myr_err *err)
{
    const myr_models_out *to = call->out;
    myr_arena_reset(call->work->chunk_arena);
    MYR_TRY(score_put_features(call, first, count, err));
    MYR_TRY(score_put_keys(call, first, count, err));
    MYR_TRY(score_put_values(call, first, count, err));
    myr_score_rows rows = {
        .row_count = (int64_t)count,
        .keys = call->keys,
        .features = call->features,
        .fixed_model = call->rows->model_idx,
        .output = (myr_output)call->rows->output,
        .feature_stride = call->rows->features != NULL && call->rows->row_count > 1 ? call->matrix_row_stride : 1,
    };
    myr_score_out out = {
        .values = call->values,
        .model_idxs = to->model_idxs == NULL ? NULL : to->model_idxs + first,
        .levels = to->levels == NULL ? NULL : to->levels + first,
        .statuses = to->statuses == NULL ? NULL : to->statuses + first,
    };
    MYR_TRY(myr_score(call->models->scorer, call->work->scratch, &rows, &out, err));
    score_spread_values(call, first, count);
    return MYR_OK;
}

/* How many rows go at once: all of them if nothing is converted. */
static int64_t score_chunk_rows(const api_call *call)
{
    size_t row_bytes = call->batch == NULL ? 0 : myr_api_batch_row_bytes(call->batch);
    if (call->rows->key_texts != NULL) row_bytes += call->models->info.keys.column_count * (sizeof(myr_str) + 1);
    if (!score_is_in_place(call)) row_bytes += call->width * sizeof(double);
    if (row_bytes == 0) return call->rows->row_count;
    size_t rows = API_CHUNK_BYTES / row_bytes;
    if (rows == 0) return 1;
    return rows < API_CHUNK_ROWS ? (int64_t)rows : API_CHUNK_ROWS;
}

/* ---- the call ---- */

static myr_rc score_open_batch(api_call *call, myr_err *err)
{
    const myr_models_rows *rows = call->rows;
    const myr_key_schema *schema = &call->models->info.keys;
    if (rows->batch == NULL) return MYR_OK;
    const char *names[MYR_PARTITION_COLUMNS_MAX + 1] = {NULL};
    for (uint32_t k = 0; k < schema->column_count; k++)
        names[k] = rows->key_columns != NULL ? rows->key_columns[k] : schema->columns[k].name;
    bool with_keys = rows->model_idx == MYR_MODELS_BY_KEY && rows->key_texts == NULL;
    return myr_api_batch_open(rows, &call->models->info, rows->features == NULL, with_keys ? names : NULL,
                              call->work->arena, &call->batch, err);
}

static myr_rc score_make(api_call *call, myr_err *err)
{
    const myr_pack_info *info = &call->models->info;
    myr_arena *arena = call->work->arena;
    call->features = myr_arena_calloc(arena, info->feature_count + 1, sizeof *call->features);
    call->keys = myr_arena_calloc(arena, info->keys.column_count + 1, sizeof *call->keys);
    call->values = myr_arena_calloc(arena, call->width, sizeof *call->values);
    if (call->features == NULL || call->keys == NULL || call->values == NULL) return score_no_memory(err);
    return score_open_batch(call, err);
}

static myr_rc score_run(api_call *call, myr_err *err)
{
    MYR_TRY(score_make(call, err));
    int64_t chunk_rows = score_chunk_rows(call);
    /* The first chunk is the largest: if its memory was there, no later one fails half-way through the caller's arrays.
     */
    for (int64_t first = 0; first < call->rows->row_count; first += chunk_rows) {
        int64_t left = call->rows->row_count - first;
        MYR_TRY(score_chunk(call, first, (size_t)(left < chunk_rows ? left : chunk_rows), err));
    }
    return MYR_OK;
}

myr_rc myr_api_score(const myr_models *models, const myr_models_rows *rows, const myr_models_out *out, myr_err *err)
{
    size_t width = 0;
    MYR_TRY(score_check(models, rows, err));
    if (rows->row_count == 0) return MYR_OK;
    MYR_TRY(myr_api_width(models, rows->model_idx, rows->output, &width, err));
    if (out->values == NULL) MYR_FAIL(err, BAD_INPUT, "out_values is NULL");
    bool is_plain = rows->column_stride == 0;
    api_call call = {
        .models = models,
        .rows = rows,
        .out = out,
        .matrix_row_stride = is_plain && rows->row_stride == 0 ? (int64_t)models->info.feature_count : rows->row_stride,
        .matrix_column_stride = is_plain ? 1 : rows->column_stride,
        .out_row_stride = out->row_stride == 0 ? (int64_t)width : out->row_stride,
        .out_column_stride = out->column_stride == 0 ? 1 : out->column_stride,
        .width = width,
        .work = myr_api_work_take(models->pool),
    };
    if (call.work == NULL) return score_no_memory(err);
    myr_rc rc = score_run(&call, err);
    myr_api_work_give(models->pool, call.work);
    return rc;
}

int32_t myr_models_score(const myr_models *models, const myr_models_rows *rows, double *out_values, uint8_t *out_levels,
                         uint8_t *out_statuses, myr_err *err)
{
    myr_models_rows all;
    MYR_TRY(myr_api_rows_get(models, rows, &all, err));
    myr_models_out out = {
        .struct_size = sizeof out, .values = out_values, .levels = out_levels, .statuses = out_statuses};
    return myr_api_score(models, &all, &out, err);
}

int32_t myr_models_score_into(const myr_models *models, const myr_models_rows *rows, const myr_models_out *out,
                              myr_err *err)
{
    myr_models_rows all;
    MYR_TRY(myr_api_rows_get(models, rows, &all, err));
    if (out == NULL) MYR_FAIL(err, BAD_INPUT, "out is needed");
    MYR_TRY(myr_api_check_struct(out->struct_size, sizeof *out, "myr_models_out", err));
    return myr_api_score(models, &all, out, err);
}
