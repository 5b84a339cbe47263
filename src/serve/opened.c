/* One opened fleet as requests use it: its release, its plan, what they look up by name. */
#include "serve/reload.h"

#include <string.h>

void myr_serve_fleet_free(serve_fleet *served)
{
    if (served == NULL) return;
    myr_serve_plan_unbind(served->bound);
    myr_service_drop(served->service, served->plan);
    myr_fleet_close(served->fleet);
    myr_map_free(served->inputs);
    myr_free(served->known);
    myr_free(served->models);
    myr_free(served);
}

void myr_serve_fleet_release(serve_fleet *served)
{
    MYR_ASSERT(served->refs > 0);
    if (--served->refs == 0) myr_serve_fleet_free(served);
}

/* Every input's name with what it is: a partition column, a feature, or both. */
static myr_rc fleet_name_inputs(serve_fleet *served, myr_err *err)
{
    const myr_pack_info *info = served->fleet->info;
    served->inputs = myr_map_new();
    served->known = myr_calloc((size_t)info->keys.column_count + info->feature_count + 1, sizeof *served->known);
    if (served->inputs == NULL || served->known == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for a fleet's inputs");
    size_t count = 0;
    for (uint32_t i = 0; i < info->keys.column_count; i++) {
        myr_str name = myr_str_of(info->keys.columns[i].name);
        MYR_TRY(myr_map_put(served->inputs, name, (uint64_t)(i + 1) << 32, err));
        served->known[count++] = info->keys.columns[i].name;
    }
    for (uint32_t i = 0; i < info->feature_count; i++) {
        myr_str name = myr_str_of(info->features[i]);
        uint64_t value = 0;
        if (!myr_map_find(served->inputs, name, &value)) served->known[count++] = info->features[i];
        MYR_TRY(myr_map_put(served->inputs, name, value | (i + 1), err));
    }
    return MYR_OK;
}

/* *out_plan_is_bad: the service file does not fit the fleet. */
myr_rc myr_serve_fleet_open(serve_reloader *reloader, const char *name, int64_t release, serve_fleet **out,
                            bool *out_plan_is_bad, myr_err *err)
{
    serve_fleet *served = myr_calloc(1, sizeof *served);
    if (served == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for fleet %s", name);
    serve_service *service = reloader->service;
    const serve_plan *plan = myr_service_plan(service, name);
    served->service = service;
    served->plan = plan;
    myr_service_hold(service, plan);
    myr_rc rc = myr_fleet_open(reloader->workspace, name, release, &served->fleet, err);
    if (rc == MYR_OK && plan != NULL) {
        rc = myr_serve_plan_bind(service, plan, served->fleet, &served->bound, err);
        *out_plan_is_bad = rc == MYR_BAD_INPUT;
    }
    if (rc == MYR_OK) {
        rc = myr_registry_release_code(reloader->workspace->registry, served->fleet->arena, served->fleet->row.id,
                                       served->fleet->release, &served->code, &served->code_count, err);
    }
    if (rc == MYR_OK) rc = myr_serve_models_new(served, err);
    if (rc == MYR_OK) rc = fleet_name_inputs(served, err);
    if (rc == MYR_OK) rc = myr_pack_count_levels(served->fleet->pack, served->level_models, err);
    if (rc != MYR_OK) {
        myr_serve_fleet_free(served);
        return rc;
    }
    served->label = myr_serve_metrics_label(reloader->server, name);
    *out = served;
    return MYR_OK;
}

/* By the service file that is in force, or tried. One that says the same of it as before is as good. */
static bool fleet_is_of_plan(const serve_reloader *reloader, const serve_fleet *served)
{
    if (served->service == reloader->service) return true;
    const serve_plan *now = myr_service_plan(reloader->service, served->fleet->name);
    return myr_service_plan_equal(served->plan, now);
}

bool myr_serve_fleet_is_as(const serve_reloader *reloader, const serve_fleet *served, int64_t release)
{
    if (served == NULL || served->fleet->release != release || !fleet_is_of_plan(reloader, served)) return false;
    return served->bound == NULL || myr_serve_plan_is_current(served->bound);
}

bool myr_serve_fleet_may_go_on(const serve_reloader *reloader, const serve_fleet *served)
{
    return served != NULL && fleet_is_of_plan(reloader, served);
}
