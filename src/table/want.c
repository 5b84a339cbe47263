/*
 * How a wanted column is read. Features become DOUBLE: text counts only if every value reads as a number, and the first
 * one that does not is the error. Keys stay what they are written as: `01` and 20-digit numbers in a CSV are text, 2.0
 * is 2.
 */
#include <string.h>

#include "table/internal.h"

static bool want_type_is(const myr_table_column *column, const char *prefix)
{
    return strncmp(column->sql_type, prefix, strlen(prefix)) == 0;
}

/* Whether values of the type are texts (or may be: an all-null JSON column has the type JSON). */
static bool want_is_text(const myr_table_column *column)
{
    return want_type_is(column, "VARCHAR") || want_type_is(column, "ENUM") || want_type_is(column, "JSON") ||
           want_type_is(column, "\"NULL\"");
}

static bool want_fits_int64(const myr_table_column *column)
{
    return column->is_integer && strcmp(column->sql_type, "UBIGINT") != 0 && strcmp(column->sql_type, "HUGEINT") != 0 &&
           strcmp(column->sql_type, "UHUGEINT") != 0;
}

static bool want_is_kept(const char *name, const char *const *keep, uint32_t keep_count)
{
    for (uint32_t i = 0; i < keep_count; i++) {
        if (strcmp(keep[i], name) == 0) return true;
    }
    return false;
}

/* ---- features ---- */

/* Find the first value of a column for which `condition` (on v) holds: BAD_INPUT names it, its row and the column's
 * type. */
static myr_rc want_refuse_where(myr_table_engine *engine, const table_source *source, uint32_t col_idx,
                                const char *condition, myr_err *err)
{
    const myr_table_column *column = &source->columns[col_idx];
    MYR_AUTO(myr_buf) sql = {0};
    myr_buf_puts(&sql, "SELECT CAST(n AS VARCHAR), CAST(v AS VARCHAR) FROM (SELECT row_number() OVER () AS n, ");
    myr_table_sql_name(&sql, column->name);
    myr_buf_puts(&sql, " AS v FROM ");
    myr_table_source_sql(source, &sql);
    myr_buf_printf(&sql, ") WHERE v IS NOT NULL AND %s LIMIT 1", condition);
    MYR_TRY(myr_buf_check(&sql, err));
    MYR_AUTO(table_result) result = {0};
    MYR_TRY(myr_table_query(engine, sql.data, source->input, &result, err));
    MYR_AUTO(table_chunk) chunk = duckdb_fetch_chunk(result);
    if (chunk == NULL || duckdb_data_chunk_get_size(chunk) == 0) return MYR_OK;
    myr_str row = myr_table_text(duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0)));
    myr_str value = myr_table_text(duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 1)));
    if (value.size > 60) value.size = 60;
    MYR_FAIL(err, BAD_INPUT,
             "%s: column '%s' (%.40s) must be numeric; row " MYR_STR_FMT " holds '" MYR_STR_FMT
             "': correct it or leave it empty",
             source->input, column->name, column->sql_type, MYR_STR_ARG(row), MYR_STR_ARG(value));
}

static myr_rc want_feature(myr_table_engine *engine, table_source *source, uint32_t col_idx, bool is_kept, myr_err *err)
{
    myr_table_column *column = &source->columns[col_idx];
    if (source->kind == TABLE_CSV && !is_kept && strcmp(column->sql_type, "BOOLEAN") != 0 &&
        (column->is_numeric || want_is_text(column))) {
        /* whole numbers at first and 2.5 later is fine; a bad cell names its line */
        source->types[col_idx] = column->sql_type = "DOUBLE";
        column->is_numeric = true;
        return MYR_OK;
    }
    if (column->is_numeric) return MYR_OK;
    if (want_is_text(column)) {
        return want_refuse_where(engine, source, col_idx, "TRY_CAST(CAST(v AS VARCHAR) AS DOUBLE) IS NULL", err);
    }
    MYR_TRY(want_refuse_where(engine, source, col_idx, "true", err));
    MYR_FAIL(err, BAD_INPUT, "%s: column '%s' is %.60s and must be numeric", source->input, column->name,
             column->sql_type);
}

/* ---- keys in a CSV ---- */

/* Append `format` with each $ replaced by the quoted name. */
static void want_replace(myr_buf *sql, const char *format, const char *name)
{
    for (const char *at = format; *at != '\0'; at++) {
        if (*at == '$')
            myr_table_sql_name(sql, name);
        else
            myr_buf_putc(sql, *at);
    }
}

/* Whether a value of a numeric column, read as text $, would lose something as a number. NULL: the column is text
 * anyway. */
static const char *want_key_loss(const myr_table_column *column)
{
    if (column->is_integer) return "NOT regexp_full_match($, '0|-?[1-9][0-9]{0,17}')";
    if (want_type_is(column, "DOUBLE") || want_type_is(column, "DECIMAL")) {
        return "($ IS NOT NULL AND TRY_CAST($ AS DOUBLE) IS NULL OR regexp_full_match($, "
               "'[+-]?(0[0-9].*|[0-9]{16,}.*)'))";
    }
    return NULL;
}

