/*
 * Rows, cell by cell, become columns, in the caller's arena alone; JSON values and texts (CSV) by the same rules.
 * Features become doubles here, or texts if some model of the fleet has names of categories for them. A key, and such a
 * feature, becomes the text that its number stands for (2, 2.0 and "2" are "2"), and the scorer does the rest like for
 * the text of any table: what does not fit is the status of its row, never an error of the request.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <yyjson.h>

#include "fleet/internal.h"

#define JSON_NUMBER_TEXT_BYTES MYR_DOUBLE_TEXT_BYTES /* also holds any 64-bit integer */

/* One call. Everything in it is in the arena, itself too. */
struct myr_rows_build {
    const myr_fleet *fleet;
    myr_arena *arena;
    size_t row_count;
    bool ignore_unknown;
    const char *word; /* what messages call a row … */
    size_t number;    /* … and its number; word NULL: "row" and its index */
    myr_col *key_cols, *feature_cols;
    double **features;                             /* a column per feature that is a number, else NULL */
    myr_str **texts;                               /* a column per feature that is text, else NULL */
    uint8_t **text_valid;                          /* of those: 0 = null */
    myr_str *keys[MYR_PARTITION_COLUMNS_MAX];      /* a column per partition column */
    uint8_t *key_valid[MYR_PARTITION_COLUMNS_MAX]; /* 0 = null */
    uint32_t *feature_row;                         /* per feature: 1 + the last row that had it, to see a field twice */
    uint32_t key_row[MYR_PARTITION_COLUMNS_MAX];
};
typedef myr_rows_build rows_build;

/* The two arguments that name a row in a message. */
#define ROW(build, row_idx)                                                                                            \
    (build)->word != NULL ? (build)->word : "row", (build)->word != NULL ? (build)->number : (row_idx)

static myr_rc rows_no_memory(const rows_build *build, myr_err *err)
{
    if (myr_arena_is_full(build->arena)) {
        MYR_FAIL(err, TOO_LARGE, "%zu rows of %u features do not fit the memory of a request: send fewer at once",
                 build->row_count, build->fleet->info->feature_count);
    }
    MYR_FAIL(err, NO_MEMORY, "no memory for %zu rows", build->row_count);
}

/* ---- columns ---- */

/* A feature that some model reads by name: null until a row has it. */
static bool rows_make_text(rows_build *build, uint32_t feature_idx, myr_col *out)
{
    myr_str *cells = myr_arena_calloc(build->arena, build->row_count, sizeof *cells);
    uint8_t *valid = myr_arena_calloc(build->arena, build->row_count, 1);
    build->texts[feature_idx] = cells;
    build->text_valid[feature_idx] = valid;
    *out = (myr_col){
        .name = build->fleet->info->features[feature_idx], .type = MYR_COL_TEXT, .valid = valid, .data.text = cells};
    return cells != NULL && valid != NULL;
}

static bool rows_make_number(rows_build *build, uint32_t feature_idx, myr_col *out)
{
    double *cells = myr_arena_calloc(build->arena, build->row_count, sizeof *cells);
    if (cells == NULL) return false;
    for (size_t i = 0; i < build->row_count; i++)
        cells[i] = (double)NAN; /* a field that is missing */
    build->features[feature_idx] = cells;
    *out = (myr_col){.name = build->fleet->info->features[feature_idx], .type = MYR_COL_DOUBLE, .data.f64 = cells};
    return true;
}

