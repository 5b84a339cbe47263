/* Features in PostgreSQL: the same two tables as in SQLite. All keys of a question go as one array. */
#include "online/feature.h"

/* Under a lock: two that make a table at once would fail, IF NOT EXISTS or not. Who may not make tables can use them.
 */
static const char pg_tables[] =
    "DO $$BEGIN IF to_regclass('myriad_feature_row') IS NULL THEN PERFORM pg_advisory_xact_lock(7305809);"
    "CREATE TABLE IF NOT EXISTS myriad_feature_table(name TEXT PRIMARY KEY, definition TEXT NOT NULL);"
    "CREATE TABLE IF NOT EXISTS myriad_feature_row(name TEXT NOT NULL, key TEXT NOT NULL, written_ms BIGINT NOT NULL,"
    " features TEXT NOT NULL, PRIMARY KEY(name, key)); END IF; END$$";

/* Reading needs no right to make tables. */
static myr_rc pg_open(const char *uri, bool create, void **out, myr_err *err)
{
    myr_pg *pg = NULL;
    MYR_TRY(myr_pg_new(uri, create ? pg_tables : NULL, &pg, err));
    *out = pg;
    return MYR_OK;
}

static void pg_close(void *self)
{
    myr_pg_free(self);
}

/* A C string of a name or key; texts of PostgreSQL end at a NUL, which none of ours has. */
static myr_rc pg_string(myr_buf *out, myr_str text, myr_err *err)
{
    myr_buf_append(out, text.data, text.size);
    myr_buf_puts(out, "");
    return myr_buf_check(out, err);
}

static myr_rc pg_get_definition(void *self, myr_str name, myr_buf *out, bool *out_is_there, int64_t deadline_ns,
                                myr_err *err)
{
    MYR_AUTO(myr_buf) text = {0};
    MYR_TRY(pg_string(&text, name, err));
    const char *params[] = {text.data};
    myr_pg_call call = {"SELECT definition FROM myriad_feature_table WHERE name = $1", params, 1};
    myr_pg_rows *rows = NULL;
    myr_rc rc = myr_pg_run(self, &call, 1, deadline_ns, &rows, err);
    if (rc == MYR_NOT_FOUND) { /* nobody made the tables yet */
        *out_is_there = false;
        return MYR_OK;
    }
    MYR_TRY(rc);
    *out_is_there = myr_pg_row_count(rows) > 0;
    if (*out_is_there) {
        myr_str json = myr_pg_text(rows, 0, 0);
        myr_buf_append(out, json.data, json.size);
    }
    myr_pg_rows_free(rows);
    return myr_buf_check(out, err);
}

static myr_rc pg_put_definition(void *self, myr_str name, myr_str json, int64_t deadline_ns, myr_err *err)
{
    MYR_AUTO(myr_buf) text = {0};
    MYR_AUTO(myr_buf) definition = {0};
    MYR_TRY(pg_string(&text, name, err));
    MYR_TRY(pg_string(&definition, json, err));
    const char *params[] = {text.data, definition.data};
    myr_pg_call call = {
        "INSERT INTO myriad_feature_table VALUES($1, $2) ON CONFLICT(name) DO UPDATE SET definition = $2", params, 2};
    return myr_pg_run(self, &call, 1, deadline_ns, NULL, err);
}

/* All rows as two arrays: one statement, one transaction. */
static myr_rc pg_put(void *self, myr_str name, const myr_feature_put *rows, size_t count, int64_t written_ms,
                     int64_t deadline_ns, myr_err *err)
{
    MYR_AUTO(myr_buf) text = {0};
    MYR_AUTO(myr_buf) keys = {0};
    MYR_AUTO(myr_buf) features = {0};
    MYR_AUTO(myr_buf) written = {0};
    MYR_AUTO(myr_mem) memory = myr_calloc(count + 1, 2 * sizeof(myr_str));
    if (memory == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %zu rows", count);
    myr_str *items = memory, *jsons = items + count;
    for (size_t i = 0; i < count; i++) {
        items[i] = rows[i].key;
        jsons[i] = rows[i].json;
    }
    myr_pg_put_array(&keys, items, count);
    myr_pg_put_array(&features, jsons, count);
    myr_buf_printf(&written, "%lld", (long long)written_ms);
    MYR_TRY(pg_string(&text, name, err));
    MYR_TRY(myr_buf_check(&keys, err));
    MYR_TRY(myr_buf_check(&features, err));
    MYR_TRY(myr_buf_check(&written, err));
    const char *params[] = {text.data, keys.data, features.data, written.data};
    myr_pg_call call = {"INSERT INTO myriad_feature_row(name, key, written_ms, features)"
                        " SELECT $1, k, $4::bigint, f FROM unnest($2::text[], $3::text[]) AS t(k, f)"
                        " ON CONFLICT(name, key) DO UPDATE SET written_ms = EXCLUDED.written_ms,"
                        " features = EXCLUDED.features",
                        params, 4};
    return myr_pg_run(self, &call, 1, deadline_ns, NULL, err);
}

static myr_rc pg_show(const myr_pg_rows *rows, size_t count, myr_feature_fn fn, void *ctx, myr_err *err)
{
    for (int i = 0; i < myr_pg_row_count(rows); i++) {
        int64_t idx = myr_pg_int64(rows, i, 0) - 1;
        if (idx < 0 || (size_t)idx >= count) continue;
        MYR_TRY(fn(ctx, (size_t)idx, myr_pg_int64(rows, i, 1), myr_pg_text(rows, i, 2), err));
    }
    return MYR_OK;
}

static myr_rc pg_get(void *self, myr_str name, const myr_str *keys, size_t count, int64_t deadline_ns,
                     myr_feature_fn fn, void *ctx, myr_err *err)
{
    MYR_AUTO(myr_buf) text = {0};
    MYR_AUTO(myr_buf) array = {0};
    MYR_TRY(pg_string(&text, name, err));
    myr_pg_put_array(&array, keys, count);
    MYR_TRY(myr_buf_check(&array, err));
    const char *params[] = {text.data, array.data};
    myr_pg_call call = {"SELECT t.i, r.written_ms, r.features FROM unnest($2::text[]) WITH ORDINALITY AS t(k, i)"
                        " JOIN myriad_feature_row r ON r.name = $1 AND r.key = t.k",
                        params, 2};
    myr_pg_rows *rows = NULL;
    MYR_TRY(myr_pg_run(self, &call, 1, deadline_ns, &rows, err));
    myr_rc rc = pg_show(rows, count, fn, ctx, err);
    myr_pg_rows_free(rows);
    return rc;
}

const feature_kind myr_feature_pg = {pg_open, pg_close, pg_get_definition, pg_put_definition, pg_put, pg_get, NULL};
