/*
 * Releases and aliases. A release is written once, with its models, in one transaction; an alias is one row that names
 * a release, so promoting 100,000 models moves one row.
 */
#include <string.h>

#include "registry/internal.h"

#define ALIASES_TEXT                                                                                                   \
    "coalesce((SELECT group_concat(name, ',') FROM (SELECT name FROM alias a WHERE a.release_id ="                     \
    " r.release_id ORDER BY name)), '')"
#define RELEASE_SELECT                                                                                                 \
    "SELECT r.number, r.created_ms, r.model_count, r.pack, " ALIASES_TEXT ", r.release_id FROM release r "

myr_rc myr_registry_release_next(myr_registry *registry, int64_t fleet_id, int64_t *out_number, myr_err *err)
{
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    bool has_row = false;
    MYR_TRY(myr_db_prepare(registry->db, "SELECT coalesce(max(number), 0) + 1 FROM release WHERE fleet_id = ?1", &stmt,
                           err));
    myr_stmt_bind_int64(stmt, 1, fleet_id);
    MYR_TRY(myr_stmt_step(stmt, &has_row, err));
    MYR_ASSERT(has_row);
    *out_number = myr_stmt_int64(stmt, 0);
    return MYR_OK;
}

static myr_rc release_insert(myr_registry *registry, int64_t fleet_id, const myr_release_row *row,
                             const int64_t *model_ids, size_t model_count, myr_err *err)
{
    myr_stmt *stmt = NULL;
    MYR_TRY(myr_db_prepare(
        registry->db, "INSERT INTO release(fleet_id, number, created_ms, model_count, pack) VALUES(?1, ?2, ?3, ?4, ?5)",
        &stmt, err));
    myr_stmt_bind_int64(stmt, 1, fleet_id);
    myr_stmt_bind_int64(stmt, 2, row->number);
    myr_stmt_bind_int64(stmt, 3, row->created_ms);
    myr_stmt_bind_int64(stmt, 4, (int64_t)model_count);
    registry_bind_text(stmt, 5, row->pack);
    myr_rc rc = myr_stmt_run(stmt, err);
    if (rc == MYR_EXISTS) MYR_FAIL(err, EXISTS, "release %lld exists already", (long long)row->number);
    MYR_TRY(rc);
    int64_t release_id = myr_db_last_id(registry->db);
    for (size_t i = 0; i < model_count; i++) {
        MYR_TRY(myr_db_prepare(registry->db, "INSERT INTO release_model VALUES(?1, ?2, ?3)", &stmt, err));
        myr_stmt_bind_int64(stmt, 1, release_id);
        myr_stmt_bind_int64(stmt, 2, (int64_t)i);
        myr_stmt_bind_int64(stmt, 3, model_ids[i]);
        MYR_TRY(myr_stmt_run(stmt, err));
    }
    return MYR_OK;
}

myr_rc myr_registry_release_add(myr_registry *registry, int64_t fleet_id, const myr_release_row *row,
                                const int64_t *model_ids, size_t model_count, myr_err *err)
{
    if (row->number < 1) MYR_FAIL(err, BAD_INPUT, "release number %lld: the first is 1", (long long)row->number);
    if (row->pack == NULL || row->pack[0] == '\0' || row->pack[0] == '/' || strlen(row->pack) >= MYR_PATH_BYTES_MAX) {
        MYR_FAIL(err, BAD_INPUT, "release %lld: its pack is a path below the workspace", (long long)row->number);
    }
    bool is_own = false;
    MYR_TRY(myr_registry_enter(registry, &is_own, err));
    return myr_registry_leave(registry, is_own, release_insert(registry, fleet_id, row, model_ids, model_count, err),
                              err);
}

static myr_rc release_read(myr_stmt *stmt, myr_arena *arena, myr_release_row *out, myr_err *err)
{
    *out = (myr_release_row){.number = myr_stmt_int64(stmt, 0),
                             .created_ms = myr_stmt_int64(stmt, 1),
                             .model_count = myr_stmt_int64(stmt, 2)};
    MYR_TRY(myr_registry_text(stmt, 3, arena, &out->pack, err));
    return myr_registry_text(stmt, 4, arena, &out->aliases, err);
}

