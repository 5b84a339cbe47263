/*
 * The face of script: score scripts in Lua 5.4. A script has `run(row, prediction)`, and `init()` if it likes; it sees
 * one row and its prediction, and may change the value, refuse the answer, choose another model, or add fields.
 *
 * A script can't hurt the process: it reaches an allow-list of functions (each bounded in time by the capped size of
 * its arguments), no file, no clock, no other script; its memory is capped and it is stopped at its deadline. Nothing
 * that a run does is there for the next one: what init() made is read-only afterwards, and local variables of the file
 * are set back after each row. docs/rules.md tells users, docs/internals/script.md how.
 */
#ifndef MYR_SCRIPT_SCRIPT_H
#define MYR_SCRIPT_SCRIPT_H

#include "base/base.h"
#include "score/score.h"

#define MYR_SCRIPT_TEXT_BYTES_MAX   (256 << 10)
#define MYR_SCRIPT_STRING_BYTES_MAX 65536 /* any string that a script makes */
#define MYR_SCRIPT_ITEMS_MAX        65536 /* of a table given to a function of `table` */
#define MYR_SCRIPT_SORT_MAX         8192  /* items that table.sort takes */
#define MYR_SCRIPT_VALUES_MAX       250   /* values that one function gives back */
#define MYR_SCRIPT_FIELDS_MAX       16    /* added to one answer */
#define MYR_SCRIPT_FIELD_BYTES_MAX  1024  /* of one added text */
#define MYR_SCRIPT_REASON_BYTES_MAX 240
#define MYR_SCRIPT_STATUS_BYTES_MAX 32
#define MYR_SCRIPT_STATES_MAX       256

#define MYR_SCRIPT_MEMORY_MIN     (256 << 10)
#define MYR_SCRIPT_MEMORY_DEFAULT (8 << 20)
#define MYR_SCRIPT_MEMORY_MAX     (256 << 20)
#define MYR_SCRIPT_INIT_MS        5000

typedef struct myr_script_opts {
    int64_t memory_bytes_max; /* of one state, MIN to MAX; 0: the default */
    int64_t init_ms;          /* for the file and its init(); 0: MYR_SCRIPT_INIT_MS */
    uint32_t states;          /* made at once, as many as threads will run it; 0: 1; at most MYR_SCRIPT_STATES_MAX */
} myr_script_opts;

/* A loaded script. Immutable: any thread. */
typedef struct myr_script myr_script;

/*
 * Read, compile, run the file and its init(). `info` names the columns of rows and the number of values (copied). opts
 * NULL: the defaults. Errors: NOT_FOUND, TOO_LARGE the file; BAD_FORMAT: it does not compile, or has no run(); SCRIPT:
 * the file or init() fails, or leaves what can't be kept; TIMEOUT: they take too long. All but the first name script
 * and line.
 */
myr_rc myr_script_load(const char *path, const myr_pack_info *info, const myr_script_opts *opts, myr_script **out,
                       myr_err *err);
/* The same with the text at hand; `name` stands in messages. */
myr_rc myr_script_parse(const char *name, myr_str text, const myr_pack_info *info, const myr_script_opts *opts,
                        myr_script **out, myr_err *err);
void myr_script_free(myr_script *script); /* NULL accepted; all states are back */
/* Is the file still as it was loaded? Compares what the system says of the file, not its text. parse: always true. */
bool myr_script_is_current(const myr_script *script);

/*
 * A Lua state of the script, for one thread until it is given back; made when all others are in use. No lock, no heap
 * when one is there. Errors: as load, for a state that has to be made; BUSY: MYR_SCRIPT_STATES_MAX are in use.
 */
typedef struct myr_script_state myr_script_state;
myr_rc myr_script_acquire(myr_script *script, myr_script_state **out, myr_err *err);
void myr_script_release(myr_script_state *state); /* NULL accepted */

/* One row and its prediction. Everything is borrowed for the call. */
typedef struct myr_script_row {
    const myr_col *keys;     /* one per partition column, in the order of info */
    const myr_col *features; /* one per feature */
    int64_t feature_stride;  /* as in myr_score_rows */
    int64_t row_idx;
    double *const *values;    /* value k of the row is values[k][row_idx]; changed in place */
    const myr_scorer *scorer; /* tells the model's name and version; NULL: they are nil */
    uint32_t model_idx;
    myr_level level;
    int64_t deadline_ns; /* monotonic; 0: none */
    myr_arena *arena;    /* for the texts of the answer */
} myr_script_row;

typedef enum myr_script_verdict {
    MYR_SCRIPT_KEPT,        /* the values stand, changed or not */
    MYR_SCRIPT_REFUSED,     /* status and reason say why */
    MYR_SCRIPT_CHOSE_MODEL, /* score the row again with the model of segment `choice` */
    MYR_SCRIPT_CHOSE_LEVEL  /* … with the first model of its chain at `level` */
} myr_script_verdict;

typedef struct myr_script_field {
    const char *name; /* [A-Za-z_][A-Za-z0-9_]*, not one of the answer's own */
    enum { MYR_SCRIPT_NUMBER, MYR_SCRIPT_TEXT, MYR_SCRIPT_BOOL } type;
    double number; /* finite; BOOL: 0 or 1 */
    myr_str text;  /* UTF-8 */
} myr_script_field;

/* Texts are in the row's arena. */
typedef struct myr_script_answer {
    myr_script_verdict verdict;
    const char *status; /* REFUSED: [a-z][a-z0-9_]*, "refused" unless the script says */
    const char *reason; /* REFUSED: UTF-8; "" if none was given */
    myr_str choice;     /* CHOSE_MODEL: a segment as the script wrote it */
    myr_level level;    /* CHOSE_LEVEL: PARENT or GLOBAL */
    const myr_script_field *fields;
    uint32_t field_count;
    bool is_changed; /* a value was set */
} myr_script_answer;

/*
 * Run it on one row. On failure the row's values and *out are as they were, and the state is good for the next row.
 * Thread: the one that acquired the state. Errors: SCRIPT with script and line; TIMEOUT; TOO_LARGE: the arena is full.
 */
myr_rc myr_script_run(myr_script_state *state, const myr_script_row *row, myr_script_answer *out, myr_err *err);

/* What scripts reach, by name ("string.rep"), and why it can't take long or much. For tests and documents. */
typedef struct myr_script_function {
    const char *name;
    const char *bound;
} myr_script_function;
/* The idx-th, NULL past the last. */
const myr_script_function *myr_script_function_at(size_t idx);

size_t myr_script_state_bytes(const myr_script_state *state); /* live in its Lua heap */

#endif
