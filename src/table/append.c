/* Several files that a map wrote, as one: Parquet through DuckDB, row group by row group; CSV and JSON lines byte by
 * byte, the former with one header. And how many rows they have together. */
#include <fcntl.h>
#include <string.h>

#include "table/internal.h"

#define APPEND_STEP_BYTES (1 << 20)

typedef myr_mapping append_mapping;
static void append_mapping_drop(append_mapping *mapping)
{
    myr_io_unmap(mapping);
}

static myr_rc append_parquet(myr_table_engine *engine, const char *const *files, size_t count, const char *path,
                             myr_err *err)
{
    MYR_AUTO(myr_buf) sql = {0};
    for (size_t i = 0; i < count; i++) {
        myr_buf_puts(&sql, i == 0 ? "COPY (SELECT * FROM read_parquet([" : ", ");
        myr_table_sql_literal(&sql, files[i]);
    }
    myr_buf_puts(&sql, "], hive_partitioning = false)) TO ");
    myr_table_sql_literal(&sql, path);
    myr_buf_puts(&sql, " (FORMAT parquet)");
    MYR_TRY(myr_buf_check(&sql, err));
    return myr_table_exec(engine, sql.data, path, err);
}

static myr_rc append_lines(const char *const *files, size_t count, bool has_header, const char *path, myr_err *err)
{
    MYR_AUTO(myr_fd) fd = -1;
    MYR_TRY(myr_io_open(path, O_WRONLY | O_CREAT | O_TRUNC, 0644, &fd, err));
    for (size_t i = 0; i < count; i++) {
        MYR_AUTO(append_mapping) map = {0};
        uint64_t losses = myr_io_map_losses();
        int64_t bytes = 0;
        MYR_TRY(myr_io_size(files[i], &bytes, err));
        if (bytes == 0) continue; /* lines without a header: a part without rows */
        MYR_TRY(myr_io_map(files[i], &map, err));
        size_t at = i == 0 || !has_header ? 0 : myr_table_header_bytes(map.data, map.size);
        while (at < map.size) {
            size_t next = map.size - at < APPEND_STEP_BYTES ? map.size - at : APPEND_STEP_BYTES;
            MYR_TRY(myr_io_write(fd, path, map.data + at, next, err));
            at += next;
        }
        if (myr_io_map_losses() != losses) MYR_FAIL(err, IO, "%s was cut short while it was read", files[i]);
    }
    return myr_io_close(&fd, path, err);
}

/* Thread: the engine's owner. */
myr_rc myr_table_append(myr_table_engine *engine, const char *const *files, size_t count, myr_table_format format,
                        const char *path, myr_err *err)
{
    MYR_ASSERT(count > 0 && format != MYR_TABLE_NOTHING);
    return format == MYR_TABLE_PARQUET ? append_parquet(engine, files, count, path, err)
                                       : append_lines(files, count, format == MYR_TABLE_CSV, path, err);
}

/* ---- counted ---- */

static myr_rc count_parquet(myr_table_engine *engine, const char *const *files, size_t count, int64_t *out_rows,
                            myr_err *err)
{
    MYR_AUTO(myr_buf) sql = {0};
    MYR_AUTO(table_result) result = {0};
    for (size_t i = 0; i < count; i++) {
        myr_buf_puts(&sql, i == 0 ? "SELECT count(*) FROM read_parquet([" : ", ");
        myr_table_sql_literal(&sql, files[i]);
    }
    myr_buf_puts(&sql, "], hive_partitioning = false)");
    MYR_TRY(myr_buf_check(&sql, err));
    MYR_TRY(myr_table_query(engine, sql.data, files[0], &result, err));
    MYR_AUTO(table_chunk) chunk = duckdb_fetch_chunk(result);
    MYR_ASSERT(chunk != NULL && duckdb_data_chunk_get_size(chunk) == 1);
    *out_rows = ((const int64_t *)duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0)))[0];
    return MYR_OK;
}

/* Ends of lines outside of quotes, of which a cell has an even number; JSON has none within a line. */
static int64_t count_ends(const unsigned char *data, size_t size, bool has_quotes)
{
    int64_t ends = 0;
    bool is_quoted = false;
    for (size_t i = 0; i < size; i++) {
        is_quoted ^= has_quotes && data[i] == '"';
        ends += data[i] == '\n' && !is_quoted;
    }
    return ends;
}

static myr_rc count_lines(const char *file, bool is_csv, int64_t *rows, myr_err *err)
{
    MYR_AUTO(append_mapping) map = {0};
    uint64_t losses = myr_io_map_losses();
    int64_t bytes = 0;
    MYR_TRY(myr_io_size(file, &bytes, err));
    if (bytes == 0) return MYR_OK;
    MYR_TRY(myr_io_map(file, &map, err));
    size_t begin = is_csv ? myr_table_header_bytes(map.data, map.size) : 0;
    *rows += count_ends(map.data + begin, map.size - begin, is_csv);
    if (myr_io_map_losses() != losses) MYR_FAIL(err, IO, "%s was cut short while it was read", file);
    return MYR_OK;
}

/* Thread: the engine's owner. */
myr_rc myr_table_count_written(myr_table_engine *engine, const char *const *files, size_t count,
                               myr_table_format format, int64_t *out_rows, myr_err *err)
{
    int64_t rows = 0;
    if (format == MYR_TABLE_PARQUET && count > 0) MYR_TRY(count_parquet(engine, files, count, &rows, err));
    for (size_t i = 0; format != MYR_TABLE_PARQUET && i < count; i++)
        MYR_TRY(count_lines(files[i], format == MYR_TABLE_CSV, &rows, err));
    *out_rows = rows;
    return MYR_OK;
}
