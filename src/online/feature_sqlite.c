/* Features in an SQLite file: one table for all, rows by name and key. A question is one read transaction. */
#include "online/feature.h"

static const char *const migrations[] = {
    "CREATE TABLE feature_table(name TEXT PRIMARY KEY, definition TEXT NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE feature_row(name TEXT NOT NULL, key TEXT NOT NULL, written_ms INTEGER NOT NULL,"
    " features TEXT NOT NULL, PRIMARY KEY(name, key)) STRICT, WITHOUT ROWID;",
};

static myr_rc sqlite_open(const char *uri, bool create, void **out, myr_err *err)
{
    myr_db *db = NULL;
    MYR_TRY(myr_db_open(myr_db_uri_path(uri), create, &db, err));
    myr_rc rc = myr_db_migrate(db, migrations, MYR_COUNT_OF(migrations), err);
    if (rc != MYR_OK) {
        myr_db_close(db);
        return rc;
    }
    *out = db;
    return MYR_OK;
}

static void sqlite_close(void *self)
{
    myr_db_close(self);
}

/* A file that was opened to be read alone is followed by us; for the others this does nothing. */
static myr_rc sqlite_follow(myr_db *db, myr_err *err)
{
    return myr_db_refresh(db, err);
}

static myr_rc sqlite_get_definition(void *self, myr_str name, myr_buf *out, bool *out_is_there, int64_t deadline_ns,
                                    myr_err *err)
{
    (void)deadline_ns;
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    MYR_TRY(sqlite_follow(self, err));
    MYR_TRY(myr_db_prepare(self, "SELECT definition FROM feature_table WHERE name = ?1", &stmt, err));
    myr_stmt_bind_text(stmt, 1, name);
    MYR_TRY(myr_stmt_step(stmt, out_is_there, err));
    if (!*out_is_there) return MYR_OK;
    myr_str text = myr_stmt_text(stmt, 0);
    myr_buf_append(out, text.data, text.size);
    return myr_buf_check(out, err);
}

static myr_rc sqlite_put_definition(void *self, myr_str name, myr_str json, int64_t deadline_ns, myr_err *err)
{
    (void)deadline_ns;
    myr_stmt *stmt = NULL;
    MYR_TRY(myr_db_prepare(
        self, "INSERT INTO feature_table VALUES(?1, ?2) ON CONFLICT(name) DO UPDATE SET definition = ?2", &stmt, err));
    myr_stmt_bind_text(stmt, 1, name);
    myr_stmt_bind_text(stmt, 2, json);
    return myr_stmt_run(stmt, err);
}

static myr_rc sqlite_put_rows(myr_db *db, myr_str name, const myr_feature_put *rows, size_t count, int64_t written_ms,
                              myr_err *err)
{
    myr_stmt *stmt = NULL;
    MYR_TRY(myr_db_prepare(db,
                           "INSERT INTO feature_row VALUES(?1, ?2, ?3, ?4) ON CONFLICT(name, key) DO UPDATE SET "
                           "written_ms = ?3, features = ?4",
                           &stmt, err));
    for (size_t i = 0; i < count; i++) {
        myr_stmt_bind_text(stmt, 1, name);
        myr_stmt_bind_text(stmt, 2, rows[i].key);
        myr_stmt_bind_int64(stmt, 3, written_ms);
        myr_stmt_bind_text(stmt, 4, rows[i].json);
        MYR_TRY(myr_stmt_run(stmt, err));
    }
    return MYR_OK;
}

static myr_rc sqlite_put(void *self, myr_str name, const myr_feature_put *rows, size_t count, int64_t written_ms,
                         int64_t deadline_ns, myr_err *err)
{
    (void)deadline_ns;
    MYR_TRY(myr_db_begin(self, err));
    myr_rc rc = sqlite_put_rows(self, name, rows, count, written_ms, err);
    if (rc == MYR_OK) rc = myr_db_commit(self, err);
    if (rc != MYR_OK) myr_db_rollback(self);
    return rc;
}

static myr_rc sqlite_get_rows(myr_db *db, myr_str name, const myr_str *keys, size_t count, myr_feature_fn fn, void *ctx,
                              myr_err *err)
{
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    MYR_TRY(
        myr_db_prepare(db, "SELECT written_ms, features FROM feature_row WHERE name = ?1 AND key = ?2", &stmt, err));
    for (size_t i = 0; i < count; i++) {
        bool has_row = false;
        myr_stmt_reset(stmt);
        myr_stmt_bind_text(stmt, 1, name);
        myr_stmt_bind_text(stmt, 2, keys[i]);
        MYR_TRY(myr_stmt_step(stmt, &has_row, err));
        if (has_row) MYR_TRY(fn(ctx, i, myr_stmt_int64(stmt, 0), myr_stmt_text(stmt, 1), err));
    }
    return MYR_OK;
}

/* One look at the file for all keys: they are of one moment, and the lock is taken once. */
static myr_rc sqlite_get(void *self, myr_str name, const myr_str *keys, size_t count, int64_t deadline_ns,
                         myr_feature_fn fn, void *ctx, myr_err *err)
{
    (void)deadline_ns;
    MYR_TRY(sqlite_follow(self, err));
    if (count == 1) return sqlite_get_rows(self, name, keys, count, fn, ctx, err); /* one statement is one moment */
    MYR_TRY(myr_db_exec(self, "BEGIN", err));
    myr_rc rc = sqlite_get_rows(self, name, keys, count, fn, ctx, err);
    myr_db_rollback(self);
    return rc;
}

static void sqlite_hurry(void *self, int64_t busy_ms)
{
    myr_db_set_busy_ms(self, busy_ms);
}

const feature_kind myr_feature_sqlite = {sqlite_open, sqlite_close, sqlite_get_definition, sqlite_put_definition,
                                         sqlite_put,  sqlite_get,   sqlite_hurry};
