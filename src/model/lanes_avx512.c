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
#define AVX512_VBMI                                                                                                    \
    __attribute__((target("avx2,avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512bitalg,bmi,bmi2,popcnt")))
#endif
typedef int8_t avx512_bytes __attribute__((vector_size(LANES_WIDTH)));
typedef int64_t avx512_longs __attribute__((vector_size(64)));
typedef int32_t avx512_ints __attribute__((vector_size(64)));
typedef double avx512_doubles __attribute__((vector_size(64)));
typedef float avx512_floats __attribute__((vector_size(32)));
typedef int16_t avx512_shorts __attribute__((vector_size(32)));
typedef int8_t avx512_sixteen __attribute__((vector_size(16)));
#define LANES_VECTOR avx512_bytes

/* Truth tables of three operands. */
#define AVX512_CLEAR 0x70 /* keep & ~(above & clears) */
#define AVX512_FLIP  0x78 /* bits ^ (negative & mask) */
#define AVX512_ANY   0xfe

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

LANES_TARGET LANES_INLINE __m512i avx512_splat(const int32_t *key)
{
    return _mm512_set1_epi32(*key);
}

LANES_TARGET LANES_INLINE __m512d avx512_load(const double *from, uint32_t count)
{
#if defined(MYR_LANES_EMULATED)
    avx512_doubles loaded = {0};
    memcpy(&loaded, from, count * sizeof *from);
    return (__m512d)loaded;
#else
    return _mm512_maskz_loadu_pd((__mmask8)((1u << count) - 1), from);
#endif
}

LANES_TARGET LANES_INLINE uint32_t avx512_below(const int32_t *keys, __m512i key)
{
    return (uint32_t)__builtin_popcount(_mm512_cmpgt_epi32_mask(key, _mm512_loadu_si512(keys)));
}

LANES_TARGET LANES_INLINE bool avx512_any(avx512_longs bits)
{
    return _mm512_test_epi64_mask((__m512i)bits, (__m512i)bits) != 0;
}

#define BINS_NAME   bins_avx512
#define BINS_VALUES 8
#define BINS_LOAD   avx512_load
#define BINS_ODD    avx512_longs
#define BINS_ANY    avx512_any
#define BINS_KEY    __m512i
#define BINS_SPLAT  avx512_splat
#define BINS_BELOW  avx512_below
#define BINS_SCALE  1
#include "model/lanes_bins.h"

/* ---- few rows ---- */

/* Without VBMI a look-up takes as many operations as in registers half as wide. */
const lanes_kernels myr_lanes_avx512 = {"avx512",           bins_avx512_kernel,  many_avx512_kernel,
                                        myr_lanes_few_avx2, myr_lanes_find_avx2, &large_avx512};

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

LANES_TARGET LANES_INLINE void avx512vbmi_tables_open(const int8_t *bins, unsigned count, avx512vbmi_tables *row)
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

/* Four masks of sixteen, side by side. */
LANES_TARGET LANES_INLINE uint64_t avx512vbmi_join(const __mmask16 masks[4])
{
#if defined(MYR_LANES_EMULATED)
    return masks[0] | (uint64_t)masks[1] << 16 | (uint64_t)masks[2] << 32 | (uint64_t)masks[3] << 48;
#else
    return _cvtmask64_u64(_mm512_kunpackd(_mm512_kunpackw(masks[3], masks[2]), _mm512_kunpackw(masks[1], masks[0])));
#endif
}

/* A row's value for column k, or for the first if there are only `count`. */
LANES_TARGET LANES_INLINE double avx512vbmi_value(const lanes_column *c, const double *row, uint32_t k, uint32_t count)
{
    const lanes_column *column = k < count ? c + k : c;
    return row[column->feature];
}

/* The values of eight columns from j on, `count` of them there, the others any. */
LANES_TARGET LANES_INLINE __m512d avx512vbmi_values(const lanes_view *v, const double *row, uint32_t j, uint32_t count)
{
    const lanes_column *c = &v->columns[j];
    if ((c->flags & LANES_RUN) != 0) return avx512_load(row + c->feature, count < 8 ? count : 8);
    return _mm512_setr_pd(row[c->feature], avx512vbmi_value(c, row, 1, count), avx512vbmi_value(c, row, 2, count),
                          avx512vbmi_value(c, row, 3, count), avx512vbmi_value(c, row, 4, count),
                          avx512vbmi_value(c, row, 5, count), avx512vbmi_value(c, row, 6, count),
                          avx512vbmi_value(c, row, 7, count));
}

