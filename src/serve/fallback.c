/*
 * Rows that their own model may not answer go to the next level of the chain: gathered, predicted, checked, put back;
 * again for those that are still refused, until no level is left.
 */
#include "serve/internal.h"

#include <string.h>

/* Some rows of a work, as a work of their own. */
typedef struct fallback_rows {
    size_t *idxs; /* ascending: row i of `work` is row idxs[i] of the request */
    size_t count;
    serve_work work;
} fallback_rows;

/* Copy the cells of some rows, side by side. */
static bool fallback_gather(const serve_work *work, const size_t *idxs, size_t count, const myr_col *from,
                            int64_t stride, myr_col *to)
{
    size_t width = from->type == MYR_COL_TEXT ? sizeof(myr_str) : sizeof(double);
    char *cells = myr_arena_alloc(work->arena, count * width);
    uint8_t *valid = from->valid != NULL ? myr_arena_alloc(work->arena, count) : NULL;
    const char *base = (const char *)from->data.f64; /* of whatever type: all members of the union are pointers */
    if (cells == NULL || (from->valid != NULL && valid == NULL)) return false;
    int64_t step = from->type == MYR_COL_DOUBLE ? stride : 1;
    for (size_t i = 0; i < count; i++) {
        memcpy(cells + i * width, base + (int64_t)idxs[i] * step * (int64_t)width, width);
        if (valid != NULL) valid[i] = from->valid[idxs[i]];
    }
    *to = *from;
    to->valid = valid;
    to->data.f64 = (const double *)(const void *)cells;
    return true;
}

myr_rc myr_serve_work_pick(const serve_work *work, const size_t *idxs, size_t count, serve_work *out, myr_err *err)
{
    const myr_pack_info *info = work->bound->fleet->info;
    int64_t stride = work->rows.feature_stride != 0 ? work->rows.feature_stride : 1;
    myr_col *keys = myr_arena_alloc(work->arena, ((size_t)info->keys.column_count + 1) * sizeof *keys);
    myr_col *features = myr_arena_alloc(work->arena, ((size_t)info->feature_count + 1) * sizeof *features);
    bool is_whole = keys != NULL && features != NULL;
    for (uint32_t i = 0; is_whole && i < info->keys.column_count; i++)
        is_whole = fallback_gather(work, idxs, count, &work->rows.keys[i], 1, &keys[i]);
    for (uint32_t i = 0; is_whole && i < info->feature_count; i++)
        is_whole = fallback_gather(work, idxs, count, &work->rows.features[i], stride, &features[i]);
    if (!is_whole) MYR_FAIL(err, NO_MEMORY, "out of memory for %zu rows that are scored again", count);
    *out = *work;
    out->rows.row_count = (int64_t)count;
    out->rows.keys = keys;
    out->rows.features = features;
    out->rows.feature_stride = 0;
    out->marks = NULL;
    out->notes = NULL;
    out->any_leaves = false; /* as wide as the columns that are there */
    return MYR_OK;
}

static myr_rc fallback_begin(const serve_work *work, fallback_rows *rows, myr_err *err)
{
    *rows = (fallback_rows){0};
    rows->idxs = myr_arena_alloc(work->arena, (size_t)work->rows.row_count * sizeof *rows->idxs);
    if (rows->idxs == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for rows that fall back");
    for (size_t i = 0; i < (size_t)work->rows.row_count; i++) {
        bool falls = (work->marks[i] & SERVE_ROW_FALLS) != 0 && (work->marks[i] & ~SERVE_ROW_FALLS) == 0;
        if (falls) rows->idxs[rows->count++] = i;
    }
    return rows->count > 0 ? myr_serve_work_pick(work, rows->idxs, rows->count, &rows->work, err) : MYR_OK;
}

void myr_serve_work_put(serve_work *work, size_t row_idx, const serve_work *picked, size_t i)
{
    work->model_idxs[row_idx] = picked->model_idxs[i];
    work->levels[row_idx] = picked->levels[i];
    work->statuses[row_idx] = picked->statuses[i];
    for (uint32_t k = 0; k < work->output_count; k++) {
        for (uint32_t w = 0; w < work->answers[k].width; w++)
            work->answers[k].values[w][row_idx] = picked->answers[k].values[w][i];
    }
}

/* What one level said of row i. A new note of it is of no use: the first reason stands. */
static myr_rc fallback_settle(serve_work *work, const fallback_rows *rows, size_t i, bool *out_again, myr_err *err)
{
    size_t row = rows->idxs[i];
    const serve_work *level = &rows->work;
    *out_again = level->marks != NULL && (level->marks[i] & SERVE_ROW_FALLS) != 0;
    if (*out_again) return MYR_OK;
    work->marks[row] &= (uint8_t)~SERVE_ROW_FALLS;
    if (level->statuses[i] == MYR_ROW_NO_MODEL && work->statuses[row] == MYR_ROW_UNAVAILABLE) {
        return myr_serve_work_mark_row(work, row, SERVE_ROW_LAST, err);
    }
    if (level->statuses[i] == MYR_ROW_NO_MODEL || (level->marks != NULL && level->marks[i] != 0)) {
        return myr_serve_work_mark_row(work, row, SERVE_ROW_REJECTED | SERVE_ROW_LAST, err);
    }
    myr_serve_work_put(work, row, level, i); /* in the place of what was there */
    return MYR_OK;
}

/* Ask the level that is `skip` models further. */
static myr_rc fallback_level(serve_work *work, uint32_t skip, bool *out_again, myr_err *err)
{
    fallback_rows rows;
    MYR_TRY(fallback_begin(work, &rows, err));
    *out_again = false;
    if (rows.count == 0) return MYR_OK;
    rows.work.rows.skip_models = skip;
    MYR_TRY(myr_serve_work_infer(&rows.work, err));
    work->wants_compute = rows.work.wants_compute;
    if (work->wants_compute)
        return MYR_OK; /* not all of it was predicted: the request begins anew where it may block */
    MYR_TRY(myr_serve_check_outputs(&rows.work, err));
    work->trouble = rows.work.trouble;
    for (size_t i = 0; i < rows.count; i++) {
        bool again = false;
        MYR_TRY(fallback_settle(work, &rows, i, &again, err));
        *out_again = *out_again || again;
    }
    return MYR_OK;
}

myr_rc myr_serve_fall_back(serve_work *work, myr_err *err)
{
    bool again = work->marks != NULL;
    for (uint32_t skip = 1; again && skip <= MYR_PARTITION_COLUMNS_MAX + 1; skip++)
        MYR_TRY(fallback_level(work, skip, &again, err));
    for (size_t i = 0; again && i < (size_t)work->rows.row_count; i++) {
        if ((work->marks[i] & SERVE_ROW_FALLS) != 0) work->marks[i] = SERVE_ROW_REJECTED | SERVE_ROW_LAST;
    }
    return MYR_OK;
}
