/*
 * Tokens: the hash of a secret, and what its owner may do. The secret itself is made by the command, shown once and
 * kept nowhere; it has 256 random bits, so a plain hash is as good as a slow one.
 */
#include <string.h>

#include "registry/internal.h"

static myr_rc token_check(const myr_token_row *row, myr_err *err)
{
    MYR_TRY(myr_registry_check_name(row->name, "token name", err));
    if (row->scopes == 0 || (row->scopes & ~(unsigned)MYR_SCOPE_ALL) != 0)
        MYR_FAIL(err, BAD_INPUT, "token '%s': scopes are infer, read, admin and run, at least one of them", row->name);
    if (row->rate_per_s < 0 || row->concurrency < 0 || row->expires_ms < 0)
        MYR_FAIL(err, BAD_INPUT, "token '%s': a limit or an expiry is below 0", row->name);
    myr_str rest = myr_token_targets(row), target;
    uint32_t count = 0;
    while (myr_str_split(&rest, '\n', &target)) {
        if (target.size == 0 || target.size > MYR_TOKEN_TARGET_BYTES_MAX)
            MYR_FAIL(err, BAD_INPUT, "token '%s': a target is empty or too long", row->name);
        if (++count > MYR_TOKEN_TARGETS_MAX) {
            MYR_FAIL(err, TOO_LARGE, "token '%s': more than %d fleets or groups: make a second token", row->name,
                     MYR_TOKEN_TARGETS_MAX);
        }
    }
    return MYR_OK;
}

static myr_rc token_count_live(myr_registry *registry, int64_t *out, myr_err *err)
{
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    bool has_row = false;
    MYR_TRY(myr_db_prepare(registry->db, "SELECT count(*) FROM token WHERE revoked_ms = 0", &stmt, err));
    MYR_TRY(myr_stmt_step(stmt, &has_row, err));
    *out = has_row ? myr_stmt_int64(stmt, 0) : 0;
    return MYR_OK;
}

static myr_rc token_find_live(myr_registry *registry, const char *name, int64_t *out_id, myr_err *err)
{
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    bool has_row = false;
    MYR_TRY(myr_db_prepare(registry->db, "SELECT token_id FROM token WHERE name = ?1 AND revoked_ms = 0", &stmt, err));
    registry_bind_text(stmt, 1, name);
    MYR_TRY(myr_stmt_step(stmt, &has_row, err));
    *out_id = has_row ? myr_stmt_int64(stmt, 0) : 0;
    return MYR_OK;
}

/* Under the write lock. */
static myr_rc token_insert(myr_registry *registry, const myr_token_row *row, int64_t *out_id, myr_err *err)
{
    int64_t live = 0, other = 0;
    MYR_TRY(token_find_live(registry, row->name, &other, err));
    if (other != 0) MYR_FAIL(err, EXISTS, "token '%s' exists: revoke it first, or choose another name", row->name);
    MYR_TRY(token_count_live(registry, &live, err));
    if (live >= MYR_TOKENS_MAX) {
        MYR_FAIL(err, TOO_LARGE, "%lld tokens are not revoked: revoke one first (myriad token list)", (long long)live);
    }
    myr_stmt *stmt = NULL;
    MYR_TRY(myr_db_prepare(registry->db,
                           "INSERT INTO token(name, hash, scopes, targets, rate_per_s, concurrency, created_ms,"
                           " expires_ms, revoked_ms) VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0)",
                           &stmt, err));
    registry_bind_text(stmt, 1, row->name);
    myr_stmt_bind_blob(stmt, 2, row->hash, sizeof row->hash);
    myr_stmt_bind_int64(stmt, 3, row->scopes);
    registry_bind_text(stmt, 4, row->targets);
    myr_stmt_bind_int64(stmt, 5, row->rate_per_s);
    myr_stmt_bind_int64(stmt, 6, row->concurrency);
    myr_stmt_bind_int64(stmt, 7, row->created_ms != 0 ? row->created_ms : myr_clock_unix_ms());
    myr_stmt_bind_int64(stmt, 8, row->expires_ms);
    MYR_TRY(myr_stmt_run(stmt, err));
    *out_id = myr_db_last_id(registry->db);
    return MYR_OK;
}

