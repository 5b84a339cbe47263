/*
 * The route table, and finding a request's row in it. A pattern is cut at '/'; `{}` stands for one part, whatever it
 * holds. A path that a row knows with another method is 405 with the methods there are; any other is 404.
 */
#include "serve/internal.h"

#include <string.h>

#define PROMETHEUS "text/plain; version=0.0.4; charset=utf-8"

/* What clients of Triton may ask for and we say no to. */
#define NOT_SUPPORTED(pattern)                                                                                         \
    {MYR_GET, pattern, SERVE_READ, "unsupported", "501", myr_serve_not_supported, NULL, SERVE_JSON},                   \
    {                                                                                                                  \
        MYR_POST, pattern, SERVE_READ, "unsupported", "501", myr_serve_not_supported, NULL, SERVE_JSON                 \
    }

const serve_route myr_serve_routes[] = {
    {MYR_GET, "/v2", SERVE_READ, "server", "name, version and extensions", myr_serve_get_server, NULL, SERVE_JSON},
    {MYR_GET, "/v2/health/live", SERVE_OPEN, "live", "the process answers", myr_serve_get_live, NULL, SERVE_JSON},
    {MYR_GET, "/v2/health/ready", SERVE_OPEN, "ready", "requests are welcome", myr_serve_get_ready, NULL, SERVE_JSON},
    {MYR_GET, "/v2/models", SERVE_READ, "models", "names of all fleets", myr_serve_get_models, NULL, SERVE_JSON},
    {MYR_GET, "/v2/models/stats", SERVE_READ, "stats", "statistics of all fleets", myr_serve_get_all_stats, NULL,
     SERVE_JSON},
    {MYR_GET, "/v2/models/{}", SERVE_READ_MODEL, "metadata", "inputs and outputs of a fleet or of one model",
     myr_serve_get_model, NULL, SERVE_JSON},
    {MYR_GET, "/v2/models/{}/versions/{}", SERVE_READ_MODEL, "metadata", "the same, of one release",
     myr_serve_get_model, NULL, SERVE_JSON},
    {MYR_GET, "/v2/models/{}/ready", SERVE_READ_MODEL, "model_ready", "whether it answers", myr_serve_get_model_ready,
     NULL, SERVE_JSON},
    {MYR_GET, "/v2/models/{}/versions/{}/ready", SERVE_READ_MODEL, "model_ready", "the same, of one release",
     myr_serve_get_model_ready, NULL, SERVE_JSON},
    {MYR_POST, "/v2/models/{}/infer", SERVE_INFER_MODEL, "infer", "score rows, V2 JSON", myr_serve_post_infer,
     myr_serve_infer_rows, SERVE_JSON},
    {MYR_POST, "/v2/models/{}/versions/{}/infer", SERVE_INFER_MODEL, "infer", "the same, of one release",
     myr_serve_post_infer, myr_serve_infer_rows, SERVE_JSON},
    {MYR_GET, "/v2/models/{}/config", SERVE_READ_MODEL, "config", "V2's configuration", myr_serve_get_config, NULL,
     SERVE_JSON},
    {MYR_GET, "/v2/models/{}/versions/{}/config", SERVE_READ_MODEL, "config", "the same, of one release",
     myr_serve_get_config, NULL, SERVE_JSON},
    {MYR_GET, "/v2/models/{}/stats", SERVE_READ_MODEL, "stats", "V2's statistics of a fleet", myr_serve_get_stats, NULL,
     SERVE_JSON},
    {MYR_GET, "/v2/models/{}/versions/{}/stats", SERVE_READ_MODEL, "stats", "the same, of one release",
     myr_serve_get_stats, NULL, SERVE_JSON},
    {MYR_POST, "/v2/repository/index", SERVE_READ, "repository", "fleets and their state", myr_serve_post_index, NULL,
     SERVE_JSON},
    {MYR_POST, "/v2/repository/models/{}/load", SERVE_ADMIN_MODEL, "repository", "look at the registry, serve a fleet",
     myr_serve_post_load, NULL, SERVE_JSON},
    {MYR_POST, "/v2/repository/models/{}/unload", SERVE_ADMIN_MODEL, "repository", "no longer serve a fleet",
     myr_serve_post_unload, NULL, SERVE_JSON},
    NOT_SUPPORTED("/v2/repository/{}/index"),
    NOT_SUPPORTED("/v2/repository/{}/models/{}/load"),
    NOT_SUPPORTED("/v2/repository/{}/models/{}/unload"),
    NOT_SUPPORTED("/v2/logging"),
    NOT_SUPPORTED("/v2/trace/setting"),
    NOT_SUPPORTED("/v2/models/{}/trace/setting"),
    NOT_SUPPORTED("/v2/models/{}/generate"),
    NOT_SUPPORTED("/v2/models/{}/generate_stream"),
    NOT_SUPPORTED("/v2/systemsharedmemory/status"),
    NOT_SUPPORTED("/v2/cudasharedmemory/status"),
    {MYR_POST, "/v1/fleets/{}/score", SERVE_INFER_MODEL, "score", "score rows, one status per row",
     myr_serve_post_score, myr_serve_score_rows, SERVE_JSON},
    {MYR_GET, "/v1/fleets/{}/models/{}", SERVE_READ_SEGMENT, "segment", "which model answers for a segment",
     myr_serve_get_segment, NULL, SERVE_JSON},
    {MYR_GET, "/v1/services", SERVE_READ, "services", "what is served and where", myr_serve_get_services, NULL,
     SERVE_JSON},
    {MYR_GET, "/v1/fleets/{}", SERVE_READ_MODEL, "fleet", "release, signature and levels of a fleet",
     myr_serve_get_fleet, NULL, SERVE_JSON},
    {MYR_GET, "/v1/services/{}", SERVE_READ, "services", "the same, of one service", myr_serve_get_service, NULL,
     SERVE_JSON},
    {MYR_GET, "/v1/resolve", SERVE_READ, "resolve", "which model answers for a segment, and where",
     myr_serve_get_resolve, NULL, SERVE_JSON},
    {MYR_GET, "/metrics", SERVE_READ_SERVER, "metrics", "counters for Prometheus", myr_serve_get_metrics, NULL,
     PROMETHEUS},
};
const size_t myr_serve_route_count = MYR_COUNT_OF(myr_serve_routes);

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
    while (myr_str_split(&rest, '/', &wanted)) {
        if (at == part_count) return false;
        if (myr_str_is(wanted, "{}")) {
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
