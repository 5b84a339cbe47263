/*
 * The fixed parts of a pack's files: header, entries, both ends of a blob file. Bytes to values and back, nothing else,
 * so that the writer and the reader can't disagree about an offset.
 */
#include "pack/pack_format.h"

/* Offsets within the index header. */
enum {
    HEADER_VERSION = 8,
    HEADER_SIZE = 12,
    HEADER_FILE_BYTES = 16,
    HEADER_RELEASE = 24,
    HEADER_MODELS = 32,
    HEADER_FEATURES = 36,
    HEADER_OUTPUTS = 40,
    HEADER_COLUMNS = 44,
    HEADER_FILES = 48,
    HEADER_PROBE = 52,
    HEADER_META_BYTES = 56,
    HEADER_KEYS_BYTES = 64,
    HEADER_META_HASH = 72,
    HEADER_SUMS_HASH = 80,
    HEADER_LEVELS = 88, /* u32 each */
    HEADER_HASH = 120,
};
_Static_assert(HEADER_HASH + 8 == PACK_HEADER_BYTES, "the header ends with its hash");
_Static_assert(HEADER_LEVELS + 4 * MYR_PARTITION_COLUMNS_MAX == HEADER_HASH, "nothing is left between");

/* Offsets within the ends of a blob file. */
enum {
    HEAD_VERSION = 8,
    HEAD_ZEROS = 12,
    TAIL_FILE_BYTES = 8,
    TAIL_MODELS = 16,
    TAIL_ID = 24,
    TAIL_ZEROS = 32,
    TAIL_HASH = 56,
};
_Static_assert(TAIL_HASH + 8 == PACK_TAIL_BYTES, "the tail ends with its hash");

bool myr_pack_is_zero(const unsigned char *at, size_t size_bytes)
{
    unsigned char all = 0;
    for (size_t i = 0; i < size_bytes; i++) {
        all |= at[i];
    }
    return all == 0;
}

/* Older formats are read, newer ones refused by number. */
static myr_rc pack_version_check(const char *path, uint32_t version, uint32_t newest, myr_err *err)
{
    if (version > newest) {
        MYR_FAIL(err, UNSUPPORTED, "%s: pack format %u, this program reads formats up to %u: use a newer myriad", path,
                 version, newest);
    }
    if (version == 0) MYR_FAIL(err, BAD_FORMAT, "%s: pack format 0 does not exist: the file is damaged", path);
    return MYR_OK;
}

/* ---- index header ---- */

void myr_pack_header_put(unsigned char out[PACK_HEADER_BYTES], const pack_header *header)
{
    memset(out, 0, PACK_HEADER_BYTES);
    memcpy(out, PACK_INDEX_MAGIC, 8);
    pack_put_u32(out + HEADER_VERSION, header->version);
    pack_put_u32(out + HEADER_SIZE, PACK_HEADER_BYTES);
    pack_put_u64(out + HEADER_FILE_BYTES, header->file_bytes);
    pack_put_u64(out + HEADER_RELEASE, (uint64_t)header->release);
    pack_put_u32(out + HEADER_MODELS, header->model_count);
    pack_put_u32(out + HEADER_FEATURES, header->feature_count);
    pack_put_u32(out + HEADER_OUTPUTS, header->output_count);
    pack_put_u32(out + HEADER_COLUMNS, header->column_count);
    pack_put_u32(out + HEADER_FILES, header->file_count);
    pack_put_u32(out + HEADER_PROBE, header->probe_max);
    pack_put_u64(out + HEADER_META_BYTES, header->meta_bytes);
    pack_put_u64(out + HEADER_KEYS_BYTES, header->keys_bytes);
    pack_put_u64(out + HEADER_META_HASH, header->meta_hash);
    pack_put_u64(out + HEADER_SUMS_HASH, header->sums_hash);
    for (size_t i = 0; i < MYR_PARTITION_COLUMNS_MAX; i++)
        pack_put_u32(out + HEADER_LEVELS + 4 * i, header->level_models[i]);
    pack_put_u64(out + HEADER_HASH, myr_hash64(out, HEADER_HASH, 0));
}

