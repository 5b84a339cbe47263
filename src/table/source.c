/*
 * What an input is: its format by its name, for CSV the separator by its header line, and its columns. DuckDB may guess
 * types but not the layout of a CSV: its guess drops lines that do not fit, ours makes them errors with a line number.
 */
#include <string.h>

#include "table/internal.h"

#define SOURCE_SEPARATORS ",;\t|"

/* ---- format ---- */

typedef struct source_suffix {
    const char *text;
    table_kind kind;
} source_suffix;
static const source_suffix source_suffixes[] = {
    {".parquet", TABLE_PARQUET}, {".csv", TABLE_CSV},     {".tsv", TABLE_CSV},
    {".json", TABLE_JSON},       {".ndjson", TABLE_JSON}, {".jsonl", TABLE_JSON},
};

static myr_str source_without(myr_str name, const char *suffix)
{
    if (myr_str_ends_with(name, suffix)) name.size -= strlen(suffix);
    return name;
}

static myr_rc source_kind(const char *input, table_kind *out, myr_err *err)
{
    char lower[MYR_PATH_BYTES_MAX];
    size_t size = strlen(input);
    if (size >= sizeof lower)
        MYR_FAIL(err, BAD_INPUT, "the input's name is longer than %d bytes", MYR_PATH_BYTES_MAX - 1);
    for (size_t i = 0; i <= size; i++) {
        lower[i] = input[i] >= 'A' && input[i] <= 'Z' ? (char)(input[i] - 'A' + 'a') : input[i];
    }
    myr_str name = source_without(source_without(myr_str_make(lower, size), ".gz"), ".zst");
    for (size_t i = 0; i < MYR_COUNT_OF(source_suffixes); i++) {
        if (!myr_str_ends_with(name, source_suffixes[i].text)) continue;
        *out = source_suffixes[i].kind;
        return MYR_OK;
    }
    if (myr_io_is_dir(input)) {
        MYR_FAIL(err, BAD_INPUT, "%s is a directory: name its files, such as '%s/*.parquet'", input, input);
    }
    MYR_FAIL(err, BAD_INPUT,
             "%s: the format is found from the name, which must end in .parquet, .csv, .tsv, .json, .ndjson or "
             ".jsonl (.gz may follow)",
             input);
}

/* ---- the layout of a CSV ---- */

/* How often `separator` stands in the line outside quotes. */
static uint32_t source_count(myr_str line, char separator)
{
    uint32_t count = 0;
    bool quoted = false;
    for (size_t i = 0; i < line.size; i++) {
        if (line.data[i] == '"') quoted = !quoted;
        if (!quoted && line.data[i] == separator) count++;
    }
    return count;
}

static char source_separator(myr_str header)
{
    char best = SOURCE_SEPARATORS[0];
    uint32_t best_count = 0;
    for (const char *s = SOURCE_SEPARATORS; *s != '\0'; s++) {
        uint32_t count = source_count(header, *s);
        if (count <= best_count) continue;
        best = *s;
        best_count = count;
    }
    return best;
}

/* The first line of the first file, read through DuckDB so that globs and compressed files need no code of ours. */
static myr_rc source_header(myr_table_engine *engine, const char *input, myr_buf *out, myr_err *err)
{
    MYR_AUTO(myr_buf) sql = {0};
    myr_buf_puts(&sql, "SELECT line FROM read_csv(");
    myr_table_sql_literal(&sql, input);
    myr_buf_puts(&sql, ", auto_detect = false, header = false, delim = '\x01', quote = '', escape = '', "
                       "columns = {'line': 'VARCHAR'}) LIMIT 1");
    MYR_TRY(myr_buf_check(&sql, err));
    MYR_AUTO(table_result) result = {0};
    MYR_TRY(myr_table_query(engine, sql.data, input, &result, err));
    if (!myr_table_first_text(&result, 0, out)) {
        MYR_FAIL(err, BAD_INPUT, "%s: the file is empty or begins with an empty line: a table needs a header line",
                 input);
    }
    return myr_buf_check(out, err);
}

static void source_csv_layout(const table_source *source, myr_buf *sql)
{
    myr_buf_puts(sql,
                 ", header = true, skip = 0, comment = '', quote = '\"', escape = '\"', strict_mode = true, delim = ");
    myr_table_sql_literal_str(sql, myr_str_make(&source->delimiter, 1));
}

/* ---- SQL ---- */

