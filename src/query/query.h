/*
 * The face of query: people's SQL with fleets in it. predict('oj', t), score('oj', t) and score_all('oj', t) score the
 * rows of a query through the one scoring path.
 */
#ifndef MYR_QUERY_QUERY_H
#define MYR_QUERY_QUERY_H

#include "base/base.h"
#include "fleet/fleet.h"
#include "table/table.h"

typedef struct myr_query myr_query;
/* An engine that knows the fleets of a workspace, which it borrows. threads, memory_bytes: as of table. Thread: one
 * owner. */
myr_rc myr_query_open(myr_workspace *workspace, int threads, int64_t memory_bytes, myr_query **out, myr_err *err);
void myr_query_close(myr_query *query); /* NULL accepted */
typedef myr_query *myr_query_ptr;
static inline void myr_query_ptr_drop(myr_query_ptr *query)
{
    myr_query_close(*query);
}

/*
 * Run one query. Its fleets are named `oj` (the champion), `oj/3` (a release) or `oj/challenger` (an alias). Errors: as
 * of table's queries, and of a call: NOT_FOUND no such fleet or release; BAD_INPUT a column is missing (with the
 * nearest name), of a type that no model takes, or there are too many or few.
 */
myr_rc myr_query_rows(myr_query *query, const char *sql, const myr_table_rows *rows, myr_err *err);
myr_rc myr_query_write(myr_query *query, const char *sql, const char *path, int64_t *out_rows, myr_err *err);
/* Why the first rows of models that are not ours have no answer; rc OK: all had one. */
const myr_err *myr_query_trouble(const myr_query *query);

#endif
