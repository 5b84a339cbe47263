/*
 * The kernel of many rows, one tree at a time, as a template. The including file defines
 *   LANES_WIDTH, LANES_VECTOR              bytes of a register, and int8_t as the compiler's vector of that size
 *   LANES_TARGET                           an attribute or nothing
 *   LANES_CLEAR(keep, a, b, clears)        keep without the bits of `clears` where a is above b
 *   LANES_LOWEST(bits)                     the number of the lowest bit of each byte; of 0 anything
 *   MANY_NAME
 *   MANY_ADD                               as lanes_add_many, which it may be
 *
 * The registers of a tree byte start with all leaves; each entry clears its leaves in the rows whose bin is above the
 * rank. The first byte that keeps a bit holds the leaf; its lowest bit is the leaf's number in the byte.
 */
#include "model/lanes_inner.h"

#define MANY_FN(part) LANES_JOIN(MANY_NAME, part)
#define MANY_MAX      (LANES_ROWS_MANY / LANES_WIDTH)

/* Entries of one byte of one tree over `count` registers; keep[] starts as all ones. */
LANES_TARGET LANES_INLINE void MANY_FN(byte)(const int8_t *bins, const unsigned char *entry, uint32_t lanes,
                                             uint32_t entry_count, unsigned count, LANES_VECTOR keep[])
{
    ptrdiff_t tile = (ptrdiff_t)count * LANES_WIDTH;
    LANES_VECTOR ones = (LANES_VECTOR){0} - 1;
    LANES_OPAQUE(ones); /* else a byte is mirrored before it is spread, and takes the long way through a register */
    LANES_UNROLL
    for (unsigned r = 0; r < count; r++) {
        keep[r] = (LANES_VECTOR){0} - 1;
    }
    for (uint32_t p = 0; p < entry_count; p++, entry += 3 * (size_t)lanes) {
        const LANES_VECTOR *column = (const LANES_VECTOR *)(const void *)(bins + (int8_t)entry[0] * tile);
        LANES_VECTOR rank = ((LANES_VECTOR){0} + (int8_t)entry[lanes]) ^ ones;
        LANES_VECTOR clear = (LANES_VECTOR){0} + (int8_t)entry[2 * lanes];
        LANES_UNROLL
        for (unsigned r = 0; r < count; r++) {
            keep[r] = LANES_CLEAR(keep[r], rank, column[r], clear);
        }
    }
}

LANES_TARGET LANES_INLINE void MANY_FN(tree)(const int8_t *bins, const unsigned char *counts,
                                             const unsigned char *entries, const lanes_group *g, uint32_t k,
                                             unsigned count, uint8_t *leaf_numbers)
{
    LANES_VECTOR kept[MANY_MAX];
    LANES_VECTOR base[MANY_MAX];
    LANES_VECTOR keep[MANY_MAX];
    uint32_t lanes = g->lane_count;
    entries += k;
    MANY_FN(byte)(bins, entries, lanes, counts[k], count, kept);
    LANES_UNROLL
    for (unsigned r = 0; r < count; r++) {
        base[r] = (LANES_VECTOR){0};
    }
    for (unsigned b = 1; b < g->byte_count; b++) {
        entries += 3 * (size_t)lanes * g->positions[b - 1];
        MANY_FN(byte)(bins, entries, lanes, counts[b * lanes + k], count, keep);
        LANES_VECTOR here = (LANES_VECTOR){0} + (int8_t)(8 * b);
        LANES_UNROLL
        for (unsigned r = 0; r < count; r++) {
            LANES_VECTOR none = kept[r] == (LANES_VECTOR){0};
            kept[r] |= keep[r] & none;
            base[r] = (base[r] & ~none) | (here & none);
        }
    }
    LANES_UNROLL
    for (unsigned r = 0; r < count; r++) {
        LANES_VECTOR number = base[r] + LANES_LOWEST(kept[r]);
        memcpy(leaf_numbers + r * LANES_WIDTH, &number, sizeof number);
    }
}

LANES_TARGET LANES_INLINE void MANY_FN(groups)(const lanes_view *v, const int8_t *bins, unsigned count,
                                               size_t row_count, double *margins)
{
    uint8_t leaf_numbers[LANES_ROWS_MANY];
    for (uint32_t first = 0; first < v->h->tree_count; first += LANES_TREES) {
        lanes_group g;
        if (!lanes_group_read(v, first / LANES_TREES, &g)) continue;
        lanes_parts parts = lanes_parts_of(v, &g);
        for (uint32_t k = 0; k < g.tree_count; k++) {
            MANY_FN(tree)(bins, parts.counts, parts.entries, &g, k, count, leaf_numbers);
            MANY_ADD(v, g.leaves_first + parts.firsts[k], first + k, g.byte_count, leaf_numbers, row_count, margins);
        }
    }
}

LANES_TARGET static void MANY_FN(kernel)(const lanes_view *v, const int8_t *bins, size_t tile, size_t row_count,
                                         double *margins)
{
    MYR_ASSERT((tile == LANES_ROWS_MANY || tile == LANES_ROWS_SOME) && row_count <= tile);
    if (tile == LANES_ROWS_MANY) {
        MANY_FN(groups)(v, bins, LANES_ROWS_MANY / LANES_WIDTH, row_count, margins);
    } else {
        MANY_FN(groups)(v, bins, LANES_ROWS_SOME / LANES_WIDTH, row_count, margins);
    }
}
