/*
 * One event loop: sockets, what other threads post to it, alarms of calls, the sweep over its connections. Before it
 * sleeps everything that was touched is flushed. The first loop also accepts, and gives each connection to the loop
 * that has the fewest.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/rpc_inside.h"

#define LOOP_EVENTS         64
#define LOOP_ACCEPTS        64  /* of one turn */
#define LOOP_READY_MAX      256 /* messages of streams that follow within one turn */
#define LOOP_SWEEPS         8   /* per shortest time-out */
#define LOOP_SWEEP_MS_MIN   10
#define LOOP_SWEEP_MS_MAX   250
#define LOOP_ACCEPT_WAIT_MS 100 /* after accept failed for want of files or memory */
#define LOOP_NOTICE_MS      100 /* between the two GOAWAYs: what was sent before the first arrives */

static int64_t loop_least(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* ---- posting ---- */

void myr_rpc_loop_wake(rpc_loop *loop)
{
    uint64_t one = 1;
    ssize_t done = write(loop->event_fd, &one, sizeof one);
    MYR_ASSERT(done == sizeof one || errno == EAGAIN); /* full: it will wake anyway */
}

void myr_rpc_loop_post(rpc_loop *loop, myr_rpc *rpc)
{
    myr_mutex_lock(&loop->lock);
    bool is_first = loop->posted == NULL;
    rpc->next_posted = loop->posted;
    loop->posted = rpc;
    myr_mutex_unlock(&loop->lock);
    if (is_first) myr_rpc_loop_wake(loop);
}

static void loop_post_conn(rpc_loop *loop, rpc_conn *conn)
{
    myr_mutex_lock(&loop->lock);
    conn->next_posted = loop->posted_conns;
    loop->posted_conns = conn;
    myr_mutex_unlock(&loop->lock);
    myr_rpc_loop_wake(loop);
}

static void loop_take_posted(rpc_loop *loop)
{
    uint64_t number;
    ssize_t got = read(loop->event_fd, &number, sizeof number);
    MYR_ASSERT(got == sizeof number || errno == EAGAIN);
    myr_mutex_lock(&loop->lock);
    myr_rpc *posted = loop->posted;
    rpc_conn *conns = loop->posted_conns;
    loop->posted = NULL;
    loop->posted_conns = NULL;
    myr_mutex_unlock(&loop->lock);
    while (conns != NULL) {
        rpc_conn *conn = conns;
        conns = conn->next_posted;
        myr_rpc_conn_take(loop, conn);
    }
    while (posted != NULL) {
        myr_rpc *rpc = posted;
        posted = rpc->next_posted;
        myr_rpc_on_return(rpc);
    }
}

/* ---- accepting: the first loop ---- */

static void loop_listen(rpc_loop *loop, bool on)
{
    myr_rpc_server *server = loop->thread.server;
    if (server->is_listening == on) return;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = server};
    int failed = epoll_ctl(loop->epoll_fd, on ? EPOLL_CTL_ADD : EPOLL_CTL_DEL, server->listener.fd, &event);
    if (failed == 0) server->is_listening = on;
}

static rpc_loop *loop_least_busy(myr_rpc_server *server)
{
    rpc_loop *best = &server->loops[0];
    for (int i = 1; i < server->opts.loop_count; i++) {
        if (atomic_load(&server->loops[i].conn_count) < atomic_load(&best->conn_count)) best = &server->loops[i];
    }
    return best;
}

