/* The stage store over a real SQLite file and a database that says nothing: predictions, idempotency keys, stored
 * predictions as the last level. */
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include "import/import.h"
#include "online/online.h"
#include "serve/internal.h"
#include "serve_fixture.h"

#define SCORE "/v1/fleets/oj/score"
#define INFER "/v2/models/oj/infer"
#define ONE   "/v2/models/oj@store=2,brand=1/infer"
#define ROW   "{\"rows\":[{\"store\":2,\"brand\":1,\"price\":1,\"deal\":0}]}"
#define TO    "to: 'sqlite:predictions.db'"

static void store_make(world *w, const char *text)
{
    world_make(w);
    snprintf(w->opts.service, sizeof w->opts.service, "%s/s.yaml", w->dir);
    FILE *file = fopen(w->opts.service, "w");
    EXPECT(file != NULL && fputs(text, file) >= 0 && fclose(file) == 0);
}

static answer ask_with(int port, const char *header, const char *path, const char *body)
{
    client c = client_open(port);
    myr_buf text = {0};
    myr_buf_printf(&text, "POST %s HTTP/1.1\r\nHost: x\r\n%s\r\nContent-Length: %zu\r\n\r\n%s", path, header,
                   strlen(body), body);
    client_write(&c, text.data, text.size);
    myr_buf_fini(&text);
    answer a = client_read_as(&c, true);
    client_close(&c);
    return a;
}

static void expect_reply(int port, const char *header, const char *path, const char *body, int status, const char *part)
{
    answer a = ask_with(port, header, path, body);
    if (a.status != status || strstr(a.body, part) == NULL)
        print_error("%s: %d %s %s\n", header, a.status, a.head, a.body);
    EXPECT_INT(a.status, status);
    EXPECT_HAS(a.body, part);
    answer_fini(&a);
}

/* ---- what is stored ---- */

typedef struct waiter {
    myr_mutex lock;
    myr_cond over;
    bool is_over;
} waiter;

static void waiter_done(void *ctx)
{
    waiter *w = ctx;
    myr_mutex_lock(&w->lock);
    w->is_over = true;
    myr_cond_signal(&w->over);
    myr_mutex_unlock(&w->lock);
}

/* The latest prediction of a key, in the file that a server left. */
static bool stored_value(const char *dir, const char *key, double *out, char *out_id, size_t id_bytes)
{
    char uri[TESTING_PATH_BYTES + 32];
    myr_err err = {0};
    myr_predictions *store = NULL;
    myr_latest *latest = NULL;
    myr_latest_row row;
    waiter w = {.is_over = false};
    myr_mutex_init(&w.lock);
    myr_cond_init(&w.over);
    snprintf(uri, sizeof uri, "sqlite:%s/predictions.db", dir);
    myr_predictions_opts opts = {.uri = uri};
    EXPECT_RC(myr_predictions_open(&opts, &store, &err), OK, &err);
    EXPECT_RC(myr_latest_start(store, myr_str_of("oj"), myr_str_of(key), myr_clock_mono_ns() + 60000000000, waiter_done,
                               &w, &latest, &err),
              OK, &err);
    myr_mutex_lock(&w.lock);
    while (!w.is_over)
        myr_cond_wait(&w.over, &w.lock);
    myr_mutex_unlock(&w.lock);
    EXPECT_RC(myr_latest_result(latest, &row, &err), OK, &err);
    if (row.is_found) *out = row.values[0];
    if (out_id != NULL) snprintf(out_id, id_bytes, MYR_STR_FMT, MYR_STR_ARG(row.request_id));
    bool is_found = row.is_found;
    myr_latest_free(latest);
    myr_predictions_close(store);
    myr_cond_fini(&w.over);
    myr_mutex_fini(&w.lock);
    return is_found;
}

