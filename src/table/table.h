/*
 * The face of table: tables in and out. The only place that knows DuckDB.
 * Inputs: .parquet, .csv, .csv.gz, .json/.ndjson/.jsonl, a glob of them; the format is found from the name.
 * Thread: one engine has one owner; callbacks run on DuckDB's threads. Errors: DuckDB's words with the file's name, one
 * line.
 */
#ifndef MYR_TABLE_TABLE_H
#define MYR_TABLE_TABLE_H

#include "base/base.h"

typedef struct myr_table_engine myr_table_engine;

/* threads 0 = all processors; memory_bytes 0 = DuckDB's default. No extension is ever downloaded. */
myr_rc myr_table_engine_open(int threads, int64_t memory_bytes, myr_table_engine **out, myr_err *err);
void myr_table_engine_close(myr_table_engine *engine); /* NULL accepted */
/* From now on; as of open. */
myr_rc myr_table_engine_set_room(myr_table_engine *engine, int threads, int64_t memory_bytes, myr_err *err);
typedef myr_table_engine *myr_table_engine_ptr;
static inline void myr_table_engine_ptr_drop(myr_table_engine_ptr *engine)
{
    myr_table_engine_close(*engine);
}
/* Spill below `dir` (made when needed, removed by close) instead of the system's directory for temporary files. */
myr_rc myr_table_engine_set_temp(myr_table_engine *engine, const char *dir, myr_err *err);

/* Bad lines of a CSV are passed over while its columns and their types are found out: whoever reads the rows meets
 * them. */
void myr_table_engine_set_lenient(myr_table_engine *engine, bool is_lenient);

/* ---- what a table looks like ---- */
typedef struct myr_table_column {
    const char *name;
    const char *sql_type; /* DuckDB's: BIGINT, DOUBLE, VARCHAR … */
    bool is_numeric;      /* integers, decimals, floats, booleans */
    bool is_integer;
    const char *twin; /* NULL, or the name that stands more than once in the file: which one is meant is not known */
} myr_table_column;
/* Columns of a table, in `arena`. NOT_FOUND: no file matches; BAD_INPUT: not readable as its format. */
myr_rc myr_table_describe(myr_table_engine *engine, const char *input, myr_arena *arena, myr_table_column **out,
                          size_t *out_count, myr_err *err);
/* The same of files by name (all of one format), which together are called `input`. */
myr_rc myr_table_describe_files(myr_table_engine *engine, const char *input, const char *const *files,
                                size_t file_count, myr_arena *arena, myr_table_column **out, size_t *out_count,
                                myr_err *err);

#define MYR_TABLE_LINE_BYTES_MAX (16 << 20) /* of a row that a database gave */
#define MYR_TABLE_FILES_MAX      1000000    /* of one table */
/*
 * The files of a table, sorted, in `arena`. Of a directory all below it, but for names that begin with '.' or '_'.
 * NOT_FOUND: none; BAD_INPUT: a file in the directory is no table.
 */
myr_rc myr_table_files(myr_table_engine *engine, const char *input, myr_arena *arena, const char *const **out,
                       size_t *out_count, myr_err *err);
/*
 * Whether a path has a directory `name=value`. Such a column is read if it is wanted (or kept by name) and the files do
 * not have it themselves; all files must lie below one. What a file says counts, whatever its path says.
 */
bool myr_table_path_has(const char *path, const char *name);
/* Its value there, decoded, appended; nothing for null. */
bool myr_table_path_get(const char *path, const char *name, myr_buf *out);
/* myr_nearest, but a name that differs by case alone comes before all others. */
const char *myr_table_nearest(const char *name, const char *const *known);

/* How many rows it has, if the file says so without being read (Parquet); else *out_rows = 0. */
myr_rc myr_table_count_rows(myr_table_engine *engine, const char *input, int64_t *out_rows, myr_err *err);

/* ---- a table in memory (what training reads) ---- */
typedef struct myr_table_data {
    myr_arena *arena; /* owns all */
    int64_t row_count;
    myr_col *cols; /* as asked: numeric columns as DOUBLE (null = NaN), or INT64/TEXT with valid bytes */
    uint32_t col_count;
} myr_table_data;
typedef struct myr_table_want {
    const char *name;
    bool as_key; /* INT64 if all its values are canonical integers, else their TEXT (`01` in a CSV); otherwise DOUBLE */
    bool as_int64; /* of a key: 2.0 is 2 too, cell by cell, also where the column is kept */
    /* TEXT, of any type that has one: numbers in their shortest form (5, 1.5), `true` and `false`, times as SQL writes
     * them. For features that are names of categories. */
    bool as_text;
} myr_table_want;
/*
 * Read the wanted columns of all rows, ordered by `order_by` (column names, NULL-terminated; NULL = file order, which
 * is kept). BAD_INPUT: a column is missing (nearest named) or not numeric (with its type and the first values that are
 * not).
 */
