/*
 * Rows become bins, as a template of the vector kernels. The including file defines LANES_TARGET (an attribute or
 * nothing) and
 *   BINS_NAME
 *   BINS_KEY               a register of one key
 *   BINS_SPLAT(order)      the key of an order in memory, in every lane of it
 *   BINS_BELOW(keys, key)  how many of LANES_BLOCK keys are below it, times BINS_SCALE
 *
 * Values become orders by vectors, NaN as zero; what is missing is mended afterwards, if there was any. Several rows
 * are searched side by side. Bins of few rows are written sixteen at a time, since that is how the kernel loads them: a
 * load of what several stores wrote would wait until they have all left for the cache.
 */
#include "model/lanes_inner.h"

#define BINS_FN(part) LANES_JOIN(BINS_NAME, part)
#define BINS_ROWS     4 /* searched side by side */
#define BINS_VALUES   4 /* of a row, made orders at once */

typedef double BINS_FN(doubles) __attribute__((vector_size(BINS_VALUES * sizeof(double))));
typedef int64_t BINS_FN(longs) __attribute__((vector_size(BINS_VALUES * sizeof(int64_t))));
typedef float BINS_FN(floats) __attribute__((vector_size(BINS_VALUES * sizeof(float))));
typedef int32_t BINS_FN(ints) __attribute__((vector_size(BINS_VALUES * sizeof(int32_t))));
typedef uint64_t BINS_FN(unsigned) __attribute__((vector_size(BINS_VALUES * sizeof(uint64_t))));
typedef uint32_t BINS_FN(unsigned32) __attribute__((vector_size(BINS_VALUES * sizeof(uint32_t))));
typedef uint64_t BINS_FN(pair) __attribute__((vector_size(16)));

/* As lanes_order; what is NaN adds its bits to *odd. */
LANES_TARGET LANES_INLINE BINS_FN(longs) BINS_FN(order)(BINS_FN(doubles) x, bool single, BINS_FN(longs) * odd)
{
    BINS_FN(longs) is_nan = x != x; /* NOLINT(misc-redundant-expression): only a NaN differs from itself */
    *odd |= is_nan;
    BINS_FN(doubles) number = (BINS_FN(doubles))((BINS_FN(longs))x & ~is_nan);
    if (single) {
        BINS_FN(floats) narrow = __builtin_convertvector(number, BINS_FN(floats)) + 0.0f;
        BINS_FN(ints) bits = (BINS_FN(ints))narrow;
        bits ^= (BINS_FN(ints))((BINS_FN(unsigned32))(bits >> 31) >> 1);
        return (BINS_FN(longs))((BINS_FN(unsigned)) __builtin_convertvector(bits, BINS_FN(longs)) << 32);
    }
    BINS_FN(longs) bits = (BINS_FN(longs))(number + 0.0);
    return bits ^ (BINS_FN(longs))((BINS_FN(unsigned))(bits < 0) >> 1);
}

/* The numeric columns' values of one row, as orders; true if one is NaN. */
LANES_TARGET LANES_INLINE bool BINS_FN(orders)(const lanes_view *v, const double *row, bool single,
                                               int64_t orders[LANES_COLUMNS_MAX])
{
    BINS_FN(longs) odd = {0};
    uint32_t count = v->h->numeric_columns;
    for (uint32_t j = 0; j < count; j += BINS_VALUES) {
        const lanes_column *c = &v->columns[j];
        BINS_FN(doubles)
        x = {row[c[0].feature], j + 1 < count ? row[c[1].feature] : 0.0, j + 2 < count ? row[c[2].feature] : 0.0,
             j + 3 < count ? row[c[3].feature] : 0.0};
        BINS_FN(longs) found = BINS_FN(order)(x, single, &odd);
        memcpy(orders + j, &found, sizeof found);
    }
    return (odd[0] | odd[1] | odd[2] | odd[3]) != 0;
}

/* A column as the search needs it, read once: what is stored between might be these very bytes, for all compilers know.
 */
typedef struct BINS_FN(place) {
    const lanes_column *column;
    const int32_t *keys;
    bool pivots;
} BINS_FN(place);

LANES_TARGET LANES_INLINE BINS_FN(place) BINS_FN(open)(const lanes_view *v, uint32_t j)
{
    const lanes_column *column = &v->columns[j];
    return (BINS_FN(place)){column, v->keys + (size_t)column->key_block * LANES_BLOCK,
                            column->rank_count >= LANES_BLOCK};
}

/* One value in one column: how many thresholds are below. */
LANES_TARGET LANES_INLINE uint32_t BINS_FN(rank)(const lanes_view *v, const BINS_FN(place) * place,
                                                 const int64_t *order, bool single)
{
    BINS_KEY key = BINS_SPLAT(order);
    const int32_t *keys = place->keys;
    uint32_t rank = 0;
    if (place->pivots) {
        rank = BINS_BELOW(keys, key) * (LANES_BLOCK / BINS_SCALE);
        keys += LANES_BLOCK;
    }
    rank += BINS_BELOW(keys + rank, key) / BINS_SCALE;
    if (!single && __builtin_expect(keys[rank] == lanes_key_of(order), 0)) {
        rank = quantise_ties(v, place->column, keys, rank, *order);
    }
    return rank;
}

