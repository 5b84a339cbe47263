/*
 * A table mapped through a C function: the function stands in SQL as a scalar function that gives a STRUCT, inside a
 * COPY. DuckDB reads, calls it with vectors of a few thousand rows on several threads, and writes. Rows are counted
 * here: what was computed must be what was written.
 */
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "table/internal.h"

#define MAP_SPLIT_GROUP_ROWS 40960 /* of files in directories: a third of DuckDB's own */

typedef struct map_run {
    const myr_table_map *map;
    const char *input; /* what it is called */
    table_want *plan;
    atomic_llong row_count;
    myr_mutex mutex; /* guards first_err */
    bool has_failed;
    myr_err first_err; /* of the function, with its code: DuckDB passes on only words */
} map_run;

/* What one of DuckDB's threads keeps between chunks. Owner: that thread. */
typedef struct map_thread {
    map_run *run;
    void *state; /* the function's */
    myr_arena *arena;
    myr_col *inputs;
    void **copies;      /* per input: doubles with NaN for null, or slices of texts */
    uint8_t **in_valid; /* per input that is a key */
    double **f64;
    int64_t **i64;
    uint8_t **codes;
    myr_str **text;
    uint8_t **valid;
} map_thread;

/* ---- threads ---- */

static void map_thread_free(void *arg)
{
    map_thread *thread = arg;
    if (thread == NULL) return;
    const myr_table_map *map = thread->run->map;
    if (thread->state != NULL && map->free_state != NULL) map->free_state(thread->state);
    myr_arena_free(thread->arena);
    myr_free(thread);
}

static bool map_is_free_text(const myr_table_output *output)
{
    return output->type == MYR_COL_TEXT && output->words == NULL;
}

static bool map_thread_buffers(map_thread *thread, size_t rows)
{
    const myr_table_map *map = thread->run->map;
    myr_arena *arena = thread->arena;
    bool ok = (thread->inputs = myr_arena_calloc(arena, map->want_count + 1, sizeof *thread->inputs)) != NULL &&
              (thread->copies = myr_arena_calloc(arena, map->want_count + 1, sizeof *thread->copies)) != NULL &&
              (thread->in_valid = myr_arena_calloc(arena, map->want_count + 1, sizeof *thread->in_valid)) != NULL &&
              (thread->f64 = myr_arena_calloc(arena, map->output_count, sizeof *thread->f64)) != NULL &&
              (thread->i64 = myr_arena_calloc(arena, map->output_count, sizeof *thread->i64)) != NULL &&
              (thread->codes = myr_arena_calloc(arena, map->output_count, sizeof *thread->codes)) != NULL &&
              (thread->text = myr_arena_calloc(arena, map->output_count, sizeof *thread->text)) != NULL &&
              (thread->valid = myr_arena_calloc(arena, map->output_count, sizeof *thread->valid)) != NULL;
    for (uint32_t i = 0; ok && i < map->want_count; i++) {
        bool is_text = thread->run->plan[i].type == MYR_COL_TEXT;
        ok = (thread->copies[i] = myr_arena_calloc(arena, rows, is_text ? sizeof(myr_str) : sizeof(double))) != NULL &&
             (thread->in_valid[i] = myr_arena_alloc(arena, rows)) != NULL;
    }
    for (uint32_t i = 0; ok && i < map->output_count; i++) {
        ok = (thread->valid[i] = myr_arena_alloc(arena, rows)) != NULL;
        if (ok && map_is_free_text(&map->outputs[i])) {
            ok = (thread->text[i] = myr_arena_calloc(arena, rows, sizeof(myr_str))) != NULL;
        }
    }
    return ok;
}

static map_thread *map_thread_new(map_run *run)
{
    map_thread *thread = myr_calloc(1, sizeof *thread);
    if (thread == NULL) return NULL;
    thread->run = run;
    thread->arena = myr_arena_new(0);
    bool ok = thread->arena != NULL && map_thread_buffers(thread, duckdb_vector_size());
    if (ok && run->map->make_state != NULL) ok = (thread->state = run->map->make_state(run->map->ctx)) != NULL;
    if (ok) return thread;
    map_thread_free(thread);
    return NULL;
}

