/*
 * Connections: bytes in, bytes out, and when one is cut. Reading stops while the peer does not take what we write, so
 * what waits for it is bounded. Deadlines are moments on the clock, looked at by the loop's sweep: a byte now and then
 * does not move them.
 */
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "net/rpc_inside.h"

#define CONN_LINGER_MS           300
#define CONN_MEMORY_BYTES        ((size_t)256 << 10) /* of nghttp2 for one connection … */
#define CONN_MEMORY_STREAM_BYTES ((size_t)8 << 10)   /* … and for each stream that it may have */

/* ---- making and ending ---- */

rpc_conn *myr_rpc_conn_new(rpc_loop *loop, int fd)
{
    rpc_conn *conn = myr_calloc(1, sizeof *conn);
    if (conn == NULL) {
        close(fd);
        return NULL;
    }
    conn->loop = loop;
    conn->wire.fd = fd;
    conn->wire.tls = loop->thread.server->opts.tls;
    return conn;
}

bool myr_rpc_conn_count(rpc_conn *conn, const struct sockaddr *address)
{
    myr_rpc_server *server = conn->loop->thread.server;
    unsigned char key[NET_PEER_KEY_BYTES];
    myr_net_peer_key(address, key);
    myr_mutex_lock(&server->peers_lock);
    bool is_counted = myr_net_peer_add(&server->peers, server->opts.address_connections_max, key, &conn->peer);
    myr_mutex_unlock(&server->peers_lock);
    return is_counted;
}

void myr_rpc_conn_discard(rpc_conn *conn)
{
    myr_rpc_server *server = conn->loop->thread.server;
    myr_mutex_lock(&server->peers_lock);
    if (conn->peer != NULL) myr_net_peer_remove(&server->peers, conn->peer);
    myr_mutex_unlock(&server->peers_lock);
    myr_net_wire_close(&conn->wire);
    myr_free(conn);
}

static void conn_gone(rpc_loop *loop)
{
    myr_rpc_server *server = loop->thread.server;
    atomic_fetch_sub(&loop->conn_count, 1);
    atomic_fetch_sub(&server->conn_count, 1);
    if (atomic_load(&server->is_full)) myr_rpc_loop_wake(&server->loops[0]); /* the acceptor may go on */
}

void myr_rpc_conn_take(rpc_loop *loop, rpc_conn *conn)
{
    const myr_rpc_opts *opts = &loop->thread.server->opts;
    int64_t now_ns = loop->now_ns;
    size_t cap = CONN_MEMORY_BYTES + (size_t)opts->streams_max * CONN_MEMORY_STREAM_BYTES;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = conn};
    myr_rpc_memory_init(&conn->memory, &loop->pool, cap);
    conn->accept_ns = conn->heard_ns = conn->glitch_ns = now_ns;
    conn->deadline_ns = now_ns + opts->header_timeout_ms * 1000000;
    conn->stall_ns = RPC_NEVER_NS;
    conn->events = EPOLLIN;
    int failed = myr_rpc_session_new(conn);
    if (failed == 0) failed = epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, conn->wire.fd, &event);
    if (failed != 0) {
        nghttp2_session_del(conn->session);
        myr_rpc_conn_discard(conn);
        conn_gone(loop);
        return;
    }
    conn->next = loop->conns;
    if (loop->conns != NULL) loop->conns->prev = conn;
    loop->conns = conn;
    myr_rpc_conn_touch(conn); /* our settings go first */
}

static void conn_forget_dirty(rpc_conn *conn)
{
    for (rpc_conn **link = &conn->loop->dirty; conn->is_dirty; link = &(*link)->next_dirty) {
        MYR_ASSERT(*link != NULL);
        if (*link != conn) continue;
        *link = conn->next_dirty;
        conn->is_dirty = false;
        break;
    }
}

/* Its calls end first: nghttp2 does not tell of streams when a session goes. */
void myr_rpc_conn_close(rpc_conn *conn)
{
    rpc_loop *loop = conn->loop;
    for (myr_rpc *rpc = loop->calls, *next; rpc != NULL && conn->call_count > 0; rpc = next) {
        next = rpc->next;
        if (rpc->conn == conn) myr_rpc_on_close(rpc);
    }
    MYR_ASSERT(conn->call_count == 0 && conn->held_bytes == 0);
    conn_forget_dirty(conn);
    if (conn->prev != NULL) {
        conn->prev->next = conn->next;
    } else {
        MYR_ASSERT(loop->conns == conn);
        loop->conns = conn->next;
    }
    if (conn->next != NULL) conn->next->prev = conn->prev;
    nghttp2_session_del(conn->session);
    MYR_ASSERT(conn->memory.used_bytes == 0);
    myr_free(conn->pending);
    myr_rpc_conn_discard(conn);
    conn_gone(loop);
}

