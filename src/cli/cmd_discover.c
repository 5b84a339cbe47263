/* `myriad discover [URL]`: which services there are, and where; asked of a server, or read in the registry. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <yyjson.h>

#include "cli/args.h"
#include "cli/commands.h"
#include "fetch/fetch.h"
#include "serve/serve.h"

#define DISCOVER_TIMEOUT_MS 10000
#define DISCOVER_BYTES_MAX  (64LL << 20)
#define DISCOVER_PAGES_MAX  1000
#define DISCOVER_RESERVED   "&=+%#?/@ ,"

typedef struct discover_args {
    const char *url, *ca;
    myr_services_query query;
} discover_args;

/* ---- from a server ---- */

static void discover_put_query(myr_buf *out, const char *name, const char *value)
{
    if (value == NULL) return;
    myr_buf_printf(out, "&%s=", name);
    myr_percent_encode(out, myr_str_of(value), DISCOVER_RESERVED);
}

static myr_rc discover_page(myr_fetch *fetch, const discover_args *args, const char *after, myr_fetch_answer *out,
                            myr_err *err)
{
    MYR_AUTO(myr_buf) url = {0};
    size_t size = strlen(args->url);
    while (size > 0 && args->url[size - 1] == '/')
        size--;
    myr_buf_append(&url, args->url, size);
    myr_buf_puts(&url, "/v1/services?limit=1000");
    discover_put_query(&url, "fleet", args->query.fleet);
    discover_put_query(&url, "group", args->query.group);
    discover_put_query(&url, "tag", args->query.tag);
    discover_put_query(&url, "region", args->query.region);
    discover_put_query(&url, "feature", args->query.feature);
    discover_put_query(&url, "after", after);
    MYR_TRY(myr_buf_check(&url, err));
    const myr_fetch_call call = {.url = url.data,
                                 .timeout_ms = DISCOVER_TIMEOUT_MS,
                                 .bytes_max = DISCOVER_BYTES_MAX,
                                 .token = getenv("MYRIAD_TOKEN"),
                                 .ca = args->ca};
    MYR_TRY(myr_fetch_ask(fetch, &call, out, err));
    if (out->status == 200) return MYR_OK;
    const char *hint =
        out->status == 401 || out->status == 403 ? ": set MYRIAD_TOKEN to a token with the scope read" : "";
    MYR_FAIL(err, UNAVAILABLE, "%.120s answers %d%s: %.*s", url.data, out->status, hint,
             out->body.size > 200 ? 200 : (int)out->body.size, out->body.size > 0 ? out->body.data : "");
}

/* ---- printing ---- */

static const char *discover_text(yyjson_val *map, const char *name)
{
    const char *text = yyjson_get_str(yyjson_obj_get(map, name));
    return text != NULL && text[0] != '\0' ? text : "-";
}

static void discover_print_endpoint(yyjson_val *service, yyjson_val *endpoint)
{
    size_t idx, max;
    yyjson_val *fleet;
    printf("%-16s %-9s %-12s %4.0f%%  %-28s %-24s", discover_text(service, "name"), discover_text(endpoint, "health"),
           discover_text(endpoint, "region"), yyjson_get_num(yyjson_obj_get(endpoint, "load")) * 100,
           discover_text(endpoint, "rest"), discover_text(endpoint, "grpc"));
    yyjson_arr_foreach(yyjson_obj_get(endpoint, "fleets"), idx, max, fleet)
    {
        printf("%s%s r%lld", idx > 0 ? ", " : " ", discover_text(fleet, "name"),
               (long long)yyjson_get_sint(yyjson_obj_get(fleet, "release")));
    }
    putchar('\n');
}

static void discover_print_service(yyjson_val *service, bool json, bool is_first)
{
    size_t idx, max;
    yyjson_val *endpoint;
    if (json) {
        printf("%s", is_first ? "" : ",");
        MYR_IGNORE(yyjson_val_write_fp(stdout, service, 0, NULL, NULL)); /* main.c looks at stdout once, at the end */
        return;
    }
    yyjson_arr_foreach(yyjson_obj_get(service, "endpoints"), idx, max, endpoint)
    {
        discover_print_endpoint(service, endpoint);
    }
}

