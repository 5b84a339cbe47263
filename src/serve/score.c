/*
 * POST /v1/fleets/{fleet}/score: rows by column name in, one answer with a status per row out, in the same order.
 * Bodies are JSON, CSV or NDJSON, answers one of these or events; score_stream.c answers NDJSON while it comes.
 */
#include "serve/internal.h"

#include <string.h>

int64_t myr_serve_score_rows(yyjson_val *body)
{
    return (int64_t)yyjson_arr_size(yyjson_obj_get(body, "rows"));
}

myr_rc myr_serve_score_output(myr_req *req, myr_output *out, uint32_t *out_count, myr_err *err)
{
    myr_str name;
    *out_count = 0;
    if (!myr_req_query(req, "output", &name)) return MYR_OK;
    if (!myr_output_parse(name, out)) {
        MYR_FAIL(err, BAD_INPUT,
                 "output=" MYR_STR_FMT " is not known: value, margin, probability, leaf or contribution",
                 MYR_STR_ARG(name));
    }
    *out_count = 1;
    return MYR_OK;
}

myr_rc myr_serve_query_flag(myr_req *req, const char *name, bool *out, myr_err *err)
{
    myr_str text;
    *out = false;
    if (!myr_req_query(req, name, &text) || myr_parse_bool(text, out)) return MYR_OK;
    MYR_FAIL(err, BAD_INPUT, "%s=" MYR_STR_FMT " is not true or false", name, MYR_STR_ARG(text));
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

static myr_rc score_decode(serve_call *call, serve_work *work, bool ignore_unknown, myr_err *err)
{
    const myr_fleet *fleet = work->target.fleet->fleet;
    yyjson_val *const *objects;
    size_t count;
    switch (call->format) {
    case SERVE_AS_CSV:
        return myr_fleet_decode_csv(fleet, call->text, SERVE_ROWS_MAX, ignore_unknown, call->arena, &work->rows, err);
    case SERVE_AS_LINES:
        return myr_serve_decode_lines(call->thread, call->arena, fleet, call->text, ignore_unknown, &work->rows, err);
    default:
        MYR_TRY(score_objects(call, &objects, &count, err));
        if (count == 0) return MYR_OK;
        return myr_fleet_decode_rows(fleet, objects, count, ignore_unknown, call->arena, &work->rows, err);
    }
}

static myr_rc score_begin(serve_call *call, myr_err *err)
{
    serve_work *work;
    bool ignore_unknown;
    MYR_TRY(myr_serve_call_work(call, &work, err));
    work->any_leaves = true;
    MYR_TRY(myr_serve_score_output(call->req, &work->outputs[0], &work->output_count, err));
    MYR_TRY(myr_serve_query_flag(call->req, "ignore_unknown", &ignore_unknown, err));
    MYR_TRY(myr_serve_fleet_find(call->thread, call->params[0], &work->target.fleet, err));
    work->target.model_idx = MYR_PACK_NONE;
    work->target.name = myr_str_of(work->target.fleet->fleet->name);
    myr_serve_call_may_sleep(call);
    work->can_replay = true;
    return score_decode(call, work, ignore_unknown, err);
}

myr_rc myr_serve_post_score(serve_call *call, myr_err *err)
{
    if (call->work == NULL) MYR_TRY(score_begin(call, err));
    serve_work *work = call->work;
    MYR_TRY(myr_serve_work_run(work, err));
    call->wants_compute = work->wants_compute;
    if (!myr_serve_work_is_answered(work)) return MYR_OK;
    serve_format answer = myr_serve_answer_format(call->req, call->format);
    call->answer_type = myr_serve_format_type(answer);
    return myr_serve_put_rows(work, answer, call->out, err);
}