/* ---- out ---- */

void myr_rpc_conn_touch(rpc_conn *conn)
{
    if (conn->is_dirty) return;
    conn->is_dirty = true;
    conn->next_dirty = conn->loop->dirty;
    conn->loop->dirty = conn;
}

static void conn_watch(rpc_conn *conn, uint32_t events)
{
    if (conn->events == events) return;
    struct epoll_event event = {.events = events, .data.ptr = conn};
    if (epoll_ctl(conn->loop->epoll_fd, EPOLL_CTL_MOD, conn->wire.fd, &event) != 0) conn->is_broken = true;
    conn->events = events;
}

/* Write; what the socket does not take now is kept, and no more is read until it has. */
static void conn_write(rpc_conn *conn, const unsigned char *data, size_t size)
{
    size_t sent = 0;
    net_wire_result result = myr_net_wire_write(&conn->wire, data, size, &sent);
    if (result == NET_WIRE_END) conn->is_broken = true;
    if (result == NET_WIRE_END || sent == size) return;
    MYR_ASSERT(conn->pending == NULL);
    conn->pending = myr_alloc(size - sent);
    if (conn->pending == NULL) {
        conn->is_broken = true;
        return;
    }
    memcpy(conn->pending, data + sent, size - sent);
    conn->pending_bytes = size - sent;
    conn->pending_sent = 0;
    conn->stall_ns = conn->loop->now_ns + conn->loop->thread.server->opts.body_timeout_ms * 1000000;
    conn_watch(conn, EPOLLOUT);
}

/* False: the socket is still full. */
static bool conn_write_pending(rpc_conn *conn)
{
    if (conn->pending == NULL) return true;
    size_t sent = 0;
    net_wire_result result = myr_net_wire_write(&conn->wire, conn->pending + conn->pending_sent,
                                                conn->pending_bytes - conn->pending_sent, &sent);
    if (result == NET_WIRE_END) conn->is_broken = true;
    conn->pending_sent += sent;
    if (conn->pending_sent < conn->pending_bytes) return false;
    myr_free(conn->pending);
    conn->pending = NULL;
    conn->stall_ns = RPC_NEVER_NS;
    conn_watch(conn, EPOLLIN);
    return true;
}

/* Frames until the buffer is full or there are none; gives the bytes. */
static size_t conn_gather(rpc_conn *conn)
{
    unsigned char *out = conn->loop->out;
    size_t size = 0;
    while (size < RPC_OUT_BYTES) {
        const uint8_t *data;
        ssize_t given = nghttp2_session_mem_send(conn->session, &data);
        if (given < 0) conn->is_broken = true;
        if (given <= 0) break;
        MYR_ASSERT((size_t)given <= RPC_OUT_CHUNK_MAX);
        memcpy(out + size, data, (size_t)given);
        size += (size_t)given;
    }
    return size;
}

/*
 * All is said. Closing now, with bytes of the peer unread, would have the kernel drop what the peer has not read yet:
 * its last answer and our reason. So it is given a moment to leave by itself.
 */
static void conn_shut(rpc_conn *conn)
{
    myr_net_wire_shut(&conn->wire);
    conn->is_shut = true;
    conn->deadline_ns = conn->loop->now_ns + CONN_LINGER_MS * 1000000LL;
}

void myr_rpc_conn_flush(rpc_conn *conn)
{
    while (!conn->is_broken && !conn->is_shut && conn_write_pending(conn)) {
        size_t size = conn_gather(conn);
        if (size == 0) break;
        conn_write(conn, conn->loop->out, size);
        if (conn->pending != NULL) break;
    }
    bool is_over = nghttp2_session_want_read(conn->session) == 0 && nghttp2_session_want_write(conn->session) == 0;
    if (conn->is_leaving && conn->call_count == 0) is_over = true;
    if (conn->is_broken) {
        myr_rpc_conn_close(conn);
    } else if (is_over && conn->pending == NULL && !conn->is_shut) {
        conn_shut(conn);
    }
}

/* ---- in ---- */

