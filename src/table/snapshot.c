/*
 * Rows from elsewhere as one Parquet file: of a query, of files for which a condition holds, of a database's text.
 * DuckDB streams them, so that memory is bounded whatever their number.
 */
#include <stdio.h>
#include <string.h>

#include "table/internal.h"

myr_rc myr_table_snapshot_query(myr_table_engine *engine, const char *query, const char *dir, const char *path,
                                int64_t *out_rows, myr_err *err)
{
    if (dir != NULL) {
        MYR_AUTO(myr_buf) sql = {0};
        myr_buf_puts(&sql, "SET file_search_path = ");
        myr_table_sql_literal(&sql, dir);
        MYR_TRY(myr_buf_check(&sql, err));
        MYR_TRY(myr_table_exec(engine, sql.data, dir, err));
    }
    return myr_table_query_write(engine, NULL, query, path, out_rows, err);
}

/* ---- a condition ---- */

/* Columns that the paths of all files have and the files do not: a condition may be about them, and they are kept. */
static myr_rc snapshot_path_columns(table_source *source, myr_err *err)
{
    for (const char *at = strchr(source->files[0], '/'); at != NULL; at = strchr(at + 1, '/')) {
        const char *end = strchr(at + 1, '/');
        const char *equals = end != NULL ? memchr(at + 1, '=', (size_t)(end - at - 1)) : NULL;
        MYR_AUTO(myr_buf) name = {0};
        uint32_t unused = 0;
        if (equals == NULL || !myr_percent_decode(&name, myr_str_make(at + 1, (size_t)(equals - at - 1)))) continue;
        MYR_TRY(myr_buf_check(&name, err));
        const char *copy = name.size > 0 ? myr_arena_strndup(source->arena, name.data, name.size) : NULL;
        if (copy != NULL) MYR_IGNORE(myr_table_source_find(source, copy, &unused, NULL)); /* not of all files: none */
    }
    return MYR_OK;
}

/* Below its own name a column has its type, for the condition; beside it stands the cell as it is. */
static void snapshot_filter_sql(const table_source *source, const char *condition, myr_buf *sql)
{
    myr_buf_puts(sql, "SELECT ");
    for (size_t i = 0; i < source->column_count; i++) {
        myr_buf_printf(sql, "%s\"" TABLE_RESERVED "%zu\" AS ", i > 0 ? ", " : "", i);
        myr_table_sql_name(sql, source->columns[i].name);
    }
    myr_buf_puts(sql, " FROM (SELECT ");
    for (size_t i = 0; i < source->column_count; i++) {
        bool is_written = source->hows[i].csv_type != NULL; /* a CSV's cell is a text */
        if (i > 0) myr_buf_puts(sql, ", ");
        myr_table_sql_name(sql, source->columns[i].name);
        myr_buf_printf(sql, " AS \"" TABLE_RESERVED "%zu\", %s", i, is_written ? "CAST(" : "");
        myr_table_sql_name(sql, source->columns[i].name);
        if (is_written) myr_buf_printf(sql, " AS %s) AS ", source->columns[i].sql_type);
        if (is_written) myr_table_sql_name(sql, source->columns[i].name);
    }
    myr_buf_puts(sql, " FROM ");
    myr_table_source_sql(source, sql);
    myr_buf_printf(sql, ") WHERE (%s\n)", condition); /* a comment at its end ends with the line */
}

myr_rc myr_table_snapshot_filter(myr_table_engine *engine, const char *input, const char *const *files,
                                 size_t file_count, const char *condition, const char *path, int64_t *out_rows,
                                 myr_err *err)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    MYR_AUTO(myr_buf) sql = {0};
    table_source source;
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to read %s", input);
    MYR_TRY(myr_table_source_open_files(engine, input, files, file_count, arena, &source, err));
    MYR_TRY(snapshot_path_columns(&source, err));
    snapshot_filter_sql(&source, condition, &sql);
    MYR_TRY(myr_buf_check(&sql, err));
    return myr_table_query_write(engine, NULL, sql.data, path, out_rows, err);
}

/* ---- a database's text ---- */

myr_rc myr_table_snapshot_text(myr_table_engine *engine, const char *text_path, const myr_table_text_column *columns,
                               size_t column_count, const char *path, int64_t *out_rows, myr_err *err)
{
    MYR_AUTO(myr_buf) sql = {0};
    myr_buf_puts(&sql, "SELECT * FROM read_csv(");
    myr_table_sql_literal(&sql, text_path);
    myr_buf_printf(
        &sql,
        ", auto_detect = false, header = true, delim = ',', quote = '\"', escape = '\"', nullstr = '\\N', "
        "allow_quoted_nulls = false, hive_partitioning = false, max_line_size = %d, buffer_size = %d, columns = {",
        MYR_TABLE_LINE_BYTES_MAX, 2 * MYR_TABLE_LINE_BYTES_MAX);
    for (size_t i = 0; i < column_count; i++) {
        if (i > 0) myr_buf_puts(&sql, ", ");
        myr_table_sql_literal(&sql, columns[i].name);
        myr_buf_puts(&sql, ": ");
        myr_table_sql_literal(&sql, columns[i].sql_type);
    }
    myr_buf_puts(&sql, "})");
    MYR_TRY(myr_buf_check(&sql, err));
    return myr_table_query_write(engine, NULL, sql.data, path, out_rows, err);
}
