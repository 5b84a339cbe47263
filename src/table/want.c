/*
 * How a wanted column is read. Features become DOUBLE: a text (each cell of a CSV is one) counts if it reads as a
 * number by our own rule, and the first one that does not is the error. Keys stay what they are written as: `01` and
 * 20-digit numbers in a CSV are text, 2.0 is 2.
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

/* ---- features ---- */

/* BAD_INPUT with the first value of a column whose type is never numeric; MYR_OK: it has only nulls. */
static myr_rc want_refuse(myr_table_engine *engine, const table_source *source, uint32_t col_idx, myr_err *err)
{
    const myr_table_column *column = &source->columns[col_idx];
    MYR_AUTO(myr_buf) sql = {0};
    myr_buf_puts(&sql, "SELECT CAST(n AS VARCHAR), CAST(v AS VARCHAR) FROM (SELECT row_number() OVER () AS n, ");
    myr_table_sql_name(&sql, column->name);
    myr_buf_puts(&sql, " AS v FROM ");
    myr_table_source_sql(source, &sql);
    myr_buf_puts(&sql, ") WHERE v IS NOT NULL LIMIT 1");
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

static myr_rc want_feature(myr_table_engine *engine, table_source *source, bool is_key, table_want *want, myr_err *err)
{
    myr_table_column *column = &source->columns[want->col_idx];
    want->type = MYR_COL_DOUBLE;
    want->format = "CAST($ AS DOUBLE)";
    if (source->kind == TABLE_CSV && source->hows[want->col_idx].path_name == NULL) {
        /* whatever the first rows look like: `inf` is no date, and 2.5 may follow whole numbers */
        const char *type = source->hows[want->col_idx].csv_type;
        bool is_text = type != NULL && strcmp(type, "VARCHAR") == 0;
        MYR_ASSERT(is_text || is_key);
        if (is_text) want->format = TABLE_NUMBER "($, #)";
        want->is_kept_so = !is_key;
        return MYR_OK;
    }
    if (column->is_numeric) return MYR_OK;
    if (want_is_text(column)) {
        want->format = TABLE_NUMBER "(CAST($ AS VARCHAR), #)";
        return MYR_OK;
    }
    MYR_TRY(want_refuse(engine, source, want->col_idx, err));
    MYR_FAIL(err, BAD_INPUT, "%s: column '%s' is %.60s and must be numeric", source->input, column->name,
             column->sql_type);
}

/* ---- expressions ---- */

/* Append `format` with each $ replaced by the quoted name, and each # by the column's index. */
static void want_replace(myr_buf *sql, const char *format, const char *name, uint32_t col_idx)
{
    for (const char *at = format; *at != '\0'; at++) {
        if (*at == '$')
            myr_table_sql_name(sql, name);
        else if (*at == '#')
            myr_buf_printf(sql, "%u", col_idx);
        else
            myr_buf_putc(sql, *at);
    }
}

void myr_table_want_sql(const table_source *source, const table_want *want, myr_buf *sql)
{
    want_replace(sql, want->format, source->columns[want->col_idx].name, want->col_idx);
}

/* ---- keys ---- */

/* A key that a null in its column turned into a float: 2.0 is 2, NaN is null. */
#define WANT_IS_WHOLE "$ = trunc($) AND abs($) < 9007199254740992"
#define WANT_FLOAT_TEXT                                                                                                \
    "CASE WHEN isnan($) THEN NULL WHEN " WANT_IS_WHOLE                                                                 \
    " THEN CAST(CAST($ AS BIGINT) AS VARCHAR) ELSE CAST($ AS VARCHAR) END"
/* A float has the digits of the double that it is: 0.1f is 0.10000000149011612, as Python has it. */
#define WANT_SINGLE_TEXT                                                                                               \
    "CASE WHEN isnan($) THEN NULL WHEN " WANT_IS_WHOLE                                                                 \
    " THEN CAST(CAST($ AS BIGINT) AS VARCHAR) ELSE CAST(CAST($ AS DOUBLE) AS VARCHAR) END"
#define WANT_DECIMAL_TEXT                                                                                              \
    "CASE WHEN $ = trunc($) THEN CAST(CAST(trunc($) AS HUGEINT) AS VARCHAR) ELSE CAST($ AS VARCHAR) END"
/* The same in the text of a CSV, cell by cell. */
#define WANT_WHOLE_TEXT "'(0|-?[1-9][0-9]{0,14})(\\.0*)?'"
#define WANT_CELL_TEXT  "CASE WHEN regexp_full_match($, " WANT_WHOLE_TEXT ") THEN split_part($, '.', 1) ELSE $ END"
#define WANT_CELL_INT64 "CAST(split_part($, '.', 1) AS BIGINT)"

static bool want_is_csv(const table_source *source, uint32_t col_idx)
{
    return source->kind == TABLE_CSV && source->hows[col_idx].path_name == NULL;
}

static bool want_is_float(const myr_table_column *column)
{
    return want_type_is(column, "DOUBLE") || want_type_is(column, "FLOAT");
}

/* The two that a pass over the bytes of a file can find too (scan.c). */
static const char want_loss_int64[] = "NOT regexp_full_match($, '(0|-?[1-9][0-9]{0,17})|(0|-?[1-9][0-9]{0,14})\\.0*')";
static const char want_loss_integer[] = "NOT regexp_full_match($, '0|-?[1-9][0-9]{0,17}')";

/* What must hold of a value so that the column cannot be a number (NULL: it is text anyway). In a CSV $ is the text. */
static const char *want_key_loss(const table_source *source, uint32_t col_idx, bool as_int64)
{
    const myr_table_column *column = &source->columns[col_idx];
    if (!want_is_csv(source, col_idx)) {
        if (!as_int64 || column->is_integer) return NULL;
        if (want_is_float(column)) return "NOT isnan($) AND NOT (" WANT_IS_WHOLE ")";
        return want_type_is(column, "DECIMAL") ? "NOT (" WANT_IS_WHOLE ")" : NULL;
    }
    if (column->is_integer) {
        return as_int64 ? want_loss_int64 : want_loss_integer;
    }
    if (!want_type_is(column, "DOUBLE") && !want_type_is(column, "DECIMAL")) return NULL;
    if (as_int64) return "NOT regexp_full_match($, " WANT_WHOLE_TEXT ")";
    return "($ IS NOT NULL AND TRY_CAST($ AS DOUBLE) IS NULL OR regexp_full_match($, "
           "'[+-]?(0[0-9].*|[0-9]{16,}.*)'))";
}

/* Whether all that is in doubt are whole numbers, found without a query. False: ask. */
static myr_rc want_keys_bytes(const table_source *source, const table_want *plan, const char *const *losses,
                              uint32_t want_count, table_scan *out, myr_err *err)
{
    table_scan_key *keys = myr_arena_calloc(source->arena, want_count + 1, sizeof *keys);
    if (keys == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the columns of %s", source->input);
    size_t count = 0;
    *out = (table_scan){0};
    for (uint32_t i = 0; i < want_count; i++) {
        if (losses[i] == NULL) continue;
        if (losses[i] != want_loss_int64 && losses[i] != want_loss_integer) return MYR_OK;
        table_scan_key key = {.field = plan[i].col_idx, .as_int64 = losses[i] == want_loss_int64};
        size_t at = count++;
        for (; at > 0 && keys[at - 1].field > key.field; at--)
            keys[at] = keys[at - 1];
        keys[at] = key;
    }
    return count > 0 ? myr_table_scan_keys(source, keys, count, out, err) : MYR_OK;
}

/* One pass over the input for all keys in doubt: loss[i] is whether want i must be text. *out_are_digits: those that
 * are none are known to be written without a point. */
static myr_rc want_keys_scan(myr_table_engine *engine, table_source *source, const table_want *plan,
                             const char *const *losses, uint32_t want_count, bool *loss, bool *out_are_digits,
                             myr_err *err)
{
    MYR_AUTO(myr_buf) sql = {0};
    uint32_t asked = 0;
    table_scan scan;
    MYR_TRY(want_keys_bytes(source, plan, losses, want_count, &scan, err));
    *out_are_digits = scan.are_whole && !scan.have_points;
    if (scan.are_whole) return MYR_OK;
    for (uint32_t i = 0; i < want_count; i++) {
        if (losses[i] == NULL) continue;
        myr_buf_puts(&sql, asked++ == 0 ? "SELECT coalesce(bool_or(" : ", coalesce(bool_or(");
        want_replace(&sql, losses[i], source->columns[plan[i].col_idx].name, plan[i].col_idx);
        myr_buf_puts(&sql, "), false)");
    }
    if (asked == 0) return MYR_OK;
    myr_buf_puts(&sql, " FROM ");
    myr_table_source_sql(source, &sql);
    MYR_TRY(myr_buf_check(&sql, err));
    MYR_AUTO(table_result) result = {0};
    MYR_TRY(myr_table_source_query(engine, source, sql.data, &result, err));
    MYR_AUTO(table_chunk) chunk = duckdb_fetch_chunk(result);
    MYR_ASSERT(chunk != NULL && duckdb_data_chunk_get_size(chunk) == 1);
    for (uint32_t i = 0, at = 0; i < want_count; i++) {
        if (losses[i] == NULL) continue;
        loss[i] = ((const bool *)duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, at++)))[0];
    }
    return MYR_OK;
}

