/*
 * Prediction: the base margins, plus what the trees (in lanes or as nodes) or the linear terms add, averaged if the
 * model says so, then transformed. Rows come in tiles, so that margins stay in the cache between the steps.
 *
 * The header is copied and its magic is read again after the copy: 64 bytes in one page, so the counts are all there or
 * the call does nothing, also when the mapping turns to zeros after the check.
 */
#include <math.h>
#include <string.h>

#include "model/large.h"

#define PREDICT_PREFETCH_MAX 131072 /* a second-level cache holds this and the present model */

typedef struct predict_ctx {
    model_header h;
    const unsigned char *bytes;
    const double *bases;
    bool lanes, large;
} predict_ctx;

/* A copy of the header that is whole. */
static bool predict_open(const myr_model *model, predict_ctx *c)
{
    const unsigned char *bytes = (const unsigned char *)model;
    memcpy(&c->h, bytes, sizeof c->h);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    uint32_t magic = __atomic_load_n((const uint32_t *)(const void *)bytes, __ATOMIC_RELAXED);
    if (magic != MODEL_MAGIC || c->h.magic != MODEL_MAGIC) return false;
    c->bytes = bytes;
    c->lanes = (c->h.flags & MODEL_LANES) != 0;
    c->large = (c->h.flags & MODEL_LARGE) != 0;
    if (c->large) {
        c->bases = myr_large_bases(&c->h, bytes);
        return c->bases != NULL;
    }
    c->bases = (const double *)(bytes + (c->lanes ? lanes_bases_at(&c->h) : model_map_of(&c->h).bases_at));
    return true;
}

static void predict_average(const predict_ctx *c, double *margins, size_t count)
{
    if ((c->h.flags & MODEL_AVERAGE) == 0) return;
    for (size_t k = 0; k < count; k++) {
        margins[k] = c->h.calc == MYR_CALC_F32 ? (double)((float)margins[k] / (float)c->h.average_over)
                                               : margins[k] / (double)c->h.average_over;
    }
}

/* Margins of at most MODEL_TILE rows. */
static void predict_margins(const predict_ctx *c, const double *rows, size_t row_stride, size_t row_count,
                            lanes_ahead *ahead, double *margins)
{
    size_t width = c->h.margin_count;
    if (c->h.kind == MYR_MODEL_EXTERNAL) { /* only its runtime can say; whoever asks here gets no number */
        for (size_t k = 0; k < row_count * width; k++)
            margins[k] = (double)NAN;
        return;
    }
    for (size_t i = 0; i < row_count; i++) {
        for (size_t k = 0; k < width; k++) {
            margins[i * width + k] = c->bases[k];
        }
    }
    if (c->large) {
        myr_large_margins(&c->h, c->bytes, rows, row_stride, row_count, margins);
    } else if (c->lanes) {
        myr_lanes_margins(&c->h, c->bytes, rows, row_stride, row_count, ahead, margins);
    } else {
        myr_model_walk(&c->h, c->bytes, rows, row_stride, row_count, margins);
    }
    predict_average(c, margins, row_count * width);
}

void myr_model_margins(const myr_model *model, const double *rows, size_t row_stride, size_t row_count,
                       double *out_margins)
{
    predict_ctx c;
    if (!predict_open(model, &c)) return;
    MYR_ASSERT(row_count < 2 || row_stride >= c.h.column_count);
    for (size_t i = 0; i < row_count; i += MODEL_TILE) {
        size_t count = row_count - i < MODEL_TILE ? row_count - i : MODEL_TILE;
        predict_margins(&c, rows + i * row_stride, row_stride, count, NULL, out_margins + i * c.h.margin_count);
    }
}

/* Where values are fewer or more than margins, a few rows at a time pass through margins on the stack. */
static void predict_reshaped(const predict_ctx *c, const double *rows, size_t row_stride, size_t row_count,
                             lanes_ahead *ahead, double *out_values)
{
    double margins[MYR_OUTPUTS_MAX];
    size_t width = c->h.margin_count;
    size_t out_width = model_output_count(&c->h);
    size_t step = MYR_OUTPUTS_MAX / width;
    MYR_ASSERT(width >= 1 && step >= 1);
    if (step > MODEL_TILE) step = MODEL_TILE;
    for (size_t i = 0; i < row_count; i += step) {
        size_t count = row_count - i < step ? row_count - i : step;
        predict_margins(c, rows + i * row_stride, row_stride, count, ahead, margins);
        for (size_t k = 0; k < count; k++) {
            myr_model_transform(&c->h, margins + k * width, out_values + (i + k) * out_width);
        }
    }
}

