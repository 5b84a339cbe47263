/*
 * A raw HTTP/2 client for the tests of the gRPC listener: frames are written by hand, so that they may be wrong; what
 * comes back is collected by stream. And a server whose methods echo. Every wait has a limit.
 */
#ifndef MYR_RPC_CLIENT_H
#define MYR_RPC_CLIENT_H

#include <nghttp2/nghttp2.h>

#include "net_client.h"

#define H2_ANSWERS_MAX 4096
#define H2_END_STREAM  1
#define H2_END_HEADERS 4
#define H2_ACK         1

typedef struct h2_answer {
    int http, grpc; /* -1: none */
    char message[1024];
    char fields[2048]; /* "name: value\n" … */
    myr_buf data;
    bool has_ended;
    int64_t reset; /* error code; -1: none */
} h2_answer;

typedef struct h2 {
    client c;
    nghttp2_hd_inflater *inflater;
    h2_answer *answers; /* by (stream id - 1) / 2 */
    int64_t goaway;     /* error code; -1: none */
    int goaways;
    uint32_t goaway_last;
    int pings, ping_acks, settings_acks;
    bool is_closed, mute; /* mute: settings and pings are not answered */
    uint32_t window;      /* what we give back; 0: all that came */
    int64_t given[2];     /* windows that the server gave: to the connection, to its streams */
} h2;

TESTING_UNUSED static h2_answer *h2_of(h2 *h, int stream)
{
    EXPECT(stream > 0 && stream / 2 < H2_ANSWERS_MAX);
    return &h->answers[(stream - 1) / 2];
}

TESTING_UNUSED static void h2_put(myr_buf *out, int type, int flags, int stream, const void *data, size_t size)
{
    const unsigned char head[9] = {
        (unsigned char)(size >> 16),   (unsigned char)(size >> 8),   (unsigned char)size,
        (unsigned char)type,           (unsigned char)flags,         (unsigned char)(stream >> 24),
        (unsigned char)(stream >> 16), (unsigned char)(stream >> 8), (unsigned char)stream};
    myr_buf_append(out, head, sizeof head);
    if (size > 0) myr_buf_append(out, data, size);
}

TESTING_UNUSED static bool h2_frame(h2 *h, int type, int flags, int stream, const void *data, size_t size)
{
    myr_buf out = {0};
    h2_put(&out, type, flags, stream, data, size);
    bool ok = client_write(&h->c, out.data, out.size);
    myr_buf_fini(&out);
    return ok;
}

