/* Starting and stopping: addresses and their messages, drains, what stops late, memory that runs out. */
#include "net_client.h"

TEST(a_port_in_use_is_said)
{
    echo e = {0}, other = {0};
    myr_http_opts opts = echo_opts(&e);
    echo_start(&e, &opts);
    char listen[64], wanted[128];
    snprintf(listen, sizeof listen, "127.0.0.1:%d", e.port);
    snprintf(wanted, sizeof wanted, "127.0.0.1:%d: address in use: choose another --listen", e.port);
    opts = echo_opts(&other);
    opts.listen = listen;
    myr_err err = {0};
    EXPECT_RC(myr_http_start(&opts, &other.http, &err), IO, &err);
    EXPECT_STR(err.message, wanted);
    EXPECT(other.http == NULL);
    echo_stop(&e);
    EXPECT_RC(myr_http_start(&opts, &other.http, &err), OK, &err); /* free again at once */
    myr_http_stop(other.http, 0);
    EXPECT_INT(other.states_made, 4);
}

TEST(bad_addresses_are_said)
{
    static const struct {
        const char *listen, *part;
    } cases[] = {
        {"", "is not HOST:PORT"},
        {"8080", "is not HOST:PORT"},
        {":8080", "is not HOST:PORT"},
        {"127.0.0.1", "is not HOST:PORT"},
        {"127.0.0.1:", "port  is not a number"},
        {"127.0.0.1:65536", "port 65536 is not a number from 0 to 65535"},
        {"127.0.0.1:-1", "port -1 is not"},
        {"127.0.0.1:http", "port http is not"},
        {"::1:80", "is not HOST:PORT"},
        {"[::1:80", "is not HOST:PORT"},
        {"[::1]80", "is not HOST:PORT"},
        {"[]:80", "is not HOST:PORT"},
        {"192.0.2.1:0", "this machine has no such address"},
        {"no such host:0", "listen address no such host:0: "},
    };
    echo e = {0};
    myr_http_opts opts = echo_opts(&e);
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        myr_err err = {0};
        opts.listen = cases[i].listen;
        EXPECT(myr_http_start(&opts, &e.http, &err) != MYR_OK);
        EXPECT_HAS(err.message, cases[i].part);
    }
    EXPECT(e.http == NULL);
}

TEST(options_out_of_range_are_said)
{
    echo e = {0};
    myr_err err = {0};
    for (int i = 0; i < 8; i++) {
        myr_http_opts opts = echo_opts(&e);
        if (i == 0) opts.loop_count = MYR_HTTP_LOOPS_MAX + 1;
        if (i == 1) opts.compute_count = MYR_HTTP_COMPUTES_MAX + 1;
        if (i == 2) opts.queue_max = 0;
        if (i == 3) opts.body_bytes_max = 0;
        if (i == 4) opts.request_bytes_max = opts.body_bytes_max - 1;
        if (i == 5) opts.header_timeout_ms = 0;
        if (i == 6) opts.loop_count = -1;
        if (i == 7) opts.body_bytes_max = opts.request_bytes_max = INT64_MAX;
        EXPECT_RC(myr_http_start(&opts, &e.http, &err), BAD_USAGE, NULL);
    }
    EXPECT(e.http == NULL);
}

TEST(ipv6_works)
{
    echo e = {0};
    myr_http_opts opts = echo_opts(&e);
    opts.listen = "[::1]:0";
    myr_err err = {0};
    if (myr_http_start(&opts, &e.http, &err) != MYR_OK) {
        EXPECT_HAS(err.message, "no such address"); /* a machine without IPv6 */
        skip();
    }
    client c = {.fd = socket(AF_INET6, SOCK_STREAM, 0)};
    struct sockaddr_in6 address = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)myr_http_port(e.http))};
    address.sin6_addr = in6addr_loopback;
    EXPECT(connect(c.fd, (struct sockaddr *)&address, sizeof address) == 0);
    EXPECT(client_puts(&c, "GET /six HTTP/1.1\r\nHost: [::1]\r\n\r\n"));
    expect_answer(&c, 200, "[six]");
    client_close(&c);
    echo_stop(&e);
}

typedef struct stopper {
    echo *e;
    int64_t drain_ms, took_ms;
} stopper;

static void *stopper_main(void *arg)
{
    stopper *s = arg;
    int64_t start = myr_clock_mono_ns();
    myr_http_stop(s->e->http, s->drain_ms);
    s->took_ms = (myr_clock_mono_ns() - start) / 1000000;
    return NULL;
}

