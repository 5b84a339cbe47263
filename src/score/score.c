/*
 * THE scoring path. Rows are taken in chunks, grouped by model, copied row-major into small blocks and predicted;
 * answers go back to where their rows stood. All memory is taken before the first answer is written, so a call that
 * fails wrote none.
 */
#include "score/score_inside.h"

#include <math.h>
#include <string.h>

/* ---- names ---- */

const char *myr_level_name(myr_level level)
{
    static const char *const names[] = {"none", "segment", "parent", "global", "stored"};
    _Static_assert(MYR_COUNT_OF(names) == MYR_LEVEL_COUNT, "a name per level");
    return (unsigned)level < MYR_LEVEL_COUNT ? names[level] : names[MYR_LEVEL_NONE];
}

const char *myr_row_status_name(myr_row_status status)
{
    static const char *const names[] = {"ok",          "no_model",  "bad_key",  "broken_model", "bad_input",
                                        "unavailable", "no_output", "rejected", "failed"};
    _Static_assert(MYR_COUNT_OF(names) == MYR_ROW_STATUS_COUNT, "a name per status");
    MYR_ASSERT((unsigned)status < MYR_ROW_STATUS_COUNT); /* statuses are only ever made here */
    return names[status];
}

/* ---- the scorer ---- */

myr_rc myr_scorer_new(const myr_pack *pack, myr_scorer **out, myr_err *err)
{
    myr_scorer *scorer = myr_calloc(1, sizeof *scorer);
    if (scorer == NULL) {
        MYR_FAIL(err, NO_MEMORY, "no memory for a scorer");
    }
    scorer->pack = pack;
    scorer->info = myr_pack_get_info(pack);
    scorer->chain_count = myr_key_chain(&scorer->info->keys, scorer->chain);
    *out = scorer;
    return MYR_OK;
}

myr_rc myr_scorer_new_single(const myr_model *model, const myr_pack_info *info, myr_scorer **out, myr_err *err)
{
    MYR_ASSERT(model != NULL && info->model_count == 1 && info->keys.column_count == 0);
    myr_scorer *scorer = myr_calloc(1, sizeof *scorer);
    if (scorer == NULL) {
        MYR_FAIL(err, NO_MEMORY, "no memory for a scorer");
    }
    scorer->single = model;
    scorer->info = info;
    *out = scorer;
    return MYR_OK;
}

void myr_scorer_free(myr_scorer *scorer)
{
    myr_free(scorer);
}

const myr_pack *myr_scorer_pack(const myr_scorer *scorer)
{
    return scorer->pack;
}

myr_rc myr_score_model_name(const myr_scorer *scorer, uint32_t model_idx, myr_buf *out, myr_err *err)
{
    myr_pack_entry entry;
    MYR_TRY(myr_buf_check(out, err));
    if (scorer->single != NULL) return MYR_OK; /* a file's model has no fleet, so no name */
    MYR_TRY(myr_pack_get_entry(scorer->pack, model_idx, &entry, err));
    size_t start = out->size;
    myr_buf_puts(out, scorer->info->fleet); /* in place: a buffer of its own would be a heap block per name */
    myr_buf_putc(out, '@');
    myr_rc rc = myr_key_text(&scorer->info->keys, entry.key, entry.key_bytes, out, err);
    if (rc == MYR_OK) return MYR_OK;
    out->size = start; /* untouched on failure */
    out->failed = false;
    if (out->data != NULL) out->data[start] = '\0';
    return rc;
}

