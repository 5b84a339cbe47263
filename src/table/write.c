/*
 * Columns held in memory as one file: appended chunk by chunk to a temporary table of DuckDB's, copied to a temporary
 * name, synced, renamed.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "table/internal.h"

typedef duckdb_appender write_appender;
static void write_appender_drop(write_appender *appender)
{
    if (*appender != NULL) duckdb_appender_destroy(appender);
}
typedef duckdb_logical_type write_logical;
static void write_logical_drop(write_logical *type)
{
    if (*type != NULL) duckdb_destroy_logical_type(type);
}

static duckdb_type write_type(myr_col_type type)
{
    if (type == MYR_COL_DOUBLE) return DUCKDB_TYPE_DOUBLE;
    return type == MYR_COL_INT64 ? DUCKDB_TYPE_BIGINT : DUCKDB_TYPE_VARCHAR;
}

static myr_rc write_table_new(myr_table_engine *engine, const char *table, const char *path, const myr_col *cols,
                              uint32_t col_count, myr_err *err)
{
    static const char *const types[] = {
        [MYR_COL_DOUBLE] = "DOUBLE", [MYR_COL_INT64] = "BIGINT", [MYR_COL_TEXT] = "VARCHAR"};
    MYR_AUTO(myr_buf) sql = {0};
    myr_buf_printf(&sql, "CREATE TEMP TABLE %s (", table);
    for (uint32_t i = 0; i < col_count; i++) {
        if (i > 0) myr_buf_puts(&sql, ", ");
        myr_table_sql_name(&sql, cols[i].name);
        myr_buf_printf(&sql, " %s", types[cols[i].type]);
    }
    myr_buf_putc(&sql, ')');
    MYR_TRY(myr_buf_check(&sql, err));
    return myr_table_exec(engine, sql.data, path, err);
}

static myr_rc write_cells(duckdb_vector vector, const myr_col *col, int64_t first, int64_t rows, myr_err *err)
{
    void *cells = duckdb_vector_get_data(vector);
    bool is_ready = false; /* its validity may be written */
    for (int64_t r = 0; r < rows; r++) {
        if (myr_col_is_null(col, first + r) || (col->type == MYR_COL_TEXT && col->data.text[first + r].data == NULL)) {
            if (!is_ready) duckdb_vector_ensure_validity_writable(vector);
            is_ready = true;
            duckdb_validity_set_row_invalid(duckdb_vector_get_validity(vector), (idx_t)r);
        } else if (col->type == MYR_COL_DOUBLE) {
            ((double *)cells)[r] = col->data.f64[first + r];
        } else if (col->type == MYR_COL_INT64) {
            ((int64_t *)cells)[r] = col->data.i64[first + r];
        } else {
            myr_str text = col->data.text[first + r];
            if (!myr_utf8_is_valid(text)) {
                MYR_FAIL(err, BAD_INPUT, "row %lld of column '%s' is not UTF-8", (long long)(first + r + 1), col->name);
            }
            duckdb_unsafe_vector_assign_string_element_len(vector, (idx_t)r, text.data, text.size);
        }
    }
    return MYR_OK;
}

static myr_rc write_append(myr_table_engine *engine, const char *table, const myr_col *cols, uint32_t col_count,
                           int64_t row_count, duckdb_data_chunk chunk, myr_err *err)
{
    MYR_AUTO(write_appender) appender = NULL;
    if (duckdb_appender_create(engine->connection, NULL, table, &appender) != DuckDBSuccess) {
        MYR_FAIL(err, INTERNAL, "DuckDB gives no appender: %s", duckdb_appender_error(appender));
    }
    int64_t chunk_rows = (int64_t)duckdb_vector_size();
    for (int64_t first = 0; first < row_count; first += chunk_rows) {
        int64_t rows = row_count - first < chunk_rows ? row_count - first : chunk_rows;
        duckdb_data_chunk_reset(chunk);
        for (uint32_t i = 0; i < col_count; i++) {
            MYR_TRY(write_cells(duckdb_data_chunk_get_vector(chunk, i), &cols[i], first, rows, err));
        }
        duckdb_data_chunk_set_size(chunk, (idx_t)rows);
        if (duckdb_append_data_chunk(appender, chunk) != DuckDBSuccess) {
            MYR_FAIL(err, NO_MEMORY, "DuckDB does not take the rows: %s", duckdb_appender_error(appender));
        }
    }
    if (duckdb_appender_close(appender) != DuckDBSuccess) {
        MYR_FAIL(err, NO_MEMORY, "DuckDB does not take the rows: %s", duckdb_appender_error(appender));
    }
    return MYR_OK;
}

