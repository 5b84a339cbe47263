/*
 * CSV as rows: RFC 4180, read twice, once to count the rows, once to fill them in. Cells point into the text; only one
 * with doubled quotes is copied.
 */
#include <string.h>

#include "fleet/internal.h"

/* Where a reader stands. */
typedef struct csv_read {
    const char *at, *end;
    size_t line; /* of `at`, from 1 */
} csv_read;

/* One cell as it was written. */
typedef struct csv_cell {
    myr_str text; /* inside the quotes, if there are any */
    bool is_quoted, has_doubled;
    bool is_last; /* of its record */
} csv_cell;

/* Past the end of a line, of any of the two kinds; false: `at` is not at one. */
static bool csv_end_of_line(csv_read *read)
{
    const char *at = read->at;
    if (at < read->end && *at == '\r' && at + 1 < read->end && at[1] == '\n') at++;
    if (at < read->end && *at != '\n') return false;
    if (at < read->end) at++;
    read->at = at;
    read->line++;
    return true;
}

static myr_rc csv_quoted(csv_read *read, csv_cell *out, myr_err *err)
{
    size_t line = read->line;
    const char *begin = ++read->at;
    *out = (csv_cell){.is_quoted = true};
    for (; read->at < read->end; read->at++) {
        if (*read->at == '\n') read->line++;
        if (*read->at != '"') continue;
        if (read->at + 1 < read->end && read->at[1] == '"') {
            out->has_doubled = true;
            read->at++;
            continue;
        }
        out->text = myr_str_make(begin, (size_t)(read->at - begin));
        read->at++;
        return MYR_OK;
    }
    MYR_FAIL(err, BAD_INPUT, "line %zu: a quoted cell begins and has no end", line);
}

/* The next cell of a record and what separates it from the next. */
static myr_rc csv_next(csv_read *read, csv_cell *out, myr_err *err)
{
    const char *begin = read->at;
    if (begin < read->end && *begin == '"') {
        MYR_TRY(csv_quoted(read, out, err));
    } else {
        while (read->at < read->end && *read->at != ',' && *read->at != '\n' && *read->at != '"' &&
               !(*read->at == '\r' && read->at + 1 < read->end && read->at[1] == '\n'))
            read->at++;
        *out = (csv_cell){.text = myr_str_make(begin, (size_t)(read->at - begin))};
    }
    if (read->at < read->end && *read->at == ',') {
        read->at++;
        return MYR_OK;
    }
    out->is_last = csv_end_of_line(read);
    if (out->is_last) return MYR_OK;
    MYR_FAIL(err, BAD_INPUT, "line %zu: %s: put the whole cell in quotes, and double the quotes inside", read->line,
             out->is_quoted ? "something follows a quoted cell" : "a quote stands in a cell without quotes");
}

/* Over empty lines; false at the end of the text. */
static bool csv_more(csv_read *read)
{
    while (read->at < read->end) {
        csv_read line = *read;
        if (!csv_end_of_line(&line)) return true;
        *read = line;
    }
    return false;
}

static myr_rc csv_text(const csv_cell *cell, myr_arena *arena, myr_str *out, myr_err *err)
{
    *out = cell->text;
    if (!cell->is_quoted && cell->text.size == 0) *out = (myr_str){0};
    if (!cell->has_doubled) return MYR_OK;
    char *text = myr_arena_alloc(arena, cell->text.size);
    size_t size = 0;
    if (text == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a cell of %zu bytes", cell->text.size);
    for (size_t i = 0; i < cell->text.size; i++) {
        text[size++] = cell->text.data[i];
        if (cell->text.data[i] == '"') i++;
    }
    *out = myr_str_make(text, size);
    return MYR_OK;
}

/* Count the records from here on, each with column_count cells. */
static myr_rc csv_count(csv_read read, size_t column_count, size_t rows_max, size_t *out_count, myr_err *err)
{
    size_t count = 0;
    while (csv_more(&read)) {
        size_t line = read.line, cells = 0;
        for (csv_cell cell = {0}; !cell.is_last; cells++)
            MYR_TRY(csv_next(&read, &cell, err));
        if (cells != column_count) {
            MYR_FAIL(err, BAD_INPUT, "line %zu: %zu cells, the first line names %zu columns", line, cells,
                     column_count);
        }
        if (++count > rows_max) {
            MYR_FAIL(err, TOO_LARGE, "line %zu: more than %zu rows, the most in one request", line, rows_max);
        }
    }
    *out_count = count;
    return MYR_OK;
}

static myr_rc csv_count_columns(csv_read read, size_t *out_count, myr_err *err)
{
    *out_count = 0;
    for (csv_cell cell = {0}; !cell.is_last; (*out_count)++)
        MYR_TRY(csv_next(&read, &cell, err));
    return MYR_OK;
}

/* The names of the first line as fields. */
static myr_rc csv_header(csv_read *read, myr_rows_build *build, size_t column_count, myr_arena *arena, uint64_t *fields,
                         myr_err *err)
{
    for (size_t i = 0; i < column_count; i++) {
        csv_cell cell;
        myr_str name;
        MYR_TRY(csv_next(read, &cell, err));
        MYR_TRY(csv_text(&cell, arena, &name, err));
        if (name.data == NULL) name = myr_str_make("", 0);
        myr_rows_label(build, "column", i + 1);
        MYR_TRY(myr_rows_field(build, 0, name, &fields[i], err));
    }
    return MYR_OK;
}

static myr_rc csv_fill(csv_read *read, myr_rows_build *build, size_t row_count, size_t column_count, myr_arena *arena,
                       const uint64_t *fields, myr_err *err)
{
    for (size_t row = 0; row < row_count; row++) {
        MYR_ASSERT(csv_more(read));
        myr_rows_label(build, "line", read->line);
        for (size_t i = 0; i < column_count; i++) {
            csv_cell cell;
            myr_str text;
            MYR_TRY(csv_next(read, &cell, err));
            MYR_TRY(csv_text(&cell, arena, &text, err));
            MYR_TRY(myr_rows_put_text(build, row, fields[i], text, err));
        }
    }
    return MYR_OK;
}

myr_rc myr_fleet_decode_csv(const myr_fleet *fleet, myr_str text, size_t rows_max, bool ignore_unknown,
                            myr_arena *arena, myr_score_rows *out, myr_err *err)
{
    myr_rows_build *build;
    size_t column_count, row_count;
    if (!myr_utf8_is_valid(text)) MYR_FAIL(err, BAD_INPUT, "the CSV is not UTF-8");
    if (myr_str_starts_with(text, "\xef\xbb\xbf")) text = myr_str_make(text.data + 3, text.size - 3);
    csv_read read = {.at = text.data, .end = text.data + text.size, .line = 1};
    if (!csv_more(&read)) MYR_FAIL(err, BAD_INPUT, "the CSV is empty: its first line names the columns");
    MYR_TRY(csv_count_columns(read, &column_count, err));
    uint64_t *fields = myr_arena_alloc(arena, column_count * sizeof *fields);
    if (fields == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %zu columns", column_count);
    csv_read body = read;
    for (csv_cell cell = {0}; !cell.is_last;)
        MYR_TRY(csv_next(&body, &cell, err));
    MYR_TRY(csv_count(body, column_count, rows_max, &row_count, err));
    MYR_TRY(myr_rows_begin(fleet, row_count, ignore_unknown, arena, &build, err));
    MYR_TRY(csv_header(&read, build, column_count, arena, fields, err));
    MYR_TRY(csv_fill(&read, build, row_count, column_count, arena, fields, err));
    myr_rows_end(build, row_count, out);
    return MYR_OK;
}