myr_rc myr_pack_header_get(const unsigned char *bytes, size_t size_bytes, const char *path, pack_header *out,
                           myr_err *err)
{
    if (size_bytes < PACK_HEADER_BYTES) {
        MYR_FAIL(err, BAD_FORMAT, "%s: %zu bytes are too few for a pack index (its header has %d)", path, size_bytes,
                 PACK_HEADER_BYTES);
    }
    if (memcmp(bytes, PACK_INDEX_MAGIC, 8) != 0) {
        MYR_FAIL(err, BAD_FORMAT, "%s: not a pack index (it does not begin with \"" PACK_INDEX_MAGIC "\")", path);
    }
    uint32_t version = pack_get_u32(bytes + HEADER_VERSION);
    MYR_TRY(pack_version_check(path, version, PACK_INDEX_VERSION, err));
    if (pack_get_u64(bytes + HEADER_HASH) != myr_hash64(bytes, HEADER_HASH, 0)) {
        MYR_FAIL(err, BAD_FORMAT, "%s: the header is damaged (checksum)", path);
    }
    if (pack_get_u32(bytes + HEADER_SIZE) != PACK_HEADER_BYTES ||
        (version < 3 && !myr_pack_is_zero(bytes + HEADER_LEVELS, HEADER_HASH - HEADER_LEVELS))) {
        MYR_FAIL(err, BAD_FORMAT, "%s: the header is not one of format %u", path, version);
    }
    out->version = version;
    out->file_bytes = pack_get_u64(bytes + HEADER_FILE_BYTES);
    out->release = (int64_t)pack_get_u64(bytes + HEADER_RELEASE);
    out->model_count = pack_get_u32(bytes + HEADER_MODELS);
    out->feature_count = pack_get_u32(bytes + HEADER_FEATURES);
    out->output_count = pack_get_u32(bytes + HEADER_OUTPUTS);
    out->column_count = pack_get_u32(bytes + HEADER_COLUMNS);
    out->file_count = pack_get_u32(bytes + HEADER_FILES);
    out->probe_max = pack_get_u32(bytes + HEADER_PROBE);
    out->meta_bytes = pack_get_u64(bytes + HEADER_META_BYTES);
    out->keys_bytes = pack_get_u64(bytes + HEADER_KEYS_BYTES);
    out->meta_hash = pack_get_u64(bytes + HEADER_META_HASH);
    out->sums_hash = pack_get_u64(bytes + HEADER_SUMS_HASH);
    for (size_t i = 0; i < MYR_PARTITION_COLUMNS_MAX; i++)
        out->level_models[i] = pack_get_u32(bytes + HEADER_LEVELS + 4 * i);
    return MYR_OK;
}

/* No more models by level than there are, none of a level that the columns don't have, one global one at most. */
static myr_rc pack_levels_check(const pack_header *header, const char *path, myr_err *err)
{
    uint64_t counted = 0;
    for (uint32_t i = 0; i < MYR_PARTITION_COLUMNS_MAX; i++) {
        counted += header->level_models[i];
        if (header->level_models[i] == 0 || i < header->column_count) continue;
        MYR_FAIL(err, BAD_FORMAT, "%s: the header claims %u models with %u key columns of %u", path,
                 header->level_models[i], i + 1, header->column_count);
    }
    if (header->version < 3) return MYR_OK;
    if (counted <= header->model_count && header->model_count - counted <= 1) return MYR_OK;
    MYR_FAIL(err, BAD_FORMAT, "%s: the header counts %llu models by level, of %u with at most one global", path,
             (unsigned long long)counted, header->model_count);
}

myr_rc myr_pack_layout_of(const pack_header *header, const char *path, pack_layout *out, myr_err *err)
{
    const struct {
        const char *what;
        uint64_t value;
        uint64_t min;
        uint64_t max;
    } limits[] = {
        {"models", header->model_count, 0, MYR_PACK_MODELS_MAX},
        {"features", header->feature_count, 0, MYR_FEATURES_MAX},
        {"outputs", header->output_count, 1, MYR_OUTPUTS_MAX},
        {"partition columns", header->column_count, 0, MYR_PARTITION_COLUMNS_MAX},
        {"blob files", header->file_count, 0, MYR_PACK_FILES_MAX},
        {"probed slots", header->probe_max, 0, PACK_PROBE_MAX},
        {"bytes of names", header->meta_bytes, 0, PACK_META_BYTES_MAX},
        {"bytes of keys", header->keys_bytes, 0, (uint64_t)header->model_count * MYR_KEY_BYTES_MAX},
    };
    for (size_t i = 0; i < MYR_COUNT_OF(limits); i++) {
        if (limits[i].value < limits[i].min || limits[i].value > limits[i].max) {
            MYR_FAIL(err, BAD_FORMAT, "%s: the header claims %llu %s, allowed are %llu to %llu", path,
                     (unsigned long long)limits[i].value, limits[i].what, (unsigned long long)limits[i].min,
                     (unsigned long long)limits[i].max);
        }
    }
    MYR_TRY(pack_levels_check(header, path, err));
    bool is_first = header->version == 1;
    pack_layout at = {.slot_count = pack_slot_count(header->model_count)};
    at.entry_bytes = is_first ? PACK_ENTRY_BYTES_1 : PACK_ENTRY_BYTES;
    at.entries_offset = pack_round_up(at.slot_count * PACK_SLOT_BYTES, is_first ? PACK_SLOT_BYTES : PACK_ENTRY_BYTES);
    at.keys_offset = at.entries_offset + (uint64_t)header->model_count * at.entry_bytes;
    at.body_bytes = at.keys_offset + header->keys_bytes;
    at.page_count = pack_round_up(at.body_bytes, PACK_PAGE_BYTES) / PACK_PAGE_BYTES;
    at.sums_offset = pack_round_up(PACK_HEADER_BYTES + header->meta_bytes, 8);
    at.body_offset = pack_round_up(at.sums_offset + at.page_count * 8, PACK_PAGE_BYTES);
    at.file_bytes = at.body_offset + at.page_count * PACK_PAGE_BYTES;
    *out = at;
    return MYR_OK;
}

