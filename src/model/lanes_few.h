/*
 * The kernel of few rows, a register of trees at a time, as a template. The including file defines what lanes_many.h
 * asks of it, and
 *   FEW_NAME
 *   FEW_TABLES                        a row's bins in registers
 *   FEW_OPEN(bins, count, tables)     the bins of a row, `count` times sixteen of them
 *   FEW_PICK(tables, columns, count)  for each tree the bin that its entry's column names, mirrored if it is ~c
 *
 * The additions of one row are a chain in tree order, whose latency is all they cost: they go on, two at a time, while
 * the bits of the next register of trees are found. The chains of several rows run beside each other.
 */
#include "model/lanes_inner.h"

#define FEW_FN(part) LANES_JOIN(FEW_NAME, part)

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
 * trees before go on meanwhile; of several rows the chains run beside each other anyway.
 */
LANES_TARGET LANES_INLINE void FEW_FN(bits)(const lanes_group *g, const unsigned char *entries, const FEW_TABLES *rows,
                                            unsigned row_count, unsigned table_count, bool single, FEW_CHAIN *chain,
                                            LANES_VECTOR found[])
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
        for (; row_count == 1 && entries + 3 * lanes < end && chain->next + 2 <= chain->early; entries += 6 * lanes) {
            FEW_FN(entry)(entries, lanes, rows, row_count, table_count, keep);
            FEW_FN(entry)(entries + 3 * lanes, lanes, rows, row_count, table_count, keep);
            FEW_FN(add)(chain, row_count, single);
            FEW_FN(add)(chain, row_count, single);
        }
        LANES_UNROLL_4
        for (; entries < end; entries += 3 * lanes) {
            FEW_FN(entry)(entries, lanes, rows, row_count, table_count, keep);
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
                                             bool single, FEW_CHAIN *chain, double *margins)
{
    lanes_parts parts = lanes_parts_of(v, g);
    for (uint32_t lane = 0; lane < g->tree_count; lane += LANES_WIDTH) {
        LANES_VECTOR found[LANES_ROWS_FEW];
        FEW_FN(bits)(g, parts.entries + lane, rows, row_count, table_count, single, chain, found);
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
                                              unsigned table_count, bool single, double *margins)
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
        FEW_FN(group)(v, &g, first, rows, row_count, table_count, single, &chain, margins);
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
                                               double *margins)
{
    if (v->byte_columns <= 16) {
        FEW_FN(groups)(v, bins, row_count, 1, single, margins);
    } else if (v->byte_columns <= 32) {
        FEW_FN(groups)(v, bins, row_count, 2, single, margins);
    } else {
        FEW_FN(groups)(v, bins, row_count, 4, single, margins);
    }
}

/* Of one row the type of the sums is a constant, since they go on within the loops. */
LANES_TARGET static void FEW_FN(kernel)(const lanes_view *v, const int8_t *bins, size_t row_count, double *margins)
{
    bool single = v->h->calc == MYR_CALC_F32;
    MYR_ASSERT(row_count >= 1 && row_count <= LANES_ROWS_FEW && v->byte_columns <= LANES_FEW_COLUMNS);
    if (row_count == LANES_ROWS_FEW) {
        FEW_FN(columns)(v, bins, LANES_ROWS_FEW, single, margins);
        return;
    }
    for (size_t i = 0; i < row_count; i++, bins += LANES_FEW_COLUMNS, margins += v->h->margin_count) {
        if (single) {
            FEW_FN(columns)(v, bins, 1, true, margins);
        } else {
            FEW_FN(columns)(v, bins, 1, false, margins);
        }
    }
}

#undef FEW_NAME
#undef FEW_FN
#undef FEW_CHAIN
#undef FEW_TABLES
#undef FEW_OPEN
#undef FEW_PICK
