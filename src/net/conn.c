/*
 * Connections and their deadlines. libmicrohttpd's own time-out starts again with every byte, so a client that drips
 * holds a connection for ever; ours are moments on the clock, set when a phase of a request begins. One thread looks
 * through all connections several times per time-out and shuts the late ones down; their loop then meets the end of the
 * stream and cleans up as for any client that left. The same thread waits for the sockets of streams that are full.
 *
 * Deadlines are counted in the kernel's ticks: they are set four times a request, and need not be exact.
 *
 * A socket is closed only after its CLOSED notification, which takes conns_lock: under the lock an fd in the list is
 * ours.
 */
#include "net/internal.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#define REAPER_EVENTS        64
#define REAPER_PERIODS       8 /* looks per shortest time-out */
#define REAPER_PERIOD_MS_MIN 10
#define REAPER_PERIOD_MS_MAX 250
#define REAPER_LOOK_NS       1000000000LL /* between looks at one connection, and before the first */

static void conn_set(net_conn *conn, int64_t deadline_ns, int64_t listens_ns)
{
    if (conn == NULL) return;
    atomic_store_explicit(&conn->deadline_ns, deadline_ns, memory_order_relaxed);
    atomic_store_explicit(&conn->listens_ns, listens_ns, memory_order_relaxed);
}

void myr_net_conn_wait(net_conn *conn, int64_t timeout_ms)
{
    int64_t now_ns = myr_clock_tick_ns();
    conn_set(conn, now_ns + timeout_ms * 1000000, now_ns);
}

void myr_net_conn_send(net_conn *conn, int64_t timeout_ms)
{
    conn_set(conn, myr_clock_tick_ns() + timeout_ms * 1000000, NET_NEVER_NS);
}

void myr_net_conn_work(net_conn *conn)
{
    conn_set(conn, NET_NEVER_NS, NET_NEVER_NS);
}

/* Into the list, counted by its address. False: that has as many as it may; it is in the list all the same. */
static bool conn_add(myr_http_server *server, net_conn *conn, const unsigned char peer[NET_PEER_KEY_BYTES])
{
    myr_mutex_lock(&server->conns_lock);
    bool is_counted = myr_net_peer_add(&server->peers, server->opts.address_connections_max, peer, &conn->peer);
    conn->next = server->conns;
    if (server->conns != NULL) server->conns->prev = conn;
    server->conns = conn;
    myr_mutex_unlock(&server->conns_lock);
    return is_counted;
}

static void conn_remove(myr_http_server *server, net_conn *conn)
{
    myr_mutex_lock(&server->conns_lock);
    if (conn->peer != NULL) myr_net_peer_remove(&server->peers, conn->peer);
    if (conn->prev != NULL) {
        MYR_ASSERT(conn->prev->next == conn);
        conn->prev->next = conn->next;
    } else {
        MYR_ASSERT(server->conns == conn);
        server->conns = conn->next;
    }
    if (conn->next != NULL) conn->next->prev = conn->prev;
    myr_mutex_unlock(&server->conns_lock);
}

/* Our certificate and our questions for the session that libmicrohttpd has made; its handshake has not begun. */
static bool conn_begin_tls(myr_http_server *server, struct MHD_Connection *mhd, net_conn *conn)
{
    if (server->opts.tls == NULL) return true;
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
    if (info == NULL || info->tls_session == NULL) return false;
    conn->session = info->tls_session;
    return myr_net_tls_begin(server->opts.tls, conn->session, "http/1.1", &conn->tls_hold);
}

static void conn_open(myr_http_server *server, struct MHD_Connection *mhd, void **slot)
{
    const union MHD_ConnectionInfo *info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
    MYR_ASSERT(info != NULL);
    int fd = info->connect_fd;
    unsigned char peer[NET_PEER_KEY_BYTES];
    info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    myr_net_peer_key(info != NULL ? info->client_addr : NULL, peer);
    net_conn *conn = myr_calloc(1, sizeof *conn);
    if (conn == NULL) { /* no deadline, no connection */
        shutdown(fd, SHUT_RDWR);
        return;
    }
    conn->fd = fd;
    myr_net_conn_wait(conn, server->opts.header_timeout_ms);
    bool is_counted = conn_add(server, conn, peer);
    *slot = conn;
    if (!is_counted || !conn_begin_tls(server, mhd, conn)) shutdown(fd, SHUT_RDWR);
}

void myr_net_on_connection(void *ctx, struct MHD_Connection *mhd, void **slot, enum MHD_ConnectionNotificationCode what)
{
    myr_http_server *server = ctx;
    net_conn *conn = *slot;
    if (what == MHD_CONNECTION_NOTIFY_STARTED) {
        conn_open(server, mhd, slot);
    } else if (conn != NULL) {
        conn_remove(server, conn);
        if (server->opts.tls != NULL) myr_net_tls_end(server->opts.tls, conn->tls_hold);
        myr_free(conn);
        *slot = NULL;
    }
}

