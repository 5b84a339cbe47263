/* Firings in the store: made once per key, moved from state to state, listed, asked for. */
#include <string.h>

#include "jobs/store_inside.h"

#define FIRING_COLUMNS                                                                                                 \
    "firing_id, job, key, kind, state, logical_ms, due_ms, count, created_ms, started_ms, ended_ms, seen_ms, host, "   \
    "pid,"                                                                                                             \
    " pid_start, run_id, exit_code, wish, reason, detail"
#define FIRING_LIST_MAX 10000

static const char *const firing_states[MYR_FIRING_STATES] = {"waiting",   "starting", "running", "completed", "failed",
                                                             "cancelled", "skipped",  "missed",  "coalesced"};

const char *myr_firing_state_name(myr_firing_state state)
{
    MYR_ASSERT(state < MYR_FIRING_STATES);
    return firing_states[state];
}

static myr_rc firing_state_of(myr_str name, myr_firing_state *out, myr_err *err)
{
    for (int i = 0; i < MYR_FIRING_STATES; i++) {
        if (!myr_str_is(name, firing_states[i])) continue;
        *out = (myr_firing_state)i;
        return MYR_OK;
    }
    MYR_FAIL(err, BAD_FORMAT, "the store of jobs holds a firing in state '" MYR_STR_FMT "'", MYR_STR_ARG(name));
}

static myr_rc firing_read(myr_sql *sql, myr_arena *arena, myr_firing *out, myr_err *err)
{
    *out = (myr_firing){
        .id = myr_sql_int(sql, 0),
        .logical_ms = myr_sql_int(sql, 5),
        .due_ms = myr_sql_int(sql, 6),
        .count = myr_sql_int(sql, 7),
        .created_ms = myr_sql_int(sql, 8),
        .started_ms = myr_sql_int(sql, 9),
        .ended_ms = myr_sql_int(sql, 10),
        .seen_ms = myr_sql_int(sql, 11),
        .pid = myr_sql_int(sql, 13),
        .pid_start = myr_sql_int(sql, 14),
        .run_id = myr_sql_int(sql, 15),
        .exit_code = myr_sql_int(sql, 16),
    };
    MYR_TRY(firing_state_of(myr_sql_text(sql, 4), &out->state, err));
    MYR_TRY(myr_store_text(sql, 1, arena, &out->job, err));
    MYR_TRY(myr_store_text(sql, 2, arena, &out->key, err));
    MYR_TRY(myr_store_text(sql, 3, arena, &out->kind, err));
    MYR_TRY(myr_store_text(sql, 12, arena, &out->host, err));
    MYR_TRY(myr_store_text(sql, 17, arena, &out->wish, err));
    MYR_TRY(myr_store_text(sql, 18, arena, &out->reason, err));
    return myr_store_text(sql, 19, arena, &out->detail, err);
}

/* All rows of the statement that runs. */
static myr_rc firing_read_all(myr_sql *sql, myr_arena *arena, myr_firing **out, size_t *out_count, myr_err *err)
{
    MYR_AUTO(store_rows) rows = {0};
    bool has_row = false;
    for (;;) {
        myr_firing row;
        MYR_TRY(myr_sql_next(sql, &has_row, err));
        if (!has_row) break;
        MYR_TRY(firing_read(sql, arena, &row, err));
        MYR_TRY(myr_store_rows_add(&rows, &row, sizeof row, err));
    }
    void *items = NULL;
    MYR_TRY(myr_store_rows_take(&rows, sizeof(myr_firing), arena, &items, out_count, err));
    *out = items;
    return MYR_OK;
}

