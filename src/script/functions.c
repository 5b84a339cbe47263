/* The allow-list: all that a script reaches, and what bounds each. Nothing is reachable that is not in this table. */
#include <string.h>

#include "script/internal.h"

typedef struct functions_row {
    myr_script_function about;
    enum { STOCK, GUARDED, OURS } kind; /* Lua's own; a look at the arguments, then Lua's own; ours */
    lua_CFunction ours;
} functions_row;

#define ONE_STEP  "takes one step"
#define ARGUMENTS "a step per argument"
#define COPIES    "copies its string, at most 64 KiB, which is charged"
#define PATTERN   "each step of the pattern is counted, and ends at the deadline; 200 deep at most"
#define ITEMS     "a step per item, at most 65,536, which are counted"

/* Names with a dot lie in the table before it, in one run. */
static const functions_row functions_rows[] = {
    {{"assert", ARGUMENTS}, STOCK, NULL},
    {{"error", "levels 0 to 2"}, OURS, myr_script_error},
    {{"ipairs", ONE_STEP}, STOCK, NULL},
    {{"next", "a step per place of the table, which its memory bounds; the clock is looked at"}, OURS, myr_script_next},
    {{"pairs", ONE_STEP}, OURS, myr_script_pairs},
    {{"pcall", "holds up no end of time or memory"}, OURS, myr_script_pcall},
    {{"select", ARGUMENTS}, STOCK, NULL},
    {{"tonumber", "texts of at most 128 bytes"}, GUARDED, myr_script_tonumber_guard},
    {{"tostring", "numbers have a bounded text; no addresses"}, OURS, myr_script_tostring},
    {{"type", ONE_STEP}, STOCK, NULL},

    {{"refuse", "ends the run"}, OURS, myr_script_refuse},
    {{"choose_model", "ends the run"}, OURS, myr_script_choose_model},
    {{"choose_level", "ends the run"}, OURS, myr_script_choose_level},

    {{"math.abs", ONE_STEP}, STOCK, NULL},
    {{"math.acos", ONE_STEP}, STOCK, NULL},
    {{"math.asin", ONE_STEP}, STOCK, NULL},
    {{"math.atan", ONE_STEP}, STOCK, NULL},
    {{"math.ceil", ONE_STEP}, STOCK, NULL},
    {{"math.cos", ONE_STEP}, STOCK, NULL},
    {{"math.deg", ONE_STEP}, STOCK, NULL},
    {{"math.exp", ONE_STEP}, STOCK, NULL},
    {{"math.floor", ONE_STEP}, STOCK, NULL},
    {{"math.fmod", "some 2,000 steps: a bit of the exponent each"}, STOCK, NULL},
    {{"math.log", ONE_STEP}, STOCK, NULL},
    {{"math.max", ARGUMENTS}, STOCK, NULL},
    {{"math.min", ARGUMENTS}, STOCK, NULL},
    {{"math.modf", ONE_STEP}, STOCK, NULL},
    {{"math.rad", ONE_STEP}, STOCK, NULL},
    {{"math.sin", ONE_STEP}, STOCK, NULL},
    {{"math.sqrt", ONE_STEP}, STOCK, NULL},
    {{"math.tan", ONE_STEP}, STOCK, NULL},
    {{"math.tointeger", ONE_STEP}, STOCK, NULL},
    {{"math.type", ONE_STEP}, STOCK, NULL},
    {{"math.ult", ONE_STEP}, STOCK, NULL},

    {{"string.byte", "at most 250 values"}, GUARDED, myr_script_byte_guard},
    {{"string.char", ARGUMENTS}, STOCK, NULL},
    {{"string.find", PATTERN}, OURS, myr_script_find},
    {{"string.format", "at most 64 KiB of texts and some 500 bytes a number; no %p"}, GUARDED, myr_script_format_guard},
    {{"string.gmatch", PATTERN}, OURS, myr_script_gmatch},
    {{"string.gsub", PATTERN "; a result of at most 64 KiB"}, OURS, myr_script_gsub},
    {{"string.len", ONE_STEP}, STOCK, NULL},
    {{"string.lower", COPIES}, STOCK, NULL},
    {{"string.match", PATTERN}, OURS, myr_script_match},
    {{"string.rep", "a result of at most 64 KiB"}, GUARDED, myr_script_rep_guard},
    {{"string.reverse", COPIES}, STOCK, NULL},
    {{"string.sub", COPIES}, STOCK, NULL},
    {{"string.upper", COPIES}, STOCK, NULL},

    {{"table.concat", ITEMS "; a result of at most 64 KiB"}, OURS, myr_script_concat},
    {{"table.insert", ITEMS}, GUARDED, myr_script_insert_guard},
    {{"table.move", ITEMS}, GUARDED, myr_script_move_guard},
    {{"table.pack", ARGUMENTS}, STOCK, NULL},
    {{"table.remove", ITEMS}, GUARDED, myr_script_remove_guard},
    {{"table.sort", "n log n comparisons of at most 8,192 items, which are counted"}, OURS, myr_script_sort},
    {{"table.unpack", "at most 250 values"}, OURS, myr_script_unpack},
};

