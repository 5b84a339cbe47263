/*
 * Exact SHAP values of trees, path-dependent: what Algorithm 2 of Lundberg, Erion and Lee, "Consistent Individualized
 * Feature Attribution for Tree Ensembles" (2018, arXiv:1802.03888) computes, by a shorter way.
 *
 * A leaf of value v whose path asks for d columns gives column i
 *     v (o_i - z_i) sum over S of |S|! (d - |S| - 1)! / d! * product over S of o_j * product over the others of z_j
 * where S runs over the subsets of the d - 1 other columns, o_j is 1 if the row goes the path's way at every split of
 * column j, and z_j is the share of training rows that did. The paper builds these sums by EXTEND and UNWIND, d^2 steps
 * a leaf. But |S|! (d - |S| - 1)! / d! is the integral over t of t^|S| (1 - t)^(d - 1 - |S|), so the sum is
 *     integral from 0 to 1 of product over j != i of (o_j t + z_j (1 - t)) dt,
 * a polynomial of degree d - 1, which Gauss-Legendre quadrature of (d + 1) / 2 points integrates exactly (as Linear
 * TreeSHAP of Yu et al. 2022 does with other points). At a point t the product over the whole path is kept going
 * down; the sums of leaf times product are added up coming back; and an edge divides its own factor out. That is a few
 * operations per edge and register of points instead of d^2 per leaf, and nothing is ever taken away from a sum but
 * where a column is asked for again further down (the edge there takes its subtree from the edge above it).
 *
 * Rows are independent, points stand side by side in vectors whose operations are the same on every CPU: the bits
 * depend neither on the kernel nor on the number of rows.
 */
#include <string.h>

#include "model/explain.h"

#define SHAP_DEPTH_STACK  64 /* paths of so many edges, */
#define SHAP_POINTS_STACK 8  /* and points, need no heap */
#define SHAP_ROWS         64 /* rows that pass a tree before the next one is read */
#define SHAP_NEWTON_STEPS 100

typedef double shap_vec __attribute__((vector_size(EXPLAIN_POINTS * sizeof(double)), may_alias));

/* The split at some depth, and the edge that leads to it. */
typedef struct shap_frame {
    double zero; /* of the edge */
    uint32_t column;
    uint16_t same; /* of the edge */
    uint8_t one;   /* does the row go this way, also at the edges before of the column? */
    uint8_t left;  /* does the row go left at the split? */
    uint8_t on_right;
} shap_frame;

/* Working memory: rows of `points` doubles, three for each depth. */
typedef struct shap_ctx {
    const explain_view *view;
    shap_frame *frames;
    double *vectors;
    double *tables; /* of each number of points: t, 1 - t, weight */
    uint32_t depth_max, points_max;
    uint32_t made; /* tables that are made: up to this number of points */
} shap_ctx;

/* ---- the quadrature ---- */

/* P_n at x and its derivative. */
static void shap_legendre(uint32_t n, double x, double *value, double *slope)
{
    double before = 1.0;
    double now = x;
    for (uint32_t k = 2; k <= n; k++) {
        double next = ((2.0 * k - 1.0) * x * now - (k - 1.0) * before) / k;
        before = now;
        now = next;
    }
    *value = now;
    *slope = n * (before - x * now) / (1.0 - x * x);
}

/* Points and weights for integrals from 0 to 1: table[0..n) t, [n..2n) 1 - t, [2n..3n) weights. */
static void shap_gauss(uint32_t n, double *table)
{
    MYR_ASSERT(n % 2 == 0);
    for (uint32_t i = 0; i < n / 2; i++) {
        double x = cos(M_PI * (i + 0.75) / (n + 0.5)); /* near the root, so that Newton's steps go to it */
        double value;
        double slope;
        for (int step = 0; step < SHAP_NEWTON_STEPS; step++) {
            shap_legendre(n, x, &value, &slope);
            double by = value / slope;
            x -= by;
            if (fabs(by) < 1e-15) break;
        }
        shap_legendre(n, x, &value, &slope);
        double weight = 1.0 / ((1.0 - x * x) * slope * slope);
        table[i] = table[2 * n - 1 - i] = (1.0 + x) / 2.0;
        table[n - 1 - i] = table[n + i] = (1.0 - x) / 2.0;
        table[2 * n + i] = table[3 * n - 1 - i] = weight;
    }
}

/* Tables of 4, 8, … points stand behind each other, so one of n begins at 3 (4 + 8 + … + (n - 4)). */
static size_t shap_table_at(uint32_t points)
{
    size_t k = points / EXPLAIN_POINTS;
    return 3 * EXPLAIN_POINTS * (k * (k - 1) / 2);
}

static const double *shap_table(shap_ctx *c, uint32_t points)
{
    for (; c->made < points; c->made += EXPLAIN_POINTS) {
        shap_gauss(c->made + EXPLAIN_POINTS, c->tables + shap_table_at(c->made + EXPLAIN_POINTS));
    }
    return c->tables + shap_table_at(points);
}

/* ---- one tree, one row ---- */

