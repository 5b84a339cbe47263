/*
 * What an input is: its format by its name, for CSV the separator by its header line, and its columns. DuckDB may guess
 * types but not the layout of a CSV: its guess drops lines that do not fit, ours makes them errors with a line number.
 */
#include <string.h>
#include <strings.h>

#include "table/internal.h"

#define SOURCE_SEPARATORS       ",;\t|"
#define SOURCE_HEADER_BYTES_MAX (2 << 20) /* DuckDB's limit of a line */

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

myr_rc myr_table_kind(const char *input, table_kind *out, myr_err *err)
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

/* The first line of a file whose bytes are what they stand for. False: it is too long to be told from a file of another
 * kind, so DuckDB may say what is wrong. */
static myr_rc source_header_bytes(const char *file, myr_buf *out, bool *out_has, myr_err *err)
{
    myr_mapping map = {0};
    MYR_TRY(myr_io_map(file, &map, err));
    uint64_t losses = myr_io_map_losses();
    size_t begin = map.size >= 3 && memcmp(map.data, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
    size_t most = map.size < SOURCE_HEADER_BYTES_MAX ? map.size : SOURCE_HEADER_BYTES_MAX, end = begin;
    while (end < most && map.data[end] != '\n' && map.data[end] != '\r')
        end++;
    *out_has = end < SOURCE_HEADER_BYTES_MAX;
    if (*out_has) myr_buf_append(out, map.data + begin, end - begin);
    myr_io_unmap(&map);
    if (myr_io_map_losses() != losses) MYR_FAIL(err, IO, "%s was cut short while it was read", file);
    return myr_buf_check(out, err);
}

/* Read through DuckDB, so that compressed files need no code of ours. */
static myr_rc source_header_query(myr_table_engine *engine, const char *file, myr_buf *out, myr_err *err)
{
    MYR_AUTO(myr_buf) sql = {0};
    myr_buf_puts(&sql, "SELECT line FROM read_csv(");
    myr_table_sql_literal(&sql, file);
    /* a separator that is nowhere, and lines of any form: only the first one is looked at */
    myr_buf_puts(&sql, ", auto_detect = false, header = false, delim = '\x01\x02\x03\x04', quote = '', escape = '', "
                       "strict_mode = false, hive_partitioning = false, columns = {'line': 'VARCHAR'}) LIMIT 1");
    MYR_TRY(myr_buf_check(&sql, err));
    MYR_AUTO(table_result) result = {0};
    MYR_TRY(myr_table_query(engine, sql.data, file, &result, err));
    MYR_IGNORE(myr_table_first_text(&result, 0, out)); /* nothing: it is empty, as its caller sees */
    return myr_buf_check(out, err);
}

/* The first line of the first file. */
static myr_rc source_header(myr_table_engine *engine, const table_source *source, myr_buf *out, myr_err *err)
{
    const char *file = source->files[0];
    bool has_header = false;
    for (size_t i = 0; i < source->file_count; i++) {
        int64_t bytes = 0;
        MYR_TRY(myr_io_size(source->files[i], &bytes, err));
        if (bytes == 0)
            MYR_FAIL(err, BAD_INPUT, "%s: the file is empty: a table needs a header line", source->files[i]);
    }
    if (myr_table_is_in_lines(file, TABLE_CSV)) MYR_TRY(source_header_bytes(file, out, &has_header, err));
    if (!has_header) MYR_TRY(source_header_query(engine, file, out, err));
    if (out->size == 0) {
        MYR_FAIL(err, BAD_INPUT, "%s: the file is empty or begins with an empty line: a table needs a header line",
                 file);
    }
    return MYR_OK;
}

static void source_csv_layout(const table_source *source, myr_buf *sql)
{
    myr_buf_puts(sql,
                 ", header = true, skip = 0, comment = '', quote = '\"', escape = '\"', strict_mode = true, delim = ");
    myr_table_sql_literal_str(sql, myr_str_make(&source->delimiter, 1));
    if (source->is_lenient) myr_buf_puts(sql, ", ignore_errors = true");
    /* of a part all types are known; what is looked at for them for the first time needs no 32 MB in memory */
    if (source->part != NULL) myr_buf_puts(sql, ", sample_size = 1");
    if (source->column_count == 0) myr_buf_puts(sql, ", buffer_size = 4194304");
}

/* ---- SQL ---- */

static void source_types_sql(const table_source *source, myr_buf *sql)
{
    const char *before = ", types = {";
    for (size_t i = 0; i < source->column_count; i++) {
        if (source->hows[i].csv_type == NULL) continue;
        myr_buf_puts(sql, before);
        myr_table_sql_literal(sql, source->columns[i].name);
        myr_buf_puts(sql, ": ");
        myr_table_sql_literal(sql, source->hows[i].csv_type);
        before = ", ";
    }
    if (before[2] == '\0') myr_buf_putc(sql, '}'); /* at least one was written */
}

/* Where the path of a row's file stands: in a column of the reader, or it is known. */
static void source_path_sql(const table_source *source, myr_buf *sql)
{
    if (source->part == NULL) {
        myr_buf_puts(sql, "'/' || \"" TABLE_FILE_NAME "\"");
    } else {
        MYR_AUTO(myr_buf) path = {0};
        myr_buf_printf(&path, "/%s", source->part->file);
        myr_table_sql_literal(sql, path.data != NULL ? path.data : "");
    }
}

/* Columns of the paths: `…/store=7/…` between `/store=` and the next slash. */
static bool source_paths_sql(const table_source *source, myr_buf *sql)
{
    bool has_any = false;
    const char *all = source->part == NULL ? "(SELECT * EXCLUDE (\"" TABLE_FILE_NAME "\")" : "(SELECT *";
    for (size_t i = 0; i < source->column_count; i++) {
        const char *name = source->hows[i].path_name;
        if (name == NULL) continue;
        MYR_AUTO(myr_buf) mark = {0};
        myr_buf_printf(&mark, "/%s=", name);
        if (!has_any) myr_buf_puts(sql, all);
        has_any = true;
        myr_buf_puts(sql, ", CAST(nullif(url_decode(split_part(split_part(");
        source_path_sql(source, sql);
        myr_buf_puts(sql, ", ");
        myr_table_sql_literal(sql, mark.data != NULL ? mark.data : "");
        myr_buf_printf(sql, ", 2), '/', 1)), '" TABLE_HIVE_NULL "') AS %s) AS ", source->columns[i].sql_type);
        myr_table_sql_name(sql, source->columns[i].name);
    }
    if (has_any) myr_buf_puts(sql, " FROM ");
    return has_any;
}

/* The types of a JSON's columns: each part for itself would guess others. */
static void source_json_columns_sql(const table_source *source, myr_buf *sql)
{
    const char *before = ", columns = {";
    for (size_t i = 0; i < source->column_count; i++) {
        if (source->hows[i].path_name != NULL) continue;
        myr_buf_puts(sql, before);
        myr_table_sql_literal(sql, source->columns[i].name);
        myr_buf_puts(sql, ": ");
        myr_table_sql_literal(sql, source->columns[i].sql_type);
        before = ", ";
    }
    if (before[2] == '\0') myr_buf_putc(sql, '}'); /* at least one was written */
    if (source->reads != source->input) myr_buf_puts(sql, ", format = 'newline_delimited'");
}

/* Rows of a Parquet file: DuckDB reads the row groups that the numbers are in, no others. */
static void source_rows_sql(const table_source *source, myr_buf *sql)
{
    myr_buf_puts(sql, "(SELECT *");
    const char *before = " REPLACE (";
    for (size_t i = 0; source->is_one_of_many && i < source->column_count; i++) {
        if (source->hows[i].path_name != NULL) continue;
        myr_buf_puts(sql, before);
        myr_buf_puts(sql, "CAST(");
        myr_table_sql_name(sql, source->columns[i].name);
        myr_buf_printf(sql, " AS %s) AS ", source->columns[i].sql_type);
        myr_table_sql_name(sql, source->columns[i].name);
        before = ", ";
    }
    if (before[0] == ',') myr_buf_putc(sql, ')');
    if (source->numbers_rows) myr_buf_puts(sql, ", file_row_number + 1 AS \"" MYR_TABLE_GROUP_ROW "\"");
    myr_buf_puts(sql, " FROM ");
}

/* The name of what is read, or names. */
static void source_reads_sql(const table_source *source, myr_buf *sql)
{
    if (!source->is_list) {
        myr_table_sql_literal(sql, source->reads);
        return;
    }
    for (size_t i = 0; i < source->file_count; i++) {
        myr_buf_puts(sql, i == 0 ? "[" : ", ");
        myr_table_sql_literal(sql, source->files[i]);
    }
    myr_buf_putc(sql, ']');
}

static void source_reader_sql(const table_source *source, bool has_paths, myr_buf *sql)
{
    static const char *const readers[] = {
        [TABLE_CSV] = "read_csv(", [TABLE_PARQUET] = "read_parquet(", [TABLE_JSON] = "read_json("};
    MYR_ASSERT(source->kind == TABLE_CSV || source->kind == TABLE_PARQUET || source->kind == TABLE_JSON);
    myr_buf_puts(sql, readers[source->kind]);
    source_reads_sql(source, sql);
    myr_buf_puts(sql, ", hive_partitioning = false"); /* it would put the path's column over the file's */
    if (has_paths && source->part == NULL) myr_buf_puts(sql, ", filename = '" TABLE_FILE_NAME "'");
    if (source->kind == TABLE_CSV) {
        source_csv_layout(source, sql);
        source_types_sql(source, sql);
    }
    if (source->kind == TABLE_JSON && source->part != NULL) source_json_columns_sql(source, sql);
    myr_buf_putc(sql, ')');
}

void myr_table_source_sql(const table_source *source, myr_buf *sql)
{
    bool has_paths = source_paths_sql(source, sql);
    bool has_rows = source->part != NULL && source->kind == TABLE_PARQUET;
    if (has_rows) source_rows_sql(source, sql);
    source_reader_sql(source, has_paths, sql);
    if (has_rows && source->part->end >= 0) {
        myr_buf_printf(sql, " WHERE file_row_number >= %lld AND file_row_number < %lld", (long long)source->part->begin,
                       (long long)source->part->end);
    }
    if (has_rows) myr_buf_putc(sql, ')');
    if (has_paths) myr_buf_putc(sql, ')');
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

static myr_rc source_grow(table_source *source, size_t more, myr_err *err)
{
    size_t count = source->column_count, need = count + more;
    myr_table_column *columns =
        myr_arena_realloc(source->arena, source->columns, count * sizeof *columns, need * sizeof *columns);
    table_how *hows = myr_arena_realloc(source->arena, source->hows, count * sizeof *hows, need * sizeof *hows);
    if (columns == NULL || hows == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the columns of %s", source->input);
    source->columns = columns;
    source->hows = hows;
    return MYR_OK;
}

/* There must be room for it. */
static myr_rc source_add_column(table_source *source, myr_str name, myr_str type, myr_err *err)
{
    myr_table_column *column = &source->columns[source->column_count];
    *column = (myr_table_column){.name = myr_arena_strndup(source->arena, name.data, name.size),
                                 .sql_type = myr_arena_strndup(source->arena, type.data, type.size)};
    source->hows[source->column_count] = (table_how){0};
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
    for (;;) {
        MYR_AUTO(table_chunk) chunk = duckdb_fetch_chunk(*result);
        idx_t rows = chunk != NULL ? duckdb_data_chunk_get_size(chunk) : 0;
        if (rows == 0) return MYR_OK;
        MYR_TRY(source_grow(source, rows, err));
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
    source_reads_sql(source, &sql);
    myr_buf_puts(&sql, ", auto_detect = false, hive_partitioning = false");
    source_csv_layout(source, &sql);
    uint32_t fields = source_count(header, source->delimiter) + 1;
    for (uint32_t i = 0; i < fields; i++)
        myr_buf_printf(&sql, "%s'c%u': 'VARCHAR'", i == 0 ? ", columns = {" : ", ", i);
    myr_buf_puts(&sql, "})");
    MYR_TRY(myr_buf_check(&sql, err));
    return myr_table_exec(engine, sql.data, source->input, err);
}

myr_rc myr_table_source_check_lines(myr_table_engine *engine, const table_source *source, myr_err *err)
{
    MYR_AUTO(myr_buf) header = {0};
    MYR_TRY(source_header(engine, source, &header, err));
    return source_explain(engine, source, myr_str_make(header.data, header.size), err);
}

static myr_rc source_describe(myr_table_engine *engine, table_source *source, myr_err *err)
{
    MYR_AUTO(myr_buf) header = {0};
    if (source->kind == TABLE_CSV) {
        MYR_TRY(source_header(engine, source, &header, err));
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
    if (rc != MYR_OK) return myr_table_source_explain(engine, source, rc, &found, err);
    MYR_TRY(source_read_columns(source, &result, err));
    MYR_TRY(myr_table_twins_mark(engine, source, myr_str_make(header.data, header.size), err));
    /* the types that DuckDB found are a hint for us; cells stay what they are until somebody wants a number */
    for (size_t i = 0; source->kind == TABLE_CSV && i < source->column_count; i++)
        source->hows[i].csv_type = source->columns[i].twin == NULL ? "VARCHAR" : NULL;
    return MYR_OK;
}

myr_rc myr_table_source_open(myr_table_engine *engine, const char *input, myr_arena *arena, table_source *out,
                             myr_err *err)
{
    table_source source = {.input = input, .reads = input, .arena = arena, .is_lenient = engine->is_lenient};
    MYR_TRY(myr_table_kind(input, &source.kind, err));
    MYR_TRY(myr_table_files(engine, input, arena, &source.files, &source.file_count, err));
    MYR_TRY(source_describe(engine, &source, err));
    *out = source;
    return MYR_OK;
}

myr_rc myr_table_source_open_files(myr_table_engine *engine, const char *input, const char *const *files,
                                   size_t file_count, myr_arena *arena, table_source *out, myr_err *err)
{
    MYR_ASSERT(file_count > 0);
    table_source source = {.input = file_count > 1 ? input : files[0],
                           .reads = files[0],
                           .is_list = true,
                           .arena = arena,
                           .files = files,
                           .file_count = file_count,
                           .is_lenient = engine->is_lenient};
    MYR_TRY(myr_table_kind(files[0], &source.kind, err));
    for (size_t i = 1; i < file_count; i++) {
        table_kind kind;
        MYR_TRY(myr_table_kind(files[i], &kind, err));
        if (kind == source.kind) continue;
        MYR_FAIL(err, BAD_INPUT, "%s and %s are of different formats: all files of an input are of one", files[0],
                 files[i]);
    }
    MYR_TRY(source_describe(engine, &source, err));
    *out = source;
    return MYR_OK;
}

/* ---- one column ---- */

/* A column that only the paths have: BIGINT if its values are canonical integers, else text. *out_has = false: they do
 * not have it either. */
static myr_rc source_add_path(table_source *source, const char *name, bool *out_has, myr_err *err)
{
    myr_str first = {0}, written, value;
    bool is_integer = true;
    const char *without = NULL;
    for (size_t i = 0; i < source->file_count; i++) {
        int64_t unused = 0;
        if (!myr_table_path_find(source->files[i], name, &written, &value) ||
            (first.data != NULL && !myr_str_equal(first, written))) {
            without = source->files[i];
            continue;
        }
        if (first.data == NULL) first = written;
        is_integer = is_integer && (myr_str_is(value, TABLE_HIVE_NULL) || myr_is_canonical_int64(value, &unused));
    }
    *out_has = first.data != NULL;
    if (first.data == NULL) return MYR_OK;
    if (without != NULL) {
        MYR_FAIL(err, BAD_INPUT, "%s: no column '%s', and no '" MYR_STR_FMT "=…/' in the path as other files have",
                 without, name, MYR_STR_ARG(first));
    }
    MYR_TRY(source_grow(source, 1, err));
    MYR_TRY(source_add_column(source, myr_str_of(name), myr_str_of(is_integer ? "BIGINT" : "VARCHAR"), err));
    const char *copy = myr_arena_strndup(source->arena, first.data, first.size);
    if (copy == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the columns of %s", source->input);
    source->hows[source->column_count - 1].path_name = copy;
    return MYR_OK;
}

static myr_rc source_refuse_name(const table_source *source, const char *name, myr_err *err)
{
    const char *about = source->file_count == 1 ? source->input : source->files[0];
    const char **known = myr_arena_calloc(source->arena, source->column_count + 1, sizeof *known);
    if (known == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the columns of %s", source->input);
    for (size_t i = 0; i < source->column_count; i++)
        known[i] = source->columns[i].name;
    const char *nearest = myr_table_nearest(name, known);
    if (nearest != NULL) MYR_FAIL(err, BAD_INPUT, "%s has no column '%s'; did you mean '%s'?", about, name, nearest);
    MYR_FAIL(err, BAD_INPUT, "%s has no column '%s'; its columns begin with '%s'", about, name,
             source->column_count > 0 ? known[0] : "");
}

/* The nearest known name; one that differs by case alone before all others. */
const char *myr_table_nearest(const char *name, const char *const *known)
{
    for (const char *const *at = known; *at != NULL; at++) {
        if (strcasecmp(*at, name) == 0) return *at;
    }
    return myr_nearest(name, known);
}

myr_rc myr_table_source_find(table_source *source, const char *name, uint32_t *out_idx, myr_err *err)
{
    for (size_t i = 0; i < source->column_count; i++) {
        if (strcmp(source->columns[i].name, name) != 0) continue;
        if (source->columns[i].twin != NULL) {
            MYR_FAIL(err, BAD_INPUT, "%s has two columns '%s': rename or remove one", source->files[0],
                     source->columns[i].twin);
        }
        *out_idx = (uint32_t)i;
        return MYR_OK;
    }
    bool has = false;
    MYR_TRY(source_add_path(source, name, &has, err));
    if (!has) return source_refuse_name(source, name, err);
    *out_idx = (uint32_t)source->column_count - 1;
    return MYR_OK;
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

myr_rc myr_table_describe_files(myr_table_engine *engine, const char *input, const char *const *files,
                                size_t file_count, myr_arena *arena, myr_table_column **out, size_t *out_count,
                                myr_err *err)
{
    table_source source;
    MYR_TRY(myr_table_source_open_files(engine, input, files, file_count, arena, &source, err));
    *out = source.columns;
    *out_count = source.column_count;
    return MYR_OK;
}

myr_rc myr_table_count_rows(myr_table_engine *engine, const char *input, int64_t *out_rows, myr_err *err)
{
    table_source source = {.input = input, .reads = input};
    MYR_TRY(myr_table_kind(input, &source.kind, err));
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
