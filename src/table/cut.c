/*
 * Files cut into parts. A Parquet file is cut between row groups, which its footer lists; text between lines. A line
 * ends at a newline outside quotes, and a quote opens a field only where a field begins: the rule by which DuckDB reads
 * it, so that no part begins inside a row.
 */
#include <string.h>

#include "base/pool.h"
#include "table/internal.h"

#define CUT_GUESS_BYTES_MIN (1 << 20) /* of a part: smaller ones are too many to be looked for on several threads */

typedef myr_mapping cut_mapping;
static void cut_mapping_drop(cut_mapping *mapping)
{
    myr_io_unmap(mapping);
}

/* ---- the list ---- */

typedef struct cut_list {
    myr_table_part *items;
    size_t count, room;
    const char *file;
    myr_arena *arena;
} cut_list;

static myr_rc cut_add(cut_list *list, int64_t begin, int64_t end, int64_t first_line, int64_t row_count, myr_err *err)
{
    if (list->count == MYR_TABLE_PARTS_MAX) {
        MYR_FAIL(err, TOO_LARGE, "%s: more than %d parts: take larger mini-batches", list->file, MYR_TABLE_PARTS_MAX);
    }
    if (list->count == list->room) {
        size_t room = list->room > 0 ? list->room * 2 : 16;
        myr_table_part *items =
            myr_arena_realloc(list->arena, list->items, list->room * sizeof *items, room * sizeof *items);
        if (items == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the parts of %s", list->file);
        list->items = items;
        list->room = room;
    }
    list->items[list->count++] = (myr_table_part){
        .file = list->file, .begin = begin, .end = end, .first_line = first_line, .row_count = row_count};
    return MYR_OK;
}

/* ---- Parquet ---- */

bool myr_table_has_row_numbers(myr_table_engine *engine, const char *file)
{
    MYR_AUTO(myr_buf) sql = {0};
    MYR_AUTO(table_result) result = {0};
    myr_buf_puts(&sql, "SELECT name FROM parquet_schema(");
    myr_table_sql_literal(&sql, file);
    myr_buf_puts(&sql, ") WHERE lower(name) = 'file_row_number'");
    if (myr_buf_check(&sql, NULL) != MYR_OK || myr_table_query(engine, sql.data, file, &result, NULL) != MYR_OK)
        return false;
    MYR_AUTO(table_chunk) chunk = duckdb_fetch_chunk(result);
    return chunk == NULL || duckdb_data_chunk_get_size(chunk) == 0;
}

/* Whether a part of `has` is nearer to what is wanted without `more`. */
static bool cut_is_enough(int64_t wanted, int64_t has, int64_t more)
{
    return wanted > 0 && has + more > wanted && has + more - wanted >= wanted - has;
}

typedef struct cut_group {
    int64_t rows, bytes;
} cut_group;

static myr_rc cut_read_groups(duckdb_result *result, cut_list *list, cut_group **out, size_t *out_count, myr_err *err)
{
    size_t room = (size_t)duckdb_row_count(result), count = 0;
    cut_group *groups = myr_arena_calloc(list->arena, room + 1, sizeof *groups);
    if (groups == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the row groups of %s", list->file);
    for (;;) {
        MYR_AUTO(table_chunk) chunk = duckdb_fetch_chunk(*result);
        idx_t size = chunk != NULL ? duckdb_data_chunk_get_size(chunk) : 0;
        if (size == 0) break;
        const int64_t *rows = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
        const int64_t *bytes = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 1));
        for (idx_t i = 0; i < size && count < room; i++)
            groups[count++] = (cut_group){.rows = rows[i], .bytes = bytes[i]};
    }
    *out = groups;
    *out_count = count;
    return MYR_OK;
}

/* Rows that a part is to have. */
static int64_t cut_rows(const myr_table_size *size, const cut_group *groups, size_t count)
{
    int64_t rows = 0;
    for (size_t i = 0; i < count; i++)
        rows += groups[i].rows;
    rows /= MYR_TABLE_PARTS_FEW;
    if (rows > size->rows_max) rows = size->rows_max;
    return rows > size->rows ? rows : size->rows;
}

static myr_rc cut_groups(const cut_group *groups, size_t count, const myr_table_size *size, cut_list *list,
                         myr_err *err)
{
    int64_t begin = 0, end = 0, bytes = 0, rows = cut_rows(size, groups, count);
    for (size_t i = 0; i < count; i++) {
        if (end > begin &&
            (cut_is_enough(rows, end - begin, groups[i].rows) || cut_is_enough(size->bytes, bytes, groups[i].bytes))) {
            MYR_TRY(cut_add(list, begin, end, 0, end - begin, err));
            begin = end;
            bytes = 0;
        }
        end += groups[i].rows;
        bytes += groups[i].bytes;
    }
    return end > begin || list->count == 0 ? cut_add(list, begin, end, 0, end - begin, err) : MYR_OK;
}

