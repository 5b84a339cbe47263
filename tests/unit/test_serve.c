/* Routes, health, metadata, discovery, metrics: what the server says about itself. */
#include "import/import.h"
#include "serve/internal.h"
#include "serve_fixture.h"

#define INFER_ONE                                                                                                      \
    "{\"inputs\":[{\"name\":\"price\",\"shape\":[1],\"datatype\":\"FP64\",\"data\":[0.5]},"                            \
    "{\"name\":\"deal\",\"shape\":[1],\"datatype\":\"FP64\",\"data\":[1]}]}"

TEST(each_route_answers)
{
    static const exchange cases[] = {
        {"GET", "/v2", NULL, 200,
         "{\"name\":\"myriad\",\"version\":\"" MYR_VERSION
         "\",\"extensions\":[\"binary_tensor_data\",\"model_configuration\",\"model_repository\",\"statistics\"]}"},
        {"GET", "/v2/", NULL, 200, "\"myriad\""},
        {"GET", "/v2/health/live", NULL, 200, "{\"live\":true}"},
        {"GET", "/v2/health/ready", NULL, 200, "{\"ready\":true}"},
        {"GET", "/v2/models", NULL, 200, "{\"models\":[\"city\",\"oj\"]}"},
        {"GET", "/v2/models/oj", NULL, 200,
         "{\"name\":\"oj\",\"versions\":[\"1\"],\"platform\":\"myriad\",\"inputs\":["
         "{\"name\":\"store\",\"datatype\":\"INT64\",\"shape\":[-1]},"
         "{\"name\":\"brand\",\"datatype\":\"INT64\",\"shape\":[-1]},"
         "{\"name\":\"price\",\"datatype\":\"FP64\",\"shape\":[-1]},"
         "{\"name\":\"deal\",\"datatype\":\"FP64\",\"shape\":[-1]}],"
         "\"outputs\":[{\"name\":\"prediction\",\"datatype\":\"FP64\",\"shape\":[-1]},"
         "{\"name\":\"margin\",\"datatype\":\"FP64\",\"shape\":[-1]},"
         "{\"name\":\"contribution\",\"datatype\":\"FP64\",\"shape\":[-1,3]}]}"},
        {"GET", "/v2/models/city", NULL, 200, "{\"name\":\"name\",\"datatype\":\"BYTES\",\"shape\":[-1]}"},
        {"GET", "/v2/models/oj/versions/1", NULL, 200, "\"platform\":\"myriad\""},
        {"GET", "/v2/models/oj@store=2,brand=1", NULL, 200,
         "\"inputs\":[{\"name\":\"price\",\"datatype\":\"FP64\",\"shape\":[-1]},{\"name\":\"deal\""},
        {"GET", "/v2/models/oj%40brand%3D1%2Cstore%3D2", NULL, 200, "{\"name\":\"oj@store=2,brand=1\""},
        {"GET", "/v2/models/oj@", NULL, 200, "{\"name\":\"oj@\""},
        {"GET", "/v2/models/city@name=a%252Fb%252Cc", NULL, 200, "{\"name\":\"city@name=a%2Fb%2Cc\""},
        {"GET", "/v2/models/oj/ready", NULL, 200, "{\"name\":\"oj\",\"ready\":true}"},
        {"GET", "/v2/models/oj@brand=1/ready", NULL, 200, "{\"name\":\"oj@brand=1\",\"ready\":true}"},
        {"GET", "/v2/models/oj/versions/1/ready", NULL, 200, "\"ready\":true"},
        {"GET", "/v2/models/oj@brand=%2531,store=2/ready", NULL, 200, "{\"name\":\"oj@store=2,brand=1\""},
        {"POST", "/v2/models/oj@brand=1,store=2/infer", INFER_ONE, 200, "{\"model_name\":\"oj@store=2,brand=1\""},
        {"POST", "/v2/models/oj@brand=1/infer", INFER_ONE, 200, "\"data\":[101]"},
        {"POST", "/v2/models/oj@brand=1/versions/1/infer", INFER_ONE, 200, "\"data\":[101]"},
        {"POST", "/v1/fleets/oj/score", "{\"rows\":[{\"store\":2,\"brand\":1,\"price\":0.5,\"deal\":1}]}", 200,
         "\"prediction\":11"},
        {"GET", "/v1/services", NULL, 200, "{\"services\":[{\"name\":\"myriad\",\"health\":\"ready\""},
        {"GET", "/v1/fleets/oj", NULL, 200, "{\"name\":\"oj\",\"release\":1,\"model_count\":4,"},
        {"GET", "/v1/fleets/oj", NULL, 200,
         "{\"level\":\"segment\",\"columns\":[\"store\",\"brand\"],\"model_count\":2},"
         "{\"level\":\"parent\",\"columns\":[\"brand\"],\"model_count\":1},"
         "{\"level\":\"global\",\"columns\":[],\"model_count\":1}"},
        {"GET", "/v1/fleets/oj", NULL, 200, "\"infer\":\"/v2/models/oj/infer\",\"score\":\"/v1/fleets/oj/score\""},
        {"GET", "/v1/fleets/oj/models/store=2,brand=1", NULL, 200,
         "\"model\":\"oj@store=2,brand=1\",\"model_version\":1,"
         "\"level\":\"segment\",\"release\":1"},
        {"GET", "/v1/fleets/oj/models/store=3,brand=1", NULL, 200,
         "\"model\":\"oj@brand=1\",\"model_version\":1,\"level\":\"parent\""},
        {"GET", "/v1/fleets/oj/models/store=3", NULL, 200, "\"level\":\"global\""},
        {"GET", "/metrics", NULL, 200, "myriad_requests_total{route=\"infer\",code=\"200\"} "},
    };
    world w;
    world_start(&w);
    EXPECT_INT(myr_server_fleet_count(w.server), 2);
    expect_exchanges(w.port, cases, MYR_COUNT_OF(cases));
    world_stop(&w);
}

