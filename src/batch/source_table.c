/*
 * A table of PostgreSQL or SQLite as the input: its rows as they are in one moment (a transaction that sees one
 * snapshot), written as text as they come, then made one Parquet file of the run's own.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "batch/sink_table.h"
#include "batch/source.h"
#include "db/db.h"

#define TABLE_WRITE_BYTES (1 << 20)

typedef struct table_text {
    char path[MYR_PATH_BYTES_MAX];
    myr_fd fd;
    myr_buf bytes; /* not yet written */
    myr_arena *arena;
    myr_table_text_column *columns;
    size_t column_count;
} table_text;
static void table_text_drop(table_text *text)
{
    myr_fd_drop(&text->fd);
    myr_buf_fini(&text->bytes);
}

static myr_rc table_flush(table_text *text, myr_err *err)
{
    MYR_TRY(myr_buf_check(&text->bytes, err));
    MYR_TRY(myr_io_write(text->fd, text->path, text->bytes.data, text->bytes.size, err));
    myr_buf_clear(&text->bytes);
    return MYR_OK;
}

static myr_rc table_column(table_text *text, myr_str name, const char *type, myr_err *err)
{
    myr_table_text_column *columns = myr_arena_realloc(text->arena, text->columns, text->column_count * sizeof *columns,
                                                       (text->column_count + 1) * sizeof *columns);
    const char *copy = myr_arena_strndup(text->arena, name.data, name.size);
    const char *type_copy = myr_arena_strndup(text->arena, type, strlen(type));
    if (columns == NULL || copy == NULL || type_copy == NULL)
        MYR_FAIL(err, NO_MEMORY, "no memory for the columns of a table");
    columns[text->column_count++] = (myr_table_text_column){.name = copy, .sql_type = type_copy};
    text->columns = columns;
    return MYR_OK;
}

/* ---- PostgreSQL ---- */

/* What a column is to DuckDB; what is not here is a text, as PostgreSQL writes it. */
static const char *table_pg_type(myr_str type, char out[32])
{
    static const char *const known[][2] = {{"smallint", "SMALLINT"},
                                           {"integer", "INTEGER"},
                                           {"bigint", "BIGINT"},
                                           {"real", "FLOAT"},
                                           {"double precision", "DOUBLE"},
                                           {"numeric", "DOUBLE"},
                                           {"boolean", "BOOLEAN"},
                                           {"date", "DATE"},
                                           {"timestamp without time zone", "TIMESTAMP"}};
    int precision = 0, scale = 0;
    char text[64];
    for (size_t i = 0; i < MYR_COUNT_OF(known); i++) {
        if (myr_str_is(type, known[i][0])) return known[i][1];
    }
    (void)snprintf(text, sizeof text, MYR_STR_FMT, MYR_STR_ARG(type));
    if (sscanf(text, "numeric(%d,%d)", &precision, &scale) == 2) {
        if (precision < 1 || precision > 38 || scale < 0 || scale > precision) return "DOUBLE";
        (void)snprintf(out, 32, "DECIMAL(%d,%d)", precision, scale);
        return out;
    }
    return "VARCHAR";
}

/* `sales.daily` is a table of a schema. */
void myr_batch_table_name(const char *table, myr_buf *out)
{
    myr_str rest = myr_str_of(table), part;
    for (bool is_first = true; myr_str_split(&rest, '.', &part); is_first = false) {
        char name[256];
        (void)snprintf(name, sizeof name, MYR_STR_FMT, MYR_STR_ARG(part));
        if (!is_first) myr_buf_putc(out, '.');
        myr_pg_put_name(out, name);
    }
}

static myr_rc table_pg_columns(myr_pg *pg, const char *name, table_text *text, myr_err *err)
{
    MYR_AUTO(myr_buf) sql = {0};
    myr_pg_rows *rows = NULL;
    myr_buf_puts(&sql, "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = ");
    myr_pg_put_literal(&sql, name);
    myr_buf_puts(&sql, "::regclass AND attnum > 0 AND NOT attisdropped ORDER BY attnum");
    MYR_TRY(myr_buf_check(&sql, err));
    MYR_TRY(myr_pg_exec(pg, sql.data, &rows, err));
    myr_rc rc = MYR_OK;
    for (int i = 0; rc == MYR_OK && i < myr_pg_row_count(rows); i++) {
        char decimal[32];
        rc = table_column(text, myr_pg_text(rows, i, 0), table_pg_type(myr_pg_text(rows, i, 1), decimal), err);
    }
    myr_pg_rows_free(rows);
    return rc;
}

static myr_rc table_pg_row(void *ctx, const char *data, size_t size_bytes, myr_err *err)
{
    table_text *text = ctx;
    myr_buf_append(&text->bytes, data, size_bytes);
    return text->bytes.size >= TABLE_WRITE_BYTES ? table_flush(text, err) : MYR_OK;
}

