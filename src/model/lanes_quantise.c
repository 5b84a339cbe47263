/*
 * Rows become bins: for each byte column the number of its thresholds below the row's value. Two steps of sixteen
 * comparisons, without branches: which block (by the pivots), where in it; then the lower halves decide among equal keys,
 * which is rare and exact.
 *
 * What is read stays in bounds whatever the keys have become: the block is capped by the column's own count, and ties are
 * followed up to that count.
 */
#include "model/lanes_inner.h"

static uint32_t quantise_rank_plain(const quantise_column *q, int32_t key)
{
    uint32_t block = 0;
    uint32_t rank = 0;
    for (uint32_t k = 0; q->last_block > 0 && k < LANES_BLOCK; k++) {
        block += q->pivots[k] < key;
    }
    if (block > q->last_block) block = q->last_block;
    for (uint32_t k = 0; k < LANES_BLOCK; k++) {
        rank += q->keys[block * LANES_BLOCK + k] < key;
    }
    return block * LANES_BLOCK + rank;
}

/* One column (and those of the same thresholds behind it) over all rows; gives the number of columns. */
static inline __attribute__((always_inline)) uint32_t quantise_numeric(const lanes_view *v, uint32_t j, const double *rows,
                                                                       size_t row_stride, size_t row_count, int8_t *bins,
                                                                       size_t column_step, size_t row_step, bool single)
{
    quantise_column q = quantise_open(v, j);
    uint32_t same = quantise_same(v, j);
    for (size_t i = 0; i < row_count; i++) {
        double x = rows[i * row_stride + q.feature];
        if (single) x = (double)(float)x;
        int64_t order = lanes_order(isnan(x) ? 0.0 : x, single);
        uint32_t rank = quantise_rank_plain(&q, (int32_t)(order >> 32));
        if (!single) rank = quantise_ties(v, &q, rank, (int32_t)(order >> 32), (uint32_t)order);
        for (uint32_t k = 0; k < same; k++) {
            const lanes_column *column = &v->columns[j + k];
            bool missing = quantise_is_missing(x, (column->flags & LANES_ZERO) != 0);
            bins[(j + k) * column_step + i * row_step] = missing ? column->missing_bin : (int8_t)((int)rank - 128);
        }
    }
    return same;
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
            if (!isnan(x)) bin = model_in_set(v->words + set.word_first, set.word_count, x, single) ? LANES_LEFT : LANES_RIGHT;
            out[i * row_step] = bin;
        }
    }
}

void myr_lanes_quantise_plain(const lanes_view *v, const double *rows, size_t row_stride, size_t row_count, int8_t *bins,
                              size_t column_step, size_t row_step)
{
    bool single = v->h->calc == MYR_CALC_F32;
    for (uint32_t j = 0; j < v->h->numeric_columns;) {
        j += single ? quantise_numeric(v, j, rows, row_stride, row_count, bins, column_step, row_step, true)
                    : quantise_numeric(v, j, rows, row_stride, row_count, bins, column_step, row_step, false);
    }
    myr_lanes_quantise_sets(v, rows, row_stride, row_count, bins, column_step, row_step);
}
