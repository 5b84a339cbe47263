/* What the files of PostgreSQL share: the connection and the ways it waits and fails. Not for other directories. */
#ifndef MYR_DB_PG_INSIDE_H
#define MYR_DB_PG_INSIDE_H

#include <libpq-fe.h>

#include "db/link.h"

/* libpq's functions, found by name at run time, as myr_libpq.clear for PQclear. */
/* clang-format off */
#define PG_CALLS(X)                                                                                         \
    X(connectStartParams) X(connectPoll) X(finish) X(status) X(socket) X(errorMessage)                      \
    X(conninfoParse) X(conninfoFree) X(freemem) X(setNoticeProcessor) X(setnonblocking)                     \
    X(enterPipelineMode) X(pipelineSync) X(sendQuery) X(sendPrepare) X(sendQueryPrepared)                   \
    X(flush) X(isBusy) X(consumeInput) X(getResult) X(transactionStatus)                                    \
    X(putCopyData) X(putCopyEnd) X(getCopyData)                                                             \
    X(resultStatus) X(resultErrorField) X(resultErrorMessage) X(clear) X(cmdTuples)                         \
    X(ntuples) X(nfields) X(fname) X(getvalue) X(getlength) X(getisnull)

typedef struct pg_calls {
#define PG_CALL(name) __typeof__(PQ##name) *name;
    PG_CALLS(PG_CALL)
#undef PG_CALL
} pg_calls;
/* clang-format on */
extern pg_calls myr_libpq; /* whole as soon as there is a myr_pg */
/* UNAVAILABLE: libpq is not here. Thread: any. */
myr_rc myr_pg_load(myr_err *err);

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
