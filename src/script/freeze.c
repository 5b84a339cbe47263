/*
 * What init() made is read-only afterwards. Lua has no read-only tables: each table is hidden behind an empty one whose
 * metatable reads from it and refuses writes (scripts can neither see nor set metatables, so this is the only kind
 * there is). Local variables of the file, which functions share as upvalues, can't be locked: they are listed, and set
 * back after each row.
 */
#include "script/internal.h"

static const char freeze_mark; /* its address is the key of the table behind, in the metatable of a frozen one */

bool myr_script_push_frozen(lua_State *lua, int idx)
{
    if (lua_type(lua, idx) != LUA_TTABLE || !lua_getmetatable(lua, idx)) return false;
    if (lua_rawgetp(lua, -1, &freeze_mark) == LUA_TTABLE) {
        lua_remove(lua, -2);
        return true;
    }
    lua_pop(lua, 2);
    return false;
}

static int freeze_refuse(lua_State *lua)
{
    if (lua_type(lua, 2) == LUA_TSTRING) {
        return luaL_error(lua, "'%s' can't be set: what the file and init() made is read-only in run(); use local",
                          lua_rawlen(lua, 2) <= MYR_NAME_BYTES_MAX ? lua_tostring(lua, 2) : "(a long name)");
    }
    return luaL_error(lua, "a table that the file or init() made is read-only in run()");
}

static int freeze_length(lua_State *lua)
{
    lua_Integer length = myr_script_push_frozen(lua, 1) ? (lua_Integer)lua_rawlen(lua, -1) : 0;
    lua_pushinteger(lua, length);
    return 1;
}

/* The stack of one freezing. */
enum { FREEZE_SEEN = 1, FREEZE_QUEUE };

static void freeze_enqueue(lua_State *lua)
{
    lua_rawseti(lua, FREEZE_QUEUE, (lua_Integer)lua_rawlen(lua, FREEZE_QUEUE) + 1);
}

/* The table at the top is replaced by the empty one before it, made if this is the first time that it is met. */
static void freeze_table(lua_State *lua)
{
    lua_pushvalue(lua, -1);
    if (lua_rawget(lua, FREEZE_SEEN) == LUA_TTABLE) {
        lua_remove(lua, -2);
        return;
    }
    lua_pop(lua, 1);
    lua_newtable(lua);
    lua_createtable(lua, 0, 4);
    lua_pushvalue(lua, -3);
    lua_rawsetp(lua, -2, &freeze_mark);
    lua_pushvalue(lua, -3);
    lua_setfield(lua, -2, "__index");
    lua_pushcfunction(lua, freeze_refuse);
    lua_setfield(lua, -2, "__newindex");
    lua_pushcfunction(lua, freeze_length);
    lua_setfield(lua, -2, "__len");
    lua_setmetatable(lua, -2);
    lua_pushvalue(lua, -2);
    lua_pushvalue(lua, -2);
    lua_rawset(lua, FREEZE_SEEN);
    lua_insert(lua, -2);
    freeze_enqueue(lua);
}

/* The value at the top as it may stay: tables replaced, functions noted to be walked. */
static void freeze_value(lua_State *lua)
{
    if (lua_type(lua, -1) == LUA_TTABLE) {
        if (myr_script_push_frozen(lua, -1)) {
            lua_pop(lua, 1); /* frozen before: the libraries */
        } else {
            freeze_table(lua);
        }
        return;
    }
    if (lua_type(lua, -1) != LUA_TFUNCTION) return;
    lua_pushvalue(lua, -1);
    if (lua_rawget(lua, FREEZE_SEEN) == LUA_TNIL) {
        lua_pushvalue(lua, -2);
        lua_pushboolean(lua, true);
        lua_rawset(lua, FREEZE_SEEN);
        lua_pushvalue(lua, -2);
        freeze_enqueue(lua);
    }
    lua_pop(lua, 1);
}

static bool freeze_is_held(lua_State *lua, int idx)
{
    return lua_type(lua, idx) == LUA_TTABLE || lua_type(lua, idx) == LUA_TFUNCTION;
}