/* Of the revoked ones the newest stay: enough to see what was there, and that there ever was one. */
static myr_rc token_forget_old(myr_registry *registry, myr_err *err)
{
    myr_stmt *stmt = NULL;
    MYR_TRY(myr_db_prepare(registry->db,
                           "DELETE FROM token WHERE token_id IN (SELECT token_id FROM token WHERE revoked_ms > 0"
                           " ORDER BY revoked_ms DESC, token_id DESC LIMIT -1 OFFSET ?1)",
                           &stmt, err));
    myr_stmt_bind_int64(stmt, 1, MYR_TOKENS_MAX);
    return myr_stmt_run(stmt, err);
}

myr_rc myr_registry_token_add(myr_registry *registry, const myr_token_row *row, int64_t *out_id, myr_err *err)
{
    bool is_own = false;
    int64_t id = 0;
    MYR_TRY(token_check(row, err));
    MYR_TRY(myr_registry_enter(registry, &is_own, err));
    myr_rc rc = token_insert(registry, row, &id, err);
    if (rc == MYR_OK) rc = token_forget_old(registry, err);
    MYR_TRY(myr_registry_leave(registry, is_own, rc, err));
    *out_id = id;
    return MYR_OK;
}

static myr_rc token_read(myr_registry *registry, myr_stmt *stmt, myr_arena *arena, myr_token_row *out, myr_err *err)
{
    *out = (myr_token_row){
        .id = myr_stmt_int64(stmt, 0),
        .scopes = (unsigned)myr_stmt_int64(stmt, 3) & MYR_SCOPE_ALL,
        .rate_per_s = myr_stmt_int64(stmt, 5),
        .concurrency = myr_stmt_int64(stmt, 6),
        .created_ms = myr_stmt_int64(stmt, 7),
        .expires_ms = myr_stmt_int64(stmt, 8),
        .revoked_ms = myr_stmt_int64(stmt, 9),
    };
    myr_str hash = myr_stmt_text(stmt, 2);
    if (hash.size != sizeof out->hash) {
        MYR_FAIL(err, BAD_FORMAT, "%s: token %lld has a hash of %zu bytes", registry->path, (long long)out->id,
                 hash.size);
    }
    memcpy(out->hash, hash.data, sizeof out->hash);
    MYR_TRY(myr_registry_text(stmt, 1, arena, &out->name, err));
    return myr_registry_text(stmt, 4, arena, &out->targets, err);
}

myr_rc myr_registry_tokens(myr_registry *registry, myr_arena *arena, bool live_only, myr_token_row **out,
                           size_t *out_count, myr_err *err)
{
    MYR_AUTO(registry_rows) rows = {0};
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    bool has_row = false;
    MYR_TRY(myr_db_prepare(registry->db,
                           "SELECT token_id, name, hash, scopes, targets, rate_per_s, concurrency,"
                           " created_ms, expires_ms, revoked_ms FROM token WHERE revoked_ms = 0 OR NOT ?1"
                           " ORDER BY token_id",
                           &stmt, err));
    myr_stmt_bind_int64(stmt, 1, live_only);
    for (;;) {
        MYR_TRY(myr_stmt_step(stmt, &has_row, err));
        if (!has_row) break;
        myr_token_row row;
        MYR_TRY(token_read(registry, stmt, arena, &row, err));
        MYR_TRY(myr_registry_rows_add(&rows, &row, sizeof row, err));
    }
    void *items = NULL;
    MYR_TRY(myr_registry_rows_take(&rows, sizeof(myr_token_row), arena, &items, out_count, err));
    *out = items;
    return MYR_OK;
}

myr_rc myr_registry_token_revoke(myr_registry *registry, const char *name, myr_err *err)
{
    bool has_row = false;
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    MYR_TRY(myr_db_prepare(registry->db,
                           "UPDATE token SET revoked_ms = ?2 WHERE name = ?1 AND revoked_ms = 0 RETURNING token_id",
                           &stmt, err));
    registry_bind_text(stmt, 1, name);
    myr_stmt_bind_int64(stmt, 2, myr_clock_unix_ms());
    MYR_TRY(myr_stmt_step(stmt, &has_row, err));
    if (!has_row) MYR_FAIL(err, NOT_FOUND, "no token '%.200s' that is not revoked: see myriad token list", name);
    return myr_stmt_step(stmt, &has_row, err); /* to the end: that is when it commits */
}

myr_rc myr_registry_token_ever(myr_registry *registry, bool *out, myr_err *err)
{
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    bool has_row = false;
    MYR_TRY(myr_db_prepare(registry->db, "SELECT 1 FROM token LIMIT 1", &stmt, err));
    MYR_TRY(myr_stmt_step(stmt, &has_row, err));
    *out = has_row;
    return MYR_OK;
}
