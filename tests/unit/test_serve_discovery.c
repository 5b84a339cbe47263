/* Discovery: what one server says, what several know of each other, leases that run out, answers that did not change.
 */
#include "import/import.h"
#include "serve_fixture.h"

#define NOW 1790000000000LL

/* A server of somebody else, straight into the registry. */
static void put_other(const char *dir, const char *id, const char *service, const char *region, const char *doc,
                      int64_t expires_ms)
{
    myr_err err = {0};
    MYR_AUTO(myr_workspace_ptr) workspace = NULL;
    char rest[64];
    snprintf(rest, sizeof rest, "http://%s:80", id);
    myr_instance_row row = {.id = id,
                            .service = service,
                            .region = region,
                            .rest = rest,
                            .grpc = "grpc://other:81",
                            .auth = "token,mtls",
                            .program = "1",
                            .state = "ready",
                            .load = 0.5,
                            .expires_ms = expires_ms,
                            .revision = 1};
    EXPECT_RC(myr_workspace_open(dir, &workspace, &err), OK, &err);
    EXPECT_RC(myr_registry_instance_put(workspace->registry, &row, &doc, 1, myr_clock_unix_ms(), 0, &err), OK, &err);
}

static const char wine[] =
    "{\"name\":\"wine\",\"release\":7,\"model_count\":3,\"partition_columns\":[\"shop\"],\"groups\":[\"shop=1\"],"
    "\"tags\":[\"team=juice\"],\"signature\":{\"inputs\":[{\"name\":\"acid\"}]}}";

/* Wait until GET path has (or has no more) `part` in its answer. */
static bool sees(int port, const char *path, const char *part, bool wanted)
{
    for (int i = 0; i < 500; i++) {
        answer a = ask_once(port, "GET", path, NULL);
        bool found = a.body != NULL && strstr(a.body, part) != NULL;
        answer_fini(&a);
        if (found == wanted) return true;
        usleep(10000);
    }
    return false;
}

TEST(a_server_tells_of_itself)
{
    static const exchange cases[] = {
        {"GET", "/v1/services", NULL, 200, "{\"services\":[{\"name\":\"prices\",\"health\":\"ready\",\"load\":"},
        {"GET", "/v1/services", NULL, 200,
         "\"regions\":[\"eu-west\"],\"model_count\":7,\"fleets\":[{\"name\":\"city\""},
        {"GET", "/v1/services", NULL, 200, "\"rest\":\"http://127.0.0.1:"},
        {"GET", "/v1/services", NULL, 200,
         "\"fleets\":[{\"name\":\"city\",\"release\":1},{\"name\":\"oj\",\"release\":1}]"},
        {"GET", "/v1/services", NULL, 200, "\"grpc\":null"},
        {"GET", "/v1/services", NULL, 200, "],\"next\":null}"},
        {"GET", "/v1/services/prices", NULL, 200, "{\"name\":\"prices\",\"health\":\"ready\""},
        {"GET", "/v1/services?fleet=oj", NULL, 200, "\"model_count\":4,\"fleets\":[{\"name\":\"oj\""},
        {"GET", "/v1/services?fleet=oj&feature=deal", NULL, 200, "\"fleets\":[{\"name\":\"oj\",\"release\":1}]"},
        {"GET", "/v1/services?feature=x", NULL, 200, "\"fleets\":[{\"name\":\"city\",\"release\":1}]"},
        {"GET", "/v1/services?group=brand=1", NULL, 200, "\"fleets\":[{\"name\":\"oj\",\"release\":1}]"},
        {"GET", "/v1/services?group=brand%3D1%2Cstore%3D2", NULL, 200, "\"fleets\":[{\"name\":\"oj\",\"release\":1}]"},
        {"GET", "/v1/services?group=shop=1", NULL, 200, "{\"services\":[],\"next\":null}"},
        {"GET", "/v1/services?fleet=x", NULL, 200, "{\"services\":[],\"next\":null}"},
        {"GET", "/v1/services?tag=a=b", NULL, 200, "{\"services\":[],\"next\":null}"},
        {"GET", "/v1/services?region=us", NULL, 200, "{\"services\":[],\"next\":null}"},
        {"GET", "/v1/services?region=eu-west", NULL, 200, "\"name\":\"prices\""},
        {"GET", "/v1/services?limit=0", NULL, 400, "limit=0: 1 to 1000 services"},
        {"GET", "/v1/services?limit=1001", NULL, 400, "limit=1001"},
        {"GET", "/v1/services?limit=1000", NULL, 200, "prices"},
        {"GET", "/v1/services?after=prices", NULL, 200, "{\"services\":[],\"next\":null}"},
        {"GET", "/v1/services?after=pricer", NULL, 200, "prices"},
        {"GET", "/v1/services?flet=oj", NULL, 400, "unknown parameter 'flet'"},
        {"GET", "/v1/services?fleet=oj&fleet=city", NULL, 400, "fleet= stands twice"},
        {"GET", "/v1/services?group=brand", NULL, 400, "brand"},
        {"GET", "/v1/services?fleet=%zz", NULL, 400, "bad escape"},
        {"GET", "/v1/services?fleet=%ff", NULL, 400, "not UTF-8"},
        {"GET", "/v1/services/oj", NULL, 404, "no service 'oj' is known (a fleet has this name: GET /v1/fleets/"},
        {"GET", "/v1/services/x", NULL, 404, "no service 'x' is known: GET /v1/services lists them"},
    };
    world w;
    world_make(&w);
    snprintf(w.opts.name, sizeof w.opts.name, "prices");
    snprintf(w.opts.region, sizeof w.opts.region, "eu-west");
    world_serve(&w);
    expect_exchanges(w.port, cases, MYR_COUNT_OF(cases));
    world_stop(&w);
}

