/*
 * Tables in JSON as other servers take them: pandas' split and records, columns by name, rows in the order of the
 * signature. Cells become rows by the rules of all rows.
 */
#include "serve/internal.h"

#include <string.h>

static myr_rc frame_check_count(size_t count, myr_err *err)
{
    if (count <= SERVE_ROWS_MAX) return MYR_OK;
    MYR_FAIL(err, TOO_LARGE, "%zu rows, the most in one request is %d", count, SERVE_ROWS_MAX);
}

static myr_rc frame_begin(serve_frame *frame, size_t count, myr_rows_build **out, myr_err *err)
{
    MYR_TRY(frame_check_count(count, err));
    return myr_rows_begin(frame->fleet->fleet, count, frame->ignore_unknown, frame->arena, out, err);
}

/* [{"store":2,…},…] */
static myr_rc frame_records(serve_frame *frame, const char *name, yyjson_val *rows, myr_score_rows *out, myr_err *err)
{
    myr_rows_build *build;
    size_t idx, max;
    yyjson_val *row;
    MYR_TRY(frame_begin(frame, yyjson_arr_size(rows), &build, err));
    yyjson_arr_foreach(rows, idx, max, row)
    {
        if (!yyjson_is_obj(row)) {
            MYR_FAIL(err, BAD_INPUT, "'%s': row %zu is %s, not an object", name, idx, myr_serve_json_kind(row));
        }
        MYR_TRY(myr_rows_put_object(build, idx, row, err));
    }
    myr_rows_end(build, max, out);
    return MYR_OK;
}

/* Rows as arrays, with a field for each place. */
static myr_rc frame_fill(myr_rows_build *build, const char *name, yyjson_val *rows, const uint64_t *fields,
                         size_t field_count, myr_err *err)
{
    size_t idx, max, at, count;
    yyjson_val *row, *cell;
    yyjson_arr_foreach(rows, idx, max, row)
    {
        if (!yyjson_is_arr(row) || yyjson_arr_size(row) != field_count) {
            MYR_FAIL(err, BAD_INPUT, "'%s': row %zu is %s of %zu values, not an array of %zu", name, idx,
                     myr_serve_json_kind(row), yyjson_get_len(row), field_count);
        }
        yyjson_arr_foreach(row, at, count, cell)
        {
            MYR_TRY(myr_rows_put(build, idx, fields[at], cell, err));
        }
    }
    return MYR_OK;
}

