/*
 * Statements: compiled once per connection and kept by their text. A bind never fails on the spot; the first failure is
 * remembered and is what the next step says, so that callers check one result per execution.
 */
#include <string.h>

#include "db/internal.h"

void myr_db_reset_statements(myr_db *db)
{
    for (size_t i = 0; i < db->statement_count; i++)
        sqlite3_reset(db->statements[i]->handle);
}

void myr_db_drop_statements(myr_db *db)
{
    for (size_t i = 0; i < db->statement_count; i++) {
        sqlite3_finalize(db->statements[i]->handle);
        myr_free(db->statements[i]);
    }
    db->statement_count = 0;
}

/* Compile and keep. */
static myr_rc stmt_make(myr_db *db, const char *sql, myr_stmt **out, myr_err *err)
{
    if (db->statement_count == MYR_DB_STATEMENTS_MAX) {
        MYR_FAIL(err, TOO_LARGE, "%s: more than %d different statements", db->path, MYR_DB_STATEMENTS_MAX);
    }
    myr_stmt *stmt = myr_calloc(1, sizeof *stmt);
    if (stmt == NULL) MYR_FAIL(err, NO_MEMORY, "%s: no memory for a statement", db->path);
    stmt->db = db;
    const char *rest = NULL;
    int code = sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &stmt->handle, &rest);
    myr_rc rc = code == SQLITE_OK ? MYR_OK : DB_FAIL(db, code, err);
    if (rc == MYR_OK) {
        MYR_ASSERT(stmt->handle != NULL && rest != NULL && rest[0] == '\0'); /* exactly one statement */
        rc = myr_map_put(db->by_text, myr_str_of(sql), db->statement_count, err);
    }
    if (rc != MYR_OK) {
        sqlite3_finalize(stmt->handle);
        myr_free(stmt);
        return rc;
    }
    db->statements[db->statement_count++] = stmt;
    *out = stmt;
    return MYR_OK;
}

myr_rc myr_db_prepare(myr_db *db, const char *sql, myr_stmt **out, myr_err *err)
{
    uint64_t idx = 0;
    if (!myr_map_find(db->by_text, myr_str_of(sql), &idx)) return stmt_make(db, sql, out, err);
    MYR_ASSERT(idx < db->statement_count);
    myr_stmt_reset(db->statements[idx]);
    *out = db->statements[idx];
    return MYR_OK;
}

void myr_stmt_reset(myr_stmt *stmt)
{
    sqlite3_reset(stmt->handle); /* repeats the code of the last step, which was reported then */
    sqlite3_clear_bindings(stmt->handle);
    stmt->bind_code = SQLITE_OK;
}

static void stmt_note_bind(myr_stmt *stmt, int code)
{
    MYR_ASSERT(code != SQLITE_RANGE && code != SQLITE_MISUSE); /* a wrong position, or a bind after a step: ours */
    if (stmt->bind_code == SQLITE_OK) stmt->bind_code = code;
}

void myr_stmt_bind_int64(myr_stmt *stmt, int position, int64_t value)
{
    stmt_note_bind(stmt, sqlite3_bind_int64(stmt->handle, position, value));
}

void myr_stmt_bind_double(myr_stmt *stmt, int position, double value)
{
    stmt_note_bind(stmt, sqlite3_bind_double(stmt->handle, position, value));
}

void myr_stmt_bind_text(myr_stmt *stmt, int position, myr_str value)
{
    int code = value.data == NULL
                   ? sqlite3_bind_null(stmt->handle, position)
                   : sqlite3_bind_text64(stmt->handle, position, value.data, value.size, SQLITE_TRANSIENT, SQLITE_UTF8);
    stmt_note_bind(stmt, code);
}

void myr_stmt_bind_blob(myr_stmt *stmt, int position, const void *data, size_t size_bytes)
{
    int code = data == NULL ? sqlite3_bind_zeroblob(stmt->handle, position, 0)
                            : sqlite3_bind_blob64(stmt->handle, position, data, size_bytes, SQLITE_TRANSIENT);
    stmt_note_bind(stmt, code);
}

myr_rc myr_stmt_step(myr_stmt *stmt, bool *out_has_row, myr_err *err)
{
    if (stmt->bind_code != SQLITE_OK) {
        /* The handle may have moved on since; the code alone is certain. */
        myr_rc rc = stmt->bind_code == SQLITE_NOMEM ? MYR_NO_MEMORY : MYR_TOO_LARGE;
        return myr_err_set(err, rc, __FILE__, __LINE__, "%s: a value cannot be bound: %s", stmt->db->path,
                           sqlite3_errstr(stmt->bind_code));
    }
    int code = sqlite3_step(stmt->handle);
    if (code != SQLITE_ROW && code != SQLITE_DONE) {
        myr_rc rc = DB_FAIL(stmt->db, code, err);
        sqlite3_reset(stmt->handle);
        return rc;
    }
    *out_has_row = code == SQLITE_ROW;
    return MYR_OK;
}

myr_rc myr_stmt_run(myr_stmt *stmt, myr_err *err)
{
    bool has_row = true;
    myr_rc rc = MYR_OK;
    while (rc == MYR_OK && has_row)
        rc = myr_stmt_step(stmt, &has_row, err);
    myr_stmt_reset(stmt);
    return rc;
}

int64_t myr_stmt_int64(myr_stmt *stmt, int column)
{
    return sqlite3_column_int64(stmt->handle, column);
}

double myr_stmt_double(myr_stmt *stmt, int column)
{
    return sqlite3_column_double(stmt->handle, column);
}

myr_str myr_stmt_text(myr_stmt *stmt, int column)
{
    MYR_ASSERT(column >= 0 && column < sqlite3_column_count(stmt->handle));
    const char *text = (const char *)sqlite3_column_text(stmt->handle, column);
    return myr_str_make(text, text == NULL ? 0 : (size_t)sqlite3_column_bytes(stmt->handle, column));
}

bool myr_stmt_is_null(myr_stmt *stmt, int column)
{
    return sqlite3_column_type(stmt->handle, column) == SQLITE_NULL;
}

myr_stmt_type myr_stmt_type_of(myr_stmt *stmt, int column)
{
    switch (sqlite3_column_type(stmt->handle, column)) {
    case SQLITE_INTEGER:
        return MYR_STMT_INT;
    case SQLITE_FLOAT:
        return MYR_STMT_REAL;
    case SQLITE_TEXT:
        return MYR_STMT_TEXT;
    case SQLITE_BLOB:
        return MYR_STMT_BLOB;
    default:
        return MYR_STMT_NULL;
    }
}

int myr_stmt_column_count(myr_stmt *stmt)
{
    return sqlite3_column_count(stmt->handle);
}

myr_rc myr_db_pragma_int64(myr_db *db, const char *sql, int64_t *out, myr_err *err)
{
    myr_stmt *stmt = NULL;
    bool has_row = false;
    MYR_TRY(myr_db_prepare(db, sql, &stmt, err));
    MYR_TRY(myr_stmt_step(stmt, &has_row, err));
    MYR_ASSERT(has_row);
    *out = myr_stmt_int64(stmt, 0);
    myr_stmt_reset(stmt);
    return MYR_OK;
}
