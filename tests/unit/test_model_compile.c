/* What compile refuses, its limits at the limit and one past it, and that equal descriptions give equal bytes. */
#include "model_fixture.h"

/* Compile must fail with `rc` and a message that has `part`; the outputs stay untouched. */
static void expect_refused(const myr_model_desc *desc, const uint32_t *map, uint32_t columns, myr_rc rc,
                           const char *part)
{
    unsigned char *bytes = (unsigned char *)1;
    size_t size = 77;
    myr_err err = {0};
    EXPECT_INT(myr_model_compile(desc, map, columns, NULL, &bytes, &size, &err), rc);
    EXPECT_HAS(err.message, part);
    EXPECT(bytes == (unsigned char *)1 && size == 77);
}

#define REFUSED(change, code, part)                                                                                    \
    do {                                                                                                               \
        fixture f;                                                                                                     \
        fixture_init(&f);                                                                                              \
        change;                                                                                                        \
        expect_refused(&f.desc, NULL, FIXTURE_COLUMNS, MYR_##code, part);                                              \
    } while (0)

TEST(compile_refuses_a_broken_shape)
{
    REFUSED(f.first[0].left = 3, BAD_INPUT, "tree 0, split 0: child 3, but there are 3 splits");
    REFUSED(f.first[0].left = INT32_MAX, BAD_INPUT, "child 2147483647");
    REFUSED(f.first[0].left = ~4, BAD_INPUT, "leaf 4, but there are 4 leaves");
    REFUSED(f.first[0].left = INT32_MIN, BAD_INPUT, "leaf 2147483647");
    REFUSED(f.first[1].left = 0, BAD_INPUT, "split 0 has a second parent");
    REFUSED(f.first[1].left = 1, BAD_INPUT, "split 1 has a second parent");
    REFUSED(f.first[0].right = 1, BAD_INPUT, "split 1 has a second parent");
    REFUSED(f.first[1].left = ~3, BAD_INPUT, "leaf 3 has a second parent");
    REFUSED((f.first[0].left = ~0, f.first[0].right = ~3, f.first[1].left = 2, f.first[2].left = 1), BAD_INPUT,
            "split 1 has no parent");
    REFUSED((f.first[0].right = ~1, f.first[2].right = 2), BAD_INPUT, "split 2 has no parent");
}

TEST(compile_refuses_broken_splits_and_leaves)
{
    REFUSED(f.first[0].feature = 4, BAD_INPUT, "tree 0, split 0: feature 4 of 4");
    REFUSED(f.first[2].threshold = NAN, BAD_INPUT, "split 2: the threshold is not a number");
    REFUSED(f.first[2].missing = 3, BAD_INPUT, "split 2: missing type 3");
    REFUSED(f.first[2].category_count = 1, BAD_INPUT, "a numeric split with 1 category words");
    REFUSED(f.first_leaves[3] = NAN, BAD_INPUT, "tree 0, leaf 3: value nan");
    REFUSED(f.trees[0].leaf_count = 3, BAD_INPUT, "tree 0 has 3 splits and 3 leaves");
    REFUSED(f.trees[1].output = 2, BAD_INPUT, "tree 1 adds to output 2 of 2");
    REFUSED(f.second[1].category_first = 3, BAD_INPUT, "tree 1, split 1: category words 3 to 4 of 3");
    REFUSED(f.second[1].category_first = UINT32_MAX, BAD_INPUT,
            "tree 1, split 1: category words 4294967295 to 4294967296 of 3");
    REFUSED((f.second[1].category_first = 0, f.second[1].category_count = 2), BAD_INPUT, "sets overlap");
    REFUSED(f.second[1].missing = MYR_MISSING_ZERO, BAD_INPUT, "zero cannot be the missing value of a category");
}

TEST(compile_refuses_a_broken_head)
{
    REFUSED(f.desc.kind = 2, BAD_INPUT, "kind 2");
    REFUSED(f.desc.calc = 2, BAD_INPUT, "calc 2");
    REFUSED(f.desc.transform = MYR_TRANSFORM_COUNT_, BAD_INPUT, "is not known");
    REFUSED(f.desc.transform = MYR_TRANSFORM_SIGMOID, BAD_INPUT, "parameter 0");
    REFUSED((f.desc.transform = MYR_TRANSFORM_SIGMOID, f.desc.transform_param = NAN), BAD_INPUT, "parameter nan");
    REFUSED(f.desc.margin_count = 0, BAD_INPUT, "no output");
    REFUSED(f.desc.average = true, BAD_INPUT, "the average is over 0 rounds");
    REFUSED(f.bases[1] = NAN, BAD_INPUT, "base margin 1 is nan");
    REFUSED(f.desc.feature_count = 5, BAD_INPUT, "feature 4 is column 4 of 4");
}

TEST(compile_wants_floats_in_float_models)
{
    REFUSED((f.desc.calc = MYR_CALC_F32, f.first[1].threshold = 0.1), BAD_INPUT,
            "split 1: threshold 0.10000000000000001 is not a float");
    REFUSED((f.desc.calc = MYR_CALC_F32, f.first_leaves[1] = 1e300), BAD_INPUT,
            "tree 0, leaf 1: value 1.0000000000000001e+300");
    REFUSED((f.desc.calc = MYR_CALC_F32, f.bases[0] = 0.1), BAD_INPUT, "base margin 0");
    fixture f;
    fixture_init(&f);
    f.desc.calc = MYR_CALC_F32;
    f.first[1].threshold = INFINITY;
    MYR_AUTO(compiled) c = fixture_compile(&f.desc, NULL, FIXTURE_COLUMNS);
    EXPECT(c.size > 0);
}

TEST(compile_refuses_a_broken_map)
{
    fixture f;
    fixture_init(&f);
    uint32_t map[FIXTURE_COLUMNS] = {0, 1, 2, 9};
    expect_refused(&f.desc, map, 9, MYR_BAD_INPUT, "feature 3 is column 9 of 9");
    MYR_AUTO(compiled) c = fixture_compile(&f.desc, map, 10);
    myr_model_info info;
    myr_model_get_info(c.model, &info);
    EXPECT_INT(info.column_count, 10);
}

TEST(compile_refuses_broken_linear_models)
{
    double weights[2] = {1.0, 2.0};
    double fills[2] = {NAN, 0.0};
    myr_model_desc good = {
        .kind = MYR_MODEL_LINEAR, .feature_count = 2, .margin_count = 1, .weights = weights, .fills = fills};
    MYR_AUTO(compiled) c = fixture_compile(&good, NULL, 2);
    myr_model_info info;
    myr_model_get_info(c.model, &info);
    EXPECT(info.kind == MYR_MODEL_LINEAR && info.leaf_count == 0 && info.size_bytes == c.size);
    myr_model_desc bad = good;
    bad.average = true;
    bad.average_over = 2;
    expect_refused(&bad, NULL, 2, MYR_BAD_INPUT, "a linear model has no average");
    bad = good;
    bad.calc = MYR_CALC_F32;
    expect_refused(&bad, NULL, 2, MYR_BAD_INPUT, "a linear model in float leaves missing values out");
    bad.fills = NULL;
    weights[1] = 0.1;
    expect_refused(&bad, NULL, 2, MYR_BAD_INPUT, "weight 1 is 0.1");
    weights[1] = 2.0;
    weights[1] = INFINITY;
    expect_refused(&good, NULL, 2, MYR_BAD_INPUT, "weight 1 is inf");
    weights[1] = 1.0;
    fills[1] = INFINITY;
    expect_refused(&good, NULL, 2, MYR_BAD_INPUT, "fill 1 is inf");
}

TEST(compile_keeps_limits_of_features_and_outputs)
{
    myr_split split = {.feature = MYR_FEATURES_MAX - 1, .left = ~0, .right = ~1};
    double leaves[2] = {1.0, 2.0};
    myr_tree tree = {
        .splits = &split, .split_count = 1, .leaves = leaves, .leaf_count = 2, .output = MYR_OUTPUTS_MAX - 1};
    myr_model_desc desc = {
        .feature_count = MYR_FEATURES_MAX, .margin_count = MYR_OUTPUTS_MAX, .trees = &tree, .tree_count = 1};
    MYR_AUTO(compiled) c = fixture_compile(&desc, NULL, MYR_FEATURES_MAX);
    MYR_AUTO(myr_mem) row = myr_calloc(MYR_FEATURES_MAX, sizeof(double));
    MYR_AUTO(myr_mem) out = myr_calloc(MYR_OUTPUTS_MAX, sizeof(double));
    ((double *)row)[MYR_FEATURES_MAX - 1] = 1.0;
    myr_model_predict(c.model, row, MYR_FEATURES_MAX, 1, out);
    assert_same_bits(((double *)out)[MYR_OUTPUTS_MAX - 1], 2.0);
    expect_refused(&desc, NULL, MYR_FEATURES_MAX + 1, MYR_TOO_LARGE, "at most 65535");
    desc.margin_count = MYR_OUTPUTS_MAX + 1;
    expect_refused(&desc, NULL, MYR_FEATURES_MAX, MYR_TOO_LARGE, "1025 outputs, at most 1024");
    desc.margin_count = MYR_OUTPUTS_MAX;
    desc.feature_count = MYR_FEATURES_MAX + 1;
    expect_refused(&desc, NULL, MYR_FEATURES_MAX, MYR_TOO_LARGE, "65536 features");
}

TEST(compile_keeps_the_limit_of_trees)
{
    double leaf = 0.5;
    MYR_AUTO(myr_mem) block = myr_calloc(MYR_TREES_MAX, sizeof(myr_tree));
    myr_tree *trees = block;
    for (int t = 0; t < MYR_TREES_MAX; t++) {
        trees[t] = (myr_tree){.leaves = &leaf, .leaf_count = 1};
    }
    myr_model_desc desc = {.margin_count = 1, .trees = trees, .tree_count = MYR_TREES_MAX};
    MYR_AUTO(compiled) c = fixture_compile(&desc, NULL, 0);
    double got[9];
    myr_model_predict(c.model, got, 0, 9, got);
    assert_same_bits(got[8], 0.5 * MYR_TREES_MAX);
    desc.tree_count++;
    expect_refused(&desc, NULL, 0, MYR_TOO_LARGE, "1000001 trees, at most 1000000");
}

TEST(compile_keeps_the_limits_of_a_tree)
{
    double leaf = 0.5;
    myr_tree tree = {.split_count = MYR_TREE_LEAVES_MAX, .leaves = &leaf, .leaf_count = MYR_TREE_LEAVES_MAX + 1};
    myr_model_desc desc = {.margin_count = 1, .trees = &tree, .tree_count = 1};
    expect_refused(&desc, NULL, 0, MYR_TOO_LARGE, "tree 0 has 16777216 splits, at most 16777215");
}

TEST(compile_keeps_the_limit_of_categories)
{
    uint32_t words = MYR_CATEGORY_MAX / 32 + 1;
    MYR_AUTO(myr_mem) block = myr_calloc(words, sizeof(uint32_t));
    ((uint32_t *)block)[words - 2] = 1u << 31;
    myr_split split = {
        .left = ~0, .right = ~1, .is_category = 1, .category_count = words - 1, .missing = MYR_MISSING_NAN};
    double leaves[2] = {1.0, 2.0};
    myr_tree tree = {.splits = &split,
                     .split_count = 1,
                     .leaves = leaves,
                     .leaf_count = 2,
                     .category_words = block,
                     .category_word_count = words};
    myr_model_desc desc = {.feature_count = 1, .margin_count = 1, .trees = &tree, .tree_count = 1};
    MYR_AUTO(compiled) c = fixture_compile(&desc, NULL, 1);
    double rows[2] = {MYR_CATEGORY_MAX - 1, MYR_CATEGORY_MAX};
    double got[2];
    myr_model_predict(c.model, rows, 1, 2, got);
    assert_same_bits(got[0], 1.0);
    assert_same_bits(got[1], 2.0);
    split.category_count = words;
    expect_refused(&desc, NULL, 1, MYR_TOO_LARGE, "524289 words of categories, at most 524288");
}

/* A chain as deep as it is long: level order needs no recursion. */
TEST(compile_takes_deep_trees)
{
    uint32_t count = 100000;
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    myr_tree tree = {.splits = myr_arena_calloc(arena, count, sizeof(myr_split)),
                     .split_count = count,
                     .leaves = myr_arena_calloc(arena, count + 1, sizeof(double)),
                     .leaf_count = count + 1};
    for (uint32_t s = 0; s < count; s++) {
        tree.splits[s] =
            (myr_split){.left = ~(int32_t)s, .right = s + 1 < count ? (int32_t)s + 1 : ~(int32_t)count, .threshold = s};
        tree.leaves[s] = s;
    }
    tree.leaves[count] = -1.0;
    myr_model_desc desc = {.feature_count = 1, .margin_count = 1, .trees = &tree, .tree_count = 1};
    MYR_AUTO(compiled) c = fixture_compile(&desc, NULL, 1);
    double rows[10] = {-5, 0, 0.5, 99998.5, 99999, 99999.5, 1e9, 7, 8, 9};
    double want[10] = {0, 0, 1, 99999, 99999, -1, -1, 7, 8, 9};
    double got[10];
    myr_model_predict(c.model, rows, 1, 10, got);
    for (int k = 0; k < 10; k++) {
        assert_same_bits(got[k], want[k]);
    }
}

TEST(compile_is_deterministic_and_canonical)
{
    fixture f;
    fixture g;
    fixture_init(&f);
    fixture_init(&g);
    /* the same tree with its splits and leaves numbered differently, and noise where nothing is read */
    g.first[1] = f.first[2];
    g.first[2] = f.first[1];
    g.first[0].left = 2;
    g.first[0].right = 1;
    g.first[1].left = ~3;
    g.first[2].right = ~2;
    g.first_leaves[3] = f.first_leaves[2];
    g.first_leaves[2] = f.first_leaves[3];
    g.desc.transform_param = 9.0;
    g.desc.average_over = 4;
    MYR_AUTO(compiled) a = fixture_compile(&f.desc, NULL, FIXTURE_COLUMNS);
    MYR_AUTO(compiled) b = fixture_compile(&g.desc, NULL, FIXTURE_COLUMNS);
    EXPECT_INT(a.size, b.size);
    EXPECT(memcmp(a.bytes, b.bytes, a.size) == 0);
    EXPECT_INT(a.size % MYR_MODEL_ALIGN, 0);
    myr_model_info info;
    myr_model_get_info(a.model, &info);
    EXPECT_INT(info.tree_count, 3);
    EXPECT_INT(info.leaf_count, 8);
    EXPECT_INT(info.size_bytes, a.size);
}

TEST(compile_survives_each_failed_allocation)
{
    fixture f;
    fixture_init(&f);
    FAIL_EACH_ALLOC (nth) {
        unsigned char *bytes = NULL;
        size_t size = 0;
        myr_rc rc = myr_model_compile(&f.desc, NULL, FIXTURE_COLUMNS, NULL, &bytes, &size, NULL);
        EXPECT(rc == MYR_OK ? bytes != NULL : rc == MYR_NO_MEMORY && bytes == NULL);
        myr_free(bytes);
        if (rc == MYR_OK) break;
    }
}

RUN()
