/* The kernels of lanes that every CPU runs, and what the others are compared with. */
#define MANY_NAME  many_plain
#define MANY_WIDTH 16
#define MANY_TARGET
#include "model/lanes_many.h"

/* The leaf of tree k for one row: byte by byte, until one keeps a bit. */
static uint8_t few_plain_leaf(const lanes_group *g, const lanes_parts *parts, const int8_t *bins, uint32_t k)
{
    uint32_t lanes = g->lane_count;
    const unsigned char *plane = parts->entries + k;
    for (uint32_t b = 0; b < g->byte_count; b++) {
        const unsigned char *entry = plane;
        unsigned keep = 0xff;
        for (uint32_t p = 0; p < parts->counts[b * lanes + k]; p++, entry += 3 * (size_t)lanes) {
            unsigned right = bins[entry[0] % LANES_FEW_COLUMNS] > (int8_t)entry[lanes];
            keep &= ~(entry[2 * lanes] & (0u - right));
        }
        if (keep != 0) return (uint8_t)(b * 8 + (unsigned)__builtin_ctz(keep));
        plane += 3 * (size_t)lanes * g->positions[b];
    }
    return 0; /* not in a checked model: the last leaf's bit is never cleared */
}

static void few_plain(const lanes_view *v, const int8_t *bins, size_t row_count, double *margins)
{
    MYR_ASSERT(row_count <= LANES_ROWS_FEW && v->byte_columns <= LANES_FEW_COLUMNS);
    for (uint32_t first = 0; first < v->h->tree_count; first += LANES_TREES) {
        lanes_group g;
        if (!lanes_group_read(v, first / LANES_TREES, &g)) continue;
        lanes_parts parts = lanes_parts_of(v, &g);
        for (size_t i = 0; i < row_count; i++) {
            uint8_t leaf_numbers[LANES_TREES];
            for (uint32_t k = 0; k < g.tree_count; k++) {
                leaf_numbers[k] = few_plain_leaf(&g, &parts, bins + i * LANES_FEW_COLUMNS, k);
            }
            lanes_add_few(v, &g, parts.firsts, first, 0, g.tree_count, leaf_numbers, margins + i * v->h->margin_count);
        }
    }
}

const lanes_kernels myr_lanes_plain = {"plain", myr_lanes_quantise_plain, many_plain_kernel, few_plain};
