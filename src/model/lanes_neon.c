/*
 * The kernels of lanes for NEON, which every aarch64 has: 16 rows, or 16 trees, to a register. Its table look-up takes
 * up to 64 bins at once.
 */
#if defined(__aarch64__)
#include <arm_neon.h>

#include "model/lanes_inner.h"

#define LANES_WIDTH 16
#define LANES_TARGET
typedef int8_t neon_bytes __attribute__((vector_size(LANES_WIDTH)));
#define LANES_VECTOR neon_bytes

LANES_INLINE neon_bytes neon_clear(neon_bytes keep, neon_bytes a, neon_bytes b, neon_bytes clears)
{
    return keep & ~((a > b) & clears);
}
#define LANES_CLEAR neon_clear

LANES_INLINE neon_bytes neon_lowest(neon_bytes bits)
{
    return (neon_bytes)vclzq_u8(vrbitq_u8((uint8x16_t)bits));
}
#define LANES_LOWEST neon_lowest

#define MANY_NAME many_neon
#define MANY_ADD  lanes_add_many
#include "model/lanes_many.h"
#define LARGE_NAME large_neon
#include "model/large_many.h"

/* ---- bins ---- */

LANES_INLINE int32x4_t neon_splat(const int32_t *key)
{
    return vdupq_n_s32(*key);
}

/* A comparison is -1 in the lanes that are below: their sum, negated. */
LANES_INLINE uint32_t neon_below(const int32_t *keys, int32x4_t key)
{
    uint32x4_t first = vaddq_u32(vcgtq_s32(key, vld1q_s32(keys)), vcgtq_s32(key, vld1q_s32(keys + 4)));
    uint32x4_t last = vaddq_u32(vcgtq_s32(key, vld1q_s32(keys + 8)), vcgtq_s32(key, vld1q_s32(keys + 12)));
    return 0u - vaddvq_u32(vaddq_u32(first, last));
}

typedef double neon_doubles __attribute__((vector_size(32)));
typedef int64_t neon_longs __attribute__((vector_size(32)));

LANES_INLINE neon_doubles neon_load(const double *from, uint32_t count)
{
    neon_doubles loaded = {0};
    memcpy(&loaded, from, (count < 4 ? count : 4) * sizeof *from);
    return loaded;
}

LANES_INLINE bool neon_any(neon_longs bits)
{
    return (bits[0] | bits[1] | bits[2] | bits[3]) != 0;
}

#define BINS_NAME   bins_neon
#define BINS_VALUES 4
#define BINS_LOAD   neon_load
#define BINS_ODD    neon_longs
#define BINS_ANY    neon_any
#define BINS_KEY    int32x4_t
#define BINS_SPLAT  neon_splat
#define BINS_BELOW  neon_below
#define BINS_SCALE  1
#include "model/lanes_bins.h"

/* ---- few rows ---- */

typedef struct neon_tables {
    uint8x16x4_t tables;
} neon_tables;

LANES_INLINE void neon_open(const int8_t *bins, unsigned count, neon_tables *row)
{
    LANES_UNROLL
    for (unsigned t = 0; t < count; t++) {
        row->tables.val[t] = vld1q_u8((const uint8_t *)bins + 16 * t);
    }
}

LANES_INLINE neon_bytes neon_pick(const neon_tables *row, neon_bytes columns, unsigned count)
{
    neon_bytes mirror = columns < (neon_bytes){0};
    columns ^= mirror;
    if (count == 1) return (neon_bytes)vqtbl1q_u8(row->tables.val[0], (uint8x16_t)columns) ^ mirror;
    if (count == 2) {
        uint8x16x2_t two = {{row->tables.val[0], row->tables.val[1]}};
        return (neon_bytes)vqtbl2q_u8(two, (uint8x16_t)columns) ^ mirror;
    }
    return (neon_bytes)vqtbl4q_u8(row->tables, (uint8x16_t)columns) ^ mirror;
}

#define FEW_NAME   few_neon
#define FEW_TABLES neon_tables
#define FEW_OPEN   neon_open
#define FEW_PICK   neon_pick
#define FEW_BINS   bins_neon_few
#include "model/lanes_few.h"

const lanes_kernels myr_lanes_neon = {"neon",          bins_neon_kernel, many_neon_kernel,
                                      few_neon_kernel, few_neon_find,    &large_neon};
#endif