/* Keep the first failure; the others are its echo. */
static void map_fail(map_run *run, const myr_err *err)
{
    myr_mutex_lock(&run->mutex);
    if (!run->has_failed) run->first_err = *err;
    run->has_failed = true;
    myr_mutex_unlock(&run->mutex);
}

static void map_init(duckdb_init_info info)
{
    map_run *run = duckdb_scalar_function_init_get_extra_info(info);
    MYR_ASSERT(run != NULL);
    map_thread *thread = map_thread_new(run);
    if (thread == NULL) {
        myr_err err = {0};
        MYR_IGNORE(
            MYR_ERROR(&err, NO_MEMORY, "no memory for a thread's work on %s", run->input)); /* filled, passed on */
        map_fail(run, &err);
        duckdb_scalar_function_init_set_error(info, err.message);
        return;
    }
    duckdb_scalar_function_init_set_state(info, thread, map_thread_free);
}

/* ---- one chunk ---- */

static void map_input_doubles(map_thread *thread, uint32_t i, duckdb_vector vector, int64_t rows)
{
    const double *cells = duckdb_vector_get_data(vector);
    const uint64_t *validity = duckdb_vector_get_validity(vector);
    thread->inputs[i].data.f64 = cells;
    if (validity == NULL) return;
    double *copy = thread->copies[i];
    for (int64_t r = 0; r < rows; r++)
        copy[r] = myr_table_is_valid(validity, r) ? cells[r] : NAN;
    thread->inputs[i].data.f64 = copy;
}

static void map_input_valid(map_thread *thread, uint32_t i, duckdb_vector vector, int64_t rows)
{
    const uint64_t *validity = duckdb_vector_get_validity(vector);
    thread->inputs[i].valid = NULL;
    if (validity == NULL) return;
    for (int64_t r = 0; r < rows; r++)
        thread->in_valid[i][r] = myr_table_is_valid(validity, r);
    thread->inputs[i].valid = thread->in_valid[i];
}

static void map_input_texts(map_thread *thread, uint32_t i, duckdb_vector vector, int64_t rows)
{
    duckdb_string_t *cells = duckdb_vector_get_data(vector);
    const uint8_t *valid = thread->inputs[i].valid;
    myr_str *texts = thread->copies[i];
    for (int64_t r = 0; r < rows; r++)
        texts[r] = valid == NULL || valid[r] != 0 ? myr_table_text(&cells[r]) : (myr_str){0};
    thread->inputs[i].data.text = texts;
}

static void map_inputs(map_thread *thread, duckdb_data_chunk chunk, int64_t rows)
{
    const myr_table_map *map = thread->run->map;
    for (uint32_t i = 0; i < map->want_count; i++) {
        duckdb_vector vector = duckdb_data_chunk_get_vector(chunk, i);
        myr_col *col = &thread->inputs[i];
        col->name = map->wants[i].name;
        col->type = thread->run->plan[i].type;
        if (col->type == MYR_COL_DOUBLE) {
            map_input_doubles(thread, i, vector, rows);
            continue;
        }
        map_input_valid(thread, i, vector, rows);
        if (col->type == MYR_COL_INT64)
            col->data.i64 = duckdb_vector_get_data(vector);
        else
            map_input_texts(thread, i, vector, rows);
    }
}

static void map_output_open(map_thread *thread, duckdb_vector result, int64_t rows)
{
    const myr_table_map *map = thread->run->map;
    for (uint32_t i = 0; i < map->output_count; i++) {
        memset(thread->valid[i], 1, (size_t)rows);
        void *cells = duckdb_vector_get_data(duckdb_struct_vector_get_child(result, i));
        if (map->outputs[i].type == MYR_COL_DOUBLE) thread->f64[i] = cells;
        if (map->outputs[i].type == MYR_COL_INT64) thread->i64[i] = cells;
        if (map->outputs[i].words != NULL) thread->codes[i] = cells;
        if (map_is_free_text(&map->outputs[i])) memset(thread->text[i], 0, (size_t)rows * sizeof(myr_str));
    }
}

