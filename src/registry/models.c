/*
 * Models: a version of a segment. Adding one moves the segment's newest version in the same transaction, so two
 * processes never give the same number. Reading is one statement, whatever is asked for: models in order, each with its
 * tags.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "registry/internal.h"

/* ---- segment text, as far as the registry looks into it: canonical parts between commas ---- */

/* The parts of a segment or of a filter: names as written, values decoded. Borrowed from `text` and `values`. */
typedef struct model_parts {
    uint32_t count;
    myr_str names[MYR_PARTITION_COLUMNS_MAX];
    myr_str values[MYR_PARTITION_COLUMNS_MAX];
    myr_buf decoded; /* what the values point into */
} model_parts;
static void model_parts_drop(model_parts *parts)
{
    myr_buf_fini(&parts->decoded);
}

static myr_rc model_parts_read(const char *text, const char *what, model_parts *out, myr_err *err)
{
    size_t starts[MYR_PARTITION_COLUMNS_MAX + 1] = {0};
    myr_str rest = myr_str_of(text);
    myr_str part;
    if (rest.size > MYR_KEY_TEXT_BYTES_MAX) {
        MYR_FAIL(err, BAD_INPUT, "%s of %zu bytes, at most %d are allowed", what, rest.size, MYR_KEY_TEXT_BYTES_MAX);
    }
    if (rest.size == 0) return MYR_OK; /* the global segment */
    while (myr_str_split(&rest, ',', &part)) {
        const char *equals = part.size > 0 ? memchr(part.data, '=', part.size) : NULL;
        if (equals == NULL || equals == part.data)
            MYR_FAIL(err, BAD_INPUT, "%s '%.150s': write name=value", what, text);
        if (out->count == MYR_PARTITION_COLUMNS_MAX) {
            MYR_FAIL(err, BAD_INPUT, "%s '%.150s': more than %d parts", what, text, MYR_PARTITION_COLUMNS_MAX);
        }
        myr_str name = myr_str_make(part.data, (size_t)(equals - part.data));
        for (uint32_t i = 0; i < out->count; i++) {
            if (myr_str_equal(out->names[i], name))
                MYR_FAIL(err, BAD_INPUT, "%s '%.150s' names a column twice", what, text);
        }
        out->names[out->count] = name;
        size_t value_at = (size_t)(equals + 1 - part.data);
        starts[out->count] = out->decoded.size;
        if (!myr_percent_decode(&out->decoded, myr_str_make(equals + 1, part.size - value_at))) {
            MYR_FAIL(err, BAD_INPUT, "%s '%.150s': '%%' needs two hexadecimal digits (write '%%' as %%25)", what, text);
        }
        out->count++;
        starts[out->count] = out->decoded.size;
    }
    MYR_TRY(myr_buf_check(&out->decoded, err));
    for (uint32_t i = 0; i < out->count; i++) { /* only now: the buffer has stopped moving */
        const char *base = out->decoded.data != NULL ? out->decoded.data : "";
        out->values[i] = myr_str_make(base + starts[i], starts[i + 1] - starts[i]);
    }
    return MYR_OK;
}

/* ---- adding ---- */

static myr_rc model_check_hex(const char *hex, myr_err *err)
{
    if (hex == NULL || strlen(hex) != MYR_SHA256_HEX_BYTES - 1 ||
        strspn(hex, "0123456789abcdef") != MYR_SHA256_HEX_BYTES - 1) {
        MYR_FAIL(err, BAD_INPUT, "artifact '%.80s' is not a SHA-256 of 64 hexadecimal digits", hex != NULL ? hex : "");
    }
    return MYR_OK;
}

