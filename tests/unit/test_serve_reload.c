/* Snapshots: releases that change under load, packs that can't be opened, fleets that appear, memory of a warm request.
 */
#include "import/import.h"
#include "serve_fixture.h"

#define LOAD_THREADS 8
#define PROMOTIONS   60

typedef struct load {
    int port;
    _Atomic bool stop;
    _Atomic int64_t answers, failures, of_release[3];
} load;

/* Score until told to stop. Each answer must be wholly of one of the two releases: 11 and 101 of 1, 12 and 102 of 2. */
static void *load_main(void *arg)
{
    load *l = arg;
    static const char body[] = "{\"inputs\":[{\"name\":\"store\",\"shape\":[2],\"datatype\":\"INT64\",\"data\":[2,3]},"
                               "{\"name\":\"brand\",\"shape\":[2],\"datatype\":\"INT64\",\"data\":[1,1]},"
                               "{\"name\":\"features\",\"shape\":[2,2],\"datatype\":\"FP64\",\"data\":[0.5,1,0.5,1]}]}";
    char request[512], sink[4096];
    int n = snprintf(request, sizeof request,
                     "POST /v2/models/oj/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s", sizeof body - 1,
                     body);
    client c = client_open(l->port);
    while (!atomic_load(&l->stop)) {
        ssize_t got = 0;
        bool sent = client_write(&c, request, (size_t)n);
        while (sent && got < (ssize_t)sizeof sink - 1) {
            ssize_t more = recv(c.fd, sink + got, sizeof sink - 1 - (size_t)got, 0);
            if (more <= 0) break;
            got += more;
            sink[got] = '\0';
            if (strstr(sink, "]}]}") != NULL || strstr(sink, "\"error\"") != NULL) break;
        }
        int release = 0;
        if (strstr(sink, "\"model_version\":\"1\"") != NULL && strstr(sink, "\"data\":[11,101]") != NULL) release = 1;
        if (strstr(sink, "\"model_version\":\"2\"") != NULL && strstr(sink, "\"data\":[12,102]") != NULL) release = 2;
        if (got == 0 || release == 0) {
            atomic_fetch_add(&l->failures, 1);
            break;
        }
        atomic_fetch_add(&l->of_release[release], 1);
        atomic_fetch_add(&l->answers, 1);
    }
    client_close(&c);
    return NULL;
}

TEST(promoting_under_load_fails_nothing)
{
    world w;
    world_make(&w);
    fixture_release(w.dir, "oj", oj_models, MYR_COUNT_OF(oj_models), 1); /* release 2 */
    w.opts.reload_ms = 10;
    w.opts.inline_rows_max = 1; /* two rows: half of the work goes through compute threads */
    world_serve(&w);
    load l = {.port = w.port};
    myr_thread threads[LOAD_THREADS];
    for (int i = 0; i < LOAD_THREADS; i++) {
        EXPECT_RC(myr_thread_start(&threads[i], "load", load_main, &l, NULL), OK, NULL);
    }
    for (int i = 0; i < PROMOTIONS; i++) {
        fixture_promote(w.dir, "oj", 1 + i % 2);
        usleep(25000);
    }
    atomic_store(&l.stop, true);
    for (int i = 0; i < LOAD_THREADS; i++)
        myr_thread_join(threads[i]);
    EXPECT_INT(l.failures, 0);
    EXPECT(l.of_release[1] > 0 && l.of_release[2] > 0);
    answer a = ask_once(w.port, "GET", "/metrics", NULL);
    const char *reloads = strstr(a.body, "\nmyriad_reloads_total ");
    EXPECT(reloads != NULL && strtol(reloads + 22, NULL, 10) > PROMOTIONS / 4);
    answer_fini(&a);
    world_stop(&w);
}

/* Wait until GET path has `part` in its answer. */
static bool sees(int port, const char *path, const char *part)
{
    for (int i = 0; i < 500; i++) {
        answer a = ask_once(port, "GET", path, NULL);
        bool found = a.body != NULL && strstr(a.body, part) != NULL;
        answer_fini(&a);
        if (found) return true;
        usleep(10000);
    }
    return false;
}

