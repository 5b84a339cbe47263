/*
 * A raw client for the tests of net: bytes out, answers in, with nothing of HTTP done for us; and an echo server whose
 * handler shows what it was given. Every wait has a limit, so that a server that forgets us fails a test, not the run.
 */
#ifndef MYR_NET_CLIENT_H
#define MYR_NET_CLIENT_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/net.h"
#include "testing.h"

#define CLIENT_WAIT_MS 60000 /* a busy machine under a sanitizer is slow */

/* ---- the client ---- */

typedef struct client {
    int fd;
    myr_buf in; /* received and not yet used */
} client;

TESTING_UNUSED static client client_open(int port)
{
    client c = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int on = 1;
    EXPECT(c.fd >= 0);
    setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (connect(c.fd, (struct sockaddr *)&address, sizeof address) != 0) {
        close(c.fd);
        c.fd = -1;
    }
    return c;
}

/* From another loopback address than 127.0.0.1. */
TESTING_UNUSED static client client_open_from(int port, uint32_t last_byte)
{
    client c = {.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    struct sockaddr_in from = {.sin_family = AF_INET}, to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    from.sin_addr.s_addr = htonl(INADDR_LOOPBACK + last_byte - 1);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT(bind(c.fd, (struct sockaddr *)&from, sizeof from) == 0);
    EXPECT(connect(c.fd, (struct sockaddr *)&to, sizeof to) == 0);
    return c;
}

TESTING_UNUSED static void client_close(client *c)
{
    if (c->fd >= 0) close(c->fd);
    c->fd = -1;
    myr_buf_fini(&c->in);
}

/* All of it; false when the server has closed. */
TESTING_UNUSED static bool client_write(client *c, const void *data, size_t size)
{
    const char *p = data;
    while (size > 0) {
        struct pollfd wait = {.fd = c->fd, .events = POLLOUT};
        if (poll(&wait, 1, CLIENT_WAIT_MS) <= 0) return false;
        ssize_t done = send(c->fd, p, size, MSG_NOSIGNAL);
        if (done <= 0) return false;
        p += done;
        size -= (size_t)done;
    }
    return true;
}

TESTING_UNUSED static bool client_puts(client *c, const char *text)
{
    return client_write(c, text, strlen(text));
}

/* More bytes into c->in. False: the server closed, or wait_ms is over. */
TESTING_UNUSED static bool client_more(client *c, int wait_ms)
{
    char part[16384];
    struct pollfd wait = {.fd = c->fd, .events = POLLIN};
    if (poll(&wait, 1, wait_ms) <= 0) return false;
    ssize_t got = recv(c->fd, part, sizeof part, 0);
    if (got <= 0) return false;
    myr_buf_append(&c->in, part, (size_t)got);
    return true;
}

/* The end of the stream comes within wait_ms (what comes before it is kept). */
TESTING_UNUSED static bool client_sees_close(client *c, int wait_ms)
{
    int64_t until = myr_clock_mono_ns() + wait_ms * 1000000LL;
    while (myr_clock_mono_ns() < until) {
        struct pollfd wait = {.fd = c->fd, .events = POLLIN};
        if (poll(&wait, 1, 50) > 0 && !client_more(c, 50)) return true;
    }
    return false;
}

typedef struct answer {
    int status; /* 0: none came */
    char head[4096];
    char *body; /* myr_free */
    size_t body_bytes;
} answer;

TESTING_UNUSED static void answer_fini(answer *a)
{
    myr_free(a->body);
    a->body = NULL;
}

/* One answer; has_body false for HEAD. */
TESTING_UNUSED static answer client_read_as(client *c, bool has_body)
{
    answer a = {0};
    char *end;
    while (c->in.size == 0 || (end = strstr(c->in.data, "\r\n\r\n")) == NULL) {
        if (!client_more(c, CLIENT_WAIT_MS)) return a;
    }
    size_t head_bytes = (size_t)(end - c->in.data) + 4;
    EXPECT(head_bytes < sizeof a.head);
    memcpy(a.head, c->in.data, head_bytes);
    const char *length = strcasestr(a.head, "\r\nContent-Length: ");
    size_t body_bytes = length != NULL && has_body ? (size_t)strtoull(length + 18, NULL, 10) : 0;
    while (c->in.size < head_bytes + body_bytes) {
        if (!client_more(c, CLIENT_WAIT_MS)) return a;
    }
    a.status = (int)strtol(a.head + 9, NULL, 10);
    a.body = myr_strndup(c->in.data + head_bytes, body_bytes);
    a.body_bytes = body_bytes;
    size_t used = head_bytes + body_bytes;
    memmove(c->in.data, c->in.data + used, c->in.size - used + 1);
    c->in.size -= used;
    return a;
}

TESTING_UNUSED static answer client_read(client *c)
{
    return client_read_as(c, true);
}

/* Send on a connection of its own, give the status (0: closed without an answer). */
TESTING_UNUSED static int client_status(int port, const char *request)
{
    client c = client_open(port);
    client_puts(&c, request);
    answer a = client_read(&c);
    int status = a.status;
    answer_fini(&a);
    client_close(&c);
    return status;
}

/* The same, and whether the server closed afterwards. */
TESTING_UNUSED static int client_status_close(int port, const char *request, bool *out_closed)
{
    client c = client_open(port);
    client_puts(&c, request);
    answer a = client_read(&c);
    int status = a.status;
    answer_fini(&a);
    *out_closed = client_sees_close(&c, 500);
    client_close(&c);
    return status;
}

/* ---- the server: a handler that shows what it got ---- */

typedef struct echo {
    myr_http_server *http;
    int port;
    _Atomic int64_t done_count, last_status;
    _Atomic int64_t calls;
    _Atomic bool hold; /* deferred requests wait while this is set */
    _Atomic int64_t held;
    _Atomic int64_t states_made, states_freed;
} echo;

/* "GET 3 [v2][a/b][] q=… body=5:hello" */
static void echo_reply(myr_req *req)
{
    const myr_str *parts;
    uint32_t count = myr_req_segments(req, &parts);
    myr_arena *arena = myr_req_arena(req);
    char *text = myr_arena_printf(arena, "%s %u ", myr_req_method_name(req), count);
    for (uint32_t i = 0; text != NULL && i < count; i++) {
        text = myr_arena_printf(arena, "%s[%.*s]", text, (int)parts[i].size, parts[i].data);
    }
    myr_str query = {0};
    if (myr_req_query(req, "q", &query)) {
        text = myr_arena_printf(arena, "%s q=%.*s", text, (int)query.size, query.data);
    }
    myr_str body = myr_req_body(req);
    size_t head = text != NULL ? strlen(text) : 0;
    char *whole = myr_arena_alloc(arena, head + body.size + 64);
    if (text == NULL || whole == NULL) {
        myr_err err = {0};
        MYR_IGNORE(MYR_ERROR(&err, TOO_LARGE, "no room for the answer"));
        myr_req_reply_error(req, &err);
        return;
    }
    int n = snprintf(whole, head + 40, "%s body=%zu:", text, body.size);
    memcpy(whole + n, body.data, body.size);
    if (strcmp(myr_req_path(req), "/header") == 0) {
        const char *value = myr_req_header(req, "x-note");
        if (value != NULL) myr_req_add_header(req, "X-Note-Back", value);
    }
    myr_req_reply(req, 200, "text/plain", whole, (size_t)n + body.size);
}

static void echo_later(void *ctx, myr_req *req)
{
    echo *e = ctx;
    MYR_ASSERT(!myr_req_is_on_loop(req) && myr_req_loop_state(req) != NULL);
    atomic_fetch_add(&e->held, 1);
    while (atomic_load(&e->hold))
        usleep(2000);
    atomic_fetch_sub(&e->held, 1);
    echo_reply(req);
}

static void echo_handler(void *ctx, myr_req *req)
{
    echo *e = ctx;
    const myr_str *parts;
    MYR_ASSERT(myr_req_is_on_loop(req) && myr_req_loop_state(req) != NULL);
    atomic_fetch_add(&e->calls, 1);
    myr_req_set_note(req, e);
    if (myr_req_segments(req, &parts) > 0 && myr_str_is(parts[0], "later")) {
        myr_req_defer(req, echo_later);
    } else if (myr_req_segments(req, &parts) > 0 && myr_str_is(parts[0], "error")) {
        myr_err err = {0};
        MYR_IGNORE(MYR_ERROR(&err, UNAVAILABLE, "a \"quoted\" \\ thing\nin two lines"));
        myr_req_reply_error(req, &err);
    } else {
        echo_reply(req);
    }
}

static void echo_done(void *ctx, const myr_req *req)
{
    echo *e = ctx;
    MYR_ASSERT(myr_req_status(req) != 0);
    atomic_store(&e->last_status, myr_req_status(req));
    atomic_fetch_add(&e->done_count, 1);
}

static void *echo_make_state(void *ctx)
{
    echo *e = ctx;
    void *state = myr_alloc(1);
    if (state != NULL) atomic_fetch_add(&e->states_made, 1);
    return state;
}

TESTING_UNUSED static myr_http_opts echo_opts(echo *e)
{
    return (myr_http_opts){.listen = "127.0.0.1:0",
                           .loop_count = 2,
                           .compute_count = 2,
                           .queue_max = 16,
                           .body_bytes_max = 8 << 20,
                           .request_bytes_max = 32 << 20,
                           .connections_max = 1000,
                           .header_timeout_ms = 5000,
                           .body_timeout_ms = 20000,
                           .idle_timeout_ms = 20000,
                           .handler = echo_handler,
                           .make_loop_state = echo_make_state,
                           .free_loop_state = myr_free,
                           .on_done = echo_done,
                           .ctx = e};
}

TESTING_UNUSED static void echo_start(echo *e, const myr_http_opts *opts)
{
    myr_err err = {0};
    EXPECT_RC(myr_http_start(opts, &e->http, &err), OK, &err);
    e->port = myr_http_port(e->http);
    EXPECT(e->port > 0);
}

TESTING_UNUSED static void echo_stop(echo *e)
{
    myr_http_stop(e->http, 2000);
    e->http = NULL;
}

TESTING_UNUSED static bool echo_wait(_Atomic int64_t *value, int64_t wanted)
{
    for (int i = 0; i < 5000 && atomic_load(value) != wanted; i++)
        usleep(2000);
    return atomic_load(value) == wanted;
}

/* Check one answer's status and that a text stands in its body. */
TESTING_UNUSED static void expect_answer(client *c, int status, const char *part)
{
    answer a = client_read(c);
    EXPECT_INT(a.status, status);
    EXPECT_HAS(a.body, part);
    answer_fini(&a);
}

#endif