static myr_rc model_check(const myr_model_row *row, const model_parts *parts, myr_err *err)
{
    if (row->key_columns != parts->count) {
        MYR_FAIL(err, BAD_INPUT, "segment '%.150s' has %u parts, not %u", row->segment, parts->count, row->key_columns);
    }
    MYR_TRY(myr_registry_check_name(row->algorithm, "algorithm", err));
    MYR_TRY(model_check_hex(row->artifact, err));
    if (row->metrics != NULL && strlen(row->metrics) > MYR_METRICS_BYTES_MAX) {
        MYR_FAIL(err, BAD_INPUT, "metrics of %zu bytes, at most %d are allowed", strlen(row->metrics),
                 MYR_METRICS_BYTES_MAX);
    }
    if (row->tag_count > MYR_TAGS_MAX)
        MYR_FAIL(err, BAD_INPUT, "%u tags, at most %d are allowed", row->tag_count, MYR_TAGS_MAX);
    for (uint32_t i = 0; i < row->tag_count; i++) {
        const char *value = row->tags[i].value;
        MYR_TRY(myr_registry_check_name(row->tags[i].key, "tag key", err));
        size_t size = value != NULL ? strlen(value) : 0;
        if (size > MYR_TAG_VALUE_BYTES_MAX || !myr_utf8_is_valid(myr_str_make(value, size))) {
            MYR_FAIL(err, BAD_INPUT, "tag '%s': a value is at most %d bytes of UTF-8", row->tags[i].key,
                     MYR_TAG_VALUE_BYTES_MAX);
        }
        for (uint32_t k = 0; k < i; k++) {
            if (strcmp(row->tags[i].key, row->tags[k].key) == 0) {
                MYR_FAIL(err, BAD_INPUT, "tag '%s' is given twice", row->tags[i].key);
            }
        }
    }
    return MYR_OK;
}

static myr_rc model_add_segment(myr_registry *registry, int64_t fleet_id, const char *segment, const model_parts *parts,
                                int64_t *out_id, myr_err *err)
{
    myr_stmt *stmt = NULL;
    MYR_TRY(myr_db_prepare(registry->db,
                           "INSERT INTO segment(fleet_id, key_columns, text, newest_version) VALUES(?1, ?2, ?3, 0)",
                           &stmt, err));
    myr_stmt_bind_int64(stmt, 1, fleet_id);
    myr_stmt_bind_int64(stmt, 2, parts->count);
    registry_bind_text(stmt, 3, segment);
    MYR_TRY(myr_stmt_run(stmt, err));
    int64_t segment_id = myr_db_last_id(registry->db);
    for (uint32_t i = 0; i < parts->count; i++) {
        MYR_TRY(myr_db_prepare(registry->db, "INSERT INTO segment_part VALUES(?1, ?2, ?3, ?4)", &stmt, err));
        myr_stmt_bind_int64(stmt, 1, fleet_id);
        myr_stmt_bind_text(stmt, 2, parts->names[i]);
        myr_stmt_bind_text(stmt, 3, parts->values[i]);
        myr_stmt_bind_int64(stmt, 4, segment_id);
        MYR_TRY(myr_stmt_run(stmt, err));
    }
    *out_id = segment_id;
    return MYR_OK;
}

/* The segment's row, made if it is new, and its newest version (0 = none yet). */
static myr_rc model_find_segment(myr_registry *registry, int64_t fleet_id, const char *segment,
                                 const model_parts *parts, int64_t *out_id, int64_t *out_newest, myr_err *err)
{
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    bool has_row = false;
    MYR_TRY(myr_db_prepare(
        registry->db,
        "SELECT segment_id, newest_version FROM segment WHERE fleet_id = ?1 AND key_columns = ?2 AND text = ?3", &stmt,
        err));
    myr_stmt_bind_int64(stmt, 1, fleet_id);
    myr_stmt_bind_int64(stmt, 2, parts->count);
    registry_bind_text(stmt, 3, segment);
    MYR_TRY(myr_stmt_step(stmt, &has_row, err));
    *out_newest = has_row ? myr_stmt_int64(stmt, 1) : 0;
    if (!has_row) return model_add_segment(registry, fleet_id, segment, parts, out_id, err);
    *out_id = myr_stmt_int64(stmt, 0);
    return MYR_OK;
}

