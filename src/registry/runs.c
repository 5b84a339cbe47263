/* Runs of batch jobs: a row when one starts, the same row when it ends. A run that never ended was killed. */
#include <string.h>

#include "registry/internal.h"

#define RUNS_COLUMNS                                                                                                   \
    "run_id, fleet, release, input, output, state, started_ms, ended_ms, row_count, ok_count, message, job,"           \
    " fingerprint, owner, lease_ms, cancel"

static myr_rc run_check_state(const char *state, myr_err *err)
{
    static const char *const known[] = {"running", "completed", "failed", "canceled", NULL};
    for (size_t i = 0; known[i] != NULL; i++) {
        if (state != NULL && strcmp(state, known[i]) == 0) return MYR_OK;
    }
    MYR_FAIL(err, BAD_INPUT, "run state '%.40s': running, completed, failed or canceled", state != NULL ? state : "");
}

/* ---- one run ---- */

myr_rc myr_registry_run_start(myr_registry *registry, const myr_run_row *row, int64_t *out_id, myr_err *err)
{
    MYR_TRY(myr_registry_check_name(row->fleet, "fleet name", err));
    bool is_own = false;
    myr_stmt *stmt = NULL;
    MYR_TRY(myr_registry_enter(registry, &is_own, err));
    myr_rc rc = myr_db_prepare(
        registry->db,
        "INSERT INTO run(fleet, release, input, output, state, started_ms, ended_ms, row_count, ok_count, message,"
        " job, fingerprint, owner, lease_ms, settings, plan)"
        " VALUES(?1, ?2, ?3, ?4, 'running', ?5, 0, 0, 0, '', ?6, ?7, ?8, ?9, ?10, ?11)",
        &stmt, err);
    if (rc == MYR_OK) {
        registry_bind_text(stmt, 1, row->fleet);
        myr_stmt_bind_int64(stmt, 2, row->release);
        registry_bind_text(stmt, 3, row->input);
        registry_bind_text(stmt, 4, row->output);
        myr_stmt_bind_int64(stmt, 5, row->started_ms != 0 ? row->started_ms : myr_clock_unix_ms());
        registry_bind_text(stmt, 6, row->job);
        registry_bind_text(stmt, 7, row->fingerprint);
        registry_bind_text(stmt, 8, row->owner);
        myr_stmt_bind_int64(stmt, 9, row->lease_ms);
        registry_bind_text(stmt, 10, row->settings);
        registry_bind_text(stmt, 11, row->plan);
        rc = myr_stmt_run(stmt, err);
    }
    int64_t id = myr_db_last_id(registry->db);
    MYR_TRY(myr_registry_leave(registry, is_own, rc, err));
    *out_id = id;
    return MYR_OK;
}

/* Step an UPDATE … RETURNING run_id to its end, which is when it commits. */
static myr_rc run_update(myr_stmt *stmt, int64_t id, myr_err *err)
{
    bool has_row = false;
    MYR_TRY(myr_stmt_step(stmt, &has_row, err));
    if (!has_row) MYR_FAIL(err, NOT_FOUND, "no run %lld", (long long)id);
    return myr_stmt_step(stmt, &has_row, err);
}

myr_rc myr_registry_run_again(myr_registry *registry, int64_t id, const char *owner, int64_t lease_ms, myr_err *err)
{
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    MYR_TRY(myr_db_prepare(registry->db,
                           "UPDATE run SET state = 'running', ended_ms = 0, message = '', cancel = 0, owner = ?2,"
                           " lease_ms = ?3 WHERE run_id = ?1 RETURNING run_id",
                           &stmt, err));
    myr_stmt_bind_int64(stmt, 1, id);
    registry_bind_text(stmt, 2, owner);
    myr_stmt_bind_int64(stmt, 3, lease_ms);
    return run_update(stmt, id, err);
}

myr_rc myr_registry_run_end(myr_registry *registry, int64_t id, const char *state, int64_t row_count, int64_t ok_count,
                            const char *message, myr_err *err)
{
    MYR_TRY(run_check_state(state, err));
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    MYR_TRY(myr_db_prepare(registry->db,
                           "UPDATE run SET state = ?2, ended_ms = ?3, row_count = ?4, ok_count = ?5, message = ?6,"
                           " lease_ms = 0 WHERE run_id = ?1 RETURNING run_id",
                           &stmt, err));
    myr_stmt_bind_int64(stmt, 1, id);
    registry_bind_text(stmt, 2, state);
    myr_stmt_bind_int64(stmt, 3, myr_clock_unix_ms());
    myr_stmt_bind_int64(stmt, 4, row_count);
    myr_stmt_bind_int64(stmt, 5, ok_count);
    registry_bind_text(stmt, 6, message);
    return run_update(stmt, id, err);
}

