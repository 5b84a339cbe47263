/*
 * V2's model repository, configuration and statistics, for fleets. What can be served is the registry's champion of
 * each fleet; load looks at the registry now, unload stops serving a fleet until it is loaded or the server starts
 * again.
 */
#include <string.h>

#include "serve/internal.h"

/* ---- statistics ---- */

/* As one thing among others: numbers of one request may be read in parts. */
static void stats_add(_Atomic int64_t *number, int64_t amount)
{
    atomic_fetch_add_explicit(number, amount, memory_order_relaxed);
}

void myr_serve_count_infer(const serve_work *work, bool is_ok)
{
    serve_infer_stats *stats = &work->target.fleet->stats;
    int64_t took_ns = work->mark_ns - work->start_ns;
    if (!is_ok) {
        stats_add(&stats->fail_count, 1);
        stats_add(&stats->fail_ns, took_ns);
        return;
    }
    stats_add(&stats->rows, work->rows.row_count);
    stats_add(&stats->ok_ns, took_ns);
    stats_add(&stats->queue_ns, work->stage_ns[SERVE_QUEUE]);
    stats_add(&stats->input_ns, work->stage_ns[SERVE_DECODE]);
    stats_add(&stats->infer_ns, work->stage_ns[SERVE_INFER]);
    stats_add(&stats->output_ns, work->stage_ns[SERVE_ENCODE]);
    atomic_store_explicit(&stats->last_ns, work->mark_ns, memory_order_relaxed);
    stats_add(&stats->ok_count, 1);
    myr_serve_count_models(work);
}

int64_t myr_serve_last_ms(const serve_infer_stats *stats)
{
    int64_t last_ns = atomic_load(&stats->last_ns);
    return last_ns != 0 ? myr_clock_unix_ms() - (myr_clock_mono_ns() - last_ns) / 1000000 : 0;
}

static void stats_put(myr_buf *out, const char *name, int64_t count, int64_t ns, bool is_last)
{
    myr_buf_printf(out, "\"%s\":{\"count\":%lld,\"ns\":%lld}%s", name, (long long)count, (long long)ns,
                   is_last ? "" : ",");
}

static void stats_put_fleet(myr_buf *out, serve_fleet *served)
{
    serve_infer_stats *stats = &served->stats;
    int64_t ok = atomic_load(&stats->ok_count);
    myr_buf_puts(out, "{\"name\":");
    myr_buf_json_string(out, myr_str_of(served->fleet->name));
    myr_buf_printf(out,
                   ",\"version\":\"%lld\",\"last_inference\":%lld,\"inference_count\":%lld,\"execution_count\":%lld",
                   (long long)served->fleet->release, (long long)myr_serve_last_ms(stats),
                   (long long)atomic_load(&stats->rows), (long long)ok);
    myr_buf_puts(out, ",\"inference_stats\":{");
    stats_put(out, "success", ok, atomic_load(&stats->ok_ns), false);
    stats_put(out, "fail", atomic_load(&stats->fail_count), atomic_load(&stats->fail_ns), false);
    stats_put(out, "queue", ok, atomic_load(&stats->queue_ns), false);
    stats_put(out, "compute_input", ok, atomic_load(&stats->input_ns), false);
    stats_put(out, "compute_infer", ok, atomic_load(&stats->infer_ns), false);
    stats_put(out, "compute_output", ok, atomic_load(&stats->output_ns), false);
    stats_put(out, "cache_hit", 0, 0, false);
    stats_put(out, "cache_miss", 0, 0, true);
    myr_buf_puts(out, "},\"response_stats\":{},\"batch_stats\":[],\"memory_usage\":[]}");
}

/* Of one model: its rows, whoever asked for them, and the time of their stage. */
static void stats_put_model(myr_buf *out, const serve_target *target)
{
    const serve_model_stats *stats = &target->fleet->models[target->model_idx];
    int64_t rows = atomic_load(&stats->rows);
    myr_buf_puts(out, "{\"name\":");
    myr_buf_json_string(out, target->name);
    myr_buf_printf(out, ",\"version\":\"%lld\",\"inference_count\":%lld,\"inference_stats\":{",
                   (long long)target->fleet->fleet->release, (long long)rows);
    stats_put(out, "success", rows, atomic_load(&stats->ns), false);
    stats_put(out, "compute_infer", rows, atomic_load(&stats->ns), true);
    myr_buf_puts(out, "}}");
}

