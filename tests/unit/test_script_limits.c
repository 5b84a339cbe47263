/*
 * What a hostile script can't do: run past its deadline, take more memory than it was given, reach what is not on the
 * list, or see what another row, script or process holds.
 */
#include <math.h>
#include <time.h>

#include "script_fixture.h"

#define LIMITS_GIVEN_MS 40
#define LIMITS_OVER_MS  1500 /* of processor time, under sanitizers; the stop itself takes some milliseconds */

/* What this thread has computed: a busy machine does not count. */
static int64_t limits_cpu_ms(void)
{
    struct timespec at;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
    return (int64_t)at.tv_sec * 1000 + at.tv_nsec / 1000000;
}

/* The run is stopped, not long after its deadline; the next row is answered. */
static void limits_is_stopped(const char *body)
{
    MYR_AUTO(myr_buf) text = {0};
    script_bench b;
    script_bench_init(&b);
    myr_buf_printf(&text, "function run(row, p)\n if row.price > 3 then return 1 end\n %s end", body);
    EXPECT_RC(script_bench_load(&b, text.data, NULL, 1), OK, &b.err);
    int64_t start_ms = limits_cpu_ms();
    b.row.deadline_ns = myr_clock_mono_ns() + LIMITS_GIVEN_MS * 1000000;
    myr_rc rc = script_bench_run(&b);
    int64_t took_ms = limits_cpu_ms() - start_ms;
    testing_expect_rc(rc, MYR_TIMEOUT, &b.err, body, __FILE__, __LINE__);
    if (took_ms > LIMITS_GIVEN_MS + LIMITS_OVER_MS) fail_msg("%lld ms: %s", (long long)took_ms, body);
    EXPECT_HAS(b.err.message, "at the deadline");
    EXPECT(b.cells[0][0] == 10);
    b.row.row_idx = 1;
    b.row.deadline_ns = myr_clock_mono_ns() + 5000000000;
    EXPECT_RC(script_bench_run(&b), OK, &b.err);
    EXPECT(b.cells[0][1] == 1);
    script_bench_fini(&b);
}

TEST(loops_end_at_the_deadline)
{
    static const char *const loops[] = {
        "while true do end",
        "while true do pcall(function() while true do end end) end",
        "local function f() while true do end end; for i = 1, 1e9 do pcall(f) end",
        "pcall(pcall, function() while true do end end); while true do end",
        "local function f() return f() end; f()",
        "local function f(n) pcall(f, n) end; while true do f(1) end",
        "while true do pcall(error, 'x') end",
        "while true do pcall(string.rep) end",
        "repeat local t = {} until false",
        "local s = 'x' while true do s = s:sub(1, 1) .. 'y' end",
        "while true do pcall(function() return row.prise end) end",
        "goto a ::a:: goto a",
        "for i = 1, math.huge do end",
        "while true do local ok, e = pcall(refuse, 5) end",
    };
    for (size_t i = 0; i < MYR_COUNT_OF(loops); i++)
        limits_is_stopped(loops[i]);
}

