/*
 * The settings of a run as text: what the ledger keeps, what a worker is told, what a resumed run goes on with. Paths
 * are absolute, the release is a number: the text means the same anywhere and later.
 */
#include <string.h>
#include <yyjson.h>

#include "batch/source.h"
#include "db/db.h"

#define SETTINGS_ROWS     500000
#define SETTINGS_ROWS_MAX 2000000 /* of large files */
#define SETTINGS_BYTES    (32LL << 20)

myr_batch_limits myr_batch_limits_default(void)
{
    return (myr_batch_limits){.mini_batch = {.rows = 0, .bytes = 0},
                              .idle_ms = 60000,
                              .first_task_timeout_ms = 600000,
                              .max_retries = 2,
                              .backoff_ms = 200,
                              .progress_timeout_ms = 600000,
                              .error_threshold = -1,
                              .mini_batch_error_threshold = 0,
                              .allowed_failed_percent = 100,
                              .is_auto_size = true};
}

/* A row group of Parquet is some 120,000 rows: four of them, or, as each part has its own start and files, up to
 * sixteen of a file that has many. Text is held in memory. */
myr_table_size myr_batch_size_default(bool is_text)
{
    return is_text ? (myr_table_size){.bytes = SETTINGS_BYTES}
                   : (myr_table_size){.rows = SETTINGS_ROWS, .rows_max = SETTINGS_ROWS_MAX};
}

/* Limits that are whole numbers, and what they may be. */
typedef struct settings_number {
    const char *name;
    size_t offset;
    int64_t min, max;
} settings_number;
#define SETTINGS_AT(field) #field, offsetof(myr_batch_limits, field)
static const settings_number settings_numbers[] = {
    {SETTINGS_AT(workers_min), 0, MYR_BATCH_WORKERS_MAX},
    {SETTINGS_AT(workers_max), 0, MYR_BATCH_WORKERS_MAX},
    {SETTINGS_AT(worker_cpu_milli), 0, BATCH_CPU_MILLI_MAX},
    {SETTINGS_AT(idle_ms), 0, BATCH_MILLISECONDS_MAX},
    {SETTINGS_AT(worker_memory_bytes), 0, INT64_MAX},
    {SETTINGS_AT(max_retries), 0, BATCH_RETRIES_MAX},
    {SETTINGS_AT(backoff_ms), 0, BATCH_MILLISECONDS_MAX},
    {SETTINGS_AT(first_task_timeout_ms), 0, BATCH_MILLISECONDS_MAX},
    {SETTINGS_AT(timeout_ms), 0, BATCH_MILLISECONDS_MAX},
    {SETTINGS_AT(progress_timeout_ms), 0, BATCH_MILLISECONDS_MAX},
    {SETTINGS_AT(error_threshold), -1, BATCH_COUNT_MAX},
    {SETTINGS_AT(mini_batch_error_threshold), -1, BATCH_COUNT_MAX},
};

/* ---- out ---- */

static void settings_text(myr_buf *out, const char *name, const char *text)
{
    myr_buf_json_field(out, name, text != NULL ? text : "");
}

static void settings_list(myr_buf *out, const char *name, const char *const *items)
{
    if (items == NULL) return;
    myr_buf_printf(out, ",\"%s\":[", name);
    for (size_t i = 0; items[i] != NULL; i++) {
        if (i > 0) myr_buf_putc(out, ',');
        myr_buf_json_string(out, myr_str_of(items[i]));
    }
    myr_buf_putc(out, ']');
}

/* NULL-terminated. */
static void details_written(const myr_batch_opts *opts, const char *out[MYR_BATCH_DETAIL_COUNT + 1])
{
    size_t count = 0;
    for (int i = 0; i < MYR_BATCH_DETAIL_COUNT; i++) {
        if (!opts->leaves_out[i]) out[count++] = myr_batch_detail_name((myr_batch_detail)i);
    }
    out[count] = NULL;
}

static const char *const settings_actions[] = {
    [MYR_BATCH_PARTS] = "parts", [MYR_BATCH_APPEND] = "append_row", [MYR_BATCH_SUMMARY] = "summary_only"};

