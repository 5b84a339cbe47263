/* The gRPC listener with clients that mean harm, or are broken: floods, stalls, oversized everything, wrong frames. */
#include <dirent.h>
#include <sys/resource.h>

#include "rpc_client.h"

static const myr_rpc_opts *hostile_opts(rpc_echo *e, int64_t timeout_ms)
{
    static myr_rpc_opts opts;
    opts = rpc_echo_opts(e);
    opts.header_timeout_ms = 10000; /* for a busy machine to say hello */
    opts.body_timeout_ms = opts.idle_timeout_ms = timeout_ms;
    return &opts;
}

static void expect_alive(const rpc_echo *e)
{
    h2 h = h2_open(e->port);
    h2_call(&h, 1, "/t.T/Plain", "alive");
    expect_message(&h, 1, "alive");
    h2_close(&h);
}

/* Write again and again; the server must say ENHANCE_YOUR_CALM and close. */
static void expect_calmed(const rpc_echo *e, h2 *h, const myr_buf *flood, int times)
{
    for (int i = 0; i < times && client_write(&h->c, flood->data, flood->size); i++)
        MYR_IGNORE(h2_more(h, 0));
    EXPECT(h2_wait_close(h));
    EXPECT_INT(h->goaway, NGHTTP2_ENHANCE_YOUR_CALM);
    expect_alive(e);
}

TEST(rapid_resets_are_calmed)
{
    rpc_echo e = {0};
    rpc_echo_start(&e);
    h2 h = h2_open(e.port);
    int streams = 0;
    while (!h.is_closed && streams < H2_ANSWERS_MAX - 2) {
        myr_buf flood = {0};
        for (int i = 0; i < 50; i++, streams++) {
            h2_put_call(&flood, streams * 2 + 1, "/t.T/Later", "x");
            h2_put(&flood, NGHTTP2_RST_STREAM, 0, streams * 2 + 1, "\0\0\0\10", 4);
        }
        bool ok = client_write(&h.c, flood.data, flood.size);
        myr_buf_fini(&flood);
        MYR_IGNORE(h2_more(&h, 0));
        if (!ok || h.goaway >= 0) break;
    }
    EXPECT(h2_wait_close(&h));
    EXPECT_INT(h.goaway, NGHTTP2_ENHANCE_YOUR_CALM);
    EXPECT(e.calls < MYR_RPC_GLITCHES_MAX + 100);
    expect_alive(&e);
    h2_close(&h);
    rpc_echo_stop(&e);
}

/* The server is made to reset each stream itself: a window that grows too large is an error of the stream. */
TEST(resets_that_a_client_provokes_are_calmed)
{
    rpc_echo e = {0};
    rpc_echo_start(&e);
    h2 h = h2_open(e.port);
    for (int i = 0; i < H2_ANSWERS_MAX - 2 && !h.is_closed; i++) {
        myr_buf flood = {0}, head = {0};
        h2_head(&head, "/t.T/Plain", NULL);
        h2_put(&flood, NGHTTP2_HEADERS, H2_END_HEADERS, i * 2 + 1, head.data, head.size);
        h2_put(&flood, NGHTTP2_WINDOW_UPDATE, 0, i * 2 + 1, "\x7f\xff\xff\xff", 4);
        bool ok = client_write(&h.c, flood.data, flood.size);
        myr_buf_fini(&flood);
        myr_buf_fini(&head);
        MYR_IGNORE(h2_more(&h, i % 50 == 0 ? 20 : 0));
        if (!ok) break;
    }
    EXPECT(h2_wait_close(&h));
    EXPECT_INT(h.goaway, NGHTTP2_ENHANCE_YOUR_CALM);
    expect_alive(&e);
    h2_close(&h);
    rpc_echo_stop(&e);
}

TEST(floods_of_empty_frames_are_calmed)
{
    rpc_echo e = {0};
    rpc_echo_start(&e);
    for (int kind = 0; kind < 4; kind++) {
        h2 h = h2_open(e.port);
        h.mute = true;
        myr_buf flood = {0};
        if (kind == 3) h2_headers(&h, 1, "/t.T/Plain", NULL, 0);
        for (int i = 0; i < 20; i++) {
            if (kind == 0) h2_put(&flood, NGHTTP2_PING, 0, 0, "12345678", 8);
            if (kind == 1) h2_put(&flood, NGHTTP2_SETTINGS, 0, 0, "\0\3\0\0\0\7", 6);
            if (kind == 2) h2_put(&flood, NGHTTP2_PRIORITY, 0, 1, "\0\0\0\0\1", 5);
            if (kind == 3) h2_put(&flood, NGHTTP2_DATA, 0, 1, NULL, 0);
        }
        expect_calmed(&e, &h, &flood, 1000);
        myr_buf_fini(&flood);
        h2_close(&h);
    }
    rpc_echo_stop(&e);
}

