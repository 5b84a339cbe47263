/* The HTTP listener as a client meets it: paths, bodies, keep-alive, pipelining, what is refused, what memory is taken.
 */
#include "net_client.h"

#include <yyjson.h>

TEST(paths_are_cut_then_decoded_once)
{
    static const struct {
        const char *target, *wanted;
    } cases[] = {
        {"/", "GET 0  body=0:"},
        {"/v2", "GET 1 [v2]"},
        {"/v2/", "GET 1 [v2]"},
        {"/v2/models/oj%40store=2,brand%3D1/infer", "GET 4 [v2][models][oj@store=2,brand=1][infer]"},
        {"/a%2Fb/c", "GET 2 [a/b][c]"},
        {"/a%252Fb", "GET 1 [a%2Fb]"},
        {"//a", "GET 2 [][a]"},
        {"/a//b", "GET 3 [a][][b]"},
        {"/a/../b", "GET 3 [a][..][b]"},
        {"/%C3%A4", "GET 1 [\xc3\xa4]"},
        {"/a?q=1", "GET 1 [a] q=1"},
        {"/a?x=2&q=a%20b+c%3D", "GET 1 [a] q=a b c="},
        {"/a?%71=yes", "GET 1 [a] q=yes"},
        {"/a?q=%zz", "GET 1 [a] body"},
        {"/a?q", "GET 1 [a] q= "},
    };
    echo e = {0};
    myr_http_opts opts = echo_opts(&e);
    echo_start(&e, &opts);
    client c = client_open(e.port);
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        char text[256];
        snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", cases[i].target);
        EXPECT(client_puts(&c, text));
        expect_answer(&c, 200, cases[i].wanted);
    }
    client_close(&c);
    echo_stop(&e);
    EXPECT_INT(e.done_count, MYR_COUNT_OF(cases));
    EXPECT_INT(e.states_made, 4);
}

TEST(bad_targets_are_refused)
{
    static const struct {
        const char *target;
        int status;
    } cases[] = {
        {"/%", 400},
        {"/%2", 400},
        {"/%zz", 400},
        {"/a%00b", 400},
        {"/%c0%ae", 400},
        {"/%ff", 400},
        {"http://x/v2", 400},
        {"*", 400},
        {"v2", 400},
        {"/1/2/3/4/5/6/7/8/9/a/b/c/d/e/f/g", 200},
        {"/1/2/3/4/5/6/7/8/9/a/b/c/d/e/f/g/h", 404},
    };
    echo e = {0};
    myr_http_opts opts = echo_opts(&e);
    echo_start(&e, &opts);
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        char text[256];
        snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", cases[i].target);
        int status = client_status(e.port, text);
        if (status != cases[i].status) printf("target %s: %d\n", cases[i].target, status);
        EXPECT_INT(status, cases[i].status);
    }
    echo_stop(&e);
}

/* Framing that proxies and servers may read in two ways: an error, and the connection is gone. */
TEST(ambiguous_framing_is_refused_and_closed)
{
    static const char *const requests[] = {
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5,5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length : 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nHost: x\r\n Content-Length: 5\r\n\r\nhello",
        "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n",
        "GET / HTTP/1.1\nHost: x\n\n",
        "GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\n: empty\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /a b HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/9.1\r\nHost: x\r\n\r\n",
        "GET / http/1.1\r\nHost: x\r\n\r\n",
        "GET /\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nz\r\nhello\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello!!\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\nhello\n0\n\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nhello",
        "\x16\x03\x01\x02\x01\x01\xfc\x03\x03 tls\r\n\r\n",
    };
    echo e = {0};
    myr_http_opts opts = echo_opts(&e);
    echo_start(&e, &opts);
    for (size_t i = 0; i < MYR_COUNT_OF(requests); i++) {
        bool closed;
        int status = client_status_close(e.port, requests[i], &closed);
        bool refused = status == 0 || (status >= 400 && status != 408);
        if (!refused || !closed) printf("case %zu: status %d, %s\n", i, status, closed ? "closed" : "open");
        EXPECT(refused && closed);
    }
    EXPECT_INT(e.calls, 0); /* no handler saw any of them */
    echo_stop(&e);
}

TEST(a_nul_byte_is_refused)
{
    static const char in_path[] = "GET /a\0b HTTP/1.1\r\nHost: x\r\n\r\n";
    static const char in_value[] = "GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n";
    echo e = {0};
    myr_http_opts opts = echo_opts(&e);
    echo_start(&e, &opts);
    for (int i = 0; i < 2; i++) {
        client c = client_open(e.port);
        EXPECT(i == 0 ? client_write(&c, in_path, sizeof in_path - 1)
                      : client_write(&c, in_value, sizeof in_value - 1));
        answer a = client_read(&c);
        EXPECT(a.status == 0 || a.status == 400);
        EXPECT(client_sees_close(&c, 1000));
        answer_fini(&a);
        client_close(&c);
    }
    EXPECT_INT(e.calls, 0);
    echo_stop(&e);
}

