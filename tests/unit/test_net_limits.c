/* Limits and time-outs of the listener: each at its bound and one past it; slow and greedy clients; the full pool. */
#include "net_client.h"

static myr_buf post_of(const char *path, size_t body_bytes, const char *extra)
{
    myr_buf text = {0};
    myr_buf_printf(&text, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n%s\r\n", path, body_bytes, extra);
    char part[4096];
    memset(part, 'a', sizeof part);
    for (size_t left = body_bytes; left > 0;) {
        size_t n = left < sizeof part ? left : sizeof part;
        myr_buf_append(&text, part, n);
        left -= n;
    }
    return text;
}

/* Write everything first, as many clients do, then read. */
static answer post_answer(client *c, size_t body_bytes)
{
    myr_buf text = post_of("/b", body_bytes, "");
    client_write(c, text.data, text.size); /* may fail: then no answer is the finding */
    myr_buf_fini(&text);
    return client_read(c);
}

TEST(a_body_at_the_limit_and_one_past_it)
{
    echo e = {0};
    myr_http_opts opts = echo_opts(&e);
    echo_start(&e, &opts);
    client c = client_open(e.port);
    static const struct {
        size_t bytes;
        int status;
    } cases[] = {{8 << 20, 200}, {(8 << 20) + 1, 413}, {10 << 20, 413}, {0, 200}, {24 << 20, 413}, {1, 200}};
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) { /* on one connection: a drained 413 keeps it */
        answer a = post_answer(&c, cases[i].bytes);
        EXPECT_INT(a.status, cases[i].status);
        EXPECT_HAS(a.body,
                   cases[i].status == 200 ? "[b] body=" : "{\"error\":\"the request body is larger than the limit");
        answer_fini(&a);
    }
    client_close(&c);
    echo_stop(&e);
}

