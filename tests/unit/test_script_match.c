/*
 * Our functions on strings and tables against Lua's own: the same answers, or both an error. A script's function is run
 * through the script, Lua's through a state of its own.
 */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include "script_fixture.h"

/* What an expression gives: its values as one text, or "error". */
static const char match_head[] = "local function show(...)\n"
                                 "  local out = {}\n"
                                 "  for i = 1, select('#', ...) do out[i] = tostring((select(i, ...))) end\n"
                                 "  return table.concat(out, '|')\n"
                                 "end\n"
                                 "local function all(iterator)\n"
                                 "  local out = {}\n"
                                 "  for a, b, c in iterator do out[#out + 1] = show(a, b, c) end\n"
                                 "  return table.concat(out, ';')\n"
                                 "end\n"
                                 "local function sorted(t, f) table.sort(t, f) return table.concat(t, ',') end\n";

static void match_theirs(const char *expression, myr_buf *out)
{
    MYR_AUTO(myr_buf) text = {0};
    lua_State *lua = luaL_newstate();
    EXPECT(lua != NULL);
    luaL_openlibs(lua);
    myr_buf_printf(&text, "%s return show(%s)", match_head, expression);
    if (luaL_loadstring(lua, text.data) != LUA_OK) fail_msg("%s: %s", expression, lua_tostring(lua, -1));
    if (lua_pcall(lua, 0, 1, 0) == LUA_OK) {
        size_t size;
        const char *shown = lua_tolstring(lua, -1, &size);
        myr_buf_append(out, shown, size);
    } else {
        myr_buf_puts(out, "error");
    }
    lua_close(lua);
}

static void match_ours(const char *expression, myr_buf *out)
{
    MYR_AUTO(myr_buf) text = {0};
    script_bench b;
    script_bench_init(&b);
    myr_buf_printf(&text, "%sfunction run(row, p) p.fields.shown = show(%s) end", match_head, expression);
    EXPECT_RC(script_bench_load(&b, text.data, NULL, 1), OK, &b.err);
    if (script_bench_run(&b) == MYR_OK) {
        myr_buf_append(out, b.answer.fields[0].text.data, b.answer.fields[0].text.size);
    } else {
        myr_buf_puts(out, "error");
    }
    script_bench_fini(&b);
}

static void match_compare(const char *expression)
{
    MYR_AUTO(myr_buf) ours = {0};
    MYR_AUTO(myr_buf) theirs = {0};
    myr_buf_puts(&ours, "");
    myr_buf_puts(&theirs, "");
    match_ours(expression, &ours);
    match_theirs(expression, &theirs);
    if (!myr_str_equal(myr_str_make(ours.data, ours.size), myr_str_make(theirs.data, theirs.size)))
        fail_msg("%s\n ours:   %s\n theirs: %s", expression, ours.data, theirs.data);
}