TEST(pings_as_a_client_sends_them_are_answered)
{
    rpc_echo e = {0};
    rpc_echo_start(&e);
    h2 h = h2_open(e.port);
    for (int i = 0; i < MYR_RPC_GLITCHES_MAX - 10; i++) { /* its settings count too */
        h2_frame(&h, NGHTTP2_PING, 0, 0, "12345678", 8);
        MYR_IGNORE(h2_more(&h, i % 40 == 0 ? 100 : 0));
    }
    while (h.ping_acks < MYR_RPC_GLITCHES_MAX - 10 && h2_more(&h, 5000)) {
    }
    EXPECT_INT(h.ping_acks, MYR_RPC_GLITCHES_MAX - 10);
    EXPECT_INT(h.settings_acks, 1);
    h2_call(&h, 1, "/t.T/Plain", "and goes on");
    expect_message(&h, 1, "and goes on");
    h2_close(&h);
    rpc_echo_stop(&e);
}

TEST(continuations_without_end_are_cut)
{
    rpc_echo e = {0};
    rpc_echo_start(&e);
    h2 h = h2_open(e.port);
    myr_buf head = {0}, part = {0};
    h2_head(&head, "/t.T/Plain", NULL);
    h2_field(&part, "x-more", "1", 1);
    h2_frame(&h, NGHTTP2_HEADERS, 0, 1, head.data, head.size);
    for (int i = 0; i < 1000 && h2_frame(&h, NGHTTP2_CONTINUATION, 0, 1, part.data, part.size); i++) {
    }
    EXPECT(h2_wait_close(&h));
    EXPECT_INT(e.calls, 0);
    expect_alive(&e);
    myr_buf_fini(&head);
    myr_buf_fini(&part);
    h2_close(&h);
    rpc_echo_stop(&e);
}

/* One field so that the whole header is of the given size, as the limit counts. */
static void large_head(h2 *h, int stream, size_t size)
{
    static const char usual[] =
        ":methodPOST:schemehttp:path/t.T/Plain:authoritytesttetrailerscontent-typeapplication/grpc+proto";
    size_t left = size - (sizeof usual - 1) - 6 * 32 - 32 - 6;
    myr_buf head = {0}, value = {0};
    while (value.size < left)
        myr_buf_putc(&value, 'v');
    h2_head(&head, "/t.T/Plain", NULL);
    h2_field(&head, "x-much", value.data, value.size);
    size_t first = head.size > 16384 ? 16384 : head.size;
    h2_frame(h, NGHTTP2_HEADERS, first == head.size ? H2_END_HEADERS : 0, stream, head.data, first);
    if (first < head.size)
        h2_frame(h, NGHTTP2_CONTINUATION, H2_END_HEADERS, stream, head.data + first, head.size - first);
    h2_message(h, stream, "x", H2_END_STREAM);
    myr_buf_fini(&head);
    myr_buf_fini(&value);
}

TEST(headers_at_the_limit_and_one_past_it)
{
    rpc_echo e = {0};
    rpc_echo_start(&e);
    h2 h = h2_open(e.port);
    large_head(&h, 1, MYR_RPC_HEADER_BYTES_MAX);
    expect_message(&h, 1, "x");
    large_head(&h, 3, MYR_RPC_HEADER_BYTES_MAX + 1);
    expect_status(&h, 3, 8, "the header is larger than 16 KiB");
    for (int more = 0; more < 2; more++) {
        myr_buf head = {0};
        h2_head(&head, "/t.T/Plain", NULL);
        for (int i = 0; i < MYR_RPC_METADATA_MAX + more; i++)
            h2_field(&head, "x-many", "1", 1);
        h2_frame(&h, NGHTTP2_HEADERS, H2_END_HEADERS, 5 + more * 2, head.data, head.size);
        h2_message(&h, 5 + more * 2, "x", H2_END_STREAM);
        myr_buf_fini(&head);
    }
    expect_message(&h, 5, "x");
    expect_status(&h, 7, 8, "more than 64 fields");
    h2_close(&h);
    rpc_echo_stop(&e);
}

