/* Score scripts: what run() sees, what it may change, what is said when it is wrong, what stays between rows. */
#include <math.h>

#include "script_fixture.h"

TEST(a_row_has_cells_by_name)
{
    EXPECT(script_value("function run(row) return row.price * 2 end") == 3);
    EXPECT(script_value("function run(row) return row.store + 0.5 end") == 2.5);
    EXPECT(script_value("function run(row) return math.type(row.store) == 'integer' and 1 or 0 end") == 1);
    EXPECT(script_value("function run(row) return row.feat == nil and 1 or 0 end") == 1);
    EXPECT(script_value("function run(row) return row.kind == 'red' and #row.kind or 0 end") == 3);
    /* a key comes before the feature of its name */
    EXPECT(script_value("function run(row) return row.brand == 'a b' and 1 or 0 end") == 1);
    script_fails("function run(row) return row.prise end", MYR_SCRIPT,
                 "rules.lua:1: row has no column 'prise': is 'price' meant?");
    script_fails("function run(row)\n row.price = 1 end", MYR_SCRIPT, "rules.lua:2: row can't be changed");
    script_fails("function run(row) return row[1] end", MYR_SCRIPT, "row is indexed by a number");
}

TEST(keys_have_the_type_of_their_column)
{
    static const double number[] = {2};
    static const myr_str text[] = {{"2", 1}};
    const myr_col cols[] = {{"store", MYR_COL_DOUBLE, NULL, {.f64 = number}},
                            {"store", MYR_COL_TEXT, NULL, {.text = text}}};
    for (size_t i = 0; i < MYR_COUNT_OF(cols); i++) {
        script_bench b;
        script_bench_init(&b);
        EXPECT_RC(script_bench_load(
                      &b, "function run(row) return math.type(row.store) == 'integer' and row.store or 0 end", NULL, 1),
                  OK, &b.err);
        b.keys[0] = cols[i];
        EXPECT_RC(script_bench_run(&b), OK, &b.err);
        EXPECT(b.cells[0][0] == 2);
        b.keys[1] = (myr_col){"brand", MYR_COL_DOUBLE, NULL, {.f64 = number}};
        EXPECT_RC(script_bench_run(&b), OK, &b.err);
        script_bench_fini(&b);
    }
}

TEST(a_row_can_be_walked)
{
    static const char text[] = "function run(row, prediction)\n"
                               "  local names = {}\n"
                               "  for name, cell in pairs(row) do names[#names + 1] = name .. '=' .. cell end\n"
                               "  prediction.fields.all = table.concat(names, ';')\n"
                               "end\n";
    script_bench b;
    script_do(&b, text);
    EXPECT_INT(b.answer.field_count, 1);
    EXPECT_STR(b.answer.fields[0].text.data, "store=2;brand=a b;price=1.5;kind=red");
    b.row.row_idx = 1;
    EXPECT_RC(script_bench_run(&b), OK, &b.err);
    EXPECT_STR(b.answer.fields[0].text.data, "brand=;price=4.0;feat=1.0;kind=blue");
    script_bench_fini(&b);
    EXPECT(script_value("function run(row) return next(row) == 'store' and 1 or 0 end") == 1);
}

TEST(strided_features_are_read)
{
    script_bench b;
    double matrix[] = {1, 2, 3, 4, 5, 6};
    script_bench_init(&b);
    EXPECT_RC(script_bench_load(&b, "function run(row) return row.price * 10 + row.feat end", NULL, 1), OK, &b.err);
    b.features[0].data.f64 = matrix;
    b.features[1].data.f64 = matrix + 1;
    b.row.feature_stride = 3;
    b.row.row_idx = 1;
    EXPECT_RC(script_bench_run(&b), OK, &b.err);
    EXPECT(b.cells[0][1] == 45);
    script_bench_fini(&b);
}

