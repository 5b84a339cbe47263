/*
 * What the files of script share. Not for other directories.
 *
 * script.c loads and keeps states; state.c is one state with its limits; freeze.c makes what init() left read-only;
 * objects.c is `row` and `prediction`; functions.c is the allow-list; base_functions.c, strings.c and tables.c are our
 * functions on it; match.c matches patterns.
 *
 * Functions that scripts call leave by Lua's errors (longjmp): they hold nothing that would have to be given back.
 */
#ifndef MYR_SCRIPT_INTERNAL_H
#define MYR_SCRIPT_INTERNAL_H

#include <stdatomic.h>

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "script/script.h"

#define SCRIPT_HOOK_STEPS  256        /* instructions between two looks at the clock */
#define SCRIPT_SPEND_STEPS 32768      /* steps of our functions between two looks */
#define SCRIPT_SPEND_BYTES (1u << 18) /* allocated between two looks */
#define SCRIPT_WHERE_BYTES 80
#define SCRIPT_FULL_MAX    8 /* times that a run may fill its memory: each costs a collection of garbage */

struct myr_script {
    char *name; /* for messages: the file's name without its directory */
    char *path; /* NULL: parsed from memory */
    char *text;
    size_t text_bytes;
    myr_script_opts opts;
    char *fleet;
    int64_t release;
    uint32_t key_count, feature_count, value_count;
    myr_key_type key_types[MYR_PARTITION_COLUMNS_MAX];
    const char **columns; /* names: keys, then features; NULL-terminated for "nearest" */
    myr_map *column_idxs; /* name -> index in columns; a key comes before a feature of the same name */
    _Atomic(myr_script_state *) idle[MYR_SCRIPT_STATES_MAX];
    _Atomic uint32_t state_count; /* made and not freed */
};

typedef enum script_stop {
    SCRIPT_GOES_ON,
    SCRIPT_LATE,
    SCRIPT_FULL,    /* its memory */
    SCRIPT_DECIDED, /* refuse(), choose_…(): the run is over, and well */
    SCRIPT_NO_ROOM  /* the row's arena is full */
} script_stop;

/* What a state keeps in its registry. FUNCTIONS and LOCALS are lists of the same length: local variables of the file
 * that functions share, each as upvalue local_idxs[i] of a function, and what it is set back to. */
enum {
    SCRIPT_REF_RUN = LUA_RIDX_LAST + 1,
    SCRIPT_REF_ROW,
    SCRIPT_REF_PREDICTION,
    SCRIPT_REF_FIELDS,
    SCRIPT_REF_VALUES,
    SCRIPT_REF_FUNCTIONS,
    SCRIPT_REF_LOCALS
};

/* Owned by the thread that acquired it. */
struct myr_script_state {
    myr_script *script;
    lua_State *lua;
    size_t bytes, bytes_max;
    size_t bytes_spent, steps_spent; /* since the last look at the clock */
    uint32_t times_full;
    int64_t deadline_ns;
    int64_t given_ms; /* for messages: what the deadline gave */
    script_stop stop;
    const myr_script_row *row; /* NULL: the file or init() is running */
    myr_script_answer answer;
    myr_script_field fields[MYR_SCRIPT_FIELDS_MAX];
    double *values; /* value_count: what the run made of them so far */
    uint8_t *local_idxs;
    size_t local_count, local_room;
    char where[SCRIPT_WHERE_BYTES]; /* "rules.lua:7: ", when it was stopped */
    bool is_long_string;            /* what was refused was a string, not memory */
    bool is_compiled;
    myr_buf model_name;
};

static inline myr_script_state *script_state(lua_State *lua)
{
    return *(myr_script_state **)lua_getextraspace(lua);
}

/* ---- state.c ---- */
/* Runs the file and init(). */
myr_rc myr_script_state_new(myr_script *script, myr_script_state **out, myr_err *err);
void myr_script_state_free(myr_script_state *state); /* NULL accepted */
/* Our functions say how many steps they take; leaves by an error when the time is over. */
void myr_script_spend(lua_State *lua, size_t steps);
/* Leave now, in a way that no pcall of the script holds up. Never returns. */
_Noreturn void myr_script_halt(lua_State *lua, script_stop stop);

/* ---- freeze.c: all but locals_restore leave by errors ---- */
/* Replace the table at the top by one that reads as it and can't be changed; the same for each table below it. */
void myr_script_freeze(lua_State *lua);
/* A table that was frozen? Then the one behind it is pushed. */
bool myr_script_push_frozen(lua_State *lua, int idx);
/* Set the locals back to what they were when frozen. */
void myr_script_locals_restore(myr_script_state *state);

/* ---- objects.c ---- */
void myr_script_open_objects(lua_State *lua);
/* Take what run() gave back, at the top of the stack, count values. */
void myr_script_take_result(lua_State *lua, int count);
int myr_script_row_next(lua_State *lua); /* row, name -> the next name and its cell */
bool myr_script_is_row(lua_State *lua, int idx);
bool myr_script_is_values(lua_State *lua, int idx); /* prediction.value, where there are several */
int myr_script_refuse(lua_State *lua);              /* refuse(reason, status) */
int myr_script_choose_model(lua_State *lua);
int myr_script_choose_level(lua_State *lua);

/* ---- functions.c ---- */
/* Push the table of all that scripts reach; the metatable of strings is set. */
void myr_script_open_functions(lua_State *lua);

/* ---- base_functions.c, strings.c, tables.c: ours. _guard: looks at the arguments, then Lua's own runs. ---- */
int myr_script_error(lua_State *lua);
int myr_script_next(lua_State *lua);
int myr_script_pairs(lua_State *lua);
int myr_script_pcall(lua_State *lua);
int myr_script_tostring(lua_State *lua);
int myr_script_tonumber_guard(lua_State *lua);
int myr_script_undefined(lua_State *lua);

int myr_script_byte_guard(lua_State *lua);
int myr_script_find(lua_State *lua);
int myr_script_format_guard(lua_State *lua);
int myr_script_gmatch(lua_State *lua);
int myr_script_gsub(lua_State *lua);
int myr_script_match(lua_State *lua);
int myr_script_rep_guard(lua_State *lua);

int myr_script_concat(lua_State *lua);
int myr_script_insert_guard(lua_State *lua);
int myr_script_move_guard(lua_State *lua);
int myr_script_remove_guard(lua_State *lua);
int myr_script_sort(lua_State *lua);
int myr_script_unpack(lua_State *lua);

/* ---- match.c: Lua's patterns, with steps counted ---- */
#define SCRIPT_CAPTURES_MAX 32
typedef struct script_matcher {
    lua_State *lua;
    const char *subject, *subject_end;
    const char *pattern, *pattern_end;
    int depth; /* of recursion that is left */
    int capture_count;
    struct {
        const char *start;
        ptrdiff_t size; /* or one of the two below */
    } captures[SCRIPT_CAPTURES_MAX];
} script_matcher;
#define SCRIPT_CAPTURE_OPEN     (-1)
#define SCRIPT_CAPTURE_POSITION (-2)

void myr_script_matcher_init(script_matcher *m, lua_State *lua, myr_str subject, myr_str pattern);
/* Match at `at`; the end of the match, or NULL. Errors of the pattern, and time, leave by Lua's errors. */
const char *myr_script_match_at(script_matcher *m, const char *at);
/* Push capture idx (the whole match if there is none and idx is 0). */
void myr_script_push_capture(const script_matcher *m, int idx, const char *at, const char *end);
/* Push all captures, or the whole match; how many. at NULL: captures alone. */
int myr_script_push_captures(const script_matcher *m, const char *at, const char *end);

#endif
