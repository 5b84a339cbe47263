/*
 * The life of a request, as libmicrohttpd's callbacks tell it: request line -> headers -> body -> handler -> answer ->
 * completed. A request object with its arena is taken from its loop's spares at the first and put back at the last, so
 * a warm request allocates nothing of ours. A deferred one sleeps in between while a compute thread has it.
 */
#include "net/internal.h"

#include <string.h>
#include <strings.h>

#define REQ_SPARES_MAX       256            /* per loop */
#define REQ_SPARE_BYTES_MAX  (256u << 10)   /* an arena that held more is not kept */
#define REQ_BODY_BYTES_FIRST ((size_t)4096) /* room for a body of unknown length */

/* ---- taking and putting back ---- */

static myr_req *req_new(net_thread *loop)
{
    myr_req *req = myr_calloc(1, sizeof *req);
    if (req == NULL) return NULL;
    req->arena = myr_arena_new((size_t)loop->server->opts.request_bytes_max);
    if (req->arena == NULL) {
        myr_free(req);
        return NULL;
    }
    return req;
}

void myr_net_req_free(myr_req *req)
{
    myr_arena_free(req->arena);
    myr_free(req);
}

static myr_req *req_take(net_thread *loop)
{
    MYR_ASSERT(loop->is_loop && myr_net_thread_is_current(loop));
    myr_req *req = loop->spare_reqs;
    if (req != NULL) {
        loop->spare_reqs = req->next_spare;
        loop->spare_count--;
    } else {
        req = req_new(loop);
        if (req == NULL) return NULL;
    }
    myr_arena *arena = req->arena;
    memset(req, 0, sizeof *req);
    req->arena = arena;
    req->server = loop->server;
    req->loop = loop;
    req->runs = loop;
    return req;
}

static void req_put(myr_req *req)
{
    net_thread *loop = req->loop;
    if (loop->spare_count >= REQ_SPARES_MAX || myr_arena_used_bytes(req->arena) > REQ_SPARE_BYTES_MAX) {
        myr_net_req_free(req);
        return;
    }
    myr_arena_reset(req->arena);
    req->next_spare = loop->spare_reqs;
    loop->spare_reqs = req;
    loop->spare_count++;
}

/* ---- the callbacks, in the order in which they come ---- */

void *myr_net_on_request_line(void *ctx, const char *target, struct MHD_Connection *mhd)
{
    myr_http_server *server = ctx;
    myr_req *req = req_take(myr_net_thread_here(server, true));
    if (req == NULL) return NULL; /* myr_net_on_access closes the connection */
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    req->mhd = mhd;
    req->conn = info != NULL ? info->socket_context : NULL;
    req->target_bytes = strlen(target);
    req->has_query = memchr(target, '?', req->target_bytes) != NULL;
    if (req->conn != NULL) { /* on a new connection the time of the headers runs since it was accepted */
        if (req->conn->had_request) myr_net_conn_wait(req->conn, server->opts.header_timeout_ms);
        req->conn->had_request = true;
    }
    return req;
}

static void req_read_method(myr_req *req, const char *method)
{
    static const char *const names[] = {"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"};
    req->method = MYR_METHOD_OTHER;
    req->method_name = method;
    for (size_t i = 0; i < MYR_COUNT_OF(names); i++) {
        if (strcmp(method, names[i]) == 0) req->method = (myr_method)i;
    }
}

/* Headers of framing, routing and identity: standing twice, two readers could each believe another one. */
static const struct {
    const char *name;
    size_t size;
} req_once[] = {
    {"Host", 4}, {"Authorization", 13}, {"X-Deadline-Ms", 13}, {"Content-Length", 14}, {"Idempotency-Key", 15}};

typedef struct header_counts {
    unsigned char of[MYR_COUNT_OF(req_once)];
    uint64_t bits;
    const char *twice; /* the first that stands more than once */
} header_counts;

static enum MHD_Result req_count_header(void *ctx, enum MHD_ValueKind kind, const char *name, size_t name_bytes,
                                        const char *value, size_t value_bytes)
{
    header_counts *counts = ctx;
    (void)kind;
    (void)value;
    (void)value_bytes;
    counts->bits |= myr_net_header_bit(name, name_bytes);
    for (size_t i = 0; i < MYR_COUNT_OF(req_once); i++) {
        if (name_bytes != req_once[i].size || strncasecmp(name, req_once[i].name, name_bytes) != 0) continue;
        if (counts->of[i] != 0) counts->twice = req_once[i].name;
        counts->of[i] = 1;
    }
    return MHD_YES;
}

