/*
 * PostgreSQL. A myr_pg is one connection that mends itself: made without I/O, connected by the first call that needs
 * it, and again after it was lost, with growing pauses between attempts. No call takes longer than its deadline, or 30
 * s (but for the system's name resolution, which can't be interrupted: give an address where that matters).
 *
 * Ownership: one owner thread at a time. Errors: UNAVAILABLE (not reachable, lost), TIMEOUT (the connection is given
 * up: whether the statements took effect is not known), EXISTS (unique violation), NO_SPACE, DENIED, CONFLICT
 * (deadlock, serialization), NOT_FOUND (no such table or database), BAD_INPUT; messages name the URI without its
 * password.
 */
#ifndef MYR_DB_PG_H
#define MYR_DB_PG_H

#include "base/base.h"

#define MYR_PG_STATEMENTS_MAX 64
#define MYR_PG_PARAMS_MAX     24

typedef struct myr_pg myr_pg;
/* setup: statements that each new connection runs first (SET …, CREATE TABLE IF NOT EXISTS …), or NULL; static. */
myr_rc myr_pg_new(const char *uri, const char *setup, myr_pg **out, myr_err *err);
void myr_pg_free(myr_pg *pg); /* NULL accepted; an open transaction is rolled back */

/* Connect, if it is not connected: then what comes next fails for other reasons than a server that is away. */
myr_rc myr_pg_connect(myr_pg *pg, myr_err *err);

/* One statement; values as text, NULL for null. It is prepared once per connection and kept by its text. */
typedef struct myr_pg_call {
    const char *sql; /* static */
    const char *const *params;
    int param_count;
} myr_pg_call;

/* What a statement gave. */
typedef struct myr_pg_rows myr_pg_rows;
int myr_pg_row_count(const myr_pg_rows *rows);
int64_t myr_pg_affected(const myr_pg_rows *rows);                  /* rows that an INSERT, UPDATE or DELETE touched */
myr_str myr_pg_text(const myr_pg_rows *rows, int row, int column); /* data == NULL: null */
int64_t myr_pg_int64(const myr_pg_rows *rows, int row, int column);
void myr_pg_rows_free(myr_pg_rows *rows); /* NULL accepted */

/*
 * Statements in one round trip. Outside BEGIN … COMMIT they are one transaction: all or none. out_rows: `count` results
 * that the caller frees one by one, or NULL. After an error an open transaction is rolled back.
 */
myr_rc myr_pg_run(myr_pg *pg, const myr_pg_call *calls, size_t count, int64_t deadline_ns, myr_pg_rows **out_rows,
                  myr_err *err);

/*
 * Bulk: a connection of its own for statements that are put together at run time and for COPY, one after the other. It
 * is connected by myr_pg_connect alone, so that nothing of a transaction can go to another connection than its BEGIN:
 * after any error of the connection all that follows is UNAVAILABLE, until it is connected anew. Each call waits for a
 * sign of the server for up to MYR_PG_BULK_MS. Errors besides: BAD_INPUT the statement has a mistake.
 */
#define MYR_PG_BULK_MS (10 * 60 * 1000)
myr_rc myr_pg_new_bulk(const char *uri, const char *setup, myr_pg **out, myr_err *err);
/* One statement; out_rows NULL, or its result, which the caller frees. */
myr_rc myr_pg_exec(myr_pg *pg, const char *sql, myr_pg_rows **out_rows, myr_err *err);
int myr_pg_column_count(const myr_pg_rows *rows);
const char *myr_pg_column_name(const myr_pg_rows *rows, int column); /* borrowed */
/* COPY … FROM STDIN: begin, bytes in its format as often as wanted, end. A failure in between is told by one of them.
 */
myr_rc myr_pg_copy_in(myr_pg *pg, const char *sql, myr_err *err);
myr_rc myr_pg_copy_put(myr_pg *pg, const void *data, size_t size_bytes, myr_err *err);
myr_rc myr_pg_copy_end(myr_pg *pg, int64_t *out_rows, myr_err *err);
/* COPY … TO STDOUT: what comes is given to fn, a row at a time. */
typedef myr_rc (*myr_pg_copy_fn)(void *ctx, const char *data, size_t size_bytes, myr_err *err);
myr_rc myr_pg_copy_out(myr_pg *pg, const char *sql, myr_pg_copy_fn fn, void *ctx, int64_t *out_rows, myr_err *err);
void myr_pg_put_name(myr_buf *out, const char *name);    /* "a""b", appended */
void myr_pg_put_literal(myr_buf *out, const char *text); /* 'it''s', appended; standard_conforming_strings */

/* `{"a","b"}`, a text[] as text, appended. */
void myr_pg_put_array(myr_buf *out, const myr_str *items, size_t count);

#endif
