/*
 * The server: net's requests are led to their route, on the loop when they are small, on a compute thread when they are
 * not. A request passes here twice in that case; what was read the first time is kept.
 */
#include "serve/internal.h"

#include <stdio.h>
#include <string.h>

#define SERVE_INLINE_BODY_BYTES  (64u << 10) /* a larger body is not even read on a loop */
#define SERVE_PRESSED_BODY_BYTES (4u << 10)  /* the same while requests of its fleet wait */
#define SERVE_OUT_BYTES_KEPT     (1u << 20)  /* a thread's answer buffer that grew past this is given back */

/* ---- a request ---- */

/* The error as clients of MLflow and Azure ML read it, and as ours do. */
static void server_reply_message(serve_call *call, const myr_err *err)
{
    myr_buf *out = call->out;
    myr_rc rc = (myr_rc)err->rc;
    myr_buf_clear(out);
    myr_buf_printf(out, "{\"error_code\":\"%s\",\"message\":", myr_rc_name(rc));
    myr_buf_json_string(out, myr_str_of(err->message));
    myr_buf_puts(out, ",\"error\":");
    myr_buf_json_string(out, myr_str_of(err->message));
    myr_buf_putc(out, '}');
    const char *body = out->failed ? NULL : myr_arena_strndup(call->arena, out->data, out->size);
    if (body == NULL) {
        myr_req_reply_error(call->req, err);
        return;
    }
    if (rc == MYR_BUSY || rc == MYR_UNAVAILABLE) myr_req_add_header(call->req, "Retry-After", "1");
    myr_req_reply(call->req, myr_rc_http(rc), SERVE_JSON, body, out->size);
}

static void server_reply_error(serve_call *call, myr_err *err)
{
    /* The arena's cap is the request's own doing: larger than the limit, not a server short of memory. */
    if (err->rc == MYR_NO_MEMORY && myr_arena_is_full(call->arena)) {
        MYR_IGNORE(MYR_ERROR(err, TOO_LARGE, "the request needs more memory than serve.request-bytes-max (%lld bytes)",
                             (long long)call->server->opts.request_bytes_max));
    }
    if (call->route->of_default) {
        server_reply_message(call, err);
    } else {
        myr_req_reply_error(call->req, err);
    }
}

static const char *server_type(const serve_call *call)
{
    if (call->json_bytes > 0) return SERVE_BINARY;
    return call->answer_type != NULL ? call->answer_type : call->route->content_type;
}