/* Print a page; *out_next is where the next one begins (myr_free), NULL: there is none. */
static myr_rc discover_print(const char *what, const myr_buf *page, bool json, size_t *count, char **out_next,
                             myr_err *err)
{
    yyjson_doc *doc = page->size > 0 ? yyjson_read(page->data, page->size, 0) : NULL;
    yyjson_val *services = yyjson_obj_get(yyjson_doc_get_root(doc), "services"), *service;
    size_t idx, max;
    if (!yyjson_is_arr(services)) {
        yyjson_doc_free(doc);
        MYR_FAIL(err, BAD_FORMAT, "%.120s does not answer as a server of myriad: there is no list of services", what);
    }
    yyjson_arr_foreach(services, idx, max, service)
    {
        discover_print_service(service, json, (*count)++ == 0);
    }
    const char *next = yyjson_get_str(yyjson_obj_get(yyjson_doc_get_root(doc), "next"));
    *out_next = next != NULL ? myr_strdup(next) : NULL;
    bool is_short = next != NULL && *out_next == NULL;
    yyjson_doc_free(doc);
    if (is_short) MYR_FAIL(err, NO_MEMORY, "out of memory");
    return MYR_OK;
}

static myr_rc discover_from_url(const myr_cli *cli, const discover_args *args, size_t *count, myr_err *err)
{
    MYR_AUTO(myr_fetch_ptr) fetch = NULL;
    MYR_AUTO(myr_mem) after = NULL;
    MYR_TRY(myr_fetch_open(&fetch, err));
    for (int i = 0; i < DISCOVER_PAGES_MAX; i++) {
        MYR_AUTO(myr_fetch_answer) page = {0};
        char *next = NULL;
        MYR_TRY(discover_page(fetch, args, after, &page, err));
        MYR_TRY(discover_print(args->url, &page.body, cli->json, count, &next, err));
        myr_free(after);
        after = next;
        if (next == NULL) return MYR_OK;
    }
    MYR_FAIL(err, TOO_LARGE, "%.120s has more than %d pages of services", args->url, DISCOVER_PAGES_MAX);
}

static myr_rc discover_from_registry(const myr_cli *cli, const discover_args *args, size_t *count, myr_err *err)
{
    char root[MYR_PATH_BYTES_MAX];
    MYR_AUTO(myr_buf) page = {0};
    char *next = NULL;
    MYR_TRY(myr_workspace_find(cli->workspace, root, sizeof root, err));
    MYR_TRY(myr_serve_list_services(root, &args->query, &page, err));
    MYR_TRY(discover_print(root, &page, cli->json, count, &next, err));
    myr_free(next);
    return MYR_OK;
}

static myr_rc discover_run(const myr_cli *cli, const discover_args *args, myr_err *err)
{
    size_t count = 0;
    if (cli->json) {
        printf("{\"services\":[");
    } else {
        printf("service          health    region        load  rest                         grpc                     "
               "fleets\n");
    }
    MYR_TRY(args->url != NULL ? discover_from_url(cli, args, &count, err)
                              : discover_from_registry(cli, args, &count, err));
    if (cli->json) puts("]}");
    if (!cli->json && count == 0) puts("no server is there: myriad serve starts one");
    return MYR_OK;
}

myr_rc myr_cmd_discover(int argc, char **argv, myr_err *err)
{
    discover_args values = {0};
    const myr_cli_arg args[] = {
        {"URL", NULL, MYR_CLI_POSITIONAL_OPT, &values.url, "any server; without it the workspace's registry is read"},
        {"--fleet", "NAME", MYR_CLI_TEXT, &values.query.fleet, "only what serves this fleet"},
        {"--group", "SEGMENT", MYR_CLI_TEXT, &values.query.group, "only what serves all of this segment, as brand=1"},
        {"--tag", "K=V", MYR_CLI_TEXT, &values.query.tag, "only fleets whose models have this tag"},
        {"--region", "NAME", MYR_CLI_TEXT, &values.query.region, "only servers that stand there"},
        {"--feature", "NAME", MYR_CLI_TEXT, &values.query.feature, "only fleets that take this input"},
        {"--ca", "FILE", MYR_CLI_TEXT, &values.ca, "certificates to trust, in PEM"},
    };
    myr_cli cli = {0};
    MYR_TRY(myr_cli_parse("discover", "which services there are, and where (a token: MYRIAD_TOKEN)",
                          "myriad discover http://10.0.0.4:8080 --fleet oj", args, MYR_COUNT_OF(args), argc, argv, &cli,
                          err));
    return cli.done ? MYR_OK : discover_run(&cli, &values, err);
}