myr_rc myr_table_load(myr_table_engine *engine, const char *input, const myr_table_want *wants, uint32_t want_count,
                      const char *const *order_by, myr_table_data **out, myr_err *err);
void myr_table_data_free(myr_table_data *data); /* NULL accepted */

/* ---- parts of files ---- */
#define MYR_TABLE_PARTS_MAX      1000000     /* of one input */
#define MYR_TABLE_PART_BYTES_MAX (1LL << 30) /* of a CSV or of JSON lines: a part is held in memory */
/*
 * A part of one file: rows [begin, end) of a Parquet file, bytes [begin, end) of a CSV or of JSON lines (the header
 * aside), cut between two rows. end < 0: the whole file, of any format.
 */
typedef struct myr_table_part {
    const char *file;
    int64_t begin, end;
    int64_t first_line; /* of the file, of a part in bytes: where it begins */
    int64_t row_count;  /* -1: not known without reading */
} myr_table_part;
/*
 * About how large parts are; 0: no bound of that kind, both 0: whole files. rows_max: Parquet with more rows than
 * MYR_TABLE_PARTS_FEW such parts is cut into as many larger ones, up to so many rows in each; 0: it is not.
 */
#define MYR_TABLE_PARTS_FEW 8
typedef struct myr_table_size {
    int64_t rows, bytes, rows_max;
} myr_table_size;
/*
 * Cut one file into parts, in order, in `arena`: Parquet between row groups, by what its footer says; CSV and JSON
 * lines between lines that are not inside quotes, by a pass over its bytes. Compressed ones and .json stay whole. A
 * file without rows is one part. Errors: NOT_FOUND, DENIED, BAD_INPUT (damaged), TOO_LARGE (more than
 * MYR_TABLE_PARTS_MAX).
 */
myr_rc myr_table_cut(myr_table_engine *engine, const char *file, const myr_table_size *size, myr_arena *arena,
                     myr_table_part **out, size_t *out_count, myr_err *err);
/* Two halves of a part; *out_can = false: it is one row, or cannot be cut. */
myr_rc myr_table_halve(myr_table_engine *engine, const myr_table_part *part, myr_table_part out[2], bool *out_can,
                       myr_err *err);

/*
 * The lines of a part's rows, to be asked for in their order (from 0; 0: there is no such row). *out = NULL: the part
 * has rows, but no lines. Ownership: the caller closes it.
 */
typedef struct myr_table_lines myr_table_lines;
myr_rc myr_table_lines_open(const myr_table_part *part, myr_table_lines **out, myr_err *err);
int64_t myr_table_lines_at(myr_table_lines *lines, int64_t row);
void myr_table_lines_close(myr_table_lines *lines); /* NULL accepted */

/* ---- a table mapped through a function into files (what batch does) ---- */
#define MYR_TABLE_GROUP_FILE "myr:file" /* inputs of a map over a grouped file, behind those that are wanted: */
#define MYR_TABLE_GROUP_ROW  "myr:row"  /* which file a row came from, and which row of it (from 1) */
/*
 * JSONL: an object a line; a NaN or an infinity, which JSON has not, is null. NOTHING: of a map alone: rows are given
 * to the function, and that is all.
 */
typedef enum myr_table_format { MYR_TABLE_PARQUET, MYR_TABLE_CSV, MYR_TABLE_JSONL, MYR_TABLE_NOTHING } myr_table_format;
const char *myr_table_format_name(myr_table_format format); /* parquet, csv, jsonl: also how files' names end */
bool myr_table_format_parse(const char *name, myr_table_format *out);

/* One output column that the function fills. */
typedef struct myr_table_output {
    const char *name;
    myr_col_type type; /* DOUBLE, INT64 or TEXT */
    /* Of a TEXT: the few that it may be (up to 255, unlike each other); the function gives their numbers. NULL: any. */
    const char *const *words;
    uint32_t word_count;
} myr_table_output;

/* One chunk: inputs as wanted; outputs to fill. */
typedef struct myr_table_chunk {
    int64_t row_count;
    const myr_col *inputs; /* in the order of wants */
    double *const *f64;    /* per output column, by its type: the array to fill; NULL otherwise */
    int64_t *const *i64;
    uint8_t *const *codes; /* of a TEXT with words */
    myr_str *const *text;  /* the bytes must live until the function's next call on this thread; data == NULL is null */
    uint8_t *const *valid; /* per output column: set to 0 for null; preset to 1 */
} myr_table_chunk;
/* Called on DuckDB's threads; thread_state is what make_state gave for this thread. */
typedef myr_rc (*myr_table_fn)(void *ctx, void *thread_state, const myr_table_chunk *chunk, myr_err *err);

