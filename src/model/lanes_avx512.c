/*
 * The kernels of lanes for AVX-512, with registers of 32 rows or trees: comparing 64 bytes at once gives a mask
 * register that has to be spread to bytes again, which costs more than comparing twice (docs/internals/model.md). One
 * ternary operation clears; trees of up to 64 leaves have their values looked up in wide registers, eight rows at a
 * time. With VBMI (Ice Lake, Zen 4 and later) one permute picks any of 64 bins.
 *
 * A test builds this file with the intrinsics written out in C, for machines without AVX-512 (MYR_LANES_EMULATED).
 */
#if defined(MYR_LANES_EMULATED)
#include "emulated/avx512.h"
#elif defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__x86_64__) || defined(MYR_LANES_EMULATED)
#include "model/lanes_inner.h"

#define LANES_WIDTH 32
#if defined(MYR_LANES_EMULATED)
#define LANES_TARGET
#define AVX512_VBMI
#else
#define LANES_TARGET __attribute__((target("avx2,avx512f,avx512bw,avx512vl,avx512dq,bmi,bmi2,popcnt")))
#define AVX512_VBMI  __attribute__((target("avx2,avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,bmi,bmi2,popcnt")))
#endif
typedef int8_t avx512_bytes __attribute__((vector_size(LANES_WIDTH)));
#define LANES_VECTOR avx512_bytes

#define AVX512_CLEAR 0x70 /* truth table of keep & ~(above & clears) */

LANES_TARGET LANES_INLINE avx512_bytes avx512_clear(avx512_bytes keep, avx512_bytes a, avx512_bytes b,
                                                    avx512_bytes clears)
{
    __m256i above = _mm256_cmpgt_epi8((__m256i)a, (__m256i)b);
    return (avx512_bytes)_mm256_ternarylogic_epi32((__m256i)keep, above, (__m256i)clears, AVX512_CLEAR);
}
#define LANES_CLEAR avx512_clear

/* By halves: the lower half's lowest bit, or 8 if it has none, against the upper half's. */
LANES_TARGET LANES_INLINE avx512_bytes avx512_lowest(avx512_bytes bits)
{
    __m256i nibble = _mm256_set1_epi8(15);
    __m256i lower = _mm256_broadcastsi128_si256(_mm_setr_epi8(8, 0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 2, 0, 1, 0));
    __m256i upper = _mm256_broadcastsi128_si256(_mm_setr_epi8(8, 4, 5, 4, 6, 4, 5, 4, 7, 4, 5, 4, 6, 4, 5, 4));
    __m256i high = _mm256_and_si256(_mm256_srli_epi16((__m256i)bits, 4), nibble);
    return (avx512_bytes)_mm256_min_epu8(_mm256_shuffle_epi8(lower, _mm256_and_si256((__m256i)bits, nibble)),
                                         _mm256_shuffle_epi8(upper, high));
}
#define LANES_LOWEST avx512_lowest

/* ---- many rows: the leaves' values ---- */

#define AVX512_ROWS   8  /* doubles to a register */
#define AVX512_LEAVES 64 /* looked up in registers */

/* Eight leaf numbers as indexes. */
LANES_TARGET LANES_INLINE __m512i avx512_widen(const uint8_t *leaf_numbers)
{
#if defined(MYR_LANES_EMULATED)
    typedef int64_t avx512_longs __attribute__((vector_size(64)));
    typedef uint8_t avx512_numbers __attribute__((vector_size(AVX512_ROWS)));
    avx512_numbers narrow;
    memcpy(&narrow, leaf_numbers, sizeof narrow);
    return (__m512i) __builtin_convertvector(narrow, avx512_longs);
#else
    return _mm512_cvtepu8_epi64(_mm_loadl_epi64((const __m128i *)(const void *)leaf_numbers));
#endif
}

/* values[number] for eight rows; table_count times sixteen values. */
LANES_TARGET LANES_INLINE __m512d avx512_values(const __m512d *tables, unsigned table_count, __m512i numbers)
{
    __m512d found = _mm512_permutex2var_pd(tables[0], numbers, tables[1]);
    if (table_count == 1) return found;
    __mmask8 bit4 = _mm512_test_epi64_mask(numbers, _mm512_set1_epi64(16));
    found = _mm512_mask_mov_pd(found, bit4, _mm512_permutex2var_pd(tables[2], numbers, tables[3]));
    if (table_count == 2) return found;
    __m512d upper = _mm512_permutex2var_pd(tables[4], numbers, tables[5]);
    upper = _mm512_mask_mov_pd(upper, bit4, _mm512_permutex2var_pd(tables[6], numbers, tables[7]));
    return _mm512_mask_mov_pd(found, _mm512_test_epi64_mask(numbers, _mm512_set1_epi64(32)), upper);
}

/* Whole eights of rows; how many were done. */
LANES_TARGET LANES_INLINE size_t avx512_add_eights(const double *leaves, unsigned table_count,
                                                   const uint8_t *leaf_numbers, size_t row_count, double *margins)
{
    __m512d tables[AVX512_LEAVES / AVX512_ROWS];
    size_t i = 0;
    LANES_UNROLL
    for (unsigned t = 0; t < 2 * table_count; t++) {
        tables[t] = _mm512_loadu_pd(leaves + AVX512_ROWS * t);
    }
    for (; i + AVX512_ROWS <= row_count; i += AVX512_ROWS) {
        __m512i numbers = avx512_widen(leaf_numbers + i);
        __m512d sum = _mm512_add_pd(_mm512_loadu_pd(margins + i), avx512_values(tables, table_count, numbers));
        _mm512_storeu_pd(margins + i, sum);
    }
    return i;
}