TEST(unknown_things_are_said)
{
    static const exchange cases[] = {
        {"GET", "/x", NULL, 404, "{\"error\":\"no such path: /x\"}"},
        {"GET", "/v2/nothing", NULL, 404, "no such path: /v2/nothing"},
        {"GET", "/v2//models", NULL, 404, "no such path"},
        {"GET", "/v2/models/oj/../city", NULL, 404, "no such path"},
        {"GET", "/v2/models/..%2Foj", NULL, 404, "Request for unknown model: '../oj' is not found"},
        {"GET", "/v2/models/x", NULL, 404, "{\"error\":\"Request for unknown model: 'x' is not found\"}"},
        {"GET", "/v2/models/OJ", NULL, 404, "unknown model: 'OJ'"},
        {"GET", "/v2/models/o%22j%0a", NULL, 404, "unknown model: 'o\\\"j"},
        {"GET", "/v2/models/oj/versions/2", NULL, 404, "'oj' version 2 is not found"},
        {"GET", "/v2/models/oj/versions/x", NULL, 400, "version 'x' is not a number"},
        {"GET", "/v2/models/oj/versions/01", NULL, 400, "version '01' is not a number"},
        {"GET", "/v2/models/oj/versions/+1", NULL, 400, "version '+1' is not a number"},
        {"GET", "/v2/models/oj/versions/-1", NULL, 400, "version '-1' is not a number"},
        {"GET", "/v2/models/oj/versions/0", NULL, 404, "'oj' version 0 is not found"},
        {"GET", "/v2/models/x/ready", NULL, 404, "unknown model: 'x'"},
        {"GET", "/v2/models/oj@store=9,brand=9", NULL, 404,
         "Request for unknown model: 'oj@store=9,brand=9' is not found"},
        {"GET", "/v2/models/oj@shop=9", NULL, 400, "shop"},
        {"GET", "/v2/models/oj@store", NULL, 400, "store"},
        {"POST", "/v2/models/x/infer", INFER_ONE, 404, "unknown model: 'x'"},
        {"POST", "/v1/fleets/x/score", "{\"rows\":[]}", 404, "unknown model: 'x'"},
        {"POST", "/v1/fleets/oj@brand=1/score", "{\"rows\":[]}", 404, "unknown model: 'oj@brand=1'"},
        {"GET", "/v1/services/x", NULL, 404, "no service 'x'"},
        {"GET", "/v1/fleets/x/models/a=1", NULL, 404, "unknown model: 'x'"},
        {"GET", "/v1/fleets/oj/models/shop=1", NULL, 400, "shop"},
        {"GET", "/v1/fleets/oj/models/brand=x", NULL, 400, "brand"},
        {"GET", "/v1/fleets/city/models/name=Rome", NULL, 404, "has no model for 'name=Rome'"},
        {"GET", "/v2/models/oj/infer", NULL, 405, "GET is not a method of /v2/models/oj/infer, try POST"},
        {"POST", "/v2", "{}", 405, "try GET, HEAD"},
        {"DELETE", "/v2/models/oj", NULL, 405, "try GET, HEAD"},
        {"OPTIONS", "/metrics", NULL, 405, "try GET, HEAD"},
        {"TRACE", "/metrics", NULL, 405, "TRACE is not a method"},
    };
    world w;
    world_start(&w);
    expect_exchanges(w.port, cases, MYR_COUNT_OF(cases));
    answer a = ask_once(w.port, "PUT", "/v1/fleets/oj/score", "{}");
    EXPECT_INT(a.status, 405);
    EXPECT_HAS(a.head, "Allow: POST\r\n");
    answer_fini(&a);
    a = ask_once(w.port, "HEAD", "/v2", NULL);
    EXPECT_INT(a.status, 200);
    EXPECT_INT(a.body_bytes, 0);
    answer_fini(&a);
    world_stop(&w);
}