TEST(the_value_may_be_changed)
{
    script_bench b;
    EXPECT(script_value("function run(row, prediction) end") == 10);
    EXPECT(script_value("function run(row, prediction) return nil end") == 10);
    EXPECT(script_value("function run(row, prediction) return prediction end") == 10);
    EXPECT(script_value("function run(row, prediction) prediction.value = prediction.value + 1 end") == 11);
    EXPECT(script_value("function run(row, prediction) prediction.value = 3; return prediction.value + 1 end") == 4);
    EXPECT(script_value("function run() return -0.5 end") == -0.5);
    script_do(&b, "function run() end");
    EXPECT(!b.answer.is_changed);
    EXPECT_INT(b.answer.field_count, 0);
    script_bench_fini(&b);
}

TEST(several_values_are_a_list)
{
    script_bench b;
    script_bench_init(&b);
    EXPECT_RC(script_bench_load(&b,
                                "function run(row, prediction)\n"
                                "  local sum = 0\n"
                                "  for i, v in ipairs(prediction.value) do sum = sum + v end\n"
                                "  prediction.value[2] = sum + #prediction.value\n"
                                "  prediction.fields.most = math.max(table.unpack(prediction.value))\n"
                                "  prediction.fields.none = prediction.value[4] == nil and prediction.value.x == nil\n"
                                "end",
                                NULL, 3),
              OK, &b.err);
    EXPECT_RC(script_bench_run(&b), OK, &b.err);
    EXPECT(b.cells[0][0] == 10 && b.cells[1][0] == 36 && b.cells[2][0] == 12);
    EXPECT(b.answer.is_changed && b.answer.fields[0].number == 36 && b.answer.fields[1].number == 1);
    script_bench_fini(&b);

    script_bench_init(&b);
    EXPECT_RC(script_bench_load(
                  &b, "function run(row, p) pcall(function() p.value = {7, 8, 'x'} end); p.value[3] = 5 end", NULL, 3),
              OK, &b.err);
    EXPECT_RC(script_bench_run(&b), OK, &b.err);
    EXPECT(b.cells[0][0] == 10 && b.cells[1][0] == 11 && b.cells[2][0] == 5);
    script_bench_fini(&b);

    script_bench_init(&b);
    EXPECT_RC(script_bench_load(&b, "function run() return {1, 2, 3} end", NULL, 3), OK, &b.err);
    EXPECT_RC(script_bench_run(&b), OK, &b.err);
    EXPECT(b.cells[0][0] == 1 && b.cells[1][0] == 2 && b.cells[2][0] == 3);
    script_bench_fini(&b);
}

TEST(wrong_results_are_told)
{
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"function run() return 'much' end", "prediction.value is set to a string, not a number"},
        {"function run() return '12' end", "set to a string"},
        {"function run() return {1} end", "set to a table, not a number"},
        {"function run() return true end", "set to a boolean"},
        {"function run() return run end", "set to a function"},
        {"function run() return 1, 2 end", "gave back 2 values"},
        {"function run() return 0/0 end", "nan"},
        {"function run() return math.huge end", "set to inf"},
        {"function run(row, p) p.value = -math.huge end", "rules.lua:1: prediction.value is set to -inf"},
        {"function run(row, p) local t = {}; t[1] = t; return t end", "set to a table"},
        {"function run(row, p) return row end", "set to a userdata"},
        {"function run(row, p) p.valu = 1 end", "prediction.valu can't be set"},
        {"function run(row, p) p.level = 1 end", "prediction.level can't be set"},
        {"function run(row, p) return p.valu end", "prediction has no 'valu'"},
        {"function run(row, p)\n\n error('own words') end", "rules.lua:3: own words"},
        {"function run(row, p) error('own words', 0) end", "own words"},
        {"function run(row, p) error({}) end", "an error that is a table"},
        {"function run(row, p) error() end", "an error that is a nil"},
        {"function run(row, p) local x = nil; return x + 1 end",
         "attempt to perform arithmetic on a nil value (local 'x')"},
        {"function run(row, p) return missing_name end", "variable 'missing_name' is not defined"},
        {"function run(row, p) return 1 // 0 end", "rules.lua:1: attempt to divide by zero"},
        {"function run(row, p) return assert(false, 'no') end", "no"},
        {"local function f() error('deep', 2) end\nfunction run(row, p)\n f() end", "rules.lua:3: deep"},
    };
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++)
        script_fails(cases[i].text, MYR_SCRIPT, cases[i].part);
}

