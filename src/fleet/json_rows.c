/*
 * Rows as JSON objects become columns, in the caller's arena alone. Features become doubles here, or texts if some
 * model of the fleet has names of categories for them. A key, and such a feature, becomes the text that its number
 * stands for (2, 2.0 and "2" are "2"), and the scorer does the rest like for the text of any table: what does not fit
 * is the status of its row, never an error of the request.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <yyjson.h>

#include "fleet/internal.h"

#define JSON_NUMBER_TEXT_BYTES MYR_DOUBLE_TEXT_BYTES /* also holds any 64-bit integer */

/* One call. Everything in it is in the arena. */
typedef struct json_decode {
    const myr_fleet *fleet;
    myr_arena *arena;
    size_t row_count;
    double **features;                             /* a column per feature that is a number, else NULL */
    myr_str **texts;                               /* a column per feature that is text, else NULL */
    uint8_t **text_valid;                          /* of those: 0 = null */
    myr_str *keys[MYR_PARTITION_COLUMNS_MAX];      /* a column per partition column */
    uint8_t *key_valid[MYR_PARTITION_COLUMNS_MAX]; /* 0 = null */
    uint32_t *feature_row;                         /* per feature: 1 + the last row that had it, to see a field twice */
    uint32_t key_row[MYR_PARTITION_COLUMNS_MAX];
} json_decode;

static myr_rc json_no_memory(const json_decode *decode, myr_err *err)
{
    if (myr_arena_is_full(decode->arena)) {
        MYR_FAIL(err, TOO_LARGE, "%zu rows of %u features do not fit the memory of a request: send fewer at once",
                 decode->row_count, decode->fleet->info->feature_count);
    }
    MYR_FAIL(err, NO_MEMORY, "no memory for %zu rows", decode->row_count);
}

/* ---- columns ---- */

/* A feature that some model reads by name: null until a row has it. */
static bool json_make_text(json_decode *decode, uint32_t feature_idx, myr_col *out)
{
    myr_str *cells = myr_arena_calloc(decode->arena, decode->row_count, sizeof *cells);
    uint8_t *valid = myr_arena_calloc(decode->arena, decode->row_count, 1);
    decode->texts[feature_idx] = cells;
    decode->text_valid[feature_idx] = valid;
    *out = (myr_col){
        .name = decode->fleet->info->features[feature_idx], .type = MYR_COL_TEXT, .valid = valid, .data.text = cells};
    return cells != NULL && valid != NULL;
}

static bool json_make_number(json_decode *decode, uint32_t feature_idx, myr_col *out)
{
    double *cells = myr_arena_calloc(decode->arena, decode->row_count, sizeof *cells);
    if (cells == NULL) return false;
    for (size_t i = 0; i < decode->row_count; i++)
        cells[i] = (double)NAN; /* a field that is missing */
    decode->features[feature_idx] = cells;
    *out = (myr_col){.name = decode->fleet->info->features[feature_idx], .type = MYR_COL_DOUBLE, .data.f64 = cells};
    return true;
}

static myr_rc json_make_features(json_decode *decode, myr_col **out_cols, myr_err *err)
{
    const myr_pack_info *info = decode->fleet->info;
    myr_col *cols = myr_arena_calloc(decode->arena, info->feature_count, sizeof *cols);
    decode->features = myr_arena_calloc(decode->arena, info->feature_count, sizeof *decode->features);
    decode->feature_row = myr_arena_calloc(decode->arena, info->feature_count, sizeof *decode->feature_row);
    decode->texts = myr_arena_calloc(decode->arena, info->feature_count, sizeof *decode->texts);
    decode->text_valid = myr_arena_calloc(decode->arena, info->feature_count, sizeof *decode->text_valid);
    if (cols == NULL || decode->features == NULL || decode->feature_row == NULL || decode->texts == NULL ||
        decode->text_valid == NULL) {
        return json_no_memory(decode, err);
    }
    for (uint32_t j = 0; j < info->feature_count; j++) {
        bool is_made =
            myr_pack_takes_text(info, j) ? json_make_text(decode, j, &cols[j]) : json_make_number(decode, j, &cols[j]);
        if (!is_made) return json_no_memory(decode, err);
    }
    *out_cols = cols;
    return MYR_OK;
}

static myr_rc json_make_keys(json_decode *decode, myr_col **out_cols, myr_err *err)
{
    const myr_key_schema *schema = &decode->fleet->info->keys;
    myr_col *cols = myr_arena_calloc(decode->arena, schema->column_count, sizeof *cols);
    if (cols == NULL) return json_no_memory(decode, err);
    MYR_ASSERT(schema->column_count <= MYR_PARTITION_COLUMNS_MAX);
    for (uint32_t k = 0; k < schema->column_count; k++) {
        decode->keys[k] = myr_arena_calloc(decode->arena, decode->row_count, sizeof *decode->keys[k]);
        decode->key_valid[k] = myr_arena_calloc(decode->arena, decode->row_count, sizeof *decode->key_valid[k]);
        if (decode->keys[k] == NULL || decode->key_valid[k] == NULL) return json_no_memory(decode, err);
        cols[k] = (myr_col){.name = schema->columns[k].name,
                            .type = MYR_COL_TEXT,
                            .valid = decode->key_valid[k],
                            .data.text = decode->keys[k]};
    }
    *out_cols = cols;
    return MYR_OK;
}

