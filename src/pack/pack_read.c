/*
 * Reading an open pack. A page of the index is checked when it is first touched, a model when it is first used; a mark
 * remembers each. Threads may race to check the same thing: both find the same answer and set the same mark.
 */
#include "pack/pack_inside.h"

/* ---- pages that were lost ---- */

myr_rc myr_pack_loss_check(const myr_pack *pack, uint64_t losses_before, myr_err *err)
{
    if (myr_io_map_losses() != losses_before) {
        MYR_FAIL(err, BAD_FORMAT,
                 "%s: a mapped file was cut off while it was read; put the file back and open it again", pack->path);
    }
    return MYR_OK;
}

/* A lost page reads as zeros from then on, whatever was marked before: after one, everything is checked each time. */
static bool pack_marks_hold(const myr_pack *pack)
{
    return myr_io_map_losses() == pack->losses;
}

/* ---- pages ---- */

static myr_rc pack_page_check(const myr_pack *pack, uint64_t page_idx, myr_err *err)
{
    MYR_ASSERT(page_idx < pack->layout.page_count);
    const unsigned char *page = pack->index.data + pack->layout.body_offset + page_idx * PACK_PAGE_BYTES;
    uint64_t sum = pack_get_u64(pack->index.data + pack->layout.sums_offset + page_idx * 8);
    if (myr_pack_page_sum(page, page_idx) != sum) {
        MYR_FAIL(err, BAD_FORMAT, "%s: damaged between bytes %llu and %llu (checksum)", pack->path,
                 (unsigned long long)(pack->layout.body_offset + page_idx * PACK_PAGE_BYTES),
                 (unsigned long long)(pack->layout.body_offset + (page_idx + 1) * PACK_PAGE_BYTES));
    }
    return MYR_OK;
}

myr_rc myr_pack_touch(const myr_pack *pack, uint64_t offset, uint64_t size_bytes, const unsigned char **out,
                      myr_err *err)
{
    MYR_ASSERT(size_bytes > 0 && offset <= pack->layout.body_bytes && size_bytes <= pack->layout.body_bytes - offset);
    bool marks_hold = pack_marks_hold(pack);
    uint64_t last = (offset + size_bytes - 1) / PACK_PAGE_BYTES;
    for (uint64_t page = offset / PACK_PAGE_BYTES; page <= last; page++) {
        _Atomic uint64_t *mark = &pack->page_marks[page / 64];
        uint64_t bit = 1ull << (page % 64);
        if (!marks_hold || (atomic_load_explicit(mark, memory_order_acquire) & bit) == 0) {
            MYR_TRY(pack_page_check(pack, page, err));
            atomic_fetch_or_explicit(mark, bit, memory_order_release);
        }
    }
    *out = pack->index.data + pack->layout.body_offset + offset;
    return MYR_OK;
}

/* ---- entries ---- */

/* Where the entry points, against the real sizes. Also run on marked pages: it is cheap, and zeros must end here too.
 */
static myr_rc pack_row_check(const myr_pack *pack, uint32_t model_idx, const pack_row *row, myr_err *err)
{
    uint64_t keys_bytes = pack->header.keys_bytes;
    bool is_inline = pack_row_is_inline(pack->header.version, row);
    if (row->key_bytes == 0 || row->key_bytes > MYR_KEY_BYTES_MAX || (is_inline && row->key_offset != 0) ||
        (!is_inline && (row->key_offset > keys_bytes || row->key_bytes > keys_bytes - row->key_offset))) {
        MYR_FAIL(err, BAD_FORMAT, "%s: entry %u has its key outside the keys", pack->path, model_idx);
    }
    if (row->file_idx >= pack->header.file_count) {
        MYR_FAIL(err, BAD_FORMAT, "%s: entry %u names blob file %u of %u", pack->path, model_idx, row->file_idx,
                 pack->header.file_count);
    }
    uint64_t room = pack->files[row->file_idx].mapping.size - PACK_TAIL_BYTES; /* sizes were checked at open */
    if (row->blob_units == 0 || row->blob_offset < PACK_HEAD_BYTES || row->blob_offset % MYR_MODEL_ALIGN != 0 ||
        row->blob_offset > room || row->blob_units > (room - row->blob_offset) / MYR_MODEL_ALIGN) {
        MYR_FAIL(err, BAD_FORMAT, "%s: entry %u has its model outside %s", pack->path, model_idx,
                 pack->files[row->file_idx].name);
    }
    return MYR_OK;
}