TEST(metrics_count_by_route_and_by_level)
{
    static const char rows[] =
        "{\"rows\":[{\"store\":2,\"brand\":1,\"price\":1,\"deal\":1},"
        "{\"store\":3,\"brand\":1,\"price\":1,\"deal\":1},{\"store\":3,\"brand\":4,\"price\":1,\"deal\":1}]}";
    static const char infer[] =
        "{\"inputs\":[{\"name\":\"name\",\"shape\":[2],\"datatype\":\"BYTES\",\"data\":[\"Oslo\",\"Rome\"]},"
        "{\"name\":\"x\",\"shape\":[2],\"datatype\":\"FP64\",\"data\":[1,2]}]}";
    world w;
    world_start(&w);
    answer a = ask_once(w.port, "POST", "/v1/fleets/oj/score", rows);
    EXPECT_INT(a.status, 200);
    answer_fini(&a);
    a = ask_once(w.port, "POST", "/v2/models/city/infer", infer);
    EXPECT_INT(a.status, 404);
    answer_fini(&a);
    a = ask_once(w.port, "GET", "/nothing/at/all\"}", NULL);
    EXPECT_INT(a.status, 404);
    answer_fini(&a);
    usleep(50000); /* a request is counted when its answer was taken */
    a = ask_once(w.port, "GET", "/metrics", NULL);
    EXPECT_HAS(a.head, "Content-Type: text/plain; version=0.0.4");
    EXPECT_HAS(a.body, "myriad_requests_total{route=\"score\",code=\"200\"} 1\n");
    EXPECT_HAS(a.body, "myriad_requests_total{route=\"infer\",code=\"404\"} 1\n");
    EXPECT_HAS(a.body, "myriad_requests_total{route=\"none\",code=\"404\"} 1\n");
    EXPECT_HAS(a.body, "myriad_request_duration_seconds_count{route=\"score\"} 1\n");
    EXPECT_HAS(a.body, "myriad_rows_total{fleet=\"oj\",level=\"segment\",status=\"ok\"} 1\n");
    EXPECT_HAS(a.body, "myriad_rows_total{fleet=\"oj\",level=\"parent\",status=\"ok\"} 1\n");
    EXPECT_HAS(a.body, "myriad_rows_total{fleet=\"oj\",level=\"global\",status=\"ok\"} 1\n");
    EXPECT_HAS(a.body, "myriad_rows_total{fleet=\"city\",level=\"none\",status=\"no_model\"} 1\n");
    EXPECT_HAS(a.body, "myriad_fleets 2\n");
    EXPECT(strstr(a.body, "nothing") == NULL && strstr(a.body, "Oslo") == NULL);
    answer_fini(&a);
    world_stop(&w);
}

TEST(a_workspace_that_is_none_is_said)
{
    world w;
    world_make(&w);
    myr_err err = {0};
    EXPECT(myr_server_start("/nowhere/at/all", &w.opts, &w.server, &err) != MYR_OK);
    EXPECT_HAS(err.message, "/nowhere/at/all");
    snprintf(w.opts.listen, sizeof w.opts.listen, "nonsense");
    EXPECT_RC(myr_server_start(w.dir, &w.opts, &w.server, &err), BAD_USAGE, &err);
    EXPECT(w.server == NULL);
    myr_server_stop(NULL);
}