/* Copy texts into DuckDB's vector. A text that is the one before, byte for byte in place, shares its cell. */
static bool map_output_texts(duckdb_vector vector, const myr_str *texts, uint8_t *valid, int64_t rows)
{
    duckdb_string_t *cells = duckdb_vector_get_data(vector);
    int64_t before = -1;
    for (int64_t r = 0; r < rows; r++) {
        if (texts[r].data == NULL) valid[r] = 0;
        if (valid[r] == 0) continue;
        if (before >= 0 && texts[r].data == texts[before].data && texts[r].size == texts[before].size) {
            cells[r] = cells[before];
            continue;
        }
        if (!myr_utf8_is_valid(texts[r])) return false;
        duckdb_unsafe_vector_assign_string_element_len(vector, (idx_t)r, texts[r].data, texts[r].size);
        before = r;
    }
    return true;
}

static void map_output_nulls(duckdb_vector vector, const uint8_t *valid, int64_t rows)
{
    if (memchr(valid, 0, (size_t)rows) == NULL) return;
    duckdb_vector_ensure_validity_writable(vector);
    uint64_t *validity = duckdb_vector_get_validity(vector);
    for (int64_t r = 0; r < rows; r++) {
        if (valid[r] == 0) duckdb_validity_set_row_invalid(validity, (idx_t)r);
    }
}

static myr_rc map_output_close(map_thread *thread, duckdb_vector result, int64_t rows, myr_err *err)
{
    const myr_table_map *map = thread->run->map;
    for (uint32_t i = 0; i < map->output_count; i++) {
        duckdb_vector vector = duckdb_struct_vector_get_child(result, i);
        if (map_is_free_text(&map->outputs[i]) && !map_output_texts(vector, thread->text[i], thread->valid[i], rows)) {
            MYR_FAIL(err, BAD_INPUT, "a value of the output column '%s' is not UTF-8", map->outputs[i].name);
        }
        map_output_nulls(vector, thread->valid[i], rows);
    }
    return MYR_OK;
}

static myr_rc map_chunk(map_thread *thread, duckdb_data_chunk chunk, duckdb_vector result, myr_err *err)
{
    const myr_table_map *map = thread->run->map;
    int64_t rows = (int64_t)duckdb_data_chunk_get_size(chunk);
    MYR_ASSERT(rows >= 0 && rows <= (int64_t)duckdb_vector_size());
    map_inputs(thread, chunk, rows);
    map_output_open(thread, result, rows);
    myr_table_chunk call = {.row_count = rows,
                            .inputs = thread->inputs,
                            .f64 = thread->f64,
                            .i64 = thread->i64,
                            .codes = thread->codes,
                            .text = thread->text,
                            .valid = thread->valid};
    MYR_TRY(map->fn(map->ctx, thread->state, &call, err));
    MYR_TRY(map_output_close(thread, result, rows, err));
    atomic_fetch_add_explicit(&thread->run->row_count, rows, memory_order_relaxed);
    return MYR_OK;
}

static void map_call(duckdb_function_info info, duckdb_data_chunk chunk, duckdb_vector result)
{
    map_thread *thread = duckdb_scalar_function_get_state(info);
    MYR_ASSERT(thread != NULL);
    myr_err err = {0};
    if (map_chunk(thread, chunk, result, &err) == MYR_OK) return;
    map_fail(thread->run, &err);
    duckdb_scalar_function_set_error(info, err.message);
}

/* ---- the function in DuckDB's catalogue ---- */

static duckdb_type map_type(myr_col_type type)
{
    if (type == MYR_COL_DOUBLE) return DUCKDB_TYPE_DOUBLE;
    if (type == MYR_COL_INT64) return DUCKDB_TYPE_BIGINT;
    MYR_ASSERT(type == MYR_COL_TEXT);
    return DUCKDB_TYPE_VARCHAR;
}

typedef duckdb_logical_type map_logical;
static void map_logical_drop(map_logical *type)
{
    if (*type != NULL) duckdb_destroy_logical_type(type);
}
typedef duckdb_scalar_function map_function;
static void map_function_drop(map_function *function)
{
    if (*function != NULL) duckdb_destroy_scalar_function(function);
}

/* Texts that are few are an ENUM: a byte per row, on the way and in Parquet's pages, where their words stand once. */
static duckdb_logical_type map_output_type(const myr_table_output *output)
{
    MYR_ASSERT(output->words == NULL || (output->type == MYR_COL_TEXT && output->word_count <= UINT8_MAX));
    if (output->words == NULL) return duckdb_create_logical_type(map_type(output->type));
    return duckdb_create_enum_type((const char **)(uintptr_t)output->words, output->word_count); /* it reads them */
}

