/* What the files of table share. DuckDB's types stay in this directory. */
#ifndef MYR_TABLE_INTERNAL_H
#define MYR_TABLE_INTERNAL_H

#include <duckdb.h>

#include "table/table.h"

/* Names that our SQL adds beside the columns of people's tables. Input columns of that form are refused. */
#define TABLE_RESERVED    "myr:"
#define TABLE_VALUES_NAME "myr:values"
#define TABLE_ROW_NAME    "myr:row"
#define TABLE_FILE_NAME   MYR_TABLE_GROUP_FILE
#define TABLE_LINE_NAME   "myr:line"

/* Our functions from (text, column index) to a double; what the first one's error says before the index. */
#define TABLE_NUMBER         "myr_number"
#define TABLE_NUMBER_OR_NULL "myr_number_or_null"
#define TABLE_NOT_NUMBER     "myr:not a number in column "

/* How Hive directories write null. */
#define TABLE_HIVE_NULL "__HIVE_DEFAULT_PARTITION__"

struct myr_table_engine {
    duckdb_database database;
    duckdb_connection connection;
    char temp_dir[MYR_PATH_BYTES_MAX]; /* where DuckDB spills; removed by close */
    int64_t next_name;                 /* functions and tables of ours get a fresh name each */
    bool is_lenient;
    myr_fd held_fd;                  /* of parts held in memory, one after the other; -1: none yet */
    const struct table_range *range; /* being read: what DuckDB says of its lines is said of the file's; or NULL */
};

/* ---- engine.c ---- */
/* Run one statement. *out must be destroyed by the caller after MYR_OK; `about` is the file that an error is about. */
myr_rc myr_table_query(myr_table_engine *engine, const char *sql, const char *about, duckdb_result *out, myr_err *err);
myr_rc myr_table_exec(myr_table_engine *engine, const char *sql, const char *about, myr_err *err);
typedef duckdb_result table_result;
static inline void table_result_drop(table_result *result)
{
    duckdb_destroy_result(result);
}
typedef duckdb_data_chunk table_chunk;
static inline void table_chunk_drop(table_chunk *chunk)
{
    if (*chunk != NULL) duckdb_destroy_data_chunk(chunk);
}

/* ---- error.c ---- */
/* Turn DuckDB's words into a code and one line that names the file; gives back the code. range: being read, or NULL. */
myr_rc myr_table_error(duckdb_error_type type, const char *message, const char *about, const struct table_range *range,
                       myr_err *err);

/* ---- sql.c ---- */
void myr_table_sql_name(myr_buf *sql, const char *name);    /* "a""b" */
void myr_table_sql_literal(myr_buf *sql, const char *text); /* 'it''s' */
void myr_table_sql_literal_str(myr_buf *sql, myr_str text);

/* ---- cell.c ---- */
/* A vector's validity is a bit mask, or NULL when nothing is null. */
static inline bool myr_table_is_valid(const uint64_t *validity, int64_t row_idx)
{
    return validity == NULL || (validity[row_idx / 64] >> (row_idx % 64) & 1) != 0;
}
/* Short texts lie inside the cell itself: the slice lives as long as the vector. (What duckdb_string_t_data does, which
 * is called for each cell of a CSV.) */
static inline myr_str myr_table_text(const duckdb_string_t *cell)
{
    uint32_t size = cell->value.inlined.length;
    return myr_str_make(
        size <= sizeof cell->value.inlined.inlined ? cell->value.inlined.inlined : cell->value.pointer.ptr, size);
}
/* The one text or integer of a result's first row; false when there is no row or the cell is null. */
bool myr_table_first_text(duckdb_result *result, uint32_t col_idx, myr_buf *out);