TEST(option_rows_have_defaults_and_fields_of_their_own)
{
    myr_serve_opts opts;
    memset(&opts, 0xff, sizeof opts);
    myr_opt_defaults(myr_serve_opt_table, &opts);
    EXPECT_STR(opts.listen, "127.0.0.1:8080");
    EXPECT_INT(opts.body_bytes_max, 8 << 20);
    EXPECT_INT(opts.reload_ms, 1000);
    for (size_t i = 0; i < myr_serve_opt_table.count; i++) {
        for (size_t j = 0; j < i; j++)
            EXPECT(myr_serve_opt_table.rows[i].offset != myr_serve_opt_table.rows[j].offset);
    }
}

/* How often a text stands in another. */
static int count_of(const char *text, const char *part)
{
    int count = 0;
    for (const char *at = strstr(text, part); at != NULL; at = strstr(at + 1, part))
        count++;
    return count;
}

TEST(metrics_of_models_are_the_heaviest_and_slowest)
{
    static const fixture_model quoted[] = {{"name=a\"b", 1}, {"name=back\\slash", 2}};
    world w;
    world_make(&w);
    fixture_release(w.dir, "quoted", quoted, MYR_COUNT_OF(quoted), 0);
    world_serve(&w);
    for (int i = 0; i < 3; i++) {
        answer a = ask_once(w.port, "POST", "/v1/fleets/quoted/score",
                            "{\"rows\":[{\"name\":\"a\\\"b\",\"x\":1},{\"name\":\"back\\\\slash\",\"x\":1}]}");
        EXPECT_INT(a.status, 200);
        answer_fini(&a);
    }
    answer a = ask_once(w.port, "POST", "/v1/fleets/oj/score",
                        "{\"rows\":[{\"store\":2,\"brand\":1,\"price\":1,\"deal\":1}]}");
    answer_fini(&a);
    a = ask_once(w.port, "GET", "/metrics", NULL);
    EXPECT_HAS(a.body, "# TYPE myriad_model_rows_total counter\n");
    EXPECT_HAS(a.body, "\nmyriad_model_rows_total{model=\"quoted@name=a\\\"b\"} 3\n");
    EXPECT_HAS(a.body, "\nmyriad_model_rows_total{model=\"quoted@name=back\\\\slash\"} 3\n");
    EXPECT_HAS(a.body, "\nmyriad_model_rows_total{model=\"oj@store=2,brand=1\"} 1\n");
    EXPECT_INT(count_of(a.body, "\nmyriad_model_slowest_seconds{"), 3);
    answer_fini(&a);
    a = ask_once(w.port, "GET", "/v2/models/oj@store=2,brand=1/stats", NULL);
    EXPECT_HAS(a.body, "{\"model_stats\":[{\"name\":\"oj@store=2,brand=1\",\"version\":\"1\",\"inference_count\":1,");
    answer_fini(&a);
    world_stop(&w);
}

/* More fleets than have series of their own, and more models than are shown: /metrics stays small. */
TEST(metrics_stay_small_with_many_fleets)
{
    enum { FLEETS = SERVE_LABELS_MAX + 8 };
    world w;
    world_make(&w);
    char name[32], path[64];
    for (int i = 0; i < FLEETS; i++) {
        snprintf(name, sizeof name, "f%02d", i);
        fixture_release(w.dir, name, city_models, 2, 0);
    }
    world_serve(&w);
    for (int i = 0; i < FLEETS; i++) {
        snprintf(path, sizeof path, "/v1/fleets/f%02d/score", i);
        answer a =
            ask_once(w.port, "POST", path, "{\"rows\":[{\"name\":\"Oslo\",\"x\":1},{\"name\":\"a/b,c\",\"x\":1}]}");
        EXPECT_INT(a.status, 200);
        answer_fini(&a);
    }
    answer a = ask_once(w.port, "GET", "/metrics", NULL);
    EXPECT(a.body_bytes < 1000000);
    EXPECT_INT(count_of(a.body, "\nmyriad_rows_total{fleet=\"f"), SERVE_LABELS_MAX - 1); /* city came first */
    EXPECT_HAS(a.body, "\nmyriad_rows_total{fleet=\"_other\",level=\"segment\",status=\"ok\"} 18\n");
    EXPECT_INT(count_of(a.body, "\nmyriad_model_rows_total{"), 50);
    answer_fini(&a);
    world_stop(&w);
}

RUN()