static void source_types_sql(const table_source *source, myr_buf *sql)
{
    const char *before = ", types = {";
    for (size_t i = 0; i < source->column_count; i++) {
        if (source->types[i] == NULL) continue;
        myr_buf_puts(sql, before);
        myr_table_sql_literal(sql, source->columns[i].name);
        myr_buf_puts(sql, ": ");
        myr_table_sql_literal(sql, source->types[i]);
        before = ", ";
    }
    if (before[2] == '\0') myr_buf_putc(sql, '}'); /* at least one was written */
}

void myr_table_source_sql(const table_source *source, myr_buf *sql)
{
    static const char *const readers[] = {
        [TABLE_CSV] = "read_csv(", [TABLE_PARQUET] = "read_parquet(", [TABLE_JSON] = "read_json("};
    MYR_ASSERT(source->kind == TABLE_CSV || source->kind == TABLE_PARQUET || source->kind == TABLE_JSON);
    myr_buf_puts(sql, readers[source->kind]);
    myr_table_sql_literal(sql, source->input);
    if (source->kind == TABLE_CSV) {
        source_csv_layout(source, sql);
        source_types_sql(source, sql);
    }
    myr_buf_putc(sql, ')');
}

/* ---- columns ---- */

static bool source_type_is_integer(const char *type)
{
    static const char *const integers[] = {"TINYINT",  "SMALLINT",  "INTEGER",  "BIGINT",  "HUGEINT",
                                           "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT"};
    for (size_t i = 0; i < MYR_COUNT_OF(integers); i++) {
        if (strcmp(type, integers[i]) == 0) return true;
    }
    return false;
}

static bool source_type_is_numeric(const char *type)
{
    return source_type_is_integer(type) || strcmp(type, "FLOAT") == 0 || strcmp(type, "DOUBLE") == 0 ||
           strcmp(type, "BOOLEAN") == 0 || strncmp(type, "DECIMAL", strlen("DECIMAL")) == 0;
}

static myr_rc source_add_column(table_source *source, myr_str name, myr_str type, myr_err *err)
{
    myr_table_column *column = &source->columns[source->column_count];
    column->name = myr_arena_strndup(source->arena, name.data, name.size);
    column->sql_type = myr_arena_strndup(source->arena, type.data, type.size);
    if (column->name == NULL || column->sql_type == NULL)
        MYR_FAIL(err, NO_MEMORY, "no memory for the columns of %s", source->input);
    if (strncmp(column->name, TABLE_RESERVED, strlen(TABLE_RESERVED)) == 0) {
        MYR_FAIL(err, BAD_INPUT, "%s: the column '%s' must be renamed: names with '%s' are ours", source->input,
                 column->name, TABLE_RESERVED);
    }
    column->is_integer = source_type_is_integer(column->sql_type);
    column->is_numeric = source_type_is_numeric(column->sql_type);
    source->column_count++;
    return MYR_OK;
}

/* Rows of DESCRIBE: name, type, …. */
static myr_rc source_read_columns(table_source *source, duckdb_result *result, myr_err *err)
{
    size_t room = 0;
    for (;;) {
        MYR_AUTO(table_chunk) chunk = duckdb_fetch_chunk(*result);
        idx_t rows = chunk != NULL ? duckdb_data_chunk_get_size(chunk) : 0;
        if (rows == 0) return MYR_OK;
        size_t need = source->column_count + rows;
        myr_table_column *columns =
            myr_arena_realloc(source->arena, source->columns, room * sizeof *columns, need * sizeof *columns);
        if (columns == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the columns of %s", source->input);
        source->columns = columns;
        room = need;
        duckdb_string_t *names = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
        duckdb_string_t *types = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 1));
        for (idx_t i = 0; i < rows; i++) {
            MYR_TRY(source_add_column(source, myr_table_text(&names[i]), myr_table_text(&types[i]), err));
        }
    }
}

/*
 * DuckDB says only that no layout fits when a line near the top has too many or too few fields. Read once more as text
 * with as many columns as the header has: then it says which line.
 */
static myr_rc source_explain(myr_table_engine *engine, const table_source *source, myr_str header, myr_err *err)
{
    MYR_AUTO(myr_buf) sql = {0};
    myr_buf_puts(&sql, "SELECT count(*) FROM read_csv(");
    myr_table_sql_literal(&sql, source->input);
    myr_buf_puts(&sql, ", auto_detect = false");
    source_csv_layout(source, &sql);
    uint32_t fields = source_count(header, source->delimiter) + 1;
    for (uint32_t i = 0; i < fields; i++)
        myr_buf_printf(&sql, "%s'c%u': 'VARCHAR'", i == 0 ? ", columns = {" : ", ", i);
    myr_buf_puts(&sql, "})");
    MYR_TRY(myr_buf_check(&sql, err));
    return myr_table_exec(engine, sql.data, source->input, err);
}