static const char *settings_action(myr_batch_action action)
{
    MYR_ASSERT((size_t)action < MYR_COUNT_OF(settings_actions));
    return settings_actions[action];
}

bool myr_batch_action_parse(const char *text, myr_batch_action *out)
{
    for (size_t i = 0; text != NULL && i < MYR_COUNT_OF(settings_actions); i++) {
        if (strcmp(text, settings_actions[i]) != 0) continue;
        *out = (myr_batch_action)i;
        return true;
    }
    return false;
}

/* Of a database without its password. */
static void settings_place(const char *output, const char *table, bool append, myr_buf *out)
{
    MYR_AUTO(myr_buf) shown = {0};
    if (table != NULL) myr_db_uri_show(output, &shown);
    settings_text(out, "output", table != NULL ? shown.data : output);
    if (table != NULL) settings_text(out, "output_table", table);
    if (append) myr_buf_puts(out, ",\"append\":true");
}

/* Without them all are written, as always. */
static void settings_details(const myr_batch_opts *opts, myr_buf *out)
{
    const char *written[MYR_BATCH_DETAIL_COUNT + 1];
    details_written(opts, written);
    if (!myr_batch_details_are_all(opts)) settings_list(out, "details", written);
}

/* What makes two outputs equal: the text up to here is part of the fingerprint. */
static void settings_work(const myr_batch_opts *opts, myr_buf *out)
{
    myr_buf_printf(out, "{\"release\":%lld,\"format\":\"%s\"", (long long)opts->release,
                   myr_table_format_name(opts->format));
    settings_text(out, "fleet", opts->fleet);
    settings_place(opts->output, opts->table, opts->append, out);
    for (size_t i = 0; i < opts->store_count; i++) {
        myr_buf_puts(out, i == 0 ? ",\"stores\":[{\"group\":" : ",{\"group\":");
        myr_buf_json_string(out, myr_str_of(opts->stores[i].group));
        settings_place(opts->stores[i].output, opts->stores[i].table, opts->stores[i].append, out);
        myr_buf_puts(out, i + 1 == opts->store_count ? "}]" : "}");
    }
    if (opts->predictions != NULL) {
        MYR_AUTO(myr_buf) shown = {0};
        myr_db_uri_show(opts->predictions, &shown);
        settings_text(out, "predictions", shown.data);
        myr_buf_printf(out, ",\"valid_ms\":%lld", (long long)opts->valid_ms);
    }
    settings_list(out, "by", opts->by);
    settings_list(out, "keep", opts->keep);
    settings_list(out, "partition_keys", opts->partition_keys);
    if (opts->action != MYR_BATCH_PARTS) settings_text(out, "output_action", settings_action(opts->action));
    if (opts->append_name != NULL) settings_text(out, "append_row_file_name", opts->append_name);
    myr_buf_puts(out, ",\"kinds\":[");
    for (uint32_t k = 0; k < opts->kind_count; k++)
        myr_buf_printf(out, "%s\"%s\"", k > 0 ? "," : "", myr_output_name(opts->kinds[k]));
    myr_buf_putc(out, ']');
    settings_details(opts, out);
    const myr_batch_limits *limits = opts->limits;
    if (!limits->is_auto_size)
        myr_buf_printf(out, ",\"mini_batch_rows\":%lld,\"mini_batch_bytes\":%lld", (long long)limits->mini_batch.rows,
                       (long long)limits->mini_batch.bytes);
}

/* A database without its password: nobody needs it again. */
static void settings_input(const myr_batch_input *input, myr_buf *out)
{
    settings_list(out, "input", input->items);
    if (input->as_items) myr_buf_puts(out, ",\"as_items\":true");
    if (input->sql != NULL) settings_text(out, "sql", input->sql);
    if (input->dir != NULL) settings_text(out, "sql_dir", input->dir);
    if (input->table != NULL) {
        MYR_AUTO(myr_buf) shown = {0};
        myr_db_uri_show(input->database, &shown);
        settings_text(out, "table", input->table);
        settings_text(out, "database", shown.data);
    }
    if (input->filter != NULL) settings_text(out, "filter", input->filter);
}

