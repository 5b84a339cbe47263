/*
 * A plan bound to an opened fleet: names of the service file become columns, segments become keys. Done once when a
 * fleet is opened, so that a request looks nothing up.
 */
#include "serve/plan.h"

#include <stdlib.h>
#include <string.h>

/* The place of a feature; BAD_INPUT with file, line and the nearest one. */
static myr_rc bind_feature(const serve_service *service, const serve_bound *bound, const myr_spec_node *node,
                           const char *name, uint32_t *out, myr_err *err)
{
    const myr_pack_info *info = bound->fleet->info;
    for (uint32_t i = 0; i < info->feature_count; i++) {
        if (strcmp(info->features[i], name) != 0) continue;
        *out = i;
        return MYR_OK;
    }
    const char **known = myr_arena_calloc(bound->arena, (size_t)info->feature_count + 1, sizeof *known);
    if (known == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for a fleet's plan");
    for (uint32_t i = 0; i < info->feature_count; i++)
        known[i] = info->features[i];
    const char *nearest = myr_nearest(name, known);
    return myr_spec_fail(service->spec, node, err, "fleet '%s' has no feature '%.60s'%s%s%s", bound->fleet->name, name,
                         nearest != NULL ? ": did you mean '" : "", nearest != NULL ? nearest : "",
                         nearest != NULL ? "'?" : "");
}

static myr_rc bind_names(const serve_service *service, const serve_bound *bound, const myr_spec_node *node,
                         const char *const *names, uint32_t count, uint32_t **out, myr_err *err)
{
    uint32_t *features = myr_arena_calloc(bound->arena, (size_t)count + 1, sizeof *features);
    if (features == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for a fleet's plan");
    for (uint32_t i = 0; i < count; i++)
        MYR_TRY(bind_feature(service, bound, node, names[i], &features[i], err));
    *out = features;
    return MYR_OK;
}

static myr_rc bind_checks(const serve_service *service, serve_bound *bound, myr_err *err)
{
    const serve_validate *validate = &bound->plan->validate;
    bound->check_features = myr_arena_calloc(bound->arena, (size_t)validate->check_count + 1, sizeof(uint32_t));
    bound->order_features = myr_arena_calloc(bound->arena, (size_t)validate->order_count + 1, sizeof(uint32_t *));
    if (bound->check_features == NULL || bound->order_features == NULL) {
        MYR_FAIL(err, NO_MEMORY, "out of memory for a fleet's plan");
    }
    for (uint32_t i = 0; i < validate->check_count; i++) {
        const serve_check *check = &validate->checks[i];
        MYR_TRY(bind_feature(service, bound, check->node, check->name, &bound->check_features[i], err));
    }
    for (uint32_t i = 0; i < validate->order_count; i++) {
        const serve_order *order = &validate->orders[i];
        MYR_TRY(bind_names(service, bound, order->node, order->names, order->count, &bound->order_features[i], err));
    }
    if (!validate->output.is_monotone || bound->fleet->info->output_count > 1) return MYR_OK;
    return myr_spec_fail(service->spec, bound->plan->node, err,
                         "fleet '%s' has one output: 'output: {monotone: …}' is for several", bound->fleet->name);
}

static myr_rc bind_group(const serve_service *service, const serve_bound *bound, const myr_spec_node *node,
                         const char *text, serve_group *out, myr_err *err)
{
    myr_segment segment;
    myr_err why = {0};
    unsigned char key[MYR_KEY_BYTES_MAX];
    MYR_TRY(myr_segment_parse(myr_str_of(text), &segment, err));
    if (myr_key_from_segment(&bound->fleet->info->keys, &segment, key, &out->key_bytes, &why) != MYR_OK) {
        return myr_spec_fail(service->spec, node, err, "group '%.60s' of fleet '%s': %.120s", text, bound->fleet->name,
                             why.message);
    }
    unsigned char *copy = myr_arena_alloc(bound->arena, out->key_bytes);
    if (copy == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for a fleet's plan");
    memcpy(copy, key, out->key_bytes);
    out->key = copy;
    out->mask = key[0]; /* which columns it has: see pack/key.h */
    return MYR_OK;
}

/* The place of a partition column; BAD_INPUT with file and line. */
static myr_rc bind_key(const serve_service *service, const serve_bound *bound, const myr_spec_node *node,
                       const char *name, uint32_t *out, myr_err *err)
{
    const myr_key_schema *schema = &bound->fleet->info->keys;
    const char *known[MYR_PARTITION_COLUMNS_MAX + 1] = {NULL};
    for (uint32_t i = 0; i < schema->column_count; i++) {
        known[i] = schema->columns[i].name;
        if (strcmp(known[i], name) != 0) continue;
        *out = i;
        return MYR_OK;
    }
    const char *nearest = myr_nearest(name, known);
    return myr_spec_fail(service->spec, node, err, "fleet '%s' has no partition column '%.60s'%s%s%s",
                         bound->fleet->name, name, nearest != NULL ? ": did you mean '" : "",
                         nearest != NULL ? nearest : "", nearest != NULL ? "'?" : "");
}

static myr_rc bind_source(const serve_service *service, serve_bound *bound, const serve_source *source,
                          serve_bound_source *out, myr_err *err)
{
    out->source = source;
    out->keys = myr_arena_calloc(bound->arena, source->key_count, sizeof *out->keys);
    if (out->keys == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for a fleet's plan");
    for (uint32_t i = 0; i < source->key_count; i++)
        MYR_TRY(bind_key(service, bound, source->node, source->keys[i], &out->keys[i], err));
    MYR_TRY(bind_names(service, bound, source->node, source->features, source->feature_count, &out->features, err));
    for (uint32_t i = 0; i < source->feature_count; i++)
        bound->is_fetched[out->features[i]] = 1;
    return MYR_OK;
}

static myr_rc bind_sources(const serve_service *service, serve_bound *bound, myr_err *err)
{
    const serve_plan *plan = bound->plan;
    bound->sources = myr_arena_calloc(bound->arena, (size_t)plan->source_count + 1, sizeof *bound->sources);
    bound->is_fetched = myr_arena_calloc(bound->arena, (size_t)bound->fleet->info->feature_count + 1, 1);
    if (bound->sources == NULL || bound->is_fetched == NULL) {
        MYR_FAIL(err, NO_MEMORY, "out of memory for a fleet's plan");
    }
    for (uint32_t i = 0; i < plan->source_count; i++)
        MYR_TRY(bind_source(service, bound, &plan->sources[i], &bound->sources[i], err));
    return MYR_OK;
}

static myr_rc bind_groups(const serve_service *service, const serve_bound *bound, const myr_spec_node *node,
                          const char *const *texts, uint32_t count, serve_group **out, myr_err *err)
{
    serve_group *groups = myr_arena_calloc(bound->arena, (size_t)count + 1, sizeof *groups);
    if (groups == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for a fleet's plan");
    for (uint32_t i = 0; i < count; i++)
        MYR_TRY(bind_group(service, bound, node, texts[i], &groups[i], err));
    *out = groups;
    return MYR_OK;
}

static myr_rc bind_all_groups(const serve_service *service, serve_bound *bound, myr_err *err)
{
    const serve_plan *plan = bound->plan;
    MYR_TRY(bind_groups(service, bound, plan->groups_node, plan->groups, plan->group_count, &bound->groups, err));
    for (uint32_t i = 0; i < plan->split_count; i++) {
        const serve_split *split = &plan->splits[i];
        MYR_TRY(
            bind_groups(service, bound, split->node, split->groups, split->group_count, &bound->split_groups[i], err));
    }
    return MYR_OK;
}

/* The fleet's score script. A state for each thread that answers, so that none has to wait for init(). */
static myr_rc bind_rules(const serve_service *service, serve_bound *bound, myr_err *err)
{
    const serve_plan *plan = bound->plan;
    myr_script_opts opts = {.states = 2 * (uint32_t)myr_cpu_count()};
    myr_err why = {0};
    if (plan->rules == NULL) return MYR_OK;
    if (opts.states > MYR_SCRIPT_STATES_MAX) opts.states = MYR_SCRIPT_STATES_MAX;
    if (myr_script_load(plan->rules, bound->fleet->info, &opts, &bound->script, &why) == MYR_OK) return MYR_OK;
    return myr_spec_fail(service->spec, plan->rules_node, err, "%s", why.message);
}

myr_rc myr_serve_plan_bind(const serve_service *service, const serve_plan *plan, const myr_fleet *fleet,
                           serve_bound **out, myr_err *err)
{
    myr_arena *arena = myr_arena_new(0);
    serve_bound *bound = arena != NULL ? myr_arena_calloc(arena, 1, sizeof *bound) : NULL;
    if (bound == NULL) {
        myr_arena_free(arena);
        MYR_FAIL(err, NO_MEMORY, "out of memory for a fleet's plan");
    }
    bound->arena = arena;
    bound->plan = plan;
    bound->fleet = fleet;
    myr_rc rc = bind_checks(service, bound, err);
    if (rc == MYR_OK) rc = bind_all_groups(service, bound, err);
    if (rc == MYR_OK) rc = bind_rules(service, bound, err);
    if (rc == MYR_OK) rc = bind_sources(service, bound, err);
    if (rc != MYR_OK) {
        myr_arena_free(arena);
        return rc;
    }
    *out = bound;
    return MYR_OK;
}

void myr_serve_plan_unbind(serve_bound *bound)
{
    if (bound == NULL) return;
    myr_script_free(bound->script);
    myr_arena_free(bound->arena);
}

bool myr_serve_plan_is_current(const serve_bound *bound)
{
    return bound->script == NULL || myr_script_is_current(bound->script);
}

/* ---- groups ---- */

uint32_t myr_serve_key_values(const myr_key_schema *schema, const unsigned char *key, myr_key_value *out)
{
    const unsigned char *at = key + 1; /* canonical: see pack/key.h */
    for (uint32_t i = 0; i < schema->column_count; i++) {
        out[i] = (myr_key_value){.is_null = (key[0] & 1u << i) == 0};
        if (out[i].is_null) continue;
        if (schema->columns[i].type == MYR_KEY_INT64) {
            memcpy(&out[i].i64, at, sizeof(int64_t));
            at += sizeof(int64_t);
        } else {
            uint16_t size;
            memcpy(&size, at, sizeof size);
            out[i].text = myr_str_make((const char *)at + sizeof size, size);
            at += sizeof size + size;
        }
    }
    return key[0]; /* its mask */
}

bool myr_serve_key_is_served(const serve_bound *bound, const unsigned char *key)
{
    uint32_t count = bound->plan->group_count;
    return count == 0 || myr_serve_key_is_in(bound, bound->groups, count, key);
}

bool myr_serve_key_is_in(const serve_bound *bound, const serve_group *groups, uint32_t count, const unsigned char *key)
{
    myr_key_value values[MYR_PARTITION_COLUMNS_MAX];
    uint32_t present = myr_serve_key_values(&bound->fleet->info->keys, key, values);
    return myr_serve_values_are_in(bound, groups, count, values, present);
}

/* The place of the group, or count. */
static uint32_t plan_find_group(const serve_bound *bound, const serve_group *groups, uint32_t count,
                                const myr_key_value *values, uint32_t present)
{
    const myr_key_schema *schema = &bound->fleet->info->keys;
    unsigned char key[MYR_KEY_BYTES_MAX];
    size_t key_bytes = 0;
    uint32_t mask = 0;
    for (uint32_t i = 0; i < count; i++) {
        const serve_group *group = &groups[i];
        if ((group->mask & ~present) != 0) continue;
        if (group->mask != mask) key_bytes = myr_key_encode(schema, group->mask, values, key);
        mask = group->mask;
        if (key_bytes == group->key_bytes && memcmp(key, group->key, key_bytes) == 0) return i;
    }
    return count;
}

serve_group *myr_serve_values_group(const serve_bound *bound, const myr_key_value *values, uint32_t present)
{
    uint32_t count = bound->plan->group_count;
    uint32_t at = plan_find_group(bound, bound->groups, count, values, present);
    return at < count ? &bound->groups[at] : NULL;
}

bool myr_serve_values_are_in(const serve_bound *bound, const serve_group *groups, uint32_t count,
                             const myr_key_value *values, uint32_t present)
{
    return plan_find_group(bound, groups, count, values, present) < count;
}
