/*
 * An output that is a table of PostgreSQL. One transaction takes away what was there (or leaves it, in append mode),
 * copies the rows in and writes a row into the marker table: whoever reads sees all of it or nothing, and a run that
 * was killed after its COMMIT is known by its marker.
 */
#include <string.h>

#include "batch/sink_table.h"
#include "batch/source.h"
#include "db/db.h"

#define PG_BUFFER_BYTES (256 * 1024)
#define PG_LOCK         "1836676722" /* ours among the advisory locks: "myr2" */

/* What is acknowledged is on the server's disk, whatever the server thinks of that otherwise. */
static const char pg_setup[] = "DO $$BEGIN IF current_setting('synchronous_commit') = 'off' THEN"
                               " PERFORM set_config('synchronous_commit', 'on', false); END IF; END$$";

static bool pg_takes(const char *place)
{
    myr_str text = myr_str_of(place);
    return myr_str_starts_with(text, "postgresql://") || myr_str_starts_with(text, "postgres://");
}

/* The connection, made when it is first needed. */
static myr_rc pg_connect(batch_sink *sink, myr_pg **out, myr_err *err)
{
    myr_pg *pg = sink->own;
    if (pg == NULL) MYR_TRY(myr_pg_new_bulk(sink->place, pg_setup, &pg, err));
    sink->own = pg;
    MYR_TRY(myr_pg_connect(pg, err));
    *out = pg;
    return MYR_OK;
}

static void pg_close(batch_sink *sink)
{
    myr_pg_free(sink->own); /* an open transaction is rolled back */
    sink->own = NULL;
}

/* One value of one row, as text; has = false: there is no row, or it is null. */
static myr_rc pg_ask(myr_pg *pg, const char *sql, myr_buf *out, bool *out_has, myr_err *err)
{
    myr_pg_rows *rows = NULL;
    MYR_TRY(myr_pg_exec(pg, sql, &rows, err));
    *out_has = myr_pg_row_count(rows) > 0 && myr_pg_text(rows, 0, 0).data != NULL;
    if (*out_has) {
        myr_str text = myr_pg_text(rows, 0, 0);
        myr_buf_append(out, text.data, text.size);
    }
    myr_pg_rows_free(rows);
    return myr_buf_check(out, err);
}

/* The table's name with its schema, as markers have it. */
static myr_rc pg_target(batch_sink *sink, myr_pg *pg, myr_buf *out, myr_err *err)
{
    bool has = true;
    if (strchr(sink->table, '.') == NULL) {
        MYR_TRY(pg_ask(pg, "SELECT current_schema()", out, &has, err));
        myr_buf_putc(out, '.');
    }
    if (!has) MYR_FAIL(err, NOT_FOUND, "%s: the search path names no schema: write schema.table", sink->name);
    myr_buf_puts(out, sink->table);
    return myr_buf_check(out, err);
}

static myr_rc pg_exists(myr_pg *pg, const char *table, bool *out, myr_err *err)
{
    MYR_AUTO(myr_buf) name = {0};
    MYR_AUTO(myr_buf) sql = {0};
    MYR_AUTO(myr_buf) found = {0};
    myr_batch_table_name(table, &name);
    MYR_TRY(myr_buf_check(&name, err));
    myr_buf_puts(&sql, "SELECT to_regclass(");
    myr_pg_put_literal(&sql, name.data);
    myr_buf_puts(&sql, ")::text");
    MYR_TRY(myr_buf_check(&sql, err));
    return pg_ask(pg, sql.data, &found, out, err);
}

/* ---- markers ---- */

static myr_rc pg_marker(batch_sink *sink, myr_pg *pg, const char *target, int64_t run_id, const char *fingerprint,
                        batch_manifest *out, bool *out_has, myr_err *err)
{
    MYR_AUTO(myr_buf) sql = {0};
    myr_pg_rows *rows = NULL;
    (void)sink;
    myr_buf_puts(&sql, "SELECT run, release, row_count FROM " SINK_MARKER " WHERE target = ");
    myr_pg_put_literal(&sql, target);
    myr_buf_puts(&sql, " AND fingerprint = ");
    myr_pg_put_literal(&sql, fingerprint);
    if (run_id != 0) myr_buf_printf(&sql, " AND run = %lld", (long long)run_id);
    myr_buf_puts(&sql, " ORDER BY published DESC LIMIT 1");
    MYR_TRY(myr_buf_check(&sql, err));
    MYR_TRY(myr_pg_exec(pg, sql.data, &rows, err));
    *out_has = myr_pg_row_count(rows) > 0;
    if (*out_has) {
        *out = (batch_manifest){
            .run_id = myr_pg_int64(rows, 0, 0), .release = myr_pg_int64(rows, 0, 1), .rows = myr_pg_int64(rows, 0, 2)};
        memcpy(out->fingerprint, fingerprint, strlen(fingerprint) + 1);
    }
    myr_pg_rows_free(rows);
    return MYR_OK;
}

