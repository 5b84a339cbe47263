/*
 * Outputs beside the value: contributions against the definition itself (every subset of columns, conditional
 * expectations by Algorithm 1 of the TreeSHAP paper), leaf numbers against a plain walk, what a model can't give and
 * why, and hostile sections: cut, changed, zeroed.
 */
#include "model/explain.h"
#include "model_fixture.h"

#define CHECK_ROWS 6

/* ---- covers, and SHAP values as they are defined ---- */

static void add_covers(dice *d, random_model *m)
{
    myr_tree *trees = (myr_tree *)(uintptr_t)m->desc.trees;
    for (uint32_t t = 0; t < m->desc.tree_count; t++) {
        myr_tree *tree = &trees[t];
        double *leaves = myr_arena_calloc(m->arena, tree->leaf_count, sizeof *leaves);
        double *splits = myr_arena_calloc(m->arena, tree->split_count + 1, sizeof *splits);
        uint32_t *ids = myr_arena_calloc(m->arena, tree->leaf_count, sizeof *ids);
        for (uint32_t k = 0; k < tree->leaf_count; k++) {
            leaves[k] = 1.0 + dice_roll(d, 50);
            ids[k] = 1000 + k;
        }
        for (uint32_t s = tree->split_count; s-- > 0;) { /* children come behind their parents */
            int32_t l = tree->splits[s].left;
            int32_t r = tree->splits[s].right;
            splits[s] = (l >= 0 ? splits[l] : leaves[~l]) + (r >= 0 ? splits[r] : leaves[~r]);
        }
        tree->leaf_covers = leaves;
        tree->split_covers = splits;
        tree->leaf_ids = t % 2 == 0 ? ids : NULL;
    }
}

/* Algorithm 1: what a tree gives if only the columns of the set are known. */
static double expectation(const myr_tree *tree, int32_t at, const double *row, uint32_t set, bool single)
{
    if (at < 0) return tree->leaves[~at];
    const myr_split *s = &tree->splits[at];
    if ((set >> s->feature & 1u) != 0) {
        return expectation(tree, plain_left(tree, s, row[s->feature], single) ? s->left : s->right, row, set, single);
    }
    double left = s->left >= 0 ? tree->split_covers[s->left] : tree->leaf_covers[~s->left];
    double right = s->right >= 0 ? tree->split_covers[s->right] : tree->leaf_covers[~s->right];
    return (left * expectation(tree, s->left, row, set, single) +
            right * expectation(tree, s->right, row, set, single)) /
           tree->split_covers[at];
}

static void plain_shap(const myr_model_desc *d, const double *row, double *out)
{
    bool single = d->calc == MYR_CALC_F32;
    uint32_t n = d->feature_count;
    double factorials[16] = {1};
    for (uint32_t k = 1; k < 16; k++) {
        factorials[k] = factorials[k - 1] * k;
    }
    memset(out, 0, (size_t)d->margin_count * (n + 1) * sizeof *out);
    for (uint32_t k = 0; d->base_margins != NULL && k < d->margin_count; k++) {
        out[k * (n + 1) + n] = d->base_margins[k];
    }
    for (uint32_t t = 0; t < d->tree_count; t++) {
        const myr_tree *tree = &d->trees[t];
        double *to = out + tree->output * (n + 1);
        int32_t root = tree->split_count > 0 ? 0 : ~0;
        to[n] += expectation(tree, root, row, 0, single);
        for (uint32_t set = 0; set < 1u << n; set++) {
            uint32_t size = (uint32_t)__builtin_popcount(set);
            double value = expectation(tree, root, row, set, single);
            for (uint32_t j = 0; j < n; j++) {
                bool in = (set >> j & 1u) != 0;
                uint32_t others = in ? size - 1 : size;
                double weight = factorials[others] * factorials[n - others - 1] / factorials[n];
                to[j] += in ? weight * value : -weight * value;
            }
        }
    }
    for (uint32_t k = 0; d->average && k < d->margin_count * (n + 1); k++) {
        out[k] /= d->average_over;
    }
}

