/*
 * Two columns of one name in a file. DuckDB calls the second one `x_1` and says nothing; which of the two is meant
 * nobody knows, so both are marked, and who wants one is told.
 */
#include <string.h>

#include "table/internal.h"

/* ---- names as they stand in the file ---- */

/* The next field of a header line; quotes around it are taken off. False: there is none. */
static bool twins_field(myr_str *rest, char delimiter, myr_buf *out)
{
    if (rest->data == NULL) return false;
    size_t pos = 0;
    bool is_quoted = false;
    for (; pos < rest->size && (is_quoted || rest->data[pos] != delimiter); pos++) {
        char byte = rest->data[pos];
        if (byte == '"' && is_quoted && pos + 1 < rest->size && rest->data[pos + 1] == '"') {
            myr_buf_putc(out, '"');
            pos++;
        } else if (byte == '"') {
            is_quoted = !is_quoted;
        } else {
            myr_buf_putc(out, byte);
        }
    }
    *rest = pos < rest->size ? myr_str_make(rest->data + pos + 1, rest->size - pos - 1) : (myr_str){0};
    return true;
}

/* names[0..count): copies in the arena; *out_is_known = false if the header does not have as many. */
static myr_rc twins_csv(const table_source *source, myr_str header, myr_str *names, bool *out_is_known, myr_err *err)
{
    while (header.size > 0 && (header.data[header.size - 1] == '\r' || header.data[header.size - 1] == '\n'))
        header.size--;
    if (header.size >= 3 && memcmp(header.data, "\xef\xbb\xbf", 3) == 0)
        header = myr_str_make(header.data + 3, header.size - 3);
    size_t count = 0;
    for (;; count++) {
        MYR_AUTO(myr_buf) field = {0};
        if (!twins_field(&header, source->delimiter, &field)) break;
        MYR_TRY(myr_buf_check(&field, err));
        if (count == source->column_count) {
            *out_is_known = false;
            return MYR_OK;
        }
        const char *copy = myr_arena_strndup(source->arena, field.data != NULL ? field.data : "", field.size);
        if (copy == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the columns of %s", source->input);
        names[count] = myr_str_make(copy, field.size);
    }
    *out_is_known = count == source->column_count;
    return MYR_OK;
}

/* parquet_schema lists all nodes, each before its children: those right below the root are the columns. */
static myr_rc twins_parquet(myr_table_engine *engine, const table_source *source, myr_str *names, bool *out_is_known,
                            myr_err *err)
{
    MYR_AUTO(myr_buf) sql = {0};
    myr_buf_puts(&sql, "SELECT name, CAST(coalesce(num_children, 0) AS BIGINT) FROM parquet_schema(");
    myr_table_sql_literal(&sql, source->files[0]);
    myr_buf_putc(&sql, ')');
    MYR_TRY(myr_buf_check(&sql, err));
    MYR_AUTO(table_result) result = {0};
    MYR_TRY(myr_table_query(engine, sql.data, source->files[0], &result, err));
    size_t count = 0;
    int64_t inside = -1; /* nodes still to come that are not columns; the root is one */
    for (;;) {
        MYR_AUTO(table_chunk) chunk = duckdb_fetch_chunk(result);
        idx_t rows = chunk != NULL ? duckdb_data_chunk_get_size(chunk) : 0;
        if (rows == 0) break;
        duckdb_string_t *cells = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
        const int64_t *children = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 1));
        for (idx_t i = 0; i < rows; i++) {
            if (inside < 0) { /* the root */
                inside = 0;
            } else if (inside > 0) {
                inside += children[i] - 1;
            } else {
                myr_str name = myr_table_text(&cells[i]);
                if (count == source->column_count) return MYR_OK;
                const char *copy = myr_arena_strndup(source->arena, name.data, name.size);
                if (copy == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the columns of %s", source->input);
                names[count++] = myr_str_make(copy, name.size);
                inside = children[i];
            }
        }
    }
    *out_is_known = count == source->column_count;
    return MYR_OK;
}

/* ---- marking ---- */

static myr_rc twins_compare(table_source *source, const myr_str *names, myr_err *err)
{
    MYR_AUTO(myr_map_ptr) seen = myr_map_new();
    if (seen == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the columns of %s", source->input);
    for (size_t i = 0; i < source->column_count; i++) {
        uint64_t other = 0;
        if (myr_map_find(seen, names[i], &other)) {
            MYR_ASSERT(other < i);
            source->columns[i].twin = source->columns[other].twin = names[i].data;
        } else {
            MYR_TRY(myr_map_put(seen, names[i], i, err));
        }
    }
    return MYR_OK;
}

myr_rc myr_table_twins_mark(myr_table_engine *engine, table_source *source, myr_str header, myr_err *err)
{
    if (source->kind == TABLE_JSON) return MYR_OK; /* an object's later value of a name counts */
    myr_str *names = myr_arena_calloc(source->arena, source->column_count + 1, sizeof *names);
    if (names == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the columns of %s", source->input);
    bool is_known = false;
    if (source->kind == TABLE_CSV)
        MYR_TRY(twins_csv(source, header, names, &is_known, err));
    else
        MYR_TRY(twins_parquet(engine, source, names, &is_known, err));
    return is_known ? twins_compare(source, names, err) : MYR_OK;
}
