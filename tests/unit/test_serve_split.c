/* Several releases of one fleet at once: shares, sticky keys, names, groups, going back; swaps under load. */
#include "import/import.h"
#include "serve_fixture.h"

/* Release 1 is champion, release 2 (every prediction one more) is challenger. */
static void split_make(world *w, const char *service)
{
    world_make(w);
    fixture_release(w->dir, "oj", oj_models, MYR_COUNT_OF(oj_models), 1);
    fixture_promote(w->dir, "oj", 1);
    myr_err err = {0};
    MYR_AUTO(myr_workspace_ptr) workspace = NULL;
    EXPECT_RC(myr_workspace_open(w->dir, &workspace, &err), OK, &err);
    EXPECT_RC(myr_release_set_alias(workspace, "oj", "challenger", 2, &err), OK, &err);
    if (service == NULL) return;
    snprintf(w->opts.service, sizeof w->opts.service, "%s/prices.yaml", w->dir);
    FILE *file = fopen(w->opts.service, "w");
    EXPECT(file != NULL && fputs(service, file) >= 0 && fclose(file) == 0);
}

static answer post(int port, const char *path, const char *headers, const char *body)
{
    client c = client_open(port);
    MYR_AUTO(myr_buf) text = {0};
    myr_buf_printf(&text, "POST %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %zu\r\n\r\n%s", path, headers, strlen(body),
                   body);
    client_write(&c, text.data, text.size);
    answer a = client_read(&c);
    client_close(&c);
    return a;
}

static void expect_post(int port, const char *path, const char *headers, const char *body, int status, const char *part,
                        const char *head_part)
{
    answer a = post(port, path, headers, body);
    bool ok = a.status == status && strstr(a.body, part) != NULL && strstr(a.head, head_part) != NULL;
    if (!ok) print_error("%s %s%s\n  %d %s\n%s\n", path, headers, body, a.status, a.head, a.body);
    EXPECT(ok);
    answer_fini(&a);
}

#define SCORE      "/v1/fleets/oj/score"
#define ROW        "{\"rows\":[{\"store\":2,\"brand\":1,\"price\":0.5,\"deal\":1}]}"
#define INFER      "/v2/models/oj@store=2,brand=1/infer"
#define MATRIX     "{\"inputs\":[{\"name\":\"features\",\"shape\":[1,2],\"datatype\":\"FP64\",\"data\":[0.5,1]}]}"
#define CHAMPION   "X-Myriad-Alias: champion\r\n"
#define CHALLENGER "X-Myriad-Alias: challenger\r\n"

/* Without a share the challenger answers those who name it, by alias or number. */
TEST(a_release_is_asked_by_name)
{
    world w;
    split_make(&w, NULL);
    world_serve(&w);
    expect_post(w.port, SCORE, "", ROW, 200, "\"prediction\":11,", "X-Myriad-Release: 1\r\n");
    expect_post(w.port, SCORE, CHAMPION, ROW, 200, "\"prediction\":11,", "X-Myriad-Release: 1\r\n");
    expect_post(w.port, SCORE, CHALLENGER, ROW, 200, "\"prediction\":12,", "X-Myriad-Release: 2\r\n");
    expect_post(w.port, SCORE, "X-Myriad-Alias: none\r\n", ROW, 404, "by the alias 'none'", "");
    expect_post(w.port, SCORE, "X-Myriad-Alias: \r\n", ROW, 404, "by the alias ''", "");
    expect_post(w.port, INFER, "", MATRIX, 200, "\"model_version\":\"1\"", "X-Myriad-Release: 1\r\n");
    expect_post(w.port, INFER, CHALLENGER, MATRIX, 200, "\"data\":[12]", "X-Myriad-Release: 2\r\n");
    expect_post(w.port, INFER, CHALLENGER, MATRIX, 200, "\"model_version\":\"2\"", "");
    expect_post(w.port, "/v2/models/oj@store=2,brand=1/versions/2/infer", "", MATRIX, 200, "\"data\":[12]",
                "X-Myriad-Release: 2\r\n");
    expect_post(w.port, "/v2/models/oj@store=2,brand=1/versions/3/infer", "", MATRIX, 404, "version 3", "");
    static const exchange cases[] = {
        {"GET", "/v2/models/oj/versions/2", NULL, 200, "\"versions\":[\"2\"]"},
        {"GET", "/v2/models/oj", NULL, 200, "\"versions\":[\"1\"]"},
        {"GET", "/v1/services", NULL, 200, "\"aliases\":{\"champion\":1,\"challenger\":2}"},
        {"GET", "/v1/services", NULL, 200, "\"aliases\":{\"champion\":1}"}, /* city */
        {"GET", "/metrics", NULL, 200, "myriad_release_rows_total{fleet=\"oj\",release=\"2\"} 4"},
    };
    expect_exchanges(w.port, cases, MYR_COUNT_OF(cases));
    world_stop(&w);
}