static compiled compile_explained(const myr_model_desc *desc, uint32_t columns, myr_model_form form)
{
    compiled c = {0};
    myr_err err = {0};
    myr_compile_opts opts = {.form = form, .explain = true};
    EXPECT_RC(myr_model_compile(desc, NULL, columns, &opts, &c.bytes, &c.size, &err), OK, &err);
    EXPECT_RC(myr_model_check(c.bytes, c.size, &c.model, &err), OK, &err);
    return c;
}

static void expect_close(double got, double want, double scale)
{
    if (!(fabs(got - want) <= 1e-11 * scale)) fail_msg("got %.17g, want %.17g, scale %g", got, want, scale);
}

static void compare_contributions(const myr_model_desc *desc, const myr_model *model, const double *rows)
{
    size_t width = (size_t)desc->margin_count * (desc->feature_count + 1);
    double got[CHECK_ROWS * 3 * 8];
    double alone[3 * 8];
    double plain[CHECK_ROWS * 3 * 8];
    double want[3 * 8];
    EXPECT_INT(myr_model_width(model, MYR_OUTPUT_CONTRIBUTION), width);
    EXPECT_RC(myr_model_predict_as(model, MYR_OUTPUT_CONTRIBUTION, rows, desc->feature_count, CHECK_ROWS, got, NULL),
              OK, NULL);
    myr_explain_force_plain(true);
    EXPECT_RC(myr_model_predict_as(model, MYR_OUTPUT_CONTRIBUTION, rows, desc->feature_count, CHECK_ROWS, plain, NULL),
              OK, NULL);
    myr_explain_force_plain(false);
    for (size_t i = 0; i < CHECK_ROWS; i++) {
        const double *row = rows + i * desc->feature_count;
        EXPECT_RC(myr_model_predict_as(model, MYR_OUTPUT_CONTRIBUTION, row, 0, 1, alone, NULL), OK, NULL);
        plain_shap(desc, row, want);
        for (size_t k = 0; k < width; k++) {
            expect_close(got[i * width + k], want[k], 200.0 * (desc->tree_count + 1));
            assert_same_bits(alone[k], got[i * width + k]);
            assert_same_bits(plain[i * width + k], got[i * width + k]);
        }
    }
}

static void compare_leaves(const myr_model_desc *desc, const myr_model *model, const double *rows)
{
    double got[CHECK_ROWS * 16];
    size_t width = myr_model_width(model, MYR_OUTPUT_LEAF);
    EXPECT_INT(width, desc->tree_count);
    EXPECT(width <= 16);
    if (width == 0) return;
    EXPECT_RC(myr_model_predict_as(model, MYR_OUTPUT_LEAF, rows, desc->feature_count, CHECK_ROWS, got, NULL), OK, NULL);
    for (size_t i = 0; i < CHECK_ROWS; i++) {
        for (uint32_t t = 0; t < desc->tree_count; t++) {
            const myr_tree *tree = &desc->trees[t];
            int32_t at = tree->split_count > 0 ? 0 : ~0;
            while (at >= 0) {
                const myr_split *s = &tree->splits[at];
                double x = rows[i * desc->feature_count + s->feature];
                at = plain_left(tree, s, x, desc->calc == MYR_CALC_F32) ? s->left : s->right;
            }
            EXPECT_INT(got[i * width + t], tree->leaf_ids != NULL ? tree->leaf_ids[~at] : (uint32_t)~at);
        }
    }
}