myr_rc myr_pack_row_load(const myr_pack *pack, uint32_t model_idx, pack_row *out_row, const unsigned char **out_key,
                         myr_err *err)
{
    MYR_ASSERT(model_idx < pack->header.model_count);
    const unsigned char *bytes = NULL;
    uint64_t entry_bytes = pack->layout.entry_bytes;
    MYR_TRY(myr_pack_touch(pack, pack->layout.entries_offset + model_idx * entry_bytes, entry_bytes, &bytes, err));
    pack_row row;
    myr_pack_row_get(bytes, &row);
    MYR_TRY(pack_row_check(pack, model_idx, &row, err));
    bytes += PACK_ENTRY_BYTES_1;
    if (!pack_row_is_inline(pack->header.version, &row)) {
        MYR_TRY(myr_pack_touch(pack, pack->layout.keys_offset + row.key_offset, row.key_bytes, &bytes, err));
    }
    if (bytes[0] >> pack->header.column_count != 0) {
        MYR_FAIL(err, BAD_FORMAT, "%s: entry %u has a key with unknown columns", pack->path, model_idx);
    }
    *out_row = row;
    *out_key = bytes;
    return MYR_OK;
}

static myr_rc pack_idx_check(const myr_pack *pack, uint32_t model_idx, myr_err *err)
{
    if (model_idx >= pack->header.model_count) {
        MYR_FAIL(err, BAD_INPUT, "%s: there is no model %u, it has %u", pack->path, model_idx,
                 pack->header.model_count);
    }
    return MYR_OK;
}

myr_rc myr_pack_get_entry(const myr_pack *pack, uint32_t model_idx, myr_pack_entry *out, myr_err *err)
{
    pack_row row;
    const unsigned char *key = NULL;
    uint64_t losses = myr_io_map_losses();
    MYR_TRY(pack_idx_check(pack, model_idx, err));
    MYR_TRY(myr_pack_row_load(pack, model_idx, &row, &key, err));
    MYR_TRY(myr_pack_loss_check(pack, losses, err));
    *out = (myr_pack_entry){
        .version = row.version,
        .key_columns = (uint32_t)__builtin_popcount(key[0]),
        .key = key,
        .key_bytes = row.key_bytes,
        .model_bytes = (size_t)row.blob_units * MYR_MODEL_ALIGN,
        .model_hash = row.model_hash,
        .file_idx = row.file_idx,
    };
    return MYR_OK;
}

/* ---- look-up ---- */

myr_rc myr_pack_find(const myr_pack *pack, const unsigned char *key, size_t key_bytes, uint64_t key_hash,
                     uint32_t *out_idx, myr_err *err)
{
    uint64_t losses = myr_io_map_losses();
    uint32_t found = MYR_PACK_NONE;
    uint64_t slot_count = pack->layout.slot_count;
    uint64_t slot_idx = pack_slot_first(key_hash, slot_count);
    /* probe_max was checked against a constant, so the walk ends even on a table without an empty slot */
    for (uint32_t probe = 0; probe < pack->header.probe_max && found == MYR_PACK_NONE && slot_count > 0; probe++) {
        const unsigned char *slot = NULL;
        MYR_TRY(myr_pack_touch(pack, slot_idx * PACK_SLOT_BYTES, PACK_SLOT_BYTES, &slot, err));
        uint32_t entry_number = pack_get_u32(slot + 4);
        if (entry_number == 0) break;
        if (pack_get_u32(slot) == (uint32_t)key_hash) {
            if (entry_number > pack->header.model_count) {
                MYR_FAIL(err, BAD_FORMAT, "%s: slot %llu names entry %u of %u", pack->path,
                         (unsigned long long)slot_idx, entry_number, pack->header.model_count);
            }
            pack_row row;
            const unsigned char *entry_key = NULL;
            MYR_TRY(myr_pack_row_load(pack, entry_number - 1, &row, &entry_key, err));
            if (row.key_bytes == key_bytes && memcmp(entry_key, key, key_bytes) == 0) {
                found = entry_number - 1;
            }
        }
        slot_idx = slot_idx + 1 == slot_count ? 0 : slot_idx + 1;
    }
    MYR_TRY(myr_pack_loss_check(pack, losses, err));
    *out_idx = found;
    return MYR_OK;
}

/* ---- models ---- */

