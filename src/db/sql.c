/*
 * SQL over either database. A transaction is BEGIN IMMEDIATE in SQLite; in PostgreSQL it begins with an advisory lock,
 * so that there, too, one goes after the other and nothing has to be tried again.
 */
#include "db/sql.h"

#include <stdio.h>

#include "db/internal.h"

struct myr_sql {
    myr_db *db; /* NULL: PostgreSQL */
    myr_pg *pg;
    int64_t pg_lock;
    bool in_transaction; /* PostgreSQL's */
    myr_stmt *stmt;      /* SQLite: what runs */
    myr_pg_rows *rows;   /* PostgreSQL: what it gave */
    int row;             /* of rows; -1: before the first */
};

myr_rc myr_sql_open(const char *uri, const char *pg_setup, int64_t pg_lock, myr_sql **out, myr_err *err)
{
    myr_db_kind kind;
    MYR_TRY(myr_db_uri_kind(uri, &kind, err));
    if (kind == MYR_DB_REDIS) MYR_FAIL(err, UNSUPPORTED, "Redis keeps no such state: name SQLite or PostgreSQL");
    myr_sql *sql = myr_calloc(1, sizeof *sql);
    if (sql == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a database");
    sql->pg_lock = pg_lock;
    myr_rc rc = kind == MYR_DB_SQLITE ? myr_db_open(myr_db_uri_path(uri), false, &sql->db, err)
                                      : myr_pg_new(uri, pg_setup, &sql->pg, err);
    if (rc != MYR_OK) {
        myr_free(sql);
        return rc;
    }
    *out = sql;
    return MYR_OK;
}

void myr_sql_done(myr_sql *sql)
{
    if (sql->stmt != NULL) myr_stmt_reset(sql->stmt);
    myr_pg_rows_free(sql->rows);
    sql->stmt = NULL;
    sql->rows = NULL;
}

void myr_sql_close(myr_sql *sql)
{
    if (sql == NULL) return;
    myr_sql_done(sql);
    if (sql->db != NULL) myr_db_rollback(sql->db);
    myr_db_close(sql->db);
    myr_pg_free(sql->pg);
    myr_free(sql);
}

static int64_t sql_deadline(void)
{
    return myr_clock_mono_ns() + MYR_SQL_CALL_MS * 1000000LL;
}

static myr_rc sql_pg_plain(myr_sql *sql, const char *text, myr_err *err)
{
    const myr_pg_call call = {text, NULL, 0};
    return myr_pg_run(sql->pg, &call, 1, sql_deadline(), NULL, err);
}

myr_rc myr_sql_begin(myr_sql *sql, myr_err *err)
{
    char lock[24];
    const char *const params[] = {lock};
    const myr_pg_call calls[] = {{"BEGIN", NULL, 0}, {"SELECT pg_advisory_xact_lock($1::bigint)", params, 1}};
    myr_sql_done(sql);
    if (sql->db != NULL) return myr_db_begin(sql->db, err);
    MYR_ASSERT(!sql->in_transaction);
    (void)snprintf(lock, sizeof lock, "%lld", (long long)sql->pg_lock);
    MYR_TRY(myr_pg_run(sql->pg, calls, MYR_COUNT_OF(calls), sql_deadline(), NULL, err));
    sql->in_transaction = true;
    return MYR_OK;
}

myr_rc myr_sql_commit(myr_sql *sql, myr_err *err)
{
    myr_sql_done(sql);
    if (sql->db != NULL) return myr_db_commit(sql->db, err);
    /* An error has given the transaction up: a COMMIT now would be a new connection's, of nothing. */
    if (!sql->in_transaction) MYR_FAIL(err, IO, "the transaction was rolled back after an earlier error");
    sql->in_transaction = false;
    return sql_pg_plain(sql, "COMMIT", err);
}

void myr_sql_rollback(myr_sql *sql)
{
    myr_sql_done(sql);
    if (sql->db != NULL) {
        myr_db_rollback(sql->db);
    } else if (sql->in_transaction) {
        sql->in_transaction = false;
        MYR_IGNORE(sql_pg_plain(sql, "ROLLBACK", NULL)); /* else the connection is lost, and with it the transaction */
    }
}

static myr_rc sql_run_sqlite(myr_sql *sql, const char *text, const myr_sql_value *values, size_t count, myr_err *err)
{
    MYR_TRY(myr_db_prepare(sql->db, text, &sql->stmt, err));
    for (size_t i = 0; i < count; i++) {
        if (values[i].is_text) {
            myr_stmt_bind_text(sql->stmt, (int)i + 1, myr_str_of(values[i].text));
        } else {
            myr_stmt_bind_int64(sql->stmt, (int)i + 1, values[i].number);
        }
    }
    return MYR_OK;
}

static myr_rc sql_run_pg(myr_sql *sql, const char *text, const myr_sql_value *values, size_t count, myr_err *err)
{
    char numbers[MYR_SQL_VALUES_MAX][24];
    const char *params[MYR_SQL_VALUES_MAX];
    for (size_t i = 0; i < count; i++) {
        (void)snprintf(numbers[i], sizeof numbers[i], "%lld", (long long)values[i].number);
        params[i] = values[i].is_text ? values[i].text : numbers[i];
    }
    const myr_pg_call call = {text, params, (int)count};
    myr_rc rc = myr_pg_run(sql->pg, &call, 1, sql_deadline(), &sql->rows, err);
    if (rc != MYR_OK) sql->in_transaction = false; /* pg.h: it is rolled back */
    sql->row = -1;
    return rc;
}

myr_rc myr_sql_run(myr_sql *sql, const char *text, const myr_sql_value *values, size_t count, myr_err *err)
{
    MYR_ASSERT(count <= MYR_SQL_VALUES_MAX);
    myr_sql_done(sql);
    return sql->db != NULL ? sql_run_sqlite(sql, text, values, count, err) : sql_run_pg(sql, text, values, count, err);
}

myr_rc myr_sql_next(myr_sql *sql, bool *out_has_row, myr_err *err)
{
    if (sql->db != NULL) return myr_stmt_step(sql->stmt, out_has_row, err);
    *out_has_row = ++sql->row < myr_pg_row_count(sql->rows);
    return MYR_OK;
}

int64_t myr_sql_int(myr_sql *sql, int column)
{
    return sql->db != NULL ? myr_stmt_int64(sql->stmt, column) : myr_pg_int64(sql->rows, sql->row, column);
}

myr_str myr_sql_text(myr_sql *sql, int column)
{
    return sql->db != NULL ? myr_stmt_text(sql->stmt, column) : myr_pg_text(sql->rows, sql->row, column);
}

myr_rc myr_sql_change(myr_sql *sql, const char *text, const myr_sql_value *values, size_t count, int64_t *out_rows,
                      myr_err *err)
{
    bool has_row = false;
    MYR_TRY(myr_sql_run(sql, text, values, count, err));
    if (sql->db != NULL) MYR_TRY(myr_sql_next(sql, &has_row, err));
    MYR_ASSERT(!has_row); /* it gives no rows */
    if (out_rows != NULL) *out_rows = sql->db != NULL ? sqlite3_changes64(sql->db->handle) : myr_pg_affected(sql->rows);
    myr_sql_done(sql);
    return MYR_OK;
}
