/*
 * Streams: lines in, lines out on one connection. The step answers each line with its number and its text; "big N" with
 * N bytes; "stop" ends the stream. Path /s runs on loops, /s/later on compute threads, /refuse is refused at its
 * headers.
 */
#include <ctype.h>
#include <stdlib.h>

#include "net_client.h"

#define LINE_MAX 4096

static _Atomic int64_t steps, on_compute, refused_defers;

/* One line of the input, or what is a line for being all there is or all that fits. */
static bool step_line(myr_req *req, myr_str *out)
{
    myr_str in = myr_http_stream_in(req);
    const char *end = in.size > 0 ? memchr(in.data, '\n', in.size) : NULL;
    if (end == NULL && (in.size == 0 || (!myr_http_stream_is_last(req) && !myr_http_stream_is_full(req)))) return false;
    *out = myr_str_make(in.data, end != NULL ? (size_t)(end - in.data) : in.size);
    return true;
}

static bool step(void *ctx, myr_req *req)
{
    echo *e = ctx;
    myr_buf *out = myr_http_stream_out(req);
    myr_str line, in = myr_http_stream_in(req);
    atomic_fetch_add(&steps, 1);
    MYR_ASSERT(myr_req_loop_state(req) != NULL && myr_arena_alloc(myr_http_stream_arena(req), 100) != NULL);
    if (strcmp(myr_req_path(req), "/s/later") == 0 && myr_req_is_on_loop(req)) {
        if (myr_http_stream_defer(req)) return false;
        atomic_fetch_add(&refused_defers, 1);
        myr_http_stream_use(req, in.size);
        myr_buf_puts(out, "busy\n");
        return false;
    }
    if (!myr_req_is_on_loop(req)) {
        atomic_fetch_add(&on_compute, 1);
        atomic_fetch_add(&e->held, 1);
        while (atomic_load(&e->hold))
            usleep(2000);
        atomic_fetch_sub(&e->held, 1);
    }
    while (step_line(req, &line)) {
        if (out->size > MYR_HTTP_STREAM_OUT_BYTES) return true;
        if (myr_str_starts_with(line, "big ")) {
            size_t size = strtoull(line.data + 4, NULL, 10);
            for (size_t i = 0; i < size; i++)
                myr_buf_putc(out, (char)('a' + i % 26));
        } else if (myr_str_is(line, "stop")) {
            myr_buf_puts(out, "bye\n");
            myr_http_stream_use(req, line.size);
            myr_http_stream_end(req);
            return false;
        } else {
            myr_buf_printf(out, "%zu:%.*s\n", line.size, (int)line.size, line.data);
        }
        bool has_end = line.size < myr_http_stream_in(req).size;
        myr_http_stream_use(req, line.size + has_end);
    }
    return false;
}

static void on_headers(void *ctx, myr_req *req)
{
    (void)ctx;
    myr_http_stream_opts opts = {.step = step,
                                 .status = 200,
                                 .content_type = "text/plain",
                                 .in_bytes_max = LINE_MAX,
                                 .idle_timeout_ms = 1000,
                                 .late = "late\n",
                                 .stopping = "stopping\n"};
    bool refuses = strcmp(myr_req_path(req), "/refuse") == 0;
    if (!refuses && strncmp(myr_req_path(req), "/s", 2) != 0) return;
    if (refuses) opts.status = 404;
    if (strcmp(myr_req_path(req), "/s/patient") == 0) opts.idle_timeout_ms = 60000;
    EXPECT_INT(myr_req_stream(req, &opts, NULL), MYR_OK);
    if (refuses) {
        myr_buf_puts(myr_http_stream_out(req), "no such stream\n");
        myr_http_stream_end(req);
    }
}

static void stream_start(echo *e)
{
    myr_http_opts opts = echo_opts(e);
    opts.on_headers = on_headers;
    opts.body_bytes_max = 1 << 16; /* not of a stream's body */
    opts.queue_max = 1;
    steps = on_compute = refused_defers = 0;
    echo_start(e, &opts);
}

