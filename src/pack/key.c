/*
 * Keys as typed values and as canonical bytes. One value has one encoding: the column's type decides it, never the way
 * the value was written, so that 2, 2.0 and "2" find the same model in a table, in JSON and in a URL.
 */
#include "pack/key.h"

#include <math.h>
#include <string.h>

#include "pack/pack_format.h"

#define KEY_HASH_SEED 0

static const char *const key_type_names[] = {[MYR_KEY_INT64] = "an integer", [MYR_KEY_BYTES] = "text"};

myr_key_type myr_key_type_after(myr_key_type so_far, const char *value, size_t value_size)
{
    int64_t number;
    if (so_far == MYR_KEY_INT64 && myr_is_canonical_int64(myr_str_make(value, value_size), &number)) {
        return MYR_KEY_INT64;
    }
    return MYR_KEY_BYTES;
}

/* 2.0 -> 2. Not every double in the range has a neighbour at 1, but each whole one is an int64 exactly. */
static bool key_int_of_double(double value, int64_t *out)
{
    if (!(value >= -0x1p63 && value < 0x1p63) || floor(value) != value) {
        return false;
    }
    *out = (int64_t)value;
    return true;
}

/* "2" -> 2; also "2.0" and "2.00", as tables write integers once a column had a gap. Not "02", "+2", " 2", "2e0". */
static bool key_int_of_text(myr_str text, int64_t *out)
{
    size_t end = text.size;
    while (end > 0 && text.data[end - 1] == '0') {
        end--;
    }
    if (end > 0 && end < text.size && text.data[end - 1] == '.') {
        text.size = end - 1;
    }
    return myr_is_canonical_int64(text, out);
}

static myr_rc key_text_check(const char *name, myr_str text, myr_err *err)
{
    if (text.size > MYR_KEY_VALUE_BYTES_MAX) {
        MYR_FAIL(err, BAD_INPUT, "partition column '%s': a value of %zu bytes, at most %d are allowed", name, text.size,
                 MYR_KEY_VALUE_BYTES_MAX);
    }
    if (!myr_utf8_is_valid(text)) {
        MYR_FAIL(err, BAD_INPUT, "partition column '%s': a value is not UTF-8", name);
    }
    return MYR_OK;
}

static myr_rc key_value_from_text(myr_key_type type, const char *name, myr_str text, myr_key_value *out, myr_err *err)
{
    if (type == MYR_KEY_BYTES) {
        MYR_TRY(key_text_check(name, text, err));
        *out = (myr_key_value){.text = text};
        return MYR_OK;
    }
    int64_t number;
    if (!key_int_of_text(text, &number)) {
        MYR_FAIL(err, BAD_INPUT, "partition column '%s' is %s, '" MYR_STR_FMT "' is not a decimal integer of 64 bits",
                 name, key_type_names[type], MYR_STR_ARG(text));
    }
    *out = (myr_key_value){.i64 = number};
    return MYR_OK;
}

static size_t key_format_int64(int64_t value, char out[MYR_KEY_SCRATCH_BYTES])
{
    char digits[20];
    size_t count = 0;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        digits[count++] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    size_t size = 0;
    if (value < 0) {
        out[size++] = '-';
    }
    while (count > 0) {
        out[size++] = digits[--count];
    }
    MYR_ASSERT(size < MYR_KEY_SCRATCH_BYTES);
    return size;
}

static myr_rc key_value_from_int64(myr_key_type type, int64_t number, char scratch[MYR_KEY_SCRATCH_BYTES],
                                   myr_key_value *out)
{
    *out = (myr_key_value){.i64 = number};
    if (type == MYR_KEY_BYTES) {
        *out = (myr_key_value){.text = myr_str_make(scratch, key_format_int64(number, scratch))};
    }
    return MYR_OK;
}

