/*
 * Lua's patterns: a backtracking matcher whose every step is counted, since a pattern like a*a*a*b takes longer than
 * anybody waits. The language is that of the manual (section 6.4.1); tests compare it with Lua's own.
 */
#include <ctype.h>
#include <string.h>

#include "script/internal.h"

#define MATCH_DEPTH_MAX 200 /* quantifiers and captures that wait for one another */
#define MATCH_ESCAPE    '%'

static const char *match_here(script_matcher *m, const char *at, const char *item);

void myr_script_matcher_init(script_matcher *m, lua_State *lua, myr_str subject, myr_str pattern)
{
    *m = (script_matcher){.lua = lua,
                          .subject = subject.data,
                          .subject_end = subject.data + subject.size,
                          .pattern = pattern.data,
                          .pattern_end = pattern.data + pattern.size};
}

const char *myr_script_match_at(script_matcher *m, const char *at)
{
    m->depth = MATCH_DEPTH_MAX;
    m->capture_count = 0;
    return match_here(m, at, m->pattern);
}

/* ---- one character ---- */

/* What follows the one-character item at `item`. */
static const char *match_item_end(script_matcher *m, const char *item)
{
    char first = *item++;
    if (first == MATCH_ESCAPE) {
        if (item == m->pattern_end) luaL_error(m->lua, "malformed pattern (ends with '%%')");
        return item + 1;
    }
    if (first != '[') return item;
    const char *from = item;
    if (item < m->pattern_end && *item == '^') item++;
    do { /* a ] that comes first is one of the set */
        if (item == m->pattern_end) luaL_error(m->lua, "malformed pattern (missing ']')");
        first = *item++;
        if (first == MATCH_ESCAPE && item < m->pattern_end) item++;
    } while (item == m->pattern_end || *item != ']');
    myr_script_spend(m->lua, (size_t)(item - from));
    return item + 1;
}

static bool match_class(int c, int class)
{
    bool is_in;
    switch (tolower(class)) {
    case 'a':
        is_in = isalpha(c) != 0;
        break;
    case 'c':
        is_in = iscntrl(c) != 0;
        break;
    case 'd':
        is_in = isdigit(c) != 0;
        break;
    case 'g':
        is_in = isgraph(c) != 0;
        break;
    case 'l':
        is_in = islower(c) != 0;
        break;
    case 'p':
        is_in = ispunct(c) != 0;
        break;
    case 's':
        is_in = isspace(c) != 0;
        break;
    case 'u':
        is_in = isupper(c) != 0;
        break;
    case 'w':
        is_in = isalnum(c) != 0;
        break;
    case 'x':
        is_in = isxdigit(c) != 0;
        break;
    case 'z': /* of Lua 5.1; 5.4 still knows it */
        is_in = c == '\0';
        break;
    default:
        return class == c;
    }
    return isupper(class) ? !is_in : is_in;
}

/* set: the '['; last: its ']'. */
static bool match_set(script_matcher *m, int c, const char *set, const char *last)
{
    bool found = true;
    myr_script_spend(m->lua, (size_t)(last - set));
    const char *p = set + 1;
    if (*p == '^') {
        found = false;
        p++;
    }
    for (; p < last; p++) {
        if (*p == MATCH_ESCAPE) {
            p++;
            if (match_class(c, (unsigned char)*p)) return found;
        } else if (p[1] == '-' && p + 2 < last) {
            if ((unsigned char)p[0] <= c && c <= (unsigned char)p[2]) return found;
            p += 2;
        } else if ((unsigned char)*p == c) {
            return found;
        }
    }
    return !found;
}

static bool match_one(script_matcher *m, const char *at, const char *item, const char *item_end)
{
    myr_script_spend(m->lua, 1);
    if (at >= m->subject_end) return false;
    int c = (unsigned char)*at;
    switch (*item) {
    case '.':
        return true;
    case MATCH_ESCAPE:
        return match_class(c, (unsigned char)item[1]);
    case '[':
        return match_set(m, c, item, item_end - 1);
    default:
        return (unsigned char)*item == c;
    }
}

