/*
 * The kernel of few rows, a register of trees at a time, as a template. The including file defines what lanes_many.h
 * asks of it, and FEW_NAME FEW_TABLES                             a row's bins in registers FEW_OPEN(bins, count,
 * tables)          the bins of a row, `count` times sixteen of them FEW_PICK(tables, columns, count)       for each
 * tree the bin of the column that its entry names
 */
#include "model/lanes_inner.h"

#define FEW_FN(part) LANES_JOIN(FEW_NAME, part)

/* What the trees of one register answered: their leaves from the model's first on. */
typedef struct FEW_FN(answers) {
    uint32_t leaves_first; /* of the group */
    uint32_t tree_first, count;
    uint16_t leaves[LANES_WIDTH];
} FEW_FN(answers);
#define FEW_ANSWERS FEW_FN(answers)

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

/* Leaves of LANES_WIDTH trees from their first entries on, row_count rows (a constant). */
LANES_TARGET LANES_INLINE void FEW_FN(bits)(const lanes_group *g, const unsigned char *entries, const uint16_t *firsts,
                                            const FEW_TABLES *rows, unsigned row_count, unsigned table_count,
                                            FEW_ANSWERS answers[])
{
    LANES_VECTOR kept[LANES_ROWS_FEW];
    LANES_VECTOR base[LANES_ROWS_FEW];
    size_t lanes = g->lane_count;
    LANES_UNROLL
    for (unsigned r = 0; r < row_count; r++) {
        kept[r] = base[r] = (LANES_VECTOR){0};
    }
    for (unsigned b = 0; b < g->byte_count; b++) {
        LANES_VECTOR keep[LANES_ROWS_FEW];
        LANES_VECTOR here = (LANES_VECTOR){0} + (int8_t)(8 * b);
        const unsigned char *end = entries + 3 * lanes * g->positions[b];
        LANES_UNROLL
        for (unsigned r = 0; r < row_count; r++) {
            keep[r] = (LANES_VECTOR){0} - 1;
        }
        for (; entries < end; entries += 3 * lanes) {
            FEW_FN(entry)(entries, lanes, rows, row_count, table_count, keep);
        }
        LANES_UNROLL
        for (unsigned r = 0; r < row_count; r++) {
            LANES_VECTOR none = kept[r] == (LANES_VECTOR){0};
            kept[r] |= keep[r] & none;
            base[r] = (base[r] & ~none) | (here & none);
        }
    }
    LANES_UNROLL
    for (unsigned r = 0; r < row_count; r++) {
        uint8_t numbers[LANES_WIDTH];
        LANES_VECTOR found = base[r] + LANES_LOWEST(kept[r]);
        memcpy(numbers, &found, sizeof found);
        for (unsigned k = 0; k < LANES_WIDTH; k++) {
            answers[r].leaves[k] = (uint16_t)(firsts[k] + numbers[k]);
        }
    }
}

/* Add what the trees of one register answered, in tree order. */
LANES_TARGET LANES_INLINE void FEW_FN(sum)(const lanes_view *v, const FEW_ANSWERS *a, double *margins)
{
    lanes_add_few(v, a->leaves_first, a->tree_first, a->count, a->leaves, margins);
}

LANES_TARGET LANES_INLINE void FEW_FN(groups)(const lanes_view *v, const int8_t *bins, unsigned row_count,
                                              unsigned table_count, double *margins)
{
    FEW_TABLES rows[LANES_ROWS_FEW];
    FEW_ANSWERS answers[LANES_ROWS_FEW];
    LANES_UNROLL
    for (unsigned r = 0; r < row_count; r++) {
        FEW_OPEN(bins + r * LANES_FEW_COLUMNS, table_count, &rows[r]);
    }
    for (uint32_t first = 0; first < v->h->tree_count; first += LANES_TREES) {
        lanes_group g;
        if (!lanes_group_read(v, first / LANES_TREES, &g)) continue;
        lanes_parts parts = lanes_parts_of(v, &g);
        for (uint32_t lane = 0; lane < g.tree_count; lane += LANES_WIDTH) {
            uint32_t count = g.tree_count - lane < LANES_WIDTH ? g.tree_count - lane : LANES_WIDTH;
            FEW_FN(bits)(&g, parts.entries + lane, parts.firsts + lane, rows, row_count, table_count, answers);
            LANES_UNROLL
            for (unsigned r = 0; r < row_count; r++) {
                answers[r].leaves_first = g.leaves_first;
                answers[r].tree_first = first + lane;
                answers[r].count = count;
                FEW_FN(sum)(v, &answers[r], margins + r * v->h->margin_count);
            }
        }
    }
}

LANES_TARGET LANES_INLINE void FEW_FN(columns)(const lanes_view *v, const int8_t *bins, unsigned row_count,
                                               double *margins)
{
    if (v->byte_columns <= 16) {
        FEW_FN(groups)(v, bins, row_count, 1, margins);
    } else if (v->byte_columns <= 32) {
        FEW_FN(groups)(v, bins, row_count, 2, margins);
    } else {
        FEW_FN(groups)(v, bins, row_count, 4, margins);
    }
}

LANES_TARGET static void FEW_FN(kernel)(const lanes_view *v, const int8_t *bins, size_t row_count, double *margins)
{
    MYR_ASSERT(row_count >= 1 && row_count <= LANES_ROWS_FEW && v->byte_columns <= LANES_FEW_COLUMNS);
    if (row_count == LANES_ROWS_FEW) {
        FEW_FN(columns)(v, bins, LANES_ROWS_FEW, margins);
        return;
    }
    for (size_t i = 0; i < row_count; i++) {
        FEW_FN(columns)(v, bins + i * LANES_FEW_COLUMNS, 1, margins + i * v->h->margin_count);
    }
}

#undef FEW_NAME
#undef FEW_FN
#undef FEW_ANSWERS
#undef FEW_TABLES
#undef FEW_OPEN
#undef FEW_PICK
