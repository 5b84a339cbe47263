/*
 * PostgreSQL over libpq, never blocking: every wait is a poll with what is left of the deadline. Statements go out in
 * libpq's pipeline mode, so a batch is one round trip, and one transaction where the caller opened none. A call that is
 * late gives its connection up: what would come on it later could not be told from the answer to the next call.
 */
#include "db/pg.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "db/pg_inside.h"

/* ---- errors ---- */

/* By class of SQLSTATE; see PostgreSQL's appendix A. */
static myr_rc pg_rc(const char *state, bool is_bulk)
{
    static const struct {
        const char *prefix;
        myr_rc rc;
    } known[] = {
        {"23505", MYR_EXISTS},    {"53100", MYR_NO_SPACE}, {"53200", MYR_NO_MEMORY}, {"53", MYR_BUSY},
        {"28", MYR_DENIED},       {"42501", MYR_DENIED},   {"25006", MYR_DENIED},    {"42P01", MYR_NOT_FOUND},
        {"3D000", MYR_NOT_FOUND}, {"40", MYR_CONFLICT},    {"57014", MYR_TIMEOUT},   {"55P03", MYR_BUSY},
        {"57", MYR_UNAVAILABLE},  {"08", MYR_UNAVAILABLE}, {"58", MYR_IO},           {"22", MYR_BAD_INPUT},
        {"23", MYR_BAD_INPUT},    {"XX", MYR_IO},
    };
    for (size_t i = 0; i < MYR_COUNT_OF(known); i++) {
        if (strncmp(state, known[i].prefix, strlen(known[i].prefix)) == 0) return known[i].rc;
    }
    bool is_mistake = strncmp(state, "42", 2) == 0; /* syntax, names: ours, or of what people have written */
    return is_bulk && is_mistake ? MYR_BAD_INPUT : MYR_INTERNAL;
}

/* libpq's words end in a line break and may have several lines: the first says it. */
static myr_str pg_first_line(const char *words)
{
    myr_str text = myr_str_trim(myr_str_of(words));
    const char *end = text.size > 0 ? memchr(text.data, '\n', text.size) : NULL;
    return end != NULL ? myr_str_make(text.data, (size_t)(end - text.data)) : text;
}

void myr_pg_drop(myr_pg *pg)
{
    myr_libpq.finish(pg->conn); /* NULL is fine */
    pg->conn = NULL;
    pg->prepared_count = 0;
}

/* The connection itself failed. */
myr_rc myr_pg_lost(myr_pg *pg, myr_err *err)
{
    myr_str words = pg_first_line(myr_libpq.errorMessage(pg->conn));
    myr_rc rc =
        MYR_ERROR(err, UNAVAILABLE, "%s: the connection was lost: " MYR_STR_FMT, pg->link.shown, MYR_STR_ARG(words));
    myr_pg_drop(pg);
    return rc;
}

myr_rc myr_pg_refused(const myr_pg *pg, const PGresult *result, myr_err *err)
{
    const char *state = myr_libpq.resultErrorField(result, PG_DIAG_SQLSTATE);
    const char *words = myr_libpq.resultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    if (state == NULL) state = "08000"; /* libpq's own: the connection */
    if (words == NULL) words = myr_libpq.resultErrorMessage(result);
    myr_str line = pg_first_line(words);
    const char *where =
        pg->is_bulk ? myr_libpq.resultErrorField(result, PG_DIAG_CONTEXT) : NULL; /* COPY t, line 3, column a */
    if (where != NULL && strncmp(where, "COPY ", 5) == 0) {
        myr_str at = pg_first_line(where);
        return myr_err_set(err, pg_rc(state, true), __FILE__, __LINE__,
                           "%s: " MYR_STR_FMT " (SQLSTATE %s; " MYR_STR_FMT ")", pg->link.shown, MYR_STR_ARG(line),
                           state, MYR_STR_ARG(at));
    }
    return myr_err_set(err, pg_rc(state, pg->is_bulk), __FILE__, __LINE__, "%s: " MYR_STR_FMT " (SQLSTATE %s)",
                       pg->link.shown, MYR_STR_ARG(line), state);
}

/* ---- waiting ---- */

myr_rc myr_pg_wait(myr_pg *pg, short events, int64_t deadline_ns, myr_err *err)
{
    int fd = myr_libpq.socket(pg->conn);
    if (fd < 0) return myr_pg_lost(pg, err);
    myr_rc rc = myr_db_link_wait(&pg->link, fd, events, deadline_ns, err);
    if (rc != MYR_OK) myr_pg_drop(pg);
    return rc;
}

