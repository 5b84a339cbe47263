/*
 * A table in memory. DuckDB's result is fetched chunk by chunk until the number of rows is known, then copied into
 * columns of exactly that size; each chunk is released as soon as it is copied.
 */
#include <math.h>
#include <string.h>

#include "table/internal.h"

typedef struct load_chunks {
    duckdb_data_chunk *items;
    size_t count;
    size_t room;
    int64_t row_count;
} load_chunks;

static void load_chunks_drop(load_chunks *chunks)
{
    for (size_t i = 0; i < chunks->count; i++)
        table_chunk_drop(&chunks->items[i]);
    myr_free(chunks->items);
}

static myr_rc load_fetch(duckdb_result result, load_chunks *chunks, const char *input, myr_err *err)
{
    for (;;) {
        if (chunks->count == chunks->room) {
            size_t room = chunks->room > 0 ? chunks->room * 2 : 64;
            duckdb_data_chunk *items = myr_realloc_array(chunks->items, room, sizeof *items);
            if (items == NULL)
                MYR_FAIL(err, NO_MEMORY, "no memory for %s after %lld rows", input, (long long)chunks->row_count);
            chunks->items = items;
            chunks->room = room;
        }
        duckdb_data_chunk chunk = duckdb_fetch_chunk(result);
        if (chunk == NULL) return MYR_OK;
        chunks->items[chunks->count++] = chunk;
        chunks->row_count += (int64_t)duckdb_data_chunk_get_size(chunk);
    }
}

/* ---- one column ---- */

typedef struct load_column {
    myr_col_type type;
    void *values;   /* of the whole column */
    uint8_t *valid; /* NULL for DOUBLE */
    bool has_null;
} load_column;

