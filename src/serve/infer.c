/*
 * POST /v2/models/{fleet}[@segment]/infer: decode, score, encode. V2 has no place for a status per row, so a row that
 * can't be scored makes the request an error that names it; /v1/fleets/{fleet}/score answers each row for itself.
 */
#include "serve/internal.h"

#include <stdio.h>
#include <string.h>

#define INFER_KEY_TEXT_BYTES 160

/* What the scorer wrote for one output; all in the arena. */
typedef struct infer_result {
    myr_output output;
    size_t width;
    double **values; /* [column][row] */
    uint8_t *levels, *statuses;
} infer_result;

static myr_rc infer_score(serve_call *call, const serve_target *target, const infer_rows *rows, infer_result *out,
                          myr_err *err)
{
    size_t row_count = (size_t)rows->rows.row_count;
    MYR_TRY(myr_scorer_check_output(target->fleet->fleet->scorer, target->model_idx, out->output, &out->width, err));
    out->values = myr_arena_calloc(call->arena, out->width, sizeof(double *));
    double *cells = myr_arena_calloc(call->arena, row_count * out->width + 1, sizeof(double));
    out->levels = myr_arena_calloc(call->arena, row_count + 1, 1);
    out->statuses = myr_arena_calloc(call->arena, row_count + 1, 1);
    if (out->values == NULL || cells == NULL || out->levels == NULL || out->statuses == NULL) {
        MYR_FAIL(err, NO_MEMORY, "out of memory for %zu predictions", row_count);
    }
    for (size_t i = 0; i < out->width; i++)
        out->values[i] = cells + i * row_count;
    if (row_count == 0) return MYR_OK;
    myr_score_out score = {.values = out->values, .levels = out->levels, .statuses = out->statuses};
    myr_score_rows asked = rows->rows;
    asked.no_runner = !call->may_block;
    asked.output = out->output;
    return myr_score(target->fleet->fleet->scorer, call->thread->scratch, &asked, &score, err);
}

/* "store=2,brand=1" of a row, as it was sent; for messages. */
static void infer_key_text(const serve_target *target, const infer_rows *rows, size_t row,
                           char out[INFER_KEY_TEXT_BYTES])
{
    const myr_pack_info *info = target->fleet->fleet->info;
    size_t used = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < info->keys.column_count && used < INFER_KEY_TEXT_BYTES; i++) {
        const myr_col *col = &rows->rows.keys[i];
        int n;
        const char *comma = i > 0 ? "," : "";
        if (myr_col_is_null(col, (int64_t)row)) {
            n = snprintf(out + used, INFER_KEY_TEXT_BYTES - used, "%s%s=null", comma, col->name);
        } else if (col->type == MYR_COL_INT64) {
            n = snprintf(out + used, INFER_KEY_TEXT_BYTES - used, "%s%s=%lld", comma, col->name,
                         (long long)col->data.i64[row]);
        } else {
            n = snprintf(out + used, INFER_KEY_TEXT_BYTES - used, "%s%s=" MYR_STR_FMT, comma, col->name,
                         MYR_STR_ARG(col->data.text[row]));
        }
        MYR_ASSERT(n >= 0);
        used += (size_t)n;
    }
}

static myr_rc infer_fail_row(const serve_call *call, const serve_target *target, const infer_rows *rows, size_t row,
                             uint8_t status, myr_err *err)
{
    const myr_err *trouble = myr_score_trouble(call->thread->scratch);
    if (trouble->rc != MYR_OK && (status == MYR_ROW_UNAVAILABLE || status == MYR_ROW_BROKEN_MODEL)) {
        MYR_ASSERT(err != NULL);
        *err = *trouble;
        return myr_err_prefix(err, (myr_rc)trouble->rc, "row %zu: ", row);
    }
    if (status == MYR_ROW_BAD_INPUT)
        MYR_FAIL(err, BAD_INPUT, "row %zu: a feature is nothing that its model takes: a text or a missing value", row);
    if (status == MYR_ROW_NO_OUTPUT) {
        MYR_FAIL(err, UNSUPPORTED, "row %zu: its model does not give this output, or not as wide as others", row);
    }
    char key[INFER_KEY_TEXT_BYTES];
    const char *fleet = target->fleet->fleet->name;
    if (target->model_idx != MYR_PACK_NONE) { /* its model is chosen: only damage is left */
        MYR_FAIL(err, INTERNAL, "row %zu: model '" MYR_STR_FMT "' is damaged in the pack of release %lld", row,
                 MYR_STR_ARG(target->name), (long long)target->fleet->fleet->release);
    }
    infer_key_text(target, rows, row, key);
    if (status == MYR_ROW_BAD_KEY) {
        MYR_FAIL(err, BAD_INPUT, "row %zu (%s): a key value is not of its column's type, or too long", row, key);
    }
    if (status == MYR_ROW_NO_MODEL) {
        MYR_FAIL(err, NOT_FOUND, "row %zu (%s): fleet '%s' has no model for this key, nor a parent or global one", row,
                 key, fleet);
    }
    MYR_FAIL(err, INTERNAL, "row %zu (%s): its model is damaged in the pack of fleet '%s', release %lld", row, key,
             fleet, (long long)target->fleet->fleet->release);
}