/* One pass over the CSV for all numeric key columns: *out_loss[i] is whether want i must be text. */
static myr_rc want_keys_scan(myr_table_engine *engine, table_source *source, const table_want *plan,
                             const char *const *losses, uint32_t want_count, bool *out_loss, myr_err *err)
{
    MYR_AUTO(myr_buf) sql = {0};
    uint32_t asked = 0;
    for (uint32_t i = 0; i < want_count; i++) {
        if (losses[i] == NULL) continue;
        myr_buf_puts(&sql, asked++ == 0 ? "SELECT coalesce(bool_or(" : ", coalesce(bool_or(");
        want_replace(&sql, losses[i], source->columns[plan[i].col_idx].name);
        myr_buf_puts(&sql, "), false)");
        source->types[plan[i].col_idx] = "VARCHAR";
    }
    if (asked == 0) return MYR_OK;
    myr_buf_puts(&sql, " FROM ");
    myr_table_source_sql(source, &sql);
    MYR_TRY(myr_buf_check(&sql, err));
    MYR_AUTO(table_result) result = {0};
    MYR_TRY(myr_table_query(engine, sql.data, source->input, &result, err));
    MYR_AUTO(table_chunk) chunk = duckdb_fetch_chunk(result);
    MYR_ASSERT(chunk != NULL && duckdb_data_chunk_get_size(chunk) == 1);
    for (uint32_t i = 0, at = 0; i < want_count; i++) {
        if (losses[i] == NULL) continue;
        out_loss[i] = ((const bool *)duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, at++)))[0];
    }
    return MYR_OK;
}

static myr_rc want_keys_csv(myr_table_engine *engine, table_source *source, const myr_table_want *wants,
                            uint32_t want_count, table_want *plan, myr_err *err)
{
    const char **losses = myr_arena_calloc(source->arena, want_count + 1, sizeof *losses);
    bool *loss = myr_arena_calloc(source->arena, want_count + 1, sizeof *loss);
    if (losses == NULL || loss == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the columns of %s", source->input);
    for (uint32_t i = 0; i < want_count; i++) {
        if (wants[i].as_key) losses[i] = want_key_loss(&source->columns[plan[i].col_idx]);
    }
    MYR_TRY(want_keys_scan(engine, source, plan, losses, want_count, loss, err));
    for (uint32_t i = 0; i < want_count; i++) {
        if (!wants[i].as_key) continue;
        myr_table_column *column = &source->columns[plan[i].col_idx];
        bool is_text = losses[i] == NULL || loss[i];
        column->sql_type = is_text ? "VARCHAR" : column->is_integer ? "BIGINT" : "DOUBLE";
        column->is_integer = column->is_integer && !is_text;
        column->is_numeric = !is_text;
        source->types[plan[i].col_idx] = column->sql_type;
    }
    return MYR_OK;
}

/* ---- both ---- */

myr_rc myr_table_wants_plan(myr_table_engine *engine, table_source *source, const myr_table_want *wants,
                            uint32_t want_count, const char *const *keep, uint32_t keep_count, table_want *out,
                            myr_err *err)
{
    for (uint32_t i = 0; i < want_count; i++)
        MYR_TRY(myr_table_source_find(source, wants[i].name, &out[i].col_idx, err));
    if (source->kind == TABLE_CSV) MYR_TRY(want_keys_csv(engine, source, wants, want_count, out, err));
    for (uint32_t i = 0; i < want_count; i++) {
        const myr_table_column *column = &source->columns[out[i].col_idx];
        if (wants[i].as_key) {
            out[i].type = want_fits_int64(column) ? MYR_COL_INT64 : MYR_COL_TEXT;
            continue;
        }
        bool is_kept = want_is_kept(wants[i].name, keep, keep_count) || source->types[out[i].col_idx] != NULL;
        MYR_TRY(want_feature(engine, source, out[i].col_idx, is_kept, err));
        out[i].type = MYR_COL_DOUBLE;
    }
    return MYR_OK;
}

void myr_table_want_sql(const table_source *source, const table_want *want, myr_buf *sql)
{
    const myr_table_column *column = &source->columns[want->col_idx];
    const char *format;
    if (want->type == MYR_COL_INT64) {
        format = "CAST($ AS BIGINT)";
    } else if (want->type == MYR_COL_DOUBLE) {
        format = want_is_text(column) ? "CAST(CAST($ AS VARCHAR) AS DOUBLE)" : "CAST($ AS DOUBLE)";
    } else if (want_type_is(column, "DOUBLE") || want_type_is(column, "FLOAT")) {
        /* a key that a null in its column turned into a float: 2.0 is 2, NaN is null */
        format = "CASE WHEN isnan($) THEN NULL WHEN $ = trunc($) AND abs($) < 9007199254740992 "
                 "THEN CAST(CAST($ AS BIGINT) AS VARCHAR) ELSE CAST($ AS VARCHAR) END";
    } else if (want_type_is(column, "DECIMAL")) {
        format = "CASE WHEN $ = trunc($) THEN CAST(CAST(trunc($) AS HUGEINT) AS VARCHAR) ELSE CAST($ AS VARCHAR) END";
    } else {
        format = "CAST($ AS VARCHAR)";
    }
    want_replace(sql, format, column->name);
}