TEST(which_model_answers_and_where)
{
    static const exchange cases[] = {
        {"GET", "/v1/resolve?fleet=oj&store=2&brand=1", NULL, 200,
         "{\"fleet\":\"oj\",\"model\":\"oj@store=2,brand=1\",\"model_version\":1,\"level\":\"segment\",\"release\":1,"
         "\"endpoints\":[{\"id\":\""},
        {"GET", "/v1/resolve?fleet=oj&brand=1&store=9", NULL, 200,
         "\"model\":\"oj@brand=1\",\"model_version\":1,\"level\":\"parent\""},
        {"GET", "/v1/resolve?fleet=oj", NULL, 200, "\"model\":\"oj@\",\"model_version\":1,\"level\":\"global\""},
        {"GET", "/v1/resolve?fleet=oj&segment=store=2,brand=1", NULL, 200, "\"model\":\"oj@store=2,brand=1\""},
        {"GET", "/v1/resolve?fleet=city&name=a%2Fb%2Cc", NULL, 200, "\"model\":\"city@name=a%2Fb%2Cc\""},
        {"GET", "/v1/resolve?fleet=city&name=Rome", NULL, 404, "no model for this segment"},
        {"GET", "/v1/resolve?fleet=oj&shop=1", NULL, 400, "shop"},
        {"GET", "/v1/resolve?fleet=oj&brand=x", NULL, 400, "brand"},
        {"GET", "/v1/resolve?fleet=oj&brand=1&brand=2", NULL, 400, "brand"},
        {"GET", "/v1/resolve?fleet=oj&segment=brand=1&store=2", NULL, 400, "segment= says all"},
        {"GET", "/v1/resolve?store=2", NULL, 400, "fleet= is missing"},
        {"GET", "/v1/resolve?fleet=x", NULL, 404, "no server is known that serves fleet 'x'"},
        {"GET", "/v1/resolve?fleet=oj&a=1&b=1&c=1&d=1&e=1&f=1&g=1&h=1&i=1", NULL, 400, "more than 8 parameters"},
        {"GET", "/v1/resolve?fleet=oj&=1", NULL, 400, "1 to 128 bytes"},
        {"POST", "/v1/resolve", "{}", 405, "try GET"},
    };
    world w;
    world_start(&w);
    expect_exchanges(w.port, cases, MYR_COUNT_OF(cases));
    world_stop(&w);
}

