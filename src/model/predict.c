/*
 * The plain evaluator: a walk is `slot = child + goes_right` until a node without child. Eight rows walk one tree side
 * by side, so that their loads overlap; each row still adds its leaves in tree order, which keeps results bit-equal
 * whatever the number of rows.
 *
 * Why every walk ends and stays inside, also when pages of the mapping turn to zeros after the check: the header is
 * copied and its magic is read again after the copy, so counts are all there or the call does nothing; a zero tree
 * entry names node 0 and output 0; a zero node is a leaf of value 0; a child is read once, and is 0 (the walk ends) or
 * lies behind its parent and within the tree; a zero column is column 0, which a model with splits has; zero set bounds
 * are an empty set, and every mixture of old and zero bounds lies within the words.
 */
#include <math.h>
#include <string.h>

#include "model/layout.h"

#define PREDICT_LANES 8   /* rows that walk side by side */
#define PREDICT_TILE  128 /* rows that pass a tree before the next one is read */

typedef struct predict_ctx {
    model_header h;
    const unsigned char *bytes;
    model_map map;
    const model_node *items;
    const uint32_t *words;
} predict_ctx;

/* A copy of the header that is whole: 64 bytes in one page, and the page was still there after it was read. */
static bool predict_open(const myr_model *model, predict_ctx *c)
{
    const unsigned char *bytes = (const unsigned char *)model;
    memcpy(&c->h, bytes, sizeof c->h);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    uint32_t magic = __atomic_load_n((const uint32_t *)(const void *)bytes, __ATOMIC_RELAXED);
    if (magic != MODEL_MAGIC || c->h.magic != MODEL_MAGIC) return false;
    c->bytes = bytes;
    c->map = model_map_of(&c->h);
    c->items = (const model_node *)(bytes + c->map.items_at);
    c->words = (const uint32_t *)(bytes + c->map.words_at);
    return true;
}

/* Is x in the set? Truncated toward zero; what is no category number is not in it. A NaN never comes here. */
static bool predict_in_set(const predict_ctx *c, model_set set, double x, bool single)
{
    double limit = (double)set.count * 32.0;
    bool from = single ? x >= 0.0 : x > -1.0; /* LightGBM truncates before it compares, XGBoost after */
    if (!from || !(x < limit) || set.count == 0) return false; /* -0.5 is below an empty set's limit too */
    uint32_t category = (uint32_t)(int32_t)x;                  /* -0.9 is 0; below 2^24, by the limit */
    return ((c->words[set.first + category / 32] >> (category % 32)) & 1u) != 0;
}

/* 0 = left, 1 = right, at a split with flags. */
static __attribute__((noinline)) uint32_t predict_special(const predict_ctx *c, const model_node *n, double x,
                                                          bool single)
{
    bool missing = isnan(x) || ((n->flags & NODE_ZERO) != 0 && x >= -MODEL_ZERO && x <= MODEL_ZERO);
    if (missing) return (n->flags & NODE_NAN_LEFT) == 0;
    if ((n->flags & NODE_CATEGORY) == 0) return !(x <= n->u.value);
    model_set set;
    memcpy(&set, &n->u.set, sizeof set);
    return !predict_in_set(c, set, x, single);
}

static inline uint32_t predict_side(const predict_ctx *c, const model_node *n, double x, bool special, bool single)
{
    if (single) x = (double)(float)x;
    if (special && __builtin_expect((n->flags & (NODE_ZERO | NODE_CATEGORY)) != 0, 0))
        return predict_special(c, n, x, single);
    uint32_t left = (uint32_t)(x <= n->u.value) | ((uint32_t)(x != x) & n->flags & NODE_NAN_LEFT);
    return left ^ 1u;
}

static inline double predict_walk(const predict_ctx *c, const model_node *nodes, const double *row, bool special,
                                  bool single)
{
    uint32_t slot = 1;
    for (;;) {
        const model_node *n = &nodes[slot];
        uint32_t child = __atomic_load_n(&n->child, __ATOMIC_RELAXED);
        if (child == 0) return n->u.value;
        slot = child + predict_side(c, n, row[n->column], special, single);
    }
}

