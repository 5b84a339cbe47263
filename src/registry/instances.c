/*
 * Servers that answer: a row each, written again before its lease runs out, and a document per fleet, written when it
 * changed. A reader believes a row until its lease ends, so a server that died is gone then without anybody's doing.
 */
#include <math.h>
#include <string.h>

#include "registry/internal.h"

#define INSTANCE_COLUMNS                                                                                               \
    "instance_id, service, region, rest, grpc, admin, auth, program, state, load, started_ms, expires_ms, revision"

/* ---- what a server may say of itself ---- */

static myr_rc instance_check_text(const char *text, const char *what, bool may_be_empty, myr_err *err)
{
    size_t size = text != NULL ? strnlen(text, MYR_INSTANCE_TEXT_BYTES_MAX + 1) : 0;
    if (size > MYR_INSTANCE_TEXT_BYTES_MAX || (size == 0 && !may_be_empty) ||
        !myr_utf8_is_valid(myr_str_make(text, size))) {
        MYR_FAIL(err, BAD_INPUT, "instance: its %s is %s to %d bytes of UTF-8", what, may_be_empty ? "0" : "1",
                 MYR_INSTANCE_TEXT_BYTES_MAX);
    }
    return MYR_OK;
}

static myr_rc instance_check(const myr_instance_row *row, const char *const *docs, size_t doc_count, myr_err *err)
{
    MYR_TRY(myr_registry_check_name(row->service, "service name", err));
    if (row->region != NULL && row->region[0] != '\0') MYR_TRY(myr_registry_check_name(row->region, "region", err));
    MYR_TRY(instance_check_text(row->id, "id", false, err));
    MYR_TRY(instance_check_text(row->rest, "REST URI", false, err));
    MYR_TRY(instance_check_text(row->grpc, "gRPC URI", true, err));
    MYR_TRY(instance_check_text(row->admin, "admin URI", true, err));
    MYR_TRY(instance_check_text(row->auth, "authentication", true, err));
    MYR_TRY(instance_check_text(row->program, "version", true, err));
    MYR_TRY(instance_check_text(row->state, "state", false, err));
    if (!isfinite(row->load)) MYR_FAIL(err, BAD_INPUT, "instance: its load is not a number");
    if (docs == NULL) return MYR_OK;
    if (doc_count > MYR_INSTANCE_FLEETS_MAX) {
        MYR_FAIL(err, TOO_LARGE, "instance: %zu fleets, at most %d are told of", doc_count, MYR_INSTANCE_FLEETS_MAX);
    }
    for (size_t i = 0; i < doc_count; i++) {
        if (strnlen(docs[i], MYR_INSTANCE_DOC_BYTES_MAX + 1) <= MYR_INSTANCE_DOC_BYTES_MAX) continue;
        MYR_FAIL(err, TOO_LARGE, "instance: the description of fleet %zu has more than %d bytes", i + 1,
                 MYR_INSTANCE_DOC_BYTES_MAX);
    }
    return MYR_OK;
}

/* ---- writing ---- */

static void instance_bind(myr_stmt *stmt, const myr_instance_row *row)
{
    const char *const texts[] = {row->id,    row->service, row->region,  row->rest, row->grpc,
                                 row->admin, row->auth,    row->program, row->state};
    int at = 1;
    for (size_t i = 0; i < MYR_COUNT_OF(texts); i++)
        registry_bind_text(stmt, at++, texts[i]);
    myr_stmt_bind_double(stmt, at++, row->load);
    myr_stmt_bind_int64(stmt, at++, row->started_ms);
    myr_stmt_bind_int64(stmt, at++, row->expires_ms);
    myr_stmt_bind_int64(stmt, at++, row->revision);
}

static myr_rc instance_exists(myr_registry *registry, const char *id, myr_err *err)
{
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    bool has_row = false;
    MYR_TRY(myr_db_prepare(registry->db, "SELECT 1 FROM instance WHERE instance_id = ?1", &stmt, err));
    registry_bind_text(stmt, 1, id);
    MYR_TRY(myr_stmt_step(stmt, &has_row, err));
    if (!has_row) MYR_FAIL(err, NOT_FOUND, "instance %.100s is not registered any more", id);
    return MYR_OK;
}

