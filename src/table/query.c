/*
 * People's own SQL: one query, its rows as texts or in a file. It becomes a view first, so that whatever stands in it
 * is checked once and every use of it is put together by us.
 */
#include <stdio.h>
#include <string.h>

#include "table/internal.h"

#define QUERY_VIEW "\"" TABLE_RESERVED "query\""

typedef duckdb_extracted_statements query_statements;
static void query_statements_drop(query_statements *statements)
{
    if (*statements != NULL) duckdb_destroy_extracted(statements);
}
typedef duckdb_prepared_statement query_prepared;
static void query_prepared_drop(query_prepared *prepared)
{
    if (*prepared != NULL) duckdb_destroy_prepare(prepared);
}

/* ---- errors ---- */

/* DuckDB's words without the class of its exception, up to where it shows the query again, on one line. */
static myr_rc query_explain(const char *message, myr_err *err)
{
    if (message == NULL) message = "it failed and nobody said why";
    const char *class_end = strstr(message, " Error: ");
    if (class_end != NULL && class_end - message < 40) message = class_end + strlen(" Error: ");
    const char *shown = strstr(message, "\n\nLINE ");
    size_t size = shown != NULL ? (size_t)(shown - message) : strlen(message);
    char line[MYR_ERR_MESSAGE_BYTES];
    if (size >= sizeof line) size = sizeof line - 1;
    memcpy(line, message, size);
    line[size] = '\0';
    for (char *at = line; *at != '\0'; at++) {
        if (*at == '\n') *at = ' ';
    }
    if (strstr(line, "No files found") != NULL) MYR_FAIL(err, NOT_FOUND, "SQL: %s", line);
    MYR_FAIL(err, BAD_INPUT, "SQL: %s", line);
}

static bool query_is_mistake(duckdb_error_type type)
{
    return type == DUCKDB_ERROR_PARSER || type == DUCKDB_ERROR_SYNTAX || type == DUCKDB_ERROR_BINDER ||
           type == DUCKDB_ERROR_CATALOG;
}

/* What failed: a function of ours with its own code, the query, or what it reads. */
static myr_rc query_failed(const myr_table_functions *functions, duckdb_result *result, myr_err *err)
{
    myr_err first = {0};
    if (myr_table_functions_failed(functions, &first))
        return myr_err_set(err, (myr_rc)first.rc, first.file, first.line, "%s", first.message);
    duckdb_error_type type = duckdb_result_error_type(result);
    const char *message = duckdb_result_error(result);
    if (query_is_mistake(type)) return query_explain(message, err);
    return myr_table_error(type, message, "SQL", NULL, err);
}

static myr_rc query_run(myr_table_engine *engine, myr_table_functions *functions, const char *sql, duckdb_result *out,
                        myr_err *err)
{
    myr_table_functions_begin(functions);
    duckdb_result result = {0};
    if (duckdb_query(engine->connection, sql, &result) != DuckDBSuccess) {
        myr_rc rc = query_failed(functions, &result, err);
        duckdb_destroy_result(&result);
        return rc;
    }
    *out = result;
    return MYR_OK;
}

/* ---- the query as a view ---- */

/* It is one statement, and one that gives rows. */
static myr_rc query_check(myr_table_engine *engine, myr_table_functions *functions, const char *sql, myr_err *err)
{
    MYR_AUTO(query_statements) statements = NULL;
    MYR_AUTO(query_prepared) prepared = NULL;
    idx_t count = duckdb_extract_statements(engine->connection, sql, &statements);
    if (count == 0) {
        const char *message = duckdb_extract_statements_error(statements);
        if (message == NULL) MYR_FAIL(err, BAD_INPUT, "SQL: there is no query: give a SELECT");
        return query_explain(message, err);
    }
    if (count > 1)
        MYR_FAIL(err, BAD_INPUT, "SQL: there are %llu statements: give one SELECT", (unsigned long long)count);
    myr_table_functions_begin(functions);
    if (duckdb_prepare_extracted_statement(engine->connection, statements, 0, &prepared) != DuckDBSuccess) {
        myr_err first = {0};
        if (myr_table_functions_failed(functions, &first))
            return myr_err_set(err, (myr_rc)first.rc, first.file, first.line, "%s", first.message);
        return query_explain(duckdb_prepare_error(prepared), err);
    }
    if (duckdb_prepared_statement_type(prepared) != DUCKDB_STATEMENT_TYPE_SELECT)
        MYR_FAIL(err, BAD_INPUT, "SQL: only a query is taken, one that gives rows: write its result with --output");
    if (duckdb_nparams(prepared) > 0) MYR_FAIL(err, BAD_INPUT, "SQL: it has parameters ($1, ?): write the values");
    return MYR_OK;
}

