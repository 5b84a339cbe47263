/* The first cell of a result. */
#include "table/internal.h"

bool myr_table_first_text(duckdb_result *result, uint32_t col_idx, myr_buf *out)
{
    MYR_ASSERT(col_idx < duckdb_column_count(result));
    MYR_ASSERT(duckdb_column_type(result, col_idx) == DUCKDB_TYPE_VARCHAR);
    MYR_AUTO(table_chunk) chunk = duckdb_fetch_chunk(*result);
    if (chunk == NULL || duckdb_data_chunk_get_size(chunk) == 0) return false;
    duckdb_vector vector = duckdb_data_chunk_get_vector(chunk, col_idx);
    if (!myr_table_is_valid(duckdb_vector_get_validity(vector), 0)) return false;
    myr_str text = myr_table_text(&((duckdb_string_t *)duckdb_vector_get_data(vector))[0]);
    myr_buf_append(out, text.data, text.size);
    return true;
}
