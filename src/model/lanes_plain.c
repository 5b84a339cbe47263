/* The kernels of lanes that every CPU runs, and what the others are compared with. */
#include "model/lanes_inner.h"

#define LANES_WIDTH 16
#define LANES_TARGET
typedef int8_t plain_bytes __attribute__((vector_size(LANES_WIDTH)));
typedef uint8_t plain_bits __attribute__((vector_size(LANES_WIDTH)));
#define LANES_VECTOR plain_bytes

LANES_INLINE plain_bytes plain_clear(plain_bytes keep, plain_bytes a, plain_bytes b, plain_bytes clears)
{
    return keep & ~((a > b) & clears);
}
#define LANES_CLEAR plain_clear

LANES_INLINE plain_bytes plain_lowest(plain_bytes bits)
{
    plain_bytes zero = {0};
    plain_bytes low = bits & (plain_bytes)((plain_bits){0} - (plain_bits)bits);
    return (((low & (zero + (int8_t)0xaa)) != zero) & (zero + 1)) |
           (((low & (zero + (int8_t)0xcc)) != zero) & (zero + 2)) |
           (((low & (zero + (int8_t)0xf0)) != zero) & (zero + 4));
}
#define LANES_LOWEST plain_lowest

#define MANY_NAME many_plain
#define MANY_ADD  lanes_add_many
#include "model/lanes_many.h"
#define LARGE_NAME large_plain
#include "model/large_many.h"

/* The leaf of tree k for one row: byte by byte, until one keeps a bit. */
static uint8_t few_plain_leaf(const lanes_group *g, const lanes_parts *parts, const int8_t *bins, uint32_t k)
{
    uint32_t lanes = g->lane_count;
    const unsigned char *plane = parts->entries + k;
    for (uint32_t b = 0; b < g->byte_count; b++) {
        const unsigned char *entry = plane;
        unsigned keep = 0xff;
        for (uint32_t p = 0; p < parts->counts[b * lanes + k]; p++, entry += 3 * (size_t)lanes) {
            int mirror = (int8_t)entry[0] < 0 ? -1 : 0;
            unsigned right = (bins[(entry[0] ^ mirror) & (LANES_FEW_COLUMNS - 1)] ^ mirror) > (int8_t)entry[lanes];
            keep &= ~(entry[2 * lanes] & (0u - right));
        }
        if (keep != 0) return (uint8_t)(b * 8 + (unsigned)__builtin_ctz(keep));
        plane += 3 * (size_t)lanes * g->positions[b];
    }
    return 0; /* not in a checked model: the last leaf's bit is never cleared */
}

static void few_plain_some(const lanes_view *v, const int8_t *bins, size_t row_count, double *margins)
{
    for (uint32_t first = 0; first < v->h->tree_count; first += LANES_TREES) {
        lanes_group g;
        if (!lanes_group_read(v, first / LANES_TREES, &g)) continue;
        lanes_parts parts = lanes_parts_of(v, &g);
        for (size_t i = 0; i < row_count; i++) {
            uint16_t leaves[LANES_TREES];
            for (uint32_t k = 0; k < g.tree_count; k++) {
                leaves[k] = (uint16_t)(parts.firsts[k] + few_plain_leaf(&g, &parts, bins + i * LANES_FEW_COLUMNS, k));
            }
            lanes_add_few(v, g.leaves_first, first, g.tree_count, leaves, margins + i * v->h->margin_count);
        }
    }
}

static void few_plain(const lanes_view *v, const double *rows, size_t row_stride, size_t row_count, lanes_ahead *ahead,
                      double *margins)
{
    (void)ahead; /* these kernels are slower than memory */
    MYR_ASSERT(v->byte_columns <= LANES_FEW_COLUMNS);
    while (row_count > 0) {
        int8_t bins[LANES_ROWS_FEW * LANES_FEW_COLUMNS];
        size_t count = row_count < LANES_ROWS_FEW ? row_count : LANES_ROWS_FEW;
        myr_lanes_quantise_plain(v, rows, row_stride, count, bins, 1, LANES_FEW_COLUMNS);
        few_plain_some(v, bins, count, margins);
        rows += count * row_stride;
        margins += count * v->h->margin_count;
        row_count -= count;
    }
}

static void find_plain(const lanes_view *v, const double *row, lanes_ahead *ahead, uint32_t *leaves)
{
    int8_t bins[LANES_FEW_COLUMNS];
    (void)ahead;
    MYR_ASSERT(v->byte_columns <= LANES_FEW_COLUMNS);
    myr_lanes_quantise_plain(v, row, 0, 1, bins, 1, LANES_FEW_COLUMNS);
    for (uint32_t first = 0; first < v->h->tree_count; first += LANES_TREES) {
        lanes_group g;
        if (!lanes_group_read(v, first / LANES_TREES, &g)) {
            memset(leaves + first, 0, LANES_TREES * sizeof *leaves);
            continue;
        }
        lanes_parts parts = lanes_parts_of(v, &g);
        for (uint32_t k = 0; k < g.tree_count; k++) {
            leaves[first + k] = g.leaves_first + parts.firsts[k] + few_plain_leaf(&g, &parts, bins, k);
        }
    }
}

const lanes_kernels myr_lanes_plain = {"plain",     myr_lanes_quantise_plain, many_plain_kernel, few_plain, find_plain,
                                       &large_plain};
