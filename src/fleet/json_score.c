/* Answers as JSON: one object per row, with a comma between them. Scratch is the arena and the caller's buffer. */
#include <string.h>

#include "fleet/internal.h"

static myr_rc answers_no_memory(const myr_arena *arena, size_t row_count, myr_err *err)
{
    if (myr_arena_is_full(arena)) {
        MYR_FAIL(err, TOO_LARGE, "the answers of %zu rows do not fit the memory of a request: send fewer at once",
                 row_count);
    }
    MYR_FAIL(err, NO_MEMORY, "no memory for the answers of %zu rows", row_count);
}

/* Columns for the answers of one call, in the arena, as *out and *answers show them. */
static myr_rc answers_make(size_t row_count, myr_output output, size_t width, myr_arena *arena, myr_score_out *out,
                           myr_answers *answers, myr_err *err)
{
    double **values = myr_arena_calloc(arena, width, sizeof *values);
    uint32_t *model_idxs = myr_arena_calloc(arena, row_count, sizeof *model_idxs);
    uint8_t *levels = myr_arena_calloc(arena, row_count, 1);
    uint8_t *statuses = myr_arena_calloc(arena, row_count, 1);
    bool is_whole = values != NULL && model_idxs != NULL && levels != NULL && statuses != NULL;
    for (size_t k = 0; is_whole && k < width; k++) {
        values[k] = myr_arena_calloc(arena, row_count, sizeof **values);
        is_whole = values[k] != NULL;
    }
    if (!is_whole) return answers_no_memory(arena, row_count, err);
    *out = (myr_score_out){values, model_idxs, levels, statuses};
    *answers = (myr_answers){output, (uint32_t)width, values, model_idxs, levels, statuses, NULL};
    return MYR_OK;
}

/* The columns from `first` on as an array. */
static void answer_put_array(myr_buf *out, const myr_answers *answers, uint32_t first, uint32_t count, size_t row_idx)
{
    for (uint32_t k = 0; k < count; k++) {
        myr_buf_putc(out, k == 0 ? '[' : ',');
        myr_buf_json_double(out, answers->values[first + k][row_idx]);
    }
    myr_buf_puts(out, count > 0 ? "]" : "[]");
}

/* {"base":…,"features":{…}}, an array of these where there are several margins. */
static void answer_put_contributions(myr_buf *out, const myr_pack_info *info, const myr_answers *answers,
                                     size_t row_idx)
{
    uint32_t width = info->feature_count + 1;
    uint32_t margins = answers->width / width;
    for (uint32_t k = 0; k < margins; k++) {
        double *const *columns = answers->values + (size_t)k * width;
        if (margins > 1) myr_buf_putc(out, k == 0 ? '[' : ',');
        myr_buf_puts(out, "{\"base\":");
        myr_buf_json_double(out, columns[width - 1][row_idx]);
        myr_buf_puts(out, ",\"features\":{");
        for (uint32_t j = 0; j < info->feature_count; j++) {
            if (j > 0) myr_buf_putc(out, ',');
            myr_buf_json_string(out, myr_str_of(info->features[j]));
            myr_buf_putc(out, ':');
            myr_buf_json_double(out, columns[j][row_idx]);
        }
        myr_buf_puts(out, "}}");
    }
    if (margins > 1) myr_buf_putc(out, ']');
}

/* Trees of this row's model: what stands behind them in its columns is not its. */
static uint32_t answer_leaves(const myr_fleet *fleet, const myr_answers *answers, size_t row_idx)
{
    uint32_t model_idx = answers->model_idxs[row_idx];
    size_t width = model_idx == MYR_PACK_NONE ? 0 : myr_scorer_width(fleet->scorer, model_idx, MYR_OUTPUT_LEAF);
    return width < answers->width ? (uint32_t)width : answers->width;
}

