/* The store: opening, the lease, transactions, jobs. Firings are store_firings.c. */
#include "jobs/store.h"

#include <stdio.h>
#include <string.h>

#include "jobs/store_inside.h"

#define STORE_PG_LOCK 7305811 /* online has 7305810 */

/* As registry/schema.c for SQLite; in a schema of its own, as names of tables are short. */
static const char store_pg_setup[] =
    "DO $$BEGIN IF current_setting('synchronous_commit') = 'off' THEN"
    " PERFORM set_config('synchronous_commit', 'on', false); END IF;"
    " IF to_regclass('myriad.scheduler') IS NULL THEN PERFORM pg_advisory_xact_lock(7305811);"
    " CREATE SCHEMA IF NOT EXISTS myriad;"
    " CREATE TABLE IF NOT EXISTS myriad.scheduled_job(name TEXT PRIMARY KEY, path TEXT NOT NULL, trouble TEXT NOT NULL,"
    " is_active BIGINT NOT NULL, is_paused BIGINT NOT NULL, created_ms BIGINT NOT NULL, cursor_ms BIGINT NOT NULL);"
    " CREATE TABLE IF NOT EXISTS myriad.firing(firing_id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
    " job TEXT NOT NULL, key TEXT NOT NULL, kind TEXT NOT NULL, state TEXT NOT NULL, is_open BIGINT NOT NULL,"
    " logical_ms BIGINT NOT NULL, due_ms BIGINT NOT NULL, count BIGINT NOT NULL, created_ms BIGINT NOT NULL,"
    " started_ms BIGINT NOT NULL, ended_ms BIGINT NOT NULL, seen_ms BIGINT NOT NULL, host TEXT NOT NULL,"
    " pid BIGINT NOT NULL, pid_start BIGINT NOT NULL, run_id BIGINT NOT NULL, exit_code BIGINT NOT NULL,"
    " wish TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL, UNIQUE(job, key));"
    " CREATE INDEX IF NOT EXISTS firing_open ON myriad.firing(job) WHERE is_open = 1;"
    " CREATE INDEX IF NOT EXISTS firing_by_end ON myriad.firing(job, ended_ms);"
    " CREATE TABLE IF NOT EXISTS myriad.firing_file(job TEXT NOT NULL, pattern TEXT NOT NULL, path TEXT NOT NULL,"
    " size_bytes BIGINT NOT NULL, changed_ns BIGINT NOT NULL, PRIMARY KEY(job, pattern, path));"
    " CREATE TABLE IF NOT EXISTS myriad.scheduler(role TEXT PRIMARY KEY, owner TEXT NOT NULL, host TEXT NOT NULL,"
    " pid BIGINT NOT NULL, epoch BIGINT NOT NULL, expires_ms BIGINT NOT NULL); END IF;"
    " PERFORM set_config('search_path', 'myriad', false); END$$";