TEST(wrong_lists_are_told)
{
    static const struct {
        const char *text, *part;
    } cases[] = {
        {"function run() return 1 end", "set to a number, not a table of 3 numbers"},
        {"function run() return {1, 2} end", "2 values, the model gives 3"},
        {"function run() return {1, 2, 3, 4} end", "4 values, the model gives 3"},
        {"function run() return {1, 'x', 3} end", "set to a string"},
        {"function run() return {1, 0/0, 3} end", "nan"},
        {"function run(row, p) p.value[4] = 1 end", "the places 1 to 3"},
        {"function run(row, p) p.value[0] = 1 end", "the places 1 to 3"},
        {"function run(row, p) p.value[1.5] = 1 end", "the places 1 to 3"},
        {"function run(row, p) p.value.x = 1 end", "the places 1 to 3"},
        {"function run(row, p) p.value[1] = 1; p.value[2] = 1/0 end", "set to inf"},
    };
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        script_bench b;
        script_bench_init(&b);
        EXPECT_RC(script_bench_load(&b, cases[i].text, NULL, 3), OK, &b.err);
        EXPECT_RC(script_bench_run(&b), SCRIPT, &b.err);
        EXPECT_HAS(b.err.message, cases[i].part);
        EXPECT(b.cells[0][0] == 10 && b.cells[1][0] == 11 && b.cells[2][0] == 12);
        script_bench_fini(&b);
    }
}

TEST(an_answer_may_be_refused)
{
    script_bench b;
    script_do(&b, "function run(row, p) p.value = 3; p.fields.why = 'x'; refuse('no stock') end");
    EXPECT_INT(b.answer.verdict, MYR_SCRIPT_REFUSED);
    EXPECT_STR(b.answer.status, "refused");
    EXPECT_STR(b.answer.reason, "no stock");
    EXPECT_INT(b.answer.field_count, 1);
    EXPECT(b.cells[0][0] == 10);
    script_bench_fini(&b);
    script_do(&b, "function run() pcall(function() refuse('later', 'not_now') end); return 5 end");
    EXPECT_INT(b.answer.verdict, MYR_SCRIPT_REFUSED);
    EXPECT_STR(b.answer.status, "not_now");
    EXPECT(b.cells[0][0] == 10);
    script_bench_fini(&b);
    script_do(&b, "function run() return refuse() end");
    EXPECT_STR(b.answer.reason, "");
    script_bench_fini(&b);
    script_fails("function run() refuse('x', 'ok') end", MYR_SCRIPT, "the status 'ok' is not a word");
    script_fails("function run() refuse('x', 'No') end", MYR_SCRIPT, "the status 'No' is not a word");
    script_fails("function run() refuse('x', '_x') end", MYR_SCRIPT, "the status '_x' is not a word");
    script_fails("function run() refuse('x', '') end", MYR_SCRIPT, "the status '' is not a word");
    script_fails("function run() refuse({}) end", MYR_SCRIPT, "refuse(): the reason is a table, not a string");
    script_fails("function run() refuse('\\xff') end", MYR_SCRIPT, "refuse(): the reason is not UTF-8");
    script_do(&b, "function run() refuse(('r'):rep(240), ('s'):rep(32)) end");
    script_bench_fini(&b);
    script_fails("function run() refuse(('r'):rep(241)) end", MYR_SCRIPT, "has 241 bytes, at most 240");
    script_fails("function run() refuse('', ('s'):rep(33)) end", MYR_SCRIPT, "has 33 bytes, at most 32");
}