/* Functions of C run between two looks of the hook at the clock. */
TEST(functions_that_loop_end_at_the_deadline)
{
    static const char *const loops[] = {
        "return string.find(('a'):rep(40), ('a*'):rep(40) .. 'b')",
        "return (('a'):rep(200)):match(('a?'):rep(150) .. ('a'):rep(150) .. 'b')",
        "return (('a'):rep(60000)):find('.-.-.-.-b')",
        "return (('('):rep(60000)):gsub('%b()', 'x')",
        "for x in (('a'):rep(60000)):gmatch('a-a-a-b') do end",
        "return (('a'):rep(60000)):gsub('a*a*a*b', function() end)",
        "while true do pcall(string.find, ('a'):rep(60000), ('a*'):rep(20) .. 'b') end",
        "local s = ('a'):rep(65536) while true do s:lower() end",
        "local s = ('a'):rep(65536) while true do local t = s:upper():reverse() end",
        "local s, t = ('a'):rep(65535) .. 'b', ('a'):rep(65535) .. 'c' while true do local x = s < t end",
        "local s = ('a'):rep(65000) local t = {} for i = 1, 8000 do t[i] = s end while true do table.sort(t) end",
        "local t = {} for i = 1, 8192 do t[i] = i end while true do table.sort(t, function(a, b) return a < b end) end",
        "local t = {} for i = 1, 60000 do t[i] = i end while true do table.insert(t, 1, 0) table.remove(t, 1) end",
        "local t = {} for i = 1, 60000 do t[i] = '' end while true do table.concat(t) end",
        "local t = {} for i = 1, 60000 do t[i] = 1 end while true do table.move(t, 1, 60000, 2) end",
        "local t = {} for i = 1, 200000 do t[i] = 1 end for i = 1, 200000 do t[i] = nil end while true do next(t) end",
        "while true do local s = string.format('%099d%.99f', 1, 1e308) end",
        "while true do local s = ('x'):rep(65536) end",
        "while true do local a = {table.unpack({1, 2, 3}, 1, 250)} end",
    };
    for (size_t i = 0; i < MYR_COUNT_OF(loops); i++)
        limits_is_stopped(loops[i]);
}

/* Single instructions that take long: places of tables that are searched, filled again, copied. */
TEST(slow_instructions_end_at_the_deadline)
{
    static const char *const loops[] = {
        /* each insertion into a full table counts all of it again */
        "local t = {} for i = 1, 65536 do t['k' .. i] = i end\n"
        "local n = 1 while true do t['k' .. n] = nil; t['q' .. n] = 1; n = n + 1 end",
        /* keys that collide: chains as long as they get */
        "local t, m = {}, (1 << 17) - 1 for i = 1, 1e7 do t[i * m + 0.5] = i end",
        "local t = {} for i = 1, 1e7 do t[i << 40] = i end",
        /* ever more arguments */
        "local function f(...) return f(1, ...) end f()",
        "local t = {} for i = 1, 8000 do t[i] = ('a'):rep(65000) end table.sort(t)",
        "local function f(...) return #{...} + f(...) end f(1)",
    };
    for (size_t i = 0; i < MYR_COUNT_OF(loops); i++) {
        script_bench b;
        MYR_AUTO(myr_buf) text = {0};
        script_bench_init(&b);
        myr_buf_printf(&text, "function run(row, p) %s end", loops[i]);
        EXPECT_RC(script_bench_load(&b, text.data, NULL, 1), OK, &b.err);
        int64_t start_ms = limits_cpu_ms();
        b.row.deadline_ns = myr_clock_mono_ns() + LIMITS_GIVEN_MS * 1000000;
        myr_rc rc = script_bench_run(&b);
        int64_t took_ms = limits_cpu_ms() - start_ms;
        EXPECT(rc == MYR_TIMEOUT || rc == MYR_SCRIPT); /* time or memory, whichever ends first */
        if (took_ms > LIMITS_GIVEN_MS + LIMITS_OVER_MS) fail_msg("%lld ms: %s", (long long)took_ms, loops[i]);
        script_bench_fini(&b);
    }
}