static myr_rc key_value_from_double(myr_key_type type, const char *name, double value,
                                    char scratch[MYR_KEY_SCRATCH_BYTES], myr_key_value *out, myr_err *err)
{
    int64_t number;
    if (isnan(value)) {
        *out = (myr_key_value){.is_null = true};
        return MYR_OK;
    }
    if (key_int_of_double(value, &number)) {
        return key_value_from_int64(type, number, scratch, out);
    }
    char text[MYR_DOUBLE_TEXT_BYTES];
    size_t size = myr_format_double(value, text);
    MYR_ASSERT(size < MYR_KEY_SCRATCH_BYTES);
    if (type == MYR_KEY_INT64) {
        MYR_FAIL(err, BAD_INPUT, "partition column '%s' is %s, %.*s is not an integer of 64 bits", name,
                 key_type_names[type], (int)size, text);
    }
    memcpy(scratch, text, size);
    *out = (myr_key_value){.text = myr_str_make(scratch, size)};
    return MYR_OK;
}

myr_rc myr_key_value_from_col(myr_key_type type, const myr_col *col, int64_t row_idx,
                              char scratch[MYR_KEY_SCRATCH_BYTES], myr_key_value *out, myr_err *err)
{
    const char *name = col->name != NULL ? col->name : "?";
    if (myr_col_is_null(col, row_idx)) {
        *out = (myr_key_value){.is_null = true};
        return MYR_OK;
    }
    switch (col->type) {
    case MYR_COL_INT64:
        return key_value_from_int64(type, col->data.i64[row_idx], scratch, out);
    case MYR_COL_DOUBLE:
        return key_value_from_double(type, name, col->data.f64[row_idx], scratch, out, err);
    case MYR_COL_TEXT:
        return key_value_from_text(type, name, col->data.text[row_idx], out, err);
    }
    MYR_FAIL(err, BAD_INPUT, "partition column '%s' has cells of unknown type %d", name, (int)col->type);
}

size_t myr_key_encode(const myr_key_schema *schema, uint32_t mask, const myr_key_value *values,
                      unsigned char out[MYR_KEY_BYTES_MAX])
{
    MYR_ASSERT(schema->column_count <= MYR_PARTITION_COLUMNS_MAX);
    MYR_ASSERT(mask >> schema->column_count == 0);
    size_t at = 0;
    out[at++] = (unsigned char)mask;
    for (uint32_t i = 0; i < schema->column_count; i++) {
        if ((mask >> i & 1) == 0) {
            continue;
        }
        MYR_ASSERT(!values[i].is_null);
        if (schema->columns[i].type == MYR_KEY_INT64) {
            pack_put_u64(out + at, (uint64_t)values[i].i64);
            at += 8;
            continue;
        }
        if (values[i].text.size > MYR_KEY_VALUE_BYTES_MAX) return 0;
        pack_put_u16(out + at, (uint16_t)values[i].text.size);
        at += 2;
        if (values[i].text.size > 0) {
            memcpy(out + at, values[i].text.data, values[i].text.size);
        }
        at += values[i].text.size;
    }
    MYR_ASSERT(at <= MYR_KEY_BYTES_MAX);
    return at;
}

myr_rc myr_key_from_segment(const myr_key_schema *schema, const myr_segment *segment,
                            unsigned char out[MYR_KEY_BYTES_MAX], size_t *out_size, myr_err *err)
{
    MYR_ASSERT(schema->column_count <= MYR_PARTITION_COLUMNS_MAX);
    const char *names[MYR_PARTITION_COLUMNS_MAX] = {0};
    for (uint32_t i = 0; i < schema->column_count; i++) {
        names[i] = schema->columns[i].name;
    }
    int32_t parts[MYR_PARTITION_COLUMNS_MAX];
    MYR_TRY(myr_pack_segment_order(segment, names, schema->column_count, parts, err));
    myr_key_value values[MYR_PARTITION_COLUMNS_MAX] = {0};
    uint32_t mask = 0;
    for (uint32_t i = 0; i < schema->column_count; i++) {
        if (parts[i] < 0) {
            continue;
        }
        myr_str text = myr_str_make(segment->parts[parts[i]].value, segment->parts[parts[i]].value_size);
        MYR_TRY(key_value_from_text(schema->columns[i].type, names[i], text, &values[i], err));
        mask |= 1u << i;
    }
    size_t size = myr_key_encode(schema, mask, values, out);
    MYR_ASSERT(size > 0); /* every value was checked against its limit above */
    *out_size = size;
    return MYR_OK;
}

/* A cursor over untrusted key bytes: takes the value of one column, or says what is wrong. */
typedef struct key_reader {
    const unsigned char *key;
    size_t size;
    size_t at;
} key_reader;

