/*
 * The tensors of a V2 infer request become columns: one input per partition column and feature, of shape [n] or [n,1],
 * or all features at once as the input `features` of shape [n, feature_count]. Everything a client can get wrong is an
 * error that names the input, the row and the value. Rules for numbers: docs/rest.md.
 */
#include <math.h>
#include <string.h>

#include "serve/infer_inside.h"

static const infer_datatype infer_datatypes[] = {
    {"FP64", INFER_DOUBLE, 8, 0, 0},
    {"FP32", INFER_FLOAT, 4, 0, 0},
    {"INT64", INFER_INT, 8, INT64_MIN, INT64_MAX},
    {"BYTES", INFER_TEXT, 0, 0, 0},
    {"BOOL", INFER_BOOL, 1, 0, 0},
    {"INT32", INFER_INT, 4, INT32_MIN, INT32_MAX},
    {"INT16", INFER_INT, 2, INT16_MIN, INT16_MAX},
    {"INT8", INFER_INT, 1, INT8_MIN, INT8_MAX},
    {"UINT64", INFER_UINT, 8, 0, UINT64_MAX},
    {"UINT32", INFER_UINT, 4, 0, UINT32_MAX},
    {"UINT16", INFER_UINT, 2, 0, UINT16_MAX},
    {"UINT8", INFER_UINT, 1, 0, UINT8_MAX},
};

const infer_datatype *myr_serve_datatype_find(myr_str name)
{
    for (size_t i = 0; i < MYR_COUNT_OF(infer_datatypes); i++) {
        if (myr_str_is(name, infer_datatypes[i].name)) return &infer_datatypes[i];
    }
    return NULL;
}

/* ---- walking its values ---- */

/* The values of a tensor in row-major order, flat or nested alike. */
typedef struct infer_cursor {
    yyjson_val *cells; /* NULL: … */
    yyjson_arr_iter outer, inner;
    bool is_nested;
} infer_cursor;

static yyjson_val *cursor_next(infer_cursor *cursor)
{
    if (cursor->cells != NULL) return cursor->cells++;
    if (!cursor->is_nested) return yyjson_arr_iter_next(&cursor->outer);
    while (!yyjson_arr_iter_has_next(&cursor->inner)) {
        yyjson_val *row = yyjson_arr_iter_next(&cursor->outer);
        if (row == NULL) return NULL;
        yyjson_arr_iter_init(row, &cursor->inner);
    }
    return yyjson_arr_iter_next(&cursor->inner);
}

/* Check that data has as many values as shape says, flat or nested in all rows. The dimensions are checked already. */
static myr_rc tensor_open(const infer_tensor *tensor, size_t width, infer_cursor *out, myr_err *err)
{
    size_t rows = (size_t)tensor->dims[0], size = yyjson_arr_size(tensor->data), idx, max;
    MYR_ASSERT(rows <= SERVE_ROWS_MAX && width <= MYR_FEATURES_MAX); /* their product can't overflow */
    yyjson_val *row;
    *out = (infer_cursor){.cells = tensor->cells}; /* as many as the shape says, which has this width */
    if (out->cells != NULL) return MYR_OK;
    out->is_nested = yyjson_is_arr(yyjson_arr_get_first(tensor->data));
    if (out->is_nested && tensor->dim_count < 2) {
        MYR_FAIL(err, BAD_INPUT, "input '%s': data is nested, shape has one dimension", tensor->name);
    }
    size_t wanted = out->is_nested ? rows : rows * width;
    if (size != wanted) {
        MYR_FAIL(err, BAD_INPUT, "input '%s': data has %zu %s, its shape says %zu", tensor->name, size,
                 out->is_nested ? "rows" : "values", wanted);
    }
    if (out->is_nested) {
        yyjson_arr_foreach(tensor->data, idx, max, row)
        {
            if (!yyjson_is_arr(row) || yyjson_arr_size(row) != width) {
                MYR_FAIL(err, BAD_INPUT, "input '%s': row %zu of data is not an array of %zu values", tensor->name, idx,
                         width);
            }
        }
    }
    yyjson_arr_iter_init(tensor->data, &out->outer);
    return MYR_OK;
}

/* ---- values ---- */

static myr_rc value_fail(const infer_tensor *tensor, size_t row, yyjson_val *val, myr_err *err)
{
    if (yyjson_is_num(val)) {
        char text[MYR_DOUBLE_TEXT_BYTES];
        size_t size = myr_format_double(yyjson_get_num(val), text);
        MYR_FAIL(err, BAD_INPUT, "input '%s', row %zu: %.*s is not a value of %s", tensor->name, row, (int)size, text,
                 tensor->type->name);
    }
    MYR_FAIL(err, BAD_INPUT, "input '%s', row %zu: %s is not a value of %s", tensor->name, row,
             myr_serve_json_kind(val), tensor->type->name);
}