TEST(memory_ends)
{
    static const char *const bombs[] = {
        "local t = {} for i = 1, 1e9 do t[i] = i end",
        "local t = {} while true do t = {t, {}, {}} end",
        "local s = {} for i = 1, 1e6 do s[i] = ('x'):rep(60000) .. i end",
        "local t = {} while true do pcall(function() for i = 1, 1e6 do t[#t + 1] = {} end end) end",
        "local function f() return 1 + f() end return f()",
        "local t = {} for i = 1, 1e7 do t[i] = function() return t end end",
        "local t = {} while true do t[#t + 1] = function() return t[1] end end",
    };
    for (size_t i = 0; i < MYR_COUNT_OF(bombs); i++) {
        script_bench b;
        MYR_AUTO(myr_buf) text = {0};
        script_bench_init(&b);
        myr_buf_printf(&text, "function run(row, p)\n if row.price > 3 then return 1 end\n %s end", bombs[i]);
        EXPECT_RC(script_bench_load(&b, text.data, NULL, 1), OK, &b.err);
        int64_t start_ns = myr_clock_mono_ns();
        b.row.deadline_ns = start_ns + 20000000000; /* memory ends long before */
        myr_rc rc = script_bench_run(&b);
        testing_expect_rc(rc, MYR_SCRIPT, &b.err, bombs[i], __FILE__, __LINE__);
        if (strstr(b.err.message, "of memory") == NULL && strstr(b.err.message, "stack overflow") == NULL)
            fail_msg("%s: %s", bombs[i], b.err.message);
        EXPECT(myr_script_state_bytes(b.state) <= MYR_SCRIPT_MEMORY_DEFAULT);
        EXPECT((myr_clock_mono_ns() - start_ns) / 1000000 < 10000);
        b.row.row_idx = 1;
        EXPECT_RC(script_bench_run(&b), OK, &b.err);
        EXPECT(b.cells[0][1] == 1);
        script_bench_fini(&b);
    }
}

TEST(memory_that_is_given_at_its_limits)
{
    script_bench b;
    myr_script_opts opts = {.memory_bytes_max = MYR_SCRIPT_MEMORY_MIN};
    script_bench_init(&b);
    EXPECT_RC(script_bench_load(&b, "function run() return 1 end", &opts, 1), OK, &b.err);
    EXPECT_RC(script_bench_run(&b), OK, &b.err);
    script_bench_fini(&b);
    static const int64_t bad[] = {MYR_SCRIPT_MEMORY_MIN - 1, (int64_t)MYR_SCRIPT_MEMORY_MAX + 1};
    for (size_t i = 0; i < MYR_COUNT_OF(bad); i++) {
        opts.memory_bytes_max = bad[i];
        script_bench_init(&b);
        EXPECT_RC(script_bench_load(&b, "function run() return 1 end", &opts, 1), BAD_INPUT, &b.err);
        script_bench_fini(&b);
    }
    script_bench_init(&b);
    opts.memory_bytes_max = MYR_SCRIPT_MEMORY_MIN;
    EXPECT_RC(script_bench_load(&b, "t = {} for i = 1, 1e6 do t[i] = i end function run() end", &opts, 1), SCRIPT,
              &b.err);
    EXPECT_HAS(b.err.message, "of memory");
    script_bench_fini(&b);
}

TEST(init_has_a_deadline_too)
{
    script_bench b;
    myr_script_opts opts = {.init_ms = 30};
    static const char *const texts[] = {"while true do end",
                                        "function init()\n while true do end end function run() end",
                                        "local x = (('a'):rep(60000)):find('.-.-.-.-b')"};
    for (size_t i = 0; i < MYR_COUNT_OF(texts); i++) {
        script_bench_init(&b);
        EXPECT_RC(script_bench_load(&b, texts[i], &opts, 1), TIMEOUT, &b.err);
        EXPECT_HAS(b.err.message, i == 1 ? "rules.lua:2: stopped after" : "rules.lua:1: stopped after");
        script_bench_fini(&b);
    }
}

TEST(a_deadline_that_has_passed)
{
    script_bench b;
    script_bench_init(&b);
    EXPECT_RC(script_bench_load(&b, "function run() return 1 end", NULL, 1), OK, &b.err);
    b.row.deadline_ns = myr_clock_mono_ns() - 1;
    EXPECT_RC(script_bench_run(&b), TIMEOUT, &b.err);
    EXPECT_HAS(b.err.message, "no time was left for rules.lua");
    script_bench_fini(&b);
}

/* ---- sizes, at the limit and one past it ---- */

