/* Tokens at the server: each role on each route with each method, refusals, limits, revoking under load. */
#include "import/import.h"
#include "serve/internal.h"
#include "serve_fixture.h"

/* Tokens have the text "secret-<name>" here. */
static void token_make(const char *dir, const char *name, unsigned scopes, const char *targets,
                       const myr_token_row *more)
{
    myr_err err = {0};
    MYR_AUTO(myr_workspace_ptr) workspace = NULL;
    myr_token_row row = more != NULL ? *more : (myr_token_row){0};
    char text[64];
    snprintf(text, sizeof text, "secret-%s", name);
    myr_sha256 sha;
    myr_sha256_init(&sha);
    myr_sha256_add(&sha, text, strlen(text));
    myr_sha256_bytes(&sha, row.hash);
    row.name = name;
    row.scopes = scopes;
    row.targets = targets;
    EXPECT_RC(myr_workspace_open(dir, &workspace, &err), OK, &err);
    EXPECT_RC(myr_registry_token_add(workspace->registry, &row, &row.id, &err), OK, &err);
}

static void token_revoke(const char *dir, const char *name)
{
    myr_err err = {0};
    MYR_AUTO(myr_workspace_ptr) workspace = NULL;
    EXPECT_RC(myr_workspace_open(dir, &workspace, &err), OK, &err);
    EXPECT_RC(myr_registry_token_revoke(workspace->registry, name, &err), OK, &err);
}

/* headers: whole lines, or "". */
static answer ask_with(int port, const char *method, const char *path, const char *headers, const char *body)
{
    client c = client_open(port);
    myr_buf text = {0};
    myr_buf_printf(&text, "%s %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %zu\r\n\r\n%s", method, path, headers,
                   strlen(body), body);
    client_write(&c, text.data, text.size);
    myr_buf_fini(&text);
    answer a = client_read_as(&c, strcmp(method, "HEAD") != 0);
    client_close(&c);
    return a;
}

static int status_with(int port, const char *method, const char *path, const char *headers, const char *body)
{
    answer a = ask_with(port, method, path, headers, body);
    answer_fini(&a);
    return a.status;
}

/* ---- the matrix ---- */

typedef struct role {
    const char *name; /* "secret-<name>" is its token; NULL: no header at all */
    unsigned scopes;  /* 0: not known here */
    const char *targets;
    bool reaches_oj, reaches_segment, reaches_all;
} role;

static const role roles[] = {
    {NULL, 0, "", false, false, false},
    {"unknown", 0, "", false, false, false},
    {"expired", 0, "", false, false, false},
    {"revoked", 0, "", false, false, false},
    {"infer", MYR_SCOPE_INFER, "", true, true, true},
    {"read", MYR_SCOPE_READ, "", true, true, true},
    {"admin", MYR_SCOPE_ADMIN, "", true, true, true},
    {"run", MYR_SCOPE_RUN, "", true, true, true},
    {"all", MYR_SCOPE_ALL, "", true, true, true},
    {"oj", MYR_SCOPE_ALL, "oj", true, true, false},
    {"city", MYR_SCOPE_ALL, "city", false, false, false},
    {"group", MYR_SCOPE_ALL, "city\noj@brand=1", true, true, false},
    {"othergroup", MYR_SCOPE_ALL, "oj@brand=4", true, false, false},
};

/* What the table says for a role: 401, 403, or 0: neither. */
static int wanted_status(const serve_route *route, const role *who)
{
    const serve_access_rule *rule = &myr_serve_access_rules[route->access];
    bool is_group = who->scopes != 0 && strstr(who->targets, "oj@") != NULL;
    if (rule->scope == 0) return 0;
    if (who->scopes == 0) return 401;
    if ((who->scopes & rule->scope) == 0) return 403;
    switch (rule->on) {
    case SERVE_ON_LIST:
        return 0;
    case SERVE_ON_SERVER:
        return who->reaches_all ? 0 : 403;
    case SERVE_ON_MODEL:
        return who->reaches_oj && !(is_group && rule->scope == MYR_SCOPE_ADMIN) ? 0 : 403;
    case SERVE_ON_SEGMENT:
        return who->reaches_segment ? 0 : 403;
    }
    return -1;
}

