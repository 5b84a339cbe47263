/*
 * Start and stop of the gRPC listener. Stopping is the order of things: no new connections, GOAWAY to all, what is in
 * flight ends, no call is on a compute thread any more, loops end, the rest is freed.
 */
#include "net/rpc_inside.h"

#include <unistd.h>

/* A thread of one server never becomes one of another: they are made with it and end before it. */
static _Thread_local rpc_thread *rpc_thread_here;

bool myr_rpc_thread_is_current(const rpc_thread *thread)
{
    return rpc_thread_here == thread;
}

void myr_rpc_thread_claim(rpc_thread *thread)
{
    MYR_ASSERT(rpc_thread_here == NULL);
    rpc_thread_here = thread;
}

rpc_thread *myr_rpc_compute_here(myr_rpc_server *server)
{
    if (rpc_thread_here == NULL) {
        int idx = atomic_fetch_add(&server->claimed_computes, 1);
        MYR_ASSERT(idx < server->opts.compute_count);
        rpc_thread_here = &server->computes[idx];
    }
    MYR_ASSERT(rpc_thread_here->server == server && !rpc_thread_here->is_loop);
    return rpc_thread_here;
}

static myr_rc rpc_check(const myr_rpc_opts *opts, myr_err *err)
{
    MYR_ASSERT(opts->handler != NULL && opts->listen != NULL && opts->methods != NULL);
    if (opts->streams_max < 1 || opts->streams_max > MYR_RPC_STREAMS_MAX) {
        MYR_FAIL(err, BAD_USAGE, "%lld streams per connection: 1 to %d", (long long)opts->streams_max,
                 MYR_RPC_STREAMS_MAX);
    }
    if (opts->queue_max < 1 || opts->message_bytes_max < 1 || opts->connections_max < 1 ||
        opts->header_timeout_ms < 1 || opts->body_timeout_ms < 1 || opts->idle_timeout_ms < 1 || opts->watch_ms < 1) {
        MYR_FAIL(err, BAD_USAGE, "a limit or time-out of the gRPC server is below 1");
    }
    if (opts->message_bytes_max > INT32_MAX || opts->queue_max > (1 << 24)) {
        MYR_FAIL(err, BAD_USAGE, "a limit of the gRPC server is too large");
    }
    if (opts->request_bytes_max < opts->message_bytes_max) {
        MYR_FAIL(err, BAD_USAGE, "request-bytes-max (%lld) is below body-bytes-max (%lld)",
                 (long long)opts->request_bytes_max, (long long)opts->message_bytes_max);
    }
    return MYR_OK;
}

