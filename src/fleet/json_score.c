/* Answers as JSON: one object per row, with a comma between them. Scratch is the arena and the caller's buffer. */
#include <string.h>

#include "fleet/internal.h"

/* The answers of one call, in the arena. */
typedef struct json_answers {
    double **values;
    uint32_t *model_idxs;
    uint8_t *levels;
    uint8_t *statuses;
} json_answers;

static myr_rc answers_no_memory(const myr_arena *arena, size_t row_count, myr_err *err)
{
    if (myr_arena_is_full(arena)) {
        MYR_FAIL(err, TOO_LARGE, "the answers of %zu rows do not fit the memory of a request: send fewer at once",
                 row_count);
    }
    MYR_FAIL(err, NO_MEMORY, "no memory for the answers of %zu rows", row_count);
}

static myr_rc answers_make(uint32_t output_count, size_t row_count, myr_arena *arena, json_answers *out, myr_err *err)
{
    out->values = myr_arena_calloc(arena, output_count, sizeof *out->values);
    out->model_idxs = myr_arena_calloc(arena, row_count, sizeof *out->model_idxs);
    out->levels = myr_arena_calloc(arena, row_count, 1);
    out->statuses = myr_arena_calloc(arena, row_count, 1);
    bool is_whole = out->values != NULL && out->model_idxs != NULL && out->levels != NULL && out->statuses != NULL;
    for (uint32_t k = 0; is_whole && k < output_count; k++) {
        out->values[k] = myr_arena_calloc(arena, row_count, sizeof **out->values);
        is_whole = out->values[k] != NULL;
    }
    return is_whole ? MYR_OK : answers_no_memory(arena, row_count, err);
}

/* One number, an array of them for several outputs, null for a row that was not scored. */
static void answer_put_prediction(myr_buf *out, const json_answers *answers, uint32_t output_count, size_t row_idx)
{
    if (answers->statuses[row_idx] != MYR_ROW_OK) {
        myr_buf_puts(out, "null");
        return;
    }
    if (output_count == 1) {
        myr_buf_json_double(out, answers->values[0][row_idx]);
        return;
    }
    for (uint32_t k = 0; k < output_count; k++) {
        myr_buf_putc(out, k == 0 ? '[' : ',');
        myr_buf_json_double(out, answers->values[k][row_idx]);
    }
    myr_buf_putc(out, ']');
}

/* The name is written raw into *out first, since it is the one buffer that stays warm, then quoted in its place. */
static myr_rc answer_put_model(const myr_fleet *fleet, uint32_t model_idx, myr_arena *arena, myr_buf *out, myr_err *err)
{
    if (model_idx == MYR_PACK_NONE) {
        myr_buf_puts(out, ",\"model\":null,\"model_version\":null");
        return MYR_OK;
    }
    myr_pack_entry entry;
    MYR_TRY(myr_pack_get_entry(fleet->pack, model_idx, &entry, err));
    myr_buf_puts(out, ",\"model\":");
    MYR_TRY(myr_buf_check(out, err));
    size_t start = out->size;
    MYR_TRY(myr_score_model_name(fleet->scorer, model_idx, out, err));
    size_t size = out->size - start;
    char *name = myr_arena_strndup(arena, out->data + start, size);
    if (name == NULL) return answers_no_memory(arena, 1, err);
    out->size = start;
    myr_buf_json_string(out, myr_str_make(name, size));
    myr_buf_printf(out, ",\"model_version\":%lld", (long long)entry.version);
    return MYR_OK;
}

static myr_rc answer_put(const myr_fleet *fleet, const json_answers *answers, size_t row_idx, myr_arena *arena,
                         myr_buf *out, myr_err *err)
{
    myr_buf_puts(out, row_idx == 0 ? "{\"prediction\":" : ",{\"prediction\":");
    answer_put_prediction(out, answers, fleet->info->output_count, row_idx);
    MYR_TRY(answer_put_model(fleet, answers->model_idxs[row_idx], arena, out, err));
    myr_buf_puts(out, ",\"level\":\"");
    myr_buf_puts(out, myr_level_name((myr_level)answers->levels[row_idx]));
    myr_buf_puts(out, "\",\"status\":\"");
    myr_buf_puts(out, myr_row_status_name((myr_row_status)answers->statuses[row_idx]));
    myr_buf_puts(out, "\"}");
    return MYR_OK;
}

myr_rc myr_fleet_score_json(const myr_fleet *fleet, myr_score_scratch *scratch, const myr_json_rows *rows,
                            myr_arena *arena, myr_buf *out, myr_err *err)
{
    size_t row_count = (size_t)rows->rows.row_count;
    json_answers answers;
    MYR_TRY(answers_make(fleet->info->output_count, row_count, arena, &answers, err));
    myr_score_out score_out = {answers.values, answers.model_idxs, answers.levels, answers.statuses};
    MYR_TRY(myr_score(fleet->scorer, scratch, &rows->rows, &score_out, err));
    for (size_t i = 0; rows->counts != NULL && i < row_count; i++)
        (*rows->counts)[answers.levels[i]][answers.statuses[i]]++;
    MYR_TRY(myr_buf_check(out, err));
    size_t start = out->size;
    myr_rc rc = MYR_OK;
    for (size_t i = 0; rc == MYR_OK && i < row_count; i++)
        rc = answer_put(fleet, &answers, i, arena, out, err);
    if (rc == MYR_OK) rc = myr_buf_check(out, err);
    if (rc == MYR_OK) return MYR_OK;
    out->size = start; /* untouched on failure */
    out->failed = false;
    if (out->data != NULL) out->data[start] = '\0';
    return rc;
}
