/*
 * Start and stop. libmicrohttpd runs the loops (one epoll thread each); beside them stand the compute threads of a
 * bounded pool and the reaper of late connections. Stopping is the order of things: no new connections, what is in
 * flight ends, no connection sleeps any more, loops end, the rest is freed.
 */
#include "net/internal.h"

#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SERVER_CONN_BYTES                                                                                              \
    (15u << 10) /* libmicrohttpd's memory of one connection: with ours, 16 KiB; it zeroes all per request */

/* A thread of one server never becomes one of another: they are made with it and end before it. */
static _Thread_local net_thread *server_thread_here;

net_thread *myr_net_thread_here(myr_http_server *server, bool is_loop)
{
    net_thread *thread = server_thread_here;
    if (thread == NULL) {
        int idx = is_loop ? atomic_fetch_add(&server->claimed_loops, 1)
                          : server->opts.loop_count + atomic_fetch_add(&server->claimed_computes, 1);
        MYR_ASSERT(idx < (is_loop ? server->opts.loop_count : server->thread_count));
        thread = &server->threads[idx];
        server_thread_here = thread;
    }
    MYR_ASSERT(thread->server == server && thread->is_loop == is_loop);
    return thread;
}

bool myr_net_thread_is_current(const net_thread *thread)
{
    return server_thread_here == thread;
}

static myr_rc server_check(const myr_http_opts *opts, myr_err *err)
{
    MYR_ASSERT(opts->handler != NULL && opts->listen != NULL);
    if (opts->queue_max < 1 || opts->body_bytes_max < 1 || opts->connections_max < 1 || opts->header_timeout_ms < 1 ||
        opts->body_timeout_ms < 1 || opts->idle_timeout_ms < 1) {
        MYR_FAIL(err, BAD_USAGE, "a limit or time-out of the server is below 1");
    }
    if (opts->body_bytes_max > INT64_MAX / 4 || opts->queue_max > (1 << 24)) {
        MYR_FAIL(err, BAD_USAGE, "a limit of the server is too large");
    }
    if (opts->request_bytes_max < opts->body_bytes_max) {
        MYR_FAIL(err, BAD_USAGE, "request-bytes-max (%lld) is below body-bytes-max (%lld)",
                 (long long)opts->request_bytes_max, (long long)opts->body_bytes_max);
    }
    return MYR_OK;
}

