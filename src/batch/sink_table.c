/* What is staged, as the rows of a table: columns with the types that databases have for DuckDB's, cells as texts. */
#include "batch/sink_table.h"

#include <stdio.h>
#include <string.h>

#include "db/db.h"

#define SINK_TRIES_MAX 10 /* with pauses of 50 ms, 100 ms … 8 s between them: half a minute */
#define SINK_PAUSE_MS  50
#define SINK_PAUSE_MAX 8000

myr_rc myr_batch_sink_table_open(batch_sink *sink, myr_err *err)
{
    MYR_AUTO(myr_buf) name = {0};
    if (sink->table == NULL) {
        myr_db_uri_show(sink->place, &name);
        MYR_FAIL(err, BAD_USAGE, "output: %s is a database: name the table in it (table: …)",
                 name.data != NULL ? name.data : "");
    }
    if (sink->b->opts.format != MYR_TABLE_PARQUET)
        MYR_FAIL(err, BAD_INPUT, "a table has no format: leave `format` out");
    if (sink->b->opts.store_count == 0 && sink->b->opts.by != NULL && sink->b->opts.by[0] != NULL)
        MYR_FAIL(err, BAD_INPUT, "`by` makes directories, and the output is a table, which has columns: leave it out");
    if (sink->b->opts.action == MYR_BATCH_SUMMARY)
        MYR_FAIL(err, BAD_INPUT, "output_action: summary_only writes no rows: its output is a directory, not a table");
    myr_buf_printf(&name, "table %s of ", sink->table);
    myr_db_uri_show(sink->place, &name);
    MYR_TRY(myr_buf_check(&name, err));
    if (name.size >= sizeof sink->name) MYR_FAIL(err, BAD_INPUT, "%.100s…: the name is too long", name.data);
    memcpy(sink->name, name.data, name.size + 1);
    return myr_batch_sink_stage(sink, err);
}

/* ---- columns ---- */

static const struct {
    const char *duckdb, *postgres, *sqlite;
    sink_cell cell;
} sink_types[] = {{"TINYINT", "smallint", "INTEGER", SINK_INT},
                  {"SMALLINT", "smallint", "INTEGER", SINK_INT},
                  {"INTEGER", "integer", "INTEGER", SINK_INT},
                  {"BIGINT", "bigint", "INTEGER", SINK_INT},
                  {"UTINYINT", "smallint", "INTEGER", SINK_INT},
                  {"USMALLINT", "integer", "INTEGER", SINK_INT},
                  {"UINTEGER", "bigint", "INTEGER", SINK_INT},
                  {"UBIGINT", "numeric(20)", "TEXT", SINK_TEXT},
                  {"HUGEINT", "numeric(39)", "TEXT", SINK_TEXT},
                  {"UHUGEINT", "numeric(39)", "TEXT", SINK_TEXT},
                  {"BOOLEAN", "boolean", "INTEGER", SINK_INT},
                  {"FLOAT", "real", "REAL", SINK_REAL},
                  {"DOUBLE", "double precision", "REAL", SINK_REAL},
                  {"VARCHAR", "text", "TEXT", SINK_TEXT},
                  {"DATE", "date", "TEXT", SINK_TEXT},
                  {"TIME", "time", "TEXT", SINK_TEXT},
                  {"TIMESTAMP", "timestamp", "TEXT", SINK_TEXT},
                  {"TIMESTAMP WITH TIME ZONE", "timestamptz", "TEXT", SINK_TEXT},
                  {"UUID", "uuid", "TEXT", SINK_TEXT}};

