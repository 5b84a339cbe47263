/*
 * Streams: a request whose answer begins before its body has ended. libmicrohttpd can't do that (an answer that is
 * queued early ends the reading), so the two directions are split: it goes on reading and unframing the body, and we
 * write to the socket ourselves, which it does not touch before it has an answer to send. It never gets one: when the
 * stream is over its connection is closed.
 *
 * Who has a stream is its state. BUSY: the thread that runs it, the loop or (asleep) a compute thread. BLOCKED: the
 * reaper, which waits for the socket (asleep). WAKING: nobody, the loop will come. IDLE: nobody, the client's turn;
 * only then may the reaper end it. A stream that falls asleep leaves its piece of the body unread in libmicrohttpd's
 * buffer
 * (`taken` says how much of it is known), so that there is something to come back for.
 */
#include "net/internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define STREAM_FRAME_BYTES 10 /* room for a chunk's length: eight digits and CRLF */
#define STREAM_BYTES_KEPT  (64u << 10)

typedef enum stream_state {
    STREAM_IDLE,
    STREAM_BUSY,
    STREAM_BLOCKED,
    STREAM_WAKING,
    STREAM_OVER,
    STREAM_CUT
} stream_state;

typedef struct net_stream {
    myr_req *req;
    myr_http_stream_opts opts;
    _Atomic int state;
    myr_arena *arena;
    myr_buf in; /* from in_used on: not used yet */
    size_t in_used;
    size_t taken; /* loop: of the piece that libmicrohttpd offers, already in `in` */
    myr_buf out;  /* from out_sent on: not sent yet */
    size_t out_sent;
    int64_t dropped_bytes;
    bool is_chunked; /* not for HTTP/1.0 */
    bool is_last, has_more;
    bool ends, is_over; /* wished; its last bytes are in out */
    bool is_broken;     /* the client is gone */
    bool is_deferred;   /* by the step that runs */
} net_stream;

/* What a run of a stream comes to. */
typedef enum stream_turn { STREAM_DONE, STREAM_ASLEEP } stream_turn;

/* ---- what a step sees ---- */

myr_str myr_http_stream_in(const myr_req *req)
{
    const net_stream *stream = req->stream;
    if (stream->in.size == stream->in_used) return myr_str_make("", 0);
    return myr_str_make(stream->in.data + stream->in_used, stream->in.size - stream->in_used);
}

void myr_http_stream_use(myr_req *req, size_t bytes)
{
    net_stream *stream = req->stream;
    MYR_ASSERT(bytes <= stream->in.size - stream->in_used);
    stream->in_used += bytes;
}

bool myr_http_stream_is_last(const myr_req *req)
{
    return req->stream->is_last;
}

static size_t stream_room(const net_stream *stream)
{
    return stream->opts.in_bytes_max - (stream->in.size - stream->in_used);
}

bool myr_http_stream_is_full(const myr_req *req)
{
    return stream_room(req->stream) == 0;
}

myr_buf *myr_http_stream_out(myr_req *req)
{
    return &req->stream->out;
}

void myr_http_stream_end(myr_req *req)
{
    req->stream->ends = true;
}

myr_arena *myr_http_stream_arena(myr_req *req)
{
    return req->stream->arena;
}

/* ---- buffers ---- */

/* Empty, and small again after something rare and large. */
static void stream_clear(myr_buf *buf)
{
    if (buf->failed || buf->room > STREAM_BYTES_KEPT) myr_buf_fini(buf);
    myr_buf_clear(buf);
}

/* Room for the input that comes: what is used goes away. */
static void stream_pack(net_stream *stream)
{
    size_t left = stream->in.size - stream->in_used;
    if (stream->in_used == 0) return;
    if (left == 0) {
        stream_clear(&stream->in);
    } else {
        memmove(stream->in.data, stream->in.data + stream->in_used, left + 1);
        stream->in.size = left;
    }
    stream->in_used = 0;
}

static void stream_put_head(net_stream *stream)
{
    myr_buf *out = &stream->out;
    myr_buf_printf(out, "HTTP/1.1 %d %s\r\nConnection: close\r\n", stream->opts.status,
                   MHD_get_reason_phrase_for((unsigned)stream->opts.status));
    myr_buf_printf(out, "Content-Type: %s\r\nCache-Control: no-store\r\n", stream->opts.content_type);
    for (uint32_t i = 0; i < stream->req->header_count; i++)
        myr_buf_printf(out, "%s: %s\r\n", stream->req->headers[i].name, stream->req->headers[i].value);
    myr_buf_puts(out, stream->is_chunked ? "Transfer-Encoding: chunked\r\n\r\n" : "\r\n");
}

