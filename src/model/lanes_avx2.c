/*
 * The kernels of lanes for AVX2. Many rows: the template, 32 rows to a register. Few rows: 32 trees to a register; the
 * row's bins sit in one to four registers and a byte shuffle picks for each tree the bin that its entry names.
 */
#if defined(__x86_64__)
#include <immintrin.h>

#define AVX2        __attribute__((target("avx2,bmi,bmi2,popcnt,lzcnt")))
#define MANY_NAME   many_avx2
#define MANY_WIDTH  32
#define MANY_TARGET AVX2
#include "model/lanes_many.h"

#define QUANTISE_ROWS 4 /* searched side by side */

/* ---- bins ---- */

/* Twice the number of the sixteen keys that are below. */
AVX2 static inline __attribute__((always_inline)) uint32_t quantise_below(const int32_t *keys, __m256i key)
{
    __m256i low = _mm256_cmpgt_epi32(key, _mm256_loadu_si256((const __m256i *)(const void *)keys));
    __m256i high = _mm256_cmpgt_epi32(key, _mm256_loadu_si256((const __m256i *)(const void *)(keys + 8)));
    return (uint32_t)_mm_popcnt_u32((unsigned)_mm256_movemask_epi8(_mm256_packs_epi32(low, high)));
}

/* Four values as lanes_order has them, NaN as zero; *odd gets the sign of each NaN. */
AVX2 static inline __attribute__((always_inline)) __m256i quantise_order(__m256d x, __m256d *odd)
{
    __m256d is_nan = _mm256_cmp_pd(x, x, _CMP_UNORD_Q);
    *odd = _mm256_or_pd(*odd, is_nan);
    __m256i bits = _mm256_castpd_si256(_mm256_add_pd(_mm256_andnot_pd(is_nan, x), _mm256_setzero_pd()));
    __m256i negative = _mm256_cmpgt_epi64(_mm256_setzero_si256(), bits);
    return _mm256_xor_si256(bits, _mm256_srli_epi64(negative, 1));
}

/* The same for floats: the keys in the upper halves. */
AVX2 static inline __attribute__((always_inline)) __m256i quantise_order_float(__m256d x, __m256d *odd)
{
    __m256d is_nan = _mm256_cmp_pd(x, x, _CMP_UNORD_Q);
    *odd = _mm256_or_pd(*odd, is_nan);
    __m128 narrow = _mm_add_ps(_mm256_cvtpd_ps(_mm256_andnot_pd(is_nan, x)), _mm_setzero_ps());
    __m128i bits = _mm_castps_si128(narrow);
    bits = _mm_xor_si128(bits, _mm_srli_epi32(_mm_srai_epi32(bits, 31), 1));
    return _mm256_slli_epi64(_mm256_cvtepu32_epi64(bits), 32);
}

/* The numeric columns' values of one row, as orders; true if one is missing. */
AVX2 static inline __attribute__((always_inline)) bool quantise_orders(const lanes_view *v, const double *row,
                                                                       bool single, int64_t orders[LANES_COLUMNS_MAX])
{
    __m256d odd = _mm256_setzero_pd();
    uint32_t count = v->h->numeric_columns;
    for (uint32_t j = 0; j < count; j += 4) {
        const lanes_column *c = &v->columns[j];
        double a = row[c[0].feature];
        double b = j + 1 < count ? row[c[1].feature] : 0.0;
        double d = j + 2 < count ? row[c[2].feature] : 0.0;
        double e = j + 3 < count ? row[c[3].feature] : 0.0;
        __m256d x = _mm256_setr_pd(a, b, d, e);
        _mm256_storeu_si256((__m256i *)(void *)(orders + j),
                            single ? quantise_order_float(x, &odd) : quantise_order(x, &odd));
    }
    return _mm256_movemask_pd(odd) != 0;
}

/* One value in one column. */
AVX2 static inline __attribute__((always_inline)) uint32_t
quantise_rank(const lanes_view *v, const lanes_column *column, const int32_t *keys, const int64_t *order, bool single)
{
    __m256i key = _mm256_set1_epi32(((const int32_t *)(const void *)order)[1]);
    uint32_t rank = 0;
    if (column->rank_count >= LANES_BLOCK) {
        rank = quantise_below(keys, key) * (LANES_BLOCK / 2);
        keys += LANES_BLOCK;
    }
    rank += quantise_below(keys + rank, key) / 2;
    if (!single && __builtin_expect(keys[rank] == ((const int32_t *)(const void *)order)[1], 0)) {
        rank = quantise_ties(v, column, keys, rank, *order);
    }
    return rank;
}