typedef struct myr_table_map {
    const char *input;        /* NULL with a part */
    const char *const *files; /* that it is, by name; NULL: what matches it */
    size_t file_count;
    const myr_table_want *wants; /* columns handed to the function */
    uint32_t want_count;
    const char *const *keep; /* input columns copied to the output as they are, in this order, before the function's */
    uint32_t keep_count;
    const myr_table_output *outputs;
    uint32_t output_count;
    const char *output_dir; /* must not exist; made here; files of its tree are NOT synced here */
    const char *const
        *partition_by;     /* of keep: Hive directories `col=value/` instead of columns; NULL-terminated or NULL */
    bool keeps_partitions; /* columns of partition_by stand in the files too */
    myr_table_format format;
    /* NULL-terminated or NULL: the rows were put together by these columns (myr_table_group_write), the part is of the
     * file that was made, and a chunk has two inputs more: MYR_TABLE_GROUP_FILE (TEXT), MYR_TABLE_GROUP_ROW (INT64). */
    const char *const *group_by;
    const char *plan;           /* what myr_table_map_plan gave for it; NULL: find it out */
    const myr_table_part *part; /* what is read of the input; needs a plan. NULL: all */
    myr_table_fn fn;
    void *ctx;
    void *(*make_state)(void *ctx); /* per thread; NULL result is NO_MEMORY */
    void (*free_state)(void *state);
} myr_table_map;
/*
 * How the columns of a map are read, decided once over all files of its input, so that parts read anywhere are alike:
 * a text that another process of this program understands. Errors: as myr_table_load.
 */
myr_rc myr_table_map_plan(myr_table_engine *engine, const myr_table_map *map, myr_buf *out, myr_err *err);
/*
 * Read, call fn on chunks from several threads, write `part-<n>` files below output_dir. On failure output_dir may hold
 * partial files: the caller removes it. *out_rows counts rows written. No rows: one file with the schema, or (split) an
 * empty directory. The order of the input is kept when the output is one file; a split output repeats byte for byte
 * with one thread only.
 */
myr_rc myr_table_map_run(myr_table_engine *engine, const myr_table_map *map, int64_t *out_rows, myr_err *err);

/*
 * The first `limit` rows of a map's part, as far as its first want_count wants: what a row is, if it can't be mapped.
 * Of a grouped file two columns more. Ownership: *out is the caller's. Errors: as myr_table_load.
 */
myr_rc myr_table_map_peek(myr_table_engine *engine, const myr_table_map *map, uint32_t want_count, int64_t limit,
                          myr_table_data **out, myr_err *err);

/* ---- rows put together by their keys ---- */
#define MYR_TABLE_GROUP_ROWS_MIN 2048 /* of a row group of the file that is made */
#define MYR_TABLE_GROUP_ROWS_MAX 122880
/*
 * Write the rows of all files, sorted by map->group_by, into one Parquet file: columns that the map wants or keeps, and
 * where each row came from (names: what the files are called). rows_at_once: about so many are read together later. The
 * same input gives the same rows in the same order. What memory does not hold is spilled. Nothing is synced.
 */
myr_rc myr_table_group_write(myr_table_engine *engine, const myr_table_map *map, const char *const *files,
                             const char *const *names, size_t file_count, int64_t rows_at_once, const char *path,
                             myr_err *err);
/*
 * Cut such a file between two keys, in parts of about so many rows: no key is in two of them. With rows = 1 each key is
 * a part. TOO_LARGE: more than MYR_TABLE_PARTS_MAX.
 */
myr_rc myr_table_group_cut(myr_table_engine *engine, const myr_table_map *map, const char *path, int64_t rows,
                           myr_arena *arena, myr_table_part **out, size_t *out_count, myr_err *err);

/* ---- functions of ours in people's SQL ---- */

/* What a column of a call is to the function. */
typedef enum myr_table_use {
    MYR_TABLE_USE_NUMBER, /* DOUBLE; a text stays TEXT, and is what its number is */
    MYR_TABLE_USE_NAME,   /* TEXT, of any type that has one: 2.0 is `2` */
    MYR_TABLE_USE_KEY     /* INT64 of whole numbers, DOUBLE of floats, else TEXT */
} myr_table_use;
typedef struct myr_table_parameter {
    const char *name;
    const char *what; /* for messages: "a feature" */
    myr_table_use use;
} myr_table_parameter;
/* What one call in a query needs and does; borrowed until the engine is closed. */
typedef struct myr_table_call {
    const myr_table_parameter *parameters;
    uint32_t parameter_count;
    uint32_t value_count; /* numbers a row; at least 1 */
    /* As of a map: f64[0 … value_count - 1], valid[0] for all of them, then what the function tells. */
    myr_table_fn fn;
    void *ctx;
    void *(*make_state)(void *ctx);
    void (*free_state)(void *state);
} myr_table_call;

