/*
 * Which model answers a row: the first one on the fallback chain whose columns are all there. A value that is not of
 * its column's type is an error of the row, never a reason to ask a parent.
 */
#include "score/score_inside.h"

#include <string.h>

/* Typed values of the key columns. False: one of them is bad. */
static bool score_key_values(const myr_key_schema *schema, const myr_col *keys, int64_t row_idx, myr_key_value *values,
                             char (*scratch)[MYR_KEY_SCRATCH_BYTES], uint32_t *out_present)
{
    uint32_t present = 0;
    for (uint32_t i = 0; i < schema->column_count; i++) {
        myr_key_type type = schema->columns[i].type;
        if (myr_key_value_from_col(type, &keys[i], row_idx, scratch[i], &values[i], NULL) != MYR_OK) return false;
        present |= values[i].is_null ? 0 : 1u << i;
    }
    *out_present = present;
    return true;
}

uint32_t myr_score_resolve_row(const myr_scorer *scorer, const myr_score_rows *rows, int64_t row_idx)
{
    if (scorer->single != NULL) return 0;
    uint32_t levels = rows->levels != 0 ? rows->levels : UINT32_MAX, skip = rows->skip_models;
    const myr_key_schema *schema = &scorer->info->keys;
    myr_key_value values[MYR_PARTITION_COLUMNS_MAX];
    char scratch[MYR_PARTITION_COLUMNS_MAX][MYR_KEY_SCRATCH_BYTES];
    uint32_t present = 0;
    if (!score_key_values(schema, rows->keys, row_idx, values, scratch, &present)) return SCORE_CODE_BAD_KEY;
    for (uint32_t i = 0; i < scorer->chain_count; i++) {
        uint32_t mask = scorer->chain[i];
        if ((mask & ~present) != 0) continue; /* a null: only the levels that do not look at it */
        if ((levels & 1u << myr_score_level_of(scorer, (uint32_t)__builtin_popcount(mask))) == 0) continue;
        unsigned char key[MYR_KEY_BYTES_MAX];
        size_t key_bytes = myr_key_encode(schema, mask, values, key);
        if (key_bytes == 0) return SCORE_CODE_BAD_KEY;
        uint32_t model_idx = MYR_PACK_NONE;
        myr_rc rc = myr_pack_find(scorer->pack, key, key_bytes, myr_key_hash(key, key_bytes), &model_idx, NULL);
        if (rc != MYR_OK) return SCORE_CODE_DAMAGED;
        if (model_idx != MYR_PACK_NONE && skip-- == 0) return model_idx;
    }
    return SCORE_CODE_NO_MODEL;
}

void myr_score_choose(const myr_scorer *scorer, const myr_score_rows *rows, int64_t row_idx, uint32_t *out_model_idx,
                      myr_level *out_level)
{
    uint32_t code = myr_score_resolve_row(scorer, rows, row_idx);
    myr_pack_entry entry = {0};
    *out_model_idx = MYR_PACK_NONE;
    *out_level = MYR_LEVEL_NONE;
    if (code >= scorer->info->model_count) return; /* a code that says why not */
    bool is_single = scorer->single != NULL;
    if (!is_single && myr_pack_get_entry(scorer->pack, code, &entry, NULL) != MYR_OK) return;
    *out_model_idx = code;
    *out_level = myr_score_level_of(scorer, entry.key_columns);
}

static bool score_cells_are_same(const myr_col *col, int64_t a, int64_t b)
{
    bool is_null = myr_col_is_null(col, a);
    if (is_null || myr_col_is_null(col, b)) return is_null && myr_col_is_null(col, b);
    switch (col->type) {
    case MYR_COL_INT64:
        return col->data.i64[a] == col->data.i64[b];
    case MYR_COL_DOUBLE:
        return memcmp(&col->data.f64[a], &col->data.f64[b], sizeof(double)) == 0; /* bits: NaN is like NaN */
    case MYR_COL_TEXT:
        return myr_str_equal(col->data.text[a], col->data.text[b]);
    }
    return false;
}

static uint32_t score_cells_run(const myr_col *col, int64_t row_idx, uint32_t row_count)
{
    uint32_t run = 1;
    if (col->type == MYR_COL_INT64 && col->valid == NULL) { /* as keys of tables are: most of all rows come by here */
        const int64_t *cells = col->data.i64 + row_idx;
        while (run < row_count && cells[run] == cells[0])
            run++;
        return run;
    }
    while (run < row_count && score_cells_are_same(col, row_idx, row_idx + run))
        run++;
    return run;
}

uint32_t myr_score_keys_run(const myr_col *keys, uint32_t column_count, int64_t row_idx, uint32_t row_count)
{
    for (uint32_t i = 0; i < column_count; i++)
        row_count = score_cells_run(&keys[i], row_idx, row_count);
    return row_count;
}
