/*
 * Rows become bins, as a template of the vector kernels. The including file defines LANES_TARGET (an attribute or
 * nothing) and
 *   BINS_NAME
 *   BINS_ODD               what collects the missing: integers of BINS_VALUES lanes, where a NaN sets bits
 *   BINS_ANY(odd)          is there a bit?
 *   BINS_VALUES            columns of a row that are handled at once: 4 or 8
 *   BINS_LOAD(from, count) a vector of that many doubles, of which `count` are there and the others are 0
 *   BINS_KEY               a register of one key
 *   BINS_SPLAT(key)        a key in memory, in every lane of it
 *   BINS_BELOW(keys, key)  how many of LANES_BLOCK keys are below it, times BINS_SCALE
 *   BINS_OPEN, BINS_RANKS  if it has better ones: as open() and ranks() below; then only the first three are asked
 *                          for
 *
 * Values become orders by vectors, NaN as zero; what is missing is mended afterwards, if there was any. The blocks of
 * all columns of a slab are found side by side, pivot by pivot; then each column's block is searched. Bins of few rows
 * are written sixteen at a time, since that is how the kernel loads them: a load of what several stores wrote would
 * wait until they have all left for the cache.
 */
#include "model/lanes_inner.h"

#define BINS_FN(part) LANES_JOIN(BINS_NAME, part)
#define BINS_ROWS     4 /* opened before they are searched, so that no step waits for the one before */

#if !defined(BINS_OPEN)
#define BINS_OPEN  BINS_FN(open)
#define BINS_RANKS BINS_FN(ranks)

typedef double BINS_FN(doubles) __attribute__((vector_size(BINS_VALUES * sizeof(double))));
typedef int64_t BINS_FN(longs) __attribute__((vector_size(BINS_VALUES * sizeof(int64_t))));
typedef float BINS_FN(floats) __attribute__((vector_size(BINS_VALUES * sizeof(float))));
typedef int32_t BINS_FN(ints) __attribute__((vector_size(BINS_VALUES * sizeof(int32_t))));
typedef uint64_t BINS_FN(unsigned) __attribute__((vector_size(BINS_VALUES * sizeof(uint64_t))));
typedef uint32_t BINS_FN(unsigned32) __attribute__((vector_size(BINS_VALUES * sizeof(uint32_t))));
typedef uint64_t BINS_FN(pair) __attribute__((vector_size(16)));

/* As lanes_order; what is NaN adds its bits to *odd. */
LANES_TARGET LANES_INLINE BINS_FN(longs) BINS_FN(order)(BINS_FN(doubles) x, bool single, BINS_ODD *odd)
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

/* The values of BINS_VALUES columns from j on, or as many as there are, and zeros. */
LANES_TARGET LANES_INLINE BINS_FN(doubles) BINS_FN(values)(const lanes_view *v, const double *row, uint32_t j)
{
    const lanes_column *c = &v->columns[j];
    uint32_t count = v->h->numeric_columns - j;
    if (count > BINS_VALUES) count = BINS_VALUES;
    if ((v->columns[j / LANES_RUN_COLUMNS * LANES_RUN_COLUMNS].flags & LANES_RUN) != 0)
        return BINS_LOAD(row + c->feature, count);
    BINS_FN(doubles) x = {0};
    for (uint32_t k = 0; k < count; k++) {
        x[k] = row[c[k].feature];
    }
    return x;
}

/* Layouts before LANES_SLABS_SINCE: the pivots of a column stand before its blocks. */
LANES_TARGET static void BINS_FN(blocks_of_old)(const lanes_view *v, uint32_t j, uint32_t count, lanes_slab *s)
{
    for (uint32_t k = 0; k < count; k++) {
        const lanes_column *column = &v->columns[j + k];
        int32_t at = (int32_t)column->key_block * LANES_BLOCK;
        s->below[k] = 0;
        s->at[k] = at;
        if (column->rank_count < LANES_BLOCK) continue;
        BINS_KEY key = BINS_SPLAT(&s->keys[k]);
        s->below[k] = (int32_t)BINS_BELOW(v->keys + at, key) / BINS_SCALE * LANES_BLOCK;
        s->at[k] = at + LANES_BLOCK + s->below[k];
    }
}

