/*
 * The life of a call, event by event, behind its headers: bytes that become messages, each message handed over and
 * answered, the end. A call and its two arenas are taken from the loop's spares and put back, so a warm call allocates
 * nothing.
 *
 * Of a stream one message is in work at a time: what comes meanwhile waits in the backlog, which the stream's window
 * bounds (two of them at most), since its bytes are given back to the client only when they become a message, and then
 * leave it.
 */
#include <stdio.h>
#include <string.h>

#include "net/rpc_inside.h"

#define CALL_SPARES_MAX      256          /* per loop */
#define CALL_SPARE_BYTES_MAX (256u << 10) /* an arena or backlog that held more is not kept */
#define CALL_FIRST_ROOM      ((size_t)4096)
#define CALL_HEAD_BYTES_MAX  (64u << 10)
#define CALL_LATE            "the deadline has passed"

/* ---- taking and putting back ---- */

void myr_rpc_free(myr_rpc *rpc)
{
    if (rpc == NULL) return;
    myr_arena_free(rpc->head_arena);
    myr_arena_free(rpc->arena);
    myr_buf_fini(&rpc->backlog);
    myr_free(rpc);
}

static myr_rpc *call_new(rpc_loop *loop)
{
    myr_rpc *rpc = myr_calloc(1, sizeof *rpc);
    if (rpc == NULL) return NULL;
    rpc->head_arena = myr_arena_new(CALL_HEAD_BYTES_MAX);
    rpc->arena = myr_arena_new((size_t)loop->thread.server->opts.request_bytes_max);
    if (rpc->head_arena != NULL && rpc->arena != NULL) return rpc;
    myr_rpc_free(rpc);
    return NULL;
}

static void call_link(rpc_loop *loop, myr_rpc *rpc)
{
    rpc->next = loop->calls;
    if (loop->calls != NULL) loop->calls->prev = rpc;
    loop->calls = rpc;
}

static void call_unlink(rpc_loop *loop, myr_rpc *rpc)
{
    if (rpc->prev != NULL) {
        rpc->prev->next = rpc->next;
    } else {
        MYR_ASSERT(loop->calls == rpc);
        loop->calls = rpc->next;
    }
    if (rpc->next != NULL) rpc->next->prev = rpc->prev;
    rpc->prev = rpc->next = NULL;
}

/* As new, but for the memory that it keeps; the arrays at its end are counted by what is cleared. */
static void call_reset(myr_rpc *rpc)
{
    size_t from = offsetof(myr_rpc, server), to = offsetof(myr_rpc, metadata);
    memset((char *)rpc + from, 0, to - from);
}

myr_rpc *myr_rpc_take(rpc_conn *conn, int32_t stream_id)
{
    rpc_loop *loop = conn->loop;
    myr_rpc *rpc = loop->spares;
    if (rpc != NULL) {
        loop->spares = rpc->next_spare;
        loop->spare_count--;
        call_reset(rpc);
    } else {
        rpc = call_new(loop);
        if (rpc == NULL) return NULL;
    }
    rpc->server = loop->thread.server;
    rpc->loop = loop;
    rpc->runs = &loop->thread;
    rpc->conn = conn;
    rpc->stream_id = stream_id;
    rpc->method_idx = MYR_RPC_NO_METHOD;
    rpc->deadline_ns = rpc->slow_ns = rpc->alarm_ns = RPC_NEVER_NS;
    rpc->status = -1;
    call_link(loop, rpc);
    conn->call_count++;
    myr_rpc_conn_rest(conn);
    return rpc;
}

static void call_put(myr_rpc *rpc)
{
    rpc_loop *loop = rpc->loop;
    if (rpc->is_counted) atomic_fetch_sub(&rpc->server->in_flight, 1);
    if (loop->spare_count >= CALL_SPARES_MAX || myr_arena_used_bytes(rpc->arena) > CALL_SPARE_BYTES_MAX ||
        rpc->backlog.room > CALL_SPARE_BYTES_MAX) {
        myr_rpc_free(rpc);
        return;
    }
    myr_arena_reset(rpc->arena);
    myr_arena_reset(rpc->head_arena);
    myr_buf_clear(&rpc->backlog);
    rpc->next_spare = loop->spares;
    loop->spares = rpc;
    loop->spare_count++;
}

static void call_drop_ready(myr_rpc *rpc)
{
    for (myr_rpc **link = &rpc->loop->ready; rpc->is_ready; link = &(*link)->next_ready) {
        MYR_ASSERT(*link != NULL);
        if (*link != rpc) continue;
        *link = rpc->next_ready;
        rpc->is_ready = false;
        break;
    }
}