static myr_rc load_text(myr_arena *arena, duckdb_string_t *cell, const myr_str *before, myr_str *out, myr_err *err)
{
    myr_str text = myr_table_text(cell);
    if (before != NULL && before->data != NULL && myr_str_equal(*before, text)) {
        *out = *before; /* keys stand in runs */
        return MYR_OK;
    }
    const char *copy = myr_arena_strndup(arena, text.data, text.size);
    if (copy == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a text of %zu bytes", text.size);
    *out = myr_str_make(copy, text.size);
    return MYR_OK;
}

static void load_doubles(double *out, const double *cells, const uint64_t *validity, int64_t rows)
{
    memcpy(out, cells, (size_t)rows * sizeof *out);
    for (int64_t i = 0; validity != NULL && i < rows; i++) {
        if (!myr_table_is_valid(validity, i)) out[i] = NAN;
    }
}

static myr_rc load_keys(myr_arena *arena, load_column *column, duckdb_vector vector, int64_t first, int64_t rows,
                        myr_err *err)
{
    const uint64_t *validity = duckdb_vector_get_validity(vector);
    void *cells = duckdb_vector_get_data(vector);
    for (int64_t i = 0; i < rows; i++) {
        column->valid[first + i] = myr_table_is_valid(validity, i);
        if (column->valid[first + i] == 0) {
            column->has_null = true;
            continue;
        }
        if (column->type == MYR_COL_INT64) {
            ((int64_t *)column->values)[first + i] = ((const int64_t *)cells)[i];
            continue;
        }
        myr_str *texts = column->values;
        MYR_TRY(load_text(arena, &((duckdb_string_t *)cells)[i], first + i > 0 ? &texts[first + i - 1] : NULL,
                          &texts[first + i], err));
    }
    return MYR_OK;
}

static myr_rc load_column_new(myr_arena *arena, myr_col_type type, int64_t row_count, load_column *out, myr_err *err)
{
    size_t item_bytes = type == MYR_COL_TEXT ? sizeof(myr_str) : sizeof(double);
    size_t rows = row_count > 0 ? (size_t)row_count : 1;
    load_column column = {.type = type, .values = myr_arena_calloc(arena, rows, item_bytes)};
    if (type != MYR_COL_DOUBLE) column.valid = myr_arena_alloc(arena, rows);
    if (column.values == NULL || (type != MYR_COL_DOUBLE && column.valid == NULL)) {
        MYR_FAIL(err, NO_MEMORY, "no memory for a column of %lld rows", (long long)row_count);
    }
    *out = column;
    return MYR_OK;
}

/* ---- the table ---- */

static myr_rc load_copy(load_chunks *chunks, load_column *columns, uint32_t count, myr_arena *arena, myr_err *err)
{
    int64_t first = 0;
    for (size_t c = 0; c < chunks->count; c++) {
        duckdb_data_chunk chunk = chunks->items[c];
        int64_t rows = (int64_t)duckdb_data_chunk_get_size(chunk);
        MYR_ASSERT(duckdb_data_chunk_get_column_count(chunk) == count);
        for (uint32_t i = 0; i < count; i++) {
            duckdb_vector vector = duckdb_data_chunk_get_vector(chunk, i);
            if (columns[i].type == MYR_COL_DOUBLE) {
                load_doubles((double *)columns[i].values + first, duckdb_vector_get_data(vector),
                             duckdb_vector_get_validity(vector), rows);
            } else {
                MYR_TRY(load_keys(arena, &columns[i], vector, first, rows, err));
            }
        }
        first += rows;
        table_chunk_drop(&chunks->items[c]);
        chunks->items[c] = NULL;
    }
    MYR_ASSERT(first == chunks->row_count);
    return MYR_OK;
}

static myr_rc load_fill(myr_table_data *data, load_chunks *chunks, const myr_table_want *wants, const table_want *plan,
                        uint32_t count, myr_err *err)
{
    load_column *columns = myr_arena_calloc(data->arena, count + 1, sizeof *columns);
    data->cols = myr_arena_calloc(data->arena, count + 1, sizeof *data->cols);
    if (columns == NULL || data->cols == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %u columns", count);
    for (uint32_t i = 0; i < count; i++) {
        MYR_TRY(load_column_new(data->arena, plan[i].type, chunks->row_count, &columns[i], err));
    }
    MYR_TRY(load_copy(chunks, columns, count, data->arena, err));
    for (uint32_t i = 0; i < count; i++) {
        myr_col *col = &data->cols[i];
        col->name = myr_arena_strndup(data->arena, wants[i].name, strlen(wants[i].name));
        if (col->name == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %u columns", count);
        col->type = plan[i].type;
        col->valid = columns[i].has_null ? columns[i].valid : NULL;
        col->data.f64 = columns[i].values;
        if (col->type == MYR_COL_INT64) col->data.i64 = columns[i].values;
        if (col->type == MYR_COL_TEXT) col->data.text = columns[i].values;
    }
    data->row_count = chunks->row_count;
    data->col_count = count;
    return MYR_OK;
}

/* SELECT … FROM … ORDER BY: ties keep the file's order, so that the same file always gives the same table. */
static myr_rc load_sql(table_source *source, const table_want *plan, uint32_t count, const char *const *order_by,
                       myr_buf *sql, myr_err *err)
{
    uint32_t unused = 0;
    for (uint32_t i = 0; order_by != NULL && order_by[i] != NULL; i++)
        MYR_TRY(myr_table_source_find(source, order_by[i], &unused, err));
    myr_buf_puts(sql, "SELECT ");
    for (uint32_t i = 0; i < count; i++) {
        if (i > 0) myr_buf_puts(sql, ", ");
        myr_table_want_sql(source, &plan[i], sql);
    }
    bool is_ordered = order_by != NULL && order_by[0] != NULL;
    myr_buf_puts(sql, is_ordered ? " FROM (SELECT *, row_number() OVER () AS \"" TABLE_ROW_NAME "\" FROM " : " FROM ");
    myr_table_source_sql(source, sql);
    if (!is_ordered) return myr_buf_check(sql, err);
    myr_buf_puts(sql, ") ORDER BY ");
    for (uint32_t i = 0; order_by[i] != NULL; i++) {
        myr_table_sql_name(sql, order_by[i]);
        myr_buf_puts(sql, ", ");
    }
    myr_buf_puts(sql, "\"" TABLE_ROW_NAME "\"");
    return myr_buf_check(sql, err);
}

static myr_rc load_run(myr_table_engine *engine, const char *input, const myr_table_want *wants, uint32_t want_count,
                       const char *const *order_by, myr_table_data *data, myr_err *err)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    table_want *plan = arena != NULL ? myr_arena_calloc(arena, want_count + 1, sizeof *plan) : NULL;
    if (plan == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to read %s", input);
    table_source source;
    MYR_TRY(myr_table_source_open(engine, input, arena, &source, err));
    MYR_TRY(myr_table_wants_plan(engine, &source, wants, want_count, plan, err));
    MYR_AUTO(myr_buf) sql = {0};
    MYR_TRY(load_sql(&source, plan, want_count, order_by, &sql, err));
    MYR_AUTO(table_result) result = {0};
    MYR_TRY(myr_table_source_query(engine, &source, sql.data, &result, err));
    MYR_AUTO(load_chunks) chunks = {0};
    MYR_TRY(load_fetch(result, &chunks, input, err));
    return load_fill(data, &chunks, wants, plan, want_count, err);
}

/* Ownership: *out is the caller's (myr_table_data_free). Thread: the engine's owner. */
myr_rc myr_table_load(myr_table_engine *engine, const char *input, const myr_table_want *wants, uint32_t want_count,
                      const char *const *order_by, myr_table_data **out, myr_err *err)
{
    MYR_ASSERT(want_count > 0);
    myr_table_data *data = myr_calloc(1, sizeof *data);
    if (data == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a table");
    data->arena = myr_arena_new(0);
    myr_rc rc = data->arena == NULL ? MYR_ERROR(err, NO_MEMORY, "no memory for a table")
                                    : load_run(engine, input, wants, want_count, order_by, data, err);
    if (rc != MYR_OK) {
        myr_table_data_free(data);
        return rc;
    }
    *out = data;
    return MYR_OK;
}

static myr_rc peek_run(myr_table_engine *engine, const myr_table_map *map, uint32_t want_count, int64_t limit,
                       myr_table_data *data, myr_err *err)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    MYR_AUTO(table_range) range = {.fd = -1};
    MYR_AUTO(myr_buf) sql = {0};
    MYR_AUTO(table_result) result = {0};
    MYR_AUTO(load_chunks) chunks = {0};
    uint32_t count = want_count + (map->group_by != NULL ? 2 : 0);
    table_want *plan = arena != NULL ? myr_arena_calloc(arena, map->want_count + 2, sizeof *plan) : NULL;
    myr_table_want *wants = arena != NULL ? myr_arena_calloc(arena, count + 1, sizeof *wants) : NULL;
    if (plan == NULL || wants == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to read %s", map->part->file);
    table_source source;
    MYR_TRY(myr_table_map_open(engine, map, arena, &source, plan, err));
    for (uint32_t i = 0; i < want_count; i++)
        wants[i] = map->wants[i];
    for (uint32_t i = want_count; i < count; i++) {
        wants[i].name = i == want_count ? MYR_TABLE_GROUP_FILE : MYR_TABLE_GROUP_ROW;
        plan[i] = plan[map->want_count + i - want_count];
    }
    MYR_TRY(myr_table_range_open(engine, map->part, source.kind, &range, err));
    if (range.fd >= 0) source.reads = range.path;
    MYR_TRY(load_sql(&source, plan, count, NULL, &sql, err));
    myr_buf_printf(&sql, " LIMIT %lld", (long long)limit);
    MYR_TRY(myr_buf_check(&sql, err));
    engine->range = range.fd >= 0 ? &range : NULL;
    myr_rc rc = myr_table_query(engine, sql.data, map->part->file, &result, err);
    engine->range = NULL;
    MYR_TRY(rc);
    MYR_TRY(load_fetch(result, &chunks, map->part->file, err));
    return load_fill(data, &chunks, wants, plan, count, err);
}

/* Thread: the engine's owner. */
myr_rc myr_table_map_peek(myr_table_engine *engine, const myr_table_map *map, uint32_t want_count, int64_t limit,
                          myr_table_data **out, myr_err *err)
{
    MYR_ASSERT(map->part != NULL && want_count <= map->want_count);
    myr_table_data *data = myr_calloc(1, sizeof *data);
    if (data == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a row");
    data->arena = myr_arena_new(0);
    myr_rc rc = data->arena == NULL ? MYR_ERROR(err, NO_MEMORY, "no memory for a row")
                                    : peek_run(engine, map, want_count, limit, data, err);
    if (rc != MYR_OK) {
        myr_table_data_free(data);
        return rc;
    }
    *out = data;
    return MYR_OK;
}

void myr_table_data_free(myr_table_data *data)
{
    if (data == NULL) return;
    myr_arena_free(data->arena);
    myr_free(data);
}