TEST(predictions_are_stored)
{
    static const char *const whens[] = {"before_answer", "after_answer"};
    for (size_t i = 0; i < 4; i++) { /* 2: on compute threads */
        char text[256], id[64];
        double value = 0;
        world w;
        snprintf(text, sizeof text, "fleets: {oj: {store: {" TO ", when: %s}}}\n", whens[i % 2]);
        store_make(&w, text);
        if (i >= 2) w.opts.inline_rows_max = 0;
        world_serve(&w);
        expect_reply(w.port, "X-A: 1", SCORE, ROW, 200, "\"prediction\":11,");
        expect_reply(
            w.port, "X-A: 1", SCORE,
            "{\"rows\":[{\"store\":3,\"brand\":1,\"price\":5,\"deal\":0},{\"store\":null,\"brand\":1,\"price\":5},"
            "{\"store\":\"x\",\"brand\":1}]}",
            200, "\"prediction\":105,");
        expect_reply(w.port, "X-A: 1", ONE,
                     "{\"id\":\"r-1\",\"inputs\":[{\"name\":\"features\",\"shape\":[1,2],\"datatype\":\"FP64\","
                     "\"data\":[7,0]}]}",
                     200, "[17]");
        world_stop(&w); /* what is stored after the answer is stored now */
        EXPECT(stored_value(w.dir, "store=2,brand=1", &value, id, sizeof id));
        EXPECT(value == 17);
        EXPECT_STR(id, "r-1");
        EXPECT(stored_value(w.dir, "store=3,brand=1", &value, NULL, 0));
        EXPECT(value == 105);
        EXPECT(!stored_value(w.dir, "store=9,brand=1", &value, NULL, 0));
    }
}

TEST(a_request_that_comes_again_gets_the_same_answer)
{
    world w;
    store_make(&w, "fleets: {oj: {store: {" TO ", id_is_key: true}}}\n");
    world_serve(&w);
    expect_reply(w.port, "Idempotency-Key: k1", SCORE, ROW, 200, "\"prediction\":11,");
    fixture_release(w.dir, "oj", oj_models, MYR_COUNT_OF(oj_models), 5);
    for (int i = 0; i < 200 && i >= 0; i++) { /* until the new release serves */
        answer a = ask_with(w.port, "X-A: 1", SCORE, ROW);
        if (strstr(a.body, "\"prediction\":16,") != NULL) i = -2;
        answer_fini(&a);
        myr_clock_sleep_ms(20);
    }
    answer a = ask_with(w.port, "Idempotency-Key: k1", SCORE, ROW);
    EXPECT_HAS(a.head, "Idempotency-Replayed: true");
    EXPECT_HAS(a.head, "Content-Type: application/json");
    EXPECT_STR(
        a.body,
        "{\"rows\":[{\"prediction\":11,\"model\":\"oj@store=2,brand=1\",\"model_version\":1,\"level\":\"segment\","
        "\"status\":\"ok\"}]}");
    answer_fini(&a);
    expect_reply(w.port, "Idempotency-Key: k2", SCORE, ROW, 200, "\"prediction\":16,");
    expect_reply(w.port, "Idempotency-Key: k1", SCORE, "{\"rows\":[{\"store\":2,\"brand\":1}]}", 422,
                 "belongs to another request");
    expect_reply(w.port, "Idempotency-Key: k1", SCORE, "{\"rows\":[]}", 200, "{\"rows\":[]}"); /* nothing to repeat */
    expect_reply(w.port, "Idempotency-Key: k1", SCORE "?output=margin", ROW, 422, "belongs to another request");
    expect_reply(w.port, "Idempotency-Key: ", SCORE, ROW, 400, "key");
    /* what fails leaves its key free */
    expect_reply(w.port, "Idempotency-Key: k3", SCORE, "{\"rows\":[{\"store\":1,\"brand\":1,\"price\":\"x\"}]}", 400,
                 "not a number");
    expect_reply(w.port, "Idempotency-Key: k3", SCORE, ROW, 200, "\"prediction\":16,");
    /* V2's id, since the file says so */
    static const char id[] =
        "{\"id\":\"v2\",\"inputs\":[{\"name\":\"features\",\"shape\":[1,2],\"datatype\":\"FP64\",\"data\":[7,0]}]}";
    expect_reply(w.port, "X-A: 1", ONE, id, 200, "[22]");
    a = ask_with(w.port, "X-A: 1", ONE, id);
    EXPECT_HAS(a.head, "Idempotency-Replayed: true");
    EXPECT_HAS(a.body, "[22]");
    answer_fini(&a);
    world_stop(&w);
}

