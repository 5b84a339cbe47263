/*
 * What can be told of packs from their indexes alone: which files hold what, and how two of them differ. A release
 * keeps models by reference, so its files may hold models that nobody uses any more; this is where that shows.
 */
#include "pack/pack_inside.h"

const char *myr_pack_file_name(const myr_pack *pack, uint32_t file_idx)
{
    return file_idx < pack->header.file_count ? pack->files[file_idx].name : NULL;
}

myr_rc myr_pack_list_files(const myr_pack *pack, myr_arena *arena, myr_pack_contents *out, myr_err *err)
{
    uint32_t file_count = pack->header.file_count;
    myr_pack_blobs *files = myr_arena_calloc(arena, (size_t)file_count + 1, sizeof *files);
    if (files == NULL) MYR_FAIL(err, NO_MEMORY, "%s: no memory to list %u files", pack->path, file_count);
    for (uint32_t i = 0; i < file_count; i++) {
        files[i].name = pack->files[i].name;
        files[i].file_bytes = pack->files[i].mapping.size;
    }
    for (uint32_t i = 0; i < pack->header.model_count; i++) {
        pack_row row;
        const unsigned char *key = NULL;
        MYR_TRY(myr_pack_row_load(pack, i, &row, &key, err));
        MYR_ASSERT(row.file_idx < file_count);
        files[row.file_idx].used_models++;
        files[row.file_idx].used_bytes += (uint64_t)row.blob_units * MYR_MODEL_ALIGN;
    }
    *out = (myr_pack_contents){pack->header.version, pack->header.file_bytes, file_count, files};
    return MYR_OK;
}

/* By walking; for verify, and for formats that don't count. */
static myr_rc levels_walk(const myr_pack *pack, uint32_t out[MYR_PARTITION_COLUMNS_MAX + 1], myr_err *err)
{
    uint32_t counts[MYR_PARTITION_COLUMNS_MAX + 1] = {0};
    for (uint32_t i = 0; i < pack->header.model_count; i++) {
        myr_pack_entry entry;
        MYR_TRY(myr_pack_get_entry(pack, i, &entry, err));
        MYR_ASSERT(entry.key_columns <= MYR_PARTITION_COLUMNS_MAX);
        counts[entry.key_columns]++;
    }
    memcpy(out, counts, sizeof counts);
    return MYR_OK;
}

myr_rc myr_pack_count_levels(const myr_pack *pack, uint32_t out[MYR_PARTITION_COLUMNS_MAX + 1], myr_err *err)
{
    if (pack->header.version < 3) return levels_walk(pack, out, err);
    out[0] = pack->header.model_count;
    for (uint32_t i = 0; i < MYR_PARTITION_COLUMNS_MAX; i++) {
        out[i + 1] = pack->header.level_models[i];
        out[0] -= pack->header.level_models[i]; /* their sum is not larger: checked at open */
    }
    return MYR_OK;
}

myr_rc myr_pack_check_levels(const myr_pack *pack, myr_err *err)
{
    uint32_t told[MYR_PARTITION_COLUMNS_MAX + 1], found[MYR_PARTITION_COLUMNS_MAX + 1];
    MYR_TRY(myr_pack_count_levels(pack, told, err));
    MYR_TRY(levels_walk(pack, found, err));
    for (uint32_t i = 0; i <= MYR_PARTITION_COLUMNS_MAX; i++) {
        if (told[i] == found[i]) continue;
        MYR_FAIL(err, BAD_FORMAT, "%s: the header counts %u models with %u key columns, there are %u", pack->path,
                 told[i], i, found[i]);
    }
    return MYR_OK;
}

/* ---- differences ---- */

static myr_rc diff_check_columns(const myr_pack *before, const myr_pack *after, myr_err *err)
{
    const myr_key_schema *a = &before->info.keys;
    const myr_key_schema *b = &after->info.keys;
    bool is_same = a->column_count == b->column_count;
    for (uint32_t i = 0; is_same && i < a->column_count; i++) {
        is_same = a->columns[i].type == b->columns[i].type && strcmp(a->columns[i].name, b->columns[i].name) == 0;
    }
    if (is_same) return MYR_OK;
    MYR_FAIL(err, BAD_INPUT, "%s and %s have other partition columns: their models can't be compared", before->path,
             after->path);
}

/* The entry of the same key in another pack; *out_is = false if it has none. */
static myr_rc diff_counterpart(const myr_pack *pack, const myr_pack_entry *entry, myr_pack_entry *out, bool *out_is,
                               myr_err *err)
{
    uint32_t idx = MYR_PACK_NONE;
    uint64_t hash = myr_key_hash(entry->key, entry->key_bytes);
    *out_is = false;
    MYR_TRY(myr_pack_find(pack, entry->key, entry->key_bytes, hash, &idx, err));
    if (idx == MYR_PACK_NONE) return MYR_OK;
    MYR_TRY(myr_pack_get_entry(pack, idx, out, err));
    *out_is = true;
    return MYR_OK;
}

myr_rc myr_pack_diff(const myr_pack *before, const myr_pack *after, myr_pack_change_fn each, void *ctx, myr_err *err)
{
    myr_pack_entry mine;
    myr_pack_entry other;
    bool is_there = false;
    MYR_TRY(diff_check_columns(before, after, err));
    for (uint32_t i = 0; i < after->header.model_count; i++) {
        MYR_TRY(myr_pack_get_entry(after, i, &mine, err));
        MYR_TRY(diff_counterpart(before, &mine, &other, &is_there, err));
        bool is_same = is_there && other.model_hash == mine.model_hash && other.model_bytes == mine.model_bytes;
        myr_pack_change change = is_same ? MYR_PACK_SAME : is_there ? MYR_PACK_CHANGED : MYR_PACK_ADDED;
        MYR_TRY(each(ctx, change, is_there ? &other : NULL, &mine, err));
    }
    for (uint32_t i = 0; i < before->header.model_count; i++) {
        MYR_TRY(myr_pack_get_entry(before, i, &mine, err));
        MYR_TRY(diff_counterpart(after, &mine, &other, &is_there, err));
        if (!is_there) MYR_TRY(each(ctx, MYR_PACK_REMOVED, &mine, NULL, err));
    }
    return MYR_OK;
}