/* Of `count` stores, how many the challenger answers; the same again for each. */
static int challenged(int port, int count)
{
    int found = 0;
    client c = client_open(port);
    for (int i = 0; i < count; i++) {
        char body[128];
        snprintf(body, sizeof body, "{\"rows\":[{\"store\":%d,\"brand\":1,\"price\":0.5,\"deal\":1}]}", 100 + i);
        double first = 0;
        for (int again = 0; again < 2; again++) {
            answer a = ask(&c, "POST", SCORE, body);
            EXPECT_INT(a.status, 200);
            double value = strtod(strstr(a.body, "\"prediction\":") + 13, NULL);
            EXPECT(value == 101 || value == 102);
            EXPECT(again == 0 || value == first);
            first = value;
            answer_fini(&a);
        }
        found += first == 102;
    }
    client_close(&c);
    return found;
}

TEST(a_share_is_that_of_the_keys)
{
    static const struct {
        const char *service;
        int min, max;
    } cases[] = {
        {"fleets:\n  oj: {split: {challenger: 0}}\n", 0, 0},
        {"fleets:\n  oj: {split: {challenger: 30}}\n", 75, 165}, /* of 400: 120, 5 sigma */
        {"fleets:\n  oj: {split: {challenger: 100}}\n", 400, 400},
        {"fleets:\n  oj: {split: {nobody: 100}}\n", 0, 0},
    };
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        world w;
        split_make(&w, cases[i].service);
        world_serve(&w);
        int found = challenged(w.port, 400);
        if (found < cases[i].min || found > cases[i].max) print_error("%zu: %d of 400\n", i, found);
        EXPECT(found >= cases[i].min && found <= cases[i].max);
        world_stop(&w);
        testing_reset(NULL);
    }
}

/* Who sends a text of its own stays with its release, whatever the rows; a request is wholly of one release. */
TEST(a_client_sticks_to_its_release)
{
    world w;
    split_make(&w, "fleets:\n  oj: {split: {challenger: 50}}\n");
    world_serve(&w);
    int second = 0;
    for (int user = 0; user < 40; user++) {
        char headers[64], part[32] = "";
        snprintf(headers, sizeof headers, "X-Myriad-Sticky: user-%d\r\n", user);
        for (int store = 0; store < 4; store++) {
            char body[256];
            snprintf(body, sizeof body,
                     "{\"rows\":[{\"store\":%d,\"brand\":1,\"price\":0.5,\"deal\":1},{\"store\":%d,\"brand\":1,"
                     "\"price\":0.5,\"deal\":1}]}",
                     100 + store, 200 + store);
            answer a = post(w.port, SCORE, headers, body);
            EXPECT_INT(a.status, 200);
            bool is_second = strstr(a.head, "X-Myriad-Release: 2") != NULL;
            snprintf(part, sizeof part, "\"prediction\":%d,", is_second ? 102 : 101);
            const char *at = strstr(a.body, part);
            EXPECT(at != NULL && strstr(at + 1, part) != NULL); /* both rows */
            if (store == 0) second += is_second;
            answer_fini(&a);
        }
    }
    EXPECT(second > 5 && second < 35);
    expect_post(w.port, SCORE, CHAMPION, ROW, 200, "\"prediction\":11,", "X-Myriad-Release: 1\r\n");
    expect_post(w.port, SCORE, CHALLENGER, ROW, 200, "\"prediction\":12,", "X-Myriad-Release: 2\r\n");
    expect_post(w.port, "/v2/models/oj@store=2,brand=1/versions/1/infer", "", MATRIX, 200, "\"data\":[11]", "");
    world_stop(&w);
}

