/* Import options as the registry keeps them: to text and back, and what is no such text. */
#include "testing.h"

#include "fleet/import.h"

static void expect_text(const myr_fleet_item *item, const char *text)
{
    MYR_AUTO(myr_buf) out = {0};
    myr_err err = {0};
    EXPECT_RC(myr_fleet_options_format(item, &out, &err), OK, &err);
    EXPECT_STR(out.size > 0 ? out.data : "", text);
}

TEST(options_to_text_and_back)
{
    static const char *const names[] = {"a=b", "c"};
    const myr_fleet_item item = {
        .first_iteration = 3, .iterations = UINT32_MAX, .category_features = names, .category_feature_count = 2};
    const myr_fleet_item best = {.best_iteration = true};
    const myr_fleet_item none = {0};
    const char text[] = "first_iteration=3\niterations=4294967295\ncategory=a=b\ncategory=c";
    expect_text(&item, text);
    expect_text(&best, "best_iteration=1");
    expect_text(&none, "");
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_import_opts opts = {0};
    myr_err err = {0};
    EXPECT_RC(myr_fleet_options_parse(text, arena, &opts, &err), OK, &err);
    EXPECT(opts.first_iteration == 3 && opts.iterations == UINT32_MAX && !opts.best_iteration);
    EXPECT_INT(opts.category_feature_count, 2);
    EXPECT_STR(opts.category_features[0], "a=b");
    EXPECT_STR(opts.category_features[1], "c");
    opts = (myr_import_opts){0};
    EXPECT_RC(myr_fleet_options_parse("best_iteration=1", arena, &opts, &err), OK, &err);
    EXPECT(opts.best_iteration && opts.iterations == 0 && opts.category_feature_count == 0);
    opts = (myr_import_opts){0};
    EXPECT_RC(myr_fleet_options_parse("", arena, &opts, &err), OK, &err);
    EXPECT(!opts.best_iteration && opts.category_feature_count == 0);
}

TEST(options_that_are_none_are_named)
{
    static const struct {
        const char *text;
        myr_rc rc;
        const char *part;
    } cases[] = {{"iterations", MYR_BAD_FORMAT, "\"iterations\" has no value"},
                 {"iterations=x", MYR_BAD_FORMAT, "\"iterations=x\" is not a number"},
                 {"iterations=4294967296", MYR_BAD_FORMAT, "is not a number"},
                 {"colour=1", MYR_UNSUPPORTED, "\"colour\" is not known"}};
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    for (size_t k = 0; k < MYR_COUNT_OF(cases); k++) {
        myr_import_opts opts = {0};
        myr_err err = {0};
        EXPECT_INT(myr_fleet_options_parse(cases[k].text, arena, &opts, &err), cases[k].rc);
        EXPECT_HAS(err.message, cases[k].part);
    }
    static const char *const bad[] = {"a\nb"};
    const myr_fleet_item item = {.category_features = bad, .category_feature_count = 1};
    MYR_AUTO(myr_buf) out = {0};
    myr_err err = {0};
    EXPECT_RC(myr_fleet_options_format(&item, &out, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "has a line end");
}

RUN()
