/*
 * The kernels of lanes for AVX2. Many rows: the template, 32 rows to a register. Few rows: 32 trees to a register; the
 * row's bins sit in one to four registers and a byte shuffle picks for each tree the bin that its entry names.
 */
#if defined(__x86_64__)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,bmi,bmi2,popcnt,lzcnt")))
#define MANY_NAME many_avx2
#define MANY_WIDTH 32
#define MANY_TARGET AVX2
#include "model/lanes_many.h"

/* ---- bins ---- */

/* How many of the sixteen keys are below. */
AVX2 static inline uint32_t quantise_count(const int32_t *keys, __m256i key)
{
    __m256i low = _mm256_cmpgt_epi32(key, _mm256_loadu_si256((const __m256i *)(const void *)keys));
    __m256i high = _mm256_cmpgt_epi32(key, _mm256_loadu_si256((const __m256i *)(const void *)(keys + 8)));
    return (uint32_t)_mm_popcnt_u32((unsigned)_mm256_movemask_epi8(_mm256_packs_epi32(low, high))) / 2;
}

AVX2 static inline uint32_t quantise_rank(const quantise_column *q, int32_t key)
{
    __m256i keys = _mm256_set1_epi32(key);
    uint32_t block = 0;
    if (q->pivots != NULL) {
        block = quantise_count(q->pivots, keys);
        block = block < q->last_block ? block : q->last_block;
    }
    return block * LANES_BLOCK + quantise_count(q->keys + block * LANES_BLOCK, keys);
}

AVX2 static inline __attribute__((always_inline)) uint32_t quantise_column_avx2(const lanes_view *v, uint32_t j, const double *rows,
                                                                               size_t row_stride, size_t row_count, int8_t *bins,
                                                                               size_t column_step, size_t row_step, bool single)
{
    quantise_column q = quantise_open(v, j);
    uint32_t same = quantise_same(v, j);
    int8_t *out = bins + j * column_step;
    const lanes_column *columns = &v->columns[j];
    bool plain = same == 1 && (columns->flags & LANES_ZERO) == 0;
    int8_t missing_bin = columns->missing_bin;
    for (size_t i = 0; i < row_count; i++, out += row_step) {
        double x = rows[i * row_stride + q.feature];
        if (single) x = (double)(float)x;
        int64_t order = lanes_order(isnan(x) ? 0.0 : x, single);
        uint32_t rank = quantise_rank(&q, (int32_t)(order >> 32));
        if (!single) rank = quantise_ties(v, &q, rank, (int32_t)(order >> 32), (uint32_t)order);
        int8_t bin = (int8_t)((int)rank - 128);
        if (plain) {
            *out = isnan(x) ? missing_bin : bin;
            continue;
        }
        for (uint32_t k = 0; k < same; k++) {
            out[k * column_step] = quantise_is_missing(x, (columns[k].flags & LANES_ZERO) != 0) ? columns[k].missing_bin : bin;
        }
    }
    return same;
}

AVX2 static void quantise_avx2(const lanes_view *v, const double *rows, size_t row_stride, size_t row_count, int8_t *bins,
                               size_t column_step, size_t row_step)
{
    bool single = v->h->calc == MYR_CALC_F32;
    for (uint32_t j = 0; j < v->h->numeric_columns;) {
        j += single ? quantise_column_avx2(v, j, rows, row_stride, row_count, bins, column_step, row_step, true)
                    : quantise_column_avx2(v, j, rows, row_stride, row_count, bins, column_step, row_step, false);
    }
    if (v->h->set_columns > 0) myr_lanes_quantise_sets(v, rows, row_stride, row_count, bins, column_step, row_step);
}

/* ---- few rows ---- */

/* A row's bins, sixteen to a table, each table in both halves of its register. */
typedef struct few_row {
    __m256i tables[LANES_FEW_COLUMNS / 16];
} few_row;

AVX2 static inline __attribute__((always_inline)) __m256i few_load(const void *at) { return _mm256_loadu_si256((const __m256i *)at); }