/* ---- cells ---- */

static myr_rc json_bad_cell(size_t row_idx, const char *name, yyjson_val *value, const char *wanted, myr_err *err)
{
    if (yyjson_is_str(value)) {
        myr_str text = myr_str_make(yyjson_get_str(value), yyjson_get_len(value));
        MYR_FAIL(err, BAD_INPUT, "row %zu: '%s' is \"%.*s\", not %s", row_idx, name,
                 (int)(text.size > 60 ? 60 : text.size), text.data, wanted);
    }
    MYR_FAIL(err, BAD_INPUT, "row %zu: '%s' is %s %s, not %s", row_idx, name,
             yyjson_is_arr(value) || yyjson_is_obj(value) ? "an" : "a", yyjson_get_type_desc(value), wanted);
}

/* The text that a number stands for: whole numbers as decimal integers, others shortest. */
static myr_rc json_number_text(const json_decode *decode, yyjson_val *value, myr_str *out, myr_err *err)
{
    char text[JSON_NUMBER_TEXT_BYTES];
    int size = 0;
    if (yyjson_is_uint(value)) {
        size = snprintf(text, sizeof text, "%llu", (unsigned long long)yyjson_get_uint(value));
    } else if (yyjson_is_sint(value)) {
        size = snprintf(text, sizeof text, "%lld", (long long)yyjson_get_sint(value));
    } else {
        double number = yyjson_get_real(value);
        bool is_whole = number >= -0x1p63 && number < 0x1p63 && floor(number) == number;
        size = is_whole ? snprintf(text, sizeof text, "%lld", (long long)number) : (int)myr_format_double(number, text);
    }
    MYR_ASSERT(size > 0 && (size_t)size < sizeof text);
    char *copy = myr_arena_strndup(decode->arena, text, (size_t)size);
    if (copy == NULL) return json_no_memory(decode, err);
    *out = myr_str_make(copy, (size_t)size);
    return MYR_OK;
}

/* A feature that is a number. */
static myr_rc json_put_number(json_decode *decode, size_t row_idx, uint32_t feature_idx, yyjson_val *value,
                              myr_err *err)
{
    const char *name = decode->fleet->info->features[feature_idx];
    double number = (double)NAN;
    if (yyjson_is_num(value)) {
        number = yyjson_get_num(value);
    } else if (yyjson_is_bool(value)) {
        number = yyjson_get_bool(value) ? 1.0 : 0.0;
    } else if (yyjson_is_str(value)) {
        if (!myr_parse_double(myr_str_make(yyjson_get_str(value), yyjson_get_len(value)), &number)) {
            return json_bad_cell(row_idx, name, value, "a number", err);
        }
    } else if (!yyjson_is_null(value)) {
        return json_bad_cell(row_idx, name, value, "a number", err);
    }
    decode->features[feature_idx][row_idx] = number;
    return MYR_OK;
}

/* A feature that some model reads by name. Which model the row has is not known yet, so every text is taken. */
static myr_rc json_put_text(json_decode *decode, size_t row_idx, uint32_t feature_idx, yyjson_val *value, myr_err *err)
{
    myr_str *cell = &decode->texts[feature_idx][row_idx];
    if (yyjson_is_null(value)) return MYR_OK;
    if (yyjson_is_str(value)) {
        *cell = myr_str_make(yyjson_get_str(value), yyjson_get_len(value)); /* lives as long as the document */
    } else if (yyjson_is_num(value)) {
        MYR_TRY(json_number_text(decode, value, cell, err));
    } else if (yyjson_is_bool(value)) {
        *cell = myr_str_of(yyjson_get_bool(value) ? "true" : "false");
    } else {
        return json_bad_cell(row_idx, decode->fleet->info->features[feature_idx], value, "a text or a number", err);
    }
    decode->text_valid[feature_idx][row_idx] = 1;
    return MYR_OK;
}

static myr_rc json_put_feature(json_decode *decode, size_t row_idx, uint32_t feature_idx, yyjson_val *value,
                               myr_err *err)
{
    if (decode->feature_row[feature_idx] == row_idx + 1) {
        MYR_FAIL(err, BAD_INPUT, "row %zu: '%s' is given twice", row_idx, decode->fleet->info->features[feature_idx]);
    }
    decode->feature_row[feature_idx] = (uint32_t)row_idx + 1;
    if (decode->texts[feature_idx] != NULL) return json_put_text(decode, row_idx, feature_idx, value, err);
    return json_put_number(decode, row_idx, feature_idx, value, err);
}