static myr_rc map_result_type(const myr_table_map *map, duckdb_logical_type *out, myr_err *err)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    duckdb_logical_type *types = arena != NULL ? myr_arena_calloc(arena, map->output_count, sizeof *types) : NULL;
    const char **names = arena != NULL ? myr_arena_calloc(arena, map->output_count, sizeof *names) : NULL;
    if (types == NULL || names == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %u output columns", map->output_count);
    for (uint32_t i = 0; i < map->output_count; i++) {
        types[i] = map_output_type(&map->outputs[i]);
        names[i] = map->outputs[i].name;
    }
    *out = duckdb_create_struct_type(types, names, map->output_count);
    for (uint32_t i = 0; i < map->output_count; i++)
        duckdb_destroy_logical_type(&types[i]);
    if (*out == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %u output columns", map->output_count);
    return MYR_OK;
}

static myr_rc map_register(myr_table_engine *engine, map_run *run, const char *name, myr_err *err)
{
    MYR_AUTO(map_logical) result = NULL;
    MYR_TRY(map_result_type(run->map, &result, err));
    MYR_AUTO(map_function) function = duckdb_create_scalar_function();
    if (function == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a function");
    duckdb_scalar_function_set_name(function, name);
    for (uint32_t i = 0; i < run->map->want_count; i++) {
        MYR_AUTO(map_logical) type = duckdb_create_logical_type(map_type(run->plan[i].type));
        duckdb_scalar_function_add_parameter(function, type);
    }
    duckdb_scalar_function_set_return_type(function, result);
    duckdb_scalar_function_set_special_handling(function); /* nulls are ours to see */
    duckdb_scalar_function_set_volatile(function);         /* once per row, never folded or repeated */
    duckdb_scalar_function_set_extra_info(function, run, NULL);
    duckdb_scalar_function_set_init(function, map_init);
    duckdb_scalar_function_set_function(function, map_call);
    if (duckdb_register_scalar_function(engine->connection, function) != DuckDBSuccess) {
        MYR_FAIL(err, INTERNAL, "DuckDB refuses the function %s", name);
    }
    return MYR_OK;
}

/* ---- the statement ---- */

static bool map_is_split_by(const myr_table_map *map, const char *name)
{
    for (const char *const *by = map->partition_by; by != NULL && *by != NULL; by++) {
        if (strcmp(*by, name) == 0) return true;
    }
    return false;
}

static const char *const map_formats[] = {
    [MYR_TABLE_PARQUET] = "parquet", [MYR_TABLE_CSV] = "csv", [MYR_TABLE_JSONL] = "jsonl"};

const char *myr_table_format_name(myr_table_format format)
{
    return map_formats[format];
}

bool myr_table_format_parse(const char *name, myr_table_format *out)
{
    for (size_t i = 0; i < MYR_COUNT_OF(map_formats); i++) {
        if (strcmp(name, map_formats[i]) != 0) continue;
        *out = (myr_table_format)i;
        return true;
    }
    return false;
}

/* JSON has no NaN: a float is null there if it is not finite. */
static bool map_needs_finite(const map_run *run, const table_source *source, const char *kept)
{
    if (run->map->format != MYR_TABLE_JSONL) return false;
    for (size_t i = 0; i < source->column_count; i++) {
        const char *type = source->columns[i].sql_type;
        bool is_text = source->kind == TABLE_CSV && source->hows[i].csv_type != NULL;
        if (strcmp(source->columns[i].name, kept) == 0)
            return !is_text && (strcmp(type, "FLOAT") == 0 || strcmp(type, "DOUBLE") == 0);
    }
    return false;
}

/* The expression of a kept column: the cell as it is, or, of a wanted one, what the function gets. */
static void map_keep_value_sql(const map_run *run, const table_source *source, const char *name, myr_buf *sql)
{
    for (uint32_t i = 0; i < run->map->want_count; i++) {
        if (!run->plan[i].is_kept_so || strcmp(run->map->wants[i].name, name) != 0) continue;
        myr_table_want_sql(source, &run->plan[i], sql);
        return;
    }
    myr_table_sql_name(sql, name);
}

/* A directory's name cannot tell a null from the text that stands for it: rows of one would go where the others are. */
static void map_keep_sql(const map_run *run, const table_source *source, const char *name, myr_buf *sql)
{
    bool is_split = map_is_split_by(run->map, name);
    if (is_split) {
        MYR_AUTO(myr_buf) message = {0};
        myr_buf_printf(&message,
                       "the column '%s' holds the text '" TABLE_HIVE_NULL
                       "', which is how directories write null: change it, or do not split by the column",
                       name);
        myr_buf_puts(sql, "CASE WHEN CAST(");
        map_keep_value_sql(run, source, name, sql);
        myr_buf_puts(sql, " AS VARCHAR) = '" TABLE_HIVE_NULL "' THEN error(");
        myr_table_sql_literal(sql, message.data != NULL ? message.data : "");
        myr_buf_puts(sql, ") ELSE ");
    }
    map_keep_value_sql(run, source, name, sql);
    myr_buf_puts(sql, is_split ? " END AS " : " AS ");
    myr_table_sql_name(sql, name);
    myr_buf_puts(sql, ", ");
}

/* `function(inputs) AS values FROM source` */
static void map_call_sql(const map_run *run, const table_source *source, const char *function, myr_buf *sql)
{
    const myr_table_map *map = run->map;
    myr_table_sql_name(sql, function);
    for (uint32_t i = 0; i < map->want_count; i++) {
        myr_buf_puts(sql, i > 0 ? ", " : "(");
        myr_table_want_sql(source, &run->plan[i], sql);
    }
    myr_buf_puts(sql, map->want_count > 0 ? ") AS \"" TABLE_VALUES_NAME "\" FROM "
                                          : "() AS \"" TABLE_VALUES_NAME "\" FROM ");
    myr_table_source_sql(source, sql);
}

static void map_value_sql(bool needs_finite, const char *of, const char *name, myr_buf *sql)
{
    if (needs_finite) {
        myr_buf_printf(sql, "CASE WHEN isfinite(%s", of);
        myr_table_sql_name(sql, name);
        myr_buf_puts(sql, ") THEN ");
    }
    myr_buf_puts(sql, of);
    myr_table_sql_name(sql, name);
    if (!needs_finite) return;
    myr_buf_puts(sql, " END AS ");
    myr_table_sql_name(sql, name);
}

static void map_select_sql(const map_run *run, const table_source *source, const char *function, myr_buf *sql)
{
    const myr_table_map *map = run->map;
    myr_buf_puts(sql, "SELECT ");
    for (uint32_t i = 0; i < map->keep_count; i++) {
        map_value_sql(map_needs_finite(run, source, map->keep[i]), "", map->keep[i], sql);
        myr_buf_puts(sql, ", ");
    }
    for (uint32_t i = 0; i < map->output_count; i++) {
        bool is_number = map->format == MYR_TABLE_JSONL && map->outputs[i].type == MYR_COL_DOUBLE;
        if (i > 0) myr_buf_puts(sql, ", ");
        map_value_sql(is_number, "\"" TABLE_VALUES_NAME "\".", map->outputs[i].name, sql);
    }
    myr_buf_puts(sql, " FROM (SELECT ");
    for (uint32_t i = 0; i < map->keep_count; i++)
        map_keep_sql(run, source, map->keep[i], sql);
    map_call_sql(run, source, function, sql);
    myr_buf_putc(sql, ')');
}

/* Rows of JSON lines: the columns that name directories, and an object of all others as text. */
static void map_lines_sql(const map_run *run, const table_source *source, const char *function, myr_buf *sql)
{
    const myr_table_map *map = run->map;
    bool is_first = true;
    myr_buf_puts(sql, "SELECT ");
    for (uint32_t i = 0; i < map->keep_count; i++) {
        if (!map_is_split_by(map, map->keep[i])) continue;
        myr_table_sql_name(sql, map->keep[i]);
        myr_buf_puts(sql, ", ");
    }
    myr_buf_puts(sql, "to_json(struct_pack(");
    for (uint32_t i = 0; i < map->keep_count + map->output_count; i++) {
        const char *name = i < map->keep_count ? map->keep[i] : map->outputs[i - map->keep_count].name;
        if (i < map->keep_count && map_is_split_by(map, name)) continue;
        if (!is_first) myr_buf_puts(sql, ", ");
        is_first = false;
        myr_table_sql_name(sql, name);
        myr_buf_puts(sql, " := ");
        myr_table_sql_name(sql, name);
    }
    myr_buf_puts(sql, ")) AS \"" TABLE_LINE_NAME "\" FROM (");
    map_select_sql(run, source, function, sql);
    myr_buf_putc(sql, ')');
}

static myr_rc map_copy_sql(const map_run *run, const table_source *source, const char *function, myr_buf *sql,
                           myr_err *err)
{
    const myr_table_map *map = run->map;
    static const char *const options[] = {
        [MYR_TABLE_PARQUET] = " (FORMAT parquet, RETURN_STATS",
        [MYR_TABLE_CSV] = " (FORMAT csv, HEADER true, RETURN_FILES",
        /* each row is one text, written as it is: COPY's own JSON knows no directories */
        [MYR_TABLE_JSONL] = " (FORMAT csv, HEADER false, DELIMITER '\n', QUOTE '', ESCAPE '', RETURN_FILES"};
    bool is_split = map->partition_by != NULL && map->partition_by[0] != NULL;
    if (map->format == MYR_TABLE_NOTHING) {
        myr_buf_puts(sql, "SELECT count(\"" TABLE_VALUES_NAME "\") FROM (SELECT ");
        map_call_sql(run, source, function, sql);
        myr_buf_putc(sql, ')');
        return myr_buf_check(sql, err);
    }
    myr_buf_puts(sql, "COPY (");
    if (map->format == MYR_TABLE_JSONL)
        map_lines_sql(run, source, function, sql);
    else
        map_select_sql(run, source, function, sql);
    myr_buf_puts(sql, ") TO ");
    char target[MYR_PATH_BYTES_MAX];
    if (is_split) {
        myr_table_sql_literal(sql, map->output_dir);
    } else {
        char name[32];
        (void)snprintf(name, sizeof name, "part-0.%s", myr_table_format_name(map->format));
        MYR_TRY(myr_path_join(target, sizeof target, map->output_dir, name, err));
        myr_table_sql_literal(sql, target);
    }
    myr_buf_puts(sql, options[map->format]);
    if (is_split) {
        myr_buf_printf(sql, ", FILENAME_PATTERN 'part-{i}', FILE_EXTENSION '%s', OVERWRITE_OR_IGNORE true",
                       myr_table_format_name(map->format));
        for (uint32_t i = 0; map->partition_by[i] != NULL; i++) {
            myr_buf_puts(sql, i == 0 ? ", PARTITION_BY (" : ", ");
            myr_table_sql_name(sql, map->partition_by[i]);
        }
        myr_buf_puts(sql, map->keeps_partitions ? "), WRITE_PARTITION_COLUMNS true" : ")");
        /* What waits in memory for its row group is that of all directories. */
        if (map->format == MYR_TABLE_PARQUET) myr_buf_printf(sql, ", ROW_GROUP_SIZE %d", MAP_SPLIT_GROUP_ROWS);
    } else {
        myr_buf_puts(sql, ", USE_TMP_FILE false");
    }
    myr_buf_putc(sql, ')');
    return myr_buf_check(sql, err);
}

static myr_rc map_check(const myr_table_map *map, table_source *source, myr_err *err)
{
    MYR_ASSERT(map->output_count > 0 && map->fn != NULL);
    uint32_t unused;
    for (uint32_t i = 0; i < map->keep_count; i++)
        MYR_TRY(myr_table_source_find(source, map->keep[i], &unused, err));
    for (uint32_t i = 0; map->partition_by != NULL && map->partition_by[i] != NULL; i++) {
        bool is_kept = false;
        for (uint32_t k = 0; k < map->keep_count; k++)
            is_kept = is_kept || strcmp(map->keep[k], map->partition_by[i]) == 0;
        MYR_ASSERT(is_kept);
    }
    if (myr_io_exists(map->output_dir)) MYR_FAIL(err, EXISTS, "%s exists already", map->output_dir);
    return myr_io_mkdirs(map->output_dir, err);
}

/* ---- what was written ---- */

/* No two parts of an output may have one name: the second would have replaced the first. */
static myr_rc map_count_name(myr_map *names, duckdb_string_t *cell, int64_t *files, myr_err *err)
{
    myr_str name = myr_table_text(cell);
    if (myr_map_find(names, name, NULL)) {
        MYR_FAIL(err, INTERNAL, "two parts of the output went to one file: " MYR_STR_FMT, MYR_STR_ARG(name));
    }
    (*files)++;
    return myr_map_put(names, name, 1, err);
}

/* RETURN_STATS: a row per file: name, rows, bytes. What was said of its size must still be so. */
static myr_rc map_count_parquet(duckdb_data_chunk chunk, myr_map *names, int64_t *rows, myr_err *err)
{
    duckdb_string_t *cells = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
    const uint64_t *counts = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 1));
    const uint64_t *sizes = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 2));
    int64_t files = 0;
    for (idx_t i = 0; i < duckdb_data_chunk_get_size(chunk); i++) {
        MYR_TRY(map_count_name(names, &cells[i], &files, err));
        char path[MYR_PATH_BYTES_MAX];
        int64_t bytes = 0;
        myr_str name = myr_table_text(&cells[i]);
        snprintf(path, sizeof path, MYR_STR_FMT, MYR_STR_ARG(name));
        MYR_TRY(myr_io_size(path, &bytes, err));
        if ((uint64_t)bytes != sizes[i]) {
            MYR_FAIL(err, INTERNAL, "%s has %lld bytes, %llu were written", path, (long long)bytes,
                     (unsigned long long)sizes[i]);
        }
        *rows += (int64_t)counts[i];
    }
    return MYR_OK;
}