static void settings_spark(myr_buf *out, const myr_batch_spark *spark)
{
    myr_buf_printf(out, ",\"spark\":{\"min\":%lld,\"max\":%lld", (long long)spark->executors_min,
                   (long long)spark->executors_max);
    if (spark->master != NULL) settings_text(out, "master", spark->master);
    settings_text(out, "python", spark->python);
    settings_list(out, "conf", spark->conf);
    myr_buf_putc(out, '}');
}

static void settings_notify(myr_buf *out, const myr_batch_notify *notify)
{
    myr_buf_printf(out, ",\"notify\":{\"completed\":%s,\"failed\":%s,\"canceled\":%s",
                   notify->on_completed ? "true" : "false", notify->on_failed ? "true" : "false",
                   notify->on_canceled ? "true" : "false");
    if (notify->webhook != NULL) settings_text(out, "webhook", notify->webhook);
    settings_list(out, "command", notify->command);
    myr_buf_putc(out, '}');
}

void myr_batch_settings_print(const myr_batch_opts *opts, myr_buf *out)
{
    settings_work(opts, out);
    settings_input(&opts->input, out);
    settings_text(out, "job", opts->job);
    if (opts->retry_of > 0) myr_buf_printf(out, ",\"retry_of\":%lld", (long long)opts->retry_of);
    if (opts->cgroup != NULL) settings_text(out, "cgroup", opts->cgroup);
    if (opts->spark != NULL) settings_spark(out, opts->spark);
    if (opts->notify != NULL) settings_notify(out, opts->notify);
    if (opts->network != MYR_ASK_MODEL)
        myr_buf_printf(out, ",\"network\":%s", opts->network == MYR_ASK_YES ? "true" : "false");
    if (opts->require_hashes) myr_buf_puts(out, ",\"require_hashes\":true");
    for (size_t i = 0; i < MYR_COUNT_OF(settings_numbers); i++) {
        int64_t value = 0;
        memcpy(&value, (const char *)opts->limits + settings_numbers[i].offset, sizeof value);
        myr_buf_printf(out, ",\"%s\":%lld", settings_numbers[i].name, (long long)value);
    }
    myr_buf_puts(out, ",\"allowed_failed_percent\":");
    myr_buf_json_double(out, opts->limits->allowed_failed_percent);
    myr_buf_printf(out, ",\"memory_bytes\":%lld}", (long long)opts->memory_bytes);
}

void myr_batch_settings_hash(const myr_batch_opts *opts, const myr_run_input_row *inputs, size_t input_count,
                             const char *pack, char out[MYR_SHA256_HEX_BYTES])
{
    MYR_AUTO(myr_buf) text = {0};
    settings_work(opts, &text);
    settings_text(&text, "pack", pack);
    for (size_t i = 0; i < input_count; i++) {
        bool is_local = inputs[i].identity == NULL || inputs[i].identity[0] == '\0';
        settings_text(&text, "file", myr_batch_input_name(&inputs[i]));
        settings_text(&text, "is", inputs[i].identity);
        if (is_local) myr_buf_printf(&text, ",%lld,%lld", (long long)inputs[i].bytes, (long long)inputs[i].modified_ns);
    }
    myr_sha256 sha;
    myr_sha256_init(&sha);
    myr_sha256_add(&sha, text.data, text.size);
    myr_sha256_hex(&sha, out);
}

/* ---- in ---- */

typedef yyjson_doc *settings_doc;
static void settings_doc_drop(settings_doc *doc)
{
    yyjson_doc_free(*doc);
}

static const char *settings_get(myr_arena *arena, yyjson_val *value)
{
    return yyjson_is_str(value) ? myr_arena_strndup(arena, yyjson_get_str(value), yyjson_get_len(value)) : NULL;
}

/* Absent: *out stays. False: it is there, and not a whole number in this range. */
static bool settings_int(yyjson_val *root, const char *name, int64_t min, int64_t max, int64_t *out)
{
    yyjson_val *value = yyjson_obj_get(root, name);
    if (value == NULL) return true;
    bool is_known = yyjson_is_sint(value) || (yyjson_is_uint(value) && yyjson_get_uint(value) <= INT64_MAX);
    if (!is_known || yyjson_get_sint(value) < min || yyjson_get_sint(value) > max) return false;
    *out = yyjson_get_sint(value);
    return true;
}