TEST(a_stored_prediction_is_the_last_level)
{
    world w;
    double value = 0;
    store_make(&w, "fleets: {oj: {store: {" TO ", valid: 1d}}}\n");
    world_serve(&w);
    expect_reply(w.port, "X-A: 1", SCORE, "{\"rows\":[{\"store\":7,\"brand\":1,\"price\":1,\"deal\":0}]}", 200,
                 "\"prediction\":101,");
    world_stop(&w);
    FILE *file = fopen(w.opts.service, "w");
    EXPECT(file != NULL);
    fputs("fleets:\n  oj:\n    fallback: [segment, stored]\n    validate: {output: {max: 50, on_violation: fallback}}\n"
          "    store: {" TO "}\n",
          file);
    EXPECT(fclose(file) == 0);
    world_serve(&w);
    /* no model of its own: what was stored, and of when it is; the others are as they were */
    static const char body[] =
        "{\"rows\":[{\"store\":7,\"brand\":1,\"price\":1,\"deal\":0},{\"store\":8,\"brand\":1,\"price\":1,"
        "\"deal\":0},{\"store\":2,\"brand\":1,\"price\":1,\"deal\":0}]}";
    answer a = ask_with(w.port, "X-A: 1", SCORE, body);
    EXPECT_HAS(
        a.body,
        "{\"rows\":[{\"prediction\":101,\"model\":null,\"model_version\":null,\"level\":\"stored\",\"status\":\"ok\","
        "\"from\":\"stored\",\"stale\":false,\"produced_at\":\"");
    EXPECT_HAS(a.body, ",\"release\":1},{\"prediction\":null,\"model\":null,\"model_version\":null,\"level\":\"none\","
                       "\"status\":\"no_model\"},{\"prediction\":11,");
    answer_fini(&a);
    /* its prediction is refused, and no level is left */
    expect_reply(w.port, "X-A: 1", SCORE, "{\"rows\":[{\"store\":2,\"brand\":1,\"price\":90,\"deal\":0}]}", 200,
                 "\"prediction\":11,\"model\":null");
    expect_reply(w.port, "X-A: 1", INFER,
                 "{\"inputs\":[{\"name\":\"store\",\"shape\":[1],\"datatype\":\"INT64\",\"data\":[7]},"
                 "{\"name\":\"brand\",\"shape\":[1],\"datatype\":\"INT64\",\"data\":[1]},"
                 "{\"name\":\"features\",\"shape\":[1,2],\"datatype\":\"FP64\",\"data\":[1,0]}]}",
                 200, "[101]");
    world_stop(&w);
    EXPECT(stored_value(w.dir, "store=7,brand=1", &value, NULL, 0)); /* what was stored is not stored again */
    EXPECT(value == 101);
}

/* Rows past the limit keep the status that they had. */
TEST(how_many_stored_predictions_one_request_reads)
{
    world w;
    myr_buf body = {0};
    size_t stored = 0, without = 0;
    store_make(&w, "fleets: {oj: {store: {" TO "}}}\n");
    myr_buf_puts(&body, "{\"rows\":[");
    for (int i = 0; i <= SERVE_LATEST_MAX; i++)
        myr_buf_printf(&body, "%s{\"store\":%d,\"brand\":7,\"price\":1,\"deal\":0}", i > 0 ? "," : "", i + 100);
    myr_buf_puts(&body, "]}");
    world_serve(&w);
    expect_reply(w.port, "X-A: 1", SCORE, body.data, 200, "\"prediction\":1001,");
    world_stop(&w);
    FILE *file = fopen(w.opts.service, "w");
    EXPECT(file != NULL && fputs("fleets: {oj: {fallback: [segment, stored], store: {" TO "}}}\n", file) >= 0);
    EXPECT(fclose(file) == 0);
    world_serve(&w);
    answer a = ask_with(w.port, "X-A: 1", SCORE, body.data);
    for (const char *at = a.body; (at = strstr(at, "\"level\":\"stored\"")) != NULL; at++)
        stored++;
    for (const char *at = a.body; (at = strstr(at, "\"status\":\"no_model\"")) != NULL; at++)
        without++;
    EXPECT_INT(stored, SERVE_LATEST_MAX);
    EXPECT_INT(without, 1);
    answer_fini(&a);
    myr_buf_fini(&body);
    world_stop(&w);
}

