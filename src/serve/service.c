/* The service file: its keys, each checked where it stands. */
#include "serve/service.h"

#include <stdio.h>
#include <string.h>

/* ---- small readers ---- */

static myr_rc service_no_memory(const serve_service *service, myr_err *err)
{
    MYR_FAIL(err, NO_MEMORY, "%s: out of memory", myr_spec_name(service->spec));
}

/* "a, b or c" of a NULL-terminated list. */
static const char *service_list(const char *const *words, char *out, size_t out_bytes)
{
    size_t used = 0;
    out[0] = '\0';
    for (size_t i = 0; words[i] != NULL && used < out_bytes; i++) {
        const char *between = i == 0 ? "" : words[i + 1] == NULL ? " or " : ", ";
        used += (size_t)snprintf(out + used, out_bytes - used, "%s%s", between, words[i]);
    }
    return out;
}

myr_rc myr_service_word(const serve_service *service, const myr_spec_node *map, const char *key,
                        const char *const *words, uint32_t *out, myr_err *err)
{
    const char *text = NULL;
    char list[160];
    MYR_TRY(myr_spec_text(service->spec, map, key, false, &text, err));
    if (text == NULL) return MYR_OK;
    for (uint32_t i = 0; words[i] != NULL; i++) {
        if (strcmp(words[i], text) != 0) continue;
        *out = i;
        return MYR_OK;
    }
    return myr_spec_fail(service->spec, myr_spec_find(map, key), err, "'%s' is '%.60s': it must be %s", key, text,
                         service_list(words, list, sizeof list));
}

myr_rc myr_service_duration(const serve_service *service, const myr_spec_node *map, const char *key, int64_t max_ms,
                            int64_t *out_ms, myr_err *err)
{
    const char *text = NULL;
    int64_t value = 0;
    MYR_TRY(myr_spec_text(service->spec, map, key, false, &text, err));
    if (text == NULL) return MYR_OK;
    const myr_spec_node *node = myr_spec_find(map, key);
    if (!myr_parse_duration_ms(myr_str_of(text), &value)) {
        return myr_spec_fail(service->spec, node, err, "'%s' is '%.60s': give a time as in 100ms, 5s or 2m", key, text);
    }
    if (value < 1 || value > max_ms) {
        return myr_spec_fail(service->spec, node, err, "'%s' is %s: it must be from 1ms to %lldms", key, text,
                             (long long)max_ms);
    }
    *out_ms = value;
    return MYR_OK;
}

/* ---- one fleet ---- */

static myr_rc plan_groups(const serve_service *service, serve_plan *plan, myr_err *err)
{
    MYR_TRY(myr_spec_texts(service->spec, plan->node, "groups", false, &plan->groups, &plan->group_count, err));
    if (plan->group_count == 0) return MYR_OK;
    plan->groups_node = myr_spec_find(plan->node, "groups");
    if (plan->group_count > SERVE_GROUPS_MAX) {
        return myr_spec_fail(service->spec, plan->groups_node, err, "%u groups, at most %d are taken",
                             plan->group_count, SERVE_GROUPS_MAX);
    }
    for (uint32_t i = 0; i < plan->group_count; i++) {
        myr_segment segment;
        myr_err why = {0};
        if (myr_segment_parse(myr_str_of(plan->groups[i]), &segment, &why) != MYR_OK) {
            return myr_spec_fail(service->spec, plan->groups_node, err, "group '%.60s': %.120s", plan->groups[i],
                                 why.message);
        }
        if (segment.part_count == 0) {
            return myr_spec_fail(service->spec, plan->groups_node, err, "a group is a segment, as in brand=1");
        }
    }
    return MYR_OK;
}

