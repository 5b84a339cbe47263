/*
 * PostgreSQL in bulk: statements put together at run time, and COPY in both directions. Never blocking, like the other
 * calls, but patient: a COPY of a gigabyte takes its time, so it is the server's silence that ends a call, not its
 * length.
 */
#include <poll.h>
#include <string.h>

#include "db/pg_inside.h"

#define BULK_SEND_BYTES (256 * 1024) /* handed to libpq at once */

static int64_t bulk_deadline(void)
{
    return myr_clock_mono_ns() + MYR_PG_BULK_MS * 1000000LL;
}

myr_rc myr_pg_new_bulk(const char *uri, const char *setup, myr_pg **out, myr_err *err)
{
    MYR_TRY(myr_pg_new(uri, setup, out, err));
    (*out)->is_bulk = true;
    return MYR_OK;
}

static myr_rc bulk_send(myr_pg *pg, const char *sql, myr_err *err)
{
    MYR_ASSERT(pg->is_bulk);
    if (pg->conn == NULL) MYR_FAIL(err, UNAVAILABLE, "%s: the connection was lost", pg->link.shown);
    return myr_libpq.sendQuery(pg->conn, sql) != 0 ? MYR_OK : myr_pg_lost(pg, err);
}

/* What is left of a statement: nothing, if all is well. */
static myr_rc bulk_finish(myr_pg *pg, myr_rc rc, myr_err *err)
{
    for (;;) {
        PGresult *result = NULL;
        myr_rc next = myr_pg_next(pg, bulk_deadline(), &result, rc == MYR_OK ? err : NULL);
        if (next != MYR_OK) return rc != MYR_OK ? rc : next;
        if (result == NULL) break;
        ExecStatusType status = myr_libpq.resultStatus(result);
        if (rc == MYR_OK && status != PGRES_COMMAND_OK && status != PGRES_TUPLES_OK)
            rc = myr_pg_refused(pg, result, err);
        myr_libpq.clear(result);
    }
    if (myr_libpq.status(pg->conn) != CONNECTION_OK) {
        myr_pg_drop(pg);
        if (rc == MYR_OK) MYR_FAIL(err, UNAVAILABLE, "%s: the connection was lost", pg->link.shown);
    }
    return rc;
}

/* The first result of a statement, which must be of this kind; else all of it is read, and it is why. */
static myr_rc bulk_first(myr_pg *pg, ExecStatusType wanted, ExecStatusType or, PGresult **out, myr_err *err)
{
    PGresult *result = NULL;
    MYR_TRY(myr_pg_next(pg, bulk_deadline(), &result, err));
    ExecStatusType status = myr_libpq.resultStatus(result); /* of NULL it is an error */
    if (result != NULL && (status == wanted || status == or)) {
        *out = result;
        return MYR_OK;
    }
    myr_rc rc = result != NULL ? myr_pg_refused(pg, result, err)
                               : MYR_ERROR(err, BAD_INPUT, "%s: there is no statement", pg->link.shown);
    myr_libpq.clear(result);
    return bulk_finish(pg, rc, err);
}

myr_rc myr_pg_exec(myr_pg *pg, const char *sql, myr_pg_rows **out_rows, myr_err *err)
{
    PGresult *result = NULL;
    MYR_TRY(bulk_send(pg, sql, err));
    MYR_TRY(bulk_first(pg, PGRES_COMMAND_OK, PGRES_TUPLES_OK, &result, err));
    myr_rc rc = bulk_finish(pg, MYR_OK, err);
    myr_pg_rows *rows = rc == MYR_OK && out_rows != NULL ? myr_calloc(1, sizeof *rows) : NULL;
    if (rows == NULL) {
        myr_libpq.clear(result);
        if (rc == MYR_OK && out_rows != NULL) MYR_FAIL(err, NO_MEMORY, "%s: no memory for a result", pg->link.shown);
        return rc;
    }
    rows->result = result;
    *out_rows = rows;
    return MYR_OK;
}

int myr_pg_column_count(const myr_pg_rows *rows)
{
    return myr_libpq.nfields(rows->result);
}

const char *myr_pg_column_name(const myr_pg_rows *rows, int column)
{
    MYR_ASSERT(column >= 0 && column < myr_libpq.nfields(rows->result));
    return myr_libpq.fname(rows->result, column);
}

/* ---- COPY … FROM STDIN ---- */

myr_rc myr_pg_copy_in(myr_pg *pg, const char *sql, myr_err *err)
{
    PGresult *result = NULL;
    MYR_TRY(bulk_send(pg, sql, err));
    MYR_TRY(bulk_first(pg, PGRES_COPY_IN, PGRES_COPY_IN, &result, err));
    myr_libpq.clear(result);
    return MYR_OK;
}

