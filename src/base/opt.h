/*
 * Options as rows: one row gives default, parsing, range, flags and prose; from it come the file key, the environment
 * variable (MYRIAD_SERVE_LISTEN), the flag (--serve.listen, short --listen) and the help text.
 */
#ifndef MYR_BASE_OPT_H
#define MYR_BASE_OPT_H

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

#define MYR_OPT_ROWS_MAX       256 /* rows of a table */
#define MYR_OPT_NAME_BYTES_MAX 64  /* a full name */

typedef enum myr_opt_type {
    MYR_OPT_TEXT,     /* slot: char[row.max], NUL-terminated */
    MYR_OPT_INT,      /* slot: int64_t */
    MYR_OPT_BYTES,    /* slot: int64_t, "8MiB" */
    MYR_OPT_DURATION, /* slot: int64_t in ms, "30s" */
    MYR_OPT_BOOL,     /* slot: bool */
    MYR_OPT_ADDR      /* slot: char[row.max]: host:port, [v6]:port */
} myr_opt_type;

enum { MYR_OPT_RELOAD = 1, MYR_OPT_SECRET = 2 };

typedef struct myr_opt_row {
    const char *name;          /* "serve.listen" */
    const char *default_value; /* as typed */
    myr_opt_type type;
    unsigned flags;
    int64_t min, max; /* value range (0, 0: none); for TEXT and ADDR max is the slot's size in bytes */
    size_t offset;    /* of the slot in the options struct */
    const char *prose;
} myr_opt_row;

typedef struct myr_opt_table {
    const myr_opt_row *rows;
    size_t count;
} myr_opt_table;

/* Fill the struct from the defaults. The defaults are ours: a bad one is an assertion. */
void myr_opt_defaults(myr_opt_table table, void *slots);
/* Set one option by its full name. `origin` (file:line, environment, flag) stands in the error. BAD_USAGE with the
 * nearest name. */
myr_rc myr_opt_set(myr_opt_table table, void *slots, const char *name, const char *value, const char *origin,
                   myr_err *err);
/* Apply the environment: MYRIAD_<NAME with . and - as _>. */
myr_rc myr_opt_environment(myr_opt_table table, void *slots, myr_err *err);
const myr_opt_row *myr_opt_find(myr_opt_table table, const char *name); /* full name, or NULL */
const myr_opt_row *myr_opt_find_short(myr_opt_table table,
                                      const char *name); /* part after the dot, if only one row has it */
void myr_opt_help(myr_opt_table table, myr_buf *out);    /* one paragraph per row */

/* Whether two structs have the same value of a row. */
bool myr_opt_equal(const myr_opt_row *row, const void *a, const void *b);
/* The value as it could be typed; *** for a secret. */
void myr_opt_format(const myr_opt_row *row, const void *slots, myr_buf *out);

#endif