TEST(sizes_at_the_limit_and_one_past_it)
{
    static const struct {
        const char *good, *bad, *part;
    } cases[] = {
        {"return #(('x'):rep(65536))", "return #(('x'):rep(65537))", "rep makes more than 65536 bytes"},
        {"return #(('x'):rep(32769, ''))", "return #(('xy'):rep(32769))", "rep makes more than 65536 bytes"},
        {"return #(('x'):rep(32768, 'y'))", "return #(('x'):rep(32769, 'y'))", "rep makes more than 65536 bytes"},
        {"return #((''):rep(1 << 62))", "return #(('x'):rep(1 << 62))", "rep makes more than 65536 bytes"},
        {"local s = ('x'):rep(32768) return #(s .. s)", "local s = ('x'):rep(32768) return #(s .. s .. ('x'):rep(100))",
         "a string of more than 65536 bytes"},
        {"return select('#', (('x'):rep(250)):byte(1, -1))", "return select('#', (('x'):rep(251)):byte(1, -1))",
         "byte gives at most 250"},
        {"return #{table.unpack({}, 1, 250)} + 1", "return #{table.unpack({}, 1, 251)} + 1", "250 items at most"},
        {"return #{table.unpack({1}, 1)}", "return #{table.unpack({}, math.mininteger, math.maxinteger)} + 1",
         "250 items at most"},
        {"local t = {} for i = 1, 65536 do t[i] = '' end return #table.concat(t)",
         "local t = {} for i = 1, 65537 do t[i] = '' end return #table.concat(t)", "65536 items at most"},
        {"return #table.concat({('x'):rep(65535), 'y'})", "return #table.concat({('x'):rep(65535), 'y', 'z'})",
         "concat makes more than 65536"},
        {"return table.concat({1, 2}, ',') == '1,2' and 1 or 0", "return table.concat({1, {}})", "item 2 is a table"},
        {"local t = {} for i = 1, 8192 do t[i] = -i end table.sort(t) return t[1]",
         "local t = {} for i = 1, 8193 do t[i] = -i end table.sort(t) return t[1]", "sort takes at most 8192"},
        {"local t = {} for i = 1, 65536 do t[i] = 1 end table.remove(t) return #t",
         "local t = {} for i = 1, 65537 do t[i] = 1 end table.remove(t) return #t", "at most 65536 here"},
        {"return #table.move({1}, 1, 65536, 1, {})", "return #table.move({1}, 1, 65537, 1, {})", "65536 items at most"},
        {"return tonumber(('0'):rep(127) .. '7')", "return tonumber(('0'):rep(128) .. '7')",
         "tonumber reads at most 128"},
        {"return #((('x'):rep(32768)):gsub('x', 'yy'))", "return #((('x'):rep(32769)):gsub('x', 'yy'))",
         "gsub makes more than 65536"},
        {"return #string.format('%s', ('x'):rep(60000))",
         "return #string.format('%s%s', ('x'):rep(60000), ('x'):rep(60000))", "format takes at most 65536"},
        {"return #string.format('%5.1f|%-3d|%q|%%', 1.25, 7, 'x')", "return string.format('%p', {})", "no %p"},
        {"return #string.format('%s%s', true, nil)", "return string.format('%s', {})",
         "number, string, boolean or nil"},
        {"pcall(error, 'x', 2) return 1", "error('x', 3)", "level 3 is not 0, 1 or 2"},
        {"local n = 0 for _ in (('x'):rep(200)):gmatch(('(x)'):rep(32)) do n = n + 1 end return n",
         "for _ in (('x'):rep(200)):gmatch(('(x)'):rep(33)) do end", "too many captures"},
        {"return (('x'):rep(100)):find(('x?'):rep(199))", "return (('x'):rep(300)):find(('x?'):rep(200))",
         "pattern too complex"},
    };
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        MYR_AUTO(myr_buf) text = {0};
        script_bench b;
        myr_buf_printf(&text, "function run(row, p) p.value = (function() %s end)() end", cases[i].good);
        script_bench_init(&b);
        EXPECT_RC(script_bench_load(&b, text.data, NULL, 1), OK, &b.err);
        myr_rc rc = script_bench_run(&b);
        testing_expect_rc(rc, MYR_OK, &b.err, cases[i].good, __FILE__, __LINE__);
        script_bench_fini(&b);
        myr_buf_clear(&text);
        myr_buf_printf(&text, "function run(row, p) %s end", cases[i].bad);
        script_fails(text.data, MYR_SCRIPT, cases[i].part);
    }
}