/* The room of a message that is not whole no longer counts. */
static void call_release(myr_rpc *rpc)
{
    MYR_ASSERT(rpc->conn->held_bytes >= rpc->message_room);
    rpc->conn->held_bytes -= rpc->message_room;
    rpc->message_room = 0;
}

/* The call no longer belongs to its connection. */
static void call_leave(myr_rpc *rpc)
{
    rpc_conn *conn = rpc->conn;
    call_drop_ready(rpc);
    call_release(rpc);
    MYR_ASSERT(conn->call_count > 0);
    conn->call_count--;
    myr_rpc_conn_rest(conn);
    call_unlink(rpc->loop, rpc);
    rpc->conn = NULL;
}

static void call_done(myr_rpc *rpc)
{
    if (rpc->is_counted && rpc->server->opts.on_done != NULL) {
        if (rpc->status < 0) rpc->status = myr_rc_grpc(MYR_CANCELLED);
        rpc->server->opts.on_done(rpc->server->opts.ctx, rpc);
    }
    call_put(rpc);
}

/* A deferred call that nobody waits for: it comes back through the mailbox, and is put away then. */
static void call_abandon(myr_rpc *rpc)
{
    atomic_store(&rpc->is_cancelled, true);
    call_leave(rpc);
}

void myr_rpc_on_close(myr_rpc *rpc)
{
    if (rpc->phase == RPC_DEFERRED) {
        call_abandon(rpc);
        return;
    }
    call_leave(rpc);
    call_done(rpc);
}

/* ---- alarms ---- */

void myr_rpc_expect(myr_rpc *rpc, int64_t slow_ns)
{
    rpc->slow_ns = slow_ns;
    rpc->alarm_ns = rpc->phase != RPC_END && rpc->deadline_ns < slow_ns ? rpc->deadline_ns : slow_ns;
    if (rpc->alarm_ns < rpc->loop->wake_ns) rpc->loop->wake_ns = rpc->alarm_ns;
}

void myr_rpc_expect_body(myr_rpc *rpc)
{
    myr_rpc_expect(rpc, rpc->loop->now_ns + rpc->server->opts.body_timeout_ms * 1000000);
}

/* ---- messages ---- */

static void call_deliver(myr_rpc *rpc);

/* The five bytes before a message. False: the call is over. */
static bool message_begin(myr_rpc *rpc)
{
    const unsigned char *p = rpc->prefix;
    size_t size = (size_t)p[1] << 24 | (size_t)p[2] << 16 | (size_t)p[3] << 8 | p[4];
    const char *wrong = NULL;
    myr_rc rc = MYR_INTERNAL;
    char text[128];
    if (rpc->has_message) {
        rc = MYR_UNSUPPORTED;
        wrong = "this method takes one message";
    } else if (p[0] > 1) {
        wrong = "the flag before a message is neither 0 nor 1";
    } else if (p[0] == 1 && rpc->coding == NET_CODING_NONE) {
        wrong = "a message is compressed, but grpc-encoding does not say how";
    } else if ((int64_t)size > rpc->server->opts.message_bytes_max) {
        rc = MYR_TOO_LARGE;
        snprintf(text, sizeof text, "the message has %zu bytes, the limit is %lld (serve.body-bytes-max)", size,
                 (long long)rpc->server->opts.message_bytes_max);
        wrong = text;
    }
    if (wrong != NULL) {
        myr_rpc_end(rpc, rc, wrong);
        return false;
    }
    rpc->is_compressed = p[0] == 1;
    rpc->is_expanded = false;
    rpc->message_size = size;
    rpc->message_bytes = 0;
    rpc->message = NULL;
    return true;
}

/* Room for `more` bytes of the message; it grows as they come. */
static bool message_make_room(myr_rpc *rpc, size_t more)
{
    size_t wanted = rpc->message_bytes + more, room = rpc->message_room;
    if (wanted <= room) return true;
    if (room == 0) room = CALL_FIRST_ROOM;
    while (room < wanted)
        room *= 2;
    if (room > rpc->message_size) room = rpc->message_size;
    size_t added = room - rpc->message_room;
    if (rpc->conn->held_bytes + added > (size_t)rpc->server->opts.request_bytes_max) return false;
    unsigned char *grown = rpc->message == NULL ? myr_arena_alloc(rpc->arena, room)
                                                : myr_arena_realloc(rpc->arena, rpc->message, rpc->message_room, room);
    if (grown == NULL) return false;
    rpc->conn->held_bytes += added;
    rpc->message = grown;
    rpc->message_room = room;
    return true;
}

