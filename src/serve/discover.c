/*
 * Asking the directory: GET /v1/services, /v1/services/{name} and /v1/resolve. Answers come out of the snapshot alone;
 * a lease that ran out since it was made counts as gone.
 */
#include <stdlib.h>
#include <string.h>

#include "serve/directory.h"
#include "serve/internal.h"

#define DISCOVER_LIMIT_DEFAULT 100
#define DISCOVER_LIMIT_MAX     1000

/* ---- what matches ---- */

static bool list_has(const char *const *list, myr_str wanted)
{
    for (size_t i = 0; list != NULL && list[i] != NULL; i++) {
        if (myr_str_is(wanted, list[i])) return true;
    }
    return false;
}

/* Does a served group hold all of the segment: is each of its parts one of the segment's? */
static bool group_covers(const char *group, const myr_segment *segment)
{
    myr_segment served;
    if (myr_segment_parse(myr_str_of(group), &served, NULL) != MYR_OK) return false;
    for (uint32_t i = 0; i < served.part_count; i++) {
        bool is_there = false;
        for (uint32_t k = 0; k < segment->part_count && !is_there; k++) {
            is_there = strcmp(served.parts[i].name, segment->parts[k].name) == 0 &&
                       served.parts[i].value_size == segment->parts[k].value_size &&
                       memcmp(served.parts[i].value, segment->parts[k].value, served.parts[i].value_size) == 0;
        }
        if (!is_there) return false;
    }
    return true;
}

static bool fleet_serves(const directory_fleet *fleet, const myr_segment *segment)
{
    for (uint32_t i = 0; i < segment->part_count; i++) {
        if (!list_has(fleet->columns, myr_str_of(segment->parts[i].name))) return false;
    }
    for (size_t i = 0; fleet->groups != NULL && fleet->groups[i] != NULL; i++) {
        if (group_covers(fleet->groups[i], segment)) return true;
    }
    return fleet->groups == NULL;
}

/* A query with its group taken apart. */
typedef struct discover_filter {
    const directory_query *query;
    myr_segment group;
    bool has_group;
    int64_t now_ms;
} discover_filter;

static bool filter_takes_fleet(const discover_filter *filter, const directory_fleet *fleet)
{
    const directory_query *query = filter->query;
    if (!myr_serve_may_see(query->who, fleet->name)) return false;
    if (query->fleet.data != NULL && !myr_str_is(query->fleet, fleet->name)) return false;
    if (query->tag.data != NULL && !list_has(fleet->tags, query->tag)) return false;
    if (query->feature.data != NULL && !list_has(fleet->features, query->feature)) return false;
    return !filter->has_group || fleet_serves(fleet, &filter->group);
}

static bool filter_wants_fleets(const discover_filter *filter)
{
    const directory_query *query = filter->query;
    return filter->has_group || query->fleet.data != NULL || query->tag.data != NULL || query->feature.data != NULL;
}

static bool filter_takes_server(const discover_filter *filter, const directory_server *server)
{
    const directory_query *query = filter->query;
    if (server->row.expires_ms <= filter->now_ms) return false;
    if (query->service.data != NULL && !myr_str_is(query->service, server->row.service)) return false;
    if (query->region.data != NULL && !myr_str_is(query->region, server->row.region)) return false;
    if (server->fleets->count == 0) return !filter_wants_fleets(filter);
    for (size_t i = 0; i < server->fleets->count; i++) {
        if (filter_takes_fleet(filter, &server->fleets->items[i])) return true;
    }
    return false;
}

/* ---- one server ---- */

/* "token,mtls" as ["token","mtls"] */
static void put_commas(myr_buf *out, const char *text)
{
    myr_str rest = myr_str_of(text), part;
    myr_buf_putc(out, '[');
    while (rest.size > 0 && myr_str_split(&rest, ',', &part)) {
        if (out->data[out->size - 1] != '[') myr_buf_putc(out, ',');
        myr_buf_json_string(out, part);
    }
    myr_buf_putc(out, ']');
}

