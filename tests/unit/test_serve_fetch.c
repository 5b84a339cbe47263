/* The stage fetch, over a real SQLite store and a server that says nothing: on the loop, where the request sleeps, and
 * on a compute thread. */
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include "import/import.h"
#include "online/online.h"
#include "serve_fixture.h"

#define SCORE "/v1/fleets/oj/score"
#define INFER "/v2/models/oj/infer"
#define ONE   "/v2/models/oj@store=2,brand=1/infer"
#define KEYS(store, brand)                                                                                             \
    "{\"name\":\"store\",\"shape\":[1],\"datatype\":\"INT64\",\"data\":[" store "]},"                                  \
    "{\"name\":\"brand\",\"shape\":[1],\"datatype\":\"INT64\",\"data\":[" brand "]}"

/* Rows of (store, brand): price; written at a time. */
static void store_put(const char *dir, const char *key, const char *json, int64_t written_ms)
{
    char uri[TESTING_PATH_BYTES + 32];
    myr_err err = {0};
    myr_feature_store *store = NULL;
    static const char *const features[] = {"price", "deal"};
    myr_feature_table table = {.features = features, .feature_count = 2};
    table.keys.column_count = 2;
    memcpy(table.keys.columns[0].name, "store", 6);
    memcpy(table.keys.columns[1].name, "brand", 6);
    snprintf(uri, sizeof uri, "sqlite:%s/features.db", dir);
    int64_t until_ns = myr_clock_mono_ns() + 60000000000;
    EXPECT_RC(myr_feature_store_open(uri, true, &store, &err), OK, &err);
    EXPECT_RC(myr_feature_store_define(store, "prices", &table, until_ns, &err), OK, &err);
    myr_feature_put put = {myr_str_of(key), myr_str_of(json)};
    EXPECT_RC(myr_feature_store_put(store, "prices", &put, 1, written_ms, until_ns, &err), OK, &err);
    myr_feature_store_close(store);
}

static void fetch_make(world *w, const char *fetch, const char *rest)
{
    world_make(w);
    store_put(w->dir, "store=2,brand=1", "{\"price\":5,\"deal\":2}", myr_clock_unix_ms());
    store_put(w->dir, "store=3,brand=1", "{\"price\":7,\"deal\":0}", myr_clock_unix_ms() - 7200000);
    snprintf(w->opts.service, sizeof w->opts.service, "%s/s.yaml", w->dir);
    FILE *file = fopen(w->opts.service, "w");
    EXPECT(file != NULL);
    fprintf(file, "fleets:\n  oj:\n    fetch: [{%s}]\n%s", fetch, rest);
    EXPECT(fclose(file) == 0);
}

#define PRICES "from: 'sqlite:features.db', table: prices, keys: [store, brand], features: [price, deal]"

static void expect_fetched(const char *fetch, const char *rest, const exchange *cases, size_t count)
{
    for (int64_t inline_rows = 0; inline_rows <= 256; inline_rows += 256) { /* 0: each goes to a compute thread */
        world w;
        fetch_make(&w, fetch, rest);
        w.opts.inline_rows_max = inline_rows;
        world_serve(&w);
        expect_exchanges(w.port, cases, count);
        world_stop(&w);
    }
}