/* The bins of the columns: byte by byte, tables[column / 16][column % 16]. */
AVX2 static inline __attribute__((always_inline)) __m256i few_pick(const few_row *row, __m256i columns, unsigned table_count)
{
    __m256i picked = _mm256_shuffle_epi8(row->tables[0], columns);
    if (table_count == 1) return picked;
    __m256i bit4 = _mm256_slli_epi16(columns, 3); /* into the bit that a blend looks at */
    picked = _mm256_blendv_epi8(picked, _mm256_shuffle_epi8(row->tables[1], columns), bit4);
    if (table_count == 2) return picked;
    __m256i upper = _mm256_blendv_epi8(_mm256_shuffle_epi8(row->tables[2], columns), _mm256_shuffle_epi8(row->tables[3], columns), bit4);
    return _mm256_blendv_epi8(picked, upper, _mm256_slli_epi16(columns, 2));
}

AVX2 static inline __attribute__((always_inline)) __m256i few_lowest(__m256i bits)
{
    __m256i numbers = _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 0, 1, 0, 2, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0)); /* of 1, 2, 4, 8 */
    __m256i nibble = _mm256_set1_epi8(15);
    __m256i low = _mm256_and_si256(bits, _mm256_sub_epi8(_mm256_setzero_si256(), bits));
    __m256i high = _mm256_and_si256(_mm256_srli_epi16(low, 4), nibble);
    __m256i above = _mm256_cmpgt_epi8(high, _mm256_setzero_si256());
    __m256i number = _mm256_or_si256(_mm256_shuffle_epi8(numbers, _mm256_and_si256(low, nibble)), _mm256_shuffle_epi8(numbers, high));
    return _mm256_add_epi8(number, _mm256_and_si256(above, _mm256_set1_epi8(4)));
}

/* 32 trees from `lane` on, row_count rows (a constant). */
AVX2 static inline __attribute__((always_inline)) void few_half(const lanes_group *g, const unsigned char *entries, const few_row *rows,
                                                                unsigned row_count, unsigned table_count, uint8_t *leaf_numbers)
{
    __m256i kept[LANES_ROWS_FEW];
    __m256i base[LANES_ROWS_FEW];
    size_t lanes = g->tree_count;
    for (unsigned r = 0; r < row_count; r++) {
        kept[r] = base[r] = _mm256_setzero_si256();
    }
    for (unsigned b = 0; b < g->byte_count; b++) {
        __m256i keep[LANES_ROWS_FEW];
        const unsigned char *end = entries + 3 * lanes * g->positions[b];
        for (unsigned r = 0; r < row_count; r++) {
            keep[r] = _mm256_set1_epi8(-1);
        }
        for (; entries < end; entries += 3 * lanes) {
            __m256i columns = few_load(entries);
            __m256i ranks = few_load(entries + lanes);
            __m256i clears = few_load(entries + 2 * lanes);
            for (unsigned r = 0; r < row_count; r++) {
                __m256i right = _mm256_cmpgt_epi8(few_pick(&rows[r], columns, table_count), ranks);
                keep[r] = _mm256_andnot_si256(_mm256_and_si256(right, clears), keep[r]);
            }
        }
        for (unsigned r = 0; r < row_count; r++) {
            __m256i none = _mm256_cmpeq_epi8(kept[r], _mm256_setzero_si256());
            kept[r] = _mm256_or_si256(kept[r], _mm256_and_si256(keep[r], none));
            base[r] = _mm256_blendv_epi8(base[r], _mm256_set1_epi8((char)(8 * b)), none);
        }
    }
    for (unsigned r = 0; r < row_count; r++) {
        _mm256_storeu_si256((__m256i *)(void *)(leaf_numbers + r * LANES_TREES), _mm256_add_epi8(base[r], few_lowest(kept[r])));
    }
}

AVX2 static inline __attribute__((always_inline)) void few_groups(const lanes_view *v, const int8_t *bins, unsigned row_count,
                                                                  unsigned table_count, double *margins)
{
    few_row rows[LANES_ROWS_FEW];
    uint8_t leaf_numbers[LANES_ROWS_FEW * LANES_TREES];
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
        few_half(&g, parts.entries, rows, row_count, table_count, leaf_numbers);
        if (g.tree_count > 32) {
            few_half(&g, parts.entries + 32, rows, row_count, table_count, leaf_numbers + 32);
        }
        for (unsigned r = 0; r < row_count; r++) {
            lanes_add_few(v, &g, parts.firsts, first, leaf_numbers + r * LANES_TREES, margins + r * v->h->margin_count);
        }
    }
}

AVX2 static inline __attribute__((always_inline)) void few_tables(const lanes_view *v, const int8_t *bins, unsigned row_count, double *margins)
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
