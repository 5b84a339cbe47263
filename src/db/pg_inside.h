/* What the files of PostgreSQL share: the connection and the ways it waits and fails. Not for other directories. */
#ifndef MYR_DB_PG_INSIDE_H
#define MYR_DB_PG_INSIDE_H

#include <libpq-fe.h>

#include "db/link.h"

struct myr_pg {
    db_link link;
    char *uri;
    const char *setup;
    bool is_bulk;                                /* statements one after the other, COPY: no pipeline */
    PGconn *conn;                                /* NULL: not connected */
    const char *prepared[MYR_PG_STATEMENTS_MAX]; /* statement s<i> of this connection */
    int prepared_count;
};

struct myr_pg_rows {
    PGresult *result;
};

void myr_pg_drop(myr_pg *pg);                 /* give the connection up */
myr_rc myr_pg_lost(myr_pg *pg, myr_err *err); /* it failed by itself: UNAVAILABLE, and it is given up */
/* A failed statement, as the server says it. */
myr_rc myr_pg_refused(const myr_pg *pg, const PGresult *result, myr_err *err);
myr_rc myr_pg_wait(myr_pg *pg, short events, int64_t deadline_ns, myr_err *err);
/* The next result, sending what is left meanwhile. *out NULL: this statement has no more. */
myr_rc myr_pg_next(myr_pg *pg, int64_t deadline_ns, PGresult **out, myr_err *err);

#endif
