/*
 * The kernel of few rows, a register of trees at a time, as a template. The including file defines what lanes_many.h
 * asks of it, and
 *   FEW_NAME
 *   FEW_TABLES                        a row's bins in registers
 *   FEW_OPEN(bins, count, tables)     the bins of a row, `count` times sixteen of them
 *   FEW_PICK(tables, columns, count)  for each tree the bin that its entry's column names, mirrored if it is ~c
 *   FEW_BINS                          rows become bins: as few() of lanes_bins.h
 *
 * The additions of one row are a chain in tree order, whose latency is all they cost: they go on, two at a time, while
 * the bits of the next register of trees are found. The chains of several rows run beside each other.
 *
 * While bits are found, the bytes of the model that comes next are asked for, a few lines at each entry: a burst would
 * be dropped in part. A row of a model that another one follows is only looked up (find), and added when its leaves
 * have come.
 */
#include "model/lanes_inner.h"

#define FEW_FN(part) LANES_JOIN(FEW_NAME, part)
#define FEW_ASK_ONE  3 /* lines asked for at an entry: of one row, of several */
#define FEW_ASK_SOME 2

/*
 * What the trees of one register answered, and the sums of all before it: one chain of additions per row. The leaves
 * lie apart, or the compiler would keep the sums in memory too.
 */
typedef struct FEW_FN(chain) {
    const void *values; /* of the group's leaves */
    uint32_t next, count, tree_first;
    uint32_t early; /* how many may be added while bits are found: none if each tree has its own output */
    uint16_t (*leaves)[LANES_WIDTH]; /* of each row */
    double sums[LANES_ROWS_FEW];
    float singles[LANES_ROWS_FEW];
} FEW_FN(chain);
#define FEW_CHAIN FEW_FN(chain)

/* The next tree's leaf of each row. */
LANES_TARGET LANES_INLINE void FEW_FN(add)(FEW_CHAIN *c, unsigned row_count, bool single)
{
    LANES_UNROLL
    for (unsigned r = 0; r < row_count; r++) {
        if (single) {
            c->singles[r] += ((const float *)c->values)[c->leaves[r][c->next]];
        } else {
            c->sums[r] += ((const double *)c->values)[c->leaves[r][c->next]];
        }
    }
    c->next++;
}

/* All that are left. */
LANES_TARGET LANES_INLINE void FEW_FN(drain)(FEW_CHAIN *c, unsigned row_count, bool single)
{
    if (single) {
        LANES_UNROLL_4
        while (c->next < c->count) {
            FEW_FN(add)(c, row_count, true);
        }
    } else {
        LANES_UNROLL_4
        while (c->next < c->count) {
            FEW_FN(add)(c, row_count, false);
        }
    }
}

LANES_TARGET LANES_INLINE LANES_VECTOR FEW_FN(load)(const unsigned char *at)
{
    LANES_VECTOR loaded;
    memcpy(&loaded, at, sizeof loaded);
    return loaded;
}

/* Some lines of what comes next. */
LANES_INLINE void FEW_FN(ask)(lanes_ahead *ahead, unsigned lines)
{
    for (unsigned k = 0; k < lines; k++) {
        __builtin_prefetch(ahead->at + k * MYR_MODEL_ALIGN, 0, 2);
    }
    const char *to = ahead->at + lines * MYR_MODEL_ALIGN;
    ahead->at = to < ahead->end ? to : ahead->end;
}

/* One entry of each tree. */
LANES_TARGET LANES_INLINE void FEW_FN(entry)(const unsigned char *entries, size_t lanes, const FEW_TABLES *rows,
                                             unsigned row_count, unsigned table_count, LANES_VECTOR keep[])
{
    LANES_VECTOR columns = FEW_FN(load)(entries);
    LANES_VECTOR ranks = FEW_FN(load)(entries + lanes);
    LANES_VECTOR clears = FEW_FN(load)(entries + 2 * lanes);
    LANES_UNROLL
    for (unsigned r = 0; r < row_count; r++) {
        keep[r] = LANES_CLEAR(keep[r], FEW_PICK(&rows[r], columns, table_count), ranks, clears);
    }
}

/*
 * The bits of LANES_WIDTH trees from their first entries on, row_count rows (a constant). Of one row the sums of the
 * trees before go on meanwhile, if there is a chain; of several rows the chains run beside each other anyway. ahead:
 * NULL (a constant) or what comes next.
 */
