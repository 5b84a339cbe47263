/*
 * The rows of an index while it is built. Entries are kept as they will lie in the file, so that a pack of n models
 * costs n x (64 + about 16, and the longer keys) bytes of memory and the file is written from these arrays without
 * another copy.
 */
#include "pack/pack_inside.h"

#define PACK_ROWS_ROOM_MIN 64

void myr_pack_rows_fini(pack_rows *rows)
{
    myr_free(rows->entries);
    myr_free(rows->keys);
    myr_free(rows->slots);
    *rows = (pack_rows){0};
}

/* Put an entry into the table; gives how many slots were visited. There is always an empty slot. */
static uint32_t pack_slots_put(unsigned char *slots, uint64_t slot_count, uint64_t key_hash, uint32_t entry_idx)
{
    uint64_t slot_idx = pack_slot_first(key_hash, slot_count);
    uint32_t probes = 1;
    while (pack_get_u32(slots + slot_idx * PACK_SLOT_BYTES + 4) != 0) {
        slot_idx = slot_idx + 1 == slot_count ? 0 : slot_idx + 1;
        probes++;
        MYR_ASSERT(probes <= slot_count);
    }
    pack_put_u32(slots + slot_idx * PACK_SLOT_BYTES, (uint32_t)key_hash);
    pack_put_u32(slots + slot_idx * PACK_SLOT_BYTES + 4, entry_idx + 1);
    return probes;
}

static const unsigned char *pack_rows_key(const pack_rows *rows, uint32_t entry_idx, size_t *out_bytes)
{
    MYR_ASSERT(entry_idx < rows->count);
    pack_row row;
    const unsigned char *entry = rows->entries + (size_t)entry_idx * PACK_ENTRY_BYTES;
    myr_pack_row_get(entry, &row);
    *out_bytes = row.key_bytes;
    if (pack_row_is_inline(PACK_INDEX_VERSION, &row)) return entry + PACK_ENTRY_BYTES_1;
    MYR_ASSERT(row.key_offset + row.key_bytes <= rows->keys_bytes);
    return rows->keys + row.key_offset;
}

/* A new table of this size with all entries in it, in their order. */
static myr_rc pack_rows_rebuild(pack_rows *rows, uint64_t slot_count, uint32_t *out_probe_max, myr_err *err)
{
    MYR_ASSERT(slot_count > rows->count);
    unsigned char *slots = myr_calloc(slot_count, PACK_SLOT_BYTES);
    if (slots == NULL) {
        MYR_FAIL(err, NO_MEMORY, "no memory for an index of %u models", rows->count);
    }
    uint32_t probe_max = 0;
    for (uint32_t i = 0; i < rows->count; i++) {
        size_t key_bytes = 0;
        const unsigned char *key = pack_rows_key(rows, i, &key_bytes);
        uint32_t probes = pack_slots_put(slots, slot_count, myr_key_hash(key, key_bytes), i);
        probe_max = probes > probe_max ? probes : probe_max;
    }
    myr_free(rows->slots);
    rows->slots = slots;
    rows->slot_count = slot_count;
    *out_probe_max = probe_max;
    return MYR_OK;
}

myr_rc myr_pack_rows_reserve(pack_rows *rows, size_t key_bytes, myr_err *err)
{
    if (rows->count == rows->room) {
        uint32_t room = rows->room == 0 ? PACK_ROWS_ROOM_MIN : rows->room * 2; /* <= 2 x MYR_PACK_MODELS_MAX */
        unsigned char *entries = myr_realloc_array(rows->entries, room, PACK_ENTRY_BYTES);
        if (entries == NULL) {
            MYR_FAIL(err, NO_MEMORY, "no memory for an index of %u models", room);
        }
        rows->entries = entries;
        rows->room = room;
    }
    if (key_bytes > rows->keys_room - rows->keys_bytes) {
        size_t room = (rows->keys_room + key_bytes) * 2;
        unsigned char *keys = myr_realloc(rows->keys, room);
        if (keys == NULL) {
            MYR_FAIL(err, NO_MEMORY, "no memory for %zu bytes of keys", room);
        }
        rows->keys = keys;
        rows->keys_room = room;
    }
    if (pack_slot_count(rows->count + 1) > rows->slot_count) {
        uint32_t probe_max = 0;
        return pack_rows_rebuild(rows, pack_slot_count(rows->room), &probe_max, err);
    }
    return MYR_OK;
}

