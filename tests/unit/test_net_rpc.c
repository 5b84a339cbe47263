/* The gRPC listener with clients that mean well: messages, streams, watches, deferral, deadlines, compression, drain.
 */
#include "net/rpc_inside.h"
#include "rpc_client.h"

#include <zlib.h>

TEST(messages_are_echoed)
{
    rpc_echo e = {0};
    rpc_echo_start(&e);
    h2 h = h2_open(e.port);
    h2_call(&h, 1, "/t.T/Plain", "hello");
    expect_message(&h, 1, "hello");
    EXPECT_HAS(h2_of(&h, 1)->fields, "content-type: application/grpc\n");
    h2_call(&h, 3, "/t.T/Later", "deferred");
    h2_call(&h, 5, "/t.T/Plain", "");
    expect_message(&h, 5, "");
    expect_message(&h, 3, "deferred");
    EXPECT(echo_wait(&e.done_count, 3));
    EXPECT_INT(e.last_status, 0);
    h2_close(&h);
    rpc_echo_stop(&e);
    EXPECT_INT(e.states_made, 4);
}

/* Frames of one byte, a prefix in pieces, padding, a priority, a trailing header: all the same message. */
TEST(messages_come_in_any_pieces)
{
    rpc_echo e = {0};
    rpc_echo_start(&e);
    h2 h = h2_open(e.port);
    myr_buf whole = {0};
    h2_prefix(&whole, 0, 6);
    myr_buf_puts(&whole, "pieces");
    for (int cut = 1; cut < (int)whole.size; cut++) {
        int stream = cut * 2 - 1;
        h2_headers(&h, stream, "/t.T/Plain", NULL, 0);
        h2_frame(&h, NGHTTP2_DATA, 0, stream, whole.data, (size_t)cut);
        h2_frame(&h, NGHTTP2_DATA, H2_END_STREAM, stream, whole.data + cut, whole.size - (size_t)cut);
        expect_message(&h, stream, "pieces");
    }
    h2_headers(&h, 101, "/t.T/Plain", NULL, 0);
    for (size_t i = 0; i < whole.size; i++) {
        const char padded[] = {3, whole.data[i], 0, 0, 0};
        h2_frame(&h, NGHTTP2_DATA, NGHTTP2_FLAG_PADDED, 101, padded, sizeof padded);
    }
    myr_buf trailer = {0};
    h2_field(&trailer, "x-end", "1", 1);
    h2_frame(&h, NGHTTP2_HEADERS, H2_END_HEADERS | H2_END_STREAM, 101, trailer.data, trailer.size);
    expect_message(&h, 101, "pieces");
    myr_buf_fini(&trailer);
    myr_buf_fini(&whole);
    h2_close(&h);
    rpc_echo_stop(&e);
}

TEST(errors_are_statuses)
{
    static const struct {
        const char *path;
        const char *more[5];
        int status;
        const char *part;
    } cases[] = {
        {"/t.T/Error", {NULL}, 14, "100%25 \"quoted\" gr%C3%BC%C3%9F"},
        {"/t.T/Nothing", {NULL}, 12, "unknown method /t.T/Nothing"},
        {"/t.T/Plain/", {NULL}, 12, "unknown method /t.T/Plain/"},
        {"/t.T/Plain", {"grpc-encoding", "br", NULL}, 12, "grpc-encoding is not known"},
        {"/t.T/Plain", {"grpc-timeout", "1", NULL}, 3, "grpc-timeout is not"},
        {"/t.T/Plain", {"grpc-timeout", "123456789S", NULL}, 3, "grpc-timeout is not"},
        {"/t.T/Plain", {"grpc-timeout", "-1S", NULL}, 3, "grpc-timeout is not"},
        {"/t.T/Plain", {"grpc-timeout", "0n", NULL}, 4, "the deadline has passed"},
        {"/t.T/Plain", {"grpc-timeout", "99999999H", NULL}, 0, ""},
        {"/t.T/Plain", {"grpc-timeout", "10S", "grpc-encoding", "identity", NULL}, 0, ""},
    };
    rpc_echo e = {0};
    rpc_echo_start(&e);
    h2 h = h2_open(e.port);
    for (int i = 0; i < (int)MYR_COUNT_OF(cases); i++) {
        h2_headers(&h, i * 2 + 1, cases[i].path, cases[i].more, 0);
        h2_message(&h, i * 2 + 1, "x", H2_END_STREAM);
        expect_status(&h, i * 2 + 1, cases[i].status, cases[i].part);
    }
    EXPECT_HAS(h2_of(&h, 1)->fields, "grpc-retry-pushback-ms: 1000");
    EXPECT_HAS(h2_of(&h, 7)->fields, "grpc-accept-encoding: identity,deflate,gzip");
    EXPECT_INT(h2_of(&h, 1)->data.size, 0);
    h2_close(&h);
    rpc_echo_stop(&e);
}

