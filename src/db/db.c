/*
 * A connection: every SQLite code turned into ours in one place, with what mends it; transactions. How it is opened is
 * open.c, statements are stmt.c, schema versions migrate.c.
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
    case SQLITE_IOERR_FSYNC: /* whatever the errno, also ENOSPC: what was written before it may be lost */
    case SQLITE_IOERR_DIR_FSYNC:
        return MYR_IO;
    case SQLITE_IOERR_SHMOPEN: /* the shared-memory file could not be given its size; the errno is lost by then */
    case SQLITE_IOERR_SHMSIZE:
        return MYR_NO_SPACE;
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
    bool is_refused = (code & 0xff) == SQLITE_READONLY && db->why_read_only != MYR_OK;
    if (is_refused) words = "it was opened to be read only";
    myr_rc rc = db_rc(code, sqlite3_system_errno(db->handle));
    if (rc == MYR_BUSY) {
        return myr_err_set(err, rc, file, line, "%s: another process has been writing for %d ms (%s): try again",
                           db->path, db->busy_ms, words);
    }
    if (rc == MYR_DENIED && db->why_read_only != MYR_OK) rc = db->why_read_only;
    if (rc == MYR_NO_SPACE) {
        return myr_err_set(err, rc, file, line,
                           "%s: the disk is full (%s, SQLite code %d): free some space and try again", db->path, words,
                           code);
    }
    if (rc == MYR_DENIED) {
        return myr_err_set(
            err, rc, file, line,
            "%s: read-only for this user or file system (%s, SQLite code %d): give the right to write the file and its "
            "directory, or work as their owner",
            db->path, words, code);
    }
    return myr_err_set(err, rc, file, line, "%s: %s (SQLite code %d)", db->path, words, code);
}

myr_rc myr_db_exec(myr_db *db, const char *sql, myr_err *err)
{
    int code = sqlite3_exec(db->handle, sql, NULL, NULL, NULL);
    return code == SQLITE_OK ? MYR_OK : DB_FAIL(db, code, err);
}

bool myr_db_in_transaction(const myr_db *db)
{
    return sqlite3_get_autocommit(db->handle) == 0;
}

myr_rc myr_db_begin(myr_db *db, myr_err *err)
{
    MYR_ASSERT(!myr_db_in_transaction(db));
    if (db->why_read_only != MYR_OK)
        return DB_FAIL(db, SQLITE_READONLY, err); /* SQLite says so at the first write only */
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

static int db_on_commit(void *ctx, sqlite3 *handle, const char *name, int pages)
{
    myr_db *db = ctx;
    (void)handle;
    (void)name;
    db->log_pages = pages;
    return SQLITE_OK;
}

int64_t myr_db_log_pages(const myr_db *db)
{
    return db->log_pages;
}

void myr_db_own_checkpoints(myr_db *db)
{
    MYR_IGNORE(sqlite3_wal_autocheckpoint(db->handle, 0) != SQLITE_OK); /* fails for a misuse alone */
    sqlite3_wal_hook(db->handle, db_on_commit, db);                     /* it was the checkpoint's */
    MYR_IGNORE(sqlite3_db_config(db->handle, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL) != SQLITE_OK);
}

myr_rc myr_db_checkpoint(myr_db *db, bool all, myr_err *err)
{
    int mode = all ? SQLITE_CHECKPOINT_TRUNCATE : SQLITE_CHECKPOINT_PASSIVE;
    int code = sqlite3_wal_checkpoint_v2(db->handle, "main", mode, NULL, NULL);
    return code == SQLITE_OK || (code & 0xff) == SQLITE_BUSY ? MYR_OK : DB_FAIL(db, code, err);
}

int64_t myr_db_last_id(myr_db *db)
{
    return sqlite3_last_insert_rowid(db->handle);
}

#define DB_REOPEN_STEP (1LL << 32) /* more than SQLite counts up between two looks */

/* SQLite does not look at a file that it was told will not change, so we do. */
myr_rc myr_db_refresh(myr_db *db, myr_err *err)
{
    return db->is_immutable ? myr_db_follow(db, err) : MYR_OK;
}

myr_rc myr_db_data_version(myr_db *db, int64_t *out, myr_err *err)
{
    MYR_TRY(myr_db_refresh(db, err));
    int64_t number = 0;
    MYR_TRY(myr_db_pragma_int64(db, "PRAGMA data_version", &number, err));
    *out = number + db->reopen_count * DB_REOPEN_STEP;
    return MYR_OK;
}