/* Take bytes until they end or a message is whole; gives how many. */
static size_t message_take(myr_rpc *rpc, const unsigned char *data, size_t size)
{
    size_t used = 0;
    if (rpc->prefix_bytes < RPC_PREFIX_BYTES) {
        while (used < size && rpc->prefix_bytes < RPC_PREFIX_BYTES)
            rpc->prefix[rpc->prefix_bytes++] = data[used++];
        if (rpc->prefix_bytes < RPC_PREFIX_BYTES || !message_begin(rpc)) return used;
    }
    size_t part = rpc->message_size - rpc->message_bytes;
    if (part > size - used) part = size - used;
    if (part > 0) {
        if (!message_make_room(rpc, part)) {
            myr_rpc_end(rpc, MYR_TOO_LARGE, "too much memory for the unfinished messages of one connection");
            return used;
        }
        memcpy(rpc->message + rpc->message_bytes, data + used, part);
        rpc->message_bytes += part;
    }
    if (rpc->message_bytes == rpc->message_size) {
        rpc->has_message = true;
        rpc->prefix_bytes = 0;
        call_release(rpc);
    }
    return used + part;
}

/* Bytes of the client in order; of a stream up to the end of one message. Gives how many were used. */
static size_t call_feed(myr_rpc *rpc, const unsigned char *data, size_t size)
{
    size_t used = 0;
    bool is_stream = rpc->kind == MYR_RPC_STREAM;
    while (used < size && rpc->phase == RPC_READ && !(is_stream && rpc->has_message))
        used += message_take(rpc, data + used, size - used);
    return used;
}

static void call_consume_stream(myr_rpc *rpc, size_t size)
{
    if (size == 0 || rpc->conn == NULL) return;
    MYR_IGNORE(nghttp2_session_consume_stream(rpc->conn->session, rpc->stream_id, size)); /* no memory: it stalls */
    myr_rpc_conn_touch(rpc->conn);
}

void myr_rpc_on_bytes(myr_rpc *rpc, const unsigned char *data, size_t size)
{
    MYR_IGNORE(nghttp2_session_consume_connection(rpc->conn->session, size)); /* others are not kept waiting */
    size_t used = size;
    if (rpc->kind == MYR_RPC_STREAM && rpc->phase != RPC_END) {
        used = rpc->backlog.size > 0 ? 0 : call_feed(rpc, data, size);
        if (rpc->phase == RPC_END) used = size;
        if (used < size) myr_buf_append(&rpc->backlog, data + used, size - used);
        if (rpc->backlog.failed && rpc->phase == RPC_READ) myr_rpc_end(rpc, MYR_NO_MEMORY, "out of memory");
    } else if (rpc->phase == RPC_READ) {
        MYR_IGNORE(call_feed(rpc, data, size)); /* all of it, or the call is over */
    }
    call_consume_stream(rpc, used);
    if (rpc->kind != MYR_RPC_STREAM || rpc->phase != RPC_READ) return;
    if (rpc->has_message) {
        call_deliver(rpc);
    } else if (rpc->slow_ns == RPC_NEVER_NS) { /* a message has begun: it must come to its end */
        myr_rpc_expect_body(rpc);
    }
}

/* The client says no more, and its last message was answered or there is none. */
static void call_at_end(myr_rpc *rpc)
{
    MYR_ASSERT(rpc->phase == RPC_READ && rpc->has_ended);
    if (rpc->prefix_bytes > 0) {
        myr_rpc_end(rpc, MYR_INTERNAL, "the call ends within a message");
    } else if (rpc->kind == MYR_RPC_STREAM) {
        myr_rpc_finish(rpc);
    } else if (!rpc->has_message) {
        myr_rpc_end(rpc, MYR_UNSUPPORTED, "this method takes one message, there is none");
    } else {
        call_deliver(rpc);
    }
}

void myr_rpc_on_end(myr_rpc *rpc)
{
    rpc->has_ended = true;
    if (rpc->phase == RPC_READ && rpc->backlog.size == 0) call_at_end(rpc);
}

/* ---- handing over ---- */

static void call_hand_over(void *ctx, myr_rpc *rpc)
{
    rpc->server->opts.handler(ctx, rpc);
}

static void call_deliver(myr_rpc *rpc)
{
    myr_rpc_server *server = rpc->server;
    rpc->start_ns = myr_clock_mono_ns();
    if (rpc->deadline_ns <= rpc->start_ns) {
        myr_rpc_end(rpc, MYR_TIMEOUT, CALL_LATE);
        return;
    }
    rpc->phase = RPC_RUN;
    rpc->has_reply = rpc->has_failed = rpc->waits = false;
    if (rpc->is_compressed && !rpc->is_expanded) {
        myr_rpc_defer(rpc, call_hand_over);
    } else {
        server->opts.handler(server->opts.ctx, rpc);
    }
    if (rpc->phase == RPC_RUN) myr_rpc_send(rpc); /* else it may be running elsewhere already */
}

