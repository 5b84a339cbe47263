/*
 * The handle, and what all its tables share: brackets around writes, texts into the caller's arena, checks of names.
 * Bad names are refused here once; what comes out of the database is ours.
 */
#include "registry/registry.h"

#include <string.h>

#include "registry/internal.h"

#define REGISTRY_ROWS_MIN 64

myr_rc myr_registry_open(const char *path, bool create, myr_registry **out, myr_err *err)
{
    myr_registry *registry = myr_calloc(1, sizeof *registry);
    if (registry == NULL) MYR_FAIL(err, NO_MEMORY, "%s: no memory to open the registry", path);
    registry->path = myr_strdup(path);
    myr_rc rc = registry->path != NULL ? MYR_OK : MYR_ERROR(err, NO_MEMORY, "%s: no memory to open the registry", path);
    if (rc == MYR_OK) rc = myr_db_open(path, create, &registry->db, err);
    if (rc == MYR_OK) rc = myr_db_migrate(registry->db, myr_registry_migrations, myr_registry_migration_count, err);
    if (rc != MYR_OK) {
        myr_registry_close(registry);
        return rc;
    }
    *out = registry;
    return MYR_OK;
}

void myr_registry_close(myr_registry *registry)
{
    if (registry == NULL) return;
    myr_db_close(registry->db);
    myr_free(registry->path);
    myr_free(registry);
}

myr_rc myr_registry_begin(myr_registry *registry, myr_err *err)
{
    return myr_db_begin(registry->db, err);
}

myr_rc myr_registry_commit(myr_registry *registry, myr_err *err)
{
    return myr_db_commit(registry->db, err);
}

void myr_registry_rollback(myr_registry *registry)
{
    myr_db_rollback(registry->db);
}

myr_rc myr_registry_change_number(myr_registry *registry, int64_t *out, myr_err *err)
{
    return myr_db_data_version(registry->db, out, err);
}

myr_rc myr_registry_enter(myr_registry *registry, bool *out_is_own, myr_err *err)
{
    bool is_own = !myr_db_in_transaction(registry->db);
    if (is_own) MYR_TRY(myr_db_begin(registry->db, err));
    *out_is_own = is_own;
    return MYR_OK;
}

myr_rc myr_registry_leave(myr_registry *registry, bool is_own, myr_rc rc, myr_err *err)
{
    if (!is_own) return rc;
    if (rc == MYR_OK) return myr_db_commit(registry->db, err);
    myr_db_rollback(registry->db);
    return rc;
}

myr_rc myr_registry_text(myr_stmt *stmt, int column, myr_arena *arena, const char **out, myr_err *err)
{
    myr_str text = myr_stmt_text(stmt, column);
    *out = text.size == 0 ? "" : myr_arena_strndup(arena, text.data, text.size);
    if (*out == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for what the registry holds");
    return MYR_OK;
}

myr_rc myr_registry_check_name(const char *name, const char *what, myr_err *err)
{
    if (name == NULL || !myr_name_is_valid(myr_str_of(name))) {
        MYR_FAIL(err, BAD_INPUT, "%s '%.200s': 1 to %d letters, digits, '.', '_', '-', the first a letter or digit",
                 what, name != NULL ? name : "", MYR_NAME_BYTES_MAX);
    }
    return MYR_OK;
}

myr_rc myr_registry_check_column(const char *name, const char *what, myr_err *err)
{
    size_t size = name != NULL ? strlen(name) : 0;
    if (size == 0 || size > MYR_NAME_BYTES_MAX || !myr_utf8_is_valid(myr_str_make(name, size))) {
        MYR_FAIL(err, BAD_INPUT, "%s '%.200s': a column name is 1 to %d bytes of UTF-8", what, name != NULL ? name : "",
                 MYR_NAME_BYTES_MAX);
    }
    return MYR_OK;
}

myr_rc myr_registry_rows_add(registry_rows *rows, const void *item, size_t item_bytes, myr_err *err)
{
    if (rows->count == rows->room) {
        size_t room = rows->room == 0 ? REGISTRY_ROWS_MIN : rows->room * 2;
        void *items = myr_realloc_array(rows->items, room, item_bytes);
        if (items == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %zu rows of the registry", room);
        rows->items = items;
        rows->room = room;
    }
    memcpy((char *)rows->items + rows->count * item_bytes, item, item_bytes);
    rows->count++;
    return MYR_OK;
}

myr_rc myr_registry_rows_take(const registry_rows *rows, size_t item_bytes, myr_arena *arena, void **out_items,
                              size_t *out_count, myr_err *err)
{
    void *items = myr_arena_alloc(arena, rows->count * item_bytes);
    if (items == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %zu rows of the registry", rows->count);
    if (rows->count > 0) memcpy(items, rows->items, rows->count * item_bytes);
    *out_items = items;
    *out_count = rows->count;
    return MYR_OK;
}