static bool value_is_int(const infer_datatype *type, yyjson_val *val)
{
    if (yyjson_is_uint(val)) return yyjson_get_uint(val) <= type->max;
    return yyjson_is_sint(val) && yyjson_get_sint(val) >= type->min;
}

/* A feature: what the datatype allows, as a double; null is missing. False: not of the datatype. */
static bool value_to_double(const infer_datatype *type, yyjson_val *val, double *out)
{
    if (yyjson_is_null(val)) {
        *out = (double)NAN;
        return true;
    }
    switch (type->kind) {
    case INFER_BOOL:
        *out = yyjson_is_true(val) ? 1.0 : 0.0;
        return yyjson_is_bool(val);
    case INFER_INT:
    case INFER_UINT:
        *out = yyjson_get_num(val); /* beyond 2^53 the nearest double */
        return yyjson_is_int(val) && value_is_int(type, val);
    case INFER_FLOAT:
        *out = (double)(float)yyjson_get_num(val);
        return yyjson_is_num(val) && isfinite(*out); /* 1e39 is no FP32 */
    case INFER_DOUBLE:
        *out = yyjson_get_num(val);
        return yyjson_is_num(val);
    case INFER_TEXT:
        break;
    }
    return false;
}

/* ---- filling columns ---- */

static myr_rc build_rows(infer_build *build, const infer_tensor *tensor, myr_err *err)
{
    if (tensor->dims[0] > SERVE_ROWS_MAX) {
        MYR_FAIL(err, TOO_LARGE, "input '%s' has %llu rows, the most in one request is %d", tensor->name,
                 (unsigned long long)tensor->dims[0], SERVE_ROWS_MAX);
    }
    if (build->row_count < 0) {
        build->row_count = (int64_t)tensor->dims[0];
        build->first_name = tensor->name;
    }
    if ((uint64_t)build->row_count == tensor->dims[0]) return MYR_OK;
    MYR_FAIL(err, BAD_INPUT, "input '%s' has %llu rows, '%s' has %lld", tensor->name,
             (unsigned long long)tensor->dims[0], build->first_name, (long long)build->row_count);
}