/* RETURN_FILES: one row: rows, list of names. */
static myr_rc map_count_csv(duckdb_data_chunk chunk, myr_map *names, int64_t *rows, myr_err *err)
{
    duckdb_vector list = duckdb_data_chunk_get_vector(chunk, 1);
    duckdb_string_t *cells = duckdb_vector_get_data(duckdb_list_vector_get_child(list));
    int64_t files = 0;
    for (idx_t i = 0; i < duckdb_list_vector_get_size(list); i++)
        MYR_TRY(map_count_name(names, &cells[i], &files, err));
    *rows += ((const int64_t *)duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0)))[0];
    return MYR_OK;
}

/* One number. */
static int64_t map_count_nothing(duckdb_data_chunk chunk)
{
    return ((const int64_t *)duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0)))[0];
}

static myr_rc map_count(const myr_table_map *map, duckdb_result *result, int64_t *out_rows, myr_err *err)
{
    MYR_AUTO(myr_map_ptr) names = myr_map_new();
    if (names == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the names of files");
    int64_t rows = 0;
    for (;;) {
        MYR_AUTO(table_chunk) chunk = duckdb_fetch_chunk(*result);
        if (chunk == NULL || duckdb_data_chunk_get_size(chunk) == 0) break;
        if (map->format == MYR_TABLE_NOTHING) {
            rows += map_count_nothing(chunk);
            continue;
        }
        MYR_TRY(map->format == MYR_TABLE_PARQUET ? map_count_parquet(chunk, names, &rows, err)
                                                 : map_count_csv(chunk, names, &rows, err));
    }
    *out_rows = rows;
    return MYR_OK;
}

static myr_rc map_execute(myr_table_engine *engine, map_run *run, const table_source *source, int64_t *out_rows,
                          myr_err *err)
{
    char function[48];
    snprintf(function, sizeof function, "myr_map_%lld", (long long)engine->next_name++);
    MYR_TRY(map_register(engine, run, function, err));
    MYR_AUTO(myr_buf) sql = {0};
    MYR_TRY(map_copy_sql(run, source, function, &sql, err));
    MYR_AUTO(table_result) result = {0};
    myr_err found = {0};
    myr_rc rc = myr_table_query(engine, sql.data, run->input, &result, &found);
    if (rc != MYR_OK && run->has_failed) { /* every thread has ended */
        myr_err *first = &run->first_err;
        return myr_err_set(err, (myr_rc)first->rc, first->file, first->line, "%s", first->message);
    }
    if (rc != MYR_OK) return myr_table_source_explain(engine, source, rc, &found, err);
    int64_t written = 0;
    MYR_TRY(map_count(run->map, &result, &written, err));
    int64_t computed = atomic_load(&run->row_count);
    if (written != computed) {
        MYR_FAIL(err, INTERNAL, "%s: %lld rows were computed and %lld written", run->input, (long long)computed,
                 (long long)written);
    }
    *out_rows = written;
    return MYR_OK;
}

/* ---- a run ---- */

myr_rc myr_table_map_open(myr_table_engine *engine, const myr_table_map *map, myr_arena *arena, table_source *out,
                          table_want *wants, myr_err *err)
{
    if (map->part == NULL) {
        MYR_TRY(map->files != NULL
                    ? myr_table_source_open_files(engine, map->input, map->files, map->file_count, arena, out, err)
                    : myr_table_source_open(engine, map->input, arena, out, err));
        return myr_table_wants_plan(engine, out, map->wants, map->want_count, wants, err);
    }
    MYR_ASSERT(map->plan != NULL);
    const char **files = myr_arena_calloc(arena, 1, sizeof *files);
    if (files == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to read %s", map->part->file);
    files[0] = map->part->file;
    table_source source = {
        .input = files[0], .reads = files[0], .part = map->part, .arena = arena, .files = files, .file_count = 1};
    MYR_TRY(myr_table_plan_read(map->plan, &source, wants, map->want_count, err));
    if (map->group_by != NULL) MYR_TRY(myr_table_group_source(&source, map, wants, err));
    *out = source;
    return MYR_OK;
}

/* Thread: the engine's owner. Errors: those of myr_table_map_run. */
myr_rc myr_table_map_plan(myr_table_engine *engine, const myr_table_map *map, myr_buf *out, myr_err *err)
{
    MYR_ASSERT(map->part == NULL);
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    table_want *wants = arena != NULL ? myr_arena_calloc(arena, map->want_count + 2, sizeof *wants) : NULL;
    if (wants == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to read %s", map->input);
    table_source source;
    MYR_TRY(myr_table_map_open(engine, map, arena, &source, wants, err));
    uint32_t unused;
    for (uint32_t i = 0; i < map->keep_count; i++)
        MYR_TRY(myr_table_source_find(&source, map->keep[i], &unused, err));
    for (const char *const *by = map->group_by; by != NULL && *by != NULL; by++)
        MYR_TRY(myr_table_source_find(&source, *by, &unused, err));
    myr_table_plan_write(&source, wants, map->want_count, out);
    return myr_buf_check(out, err);
}

/* A map over a grouped file wants two columns more. */
static myr_rc map_widen(const myr_table_map *map, myr_arena *arena, myr_table_map *out, myr_err *err)
{
    myr_table_want *wants = myr_arena_calloc(arena, map->want_count + 2, sizeof *wants);
    if (wants == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %u columns", map->want_count);
    *out = *map;
    if (map->want_count > 0) memcpy(wants, map->wants, map->want_count * sizeof *wants);
    wants[out->want_count++] = (myr_table_want){.name = MYR_TABLE_GROUP_FILE, .as_text = true};
    wants[out->want_count++] = (myr_table_want){.name = MYR_TABLE_GROUP_ROW, .as_key = true, .as_int64 = true};
    out->wants = wants;
    return MYR_OK;
}

/* Thread: the engine's owner; map->fn on others. */
myr_rc myr_table_map_run(myr_table_engine *engine, const myr_table_map *map, int64_t *out_rows, myr_err *err)
{
    const char *input = map->part != NULL ? map->part->file : map->input;
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_table_map wide = *map;
    map_run run = {.map = &wide, .input = input};
    run.plan = arena != NULL ? myr_arena_calloc(arena, map->want_count + 2, sizeof *run.plan) : NULL;
    if (run.plan == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to read %s", input);
    table_source source;
    MYR_TRY(myr_table_map_open(engine, map, arena, &source, run.plan, err));
    MYR_TRY(map_check(map, &source, err));
    if (map->group_by != NULL && map->part != NULL) MYR_TRY(map_widen(map, arena, &wide, err));
    MYR_AUTO(table_range) range = {.fd = -1};
    if (map->part != NULL) MYR_TRY(myr_table_range_open(engine, map->part, source.kind, &range, err));
    if (range.fd >= 0) source.reads = range.path;
    engine->range = range.fd >= 0 ? &range : NULL;
    myr_mutex_init(&run.mutex);
    myr_rc rc = map_execute(engine, &run, &source, out_rows, err);
    myr_mutex_fini(&run.mutex);
    engine->range = NULL;
    return rc;
}
