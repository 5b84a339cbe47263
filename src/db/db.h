/*
 * The face of db: SQL statements over SQLite; its chapters pg.h and redis.h are PostgreSQL and Redis, for what is
 * shared by many machines. One connection has one owner thread at a time. Durable: WAL with synchronous=FULL. Errors:
 * BUSY after the busy time-out (5 s), NO_SPACE, IO, BAD_FORMAT (not a database, damaged), EXISTS (unique violation);
 * messages name the file and SQLite's own words.
 */
#ifndef MYR_DB_DB_H
#define MYR_DB_DB_H

#include "base/base.h"
#include "db/pg.h"
#include "db/redis.h"
#include "db/sql.h"

#define MYR_DB_BUSY_MS        5000 /* how long a call waits for another process's transaction */
#define MYR_DB_STATEMENTS_MAX 256  /* different statements of one connection */

typedef struct myr_db myr_db;
typedef struct myr_stmt myr_stmt;

/*
 * NOT_FOUND if absent and !create. One that may not be written, or has no disk space left for it, opens all the same to
 * be read (unless `create`): writes are DENIED or NO_SPACE then.
 */
myr_rc myr_db_open(const char *path, bool create, myr_db **out, myr_err *err);
/* One that is somebody else's: to be read alone, whatever journal it keeps. Writes are DENIED. */
myr_rc myr_db_open_to_read(const char *path, myr_db **out, myr_err *err);
void myr_db_close(myr_db *db);                                 /* NULL accepted */
myr_rc myr_db_exec(myr_db *db, const char *sql, myr_err *err); /* one or more statements without values */

/* How long calls wait for another process's transaction from now on; 0: MYR_DB_BUSY_MS again. */
void myr_db_set_busy_ms(myr_db *db, int64_t busy_ms);

/* Transactions: BEGIN IMMEDIATE. myr_db_rollback is fine when none is open. */
myr_rc myr_db_begin(myr_db *db, myr_err *err);
myr_rc myr_db_commit(myr_db *db, myr_err *err);
void myr_db_rollback(myr_db *db);
bool myr_db_in_transaction(const myr_db *db); /* false again after an error that made SQLite roll back */

/*
 * For one that commits often: the log is brought into the file by myr_db_checkpoint alone, never by a commit or by
 * closing. Then a failed sync is one call's error, and whoever saw one can leave the file alone.
 */
void myr_db_own_checkpoints(myr_db *db);
int64_t myr_db_log_pages(const myr_db *db); /* of the log after the last commit of such a one */
/* all: wait for readers and empty the log. Else what can be done beside readers and a writer. BUSY is no failure. */
myr_rc myr_db_checkpoint(myr_db *db, bool all, myr_err *err);

/* Statements are cached by their text (few different ones); prepare gives one that is reset and unbound. */
myr_rc myr_db_prepare(myr_db *db, const char *sql, myr_stmt **out, myr_err *err);
void myr_stmt_bind_int64(myr_stmt *stmt, int position, int64_t value); /* positions from 1 */
void myr_stmt_bind_double(myr_stmt *stmt, int position, double value);
void myr_stmt_bind_text(myr_stmt *stmt, int position, myr_str value); /* copied; data == NULL binds NULL */
void myr_stmt_bind_blob(myr_stmt *stmt, int position, const void *data, size_t size_bytes);
myr_rc myr_stmt_step(myr_stmt *stmt, bool *out_has_row, myr_err *err); /* a failed bind is reported here */
myr_rc myr_stmt_run(myr_stmt *stmt, myr_err *err);                     /* step to the end, reset */
void myr_stmt_reset(myr_stmt *stmt);                                   /* end a read early */
/* MYR_AUTO(myr_stmt_ptr) stmt = NULL: a read that is ended however its function is left. */
typedef myr_stmt *myr_stmt_ptr;
static inline void myr_stmt_ptr_drop(myr_stmt_ptr *stmt)
{
    if (*stmt != NULL) myr_stmt_reset(*stmt);
}
int64_t myr_stmt_int64(myr_stmt *stmt, int column); /* columns from 0 */
double myr_stmt_double(myr_stmt *stmt, int column);
myr_str myr_stmt_text(myr_stmt *stmt, int column); /* valid until the next step; NULL: data == NULL */
bool myr_stmt_is_null(myr_stmt *stmt, int column);
/* What a cell is, of its own: SQLite's columns hold anything. */
typedef enum myr_stmt_type { MYR_STMT_NULL, MYR_STMT_INT, MYR_STMT_REAL, MYR_STMT_TEXT, MYR_STMT_BLOB } myr_stmt_type;
myr_stmt_type myr_stmt_type_of(myr_stmt *stmt, int column);
int myr_stmt_column_count(myr_stmt *stmt);
int64_t myr_db_last_id(myr_db *db);

/*
 * Bring the schema up to date: migrations[i] leads from version i to i + 1; each runs in a transaction.
 * A database newer than `count` is UNSUPPORTED, by version, before anything is touched; one that is not ours is
 * BAD_FORMAT.
 */
myr_rc myr_db_migrate(myr_db *db, const char *const *migrations, int count, myr_err *err);
/* A number that changes when another connection commits (for a reader without the right to lock: checkpoints). No
 * statement may be in use. */
myr_rc myr_db_data_version(myr_db *db, int64_t *out, myr_err *err);
/* For a reader without the right to lock: see what changed since. For all others SQLite does that. Likewise. */
myr_rc myr_db_refresh(myr_db *db, myr_err *err);

/* ---- which database ---- */
typedef enum myr_db_kind { MYR_DB_SQLITE, MYR_DB_POSTGRES, MYR_DB_REDIS } myr_db_kind;
/* sqlite:PATH, postgresql://…, redis://… (valkey://…). BAD_INPUT names what there is. */
myr_rc myr_db_uri_kind(const char *uri, myr_db_kind *out, myr_err *err);
const char *myr_db_uri_path(const char *uri);        /* of a sqlite: URI; borrowed */
void myr_db_uri_show(const char *uri, myr_buf *out); /* appended, without its password: for messages and logs */

#endif
