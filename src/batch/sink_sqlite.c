/*
 * An output that is a table of an SQLite file: one transaction takes away what was there (or leaves it, in append
 * mode), puts the rows in and writes a row into the marker table, by which a run is known that was killed after its
 * commit.
 */
#include <string.h>

#include "batch/sink_table.h"
#include "batch/source.h"
#include "db/db.h"

static bool sqlite_takes(const char *place)
{
    return myr_str_starts_with(myr_str_of(place), "sqlite:");
}

static myr_rc sqlite_place(batch_sink *sink, myr_err *err)
{
    MYR_TRY(myr_batch_path_database(sink->b, &sink->place, err));
    return myr_batch_sink_table_open(sink, err);
}

static void sqlite_close(batch_sink *sink)
{
    myr_db_close(sink->own); /* an open transaction is rolled back */
    sink->own = NULL;
}

static myr_rc sqlite_open(batch_sink *sink, bool create, myr_db **out, myr_err *err)
{
    myr_db *db = sink->own;
    if (db == NULL) MYR_TRY(myr_db_open(myr_db_uri_path(sink->place), create, &db, err));
    sink->own = db;
    *out = db;
    return MYR_OK;
}

static myr_rc sqlite_exists(myr_db *db, const char *table, bool *out, myr_err *err)
{
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    MYR_TRY(myr_db_prepare(
        db, "SELECT 1 FROM sqlite_schema WHERE type IN ('table', 'view') AND name = ?1 COLLATE NOCASE", &stmt, err));
    myr_stmt_bind_text(stmt, 1, myr_str_of(table));
    return myr_stmt_step(stmt, out, err);
}

/* ---- markers ---- */

static myr_rc sqlite_marker(batch_sink *sink, myr_db *db, int64_t run_id, const char *fingerprint, batch_manifest *out,
                            bool *out_has, myr_err *err)
{
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    MYR_TRY(myr_db_prepare(db,
                           "SELECT run, release, row_count FROM " SINK_MARKER " WHERE target = ?1 AND fingerprint = ?2"
                           " AND (?3 = 0 OR run = ?3) ORDER BY published_ms DESC LIMIT 1",
                           &stmt, err));
    myr_stmt_bind_text(stmt, 1, myr_str_of(sink->table));
    myr_stmt_bind_text(stmt, 2, myr_str_of(fingerprint));
    myr_stmt_bind_int64(stmt, 3, run_id);
    MYR_TRY(myr_stmt_step(stmt, out_has, err));
    if (!*out_has) return MYR_OK;
    *out = (batch_manifest){
        .run_id = myr_stmt_int64(stmt, 0), .release = myr_stmt_int64(stmt, 1), .rows = myr_stmt_int64(stmt, 2)};
    memcpy(out->fingerprint, fingerprint, strlen(fingerprint) + 1);
    return MYR_OK;
}

static myr_rc sqlite_find(batch_sink *sink, int64_t run_id, const char *fingerprint, batch_manifest *out,
                          bool *out_is_there, myr_err *err)
{
    myr_db *db = NULL;
    bool has_table = false;
    *out_is_there = false;
    if (!myr_io_exists(myr_db_uri_path(sink->place))) return MYR_OK;
    MYR_TRY(sqlite_open(sink, false, &db, err));
    MYR_TRY(sqlite_exists(db, sink->table, &has_table, err));
    if (has_table) MYR_TRY(sqlite_exists(db, SINK_MARKER, &has_table, err));
    return has_table ? sqlite_marker(sink, db, run_id, fingerprint, out, out_is_there, err) : MYR_OK;
}

static myr_rc sqlite_mark(batch_sink *sink, myr_db *db, const batch_manifest *manifest, myr_err *err)
{
    myr_stmt *stmt = NULL;
    MYR_TRY(myr_db_prepare(db, "INSERT INTO " SINK_MARKER " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)", &stmt, err));
    myr_stmt_bind_text(stmt, 1, myr_str_of(sink->table));
    myr_stmt_bind_int64(stmt, 2, manifest->run_id);
    myr_stmt_bind_text(stmt, 3, myr_str_of(manifest->fingerprint));
    myr_stmt_bind_text(stmt, 4, myr_str_of(manifest->fleet));
    myr_stmt_bind_int64(stmt, 5, manifest->release);
    myr_stmt_bind_int64(stmt, 6, manifest->rows);
    myr_stmt_bind_int64(stmt, 7, myr_clock_unix_ms());
    return myr_stmt_run(stmt, err);
}

/* ---- the table ---- */

typedef struct sqlite_need {
    const char *name;
    sink_cell cell;
} sqlite_need;

