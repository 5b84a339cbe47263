/*
 * Rows put together by their keys: every row of an input, in one Parquet file, sorted by some columns, so that all rows
 * of one key are neighbours and parts can be cut between two keys. Each row takes along where it came from. Ties are in
 * the order of the input, so that the same input gives the same file, row for row. DuckDB sorts, and spills what its
 * memory does not hold.
 */
#include <stdio.h>
#include <string.h>

#include "table/internal.h"

/* ---- columns ---- */

/* Which columns of the source go along: those that are wanted, kept, or keys. */
static myr_rc group_needs(table_source *source, const myr_table_map *map, const table_want *wants, bool **out,
                          myr_err *err)
{
    bool *needs = myr_arena_calloc(source->arena, source->column_count + 1, sizeof *needs);
    if (needs == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the columns of %s", source->input);
    for (uint32_t i = 0; i < map->want_count; i++)
        needs[wants[i].col_idx] = true;
    for (uint32_t i = 0, idx = 0; i < map->keep_count; i++) {
        MYR_TRY(myr_table_source_find(source, map->keep[i], &idx, err));
        needs[idx] = true;
    }
    for (const char *const *by = map->group_by; *by != NULL; by++) {
        uint32_t idx = 0;
        MYR_TRY(myr_table_source_find(source, *by, &idx, err));
        needs[idx] = true;
    }
    *out = needs;
    return MYR_OK;
}

/* A key of the fleet is compared as the fleet reads it: 2.0 is 2. */
static void group_key_sql(const table_source *source, const myr_table_map *map, const table_want *wants,
                          const char *name, myr_buf *sql)
{
    for (uint32_t i = 0; i < map->want_count; i++) {
        if (!map->wants[i].as_key || strcmp(map->wants[i].name, name) != 0) continue;
        myr_table_want_sql(source, &wants[i], sql);
        return;
    }
    myr_table_sql_name(sql, name);
}

/* Parquet has no integers of 128 bits. */
static bool group_is_huge(const char *sql_type)
{
    return strcmp(sql_type, "HUGEINT") == 0 || strcmp(sql_type, "UHUGEINT") == 0;
}

myr_rc myr_table_group_source(table_source *source, const myr_table_map *map, table_want *wants, myr_err *err)
{
    bool *needs = NULL;
    MYR_TRY(group_needs(source, map, wants, &needs, err));
    uint32_t count = 0;
    uint32_t *moved = myr_arena_calloc(source->arena, source->column_count + 1, sizeof *moved);
    myr_table_column *columns = myr_arena_calloc(source->arena, source->column_count + 2, sizeof *columns);
    table_how *hows = myr_arena_calloc(source->arena, source->column_count + 2, sizeof *hows);
    if (moved == NULL || columns == NULL || hows == NULL)
        MYR_FAIL(err, NO_MEMORY, "no memory for the columns of %s", source->input);
    for (size_t i = 0; i < source->column_count; i++) {
        if (!needs[i]) continue;
        moved[i] = count;
        columns[count] = source->columns[i];
        if (source->hows[i].csv_type != NULL) columns[count].sql_type = source->hows[i].csv_type;
        count++;
    }
    for (uint32_t i = 0; i < map->want_count; i++)
        wants[i].col_idx = moved[wants[i].col_idx];
    columns[count] = (myr_table_column){.name = MYR_TABLE_GROUP_FILE, .sql_type = "VARCHAR"};
    columns[count + 1] = (myr_table_column){.name = MYR_TABLE_GROUP_ROW, .sql_type = "BIGINT"};
    wants[map->want_count] = (table_want){.col_idx = count, .type = MYR_COL_TEXT, .format = "$"};
    wants[map->want_count + 1] = (table_want){.col_idx = count + 1, .type = MYR_COL_INT64, .format = "$"};
    source->columns = columns;
    source->hows = hows;
    source->column_count = (size_t)count + 2;
    source->kind = TABLE_PARQUET;
    source->is_grouped = true;
    source->is_one_of_many = true; /* each column has the type that it was read with */
    return MYR_OK;
}

/* ---- written ---- */

typedef struct group_run {
    myr_table_engine *engine;
    const myr_table_map *map;
    const char *path;
    int64_t group_rows;
    myr_arena *arena;
} group_run;

/* `SELECT columns, file, row FROM …` of one file. */
static void group_select_sql(const table_source *source, const bool *needs, const char *name, myr_buf *sql)
{
    myr_buf_puts(sql, "SELECT ");
    for (size_t i = 0; i < source->column_count; i++) {
        bool is_huge = group_is_huge(source->columns[i].sql_type);
        if (!needs[i]) continue;
        if (is_huge) myr_buf_puts(sql, "CAST(");
        myr_table_sql_name(sql, source->columns[i].name);
        if (is_huge) myr_buf_puts(sql, " AS VARCHAR) AS ");
        if (is_huge) myr_table_sql_name(sql, source->columns[i].name);
        myr_buf_puts(sql, ", ");
    }
    myr_table_sql_literal(sql, name);
    myr_buf_puts(sql, " AS \"" MYR_TABLE_GROUP_FILE "\", ");
    myr_buf_puts(sql, source->numbers_rows ? "\"" MYR_TABLE_GROUP_ROW "\" FROM "
                                           : "row_number() OVER () AS \"" MYR_TABLE_GROUP_ROW "\" FROM ");
    myr_table_source_sql(source, sql);
}

static void group_order_sql(const table_source *source, const group_run *run, const table_want *wants, myr_buf *sql)
{
    myr_buf_puts(sql, " ORDER BY ");
    for (const char *const *by = run->map->group_by; *by != NULL; by++) {
        group_key_sql(source, run->map, wants, *by, sql);
        myr_buf_puts(sql, ", ");
    }
    myr_buf_puts(sql, "\"" MYR_TABLE_GROUP_FILE "\", \"" MYR_TABLE_GROUP_ROW "\"");
}

/* One file of the input into `path`; sorted, if it is the only one. */
static myr_rc group_file(const group_run *run, const char *file, const char *name, const char *path, bool is_sorted,
                         myr_err *err)
{
    const char *files[] = {file};
    const myr_table_part part = {.file = file, .end = -1};
    MYR_AUTO(myr_buf) sql = {0};
    table_source source = {
        .input = file, .reads = file, .part = &part, .arena = run->arena, .files = files, .file_count = 1};
    table_want *wants = myr_arena_calloc(run->arena, run->map->want_count + 2, sizeof *wants);
    bool *needs = NULL;
    if (wants == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to read %s", file);
    MYR_TRY(myr_table_plan_read(run->map->plan, &source, wants, run->map->want_count, err));
    MYR_TRY(group_needs(&source, run->map, wants, &needs, err));
    source.numbers_rows = source.kind == TABLE_PARQUET && myr_table_has_row_numbers(run->engine, file);
    myr_buf_puts(&sql, is_sorted ? "COPY (SELECT * FROM (" : "COPY (");
    group_select_sql(&source, needs, name, &sql);
    if (is_sorted) {
        myr_buf_putc(&sql, ')');
        group_order_sql(&source, run, wants, &sql);
    }
    myr_buf_puts(&sql, ") TO ");
    myr_table_sql_literal(&sql, path);
    myr_buf_printf(&sql, " (FORMAT parquet, ROW_GROUP_SIZE %lld)", (long long)run->group_rows);
    MYR_TRY(myr_buf_check(&sql, err));
    MYR_AUTO(table_result) result = {0};
    myr_err found = {0};
    myr_rc rc = myr_table_query(run->engine, sql.data, file, &result, &found);
    if (rc == MYR_BAD_INPUT && source.kind == TABLE_CSV)
        MYR_TRY(myr_table_source_check_lines(run->engine, &source, err));
    return rc == MYR_OK ? MYR_OK : myr_table_source_explain(run->engine, &source, rc, &found, err);
}

/* All of them, sorted: they are in `dir`, one file for each. */
static myr_rc group_sort(const group_run *run, const char *dir, const char *file, myr_err *err)
{
    const char *files[] = {file};
    const myr_table_part part = {.file = file, .end = -1};
    char glob[MYR_PATH_BYTES_MAX];
    MYR_AUTO(myr_buf) sql = {0};
    table_source source = {
        .input = file, .reads = file, .part = &part, .arena = run->arena, .files = files, .file_count = 1};
    table_want *wants = myr_arena_calloc(run->arena, run->map->want_count + 2, sizeof *wants);
    if (wants == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to sort %s", file);
    MYR_TRY(myr_table_plan_read(run->map->plan, &source, wants, run->map->want_count, err));
    MYR_TRY(myr_path_join(glob, sizeof glob, dir, "*.parquet", err));
    myr_buf_puts(&sql, "COPY (SELECT * FROM read_parquet(");
    myr_table_sql_literal(&sql, glob);
    myr_buf_puts(&sql, ", hive_partitioning = false)");
    group_order_sql(&source, run, wants, &sql);
    myr_buf_puts(&sql, ") TO ");
    myr_table_sql_literal(&sql, run->path);
    myr_buf_printf(&sql, " (FORMAT parquet, ROW_GROUP_SIZE %lld)", (long long)run->group_rows);
    MYR_TRY(myr_buf_check(&sql, err));
    return myr_table_exec(run->engine, sql.data, run->path, err);
}

static myr_rc group_files(group_run *run, const char *const *files, const char *const *names, size_t file_count,
                          myr_err *err)
{
    char dir[MYR_PATH_BYTES_MAX];
    int size = snprintf(dir, sizeof dir, "%s.parts", run->path);
    if (size < 0 || (size_t)size + 32 >= sizeof dir) MYR_FAIL(err, BAD_INPUT, "%s: the path is too long", run->path);
    MYR_TRY(myr_io_remove_tree(dir, err)); /* of somebody who died */
    MYR_TRY(myr_io_remove_tree(run->path, err));
    if (file_count == 1) return group_file(run, files[0], names[0], run->path, true, err);
    MYR_TRY(myr_io_mkdirs(dir, err));
    for (size_t i = 0; i < file_count; i++) {
        char path[MYR_PATH_BYTES_MAX];
        (void)snprintf(path, sizeof path, "%.*s/%zu.parquet", size, dir, i);
        MYR_TRY(group_file(run, files[i], names[i], path, false, err));
        myr_arena_reset(run->arena);
    }
    MYR_TRY(group_sort(run, dir, files[0], err));
    return myr_io_remove_tree(dir, err);
}

/* Thread: the engine's owner. */
myr_rc myr_table_group_write(myr_table_engine *engine, const myr_table_map *map, const char *const *files,
                             const char *const *names, size_t file_count, int64_t rows_at_once, const char *path,
                             myr_err *err)
{
    MYR_ASSERT(map->plan != NULL && map->group_by != NULL && map->group_by[0] != NULL && file_count > 0);
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to sort %s", files[0]);
    group_run run = {.engine = engine, .map = map, .path = path, .group_rows = rows_at_once, .arena = arena};
    if (run.group_rows > MYR_TABLE_GROUP_ROWS_MAX) run.group_rows = MYR_TABLE_GROUP_ROWS_MAX;
    if (run.group_rows < MYR_TABLE_GROUP_ROWS_MIN) run.group_rows = MYR_TABLE_GROUP_ROWS_MIN;
    return group_files(&run, files, names, file_count, err);
}

/* ---- cut ---- */

/* The first row of each part: in every stretch of so many rows, the first that begins a key. */
static myr_rc group_cut_sql(const table_source *source, const myr_table_map *map, const table_want *wants, int64_t rows,
                            myr_buf *sql, myr_err *err)
{
    myr_buf_puts(sql, "SELECT min(n) FROM (SELECT n, n = 0");
    for (int i = 0; map->group_by[i] != NULL; i++)
        myr_buf_printf(sql, " OR k%d IS DISTINCT FROM lag(k%d) OVER ()", i, i);
    myr_buf_puts(sql, " AS is_first FROM (SELECT file_row_number AS n");
    for (int i = 0; map->group_by[i] != NULL; i++) {
        myr_buf_puts(sql, ", ");
        group_key_sql(source, map, wants, map->group_by[i], sql);
        myr_buf_printf(sql, " AS k%d", i);
    }
    myr_buf_puts(sql, " FROM read_parquet(");
    myr_table_sql_literal(sql, source->part->file);
    myr_buf_printf(sql, "))) WHERE is_first GROUP BY n // %lld ORDER BY 1 LIMIT %d", (long long)rows,
                   MYR_TABLE_PARTS_MAX + 1);
    return myr_buf_check(sql, err);
}

static myr_rc group_cut_read(duckdb_result *result, const char *path, int64_t total, myr_arena *arena,
                             myr_table_part **out, size_t *out_count, myr_err *err)
{
    size_t count = 0, room = (size_t)duckdb_row_count(result);
    if (room > MYR_TABLE_PARTS_MAX) {
        MYR_FAIL(err, TOO_LARGE, "more than %d mini-batches: make them larger with mini_batch_size",
                 MYR_TABLE_PARTS_MAX);
    }
    myr_table_part *parts = myr_arena_calloc(arena, room + 1, sizeof *parts);
    if (parts == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %zu mini-batches", room);
    for (;;) {
        MYR_AUTO(table_chunk) chunk = duckdb_fetch_chunk(*result);
        idx_t rows = chunk != NULL ? duckdb_data_chunk_get_size(chunk) : 0;
        if (rows == 0) break;
        const int64_t *firsts = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
        for (idx_t i = 0; i < rows; i++)
            parts[count++] = (myr_table_part){.file = path, .begin = firsts[i]};
    }
    if (count == 0) parts[count++] = (myr_table_part){.file = path}; /* no rows: one part */
    for (size_t i = 0; i < count; i++) {
        parts[i].end = i + 1 < count ? parts[i + 1].begin : total;
        parts[i].row_count = parts[i].end - parts[i].begin;
    }
    *out = parts;
    *out_count = count;
    return MYR_OK;
}

/* Thread: the engine's owner. */
myr_rc myr_table_group_cut(myr_table_engine *engine, const myr_table_map *map, const char *path, int64_t rows,
                           myr_arena *arena, myr_table_part **out, size_t *out_count, myr_err *err)
{
    MYR_ASSERT(map->plan != NULL && map->group_by != NULL && rows > 0);
    const char *files[] = {path};
    const myr_table_part part = {.file = path, .end = -1};
    MYR_AUTO(myr_buf) sql = {0};
    MYR_AUTO(table_result) result = {0};
    table_source source = {
        .input = path, .reads = path, .part = &part, .arena = arena, .files = files, .file_count = 1};
    table_want *wants = myr_arena_calloc(arena, map->want_count + 2, sizeof *wants);
    int64_t total = 0;
    if (wants == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to cut %s", path);
    MYR_TRY(myr_table_plan_read(map->plan, &source, wants, map->want_count, err));
    MYR_TRY(group_cut_sql(&source, map, wants, rows, &sql, err));
    MYR_TRY(myr_table_count_rows(engine, path, &total, err));
    MYR_TRY(myr_table_query(engine, sql.data, path, &result, err));
    return group_cut_read(&result, path, total, arena, out, out_count, err);
}