static myr_rc pg_find(batch_sink *sink, int64_t run_id, const char *fingerprint, batch_manifest *out,
                      bool *out_is_there, myr_err *err)
{
    MYR_AUTO(myr_buf) target = {0};
    myr_pg *pg = NULL;
    bool has_table = false;
    *out_is_there = false;
    MYR_TRY(pg_connect(sink, &pg, err));
    MYR_TRY(pg_exists(pg, sink->table, &has_table, err));
    if (has_table) MYR_TRY(pg_exists(pg, SINK_MARKER, &has_table, err));
    if (!has_table) return MYR_OK;
    MYR_TRY(pg_target(sink, pg, &target, err));
    return pg_marker(sink, pg, target.data, run_id, fingerprint, out, out_is_there, err);
}

/* Made once, by whoever comes first: in a transaction of its own, so that others wait for a moment alone. */
static myr_rc pg_make_markers(myr_pg *pg, myr_err *err)
{
    static const char *const steps[] = {
        "BEGIN", "SELECT pg_advisory_xact_lock(" PG_LOCK ", 0)",
        "CREATE TABLE IF NOT EXISTS " SINK_MARKER " (target text, run bigint, fingerprint text, fleet text,"
        " release bigint, row_count bigint, published timestamptz NOT NULL, PRIMARY KEY (target, run, fingerprint))",
        "COMMIT"};
    for (size_t i = 0; i < MYR_COUNT_OF(steps); i++)
        MYR_TRY(myr_pg_exec(pg, steps[i], NULL, err));
    return MYR_OK;
}

/* ---- the table ---- */

/* Whether a column that is there takes these values as they are. What loses digits in silence does not; what the
 * server refuses by itself, it will name. */
static myr_rc pg_check_type(const batch_sink *sink, const char *name, const char *sql_type, myr_str type, myr_err *err)
{
    bool is_double = strcmp(sql_type, "DOUBLE") == 0;
    if (!is_double || !(myr_str_is(type, "real") || myr_str_starts_with(type, "numeric("))) return MYR_OK;
    MYR_FAIL(err, BAD_INPUT, "%s: column '%s' is " MYR_STR_FMT ", which would round: make it double precision",
             sink->name, name, MYR_STR_ARG(type));
}

typedef struct pg_need {
    const char *name, *sql_type;
} pg_need;

/* All that are needed are there. */
static myr_rc pg_check_columns(const batch_sink *sink, myr_pg *pg, const pg_need *needs, size_t count, myr_err *err)
{
    MYR_AUTO(myr_buf) name = {0};
    MYR_AUTO(myr_buf) sql = {0};
    myr_pg_rows *rows = NULL;
    myr_batch_table_name(sink->table, &name);
    MYR_TRY(myr_buf_check(&name, err));
    myr_buf_puts(&sql, "SELECT attname, format_type(atttypid, atttypmod) FROM pg_attribute WHERE attrelid = ");
    myr_pg_put_literal(&sql, name.data);
    myr_buf_puts(&sql, "::regclass AND attnum > 0 AND NOT attisdropped");
    MYR_TRY(myr_buf_check(&sql, err));
    MYR_TRY(myr_pg_exec(pg, sql.data, &rows, err));
    myr_rc rc = MYR_OK;
    for (size_t i = 0; rc == MYR_OK && i < count; i++) {
        int at = 0;
        while (at < myr_pg_row_count(rows) && !myr_str_is(myr_pg_text(rows, at, 0), needs[i].name))
            at++;
        rc = at < myr_pg_row_count(rows)
                 ? pg_check_type(sink, needs[i].name, needs[i].sql_type, myr_pg_text(rows, at, 1), err)
                 : MYR_ERROR(err, BAD_INPUT, "%s has no column '%s': add it, or leave it out with `keep`", sink->name,
                             needs[i].name);
    }
    myr_pg_rows_free(rows);
    return rc;
}