static client stream_open(int port, const char *path, const char *more)
{
    client c = client_open(port);
    char head[256];
    snprintf(head, sizeof head, "POST %s HTTP/1.1\r\nHost: x\r\n%s\r\n", path, more);
    EXPECT(client_puts(&c, head));
    return c;
}

static const char chunked[] = "Transfer-Encoding: chunked\r\n";

static void chunk_write(client *c, const char *text)
{
    MYR_AUTO(myr_buf) out = {0};
    myr_buf_printf(&out, "%zx\r\n%s\r\n", strlen(text), text);
    EXPECT(client_write(c, out.data, out.size));
}

/* Until this text has come; what is before and of it is used. */
static bool sees(client *c, const char *text)
{
    for (;;) {
        char *at = c->in.size > 0 ? strstr(c->in.data, text) : NULL;
        if (at != NULL) {
            size_t used = (size_t)(at - c->in.data) + strlen(text);
            memmove(c->in.data, c->in.data + used, c->in.size - used + 1);
            c->in.size -= used;
            return true;
        }
        if (!client_more(c, CLIENT_WAIT_MS)) {
            print_error("wanted %s\ngot %.300s\n", text, c->in.size > 0 ? c->in.data : "");
            return false;
        }
    }
}

TEST(each_line_is_answered_before_the_next_is_sent)
{
    echo e = {0};
    stream_start(&e);
    static const char *const paths[] = {"/s", "/s/later"};
    for (size_t i = 0; i < MYR_COUNT_OF(paths); i++) {
        client c = stream_open(e.port, paths[i], chunked);
        EXPECT(sees(&c, "HTTP/1.1 200 OK\r\n") && sees(&c, "Connection: close\r\n"));
        EXPECT(sees(&c, "Transfer-Encoding: chunked\r\n\r\n")); /* before a byte of the body */
        for (int n = 0; n < 50; n++) {
            chunk_write(&c, "one\n");
            EXPECT(sees(&c, "6\r\n3:one\n\r\n"));
        }
        chunk_write(&c, "two\nthr"); /* a line in two pieces, two lines in one */
        EXPECT(sees(&c, "6\r\n3:two\n\r\n"));
        chunk_write(&c, "ee\nfour\nfi");
        EXPECT(sees(&c, "f\r\n5:three\n4:four\n\r\n"));
        chunk_write(&c, "ve");
        EXPECT(client_puts(&c, "0\r\n\r\n"));
        EXPECT(sees(&c, "7\r\n4:five\n\r\n0\r\n\r\n"));
        EXPECT(client_sees_close(&c, 2000));
        client_close(&c);
        EXPECT(echo_wait(&e.done_count, (int64_t)i + 1));
        EXPECT_INT(e.last_status, 200);
    }
    EXPECT(on_compute > 50);
    EXPECT_INT(e.calls, 0);
    echo_stop(&e);
}

TEST(framings_of_the_request)
{
    echo e = {0};
    stream_start(&e);
    client c = stream_open(e.port, "/s", "Content-Length: 7\r\n\r\nabc\nde"); /* the head's own end comes behind it */
    EXPECT(sees(&c, "\r\n\r\n"));
    client_close(&c);
    c = client_open(e.port);
    EXPECT(client_puts(&c, "POST /s HTTP/1.1\r\nHost: x\r\nContent-Length: 7\r\n\r\nabc\ndef"));
    EXPECT(sees(&c, "3:abc\n") && sees(&c, "3:def\n") && sees(&c, "0\r\n\r\n"));
    client_close(&c);
    c = client_open(e.port); /* 1.0 knows no chunks */
    EXPECT(client_puts(&c, "POST /s HTTP/1.0\r\nHost: x\r\nContent-Length: 7\r\n\r\nabc\ndef"));
    EXPECT(sees(&c, "Cache-Control: no-store\r\n\r\n3:abc\n"));
    EXPECT(sees(&c, "3:def\n"));
    EXPECT(client_sees_close(&c, 2000));
    EXPECT_INT(c.in.size, 0);
    client_close(&c);
    c = stream_open(e.port, "/s", ""); /* nothing at all */
    EXPECT(sees(&c, "\r\n\r\n0\r\n\r\n"));
    client_close(&c);
    c = stream_open(e.port, "/s", "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n");
    EXPECT(sees(&c, "HTTP/1.1 100 Continue\r\n\r\n")); /* before the head */
    chunk_write(&c, "a\n");
    EXPECT(sees(&c, "HTTP/1.1 200 OK\r\n") && sees(&c, "1:a\n"));
    client_close(&c);
    echo_stop(&e);
}