/*
 * Whether the client has left unseen: when its last bytes and its end arrive together, libmicrohttpd reads the bytes,
 * takes the socket for empty and is never told again. We look only where a request is awaited, and not at once: bytes
 * that the loop has read a moment ago must have become a request before an empty socket means that nothing more will
 * come.
 */
static bool reaper_sees_end(net_conn *conn, int64_t now_ns)
{
    int64_t listens_ns = atomic_load_explicit(&conn->listens_ns, memory_order_relaxed);
    if (listens_ns == NET_NEVER_NS || now_ns - listens_ns < REAPER_LOOK_NS ||
        now_ns - conn->looked_ns < REAPER_LOOK_NS) {
        return false;
    }
    conn->looked_ns = now_ns;
    char byte;
    return recv(conn->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

static void reaper_look(myr_http_server *server)
{
    myr_mutex_lock(&server->conns_lock);
    int64_t now_ns = myr_clock_mono_ns();
    for (net_conn *conn = server->conns; conn != NULL; conn = conn->next) {
        bool is_late = atomic_load_explicit(&conn->deadline_ns, memory_order_relaxed) <= now_ns;
        bool is_over = conn->stream != NULL ? myr_net_stream_look(conn->stream, is_late) : is_late;
        if (is_over || reaper_sees_end(conn, now_ns)) shutdown(conn->fd, SHUT_RDWR); /* the loop does the rest */
    }
    myr_mutex_unlock(&server->conns_lock);
}

/* What is due now; gives back how long the reaper may sleep, in ms. */
static int reaper_turn(myr_http_server *server, int64_t *next_look_ns)
{
    int64_t now_ns = myr_clock_mono_ns();
    if (now_ns >= *next_look_ns || atomic_load(&server->is_draining)) {
        reaper_look(server);
        *next_look_ns = now_ns + server->reaper_period_ms * 1000000;
    }
    bool any_held = myr_net_room_look(server->room, now_ns);
    int64_t sleep_ms = (*next_look_ns - now_ns) / 1000000 + 1;
    return (int)(any_held && sleep_ms > NET_ROOM_LOOK_MS ? NET_ROOM_LOOK_MS : sleep_ms);
}

static void *reaper_main(void *arg)
{
    myr_http_server *server = arg;
    struct epoll_event events[REAPER_EVENTS];
    int64_t next_look_ns = 0;
    while (!atomic_load(&server->reaper_stop)) {
        int count = epoll_wait(server->reaper_epoll, events, REAPER_EVENTS, reaper_turn(server, &next_look_ns));
        for (int i = 0; i < count; i++) {
            uint64_t number;
            if (events[i].data.ptr != NULL) {
                myr_net_stream_writable(events[i].data.ptr, events[i].events);
            } else if (read(server->reaper_event, &number, sizeof number) < 0) {
                continue; /* another look took it */
            }
        }
    }
    return NULL;
}

void myr_net_reaper_hurry(myr_http_server *server)
{
    uint64_t one = 1;
    MYR_IGNORE(write(server->reaper_event, &one, sizeof one) < 0); /* full: it is awake */
}

myr_rc myr_net_reaper_start(myr_http_server *server, myr_err *err)
{
    int64_t shortest_ms = server->opts.header_timeout_ms;
    if (server->opts.body_timeout_ms < shortest_ms) shortest_ms = server->opts.body_timeout_ms;
    if (server->opts.idle_timeout_ms < shortest_ms) shortest_ms = server->opts.idle_timeout_ms;
    int64_t period_ms = shortest_ms / REAPER_PERIODS;
    if (period_ms < REAPER_PERIOD_MS_MIN) period_ms = REAPER_PERIOD_MS_MIN;
    if (period_ms > REAPER_PERIOD_MS_MAX) period_ms = REAPER_PERIOD_MS_MAX;
    server->reaper_period_ms = period_ms;
    server->reaper_epoll = epoll_create1(EPOLL_CLOEXEC);
    server->reaper_event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event wake = {.events = EPOLLIN};
    if (server->reaper_epoll < 0 || server->reaper_event < 0 ||
        epoll_ctl(server->reaper_epoll, EPOLL_CTL_ADD, server->reaper_event, &wake) != 0) {
        char text[64];
        MYR_FAIL(err, IO, "the HTTP server does not start: %s", strerror_r(errno, text, sizeof text));
    }
    MYR_TRY(myr_thread_start(&server->reaper, "net-reaper", reaper_main, server, err));
    server->has_reaper = true;
    return MYR_OK;
}

void myr_net_reaper_stop(myr_http_server *server)
{
    if (server->has_reaper) {
        atomic_store(&server->reaper_stop, true);
        myr_net_reaper_hurry(server);
        myr_thread_join(server->reaper);
        server->has_reaper = false;
    }
    if (server->reaper_epoll >= 0) close(server->reaper_epoll);
    if (server->reaper_event >= 0) close(server->reaper_event);
    server->reaper_epoll = server->reaper_event = -1;
}