const char *const *myr_batch_settings_list(struct yyjson_val *list, myr_arena *arena)
{
    size_t i, max;
    yyjson_val *item;
    if (!yyjson_is_arr(list)) return NULL;
    const char **items = myr_arena_calloc(arena, yyjson_arr_size(list) + 1, sizeof *items);
    yyjson_arr_foreach(list, i, max, item)
    {
        if (items == NULL || (items[i] = settings_get(arena, item)) == NULL) return NULL;
    }
    return items;
}

static bool settings_kinds(yyjson_val *list, myr_arena *arena, myr_batch_opts *out)
{
    size_t i, max;
    yyjson_val *item;
    myr_output *kinds = myr_arena_calloc(arena, MYR_OUTPUT_COUNT, sizeof *kinds);
    if (kinds == NULL || yyjson_arr_size(list) > MYR_OUTPUT_COUNT) return false;
    yyjson_arr_foreach(list, i, max, item)
    {
        if (!yyjson_is_str(item) || !myr_output_parse(myr_str_of(yyjson_get_str(item)), &kinds[i])) return false;
    }
    out->kinds = kinds;
    out->kind_count = (uint32_t)yyjson_arr_size(list);
    return true;
}

static bool settings_read_details(yyjson_val *list, myr_arena *arena, myr_batch_opts *out)
{
    size_t count = 0;
    if (list == NULL) return true;
    const char *const *names = myr_batch_settings_list(list, arena);
    while (names != NULL && names[count] != NULL)
        count++;
    return names != NULL && myr_batch_details_choose(names, count, out->leaves_out, NULL) == MYR_OK;
}

static bool settings_stores(yyjson_val *list, myr_arena *arena, myr_batch_opts *out)
{
    size_t i, max;
    yyjson_val *item;
    if (list == NULL) return true;
    myr_batch_store *stores = myr_arena_calloc(arena, yyjson_arr_size(list) + 1, sizeof *stores);
    if (stores == NULL) return false;
    yyjson_arr_foreach(list, i, max, item)
    {
        stores[i] = (myr_batch_store){.group = settings_get(arena, yyjson_obj_get(item, "group")),
                                      .output = settings_get(arena, yyjson_obj_get(item, "output")),
                                      .table = settings_get(arena, yyjson_obj_get(item, "output_table")),
                                      .append = yyjson_get_bool(yyjson_obj_get(item, "append"))};
        if (stores[i].group == NULL || stores[i].output == NULL) return false;
    }
    out->stores = stores;
    out->store_count = yyjson_arr_size(list);
    return true;
}

static bool settings_limits(yyjson_val *root, myr_batch_limits *limits)
{
    *limits = myr_batch_limits_default();
    limits->is_auto_size = yyjson_obj_get(root, "mini_batch_rows") == NULL;
    bool ok = settings_int(root, "mini_batch_rows", 0, INT64_MAX, &limits->mini_batch.rows) &&
              settings_int(root, "mini_batch_bytes", 0, MYR_TABLE_PART_BYTES_MAX, &limits->mini_batch.bytes);
    for (size_t i = 0; ok && i < MYR_COUNT_OF(settings_numbers); i++) {
        const settings_number *number = &settings_numbers[i];
        int64_t value = 0;
        memcpy(&value, (const char *)limits + number->offset, sizeof value);
        ok = settings_int(root, number->name, number->min, number->max, &value);
        memcpy((char *)limits + number->offset, &value, sizeof value);
    }
    yyjson_val *percent = yyjson_obj_get(root, "allowed_failed_percent");
    if (percent != NULL) limits->allowed_failed_percent = yyjson_get_num(percent);
    return ok && limits->allowed_failed_percent >= 0 && limits->allowed_failed_percent <= 100;
}