/* The levels that may answer, in the order of the chain: no other order is possible. */
static myr_rc plan_fallback(const serve_service *service, serve_plan *plan, myr_err *err)
{
    static const char *const words[] = {"segment", "parent", "global", "stored", NULL};
    const char *const *levels = NULL;
    uint32_t count = 0;
    size_t last = 0;
    MYR_TRY(myr_spec_texts(service->spec, plan->node, "fallback", false, &levels, &count, err));
    const myr_spec_node *node = myr_spec_find(plan->node, "fallback");
    for (uint32_t i = 0; i < count; i++) {
        size_t at = 0;
        while (words[at] != NULL && strcmp(words[at], levels[i]) != 0)
            at++;
        if (words[at] == NULL) {
            return myr_spec_fail(service->spec, node, err,
                                 "'fallback' has '%.60s': its levels are segment, parent, global and stored",
                                 levels[i]);
        }
        if (i > 0 && at <= last) {
            return myr_spec_fail(service->spec, node, err,
                                 "'fallback': %s can't follow %s; the order is segment, parent, global, stored",
                                 words[at], words[last]);
        }
        last = at;
        if (at == 3) {
            plan->from_stored = true;
        } else {
            plan->levels |= 1u << (MYR_LEVEL_SEGMENT + at);
        }
    }
    if (count > 0 && plan->levels == 0) {
        return myr_spec_fail(service->spec, node, err, "'fallback' needs a level with models before stored");
    }
    return MYR_OK;
}

static myr_rc plan_degrade(const serve_service *service, serve_plan *plan, myr_err *err)
{
    static const char *const known[] = {"fetch", "infer", "rules", "store", NULL};
    static const char *const store[] = {"fail", "after_answer", NULL};
    static const char *const fetch[] = {"defaults", "fail", NULL};
    static const char *const rules[] = {"fail", "skip", NULL};
    static const char *const infer[] = {"fail", "next_level", "stored", NULL};
    static const serve_degrade infer_means[] = {SERVE_FAIL, SERVE_NEXT, SERVE_STORED};
    const myr_spec_node *map = myr_spec_find(plan->node, "degrade");
    uint32_t word = 0, fetch_word = 0;
    plan->late_fetch = SERVE_DEFAULTS;
    if (map == NULL) return MYR_OK;
    MYR_TRY(myr_spec_check_keys(service->spec, map, known, err));
    MYR_TRY(myr_service_word(service, map, "fetch", fetch, &fetch_word, err));
    if (fetch_word == 1) plan->late_fetch = SERVE_FAIL;
    MYR_TRY(myr_service_word(service, map, "infer", infer, &word, err));
    plan->late_infer = infer_means[word];
    word = 0;
    MYR_TRY(myr_service_word(service, map, "rules", rules, &word, err));
    plan->late_rules = word == 0 ? SERVE_FAIL : SERVE_SKIP;
    word = 0;
    MYR_TRY(myr_service_word(service, map, "store", store, &word, err));
    plan->late_store = word == 0 ? SERVE_FAIL : SERVE_SKIP;
    return MYR_OK;
}

/* A score script, beside the service file unless its path is absolute. */
static myr_rc plan_rules(const serve_service *service, serve_plan *plan, myr_err *err)
{
    const char *text = NULL;
    char dir[MYR_PATH_BYTES_MAX], path[MYR_PATH_BYTES_MAX];
    MYR_TRY(myr_spec_text(service->spec, plan->node, "rules", false, &text, err));
    if (text == NULL) return MYR_OK;
    plan->rules_node = myr_spec_find(plan->node, "rules");
    myr_path_dir(myr_spec_name(service->spec), dir, sizeof dir);
    if (text[0] == '/') dir[0] = '\0';
    if (myr_path_join(path, sizeof path, dir, text, NULL) != MYR_OK) {
        return myr_spec_fail(service->spec, plan->rules_node, err, "'rules' is a path that is too long");
    }
    plan->rules = myr_arena_strndup(service->arena, path, strlen(path));
    return plan->rules == NULL ? service_no_memory(service, err) : MYR_OK;
}

static myr_rc plan_read(const serve_service *service, serve_plan *plan, myr_err *err)
{
    static const char *const known[] = {"groups",   "deadline", "fetch", "fallback", "degrade",
                                        "validate", "rules",    "split", "store",    NULL};
    MYR_TRY(myr_spec_check_keys(service->spec, plan->node, known, err));
    const myr_spec_node *store = myr_spec_find(plan->node, "store");
    if (store != NULL) MYR_TRY(myr_service_store(service, store, plan, err));
    const myr_spec_node *fetch = myr_spec_find(plan->node, "fetch");
    if (fetch != NULL) MYR_TRY(myr_service_fetch(service, fetch, plan, err));
    MYR_TRY(plan_groups(service, plan, err));
    MYR_TRY(myr_service_duration(service, plan->node, "deadline", SERVE_DEADLINE_MS_MAX, &plan->deadline_ms, err));
    MYR_TRY(plan_fallback(service, plan, err));
    MYR_TRY(plan_degrade(service, plan, err));
    MYR_TRY(plan_rules(service, plan, err));
    if (plan->store == NULL && (plan->from_stored || plan->late_infer == SERVE_STORED)) {
        return myr_spec_fail(service->spec, plan->node, err, "stored predictions need a 'store' to be read from");
    }
    const myr_spec_node *validate = myr_spec_find(plan->node, "validate"), *split = myr_spec_find(plan->node, "split");
    if (split != NULL) MYR_TRY(myr_service_split(service, split, plan, err));
    return validate == NULL ? MYR_OK : myr_service_validate(service, validate, &plan->validate, err);
}