/* As lanes_order; a NaN becomes any number, since its bin is mended. */
LANES_TARGET LANES_INLINE __m512i avx512vbmi_order(__m512d x)
{
    __m512i bits = _mm512_castpd_si512(_mm512_add_pd(x, _mm512_setzero_pd()));
    return _mm512_ternarylogic_epi64(bits, (__m512i)((avx512_longs)bits >> 63), _mm512_set1_epi64(INT64_MAX),
                                     AVX512_FLIP);
}

/* The upper halves of sixteen orders. */
LANES_TARGET LANES_INLINE __m512i avx512vbmi_upper(__m512i low, __m512i high)
{
    __m512i odd = _mm512_setr_epi32(1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
    return _mm512_permutex2var_epi32(low, odd, high);
}

/* Sixteen values as floats in their order. */
LANES_TARGET LANES_INLINE __m512i avx512vbmi_single(__m512d low, __m512d high)
{
    __m256 first = (__m256) __builtin_convertvector((avx512_doubles)low, avx512_floats);
    __m256 second = (__m256) __builtin_convertvector((avx512_doubles)high, avx512_floats);
    __m512 x = _mm512_insertf32x8(_mm512_castps256_ps512(first), second, 1);
    __m512i bits = _mm512_castps_si512(_mm512_add_ps(x, _mm512_setzero_ps()));
    return _mm512_ternarylogic_epi32(bits, (__m512i)((avx512_ints)bits >> 31), _mm512_set1_epi32(INT32_MAX),
                                     AVX512_FLIP);
}

/* As open() of lanes_bins.h. Loads of four bytes get their values at once from stores of half a register. */
LANES_TARGET LANES_INLINE void avx512vbmi_open(const lanes_view *v, const double *row, uint32_t j, uint32_t count,
                                               bool single, lanes_slab *s, __mmask8 *odd)
{
    const lanes_column *first = &v->columns[j];
    const __m256i *slab = (const __m256i *)(const void *)(v->keys + (size_t)first->slab_block * LANES_BLOCK);
    const __m256i *end = slab + 2 * (size_t)first->slab_rows;
    __m512d low = avx512vbmi_values(v, row, j, count);
    __m512d high = count > 8 ? avx512vbmi_values(v, row, j + 8, count - 8) : _mm512_setzero_pd();
    __m512i keys;
    *odd |= _mm512_cmp_pd_mask(low, low, _CMP_UNORD_Q) | _mm512_cmp_pd_mask(high, high, _CMP_UNORD_Q);
    if (single) {
        keys = avx512vbmi_single(low, high);
    } else {
        __m512i low_order = avx512vbmi_order(low);
        __m512i high_order = avx512vbmi_order(high);
        keys = avx512vbmi_upper(low_order, high_order);
        _mm512_storeu_si512(s->orders, low_order);
        _mm512_storeu_si512(s->orders + 8, high_order);
    }
    __m256i keys0 = _mm512_castsi512_si256(keys);
    __m256i keys1 = _mm512_extracti64x4_epi64(keys, 1);
    __m256i below0 = _mm256_setzero_si256();
    __m256i below1 = below0;
    for (const __m256i *pivots = slab + 2; pivots <= end; pivots += 2) {
        below0 = _mm256_sub_epi32(below0, _mm256_cmpgt_epi32(keys0, _mm256_loadu_si256(pivots)));
        below1 = _mm256_sub_epi32(below1, _mm256_cmpgt_epi32(keys1, _mm256_loadu_si256(pivots + 1)));
    }
    below0 = _mm256_slli_epi32(below0, LANES_BLOCK_SHIFT);
    below1 = _mm256_slli_epi32(below1, LANES_BLOCK_SHIFT);
    __m256i *at = (__m256i *)(void *)s->at;
    _mm256_storeu_si256(at, _mm256_add_epi32(below0, _mm256_loadu_si256(slab)));
    _mm256_storeu_si256(at + 1, _mm256_add_epi32(below1, _mm256_loadu_si256(slab + 1)));
    _mm256_storeu_si256((__m256i *)(void *)s->keys, keys0);
    _mm256_storeu_si256((__m256i *)(void *)(s->keys + 8), keys1);
    _mm256_storeu_si256((__m256i *)(void *)s->below, below0);
    _mm256_storeu_si256((__m256i *)(void *)(s->below + 8), below1);
    LANES_IN_MEMORY(*s);
}

/*
 * As ranks() of lanes_bins.h: the masks of four columns' blocks are counted at once. Equal keys are looked for by
 * registers half as wide, whose comparisons need no mask.
 */
LANES_TARGET LANES_INLINE void avx512vbmi_ranks(const lanes_view *v, uint32_t j, uint32_t count, const lanes_slab *s,
                                                bool single, bool few, int8_t bins[LANES_SLAB])
{
    (void)few;
    uint64_t words[LANES_SLAB / 4] = {0};
    __m256i equal = _mm256_setzero_si256();
    LANES_UNROLL
    for (uint32_t k = 0; k < LANES_SLAB; k += 4) { /* lanes without a column search the slab itself */
        __mmask16 masks[4];
        if (k >= count) break;
        LANES_UNROLL
        for (uint32_t i = 0; i < 4; i++) {
            __m512i key = _mm512_set1_epi32(s->keys[k + i]);
            const int32_t *block = v->keys + s->at[k + i];
            masks[i] = _mm512_cmpgt_epi32_mask(key, _mm512_loadu_si512(block));
            if (single) continue;
            const __m256i *halves = (const __m256i *)(const void *)block;
            __m256i half = _mm512_castsi512_si256(key);
            __m256i same = _mm256_cmpeq_epi32(half, _mm256_loadu_si256(halves));
            __m256i more_same = _mm256_cmpeq_epi32(half, _mm256_loadu_si256(halves + 1));
            equal = _mm256_ternarylogic_epi32(equal, same, more_same, AVX512_ANY);
        }
        words[k / 4] = avx512vbmi_join(masks);
    }
    __m256i counts = _mm256_popcnt_epi16(
        _mm256_setr_epi64x((long long)words[0], (long long)words[1], (long long)words[2], (long long)words[3]));
    const __m256i *below = (const __m256i *)(const void *)s->below;
    __m256i before = _mm256_packus_epi32(_mm256_loadu_si256(below), _mm256_loadu_si256(below + 1));
    counts = _mm256_add_epi16(counts, _mm256_permute4x64_epi64(before, 0xd8));
    __m128i narrow =
        _mm_xor_si128((__m128i) __builtin_convertvector((avx512_shorts)counts, avx512_sixteen), _mm_set1_epi8(-128));
    _mm_storeu_si128((__m128i *)(void *)bins, narrow);
    if (!single && __builtin_expect(_mm256_movemask_epi8(equal) != 0, 0))
        myr_lanes_quantise_equal(v, j, count, s, bins);
}

#define BINS_NAME     bins_avx512vbmi
#define BINS_OPEN     avx512vbmi_open
#define BINS_RANKS    avx512vbmi_ranks
#define BINS_ODD      __mmask8
#define BINS_ANY(odd) ((odd) != 0)
#include "model/lanes_bins.h"

/* Layouts without slabs go the other way. */
LANES_TARGET static void avx512vbmi_quantise(const lanes_view *v, const double *rows, size_t row_stride,
                                             size_t row_count, int8_t *bins, size_t column_step, size_t row_step)
{
    if (v->slabs) {
        bins_avx512vbmi_kernel(v, rows, row_stride, row_count, bins, column_step, row_step);
    } else {
        bins_avx512_kernel(v, rows, row_stride, row_count, bins, column_step, row_step);
    }
}

/* As few() of lanes_bins.h. */
LANES_TARGET LANES_INLINE void avx512vbmi_bins(const lanes_view *v, const double *rows, size_t row_stride,
                                               size_t row_count, int8_t *bins, size_t row_step, bool single)
{
    if (v->slabs) {
        bins_avx512vbmi_few(v, rows, row_stride, row_count, bins, row_step, single);
    } else {
        bins_avx512_kernel(v, rows, row_stride, row_count, bins, 1, row_step);
    }
}

#define FEW_NAME   few_avx512vbmi
#define FEW_TABLES avx512vbmi_tables
#define FEW_OPEN   avx512vbmi_tables_open
#define FEW_PICK   avx512vbmi_pick
#define FEW_BINS   avx512vbmi_bins
#include "model/lanes_few.h"

const lanes_kernels myr_lanes_avx512vbmi = {"avx512vbmi",          avx512vbmi_quantise, many_avx512_kernel,
                                            few_avx512vbmi_kernel, few_avx512vbmi_find, &large_avx512};
#endif
