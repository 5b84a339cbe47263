/*
 * One face over both databases that keep state: SQLite in a file, PostgreSQL where several machines share it. For what
 * is asked seldom: a transaction has the database's tables to itself, in both, so what it read is so until it commits.
 *
 * SQL is what both understand: values are $1, $2, … which first stand in that order; numbers are BIGINT or text.
 * Ownership: one owner thread at a time. Errors: those of db.h and pg.h. After an error the transaction is over.
 */
#ifndef MYR_DB_SQL_H
#define MYR_DB_SQL_H

#include "base/base.h"

#define MYR_SQL_VALUES_MAX 24
#define MYR_SQL_CALL_MS    10000 /* the longest that a statement takes */

typedef struct myr_sql myr_sql;
typedef struct myr_sql_value {
    bool is_text;
    int64_t number;
    const char *text; /* NULL: null */
} myr_sql_value;
#define MYR_SQL_INT(value)  ((myr_sql_value){.number = (value)})
#define MYR_SQL_TEXT(value) ((myr_sql_value){.is_text = true, .text = (value)})

/*
 * uri: sqlite:PATH (the file must exist; its schema is its maker's) or postgresql://…, where each new connection runs
 * pg_setup first (static). A lock of PostgreSQL's named `pg_lock` is what transactions take turns by.
 */
myr_rc myr_sql_open(const char *uri, const char *pg_setup, int64_t pg_lock, myr_sql **out, myr_err *err);
void myr_sql_close(myr_sql *sql); /* NULL accepted; an open transaction is rolled back */
myr_rc myr_sql_begin(myr_sql *sql, myr_err *err);
myr_rc myr_sql_commit(myr_sql *sql, myr_err *err); /* failed: it is not known whether it took effect */
void myr_sql_rollback(myr_sql *sql);               /* fine when none is open */

/*
 * Run a statement and stand before its first row; myr_sql_next goes to the next. The next run ends it. Texts of a row
 * are valid until myr_sql_next or the next run. text: static.
 */
myr_rc myr_sql_run(myr_sql *sql, const char *text, const myr_sql_value *values, size_t count, myr_err *err);
#define MYR_SQL(sql, err, text, ...)                                                                                   \
    myr_sql_run((sql), (text), (const myr_sql_value[]){__VA_ARGS__},                                                   \
                sizeof((const myr_sql_value[]){__VA_ARGS__}) / sizeof(myr_sql_value), (err))
myr_rc myr_sql_next(myr_sql *sql, bool *out_has_row, myr_err *err);
void myr_sql_done(myr_sql *sql);               /* end a read early: while one is open, SQLite keeps what it sees */
int64_t myr_sql_int(myr_sql *sql, int column); /* null is 0 */
myr_str myr_sql_text(myr_sql *sql, int column);
/* Run one that changes rows, to its end; how many it touched. out_rows may be NULL. */
myr_rc myr_sql_change(myr_sql *sql, const char *text, const myr_sql_value *values, size_t count, int64_t *out_rows,
                      myr_err *err);
#define MYR_SQL_CHANGE(sql, out_rows, err, text, ...)                                                                  \
    myr_sql_change((sql), (text), (const myr_sql_value[]){__VA_ARGS__},                                                \
                   sizeof((const myr_sql_value[]){__VA_ARGS__}) / sizeof(myr_sql_value), (out_rows), (err))

#endif