/* As if the requests before had taken an age. */
TEST(models_that_would_be_late_leave_it_to_stored_predictions)
{
    world w;
    store_make(&w, "fleets: {oj: {store: {" TO "}, degrade: {infer: stored}}}\n");
    world_serve(&w);
    expect_reply(w.port, "X-A: 1", SCORE, ROW, 200, "\"prediction\":11,");
    serve_snapshot *snapshot = atomic_load(&w.server->current);
    for (size_t i = 0; i < snapshot->fleet_count; i++)
        atomic_store(&snapshot->fleets[i]->row_ns, INT64_C(1) << 50);
    static const char body[] =
        "{\"rows\":[{\"store\":2,\"brand\":1,\"price\":5,\"deal\":0},{\"store\":4,\"brand\":1,\"price\":5,"
        "\"deal\":0}]}";
    expect_reply(
        w.port, "X-A: 1", SCORE, body, 200,
        "{\"rows\":[{\"prediction\":11,\"model\":null,\"model_version\":null,\"level\":\"stored\",\"status\":\"ok\","
        "\"message\":\"its model would have been too late\",\"from\":\"stored\",\"stale\":true,");
    expect_reply(
        w.port, "X-A: 1", SCORE, body, 200,
        "{\"prediction\":null,\"model\":null,\"model_version\":null,\"level\":\"none\",\"status\":\"unavailable\","
        "\"message\":\"its model would have been too late\"}");
    world_stop(&w);
}

/* ---- a database that says nothing ---- */

static int mute_listen(int *out_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    EXPECT(fd >= 0 && bind(fd, (struct sockaddr *)&address, size) == 0 && listen(fd, 16) == 0);
    EXPECT(getsockname(fd, (struct sockaddr *)&address, &size) == 0);
    *out_port = ntohs(address.sin_port);
    return fd;
}

TEST(a_store_that_is_late)
{
    for (int round = 0; round < 4; round++) {
        char text[512];
        int port;
        world w;
        int fd = mute_listen(&port);
        bool degrades = round % 2 == 1;
        snprintf(text, sizeof text,
                 "fleets:\n  oj:\n    deadline: 300ms\n    store: {to: 'postgresql://a@127.0.0.1:%d/a'}\n%s", port,
                 degrades ? "    degrade: {store: after_answer}\n" : "");
        store_make(&w, text);
        if (round >= 2) w.opts.inline_rows_max = 0;
        world_serve(&w);
        answer a = ask_with(w.port, "X-A: 1", SCORE, ROW);
        EXPECT_INT(a.status, degrades ? 200 : 504);
        EXPECT_HAS(degrades ? a.head : a.body, degrades ? "X-Stored: later" : "the predictions are not stored: ");
        if (degrades) EXPECT_HAS(a.body, "\"prediction\":11,");
        answer_fini(&a);
        expect_reply(w.port, "Idempotency-Key: k", SCORE, ROW, 504, "");
        close(fd);
        world_stop(&w);
    }
}

TEST(what_a_store_may_not_be)
{
    static const struct {
        const char *text, *message;
    } cases[] = {
        {"fleets: {oj: {store: {when: before_answer}}}\n", "key 'to' is missing"},
        {"fleets: {oj: {store: {to: 'redis://127.0.0.1:1/0'}}}\n", "redis"},
        {"fleets: {oj: {store: {to: 'sqlite:no/such/dir.db'}}}\n", "no/such"},
        {"fleets: {oj: {store: {" TO ", when: later}}}\n", "it must be before_answer or after_answer"},
        {"fleets: {oj: {fallback: [global, stored]}}\n", "stored predictions need a 'store' to be read from"},
        {"fleets: {oj: {degrade: {infer: stored}}}\n", "stored predictions need a 'store' to be read from"},
        {"fleets: {oj: {store: {" TO "}, degrade: {store: skip}}}\n", "it must be fail or after_answer"},
    };
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        world w;
        myr_err err = {0};
        store_make(&w, cases[i].text);
        myr_rc rc = myr_server_start(w.dir, &w.opts, &w.server, &err);
        if (rc == MYR_OK) print_error("case %zu was served\n", i);
        EXPECT(rc != MYR_OK);
        EXPECT_HAS(err.message, cases[i].message);
        EXPECT_HAS(err.message, "s.yaml:1:");
    }
}

RUN()