/* What libpq could not send at once, it sends now: its buffer does not grow. */
static myr_rc bulk_flush(myr_pg *pg, myr_err *err)
{
    for (;;) {
        int unsent = myr_libpq.flush(pg->conn);
        if (unsent < 0) return myr_pg_lost(pg, err);
        if (unsent == 0) return MYR_OK;
        MYR_TRY(myr_pg_wait(pg, POLLIN | POLLOUT, bulk_deadline(), err));
        if (myr_libpq.consumeInput(pg->conn) == 0) return myr_pg_lost(pg, err);
    }
}

myr_rc myr_pg_copy_put(myr_pg *pg, const void *data, size_t size_bytes, myr_err *err)
{
    const char *bytes = data;
    if (pg->conn == NULL) MYR_FAIL(err, UNAVAILABLE, "%s: the connection was lost", pg->link.shown);
    for (size_t at = 0; at < size_bytes;) {
        size_t next = size_bytes - at < BULK_SEND_BYTES ? size_bytes - at : BULK_SEND_BYTES;
        int sent = myr_libpq.putCopyData(pg->conn, bytes + at, (int)next);
        if (sent < 0) return myr_pg_lost(pg, err);
        if (sent > 0) at += next;
        MYR_TRY(bulk_flush(pg, err));
    }
    return MYR_OK;
}

myr_rc myr_pg_copy_end(myr_pg *pg, int64_t *out_rows, myr_err *err)
{
    int sent = 0;
    PGresult *result = NULL;
    if (pg->conn == NULL) MYR_FAIL(err, UNAVAILABLE, "%s: the connection was lost", pg->link.shown);
    while ((sent = myr_libpq.putCopyEnd(pg->conn, NULL)) == 0)
        MYR_TRY(bulk_flush(pg, err));
    if (sent < 0) return myr_pg_lost(pg, err);
    MYR_TRY(bulk_first(pg, PGRES_COMMAND_OK, PGRES_COMMAND_OK, &result, err));
    int64_t rows = 0;
    if (!myr_parse_int64(myr_str_of(myr_libpq.cmdTuples(result)), &rows)) rows = 0;
    myr_libpq.clear(result);
    MYR_TRY(bulk_finish(pg, MYR_OK, err));
    *out_rows = rows;
    return MYR_OK;
}

/* ---- COPY … TO STDOUT ---- */

/* *out_bytes: of the next row; -1: there is none any more. */
static myr_rc bulk_get(myr_pg *pg, char **out, int *out_bytes, myr_err *err)
{
    for (;;) {
        *out_bytes = myr_libpq.getCopyData(pg->conn, out, 1);
        if (*out_bytes > 0 || *out_bytes == -1) return MYR_OK;
        if (*out_bytes < 0) return myr_pg_lost(pg, err);
        MYR_TRY(myr_pg_wait(pg, POLLIN, bulk_deadline(), err));
        if (myr_libpq.consumeInput(pg->conn) == 0) return myr_pg_lost(pg, err);
    }
}

myr_rc myr_pg_copy_out(myr_pg *pg, const char *sql, myr_pg_copy_fn fn, void *ctx, int64_t *out_rows, myr_err *err)
{
    PGresult *result = NULL;
    int64_t rows = 0;
    MYR_TRY(bulk_send(pg, sql, err));
    MYR_TRY(bulk_first(pg, PGRES_COPY_OUT, PGRES_COPY_OUT, &result, err));
    myr_libpq.clear(result);
    for (;; rows++) {
        char *data = NULL;
        int bytes = 0;
        MYR_TRY(bulk_get(pg, &data, &bytes, err));
        if (bytes < 0) break;
        myr_rc rc = fn(ctx, data, (size_t)bytes, err);
        myr_libpq.freemem(data);
        if (rc != MYR_OK) {
            myr_pg_drop(pg); /* the rest of it is not wanted */
            return rc;
        }
    }
    MYR_TRY(bulk_finish(pg, MYR_OK, err));
    *out_rows = rows;
    return MYR_OK;
}

/* ---- SQL ---- */

static void bulk_quote(myr_buf *out, const char *text, char quote)
{
    myr_buf_putc(out, quote);
    for (; *text != '\0'; text++) {
        if (*text == quote) myr_buf_putc(out, quote);
        myr_buf_putc(out, *text);
    }
    myr_buf_putc(out, quote);
}

void myr_pg_put_name(myr_buf *out, const char *name)
{
    bulk_quote(out, name, '"');
}

void myr_pg_put_literal(myr_buf *out, const char *text)
{
    bulk_quote(out, text, '\'');
}