static void predict_values(const predict_ctx *c, const double *rows, size_t row_stride, size_t row_count,
                           lanes_ahead *ahead, double *out_values)
{
    MYR_ASSERT(row_count < 2 || row_stride >= c->h.column_count);
    if (model_output_count(&c->h) != c->h.margin_count) {
        predict_reshaped(c, rows, row_stride, row_count, ahead, out_values);
        return;
    }
    for (size_t i = 0; i < row_count; i += MODEL_TILE) {
        size_t count = row_count - i < MODEL_TILE ? row_count - i : MODEL_TILE;
        double *values = out_values + i * c->h.margin_count;
        predict_margins(c, rows + i * row_stride, row_stride, count, ahead, values);
        for (size_t k = 0; c->h.transform != MYR_TRANSFORM_IDENTITY && k < count; k++) {
            myr_model_transform(&c->h, values + k * c->h.margin_count, values + k * c->h.margin_count);
        }
    }
}

void myr_model_predict(const myr_model *model, const double *rows, size_t row_stride, size_t row_count,
                       double *out_values)
{
    predict_ctx c;
    if (predict_open(model, &c)) predict_values(&c, rows, row_stride, row_count, NULL, out_values);
}

/* ---- runs of several models ---- */

/* A single row whose leaves were found and are on their way. */
typedef struct predict_pending {
    predict_ctx c;
    lanes_found found;
    double *out_values; /* NULL: there is none */
} predict_pending;

static void predict_finish(predict_pending *p)
{
    double margins[MYR_OUTPUTS_MAX];
    size_t width = p->c.h.margin_count;
    if (p->out_values == NULL) return;
    memcpy(margins, p->c.bases, width * sizeof *margins);
    myr_lanes_add(&p->found, margins);
    predict_average(&p->c, margins, width);
    myr_model_transform(&p->c.h, margins, p->out_values);
    p->out_values = NULL;
}

/* What one row of a model reads for sure stands in front, up to here; more rows read nearly all leaves too. */
static lanes_ahead predict_ahead(const myr_model_run *run)
{
    const char *bytes = (const char *)run->model;
    if (run->size_bytes > PREDICT_PREFETCH_MAX) return (lanes_ahead){bytes, bytes};
    return (lanes_ahead){bytes, bytes + (run->row_count > 1 ? run->size_bytes : run->size_bytes / 2)};
}

static void predict_run(const myr_model_run *run, lanes_ahead *ahead, predict_pending *slot)
{
    if (!predict_open(run->model, &slot->c)) return;
    if (run->row_count == 1 && slot->c.lanes &&
        myr_lanes_find(&slot->c.h, slot->c.bytes, run->rows, ahead, &slot->found)) {
        slot->out_values = run->out_values;
    } else {
        predict_values(&slot->c, run->rows, run->row_stride, run->row_count, ahead, run->out_values);
    }
}

void myr_model_predict_runs(const myr_model_run *runs, size_t run_count)
{
    predict_pending slots[2];
    if (run_count == 1) { /* nothing to do meanwhile: finding first and adding later costs 75 ns of 190 (measured) */
        myr_model_predict(runs->model, runs->rows, runs->row_stride, runs->row_count, runs->out_values);
        return;
    }
    slots[0].out_values = slots[1].out_values = NULL;
    for (size_t i = 0; i < run_count; i++) {
        lanes_ahead ahead = {(const char *)runs[i].model, (const char *)runs[i].model};
        if (i + 1 < run_count) {
            ahead = predict_ahead(&runs[i + 1]);
            if (runs[i + 1].row_count > 0) __builtin_prefetch(runs[i + 1].rows);
        }
        predict_run(&runs[i], &ahead, &slots[i % 2]);
        predict_finish(&slots[(i + 1) % 2]);
    }
    predict_finish(&slots[(run_count + 1) % 2]);
}

/* The leaves stand last and few of them are read: asking for them costs more than waiting for those few (measured). */
void myr_model_prefetch(const myr_model *model, size_t size_bytes)
{
    const char *bytes = (const char *)model;
    if (size_bytes > PREDICT_PREFETCH_MAX) return;
    for (size_t at = 0; at < size_bytes / 8 * 5; at += MYR_MODEL_ALIGN) {
        __builtin_prefetch(bytes + at, 0, 2);
    }
}

void myr_model_get_info(const myr_model *model, myr_model_info *out)
{
    predict_ctx c;
    memset(out, 0, sizeof *out);
    if (!predict_open(model, &c)) return;
    *out = (myr_model_info){.kind = (myr_model_kind)c.h.kind,
                            .calc = (myr_calc)c.h.calc,
                            .transform = (myr_transform)c.h.transform,
                            .column_count = c.h.column_count,
                            .margin_count = c.h.margin_count,
                            .output_count = model_output_count(&c.h),
                            .tree_count = c.h.tree_count,
                            .leaf_count = c.h.kind != MYR_MODEL_TREES ? 0
                                          : c.lanes || c.large        ? c.h.item_count
                                                                      : c.h.item_count / 2,
                            .size_bytes = c.h.size_bytes};
}
