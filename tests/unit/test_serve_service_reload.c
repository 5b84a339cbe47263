/* The service file, read again: whole or not at all, under load; what does not change is not touched. */
#include <unistd.h>

#include "import/import.h"
#include "serve/reload.h"
#include "serve_fixture.h"

#define LOAD_THREADS 6
#define FILES        24
#define SCORE        "/v1/fleets/oj/score"
/* store=2,brand=1 is 10 + price + deal / 2. A clamps price to 1 and adds 100: 111. B to 2 and 200: 212. */
#define ROW  "{\"rows\":[{\"store\":2,\"brand\":1,\"price\":5,\"deal\":0}]}"
#define OF_A "\"prediction\":111,"
#define OF_B "\"prediction\":212,"

static void write_file(const char *dir, const char *name, const char *text)
{
    char path[TESTING_PATH_BYTES + 32];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    EXPECT_RC(myr_file_write(path, text, strlen(text), NULL), OK, NULL);
}

static const char *file_of(bool is_a)
{
    return is_a ? "fleets:\n  oj:\n    validate: {inputs: {price: {max: 1, on_violation: clamp}}}\n    rules: a.lua\n"
                  "    store: {to: 'sqlite:a.db'}\n  city: {deadline: 50s}\n"
                : "fleets:\n  oj:\n    validate: {inputs: {price: {max: 2, on_violation: clamp}}}\n    rules: b.lua\n"
                  "    store: {to: 'sqlite:b.db', valid: 1d}\n  city: {deadline: 50s}\n";
}

static void files_make(world *w)
{
    world_make(w);
    write_file(w->dir, "a.lua", "function run(row, p) p.value = p.value + 100 end");
    write_file(w->dir, "b.lua", "function run(row, p) p.value = p.value + 200 end");
    write_file(w->dir, "s.yaml", file_of(true));
    snprintf(w->opts.service, sizeof w->opts.service, "%s/s.yaml", w->dir);
}

/* As SIGHUP does. */
static void reload(world *w, myr_buf *out)
{
    myr_buf_clear(out);
    myr_server_reload(w->server, &w->opts, out);
    if (out->data == NULL) myr_buf_puts(out, "");
    EXPECT_RC(myr_buf_check(out, NULL), OK, NULL);
}

static void expect_reply(world *w, const char *path, const char *body, const char *part)
{
    answer a = ask_once(w->port, body != NULL ? "POST" : "GET", path, body);
    EXPECT_HAS(a.body, part);
    answer_fini(&a);
}

static serve_fleet *fleet_now(const world *w, const char *name)
{
    return myr_serve_snapshot_find(atomic_load(&w->server->current), myr_str_of(name));
}

typedef struct load {
    int port;
    _Atomic bool stop;
    _Atomic int64_t of_a, of_b, failures;
} load;

static void *load_main(void *arg)
{
    load *l = arg;
    client c = client_open(l->port);
    while (!atomic_load(&l->stop)) {
        answer a = ask(&c, "POST", SCORE, ROW);
        bool is_a = a.status == 200 && strstr(a.body, OF_A) != NULL,
             is_b = a.status == 200 && strstr(a.body, OF_B) != NULL;
        if (!is_a && !is_b && atomic_fetch_add(&l->failures, 1) == 0) print_error("%d %s\n", a.status, a.body);
        atomic_fetch_add(is_a ? &l->of_a : &l->of_b, 1);
        answer_fini(&a);
    }
    client_close(&c);
    return NULL;
}

TEST(no_request_fails_or_sees_half_of_each)
{
    world w;
    MYR_AUTO(myr_buf) diff = {0};
    files_make(&w);
    world_serve(&w);
    load l = {.port = w.port};
    myr_thread threads[LOAD_THREADS];
    for (int i = 0; i < LOAD_THREADS; i++)
        EXPECT_RC(myr_thread_start(&threads[i], "load", load_main, &l, NULL), OK, NULL);
    for (int i = 0; i < FILES; i++) {
        bool is_bad = i % 3 == 2;
        write_file(w.dir, "s.yaml", is_bad ? "fleets: {oj: {rules: none.lua}}\n" : file_of(i % 2 == 1));
        reload(&w, &diff);
        EXPECT((strstr(diff.data, "not taken") != NULL) == is_bad);
        usleep(10000);
    }
    atomic_store(&l.stop, true);
    for (int i = 0; i < LOAD_THREADS; i++)
        myr_thread_join(threads[i]);
    EXPECT_INT(l.failures, 0);
    EXPECT(l.of_a > 0 && l.of_b > 0);
    world_stop(&w);
}