static myr_rc table_pg_copy(myr_pg *pg, const batch *b, table_text *text, int64_t *out_rows, myr_err *err)
{
    MYR_AUTO(myr_buf) name = {0};
    MYR_AUTO(myr_buf) sql = {0};
    /* the same order each time it is read */
    MYR_TRY(myr_pg_exec(pg, "SET synchronize_seqscans = off", NULL, err));
    MYR_TRY(myr_pg_exec(pg, "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", NULL, err));
    myr_batch_table_name(b->opts.input.table, &name);
    MYR_TRY(myr_buf_check(&name, err));
    MYR_TRY(table_pg_columns(pg, name.data, text, err));
    myr_buf_printf(&sql, "COPY (SELECT * FROM %s", name.data);
    if (b->opts.input.filter != NULL) myr_buf_printf(&sql, " WHERE (%s\n)", b->opts.input.filter);
    myr_buf_puts(&sql, ") TO STDOUT (FORMAT csv, HEADER, NULL '\\N', FORCE_QUOTE *)");
    MYR_TRY(myr_buf_check(&sql, err));
    MYR_TRY(myr_pg_copy_out(pg, sql.data, table_pg_row, text, out_rows, err));
    return myr_pg_exec(pg, "COMMIT", NULL, err);
}

static myr_rc table_pg(const batch *b, table_text *text, bool *has_begun, int64_t *out_rows, myr_err *err)
{
    myr_pg *pg = NULL;
    MYR_TRY(myr_pg_new_bulk(b->opts.input.database, NULL, &pg, err));
    myr_rc rc = myr_pg_connect(pg, err);
    *has_begun = *has_begun || rc == MYR_OK;
    if (rc == MYR_OK) rc = table_pg_copy(pg, b, text, out_rows, err);
    myr_pg_free(pg);
    if (rc == MYR_OK) *out_rows -= 1; /* the header */
    return rc;
}

/* ---- SQLite ---- */

/* By what its cells are: SQLite's types are a wish. */
static myr_rc table_sqlite_type(myr_stmt *counts, int column, const char *table, const char *name, const char **out,
                                myr_err *err)
{
    int64_t reals = myr_stmt_int64(counts, 3 * column), texts = myr_stmt_int64(counts, 3 * column + 1);
    int64_t blobs = myr_stmt_int64(counts, 3 * column + 2);
    if (blobs > 0)
        MYR_FAIL(err, UNSUPPORTED, "column '%s' of table %s holds %lld blobs: use a view without it", name, table,
                 (long long)blobs);
    *out = texts > 0 ? "VARCHAR" : reals > 0 ? "DOUBLE" : "BIGINT";
    return MYR_OK;
}

static void table_sqlite_where(const batch *b, myr_buf *sql)
{
    myr_buf_puts(sql, " FROM ");
    myr_batch_table_name(b->opts.input.table, sql);
    if (b->opts.input.filter != NULL) myr_buf_printf(sql, " WHERE (%s\n)", b->opts.input.filter);
}

static myr_rc table_sqlite_names(myr_db *db, const batch *b, table_text *text, myr_err *err)
{
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    bool has_row = false;
    const char *dot = strrchr(b->opts.input.table, '.');
    MYR_TRY(myr_db_prepare(db, "SELECT name FROM pragma_table_info(?1)", &stmt, err));
    myr_stmt_bind_text(stmt, 1, myr_str_of(dot != NULL ? dot + 1 : b->opts.input.table));
    for (;;) {
        MYR_TRY(myr_stmt_step(stmt, &has_row, err));
        if (!has_row) break;
        MYR_TRY(table_column(text, myr_stmt_text(stmt, 0), "", err));
    }
    if (text->column_count == 0)
        MYR_FAIL(err, NOT_FOUND, "%s has no table %s", myr_db_uri_path(b->opts.input.database), b->opts.input.table);
    return MYR_OK;
}

static myr_rc table_sqlite_columns(myr_db *db, const batch *b, table_text *text, myr_err *err)
{
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    MYR_AUTO(myr_buf) sql = {0};
    bool has_row = false;
    MYR_TRY(table_sqlite_names(db, b, text, err));
    for (size_t i = 0; i < text->column_count; i++) {
        static const char *const types[] = {"real", "text", "blob"};
        for (size_t k = 0; k < MYR_COUNT_OF(types); k++) {
            myr_buf_puts(&sql, i + k == 0 ? "SELECT " : ", ");
            myr_buf_puts(&sql, "sum(typeof(");
            myr_pg_put_name(&sql, text->columns[i].name);
            myr_buf_printf(&sql, ") = '%s')", types[k]);
        }
    }
    table_sqlite_where(b, &sql);
    MYR_TRY(myr_buf_check(&sql, err));
    MYR_TRY(myr_db_prepare(db, sql.data, &stmt, err));
    MYR_TRY(myr_stmt_step(stmt, &has_row, err));
    for (size_t i = 0; has_row && i < text->column_count; i++)
        MYR_TRY(table_sqlite_type(stmt, (int)i, b->opts.input.table, text->columns[i].name, &text->columns[i].sql_type,
                                  err));
    return MYR_OK;
}