TEST(explain_is_the_definition_on_random_models)
{
    dice d = {77};
    for (int k = 0; k < 300; k++) {
        MYR_AUTO(random_model) m = random_model_make(&d, k % 2 ? MYR_CALC_F32 : MYR_CALC_F64);
        double bases[3] = {1.5, -2.5, 3.5};
        double rows[CHECK_ROWS * 8];
        if (k % 3 == 0) m.desc.base_margins = bases;
        add_covers(&d, &m);
        for (size_t i = 0; i < CHECK_ROWS * m.desc.feature_count; i++) {
            rows[i] = dice_value(&d);
        }
        myr_model_form form = k % 5 == 0 ? MYR_FORM_NODES : MYR_FORM_AUTO;
        MYR_AUTO(compiled) c = compile_explained(&m.desc, m.desc.feature_count, form);
        MYR_AUTO(compiled) again = compile_explained(&m.desc, m.desc.feature_count, form);
        EXPECT(c.size == again.size && memcmp(c.bytes, again.bytes, c.size) == 0);
        compare_contributions(&m.desc, c.model, rows);
        compare_leaves(&m.desc, c.model, rows);
    }
}

/* ---- deep trees ---- */

typedef struct chain {
    myr_split *splits;
    double *leaves, *split_covers, *leaf_covers;
    myr_tree tree;
    myr_model_desc desc;
} chain;
static void chain_drop(chain *c)
{
    myr_free(c->splits);
    myr_free(c->leaves);
    myr_free(c->split_covers);
    myr_free(c->leaf_covers);
}

/* Split k asks for column k % columns: x <= 0 ends in leaf k, everything else goes on. */
static void chain_init(chain *c, uint32_t depth, uint32_t columns)
{
    memset(c, 0, sizeof *c);
    c->splits = myr_calloc(depth, sizeof *c->splits);
    c->leaves = myr_calloc(depth + 1, sizeof *c->leaves);
    c->split_covers = myr_calloc(depth, sizeof(double));
    c->leaf_covers = myr_calloc(depth + 1, sizeof(double));
    for (uint32_t k = 0; k < depth; k++) {
        c->splits[k] = (myr_split){.feature = k % columns,
                                   .left = ~(int32_t)k,
                                   .right = k + 1 < depth ? (int32_t)k + 1 : ~(int32_t)depth,
                                   .threshold = -(double)(k / columns),
                                   .missing = MYR_MISSING_NAN};
        c->split_covers[k] = depth + 1 - k;
        c->leaf_covers[k] = 1;
    }
    c->leaf_covers[depth] = 1;
    for (uint32_t k = 0; k <= depth; k++) {
        c->leaves[k] = k % 7 - 3.0;
    }
    c->tree = (myr_tree){.splits = c->splits,
                         .split_count = depth,
                         .leaves = c->leaves,
                         .leaf_count = depth + 1,
                         .split_covers = c->split_covers,
                         .leaf_covers = c->leaf_covers};
    c->desc = (myr_model_desc){
        .kind = MYR_MODEL_TREES, .feature_count = columns, .margin_count = 1, .trees = &c->tree, .tree_count = 1};
}