/* The pattern with its parameters filled in: a fleet, then a version or a segment. */
static void fill_pattern(const serve_route *route, char path[256])
{
    size_t size = 0;
    int param = 0;
    for (const char *c = route->pattern; *c != '\0'; c++) {
        const char *value = NULL;
        if (c[0] == '{') value = param++ == 0 ? "oj" : strstr(route->pattern, "versions") != NULL ? "1" : "brand=1";
        if (value == NULL) {
            path[size++] = *c;
            continue;
        }
        memcpy(path + size, value, strlen(value));
        size += strlen(value);
        while (*c != '}')
            c++;
    }
    path[size] = '\0';
}

static bool route_has(const char *pattern, const char *method)
{
    static const char *const names[] = {"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"};
    for (size_t i = 0; i < myr_serve_route_count; i++) {
        const serve_route *route = &myr_serve_routes[i];
        if (strcmp(route->pattern, pattern) != 0) continue;
        if (strcmp(names[route->method], method) == 0) return true;
        if (route->method == MYR_GET && strcmp(method, "HEAD") == 0) return true;
    }
    return false;
}

static void make_roles(const char *dir)
{
    token_make(dir, "expired", MYR_SCOPE_ALL, "", &(myr_token_row){.expires_ms = 1});
    token_make(dir, "revoked", MYR_SCOPE_ALL, "", NULL);
    token_revoke(dir, "revoked");
    for (size_t i = 0; i < MYR_COUNT_OF(roles); i++) {
        if (roles[i].scopes != 0) token_make(dir, roles[i].name, roles[i].scopes, roles[i].targets, NULL);
    }
}

static void expect_cell(int port, const serve_route *route, const char *method, const role *who)
{
    char path[256], headers[256] = "";
    fill_pattern(route, path);
    if (who->name != NULL) snprintf(headers, sizeof headers, "Authorization: Bearer secret-%s\r\n", who->name);
    answer a = ask_with(port, method, path, headers, "");
    int wanted = route_has(route->pattern, method) ? wanted_status(route, who) : 405;
    bool ok = wanted == 0 ? a.status != 401 && a.status != 403 && a.status != 405 && a.status != 0 : a.status == wanted;
    bool challenged = strstr(a.head, "\r\nWWW-Authenticate: Bearer realm=\"myriad\"") != NULL;
    ok = ok && challenged == (a.status == 401 || a.status == 403);
    if (!ok) {
        print_error("%s %s as %s: wanted %d, got %d %s\n", method, path, who->name != NULL ? who->name : "nobody",
                    wanted, a.status, a.body != NULL ? a.body : "");
    }
    answer_fini(&a);
    EXPECT(ok);
}