/* A table entry of 3,900 bytes, named 16,000 times in one header: 62 MB that must not be stored. */
TEST(a_header_that_expands_is_refused)
{
    rpc_echo e = {0};
    rpc_echo_start(&e);
    h2 h = h2_open(e.port);
    myr_buf head = {0};
    h2_head(&head, "/t.T/Plain", NULL);
    myr_buf_puts(&head, "\x40\x06x-bomb");
    myr_buf_append(&head, "\x7f\xbd\x1d", 3); /* 127 + 0x3d + 0x1d * 128 = 3,900 */
    for (int i = 0; i < 3900; i++)
        myr_buf_putc(&head, 'b');
    while (head.size < 16000)
        myr_buf_putc(&head, (char)(0x80 | 62));
    int64_t before = myr_mem_alloc_count();
    h2_frame(&h, NGHTTP2_HEADERS, H2_END_HEADERS | H2_END_STREAM, 1, head.data, head.size);
    expect_status(&h, 1, 8, "the header is larger");
    EXPECT(myr_mem_alloc_count() - before < 200);
    h2_call(&h, 3, "/t.T/Plain", "goes on");
    expect_message(&h, 3, "goes on");
    myr_buf_fini(&head);
    h2_close(&h);
    rpc_echo_stop(&e);
}