/* The page's number is the seed: a page in the wrong place is damage too. */
uint64_t myr_pack_page_sum(const unsigned char page[PACK_PAGE_BYTES], uint64_t page_idx)
{
    return myr_hash64(page, PACK_PAGE_BYTES, page_idx);
}

/* ---- entries ---- */

void myr_pack_row_put(unsigned char out[PACK_ENTRY_BYTES], const pack_row *row, const unsigned char *key)
{
    memset(out, 0, PACK_ENTRY_BYTES);
    pack_put_u64(out, row->model_hash);
    pack_put_u64(out + 8, (uint64_t)row->version);
    pack_put_u64(out + 16, row->key_offset);
    pack_put_u64(out + 24, row->blob_offset);
    pack_put_u32(out + 32, row->blob_units);
    pack_put_u16(out + 36, row->file_idx);
    pack_put_u16(out + 38, row->key_bytes);
    if (pack_row_is_inline(PACK_INDEX_VERSION, row)) memcpy(out + PACK_ENTRY_BYTES_1, key, row->key_bytes);
}

void myr_pack_row_get(const unsigned char bytes[PACK_ENTRY_BYTES_1], pack_row *out)
{
    out->model_hash = pack_get_u64(bytes);
    out->version = (int64_t)pack_get_u64(bytes + 8);
    out->key_offset = pack_get_u64(bytes + 16);
    out->blob_offset = pack_get_u64(bytes + 24);
    out->blob_units = pack_get_u32(bytes + 32);
    out->file_idx = pack_get_u16(bytes + 36);
    out->key_bytes = pack_get_u16(bytes + 38);
}

/* ---- both ends of a blob file ---- */

void myr_pack_head_put(unsigned char out[PACK_HEAD_BYTES])
{
    memset(out, 0, PACK_HEAD_BYTES);
    memcpy(out, PACK_HEAD_MAGIC, 8);
    pack_put_u32(out + HEAD_VERSION, PACK_BLOBS_VERSION);
}

void myr_pack_tail_put(unsigned char out[PACK_TAIL_BYTES], const pack_tail *tail)
{
    memset(out, 0, PACK_TAIL_BYTES);
    memcpy(out, PACK_TAIL_MAGIC, 8);
    pack_put_u64(out + TAIL_FILE_BYTES, tail->file_bytes);
    pack_put_u64(out + TAIL_MODELS, tail->model_count);
    pack_put_u64(out + TAIL_ID, tail->id);
    pack_put_u64(out + TAIL_HASH, myr_hash64(out, TAIL_HASH, 0));
}

