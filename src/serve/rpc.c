/*
 * V2 over gRPC: which method runs, who may call it, on which thread, how errors and counts come about. As with REST, a
 * message that is large or has many rows, and models that may block, are answered on a compute thread; it passes here
 * twice then, and is read again.
 */
#include "serve/rpc_inside.h"

#include <stdio.h>
#include <string.h>

#define RPC_INLINE_BYTES   (64u << 10) /* a larger message is not even read on a loop */
#define RPC_OUT_BYTES_KEPT (1u << 20)  /* a thread's answer buffer that grew past this is given back */
#define RPC_CODES_MAX      17          /* gRPC's statuses */

#define V2     "/inference.GRPCInferenceService/"
#define HEALTH "/grpc.health.v1.Health/"

/* Two tables of one order: net finds by path, we run by its index. */
static const myr_rpc_method rpc_paths[] = {
    {V2 "ModelInfer", MYR_RPC_UNARY}, /* the most frequent first */
    {V2 "ModelStreamInfer", MYR_RPC_STREAM},
    {HEALTH "Check", MYR_RPC_UNARY},
    {HEALTH "Watch", MYR_RPC_WATCH},
    {V2 "ServerLive", MYR_RPC_UNARY},
    {V2 "ServerReady", MYR_RPC_UNARY},
    {V2 "ModelReady", MYR_RPC_UNARY},
    {V2 "ServerMetadata", MYR_RPC_UNARY},
    {V2 "ModelMetadata", MYR_RPC_UNARY},
    {V2 "ModelConfig", MYR_RPC_UNARY},
    {V2 "ModelStatistics", MYR_RPC_UNARY},
    {V2 "RepositoryIndex", MYR_RPC_UNARY},
    {V2 "RepositoryModelLoad", MYR_RPC_UNARY},
    {V2 "RepositoryModelUnload", MYR_RPC_UNARY},
};
static const rpc_method rpc_methods[] = {
    {"ModelInfer", SERVE_INFER_MODEL, myr_serve_rpc_model_infer},
    {"ModelStreamInfer", SERVE_INFER_MODEL, myr_serve_rpc_model_stream_infer},
    {"Check", SERVE_OPEN, myr_serve_rpc_health_check},
    {"Watch", SERVE_OPEN, myr_serve_rpc_health_watch},
    {"ServerLive", SERVE_OPEN, myr_serve_rpc_server_live},
    {"ServerReady", SERVE_OPEN, myr_serve_rpc_server_ready},
    {"ModelReady", SERVE_READ_MODEL, myr_serve_rpc_model_ready},
    {"ServerMetadata", SERVE_READ, myr_serve_rpc_server_metadata},
    {"ModelMetadata", SERVE_READ_MODEL, myr_serve_rpc_model_metadata},
    {"ModelConfig", SERVE_READ_MODEL, myr_serve_rpc_model_config},
    {"ModelStatistics", SERVE_READ_MODEL, myr_serve_rpc_model_statistics},
    {"RepositoryIndex", SERVE_READ, myr_serve_rpc_index},
    {"RepositoryModelLoad", SERVE_ADMIN_MODEL, myr_serve_rpc_load},
    {"RepositoryModelUnload", SERVE_ADMIN_MODEL, myr_serve_rpc_unload},
};
_Static_assert(MYR_COUNT_OF(rpc_paths) == MYR_COUNT_OF(rpc_methods), "a path per method");

struct serve_rpc {
    myr_server *server;
    myr_rpc_server *net;
    serve_gate gate;
    _Atomic(myr_metric *) requests[MYR_COUNT_OF(rpc_methods) + 1][RPC_CODES_MAX]; /* made on first use */
    myr_metric *durations[MYR_COUNT_OF(rpc_methods) + 1];
};

/* ---- reading ---- */