/* Without it the run is one of worker processes. */
static bool settings_read_spark(yyjson_val *value, myr_arena *arena, const myr_batch_spark **out)
{
    myr_batch_spark *spark = value != NULL ? myr_arena_calloc(arena, 1, sizeof *spark) : NULL;
    *out = spark;
    if (spark == NULL) return value == NULL;
    *spark = (myr_batch_spark){.master = settings_get(arena, yyjson_obj_get(value, "master")),
                               .python = settings_get(arena, yyjson_obj_get(value, "python")),
                               .conf = myr_batch_settings_list(yyjson_obj_get(value, "conf"), arena)};
    return spark->python != NULL && settings_int(value, "min", 0, BATCH_COUNT_MAX, &spark->executors_min) &&
           settings_int(value, "max", 0, BATCH_COUNT_MAX, &spark->executors_max);
}

static bool settings_read_notify(yyjson_val *value, myr_arena *arena, const myr_batch_notify **out)
{
    myr_batch_notify *notify = value != NULL ? myr_arena_calloc(arena, 1, sizeof *notify) : NULL;
    *out = notify;
    if (notify == NULL) return value == NULL;
    *notify = (myr_batch_notify){.webhook = settings_get(arena, yyjson_obj_get(value, "webhook")),
                                 .command = myr_batch_settings_list(yyjson_obj_get(value, "command"), arena),
                                 .on_completed = yyjson_get_bool(yyjson_obj_get(value, "completed")),
                                 .on_failed = yyjson_get_bool(yyjson_obj_get(value, "failed")),
                                 .on_canceled = yyjson_get_bool(yyjson_obj_get(value, "canceled"))};
    return notify->command == NULL || notify->command[0] != NULL;
}

static myr_ask settings_ask(yyjson_val *value)
{
    if (!yyjson_is_bool(value)) return MYR_ASK_MODEL;
    return yyjson_get_bool(value) ? MYR_ASK_YES : MYR_ASK_NO;
}

/* All but lists of columns, which may be absent, must be there. */
static bool settings_read(yyjson_val *root, myr_arena *arena, myr_batch_opts *out)
{
    const char *format = yyjson_get_str(yyjson_obj_get(root, "format"));
    myr_batch_limits *limits = myr_arena_calloc(arena, 1, sizeof *limits);
    myr_table_format parsed = MYR_TABLE_PARQUET;
    if (!yyjson_is_obj(root) || limits == NULL || format == NULL || !myr_table_format_parse(format, &parsed))
        return false;
    *out = (myr_batch_opts){.job = settings_get(arena, yyjson_obj_get(root, "job")),
                            .fleet = settings_get(arena, yyjson_obj_get(root, "fleet")),
                            .input = {.items = myr_batch_settings_list(yyjson_obj_get(root, "input"), arena),
                                      .as_items = yyjson_get_bool(yyjson_obj_get(root, "as_items")),
                                      .sql = settings_get(arena, yyjson_obj_get(root, "sql")),
                                      .dir = settings_get(arena, yyjson_obj_get(root, "sql_dir")),
                                      .table = settings_get(arena, yyjson_obj_get(root, "table")),
                                      .database = settings_get(arena, yyjson_obj_get(root, "database")),
                                      .filter = settings_get(arena, yyjson_obj_get(root, "filter"))},
                            .output = settings_get(arena, yyjson_obj_get(root, "output")),
                            .table = settings_get(arena, yyjson_obj_get(root, "output_table")),
                            .predictions = settings_get(arena, yyjson_obj_get(root, "predictions")),
                            .append = yyjson_get_bool(yyjson_obj_get(root, "append")),
                            .by = myr_batch_settings_list(yyjson_obj_get(root, "by"), arena),
                            .keep = myr_batch_settings_list(yyjson_obj_get(root, "keep"), arena),
                            .partition_keys = myr_batch_settings_list(yyjson_obj_get(root, "partition_keys"), arena),
                            .format = parsed,
                            .append_name = settings_get(arena, yyjson_obj_get(root, "append_row_file_name")),
                            .limits = limits,
                            .network = settings_ask(yyjson_obj_get(root, "network")),
                            .require_hashes = yyjson_get_bool(yyjson_obj_get(root, "require_hashes")),
                            .cgroup = settings_get(arena, yyjson_obj_get(root, "cgroup"))};
    const myr_batch_input *input = &out->input;
    bool has_group = out->cgroup == NULL || out->cgroup[0] == '/' || strcmp(out->cgroup, "off") == 0;
    bool has_input = input->items != NULL || input->sql != NULL || input->table != NULL;
    bool has_database = input->table == NULL || input->database != NULL;
    if (out->partition_keys != NULL && out->partition_keys[0] == NULL) return false;
    yyjson_val *action = yyjson_obj_get(root, "output_action");
    if (action != NULL && !myr_batch_action_parse(yyjson_get_str(action), &out->action)) return false;
    return has_input && has_database && has_group && out->fleet != NULL && out->output != NULL &&
           settings_limits(root, limits) && settings_int(root, "release", 0, INT64_MAX, &out->release) &&
           settings_int(root, "valid_ms", 0, INT64_MAX, &out->valid_ms) &&
           settings_int(root, "retry_of", 0, INT64_MAX, &out->retry_of) &&
           settings_int(root, "memory_bytes", 0, INT64_MAX, &out->memory_bytes) &&
           settings_stores(yyjson_obj_get(root, "stores"), arena, out) &&
           settings_kinds(yyjson_obj_get(root, "kinds"), arena, out) &&
           settings_read_details(yyjson_obj_get(root, "details"), arena, out) &&
           settings_read_spark(yyjson_obj_get(root, "spark"), arena, &out->spark) &&
           settings_read_notify(yyjson_obj_get(root, "notify"), arena, &out->notify);
}