static void stream_put_chunk(net_stream *stream, myr_buf *out, const void *data, size_t size)
{
    if (stream->is_chunked && size > 0) myr_buf_printf(out, "%zx\r\n", size);
    myr_buf_append(out, data, size);
    if (stream->is_chunked && size > 0) myr_buf_puts(out, "\r\n");
}

/* Room for the length of the chunk that a step writes. */
static void stream_open_frame(net_stream *stream)
{
    char room[STREAM_FRAME_BYTES] = {0};
    MYR_ASSERT(stream->out.size == 0);
    myr_buf_append(&stream->out, room, sizeof room);
}

/* The length comes right before the data; what is left of its room is not sent. */
static void stream_close_frame(net_stream *stream)
{
    char text[STREAM_FRAME_BYTES + 1];
    size_t size = stream->out.size - STREAM_FRAME_BYTES;
    if (stream->out.failed) return;
    stream->out_sent = STREAM_FRAME_BYTES;
    if (size == 0 || !stream->is_chunked) return;
    int length = snprintf(text, sizeof text, "%zx\r\n", size);
    MYR_ASSERT(length > 0 && length <= STREAM_FRAME_BYTES);
    stream->out_sent -= (size_t)length;
    memcpy(stream->out.data + stream->out_sent, text, (size_t)length);
    myr_buf_puts(&stream->out, "\r\n");
}

/* ---- sending ---- */

/* As much as the socket takes now. False: it takes no more; is_broken: it never will. */
static bool stream_send(net_stream *stream)
{
    while (stream->out_sent < stream->out.size && !stream->is_broken) {
        ssize_t sent = myr_net_conn_write(stream->req->conn, stream->out.data + stream->out_sent,
                                          stream->out.size - stream->out_sent);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return false;
        if (sent < 0) {
            stream->is_broken = true;
        } else {
            stream->out_sent += (size_t)sent;
            stream->req->reply_bytes += (size_t)sent;
        }
    }
    stream_clear(&stream->out);
    stream->out_sent = 0;
    return true;
}

/* Let the reaper wait for the socket. On a loop the connection falls asleep, on a compute thread it is. False: the
 * server is in a hurry. Afterwards the stream is not ours. */
static bool stream_park(net_stream *stream)
{
    myr_req *req = stream->req;
    myr_http_server *server = req->server;
    atomic_fetch_add(&server->parked_count, 1); /* before is_hurrying is read: see myr_http_stop */
    if (atomic_load(&server->is_hurrying)) {
        atomic_fetch_sub(&server->parked_count, 1);
        stream->is_broken = true;
        return false;
    }
    if (myr_net_thread_is_current(req->loop)) MHD_suspend_connection(req->mhd);
    struct epoll_event wait = {.events = EPOLLOUT | EPOLLONESHOT, .data.ptr = stream};
    myr_net_conn_send(req->conn, server->opts.body_timeout_ms);
    atomic_store(&stream->state, STREAM_BLOCKED);
    if (epoll_ctl(server->reaper_epoll, EPOLL_CTL_ADD, req->conn->fd, &wait) == 0) return true;
    stream->is_broken = true; /* no memory in the kernel */
    atomic_store(&stream->state, STREAM_WAKING);
    MHD_resume_connection(req->mhd);
    atomic_fetch_sub(&server->parked_count, 1);
    return true;
}

void myr_net_stream_writable(net_stream *stream, uint32_t events)
{
    myr_req *req = stream->req;
    myr_http_server *server = req->server;
    struct MHD_Connection *mhd = req->mhd;
    if ((events & (EPOLLERR | EPOLLHUP)) != 0) stream->is_broken = true;
    if (!stream_send(stream)) {
        struct epoll_event wait = {.events = EPOLLOUT | EPOLLONESHOT, .data.ptr = stream};
        if (epoll_ctl(server->reaper_epoll, EPOLL_CTL_MOD, req->conn->fd, &wait) == 0) return;
        stream->is_broken = true;
    }
    epoll_ctl(server->reaper_epoll, EPOLL_CTL_DEL, req->conn->fd, NULL);
    myr_net_conn_work(req->conn);
    atomic_store(&stream->state, STREAM_WAKING);
    MHD_resume_connection(mhd);
    atomic_fetch_sub(&server->parked_count, 1);
}

/* ---- running ---- */

/* Run the step once and frame what it wrote. False: it went to a compute thread. */
static bool stream_step(net_stream *stream)
{
    myr_req *req = stream->req;
    size_t before = stream->in.size - stream->in_used;
    bool was_full = stream_room(stream) == 0;
    myr_arena_reset(stream->arena);
    stream_open_frame(stream);
    bool more = stream->opts.step(req->server->opts.ctx, req);
    if (stream->is_deferred) return false;
    size_t left = stream->in.size - stream->in_used;
    MYR_ASSERT((!more && !was_full) || left < before || stream->ends); /* or it would never end */
    stream->has_more = more && left > 0;
    stream_close_frame(stream);
    stream_pack(stream);
    return true;
}

