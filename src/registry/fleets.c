/*
 * Fleets: one row each, and one row per partition column and feature. A fleet's signature never changes: everything
 * that was compiled against it stays right. Partition columns are given once, at the latest with the first keyed model.
 */
#include <string.h>
#include <strings.h>

#include "registry/internal.h"

enum { KIND_PARTITION, KIND_FEATURE };

#define FLEETS_NEAREST_MAX 10000 /* names looked through for a "did you mean" */

static myr_rc fleet_check_columns(const char *const *names, uint32_t count, uint32_t max, const char *what,
                                  myr_err *err)
{
    if (count > max) MYR_FAIL(err, BAD_INPUT, "%u %ss, at most %u are allowed", count, what, max);
    MYR_AUTO(myr_map_ptr) seen = myr_map_new();
    if (seen == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to check %u %ss", count, what);
    for (uint32_t i = 0; i < count; i++) {
        MYR_TRY(myr_registry_check_column(names[i], what, err));
        if (myr_map_find(seen, myr_str_of(names[i]), NULL))
            MYR_FAIL(err, BAD_INPUT, "%s '%s' is named twice", what, names[i]);
        MYR_TRY(myr_map_put(seen, myr_str_of(names[i]), i, err));
    }
    return MYR_OK;
}

/* `prediction_` and digits: one of several outputs. */
static bool fleet_is_output(const char *name)
{
    static const char prefix[] = "prediction_";
    if (strncasecmp(name, prefix, sizeof prefix - 1) != 0) return false;
    const char *digits = name + sizeof prefix - 1;
    return digits[0] != '\0' && digits[strspn(digits, "0123456789")] == '\0';
}

/* The one list of names that batch writes (src/batch/plan.c): a key of the same name could never be scored. */
myr_rc myr_registry_check_partition(const char *name, myr_err *err)
{
    static const char *const reserved[] = {"prediction", "model", "model_version", "level", "status"};
    MYR_TRY(myr_registry_check_column(name, "partition column", err));
    bool is_reserved = fleet_is_output(name);
    for (size_t i = 0; !is_reserved && i < MYR_COUNT_OF(reserved); i++)
        is_reserved = strcasecmp(name, reserved[i]) == 0;
    if (!is_reserved) return MYR_OK;
    MYR_FAIL(err, BAD_INPUT,
             "partition column '%s': batch writes a column of that name (prediction, model, model_version, level and "
             "status are its own): give the key another name",
             name);
}

static myr_rc fleet_check_partition(const char *const *columns, uint32_t count, myr_err *err)
{
    MYR_TRY(fleet_check_columns(columns, count, MYR_PARTITION_COLUMNS_MAX, "partition column", err));
    for (uint32_t i = 0; i < count; i++)
        MYR_TRY(myr_registry_check_partition(columns[i], err));
    return MYR_OK;
}

static myr_rc fleet_check(const myr_fleet_row *row, myr_err *err)
{
    MYR_TRY(myr_registry_check_name(row->name, "fleet name", err));
    MYR_TRY(fleet_check_partition(row->partition_columns, row->partition_count, err));
    MYR_TRY(fleet_check_columns(row->features, row->feature_count, MYR_FEATURES_MAX, "feature", err));
    if (row->output_count == 0 || row->output_count > MYR_OUTPUTS_MAX) {
        MYR_FAIL(err, BAD_INPUT, "fleet '%s' has %u outputs, 1 to %d are allowed", row->name, row->output_count,
                 MYR_OUTPUTS_MAX);
    }
    if (row->target != NULL && row->target[0] != '\0') MYR_TRY(myr_registry_check_column(row->target, "target", err));
    return MYR_OK;
}

static myr_rc fleet_add_columns(myr_registry *registry, int64_t fleet_id, int kind, const char *const *names,
                                uint32_t count, myr_err *err)
{
    myr_stmt *stmt = NULL;
    for (uint32_t i = 0; i < count; i++) {
        MYR_TRY(myr_db_prepare(registry->db, "INSERT INTO fleet_column VALUES(?1, ?2, ?3, ?4)", &stmt, err));
        myr_stmt_bind_int64(stmt, 1, fleet_id);
        myr_stmt_bind_int64(stmt, 2, kind);
        myr_stmt_bind_int64(stmt, 3, i);
        registry_bind_text(stmt, 4, names[i]);
        MYR_TRY(myr_stmt_run(stmt, err));
    }
    return MYR_OK;
}

static myr_rc fleet_insert(myr_registry *registry, const myr_fleet_row *row, int64_t *out_id, myr_err *err)
{
    myr_stmt *stmt = NULL;
    MYR_TRY(myr_db_prepare(
        registry->db,
        "INSERT INTO fleet(name, output_count, target, target_transform, created_ms) VALUES(?1,?2,?3,?4,?5)", &stmt,
        err));
    registry_bind_text(stmt, 1, row->name);
    myr_stmt_bind_int64(stmt, 2, row->output_count);
    registry_bind_text(stmt, 3, row->target);
    registry_bind_text(stmt, 4, row->target_transform);
    myr_stmt_bind_int64(stmt, 5, row->created_ms);
    myr_rc rc = myr_stmt_run(stmt, err);
    if (rc == MYR_EXISTS) MYR_FAIL(err, EXISTS, "fleet '%s' exists already", row->name);
    MYR_TRY(rc);
    int64_t fleet_id = myr_db_last_id(registry->db);
    MYR_TRY(fleet_add_columns(registry, fleet_id, KIND_PARTITION, row->partition_columns, row->partition_count, err));
    MYR_TRY(fleet_add_columns(registry, fleet_id, KIND_FEATURE, row->features, row->feature_count, err));
    *out_id = fleet_id;
    return MYR_OK;
}

myr_rc myr_registry_fleet_add(myr_registry *registry, const myr_fleet_row *row, int64_t *out_id, myr_err *err)
{
    MYR_TRY(fleet_check(row, err));
    bool is_own = false;
    MYR_TRY(myr_registry_enter(registry, &is_own, err));
    int64_t fleet_id = 0;
    MYR_TRY(myr_registry_leave(registry, is_own, fleet_insert(registry, row, &fleet_id, err), err));
    *out_id = fleet_id;
    return MYR_OK;
}

static myr_rc fleet_set_partition(myr_registry *registry, int64_t fleet_id, const char *const *columns, uint32_t count,
                                  myr_err *err)
{
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    bool has_row = false;
    MYR_TRY(myr_db_prepare(registry->db, "SELECT 1 FROM fleet_column WHERE fleet_id = ?1 AND kind = ?2", &stmt, err));
    myr_stmt_bind_int64(stmt, 1, fleet_id);
    myr_stmt_bind_int64(stmt, 2, KIND_PARTITION);
    MYR_TRY(myr_stmt_step(stmt, &has_row, err));
    if (has_row) MYR_FAIL(err, CONFLICT, "fleet %lld has partition columns already", (long long)fleet_id);
    return fleet_add_columns(registry, fleet_id, KIND_PARTITION, columns, count, err);
}

myr_rc myr_registry_fleet_partition(myr_registry *registry, int64_t fleet_id, const char *const *columns,
                                    uint32_t column_count, myr_err *err)
{
    MYR_TRY(fleet_check_partition(columns, column_count, err));
    bool is_own = false;
    MYR_TRY(myr_registry_enter(registry, &is_own, err));
    return myr_registry_leave(registry, is_own, fleet_set_partition(registry, fleet_id, columns, column_count, err),
                              err);
}

myr_rc myr_registry_fleet_explain(myr_registry *registry, int64_t fleet_id, bool explain, myr_err *err)
{
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    MYR_TRY(myr_db_prepare(registry->db, "UPDATE fleet SET explain = ?2 WHERE fleet_id = ?1", &stmt, err));
    myr_stmt_bind_int64(stmt, 1, fleet_id);
    myr_stmt_bind_int64(stmt, 2, explain);
    return myr_stmt_run(stmt, err);
}

/* ---- reading ---- */

#define FLEET_SELECT "SELECT fleet_id, name, output_count, target, target_transform, created_ms, explain FROM fleet "

static myr_rc fleet_read(myr_stmt *stmt, myr_arena *arena, myr_fleet_row *out, myr_err *err)
{
    *out = (myr_fleet_row){
        .id = myr_stmt_int64(stmt, 0), .created_ms = myr_stmt_int64(stmt, 5), .explain = myr_stmt_int64(stmt, 6) != 0};
    int64_t output_count = myr_stmt_int64(stmt, 2);
    if (output_count < 1 || output_count > MYR_OUTPUTS_MAX) {
        MYR_FAIL(err, BAD_FORMAT, "registry: fleet %lld has %lld outputs", (long long)out->id, (long long)output_count);
    }
    out->output_count = (uint32_t)output_count;
    MYR_TRY(myr_registry_text(stmt, 1, arena, &out->name, err));
    MYR_TRY(myr_registry_text(stmt, 3, arena, &out->target, err));
    return myr_registry_text(stmt, 4, arena, &out->target_transform, err);
}

static myr_rc fleet_read_columns(myr_registry *registry, myr_arena *arena, int64_t fleet_id, int kind, uint32_t max,
                                 const char *const **out, uint32_t *out_count, myr_err *err)
{
    MYR_AUTO(registry_rows) rows = {0};
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    bool has_row = false;
    MYR_TRY(myr_db_prepare(
        registry->db, "SELECT name FROM fleet_column WHERE fleet_id = ?1 AND kind = ?2 ORDER BY position", &stmt, err));
    myr_stmt_bind_int64(stmt, 1, fleet_id);
    myr_stmt_bind_int64(stmt, 2, kind);
    for (;;) {
        MYR_TRY(myr_stmt_step(stmt, &has_row, err));
        if (!has_row) break;
        const char *name = NULL;
        MYR_TRY(myr_registry_text(stmt, 0, arena, &name, err));
        MYR_TRY(myr_registry_rows_add(&rows, &name, sizeof name, err));
    }
    if (rows.count > max)
        MYR_FAIL(err, BAD_FORMAT, "registry: fleet %lld has %zu columns", (long long)fleet_id, rows.count);
    void *names = NULL;
    size_t count = 0;
    MYR_TRY(myr_registry_rows_take(&rows, sizeof(char *), arena, &names, &count, err));
    *out = names;
    *out_count = (uint32_t)count;
    return MYR_OK;
}

static myr_rc fleet_complete(myr_registry *registry, myr_arena *arena, myr_fleet_row *row, myr_err *err)
{
    MYR_TRY(fleet_read_columns(registry, arena, row->id, KIND_PARTITION, MYR_PARTITION_COLUMNS_MAX,
                               &row->partition_columns, &row->partition_count, err));
    return fleet_read_columns(registry, arena, row->id, KIND_FEATURE, MYR_FEATURES_MAX, &row->features,
                              &row->feature_count, err);
}

/* NOT_FOUND with the nearest name, or with what to type when there is no fleet at all. */
static myr_rc fleet_unknown(myr_registry *registry, const char *name, myr_err *err)
{
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    bool has_row = true;
    MYR_AUTO(registry_rows) names = {0};
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to look for fleet '%.128s'", name);
    MYR_TRY(myr_db_prepare(registry->db, "SELECT name FROM fleet ORDER BY name LIMIT ?1", &stmt, err));
    myr_stmt_bind_int64(stmt, 1, FLEETS_NEAREST_MAX);
    for (;;) {
        MYR_TRY(myr_stmt_step(stmt, &has_row, err));
        const char *known = NULL;
        if (has_row) MYR_TRY(myr_registry_text(stmt, 0, arena, &known, err));
        MYR_TRY(myr_registry_rows_add(&names, &known, sizeof known, err)); /* NULL ends the list */
        if (!has_row) break;
    }
    const char *nearest = myr_nearest(name, names.items);
    if (nearest != NULL) MYR_FAIL(err, NOT_FOUND, "no fleet '%.128s': did you mean '%s'?", name, nearest);
    if (names.count == 1) {
        MYR_FAIL(err, NOT_FOUND,
                 "no fleet '%.128s': there is none yet, `myriad train` or `myriad model import` makes one", name);
    }
    MYR_FAIL(err, NOT_FOUND, "no fleet '%.128s': `myriad model list` shows the %zu that exist", name, names.count - 1);
}

myr_rc myr_registry_fleet_get(myr_registry *registry, myr_arena *arena, const char *name, myr_fleet_row *out,
                              myr_err *err)
{
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    bool has_row = false;
    MYR_TRY(myr_db_prepare(registry->db, FLEET_SELECT "WHERE name = ?1", &stmt, err));
    registry_bind_text(stmt, 1, name);
    MYR_TRY(myr_stmt_step(stmt, &has_row, err));
    if (!has_row) return fleet_unknown(registry, name, err);
    myr_fleet_row row;
    MYR_TRY(fleet_read(stmt, arena, &row, err));
    MYR_TRY(fleet_complete(registry, arena, &row, err));
    *out = row;
    return MYR_OK;
}

myr_rc myr_registry_fleets(myr_registry *registry, myr_arena *arena, myr_fleet_row **out, size_t *out_count,
                           myr_err *err)
{
    MYR_AUTO(registry_rows) rows = {0};
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    bool has_row = false;
    MYR_TRY(myr_db_prepare(registry->db, FLEET_SELECT "ORDER BY name", &stmt, err));
    for (;;) {
        MYR_TRY(myr_stmt_step(stmt, &has_row, err));
        if (!has_row) break;
        myr_fleet_row row;
        MYR_TRY(fleet_read(stmt, arena, &row, err));
        MYR_TRY(myr_registry_rows_add(&rows, &row, sizeof row, err));
    }
    void *items = NULL;
    size_t count = 0;
    MYR_TRY(myr_registry_rows_take(&rows, sizeof(myr_fleet_row), arena, &items, &count, err));
    for (size_t i = 0; i < count; i++)
        MYR_TRY(fleet_complete(registry, arena, (myr_fleet_row *)items + i, err));
    *out = items;
    *out_count = count;
    return MYR_OK;
}