myr_rc myr_batch_settings_parse(const char *text, size_t size, myr_arena *arena, myr_batch_opts *out, myr_err *err)
{
    MYR_AUTO(settings_doc) doc = yyjson_read(text, size, 0);
    if (!settings_read(yyjson_doc_get_root(doc), arena, out))
        MYR_FAIL(err, BAD_FORMAT, "the settings of the run cannot be read: the registry is damaged");
    return MYR_OK;
}

/* ---- for people ---- */

/* As YAML: in quotes, unless it is plain. */
static void describe_value(myr_buf *out, const char *text)
{
    bool is_plain = text[0] != '\0' && text[0] != '-' &&
                    strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                 "0123456789_./-") == strlen(text);
    if (is_plain)
        myr_buf_puts(out, text);
    else
        myr_buf_json_string(out, myr_str_of(text));
}

static void describe_text(myr_buf *out, const char *name, const char *text)
{
    if (text == NULL || text[0] == '\0') return;
    myr_buf_printf(out, "%s: ", name);
    describe_value(out, text);
    myr_buf_putc(out, '\n');
}

static void describe_list(myr_buf *out, const char *name, const char *const *items)
{
    if (items == NULL) return;
    myr_buf_printf(out, "%s: [", name);
    for (size_t i = 0; items[i] != NULL; i++) {
        if (i > 0) myr_buf_puts(out, ", ");
        describe_value(out, items[i]);
    }
    myr_buf_puts(out, "]\n");
}

static void describe_duration(myr_buf *out, const char *name, int64_t ms)
{
    if (ms % 1000 == 0)
        myr_buf_printf(out, "%s: %llds", name, (long long)(ms / 1000));
    else
        myr_buf_printf(out, "%s: %lldms", name, (long long)ms);
    myr_buf_puts(out, ms == 0 ? "   # none\n" : "\n");
}

/* In the largest unit that says it exactly. */
static void describe_bytes(myr_buf *out, const char *name, int64_t bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB"};
    size_t unit = 0;
    while (bytes > 0 && bytes % 1024 == 0 && unit + 1 < MYR_COUNT_OF(units)) {
        bytes /= 1024;
        unit++;
    }
    myr_buf_printf(out, "%s: %lld%s%s\n", name, (long long)bytes, bytes > 0 ? units[unit] : "",
                   bytes > 0 ? "" : "   # no limit");
}

