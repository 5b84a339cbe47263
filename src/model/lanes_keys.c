/* Where the thresholds of byte columns lie, for the builders and the check of lanes and of large models. */
#include "model/lanes.h"

/* Blocks of a column's thresholds: one key of padding at least. */
static uint32_t keys_blocks(const lanes_column *column)
{
    return column->rank_count / LANES_BLOCK + 1u;
}

/* The slab of the columns from `first` on lies at *block, which moves behind it. */
static void keys_place_slab(lanes_column *columns, uint32_t first, uint32_t end, uint32_t *block)
{
    uint32_t rows = 0;
    for (uint32_t j = first; j < end; j++) {
        if (keys_blocks(&columns[j]) - 1 > rows) rows = keys_blocks(&columns[j]) - 1;
    }
    for (uint32_t j = first; j < end; j++) {
        columns[j].slab_block = (uint16_t)*block;
        columns[j].slab_rows = (uint8_t)rows;
    }
    *block += 1 + rows;
}

static bool keys_is_run(const lanes_column *columns, uint32_t first, uint32_t count)
{
    uint32_t end = count - first < LANES_RUN_COLUMNS ? count : first + LANES_RUN_COLUMNS;
    for (uint32_t j = first + 1; j < end; j++) {
        if (columns[j].feature != columns[first].feature + (j - first)) return false;
    }
    return true;
}

uint32_t myr_lanes_place_keys(lanes_column *columns, uint32_t count)
{
    uint32_t block = 0;
    for (uint32_t j = 0; j < count; j += LANES_SLAB) {
        keys_place_slab(columns, j, count - j < LANES_SLAB ? count : j + LANES_SLAB, &block);
    }
    for (uint32_t j = 0; j < count; j++) {
        bool same = (columns[j].flags & LANES_SAME) != 0;
        columns[j].key_block = same ? columns[j - 1].key_block : (uint16_t)block;
        if (!same) block += keys_blocks(&columns[j]);
        if (j % LANES_RUN_COLUMNS == 0 && keys_is_run(columns, j, count)) columns[j].flags |= LANES_RUN;
    }
    return block;
}

void myr_lanes_write_keys(const lanes_column *columns, uint32_t count, const int64_t *orders, int32_t *keys,
                          uint32_t key_blocks)
{
    for (uint32_t k = 0; k < key_blocks * LANES_BLOCK; k++) {
        keys[k] = LANES_KEY_PAD;
    }
    for (uint32_t j = 0; j < count; j++) {
        const lanes_column *column = &columns[j];
        int32_t *slab = keys + (size_t)column->slab_block * LANES_BLOCK;
        int32_t *blocks = keys + (size_t)column->key_block * LANES_BLOCK;
        if (j % LANES_SLAB == 0) memset(slab, 0, LANES_SLAB * sizeof *slab);
        slab[j % LANES_SLAB] = column->key_block * LANES_BLOCK;
        for (uint32_t r = 0; r < column->rank_count; r++) {
            blocks[r] = (int32_t)(orders[column->low_first + r] >> 32);
            if (r % LANES_BLOCK == LANES_BLOCK - 1)
                slab[(r / LANES_BLOCK + 1) * LANES_SLAB + j % LANES_SLAB] = blocks[r];
        }
    }
}