TEST(what_a_request_leaves_out_is_fetched)
{
    static const exchange cases[] = {
        {"POST", SCORE, "{\"rows\":[{\"store\":2,\"brand\":1}]}", 200, "\"prediction\":16,"},
        /* values of the request win */
        {"POST", SCORE, "{\"rows\":[{\"store\":2,\"brand\":1,\"price\":1}]}", 200, "\"prediction\":12,"},
        {"POST", SCORE, "{\"rows\":[{\"store\":2,\"brand\":1,\"price\":1,\"deal\":0}]}", 200, "\"prediction\":11,"},
        {"POST", SCORE, "{\"rows\":[{\"store\":\"2\",\"brand\":1.0,\"price\":null}]}", 200, "\"prediction\":16,"},
        /* a key that no source has: the default */
        {"POST", SCORE, "{\"rows\":[{\"store\":9,\"brand\":1},{\"store\":2,\"brand\":1},{\"store\":2,\"brand\":1}]}",
         200, "\"prediction\":104,"},
        {"POST", SCORE, "{\"rows\":[{\"store\":9,\"brand\":1},{\"store\":2,\"brand\":1},{\"store\":2,\"brand\":1}]}",
         200,
         "\"prediction\":16,\"model\":\"oj@store=2,brand=1\",\"model_version\":1,\"level\":\"segment\",\"status\":"
         "\"ok\"}]}"},
        {"POST", SCORE, "{\"rows\":[{\"store\":null,\"brand\":1}]}", 200, "\"prediction\":104,"},
        {"POST", SCORE, "{\"rows\":[{\"store\":\"x\",\"brand\":1}]}", 200, "\"status\":\"bad_key\""},
        /* older than max_age */
        {"POST", SCORE, "{\"rows\":[{\"store\":3,\"brand\":1}]}", 200, "\"prediction\":104,"},
        {"POST", INFER, "{\"inputs\":[" KEYS("2", "1") "]}", 200, "\"data\":[16]"},
        {"POST", INFER,
         "{\"inputs\":[" KEYS("2", "1") ",{\"name\":\"deal\",\"shape\":[1],\"datatype\":\"FP32\",\"data\":[0]}]}", 200,
         "\"data\":[15]"},
        {"POST", ONE, "{\"inputs\":[{\"name\":\"deal\",\"shape\":[2],\"datatype\":\"FP64\",\"data\":[0,2]}]}", 200,
         "\"data\":[15,16]"},
        {"POST", "/v2/models/oj@brand=1/infer",
         "{\"inputs\":[{\"name\":\"deal\",\"shape\":[1],\"datatype\":\"FP64\",\"data\":[0]}]}", 200, "\"data\":[104]"},
        {"POST", ONE,
         "{\"inputs\":[{\"name\":\"features\",\"shape\":[2,2],\"datatype\":\"FP64\",\"data\":[1,null,null,0]}]}", 200,
         "\"data\":[12,15]"},
        {"POST", INFER, "{\"inputs\":[{\"name\":\"store\",\"shape\":[1],\"datatype\":\"INT64\",\"data\":[2]}]}", 400,
         "input 'brand' is missing"},
    };
    expect_fetched(PRICES ", max_age: 1h, defaults: {price: 4, deal: 0}", "", cases, MYR_COUNT_OF(cases));
}

TEST(what_a_source_does_not_have)
{
    static const exchange stale[] = {
        {"POST", SCORE, "{\"rows\":[{\"store\":3,\"brand\":1}]}", 200, "\"prediction\":107,"},
    };
    static const exchange reject[] = {
        {"POST", SCORE, "{\"rows\":[{\"store\":9,\"brand\":1},{\"store\":2,\"brand\":1}]}", 200,
         "\"status\":\"rejected\",\"message\":\"'prices' has no row of this key\"},{\"prediction\":16,"},
        {"POST", SCORE, "{\"rows\":[{\"store\":3,\"brand\":1}]}", 200, "'prices' has only an old row of this key"},
        {"POST", SCORE, "{\"rows\":[{\"store\":9,\"brand\":1,\"price\":1,\"deal\":0}]}", 200, "\"prediction\":101,"},
        {"POST", INFER, "{\"inputs\":[" KEYS("9", "1") "]}", 400, "row 0: 'prices' has no row of this key"},
    };
    static const exchange fall[] = {
        {"POST", SCORE, "{\"rows\":[{\"store\":9,\"brand\":1,\"price\":1}]}", 200,
         "\"level\":\"global\",\"status\":\"ok\""},
    };
    expect_fetched(PRICES ", max_age: 1h, on_stale: use", "", stale, MYR_COUNT_OF(stale));
    expect_fetched(PRICES ", max_age: 1h, on_miss: reject", "", reject, MYR_COUNT_OF(reject));
    expect_fetched(PRICES ", on_miss: fallback", "", fall, MYR_COUNT_OF(fall));
}

/* ---- a store that says nothing ---- */

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

static void expect_mute(const char *within, const char *rest, const exchange *cases, size_t count)
{
    for (int64_t inline_rows = 0; inline_rows <= 256; inline_rows += 256) {
        char fetch[256];
        int port;
        world w;
        int fd = mute_listen(&port);
        snprintf(fetch, sizeof fetch,
                 "from: 'redis://127.0.0.1:%d/0', table: prices, keys: [store, brand], features: [price, deal], "
                 "within: %s, defaults: {price: 4, deal: 0}",
                 port, within);
        fetch_make(&w, fetch, rest);
        w.opts.inline_rows_max = inline_rows;
        world_serve(&w);
        expect_exchanges(w.port, cases, count);
        world_stop(&w);
        close(fd);
    }
}

