/*
 * The plain evaluator, which takes whatever does not lie in lanes: a walk is `slot = child + goes_right` until a node
 * without child. Eight rows walk one tree side by side, so that their loads overlap; each row still adds its leaves in
 * tree order, which keeps results bit-equal whatever the number of rows.
 *
 * Why every walk ends and stays inside, also when pages of the mapping turn to zeros after the check: the counts come
 * from a copy of the header; a zero tree entry names node 0 and output 0; a zero node is a leaf of value 0; a child is
 * read once, and is 0 (the walk ends) or lies behind its parent and within the tree; a zero column is column 0, which a
 * model with splits has; zero set bounds are an empty set, and every mixture of old and zero bounds lies within the
 * words.
 */
#include <math.h>
#include <string.h>

#include "model/layout.h"

#define WALK_LANES 8 /* rows that walk side by side */

typedef struct walk_ctx {
    const model_header *h;
    const unsigned char *bytes;
    model_map map;
    const model_node *items;
    const uint32_t *words;
} walk_ctx;

/* 0 = left, 1 = right, at a split with flags. */
static __attribute__((noinline)) uint32_t walk_special(const walk_ctx *c, const model_node *n, double x, bool single)
{
    bool missing = isnan(x) || ((n->flags & NODE_ZERO) != 0 && x >= -MODEL_ZERO && x <= MODEL_ZERO);
    if (missing) return (n->flags & NODE_NAN_LEFT) == 0;
    if ((n->flags & NODE_CATEGORY) == 0) return !(x <= n->u.value);
    model_set set;
    memcpy(&set, &n->u.set, sizeof set);
    return !model_in_set(c->words + set.first, set.count, x, single);
}

static inline uint32_t walk_side(const walk_ctx *c, const model_node *n, double x, bool special, bool single)
{
    if (single) x = (double)(float)x;
    if (special && __builtin_expect((n->flags & (NODE_ZERO | NODE_CATEGORY)) != 0, 0))
        return walk_special(c, n, x, single);
    uint32_t left = (uint32_t)(x <= n->u.value) | ((uint32_t)(x != x) & n->flags & NODE_NAN_LEFT);
    return left ^ 1u;
}

/* The leaf that a row comes to. */
static inline const model_node *walk_leaf(const walk_ctx *c, const model_node *nodes, const double *row, bool special,
                                          bool single)
{
    uint32_t slot = 1;
    for (;;) {
        const model_node *n = &nodes[slot];
        uint32_t child = __atomic_load_n(&n->child, __ATOMIC_RELAXED);
        if (child == 0) return n;
        slot = child + walk_side(c, n, row[n->column], special, single);
    }
}

/* WALK_LANES walks at once: a lane that has ended stays on its leaf until all have. Needs a column 0. */
static inline void walk_rows(const walk_ctx *c, const model_node *nodes, const double *rows, size_t row_stride,
                             bool special, bool single, double out[WALK_LANES])
{
    uint32_t slots[WALK_LANES];
    uint32_t alive;
#pragma GCC unroll 8
    for (int k = 0; k < WALK_LANES; k++) {
        slots[k] = 1;
    }
    do {
        alive = 0;
#pragma GCC unroll 8
        for (int k = 0; k < WALK_LANES; k++) {
            const model_node *n = &nodes[slots[k]];
            uint32_t child = __atomic_load_n(&n->child, __ATOMIC_RELAXED);
            uint32_t next = child + walk_side(c, n, rows[(size_t)k * row_stride + n->column], special, single);
            slots[k] = child != 0 ? next : slots[k];
            alive |= child;
        }
    } while (alive != 0);
#pragma GCC unroll 8
    for (int k = 0; k < WALK_LANES; k++) {
        out[k] = nodes[slots[k]].u.value;
    }
}

/* The sum keeps the library's type: an F32 margin is rounded to float after each tree. */
static inline void walk_add(double *margin, double leaf, bool single)
{
    *margin = single ? (double)((float)*margin + (float)leaf) : *margin + leaf;
}

