/*
 * Which release answers a request: champion, or another that an alias names and that was opened beside it. One release
 * answers all rows of a request, so that an answer is never of two.
 */
#include <math.h>
#include <string.h>

#include "serve/internal.h"

#define SPLIT_WHOLE 10000 /* shares are counted in hundredths of a percent */

/* ---- the key `split` of the service file ---- */

/* 10, 2.5, or {percent: 10, groups: [brand=1]} */
static myr_rc split_entry(const serve_service *service, const myr_spec_node *map, uint32_t at, serve_split *out,
                          myr_err *err)
{
    static const char *const known[] = {"percent", "groups", NULL};
    const myr_spec_node *node = map->items[at];
    double percent = 0;
    out->alias = map->keys[at]->text;
    out->node = node;
    if (!myr_name_is_valid(myr_str_of(out->alias)) || strcmp(out->alias, "champion") == 0) {
        return myr_spec_fail(service->spec, map->keys[at], err,
                             "'split' names an alias beside champion, which has the rest; not '%.60s'", out->alias);
    }
    if (node->kind == MYR_SPEC_MAP) {
        MYR_TRY(myr_spec_check_keys(service->spec, node, known, err));
        MYR_TRY(myr_spec_double(service->spec, node, "percent", true, 0, 100, &percent, err));
        MYR_TRY(myr_spec_texts(service->spec, node, "groups", false, &out->groups, &out->group_count, err));
    } else {
        MYR_TRY(myr_spec_double(service->spec, map, out->alias, true, 0, 100, &percent, err));
    }
    if (out->group_count > SERVE_GROUPS_MAX) {
        return myr_spec_fail(service->spec, node, err, "%u groups, at most %d are taken", out->group_count,
                             SERVE_GROUPS_MAX);
    }
    out->share = (uint32_t)lround(percent * SPLIT_WHOLE / 100);
    return MYR_OK;
}

myr_rc myr_service_split(const serve_service *service, const myr_spec_node *map, serve_plan *plan, myr_err *err)
{
    uint64_t shares = 0;
    if (map->kind != MYR_SPEC_MAP || map->count == 0) {
        return myr_spec_fail(service->spec, map, err, "'split' is a map of aliases and percents, as in challenger: 10");
    }
    if (map->count > SERVE_SPLITS_MAX) {
        return myr_spec_fail(service->spec, map, err, "%u aliases, at most %d share the requests", map->count,
                             SERVE_SPLITS_MAX);
    }
    for (uint32_t i = 0; i < map->count; i++) {
        MYR_TRY(split_entry(service, map, i, &plan->splits[i], err));
        shares += plan->splits[i].share;
    }
    if (shares > SPLIT_WHOLE) return myr_spec_fail(service->spec, map, err, "the percents are more than 100 together");
    plan->split_count = map->count;
    return MYR_OK;
}

/* ---- a request ---- */

/* The key of a row; false: it is none. *out_mask: the columns that it has. */
static bool split_row_key(const serve_work *work, int64_t row, unsigned char key[MYR_KEY_BYTES_MAX], size_t *out_bytes,
                          myr_key_value values[MYR_PARTITION_COLUMNS_MAX], uint32_t *out_mask,
                          char scratch[MYR_PARTITION_COLUMNS_MAX][MYR_KEY_SCRATCH_BYTES])
{
    const myr_key_schema *keys = &work->target.fleet->fleet->info->keys;
    *out_mask = 0;
    for (uint32_t i = 0; i < keys->column_count; i++) {
        myr_rc rc =
            myr_key_value_from_col(keys->columns[i].type, &work->rows.keys[i], row, scratch[i], &values[i], NULL);
        if (rc != MYR_OK) return false;
        if (!values[i].is_null) *out_mask |= 1u << i;
    }
    *out_bytes = myr_key_encode(keys, *out_mask, values, key);
    return true;
}

/* A number below SPLIT_WHOLE that is the same for the same client, or the same first row. */
static uint32_t split_place(const serve_work *work)
{
    const char *name = work->target.fleet->fleet->name;
    uint64_t seed = myr_hash64(name, strlen(name), 0);
    unsigned char key[MYR_KEY_BYTES_MAX];
    char scratch[MYR_PARTITION_COLUMNS_MAX][MYR_KEY_SCRATCH_BYTES];
    myr_key_value values[MYR_PARTITION_COLUMNS_MAX];
    size_t key_bytes = 0;
    uint32_t mask = 0;
    bool has_key = work->sticky.data == NULL && work->rows.row_count > 0 && work->rows.fixed_model == MYR_PACK_NONE &&
                   split_row_key(work, 0, key, &key_bytes, values, &mask, scratch);
    /* Rows without a key are all alike: the moment they came is what tells them apart. */
    if (has_key && mask == 0) return (uint32_t)(myr_hash64(&work->whole_ns, sizeof work->whole_ns, seed) % SPLIT_WHOLE);
    myr_str sticky = work->sticky.data != NULL ? work->sticky : work->target.name;
    uint64_t hash = has_key ? myr_hash64(key, key_bytes, seed) : myr_hash64(sticky.data, sticky.size, seed);
    return (uint32_t)(hash % SPLIT_WHOLE);
}

