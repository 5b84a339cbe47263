/*
 * Segment text, `store=2,brand=1`: the form of a key that people, URLs and the registry use. One rule reads it
 * everywhere: names and values are percent-encoded for , = % / @ and controls, and decoded exactly once.
 */
#include "pack/key.h"

#include <stdio.h>
#include <string.h>

#include "pack/pack_format.h"

#define SEGMENT_LIST_BYTES 120 /* of the columns that a message names */

/* What must not stand raw in a name or a value, apart from the comma that has already split the parts. */
static bool segment_byte_is_raw(unsigned char c)
{
    return c < 0x20 || c == 0x7f || c == '/' || c == '@' || c == '=';
}

/* Decode one name or value into a fixed room of bytes_max + 1. `what` and `text` are for the message. */
static myr_rc segment_decode(myr_str text, const char *what, size_t bytes_max, char *out, size_t *out_size,
                             myr_err *err)
{
    for (size_t i = 0; i < text.size; i++) { /* the text stands last in each message: it may be long, and is cut then */
        unsigned char c = (unsigned char)text.data[i];
        if (segment_byte_is_raw(c)) {
            MYR_FAIL(err, BAD_INPUT, "segment %s, byte %zu: write it as %%%02X in '" MYR_STR_FMT "'", what, i + 1, c,
                     MYR_STR_ARG(text));
        }
    }
    MYR_AUTO(myr_buf) buf = {0};
    bool is_plain = text.size == 0 || memchr(text.data, '%', text.size) == NULL; /* the common case takes no memory */
    if (!is_plain && !myr_percent_decode(&buf, text)) {
        MYR_TRY(myr_buf_check(&buf, err));
        MYR_FAIL(err, BAD_INPUT,
                 "segment %s: '%%' needs two hexadecimal digits (write '%%' as %%25) in '" MYR_STR_FMT "'", what,
                 MYR_STR_ARG(text));
    }
    MYR_TRY(myr_buf_check(&buf, err));
    myr_str decoded = is_plain ? text : myr_str_make(buf.data, buf.size);
    if (decoded.size > bytes_max) {
        MYR_FAIL(err, BAD_INPUT, "segment %s of %zu bytes, at most %zu are allowed: '" MYR_STR_FMT "'", what,
                 decoded.size, bytes_max, MYR_STR_ARG(text));
    }
    if (!myr_utf8_is_valid(decoded)) {
        MYR_FAIL(err, BAD_INPUT, "segment %s is not UTF-8: '" MYR_STR_FMT "'", what, MYR_STR_ARG(text));
    }
    if (decoded.size > 0) {
        memcpy(out, decoded.data, decoded.size);
    }
    out[decoded.size] = '\0';
    *out_size = decoded.size;
    return MYR_OK;
}

/* One `name=value`, appended to the segment. */
static myr_rc segment_parse_part(myr_str part, myr_segment *segment, myr_err *err)
{
    if (segment->part_count == MYR_PARTITION_COLUMNS_MAX) {
        MYR_FAIL(err, BAD_INPUT, "segment part '" MYR_STR_FMT "': more than %d partition columns", MYR_STR_ARG(part),
                 MYR_PARTITION_COLUMNS_MAX);
    }
    const char *equals = part.size == 0 ? NULL : memchr(part.data, '=', part.size);
    if (equals == NULL || equals == part.data) {
        MYR_FAIL(err, BAD_INPUT, "segment part %u '" MYR_STR_FMT "' is not name=value", segment->part_count + 1,
                 MYR_STR_ARG(part));
    }
    size_t name_bytes = (size_t)(equals - part.data);
    uint32_t at = segment->part_count;
    size_t name_size = 0;
    MYR_TRY(segment_decode(myr_str_make(part.data, name_bytes), "name", MYR_NAME_BYTES_MAX, segment->parts[at].name,
                           &name_size, err));
    if (memchr(segment->parts[at].name, '\0', name_size) != NULL) {
        MYR_FAIL(err, BAD_INPUT, "segment part '" MYR_STR_FMT "': a column name has no NUL byte", MYR_STR_ARG(part));
    }
    MYR_TRY(segment_decode(myr_str_make(equals + 1, part.size - name_bytes - 1), "value", MYR_KEY_VALUE_BYTES_MAX,
                           segment->parts[at].value, &segment->parts[at].value_size, err));
    for (uint32_t i = 0; i < at; i++) {
        if (strcmp(segment->parts[i].name, segment->parts[at].name) == 0) {
            MYR_FAIL(err, BAD_INPUT, "segment names the column '%s' twice", segment->parts[at].name);
        }
    }
    segment->part_count++;
    return MYR_OK;
}

