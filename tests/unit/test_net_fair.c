/* Turns among classes and flows that wait for a compute thread, and how many of each may wait. */
#include "net_client.h"

#define FAIR_ORDER_MAX 64

typedef struct fair_world {
    myr_http_server *http;
    _Atomic bool hold;
    _Atomic int64_t running, count;
    int order[FAIR_ORDER_MAX]; /* of the one compute thread */
} fair_world;

static void fair_run(void *ctx, myr_req *req)
{
    fair_world *w = ctx;
    const myr_str *parts;
    int64_t number = 0;
    MYR_ASSERT(myr_req_segments(req, &parts) == 3 && myr_parse_int64(parts[2], &number));
    atomic_fetch_add(&w->running, 1);
    while (atomic_load(&w->hold))
        usleep(1000);
    int64_t at = atomic_fetch_add(&w->count, 1);
    if (at < FAIR_ORDER_MAX) w->order[at] = (int)number;
    myr_req_reply(req, 200, "text/plain", "ok", 2);
}

/* /class/flow/number */
static void fair_handler(void *ctx, myr_req *req)
{
    const myr_str *parts;
    int64_t class = 0, flow = 0;
    (void)ctx;
    MYR_ASSERT(myr_req_segments(req, &parts) == 3 && myr_parse_int64(parts[0], &class) &&
               myr_parse_int64(parts[1], &flow));
    myr_req_set_flow(req, (uint64_t) class, (uint64_t)flow);
    myr_req_defer(req, fair_run);
}

static void fair_start(fair_world *w, int64_t queue_max)
{
    myr_err err = {0};
    echo unused = {0};
    myr_http_opts opts = echo_opts(&unused);
    opts.loop_count = opts.compute_count = 1;
    opts.queue_max = queue_max;
    opts.handler = fair_handler;
    opts.make_loop_state = NULL;
    opts.free_loop_state = NULL;
    opts.on_done = NULL;
    opts.ctx = w;
    EXPECT_RC(myr_http_start(&opts, &w->http, &err), OK, &err);
}

static client fair_ask(const fair_world *w, int class, int flow, int number)
{
    char text[128];
    client c = client_open(myr_http_port(w->http));
    snprintf(text, sizeof text, "GET /%d/%d/%d HTTP/1.1\r\nHost: x\r\n\r\n", class, flow, number);
    client_puts(&c, text);
    usleep(20000); /* so that they come in this order */
    return c;
}

/* One after the other, once the thread is held by the first. */
static void fair_ask_all(fair_world *w, client *clients, const int (*asks)[2], int count)
{
    atomic_store(&w->hold, true);
    clients[0] = fair_ask(w, asks[0][0], asks[0][1], 0);
    EXPECT(echo_wait(&w->running, 1));
    for (int i = 1; i < count; i++)
        clients[i] = fair_ask(w, asks[i][0], asks[i][1], i);
}

static void fair_finish(fair_world *w, client *clients, const int *statuses, int count)
{
    atomic_store(&w->hold, false);
    for (int i = 0; i < count; i++) {
        answer a = client_read(&clients[i]);
        if (a.status != statuses[i]) print_error("request %d: %d, wanted %d\n", i, a.status, statuses[i]);
        EXPECT_INT(a.status, statuses[i]);
        answer_fini(&a);
        client_close(&clients[i]);
    }
    myr_http_stop(w->http, 2000);
}

TEST(classes_take_turns_and_flows_within_them)
{
    /* Class 1 floods with flow 1; its flow 2 and classes 2 and 3 have one each, and came last. */
    static const int asks[][2] = {{1, 1}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, {1, 1}, {1, 2}, {2, 1}, {3, 1}};
    static const int statuses[] = {200, 200, 200, 200, 200, 200, 200, 200, 200};
    static fair_world w;
    client clients[MYR_COUNT_OF(asks)];
    fair_start(&w, 64);
    fair_ask_all(&w, clients, asks, MYR_COUNT_OF(asks));
    fair_finish(&w, clients, statuses, MYR_COUNT_OF(asks));
    EXPECT_INT(atomic_load(&w.count), MYR_COUNT_OF(asks));
    static const int wanted[] = {0, 7, 8, 6, 1, 2, 3, 4, 5};
    for (size_t i = 0; i < MYR_COUNT_OF(wanted); i++)
        EXPECT_INT(w.order[i], wanted[i]);
}

TEST(a_class_fills_half_of_the_queue_and_a_flow_a_quarter)
{
    /* queue 8: a flow may have 2 waiting, a class 4 */
    static const int asks[][2] = {{1, 1}, {1, 1}, {1, 1}, {1, 1}, {1, 2}, {1, 2},
                                  {1, 3}, {2, 1}, {0, 0}, {0, 0}, {0, 0}};
    static const int statuses[] = {200, 200, 200, 503, 200, 200, 503, 200, 200, 200, 200};
    static fair_world w;
    client clients[MYR_COUNT_OF(asks)];
    fair_start(&w, 8);
    fair_ask_all(&w, clients, asks, MYR_COUNT_OF(asks));
    fair_finish(&w, clients, statuses, MYR_COUNT_OF(asks));
}

RUN()