/* Words that name a model in a message: "oj-7.blobs: model 'store=2,brand=1' (bytes 64 to 512)". */
static void pack_model_name(const myr_pack *pack, const pack_row *row, const unsigned char *key, myr_buf *out)
{
    uint64_t end = row->blob_offset + (uint64_t)row->blob_units * MYR_MODEL_ALIGN;
    MYR_AUTO(myr_buf) segment = {0};
    MYR_IGNORE(myr_key_text(&pack->info.keys, key, row->key_bytes, &segment, NULL)); /* without memory: no text */
    myr_buf_printf(out, "%s: model '%.*s' (bytes %llu to %llu)", pack->files[row->file_idx].name,
                   segment.failed || segment.size == 0 ? 0 : (int)(segment.size > 100 ? 100 : segment.size),
                   segment.size == 0 ? "" : segment.data, (unsigned long long)row->blob_offset,
                   (unsigned long long)end);
}

/* Checksum, then every byte by the model's own check, then that it fits the fleet's signature. */
static myr_rc pack_model_check(const myr_pack *pack, const pack_row *row, const unsigned char *key,
                               const myr_model **out, myr_err *err)
{
    MYR_TRY(myr_pack_key_check(&pack->info.keys, key, row->key_bytes, err));
    const unsigned char *bytes = pack->files[row->file_idx].mapping.data + row->blob_offset;
    size_t size_bytes = (size_t)row->blob_units * MYR_MODEL_ALIGN;
    if (myr_hash64(bytes, size_bytes, 0) != row->model_hash) {
        MYR_FAIL(err, BAD_FORMAT, "damaged (checksum)");
    }
    const myr_model *model = NULL;
    MYR_TRY(myr_model_check(bytes, size_bytes, &model, err));
    myr_model_info info;
    myr_model_get_info(model, &info);
    if (info.column_count != pack->header.feature_count || info.output_count != pack->header.output_count) {
        MYR_FAIL(err, BAD_FORMAT, "takes %u columns and gives %u values, the fleet has %u and %u", info.column_count,
                 info.output_count, pack->header.feature_count, pack->header.output_count);
    }
    *out = model;
    return MYR_OK;
}

/* The same, with the model named in the error. */
static myr_rc pack_model_load(const myr_pack *pack, uint32_t model_idx, const myr_model **out, myr_err *err)
{
    pack_row row;
    const unsigned char *key = NULL;
    MYR_TRY(myr_pack_row_load(pack, model_idx, &row, &key, err));
    myr_rc rc = pack_model_check(pack, &row, key, out, err);
    if (rc != MYR_OK && err != NULL) {
        MYR_AUTO(myr_buf) name = {0};
        pack_model_name(pack, &row, key, &name);
        if (!name.failed && name.size > 0) {
            return myr_err_prefix(err, rc, "%s: ", name.data);
        }
    }
    return rc;
}

myr_rc myr_pack_model(const myr_pack *pack, uint32_t model_idx, const myr_model **out, myr_err *err)
{
    uint64_t losses = myr_io_map_losses();
    MYR_TRY(pack_idx_check(pack, model_idx, err));
    _Atomic(const myr_model *) *mark = &pack->model_marks[model_idx];
    const myr_model *model = atomic_load_explicit(mark, memory_order_acquire);
    if (model == NULL || !pack_marks_hold(pack)) {
        MYR_TRY(pack_model_load(pack, model_idx, &model, err));
        MYR_TRY(myr_pack_loss_check(pack, losses, err));
        atomic_store_explicit(mark, model, memory_order_release);
    }
    *out = model;
    return MYR_OK;
}

void myr_pack_prefetch(const myr_pack *pack, uint32_t model_idx)
{
    if (model_idx >= pack->header.model_count) return;
    const myr_model *model = atomic_load_explicit(&pack->model_marks[model_idx], memory_order_relaxed);
    if (model == NULL) return; /* its pages may not be mapped yet: then asking is in vain */
    const unsigned char *entry = pack->index.data + pack->layout.body_offset + pack->layout.entries_offset +
                                 model_idx * pack->layout.entry_bytes;
    pack_row row;
    myr_pack_row_get(entry, &row); /* of a checked page; if it was lost since, the hint is wrong and harmless */
    myr_model_prefetch(model, (size_t)row.blob_units * MYR_MODEL_ALIGN);
}

/* ---- verify ---- */

/* What verify has found: the first damage is the one that is told. */
typedef struct pack_damage {
    myr_rc rc;
    myr_err *err;
    uint32_t broken;
} pack_damage;

/* Run a check into a fresh error, and keep that error if it is the first. */
static bool pack_damage_note(pack_damage *damage, myr_rc rc, const myr_err *err)
{
    if (rc != MYR_OK && damage->rc == MYR_OK) {
        damage->rc = rc;
        if (damage->err != NULL) {
            *damage->err = *err;
        }
    }
    return rc != MYR_OK;
}

