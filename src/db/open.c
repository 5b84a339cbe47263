/*
 * Opening: with the settings that durability needs (WAL, synchronous=FULL); else, for who may not write or has no space
 * left, to read only. Reading a WAL database writes too (the shared-memory file), so where even that fails the file is
 * opened as one that does not change. That is right as long as nothing is in the log: then the file alone is the whole
 * state. A writer that comes later changes the file only when it checkpoints, and myr_db_follow sees that.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "db/internal.h"

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

/* One read, so that what does not work is known now. */
static myr_rc db_try_read(myr_db *db, myr_err *err)
{
    int64_t count = 0;
    return myr_db_pragma_int64(db, "SELECT count(*) FROM sqlite_schema", &count, err);
}

static myr_rc db_configure(myr_db *db, myr_err *err)
{
    myr_db_set_busy_ms(db, MYR_DB_BUSY_MS);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL); /* SQL cannot damage the file */
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DQS_DML, 0, NULL); /* a misspelt column is an error, not a string */
    sqlite3_db_config(db->handle, SQLITE_DBCONFIG_DQS_DDL, 0, NULL);
    MYR_TRY(myr_db_exec(db, "PRAGMA foreign_keys=ON; PRAGMA cell_size_check=ON", err));
    if (sqlite3_db_readonly(db->handle, "main") == 1) {
        if (db->why_read_only == MYR_OK) db->why_read_only = MYR_DENIED;
        return db_try_read(db, err);
    }
    /* OFF is the negative control of the power-cut test: it must lose data. */
    MYR_TRY(myr_db_exec(db, myr_io_syncs() ? "PRAGMA synchronous=FULL" : "PRAGMA synchronous=OFF", err));
    return db_set_wal(db, err);
}

void myr_db_set_busy_ms(myr_db *db, int64_t busy_ms)
{
    MYR_ASSERT(busy_ms >= 0 && busy_ms <= INT_MAX);
    db->busy_ms = busy_ms > 0 ? (int)busy_ms : MYR_DB_BUSY_MS;
    sqlite3_busy_timeout(db->handle, db->busy_ms);
}

static myr_rc db_connect(myr_db *db, const char *name, int flags, myr_err *err)
{
    int code = sqlite3_open_v2(name, &db->handle, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, myr_db_vfs());
    if (db->handle == NULL) MYR_FAIL(err, NO_MEMORY, "%s: no memory to open the database", db->path);
    return code == SQLITE_OK ? db_configure(db, err) : DB_FAIL(db, code, err);
}

static void db_disconnect(myr_db *db)
{
    myr_db_drop_statements(db);
    int code = sqlite3_close(db->handle); /* rolls an open transaction back; NULL accepted */
    MYR_ASSERT(code == SQLITE_OK);        /* anything else: a statement of ours is left open */
    myr_map_free(db->by_text);
    db->handle = NULL;
    db->by_text = NULL;
}

/* ---- a file that does not change ---- */

static myr_rc db_stamp_of(const char *path, db_stamp *out, myr_err *err)
{
    struct stat st;
    if (stat(path, &st) != 0) MYR_FAIL(err, NOT_FOUND, "%s: no such database any more", path);
    *out = (db_stamp){.inode = (int64_t)st.st_ino,
                      .size_bytes = (int64_t)st.st_size,
                      .changed_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec};
    return MYR_OK;
}

/* What is in the log is not in the file yet. */
static myr_rc db_check_log(const myr_db *db, myr_err *err)
{
    char log[MYR_PATH_BYTES_MAX + 8];
    int size = snprintf(log, sizeof log, "%s-wal", db->path);
    MYR_ASSERT(size > 0 && (size_t)size < sizeof log);
    int64_t log_bytes = 0;
    if (!myr_io_exists(log) || (myr_io_size(log, &log_bytes, NULL) == MYR_OK && log_bytes == 0)) return MYR_OK;
    if (db->why_read_only == MYR_NO_SPACE) {
        MYR_FAIL(err, NO_SPACE, "%s: the disk is full, and what was written last is still in %.100s: free some space",
                 db->path, log);
    }
    MYR_FAIL(
        err, DENIED,
        "%s: read-only for this user, and what was written last is still in %.100s: any command of its owner brings "
        "it in",
        db->path, log);
}