TEST(bytes_one_at_a_time)
{
    static const char request[] = "POST /a%20b?q=7 HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
    echo e = {0};
    myr_http_opts opts = echo_opts(&e);
    echo_start(&e, &opts);
    client c = client_open(e.port);
    for (size_t i = 0; i < sizeof request - 1; i++) {
        EXPECT(client_write(&c, request + i, 1));
        usleep(300);
    }
    expect_answer(&c, 200, "POST 1 [a b] q=7 body=5:hello");
    client_close(&c);
    echo_stop(&e);
}

TEST(chunks_of_one_byte)
{
    echo e = {0};
    myr_http_opts opts = echo_opts(&e);
    echo_start(&e, &opts);
    myr_buf text = {0};
    myr_buf_puts(&text, "POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 20000; i++)
        myr_buf_printf(&text, "1\r\n%c\r\n", 'a' + i % 26);
    myr_buf_puts(&text, "0\r\nTrailer: ignored\r\n\r\nGET /next HTTP/1.1\r\nHost: x\r\n\r\n");
    client c = client_open(e.port);
    EXPECT(client_write(&c, text.data, text.size));
    expect_answer(&c, 200, "POST 1 [c] body=20000:abcdefgh");
    expect_answer(&c, 200, "GET 1 [next]");
    client_close(&c);
    myr_buf_fini(&text);
    echo_stop(&e);
}

TEST(a_thousand_pipelined_requests_are_answered_in_order)
{
    echo e = {0};
    myr_http_opts opts = echo_opts(&e);
    echo_start(&e, &opts);
    myr_buf text = {0};
    for (int i = 0; i < 1000; i++) {
        if (i % 7 == 3) {
            myr_buf_printf(&text, "GET /later/%d HTTP/1.1\r\nHost: x\r\n\r\n", i);
        } else {
            myr_buf_printf(&text, "POST /n/%d HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab", i);
        }
    }
    client c = client_open(e.port);
    EXPECT(client_write(&c, text.data, text.size));
    for (int i = 0; i < 1000; i++) {
        char wanted[32];
        snprintf(wanted, sizeof wanted, "[%d]", i);
        expect_answer(&c, 200, wanted);
    }
    client_close(&c);
    myr_buf_fini(&text);
    echo_stop(&e);
    EXPECT_INT(e.done_count, 1000);
}

TEST(head_has_the_length_and_no_body)
{
    echo e = {0};
    myr_http_opts opts = echo_opts(&e);
    echo_start(&e, &opts);
    client c = client_open(e.port);
    EXPECT(client_puts(&c, "HEAD /x HTTP/1.1\r\nHost: x\r\n\r\nGET /y HTTP/1.1\r\nHost: x\r\n\r\n"));
    answer a = client_read_as(&c, false);
    EXPECT_INT(a.status, 200);
    EXPECT_HAS(a.head, "Content-Length: 18");
    answer_fini(&a);
    expect_answer(&c, 200, "GET 1 [y]");
    client_close(&c);
    echo_stop(&e);
}

TEST(errors_are_json_with_a_status)
{
    echo e = {0};
    myr_http_opts opts = echo_opts(&e);
    echo_start(&e, &opts);
    client c = client_open(e.port);
    EXPECT(client_puts(&c, "GET /error HTTP/1.1\r\nHost: x\r\n\r\n"));
    answer a = client_read(&c);
    EXPECT_INT(a.status, 503);
    EXPECT_HAS(a.head, "Retry-After: 1\r\n");
    EXPECT_HAS(a.head, "Content-Type: application/json\r\n");
    yyjson_doc *doc = yyjson_read(a.body, a.body_bytes, 0);
    EXPECT(doc != NULL);
    EXPECT_HAS(yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), "error")), "a \"quoted\" \\ thing");
    yyjson_doc_free(doc);
    answer_fini(&a);
    EXPECT(client_puts(&c, "GET /header HTTP/1.1\r\nHost: x\r\nX-NOTE: hello\r\n\r\n"));
    a = client_read(&c);
    EXPECT_HAS(a.head, "X-Note-Back: hello\r\n");
    answer_fini(&a);
    client_close(&c);
    echo_stop(&e);
}

