/*
 * The list `fetch` of a fleet: {from: "sqlite:features.db", table: prices, keys: [store, brand], features: [price],
 * max_age: 1h, on_stale: miss | use, within: 20ms, on_miss: default | reject | fallback, defaults: {price: 0.02}}
 */
#include "serve/service.h"

#include <math.h>
#include <string.h>

static myr_rc fetch_no_memory(const serve_service *service, myr_err *err)
{
    MYR_FAIL(err, NO_MEMORY, "%s: out of memory", myr_spec_name(service->spec));
}

static myr_rc fetch_defaults(const serve_service *service, const myr_spec_node *map, serve_source *source, myr_err *err)
{
    const myr_spec_node *defaults = myr_spec_find(map, "defaults");
    source->defaults = myr_arena_calloc(service->arena, source->feature_count, sizeof *source->defaults);
    if (source->defaults == NULL) return fetch_no_memory(service, err);
    for (uint32_t i = 0; i < source->feature_count; i++)
        source->defaults[i].number = (double)NAN;
    if (defaults == NULL) return MYR_OK;
    MYR_TRY(myr_spec_check_keys(service->spec, defaults, source->features, err)); /* NULL-terminated: see spec.h */
    for (uint32_t i = 0; i < source->feature_count; i++) {
        const char *text = NULL;
        MYR_TRY(myr_spec_text(service->spec, defaults, source->features[i], false, &text, err));
        if (text == NULL || myr_parse_double(myr_str_of(text), &source->defaults[i].number)) continue;
        source->defaults[i].text = myr_str_of(text);
    }
    return MYR_OK;
}

static myr_rc fetch_words(const serve_service *service, const myr_spec_node *map, serve_source *source, myr_err *err)
{
    static const char *const misses[] = {"default", "reject", "fallback", NULL};
    static const char *const stales[] = {"miss", "use", NULL};
    uint32_t miss = 0, stale = 0;
    MYR_TRY(myr_service_word(service, map, "on_miss", misses, &miss, err));
    MYR_TRY(myr_service_word(service, map, "on_stale", stales, &stale, err));
    source->on_miss = (serve_miss)miss;
    source->uses_stale = stale == 1;
    return MYR_OK;
}

static myr_rc fetch_source(const serve_service *service, const myr_spec_node *map, serve_source *out, myr_err *err)
{
    static const char *const known[] = {"from",     "table",  "keys",    "features", "max_age",
                                        "on_stale", "within", "on_miss", "defaults", NULL};
    *out = (serve_source){.node = map};
    MYR_TRY(myr_spec_check_keys(service->spec, map, known, err));
    MYR_TRY(myr_spec_text(service->spec, map, "from", true, &out->uri, err));
    MYR_TRY(myr_spec_text(service->spec, map, "table", true, &out->table, err));
    MYR_TRY(myr_spec_texts(service->spec, map, "keys", true, &out->keys, &out->key_count, err));
    MYR_TRY(myr_spec_texts(service->spec, map, "features", true, &out->features, &out->feature_count, err));
    if (out->key_count > MYR_PARTITION_COLUMNS_MAX) {
        return myr_spec_fail(service->spec, map, err, "%u keys, at most %d are taken", out->key_count,
                             MYR_PARTITION_COLUMNS_MAX);
    }
    MYR_TRY(myr_service_duration(service, map, "max_age", SERVE_AGE_MS_MAX, &out->max_age_ms, err));
    MYR_TRY(myr_service_duration(service, map, "within", SERVE_DEADLINE_MS_MAX, &out->within_ms, err));
    MYR_TRY(fetch_words(service, map, out, err));
    return fetch_defaults(service, map, out, err);
}

myr_rc myr_service_fetch(const serve_service *service, const myr_spec_node *node, serve_plan *plan, myr_err *err)
{
    if (node->kind != MYR_SPEC_LIST || node->count == 0) {
        return myr_spec_fail(service->spec, node, err, "'fetch' is a list of sources: - {from: …, table: …, …}");
    }
    if (node->count > SERVE_SOURCES_MAX) {
        return myr_spec_fail(service->spec, node, err, "%u sources, at most %d are taken", node->count,
                             SERVE_SOURCES_MAX);
    }
    plan->sources = myr_arena_calloc(service->arena, node->count, sizeof *plan->sources);
    if (plan->sources == NULL) return fetch_no_memory(service, err);
    for (uint32_t i = 0; i < node->count; i++)
        MYR_TRY(fetch_source(service, node->items[i], &plan->sources[i], err));
    plan->source_count = node->count;
    return MYR_OK;
}