TEST(another_model_may_be_chosen)
{
    script_bench b;
    script_do(&b, "function run() choose_model('brand=1') end");
    EXPECT_INT(b.answer.verdict, MYR_SCRIPT_CHOSE_MODEL);
    EXPECT(myr_str_is(b.answer.choice, "brand=1"));
    script_bench_fini(&b);
    script_do(&b, "function run() choose_model('') end");
    EXPECT_INT(b.answer.verdict, MYR_SCRIPT_CHOSE_MODEL);
    EXPECT(myr_str_is(b.answer.choice, ""));
    script_bench_fini(&b);
    script_do(&b, "function run() choose_level('global') end");
    EXPECT_INT(b.answer.verdict, MYR_SCRIPT_CHOSE_LEVEL);
    EXPECT_INT(b.answer.level, MYR_LEVEL_GLOBAL);
    script_bench_fini(&b);
    script_do(&b, "function run(row, p) if p.level == 'segment' then choose_level('parent') end end");
    EXPECT_INT(b.answer.level, MYR_LEVEL_PARENT);
    script_bench_fini(&b);
    script_fails("function run() choose_level('segment') end", MYR_SCRIPT, "'parent' or 'global'");
    script_fails("function run() choose_level() end", MYR_SCRIPT, "'parent' or 'global'");
    script_fails("function run() choose_model() end", MYR_SCRIPT, "choose_model(): the segment is a no value");
}

TEST(fields_may_be_added)
{
    script_bench b;
    script_do(&b, "function run(row, p)\n"
                  "  p.fields.band = 'h\\u{e9}'; p.fields.gone = 1; p.fields.score = 2; p.fields.good = true\n"
                  "  p.fields.gone = nil; p.fields.never = nil\n"
                  "  p.fields.score = p.fields.score + 0.5\n"
                  "  p.fields.seen = p.fields.band .. tostring(p.fields.good) .. tostring(p.fields.gone)\n"
                  "end");
    EXPECT_INT(b.answer.field_count, 4);
    EXPECT_STR(b.answer.fields[0].name, "band");
    EXPECT_STR(b.answer.fields[0].text.data, "h\xc3\xa9");
    EXPECT_INT(b.answer.fields[1].type, MYR_SCRIPT_NUMBER);
    EXPECT(b.answer.fields[1].number == 2.5);
    EXPECT_INT(b.answer.fields[2].type, MYR_SCRIPT_BOOL);
    EXPECT_STR(b.answer.fields[3].text.data, "h\xc3\xa9truenil");
    script_bench_fini(&b);

    static const struct {
        const char *text, *part;
    } cases[] = {
        {"p.fields['a b'] = 1", "'a b' can't be a field"},
        {"p.fields['1a'] = 1", "'1a' can't be a field"},
        {"p.fields[''] = 1", "'' can't be a field"},
        {"p.fields.status = 1", "'status' can't be a field"},
        {"p.fields[1] = 1", "indexed by a number"},
        {"p.fields.x = {}", "prediction.fields.x is set to a table"},
        {"p.fields.x = 0/0", "prediction.fields.x is set to"},
        {"p.fields.x = '\\xff'", "not UTF-8"},
        {"p.fields = {}", "prediction.fields can't be set"},
        {"p.fields.x = ('y'):rep(1025)", "has 1025 bytes, at most 1024"},
        {"p.fields[('n'):rep(129)] = 1", "no name of 129 bytes"},
        {"for i = 1, 17 do p.fields['f' .. i] = i end", "has 16 fields"},
        {"for k in pairs(p.fields) do end", "table expected, got userdata"},
    };
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        MYR_AUTO(myr_buf) text = {0};
        myr_buf_printf(&text, "function run(row, p) %s end", cases[i].text);
        script_fails(text.data, MYR_SCRIPT, cases[i].part);
    }
    script_do(&b, "function run(row, p) for i = 1, 16 do p.fields['f' .. i] = ('y'):rep(1024) end end");
    EXPECT_INT(b.answer.field_count, 16);
    script_bench_fini(&b);
}

TEST(an_answer_that_is_larger_than_the_request_may_be)
{
    script_bench b;
    script_bench_init(&b);
    EXPECT_RC(script_bench_load(&b, "function run(row, p) pcall(function() p.fields.x = 'y' end) end", NULL, 1), OK,
              &b.err);
    while (myr_arena_alloc(b.arena, 64) != NULL) {
    }
    EXPECT_RC(script_bench_run(&b), TOO_LARGE, &b.err);
    myr_arena_reset(b.arena);
    EXPECT_RC(script_bench_run(&b), OK, &b.err);
    script_bench_fini(&b);
}

