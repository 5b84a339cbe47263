/* What a batch run has to do and has done: its inputs, its mini-batches, and every attempt at one. */
#include <string.h>

#include "registry/internal.h"

static myr_rc ledger_check_state(const char *state, myr_err *err)
{
    static const char *const known[] = {"created", "running", "done", "failed", "split", NULL};
    for (size_t i = 0; known[i] != NULL; i++) {
        if (state != NULL && strcmp(state, known[i]) == 0) return MYR_OK;
    }
    MYR_FAIL(err, BAD_INPUT, "mini-batch state '%.40s': created, running, done, failed or split",
             state != NULL ? state : "");
}

/* ---- inputs ---- */

static myr_rc ledger_put_inputs(myr_registry *registry, int64_t id, const myr_run_input_row *rows, size_t count,
                                myr_err *err)
{
    for (size_t i = 0; i < count; i++) {
        myr_stmt *stmt = NULL;
        MYR_TRY(myr_db_prepare(registry->db,
                               "INSERT INTO run_input(run_id, position, path, bytes, modified_ns, name, identity)"
                               " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                               &stmt, err));
        myr_stmt_bind_int64(stmt, 1, id);
        myr_stmt_bind_int64(stmt, 2, (int64_t)i);
        registry_bind_text(stmt, 3, rows[i].path);
        myr_stmt_bind_int64(stmt, 4, rows[i].bytes);
        myr_stmt_bind_int64(stmt, 5, rows[i].modified_ns);
        registry_bind_text(stmt, 6, rows[i].name);
        registry_bind_text(stmt, 7, rows[i].identity);
        MYR_TRY(myr_stmt_run(stmt, err));
    }
    return MYR_OK;
}

myr_rc myr_registry_run_inputs_add(myr_registry *registry, int64_t id, const myr_run_input_row *rows, size_t count,
                                   myr_err *err)
{
    bool is_own = false;
    MYR_TRY(myr_registry_enter(registry, &is_own, err));
    return myr_registry_leave(registry, is_own, ledger_put_inputs(registry, id, rows, count, err), err);
}

myr_rc myr_registry_run_inputs(myr_registry *registry, myr_arena *arena, int64_t id, myr_run_input_row **out,
                               size_t *out_count, myr_err *err)
{
    MYR_AUTO(registry_rows) rows = {0};
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    bool has_row = false;
    MYR_TRY(myr_db_prepare(registry->db,
                           "SELECT path, bytes, modified_ns, name, identity FROM run_input WHERE run_id = ?1"
                           " ORDER BY position",
                           &stmt, err));
    myr_stmt_bind_int64(stmt, 1, id);
    for (;;) {
        MYR_TRY(myr_stmt_step(stmt, &has_row, err));
        if (!has_row) break;
        myr_run_input_row row = {.bytes = myr_stmt_int64(stmt, 1), .modified_ns = myr_stmt_int64(stmt, 2)};
        MYR_TRY(myr_registry_text(stmt, 0, arena, &row.path, err));
        MYR_TRY(myr_registry_text(stmt, 3, arena, &row.name, err));
        MYR_TRY(myr_registry_text(stmt, 4, arena, &row.identity, err));
        MYR_TRY(myr_registry_rows_add(&rows, &row, sizeof row, err));
    }
    void *items = NULL;
    MYR_TRY(myr_registry_rows_take(&rows, sizeof(myr_run_input_row), arena, &items, out_count, err));
    *out = items;
    return MYR_OK;
}

myr_rc myr_registry_run_input_is_used(myr_registry *registry, const char *dir, bool *out, myr_err *err)
{
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    MYR_TRY(myr_db_prepare(registry->db,
                           "SELECT 1 FROM run_input JOIN run USING (run_id)"
                           " WHERE state = 'running' AND substr(path, 1, length(?1) + 1) = ?1 || '/' LIMIT 1",
                           &stmt, err));
    registry_bind_text(stmt, 1, dir);
    return myr_stmt_step(stmt, out, err);
}

/* ---- mini-batches ---- */

myr_rc myr_registry_mini_batch_put(myr_registry *registry, int64_t run_id, const myr_mini_batch_row *row, myr_err *err)
{
    MYR_TRY(ledger_check_state(row->state, err));
    myr_stmt *stmt = NULL;
    MYR_TRY(myr_db_prepare(
        registry->db,
        "INSERT OR REPLACE INTO mini_batch(run_id, number, name, input, first, past, first_line, row_count, state,"
        " attempts, worker, started_ms, ended_ms, file_count, byte_count, dead_count, message, report)"
        " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)",
        &stmt, err));
    const int64_t numbers[] = {row->input, row->first, row->past, row->first_line, row->row_count};
    const int64_t more[] = {row->attempts,   row->worker,     row->started_ms, row->ended_ms,
                            row->file_count, row->byte_count, row->dead_count};
    myr_stmt_bind_int64(stmt, 1, run_id);
    myr_stmt_bind_int64(stmt, 2, row->number);
    registry_bind_text(stmt, 3, row->name);
    for (int i = 0; i < (int)MYR_COUNT_OF(numbers); i++)
        myr_stmt_bind_int64(stmt, 4 + i, numbers[i]);
    registry_bind_text(stmt, 9, row->state);
    for (int i = 0; i < (int)MYR_COUNT_OF(more); i++)
        myr_stmt_bind_int64(stmt, 10 + i, more[i]);
    registry_bind_text(stmt, 17, row->message);
    registry_bind_text(stmt, 18, row->report);
    return myr_stmt_run(stmt, err);
}

static myr_rc ledger_read(myr_stmt *stmt, myr_arena *arena, myr_mini_batch_row *out, myr_err *err)
{
    *out = (myr_mini_batch_row){.number = myr_stmt_int64(stmt, 0),
                                .input = myr_stmt_int64(stmt, 2),
                                .first = myr_stmt_int64(stmt, 3),
                                .past = myr_stmt_int64(stmt, 4),
                                .first_line = myr_stmt_int64(stmt, 5),
                                .row_count = myr_stmt_int64(stmt, 6),
                                .attempts = myr_stmt_int64(stmt, 8),
                                .worker = myr_stmt_int64(stmt, 9),
                                .started_ms = myr_stmt_int64(stmt, 10),
                                .ended_ms = myr_stmt_int64(stmt, 11),
                                .file_count = myr_stmt_int64(stmt, 12),
                                .byte_count = myr_stmt_int64(stmt, 13),
                                .dead_count = myr_stmt_int64(stmt, 14)};
    MYR_TRY(myr_registry_text(stmt, 1, arena, &out->name, err));
    MYR_TRY(myr_registry_text(stmt, 7, arena, &out->state, err));
    MYR_TRY(myr_registry_text(stmt, 15, arena, &out->message, err));
    return myr_registry_text(stmt, 16, arena, &out->report, err);
}

myr_rc myr_registry_mini_batches(myr_registry *registry, myr_arena *arena, int64_t run_id, myr_mini_batch_row **out,
                                 size_t *out_count, myr_err *err)
{
    MYR_AUTO(registry_rows) rows = {0};
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    bool has_row = false;
    MYR_TRY(myr_db_prepare(registry->db,
                           "SELECT number, name, input, first, past, first_line, row_count, state, attempts, worker,"
                           " started_ms, ended_ms, file_count, byte_count, dead_count, message, report"
                           " FROM mini_batch WHERE run_id = ?1 ORDER BY number",
                           &stmt, err));
    myr_stmt_bind_int64(stmt, 1, run_id);
    for (;;) {
        MYR_TRY(myr_stmt_step(stmt, &has_row, err));
        if (!has_row) break;
        myr_mini_batch_row row;
        MYR_TRY(ledger_read(stmt, arena, &row, err));
        MYR_TRY(myr_registry_rows_add(&rows, &row, sizeof row, err));
    }
    void *items = NULL;
    MYR_TRY(myr_registry_rows_take(&rows, sizeof(myr_mini_batch_row), arena, &items, out_count, err));
    *out = items;
    return MYR_OK;
}

/* ---- attempts ---- */

/* The number of the attempt is the next of its mini-batch: a resumed run goes on counting. */
myr_rc myr_registry_attempt_add(myr_registry *registry, int64_t run_id, const myr_attempt_row *row, myr_err *err)
{
    myr_stmt *stmt = NULL;
    MYR_TRY(myr_db_prepare(registry->db,
                           "INSERT OR REPLACE INTO attempt(run_id, number, attempt, worker, started_ms, duration_ms,"
                           " row_count, cause) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                           &stmt, err));
    myr_stmt_bind_int64(stmt, 1, run_id);
    myr_stmt_bind_int64(stmt, 2, row->number);
    myr_stmt_bind_int64(stmt, 3, row->attempt);
    myr_stmt_bind_int64(stmt, 4, row->worker);
    myr_stmt_bind_int64(stmt, 5, row->started_ms);
    myr_stmt_bind_int64(stmt, 6, row->duration_ms);
    myr_stmt_bind_int64(stmt, 7, row->row_count);
    registry_bind_text(stmt, 8, row->cause);
    return myr_stmt_run(stmt, err);
}

myr_rc myr_registry_attempts(myr_registry *registry, myr_arena *arena, int64_t run_id, myr_attempt_row **out,
                             size_t *out_count, myr_err *err)
{
    MYR_AUTO(registry_rows) rows = {0};
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    bool has_row = false;
    MYR_TRY(myr_db_prepare(registry->db,
                           "SELECT number, attempt, worker, started_ms, duration_ms, row_count, cause FROM attempt"
                           " WHERE run_id = ?1 ORDER BY number, attempt",
                           &stmt, err));
    myr_stmt_bind_int64(stmt, 1, run_id);
    for (;;) {
        MYR_TRY(myr_stmt_step(stmt, &has_row, err));
        if (!has_row) break;
        myr_attempt_row row = {.number = myr_stmt_int64(stmt, 0),
                               .attempt = myr_stmt_int64(stmt, 1),
                               .worker = myr_stmt_int64(stmt, 2),
                               .started_ms = myr_stmt_int64(stmt, 3),
                               .duration_ms = myr_stmt_int64(stmt, 4),
                               .row_count = myr_stmt_int64(stmt, 5)};
        MYR_TRY(myr_registry_text(stmt, 6, arena, &row.cause, err));
        MYR_TRY(myr_registry_rows_add(&rows, &row, sizeof row, err));
    }
    void *items = NULL;
    MYR_TRY(myr_registry_rows_take(&rows, sizeof(myr_attempt_row), arena, &items, out_count, err));
    *out = items;
    return MYR_OK;
}