myr_rc myr_registry_releases(myr_registry *registry, myr_arena *arena, int64_t fleet_id, myr_release_row **out,
                             size_t *out_count, myr_err *err)
{
    MYR_AUTO(registry_rows) rows = {0};
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    bool has_row = false;
    MYR_TRY(myr_db_prepare(registry->db, RELEASE_SELECT "WHERE r.fleet_id = ?1 ORDER BY r.number", &stmt, err));
    myr_stmt_bind_int64(stmt, 1, fleet_id);
    for (;;) {
        MYR_TRY(myr_stmt_step(stmt, &has_row, err));
        if (!has_row) break;
        myr_release_row row;
        MYR_TRY(release_read(stmt, arena, &row, err));
        MYR_TRY(myr_registry_rows_add(&rows, &row, sizeof row, err));
    }
    void *items = NULL;
    MYR_TRY(myr_registry_rows_take(&rows, sizeof(myr_release_row), arena, &items, out_count, err));
    *out = items;
    return MYR_OK;
}

/* The row and its id; the arena may be NULL when only the id is wanted. */
static myr_rc release_find(myr_registry *registry, myr_arena *arena, int64_t fleet_id, int64_t number,
                           myr_release_row *out, int64_t *out_id, myr_err *err)
{
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    bool has_row = false;
    MYR_TRY(myr_db_prepare(registry->db, RELEASE_SELECT "WHERE r.fleet_id = ?1 AND r.number = ?2", &stmt, err));
    myr_stmt_bind_int64(stmt, 1, fleet_id);
    myr_stmt_bind_int64(stmt, 2, number);
    MYR_TRY(myr_stmt_step(stmt, &has_row, err));
    if (!has_row) MYR_FAIL(err, NOT_FOUND, "the fleet has no release %lld", (long long)number);
    if (arena != NULL) MYR_TRY(release_read(stmt, arena, out, err));
    *out_id = myr_stmt_int64(stmt, 5);
    return MYR_OK;
}

myr_rc myr_registry_release_get(myr_registry *registry, myr_arena *arena, int64_t fleet_id, int64_t number,
                                myr_release_row *out, myr_err *err)
{
    int64_t release_id = 0;
    myr_release_row row;
    MYR_TRY(release_find(registry, arena, fleet_id, number, &row, &release_id, err));
    *out = row;
    return MYR_OK;
}

myr_rc myr_registry_release_models(myr_registry *registry, myr_arena *arena, int64_t fleet_id, int64_t number,
                                   myr_model_row **out, size_t *out_count, myr_err *err)
{
    int64_t release_id = 0;
    MYR_TRY(release_find(registry, NULL, fleet_id, number, NULL, &release_id, err));
    return myr_registry_read_release_models(registry, arena, release_id, out, out_count, err);
}

myr_rc myr_registry_release_model_ids(myr_registry *registry, myr_arena *arena, int64_t fleet_id, int64_t number,
                                      int64_t **out, size_t *out_count, myr_err *err)
{
    int64_t release_id = 0;
    MYR_TRY(release_find(registry, NULL, fleet_id, number, NULL, &release_id, err));
    MYR_AUTO(registry_rows) rows = {0};
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    bool has_row = false;
    MYR_TRY(myr_db_prepare(registry->db, "SELECT model_id FROM release_model WHERE release_id = ?1 ORDER BY position",
                           &stmt, err));
    myr_stmt_bind_int64(stmt, 1, release_id);
    for (;;) {
        MYR_TRY(myr_stmt_step(stmt, &has_row, err));
        if (!has_row) break;
        int64_t id = myr_stmt_int64(stmt, 0);
        MYR_TRY(myr_registry_rows_add(&rows, &id, sizeof id, err));
    }
    void *items = NULL;
    MYR_TRY(myr_registry_rows_take(&rows, sizeof(int64_t), arena, &items, out_count, err));
    *out = items;
    return MYR_OK;
}

static myr_rc release_run(myr_registry *registry, const char *sql, int64_t release_id, myr_err *err)
{
    myr_stmt *stmt = NULL;
    MYR_TRY(myr_db_prepare(registry->db, sql, &stmt, err));
    myr_stmt_bind_int64(stmt, 1, release_id);
    return myr_stmt_run(stmt, err);
}

static myr_rc release_delete(myr_registry *registry, int64_t fleet_id, int64_t number, myr_err *err)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_release_row row;
    int64_t release_id = 0;
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to remove release %lld", (long long)number);
    MYR_TRY(release_find(registry, arena, fleet_id, number, &row, &release_id, err));
    if (row.aliases[0] != '\0') {
        MYR_FAIL(err, CONFLICT, "release %lld is %s: move the alias before it is removed", (long long)number,
                 row.aliases);
    }
    /* numbers of rows are used again: nobody may go back to another release by an old one */
    MYR_TRY(release_run(registry, "UPDATE alias SET previous_id = NULL WHERE previous_id = ?1", release_id, err));
    MYR_TRY(release_run(registry, "DELETE FROM release_model WHERE release_id = ?1", release_id, err));
    return release_run(registry, "DELETE FROM release WHERE release_id = ?1", release_id, err);
}

