/*
 * GET /v1/fleets/{fleet}/predictions?store=2&brand=1: the stored prediction of a key; where there is none, or it is too
 * old, one that is made now, with its features fetched; where that fails, the old one, which says that it is old.
 */
#include <string.h>

#include "serve/internal.h"

#define PREDICTION_FEATURES_MAX 256 /* that may stand in the URL */

/* Of one request; the form of its work. */
typedef struct prediction_look {
    myr_str key;
    int64_t max_age_ms; /* 0: any age will do */
    bool is_taken, is_stale;
    myr_latest_row row; /* in the arena */
} prediction_look;

/* ---- the row ---- */

static myr_rc prediction_need_keys(serve_call *call, const myr_pack_info *info, myr_err *err)
{
    myr_str value;
    for (uint32_t i = 0; i < info->keys.column_count; i++) {
        const char *name = info->keys.columns[i].name;
        if (myr_req_query(call->req, name, &value)) continue;
        MYR_FAIL(err, BAD_INPUT, "the key column '%s' is missing: ask as in ?%s=…", name, name);
    }
    return MYR_OK;
}

static void prediction_put_member(serve_call *call, const char *name, myr_buf *out)
{
    myr_str value;
    if (!myr_req_query(call->req, name, &value)) return;
    myr_buf_putc(out, out->size == 1 ? ' ' : ',');
    myr_buf_json_string(out, myr_str_of(name));
    myr_buf_putc(out, ':');
    myr_buf_json_string(out, value);
}

