/* What the sinks that are tables of databases share: the columns of what is staged, its rows, the marker of a run. */
#ifndef MYR_BATCH_SINK_TABLE_H
#define MYR_BATCH_SINK_TABLE_H

#include "batch/sink.h"

#define SINK_MARKER "myriad_batch" /* the table that says which runs have published into which tables */

typedef enum sink_cell { SINK_INT, SINK_REAL, SINK_TEXT } sink_cell;
typedef struct sink_column {
    const char *name;
    const char *sql_type; /* DuckDB's */
    const char *type;     /* the database's, for a column that is made */
    sink_cell cell;
} sink_column;
typedef struct sink_columns {
    const sink_column *items;
    size_t count; /* 0: no file is staged */
    const char *const *files;
    size_t file_count;
} sink_columns;

/* The name of the sink, `table scored of postgresql://…`, and its stage in the workspace. */
myr_rc myr_batch_sink_table_open(batch_sink *sink, myr_err *err);
/* Look at what is staged; in the run's arena. UNSUPPORTED: a column has a type that no table takes. */
myr_rc myr_batch_sink_table_columns(batch_sink *sink, bool is_sqlite, sink_columns *out, myr_err *err);
/* Each row once, in the order of the files: cells are texts, data NULL for null. */
typedef myr_rc (*sink_row_fn)(void *ctx, const myr_str *cells, myr_err *err);
myr_rc myr_batch_sink_table_rows(batch_sink *sink, bool is_sqlite, const sink_columns *columns, sink_row_fn fn,
                                 void *ctx, int64_t *out_rows, myr_err *err);
/* `"a" bigint, "b" text` or `"a", "b"`, appended. */
void myr_batch_sink_table_list(const sink_columns *columns, bool with_types, myr_buf *out);
/* Whether to try again what failed so: the database may be back soon. Waits a moment, longer each time; *tries from 0.
 */
bool myr_batch_sink_table_again(myr_rc rc, int *tries);

#endif
