/*
 * The settings of a run as text: what the ledger keeps, what a worker is told, what a resumed run goes on with. Paths
 * are absolute, the release is a number: the text means the same anywhere and later.
 */
#include <string.h>
#include <yyjson.h>

#include "batch/source.h"
#include "db/db.h"

#define SETTINGS_ROWS  250000
#define SETTINGS_BYTES (32LL << 20)

myr_batch_limits myr_batch_limits_default(void)
{
    return (myr_batch_limits){.mini_batch = {.rows = 0, .bytes = 0},
                              .idle_ms = 60000,
                              .max_retries = 2,
                              .backoff_ms = 200,
                              .progress_timeout_ms = 600000,
                              .error_threshold = -1,
                              .mini_batch_error_threshold = 0,
                              .allowed_failed_percent = 100,
                              .is_auto_size = true};
}

/* A row group of Parquet is some 120,000 rows: two of them. Text is held in memory. */
myr_table_size myr_batch_size_default(bool is_text)
{
    return is_text ? (myr_table_size){.bytes = SETTINGS_BYTES} : (myr_table_size){.rows = SETTINGS_ROWS};
}

/* Limits that are whole numbers, and what they may be. */
typedef struct settings_number {
    const char *name;
    size_t offset;
    int64_t min, max;
} settings_number;
#define SETTINGS_AT(field) #field, offsetof(myr_batch_limits, field)
static const settings_number settings_numbers[] = {
    {SETTINGS_AT(workers_max), 0, MYR_BATCH_WORKERS_MAX},
    {SETTINGS_AT(idle_ms), 0, BATCH_MILLISECONDS_MAX},
    {SETTINGS_AT(worker_memory_bytes), 0, INT64_MAX},
    {SETTINGS_AT(max_retries), 0, BATCH_RETRIES_MAX},
    {SETTINGS_AT(backoff_ms), 0, BATCH_MILLISECONDS_MAX},
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

/* What makes two outputs equal: the text up to here is part of the fingerprint. */
static void settings_work(const myr_batch_opts *opts, myr_buf *out)
{
    myr_buf_printf(out, "{\"release\":%lld,\"format\":\"%s\"", (long long)opts->release,
                   opts->format == MYR_TABLE_CSV ? "csv" : "parquet");
    settings_text(out, "fleet", opts->fleet);
    settings_text(out, "output", opts->output);
    settings_list(out, "by", opts->by);
    settings_list(out, "keep", opts->keep);
    myr_buf_puts(out, ",\"kinds\":[");
    for (uint32_t k = 0; k < opts->kind_count; k++)
        myr_buf_printf(out, "%s\"%s\"", k > 0 ? "," : "", myr_output_name(opts->kinds[k]));
    myr_buf_putc(out, ']');
    const myr_batch_limits *limits = opts->limits;
    if (!limits->is_auto_size)
        myr_buf_printf(out, ",\"mini_batch_rows\":%lld,\"mini_batch_bytes\":%lld", (long long)limits->mini_batch.rows,
                       (long long)limits->mini_batch.bytes);
}

/* A database without its password: nobody needs it again. */
static void settings_input(const myr_batch_input *input, myr_buf *out)
{
    settings_list(out, "input", input->items);
    if (input->sql != NULL) settings_text(out, "sql", input->sql);
    if (input->table != NULL) {
        MYR_AUTO(myr_buf) shown = {0};
        myr_db_uri_show(input->database, &shown);
        settings_text(out, "table", input->table);
        settings_text(out, "database", shown.data);
    }
    if (input->filter != NULL) settings_text(out, "filter", input->filter);
}

void myr_batch_settings_print(const myr_batch_opts *opts, myr_buf *out)
{
    settings_work(opts, out);
    settings_input(&opts->input, out);
    settings_text(out, "job", opts->job);
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

/* All but `keep`, which may be absent, must be there. */
static bool settings_read(yyjson_val *root, myr_arena *arena, myr_batch_opts *out)
{
    const char *format = yyjson_get_str(yyjson_obj_get(root, "format"));
    myr_batch_limits *limits = myr_arena_calloc(arena, 1, sizeof *limits);
    if (!yyjson_is_obj(root) || limits == NULL || format == NULL) return false;
    *out = (myr_batch_opts){.job = settings_get(arena, yyjson_obj_get(root, "job")),
                            .fleet = settings_get(arena, yyjson_obj_get(root, "fleet")),
                            .input = {.items = myr_batch_settings_list(yyjson_obj_get(root, "input"), arena),
                                      .sql = settings_get(arena, yyjson_obj_get(root, "sql")),
                                      .table = settings_get(arena, yyjson_obj_get(root, "table")),
                                      .database = settings_get(arena, yyjson_obj_get(root, "database")),
                                      .filter = settings_get(arena, yyjson_obj_get(root, "filter"))},
                            .output = settings_get(arena, yyjson_obj_get(root, "output")),
                            .by = myr_batch_settings_list(yyjson_obj_get(root, "by"), arena),
                            .keep = myr_batch_settings_list(yyjson_obj_get(root, "keep"), arena),
                            .format = strcmp(format, "csv") == 0 ? MYR_TABLE_CSV : MYR_TABLE_PARQUET,
                            .limits = limits};
    const myr_batch_input *input = &out->input;
    bool has_input = input->items != NULL || input->sql != NULL || (input->table != NULL && input->database != NULL);
    return has_input && out->fleet != NULL && out->output != NULL && settings_limits(root, limits) &&
           settings_int(root, "release", 0, INT64_MAX, &out->release) &&
           settings_int(root, "memory_bytes", 0, INT64_MAX, &out->memory_bytes) &&
           settings_kinds(yyjson_obj_get(root, "kinds"), arena, out);
}

myr_rc myr_batch_settings_parse(const char *text, size_t size, myr_arena *arena, myr_batch_opts *out, myr_err *err)
{
    MYR_AUTO(settings_doc) doc = yyjson_read(text, size, 0);
    if (!settings_read(yyjson_doc_get_root(doc), arena, out))
        MYR_FAIL(err, BAD_FORMAT, "the settings of the run cannot be read: the registry is damaged");
    return MYR_OK;
}