myr_rc myr_score_model_name_kept(const myr_scorer *scorer, uint32_t model_idx, myr_arena *arena, myr_str *names,
                                 myr_str *out, myr_err *err)
{
    myr_str *name = &names[model_idx];
    if (name->data == NULL) {
        MYR_AUTO(myr_buf) text = {0};
        MYR_TRY(myr_score_model_name(scorer, model_idx, &text, err));
        MYR_TRY(myr_buf_check(&text, err));
        const char *copy = myr_arena_strndup(arena, text.data, text.size);
        if (copy == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a model's name");
        *name = myr_str_make(copy, text.size);
    }
    *out = *name;
    return MYR_OK;
}

/* ---- what a call is asked ---- */

static myr_rc score_check_keys(const myr_scorer *scorer, const myr_score_rows *rows, myr_err *err)
{
    const myr_key_schema *schema = &scorer->info->keys;
    for (uint32_t i = 0; i < schema->column_count; i++) {
        const myr_col *col = rows->keys == NULL ? NULL : &rows->keys[i];
        if (col == NULL || col->data.f64 == NULL) {
            MYR_FAIL(err, BAD_INPUT, "the partition column '%s' is missing", schema->columns[i].name);
        }
        if (col->type != MYR_COL_DOUBLE && col->type != MYR_COL_INT64 && col->type != MYR_COL_TEXT) {
            MYR_FAIL(err, BAD_INPUT, "the partition column '%s' has cells of unknown type %d", schema->columns[i].name,
                     (int)col->type);
        }
    }
    return MYR_OK;
}

static myr_rc score_check(const myr_scorer *scorer, const myr_score_rows *rows, bool *out_has_text, myr_err *err)
{
    const myr_pack_info *info = scorer->info;
    if (rows->row_count < 0) {
        MYR_FAIL(err, BAD_INPUT, "%lld rows", (long long)rows->row_count);
    }
    if (rows->row_count == 0) return MYR_OK;
    if (rows->fixed_model != MYR_PACK_NONE && rows->fixed_model >= info->model_count) {
        MYR_FAIL(err, BAD_INPUT, "there is no model %u, the pack has %u", rows->fixed_model, info->model_count);
    }
    if (rows->fixed_model == MYR_PACK_NONE) {
        MYR_TRY(score_check_keys(scorer, rows, err));
    }
    for (uint32_t i = 0; i < info->feature_count; i++) {
        const myr_col *col = rows->features == NULL ? NULL : &rows->features[i];
        if (col == NULL || col->data.f64 == NULL) {
            MYR_FAIL(err, BAD_INPUT, "the feature '%s' is missing", info->features[i]);
        }
        if (col->type == MYR_COL_TEXT) {
            *out_has_text = true;
        } else if (col->type != MYR_COL_DOUBLE) {
            MYR_FAIL(err, BAD_INPUT, "the feature '%s' is neither a column of doubles nor of texts", info->features[i]);
        }
    }
    return MYR_OK;
}

/* ---- one group ---- */

/* What stays the same during a call. */
typedef struct score_call {
    const myr_scorer *scorer;
    myr_score_scratch *scratch;
    const myr_score_rows *rows;
    const myr_score_out *out;
    uint32_t block_rows;
    int64_t first_row;    /* of the chunk */
    int64_t stride;       /* of features, in doubles */
    const double *matrix; /* features that lie side by side in rows: predicted in place; or NULL */
    bool has_text;        /* some feature is a column of texts */
    uint32_t width;       /* values per row */
} score_call;

/* The same model, level and status for all rows of a group; NaN unless ok. */
static void score_fill(const score_call *call, const score_group *group, uint32_t model_idx, myr_level level,
                       myr_row_status status)
{
    const uint32_t *order = call->scratch->order + group->first;
    const myr_score_out *out = call->out;
    for (uint32_t i = 0; i < group->count; i++) {
        int64_t row_idx = call->first_row + order[i];
        if (out->model_idxs != NULL) {
            out->model_idxs[row_idx] = model_idx;
        }
        if (out->levels != NULL) {
            out->levels[row_idx] = (uint8_t)level;
        }
        if (out->statuses != NULL) {
            out->statuses[row_idx] = (uint8_t)status;
        }
        for (uint32_t k = 0; status != MYR_ROW_OK && k < call->width; k++) {
            out->values[k][row_idx] = NAN;
        }
    }
}

/* Do the features lie side by side in rows, as the kernels read them? Then the caller's memory is a block already. */
static const double *score_matrix(const myr_score_rows *rows, uint32_t feature_count, int64_t stride)
{
    if (feature_count == 0 || stride < (int64_t)feature_count) return NULL;
    for (uint32_t j = 0; j < feature_count; j++) {
        const myr_col *col = &rows->features[j];
        if (col->type != MYR_COL_DOUBLE || col->valid != NULL || col->data.f64 != rows->features[0].data.f64 + j) {
            return NULL;
        }
    }
    return rows->features[0].data.f64;
}

/* Copy the features of some rows, side by side; columns of texts are left out. */
static void score_gather(const score_call *call, const uint32_t *order, uint32_t row_count)
{
    uint32_t feature_count = call->scorer->info->feature_count;
    for (uint32_t j = 0; j < feature_count; j++) {
        const myr_col *col = &call->rows->features[j];
        if (col->type == MYR_COL_TEXT) continue;
        const double *cells = col->data.f64 + call->first_row * call->stride;
        const uint8_t *valid = col->valid == NULL ? NULL : col->valid + call->first_row;
        double *at = call->scratch->block + j;
        for (uint32_t i = 0; i < row_count; i++, at += feature_count) {
            *at = valid != NULL && valid[order[i]] == 0 ? NAN : cells[(int64_t)order[i] * call->stride];
        }
    }
}

/* The columns of texts, as this model's codes. done: of the group's rows, how many came before. */
static void score_gather_texts(const score_call *call, const myr_model *model, const uint32_t *order, uint32_t done,
                               uint32_t row_count)
{
    score_text text = {.names = myr_model_names(model),
                       .features = call->rows->features,
                       .feature_count = call->scorer->info->feature_count,
                       .first_row = call->first_row};
    for (uint32_t j = 0; j < text.feature_count; j++) {
        if (text.features[j].type != MYR_COL_TEXT) continue;
        myr_score_gather_text(&text, j, order + done, row_count, call->scratch->block + j,
                              call->scratch->is_bad + done);
    }
}

/* model_width: values per row of this model, call->width but for leaves of fewer trees. */
static void score_scatter(const score_call *call, const uint32_t *order, uint32_t row_count, size_t model_width)
{
    for (uint32_t k = 0; k < call->width; k++) {
        double *column = call->out->values[k] + call->first_row;
        const double *value = call->scratch->values + k;
        for (uint32_t i = 0; i < row_count; i++, value += model_width) {
            column[order[i]] = k < model_width ? score_plain(*value) : (double)NAN;
        }
    }
}

/* One block. Only outputs other than the value can fail, and only the deepest trees' contributions: no memory. */
static bool score_block(const score_call *call, const myr_model *model, const double *block, size_t stride,
                        uint32_t row_count)
{
    if (call->rows->output == MYR_OUTPUT_VALUE) {
        myr_model_predict(model, block, stride, row_count, call->scratch->values);
        return true;
    }
    return myr_model_predict_as(model, call->rows->output, block, stride, row_count, call->scratch->values, NULL) ==
           MYR_OK;
}

/* Values per row of a model, or 0 if they are not as many as the call asks for. */
static size_t score_model_width(const score_call *call, const myr_model *model)
{
    if (call->rows->output == MYR_OUTPUT_VALUE) return call->width;
    size_t width = myr_model_width(model, call->rows->output);
    bool is_free = call->rows->output == MYR_OUTPUT_LEAF && call->rows->leaf_width > 0;
    return width == call->width || (is_free && width < call->width) ? width : 0;
}

/* What becomes of the rows, if the model stays sound. */
static myr_row_status score_predict(const score_call *call, const score_group *group, const myr_model *model)
{
    size_t width = score_model_width(call, model);
    if (width == 0) return MYR_ROW_NO_OUTPUT;
    const uint32_t *order = call->scratch->order + group->first;
    if (call->has_text) memset(call->scratch->is_bad, 0, group->count);
    for (uint32_t done = 0; done < group->count;) {
        uint32_t row_count = group->count - done;
        row_count = row_count < call->block_rows ? row_count : call->block_rows;
        const double *block = call->scratch->block;
        size_t stride = call->scorer->info->feature_count;
        /* Rows of a model ascend: if the last is so far from the first as there are rows, none is missing between. */
        if (call->matrix != NULL && order[done + row_count - 1] - order[done] == row_count - 1) {
            block = call->matrix + (call->first_row + order[done]) * call->stride;
            stride = (size_t)call->stride;
        } else {
            score_gather(call, order + done, row_count);
            if (call->has_text) score_gather_texts(call, model, order, done, row_count);
        }
        if (!score_block(call, model, block, stride, row_count)) return MYR_ROW_UNAVAILABLE;
        score_scatter(call, order + done, row_count, width);
        done += row_count;
    }
    return MYR_ROW_OK;
}

/* After a group was predicted and filled in: its bad rows have no values. */
static void score_clear_bad(const score_call *call, const score_group *group)
{
    const uint32_t *order = call->scratch->order + group->first;
    for (uint32_t i = 0; i < group->count; i++) {
        if (call->scratch->is_bad[i] == 0) continue;
        for (uint32_t k = 0; k < call->width; k++)
            call->out->values[k][call->first_row + order[i]] = NAN;
    }
    myr_score_mark_bad(call->scratch, call->out, call->first_row, group);
}

static void score_external_run(const score_call *call, const score_group *group, const myr_model *model,
                               myr_level level)
{
    if (score_model_width(call, model) == 0) {
        score_fill(call, group, group->code, level, MYR_ROW_NO_OUTPUT);
        return;
    }
    myr_row_status status =
        myr_score_runner_run(call->scorer, call->scratch, call->rows, call->out, call->first_row, group, model);
    score_fill(call, group, group->code, level, status);
    if (status == MYR_ROW_OK) myr_score_mark_bad(call->scratch, call->out, call->first_row, group);
}

static void score_single_run(const score_call *call, const score_group *group)
{
    if (myr_model_is_external(call->scorer->single)) {
        score_external_run(call, group, call->scorer->single, MYR_LEVEL_GLOBAL);
        return;
    }
    myr_row_status status = score_predict(call, group, call->scorer->single);
    score_fill(call, group, 0, MYR_LEVEL_GLOBAL, status);
    if (status == MYR_ROW_OK && call->has_text) score_clear_bad(call, group);
}

static void score_group_run(const score_call *call, const score_group *group)
{
    switch (group->code) {
    case SCORE_CODE_NO_MODEL:
        score_fill(call, group, MYR_PACK_NONE, MYR_LEVEL_NONE, MYR_ROW_NO_MODEL);
        return;
    case SCORE_CODE_BAD_KEY:
        score_fill(call, group, MYR_PACK_NONE, MYR_LEVEL_NONE, MYR_ROW_BAD_KEY);
        return;
    case SCORE_CODE_DAMAGED:
        score_fill(call, group, MYR_PACK_NONE, MYR_LEVEL_NONE, MYR_ROW_BROKEN_MODEL);
        return;
    default:
        break;
    }
    if (call->scorer->single != NULL) {
        score_single_run(call, group);
        return;
    }
    const myr_pack *pack = call->scorer->pack;
    uint64_t losses = myr_io_map_losses();
    myr_pack_entry entry;
    myr_level level = MYR_LEVEL_NONE;
    const myr_model *model = NULL;
    myr_rc rc = myr_pack_get_entry(pack, group->code, &entry, NULL);
    if (rc == MYR_OK) {
        level = myr_score_level_of(call->scorer, entry.key_columns);
        rc = myr_pack_model(pack, group->code, &model, NULL);
    }
    if (rc == MYR_OK && myr_model_is_external(model)) {
        score_external_run(call, group, model, level);
        return;
    }
    myr_row_status status = MYR_ROW_BROKEN_MODEL;
    if (rc == MYR_OK) {
        status = score_predict(call, group, model);
    }
    if (myr_io_map_losses() != losses) status = MYR_ROW_BROKEN_MODEL; /* it may have walked zeros */
    score_fill(call, group, group->code, level, status);
    if (status == MYR_ROW_OK && call->has_text) score_clear_bad(call, group);
}

/* ---- the call ---- */

/* Many groups are one row each: then most of the time would be waiting for the next model's bytes. */
static void score_prefetch(const myr_scorer *scorer, uint32_t code)
{
    if (scorer->pack != NULL && code < scorer->info->model_count) myr_pack_prefetch(scorer->pack, code);
}

static uint32_t score_block_rows(size_t row_doubles)
{
    uint32_t rows = (uint32_t)(SCORE_BLOCK_DOUBLES / (row_doubles == 0 ? 1 : row_doubles));
    if (rows == 0) return 1;
    return rows < SCORE_BLOCK_ROWS ? rows : SCORE_BLOCK_ROWS;
}

myr_rc myr_score(const myr_scorer *scorer, myr_score_scratch *scratch, const myr_score_rows *rows,
                 const myr_score_out *out, myr_err *err)
{
    MYR_ASSERT(scratch != NULL && out->values != NULL);
    bool has_text = false;
    MYR_TRY(score_check(scorer, rows, &has_text, err));
    myr_score_runner_begin(scratch);
    if (rows->row_count == 0) return MYR_OK;
    const myr_pack_info *info = scorer->info;
    uint32_t chunk_rows = rows->row_count < SCORE_CHUNK_ROWS ? (uint32_t)rows->row_count : SCORE_CHUNK_ROWS;
    size_t width = 0;
    if (rows->output == MYR_OUTPUT_LEAF && rows->leaf_width > 0) {
        width = rows->leaf_width;
    } else {
        MYR_TRY(myr_scorer_check_output(scorer, rows->fixed_model, rows->output, &width, err));
    }
    uint32_t block_rows = score_block_rows(width > info->feature_count ? width : info->feature_count);
    block_rows = block_rows < chunk_rows ? block_rows : chunk_rows;
    MYR_TRY(myr_score_scratch_reserve(scratch, chunk_rows, (size_t)block_rows * info->feature_count, block_rows * width,
                                      err));
    if (has_text && !myr_score_bad_reserve(scratch, chunk_rows)) {
        MYR_FAIL(err, NO_MEMORY, "no memory to score %u rows", chunk_rows);
    }
    int64_t stride = rows->feature_stride == 0 ? 1 : rows->feature_stride;
    score_call call = {.scorer = scorer,
                       .scratch = scratch,
                       .rows = rows,
                       .out = out,
                       .block_rows = block_rows,
                       .stride = stride,
                       .matrix = score_matrix(rows, info->feature_count, stride),
                       .has_text = has_text,
                       .width = (uint32_t)width};
    while (call.first_row < rows->row_count) {
        int64_t left = rows->row_count - call.first_row;
        uint32_t row_count = left < chunk_rows ? (uint32_t)left : chunk_rows;
        myr_score_group_rows(scratch, scorer, rows, call.first_row, row_count);
        score_prefetch(scorer, scratch->groups[0].code);
        for (uint32_t g = 0; g < scratch->group_count; g++) {
            if (g + 1 < scratch->group_count) score_prefetch(scorer, scratch->groups[g + 1].code);
            score_group_run(&call, &scratch->groups[g]);
        }
        call.first_row += row_count;
    }
    return MYR_OK;
}