static myr_rc server_make_threads(myr_http_server *server, myr_err *err)
{
    server->threads = myr_calloc((size_t)server->thread_count, sizeof *server->threads);
    if (server->threads == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for %d threads", server->thread_count);
    for (int i = 0; i < server->thread_count; i++) {
        net_thread *thread = &server->threads[i];
        thread->server = server;
        thread->is_loop = i < server->opts.loop_count;
        if (server->opts.make_loop_state == NULL) continue;
        thread->state = server->opts.make_loop_state(server->opts.ctx);
        if (thread->state == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the state of thread %d", i);
    }
    return MYR_OK;
}

/* Everything but what libmicrohttpd still uses: the daemon is stopped. */
static void server_free(myr_http_server *server)
{
    MYR_ASSERT(server->daemon == NULL);
    MYR_ASSERT(atomic_load(&server->deferred_count) == 0 && atomic_load(&server->parked_count) == 0);
    myr_pool_stop(server->pool);
    myr_net_fair_free(server->fair);
    myr_net_reaper_stop(server);
    myr_net_room_free(server->room);
    MYR_ASSERT(server->conns == NULL);
    for (int i = 0; server->threads != NULL && i < server->thread_count; i++) {
        net_thread *thread = &server->threads[i];
        while (thread->spare_reqs != NULL) {
            myr_req *req = thread->spare_reqs;
            thread->spare_reqs = req->next_spare;
            myr_net_req_free(req);
        }
        myr_net_answers_fini(thread);
        if (thread->state != NULL && server->opts.free_loop_state != NULL) server->opts.free_loop_state(thread->state);
    }
    if (server->listener.fd >= 0) close(server->listener.fd);
    myr_free(server->threads);
    myr_mutex_fini(&server->conns_lock);
    myr_free(server);
}

/* The target stays as it was sent: we cut it into parts before decoding. */
static size_t server_keep_escaped(void *ctx, struct MHD_Connection *mhd, char *text)
{
    (void)ctx;
    (void)mhd;
    return strlen(text);
}

__attribute__((format(printf, 2, 0))) static void server_on_log(void *ctx, const char *fmt, va_list args)
{
    (void)ctx;
    if (!myr_log_is_on(MYR_LOG_DEBUG)) return;
    char text[256];
    vsnprintf(text, sizeof text, fmt, args);
    text[strcspn(text, "\n")] = '\0';
    myr_log(MYR_LOG_DEBUG, "net", "microhttpd", "text", text, NULL);
}

_Noreturn static void server_on_panic(void *ctx, const char *file, unsigned int line, const char *reason)
{
    (void)ctx;
    char number[16];
    snprintf(number, sizeof number, "%u", line);
    myr_log(MYR_LOG_ERROR, "net", "panic", "reason", reason != NULL ? reason : "", "file", file, "line", number, NULL);
    myr_assert_fail("libmicrohttpd panics", __FILE__, __LINE__);
}

/*
 * While draining, who comes is closed at once. MHD_quiesce_daemon would be the other way: it takes the listening socket
 * out of each loop's epoll set while a loop may be doing the same, and libmicrohttpd 1.0.1 panics when it loses that
 * race.
 */
static enum MHD_Result server_on_accept(void *cls, const struct sockaddr *address, socklen_t address_bytes)
{
    const myr_http_server *server = cls;
    (void)address;
    (void)address_bytes;
    return atomic_load(&server->is_draining) ? MHD_NO : MHD_YES;
}

static myr_rc server_start_daemon(myr_http_server *server, myr_err *err)
{
    MHD_set_panic_func(server_on_panic, NULL);
    unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD | MHD_USE_ITC | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_ERROR_LOG;
    int64_t conns_max = server->opts.connections_max < 1000000 ? server->opts.connections_max : 1000000;
    unsigned limit = (unsigned)conns_max;
    if (limit < (unsigned)server->opts.loop_count) limit = (unsigned)server->opts.loop_count; /* split between them */
    const char *cert = NULL, *key = NULL;
    if (server->opts.tls != NULL) {
        flags |= MHD_USE_TLS;
        myr_net_tls_first(server->opts.tls, &cert, &key);
    }
    /* Of TLS or, in clear text, nothing: an array ends with its first END. */
    const struct MHD_OptionItem tls[] = {
        {server->opts.tls != NULL ? MHD_OPTION_HTTPS_MEM_CERT : MHD_OPTION_END, 0, (void *)(uintptr_t)cert},
        {MHD_OPTION_HTTPS_MEM_KEY, 0, (void *)(uintptr_t)key},
        {MHD_OPTION_HTTPS_PRIORITIES, 0, (void *)(uintptr_t)NET_TLS_PRIORITIES},
        {MHD_OPTION_END, 0, NULL},
    };
    server->daemon = MHD_start_daemon(
        flags, 0, server_on_accept, server, myr_net_on_access, server, MHD_OPTION_EXTERNAL_LOGGER, server_on_log,
        NULL, /* first: it gets the messages about the others */
        MHD_OPTION_LISTEN_SOCKET, server->listener.fd, MHD_OPTION_THREAD_POOL_SIZE,
        server->opts.loop_count > 1 ? (unsigned)server->opts.loop_count : 0u, MHD_OPTION_CONNECTION_LIMIT, limit,
        MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)SERVER_CONN_BYTES, MHD_OPTION_CONNECTION_TIMEOUT,
        0u, /* the reaper's work */
        MHD_OPTION_LISTENING_ADDRESS_REUSE, 0u, MHD_OPTION_CLIENT_DISCIPLINE_LVL, 1, MHD_OPTION_UNESCAPE_CALLBACK,
        server_keep_escaped, NULL, MHD_OPTION_URI_LOG_CALLBACK, myr_net_on_request_line, server,
        MHD_OPTION_NOTIFY_COMPLETED, myr_net_on_completed, server, MHD_OPTION_NOTIFY_CONNECTION, myr_net_on_connection,
        server, MHD_OPTION_ARRAY, tls, MHD_OPTION_END);
    if (server->daemon == NULL) MYR_FAIL(err, IO, "the HTTP server does not start: too many threads or open files?");
    return MYR_OK;
}

static myr_rc server_start_parts(myr_http_server *server, const char *listen, myr_err *err)
{
    MYR_TRY(myr_net_listen(listen, server->opts.only_loopback, &server->listener, err));
    MYR_TRY(server_make_threads(server, err));
    MYR_TRY(myr_net_fair_new(server->opts.queue_max, &server->fair, err));
    MYR_TRY(myr_net_room_new(&server->room, err));
    MYR_TRY(myr_pool_start("compute", server->opts.compute_count, (size_t)server->deferred_max, &server->pool, err));
    MYR_TRY(myr_net_reaper_start(server, err));
    return server_start_daemon(server, err);
}

myr_rc myr_http_start(const myr_http_opts *opts, myr_http_server **out, myr_err *err)
{
    int loop_count = opts->loop_count, compute_count = opts->compute_count;
    MYR_TRY(server_check(opts, err));
    MYR_TRY(myr_net_threads_resolve(&loop_count, &compute_count, err));
    myr_http_server *server = myr_calloc(1, sizeof *server);
    if (server == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the HTTP server");
    server->opts = *opts;
    server->opts.listen = NULL; /* borrowed for this call only */
    server->opts.loop_count = loop_count;
    server->opts.compute_count = compute_count;
    server->thread_count = server->opts.loop_count + server->opts.compute_count;
    server->deferred_max = server->opts.queue_max + server->opts.compute_count;
    server->listener.fd = server->reaper_epoll = server->reaper_event = -1;
    myr_mutex_init(&server->conns_lock);
    myr_rc rc = server_start_parts(server, opts->listen, err);
    if (rc != MYR_OK) {
        server_free(server);
        return rc;
    }
    *out = server;
    return MYR_OK;
}

int myr_http_port(const myr_http_server *server)
{
    return server->listener.port;
}

void myr_http_drain(myr_http_server *server)
{
    if (server == NULL) return;
    atomic_store(&server->is_draining, true);
    myr_net_room_close(server->room);
    myr_net_reaper_hurry(server); /* streams that wait for their client end now */
}

void myr_http_stop(myr_http_server *server, int64_t drain_ms)
{
    if (server == NULL) return;
    MYR_ASSERT(server_thread_here == NULL); /* never from a handler */
    int64_t deadline_ns = myr_clock_mono_ns() + drain_ms * 1000000;
    myr_http_drain(server);
    myr_net_wait_zero(&server->in_flight, deadline_ns);
    /*
     * From here no request falls asleep: a loop raises deferred_count before it reads is_hurrying, we raise is_hurrying
     * before we read deferred_count, so either it sees the flag or we see its request. A running one can't be cut off.
     */
    atomic_store(&server->is_hurrying, true);
    myr_net_reaper_hurry(server); /* streams that their client does not read are cut */
    myr_net_wait_zero(&server->deferred_count, INT64_MAX);
    myr_net_wait_zero(&server->parked_count, INT64_MAX); /* after it: a compute thread parks before it lets go */
    if (atomic_load(&server->in_flight) > 0) {
        myr_net_wait_zero(&server->in_flight, myr_clock_mono_ns() + NET_LAST_WORDS_MS_MAX * 1000000LL);
    }
    MHD_stop_daemon(server->daemon); /* closes the listening socket */
    server->daemon = NULL;
    server->listener.fd = -1;
    server_free(server);
}