/* The sum is the margin whatever the depth; a model is explained up to the limit and not one split beyond. */
TEST(explain_takes_trees_up_to_its_depth)
{
    static const uint32_t shapes[][2] = {{1, 1},  {8, 8},   {9, 9},     {16, 16},  {17, 17},     {64, 5},
                                         {65, 5}, {64, 64}, {300, 300}, {1000, 3}, {1024, 1024}, {1023, 200}};
    for (size_t k = 0; k < MYR_COUNT_OF(shapes); k++) {
        MYR_AUTO(chain) tree;
        chain_init(&tree, shapes[k][0], shapes[k][1]);
        MYR_AUTO(compiled) c = compile_explained(&tree.desc, shapes[k][1], MYR_FORM_AUTO);
        size_t width = shapes[k][1] + 1;
        MYR_AUTO(myr_mem) block = myr_calloc(2 * width, sizeof(double));
        MYR_AUTO(myr_mem) out = myr_calloc(2 * width, sizeof(double));
        double *rows = block;
        double *values = out;
        double margins[2];
        for (uint32_t j = 0; j < shapes[k][1]; j++) {
            rows[j] = 1.0;
            rows[width - 1 + j] = j == shapes[k][1] / 2 ? -1.0 : 1.0;
        }
        myr_model_margins(c.model, rows, width - 1, 2, margins);
        EXPECT_RC(myr_model_predict_as(c.model, MYR_OUTPUT_CONTRIBUTION, rows, width - 1, 2, values, NULL), OK, NULL);
        for (size_t i = 0; i < 2; i++) {
            double sum = 0;
            for (size_t j = 0; j < width; j++) {
                sum += values[i * width + j];
            }
            expect_close(sum, margins[i], 10.0);
        }
    }
    MYR_AUTO(chain) deep;
    chain_init(&deep, MYR_EXPLAIN_DEPTH_MAX + 1, 3);
    MYR_AUTO(compiled) c = compile_explained(&deep.desc, 3, MYR_FORM_AUTO);
    EXPECT(myr_model_has_explanations(c.model));
    EXPECT_INT(myr_model_width(c.model, MYR_OUTPUT_CONTRIBUTION), 0);
    EXPECT_INT(myr_model_width(c.model, MYR_OUTPUT_LEAF), 0);
    EXPECT_HAS(myr_model_why_not(c.model, MYR_OUTPUT_LEAF), "too deep");
}

TEST(explain_without_memory_says_so)
{
    MYR_AUTO(chain) tree;
    myr_compile_opts opts = {.explain = true};
    chain_init(&tree, 100, 100);
    for (long nth = 1;; nth++) {
        MYR_AUTO(myr_mem) bytes = NULL;
        size_t size = 0;
        myr_mem_fail_at(nth);
        myr_rc rc = myr_model_compile(&tree.desc, NULL, 100, &opts, (unsigned char **)&bytes, &size, NULL);
        myr_mem_fail_at(0);
        EXPECT(rc == MYR_OK ? bytes != NULL : rc == MYR_NO_MEMORY && bytes == NULL);
        if (rc == MYR_OK) break;
    }
    MYR_AUTO(compiled) c = compile_explained(&tree.desc, 100, MYR_FORM_AUTO);
    double row[100] = {0};
    double out[101];
    for (long nth = 1;; nth++) {
        myr_err err = {0};
        myr_mem_fail_at(nth);
        myr_rc rc = myr_model_predict_as(c.model, MYR_OUTPUT_CONTRIBUTION, row, 100, 1, out, &err);
        myr_mem_fail_at(0);
        if (rc == MYR_OK) break;
        EXPECT_RC(rc, NO_MEMORY, &err);
    }
}

/* ---- what a model can't give ---- */

