/* Our forms of Lua's basic functions: errors, walks over tables, texts of values. */
#include <string.h>

#include "script/internal.h"

#define BASE_NUMBER_BYTES_MAX 128 /* a longer text is not a number that a program wrote */

/* error(message, level): levels 0 to 2, so that no long chain of calls is walked. */
int myr_script_error(lua_State *lua)
{
    lua_Integer level = luaL_optinteger(lua, 2, 1);
    lua_settop(lua, 1);
    if (level < 0 || level > 2) return luaL_error(lua, "error: level %I is not 0, 1 or 2", (LUAI_UACINT)level);
    if (lua_type(lua, 1) == LUA_TSTRING && level > 0) {
        luaL_where(lua, (int)level);
        lua_pushvalue(lua, 1);
        lua_concat(lua, 2);
    }
    return lua_error(lua);
}

/* pcall holds up the errors of a script, never the end of its time or memory, nor its decision. */
int myr_script_pcall(lua_State *lua)
{
    myr_script_state *state = script_state(lua);
    luaL_checkany(lua, 1);
    lua_pushboolean(lua, 1);
    lua_insert(lua, 1);
    int status = lua_pcall(lua, lua_gettop(lua) - 2, LUA_MULTRET, 0);
    if (status == LUA_OK) return lua_gettop(lua);
    if (status == LUA_ERRMEM && state->stop == SCRIPT_GOES_ON) state->stop = SCRIPT_FULL;
    if (state->stop != SCRIPT_GOES_ON) return lua_error(lua);
    lua_pushboolean(lua, 0);
    lua_replace(lua, 1);
    return 2;
}

/* Each step may pass over as many empty places as the table has. */
int myr_script_next(lua_State *lua)
{
    lua_settop(lua, 2);
    if (myr_script_is_row(lua, 1)) return myr_script_row_next(lua);
    luaL_checktype(lua, 1, LUA_TTABLE);
    myr_script_spend(lua, 1024);
    if (myr_script_push_frozen(lua, 1)) lua_replace(lua, 1);
    if (lua_next(lua, 1)) return 2;
    lua_pushnil(lua);
    return 1;
}

int myr_script_pairs(lua_State *lua)
{
    if (!myr_script_is_row(lua, 1)) luaL_checktype(lua, 1, LUA_TTABLE);
    lua_settop(lua, 1);
    lua_pushcfunction(lua, myr_script_next);
    lua_insert(lua, 1);
    lua_pushnil(lua);
    return 3;
}

/* No addresses: they say where things lie in the process. */
int myr_script_tostring(lua_State *lua)
{
    luaL_checkany(lua, 1);
    switch (lua_type(lua, 1)) {
    case LUA_TNUMBER:
    case LUA_TSTRING:
    case LUA_TBOOLEAN:
    case LUA_TNIL:
        luaL_tolstring(lua, 1, NULL);
        break;
    default:
        lua_pushstring(lua, luaL_typename(lua, 1));
        break;
    }
    return 1;
}

int myr_script_tonumber_guard(lua_State *lua)
{
    size_t size = 0;
    if (lua_type(lua, 1) == LUA_TSTRING) lua_tolstring(lua, 1, &size);
    if (size > BASE_NUMBER_BYTES_MAX) return luaL_error(lua, "tonumber reads at most %d bytes", BASE_NUMBER_BYTES_MAX);
    return 0;
}

/* What people look for that is not there; the rest is a slip of the pen. */
int myr_script_undefined(lua_State *lua)
{
    static const char *const absent[] = {
        "collectgarbage", "coroutine", "debug",        "dofile", "getmetatable", "io",     "load",
        "loadfile",       "os",        "package",      "print",  "rawequal",     "rawget", "rawlen",
        "rawset",         "require",   "setmetatable", "utf8",   "warn",         "xpcall", "_G",
        "_VERSION",       NULL};
    size_t size;
    const char *name = luaL_checklstring(lua, 2, &size);
    for (size_t i = 0; absent[i] != NULL; i++) {
        if (strcmp(name, absent[i]) == 0) return luaL_error(lua, "'%s' is not there for score scripts", name);
    }
    return luaL_error(lua, "variable '%s' is not defined", size <= MYR_NAME_BYTES_MAX ? name : "(a long name)");
}