myr_rc myr_serve_get_all_stats(serve_call *call, myr_err *err)
{
    (void)err;
    myr_buf_puts(call->out, "{\"model_stats\":[");
    for (size_t i = 0; i < call->snapshot->fleet_count; i++) {
        if (!myr_serve_may_see(call->who, call->snapshot->fleets[i]->fleet->name)) continue;
        myr_serve_comma(call->out);
        stats_put_fleet(call->out, call->snapshot->fleets[i]);
    }
    myr_buf_puts(call->out, "]}");
    return MYR_OK;
}

myr_rc myr_serve_get_stats(serve_call *call, myr_err *err)
{
    serve_target target;
    MYR_TRY(myr_serve_call_target(call, &target, err));
    myr_buf_puts(call->out, "{\"model_stats\":[");
    if (target.model_idx != MYR_PACK_NONE) {
        stats_put_model(call->out, &target);
    } else {
        stats_put_fleet(call->out, target.fleet);
    }
    myr_buf_puts(call->out, "]}");
    return MYR_OK;
}

/* ---- configuration ---- */

static void config_put_tensor(void *ctx, const char *name, const char *datatype)
{
    myr_buf *out = ctx;
    if (out->data[out->size - 1] != '[') myr_buf_putc(out, ',');
    myr_buf_puts(out, "{\"name\":");
    myr_buf_json_string(out, myr_str_of(name));
    /* The protocol calls texts BYTES, configurations call them strings. */
    myr_buf_printf(out, ",\"data_type\":\"TYPE_%s\",\"dims\":[-1]}",
                   strcmp(datatype, "BYTES") == 0 ? "STRING" : datatype);
}

static void config_put_outputs(myr_buf *out, const serve_target *target)
{
    const myr_fleet *fleet = target->fleet->fleet;
    for (int k = 0; k < MYR_OUTPUT_COUNT; k++) {
        size_t width = myr_scorer_width(fleet->scorer, target->model_idx, (myr_output)k);
        if (width == 0) continue;
        myr_buf_printf(out, "%s{\"name\":\"%s\",\"data_type\":\"TYPE_FP64\",\"dims\":[-1",
                       out->data[out->size - 1] != '[' ? "," : "",
                       k == MYR_OUTPUT_VALUE ? SERVE_PREDICTION : myr_output_name((myr_output)k));
        myr_serve_put_width(out, fleet->info, (myr_output)k, width);
        myr_buf_puts(out, "]}");
    }
}

/* max_batch_size 0: the number of rows is a dimension like any other. */
myr_rc myr_serve_get_config(serve_call *call, myr_err *err)
{
    serve_target target;
    MYR_TRY(myr_serve_call_target(call, &target, err));
    myr_buf *out = call->out;
    myr_buf_puts(out, "{\"name\":");
    myr_buf_json_string(out, target.name);
    myr_buf_puts(out, ",\"platform\":\"myriad\",\"backend\":\"myriad\",\"max_batch_size\":0,"
                      "\"version_policy\":{\"latest\":{\"num_versions\":1}},\"input\":[");
    myr_serve_each_input(&target, config_put_tensor, out);
    myr_buf_puts(out, "],\"output\":[");
    config_put_outputs(out, &target);
    myr_buf_puts(out, "],\"parameters\":{\"fleet\":{\"string_value\":");
    myr_buf_json_string(out, myr_str_of(target.fleet->fleet->name));
    myr_buf_printf(out, "},\"release\":{\"string_value\":\"%lld\"},\"models\":{\"string_value\":\"%u\"}}}",
                   (long long)target.fleet->fleet->release, target.fleet->fleet->info->model_count);
    return MYR_OK;
}

/* ---- the repository ---- */

/* A body that may be empty, else an object; NULL if it is empty. */
static myr_rc repository_body(serve_call *call, yyjson_val **out, myr_err *err)
{
    myr_str body = myr_req_body(call->req);
    *out = NULL;
    if (myr_req_is_encoded(call->req)) {
        MYR_FAIL(err, UNSUPPORTED, "Content-Encoding is not supported here: send the body as it is");
    }
    if (myr_str_trim(body).size == 0) return MYR_OK;
    MYR_TRY(myr_serve_json_read(call->thread, call->arena, body, out, err));
    if (yyjson_is_obj(*out)) return MYR_OK;
    MYR_FAIL(err, BAD_INPUT, "the request is %s, not an object", myr_serve_json_kind(*out));
}