/*
 * What became a message leaves the backlog: its bytes are given back to the client, who may send as many again. Moved
 * only when the used part is no smaller than the rest, a byte is moved once at most for each that was used; what is
 * kept stays below two windows.
 */
static void call_use_backlog(myr_rpc *rpc, size_t used)
{
    myr_buf *backlog = &rpc->backlog;
    rpc->backlog_used += used;
    size_t left = backlog->size - rpc->backlog_used;
    if (left == 0) {
        myr_buf_clear(backlog);
    } else if (rpc->backlog_used >= left) {
        memmove(backlog->data, backlog->data + rpc->backlog_used, left + 1);
        backlog->size = left;
    } else {
        return;
    }
    rpc->backlog_used = 0;
}

/* A stream's next message, out of what has come already. */
static void call_read_on(myr_rpc *rpc)
{
    size_t left = rpc->backlog.size - rpc->backlog_used;
    rpc->phase = RPC_READ;
    rpc->has_message = false;
    myr_arena_reset(rpc->arena);
    rpc->message = NULL;
    rpc->reply_size = rpc->reply_sent = 0;
    myr_rpc_expect(rpc, RPC_NEVER_NS);
    size_t used = left > 0 ? call_feed(rpc, (unsigned char *)rpc->backlog.data + rpc->backlog_used, left) : 0;
    if (rpc->phase == RPC_END) return;
    call_use_backlog(rpc, used);
    call_consume_stream(rpc, used);
    if (rpc->has_message) {
        call_deliver(rpc);
    } else if (rpc->has_ended) {
        call_at_end(rpc);
    } else if (rpc->prefix_bytes > 0) {
        myr_rpc_expect_body(rpc);
    } else if (atomic_load(&rpc->server->is_draining)) {
        myr_rpc_end(rpc, MYR_UNAVAILABLE, RPC_STOPPING);
    }
}

void myr_rpc_go_on(myr_rpc *rpc)
{
    MYR_ASSERT(rpc->conn != NULL && rpc->kind != MYR_RPC_UNARY);
    if (rpc->kind == MYR_RPC_STREAM) {
        call_read_on(rpc);
        return;
    }
    rpc->phase = RPC_WATCH;
    rpc->reply_size = rpc->reply_sent = 0;
    if (!rpc->is_kept) { /* the question stays, answers go */
        rpc->message =
            (unsigned char *)myr_arena_strndup(rpc->head_arena, myr_rpc_message(rpc).data, rpc->message_bytes);
        rpc->is_kept = true;
        if (rpc->message == NULL) {
            myr_rpc_end(rpc, MYR_NO_MEMORY, "out of memory for what is watched");
            return;
        }
    }
    myr_arena_reset(rpc->arena);
    if (atomic_load(&rpc->server->is_draining)) {
        myr_rpc_end(rpc, MYR_UNAVAILABLE, RPC_STOPPING);
        return;
    }
    myr_rpc_expect(rpc, rpc->loop->now_ns + rpc->server->opts.watch_ms * 1000000);
}

/* ---- what ends a call from outside ---- */

static void call_expire(myr_rpc *rpc)
{
    if (rpc->phase != RPC_DEFERRED) {
        myr_rpc_end(rpc, MYR_TIMEOUT, CALL_LATE);
        return;
    }
    rpc_conn *conn = rpc->conn;
    MYR_IGNORE(nghttp2_session_set_stream_user_data(conn->session, rpc->stream_id, NULL)); /* it is there */
    myr_rpc_end_stream(conn, rpc->stream_id, rpc->has_headers, MYR_TIMEOUT, CALL_LATE);
    rpc->is_late = true;
    call_abandon(rpc);
}

void myr_rpc_on_alarm(myr_rpc *rpc, int64_t now_ns)
{
    if (rpc->phase != RPC_END && rpc->deadline_ns <= now_ns) {
        call_expire(rpc);
    } else if (rpc->phase == RPC_WATCH) {
        rpc->has_message = true;
        call_deliver(rpc);
    } else if (rpc->phase == RPC_READ) {
        myr_rpc_end(rpc, MYR_TIMEOUT, "the message did not arrive in time (serve.body-timeout)");
    } else if (rpc->phase == RPC_SEND || rpc->phase == RPC_END) { /* the answer is not taken */
        myr_rpc_expect(rpc, RPC_NEVER_NS);
        MYR_IGNORE(nghttp2_submit_rst_stream(rpc->conn->session, NGHTTP2_FLAG_NONE, rpc->stream_id, NGHTTP2_CANCEL));
        myr_rpc_conn_touch(rpc->conn);
    } else {
        myr_rpc_expect(rpc, RPC_NEVER_NS);
    }
}

