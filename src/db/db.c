/*
 * A connection: opened with the settings that durability needs (WAL, synchronous=FULL), every SQLite code turned into
 * ours in one place, statements kept by their text. The file of statements is stmt.c, that of schema versions
 * migrate.c.
 */
#include "db/db.h"

#include <errno.h>
#include <string.h>

#include "db/internal.h"

/* What SQLite's (extended) code means to us. `system_errno`: what the operating system said last, for the codes that
 * wrap it. */
static myr_rc db_rc(int code, int system_errno)
{
    switch (code) {
    case SQLITE_CONSTRAINT_UNIQUE:
    case SQLITE_CONSTRAINT_PRIMARYKEY:
    case SQLITE_CONSTRAINT_ROWID:
        return MYR_EXISTS;
    case SQLITE_IOERR_NOMEM:
        return MYR_NO_MEMORY;
    default:
        break;
    }
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return MYR_BUSY;
    case SQLITE_FULL:
        return MYR_NO_SPACE;
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
        return MYR_BAD_FORMAT;
    case SQLITE_NOMEM:
        return MYR_NO_MEMORY;
    case SQLITE_TOOBIG:
        return MYR_TOO_LARGE;
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
        return MYR_DENIED;
    case SQLITE_CONSTRAINT:
    case SQLITE_MISMATCH:
        return MYR_BAD_INPUT;
    case SQLITE_INTERRUPT:
        return MYR_CANCELLED;
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
        break; /* below: the operating system knows more */
    default:
        return MYR_INTERNAL; /* SQL that does not fit the schema, misuse: ours */
    }
    /* A full disk under the shared-memory file or a quota comes as IOERR; a missing directory as CANTOPEN. */
    switch (system_errno) {
    case ENOSPC:
    case EDQUOT:
        return MYR_NO_SPACE;
    case ENOENT:
    case ENOTDIR:
        return MYR_NOT_FOUND;
    case EACCES:
    case EPERM:
    case EROFS:
        return MYR_DENIED;
    default:
        return MYR_IO;
    }
}

myr_rc myr_db_fail(const myr_db *db, int code, const char *file, int line, myr_err *err)
{
    MYR_ASSERT(code != SQLITE_OK && code != SQLITE_ROW && code != SQLITE_DONE);
    int extended = sqlite3_extended_errcode(db->handle);
    bool is_current = (extended & 0xff) == (code & 0xff); /* the handle still talks about this very failure */
    if (is_current) code = extended;
    const char *words = is_current ? sqlite3_errmsg(db->handle) : sqlite3_errstr(code);
    myr_rc rc = db_rc(code, sqlite3_system_errno(db->handle));
    if (rc == MYR_BUSY) {
        return myr_err_set(err, rc, file, line, "%s: another process has been writing for %d s (%s): try again",
                           db->path, MYR_DB_BUSY_MS / 1000, words);
    }
    return myr_err_set(err, rc, file, line, "%s: %s (SQLite code %d)", db->path, words, code);
}