/* As if the row had been POSTed: so all is checked and read in one way. */
static myr_rc prediction_decode(serve_call *call, serve_work *work, myr_err *err)
{
    const myr_fleet *fleet = work->target.fleet->fleet;
    const myr_pack_info *info = fleet->info;
    MYR_AUTO(myr_buf) text = {0};
    yyjson_val *object;
    MYR_TRY(prediction_need_keys(call, info, err));
    myr_buf_putc(&text, '{');
    for (uint32_t i = 0; i < info->keys.column_count; i++)
        prediction_put_member(call, info->keys.columns[i].name, &text);
    for (uint32_t i = 0; i < info->feature_count && info->feature_count <= PREDICTION_FEATURES_MAX; i++) {
        bool is_key = false;
        for (uint32_t k = 0; k < info->keys.column_count; k++)
            is_key = is_key || strcmp(info->keys.columns[k].name, info->features[i]) == 0;
        if (!is_key) prediction_put_member(call, info->features[i], &text);
    }
    myr_buf_putc(&text, '}');
    MYR_TRY(myr_buf_check(&text, err));
    const char *copy = myr_arena_strndup(call->arena, text.data, text.size); /* texts of keys point into it */
    yyjson_val **objects = myr_arena_calloc(call->arena, 1, sizeof *objects);
    if (copy == NULL || objects == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for a row");
    MYR_TRY(myr_serve_json_read(call->thread, call->arena, myr_str_make(copy, text.size), &object, err));
    objects[0] = object;
    return myr_fleet_decode_rows(fleet, objects, 1, false, call->arena, &work->rows, err);
}

/* ---- looking ---- */

static myr_rc prediction_max_age(serve_call *call, int64_t *out_ms, myr_err *err)
{
    myr_str text;
    if (!myr_req_query(call->req, "max_age", &text)) return MYR_OK;
    if (myr_parse_duration_ms(text, out_ms) && *out_ms > 0) return MYR_OK;
    MYR_FAIL(err, BAD_INPUT, "max_age is '" MYR_STR_FMT "': give a time as in 30s, 5m or 2h", MYR_STR_ARG(text));
}

/* May this client see it? And what is in no group is not ours to answer: then the stages say so. */
static myr_rc prediction_may(serve_work *work, bool *out_is_served, myr_err *err)
{
    MYR_TRY(myr_serve_may_rows(work->who, work->target.fleet, &work->rows, work->arena, err));
    work->bound = work->target.fleet->bound;
    if (work->bound != NULL) MYR_TRY(myr_serve_check_groups(work, err));
    *out_is_served = work->marks == NULL || (work->marks[0] & SERVE_ROW_OUTSIDE) == 0;
    return MYR_OK;
}

static myr_rc prediction_ask(serve_work *work, prediction_look *look, myr_err *err)
{
    const serve_store *store = work->bound != NULL ? work->bound->plan->store : NULL;
    if (store == NULL) return MYR_OK;
    MYR_TRY(myr_serve_row_key(work, 0, &look->key, err));
    if (look->key.data == NULL) return MYR_OK;
    if (!myr_serve_wait_can(work)) {
        work->wants_compute = true;
        return MYR_OK;
    }
    if (look->max_age_ms == 0) look->max_age_ms = store->max_age_ms;
    int64_t plan_ms = work->bound->plan->deadline_ms;
    int64_t limit_ms = plan_ms > 0 ? plan_ms : myr_serve_now(&work->server->opts.deadline_ms);
    int64_t limit_ns = work->limit_ns > 0 ? work->limit_ns : limit_ms * 1000000;
    return myr_serve_stored_start(work, look->key, limit_ns > 0 ? work->whole_ns + limit_ns : INT64_MAX, err);
}

static myr_rc prediction_begin(serve_call *call, myr_err *err)
{
    serve_work *work;
    MYR_TRY(myr_serve_call_work(call, &work, err));
    MYR_TRY(myr_serve_fleet_find(call->thread, call->params[0], &work->target.fleet, err));
    work->target.model_idx = MYR_PACK_NONE;
    work->target.name = myr_str_of(work->target.fleet->fleet->name);
    myr_serve_call_may_sleep(call);
    work->can_replay = false; /* it changes nothing that could be changed twice */
    prediction_look *look = myr_arena_calloc(call->arena, 1, sizeof *look);
    if (look == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for a request");
    work->form = look;
    MYR_TRY(prediction_max_age(call, &look->max_age_ms, err));
    MYR_TRY(prediction_decode(call, work, err));
    bool is_served;
    MYR_TRY(prediction_may(work, &is_served, err));
    return is_served ? prediction_ask(work, look, err) : MYR_OK;
}

static myr_rc prediction_take(serve_work *work, prediction_look *look, myr_err *err)
{
    if (look->is_taken) return MYR_OK;
    look->is_taken = true;
    MYR_TRY(myr_serve_stored_take(work, &look->row, err));
    int64_t now_ms = myr_clock_unix_ms();
    bool is_old = look->max_age_ms > 0 && now_ms - look->row.produced_ms > look->max_age_ms;
    look->is_stale = is_old || (look->row.valid_ms != 0 && now_ms > look->row.valid_ms);
    return MYR_OK;
}

/* ---- the answer ---- */

typedef struct prediction_answer {
    const double *values;
    uint32_t value_count;
    bool is_stored, is_stale;
    int64_t produced_ms, valid_ms, release, model_version;
    myr_str model, level, source;
} prediction_answer;

static void prediction_put(serve_call *call, const prediction_answer *a)
{
    myr_buf *out = call->out;
    const prediction_look *look = call->work->form;
    char time[MYR_TIME_TEXT_BYTES];
    int64_t age_ms = myr_clock_unix_ms() - a->produced_ms;
    myr_buf_puts(out, "{\"key\":");
    if (look->key.data != NULL) {
        myr_buf_json_string(out, look->key);
    } else {
        myr_buf_puts(out, "null");
    }
    myr_buf_puts(out, a->value_count > 1 ? ",\"prediction\":[" : ",\"prediction\":");
    for (uint32_t i = 0; i < a->value_count; i++) {
        if (i > 0) myr_buf_putc(out, ',');
        myr_buf_json_double(out, a->values[i]);
    }
    if (a->value_count > 1) myr_buf_putc(out, ']');
    myr_buf_printf(out, ",\"from\":\"%s\",\"stale\":%s,\"age_ms\":%lld,\"produced_at\":\"%s\",\"valid_until\":",
                   a->is_stored ? "stored" : "scored", a->is_stale ? "true" : "false",
                   (long long)(age_ms > 0 ? age_ms : 0), myr_format_time(a->produced_ms, time));
    if (a->valid_ms != 0) {
        myr_buf_printf(out, "\"%s\"", myr_format_time(a->valid_ms, time));
    } else {
        myr_buf_puts(out, "null");
    }
    myr_buf_printf(out, ",\"release\":%lld,\"model\":", (long long)a->release);
    myr_buf_json_string(out, a->model);
    myr_buf_printf(out, ",\"model_version\":%lld,\"level\":", (long long)a->model_version);
    myr_buf_json_string(out, a->level);
    myr_buf_puts(out, ",\"source\":");
    myr_buf_json_string(out, a->source);
    myr_buf_putc(out, '}');
}

static void prediction_put_stored(serve_call *call, const prediction_look *look)
{
    call->work->waits = false;
    call->work->rows.row_count = 0; /* nothing is to be stored */
    const myr_latest_row *row = &look->row;
    prediction_answer answer = {.values = row->values,
                                .value_count = row->value_count,
                                .is_stored = true,
                                .is_stale = look->is_stale,
                                .produced_ms = row->produced_ms,
                                .valid_ms = row->valid_ms,
                                .release = row->release,
                                .model_version = row->model_version,
                                .model = row->model,
                                .level = row->level,
                                .source = row->source};
    prediction_put(call, &answer);
}

static myr_rc prediction_put_scored(serve_call *call, myr_err *err)
{
    const serve_work *work = call->work;
    const myr_fleet *fleet = work->target.fleet->fleet;
    const myr_answers *answers = &work->answers[0];
    double *values = myr_arena_alloc(call->arena, answers->width * sizeof *values);
    myr_pack_entry entry = {0};
    MYR_AUTO(myr_buf) model = {0};
    if (values == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for a prediction");
    for (uint32_t i = 0; i < answers->width; i++)
        values[i] = answers->values[i][0];
    if (work->model_idxs[0] != MYR_PACK_NONE) {
        MYR_TRY(myr_pack_get_entry(fleet->pack, work->model_idxs[0], &entry, err));
        MYR_TRY(myr_score_model_name(fleet->scorer, work->model_idxs[0], &model, err));
        MYR_TRY(myr_buf_check(&model, err));
    }
    prediction_answer answer = {.values = values,
                                .value_count = answers->width,
                                .produced_ms = myr_clock_unix_ms(),
                                .release = fleet->release,
                                .model_version = entry.version,
                                .model = myr_str_make(model.data, model.size),
                                .level = myr_str_of(myr_level_name((myr_level)work->levels[0])),
                                .source = myr_str_of("request")};
    prediction_put(call, &answer);
    return MYR_OK;
}

myr_rc myr_serve_get_prediction(serve_call *call, myr_err *err)
{
    if (call->work == NULL) {
        MYR_TRY(prediction_begin(call, err));
        call->wants_compute = call->work->wants_compute;
        if (call->work->wants_compute || call->work->waits) return MYR_OK;
    }
    serve_work *work = call->work;
    prediction_look *look = work->form;
    MYR_TRY(prediction_take(work, look, err));
    if (look->row.is_found && !look->is_stale) {
        prediction_put_stored(call, look);
        return MYR_OK;
    }
    myr_rc rc = myr_serve_work_run(work, err);
    call->wants_compute = work->wants_compute;
    if (rc == MYR_OK && (work->wants_compute || work->waits)) return MYR_OK;
    bool is_scored = rc == MYR_OK && work->statuses[0] == MYR_ROW_OK && work->levels[0] != MYR_LEVEL_STORED;
    if (is_scored) return prediction_put_scored(call, err);
    if (look->row.is_found) { /* an old one is better than none */
        prediction_put_stored(call, look);
        return MYR_OK;
    }
    return rc != MYR_OK ? rc : myr_serve_work_row_error(work, 0, err);
}
