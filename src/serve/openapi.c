/*
 * GET /openapi.json (OpenAPI 3.1) out of the route table and the schemas of share/serve/openapi.json; the page /docs
 * for people, out of the same table; Azure ML's /swagger.json with the columns of the default fleet.
 */
#include "serve/internal.h"

#include <string.h>

#define OPENAPI_BINARY (1u << 16) /* beside the forms of rows: binary tensors */

extern const unsigned char myr_embed_openapi_json[];
extern const size_t myr_embed_openapi_json_size;

static const char *const openapi_methods[] = {"get", "post", "put", "delete", "head", "options"};

/* {"application/json":{"schema":{"$ref":…}}, and the others as text */
static void openapi_put_content(myr_buf *out, const char *type, const char *schema, unsigned forms)
{
    size_t end = strcspn(type, ";");
    myr_buf_printf(out, "\"content\":{\"%.*s\":{\"schema\":{\"$ref\":\"#/components/schemas/%s\"}}", (int)end, type,
                   schema);
    for (serve_format form = SERVE_AS_CSV; form <= SERVE_AS_EVENTS; form++) {
        if ((forms & 1u << form) == 0) continue;
        myr_buf_printf(out, ",\"%s\":{\"schema\":{\"type\":\"string\"}}", myr_serve_format_type(form));
    }
    if ((forms & OPENAPI_BINARY) != 0) myr_buf_puts(out, ",\"" SERVE_BINARY "\":{}");
    myr_buf_putc(out, '}');
}

/* What is always 501 is no part of the interface. */
static bool openapi_has(const serve_route *route)
{
    return route->run != myr_serve_not_supported;
}

/* Those of the path, then those that the row names. */
static void openapi_put_parameters(myr_buf *out, const serve_route *route)
{
    myr_str rest = myr_str_of(route->pattern), name;
    myr_buf_puts(out, "\"parameters\":[");
    while (myr_str_split(&rest, '/', &name)) {
        if (!myr_str_starts_with(name, "{")) continue;
        myr_serve_comma(out);
        myr_buf_printf(out, "{\"$ref\":\"#/components/parameters/path_%.*s\"}", (int)strcspn(name.data, "}") - 1,
                       name.data + 1);
    }
    rest = myr_str_of(route->parameters);
    while (route->parameters != NULL && myr_str_split(&rest, ' ', &name)) {
        myr_serve_comma(out);
        myr_buf_printf(out, "{\"$ref\":\"#/components/parameters/%.*s\"}", (int)name.size, name.data);
    }
    myr_buf_puts(out, "],");
}

static void openapi_put_operation(myr_buf *out, const serve_route *route)
{
    bool is_score = route->run == myr_serve_post_score, is_infer = route->run == myr_serve_post_infer;
    myr_buf_printf(out,
                   "\"%s\":{\"operationId\":\"%s_%zu\",\"tags\":[\"%s\"],\"summary\":", openapi_methods[route->method],
                   route->name, (size_t)(route - myr_serve_routes), route->name);
    myr_buf_json_string(out, myr_str_of(route->summary));
    myr_buf_putc(out, ',');
    openapi_put_parameters(out, route);
    if (route->body != NULL) {
        myr_buf_printf(out, "\"requestBody\":{\"required\":%s,", route->count_rows != NULL ? "true" : "false");
        openapi_put_content(out, SERVE_JSON, route->body, is_infer ? OPENAPI_BINARY : route->takes);
        myr_buf_puts(out, "},");
    }
    myr_buf_printf(out, "\"responses\":{\"%d\":{\"description\":\"The answer.\"",
                   route->status != 0 ? route->status : 200);
    if (route->answer != NULL) {
        unsigned forms = is_score ? route->takes | 1u << SERVE_AS_EVENTS : is_infer ? OPENAPI_BINARY : 0;
        myr_buf_putc(out, ',');
        openapi_put_content(out, route->content_type, route->answer, forms);
    }
    myr_buf_puts(out, "},\"default\":{\"$ref\":\"#/components/responses/Error\"}}}");
}

static bool openapi_is_first(size_t idx)
{
    for (size_t i = 0; i < idx; i++) {
        if (strcmp(myr_serve_routes[i].pattern, myr_serve_routes[idx].pattern) == 0) return false;
    }
    return true;
}

