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
    [SERVE_ADMIN_MODEL] = {"admin", MYR_SCOPE_ADMIN, SERVE_ON_MODEL},
};

static const char *const route_method_names[] = {"GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"};

/* Whether the parts are those of the pattern. */
static bool route_matches(const serve_route *route, const myr_str *parts, uint32_t part_count,
                          myr_str out_params[SERVE_PARAMS_MAX])
{
    myr_str rest = myr_str_of(route->pattern + 1), wanted;
    uint32_t at = 0, params = 0;
    if (rest.size == 0) return part_count == 0; /* "/" */
    while (myr_str_split(&rest, '/', &wanted)) {
        if (at == part_count) return false;
        if (myr_str_starts_with(wanted, "{")) {
            MYR_ASSERT(params < SERVE_PARAMS_MAX);
            out_params[params++] = parts[at];
        } else if (!myr_str_equal(wanted, parts[at])) {
            return false;
        }
        at++;
    }
    return at == part_count;
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

myr_rc myr_serve_route_find(myr_req *req, const serve_route **out_route, myr_str out_params[SERVE_PARAMS_MAX],
                            const char **out_allow, myr_err *err)
{
    const myr_str *parts;
    uint32_t part_count = myr_req_segments(req, &parts);
    myr_method method = myr_req_method(req) == MYR_HEAD ? MYR_GET : myr_req_method(req);
    unsigned methods = 0;
    for (size_t i = 0; i < myr_serve_route_count; i++) {
        const serve_route *route = &myr_serve_routes[i];
        if (!route_matches(route, parts, part_count, out_params)) continue;
        if (route->method == method) {
            *out_route = route;
            return MYR_OK;
        }
        methods |= 1u << route->method;
        if (route->method == MYR_GET) methods |= 1u << MYR_HEAD;
    }
    if (methods == 0) MYR_FAIL(err, NOT_FOUND, "no such path: %s", myr_req_path(req));
    *out_allow = route_allow(myr_req_arena(req), methods);
    if (*out_allow == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    MYR_FAIL(err, BAD_METHOD, "%s is not a method of %s, try %s", myr_req_method_name(req), myr_req_path(req),
             *out_allow);
}