myr_rc myr_job_store_firings(myr_job_store *store, myr_arena *arena, const myr_firing_filter *filter, myr_firing **out,
                             size_t *out_count, myr_err *err)
{
    int64_t limit = filter->limit > 0 && filter->limit < FIRING_LIST_MAX ? filter->limit : FIRING_LIST_MAX;
    const char *job = filter->job != NULL ? filter->job : "";
    if (filter->open_only) {
        MYR_TRY(MYR_SQL(store->sql, err,
                        "SELECT " FIRING_COLUMNS " FROM firing WHERE is_open = 1 AND ($1 = '' OR job = $1) ORDER BY"
                        " CASE WHEN state <> 'waiting' THEN 0 WHEN kind <> 'backfill' THEN 1 ELSE 2 END, firing_id"
                        " LIMIT $2",
                        MYR_SQL_TEXT(job), MYR_SQL_INT(limit)));
    } else if (filter->id != 0) {
        MYR_TRY(MYR_SQL(store->sql, err,
                        "SELECT " FIRING_COLUMNS " FROM firing WHERE firing_id = $1 AND ($2 = '' OR job = $2)",
                        MYR_SQL_INT(filter->id), MYR_SQL_TEXT(job)));
    } else {
        MYR_TRY(MYR_SQL(store->sql, err,
                        "SELECT " FIRING_COLUMNS " FROM firing WHERE $1 = '' OR job = $1"
                        " ORDER BY firing_id DESC LIMIT $2",
                        MYR_SQL_TEXT(job), MYR_SQL_INT(limit)));
    }
    return firing_read_all(store->sql, arena, out, out_count, err);
}

myr_rc myr_store_fire(myr_job_store *store, const myr_firing *f, bool *out_is_new, myr_err *err)
{
    int64_t made = 0;
    MYR_ASSERT(strlen(f->key) <= MYR_FIRING_KEY_BYTES_MAX && f->count >= 1);
    MYR_TRY(MYR_SQL_CHANGE(
        store->sql, &made, err,
        "INSERT INTO firing(job, key, kind, state, is_open, logical_ms, due_ms, count, created_ms, started_ms, "
        "ended_ms,"
        " seen_ms, host, pid, pid_start, run_id, exit_code, wish, reason, detail)"
        " VALUES($1, $2, $3, $4, $5, $6, $7, $8, $9, 0, $10, 0, '', 0, 0, 0, 0, '', $11, $12)"
        " ON CONFLICT(job, key) DO NOTHING",
        MYR_SQL_TEXT(f->job), MYR_SQL_TEXT(f->key), MYR_SQL_TEXT(f->kind), MYR_SQL_TEXT(firing_states[f->state]),
        MYR_SQL_INT(myr_firing_is_open(f->state) ? 1 : 0), MYR_SQL_INT(f->logical_ms), MYR_SQL_INT(f->due_ms),
        MYR_SQL_INT(f->count), MYR_SQL_INT(f->created_ms), MYR_SQL_INT(f->ended_ms),
        MYR_SQL_TEXT(f->reason != NULL ? f->reason : ""), MYR_SQL_TEXT(f->detail != NULL ? f->detail : "")));
    if (out_is_new != NULL) *out_is_new = made > 0;
    return MYR_OK;
}

myr_rc myr_store_move(myr_job_store *store, const myr_firing *f, myr_firing_state from, bool *out_done, myr_err *err)
{
    int64_t moved = 0;
    MYR_TRY(MYR_SQL_CHANGE(
        store->sql, &moved, err,
        "UPDATE firing SET state = $1, is_open = $2, started_ms = $3, ended_ms = $4, seen_ms = $5, host = $6, pid = $7,"
        " pid_start = $8, run_id = $9, exit_code = $10, reason = $11 WHERE firing_id = $12 AND state = $13",
        MYR_SQL_TEXT(firing_states[f->state]), MYR_SQL_INT(myr_firing_is_open(f->state) ? 1 : 0),
        MYR_SQL_INT(f->started_ms), MYR_SQL_INT(f->ended_ms), MYR_SQL_INT(f->seen_ms), MYR_SQL_TEXT(f->host),
        MYR_SQL_INT(f->pid), MYR_SQL_INT(f->pid_start), MYR_SQL_INT(f->run_id), MYR_SQL_INT(f->exit_code),
        MYR_SQL_TEXT(f->reason), MYR_SQL_INT(f->id), MYR_SQL_TEXT(firing_states[from])));
    *out_done = moved > 0;
    return MYR_OK;
}