static myr_rc model_add_row(myr_registry *registry, int64_t segment_id, int64_t version, const myr_model_row *row,
                            myr_err *err)
{
    myr_stmt *stmt = NULL;
    MYR_TRY(
        myr_db_prepare(registry->db,
                       "INSERT INTO model(segment_id, version, algorithm, format, artifact, artifact_bytes, objective,"
                       " fingerprint, source, baseline, created_ms, features, metrics, options)"
                       " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)",
                       &stmt, err));
    myr_stmt_bind_int64(stmt, 1, segment_id);
    myr_stmt_bind_int64(stmt, 2, version);
    registry_bind_text(stmt, 3, row->algorithm);
    registry_bind_text(stmt, 4, row->format);
    registry_bind_text(stmt, 5, row->artifact);
    myr_stmt_bind_int64(stmt, 6, row->artifact_bytes);
    registry_bind_text(stmt, 7, row->objective);
    registry_bind_text(stmt, 8, row->fingerprint);
    registry_bind_text(stmt, 9, row->source);
    myr_stmt_bind_double(stmt, 10, row->baseline); /* SQLite keeps a NaN as NULL */
    myr_stmt_bind_int64(stmt, 11, row->created_ms);
    registry_bind_text(stmt, 12, row->features);
    registry_bind_text(stmt, 13, row->metrics != NULL && row->metrics[0] != '\0' ? row->metrics : "{}");
    registry_bind_text(stmt, 14, row->options != NULL ? row->options : "");
    return myr_stmt_run(stmt, err);
}

static myr_rc model_insert(myr_registry *registry, int64_t fleet_id, const myr_model_row *row, const model_parts *parts,
                           int64_t *out_version, myr_err *err)
{
    int64_t segment_id = 0, newest = 0;
    myr_stmt *stmt = NULL;
    MYR_TRY(model_find_segment(registry, fleet_id, row->segment, parts, &segment_id, &newest, err));
    MYR_ASSERT(newest >= 0 && newest < INT64_MAX);
    MYR_TRY(model_add_row(registry, segment_id, newest + 1, row, err));
    int64_t model_id = myr_db_last_id(registry->db);
    for (uint32_t i = 0; i < row->tag_count; i++) {
        MYR_TRY(myr_db_prepare(registry->db, "INSERT INTO model_tag VALUES(?1, ?2, ?3)", &stmt, err));
        myr_stmt_bind_int64(stmt, 1, model_id);
        registry_bind_text(stmt, 2, row->tags[i].key);
        registry_bind_text(stmt, 3, row->tags[i].value);
        MYR_TRY(myr_stmt_run(stmt, err));
    }
    MYR_TRY(myr_db_prepare(registry->db,
                           "UPDATE segment SET newest_version = ?2, newest_model_id = ?3 WHERE segment_id = ?1", &stmt,
                           err));
    myr_stmt_bind_int64(stmt, 1, segment_id);
    myr_stmt_bind_int64(stmt, 2, newest + 1);
    myr_stmt_bind_int64(stmt, 3, model_id);
    MYR_TRY(myr_stmt_run(stmt, err));
    *out_version = newest + 1;
    return MYR_OK;
}

myr_rc myr_registry_model_add(myr_registry *registry, int64_t fleet_id, const myr_model_row *row, int64_t *out_version,
                              myr_err *err)
{
    MYR_AUTO(model_parts) parts = {0};
    MYR_TRY(model_parts_read(row->segment, "segment", &parts, err));
    MYR_TRY(model_check(row, &parts, err));
    bool is_own = false;
    int64_t version = 0;
    MYR_TRY(myr_registry_enter(registry, &is_own, err));
    MYR_TRY(myr_registry_leave(registry, is_own, model_insert(registry, fleet_id, row, &parts, &version, err), err));
    *out_version = version;
    return MYR_OK;
}