TEST(a_source_that_is_late)
{
    static const exchange defaults[] = {
        {"POST", SCORE, "{\"rows\":[{\"store\":2,\"brand\":1}]}", 200, "\"prediction\":14,"},
        {"POST", SCORE, "{\"rows\":[{\"store\":2,\"brand\":1}]}", 200,
         "\"message\":\"no features of 'prices' in time: "},
        {"POST", SCORE, "{\"rows\":[{\"store\":2,\"brand\":1,\"price\":1,\"deal\":0}]}", 200, "\"status\":\"ok\"}"},
        {"POST", INFER, "{\"inputs\":[" KEYS("2", "1") "]}", 200, "[14]"},
    };
    static const exchange fail[] = {
        {"POST", SCORE, "{\"rows\":[{\"store\":2,\"brand\":1}]}", 504, "features of 'prices': "},
        {"POST", INFER, "{\"inputs\":[" KEYS("2", "1") "]}", 504, "features of 'prices': "},
        {"POST", SCORE, "{\"rows\":[{\"store\":2,\"brand\":1,\"price\":1,\"deal\":0}]}", 200, "\"prediction\":11,"},
    };
    static const exchange deadline[] = {
        {"POST", SCORE, "{\"rows\":[{\"store\":2,\"brand\":1}]}", 504, "the deadline of 50 ms passed"},
    };
    expect_mute("30ms", "", defaults, MYR_COUNT_OF(defaults));
    expect_mute("30ms", "    degrade: {fetch: fail}\n", fail, MYR_COUNT_OF(fail));
    expect_mute("1s", "    deadline: 50ms\n", deadline, MYR_COUNT_OF(deadline));
}

/* Clients that leave while their request sleeps, and a server that stops meanwhile. */
TEST(a_client_that_leaves_its_request_asleep)
{
    char fetch[256];
    int port;
    world w;
    int fd = mute_listen(&port);
    snprintf(fetch, sizeof fetch,
             "from: 'redis://127.0.0.1:%d/0', table: prices, keys: [store, brand], features: [price], within: 300ms",
             port);
    fetch_make(&w, fetch, "");
    world_serve(&w);
    static const char text[] =
        "POST " SCORE " HTTP/1.1\r\nHost: x\r\nContent-Length: 34\r\n\r\n{\"rows\":[{\"store\":2,\"brand\":1  }]}";
    for (int round = 0; round < 3; round++) {
        client clients[8];
        for (size_t i = 0; i < MYR_COUNT_OF(clients); i++) {
            clients[i] = client_open(w.port);
            client_write(&clients[i], text, sizeof text - 1);
        }
        myr_clock_sleep_ms(round * 100);
        for (size_t i = 0; i < MYR_COUNT_OF(clients); i++)
            client_close(&clients[i]);
    }
    fixture_release(w.dir, "oj", oj_models, MYR_COUNT_OF(oj_models), 5); /* what they pinned is let go in the end */
    myr_clock_sleep_ms(600);
    answer a = ask_once(w.port, "POST", SCORE, "{\"rows\":[{\"store\":2,\"brand\":1,\"price\":1,\"deal\":0}]}");
    EXPECT_HAS(a.body, "\"prediction\":16,");
    answer_fini(&a);
    client last = client_open(w.port);
    client_write(&last, text, sizeof text - 1);
    myr_clock_sleep_ms(50);
    world_stop(&w); /* waits for it: it is in flight */
    a = client_read_as(&last, true);
    EXPECT_INT(a.status, 200);
    answer_fini(&a);
    client_close(&last);
    close(fd);
}

TEST(a_source_that_is_wrong_ends_the_start)
{
    static const struct {
        const char *fetch, *message;
    } cases[] = {
        {"from: 'sqlite:features.db', table: other, keys: [store, brand], features: [price]", "other"},
        {"from: 'sqlite:none.db', table: prices, keys: [store, brand], features: [price]", "none.db"},
        {"from: 'sqlite:features.db', table: prices, keys: [store], features: [price]", "prices"},
        {"from: 'mysql:x', table: prices, keys: [store], features: [price]", "mysql"},
        {"from: 'sqlite:features.db', table: prices, keys: [store, brand], features: [prise]", "prise"},
        {"from: 'sqlite:features.db', table: prices, keys: [shop, brand], features: [price]",
         "has the keys [store, brand]"},
        {"from: 'sqlite:features.db', table: prices, keys: [store, brand], features: [price], defaults: {deal: 1}",
         "unknown key 'deal'"},
        {"from: 'sqlite:features.db', table: prices, keys: [store, brand]", "key 'features' is missing"},
        {"from: 'sqlite:features.db', table: prices, keys: [store, brand], features: [price], on_miss: skip",
         "it must be default, reject or fallback"},
    };
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        world w;
        myr_err err = {0};
        fetch_make(&w, cases[i].fetch, "");
        myr_rc rc = myr_server_start(w.dir, &w.opts, &w.server, &err);
        if (rc == MYR_OK) print_error("case %zu was served\n", i);
        EXPECT(rc != MYR_OK);
        EXPECT_HAS(err.message, cases[i].message);
        EXPECT_HAS(err.message, "s.yaml:3:");
    }
}

RUN()
