/* What a worker has counted over a mini-batch, as JSON; the ledger keeps it, the coordinator adds it up. */
#include <math.h>
#include <string.h>
#include <yyjson.h>

#include "batch/internal.h"

static const size_t counts_sums[] = {offsetof(batch_counts, error), offsetof(batch_counts, baseline_error),
                                     offsetof(batch_counts, units_error), offsetof(batch_counts, units_baseline_error)};

/* ---- out ---- */

static void counts_list(myr_buf *out, const char *name, const int64_t *values, int count)
{
    myr_buf_printf(out, ",\"%s\":[", name);
    for (int i = 0; i < count; i++)
        myr_buf_printf(out, "%s%lld", i > 0 ? "," : "", (long long)values[i]);
    myr_buf_putc(out, ']');
}

/* The models that answered, as pairs: how many did not, how many did, in the order of the pack. */
static void counts_used(myr_buf *out, const uint8_t *is_used, uint32_t model_count)
{
    myr_buf_puts(out, ",\"used\":[");
    uint8_t now = 0;
    uint32_t run = 0;
    bool is_first = true;
    for (uint32_t i = 0; i <= model_count; i++) {
        if (i < model_count && (is_used[i] != 0) == (now != 0)) {
            run++;
            continue;
        }
        myr_buf_printf(out, "%s%u", is_first ? "" : ",", run);
        is_first = false;
        now = (uint8_t)!now;
        run = 1;
    }
    myr_buf_putc(out, ']');
}

static void counts_text(myr_buf *out, const char *name, const char *text)
{
    if (text[0] != '\0') myr_buf_json_field(out, name, text);
}

void myr_batch_counts_print(const batch_rows *rows, int64_t row_count, myr_buf *out)
{
    const batch_counts *counts = &rows->counts;
    myr_buf_printf(out, "{\"rows\":%lld,\"dead\":%lld,\"compared\":%lld", (long long)row_count,
                   (long long)rows->dead.count, (long long)counts->compared_rows);
    counts_list(out, "levels", counts->level_rows, MYR_LEVEL_COUNT);
    counts_list(out, "statuses", counts->status_rows, MYR_ROW_STATUS_COUNT);
    if (counts->compared_rows > 0) {
        myr_buf_puts(out, ",\"sums\":[");
        for (size_t i = 0; i < MYR_COUNT_OF(counts_sums); i++) {
            const batch_sum *sum = (const batch_sum *)(const void *)((const char *)counts + counts_sums[i]);
            myr_buf_puts(out, i > 0 ? "," : "");
            myr_buf_json_double(out, sum->sum);
            myr_buf_putc(out, ',');
            myr_buf_json_double(out, sum->rest);
        }
        myr_buf_putc(out, ']');
    }
    counts_used(out, rows->is_used, rows->fleet->info->model_count);
    counts_text(out, "bad_key", rows->bad_key.message);
    counts_text(out, "trouble", rows->trouble.message);
    if (rows->trouble.rc != MYR_OK) myr_buf_printf(out, ",\"trouble_code\":%d", (int)rows->trouble.rc);
    myr_buf_putc(out, '}');
}

/* ---- in ---- */

static bool counts_add_list(yyjson_val *list, int64_t *into, int count)
{
    if (yyjson_arr_size(list) != (size_t)count) return false;
    for (int i = 0; i < count; i++)
        into[i] += yyjson_get_sint(yyjson_arr_get(list, (size_t)i));
    return true;
}

static bool counts_add_sums(yyjson_val *list, batch_counts *into)
{
    if (list == NULL) return true;
    if (yyjson_arr_size(list) != 2 * MYR_COUNT_OF(counts_sums)) return false;
    for (size_t i = 0; i < MYR_COUNT_OF(counts_sums); i++) {
        batch_sum *sum = (batch_sum *)(void *)((char *)into + counts_sums[i]);
        myr_batch_sum_add(sum, yyjson_get_num(yyjson_arr_get(list, 2 * i)));
        myr_batch_sum_add(sum, yyjson_get_num(yyjson_arr_get(list, 2 * i + 1)));
    }
    return true;
}

