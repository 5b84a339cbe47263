/* The stores that a service file names: opened when the server starts. */
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

static myr_rc open_source(const serve_service *service, serve_source *source, const char *workspace_root,
                          myr_metrics *metrics, myr_err *err)
{
    myr_err why = {0};
    myr_source_opts opts = {.table = source->table,
                            .keys = source->keys,
                            .key_count = source->key_count,
                            .features = source->features,
                            .feature_count = source->feature_count,
                            .max_age_ms = source->max_age_ms,
                            .metrics = metrics};
    myr_rc rc = myr_service_uri(service, source->uri, workspace_root, &opts.uri, &why);
    if (rc == MYR_OK) rc = myr_source_open(&opts, &source->source, &why);
    if (rc != MYR_OK) return myr_spec_fail(service->spec, source->node, err, "%.200s", why.message);
    return open_check(service, source, err);
}

/* The store that a plan before this one opened at the same place with the same times, or NULL. */
static myr_predictions *open_find(const serve_service *service, const serve_store *store)
{
    for (uint32_t i = 0; i < service->plan_count; i++) {
        const serve_store *other = service->plans[i].store;
        if (other == NULL || other->store == NULL || strcmp(other->uri, store->uri) != 0) continue;
        if (other->keep_ms == store->keep_ms && other->answers_ms == store->answers_ms) return other->store;
    }
    return NULL;
}

static myr_rc open_store(const serve_service *service, serve_store *store, const char *workspace_root,
                         myr_metrics *metrics, myr_err *err)
{
    myr_err why = {0};
    myr_rc rc = myr_service_uri(service, store->uri, workspace_root, &store->uri, &why);
    if (rc == MYR_OK && (store->store = open_find(service, store)) != NULL) return MYR_OK;
    myr_predictions_opts opts = {
        .uri = store->uri, .keep_ms = store->keep_ms, .answer_keep_ms = store->answers_ms, .metrics = metrics};
    if (rc == MYR_OK) rc = myr_predictions_open(&opts, &store->store, &why);
    if (rc != MYR_OK) return myr_spec_fail(service->spec, store->node, err, "%.200s", why.message);
    store->owns = true;
    return MYR_OK;
}

myr_rc myr_service_open(serve_service *service, const char *workspace_root, myr_metrics *metrics, myr_err *err)
{
    for (uint32_t i = 0; i < service->plan_count; i++) {
        serve_plan *plan = &service->plans[i];
        for (uint32_t k = 0; k < plan->source_count; k++)
            MYR_TRY(open_source(service, &plan->sources[k], workspace_root, metrics, err));
        if (plan->store != NULL) MYR_TRY(open_store(service, plan->store, workspace_root, metrics, err));
    }
    return MYR_OK;
}