TEST(a_body_far_past_the_limit_is_refused_unread)
{
    echo e = {0};
    myr_http_opts opts = echo_opts(&e);
    echo_start(&e, &opts);
    bool closed;
    EXPECT_INT(client_status_close(e.port, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2147483648\r\n\r\n", &closed),
               413);
    EXPECT(closed);
    EXPECT_INT(
        client_status_close(
            e.port, "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 8388609\r\n\r\n", &closed),
        413);
    EXPECT(closed);
    EXPECT_INT(e.calls, 0);
    echo_stop(&e);
}

TEST(an_expected_100_is_sent)
{
    echo e = {0};
    myr_http_opts opts = echo_opts(&e);
    echo_start(&e, &opts);
    client c = client_open(e.port);
    EXPECT(client_puts(&c, "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"));
    answer a = client_read(&c);
    EXPECT_INT(a.status, 100);
    answer_fini(&a);
    EXPECT(client_puts(&c, "hello"));
    expect_answer(&c, 200, "body=5:hello");
    client_close(&c);
    echo_stop(&e);
}

TEST(a_chunked_body_at_the_limit_and_past_it)
{
    echo e = {0};
    myr_http_opts opts = echo_opts(&e);
    opts.body_bytes_max = 1000;
    echo_start(&e, &opts);
    client c = client_open(e.port);
    for (int more = 0; more < 2; more++) {
        EXPECT(client_puts(&c, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"));
        for (int i = 0; i < 10; i++) {
            char text[256];
            snprintf(text, sizeof text, "64\r\n%0100d\r\n", 7);
            EXPECT(client_puts(&c, text));
        }
        EXPECT(client_puts(&c, more ? "1\r\nx\r\n0\r\n\r\n" : "0\r\n\r\n"));
        expect_answer(&c, more ? 413 : 200, more ? "larger than the limit of 1000 bytes" : "body=1000:");
    }
    client_close(&c);
    /* Chunks without an end are read up to the bound of the drain, then cut. */
    c = client_open(e.port);
    EXPECT(client_puts(&c, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"));
    static char chunk[65536 + 16];
    int n = snprintf(chunk, sizeof chunk, "10000\r\n");
    memset(chunk + n, 'x', 65536);
    memcpy(chunk + n + 65536, "\r\n", 2);
    int sent = 0;
    while (sent < 1000 && client_write(&c, chunk, (size_t)n + 65536 + 2))
        sent++;
    EXPECT(sent >= (MYR_HTTP_DRAIN_BYTES_MAX >> 16) && sent < 1000);
    client_close(&c);
    echo_stop(&e);
}

static int status_with_header(int port, size_t header_bytes)
{
    static const char head[] = "GET / HTTP/1.1\r\nHost: x\r\n";
    myr_buf text = {0};
    myr_buf_puts(&text, head);
    size_t left = header_bytes - text.size - 2;
    while (left > 0) { /* few long lines */
        size_t line = left > 2000 ? 1000 : left;
        myr_buf_puts(&text, "A: ");
        for (size_t i = 0; i < line - 5; i++)
            myr_buf_putc(&text, 'v');
        myr_buf_puts(&text, "\r\n");
        left -= line;
    }
    myr_buf_puts(&text, "\r\n");
    EXPECT_INT(text.size, header_bytes);
    int status = client_status(port, text.data);
    myr_buf_fini(&text);
    return status;
}

TEST(a_header_at_the_limit_and_one_past_it)
{
    echo e = {0};
    myr_http_opts opts = echo_opts(&e);
    echo_start(&e, &opts);
    EXPECT_INT(status_with_header(e.port, MYR_HTTP_HEADER_BYTES_MAX), 200);
    EXPECT_INT(status_with_header(e.port, MYR_HTTP_HEADER_BYTES_MAX + 1), 431);
    EXPECT_INT(status_with_header(e.port, 1 << 20), 431);
    myr_buf text = {0};
    myr_buf_puts(&text, "GET / HTTP/1.1\r\nHost: x\r\n");
    for (int i = 0; i < 3000; i++)
        myr_buf_puts(&text, "A:b\r\n"); /* fewer bytes, too many parts */
    myr_buf_puts(&text, "\r\n");
    EXPECT_INT(client_status(e.port, text.data), 431);
    myr_buf_fini(&text);
    echo_stop(&e);
}

TEST(a_target_at_the_limit_and_one_past_it)
{
    echo e = {0};
    myr_http_opts opts = echo_opts(&e);
    echo_start(&e, &opts);
    for (int more = 0; more < 3; more++) {
        myr_buf text = {0};
        myr_buf_puts(&text, "GET /");
        int size = more == 2 ? 10 << 20 : MYR_HTTP_URL_BYTES_MAX + more;
        for (int i = 1; i < size; i++)
            myr_buf_putc(&text, 'a');
        myr_buf_puts(&text, " HTTP/1.1\r\nHost: x\r\n\r\n");
        client c = client_open(e.port);
        client_write(&c, text.data, text.size);
        answer a = client_read(&c);
        EXPECT(more == 0 ? a.status == 200
                         : a.status == 414 || (more == 2 && a.status == 0)); /* 0: reset while writing */
        answer_fini(&a);
        client_close(&c);
        myr_buf_fini(&text);
    }
    echo_stop(&e);
}

TEST(the_arena_bounds_a_request)
{
    echo e = {0};
    myr_http_opts opts = echo_opts(&e);
    opts.body_bytes_max = 1 << 20;
    opts.request_bytes_max = (1 << 20) + 65536; /* a body fits, its copy in the answer does not */
    echo_start(&e, &opts);
    client c = client_open(e.port);
    answer a = post_answer(&c, 1 << 20);
    EXPECT_INT(a.status, 413);
    EXPECT_HAS(a.body, "no room for the answer");
    answer_fini(&a);
    a = post_answer(&c, 1000);
    EXPECT_INT(a.status, 200);
    answer_fini(&a);
    client_close(&c);
    echo_stop(&e);
}

/* A client that drips never stands still, so only deadlines of our own end it. */
static int64_t drip_until_closed_ms(int port, const char *first, const char *drop, int period_ms)
{
    client c = client_open(port);
    int64_t start = myr_clock_mono_ns();
    EXPECT(client_puts(&c, first));
    for (int i = 0; i < 10000 / period_ms; i++) {
        struct pollfd wait = {.fd = c.fd, .events = POLLIN};
        if (poll(&wait, 1, period_ms) > 0 && !client_more(&c, 10)) break;
        if (drop[0] != '\0' && !client_puts(&c, drop)) break;
    }
    client_close(&c);
    return (myr_clock_mono_ns() - start) / 1000000;
}

TEST(slow_clients_are_cut_by_deadlines)
{
    echo e = {0};
    myr_http_opts opts = echo_opts(&e);
    opts.header_timeout_ms = 400;
    opts.body_timeout_ms = 600;
    opts.idle_timeout_ms = 300;
    echo_start(&e, &opts);
    static const struct {
        const char *first, *drop;
        int min_ms, max_ms;
    } cases[] = {
        {"", "", 350, 1500},                                                            /* says nothing */
        {"G", "E", 350, 1500},                                                          /* drips the request line */
        {"GET / HTTP/1.1\r\nHost: x\r\n", "A: b\r\n", 350, 1500},                       /* drips headers */
        {"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n", "b", 550, 1900}, /* drips the body */
        {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "", 250, 1300},                           /* idle after an answer */
        {"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\n", "A: b\r\n", 350, 1500}, /* drips the second header */
    };
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        int64_t took_ms = drip_until_closed_ms(e.port, cases[i].first, cases[i].drop, 20);
        if (took_ms < cases[i].min_ms || took_ms > cases[i].max_ms)
            printf("case %zu: %lld ms\n", i, (long long)took_ms);
        EXPECT(took_ms >= cases[i].min_ms && took_ms <= cases[i].max_ms);
    }
    echo_stop(&e);
}

TEST(a_client_that_does_not_read_is_cut)
{
    echo e = {0};
    myr_http_opts opts = echo_opts(&e);
    opts.body_timeout_ms = 700;
    opts.body_bytes_max = 16 << 20;
    opts.request_bytes_max = 64 << 20;
    echo_start(&e, &opts);
    client c = client_open(e.port);
    myr_buf text = post_of("/b", 12 << 20, "");
    EXPECT(client_write(&c, text.data, text.size));
    EXPECT(echo_wait(&e.done_count, 1)); /* although most of the answer was never taken */
    client_close(&c);
    myr_buf_fini(&text);
    echo_stop(&e);
}

/* One compute thread that is held, two places in the queue: the fourth is told to come back, at once. */
TEST(a_full_pool_answers_503)
{
    echo e = {.hold = true};
    myr_http_opts opts = echo_opts(&e);
    opts.compute_count = 1;
    opts.queue_max = 2;
    echo_start(&e, &opts);
    client c[5];
    for (int i = 0; i < 3; i++) {
        c[i] = client_open(e.port);
        EXPECT(client_puts(&c[i], "GET /later HTTP/1.1\r\nHost: x\r\n\r\n"));
    }
    EXPECT(echo_wait(&e.calls, 3) && echo_wait(&e.held, 1));
    for (int i = 3; i < 5; i++) {
        c[i] = client_open(e.port);
        EXPECT(client_puts(&c[i], "GET /later HTTP/1.1\r\nHost: x\r\n\r\n"));
        answer a = client_read(&c[i]);
        EXPECT_INT(a.status, 503);
        EXPECT_HAS(a.head, "Retry-After: 1\r\n");
        EXPECT_HAS(a.body, "too many requests wait");
        answer_fini(&a);
        EXPECT(client_puts(&c[i], "GET /now HTTP/1.1\r\nHost: x\r\n\r\n")); /* the loop is as free as before */
        expect_answer(&c[i], 200, "[now]");
    }
    atomic_store(&e.hold, false);
    for (int i = 0; i < 3; i++)
        expect_answer(&c[i], 200, "[later]");
    for (int i = 0; i < 5; i++)
        client_close(&c[i]);
    echo_stop(&e);
}

TEST(connections_past_the_limit_wait_until_one_leaves)
{
    echo e = {0};
    myr_http_opts opts = echo_opts(&e);
    opts.loop_count = 1;
    opts.connections_max = 3;
    echo_start(&e, &opts);
    client c[4];
    for (int i = 0; i < 4; i++) {
        c[i] = client_open(e.port);
        EXPECT(client_puts(&c[i], "GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
        if (i < 3) expect_answer(&c[i], 200, "GET 0");
    }
    EXPECT(!client_more(&c[3], 200)); /* in the kernel's queue, or refused */
    client_close(&c[0]);
    answer a = client_read(&c[3]);
    EXPECT_INT(a.status, 200);
    answer_fini(&a);
    for (int i = 1; i < 4; i++)
        client_close(&c[i]);
    echo_stop(&e);
}

static bool client_is_answered(client *c)
{
    client_puts(c, "GET /x HTTP/1.1\r\nHost: x\r\n\r\n");
    answer a = client_read(c);
    answer_fini(&a);
    return a.status == 200;
}

TEST(an_address_has_as_many_connections_as_it_may)
{
    echo e = {0};
    myr_http_opts opts = echo_opts(&e);
    opts.address_connections_max = 3;
    echo_start(&e, &opts);
    client clients[3];
    for (int i = 0; i < 3; i++) {
        clients[i] = client_open_from(e.port, 2);
        EXPECT(client_is_answered(&clients[i]));
    }
    client more = client_open_from(e.port, 2), other = client_open_from(e.port, 3);
    EXPECT(!client_is_answered(&more));
    EXPECT(client_is_answered(&other));
    client_close(&more);
    client_close(&clients[0]);
    bool answered = false;
    for (int i = 0; i < 200 && !answered; i++) { /* the place is free once the server has seen the end */
        more = client_open_from(e.port, 2);
        answered = client_is_answered(&more);
        if (!answered) client_close(&more);
        usleep(20000);
    }
    EXPECT(answered);
    client_close(&more);
    client_close(&other);
    for (int i = 1; i < 3; i++)
        client_close(&clients[i]);
    echo_stop(&e);
}

RUN()