TEST(a_pack_that_cannot_be_opened_keeps_the_old_release)
{
    world w;
    world_start(&w);
    fixture_release(w.dir, "oj", oj_models, MYR_COUNT_OF(oj_models), 1);
    EXPECT(sees(w.port, "/v2/models/oj", "\"versions\":[\"2\"]"));
    fixture_promote(w.dir, "oj", 1);
    EXPECT(sees(w.port, "/v2/models/oj", "\"versions\":[\"1\"]"));
    char path[TESTING_PATH_BYTES + 64], away[TESTING_PATH_BYTES + 64];
    snprintf(path, sizeof path, "%s/packs/oj/r2.index", w.dir);
    snprintf(away, sizeof away, "%s/packs/oj/away", w.dir);
    EXPECT(rename(path, away) == 0);
    fixture_force(w.dir, "oj", 2);
    EXPECT(sees(w.port, "/metrics", "myriad_reload_failures_total 2")); /* tried again */
    EXPECT(sees(w.port, "/v2/models/oj", "\"versions\":[\"1\"]"));
    answer a = ask_once(w.port, "POST", "/v1/fleets/oj/score",
                        "{\"rows\":[{\"store\":2,\"brand\":1,\"price\":0.5,\"deal\":1}]}");
    EXPECT_HAS(a.body, "\"prediction\":11");
    answer_fini(&a);
    EXPECT(rename(away, path) == 0); /* mended: no other change is needed */
    EXPECT(sees(w.port, "/v2/models/oj", "\"versions\":[\"2\"]"));
    world_stop(&w);
}

TEST(a_new_fleet_appears)
{
    world w;
    world_start(&w);
    EXPECT(sees(w.port, "/v2/models/new", "unknown model"));
    fixture_release(w.dir, "new", oj_models, MYR_COUNT_OF(oj_models), 0);
    EXPECT(sees(w.port, "/v2/models/new", "\"name\":\"new\""));
    EXPECT_INT(myr_server_fleet_count(w.server), 3);
    world_stop(&w);
}

/* With a warm connection, a warm thread and no reload in between, a request makes no allocation of ours. */
TEST(a_warm_request_allocates_nothing)
{
    static const char *const bodies[] = {
        "{\"inputs\":[{\"name\":\"features\",\"shape\":[1,2],\"datatype\":\"FP64\",\"data\":[0.5,1]}]}",
        "{\"rows\":[{\"store\":2,\"brand\":1,\"price\":0.5,\"deal\":1}]}"};
    static const char *const paths[] = {"/v2/models/oj@store=2,brand=1/infer", "/v1/fleets/oj/score"};
    world w;
    world_make(&w);
    w.opts.loops = 1;
    w.opts.reload_ms = 3600000;
    world_serve(&w);
    client c = client_open(w.port);
    for (size_t way = 0; way < MYR_COUNT_OF(paths); way++) {
        char request[512], sink[4096];
        int n = snprintf(request, sizeof request, "POST %s HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n\r\n%s",
                         paths[way], strlen(bodies[way]), bodies[way]);
        int64_t before = 0;
        for (int i = 0; i < 300; i++) {
            if (i == 200) before = myr_mem_alloc_count();
            EXPECT(client_write(&c, request, (size_t)n));
            ssize_t got = recv(c.fd, sink, sizeof sink - 1, 0);
            EXPECT(got > 0);
            sink[got] = '\0';
            EXPECT_HAS(sink, "11");
        }
        usleep(20000);
        int64_t made = myr_mem_alloc_count() - before;
        if (made != 0) print_error("%s: %lld allocations in 100 requests\n", paths[way], (long long)made);
        EXPECT_INT(made, 0);
    }
    client_close(&c);
    world_stop(&w);
}

TEST(stop_under_load)
{
    for (int i = 0; i < 5; i++) {
        world w;
        world_start(&w);
        load l = {.port = w.port};
        myr_thread threads[4];
        for (int k = 0; k < 4; k++)
            EXPECT_RC(myr_thread_start(&threads[k], "load", load_main, &l, NULL), OK, NULL);
        usleep(50000);
        world_stop(&w);
        atomic_store(&l.stop, true);
        for (int k = 0; k < 4; k++)
            myr_thread_join(threads[k]);
        EXPECT(l.answers > 0);
        testing_reset(NULL); /* the workspace of this round */
    }
}

RUN()