static void describe_input(const myr_batch_input *input, myr_buf *out)
{
    if (input->items != NULL && input->filter == NULL && !input->as_items) {
        describe_list(out, "input", input->items);
        return;
    }
    myr_buf_puts(out, "input:\n");
    describe_list(out, input->as_items ? "  items" : "  files", input->items);
    describe_text(out, "  sql", input->sql);
    describe_text(out, "  table", input->table);
    describe_text(out, "  database", input->database);
    describe_text(out, "  filter", input->filter);
}

/* Of a group; NULL: of the output itself, whose keys these are. */
static void describe_place(myr_buf *out, const char *group, const char *place, const char *table, bool append)
{
    const char *blanks = group != NULL ? "      " : "  ";
    if (table == NULL) {
        myr_buf_printf(out, "%s%s: ", group != NULL ? "    " : "  ", group != NULL ? group : "path");
        describe_value(out, place);
        myr_buf_putc(out, '\n');
        return;
    }
    if (group != NULL) myr_buf_printf(out, "    %s:\n", group);
    myr_buf_printf(out, "%stable: ", blanks);
    describe_value(out, table);
    myr_buf_printf(out, "\n%sdatabase: ", blanks);
    describe_value(out, place);
    myr_buf_printf(out, "\n%smode: %s\n", blanks, append ? "append" : "replace");
}

static void describe_output(const myr_batch_opts *opts, myr_buf *out)
{
    myr_buf_puts(out, "output:\n");
    if (opts->store_count > 0) myr_buf_puts(out, "  stores:\n");
    for (size_t i = 0; i < opts->store_count; i++)
        describe_place(out, opts->stores[i].group, opts->stores[i].output, opts->stores[i].table,
                       opts->stores[i].append);
    describe_place(out, opts->store_count > 0 ? "default" : NULL, opts->output, opts->table, opts->append);
    describe_text(out, "  format", opts->table == NULL ? myr_table_format_name(opts->format) : NULL);
    if (opts->predictions != NULL) {
        describe_text(out, "  predictions:\n    to", opts->predictions);
        describe_duration(out, "    valid_for", opts->valid_ms);
    }
    describe_list(out, "  by", opts->by);
    describe_list(out, "  keep", opts->keep);
    for (uint32_t k = 0; k < opts->kind_count; k++) {
        myr_buf_puts(out, k == 0 ? "  predict: [" : ", ");
        myr_buf_puts(out, myr_output_name(opts->kinds[k]));
        if (k + 1 == opts->kind_count) myr_buf_puts(out, "]\n");
    }
    const char *details[MYR_BATCH_DETAIL_COUNT + 1];
    details_written(opts, details);
    describe_list(out, "  details", details);
    describe_text(out, "output_action", settings_action(opts->action));
    describe_text(out, "append_row_file_name", opts->append_name);
}

static void describe_local(const myr_batch_opts *opts, myr_buf *out)
{
    const myr_batch_limits *limits = opts->limits;
    myr_buf_printf(out, "compute:\n  type: local\n  min: %lld\n  max: %lld\n", (long long)limits->workers_min,
                   (long long)(limits->workers_max > 0 ? limits->workers_max : myr_cpu_count()));
    describe_duration(out, "  idle_seconds", limits->idle_ms);
    describe_bytes(out, "  worker_memory_max", limits->worker_memory_bytes);
    if (limits->worker_cpu_milli > 0)
        myr_buf_printf(out, "  worker_cpus: %.3f\n", (double)limits->worker_cpu_milli / 1000);
    describe_text(out, "  cgroup", opts->cgroup);
}

static void describe_spark(const myr_batch_opts *opts, myr_buf *out)
{
    const myr_batch_spark *spark = opts->spark;
    myr_buf_puts(out, "compute:\n  type: spark\n");
    describe_text(out, "  master", spark->master);
    if (spark->executors_max > 0)
        myr_buf_printf(out, "  min: %lld\n  max: %lld\n", (long long)spark->executors_min,
                       (long long)spark->executors_max);
    describe_duration(out, "  idle_seconds", opts->limits->idle_ms);
    describe_text(out, "  python", spark->python);
    if (spark->conf != NULL) myr_buf_puts(out, "  conf:\n");
    for (size_t i = 0; spark->conf != NULL && spark->conf[i] != NULL; i++) {
        myr_str value = myr_str_of(spark->conf[i]), name;
        MYR_IGNORE(!myr_str_split(&value, '=', &name)); /* one without a value is as it is */
        myr_buf_printf(out, "    " MYR_STR_FMT ": ", MYR_STR_ARG(name));
        describe_value(out, spark->conf[i] + (name.size < strlen(spark->conf[i]) ? name.size + 1 : name.size));
        myr_buf_putc(out, '\n');
    }
}