/* Rows without any key have nothing to stick to: they are dealt. */
TEST(rows_without_a_key_are_dealt)
{
    world w;
    split_make(&w, "fleets:\n  oj: {split: {challenger: 50}}\n");
    world_serve(&w);
    int found[2] = {0, 0};
    client c = client_open(w.port);
    for (int i = 0; i < 200; i++) {
        answer a = ask(&c, "POST", SCORE, "{\"rows\":[{\"price\":0.5,\"deal\":1}]}");
        EXPECT_INT(a.status, 200);
        found[strstr(a.body, "\"prediction\":1002,") != NULL]++;
        answer_fini(&a);
    }
    EXPECT(found[0] > 50 && found[1] > 50);
    client_close(&c);
    world_stop(&w);
}

#define ROWS_OF(brand, other)                                                                                          \
    "{\"rows\":[{\"store\":2,\"brand\":" brand ",\"price\":0.5,\"deal\":1},{\"store\":2,\"brand\":" other              \
    ",\"price\":0.5,\"deal\":1}]}"

TEST(a_share_of_some_groups)
{
    world w;
    split_make(&w, "fleets:\n  oj:\n    split: {challenger: {percent: 100, groups: [brand=1]}}\n");
    world_serve(&w);
    expect_post(w.port, SCORE, "", ROW, 200, "\"prediction\":12,", "X-Myriad-Release: 2\r\n");
    expect_post(w.port, SCORE, "", ROWS_OF("1", "1"), 200, "\"prediction\":12,", "X-Myriad-Release: 2\r\n");
    expect_post(w.port, SCORE, "", ROWS_OF("2", "2"), 200, "\"prediction\":1001,", "X-Myriad-Release: 1\r\n");
    expect_post(w.port, SCORE, "", ROWS_OF("1", "2"), 200, "\"prediction\":11,", "X-Myriad-Release: 1\r\n");
    expect_post(w.port, SCORE, "", ROWS_OF("1", "null"), 200, "\"prediction\":11,", "X-Myriad-Release: 1\r\n");
    expect_post(w.port, INFER, "", MATRIX, 200, "\"data\":[12]", "X-Myriad-Release: 2\r\n");
    expect_post(w.port, "/v2/models/oj@/infer", "", MATRIX, 200, "\"data\":[1001]", "X-Myriad-Release: 1\r\n");
    world_stop(&w);
}

static bool soon(int port, const char *headers, const char *part)
{
    for (int i = 0; i < 500; i++) {
        answer a = post(port, SCORE, headers, ROW);
        bool found = strstr(a.body, part) != NULL;
        EXPECT(a.status == 200 || a.status == 404);
        answer_fini(&a);
        if (found) return true;
        usleep(10000);
    }
    return false;
}