static void put_text(myr_buf *out, const char *name, const char *text)
{
    if (text[0] == '\0') {
        myr_buf_printf(out, ",\"%s\":null", name);
    } else {
        myr_buf_json_field(out, name, text);
    }
}

static void put_server(myr_buf *out, const directory_server *server, const discover_filter *filter)
{
    const myr_instance_row *row = &server->row;
    char started[MYR_TIME_TEXT_BYTES];
    myr_buf_puts(out, "{\"id\":");
    myr_buf_json_string(out, myr_str_of(row->id));
    put_text(out, "region", row->region);
    put_text(out, "rest", row->rest);
    put_text(out, "grpc", row->grpc);
    put_text(out, "admin", row->admin);
    put_text(out, "health", row->state);
    myr_buf_puts(out, ",\"load\":");
    myr_buf_json_double(out, row->load);
    myr_buf_puts(out, ",\"authentication\":");
    put_commas(out, row->auth);
    put_text(out, "program", row->program);
    myr_buf_printf(out, ",\"started\":\"%s\",\"fleets\":[", myr_format_time(row->started_ms, started));
    for (size_t i = 0; i < server->fleets->count; i++) {
        const directory_fleet *fleet = &server->fleets->items[i];
        if (!filter_takes_fleet(filter, fleet)) continue;
        myr_buf_printf(out, "%s{\"name\":\"%s\",\"release\":%lld}", out->data[out->size - 1] == '[' ? "" : ",",
                       fleet->name, (long long)fleet->release);
    }
    myr_buf_puts(out, "]}");
}

/* ---- one service: servers[from, to) that have its name ---- */

/* By name, the newest release first. */
static int fleet_order(const void *a, const void *b)
{
    const directory_fleet *x = *(const directory_fleet *const *)a, *y = *(const directory_fleet *const *)b;
    int order = strcmp(x->name, y->name);
    return order != 0 ? order : (x->release < y->release) - (x->release > y->release);
}

/* The fleets of a service's servers, each once; in the arena. */
static myr_rc service_fleets(const directory_server *const *servers, size_t count, const discover_filter *filter,
                             myr_arena *arena, const directory_fleet ***out, size_t *out_count, myr_err *err)
{
    size_t room = 0, found = 0, kept = 0;
    for (size_t i = 0; i < count; i++)
        room += servers[i]->fleets->count;
    const directory_fleet **fleets = myr_arena_calloc(arena, room + 1, sizeof *fleets);
    if (fleets == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for %zu fleets", room);
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < servers[i]->fleets->count; k++) {
            const directory_fleet *fleet = &servers[i]->fleets->items[k];
            if (filter_takes_fleet(filter, fleet)) fleets[found++] = fleet;
        }
    }
    qsort(fleets, found, sizeof *fleets, fleet_order);
    for (size_t i = 0; i < found; i++) {
        if (kept == 0 || strcmp(fleets[kept - 1]->name, fleets[i]->name) != 0) fleets[kept++] = fleets[i];
    }
    *out = fleets;
    *out_count = kept;
    return MYR_OK;
}

static void put_service_head(myr_buf *out, const directory_server *const *servers, size_t count)
{
    bool is_ready = false;
    double load = 0;
    for (size_t i = 0; i < count; i++) {
        is_ready = is_ready || strcmp(servers[i]->row.state, "ready") == 0;
        load += servers[i]->row.load / (double)count;
    }
    myr_buf_puts(out, "{\"name\":");
    myr_buf_json_string(out, myr_str_of(servers[0]->row.service));
    myr_buf_printf(out, ",\"health\":\"%s\",\"load\":", is_ready ? "ready" : "draining");
    myr_buf_json_double(out, load);
    myr_buf_puts(out, ",\"authentication\":");
    put_commas(out, servers[0]->row.auth);
    myr_buf_puts(out, ",\"regions\":[");
    for (size_t i = 0; i < count; i++) { /* ordered by region */
        if (i > 0 && strcmp(servers[i - 1]->row.region, servers[i]->row.region) == 0) continue;
        if (servers[i]->row.region[0] == '\0') continue;
        if (out->data[out->size - 1] != '[') myr_buf_putc(out, ',');
        myr_buf_json_string(out, myr_str_of(servers[i]->row.region));
    }
    myr_buf_putc(out, ']');
}

