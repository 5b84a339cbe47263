/* The functions of `string` that loop, bounded: patterns count their steps, results are as long as a string may be. */
#include <string.h>

#include "script/internal.h"

#define STRINGS_MAX (size_t) MYR_SCRIPT_STRING_BYTES_MAX

static myr_str strings_arg(lua_State *lua, int idx)
{
    size_t size;
    const char *data = luaL_checklstring(lua, idx, &size);
    return myr_str_make(data, size);
}

/* A position as Lua counts them (from 1, from the end if negative), from 0. May lie past the end. */
static size_t strings_start(lua_State *lua, int idx, size_t size)
{
    lua_Integer at = luaL_optinteger(lua, idx, 1);
    if (at > 0) return (size_t)at - 1;
    if (at == 0 || at < -(lua_Integer)size) return 0;
    return size - (size_t)-at;
}

static bool strings_is_plain(myr_str pattern)
{
    for (size_t i = 0; i < pattern.size; i++) {
        if (strchr("^$*+?.([%-", pattern.data[i]) != NULL && pattern.data[i] != '\0') return false;
    }
    return true;
}

/* ---- find and match ---- */

static int strings_find_plain(lua_State *lua, myr_str text, myr_str part, size_t start)
{
    myr_script_spend(lua, text.size - start + part.size);
    const char *at =
        part.size == 0 ? text.data + start : memmem(text.data + start, text.size - start, part.data, part.size);
    if (at == NULL) {
        luaL_pushfail(lua);
        return 1;
    }
    lua_pushinteger(lua, at - text.data + 1);
    lua_pushinteger(lua, at - text.data + (lua_Integer)part.size);
    return 2;
}

/* The first match from `start` on; NULL: none. An anchor is taken off the pattern. */
static const char *strings_search(lua_State *lua, script_matcher *m, myr_str text, myr_str pattern, size_t start,
                                  const char **out_at)
{
    bool is_anchored = pattern.size > 0 && pattern.data[0] == '^';
    if (is_anchored) pattern = myr_str_make(pattern.data + 1, pattern.size - 1);
    myr_script_matcher_init(m, lua, text, pattern);
    for (const char *at = text.data + start; at <= m->subject_end; at++) {
        const char *end = myr_script_match_at(m, at);
        *out_at = at;
        if (end != NULL || is_anchored) return end;
    }
    return NULL;
}

static int strings_find(lua_State *lua, bool wants_place)
{
    script_matcher m;
    const char *at;
    myr_str text = strings_arg(lua, 1), pattern = strings_arg(lua, 2);
    size_t start = strings_start(lua, 3, text.size);
    if (start > text.size) {
        luaL_pushfail(lua);
        return 1;
    }
    if (wants_place && (lua_toboolean(lua, 4) || strings_is_plain(pattern))) {
        return strings_find_plain(lua, text, pattern, start);
    }
    const char *end = strings_search(lua, &m, text, pattern, start, &at);
    if (end == NULL) {
        luaL_pushfail(lua);
        return 1;
    }
    if (!wants_place) return myr_script_push_captures(&m, at, end);
    lua_pushinteger(lua, at - text.data + 1);
    lua_pushinteger(lua, end - text.data);
    return myr_script_push_captures(&m, NULL, NULL) + 2;
}

int myr_script_find(lua_State *lua)
{
    return strings_find(lua, true);
}

int myr_script_match(lua_State *lua)
{
    return strings_find(lua, false);
}

/* ---- gmatch: text, pattern, where to look from, where the last match ended (both from 0; -1: nowhere) ---- */