/* All numeric columns of row_count rows (a constant). */
AVX2 static inline __attribute__((always_inline)) void quantise_block(const lanes_view *v, const double *rows,
                                                                      size_t row_stride, unsigned row_count,
                                                                      int8_t *bins, size_t column_step, size_t row_step,
                                                                      bool single)
{
    int64_t orders[QUANTISE_ROWS][LANES_COLUMNS_MAX];
    bool odd = (v->h->flags & MODEL_SPECIAL) != 0;
    for (unsigned i = 0; i < row_count; i++) {
        odd |= quantise_orders(v, rows + i * row_stride, single, orders[i]);
    }
    int8_t *out = bins;
    for (uint32_t j = 0; j < v->h->numeric_columns; j++, out += column_step) {
        lanes_column column;
        memcpy(&column, &v->columns[j], sizeof column);
        const int32_t *keys = v->keys + (size_t)column.key_block * LANES_BLOCK;
        LANES_UNROLL
        for (unsigned i = 0; i < row_count; i++) {
            out[i * row_step] = (int8_t)(uint8_t)(quantise_rank(v, &column, keys, &orders[i][j], single) - 128u);
        }
    }
    if (odd) myr_lanes_quantise_missing(v, rows, row_stride, row_count, bins, column_step, row_step);
}

AVX2 static inline __attribute__((always_inline)) void quantise_rows(const lanes_view *v, const double *rows,
                                                                     size_t row_stride, size_t row_count, int8_t *bins,
                                                                     size_t column_step, size_t row_step, bool single)
{
    size_t i = 0;
    for (; i + QUANTISE_ROWS <= row_count; i += QUANTISE_ROWS) {
        quantise_block(v, rows + i * row_stride, row_stride, QUANTISE_ROWS, bins + i * row_step, column_step, row_step,
                       single);
    }
    for (; i < row_count; i++) {
        quantise_block(v, rows + i * row_stride, row_stride, 1, bins + i * row_step, column_step, row_step, single);
    }
}

AVX2 static void quantise_avx2(const lanes_view *v, const double *rows, size_t row_stride, size_t row_count,
                               int8_t *bins, size_t column_step, size_t row_step)
{
    if (v->h->calc == MYR_CALC_F32) {
        quantise_rows(v, rows, row_stride, row_count, bins, column_step, row_step, true);
    } else {
        quantise_rows(v, rows, row_stride, row_count, bins, column_step, row_step, false);
    }
    if (v->h->set_columns > 0) myr_lanes_quantise_sets(v, rows, row_stride, row_count, bins, column_step, row_step);
}

/* ---- few rows ---- */

/* A row's bins, sixteen to a table, each table in both halves of its register. */
typedef struct few_row {
    __m256i tables[LANES_FEW_COLUMNS / 16];
} few_row;

AVX2 static inline __attribute__((always_inline)) __m256i few_load(const void *at)
{
    return _mm256_loadu_si256((const __m256i *)at);
}

/* The bins of the columns: byte by byte, tables[column / 16][column % 16]. */
AVX2 static inline __attribute__((always_inline)) __m256i few_pick(const few_row *row, __m256i columns,
                                                                   unsigned table_count)
{
    __m256i picked = _mm256_shuffle_epi8(row->tables[0], columns);
    if (table_count == 1) return picked;
    __m256i bit4 = _mm256_slli_epi16(columns, 3); /* into the bit that a blend looks at */
    picked = _mm256_blendv_epi8(picked, _mm256_shuffle_epi8(row->tables[1], columns), bit4);
    if (table_count == 2) return picked;
    __m256i upper = _mm256_blendv_epi8(_mm256_shuffle_epi8(row->tables[2], columns),
                                       _mm256_shuffle_epi8(row->tables[3], columns), bit4);
    return _mm256_blendv_epi8(picked, upper, _mm256_slli_epi16(columns, 2));
}

AVX2 static inline __attribute__((always_inline)) __m256i few_lowest(__m256i bits)
{
    __m256i numbers =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 0, 1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0)); /* of 1, 2, 4, 8 */
    __m256i nibble = _mm256_set1_epi8(15);
    __m256i low = _mm256_and_si256(bits, _mm256_sub_epi8(_mm256_setzero_si256(), bits));
    __m256i high = _mm256_and_si256(_mm256_srli_epi16(low, 4), nibble);
    __m256i above = _mm256_cmpgt_epi8(high, _mm256_setzero_si256());
    __m256i number = _mm256_or_si256(_mm256_shuffle_epi8(numbers, _mm256_and_si256(low, nibble)),
                                     _mm256_shuffle_epi8(numbers, high));
    return _mm256_add_epi8(number, _mm256_and_si256(above, _mm256_set1_epi8(4)));
}