TESTING_UNUSED static h2 h2_begin(client c, bool greet)
{
    h2 h = {.c = c, .goaway = -1};
    h.answers = myr_calloc(H2_ANSWERS_MAX, sizeof *h.answers);
    for (int i = 0; i < H2_ANSWERS_MAX; i++)
        h.answers[i].http = h.answers[i].grpc = -1, h.answers[i].reset = -1;
    EXPECT(nghttp2_hd_inflate_new(&h.inflater) == 0);
    if (greet) {
        client_puts(&h.c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
        h2_frame(&h, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
    }
    return h;
}

TESTING_UNUSED static h2 h2_open_as(int port, bool greet)
{
    return h2_begin(client_open(port), greet);
}

TESTING_UNUSED static h2 h2_open(int port)
{
    return h2_open_as(port, true);
}

TESTING_UNUSED static void h2_close(h2 *h)
{
    client_close(&h->c);
    nghttp2_hd_inflate_del(h->inflater);
    for (int i = 0; i < H2_ANSWERS_MAX; i++)
        myr_buf_fini(&h->answers[i].data);
    myr_free(h->answers);
}

/* One field as HPACK has it without any table: literal, never indexed, no Huffman. */
TESTING_UNUSED static void h2_field(myr_buf *out, const char *name, const char *value, size_t value_bytes)
{
    const char *texts[] = {name, value};
    size_t sizes[] = {strlen(name), value_bytes};
    myr_buf_putc(out, 0x10);
    for (int i = 0; i < 2; i++) {
        size_t size = sizes[i];
        if (size < 127) {
            myr_buf_putc(out, (char)size);
        } else {
            myr_buf_putc(out, 127);
            for (size -= 127; size >= 128; size >>= 7)
                myr_buf_putc(out, (char)(size % 128 + 128));
            myr_buf_putc(out, (char)size);
        }
        myr_buf_append(out, texts[i], sizes[i]);
    }
}

/* The header of a call; more: NULL, or name, value, …, NULL. */
TESTING_UNUSED static void h2_head(myr_buf *out, const char *path, const char *const *more)
{
    const char *usual[] = {":method",    "POST", ":scheme", "http",     ":path",        path,
                           ":authority", "test", "te",      "trailers", "content-type", "application/grpc+proto"};
    for (size_t i = 0; i < MYR_COUNT_OF(usual); i += 2)
        h2_field(out, usual[i], usual[i + 1], strlen(usual[i + 1]));
    for (; more != NULL && more[0] != NULL; more += 2)
        h2_field(out, more[0], more[1], strlen(more[1]));
}

TESTING_UNUSED static bool h2_headers(h2 *h, int stream, const char *path, const char *const *more, int flags)
{
    myr_buf head = {0};
    h2_head(&head, path, more);
    bool ok = h2_frame(h, NGHTTP2_HEADERS, flags | H2_END_HEADERS, stream, head.data, head.size);
    myr_buf_fini(&head);
    return ok;
}

TESTING_UNUSED static void h2_prefix(myr_buf *out, int flag, uint32_t size)
{
    const char prefix[] = {(char)flag, (char)(size >> 24), (char)(size >> 16), (char)(size >> 8), (char)size};
    myr_buf_append(out, prefix, sizeof prefix);
}

/* A message in one frame. */
TESTING_UNUSED static bool h2_message(h2 *h, int stream, const char *text, int flags)
{
    myr_buf out = {0};
    h2_prefix(&out, 0, (uint32_t)strlen(text));
    myr_buf_puts(&out, text);
    bool ok = h2_frame(h, NGHTTP2_DATA, flags, stream, out.data, out.size);
    myr_buf_fini(&out);
    return ok;
}

/* The bytes of a whole call. */
TESTING_UNUSED static void h2_put_call(myr_buf *out, int stream, const char *path, const char *text)
{
    myr_buf head = {0}, message = {0};
    h2_head(&head, path, NULL);
    h2_prefix(&message, 0, (uint32_t)strlen(text));
    myr_buf_puts(&message, text);
    h2_put(out, NGHTTP2_HEADERS, H2_END_HEADERS, stream, head.data, head.size);
    h2_put(out, NGHTTP2_DATA, H2_END_STREAM, stream, message.data, message.size);
    myr_buf_fini(&head);
    myr_buf_fini(&message);
}

TESTING_UNUSED static bool h2_call(h2 *h, int stream, const char *path, const char *text)
{
    myr_buf out = {0};
    h2_put_call(&out, stream, path, text);
    bool ok = client_write(&h->c, out.data, out.size);
    myr_buf_fini(&out);
    return ok;
}

TESTING_UNUSED static void h2_update(h2 *h, int stream, uint32_t size)
{
    const unsigned char more[] = {(unsigned char)(size >> 24), (unsigned char)(size >> 16), (unsigned char)(size >> 8),
                                  (unsigned char)size};
    h2_frame(h, NGHTTP2_WINDOW_UPDATE, 0, stream, more, sizeof more);
}

static void h2_on_fields(h2 *h, h2_answer *a, const unsigned char *data, size_t size)
{
    nghttp2_nv nv;
    int flags = 0;
    while (size > 0 || (flags & NGHTTP2_HD_INFLATE_FINAL) == 0) {
        flags = 0;
        ssize_t used = nghttp2_hd_inflate_hd2(h->inflater, &nv, &flags, data, size, 1);
        EXPECT(used >= 0);
        data += used;
        size -= (size_t)used;
        if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0) {
            const char *name = (const char *)nv.name, *value = (const char *)nv.value;
            if (strcmp(name, ":status") == 0) a->http = (int)strtol(value, NULL, 10);
            if (strcmp(name, "grpc-status") == 0) a->grpc = (int)strtol(value, NULL, 10);
            if (strcmp(name, "grpc-message") == 0) snprintf(a->message, sizeof a->message, "%s", value);
            size_t at = strlen(a->fields);
            snprintf(a->fields + at, sizeof a->fields - at, "%s: %s\n", name, value);
        }
        if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0 && size == 0) break;
    }
    nghttp2_hd_inflate_end_headers(h->inflater);
}