myr_rc myr_serve_rpc_end(const rpc_reader *reader, myr_err *err)
{
    if (reader->pb.fault == NULL) return MYR_OK;
    MYR_FAIL(err, BAD_INPUT, "the message is no %s: byte %zu: %s", reader->what,
             (size_t)(reader->pb.at - reader->pb.begin), reader->pb.fault);
}

myr_rc myr_serve_rpc_bytes(const rpc_reader *reader, const myr_pb_field *field, const char *name, myr_str *out,
                           myr_err *err)
{
    if (field->wire != MYR_PB_BYTES) {
        MYR_FAIL(err, BAD_INPUT, "%s: field %s (%u) is a number", reader->what, name, field->number);
    }
    *out = myr_str_make((const char *)field->data, field->size);
    return MYR_OK;
}

myr_rc myr_serve_rpc_text(const rpc_reader *reader, const myr_pb_field *field, const char *name, myr_str *out,
                          myr_err *err)
{
    myr_str text;
    MYR_TRY(myr_serve_rpc_bytes(reader, field, name, &text, err));
    if (!myr_utf8_is_valid(text) || (text.size > 0 && memchr(text.data, '\0', text.size) != NULL)) {
        MYR_FAIL(err, BAD_INPUT, "%s: field %s (%u) is not UTF-8, or has a NUL", reader->what, name, field->number);
    }
    *out = text;
    return MYR_OK;
}

myr_rc myr_serve_rpc_number(const rpc_reader *reader, const myr_pb_field *field, const char *name, uint64_t *out,
                            myr_err *err)
{
    if (field->wire != MYR_PB_VARINT) {
        MYR_FAIL(err, BAD_INPUT, "%s: field %s (%u) is not a whole number", reader->what, name, field->number);
    }
    *out = field->value;
    return MYR_OK;
}

myr_rc myr_serve_rpc_entry(const rpc_reader *reader, const myr_pb_field *field, myr_str *out_key, myr_str *out_value,
                           myr_err *err)
{
    enum { ENTRY_KEY = 1, ENTRY_VALUE };
    myr_str entry;
    myr_pb_field part;
    *out_key = *out_value = myr_str_make("", 0);
    MYR_TRY(myr_serve_rpc_bytes(reader, field, "parameters", &entry, err));
    rpc_reader inside = myr_serve_rpc_reader(reader->what, entry.data, entry.size);
    while (myr_pb_next(&inside.pb, &part)) {
        if (part.number == ENTRY_KEY) MYR_TRY(myr_serve_rpc_text(&inside, &part, "parameters.key", out_key, err));
        if (part.number == ENTRY_VALUE)
            MYR_TRY(myr_serve_rpc_bytes(&inside, &part, "parameters.value", out_value, err));
    }
    return myr_serve_rpc_end(&inside, err);
}

/* ---- who may ---- */

static const serve_access_rule *rpc_rule(const myr_rpc *rpc)
{
    return &myr_serve_access_rules[rpc_methods[myr_rpc_method_idx(rpc)].access];
}

/* As of REST's routes: admin answers on its own listener, or to this machine alone. */
static myr_rc rpc_check_place(const serve_rpc *rpc, const myr_rpc *call, myr_err *err)
{
    const serve_access_rule *rule = rpc_rule(call);
    if ((rule->scope & MYR_SCOPE_ADMIN) == 0) return MYR_OK;
    if (rpc->server->has_admin) MYR_FAIL(err, DENIED, "load and unload answer on serve.admin-listen, over REST");
    if (myr_rpc_is_loopback(call)) return MYR_OK;
    MYR_FAIL(err, DENIED, "load and unload do not answer other machines: set serve.admin-listen");
}

static myr_rc rpc_identify(const serve_rpc *rpc, const myr_rpc *call, rpc_note *note, myr_err *err)
{
    myr_str header = {0};
    if (rpc_rule(call)->scope == 0) return MYR_OK;
    (void)myr_rpc_metadata(call, "authorization", &header);
    return myr_serve_identify(rpc->server, myr_rpc_loop_state(call), header, &note->who, err);
}

