/*
 * How a pack lies on disk; only for the files of this directory. docs/internals/pack.md tells the same in prose.
 * Everything is little-endian. Nothing here is trusted when read: pack_open.c and pack_read.c check it.
 *
 *   <name>.index   header | meta | zeros to 8 | page sums | zeros to 4096 | body: slots, entries, keys, zeros to 4096
 *                  meta: fleet, partition columns, features, blob files, a bit per feature: it takes text
 *   <name>.blobs   head | model, model, … (each a multiple of 64 bytes) | tail
 */
#ifndef MYR_PACK_FORMAT_H
#define MYR_PACK_FORMAT_H

#include <string.h>

#include "base/base.h"
#include "pack/key.h"
#include "pack/pack.h"

/* What is written. Read too: 2 (models are not counted by level), 1 (entries of 40 bytes, no inline keys, no bits of
 * text). */
#define PACK_INDEX_VERSION    3
#define PACK_BLOBS_VERSION    1
#define PACK_PAGE_BYTES       4096
#define PACK_INDEX_SUFFIX     ".index"
#define PACK_BLOBS_SUFFIX     ".blobs"
#define PACK_TMP_SUFFIX       ".tmp"
#define PACK_NAME_BYTES_MAX   (MYR_NAME_BYTES_MAX - 6) /* of a pack: with its suffix it is a name too */
#define PACK_SEGMENT_RESERVED ",=/@"
#define PACK_META_BYTES_MAX   (16u << 20) /* names of the fleet, columns, features and blob files: at most 8.7 MB */

/* ---- index header: PACK_HEADER_BYTES, the last 8 of them the XXH64 of the others ---- */
#define PACK_HEADER_BYTES 128
#define PACK_INDEX_MAGIC  "myrindex"
typedef struct pack_header {
    uint32_t version; /* 1 to PACK_INDEX_VERSION */
    uint64_t file_bytes;
    int64_t release;
    uint32_t model_count;
    uint32_t feature_count;
    uint32_t output_count;
    uint32_t column_count;
    uint32_t file_count;
    uint32_t probe_max; /* slots that the longest look-up visits */
    uint64_t meta_bytes;
    uint64_t keys_bytes;
    uint64_t meta_hash;
    uint64_t sums_hash;
    uint32_t level_models[MYR_PARTITION_COLUMNS_MAX]; /* models with 1, 2, … key columns; the rest is global; since 3 */
} pack_header;

/* Where things lie in an index: all of it follows from the header, so none of it is stored. */
typedef struct pack_layout {
    uint64_t sums_offset;
    uint64_t page_count; /* of the body */
    uint64_t body_offset;
    uint64_t entries_offset; /* from here on: within the body. A multiple of 64, so that an entry is one cache line */
    uint64_t entry_bytes;
    uint64_t keys_offset;
    uint64_t body_bytes; /* without the zeros at the end */
    uint64_t slot_count;
    uint64_t file_bytes;
} pack_layout;

/* Load factor 0.7: one more slot than models at least, so that a walk meets an empty one. */
static inline uint64_t pack_slot_count(uint32_t model_count)
{
    return model_count == 0 ? 0 : (uint64_t)model_count * 10 / 7 + 1;
}

/* A slot: u32 tag (low half of the key's hash), u32 entry index + 1 (0 = empty). */
#define PACK_SLOT_BYTES 8
#define PACK_PROBE_MAX                                                                                                 \
    4096 /* of a table with honest keys it is 115 for 100,000 models; more means keys made to collide */
static inline uint64_t pack_slot_first(uint64_t key_hash, uint64_t slot_count)
{
    return (key_hash >> 32) * slot_count >> 32; /* < slot_count, since slot_count < 2^32 */
}

/*
 * An entry: u64 model hash, i64 version, u64 key offset, u64 blob offset, u32 blob bytes / 64, u16 file, u16 key bytes;
 * then, since format 2, a short key (its offset is 0), so that a look-up reads one line of the slots and one of these.
 */
#define PACK_ENTRY_BYTES_1   40
#define PACK_INLINE_BYTES    24
#define PACK_ENTRY_BYTES     (PACK_ENTRY_BYTES_1 + PACK_INLINE_BYTES)
#define PACK_MODEL_BYTES_MAX ((uint64_t)MYR_MODEL_ALIGN * UINT32_MAX)
typedef struct pack_row {
    uint64_t model_hash;
    int64_t version;
    uint64_t key_offset;
    uint64_t blob_offset;
    uint32_t blob_units;
    uint16_t file_idx;
    uint16_t key_bytes;
} pack_row;