/* The answer out of the thread's buffer, into the request's own memory. */
static myr_rc server_keep(serve_call *call, myr_kept_answer *out, myr_err *err)
{
    MYR_TRY(myr_buf_check(call->out, err));
    char *copy = myr_arena_alloc(call->arena, call->out->size + 1);
    if (copy == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the answer");
    if (call->out->size > 0) memcpy(copy, call->out->data, call->out->size);
    const char *type = server_type(call);
    *out = (myr_kept_answer){.status = 200,
                             .content_type = myr_str_of(type),
                             .body = myr_str_make(copy, call->out->size),
                             .json_bytes = (int64_t)call->json_bytes};
    return MYR_OK;
}

static myr_rc server_add_length(serve_call *call, int64_t json_bytes, myr_err *err)
{
    myr_buf *text = &call->thread->text;
    myr_buf_clear(text);
    myr_buf_int(text, json_bytes);
    const char *length = text->failed ? NULL : myr_arena_strndup(call->arena, text->data, text->size);
    if (length == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the answer");
    myr_req_add_header(call->req, SERVE_JSON_LENGTH, length);
    return MYR_OK;
}

static myr_rc server_reply(serve_call *call, myr_err *err)
{
    MYR_TRY(myr_buf_check(call->out, err));
    if (call->is_unchanged) {
        myr_req_reply(call->req, 304, NULL, "", 0);
        return MYR_OK;
    }
    myr_kept_answer answer;
    const char *type = server_type(call), *body;
    size_t size;
    /* As Triton does: only what was POSTed. Some clients ask for compressed descriptions and can't read them. */
    if (call->route->count_rows == NULL ||
        !myr_req_encode_reply(call->req, call->out->data, call->out->size, &body, &size)) {
        MYR_TRY(server_keep(call, &answer, err));
        body = answer.body.data;
        size = answer.body.size;
    }
    if (call->json_bytes > 0) MYR_TRY(server_add_length(call, (int64_t)call->json_bytes, err));
    myr_req_reply(call->req, call->route->status != 0 ? call->route->status : 200, type, body, size);
    return MYR_OK;
}

/* An answer that is in the arena, or the store's: given once more. */
static myr_rc server_reply_kept(serve_call *call, const myr_kept_answer *answer, bool is_again, myr_err *err)
{
    const char *body = answer->body.data, *type = answer->content_type.data;
    size_t size = answer->body.size;
    if (is_again) { /* it lives with the claim */
        body = myr_arena_strndup(call->arena, body != NULL ? body : "", size);
        type = myr_arena_strndup(call->arena, type != NULL ? type : "", answer->content_type.size);
        if (body == NULL || type == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the answer");
        myr_req_add_header(call->req, SERVE_REPLAYED, "true");
    }
    MYR_IGNORE(myr_req_encode_reply(call->req, body, size, &body, &size)); /* as it is if the client wants it so */
    if (answer->json_bytes > 0) MYR_TRY(server_add_length(call, answer->json_bytes, err));
    myr_req_reply(call->req, answer->status, type, body, size);
    return MYR_OK;
}

/* How long the client gives it; 0: it does not say. */
myr_rc myr_serve_read_limit(myr_req *req, int64_t *out_ns, myr_err *err)
{
    const char *text = myr_req_header(req, SERVE_DEADLINE);
    uint64_t limit_ms = 0;
    if (text == NULL) return MYR_OK;
    if (!myr_parse_uint64(myr_str_of(text), &limit_ms) || limit_ms == 0) {
        MYR_FAIL(err, BAD_INPUT, "the header " SERVE_DEADLINE " is '%.40s', not a number of milliseconds from 1", text);
    }
    *out_ns = (int64_t)(limit_ms < SERVE_DEADLINE_MS_MAX ? limit_ms : SERVE_DEADLINE_MS_MAX) * 1000000;
    return MYR_OK;
}

void myr_serve_work_headers(serve_work *work, myr_req *req)
{
    const char *alias = myr_req_header(req, SERVE_ALIAS), *sticky = myr_req_header(req, SERVE_STICKY);
    if (alias != NULL) work->alias = myr_str_of(alias);
    if (sticky != NULL) work->sticky = myr_str_of(sticky);
}

static void server_hash_text(myr_sha256 *sha, const char *text)
{
    myr_sha256_add(sha, text != NULL ? text : "", text != NULL ? strlen(text) + 1 : 1);
}

/* What makes a request the same as another: its path, what it asks for and how, of which release, its body. */
static void server_read_key(serve_call *call)
{
    myr_claim_id *id = &call->work->claim_id;
    const char *key = myr_req_header(call->req, SERVE_IDEMPOTENCY_KEY);
    if (!myr_serve_wants_claim(call->work, key != NULL)) return;
    if (key != NULL) id->key = myr_str_of(key);
    if (call->who->token != NULL) id->token = myr_str_of(call->who->token->name);
    static const char *const headers[] = {"Content-Type", "Accept", SERVE_ALIAS, SERVE_DEPLOYMENT, SERVE_JSON_LENGTH};
    static const char *const queries[] = {"output", "ignore_unknown"};
    myr_str body = myr_req_body(call->req);
    myr_sha256 sha;
    myr_sha256_init(&sha);
    server_hash_text(&sha, myr_req_path(call->req));
    for (size_t i = 0; i < MYR_COUNT_OF(headers); i++)
        server_hash_text(&sha, myr_req_header(call->req, headers[i]));
    for (size_t i = 0; i < MYR_COUNT_OF(queries); i++) {
        myr_str value = {0};
        if (myr_req_query(call->req, queries[i], &value)) myr_sha256_add(&sha, value.data, value.size);
        myr_sha256_add(&sha, "", 1);
    }
    myr_sha256_add(&sha, body.data, body.size);
    myr_sha256_hex(&sha, id->hash);
}

myr_rc myr_serve_call_work(serve_call *call, serve_work **out, myr_err *err)
{
    int64_t limit_ns = 0;
    MYR_TRY(myr_serve_read_limit(call->req, &limit_ns, err));
    MYR_TRY(myr_serve_work_new(call->server, call->thread, call->arena, call->who, myr_req_start_ns(call->req),
                               call->began_ns, call->may_block, &call->work, err));
    call->work->whole_ns = call->whole_ns;
    server_read_key(call);
    if (limit_ns > 0) myr_serve_work_limit(call->work, limit_ns);
    myr_serve_work_headers(call->work, call->req);
    *out = call->work;
    return MYR_OK;
}

/* Which release answered, where it could have been another. */
static myr_rc server_add_release(serve_call *call, myr_err *err)
{
    if (call->work == NULL || !call->work->tells_release || call->work->replay.status != 0) return MYR_OK;
    const char *text = myr_arena_printf(call->arena, "%lld", (long long)call->work->target.fleet->fleet->release);
    if (text == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the answer");
    myr_req_add_header(call->req, SERVE_RELEASE, text);
    return MYR_OK;
}

/* "infer;dur=0.012": milliseconds of each stage, for those who asked. */
static myr_rc server_add_timing(serve_call *call, const serve_note *note, myr_err *err)
{
    const serve_service *service = call->snapshot->service;
    if (call->work == NULL) return MYR_OK;
    bool is_asked = service != NULL && service->server_timing;
    if (!is_asked && myr_req_header(call->req, SERVE_TIMING_ASKED) == NULL) return MYR_OK;
    if (!note->is_encoded) myr_serve_work_mark(call->work, SERVE_ENCODE);
    const char *text = "";
    for (size_t i = 0; i < SERVE_STAGE_COUNT && text != NULL; i++) {
        if (call->work->stage_ns[i] == 0) continue;
        text = myr_arena_printf(call->arena, "%s%s%s;dur=%.3f", text, text[0] != '\0' ? ", " : "",
                                myr_serve_stage_name((serve_stage)i), (double)call->work->stage_ns[i] / 1e6);
    }
    if (text == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the answer");
    myr_req_add_header(call->req, "Server-Timing", text);
    return MYR_OK;
}

static void server_again(void *ctx, myr_req *req);

static bool server_park(void *req)
{
    return myr_req_park(req, server_again);
}

static void server_wake(void *req)
{
    myr_req_wake(req);
}

void myr_serve_call_may_sleep(serve_call *call)
{
    if (!myr_req_can_park(call->req)) return;
    call->work->sleep.park = server_park;
    call->work->sleep.wake = server_wake;
    call->work->sleep.ctx = call->req;
}

/* Run the route and store what it answers; true: it will be run again, so there is no answer yet. */
static myr_rc server_run_route(serve_call *call, serve_note *note, bool *out_again, myr_err *err)
{
    if (!note->is_encoded) {
        MYR_TRY(call->route->run(call, err));
        serve_work *work = call->work;
        *out_again = call->wants_compute || (work != NULL && work->waits);
        if (call->wants_compute && work != NULL) {
            note->pass.deadline_ns = work->deadline_ns; /* 0: not known yet */
            myr_serve_work_drop(work);                  /* it begins anew there */
        }
        if (*out_again || work == NULL || !myr_serve_work_stores(work)) return MYR_OK;
        MYR_TRY(server_keep(call, &note->answer, err));
        note->is_encoded = true;
        MYR_TRY(myr_serve_store_start(work, &note->answer, err));
        *out_again = work->waits;
        if (*out_again) return MYR_OK;
    }
    call->work->waits = false;
    return myr_serve_store_take(call->work, err);
}

static myr_rc server_send(serve_call *call, const serve_note *note, myr_err *err)
{
    serve_work *work = call->work;
    MYR_TRY(server_add_timing(call, note, err));
    MYR_TRY(server_add_release(call, err));
    if (work != NULL && work->is_stored_later) myr_req_add_header(call->req, SERVE_STORED_WHEN, "later");
    if (work != NULL && work->replay.status != 0) return server_reply_kept(call, &work->replay, true, err);
    return note->is_encoded ? server_reply_kept(call, &note->answer, false, err) : server_reply(call, err);
}

static myr_rc server_run(serve_call *call, serve_note *note, bool *out_again, myr_err *err)
{
    myr_rc rc = server_run_route(call, note, out_again, err);
    if (rc == MYR_OK && *out_again) return MYR_OK;
    *out_again = false;
    if (rc == MYR_OK) rc = server_send(call, note, err);
    if (call->work != NULL) call->work->waits = false; /* a step that failed did not fall asleep */
    if (call->work != NULL && call->work->target.fleet != NULL) myr_serve_work_end(call->work, rc == MYR_OK);
    return rc;
}

/* Which bytes of a body are JSON; what follows them goes into the note. */
static myr_rc server_split(serve_call *call, serve_note *note, myr_str body, myr_str *out_json, myr_err *err)
{
    const char *text = myr_req_header(call->req, SERVE_JSON_LENGTH);
    uint64_t size = body.size;
    *out_json = body;
    if (text == NULL) return MYR_OK;
    if (call->route->run != myr_serve_post_infer) {
        MYR_FAIL(err, BAD_INPUT, "the header " SERVE_JSON_LENGTH " is for infer: this body is all JSON");
    }
    if (!myr_parse_uint64(myr_str_of(text), &size)) {
        MYR_FAIL(err, BAD_INPUT, "the header " SERVE_JSON_LENGTH " is '%s', not a number of bytes", text);
    }
    if (size > body.size) {
        MYR_FAIL(err, BAD_INPUT, "the header " SERVE_JSON_LENGTH " says %llu bytes of JSON, the body has %zu",
                 (unsigned long long)size, body.size);
    }
    *out_json = myr_str_make(body.data, (size_t)size);
    note->binary = myr_str_make(body.data + size, body.size - (size_t)size);
    note->has_binary = true;
    note->is_raw = size == 0;
    return MYR_OK;
}

static myr_rc server_read_body(serve_call *call, serve_note *note, myr_err *err)
{
    myr_str json;
    if (call->route->takes != 0) MYR_TRY(myr_serve_body_format(call->req, call->route->takes, &note->format, err));
    bool was_encoded = myr_req_is_encoded(call->req);
    MYR_TRY(myr_req_decode_body(call->req, err));
    if (note->format != SERVE_AS_JSON) {
        note->text = myr_req_body(call->req);
        note->is_read = true;
        return MYR_OK;
    }
    MYR_TRY(server_split(call, note, myr_req_body(call->req), &json, err));
    if (call->route->run == myr_serve_post_infer && !note->is_raw && !was_encoded) { /* as it came, a NUL follows */
        note->scan = myr_serve_infer_scan(call->arena, json);
        note->json = json;
    }
    if (note->scan != NULL) {
        note->is_read = true;
        return MYR_OK;
    }
    if (call->route->allows_nan) {
        MYR_TRY(myr_serve_json_read_loose(call->thread, call->arena, json, &note->body, err));
    } else if (!note->is_raw) {
        MYR_TRY(myr_serve_json_read(call->thread, call->arena, json, &note->body, err));
    }
    note->is_read = true;
    return MYR_OK;
}

uint64_t myr_serve_fleet_hash(myr_str name)
{
    const char *at = name.size > 0 ? memchr(name.data, '@', name.size) : NULL;
    if (at != NULL) name.size = (size_t)(at - name.data);
    return myr_hash64(name.data, name.size, 0) | 1;
}

/* Whether a body is too much for a loop before anybody has looked into it. */
static bool server_is_bulky(const serve_call *call, const serve_note *note)
{
    size_t size = myr_req_body(call->req).size;
    if (size > SERVE_INLINE_BODY_BYTES || myr_req_is_encoded(call->req)) return true;
    return size > SERVE_PRESSED_BODY_BYTES &&
           myr_serve_gate_is_pressed(&call->server->gate, myr_serve_fleet_hash(note->params[0]));
}

/* Read the body of a JSON route; true when the request went to a compute thread instead. */
static myr_rc server_read(serve_call *call, serve_note *note, bool *out_deferred, myr_err *err)
{
    bool on_loop = myr_req_is_on_loop(call->req);
    *out_deferred = on_loop && !note->is_read && server_is_bulky(call, note);
    if (*out_deferred) return MYR_OK;
    if (!note->is_read) MYR_TRY(server_read_body(call, note, err));
    int64_t rows = note->scan != NULL              ? myr_serve_scan_rows(note->scan)
                   : note->format == SERVE_AS_JSON ? call->route->count_rows(note->body)
                                                   : (int64_t)myr_serve_count_lines(note->text);
    *out_deferred = on_loop && rows > myr_serve_now(&call->server->opts.inline_rows_max);
    call->body = note->body;
    call->scan = note->scan;
    call->json = note->json;
    call->format = note->format;
    call->text = note->text;
    call->binary = note->binary;
    call->has_binary = note->has_binary;
    call->is_raw = note->is_raw;
    return MYR_OK;
}

/* The snapshot that this request began with, or the current one. */
static void server_hold(serve_call *call, serve_note *note)
{
    call->work = note->work;
    if (note->work == NULL) {
        call->snapshot = myr_serve_hold(call->server, call->thread);
        return;
    }
    myr_serve_hold_pinned(call->thread, note->pinned);
    call->snapshot = note->pinned;
}

/* A request that sleeps keeps its snapshot; one that does not needs it no longer. */
static void server_drop(serve_call *call, serve_note *note)
{
    bool waits = call->work != NULL && call->work->waits;
    if (waits && note->pinned == NULL) note->pinned = myr_serve_pin(call->thread);
    note->work = waits ? call->work : NULL;
    if (!waits && note->pinned != NULL) {
        myr_serve_unpin(note->pinned);
        note->pinned = NULL;
    }
    myr_serve_drop(call->thread);
}

/* Hold, run, let go. */
static myr_rc server_work(serve_call *call, serve_note *note, bool *out_again, myr_err *err)
{
    server_hold(call, note);
    myr_rc rc = server_run(call, note, out_again, err);
    server_drop(call, note);
    return rc;
}

/* Of one whose rows nobody has counted: it is taken for a large one, which has more time. */
static myr_rc server_set_deadline(const myr_server *server, myr_req *req, serve_note *note, myr_err *err)
{
    int64_t limit_ns = 0;
    MYR_TRY(myr_serve_read_limit(req, &limit_ns, err));
    if (limit_ns == 0) limit_ns = myr_serve_now(&server->opts.bulk_deadline_ms) * 1000000;
    note->pass.deadline_ns = limit_ns > 0 ? note->whole_ns + limit_ns : INT64_MAX;
    return MYR_OK;
}

/* To a compute thread, in turn with other fleets and clients, unless it would be late there. */
static void server_defer(myr_server *server, myr_req *req, serve_note *note)
{
    char client[MYR_HTTP_CLIENT_BYTES];
    myr_err err = {0};
    if (note->pass.deadline_ns == 0 && server_set_deadline(server, req, note, &err) != MYR_OK) {
        myr_req_reply_error(req, &err);
        return;
    }
    uint64_t fleet_hash = myr_serve_fleet_hash(note->params[0]);
    if (note->pass.gated_ns == 0 && myr_serve_gate_enter(&server->gate, &note->pass, fleet_hash, &err) != MYR_OK) {
        myr_req_turn_away(req, fleet_hash);
        myr_req_reply_error(req, &err);
        return;
    }
    uint64_t flow = note->who.token != NULL ? (uint64_t)note->who.token->id : 0;
    if (flow == 0) flow = myr_hash64(myr_req_client(req, client), strlen(client), 0);
    myr_req_set_flow(req, fleet_hash, flow);
    myr_req_defer(req, server_again);
}

static void server_answer(myr_server *server, myr_req *req, serve_note *note, int64_t began_ns)
{
    serve_thread *thread = myr_req_loop_state(req);
    serve_call call = {.server = server,
                       .req = req,
                       .arena = myr_req_arena(req),
                       .thread = thread,
                       .route = note->route,
                       .who = &note->who,
                       .may_block = !myr_req_is_on_loop(req),
                       .whole_ns = note->whole_ns,
                       .began_ns = began_ns,
                       .format = note->format,
                       .out = &thread->out};
    memcpy(call.params, note->params, sizeof call.params);
    myr_buf_clear(call.out);
    myr_err err = {0};
    bool deferred = false, again = false;
    myr_rc rc = MYR_OK;
    if (note->route->count_rows != NULL && note->work == NULL) {
        rc = server_read(&call, note, &deferred, &err);
        if (rc == MYR_OK && deferred) {
            server_defer(server, req, note);
            return;
        }
    }
    if (rc == MYR_OK) rc = server_work(&call, note, &again, &err);
    if (rc != MYR_OK) server_reply_error(&call, &err);
    if (call.out->failed || call.out->room > SERVE_OUT_BYTES_KEPT) myr_buf_fini(call.out);
    if (call.wants_compute) server_defer(server, req, note); /* last: another thread may have it at once */
}

/* This file's and in the request's arena: the face hands it back as const for the readers of logs. */
static serve_note *server_note(const myr_req *req)
{
    return (serve_note *)(uintptr_t)myr_req_note(req);
}

/* Another pass: on a compute thread, or on the loop once what it waited for is there. */
static void server_again(void *ctx, myr_req *req)
{
    const serve_listener *listener = ctx;
    serve_note *note = server_note(req);
    bool is_compute = !myr_req_is_on_loop(req);
    int64_t began_ns = myr_clock_mono_ns();
    if (is_compute) myr_serve_gate_began(&listener->server->gate, &note->pass);
    server_answer(listener->server, req, note, began_ns);
    if (is_compute) myr_serve_gate_served(&listener->server->gate, myr_clock_mono_ns() - began_ns);
}

/* The request is all there: its time runs. */
static void server_handle(void *ctx, myr_req *req)
{
    const serve_listener *listener = ctx;
    serve_note *note = server_note(req);
    int64_t now_ns = myr_clock_mono_ns();
    note->whole_ns = myr_req_was_held(req) ? myr_req_start_ns(req) : now_ns;
    server_answer(listener->server, req, note, now_ns);
}

/* ---- threads ---- */

serve_thread *myr_serve_thread_new(myr_server *server)
{
    serve_thread *thread = myr_calloc(1, sizeof *thread);
    if (thread == NULL) return NULL;
    myr_mutex_init(&thread->wait_lock);
    myr_cond_init(&thread->wait_over);
    thread->scratch = myr_score_scratch_new();
    if (thread->scratch == NULL) {
        myr_free(thread);
        return NULL;
    }
    thread->next = server->threads; /* net makes all of them before the first request; the reloader starts later */
    server->threads = thread;
    return thread;
}

static void *server_make_thread(void *ctx)
{
    return myr_serve_thread_new(((const serve_listener *)ctx)->server);
}

/* Freed with the server: the reloader may still look at `held` when net gives the states back. */
void myr_serve_thread_leave(void *state)
{
    serve_thread *thread = state;
    MYR_ASSERT(atomic_load(&thread->held) == NULL);
}

static void server_free_threads(myr_server *server)
{
    while (server->threads != NULL) {
        serve_thread *thread = server->threads;
        server->threads = thread->next;
        myr_score_scratch_free(thread->scratch);
        myr_buf_fini(&thread->out);
        myr_buf_fini(&thread->text);
        myr_free(thread->slots);
        myr_cond_fini(&thread->wait_over);
        myr_mutex_fini(&thread->wait_lock);
        myr_free(thread);
    }
}

/* ---- start and stop ---- */

static myr_rc server_choice(const char *option, const char *value, const char *const *words, int *out, myr_err *err)
{
    for (int i = 0; words[i] != NULL; i++) {
        if (strcmp(value, words[i]) != 0) continue;
        *out = i;
        return MYR_OK;
    }
    const char *nearest = myr_nearest(value, words);
    MYR_FAIL(err, BAD_USAGE, "%s '%s' is not one of its words%s%s", option, value,
             nearest != NULL ? ": did you mean " : ": see myriad serve --help", nearest != NULL ? nearest : "");
}

static myr_rc server_read_choices(myr_server *server, myr_err *err)
{
    static const char *const auths[] = {"auto", "required", "off", NULL};
    static const char *const places[] = {"main", "admin", NULL};
    int auth = 0, place = 0;
    MYR_TRY(server_choice("serve.auth", server->opts.auth, auths, &auth, err));
    MYR_TRY(server_choice("serve.metrics", server->opts.metrics, places, &place, err));
    server->auth = (serve_auth)auth;
    server->has_admin = server->opts.admin_listen[0] != '\0';
    return MYR_OK;
}

static myr_rc server_open_tls(myr_server *server, myr_err *err)
{
    const myr_serve_opts *opts = &server->opts;
    bool has_cert = opts->tls_cert[0] != '\0', has_key = opts->tls_key[0] != '\0';
    const char *ca = opts->tls_client_ca[0] != '\0' ? opts->tls_client_ca : NULL;
    if (has_cert != has_key) {
        MYR_FAIL(err, BAD_USAGE, "%s is set without %s: TLS needs both", has_cert ? "serve.tls-cert" : "serve.tls-key",
                 has_cert ? "serve.tls-key" : "serve.tls-cert");
    }
    if (!has_cert && ca != NULL) MYR_FAIL(err, BAD_USAGE, "serve.tls-client-ca needs serve.tls-cert and serve.tls-key");
    return has_cert ? myr_tls_open(opts->tls_cert, opts->tls_key, ca, &server->tls, err) : MYR_OK;
}

/* Why other machines must not reach us; NULL: they may. */
static const char *server_why_loopback(const myr_server *server)
{
    bool knows_clients = server->tls != NULL && myr_tls_asks_clients(server->tls);
    if (server->opts.insecure) return NULL;
    if (!knows_clients && !myr_serve_asks_for_tokens(server, atomic_load(&server->current)))
        return "make a token first (myriad token create), or say --serve.insecure true";
    if (server->tls != NULL) return NULL;
    return "there is no TLS (serve.tls-cert, serve.tls-key): say --serve.insecure true if something in front does it";
}

static myr_rc server_listen(myr_server *server, serve_listener *listener, const char *address, myr_err *err)
{
    const myr_serve_opts *opts = &server->opts;
    myr_http_opts http = {.listen = address,
                          .tls = server->tls,
                          .address_connections_max = opts->address_connections_max,
                          .only_loopback = server_why_loopback(server),
                          .loop_count = listener->is_admin ? 1 : (int)opts->loops,
                          .compute_count = listener->is_admin ? 1 : (int)opts->compute_threads,
                          .queue_max = opts->queue_max,
                          .body_bytes_max = opts->body_bytes_max,
                          .request_bytes_max = opts->request_bytes_max,
                          .connections_max = opts->connections_max,
                          .header_timeout_ms = opts->header_timeout_ms,
                          .body_timeout_ms = opts->body_timeout_ms,
                          .idle_timeout_ms = opts->idle_timeout_ms,
                          .on_headers = myr_serve_screen,
                          .handler = server_handle,
                          .make_loop_state = server_make_thread,
                          .free_loop_state = myr_serve_thread_leave,
                          .on_done = myr_serve_done,
                          .ctx = listener};
    return myr_http_start(&http, &listener->http, err);
}

static void server_free(myr_server *server)
{
    myr_serve_reloader_stop(server);
    myr_tls_close(server->tls);
    myr_serve_access_stop(server);
    server_free_threads(server);
    myr_serve_helpers_stop(server->helpers);
    myr_serve_metrics_stop(server);
    myr_serve_routes_stop(server);
    myr_free(server);
}

/* All but listening. */
static myr_rc server_open(myr_server *server, const char *workspace_root, const myr_serve_opts *opts, myr_err *err)
{
    server->opts = *opts;
    (void)snprintf(server->root, sizeof server->root, "%s", workspace_root);
    server->main = (serve_listener){.server = server};
    server->admin = (serve_listener){.server = server, .is_admin = true};
    myr_rc rc = server_read_choices(server, err);
    if (rc == MYR_OK) rc = server_open_tls(server, err);
    if (rc == MYR_OK) rc = myr_serve_routes_start(server, err);
    if (rc == MYR_OK) rc = myr_serve_metrics_start(server, err);
    if (rc == MYR_OK) rc = myr_serve_access_start(server, err);
    if (rc == MYR_OK) myr_serve_gate_start(&server->gate, opts, server->metrics, NULL);
    if (rc == MYR_OK) rc = myr_serve_helpers_start(opts->part_rows, &server->helpers, err);
    if (rc == MYR_OK)
        rc = myr_serve_reloader_open(server, workspace_root, err); /* the first request finds all fleets */
    return rc;
}

myr_rc myr_serve_open_silent(const char *workspace_root, const char *service, myr_server **out, myr_err *err)
{
    myr_serve_opts opts = {0};
    myr_opt_defaults(myr_serve_opt_table, &opts);
    if ((size_t)snprintf(opts.service, sizeof opts.service, "%s", service) >= sizeof opts.service)
        MYR_FAIL(err, BAD_USAGE, "the path of the service file is too long");
    myr_server *server = myr_calloc(1, sizeof *server);
    if (server == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the stages");
    myr_rc rc = myr_serve_thread_new(server) != NULL ? server_open(server, workspace_root, &opts, err)
                                                     : MYR_ERROR(err, NO_MEMORY, "out of memory for the stages");
    if (rc != MYR_OK) {
        server_free(server);
        return rc;
    }
    *out = server;
    return MYR_OK;
}

void myr_serve_close_silent(myr_server *server)
{
    server_free(server);
}

myr_rc myr_server_start(const char *workspace_root, const myr_serve_opts *opts, myr_server **out, myr_err *err)
{
    MYR_ASSERT(workspace_root != NULL && opts != NULL && opts->reload_ms > 0);
    myr_server *server = myr_calloc(1, sizeof *server);
    if (server == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the server");
    myr_rc rc = server_open(server, workspace_root, opts, err);
    if (rc == MYR_OK && server->has_admin) rc = server_listen(server, &server->admin, opts->admin_listen, err);
    if (rc == MYR_OK) rc = server_listen(server, &server->main, opts->listen, err);
    if (rc == MYR_OK && opts->grpc_listen[0] != '\0')
        rc = myr_serve_rpc_start(server, server_why_loopback(server), err);
    if (rc == MYR_OK) rc = myr_serve_reloader_start(server, err);
    if (rc != MYR_OK) {
        myr_serve_rpc_stop(server->rpc, 0);
        myr_http_stop(server->main.http, 0);
        myr_http_stop(server->admin.http, 0);
        server_free(server);
        return rc;
    }
    *out = server;
    return MYR_OK;
}

int myr_server_port(const myr_server *server)
{
    return myr_http_port(server->main.http);
}

int myr_server_grpc_port(const myr_server *server)
{
    return myr_serve_rpc_port(server->rpc);
}

int myr_server_admin_port(const myr_server *server)
{
    return server->has_admin ? myr_http_port(server->admin.http) : 0;
}

size_t myr_server_fleet_count(const myr_server *server)
{
    return atomic_load(&server->fleet_count);
}

void myr_server_drain(myr_server *server)
{
    atomic_store(&server->is_stopping, true); /* readiness flips; everything else goes on */
    myr_serve_reloader_leave(server);         /* others learn of it; a second time it says nothing new */
}

static int64_t server_left_ms(int64_t until_ns)
{
    int64_t left_ns = until_ns - myr_clock_mono_ns();
    return left_ns > 0 ? left_ns / 1000000 : 0;
}

void myr_server_stop(myr_server *server)
{
    if (server == NULL) return;
    myr_server_drain(server);
    int64_t until_ns = myr_clock_mono_ns() + myr_serve_now(&server->opts.drain_ms) * 1000000;
    myr_http_drain(server->main.http); /* all begin now: a slow client of one takes no time of the others */
    myr_http_drain(server->admin.http);
    myr_serve_rpc_stop(server->rpc, server_left_ms(until_ns));
    myr_http_stop(server->main.http, server_left_ms(until_ns));
    myr_http_stop(server->admin.http, server_left_ms(until_ns));
    server_free(server); /* the reloader has held every fleet until here */
}

/* Take over one option, if it may change while serving. Threads read numbers and truths as one piece; texts are handed
 * to the reloader, which makes a snapshot with them. */
static bool server_take_option(myr_serve_opts *opts, const myr_opt_row *row, const myr_serve_opts *next)
{
    const char *from = (const char *)next + row->offset;
    char *to = (char *)opts + row->offset;
    if ((row->flags & MYR_OPT_RELOAD) == 0) return false;
    if (row->type == MYR_OPT_TEXT) {
        memcpy(to, from, (size_t)row->max);
    } else if (row->type == MYR_OPT_BOOL) {
        __atomic_store_n((bool *)to, *(const bool *)from, __ATOMIC_RELAXED);
    } else {
        __atomic_store_n((int64_t *)(void *)to, *(const int64_t *)(const void *)from, __ATOMIC_RELAXED);
    }
    return true;
}

void myr_server_reload(myr_server *server, const myr_serve_opts *next, myr_buf *out_diff)
{
    for (size_t i = 0; i < myr_serve_opt_table.count; i++) {
        const myr_opt_row *row = &myr_serve_opt_table.rows[i];
        if (myr_opt_equal(row, &server->opts, next)) continue;
        myr_buf_printf(out_diff, "%s: ", row->name);
        myr_opt_format(row, &server->opts, out_diff);
        myr_buf_puts(out_diff, " -> ");
        myr_opt_format(row, next, out_diff);
        myr_buf_puts(out_diff, server_take_option(&server->opts, row, next) ? "\n" : " (after a restart)\n");
    }
    myr_serve_access_reopen(server);
    myr_serve_reloader_take(server, next, out_diff);
}