myr_rc myr_job_store_open(const char *root, const char *uri, myr_job_store **out, myr_err *err)
{
    myr_job_store *store = myr_calloc(1, sizeof *store);
    MYR_AUTO(myr_buf) own = {0};
    if (store == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a store of jobs");
    if (uri[0] == '\0') myr_buf_printf(&own, "sqlite:%s/registry.db", root);
    myr_rc rc = myr_buf_check(&own, err);
    if (rc == MYR_OK)
        rc = myr_sql_open(uri[0] != '\0' ? uri : own.data, store_pg_setup, STORE_PG_LOCK, &store->sql, err);
    if (rc != MYR_OK) {
        myr_job_store_close(store);
        return rc;
    }
    *out = store;
    return MYR_OK;
}

void myr_job_store_close(myr_job_store *store)
{
    if (store == NULL) return;
    myr_sql_close(store->sql);
    myr_free(store);
}

myr_rc myr_store_text(myr_sql *sql, int column, myr_arena *arena, const char **out, myr_err *err)
{
    myr_str text = myr_sql_text(sql, column);
    *out = text.size == 0 ? "" : myr_arena_strndup(arena, text.data, text.size);
    if (*out == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for what the store of jobs holds");
    return MYR_OK;
}

myr_rc myr_store_rows_add(store_rows *rows, const void *item, size_t item_bytes, myr_err *err)
{
    if (rows->count == rows->room) {
        size_t room = rows->room == 0 ? 64 : rows->room * 2;
        void *items = myr_realloc_array(rows->items, room, item_bytes);
        if (items == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %zu rows of the store of jobs", room);
        rows->items = items;
        rows->room = room;
    }
    memcpy((char *)rows->items + rows->count * item_bytes, item, item_bytes);
    rows->count++;
    return MYR_OK;
}

myr_rc myr_store_rows_take(const store_rows *rows, size_t item_bytes, myr_arena *arena, void **out, size_t *out_count,
                           myr_err *err)
{
    void *items = myr_arena_alloc(arena, rows->count * item_bytes);
    if (items == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %zu rows of the store of jobs", rows->count);
    if (rows->count > 0) memcpy(items, rows->items, rows->count * item_bytes);
    *out = items;
    *out_count = rows->count;
    return MYR_OK;
}

/* ---- transactions and the lease ---- */

static myr_rc store_leads(myr_job_store *store, const store_lease *lease, myr_err *err)
{
    bool has_row = false;
    MYR_TRY(MYR_SQL(store->sql, err, "SELECT 1 FROM scheduler WHERE role = 'leader' AND owner = $1 AND epoch = $2",
                    MYR_SQL_TEXT(lease->owner), MYR_SQL_INT(lease->epoch)));
    MYR_TRY(myr_sql_next(store->sql, &has_row, err));
    myr_sql_done(store->sql);
    if (!has_row) MYR_FAIL(err, CONFLICT, "another scheduler leads now");
    return MYR_OK;
}

myr_rc myr_store_begin(myr_job_store *store, const store_lease *lease, myr_err *err)
{
    MYR_TRY(myr_sql_begin(store->sql, err));
    myr_rc rc = lease != NULL ? store_leads(store, lease, err) : MYR_OK;
    if (rc != MYR_OK) myr_sql_rollback(store->sql);
    return rc;
}

myr_rc myr_store_end(myr_job_store *store, myr_rc rc, myr_err *err)
{
    if (rc == MYR_OK) return myr_sql_commit(store->sql, err);
    myr_sql_rollback(store->sql);
    return rc;
}

/*
 * A lease that ends later than anybody would ask for was written by a clock that has been put back since: it counts as
 * run out. Whoever wrote it and still works takes part again as all do; what it may write is a question of the epoch.
 */
static myr_rc store_lead(myr_job_store *store, store_lease *lease, int64_t now_ms, int64_t lease_ms, myr_err *err)
{
    bool has_row = false, is_mine = false, is_free = true;
    int64_t epoch = 0;
    MYR_TRY(MYR_SQL(store->sql, err, "SELECT owner, epoch, expires_ms FROM scheduler WHERE role = $1",
                    MYR_SQL_TEXT("leader")));
    MYR_TRY(myr_sql_next(store->sql, &has_row, err));
    if (has_row) {
        int64_t left_ms = myr_sql_int(store->sql, 2) - now_ms;
        is_mine = lease->epoch != 0 && myr_str_is(myr_sql_text(store->sql, 0), lease->owner);
        is_free = left_ms <= 0 || left_ms > STORE_LEASE_ABSURD * lease_ms;
        epoch = myr_sql_int(store->sql, 1);
        is_mine = is_mine && epoch == lease->epoch;
    }
    lease->epoch = is_mine ? epoch : 0;
    if (!is_mine && !is_free) return MYR_OK;
    if (!is_mine) epoch++;
    MYR_TRY(MYR_SQL_CHANGE(store->sql, NULL, err,
                           "INSERT INTO scheduler(role, owner, host, pid, epoch, expires_ms)"
                           " VALUES('leader', $1, $2, $3, $4, $5) ON CONFLICT(role) DO UPDATE SET"
                           " owner = excluded.owner, host = excluded.host, pid = excluded.pid, epoch = excluded.epoch,"
                           " expires_ms = excluded.expires_ms",
                           MYR_SQL_TEXT(lease->owner), MYR_SQL_TEXT(lease->host), MYR_SQL_INT(lease->pid),
                           MYR_SQL_INT(epoch), MYR_SQL_INT(now_ms + lease_ms)));
    lease->epoch = epoch;
    return MYR_OK;
}

myr_rc myr_store_lead(myr_job_store *store, store_lease *lease, int64_t now_ms, int64_t lease_ms, myr_err *err)
{
    store_lease next = *lease;
    MYR_TRY(myr_store_begin(store, NULL, err));
    MYR_TRY(myr_store_end(store, store_lead(store, &next, now_ms, lease_ms, err), err));
    *lease = next;
    return MYR_OK;
}

myr_rc myr_store_yield(myr_job_store *store, const store_lease *lease, myr_err *err)
{
    MYR_TRY(myr_store_begin(store, lease, err));
    return myr_store_end(store,
                         MYR_SQL_CHANGE(store->sql, NULL, err,
                                        "UPDATE scheduler SET owner = '', expires_ms = $1 WHERE role = 'leader'",
                                        MYR_SQL_INT(0)),
                         err);
}

myr_rc myr_job_store_leader(myr_job_store *store, myr_arena *arena, myr_scheduler_row *out, myr_err *err)
{
    bool has_row = false;
    myr_scheduler_row row = {.owner = "", .host = ""};
    MYR_TRY(MYR_SQL(store->sql, err, "SELECT owner, host, pid, epoch, expires_ms FROM scheduler WHERE role = $1",
                    MYR_SQL_TEXT("leader")));
    MYR_TRY(myr_sql_next(store->sql, &has_row, err));
    if (has_row) {
        MYR_TRY(myr_store_text(store->sql, 0, arena, &row.owner, err));
        MYR_TRY(myr_store_text(store->sql, 1, arena, &row.host, err));
        row.pid = myr_sql_int(store->sql, 2);
        row.epoch = myr_sql_int(store->sql, 3);
        row.expires_ms = myr_sql_int(store->sql, 4);
    }
    myr_sql_done(store->sql);
    *out = row;
    return MYR_OK;
}

/* ---- jobs ---- */

#define STORE_JOB_COLUMNS "name, path, trouble, is_active, is_paused, created_ms, cursor_ms"

myr_rc myr_store_job_put(myr_job_store *store, const myr_job_row *row, myr_err *err)
{
    return MYR_SQL_CHANGE(
        store->sql, NULL, err,
        "INSERT INTO scheduled_job(" STORE_JOB_COLUMNS ") VALUES($1, $2, $3, 1, 0, $4, $5)"
        " ON CONFLICT(name) DO UPDATE SET path = excluded.path, trouble = excluded.trouble, is_active = 1,"
        " cursor_ms = CASE WHEN scheduled_job.is_active = 1 THEN scheduled_job.cursor_ms ELSE excluded.cursor_ms END",
        MYR_SQL_TEXT(row->name), MYR_SQL_TEXT(row->path), MYR_SQL_TEXT(row->trouble), MYR_SQL_INT(row->created_ms),
        MYR_SQL_INT(row->cursor_ms));
}

myr_rc myr_store_job_drop(myr_job_store *store, const char *name, myr_err *err)
{
    return MYR_SQL_CHANGE(store->sql, NULL, err, "UPDATE scheduled_job SET is_active = 0 WHERE name = $1",
                          MYR_SQL_TEXT(name));
}

myr_rc myr_store_cursor(myr_job_store *store, const char *job, int64_t cursor_ms, myr_err *err)
{
    return MYR_SQL_CHANGE(store->sql, NULL, err, "UPDATE scheduled_job SET cursor_ms = $1 WHERE name = $2",
                          MYR_SQL_INT(cursor_ms), MYR_SQL_TEXT(job));
}

static myr_rc store_job_read(myr_sql *sql, myr_arena *arena, myr_job_row *out, myr_err *err)
{
    MYR_TRY(myr_store_text(sql, 0, arena, &out->name, err));
    MYR_TRY(myr_store_text(sql, 1, arena, &out->path, err));
    MYR_TRY(myr_store_text(sql, 2, arena, &out->trouble, err));
    out->is_active = myr_sql_int(sql, 3) != 0;
    out->is_paused = myr_sql_int(sql, 4) != 0;
    out->created_ms = myr_sql_int(sql, 5);
    out->cursor_ms = myr_sql_int(sql, 6);
    return MYR_OK;
}

myr_rc myr_job_store_jobs(myr_job_store *store, myr_arena *arena, myr_job_row **out, size_t *out_count, myr_err *err)
{
    MYR_AUTO(store_rows) rows = {0};
    bool has_row = false;
    MYR_TRY(myr_sql_run(store->sql, "SELECT " STORE_JOB_COLUMNS " FROM scheduled_job ORDER BY name", NULL, 0, err));
    for (;;) {
        myr_job_row row = {0};
        MYR_TRY(myr_sql_next(store->sql, &has_row, err));
        if (!has_row) break;
        MYR_TRY(store_job_read(store->sql, arena, &row, err));
        MYR_TRY(myr_store_rows_add(&rows, &row, sizeof row, err));
    }
    void *items = NULL;
    MYR_TRY(myr_store_rows_take(&rows, sizeof(myr_job_row), arena, &items, out_count, err));
    *out = items;
    return MYR_OK;
}

static myr_rc store_no_job(myr_job_store *store, myr_arena *arena, const char *name, myr_err *err)
{
    myr_job_row *rows = NULL;
    size_t count = 0;
    MYR_TRY(myr_job_store_jobs(store, arena, &rows, &count, err));
    const char **names = myr_arena_calloc(arena, count + 1, sizeof *names);
    if (names == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for names of jobs");
    for (size_t i = 0; i < count; i++)
        names[i] = rows[i].name;
    const char *nearest = myr_nearest(name, names);
    if (nearest != NULL) MYR_FAIL(err, NOT_FOUND, "no job '%.100s': did you mean '%s'?", name, nearest);
    MYR_FAIL(err, NOT_FOUND, "no job '%.100s': a scheduler reads job files and says so once it has (%zu are known)",
             name, count);
}

myr_rc myr_job_store_job(myr_job_store *store, myr_arena *arena, const char *name, myr_job_row *out, myr_err *err)
{
    bool has_row = false;
    MYR_TRY(MYR_SQL(store->sql, err, "SELECT " STORE_JOB_COLUMNS " FROM scheduled_job WHERE name = $1",
                    MYR_SQL_TEXT(name)));
    MYR_TRY(myr_sql_next(store->sql, &has_row, err));
    if (!has_row) return store_no_job(store, arena, name, err);
    myr_rc rc = store_job_read(store->sql, arena, out, err);
    myr_sql_done(store->sql);
    return rc;
}

myr_rc myr_job_store_pause(myr_job_store *store, const char *name, bool is_paused, myr_err *err)
{
    int64_t changed = 0;
    MYR_TRY(MYR_SQL_CHANGE(store->sql, &changed, err, "UPDATE scheduled_job SET is_paused = $1 WHERE name = $2",
                           MYR_SQL_INT(is_paused ? 1 : 0), MYR_SQL_TEXT(name)));
    if (changed > 0) return MYR_OK;
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for names of jobs");
    return store_no_job(store, arena, name, err);
}