static myr_rc source_describe(myr_table_engine *engine, table_source *source, myr_err *err)
{
    MYR_AUTO(myr_buf) header = {0};
    if (source->kind == TABLE_CSV) {
        MYR_TRY(source_header(engine, source->input, &header, err));
        source->delimiter = source_separator(myr_str_make(header.data, header.size));
    }
    MYR_AUTO(myr_buf) sql = {0};
    myr_buf_puts(&sql, "DESCRIBE SELECT * FROM ");
    myr_table_source_sql(source, &sql);
    MYR_TRY(myr_buf_check(&sql, err));
    MYR_AUTO(table_result) result = {0};
    myr_err found = {0};
    myr_rc rc = myr_table_query(engine, sql.data, source->input, &result, &found);
    if (rc == MYR_BAD_INPUT && source->kind == TABLE_CSV) {
        MYR_TRY(source_explain(engine, source, myr_str_make(header.data, header.size), err));
    }
    if (rc != MYR_OK) return myr_err_set(err, rc, found.file, found.line, "%s", found.message);
    MYR_TRY(source_read_columns(source, &result, err));
    source->types = myr_arena_calloc(source->arena, source->column_count + 1, sizeof *source->types);
    if (source->types == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the columns of %s", source->input);
    return MYR_OK;
}

myr_rc myr_table_source_open(myr_table_engine *engine, const char *input, myr_arena *arena, table_source *out,
                             myr_err *err)
{
    table_source source = {.input = input, .arena = arena};
    MYR_TRY(source_kind(input, &source.kind, err));
    MYR_TRY(source_describe(engine, &source, err));
    *out = source;
    return MYR_OK;
}

myr_rc myr_table_source_find(const table_source *source, const char *name, uint32_t *out_idx, myr_err *err)
{
    for (size_t i = 0; i < source->column_count; i++) {
        if (strcmp(source->columns[i].name, name) != 0) continue;
        *out_idx = (uint32_t)i;
        return MYR_OK;
    }
    const char **known = myr_arena_calloc(source->arena, source->column_count + 1, sizeof *known);
    if (known == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the columns of %s", source->input);
    for (size_t i = 0; i < source->column_count; i++)
        known[i] = source->columns[i].name;
    const char *nearest = myr_nearest(name, known);
    if (nearest != NULL)
        MYR_FAIL(err, BAD_INPUT, "%s has no column '%s'; did you mean '%s'?", source->input, name, nearest);
    MYR_FAIL(err, BAD_INPUT, "%s has no column '%s'; its columns begin with '%s'", source->input, name,
             source->column_count > 0 ? known[0] : "");
}

/* Errors: NOT_FOUND nothing matches; BAD_INPUT not readable as its format; UNSUPPORTED not a local file. */
myr_rc myr_table_describe(myr_table_engine *engine, const char *input, myr_arena *arena, myr_table_column **out,
                          size_t *out_count, myr_err *err)
{
    table_source source;
    MYR_TRY(myr_table_source_open(engine, input, arena, &source, err));
    *out = source.columns;
    *out_count = source.column_count;
    return MYR_OK;
}

myr_rc myr_table_count_rows(myr_table_engine *engine, const char *input, int64_t *out_rows, myr_err *err)
{
    table_source source = {.input = input};
    MYR_TRY(source_kind(input, &source.kind, err));
    if (source.kind != TABLE_PARQUET) {
        *out_rows = 0;
        return MYR_OK;
    }
    MYR_AUTO(myr_buf) sql = {0};
    myr_buf_puts(&sql, "SELECT count(*) FROM ");
    myr_table_source_sql(&source, &sql);
    MYR_TRY(myr_buf_check(&sql, err));
    MYR_AUTO(table_result) result = {0};
    MYR_TRY(myr_table_query(engine, sql.data, input, &result, err));
    MYR_AUTO(table_chunk) chunk = duckdb_fetch_chunk(result);
    MYR_ASSERT(chunk != NULL && duckdb_data_chunk_get_size(chunk) == 1);
    *out_rows = ((const int64_t *)duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0)))[0];
    return MYR_OK;
}