TEST(explain_says_what_lacks)
{
    fixture f;
    fixture_init(&f);
    MYR_AUTO(compiled) plain = fixture_compile(&f.desc, NULL, FIXTURE_COLUMNS);
    double row[FIXTURE_COLUMNS] = {0};
    double out[16];
    myr_err err = {0};
    EXPECT(!myr_model_has_explanations(plain.model));
    EXPECT_RC(myr_model_predict_as(plain.model, MYR_OUTPUT_LEAF, row, 4, 1, out, &err), UNSUPPORTED, &err);
    EXPECT_HAS(err.message, "myriad release create --explain");
    EXPECT_RC(myr_model_predict_as(plain.model, MYR_OUTPUT_PROBABILITY, row, 4, 1, out, &err), UNSUPPORTED, &err);
    EXPECT_HAS(err.message, "not a classifier");
    MYR_AUTO(compiled) bare = compile_explained(&f.desc, FIXTURE_COLUMNS, MYR_FORM_AUTO); /* covers are not known */
    EXPECT_INT(myr_model_width(bare.model, MYR_OUTPUT_LEAF), 3);
    EXPECT_HAS(myr_model_why_not(bare.model, MYR_OUTPUT_CONTRIBUTION), "does not say how many training rows");
    double split_covers[3] = {10, 4, 6};
    double leaf_covers[4] = {1, 2, 4, 3};
    double more_splits[2] = {5, 3};
    double more_leaves[3] = {1, 2, 2};
    f.trees[0].split_covers = split_covers;
    f.trees[0].leaf_covers = leaf_covers;
    f.trees[1].split_covers = more_splits;
    f.trees[1].leaf_covers = more_leaves;
    MYR_AUTO(compiled) good = compile_explained(&f.desc, FIXTURE_COLUMNS, MYR_FORM_AUTO);
    EXPECT_INT(myr_model_width(good.model, MYR_OUTPUT_CONTRIBUTION), 2 * (FIXTURE_COLUMNS + 1));
    split_covers[1] = 0;
    MYR_AUTO(compiled) zero = compile_explained(&f.desc, FIXTURE_COLUMNS, MYR_FORM_AUTO);
    EXPECT_HAS(myr_model_why_not(zero.model, MYR_OUTPUT_CONTRIBUTION), "no training rows");
    split_covers[1] = NAN;
    MYR_AUTO(compiled) odd = compile_explained(&f.desc, FIXTURE_COLUMNS, MYR_FORM_AUTO);
    EXPECT_INT(myr_model_width(odd.model, MYR_OUTPUT_CONTRIBUTION), 0);
}

/* A leaf that no training row reached: a share of zero, which no quadrature may divide by. */
TEST(explain_takes_leaves_without_rows)
{
    dice d = {5};
    for (int k = 0; k < 100; k++) {
        MYR_AUTO(random_model) m = random_model_sized(&d, MYR_CALC_F64, 4, 1, 3);
        double rows[CHECK_ROWS * 8];
        add_covers(&d, &m);
        for (uint32_t t = 0; t < m.desc.tree_count; t++) {
            ((double *)(uintptr_t)m.desc.trees[t].leaf_covers)[0] = 0; /* the split above keeps its own count */
        }
        for (size_t i = 0; i < CHECK_ROWS * 4; i++) {
            rows[i] = dice_value(&d);
        }
        MYR_AUTO(compiled) c = compile_explained(&m.desc, 4, MYR_FORM_AUTO);
        double out[CHECK_ROWS * 5];
        EXPECT_RC(myr_model_predict_as(c.model, MYR_OUTPUT_CONTRIBUTION, rows, 4, CHECK_ROWS, out, NULL), OK, NULL);
        for (size_t i = 0; i < CHECK_ROWS * 5; i++) {
            EXPECT(isfinite(out[i]));
        }
    }
}

/* ---- the other outputs ---- */

TEST(output_names_are_read_back)
{
    myr_output output;
    for (int k = 0; k < MYR_OUTPUT_COUNT; k++) {
        EXPECT(myr_output_parse(myr_str_of(myr_output_name((myr_output)k)), &output) && output == (myr_output)k);
    }
    EXPECT(!myr_output_parse(myr_str_of("margins"), &output));
    EXPECT(!myr_output_parse(myr_str_of(""), &output));
}