LANES_TARGET LANES_INLINE void FEW_FN(bits)(const lanes_group *g, const unsigned char *entries, const FEW_TABLES *rows,
                                            unsigned row_count, unsigned table_count, bool single, FEW_CHAIN *chain,
                                            lanes_ahead *ahead, LANES_VECTOR found[])
{
    LANES_VECTOR kept[LANES_ROWS_FEW];
    size_t lanes = g->lane_count;
    LANES_UNROLL
    for (unsigned r = 0; r < row_count; r++) {
        kept[r] = found[r] = (LANES_VECTOR){0};
    }
    for (unsigned b = 0; b < g->byte_count; b++) {
        LANES_VECTOR keep[LANES_ROWS_FEW];
        LANES_VECTOR here = (LANES_VECTOR){0} + (int8_t)(8 * b);
        const unsigned char *end = entries + 3 * lanes * g->positions[b];
        LANES_UNROLL
        for (unsigned r = 0; r < row_count; r++) {
            keep[r] = (LANES_VECTOR){0} - 1;
        }
        for (; row_count == 1 && chain != NULL && entries + 3 * lanes < end && chain->next + 2 <= chain->early;
             entries += 6 * lanes) {
            FEW_FN(entry)(entries, lanes, rows, row_count, table_count, keep);
            FEW_FN(entry)(entries + 3 * lanes, lanes, rows, row_count, table_count, keep);
            FEW_FN(add)(chain, row_count, single);
            FEW_FN(add)(chain, row_count, single);
        }
        LANES_UNROLL_4
        for (; entries < end; entries += 3 * lanes) {
            FEW_FN(entry)(entries, lanes, rows, row_count, table_count, keep);
            if (ahead != NULL) FEW_FN(ask)(ahead, row_count == 1 ? FEW_ASK_ONE : FEW_ASK_SOME);
        }
        LANES_UNROLL
        for (unsigned r = 0; r < row_count; r++) {
            LANES_VECTOR none = kept[r] == (LANES_VECTOR){0};
            kept[r] |= keep[r] & none;
            found[r] = (found[r] & ~none) | (here & none);
        }
    }
    LANES_UNROLL
    for (unsigned r = 0; r < row_count; r++) {
        found[r] += LANES_LOWEST(kept[r]);
    }
}

/* Models of several outputs: each tree adds to its own. */
LANES_TARGET LANES_INLINE void FEW_FN(spread)(const lanes_view *v, FEW_CHAIN *c, unsigned row_count, double *margins)
{
    const uint16_t *outputs = v->outputs + c->tree_first;
    size_t width = v->h->margin_count;
    bool single = v->h->calc == MYR_CALC_F32;
    for (; c->next < c->count; c->next++) {
        double *margin = margins + outputs[c->next];
        LANES_UNROLL
        for (unsigned r = 0; r < row_count; r++) {
            uint16_t leaf = c->leaves[r][c->next];
            if (single) {
                margin[r * width] = (double)((float)margin[r * width] + ((const float *)c->values)[leaf]);
            } else {
                margin[r * width] += ((const double *)c->values)[leaf];
            }
        }
    }
}

/* One group: register by register, its bits, then the sums that are still to do, then its leaves. */
LANES_TARGET LANES_INLINE void FEW_FN(group)(const lanes_view *v, const lanes_group *g, uint32_t tree_first,
                                             const FEW_TABLES *rows, unsigned row_count, unsigned table_count,
                                             bool single, FEW_CHAIN *chain, lanes_ahead *ahead, double *margins)
{
    lanes_parts parts = lanes_parts_of(v, g);
    for (uint32_t lane = 0; lane < g->tree_count; lane += LANES_WIDTH) {
        LANES_VECTOR found[LANES_ROWS_FEW];
        FEW_FN(bits)(g, parts.entries + lane, rows, row_count, table_count, single, chain, ahead, found);
        if (v->outputs != NULL) {
            FEW_FN(spread)(v, chain, row_count, margins);
        } else {
            FEW_FN(drain)(chain, row_count, single);
        }
        LANES_UNROLL
        for (unsigned r = 0; r < row_count; r++) {
            uint8_t numbers[LANES_WIDTH];
            memcpy(numbers, &found[r], sizeof found[r]);
            for (unsigned k = 0; k < LANES_WIDTH; k++) {
                chain->leaves[r][k] = (uint16_t)(parts.firsts[lane + k] + numbers[k]);
            }
        }
        chain->values = single ? (const void *)((const float *)v->leaves + g->leaves_first)
                               : (const void *)((const double *)v->leaves + g->leaves_first);
        chain->tree_first = tree_first + lane;
        chain->next = 0;
        chain->count = g->tree_count - lane < LANES_WIDTH ? g->tree_count - lane : LANES_WIDTH;
        chain->early = v->outputs == NULL ? chain->count : 0;
    }
}