static void h2_on_frame(h2 *h, int type, int flags, int stream, const unsigned char *data, size_t size)
{
    h2_answer *a = stream > 0 ? h2_of(h, stream) : NULL;
    if (type == NGHTTP2_HEADERS) h2_on_fields(h, a, data, size);
    if (type == NGHTTP2_DATA) {
        myr_buf_append(&a->data, data, size);
        if (size > 0 && h->window == 0) {
            h2_update(h, 0, (uint32_t)size);
            if ((flags & H2_END_STREAM) == 0) h2_update(h, stream, (uint32_t)size);
        }
    }
    if ((type == NGHTTP2_HEADERS || type == NGHTTP2_DATA) && (flags & H2_END_STREAM) != 0) a->has_ended = true;
    if (type == NGHTTP2_WINDOW_UPDATE)
        h->given[stream > 0] += (int64_t)(data[0] & 0x7f) << 24 | data[1] << 16 | data[2] << 8 | data[3];
    if (type == NGHTTP2_RST_STREAM) a->reset = (int64_t)data[0] << 24 | data[1] << 16 | data[2] << 8 | data[3];
    if (type == NGHTTP2_SETTINGS && (flags & H2_ACK) == 0 && !h->mute)
        h2_frame(h, NGHTTP2_SETTINGS, H2_ACK, 0, NULL, 0);
    if (type == NGHTTP2_SETTINGS && (flags & H2_ACK) != 0) h->settings_acks++;
    if (type == NGHTTP2_PING && (flags & H2_ACK) != 0) h->ping_acks++;
    if (type == NGHTTP2_PING && (flags & H2_ACK) == 0) {
        h->pings++;
        if (!h->mute) h2_frame(h, NGHTTP2_PING, H2_ACK, 0, data, size);
    }
    if (type == NGHTTP2_GOAWAY) {
        h->goaways++;
        h->goaway_last = (uint32_t)data[0] << 24 | (uint32_t)data[1] << 16 | (uint32_t)data[2] << 8 | data[3];
        h->goaway = (int64_t)data[4] << 24 | data[5] << 16 | data[6] << 8 | data[7];
    }
}

/* Read and take in frames for at most wait_ms, or until the server has closed. False: nothing came, or it closed. */
TESTING_UNUSED static bool h2_more(h2 *h, int wait_ms)
{
    struct pollfd wait = {.fd = h->c.fd, .events = POLLIN};
    if (h->is_closed || poll(&wait, 1, wait_ms) <= 0) return false;
    if (!client_more(&h->c, wait_ms)) {
        h->is_closed = true;
        return false;
    }
    size_t at = 0;
    while (h->c.in.size - at >= 9) {
        const unsigned char *p = (unsigned char *)h->c.in.data + at;
        size_t size = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
        if (h->c.in.size - at - 9 < size) break;
        h2_on_frame(h, p[3], p[4], (p[5] & 0x7f) << 24 | p[6] << 16 | p[7] << 8 | p[8], p + 9, size);
        at += 9 + size;
    }
    memmove(h->c.in.data, h->c.in.data + at, h->c.in.size - at + 1);
    h->c.in.size -= at;
    return true;
}

TESTING_UNUSED static h2_answer *h2_wait(h2 *h, int stream)
{
    h2_answer *a = h2_of(h, stream);
    int64_t until = myr_clock_mono_ns() + CLIENT_WAIT_MS * 1000000LL;
    while (!a->has_ended && a->reset < 0 && !h->is_closed && myr_clock_mono_ns() < until)
        MYR_IGNORE(h2_more(h, 1000));
    return a;
}

TESTING_UNUSED static bool h2_wait_data(h2 *h, int stream, size_t size)
{
    h2_answer *a = h2_of(h, stream);
    int64_t until = myr_clock_mono_ns() + CLIENT_WAIT_MS * 1000000LL;
    while (a->data.size < size && !a->has_ended && !h->is_closed && myr_clock_mono_ns() < until)
        MYR_IGNORE(h2_more(h, 1000));
    return a->data.size >= size;
}