myr_rc myr_segment_parse(myr_str text, myr_segment *out, myr_err *err)
{
    if (text.size > MYR_KEY_TEXT_BYTES_MAX) {
        MYR_FAIL(err, BAD_INPUT, "segment text of %zu bytes, at most %d are allowed", text.size,
                 MYR_KEY_TEXT_BYTES_MAX);
    }
    myr_segment segment = {0};
    size_t start = 0;
    while (text.size > 0 && start <= text.size) {
        const char *comma = start == text.size ? NULL : memchr(text.data + start, ',', text.size - start);
        size_t end = comma == NULL ? text.size : (size_t)(comma - text.data);
        MYR_TRY(segment_parse_part(myr_str_make(text.data + start, end - start), &segment, err));
        start = end + 1; /* past the comma; text.size + 1 ends the loop, so `a=1,` has an empty last part */
    }
    *out = segment;
    return MYR_OK;
}

void myr_pack_segment_put(myr_buf *out, const char *name, myr_str value, bool is_first)
{
    if (!is_first) {
        myr_buf_putc(out, ',');
    }
    myr_percent_encode(out, myr_str_of(name), PACK_SEGMENT_RESERVED);
    myr_buf_putc(out, '=');
    myr_percent_encode(out, value, PACK_SEGMENT_RESERVED);
}

/* The index of `name` among the columns, or column_count. */
static uint32_t segment_column_find(const char *name, const char *const *columns, uint32_t column_count)
{
    uint32_t at = 0;
    while (at < column_count && strcmp(columns[at], name) != 0) {
        at++;
    }
    return at;
}

static myr_rc segment_unknown(const char *name, const char *const *columns, uint32_t column_count, myr_err *err)
{
    const char *known[MYR_PARTITION_COLUMNS_MAX + 1] = {0};
    for (uint32_t i = 0; i < column_count; i++) {
        known[i] = columns[i];
    }
    const char *nearest = myr_nearest(name, known);
    if (column_count == 0) {
        MYR_FAIL(err, BAD_INPUT, "'%s' is not a partition column: this fleet has none, its one segment is \"\"", name);
    }
    char list[SEGMENT_LIST_BYTES];
    size_t used = 0;
    for (uint32_t i = 0; i < column_count; i++) {
        int size = snprintf(list + used, sizeof list - used, "%s%s", i > 0 ? ", " : "", columns[i]);
        MYR_ASSERT(size > 0);
        if (used + (size_t)size >= sizeof list) { /* long names: the rest is left off */
            list[used] = '\0';
            break;
        }
        used += (size_t)size;
    }
    if (nearest != NULL) {
        MYR_FAIL(err, BAD_INPUT, "'%.60s' is not a partition column (%s): did you mean '%s'?", name, list, nearest);
    }
    MYR_FAIL(err, BAD_INPUT, "'%.60s' is not a partition column; they are %s", name, list);
}

myr_rc myr_pack_segment_order(const myr_segment *segment, const char *const *columns, uint32_t column_count,
                              int32_t out_parts[MYR_PARTITION_COLUMNS_MAX], myr_err *err)
{
    if (column_count > MYR_PARTITION_COLUMNS_MAX || segment->part_count > MYR_PARTITION_COLUMNS_MAX) {
        MYR_FAIL(err, BAD_INPUT, "%u partition columns, at most %d are allowed", column_count,
                 MYR_PARTITION_COLUMNS_MAX);
    }
    for (uint32_t i = 0; i < MYR_PARTITION_COLUMNS_MAX; i++) {
        out_parts[i] = -1;
    }
    for (uint32_t i = 0; i < segment->part_count; i++) {
        uint32_t at = segment_column_find(segment->parts[i].name, columns, column_count);
        if (at == column_count) {
            return segment_unknown(segment->parts[i].name, columns, column_count, err);
        }
        if (out_parts[at] >= 0) {
            MYR_FAIL(err, BAD_INPUT, "segment names the column '%s' twice", columns[at]);
        }
        out_parts[at] = (int32_t)i;
    }
    return MYR_OK;
}

myr_rc myr_segment_format(const myr_segment *segment, const char *const *columns, uint32_t column_count, myr_buf *out,
                          myr_err *err)
{
    int32_t parts[MYR_PARTITION_COLUMNS_MAX];
    MYR_TRY(myr_pack_segment_order(segment, columns, column_count, parts, err));
    MYR_AUTO(myr_buf) text = {0};
    for (uint32_t i = 0; i < column_count; i++) {
        if (parts[i] >= 0) {
            MYR_ASSERT((uint32_t)parts[i] < segment->part_count);
            myr_str value = myr_str_make(segment->parts[parts[i]].value, segment->parts[parts[i]].value_size);
            myr_pack_segment_put(&text, columns[i], value, text.size == 0);
        }
    }
    MYR_TRY(myr_buf_check(&text, err));
    if (text.size > MYR_KEY_TEXT_BYTES_MAX) {
        MYR_FAIL(err, BAD_INPUT, "segment text of %zu bytes, at most %d are allowed", text.size,
                 MYR_KEY_TEXT_BYTES_MAX);
    }
    myr_buf_append(out, text.data, text.size);
    return myr_buf_check(out, err);
}
