/*
 * The routes of other servers, so that their clients need not change: MLflow's /invocations and Azure ML's /score. They
 * ask no fleet by name; the one that the service file calls its default answers, or the only one there is.
 */
#include "serve/internal.h"

#include <string.h>

#define COMPAT_CLIENT_ID    "x-ms-client-request-id"
#define COMPAT_ID_BYTES_MAX 100 /* as Azure ML takes them */

/* ---- which fleet ---- */

myr_rc myr_serve_default_fleet(const serve_thread *thread, serve_fleet **out, myr_err *err)
{
    const serve_snapshot *snapshot = atomic_load(&thread->held);
    const char *name = snapshot->service != NULL ? snapshot->service->default_fleet : NULL;
    if (name != NULL) return myr_serve_fleet_find(thread, myr_str_of(name), out, err);
    if (snapshot->fleet_count == 1) {
        *out = snapshot->fleets[0];
        return MYR_OK;
    }
    MYR_FAIL(err, NOT_FOUND, "%zu fleets are served and none is the default: say `default:` in the service file",
             snapshot->fleet_count);
}

static myr_rc compat_work(serve_call *call, serve_work **out, myr_err *err)
{
    serve_work *work;
    MYR_TRY(myr_serve_call_work(call, &work, err));
    MYR_TRY(myr_serve_default_fleet(call->thread, &work->target.fleet, err));
    work->target.model_idx = MYR_PACK_NONE;
    work->target.name = myr_str_of(work->target.fleet->fleet->name);
    myr_serve_call_may_sleep(call);
    work->can_replay = true;
    *out = work;
    return MYR_OK;
}

/* ---- rows in ---- */

/* A name that a body may have, and what stands under it. */
typedef struct compat_name {
    const char *name;
    serve_frame_form form;
    bool is_data;
} compat_name;

static const compat_name invocations_names[] = {{"dataframe_split", SERVE_FRAME_SPLIT, true},
                                                {"dataframe_records", SERVE_FRAME_RECORDS, true},
                                                {"instances", SERVE_FRAME_ANY, true},
                                                {"inputs", SERVE_FRAME_ANY, true},
                                                {"params", SERVE_FRAME_ANY, false},
                                                {"signature_name", SERVE_FRAME_ANY, false},
                                                {NULL, SERVE_FRAME_ANY, false}};
static const compat_name score_names[] = {{"input_data", SERVE_FRAME_ANY, true},
                                          {"data", SERVE_FRAME_ANY, true},
                                          {"params", SERVE_FRAME_ANY, false},
                                          {NULL, SERVE_FRAME_ANY, false}};

/* "a, b or c" of the names that hold data. */
static const char *compat_list(serve_call *call, const compat_name *names)
{
    const char *text = "";
    size_t count = 0;
    while (names[count].name != NULL && names[count].is_data)
        count++;
    for (size_t i = 0; i < count && text != NULL; i++) {
        const char *between = i == 0 ? "" : i + 1 == count ? " and " : ", ";
        text = myr_arena_printf(call->arena, "%s%s'%s'", text, between, names[i].name);
    }
    return text != NULL ? text : "";
}

/* The one field that has the rows. */
static myr_rc compat_find(serve_call *call, const compat_name *names, const compat_name **out_name, yyjson_val **out,
                          myr_err *err)
{
    size_t idx, max;
    yyjson_val *key, *val;
    *out = NULL;
    if (!yyjson_is_obj(call->body))
        MYR_FAIL(err, BAD_INPUT, "the request is %s, not an object", myr_serve_json_kind(call->body));
    yyjson_obj_foreach(call->body, idx, max, key, val)
    {
        const compat_name *name = names;
        while (name->name != NULL && !yyjson_equals_str(key, name->name))
            name++;
        if (name->name == NULL) {
            MYR_FAIL(err, BAD_INPUT, "unknown field '%.60s', expected exactly one of %s", yyjson_get_str(key),
                     compat_list(call, names));
        }
        if (!name->is_data) continue;
        if (*out != NULL) {
            MYR_FAIL(err, BAD_INPUT, "both '%s' and '%s', expected exactly one of %s", (*out_name)->name, name->name,
                     compat_list(call, names));
        }
        *out = val;
        *out_name = name;
    }
    if (*out == NULL) MYR_FAIL(err, BAD_INPUT, "no rows: expected exactly one of %s", compat_list(call, names));
    return MYR_OK;
}