/* ---- repetitions ---- */

/* As many as there are, then fewer. */
static const char *match_longest(script_matcher *m, const char *at, const char *item, const char *item_end)
{
    ptrdiff_t count = 0;
    while (match_one(m, at + count, item, item_end))
        count++;
    for (; count >= 0; count--) {
        const char *end = match_here(m, at + count, item_end + 1);
        if (end != NULL) return end;
    }
    return NULL;
}

/* None, then more. */
static const char *match_shortest(script_matcher *m, const char *at, const char *item, const char *item_end)
{
    for (;;) {
        const char *end = match_here(m, at, item_end + 1);
        if (end != NULL) return end;
        if (!match_one(m, at, item, item_end)) return NULL;
        at++;
    }
}

/* ---- captures and what starts with % ---- */

static const char *match_open(script_matcher *m, const char *at, const char *rest, ptrdiff_t kind)
{
    if (m->capture_count == SCRIPT_CAPTURES_MAX) luaL_error(m->lua, "too many captures");
    int idx = m->capture_count++;
    m->captures[idx].start = at;
    m->captures[idx].size = kind;
    const char *end = match_here(m, at, rest);
    if (end == NULL) m->capture_count--;
    return end;
}

static const char *match_close(script_matcher *m, const char *at, const char *rest)
{
    int idx = m->capture_count - 1;
    while (idx >= 0 && m->captures[idx].size != SCRIPT_CAPTURE_OPEN)
        idx--;
    if (idx < 0) luaL_error(m->lua, "invalid pattern capture");
    m->captures[idx].size = at - m->captures[idx].start;
    const char *end = match_here(m, at, rest);
    if (end == NULL) m->captures[idx].size = SCRIPT_CAPTURE_OPEN;
    return end;
}

/* %bxy: from an x to the y that balances it; NULL: none here. */
static const char *match_balance(script_matcher *m, const char *at, const char *pair)
{
    if (m->pattern_end - pair < 2) luaL_error(m->lua, "malformed pattern (missing arguments to '%%b')");
    if (at >= m->subject_end || *at != pair[0]) return NULL;
    int open = 1;
    for (const char *s = at + 1; s < m->subject_end; s++) {
        myr_script_spend(m->lua, 1);
        if (*s == pair[1]) {
            if (--open == 0) return s + 1;
        } else if (*s == pair[0]) {
            open++;
        }
    }
    return NULL;
}

/* %f[set]: does the set begin here? *out_rest is what follows it. */
static bool match_frontier(script_matcher *m, const char *at, const char *set, const char **out_rest)
{
    if (set >= m->pattern_end || *set != '[') luaL_error(m->lua, "missing '[' after '%%f' in pattern");
    const char *end = match_item_end(m, set);
    int before = at == m->subject ? '\0' : (unsigned char)at[-1];
    int here = at < m->subject_end ? (unsigned char)*at : '\0';
    *out_rest = end;
    return !match_set(m, before, set, end - 1) && match_set(m, here, set, end - 1);
}

/* %1 to %9: what that capture was, again. */
static const char *match_again(script_matcher *m, const char *at, int digit)
{
    int idx = digit - '1';
    if (idx < 0 || idx >= m->capture_count || m->captures[idx].size == SCRIPT_CAPTURE_OPEN) {
        luaL_error(m->lua, "invalid capture index %%%d", idx + 1);
    }
    ptrdiff_t size = m->captures[idx].size;
    if (size < 0 || m->subject_end - at < size) return NULL; /* a position has no text: nothing is it again */
    myr_script_spend(m->lua, (size_t)size / 16 + 1);
    return memcmp(m->captures[idx].start, at, (size_t)size) == 0 ? at + size : NULL;
}

/* ---- the pattern from an item on ---- */