/* Count rows for the metrics; the first that was not scored is the error. */
static myr_rc infer_check(serve_call *call, const serve_target *target, const infer_rows *rows,
                          const infer_result *result, bool count_them, myr_err *err)
{
    myr_row_counts counts = {0};
    size_t row_count = (size_t)rows->rows.row_count, bad = row_count;
    for (size_t row = row_count; row-- > 0;) {
        MYR_ASSERT(result->levels[row] < MYR_LEVEL_COUNT && result->statuses[row] < MYR_ROW_STATUS_COUNT);
        counts[result->levels[row]][result->statuses[row]]++;
        if (result->statuses[row] != MYR_ROW_OK) bad = row;
    }
    if (count_them) myr_serve_count_rows(call->server, target->fleet, counts);
    if (bad == row_count) return MYR_OK;
    return infer_fail_row(call, target, rows, bad, result->statuses[bad], err);
}

static void infer_put_data(myr_buf *out, const infer_result *result, size_t row_count)
{
    myr_buf_puts(out, ",\"data\":[");
    for (size_t row = 0; row < row_count; row++) {
        for (size_t i = 0; i < result->width; i++) {
            if (row > 0 || i > 0) myr_buf_putc(out, ',');
            myr_buf_json_double(out, result->values[i][row]);
        }
    }
    myr_buf_putc(out, ']');
}

static void infer_put_binary(myr_buf *out, const infer_result *result, size_t row_count)
{
    if (result->width == 1) {
        myr_buf_append(out, result->values[0], row_count * sizeof(double));
        return;
    }
    for (size_t row = 0; row < row_count; row++) {
        for (size_t i = 0; i < result->width; i++)
            myr_buf_append(out, &result->values[i][row], sizeof(double));
    }
}

static void infer_encode_tensor(myr_buf *out, const serve_target *target, const infer_result *result, size_t row_count,
                                bool is_binary)
{
    myr_buf_puts(out, "{\"name\":\"");
    myr_buf_puts(out, result->output == MYR_OUTPUT_VALUE ? SERVE_PREDICTION : myr_output_name(result->output));
    myr_buf_printf(out, "\",\"datatype\":\"FP64\",\"shape\":[%zu", row_count);
    myr_serve_put_width(out, target->fleet->fleet->info, result->output, result->width);
    myr_buf_putc(out, ']');
    if (is_binary) {
        myr_buf_printf(out, ",\"parameters\":{\"binary_data_size\":%zu}", row_count * result->width * sizeof(double));
    } else {
        infer_put_data(out, result, row_count);
    }
    myr_buf_putc(out, '}');
}

/* JSON, then the binary outputs in their order. */
static void infer_encode(serve_call *call, const serve_target *target, const infer_rows *rows,
                         const infer_result *results)
{
    myr_buf *out = call->out;
    size_t row_count = (size_t)rows->rows.row_count;
    bool any_binary = false;
    myr_buf_puts(out, "{\"model_name\":");
    myr_buf_json_string(out, target->name);
    myr_buf_printf(out, ",\"model_version\":\"%lld\"", (long long)target->fleet->fleet->release);
    if (rows->id.data != NULL) {
        myr_buf_puts(out, ",\"id\":");
        myr_buf_json_string(out, rows->id);
    }
    myr_buf_puts(out, ",\"outputs\":[");
    for (uint32_t i = 0; i < rows->output_count; i++) {
        if (i > 0) myr_buf_putc(out, ',');
        infer_encode_tensor(out, target, &results[i], row_count, rows->is_binary[i]);
        any_binary = any_binary || rows->is_binary[i];
    }
    myr_buf_puts(out, "]}");
    if (!any_binary) return;
    call->json_bytes = out->size;
    for (uint32_t i = 0; i < rows->output_count; i++) {
        if (rows->is_binary[i]) infer_put_binary(out, &results[i], row_count);
    }
}

static myr_rc infer_run(serve_call *call, const serve_target *target, serve_infer_times *times, myr_err *err)
{
    infer_rows rows;
    infer_result results[MYR_OUTPUT_COUNT];
    MYR_TRY(myr_serve_infer_decode(call, target, &rows, err));
    times->score_ns = myr_clock_mono_ns();
    times->row_count = rows.rows.row_count;
    for (uint32_t i = 0; i < rows.output_count; i++) {
        results[i].output = rows.outputs[i];
        MYR_TRY(infer_score(call, target, &rows, &results[i], err));
        if (rows.rows.row_count > 0 && myr_serve_wants_compute(call)) return MYR_OK;
        MYR_TRY(infer_check(call, target, &rows, &results[i], i == 0, err));
    }
    times->encode_ns = myr_clock_mono_ns();
    infer_encode(call, target, &rows, results);
    return MYR_OK;
}

myr_rc myr_serve_post_infer(serve_call *call, myr_err *err)
{
    serve_target target;
    serve_infer_times times = {.start_ns = myr_req_start_ns(call->req), .decode_ns = myr_clock_mono_ns()};
    MYR_TRY(myr_serve_target_find(call, call->params[0], call->params[1].data != NULL ? &call->params[1] : NULL,
                                  &target, err));
    myr_rc rc = infer_run(call, &target, &times, err);
    if (!call->wants_compute) myr_serve_count_infer(target.fleet, &times, rc == MYR_OK); /* else it comes again */
    return rc;
}