/* Before the first row is read: names, and the types of what we make. */
static myr_rc pg_check(batch_sink *sink, const batch_plan *plan, myr_err *err)
{
    static const char *const types[] = {
        [MYR_COL_DOUBLE] = "DOUBLE", [MYR_COL_INT64] = "BIGINT", [MYR_COL_TEXT] = "VARCHAR"};
    myr_pg *pg = NULL;
    bool has_table = false;
    pg_need *needs = myr_arena_calloc(sink->b->arena, plan->keep_count + plan->output_count + 1, sizeof *needs);
    if (needs == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the columns of %s", sink->name);
    MYR_TRY(pg_connect(sink, &pg, err));
    MYR_TRY(pg_exists(pg, sink->table, &has_table, err));
    if (!has_table) return MYR_OK; /* it is made */
    for (uint32_t i = 0; i < plan->keep_count; i++)
        needs[i] = (pg_need){plan->keep[i], ""};
    for (uint32_t i = 0; i < plan->output_count; i++)
        needs[plan->keep_count + i] = (pg_need){plan->outputs[i].name, types[plan->outputs[i].type]};
    return pg_check_columns(sink, pg, needs, plan->keep_count + plan->output_count, err);
}

/* ---- rows ---- */

typedef struct pg_copy {
    myr_pg *pg;
    size_t column_count;
    myr_buf text;
} pg_copy;
static void pg_copy_drop(pg_copy *copy)
{
    myr_buf_fini(&copy->text);
}

/* A cell in COPY's text format. */
static void pg_cell(myr_buf *out, myr_str cell)
{
    if (cell.data == NULL) {
        myr_buf_puts(out, "\\N");
        return;
    }
    for (size_t i = 0; i < cell.size; i++) {
        static const char special[] = "\\\n\r\t", letters[] = "\\nrt";
        const char *at = cell.data[i] != '\0' ? strchr(special, cell.data[i]) : NULL;
        if (at != NULL) myr_buf_putc(out, '\\');
        myr_buf_putc(out, at != NULL ? letters[at - special] : cell.data[i]);
    }
}

static myr_rc pg_copy_flush(pg_copy *copy, myr_err *err)
{
    MYR_TRY(myr_buf_check(&copy->text, err));
    MYR_TRY(myr_pg_copy_put(copy->pg, copy->text.data, copy->text.size, err));
    myr_buf_clear(&copy->text);
    return MYR_OK;
}

static myr_rc pg_row(void *ctx, const myr_str *cells, myr_err *err)
{
    pg_copy *copy = ctx;
    for (size_t i = 0; i < copy->column_count; i++) {
        if (i > 0) myr_buf_putc(&copy->text, '\t');
        pg_cell(&copy->text, cells[i]);
    }
    myr_buf_putc(&copy->text, '\n');
    return copy->text.size >= PG_BUFFER_BYTES ? pg_copy_flush(copy, err) : MYR_OK;
}

static myr_rc pg_copy_rows(batch_sink *sink, myr_pg *pg, const char *name, const sink_columns *columns,
                           int64_t *out_rows, myr_err *err)
{
    MYR_AUTO(pg_copy) copy = {.pg = pg, .column_count = columns->count};
    MYR_AUTO(myr_buf) sql = {0};
    int64_t given = 0, taken = 0;
    myr_buf_printf(&sql, "COPY %s (", name);
    myr_batch_sink_table_list(columns, false, &sql);
    myr_buf_puts(&sql, ") FROM STDIN");
    MYR_TRY(myr_buf_check(&sql, err));
    MYR_TRY(myr_pg_copy_in(pg, sql.data, err));
    MYR_TRY(myr_batch_sink_table_rows(sink, false, columns, pg_row, &copy, &given, err));
    if (copy.text.size > 0) MYR_TRY(pg_copy_flush(&copy, err));
    MYR_TRY(myr_pg_copy_end(pg, &taken, err));
    if (given != taken)
        MYR_FAIL(err, INTERNAL, "%s: %lld rows were given and %lld taken", sink->name, (long long)given,
                 (long long)taken);
    *out_rows = taken;
    return MYR_OK;
}

/* ---- publishing ---- */

static myr_rc pg_fill(batch_sink *sink, myr_pg *pg, const char *target, const sink_columns *columns, int64_t *out_rows,
                      myr_err *err)
{
    MYR_AUTO(myr_buf) name = {0};
    MYR_AUTO(myr_buf) sql = {0};
    pg_need *needs = myr_arena_calloc(sink->b->arena, columns->count + 1, sizeof *needs);
    if (needs == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the columns of %s", sink->name);
    for (size_t i = 0; i < columns->count; i++)
        needs[i] = (pg_need){columns->items[i].name, columns->items[i].sql_type};
    myr_batch_table_name(sink->table, &name);
    myr_buf_printf(&sql, "CREATE TABLE IF NOT EXISTS %s (", name.data != NULL ? name.data : "");
    myr_batch_sink_table_list(columns, true, &sql);
    myr_buf_putc(&sql, ')');
    MYR_TRY(myr_buf_check(&sql, err));
    if (columns->count > 0) MYR_TRY(myr_pg_exec(pg, sql.data, NULL, err));
    MYR_TRY(pg_check_columns(sink, pg, needs, columns->count, err));
    if (!sink->append) {
        myr_buf_clear(&sql);
        myr_buf_printf(&sql, "DELETE FROM %s; DELETE FROM " SINK_MARKER " WHERE target = ", name.data);
        myr_pg_put_literal(&sql, target);
        MYR_TRY(myr_buf_check(&sql, err));
        MYR_TRY(myr_pg_exec(pg, sql.data, NULL, err));
    }
    return columns->count > 0 ? pg_copy_rows(sink, pg, name.data, columns, out_rows, err) : MYR_OK;
}

static myr_rc pg_mark(myr_pg *pg, const char *target, const batch_manifest *manifest, myr_err *err)
{
    MYR_AUTO(myr_buf) sql = {0};
    myr_buf_puts(&sql, "INSERT INTO " SINK_MARKER " VALUES (");
    myr_pg_put_literal(&sql, target);
    myr_buf_printf(&sql, ", %lld, ", (long long)manifest->run_id);
    myr_pg_put_literal(&sql, manifest->fingerprint);
    myr_buf_puts(&sql, ", ");
    myr_pg_put_literal(&sql, manifest->fleet);
    myr_buf_printf(&sql, ", %lld, %lld, now())", (long long)manifest->release, (long long)manifest->rows);
    MYR_TRY(myr_buf_check(&sql, err));
    return myr_pg_exec(pg, sql.data, NULL, err);
}

/* Inside the transaction: the lock is ours until it ends, so that two runs on one table go one after the other. */
static myr_rc pg_steps(batch_sink *sink, myr_pg *pg, const char *target, const sink_columns *columns,
                       batch_manifest *manifest, myr_err *err)
{
    MYR_AUTO(myr_buf) sql = {0};
    batch_manifest there;
    bool is_there = false;
    myr_buf_puts(&sql, "SELECT pg_advisory_xact_lock(" PG_LOCK ", hashtext(");
    myr_pg_put_literal(&sql, target);
    myr_buf_puts(&sql, "))");
    MYR_TRY(myr_buf_check(&sql, err));
    MYR_TRY(myr_pg_exec(pg, "BEGIN", NULL, err));
    MYR_TRY(myr_pg_exec(pg, sql.data, NULL, err));
    MYR_TRY(pg_marker(sink, pg, target, manifest->run_id, manifest->fingerprint, &there, &is_there, err));
    if (is_there) { /* a COMMIT whose answer was lost */
        manifest->rows = there.rows;
        return myr_pg_exec(pg, "COMMIT", NULL, err);
    }
    manifest->rows = 0;
    MYR_TRY(pg_fill(sink, pg, target, columns, &manifest->rows, err));
    MYR_TRY(pg_mark(pg, target, manifest, err));
    return myr_pg_exec(pg, "COMMIT", NULL, err);
}

static myr_rc pg_once(batch_sink *sink, const sink_columns *columns, batch_manifest *manifest, myr_err *err)
{
    MYR_AUTO(myr_buf) target = {0};
    myr_pg *pg = NULL;
    MYR_TRY(pg_connect(sink, &pg, err));
    MYR_TRY(pg_make_markers(pg, err));
    MYR_TRY(pg_target(sink, pg, &target, err));
    return pg_steps(sink, pg, target.data, columns, manifest, err);
}

static myr_rc pg_publish(batch_sink *sink, batch_manifest *manifest, myr_err *err)
{
    sink_columns columns;
    int tries = 0;
    myr_rc rc = MYR_OK;
    MYR_TRY(myr_batch_sink_table_columns(sink, false, &columns, err));
    do {
        rc = pg_once(sink, &columns, manifest, err);
        if (rc != MYR_OK) pg_close(sink); /* whatever is open there is rolled back */
    } while (rc != MYR_OK && myr_batch_sink_table_again(rc, &tries));
    return rc;
}

const batch_sink_kind myr_batch_sink_pg = {.takes = pg_takes,
                                           .open = myr_batch_sink_table_open,
                                           .check = pg_check,
                                           .find = pg_find,
                                           .publish = pg_publish,
                                           .close = pg_close};