static void table_quote(myr_buf *out, myr_str text)
{
    myr_buf_putc(out, '"');
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '"') myr_buf_putc(out, '"');
        myr_buf_putc(out, text.data[i]);
    }
    myr_buf_putc(out, '"');
}

static void table_sqlite_cell(myr_stmt *stmt, int column, myr_buf *out)
{
    switch (myr_stmt_type_of(stmt, column)) {
    case MYR_STMT_NULL:
        myr_buf_puts(out, "\\N");
        break;
    case MYR_STMT_INT:
        myr_buf_int(out, myr_stmt_int64(stmt, column));
        break;
    case MYR_STMT_REAL:
        myr_buf_double(out, myr_stmt_double(stmt, column));
        break;
    default:
        table_quote(out, myr_stmt_text(stmt, column));
    }
}

static myr_rc table_sqlite_rows(myr_db *db, const batch *b, table_text *text, int64_t *out_rows, myr_err *err)
{
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    MYR_AUTO(myr_buf) sql = {0};
    bool has_row = false;
    for (size_t i = 0; i < text->column_count; i++) {
        myr_buf_puts(&sql, i > 0 ? ", " : "SELECT ");
        myr_pg_put_name(&sql, text->columns[i].name);
        if (i > 0) myr_buf_putc(&text->bytes, ',');
        table_quote(&text->bytes, myr_str_of(text->columns[i].name));
    }
    table_sqlite_where(b, &sql);
    MYR_TRY(myr_buf_check(&sql, err));
    MYR_TRY(myr_db_prepare(db, sql.data, &stmt, err));
    for (;; ++*out_rows) {
        myr_buf_putc(&text->bytes, '\n');
        MYR_TRY(myr_stmt_step(stmt, &has_row, err));
        if (!has_row) return MYR_OK;
        for (size_t i = 0; i < text->column_count; i++) {
            if (i > 0) myr_buf_putc(&text->bytes, ',');
            table_sqlite_cell(stmt, (int)i, &text->bytes);
        }
        if (text->bytes.size >= TABLE_WRITE_BYTES) MYR_TRY(table_flush(text, err));
    }
}

static myr_rc table_sqlite(const batch *b, table_text *text, int64_t *out_rows, myr_err *err)
{
    myr_db *db = NULL;
    MYR_TRY(myr_db_open_to_read(myr_db_uri_path(b->opts.input.database), &db, err));
    myr_rc rc = myr_db_exec(db, "BEGIN", err); /* both reads see one state */
    *out_rows = 0;
    if (rc == MYR_OK) rc = table_sqlite_columns(db, b, text, err);
    if (rc == MYR_OK) rc = table_sqlite_rows(db, b, text, out_rows, err);
    myr_db_rollback(db);
    myr_db_close(db);
    return rc;
}

/* ---- either ---- */

static myr_rc table_begin(table_text *text, myr_err *err)
{
    myr_fd_drop(&text->fd);
    text->column_count = 0;
    myr_buf_clear(&text->bytes);
    return myr_io_open(text->path, O_WRONLY | O_CREAT | O_TRUNC, 0600, &text->fd, err);
}

/* A server that restarts while it is read is read again, from the beginning; one that is away from the start is not
 * waited for. */
static myr_rc table_read(const batch *b, myr_db_kind kind, table_text *text, int64_t *out_rows, myr_err *err)
{
    bool has_begun = false;
    for (int tries = 0;;) {
        MYR_TRY(table_begin(text, err));
        if (kind == MYR_DB_SQLITE) return table_sqlite(b, text, out_rows, err);
        myr_rc rc = table_pg(b, text, &has_begun, out_rows, err);
        if (rc == MYR_OK || !has_begun || !myr_batch_sink_table_again(rc, &tries)) return rc;
    }
}

myr_rc myr_batch_source_table(batch *b, myr_err *err)
{
    char path[MYR_PATH_BYTES_MAX];
    myr_db_kind kind;
    int64_t rows = 0, written = 0;
    MYR_AUTO(table_text) text = {.fd = -1, .arena = b->arena};
    MYR_TRY(myr_db_uri_kind(b->opts.input.database, &kind, err));
    if (kind == MYR_DB_REDIS) MYR_FAIL(err, UNSUPPORTED, "Redis has no tables: name PostgreSQL or SQLite");
    MYR_TRY(myr_batch_source_path(b, "table.text", text.path, err));
    MYR_TRY(myr_batch_source_path(b, "table.parquet", path, err));
    MYR_TRY(table_read(b, kind, &text, &rows, err));
    MYR_TRY(table_flush(&text, err));
    myr_rc rc = myr_table_snapshot_text(b->engine, text.path, text.columns, text.column_count, path, &written, err);
    if (rc != MYR_OK) return myr_err_prefix(err, rc, "%s: ", b->input_name);
    if (written != rows)
        MYR_FAIL(err, INTERNAL, "%s: %lld rows came and %lld were kept", b->input_name, (long long)rows,
                 (long long)written);
    MYR_TRY(myr_io_unlink(text.path, err));
    return myr_batch_source_take(b, path, b->input_name, err);
}