static void loop_accept(rpc_loop *loop)
{
    myr_rpc_server *server = loop->thread.server;
    for (int i = 0; i < LOOP_ACCEPTS; i++) {
        if (atomic_load(&server->conn_count) >= server->opts.connections_max) { /* more wait in the kernel's queue */
            atomic_store(&server->is_full, true);
            loop_listen(loop, false);
            return;
        }
        struct sockaddr_storage address;
        socklen_t address_bytes = sizeof address;
        int fd =
            accept4(server->listener.fd, (struct sockaddr *)&address, &address_bytes, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return;
        if (fd < 0 && (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)) {
            server->listen_again_ns = loop->now_ns + LOOP_ACCEPT_WAIT_MS * 1000000LL;
            loop_listen(loop, false);
            return;
        }
        if (fd < 0) continue; /* the client left already */
        int on = 1;
        MYR_IGNORE(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on)); /* slower, not wrong */
        rpc_loop *owner = loop_least_busy(server);
        rpc_conn *conn = myr_rpc_conn_new(owner, fd);
        if (conn == NULL) continue;
        if (!myr_rpc_conn_count(conn, (struct sockaddr *)&address)) {
            myr_rpc_conn_discard(conn);
            continue;
        }
        atomic_fetch_add(&server->conn_count, 1);
        atomic_fetch_add(&owner->conn_count, 1);
        if (owner == loop) {
            myr_rpc_conn_take(loop, conn);
        } else {
            loop_post_conn(owner, conn);
        }
    }
}

/* Listen again when there is room, or after a rest. */
static void loop_accept_again(rpc_loop *loop)
{
    myr_rpc_server *server = loop->thread.server;
    if (loop != &server->loops[0] || server->is_listening || atomic_load(&server->is_draining)) return;
    if (server->listen_again_ns > loop->now_ns) return;
    if (atomic_load(&server->conn_count) >= server->opts.connections_max) return;
    atomic_store(&server->is_full, false);
    loop_listen(loop, true);
}

/* ---- time ---- */

static int64_t loop_sweep_ms(const myr_rpc_opts *opts)
{
    int64_t least = loop_least(loop_least(opts->header_timeout_ms, opts->body_timeout_ms), opts->idle_timeout_ms);
    int64_t ms = least / LOOP_SWEEPS;
    if (ms < LOOP_SWEEP_MS_MIN) return LOOP_SWEEP_MS_MIN;
    return ms > LOOP_SWEEP_MS_MAX ? LOOP_SWEEP_MS_MAX : ms;
}

/* Calls whose alarm is over; the rest say when to look again. */
static void loop_alarms(rpc_loop *loop)
{
    if (loop->now_ns < loop->wake_ns) return;
    loop->wake_ns = RPC_NEVER_NS;
    for (myr_rpc *rpc = loop->calls, *next; rpc != NULL; rpc = next) {
        next = rpc->next;
        if (rpc->alarm_ns <= loop->now_ns) {
            myr_rpc_on_alarm(rpc, loop->now_ns); /* sets another, or the call is no longer in the list */
        } else {
            loop->wake_ns = loop_least(loop->wake_ns, rpc->alarm_ns);
        }
    }
}

static void loop_drain(rpc_loop *loop)
{
    myr_rpc_server *server = loop->thread.server;
    if (!atomic_load(&server->is_draining) || loop->is_drained) return;
    bool is_first = loop->drain_step_ns == 0;
    if (!is_first && loop->now_ns < loop->drain_step_ns) return;
    if (is_first && loop == &server->loops[0]) loop_listen(loop, false);
    for (rpc_conn *conn = loop->conns; conn != NULL; conn = conn->next)
        myr_rpc_conn_leave(conn, !is_first);
    for (myr_rpc *rpc = loop->calls, *next; rpc != NULL; rpc = next) {
        next = rpc->next;
        myr_rpc_on_drain(rpc);
    }
    loop->drain_step_ns = loop->now_ns + LOOP_NOTICE_MS * 1000000LL;
    loop->is_drained = !is_first;
}

static void loop_sweep(rpc_loop *loop)
{
    if (loop->now_ns < loop->sweep_ns) return;
    loop->sweep_ns = loop->now_ns + loop_sweep_ms(&loop->thread.server->opts) * 1000000;
    myr_rpc_conn_sweep(loop, loop->now_ns);
}

/* ---- a turn ---- */

/* Streams whose answer is out take their next message, then all goes out. */
static void loop_flush(rpc_loop *loop)
{
    for (int i = 0; loop->dirty != NULL || loop->ready != NULL; i++) {
        while (loop->dirty != NULL) {
            rpc_conn *conn = loop->dirty;
            loop->dirty = conn->next_dirty;
            conn->is_dirty = false;
            myr_rpc_conn_flush(conn);
        }
        if (i == LOOP_READY_MAX) return; /* others have a turn first */
        myr_rpc *ready = loop->ready;
        loop->ready = NULL;
        while (ready != NULL) {
            myr_rpc *rpc = ready;
            ready = rpc->next_ready;
            rpc->is_ready = false;
            if (rpc->phase == RPC_SEND && rpc->reply_sent == rpc->reply_size) myr_rpc_go_on(rpc);
        }
    }
}