static int strings_gmatch_next(lua_State *lua)
{
    script_matcher m;
    myr_str text, pattern;
    text.data = lua_tolstring(lua, lua_upvalueindex(1), &text.size);
    pattern.data = lua_tolstring(lua, lua_upvalueindex(2), &pattern.size);
    lua_Integer from = lua_tointeger(lua, lua_upvalueindex(3)), last = lua_tointeger(lua, lua_upvalueindex(4));
    myr_script_matcher_init(&m, lua, text, pattern);
    for (; from <= (lua_Integer)text.size; from++) {
        const char *end = myr_script_match_at(&m, text.data + from);
        if (end == NULL || end - text.data == last) continue; /* the second: nothing, right behind the last match */
        lua_pushinteger(lua, end - text.data);
        lua_copy(lua, -1, lua_upvalueindex(3));
        lua_replace(lua, lua_upvalueindex(4));
        return myr_script_push_captures(&m, text.data + from, end);
    }
    return 0;
}

int myr_script_gmatch(lua_State *lua)
{
    myr_str text = strings_arg(lua, 1);
    strings_arg(lua, 2);
    size_t start = strings_start(lua, 3, text.size);
    if (start > text.size) start = text.size + 1;
    lua_settop(lua, 2);
    lua_pushinteger(lua, (lua_Integer)start);
    lua_pushinteger(lua, -1);
    lua_pushcclosure(lua, strings_gmatch_next, 4);
    return 1;
}

/* ---- gsub ---- */

/* A text with %0 to %9 and %%. */
static void strings_add_template(lua_State *lua, const script_matcher *m, luaL_Buffer *out, const char *at,
                                 const char *end)
{
    size_t size;
    const char *text = lua_tolstring(lua, 3, &size);
    for (size_t i = 0; i < size; i++) {
        if (text[i] != '%') {
            luaL_addchar(out, text[i]);
            continue;
        }
        i++;
        if (i < size && text[i] == '%') {
            luaL_addchar(out, '%');
        } else if (i < size && text[i] == '0') {
            luaL_addlstring(out, at, (size_t)(end - at));
        } else if (i < size && text[i] >= '1' && text[i] <= '9') {
            myr_script_push_capture(m, text[i] - '1', at, end);
            luaL_tolstring(lua, -1, NULL); /* a position is a number */
            lua_remove(lua, -2);
            luaL_addvalue(out);
        } else {
            luaL_error(lua, "invalid use of '%%' in replacement string");
        }
    }
}

/* What stands for one match. */
static void strings_add_replacement(lua_State *lua, const script_matcher *m, luaL_Buffer *out, const char *at,
                                    const char *end)
{
    switch (lua_type(lua, 3)) {
    case LUA_TFUNCTION:
        lua_pushvalue(lua, 3);
        lua_call(lua, myr_script_push_captures(m, at, end), 1);
        break;
    case LUA_TTABLE:
        myr_script_push_capture(m, 0, at, end);
        lua_gettable(lua, 3);
        break;
    default:
        strings_add_template(lua, m, out, at, end);
        return;
    }
    if (!lua_toboolean(lua, -1)) { /* false and nil leave it as it is */
        lua_pop(lua, 1);
        luaL_addlstring(out, at, (size_t)(end - at));
        return;
    }
    if (!lua_isstring(lua, -1)) luaL_error(lua, "invalid replacement value (a %s)", luaL_typename(lua, -1));
    luaL_addvalue(out);
}

static lua_Integer strings_replace(lua_State *lua, script_matcher *m, luaL_Buffer *out, bool is_anchored,
                                   lua_Integer most)
{
    const char *from = m->subject, *last = NULL;
    lua_Integer count = 0;
    while (count < most) {
        const char *end = myr_script_match_at(m, from);
        if (end != NULL && end != last) {
            count++;
            strings_add_replacement(lua, m, out, from, end);
            from = last = end;
        } else if (from < m->subject_end) {
            luaL_addchar(out, *from);
            from++;
        } else {
            break;
        }
        if (luaL_bufflen(out) > STRINGS_MAX) {
            luaL_error(lua, "gsub makes more than %d bytes, the most of one string", (int)STRINGS_MAX);
        }
        if (is_anchored) break;
    }
    luaL_addlstring(out, from, (size_t)(m->subject_end - from));
    return count;
}