TEST(an_answer_that_is_not_taken_is_dropped)
{
    rpc_echo e = {0};
    rpc_echo_serve(&e, hostile_opts(&e, 300));
    h2 h = h2_open_as(e.port, false);
    h.window = 1;
    client_puts(&h.c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    h2_frame(&h, NGHTTP2_SETTINGS, 0, 0, "\0\4\0\0\0\0", 6); /* no window at all */
    h2_call(&h, 1, "/t.T/Large", "100000");
    EXPECT_INT(h2_wait(&h, 1)->reset, NGHTTP2_CANCEL);
    EXPECT_INT(h2_of(&h, 1)->http, 200);
    EXPECT_INT(h2_of(&h, 1)->data.size, 0);
    EXPECT(echo_wait(&e.done_count, 1));
    h2_close(&h);
    rpc_echo_stop(&e);
}

TEST(a_client_that_does_not_read_is_cut)
{
    rpc_echo e = {0};
    rpc_echo_serve(&e, hostile_opts(&e, 500));
    h2 h = h2_open_as(e.port, false);
    client_puts(&h.c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    h2_frame(&h, NGHTTP2_SETTINGS, 0, 0, "\0\4\x7f\xff\xff\xff", 6);
    h2_update(&h, 0, 0x7ffe0000);
    for (int i = 0; i < 20; i++)
        h2_call(&h, i * 2 + 1, "/t.T/Large", "4000000"); /* 80 MB: no socket holds that */
    EXPECT(echo_wait(&e.done_count, 20));
    expect_alive(&e);
    h2_close(&h);
    rpc_echo_stop(&e);
}

TEST(slow_clients_are_cut)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    rpc_echo e = {0};
    myr_rpc_opts opts = *hostile_opts(&e, 1500);
    opts.header_timeout_ms = 1500;
    rpc_echo_serve(&e, &opts);
    h2 silent = h2_open_as(e.port, false), drips = h2_open_as(e.port, false), slow = h2_open(e.port);
    h2_headers(&slow, 1, "/t.T/Plain", NULL, 0);
    h2_frame(&slow, NGHTTP2_DATA, 0, 1, "\0\0\0\100\0", 5);
    for (size_t i = 0; i < 23; i++) { /* a byte now and then changes nothing */
        if (!client_write(&drips.c, preface + i, 1)) break;
        if (h2_of(&slow, 1)->grpc < 0) h2_frame(&slow, NGHTTP2_DATA, 0, 1, "x", 1);
        MYR_IGNORE(h2_more(&slow, 100));
    }
    EXPECT(client_sees_close(&silent.c, 10000));
    EXPECT(client_sees_close(&drips.c, 10000));
    expect_status(&slow, 1, 4, "the message did not arrive in time");
    EXPECT(h2_wait_close(&slow)); /* then it is idle */
    EXPECT_INT(slow.goaway, NGHTTP2_NO_ERROR);
    h2_close(&silent);
    h2_close(&drips);
    h2_close(&slow);
    rpc_echo_stop(&e);
}

TEST(silent_clients_with_streams_are_asked)
{
    rpc_echo e = {0};
    myr_rpc_opts opts = *hostile_opts(&e, 1500);
    opts.header_timeout_ms = 1500;
    rpc_echo_serve(&e, &opts);
    h2 there = h2_open(e.port), gone = h2_open(e.port);
    gone.mute = true;
    h2_headers(&there, 1, "/t.T/Stream", NULL, 0);
    h2_message(&there, 1, "a", 0);
    h2_headers(&there, 3, "/t.T/Stream", NULL, 0); /* without a message yet */
    h2_headers(&there, 5, "/t.T/Stream", NULL, 0);
    h2_frame(&there, NGHTTP2_DATA, 0, 5, "\0\0", 2); /* within one */
    h2_headers(&gone, 1, "/t.T/Stream", NULL, 0);
    h2_message(&gone, 1, "a", 0);
    EXPECT(h2_wait_data(&there, 1, 6) && h2_wait_data(&gone, 1, 6));
    while (there.pings < 4)
        EXPECT(h2_more(&there, CLIENT_WAIT_MS));
    EXPECT(h2_wait_close(&gone));
    EXPECT(gone.pings > 0);
    h2_message(&there, 1, "b", H2_END_STREAM);
    expect_status(&there, 1, 0, "");
    h2_message(&there, 3, "first", H2_END_STREAM);
    expect_status(&there, 3, 0, "");
    expect_status(&there, 5, 4, "the message did not arrive in time");
    h2_close(&there);
    h2_close(&gone);
    rpc_echo_stop(&e);
}

TEST(streams_at_the_limit_and_one_past_it)
{
    rpc_echo e = {0};
    myr_rpc_opts opts = rpc_echo_opts(&e);
    opts.streams_max = 3;
    rpc_echo_serve(&e, &opts);
    h2 h = h2_open(e.port);
    while (h.settings_acks == 0)
        EXPECT(h2_more(&h, CLIENT_WAIT_MS));
    usleep(50000); /* ours is acknowledged: from then on the limit binds */
    for (int i = 0; i < 3; i++)
        h2_headers(&h, i * 2 + 1, "/t.T/Plain", NULL, 0);
    h2_headers(&h, 7, "/t.T/Plain", NULL, 0);
    h2_answer *a = h2_wait(&h, 7);
    EXPECT(a->reset == NGHTTP2_REFUSED_STREAM || h.is_closed);
    if (!h.is_closed) {
        h2_message(&h, 1, "x", H2_END_STREAM);
        expect_message(&h, 1, "x");
    }
    h2_close(&h);
    rpc_echo_stop(&e);
}

TEST(connections_past_the_limit_wait)
{
    rpc_echo e = {0};
    myr_rpc_opts opts = rpc_echo_opts(&e);
    opts.connections_max = 3;
    rpc_echo_serve(&e, &opts);
    h2 open[3];
    for (int i = 0; i < 3; i++) {
        open[i] = h2_open(e.port);
        h2_call(&open[i], 1, "/t.T/Plain", "in");
        expect_message(&open[i], 1, "in");
    }
    h2 waits = h2_open(e.port);
    h2_call(&waits, 1, "/t.T/Plain", "waits");
    EXPECT(!h2_more(&waits, 300));
    h2_close(&open[0]);
    expect_message(&waits, 1, "waits");
    for (int i = 1; i < 3; i++)
        h2_close(&open[i]);
    h2_close(&waits);
    rpc_echo_stop(&e);
}

static rlim_t highest_fd(void)
{
    rlim_t highest = 0;
    DIR *dir = opendir("/proc/self/fd");
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        rlim_t number = (rlim_t)strtoull(entry->d_name, NULL, 10);
        if (number > highest) highest = number;
    }
    closedir(dir);
    return highest;
}

