/*
 * THE scoring path. Rows are taken in chunks, grouped by model, copied row-major into small blocks and predicted;
 * answers go back to where their rows stood. All memory is taken before the first answer is written, so a call that
 * fails wrote none.
 */
#include "score/score_inside.h"

#include <math.h>
#include <string.h>

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

/* Do rows of a model lie one after the other? They ascend: if the last is so far from the first as there are rows, none
 * is missing between. */
static bool score_is_run(const uint32_t *order, uint32_t row_count)
{
    return order[row_count - 1] - order[0] == row_count - 1;
}

/* Copy the features of some rows to `block`, side by side; columns of texts are left out. */
static void score_gather(const score_call *call, const uint32_t *order, uint32_t row_count, double *block)
{
    uint32_t feature_count = call->scorer->info->feature_count;
    bool is_run = score_is_run(order, row_count);
    for (uint32_t j = 0; j < feature_count; j++) {
        const myr_col *col = &call->rows->features[j];
        if (col->type == MYR_COL_TEXT) continue;
        const double *cells = col->data.f64 + call->first_row * call->stride;
        const uint8_t *valid = col->valid == NULL ? NULL : col->valid + call->first_row;
        double *at = block + j;
        if (is_run && valid == NULL && call->stride == 1) { /* a table's columns, sorted by model */
            for (uint32_t i = 0; i < row_count; i++)
                at[(size_t)i * feature_count] = cells[order[0] + i];
            continue;
        }
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

/* Rows that lie one after the other in the caller's memory: theirs, and *stride set. NULL: they have to be gathered. */
static const double *score_in_place(const score_call *call, const uint32_t *order, uint32_t row_count, size_t *stride)
{
    if (call->matrix == NULL || !score_is_run(order, row_count)) return NULL;
    *stride = (size_t)call->stride;
    return call->matrix + (call->first_row + order[0]) * call->stride;
}

/* model_width: values per row of this model, call->width but for leaves of fewer trees. */
static void score_scatter(const score_call *call, const uint32_t *order, uint32_t row_count, const double *values,
                          size_t model_width)
{
    for (uint32_t k = 0; k < call->width; k++) {
        double *column = call->out->values[k] + call->first_row;
        const double *value = values + k;
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
        size_t stride = call->scorer->info->feature_count;
        const double *block = score_in_place(call, order + done, row_count, &stride);
        if (block == NULL) {
            block = call->scratch->block;
            score_gather(call, order + done, row_count, call->scratch->block);
            if (call->has_text) score_gather_texts(call, model, order, done, row_count);
        }
        if (!score_block(call, model, block, stride, row_count)) return MYR_ROW_UNAVAILABLE;
        score_scatter(call, order + done, row_count, call->scratch->values, width);
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

/* Groups without a model: their rows get a status and nothing more. False: it has one. */
static bool score_fill_without(const score_call *call, const score_group *group)
{
    switch (group->code) {
    case SCORE_CODE_NO_MODEL:
        score_fill(call, group, MYR_PACK_NONE, MYR_LEVEL_NONE, MYR_ROW_NO_MODEL);
        return true;
    case SCORE_CODE_BAD_KEY:
        score_fill(call, group, MYR_PACK_NONE, MYR_LEVEL_NONE, MYR_ROW_BAD_KEY);
        return true;
    case SCORE_CODE_DAMAGED:
        score_fill(call, group, MYR_PACK_NONE, MYR_LEVEL_NONE, MYR_ROW_BROKEN_MODEL);
        return true;
    default:
        return false;
    }
}

/* The pack's model of a group. */
typedef struct score_found {
    const myr_model *model; /* NULL: it is broken */
    size_t model_bytes;
    myr_level level;
} score_found;

static score_found score_find(const score_call *call, const score_group *group)
{
    const myr_pack *pack = call->scorer->pack;
    score_found found = {.level = MYR_LEVEL_NONE};
    myr_pack_entry entry;
    if (myr_pack_get_entry(pack, group->code, &entry, NULL) != MYR_OK) return found;
    found.model_bytes = entry.model_bytes;
    found.level = myr_score_level_of(call->scorer, entry.key_columns);
    if (myr_pack_model(pack, group->code, &found.model, NULL) != MYR_OK) found.model = NULL;
    return found;
}

/* A group alone. */
static void score_group_run(const score_call *call, const score_group *group)
{
    uint64_t losses = myr_io_map_losses();
    score_found found = score_find(call, group);
    if (found.model != NULL && myr_model_is_external(found.model)) {
        score_external_run(call, group, found.model, found.level);
        return;
    }
    myr_row_status status = MYR_ROW_BROKEN_MODEL;
    if (found.model != NULL) status = score_predict(call, group, found.model);
    if (myr_io_map_losses() != losses) status = MYR_ROW_BROKEN_MODEL; /* it may have walked zeros */
    score_fill(call, group, group->code, found.level, status);
    if (status == MYR_ROW_OK && call->has_text) score_clear_bad(call, group);
}

/* ---- small groups together ---- */

#define SCORE_RUNS_MAX 64
#define SCORE_RUN_ROWS 16 /* of a group that waits for others: its model's bytes take longer than its rows */

/* Groups of few rows each, gathered and waiting to be predicted in one go. */
typedef struct score_runs {
    uint32_t count, rows;
    uint64_t losses; /* of mappings, when the first came */
    myr_model_run runs[SCORE_RUNS_MAX];
    const score_group *groups[SCORE_RUNS_MAX];
    myr_level levels[SCORE_RUNS_MAX];
} score_runs;

static void score_runs_finish(const score_call *call, score_runs *waiting)
{
    myr_model_predict_runs(waiting->runs, waiting->count);
    bool lost = waiting->count > 0 && myr_io_map_losses() != waiting->losses; /* some may have walked zeros */
    for (uint32_t i = 0; i < waiting->count; i++) {
        const score_group *group = waiting->groups[i];
        if (lost) {
            score_group_run(call, group);
            continue;
        }
        score_scatter(call, call->scratch->order + group->first, group->count, waiting->runs[i].out_values,
                      call->width);
        score_fill(call, group, group->code, waiting->levels[i], MYR_ROW_OK);
    }
    waiting->count = waiting->rows = 0;
}

/* false: the group is not of a kind that waits. */
static bool score_runs_add(const score_call *call, score_runs *waiting, const score_group *group)
{
    if (group->count > SCORE_RUN_ROWS || call->has_text || call->rows->output != MYR_OUTPUT_VALUE) return false;
    if (waiting->count == SCORE_RUNS_MAX || waiting->rows + group->count > call->block_rows)
        score_runs_finish(call, waiting);
    if (group->count > call->block_rows) return false;
    if (waiting->count == 0) waiting->losses = myr_io_map_losses();
    score_found found = score_find(call, group);
    if (found.model == NULL || myr_model_is_external(found.model)) return false;
    const uint32_t *order = call->scratch->order + group->first;
    size_t stride = call->scorer->info->feature_count;
    const double *rows = score_in_place(call, order, group->count, &stride);
    if (rows == NULL) {
        double *block = call->scratch->block + waiting->rows * stride;
        score_gather(call, order, group->count, block);
        rows = block;
    }
    waiting->runs[waiting->count] =
        (myr_model_run){found.model, found.model_bytes, rows,
                        stride,      group->count,      call->scratch->values + (size_t)waiting->rows * call->width};
    waiting->groups[waiting->count] = group;
    waiting->levels[waiting->count++] = found.level;
    waiting->rows += group->count;
    return true;
}

static void score_groups_run(const score_call *call)
{
    score_runs waiting;
    waiting.count = waiting.rows = 0;
    /* The first model's bytes are nobody's: those of the others are asked for while the one before answers. */
    if (call->scorer->pack != NULL) myr_pack_prefetch(call->scorer->pack, call->scratch->groups[0].code);
    for (uint32_t g = 0; g < call->scratch->group_count; g++) {
        const score_group *group = &call->scratch->groups[g];
        if (score_fill_without(call, group)) continue;
        if (call->scorer->single != NULL) {
            score_single_run(call, group);
        } else if (!score_runs_add(call, &waiting, group)) {
            score_runs_finish(call, &waiting); /* it needs the block */
            if (g + 1 < call->scratch->group_count)
                myr_pack_prefetch(call->scorer->pack, call->scratch->groups[g + 1].code);
            score_group_run(call, group);
        }
    }
    score_runs_finish(call, &waiting);
}

/* ---- the call ---- */

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
        score_groups_run(&call);
        call.first_row += row_count;
    }
    return MYR_OK;
}