static myr_rc write_rows(myr_table_engine *engine, const char *table, const myr_col *cols, uint32_t col_count,
                         int64_t row_count, myr_err *err)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    duckdb_logical_type *types = arena != NULL ? myr_arena_calloc(arena, col_count, sizeof *types) : NULL;
    if (types == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %u columns", col_count);
    for (uint32_t i = 0; i < col_count; i++)
        types[i] = duckdb_create_logical_type(write_type(cols[i].type));
    MYR_AUTO(table_chunk) chunk = duckdb_create_data_chunk(types, col_count);
    for (uint32_t i = 0; i < col_count; i++)
        write_logical_drop(&types[i]);
    if (chunk == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %u columns", col_count);
    return write_append(engine, table, cols, col_count, row_count, chunk, err);
}

static myr_rc write_copy(myr_table_engine *engine, const char *table, const char *path, const char *temp, myr_err *err)
{
    myr_str name = myr_str_of(path);
    bool is_csv = myr_str_ends_with(name, ".csv");
    if (!is_csv && !myr_str_ends_with(name, ".parquet")) {
        MYR_FAIL(err, BAD_USAGE, "%s: the format is found from the name, which must end in .parquet or .csv", path);
    }
    MYR_AUTO(myr_buf) sql = {0};
    myr_buf_printf(&sql, "COPY %s TO ", table);
    myr_table_sql_literal(&sql, temp);
    myr_buf_puts(&sql,
                 is_csv ? " (FORMAT csv, HEADER true, USE_TMP_FILE false)" : " (FORMAT parquet, USE_TMP_FILE false)");
    MYR_TRY(myr_buf_check(&sql, err));
    return myr_table_exec(engine, sql.data, path, err);
}

myr_rc myr_table_publish(const char *temp, const char *path, myr_err *err)
{
    MYR_AUTO(myr_fd) fd = -1;
    MYR_TRY(myr_io_open(temp, O_RDONLY, 0, &fd, err));
    MYR_TRY(myr_io_sync(fd, temp, err));
    MYR_TRY(myr_io_rename(temp, path, err));
    char dir[MYR_PATH_BYTES_MAX];
    myr_path_dir(path, dir, sizeof dir);
    return myr_io_sync_dir(dir, err);
}

/* Thread: the engine's owner. Errors: BAD_USAGE (name), BAD_INPUT (not UTF-8), NO_SPACE, IO; then nothing is at `path`.
 */
myr_rc myr_table_write(myr_table_engine *engine, const char *path, const myr_col *cols, uint32_t col_count,
                       int64_t row_count, myr_err *err)
{
    MYR_ASSERT(col_count > 0 && row_count >= 0);
    char table[48], temp[MYR_PATH_BYTES_MAX];
    snprintf(table, sizeof table, "myr_write_%lld", (long long)engine->next_name++);
    if ((size_t)snprintf(temp, sizeof temp, "%s.tmp", path) >= sizeof temp)
        MYR_FAIL(err, BAD_INPUT, "%s: the path is too long", path);
    MYR_TRY(write_table_new(engine, table, path, cols, col_count, err));
    myr_rc rc = write_rows(engine, table, cols, col_count, row_count, err);
    if (rc == MYR_OK) rc = write_copy(engine, table, path, temp, err);
    if (rc == MYR_OK) rc = myr_table_publish(temp, path, err);
    if (rc != MYR_OK && myr_io_exists(temp))
        MYR_IGNORE(myr_io_unlink(temp, NULL)); /* the first error is the one to tell */
    char drop[64];
    snprintf(drop, sizeof drop, "DROP TABLE %s", table);
    MYR_IGNORE(myr_table_exec(engine, drop, path, NULL)); /* it is temporary anyway */
    return rc;
}