TEST(stop_answers_what_is_in_flight)
{
    echo e = {.hold = true};
    myr_http_opts opts = echo_opts(&e);
    echo_start(&e, &opts);
    client deferred = client_open(e.port), idle = client_open(e.port), reading = client_open(e.port);
    EXPECT(client_puts(&idle, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
    expect_answer(&idle, 200, "GET 0");
    EXPECT(client_puts(&deferred, "GET /later HTTP/1.1\r\nHost: x\r\n\r\n"));
    EXPECT(client_puts(&reading, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe"));
    EXPECT(echo_wait(&e.held, 1));
    usleep(50000); /* the headers of `reading` are there */
    stopper s = {.e = &e, .drain_ms = 5000};
    myr_thread thread;
    EXPECT_RC(myr_thread_start(&thread, "stopper", stopper_main, &s, NULL), OK, NULL);
    usleep(100000);
    for (int i = 0; i < 3; i++) { /* refused at once, never left to wait for an answer that won't come */
        client late = client_open(e.port);
        EXPECT(late.fd < 0);
    }
    EXPECT(client_puts(&idle, "GET /again HTTP/1.1\r\nHost: x\r\n\r\n")); /* an open connection is still served, once */
    answer a = client_read(&idle);
    EXPECT_INT(a.status, 200);
    EXPECT_HAS(a.head, "Connection: close\r\n");
    answer_fini(&a);
    EXPECT(client_puts(&reading, "llo"));
    expect_answer(&reading, 200, "body=5:hello");
    atomic_store(&e.hold, false);
    a = client_read(&deferred);
    EXPECT_INT(a.status, 200);
    EXPECT_HAS(a.head, "Connection: close\r\n");
    answer_fini(&a);
    myr_thread_join(thread);
    EXPECT(s.took_ms < 4000);
    client_close(&deferred);
    client_close(&idle);
    client_close(&reading);
    client after = client_open(e.port);
    EXPECT(after.fd < 0);
}

/* The drain time ends: a running one still ends well, a waiting one is told 503, a slow sender is cut. */
TEST(stop_is_bounded)
{
    echo e = {.hold = true};
    myr_http_opts opts = echo_opts(&e);
    opts.compute_count = 1;
    echo_start(&e, &opts);
    client running = client_open(e.port), slow = client_open(e.port);
    EXPECT(client_puts(&running, "GET /later HTTP/1.1\r\nHost: x\r\n\r\n"));
    EXPECT(echo_wait(&e.held, 1));
    client waiting = client_open(e.port);
    EXPECT(client_puts(&waiting, "GET /later HTTP/1.1\r\nHost: x\r\n\r\n"));
    EXPECT(client_puts(&slow, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe"));
    EXPECT(echo_wait(&e.calls, 2));
    stopper s = {.e = &e, .drain_ms = 300};
    myr_thread thread;
    EXPECT_RC(myr_thread_start(&thread, "stopper", stopper_main, &s, NULL), OK, NULL);
    usleep(600000);
    atomic_store(&e.hold, false);
    expect_answer(&running, 200, "[later]");
    expect_answer(&waiting, 503, "the server is stopping");
    myr_thread_join(thread);
    EXPECT(s.took_ms >= 500 && s.took_ms < 5000);
    EXPECT(client_sees_close(&slow, 1000));
    client_close(&running);
    client_close(&waiting);
    client_close(&slow);
}

TEST(start_and_stop_many_times)
{
    for (int i = 0; i < 50; i++) {
        echo e = {0};
        myr_http_opts opts = echo_opts(&e);
        opts.loop_count = 1 + i % 3;
        echo_start(&e, &opts);
        if (i % 2 == 0) EXPECT_INT(client_status(e.port, "GET /later HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
        myr_http_stop(e.http, i % 5 == 0 ? 0 : 1000);
    }
    myr_http_stop(NULL, 0);
}

TEST(short_memory_fails_the_start_only)
{
    myr_err err;
    FAIL_EACH_ALLOC (nth) {
        echo e = {0};
        myr_http_opts opts = echo_opts(&e);
        opts.loop_count = 1;
        opts.compute_count = 1;
        memset(&err, 0, sizeof err);
        myr_rc rc = myr_http_start(&opts, &e.http, &err);
        EXPECT(rc == MYR_OK || (rc == MYR_NO_MEMORY && e.http == NULL && err.message[0] != '\0'));
        TESTING_NO_FAULTS();
        if (rc == MYR_OK) echo_stop(&e);
    }
}

/* Each allocation that a request makes fails once: it is refused or closed, and the next one is served. */
TEST(short_memory_fails_one_request)
{
    echo e = {0};
    myr_http_opts opts = echo_opts(&e);
    opts.loop_count = 1;
    echo_start(&e, &opts);
    for (int nth = 1; nth <= 8; nth++) {
        client c = client_open(e.port);
        myr_mem_fail_at(nth);
        bool sent = client_puts(&c, "POST /a/b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello");
        struct pollfd wait = {.fd = c.fd, .events = POLLIN};
        EXPECT(!sent || poll(&wait, 1, CLIENT_WAIT_MS) == 1);
        myr_mem_fail_at(0);
        client_close(&c);
        EXPECT_INT(client_status(e.port, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    }
    echo_stop(&e);
}

RUN()