/* ---- reading ---- */

#define MODEL_COLUMNS                                                                                                  \
    "m.model_id, s.text, s.key_columns, m.version, m.algorithm, m.format, m.artifact, m.artifact_bytes, m.objective,"  \
    " m.fingerprint, m.source, m.baseline, m.created_ms, m.features, m.options, t.key, t.value"
enum { COLUMN_TAG_KEY = 15, COLUMN_TAG_VALUE, COLUMN_METRICS };
#define MODEL_SQL_BYTES 2048

/* The columns of one model, from the first of its rows. */
static myr_rc model_read(myr_stmt *stmt, bool brief, myr_arena *arena, myr_model_row *out, myr_err *err)
{
    *out = (myr_model_row){
        .id = myr_stmt_int64(stmt, 0),
        .version = myr_stmt_int64(stmt, 3),
        .artifact_bytes = myr_stmt_int64(stmt, 7),
        .baseline = myr_stmt_is_null(stmt, 11) ? (double)NAN : myr_stmt_double(stmt, 11),
        .created_ms = myr_stmt_int64(stmt, 12),
        .metrics = "",
    };
    int64_t key_columns = myr_stmt_int64(stmt, 2);
    if (key_columns < 0 || key_columns > MYR_PARTITION_COLUMNS_MAX) {
        MYR_FAIL(err, BAD_FORMAT, "registry: model %lld has %lld keys", (long long)out->id, (long long)key_columns);
    }
    out->key_columns = (uint32_t)key_columns;
    MYR_TRY(myr_registry_text(stmt, 1, arena, &out->segment, err));
    MYR_TRY(myr_registry_text(stmt, 4, arena, &out->algorithm, err));
    MYR_TRY(myr_registry_text(stmt, 5, arena, &out->format, err));
    MYR_TRY(myr_registry_text(stmt, 6, arena, &out->artifact, err));
    MYR_TRY(myr_registry_text(stmt, 8, arena, &out->objective, err));
    MYR_TRY(myr_registry_text(stmt, 9, arena, &out->fingerprint, err));
    MYR_TRY(myr_registry_text(stmt, 10, arena, &out->source, err));
    MYR_TRY(myr_registry_text(stmt, 13, arena, &out->features, err));
    MYR_TRY(myr_registry_text(stmt, 14, arena, &out->options, err));
    if (!brief) MYR_TRY(myr_registry_text(stmt, COLUMN_METRICS, arena, &out->metrics, err));
    return MYR_OK;
}

/* The tags of the model whose rows are being read; moved into the arena when its last row is past. */
typedef struct model_tags {
    myr_tag items[MYR_TAGS_MAX];
    uint32_t count;
} model_tags;

static myr_rc model_tags_add(model_tags *tags, myr_stmt *stmt, myr_arena *arena, myr_err *err)
{
    if (myr_stmt_is_null(stmt, COLUMN_TAG_KEY)) return MYR_OK; /* a model without tags is one row */
    if (tags->count == MYR_TAGS_MAX) MYR_FAIL(err, BAD_FORMAT, "registry: a model has more than %d tags", MYR_TAGS_MAX);
    myr_tag *tag = &tags->items[tags->count];
    MYR_TRY(myr_registry_text(stmt, COLUMN_TAG_KEY, arena, &tag->key, err));
    MYR_TRY(myr_registry_text(stmt, COLUMN_TAG_VALUE, arena, &tag->value, err));
    tags->count++;
    return MYR_OK;
}