static void index_put(void *ctx, const char *name)
{
    serve_call *call = ctx;
    myr_buf *out = call->out;
    if (!myr_serve_may_see(call->who, name)) return;
    myr_serve_comma(out);
    myr_buf_puts(out, "{\"name\":");
    myr_buf_json_string(out, myr_str_of(name));
    myr_buf_puts(out, ",\"state\":\"UNAVAILABLE\",\"reason\":\"unloaded\"}");
}

myr_rc myr_serve_post_index(serve_call *call, myr_err *err)
{
    yyjson_val *body;
    MYR_TRY(repository_body(call, &body, err));
    yyjson_val *ready = yyjson_obj_get(body, "ready");
    if (ready != NULL && !yyjson_is_bool(ready)) {
        MYR_FAIL(err, BAD_INPUT, "'ready' is %s, not true or false", myr_serve_json_kind(ready));
    }
    myr_buf_putc(call->out, '[');
    for (size_t i = 0; i < call->snapshot->fleet_count; i++) {
        const myr_fleet *fleet = call->snapshot->fleets[i]->fleet;
        if (!myr_serve_may_see(call->who, fleet->name)) continue;
        myr_serve_comma(call->out);
        myr_buf_puts(call->out, "{\"name\":");
        myr_buf_json_string(call->out, myr_str_of(fleet->name));
        myr_buf_printf(call->out, ",\"version\":\"%lld\",\"state\":\"READY\",\"reason\":\"\"}",
                       (long long)fleet->release);
    }
    if (!yyjson_is_true(ready)) myr_serve_each_unloaded(call->server, index_put, call);
    myr_buf_putc(call->out, ']');
    return MYR_OK;
}

myr_rc myr_serve_control_check(const myr_server *server, myr_str fleet, myr_err *err)
{
    if (!myr_serve_is_on(&server->opts.model_control)) {
        MYR_FAIL(err, DENIED, "load and unload are not allowed: start the server with serve.model-control true");
    }
    if (fleet.size > 0 && memchr(fleet.data, '@', fleet.size) != NULL) {
        MYR_FAIL(err, UNSUPPORTED, "a model is loaded and unloaded with its fleet: use the name before the @");
    }
    return MYR_OK;
}

myr_rc myr_serve_control(myr_server *server, serve_thread *thread, myr_str fleet, bool load,
                         const serve_snapshot **snapshot, myr_err *err)
{
    myr_serve_drop(thread); /* what is served now is not waited with */
    myr_rc rc = myr_serve_reloader_ask(server, fleet, load, err);
    *snapshot = myr_serve_hold(server, thread);
    return rc;
}

/* What load and unload have in common. They wait for the reloader, so never on a loop: *out_later, ask again. */
static myr_rc repository_control(serve_call *call, bool load, bool *out_later, myr_err *err)
{
    MYR_TRY(myr_serve_control_check(call->server, call->params[0], err));
    call->wants_compute = *out_later = !call->may_block;
    if (*out_later) return MYR_OK;
    yyjson_val *body, *key, *val;
    size_t idx, max;
    MYR_TRY(repository_body(call, &body, err));
    yyjson_obj_foreach(yyjson_obj_get(body, "parameters"), idx, max, key, val)
    {
        if (load) {
            MYR_FAIL(err, UNSUPPORTED, "parameter '%s' is not supported: models come from the registry",
                     yyjson_get_str(key));
        }
    }
    return myr_serve_control(call->server, call->thread, call->params[0], load, &call->snapshot, err);
}

myr_rc myr_serve_post_load(serve_call *call, myr_err *err)
{
    bool later = false;
    serve_fleet *fleet;
    MYR_TRY(repository_control(call, true, &later, err));
    return later ? MYR_OK : myr_serve_fleet_find(call->thread, call->params[0], &fleet, err);
}

myr_rc myr_serve_post_unload(serve_call *call, myr_err *err)
{
    bool later = false;
    serve_fleet *fleet;
    MYR_TRY(myr_serve_fleet_find(call->thread, call->params[0], &fleet, err));
    return repository_control(call, false, &later, err);
}

/* ---- what Triton has and we have not ---- */

myr_rc myr_serve_not_supported(serve_call *call, myr_err *err)
{
    MYR_FAIL(err, UNSUPPORTED, "%s is not supported: GET /v2 lists the extensions", myr_req_path(call->req));
}