myr_rc myr_registry_run_beat(myr_registry *registry, int64_t id, int64_t lease_ms, int64_t row_count, bool *out_cancel,
                             myr_err *err)
{
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    bool has_row = false;
    MYR_TRY(myr_db_prepare(
        registry->db, "UPDATE run SET lease_ms = ?2, row_count = ?3 WHERE run_id = ?1 RETURNING cancel", &stmt, err));
    myr_stmt_bind_int64(stmt, 1, id);
    myr_stmt_bind_int64(stmt, 2, lease_ms);
    myr_stmt_bind_int64(stmt, 3, row_count);
    MYR_TRY(myr_stmt_step(stmt, &has_row, err));
    if (!has_row) MYR_FAIL(err, NOT_FOUND, "no run %lld", (long long)id);
    bool cancel = myr_stmt_int64(stmt, 0) != 0;
    MYR_TRY(myr_stmt_step(stmt, &has_row, err));
    *out_cancel = cancel;
    return MYR_OK;
}

myr_rc myr_registry_run_cancel(myr_registry *registry, int64_t id, myr_err *err)
{
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    bool has_row = false;
    MYR_TRY(myr_db_prepare(registry->db,
                           "UPDATE run SET cancel = 1 WHERE run_id = ?1 AND state = 'running' RETURNING run_id", &stmt,
                           err));
    myr_stmt_bind_int64(stmt, 1, id);
    MYR_TRY(myr_stmt_step(stmt, &has_row, err));
    if (!has_row) MYR_FAIL(err, CONFLICT, "run %lld is not running", (long long)id);
    return myr_stmt_step(stmt, &has_row, err);
}

/* ---- reading ---- */

static myr_rc run_read(myr_stmt *stmt, myr_arena *arena, myr_run_row *out, myr_err *err)
{
    *out = (myr_run_row){
        .id = myr_stmt_int64(stmt, 0),
        .release = myr_stmt_int64(stmt, 2),
        .started_ms = myr_stmt_int64(stmt, 6),
        .ended_ms = myr_stmt_int64(stmt, 7),
        .row_count = myr_stmt_int64(stmt, 8),
        .ok_count = myr_stmt_int64(stmt, 9),
        .lease_ms = myr_stmt_int64(stmt, 14),
        .cancel = myr_stmt_int64(stmt, 15) != 0,
        .settings = "",
        .plan = "",
    };
    MYR_TRY(myr_registry_text(stmt, 1, arena, &out->fleet, err));
    MYR_TRY(myr_registry_text(stmt, 3, arena, &out->input, err));
    MYR_TRY(myr_registry_text(stmt, 4, arena, &out->output, err));
    MYR_TRY(myr_registry_text(stmt, 5, arena, &out->state, err));
    MYR_TRY(myr_registry_text(stmt, 10, arena, &out->message, err));
    MYR_TRY(myr_registry_text(stmt, 11, arena, &out->job, err));
    MYR_TRY(myr_registry_text(stmt, 12, arena, &out->fingerprint, err));
    return myr_registry_text(stmt, 13, arena, &out->owner, err);
}

myr_rc myr_registry_run_get(myr_registry *registry, myr_arena *arena, int64_t id, myr_run_row *out, myr_err *err)
{
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    bool has_row = false;
    MYR_TRY(
        myr_db_prepare(registry->db, "SELECT " RUNS_COLUMNS ", settings, plan FROM run WHERE run_id = ?1", &stmt, err));
    myr_stmt_bind_int64(stmt, 1, id);
    MYR_TRY(myr_stmt_step(stmt, &has_row, err));
    if (!has_row) MYR_FAIL(err, NOT_FOUND, "no run %lld: `myriad batch list` shows them", (long long)id);
    MYR_TRY(run_read(stmt, arena, out, err));
    MYR_TRY(myr_registry_text(stmt, 16, arena, &out->settings, err));
    return myr_registry_text(stmt, 17, arena, &out->plan, err);
}

/* Rows of a state stand in the order of their numbers in its index. */
myr_rc myr_registry_run_newest(myr_registry *registry, const char *state, int64_t *out_id, myr_err *err)
{
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    bool has_row = false;
    MYR_TRY(run_check_state(state, err));
    MYR_TRY(myr_db_prepare(registry->db,
                           "SELECT run_id FROM run WHERE state = ?1 AND settings <> '' ORDER BY run_id DESC LIMIT 1",
                           &stmt, err));
    registry_bind_text(stmt, 1, state);
    MYR_TRY(myr_stmt_step(stmt, &has_row, err));
    *out_id = has_row ? myr_stmt_int64(stmt, 0) : 0;
    return MYR_OK;
}

myr_rc myr_registry_runs(myr_registry *registry, myr_arena *arena, int64_t max, myr_run_row **out, size_t *out_count,
                         myr_err *err)
{
    MYR_AUTO(registry_rows) rows = {0};
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    bool has_row = false;
    MYR_TRY(myr_db_prepare(registry->db, "SELECT " RUNS_COLUMNS " FROM run ORDER BY run_id DESC LIMIT ?1", &stmt, err));
    myr_stmt_bind_int64(stmt, 1, max > 0 ? max : -1);
    for (;;) {
        MYR_TRY(myr_stmt_step(stmt, &has_row, err));
        if (!has_row) break;
        myr_run_row row;
        MYR_TRY(run_read(stmt, arena, &row, err));
        MYR_TRY(myr_registry_rows_add(&rows, &row, sizeof row, err));
    }
    void *items = NULL;
    MYR_TRY(myr_registry_rows_take(&rows, sizeof(myr_run_row), arena, &items, out_count, err));
    *out = items;
    return MYR_OK;
}