/* What was asked for: one number, an array of several, null for a row that was not scored. */
static void answer_put_values(const myr_fleet *fleet, myr_buf *out, const myr_answers *answers, size_t row_idx)
{
    if (answers->statuses[row_idx] != MYR_ROW_OK) {
        myr_buf_puts(out, "null");
        return;
    }
    switch (answers->output) {
    case MYR_OUTPUT_CONTRIBUTION:
        answer_put_contributions(out, fleet->info, answers, row_idx);
        return;
    case MYR_OUTPUT_LEAF:
        answer_put_array(out, answers, 0, answer_leaves(fleet, answers, row_idx), row_idx);
        return;
    default:
        if (answers->width > 1) {
            answer_put_array(out, answers, 0, answers->width, row_idx);
        } else {
            myr_buf_json_double(out, answers->values[0][row_idx]);
        }
        return;
    }
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

myr_rc myr_fleet_put_answer(const myr_fleet *fleet, const myr_answers *answers, size_t row_idx, myr_arena *arena,
                            myr_buf *out, myr_err *err)
{
    myr_buf_puts(out, "{\"");
    myr_buf_puts(out, answers->output == MYR_OUTPUT_VALUE ? "prediction" : myr_output_name(answers->output));
    myr_buf_puts(out, "\":");
    answer_put_values(fleet, out, answers, row_idx);
    MYR_TRY(answer_put_model(fleet, answers->model_idxs[row_idx], arena, out, err));
    myr_buf_puts(out, ",\"level\":\"");
    myr_buf_puts(out, myr_level_name((myr_level)answers->levels[row_idx]));
    myr_buf_puts(out, "\",\"status\":\"");
    const char *word = answers->words != NULL ? answers->words[row_idx] : NULL;
    myr_buf_puts(out, word != NULL ? word : myr_row_status_name((myr_row_status)answers->statuses[row_idx]));
    myr_buf_puts(out, "\"}");
    return MYR_OK;
}

/* Models have different numbers of trees, so the rows are scored once for their models. */
myr_rc myr_fleet_leaf_width(const myr_fleet *fleet, myr_score_scratch *scratch, const myr_score_rows *rows,
                            myr_arena *arena, uint32_t *out_width, myr_err *err)
{
    size_t row_count = (size_t)rows->row_count;
    myr_score_rows values = *rows;
    myr_score_out out;
    myr_answers answers;
    size_t widest = 0;
    values.output = MYR_OUTPUT_VALUE;
    MYR_TRY(answers_make(row_count, MYR_OUTPUT_VALUE, fleet->info->output_count, arena, &out, &answers, err));
    MYR_TRY(myr_score(fleet->scorer, scratch, &values, &out, err));
    for (size_t i = 0; i < row_count; i++) {
        if (answers.model_idxs[i] == MYR_PACK_NONE) continue;
        if (i > 0 && answers.model_idxs[i] == answers.model_idxs[i - 1]) continue;
        size_t width = myr_scorer_width(fleet->scorer, answers.model_idxs[i], MYR_OUTPUT_LEAF);
        if (width > widest) widest = width;
        if (width == 0 && answers.statuses[i] == MYR_ROW_OK) {
            MYR_TRY(myr_scorer_check_output(fleet->scorer, answers.model_idxs[i], MYR_OUTPUT_LEAF, &width, err));
        }
    }
    *out_width = widest > 0 ? (uint32_t)widest : 1; /* no row has a model: their statuses are the answer */
    return MYR_OK;
}

myr_rc myr_fleet_answer_rows(const myr_fleet *fleet, myr_score_scratch *scratch, const myr_score_rows *asked,
                             myr_arena *arena, myr_answers *out, myr_err *err)
{
    myr_score_rows rows = *asked;
    size_t width = 0;
    if (rows.output == MYR_OUTPUT_LEAF && rows.fixed_model == MYR_PACK_NONE) {
        MYR_TRY(myr_fleet_leaf_width(fleet, scratch, &rows, arena, &rows.leaf_width, err));
        width = rows.leaf_width;
    } else {
        MYR_TRY(myr_scorer_check_output(fleet->scorer, rows.fixed_model, rows.output, &width, err));
    }
    myr_score_out scored;
    myr_answers answers;
    MYR_TRY(answers_make((size_t)rows.row_count, rows.output, width, arena, &scored, &answers, err));
    MYR_TRY(myr_score(fleet->scorer, scratch, &rows, &scored, err));
    *out = answers;
    return MYR_OK;
}

myr_rc myr_fleet_score_json(const myr_fleet *fleet, myr_score_scratch *scratch, const myr_score_rows *rows,
                            myr_arena *arena, myr_buf *out, myr_err *err)
{
    myr_answers answers;
    MYR_TRY(myr_fleet_answer_rows(fleet, scratch, rows, arena, &answers, err));
    MYR_TRY(myr_buf_check(out, err));
    size_t start = out->size;
    myr_rc rc = MYR_OK;
    for (size_t i = 0; rc == MYR_OK && i < (size_t)rows->row_count; i++) {
        if (i > 0) myr_buf_putc(out, ',');
        rc = myr_fleet_put_answer(fleet, &answers, i, arena, out, err);
    }
    if (rc == MYR_OK) rc = myr_buf_check(out, err);
    if (rc == MYR_OK) return MYR_OK;
    out->size = start; /* untouched on failure */
    out->failed = false;
    if (out->data != NULL) out->data[start] = '\0';
    return rc;
}