myr_rc myr_serve_infer_memory(infer_build *build, size_t count, size_t width, void **out, myr_err *err)
{
    *out = myr_arena_calloc(build->work->arena, count > 0 ? count : 1, width);
    if (*out == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for %zu values", count);
    return MYR_OK;
}

/* A value as the name of a category (or of a segment): a text as it is, a whole number as its digits, a truth value. */
static bool value_to_text(infer_build *build, const infer_datatype *type, yyjson_val *val, myr_str *out)
{
    if (type->kind == INFER_TEXT) {
        *out = myr_str_make(yyjson_get_str(val), yyjson_get_len(val));
        return yyjson_is_str(val);
    }
    if (type->kind == INFER_BOOL) {
        *out = myr_str_of(yyjson_is_true(val) ? "true" : "false");
        return yyjson_is_bool(val);
    }
    if (!yyjson_is_int(val) || !value_is_int(type, val)) return false;
    const char *text = yyjson_is_uint(val)
                           ? myr_arena_printf(build->work->arena, "%llu", (unsigned long long)yyjson_get_uint(val))
                           : myr_arena_printf(build->work->arena, "%lld", (long long)yyjson_get_sint(val));
    *out = myr_str_of(text); /* NULL: no memory, which the caller asks the arena for */
    return true;
}

static myr_rc build_cells(infer_build *build, const infer_tensor *tensor, infer_cursor *cursor, myr_col *col,
                          myr_err *err)
{
    void *memory, *marks;
    MYR_TRY(myr_serve_infer_memory(build, (size_t)build->row_count, sizeof(myr_str), &memory, err));
    MYR_TRY(myr_serve_infer_memory(build, (size_t)build->row_count, 1, &marks, err));
    myr_str *values = memory;
    uint8_t *valid = marks;
    for (size_t row = 0; row < (size_t)build->row_count; row++) {
        yyjson_val *val = cursor_next(cursor);
        valid[row] = !yyjson_is_null(val);
        if (valid[row] == 0) continue;
        if (!value_to_text(build, tensor->type, val, &values[row])) return value_fail(tensor, row, val, err);
        if (values[row].data == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for %zu values", row);
    }
    col->type = MYR_COL_TEXT;
    col->valid = valid;
    col->data.text = values;
    return MYR_OK;
}

/*
 * A feature that some model reads by name. FP64 and FP32 are codes, as they are in the matrix; whole numbers, truth
 * values and texts are names, as they are in rows.
 */
static bool build_is_named(const infer_build *build, const infer_tensor *tensor, uint32_t feature_idx)
{
    infer_class kind = tensor->type->kind;
    return myr_pack_takes_text(build->info, feature_idx) && kind != INFER_DOUBLE && kind != INFER_FLOAT;
}

static myr_rc build_binary_feature(infer_build *build, const infer_tensor *tensor, uint32_t feature_idx, bool is_named,
                                   myr_err *err)
{
    myr_col col = {.name = build->info->features[feature_idx], .type = MYR_COL_DOUBLE};
    if (is_named) {
        MYR_TRY(myr_serve_binary_cells(build, tensor, &col, err));
    } else {
        MYR_TRY(myr_serve_binary_doubles(build, tensor, (size_t)build->row_count, &col.data.f64, err));
    }
    build->features[feature_idx] = col;
    return MYR_OK;
}

static myr_rc build_feature(infer_build *build, const infer_tensor *tensor, uint32_t feature_idx, myr_err *err)
{
    infer_cursor cursor;
    void *memory;
    bool is_named = build_is_named(build, tensor, feature_idx);
    if (tensor->type->kind == INFER_TEXT && !is_named) {
        MYR_FAIL(err, BAD_INPUT, "input '%s' is a feature: BYTES is not a number, expected FP64", tensor->name);
    }
    if (infer_is_binary(tensor)) return build_binary_feature(build, tensor, feature_idx, is_named, err);
    MYR_TRY(tensor_open(tensor, 1, &cursor, err));
    if (is_named) {
        build->features[feature_idx].name = build->info->features[feature_idx];
        return build_cells(build, tensor, &cursor, &build->features[feature_idx], err);
    }
    MYR_TRY(myr_serve_infer_memory(build, (size_t)build->row_count, sizeof(double), &memory, err));
    double *values = memory;
    for (size_t row = 0; row < (size_t)build->row_count; row++) {
        yyjson_val *val = cursor_next(&cursor);
        if (!value_to_double(tensor->type, val, &values[row])) return value_fail(tensor, row, val, err);
    }
    build->features[feature_idx] =
        (myr_col){.name = build->info->features[feature_idx], .type = MYR_COL_DOUBLE, .data.f64 = values};
    return MYR_OK;
}

/* Column by column in *out. */
static myr_rc build_json_matrix(infer_build *build, const infer_tensor *tensor, const double **out, myr_err *err)
{
    size_t rows = (size_t)build->row_count, width = build->info->feature_count;
    infer_cursor cursor;
    void *memory;
    MYR_TRY(tensor_open(tensor, width, &cursor, err));
    MYR_TRY(myr_serve_infer_memory(build, rows * width, sizeof(double), &memory, err));
    double *values = memory;
    for (size_t row = 0; row < rows; row++) {
        for (size_t i = 0; i < width; i++) {
            yyjson_val *val = cursor_next(&cursor);
            if (!value_to_double(tensor->type, val, &values[i * rows + row])) return value_fail(tensor, row, val, err);
        }
    }
    *out = values;
    return MYR_OK;
}

/* All features at once, row by row: JSON is turned into columns, doubles that are there already stay as they lie. */
static myr_rc build_matrix(infer_build *build, const infer_tensor *tensor, myr_err *err)
{
    uint32_t width = build->info->feature_count;
    size_t rows = (size_t)build->row_count;
    const double *matrix = NULL;
    if (tensor->type->kind != INFER_DOUBLE && tensor->type->kind != INFER_FLOAT) {
        MYR_FAIL(err, BAD_INPUT, "input '%s' is %s, expected FP64 or FP32", tensor->name, tensor->type->name);
    }
    if (infer_is_binary(tensor)) {
        MYR_TRY(myr_serve_binary_doubles(build, tensor, rows * width, &matrix, err));
        build->feature_stride = width;
    } else {
        MYR_TRY(build_json_matrix(build, tensor, &matrix, err));
    }
    for (uint32_t i = 0; i < width; i++) {
        if (build->features[i].data.f64 != NULL) {
            MYR_FAIL(err, BAD_INPUT, "feature '%s' is given twice: alone and in '%s'", build->info->features[i],
                     tensor->name);
        }
        const double *column = matrix + (infer_is_binary(tensor) ? i : i * rows);
        build->features[i] = (myr_col){.name = build->info->features[i], .type = MYR_COL_DOUBLE, .data.f64 = column};
    }
    return MYR_OK;
}

static myr_rc build_key_ints(infer_build *build, const infer_tensor *tensor, infer_cursor *cursor, myr_col *col,
                             myr_err *err)
{
    void *memory, *marks;
    MYR_TRY(myr_serve_infer_memory(build, (size_t)build->row_count, sizeof(int64_t), &memory, err));
    MYR_TRY(myr_serve_infer_memory(build, (size_t)build->row_count, 1, &marks, err));
    int64_t *values = memory;
    uint8_t *valid = marks;
    for (size_t row = 0; row < (size_t)build->row_count; row++) {
        yyjson_val *val = cursor_next(cursor);
        valid[row] = !yyjson_is_null(val);
        if (valid[row] == 0) continue;
        if (!yyjson_is_int(val) || !value_is_int(tensor->type, val)) return value_fail(tensor, row, val, err);
        if (yyjson_is_uint(val) && yyjson_get_uint(val) > INT64_MAX) {
            MYR_FAIL(err, BAD_INPUT, "input '%s', row %zu: %llu is past the largest INT64, which keys are",
                     tensor->name, row, (unsigned long long)yyjson_get_uint(val));
        }
        values[row] = yyjson_is_uint(val) ? (int64_t)yyjson_get_uint(val) : yyjson_get_sint(val);
    }
    col->type = MYR_COL_INT64;
    col->valid = valid;
    col->data.i64 = values;
    return MYR_OK;
}

static myr_rc build_key(infer_build *build, const infer_tensor *tensor, uint32_t key_idx, myr_err *err)
{
    infer_cursor cursor;
    myr_col col = {.name = build->info->keys.columns[key_idx].name};
    bool is_int = tensor->type->kind == INFER_INT || tensor->type->kind == INFER_UINT;
    if (!is_int && tensor->type->kind != INFER_TEXT) {
        MYR_FAIL(err, BAD_INPUT,
                 "input '%s' is a partition column: %s is not accepted, expected BYTES or an integer type",
                 tensor->name, tensor->type->name);
    }
    if (!infer_is_binary(tensor)) MYR_TRY(tensor_open(tensor, 1, &cursor, err));
    if (infer_is_binary(tensor) && is_int) {
        MYR_TRY(myr_serve_binary_ints(build, tensor, &col, err));
    } else if (infer_is_binary(tensor)) {
        MYR_TRY(myr_serve_binary_cells(build, tensor, &col, err));
    } else if (is_int) {
        MYR_TRY(build_key_ints(build, tensor, &cursor, &col, err));
    } else {
        MYR_TRY(build_cells(build, tensor, &cursor, &col, err));
    }
    build->keys[key_idx] = col;
    return MYR_OK;
}

/* ---- all inputs ---- */

static myr_rc build_unknown(infer_build *build, const infer_tensor *tensor, myr_err *err)
{
    const char *nearest = myr_nearest(tensor->name, build->work->target.fleet->known);
    if (nearest != NULL) {
        MYR_FAIL(err, BAD_INPUT, "unknown input '%s', did you mean '%s'?", tensor->name, nearest);
    }
    MYR_FAIL(err, BAD_INPUT, "unknown input '%s': GET /v2/models/%s lists the inputs", tensor->name,
             build->work->target.fleet->fleet->name);
}

myr_rc myr_serve_build_add(infer_build *build, const infer_tensor *tensor, myr_err *err)
{
    uint64_t found = 0;
    bool by_key = build->work->target.model_idx == MYR_PACK_NONE;
    bool known = myr_map_find(build->work->target.fleet->inputs, myr_str_of(tensor->name), &found);
    bool is_matrix =
        strcmp(tensor->name, INFER_MATRIX_NAME) == 0 && (!known || (tensor->dim_count == 2 && tensor->dims[1] != 1));
    uint32_t key = serve_input_key(found), feature = serve_input_feature(found);
    if (!known && !is_matrix) return build_unknown(build, tensor, err);
    uint64_t width = is_matrix ? build->info->feature_count : 1;
    if (is_matrix ? tensor->dim_count != 2 || tensor->dims[1] != width
                  : tensor->dim_count == 2 && tensor->dims[1] != 1) {
        MYR_FAIL(err, BAD_INPUT, "input '%s': shape is [%llu%s%.0llu], expected [n,%llu]%s", tensor->name,
                 (unsigned long long)tensor->dims[0], tensor->dim_count == 2 ? "," : "",
                 (unsigned long long)(tensor->dim_count == 2 ? tensor->dims[1] : 0), (unsigned long long)width,
                 is_matrix ? "" : " or [n]");
    }
    MYR_TRY(build_rows(build, tensor, err));
    if (is_matrix) return build_matrix(build, tensor, err);
    if (key != 0 && feature == 0 && !by_key) {
        MYR_FAIL(err, BAD_INPUT,
                 "input '%s' is a partition column: the name of the model has chosen the segment already",
                 tensor->name);
    }
    bool twice = (key != 0 && build->keys[key - 1].name != NULL) ||
                 (feature != 0 && build->features[feature - 1].data.f64 != NULL);
    if (twice) MYR_FAIL(err, BAD_INPUT, "input '%s' is given twice", tensor->name);
    if (key != 0 && by_key) MYR_TRY(build_key(build, tensor, key - 1, err));
    if (feature != 0) MYR_TRY(build_feature(build, tensor, feature - 1, err));
    return MYR_OK;
}

/* A feature that the service fetches may be left out: all its cells are null. */
static myr_rc build_fetched(infer_build *build, uint32_t feature_idx, myr_err *err)
{
    void *memory;
    size_t row_count = build->row_count > 0 ? (size_t)build->row_count : 0;
    myr_col *col = &build->features[feature_idx];
    col->name = build->info->features[feature_idx];
    if (myr_pack_takes_text(build->info, feature_idx)) {
        MYR_TRY(myr_serve_infer_memory(build, row_count, sizeof(myr_str), &memory, err));
        col->type = MYR_COL_TEXT;
        col->data.text = memory;
        MYR_TRY(myr_serve_infer_memory(build, row_count, 1, &memory, err));
        col->valid = memory;
        return MYR_OK;
    }
    MYR_TRY(myr_serve_infer_memory(build, row_count, sizeof(double), &memory, err));
    double *cells = memory;
    for (size_t row = 0; row < row_count; row++)
        cells[row] = (double)NAN;
    col->type = MYR_COL_DOUBLE;
    col->data.f64 = cells;
    return MYR_OK;
}

static myr_rc build_fill(infer_build *build, myr_err *err)
{
    const serve_bound *bound = build->work->target.fleet->bound;
    for (uint32_t i = 0; bound != NULL && bound->plan->source_count > 0 && i < build->info->feature_count; i++) {
        if (build->features[i].data.f64 == NULL && bound->is_fetched[i] != 0) MYR_TRY(build_fetched(build, i, err));
    }
    return MYR_OK;
}

static myr_rc build_check_all(const infer_build *build, myr_err *err)
{
    const char *first = NULL;
    uint32_t missing = 0;
    if (build->work->target.model_idx == MYR_PACK_NONE) {
        for (uint32_t i = 0; i < build->info->keys.column_count; i++) {
            if (build->keys[i].name != NULL) continue;
            if (missing++ == 0) first = build->info->keys.columns[i].name;
        }
    }
    for (uint32_t i = 0; i < build->info->feature_count; i++) {
        if (build->features[i].data.f64 != NULL) continue;
        if (missing++ == 0) first = build->info->features[i];
    }
    if (missing == 0) return MYR_OK;
    if (missing == 1) MYR_FAIL(err, BAD_INPUT, "input '%s' is missing (null in data is a missing value)", first);
    MYR_FAIL(err, BAD_INPUT, "input '%s' and %u more are missing (null in data is a missing value)", first,
             missing - 1);
}

myr_rc myr_serve_build_begin(infer_build *build, serve_work *work, myr_err *err)
{
    void *memory;
    *build = (infer_build){.work = work, .info = work->target.fleet->fleet->info, .row_count = -1};
    MYR_TRY(myr_serve_infer_memory(build, build->info->keys.column_count, sizeof(myr_col), &memory, err));
    build->keys = memory;
    MYR_TRY(myr_serve_infer_memory(build, build->info->feature_count, sizeof(myr_col), &memory, err));
    build->features = memory;
    return MYR_OK;
}

myr_rc myr_serve_build_end(infer_build *build, myr_err *err)
{
    if (build->binary.size > 0) {
        MYR_FAIL(err, BAD_INPUT, "%zu bytes of binary data belong to no input: see binary_data_size",
                 build->binary.size);
    }
    MYR_TRY(build_fill(build, err));
    MYR_TRY(build_check_all(build, err));
    if (build->row_count < 0) MYR_FAIL(err, BAD_INPUT, "'inputs' is empty: nothing says how many rows there are");
    build->work->rows = (myr_score_rows){.row_count = build->row_count,
                                         .keys = build->keys,
                                         .features = build->features,
                                         .feature_stride = build->feature_stride,
                                         .fixed_model = build->work->target.model_idx};
    return MYR_OK;
}
