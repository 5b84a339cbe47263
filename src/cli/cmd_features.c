/* `myriad features load|get`: fill a feature store from a table, and look at what it holds. */
#include <stdio.h>
#include <string.h>

#include "cli/args.h"
#include "cli/commands.h"
#include "cli/progress.h"
#include "online/online.h"

#if MYR_WITH_DUCKDB
#include "table/table.h"
#endif

#define FEATURES_ROWS_AT_ONCE 1000
#define FEATURES_DEADLINE_MS  30000 /* of one step */

static int64_t features_deadline(void)
{
    return myr_clock_mono_ns() + FEATURES_DEADLINE_MS * 1000000LL;
}

typedef struct feature_store_ref {
    myr_feature_store *store;
} feature_store_ref;
static void feature_store_ref_drop(feature_store_ref *ref)
{
    myr_feature_store_close(ref->store);
}

#if MYR_WITH_DUCKDB
typedef struct load_args {
    const char *input, *uri, *table, *keys, *features, *order;
} load_args;

/* What is loaded, once it is known. */
typedef struct load_plan {
    const load_args *args;
    myr_arena *arena;
    myr_cli_list keys, order;
    myr_feature_table table;
    myr_table_want *wants; /* keys, then features */
    uint32_t want_count;
    myr_table_data *data;
    myr_map *rows; /* key text -> the last row that has it */
} load_plan;

static void load_plan_drop(load_plan *plan)
{
    myr_map_free(plan->rows);
    myr_table_data_free(plan->data);
    myr_arena_free(plan->arena);
}

static myr_rc load_check_args(const load_args *a, myr_err *err)
{
    if (a->uri == NULL)
        MYR_FAIL(err, BAD_USAGE,
                 "myriad features load: --to is missing: sqlite:PATH, postgresql://HOST/DB or redis://HOST:PORT/DB");
    if (a->table == NULL)
        MYR_FAIL(err, BAD_USAGE, "myriad features load: --table is missing: the feature table's name");
    if (a->keys == NULL) MYR_FAIL(err, BAD_USAGE, "myriad features load: --keys is missing: the key columns, as a,b");
    return MYR_OK;
}

static bool load_is_key(const load_plan *plan, const char *name)
{
    for (uint32_t i = 0; i < plan->keys.count; i++) {
        if (strcmp(plan->keys.items[i], name) == 0) return true;
    }
    return false;
}

static const myr_table_column *load_find(const myr_table_column *columns, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(columns[i].name, name) == 0) return &columns[i];
    }
    return NULL;
}