/* Eight columns of row_count rows (a constant) from `j` on, or how many there are: words[i] has the bins of row i. */
LANES_TARGET LANES_INLINE void BINS_FN(word)(const lanes_view *v, uint32_t j, unsigned row_count,
                                             const int64_t orders[][LANES_COLUMNS_MAX], bool single,
                                             uint64_t words[BINS_ROWS])
{
    uint32_t count = v->h->numeric_columns;
    uint32_t end = count < j + 8 ? count : j + 8;
    unsigned gap = end < j ? 64 : 8 * (j + 8 - end);
    LANES_UNROLL
    for (unsigned i = 0; i < row_count; i++) {
        words[i] = 0;
    }
    for (; j < end; j++) {
        BINS_FN(place) place = BINS_FN(open)(v, j);
        LANES_UNROLL
        for (unsigned i = 0; i < row_count; i++) {
            words[i] = words[i] >> 8 | (uint64_t)BINS_FN(rank)(v, &place, &orders[i][j], single) << 56;
        }
    }
    LANES_UNROLL
    for (unsigned i = 0; i < row_count; i++) {
        words[i] = gap < 64 ? words[i] >> gap : 0;
    }
}

/* Few rows, the bins of each side by side. */
LANES_TARGET LANES_INLINE void BINS_FN(few)(const lanes_view *v, const double *rows, size_t row_stride,
                                            unsigned row_count, int8_t *bins, size_t row_step, bool single)
{
    int64_t orders[BINS_ROWS][LANES_COLUMNS_MAX];
    bool odd = (v->h->flags & MODEL_SPECIAL) != 0;
    MYR_ASSERT(v->h->numeric_columns <= row_step && row_step % 16 == 0);
    for (unsigned i = 0; i < row_count; i++) {
        odd |= BINS_FN(orders)(v, rows + i * row_stride, single, orders[i]);
    }
    for (uint32_t j = 0; j < v->h->numeric_columns; j += 16) {
        uint64_t low[BINS_ROWS];
        uint64_t high[BINS_ROWS];
        BINS_FN(word)(v, j, row_count, orders, single, low);
        BINS_FN(word)(v, j + 8, row_count, orders, single, high);
        LANES_UNROLL
        for (unsigned i = 0; i < row_count; i++) {
            BINS_FN(pair) both = (BINS_FN(pair)){low[i], high[i]} ^ 0x8080808080808080u;
            memcpy(bins + i * row_step + j, &both, sizeof both);
        }
    }
    if (odd) myr_lanes_quantise_missing(v, rows, row_stride, row_count, bins, 1, row_step);
}

/* Rows of a tile, the bins of a column side by side. */
LANES_TARGET LANES_INLINE void BINS_FN(block)(const lanes_view *v, const double *rows, size_t row_stride,
                                              unsigned row_count, int8_t *bins, size_t column_step, bool single)
{
    int64_t orders[BINS_ROWS][LANES_COLUMNS_MAX];
    bool odd = (v->h->flags & MODEL_SPECIAL) != 0;
    for (unsigned i = 0; i < row_count; i++) {
        odd |= BINS_FN(orders)(v, rows + i * row_stride, single, orders[i]);
    }
    int8_t *out = bins;
    for (uint32_t j = 0; j < v->h->numeric_columns; j++, out += column_step) {
        BINS_FN(place) place = BINS_FN(open)(v, j);
        LANES_UNROLL
        for (unsigned i = 0; i < row_count; i++) {
            out[i] = (int8_t)(uint8_t)(BINS_FN(rank)(v, &place, &orders[i][j], single) - 128u);
        }
    }
    if (odd) myr_lanes_quantise_missing(v, rows, row_stride, row_count, bins, column_step, 1);
}

/* row_step is 1 (a tile) or column_step is (few rows). */
LANES_TARGET LANES_INLINE void BINS_FN(rows)(const lanes_view *v, const double *rows, size_t row_stride,
                                             size_t row_count, int8_t *bins, size_t column_step, size_t row_step,
                                             bool single)
{
    size_t i = 0;
    for (; i + BINS_ROWS <= row_count; i += BINS_ROWS) {
        if (row_step == 1) {
            BINS_FN(block)(v, rows + i * row_stride, row_stride, BINS_ROWS, bins + i, column_step, single);
        } else {
            BINS_FN(few)(v, rows + i * row_stride, row_stride, BINS_ROWS, bins + i * row_step, row_step, single);
        }
    }
    for (; i < row_count; i++) {
        if (row_step == 1) {
            BINS_FN(block)(v, rows + i * row_stride, row_stride, 1, bins + i, column_step, single);
        } else {
            BINS_FN(few)(v, rows + i * row_stride, row_stride, 1, bins + i * row_step, row_step, single);
        }
    }
}

LANES_TARGET static void BINS_FN(kernel)(const lanes_view *v, const double *rows, size_t row_stride, size_t row_count,
                                         int8_t *bins, size_t column_step, size_t row_step)
{
    MYR_ASSERT(row_step == 1 || column_step == 1);
    if (v->h->calc == MYR_CALC_F32) {
        BINS_FN(rows)(v, rows, row_stride, row_count, bins, column_step, row_step, true);
    } else {
        BINS_FN(rows)(v, rows, row_stride, row_count, bins, column_step, row_step, false);
    }
    if (v->h->set_columns > 0) myr_lanes_quantise_sets(v, rows, row_stride, row_count, bins, column_step, row_step);
}