static myr_rc rpc_make_state(myr_rpc_server *server, rpc_thread *thread, myr_err *err)
{
    thread->server = server;
    if (server->opts.make_loop_state == NULL) return MYR_OK;
    thread->state = server->opts.make_loop_state(server->opts.ctx);
    if (thread->state == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the state of a thread");
    return MYR_OK;
}

static myr_rc rpc_make_threads(myr_rpc_server *server, myr_err *err)
{
    server->loops = myr_calloc((size_t)server->opts.loop_count, sizeof *server->loops);
    server->computes = myr_calloc((size_t)server->opts.compute_count, sizeof *server->computes);
    for (int i = 0; server->loops != NULL && i < server->opts.loop_count; i++) { /* all before any can fail */
        server->loops[i].epoll_fd = server->loops[i].event_fd = -1;
        myr_mutex_init(&server->loops[i].lock);
    }
    if (server->loops == NULL || server->computes == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for threads");
    for (int i = 0; i < server->opts.loop_count; i++) {
        server->loops[i].thread.is_loop = true;
        MYR_TRY(rpc_make_state(server, &server->loops[i].thread, err));
        MYR_TRY(myr_rpc_loop_init(&server->loops[i], err));
    }
    for (int i = 0; i < server->opts.compute_count; i++)
        MYR_TRY(rpc_make_state(server, &server->computes[i], err));
    return MYR_OK;
}

static void rpc_free_state(const myr_rpc_server *server, rpc_thread *thread)
{
    if (thread->state != NULL && server->opts.free_loop_state != NULL) server->opts.free_loop_state(thread->state);
}

/* The loops are told to end, and everything is freed. */
static void rpc_free(myr_rpc_server *server)
{
    MYR_ASSERT(atomic_load(&server->deferred_count) == 0);
    atomic_store(&server->is_ending, true);
    myr_pool_stop(server->pool);
    for (int i = 0; server->loops != NULL && i < server->opts.loop_count; i++) {
        rpc_loop *loop = &server->loops[i];
        if (!loop->has_thread) continue;
        myr_rpc_loop_wake(loop);
        myr_thread_join(loop->handle);
    }
    for (int i = 0; server->loops != NULL && i < server->opts.loop_count; i++) {
        myr_rpc_loop_fini(&server->loops[i]);
        rpc_free_state(server, &server->loops[i].thread);
    }
    for (int i = 0; server->computes != NULL && i < server->opts.compute_count; i++)
        rpc_free_state(server, &server->computes[i]);
    if (server->listener.fd >= 0) close(server->listener.fd);
    myr_free(server->loops);
    myr_free(server->computes);
    myr_mutex_fini(&server->peers_lock);
    myr_free(server);
}

static myr_rc rpc_start_parts(myr_rpc_server *server, const char *listen, myr_err *err)
{
    MYR_TRY(myr_net_listen(listen, server->opts.only_loopback, &server->listener, err));
    MYR_TRY(rpc_make_threads(server, err));
    MYR_TRY(
        myr_pool_start("rpc-compute", server->opts.compute_count, (size_t)server->deferred_max, &server->pool, err));
    for (int i = server->opts.loop_count - 1; i >= 0; i--) { /* the acceptor last: the others are there */
        rpc_loop *loop = &server->loops[i];
        MYR_TRY(myr_thread_start(&loop->handle, "rpc-loop", myr_rpc_loop_main, loop, err));
        loop->has_thread = true;
    }
    return MYR_OK;
}

myr_rc myr_rpc_start(const myr_rpc_opts *opts, myr_rpc_server **out, myr_err *err)
{
    int loop_count = opts->loop_count, compute_count = opts->compute_count;
    MYR_TRY(rpc_check(opts, err));
    MYR_TRY(myr_net_threads_resolve(&loop_count, &compute_count, err));
    myr_rpc_server *server = myr_calloc(1, sizeof *server);
    if (server == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the gRPC server");
    server->opts = *opts;
    server->opts.listen = NULL; /* borrowed for this call only */
    server->opts.loop_count = loop_count;
    server->opts.compute_count = compute_count;
    server->deferred_max = server->opts.queue_max + server->opts.compute_count;
    server->listener.fd = -1;
    myr_mutex_init(&server->peers_lock);
    myr_rc rc = rpc_start_parts(server, opts->listen, err);
    if (rc != MYR_OK) {
        rpc_free(server);
        return rc;
    }
    *out = server;
    return MYR_OK;
}

int myr_rpc_port(const myr_rpc_server *server)
{
    return server->listener.port;
}

void myr_rpc_stop(myr_rpc_server *server, int64_t drain_ms)
{
    if (server == NULL) return;
    MYR_ASSERT(rpc_thread_here == NULL); /* never from a handler */
    int64_t deadline_ns = myr_clock_mono_ns() + drain_ms * 1000000;
    atomic_store(&server->is_draining, true);
    for (int i = 0; i < server->opts.loop_count; i++)
        myr_rpc_loop_wake(&server->loops[i]);
    /* first the connections, which close themselves once their calls are over and the clients know */
    myr_net_wait_zero(&server->conn_count, deadline_ns);
    /*
     * From here no call goes to a compute thread: a loop raises deferred_count before it reads is_hurrying, we raise
     * is_hurrying before we read deferred_count, so either it sees the flag or we see its call. A running one can't be
     * cut off.
     */
    atomic_store(&server->is_hurrying, true);
    myr_net_wait_zero(&server->deferred_count, INT64_MAX);
    if (atomic_load(&server->in_flight) > 0) {
        myr_net_wait_zero(&server->in_flight, myr_clock_mono_ns() + NET_LAST_WORDS_MS_MAX * 1000000LL);
    }
    rpc_free(server);
}