static const myr_spec_node service_empty = {.kind = MYR_SPEC_MAP};

static myr_rc service_fleets(serve_service *service, const myr_spec_node *map, myr_err *err)
{
    if (map == NULL) return MYR_OK;
    if (map->kind == MYR_SPEC_LIST) {
        return myr_spec_fail(service->spec, map, err, "'fleets' is a map: a line `oj:` for each, not `- oj`");
    }
    if (map->kind != MYR_SPEC_MAP || map->count == 0) {
        return myr_spec_fail(service->spec, map, err, "'fleets' is a map with a key per fleet");
    }
    service->has_fleets = true;
    service->plans = myr_arena_calloc(service->arena, map->count, sizeof *service->plans);
    if (service->plans == NULL) return service_no_memory(service, err);
    for (uint32_t i = 0; i < map->count; i++) {
        serve_plan *plan = &service->plans[service->plan_count++];
        bool is_empty = map->items[i]->kind == MYR_SPEC_SCALAR && map->items[i]->is_null;
        plan->fleet = map->keys[i]->text;
        plan->node = is_empty ? &service_empty : map->items[i];
        if (!myr_name_is_valid(myr_str_of(plan->fleet))) {
            return myr_spec_fail(service->spec, map->keys[i], err, "'%.60s' is no name of a fleet", plan->fleet);
        }
        MYR_TRY(plan_read(service, plan, err));
    }
    return MYR_OK;
}

/* ---- the file ---- */

/* `name`, or the file's stem. */
static myr_rc service_name(serve_service *service, const myr_spec_node *root, myr_err *err)
{
    const char *text = NULL;
    MYR_TRY(myr_spec_text(service->spec, root, "name", false, &text, err));
    myr_str name = myr_str_of(text);
    if (text == NULL) {
        const char *path = myr_spec_name(service->spec), *slash = strrchr(path, '/');
        name = myr_str_of(slash != NULL ? slash + 1 : path);
        if (myr_str_ends_with(name, ".yaml")) name.size -= strlen(".yaml");
        if (myr_str_ends_with(name, ".yml")) name.size -= strlen(".yml");
    }
    if (!myr_name_is_valid(name)) {
        const myr_spec_node *node = text != NULL ? myr_spec_find(root, "name") : root;
        return myr_spec_fail(service->spec, node, err, "'" MYR_STR_FMT "' can't be the service's name%s",
                             MYR_STR_ARG(name), text != NULL ? "" : ", which the file gives it: set 'name'");
    }
    memcpy(service->name, name.data, name.size);
    return MYR_OK;
}

static myr_rc service_region(serve_service *service, const myr_spec_node *root, myr_err *err)
{
    MYR_TRY(myr_spec_text(service->spec, root, "region", false, &service->region, err));
    if (service->region == NULL || myr_name_is_valid(myr_str_of(service->region))) return MYR_OK;
    return myr_spec_fail(service->spec, myr_spec_find(root, "region"), err,
                         "'%.60s' is no name of a region: letters, digits, '.', '_', '-'", service->region);
}

static myr_rc service_read(serve_service *service, myr_err *err)
{
    static const char *const known[] = {"name", "region", "default", "server_timing", "fleets", NULL};
    const myr_spec_node *root = myr_spec_root(service->spec);
    if (root->kind == MYR_SPEC_SCALAR && root->is_null) root = &service_empty;
    MYR_TRY(myr_spec_check_keys(service->spec, root, known, err));
    MYR_TRY(service_name(service, root, err));
    MYR_TRY(service_region(service, root, err));
    MYR_TRY(myr_spec_text(service->spec, root, "default", false, &service->default_fleet, err));
    MYR_TRY(myr_spec_bool(service->spec, root, "server_timing", false, &service->server_timing, err));
    MYR_TRY(service_fleets(service, myr_spec_find(root, "fleets"), err));
    if (service->has_fleets && service->default_fleet != NULL &&
        myr_service_plan(service, service->default_fleet) == NULL) {
        return myr_spec_fail(service->spec, myr_spec_find(root, "default"), err,
                             "the default fleet '%.60s' is not one of 'fleets'", service->default_fleet);
    }
    return MYR_OK;
}