/* Any server knows of all, whatever they serve; who serves only a group is no endpoint for another. */
TEST(others_are_known_until_their_lease_runs_out)
{
    static const exchange cases[] = {
        {"GET", "/v1/services", NULL, 200, "{\"services\":[{\"name\":\"cellar\""},
        {"GET", "/v1/services?limit=1", NULL, 200, "],\"next\":\"cellar\"}"},
        {"GET", "/v1/services?limit=1&after=cellar", NULL, 200, "{\"services\":[{\"name\":\"myriad\""},
        {"GET", "/v1/services?tag=team=juice", NULL, 200, "{\"services\":[{\"name\":\"cellar\""},
        {"GET", "/v1/services?feature=acid&region=us", NULL, 200, "\"authentication\":[\"token\",\"mtls\"]"},
        {"GET", "/v1/services?fleet=wine&group=shop=1", NULL, 200,
         "\"rest\":\"http://other:80\",\"grpc\":\"grpc://other:81\""},
        {"GET", "/v1/services?fleet=wine&group=shop=2", NULL, 200, "{\"services\":[],"},
        {"GET", "/v1/services/cellar", NULL, 200, "\"model_count\":3,\"fleets\":[{\"name\":\"wine\""},
        {"GET", "/v1/resolve?fleet=wine&shop=1", NULL, 200,
         "{\"fleet\":\"wine\",\"model\":null,\"endpoints\":[{\"id\":\"other\""},
        {"GET", "/v1/resolve?fleet=wine&shop=2", NULL, 404, "no server is known"},
        {"GET", "/v1/resolve?fleet=wine", NULL, 404, "no server is known"},
    };
    world w;
    world_make(&w);
    myr_clock_freeze(NOW);
    world_serve(&w);
    put_other(w.dir, "other", "cellar", "us", wine, NOW + 1000);
    myr_clock_advance_ms(20); /* the registry is looked at */
    EXPECT(sees(w.port, "/v1/services", "cellar", true));
    expect_exchanges(w.port, cases, MYR_COUNT_OF(cases));
    myr_clock_advance_ms(979);
    EXPECT(sees(w.port, "/v1/services/cellar", "wine", true));
    myr_clock_advance_ms(1); /* nobody wrote anything */
    answer a = ask_once(w.port, "GET", "/v1/services/cellar", NULL);
    EXPECT_INT(a.status, 404);
    answer_fini(&a);
    world_stop(&w);
    myr_clock_release();
}

TEST(documents_that_are_not_ours_are_left_out)
{
    static const char *const docs[] = {"",
                                       "[]",
                                       "{\"name\":7}",
                                       "{\"name\":\"a/b\"}",
                                       "{\"name\":\"wine\"",
                                       "null",
                                       "{\"name\":\"x\",\"groups\":[7,\"\",{}],\"tags\":{},\"signature\":[]}"};
    world w;
    world_make(&w);
    for (size_t i = 0; i < MYR_COUNT_OF(docs); i++) {
        char id[16];
        snprintf(id, sizeof id, "o%zu", i);
        put_other(w.dir, id, "cellar", "", docs[i], myr_clock_unix_ms() + 600000);
    }
    world_serve(&w);
    answer a = ask_once(w.port, "GET", "/v1/services/cellar", NULL);
    EXPECT_INT(a.status, 200);
    EXPECT_HAS(a.body, "\"model_count\":0,\"fleets\":[{\"name\":\"x\"");
    answer_fini(&a);
    world_stop(&w);
}

TEST(two_servers_know_each_other_and_see_one_leave)
{
    world a, b;
    world_make(&a);
    a.opts.lease_ms = 2000;
    b = a;
    snprintf(a.opts.name, sizeof a.opts.name, "first");
    snprintf(b.opts.name, sizeof b.opts.name, "second");
    world_serve(&a);
    world_serve(&b);
    EXPECT(sees(a.port, "/v1/services", "\"name\":\"second\"", true));
    EXPECT(sees(b.port, "/v1/services", "\"name\":\"first\"", true));
    /* A new fleet on one workspace is soon told by both. */
    fixture_release(a.dir, "new", oj_models, MYR_COUNT_OF(oj_models), 0);
    EXPECT(sees(a.port, "/v1/services/second", "\"name\":\"new\"", true));
    EXPECT(sees(b.port, "/v1/services/first", "\"name\":\"new\"", true));
    world_stop(&b);
    EXPECT(sees(a.port, "/v1/services", "\"name\":\"second\"", false));
    world_stop(&a);
    myr_err err = {0};
    MYR_AUTO(myr_workspace_ptr) workspace = NULL;
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_instance_row *rows;
    size_t count;
    EXPECT_RC(myr_workspace_open(a.dir, &workspace, &err), OK, &err);
    EXPECT_RC(myr_registry_instances(workspace->registry, arena, 0, &rows, &count, &err), OK, &err);
    EXPECT_INT(count, 0);
}

