/* V2 over gRPC with a raw client: what a warm ModelInfer costs, and many clients while releases move. */
#include "import/import.h"
#include "rpc_client.h"
#include "serve_fixture.h"

#define INFER  "/inference.GRPCInferenceService/ModelInfer"
#define RACERS 3

static void rpc_world(world *w)
{
    world_make(w);
    snprintf(w->opts.grpc_listen, sizeof w->opts.grpc_listen, "127.0.0.1:0");
    w->opts.model_control = true;
}

/* A request of oj for rows of one store and brand, features as a matrix. */
static void put_request(myr_buf *out, const char *model, uint32_t row_count)
{
    const char *names[] = {"store", "brand", "features"};
    const int64_t store = 2, brand = 1;
    const double row[] = {0.5, 3.0};
    myr_pb_put_text(out, 1, model);
    for (int i = 0; i < 3; i++) {
        const int64_t shape[] = {row_count, 2};
        size_t mark = myr_pb_begin(out, 5);
        myr_pb_put_text(out, 1, names[i]);
        myr_pb_put_text(out, 2, i < 2 ? "INT64" : "FP64");
        myr_pb_put_packed(out, 3, shape, i < 2 ? 1 : 2);
        myr_pb_end(out, mark);
    }
    for (int i = 0; i < 3; i++) {
        myr_pb_put_size(out, 7, row_count * (i < 2 ? sizeof store : sizeof row));
        for (uint32_t k = 0; k < row_count; k++)
            myr_buf_append(out,
                           i == 0   ? (const void *)&store
                           : i == 1 ? (const void *)&brand
                                    : (const void *)row,
                           i < 2 ? sizeof store : sizeof row);
    }
}

/* The bytes of a call with this message. */
static void put_call(myr_buf *out, int stream, const char *path, const myr_buf *message)
{
    MYR_AUTO(myr_buf) head = {0}, body = {0};
    h2_head(&head, path, NULL);
    h2_prefix(&body, 0, (uint32_t)message->size);
    if (message->size > 0) myr_buf_append(&body, message->data, message->size);
    h2_put(out, NGHTTP2_HEADERS, H2_END_HEADERS, stream, head.data, head.size);
    h2_put(out, NGHTTP2_DATA, H2_END_STREAM, stream, body.data, body.size);
}

/* The first prediction of an answer, and its release. */
static double answer_value(const h2_answer *a, int64_t *out_release)
{
    myr_pb pb;
    myr_pb_field field;
    double value = (double)NAN;
    EXPECT(a->data.size > 5);
    myr_pb_init(&pb, a->data.data + 5, a->data.size - 5);
    while (myr_pb_next(&pb, &field)) {
        if (field.number == 2) EXPECT(myr_parse_int64(myr_str_make((const char *)field.data, field.size), out_release));
        if (field.number == 6) memcpy(&value, field.data, sizeof value);
    }
    EXPECT(pb.fault == NULL);
    return value;
}

TEST(a_warm_infer_allocates_nothing)
{
    world w;
    rpc_world(&w);
    w.opts.loops = 1;
    world_serve(&w);
    h2 h = h2_open(myr_server_grpc_port(w.server));
    MYR_IGNORE(h2_more(&h, 1000));
    MYR_AUTO(myr_buf) request = {0};
    myr_buf calls[200] = {0};
    int64_t before = 0;
    put_request(&request, "oj", 3);
    for (int i = 0; i < 200; i++)
        put_call(&calls[i], i * 2 + 1, INFER, &request);
    for (int i = 0; i < 200; i++) {
        if (i == 100) {
            usleep(100000); /* the reloader has looked: it allocates, and sleeps again for long */
            before = myr_mem_alloc_count();
        }
        EXPECT(client_write(&h.c, calls[i].data, calls[i].size));
        struct pollfd wait = {.fd = h.c.fd, .events = POLLIN};
        char sink[4096];
        EXPECT(poll(&wait, 1, CLIENT_WAIT_MS) == 1 && recv(h.c.fd, sink, sizeof sink, 0) > 0);
    }
    EXPECT_INT(myr_mem_alloc_count() - before, 0);
    for (int i = 0; i < 200; i++)
        myr_buf_fini(&calls[i]);
    h2_close(&h);
    world_stop(&w);
}

typedef struct racer {
    world *w;
    _Atomic bool *stop;
    int64_t answers;
} racer;

/* Answers are those of one release or the other, whole; rows go over the loop and over compute threads. */
static void *racer_main(void *arg)
{
    racer *r = arg;
    MYR_AUTO(myr_buf) few = {0}, many = {0};
    put_request(&few, "oj", 2);
    put_request(&many, "oj", 300);
    while (!atomic_load(r->stop)) {
        h2 h = h2_open(myr_server_grpc_port(r->w->server));
        for (int stream = 1; stream < 100; stream += 2) {
            MYR_AUTO(myr_buf) call = {0};
            int64_t release = 0;
            put_call(&call, stream, INFER, stream % 8 == 1 ? &many : &few);
            client_write(&h.c, call.data, call.size);
            expect_status(&h, stream, 0, "");
            double value = answer_value(h2_of(&h, stream), &release);
            EXPECT(value == (release == 1 ? 12.0 : 17.0));
            r->answers++;
        }
        h2_close(&h);
    }
    return NULL;
}

