/* The kernels of large models that every CPU runs, and what the others are compared with. */
#include "model/large_inner.h"

#define LANES_WIDTH 16
#define LANES_TARGET
typedef int8_t large_plain_bytes __attribute__((vector_size(LANES_WIDTH)));
typedef uint8_t large_plain_bits __attribute__((vector_size(LANES_WIDTH)));
#define LANES_VECTOR large_plain_bytes

LANES_INLINE large_plain_bytes large_plain_clear(large_plain_bytes keep, large_plain_bytes bins,
                                                 large_plain_bytes ranks, large_plain_bytes clears)
{
    return keep & ~((bins > ranks) & clears);
}
#define LANES_CLEAR large_plain_clear

LANES_INLINE large_plain_bytes large_plain_lowest(large_plain_bytes bits)
{
    large_plain_bytes zero = {0};
    large_plain_bytes low = bits & (large_plain_bytes)((large_plain_bits){0} - (large_plain_bits)bits);
    return (((low & (zero + (int8_t)0xaa)) != zero) & (zero + 1)) |
           (((low & (zero + (int8_t)0xcc)) != zero) & (zero + 2)) |
           (((low & (zero + (int8_t)0xf0)) != zero) & (zero + 4));
}
#define LANES_LOWEST large_plain_lowest

#define LARGE_NAME    large_plain
#define LARGE_KERNELS myr_large_plain
#include "model/large_many.h"