LANES_TARGET LANES_INLINE void FEW_FN(groups)(const lanes_view *v, const int8_t *bins, unsigned row_count,
                                              unsigned table_count, bool single, lanes_ahead *ahead, double *margins)
{
    FEW_TABLES rows[LANES_ROWS_FEW];
    uint16_t leaves[LANES_ROWS_FEW][LANES_WIDTH];
    FEW_CHAIN chain = {.leaves = leaves};
    LANES_UNROLL
    for (unsigned r = 0; r < row_count; r++) {
        FEW_OPEN(bins + r * LANES_FEW_COLUMNS, table_count, &rows[r]);
        chain.sums[r] = margins[r * v->h->margin_count]; /* with several outputs not used */
        chain.singles[r] = (float)chain.sums[r];
    }
    for (uint32_t first = 0; first < v->h->tree_count; first += LANES_TREES) {
        lanes_group g;
        if (!lanes_group_read(v, first / LANES_TREES, &g)) continue;
        FEW_FN(group)(v, &g, first, rows, row_count, table_count, single, &chain, ahead, margins);
    }
    if (v->outputs != NULL) {
        FEW_FN(spread)(v, &chain, row_count, margins);
        return;
    }
    FEW_FN(drain)(&chain, row_count, single);
    LANES_UNROLL
    for (unsigned r = 0; r < row_count; r++) {
        margins[r] = single ? (double)chain.singles[r] : chain.sums[r];
    }
}

LANES_TARGET LANES_INLINE void FEW_FN(columns)(const lanes_view *v, const int8_t *bins, unsigned row_count, bool single,
                                               lanes_ahead *ahead, double *margins)
{
    if (v->byte_columns <= 16) {
        FEW_FN(groups)(v, bins, row_count, 1, single, ahead, margins);
    } else if (v->byte_columns <= 32) {
        FEW_FN(groups)(v, bins, row_count, 2, single, ahead, margins);
    } else {
        FEW_FN(groups)(v, bins, row_count, 4, single, ahead, margins);
    }
}

LANES_TARGET LANES_INLINE void FEW_FN(quantise)(const lanes_view *v, const double *rows, size_t row_stride,
                                                unsigned row_count, bool single, int8_t *bins)
{
    FEW_BINS(v, rows, row_stride, row_count, bins, LANES_FEW_COLUMNS, single);
    if (v->h->set_columns > 0) myr_lanes_quantise_sets(v, rows, row_stride, row_count, bins, 1, LANES_FEW_COLUMNS);
}

/* A few rows (a constant): their bins, then their trees. */
LANES_TARGET LANES_INLINE void FEW_FN(some)(const lanes_view *v, const double *rows, size_t row_stride,
                                            unsigned row_count, bool single, lanes_ahead *ahead, double *margins)
{
    _Alignas(64) int8_t bins[LANES_ROWS_FEW * LANES_FEW_COLUMNS];
    FEW_FN(quantise)(v, rows, row_stride, row_count, single, bins);
    FEW_FN(columns)(v, bins, row_count, single, ahead, margins);
}

LANES_TARGET LANES_INLINE void FEW_FN(rows)(const lanes_view *v, const double *rows, size_t row_stride,
                                            size_t row_count, bool single, lanes_ahead *ahead, double *margins)
{
    for (; row_count >= LANES_ROWS_FEW; row_count -= LANES_ROWS_FEW) {
        FEW_FN(some)(v, rows, row_stride, LANES_ROWS_FEW, single, ahead, margins);
        rows += LANES_ROWS_FEW * row_stride;
        margins += LANES_ROWS_FEW * (size_t)v->h->margin_count;
    }
    for (; row_count > 0; row_count--) {
        FEW_FN(some)(v, rows, 0, 1, single, NULL, margins);
        rows += row_stride;
        margins += v->h->margin_count;
    }
}

