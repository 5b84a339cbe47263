/* The stores that a service file names: opened with it, and kept while a file names them. */
#include "serve/service.h"

#include <stdio.h>
#include <string.h>

#define OPEN_CHECK_MS 2000 /* a store that says nothing for so long is taken as not reached */

/* A relative path of SQLite's stands below the workspace. */
myr_rc myr_service_uri(const serve_service *service, const char *uri, const char *workspace_root, const char **out,
                       myr_err *err)
{
    myr_db_kind kind;
    char path[MYR_PATH_BYTES_MAX];
    MYR_TRY(myr_db_uri_kind(uri, &kind, err));
    *out = uri;
    if (kind != MYR_DB_SQLITE || myr_db_uri_path(uri)[0] == '/') return MYR_OK;
    MYR_TRY(myr_path_join(path, sizeof path, workspace_root, myr_db_uri_path(uri), err));
    *out = myr_arena_printf(service->arena, "sqlite:%s", path);
    if (*out == NULL) MYR_FAIL(err, NO_MEMORY, "%s: out of memory", myr_spec_name(service->spec));
    return MYR_OK;
}

/* Of a store that answers, what is wrong ends the start; one that does not may come later. */
static myr_rc open_check(const serve_service *service, const serve_source *source, myr_err *err)
{
    myr_err why = {0};
    myr_rc rc = myr_source_check(source->source, myr_clock_mono_ns() + OPEN_CHECK_MS * 1000000LL, &why);
    if (rc == MYR_OK) return MYR_OK;
    if (rc == MYR_NOT_FOUND || rc == MYR_BAD_INPUT) {
        return myr_spec_fail(service->spec, source->node, err, "%.200s", why.message);
    }
    myr_log(MYR_LOG_WARN, "serve", "a source of features is not there yet", "table", source->table, "error",
            why.message, NULL);
    return MYR_OK;
}

/* ---- links ---- */

static serve_link *link_find(const serve_links *links, const char *name)
{
    serve_link *link = links->first;
    while (link != NULL && strcmp(link->name, name) != 0)
        link = link->next;
    if (link != NULL) link->refs++;
    return link;
}

/* A new one, not connected yet; takes the name out of the buffer. NULL: no memory. */
static serve_link *link_new(serve_links *links, const myr_buf *name)
{
    serve_link *link = myr_calloc(1, sizeof *link);
    char *copy = myr_strndup(name->data, name->size);
    if (link == NULL || copy == NULL) {
        myr_free(link);
        myr_free(copy);
        return NULL;
    }
    *link = (serve_link){.next = links->first, .refs = 1, .name = copy};
    links->first = link;
    return link;
}

void myr_service_unlink(serve_links *links, serve_link *link)
{
    if (link == NULL) return;
    MYR_ASSERT(link->refs > 0);
    if (--link->refs > 0) return;
    serve_link **at = &links->first;
    while (*at != link)
        at = &(*at)->next;
    *at = link->next;
    myr_source_close(link->source);
    myr_predictions_close(link->store); /* what waits in it is stored */
    myr_free(link->name);
    myr_free(link);
}

/* ---- sources ---- */

/* Sources are not shared by fleets: each has its own connections. */
static void source_name(const serve_plan *plan, uint32_t at, const char *uri, myr_buf *out)
{
    const serve_source *source = &plan->sources[at];
    myr_buf_printf(out, "source\n%s\n%u\n%s\n%s\n%lld", plan->fleet, at, uri, source->table,
                   (long long)source->max_age_ms);
    for (uint32_t i = 0; i < source->key_count; i++)
        myr_buf_printf(out, "\nkey %s", source->keys[i]);
    for (uint32_t i = 0; i < source->feature_count; i++)
        myr_buf_printf(out, "\nfeature %s", source->features[i]);
}

static myr_rc source_connect(const serve_service *service, const serve_source *source, const char *uri,
                             myr_metrics *metrics, serve_link *link, myr_err *err)
{
    myr_err why = {0};
    myr_source_opts opts = {.uri = uri,
                            .table = source->table,
                            .keys = source->keys,
                            .key_count = source->key_count,
                            .features = source->features,
                            .feature_count = source->feature_count,
                            .max_age_ms = source->max_age_ms,
                            .metrics = metrics};
    if (myr_source_open(&opts, &link->source, &why) == MYR_OK) return MYR_OK;
    return myr_spec_fail(service->spec, source->node, err, "%.200s", why.message);
}

static myr_rc open_source(serve_service *service, serve_plan *plan, uint32_t at, const char *workspace_root,
                          myr_metrics *metrics, myr_err *err)
{
    serve_source *source = &plan->sources[at];
    MYR_AUTO(myr_buf) name = {0};
    myr_err why = {0};
    const char *uri;
    if (myr_service_uri(service, source->uri, workspace_root, &uri, &why) != MYR_OK)
        return myr_spec_fail(service->spec, source->node, err, "%.200s", why.message);
    source_name(plan, at, uri, &name);
    MYR_TRY(myr_buf_check(&name, err));
    source->link = link_find(service->links, name.data);
    if (source->link == NULL) {
        source->link = link_new(service->links, &name);
        if (source->link == NULL) MYR_FAIL(err, NO_MEMORY, "%s: out of memory", myr_spec_name(service->spec));
        MYR_TRY(source_connect(service, source, uri, metrics, source->link, err));
    }
    source->source = source->link->source;
    return open_check(service, source, err);
}

/* ---- stores ---- */

static myr_rc store_connect(const serve_service *service, const serve_store *store, myr_metrics *metrics,
                            serve_link *link, myr_err *err)
{
    myr_err why = {0};
    myr_predictions_opts opts = {
        .uri = store->uri, .keep_ms = store->keep_ms, .answer_keep_ms = store->answers_ms, .metrics = metrics};
    if (myr_predictions_open(&opts, &link->store, &why) == MYR_OK) return MYR_OK;
    return myr_spec_fail(service->spec, store->node, err, "%.200s", why.message);
}

/* One for all fleets that name the same place with the same times. */
static myr_rc open_store(serve_service *service, serve_store *store, const char *workspace_root, myr_metrics *metrics,
                         myr_err *err)
{
    MYR_AUTO(myr_buf) name = {0};
    myr_err why = {0};
    if (myr_service_uri(service, store->uri, workspace_root, &store->uri, &why) != MYR_OK)
        return myr_spec_fail(service->spec, store->node, err, "%.200s", why.message);
    myr_buf_printf(&name, "store\n%s\n%lld\n%lld", store->uri, (long long)store->keep_ms, (long long)store->answers_ms);
    MYR_TRY(myr_buf_check(&name, err));
    store->link = link_find(service->links, name.data);
    if (store->link == NULL) {
        store->link = link_new(service->links, &name);
        if (store->link == NULL) MYR_FAIL(err, NO_MEMORY, "%s: out of memory", myr_spec_name(service->spec));
        MYR_TRY(store_connect(service, store, metrics, store->link, err));
    }
    store->store = store->link->store;
    return MYR_OK;
}

myr_rc myr_service_open(serve_service *service, const char *workspace_root, myr_metrics *metrics, serve_links *links,
                        myr_err *err)
{
    service->links = links;
    for (uint32_t i = 0; i < service->plan_count; i++) {
        serve_plan *plan = &service->plans[i];
        for (uint32_t k = 0; k < plan->source_count; k++)
            MYR_TRY(open_source(service, plan, k, workspace_root, metrics, err));
        if (plan->store != NULL) MYR_TRY(open_store(service, plan->store, workspace_root, metrics, err));
    }
    return MYR_OK;
}