static bool want_fits_int64(const myr_table_column *column)
{
    return column->is_integer && strcmp(column->sql_type, "UBIGINT") != 0 && strcmp(column->sql_type, "HUGEINT") != 0 &&
           strcmp(column->sql_type, "UHUGEINT") != 0;
}

/* A key of a CSV. It is text in the source unless it may be read as a number right away. */
static void want_key_csv(table_source *source, bool as_int64, bool is_number, bool are_digits, table_want *want)
{
    const myr_table_column *column = &source->columns[want->col_idx];
    want->type = MYR_COL_TEXT;
    want->format = "$";
    if (as_int64 && !(is_number && are_digits && column->is_integer)) {
        want->type = is_number ? MYR_COL_INT64 : MYR_COL_TEXT;
        want->format = is_number ? WANT_CELL_INT64 : WANT_CELL_TEXT;
    } else if (is_number && column->is_integer) {
        want->type = MYR_COL_INT64;
        want->format = "CAST($ AS BIGINT)";
        source->hows[want->col_idx].csv_type = "BIGINT";
    } else if (is_number) {
        want->format = WANT_FLOAT_TEXT;
        source->hows[want->col_idx].csv_type = "DOUBLE";
    }
}

static void want_key_typed(const table_source *source, bool is_number, table_want *want)
{
    const myr_table_column *column = &source->columns[want->col_idx];
    want->type = want_fits_int64(column) || is_number ? MYR_COL_INT64 : MYR_COL_TEXT;
    want->format = "CAST($ AS VARCHAR)";
    if (want->type == MYR_COL_INT64) {
        want->format =
            want_is_float(column) ? "CASE WHEN isnan($) THEN NULL ELSE CAST($ AS BIGINT) END" : "CAST($ AS BIGINT)";
    } else if (want_is_float(column)) {
        want->format = WANT_FLOAT_TEXT;
    } else if (want_type_is(column, "DECIMAL")) {
        want->format = WANT_DECIMAL_TEXT;
    }
}