int myr_script_gsub(lua_State *lua)
{
    script_matcher m;
    luaL_Buffer out;
    myr_str text = strings_arg(lua, 1), pattern = strings_arg(lua, 2);
    int kind = lua_type(lua, 3);
    luaL_argexpected(lua, kind == LUA_TNUMBER || kind == LUA_TSTRING || kind == LUA_TFUNCTION || kind == LUA_TTABLE, 3,
                     "string/function/table");
    lua_Integer most = luaL_optinteger(lua, 4, (lua_Integer)text.size + 1);
    bool is_anchored = pattern.size > 0 && pattern.data[0] == '^';
    if (is_anchored) pattern = myr_str_make(pattern.data + 1, pattern.size - 1);
    myr_script_matcher_init(&m, lua, text, pattern);
    luaL_buffinit(lua, &out);
    lua_Integer count = strings_replace(lua, &m, &out, is_anchored, most);
    luaL_pushresult(&out);
    lua_pushinteger(lua, count);
    return 2;
}

/* ---- guards: Lua's own runs when they return ---- */

int myr_script_byte_guard(lua_State *lua)
{
    myr_str text = strings_arg(lua, 1);
    lua_Integer first = luaL_optinteger(lua, 2, 1);
    lua_Integer last = luaL_optinteger(lua, 3, first);
    lua_Integer size = (lua_Integer)text.size;
    if (first < 0) first = first < -size ? 1 : first + size + 1;
    if (last < 0) last = last < -size ? 0 : last + size + 1;
    if (last > size) last = size;
    if (first <= last && last - first >= MYR_SCRIPT_VALUES_MAX) {
        return luaL_error(lua, "byte gives at most %d values", MYR_SCRIPT_VALUES_MAX);
    }
    return 0;
}

int myr_script_rep_guard(lua_State *lua)
{
    size_t separator = 0;
    myr_str text = strings_arg(lua, 1);
    lua_Integer count = luaL_checkinteger(lua, 2);
    luaL_optlstring(lua, 3, "", &separator);
    size_t each = text.size + separator; /* both are at most STRINGS_MAX */
    if (count > 0 && each > 0 && (lua_Unsigned)count > (STRINGS_MAX + separator) / each) {
        return luaL_error(lua, "rep makes more than %d bytes, the most of one string", (int)STRINGS_MAX);
    }
    if (each == 0) { /* nothing, as often as you like: Lua's own would count to it */
        lua_pushinteger(lua, 0);
        lua_replace(lua, 2);
    }
    return 0;
}

/* Each conversion takes one number (at most some 500 bytes) or one of the texts. */
int myr_script_format_guard(lua_State *lua)
{
    myr_str format = strings_arg(lua, 1);
    size_t total = format.size;
    for (size_t i = 0; i + 1 < format.size; i++) {
        if (format.data[i] != '%') continue;
        i++;
        while (i < format.size && strchr("-+ #0123456789.", format.data[i]) != NULL && format.data[i] != '\0')
            i++;
        if (i < format.size && format.data[i] == 'p') return luaL_error(lua, "format has no %%p for scripts");
    }
    int count = lua_gettop(lua);
    for (int i = 2; i <= count; i++) {
        size_t size = 0;
        int kind = lua_type(lua, i);
        luaL_argexpected(lua, kind == LUA_TNUMBER || kind == LUA_TSTRING || kind == LUA_TBOOLEAN || kind == LUA_TNIL, i,
                         "number, string, boolean or nil");
        if (kind == LUA_TSTRING) lua_tolstring(lua, i, &size);
        total += size + 32;
    }
    if (total > STRINGS_MAX) return luaL_error(lua, "format takes at most %d bytes", (int)STRINGS_MAX);
    myr_script_spend(lua, total);
    return 0;
}
