/* Predictions against hand-computed values and against a plain walk of the description, for any number of rows. */
#include "model_fixture.h"

TEST(predict_follows_each_rule_of_a_split)
{
    fixture f;
    fixture_init(&f);
    MYR_AUTO(compiled) c = fixture_compile(&f.desc, NULL, FIXTURE_COLUMNS);
    static const struct {
        double row[FIXTURE_COLUMNS];
        double margins[2];
    } cases[] = {
        {{0.5, -1.5, 9, 0}, {101.0625, -100.125}}, /* equal goes left */
        {{0.5, -1.4, 9, 0}, {104.0625, -100.125}},
        {{NAN, NAN, 9, 5.9}, {101.0625, -100.125}}, /* NONE: a NaN is 0; NAN: the default is left; 5.9 is 5 */
        {{0.6, 0, 2.0, 63}, {103.0625, -100.125}},
        {{0.6, 0, 2.1, -0.9}, {102.0625, -100.125}},          /* -0.9 is category 0 */
        {{0.6, 0, NAN, 6}, {102.0625, -92.0}},                /* ZERO: a NaN goes right … */
        {{0.6, 0, -1e-36, 7}, {102.0625, -99.75}},            /* … and so does what is nearly 0 */
        {{0.6, 0, -1e-34, NAN}, {103.0625, -99.75}},          /* sets: NaN right (NAN), then category 0 (NONE) */
        {{INFINITY, 0, -INFINITY, -1}, {103.0625, -92.0}},    /* negative: not in the set */
        {{-INFINITY, INFINITY, 0, 1e300}, {104.0625, -92.0}}, /* beyond any set */
        {{0, 0, 0, 4294967296.0}, {104.0625, -92.0}},         /* no wrap to category 0 */
    };
    for (size_t k = 0; k < sizeof cases / sizeof *cases; k++) {
        double got[2];
        myr_model_margins(c.model, cases[k].row, FIXTURE_COLUMNS, 1, got);
        assert_same_bits(got[0], cases[k].margins[0]);
        assert_same_bits(got[1], cases[k].margins[1]);
    }
}

TEST(predict_in_float_rounds_rows_and_sums)
{
    myr_split split = {.feature = 0, .left = ~0, .right = ~1, .threshold = 1.0, .missing = MYR_MISSING_NAN};
    double leaves[2] = {1.0, 2.0};
    double big[1] = {16777216.0};
    myr_tree trees[3] = {
        {.leaves = big, .leaf_count = 1},
        {.splits = &split, .split_count = 1, .leaves = leaves, .leaf_count = 2},
        {.splits = &split, .split_count = 1, .leaves = leaves, .leaf_count = 2},
    };
    myr_model_desc desc = {
        .calc = MYR_CALC_F32, .feature_count = 1, .margin_count = 1, .trees = trees, .tree_count = 3};
    MYR_AUTO(compiled) c = fixture_compile(&desc, NULL, 1);
    double rows[4] = {1.0 + 1e-12, 1.0000002, 1e300, NAN}; /* the first is 1.0f; 1e300 is inf */
    double got[4];
    myr_model_margins(c.model, rows, 1, 4, got);
    assert_same_bits(got[0], 16777216.0); /* 2^24 + 1 is 2^24 in float, twice */
    assert_same_bits(got[1], 16777220.0);
    assert_same_bits(got[2], 16777220.0);
    assert_same_bits(got[3], 16777220.0);
}

TEST(predict_in_float_takes_categories_as_xgboost)
{
    uint32_t words[1] = {1u};
    myr_split split = {
        .left = ~0, .right = ~1, .category_count = 1, .is_category = 1, .missing = MYR_MISSING_NAN, .default_left = 1};
    double leaves[2] = {1.0, 2.0};
    myr_tree tree = {.splits = &split,
                     .split_count = 1,
                     .leaves = leaves,
                     .leaf_count = 2,
                     .category_words = words,
                     .category_word_count = 1};
    myr_model_desc desc = {
        .calc = MYR_CALC_F32, .feature_count = 1, .margin_count = 1, .trees = &tree, .tree_count = 1};
    MYR_AUTO(compiled) c = fixture_compile(&desc, NULL, 1);
    double rows[7] = {0.0, -0.0, 0.9, -0.5, 1.0, 16777216.0, NAN};
    double want[7] = {1, 1, 1, 2, 2, 2, 1};
    double got[7];
    myr_model_margins(c.model, rows, 1, 7, got);
    for (int k = 0; k < 7; k++) {
        assert_same_bits(got[k], want[k]);
    }
}

