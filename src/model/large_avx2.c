/* The kernels of large models for AVX2: 32 rows to a register. */
#if defined(__x86_64__)
#include <immintrin.h>

#include "model/large_inner.h"

#define LANES_WIDTH  32
#define LANES_TARGET __attribute__((target("avx2,bmi,bmi2,popcnt,lzcnt")))
typedef int8_t large_avx2_bytes __attribute__((vector_size(LANES_WIDTH)));
#define LANES_VECTOR large_avx2_bytes

LANES_TARGET LANES_INLINE large_avx2_bytes large_avx2_clear(large_avx2_bytes keep, large_avx2_bytes bins,
                                                            large_avx2_bytes ranks, large_avx2_bytes clears)
{
    return keep & ~((bins > ranks) & clears);
}
#define LANES_CLEAR large_avx2_clear

/* By halves: the lower half's lowest bit, or 8 if it has none, against the upper half's. */
LANES_TARGET LANES_INLINE large_avx2_bytes large_avx2_lowest(large_avx2_bytes bits)
{
    __m256i nibble = _mm256_set1_epi8(15);
    __m256i lower = _mm256_broadcastsi128_si256(_mm_setr_epi8(8, 0, 1, 0, 2, 0, 1, 0, 3, 0, 1, 0, 2, 0, 1, 0));
    __m256i upper = _mm256_broadcastsi128_si256(_mm_setr_epi8(8, 4, 5, 4, 6, 4, 5, 4, 7, 4, 5, 4, 6, 4, 5, 4));
    __m256i high = _mm256_and_si256(_mm256_srli_epi16((__m256i)bits, 4), nibble);
    return (large_avx2_bytes)_mm256_min_epu8(_mm256_shuffle_epi8(lower, _mm256_and_si256((__m256i)bits, nibble)),
                                             _mm256_shuffle_epi8(upper, high));
}
#define LANES_LOWEST large_avx2_lowest

/* 32 bits become 32 bytes: 0 for a set bit, else 255. */
LANES_TARGET LANES_INLINE void large_avx2_spread(uint32_t bits, uint8_t *out)
{
    __m256i which = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
    __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32((int)bits), which);
    __m256i outside = _mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), _mm256_setzero_si256());
    _mm256_storeu_si256((__m256i *)(void *)out, outside);
}
#define LARGE_SPREAD large_avx2_spread

#define LARGE_NAME    large_avx2
#define LARGE_KERNELS myr_large_avx2
#include "model/large_many.h"
#endif