static myr_rc compat_decode(serve_call *call, const compat_name *names, serve_work *work, myr_err *err)
{
    const compat_name *name = NULL;
    yyjson_val *value = NULL;
    serve_frame frame = {.fleet = work->target.fleet, .arena = call->arena};
    MYR_TRY(myr_serve_query_flag(call->req, "ignore_unknown", &frame.ignore_unknown, err));
    if (call->format == SERVE_AS_CSV) {
        return myr_fleet_decode_csv(frame.fleet->fleet, call->text, SERVE_ROWS_MAX, frame.ignore_unknown, call->arena,
                                    &work->rows, err);
    }
    MYR_TRY(compat_find(call, names, &name, &value, err));
    return myr_serve_frame_decode(&frame, name->name, value, name->form, &work->rows, err);
}

static int64_t compat_count(yyjson_val *body, const compat_name *names)
{
    size_t most = 0;
    for (; names->name != NULL; names++) {
        yyjson_val *value = yyjson_obj_get(body, names->name), *data = yyjson_obj_get(value, "data");
        size_t count = yyjson_arr_size(yyjson_is_arr(data) ? data : value);
        yyjson_obj_iter iter = yyjson_obj_iter_with(value);
        yyjson_val *column = yyjson_obj_iter_get_val(yyjson_obj_iter_next(&iter));
        if (yyjson_arr_size(column) > count) count = yyjson_arr_size(column);
        if (count > most) most = count;
    }
    return (int64_t)most;
}

int64_t myr_serve_invocations_rows(yyjson_val *body)
{
    return compat_count(body, invocations_names);
}

int64_t myr_serve_azure_rows(yyjson_val *body)
{
    return compat_count(body, score_names);
}

/* ---- predictions out ---- */

/* [11,null,…]; several outputs are arrays. False: some row has none. */
static bool compat_put(const serve_work *work, myr_buf *out)
{
    bool is_whole = true;
    myr_buf_putc(out, '[');
    for (size_t row = 0; row < (size_t)work->rows.row_count; row++) {
        const myr_answers *answers = &work->answers[0];
        bool is_ok = work->statuses[row] == MYR_ROW_OK;
        if (row > 0) myr_buf_putc(out, ',');
        if (!is_ok) myr_buf_puts(out, "null");
        if (is_ok && answers->width > 1) myr_buf_putc(out, '[');
        for (uint32_t i = 0; is_ok && i < answers->width; i++) {
            if (i > 0) myr_buf_putc(out, ',');
            myr_buf_json_double(out, answers->values[i][row]);
        }
        if (is_ok && answers->width > 1) myr_buf_putc(out, ']');
        is_whole = is_whole && is_ok;
    }
    myr_buf_putc(out, ']');
    return is_whole;
}

static void compat_put_statuses(const serve_work *work, myr_buf *out)
{
    myr_buf_puts(out, ",\"statuses\":[");
    for (size_t row = 0; row < (size_t)work->rows.row_count; row++) {
        const char *word = work->words != NULL ? work->words[row] : NULL;
        if (word == NULL) word = myr_row_status_name((myr_row_status)work->statuses[row]);
        myr_serve_comma(out);
        myr_buf_json_string(out, myr_str_of(word));
    }
    myr_buf_putc(out, ']');
}