static myr_rc put_service(myr_buf *out, const directory_server *const *servers, size_t count,
                          const discover_filter *filter, myr_arena *arena, myr_err *err)
{
    const directory_fleet **fleets = NULL;
    size_t fleet_count = 0;
    int64_t models = 0;
    MYR_TRY(service_fleets(servers, count, filter, arena, &fleets, &fleet_count, err));
    for (size_t i = 0; i < fleet_count; i++)
        models += fleets[i]->model_count;
    put_service_head(out, servers, count);
    myr_buf_printf(out, ",\"model_count\":%lld,\"fleets\":[", (long long)models);
    for (size_t i = 0; i < fleet_count; i++) {
        if (i > 0) myr_buf_putc(out, ',');
        myr_buf_puts(out, fleets[i]->doc);
    }
    myr_buf_puts(out, "],\"endpoints\":[");
    for (size_t i = 0; i < count; i++) {
        if (i > 0) myr_buf_putc(out, ',');
        put_server(out, servers[i], filter);
    }
    myr_buf_puts(out, "]}");
    return MYR_OK;
}

/* ---- all services ---- */

static myr_rc filter_make(const directory_query *query, int64_t now_ms, discover_filter *out, myr_err *err)
{
    *out = (discover_filter){.query = query, .now_ms = now_ms, .has_group = query->group.data != NULL};
    return out->has_group ? myr_segment_parse(query->group, &out->group, err) : MYR_OK;
}

static bool name_is_after(const char *name, myr_str after)
{
    if (after.data == NULL) return true;
    size_t size = strlen(name), shared = size < after.size ? size : after.size;
    int order = shared > 0 ? memcmp(name, after.data, shared) : 0;
    return order > 0 || (order == 0 && size > after.size);
}