TEST(each_role_on_each_route_with_each_method)
{
    static const char *const methods[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"};
    world w;
    world_make(&w);
    w.opts.model_control = true;
    FILE *file; /* routes that name no fleet ask the default */
    snprintf(w.opts.service, sizeof w.opts.service, "%s/service.yaml", w.dir);
    file = fopen(w.opts.service, "w");
    EXPECT(file != NULL && fputs("default: oj\n", file) >= 0 && fclose(file) == 0);
    make_roles(w.dir);
    world_serve(&w);
    for (size_t i = 0; i < myr_serve_route_count; i++) {
        const serve_route *route = &myr_serve_routes[i];
        EXPECT(route->access > SERVE_UNSET && route->access < SERVE_ACCESS_COUNT);
        EXPECT(myr_serve_access_rules[route->access].name != NULL);
        for (size_t m = 0; m < MYR_COUNT_OF(methods); m++) {
            /* The row whose method it is, or the first of the pattern for methods that none has. */
            bool mine = route_has(route->pattern, methods[m]);
            for (size_t r = 0; r < MYR_COUNT_OF(roles); r++) {
                if (mine || r < 2) expect_cell(w.port, route, methods[m], &roles[r]);
            }
        }
    }
    world_stop(&w);
}

/* ---- refusals ---- */

TEST(headers_that_are_no_token)
{
    static const struct {
        const char *headers;
        int status;
    } cases[] = {
        {"", 401},
        {"Authorization: \r\n", 401},
        {"Authorization: Bearer\r\n", 401},
        {"Authorization: Bearer \r\n", 401},
        {"Authorization: Bearersecret-all\r\n", 401},
        {"Authorization: Basic secret-all\r\n", 401},
        {"Authorization: secret-all\r\n", 401},
        {"Authorization: Bearer secret-al\r\n", 401},
        {"Authorization: Bearer secret-alll\r\n", 401},
        {"Authorization: Bearer SECRET-ALL\r\n", 401},
        {"Authorization: Bearer secret-all, secret-all\r\n", 401},
        {"Authorization: Bearer secret-all\r\n", 200},
        {"authorization: bearer secret-all\r\n", 200},
        {"Authorization: BEARER   secret-all\r\n", 200},
        {"Authorization: Bearer secret-all\r\nAuthorization: Bearer secret-all\r\n", 400},
        {"Authorization: Bearer x\r\nauthorization: Bearer secret-all\r\n", 400},
        {"X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-User: admin\r\n", 401},
        {"Proxy-Authorization: Bearer secret-all\r\n", 401},
        {"Cookie: token=secret-all\r\n", 401},
        {"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n", 401},
        {"X-HTTP-Method-Override: GET\r\n", 401},
    };
    world w;
    world_make(&w);
    token_make(w.dir, "all", MYR_SCOPE_ALL, "", NULL);
    world_serve(&w);
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        int status = status_with(w.port, "GET", "/v2/models", cases[i].headers, "");
        if (status != cases[i].status) print_error("case %zu: %s\n", i, cases[i].headers);
        EXPECT_INT(status, cases[i].status);
    }
    char longest[1024], token[600];
    memset(token, 'x', 513);
    token[513] = '\0';
    snprintf(longest, sizeof longest, "Authorization: Bearer %s\r\n", token);
    EXPECT_INT(status_with(w.port, "GET", "/v2/models", longest, ""), 401);
    EXPECT_INT(status_with(w.port, "GET", "/v2/models?access_token=secret-all", "", ""), 400);
    EXPECT_INT(status_with(w.port, "GET", "/v2/models?a=1&t%6fken=x", "Authorization: Bearer secret-all\r\n", ""), 400);
    EXPECT_INT(status_with(w.port, "GET", "/v2/models?tokens=1", "Authorization: Bearer secret-all\r\n", ""), 200);
    world_stop(&w);
}

TEST(a_body_of_a_stranger_is_dropped)
{
    world w;
    world_make(&w);
    token_make(w.dir, "all", MYR_SCOPE_ALL, "", NULL);
    world_serve(&w);
    MYR_AUTO(myr_buf) body = {0};
    for (int i = 0; i < 4096; i++)
        myr_buf_puts(&body, "{\"rows\":[]} and so on, in all 128 KiB, ");
    answer a = ask_with(w.port, "POST", "/v1/fleets/oj/score", "", body.data);
    EXPECT_INT(a.status, 401);
    EXPECT_HAS(a.body, "a token is needed");
    answer_fini(&a);
    client c = client_open(w.port); /* asking first: nothing of the body is wanted */
    client_puts(
        &c, "POST /v1/fleets/oj/score HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n");
    a = client_read(&c);
    EXPECT_INT(a.status, 401);
    answer_fini(&a);
    EXPECT(client_sees_close(&c, 5000));
    client_close(&c);
    c = client_open(w.port); /* a kept connection goes on behind a refusal */
    for (int i = 0; i < 3; i++) {
        client_puts(&c, "POST /v1/fleets/oj/score HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n{\"rows\":[]}");
        expect_answer(&c, 401, "a token is needed");
    }
    client_close(&c);
    world_stop(&w);
}

/* ---- lists, groups ---- */

TEST(lists_show_what_a_token_reaches)
{
    world w;
    world_make(&w);
    token_make(w.dir, "city", MYR_SCOPE_READ, "city", NULL);
    token_make(w.dir, "none", MYR_SCOPE_READ, "gone", NULL);
    world_serve(&w);
    static const char *const lists[][2] = {
        {"GET", "/v2/models"}, {"GET", "/v1/services"}, {"GET", "/v2/models/stats"}, {"POST", "/v2/repository/index"}};
    for (size_t i = 0; i < MYR_COUNT_OF(lists); i++) {
        answer a = ask_with(w.port, lists[i][0], lists[i][1], "Authorization: Bearer secret-city\r\n", "");
        EXPECT_INT(a.status, 200);
        EXPECT_HAS(a.body, "\"city\"");
        EXPECT(strstr(a.body, "\"oj\"") == NULL);
        answer_fini(&a);
        a = ask_with(w.port, lists[i][0], lists[i][1], "Authorization: Bearer secret-none\r\n", "");
        EXPECT_INT(a.status, 200);
        EXPECT(strstr(a.body, "\"city\"") == NULL);
        answer_fini(&a);
    }
    world_stop(&w);
}