static bool counts_add_used(yyjson_val *list, uint8_t *is_used, uint32_t model_count)
{
    size_t i, max;
    yyjson_val *item;
    uint64_t at = 0;
    yyjson_arr_foreach(list, i, max, item)
    {
        uint64_t run = yyjson_get_uint(item);
        if (run > model_count - at) return false;
        if (i % 2 == 1) memset(is_used + at, 1, (size_t)run);
        at += run;
    }
    return at == model_count;
}

static void counts_first(myr_err *into, yyjson_val *text, int64_t code)
{
    if (!yyjson_is_str(text) || into->message[0] != '\0') return;
    if (code <= MYR_OK) code = MYR_BAD_INPUT;
    MYR_IGNORE(myr_err_set(into, (myr_rc)code, __FILE__, __LINE__, "%s", yyjson_get_str(text))); /* told later */
}

myr_rc myr_batch_counts_add(batch_rows *into, const char *json, int64_t *out_rows, myr_err *err)
{
    yyjson_doc *doc = yyjson_read(json, strlen(json), 0);
    yyjson_val *root = yyjson_doc_get_root(doc);
    bool ok = yyjson_is_obj(root) && yyjson_is_int(yyjson_obj_get(root, "rows")) &&
              counts_add_list(yyjson_obj_get(root, "levels"), into->counts.level_rows, MYR_LEVEL_COUNT) &&
              counts_add_list(yyjson_obj_get(root, "statuses"), into->counts.status_rows, MYR_ROW_STATUS_COUNT) &&
              counts_add_sums(yyjson_obj_get(root, "sums"), &into->counts) &&
              counts_add_used(yyjson_obj_get(root, "used"), into->is_used, into->fleet->info->model_count);
    if (ok) {
        *out_rows = yyjson_get_sint(yyjson_obj_get(root, "rows"));
        into->dead.count += yyjson_get_sint(yyjson_obj_get(root, "dead"));
        into->counts.compared_rows += yyjson_get_sint(yyjson_obj_get(root, "compared"));
        counts_first(&into->bad_key, yyjson_obj_get(root, "bad_key"), MYR_BAD_INPUT);
        counts_first(&into->trouble, yyjson_obj_get(root, "trouble"),
                     yyjson_get_sint(yyjson_obj_get(root, "trouble_code")));
    }
    yyjson_doc_free(doc);
    if (!ok) MYR_FAIL(err, BAD_FORMAT, "what a worker counted cannot be read: the registry is damaged");
    return MYR_OK;
}

/* ---- of a run ---- */

static double counts_rmse(const batch_sum *sum, int64_t row_count)
{
    return row_count > 0 ? sqrt((sum->sum + sum->rest) / (double)row_count) : 0;
}

void myr_batch_counts_report(const batch_rows *rows, myr_batch_report *out)
{
    const batch_counts *counts = &rows->counts;
    memcpy(out->level_rows, counts->level_rows, sizeof out->level_rows);
    memcpy(out->status_rows, counts->status_rows, sizeof out->status_rows);
    for (uint32_t i = 0; i < rows->fleet->info->model_count; i++)
        out->models_used += rows->is_used[i];
    out->compared_rows = counts->compared_rows;
    out->has_units = rows->is_log;
    out->trouble = rows->trouble;
    out->rmse = counts_rmse(&counts->error, counts->compared_rows);
    out->baseline_rmse = counts_rmse(&counts->baseline_error, counts->compared_rows);
    out->units_rmse = out->has_units ? counts_rmse(&counts->units_error, counts->compared_rows) : out->rmse;
    out->units_baseline_rmse =
        out->has_units ? counts_rmse(&counts->units_baseline_error, counts->compared_rows) : out->baseline_rmse;
}