static myr_rc rows_make_features(rows_build *build, myr_err *err)
{
    const myr_pack_info *info = build->fleet->info;
    myr_col *cols = build->feature_cols = myr_arena_calloc(build->arena, info->feature_count, sizeof *cols);
    build->features = myr_arena_calloc(build->arena, info->feature_count, sizeof *build->features);
    build->feature_row = myr_arena_calloc(build->arena, info->feature_count, sizeof *build->feature_row);
    build->texts = myr_arena_calloc(build->arena, info->feature_count, sizeof *build->texts);
    build->text_valid = myr_arena_calloc(build->arena, info->feature_count, sizeof *build->text_valid);
    if (cols == NULL || build->features == NULL || build->feature_row == NULL || build->texts == NULL ||
        build->text_valid == NULL) {
        return rows_no_memory(build, err);
    }
    for (uint32_t j = 0; j < info->feature_count; j++) {
        bool is_made =
            myr_pack_takes_text(info, j) ? rows_make_text(build, j, &cols[j]) : rows_make_number(build, j, &cols[j]);
        if (!is_made) return rows_no_memory(build, err);
    }
    return MYR_OK;
}

static myr_rc rows_make_keys(rows_build *build, myr_err *err)
{
    const myr_key_schema *schema = &build->fleet->info->keys;
    myr_col *cols = build->key_cols = myr_arena_calloc(build->arena, schema->column_count, sizeof *cols);
    if (cols == NULL) return rows_no_memory(build, err);
    MYR_ASSERT(schema->column_count <= MYR_PARTITION_COLUMNS_MAX);
    for (uint32_t k = 0; k < schema->column_count; k++) {
        build->keys[k] = myr_arena_calloc(build->arena, build->row_count, sizeof *build->keys[k]);
        build->key_valid[k] = myr_arena_calloc(build->arena, build->row_count, sizeof *build->key_valid[k]);
        if (build->keys[k] == NULL || build->key_valid[k] == NULL) return rows_no_memory(build, err);
        cols[k] = (myr_col){.name = schema->columns[k].name,
                            .type = MYR_COL_TEXT,
                            .valid = build->key_valid[k],
                            .data.text = build->keys[k]};
    }
    return MYR_OK;
}

/* ---- cells ---- */

/* null, and the NaN that readers other than ours let through. */
static bool json_is_missing(yyjson_val *value)
{
    return yyjson_is_null(value) || (yyjson_is_real(value) && isnan(yyjson_get_real(value)));
}

static myr_rc json_bad_cell(const rows_build *build, size_t row_idx, const char *name, yyjson_val *value,
                            const char *wanted, myr_err *err)
{
    if (yyjson_is_str(value)) {
        myr_str text = myr_str_make(yyjson_get_str(value), yyjson_get_len(value));
        MYR_FAIL(err, BAD_INPUT, "%s %zu: '%s' is \"%.*s\", not %s", ROW(build, row_idx), name,
                 (int)(text.size > 60 ? 60 : text.size), text.data, wanted);
    }
    MYR_FAIL(err, BAD_INPUT, "%s %zu: '%s' is %s %s, not %s", ROW(build, row_idx), name,
             yyjson_is_arr(value) || yyjson_is_obj(value) ? "an" : "a", yyjson_get_type_desc(value), wanted);
}

/* The text that a number stands for: whole numbers as decimal integers, others shortest. */
static myr_rc json_number_text(const rows_build *build, yyjson_val *value, myr_str *out, myr_err *err)
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
    char *copy = myr_arena_strndup(build->arena, text, (size_t)size);
    if (copy == NULL) return rows_no_memory(build, err);
    *out = myr_str_make(copy, (size_t)size);
    return MYR_OK;
}

/* A feature that is a number. */
static myr_rc json_put_number(rows_build *build, size_t row_idx, uint32_t feature_idx, yyjson_val *value, myr_err *err)
{
    const char *name = build->fleet->info->features[feature_idx];
    double number = (double)NAN;
    if (yyjson_is_num(value)) {
        number = yyjson_get_num(value);
    } else if (yyjson_is_bool(value)) {
        number = yyjson_get_bool(value) ? 1.0 : 0.0;
    } else if (yyjson_is_str(value)) {
        if (!myr_parse_double(myr_str_make(yyjson_get_str(value), yyjson_get_len(value)), &number)) {
            return json_bad_cell(build, row_idx, name, value, "a number", err);
        }
    } else if (!yyjson_is_null(value)) {
        return json_bad_cell(build, row_idx, name, value, "a number", err);
    }
    build->features[feature_idx][row_idx] = number;
    return MYR_OK;
}

