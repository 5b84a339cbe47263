/* docs/rules.md: its examples are the files of examples/rules, they do what it says, and its list of functions is ours.
 */
#include <math.h>

#include "script_fixture.h"

#define DOCS_ROOT MYR_TEST_DATA "/../.."

/* Run one of the examples on the row `store`, `brand` whose prediction is `value`. */
static void docs_run(script_bench *b, const char *file, int64_t store, int64_t brand, double value)
{
    static int64_t cells[2];
    char path[MYR_PATH_BYTES_MAX];
    myr_pack_info info = script_info(1);
    info.keys.columns[1].type = MYR_KEY_INT64;
    script_bench_init(b);
    cells[0] = store;
    cells[1] = brand;
    b->keys[0] = (myr_col){"store", MYR_COL_INT64, NULL, {.i64 = &cells[0]}};
    b->keys[1] = (myr_col){"brand", MYR_COL_INT64, NULL, {.i64 = &cells[1]}};
    b->cells[0][0] = value;
    snprintf(path, sizeof path, DOCS_ROOT "/examples/rules/%s", file);
    EXPECT_RC(myr_script_load(path, &info, NULL, &b->script, &b->err), OK, &b->err);
    EXPECT_RC(myr_script_acquire(b->script, &b->state, &b->err), OK, &b->err);
    EXPECT_RC(script_bench_run(b), OK, &b->err);
}

TEST(clamp_clamps)
{
    static const struct {
        double given, wanted;
    } cases[] = {{5, 6}, {6, 6}, {9.5, 9.5}, {14, 14}, {15, 14}};
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        script_bench b;
        docs_run(&b, "clamp.lua", 2, 1, cases[i].given);
        EXPECT(b.cells[0][0] == cases[i].wanted);
        EXPECT_STR(b.answer.fields[0].name, "clamped");
        EXPECT(b.answer.fields[0].number == (cases[i].given != cases[i].wanted));
        script_bench_fini(&b);
    }
}

TEST(refuse_refuses)
{
    script_bench b;
    docs_run(&b, "refuse.lua", 5, 9, 10);
    EXPECT_INT(b.answer.verdict, MYR_SCRIPT_REFUSED);
    EXPECT_STR(b.answer.status, "not_sold");
    EXPECT_STR(b.answer.reason, "store 5 does not sell brand 9");
    script_bench_fini(&b);
    docs_run(&b, "refuse.lua", 5, 8, 10);
    EXPECT_INT(b.answer.verdict, MYR_SCRIPT_KEPT);
    script_bench_fini(&b);
    docs_run(&b, "refuse.lua", 6, 9, 10);
    EXPECT_INT(b.answer.verdict, MYR_SCRIPT_KEPT);
    script_bench_fini(&b);
}

TEST(fallback_falls_back)
{
    script_bench b;
    docs_run(&b, "fallback.lua", 2, 1, 3);
    EXPECT_INT(b.answer.verdict, MYR_SCRIPT_CHOSE_LEVEL);
    EXPECT_INT(b.answer.level, MYR_LEVEL_PARENT);
    b.row.level = MYR_LEVEL_PARENT;
    EXPECT_RC(script_bench_run(&b), OK, &b.err);
    EXPECT_INT(b.answer.verdict, MYR_SCRIPT_KEPT);
    EXPECT(b.answer.fields[0].number == 20);
    script_bench_fini(&b);
}

TEST(the_examples_of_the_page_are_those_files)
{
    static const char *const files[] = {"clamp.lua", "fallback.lua", "refuse.lua"};
    char *page, *text;
    size_t size, blocks = 0;
    myr_err err;
    EXPECT_RC(myr_file_read(DOCS_ROOT "/docs/rules.md", 1 << 20, &page, &size, &err), OK, &err);
    for (const char *at = page; (at = strstr(at, "```lua\n")) != NULL; at++)
        blocks++;
    EXPECT_INT(blocks, MYR_COUNT_OF(files));
    for (size_t i = 0; i < MYR_COUNT_OF(files); i++) {
        char path[MYR_PATH_BYTES_MAX];
        MYR_AUTO(myr_buf) block = {0};
        snprintf(path, sizeof path, DOCS_ROOT "/examples/rules/%s", files[i]);
        EXPECT_RC(myr_file_read(path, 1 << 20, &text, &size, &err), OK, &err);
        myr_buf_printf(&block, "```lua\n%s```\n", text);
        if (strstr(page, block.data) == NULL) fail_msg("docs/rules.md does not have %s", files[i]);
        myr_free(text);
    }
    myr_free(page);
}

TEST(the_page_names_each_function)
{
    char *page;
    size_t size;
    myr_err err;
    EXPECT_RC(myr_file_read(DOCS_ROOT "/docs/rules.md", 1 << 20, &page, &size, &err), OK, &err);
    const char *list = strstr(page, "\n## What scripts can reach\n");
    EXPECT(list != NULL);
    const myr_script_function *f;
    for (size_t i = 0; (f = myr_script_function_at(i)) != NULL; i++) {
        char quoted[64];
        const char *dot = strchr(f->name, '.');
        snprintf(quoted, sizeof quoted, "`%s`", dot != NULL ? dot + 1 : f->name);
        if (strstr(list, quoted) == NULL) fail_msg("docs/rules.md does not name %s", f->name);
    }
    myr_free(page);
}

RUN()