TEST(a_group_is_its_rows)
{
    static const struct {
        const char *path, *body;
        int status;
    } cases[] = {
        {"/v1/fleets/oj/score", "{\"rows\":[{\"store\":2,\"brand\":1,\"price\":1,\"deal\":1}]}", 200},
        {"/v1/fleets/oj/score", "{\"rows\":[{\"store\":77,\"brand\":\"1\",\"price\":1,\"deal\":1}]}", 200},
        {"/v1/fleets/oj/score", "{\"rows\":[{\"brand\":1.0,\"price\":1,\"deal\":1}]}", 200},
        {"/v1/fleets/oj/score", "{\"rows\":[]}", 200},
        {"/v1/fleets/oj/score",
         "{\"rows\":[{\"store\":2,\"brand\":1,\"price\":1,\"deal\":1},{\"store\":2,\"brand\":2,\"price\":1,\"deal\":1}]"
         "}",
         403},
        {"/v1/fleets/oj/score", "{\"rows\":[{\"store\":2,\"price\":1,\"deal\":1}]}", 403},
        {"/v1/fleets/oj/score", "{\"rows\":[{\"store\":2,\"brand\":1.5,\"price\":1,\"deal\":1}]}", 403},
        {"/v1/fleets/oj/score", "{\"rows\":[{\"store\":2,\"brand\":null,\"price\":1,\"deal\":1}]}", 403},
        {"/v1/fleets/city/score", "{\"rows\":[]}", 403},
        {"/v2/models/oj@store=2,brand=1/infer", "{\"inputs\":[]}", 400},
        {"/v2/models/oj@brand=1,store=2/infer", "{\"inputs\":[]}", 400},
        {"/v2/models/oj@brand=1/infer", "{\"inputs\":[]}", 400},
        {"/v2/models/oj@/infer", "{\"inputs\":[]}", 403},
        {"/v2/models/oj@store=2/infer", "{\"inputs\":[]}", 403},
        {"/v2/models/oj@store=2,brand=9007199254740993/infer", "{\"inputs\":[]}", 403},
        {"/v2/models/oj@brand=1,brand=2/infer", "{\"inputs\":[]}", 403},
        {"/v2/models/oj@x@brand=1/infer", "{\"inputs\":[]}", 403},
    };
    world w;
    world_make(&w);
    token_make(w.dir, "group", MYR_SCOPE_INFER, "oj@brand=1", NULL);
    world_serve(&w);
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        answer a = ask_with(w.port, "POST", cases[i].path, "Authorization: Bearer secret-group\r\n", cases[i].body);
        if (a.status != cases[i].status) print_error("case %zu: %s %s: %s\n", i, cases[i].path, cases[i].body, a.body);
        EXPECT_INT(a.status, cases[i].status);
        answer_fini(&a);
    }
    answer a = ask_with(w.port, "POST", "/v2/models/oj/infer", "Authorization: Bearer secret-group\r\n",
                        "{\"inputs\":[{\"name\":\"store\",\"shape\":[2],\"datatype\":\"INT64\",\"data\":[2,2]},"
                        "{\"name\":\"brand\",\"shape\":[2],\"datatype\":\"INT64\",\"data\":[1,4]},"
                        "{\"name\":\"features\",\"shape\":[2,2],\"datatype\":\"FP64\",\"data\":[1,1,1,1]}]}");
    EXPECT_INT(a.status, 403);
    EXPECT_HAS(a.body, "does not reach the segment of row 1 of fleet oj");
    answer_fini(&a);
    world_stop(&w);
}

/* ---- the door: auto, required, off ---- */