TEST(a_broken_framing_ends_a_stream)
{
    echo e = {0};
    stream_start(&e);
    client c = stream_open(e.port, "/s", chunked);
    chunk_write(&c, "a\n");
    EXPECT(sees(&c, "1:a\n"));
    EXPECT(client_puts(&c, "zz\r\n"));
    EXPECT(client_sees_close(&c, 5000));
    client_close(&c);
    EXPECT(echo_wait(&e.done_count, 1));
    echo_stop(&e);
}

TEST(a_line_at_the_limit_and_one_past_it)
{
    echo e = {0};
    stream_start(&e);
    for (size_t more = 0; more < 2; more++) {
        MYR_AUTO(myr_buf) line = {0};
        for (size_t i = 0; i + 1 < LINE_MAX + more; i++)
            myr_buf_putc(&line, 'x');
        myr_buf_putc(&line, '\n');
        client c = stream_open(e.port, "/s", chunked);
        chunk_write(&c, line.data);
        EXPECT(sees(&c, more == 0 ? "4095:x" : "4096:x")); /* the second: cut, for it is full */
        chunk_write(&c, "next\n");
        EXPECT(sees(&c, "4:next\n"));
        client_close(&c);
    }
    echo_stop(&e);
}

/* A client that does not read: what the server keeps for it is bounded, and nothing is lost. */
static void back_pressure(const char *path)
{
    echo e = {0};
    stream_start(&e);
    client c = stream_open(e.port, path, chunked);
    EXPECT(sees(&c, "\r\n\r\n"));
    static char lines[400 * 11 + 1];
    for (size_t i = 0; i < 400; i++)
        memcpy(lines + i * 11, "big 100000\n", 11);
    chunk_write(&c, lines); /* 40 MB of answers */
    chunk_write(&c, "end\n");
    EXPECT(client_puts(&c, "0\r\n\r\n"));
    int64_t before = -1;
    for (int i = 0; i < 200 && before != steps; i++) { /* it comes to a stop by itself */
        before = steps;
        usleep(50000);
    }
    EXPECT(steps < 200);
    size_t total = 0;
    bool is_whole = false;
    while (!is_whole && client_more(&c, CLIENT_WAIT_MS)) {
        total += c.in.size;
        is_whole = c.in.size >= 5 && strcmp(c.in.data + c.in.size - 5, "0\r\n\r\n") == 0;
        if (is_whole) EXPECT(strstr(c.in.data, "3:end\n") != NULL || c.in.size < 30);
        if (!is_whole) myr_buf_clear(&c.in);
    }
    EXPECT(is_whole && total > 400 * 100000 && total < 400 * 100000 + 400 * 20);
    EXPECT(echo_wait(&e.done_count, 1));
    EXPECT_INT(e.last_status, 200);
    client_close(&c);
    echo_stop(&e);
}

TEST(a_client_that_does_not_read_is_not_read)
{
    back_pressure("/s");
    back_pressure("/s/later");
}

TEST(a_client_that_leaves_its_answers_is_cut_when_the_server_stops)
{
    echo e = {0};
    stream_start(&e);
    client c = stream_open(e.port, "/s", chunked);
    for (int i = 0; i < 300; i++)
        chunk_write(&c, "big 100000\n");
    int64_t before = -1;
    for (int i = 0; i < 200 && before != steps; i++) {
        before = steps;
        usleep(50000);
    }
    int64_t start_ns = myr_clock_mono_ns();
    echo_stop(&e); /* its drain is 2 s */
    EXPECT(myr_clock_mono_ns() - start_ns < 10000000000);
    EXPECT_INT(e.done_count, 1);
    EXPECT_INT(e.last_status, 499);
    client_close(&c);
}