static myr_rc cut_parquet(myr_table_engine *engine, const myr_table_size *size, cut_list *list, myr_err *err)
{
    MYR_AUTO(myr_buf) sql = {0};
    MYR_AUTO(table_result) result = {0};
    myr_table_size whole = {0};
    myr_buf_puts(&sql, "SELECT CAST(any_value(row_group_num_rows) AS BIGINT), CAST(sum(total_compressed_size) AS "
                       "BIGINT) FROM parquet_metadata(");
    myr_table_sql_literal(&sql, list->file);
    myr_buf_puts(&sql, ") GROUP BY row_group_id ORDER BY row_group_id");
    MYR_TRY(myr_buf_check(&sql, err));
    MYR_TRY(myr_table_query(engine, sql.data, list->file, &result, err));
    bool can = (size->rows > 0 || size->bytes > 0) && myr_table_has_row_numbers(engine, list->file);
    cut_group *groups = NULL;
    size_t count = 0;
    MYR_TRY(cut_read_groups(&result, list, &groups, &count, err));
    MYR_TRY(cut_groups(groups, count, can ? size : &whole, list, err));
    if (list->count == 1) list->items[0].begin = 0, list->items[0].end = -1;
    return MYR_OK;
}

/* ---- text ---- */

/* The separator is not known here, and need not be: a quote opens a field if what stands before it is none of its text.
 */
static bool cut_opens(const unsigned char *data, size_t at, size_t from)
{
    if (at == from) return true;
    switch (data[at - 1]) {
    case ',':
    case ';':
    case '\t':
    case '|':
    case '\n':
    case '\r':
        return true;
    default:
        return false;
    }
}

/* Past the quoted field that begins at `at`; `size` if it does not end. */
static size_t cut_skip_quoted(const unsigned char *data, size_t at, size_t size)
{
    at++;
    while (at < size) {
        const unsigned char *quote = memchr(data + at, '"', size - at);
        if (quote == NULL) return size;
        at = (size_t)(quote - data) + 1;
        if (at >= size || data[at] != '"') return at;
        at++; /* a quote of the text, written twice */
    }
    return size;
}

/* The end of the row in which `want` lies, from the beginning of a row before it. */
static size_t cut_row_end(const unsigned char *data, size_t from, size_t want, size_t size, bool has_quotes)
{
    size_t at = from, line = from; /* the first newline from `at` on, if it is not before it */
    bool has_line = false;
    while (at < size) {
        if (at >= want && (!has_line || line < at)) {
            const unsigned char *found = memchr(data + at, '\n', size - at);
            line = found != NULL ? (size_t)(found - data) : size;
            has_line = true;
        }
        size_t until = at < want ? want : line;
        const unsigned char *quote = has_quotes ? memchr(data + at, '"', until - at) : NULL;
        if (quote == NULL) {
            if (at >= want && line < size) return line + 1;
            at = until;
            continue;
        }
        size_t found = (size_t)(quote - data);
        at = cut_opens(data, found, from) ? cut_skip_quoted(data, found, size) : found + 1;
    }
    return size;
}

int64_t myr_table_count_lines(const unsigned char *data, size_t begin, size_t end)
{
    int64_t lines = 0;
    for (size_t at = begin; at < end;) {
        uint8_t sums[64] = {0}; /* 255 lines in each before it is full */
        size_t rounds = (end - at) / sizeof sums;
        if (rounds > 255) rounds = 255;
        for (size_t r = 0; r < rounds; r++, at += sizeof sums) {
            for (size_t i = 0; i < sizeof sums; i++)
                sums[i] = (uint8_t)(sums[i] + (data[at + i] == '\n'));
        }
        for (size_t i = 0; i < sizeof sums; i++)
            lines += sums[i];
        for (; rounds == 0 && at < end; at++)
            lines += data[at] == '\n';
    }
    return lines;
}

size_t myr_table_row_end(const unsigned char *data, size_t begin, size_t end, table_kind kind)
{
    return cut_row_end(data, begin, begin, end, kind == TABLE_CSV);
}