static myr_rc query_open(myr_table_engine *engine, myr_table_functions *functions, const char *query, myr_err *err)
{
    MYR_TRY(query_check(engine, functions, query, err));
    MYR_AUTO(myr_buf) sql = {0};
    MYR_AUTO(table_result) result = {0};
    myr_buf_puts(&sql, "CREATE OR REPLACE TEMP VIEW " QUERY_VIEW " AS ");
    myr_buf_puts(&sql, query);
    MYR_TRY(myr_buf_check(&sql, err));
    return query_run(engine, functions, sql.data, &result, err);
}

/* ---- rows as texts ---- */

typedef struct query_column {
    const char *name;
    bool is_number, is_float;
    bool is_nested; /* its JSON is DuckDB's */
} query_column;

static bool query_is_nested(duckdb_result *result, idx_t index)
{
    duckdb_logical_type type = duckdb_column_logical_type(result, index);
    duckdb_type id = duckdb_get_type_id(type);
    char *alias = duckdb_logical_type_get_alias(type);
    bool is_json = alias != NULL && strcmp(alias, "JSON") == 0;
    duckdb_free(alias);
    duckdb_destroy_logical_type(&type);
    return is_json || id == DUCKDB_TYPE_STRUCT || id == DUCKDB_TYPE_LIST || id == DUCKDB_TYPE_MAP ||
           id == DUCKDB_TYPE_ARRAY || id == DUCKDB_TYPE_UNION;
}

static bool query_is_number(duckdb_type type)
{
    static const duckdb_type numbers[] = {
        DUCKDB_TYPE_TINYINT,   DUCKDB_TYPE_SMALLINT, DUCKDB_TYPE_INTEGER, DUCKDB_TYPE_BIGINT,  DUCKDB_TYPE_UTINYINT,
        DUCKDB_TYPE_USMALLINT, DUCKDB_TYPE_UINTEGER, DUCKDB_TYPE_UBIGINT, DUCKDB_TYPE_HUGEINT, DUCKDB_TYPE_UHUGEINT,
        DUCKDB_TYPE_FLOAT,     DUCKDB_TYPE_DOUBLE,   DUCKDB_TYPE_DECIMAL, DUCKDB_TYPE_BOOLEAN,
    };
    for (size_t i = 0; i < MYR_COUNT_OF(numbers); i++) {
        if (type == numbers[i]) return true;
    }
    return false;
}