static myr_rc want_keys(myr_table_engine *engine, table_source *source, const myr_table_want *wants,
                        uint32_t want_count, table_want *plan, myr_err *err)
{
    const char **losses = myr_arena_calloc(source->arena, want_count + 1, sizeof *losses);
    bool *loss = myr_arena_calloc(source->arena, want_count + 1, sizeof *loss);
    if (losses == NULL || loss == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the columns of %s", source->input);
    for (uint32_t i = 0; i < want_count; i++) {
        if (wants[i].as_key) losses[i] = want_key_loss(source, plan[i].col_idx, wants[i].as_int64);
    }
    bool are_digits = false;
    MYR_TRY(want_keys_scan(engine, source, plan, losses, want_count, loss, &are_digits, err));
    for (uint32_t i = 0; i < want_count; i++) {
        if (!wants[i].as_key) continue;
        bool is_number = losses[i] != NULL && !loss[i];
        if (want_is_csv(source, plan[i].col_idx))
            want_key_csv(source, wants[i].as_int64, is_number, are_digits, &plan[i]);
        else
            want_key_typed(source, is_number, &plan[i]);
        const myr_table_column *column = &source->columns[plan[i].col_idx];
        plan[i].is_kept_so = wants[i].as_int64 && (plan[i].type == MYR_COL_INT64 || want_is_float(column) ||
                                                   want_type_is(column, "DECIMAL") || source->kind == TABLE_CSV);
    }
    return MYR_OK;
}

/* ---- names of categories ---- */

static bool want_has_text(const myr_table_column *column)
{
    static const char *const types[] = {"DATE", "TIME", "TIMESTAMP", "UUID", "INTERVAL"};
    if (myr_str_ends_with(myr_str_of(column->sql_type), "]")) return false; /* a list of such */
    if (column->is_numeric || want_is_text(column)) return true;
    for (size_t i = 0; i < MYR_COUNT_OF(types); i++) {
        if (want_type_is(column, types[i])) return true;
    }
    return false;
}

/* The text of a cell, whatever its type. A CSV's cells are texts already, unless the column is a key too. */
static myr_rc want_text(table_source *source, table_want *want, myr_err *err)
{
    const myr_table_column *column = &source->columns[want->col_idx];
    want->type = MYR_COL_TEXT;
    want->format = "CAST($ AS VARCHAR)";
    if (want_is_csv(source, want->col_idx)) {
        const char *type = source->hows[want->col_idx].csv_type;
        if (type != NULL && strcmp(type, "DOUBLE") == 0) want->format = WANT_FLOAT_TEXT;
        return MYR_OK;
    }
    if (!want_has_text(column)) {
        MYR_FAIL(err, BAD_INPUT,
                 "%s: column '%s' is %.60s and must be text or numeric: its values are names of categories",
                 source->input, column->name, column->sql_type);
    }
    if (want_is_float(column)) {
        want->format = want_type_is(column, "FLOAT") ? WANT_SINGLE_TEXT : WANT_FLOAT_TEXT;
    } else if (want_type_is(column, "DECIMAL")) {
        want->format = WANT_DECIMAL_TEXT;
    } else if (want_type_is(column, "JSON")) {
        want->format = "json_extract_string($, chr(36))"; /* the whole, without its quotes: 36 is the dollar */
    }
    return MYR_OK;
}

/* ---- both ---- */

myr_rc myr_table_wants_plan(myr_table_engine *engine, table_source *source, const myr_table_want *wants,
                            uint32_t want_count, table_want *out, myr_err *err)
{
    for (uint32_t i = 0; i < want_count; i++)
        MYR_TRY(myr_table_source_find(source, wants[i].name, &out[i].col_idx, err));
    MYR_TRY(want_keys(engine, source, wants, want_count, out, err));
    for (uint32_t i = 0; i < want_count; i++) {
        if (wants[i].as_key) continue;
        bool is_key = false;
        for (uint32_t k = 0; k < want_count; k++)
            is_key = is_key || (wants[k].as_key && out[k].col_idx == out[i].col_idx);
        if (wants[i].as_text) {
            MYR_TRY(want_text(source, &out[i], err));
            continue;
        }
        MYR_TRY(want_feature(engine, source, is_key, &out[i], err));
        MYR_ASSERT(out[i].format != NULL);
    }
    return MYR_OK;
}