/* ---- what is reachable ---- */

/* A script that tells all it can reach: names of functions, by walking _ENV and the methods of strings. */
static const char limits_walk[] =
    "function init()\n"
    "  local seen, found = {}, {}\n"
    "  local function walk(t, prefix)\n"
    "    for name, value in pairs(t) do\n"
    "      if type(value) == 'table' and value ~= t then walk(value, prefix .. name .. '.')\n"
    "      elseif type(value) == 'function' then found[#found + 1] = prefix .. name\n"
    "      else others[#others + 1] = prefix .. name .. ':' .. type(value) end\n"
    "    end\n"
    "  end\n"
    "  others = {}\n"
    "  local all = {}\n"
    "  for name, value in pairs(_ENV) do if name ~= 'others' then all[name] = value end end\n"
    "  walk(all, '')\n"
    "  table.sort(found); table.sort(others)\n"
    "  names = found\n"
    "end\n"
    "function run(row, p)\n"
    "  p.fields.count = #names\n"
    "  p.fields.others = table.concat(others, ' ')\n"
    "  local i = row.feat\n"
    "  if i ~= nil then p.fields.name = names[i] end\n"
    "end\n";

TEST(every_reachable_function_is_on_the_list)
{
    script_bench b;
    size_t listed = 0;
    for (const myr_script_function *f; (f = myr_script_function_at(listed)) != NULL; listed++)
        EXPECT(f->bound[0] != '\0');
    script_do(&b, limits_walk);
    size_t found = (size_t)b.answer.fields[0].number;
    EXPECT_STR(b.answer.fields[1].text.data,
               "math.huge:number math.maxinteger:number math.mininteger:number math.pi:number");
    EXPECT_INT(found, listed + 2); /* init and run */
    for (size_t i = 1; i <= found; i++) {
        b.feats[0] = (double)i;
        myr_arena_reset(b.arena);
        EXPECT_RC(script_bench_run(&b), OK, &b.err);
        const char *name = b.answer.fields[2].text.data;
        bool is_listed = strcmp(name, "init") == 0 || strcmp(name, "run") == 0;
        const myr_script_function *f;
        for (size_t k = 0; !is_listed && (f = myr_script_function_at(k)) != NULL; k++)
            is_listed = strcmp(name, f->name) == 0;
        if (!is_listed) fail_msg("%s is reachable and not on the list", name);
    }
    script_bench_fini(&b);
}

TEST(what_is_not_there)
{
    static const char *const names[] = {
        "_G",      "_VERSION",     "bit32",        "collectgarbage", "coroutine", "debug",      "dofile", "ffi",
        "getfenv", "io",           "jit",          "load",           "loadfile",  "loadstring", "module", "newproxy",
        "os",      "package",      "print",        "rawequal",       "rawget",    "rawlen",     "rawset", "require",
        "setfenv", "setmetatable", "getmetatable", "utf8",           "warn",      "xpcall"};
    static const char *const members[] = {"string.dump", "string.pack",     "string.unpack", "string.packsize",
                                          "math.random", "math.randomseed", "table.getn",    "('').dump"};
    for (size_t i = 0; i < MYR_COUNT_OF(names); i++) {
        MYR_AUTO(myr_buf) text = {0};
        myr_buf_printf(&text, "function run() return %s end", names[i]);
        script_fails(text.data, MYR_SCRIPT, names[i]);
    }
    for (size_t i = 0; i < MYR_COUNT_OF(members); i++) {
        MYR_AUTO(myr_buf) text = {0};
        myr_buf_printf(&text, "function run() return %s == nil and 1 or 0 end", members[i]);
        if (script_value(text.data) != 1) fail_msg("%s is there", members[i]);
    }
    script_fails("function run() return os end", MYR_SCRIPT, "'os' is not there for score scripts");
}