TEST(a_file_that_does_not_fit_changes_nothing)
{
    static const struct {
        const char *text, *said;
    } bad[] = {
        {"fleets: [\n", "s.yaml:"},
        {"fleets: {oj: {deadlin: 1s}}\n", "did you mean 'deadline'"},
        {"region: 'no name'\n", "no name of a region"},
        {"fleets: {oj: {validate: {inputs: {prise: {max: 1}}}}}\n", "did you mean 'price'"},
        {"fleets: {oj: {rules: none.lua}}\n", "none.lua"},
        {"fleets: {oj: {store: {to: 'sqlite:none/none.db'}}}\n", "none.db"},
        /* One that fits does not count when another does not. */
        {"fleets: {city: {deadline: 1s}, oj: {groups: ['shop=1']}}\n", "shop"},
    };
    world w;
    MYR_AUTO(myr_buf) diff = {0};
    files_make(&w);
    world_serve(&w);
    const serve_fleet *oj = fleet_now(&w, "oj");
    for (size_t i = 0; i < MYR_COUNT_OF(bad); i++) {
        write_file(w.dir, "s.yaml", bad[i].text);
        reload(&w, &diff);
        EXPECT_HAS(diff.data, "not taken, the earlier one goes on");
        EXPECT_HAS(diff.data, bad[i].said);
        expect_reply(&w, SCORE, ROW, OF_A);
        expect_reply(&w, "/v1/service-file", NULL, bad[i].said);
    }
    EXPECT(fleet_now(&w, "oj") == oj);
    expect_reply(&w, "/metrics", NULL, "myriad_service_file_is_refused 1");
    expect_reply(&w, "/metrics", NULL, "myriad_service_files_total{result=\"refused\"} 7");
    write_file(w.dir, "s.yaml", file_of(true)); /* as it was: that is what is in force */
    reload(&w, &diff);
    EXPECT_STR(diff.data, "");
    expect_reply(&w, "/v1/service-file", NULL, "\"refused\":null");
    expect_reply(&w, "/metrics", NULL, "myriad_service_file_is_refused 0");
    EXPECT(fleet_now(&w, "oj") == oj);
    world_stop(&w);
}

/* Whether this process has a file open whose name ends so. */
static bool is_open(const char *name)
{
    for (int fd = 0; fd < 1024; fd++) {
        char link[32], path[TESTING_PATH_BYTES + 32];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        ssize_t size = readlink(link, path, sizeof path - 1);
        path[size > 0 ? size : 0] = '\0';
        if (size > 0 && myr_str_ends_with(myr_str_of(path), name)) return true;
    }
    return false;
}

static void wait_closed(const char *name)
{
    for (int i = 0; i < 500 && is_open(name); i++)
        usleep(10000);
    EXPECT(!is_open(name));
}

TEST(what_is_said_as_before_is_not_touched)
{
    world w;
    MYR_AUTO(myr_buf) diff = {0};
    files_make(&w);
    world_serve(&w);
    const serve_fleet *city = fleet_now(&w, "city"), *oj = fleet_now(&w, "oj");
    EXPECT(is_open("/a.db"));
    write_file(w.dir, "s.yaml", file_of(false));
    reload(&w, &diff);
    EXPECT_HAS(diff.data, "fleets.oj.validate.inputs.price.max: 1 -> 2\n");
    EXPECT_HAS(diff.data, "fleets.oj.rules: a.lua -> b.lua\n");
    EXPECT_HAS(diff.data, "fleets.oj.store.valid: (not there) -> 1d\n");
    EXPECT(strstr(diff.data, "city") == NULL);
    EXPECT(fleet_now(&w, "city") == city && fleet_now(&w, "oj") != oj);
    wait_closed("/a.db");
    const myr_predictions *store = fleet_now(&w, "oj")->bound->plan->store->store;
    write_file(w.dir, "s.yaml",
               "# in other words\ndefault: oj\nfleets: {city: {deadline: 9s}, oj: {store: {to: 'sqlite:b.db'}}}\n");
    reload(&w, &diff);
    EXPECT_HAS(diff.data, "fleets.oj.validate: {inputs: {price: {max: 2, on_violation: clamp}}} -> (not there)\n");
    EXPECT_HAS(diff.data, "default: (not there) -> oj\n");
    EXPECT(fleet_now(&w, "oj")->bound->plan->store->store == store);
    answer ping = ask_once(w.port, "GET", "/ping", NULL); /* there is a default now */
    EXPECT_INT(ping.status, 200);
    answer_fini(&ping);
    w.opts.service[0] = '\0'; /* none: every fleet as it is */
    reload(&w, &diff);
    EXPECT_HAS(diff.data, "serve.service: ");
    EXPECT(fleet_now(&w, "oj")->bound == NULL && fleet_now(&w, "city")->bound == NULL);
    wait_closed("/b.db");
    expect_reply(&w, SCORE, ROW, "\"prediction\":15,");
    world_stop(&w);
}

