/* The functions of `table`, bounded by the number of items that they go over. */
#include "script/internal.h"

static lua_Integer tables_length(lua_State *lua, int idx)
{
    luaL_checktype(lua, idx, LUA_TTABLE);
    lua_Integer count = luaL_len(lua, idx);
    if (count > MYR_SCRIPT_ITEMS_MAX) {
        luaL_error(lua, "a table of %I items, at most %d here", (LUAI_UACINT)count, MYR_SCRIPT_ITEMS_MAX);
    }
    return count;
}

/* How many items first to last are; 0 if none. */
static lua_Integer tables_span(lua_State *lua, lua_Integer first, lua_Integer last, lua_Integer most)
{
    if (first > last) return 0;
    lua_Unsigned span = (lua_Unsigned)last - (lua_Unsigned)first;
    if (span >= (lua_Unsigned)most) luaL_error(lua, "%I items at most", (LUAI_UACINT)most);
    return (lua_Integer)span + 1;
}

int myr_script_insert_guard(lua_State *lua)
{
    myr_script_spend(lua, (size_t)tables_length(lua, 1) + 1);
    return 0;
}

int myr_script_remove_guard(lua_State *lua)
{
    myr_script_spend(lua, (size_t)tables_length(lua, 1) + 1);
    return 0;
}

int myr_script_move_guard(lua_State *lua)
{
    luaL_checktype(lua, 1, LUA_TTABLE);
    if (!lua_isnoneornil(lua, 5)) luaL_checktype(lua, 5, LUA_TTABLE);
    lua_Integer count = tables_span(lua, luaL_checkinteger(lua, 2), luaL_checkinteger(lua, 3), MYR_SCRIPT_ITEMS_MAX);
    myr_script_spend(lua, (size_t)count + 1);
    return 0;
}

int myr_script_unpack(lua_State *lua)
{
    if (!myr_script_is_values(lua, 1)) luaL_checktype(lua, 1, LUA_TTABLE);
    lua_Integer first = luaL_optinteger(lua, 2, 1);
    lua_Integer last = lua_isnoneornil(lua, 3) ? luaL_len(lua, 1) : luaL_checkinteger(lua, 3);
    lua_Integer count = tables_span(lua, first, last, MYR_SCRIPT_VALUES_MAX);
    luaL_checkstack(lua, (int)count, "too many results to unpack");
    for (lua_Integer i = 0; i < count; i++)
        lua_geti(lua, 1, first + i);
    return (int)count;
}

int myr_script_concat(lua_State *lua)
{
    luaL_Buffer out;
    size_t size;
    const char *separator = luaL_optlstring(lua, 2, "", &size);
    luaL_checktype(lua, 1, LUA_TTABLE);
    lua_Integer first = luaL_optinteger(lua, 3, 1);
    lua_Integer last = lua_isnoneornil(lua, 4) ? luaL_len(lua, 1) : luaL_checkinteger(lua, 4);
    lua_Integer count = tables_span(lua, first, last, MYR_SCRIPT_ITEMS_MAX);
    myr_script_spend(lua, (size_t)count + 1);
    luaL_buffinit(lua, &out);
    for (lua_Integer i = 0; i < count; i++) {
        if (i > 0) luaL_addlstring(&out, separator, size);
        lua_geti(lua, 1, first + i);
        if (!lua_isstring(lua, -1)) {
            return luaL_error(lua, "item %I is a %s: concat joins strings and numbers", (LUAI_UACINT)(first + i),
                              luaL_typename(lua, -1));
        }
        luaL_addvalue(&out);
        if (luaL_bufflen(&out) > MYR_SCRIPT_STRING_BYTES_MAX) {
            return luaL_error(lua, "concat makes more than %d bytes, the most of one string",
                              MYR_SCRIPT_STRING_BYTES_MAX);
        }
    }
    luaL_pushresult(&out);
    return 1;
}

/* ---- sort: a heap, so that no order of the items and no comparison makes it slow ---- */

/* Is item a before item b, both on the stack? Strings cost what is compared of them. */
static bool sort_is_before(lua_State *lua, int a, int b)
{
    if (lua_isnil(lua, 2)) {
        size_t size = 0;
        if (lua_type(lua, a) == LUA_TSTRING) size = (size_t)lua_rawlen(lua, a);
        myr_script_spend(lua, size / 16 + 1);
        return lua_compare(lua, a, b, LUA_OPLT);
    }
    myr_script_spend(lua, 1);
    lua_pushvalue(lua, 2);
    lua_pushvalue(lua, a);
    lua_pushvalue(lua, b);
    lua_call(lua, 2, 1);
    bool is_before = lua_toboolean(lua, -1);
    lua_pop(lua, 1);
    return is_before;
}

/* The item at the top of the stack goes down from `hole` to its place in a heap of `count`; it is popped. */
static void sort_sink(lua_State *lua, lua_Integer hole, lua_Integer count)
{
    int item = lua_gettop(lua);
    for (lua_Integer child = 2 * hole; child <= count; child = 2 * hole) {
        lua_geti(lua, 1, child);
        if (child < count) {
            lua_geti(lua, 1, child + 1);
            if (sort_is_before(lua, item + 1, item + 2)) {
                lua_remove(lua, item + 1);
                child++;
            } else {
                lua_pop(lua, 1);
            }
        }
        if (!sort_is_before(lua, item, item + 1)) {
            lua_pop(lua, 1);
            break;
        }
        lua_seti(lua, 1, hole);
        hole = child;
    }
    lua_seti(lua, 1, hole);
}

int myr_script_sort(lua_State *lua)
{
    lua_Integer count = tables_length(lua, 1);
    if (!lua_isnoneornil(lua, 2)) luaL_checktype(lua, 2, LUA_TFUNCTION);
    if (count > MYR_SCRIPT_SORT_MAX) {
        return luaL_error(lua, "a table of %I items, sort takes at most %d", (LUAI_UACINT)count, MYR_SCRIPT_SORT_MAX);
    }
    lua_settop(lua, 2);
    luaL_checkstack(lua, 8, NULL);
    for (lua_Integer i = count / 2; i >= 1; i--) {
        lua_geti(lua, 1, i);
        sort_sink(lua, i, count);
    }
    for (lua_Integer end = count; end > 1; end--) { /* the greatest goes to the end, the one from there in its place */
        lua_geti(lua, 1, end);
        lua_geti(lua, 1, 1);
        lua_seti(lua, 1, end);
        sort_sink(lua, 1, end - 1);
    }
    return 0;
}