myr_rc myr_serve_post_invocations(serve_call *call, myr_err *err)
{
    if (call->work == NULL) {
        serve_work *made;
        MYR_TRY(compat_work(call, &made, err));
        MYR_TRY(compat_decode(call, invocations_names, made, err));
    }
    serve_work *work = call->work;
    MYR_TRY(myr_serve_work_run(work, err));
    call->wants_compute = work->wants_compute;
    if (!myr_serve_work_is_answered(work)) return MYR_OK;
    myr_buf_puts(call->out, "{\"predictions\":");
    if (!compat_put(work, call->out)) compat_put_statuses(work, call->out);
    myr_buf_putc(call->out, '}');
    return MYR_OK;
}

/* ---- Azure ML ---- */

/* The client's own name for its request, given back; x-request-id is every route's. */
static myr_rc azure_check_id(const serve_call *call, myr_err *err)
{
    const char *id = myr_req_header(call->req, COMPAT_CLIENT_ID);
    if (id == NULL || strlen(id) <= COMPAT_ID_BYTES_MAX) return MYR_OK;
    MYR_FAIL(err, BAD_HEADER, "the header %s has %zu bytes, at most %d are taken", COMPAT_CLIENT_ID, strlen(id),
             COMPAT_ID_BYTES_MAX);
}

/* Deployments are aliases: the one that answered. */
static const char *azure_deployment(const serve_call *call)
{
    const serve_fleet *fleet = call->work->target.fleet;
    const serve_snapshot *snapshot = call->snapshot;
    for (size_t i = 0; i < snapshot->variant_count; i++) {
        if (snapshot->variants[i].fleet == fleet) return snapshot->variants[i].alias;
    }
    return "champion";
}

static myr_rc azure_begin(serve_call *call, myr_err *err)
{
    serve_work *work;
    const char *deployment = myr_req_header(call->req, SERVE_DEPLOYMENT);
    MYR_TRY(azure_check_id(call, err));
    MYR_TRY(compat_work(call, &work, err));
    work->is_whole = true; /* the answer is a list of numbers */
    if (deployment != NULL && strcmp(deployment, "champion") != 0) work->alias = myr_str_of(deployment);
    return compat_decode(call, score_names, work, err);
}

myr_rc myr_serve_post_azure(serve_call *call, myr_err *err)
{
    if (call->work == NULL) MYR_TRY(azure_begin(call, err));
    serve_work *work = call->work;
    MYR_TRY(myr_serve_work_run(work, err));
    call->wants_compute = work->wants_compute;
    if (work->wants_compute || work->waits) return MYR_OK;
    const char *id = myr_req_header(call->req, COMPAT_CLIENT_ID);
    if (id != NULL) myr_req_add_header(call->req, COMPAT_CLIENT_ID, id);
    if (!myr_serve_work_is_answered(work)) return MYR_OK; /* an answer of before: whose deployment it was is not kept */
    const char *deployment = myr_arena_printf(call->arena, "%s", azure_deployment(call)); /* outlives the snapshot */
    if (deployment == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the answer");
    myr_req_add_header(call->req, SERVE_DEPLOYMENT, deployment);
    compat_put(work, call->out);
    return MYR_OK;
}

myr_rc myr_serve_get_healthy(serve_call *call, myr_err *err)
{
    MYR_TRY(myr_serve_check_ready(call, err));
    myr_buf_puts(call->out, "Healthy");
    return MYR_OK;
}

/* MLflow's /ping and /health: can it answer an invocation? */
myr_rc myr_serve_get_ping(serve_call *call, myr_err *err)
{
    serve_fleet *fleet;
    MYR_TRY(myr_serve_check_ready(call, err));
    if (myr_serve_default_fleet(call->thread, &fleet, err) != MYR_OK)
        return myr_err_prefix(err, MYR_NOT_FOUND, "/invocations has no fleet: ");
    myr_buf_puts(call->out, "\n");
    return MYR_OK;
}

myr_rc myr_serve_get_version(serve_call *call, myr_err *err)
{
    (void)err;
    myr_buf_puts(call->out, MYR_VERSION);
    return MYR_OK;
}