static myr_rc query_columns(myr_table_engine *engine, myr_table_functions *functions, myr_arena *arena,
                            query_column **out, size_t *out_count, myr_err *err)
{
    MYR_AUTO(table_result) result = {0};
    MYR_TRY(query_run(engine, functions, "SELECT * FROM " QUERY_VIEW " LIMIT 0", &result, err));
    size_t count = duckdb_column_count(&result);
    query_column *columns = myr_arena_calloc(arena, count + 1, sizeof *columns);
    if (columns == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %zu columns", count);
    for (size_t i = 0; i < count; i++) {
        const char *name = duckdb_column_name(&result, i);
        duckdb_type type = duckdb_column_type(&result, i);
        columns[i] = (query_column){.name = myr_arena_strndup(arena, name, strlen(name)),
                                    .is_number = query_is_number(type),
                                    .is_float = type == DUCKDB_TYPE_FLOAT || type == DUCKDB_TYPE_DOUBLE,
                                    .is_nested = query_is_nested(&result, i)};
        if (columns[i].name == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %zu columns", count);
    }
    *out = columns;
    *out_count = count;
    return MYR_OK;
}

/* A column as a JSON value: numbers as they are, null where JSON has none for it. */
static void query_json_sql(const query_column *column, myr_buf *sql)
{
    const char *before = "CAST(to_json(CAST(", *after = " AS VARCHAR)) AS VARCHAR)";
    if (column->is_nested) {
        before = "CAST(to_json(";
        after = ") AS VARCHAR)";
    } else if (column->is_number) {
        before = "CAST(";
        after = " AS VARCHAR)";
    }
    if (column->is_float) {
        myr_buf_puts(sql, "CASE WHEN isfinite(");
        myr_table_sql_name(sql, column->name);
        myr_buf_puts(sql, ") THEN ");
    }
    myr_buf_puts(sql, before);
    myr_table_sql_name(sql, column->name);
    myr_buf_puts(sql, after);
    if (column->is_float) myr_buf_puts(sql, " END");
}

static myr_rc query_cells_sql(const query_column *columns, size_t count, const myr_table_rows *rows, myr_buf *sql,
                              myr_err *err)
{
    for (size_t i = 0; i < count; i++) {
        myr_buf_puts(sql, i == 0 ? "SELECT " : ", ");
        if (rows->as_json) {
            query_json_sql(&columns[i], sql);
        } else {
            myr_buf_puts(sql, "CAST(");
            myr_table_sql_name(sql, columns[i].name);
            myr_buf_puts(sql, " AS VARCHAR)");
        }
        myr_buf_printf(sql, " AS c%zu", i);
    }
    myr_buf_puts(sql, " FROM " QUERY_VIEW);
    if (rows->limit > 0) myr_buf_printf(sql, " LIMIT %lld", (long long)rows->limit);
    return myr_buf_check(sql, err);
}

static myr_rc query_head(const query_column *columns, size_t count, const myr_table_rows *rows, myr_arena *arena,
                         myr_err *err)
{
    const char **names = myr_arena_calloc(arena, count + 1, sizeof *names);
    bool *are_numbers = myr_arena_calloc(arena, count + 1, sizeof *are_numbers);
    if (names == NULL || are_numbers == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %zu columns", count);
    for (size_t i = 0; i < count; i++) {
        names[i] = columns[i].name;
        are_numbers[i] = columns[i].is_number;
    }
    return rows->columns(rows->ctx, names, are_numbers, count, err);
}

/* DuckDB writes NaN and Infinity inside of lists and structs, which JSON has not: null there. */
static myr_rc query_json_nested(myr_arena *arena, myr_str *cell, myr_err *err)
{
    static const char *const words[] = {"NaN", "-NaN", "Infinity", "-Infinity"};
    MYR_AUTO(myr_buf) out = {0};
    bool in_text = false;
    for (size_t i = 0; i < cell->size; i++) {
        char byte = cell->data[i];
        size_t word = 0;
        for (size_t k = 0; !in_text && (byte == 'N' || byte == 'I' || byte == '-') && k < MYR_COUNT_OF(words); k++) {
            size_t size = strlen(words[k]);
            if (size <= cell->size - i && memcmp(cell->data + i, words[k], size) == 0) word = size;
        }
        if (word > 0) {
            myr_buf_puts(&out, "null");
            i += word - 1;
            continue;
        }
        myr_buf_putc(&out, byte);
        if (in_text && byte == '\\' && i + 1 < cell->size) myr_buf_putc(&out, cell->data[++i]);
        if (byte == '"') in_text = !in_text;
    }
    MYR_TRY(myr_buf_check(&out, err));
    const char *copy = myr_arena_strndup(arena, out.data != NULL ? out.data : "", out.size);
    if (copy == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a row");
    *cell = myr_str_make(copy, out.size);
    return MYR_OK;
}

static myr_rc query_chunk(duckdb_data_chunk chunk, const query_column *columns, size_t count,
                          const myr_table_rows *rows, myr_arena *arena, myr_err *err)
{
    myr_str *cells = myr_arena_calloc(arena, count + 1, sizeof *cells);
    if (cells == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a row of %zu columns", count);
    for (idx_t r = 0; r < duckdb_data_chunk_get_size(chunk); r++) {
        for (size_t i = 0; i < count; i++) {
            duckdb_vector vector = duckdb_data_chunk_get_vector(chunk, i);
            bool is_there = myr_table_is_valid(duckdb_vector_get_validity(vector), (int64_t)r);
            duckdb_string_t *texts = duckdb_vector_get_data(vector);
            cells[i] = is_there ? myr_table_text(&texts[r]) : (myr_str){0};
            if (is_there && rows->as_json && columns[i].is_nested) MYR_TRY(query_json_nested(arena, &cells[i], err));
        }
        MYR_TRY(rows->row(rows->ctx, cells, err));
    }
    return MYR_OK;
}

myr_rc myr_table_query_rows(myr_table_engine *engine, myr_table_functions *functions, const char *query,
                            const myr_table_rows *rows, myr_err *err)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a query");
    query_column *columns = NULL;
    size_t count = 0;
    MYR_TRY(query_open(engine, functions, query, err));
    MYR_TRY(query_columns(engine, functions, arena, &columns, &count, err));
    MYR_AUTO(myr_buf) sql = {0};
    MYR_TRY(query_cells_sql(columns, count, rows, &sql, err));
    MYR_AUTO(table_result) result = {0};
    MYR_TRY(query_run(engine, functions, sql.data, &result, err));
    MYR_AUTO(myr_arena_ptr) chunk_arena = myr_arena_new(0);
    if (chunk_arena == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for rows");
    MYR_TRY(query_head(columns, count, rows, arena, err));
    for (;;) {
        MYR_AUTO(table_chunk) chunk = duckdb_fetch_chunk(result);
        if (chunk == NULL || duckdb_data_chunk_get_size(chunk) == 0) return MYR_OK;
        myr_arena_reset(chunk_arena);
        MYR_TRY(query_chunk(chunk, columns, count, rows, chunk_arena, err));
    }
}

/* ---- into a file ---- */

static const struct {
    const char *suffix, *options;
} query_formats[] = {
    {".parquet", "FORMAT parquet"}, {".csv", "FORMAT csv, HEADER true"}, {".json", "FORMAT json, ARRAY true"},
    {".ndjson", "FORMAT json"},     {".jsonl", "FORMAT json"},
};

static myr_rc query_format(const char *path, const char **out, myr_err *err)
{
    for (size_t i = 0; i < MYR_COUNT_OF(query_formats); i++) {
        if (!myr_str_ends_with(myr_str_of(path), query_formats[i].suffix)) continue;
        *out = query_formats[i].options;
        return MYR_OK;
    }
    MYR_FAIL(err, BAD_USAGE,
             "%s: the format is found from the name, which must end in .parquet, .csv, .json or .ndjson", path);
}

static myr_rc query_copy(myr_table_engine *engine, myr_table_functions *functions, const char *temp,
                         const char *options, int64_t *out_rows, myr_err *err)
{
    MYR_AUTO(myr_buf) sql = {0};
    MYR_AUTO(table_result) result = {0};
    myr_buf_puts(&sql, "COPY (SELECT * FROM " QUERY_VIEW ") TO ");
    myr_table_sql_literal(&sql, temp);
    myr_buf_printf(&sql, " (%s, USE_TMP_FILE false)", options);
    MYR_TRY(myr_buf_check(&sql, err));
    MYR_TRY(query_run(engine, functions, sql.data, &result, err));
    *out_rows = (int64_t)duckdb_rows_changed(&result);
    return MYR_OK;
}

myr_rc myr_table_query_write(myr_table_engine *engine, myr_table_functions *functions, const char *query,
                             const char *path, int64_t *out_rows, myr_err *err)
{
    const char *options = NULL;
    char temp[MYR_PATH_BYTES_MAX];
    MYR_TRY(query_format(path, &options, err));
    if ((size_t)snprintf(temp, sizeof temp, "%s.tmp", path) >= sizeof temp)
        MYR_FAIL(err, BAD_INPUT, "%s: the path is too long", path);
    MYR_TRY(query_open(engine, functions, query, err));
    int64_t rows = 0;
    myr_rc rc = query_copy(engine, functions, temp, options, &rows, err);
    if (rc == MYR_OK) rc = myr_table_publish(temp, path, err);
    if (rc == MYR_OK) {
        *out_rows = rows;
    } else if (myr_io_exists(temp)) {
        MYR_IGNORE(myr_io_unlink(temp, NULL)); /* the failure itself is told */
    }
    return rc;
}