/*
 * As lanes_add_many. Tables are loaded whole, so there must be as many leaves behind the tree's first: the model's last
 * trees go the plain way, and so does what is wider, or float.
 */
LANES_TARGET LANES_INLINE void avx512_add(const lanes_view *v, uint32_t leaves_first, uint32_t tree_idx,
                                          uint32_t byte_count, const uint8_t *leaf_numbers, size_t row_count,
                                          double *margins)
{
    uint32_t behind = v->h->item_count > leaves_first ? v->h->item_count - leaves_first : 0;
    const double *leaves = (const double *)v->leaves + leaves_first;
    size_t done = 0;
    if (v->outputs == NULL && v->h->calc != MYR_CALC_F32) {
        if (byte_count <= 2 && behind >= 16) {
            done = avx512_add_eights(leaves, 1, leaf_numbers, row_count, margins);
        } else if (byte_count <= 4 && behind >= 32) {
            done = avx512_add_eights(leaves, 2, leaf_numbers, row_count, margins);
        } else if (byte_count <= 8 && behind >= 64) {
            done = avx512_add_eights(leaves, 4, leaf_numbers, row_count, margins);
        }
    }
    if (done < row_count) {
        lanes_add_many(v, leaves_first, tree_idx, byte_count, leaf_numbers + done, row_count - done,
                       margins + done * v->h->margin_count);
    }
}

#define MANY_NAME many_avx512
#define MANY_ADD  avx512_add
#include "model/lanes_many.h"
#define LARGE_NAME large_avx512
#include "model/large_many.h"

/* ---- bins ---- */

LANES_TARGET LANES_INLINE __m512i avx512_splat(const int64_t *order)
{
    return _mm512_set1_epi32(lanes_key_of(order));
}

LANES_TARGET LANES_INLINE uint32_t avx512_below(const int32_t *keys, __m512i key)
{
    return (uint32_t)__builtin_popcount(_mm512_cmpgt_epi32_mask(key, _mm512_loadu_si512(keys)));
}

#define BINS_NAME  bins_avx512
#define BINS_KEY   __m512i
#define BINS_SPLAT avx512_splat
#define BINS_BELOW avx512_below
#define BINS_SCALE 1
#include "model/lanes_bins.h"

/* ---- few rows ---- */

/* Without VBMI a look-up takes as many operations as in registers half as wide. */
const lanes_kernels myr_lanes_avx512 = {"avx512", bins_avx512_kernel, many_avx512_kernel, myr_lanes_few_avx2,
                                        &large_avx512};

#undef LANES_TARGET
#define LANES_TARGET AVX512_VBMI

/*
 * A row's bins. A permute looks at the lower five or six bits of a column alone, so ~c names a place from the end:
 * there lies the mirrored bin, as long as both have room.
 */
typedef struct avx512vbmi_tables {
    __m256i low, high;
} avx512vbmi_tables;

/* Put together of what was stored together. */
LANES_TARGET LANES_INLINE __m256i avx512vbmi_load(const __m128i *parts)
{
    return _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_load_si128(parts)), _mm_load_si128(parts + 1), 1);
}

/* Sixteen bins mirrored, the last first. */
LANES_TARGET LANES_INLINE __m128i avx512vbmi_mirror(__m128i bins)
{
    __m128i backwards = _mm_setr_epi8(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    return _mm_shuffle_epi8(_mm_xor_si128(bins, _mm_set1_epi8(-1)), backwards);
}

LANES_TARGET LANES_INLINE void avx512vbmi_open(const int8_t *bins, unsigned count, avx512vbmi_tables *row)
{
    const __m128i *parts = (const __m128i *)(const void *)bins;
    if (count == 1) {
        __m128i sixteen = _mm_load_si128(parts);
        row->low = _mm256_inserti128_si256(_mm256_castsi128_si256(sixteen), avx512vbmi_mirror(sixteen), 1);
        return;
    }
    row->low = avx512vbmi_load(parts);
    if (count == 2) {
        __m256i mirrored = _mm256_castsi128_si256(avx512vbmi_mirror(_mm_load_si128(parts + 1)));
        row->high = _mm256_inserti128_si256(mirrored, avx512vbmi_mirror(_mm_load_si128(parts)), 1);
    } else {
        row->high = avx512vbmi_load(parts + 2);
    }
}

LANES_TARGET LANES_INLINE avx512_bytes avx512vbmi_pick(const avx512vbmi_tables *row, avx512_bytes columns,
                                                       unsigned count)
{
    if (count == 1) return (avx512_bytes)_mm256_permutexvar_epi8((__m256i)columns, row->low);
    if (count == 2) return (avx512_bytes)_mm256_permutex2var_epi8(row->low, (__m256i)columns, row->high);
    avx512_bytes mirror = (avx512_bytes)_mm256_cmpgt_epi8(_mm256_setzero_si256(), (__m256i)columns);
    __m256i named = (__m256i)(columns ^ mirror);
    return (avx512_bytes)_mm256_permutex2var_epi8(row->low, named, row->high) ^ mirror;
}

#define FEW_NAME   few_avx512vbmi
#define FEW_TABLES avx512vbmi_tables
#define FEW_OPEN   avx512vbmi_open
#define FEW_PICK   avx512vbmi_pick
#include "model/lanes_few.h"

const lanes_kernels myr_lanes_avx512vbmi = {"avx512vbmi", bins_avx512_kernel, many_avx512_kernel, few_avx512vbmi_kernel,
                                            &large_avx512};
#endif