#define MYR_TABLE_TOLD_MAX 8
typedef struct myr_table_function {
    const char *name;
    const char *values_name;      /* in the STRUCT, if there is one */
    bool values_as_list;          /* any number of values a row; else one */
    const char *of_many;          /* which function is for calls with several values */
    const myr_table_output *told; /* INT64 or TEXT: the other fields of the STRUCT; told_count 0: the value alone */
    uint32_t told_count;
    /* What a call with this first argument means; called when a query is read, again for every use of it. */
    myr_rc (*bind)(void *ctx, const char *subject, myr_table_call *out, myr_err *err);
    void *ctx;
} myr_table_function;

typedef struct myr_table_functions myr_table_functions;
/* Freed after the engine. */
myr_rc myr_table_functions_new(myr_table_functions **out, myr_err *err);
void myr_table_functions_free(myr_table_functions *functions); /* NULL accepted */
/* `name('subject', row)` with the columns of one STRUCT by name, or `name('subject', a, b, …)` in the order of the
 * parameters. */
myr_rc myr_table_function_add(myr_table_engine *engine, myr_table_functions *functions, const myr_table_function *def,
                              myr_err *err);

/* ---- people's SQL ---- */

/* Where the rows of a query go, one after the other, on the caller's thread. */
typedef struct myr_table_rows {
    bool as_json;  /* cells are JSON values (NULL, NaN and infinities: data == NULL); else SQL's texts */
    int64_t limit; /* 0: all */
    myr_rc (*columns)(void *ctx, const char *const *names, const bool *are_numbers, size_t count, myr_err *err);
    myr_rc (*row)(void *ctx, const myr_str *cells, myr_err *err); /* data == NULL: null */
    void *ctx;
} myr_table_rows;
/*
 * One query, whose files are read as DuckDB reads them. Thread: the engine's owner. Errors: BAD_INPUT with DuckDB's
 * words: not one query, a mistake in it, a column that is missing; NOT_FOUND a file; what functions and rows answer.
 */
myr_rc myr_table_query_rows(myr_table_engine *engine, myr_table_functions *functions, const char *query,
                            const myr_table_rows *rows, myr_err *err);
/* Into a file by its name (.parquet, .csv, .json, .ndjson), which appears when it is whole. */
myr_rc myr_table_query_write(myr_table_engine *engine, myr_table_functions *functions, const char *query,
                             const char *path, int64_t *out_rows, myr_err *err);

/* ---- snapshots: rows from elsewhere as one Parquet file, which appears when it is whole ---- */

/* The result of one query. Names of files in it are looked for in `dir` too, if it is not NULL. Errors: those of
 * myr_table_query_rows. */
myr_rc myr_table_snapshot_query(myr_table_engine *engine, const char *query, const char *dir, const char *path,
                                int64_t *out_rows, myr_err *err);
/*
 * The rows of files for which a condition holds: a SQL expression over their columns and those of their paths, as
 * DuckDB types them. Cells of a CSV stay as they are written.
 */
myr_rc myr_table_snapshot_filter(myr_table_engine *engine, const char *input, const char *const *files,
                                 size_t file_count, const char *condition, const char *path, int64_t *out_rows,
                                 myr_err *err);
/*
 * A text that a database gave: a header line, then rows, cells in quotes, null as \N without them. types: DuckDB's.
 * BAD_INPUT a cell is not of its column's type.
 */
typedef struct myr_table_text_column {
    const char *name, *sql_type;
} myr_table_text_column;
myr_rc myr_table_snapshot_text(myr_table_engine *engine, const char *text_path, const myr_table_text_column *columns,
                               size_t column_count, const char *path, int64_t *out_rows, myr_err *err);

/* Files of one form, that a map wrote, as one file, in this order. Nothing is synced. */
myr_rc myr_table_append(myr_table_engine *engine, const char *const *files, size_t count, myr_table_format format,
                        const char *path, myr_err *err);

/* The rows of files that a map wrote. */
myr_rc myr_table_count_written(myr_table_engine *engine, const char *const *files, size_t count,
                               myr_table_format format, int64_t *out_rows, myr_err *err);
/* Write columns held in memory as one file (Parquet or CSV by its name), atomically. */
myr_rc myr_table_write(myr_table_engine *engine, const char *path, const myr_col *cols, uint32_t col_count,
                       int64_t row_count, myr_err *err);

#endif