TEST(output_probabilities_are_one_per_class)
{
    fixture f;
    double rows[2][FIXTURE_COLUMNS] = {{0.1, 5, 1, 2}, {1, -2, 0, 40}};
    double p[4];
    double q[4];
    fixture_init(&f);
    f.desc.margin_count = 1;
    f.trees[1].output = 0;
    f.desc.base_margins = NULL;
    f.desc.transform = MYR_TRANSFORM_SIGMOID;
    f.desc.transform_param = 0.5;
    MYR_AUTO(compiled) binary = fixture_compile(&f.desc, NULL, FIXTURE_COLUMNS);
    EXPECT_INT(myr_model_width(binary.model, MYR_OUTPUT_PROBABILITY), 2);
    EXPECT_RC(myr_model_predict_as(binary.model, MYR_OUTPUT_PROBABILITY, rows[0], 4, 2, p, NULL), OK, NULL);
    myr_model_predict(binary.model, rows[0], 4, 2, q);
    for (int i = 0; i < 2; i++) {
        assert_same_bits(p[2 * i + 1], q[i]);
        assert_same_bits(p[2 * i], 1.0 - q[i]);
    }
    fixture_init(&f);
    f.desc.calc = MYR_CALC_F32;
    f.bases[0] = 1;
    f.bases[1] = 3;
    f.desc.transform = MYR_TRANSFORM_HARD_MAX;
    MYR_AUTO(compiled) hard = fixture_compile(&f.desc, NULL, FIXTURE_COLUMNS);
    f.desc.transform = MYR_TRANSFORM_SOFTMAX;
    MYR_AUTO(compiled) soft = fixture_compile(&f.desc, NULL, FIXTURE_COLUMNS);
    EXPECT_INT(myr_model_width(hard.model, MYR_OUTPUT_VALUE), 1);
    EXPECT_INT(myr_model_width(hard.model, MYR_OUTPUT_PROBABILITY), 2);
    EXPECT_RC(myr_model_predict_as(hard.model, MYR_OUTPUT_PROBABILITY, rows[0], 4, 2, p, NULL), OK, NULL);
    myr_model_predict(soft.model, rows[0], 4, 2, q);
    for (int i = 0; i < 4; i++) {
        assert_same_bits(p[i], q[i]);
    }
}

TEST(output_contributions_of_a_linear_model_are_its_terms)
{
    double weights[3] = {2.0, -1.0, 4.0};
    double fills[3] = {3.0, NAN, 0.0};
    double base = 10.0;
    double rows[2][3] = {{5.0, 1.0, 0.5}, {NAN, 2.0, NAN}};
    double out[8];
    myr_model_desc desc = {.kind = MYR_MODEL_LINEAR,
                           .feature_count = 3,
                           .margin_count = 1,
                           .base_margins = &base,
                           .weights = weights,
                           .fills = fills};
    MYR_AUTO(compiled) c = fixture_compile(&desc, NULL, 3);
    EXPECT_INT(myr_model_width(c.model, MYR_OUTPUT_LEAF), 0);
    EXPECT_INT(myr_model_width(c.model, MYR_OUTPUT_CONTRIBUTION), 4);
    EXPECT_RC(myr_model_predict_as(c.model, MYR_OUTPUT_CONTRIBUTION, rows[0], 3, 2, out, NULL), OK, NULL);
    const double want[8] = {4.0, -1.0, 2.0, 16.0, 0.0, -2.0, 0.0, 16.0};
    for (int k = 0; k < 8; k++) {
        assert_same_bits(out[k] + 0.0, want[k]);
    }
}

/* ---- hostile bytes ---- */

static void explain_some(const myr_model *model)
{
    double rows[9 * 8];
    static const double some[] = {0, 1, -1, 5, 63, 64, NAN, INFINITY, -INFINITY, 1e9, -0.5, 1e-36, 2.5};
    myr_model_info info;
    myr_model_get_info(model, &info);
    if (info.column_count > 8) return;
    for (size_t k = 0; k < 72; k++) {
        rows[k] = some[k % MYR_COUNT_OF(some)];
    }
    for (int output = 0; output < MYR_OUTPUT_COUNT; output++) {
        size_t width = myr_model_width(model, (myr_output)output);
        MYR_AUTO(myr_mem) out = myr_calloc(9 * width + 1, sizeof(double));
        if (width == 0) continue;
        EXPECT_RC(myr_model_predict_as(model, (myr_output)output, rows, info.column_count, 9, out, NULL), OK, NULL);
    }
}

