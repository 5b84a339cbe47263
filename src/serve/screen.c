/*
 * A request before its body, and after its answer: its id and trace, which route, who asks, whether they may; what is
 * counted and logged in the end. An answer here is the answer: its body is dropped.
 */
#include "serve/internal.h"

#include <stdio.h>
#include <string.h>

#define SCREEN_REQUEST_ID   "X-Request-Id"
#define SCREEN_ID_BYTES_MAX 128
#define SCREEN_TRACE_BYTES  55 /* of version 00: 00-<32>-<16>-<2> */

/* ---- ids ---- */

static bool screen_is_hex(const char *text, size_t size)
{
    bool is_zero = true;
    for (size_t i = 0; i < size; i++) {
        char c = text[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'))) return false;
        is_zero = is_zero && c == '0';
    }
    return !is_zero;
}

/* W3C's traceparent; anything else is as if it were not there. */
myr_str myr_serve_read_trace(myr_str text)
{
    const myr_str none = {0};
    if (text.size < SCREEN_TRACE_BYTES) return none;
    const char *p = text.data;
    bool is_known = p[0] == '0' && p[1] == '0' && text.size == SCREEN_TRACE_BYTES;
    bool is_later = screen_is_hex(p, 2) && memcmp(p, "ff", 2) != 0 && /* a later version may add to it */
                    (text.size == SCREEN_TRACE_BYTES || p[SCREEN_TRACE_BYTES] == '-');
    bool has_dashes = p[2] == '-' && p[35] == '-' && p[52] == '-';
    if (!(is_known || is_later) || !has_dashes || !screen_is_hex(p + 3, 32) || !screen_is_hex(p + 36, 16)) return none;
    return myr_str_make(p, SCREEN_TRACE_BYTES);
}

static bool screen_id_is_good(const char *text)
{
    size_t size = strlen(text);
    if (size == 0 || size > SCREEN_ID_BYTES_MAX) return false;
    for (size_t i = 0; i < size; i++) {
        if (text[i] <= 0x20 || text[i] >= 0x7f || text[i] == '"' || text[i] == '\\') return false;
    }
    return true;
}

/* The client's own id, or, when there is a log to find it in, one of ours; the answer carries it. */
static void screen_name(const serve_listener *listener, myr_req *req, serve_note *note)
{
    const char *id = myr_req_header(req, SCREEN_REQUEST_ID);
    if (id != NULL && !screen_id_is_good(id)) id = NULL;
    if (listener->server->access != NULL) {
        const char *trace = myr_req_header(req, "traceparent");
        note->trace = myr_serve_read_trace(myr_str_of(trace));
        uint64_t bits[2];
        if (id == NULL && myr_random(bits, sizeof bits, NULL) == MYR_OK) {
            char text[2 * sizeof bits + 1];
            myr_hex(bits, sizeof bits, text);
            id = myr_arena_strndup(myr_req_arena(req), text, sizeof text - 1);
        }
    }
    note->request_id = id;
    if (id != NULL) myr_req_add_header(req, SCREEN_REQUEST_ID, id);
}

/* ---- web pages of other origins (CORS) ---- */

static bool screen_knows_origin(const char *list, const char *origin)
{
    myr_str rest = myr_str_of(list), known;
    while (myr_str_split(&rest, ',', &known)) {
        known = myr_str_trim(known);
        if (known.size > 0 && myr_str_is(known, origin)) return true; /* byte for byte, as browsers write them */
    }
    return false;
}

/* Say to the browser that the page may. True: that was all it asked (a preflight), and it is answered. */
static bool screen_answer_origin(const serve_listener *listener, myr_req *req)
{
    const char *origin = myr_req_header(req, "Origin");
    serve_thread *thread = myr_req_loop_state(req);
    if (origin == NULL) return false;
    const serve_snapshot *snapshot = myr_serve_hold(listener->server, thread);
    bool has_list = snapshot->cors_origins[0] != '\0', is_known = screen_knows_origin(snapshot->cors_origins, origin);
    myr_serve_drop(thread);
    if (has_list) myr_req_add_header(req, "Vary", "Origin");
    if (!is_known) return false;
    myr_req_add_header(req, "Access-Control-Allow-Origin", origin);
    if (myr_req_method(req) != MYR_OPTIONS || myr_req_header(req, "Access-Control-Request-Method") == NULL) {
        myr_req_add_header(req, "Access-Control-Expose-Headers",
                           "X-Request-Id, Server-Timing, Retry-After, Inference-Header-Content-Length");
        return false;
    }
    myr_req_add_header(req, "Access-Control-Allow-Methods", "GET, POST");
    myr_req_add_header(req, "Access-Control-Allow-Headers",
                       "Authorization, Content-Type, Idempotency-Key, Inference-Header-Content-Length, X-Deadline-Ms, "
                       "X-Request-Id, traceparent");
    myr_req_add_header(req, "Access-Control-Max-Age", "600");
    myr_req_reply(req, 204, NULL, "", 0);
    return true;
}

/* ---- who may ---- */

static bool screen_is_admin_route(const myr_server *server, const serve_route *route)
{
    if (route->run == myr_serve_get_metrics) return strcmp(server->opts.metrics, "admin") == 0;
    return (myr_serve_access_rules[route->access].scope & MYR_SCOPE_ADMIN) != 0;
}

/* Admin routes answer on the listener for them, or, when there is none, to this machine alone. */
static myr_rc screen_check_place(const serve_listener *listener, const myr_req *req, const serve_route *route,
                                 myr_err *err)
{
    const myr_server *server = listener->server;
    if (listener->is_admin || !screen_is_admin_route(server, route)) return MYR_OK;
    if (server->has_admin) MYR_FAIL(err, DENIED, "%s answers on serve.admin-listen", route->pattern);
    if (myr_req_is_loopback(req)) return MYR_OK;
    MYR_FAIL(err, DENIED, "%s does not answer other machines: set serve.admin-listen", route->pattern);
}

/* What is said about who may: in headers, for programs. The message is for people. */
static void screen_add_challenge(myr_req *req, const serve_route *route, myr_rc rc)
{
    const char *rule = myr_serve_access_rules[route->access].name;
    const char *text = NULL;
    if (rc == MYR_UNAUTHENTICATED && myr_req_header(req, "Authorization") == NULL) text = "Bearer realm=\"myriad\"";
    if (rc == MYR_UNAUTHENTICATED && text == NULL) text = "Bearer realm=\"myriad\", error=\"invalid_token\"";
    if (rc == MYR_DENIED) {
        text = myr_arena_printf(myr_req_arena(req),
                                "Bearer realm=\"myriad\", error=\"insufficient_scope\", scope=\"%s\"", rule);
    }
    if (text != NULL) myr_req_add_header(req, "WWW-Authenticate", text);
}

/* A secret in a URL stands in logs, histories and referers: it is refused even when it is right. */
static myr_rc screen_check_query(myr_req *req, myr_err *err)
{
    static const char *const names[] = {"access_token", "token", "api_key"};
    myr_str value;
    for (size_t i = 0; i < MYR_COUNT_OF(names); i++) {
        if (!myr_req_query(req, names[i], &value)) continue;
        MYR_FAIL(err, BAD_INPUT, "a token in the URL (%s=) ends up in logs: send Authorization: Bearer TOKEN",
                 names[i]);
    }
    return MYR_OK;
}

/* A route that names no fleet is about the default one: that is what one must be allowed. */
static myr_rc screen_name_default(myr_server *server, myr_req *req, serve_note *note, myr_err *err)
{
    serve_thread *thread = myr_req_loop_state(req);
    serve_fleet *fleet = NULL;
    if (!note->route->of_default) return MYR_OK;
    const serve_snapshot *snapshot = myr_serve_hold(server, thread);
    const char *name = snapshot->service != NULL ? snapshot->service->default_fleet : NULL;
    if (name == NULL && myr_serve_default_fleet(thread, &fleet, NULL) == MYR_OK) name = fleet->fleet->name;
    if (name == NULL) name = "";
    note->params[0] = myr_str_make(myr_arena_strndup(myr_req_arena(req), name, strlen(name)), strlen(name));
    myr_serve_drop(thread);
    if (note->params[0].data == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    return MYR_OK;
}

static myr_rc screen_authorize(const serve_listener *listener, myr_req *req, serve_note *note, myr_err *err)
{
    const serve_access_rule *rule = &myr_serve_access_rules[note->route->access];
    const char *header = myr_req_header(req, "Authorization");
    if (rule->scope == 0) return MYR_OK;
    MYR_TRY(screen_check_query(req, err));
    MYR_TRY(myr_serve_identify(listener->server, myr_req_loop_state(req),
                               header != NULL ? myr_str_of(header) : (myr_str){0}, &note->who, err));
    MYR_TRY(myr_serve_may(&note->who, rule->scope, rule->on, note->params[0], note->params[1], err));
    return screen_check_place(listener, req, note->route, err);
}

/* ---- before the body ---- */

/* While requests of this fleet wait, one that came before its Retry-After was over is not even read. */
static void screen_hold(myr_server *server, myr_req *req, const serve_note *note)
{
    uint64_t fleet_hash = myr_serve_fleet_hash(note->params[0]);
    int64_t limit_ns = 0;
    if (note->route->count_rows == NULL || !myr_serve_gate_is_closed(&server->gate, fleet_hash)) return;
    if (myr_serve_read_limit(req, &limit_ns, NULL) != MYR_OK) return; /* is said in its turn */
    if (limit_ns == 0) limit_ns = myr_serve_now(&server->opts.deadline_ms) * 1000000;
    if (!myr_req_hold(req, fleet_hash, limit_ns > 0 ? limit_ns / 1000000 : MYR_HTTP_RETRY_AFTER_MS)) return;
    if (!myr_serve_gate_is_closed(&server->gate, fleet_hash))
        myr_req_let_in(req, 1); /* the last one left before it was there */
}

static myr_rc screen_check(const serve_listener *listener, myr_req *req, serve_note *note, myr_err *err)
{
    const char *allow = NULL;
    myr_rc rc = myr_serve_route_find(listener->server, req, &note->route, note->params, &allow, err);
    if (allow != NULL) myr_req_add_header(req, "Allow", allow);
    if (rc != MYR_OK) return rc;
    MYR_TRY(screen_name_default(listener->server, req, note, err));
    rc = screen_authorize(listener, req, note, err);
    if (rc == MYR_OK && myr_serve_may_stream(req, note->route))
        return myr_serve_stream_begin(listener->server, req, note, err);
    if (rc != MYR_OK) screen_add_challenge(req, note->route, rc);
    return rc;
}

void myr_serve_screen(void *ctx, myr_req *req)
{
    const serve_listener *listener = ctx;
    serve_note *note = myr_arena_calloc(myr_req_arena(req), 1, sizeof *note);
    myr_err err = {0};
    if (note == NULL) {
        MYR_IGNORE(MYR_ERROR(&err, NO_MEMORY, "out of memory"));
        myr_req_reply_error(req, &err);
        return;
    }
    myr_req_set_note(req, note);
    screen_name(listener, req, note);
    if (screen_answer_origin(listener, req)) return;
    if (screen_check(listener, req, note, &err) != MYR_OK) {
        myr_req_reply_error(req, &err);
    } else if (note->stream == NULL) {
        screen_hold(listener->server, req, note);
    }
}

/* ---- after the answer ---- */

void myr_serve_done(void *ctx, const myr_req *req)
{
    myr_server *server = ((const serve_listener *)ctx)->server;
    const serve_note *note = myr_req_note(req);
    const serve_route *route = note != NULL ? note->route : NULL;
    int64_t took_ns = myr_clock_mono_ns() - myr_req_start_ns(req);
    bool is_stream = note != NULL && note->stream != NULL; /* takes as long as its client likes */
    myr_serve_count_request(server, route, myr_req_status(req), is_stream ? -1 : took_ns);
    if (server->access != NULL) {
        char client[MYR_HTTP_CLIENT_BYTES];
        const serve_access_line line = {.client = myr_req_client(req, client),
                                        .method = myr_req_method_name(req),
                                        .path = myr_req_path(req),
                                        .route = route != NULL ? route->name : NULL,
                                        .status = myr_req_status(req),
                                        .bytes = myr_req_reply_bytes(req),
                                        .took_ns = took_ns,
                                        .token = note != NULL && note->who.token != NULL ? note->who.token->name : NULL,
                                        .request_id = note != NULL ? note->request_id : NULL,
                                        .trace = note != NULL ? note->trace : (myr_str){0}};
        myr_serve_access_put(server, &line);
    }
    if (myr_req_is_away(req)) myr_metric_add(server->gate.refused, 1);
    if (note == NULL) return;
    if (note->work != NULL) { /* it left while it slept */
        myr_serve_work_drop(note->work);
        myr_serve_unpin(note->pinned);
    }
    myr_serve_gate_leave(&server->gate, &note->pass);
    if (note->pass.gated_ns != 0 || myr_req_was_held(req)) myr_req_let_in(req, myr_serve_gate_room(&server->gate));
    myr_serve_forget(&note->who); /* last: the token may go with it */
}