/* Orders and blocks of the `count` columns of a slab, from column j on. */
LANES_TARGET LANES_INLINE void BINS_FN(open)(const lanes_view *v, const double *row, uint32_t j, uint32_t count,
                                             bool single, lanes_slab *s, BINS_ODD *odd)
{
    const lanes_column *first = &v->columns[j];
    const int32_t *slab = v->keys + (size_t)first->slab_block * LANES_BLOCK;
    const int32_t *end = slab + LANES_SLAB + (size_t)first->slab_rows * LANES_SLAB;
    for (uint32_t k = 0; k < count; k += BINS_VALUES) {
        BINS_FN(longs) orders = BINS_FN(order)(BINS_FN(values)(v, row, j + k), single, odd);
        BINS_FN(ints) keys = __builtin_convertvector(orders >> 32, BINS_FN(ints));
        memcpy(s->orders + k, &orders, sizeof orders);
        memcpy(s->keys + k, &keys, sizeof keys);
        if (!v->slabs) continue;
        BINS_FN(ints) at;
        BINS_FN(ints) below = {0};
        for (const int32_t *row_of = slab + LANES_SLAB + k; row_of < end; row_of += LANES_SLAB) {
            BINS_FN(ints) pivots;
            memcpy(&pivots, row_of, sizeof pivots);
            below -= keys > pivots;
        }
        memcpy(&at, slab + k, sizeof at);
        below <<= LANES_BLOCK_SHIFT;
        at += below;
        memcpy(s->below + k, &below, sizeof below);
        memcpy(s->at + k, &at, sizeof at);
    }
    if (!v->slabs) BINS_FN(blocks_of_old)(v, j, count, s);
}

/* The column j + k: how many thresholds are below. */
LANES_TARGET LANES_INLINE uint32_t BINS_FN(rank)(const lanes_view *v, uint32_t j, uint32_t k, const lanes_slab *s,
                                                 bool single)
{
    BINS_KEY key = BINS_SPLAT(&s->keys[k]);
    const int32_t *block = v->keys + s->at[k];
    uint32_t in_block = BINS_BELOW(block, key) / BINS_SCALE;
    uint32_t rank = (uint32_t)s->below[k] + in_block;
    if (!single && __builtin_expect(block[in_block] == s->keys[k], 0))
        rank = quantise_ties(v, &v->columns[j + k], block - s->below[k], rank, s->orders[k]);
    return rank;
}

/* Eight columns from j + k on, or how many there are of `count` from j on: their ranks side by side. */
LANES_TARGET LANES_INLINE uint64_t BINS_FN(word)(const lanes_view *v, uint32_t j, uint32_t k, uint32_t count,
                                                 const lanes_slab *s, bool single)
{
    uint32_t end = count < k + 8 ? count : k + 8;
    uint64_t word = 0;
    if (end <= k) return 0;
    unsigned gap = 8 * (k + 8 - end);
    for (; k < end; k++) {
        word = word >> 8 | (uint64_t)BINS_FN(rank)(v, j, k, s, single) << 56;
    }
    return word >> gap;
}

/*
 * The bins of the `count` columns from j on, of an opened slab; in one piece if they are for few rows, whose kernel
 * loads them so.
 */
LANES_TARGET LANES_INLINE void BINS_FN(ranks)(const lanes_view *v, uint32_t j, uint32_t count, const lanes_slab *s,
                                              bool single, bool few, int8_t bins[LANES_SLAB])
{
    if (few) {
        BINS_FN(pair)
        both = {BINS_FN(word)(v, j, 0, count, s, single), BINS_FN(word)(v, j, 8, count, s, single)};
        both ^= 0x8080808080808080u;
        memcpy(bins, &both, sizeof both);
        return;
    }
    for (uint32_t k = 0; k < count; k++) {
        bins[k] = (int8_t)(uint8_t)(BINS_FN(rank)(v, j, k, s, single) - 128u);
    }
}
#endif

LANES_INLINE uint32_t BINS_FN(count)(const lanes_view *v, uint32_t j)
{
    uint32_t count = v->h->numeric_columns - j;
    return count < LANES_SLAB ? count : LANES_SLAB;
}

/* The slab from column j on of at most BINS_ROWS rows: the bins of each side by side. */
LANES_TARGET LANES_INLINE void BINS_FN(slabs)(const lanes_view *v, const double *rows, size_t row_stride,
                                              size_t row_count, uint32_t j, bool single, bool few, int8_t *bins,
                                              size_t row_step, BINS_ODD *odd)
{
    lanes_slab slabs[BINS_ROWS];
    uint32_t count = BINS_FN(count)(v, j);
    for (size_t i = 0; i < row_count; i++) {
        BINS_OPEN(v, rows + i * row_stride, j, count, single, &slabs[i], odd);
    }
    for (size_t i = 0; i < row_count; i++) {
        BINS_RANKS(v, j, count, &slabs[i], single, few, bins + i * row_step);
    }
}

