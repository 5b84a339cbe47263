/*
 * An opened fleet: the registry's row, the pack of one release, and the scorer over it. Immutable from here on, so any
 * number of threads may hold it; a newer release is another opened fleet.
 */
#include <string.h>

#include "fleet/external.h"

myr_rc myr_fleet_check_pack(const myr_fleet_row *fleet, const myr_pack_info *info, const char *path, myr_err *err)
{
    if (strcmp(info->fleet, fleet->name) != 0) {
        MYR_FAIL(err, BAD_FORMAT, "%s: a pack of fleet '%s', not of '%s'", path, info->fleet, fleet->name);
    }
    bool has_keys = info->keys.column_count > 0; /* none: released before the first keyed model came */
    if (info->feature_count != fleet->feature_count || info->output_count != fleet->output_count ||
        (has_keys && info->keys.column_count != fleet->partition_count)) {
        MYR_FAIL(err, BAD_FORMAT, "%s: %u keys, %u features, %u outputs; fleet '%s' has %u, %u, %u", path,
                 info->keys.column_count, info->feature_count, info->output_count, fleet->name, fleet->partition_count,
                 fleet->feature_count, fleet->output_count);
    }
    for (uint32_t i = 0; i < info->feature_count; i++) {
        if (strcmp(info->features[i], fleet->features[i]) == 0) continue;
        MYR_FAIL(err, BAD_FORMAT, "%s: feature %u is '%s', fleet '%s' has '%s'", path, i + 1, info->features[i],
                 fleet->name, fleet->features[i]);
    }
    for (uint32_t i = 0; i < info->keys.column_count; i++) {
        if (strcmp(info->keys.columns[i].name, fleet->partition_columns[i]) == 0) continue;
        MYR_FAIL(err, BAD_FORMAT, "%s: partition column %u is '%s', fleet '%s' has '%s'", path, i + 1,
                 info->keys.columns[i].name, fleet->name, fleet->partition_columns[i]);
    }
    return MYR_OK;
}