myr_rc myr_store_seen(myr_job_store *store, int64_t id, int64_t now_ms, myr_err *err)
{
    return MYR_SQL_CHANGE(store->sql, NULL, err, "UPDATE firing SET seen_ms = $1 WHERE firing_id = $2 AND is_open = 1",
                          MYR_SQL_INT(now_ms), MYR_SQL_INT(id));
}

myr_rc myr_store_wish(myr_job_store *store, int64_t id, const char *wish, const char *reason, myr_err *err)
{
    return MYR_SQL_CHANGE(store->sql, NULL, err,
                          "UPDATE firing SET wish = $1, reason = $2 WHERE firing_id = $3 AND is_open = 1",
                          MYR_SQL_TEXT(wish), MYR_SQL_TEXT(reason), MYR_SQL_INT(id));
}

myr_rc myr_store_has_run(myr_job_store *store, const char *job, int64_t logical_ms, bool *out, int64_t *out_firings,
                         myr_err *err)
{
    bool has_row = false;
    MYR_TRY(MYR_SQL(store->sql, err,
                    "SELECT COUNT(*), COUNT(CASE WHEN is_open = 1 OR state = 'completed' THEN 1 END) FROM firing"
                    " WHERE job = $1 AND logical_ms = $2 AND kind IN ('schedule', 'catch-up', 'backfill')",
                    MYR_SQL_TEXT(job), MYR_SQL_INT(logical_ms)));
    MYR_TRY(myr_sql_next(store->sql, &has_row, err));
    MYR_ASSERT(has_row);
    *out_firings = myr_sql_int(store->sql, 0);
    *out = myr_sql_int(store->sql, 1) > 0;
    myr_sql_done(store->sql);
    return MYR_OK;
}

myr_rc myr_store_unanswered(myr_job_store *store, myr_arena *arena, const char *job, const char *upstream,
                            int64_t since_ms, myr_firing **out, size_t *out_count, myr_err *err)
{
    MYR_TRY(MYR_SQL(store->sql, err,
                    "SELECT " FIRING_COLUMNS " FROM firing AS u WHERE job = $1 AND ended_ms >= $2"
                    " AND state IN ('completed', 'failed') AND NOT EXISTS (SELECT 1 FROM firing AS d"
                    " WHERE d.job = $3 AND d.key = 'after:' || u.firing_id) ORDER BY firing_id DESC LIMIT 1000",
                    MYR_SQL_TEXT(upstream), MYR_SQL_INT(since_ms), MYR_SQL_TEXT(job)));
    return firing_read_all(store->sql, arena, out, out_count, err);
}

myr_rc myr_store_forget(myr_job_store *store, int64_t before_ms, myr_err *err)
{
    return MYR_SQL_CHANGE(store->sql, NULL, err, "DELETE FROM firing WHERE is_open = 0 AND ended_ms < $1",
                          MYR_SQL_INT(before_ms));
}

myr_rc myr_store_counts(myr_job_store *store, myr_arena *arena, store_count **out, size_t *out_count, myr_err *err)
{
    MYR_AUTO(store_rows) rows = {0};
    bool has_row = false;
    MYR_TRY(myr_sql_run(store->sql,
                        "SELECT job, state, CAST(SUM(count) AS BIGINT), MAX(CASE WHEN is_open = 1 THEN created_ms ELSE"
                        " ended_ms END) FROM firing GROUP BY job, state ORDER BY job, state",
                        NULL, 0, err));
    for (;;) {
        store_count row = {0};
        MYR_TRY(myr_sql_next(store->sql, &has_row, err));
        if (!has_row) break;
        MYR_TRY(myr_store_text(store->sql, 0, arena, &row.job, err));
        MYR_TRY(firing_state_of(myr_sql_text(store->sql, 1), &row.state, err));
        row.count = myr_sql_int(store->sql, 2);
        row.last_ms = myr_sql_int(store->sql, 3);
        MYR_TRY(myr_store_rows_add(&rows, &row, sizeof row, err));
    }
    void *items = NULL;
    MYR_TRY(myr_store_rows_take(&rows, sizeof(store_count), arena, &items, out_count, err));
    *out = items;
    return MYR_OK;
}