myr_rc myr_db_exec(myr_db *db, const char *sql, myr_err *err)
{
    int code = sqlite3_exec(db->handle, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? MYR_OK : DB_FAIL(db, code, err);
}

/* A file of 0 or 1 bytes is an empty database to SQLite; to us it is a database whose content was lost. */
static myr_rc db_check_file(const char *path, bool create, myr_err *err)
{
    if (!myr_io_exists(path)) {
        if (create) return MYR_OK;
        MYR_FAIL(err, NOT_FOUND, "%s: no such database", path);
    }
    if (myr_io_is_dir(path)) MYR_FAIL(err, BAD_FORMAT, "%s: a directory, not a database", path);
    int64_t size_bytes = 0;
    MYR_TRY(myr_io_size(path, &size_bytes, err));
    if (size_bytes < DB_FILE_BYTES_MIN && !create) {
        MYR_FAIL(err, BAD_FORMAT, "%s: a file of %lld bytes is not a database", path, (long long)size_bytes);
    }
    return MYR_OK;
}

/* Two processes that switch a new file to WAL at once: SQLite does not wait here, so we do. */
static myr_rc db_set_wal(myr_db *db, myr_err *err)
{
    for (int waited_ms = 0;; waited_ms += DB_WAL_WAIT_MS) {
        int code = sqlite3_exec(db->handle, "PRAGMA journal_mode=WAL", NULL, NULL, NULL);
        if (code == SQLITE_OK) break;
        if ((code & 0xff) != SQLITE_BUSY || waited_ms >= MYR_DB_BUSY_MS) return DB_FAIL(db, code, err);
        sqlite3_sleep(DB_WAL_WAIT_MS);
    }
    myr_stmt *stmt = NULL;
    bool has_row = false;
    MYR_TRY(myr_db_prepare(db, "PRAGMA journal_mode", &stmt, err));
    MYR_TRY(myr_stmt_step(stmt, &has_row, err));
    bool is_wal = has_row && myr_str_is(myr_stmt_text(stmt, 0), "wal");
    myr_stmt_reset(stmt);
    if (!is_wal) MYR_FAIL(err, UNSUPPORTED, "%s: the file system does not let SQLite keep a write-ahead log", db->path);
    return MYR_OK;
}

static myr_rc db_configure(myr_db *db, myr_err *err)
{
    sqlite3_busy_timeout(db->handle, MYR_DB_BUSY_MS);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL); /* SQL cannot damage the file */
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DQS_DML, 0, NULL); /* a misspelt column is an error, not a string */
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
    MYR_TRY(myr_db_exec(db, "PRAGMA foreign_keys=ON; PRAGMA cell_size_check=ON", err));
    /* OFF is the negative control of the power-cut test: it must lose data. */
    MYR_TRY(myr_db_exec(db, myr_io_syncs() ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=OFF", err));
    if (sqlite3_db_readonly(db->handle, "main") == 1) {
        MYR_FAIL(err, DENIED, "%s: the database is read-only for this user", db->path);
    }
    return db_set_wal(db, err);
}

myr_rc myr_db_open(const char *path, bool create, myr_db **out, myr_err *err)
{
    MYR_TRY(db_check_file(path, create, err));
    myr_db *db = myr_calloc(1, sizeof *db);
    if (db == NULL) MYR_FAIL(err, NO_MEMORY, "%s: no memory to open the database", path);
    db->path = myr_strdup(path);
    db->by_text = myr_map_new();
    myr_rc rc = MYR_OK;
    if (db->path == NULL || db->by_text == NULL) {
        rc = MYR_ERROR(err, NO_MEMORY, "%s: no memory to open the database", path);
    } else {
        int flags =
            SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE | (create ? SQLITE_OPEN_CREATE : 0);
        int code = sqlite3_open_v2(path, &db->handle, flags, NULL);
        if (db->handle == NULL) {
            rc = MYR_ERROR(err, NO_MEMORY, "%s: no memory to open the database", path);
        } else {
            rc = code == SQLITE_OK ? db_configure(db, err) : DB_FAIL(db, code, err);
        }
    }
    if (rc != MYR_OK) {
        myr_db_close(db);
        return rc;
    }
    *out = db;
    return MYR_OK;
}

void myr_db_close(myr_db *db)
{
    if (db == NULL) return;
    myr_db_drop_statements(db);
    int code = sqlite3_close(db->handle); /* rolls an open transaction back; NULL accepted */
    MYR_ASSERT(code == SQLITE_OK);        /* anything else: a statement of ours is left open */
    myr_map_free(db->by_text);
    myr_free(db->path);
    myr_free(db);
}

bool myr_db_in_transaction(const myr_db *db)
{
    return sqlite3_get_autocommit(db->handle) == 0;
}

myr_rc myr_db_begin(myr_db *db, myr_err *err)
{
    MYR_ASSERT(!myr_db_in_transaction(db));
    return myr_db_exec(db, "BEGIN IMMEDIATE", err);
}

myr_rc myr_db_commit(myr_db *db, myr_err *err)
{
    if (!myr_db_in_transaction(db)) { /* a full disk or an I/O error ended it before */
        MYR_FAIL(err, IO, "%s: the transaction was rolled back after an earlier error", db->path);
    }
    myr_rc rc = myr_db_exec(db, "COMMIT", err);
    if (rc != MYR_OK) myr_db_rollback(db);
    return rc;
}

void myr_db_rollback(myr_db *db)
{
    if (!myr_db_in_transaction(db)) return;
    myr_db_reset_statements(db); /* a read that was left half-way would hold the rollback up */
    MYR_IGNORE(
        sqlite3_exec(db->handle, "ROLLBACK", NULL, NULL, NULL)); /* if it fails, closing or the next open rolls back */
}

int64_t myr_db_last_id(myr_db *db)
{
    return sqlite3_last_insert_rowid(db->handle);
}

myr_rc myr_db_data_version(myr_db *db, int64_t *out, myr_err *err)
{
    return myr_db_pragma_int64(db, "PRAGMA data_version", out, err);
}
