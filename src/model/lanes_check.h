/* The check of byte columns, which lanes and large models share. */
#ifndef MYR_MODEL_LANES_CHECK_H
#define MYR_MODEL_LANES_CHECK_H

#include "model/lanes.h"

/* The byte columns of a model, unchecked; their counts were found to fit the bytes. */
typedef struct lanes_numbers {
    uint32_t column_count, numeric_columns, key_blocks, low_count, book_count;
    bool single, special; /* F32; some column has LANES_ZERO */
    bool slabs;           /* layout 5 */
    const lanes_column *columns;
    const int32_t *keys;
    const unsigned char *low_codes; /* with a book */
    const uint32_t *lows;           /* the book, or the lows themselves */
} lanes_numbers;

/* Errors: BAD_FORMAT names the column. */
myr_rc myr_lanes_check_columns(const lanes_numbers *n, myr_err *err);

#endif