/* A feature that some model reads by name. Which model the row has is not known yet, so every text is taken. */
static myr_rc json_put_text(rows_build *build, size_t row_idx, uint32_t feature_idx, yyjson_val *value, myr_err *err)
{
    myr_str *cell = &build->texts[feature_idx][row_idx];
    if (json_is_missing(value)) return MYR_OK;
    if (yyjson_is_str(value)) {
        *cell = myr_str_make(yyjson_get_str(value), yyjson_get_len(value)); /* lives as long as the document */
    } else if (yyjson_is_num(value)) {
        MYR_TRY(json_number_text(build, value, cell, err));
    } else if (yyjson_is_bool(value)) {
        *cell = myr_str_of(yyjson_get_bool(value) ? "true" : "false");
    } else {
        return json_bad_cell(build, row_idx, build->fleet->info->features[feature_idx], value, "a text or a number",
                             err);
    }
    build->text_valid[feature_idx][row_idx] = 1;
    return MYR_OK;
}

/* The place of a row's field is taken, once. */
static myr_rc rows_take_feature(rows_build *build, size_t row_idx, uint32_t feature_idx, myr_err *err)
{
    if (build->feature_row[feature_idx] == row_idx + 1) {
        MYR_FAIL(err, BAD_INPUT, "%s %zu: '%s' is given twice", ROW(build, row_idx),
                 build->fleet->info->features[feature_idx]);
    }
    build->feature_row[feature_idx] = (uint32_t)row_idx + 1;
    return MYR_OK;
}

static myr_rc rows_take_key(rows_build *build, size_t row_idx, uint32_t key_idx, myr_err *err)
{
    const char *name = build->fleet->info->keys.columns[key_idx].name;
    if (build->key_row[key_idx] == row_idx + 1)
        MYR_FAIL(err, BAD_INPUT, "%s %zu: '%s' is given twice", ROW(build, row_idx), name);
    build->key_row[key_idx] = (uint32_t)row_idx + 1;
    return MYR_OK;
}

static myr_rc json_put_feature(rows_build *build, size_t row_idx, uint32_t feature_idx, yyjson_val *value, myr_err *err)
{
    MYR_TRY(rows_take_feature(build, row_idx, feature_idx, err));
    if (build->texts[feature_idx] != NULL) return json_put_text(build, row_idx, feature_idx, value, err);
    return json_put_number(build, row_idx, feature_idx, value, err);
}

static myr_rc json_put_key(rows_build *build, size_t row_idx, uint32_t key_idx, yyjson_val *value, myr_err *err)
{
    const char *name = build->fleet->info->keys.columns[key_idx].name;
    MYR_TRY(rows_take_key(build, row_idx, key_idx, err));
    if (json_is_missing(value)) return MYR_OK;
    myr_str *cell = &build->keys[key_idx][row_idx];
    if (yyjson_is_str(value)) {
        *cell = myr_str_make(yyjson_get_str(value), yyjson_get_len(value)); /* lives as long as the document */
    } else if (yyjson_is_num(value)) {
        MYR_TRY(json_number_text(build, value, cell, err));
    } else {
        return json_bad_cell(build, row_idx, name, value, "a number or a text", err);
    }
    build->key_valid[key_idx][row_idx] = 1;
    return MYR_OK;
}

/* ---- texts ---- */