/* 32 trees from `lane` on, row_count rows (a constant). */
AVX2 static inline __attribute__((always_inline)) void few_half(const lanes_group *g, const unsigned char *entries,
                                                                const few_row *rows, unsigned row_count,
                                                                unsigned table_count, uint8_t *leaf_numbers)
{
    __m256i kept[LANES_ROWS_FEW];
    __m256i base[LANES_ROWS_FEW];
    size_t lanes = g->lane_count;
    LANES_UNROLL
    for (unsigned r = 0; r < row_count; r++) {
        kept[r] = base[r] = _mm256_setzero_si256();
    }
    for (unsigned b = 0; b < g->byte_count; b++) {
        __m256i keep[LANES_ROWS_FEW];
        const unsigned char *end = entries + 3 * lanes * g->positions[b];
        LANES_UNROLL
        for (unsigned r = 0; r < row_count; r++) {
            keep[r] = _mm256_set1_epi8(-1);
        }
        for (; entries < end; entries += 3 * lanes) {
            __m256i columns = few_load(entries);
            __m256i ranks = few_load(entries + lanes);
            __m256i clears = few_load(entries + 2 * lanes);
            LANES_UNROLL
            for (unsigned r = 0; r < row_count; r++) {
                __m256i right = _mm256_cmpgt_epi8(few_pick(&rows[r], columns, table_count), ranks);
                keep[r] = _mm256_andnot_si256(_mm256_and_si256(right, clears), keep[r]);
            }
        }
        LANES_UNROLL
        for (unsigned r = 0; r < row_count; r++) {
            __m256i none = _mm256_cmpeq_epi8(kept[r], _mm256_setzero_si256());
            kept[r] = _mm256_or_si256(kept[r], _mm256_and_si256(keep[r], none));
            base[r] = _mm256_blendv_epi8(base[r], _mm256_set1_epi8((char)(8 * b)), none);
        }
    }
    LANES_UNROLL
    for (unsigned r = 0; r < row_count; r++) {
        _mm256_storeu_si256((__m256i *)(void *)(leaf_numbers + r * LANES_TREES),
                            _mm256_add_epi8(base[r], few_lowest(kept[r])));
    }
}

AVX2 static inline __attribute__((always_inline)) void
few_groups(const lanes_view *v, const int8_t *bins, unsigned row_count, unsigned table_count, double *margins)
{
    few_row rows[LANES_ROWS_FEW];
    uint8_t leaf_numbers[LANES_ROWS_FEW * LANES_TREES];
    LANES_UNROLL
    for (unsigned r = 0; r < row_count; r++) {
        for (unsigned t = 0; t < table_count; t++) {
            const void *table = bins + r * LANES_FEW_COLUMNS + 16 * t;
            rows[r].tables[t] = _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)table));
        }
    }
    for (uint32_t first = 0; first < v->h->tree_count; first += LANES_TREES) {
        lanes_group g;
        if (!lanes_group_read(v, first / LANES_TREES, &g)) continue;
        lanes_parts parts = lanes_parts_of(v, &g);
        for (uint32_t lane = 0; lane < g.tree_count;
             lane += 32) { /* the sums of a half go on beside the next one's bits */
            uint32_t end = g.tree_count < lane + 32 ? g.tree_count : lane + 32;
            few_half(&g, parts.entries + lane, rows, row_count, table_count, leaf_numbers + lane);
            LANES_UNROLL
            for (unsigned r = 0; r < row_count; r++) {
                lanes_add_few(v, &g, parts.firsts, first, lane, end, leaf_numbers + r * LANES_TREES,
                              margins + r * v->h->margin_count);
            }
        }
    }
}

AVX2 static inline __attribute__((always_inline)) void few_tables(const lanes_view *v, const int8_t *bins,
                                                                  unsigned row_count, double *margins)
{
    if (v->byte_columns <= 16) {
        few_groups(v, bins, row_count, 1, margins);
    } else if (v->byte_columns <= 32) {
        few_groups(v, bins, row_count, 2, margins);
    } else {
        few_groups(v, bins, row_count, 4, margins);
    }
}

AVX2 static void few_avx2(const lanes_view *v, const int8_t *bins, size_t row_count, double *margins)
{
    MYR_ASSERT(row_count >= 1 && row_count <= LANES_ROWS_FEW && v->byte_columns <= LANES_FEW_COLUMNS);
    if (row_count == LANES_ROWS_FEW) {
        few_tables(v, bins, LANES_ROWS_FEW, margins);
        return;
    }
    for (size_t i = 0; i < row_count; i++) {
        few_tables(v, bins + i * LANES_FEW_COLUMNS, 1, margins + i * v->h->margin_count);
    }
}

const lanes_kernels myr_lanes_avx2 = {"avx2", quantise_avx2, many_avx2_kernel, few_avx2};
#endif