/* Several rows; apart from the one row, so that its registers are its own. */
LANES_TARGET static __attribute__((noinline)) void FEW_FN(several)(const lanes_view *v, const double *rows,
                                                                   size_t row_stride, size_t row_count,
                                                                   lanes_ahead *ahead, double *margins)
{
    bool single = v->h->calc == MYR_CALC_F32;
    if (single && ahead != NULL) {
        FEW_FN(rows)(v, rows, row_stride, row_count, true, ahead, margins);
    } else if (single) {
        FEW_FN(rows)(v, rows, row_stride, row_count, true, NULL, margins);
    } else if (ahead != NULL) {
        FEW_FN(rows)(v, rows, row_stride, row_count, false, ahead, margins);
    } else {
        FEW_FN(rows)(v, rows, row_stride, row_count, false, NULL, margins);
    }
}

LANES_TARGET static void FEW_FN(kernel)(const lanes_view *v, const double *rows, size_t row_stride, size_t row_count,
                                        lanes_ahead *ahead, double *margins)
{
    MYR_ASSERT(v->byte_columns <= LANES_FEW_COLUMNS);
    if (row_count != 1) {
        FEW_FN(several)(v, rows, row_stride, row_count, ahead, margins);
    } else if (v->h->calc == MYR_CALC_F32) {
        FEW_FN(some)(v, rows, 0, 1, true, NULL, margins);
    } else {
        FEW_FN(some)(v, rows, 0, 1, false, NULL, margins);
    }
}

/* ---- find ---- */

LANES_TARGET LANES_INLINE void FEW_FN(find_trees)(const lanes_view *v, const int8_t *bins, unsigned table_count,
                                                  lanes_ahead *ahead, uint32_t *leaves)
{
    FEW_TABLES row;
    size_t leaf_bytes = v->h->calc == MYR_CALC_F32 ? sizeof(float) : sizeof(double);
    FEW_OPEN(bins, table_count, &row);
    for (uint32_t first = 0; first < v->h->tree_count; first += LANES_TREES) {
        lanes_group g;
        if (!lanes_group_read(v, first / LANES_TREES, &g)) {
            memset(leaves + first, 0, LANES_TREES * sizeof *leaves);
            continue;
        }
        lanes_parts parts = lanes_parts_of(v, &g);
        for (uint32_t lane = 0; lane < g.tree_count; lane += LANES_WIDTH) {
            LANES_VECTOR found[1];
            uint8_t numbers[LANES_WIDTH];
            FEW_FN(bits)(&g, parts.entries + lane, &row, 1, table_count, false, NULL, ahead, found);
            memcpy(numbers, found, sizeof numbers);
            uint32_t *to = leaves + first + lane;
            for (uint32_t k = 0; k < LANES_WIDTH; k++) {
                to[k] = g.leaves_first + parts.firsts[lane + k] + numbers[k];
            }
            uint32_t count = g.tree_count - lane < LANES_WIDTH ? g.tree_count - lane : LANES_WIDTH;
            for (uint32_t k = 0; k < count; k++) {
                __builtin_prefetch((const char *)v->leaves + to[k] * leaf_bytes);
            }
        }
    }
}

/* As lanes_kernels.find. */
LANES_TARGET static void FEW_FN(find)(const lanes_view *v, const double *row, lanes_ahead *ahead, uint32_t *leaves)
{
    _Alignas(64) int8_t bins[LANES_FEW_COLUMNS];
    MYR_ASSERT(v->byte_columns <= LANES_FEW_COLUMNS);
    FEW_FN(quantise)(v, row, 0, 1, v->h->calc == MYR_CALC_F32, bins);
    if (v->byte_columns <= 16) {
        FEW_FN(find_trees)(v, bins, 1, ahead, leaves);
    } else if (v->byte_columns <= 32) {
        FEW_FN(find_trees)(v, bins, 2, ahead, leaves);
    } else {
        FEW_FN(find_trees)(v, bins, 4, ahead, leaves);
    }
}

#undef FEW_NAME
#undef FEW_FN
#undef FEW_CHAIN
#undef FEW_TABLES
#undef FEW_OPEN
#undef FEW_PICK
#undef FEW_BINS
#undef FEW_ASK_ONE
#undef FEW_ASK_SOME