static myr_rc text_put_feature(rows_build *build, size_t row_idx, uint32_t feature_idx, myr_str text, myr_err *err)
{
    MYR_TRY(rows_take_feature(build, row_idx, feature_idx, err));
    if (text.data == NULL) return MYR_OK;
    if (build->texts[feature_idx] != NULL) {
        build->texts[feature_idx][row_idx] = text;
        build->text_valid[feature_idx][row_idx] = 1;
        return MYR_OK;
    }
    double *cell = &build->features[feature_idx][row_idx];
    if (text.size == 0 || myr_parse_double(text, cell)) return MYR_OK;
    bool is_true = myr_str_is(text, "true") || myr_str_is(text, "True");
    if (!is_true && !myr_str_is(text, "false") && !myr_str_is(text, "False")) {
        MYR_FAIL(err, BAD_INPUT, "%s %zu: '%s' is \"%.*s\", not a number", ROW(build, row_idx),
                 build->fleet->info->features[feature_idx], (int)(text.size > 60 ? 60 : text.size), text.data);
    }
    *cell = is_true ? 1.0 : 0.0;
    return MYR_OK;
}

static myr_rc text_put_key(rows_build *build, size_t row_idx, uint32_t key_idx, myr_str text, myr_err *err)
{
    MYR_TRY(rows_take_key(build, row_idx, key_idx, err));
    if (text.data == NULL) return MYR_OK;
    build->keys[key_idx][row_idx] = text;
    build->key_valid[key_idx][row_idx] = 1;
    return MYR_OK;
}

/* ---- rows ---- */

static myr_rc rows_unknown_field(const rows_build *build, size_t row_idx, myr_str name, myr_err *err)
{
    const myr_pack_info *info = build->fleet->info;
    size_t count = (size_t)info->keys.column_count + info->feature_count;
    bool may_be_near = name.size <= MYR_NAME_BYTES_MAX; /* a name of megabytes is not compared with each feature */
    const char **known = may_be_near ? myr_arena_calloc(build->arena, count + 1, sizeof *known) : NULL;
    char *copy = may_be_near ? myr_arena_strndup(build->arena, name.data, name.size) : NULL;
    const char *nearest = NULL;
    if (known != NULL && copy != NULL) {
        for (uint32_t k = 0; k < info->keys.column_count; k++)
            known[k] = info->keys.columns[k].name;
        for (uint32_t j = 0; j < info->feature_count; j++)
            known[info->keys.column_count + j] = info->features[j];
        nearest = myr_nearest(copy, known);
    }
    if (nearest != NULL) {
        MYR_FAIL(err, BAD_INPUT, "%s %zu: fleet '%s' has no field '%.*s': did you mean '%s'?", ROW(build, row_idx),
                 build->fleet->name, (int)(name.size > 60 ? 60 : name.size), name.data, nearest);
    }
    MYR_FAIL(err, BAD_INPUT, "%s %zu: fleet '%s' has no field '%.*s'", ROW(build, row_idx), build->fleet->name,
             (int)(name.size > 60 ? 60 : name.size), name.data);
}