/* The values of the table at the top. */
static void freeze_walk_table(lua_State *lua)
{
    int table = lua_gettop(lua);
    lua_pushnil(lua);
    while (lua_next(lua, table)) {
        if (freeze_is_held(lua, -2)) {
            luaL_error(lua, "a table that is kept for run() has a %s as a key: use strings or numbers",
                       luaL_typename(lua, -2));
        }
        if (freeze_is_held(lua, -1)) {
            freeze_value(lua);
            lua_pushvalue(lua, -2);
            lua_insert(lua, -2);
            lua_rawset(lua, table); /* an existing key: the walk may go on */
        } else {
            lua_pop(lua, 1);
        }
    }
}

/* Upvalue idx of the function at the top, whose value is above it, is one to be set back. Pops the value. */
static void freeze_note_local(lua_State *lua, int idx)
{
    myr_script_state *state = script_state(lua);
    if (state->local_count == state->local_room) {
        size_t room = state->local_room == 0 ? 16 : 2 * state->local_room;
        uint8_t *grown = myr_realloc_array(state->local_idxs, room, sizeof *grown);
        if (grown == NULL) luaL_error(lua, "out of memory");
        state->local_idxs = grown;
        state->local_room = room;
    }
    state->local_idxs[state->local_count++] = (uint8_t)idx;
    lua_rawgeti(lua, LUA_REGISTRYINDEX, SCRIPT_REF_LOCALS);
    lua_insert(lua, -2);
    lua_rawseti(lua, -2, (lua_Integer)state->local_count);
    lua_pop(lua, 1);
    lua_rawgeti(lua, LUA_REGISTRYINDEX, SCRIPT_REF_FUNCTIONS);
    lua_pushvalue(lua, -2);
    lua_rawseti(lua, -2, (lua_Integer)state->local_count);
    lua_pop(lua, 1);
}

/* The upvalues of the function at the top. Of C functions, only gmatch's change: its position. */
static void freeze_walk_function(lua_State *lua)
{
    int function = lua_gettop(lua);
    bool is_c = lua_iscfunction(lua, function);
    for (int i = 1; lua_getupvalue(lua, function, i) != NULL; i++) {
        void *id = is_c ? NULL : lua_upvalueid(lua, function, i);
        if (is_c && lua_type(lua, -1) != LUA_TNUMBER) {
            lua_pop(lua, 1);
            continue;
        }
        if (!is_c && lua_rawgetp(lua, FREEZE_SEEN, id) != LUA_TNIL) { /* shared with a function that was walked */
            lua_pop(lua, 2);
            continue;
        }
        if (!is_c) {
            lua_pop(lua, 1);
            lua_pushboolean(lua, true);
            lua_rawsetp(lua, FREEZE_SEEN, id);
            freeze_value(lua);
            lua_pushvalue(lua, -1);
            lua_setupvalue(lua, function, i);
        }
        freeze_note_local(lua, i);
    }
}

static int freeze_all(lua_State *lua)
{
    lua_newtable(lua);
    lua_insert(lua, FREEZE_SEEN);
    lua_newtable(lua);
    lua_insert(lua, FREEZE_QUEUE);
    freeze_value(lua);
    for (lua_Integer i = 1; lua_rawgeti(lua, FREEZE_QUEUE, i) != LUA_TNIL; i++) {
        if (lua_type(lua, -1) == LUA_TTABLE) {
            freeze_walk_table(lua);
        } else {
            freeze_walk_function(lua);
        }
        lua_pop(lua, 1);
        lua_pushboolean(lua, true); /* walked: the queue need not hold it */
        lua_rawseti(lua, FREEZE_QUEUE, i);
    }
    lua_pop(lua, 1);
    return 1;
}

void myr_script_freeze(lua_State *lua)
{
    lua_pushcfunction(lua, freeze_all);
    lua_insert(lua, -2);
    lua_call(lua, 1, 1);
}

void myr_script_locals_restore(myr_script_state *state)
{
    lua_State *lua = state->lua;
    lua_rawgeti(lua, LUA_REGISTRYINDEX, SCRIPT_REF_FUNCTIONS);
    lua_rawgeti(lua, LUA_REGISTRYINDEX, SCRIPT_REF_LOCALS);
    int functions = lua_gettop(lua) - 1;
    for (size_t i = 0; i < state->local_count; i++) {
        lua_rawgeti(lua, functions, (lua_Integer)i + 1);
        lua_rawgeti(lua, functions + 1, (lua_Integer)i + 1);
        MYR_IGNORE(lua_setupvalue(lua, -2, state->local_idxs[i]) == NULL); /* its index is one that there is */
        lua_pop(lua, 1);
    }
    lua_pop(lua, 2);
}
