/* What the kernels of lanes share: an opened column, and how leaves are added. Known to lanes_*.c alone. */
#ifndef MYR_MODEL_LANES_INNER_H
#define MYR_MODEL_LANES_INNER_H

#include <math.h>

#include "model/lanes.h"

/* Loops over registers must be unrolled, or the registers live in memory. */
#if defined(__clang__)
#define LANES_UNROLL   _Pragma("clang loop unroll(full)")
#define LANES_UNROLL_4 _Pragma("clang loop unroll_count(4)")
#else
#define LANES_UNROLL   _Pragma("GCC unroll 16")
#define LANES_UNROLL_4 _Pragma("GCC unroll 4")
#endif

/* The compiler may no longer know what a register holds. */
#if defined(__x86_64__) && !defined(MYR_LANES_EMULATED)
#define LANES_OPAQUE(vector) __asm__("" : "+x"(vector))
#elif defined(__aarch64__)
#define LANES_OPAQUE(vector) __asm__("" : "+w"(vector))
#else
#define LANES_OPAQUE(vector) (void)(vector)
#endif

/* What was stored is loaded again: one instruction, where the compiler would take a register apart. */
#if defined(MYR_LANES_EMULATED)
#define LANES_IN_MEMORY(object) (void)(object)
#else
#define LANES_IN_MEMORY(object) __asm__("" : "+m"(object))
#endif

#define LANES_INLINE      static inline __attribute__((always_inline))
#define LANES_JOIN_(a, b) a##_##b
#define LANES_JOIN(a, b)  LANES_JOIN_(a, b)

static inline uint32_t quantise_low(const lanes_view *v, uint32_t low_idx)
{
    return v->low_codes != NULL ? v->lows[v->low_codes[low_idx]] : v->lows[low_idx];
}

/* Thresholds with the value's key: the lower halves below its own count too. Rare, so a loop. */
static inline uint32_t quantise_ties(const lanes_view *v, const lanes_column *column, const int32_t *keys,
                                     uint32_t rank, int64_t order)
{
    while (rank < column->rank_count && keys[rank] == (int32_t)(order >> 32) &&
           quantise_low(v, column->low_first + rank) < (uint32_t)order) {
        rank++;
    }
    return rank;
}

static inline bool quantise_is_missing(double x, bool zero)
{
    return isnan(x) || (zero && x >= -MODEL_ZERO && x <= MODEL_ZERO);
}

/* A slab of one row: per column the value, and where its block of keys begins. */
typedef struct lanes_slab {
    _Alignas(64) int64_t orders[LANES_SLAB];
    int32_t keys[LANES_SLAB];  /* upper halves of the orders */
    int32_t at[LANES_SLAB];    /* first key of the block, in the model's keys */
    int32_t below[LANES_SLAB]; /* keys of the column before the block */
} lanes_slab;

/* Rows of bins become columns of bins; both at most LANES_SLAB. Whole columns of it are written. */
static inline void quantise_turn(int8_t square[LANES_SLAB][LANES_SLAB], uint32_t column_count, size_t row_count,
                                 int8_t *bins, size_t column_step)
{
    for (uint32_t c = 0; c < column_count; c++) {
        for (size_t i = 0; i < row_count; i++) {
            bins[c * column_step + i] = square[i][c];
        }
    }
}

/* Put the bin of the missing where a row misses something, in the numeric columns. */
void myr_lanes_quantise_missing(const lanes_view *v, const double *rows, size_t row_stride, size_t row_count,
                                int8_t *bins, size_t column_step, size_t row_step);
/* Bins of one row of a slab, counted by keys alone: where a key equals the value's, its lower half decides. */
void myr_lanes_quantise_equal(const lanes_view *v, uint32_t j, uint32_t count, const lanes_slab *s, int8_t *bins);
/* The bins of the set columns. */
void myr_lanes_quantise_sets(const lanes_view *v, const double *rows, size_t row_stride, size_t row_count, int8_t *bins,
                             size_t column_step, size_t row_step);
void myr_lanes_quantise_plain(const lanes_view *v, const double *rows, size_t row_stride, size_t row_count,
                              int8_t *bins, size_t column_step, size_t row_step);

/* For CPUs whose own registers pick no better. */
void myr_lanes_few_avx2(const lanes_view *v, const double *rows, size_t row_stride, size_t row_count,
                        lanes_ahead *ahead, double *margins);
void myr_lanes_find_avx2(const lanes_view *v, const double *row, lanes_ahead *ahead, uint32_t *leaves);

/* Where the parts of a group's entries lie. */
typedef struct lanes_parts {
    const uint16_t *firsts;
    const unsigned char *counts;  /* of byte b and tree k at b * lane_count + k */
    const unsigned char *entries; /* columns of byte 0, entry 0 */
} lanes_parts;

static inline lanes_parts lanes_parts_of(const lanes_view *v, const lanes_group *g)
{
    const unsigned char *at = v->entries + g->entries_at;
    const unsigned char *counts = at + g->lane_count * sizeof(uint16_t);
    return (lanes_parts){(const uint16_t *)(const void *)at, counts, counts + (size_t)g->lane_count * g->byte_count};
}

/* The sum keeps the library's type: an F32 margin is rounded to float after each tree. */
static inline void lanes_add(const lanes_view *v, double *margin, uint32_t leaf_idx, bool single)
{
    if (single) {
        *margin = (double)((float)*margin + ((const float *)v->leaves)[leaf_idx]);
    } else {
        *margin += ((const double *)v->leaves)[leaf_idx];
    }
}

/* One tree's leaf numbers of many rows; its group has byte_count bytes. */
static inline void lanes_add_many(const lanes_view *v, uint32_t leaves_first, uint32_t tree_idx, uint32_t byte_count,
                                  const uint8_t *leaf_numbers, size_t row_count, double *margins)
{
    (void)byte_count;
    size_t width = v->h->margin_count;
    if (width > 1) margins += v->outputs[tree_idx];
    if (v->h->calc == MYR_CALC_F32) {
        for (size_t i = 0; i < row_count; i++) {
            lanes_add(v, &margins[i * width], leaves_first + leaf_numbers[i], true);
        }
    } else if (width > 1) {
        for (size_t i = 0; i < row_count; i++) {
            lanes_add(v, &margins[i * width], leaves_first + leaf_numbers[i], false);
        }
    } else {
        const double *leaves = (const double *)v->leaves + leaves_first;
        for (size_t i = 0; i < row_count; i++) {
            margins[i] += leaves[leaf_numbers[i]];
        }
    }
}

/* What `count` trees from tree_first on answered for one row, in tree order; leaves from the group's first on. */
static inline void lanes_add_few(const lanes_view *v, uint32_t leaves_first, uint32_t tree_first, uint32_t count,
                                 const uint16_t *leaves, double *margins)
{
    if (v->outputs == NULL && v->h->calc == MYR_CALC_F32) {
        const float *values = (const float *)v->leaves + leaves_first;
        float sum = (float)*margins;
        LANES_UNROLL_4
        for (uint32_t k = 0; k < count; k++) {
            sum += values[leaves[k]];
        }
        *margins = (double)sum;
    } else if (v->outputs == NULL) {
        const double *values = (const double *)v->leaves + leaves_first;
        double sum = *margins;
        LANES_UNROLL_4
        for (uint32_t k = 0; k < count; k++) {
            sum += values[leaves[k]];
        }
        *margins = sum;
    } else {
        for (uint32_t k = 0; k < count; k++) {
            lanes_add(v, &margins[v->outputs[tree_first + k]], leaves_first + leaves[k], v->h->calc == MYR_CALC_F32);
        }
    }
}

#endif