TEST(facts_about_the_prediction)
{
    EXPECT(script_value(
               "function run(row, p) return p.level == 'segment' and p.fleet == 'oj' and p.release or 0 end") == 7);
    EXPECT(script_value("function run(row, p) return p.model == nil and p.version == nil and 1 or 0 end") == 1);
}

/* ---- init ---- */

TEST(init_runs_once_and_what_it_made_is_there)
{
    script_bench b;
    script_do(&b, "local calls = 0\n"
                  "function init() calls = calls + 1; floors = {red = 12, list = {1, 2, 3}} end\n"
                  "function run(row) return floors[row.kind] + calls + #floors.list end");
    EXPECT(b.cells[0][0] == 16);
    EXPECT_RC(script_bench_run(&b), OK, &b.err);
    EXPECT(b.cells[0][0] == 16);
    script_bench_fini(&b);
}

TEST(what_init_made_can_not_be_changed)
{
    static const char before[] = "local list = {1, 2, 3, t = {a = 1}}; local count = 0\n"
                                 "function init() names = {red = 1}; names.self = names end\n"
                                 "function bump() count = count + 1; return count end\n";
    static const struct {
        const char *body, *part;
    } refused[] = {
        {"global = 1", "'global' can't be set"},
        {"names = nil", "'names' can't be set"},
        {"names.blue = 2", "'blue' can't be set"},
        {"names.red = 2", "'red' can't be set"},
        {"names.self.self.red = 2", "'red' can't be set"},
        {"list[1] = 5", "a table that the file or init() made is read-only"},
        {"list.t.a = 5", "'a' can't be set"},
        {"table.insert(list, 4)", "read-only"},
        {"table.remove(list)", "read-only"},
        {"table.sort(list)", "read-only"},
        {"table.move({7}, 1, 1, 1, list)", "read-only"},
        {"run = nil", "'run' can't be set"},
        {"math.max = nil", "'max' can't be set"},
        {"string.find = nil", "'find' can't be set"},
        {"_ENV.x = 1", "'x' can't be set"},
    };
    for (size_t i = 0; i < MYR_COUNT_OF(refused); i++) {
        MYR_AUTO(myr_buf) text = {0};
        myr_buf_printf(&text, "%sfunction run(row, p)\n %s end", before, refused[i].body);
        script_fails(text.data, MYR_SCRIPT, refused[i].part);
        EXPECT(strchr(text.data, '\n') != NULL);
    }
    static const char *const allowed[] = {
        "return #list + list[3] + list.t.a",
        "local n = 0; for k, v in pairs(list) do n = n + 1 end; return n + 3",
        "local n = 0; for i, v in ipairs(list) do n = n + v end; return n + 1",
        "local a, b, c = table.unpack(list); return a + b + c + 1",
        "return tonumber(table.concat(list)) - 116",
        "return next(names) ~= nil and next({}) == nil and 7 or 0",
        "local copy = table.move(list, 1, 3, 1, {}); copy[1] = 2; return #copy + copy[1] + 2",
        "return bump() + 6",
        "return bump() + bump() + 4",
    };
    for (size_t i = 0; i < MYR_COUNT_OF(allowed); i++) {
        MYR_AUTO(myr_buf) text = {0};
        myr_buf_printf(&text, "%sfunction run(row, p) %s end", before, allowed[i]);
        if (script_value(text.data) != 7) fail_msg("%s", allowed[i]);
    }
}