TEST(methods_arrive_by_name)
{
    static const char *const names[] = {"GET", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"};
    echo e = {0};
    myr_http_opts opts = echo_opts(&e);
    echo_start(&e, &opts);
    client c = client_open(e.port);
    for (size_t i = 0; i < MYR_COUNT_OF(names); i++) {
        char text[128];
        snprintf(text, sizeof text, "%s / HTTP/1.1\r\nHost: x\r\n\r\n", names[i]);
        EXPECT(client_puts(&c, text));
        expect_answer(&c, 200, names[i]);
    }
    client_close(&c);
    echo_stop(&e);
}

/* After warm-up a request takes no memory of ours: the objects and chunks are those of earlier ones. */
TEST(a_warm_request_allocates_nothing)
{
    static const char request[] = "POST /v2/models/oj HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"
                                  "GET /later HTTP/1.1\r\nHost: x\r\n\r\n";
    echo e = {0};
    myr_http_opts opts = echo_opts(&e);
    opts.loop_count = 1;
    echo_start(&e, &opts);
    client c = client_open(e.port);
    char sink[4096];
    int64_t before = 0, after = 0;
    for (int i = 0; i < 200; i++) {
        if (i == 100) {
            EXPECT(echo_wait(&e.done_count, 200));
            before = myr_mem_alloc_count();
        }
        EXPECT(client_puts(&c, request));
        for (int seen = 0; seen < 2;) { /* read without allocating */
            ssize_t got = recv(c.fd, sink, sizeof sink - 1, 0);
            EXPECT(got > 0);
            sink[got] = '\0';
            for (char *p = sink; (p = strstr(p, " body=")) != NULL; p++)
                seen++;
        }
    }
    EXPECT(echo_wait(&e.done_count, 400));
    after = myr_mem_alloc_count();
    EXPECT_INT(after - before, 0);
    client_close(&c);
    echo_stop(&e);
}

/* Answers are used again by length and headers: more lengths than are kept, short of the longest and past it. */
TEST(answers_keep_their_own_bytes_and_headers)
{
    echo e = {0};
    myr_http_opts opts = echo_opts(&e);
    opts.loop_count = 1;
    echo_start(&e, &opts);
    client c = client_open(e.port);
    MYR_AUTO(myr_buf) text = {0};
    MYR_AUTO(myr_buf) body = {0};
    for (int i = 0; i < 1400; i++) {
        int length = i % 2 == 0 ? i / 2 % 350 : 960 + i / 2 % 80;
        char note[16], back[40];
        snprintf(note, sizeof note, "%0*d", 6 + i % 4,
                 i / 5); /* up to the longest value of what is kept, and past it */
        myr_buf_clear(&body);
        for (int k = 0; k < length; k++)
            myr_buf_putc(&body, (char)('a' + (i * 7 + k) % 26));
        myr_buf_clear(&text);
        myr_buf_printf(&text, "POST /header HTTP/1.1\r\nHost: x\r\n%s%s%sContent-Length: %d\r\n\r\n",
                       i % 3 == 0 ? "X-Note: " : "", i % 3 == 0 ? note : "", i % 3 == 0 ? "\r\n" : "", length);
        myr_buf_append(&text, body.data, body.size);
        EXPECT(client_write(&c, text.data, text.size));
        answer a = client_read(&c);
        EXPECT_INT(a.status, 200);
        snprintf(back, sizeof back, "X-Note-Back: %s\r\n", note);
        EXPECT((strstr(a.head, "X-Note-Back") != NULL) == (i % 3 == 0));
        if (i % 3 == 0) EXPECT_HAS(a.head, back);
        if (length > 0) EXPECT_HAS(a.body, body.data);
        answer_fini(&a);
    }
    client_close(&c);
    echo_stop(&e);
}

static size_t open_files(void)
{
    char **names;
    size_t count;
    EXPECT_RC(myr_io_list("/proc/self/fd", &names, &count, NULL), OK, NULL);
    myr_names_free(names, count);
    return count;
}

TEST(a_connection_that_leaves_at_any_byte_leaves_nothing)
{
    static const char request[] = "POST /later/x HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
    echo e = {0};
    myr_http_opts opts = echo_opts(&e);
    echo_start(&e, &opts);
    EXPECT_INT(client_status(e.port, "GET /later HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    usleep(100000);
    size_t before = open_files();
    for (int round = 0; round < 5; round++) {
        for (size_t i = 0; i <= sizeof request - 1; i++) {
            client c = client_open(e.port);
            EXPECT(client_write(&c, request, i));
            client_close(&c);
        }
    }
    EXPECT_INT(client_status(e.port, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
    for (int i = 0; i < 1000 && open_files() > before; i++)
        usleep(2000); /* the loops close their ends soon */
    EXPECT_INT(open_files(), before);
    echo_stop(&e); /* asserts that no connection is left */
}

TEST(json_reads_into_the_arena)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(1 << 20);
    yyjson_alc alc;
    myr_arena_yyjson(arena, &alc);
    char text[] = "{\"a\":[1,2,3,{\"b\":\"c\"}]}";
    for (int i = 0; i < 3; i++) {
        int64_t before = myr_mem_alloc_count();
        yyjson_doc *doc = yyjson_read_opts(text, strlen(text), 0, &alc, NULL);
        EXPECT(doc != NULL && yyjson_doc_get_val_count(doc) == 9 /* keys count */);
        if (i > 0) EXPECT_INT(myr_mem_alloc_count() - before, 0);
        myr_arena_reset(arena);
    }
    MYR_AUTO(myr_arena_ptr) small = myr_arena_new(256); /* the cap is a refusal, not a crash */
    myr_arena_yyjson(small, &alc);
    EXPECT(yyjson_read_opts(text, strlen(text), 0, &alc, NULL) == NULL);
    EXPECT(myr_arena_is_full(small));
}

RUN()