static void describe_notify(const myr_batch_notify *notify, myr_buf *out)
{
    myr_buf_puts(out, "notify:\n");
    describe_text(out, "  webhook", notify->webhook);
    describe_list(out, "  command", notify->command);
    myr_buf_printf(out, "  on: [%s%s%s%s%s]\n", notify->on_completed ? "completed" : "",
                   notify->on_completed && (notify->on_failed || notify->on_canceled) ? ", " : "",
                   notify->on_failed ? "failed" : "", notify->on_failed && notify->on_canceled ? ", " : "",
                   notify->on_canceled ? "canceled" : "");
}

static void describe_environment(const myr_batch_opts *opts, myr_buf *out)
{
    if (opts->network == MYR_ASK_MODEL && !opts->require_hashes) return;
    myr_buf_puts(out, "environment:\n");
    if (opts->network != MYR_ASK_MODEL)
        describe_text(out, "  network", opts->network == MYR_ASK_YES ? "true" : "false");
    if (opts->require_hashes) describe_text(out, "  require_hashes", "true");
}

static void describe_limits(const myr_batch_opts *opts, myr_buf *out)
{
    const myr_batch_limits *limits = opts->limits;
    if (limits->is_auto_size)
        myr_buf_printf(out, "mini_batch_size: %d   # rows, up to %d of large files; of text %lld bytes\n",
                       SETTINGS_ROWS, SETTINGS_ROWS_MAX, SETTINGS_BYTES);
    else if (limits->mini_batch.rows > 0)
        myr_buf_printf(out, "mini_batch_size: %lld\n", (long long)limits->mini_batch.rows);
    else if (limits->mini_batch.bytes > 0)
        describe_bytes(out, "mini_batch_size", limits->mini_batch.bytes);
    else
        myr_buf_puts(out, "mini_batch_size: file\n");
    if (opts->spark != NULL)
        describe_spark(opts, out);
    else
        describe_local(opts, out);
    myr_buf_printf(out, "retry_settings:\n  max_retries: %lld\n", (long long)limits->max_retries);
    describe_duration(out, "  timeout", limits->timeout_ms);
    describe_duration(out, "  backoff", limits->backoff_ms);
    describe_duration(out, "progress_update_timeout", limits->progress_timeout_ms);
    describe_duration(out, "first_task_creation_timeout", limits->first_task_timeout_ms);
    myr_buf_printf(out, "error_threshold: %lld\nmini_batch_error_threshold: %lld\nallowed_failed_percent: ",
                   (long long)limits->error_threshold, (long long)limits->mini_batch_error_threshold);
    myr_buf_double(out, limits->allowed_failed_percent);
    myr_buf_putc(out, '\n');
}

myr_rc myr_batch_settings_text(const char *settings, myr_buf *out, myr_err *err)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_batch_opts opts;
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for settings");
    MYR_TRY(myr_batch_settings_parse(settings, strlen(settings), arena, &opts, err));
    describe_text(out, "name", opts.job);
    describe_text(out, "fleet", opts.fleet);
    myr_buf_printf(out, "release: %lld\n", (long long)opts.release);
    if (opts.retry_of > 0) myr_buf_printf(out, "# again what failed in run %lld\n", (long long)opts.retry_of);
    describe_input(&opts.input, out);
    describe_output(&opts, out);
    describe_list(out, "partition_keys", opts.partition_keys);
    describe_limits(&opts, out);
    describe_bytes(out, "memory_max", opts.memory_bytes);
    describe_environment(&opts, out);
    if (opts.notify != NULL) describe_notify(opts.notify, out);
    return myr_buf_check(out, err);
}