/* ---- asked for ---- */

static myr_rc request_count(myr_job_store *store, const char *job, int64_t *out, myr_err *err)
{
    bool has_row = false;
    MYR_TRY(MYR_SQL(store->sql, err, "SELECT COUNT(*) FROM firing WHERE job = $1 AND is_open = 1 AND state = 'waiting'",
                    MYR_SQL_TEXT(job)));
    MYR_TRY(myr_sql_next(store->sql, &has_row, err));
    MYR_ASSERT(has_row);
    *out = myr_sql_int(store->sql, 0);
    myr_sql_done(store->sql);
    return MYR_OK;
}

static myr_rc request_find(myr_job_store *store, const myr_firing_request *r, int64_t *out_id, myr_err *err)
{
    bool has_row = false;
    MYR_TRY(MYR_SQL(store->sql, err, "SELECT firing_id FROM firing WHERE job = $1 AND key = $2", MYR_SQL_TEXT(r->job),
                    MYR_SQL_TEXT(r->key)));
    MYR_TRY(myr_sql_next(store->sql, &has_row, err));
    *out_id = has_row ? myr_sql_int(store->sql, 0) : 0;
    myr_sql_done(store->sql);
    return MYR_OK;
}

static myr_rc request_make(myr_job_store *store, const myr_firing_request *r, int64_t *out_id, bool *out_is_new,
                           myr_err *err)
{
    int64_t waiting = 0, now_ms = myr_clock_unix_ms();
    MYR_TRY(request_find(store, r, out_id, err));
    *out_is_new = *out_id == 0;
    if (!*out_is_new) return MYR_OK;
    MYR_TRY(request_count(store, r->job, &waiting, err));
    if (waiting >= MYR_JOB_CALL_MAX) {
        MYR_FAIL(err, BUSY,
                 "job '%s': %lld firings wait already, at most %d do: is it paused, or does no scheduler run?", r->job,
                 (long long)waiting, MYR_JOB_CALL_MAX);
    }
    const myr_firing firing = {.job = r->job,
                               .key = r->key,
                               .kind = r->kind,
                               .state = MYR_FIRING_WAITING,
                               .logical_ms = r->logical_ms,
                               .due_ms = now_ms,
                               .count = 1,
                               .created_ms = now_ms,
                               .detail = r->detail};
    MYR_TRY(myr_store_fire(store, &firing, NULL, err));
    return request_find(store, r, out_id, err);
}

myr_rc myr_job_store_request(myr_job_store *store, const myr_firing_request *request, int64_t *out_id, bool *out_is_new,
                             myr_err *err)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_job_row job;
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a job");
    if (strlen(request->key) > MYR_FIRING_KEY_BYTES_MAX) {
        MYR_FAIL(err, TOO_LARGE, "job '%s': the key of a run has %zu bytes, at most %d", request->job,
                 strlen(request->key), MYR_FIRING_KEY_BYTES_MAX);
    }
    MYR_TRY(myr_job_store_job(store, arena, request->job, &job, err));
    if (!job.is_active) MYR_FAIL(err, NOT_FOUND, "job '%s': its file is gone, %s", job.name, job.path);
    if (job.trouble[0] != '\0') MYR_FAIL(err, CONFLICT, "job '%s' can't be started: %s", job.name, job.trouble);
    MYR_TRY(myr_store_begin(store, NULL, err));
    return myr_store_end(store, request_make(store, request, out_id, out_is_new, err), err);
}