static myr_rc key_reader_next(key_reader *reader, myr_key_type type, const char *name, myr_key_value *out, myr_err *err)
{
    size_t left = reader->size - reader->at;
    if (left < (type == MYR_KEY_INT64 ? 8u : 2u)) {
        MYR_FAIL(err, BAD_FORMAT, "key of %zu bytes ends within column '%s'", reader->size, name);
    }
    if (type == MYR_KEY_INT64) {
        *out = (myr_key_value){.i64 = (int64_t)pack_get_u64(reader->key + reader->at)};
        reader->at += 8;
        return MYR_OK;
    }
    size_t size = pack_get_u16(reader->key + reader->at);
    if (size > left - 2 || size > MYR_KEY_VALUE_BYTES_MAX) {
        MYR_FAIL(err, BAD_FORMAT, "key of %zu bytes claims %zu bytes for column '%s'", reader->size, size, name);
    }
    myr_str text = myr_str_make((const char *)reader->key + reader->at + 2, size);
    if (!myr_utf8_is_valid(text)) {
        MYR_FAIL(err, BAD_FORMAT, "key has a value for column '%s' that is not UTF-8", name);
    }
    *out = (myr_key_value){.text = text};
    reader->at += 2 + size;
    return MYR_OK;
}

/* Walk the whole key; with `out`, also write its text. */
static myr_rc key_walk(const myr_key_schema *schema, const unsigned char *key, size_t key_bytes, myr_buf *out,
                       myr_err *err)
{
    MYR_ASSERT(schema->column_count <= MYR_PARTITION_COLUMNS_MAX);
    if (key_bytes == 0 || key_bytes > MYR_KEY_BYTES_MAX) {
        MYR_FAIL(err, BAD_FORMAT, "key of %zu bytes, not 1 to %d", key_bytes, MYR_KEY_BYTES_MAX);
    }
    uint32_t mask = key[0];
    if (mask >> schema->column_count != 0) {
        MYR_FAIL(err, BAD_FORMAT, "key mask 0x%02x names a column past the %u there are", mask, schema->column_count);
    }
    key_reader reader = {key, key_bytes, 1};
    bool is_first = true;
    for (uint32_t i = 0; i < schema->column_count; i++) {
        if ((mask >> i & 1) == 0) {
            continue;
        }
        myr_key_value value = {0};
        MYR_TRY(key_reader_next(&reader, schema->columns[i].type, schema->columns[i].name, &value, err));
        if (out != NULL) {
            char digits[MYR_KEY_SCRATCH_BYTES];
            if (schema->columns[i].type == MYR_KEY_INT64) {
                value.text = myr_str_make(digits, key_format_int64(value.i64, digits));
            }
            myr_pack_segment_put(out, schema->columns[i].name, value.text, is_first);
        }
        is_first = false;
    }
    MYR_ASSERT(reader.at <= key_bytes);
    if (reader.at != key_bytes) {
        MYR_FAIL(err, BAD_FORMAT, "key has %zu bytes after its last column", key_bytes - reader.at);
    }
    return MYR_OK;
}

myr_rc myr_pack_key_check(const myr_key_schema *schema, const unsigned char *key, size_t key_bytes, myr_err *err)
{
    return key_walk(schema, key, key_bytes, NULL, err);
}

myr_rc myr_key_text(const myr_key_schema *schema, const unsigned char *key, size_t key_bytes, myr_buf *out,
                    myr_err *err)
{
    MYR_TRY(myr_pack_key_check(schema, key, key_bytes, err)); /* first: a bad key leaves *out as it was */
    MYR_TRY(key_walk(schema, key, key_bytes, out, err));
    return myr_buf_check(out, err);
}

uint64_t myr_key_hash(const unsigned char *key, size_t key_bytes)
{
    return myr_hash64(key, key_bytes, KEY_HASH_SEED);
}

uint32_t myr_key_chain(const myr_key_schema *schema, uint32_t out_masks[MYR_PARTITION_COLUMNS_MAX + 1])
{
    MYR_ASSERT(schema->column_count <= MYR_PARTITION_COLUMNS_MAX);
    uint32_t all = (1u << schema->column_count) - 1;
    for (uint32_t dropped = 0; dropped <= schema->column_count; dropped++) {
        out_masks[dropped] = all >> dropped << dropped;
    }
    return schema->column_count + 1;
}
