/* A borrowed column of cells: what tables, requests and the scorer hand to each other. */
#ifndef MYR_BASE_COLUMN_H
#define MYR_BASE_COLUMN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"

typedef enum myr_col_type { MYR_COL_DOUBLE, MYR_COL_INT64, MYR_COL_TEXT } myr_col_type;

typedef struct myr_col {
    const char *name; /* NUL-terminated */
    myr_col_type type;
    const uint8_t *valid; /* one byte per row, 0 = null; NULL = no null. A null double may also be a NaN */
    union {
        const double *f64;
        const int64_t *i64;
        const myr_str *text;
    } data;
} myr_col;

static inline bool myr_col_is_null(const myr_col *col, int64_t row_idx)
{
    return col->valid != NULL && col->valid[row_idx] == 0;
}

#endif