/* Beats: four per lease, by the clock; a row that somebody removed is written whole again. */
TEST(a_lease_is_renewed_in_time)
{
    world w;
    world_make(&w);
    w.opts.lease_ms = 4000;
    myr_clock_freeze(NOW);
    world_serve(&w);
    myr_err err = {0};
    MYR_AUTO(myr_workspace_ptr) workspace = NULL;
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    EXPECT_RC(myr_workspace_open(w.dir, &workspace, &err), OK, &err);
    for (int round = 0; round < 4; round++) {
        int64_t wanted = NOW + round * 1001LL + 4000;
        myr_instance_row *rows;
        size_t count = 0;
        for (int i = 0; i < 500 && (count != 1 || rows[0].expires_ms != wanted); i++) {
            usleep(10000);
            EXPECT_RC(myr_registry_instances(workspace->registry, arena, 0, &rows, &count, &err), OK, &err);
        }
        EXPECT_INT(count, 1);
        EXPECT_INT(rows[0].expires_ms, wanted);
        const char **docs;
        EXPECT_RC(myr_registry_instance_docs(workspace->registry, arena, rows[0].id, &docs, &count, &err), OK, &err);
        EXPECT_INT(count, 2);
        if (round == 2) EXPECT_RC(myr_registry_instance_remove(workspace->registry, rows[0].id, 0, &err), OK, &err);
        myr_clock_advance_ms(1001);
    }
    world_stop(&w);
    myr_clock_release();
}

TEST(an_answer_that_did_not_change_is_not_sent_again)
{
    world w;
    world_start(&w);
    EXPECT(sees(w.port, "/v1/services", "\"tags\":[]", true)); /* the first beat is over */
    client c = client_open(w.port);
    EXPECT(client_puts(&c, "GET /v1/services HTTP/1.1\r\nHost: x\r\n\r\n"));
    answer first = client_read(&c);
    EXPECT_INT(first.status, 200);
    const char *at = strstr(first.head, "ETag: ");
    EXPECT(at != NULL);
    char tag[32], request[256];
    snprintf(tag, sizeof tag, "%.18s", at + 6);
    for (int form = 0; form < 4; form++) {
        char header[64] = "*";
        if (form == 0) snprintf(header, sizeof header, "%s", tag);
        if (form == 1) snprintf(header, sizeof header, "W/%s", tag);
        if (form == 2) snprintf(header, sizeof header, "\"x\" , %s", tag);
        snprintf(request, sizeof request, "GET /v1/services HTTP/1.1\r\nHost: x\r\nIf-None-Match: %s\r\n\r\n", header);
        EXPECT(client_puts(&c, request));
        answer again = client_read_as(&c, false);
        EXPECT_INT(again.status, 304);
        EXPECT(strstr(again.head, tag) != NULL);
        answer_fini(&again);
    }
    EXPECT(client_puts(&c, "GET /v1/services HTTP/1.1\r\nHost: x\r\nIf-None-Match: \"x\"\r\n\r\n"));
    answer other = client_read(&c);
    EXPECT_INT(other.status, 200);
    answer_fini(&other);
    answer_fini(&first);
    client_close(&c);
    world_stop(&w);
}

TEST(options_that_no_registry_takes)
{
    static const struct {
        const char *name, *region, *advertise, *part;
    } cases[] = {{"a b", "", "", "serve.name"},
                 {"-a", "", "", "serve.name"},
                 {"a", "b/c", "", "serve.region"},
                 {"a", "b", "10.0.0.4:80", "serve.advertise"},
                 {"a", "b", "ftp://x", "serve.advertise"}};
    world w;
    world_make(&w);
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        myr_err err = {0};
        myr_server *server = NULL;
        snprintf(w.opts.name, sizeof w.opts.name, "%s", cases[i].name);
        snprintf(w.opts.region, sizeof w.opts.region, "%s", cases[i].region);
        snprintf(w.opts.advertise, sizeof w.opts.advertise, "%s", cases[i].advertise);
        EXPECT_RC(myr_server_start(w.dir, &w.opts, &server, &err), BAD_USAGE, &err);
        EXPECT_HAS(err.message, cases[i].part);
    }
    snprintf(w.opts.advertise, sizeof w.opts.advertise, "https://prices.example/");
    world_serve(&w);
    answer a = ask_once(w.port, "GET", "/v1/services", NULL);
    EXPECT_HAS(a.body, "\"rest\":\"https://prices.example\"");
    answer_fini(&a);
    world_stop(&w);
}

RUN()