/* Which field of a row goes where. */
static myr_rc open_fields(myr_fleet *fleet, myr_err *err)
{
    const myr_pack_info *info = fleet->info;
    fleet->fields = myr_map_new();
    if (fleet->fields == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to open fleet '%s'", fleet->name);
    for (uint32_t i = 0; i < info->feature_count; i++) {
        fleet_field field = {.key_idx = FLEET_FIELD_NONE, .feature_idx = i};
        MYR_TRY(myr_map_put(fleet->fields, myr_str_of(info->features[i]), fleet_field_pack(field), err));
    }
    for (uint32_t i = 0; i < info->keys.column_count; i++) {
        myr_str name = myr_str_of(info->keys.columns[i].name);
        uint64_t there = 0;
        fleet_field field = {.key_idx = i, .feature_idx = FLEET_FIELD_NONE};
        if (myr_map_find(fleet->fields, name, &there)) field.feature_idx = fleet_field_unpack(there).feature_idx;
        MYR_TRY(myr_map_put(fleet->fields, name, fleet_field_pack(field), err));
    }
    return MYR_OK;
}

static myr_rc open_find_release(myr_workspace *workspace, const myr_fleet_row *row, int64_t *number, myr_err *err)
{
    if (*number != 0) return MYR_OK;
    myr_rc rc = myr_registry_alias_get(workspace->registry, row->id, FLEET_CHAMPION, number, err);
    if (rc != MYR_NOT_FOUND) return rc;
    MYR_FAIL(err, NOT_FOUND, "fleet '%s' has no champion: `myriad release create %s` makes a release and promotes it",
             row->name, row->name);
}

static myr_rc open_release(myr_workspace *workspace, myr_fleet *fleet, int64_t number, myr_err *err)
{
    myr_release_row release;
    char path[MYR_PATH_BYTES_MAX];
    myr_rc rc = myr_registry_release_get(workspace->registry, fleet->arena, fleet->row.id, number, &release, err);
    if (rc == MYR_NOT_FOUND) {
        MYR_FAIL(err, NOT_FOUND, "fleet '%s' has no release %lld: `myriad release list %s` shows those it has",
                 fleet->name, (long long)number, fleet->name);
    }
    MYR_TRY(rc);
    MYR_TRY(myr_path_join(path, sizeof path, workspace->root, release.pack, err));
    MYR_TRY(myr_pack_open(path, &fleet->pack, err));
    fleet->info = myr_pack_get_info(fleet->pack);
    fleet->release = number;
    if (fleet->info->release != number) {
        MYR_FAIL(err, BAD_FORMAT, "%s: the pack of release %lld, not of %lld", path, (long long)fleet->info->release,
                 (long long)number);
    }
    MYR_TRY(myr_fleet_check_pack(&fleet->row, fleet->info, path, err));
    MYR_TRY(myr_scorer_new(fleet->pack, &fleet->scorer, err));
    MYR_TRY(myr_fleet_external_open(workspace, &fleet->external, err));
    myr_runner runner = myr_fleet_external_runner(fleet->external);
    myr_scorer_set_runner(fleet->scorer, &runner);
    return MYR_OK;
}

myr_rc myr_fleet_open(myr_workspace *workspace, const char *name, int64_t release, myr_fleet **out, myr_err *err)
{
    MYR_AUTO(myr_fleet_ptr) fleet = myr_calloc(1, sizeof *fleet);
    if (fleet == NULL || (fleet->arena = myr_arena_new(0)) == NULL) {
        MYR_FAIL(err, NO_MEMORY, "no memory to open fleet '%.128s'", name);
    }
    MYR_TRY(myr_registry_fleet_get(workspace->registry, fleet->arena, name, &fleet->row, err));
    size_t size = strlen(fleet->row.name);
    MYR_ASSERT(size <= MYR_NAME_BYTES_MAX);
    memcpy(fleet->name, fleet->row.name, size + 1);
    MYR_TRY(open_find_release(workspace, &fleet->row, &release, err));
    MYR_TRY(open_release(workspace, fleet, release, err));
    MYR_TRY(open_fields(fleet, err));
    *out = fleet;
    fleet = NULL;
    return MYR_OK;
}

void myr_fleet_close(myr_fleet *fleet)
{
    if (fleet == NULL) return;
    myr_scorer_free(fleet->scorer);
    myr_fleet_external_close(fleet->external);
    myr_pack_close(fleet->pack);
    myr_map_free(fleet->fields);
    myr_arena_free(fleet->arena);
    myr_free(fleet);
}

/* ---- one model by its segment ---- */

static myr_rc find_key(const myr_fleet *fleet, const myr_segment *segment, uint32_t *out_model_idx, myr_err *err)
{
    unsigned char key[MYR_KEY_BYTES_MAX];
    size_t key_bytes = 0;
    MYR_TRY(myr_key_from_segment(&fleet->info->keys, segment, key, &key_bytes, err));
    return myr_pack_find(fleet->pack, key, key_bytes, myr_key_hash(key, key_bytes), out_model_idx, err);
}

/* Which model answers rows of this segment: drop partition columns from the left until one is found. */
static myr_rc find_nearest(const myr_fleet *fleet, const myr_segment *segment, uint32_t *out_model_idx, myr_err *err)
{
    myr_segment rest = *segment;
    for (uint32_t k = 0; k < fleet->info->keys.column_count && *out_model_idx == MYR_PACK_NONE; k++) {
        const char *dropped = fleet->info->keys.columns[k].name;
        uint32_t kept = 0;
        for (uint32_t p = 0; p < rest.part_count; p++) {
            if (strcmp(rest.parts[p].name, dropped) != 0) rest.parts[kept++] = rest.parts[p];
        }
        if (kept == rest.part_count) continue; /* it did not name this column */
        rest.part_count = kept;
        MYR_TRY(find_key(fleet, &rest, out_model_idx, err));
    }
    return MYR_OK;
}

myr_rc myr_fleet_find_segment(const myr_fleet *fleet, myr_str segment, uint32_t *out_model_idx, myr_err *err)
{
    myr_segment parsed;
    uint32_t idx = MYR_PACK_NONE;
    MYR_TRY(myr_segment_parse(segment, &parsed, err));
    MYR_TRY(find_key(fleet, &parsed, &idx, err));
    if (idx != MYR_PACK_NONE) {
        *out_model_idx = idx;
        return MYR_OK;
    }
    MYR_TRY(find_nearest(fleet, &parsed, &idx, err));
    if (idx == MYR_PACK_NONE) {
        MYR_FAIL(err, NOT_FOUND, "%s has no model of its own for '" MYR_STR_FMT "', and none above it", fleet->name,
                 MYR_STR_ARG(segment));
    }
    MYR_AUTO(myr_buf) name = {0};
    MYR_TRY(myr_score_model_name(fleet->scorer, idx, &name, err));
    MYR_FAIL(err, NOT_FOUND, "%s has no model of its own for '" MYR_STR_FMT "'; %.100s answers its rows", fleet->name,
             MYR_STR_ARG(segment), name.data);
}