static void conn_read(rpc_conn *conn)
{
    rpc_loop *loop = conn->loop;
    size_t size;
    net_wire_result result = myr_net_wire_read(&conn->wire, loop->in, RPC_IN_BYTES, &size);
    if (result == NET_WIRE_AGAIN) return; /* more to come, a handshake's bytes too */
    if (result == NET_WIRE_END) {
        conn->is_broken = true;
        return;
    }
    if (conn->is_shut) return;
    conn->heard_ns = loop->now_ns;
    conn->is_pinged = false;
    ssize_t used = nghttp2_session_mem_recv(conn->session, loop->in, size);
    if (used < 0) conn->is_broken = true; /* no client of HTTP/2, a flood, no memory */
}

void myr_rpc_conn_on_events(rpc_conn *conn, uint32_t events)
{
    if ((events & (EPOLLERR | EPOLLHUP)) != 0) conn->is_broken = true;
    if (!conn->is_broken && (events & EPOLLIN) != 0) conn_read(conn);
    myr_rpc_conn_touch(conn);
}

/* ---- limits ---- */

void myr_rpc_conn_glitch(rpc_conn *conn)
{
    int64_t now_ns = conn->loop->now_ns;
    conn->glitches -= (double)(now_ns - conn->glitch_ns) / 1e9 * MYR_RPC_GLITCHES_S;
    if (conn->glitches < 0) conn->glitches = 0;
    conn->glitch_ns = now_ns;
    conn->glitches += 1;
    if (conn->glitches <= MYR_RPC_GLITCHES_MAX || conn->is_leaving) return;
    conn->is_leaving = true;
    MYR_IGNORE(nghttp2_session_terminate_session(conn->session, NGHTTP2_ENHANCE_YOUR_CALM));
    myr_rpc_conn_touch(conn);
}

void myr_rpc_conn_leave(rpc_conn *conn, bool last)
{
    if (conn->is_leaving) return;
    if (last) {
        int32_t id = nghttp2_session_get_last_proc_stream_id(conn->session);
        MYR_IGNORE(nghttp2_submit_goaway(conn->session, NGHTTP2_FLAG_NONE, id, NGHTTP2_NO_ERROR, NULL, 0));
        conn->is_leaving = true;
    } else {
        MYR_IGNORE(nghttp2_submit_shutdown_notice(conn->session));
    }
    myr_rpc_conn_touch(conn);
}

void myr_rpc_conn_rest(rpc_conn *conn)
{
    const myr_rpc_opts *opts = &conn->loop->thread.server->opts;
    if (conn->is_shut) return;
    if (!conn->has_greeted) {
        conn->deadline_ns = conn->accept_ns + opts->header_timeout_ms * 1000000;
    } else if (conn->call_count == 0) {
        conn->deadline_ns = conn->loop->now_ns + opts->idle_timeout_ms * 1000000;
    } else {
        conn->deadline_ns = RPC_NEVER_NS;
    }
}

/* A peer with calls from which nothing is heard: is it there? */
static void conn_ask(rpc_conn *conn, int64_t now_ns)
{
    const myr_rpc_opts *opts = &conn->loop->thread.server->opts;
    int64_t silent_ns = now_ns - conn->heard_ns;
    if (conn->is_pinged && silent_ns > (opts->idle_timeout_ms + opts->header_timeout_ms) * 1000000) {
        conn->is_broken = true;
        myr_rpc_conn_touch(conn);
    } else if (!conn->is_pinged && silent_ns > opts->idle_timeout_ms * 1000000) {
        conn->is_pinged = true;
        MYR_IGNORE(nghttp2_submit_ping(conn->session, NGHTTP2_FLAG_NONE, NULL));
        myr_rpc_conn_touch(conn);
    }
}

void myr_rpc_conn_sweep(rpc_loop *loop, int64_t now_ns)
{
    for (rpc_conn *conn = loop->conns; conn != NULL; conn = conn->next) {
        if (conn->stall_ns <= now_ns || (conn->deadline_ns <= now_ns && (!conn->has_greeted || conn->is_shut))) {
            conn->is_broken = true;
            myr_rpc_conn_touch(conn);
        } else if (conn->deadline_ns <= now_ns) { /* idle: a client opens another one when it needs it */
            myr_rpc_conn_leave(conn, true);
        } else if (conn->call_count > 0) {
            conn_ask(conn, now_ns);
        }
    }
}