TEST(no_more_files_is_a_rest_not_a_spin)
{
    rpc_echo e = {0};
    rpc_echo_start(&e);
    h2 kept = h2_open(e.port);
    h2_call(&kept, 1, "/t.T/Plain", "x");
    expect_message(&kept, 1, "x");
    h2 waits = h2_open_as(e.port, false);
    struct rlimit before, now;
    getrlimit(RLIMIT_NOFILE, &before);
    usleep(50000);
    h2 more = {.c = {.fd = socket(AF_INET, SOCK_STREAM, 0)}}; /* taken before the limit, connected after it */
    now = before;
    now.rlim_cur = highest_fd() + 1;
    EXPECT(setrlimit(RLIMIT_NOFILE, &now) == 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)e.port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT(connect(more.c.fd, (struct sockaddr *)&address, sizeof address) == 0);
    struct rusage used[2];
    getrusage(RUSAGE_SELF, &used[0]);
    h2_call(&kept, 3, "/t.T/Plain", "goes on");
    expect_message(&kept, 3, "goes on");
    usleep(1000000);
    getrusage(RUSAGE_SELF, &used[1]);
    EXPECT(setrlimit(RLIMIT_NOFILE, &before) == 0);
    int64_t us = (used[1].ru_utime.tv_sec - used[0].ru_utime.tv_sec) * 1000000 + used[1].ru_utime.tv_usec -
                 used[0].ru_utime.tv_usec;
    EXPECT(us < 200000);
    client_puts(&waits.c, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    h2_frame(&waits, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
    h2_call(&waits, 1, "/t.T/Plain", "x");
    expect_message(&waits, 1, "x");
    expect_alive(&e);
    close(more.c.fd);
    h2_close(&kept);
    h2_close(&waits);
    rpc_echo_stop(&e);
}

TEST(wrong_frames_end_their_connection)
{
    static const struct {
        int type, flags, stream;
        const char *data;
        size_t size;
    } cases[] = {
        {NGHTTP2_DATA, 0, 0, "x", 1},                                 /* data of no stream */
        {NGHTTP2_HEADERS, H2_END_HEADERS, 2, "\x82", 1},              /* a stream of the server's */
        {NGHTTP2_HEADERS, H2_END_HEADERS, 1, "\xff\xff\xff\xff", 4},  /* no table has that */
        {NGHTTP2_HEADERS, H2_END_HEADERS, 1, "\x10\x05", 2},          /* cut in a name */
        {NGHTTP2_CONTINUATION, H2_END_HEADERS, 1, "\x82", 1},         /* of nothing */
        {NGHTTP2_PUSH_PROMISE, H2_END_HEADERS, 1, "\0\0\0\2\x82", 5}, /* clients don't push */
        {NGHTTP2_SETTINGS, 0, 0, "\0\4\0\0", 4},                      /* half a setting */
        {NGHTTP2_SETTINGS, 0, 0, "\0\5\0\0\0\1", 6},                  /* frames of one byte */
        {NGHTTP2_SETTINGS, 0, 0, "\0\4\xff\xff\xff\xff", 6},          /* a window past 2^31 */
        {NGHTTP2_PING, 0, 0, "1234567", 7},
        {NGHTTP2_WINDOW_UPDATE, 0, 0, "\0\0\0\0", 4},
        {NGHTTP2_WINDOW_UPDATE, 0, 0, "\x7f\xff\xff\xff", 4}, /* more than there can be */
        {NGHTTP2_RST_STREAM, 0, 1, "\0\0\0\10", 4},           /* of an idle stream */
        {NGHTTP2_GOAWAY, 0, 0, "\0\0", 2},
    };
    rpc_echo e = {0};
    rpc_echo_start(&e);
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        h2 h = h2_open(e.port);
        h2_frame(&h, cases[i].type, cases[i].flags, cases[i].stream, cases[i].data, cases[i].size);
        if (!h2_wait_close(&h)) print_error("case %zu\n", i);
        EXPECT(h.is_closed && h.goaway > 0);
        h2_close(&h);
    }
    h2 h = h2_open(e.port);
    static char large[16385];
    h2_frame(&h, NGHTTP2_PING, 0, 0, large, sizeof large);
    EXPECT(h2_wait_close(&h));
    h2_close(&h);
    EXPECT_INT(e.calls, 0);
    expect_alive(&e);
    rpc_echo_stop(&e);
}

/* A good conversation, cut at each byte, and with bytes changed: whatever comes of it, the next client is served. */
TEST(damaged_conversations_harm_nobody)
{
    rpc_echo e = {0};
    rpc_echo_serve(&e, hostile_opts(&e, 2000));
    myr_buf talk = {0};
    myr_buf_puts(&talk, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    h2_put(&talk, NGHTTP2_SETTINGS, 0, 0, "\0\4\0\1\0\0", 6);
    h2_put_call(&talk, 1, "/t.T/Plain", "some text");
    h2_put_call(&talk, 3, "/t.T/Later", "more text");
    h2_put_call(&talk, 5, "/t.T/Stream", "later");
    h2_put(&talk, NGHTTP2_PING, 0, 0, "12345678", 8);
    for (size_t end = 0; end < talk.size; end++) {
        client c = client_open(e.port);
        client_write(&c, talk.data, end);
        client_close(&c);
    }
    expect_alive(&e);
    uint64_t seed = 42;
    char *copy = myr_alloc(talk.size);
    for (int round = 0; round < 1500; round++) {
        memcpy(copy, talk.data, talk.size);
        for (int k = 0; k < 1 + round % 4; k++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            copy[24 + (seed >> 33) % (talk.size - 24)] ^= (char)(1u << (seed >> 60) % 8);
        }
        client c = client_open(e.port);
        client_write(&c, copy, talk.size);
        if (round % 3 == 0) MYR_IGNORE(client_more(&c, 5));
        client_close(&c);
    }
    expect_alive(&e);
    myr_free(copy);
    myr_buf_fini(&talk);
    rpc_echo_stop(&e);
}

TEST(short_memory_fails_one_call_or_connection)
{
    rpc_echo e = {0};
    myr_rpc_opts opts = rpc_echo_opts(&e);
    opts.loop_count = 1;
    rpc_echo_serve(&e, &opts);
    myr_buf talk = {0};
    myr_buf_puts(&talk, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    h2_put(&talk, NGHTTP2_SETTINGS, 0, 0, NULL, 0);
    h2_put_call(&talk, 1, "/t.T/Large", "30000");
    for (int nth = 1; nth <= 40; nth++) {
        client c = client_open(e.port);
        char sink[4096];
        myr_mem_fail_at(nth);
        client_write(&c, talk.data, talk.size);
        struct pollfd wait = {.fd = c.fd, .events = POLLIN};
        while (poll(&wait, 1, 20) == 1 && recv(c.fd, sink, sizeof sink, 0) > 0) {
        }
        myr_mem_fail_at(0);
        client_close(&c);
        expect_alive(&e);
    }
    myr_buf_fini(&talk);
    rpc_echo_stop(&e);
}

/* Unfinished messages of one connection hold no more than one request may. */
TEST(unfinished_messages_are_bounded)
{
    rpc_echo e = {0};
    myr_rpc_opts opts = rpc_echo_opts(&e);
    opts.message_bytes_max = opts.request_bytes_max = 100000;
    rpc_echo_serve(&e, &opts);
    h2 h = h2_open(e.port);
    myr_buf part = {0};
    h2_prefix(&part, 0, 60000);
    while (part.size < 16000)
        myr_buf_putc(&part, 'u');
    int refused = 0;
    for (int i = 0; i < 10; i++) {
        h2_headers(&h, i * 2 + 1, "/t.T/Plain", NULL, 0);
        h2_frame(&h, NGHTTP2_DATA, 0, i * 2 + 1, part.data, part.size);
        while (h2_more(&h, 20)) {
        }
        refused += h2_of(&h, i * 2 + 1)->grpc == 8;
    }
    EXPECT(refused >= 3 && refused <= 5);
    myr_buf_fini(&part);
    h2_close(&h);
    rpc_echo_stop(&e);
}

static bool h2_is_answered(h2 *h)
{
    h2_call(h, 1, "/t.T/Plain", "x");
    return h2_wait(h, 1)->grpc == 0;
}

TEST(an_address_has_as_many_connections_as_it_may)
{
    rpc_echo e = {0};
    myr_rpc_opts opts = rpc_echo_opts(&e);
    opts.address_connections_max = 3;
    rpc_echo_serve(&e, &opts);
    h2 clients[3];
    for (int i = 0; i < 3; i++) {
        clients[i] = h2_begin(client_open_from(e.port, 2), true);
        EXPECT(h2_is_answered(&clients[i]));
    }
    h2 more = h2_begin(client_open_from(e.port, 2), true), other = h2_begin(client_open_from(e.port, 3), true);
    EXPECT(!h2_is_answered(&more));
    EXPECT(more.is_closed);
    EXPECT(h2_is_answered(&other));
    h2_close(&more);
    h2_close(&clients[0]);
    bool is_answered = false;
    for (int i = 0; i < 200 && !is_answered; i++) { /* the place is free once the server has seen the end */
        more = h2_begin(client_open_from(e.port, 2), true);
        is_answered = h2_is_answered(&more);
        if (!is_answered) h2_close(&more);
        usleep(20000);
    }
    EXPECT(is_answered);
    h2_close(&more);
    h2_close(&other);
    for (int i = 1; i < 3; i++)
        h2_close(&clients[i]);
    rpc_echo_stop(&e);
}

RUN()