TEST(what_is_no_grpc_is_refused_as_http)
{
    rpc_echo e = {0};
    rpc_echo_start(&e);
    h2 h = h2_open(e.port);
    static const char *const heads[][2] = {
        {"GET", "application/grpc"}, {"POST", "text/plain"}, {"POST", "application/grpcx"}};
    static const int wanted[] = {405, 415, 415};
    for (int i = 0; i < 3; i++) {
        myr_buf head = {0};
        const char *fields[] = {":method",    heads[i][0],  ":scheme", "http",         ":path",
                                "/t.T/Plain", ":authority", "x",       "content-type", heads[i][1]};
        for (size_t k = 0; k < MYR_COUNT_OF(fields); k += 2)
            h2_field(&head, fields[k], fields[k + 1], strlen(fields[k + 1]));
        h2_frame(&h, NGHTTP2_HEADERS, H2_END_HEADERS, i * 2 + 1, head.data, head.size);
        EXPECT_INT(h2_wait(&h, i * 2 + 1)->http, wanted[i]);
        myr_buf_fini(&head);
    }
    MYR_IGNORE(h2_more(&h, 1000));
    EXPECT_INT(h2_of(&h, 1)->reset, NGHTTP2_NO_ERROR); /* it need not send its body */
    h2_call(&h, 7, "/t.T/Plain", "still here");
    expect_message(&h, 7, "still here");
    h2_close(&h);
    h = h2_open_as(e.port, false);
    client_puts(&h.c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT(client_sees_close(&h.c, 10000));
    h2_close(&h);
    rpc_echo_stop(&e);
}

TEST(a_method_of_one_message_wants_one)
{
    rpc_echo e = {0};
    rpc_echo_start(&e);
    h2 h = h2_open(e.port);
    h2_headers(&h, 1, "/t.T/Plain", NULL, H2_END_STREAM);
    expect_status(&h, 1, 12, "there is none");
    h2_headers(&h, 3, "/t.T/Plain", NULL, 0);
    h2_message(&h, 3, "one", 0);
    h2_message(&h, 3, "two", H2_END_STREAM);
    expect_status(&h, 3, 12, "this method takes one message");
    h2_headers(&h, 5, "/t.T/Plain", NULL, 0);
    h2_frame(&h, NGHTTP2_DATA, H2_END_STREAM, 5, "\0\0\0\0", 4);
    expect_status(&h, 5, 13, "the call ends within a message");
    h2_headers(&h, 7, "/t.T/Plain", NULL, 0);
    h2_frame(&h, NGHTTP2_DATA, H2_END_STREAM, 7, "\0\0\0\0\5abcd", 9);
    expect_status(&h, 7, 13, "the call ends within a message");
    h2_headers(&h, 9, "/t.T/Plain", NULL, 0);
    h2_frame(&h, NGHTTP2_DATA, H2_END_STREAM, 9, "\1\0\0\0\0", 5);
    expect_status(&h, 9, 13, "grpc-encoding does not say how");
    h2_headers(&h, 11, "/t.T/Plain", NULL, 0);
    h2_frame(&h, NGHTTP2_DATA, H2_END_STREAM, 11, "\2\0\0\0\0", 5);
    expect_status(&h, 11, 13, "neither 0 nor 1");
    EXPECT_INT(e.calls, 0);
    h2_close(&h);
    rpc_echo_stop(&e);
}

TEST(a_message_at_the_limit_and_one_past_it)
{
    rpc_echo e = {0};
    rpc_echo_start(&e);
    h2 h = h2_open(e.port);
    size_t limit = 1 << 20;
    myr_buf part = {0};
    for (int i = 0; i < 16384; i++)
        myr_buf_putc(&part, 'y');
    for (int stream = 1; stream <= 3; stream += 2) {
        myr_buf prefix = {0};
        h2_headers(&h, stream, "/t.T/Plain", NULL, 0);
        h2_prefix(&prefix, 0, (uint32_t)(limit + (stream == 3)));
        h2_frame(&h, NGHTTP2_DATA, 0, stream, prefix.data, prefix.size);
        for (size_t sent = 0; stream == 1 && sent < limit; sent += part.size) {
            h2_frame(&h, NGHTTP2_DATA, sent + part.size == limit ? H2_END_STREAM : 0, stream, part.data, part.size);
            if (sent % (8 * part.size) == 0) MYR_IGNORE(h2_more(&h, 20)); /* the window is given back in time */
        }
        myr_buf_fini(&prefix);
        h2_wait(&h, stream);
    }
    EXPECT_INT(h2_of(&h, 1)->grpc, 0);
    EXPECT_INT(h2_of(&h, 1)->data.size, 5 + limit);
    expect_status(&h, 3, 8, "the message has 1048577 bytes, the limit is 1048576");
    myr_buf_fini(&part);
    h2_close(&h);
    rpc_echo_stop(&e);
}

TEST(metadata_and_trailers)
{
    rpc_echo e = {0};
    rpc_echo_start(&e);
    h2 h = h2_open(e.port);
    static const char *const more[] = {"x-other", "1", "x-note", "a note", "x-note", "another", NULL};
    h2_headers(&h, 1, "/t.T/Meta", more, 0);
    h2_message(&h, 1, "", H2_END_STREAM);
    expect_message(&h, 1, "a note");
    EXPECT_HAS(h2_of(&h, 1)->fields, "x-back: told");
    static const char *const stranger[] = {"x-stranger", "1", NULL};
    h2_headers(&h, 3, "/t.T/Plain", stranger, 0);
    expect_status(&h, 3, 16, "who is asking is not known"); /* before any message */
    EXPECT_INT(e.calls, 1);
    h2_close(&h);
    rpc_echo_stop(&e);
}

TEST(streams_answer_each_message_in_order)
{
    rpc_echo e = {0};
    rpc_echo_start(&e);
    h2 h = h2_open(e.port);
    h2_headers(&h, 1, "/t.T/Stream", NULL, 0);
    h2_message(&h, 1, "a", 0);
    EXPECT(h2_wait_data(&h, 1, 6)); /* before the client has said all */
    h2_message(&h, 1, "later b", 0);
    h2_message(&h, 1, "c", 0);
    h2_message(&h, 1, "later d", 0);
    h2_message(&h, 1, "e", H2_END_STREAM);
    expect_status(&h, 1, 0, "");
    h2_answer *a = h2_of(&h, 1);
    EXPECT_INT(a->data.size, 5 * 5 + 1 + 7 + 1 + 7 + 1);
    EXPECT(memcmp(a->data.data + 11, "later b", 7) == 0 && a->data.data[a->data.size - 1] == 'e');
    h2_headers(&h, 3, "/t.T/Stream", NULL, H2_END_STREAM); /* none at all */
    expect_status(&h, 3, 0, "");
    h2_headers(&h, 5, "/t.T/Stream", NULL, 0);
    h2_message(&h, 5, "x", 0);
    h2_message(&h, 5, "fail", 0); /* ends the call after its first answer */
    expect_status(&h, 5, 14, "quoted");
    EXPECT_INT(h2_of(&h, 5)->data.size, 6);
    h2_headers(&h, 7, "/t.T/Stream", NULL, 0);
    h2_message(&h, 7, "x", 0);
    h2_frame(&h, NGHTTP2_DATA, H2_END_STREAM, 7, "\0\0", 2);
    expect_status(&h, 7, 13, "the call ends within a message");
    h2_close(&h);
    rpc_echo_stop(&e);
}

/* While one message is in work the window bounds what waits, and another stream goes on. */
TEST(a_busy_stream_holds_back_its_client_alone)
{
    rpc_echo e = {.hold = true};
    rpc_echo_start(&e);
    h2 h = h2_open(e.port);
    MYR_IGNORE(h2_more(&h, 1000));
    h2_headers(&h, 1, "/t.T/Stream", NULL, 0);
    h2_message(&h, 1, "later", 0);
    myr_buf part = {0};
    h2_prefix(&part, 0, 16384 - 5);
    while (part.size < 16384)
        myr_buf_putc(&part, 'z');
    for (int i = 0; i < 15; i++) /* of a window of 16 */
        h2_frame(&h, NGHTTP2_DATA, 0, 1, part.data, part.size);
    h2_call(&h, 3, "/t.T/Plain", "beside");
    expect_message(&h, 3, "beside");
    EXPECT_INT(h2_of(&h, 1)->data.size, 0);
    atomic_store(&e.hold, false);
    EXPECT(h2_wait_data(&h, 1, 10 + 15 * part.size));
    h2_frame(&h, NGHTTP2_DATA, H2_END_STREAM, 1, NULL, 0);
    expect_status(&h, 1, 0, "");
    myr_buf_fini(&part);
    h2_close(&h);
    rpc_echo_stop(&e);
}

/* ---- a stream that never waits for its client ---- */

#define FULL_MESSAGE_BYTES ((size_t)200 << 10)
#define FULL_WHOLE_BYTES   (int64_t)(FULL_MESSAGE_BYTES + RPC_PREFIX_BYTES)
#define FULL_MESSAGES      100

/* Each message waits on a compute thread until it may be answered: by its hash. */
typedef struct full_stream {
    _Atomic int64_t begun, may_answer, backlog_max;
} full_stream;

static void full_answer(void *ctx, myr_rpc *rpc)
{
    full_stream *full = ctx;
    int64_t number = atomic_fetch_add(&full->begun, 1) + 1;
    while (atomic_load(&full->may_answer) < number)
        usleep(200);
    myr_str message = myr_rpc_message(rpc);
    uint64_t hash = myr_hash64(message.data, message.size, 0);
    myr_rpc_reply(rpc, &hash, sizeof hash);
}

static void full_handler(void *ctx, myr_rpc *rpc)
{
    full_stream *full = ctx;
    int64_t room = (int64_t)rpc->backlog.room;
    if (room > atomic_load(&full->backlog_max)) atomic_store(&full->backlog_max, room);
    myr_rpc_defer(rpc, full_answer);
}

/* The bytes of message after message, of which each is another. */
static char full_byte(int64_t at)
{
    int64_t number = at / FULL_WHOLE_BYTES, i = at % FULL_WHOLE_BYTES;
    const char prefix[] = {0, 0, (char)(FULL_MESSAGE_BYTES >> 16), (char)(FULL_MESSAGE_BYTES >> 8),
                           (char)FULL_MESSAGE_BYTES};
    return i < (int64_t)sizeof prefix ? prefix[i] : (char)(number * 7 + i % 251);
}

/* All that the windows allow. */
static void full_send(h2 *h, int64_t *sent)
{
    char part[16384];
    for (;;) {
        int64_t may = RPC_STREAM_WINDOW + h->given[1] - *sent, may_conn = 65535 + h->given[0] - *sent;
        if (may > may_conn) may = may_conn;
        if (may > (int64_t)sizeof part) may = sizeof part;
        if (may <= 0) return;
        for (int64_t i = 0; i < may; i++)
            part[i] = full_byte(*sent + i);
        if (!h2_frame(h, NGHTTP2_DATA, 0, 1, part, (size_t)may)) return;
        *sent += may;
    }
}

static void expect_full_answers(h2 *h)
{
    EXPECT(h2_wait_data(h, 1, (size_t)FULL_MESSAGES * 13));
    char *message = myr_alloc(FULL_MESSAGE_BYTES);
    for (int64_t number = 0; number < FULL_MESSAGES; number++) {
        uint64_t hash;
        for (size_t i = 0; i < FULL_MESSAGE_BYTES; i++)
            message[i] = full_byte(number * FULL_WHOLE_BYTES + RPC_PREFIX_BYTES + (int64_t)i);
        memcpy(&hash, h2_of(h, 1)->data.data + number * 13 + 5, sizeof hash);
        EXPECT(hash == myr_hash64(message, FULL_MESSAGE_BYTES, 0));
    }
    myr_free(message);
}

/* As much waits as the window allows, always, and 20 MB pass: what is held does not grow. */
TEST(a_stream_that_is_always_full_holds_no_more)
{
    full_stream full = {0};
    rpc_echo e = {0};
    myr_rpc_opts opts = rpc_echo_opts(&e);
    opts.on_headers = NULL;
    opts.on_done = NULL;
    opts.make_loop_state = NULL;
    opts.handler = full_handler;
    opts.ctx = &full;
    rpc_echo_serve(&e, &opts);
    h2 h = h2_open(e.port);
    MYR_IGNORE(h2_more(&h, 1000));
    h2_headers(&h, 1, "/t.T/Stream", NULL, 0);
    int64_t sent = 0, until = myr_clock_mono_ns() + 6 * CLIENT_WAIT_MS * 1000000LL;
    for (int64_t i = 0; i < FULL_MESSAGES; i++) {
        /* the message is in work, and behind it waits what the window allows; half of it may be given back late */
        int64_t least = (i + 1) * FULL_WHOLE_BYTES + RPC_STREAM_WINDOW / 2;
        while ((atomic_load(&full.begun) == i || sent < least) && myr_clock_mono_ns() < until) {
            full_send(&h, &sent);
            MYR_IGNORE(h2_more(&h, 1));
        }
        while (h2_more(&h, 5))
            full_send(&h, &sent);
        atomic_fetch_add(&full.may_answer, 1);
    }
    atomic_fetch_add(&full.may_answer, 2); /* of what was sent beyond */
    EXPECT(myr_clock_mono_ns() < until);
    expect_full_answers(&h);
    EXPECT(atomic_load(&full.backlog_max) >= RPC_STREAM_WINDOW / 2);
    EXPECT(atomic_load(&full.backlog_max) <= 4 * RPC_STREAM_WINDOW); /* two windows, in a buffer that doubles */
    h2_close(&h);
    rpc_echo_stop(&e);
}

TEST(a_watch_tells_news_alone)
{
    rpc_echo e = {0};
    rpc_echo_start(&e);
    h2 h = h2_open(e.port);
    h2_call(&h, 1, "/t.T/Watch", "w");
    EXPECT(h2_wait_data(&h, 1, 6));
    int64_t before = e.calls;
    while (e.calls < before + 3) /* looks without news */
        usleep(2000);
    EXPECT_INT(h2_of(&h, 1)->data.size, 6);
    for (int i = 2; i < 5; i++) {
        atomic_fetch_add(&e.news, 1);
        EXPECT(h2_wait_data(&h, 1, (size_t)i * 6));
    }
    h2_close(&h); /* the client leaves */
    EXPECT(echo_wait(&e.done_count, 1));
    EXPECT_INT(e.last_status, 1);
    rpc_echo_stop(&e);
}

static size_t test_gzip(const char *text, size_t size, char *out, size_t room)
{
    z_stream stream = {0};
    EXPECT(deflateInit2(&stream, 9, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY) == Z_OK);
    stream.next_in = (Bytef *)(uintptr_t)text;
    stream.avail_in = (uInt)size;
    stream.next_out = (Bytef *)out;
    stream.avail_out = (uInt)room;
    EXPECT(deflate(&stream, Z_FINISH) == Z_STREAM_END);
    deflateEnd(&stream);
    return stream.total_out;
}

static void send_packed(h2 *h, int stream, const char *packed, size_t size)
{
    static const char *const more[] = {"grpc-encoding", "gzip", "grpc-accept-encoding", "identity, gzip", NULL};
    myr_buf out = {0};
    h2_headers(h, stream, "/t.T/Plain", more, 0);
    h2_prefix(&out, 1, (uint32_t)size);
    myr_buf_append(&out, packed, size);
    h2_frame(h, NGHTTP2_DATA, H2_END_STREAM, stream, out.data, out.size);
    myr_buf_fini(&out);
}

TEST(compressed_messages)
{
    rpc_echo e = {0};
    rpc_echo_start(&e);
    h2 h = h2_open(e.port);
    static char text[(1 << 20) + 1], packed[8192], back[8192];
    memset(text, 'p', sizeof text);
    size_t size = test_gzip(text, 5000, packed, sizeof packed);
    send_packed(&h, 1, packed, size);
    expect_status(&h, 1, 0, "");
    h2_answer *a = h2_of(&h, 1);
    EXPECT_HAS(a->fields, "grpc-encoding: gzip");
    EXPECT(a->data.data[0] == 1 && a->data.size < 1000);
    z_stream stream = {.next_in = (Bytef *)a->data.data + 5,
                       .avail_in = (uInt)a->data.size - 5,
                       .next_out = (Bytef *)back,
                       .avail_out = sizeof back};
    EXPECT(inflateInit2(&stream, 31) == Z_OK && inflate(&stream, Z_FINISH) == Z_STREAM_END);
    EXPECT(stream.total_out == 5000 && memcmp(back, text, 5000) == 0);
    inflateEnd(&stream);
    size = test_gzip(text, 10, packed, sizeof packed); /* a small answer is not */
    send_packed(&h, 3, packed, size);
    expect_message(&h, 3, "pppppppppp");
    send_packed(&h, 5, packed, size - 1);
    expect_status(&h, 5, 3, "the message ends before its gzip does");
    send_packed(&h, 7, "no gzip", 7);
    expect_status(&h, 7, 3, "the message is not gzip");
    size = test_gzip(text, sizeof text - 1, packed, sizeof packed);
    send_packed(&h, 9, packed, size);
    expect_status(&h, 9, 0, "");
    size = test_gzip(text, sizeof text, packed, sizeof packed); /* a bomb stops at the limit of any message */
    send_packed(&h, 11, packed, size);
    expect_status(&h, 11, 8, "the message expands to more than the limit of 1048576 bytes");
    h2_close(&h);
    rpc_echo_stop(&e);
}

TEST(a_deadline_ends_a_call_wherever_it_is)
{
    rpc_echo e = {.hold = true};
    rpc_echo_start(&e);
    h2 h = h2_open(e.port);
    static const char *const more[] = {"grpc-timeout", "50m", NULL};
    h2_headers(&h, 1, "/t.T/Later", more, 0); /* on a compute thread */
    h2_message(&h, 1, "x", H2_END_STREAM);
    h2_headers(&h, 3, "/t.T/Plain", more, 0); /* its message never comes */
    h2_headers(&h, 5, "/t.T/Stream", more, 0);
    h2_headers(&h, 7, "/t.T/Watch", more, 0);
    h2_message(&h, 7, "x", H2_END_STREAM);
    expect_status(&h, 1, 4, "the deadline has passed");
    expect_status(&h, 3, 4, "the deadline has passed");
    expect_status(&h, 5, 4, "the deadline has passed");
    expect_status(&h, 7, 4, "the deadline has passed");
    EXPECT(echo_wait(&e.done_count, 3));
    while (!e.saw_cancel)
        usleep(2000);
    atomic_store(&e.hold, false);
    EXPECT(echo_wait(&e.done_count, 4));
    EXPECT_INT(e.last_status, 4);
    h2_call(&h, 9, "/t.T/Plain", "goes on");
    expect_message(&h, 9, "goes on");
    h2_close(&h);
    rpc_echo_stop(&e);
}

/* Calls that wait behind others until their deadline are not run at all. */
TEST(late_calls_are_not_run)
{
    rpc_echo e = {.hold = true};
    rpc_echo_start(&e);
    h2 h = h2_open(e.port);
    static const char *const more[] = {"grpc-timeout", "30m", NULL};
    h2_call(&h, 1, "/t.T/Later", "a");
    h2_call(&h, 3, "/t.T/Later", "b");
    EXPECT(echo_wait(&e.held, 2)); /* both compute threads */
    for (int i = 0; i < 8; i++) {
        h2_headers(&h, 5 + i * 2, "/t.T/Later", more, 0);
        h2_message(&h, 5 + i * 2, "late", H2_END_STREAM);
    }
    for (int i = 0; i < 8; i++)
        expect_status(&h, 5 + i * 2, 4, "the deadline has passed");
    atomic_store(&e.hold, false);
    expect_message(&h, 1, "a");
    expect_message(&h, 3, "b");
    EXPECT(echo_wait(&e.done_count, 10));
    EXPECT_INT(e.runs, 2);
    h2_close(&h);
    rpc_echo_stop(&e);
}

TEST(a_full_queue_is_unavailable)
{
    rpc_echo e = {.hold = true};
    myr_rpc_opts opts = rpc_echo_opts(&e);
    opts.queue_max = 4;
    rpc_echo_serve(&e, &opts);
    h2 h = h2_open(e.port);
    for (int i = 0; i < 7; i++) /* two run, four wait */
        h2_call(&h, i * 2 + 1, "/t.T/Later", "x");
    expect_status(&h, 13, 14, "too many calls wait for a compute thread");
    EXPECT_HAS(h2_of(&h, 13)->fields, "grpc-retry-pushback-ms: 1000");
    atomic_store(&e.hold, false);
    for (int i = 0; i < 6; i++)
        expect_message(&h, i * 2 + 1, "x");
    h2_close(&h);
    rpc_echo_stop(&e);
}

TEST(cancelled_calls_come_to_their_end)
{
    rpc_echo e = {.hold = true};
    rpc_echo_start(&e);
    h2 h = h2_open(e.port);
    h2_call(&h, 1, "/t.T/Later", "x");
    h2_headers(&h, 3, "/t.T/Stream", NULL, 0);
    h2_message(&h, 3, "a", 0);
    EXPECT(h2_wait_data(&h, 3, 6) && echo_wait(&e.held, 1));
    h2_frame(&h, NGHTTP2_RST_STREAM, 0, 1, "\0\0\0\10", 4);
    h2_frame(&h, NGHTTP2_RST_STREAM, 0, 3, "\0\0\0\10", 4);
    EXPECT(echo_wait(&e.done_count, 1));
    EXPECT_INT(e.last_status, 1);
    while (!e.saw_cancel)
        usleep(2000);
    h2_call(&h, 5, "/t.T/Later", "y"); /* and a connection that goes with a call on a compute thread */
    EXPECT(echo_wait(&e.held, 2));
    h2_close(&h);
    usleep(20000);
    atomic_store(&e.hold, false);
    EXPECT(echo_wait(&e.done_count, 3));
    rpc_echo_stop(&e);
}

TEST(large_answers_follow_the_window)
{
    rpc_echo e = {0};
    rpc_echo_start(&e);
    h2 h = h2_open(e.port);
    h.window = 1; /* nothing is given back */
    h2_call(&h, 1, "/t.T/Large", "3000000");
    EXPECT(h2_wait_data(&h, 1, 65535));
    while (h2_more(&h, 50)) {
    }
    EXPECT_INT(h2_of(&h, 1)->data.size, 65535);
    h2_update(&h, 0, 4000000);
    h2_update(&h, 1, 4000000);
    expect_status(&h, 1, 0, "");
    EXPECT_INT(h2_of(&h, 1)->data.size, 3000005);
    h2_close(&h);
    rpc_echo_stop(&e);
}

typedef struct rpc_stopper {
    rpc_echo *e;
    int64_t drain_ms, took_ms;
} rpc_stopper;

static void *rpc_stopper_main(void *arg)
{
    rpc_stopper *s = arg;
    int64_t before = myr_clock_mono_ns();
    myr_rpc_stop(s->e->server, s->drain_ms);
    s->took_ms = (myr_clock_mono_ns() - before) / 1000000;
    return NULL;
}

TEST(stopping_answers_what_is_in_flight)
{
    rpc_echo e = {.hold = true};
    rpc_echo_start(&e);
    h2 h = h2_open(e.port), idle = h2_open(e.port);
    h2_call(&h, 1, "/t.T/Later", "last");
    h2_call(&h, 3, "/t.T/Watch", "w");
    h2_headers(&h, 5, "/t.T/Stream", NULL, 0);
    h2_message(&h, 5, "a", 0);
    EXPECT(h2_wait_data(&h, 5, 6) && h2_wait_data(&h, 3, 6) && echo_wait(&e.held, 1));
    rpc_stopper s = {&e, 30000, 0};
    myr_thread thread;
    EXPECT_RC(myr_thread_start(&thread, "stop", rpc_stopper_main, &s, NULL), OK, NULL);
    EXPECT(h2_wait_close(&idle));
    EXPECT_INT(idle.goaways, 2);
    EXPECT_INT(idle.goaway, NGHTTP2_NO_ERROR);
    expect_status(&h, 3, 14, "the server is stopping");
    expect_status(&h, 5, 14, "the server is stopping");
    while (h.goaways < 2)
        MYR_IGNORE(h2_more(&h, 1000));
    EXPECT_INT(h.goaway_last, 5);
    h2_call(&h, 7, "/t.T/Plain", "too late"); /* not taken, so the client may ask elsewhere */
    MYR_IGNORE(h2_more(&h, 100));
    EXPECT(!h2_of(&h, 7)->has_ended);
    atomic_store(&e.hold, false);
    expect_message(&h, 1, "last");
    EXPECT(h2_wait_close(&h));
    myr_thread_join(thread);
    EXPECT(s.took_ms < 20000);
    h2_close(&h);
    h2_close(&idle);
}

TEST(stopping_does_not_wait_for_ever)
{
    rpc_echo e = {0};
    rpc_echo_start(&e);
    h2 h = h2_open(e.port);
    h2_headers(&h, 1, "/t.T/Plain", NULL, 0); /* its message never comes */
    MYR_IGNORE(h2_more(&h, 1000));
    rpc_stopper s = {&e, 100, 0};
    rpc_stopper_main(&s);
    EXPECT(s.took_ms < 10000);
    EXPECT_INT(e.done_count, 1);
    h2_close(&h);
}

/* Calls as bytes, made before; their answers stay in the socket. */
TEST(a_warm_call_allocates_nothing)
{
    rpc_echo e = {0};
    myr_rpc_opts opts = rpc_echo_opts(&e);
    opts.loop_count = 1;
    rpc_echo_serve(&e, &opts);
    h2 h = h2_open(e.port);
    MYR_IGNORE(h2_more(&h, 1000));
    myr_buf calls[200] = {0};
    int64_t before = 0;
    for (int i = 0; i < 200; i++)
        h2_put_call(&calls[i], i * 2 + 1, i % 4 == 0 ? "/t.T/Later" : "/t.T/Plain", "warm");
    for (int i = 0; i < 200; i++) {
        if (i == 100) before = myr_mem_alloc_count();
        EXPECT(client_write(&h.c, calls[i].data, calls[i].size));
        EXPECT(echo_wait(&e.done_count, i + 1));
    }
    EXPECT_INT(myr_mem_alloc_count() - before, 0);
    for (int i = 0; i < 200; i++) {
        expect_message(&h, i * 2 + 1, "warm");
        myr_buf_fini(&calls[i]);
    }
    h2_close(&h);
    rpc_echo_stop(&e);
}

TEST(starting_survives_each_failed_allocation)
{
    for (int64_t nth = 1;; nth++) {
        rpc_echo e = {0};
        myr_rpc_opts opts = rpc_echo_opts(&e);
        myr_err err = {0};
        myr_mem_fail_at(nth);
        myr_rc rc = myr_rpc_start(&opts, &e.server, &err);
        myr_mem_fail_at(0);
        EXPECT(rc == MYR_OK || (rc == MYR_NO_MEMORY && e.server == NULL));
        myr_rpc_stop(e.server, 0);
        if (rc == MYR_OK) break; /* nth is past the last allocation: each was tried */
    }
}

TEST(options_out_of_range_are_said)
{
    rpc_echo e = {0};
    myr_err err = {0};
    for (int i = 0; i < 9; i++) {
        myr_rpc_opts opts = rpc_echo_opts(&e);
        if (i == 0) opts.loop_count = MYR_HTTP_LOOPS_MAX + 1;
        if (i == 1) opts.compute_count = MYR_HTTP_COMPUTES_MAX + 1;
        if (i == 2) opts.queue_max = 0;
        if (i == 3) opts.message_bytes_max = 0;
        if (i == 4) opts.request_bytes_max = opts.message_bytes_max - 1;
        if (i == 5) opts.streams_max = MYR_RPC_STREAMS_MAX + 1;
        if (i == 6) opts.streams_max = 0;
        if (i == 7) opts.message_bytes_max = opts.request_bytes_max = INT64_MAX;
        if (i == 8) opts.listen = "127.0.0.1";
        EXPECT_RC(myr_rpc_start(&opts, &e.server, &err), BAD_USAGE, NULL);
    }
    EXPECT(e.server == NULL);
}

RUN()