/* All trees over one tile of rows. Margins hold the base margins before, the sums after. */
static inline __attribute__((always_inline)) void walk_tile(const walk_ctx *c, const double *rows, size_t row_stride,
                                                            size_t row_count, double *margins, bool special,
                                                            bool single)
{
    const model_tree *trees = (const model_tree *)(c->bytes + c->map.trees_at);
    size_t width = c->h->margin_count;
    size_t together = c->h->column_count > 0 ? row_count / WALK_LANES * WALK_LANES : 0;
    for (uint32_t t = 0; t < c->h->tree_count; t++) {
        const model_node *nodes = c->items + trees[t].first;
        uint32_t output = trees[t].output;
        size_t i = 0;
        for (; i < together; i += WALK_LANES) {
            double leaves[WALK_LANES];
            walk_rows(c, nodes, rows + i * row_stride, row_stride, special, single, leaves);
            for (size_t k = 0; k < WALK_LANES; k++) {
                walk_add(&margins[(i + k) * width + output], leaves[k], single);
            }
        }
        for (; i < row_count; i++) {
            const model_node *leaf = walk_leaf(c, nodes, rows + i * row_stride, special, single);
            walk_add(&margins[i * width + output], leaf->u.value, single);
        }
    }
}

/* Linear trees: row by row, since the lines take longer than the walks. */
static void walk_lines(const walk_ctx *c, const double *rows, size_t row_stride, size_t row_count, double *margins)
{
    const model_tree *trees = (const model_tree *)(c->bytes + c->map.trees_at);
    size_t width = c->h->margin_count;
    bool special = (c->h->flags & MODEL_SPECIAL) != 0;
    for (uint32_t t = 0; t < c->h->tree_count; t++) {
        const model_node *nodes = c->items + trees[t].first;
        uint32_t output = trees[t].output;
        for (size_t i = 0; i < row_count; i++) {
            const double *row = rows + i * row_stride;
            const model_node *leaf = walk_leaf(c, nodes, row, special, false);
            margins[i * width + output] += myr_lines_leaf(c->h, &c->map, c->bytes, leaf, row);
        }
    }
}

/* One kernel per pair of switches, so that the inner loop tests neither. */
static void walk_trees(const walk_ctx *c, const double *rows, size_t row_stride, size_t row_count, double *margins)
{
    bool special = (c->h->flags & MODEL_SPECIAL) != 0;
    bool single = c->h->calc == MYR_CALC_F32;
    if (special) {
        if (single) {
            walk_tile(c, rows, row_stride, row_count, margins, true, true);
        } else {
            walk_tile(c, rows, row_stride, row_count, margins, true, false);
        }
    } else if (single) {
        walk_tile(c, rows, row_stride, row_count, margins, false, true);
    } else {
        walk_tile(c, rows, row_stride, row_count, margins, false, false);
    }
}

/* XGBoost's gblinear: floats, and a missing value is left out. */
static double walk_linear_float(const model_term *terms, uint32_t term_count, const double *row, double margin)
{
    float sum = (float)margin;
    for (uint32_t j = 0; j < term_count; j++) {
        float x = (float)row[terms[j].column];
        if (!isnan(x)) sum += x * (float)terms[j].weight;
    }
    return (double)sum;
}

static void walk_linear(const walk_ctx *c, const double *rows, size_t row_stride, size_t row_count, double *margins)
{
    const model_term *terms = (const model_term *)(const void *)c->items;
    uint32_t width = c->h->margin_count;
    uint32_t term_count = c->h->item_count / width; /* of one margin; counts are whole, by the check */
    for (size_t i = 0; i < row_count; i++) {
        const double *row = rows + i * row_stride;
        for (uint32_t k = 0; k < width; k++) {
            const model_term *term = terms + (size_t)k * term_count;
            double sum = margins[i * width + k];
            if (c->h->calc == MYR_CALC_F32) {
                margins[i * width + k] = walk_linear_float(term, term_count, row, sum);
                continue;
            }
            for (uint32_t j = 0; j < term_count; j++) {
                double x = row[term[j].column];
                sum += term[j].weight * (isnan(x) ? term[j].fill : x);
            }
            margins[i * width + k] = sum;
        }
    }
}

void myr_model_walk(const model_header *h, const unsigned char *bytes, const double *rows, size_t row_stride,
                    size_t row_count, double *margins)
{
    walk_ctx c = {.h = h, .bytes = bytes, .map = model_map_of(h)};
    c.items = (const model_node *)(bytes + c.map.items_at);
    c.words = (const uint32_t *)(bytes + c.map.words_at);
    MYR_ASSERT(row_count <= MODEL_TILE);
    if (h->kind == MYR_MODEL_LINEAR) {
        walk_linear(&c, rows, row_stride, row_count, margins);
    } else if ((h->flags & MODEL_LINES) != 0) {
        walk_lines(&c, rows, row_stride, row_count, margins);
    } else {
        walk_trees(&c, rows, row_stride, row_count, margins);
    }
}
