/*
 * Where in which file something bad stands. DuckDB says it for some errors; for the others the files are looked through
 * once more, which only a run that has failed pays for.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "table/internal.h"

#define LOCATE_BUFFER_BYTES    65536
#define LOCATE_CHARACTER_BYTES 4  /* of UTF-8, at most */
#define LOCATE_VALUE_BYTES_MAX 60 /* of a cell shown in a message */

/* ---- a file, byte by byte ---- */

typedef struct locate_file {
    myr_fd fd;
    size_t begin, end; /* unread bytes of the buffer */
    bool is_end;       /* nothing comes after them */
    char bytes[LOCATE_BUFFER_BYTES];
} locate_file;

typedef locate_file *locate_file_ptr;
static void locate_file_ptr_drop(locate_file_ptr *file)
{
    if (*file == NULL) return;
    myr_fd_drop(&(*file)->fd);
    myr_free(*file);
}

static locate_file *locate_open(const char *path)
{
    locate_file *file = myr_calloc(1, sizeof *file);
    if (file == NULL) return NULL;
    file->fd = -1;
    if (myr_io_open(path, O_RDONLY, 0, &file->fd, NULL) == MYR_OK) return file;
    myr_free(file);
    return NULL;
}

/* Have at least one whole character in the buffer, if the file has one. Returns how many bytes are there. */
static size_t locate_fill(locate_file *file)
{
    while (!file->is_end && file->end - file->begin < LOCATE_CHARACTER_BYTES) {
        memmove(file->bytes, file->bytes + file->begin, file->end - file->begin);
        file->end -= file->begin;
        file->begin = 0;
        ssize_t got = read(file->fd, file->bytes + file->end, sizeof file->bytes - file->end);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0)
            file->is_end = true;
        else
            file->end += (size_t)got;
    }
    MYR_ASSERT(file->begin <= file->end && file->end <= sizeof file->bytes);
    return file->end - file->begin;
}

/* How many bytes the character at `at` has, or 0: it is none. */
static size_t locate_character(const char *at, size_t size)
{
    for (size_t step = 1; step <= LOCATE_CHARACTER_BYTES && step <= size; step++) {
        if (myr_utf8_is_valid(myr_str_make(at, step))) return step;
    }
    return 0;
}

/* The line of the first byte that is not UTF-8, or 0. */
static int64_t locate_not_utf8(const char *path)
{
    MYR_AUTO(locate_file_ptr) file = locate_open(path);
    if (file == NULL) return 0;
    int64_t line = 1;
    for (size_t size = locate_fill(file); size > 0; size = locate_fill(file)) {
        const char *at = file->bytes + file->begin;
        size_t step = locate_character(at, size);
        if (step == 0) return line;
        if (*at == '\n') line++;
        file->begin += step;
    }
    return 0;
}

/* The line on which row `row_number` (1 = the first after the header) of a CSV begins, or 0. */
static int64_t locate_line(const char *path, int64_t row_number, bool are_blanks_rows)
{
    MYR_AUTO(locate_file_ptr) file = locate_open(path);
    if (file == NULL) return 0;
    int64_t line = 1, record_line = 1, record = 0;
    bool is_quoted = false, is_blank = true;
    while (locate_fill(file) > 0) {
        char byte = file->bytes[file->begin++];
        if (byte == '"') is_quoted = !is_quoted;
        bool is_line_end =
            byte == '\n' || (byte == '\r' && (locate_fill(file) == 0 || file->bytes[file->begin] != '\n'));
        if (is_line_end) line++;
        if (!is_line_end || is_quoted) {
            is_blank = is_blank && byte == '\r';
            continue;
        }
        if (!is_blank || are_blanks_rows) {
            if (record == row_number) return record_line;
            record++;
        }
        record_line = line;
        is_blank = true;
    }
    return record == row_number && !is_blank ? record_line : 0;
}

/* ---- what is wrong ---- */

static bool locate_is_plain(const char *path)
{
    myr_str name = myr_str_of(path);
    return !myr_str_ends_with(name, ".gz") && !myr_str_ends_with(name, ".zst");
}

