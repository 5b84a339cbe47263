/*
 * A workspace with two fleets of linear models, a server on it, and one-line requests.
 *   oj    store, brand (INT64); features price, deal. prediction = intercept + price + deal / 2
 *         global 1000, brand=1 100, store=2,brand=1 10, store=2,brand=9007199254740993 20
 *   city  name (BYTES), feature x; no global model. name=Oslo 1 + x, name=a/b,c 2 + x, name=zero -0.0 + x
 */
#ifndef MYR_SERVE_FIXTURE_H
#define MYR_SERVE_FIXTURE_H

#include <math.h>

#include "net_client.h"
#include "serve/serve.h"

typedef struct fixture_model {
    const char *segment;
    double intercept;
} fixture_model;

static const fixture_model oj_models[] = {
    {"", 1000}, {"brand=1", 100}, {"store=2,brand=1", 10}, {"store=2,brand=9007199254740993", 20}};
static const fixture_model city_models[] = {{"name=Oslo", 1}, {"name=a%2Fb%2Cc", 2}, {"name=zero", -0.0}};
static const char *const oj_features[] = {"price", "deal"};
static const char *const oj_columns[] = {"store", "brand"};
static const char *const city_features[] = {"x"};
static const char *const city_columns[] = {"name"};

/* Import models (intercepts raised by `more`) and make a release of them. */
TESTING_UNUSED static void fixture_release(const char *dir, const char *fleet, const fixture_model *models,
                                           size_t count, double more)
{
    bool is_oj = models == oj_models;
    const char *const *features = is_oj ? oj_features : city_features;
    uint32_t feature_count = is_oj ? 2 : 1;
    const double weights[] = {1, 0.5};
    myr_err err = {0};
    MYR_AUTO(myr_workspace_ptr) workspace = NULL;
    EXPECT_RC(myr_workspace_open(dir, &workspace, &err), OK, &err);
    myr_fleet_item items[8] = {0};
    myr_buf texts[8] = {0};
    EXPECT(count <= MYR_COUNT_OF(items));
    for (size_t i = 0; i < count; i++) {
        myr_linear_format(features, feature_count, more != 0 ? models[i].intercept + more : models[i].intercept,
                          weights, NULL, &texts[i]);
        items[i] = (myr_fleet_item){.name = "test",
                                    .data = texts[i].data,
                                    .size_bytes = texts[i].size,
                                    .segment = models[i].segment,
                                    .baseline = (double)NAN};
    }
    myr_fleet_def def = {.name = fleet,
                         .partition_columns = is_oj ? oj_columns : city_columns,
                         .partition_count = is_oj ? 2 : 1,
                         .features = features,
                         .feature_count = feature_count};
    size_t item = 0;
    EXPECT_RC(myr_fleet_import(workspace, &def, items, count, NULL, NULL, &item, &err), OK, &err);
    myr_release_report report;
    EXPECT_RC(myr_release_create(workspace, fleet, true, &report, &err), OK, &err);
    for (size_t i = 0; i < count; i++)
        myr_buf_fini(&texts[i]);
}

/* Move the alias as if the release could be opened; the tool itself refuses to. */
TESTING_UNUSED static void fixture_force(const char *dir, const char *fleet, int64_t number)
{
    myr_err err = {0};
    MYR_AUTO(myr_workspace_ptr) workspace = NULL;
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_fleet_row row;
    EXPECT_RC(myr_workspace_open(dir, &workspace, &err), OK, &err);
    EXPECT_RC(myr_registry_fleet_get(workspace->registry, arena, fleet, &row, &err), OK, &err);
    EXPECT_RC(myr_registry_alias_set(workspace->registry, row.id, "champion", number, &err), OK, &err);
}

TESTING_UNUSED static void fixture_promote(const char *dir, const char *fleet, int64_t number)
{
    myr_err err = {0};
    MYR_AUTO(myr_workspace_ptr) workspace = NULL;
    EXPECT_RC(myr_workspace_open(dir, &workspace, &err), OK, &err);
    EXPECT_RC(myr_release_promote(workspace, fleet, number, &err), OK, &err);
}

typedef struct world {
    char dir[TESTING_PATH_BYTES];
    myr_serve_opts opts;
    myr_server *server;
    int port;
} world;

/* The workspace with both fleets, no server yet; options may be changed. */
TESTING_UNUSED static void world_make(world *w)
{
    myr_err err = {0};
    bool made;
    memset(w, 0, sizeof *w);
    testing_dir(w->dir);
    EXPECT_RC(myr_workspace_init(w->dir, "# test\n", &made, &err), OK, &err);
    fixture_release(w->dir, "oj", oj_models, MYR_COUNT_OF(oj_models), 0);
    fixture_release(w->dir, "city", city_models, MYR_COUNT_OF(city_models), 0);
    myr_opt_defaults(myr_serve_opt_table, &w->opts);
    snprintf(w->opts.listen, sizeof w->opts.listen, "127.0.0.1:0");
    w->opts.loops = 2;
    w->opts.compute_threads = 2;
    w->opts.reload_ms = 20;
    w->opts.drain_ms = 2000;
    w->opts.deadline_ms = w->opts.bulk_deadline_ms = 60000; /* sanitized, on a busy machine */
    w->opts.lease_ms = 0;                                   /* the tests of discovery give it one */
}

TESTING_UNUSED static void world_serve(world *w)
{
    myr_err err = {0};
    myr_log_set_level(MYR_LOG_OFF);
    EXPECT_RC(myr_server_start(w->dir, &w->opts, &w->server, &err), OK, &err);
    w->port = myr_server_port(w->server);
}

TESTING_UNUSED static void world_start(world *w)
{
    world_make(w);
    world_serve(w);
}

TESTING_UNUSED static void world_stop(world *w)
{
    myr_server_stop(w->server);
    w->server = NULL;
}

/* One request on an open connection. */
TESTING_UNUSED static answer ask(client *c, const char *method, const char *path, const char *body)
{
    myr_buf text = {0};
    myr_buf_printf(&text, "%s %s HTTP/1.1\r\nHost: x\r\n", method, path);
    if (body != NULL) myr_buf_printf(&text, "Content-Length: %zu\r\n", strlen(body));
    myr_buf_puts(&text, "\r\n");
    if (body != NULL) myr_buf_puts(&text, body);
    client_write(c, text.data, text.size);
    myr_buf_fini(&text);
    return client_read_as(c, strcmp(method, "HEAD") != 0);
}

TESTING_UNUSED static answer ask_once(int port, const char *method, const char *path, const char *body)
{
    client c = client_open(port);
    answer a = ask(&c, method, path, body);
    client_close(&c);
    return a;
}

/* A request, its status and a part of its answer; the failing case is printed. */
typedef struct exchange {
    const char *method, *path, *body;
    int status;
    const char *part;
} exchange;

TESTING_UNUSED static void expect_exchanges(int port, const exchange *cases, size_t count)
{
    client c = client_open(port);
    for (size_t i = 0; i < count; i++) {
        answer a = ask(&c, cases[i].method, cases[i].path, cases[i].body);
        bool ok = a.status == cases[i].status && a.body != NULL && strstr(a.body, cases[i].part) != NULL;
        if (!ok) {
            print_error("case %zu: %s %s %.300s\n  wanted %d %s\n  got    %d %s\n", i, cases[i].method, cases[i].path,
                        cases[i].body != NULL ? cases[i].body : "", cases[i].status, cases[i].part, a.status,
                        a.body != NULL ? a.body : "(nothing)");
        }
        EXPECT(ok);
        answer_fini(&a);
    }
    client_close(&c);
}

#endif
