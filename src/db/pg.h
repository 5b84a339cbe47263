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

/* `{"a","b"}`, a text[] as text, appended. */
void myr_pg_put_array(myr_buf *out, const myr_str *items, size_t count);

#endif