/*
 * An item that is more than a character: *out_end is where its match ends (NULL: it does not match, or the rest was
 * matched in it and failed), *out_rest what is to be matched from there (NULL: nothing, all of it is done).
 */
static bool match_special(script_matcher *m, const char *at, const char *item, const char **out_end,
                          const char **out_rest)
{
    const char *next = item + 1;
    *out_rest = NULL;
    switch (*item) {
    case '(':
        *out_end = next < m->pattern_end && *next == ')' ? match_open(m, at, next + 1, SCRIPT_CAPTURE_POSITION)
                                                         : match_open(m, at, next, SCRIPT_CAPTURE_OPEN);
        return true;
    case ')':
        *out_end = match_close(m, at, next);
        return true;
    case '$':
        if (next != m->pattern_end) return false;
        *out_end = at == m->subject_end ? at : NULL;
        return true;
    case MATCH_ESCAPE:
        break;
    default:
        return false;
    }
    if (next == m->pattern_end) return false;
    if (*next == 'b') {
        *out_end = match_balance(m, at, next + 1);
        *out_rest = next + 3;
        return true;
    }
    if (*next == 'f') {
        *out_end = match_frontier(m, at, next + 1, out_rest) ? at : NULL;
        return true;
    }
    if (!isdigit((unsigned char)*next)) return false;
    *out_end = match_again(m, at, (unsigned char)*next);
    *out_rest = next + 1;
    return true;
}

/* Items are taken one after another; only what may have to be taken back recurses. */
static const char *match_items(script_matcher *m, const char *at, const char *item)
{
    while (item != m->pattern_end) {
        const char *end, *rest;
        if (match_special(m, at, item, &end, &rest)) {
            myr_script_spend(m->lua, 1);
            if (end == NULL || rest == NULL) return end;
            at = end;
            item = rest;
            continue;
        }
        const char *item_end = match_item_end(m, item);
        char suffix = item_end < m->pattern_end ? *item_end : '\0';
        if (suffix == '*') return match_longest(m, at, item, item_end);
        if (suffix == '-') return match_shortest(m, at, item, item_end);
        bool is_here = match_one(m, at, item, item_end);
        if (suffix == '+') return is_here ? match_longest(m, at + 1, item, item_end) : NULL;
        if (suffix == '?') {
            end = is_here ? match_here(m, at + 1, item_end + 1) : NULL;
            if (end != NULL) return end;
            item = item_end + 1;
            continue;
        }
        if (!is_here) return NULL;
        at++;
        item = item_end;
    }
    return at;
}

static const char *match_here(script_matcher *m, const char *at, const char *item)
{
    if (m->depth-- == 0) luaL_error(m->lua, "pattern too complex");
    const char *end = match_items(m, at, item);
    m->depth++;
    return end;
}

/* ---- what was captured ---- */

void myr_script_push_capture(const script_matcher *m, int idx, const char *at, const char *end)
{
    if (idx >= m->capture_count) {
        if (idx != 0) luaL_error(m->lua, "invalid capture index %%%d", idx + 1);
        lua_pushlstring(m->lua, at, (size_t)(end - at));
        return;
    }
    ptrdiff_t size = m->captures[idx].size;
    if (size == SCRIPT_CAPTURE_OPEN) luaL_error(m->lua, "unfinished capture");
    if (size == SCRIPT_CAPTURE_POSITION) {
        lua_pushinteger(m->lua, (lua_Integer)(m->captures[idx].start - m->subject) + 1);
    } else {
        lua_pushlstring(m->lua, m->captures[idx].start, (size_t)size);
    }
}

int myr_script_push_captures(const script_matcher *m, const char *at, const char *end)
{
    int count = m->capture_count == 0 && at != NULL ? 1 : m->capture_count;
    luaL_checkstack(m->lua, count, "too many captures");
    for (int i = 0; i < count; i++)
        myr_script_push_capture(m, i, at, end);
    return count;
}