/* Every slot names an entry or is empty, and as many are taken as there are models. */
static myr_rc pack_verify_slots(const myr_pack *pack, myr_err *err)
{
    const unsigned char *slots = pack->index.data + pack->layout.body_offset; /* its pages were checked just now */
    uint64_t taken = 0;
    uint64_t slots_end = pack->layout.slot_count * PACK_SLOT_BYTES;
    if (!myr_pack_is_zero(slots + slots_end, pack->layout.entries_offset - slots_end)) {
        MYR_FAIL(err, BAD_FORMAT, "%s: bytes stand between the slots and the entries", pack->path);
    }
    for (uint64_t i = 0; i < pack->layout.slot_count; i++) {
        uint32_t entry_number = pack_get_u32(slots + i * PACK_SLOT_BYTES + 4);
        bool is_empty = myr_pack_is_zero(slots + i * PACK_SLOT_BYTES, PACK_SLOT_BYTES);
        if (entry_number > pack->header.model_count || (entry_number == 0 && !is_empty)) {
            MYR_FAIL(err, BAD_FORMAT, "%s: slot %llu names entry %u of %u", pack->path, (unsigned long long)i,
                     entry_number, pack->header.model_count);
        }
        taken += !is_empty;
    }
    if (taken != pack->header.model_count) {
        MYR_FAIL(err, BAD_FORMAT, "%s: %llu slots are taken, for %u models", pack->path, (unsigned long long)taken,
                 pack->header.model_count);
    }
    return MYR_OK;
}

#define PACK_OFFSET_UNKNOWN UINT64_MAX /* the entry before was damaged */

/* One model and its entry: keys lie one after the other (those in entries: zeros behind them), and the look-up finds
 * this entry by its key. */
static myr_rc pack_verify_model(const myr_pack *pack, uint32_t model_idx, uint64_t *key_offset, myr_err *err)
{
    pack_row row;
    const unsigned char *key = NULL;
    uint64_t expected = *key_offset;
    *key_offset = PACK_OFFSET_UNKNOWN;
    MYR_TRY(myr_pack_row_load(pack, model_idx, &row, &key, err));
    if (pack_row_is_inline(pack->header.version, &row)) {
        *key_offset = expected;
        if (!myr_pack_is_zero(key + row.key_bytes, PACK_INLINE_BYTES - row.key_bytes)) {
            MYR_FAIL(err, BAD_FORMAT, "%s: bytes stand behind the key of entry %u", pack->path, model_idx);
        }
    } else {
        *key_offset = row.key_offset + row.key_bytes;
    }
    if (!pack_row_is_inline(pack->header.version, &row) && row.key_offset != expected &&
        expected != PACK_OFFSET_UNKNOWN) {
        MYR_FAIL(err, BAD_FORMAT, "%s: the key of entry %u is not where the one before ends", pack->path, model_idx);
    }
    uint32_t found = MYR_PACK_NONE;
    MYR_TRY(myr_pack_find(pack, key, row.key_bytes, myr_key_hash(key, row.key_bytes), &found, err));
    if (found != model_idx) {
        MYR_FAIL(err, BAD_FORMAT, "%s: the key of entry %u does not lead to it", pack->path, model_idx);
    }
    const myr_model *model = NULL;
    return pack_model_load(pack, model_idx, &model, err);
}

myr_rc myr_pack_verify(const myr_pack *pack, uint32_t *out_broken, myr_err *err)
{
    pack_damage damage = {MYR_OK, err, 0};
    myr_err found = {0};
    for (uint64_t i = 0; i < pack->layout.page_count; i++) {
        pack_damage_note(&damage, pack_page_check(pack, i, &found), &found);
    }
    bool is_index_good = damage.rc == MYR_OK;
    if (is_index_good) {
        is_index_good = !pack_damage_note(&damage, pack_verify_slots(pack, &found), &found);
    }
    uint64_t key_offset = 0;
    for (uint32_t i = 0; i < pack->header.model_count; i++) {
        damage.broken += pack_damage_note(&damage, pack_verify_model(pack, i, &key_offset, &found), &found);
    }
    if (is_index_good && damage.broken == 0 && key_offset != pack->header.keys_bytes) {
        damage.rc = MYR_ERROR(err, BAD_FORMAT, "%s: bytes stand after the last key", pack->path);
    }
    if (damage.rc == MYR_OK) {
        damage.rc = myr_pack_check_levels(pack, err);
    }
    if (out_broken != NULL) {
        *out_broken = damage.broken;
    }
    return damage.rc;
}
