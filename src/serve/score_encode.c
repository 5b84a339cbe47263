/* The answers of rows, in each of their forms: JSON, NDJSON, CSV, server-sent events. */
#include "serve/internal.h"

#include <string.h>

/* ---- one row ---- */

/* Its message and fields, into the object that was just closed. */
static void encode_note(myr_buf *out, const serve_row_note *note)
{
    if (out->failed || (note->message.data == NULL && note->fields.data == NULL)) return;
    out->size--;
    if (note->message.data != NULL) {
        myr_buf_puts(out, ",\"message\":");
        myr_buf_json_string(out, note->message);
    }
    if (note->fields.data != NULL) {
        myr_buf_putc(out, ',');
        myr_buf_append(out, note->fields.data, note->fields.size);
    }
    myr_buf_putc(out, '}');
}

static myr_rc encode_object(const serve_work *work, size_t row_idx, myr_buf *out, myr_err *err)
{
    MYR_TRY(myr_fleet_put_answer(work->target.fleet->fleet, &work->answers[0], row_idx, work->arena, out, err));
    if (work->notes != NULL) encode_note(out, &work->notes[row_idx]);
    return MYR_OK;
}

myr_rc myr_serve_put_row(const serve_work *work, size_t row_idx, serve_format format, size_t number, myr_buf *out,
                         myr_err *err)
{
    if (format == SERVE_AS_EVENTS) myr_buf_printf(out, "id: %zu\nevent: row\ndata: ", number);
    MYR_TRY(encode_object(work, row_idx, out, err));
    if (format != SERVE_AS_JSON) myr_buf_puts(out, format == SERVE_AS_EVENTS ? "\n\n" : "\n");
    return MYR_OK;
}

void myr_serve_put_end(serve_format format, size_t row_count, size_t failed_count, myr_buf *out)
{
    if (format != SERVE_AS_EVENTS) return;
    myr_buf_printf(out, "event: end\ndata: {\"rows\":%zu,\"failed\":%zu}\n\n", row_count, failed_count);
}

void myr_serve_put_line_error(serve_format format, size_t line, const myr_err *why, myr_buf *out)
{
    if (format == SERVE_AS_EVENTS) myr_buf_printf(out, "id: %zu\nevent: error\ndata: ", line);
    myr_buf_printf(out, "{\"line\":%zu,\"error\":", line);
    myr_buf_json_string(out, myr_str_of(why->message));
    myr_buf_puts(out, format == SERVE_AS_EVENTS ? "}\n\n" : "}\n");
}

/* ---- CSV ---- */

/* A cell of any text, in quotes where it needs them. */
static void csv_put(myr_buf *out, myr_str text)
{
    bool needs = text.size == 0;
    for (size_t i = 0; i < text.size && !needs; i++)
        needs = text.data[i] == ',' || text.data[i] == '"' || text.data[i] == '\n' || text.data[i] == '\r';
    if (needs) myr_buf_putc(out, '"');
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] == '"') myr_buf_putc(out, '"');
        myr_buf_putc(out, text.data[i]);
    }
    if (needs) myr_buf_putc(out, '"');
}

/* What was written behind `start`, as a cell in its place. The buffer is the one that stays warm. */
static myr_rc csv_put_again(const serve_work *work, size_t start, myr_buf *out, myr_err *err)
{
    MYR_TRY(myr_buf_check(out, err));
    size_t size = out->size - start;
    char *text = myr_arena_strndup(work->arena, out->data + start, size);
    if (text == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for a name");
    out->size = start;
    csv_put(out, myr_str_make(text, size));
    return MYR_OK;
}

static myr_rc csv_put_header(const serve_work *work, myr_buf *out, myr_err *err)
{
    const myr_scorer *scorer = work->target.fleet->fleet->scorer;
    size_t width = work->answers[0].width; /* without rows the stages have not looked */
    if (work->rows.row_count == 0) width = myr_scorer_width(scorer, MYR_PACK_NONE, work->outputs[0]);
    for (size_t i = 0; i < width; i++) {
        size_t start = out->size;
        myr_scorer_column_name(scorer, work->outputs[0], width, i, out);
        MYR_TRY(csv_put_again(work, start, out, err));
        myr_buf_putc(out, ',');
    }
    myr_buf_puts(out, work->notes != NULL ? "model,model_version,level,status,message\n"
                                          : "model,model_version,level,status\n");
    return MYR_OK;
}

static myr_rc csv_put_row(const serve_work *work, size_t row_idx, myr_buf *out, myr_err *err)
{
    const myr_answers *answers = &work->answers[0];
    const myr_fleet *fleet = work->target.fleet->fleet;
    uint32_t model_idx = work->model_idxs[row_idx];
    for (uint32_t i = 0; i < answers->width; i++) { /* NaN and infinity have words here, as in a batch's files */
        if (work->statuses[row_idx] == MYR_ROW_OK) myr_buf_double(out, answers->values[i][row_idx]);
        myr_buf_putc(out, ',');
    }
    if (model_idx != MYR_PACK_NONE) {
        myr_pack_entry entry;
        size_t start = out->size;
        MYR_TRY(myr_pack_get_entry(fleet->pack, model_idx, &entry, err));
        MYR_TRY(myr_score_model_name(fleet->scorer, model_idx, out, err));
        MYR_TRY(csv_put_again(work, start, out, err));
        myr_buf_printf(out, ",%lld,", (long long)entry.version);
    } else {
        myr_buf_puts(out, ",,");
    }
    myr_buf_puts(out, myr_level_name((myr_level)work->levels[row_idx]));
    myr_buf_putc(out, ',');
    const char *word = answers->words != NULL ? answers->words[row_idx] : NULL;
    csv_put(out, myr_str_of(word != NULL ? word : myr_row_status_name((myr_row_status)work->statuses[row_idx])));
    if (work->notes != NULL) {
        const myr_str message = work->notes[row_idx].message;
        myr_buf_putc(out, ',');
        if (message.data != NULL) csv_put(out, message);
    }
    myr_buf_putc(out, '\n');
    return MYR_OK;
}

/* ---- all rows ---- */

myr_rc myr_serve_put_rows(const serve_work *work, serve_format format, myr_buf *out, myr_err *err)
{
    size_t row_count = (size_t)work->rows.row_count, failed = 0;
    if (format == SERVE_AS_JSON) myr_buf_puts(out, "{\"rows\":[");
    if (format == SERVE_AS_CSV) MYR_TRY(csv_put_header(work, out, err));
    for (size_t i = 0; i < row_count; i++) {
        if (format == SERVE_AS_JSON && i > 0) myr_buf_putc(out, ',');
        if (format == SERVE_AS_CSV) {
            MYR_TRY(csv_put_row(work, i, out, err));
        } else {
            MYR_TRY(myr_serve_put_row(work, i, format, i + 1, out, err));
        }
        failed += work->statuses[i] != MYR_ROW_OK;
    }
    if (format == SERVE_AS_JSON) myr_buf_puts(out, "]}");
    myr_serve_put_end(format, row_count, failed, out);
    return MYR_OK;
}
