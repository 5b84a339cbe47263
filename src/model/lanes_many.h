/*
 * The kernel of many rows, one tree at a time, as a template: the including file defines MANY_NAME, MANY_WIDTH (bytes
 * of a register) and MANY_TARGET (an attribute or nothing). Written in the compiler's vectors, which every CPU has.
 *
 * The registers of a tree byte start with all leaves; each entry clears its leaves in the rows whose bin is above the
 * rank. The first byte that keeps a bit holds the leaf; its lowest bit is the leaf's number in the byte.
 */
#include "model/lanes_inner.h"

#define MANY_JOIN_(a, b) a##_##b
#define MANY_JOIN(a, b)  MANY_JOIN_(a, b)
#define MANY_FN(part)    MANY_JOIN(MANY_NAME, part)

typedef int8_t MANY_FN(vector) __attribute__((vector_size(MANY_WIDTH)));
typedef uint8_t MANY_FN(bits) __attribute__((vector_size(MANY_WIDTH)));
#define MANY_VECTOR MANY_FN(vector)
#define MANY_MAX    (LANES_ROWS_MANY / MANY_WIDTH)

/* Entries of one byte of one tree over `count` registers; keep[] starts as all ones. */
MANY_TARGET static inline __attribute__((always_inline)) void MANY_FN(byte)(const int8_t *bins,
                                                                            const unsigned char *entry, uint32_t lanes,
                                                                            uint32_t entry_count, unsigned count,
                                                                            MANY_VECTOR keep[])
{
    LANES_UNROLL
    for (unsigned r = 0; r < count; r++) {
        keep[r] = (MANY_VECTOR){0} - 1;
    }
    for (uint32_t p = 0; p < entry_count; p++, entry += 3 * (size_t)lanes) {
        const MANY_VECTOR *column = (const MANY_VECTOR *)(const void *)(bins + (size_t)entry[0] * count * MANY_WIDTH);
        MANY_VECTOR rank = (MANY_VECTOR){0} + (int8_t)entry[lanes];
        MANY_VECTOR clear = (MANY_VECTOR){0} + (int8_t)entry[2 * lanes];
        LANES_UNROLL
        for (unsigned r = 0; r < count; r++) {
            keep[r] &= ~((column[r] > rank) & clear);
        }
    }
}

/* Number of the lowest bit of each byte. */
MANY_TARGET static inline __attribute__((always_inline)) MANY_VECTOR MANY_FN(lowest)(MANY_VECTOR bits)
{
    MANY_VECTOR zero = {0};
    MANY_VECTOR low = bits & (MANY_VECTOR)((MANY_FN(bits)){0} - (MANY_FN(bits))bits);
    return (((low & (zero + (int8_t)0xaa)) != zero) & (zero + 1)) |
           (((low & (zero + (int8_t)0xcc)) != zero) & (zero + 2)) |
           (((low & (zero + (int8_t)0xf0)) != zero) & (zero + 4));
}

MANY_TARGET static inline __attribute__((always_inline)) void
MANY_FN(tree)(const int8_t *bins, const unsigned char *counts, const unsigned char *entries, const lanes_group *g,
              uint32_t k, unsigned count, uint8_t *leaf_numbers)
{
    MANY_VECTOR kept[MANY_MAX];
    MANY_VECTOR base[MANY_MAX];
    MANY_VECTOR keep[MANY_MAX];
    uint32_t lanes = g->lane_count;
    entries += k;
    MANY_FN(byte)(bins, entries, lanes, counts[k], count, kept);
    LANES_UNROLL
    for (unsigned r = 0; r < count; r++) {
        base[r] = (MANY_VECTOR){0};
    }
    for (unsigned b = 1; b < g->byte_count; b++) {
        entries += 3 * (size_t)lanes * g->positions[b - 1];
        MANY_FN(byte)(bins, entries, lanes, counts[b * lanes + k], count, keep);
        MANY_VECTOR here = (MANY_VECTOR){0} + (int8_t)(8 * b);
        LANES_UNROLL
        for (unsigned r = 0; r < count; r++) {
            MANY_VECTOR none = kept[r] == (MANY_VECTOR){0};
            kept[r] |= keep[r] & none;
            base[r] = (base[r] & ~none) | (here & none);
        }
    }
    LANES_UNROLL
    for (unsigned r = 0; r < count; r++) {
        MANY_VECTOR number = base[r] | MANY_FN(lowest)(kept[r]);
        memcpy(leaf_numbers + r * MANY_WIDTH, &number, sizeof number);
    }
}

MANY_TARGET static inline __attribute__((always_inline)) void
MANY_FN(groups)(const lanes_view *v, const int8_t *bins, unsigned count, size_t row_count, double *margins)
{
    uint8_t leaf_numbers[LANES_ROWS_MANY];
    for (uint32_t first = 0; first < v->h->tree_count; first += LANES_TREES) {
        lanes_group g;
        if (!lanes_group_read(v, first / LANES_TREES, &g)) continue;
        lanes_parts parts = lanes_parts_of(v, &g);
        for (uint32_t k = 0; k < g.tree_count; k++) {
            MANY_FN(tree)(bins, parts.counts, parts.entries, &g, k, count, leaf_numbers);
            lanes_add_many(v, g.leaves_first + parts.firsts[k], first + k, leaf_numbers, row_count, margins);
        }
    }
}

MANY_TARGET static void MANY_FN(kernel)(const lanes_view *v, const int8_t *bins, size_t tile, size_t row_count,
                                        double *margins)
{
    MYR_ASSERT((tile == LANES_ROWS_MANY || tile == LANES_ROWS_SOME) && row_count <= tile);
    if (tile == LANES_ROWS_MANY) {
        MANY_FN(groups)(v, bins, LANES_ROWS_MANY / MANY_WIDTH, row_count, margins);
    } else {
        MANY_FN(groups)(v, bins, LANES_ROWS_SOME / MANY_WIDTH, row_count, margins);
    }
}