/* The server says goodbye and closes. */
TESTING_UNUSED static bool h2_wait_close(h2 *h)
{
    int64_t until = myr_clock_mono_ns() + CLIENT_WAIT_MS * 1000000LL;
    while (!h->is_closed && myr_clock_mono_ns() < until)
        MYR_IGNORE(h2_more(h, 1000));
    return h->is_closed;
}

TESTING_UNUSED static void expect_status(h2 *h, int stream, int status, const char *part)
{
    h2_answer *a = h2_wait(h, stream);
    if (a->grpc != status) print_error("stream %d: grpc-status %d, message %s\n", stream, a->grpc, a->message);
    EXPECT_INT(a->grpc, status);
    EXPECT_HAS(a->message, part);
}

/* An answer with one message that is this text. */
TESTING_UNUSED static void expect_message(h2 *h, int stream, const char *text)
{
    expect_status(h, stream, 0, "");
    h2_answer *a = h2_of(h, stream);
    EXPECT_INT(a->http, 200);
    EXPECT_INT(a->data.size, 5 + strlen(text));
    EXPECT(a->data.data[0] == 0 && memcmp(a->data.data + 5, text, strlen(text)) == 0);
}

/* ---- the server ---- */

typedef struct rpc_echo {
    myr_rpc_server *server;
    int port;
    _Atomic int64_t calls, done_count, last_status, held, runs, states_made, states_freed;
    _Atomic bool hold; /* deferred calls wait while this is set */
    _Atomic int64_t news;
    _Atomic bool saw_cancel;
} rpc_echo;

enum { ECHO_PLAIN, ECHO_LATER, ECHO_ERROR, ECHO_STREAM, ECHO_WATCH, ECHO_LARGE, ECHO_META };
static const myr_rpc_method rpc_echo_methods[] = {
    {"/t.T/Plain", MYR_RPC_UNARY},   {"/t.T/Later", MYR_RPC_UNARY}, {"/t.T/Error", MYR_RPC_UNARY},
    {"/t.T/Stream", MYR_RPC_STREAM}, {"/t.T/Watch", MYR_RPC_WATCH}, {"/t.T/Large", MYR_RPC_UNARY},
    {"/t.T/Meta", MYR_RPC_UNARY},
};

static void rpc_echo_reply(myr_rpc *rpc)
{
    myr_str message = myr_rpc_message(rpc);
    MYR_ASSERT(myr_rpc_loop_state(rpc) != NULL);
    myr_rpc_reply(rpc, message.data, message.size);
}

static void rpc_echo_later(void *ctx, myr_rpc *rpc)
{
    rpc_echo *e = ctx;
    MYR_ASSERT(!myr_rpc_is_on_loop(rpc) && myr_rpc_loop_state(rpc) != NULL);
    atomic_fetch_add(&e->runs, 1);
    atomic_fetch_add(&e->held, 1);
    while (atomic_load(&e->hold)) {
        if (myr_rpc_is_cancelled(rpc)) atomic_store(&e->saw_cancel, true);
        usleep(2000);
    }
    atomic_fetch_sub(&e->held, 1);
    rpc_echo_reply(rpc);
}

static void rpc_echo_large(myr_rpc *rpc)
{
    myr_str message = myr_rpc_message(rpc);
    size_t size = (size_t)strtoull(message.size > 0 ? message.data : "0", NULL, 10);
    char *text = myr_arena_alloc(myr_rpc_arena(rpc), size + 1);
    if (text != NULL) {
        memset(text, 'x', size);
        myr_rpc_reply(rpc, text, size);
    } else {
        myr_err err = {0};
        MYR_IGNORE(MYR_ERROR(&err, NO_MEMORY, "out of memory"));
        myr_rpc_fail(rpc, &err);
    }
}