static void stream_finish(net_stream *stream)
{
    if (stream->is_chunked) myr_buf_puts(&stream->out, "0\r\n\r\n");
    stream->is_over = true;
}

static void stream_compute(void *arg);

/* The step wished it: asleep until a compute thread runs it. */
static void stream_submit(net_stream *stream)
{
    myr_req *req = stream->req;
    myr_http_server *server = req->server;
    struct MHD_Connection *mhd = req->mhd;
    stream->is_deferred = false;
    stream_clear(&stream->out);
    MHD_suspend_connection(mhd);
    if (myr_pool_submit(server->pool, stream_compute, stream, NULL) == MYR_OK) return;
    stream->is_broken = true; /* can't be: the pool holds deferred_max */
    atomic_store(&stream->state, STREAM_WAKING);
    MHD_resume_connection(mhd);
    atomic_fetch_sub(&server->deferred_count, 1);
}

/* Steps and sending in turn, until the client's input or its patience is used up. */
static stream_turn stream_run(net_stream *stream)
{
    myr_http_server *server = stream->req->server;
    for (;;) {
        if (stream->out.failed) stream->is_broken = true; /* no memory: an answer with a hole is none */
        if (!stream_send(stream)) return stream_park(stream) ? STREAM_ASLEEP : STREAM_DONE;
        if (stream->is_broken || stream->is_over) return STREAM_DONE;
        if (stream->has_more && !stream->ends) {
            if (!stream_step(stream)) {
                stream_submit(stream);
                return STREAM_ASLEEP;
            }
        } else if (stream->is_last || stream->ends) {
            stream_finish(stream);
        } else if (atomic_load(&server->is_draining)) {
            stream_put_chunk(stream, &stream->out, stream->opts.stopping, strlen(stream->opts.stopping));
            stream_finish(stream);
        } else {
            return STREAM_DONE;
        }
    }
}

/* On a compute thread; the connection sleeps. */
static void stream_compute(void *arg)
{
    net_stream *stream = arg;
    myr_req *req = stream->req;
    myr_http_server *server = req->server;
    struct MHD_Connection *mhd = req->mhd;
    req->runs = myr_net_thread_here(server, false);
    if (stream_run(stream) == STREAM_DONE) {
        atomic_store(&stream->state, STREAM_WAKING);
        MHD_resume_connection(mhd);
    }
    atomic_fetch_sub(&server->deferred_count, 1);
}

bool myr_http_stream_defer(myr_req *req)
{
    bool is_hurrying;
    MYR_ASSERT(myr_net_thread_is_current(req->loop) && !req->stream->is_deferred);
    req->stream->is_deferred = myr_net_fall_asleep(req->server, &is_hurrying);
    return req->stream->is_deferred;
}

/* ---- its life ---- */

myr_rc myr_req_stream(myr_req *req, const myr_http_stream_opts *opts, myr_err *err)
{
    MYR_ASSERT(req->phase == NET_PHASE_BODY && req->stream == NULL && req->status == 0 && req->conn != NULL);
    MYR_ASSERT(opts->step != NULL && opts->in_bytes_max > 0 && opts->late != NULL && opts->stopping != NULL);
    net_stream *stream = myr_calloc(1, sizeof *stream);
    myr_arena *arena = myr_arena_new((size_t)req->server->opts.request_bytes_max);
    if (stream == NULL || arena == NULL) {
        myr_free(stream);
        myr_arena_free(arena);
        MYR_FAIL(err, NO_MEMORY, "out of memory for a stream");
    }
    stream->req = req;
    stream->arena = arena;
    stream->opts = *opts;
    atomic_store(&stream->state, STREAM_BUSY);
    req->stream = stream;
    return MYR_OK;
}

static void stream_set_conn(myr_req *req, net_stream *stream)
{
    myr_mutex_lock(&req->server->conns_lock);
    req->conn->stream = stream;
    myr_mutex_unlock(&req->server->conns_lock);
}

/* The client's turn. The deadline comes first: the reaper reads it of an idle stream. */
static void stream_set_idle(net_stream *stream)
{
    myr_net_conn_wait(stream->req->conn, stream->opts.idle_timeout_ms);
    atomic_store(&stream->state, STREAM_IDLE);
}

/* We have said all, the client has not: it gets a moment to read it, and what it still sends is dropped. A socket that
 * is closed with unread input would take our last words back. */
static void stream_linger(net_stream *stream)
{
    myr_req *req = stream->req;
    myr_net_conn_bye(req->conn);
    myr_net_conn_send(req->conn, MYR_HTTP_STREAM_LINGER_MS);
    atomic_store(&stream->state, STREAM_OVER);
}