/* Few rows, the bins of each side by side. */
LANES_TARGET LANES_INLINE void BINS_FN(few)(const lanes_view *v, const double *rows, size_t row_stride,
                                            size_t row_count, int8_t *bins, size_t row_step, bool single)
{
    BINS_ODD odd = {0};
    for (uint32_t j = 0; j < v->h->numeric_columns; j += LANES_SLAB) {
        BINS_FN(slabs)(v, rows, row_stride, row_count, j, single, true, bins + j, row_step, &odd);
    }
    if ((v->h->flags & MODEL_SPECIAL) != 0 || BINS_ANY(odd))
        myr_lanes_quantise_missing(v, rows, row_stride, row_count, bins, 1, row_step);
}

/* Rows of a tile, at most LANES_SLAB of them: the bins of a column side by side. */
LANES_TARGET LANES_INLINE void BINS_FN(block)(const lanes_view *v, const double *rows, size_t row_stride,
                                              size_t row_count, int8_t *bins, size_t column_step, bool single)
{
    BINS_ODD odd = {0};
    for (uint32_t j = 0; j < v->h->numeric_columns; j += LANES_SLAB) {
        int8_t square[LANES_SLAB][LANES_SLAB];
        for (size_t i = 0; i < row_count; i += BINS_ROWS) {
            size_t some = row_count - i < BINS_ROWS ? row_count - i : BINS_ROWS;
            BINS_FN(slabs)(v, rows + i * row_stride, row_stride, some, j, single, false, square[i], LANES_SLAB, &odd);
        }
        quantise_turn(square, BINS_FN(count)(v, j), row_count, bins + j * column_step, column_step);
    }
    if ((v->h->flags & MODEL_SPECIAL) != 0 || BINS_ANY(odd))
        myr_lanes_quantise_missing(v, rows, row_stride, row_count, bins, column_step, 1);
}

/* row_step is 1 (a tile) or column_step is (few rows). */
LANES_TARGET LANES_INLINE void BINS_FN(rows)(const lanes_view *v, const double *rows, size_t row_stride,
                                             size_t row_count, int8_t *bins, size_t column_step, size_t row_step,
                                             bool single)
{
    size_t i = 0;
    for (; row_step != 1 && i + BINS_ROWS <= row_count; i += BINS_ROWS) {
        BINS_FN(few)(v, rows + i * row_stride, row_stride, BINS_ROWS, bins + i * row_step, row_step, single);
    }
    for (; row_step != 1 && i < row_count; i++) {
        BINS_FN(few)(v, rows + i * row_stride, row_stride, 1, bins + i * row_step, row_step, single);
    }
    for (; i < row_count; i += LANES_SLAB) {
        size_t count = row_count - i < LANES_SLAB ? row_count - i : LANES_SLAB;
        BINS_FN(block)(v, rows + i * row_stride, row_stride, count, bins + i, column_step, single);
    }
}

LANES_TARGET static void BINS_FN(kernel)(const lanes_view *v, const double *rows, size_t row_stride, size_t row_count,
                                         int8_t *bins, size_t column_step, size_t row_step)
{
    MYR_ASSERT(row_step == 1 || (column_step == 1 && row_step % LANES_SLAB == 0 && v->h->numeric_columns <= row_step));
    if (v->h->calc == MYR_CALC_F32) {
        BINS_FN(rows)(v, rows, row_stride, row_count, bins, column_step, row_step, true);
    } else {
        BINS_FN(rows)(v, rows, row_stride, row_count, bins, column_step, row_step, false);
    }
    if (v->h->set_columns > 0) myr_lanes_quantise_sets(v, rows, row_stride, row_count, bins, column_step, row_step);
}

#undef BINS_FN
#undef BINS_NAME
#undef BINS_VALUES
#undef BINS_LOAD
#undef BINS_ANY
#undef BINS_ODD
#undef BINS_KEY
#undef BINS_SPLAT
#undef BINS_BELOW
#undef BINS_SCALE
#undef BINS_OPEN
#undef BINS_RANKS
#undef BINS_ROWS