static void rpc_echo_handler(void *ctx, myr_rpc *rpc)
{
    rpc_echo *e = ctx;
    myr_err err = {0};
    myr_str value = {0};
    atomic_fetch_add(&e->calls, 1);
    uint32_t method = myr_rpc_method_idx(rpc);
    bool hops = myr_str_starts_with(myr_rpc_message(rpc), "later") && myr_rpc_is_on_loop(rpc);
    if (method == ECHO_LATER || (method == ECHO_STREAM && hops)) {
        if (myr_rpc_is_on_loop(rpc)) {
            myr_rpc_defer(rpc, rpc_echo_later);
        } else {
            rpc_echo_later(e, rpc);
        }
    } else if (method == ECHO_ERROR || myr_str_starts_with(myr_rpc_message(rpc), "fail")) {
        MYR_IGNORE(MYR_ERROR(&err, UNAVAILABLE, "100%% \"quoted\" gr\xc3\xbc\xc3\x9f"));
        myr_rpc_fail(rpc, &err);
    } else if (method == ECHO_WATCH) {
        int64_t now = atomic_load(&e->news) + 1;
        if ((int64_t)(intptr_t)myr_rpc_note(rpc) == now) {
            myr_rpc_wait(rpc);
        } else {
            myr_rpc_set_note(rpc, (void *)(intptr_t)now);
            rpc_echo_reply(rpc);
        }
    } else if (method == ECHO_LARGE) {
        rpc_echo_large(rpc);
    } else if (method == ECHO_META) {
        MYR_IGNORE(myr_rpc_metadata(rpc, "x-note", &value));
        myr_rpc_add_trailer(rpc, "x-back", "told");
        myr_rpc_reply(rpc, value.data, value.size);
    } else {
        rpc_echo_reply(rpc);
    }
}

static void rpc_echo_headers(void *ctx, myr_rpc *rpc)
{
    myr_str value;
    (void)ctx;
    MYR_ASSERT(myr_rpc_is_on_loop(rpc) && myr_rpc_loop_state(rpc) != NULL);
    if (!myr_rpc_metadata(rpc, "x-stranger", &value)) return;
    myr_err err = {0};
    MYR_IGNORE(MYR_ERROR(&err, UNAUTHENTICATED, "who is asking is not known"));
    myr_rpc_fail(rpc, &err);
}

static void rpc_echo_done(void *ctx, const myr_rpc *rpc)
{
    rpc_echo *e = ctx;
    MYR_ASSERT(myr_rpc_status(rpc) >= 0);
    atomic_store(&e->last_status, myr_rpc_status(rpc));
    atomic_fetch_add(&e->done_count, 1);
}

static void *rpc_echo_make_state(void *ctx)
{
    rpc_echo *e = ctx;
    atomic_fetch_add(&e->states_made, 1);
    return myr_alloc(1);
}

TESTING_UNUSED static myr_rpc_opts rpc_echo_opts(rpc_echo *e)
{
    return (myr_rpc_opts){.listen = "127.0.0.1:0",
                          .loop_count = 2,
                          .compute_count = 2,
                          .queue_max = 16,
                          .message_bytes_max = 1 << 20,
                          .request_bytes_max = 8 << 20,
                          .connections_max = 1000,
                          .streams_max = 100,
                          .header_timeout_ms = 5000,
                          .body_timeout_ms = 20000,
                          .idle_timeout_ms = 20000,
                          .watch_ms = 20,
                          .methods = rpc_echo_methods,
                          .method_count = MYR_COUNT_OF(rpc_echo_methods),
                          .on_headers = rpc_echo_headers,
                          .handler = rpc_echo_handler,
                          .make_loop_state = rpc_echo_make_state,
                          .free_loop_state = myr_free,
                          .on_done = rpc_echo_done,
                          .ctx = e};
}

TESTING_UNUSED static void rpc_echo_serve(rpc_echo *e, const myr_rpc_opts *opts)
{
    myr_err err = {0};
    EXPECT_RC(myr_rpc_start(opts, &e->server, &err), OK, &err);
    e->port = myr_rpc_port(e->server);
}

TESTING_UNUSED static void rpc_echo_start(rpc_echo *e)
{
    myr_rpc_opts opts = rpc_echo_opts(e);
    rpc_echo_serve(e, &opts);
}

TESTING_UNUSED static void rpc_echo_stop(rpc_echo *e)
{
    myr_rpc_stop(e->server, 2000);
    e->server = NULL;
}

#endif
