/* A feature store of any kind: its tables defined, described, filled and looked at. */
#include "online/feature.h"

#include <string.h>

#include <yyjson.h>

struct myr_feature_store {
    const feature_kind *kind;
    void *self;
};

static const feature_kind *const feature_kinds[] = {
    [MYR_DB_SQLITE] = &myr_feature_sqlite, [MYR_DB_POSTGRES] = &myr_feature_pg, [MYR_DB_REDIS] = &myr_feature_redis};
static const char *const feature_key_types[] = {[MYR_KEY_INT64] = "int64", [MYR_KEY_BYTES] = "string"};

myr_rc myr_feature_store_open(const char *uri, bool create, myr_feature_store **out, myr_err *err)
{
    myr_db_kind kind;
    MYR_TRY(myr_db_uri_kind(uri, &kind, err));
    myr_feature_store *store = myr_calloc(1, sizeof *store);
    if (store == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a feature store");
    store->kind = feature_kinds[kind];
    myr_rc rc = store->kind->open(uri, create, &store->self, err);
    if (rc != MYR_OK) {
        myr_free(store);
        return rc;
    }
    *out = store;
    return MYR_OK;
}

void myr_feature_store_hurry(myr_feature_store *store, int64_t busy_ms)
{
    if (store->kind->hurry != NULL) store->kind->hurry(store->self, busy_ms);
}

void myr_feature_store_close(myr_feature_store *store)
{
    if (store == NULL) return;
    store->kind->close(store->self);
    myr_free(store);
}

/* ---- definitions as JSON ---- */

static void feature_format(const myr_feature_table *table, myr_buf *out)
{
    myr_buf_puts(out, "{\"keys\":[");
    for (uint32_t i = 0; i < table->keys.column_count; i++) {
        myr_buf_puts(out, i > 0 ? ",{\"name\":" : "{\"name\":");
        myr_buf_json_string(out, myr_str_of(table->keys.columns[i].name));
        myr_buf_printf(out, ",\"type\":\"%s\"}", feature_key_types[table->keys.columns[i].type]);
    }
    myr_buf_puts(out, "],\"features\":[");
    for (uint32_t i = 0; i < table->feature_count; i++) {
        if (i > 0) myr_buf_putc(out, ',');
        myr_buf_json_string(out, myr_str_of(table->features[i]));
    }
    myr_buf_puts(out, "]}");
}

static bool feature_parse_keys(yyjson_val *list, myr_key_schema *out)
{
    size_t idx, max;
    yyjson_val *item;
    if (!yyjson_is_arr(list) || yyjson_arr_size(list) == 0 || yyjson_arr_size(list) > MYR_PARTITION_COLUMNS_MAX)
        return false;
    yyjson_arr_foreach(list, idx, max, item)
    {
        const char *name = yyjson_get_str(yyjson_obj_get(item, "name"));
        const char *type = yyjson_get_str(yyjson_obj_get(item, "type"));
        if (name == NULL || type == NULL || strlen(name) > MYR_NAME_BYTES_MAX) return false;
        bool is_int = strcmp(type, feature_key_types[MYR_KEY_INT64]) == 0;
        if (!is_int && strcmp(type, feature_key_types[MYR_KEY_BYTES]) != 0) return false;
        memcpy(out->columns[idx].name, name, strlen(name) + 1);
        out->columns[idx].type = is_int ? MYR_KEY_INT64 : MYR_KEY_BYTES;
    }
    out->column_count = (uint32_t)yyjson_arr_size(list);
    return true;
}

/* The document is in the arena, and so are the names. */
static bool feature_parse(yyjson_val *root, myr_arena *arena, myr_feature_table *out, bool *out_no_memory)
{
    size_t idx, max;
    yyjson_val *item, *list = yyjson_obj_get(root, "features");
    *out_no_memory = false;
    *out = (myr_feature_table){0};
    if (!feature_parse_keys(yyjson_obj_get(root, "keys"), &out->keys)) return false;
    if (!yyjson_is_arr(list) || yyjson_arr_size(list) > MYR_FEATURE_TABLES_FEATURES_MAX) return false;
    const char **names = myr_arena_calloc(arena, yyjson_arr_size(list) + 1, sizeof *names);
    *out_no_memory = names == NULL;
    if (names == NULL) return false;
    yyjson_arr_foreach(list, idx, max, item)
    {
        names[idx] = yyjson_get_str(item);
        if (names[idx] == NULL || strlen(names[idx]) > MYR_NAME_BYTES_MAX) return false;
    }
    out->features = names;
    out->feature_count = (uint32_t)yyjson_arr_size(list);
    return true;
}

static myr_rc feature_name_check(const char *name, myr_err *err)
{
    if (myr_name_is_valid(myr_str_of(name))) return MYR_OK;
    MYR_FAIL(
        err, BAD_INPUT,
        "'%.100s' is not a name of a feature table: letters, digits, '.', '_' and '-', at most %d, a letter or digit "
        "first",
        name, MYR_NAME_BYTES_MAX);
}

myr_rc myr_feature_store_describe(myr_feature_store *store, const char *name, myr_arena *arena, myr_feature_table *out,
                                  int64_t deadline_ns, myr_err *err)
{
    MYR_AUTO(myr_buf) text = {0};
    bool is_there = false, no_memory;
    MYR_TRY(feature_name_check(name, err));
    MYR_TRY(store->kind->get_definition(store->self, myr_str_of(name), &text, &is_there, deadline_ns, err));
    if (!is_there) MYR_FAIL(err, NOT_FOUND, "no feature table '%s' there: myriad features load fills one", name);
    yyjson_alc alc;
    myr_arena_yyjson(arena, &alc);
    myr_feature_table table;
    yyjson_doc *doc = yyjson_read_opts(text.data, text.size, YYJSON_READ_NOFLAG, &alc, NULL);
    if (doc != NULL && feature_parse(yyjson_doc_get_root(doc), arena, &table, &no_memory)) {
        *out = table;
        return MYR_OK;
    }
    if (myr_arena_is_full(arena) || (doc != NULL && no_memory)) MYR_FAIL(err, NO_MEMORY, "no memory for '%s'", name);
    MYR_FAIL(err, BAD_FORMAT, "the definition of the feature table '%s' is damaged: myriad features load makes it anew",
             name);
}

static bool feature_same_keys(const myr_key_schema *a, const myr_key_schema *b)
{
    if (a->column_count != b->column_count) return false;
    for (uint32_t i = 0; i < a->column_count; i++) {
        if (strcmp(a->columns[i].name, b->columns[i].name) != 0 || a->columns[i].type != b->columns[i].type)
            return false;
    }
    return true;
}

static void feature_put_keys(const myr_key_schema *keys, myr_buf *out)
{
    for (uint32_t i = 0; i < keys->column_count; i++)
        myr_buf_printf(out, "%s%s (%s)", i > 0 ? ", " : "", keys->columns[i].name,
                       feature_key_types[keys->columns[i].type]);
}

myr_rc myr_feature_store_define(myr_feature_store *store, const char *name, const myr_feature_table *table,
                                int64_t deadline_ns, myr_err *err)
{
    MYR_ASSERT(table->keys.column_count > 0 && table->feature_count <= MYR_FEATURE_TABLES_FEATURES_MAX);
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for '%s'", name);
    myr_feature_table before;
    myr_rc rc = myr_feature_store_describe(store, name, arena, &before, deadline_ns, err);
    if (rc == MYR_OK && !feature_same_keys(&before.keys, &table->keys)) {
        MYR_AUTO(myr_buf) has = {0};
        MYR_AUTO(myr_buf) wanted = {0};
        feature_put_keys(&before.keys, &has);
        feature_put_keys(&table->keys, &wanted);
        MYR_TRY(myr_buf_check(&has, err));
        MYR_TRY(myr_buf_check(&wanted, err));
        MYR_FAIL(err, EXISTS, "the feature table '%s' has the keys %.80s, not %.80s: choose another name", name,
                 has.data, wanted.data);
    }
    if (rc != MYR_OK && rc != MYR_NOT_FOUND && rc != MYR_BAD_FORMAT) return rc;
    MYR_AUTO(myr_buf) json = {0};
    feature_format(table, &json);
    MYR_TRY(myr_buf_check(&json, err));
    return store->kind->put_definition(store->self, myr_str_of(name), myr_str_make(json.data, json.size), deadline_ns,
                                       err);
}

/* ---- rows ---- */

myr_rc myr_feature_store_put(myr_feature_store *store, const char *name, const myr_feature_put *rows, size_t count,
                             int64_t written_ms, int64_t deadline_ns, myr_err *err)
{
    MYR_TRY(feature_name_check(name, err));
    for (size_t i = 0; i < count; i++) {
        if (rows[i].json.size > MYR_FEATURE_ROW_BYTES_MAX) {
            MYR_FAIL(err, TOO_LARGE, "the features of " MYR_STR_FMT " have %zu bytes, the most is %d",
                     MYR_STR_ARG(rows[i].key), rows[i].json.size, MYR_FEATURE_ROW_BYTES_MAX);
        }
    }
    return store->kind->put(store->self, myr_str_of(name), rows, count, written_ms, deadline_ns, err);
}

typedef struct feature_part {
    size_t first;
    myr_feature_fn fn;
    void *ctx;
} feature_part;

static myr_rc feature_on_row(void *ctx, size_t key_idx, int64_t written_ms, myr_str json, myr_err *err)
{
    const feature_part *part = ctx;
    return part->fn(part->ctx, part->first + key_idx, written_ms, json, err);
}

myr_rc myr_feature_store_get(myr_feature_store *store, const char *name, const myr_str *keys, size_t count,
                             int64_t deadline_ns, myr_feature_fn fn, void *ctx, myr_err *err)
{
    feature_part part = {0, fn, ctx};
    for (; part.first < count; part.first += FEATURE_KEYS_AT_ONCE) {
        size_t now = count - part.first < FEATURE_KEYS_AT_ONCE ? count - part.first : FEATURE_KEYS_AT_ONCE;
        MYR_TRY(store->kind->get(store->self, myr_str_of(name), keys + part.first, now, deadline_ns, feature_on_row,
                                 &part, err));
    }
    return MYR_OK;
}