/* Are all rows (or the named model) in the groups of a split? */
static bool split_takes_rows(const serve_work *work, const serve_bound *bound, uint32_t split_idx)
{
    const serve_split *split = &bound->plan->splits[split_idx];
    if (split->group_count == 0) return true;
    if (work->rows.fixed_model != MYR_PACK_NONE) {
        myr_pack_entry entry;
        if (myr_pack_get_entry(work->target.fleet->fleet->pack, work->rows.fixed_model, &entry, NULL) != MYR_OK)
            return false;
        return myr_serve_key_is_in(bound, bound->split_groups[split_idx], split->group_count, entry.key);
    }
    for (int64_t row = 0; row < work->rows.row_count; row++) {
        unsigned char key[MYR_KEY_BYTES_MAX];
        char scratch[MYR_PARTITION_COLUMNS_MAX][MYR_KEY_SCRATCH_BYTES];
        myr_key_value values[MYR_PARTITION_COLUMNS_MAX];
        size_t key_bytes;
        uint32_t mask;
        if (!split_row_key(work, row, key, &key_bytes, values, &mask, scratch)) return false;
        if (!myr_serve_values_are_in(bound, bound->split_groups[split_idx], split->group_count, values, mask))
            return false;
    }
    return true;
}

/* Let another opened release answer. *out_has_model false: a named model is not in it. */
static myr_rc split_move(serve_work *work, serve_fleet *to, bool *out_has_model, myr_err *err)
{
    uint32_t model_idx = MYR_PACK_NONE;
    *out_has_model = true;
    if (work->rows.fixed_model != MYR_PACK_NONE) {
        const char *at = memchr(work->target.name.data, '@', work->target.name.size);
        MYR_ASSERT(at != NULL); /* the canonical name of a model */
        size_t used = (size_t)(at - work->target.name.data) + 1;
        myr_err why = {0};
        myr_rc rc =
            myr_fleet_find_segment(to->fleet, myr_str_make(at + 1, work->target.name.size - used), &model_idx, &why);
        *out_has_model = rc == MYR_OK;
        if (rc == MYR_NOT_FOUND) return MYR_OK;
        if (rc != MYR_OK) {
            if (err != NULL) *err = why;
            return rc;
        }
    }
    work->target.fleet = to;
    work->target.model_idx = work->rows.fixed_model = model_idx;
    return MYR_OK;
}

/* The alias that the client named. */
static myr_rc split_take_alias(serve_work *work, const serve_snapshot *snapshot, myr_err *err)
{
    const char *name = work->target.fleet->fleet->name;
    bool has_model;
    if (myr_str_is(work->alias, "champion")) return MYR_OK;
    serve_fleet *to = myr_serve_variant_find(snapshot, name, work->alias);
    if (to == NULL) {
        MYR_FAIL(err, NOT_FOUND, "fleet '%s' serves no release by the alias '%.*s'", name,
                 work->alias.size > 60 ? 60 : (int)work->alias.size, work->alias.data);
    }
    MYR_TRY(split_move(work, to, &has_model, err));
    if (has_model) return MYR_OK;
    MYR_FAIL(err, NOT_FOUND, "release %lld of fleet '%s' has no model '" MYR_STR_FMT "'", (long long)to->fleet->release,
             name, MYR_STR_ARG(work->target.name));
}

myr_rc myr_serve_choose_release(serve_work *work, myr_err *err)
{
    const serve_snapshot *snapshot = atomic_load_explicit(&work->thread->held, memory_order_relaxed);
    const serve_bound *bound = work->target.fleet->bound;
    work->tells_release = snapshot->variant_count > 0;
    if (work->alias.data != NULL) return split_take_alias(work, snapshot, err);
    if (bound == NULL || bound->plan->split_count == 0 || work->target.is_release) return MYR_OK;
    uint32_t place = split_place(work), from = 0;
    for (uint32_t i = 0; i < bound->plan->split_count; i++) {
        const serve_split *split = &bound->plan->splits[i];
        bool is_mine = place >= from && place < from + split->share;
        from += split->share;
        if (!is_mine || !split_takes_rows(work, bound, i)) continue;
        serve_fleet *to = myr_serve_variant_find(snapshot, work->target.fleet->fleet->name, myr_str_of(split->alias));
        bool has_model;
        return to == NULL ? MYR_OK : split_move(work, to, &has_model, err); /* nobody has the alias: champion */
    }
    return MYR_OK;
}