/* The next result, sending what is left meanwhile. *out NULL: this statement has no more. */
myr_rc myr_pg_next(myr_pg *pg, int64_t deadline_ns, PGresult **out, myr_err *err)
{
    for (;;) {
        int unsent = myr_libpq.flush(pg->conn);
        if (unsent < 0) return myr_pg_lost(pg, err);
        if (myr_libpq.isBusy(pg->conn) == 0) break;
        MYR_TRY(myr_pg_wait(pg, (short)(unsent > 0 ? POLLIN | POLLOUT : POLLIN), deadline_ns, err));
        if (myr_libpq.consumeInput(pg->conn) == 0) return myr_pg_lost(pg, err);
    }
    *out = myr_libpq.getResult(pg->conn);
    return MYR_OK;
}

/* ---- connecting ---- */

static void pg_ignore_notice(void *ctx, const char *message)
{
    (void)ctx;
    (void)message;
}

static myr_rc pg_poll_connect(myr_pg *pg, int64_t deadline_ns, myr_err *err)
{
    PostgresPollingStatusType state = PGRES_POLLING_WRITING;
    while (state != PGRES_POLLING_OK) {
        if (state == PGRES_POLLING_FAILED) {
            myr_str words = pg_first_line(myr_libpq.errorMessage(pg->conn));
            MYR_FAIL(err, UNAVAILABLE, "%s: cannot connect: " MYR_STR_FMT, pg->link.shown, MYR_STR_ARG(words));
        }
        MYR_TRY(myr_db_link_wait(&pg->link, myr_libpq.socket(pg->conn),
                                 state == PGRES_POLLING_READING ? POLLIN : POLLOUT, deadline_ns, err));
        state = myr_libpq.connectPoll(pg->conn);
    }
    return MYR_OK;
}

/* Several statements in one text, outside the pipeline. */
static myr_rc pg_setup(myr_pg *pg, int64_t deadline_ns, myr_err *err)
{
    if (pg->setup == NULL) return MYR_OK;
    if (myr_libpq.sendQuery(pg->conn, pg->setup) == 0) return myr_pg_lost(pg, err);
    myr_rc rc = MYR_OK;
    for (;;) {
        PGresult *result = NULL;
        MYR_TRY(myr_pg_next(pg, deadline_ns, &result, err));
        if (result == NULL) return rc;
        ExecStatusType status = myr_libpq.resultStatus(result);
        if (rc == MYR_OK && status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK) {
            rc = myr_pg_refused(pg, result, err);
        }
        myr_libpq.clear(result);
    }
}

static myr_rc pg_try_connect(myr_pg *pg, myr_err *err)
{
    const char *const names[] = {"dbname", "client_encoding", "application_name", NULL};
    const char *const values[] = {pg->uri, "UTF8", "myriad", NULL};
    int64_t deadline_ns = myr_clock_mono_ns() + LINK_CONNECT_MS * 1000000LL;
    pg->conn = myr_libpq.connectStartParams(names, values, 1);
    if (pg->conn == NULL) MYR_FAIL(err, NO_MEMORY, "%s: no memory for a connection", pg->link.shown);
    if (myr_libpq.status(pg->conn) == CONNECTION_BAD) {
        myr_str words = pg_first_line(myr_libpq.errorMessage(pg->conn));
        MYR_FAIL(err, UNAVAILABLE, "%s: cannot connect: " MYR_STR_FMT, pg->link.shown, MYR_STR_ARG(words));
    }
    myr_libpq.setNoticeProcessor(pg->conn, pg_ignore_notice, NULL);
    MYR_TRY(pg_poll_connect(pg, deadline_ns, err));
    if (myr_libpq.setnonblocking(pg->conn, 1) != 0) return myr_pg_lost(pg, err);
    MYR_TRY(pg_setup(pg, deadline_ns, err));
    if (!pg->is_bulk && myr_libpq.enterPipelineMode(pg->conn) == 0) return myr_pg_lost(pg, err);
    return MYR_OK;
}

myr_rc myr_pg_connect(myr_pg *pg, myr_err *err)
{
    if (pg->conn != NULL && myr_libpq.status(pg->conn) == CONNECTION_OK) return MYR_OK;
    myr_pg_drop(pg);
    MYR_TRY(myr_db_link_may(&pg->link, err));
    myr_err why = {0};
    myr_rc rc = pg_try_connect(pg, &why);
    if (rc == MYR_OK) {
        myr_db_link_works(&pg->link);
        return MYR_OK;
    }
    myr_pg_drop(pg);
    rc = myr_db_link_failed(&pg->link, &why);
    if (err != NULL) *err = why;
    return rc;
}

/* ---- statements ---- */