/* ---- source.c ---- */
typedef enum table_kind { TABLE_CSV, TABLE_PARQUET, TABLE_JSON } table_kind;
/* How a column is read. */
typedef struct table_how {
    const char *csv_type;  /* what a CSV's is read as; NULL: as detected */
    const char *path_name; /* not in the files but in their paths: how its name stands there (`a%20b`); else NULL */
} table_how;
typedef struct table_source {
    const char *input;          /* what people call it; a pattern, or the file of `part` */
    const char *reads;          /* what is read: the input, or bytes in memory that are a part of it */
    bool is_list;               /* the files, by name, are what is read */
    const myr_table_part *part; /* NULL: all of it */
    bool is_lenient;            /* bad lines are passed over */
    bool numbers_rows;          /* a Parquet file's part: with a column MYR_TABLE_GROUP_ROW */
    bool is_grouped;            /* rows say where they came from */
    bool is_one_of_many;        /* files: this one's columns may have other types than those below */
    const char *first_file;     /* of these many */
    table_kind kind;
    char delimiter;   /* CSV */
    myr_arena *arena; /* borrowed: holds all that follows */
    const char *const *files;
    size_t file_count;
    myr_table_column *columns;
    table_how *hows; /* per column */
    size_t column_count;
} table_source;
/* How one wanted column is read (want.c). */
typedef struct table_want {
    uint32_t col_idx;   /* in the source */
    myr_col_type type;  /* what the expression gives */
    const char *format; /* the expression; $ is the column, # its index */
    bool is_kept_so;    /* a copy of the column is the expression too, not the cell as it is */
} table_want;
/* Find format, delimiter, columns. The source borrows input and arena. */
myr_rc myr_table_source_open(myr_table_engine *engine, const char *input, myr_arena *arena, table_source *out,
                             myr_err *err);
/* The same of files by name. */
myr_rc myr_table_source_open_files(myr_table_engine *engine, const char *input, const char *const *files,
                                   size_t file_count, myr_arena *arena, table_source *out, myr_err *err);
/* Of a CSV that can't be read: which line has too many or too few fields. MYR_OK: none has. */
myr_rc myr_table_source_check_lines(myr_table_engine *engine, const table_source *source, myr_err *err);
/* `read_csv('…', …)`: what stands behind FROM. */
void myr_table_source_sql(const table_source *source, myr_buf *sql);
/* The index of a column, which joins the source now if only the paths have it; BAD_INPUT with the nearest one, or if
 * there are two. Calls come before myr_table_source_sql. */
myr_rc myr_table_source_find(table_source *source, const char *name, uint32_t *out_idx, myr_err *err);

/* ---- group.c ---- */
/* Of a planned source, the file that its rows were put together in; `wants` has room for two more, which are filled. */
myr_rc myr_table_group_source(table_source *source, const myr_table_map *map, table_want *wants, myr_err *err);

/* ---- map.c ---- */
/* The source of a map: of the whole input, looked at now, or of a part, as the plan says. `wants` has room for two more
 * than the map has. */
myr_rc myr_table_map_open(myr_table_engine *engine, const myr_table_map *map, myr_arena *arena, table_source *out,
                          table_want *wants, myr_err *err);

/* ---- plan.c ---- */
/* A planned source and how its columns are wanted, as text and back. What is read lives in source->arena. */
void myr_table_plan_write(const table_source *source, const table_want *wants, uint32_t want_count, myr_buf *out);
myr_rc myr_table_plan_read(const char *text, table_source *source, table_want *wants, uint32_t want_count,
                           myr_err *err);

/* ---- cut.c ---- */
/* The kind of a file by its name. */
myr_rc myr_table_kind(const char *name, table_kind *out, myr_err *err);
/* Whether bytes of the file are rows as they stand there. */
bool myr_table_is_in_lines(const char *name, table_kind kind);
/* Whether rows of a Parquet file are numbered: a table that has a column of that name hides it. */
bool myr_table_has_row_numbers(myr_table_engine *engine, const char *file);
/* Bytes of a CSV's header line, byte order mark and line end included; all of it if there is no other line. */
size_t myr_table_header_bytes(const unsigned char *data, size_t size);

/* The end of the row that begins at `begin`, and newlines between two places. */
size_t myr_table_row_end(const unsigned char *data, size_t begin, size_t end, table_kind kind);
int64_t myr_table_count_lines(const unsigned char *data, size_t begin, size_t end);

