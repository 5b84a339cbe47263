/* POST /v1/fleets/{fleet}/score: rows as JSON objects in, one answer with a status per row out, in the same order. */
#include "serve/internal.h"

#include <string.h>

int64_t myr_serve_score_rows(yyjson_val *body)
{
    return (int64_t)yyjson_arr_size(yyjson_obj_get(body, "rows"));
}

/* What `?output=` asks for. */
static myr_rc score_output(serve_call *call, myr_output *out, myr_err *err)
{
    myr_str name;
    *out = MYR_OUTPUT_VALUE;
    if (!myr_req_query(call->req, "output", &name) || myr_output_parse(name, out)) return MYR_OK;
    MYR_FAIL(err, BAD_INPUT, "output=" MYR_STR_FMT " is not known: value, margin, probability, leaf or contribution",
             MYR_STR_ARG(name));
}

/* The array `rows` of the body as a run of objects. */
static myr_rc score_objects(serve_call *call, yyjson_val *const **out_objects, size_t *out_count, myr_err *err)
{
    size_t idx, max;
    yyjson_val *key, *val, *rows = NULL;
    if (!yyjson_is_obj(call->body))
        MYR_FAIL(err, BAD_INPUT, "the request is %s, not an object", myr_serve_json_kind(call->body));
    yyjson_obj_foreach(call->body, idx, max, key, val)
    {
        if (!yyjson_equals_str(key, "rows")) {
            MYR_FAIL(err, BAD_INPUT, "unknown field '%s', expected {\"rows\":[{…}]}", yyjson_get_str(key));
        }
        rows = val;
    }
    if (!yyjson_is_arr(rows)) MYR_FAIL(err, BAD_INPUT, "the request has no array 'rows', expected {\"rows\":[{…}]}");
    size_t count = yyjson_arr_size(rows);
    if (count > SERVE_ROWS_MAX) {
        MYR_FAIL(err, TOO_LARGE, "%zu rows, the most in one request is %d", count, SERVE_ROWS_MAX);
    }
    yyjson_val **objects = myr_arena_calloc(call->arena, count + 1, sizeof *objects);
    if (objects == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for %zu rows", count);
    yyjson_arr_foreach(rows, idx, max, val)
    {
        if (!yyjson_is_obj(val))
            MYR_FAIL(err, BAD_INPUT, "row %zu is %s, not an object", idx, myr_serve_json_kind(val));
        objects[idx] = val;
    }
    *out_objects = objects;
    *out_count = count;
    return MYR_OK;
}

myr_rc myr_serve_post_score(serve_call *call, myr_err *err)
{
    serve_fleet *served;
    yyjson_val *const *objects;
    size_t count;
    myr_json_rows rows;
    myr_output output;
    MYR_TRY(score_output(call, &output, err));
    MYR_TRY(myr_serve_fleet_find(call, call->params[0], &served, err));
    MYR_TRY(score_objects(call, &objects, &count, err));
    myr_buf_puts(call->out, "{\"rows\":[");
    if (count > 0) {
        MYR_TRY(myr_fleet_decode_rows(served->fleet, objects, count, call->arena, &rows, err));
        myr_row_counts counts = {0};
        rows.counts = &counts;
        rows.rows.no_runner = !call->may_block;
        rows.rows.output = output;
        MYR_TRY(myr_fleet_score_json(served->fleet, call->thread->scratch, &rows, call->arena, call->out, err));
        if (myr_serve_wants_compute(call)) return MYR_OK;
        myr_serve_count_rows(call->server, served, counts);
    }
    myr_buf_puts(call->out, "]}");
    return MYR_OK;
}