/* Collect up to the sync; the first failure is the answer, but all is read, so that the connection stays usable. */
static myr_rc pg_collect(myr_pg *pg, size_t count, int64_t deadline_ns, PGresult **out_results, myr_err *err)
{
    myr_rc rc = MYR_OK;
    size_t done = 0;
    for (;;) {
        PGresult *result = NULL;
        MYR_TRY(myr_pg_next(pg, deadline_ns, &result, err));
        if (result == NULL) { /* between two statements */
            if (done > count) return myr_pg_lost(pg, err);
            continue;
        }
        ExecStatusType status = myr_libpq.resultStatus(result);
        if (status == PGRES_PIPELINE_SYNC) {
            myr_libpq.clear(result);
            return rc;
        }
        bool is_good = status == PGRES_COMMAND_OK || status == PGRES_TUPLES_OK;
        if (!is_good && rc == MYR_OK) rc = myr_pg_refused(pg, result, err);
        if (is_good && out_results != NULL && done < count) {
            out_results[done] = result;
        } else {
            myr_libpq.clear(result);
        }
        done++;
        if (myr_libpq.status(pg->conn) != CONNECTION_OK) {
            myr_pg_drop(pg);
            return rc == MYR_OK ? MYR_ERROR(err, UNAVAILABLE, "%s: the connection was lost", pg->link.shown) : rc;
        }
    }
}

/* The index of a statement on this connection, or -1. */
static int pg_find(const myr_pg *pg, const char *sql)
{
    for (int i = 0; i < pg->prepared_count; i++) {
        if (strcmp(pg->prepared[i], sql) == 0) return i;
    }
    return -1;
}

static void pg_name(int idx, char out[16])
{
    int size = snprintf(out, 16, "s%d", idx);
    MYR_ASSERT(size > 0 && size < 16);
}

/* A round trip of its own, once per connection and text. */
static myr_rc pg_prepare(myr_pg *pg, const char *sql, int64_t deadline_ns, myr_err *err)
{
    if (pg_find(pg, sql) >= 0) return MYR_OK;
    MYR_ASSERT(pg->prepared_count < MYR_PG_STATEMENTS_MAX); /* statements are ours, and few */
    char name[16];
    pg_name(pg->prepared_count, name);
    if (myr_libpq.sendPrepare(pg->conn, name, sql, 0, NULL) == 0 || myr_libpq.pipelineSync(pg->conn) == 0)
        return myr_pg_lost(pg, err);
    MYR_TRY(pg_collect(pg, 1, deadline_ns, NULL, err));
    pg->prepared[pg->prepared_count++] = sql;
    return MYR_OK;
}

static myr_rc pg_send(myr_pg *pg, const myr_pg_call *calls, size_t count, int64_t deadline_ns, myr_err *err)
{
    for (size_t i = 0; i < count; i++) {
        MYR_ASSERT(calls[i].param_count <= MYR_PG_PARAMS_MAX);
        MYR_TRY(pg_prepare(pg, calls[i].sql, deadline_ns, err));
    }
    for (size_t i = 0; i < count; i++) {
        char name[16];
        pg_name(pg_find(pg, calls[i].sql), name);
        if (myr_libpq.sendQueryPrepared(pg->conn, name, calls[i].param_count, calls[i].params, NULL, NULL, 0) == 0) {
            return myr_pg_lost(pg, err);
        }
    }
    return myr_libpq.pipelineSync(pg->conn) != 0 ? MYR_OK : myr_pg_lost(pg, err);
}

static myr_rc pg_steps(myr_pg *pg, const myr_pg_call *calls, size_t count, int64_t deadline_ns, PGresult **results,
                       myr_err *err)
{
    MYR_TRY(myr_pg_connect(pg, err));
    myr_rc rc = pg_send(pg, calls, count, deadline_ns, err);
    if (rc == MYR_OK) rc = pg_collect(pg, count, deadline_ns, results, err);
    if (rc == MYR_OK || pg->conn == NULL) return rc;
    if (myr_libpq.transactionStatus(pg->conn) != PQTRANS_IDLE) myr_pg_drop(pg); /* the server rolls it back */
    return rc;
}

static void pg_clear(PGresult **results, size_t count)
{
    for (size_t i = 0; i < count; i++)
        myr_libpq.clear(results[i]); /* NULL is fine */
}

/* From libpq's results to ours; all or none. */
static myr_rc pg_give(const myr_pg *pg, PGresult **results, size_t count, myr_pg_rows **out, myr_err *err)
{
    for (size_t i = 0; i < count; i++) {
        out[i] = myr_calloc(1, sizeof **out);
        if (out[i] == NULL) {
            for (size_t k = 0; k < i; k++) {
                out[k]->result = NULL; /* freed with the rest by the caller */
                myr_pg_rows_free(out[k]);
                out[k] = NULL; /* the caller frees what is there */
            }
            MYR_FAIL(err, NO_MEMORY, "%s: no memory for %zu results", pg->link.shown, count);
        }
        out[i]->result = results[i];
    }
    return MYR_OK;
}

