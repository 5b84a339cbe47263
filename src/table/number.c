/*
 * What reads as a number is one rule everywhere: myr_parse_double, for a cell of a CSV as for a text in a request.
 * DuckDB's own cast would also take `1_000`, `+1` and blanks, so texts become numbers by functions of ours.
 */
#include <stdio.h>

#include "table/internal.h"

typedef duckdb_logical_type number_type;
static void number_type_drop(number_type *type)
{
    if (*type != NULL) duckdb_destroy_logical_type(type);
}
typedef duckdb_scalar_function number_function;
static void number_function_drop(number_function *function)
{
    if (*function != NULL) duckdb_destroy_scalar_function(function);
}

/* (text, index of its column) -> double. A text that is no number is an error that names the index, or null. */
static void number_call(duckdb_function_info info, duckdb_data_chunk chunk, duckdb_vector result)
{
    bool is_strict = duckdb_scalar_function_get_extra_info(info) != NULL;
    MYR_ASSERT(duckdb_data_chunk_get_column_count(chunk) == 2);
    duckdb_vector texts = duckdb_data_chunk_get_vector(chunk, 0);
    const int32_t *col_idxs = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 1));
    const duckdb_string_t *cells = duckdb_vector_get_data(texts);
    const uint64_t *validity = duckdb_vector_get_validity(texts);
    double *out = duckdb_vector_get_data(result);
    int64_t rows = (int64_t)duckdb_data_chunk_get_size(chunk);
    for (int64_t r = 0; r < rows; r++) {
        bool is_null = !myr_table_is_valid(validity, r);
        if (!is_null && myr_parse_double(myr_table_text(&cells[r]), &out[r])) continue;
        if (is_null || !is_strict) {
            duckdb_vector_ensure_validity_writable(result); /* only now: a column without it is read as it lies */
            duckdb_validity_set_row_invalid(duckdb_vector_get_validity(result), (idx_t)r);
            continue;
        }
        char message[48];
        snprintf(message, sizeof message, TABLE_NOT_NUMBER "%d", col_idxs[r]);
        duckdb_scalar_function_set_error(info, message);
        return;
    }
}

static myr_rc number_register(myr_table_engine *engine, const char *name, void *is_strict, myr_err *err)
{
    MYR_AUTO(number_type) text = duckdb_create_logical_type(DUCKDB_TYPE_VARCHAR);
    MYR_AUTO(number_type) index = duckdb_create_logical_type(DUCKDB_TYPE_INTEGER);
    MYR_AUTO(number_type) number = duckdb_create_logical_type(DUCKDB_TYPE_DOUBLE);
    MYR_AUTO(number_function) function = duckdb_create_scalar_function();
    if (text == NULL || index == NULL || number == NULL || function == NULL)
        MYR_FAIL(err, NO_MEMORY, "no memory for a function");
    duckdb_scalar_function_set_name(function, name);
    duckdb_scalar_function_add_parameter(function, text);
    duckdb_scalar_function_add_parameter(function, index);
    duckdb_scalar_function_set_return_type(function, number);
    duckdb_scalar_function_set_special_handling(function);
    duckdb_scalar_function_set_extra_info(function, is_strict, NULL);
    duckdb_scalar_function_set_function(function, number_call);
    if (duckdb_register_scalar_function(engine->connection, function) != DuckDBSuccess)
        MYR_FAIL(err, INTERNAL, "DuckDB refuses the function %s", name);
    return MYR_OK;
}

myr_rc myr_table_number_register(myr_table_engine *engine, myr_err *err)
{
    static char strict; /* its address says which of the two it is */
    MYR_TRY(number_register(engine, TABLE_NUMBER, &strict, err));
    return number_register(engine, TABLE_NUMBER_OR_NULL, NULL, err);
}