myr_rc myr_rows_begin(const myr_fleet *fleet, size_t count, bool ignore_unknown, myr_arena *arena, myr_rows_build **out,
                      myr_err *err)
{
    if (count > MYR_JSON_ROWS_MAX) {
        MYR_FAIL(err, TOO_LARGE, "%zu rows, at most %d are taken at once: `myriad batch run` scores whole tables",
                 count, MYR_JSON_ROWS_MAX);
    }
    rows_build *build = myr_arena_calloc(arena, 1, sizeof *build);
    if (build == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %zu rows", count);
    *build = (rows_build){.fleet = fleet, .arena = arena, .row_count = count, .ignore_unknown = ignore_unknown};
    MYR_TRY(rows_make_features(build, err));
    MYR_TRY(rows_make_keys(build, err));
    *out = build;
    return MYR_OK;
}

void myr_rows_label(myr_rows_build *build, const char *word, size_t number)
{
    build->word = word;
    build->number = number;
}

void myr_rows_undo(myr_rows_build *build, size_t row_idx)
{
    const myr_pack_info *info = build->fleet->info;
    MYR_ASSERT(row_idx < build->row_count);
    for (uint32_t j = 0; j < info->feature_count; j++) {
        if (build->feature_row[j] == row_idx + 1) build->feature_row[j] = 0;
        if (build->texts[j] != NULL) build->text_valid[j][row_idx] = 0;
        if (build->texts[j] == NULL) build->features[j][row_idx] = (double)NAN;
    }
    for (uint32_t k = 0; k < info->keys.column_count; k++) {
        if (build->key_row[k] == row_idx + 1) build->key_row[k] = 0;
        build->key_valid[k][row_idx] = 0;
    }
}

void myr_rows_end(const myr_rows_build *build, size_t row_count, myr_score_rows *out)
{
    MYR_ASSERT(row_count <= build->row_count);
    *out = (myr_score_rows){.row_count = (int64_t)row_count,
                            .keys = build->key_cols,
                            .features = build->feature_cols,
                            .fixed_model = MYR_PACK_NONE};
}

myr_rc myr_rows_field(const myr_rows_build *build, size_t row_idx, myr_str name, uint64_t *out_field, myr_err *err)
{
    const char *target = build->fleet->row.target;
    if (myr_map_find(build->fleet->fields, name, out_field)) return MYR_OK;
    bool is_target = target[0] != '\0' && myr_str_is(name, target); /* known, and not an input */
    if (!is_target && !build->ignore_unknown) return rows_unknown_field(build, row_idx, name, err);
    *out_field = MYR_FIELD_IGNORED;
    return MYR_OK;
}

myr_rc myr_rows_put(myr_rows_build *build, size_t row_idx, uint64_t packed, yyjson_val *value, myr_err *err)
{
    MYR_ASSERT(row_idx < build->row_count);
    if (packed == MYR_FIELD_IGNORED) return MYR_OK;
    fleet_field field = fleet_field_unpack(packed);
    if (field.key_idx != FLEET_FIELD_NONE) MYR_TRY(json_put_key(build, row_idx, field.key_idx, value, err));
    if (field.feature_idx != FLEET_FIELD_NONE) MYR_TRY(json_put_feature(build, row_idx, field.feature_idx, value, err));
    return MYR_OK;
}

myr_rc myr_rows_put_text(myr_rows_build *build, size_t row_idx, uint64_t packed, myr_str text, myr_err *err)
{
    MYR_ASSERT(row_idx < build->row_count);
    if (packed == MYR_FIELD_IGNORED) return MYR_OK;
    fleet_field field = fleet_field_unpack(packed);
    if (field.key_idx != FLEET_FIELD_NONE) MYR_TRY(text_put_key(build, row_idx, field.key_idx, text, err));
    if (field.feature_idx != FLEET_FIELD_NONE) MYR_TRY(text_put_feature(build, row_idx, field.feature_idx, text, err));
    return MYR_OK;
}

myr_rc myr_rows_put_object(myr_rows_build *build, size_t row_idx, yyjson_val *object, myr_err *err)
{
    if (!yyjson_is_obj(object)) MYR_FAIL(err, BAD_INPUT, "%s %zu is not a JSON object", ROW(build, row_idx));
    yyjson_obj_iter iter = yyjson_obj_iter_with(object);
    for (yyjson_val *key = yyjson_obj_iter_next(&iter); key != NULL; key = yyjson_obj_iter_next(&iter)) {
        uint64_t field;
        MYR_TRY(myr_rows_field(build, row_idx, myr_str_make(yyjson_get_str(key), yyjson_get_len(key)), &field, err));
        MYR_TRY(myr_rows_put(build, row_idx, field, yyjson_obj_iter_get_val(key), err));
    }
    return MYR_OK;
}

myr_rc myr_fleet_decode_rows(const myr_fleet *fleet, struct yyjson_val *const *objects, size_t count,
                             bool ignore_unknown, myr_arena *arena, myr_score_rows *out, myr_err *err)
{
    myr_rows_build *build;
    MYR_TRY(myr_rows_begin(fleet, count, ignore_unknown, arena, &build, err));
    for (size_t i = 0; i < count; i++)
        MYR_TRY(myr_rows_put_object(build, i, objects[i], err));
    myr_rows_end(build, count, out);
    return MYR_OK;
}