myr_rc myr_pack_ends_get(const unsigned char head[PACK_HEAD_BYTES], const unsigned char tail[PACK_TAIL_BYTES],
                         uint64_t file_bytes, const char *path, pack_tail *out, myr_err *err)
{
    if (memcmp(head, PACK_HEAD_MAGIC, 8) != 0) {
        MYR_FAIL(err, BAD_FORMAT, "%s: not a blob file of a pack (it does not begin with \"" PACK_HEAD_MAGIC "\")",
                 path);
    }
    uint32_t version = pack_get_u32(head + HEAD_VERSION);
    MYR_TRY(pack_version_check(path, version, PACK_BLOBS_VERSION, err));
    if (!myr_pack_is_zero(head + HEAD_ZEROS, PACK_HEAD_BYTES - HEAD_ZEROS)) {
        MYR_FAIL(err, BAD_FORMAT, "%s: the first %d bytes are damaged", path, PACK_HEAD_BYTES);
    }
    if (memcmp(tail, PACK_TAIL_MAGIC, 8) != 0 || pack_get_u64(tail + TAIL_HASH) != myr_hash64(tail, TAIL_HASH, 0) ||
        !myr_pack_is_zero(tail + TAIL_ZEROS, TAIL_HASH - TAIL_ZEROS)) {
        MYR_FAIL(err, BAD_FORMAT, "%s: the last %d bytes are damaged, or the file is cut off", path, PACK_TAIL_BYTES);
    }
    pack_tail got = {pack_get_u64(tail + TAIL_FILE_BYTES), pack_get_u64(tail + TAIL_MODELS),
                     pack_get_u64(tail + TAIL_ID)};
    if (got.file_bytes != file_bytes) {
        MYR_FAIL(err, BAD_FORMAT, "%s: %llu bytes, written were %llu", path, (unsigned long long)file_bytes,
                 (unsigned long long)got.file_bytes);
    }
    *out = got;
    return MYR_OK;
}

uint64_t myr_pack_id_fold(uint64_t id, uint64_t model_hash, uint64_t model_bytes)
{
    unsigned char bytes[16];
    pack_put_u64(bytes, model_hash);
    pack_put_u64(bytes + 8, model_bytes);
    return myr_hash64(bytes, sizeof bytes, id);
}

/* ---- meta: strings are u16 size + bytes ---- */

void myr_pack_meta_str_put(myr_buf *out, const char *text)
{
    size_t size = strlen(text);
    unsigned char bytes[2];
    MYR_ASSERT(size <= UINT16_MAX);
    pack_put_u16(bytes, (uint16_t)size);
    myr_buf_append(out, bytes, sizeof bytes);
    myr_buf_append(out, text, size);
}

void myr_pack_signature_put(myr_buf *out, const myr_pack_info *info)
{
    MYR_ASSERT(info->keys.column_count <= MYR_PARTITION_COLUMNS_MAX);
    for (uint32_t i = 0; i < info->keys.column_count; i++) {
        myr_buf_putc(out, (char)info->keys.columns[i].type);
        myr_pack_meta_str_put(out, info->keys.columns[i].name);
    }
    for (uint32_t i = 0; i < info->feature_count; i++) {
        myr_pack_meta_str_put(out, info->features[i]);
    }
}

static const char *pack_column_name_problem(const char *name, size_t size)
{
    if (size == 0) return "is empty";
    if (size > MYR_NAME_BYTES_MAX) return "is longer than 128 bytes";
    if (!myr_utf8_is_valid(myr_str_make(name, size))) return "is not UTF-8";
    return NULL;
}

myr_rc myr_pack_info_check(const myr_pack_info *info, myr_rc rc, const char *path, myr_err *err)
{
    if (!myr_name_is_valid(myr_str_of(info->fleet))) {
        return myr_err_set(err, rc, __FILE__, __LINE__, "%s: '%s' is not a name for a fleet", path, info->fleet);
    }
    for (uint32_t i = 0; i < info->keys.column_count; i++) {
        const char *name = info->keys.columns[i].name;
        const char *problem = pack_column_name_problem(name, strnlen(name, MYR_NAME_BYTES_MAX + 1));
        for (uint32_t j = 0; problem == NULL && j < i; j++) {
            problem = strcmp(name, info->keys.columns[j].name) == 0 ? "stands twice" : NULL;
        }
        if (problem == NULL && info->keys.columns[i].type != MYR_KEY_INT64 &&
            info->keys.columns[i].type != MYR_KEY_BYTES) {
            problem = "has an unknown type";
        }
        if (problem != NULL) {
            return myr_err_set(err, rc, __FILE__, __LINE__, "%s: partition column %u '%.*s' %s", path, i + 1,
                               MYR_NAME_BYTES_MAX, name, problem);
        }
    }
    for (uint32_t i = 0; i < info->feature_count; i++) {
        const char *problem = pack_column_name_problem(info->features[i], strlen(info->features[i]));
        if (problem != NULL) {
            return myr_err_set(err, rc, __FILE__, __LINE__, "%s: feature %u '%s' %s", path, i + 1, info->features[i],
                               problem);
        }
    }
    return MYR_OK;
}