/* A text that is no number, in a row that was moved: where it came from. */
static myr_rc locate_moved(const myr_table_column *column, myr_str value, myr_str file, myr_str row, myr_err *err)
{
    char path[MYR_PATH_BYTES_MAX];
    table_kind kind = TABLE_PARQUET;
    int64_t row_number = 0, line = 0;
    (void)snprintf(path, sizeof path, MYR_STR_FMT, MYR_STR_ARG(file));
    bool is_csv = myr_table_kind(path, &kind, NULL) == MYR_OK && kind == TABLE_CSV && locate_is_plain(path);
    if (is_csv && myr_is_canonical_int64(row, &row_number)) line = locate_line(path, row_number, false);
    if (line > 0) {
        MYR_FAIL(err, BAD_INPUT,
                 "%s:%lld: column '%s': '" MYR_STR_FMT "' is not a number; correct it or leave the cell empty", path,
                 (long long)line, column->name, MYR_STR_ARG(value));
    }
    MYR_FAIL(err, BAD_INPUT,
             "%s: column '%s' must be numeric; row " MYR_STR_FMT " holds '" MYR_STR_FMT
             "': correct it or leave it empty",
             path, column->name, MYR_STR_ARG(row), MYR_STR_ARG(value));
}

/* Look for the first text of a column that is no number in one file. MYR_OK: there is none. */
static myr_rc locate_number_in(myr_table_engine *engine, const table_source *file, const myr_table_column *column,
                               myr_err *err)
{
    MYR_AUTO(myr_buf) sql = {0};
    myr_buf_puts(&sql, file->is_grouped ? "SELECT CAST(n AS VARCHAR), v, f FROM (SELECT \"" MYR_TABLE_GROUP_ROW
                                          "\" AS n, \"" MYR_TABLE_GROUP_FILE "\" AS f, CAST("
                                        : "SELECT CAST(n AS VARCHAR), v FROM (SELECT row_number() OVER () AS n, CAST(");
    myr_table_sql_name(&sql, column->name);
    myr_buf_puts(&sql, " AS VARCHAR) AS v FROM ");
    myr_table_source_sql(file, &sql);
    myr_buf_puts(&sql, ") WHERE v IS NOT NULL AND " TABLE_NUMBER_OR_NULL "(v, 0) IS NULL LIMIT 1");
    MYR_TRY(myr_buf_check(&sql, err));
    MYR_AUTO(table_result) result = {0};
    MYR_TRY(myr_table_query(engine, sql.data, file->input, &result, err));
    MYR_AUTO(table_chunk) chunk = duckdb_fetch_chunk(result);
    if (chunk == NULL || duckdb_data_chunk_get_size(chunk) == 0) return MYR_OK;
    myr_str row = myr_table_text(duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0)));
    myr_str value = myr_table_text(duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 1)));
    if (value.size > LOCATE_VALUE_BYTES_MAX) value.size = LOCATE_VALUE_BYTES_MAX;
    if (file->is_grouped) {
        myr_str from = myr_table_text(duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 2)));
        return locate_moved(column, value, from, row, err);
    }
    int64_t row_number = 0, line = 0;
    bool is_known = myr_is_canonical_int64(row, &row_number);
    if (file->kind == TABLE_CSV && locate_is_plain(file->input) && is_known)
        line = locate_line(file->reads, row_number, file->column_count == 1);
    if (line > 0 && engine->range != NULL) line += engine->range->line_shift;
    if (file->part != NULL && file->kind == TABLE_PARQUET && file->part->end >= 0) row_number += file->part->begin;
    if (line > 0) {
        MYR_FAIL(err, BAD_INPUT,
                 "%s:%lld: column '%s': '" MYR_STR_FMT "' is not a number; correct it or leave the cell empty",
                 file->input, (long long)line, column->name, MYR_STR_ARG(value));
    }
    MYR_FAIL(err, BAD_INPUT,
             "%s: column '%s' (%.40s) must be numeric; row %lld holds '" MYR_STR_FMT "': correct it or leave it empty",
             file->input, column->name, column->sql_type, (long long)row_number, MYR_STR_ARG(value));
}

static myr_rc locate_number(myr_table_engine *engine, const table_source *source, size_t col_idx, myr_err *err)
{
    MYR_ASSERT(col_idx < source->column_count);
    const myr_table_column *column = &source->columns[col_idx];
    for (size_t i = 0; i < source->file_count; i++) {
        table_source file = *source;
        file.input = source->files[i];
        file.is_list = false;
        if (source->part == NULL) file.reads = file.input;
        MYR_TRY(locate_number_in(engine, &file, column, err));
    }
    MYR_FAIL(err, BAD_INPUT, "%s: column '%s' holds a text that is not a number", source->input, column->name);
}

