/*
 * Rows become bins: for each byte column the number of its thresholds below the row's value. Two steps of sixteen
 * comparisons, without branches: which block (by the pivots), where in it; then the lower halves decide among equal
 * keys, which is rare and exact.
 *
 * What is read stays in bounds whatever the keys have become: the search strays LANES_REACH at most, and ties are
 * followed up to the column's own count.
 */
#include "model/lanes_inner.h"

static const int32_t *quantise_keys(const lanes_view *v, uint32_t block)
{
    return v->keys + (size_t)block * LANES_BLOCK;
}

static uint32_t quantise_below(const int32_t *keys, int32_t key)
{
    uint32_t below = 0;
    for (uint32_t k = 0; k < LANES_BLOCK; k++) {
        below += keys[k] < key;
    }
    return below;
}

/* Pivots of column j below the key; they stand in its slab or, before there were slabs, in front of its blocks. */
static uint32_t quantise_blocks(const lanes_view *v, const lanes_column *column, uint32_t j, int32_t key)
{
    uint32_t below = 0;
    if (!v->slabs)
        return column->rank_count < LANES_BLOCK ? 0 : quantise_below(quantise_keys(v, column->key_block), key);
    const int32_t *pivots = quantise_keys(v, column->slab_block) + j % LANES_SLAB;
    for (uint32_t r = 1; r <= column->slab_rows; r++) {
        below += pivots[r * LANES_SLAB] < key;
    }
    return below;
}

static uint32_t quantise_rank_plain(const lanes_view *v, const lanes_column *column, uint32_t j, int64_t order)
{
    const int32_t *keys = quantise_keys(v, column->key_block);
    int32_t key = (int32_t)(order >> 32);
    uint32_t first = quantise_blocks(v, column, j, key) * LANES_BLOCK;
    if (!v->slabs && column->rank_count >= LANES_BLOCK) keys += LANES_BLOCK;
    uint32_t rank = first + quantise_below(keys + first, key);
    return v->lows != NULL ? quantise_ties(v, column, keys, rank, order) : rank;
}

/* NaN is read as zero here; myr_lanes_quantise_missing puts it right. */
static void quantise_numeric(const lanes_view *v, uint32_t j, const double *rows, size_t row_stride, size_t row_count,
                             int8_t *out, size_t row_step)
{
    bool single = v->h->calc == MYR_CALC_F32;
    lanes_column column;
    memcpy(&column, &v->columns[j], sizeof column);
    for (size_t i = 0; i < row_count; i++) {
        double x = rows[i * row_stride + column.feature];
        uint32_t rank = quantise_rank_plain(v, &column, j, lanes_order(isnan(x) ? 0.0 : x, single));
        out[i * row_step] = (int8_t)(uint8_t)(rank - 128u);
    }
}

void myr_lanes_quantise_missing(const lanes_view *v, const double *rows, size_t row_stride, size_t row_count,
                                int8_t *bins, size_t column_step, size_t row_step)
{
    bool single = v->h->calc == MYR_CALC_F32;
    for (uint32_t j = 0; j < v->h->numeric_columns; j++) {
        lanes_column column;
        memcpy(&column, &v->columns[j], sizeof column);
        for (size_t i = 0; i < row_count; i++) {
            double x = rows[i * row_stride + column.feature];
            if (single) x = (double)(float)x;
            if (quantise_is_missing(x, (column.flags & LANES_ZERO) != 0))
                bins[j * column_step + i * row_step] = column.missing_bin;
        }
    }
}

void myr_lanes_quantise_equal(const lanes_view *v, uint32_t j, uint32_t count, const lanes_slab *s, int8_t *bins)
{
    for (uint32_t k = 0; k < count; k++) {
        uint32_t rank = (uint8_t)(bins[k] ^ -128);
        const int32_t *keys = v->keys + s->at[k] - s->below[k];
        bins[k] = (int8_t)(uint8_t)(quantise_ties(v, &v->columns[j + k], keys, rank, s->orders[k]) - 128u);
    }
}

void myr_lanes_quantise_sets(const lanes_view *v, const double *rows, size_t row_stride, size_t row_count, int8_t *bins,
                             size_t column_step, size_t row_step)
{
    bool single = v->h->calc == MYR_CALC_F32;
    for (uint32_t j = 0; j < v->h->set_columns; j++) {
        lanes_set set;
        memcpy(&set, &v->sets[j], sizeof set);
        int8_t *out = bins + (v->h->numeric_columns + j) * column_step;
        for (size_t i = 0; i < row_count; i++) {
            double x = rows[i * row_stride + set.feature];
            if (single) x = (double)(float)x;
            int8_t bin = set.missing_bin;
            if (!isnan(x))
                bin = model_in_set(v->words + set.word_first, set.word_count, x, single) ? LANES_LEFT : LANES_RIGHT;
            out[i * row_step] = bin;
        }
    }
}

void myr_lanes_quantise_plain(const lanes_view *v, const double *rows, size_t row_stride, size_t row_count,
                              int8_t *bins, size_t column_step, size_t row_step)
{
    for (uint32_t j = 0; j < v->h->numeric_columns; j++) {
        quantise_numeric(v, j, rows, row_stride, row_count, bins + j * column_step, row_step);
    }
    myr_lanes_quantise_missing(v, rows, row_stride, row_count, bins, column_step, row_step);
    myr_lanes_quantise_sets(v, rows, row_stride, row_count, bins, column_step, row_step);
}