/* Takes the spec. */
static myr_rc service_of(myr_spec *spec, serve_service **out, myr_err *err)
{
    serve_service *service = myr_calloc(1, sizeof *service);
    myr_arena *arena = myr_arena_new(0);
    if (service == NULL || arena == NULL) {
        myr_free(service);
        myr_arena_free(arena);
        myr_spec_free(spec);
        MYR_FAIL(err, NO_MEMORY, "out of memory for the service file");
    }
    service->spec = spec;
    service->arena = arena;
    service->uses = 1;
    myr_rc rc = service_read(service, err);
    if (rc != MYR_OK) {
        myr_service_release(service);
        return rc;
    }
    *out = service;
    return MYR_OK;
}

myr_rc myr_service_load(const char *path, serve_service **out, myr_err *err)
{
    myr_spec *spec;
    MYR_TRY(myr_spec_load(path, &spec, err));
    return service_of(spec, out, err);
}

myr_rc myr_service_parse(const char *name, const char *text, size_t size_bytes, serve_service **out, myr_err *err)
{
    myr_spec *spec;
    MYR_TRY(myr_spec_parse(name, text, size_bytes, &spec, err));
    return service_of(spec, out, err);
}

static void plan_unlink(const serve_service *service, const serve_plan *plan)
{
    for (uint32_t i = 0; i < plan->source_count; i++)
        myr_service_unlink(service->links, plan->sources[i].link);
    if (plan->store != NULL) myr_service_unlink(service->links, plan->store->link);
}

static void service_free_unused(serve_service *service)
{
    if (service->uses > 0 || service->fleets > 0) return;
    myr_spec_free(service->spec);
    myr_arena_free(service->arena);
    myr_free(service);
}

serve_service *myr_service_share(serve_service *service)
{
    if (service != NULL) service->uses++;
    return service;
}

void myr_service_release(serve_service *service)
{
    if (service == NULL) return;
    MYR_ASSERT(service->uses > 0);
    if (--service->uses > 0) return;
    for (uint32_t i = 0; i < service->plan_count; i++)
        plan_unlink(service, &service->plans[i]);
    service_free_unused(service);
}

void myr_service_hold(serve_service *service, const serve_plan *plan)
{
    if (service == NULL) return;
    MYR_ASSERT(service->uses > 0);
    service->fleets++;
    for (uint32_t i = 0; plan != NULL && i < plan->source_count; i++)
        plan->sources[i].link->refs++;
    if (plan != NULL && plan->store != NULL) plan->store->link->refs++;
}

void myr_service_drop(serve_service *service, const serve_plan *plan)
{
    if (service == NULL) return;
    MYR_ASSERT(service->fleets > 0);
    service->fleets--;
    if (plan != NULL) plan_unlink(service, plan);
    service_free_unused(service);
}

const serve_plan *myr_service_plan(const serve_service *service, const char *fleet)
{
    for (uint32_t i = 0; service != NULL && i < service->plan_count; i++) {
        if (strcmp(service->plans[i].fleet, fleet) == 0) return &service->plans[i];
    }
    return NULL;
}

bool myr_service_plan_equal(const serve_plan *a, const serve_plan *b)
{
    if (a == NULL || b == NULL) return a == b;
    bool has_rules = a->rules != NULL;
    if (has_rules != (b->rules != NULL) || (has_rules && strcmp(a->rules, b->rules) != 0)) return false;
    return myr_spec_equal(a->node, b->node);
}

bool myr_service_equal(const serve_service *a, const serve_service *b)
{
    if (a == NULL || b == NULL) return a == b;
    if (strcmp(myr_spec_name(a->spec), myr_spec_name(b->spec)) != 0) return false; /* paths in it are beside it */
    return myr_spec_equal(myr_spec_root(a->spec), myr_spec_root(b->spec));
}