TEST(releases_move_under_load)
{
    world w;
    rpc_world(&w);
    world_serve(&w);
    fixture_release(w.dir, "oj", oj_models, MYR_COUNT_OF(oj_models), 5);
    _Atomic bool stop = false;
    racer racers[RACERS];
    myr_thread threads[RACERS];
    for (int i = 0; i < RACERS; i++) {
        racers[i] = (racer){&w, &stop, 0};
        EXPECT_RC(myr_thread_start(&threads[i], "racer", racer_main, &racers[i], NULL), OK, NULL);
    }
    for (int i = 0; i < 10; i++) {
        fixture_promote(w.dir, "oj", 1 + i % 2);
        usleep(60000);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < RACERS; i++) {
        myr_thread_join(threads[i]);
        EXPECT(racers[i].answers > 0);
    }
    world_stop(&w);
}

/* Every prefix of a request, as a message of its own: an answer or a status, and the server goes on. */
TEST(cut_requests_are_refused)
{
    world w;
    rpc_world(&w);
    world_serve(&w);
    MYR_AUTO(myr_buf) request = {0};
    put_request(&request, "oj", 1);
    h2 h = h2_open(myr_server_grpc_port(w.server));
    int stream = 1;
    for (size_t size = 0; size <= request.size; size++, stream += 2) {
        MYR_AUTO(myr_buf) call = {0}, cut = {0};
        if (size > 0) myr_buf_append(&cut, request.data, size);
        put_call(&call, stream, INFER, &cut);
        client_write(&h.c, call.data, call.size);
        h2_answer *a = h2_wait(&h, stream);
        EXPECT(size == request.size ? a->grpc == 0 : a->grpc == 3 || a->grpc == 5);
        EXPECT(a->grpc == 0 || a->message[0] != '\0');
    }
    h2_close(&h);
    world_stop(&w);
}

static void *stopper_main(void *arg)
{
    world_stop(arg);
    return NULL;
}

/* A call whose message does not come takes nothing of REST's time to end: both began to stop at once. */
TEST(a_slow_call_does_not_keep_rest_from_ending)
{
    world w;
    rpc_world(&w);
    snprintf(w.opts.admin_listen, sizeof w.opts.admin_listen, "127.0.0.1:0");
    w.opts.drain_ms = CLIENT_WAIT_MS;
    world_serve(&w);
    h2 slow = h2_open(myr_server_grpc_port(w.server));
    h2_headers(&slow, 1, INFER, NULL, 0);
    client clients[] = {client_open(w.port), client_open(myr_server_admin_port(w.server))};
    for (size_t i = 0; i < MYR_COUNT_OF(clients); i++) {
        answer a = ask(&clients[i], "GET", "/v2", NULL);
        EXPECT_INT(a.status, 200);
        EXPECT(strstr(a.head, "onnection: close") == NULL);
        answer_fini(&a);
    }
    myr_thread thread;
    EXPECT_RC(myr_thread_start(&thread, "stop", stopper_main, &w, NULL), OK, NULL);
    while (slow.goaways == 0 && h2_more(&slow, CLIENT_WAIT_MS)) {
    }
    EXPECT_INT(slow.goaways, 1);
    for (size_t i = 0; i < MYR_COUNT_OF(clients); i++) {
        answer a = ask(&clients[i], "GET", "/v2", NULL);
        EXPECT_INT(a.status, 200);
        EXPECT_HAS(a.head, "onnection: close");
        answer_fini(&a);
        client_close(&clients[i]);
    }
    client more = client_open(w.port);
    answer a = ask(&more, "GET", "/v2", NULL);
    EXPECT_INT(a.status, 0);
    answer_fini(&a);
    client_close(&more);
    h2_close(&slow);
    myr_thread_join(thread);
}

TEST(the_limit_of_an_address_holds_for_grpc)
{
    world w;
    rpc_world(&w);
    w.opts.address_connections_max = 1;
    world_serve(&w);
    MYR_AUTO(myr_buf) request = {0}, call = {0};
    put_request(&request, "oj", 1);
    put_call(&call, 1, INFER, &request);
    h2 first = h2_open(myr_server_grpc_port(w.server));
    client_write(&first.c, call.data, call.size);
    EXPECT_INT(h2_wait(&first, 1)->grpc, 0);
    h2 second = h2_open(myr_server_grpc_port(w.server));
    client_write(&second.c, call.data, call.size);
    EXPECT_INT(h2_wait(&second, 1)->grpc, -1);
    EXPECT(second.is_closed);
    h2_close(&second);
    h2_close(&first);
    world_stop(&w);
}

RUN()