void myr_rpc_on_drain(myr_rpc *rpc)
{
    bool is_idle = rpc->phase == RPC_READ && rpc->kind == MYR_RPC_STREAM && rpc->prefix_bytes == 0;
    if (rpc->phase == RPC_WATCH) { /* a last look: that we stop is news */
        rpc->has_message = true;
        call_deliver(rpc);
    } else if (is_idle) {
        myr_rpc_end(rpc, MYR_UNAVAILABLE, RPC_STOPPING);
    }
}

/* ---- deferral ---- */

static void call_fail_busy(myr_rpc *rpc, const char *text)
{
    myr_err err = {0};
    MYR_IGNORE(MYR_ERROR(&err, BUSY, "%s", text)); /* only the words are wanted */
    myr_rpc_fail(rpc, &err);
}

static myr_rc call_expand(myr_rpc *rpc, myr_err *err)
{
    char *text;
    size_t size;
    myr_str message = myr_str_make((const char *)rpc->message, rpc->message_bytes);
    MYR_TRY(myr_net_expand(rpc->arena, rpc->coding, "the message", message, (size_t)rpc->server->opts.message_bytes_max,
                           &text, &size, err));
    rpc->message = (unsigned char *)text;
    rpc->message_bytes = size;
    rpc->is_expanded = true;
    return MYR_OK;
}

/* On a compute thread. */
static void call_compute(void *arg)
{
    myr_rpc *rpc = arg;
    myr_rpc_server *server = rpc->server;
    myr_err err = {0};
    rpc->runs = myr_rpc_compute_here(server);
    if (atomic_load(&server->is_hurrying) || atomic_load(&rpc->is_cancelled)) {
        call_fail_busy(rpc, RPC_STOPPING);
    } else if (rpc->deadline_ns <= myr_clock_mono_ns()) {
        MYR_IGNORE(MYR_ERROR(&err, TIMEOUT, CALL_LATE)); /* its turn came too late: nothing is run */
        myr_rpc_fail(rpc, &err);
    } else if (rpc->is_compressed && !rpc->is_expanded && call_expand(rpc, &err) != MYR_OK) {
        myr_rpc_fail(rpc, &err);
    } else {
        rpc->again(server->opts.ctx, rpc);
    }
    MYR_ASSERT(rpc->has_reply || rpc->has_failed || rpc->waits);
    myr_rpc_loop_post(rpc->loop, rpc);
    atomic_fetch_sub(&server->deferred_count, 1);
}

void myr_rpc_defer(myr_rpc *rpc, void (*again)(void *ctx, myr_rpc *rpc))
{
    myr_rpc_server *server = rpc->server;
    MYR_ASSERT(myr_rpc_is_on_loop(rpc) && rpc->phase == RPC_RUN && !rpc->has_reply && !rpc->has_failed);
    int64_t before = atomic_fetch_add(&server->deferred_count, 1); /* before is_hurrying is read: see myr_rpc_stop */
    bool is_hurrying = atomic_load(&server->is_hurrying);
    if (is_hurrying || before >= server->deferred_max) {
        atomic_fetch_sub(&server->deferred_count, 1);
        call_fail_busy(rpc,
                       is_hurrying ? RPC_STOPPING : "too many calls wait for a compute thread: try again in a second");
        return;
    }
    rpc->again = again;
    rpc->phase = RPC_DEFERRED;
    myr_rpc_expect(rpc, RPC_NEVER_NS);                                      /* its deadline alone */
    if (myr_pool_submit(server->pool, call_compute, rpc, NULL) != MYR_OK) { /* can't be: the pool holds deferred_max */
        rpc->phase = RPC_RUN;
        atomic_fetch_sub(&server->deferred_count, 1);
        call_fail_busy(rpc, "too many calls wait for a compute thread: try again in a second");
    }
}

void myr_rpc_on_return(myr_rpc *rpc)
{
    rpc->runs = &rpc->loop->thread;
    if (rpc->conn != NULL) {
        rpc->phase = RPC_RUN;
        myr_rpc_send(rpc);
        return;
    }
    rpc->status = myr_rc_grpc(rpc->is_late ? MYR_TIMEOUT : MYR_CANCELLED);
    call_done(rpc);
}
