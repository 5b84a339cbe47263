/*
 * Finding a request's row in the route table. A pattern is cut at '/'; `{name}` stands for one part, whatever it holds.
 * A path that a row knows with another method is 405 with the methods there are; any other is 404.
 */
#include "serve/internal.h"

#include <string.h>

const serve_access_rule myr_serve_access_rules[SERVE_ACCESS_COUNT] = {
    [SERVE_UNSET] = {"unset", MYR_SCOPE_ALL, SERVE_ON_SERVER},
    [SERVE_OPEN] = {"open", 0, SERVE_ON_LIST},
    [SERVE_READ] = {"read", MYR_SCOPE_READ, SERVE_ON_LIST},
    [SERVE_READ_MODEL] = {"read", MYR_SCOPE_READ, SERVE_ON_MODEL},
    [SERVE_READ_SEGMENT] = {"read", MYR_SCOPE_READ, SERVE_ON_SEGMENT},
    [SERVE_READ_SERVER] = {"read", MYR_SCOPE_READ, SERVE_ON_SERVER},
    [SERVE_INFER_MODEL] = {"infer", MYR_SCOPE_INFER, SERVE_ON_MODEL},
    [SERVE_RUN_JOB] = {"run", MYR_SCOPE_RUN, SERVE_ON_SERVER},
    [SERVE_ADMIN_MODEL] = {"admin", MYR_SCOPE_ADMIN, SERVE_ON_MODEL},
};

static const char *const route_method_names[] = {"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"};

/* A pattern cut at '/'; a part without bytes is a parameter. */
struct serve_pattern {
    const serve_route *route;
    myr_str parts[SERVE_PARTS_MAX];
};

static uint32_t route_cut(const char *pattern, myr_str parts[SERVE_PARTS_MAX])
{
    uint32_t count = 0;
    myr_str rest = myr_str_of(pattern + 1), part;
    while (rest.size > 0 && myr_str_split(&rest, '/', &part)) {
        MYR_ASSERT(count < SERVE_PARTS_MAX && part.size > 0);
        parts[count++] = part.data[0] == '{' ? (myr_str){0} : part;
    }
    return count;
}

/* Patterns of as many parts stand together, in the order of the table. */
myr_rc myr_serve_routes_start(myr_server *server, myr_err *err)
{
    serve_pattern *next = myr_calloc(myr_serve_route_count, sizeof *next);
    if (next == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the routes");
    server->patterns = next;
    for (uint32_t count = 0; count <= SERVE_PARTS_MAX; count++) {
        server->patterns_of[count] = next;
        for (size_t i = 0; i < myr_serve_route_count; i++) {
            serve_pattern pattern = {.route = &myr_serve_routes[i]};
            if (route_cut(pattern.route->pattern, pattern.parts) == count) *next++ = pattern;
        }
    }
    server->patterns_of[SERVE_PARTS_MAX + 1] = server->patterns_of[SERVE_PARTS_MAX + 2] = next;
    MYR_ASSERT(next == server->patterns + myr_serve_route_count);
    return MYR_OK;
}

void myr_serve_routes_stop(myr_server *server)
{
    myr_free(server->patterns);
}

/* From the end: that is where most patterns differ. */
static bool route_matches(const serve_pattern *pattern, const myr_str *parts, uint32_t part_count)
{
    for (uint32_t at = part_count; at-- > 0;) {
        const myr_str *wanted = &pattern->parts[at];
        if (wanted->size > 0 && !myr_str_equal(*wanted, parts[at])) return false;
    }
    return true;
}

static void route_take_params(const serve_pattern *pattern, const myr_str *parts, uint32_t part_count,
                              myr_str out_params[SERVE_PARAMS_MAX])
{
    uint32_t params = 0;
    for (uint32_t at = 0; at < part_count; at++) {
        if (pattern->parts[at].size > 0) continue;
        MYR_ASSERT(params < SERVE_PARAMS_MAX);
        out_params[params++] = parts[at];
    }
}

/* The methods of all rows that know the path, in the order of the table. */
static const char *route_allow(myr_arena *arena, unsigned methods)
{
    const char *text = "";
    for (unsigned i = 0; i < MYR_COUNT_OF(route_method_names) && text != NULL; i++) {
        if ((methods & (1u << i)) == 0) continue;
        text = myr_arena_printf(arena, "%s%s%s", text, text[0] != '\0' ? ", " : "", route_method_names[i]);
    }
    return text;
}

myr_rc myr_serve_route_find(const myr_server *server, myr_req *req, const serve_route **out_route,
                            myr_str out_params[SERVE_PARAMS_MAX], const char **out_allow, myr_err *err)
{
    const myr_str *parts;
    uint32_t part_count = myr_req_segments(req, &parts);
    myr_method method = myr_req_method(req) == MYR_HEAD ? MYR_GET : myr_req_method(req);
    unsigned methods = 0;
    uint32_t place = part_count <= SERVE_PARTS_MAX ? part_count : SERVE_PARTS_MAX + 1; /* where there are none */
    for (const serve_pattern *pattern = server->patterns_of[place]; pattern < server->patterns_of[place + 1];
         pattern++) {
        if (!route_matches(pattern, parts, part_count)) continue;
        if (pattern->route->method == method) {
            *out_route = pattern->route;
            route_take_params(pattern, parts, part_count, out_params);
            return MYR_OK;
        }
        methods |= 1u << pattern->route->method;
        if (pattern->route->method == MYR_GET) methods |= 1u << MYR_HEAD;
    }
    if (methods == 0) MYR_FAIL(err, NOT_FOUND, "no such path: %s", myr_req_path(req));
    *out_allow = route_allow(myr_req_arena(req), methods);
    if (*out_allow == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    MYR_FAIL(err, BAD_METHOD, "%s is not a method of %s, try %s", myr_req_method_name(req), myr_req_path(req),
             *out_allow);
}