myr_rc myr_serve_directory_put(const serve_directory *directory, const directory_query *query, int64_t now_ms,
                               myr_arena *arena, myr_buf *out, size_t *out_count, myr_err *err)
{
    discover_filter filter;
    size_t total = directory != NULL ? directory->count : 0, found = 0, services = 0;
    MYR_TRY(filter_make(query, now_ms, &filter, err));
    const directory_server **servers = myr_arena_calloc(arena, total + 1, sizeof *servers);
    if (servers == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for %zu servers", total);
    for (size_t i = 0; i < total; i++) {
        const directory_server *server = &directory->servers[i];
        if (filter_takes_server(&filter, server) && name_is_after(server->row.service, query->after))
            servers[found++] = server;
    }
    myr_buf_puts(out, "{\"services\":[");
    size_t from = 0;
    while (from < found && services < (size_t)query->limit) {
        size_t to = from + 1;
        while (to < found && strcmp(servers[to]->row.service, servers[from]->row.service) == 0)
            to++;
        if (services++ > 0) myr_buf_putc(out, ',');
        MYR_TRY(put_service(out, servers + from, to - from, &filter, arena, err));
        from = to;
    }
    myr_buf_puts(out, "],\"next\":");
    if (from < found && from > 0) {
        myr_buf_json_string(out, myr_str_of(servers[from - 1]->row.service));
    } else {
        myr_buf_puts(out, "null");
    }
    myr_buf_putc(out, '}');
    *out_count = services;
    return MYR_OK;
}

/* ---- without a server ---- */

static myr_str query_text(const char *text)
{
    return text != NULL ? myr_str_of(text) : (myr_str){0};
}

static myr_rc list_directory(const serve_directory *directory, const myr_services_query *query, myr_buf *out,
                             myr_err *err)
{
    const serve_principal who = {.is_known = true}; /* who reads the registry sees all of it */
    const directory_query asked = {.who = &who,
                                   .fleet = query_text(query->fleet),
                                   .group = query_text(query->group),
                                   .tag = query_text(query->tag),
                                   .region = query_text(query->region),
                                   .feature = query_text(query->feature),
                                   .limit = DISCOVER_LIMIT_MAX};
    size_t count;
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the services");
    MYR_TRY(myr_serve_directory_put(directory, &asked, myr_clock_unix_ms(), arena, out, &count, err));
    return myr_buf_check(out, err);
}

myr_rc myr_serve_list_services(const char *workspace_root, const myr_services_query *query, myr_buf *out, myr_err *err)
{
    MYR_AUTO(myr_workspace_ptr) workspace = NULL;
    serve_directory *directory;
    MYR_TRY(myr_workspace_open(workspace_root, &workspace, err));
    MYR_TRY(myr_serve_directory_read(workspace->registry, NULL, NULL, NULL, &directory, err));
    myr_rc rc = list_directory(directory, query, out, err);
    myr_serve_directory_release(directory);
    return rc;
}

/* ---- routes ---- */

/* The parameters by name; every one is known, each stands once. */
static myr_rc query_take(void *ctx, myr_str name, myr_str value, myr_err *err)
{
    directory_query *query = ctx;
    static const char *const known[] = {"fleet", "group", "tag", "region", "feature", "after", "limit", NULL};
    myr_str *const slots[] = {&query->fleet,  &query->group,   &query->tag,
                              &query->region, &query->feature, &query->after};
    if (myr_str_is(name, "limit")) {
        if (myr_parse_int64(value, &query->limit) && query->limit >= 1 && query->limit <= DISCOVER_LIMIT_MAX)
            return MYR_OK;
        MYR_FAIL(err, BAD_INPUT, "limit=" MYR_STR_FMT ": 1 to %d services", MYR_STR_ARG(value), DISCOVER_LIMIT_MAX);
    }
    for (size_t i = 0; i < MYR_COUNT_OF(slots); i++) {
        if (!myr_str_is(name, known[i])) continue;
        if (slots[i]->data != NULL) MYR_FAIL(err, BAD_INPUT, "%s= stands twice in the query", known[i]);
        *slots[i] = value;
        return MYR_OK;
    }
    MYR_FAIL(err, BAD_INPUT, "unknown parameter '" MYR_STR_FMT "': fleet, group, tag, region, feature, after, limit",
             MYR_STR_ARG(name));
}

/* Does If-None-Match name the tag? */
static bool etag_matches(const char *header, const char *tag)
{
    myr_str rest = myr_str_of(header), part;
    while (rest.size > 0 && myr_str_split(&rest, ',', &part)) {
        part = myr_str_trim(part);
        if (myr_str_starts_with(part, "W/")) part = myr_str_make(part.data + 2, part.size - 2);
        if (myr_str_is(part, tag) || myr_str_is(part, "*")) return true;
    }
    return false;
}

/* The answer's own hash is its tag: what reads the same is the same. */
static myr_rc reply_etag(serve_call *call, myr_err *err)
{
    MYR_TRY(myr_buf_check(call->out, err));
    uint64_t hash = myr_hash64(call->out->data, call->out->size, 0);
    char *tag = myr_arena_printf(call->arena, "\"%016llx\"", (unsigned long long)hash);
    if (tag == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    myr_req_add_header(call->req, "ETag", tag);
    myr_req_add_header(call->req, "Cache-Control", "no-cache");
    const char *header = myr_req_header(call->req, "If-None-Match");
    call->is_unchanged = header != NULL && etag_matches(header, tag);
    return MYR_OK;
}

myr_rc myr_serve_get_services(serve_call *call, myr_err *err)
{
    directory_query query = {.who = call->who, .limit = DISCOVER_LIMIT_DEFAULT};
    size_t count;
    MYR_TRY(myr_req_each_query(call->req, query_take, &query, err));
    MYR_TRY(myr_serve_directory_put(call->snapshot->directory, &query, myr_clock_unix_ms(), call->arena, call->out,
                                    &count, err));
    return reply_etag(call, err);
}

myr_rc myr_serve_get_service(serve_call *call, myr_err *err)
{
    static const char head[] = "{\"services\":[", tail[] = "],\"next\":null}";
    directory_query query = {.who = call->who, .limit = 1};
    size_t count;
    MYR_TRY(myr_req_each_query(call->req, query_take, &query, err));
    query.service = call->params[0];
    MYR_TRY(myr_serve_directory_put(call->snapshot->directory, &query, myr_clock_unix_ms(), call->arena, call->out,
                                    &count, err));
    MYR_TRY(myr_buf_check(call->out, err));
    if (count == 0) {
        const serve_fleet *served = myr_serve_snapshot_find(call->snapshot, call->params[0]);
        bool is_fleet = served != NULL && myr_serve_may_see(call->who, served->fleet->name);
        MYR_FAIL(err, NOT_FOUND, "no service '" MYR_STR_FMT "' is known%s: GET /v1/services lists them",
                 MYR_STR_ARG(call->params[0]), is_fleet ? " (a fleet has this name: GET /v1/fleets/{fleet})" : "");
    }
    /* The one service, out of its list. */
    size_t size = call->out->size - (sizeof head - 1) - (sizeof tail - 1);
    memmove(call->out->data, call->out->data + sizeof head - 1, size);
    call->out->size = size;
    return reply_etag(call, err);
}

/* ---- which model, and where ---- */

typedef struct resolve_query {
    myr_str fleet, region, text;
    myr_segment segment;
} resolve_query;

static myr_rc resolve_add(myr_segment *segment, myr_str name, myr_str value, myr_err *err)
{
    if (segment->part_count == MYR_PARTITION_COLUMNS_MAX) {
        MYR_FAIL(err, BAD_INPUT, "more than %d parameters besides fleet and region", MYR_PARTITION_COLUMNS_MAX);
    }
    if (name.size == 0 || name.size > MYR_NAME_BYTES_MAX || value.size > MYR_KEY_VALUE_BYTES_MAX) {
        MYR_FAIL(err, BAD_INPUT, "'%.*s': a column has 1 to %d bytes, its value at most %d",
                 name.size > 100 ? 100 : (int)name.size, name.data, MYR_NAME_BYTES_MAX, MYR_KEY_VALUE_BYTES_MAX);
    }
    uint32_t at = segment->part_count++;
    memcpy(segment->parts[at].name, name.data, name.size);
    segment->parts[at].name[name.size] = '\0';
    memcpy(segment->parts[at].value, value.data, value.size);
    segment->parts[at].value[value.size] = '\0';
    segment->parts[at].value_size = value.size;
    return MYR_OK;
}

static myr_rc resolve_take(void *ctx, myr_str name, myr_str value, myr_err *err)
{
    resolve_query *query = ctx;
    static const char *const known[] = {"fleet", "region", "segment"};
    myr_str *const slots[] = {&query->fleet, &query->region, &query->text};
    for (size_t i = 0; i < MYR_COUNT_OF(slots); i++) {
        if (!myr_str_is(name, known[i])) continue;
        if (slots[i]->data != NULL) MYR_FAIL(err, BAD_INPUT, "%s= stands twice in the query", known[i]);
        *slots[i] = value;
        return MYR_OK;
    }
    return resolve_add(&query->segment, name, value, err);
}

static myr_rc resolve_read(serve_call *call, resolve_query *query, myr_err *err)
{
    *query = (resolve_query){0};
    MYR_TRY(myr_req_each_query(call->req, resolve_take, query, err));
    if (query->fleet.data == NULL) MYR_FAIL(err, BAD_INPUT, "fleet= is missing: /v1/resolve?fleet=oj&store=2&brand=1");
    if (query->text.data == NULL) return MYR_OK;
    if (query->segment.part_count > 0) {
        MYR_FAIL(err, BAD_INPUT, "segment= says all of the segment: '%s' can't stand beside it",
                 query->segment.parts[0].name);
    }
    return myr_segment_parse(query->text, &query->segment, err);
}

/* Which fleet it is about stands in the query, so the route table could not ask. */
static myr_rc resolve_check(serve_call *call, const resolve_query *query, myr_err *err)
{
    const char *columns[MYR_PARTITION_COLUMNS_MAX];
    MYR_AUTO(myr_buf) text = {0};
    for (uint32_t i = 0; i < query->segment.part_count; i++)
        columns[i] = query->segment.parts[i].name;
    MYR_TRY(myr_segment_format(&query->segment, columns, query->segment.part_count, &text, err));
    MYR_TRY(myr_buf_check(&text, err));
    return myr_serve_may(call->who, MYR_SCOPE_READ, SERVE_ON_SEGMENT, query->fleet, myr_str_make(text.data, text.size),
                         err);
}

/* "endpoints":[…]: who answers for the segment. */
static size_t put_endpoints(serve_call *call, const resolve_query *query)
{
    const serve_directory *directory = call->snapshot->directory;
    const directory_query by_fleet = {.who = call->who, .fleet = query->fleet, .region = query->region};
    const discover_filter filter = {
        .query = &by_fleet, .group = query->segment, .has_group = true, .now_ms = myr_clock_unix_ms()};
    size_t count = 0;
    myr_buf_puts(call->out, "\"endpoints\":[");
    for (size_t i = 0; directory != NULL && i < directory->count; i++) {
        if (!filter_takes_server(&filter, &directory->servers[i])) continue;
        if (count++ > 0) myr_buf_putc(call->out, ',');
        put_server(call->out, &directory->servers[i], &filter);
    }
    myr_buf_putc(call->out, ']');
    return count;
}

/* Which model of this server's release; false: none on the fallback chain. */
static myr_rc put_model(serve_call *call, const serve_fleet *served, const myr_segment *segment, myr_err *err)
{
    const myr_fleet *fleet = served->fleet;
    uint32_t model_idx = MYR_PACK_NONE;
    myr_level level;
    myr_pack_entry entry;
    MYR_TRY(myr_serve_segment_find(fleet, segment, &model_idx, &level, err));
    if (level == MYR_LEVEL_NONE) {
        MYR_FAIL(err, NOT_FOUND, "fleet %s has no model for this segment on its fallback chain", fleet->name);
    }
    MYR_TRY(myr_pack_get_entry(fleet->pack, model_idx, &entry, err));
    MYR_AUTO(myr_buf) name = {0};
    MYR_TRY(myr_score_model_name(fleet->scorer, model_idx, &name, err));
    MYR_TRY(myr_buf_check(&name, err));
    myr_buf_puts(call->out, "\"model\":");
    myr_buf_json_string(call->out, myr_str_make(name.data, name.size));
    myr_buf_printf(call->out, ",\"model_version\":%lld,\"level\":\"%s\",\"release\":%lld,", (long long)entry.version,
                   myr_level_name(level), (long long)fleet->release);
    return MYR_OK;
}

/* Does this server itself answer for the segment? */
static bool resolve_is_here(const serve_fleet *served, const myr_segment *segment)
{
    const serve_plan *plan = served != NULL && served->bound != NULL ? served->bound->plan : NULL;
    for (uint32_t i = 0; plan != NULL && i < plan->group_count; i++) {
        if (group_covers(plan->groups[i], segment)) return true;
    }
    return served != NULL && (plan == NULL || plan->group_count == 0);
}

myr_rc myr_serve_get_resolve(serve_call *call, myr_err *err)
{
    resolve_query query;
    MYR_TRY(resolve_read(call, &query, err));
    MYR_TRY(resolve_check(call, &query, err));
    const serve_fleet *served = myr_serve_snapshot_find(call->snapshot, query.fleet);
    if (!resolve_is_here(served, &query.segment)) served = NULL;
    myr_buf_puts(call->out, "{\"fleet\":");
    myr_buf_json_string(call->out, query.fleet);
    myr_buf_putc(call->out, ',');
    if (served != NULL) {
        MYR_TRY(put_model(call, served, &query.segment, err));
    } else {
        myr_buf_puts(call->out, "\"model\":null,"); /* others serve it: they know */
    }
    if (put_endpoints(call, &query) == 0 && served == NULL) {
        MYR_FAIL(err, NOT_FOUND, "no server is known that serves fleet '" MYR_STR_FMT "' for this segment",
                 MYR_STR_ARG(query.fleet));
    }
    myr_buf_putc(call->out, '}');
    return reply_etag(call, err);
}