/* Nothing of a row is there for the next: each script would count rows, or keep a cell, if it could. */
TEST(rows_leave_nothing_behind)
{
    static const char *const keepers[] = {
        "local n = 0\nfunction run() n = n + 1; return n end",
        "local n = 0\nlocal function f() n = n + 1; return n end\nfunction run() return f() end",
        "local f\ndo local n = 0; f = function() n = n + 1; return n end end\nfunction run() return f() end",
        "local kept\nfunction run(row) if kept then return 2 end kept = row; return 1 end",
        "local kept\nfunction run(row, p) if kept then return 2 end kept = p.fields; return 1 end",
        "local next_one = ('abc'):gmatch('.')\n"
        "function run() return ({a = 1, b = 2, c = 3})[next_one()] end",
        "function init() local n = 0; tick = function() n = n + 1; return n end end\nfunction run() return tick() end",
        "local t = {}\nfunction init() t.f = (function() local n = 0; return function() n = n + 1; return n end end)() "
        "end\n"
        "function run() return t.f() end",
        "local t = {}\nfunction run() local old = t; t = {seen = true}; return old.seen and 2 or 1 end",
        "local E = _ENV\nfunction run() local was = mark; _ENV = {mark = 1}; return was and 2 or 1 end\n"
        "function init() mark = false end",
        "local n = 0\nfunction run() pcall(function() n = n + 1; error('x') end); return n end",
        "local s = 'a'\nfunction run() s = s .. s; return #s // 2 end",
    };
    for (size_t i = 0; i < MYR_COUNT_OF(keepers); i++) {
        script_bench b;
        script_bench_init(&b);
        myr_rc rc = script_bench_load(&b, keepers[i], NULL, 1);
        if (rc != MYR_OK) fail_msg("%s: %s", keepers[i], b.err.message);
        for (int row = 0; row < 4; row++) {
            EXPECT_RC(script_bench_run(&b), OK, &b.err);
            if (b.cells[0][0] != 1) fail_msg("row %d of: %s", row, keepers[i]);
        }
        script_bench_fini(&b);
    }
    /* neither after a row that failed in its middle */
    script_bench b;
    script_do(&b, "local n = 0\nfunction run(row) n = n + 1; if row.price > 3 then error('x') end; return n end");
    b.row.row_idx = 1;
    EXPECT_RC(script_bench_run(&b), SCRIPT, &b.err);
    b.row.row_idx = 0;
    EXPECT_RC(script_bench_run(&b), OK, &b.err);
    EXPECT(b.cells[0][0] == 1);
    script_bench_fini(&b);
}

TEST(scripts_that_do_not_load)
{
    script_does_not_load("function run(", MYR_BAD_FORMAT, "rules.lua:1: ");
    script_does_not_load("function run()\n  local x =\nend", MYR_BAD_FORMAT,
                         "rules.lua:3: unexpected symbol near 'end'");
    script_does_not_load("", MYR_BAD_FORMAT, "there is no function run(row, prediction)");
    script_does_not_load("run = 5", MYR_SCRIPT, "'run' is a number, not a function");
    script_does_not_load("init = {}; function run() end", MYR_SCRIPT, "'init' is a table");
    script_does_not_load("\x1bLua", MYR_BAD_FORMAT, "attempt to load a binary chunk");
    script_does_not_load("error('at once')", MYR_SCRIPT, "rules.lua:1: at once");
    script_does_not_load("function init()\n error('in init') end function run() end", MYR_SCRIPT,
                         "rules.lua:2: in init");
    script_does_not_load("function init() refuse('x') end function run() end", MYR_SCRIPT, "refuse() is for run()");
    script_does_not_load("function init() choose_level('global') end function run() end", MYR_SCRIPT, "is for run()");
    script_does_not_load("local t = {}; t[{}] = 1; function run() return t end", MYR_SCRIPT, "has a table as a key");
    script_does_not_load("t = {}; t[function() end] = 1; function run() end", MYR_SCRIPT, "has a function as a key");
    script_does_not_load("x = missing; function run() end", MYR_SCRIPT, "variable 'missing' is not defined");
}

TEST(a_mark_of_byte_order_is_skipped)
{
    EXPECT(script_value("\xEF\xBB\xBF"
                        "function run() return 5 end") == 5);
}

/* ---- files ---- */