TEST(the_first_token_closes_the_door_and_revoking_it_leaves_it_closed)
{
    world w;
    world_start(&w);
    EXPECT_INT(status_with(w.port, "GET", "/v2/models", "", ""), 200);
    EXPECT_INT(status_with(w.port, "GET", "/v2/models", "Authorization: nonsense\r\n", ""), 200);
    token_make(w.dir, "one", MYR_SCOPE_READ, "", NULL);
    int status = 0;
    for (int i = 0; i < 500 && status != 401; i++) {
        status = status_with(w.port, "GET", "/v2/models", "", "");
        usleep(10000);
    }
    EXPECT_INT(status, 401);
    EXPECT_INT(status_with(w.port, "GET", "/v2/models", "Authorization: Bearer secret-one\r\n", ""), 200);
    token_revoke(w.dir, "one");
    for (int i = 0; i < 500 && status != 200; i++) { /* within serve.reload, here 20 ms */
        if (status_with(w.port, "GET", "/v2/models", "Authorization: Bearer secret-one\r\n", "") == 401) break;
        usleep(10000);
    }
    EXPECT_INT(status_with(w.port, "GET", "/v2/models", "Authorization: Bearer secret-one\r\n", ""), 401);
    EXPECT_INT(status_with(w.port, "GET", "/v2/models", "", ""), 401);
    EXPECT_INT(status_with(w.port, "GET", "/v2/health/ready", "", ""), 200);
    world_stop(&w);
}

TEST(required_and_off_are_said)
{
    world w;
    world_make(&w);
    snprintf(w.opts.auth, sizeof w.opts.auth, "required");
    world_serve(&w);
    EXPECT_INT(status_with(w.port, "GET", "/v2/models", "", ""), 401);
    EXPECT_INT(status_with(w.port, "GET", "/v2/health/live", "", ""), 200);
    world_stop(&w);
    token_make(w.dir, "one", MYR_SCOPE_READ, "", NULL);
    snprintf(w.opts.auth, sizeof w.opts.auth, "off");
    world_serve(&w);
    EXPECT_INT(status_with(w.port, "GET", "/v2/models", "", ""), 200);
    world_stop(&w);
    snprintf(w.opts.auth, sizeof w.opts.auth, "of");
    myr_err err = {0};
    EXPECT_RC(myr_server_start(w.dir, &w.opts, &w.server, &err), BAD_USAGE, &err);
    EXPECT_HAS(err.message, "serve.auth 'of' is not one of its words: did you mean off");
}

TEST(other_machines_are_not_answered_by_accident)
{
    static const char *const addresses[] = {"0.0.0.0:0", "[::]:0"};
    world w;
    world_make(&w);
    for (int with_token = 0; with_token < 2; with_token++) {
        for (size_t i = 0; i < MYR_COUNT_OF(addresses); i++) {
            myr_err err = {0};
            snprintf(w.opts.listen, sizeof w.opts.listen, "%s", addresses[i]);
            EXPECT_RC(myr_server_start(w.dir, &w.opts, &w.server, &err), DENIED, &err);
            EXPECT_HAS(err.message, "other machines reach this address");
            EXPECT_HAS(err.message, with_token ? "there is no TLS" : "make a token first");
            snprintf(w.opts.listen, sizeof w.opts.listen, "127.0.0.1:0");
            snprintf(w.opts.admin_listen, sizeof w.opts.admin_listen, "%s", addresses[i]);
            EXPECT_RC(myr_server_start(w.dir, &w.opts, &w.server, &err), DENIED, &err);
            w.opts.admin_listen[0] = '\0';
        }
        if (!with_token) token_make(w.dir, "one", MYR_SCOPE_ALL, "", NULL);
    }
    w.opts.insecure = true;
    w.opts.model_control = true;
    snprintf(w.opts.listen, sizeof w.opts.listen, "0.0.0.0:0");
    world_serve(&w); /* told so plainly: tokens are asked for all the same, and admin stays at home */
    EXPECT_INT(status_with(w.port, "GET", "/v2/models", "", ""), 401);
    answer a = ask_with(w.port, "POST", "/v2/repository/models/oj/load", "Authorization: Bearer secret-one\r\n", "");
    EXPECT_INT(a.status, 403);
    EXPECT_HAS(a.body, "does not answer other machines: set serve.admin-listen");
    answer_fini(&a);
    world_stop(&w);
}

