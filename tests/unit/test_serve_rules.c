/* The stage rules on a real server: a warm request takes nothing from the heap; many clients at once; a script swapped.
 */
#include "import/import.h"
#include "serve_fixture.h"

#define ROW_BODY "{\"rows\":[{\"store\":2,\"brand\":1,\"price\":1,\"deal\":0}]}"

static void rules_world(world *w, const char *script)
{
    static const char service[] = "fleets: {oj: {rules: rules.lua, deadline: 10s}}\n";
    char path[TESTING_PATH_BYTES + 16];
    world_make(w);
    snprintf(path, sizeof path, "%s/rules.lua", w->dir);
    EXPECT_RC(myr_file_write(path, script, strlen(script), NULL), OK, NULL);
    snprintf(w->opts.service, sizeof w->opts.service, "%s/s.yaml", w->dir);
    EXPECT_RC(myr_file_write(w->opts.service, service, sizeof service - 1, NULL), OK, NULL);
}

TEST(a_warm_request_with_rules_needs_no_heap)
{
    static const char request[] = "POST /v1/fleets/oj/score HTTP/1.1\r\nHost: x\r\nContent-Length: 51\r\n\r\n" ROW_BODY;
    _Static_assert(sizeof ROW_BODY - 1 == 51, "Content-Length");
    char sink[4096];
    world w;
    rules_world(&w, "local floor = {[1] = 12}\n"
                    "function run(row, p)\n"
                    "  p.fields.band = 'low'; p.fields.seen = true\n"
                    "  p.value = math.max(p.value, floor[row.brand] or 0)\n"
                    "end");
    w.opts.loops = 1;
    w.opts.reload_ms = 3600000; /* the reloader's own looks at the files are not counted */
    world_serve(&w);
    client c = client_open(w.port);
    int64_t before = 0;
    for (int i = 0; i < 400; i++) {
        if (i == 200) before = myr_mem_alloc_count();
        EXPECT(client_puts(&c, request));
        size_t size = 0;
        do { /* read without allocating */
            ssize_t got = recv(c.fd, sink + size, sizeof sink - 1 - size, 0);
            EXPECT(got > 0);
            size += (size_t)got;
            sink[size] = '\0';
        } while (strstr(sink, "}]}") == NULL);
        EXPECT_HAS(sink, "\"prediction\":12,");
        EXPECT_HAS(sink, "\"band\":\"low\",\"seen\":true}");
    }
    EXPECT_INT(myr_mem_alloc_count() - before, 0);
    client_close(&c);
    world_stop(&w);
}

typedef struct rules_client {
    int port;
    _Atomic int *wrong;
    _Atomic bool *stop;
} rules_client;

static void *rules_client_body(void *arg)
{
    rules_client *r = arg;
    client c = client_open(r->port);
    while (!atomic_load(r->stop)) {
        answer a = ask(&c, "POST", "/v1/fleets/oj/score", ROW_BODY);
        bool is_good = a.status == 200 && (strstr(a.body, "\"prediction\":1,") || strstr(a.body, "\"prediction\":2,"));
        if (!is_good) atomic_fetch_add(r->wrong, 1);
        answer_fini(&a);
    }
    client_close(&c);
    return NULL;
}

TEST(a_script_is_swapped_under_load)
{
    static const char *const texts[] = {"function run() return 1 end", "function run(", "function run() return 2 end"};
    enum { CLIENTS = 4, SWAPS = 12 };
    world w;
    char path[TESTING_PATH_BYTES + 16];
    _Atomic int wrong = 0;
    _Atomic bool stop = false;
    rules_client clients[CLIENTS];
    myr_thread threads[CLIENTS];
    rules_world(&w, texts[0]);
    w.opts.reload_ms = 10;
    world_serve(&w);
    snprintf(path, sizeof path, "%s/rules.lua", w.dir);
    myr_log_set_level(MYR_LOG_OFF);
    for (int i = 0; i < CLIENTS; i++) {
        clients[i] = (rules_client){w.port, &wrong, &stop};
        EXPECT_RC(myr_thread_start(&threads[i], "client", rules_client_body, &clients[i], NULL), OK, NULL);
    }
    for (int i = 0; i < SWAPS; i++) {
        const char *text = texts[i % MYR_COUNT_OF(texts)];
        EXPECT_RC(myr_file_write(path, text, strlen(text), NULL), OK, NULL);
        usleep(60000);
    }
    atomic_store(&stop, true);
    for (int i = 0; i < CLIENTS; i++)
        myr_thread_join(threads[i]);
    EXPECT_INT(atomic_load(&wrong), 0);
    const exchange last[] = {{"POST", "/v1/fleets/oj/score", ROW_BODY, 200, "\"prediction\":2,"}};
    expect_exchanges(w.port, last, 1);
    myr_log_set_level(MYR_LOG_INFO);
    world_stop(&w);
}

RUN()