/* ---- blob file: 64 bytes before and after the models ---- */
#define PACK_HEAD_BYTES      64 /* magic, u32 version, zeros */
#define PACK_TAIL_BYTES      64 /* magic, u64 file bytes, u64 model count, u64 id, zeros, u64 XXH64 of the bytes before */
#define PACK_HEAD_MAGIC      "myrblobs"
#define PACK_TAIL_MAGIC      "myrblend"
#define PACK_META_FILE_BYTES 16 /* u64 file bytes, u64 id; the name follows as a string */
typedef struct pack_tail {
    uint64_t file_bytes;
    uint64_t model_count;
    uint64_t id; /* folds the hashes of its models: another content is another id */
} pack_tail;

static inline uint16_t pack_get_u16(const unsigned char *at)
{
    return (uint16_t)(at[0] | at[1] << 8);
}
static inline void pack_put_u16(unsigned char *at, uint16_t value)
{
    at[0] = (unsigned char)value;
    at[1] = (unsigned char)(value >> 8);
}
static inline uint32_t pack_get_u32(const unsigned char *at)
{
    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}
static inline void pack_put_u32(unsigned char *at, uint32_t value)
{
    pack_put_u16(at, (uint16_t)value);
    pack_put_u16(at + 2, (uint16_t)(value >> 16));
}
static inline uint64_t pack_get_u64(const unsigned char *at)
{
    return pack_get_u32(at) | (uint64_t)pack_get_u32(at + 4) << 32;
}
static inline void pack_put_u64(unsigned char *at, uint64_t value)
{
    pack_put_u32(at, (uint32_t)value);
    pack_put_u32(at + 4, (uint32_t)(value >> 32));
}
static inline uint64_t pack_round_up(uint64_t value, uint64_t to)
{
    return (value + to - 1) / to * to;
}
/* Bytes of the bits of features that take text; 0 in format 1, where none does. */
static inline size_t pack_text_bytes(const pack_header *header)
{
    return header->version > 1 ? ((size_t)header->feature_count + 7) / 8 : 0;
}
bool myr_pack_is_zero(const unsigned char *at, size_t size_bytes);

/* pack_format.c: bytes <-> values. The get functions check magic, version, sums and zeros; the caller checks the
 * values. */
void myr_pack_header_put(unsigned char out[PACK_HEADER_BYTES], const pack_header *header);
myr_rc myr_pack_header_get(const unsigned char *bytes, size_t size_bytes, const char *path, pack_header *out,
                           myr_err *err);
/* BAD_FORMAT when a count is past its limit. The sizes can't overflow then. */
myr_rc myr_pack_layout_of(const pack_header *header, const char *path, pack_layout *out, myr_err *err);
/* `key` is put into the entry if it is short enough. */
void myr_pack_row_put(unsigned char out[PACK_ENTRY_BYTES], const pack_row *row, const unsigned char *key);
void myr_pack_row_get(const unsigned char bytes[PACK_ENTRY_BYTES_1], pack_row *out);
/* Does the key stand in the entry? */
static inline bool pack_row_is_inline(uint32_t version, const pack_row *row)
{
    return version > 1 && row->key_bytes <= PACK_INLINE_BYTES;
}
void myr_pack_head_put(unsigned char out[PACK_HEAD_BYTES]);
void myr_pack_tail_put(unsigned char out[PACK_TAIL_BYTES], const pack_tail *tail);
/* Check both ends of a blob file of file_bytes. */
myr_rc myr_pack_ends_get(const unsigned char head[PACK_HEAD_BYTES], const unsigned char tail[PACK_TAIL_BYTES],
                         uint64_t file_bytes, const char *path, pack_tail *out, myr_err *err);
uint64_t myr_pack_page_sum(const unsigned char page[PACK_PAGE_BYTES], uint64_t page_idx);
uint64_t myr_pack_id_fold(uint64_t id, uint64_t model_hash, uint64_t model_bytes);

/* The part of meta that must be equal for a model to be kept: partition columns and features. */
void myr_pack_signature_put(myr_buf *out, const myr_pack_info *info);
void myr_pack_meta_str_put(myr_buf *out, const char *text);
/* Names and types; the counts were checked before. `rc` is what a fault is: BAD_FORMAT in a file, BAD_INPUT from a
 * caller. */
myr_rc myr_pack_info_check(const myr_pack_info *info, myr_rc rc, const char *path, myr_err *err);

/* key.c and segment.c */
myr_rc myr_pack_key_check(const myr_key_schema *schema, const unsigned char *key, size_t key_bytes, myr_err *err);
void myr_pack_segment_put(myr_buf *out, const char *name, myr_str value, bool is_first);
/* For each column the part of the segment that names it, or -1. BAD_INPUT: unknown column, or one twice. */
myr_rc myr_pack_segment_order(const myr_segment *segment, const char *const *columns, uint32_t column_count,
                              int32_t out_parts[MYR_PARTITION_COLUMNS_MAX], myr_err *err);

#endif