TEST(going_back_is_one_step)
{
    world w;
    split_make(&w, "fleets:\n  oj: {split: {challenger: 100}}\n");
    world_serve(&w);
    myr_err err = {0};
    int64_t number = -1;
    MYR_AUTO(myr_workspace_ptr) workspace = NULL;
    EXPECT_RC(myr_workspace_open(w.dir, &workspace, &err), OK, &err);
    EXPECT(soon(w.port, "", "\"prediction\":12,"));
    /* challenger named nothing before: it goes, and champion has everything */
    EXPECT_RC(myr_release_rollback(workspace, "oj", "challenger", &number, &err), OK, &err);
    EXPECT_INT(number, 0);
    EXPECT(soon(w.port, "", "\"prediction\":11,"));
    EXPECT(soon(w.port, CHALLENGER, "by the alias"));
    EXPECT_RC(myr_release_rollback(workspace, "oj", "challenger", &number, &err), NOT_FOUND, &err);
    /* champion: 1, then 2, then 1, made by the fixture; promoting what is champion already forgets nothing */
    fixture_promote(w.dir, "oj", 1);
    EXPECT_RC(myr_release_rollback(workspace, "oj", "champion", &number, &err), OK, &err);
    EXPECT_INT(number, 2);
    EXPECT(soon(w.port, "", "\"prediction\":12,"));
    EXPECT_RC(myr_release_rollback(workspace, "oj", "champion", &number, &err), OK, &err);
    EXPECT_INT(number, 1);
    EXPECT(soon(w.port, "", "\"prediction\":11,"));
    EXPECT_RC(myr_release_rollback(workspace, "city", "champion", &number, &err), NOT_FOUND, &err);
    EXPECT_HAS(err.message, "no earlier release");
    /* A release that was removed is not gone back to. */
    myr_fleet_row row;
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    EXPECT_RC(myr_registry_fleet_get(workspace->registry, arena, "oj", &row, &err), OK, &err);
    EXPECT_RC(myr_registry_release_remove(workspace->registry, row.id, 2, &err), OK, &err);
    EXPECT_RC(myr_release_rollback(workspace, "oj", "champion", &number, &err), NOT_FOUND, &err);
    world_stop(&w);
}

/* A challenger that can't be opened leaves everything to champion, and says so. */
TEST(a_challenger_that_cannot_be_opened)
{
    world w;
    split_make(&w, "fleets:\n  oj: {split: {challenger: 100}}\n");
    char path[TESTING_PATH_BYTES + 64], away[TESTING_PATH_BYTES + 64];
    snprintf(path, sizeof path, "%s/packs/oj/r2.index", w.dir);
    snprintf(away, sizeof away, "%s/packs/oj/away", w.dir);
    EXPECT(rename(path, away) == 0);
    world_serve(&w);
    expect_post(w.port, SCORE, "", ROW, 200, "\"prediction\":11,", "");
    expect_post(w.port, SCORE, CHALLENGER, ROW, 404, "by the alias 'challenger'", "");
    EXPECT(rename(away, path) == 0);
    EXPECT(soon(w.port, "", "\"prediction\":12,"));
    world_stop(&w);
}

TEST(splits_that_make_no_sense)
{
    static const struct {
        const char *split, *part;
    } cases[] = {
        {"{}", "'split' is a map"},
        {"[challenger]", "'split' is a map"},
        {"{challenger: 101}", "challenger"},
        {"{challenger: -1}", "challenger"},
        {"{challenger: ten}", "challenger"},
        {"{challenger: 60, canary: 41}", "more than 100"},
        {"{champion: 10}", "beside champion"},
        {"{a/b: 10}", "beside champion"},
        {"{challenger: {groups: [brand=1]}}", "percent"},
        {"{challenger: {percent: 1, group: [brand=1]}}", "group"},
        {"{challenger: {percent: 1, groups: [shop=1]}}", "shop"},
        {"{challenger: {percent: 1, groups: [brand]}}", "brand"},
        {"{a: 1, b: 1, c: 1, d: 1, e: 1, f: 1, g: 1, h: 1, i: 1}", "9 aliases, at most 8"},
    };
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        world w;
        char text[256];
        myr_err err = {0};
        snprintf(text, sizeof text, "fleets:\n  oj:\n    split: %s\n", cases[i].split);
        split_make(&w, text);
        myr_rc rc = myr_server_start(w.dir, &w.opts, &w.server, &err);
        if (rc == MYR_OK || strstr(err.message, cases[i].part) == NULL) print_error("%s: %s\n", text, err.message);
        EXPECT(rc == MYR_BAD_INPUT || rc == MYR_BAD_FORMAT);
        EXPECT_HAS(err.message, cases[i].part);
        testing_reset(NULL);
    }
}

RUN()