TEST(admin_routes_have_their_own_listener)
{
    world w;
    world_make(&w);
    w.opts.model_control = true;
    snprintf(w.opts.admin_listen, sizeof w.opts.admin_listen, "127.0.0.1:0");
    snprintf(w.opts.metrics, sizeof w.opts.metrics, "admin");
    world_serve(&w);
    int admin = myr_server_admin_port(w.server);
    EXPECT(admin > 0 && admin != w.port);
    static const char *const routes[][2] = {{"POST", "/v2/repository/models/oj/load"}, {"GET", "/metrics"}};
    for (size_t i = 0; i < MYR_COUNT_OF(routes); i++) {
        answer a = ask_with(w.port, routes[i][0], routes[i][1], "", "");
        EXPECT_INT(a.status, 403);
        EXPECT_HAS(a.body, "answers on serve.admin-listen");
        answer_fini(&a);
        EXPECT_INT(status_with(admin, routes[i][0], routes[i][1], "", ""), 200);
    }
    EXPECT_INT(status_with(admin, "GET", "/v2/health/ready", "", ""), 200);
    EXPECT_INT(status_with(admin, "POST", "/v1/fleets/oj/score", "", "{\"rows\":[]}"), 200);
    world_stop(&w);
}

/* ---- limits of a token ---- */

static int64_t count_status(int port, const char *headers, int requests, int status)
{
    int64_t count = 0;
    for (int i = 0; i < requests; i++) {
        answer a = ask_with(port, "GET", "/v2/models", headers, "");
        count += a.status == status;
        if (a.status == 429) EXPECT_HAS(a.head, "\r\nRetry-After: ");
        answer_fini(&a);
    }
    return count;
}

TEST(a_rate_is_a_burst_of_a_second_and_then_its_pace)
{
    world w;
    world_make(&w);
    token_make(w.dir, "slow", MYR_SCOPE_READ, "", &(myr_token_row){.rate_per_s = 5});
    token_make(w.dir, "free", MYR_SCOPE_READ, "", NULL);
    world_serve(&w);
    myr_clock_freeze(1700000000000);
    EXPECT_INT(count_status(w.port, "Authorization: Bearer secret-slow\r\n", 6, 200), 5);
    EXPECT_INT(count_status(w.port, "Authorization: Bearer secret-slow\r\n", 3, 429), 3);
    EXPECT_INT(count_status(w.port, "Authorization: Bearer secret-free\r\n", 20, 200), 20);
    myr_clock_advance_ms(200);
    EXPECT_INT(count_status(w.port, "Authorization: Bearer secret-slow\r\n", 3, 200), 1);
    myr_clock_advance_ms(100000);
    EXPECT_INT(count_status(w.port, "Authorization: Bearer secret-slow\r\n", 10, 200), 5);
    myr_clock_release();
    world_stop(&w);
}

TEST(a_token_has_as_many_requests_at_once_as_it_may)
{
    world w;
    world_make(&w);
    token_make(w.dir, "two", MYR_SCOPE_ALL, "", &(myr_token_row){.concurrency = 2});
    world_serve(&w);
    static const char head[] = "POST /v1/fleets/oj/score HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret-two\r\n"
                               "Content-Length: 11\r\n\r\n";
    client clients[3];
    for (int i = 0; i < 3; i++) {
        clients[i] = client_open(w.port);
        client_puts(&clients[i], head); /* counted from its headers on; the body is still to come */
        usleep(100000);
    }
    client_puts(&clients[2], "{\"rows\":[]}");
    expect_answer(&clients[2], 429, "token two has 2 requests in flight, the most it may");
    for (int i = 0; i < 2; i++) {
        client_puts(&clients[i], "{\"rows\":[]}");
        expect_answer(&clients[i], 200, "{\"rows\":[]}");
    }
    client_close(&clients[0]);
    client_puts(&clients[1], head); /* one that leaves in the middle is no longer in flight */
    client_close(&clients[1]);
    client_close(&clients[2]);
    int64_t good = 0;
    for (int i = 0; i < 100 && good < 3; i++) { /* a client that left unseen is found within two seconds */
        usleep(50000);
        good = count_status(w.port, "Authorization: Bearer secret-two\r\n", 3, 200);
    }
    EXPECT_INT(good, 3);
    world_stop(&w);
}