static myr_rc instance_delete(myr_registry *registry, const char *id, myr_err *err)
{
    myr_stmt *stmt = NULL;
    MYR_TRY(myr_db_prepare(registry->db, "DELETE FROM instance_fleet WHERE instance_id = ?1", &stmt, err));
    registry_bind_text(stmt, 1, id);
    MYR_TRY(myr_stmt_run(stmt, err));
    MYR_TRY(myr_db_prepare(registry->db, "DELETE FROM instance WHERE instance_id = ?1", &stmt, err));
    registry_bind_text(stmt, 1, id);
    return myr_stmt_run(stmt, err);
}

static myr_rc instance_forget(myr_registry *registry, int64_t now_ms, myr_err *err)
{
    static const char *const texts[] = {
        "DELETE FROM instance_fleet WHERE instance_id IN (SELECT instance_id FROM instance WHERE expires_ms < ?1)",
        "DELETE FROM instance WHERE expires_ms < ?1"};
    for (size_t i = 0; i < MYR_COUNT_OF(texts); i++) {
        myr_stmt *stmt = NULL;
        MYR_TRY(myr_db_prepare(registry->db, texts[i], &stmt, err));
        myr_stmt_bind_int64(stmt, 1, now_ms - MYR_INSTANCE_FORGET_MS);
        MYR_TRY(myr_stmt_run(stmt, err));
    }
    return MYR_OK;
}

static myr_rc instance_put_docs(myr_registry *registry, const char *id, const char *const *docs, size_t doc_count,
                                myr_err *err)
{
    myr_stmt *stmt = NULL;
    MYR_TRY(myr_db_prepare(registry->db, "DELETE FROM instance_fleet WHERE instance_id = ?1", &stmt, err));
    registry_bind_text(stmt, 1, id);
    MYR_TRY(myr_stmt_run(stmt, err));
    for (size_t i = 0; i < doc_count; i++) {
        MYR_TRY(myr_db_prepare(registry->db, "INSERT INTO instance_fleet VALUES(?1, ?2, ?3)", &stmt, err));
        registry_bind_text(stmt, 1, id);
        myr_stmt_bind_int64(stmt, 2, (int64_t)i);
        registry_bind_text(stmt, 3, docs[i]);
        MYR_TRY(myr_stmt_run(stmt, err));
    }
    return MYR_OK;
}

static myr_rc instance_write(myr_registry *registry, const myr_instance_row *row, const char *const *docs,
                             size_t doc_count, int64_t now_ms, myr_err *err)
{
    myr_stmt *stmt = NULL;
    if (docs == NULL) MYR_TRY(instance_exists(registry, row->id, err));
    MYR_TRY(myr_db_prepare(registry->db,
                           "INSERT OR REPLACE INTO instance(" INSTANCE_COLUMNS
                           ") VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
                           &stmt, err));
    instance_bind(stmt, row);
    MYR_TRY(myr_stmt_run(stmt, err));
    if (docs != NULL) MYR_TRY(instance_put_docs(registry, row->id, docs, doc_count, err));
    return instance_forget(registry, now_ms, err);
}

myr_rc myr_registry_instance_put(myr_registry *registry, const myr_instance_row *row, const char *const *docs,
                                 size_t doc_count, int64_t now_ms, int64_t busy_ms, myr_err *err)
{
    MYR_TRY(instance_check(row, docs, doc_count, err));
    bool is_own = false;
    myr_db_set_busy_ms(registry->db, busy_ms);
    myr_rc rc = myr_registry_enter(registry, &is_own, err);
    if (rc == MYR_OK) {
        rc = instance_write(registry, row, docs, doc_count, now_ms, err);
        rc = myr_registry_leave(registry, is_own, rc, err);
    }
    myr_db_set_busy_ms(registry->db, 0);
    return rc;
}

myr_rc myr_registry_instance_remove(myr_registry *registry, const char *id, int64_t busy_ms, myr_err *err)
{
    bool is_own = false;
    myr_db_set_busy_ms(registry->db, busy_ms);
    myr_rc rc = myr_registry_enter(registry, &is_own, err);
    if (rc == MYR_OK) rc = myr_registry_leave(registry, is_own, instance_delete(registry, id, err), err);
    myr_db_set_busy_ms(registry->db, 0);
    return rc;
}

/* ---- reading ---- */

static myr_rc instance_read(myr_stmt *stmt, myr_arena *arena, myr_instance_row *out, myr_err *err)
{
    const char **texts[] = {&out->id,    &out->service, &out->region,  &out->rest, &out->grpc,
                            &out->admin, &out->auth,    &out->program, &out->state};
    int at = 0;
    for (size_t i = 0; i < MYR_COUNT_OF(texts); i++)
        MYR_TRY(myr_registry_text(stmt, at++, arena, texts[i], err));
    out->load = myr_stmt_double(stmt, at++);
    out->started_ms = myr_stmt_int64(stmt, at++);
    out->expires_ms = myr_stmt_int64(stmt, at++);
    out->revision = myr_stmt_int64(stmt, at++);
    return MYR_OK;
}