/* PREDICT_LANES walks at once: a lane that has ended stays on its leaf until all have. Needs a column 0. */
static inline void predict_walks(const predict_ctx *c, const model_node *nodes, const double *rows, size_t row_stride,
                                 bool special, bool single, double out[PREDICT_LANES])
{
    uint32_t slots[PREDICT_LANES];
    uint32_t alive;
#pragma GCC unroll 8
    for (int k = 0; k < PREDICT_LANES; k++) {
        slots[k] = 1;
    }
    do {
        alive = 0;
#pragma GCC unroll 8
        for (int k = 0; k < PREDICT_LANES; k++) {
            const model_node *n = &nodes[slots[k]];
            uint32_t child = __atomic_load_n(&n->child, __ATOMIC_RELAXED);
            uint32_t next = child + predict_side(c, n, rows[(size_t)k * row_stride + n->column], special, single);
            slots[k] = child != 0 ? next : slots[k];
            alive |= child;
        }
    } while (alive != 0);
#pragma GCC unroll 8
    for (int k = 0; k < PREDICT_LANES; k++) {
        out[k] = nodes[slots[k]].u.value;
    }
}

/* The sum keeps the library's type: an F32 margin is rounded to float after each tree. */
static inline void predict_add(double *margin, double leaf, bool single)
{
    *margin = single ? (double)((float)*margin + (float)leaf) : *margin + leaf;
}

/* All trees over one tile of rows. Margins hold the base margins before, the sums after. */
static inline __attribute__((always_inline)) void predict_tile(const predict_ctx *c, const double *rows,
                                                               size_t row_stride, size_t row_count, double *margins,
                                                               bool special, bool single)
{
    const model_tree *trees = (const model_tree *)(c->bytes + c->map.trees_at);
    size_t width = c->h.margin_count;
    size_t together = c->h.column_count > 0 ? row_count / PREDICT_LANES * PREDICT_LANES : 0;
    for (uint32_t t = 0; t < c->h.tree_count; t++) {
        const model_node *nodes = c->items + trees[t].first;
        uint32_t output = trees[t].output;
        size_t i = 0;
        for (; i < together; i += PREDICT_LANES) {
            double leaves[PREDICT_LANES];
            predict_walks(c, nodes, rows + i * row_stride, row_stride, special, single, leaves);
            for (size_t k = 0; k < PREDICT_LANES; k++) {
                predict_add(&margins[(i + k) * width + output], leaves[k], single);
            }
        }
        for (; i < row_count; i++) {
            predict_add(&margins[i * width + output], predict_walk(c, nodes, rows + i * row_stride, special, single),
                        single);
        }
    }
}

/* One kernel per pair of switches, so that the inner loop tests neither. */
static void predict_trees(const predict_ctx *c, const double *rows, size_t row_stride, size_t row_count,
                          double *margins)
{
    bool special = (c->h.flags & MODEL_SPECIAL) != 0;
    bool single = c->h.calc == MYR_CALC_F32;
    if (special) {
        if (single) {
            predict_tile(c, rows, row_stride, row_count, margins, true, true);
        } else {
            predict_tile(c, rows, row_stride, row_count, margins, true, false);
        }
    } else if (single) {
        predict_tile(c, rows, row_stride, row_count, margins, false, true);
    } else {
        predict_tile(c, rows, row_stride, row_count, margins, false, false);
    }
}

static void predict_linear(const predict_ctx *c, const double *rows, size_t row_stride, size_t row_count,
                           double *margins)
{
    const model_term *terms = (const model_term *)(const void *)c->items;
    for (size_t i = 0; i < row_count; i++) {
        const double *row = rows + i * row_stride;
        double sum = margins[i];
        for (uint32_t j = 0; j < c->h.item_count; j++) {
            double x = row[terms[j].column];
            sum += terms[j].weight * (isnan(x) ? terms[j].fill : x);
        }
        margins[i] = sum;
    }
}