TEST(a_file_is_loaded_and_watched)
{
    char dir[TESTING_PATH_BYTES], path[TESTING_PATH_BYTES + 16];
    static const char good[] = "function run() return 1 end", other[] = "function run() return 2 end";
    myr_pack_info info = script_info(1);
    myr_script *script = NULL;
    myr_err err;
    testing_dir(dir);
    snprintf(path, sizeof path, "%s/rules.lua", dir);
    EXPECT_RC(myr_script_load(path, &info, NULL, &script, &err), NOT_FOUND, &err);
    EXPECT_HAS(err.message, "rules.lua");
    EXPECT_RC(myr_file_write(path, good, sizeof good - 1, &err), OK, &err);
    EXPECT_RC(myr_script_load(path, &info, NULL, &script, &err), OK, &err);
    EXPECT(myr_script_is_current(script));
    EXPECT_RC(myr_file_write(path, other, sizeof other - 1, &err), OK, &err);
    EXPECT(!myr_script_is_current(script));
    EXPECT_RC(myr_file_write(path, good, sizeof good - 1, &err), OK, &err);
    EXPECT(myr_script_is_current(script));
    EXPECT_RC(myr_io_unlink(path, &err), OK, &err);
    EXPECT(!myr_script_is_current(script));
    myr_script_free(script);
}

TEST(texts_at_the_limit_and_one_past_it)
{
    MYR_AUTO(myr_buf) text = {0};
    myr_pack_info info = script_info(1);
    myr_script *script = NULL;
    myr_err err;
    myr_buf_puts(&text, "function run() end\n--");
    while (text.size < MYR_SCRIPT_TEXT_BYTES_MAX)
        myr_buf_putc(&text, 'x');
    EXPECT_RC(myr_script_parse("a.lua", myr_str_make(text.data, text.size), &info, NULL, &script, &err), OK, &err);
    myr_script_free(script);
    myr_buf_putc(&text, 'x');
    script = NULL;
    EXPECT_RC(myr_script_parse("a.lua", myr_str_make(text.data, text.size), &info, NULL, &script, &err), TOO_LARGE,
              &err);
    EXPECT_HAS(err.message, "at most 262144");
    EXPECT(script == NULL);
}

/* ---- memory of ours ---- */

TEST(each_failed_allocation)
{
    static const char text[] = "local t = {1, 2, {3}}\nfunction init() u = {t, 'x'} end\n"
                               "function run(row, p) p.fields.s = ('x'):rep(100) .. row.brand; return t[1] + #u end";
    FAIL_EACH_ALLOC (nth) {
        script_bench b;
        TESTING_NO_FAULTS();
        script_bench_init(&b);
        myr_mem_fail_at(nth);
        myr_rc rc = script_bench_load(&b, text, NULL, 1);
        if (rc == MYR_OK) rc = script_bench_run(&b);
        TESTING_NO_FAULTS();
        EXPECT(rc == MYR_OK || rc == MYR_NO_MEMORY || rc == MYR_SCRIPT || rc == MYR_TOO_LARGE || rc == MYR_BAD_FORMAT);
        if (b.state != NULL) { /* the next row does not know of it */
            EXPECT_RC(script_bench_run(&b), OK, &b.err);
            EXPECT(b.cells[0][0] == 3);
        }
        script_bench_fini(&b);
    }
}

TEST(a_warm_row_needs_no_heap)
{
    script_bench b;
    script_do(&b, "local floor = {red = 12}\n"
                  "function run(row, p) p.fields.band = 'low'; p.value = math.max(p.value, floor[row.kind] or 0) end");
    for (int i = 0; i < 10; i++)
        EXPECT_RC(script_bench_run(&b), OK, &b.err);
    int64_t before = myr_mem_alloc_count();
    size_t bytes = myr_script_state_bytes(b.state);
    for (int i = 0; i < 1000; i++) {
        myr_arena_reset(b.arena);
        EXPECT_RC(script_bench_run(&b), OK, &b.err);
    }
    EXPECT_INT(myr_mem_alloc_count() - before, 0);
    EXPECT_INT(myr_script_state_bytes(b.state), bytes);
    script_bench_fini(&b);
}

TEST(rows_with_garbage_do_not_grow_the_heap)
{
    script_bench b;
    script_do(&b, "function run(row, p) local t = {}; for i = 1, 100 do t[i] = row.brand .. i end; return #t end");
    size_t most = 0;
    for (int i = 0; i < 2000; i++) {
        EXPECT_RC(script_bench_run(&b), OK, &b.err);
        if (i == 200) most = 2 * myr_script_state_bytes(b.state) + 65536;
        if (i > 200) EXPECT(myr_script_state_bytes(b.state) < most);
    }
    script_bench_fini(&b);
}

RUN()