myr_rc myr_serve_get_openapi(serve_call *call, myr_err *err)
{
    (void)err;
    myr_buf *out = call->out;
    bool is_next = false;
    myr_buf_puts(out, "{\"openapi\":\"3.1.0\",\"info\":{\"title\":\"myriad\",\"version\":\"" MYR_VERSION
                      "\"},\"security\":[{},{\"bearer\":[]}],\"paths\":{");
    for (size_t i = 0; i < myr_serve_route_count; i++) {
        const char *pattern = myr_serve_routes[i].pattern;
        if (!openapi_has(&myr_serve_routes[i]) || !openapi_is_first(i)) continue;
        myr_buf_printf(out, "%s\"%s\":{", is_next ? "," : "", pattern);
        is_next = false;
        for (size_t k = i; k < myr_serve_route_count; k++) {
            if (strcmp(myr_serve_routes[k].pattern, pattern) != 0) continue;
            if (is_next) myr_buf_putc(out, ',');
            openapi_put_operation(out, &myr_serve_routes[k]);
            is_next = true;
        }
        myr_buf_putc(out, '}');
        is_next = true;
    }
    myr_buf_puts(out, "},\"components\":");
    myr_buf_append(out, myr_embed_openapi_json, myr_embed_openapi_json_size);
    myr_buf_putc(out, '}');
    return MYR_OK;
}

/* ---- for people ---- */

myr_rc myr_serve_get_docs(serve_call *call, myr_err *err)
{
    (void)err;
    myr_buf *out = call->out;
    myr_buf_puts(out, "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>myriad</title><style>"
                      "body{font:16px sans-serif;margin:2em;max-width:60em}td{padding:.2em 1em .2em 0}"
                      "code{white-space:nowrap}</style><h1>myriad " MYR_VERSION "</h1><p>As a document for programs: "
                      "<a href=\"/openapi.json\">openapi.json</a>.</p><table>");
    for (size_t i = 0; i < myr_serve_route_count; i++) { /* our own words: nothing to escape */
        const serve_route *route = &myr_serve_routes[i];
        if (!openapi_has(route)) continue;
        myr_buf_printf(out, "<tr><td>%s<td><code>%s</code><td>%s", route->method == MYR_GET ? "GET" : "POST",
                       route->pattern, route->summary);
    }
    myr_buf_puts(out, "</table></html>\n");
    return MYR_OK;
}

/* ---- Azure ML ---- */

static void swagger_put_input(void *ctx, const char *name, const char *datatype)
{
    myr_buf *out = ctx;
    const char *type = strcmp(datatype, "INT64") == 0   ? "integer"
                       : strcmp(datatype, "BYTES") == 0 ? "string"
                                                        : "number";
    if (out->data[out->size - 1] != '{') myr_buf_putc(out, ',');
    myr_buf_json_string(out, myr_str_of(name));
    myr_buf_printf(out, ":{\"type\":\"%s\"}", type);
}

myr_rc myr_serve_get_swagger(serve_call *call, myr_err *err)
{
    myr_buf *out = call->out;
    serve_target target = {.model_idx = MYR_PACK_NONE};
    MYR_TRY(myr_serve_default_fleet(call->thread, &target.fleet, err));
    myr_buf_puts(out, "{\"swagger\":\"2.0\",\"info\":{\"title\":");
    myr_buf_json_string(out, myr_str_of(target.fleet->fleet->name));
    myr_buf_printf(out,
                   ",\"version\":\"%lld\"},\"consumes\":[\"application/json\"],\"produces\":[\"application/json\"],",
                   (long long)target.fleet->fleet->release);
    myr_buf_puts(out, "\"paths\":{\"/score\":{\"post\":{\"operationId\":\"RunMLService\",\"parameters\":[{\"name\":"
                      "\"serviceInputPayload\",\"in\":\"body\",\"required\":true,\"schema\":{\"$ref\":"
                      "\"#/definitions/ServiceInput\"}}],\"responses\":{\"200\":{\"description\":\"predictions\","
                      "\"schema\":{\"$ref\":\"#/definitions/ServiceOutput\"}},\"default\":{\"description\":\"error\","
                      "\"schema\":{\"$ref\":\"#/definitions/ErrorResponse\"}}}}}},\"definitions\":{\"ServiceInput\":{"
                      "\"type\":\"object\",\"properties\":{\"data\":{\"type\":\"array\",\"items\":{\"type\":\"object\","
                      "\"properties\":{");
    myr_serve_each_input(&target, swagger_put_input, out);
    myr_buf_puts(out, "}}}}},\"ServiceOutput\":{\"type\":\"array\",\"items\":{\"type\":\"number\"}},\"ErrorResponse\":"
                      "{\"type\":\"object\",\"properties\":{\"message\":{\"type\":\"string\"}}}}}");
    return MYR_OK;
}
