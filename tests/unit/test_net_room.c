/* The waiting room: who came before his Retry-After waits unread, is let in when there is room, or refused in the end.
 */
#include <sys/resource.h>

#include "net_client.h"

#define ROOM_MAX 4096 /* NET_ROOM_MAX */
#define WAIT_MS  300

typedef struct room_world {
    myr_http_server *http;
    int port;
    _Atomic bool is_full;
    _Atomic int64_t headers, runs, aways, held;
    int order[64]; /* one loop */
} room_world;

/* POST /class/number */
static uint64_t room_class(const myr_req *req, int64_t *out_number)
{
    const myr_str *parts;
    int64_t class = 0;
    MYR_ASSERT(myr_req_segments(req, &parts) == 2 && myr_parse_int64(parts[0], &class) &&
               myr_parse_int64(parts[1], out_number));
    return (uint64_t) class;
}

static void room_headers(void *ctx, myr_req *req)
{
    room_world *w = ctx;
    int64_t number;
    atomic_fetch_add(&w->headers, 1);
    if (myr_req_method(req) == MYR_POST) (void)myr_req_hold(req, room_class(req, &number), WAIT_MS);
}

static void room_handler(void *ctx, myr_req *req)
{
    room_world *w = ctx;
    int64_t number;
    uint64_t class = room_class(req, &number);
    if (atomic_load(&w->is_full) && myr_req_method(req) == MYR_POST) {
        myr_err err = {0};
        MYR_IGNORE(MYR_ERROR(&err, BUSY, "full"));
        myr_req_turn_away(req, class);
        myr_req_reply_error(req, &err);
        return;
    }
    int64_t at = atomic_load(&w->runs);
    if (at < (int64_t)MYR_COUNT_OF(w->order)) w->order[at] = (int)number;
    atomic_fetch_add(&w->runs, 1); /* who waits for it reads `order` then */
    myr_str body = myr_req_body(req);
    myr_req_reply(req, 200, "text/plain", body.data, body.size);
}

static void room_done(void *ctx, const myr_req *req)
{
    room_world *w = ctx;
    atomic_fetch_add(&w->aways, myr_req_is_away(req) ? 1 : 0);
    atomic_fetch_add(&w->held, myr_req_was_held(req) ? 1 : 0);
}

static void room_start(room_world *w)
{
    myr_err err = {0};
    echo unused = {0};
    myr_http_opts opts = echo_opts(&unused);
    opts.loop_count = opts.compute_count = 1;
    opts.connections_max = 3 * ROOM_MAX;
    opts.on_headers = room_headers;
    opts.handler = room_handler;
    opts.make_loop_state = NULL;
    opts.free_loop_state = NULL;
    opts.on_done = room_done;
    opts.ctx = w;
    EXPECT_RC(myr_http_start(&opts, &w->http, &err), OK, &err);
    w->port = myr_http_port(w->http);
    atomic_store(&w->is_full, true);
}

static void room_ask(client *c, int class, int number, const char *body)
{
    char text[256];
    snprintf(text, sizeof text, "POST /%d/%d HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s", class, number,
             strlen(body), body);
    EXPECT(client_puts(c, text));
}

static client room_refused(const room_world *w, int class)
{
    client c = client_open(w->port);
    room_ask(&c, class, 0, "{\"rows\":[]}");
    answer a = client_read(&c);
    EXPECT_INT(a.status, 503);
    EXPECT_HAS(a.head, "Retry-After: 1\r\n");
    answer_fini(&a);
    return c;
}

static bool room_is_silent(client *c, int wait_ms)
{
    struct pollfd wait = {.fd = c->fd, .events = POLLIN};
    return poll(&wait, 1, wait_ms) == 0;
}

TEST(who_comes_at_once_is_refused_when_his_time_is_over_unread)
{
    room_world w = {0};
    room_start(&w);
    client c = room_refused(&w, 7);
    static const int at_least_ms[] = {WAIT_MS, 2 * WAIT_MS, 1000, 1000}; /* who insists waits longer */
    for (size_t i = 0; i < MYR_COUNT_OF(at_least_ms); i++) {
        int64_t start_ns = myr_clock_mono_ns();
        room_ask(&c, 7, 1, "{\"rows\":[]}");
        answer a = client_read(&c);
        int64_t took_ms = (myr_clock_mono_ns() - start_ns) / 1000000;
        EXPECT_INT(a.status, 503);
        EXPECT_HAS(a.body, "see Retry-After");
        EXPECT_HAS(a.head, "Retry-After: 1\r\n");
        EXPECT(took_ms >= at_least_ms[i] - 1);
        answer_fini(&a);
    }
    EXPECT(echo_wait(&w.aways, MYR_COUNT_OF(at_least_ms)));
    EXPECT_INT(atomic_load(&w.held), MYR_COUNT_OF(at_least_ms));
    atomic_store(&w.is_full, false); /* the connection goes on, and its next request finds room */
    room_ask(&c, 7, 1, "{\"rows\":[]}");
    usleep(50000);
    myr_http_let_in(w.http, 1);
    expect_answer(&c, 200, "rows");
    client_close(&c);
    myr_http_stop(w.http, 2000);
}