/* Products, inverse factors and sums of a depth. */
static inline __attribute__((always_inline)) shap_vec *shap_products(const shap_ctx *c, uint32_t depth, uint32_t vecs)
{
    return (shap_vec *)(void *)c->vectors + (size_t)depth * 3 * vecs;
}

/* Go down the edge from the split at depth - 1. */
static inline __attribute__((always_inline)) void shap_enter(const shap_ctx *c, const explain_slot *slot,
                                                             uint32_t depth, const shap_vec *table, uint32_t vecs)
{
    shap_frame *frame = &c->frames[depth];
    const shap_frame *parent = frame - 1;
    shap_vec *at = shap_products(c, depth, vecs);
    const shap_vec *above = shap_products(c, depth - 1, vecs);
    uint32_t same = slot->meta >> EXPLAIN_SAME_SHIFT;
    double zero = slot->zero;
    bool one = parent->left != parent->on_right;
    if (same >= depth) same = 0; /* only of pages that are gone */
    if (same > 0) one = one && frame[-(ptrdiff_t)same].one;
    frame->zero = zero;
    frame->one = one;
    frame->same = (uint16_t)same;
    if (zero == 0 && !one) { /* a factor of zero, which can't be divided out; nothing below counts */
        for (uint32_t q = 0; q < vecs; q++) {
            at[q] = at[vecs + q] = (shap_vec){0};
        }
        return;
    }
    const shap_vec *inverse = shap_products(c, depth - same, vecs) + vecs;
    double hot = one ? 1.0 : 0.0;
    for (uint32_t q = 0; q < vecs; q++) {
        shap_vec factor = table[q] * hot + table[vecs + q] * zero;
        at[q] = above[q] * factor;
        if (same > 0) at[q] *= inverse[q];
        at[vecs + q] = 1.0 / factor;
    }
}

/* Come back up the edge: its column gets what stands below, and the split above the sum. */
static inline __attribute__((always_inline)) void shap_leave(const shap_ctx *c, uint32_t depth, uint32_t vecs,
                                                             double *out)
{
    const shap_frame *frame = &c->frames[depth];
    const shap_vec *at = shap_products(c, depth, vecs);
    shap_vec *above = shap_products(c, depth - 1, vecs) + 2 * (size_t)vecs;
    double weight = (frame->one ? 1.0 : 0.0) - frame->zero;
    shap_vec sum = {0};
    if (frame->same > 0) {
        const shap_frame *before = frame - frame->same;
        const shap_vec *inverse = shap_products(c, depth - frame->same, vecs) + vecs;
        double other = (before->one ? 1.0 : 0.0) - before->zero;
        for (uint32_t q = 0; q < vecs; q++) {
            sum += at[2 * vecs + q] * (at[vecs + q] * weight - inverse[q] * other);
            above[q] += at[2 * vecs + q];
        }
    } else {
        for (uint32_t q = 0; q < vecs; q++) {
            sum += at[2 * vecs + q] * at[vecs + q];
            above[q] += at[2 * vecs + q];
        }
        sum *= weight;
    }
    out[frame[-1].column] += (sum[0] + sum[1]) + (sum[2] + sum[3]);
}

static inline __attribute__((always_inline)) void shap_tree(const shap_ctx *c, const explain_slot *slots,
                                                            uint32_t slot_count, const double *table, const double *row,
                                                            uint32_t vecs, double *out)
{
    const shap_vec *points = (const shap_vec *)(const void *)table;
    shap_vec *root = shap_products(c, 0, vecs);
    uint32_t depth = 0;
    for (uint32_t q = 0; q < vecs; q++) {
        root[q] = points[2 * vecs + q];
    }
    for (uint32_t s = 0; s < slot_count; s++) {
        const explain_slot *slot = &slots[s];
        shap_frame *frame = &c->frames[depth];
        if (depth > 0) shap_enter(c, slot, depth, points, vecs);
        shap_vec *at = shap_products(c, depth, vecs);
        if ((slot->meta & EXPLAIN_SPLIT) != 0) {
            if (depth == c->depth_max) return; /* only of pages that are gone */
            frame->column = slot->column;
            frame->left = explain_left(slot, c->view->words, row[slot->column], c->view->single);
            frame->on_right = false;
            for (uint32_t q = 0; q < vecs; q++) {
                at[2 * vecs + q] = (shap_vec){0};
            }
            depth++;
            continue;
        }
        for (uint32_t q = 0; q < vecs; q++) {
            at[2 * vecs + q] = at[q] * slot->u.value;
        }
        for (; depth > 0; depth--) {
            shap_leave(c, depth, vecs, out);
            if (!c->frames[depth - 1].on_right) break;
        }
        if (depth == 0) return;
        c->frames[depth - 1].on_right = true;
    }
}

/* ---- all trees, some rows ---- */