static myr_rc cancel_in(myr_job_store *store, int64_t id, myr_err *err)
{
    bool has_row = false;
    myr_firing_state state;
    int64_t now_ms = myr_clock_unix_ms();
    MYR_TRY(MYR_SQL(store->sql, err, "SELECT state FROM firing WHERE firing_id = $1", MYR_SQL_INT(id)));
    MYR_TRY(myr_sql_next(store->sql, &has_row, err));
    if (!has_row) MYR_FAIL(err, NOT_FOUND, "no firing %lld: myriad schedule history lists them", (long long)id);
    MYR_TRY(firing_state_of(myr_sql_text(store->sql, 0), &state, err));
    if (!myr_firing_is_open(state))
        MYR_FAIL(err, CONFLICT, "firing %lld has ended: it is %s", (long long)id, firing_states[state]);
    if (state != MYR_FIRING_WAITING) return myr_store_wish(store, id, "cancel", "cancelled on request", err);
    return MYR_SQL_CHANGE(store->sql, NULL, err,
                          "UPDATE firing SET state = 'cancelled', is_open = 0, ended_ms = $1, reason = $2"
                          " WHERE firing_id = $3",
                          MYR_SQL_INT(now_ms), MYR_SQL_TEXT("cancelled on request before it started"), MYR_SQL_INT(id));
}

myr_rc myr_job_store_cancel(myr_job_store *store, int64_t id, myr_err *err)
{
    MYR_TRY(myr_store_begin(store, NULL, err));
    return myr_store_end(store, cancel_in(store, id, err), err);
}

/* ---- files ---- */

myr_rc myr_store_files(myr_job_store *store, myr_arena *arena, const char *job, const char *pattern, store_file **out,
                       size_t *out_count, myr_err *err)
{
    MYR_AUTO(store_rows) rows = {0};
    bool has_row = false;
    MYR_TRY(
        MYR_SQL(store->sql, err,
                "SELECT path, size_bytes, changed_ns FROM firing_file WHERE job = $1 AND pattern = $2 ORDER BY path",
                MYR_SQL_TEXT(job), MYR_SQL_TEXT(pattern)));
    for (;;) {
        store_file row;
        MYR_TRY(myr_sql_next(store->sql, &has_row, err));
        if (!has_row) break;
        MYR_TRY(myr_store_text(store->sql, 0, arena, &row.path, err));
        row.size_bytes = myr_sql_int(store->sql, 1);
        row.changed_ns = myr_sql_int(store->sql, 2);
        MYR_TRY(myr_store_rows_add(&rows, &row, sizeof row, err));
    }
    void *items = NULL;
    MYR_TRY(myr_store_rows_take(&rows, sizeof(store_file), arena, &items, out_count, err));
    *out = items;
    return MYR_OK;
}

myr_rc myr_store_file_put(myr_job_store *store, const char *job, const char *pattern, const store_file *file,
                          myr_err *err)
{
    return MYR_SQL_CHANGE(
        store->sql, NULL, err,
        "INSERT INTO firing_file(job, pattern, path, size_bytes, changed_ns) VALUES($1, $2, $3, $4, $5)"
        " ON CONFLICT(job, pattern, path) DO UPDATE SET size_bytes = excluded.size_bytes,"
        " changed_ns = excluded.changed_ns",
        MYR_SQL_TEXT(job), MYR_SQL_TEXT(pattern), MYR_SQL_TEXT(file->path), MYR_SQL_INT(file->size_bytes),
        MYR_SQL_INT(file->changed_ns));
}

myr_rc myr_store_file_drop(myr_job_store *store, const char *job, const char *pattern, const char *path, myr_err *err)
{
    return MYR_SQL_CHANGE(store->sql, NULL, err,
                          "DELETE FROM firing_file WHERE job = $1 AND pattern = $2 AND path = $3", MYR_SQL_TEXT(job),
                          MYR_SQL_TEXT(pattern), MYR_SQL_TEXT(path));
}