size_t myr_table_header_bytes(const unsigned char *data, size_t size)
{
    size_t mark = size >= 3 && memcmp(data, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    return cut_row_end(data, mark, mark, size, true);
}

/* Where a part of about this many rows (or bytes) ends that begins at `begin`. */
static size_t cut_text_end(const unsigned char *data, size_t begin, size_t size, const myr_table_size *wanted,
                           bool has_quotes)
{
    size_t by_bytes = size, by_rows = size;
    if (wanted->bytes > 0 && (uint64_t)wanted->bytes < size - begin)
        by_bytes = cut_row_end(data, begin, begin + (size_t)wanted->bytes - 1, size, has_quotes);
    if (wanted->rows > 0) {
        by_rows = begin;
        for (int64_t r = 0; r < wanted->rows && by_rows < by_bytes; r++)
            by_rows = cut_row_end(data, by_rows, by_rows, size, has_quotes);
    }
    return by_rows < by_bytes ? by_rows : by_bytes;
}

/* Parts of so many bytes, looked for on several threads: each is guessed to begin after a newline. */
typedef struct cut_guess {
    const unsigned char *data;
    size_t size;
    const myr_table_size *wanted;
    bool has_quotes;
    size_t *begins; /* of parts, and the end */
    int64_t *lines; /* newlines of each, or -1: it does not end where the next begins, or is too large */
} cut_guess;

static myr_rc cut_guess_part(void *ctx, size_t i, int thread_idx, myr_err *err)
{
    cut_guess *guess = ctx;
    (void)thread_idx;
    (void)err;
    size_t begin = guess->begins[i], end = guess->begins[i + 1];
    bool is_right = cut_text_end(guess->data, begin, guess->size, guess->wanted, guess->has_quotes) == end &&
                    end - begin <= (uint64_t)MYR_TABLE_PART_BYTES_MAX;
    guess->lines[i] = is_right ? myr_table_count_lines(guess->data, begin, end) : -1;
    return MYR_OK;
}

/* Add the parts, if all guesses are right: they are those that are found one after the other. */
static myr_rc cut_by_guess(cut_guess *guess, size_t begin, int64_t line, cut_list *list, bool *out_is_right,
                           myr_err *err)
{
    size_t bytes = (size_t)guess->wanted->bytes, count = 0, room = (guess->size - begin) / bytes + 2;
    guess->begins = myr_arena_calloc(list->arena, room, sizeof *guess->begins);
    guess->lines = myr_arena_calloc(list->arena, room, sizeof *guess->lines);
    if (guess->begins == NULL || guess->lines == NULL)
        MYR_FAIL(err, NO_MEMORY, "no memory for the parts of %s", list->file);
    for (guess->begins[0] = begin; guess->begins[count] < guess->size; count++) {
        size_t at = guess->begins[count] + bytes - 1;
        const unsigned char *newline = at < guess->size ? memchr(guess->data + at, '\n', guess->size - at) : NULL;
        guess->begins[count + 1] = newline != NULL ? (size_t)(newline - guess->data) + 1 : guess->size;
    }
    MYR_TRY(myr_parallel(myr_cpu_count(), count, cut_guess_part, guess, err));
    *out_is_right = true;
    for (size_t i = 0; i < count; i++)
        *out_is_right = *out_is_right && guess->lines[i] >= 0;
    for (size_t i = 0; *out_is_right && i < count; i++) {
        MYR_TRY(cut_add(list, (int64_t)guess->begins[i], (int64_t)guess->begins[i + 1], line, -1, err));
        line += guess->lines[i];
    }
    return MYR_OK;
}

static myr_rc cut_text(const myr_table_size *size, table_kind kind, cut_list *list, myr_err *err)
{
    int64_t bytes = 0;
    MYR_TRY(myr_io_size(list->file, &bytes, err));
    if (bytes == 0) return cut_add(list, 0, -1, 1, -1, err);
    MYR_AUTO(cut_mapping) map = {0};
    MYR_TRY(myr_io_map(list->file, &map, err));
    bool has_quotes = kind == TABLE_CSV; /* JSON has no newline inside a text */
    size_t begin = kind == TABLE_CSV ? myr_table_header_bytes(map.data, map.size) : 0, first = begin;
    int64_t line = 1 + myr_table_count_lines(map.data, 0, begin);
    bool is_right = false;
    if (size->rows == 0 && size->bytes >= CUT_GUESS_BYTES_MIN) {
        cut_guess guess = {.data = map.data, .size = map.size, .wanted = size, .has_quotes = has_quotes};
        MYR_TRY(cut_by_guess(&guess, begin, line, list, &is_right, err));
    }
    while (!is_right && begin < map.size) {
        size_t end = cut_text_end(map.data, begin, map.size, size, has_quotes);
        if (end - begin > (uint64_t)MYR_TABLE_PART_BYTES_MAX && (begin > first || end < map.size)) {
            MYR_FAIL(err, TOO_LARGE,
                     "%s:%lld: a part of %zu bytes, at most %lld: take smaller mini-batches, and see "
                     "whether a quote is missing",
                     list->file, (long long)line, end - begin, (long long)MYR_TABLE_PART_BYTES_MAX);
        }
        MYR_TRY(cut_add(list, (int64_t)begin, (int64_t)end, line, -1, err));
        line += myr_table_count_lines(map.data, begin, end);
        begin = end;
    }
    if (list->count > 1) return MYR_OK;
    list->count = 0;
    return cut_add(list, 0, -1, 1, -1, err);
}

/* ---- both ---- */

bool myr_table_is_in_lines(const char *name, table_kind kind)
{
    myr_str text = myr_str_of(name);
    if (myr_str_ends_with(text, ".gz") || myr_str_ends_with(text, ".zst")) return false;
    return kind == TABLE_CSV || (kind == TABLE_JSON && !myr_str_ends_with(text, ".json"));
}

/* Thread: the engine's owner. */
myr_rc myr_table_cut(myr_table_engine *engine, const char *file, const myr_table_size *size, myr_arena *arena,
                     myr_table_part **out, size_t *out_count, myr_err *err)
{
    table_kind kind;
    cut_list list = {.file = file, .arena = arena};
    MYR_TRY(myr_table_kind(file, &kind, err));
    if (kind == TABLE_PARQUET)
        MYR_TRY(cut_parquet(engine, size, &list, err));
    else if (myr_table_is_in_lines(file, kind) && (size->rows > 0 || size->bytes > 0))
        MYR_TRY(cut_text(size, kind, &list, err));
    else
        MYR_TRY(cut_add(&list, 0, -1, 1, -1, err));
    *out = list.items;
    *out_count = list.count;
    return MYR_OK;
}

/* ---- halves ---- */

static myr_rc halve_rows(myr_table_engine *engine, const myr_table_part *part, myr_table_part out[2], bool *out_can,
                         myr_err *err)
{
    int64_t begin = part->begin, end = part->end;
    if (end < 0) {
        begin = 0;
        MYR_TRY(myr_table_count_rows(engine, part->file, &end, err));
    }
    if (end - begin < 2 || !myr_table_has_row_numbers(engine, part->file)) return MYR_OK;
    int64_t middle = begin + (end - begin) / 2;
    out[0] = (myr_table_part){.file = part->file, .begin = begin, .end = middle, .row_count = middle - begin};
    out[1] = (myr_table_part){.file = part->file, .begin = middle, .end = end, .row_count = end - middle};
    *out_can = true;
    return MYR_OK;
}

static myr_rc halve_text(const myr_table_part *part, table_kind kind, myr_table_part out[2], bool *out_can,
                         myr_err *err)
{
    MYR_AUTO(cut_mapping) map = {0};
    MYR_TRY(myr_io_map(part->file, &map, err));
    size_t begin = (size_t)part->begin, end = (size_t)part->end;
    int64_t line = part->first_line;
    if (part->end < 0) {
        begin = kind == TABLE_CSV ? myr_table_header_bytes(map.data, map.size) : 0;
        end = map.size;
        line = 1 + myr_table_count_lines(map.data, 0, begin);
    }
    if (end > map.size || begin >= end) return MYR_OK;
    size_t middle = cut_row_end(map.data, begin, begin + (end - begin) / 2, end, kind == TABLE_CSV);
    if (middle >= end) middle = cut_row_end(map.data, begin, begin, end, kind == TABLE_CSV); /* the last row is long */
    if (middle >= end) return MYR_OK;
    out[0] = (myr_table_part){
        .file = part->file, .begin = (int64_t)begin, .end = (int64_t)middle, .first_line = line, .row_count = -1};
    out[1] = (myr_table_part){.file = part->file,
                              .begin = (int64_t)middle,
                              .end = (int64_t)end,
                              .first_line = line + myr_table_count_lines(map.data, begin, middle),
                              .row_count = -1};
    *out_can = true;
    return MYR_OK;
}

/* Thread: the engine's owner. Errors: those of myr_table_cut. */
myr_rc myr_table_halve(myr_table_engine *engine, const myr_table_part *part, myr_table_part out[2], bool *out_can,
                       myr_err *err)
{
    table_kind kind;
    *out_can = false;
    MYR_TRY(myr_table_kind(part->file, &kind, err));
    if (kind == TABLE_PARQUET) return halve_rows(engine, part, out, out_can, err);
    return myr_table_is_in_lines(part->file, kind) ? halve_text(part, kind, out, out_can, err) : MYR_OK;
}