const myr_script_function *myr_script_function_at(size_t idx)
{
    return idx < MYR_COUNT_OF(functions_rows) ? &functions_rows[idx].about : NULL;
}

/* Upvalues: the guard and Lua's own. Both find the arguments where they are. */
static int functions_guarded(lua_State *lua)
{
    lua_CFunction guard = lua_tocfunction(lua, lua_upvalueindex(1));
    lua_CFunction stock = lua_tocfunction(lua, lua_upvalueindex(2));
    guard(lua); /* leaves by an error if it does not agree */
    return stock(lua);
}

/* Push the function of a row; Lua's own is the field `name` of the table below the top. */
static void functions_push(lua_State *lua, const functions_row *row, int stock, const char *name)
{
    switch (row->kind) {
    case STOCK:
        lua_getfield(lua, stock, name);
        break;
    case GUARDED:
        lua_pushcfunction(lua, row->ours);
        lua_getfield(lua, stock, name);
        lua_pushcclosure(lua, functions_guarded, 2);
        break;
    case OURS:
        lua_pushcfunction(lua, row->ours);
        break;
    }
    MYR_ASSERT(lua_iscfunction(lua, -1));
}

/* The functions whose names begin with `library` and a dot (NULL: have no dot), into the table at the top. */
static void functions_fill(lua_State *lua, const char *library, int stock)
{
    size_t skip = library == NULL ? 0 : strlen(library) + 1;
    for (size_t i = 0; i < MYR_COUNT_OF(functions_rows); i++) {
        const char *name = functions_rows[i].about.name, *dot = strchr(name, '.');
        if (library == NULL ? dot != NULL : dot == NULL || strncmp(name, library, skip - 1) != 0) continue;
        functions_push(lua, &functions_rows[i], stock, name + skip);
        lua_setfield(lua, -2, name + skip);
    }
}

static void functions_add_library(lua_State *lua, int globals, const char *name, lua_CFunction open)
{
    lua_pushcfunction(lua, open);
    lua_pushstring(lua, name);
    lua_call(lua, 1, 1);
    int stock = lua_gettop(lua);
    lua_newtable(lua);
    functions_fill(lua, name, stock);
    if (open == luaopen_math) {
        static const char *const numbers[] = {"huge", "maxinteger", "mininteger", "pi"};
        for (size_t i = 0; i < MYR_COUNT_OF(numbers); i++) {
            lua_getfield(lua, stock, numbers[i]);
            lua_setfield(lua, -2, numbers[i]);
        }
    }
    lua_remove(lua, stock);
    myr_script_freeze(lua);
    lua_setfield(lua, globals, name);
}

/* luaopen_string made it: its __index becomes our table, what it says of arithmetic with texts of numbers stays. */
static void functions_protect_strings(lua_State *lua, int globals)
{
    lua_pushliteral(lua, "");
    int found = lua_getmetatable(lua, -1);
    MYR_ASSERT(found);
    lua_getfield(lua, globals, "string");
    lua_setfield(lua, -2, "__index");
    lua_pop(lua, 2);
}

void myr_script_open_functions(lua_State *lua)
{
    lua_newtable(lua);
    int globals = lua_gettop(lua);
    lua_pushcfunction(lua, luaopen_base); /* fills the state's own table of globals, which no script reaches */
    lua_call(lua, 0, 1);
    lua_pushvalue(lua, globals);
    functions_fill(lua, NULL, globals + 1);
    lua_settop(lua, globals);
    functions_add_library(lua, globals, "math", luaopen_math);
    functions_add_library(lua, globals, "string", luaopen_string);
    functions_add_library(lua, globals, "table", luaopen_table);
    functions_protect_strings(lua, globals);
    lua_newtable(lua); /* what is not defined is an error, not nil */
    lua_pushcfunction(lua, myr_script_undefined);
    lua_setfield(lua, -2, "__index");
    lua_setmetatable(lua, globals);
}