static myr_rc json_put_key(json_decode *decode, size_t row_idx, uint32_t key_idx, yyjson_val *value, myr_err *err)
{
    const char *name = decode->fleet->info->keys.columns[key_idx].name;
    if (decode->key_row[key_idx] == row_idx + 1)
        MYR_FAIL(err, BAD_INPUT, "row %zu: '%s' is given twice", row_idx, name);
    decode->key_row[key_idx] = (uint32_t)row_idx + 1;
    if (yyjson_is_null(value)) return MYR_OK;
    myr_str *cell = &decode->keys[key_idx][row_idx];
    if (yyjson_is_str(value)) {
        *cell = myr_str_make(yyjson_get_str(value), yyjson_get_len(value)); /* lives as long as the document */
    } else if (yyjson_is_num(value)) {
        MYR_TRY(json_number_text(decode, value, cell, err));
    } else {
        return json_bad_cell(row_idx, name, value, "a number or a text", err);
    }
    decode->key_valid[key_idx][row_idx] = 1;
    return MYR_OK;
}

/* ---- rows ---- */

static myr_rc json_unknown_field(const json_decode *decode, size_t row_idx, myr_str name, myr_err *err)
{
    const myr_pack_info *info = decode->fleet->info;
    size_t count = (size_t)info->keys.column_count + info->feature_count;
    bool may_be_near = name.size <= MYR_NAME_BYTES_MAX; /* a name of megabytes is not compared with each feature */
    const char **known = may_be_near ? myr_arena_calloc(decode->arena, count + 1, sizeof *known) : NULL;
    char *copy = may_be_near ? myr_arena_strndup(decode->arena, name.data, name.size) : NULL;
    const char *nearest = NULL;
    if (known != NULL && copy != NULL) {
        for (uint32_t k = 0; k < info->keys.column_count; k++)
            known[k] = info->keys.columns[k].name;
        for (uint32_t j = 0; j < info->feature_count; j++)
            known[info->keys.column_count + j] = info->features[j];
        nearest = myr_nearest(copy, known);
    }
    if (nearest != NULL) {
        MYR_FAIL(err, BAD_INPUT, "row %zu: fleet '%s' has no field '%.*s': did you mean '%s'?", row_idx,
                 decode->fleet->name, (int)(name.size > 60 ? 60 : name.size), name.data, nearest);
    }
    MYR_FAIL(err, BAD_INPUT, "row %zu: fleet '%s' has no field '%.*s'", row_idx, decode->fleet->name,
             (int)(name.size > 60 ? 60 : name.size), name.data);
}

static myr_rc json_put_row(json_decode *decode, size_t row_idx, yyjson_val *object, myr_err *err)
{
    const char *target = decode->fleet->row.target;
    if (!yyjson_is_obj(object)) MYR_FAIL(err, BAD_INPUT, "row %zu is not a JSON object", row_idx);
    yyjson_obj_iter iter = yyjson_obj_iter_with(object);
    for (yyjson_val *key = yyjson_obj_iter_next(&iter); key != NULL; key = yyjson_obj_iter_next(&iter)) {
        myr_str name = myr_str_make(yyjson_get_str(key), yyjson_get_len(key));
        yyjson_val *value = yyjson_obj_iter_get_val(key);
        uint64_t packed = 0;
        if (!myr_map_find(decode->fleet->fields, name, &packed)) {
            if (target[0] != '\0' && myr_str_is(name, target)) continue; /* known, and not an input */
            return json_unknown_field(decode, row_idx, name, err);
        }
        fleet_field field = fleet_field_unpack(packed);
        if (field.key_idx != FLEET_FIELD_NONE) MYR_TRY(json_put_key(decode, row_idx, field.key_idx, value, err));
        if (field.feature_idx != FLEET_FIELD_NONE)
            MYR_TRY(json_put_feature(decode, row_idx, field.feature_idx, value, err));
    }
    return MYR_OK;
}

myr_rc myr_fleet_decode_rows(const myr_fleet *fleet, struct yyjson_val *const *objects, size_t count, myr_arena *arena,
                             myr_score_rows *out, myr_err *err)
{
    if (count > MYR_JSON_ROWS_MAX) {
        MYR_FAIL(err, TOO_LARGE, "%zu rows, at most %d are taken at once: `myriad batch run` scores whole tables",
                 count, MYR_JSON_ROWS_MAX);
    }
    json_decode decode = {.fleet = fleet, .arena = arena, .row_count = count};
    myr_col *features = NULL;
    myr_col *keys = NULL;
    MYR_TRY(json_make_features(&decode, &features, err));
    MYR_TRY(json_make_keys(&decode, &keys, err));
    for (size_t i = 0; i < count; i++)
        MYR_TRY(json_put_row(&decode, i, objects[i], err));
    *out =
        (myr_score_rows){.row_count = (int64_t)count, .keys = keys, .features = features, .fixed_model = MYR_PACK_NONE};
    return MYR_OK;
}