void myr_net_stream_begin(myr_req *req, const char *version)
{
    net_stream *stream = req->stream;
    int on = 1;
    req->phase = NET_PHASE_STREAM;
    req->status = stream->opts.status;
    stream->is_chunked = strcmp(version, MHD_HTTP_VERSION_1_0) != 0;
    setsockopt(req->conn->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    stream_set_conn(req, stream);
    MYR_AUTO(myr_buf) first = stream->out; /* of on_headers */
    stream->out = (myr_buf){0};
    stream_put_head(stream);
    stream_put_chunk(stream, &stream->out, first.data, first.size);
    if (stream->ends) stream_finish(stream);
    if (first.failed || stream->out.failed) stream->is_broken = true;
    /* A client that asked whether to send waits for another answer first: ours goes out with its first bytes. */
    bool asks = MHD_lookup_connection_value(req->mhd, MHD_HEADER_KIND, MHD_HTTP_HEADER_EXPECT) != NULL;
    if (!asks && stream_send(stream) && stream->is_over) {
        stream_linger(stream);
    } else {
        stream_set_idle(stream);
    }
}

/* Of a piece of the body that is offered: what fits, behind what is known of it. */
static void stream_take(net_stream *stream, const char *data, size_t data_bytes)
{
    size_t size = data_bytes - stream->taken, room = stream_room(stream);
    if (size > room) size = room;
    if (size == 0) return;
    myr_buf_append(&stream->in, data + stream->taken, size);
    if (stream->in.failed) stream->is_broken = true;
    stream->taken += size;
    stream->has_more = true;
}

static enum MHD_Result stream_drop(net_stream *stream, size_t *data_bytes)
{
    stream->dropped_bytes += (int64_t)*data_bytes;
    bool goes_on = *data_bytes > 0 && stream->dropped_bytes <= MYR_HTTP_DRAIN_BYTES_MAX;
    *data_bytes = 0;
    return goes_on ? MHD_YES : MHD_NO;
}

/* The thread that answers has it now; false when the reaper has ended it. */
static bool stream_claim(net_stream *stream)
{
    int idle = STREAM_IDLE, waking = STREAM_WAKING;
    return atomic_compare_exchange_strong(&stream->state, &idle, STREAM_BUSY) ||
           atomic_compare_exchange_strong(&stream->state, &waking, STREAM_BUSY);
}

enum MHD_Result myr_net_stream_access(myr_req *req, const char *data, size_t *data_bytes)
{
    net_stream *stream = req->stream;
    MYR_ASSERT(myr_net_thread_is_current(req->loop));
    if (atomic_load(&stream->state) == STREAM_OVER) return stream_drop(stream, data_bytes);
    if (!stream_claim(stream)) return MHD_NO;
    req->runs = req->loop;
    myr_net_conn_work(req->conn);
    if (*data_bytes == 0 && !stream->is_last) stream->is_last = stream->has_more = true;
    do {
        stream_take(stream, data, *data_bytes);
        if (stream_run(stream) == STREAM_ASLEEP) return MHD_YES; /* not ours to touch */
        if (stream->is_broken) return MHD_NO;
    } while (stream->taken < *data_bytes && !stream->is_over);
    stream->taken = 0;
    if (stream->is_over && stream->is_last) return MHD_NO; /* closes */
    *data_bytes = 0;
    if (stream->is_over) {
        stream_linger(stream);
    } else {
        stream_set_idle(stream);
    }
    return MHD_YES;
}

bool myr_net_stream_look(net_stream *stream, bool is_late)
{
    const myr_http_server *server = stream->req->server;
    bool stops = atomic_load(&server->is_draining);
    int idle = STREAM_IDLE;
    switch (atomic_load(&stream->state)) {
    case STREAM_BLOCKED: /* its socket's end wakes it */
        return is_late || atomic_load(&server->is_hurrying);
    case STREAM_OVER:
        return is_late;
    case STREAM_IDLE:
        break;
    default:
        return false;
    }
    if ((!is_late && !stops) || !atomic_compare_exchange_strong(&stream->state, &idle, STREAM_CUT)) return false;
    const char *words = stops ? stream->opts.stopping : stream->opts.late;
    stream_put_chunk(stream, &stream->out, words, strlen(words)); /* behind the head, if that had to wait */
    stream_finish(stream);
    if (stream->out.failed || !stream_send(stream)) stream->is_broken = true;
    return true;
}

void myr_net_stream_end(myr_req *req)
{
    net_stream *stream = req->stream;
    stream_set_conn(req, NULL);
    req->stream = NULL;
    if (stream->is_over && !stream->is_broken) req->phase = NET_PHASE_SENT;
    myr_buf_fini(&stream->in);
    myr_buf_fini(&stream->out);
    myr_arena_free(stream->arena);
    myr_free(stream);
}
