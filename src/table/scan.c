/*
 * Keys of CSV files looked through: are they all whole numbers? A pass over the bytes says yes for plain files, far
 * cheaper than a query. A cell that is none, and whatever is not plain (a lone carriage return, a row that is too
 * short, headers that differ, compressed files), is left to DuckDB, which is asked then.
 */
#include <string.h>

#include "table/internal.h"

typedef myr_mapping scan_mapping;
static void scan_mapping_drop(scan_mapping *mapping)
{
    myr_io_unmap(mapping);
}

/* Not empty. `0|-?[1-9][0-9]{0,17}`, and with as_int64 also up to 15 digits before `.0…`, which is that number too. */
static bool scan_is_whole(const unsigned char *at, const unsigned char *end, bool as_int64)
{
    bool is_negative = *at == '-';
    at += is_negative;
    const unsigned char *first = at;
    while (at < end && *at >= '0' && *at <= '9')
        at++;
    size_t digits = (size_t)(at - first);
    if (digits == 0 || (*first == '0' && (digits > 1 || is_negative))) return false;
    if (at == end) return digits <= 18;
    if (!as_int64 || *at != '.' || digits > 15) return false;
    while (++at < end) {
        if (*at != '0') return false;
    }
    return true;
}

/* Past the field that begins at `at`: its delimiter, or `end`. NULL: a quote opens it that does not end there. */
static const unsigned char *scan_field_end(const unsigned char *at, const unsigned char *end, char delimiter)
{
    if (at == end || *at != '"') {
        const unsigned char *stop = memchr(at, delimiter, (size_t)(end - at));
        return stop != NULL ? stop : end;
    }
    for (at++;; at += 2) { /* past a quote of the text, written twice */
        at = memchr(at, '"', (size_t)(end - at));
        if (at == NULL) return NULL;
        if (at + 1 == end || at[1] == (unsigned char)delimiter) return at + 1;
        if (at[1] != '"') return NULL;
    }
}

/* One row, without its line end. An empty cell is null. */
static bool scan_row(const unsigned char *at, const unsigned char *end, char delimiter, const table_scan_key *keys,
                     size_t key_count)
{
    uint32_t field = 0;
    for (size_t i = 0; i < key_count; i++) {
        const unsigned char *stop = scan_field_end(at, end, delimiter);
        for (; stop != NULL && field < keys[i].field; field++) {
            if (stop == end) return false;
            at = stop + 1;
            stop = scan_field_end(at, end, delimiter);
        }
        if (stop == NULL) return false;
        bool is_quoted = at < stop && *at == '"';
        if (stop > at && !scan_is_whole(at + is_quoted, stop - is_quoted, keys[i].as_int64)) return false;
    }
    return true;
}

static bool scan_bytes(const unsigned char *data, size_t begin, size_t size, char delimiter, const table_scan_key *keys,
                       size_t key_count)
{
    bool has_returns = memchr(data + begin, '\r', size - begin) != NULL;
    for (size_t at = begin, end; at < size; at = end) {
        end = myr_table_row_end(data, at, size, TABLE_CSV);
        size_t stop = end;
        if (stop > at && data[stop - 1] == '\n') stop--;
        if (stop > at && data[stop - 1] == '\r') stop--;
        if (has_returns && memchr(data + at, '\r', stop - at) != NULL) return false;
        if (stop > at && !scan_row(data + at, data + stop, delimiter, keys, key_count)) return false;
    }
    return true;
}

static myr_rc scan_file(const char *path, char delimiter, myr_buf *header, const table_scan_key *keys, size_t key_count,
                        bool *out_are_whole, myr_err *err)
{
    MYR_AUTO(scan_mapping) map = {0};
    uint64_t losses = myr_io_map_losses();
    MYR_TRY(myr_io_map(path, &map, err));
    size_t begin = myr_table_header_bytes(map.data, map.size);
    if (header->size == 0) myr_buf_append(header, map.data, begin);
    MYR_TRY(myr_buf_check(header, err));
    *out_are_whole = header->size == begin && memcmp(header->data, map.data, begin) == 0 &&
                     scan_bytes(map.data, begin, map.size, delimiter, keys, key_count) && myr_io_map_losses() == losses;
    return MYR_OK;
}

myr_rc myr_table_scan_keys(const table_source *source, const table_scan_key *keys, size_t key_count,
                           bool *out_are_whole, myr_err *err)
{
    MYR_AUTO(myr_buf) header = {0};
    *out_are_whole = source->kind == TABLE_CSV && source->part == NULL;
    for (size_t i = 0; *out_are_whole && i < source->file_count; i++) {
        *out_are_whole = myr_table_is_in_lines(source->files[i], TABLE_CSV);
        if (*out_are_whole)
            MYR_TRY(scan_file(source->files[i], source->delimiter, &header, keys, key_count, out_are_whole, err));
    }
    return MYR_OK;
}