TEST(an_idle_stream_hears_why_it_ends)
{
    echo e = {0};
    stream_start(&e);
    client c = stream_open(e.port, "/s", chunked);
    for (int i = 0; i < 4; i++) { /* each byte is a new start */
        chunk_write(&c, "a\n");
        EXPECT(sees(&c, "1:a\n"));
        usleep(400000);
    }
    EXPECT(sees(&c, "5\r\nlate\n\r\n0\r\n\r\n"));
    EXPECT(client_sees_close(&c, 5000));
    client_close(&c);
    c = stream_open(e.port, "/s", "Expect: 100-continue\r\nTransfer-Encoding: chunked\r\n");
    EXPECT(sees(&c, "HTTP/1.1 200 OK\r\n") && sees(&c, "late\n")); /* the head had to wait */
    client_close(&c);
    EXPECT(echo_wait(&e.done_count, 2));
    echo_stop(&e);
}

TEST(stopping_tells_streams)
{
    echo e = {0};
    stream_start(&e);
    client c = stream_open(e.port, "/s/patient", chunked);
    chunk_write(&c, "a\n");
    EXPECT(sees(&c, "1:a\n"));
    echo_stop(&e);
    EXPECT(sees(&c, "9\r\nstopping\n\r\n0\r\n\r\n"));
    client_close(&c);
}

TEST(a_stream_may_be_ended_by_its_step)
{
    echo e = {0};
    stream_start(&e);
    client c = stream_open(e.port, "/s", chunked);
    chunk_write(&c, "a\nstop\nnever\n");
    EXPECT(sees(&c, "1:a\nbye\n\r\n0\r\n\r\n"));
    EXPECT(client_puts(&c, "5\r\nmore\n\r\n")); /* read, and dropped */
    EXPECT(client_sees_close(&c, 5000));
    client_close(&c);
    c = stream_open(e.port, "/refuse", chunked);
    EXPECT(sees(&c, "HTTP/1.1 404 Not Found\r\n") && sees(&c, "f\r\nno such stream\n\r\n0\r\n\r\n"));
    for (int i = 0; i < 100 && client_puts(&c, "5\r\nmore\n\r\n"); i++)
        usleep(1000);
    EXPECT(client_sees_close(&c, 5000));
    client_close(&c);
    EXPECT(echo_wait(&e.done_count, 2));
    EXPECT_INT(e.last_status, 404);
    echo_stop(&e);
}

TEST(a_full_pool_is_told_to_the_step)
{
    echo e = {0};
    stream_start(&e);
    client clients[4];
    e.hold = true;
    for (size_t i = 0; i < 4; i++) { /* two run, one waits */
        clients[i] = stream_open(e.port, "/s/later", chunked);
        EXPECT(sees(&clients[i], "\r\n\r\n"));
        chunk_write(&clients[i], "a\n");
        if (i < 2) EXPECT(echo_wait(&e.held, (int64_t)i + 1));
        usleep(100000);
    }
    EXPECT(sees(&clients[3], "busy\n"));
    e.hold = false;
    for (size_t i = 0; i < 3; i++)
        EXPECT(sees(&clients[i], "1:a\n"));
    chunk_write(&clients[3], "b\n");
    EXPECT(sees(&clients[3], "1:b\n"));
    EXPECT_INT(refused_defers, 1);
    for (size_t i = 0; i < 4; i++)
        client_close(&clients[i]);
    echo_stop(&e);
}

TEST(clients_that_leave_at_any_byte)
{
    echo e = {0};
    stream_start(&e);
    static const char request[] = "POST /s/later HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                                  "e\r\nbig 9000\nabcd\n\r\n3\r\nxyz\r\n0\r\n\r\n";
    for (size_t size = 0; size < sizeof request; size++) {
        for (int hard = 0; hard < 2; hard++) {
            client c = client_open(e.port);
            struct linger reset = {.l_onoff = 1, .l_linger = 0};
            if (hard) setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
            EXPECT(client_write(&c, request, size));
            client_close(&c);
        }
    }
    EXPECT(client_status(e.port, "GET / HTTP/1.1\r\nHost: x\r\n\r\n") == 200);
    echo_stop(&e);
}

RUN()