TEST(expressions_give_what_lua_gives)
{
    static const char *const expressions[] = {
        "('hello world'):find('o w')",
        "('hello'):find('l', 4)",
        "('hello'):find('l', 5)",
        "('hello'):find('', 6)",
        "('hello'):find('', 7)",
        "('hello'):find('', -10)",
        "('a.b'):find('.', 1, true)",
        "('a.b'):find('%.')",
        "('hello'):find('xyz')",
        "('hello'):find('(l)(l)')",
        "('hello'):find('l', -2)",
        "('hello'):find('h', 0)",
        "('key = value'):match('^(%w+)%s*=%s*(%w+)$')",
        "('2026-11-30'):match('(%d+)-(%d+)-(%d+)')",
        "('hello'):match('()ll()')",
        "('hello'):match('.-(l+)')",
        "('[[x]]'):match('%[%[(.-)%]%]')",
        "('THE (quick) fox'):find('%((%a+)%)')",
        "('f(a(b)c)d'):match('%b()')",
        "('THE (quick) fox'):gsub('%f[%a]%a+', 'x')",
        "('abc'):gsub('', '-')",
        "('abc'):gsub('.', {a = 1, b = true, c = false})",
        "('abc'):gsub('%w', '%0%0', 2)",
        "('abc'):gsub('(a)(b)', '%2%1')",
        "('hello world'):gsub('o', function(c) return c:upper() end)",
        "('abc'):gsub('b', '%')",
        "('abc'):gsub('b', '%9')",
        "('abc'):gsub('b', '%%')",
        "('abc'):gsub('^a', 'x')",
        "('aaa'):gsub('^a', 'x')",
        "('abc'):gsub('b*', '-')",
        "('abc'):gsub('()', '%1')",
        "('x'):gsub('x', 5)",
        "('x'):gsub('x', {})",
        "('x'):gsub('x', function() return {} end)",
        "('x'):gsub('x', true)",
        "('abc'):gsub('b', 'x', 0)",
        "('abc'):gsub('b', 'x', -1)",
        "all(('one two  three'):gmatch('%a+'))",
        "all(('k=v, a=b'):gmatch('(%w+)=(%w+)'))",
        "all(('abc'):gmatch(''))",
        "all(('abc'):gmatch('()'))",
        "all(('abcabc'):gmatch('b', 3))",
        "all(('abc'):gmatch('b', -1))",
        "all(('abc'):gmatch('x', 10))",
        "all(('^a^'):gmatch('^a'))",
        "('a\\0b'):find('\\0')",
        "('a\\0b'):match('%z')",
        "('a]b'):find('[]]')",
        "('a-b'):find('[a-]', 2)",
        "('a^b'):find('[b^]')",
        "('abc'):find('[^a]')",
        "('abc'):find('[%a-z]', 3)",
        "('x'):find('[')",
        "('x'):find('[a')",
        "('x'):find('%')",
        "('x'):find('[%')",
        "('x'):find('(')",
        "('x'):find('x)')",
        "('x'):find('%1')",
        "('x'):find('(x%1)')",
        "('xx'):find('(x)%1')",
        "('x'):find('%b')",
        "('x'):find('%bx')",
        "('x'):find('%f')",
        "('abc'):match('((a)(b))')",
        "('x'):find('%0')",
        "('aXb'):find('%u')",
        "('a1'):find('%D', 2)",
        "('  trim '):match('^%s*(.-)%s*$')",
        "('a,b,,c'):gsub(',', ';')",
        "('x^y'):gsub('%^', '-')",
        "('$5'):find('$')",
        "('a$'):find('$', 1, true)",
        "('a$b'):find('a$b')",
        "('ab'):find('a$')",
        "('b'):match('a?b')",
        "('aab'):match('a-b')",
        "('\\xff\\x01'):find('[\\x80-\\xff]')",
        "('abc'):byte(1, -1)",
        "('abc'):byte(10)",
        "('abc'):byte(-1)",
        "('abc'):byte(0, 2)",
        "('abc'):byte(-10, 10)",
        "('x'):rep(3, ',')",
        "('x'):rep(0)",
        "('x'):rep(-1)",
        "('x'):rep(1, 'long')",
        "(''):rep(5)",
        "(''):rep(5, '.')",
        "string.format('%5.2f|%d|%s|%x', 3.14159, 42, 'hi', 255)",
        "string.format('%d', 3.5)",
        "string.format('%y', 1)",
        "string.format('%q', 'a\\nb')",
        "string.format('%s')",
        "string.format('%%')",
        "string.format('%i', '10')",
        "string.format('%a', 1)",
        "string.format('%c', 65)",
        "string.char(104, 105)",
        "string.char(256)",
        "('%d'):format(7)",
        "('abc'):upper():lower():reverse():len()",
        "('abc'):sub(2)",
        "('abc'):sub(-2, -2)",
        "tonumber('0x10')",
        "tonumber('  12  ')",
        "tonumber('1e1')",
        "tonumber('x')",
        "tonumber('10', 2)",
        "tonumber('zz', 36)",
        "tonumber('8', 8)",
        "tonumber({})",
        "tonumber()",
        "tostring(1e15)",
        "tostring(2^53)",
        "tostring(-0.0)",
        "tostring(nil)",
        "tostring(1 // 1)",
        "tostring()",
        "'10' + 5",
        "10 .. 20",
        "table.concat({1, 2, 3}, ', ')",
        "table.concat({1, 2, 3}, ', ', 2)",
        "table.concat({1, 2, 3}, ', ', 2, 3)",
        "table.concat({}, 'x')",
        "table.concat({1, 2}, 'x', 3)",
        "table.concat({1}, 'x', 1, 2)",
        "table.concat({'a', 1.5})",
        "table.unpack({1, 2, 3})",
        "table.unpack({1, 2, 3}, 2)",
        "table.unpack({1, 2, 3}, 2, 5)",
        "table.unpack({}, 1, 0)",
        "table.unpack(5)",
        "select('#', table.unpack({n = 3}, 1, 3))",
        "sorted({3, 1, 2})",
        "sorted({'b', 'a', 'c', 'B'})",
        "sorted({})",
        "sorted({1})",
        "sorted({2, 1}, function(a, b) return a > b end)",
        "sorted({3, 1, 2, 3, 1}, nil)",
        "sorted({1, 'a'})",
        "sorted({1, 2}, 5)",
        "sorted({1.5, 1, -2, 10, 2^53})",
        "pcall(error, 'x', 0)",
        "pcall(error)",
        "select(2, pcall(error, {})) ~= nil",
        "select(3, pcall(pcall, error, 'e'))",

        "select(-1, 1, 2, 3)",
        "next({})",
        "next({5})",
        "pcall(next, {}, 'x')",
        "type(pairs({}))",
        "ipairs({})  ~= nil",
        "#table.pack(1, nil, 3)",
        "math.max(1, 2.5)",
        "math.fmod(7, 3)",
        "math.tointeger(3.0)",
        "math.floor(-1.5)",
        "math.ult(1, -1)",
        "math.type(1)",
    };
    for (size_t i = 0; i < MYR_COUNT_OF(expressions); i++)
        match_compare(expressions[i]);
}