static myr_rc sink_column_of(const batch_sink *sink, const myr_table_column *from, bool is_sqlite, sink_column *out,
                             myr_err *err)
{
    *out = (sink_column){
        .name = from->name, .sql_type = from->sql_type, .type = is_sqlite ? "TEXT" : "text", .cell = SINK_TEXT};
    if (strcmp(from->sql_type, "BLOB") == 0)
        MYR_FAIL(err, UNSUPPORTED, "column '%s' holds bytes (BLOB), which %s can't take: leave it out with `keep`",
                 from->name, sink->name);
    for (size_t i = 0; i < MYR_COUNT_OF(sink_types); i++) {
        if (strcmp(from->sql_type, sink_types[i].duckdb) != 0) continue;
        out->type = is_sqlite ? sink_types[i].sqlite : sink_types[i].postgres;
        out->cell = sink_types[i].cell;
        return MYR_OK;
    }
    if (strncmp(from->sql_type, "DECIMAL(", 8) != 0) return MYR_OK; /* what is nested is JSON, and a text */
    out->cell = SINK_REAL;
    out->type = is_sqlite ? "REAL" : myr_arena_printf(sink->b->arena, "numeric%s", from->sql_type + 7);
    if (out->type == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the columns of %s", sink->name);
    return MYR_OK;
}

myr_rc myr_batch_sink_table_columns(batch_sink *sink, bool is_sqlite, sink_columns *out, myr_err *err)
{
    myr_arena *arena = sink->b->arena;
    myr_table_column *found = NULL;
    sink_columns columns = {0};
    myr_rc rc = myr_table_files(sink->b->engine, sink->stage.data, arena, &columns.files, &columns.file_count, NULL);
    if (rc == MYR_NOT_FOUND) { /* a run without rows may have written none */
        *out = columns;
        return MYR_OK;
    }
    MYR_TRY(myr_table_files(sink->b->engine, sink->stage.data, arena, &columns.files, &columns.file_count, err));
    MYR_TRY(myr_table_describe_files(sink->b->engine, columns.files[0], columns.files, 1, arena, &found, &columns.count,
                                     err));
    sink_column *items = myr_arena_calloc(arena, columns.count + 1, sizeof *items);
    if (items == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the columns of %s", sink->name);
    for (size_t i = 0; i < columns.count; i++)
        MYR_TRY(sink_column_of(sink, &found[i], is_sqlite, &items[i], err));
    columns.items = items;
    *out = columns;
    return MYR_OK;
}

void myr_batch_sink_table_list(const sink_columns *columns, bool with_types, myr_buf *out)
{
    for (size_t i = 0; i < columns->count; i++) {
        if (i > 0) myr_buf_puts(out, ", ");
        myr_pg_put_name(out, columns->items[i].name);
        if (with_types) myr_buf_printf(out, " %s", columns->items[i].type);
    }
}

/* ---- rows ---- */

typedef struct sink_feed {
    sink_row_fn fn;
    void *ctx;
    int64_t rows;
} sink_feed;

static myr_rc sink_feed_columns(void *ctx, const char *const *names, const bool *are_numbers, size_t count,
                                myr_err *err)
{
    (void)ctx, (void)names, (void)are_numbers, (void)count, (void)err;
    return MYR_OK;
}

static myr_rc sink_feed_row(void *ctx, const myr_str *cells, myr_err *err)
{
    sink_feed *feed = ctx;
    feed->rows++;
    return feed->fn(feed->ctx, cells, err);
}

/* A cell as the database reads it: truth is 0 and 1 to SQLite, a float there is the double that it is. */
static void sink_cell_sql(const sink_column *column, bool is_sqlite, myr_buf *sql)
{
    bool is_nested = strchr(column->sql_type, '(') != NULL && strncmp(column->sql_type, "DECIMAL(", 8) != 0;
    const char *before = "", *after = "";
    if (is_nested || strchr(column->sql_type, '[') != NULL || strcmp(column->sql_type, "JSON") == 0) {
        before = "to_json(";
        after = ")";
    } else if (is_sqlite && column->cell == SINK_INT) {
        before = "CAST(";
        after = " AS BIGINT)";
    } else if (is_sqlite && column->cell == SINK_REAL) {
        before = "CAST(";
        after = " AS DOUBLE)";
    }
    myr_buf_puts(sql, before);
    myr_pg_put_name(sql, column->name);
    myr_buf_printf(sql, "%s AS ", after);
    myr_pg_put_name(sql, column->name);
}

myr_rc myr_batch_sink_table_rows(batch_sink *sink, bool is_sqlite, const sink_columns *columns, sink_row_fn fn,
                                 void *ctx, int64_t *out_rows, myr_err *err)
{
    sink_feed feed = {.fn = fn, .ctx = ctx};
    for (size_t f = 0; f < columns->file_count; f++) {
        MYR_AUTO(myr_buf) sql = {0};
        for (size_t i = 0; i < columns->count; i++) {
            myr_buf_puts(&sql, i > 0 ? ", " : "SELECT ");
            sink_cell_sql(&columns->items[i], is_sqlite, &sql);
        }
        myr_buf_puts(&sql, " FROM read_parquet(");
        myr_pg_put_literal(&sql, columns->files[f]);
        myr_buf_puts(&sql, ", hive_partitioning = false)");
        MYR_TRY(myr_buf_check(&sql, err));
        myr_table_rows rows = {.columns = sink_feed_columns, .row = sink_feed_row, .ctx = &feed};
        MYR_TRY(myr_table_query_rows(sink->b->engine, NULL, sql.data, &rows, err));
    }
    *out_rows = feed.rows;
    return MYR_OK;
}

/* ---- patience ---- */

bool myr_batch_sink_table_again(myr_rc rc, int *tries)
{
    bool may_pass = rc == MYR_UNAVAILABLE || rc == MYR_TIMEOUT || rc == MYR_BUSY || rc == MYR_CONFLICT;
    if (!may_pass || ++*tries >= SINK_TRIES_MAX) return false;
    int64_t pause_ms = (int64_t)SINK_PAUSE_MS << *tries;
    myr_clock_sleep_ms(pause_ms < SINK_PAUSE_MAX ? pause_ms : SINK_PAUSE_MAX);
    return true;
}