bool myr_pack_rows_has(const pack_rows *rows, const unsigned char *key, size_t key_bytes)
{
    if (rows->count == 0) return false;
    uint64_t key_hash = myr_key_hash(key, key_bytes);
    uint64_t slot_idx = pack_slot_first(key_hash, rows->slot_count);
    for (;;) { /* ends: the table always has an empty slot */
        const unsigned char *slot = rows->slots + slot_idx * PACK_SLOT_BYTES;
        uint32_t entry_number = pack_get_u32(slot + 4);
        if (entry_number == 0) return false;
        if (pack_get_u32(slot) == (uint32_t)key_hash) {
            size_t other_bytes = 0;
            const unsigned char *other = pack_rows_key(rows, entry_number - 1, &other_bytes);
            if (other_bytes == key_bytes && memcmp(other, key, key_bytes) == 0) return true;
        }
        slot_idx = slot_idx + 1 == rows->slot_count ? 0 : slot_idx + 1;
    }
}

void myr_pack_rows_add(pack_rows *rows, const unsigned char *key, size_t key_bytes, pack_row row)
{
    MYR_ASSERT(rows->count < rows->room && key_bytes <= rows->keys_room - rows->keys_bytes);
    MYR_ASSERT(key_bytes > 0 && key_bytes <= MYR_KEY_BYTES_MAX);
    row.key_bytes = (uint16_t)key_bytes;
    row.key_offset = 0;
    if (!pack_row_is_inline(PACK_INDEX_VERSION, &row)) {
        row.key_offset = rows->keys_bytes;
        memcpy(rows->keys + rows->keys_bytes, key, key_bytes);
        rows->keys_bytes += key_bytes;
    }
    myr_pack_row_put(rows->entries + (size_t)rows->count * PACK_ENTRY_BYTES, &row, key);
    rows->count++;
    uint32_t level = (uint32_t)__builtin_popcount(key[0]); /* the key is a checked one */
    MYR_ASSERT(level <= MYR_PARTITION_COLUMNS_MAX);
    rows->level_models[level]++;
    pack_slots_put(rows->slots, rows->slot_count, myr_key_hash(key, key_bytes), rows->count - 1);
}

myr_rc myr_pack_rows_finish(pack_rows *rows, uint32_t *out_probe_max, myr_err *err)
{
    uint32_t probe_max = 0;
    if (rows->count > 0) {
        MYR_TRY(pack_rows_rebuild(rows, pack_slot_count(rows->count), &probe_max, err));
    }
    if (probe_max > PACK_PROBE_MAX) {
        MYR_FAIL(err, TOO_LARGE,
                 "a look-up would visit %u slots, at most %d are allowed: the keys were made to collide", probe_max,
                 PACK_PROBE_MAX);
    }
    *out_probe_max = probe_max;
    return MYR_OK;
}

/* Copy what of one part (at `start` in the body) falls into the page. */
static void pack_page_part(const unsigned char *part, uint64_t start, uint64_t size_bytes, uint64_t page_start,
                           unsigned char out[PACK_PAGE_BYTES])
{
    uint64_t from = start > page_start ? start : page_start;
    uint64_t part_end = start + size_bytes;
    uint64_t page_end = page_start + PACK_PAGE_BYTES;
    uint64_t end = part_end < page_end ? part_end : page_end;
    if (from < end) {
        memcpy(out + (from - page_start), part + (from - start), end - from);
    }
}

void myr_pack_rows_page(const pack_rows *rows, const pack_layout *at, uint64_t page_idx,
                        unsigned char out[PACK_PAGE_BYTES])
{
    uint64_t entries_bytes = (uint64_t)rows->count * PACK_ENTRY_BYTES;
    MYR_ASSERT(rows->count == 0 ||
               rows->slot_count == pack_slot_count(rows->count)); /* myr_pack_rows_finish was called */
    memset(out, 0, PACK_PAGE_BYTES);
    uint64_t page_start = page_idx * PACK_PAGE_BYTES;
    pack_page_part(rows->slots, 0, at->slot_count * PACK_SLOT_BYTES, page_start, out);
    pack_page_part(rows->entries, at->entries_offset, entries_bytes, page_start, out);
    pack_page_part(rows->keys, at->keys_offset, rows->keys_bytes, page_start, out);
}