static void rpc_forget(rpc_note *note)
{
    myr_serve_forget(&note->who);
    note->who = (serve_principal){0};
}

myr_rc myr_serve_rpc_may(const rpc_call *call, myr_str name, myr_err *err)
{
    const serve_access_rule *rule = rpc_rule(call->rpc);
    return myr_serve_may(&call->note->who, rule->scope, rule->on, name, myr_str_make("", 0), err);
}

/* Before any message: who asks. A unary call counts for them until it ends, a stream message by message. */
static myr_rc rpc_screen(const serve_rpc *rpc, myr_rpc *call, myr_err *err)
{
    rpc_note *note = myr_arena_calloc(myr_rpc_call_arena(call), 1, sizeof *note);
    if (note == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    myr_rpc_set_note(call, note);
    MYR_TRY(rpc_identify(rpc, call, note, err));
    if (rpc_paths[myr_rpc_method_idx(call)].kind != MYR_RPC_UNARY) rpc_forget(note);
    return rpc_check_place(rpc, call, err);
}

static void rpc_on_headers(void *ctx, myr_rpc *call)
{
    myr_err err = {0};
    if (rpc_screen(ctx, call, &err) != MYR_OK) myr_rpc_fail(call, &err);
}

/* ---- a message ---- */

static void rpc_fail(rpc_call *call, myr_err *err)
{
    /* The arena's cap is the request's own doing: larger than the limit, not a server short of memory. */
    if (err->rc == MYR_NO_MEMORY && myr_arena_is_full(call->arena)) {
        MYR_IGNORE(MYR_ERROR(err, TOO_LARGE, "the request needs more memory than serve.request-bytes-max (%lld bytes)",
                             (long long)call->server->opts.request_bytes_max));
    }
    myr_rpc_fail(call->rpc, err);
}

static myr_rc rpc_run(const serve_rpc *rpc, rpc_call *call, myr_err *err)
{
    bool is_unary = rpc_paths[myr_rpc_method_idx(call->rpc)].kind == MYR_RPC_UNARY;
    if (!is_unary && !call->note->who.is_known) MYR_TRY(rpc_identify(rpc, call->rpc, call->note, err));
    call->wants_compute = !call->may_block && call->message.size > RPC_INLINE_BYTES;
    if (call->wants_compute) return MYR_OK;
    call->snapshot = myr_serve_hold(call->server, call->thread);
    myr_rc rc = rpc_methods[myr_rpc_method_idx(call->rpc)].run(call, err);
    myr_serve_drop(call->thread);
    if (!call->wants_compute && !is_unary) rpc_forget(call->note);
    return rc == MYR_OK ? myr_buf_check(call->out, err) : rc;
}

/* The fleet that a message names in its first field, as clients write it; 0: it is said later, or not at all. */
static uint64_t rpc_fleet_hash(myr_str message)
{
    enum { MODEL_NAME = 1 };
    myr_pb pb;
    myr_pb_field field;
    myr_pb_init(&pb, message.data, message.size);
    if (!myr_pb_next(&pb, &field) || field.number != MODEL_NAME || field.wire != MYR_PB_BYTES) return 0;
    return myr_serve_fleet_hash(myr_str_make((const char *)field.data, field.size));
}

/* To a compute thread, unless it would be late there. */
static void rpc_again(void *ctx, myr_rpc *rpc);
static void rpc_defer(serve_rpc *served, rpc_call *call)
{
    rpc_note *note = call->note;
    myr_err err = {0};
    note->pass = (serve_pass){.deadline_ns = myr_rpc_deadline_ns(call->rpc)};
    if (myr_serve_gate_enter(&served->gate, &note->pass, rpc_fleet_hash(call->message), &err) != MYR_OK) {
        myr_rpc_fail(call->rpc, &err);
        return;
    }
    myr_rpc_defer(call->rpc, rpc_again);
}

/* A message leaves the gate when it is answered, or with its call. */
static void rpc_leave(serve_rpc *served, rpc_note *note)
{
    myr_serve_gate_leave(&served->gate, &note->pass);
    note->pass = (serve_pass){0};
}

static void rpc_answer(void *ctx, myr_rpc *rpc)
{
    serve_rpc *served = ctx;
    serve_thread *thread = myr_rpc_loop_state(rpc);
    rpc_call call = {.server = served->server,
                     .rpc = rpc,
                     .note = myr_rpc_note(rpc),
                     .arena = myr_rpc_arena(rpc),
                     .thread = thread,
                     .message = myr_rpc_message(rpc),
                     .out = &thread->out,
                     .may_block = !myr_rpc_is_on_loop(rpc)};
    myr_err err = {0};
    myr_buf_clear(call.out);
    myr_rc rc = rpc_run(served, &call, &err);
    if (rc != MYR_OK) {
        rpc_fail(&call, &err);
    } else if (call.waits) {
        myr_rpc_wait(rpc);
    } else if (!call.wants_compute) {
        myr_rpc_reply(rpc, call.out->size > 0 ? call.out->data : "", call.out->size);
    }
    if (call.out->failed || call.out->room > RPC_OUT_BYTES_KEPT) myr_buf_fini(call.out);
    if (rc == MYR_OK && call.wants_compute) rpc_defer(served, &call); /* last: another thread may have it at once */
}

/* Another pass, on a compute thread. */
static void rpc_again(void *ctx, myr_rpc *rpc)
{
    serve_rpc *served = ctx;
    rpc_note *note = myr_rpc_note(rpc);
    int64_t began_ns = myr_clock_mono_ns();
    myr_serve_gate_began(&served->gate, &note->pass);
    rpc_answer(ctx, rpc);
    myr_serve_gate_served(&served->gate, myr_clock_mono_ns() - began_ns);
    rpc_leave(served, note);
}

/* ---- counts ---- */

static void rpc_count(serve_rpc *rpc, const myr_rpc *call, int64_t took_ns)
{
    uint32_t idx = myr_rpc_method_idx(call);
    if (idx == MYR_RPC_NO_METHOD) idx = MYR_COUNT_OF(rpc_methods);
    int status = myr_rpc_status(call);
    MYR_ASSERT(status >= 0 && status < RPC_CODES_MAX);
    _Atomic(myr_metric *) *slot = &rpc->requests[idx][status];
    myr_metric *metric = atomic_load_explicit(slot, memory_order_acquire);
    if (metric == NULL) {
        char labels[96];
        snprintf(labels, sizeof labels, "method=\"%s\",code=\"%d\"",
                 idx < MYR_COUNT_OF(rpc_methods) ? rpc_methods[idx].name : "none", status);
        metric = myr_metrics_series(rpc->server->metrics, MYR_METRIC_COUNTER, "myriad_grpc_requests_total",
                                    "gRPC calls that ended.", labels);
        atomic_store_explicit(slot, metric, memory_order_release);
    }
    myr_metric_add(metric, 1);
    myr_metric_observe_ns(rpc->durations[idx], took_ns);
}

static void rpc_log(const serve_rpc *rpc, const myr_rpc *call, const rpc_note *note, int64_t took_ns)
{
    uint32_t idx = myr_rpc_method_idx(call);
    const serve_token *token = note != NULL ? note->who.token : NULL;
    myr_str trace = {0};
    (void)myr_rpc_metadata(call, "traceparent", &trace);
    const serve_access_line line = {.method = "gRPC",
                                    .path = idx != MYR_RPC_NO_METHOD ? rpc_paths[idx].path : "",
                                    .route = idx != MYR_RPC_NO_METHOD ? rpc_methods[idx].name : "none",
                                    .token = token != NULL ? token->name : NULL,
                                    .status = myr_rpc_status(call),
                                    .bytes = myr_rpc_reply_bytes(call),
                                    .took_ns = took_ns,
                                    .trace = myr_serve_read_trace(trace)};
    myr_serve_access_put(rpc->server, &line);
}

static void rpc_on_done(void *ctx, const myr_rpc *call)
{
    serve_rpc *rpc = ctx;
    rpc_note *note = myr_rpc_note(call);
    int64_t took_ns = myr_clock_mono_ns() - myr_rpc_call_start_ns(call);
    rpc_count(rpc, call, took_ns);
    if (rpc->server->access != NULL) rpc_log(rpc, call, note, took_ns);
    if (note == NULL) return; /* refused before it was screened */
    rpc_leave(rpc, note);
    rpc_forget(note);
}

/* ---- start and stop ---- */

static void rpc_make_durations(serve_rpc *rpc)
{
    for (size_t i = 0; i <= MYR_COUNT_OF(rpc_methods); i++) {
        char labels[64];
        snprintf(labels, sizeof labels, "method=\"%s\"", i < MYR_COUNT_OF(rpc_methods) ? rpc_methods[i].name : "none");
        rpc->durations[i] =
            myr_metrics_series(rpc->server->metrics, MYR_METRIC_HISTOGRAM, "myriad_grpc_request_duration_seconds",
                               "From complete headers to the end of the call.", labels);
    }
}

static void *rpc_make_thread(void *ctx)
{
    return myr_serve_thread_new(((const serve_rpc *)ctx)->server);
}

myr_rc myr_serve_rpc_start(myr_server *server, const char *only_loopback, myr_err *err)
{
    const myr_serve_opts *opts = &server->opts;
    serve_rpc *rpc = myr_calloc(1, sizeof *rpc);
    if (rpc == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the gRPC server");
    rpc->server = server;
    rpc_make_durations(rpc);
    myr_serve_gate_start(&rpc->gate, opts, server->metrics, "listener=\"grpc\"");
    myr_rpc_opts net = {.listen = opts->grpc_listen,
                        .tls = server->tls,
                        .only_loopback = only_loopback,
                        .loop_count = (int)opts->loops,
                        .compute_count = (int)opts->compute_threads,
                        .queue_max = opts->queue_max,
                        .message_bytes_max = opts->body_bytes_max,
                        .request_bytes_max = opts->request_bytes_max,
                        .connections_max = opts->connections_max,
                        .address_connections_max = opts->address_connections_max,
                        .streams_max = opts->grpc_streams_max,
                        .header_timeout_ms = opts->header_timeout_ms,
                        .body_timeout_ms = opts->body_timeout_ms,
                        .idle_timeout_ms = opts->idle_timeout_ms,
                        .watch_ms = opts->reload_ms,
                        .methods = rpc_paths,
                        .method_count = MYR_COUNT_OF(rpc_paths),
                        .on_headers = rpc_on_headers,
                        .handler = rpc_answer,
                        .make_loop_state = rpc_make_thread,
                        .free_loop_state = myr_serve_thread_leave,
                        .on_done = rpc_on_done,
                        .ctx = rpc};
    server->rpc = rpc; /* a call may come before start returns */
    myr_rc rc = myr_rpc_start(&net, &rpc->net, err);
    if (rc != MYR_OK) {
        myr_free(rpc);
        server->rpc = NULL;
    }
    return rc;
}

int myr_serve_rpc_port(const serve_rpc *rpc)
{
    return rpc != NULL ? myr_rpc_port(rpc->net) : 0;
}

void myr_serve_rpc_stop(serve_rpc *rpc, int64_t drain_ms)
{
    if (rpc == NULL) return;
    rpc->server->rpc = NULL;
    myr_rpc_stop(rpc->net, drain_ms);
    myr_free(rpc);
}