static myr_rc check_copy(const unsigned char *bytes, size_t size)
{
    MYR_AUTO(myr_mem) copy = myr_alloc_aligned(MYR_MODEL_ALIGN, size > 0 ? size : 1);
    const myr_model *model = NULL;
    memcpy(copy, bytes, size);
    myr_rc rc = myr_model_check(copy, size, &model, NULL);
    if (rc == MYR_OK) explain_some(model);
    return rc;
}

static compiled hostile_model(myr_calc calc, uint32_t seed)
{
    dice d = {seed};
    MYR_AUTO(random_model) m = random_model_sized(&d, calc, 3, 2, 4);
    add_covers(&d, &m);
    return compile_explained(&m.desc, 3, MYR_FORM_NODES);
}

TEST(explain_refuses_every_cut_and_every_flag_lie)
{
    MYR_AUTO(compiled) c = hostile_model(MYR_CALC_F64, 9);
    for (size_t size = 0; size < c.size; size++) {
        EXPECT(check_copy(c.bytes, size) != MYR_OK);
    }
    model_header *h = (model_header *)(void *)c.bytes;
    h->flags &= (uint8_t)~MODEL_EXPLAIN; /* then its bytes belong to nobody */
    EXPECT(check_copy(c.bytes, c.size) == MYR_BAD_FORMAT);
    EXPECT(check_copy(c.bytes, h->size_bytes) == MYR_OK);
    h->version = MODEL_LAYOUT_OLDEST; /* an older layout, without sections */
    EXPECT(check_copy(c.bytes, h->size_bytes) == MYR_OK);
    h->flags |= MODEL_EXPLAIN;
    EXPECT(check_copy(c.bytes, c.size) == MYR_BAD_FORMAT);
}

TEST(explain_refuses_or_survives_every_changed_byte)
{
    size_t refused = 0;
    size_t passed = 0;
    for (uint32_t seed = 9; seed < 11; seed++) {
        MYR_AUTO(compiled) c = hostile_model(seed % 2 ? MYR_CALC_F64 : MYR_CALC_F32, seed);
        size_t from = ((model_header *)(void *)c.bytes)->size_bytes;
        for (size_t at = from; at < c.size; at++) {
            unsigned char before = c.bytes[at];
            for (unsigned change = 1; change < 256; change = change * 2 + 1) {
                c.bytes[at] = (unsigned char)(before ^ change);
                if (check_copy(c.bytes, c.size) == MYR_OK) {
                    passed++;
                } else {
                    refused++;
                }
            }
            c.bytes[at] = before;
        }
    }
    EXPECT(passed > 0 && refused > 0); /* thresholds, values, shares and numbers may change; structure may not */
}

/* A mapping may turn to zeros after the check, also in the middle of anything. */
TEST(explain_survives_zeroed_parts)
{
    MYR_AUTO(compiled) c = hostile_model(MYR_CALC_F64, 21);
    MYR_AUTO(compiled) copy = {.bytes = myr_alloc_aligned(MYR_MODEL_ALIGN, c.size), .size = c.size};
    double rows[3 * 3] = {1, 2, 3, NAN, 0, 64, -1, 5, 1e9};
    double out[3 * 8];
    for (size_t from = 0; from <= c.size; from += 8) {
        for (size_t to = from; to <= c.size; to += from % 64 == 0 ? 64 : 512) {
            memcpy(copy.bytes, c.bytes, c.size);
            memset(copy.bytes + from, 0, to - from);
            const myr_model *model = myr_model_checked_before(copy.bytes);
            if (myr_model_width(model, MYR_OUTPUT_CONTRIBUTION) > 8 || myr_model_width(model, MYR_OUTPUT_LEAF) > 8)
                continue;
            MYR_IGNORE(myr_model_predict_as(model, MYR_OUTPUT_CONTRIBUTION, rows, 3, 3, out, NULL)); /* ends */
            MYR_IGNORE(myr_model_predict_as(model, MYR_OUTPUT_LEAF, rows, 3, 3, out, NULL));         /* ends */
        }
    }
}

RUN()