/* Tokens come and go while requests hold them: nothing is freed early, nothing is left (ASan, TSan). */
TEST(tokens_change_while_requests_run)
{
    world w;
    world_make(&w);
    token_make(w.dir, "stays", MYR_SCOPE_ALL, "", &(myr_token_row){.rate_per_s = 1000000});
    world_serve(&w);
    client slow = client_open(w.port);
    token_make(w.dir, "goes", MYR_SCOPE_ALL, "", NULL);
    usleep(200000);
    client_puts(&slow, "POST /v1/fleets/oj/score HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret-goes\r\n"
                       "Content-Length: 11\r\n\r\n");
    usleep(100000);
    token_revoke(w.dir, "goes");
    for (int i = 0; i < 20; i++) {
        char name[32];
        snprintf(name, sizeof name, "n%d", i);
        token_make(w.dir, name, MYR_SCOPE_READ, "", NULL);
        EXPECT_INT(status_with(w.port, "GET", "/v2/models", "Authorization: Bearer secret-stays\r\n", ""), 200);
    }
    client_puts(&slow, "{\"rows\":[]}"); /* it began while the token was good */
    expect_answer(&slow, 200, "{\"rows\":[]}");
    client_close(&slow);
    world_stop(&w);
}

/* Who resolves says the fleet in the query, where the route table does not look; lists tell what a token reaches. */
TEST(discovery_tells_what_a_token_reaches)
{
    static const struct {
        const char *token, *path;
        int status;
        const char *part, *absent;
    } cases[] = {
        {"city", "/v1/services", 200, "\"fleets\":[{\"name\":\"city\"", "oj"},
        {"city", "/v1/services/myriad", 200, "\"fleets\":[{\"name\":\"city\"", "oj"},
        {"city", "/v1/services?fleet=oj", 200, "{\"services\":[],\"next\":null}", "oj"},
        {"city", "/v1/services/oj", 404, "no service 'oj' is known: GET", "a fleet has this name"},
        {"city", "/v1/resolve?fleet=city&name=Oslo", 200, "\"model\":\"city@name=Oslo\"", "oj"},
        {"city", "/v1/resolve?fleet=oj&brand=1", 403, "does not reach 'oj'", "endpoints"},
        {"city", "/v1/fleets/oj", 403, "does not reach 'oj'", "signature"},
        {"group", "/v1/resolve?fleet=oj&brand=1", 200, "\"model\":\"oj@brand=1\"", "error"},
        {"group", "/v1/resolve?fleet=oj&store=2&brand=1", 200, "\"authentication\":[\"token\"]", "error"},
        {"group", "/v1/resolve?fleet=oj&brand=2", 403, "does not reach", "endpoints"},
        {"group", "/v1/resolve?fleet=oj&segment=brand%3D2", 403, "does not reach", "endpoints"},
        {"group", "/v1/resolve?fleet=oj", 403, "does not reach", "endpoints"},
        {"infer", "/v1/resolve?fleet=oj&brand=1", 403, "has not the scope read", "endpoints"},
    };
    world w;
    world_make(&w);
    token_make(w.dir, "city", MYR_SCOPE_READ, "city", NULL);
    token_make(w.dir, "group", MYR_SCOPE_READ, "oj@brand=1", NULL);
    token_make(w.dir, "infer", MYR_SCOPE_INFER, "", NULL);
    world_serve(&w);
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        char header[64];
        snprintf(header, sizeof header, "Authorization: Bearer secret-%s\r\n", cases[i].token);
        answer a = ask_with(w.port, "GET", cases[i].path, header, "");
        if (a.status != cases[i].status) print_error("case %zu: %d %s\n", i, a.status, a.body);
        EXPECT_INT(a.status, cases[i].status);
        EXPECT_HAS(a.body, cases[i].part);
        EXPECT(strstr(a.body, cases[i].absent) == NULL || (a.status == 403 && strcmp(cases[i].absent, "oj") == 0));
        answer_fini(&a);
    }
    EXPECT_INT(status_with(w.port, "GET", "/v1/services", "", ""), 401);
    world_stop(&w);
}

RUN()