myr_rc myr_registry_release_remove(myr_registry *registry, int64_t fleet_id, int64_t number, myr_err *err)
{
    bool is_own = false;
    MYR_TRY(myr_registry_enter(registry, &is_own, err));
    return myr_registry_leave(registry, is_own, release_delete(registry, fleet_id, number, err), err);
}

/* ---- aliases ---- */

static myr_rc alias_put(myr_registry *registry, int64_t fleet_id, const char *alias, int64_t number, myr_err *err)
{
    int64_t release_id = 0;
    myr_stmt *stmt = NULL;
    MYR_TRY(release_find(registry, NULL, fleet_id, number, NULL, &release_id, err));
    MYR_TRY(myr_db_prepare(registry->db,
                           "INSERT INTO alias(fleet_id, name, release_id, moved_ms) VALUES(?1, ?2, ?3, ?4)"
                           " ON CONFLICT(fleet_id, name) DO UPDATE SET release_id = excluded.release_id,"
                           " moved_ms = excluded.moved_ms, previous_id = alias.release_id"
                           " WHERE alias.release_id <> excluded.release_id", /* again the same: nothing moves */
                           &stmt, err));
    myr_stmt_bind_int64(stmt, 1, fleet_id);
    registry_bind_text(stmt, 2, alias);
    myr_stmt_bind_int64(stmt, 3, release_id);
    myr_stmt_bind_int64(stmt, 4, myr_clock_unix_ms());
    return myr_stmt_run(stmt, err);
}

myr_rc myr_registry_alias_set(myr_registry *registry, int64_t fleet_id, const char *alias, int64_t number, myr_err *err)
{
    MYR_TRY(myr_registry_check_name(alias, "alias", err));
    bool is_own = false;
    MYR_TRY(myr_registry_enter(registry, &is_own, err));
    return myr_registry_leave(registry, is_own, alias_put(registry, fleet_id, alias, number, err), err);
}

/* The release that an alias names now, or named before. */
static myr_rc alias_find(myr_registry *registry, int64_t fleet_id, const char *alias, bool before, int64_t *out_number,
                         myr_err *err)
{
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    bool has_row = false;
    MYR_TRY(myr_db_prepare(registry->db,
                           "SELECT r.number FROM alias a LEFT JOIN release r"
                           " ON r.release_id = CASE WHEN ?3 THEN a.previous_id ELSE a.release_id END"
                           " WHERE a.fleet_id = ?1 AND a.name = ?2",
                           &stmt, err));
    myr_stmt_bind_int64(stmt, 1, fleet_id);
    registry_bind_text(stmt, 2, alias);
    myr_stmt_bind_int64(stmt, 3, before);
    MYR_TRY(myr_stmt_step(stmt, &has_row, err));
    if (!has_row) MYR_FAIL(err, NOT_FOUND, "the fleet has no alias '%.128s'", alias);
    if (myr_stmt_is_null(stmt, 0)) {
        MYR_FAIL(err, NOT_FOUND, "alias '%.128s' has no %s release", alias, before ? "earlier" : "known");
    }
    *out_number = myr_stmt_int64(stmt, 0);
    return MYR_OK;
}

myr_rc myr_registry_alias_get(myr_registry *registry, int64_t fleet_id, const char *alias, int64_t *out_number,
                              myr_err *err)
{
    return alias_find(registry, fleet_id, alias, false, out_number, err);
}

myr_rc myr_registry_alias_previous(myr_registry *registry, int64_t fleet_id, const char *alias, int64_t *out_number,
                                   myr_err *err)
{
    return alias_find(registry, fleet_id, alias, true, out_number, err);
}

myr_rc myr_registry_alias_remove(myr_registry *registry, int64_t fleet_id, const char *alias, myr_err *err)
{
    myr_stmt *stmt = NULL;
    int64_t number = 0;
    MYR_TRY(myr_registry_alias_get(registry, fleet_id, alias, &number, err));
    MYR_TRY(myr_db_prepare(registry->db, "DELETE FROM alias WHERE fleet_id = ?1 AND name = ?2", &stmt, err));
    myr_stmt_bind_int64(stmt, 1, fleet_id);
    registry_bind_text(stmt, 2, alias);
    return myr_stmt_run(stmt, err);
}
