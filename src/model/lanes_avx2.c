/*
 * The kernels of lanes for AVX2: 32 rows, or 32 trees, to a register. A byte shuffle looks up sixteen bins, so the bins
 * of a row take one, two or four tables.
 */
#if defined(__x86_64__)
#include <immintrin.h>

#include "model/lanes_inner.h"

#define LANES_WIDTH  32
#define LANES_TARGET __attribute__((target("avx2,bmi,bmi2,popcnt")))
typedef int8_t avx2_bytes __attribute__((vector_size(LANES_WIDTH)));
#define LANES_VECTOR avx2_bytes

LANES_TARGET LANES_INLINE avx2_bytes avx2_clear(avx2_bytes keep, avx2_bytes a, avx2_bytes b, avx2_bytes clears)
{
    return keep & ~((a > b) & clears);
}
#define LANES_CLEAR avx2_clear

/* By halves: the lower half's lowest bit, or 8 if it has none, against the upper half's. */
LANES_TARGET LANES_INLINE avx2_bytes avx2_lowest(avx2_bytes bits)
{
    __m256i nibble = _mm256_set1_epi8(15);
    __m256i lower = _mm256_broadcastsi128_si256(_mm_setr_epi8(8, 0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 2, 0, 1, 0));
    __m256i upper = _mm256_broadcastsi128_si256(_mm_setr_epi8(8, 4, 5, 4, 6, 4, 5, 4, 7, 4, 5, 4, 6, 4, 5, 4));
    __m256i high = _mm256_and_si256(_mm256_srli_epi16((__m256i)bits, 4), nibble);
    return (avx2_bytes)_mm256_min_epu8(_mm256_shuffle_epi8(lower, _mm256_and_si256((__m256i)bits, nibble)),
                                       _mm256_shuffle_epi8(upper, high));
}
#define LANES_LOWEST avx2_lowest

#define MANY_NAME many_avx2
#define MANY_ADD  lanes_add_many
#include "model/lanes_many.h"
#define LARGE_NAME large_avx2
#include "model/large_many.h"

/* ---- bins ---- */

LANES_TARGET LANES_INLINE __m256i avx2_splat(const int32_t *key)
{
    return _mm256_set1_epi32(*key);
}

LANES_TARGET LANES_INLINE uint32_t avx2_below(const int32_t *keys, __m256i key)
{
    __m256i low = _mm256_cmpgt_epi32(key, _mm256_loadu_si256((const __m256i *)(const void *)keys));
    __m256i high = _mm256_cmpgt_epi32(key, _mm256_loadu_si256((const __m256i *)(const void *)(keys + 8)));
    return (uint32_t)_mm_popcnt_u32((unsigned)_mm256_movemask_epi8(_mm256_packs_epi32(low, high)));
}

typedef int64_t avx2_longs __attribute__((vector_size(32)));

LANES_TARGET LANES_INLINE __m256d avx2_load(const double *from, uint32_t count)
{
    if (count == 4) return _mm256_loadu_pd(from);
    avx2_longs inside = (avx2_longs){0, 1, 2, 3} < (int64_t)count;
    return _mm256_maskload_pd(from, (__m256i)inside);
}

LANES_TARGET LANES_INLINE bool avx2_any(avx2_longs bits)
{
    return _mm256_testz_si256((__m256i)bits, (__m256i)bits) == 0;
}

#define BINS_NAME   bins_avx2
#define BINS_VALUES 4
#define BINS_LOAD   avx2_load
#define BINS_ODD    avx2_longs
#define BINS_ANY    avx2_any
#define BINS_KEY    __m256i
#define BINS_SPLAT  avx2_splat
#define BINS_BELOW  avx2_below
#define BINS_SCALE  2
#include "model/lanes_bins.h"

/* ---- few rows ---- */

/* A row's bins, sixteen to a table, each table in both halves of its register. */
typedef struct avx2_tables {
    __m256i tables[LANES_FEW_COLUMNS / 16];
} avx2_tables;

LANES_TARGET LANES_INLINE void avx2_open(const int8_t *bins, unsigned count, avx2_tables *row)
{
    LANES_UNROLL
    for (unsigned t = 0; t < count; t++) {
        row->tables[t] = _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)(const void *)(bins + 16 * t)));
    }
}

/* Byte by byte, tables[column / 16][column % 16]; mirrored where the sign says so. */
LANES_TARGET LANES_INLINE avx2_bytes avx2_pick(const avx2_tables *row, avx2_bytes entry_columns, unsigned count)
{
    avx2_bytes mirror = entry_columns < (avx2_bytes){0};
    __m256i columns = (__m256i)(entry_columns ^ mirror);
    __m256i picked = _mm256_shuffle_epi8(row->tables[0], columns);
    if (count == 1) return (avx2_bytes)picked ^ mirror;
    __m256i bit4 = _mm256_slli_epi16(columns, 3); /* into the bit that a blend looks at */
    picked = _mm256_blendv_epi8(picked, _mm256_shuffle_epi8(row->tables[1], columns), bit4);
    if (count == 2) return (avx2_bytes)picked ^ mirror;
    __m256i upper = _mm256_blendv_epi8(_mm256_shuffle_epi8(row->tables[2], columns),
                                       _mm256_shuffle_epi8(row->tables[3], columns), bit4);
    return (avx2_bytes)_mm256_blendv_epi8(picked, upper, _mm256_slli_epi16(columns, 2)) ^ mirror;
}

#define FEW_NAME   few_avx2
#define FEW_TABLES avx2_tables
#define FEW_OPEN   avx2_open
#define FEW_PICK   avx2_pick
#define FEW_BINS   bins_avx2_few
#include "model/lanes_few.h"

void myr_lanes_few_avx2(const lanes_view *v, const double *rows, size_t row_stride, size_t row_count,
                        lanes_ahead *ahead, double *margins)
{
    few_avx2_kernel(v, rows, row_stride, row_count, ahead, margins);
}

void myr_lanes_find_avx2(const lanes_view *v, const double *row, lanes_ahead *ahead, uint32_t *leaves)
{
    few_avx2_find(v, row, ahead, leaves);
}

const lanes_kernels myr_lanes_avx2 = {"avx2",          bins_avx2_kernel, many_avx2_kernel,
                                      few_avx2_kernel, few_avx2_find,    &large_avx2};
#endif