/* Answer from here: the handler never sees this request. */
static enum MHD_Result req_refuse(myr_req *req, int status, bool close, const char *message)
{
    if (close) req->must_close = true;
    const char *body =
        myr_arena_printf(req->arena, "{\"error\":\"%s\"}", message); /* our own words: nothing to escape */
    if (body == NULL) body = "{\"error\":\"out of memory\"}";
    myr_req_reply(req, status, "application/json", body, strlen(body));
    return myr_net_send(req);
}

void myr_net_reply_busy(myr_req *req, const char *message)
{
    myr_err err = {0};
    MYR_IGNORE(MYR_ERROR(&err, BUSY, "%s", message)); /* only the words are wanted */
    myr_req_reply_error(req, &err);
}

/* The limit as one would set it: 8 MiB, not 8.4 MB. */
static enum MHD_Result req_refuse_too_large(myr_req *req, bool close)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB"};
    int64_t count = req->server->opts.body_bytes_max;
    size_t unit = 0;
    for (; unit + 1 < MYR_COUNT_OF(units) && count % 1024 == 0; unit++)
        count /= 1024;
    const char *message = myr_arena_printf(req->arena, "the request body is larger than the limit of %lld %s",
                                           (long long)count, units[unit]);
    return req_refuse(req, 413, close, message != NULL ? message : "the request body is too large");
}