/* "file:…?immutable=1", escaped. */
static myr_rc db_connect_immutable(myr_db *db, myr_err *err)
{
    MYR_AUTO(myr_buf) name = {0};
    myr_buf_puts(&name, db->path[0] == '/' ? "file://" : "file:");
    myr_percent_encode(&name, myr_str_of(db->path), "?#");
    myr_buf_puts(&name, "?immutable=1");
    MYR_TRY(myr_buf_check(&name, err));
    db->by_text = myr_map_new();
    if (db->by_text == NULL) MYR_FAIL(err, NO_MEMORY, "%s: no memory to open the database", db->path);
    MYR_TRY(db_check_log(db, err));
    MYR_TRY(db_stamp_of(db->path, &db->stamp, err));
    db->is_immutable = true;
    MYR_TRY(db_connect(db, name.data, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, err));
    return db_check_log(db, err); /* still: else it was written while we opened it */
}

/* ---- all of it ---- */

typedef enum db_mode { DB_WRITE, DB_CREATE, DB_READ } db_mode;

static myr_rc db_start(myr_db *db, db_mode mode, myr_err *err)
{
    myr_err first = {0};
    bool create = mode == DB_CREATE;
    if (mode == DB_READ) return db_connect(db, db->path, SQLITE_OPEN_READONLY, err);
    myr_rc rc = db_connect(db, db->path, SQLITE_OPEN_READWRITE | (create ? SQLITE_OPEN_CREATE : 0), &first);
    if (rc == MYR_OK) return MYR_OK;
    if (rc == MYR_NOT_FOUND && myr_io_exists(db->path)) rc = MYR_DENIED; /* not it: a file beside it, to be made */
    if (!create && (rc == MYR_DENIED || rc == MYR_NO_SPACE)) {
        db_disconnect(db);
        db->why_read_only = rc;
        return db_connect_immutable(db, err);
    }
    if (err != NULL) *err = first;
    return rc;
}

static myr_rc db_open(const char *path, db_mode mode, myr_db **out, myr_err *err)
{
    if (strlen(path) >= MYR_PATH_BYTES_MAX) MYR_FAIL(err, BAD_INPUT, "path is too long: %.100s…", path);
    MYR_TRY(db_check_file(path, mode == DB_CREATE, err));
    myr_db *db = myr_calloc(1, sizeof *db);
    if (db == NULL) MYR_FAIL(err, NO_MEMORY, "%s: no memory to open the database", path);
    db->path = myr_strdup(path);
    db->by_text = myr_map_new();
    myr_rc rc = MYR_OK;
    if (db->path == NULL || db->by_text == NULL) {
        rc = MYR_ERROR(err, NO_MEMORY, "%s: no memory to open the database", path);
    } else {
        rc = db_start(db, mode, err);
    }
    if (rc != MYR_OK) {
        myr_db_close(db);
        return rc;
    }
    *out = db;
    return MYR_OK;
}

myr_rc myr_db_open(const char *path, bool create, myr_db **out, myr_err *err)
{
    return db_open(path, create ? DB_CREATE : DB_WRITE, out, err);
}

myr_rc myr_db_open_to_read(const char *path, myr_db **out, myr_err *err)
{
    return db_open(path, DB_READ, out, err);
}

void myr_db_close(myr_db *db)
{
    if (db == NULL) return;
    db_disconnect(db);
    myr_free(db->path);
    myr_free(db);
}

myr_rc myr_db_follow(myr_db *db, myr_err *err)
{
    MYR_ASSERT(db->is_immutable);
    db_stamp now;
    MYR_TRY(db_stamp_of(db->path, &now, err));
    if (now.inode == db->stamp.inode && now.size_bytes == db->stamp.size_bytes &&
        now.changed_ns == db->stamp.changed_ns) {
        return MYR_OK;
    }
    myr_db *fresh = NULL;
    MYR_TRY(myr_db_open(db->path, false, &fresh, err));
    myr_map *by_text = myr_map_new();
    if (by_text == NULL) {
        myr_db_close(fresh);
        MYR_FAIL(err, NO_MEMORY, "%s: no memory to open the database", db->path);
    }
    myr_db_drop_statements(fresh);
    db_disconnect(db);
    db->handle = fresh->handle;
    db->by_text = by_text;
    db->why_read_only = fresh->why_read_only;
    db->is_immutable = fresh->is_immutable;
    db->stamp = fresh->stamp;
    db->reopen_count++;
    fresh->handle = NULL;
    myr_db_close(fresh);
    return MYR_OK;
}