static myr_rc load_need(const load_plan *plan, const myr_table_column *columns, size_t count, const char *name,
                        myr_err *err)
{
    if (load_find(columns, count, name) != NULL) return MYR_OK;
    const char **known = myr_arena_calloc(plan->arena, count + 1, sizeof *known);
    if (known == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %zu columns", count);
    for (size_t i = 0; i < count; i++)
        known[i] = columns[i].name;
    const char *nearest = myr_table_nearest(name, known);
    if (nearest == NULL) MYR_FAIL(err, BAD_INPUT, "%s has no column '%s'", plan->args->input, name);
    MYR_FAIL(err, BAD_INPUT, "%s has no column '%s': did you mean '%s'?", plan->args->input, name, nearest);
}

/* Which columns are features: those named, or all that are no key. */
static myr_rc load_choose(load_plan *plan, const myr_table_column *columns, size_t count, myr_err *err)
{
    myr_cli_list named = {0};
    MYR_TRY(myr_cli_commas(plan->arena, plan->args->features, &named, err));
    size_t max = named.count > 0 ? named.count : count;
    const char **features = myr_arena_calloc(plan->arena, max + 1, sizeof *features);
    plan->wants = myr_arena_calloc(plan->arena, plan->keys.count + max, sizeof *plan->wants);
    if (features == NULL || plan->wants == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %zu columns", max);
    for (uint32_t i = 0; i < plan->keys.count; i++) {
        MYR_TRY(load_need(plan, columns, count, plan->keys.items[i], err));
        plan->wants[plan->want_count++] = (myr_table_want){.name = plan->keys.items[i], .as_key = true};
    }
    for (size_t i = 0; i < max; i++) {
        const char *name = named.count > 0 ? named.items[i] : columns[i].name;
        if (named.count == 0 && load_is_key(plan, name)) continue;
        MYR_TRY(load_need(plan, columns, count, name, err));
        if (plan->table.feature_count == MYR_FEATURE_TABLES_FEATURES_MAX)
            MYR_FAIL(err, TOO_LARGE, "%s has more than %d features: name those you need by --features",
                     plan->args->input, MYR_FEATURE_TABLES_FEATURES_MAX);
        bool is_number = load_find(columns, count, name)->is_numeric;
        plan->wants[plan->want_count++] = (myr_table_want){.name = name, .as_text = !is_number};
        features[plan->table.feature_count++] = name;
    }
    plan->table.features = features;
    if (plan->table.feature_count == 0)
        MYR_FAIL(err, BAD_INPUT, "%s has no column beside the keys: nothing to load", plan->args->input);
    return MYR_OK;
}

static myr_rc load_read(load_plan *plan, myr_err *err)
{
    MYR_AUTO(myr_table_engine_ptr) engine = NULL;
    myr_table_column *columns = NULL;
    size_t count = 0;
    MYR_TRY(myr_table_engine_open(0, 0, &engine, err));
    MYR_TRY(myr_table_describe(engine, plan->args->input, plan->arena, &columns, &count, err));
    MYR_TRY(myr_cli_commas(plan->arena, plan->args->keys, &plan->keys, err));
    if (plan->keys.count > MYR_PARTITION_COLUMNS_MAX)
        MYR_FAIL(err, BAD_USAGE, "myriad features load: %u key columns, the most is %d", plan->keys.count,
                 MYR_PARTITION_COLUMNS_MAX);
    MYR_TRY(load_choose(plan, columns, count, err));
    MYR_TRY(myr_cli_commas(plan->arena, plan->args->order, &plan->order, err));
    for (uint32_t i = 0; i < plan->order.count; i++)
        MYR_TRY(load_need(plan, columns, count, plan->order.items[i], err));
    return myr_table_load(engine, plan->args->input, plan->wants, plan->want_count,
                          plan->order.count > 0 ? plan->order.items : NULL, &plan->data, err);
}

/* The keys as the table in the store has them, or as this one has them. */
static myr_rc load_define(load_plan *plan, myr_feature_store *store, myr_err *err)
{
    myr_feature_table before;
    myr_key_schema *keys = &plan->table.keys;
    keys->column_count = plan->keys.count;
    for (uint32_t i = 0; i < plan->keys.count; i++) {
        size_t size = strlen(plan->keys.items[i]);
        if (size > MYR_NAME_BYTES_MAX)
            MYR_FAIL(err, BAD_INPUT, "the name of a key column has %zu bytes, the most is %d", size,
                     MYR_NAME_BYTES_MAX);
        memcpy(keys->columns[i].name, plan->keys.items[i], size + 1);
        keys->columns[i].type = plan->data->cols[i].type == MYR_COL_TEXT ? MYR_KEY_BYTES : MYR_KEY_INT64;
    }
    myr_rc rc = myr_feature_store_describe(store, plan->args->table, plan->arena, &before, features_deadline(), err);
    if (rc != MYR_OK && rc != MYR_NOT_FOUND && rc != MYR_BAD_FORMAT) return rc;
    if (rc == MYR_OK && before.keys.column_count == keys->column_count) {
        for (uint32_t i = 0; i < keys->column_count; i++) {
            if (strcmp(before.keys.columns[i].name, keys->columns[i].name) == 0)
                keys->columns[i] = before.keys.columns[i];
        }
    }
    return myr_feature_store_define(store, plan->args->table, &plan->table, features_deadline(), err);
}

/* The last row of each key. */
static myr_rc load_index(load_plan *plan, myr_err *err)
{
    MYR_AUTO(myr_buf) key = {0};
    plan->rows = myr_map_new();
    if (plan->rows == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the keys");
    for (int64_t row = 0; row < plan->data->row_count; row++) {
        bool is_null;
        myr_buf_clear(&key);
        myr_rc rc = myr_online_key(&plan->table.keys, plan->data->cols, row, &key, &is_null, err);
        if (rc == MYR_OK && is_null) rc = MYR_ERROR(err, BAD_INPUT, "a key is empty: fill it or remove the row");
        if (rc != MYR_OK) return myr_err_prefix(err, rc, "%s: row %lld: ", plan->args->input, (long long)row + 1);
        MYR_TRY(myr_map_put(plan->rows, myr_str_make(key.data, key.size), (uint64_t)row, err));
    }
    return MYR_OK;
}

static void load_put_row(const load_plan *plan, int64_t row, myr_buf *out)
{
    for (uint32_t i = 0; i < plan->table.feature_count; i++) {
        const myr_col *col = &plan->data->cols[plan->keys.count + i];
        myr_buf_putc(out, i == 0 ? '{' : ',');
        myr_buf_json_string(out, myr_str_of(plan->table.features[i]));
        myr_buf_putc(out, ':');
        if (myr_col_is_null(col, row)) {
            myr_buf_puts(out, "null");
        } else if (col->type == MYR_COL_TEXT) {
            myr_buf_json_string(out, col->data.text[row]);
        } else if (col->type == MYR_COL_INT64) {
            myr_buf_printf(out, "%lld", (long long)col->data.i64[row]);
        } else {
            myr_buf_json_double(out, col->data.f64[row]);
        }
    }
    myr_buf_putc(out, '}');
}

static myr_rc load_write(load_plan *plan, myr_feature_store *store, int64_t written_ms, myr_err *err)
{
    MYR_AUTO(myr_buf) text = {0};
    myr_feature_put puts[FEATURES_ROWS_AT_ONCE];
    size_t starts[FEATURES_ROWS_AT_ONCE + 1];
    myr_bar bar;
    size_t cursor = 0, done = 0, total = myr_map_count(plan->rows);
    myr_rc rc = MYR_OK;
    myr_bar_start(&bar, "keys");
    while (rc == MYR_OK && done < total) {
        size_t count = 0;
        uint64_t row;
        myr_buf_clear(&text);
        while (count < FEATURES_ROWS_AT_ONCE && myr_map_next(plan->rows, &cursor, &puts[count].key, &row)) {
            starts[count++] = text.size;
            load_put_row(plan, (int64_t)row, &text);
        }
        starts[count] = text.size;
        rc = myr_buf_check(&text, err);
        for (size_t i = 0; rc == MYR_OK && i < count; i++)
            puts[i].json = myr_str_make(text.data + starts[i], starts[i + 1] - starts[i]);
        if (rc == MYR_OK)
            rc = myr_feature_store_put(store, plan->args->table, puts, count, written_ms, features_deadline(), err);
        done += count;
        myr_bar_update(&bar, "loading", (int64_t)done, (int64_t)total);
    }
    myr_bar_end(&bar);
    return rc;
}

static myr_rc load_run(const load_args *a, bool json, myr_err *err)
{
    MYR_AUTO(load_plan) plan = {.args = a, .arena = myr_arena_new(0)};
    MYR_AUTO(feature_store_ref) ref = {0};
    if (plan.arena == NULL) MYR_FAIL(err, NO_MEMORY, "no memory");
    MYR_TRY(load_check_args(a, err));
    MYR_TRY(load_read(&plan, err));
    MYR_TRY(myr_feature_store_open(a->uri, true, &ref.store, err));
    MYR_TRY(load_define(&plan, ref.store, err));
    MYR_TRY(load_index(&plan, err));
    MYR_TRY(load_write(&plan, ref.store, myr_clock_unix_ms(), err));
    size_t keys = myr_map_count(plan.rows);
    if (json) {
        printf("{\"table\":\"%s\",\"rows\":%lld,\"keys\":%zu,\"features\":%u}\n", a->table,
               (long long)plan.data->row_count, keys, plan.table.feature_count);
        return MYR_OK;
    }
    printf("%s: %lld rows, %zu keys, %u features\n", a->table, (long long)plan.data->row_count, keys,
           plan.table.feature_count);
    return MYR_OK;
}

myr_rc myr_cmd_features_load(int argc, char **argv, myr_err *err)
{
    load_args a = {0};
    const myr_cli_arg args[] = {
        {"INPUT", NULL, MYR_CLI_POSITIONAL, &a.input, "a .parquet, .csv or .json file, or a glob of them"},
        {"--to", "URI", MYR_CLI_TEXT, &a.uri, "sqlite:PATH, postgresql://HOST/DB or redis://HOST:PORT/DB"},
        {"--table", "NAME", MYR_CLI_TEXT, &a.table, "the feature table to make or to update"},
        {"--keys", "A,B", MYR_CLI_TEXT, &a.keys, "key columns, in the order of the key"},
        {"--features", "A,B", MYR_CLI_TEXT, &a.features, "columns to load (default: all that are no key)"},
        {"--order", "A,B", MYR_CLI_TEXT, &a.order,
         "columns to sort by: the last row of a key is kept (default: as they stand)"},
    };
    myr_cli cli = {0};
    MYR_TRY(myr_cli_parse("features load", "fill a feature store: the latest row of features by key",
                          "myriad features load prices.csv --to sqlite:features.db --table prices --keys store,brand",
                          args, MYR_COUNT_OF(args), argc, argv, &cli, err));
    return cli.done ? MYR_OK : load_run(&a, cli.json, err);
}
#endif

/* ---- get ---- */

typedef struct get_args {
    const char *uri, *table;
    myr_cli_list keys;
} get_args;

/* `brand=1,store=2` as the table's keys have it. */
static myr_rc get_key(const myr_feature_table *table, const char *text, myr_buf *out, myr_err *err)
{
    myr_segment segment = {0};
    unsigned char key[MYR_KEY_BYTES_MAX];
    size_t size;
    MYR_TRY(myr_segment_parse(myr_str_of(text), &segment, err));
    if (segment.part_count != table->keys.column_count)
        MYR_FAIL(err, BAD_INPUT, "'%s' has %u parts, the table has %u key columns", text, segment.part_count,
                 table->keys.column_count);
    MYR_TRY(myr_key_from_segment(&table->keys, &segment, key, &size, err));
    return myr_key_text(&table->keys, key, size, out, err);
}

typedef struct get_rows {
    const myr_str *keys;
    bool *is_found;
    bool json, is_first;
} get_rows;

static myr_rc get_show(void *ctx, size_t key_idx, int64_t written_ms, myr_str json, myr_err *err)
{
    get_rows *rows = ctx;
    char time[MYR_TIME_TEXT_BYTES];
    MYR_AUTO(myr_buf) key = {0};
    rows->is_found[key_idx] = true;
    if (json.size == 0)
        MYR_FAIL(err, BAD_FORMAT, "the row of '%s' is not one of features: write it again", rows->keys[key_idx].data);
    if (!rows->json) {
        printf("%s  %s  %.*s\n", rows->keys[key_idx].data, myr_format_time(written_ms, time), (int)json.size,
               json.data);
        return MYR_OK;
    }
    myr_buf_json_string(&key, rows->keys[key_idx]);
    MYR_TRY(myr_buf_check(&key, err));
    printf("%s{\"key\":%s,\"written_at\":\"%s\",\"features\":%.*s}", rows->is_first ? "" : ",", key.data,
           myr_format_time(written_ms, time), (int)json.size, json.data);
    rows->is_first = false;
    return MYR_OK;
}

static myr_rc get_run(const get_args *a, bool json, myr_err *err)
{
    MYR_AUTO(feature_store_ref) ref = {0};
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_feature_table table;
    myr_str keys[MYR_CLI_LIST_MAX];
    bool is_found[MYR_CLI_LIST_MAX] = {0};
    if (a->uri == NULL || a->table == NULL || a->keys.count == 0)
        MYR_FAIL(err, BAD_USAGE, "myriad features get: --from, --table and --key are needed");
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "no memory");
    MYR_TRY(myr_feature_store_open(a->uri, false, &ref.store, err));
    MYR_TRY(myr_feature_store_describe(ref.store, a->table, arena, &table, features_deadline(), err));
    for (uint32_t i = 0; i < a->keys.count; i++) {
        MYR_AUTO(myr_buf) key = {0};
        MYR_TRY(get_key(&table, a->keys.items[i], &key, err));
        const char *copy = myr_arena_strndup(arena, key.data, key.size);
        if (copy == NULL) MYR_FAIL(err, NO_MEMORY, "no memory");
        keys[i] = myr_str_make(copy, key.size);
    }
    get_rows rows = {keys, is_found, json, true};
    if (json) printf("{\"table\":\"%s\",\"rows\":[", a->table);
    myr_rc rc =
        myr_feature_store_get(ref.store, a->table, keys, a->keys.count, features_deadline(), get_show, &rows, err);
    if (json) printf("]}\n");
    MYR_TRY(rc);
    for (uint32_t i = 0; i < a->keys.count; i++) {
        if (!is_found[i]) MYR_FAIL(err, NOT_FOUND, "no features of %s in '%s'", keys[i].data, a->table);
    }
    return MYR_OK;
}

myr_rc myr_cmd_features_get(int argc, char **argv, myr_err *err)
{
    get_args a = {0};
    const myr_cli_arg args[] = {
        {"--from", "URI", MYR_CLI_TEXT, &a.uri, "sqlite:PATH, postgresql://HOST/DB or redis://HOST:PORT/DB"},
        {"--table", "NAME", MYR_CLI_TEXT, &a.table, "the feature table"},
        {"--key", "KEY", MYR_CLI_LIST, &a.keys, "store=2,brand=1; may be repeated"},
    };
    myr_cli cli = {0};
    MYR_TRY(myr_cli_parse("features get", "what a feature store holds for keys, and since when",
                          "myriad features get --from sqlite:features.db --table prices --key store=2,brand=1", args,
                          MYR_COUNT_OF(args), argc, argv, &cli, err));
    return cli.done ? MYR_OK : get_run(&a, cli.json, err);
}