static myr_rc model_tags_take(model_tags *tags, myr_arena *arena, registry_rows *rows, myr_err *err)
{
    if (tags->count == 0) return MYR_OK;
    MYR_ASSERT(rows->count > 0);
    myr_tag *copy = myr_arena_alloc(arena, tags->count * sizeof *copy);
    if (copy == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %u tags", tags->count);
    memcpy(copy, tags->items, tags->count * sizeof *copy);
    myr_model_row *row = (myr_model_row *)rows->items + (rows->count - 1);
    row->tags = copy;
    row->tag_count = tags->count;
    tags->count = 0;
    return MYR_OK;
}

/* Step the bound statement through: rows of one model stand together, one per tag. */
static myr_rc model_read_all(myr_stmt *stmt, bool brief, myr_arena *arena, myr_model_row **out, size_t *out_count,
                             myr_err *err)
{
    MYR_AUTO(registry_rows) rows = {0};
    model_tags tags = {.count = 0};
    int64_t last_id = INT64_MIN;
    bool has_row = false;
    for (;;) {
        MYR_TRY(myr_stmt_step(stmt, &has_row, err));
        if (!has_row) break;
        if (myr_stmt_int64(stmt, 0) != last_id) {
            MYR_TRY(model_tags_take(&tags, arena, &rows, err));
            myr_model_row row;
            MYR_TRY(model_read(stmt, brief, arena, &row, err));
            MYR_TRY(myr_registry_rows_add(&rows, &row, sizeof row, err));
            last_id = row.id;
        }
        MYR_TRY(model_tags_add(&tags, stmt, arena, err));
    }
    MYR_TRY(model_tags_take(&tags, arena, &rows, err));
    void *items = NULL;
    MYR_TRY(myr_registry_rows_take(&rows, sizeof(myr_model_row), arena, &items, out_count, err));
    *out = items;
    return MYR_OK;
}

/* The statement of a filter. Few different texts exist: newest or all, code or all, with or without tag and metrics,
 * 0 to 8 parts. */
static void model_filter_sql(const myr_model_filter *filter, const model_parts *parts, char out[MODEL_SQL_BYTES])
{
    int at = snprintf(out, MODEL_SQL_BYTES,
                      "SELECT " MODEL_COLUMNS "%s FROM segment s JOIN model m ON %s"
                      " LEFT JOIN model_tag t ON t.model_id = m.model_id WHERE s.fleet_id = ?1",
                      filter->brief ? "" : ", m.metrics",
                      filter->newest_only ? "m.model_id = s.newest_model_id" : "m.segment_id = s.segment_id");
    for (uint32_t i = 0; i < parts->count; i++) {
        at += snprintf(out + at, MODEL_SQL_BYTES - (size_t)at,
                       " AND s.segment_id IN (SELECT segment_id FROM segment_part WHERE fleet_id = ?1 AND name = ?%u"
                       " AND value = ?%u)",
                       4 + 2 * i, 5 + 2 * i);
    }
    if (filter->tag != NULL) {
        at += snprintf(out + at, MODEL_SQL_BYTES - (size_t)at,
                       " AND m.model_id IN (SELECT model_id FROM model_tag WHERE key = ?2 AND value = ?3)");
    }
    if (filter->code_only) at += snprintf(out + at, MODEL_SQL_BYTES - (size_t)at, " AND m.format = 'score.py'");
    at += snprintf(out + at, MODEL_SQL_BYTES - (size_t)at, " ORDER BY s.key_columns DESC, s.text, m.version, t.key");
    MYR_ASSERT(at > 0 && at < MODEL_SQL_BYTES);
}

myr_rc myr_registry_models(myr_registry *registry, myr_arena *arena, int64_t fleet_id, const myr_model_filter *filter,
                           myr_model_row **out, size_t *out_count, myr_err *err)
{
    static const myr_model_filter everything = {0};
    if (filter == NULL) filter = &everything;
    MYR_AUTO(model_parts) parts = {0};
    if (filter->segment_part != NULL) MYR_TRY(model_parts_read(filter->segment_part, "segment filter", &parts, err));
    myr_str tag_value = myr_str_of(filter->tag);
    myr_str tag_key = {0};
    if (filter->tag != NULL &&
        (!myr_str_split(&tag_value, '=', &tag_key) || tag_value.data == NULL || tag_key.size == 0)) {
        MYR_FAIL(err, BAD_INPUT, "tag filter '%.150s': write key=value", filter->tag);
    }
    char sql[MODEL_SQL_BYTES];
    model_filter_sql(filter, &parts, sql);
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    MYR_TRY(myr_db_prepare(registry->db, sql, &stmt, err));
    myr_stmt_bind_int64(stmt, 1, fleet_id);
    if (filter->tag != NULL) {
        myr_stmt_bind_text(stmt, 2, tag_key);
        myr_stmt_bind_text(stmt, 3, tag_value);
    }
    for (uint32_t i = 0; i < parts.count; i++) {
        myr_stmt_bind_text(stmt, 4 + 2 * (int)i, parts.names[i]);
        myr_stmt_bind_text(stmt, 5 + 2 * (int)i, parts.values[i]);
    }
    return model_read_all(stmt, filter->brief, arena, out, out_count, err);
}

myr_rc myr_registry_model_get(myr_registry *registry, myr_arena *arena, int64_t fleet_id, const char *segment,
                              int64_t version, myr_model_row *out, myr_err *err)
{
    MYR_AUTO(model_parts) parts = {0};
    MYR_TRY(model_parts_read(segment, "segment", &parts, err));
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    MYR_TRY(myr_db_prepare(registry->db,
                           "SELECT " MODEL_COLUMNS
                           ", m.metrics FROM segment s JOIN model m ON m.segment_id = s.segment_id"
                           " LEFT JOIN model_tag t ON t.model_id = m.model_id"
                           " WHERE s.fleet_id = ?1 AND s.key_columns = ?2 AND s.text = ?3"
                           " AND m.version = CASE ?4 WHEN 0 THEN s.newest_version ELSE ?4 END ORDER BY t.key",
                           &stmt, err));
    myr_stmt_bind_int64(stmt, 1, fleet_id);
    myr_stmt_bind_int64(stmt, 2, parts.count);
    registry_bind_text(stmt, 3, segment);
    myr_stmt_bind_int64(stmt, 4, version);
    myr_model_row *rows = NULL;
    size_t count = 0;
    MYR_TRY(model_read_all(stmt, false, arena, &rows, &count, err));
    if (count == 0) {
        MYR_AUTO(myr_stmt_ptr) name = NULL;
        bool has_row = false;
        MYR_TRY(myr_db_prepare(registry->db, "SELECT name FROM fleet WHERE fleet_id = ?1", &name, err));
        myr_stmt_bind_int64(name, 1, fleet_id);
        MYR_TRY(myr_stmt_step(name, &has_row, err));
        myr_str fleet = has_row ? myr_stmt_text(name, 0) : myr_str_of("?");
        if (version == 0) MYR_FAIL(err, NOT_FOUND, "no model " MYR_STR_FMT "@%.150s", MYR_STR_ARG(fleet), segment);
        MYR_FAIL(err, NOT_FOUND, "no version %lld of model " MYR_STR_FMT "@%.150s", (long long)version,
                 MYR_STR_ARG(fleet), segment);
    }
    MYR_ASSERT(count == 1);
    *out = rows[0];
    return MYR_OK;
}

/* Declared in internal.h: releases.c reads the models of a release with the same columns. */
myr_rc myr_registry_read_release_models(myr_registry *registry, myr_arena *arena, int64_t release_id,
                                        myr_model_row **out, size_t *out_count, myr_err *err)
{
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    MYR_TRY(myr_db_prepare(
        registry->db,
        "SELECT " MODEL_COLUMNS ", m.metrics FROM release_model r JOIN model m ON m.model_id = r.model_id"
        " JOIN segment s ON s.segment_id = m.segment_id LEFT JOIN model_tag t ON t.model_id = m.model_id"
        " WHERE r.release_id = ?1 ORDER BY r.position, t.key",
        &stmt, err));
    myr_stmt_bind_int64(stmt, 1, release_id);
    return model_read_all(stmt, false, arena, out, out_count, err);
}