/* ---- scan.c ---- */
/* A key column whose cells should be whole numbers. */
typedef struct table_scan_key {
    uint32_t field; /* of the files, from 0 */
    bool as_int64;  /* 2.0 is one too */
} table_scan_key;
typedef struct table_scan {
    bool are_whole;   /* all cells of the keys are whole numbers; false: the files must be asked through DuckDB */
    bool have_points; /* some are written as 2.0 */
} table_scan;
/* keys: in the order of their fields. */
myr_rc myr_table_scan_keys(const table_source *source, const table_scan_key *keys, size_t key_count, table_scan *out,
                           myr_err *err);

/* ---- range.c ---- */
/* Bytes of a file, held in memory under a name that DuckDB can open. */
typedef struct table_range {
    myr_fd fd; /* the engine's; -1: nothing is held */
    char path[32];
    const char *file;
    int64_t line_shift; /* from a line in memory to the file's */
} table_range;
/* Nothing is held (fd < 0) where a part is read from its file. One at a time; dropped before the engine closes. */
myr_rc myr_table_range_open(myr_table_engine *engine, const myr_table_part *part, table_kind kind, table_range *out,
                            myr_err *err);
void myr_table_range_drop(table_range *range);
static inline void table_range_drop(table_range *range)
{
    myr_table_range_drop(range);
}

/* ---- twins.c ---- */
/* Mark columns whose name stands twice in the file, which DuckDB hides by renaming one. `header` is a CSV's line. */
myr_rc myr_table_twins_mark(myr_table_engine *engine, table_source *source, myr_str header, myr_err *err);

/* ---- files.c ---- */
/* The part `name=value` of a path, as it is written there. False: it has none. */
bool myr_table_path_find(const char *path, const char *name, myr_str *out_name, myr_str *out_value);

/* ---- locate.c ---- */
/* myr_table_query about a source: an error says where in which file, if that can be found out. */
myr_rc myr_table_source_query(myr_table_engine *engine, const table_source *source, const char *sql, duckdb_result *out,
                              myr_err *err);
/* The error of a query about a source, made better; gives back its code. */
myr_rc myr_table_source_explain(myr_table_engine *engine, const table_source *source, myr_rc rc, const myr_err *found,
                                myr_err *err);

/* ---- number.c ---- */
myr_rc myr_table_number_register(myr_table_engine *engine, myr_err *err);

/* ---- write.c ---- */
/* A file that is whole gets its name: synced, renamed, the directory synced. */
myr_rc myr_table_publish(const char *temp, const char *path, myr_err *err);

/* ---- function.c ---- */
/* A statement begins; did one of its functions fail, and how? */
void myr_table_functions_begin(myr_table_functions *all); /* NULL accepted, as below */
bool myr_table_functions_failed(const myr_table_functions *all, myr_err *out);

/* ---- vector.c ---- */
/* How a vector of any type becomes a column. */
typedef struct table_reader {
    const char *name;
    myr_table_use use;
    duckdb_type type, physical; /* physical: how the cells of decimals and enums lie */
    uint8_t scale;              /* of a decimal */
    myr_str *words;             /* of an enum */
    myr_col_type out;
} table_reader;
/* BAD_INPUT: a type that no model takes. What is kept is in the arena. */
myr_rc myr_table_reader_init(duckdb_logical_type type, myr_table_use use, const char *name, myr_arena *arena,
                             table_reader *out, myr_err *err);
size_t myr_table_reader_bytes(const table_reader *reader); /* of `room`, per row */
/* outer: validity of the STRUCT that the vector is a field of, or NULL. The column lives as long as the vector and the
 * rooms (valid_room: a byte per row). */
void myr_table_reader_read(const table_reader *reader, duckdb_vector vector, const uint64_t *outer, int64_t rows,
                           void *room, uint8_t *valid_room, myr_col *out);

/* ---- want.c ---- */
/* Decide how each wanted column is read. BAD_INPUT: not there, or of a type that is never numeric. */
myr_rc myr_table_wants_plan(myr_table_engine *engine, table_source *source, const myr_table_want *wants,
                            uint32_t want_count, table_want *out, myr_err *err);
/* The expression of a planned want. */
void myr_table_want_sql(const table_source *source, const table_want *want, myr_buf *sql);

#endif
