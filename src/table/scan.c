/*
 * Keys of CSV files looked through: are they all whole numbers? A pass over the bytes says yes for plain files, far
 * cheaper than a query. A cell that is none, and whatever is not plain (a lone carriage return, a row that is too
 * short, headers that differ, compressed files), is left to DuckDB, which is asked then.
 */
#include <stdatomic.h>
#include <string.h>

#include "base/pool.h"
#include "table/internal.h"

#define SCAN_STRETCH_BYTES (8 << 20) /* of a file that several threads look through */

typedef myr_mapping scan_mapping;
static void scan_mapping_drop(scan_mapping *mapping)
{
    myr_io_unmap(mapping);
}

/*
 * Not empty. `0|-?[1-9][0-9]{0,17}`; with as_int64 also up to 15 digits before `.0…`, which is that number too, and
 * then *has_point is set.
 */
static bool scan_is_whole(const unsigned char *at, const unsigned char *end, bool as_int64, bool *has_point)
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
    *has_point = true;
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
                     size_t key_count, bool *has_point)
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
        if (stop > at && !scan_is_whole(at + is_quoted, stop - is_quoted, keys[i].as_int64, has_point)) return false;
    }
    return true;
}

/* ---- a file, on several threads ---- */

typedef struct scan_work {
    const unsigned char *data;
    size_t size;
    char delimiter;
    const table_scan_key *keys;
    size_t key_count;
    const size_t *begins; /* of stretches, and the end */
    size_t *stops;        /* where the first row begins that is not the stretch's */
    atomic_bool has_other, has_point;
} scan_work;

/* The rows that begin in [begin, past); where the next one begins. */
static size_t scan_rows(scan_work *work, size_t begin, size_t past)
{
    const unsigned char *data = work->data;
    bool has_returns = memchr(data + begin, '\r', past - begin) != NULL, has_point = false;
    size_t at = begin;
    for (size_t end; at < past && !atomic_load_explicit(&work->has_other, memory_order_relaxed); at = end) {
        end = myr_table_row_end(data, at, work->size, TABLE_CSV);
        size_t stop = end;
        if (stop > at && data[stop - 1] == '\n') stop--;
        if (stop > at && data[stop - 1] == '\r') stop--;
        bool is_plain = !has_returns || memchr(data + at, '\r', stop - at) == NULL;
        if (stop > at && is_plain)
            is_plain = scan_row(data + at, data + stop, work->delimiter, work->keys, work->key_count, &has_point);
        if (!is_plain) atomic_store(&work->has_other, true);
    }
    if (has_point) atomic_store(&work->has_point, true);
    return at;
}

static myr_rc scan_stretch(void *ctx, size_t i, int thread_idx, myr_err *err)
{
    scan_work *work = ctx;
    (void)thread_idx;
    (void)err;
    work->stops[i] = scan_rows(work, work->begins[i], work->begins[i + 1]);
    return MYR_OK;
}

/*
 * Stretches begin after newlines. One may lie inside a quoted text: then the stretch before does not end where this one
 * begins, and what was seen counts for nothing.
 */
static myr_rc scan_stretches(scan_work *work, size_t begin, bool *out_is_sound, myr_err *err)
{
    size_t count = (work->size - begin) / SCAN_STRETCH_BYTES + 1;
    size_t *begins = myr_calloc(2 * count + 1, sizeof *begins);
    if (begins == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to look through %zu bytes", work->size);
    work->begins = begins;
    work->stops = begins + count + 1;
    begins[0] = begin;
    for (size_t i = 1; i <= count; i++) {
        size_t at = begin + i * SCAN_STRETCH_BYTES;
        const unsigned char *line = i < count ? memchr(work->data + at, '\n', work->size - at) : NULL;
        begins[i] = line != NULL ? (size_t)(line - work->data) + 1 : work->size;
    }
    myr_rc rc = myr_parallel(myr_cpu_count(), count, scan_stretch, work, err);
    *out_is_sound = true;
    for (size_t i = 0; i < count; i++)
        *out_is_sound = *out_is_sound && work->stops[i] == begins[i + 1];
    myr_free(begins);
    return rc;
}

static myr_rc scan_map(const myr_mapping *map, size_t begin, char delimiter, const table_scan_key *keys,
                       size_t key_count, table_scan *out, myr_err *err)
{
    scan_work work = {
        .data = map->data, .size = map->size, .delimiter = delimiter, .keys = keys, .key_count = key_count};
    bool is_sound = false;
    MYR_TRY(scan_stretches(&work, begin, &is_sound, err));
    if (!is_sound) {
        atomic_store(&work.has_other, false);
        atomic_store(&work.has_point, false);
        (void)scan_rows(&work, begin, map->size);
    }
    out->are_whole = !atomic_load(&work.has_other);
    out->have_points = out->have_points || atomic_load(&work.has_point);
    return MYR_OK;
}

static myr_rc scan_file(const char *path, char delimiter, myr_buf *header, const table_scan_key *keys, size_t key_count,
                        table_scan *out, myr_err *err)
{
    MYR_AUTO(scan_mapping) map = {0};
    uint64_t losses = myr_io_map_losses();
    MYR_TRY(myr_io_map(path, &map, err));
    size_t begin = myr_table_header_bytes(map.data, map.size);
    if (header->size == 0) myr_buf_append(header, map.data, begin);
    MYR_TRY(myr_buf_check(header, err));
    out->are_whole = header->size == begin && memcmp(header->data, map.data, begin) == 0;
    if (!out->are_whole) return MYR_OK;
    MYR_TRY(scan_map(&map, begin, delimiter, keys, key_count, out, err));
    out->are_whole = out->are_whole && myr_io_map_losses() == losses;
    return MYR_OK;
}

myr_rc myr_table_scan_keys(const table_source *source, const table_scan_key *keys, size_t key_count, table_scan *out,
                           myr_err *err)
{
    MYR_AUTO(myr_buf) header = {0};
    *out = (table_scan){.are_whole = source->kind == TABLE_CSV && source->part == NULL};
    for (size_t i = 0; out->are_whole && i < source->file_count; i++) {
        out->are_whole = myr_table_is_in_lines(source->files[i], TABLE_CSV);
        if (out->are_whole) MYR_TRY(scan_file(source->files[i], source->delimiter, &header, keys, key_count, out, err));
    }
    return MYR_OK;
}