myr_rc myr_pg_run(myr_pg *pg, const myr_pg_call *calls, size_t count, int64_t deadline_ns, myr_pg_rows **out_rows,
                  myr_err *err)
{
    MYR_ASSERT(!pg->is_bulk);
    deadline_ns = myr_db_link_deadline(deadline_ns);
    if (out_rows == NULL) return pg_steps(pg, calls, count, deadline_ns, NULL, err);
    MYR_AUTO(myr_mem) memory = myr_calloc(count, sizeof(PGresult *));
    if (memory == NULL) MYR_FAIL(err, NO_MEMORY, "%s: no memory for %zu results", pg->link.shown, count);
    PGresult **results = memory;
    myr_rc rc = pg_steps(pg, calls, count, deadline_ns, results, err);
    if (rc == MYR_OK) rc = pg_give(pg, results, count, out_rows, err);
    if (rc != MYR_OK) pg_clear(results, count);
    return rc;
}

/* ---- life ---- */

myr_rc myr_pg_new(const char *uri, const char *setup, myr_pg **out, myr_err *err)
{
    char *words = NULL;
    MYR_TRY(myr_pg_load(err));
    PQconninfoOption *parsed = myr_libpq.conninfoParse(uri, &words);
    if (parsed == NULL) {
        MYR_AUTO(myr_buf) shown = {0};
        myr_db_uri_show(uri, &shown);
        myr_rc rc = MYR_ERROR(err, BAD_INPUT, "'%s' is not a URI of PostgreSQL: write postgresql://user@host:5432/db",
                              shown.data != NULL ? shown.data : "");
        myr_libpq.freemem(words); /* they may quote the password */
        return rc;
    }
    myr_libpq.conninfoFree(parsed);
    myr_pg *pg = myr_calloc(1, sizeof *pg);
    if (pg == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a connection");
    pg->setup = setup;
    pg->uri = myr_strdup(uri);
    myr_rc rc = myr_db_link_init(&pg->link, uri, err);
    if (rc == MYR_OK && pg->uri == NULL) rc = MYR_ERROR(err, NO_MEMORY, "no memory for a connection");
    if (rc != MYR_OK) {
        myr_pg_free(pg);
        return rc;
    }
    *out = pg;
    return MYR_OK;
}

void myr_pg_free(myr_pg *pg)
{
    if (pg == NULL) return;
    myr_pg_drop(pg);
    myr_db_link_fini(&pg->link);
    myr_free(pg->uri);
    myr_free(pg);
}

/* ---- results ---- */

int myr_pg_row_count(const myr_pg_rows *rows)
{
    return myr_libpq.ntuples(rows->result);
}

int64_t myr_pg_affected(const myr_pg_rows *rows)
{
    int64_t count = 0;
    return myr_parse_int64(myr_str_of(myr_libpq.cmdTuples(rows->result)), &count) ? count : 0;
}

myr_str myr_pg_text(const myr_pg_rows *rows, int row, int column)
{
    MYR_ASSERT(row >= 0 && row < myr_libpq.ntuples(rows->result) && column >= 0 &&
               column < myr_libpq.nfields(rows->result));
    if (myr_libpq.getisnull(rows->result, row, column)) return myr_str_make(NULL, 0);
    return myr_str_make(myr_libpq.getvalue(rows->result, row, column),
                        (size_t)myr_libpq.getlength(rows->result, row, column));
}

int64_t myr_pg_int64(const myr_pg_rows *rows, int row, int column)
{
    int64_t value = 0;
    return myr_parse_int64(myr_pg_text(rows, row, column), &value) ? value : 0;
}

void myr_pg_rows_free(myr_pg_rows *rows)
{
    if (rows == NULL) return;
    myr_libpq.clear(rows->result);
    myr_free(rows);
}

void myr_pg_put_array(myr_buf *out, const myr_str *items, size_t count)
{
    myr_buf_putc(out, '{');
    for (size_t i = 0; i < count; i++) {
        myr_buf_puts(out, i > 0 ? ",\"" : "\"");
        for (size_t k = 0; k < items[i].size; k++) {
            char c = items[i].data[k];
            if (c == '"' || c == '\\') myr_buf_putc(out, '\\');
            myr_buf_putc(out, c);
        }
        myr_buf_putc(out, '"');
    }
    myr_buf_putc(out, '}');
}