/* {"columns":[…],"data":[[…],…],"index":[…]} */
static myr_rc frame_split(serve_frame *frame, const char *name, yyjson_val *value, myr_score_rows *out, myr_err *err)
{
    yyjson_val *columns = yyjson_obj_get(value, "columns"), *data = yyjson_obj_get(value, "data"), *column;
    size_t idx, max;
    myr_rows_build *build;
    if (!yyjson_is_obj(value) || !yyjson_is_arr(columns) || !yyjson_is_arr(data)) {
        MYR_FAIL(err, BAD_INPUT, "'%s' is not {\"columns\":[…],\"data\":[[…],…]}", name);
    }
    MYR_TRY(frame_begin(frame, yyjson_arr_size(data), &build, err));
    uint64_t *fields = myr_arena_alloc(frame->arena, (yyjson_arr_size(columns) + 1) * sizeof *fields);
    if (fields == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for %zu columns", yyjson_arr_size(columns));
    yyjson_arr_foreach(columns, idx, max, column)
    {
        if (!yyjson_is_str(column)) {
            MYR_FAIL(err, BAD_INPUT, "'%s': column %zu is %s, not a name", name, idx, myr_serve_json_kind(column));
        }
        myr_rows_label(build, "column", idx);
        MYR_TRY(
            myr_rows_field(build, 0, myr_str_make(yyjson_get_str(column), yyjson_get_len(column)), &fields[idx], err));
    }
    myr_rows_label(build, NULL, 0);
    MYR_TRY(frame_fill(build, name, data, fields, max, err));
    myr_rows_end(build, yyjson_arr_size(data), out);
    return MYR_OK;
}

/* [[…],…]: every input of the signature, in its order. */
static myr_rc frame_matrix(serve_frame *frame, const char *name, yyjson_val *rows, myr_score_rows *out, myr_err *err)
{
    const char *const *known = frame->fleet->known;
    size_t count = 0;
    myr_rows_build *build;
    while (known[count] != NULL)
        count++;
    MYR_TRY(frame_begin(frame, yyjson_arr_size(rows), &build, err));
    uint64_t *fields = myr_arena_alloc(frame->arena, (count + 1) * sizeof *fields);
    if (fields == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for %zu columns", count);
    for (size_t i = 0; i < count; i++)
        MYR_TRY(myr_rows_field(build, 0, myr_str_of(known[i]), &fields[i], err));
    MYR_TRY(frame_fill(build, name, rows, fields, count, err));
    myr_rows_end(build, yyjson_arr_size(rows), out);
    return MYR_OK;
}

/* {"store":[2,3],…}, or one row {"store":2,…}. */
static myr_rc frame_columns(serve_frame *frame, const char *name, yyjson_val *value, myr_score_rows *out, myr_err *err)
{
    size_t idx, max, at, count, row_count = 1;
    yyjson_val *key, *column, *cell;
    myr_rows_build *build;
    yyjson_obj_iter begin = yyjson_obj_iter_with(value);
    yyjson_val *first = yyjson_obj_iter_get_val(yyjson_obj_iter_next(&begin));
    if (yyjson_is_arr(first)) row_count = yyjson_arr_size(first);
    MYR_TRY(frame_begin(frame, row_count, &build, err));
    yyjson_obj_foreach(value, idx, max, key, column)
    {
        uint64_t field;
        const char *text = yyjson_get_str(key);
        MYR_TRY(myr_rows_field(build, 0, myr_str_make(text, yyjson_get_len(key)), &field, err));
        if (!yyjson_is_arr(column)) {
            if (row_count != 1) {
                MYR_FAIL(err, BAD_INPUT, "'%s': column '%.60s' is %s, not an array of %zu", name, text,
                         myr_serve_json_kind(column), row_count);
            }
            MYR_TRY(myr_rows_put(build, 0, field, column, err));
            continue;
        }
        if (yyjson_arr_size(column) != row_count) {
            MYR_FAIL(err, BAD_INPUT, "'%s': column '%.60s' has %zu values, the first has %zu", name, text,
                     yyjson_arr_size(column), row_count);
        }
        yyjson_arr_foreach(column, at, count, cell)
        {
            MYR_TRY(myr_rows_put(build, at, field, cell, err));
        }
    }
    myr_rows_end(build, row_count, out);
    return MYR_OK;
}

myr_rc myr_serve_frame_decode(serve_frame *frame, const char *name, yyjson_val *value, serve_frame_form form,
                              myr_score_rows *out, myr_err *err)
{
    if (form == SERVE_FRAME_SPLIT) return frame_split(frame, name, value, out, err);
    if (form == SERVE_FRAME_ANY && yyjson_is_obj(value)) {
        bool is_split = yyjson_is_arr(yyjson_obj_get(value, "columns")) && yyjson_obj_get(value, "data") != NULL;
        return is_split ? frame_split(frame, name, value, out, err) : frame_columns(frame, name, value, out, err);
    }
    if (!yyjson_is_arr(value)) {
        MYR_FAIL(err, BAD_INPUT, "'%s' is %s, not an array of rows", name, myr_serve_json_kind(value));
    }
    if (form == SERVE_FRAME_ANY && yyjson_is_arr(yyjson_arr_get_first(value)))
        return frame_matrix(frame, name, value, out, err);
    return frame_records(frame, name, value, out, err);
}