TEST(methods_of_strings_are_protected)
{
    script_fails("function run() (''). upper = nil end", MYR_SCRIPT, "attempt to index a string value");
    script_fails("function run() string.upper = nil end", MYR_SCRIPT, "'upper' can't be set");
    script_does_not_load("string.upper = function() return 'mine' end function run() end", MYR_SCRIPT,
                         "'upper' can't be set");
    EXPECT(script_value("function run() return (('x'):upper() == 'X' and (5 .. ''):len() == 1) and 1 or 0 end") == 1);
}

TEST(there_are_no_finalizers)
{
    /* no metatable can be set, so none has __gc, __mode, __close or __index */
    script_fails("function run() return setmetatable({}, {__gc = function() while true do end end}) end", MYR_SCRIPT,
                 "'setmetatable' is not there");
    script_fails("function run() local x <close> = {} end", MYR_SCRIPT, "non-closable value");
}

/* Addresses would tell where things lie in the process. */
TEST(no_text_has_an_address)
{
    static const char *const texts[] = {"tostring({})", "tostring(print_it)", "tostring(row)", "tostring(p)",
                                        "select(2, pcall(error, {})) == nil and '' or 'table'"};
    for (size_t i = 0; i < MYR_COUNT_OF(texts); i++) {
        MYR_AUTO(myr_buf) text = {0};
        script_bench b;
        myr_buf_printf(&text, "function print_it() end function run(row, p) p.fields.t = %s end", texts[i]);
        script_do(&b, text.data);
        EXPECT(strstr(b.answer.fields[0].text.data, "0x") == NULL);
        script_bench_fini(&b);
    }
}

/* Two scripts, and two states of one: nothing of one is in the other. */
TEST(scripts_and_states_share_nothing)
{
    script_bench a, b;
    myr_script_state *second;
    script_do(&a, "shared = 5 local n = 0 function run() n = n + 1 return shared + n end");
    script_bench_init(&b);
    EXPECT_RC(script_bench_load(&b, "function run() return shared end", NULL, 1), OK, &b.err);
    EXPECT_RC(script_bench_run(&b), SCRIPT, &b.err);
    EXPECT_RC(myr_script_acquire(a.script, &second, &a.err), OK, &a.err);
    EXPECT(second != a.state);
    EXPECT_RC(myr_script_run(second, &a.row, &a.answer, &a.err), OK, &a.err);
    EXPECT(a.cells[0][0] == 6);
    myr_script_release(second);
    EXPECT_RC(myr_script_acquire(a.script, &second, &a.err), OK, &a.err); /* the same again */
    myr_script_release(second);
    script_bench_fini(&a);
    script_bench_fini(&b);
}

TEST(states_are_as_many_as_there_may_be)
{
    script_bench b;
    myr_script_state *states[MYR_SCRIPT_STATES_MAX], *more = NULL;
    script_bench_init(&b);
    EXPECT_RC(script_bench_load(&b, "function run() return 1 end", NULL, 1), OK, &b.err);
    myr_script_release(b.state);
    b.state = NULL;
    for (size_t i = 0; i < MYR_SCRIPT_STATES_MAX; i++)
        EXPECT_RC(myr_script_acquire(b.script, &states[i], &b.err), OK, &b.err);
    EXPECT_RC(myr_script_acquire(b.script, &more, &b.err), BUSY, &b.err);
    EXPECT(more == NULL);
    for (size_t i = 0; i < MYR_SCRIPT_STATES_MAX; i++)
        myr_script_release(states[i]);
    EXPECT_RC(myr_script_acquire(b.script, &b.state, &b.err), OK, &b.err);
    script_bench_fini(&b);
}

RUN()