/* ---- patterns made at random ---- */

static uint64_t match_seed = 88172645463325252ULL;

static uint32_t match_random(uint32_t below)
{
    match_seed ^= match_seed << 13;
    match_seed ^= match_seed >> 7;
    match_seed ^= match_seed << 17;
    return (uint32_t)(match_seed >> 33) % below;
}

static void match_put_item(myr_buf *out)
{
    static const char *const items[] = {"a",     "b",     "c",     ".", "%a",   "%d",     "%W",     "[ab]", "[^a]",
                                        "[a-c]", "[%d_]", "%%",    "x", "%b()", "%f[%w]", "%f[%W]", "%1",   "%2",
                                        "()",    "[]a]",  "[^%s]", "-", "$",    "^",      "%"};
    static const char *const suffixes[] = {"", "", "", "*", "+", "-", "?"};
    uint32_t kind = match_random(MYR_COUNT_OF(items) + 4);
    if (kind < MYR_COUNT_OF(items)) {
        myr_buf_puts(out, items[kind]);
        myr_buf_puts(out, suffixes[match_random(MYR_COUNT_OF(suffixes))]);
    } else {
        myr_buf_puts(out, "(");
        match_put_item(out);
        if (match_random(8) > 0) myr_buf_puts(out, ")");
    }
}

TEST(random_patterns_give_what_lua_gives)
{
    static const char letters[] = "aabbc1 (x)_%-";
    for (int round = 0; round < 1500; round++) {
        MYR_AUTO(myr_buf) pattern = {0};
        MYR_AUTO(myr_buf) subject = {0};
        MYR_AUTO(myr_buf) expression = {0};
        for (uint32_t i = match_random(5) + 1; i > 0; i--)
            match_put_item(&pattern);
        myr_buf_puts(&subject, "");
        for (uint32_t i = match_random(14); i > 0; i--)
            myr_buf_putc(&subject, letters[match_random(sizeof letters - 1)]);
        myr_buf_printf(
            &expression,
            "pcall(string.find, '%s', '%s', %d) and show(('%s'):find('%s', %d)), pcall(string.gsub, '%s', '%s', "
            "'<%%0>') and show(('%s'):gsub('%s', '<%%0>')), pcall(all, ('%s'):gmatch('%s')) and "
            "all(('%s'):gmatch('%s'))",
            subject.data, pattern.data, (int)match_random(4) - 1, subject.data, pattern.data, 1, subject.data,
            pattern.data, subject.data, pattern.data, subject.data, pattern.data, subject.data, pattern.data);
        match_compare(expression.data);
    }
}

TEST(random_tables_are_sorted_as_lua_does)
{
    for (int round = 0; round < 300; round++) {
        MYR_AUTO(myr_buf) expression = {0};
        myr_buf_puts(&expression, "sorted({");
        for (uint32_t i = match_random(60); i > 0; i--)
            myr_buf_printf(&expression, "%d,", (int)match_random(40) - 20);
        myr_buf_puts(&expression, round % 2 == 0 ? "})" : "}, function(a, b) return a > b end)");
        match_compare(expression.data);
    }
}

RUN()