/* SQLite's rules of affinity (datatype3.html, 3.1): what would change a value in silence is refused. */
static myr_rc sqlite_check_type(const batch_sink *sink, const sqlite_need *need, const char *type, myr_err *err)
{
    static const char *const texts[] = {"CHAR", "CLOB", "TEXT"};
    bool is_text = false;
    char upper[128];
    size_t size = 0;
    for (; type[size] != '\0' && size + 1 < sizeof upper; size++)
        upper[size] = type[size] >= 'a' && type[size] <= 'z' ? (char)(type[size] - 'a' + 'A') : type[size];
    upper[size] = '\0';
    bool is_int = strstr(upper, "INT") != NULL;
    for (size_t i = 0; i < MYR_COUNT_OF(texts); i++)
        is_text = is_text || (!is_int && strstr(upper, texts[i]) != NULL);
    bool is_free = upper[0] == '\0' || (!is_int && strstr(upper, "BLOB") != NULL);
    if (is_free || is_text == (need->cell == SINK_TEXT)) return MYR_OK;
    MYR_FAIL(err, BAD_INPUT, "%s: column '%s' is %.40s, and would turn %s: declare it %s", sink->name, need->name, type,
             need->cell == SINK_TEXT ? "texts into numbers" : "numbers into texts",
             need->cell == SINK_TEXT  ? "TEXT"
             : need->cell == SINK_INT ? "INTEGER"
                                      : "REAL");
}

/* cell of a kept column is not known before the first row: is_known = false. */
static myr_rc sqlite_check_column(batch_sink *sink, myr_db *db, const sqlite_need *need, bool is_known, myr_err *err)
{
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    bool has_row = false;
    MYR_TRY(myr_db_prepare(db, "SELECT type FROM pragma_table_info(?1) WHERE name = ?2 COLLATE NOCASE", &stmt, err));
    myr_stmt_bind_text(stmt, 1, myr_str_of(sink->table));
    myr_stmt_bind_text(stmt, 2, myr_str_of(need->name));
    MYR_TRY(myr_stmt_step(stmt, &has_row, err));
    if (!has_row)
        MYR_FAIL(err, BAD_INPUT, "%s has no column '%s': add it, or leave it out with `keep`", sink->name, need->name);
    if (!is_known) return MYR_OK;
    char type[128];
    myr_str text = myr_stmt_text(stmt, 0);
    size_t size = text.size < sizeof type - 1 ? text.size : sizeof type - 1;
    if (size > 0) memcpy(type, text.data, size);
    type[size] = '\0';
    return sqlite_check_type(sink, need, type, err);
}

static myr_rc sqlite_check(batch_sink *sink, const batch_plan *plan, myr_err *err)
{
    static const sink_cell cells[] = {
        [MYR_COL_DOUBLE] = SINK_REAL, [MYR_COL_INT64] = SINK_INT, [MYR_COL_TEXT] = SINK_TEXT};
    myr_db *db = NULL;
    bool has_table = false;
    if (strchr(sink->table, '.') != NULL)
        MYR_FAIL(err, BAD_INPUT, "%s: a table of SQLite is written without a schema", sink->name);
    if (!myr_io_exists(myr_db_uri_path(sink->place))) return MYR_OK; /* it is made */
    MYR_TRY(sqlite_open(sink, false, &db, err));
    MYR_TRY(sqlite_exists(db, sink->table, &has_table, err));
    for (uint32_t i = 0; has_table && i < plan->keep_count; i++)
        MYR_TRY(sqlite_check_column(sink, db, &(sqlite_need){.name = plan->keep[i]}, false, err));
    for (uint32_t i = 0; has_table && i < plan->output_count; i++) {
        sqlite_need need = {plan->outputs[i].name, cells[plan->outputs[i].type]};
        MYR_TRY(sqlite_check_column(sink, db, &need, true, err));
    }
    return MYR_OK;
}

/* ---- rows ---- */

typedef struct sqlite_copy {
    const batch_sink *sink;
    const sink_columns *columns;
    myr_stmt *insert;
} sqlite_copy;

static myr_rc sqlite_row(void *ctx, const myr_str *cells, myr_err *err)
{
    const sqlite_copy *copy = ctx;
    for (size_t i = 0; i < copy->columns->count; i++) {
        const sink_column *column = &copy->columns->items[i];
        int position = (int)i + 1;
        int64_t whole = 0;
        double real = 0;
        bool ok = true;
        if (cells[i].data == NULL || column->cell == SINK_TEXT) {
            myr_stmt_bind_text(copy->insert, position, cells[i]);
        } else if (column->cell == SINK_INT) {
            ok = myr_parse_int64(cells[i], &whole);
            myr_stmt_bind_int64(copy->insert, position, whole);
        } else {
            ok = myr_parse_double(cells[i], &real);
            myr_stmt_bind_double(copy->insert, position, real); /* SQLite has no NaN: it is null */
        }
        if (!ok) MYR_FAIL(err, INTERNAL, "%s: '" MYR_STR_FMT "' is no number", copy->sink->name, MYR_STR_ARG(cells[i]));
    }
    return myr_stmt_run(copy->insert, err);
}