static inline __attribute__((always_inline)) void shap_rows(shap_ctx *c, uint32_t column_count, const double *rows,
                                                            size_t row_stride, size_t row_count, double *out)
{
    const explain_view *v = c->view;
    size_t width = (size_t)column_count + 1;
    size_t row_width = width * v->h.margin_count;
    for (uint32_t t = 0; t < v->h.tree_count; t++) {
        explain_tree tree;
        uint32_t first;
        uint32_t count = explain_tree_slots(v, t, &first);
        memcpy(&tree, &v->trees[t], sizeof tree);
        if (count < 2 || tree.points == 0) continue; /* one leaf explains itself: it is in the base */
        const double *table = shap_table(c, tree.points);
        double *to = out + tree.output * width;
        for (size_t i = 0; i < row_count; i++) {
            const double *row = rows + i * row_stride;
            if (tree.points == EXPLAIN_POINTS) {
                shap_tree(c, v->slots + first, count, table, row, 1, to + i * row_width);
            } else if (tree.points == 2 * EXPLAIN_POINTS) {
                shap_tree(c, v->slots + first, count, table, row, 2, to + i * row_width);
            } else {
                shap_tree(c, v->slots + first, count, table, row, tree.points / EXPLAIN_POINTS, to + i * row_width);
            }
        }
    }
}

typedef void shap_kernel(shap_ctx *c, uint32_t column_count, const double *rows, size_t row_stride, size_t row_count,
                         double *out);

static void shap_rows_plain(shap_ctx *c, uint32_t column_count, const double *rows, size_t row_stride, size_t row_count,
                            double *out)
{
    shap_rows(c, column_count, rows, row_stride, row_count, out);
}

#if defined(__x86_64__)
static __attribute__((target("avx2"))) void shap_rows_avx2(shap_ctx *c, uint32_t column_count, const double *rows,
                                                           size_t row_stride, size_t row_count, double *out)
{
    shap_rows(c, column_count, rows, row_stride, row_count, out);
}
#endif

static bool shap_plain_only; /* set by tests, before any thread */

void myr_explain_force_plain(bool plain)
{
    shap_plain_only = plain;
}

static shap_kernel *shap_kernel_of_cpu(void)
{
#if defined(__x86_64__)
    if (!shap_plain_only && __builtin_cpu_supports("avx2")) return shap_rows_avx2;
#endif
    return shap_rows_plain;
}

static void shap_all(shap_ctx *c, uint32_t column_count, const double *rows, size_t row_stride, size_t row_count,
                     double *out)
{
    shap_kernel *kernel = shap_kernel_of_cpu();
    const explain_view *v = c->view;
    size_t row_width = ((size_t)column_count + 1) * v->h.margin_count;
    memset(out, 0, row_count * row_width * sizeof *out);
    for (size_t i = 0; i < row_count; i += SHAP_ROWS) {
        size_t count = row_count - i < SHAP_ROWS ? row_count - i : SHAP_ROWS;
        kernel(c, column_count, rows + i * row_stride, row_stride, count, out + i * row_width);
    }
    for (size_t i = 0; i < row_count; i++) {
        for (uint32_t k = 0; k < v->h.margin_count; k++) {
            out[i * row_width + ((size_t)column_count + 1) * (k + 1) - 1] = v->bases[k];
        }
    }
}

myr_rc myr_explain_shap(const explain_view *v, uint32_t column_count, const double *rows, size_t row_stride,
                        size_t row_count, double *out, myr_err *err)
{
    shap_ctx c = {.view = v, .depth_max = v->h.depth_max, .points_max = v->h.points_max};
    size_t frames = (size_t)c.depth_max + 1;
    size_t vectors = 3 * frames * c.points_max;
    if (c.depth_max <= SHAP_DEPTH_STACK && c.points_max <= SHAP_POINTS_STACK) {
        shap_frame stack_frames[SHAP_DEPTH_STACK + 1];
        double stack_vectors[3 * (SHAP_DEPTH_STACK + 1) * SHAP_POINTS_STACK] __attribute__((aligned(32)));
        double stack_tables[3 * (4 + 8)] __attribute__((aligned(32)));
        c.frames = stack_frames;
        c.vectors = stack_vectors;
        c.tables = stack_tables;
        shap_all(&c, column_count, rows, row_stride, row_count, out);
        return MYR_OK;
    }
    MYR_AUTO(myr_mem) heap_frames = myr_alloc(frames * sizeof(shap_frame));
    MYR_AUTO(myr_mem) heap_vectors = myr_alloc_aligned(MYR_MODEL_ALIGN, vectors * sizeof(double));
    MYR_AUTO(myr_mem)
    heap_tables = myr_alloc_aligned(MYR_MODEL_ALIGN, shap_table_at(c.points_max + EXPLAIN_POINTS) * sizeof(double));
    if (heap_frames == NULL || heap_vectors == NULL || heap_tables == NULL) {
        MYR_FAIL(err, NO_MEMORY, "no memory to explain trees of depth %u", c.depth_max);
    }
    c.frames = heap_frames;
    c.vectors = heap_vectors;
    c.tables = heap_tables;
    shap_all(&c, column_count, rows, row_stride, row_count, out);
    return MYR_OK;
}