myr_rc myr_registry_instances(myr_registry *registry, myr_arena *arena, int64_t now_ms, myr_instance_row **out,
                              size_t *out_count, myr_err *err)
{
    MYR_AUTO(registry_rows) rows = {0};
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    bool has_row = false;
    MYR_TRY(myr_db_prepare(registry->db,
                           "SELECT " INSTANCE_COLUMNS " FROM instance WHERE expires_ms > ?1"
                           " ORDER BY service, region, instance_id LIMIT ?2",
                           &stmt, err));
    myr_stmt_bind_int64(stmt, 1, now_ms);
    myr_stmt_bind_int64(stmt, 2, MYR_INSTANCES_MAX);
    for (;;) {
        MYR_TRY(myr_stmt_step(stmt, &has_row, err));
        if (!has_row) break;
        myr_instance_row row;
        MYR_TRY(instance_read(stmt, arena, &row, err));
        MYR_TRY(myr_registry_rows_add(&rows, &row, sizeof row, err));
    }
    void *items = NULL;
    MYR_TRY(myr_registry_rows_take(&rows, sizeof(myr_instance_row), arena, &items, out_count, err));
    *out = items;
    return MYR_OK;
}

/* The texts of a bound statement's first column. */
static myr_rc instance_read_texts(myr_stmt *stmt, myr_arena *arena, const char ***out, size_t *out_count, myr_err *err)
{
    MYR_AUTO(registry_rows) rows = {0};
    bool has_row = false;
    for (;;) {
        MYR_TRY(myr_stmt_step(stmt, &has_row, err));
        if (!has_row) break;
        const char *text = NULL;
        MYR_TRY(myr_registry_text(stmt, 0, arena, &text, err));
        MYR_TRY(myr_registry_rows_add(&rows, &text, sizeof text, err));
    }
    void *items = NULL;
    MYR_TRY(myr_registry_rows_take(&rows, sizeof(const char *), arena, &items, out_count, err));
    *out = items;
    return MYR_OK;
}

myr_rc myr_registry_instance_docs(myr_registry *registry, myr_arena *arena, const char *id, const char ***out,
                                  size_t *out_count, myr_err *err)
{
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    MYR_TRY(myr_db_prepare(registry->db, "SELECT document FROM instance_fleet WHERE instance_id = ?1 ORDER BY position",
                           &stmt, err));
    registry_bind_text(stmt, 1, id);
    return instance_read_texts(stmt, arena, out, out_count, err);
}

myr_rc myr_registry_release_tags(myr_registry *registry, myr_arena *arena, int64_t fleet_id, int64_t number, size_t max,
                                 const char ***out, size_t *out_count, myr_err *err)
{
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    MYR_TRY(myr_db_prepare(registry->db,
                           "SELECT DISTINCT t.key || '=' || t.value FROM release r"
                           " JOIN release_model rm ON rm.release_id = r.release_id"
                           " JOIN model_tag t ON t.model_id = rm.model_id"
                           " WHERE r.fleet_id = ?1 AND r.number = ?2 ORDER BY 1 LIMIT ?3",
                           &stmt, err));
    myr_stmt_bind_int64(stmt, 1, fleet_id);
    myr_stmt_bind_int64(stmt, 2, number);
    myr_stmt_bind_int64(stmt, 3, (int64_t)max);
    return instance_read_texts(stmt, arena, out, out_count, err);
}

myr_rc myr_registry_release_code(myr_registry *registry, myr_arena *arena, int64_t fleet_id, int64_t number,
                                 const char ***out, size_t *out_count, myr_err *err)
{
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    MYR_TRY(myr_db_prepare(registry->db,
                           "SELECT DISTINCT m.artifact FROM release r"
                           " JOIN release_model rm ON rm.release_id = r.release_id"
                           " JOIN model m ON m.model_id = rm.model_id"
                           " WHERE r.fleet_id = ?1 AND r.number = ?2 AND m.format = 'score.py'"
                           " AND EXISTS (SELECT 1 FROM model c WHERE c.format = 'score.py') ORDER BY 1",
                           &stmt, err));
    myr_stmt_bind_int64(stmt, 1, fleet_id);
    myr_stmt_bind_int64(stmt, 2, number);
    return instance_read_texts(stmt, arena, out, out_count, err);
}