static void compare_with_plain_walk(dice *d, myr_calc calc)
{
    MYR_AUTO(random_model) m = random_model_make(d, calc);
    uint32_t map[8];
    uint32_t columns = m.desc.feature_count + 3;
    for (uint32_t j = 0; j < m.desc.feature_count; j++) {
        map[j] = columns - 1 - j;
    }
    MYR_AUTO(compiled) c = fixture_compile(&m.desc, map, columns);
    uint32_t row_count = dice_roll(d, 300);
    size_t stride = columns + dice_roll(d, 2);
    MYR_AUTO(myr_mem) rows_block = myr_alloc((row_count * stride + 1) * sizeof(double));
    MYR_AUTO(myr_mem) got_block = myr_alloc((row_count + 1) * m.desc.margin_count * sizeof(double));
    double *rows = rows_block;
    double *got = got_block;
    for (size_t k = 0; k < row_count * stride; k++) {
        rows[k] = dice_value(d);
    }
    got[row_count * m.desc.margin_count] = 42.0;
    myr_model_margins(c.model, rows, stride, row_count, got);
    for (uint32_t i = 0; i < row_count; i++) {
        double row[8];
        double want[4];
        double one[4];
        for (uint32_t j = 0; j < m.desc.feature_count; j++) {
            row[j] = rows[i * stride + map[j]];
        }
        plain_margins(&m.desc, row, want);
        myr_model_margins(c.model, rows + i * stride, stride, 1, one);
        for (uint32_t k = 0; k < m.desc.margin_count; k++) {
            assert_same_bits(got[i * m.desc.margin_count + k], want[k]);
            assert_same_bits(one[k], want[k]);
        }
    }
    assert_same_bits(got[row_count * m.desc.margin_count], 42.0); /* nothing written behind the end */
}

TEST(predict_equals_a_plain_walk_on_random_models)
{
    dice d = {88172645463325252ull};
    for (int k = 0; k < 300; k++) {
        compare_with_plain_walk(&d, k % 2 == 0 ? MYR_CALC_F64 : MYR_CALC_F32);
    }
}

/* One leaf per margin, so that the margins are what the test says. */
static compiled constant_model(myr_calc calc, myr_transform transform, double param, const double *margins,
                               uint32_t count)
{
    myr_model_desc desc = {
        .calc = calc, .transform = transform, .transform_param = param, .margin_count = count, .base_margins = margins};
    return fixture_compile(&desc, NULL, 0);
}

static double transformed(myr_calc calc, myr_transform transform, double param, double margin)
{
    MYR_AUTO(compiled) c = constant_model(calc, transform, param, &margin, 1);
    double value;
    myr_model_predict(c.model, &margin, 0, 1, &value);
    return value;
}

TEST(predict_transforms_by_the_formula)
{
    assert_same_bits(transformed(MYR_CALC_F64, MYR_TRANSFORM_IDENTITY, 0, -0.0), -0.0);
    assert_same_bits(transformed(MYR_CALC_F64, MYR_TRANSFORM_SIGMOID, 0.7, 1.3), 1.0 / (1.0 + exp(-0.7 * 1.3)));
    assert_same_bits(transformed(MYR_CALC_F64, MYR_TRANSFORM_SIGMOID_EACH, 2.0, -800), 0.0);
    assert_same_bits(transformed(MYR_CALC_F64, MYR_TRANSFORM_EXP, 0, 1.5), exp(1.5));
    assert_same_bits(transformed(MYR_CALC_F64, MYR_TRANSFORM_SIGNED_SQUARE, 0, -3.0), -9.0);
    assert_same_bits(transformed(MYR_CALC_F64, MYR_TRANSFORM_LOG1P_EXP, 0, 0.3), log1p(exp(0.3)));
    assert_same_bits(transformed(MYR_CALC_F64, MYR_TRANSFORM_STEP, 0, 0.0), 0.0);
    assert_same_bits(transformed(MYR_CALC_F64, MYR_TRANSFORM_STEP, 0, 5e-324), 1.0);
    assert_same_bits(transformed(MYR_CALC_F32, MYR_TRANSFORM_SIGMOID, 0, 0.5), (double)(1.0f / (1.0f + expf(-0.5f))));
    assert_same_bits(transformed(MYR_CALC_F32, MYR_TRANSFORM_SIGMOID, 0, -200.0),
                     (double)(1.0f / (expf(88.7f) + 1.0f)));
    assert_same_bits(transformed(MYR_CALC_F32, MYR_TRANSFORM_EXP, 0, 1.5), (double)expf(1.5f));
}