static myr_rc sqlite_copy_rows(batch_sink *sink, myr_db *db, const sink_columns *columns, int64_t *out_rows,
                               myr_err *err)
{
    MYR_AUTO(myr_buf) sql = {0};
    sqlite_copy copy = {.sink = sink, .columns = columns};
    myr_buf_puts(&sql, "INSERT INTO ");
    myr_pg_put_name(&sql, sink->table);
    myr_buf_puts(&sql, " (");
    myr_batch_sink_table_list(columns, false, &sql);
    for (size_t i = 0; i < columns->count; i++)
        myr_buf_puts(&sql, i > 0 ? ", ?" : ") VALUES (?");
    myr_buf_putc(&sql, ')');
    MYR_TRY(myr_buf_check(&sql, err));
    MYR_TRY(myr_db_prepare(db, sql.data, &copy.insert, err));
    return myr_batch_sink_table_rows(sink, true, columns, sqlite_row, &copy, out_rows, err);
}

/* ---- publishing ---- */

static myr_rc sqlite_fill(batch_sink *sink, myr_db *db, const sink_columns *columns, int64_t *out_rows, myr_err *err)
{
    MYR_AUTO(myr_buf) sql = {0};
    myr_stmt *stmt = NULL;
    bool has_table = false;
    MYR_TRY(sqlite_exists(db, sink->table, &has_table, err));
    myr_buf_puts(&sql, has_table ? "DELETE FROM " : "CREATE TABLE ");
    myr_pg_put_name(&sql, sink->table);
    if (!has_table) {
        myr_buf_puts(&sql, " (");
        myr_batch_sink_table_list(columns, true, &sql);
        myr_buf_putc(&sql, ')');
    }
    MYR_TRY(myr_buf_check(&sql, err));
    for (size_t i = 0; has_table && i < columns->count; i++) {
        sqlite_need need = {columns->items[i].name, columns->items[i].cell};
        MYR_TRY(sqlite_check_column(sink, db, &need, true, err));
    }
    if (has_table ? !sink->append : columns->count > 0) MYR_TRY(myr_db_exec(db, sql.data, err));
    if (!sink->append) {
        MYR_TRY(myr_db_prepare(db, "DELETE FROM " SINK_MARKER " WHERE target = ?1", &stmt, err));
        myr_stmt_bind_text(stmt, 1, myr_str_of(sink->table));
        MYR_TRY(myr_stmt_run(stmt, err));
    }
    return columns->count > 0 ? sqlite_copy_rows(sink, db, columns, out_rows, err) : MYR_OK;
}

static myr_rc sqlite_steps(batch_sink *sink, myr_db *db, const sink_columns *columns, batch_manifest *manifest,
                           myr_err *err)
{
    batch_manifest there;
    bool is_there = false;
    MYR_TRY(myr_db_begin(db, err));
    MYR_TRY(myr_db_exec(db,
                        "CREATE TABLE IF NOT EXISTS " SINK_MARKER " (target TEXT NOT NULL, run INTEGER NOT NULL,"
                        " fingerprint TEXT NOT NULL, fleet TEXT NOT NULL, release INTEGER NOT NULL,"
                        " row_count INTEGER NOT NULL, published_ms INTEGER NOT NULL,"
                        " PRIMARY KEY (target, run, fingerprint)) STRICT, WITHOUT ROWID",
                        err));
    MYR_TRY(sqlite_marker(sink, db, manifest->run_id, manifest->fingerprint, &there, &is_there, err));
    manifest->rows = is_there ? there.rows : 0;
    if (!is_there) {
        MYR_TRY(sqlite_fill(sink, db, columns, &manifest->rows, err));
        MYR_TRY(sqlite_mark(sink, db, manifest, err));
    }
    return myr_db_commit(db, err);
}

static myr_rc sqlite_publish(batch_sink *sink, batch_manifest *manifest, myr_err *err)
{
    sink_columns columns;
    int tries = 0;
    myr_rc rc = MYR_OK;
    MYR_TRY(myr_batch_sink_table_columns(sink, true, &columns, err));
    do {
        myr_db *db = NULL;
        rc = sqlite_open(sink, true, &db, err);
        if (rc == MYR_OK) rc = sqlite_steps(sink, db, &columns, manifest, err);
        if (rc != MYR_OK) sqlite_close(sink); /* whatever is open there is rolled back */
    } while (rc != MYR_OK && myr_batch_sink_table_again(rc, &tries));
    return rc;
}

const batch_sink_kind myr_batch_sink_sqlite = {.takes = sqlite_takes,
                                               .open = sqlite_place,
                                               .check = sqlite_check,
                                               .find = sqlite_find,
                                               .publish = sqlite_publish,
                                               .close = sqlite_close};