/* Checks of the header as a whole; 0 or the status to refuse with. */
static int req_check_headers(myr_req *req, const char **out_message)
{
    header_counts counts = {0};
    MHD_get_connection_values_n(req->mhd, MHD_HEADER_KIND, req_count_header, &counts);
    req->header_bits = counts.bits;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(req->mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
    if (counts.twice != NULL) {
        *out_message = myr_arena_printf(req->arena, "the header %s stands more than once", counts.twice);
        if (*out_message == NULL) *out_message = "a header stands more than once";
        return 400;
    }
    if (req->target_bytes > MYR_HTTP_URL_BYTES_MAX) {
        *out_message = "the request target is longer than the limit";
        return 414;
    }
    if (info != NULL && info->header_size > MYR_HTTP_HEADER_BYTES_MAX) {
        *out_message = "the request header is larger than the limit";
        return 431;
    }
    return 0;
}

/* Room for a body whose length is declared (and allowed); pages are touched only as bytes arrive. */
static bool req_make_room(myr_req *req, size_t room)
{
    char *body = req->body == NULL ? myr_arena_alloc(req->arena, room)
                                   : myr_arena_realloc(req->arena, req->body, req->body_room, room);
    if (body == NULL) return false;
    req->body = body;
    req->body_room = room;
    return true;
}

/* What is declared of the body: make room for it, or refuse it unread. */
static enum MHD_Result req_expect_body(myr_req *req)
{
    int64_t limit = req->server->opts.body_bytes_max;
    const char *length_text = myr_req_header(req, MHD_HTTP_HEADER_CONTENT_LENGTH);
    bool asks = myr_req_header(req, MHD_HTTP_HEADER_EXPECT) != NULL;
    uint64_t length = 0;
    if (length_text == NULL || !myr_parse_uint64(myr_str_of(length_text), &length)) length = 0;
    if (req->status != 0) { /* screened: its body is dropped, or not even asked for */
        if (!asks && length <= (uint64_t)(limit + MYR_HTTP_DRAIN_BYTES_MAX)) return MHD_YES;
        req->must_close = true;
        return myr_net_send(req);
    }
    if (length == 0) return MHD_YES;
    if (length <= (uint64_t)limit) {
        if (!req_make_room(req, (size_t)length + 1)) req->is_too_large = true;
        return MHD_YES;
    }
    req->is_too_large = true;
    if (asks || length > (uint64_t)(limit + MYR_HTTP_DRAIN_BYTES_MAX)) {
        return req_refuse_too_large(req, true); /* nothing of the body is read */
    }
    return MHD_YES;
}

/* The headers are complete. Refuse what is wrong with them, otherwise let the body come. */
static enum MHD_Result req_on_headers(myr_req *req, const char *url, const char *method, const char *version)
{
    myr_http_server *server = req->server;
    MYR_ASSERT(myr_net_thread_is_current(req->loop));
    req->phase = NET_PHASE_BODY;
    req->start_ns = myr_clock_mono_ns();
    req->path = url;
    req_read_method(req, method);
    req->is_counted = true;
    atomic_fetch_add(&server->in_flight, 1);
    const char *message;
    int status = req_check_headers(req, &message);
    if (status != 0) return req_refuse(req, status, true, message);
    myr_err err = {0};
    if (myr_net_target_parse(req, url, &err) != MYR_OK) {
        req->must_close = err.rc == MYR_BAD_INPUT;
        myr_req_reply_error(req, &err);
        return myr_net_send(req);
    }
    if (server->opts.on_headers != NULL && req->conn != NULL) server->opts.on_headers(server->opts.ctx, req);
    if (req->stream != NULL) {
        myr_net_stream_begin(req, version);
        return MHD_YES;
    }
    if (req->phase == NET_PHASE_HELD) return MHD_YES; /* this loop comes back to it */
    myr_net_conn_wait(req->conn, server->opts.body_timeout_ms);
    return req_expect_body(req);
}

/* Out of the waiting room: it may go on, or came too soon. */
static enum MHD_Result req_after_hold(myr_req *req)
{
    req->phase = NET_PHASE_BODY;
    if (req->is_away) myr_net_room_refuse(req);
    myr_net_conn_wait(req->conn, req->server->opts.body_timeout_ms);
    return req_expect_body(req);
}

/* Some of the body. Past the limit it is read and dropped, so that a client that writes all first can read its 413. */
static enum MHD_Result req_on_data(myr_req *req, const char *data, size_t data_bytes)
{
    size_t limit = (size_t)req->server->opts.body_bytes_max;
    if (req->status != 0) req->is_too_large = true; /* screened: dropped in the same way */
    if (!req->is_too_large && data_bytes > limit - req->body_bytes) req->is_too_large = true;
    if (!req->is_too_large && req->body_bytes + data_bytes + 1 > req->body_room) {
        size_t room = req->body_room == 0 ? REQ_BODY_BYTES_FIRST : req->body_room * 2;
        while (room < req->body_bytes + data_bytes + 1)
            room *= 2;
        if (room > limit + 1) room = limit + 1;
        req->is_too_large = !req_make_room(req, room);
    }
    if (req->is_too_large) {
        req->dropped_bytes += (int64_t)data_bytes;
        return req->dropped_bytes > (int64_t)limit + MYR_HTTP_DRAIN_BYTES_MAX ? MHD_NO : MHD_YES; /* NO: closed */
    }
    MYR_ASSERT(req->body_bytes + data_bytes < req->body_room);
    memcpy(req->body + req->body_bytes, data, data_bytes);
    req->body_bytes += data_bytes;
    return MHD_YES;
}

/* A handler answers, defers or parks. A deferred request may be running elsewhere already: not ours to touch. */
static enum MHD_Result req_after(myr_req *req)
{
    if (req->phase == NET_PHASE_DEFERRED || req->phase == NET_PHASE_PARKED) return MHD_YES;
    MYR_ASSERT(req->status != 0);
    return myr_net_send(req);
}

/* The request is whole: let the handler answer or defer. */
static enum MHD_Result req_run(myr_req *req)
{
    myr_http_server *server = req->server;
    myr_net_conn_work(req->conn); /* what takes time now is ours */
    if (req->status != 0) return myr_net_send(req);
    if (req->is_too_large) return req_refuse_too_large(req, false);
    if (req->body != NULL) req->body[req->body_bytes] = '\0';
    req->phase = NET_PHASE_HANDLER;
    server->opts.handler(server->opts.ctx, req);
    return req_after(req);
}

enum MHD_Result myr_net_on_access(void *ctx, struct MHD_Connection *mhd, const char *url, const char *method,
                                  const char *version, const char *data, size_t *data_bytes, void **slot)
{
    (void)ctx;
    (void)mhd;
    myr_req *req = *slot;
    if (req == NULL) return MHD_NO;
    switch (req->phase) {
    case NET_PHASE_NEW:
        return req_on_headers(req, url, method, version);
    case NET_PHASE_HELD: /* woken */
        return req_after_hold(req);
    case NET_PHASE_BODY:
        if (*data_bytes > 0) {
            size_t given = *data_bytes;
            *data_bytes = 0;
            return req_on_data(req, data, given);
        }
        return req_run(req);
    case NET_PHASE_DEFERRED: /* woken: the answer is there */
        MYR_ASSERT(req->status != 0);
        req->runs = req->loop;
        return myr_net_send(req);
    case NET_PHASE_PARKED: /* woken */
        req->phase = NET_PHASE_HANDLER;
        req->again(req->server->opts.ctx, req);
        return req_after(req);
    case NET_PHASE_STREAM:
        return myr_net_stream_access(req, data, data_bytes);
    case NET_PHASE_HANDLER:
    case NET_PHASE_SENT:
        break;
    }
    *data_bytes = 0; /* what follows an early answer */
    return MHD_YES;
}

void myr_net_on_completed(void *ctx, struct MHD_Connection *mhd, void **slot, enum MHD_RequestTerminationCode how)
{
    myr_http_server *server = ctx;
    (void)mhd;
    (void)how;
    myr_req *req = *slot;
    if (req == NULL) return;
    *slot = NULL;
    req->runs = req->loop;
    if (req->stream != NULL) myr_net_stream_end(req);
    if (req->is_counted) {
        if (req->phase != NET_PHASE_SENT) req->status = myr_rc_http(MYR_CANCELLED); /* it left before its answer */
        if (server->opts.on_done != NULL) server->opts.on_done(server->opts.ctx, req);
    }
    myr_net_conn_wait(req->conn, server->opts.idle_timeout_ms);
    bool is_counted = req->is_counted;
    if (req->answer != NULL) myr_net_answer_put(req->loop, req->answer); /* its body is not read any more */
    req_put(req);
    if (is_counted) atomic_fetch_sub(&server->in_flight, 1);
}

/* ---- deferral ---- */

/* On a compute thread. After the connection is woken its loop owns the request again. */
static void req_compute(void *arg)
{
    myr_http_server *server = arg;
    myr_req *req = myr_net_fair_take(server->fair);
    struct MHD_Connection *mhd = req->mhd;
    req->runs = myr_net_thread_here(server, false);
    if (atomic_load(&server->is_hurrying)) {
        myr_net_reply_busy(req, myr_net_busy_text(true));
    } else {
        req->again(server->opts.ctx, req);
    }
    MYR_ASSERT(req->status != 0);
    MHD_resume_connection(mhd);
    atomic_fetch_sub(&server->deferred_count, 1);
}

const char *myr_net_busy_text(bool is_hurrying)
{
    return is_hurrying ? "the server is stopping: ask another one or again later"
                       : "too many requests wait for a compute thread: try again in a second";
}

bool myr_net_fall_asleep(myr_http_server *server, bool *out_hurrying)
{
    int64_t before = atomic_fetch_add(&server->deferred_count, 1); /* before is_hurrying is read: see myr_http_stop */
    *out_hurrying = atomic_load(&server->is_hurrying);
    if (!*out_hurrying && before < server->deferred_max) return true;
    atomic_fetch_sub(&server->deferred_count, 1);
    return false;
}

void myr_req_set_flow(myr_req *req, uint64_t class_hash, uint64_t flow_hash)
{
    req->flow_class = class_hash;
    req->flow = flow_hash;
}

void myr_req_defer(myr_req *req, void (*again)(void *ctx, myr_req *req))
{
    myr_http_server *server = req->server;
    bool is_hurrying;
    MYR_ASSERT(myr_net_thread_is_current(req->loop) && req->phase == NET_PHASE_HANDLER && req->status == 0);
    if (!myr_net_fall_asleep(server, &is_hurrying)) {
        myr_req_turn_away(req, req->flow_class);
        myr_net_reply_busy(req, myr_net_busy_text(is_hurrying));
        return;
    }
    req->again = again;
    req->phase = NET_PHASE_DEFERRED;
    MHD_suspend_connection(req->mhd); /* before another thread may wake it */
    if (myr_net_fair_put(server->fair, req)) {
        myr_rc rc = myr_pool_submit(server->pool, req_compute, server, NULL);
        MYR_ASSERT(rc == MYR_OK); /* the pool holds deferred_max */
        return;
    }
    myr_req_turn_away(req, req->flow_class);
    myr_net_reply_busy(req, "too many requests like this one wait for a compute thread: try again in a second");
    MHD_resume_connection(req->mhd);
    atomic_fetch_sub(&server->deferred_count, 1);
}

/* ---- sleep without a thread ---- */

bool myr_req_can_park(const myr_req *req)
{
    return req->phase == NET_PHASE_HANDLER && req->stream == NULL && myr_net_thread_is_current(req->loop);
}

bool myr_req_park(myr_req *req, void (*again)(void *ctx, myr_req *req))
{
    bool is_hurrying;
    MYR_ASSERT(myr_req_can_park(req) && req->status == 0);
    if (!myr_net_fall_asleep(req->server, &is_hurrying)) return false;
    req->again = again;
    req->phase = NET_PHASE_PARKED;
    MHD_suspend_connection(req->mhd);
    return true;
}

void myr_req_wake(myr_req *req)
{
    myr_http_server *server = req->server;
    MHD_resume_connection(req->mhd); /* from here its loop owns it */
    atomic_fetch_sub(&server->deferred_count, 1);
}