TEST(predict_softmax_and_hard_max)
{
    double margins[3] = {0.5, 2.0, 2.0};
    double got[3];
    MYR_AUTO(compiled) soft = constant_model(MYR_CALC_F64, MYR_TRANSFORM_SOFTMAX, 0, margins, 3);
    myr_model_predict(soft.model, margins, 0, 1, got);
    double e[3] = {exp(0.5 - 2.0), exp(0.0), exp(0.0)};
    double sum = e[0] + e[1] + e[2];
    for (int k = 0; k < 3; k++) {
        assert_same_bits(got[k], e[k] / sum);
    }
    MYR_AUTO(compiled) hard = constant_model(MYR_CALC_F32, MYR_TRANSFORM_HARD_MAX, 0, margins, 3);
    myr_model_info info;
    myr_model_get_info(hard.model, &info);
    EXPECT_INT(info.output_count, 1);
    EXPECT_INT(info.margin_count, 3);
    double classes[600];
    myr_model_predict(hard.model, margins, 0, 599, classes);
    for (int k = 0; k < 599; k++) {
        assert_same_bits(classes[k], 1.0); /* the first of equals */
    }
}

TEST(predict_linear_sums_in_order)
{
    double weights[3] = {1e16, 1.0, -1e16};
    double fills[3] = {NAN, 2.0, NAN};
    double base = 0.25;
    uint32_t map[3] = {2, 0, 1};
    myr_model_desc desc = {.kind = MYR_MODEL_LINEAR,
                           .feature_count = 3,
                           .margin_count = 1,
                           .base_margins = &base,
                           .weights = weights,
                           .fills = fills};
    MYR_AUTO(compiled) c = fixture_compile(&desc, map, 3);
    double rows[2][3] = {{NAN, 1.0, 1.0}, {1.0, NAN, 1.0}};
    double got[2];
    myr_model_predict(c.model, rows[0], 3, 2, got);
    assert_same_bits(got[0], ((0.25 + 1e16) + 2.0) - 1e16);
    EXPECT(isnan(got[1])); /* no fill: a NaN stays one */
}

/* A mapping may turn to zeros, page by page, after the check: every walk must still end inside the bytes. */
TEST(predict_survives_zeroed_parts)
{
    fixture f;
    fixture_init(&f);
    MYR_AUTO(compiled) c = fixture_compile(&f.desc, NULL, FIXTURE_COLUMNS);
    MYR_AUTO(compiled) copy = {.bytes = myr_alloc_aligned(MYR_MODEL_ALIGN, c.size), .size = c.size};
    double rows[16][FIXTURE_COLUMNS] = {{0}};
    double got[32];
    for (size_t from = 0; from <= c.size; from += 4) {
        for (size_t to = from; to <= c.size; to += 64) {
            memcpy(copy.bytes, c.bytes, c.size);
            memset(copy.bytes + from, 0, to - from);
            myr_model_predict(myr_model_checked_before(copy.bytes), rows[0], FIXTURE_COLUMNS, 16, got);
        }
    }
    memset(copy.bytes, 0, c.size);
    myr_model_info info;
    myr_model_get_info(myr_model_checked_before(copy.bytes), &info);
    EXPECT_INT(info.tree_count, 0);
}

RUN()