static int loop_wait_ms(const rpc_loop *loop)
{
    if (loop->ready != NULL || loop->dirty != NULL) return 0;
    int64_t until_ns = loop_least(loop->wake_ns, loop->sweep_ns);
    if (loop->drain_step_ns != 0 && !loop->is_drained) until_ns = loop_least(until_ns, loop->drain_step_ns);
    int64_t wait_ns = until_ns - myr_clock_mono_ns();
    return wait_ns <= 0 ? 0 : (int)((wait_ns + 999999) / 1000000); /* a sweep is never far */
}

static void loop_turn(rpc_loop *loop)
{
    struct epoll_event events[LOOP_EVENTS];
    int count = epoll_wait(loop->epoll_fd, events, LOOP_EVENTS, loop_wait_ms(loop));
    MYR_ASSERT(count >= 0 || errno == EINTR);
    loop->now_ns = myr_clock_mono_ns();
    bool is_posted = false, is_knocked = false;
    for (int i = 0; i < count; i++) {
        void *what = events[i].data.ptr;
        if (what == loop) {
            is_posted = true;
        } else if (what == loop->thread.server) {
            is_knocked = true;
        } else {
            myr_rpc_conn_on_events(what, events[i].events); /* closes nothing: that is flushing's */
        }
    }
    if (is_posted) loop_take_posted(loop);
    if (is_knocked) loop_accept(loop);
    loop_accept_again(loop);
    loop_drain(loop);
    loop_alarms(loop);
    loop_sweep(loop);
    loop_flush(loop);
}

void *myr_rpc_loop_main(void *arg)
{
    rpc_loop *loop = arg;
    myr_rpc_server *server = loop->thread.server;
    myr_rpc_thread_claim(&loop->thread);
    loop->now_ns = myr_clock_mono_ns();
    if (loop == &server->loops[0]) loop_listen(loop, true);
    while (!atomic_load(&server->is_ending))
        loop_turn(loop);
    loop_take_posted(loop); /* no compute thread has a call any more */
    loop_flush(loop);
    while (loop->conns != NULL)
        myr_rpc_conn_close(loop->conns);
    return NULL;
}

/* ---- start and end ---- */

myr_rc myr_rpc_loop_init(rpc_loop *loop, myr_err *err)
{
    loop->wake_ns = RPC_NEVER_NS;
    loop->in = myr_alloc(RPC_IN_BYTES);
    loop->out = myr_alloc(RPC_OUT_BYTES + RPC_OUT_CHUNK_MAX);
    if (loop->in == NULL || loop->out == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for an event loop");
    loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    loop->event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = loop};
    if (loop->epoll_fd < 0 || loop->event_fd < 0 ||
        epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->event_fd, &event) != 0) {
        char text[64];
        MYR_FAIL(err, IO, "an event loop does not start: %s", strerror_r(errno, text, sizeof text));
    }
    return MYR_OK;
}

void myr_rpc_loop_fini(rpc_loop *loop)
{
    MYR_ASSERT(loop->conns == NULL && loop->calls == NULL && loop->posted == NULL);
    while (loop->posted_conns != NULL) { /* accepted for a loop that had ended */
        rpc_conn *conn = loop->posted_conns;
        loop->posted_conns = conn->next_posted;
        myr_rpc_conn_discard(conn);
    }
    while (loop->spares != NULL) {
        myr_rpc *rpc = loop->spares;
        loop->spares = rpc->next_spare;
        myr_rpc_free(rpc);
    }
    myr_rpc_pool_fini(&loop->pool);
    if (loop->epoll_fd >= 0) close(loop->epoll_fd);
    if (loop->event_fd >= 0) close(loop->event_fd);
    myr_free(loop->in);
    myr_free(loop->out);
    myr_mutex_fini(&loop->lock);
}