TEST(what_is_let_in_is_the_newest_and_classes_take_turns)
{
    static const struct {
        int class, number;
    } asks[] = {{1, 11}, {1, 12}, {1, 13}, {2, 21}, {2, 22}};
    static const int wanted[] = {13, 22, 12, 21, 11};
    room_world w = {0};
    client clients[MYR_COUNT_OF(asks)];
    room_start(&w);
    for (size_t i = 0; i < MYR_COUNT_OF(asks); i++)
        clients[i] = room_refused(&w, asks[i].class);
    atomic_store(&w.is_full, false);
    for (size_t i = 0; i < MYR_COUNT_OF(asks); i++) {
        room_ask(&clients[i], asks[i].class, asks[i].number, "{\"rows\":[]}");
        EXPECT(echo_wait(&w.headers, (int64_t)(MYR_COUNT_OF(asks) + i + 1)));
    }
    for (size_t i = 0; i < MYR_COUNT_OF(asks); i++) {
        myr_http_let_in(w.http, 1);
        EXPECT(echo_wait(&w.runs, (int64_t)i + 1));
        EXPECT_INT(w.order[i], wanted[i]);
    }
    for (size_t i = 0; i < MYR_COUNT_OF(asks); i++) {
        expect_answer(&clients[i], 200, "rows");
        client_close(&clients[i]);
    }
    myr_http_stop(w.http, 2000);
}

TEST(other_requests_of_the_connection_do_not_wait)
{
    room_world w = {0};
    room_start(&w);
    client c = room_refused(&w, 7);
    client_puts(&c, "GET /7/1 HTTP/1.1\r\nHost: x\r\n\r\n"); /* health, discovery … */
    expect_answer(&c, 200, "");
    atomic_store(&w.is_full, false);
    room_ask(&c, 8, 1, "{\"rows\":[]}"); /* another fleet */
    expect_answer(&c, 200, "rows");
    room_ask(&c, 7, 1, "{}"); /* much less than what was refused */
    expect_answer(&c, 200, "{}");
    client_puts(&c, "POST /7/1 HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n");
    expect_answer(&c, 200, "{}"); /* who knows how much that is */
    EXPECT_INT(atomic_load(&w.held), 0);
    usleep(1100000); /* the second is over */
    room_ask(&c, 7, 1, "{\"rows\":[]}");
    expect_answer(&c, 200, "rows");
    EXPECT_INT(atomic_load(&w.held), 0);
    client_close(&c);
    myr_http_stop(w.http, 2000);
}

TEST(a_server_that_stops_lets_all_in_and_a_client_that_left_is_forgotten)
{
    room_world w = {0};
    room_start(&w);
    client stays = room_refused(&w, 7), leaves = room_refused(&w, 7);
    atomic_store(&w.is_full, false);
    room_ask(&stays, 7, 1, "{\"rows\":[]}");
    room_ask(&leaves, 7, 2, "{\"rows\":[]}");
    EXPECT(echo_wait(&w.headers, 4));
    EXPECT(room_is_silent(&stays, 50));
    client_close(&leaves);
    myr_http_stop(w.http, 2000);
    expect_answer(&stays, 200, "rows");
    client_close(&stays);
}

TEST(the_room_is_bounded)
{
    struct rlimit files;
    EXPECT(getrlimit(RLIMIT_NOFILE, &files) == 0);
    rlim_t soft = files.rlim_cur;
    if (files.rlim_max < 2 * ROOM_MAX + 200) {
        print_message("needs %d open files\n", 2 * ROOM_MAX + 200);
        skip();
    }
    files.rlim_cur = files.rlim_max;
    EXPECT(setrlimit(RLIMIT_NOFILE, &files) == 0);
    static client clients[ROOM_MAX + 1];
    room_world w = {0};
    room_start(&w);
    int64_t refused_ns = myr_clock_mono_ns();
    for (size_t i = 0; i < MYR_COUNT_OF(clients); i++)
        clients[i] = room_refused(&w, (int)i % 100);
    int64_t start_ns = myr_clock_mono_ns();
    for (size_t i = 0; i < MYR_COUNT_OF(clients); i++)
        room_ask(&clients[i], (int)i % 100, 1, "{\"rows\":[]}");
    EXPECT(echo_wait(&w.headers, 2 * (int64_t)MYR_COUNT_OF(clients)));
    int64_t took_ms = (myr_clock_mono_ns() - start_ns) / 1000000;
    bool came_soon = myr_clock_mono_ns() - refused_ns < MYR_HTTP_RETRY_AFTER_MS * 1000000LL; /* else they may come */
    if (took_ms < WAIT_MS && came_soon) { /* a slow machine: some are over before the last one comes, and make room */
        expect_answer(&clients[ROOM_MAX], 503, "see Retry-After");
        EXPECT(room_is_silent(&clients[ROOM_MAX - 1], 0));
    }
    for (size_t i = 0; i < MYR_COUNT_OF(clients); i++) {
        if (i < ROOM_MAX || took_ms >= WAIT_MS || !came_soon) expect_answer(&clients[i], 503, "");
        client_close(&clients[i]);
    }
    myr_http_stop(w.http, 2000);
    if (came_soon)
        EXPECT(atomic_load(&w.held) >= ROOM_MAX);
    else
        print_message("a slow machine: the first came back when they were told to\n");
    files.rlim_cur = soft;
    setrlimit(RLIMIT_NOFILE, &files);
}

RUN()