/* Margins of at most PREDICT_TILE rows. */
static void predict_margins(const predict_ctx *c, const double *rows, size_t row_stride, size_t row_count,
                            double *margins)
{
    size_t width = c->h.margin_count;
    for (size_t i = 0; i < row_count; i++) {
        memcpy(margins + i * width, c->bytes + c->map.bases_at, width * sizeof *margins);
    }
    if (c->h.kind == MYR_MODEL_LINEAR) {
        predict_linear(c, rows, row_stride, row_count, margins);
        return;
    }
    predict_trees(c, rows, row_stride, row_count, margins);
    for (size_t k = 0; (c->h.flags & MODEL_AVERAGE) != 0 && k < row_count * width; k++) {
        margins[k] = c->h.calc == MYR_CALC_F32 ? (double)((float)margins[k] / (float)c->h.average_over)
                                               : margins[k] / (double)c->h.average_over;
    }
}

void myr_model_margins(const myr_model *model, const double *rows, size_t row_stride, size_t row_count,
                       double *out_margins)
{
    predict_ctx c;
    if (!predict_open(model, &c)) return;
    MYR_ASSERT(row_count < 2 || row_stride >= c.h.column_count);
    for (size_t i = 0; i < row_count; i += PREDICT_TILE) {
        size_t count = row_count - i < PREDICT_TILE ? row_count - i : PREDICT_TILE;
        predict_margins(&c, rows + i * row_stride, row_stride, count, out_margins + i * c.h.margin_count);
    }
}

/* HARD_MAX alone has fewer values than margins: a few rows at a time pass through margins on the stack. */
static void predict_hard_max(const predict_ctx *c, const double *rows, size_t row_stride, size_t row_count,
                             double *out_values)
{
    double margins[MYR_OUTPUTS_MAX];
    size_t width = c->h.margin_count;
    size_t step = MYR_OUTPUTS_MAX / width;
    MYR_ASSERT(width >= 1 && step >= 1);
    if (step > PREDICT_TILE) step = PREDICT_TILE;
    for (size_t i = 0; i < row_count; i += step) {
        size_t count = row_count - i < step ? row_count - i : step;
        predict_margins(c, rows + i * row_stride, row_stride, count, margins);
        for (size_t k = 0; k < count; k++) {
            double value;
            myr_model_transform(&c->h, margins + k * width, &value);
            out_values[i + k] = value;
        }
    }
}

void myr_model_predict(const myr_model *model, const double *rows, size_t row_stride, size_t row_count,
                       double *out_values)
{
    predict_ctx c;
    if (!predict_open(model, &c)) return;
    MYR_ASSERT(row_count < 2 || row_stride >= c.h.column_count);
    if (c.h.transform == MYR_TRANSFORM_HARD_MAX) {
        predict_hard_max(&c, rows, row_stride, row_count, out_values);
        return;
    }
    for (size_t i = 0; i < row_count; i += PREDICT_TILE) {
        size_t count = row_count - i < PREDICT_TILE ? row_count - i : PREDICT_TILE;
        double *values = out_values + i * c.h.margin_count;
        predict_margins(&c, rows + i * row_stride, row_stride, count, values);
        for (size_t k = 0; c.h.transform != MYR_TRANSFORM_IDENTITY && k < count; k++) {
            myr_model_transform(&c.h, values + k * c.h.margin_count, values + k * c.h.margin_count);
        }
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
                            .output_count = c.h.transform == MYR_TRANSFORM_HARD_MAX ? 1 : c.h.margin_count,
                            .tree_count = c.h.tree_count,
                            .leaf_count = c.h.kind == MYR_MODEL_TREES ? c.h.item_count / 2 : 0,
                            .size_bytes = c.h.size_bytes};
}
