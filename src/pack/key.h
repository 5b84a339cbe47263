/*
 * Keys: which segment a row or a model belongs to. Three forms of one thing:
 *   text    `store=2,brand=1`: people, URLs, the registry. Values percent-encoded for , = % / @ and controls.
 *   values  one typed value (or null) per partition column.
 *   bytes   the canonical encoding that packs index and compare:
 *           u8 mask of the columns present, then per present column, ascending: int64 little-endian, or u16 length +
 * bytes.
 */
#ifndef MYR_PACK_KEY_H
#define MYR_PACK_KEY_H

#include "base/base.h"

#define MYR_KEY_BYTES_MAX (1 + MYR_PARTITION_COLUMNS_MAX * (2 + MYR_KEY_VALUE_BYTES_MAX))

typedef enum myr_key_type { MYR_KEY_INT64, MYR_KEY_BYTES } myr_key_type;

/* The partition columns of a fleet, in order. */
typedef struct myr_key_schema {
    uint32_t column_count;
    struct {
        char name[MYR_NAME_BYTES_MAX + 1];
        myr_key_type type;
    } columns[MYR_PARTITION_COLUMNS_MAX];
} myr_key_schema;

/* A segment text taken apart: names and decoded values, in the order written. Zero-initialise; free with _drop. */
typedef struct myr_segment {
    uint32_t part_count;
    struct {
        char name[MYR_NAME_BYTES_MAX + 1];
        char value[MYR_KEY_VALUE_BYTES_MAX + 1]; /* decoded; value_size bytes, NUL-terminated */
        size_t value_size;
    } parts[MYR_PARTITION_COLUMNS_MAX];
} myr_segment;

/* Read `store=2,brand=1`; "" is the global segment. BAD_INPUT names the part and the mend. */
myr_rc myr_segment_parse(myr_str text, myr_segment *out, myr_err *err);
/* Read JSON-free `name=value` pairs the other way: canonical text with the parts in the order of `columns`. */
myr_rc myr_segment_format(const myr_segment *segment, const char *const *columns, uint32_t column_count, myr_buf *out,
                          myr_err *err); /* BAD_INPUT: a part is not a partition column (nearest named), or twice */
/* The type of a column that has these values so far: INT64 while every value is a canonical integer. */
myr_key_type myr_key_type_after(myr_key_type so_far, const char *value, size_t value_size);

/* One partition value of a row. */
typedef struct myr_key_value {
    bool is_null;
    int64_t i64;  /* for an INT64 column */
    myr_str text; /* for a BYTES column; borrowed */
} myr_key_value;

/*
 * Convert a cell to a column's type. INT64: 2, 2.0, "2" are 2; 2.5, "abc" are BAD_INPUT; null and NaN are null.
 * BYTES: text as it is; an integer (2, 2.0) becomes its decimal text, written into scratch; 2.5 becomes its shortest
 * text.
 */
#define MYR_KEY_SCRATCH_BYTES 40
myr_rc myr_key_value_from_col(myr_key_type type, const myr_col *col, int64_t row_idx,
                              char scratch[MYR_KEY_SCRATCH_BYTES], myr_key_value *out, myr_err *err);

/* Encode the columns in `mask` (bit i = column i; all must be non-null). Returns the size (<= MYR_KEY_BYTES_MAX), 0 if
 * a value is too long. */
size_t myr_key_encode(const myr_key_schema *schema, uint32_t mask, const myr_key_value *values,
                      unsigned char out[MYR_KEY_BYTES_MAX]);
/* From segment text in canonical or any order. BAD_INPUT: unknown column, or a value that is not of the column's type.
 */
myr_rc myr_key_from_segment(const myr_key_schema *schema, const myr_segment *segment,
                            unsigned char out[MYR_KEY_BYTES_MAX], size_t *out_size, myr_err *err);
/* Check untrusted key bytes and write their segment text. BAD_FORMAT if they are not canonical. */
myr_rc myr_key_text(const myr_key_schema *schema, const unsigned char *key, size_t key_bytes, myr_buf *out,
                    myr_err *err);
uint64_t myr_key_hash(const unsigned char *key, size_t key_bytes);

/* The default fallback chain: masks from all columns to none, dropping from the left. Returns how many (column_count +
 * 1). */
uint32_t myr_key_chain(const myr_key_schema *schema, uint32_t out_masks[MYR_PARTITION_COLUMNS_MAX + 1]);

#endif
