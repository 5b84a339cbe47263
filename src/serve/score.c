/* POST /v1/fleets/{fleet}/score: rows as JSON objects in, one answer with a status per row out, in the same order. */
#include "serve/internal.h"

#include <string.h>

int64_t myr_serve_score_rows(yyjson_val *body)
{
    return (int64_t)yyjson_arr_size(yyjson_obj_get(body, "rows"));
}

/* What `?output=` asks for. */
static myr_rc score_output(serve_call *call, serve_work *work, myr_err *err)
{
    myr_str name;
    if (!myr_req_query(call->req, "output", &name)) return MYR_OK;
    if (!myr_output_parse(name, &work->outputs[0])) {
        MYR_FAIL(err, BAD_INPUT,
                 "output=" MYR_STR_FMT " is not known: value, margin, probability, leaf or contribution",
                 MYR_STR_ARG(name));
    }
    work->output_count = 1;
    return MYR_OK;
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

static myr_rc score_decode(serve_call *call, serve_work *work, myr_err *err)
{
    yyjson_val *const *objects;
    size_t count;
    MYR_TRY(score_objects(call, &objects, &count, err));
    if (count == 0) return MYR_OK;
    return myr_fleet_decode_rows(work->target.fleet->fleet, objects, count, call->arena, &work->rows, err);
}

/* Its message and fields, into the object that was just closed. */
static void score_put_note(myr_buf *out, const serve_row_note *note)
{
    if (out->failed || (note->message.data == NULL && note->fields.data == NULL)) return;
    out->size--;
    if (note->message.data != NULL) {
        myr_buf_puts(out, ",\"message\":");
        myr_buf_json_string(out, note->message);
    }
    if (note->fields.data != NULL) {
        myr_buf_putc(out, ',');
        myr_buf_append(out, note->fields.data, note->fields.size);
    }
    myr_buf_putc(out, '}');
}

static myr_rc score_encode(serve_call *call, const serve_work *work, myr_err *err)
{
    myr_buf *out = call->out;
    myr_buf_puts(out, "{\"rows\":[");
    for (size_t i = 0; i < (size_t)work->rows.row_count; i++) {
        if (i > 0) myr_buf_putc(out, ',');
        MYR_TRY(myr_fleet_put_answer(work->target.fleet->fleet, &work->answers[0], i, call->arena, out, err));
        if (work->notes != NULL) score_put_note(out, &work->notes[i]);
    }
    myr_buf_puts(out, "]}");
    return MYR_OK;
}

static myr_rc score_begin(serve_call *call, myr_err *err)
{
    serve_work *work;
    MYR_TRY(myr_serve_call_work(call, &work, err));
    work->any_leaves = true;
    MYR_TRY(score_output(call, work, err));
    MYR_TRY(myr_serve_fleet_find(call->thread, call->params[0], &work->target.fleet, err));
    work->target.model_idx = MYR_PACK_NONE;
    work->target.name = myr_str_of(work->target.fleet->fleet->name);
    myr_serve_call_may_sleep(call);
    return score_decode(call, work, err);
}

myr_rc myr_serve_post_score(serve_call *call, myr_err *err)
{
    if (call->work == NULL) MYR_TRY(score_begin(call, err));
    serve_work *work = call->work;
    MYR_TRY(myr_serve_work_run(work, err));
    call->wants_compute = work->wants_compute;
    return work->wants_compute || work->waits ? MYR_OK : score_encode(call, work, err);
}
