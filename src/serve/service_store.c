/*
 * The map `store` of a fleet: {to: "sqlite:predictions.db", when: before_answer | after_answer, features: true,
 * keep: 30d, valid: 1d, max_age: 10m, keep_answers: 1d, id_is_key: false}
 */
#include "serve/service.h"

myr_rc myr_service_store(const serve_service *service, const myr_spec_node *map, serve_plan *plan, myr_err *err)
{
    static const char *const known[] = {"to",      "when",         "features",  "keep", "valid",
                                        "max_age", "keep_answers", "id_is_key", NULL};
    static const char *const when[] = {"before_answer", "after_answer", NULL};
    uint32_t word = 0;
    serve_store *store = myr_arena_calloc(service->arena, 1, sizeof *store);
    if (store == NULL) MYR_FAIL(err, NO_MEMORY, "%s: out of memory", myr_spec_name(service->spec));
    store->node = map;
    store->keeps_features = true;
    MYR_TRY(myr_spec_check_keys(service->spec, map, known, err));
    MYR_TRY(myr_spec_text(service->spec, map, "to", true, &store->uri, err));
    MYR_TRY(myr_service_word(service, map, "when", when, &word, err));
    store->after_answer = word == 1;
    MYR_TRY(myr_spec_bool(service->spec, map, "features", false, &store->keeps_features, err));
    MYR_TRY(myr_spec_bool(service->spec, map, "id_is_key", false, &store->id_is_key, err));
    MYR_TRY(myr_service_duration(service, map, "keep", SERVE_AGE_MS_MAX, &store->keep_ms, err));
    MYR_TRY(myr_service_duration(service, map, "valid", SERVE_AGE_MS_MAX, &store->valid_ms, err));
    MYR_TRY(myr_service_duration(service, map, "max_age", SERVE_AGE_MS_MAX, &store->max_age_ms, err));
    MYR_TRY(myr_service_duration(service, map, "keep_answers", SERVE_AGE_MS_MAX, &store->answers_ms, err));
    plan->store = store;
    return MYR_OK;
}
