/* What the files of db share: the connection, and the one way an SQLite code becomes an error. Not for other
 * directories. */
#ifndef MYR_DB_INTERNAL_H
#define MYR_DB_INTERNAL_H

#include <sqlite3.h>

#include "db/db.h"

#define DB_WAL_WAIT_MS    20
#define DB_FILE_BYTES_MIN 512 /* the smallest page */

/* What tells one state of a file from the next. */
typedef struct db_stamp {
    int64_t inode, size_bytes, changed_ns;
} db_stamp;

struct myr_db {
    sqlite3 *handle;
    char *path;
    int busy_ms;
    myr_rc why_read_only; /* OK: it can be written; else DENIED or NO_SPACE */
    bool is_immutable;    /* read as a file that does not change: see open.c */
    db_stamp stamp;       /* of an immutable one, when it was opened */
    int64_t reopen_count;
    int64_t log_pages;
    myr_map *by_text; /* SQL text -> index in statements */
    myr_stmt *statements[MYR_DB_STATEMENTS_MAX];
    size_t statement_count;
};

struct myr_stmt {
    myr_db *db;
    sqlite3_stmt *handle;
    int bind_code; /* first failed bind since the reset; SQLITE_OK = none */
};

/* The error for a code that the last call on this connection gave; the message names the file and SQLite's words. */
myr_rc myr_db_fail(const myr_db *db, int code, const char *file, int line, myr_err *err);
#define DB_FAIL(db, code, err) myr_db_fail((db), (code), __FILE__, __LINE__, (err))

/* An immutable connection whose file has changed: open it anew. No statement may be in use. On failure it is as it was.
 */
myr_rc myr_db_follow(myr_db *db, myr_err *err);

const char *myr_db_vfs(void); /* log_file.c: how files are written; NULL: as SQLite does it */
void myr_db_reset_statements(myr_db *db);
void myr_db_drop_statements(myr_db *db); /* finalizes all */
myr_rc myr_db_pragma_int64(myr_db *db, const char *sql, int64_t *out, myr_err *err);

#endif