TEST(a_fleet_comes_and_goes_and_passwords_stay)
{
    world w;
    MYR_AUTO(myr_buf) diff = {0};
    files_make(&w);
    write_file(w.dir, "s.yaml", "fleets: {oj: }\n");
    world_serve(&w);
    expect_reply(&w, "/v1/fleets/city", NULL, "unknown model");
    write_file(w.dir, "s.yaml",
               "region: north\nfleets: {city: {store: {to: 'postgresql://me:secret@127.0.0.1:1/none'}}}\n");
    reload(&w, &diff);
    EXPECT_HAS(diff.data, "fleets.oj:  -> (not there)\n");
    EXPECT_HAS(diff.data, "postgresql://me");
    EXPECT(strstr(diff.data, "secret") == NULL);
    expect_reply(&w, "/v1/fleets/oj", NULL, "unknown model");
    expect_reply(&w, "/v1/fleets/city", NULL, "\"name\":\"city\"");
    expect_reply(&w, "/v1/services", NULL, "\"region\":\"north\"");
    world_stop(&w);
}

static uint32_t count_lines(const char *text)
{
    uint32_t count = 0;
    for (; *text != '\0'; text++)
        count += *text == '\n';
    return count;
}

/* A file of `count` fleets, each with this deadline. */
static serve_service *fleets_of(int count, const char *deadline)
{
    MYR_AUTO(myr_buf) text = {0};
    myr_err err = {0};
    serve_service *service = NULL;
    myr_buf_puts(&text, "fleets:\n");
    for (int i = 0; i < count; i++)
        myr_buf_printf(&text, "  f%d: {deadline: %s}\n", i, deadline);
    EXPECT_RC(myr_service_parse("s.yaml", text.data, text.size, &service, &err), OK, &err);
    return service;
}

TEST(differences_have_limits)
{
    for (int count = 100; count <= 101; count++) {
        MYR_AUTO(myr_buf) out = {0};
        serve_service *before = fleets_of(count, "1s"), *after = fleets_of(count, "2s");
        myr_service_diff(before, after, &out);
        EXPECT_INT(count_lines(out.data), count);
        EXPECT_HAS(out.data, "fleets.f99.deadline: 1s -> 2s\n");
        EXPECT((strstr(out.data, "and 1 more differences in the service file\n") != NULL) == (count == 101));
        myr_service_release(before);
        myr_service_release(after);
    }
    static const char *const names[] = {
        "", "x"}; /* 200 bytes of what is shown, the last character of two bytes cut or not */
    for (size_t i = 0; i < 2; i++) {
        MYR_AUTO(myr_buf) text = {0}, out = {0};
        serve_service *service = NULL;
        myr_buf_printf(&text, "default: '%s", names[i]);
        for (int k = 0; k < 101; k++)
            myr_buf_puts(&text, "ä");
        myr_buf_puts(&text, "'\n");
        EXPECT_RC(myr_service_parse("s.yaml", text.data, text.size, &service, NULL), OK, NULL);
        myr_service_diff(NULL, service, &out);
        EXPECT_HAS(out.data, "ä…\n");
        EXPECT_INT(out.size, strlen("default: (not there) -> ") + (i == 0 ? 200 : 199) + strlen("…\n"));
        myr_service_release(service);
    }
}

/* Champion moved to a release whose pack is gone, so the one before goes on: by the new plan too. */
TEST(a_release_that_is_kept_has_the_new_plan)
{
    world w;
    MYR_AUTO(myr_buf) diff = {0};
    char path[TESTING_PATH_BYTES + 64];
    files_make(&w);
    world_serve(&w);
    fixture_release(w.dir, "oj", oj_models, MYR_COUNT_OF(oj_models), 1);
    fixture_promote(w.dir, "oj", 1);
    usleep(200000); /* a look at this one, not at the one between */
    snprintf(path, sizeof path, "%s/packs/oj/r2.index", w.dir);
    EXPECT(remove(path) == 0);
    fixture_force(w.dir, "oj", 2);
    write_file(w.dir, "s.yaml", file_of(false));
    reload(&w, &diff);
    EXPECT_HAS(diff.data, "a.lua -> b.lua");
    expect_reply(&w, SCORE, ROW, OF_B);
    EXPECT_INT(fleet_now(&w, "oj")->fleet->release, 1);
    world_stop(&w);
}

RUN()