/* A CSV that DuckDB gave up on, whatever it says: DuckDB 1.5 loses its way when it explains a bad byte far down. */
static myr_rc locate_bytes(const myr_table_engine *engine, const table_source *source, myr_err *err)
{
    for (size_t i = 0; i < source->file_count; i++) {
        const char *path = source->part != NULL ? source->reads : source->files[i];
        int64_t line = locate_is_plain(source->files[i]) ? locate_not_utf8(path) : 0;
        if (line > 0 && engine->range != NULL) line += engine->range->line_shift;
        if (line > 0) {
            MYR_FAIL(err, BAD_INPUT, "%s:%lld: not UTF-8; convert it first (iconv -f latin1 -t utf-8)",
                     source->files[i], (long long)line);
        }
    }
    return MYR_OK;
}

/* Headers of a glob that differ: the first file that does not have what the first of all has. */
static myr_rc locate_columns(myr_table_engine *engine, const table_source *source, const char *message, myr_err *err)
{
    const char *begin = strstr(message, "names: \"");
    begin = begin != NULL ? begin + strlen("names: \"") : "";
    size_t size = strcspn(begin, "\"");
    for (size_t i = 1; i < source->file_count; i++) {
        table_source file = *source;
        file.input = file.reads = source->files[i];
        file.is_list = false;
        MYR_AUTO(myr_buf) sql = {0};
        myr_buf_puts(&sql, "SELECT 1 FROM ");
        myr_table_source_sql(&file, &sql);
        myr_buf_puts(&sql, " LIMIT 0");
        MYR_TRY(myr_buf_check(&sql, err));
        if (myr_table_exec(engine, sql.data, file.input, NULL) == MYR_OK) continue;
        MYR_FAIL(err, BAD_INPUT, "%s has no column '%.*s', which the first file %s has", file.input,
                 (int)(size < LOCATE_VALUE_BYTES_MAX ? size : LOCATE_VALUE_BYTES_MAX), begin, source->files[0]);
    }
    return MYR_OK;
}

/* A file of many that lacks a column which the others have. MYR_OK: it lacks none. */
static myr_rc locate_missing(myr_table_engine *engine, const table_source *source, myr_err *err)
{
    for (size_t i = 0; i < source->column_count; i++) {
        if (source->hows[i].path_name != NULL) continue;
        MYR_AUTO(myr_buf) sql = {0};
        table_source plain = *source;
        plain.is_one_of_many = false; /* it names all columns */
        myr_buf_puts(&sql, "SELECT ");
        myr_table_sql_name(&sql, source->columns[i].name);
        myr_buf_puts(&sql, " FROM ");
        myr_table_source_sql(&plain, &sql);
        myr_buf_puts(&sql, " LIMIT 0");
        MYR_TRY(myr_buf_check(&sql, err));
        myr_err found = {0};
        if (myr_table_exec(engine, sql.data, source->input, &found) == MYR_OK) continue;
        if (strstr(found.message, "not found in FROM clause") == NULL) return MYR_OK; /* something else is wrong */
        MYR_FAIL(err, BAD_INPUT, "%s has no column '%.*s', which the first file %s has", source->input,
                 LOCATE_VALUE_BYTES_MAX, source->columns[i].name, source->first_file);
    }
    return MYR_OK;
}

myr_rc myr_table_source_explain(myr_table_engine *engine, const table_source *source, myr_rc rc, const myr_err *found,
                                myr_err *err)
{
    MYR_ASSERT(rc != MYR_OK);
    const char *mark = strstr(found->message, TABLE_NOT_NUMBER);
    if (mark != NULL) return locate_number(engine, source, strtoul(mark + strlen(TABLE_NOT_NUMBER), NULL, 10), err);
    if (source->kind == TABLE_CSV && (rc == MYR_INTERNAL || strstr(found->message, "nicode") != NULL))
        MYR_TRY(locate_bytes(engine, source, err));
    if (source->kind == TABLE_CSV && strstr(found->message, "COLUMN_TYPES") != NULL)
        MYR_TRY(locate_columns(engine, source, found->message, err));
    if (source->is_one_of_many && rc == MYR_BAD_INPUT) MYR_TRY(locate_missing(engine, source, err));
    return myr_err_set(err, rc, found->file, found->line, "%s", found->message);
}

myr_rc myr_table_source_query(myr_table_engine *engine, const table_source *source, const char *sql, duckdb_result *out,
                              myr_err *err)
{
    myr_err found = {0};
    myr_rc rc = myr_table_query(engine, sql, source->input, out, &found);
    return rc == MYR_OK ? MYR_OK : myr_table_source_explain(engine, source, rc, &found, err);
}
