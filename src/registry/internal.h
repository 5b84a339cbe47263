/* What the files of registry share. Not for other directories. */
#ifndef MYR_REGISTRY_INTERNAL_H
#define MYR_REGISTRY_INTERNAL_H

#include "db/db.h"
#include "registry/registry.h"

struct myr_registry {
    myr_db *db;
    char *path;
};

extern const char *const myr_registry_migrations[];
extern const int myr_registry_migration_count;

/*
 * The bracket of a write that is more than one statement: a transaction of its own, unless the caller has one open.
 * myr_registry_leave gives back rc, or the commit's.
 */
myr_rc myr_registry_enter(myr_registry *registry, bool *out_is_own, myr_err *err);
myr_rc myr_registry_leave(myr_registry *registry, bool is_own, myr_rc rc, myr_err *err);

/* A text of the current row, copied into the arena; NULL (in the database) becomes "". */
myr_rc myr_registry_text(myr_stmt *stmt, int column, myr_arena *arena, const char **out, myr_err *err);
/* `what` in messages: "fleet name". */
myr_rc myr_registry_check_name(const char *name, const char *what, myr_err *err);
/* A column or feature: 1 to MYR_NAME_BYTES_MAX bytes of UTF-8. */
myr_rc myr_registry_check_column(const char *name, const char *what, myr_err *err);
static inline void registry_bind_text(myr_stmt *stmt, int position, const char *text)
{
    myr_stmt_bind_text(stmt, position, myr_str_of(text != NULL ? text : ""));
}

/* A growing array of rows: on the heap while it grows, in the caller's arena at the end. Zero-initialise. */
typedef struct registry_rows {
    void *items;
    size_t count, room;
} registry_rows;
static inline void registry_rows_drop(registry_rows *rows)
{
    myr_free(rows->items);
}
myr_rc myr_registry_rows_add(registry_rows *rows, const void *item, size_t item_bytes, myr_err *err);
myr_rc myr_registry_rows_take(const registry_rows *rows, size_t item_bytes, myr_arena *arena, void **out_items,
                              size_t *out_count, myr_err *err);

/* The models of one release, in the order of its pack (models.c). */
myr_rc myr_registry_read_release_models(myr_registry *registry, myr_arena *arena, int64_t release_id,
                                        myr_model_row **out, size_t *out_count, myr_err *err);

#endif
