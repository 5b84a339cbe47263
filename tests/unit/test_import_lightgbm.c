/* LightGBM text by hand: what it means, and every way in which a damaged file is refused. */
#include <math.h>

#include "testing.h"

#include "import/import.h"

#define TEXT_BYTES_MAX 8192

static const char head[] =
    "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=2\n"
    "objective=binary sigmoid:0.7\nfeature_names=age size kind\nfeature_infos=[0:9] none 0:1:2\n";
/* Three numeric splits and one set: age <= 1.5 ? (size <= 2 ? leaf 0 : leaf 2) : (kind in {1, 33} ? leaf 1 : leaf 3) */
static const char tree0[] =
    "Tree=0\nnum_leaves=4\nnum_cat=1\nsplit_feature=0 1 2\nsplit_gain=3 2 1\nthreshold=1.5 2 0\n"
    "decision_type=2 8 1\nleft_child=1 -1 -2\nright_child=2 -3 -4\nleaf_value=0.5 -0.25 1e-3 4\n"
    "leaf_weight=1 1 1 1\nleaf_count=1 1 1 1\ninternal_value=0 0 0\ninternal_weight=0 0 0\n"
    "internal_count=4 2 2\ncat_boundaries=0 2\ncat_threshold=2 2\nis_linear=0\nshrinkage=0.1\n\n\n";
static const char tree1[] =
    "Tree=1\nnum_leaves=1\nnum_cat=0\nsplit_feature=\nsplit_gain=\nthreshold=\ndecision_type=\nleft_child=\n"
    "right_child=\nleaf_value=0.125\nleaf_weight=\nleaf_count=\ninternal_value=\ninternal_weight=\n"
    "internal_count=\nis_linear=0\nshrinkage=1\n\n\n";
static const char tail[] =
    "end of trees\n\nfeature_importances:\nage=1\n\nparameters:\n[boosting: gbdt]\nend of parameters\n\n"
    "pandas_categorical:null\n";

/* A whole file with `from` replaced by `to` once (NULL: as it is); with_sizes: tree_sizes as they are after the change.
 */
static void make_text(char out[TEXT_BYTES_MAX], bool with_sizes, const char *from, const char *to)
{
    char trees[2][2048];
    char heads[1024];
    char sizes[128] = "";
    const char *parts[3] = {head, tree0, tree1};
    char *outs[3] = {heads, trees[0], trees[1]};
    size_t rooms[3] = {sizeof heads, sizeof trees[0], sizeof trees[1]};
    bool done = from == NULL;
    for (int k = 0; k < 3; k++) {
        const char *at = done ? NULL : strstr(parts[k], from);
        if (at == NULL) {
            snprintf(outs[k], rooms[k], "%s", parts[k]);
            continue;
        }
        done = true;
        snprintf(outs[k], rooms[k], "%.*s%s%s", (int)(at - parts[k]), parts[k], to, at + strlen(from));
    }
    EXPECT(done);
    if (with_sizes) snprintf(sizes, sizeof sizes, "tree_sizes=%zu %zu\n", strlen(trees[0]), strlen(trees[1]));
    snprintf(out, TEXT_BYTES_MAX, "%s%s\n%s%s%s", heads, sizes, trees[0], trees[1], tail);
}

static myr_rc import_text(const char *text, size_t size, myr_imported **out, myr_err *err)
{
    MYR_AUTO(myr_mem) copy = myr_alloc(size > 0 ? size : 1); /* exactly its size: ASan sees a read behind it */
    if (copy == NULL) return MYR_NO_MEMORY;
    memcpy(copy, text, size);
    return myr_import("m.txt", copy, size, NULL, 0, out, err);
}

static void expect_refused(const char *from, const char *to, myr_rc rc, const char *part)
{
    char text[TEXT_BYTES_MAX];
    myr_err err = {0};
    myr_imported *imported = NULL;
    make_text(text, false, from, to);
    myr_rc got = import_text(text, strlen(text), &imported, &err);
    if (got != rc) fail_msg("%s -> %s: %s %s", from, to, myr_rc_name(got), got != MYR_OK ? err.message : "");
    EXPECT_HAS(err.message, part);
    EXPECT(strncmp(err.message, "m.txt", 5) == 0 && imported == NULL);
}

/* What the import gives must compile; predicts one row. */
static double predict_imported(const myr_imported *imported, const double *row)
{
    MYR_AUTO(myr_mem) block = NULL;
    unsigned char *bytes = NULL;
    size_t size = 0;
    const myr_model *model = NULL;
    myr_err err = {0};
    EXPECT_RC(myr_model_compile(&imported->desc, NULL, imported->feature_count, NULL, &bytes, &size, &err), OK, &err);
    block = bytes;
    EXPECT_RC(myr_model_check(bytes, size, &model, &err), OK, &err);
    double values[MYR_OUTPUTS_MAX];
    myr_model_predict(model, row, imported->feature_count, 1, values);
    return values[0];
}

static double predict_text(const char *text, const double *row)
{
    MYR_AUTO(myr_imported_ptr) imported = NULL;
    myr_err err = {0};
    EXPECT_RC(import_text(text, strlen(text), &imported, &err), OK, &err);
    return predict_imported(imported, row);
}

static double sigmoid(double p, double x)
{
    return 1.0 / (1.0 + exp(-p * x));
}

TEST(lightgbm_reads_a_model)
{
    char text[TEXT_BYTES_MAX];
    MYR_AUTO(myr_imported_ptr) m = NULL;
    myr_err err = {0};
    make_text(text, true, NULL, NULL);
    EXPECT_RC(import_text(text, strlen(text), &m, &err), OK, &err);
    EXPECT_INT(m->format, MYR_FORMAT_LIGHTGBM);
    EXPECT_STR(m->algorithm, "lightgbm");
    EXPECT_STR(m->objective, "binary sigmoid:0.7");
    EXPECT_INT(m->feature_count, 3);
    EXPECT_STR(m->feature_names[2], "kind");
    EXPECT_INT(m->desc.tree_count, 2);
    static const struct {
        double row[3], margin;
    } cases[] = {{{1.5, 2, 0}, 0.5},  {{NAN, NAN, 0}, 1e-3}, {{0, 3, 0}, 1e-3}, {{2, 0, 1.9}, -0.25},
                 {{2, 0, 33}, -0.25}, {{2, 0, 34}, 4},       {{2, 0, NAN}, 4},  {{2, 0, -1}, 4}};
    for (size_t k = 0; k < MYR_COUNT_OF(cases); k++) {
        EXPECT(predict_imported(m, cases[k].row) == sigmoid(0.7, cases[k].margin + 0.125));
    }
}

TEST(lightgbm_reads_how_many_rows_passed_a_node)
{
    char text[TEXT_BYTES_MAX];
    MYR_AUTO(myr_imported_ptr) m = NULL;
    MYR_AUTO(myr_imported_ptr) without = NULL;
    myr_err err = {0};
    make_text(text, true, "leaf_count=1 1 1 1", "leaf_count=5 6 7 8");
    EXPECT_RC(import_text(text, strlen(text), &m, &err), OK, &err);
    const myr_tree *tree = &m->desc.trees[0];
    EXPECT(tree->leaf_covers[0] == 5 && tree->leaf_covers[3] == 8);
    EXPECT(tree->split_covers[0] == 4 && tree->split_covers[2] == 2);
    EXPECT(tree->leaf_ids == NULL && m->desc.trees[1].leaf_covers == NULL); /* a single leaf has nothing to explain */
    make_text(text, true, "internal_count=4 2 2\n", "");
    EXPECT_RC(import_text(text, strlen(text), &without, &err), OK, &err);
    EXPECT(without->desc.trees[0].split_covers == NULL && without->desc.trees[0].leaf_covers == NULL);
}

TEST(lightgbm_2_1_ends_its_trees_with_the_next_heading)
{
    char old[TEXT_BYTES_MAX];
    char text[TEXT_BYTES_MAX];
    MYR_AUTO(myr_imported_ptr) m = NULL;
    myr_err err = {0};
    make_text(text, true, "version=v4", "version=v2");
    char *end = strstr(text, "end of trees");
    snprintf(old, sizeof old, "%.*s\nfeature importances:\nage=1\n", (int)(end - text), text);
    EXPECT_RC(import_text(old, strlen(old), &m, &err), OK, &err);
    EXPECT_INT(m->desc.tree_count, 2);
    myr_imported *none = NULL;
    memcpy(strstr(old, "version=v2"), "version=v3", strlen("version=v3"));
    EXPECT_RC(import_text(old, strlen(old), &none, &err), BAD_FORMAT, &err);
    EXPECT_HAS(err.message, "expected Tree=2 or \"end of trees\": feature importances:");
}

TEST(lightgbm_leaves_rounds_out)
{
    char text[TEXT_BYTES_MAX];
    const double row[3] = {1.5, 2, 0};
    static const struct {
        myr_import_opts opts;
        double margin;
    } cases[] = {{{.iterations = 2}, 0.625},
                 {{.iterations = 1}, 0.5},
                 {{.first_iteration = 1}, 0.125},
                 {{.first_iteration = 1, .iterations = 1}, 0.125}};
    make_text(text, true, NULL, NULL);
    for (size_t k = 0; k < MYR_COUNT_OF(cases); k++) {
        MYR_AUTO(myr_imported_ptr) m = NULL;
        myr_err err = {0};
        EXPECT_RC(myr_import_with("m.txt", text, strlen(text), &cases[k].opts, &m, &err), OK, &err);
        EXPECT(predict_imported(m, row) == sigmoid(0.7, cases[k].margin));
    }
    static const myr_import_opts bad[] = {
        {.iterations = 3}, {.first_iteration = 2}, {.first_iteration = 1, .iterations = 2}, {.first_iteration = 3}};
    for (size_t k = 0; k < MYR_COUNT_OF(bad); k++) {
        myr_imported *m = NULL;
        myr_err err = {0};
        EXPECT_RC(myr_import_with("m.txt", text, strlen(text), &bad[k], &m, &err), BAD_INPUT, &err);
        EXPECT_HAS(err.message, "are wanted, the model has 2");
    }
}

TEST(lightgbm_averages_over_the_rounds_that_are_kept)
{
    char text[TEXT_BYTES_MAX];
    MYR_AUTO(myr_imported_ptr) m = NULL;
    myr_err err = {0};
    const myr_import_opts opts = {.iterations = 1};
    make_text(text, true, "objective=binary sigmoid:0.7", "average_output\nobjective=regression");
    EXPECT_RC(myr_import_with("m.txt", text, strlen(text), &opts, &m, &err), OK, &err);
    EXPECT(m->desc.average && m->desc.average_over == 1);
}

TEST(lightgbm_moves_thresholds_out_of_the_zero_band)
{
    char text[TEXT_BYTES_MAX];
    const double band = (double)1e-35f;
    static const struct {
        const char *threshold;
        double x;
        bool left;
    } cases[] = {{"threshold=0 2 0", 1e-36, true},       {"threshold=0 2 0", 1.1e-35, false},
                 {"threshold=-0 2 0", 1e-36, true},      {"threshold=-1e-36 2 0", -1e-35, false},
                 {"threshold=-1e-36 2 0", -2e-35, true}, {"threshold=1e-35 2 0", 1e-35, true},
                 {"threshold=-2e-35 2 0", -2e-35, true}, {"threshold=1e300 2 0", 1e299, true},
                 {"threshold=-inf 2 0", -1e300, false}};
    for (size_t k = 0; k < MYR_COUNT_OF(cases); k++) {
        double row[3] = {cases[k].x, 0, 33};
        make_text(text, true, "threshold=1.5 2 0", cases[k].threshold);
        EXPECT(predict_text(text, row) == sigmoid(0.7, (cases[k].left ? 0.5 : -0.25) + 0.125));
    }
    double row[3] = {band, 0, 33};
    make_text(text, true, "threshold=1.5 2 0", "threshold=0 2 0");
    EXPECT(predict_text(text, row) == sigmoid(0.7, 0.625)); /* the edge belongs to the band */
}

TEST(lightgbm_knows_the_objectives)
{
    static const struct {
        const char *objective;
        myr_transform transform;
        double param;
    } cases[] = {{"regression", MYR_TRANSFORM_IDENTITY, 0},
                 {"regression sqrt", MYR_TRANSFORM_SIGNED_SQUARE, 0},
                 {"regression_l1 sqrt", MYR_TRANSFORM_SIGNED_SQUARE, 0},
                 {"huber sqrt", MYR_TRANSFORM_IDENTITY, 0},
                 {"quantile alpha:0.9", MYR_TRANSFORM_IDENTITY, 0},
                 {"fair", MYR_TRANSFORM_IDENTITY, 0},
                 {"mape", MYR_TRANSFORM_IDENTITY, 0},
                 {"poisson", MYR_TRANSFORM_EXP, 0},
                 {"gamma", MYR_TRANSFORM_EXP, 0},
                 {"tweedie tweedie_variance_power:1.5", MYR_TRANSFORM_EXP, 0},
                 {"binary sigmoid:2", MYR_TRANSFORM_SIGMOID, 2},
                 {"cross_entropy", MYR_TRANSFORM_SIGMOID, 1},
                 {"cross_entropy_lambda", MYR_TRANSFORM_LOG1P_EXP, 0},
                 {"multiclass num_class:1", MYR_TRANSFORM_SOFTMAX, 0},
                 {"lambdarank", MYR_TRANSFORM_IDENTITY, 0},
                 {"multiclassova num_class:1 sigmoid:1e-05", MYR_TRANSFORM_SIGMOID_EACH, 1.0 / 100000.0},
                 {"rank_xendcg", MYR_TRANSFORM_IDENTITY, 0},
                 {"custom", MYR_TRANSFORM_IDENTITY, 0}};
    for (size_t k = 0; k < MYR_COUNT_OF(cases); k++) {
        char text[TEXT_BYTES_MAX];
        myr_err err = {0};
        MYR_AUTO(myr_imported_ptr) m = NULL;
        make_text(text, true, "binary sigmoid:0.7", cases[k].objective);
        EXPECT_RC(import_text(text, strlen(text), &m, &err), OK, &err);
        EXPECT_INT(m->desc.transform, cases[k].transform);
        EXPECT(m->desc.transform_param == cases[k].param);
        EXPECT_STR(m->objective, cases[k].objective);
    }
}

TEST(lightgbm_refuses_objectives)
{
    expect_refused("binary sigmoid:0.7", "binary", MYR_BAD_FORMAT, "needs sigmoid:");
    expect_refused("sigmoid:0.7", "sigmoid:0", MYR_BAD_FORMAT, "needs sigmoid:");
    expect_refused("sigmoid:0.7", "sigmoid:-1", MYR_BAD_FORMAT, "needs sigmoid:");
    expect_refused("sigmoid:0.7", "sigmoid:nan", MYR_BAD_FORMAT, "needs sigmoid:");
    expect_refused("sigmoid:0.7", "sigmoid:1e999", MYR_BAD_FORMAT, "needs sigmoid:");
    expect_refused("sigmoid:0.7", "sigmoid:1x", MYR_BAD_FORMAT, "needs sigmoid:");
    expect_refused("binary sigmoid:0.7", "multiclass num_class:3", MYR_BAD_FORMAT, "but num_class is 1");
    expect_refused("binary sigmoid:0.7", "multiclass", MYR_BAD_FORMAT, "but num_class is 1");
    expect_refused("binary sigmoid:0.7", "binarz sigmoid:0.7", MYR_UNSUPPORTED, "objective binarz is not known");
    expect_refused("binary sigmoid:0.7", "", MYR_BAD_FORMAT, "objective is empty");
    expect_refused("num_class=1\nnum_tree_per_iteration=1", "num_class=2\nnum_tree_per_iteration=2", MYR_BAD_FORMAT,
                   "but num_class is 2");
}

TEST(lightgbm_refuses_a_damaged_head)
{
    expect_refused("version=v4\n", "version=v5\n", MYR_UNSUPPORTED, "version v5; v2, v3 and v4");
    expect_refused("version=v4\n", "version=\n", MYR_UNSUPPORTED, "version");
    expect_refused("version=v4\n", "", MYR_BAD_FORMAT, "version is missing");
    expect_refused("num_class=1\n", "", MYR_BAD_FORMAT, "num_class is missing");
    expect_refused("num_class=1\n", "num_class=1\nnum_class=1\n", MYR_BAD_FORMAT, "m.txt:4: num_class comes twice");
    expect_refused("num_class=1\n", "num_class=0\n", MYR_BAD_FORMAT, "num_class is 0");
    expect_refused("num_class=1\n", "num_class=1025\n", MYR_TOO_LARGE, "num_class is 1025, at most 1024");
    expect_refused("num_class=1\n", "num_class=99999999999999999999\n", MYR_BAD_FORMAT,
                   "num_class is 99999999999999999999");
    expect_refused("iteration=1\n", "iteration=2\n", MYR_BAD_FORMAT, "num_tree_per_iteration is 2, but num_class is 1");
    expect_refused("max_feature_idx=2\n", "", MYR_BAD_FORMAT, "max_feature_idx is missing");
    expect_refused("max_feature_idx=2\n", "max_feature_idx=-1\n", MYR_BAD_FORMAT, "max_feature_idx is -1");
    expect_refused("max_feature_idx=2\n", "max_feature_idx=65535\n", MYR_TOO_LARGE, "65535, at most 65534");
    expect_refused("max_feature_idx=2\n", "max_feature_idx=65534\n", MYR_BAD_FORMAT,
                   "3 feature_names, but max_feature_idx is 65534");
    expect_refused("feature_names=age size kind\n", "", MYR_BAD_FORMAT, "feature_names is missing");
    expect_refused("age size kind", "age size age", MYR_BAD_INPUT, "features 0 and 2 are both named \"age\"");
    expect_refused("age size kind", "age si\1ze kind", MYR_BAD_INPUT, "feature 1 has control character 0x01");
    expect_refused("age size kind", "age si\xffze kind", MYR_BAD_INPUT, "feature 1 is not UTF-8");
    expect_refused("objective=", "objectivf=", MYR_BAD_FORMAT, "m.txt:7: not a line of the head: objectivf=binary");
    expect_refused("objective=binary", "average_output=1\nobjective=binary", MYR_BAD_FORMAT, "not a line of the head");
    expect_refused("label_index=0\n", "label_index\n", MYR_BAD_FORMAT, "not a line of the head");
}

TEST(lightgbm_refuses_damaged_trees)
{
    expect_refused("num_leaves=4", "num_leaves=5", MYR_BAD_FORMAT, "tree 0: leaf_value has 4 values, not 5");
    expect_refused("num_leaves=4", "num_leaves=16777216", MYR_BAD_FORMAT, "leaf_value has 4 values, not 16777216");
    expect_refused("num_leaves=4", "num_leaves=16777217", MYR_BAD_FORMAT, "num_leaves is 16777217");
    expect_refused("num_leaves=4", "num_leaves=-4", MYR_BAD_FORMAT, "num_leaves is -4");
    expect_refused("num_leaves=4", "num_leaves=0", MYR_BAD_FORMAT, "num_leaves is 0");
    expect_refused("num_leaves=4\n", "", MYR_BAD_FORMAT, "tree 0: field num_leaves is missing");
    expect_refused("num_leaves=4\n", "num_leaves=4\nnum_leaves=4\n", MYR_BAD_FORMAT, "field num_leaves comes twice");
    expect_refused("threshold=1.5 2 0\n", "", MYR_BAD_FORMAT, "field threshold is missing");
    expect_refused("decision_type=2 8 1\n", "decision_typf=2 8 1\n", MYR_BAD_FORMAT,
                   "line 17: field decision_typf is not known");
    expect_refused("decision_type=2 8 1\n", "decision_type\n", MYR_BAD_FORMAT, "is not field=value");
    expect_refused("split_feature=0 1 2", "split_feature=0 1", MYR_BAD_FORMAT, "split_feature has 2 values, not 3");
    expect_refused("split_feature=0 1 2", "split_feature=0 1 3", MYR_BAD_FORMAT,
                   "tree 0: split_feature of node 2 is 3, not 0 to 2");
    expect_refused("split_feature=0 1 2", "split_feature=0 -1 2", MYR_BAD_FORMAT, "split_feature of node 1 is -1");
    expect_refused("threshold=1.5 2 0", "threshold=nan 2 0", MYR_BAD_FORMAT, "threshold of node 0 is nan");
    expect_refused("threshold=1.5 2 0", "threshold=1.5 2..0 0", MYR_BAD_FORMAT, "threshold of node 1 is 2..0");
    expect_refused("leaf_value=0.5 ", "leaf_value=NaN ", MYR_BAD_FORMAT, "leaf_value of leaf 0 is NaN");
    expect_refused("decision_type=2 8 1", "decision_type=2 12 1", MYR_BAD_FORMAT,
                   "decision_type of node 1 is 12, not 0 to 11");
    expect_refused("decision_type=2 8 1", "decision_type=2 -8 1", MYR_BAD_FORMAT, "decision_type of node 1 is -8");
    expect_refused("leaf_value=0.125", "leaf_value=0.125 1", MYR_BAD_FORMAT, "tree 1: leaf_value has 2 values, not 1");
    expect_refused("split_feature=\n", "split_feature=1\n", MYR_BAD_FORMAT,
                   "tree 1: split_feature has 1 values, not 0");
    expect_refused("Tree=1", "Tree=2", MYR_BAD_FORMAT, "tree 2, expected 1");
    expect_refused("Tree=1", "Three=1", MYR_BAD_FORMAT, "expected Tree=1 or \"end of trees\": Three=1");
}

TEST(lightgbm_refuses_damaged_shapes)
{
    expect_refused("left_child=1 -1 -2", "left_child=3 -1 -2", MYR_BAD_FORMAT,
                   "left_child of node 0 is 3, not -4 to 2");
    expect_refused("left_child=1 -1 -2", "left_child=1 -5 -2", MYR_BAD_FORMAT,
                   "left_child of node 1 is -5, not -4 to 2");
    expect_refused("left_child=1 -1 -2", "left_child=1 99999999999999999999 -2", MYR_BAD_FORMAT,
                   "left_child of node 1 is 9999");
    expect_refused("left_child=1 -1 -2", "left_child=0 -1 -2", MYR_BAD_FORMAT,
                   "left_child of node 0 is 0: that node has a parent");
    expect_refused("left_child=1 -1 -2", "left_child=1 1 -2", MYR_BAD_FORMAT, "left_child of node 1 is 1: that node");
    expect_refused("left_child=1 -1 -2", "left_child=2 -1 -2", MYR_BAD_FORMAT, "right_child of node 0 is 2: that node");
    expect_refused("left_child=1 -1 -2", "left_child=1 -3 -2", MYR_BAD_FORMAT,
                   "right_child of node 1 is -3: that leaf");
    expect_refused("left_child=1 -1 -2\nright_child=2 -3 -4", "left_child=-1 2 1\nright_child=-2 -3 -4", MYR_BAD_FORMAT,
                   "node 1 hangs below no node");
}

TEST(lightgbm_refuses_damaged_categories)
{
    expect_refused("num_cat=1", "num_cat=0", MYR_BAD_FORMAT, "not one of its 0 sets");
    expect_refused("num_cat=1", "num_cat=2", MYR_BAD_FORMAT, "cat_boundaries has 2 values, not 3");
    expect_refused("num_cat=1", "num_cat=4", MYR_BAD_FORMAT, "num_cat is 4, not 0 to 3");
    expect_refused("decision_type=2 8 1", "decision_type=2 8 0", MYR_BAD_FORMAT,
                   "num_cat is 1, but 0 nodes are categorical");
    expect_refused("decision_type=2 8 1", "decision_type=2 1 1", MYR_BAD_FORMAT,
                   "threshold of categorical node 1 is 2");
    expect_refused("threshold=1.5 2 0", "threshold=1.5 2 0.5", MYR_BAD_FORMAT,
                   "threshold of categorical node 2 is 0.5");
    expect_refused("threshold=1.5 2 0", "threshold=1.5 2 -1", MYR_BAD_FORMAT, "threshold of categorical node 2 is -1");
    expect_refused("cat_boundaries=0 2", "cat_boundaries=1 2", MYR_BAD_FORMAT, "cat_boundaries[0] is 1");
    expect_refused("cat_boundaries=0 2", "cat_boundaries=0 -2", MYR_BAD_FORMAT, "cat_boundaries[1] is -2");
    expect_refused("cat_boundaries=0 2", "cat_boundaries=0 3", MYR_BAD_FORMAT, "cat_threshold has 2 values, not 3");
    expect_refused("cat_boundaries=0 2", "cat_boundaries=0 2147483647", MYR_BAD_FORMAT, "not 2147483647");
    expect_refused("cat_boundaries=0 2\n", "", MYR_BAD_FORMAT, "field cat_boundaries is missing");
    expect_refused("cat_threshold=2 2", "cat_threshold=2 4294967296", MYR_BAD_FORMAT, "cat_threshold[1] is 4294967296");
    expect_refused("num_cat=1\nsplit_feature=0 1 2\nsplit_gain=3 2 1\nthreshold=1.5 2 0\ndecision_type=2 8 1",
                   "num_cat=1\nsplit_feature=0 1 2\nsplit_gain=3 2 1\nthreshold=1.5 0 0\ndecision_type=2 1 1",
                   MYR_BAD_FORMAT, "num_cat is 1, but 2 nodes");
}

#define LINES(constants, counts, features, coefficients)                                                               \
    "is_linear=1\nleaf_const=" constants "\nnum_features=" counts "\nleaf_features=" features                          \
    "\nleaf_coeff=" coefficients "\n"

TEST(lightgbm_reads_linear_trees)
{
    char text[TEXT_BYTES_MAX];
    MYR_AUTO(myr_imported_ptr) m = NULL;
    myr_err err = {0};
    make_text(text, true, "is_linear=0\n", LINES("1 2 3 4", "2 0 1 0", "2 0   1  ", "0.5 -2   1e3   "));
    EXPECT_RC(import_text(text, strlen(text), &m, &err), OK, &err);
    EXPECT(m->desc.trees[1].lines == NULL);
    const myr_leaf_line *lines = m->desc.trees[0].lines;
    EXPECT(lines[0].count == 2 && lines[1].count == 0 && lines[2].count == 1);
    EXPECT(lines[0].features[1] == 0 && lines[2].features[0] == 1 && lines[2].coefficients[0] == 1e3);
    const double row[3] = {1.5, 2, 4};
    const double missing[3] = {1.5, 2, NAN};
    EXPECT(predict_imported(m, row) == sigmoid(0.7, (1.0 + 0.5 * 4.0 - 2.0 * 1.5) + 0.125));
    EXPECT(predict_imported(m, missing) == sigmoid(0.7, 0.5 + 0.125)); /* the leaf's value */
}

TEST(lightgbm_refuses_damaged_linear_trees)
{
    static const struct {
        const char *lines, *part;
    } cases[] = {
        {"is_linear=1\n", "is_linear=1 without field leaf_const"},
        {"is_linear=1\nleaf_const=1 2 3 4\nnum_features=0 0 0 0\nleaf_features=\n", "without field leaf_coeff"},
        {LINES("1 2 3", "0 0 0 0", "", ""), "leaf_const has 3 values, not 4"},
        {LINES("1 2 3 nan", "0 0 0 0", "", ""), "leaf_const of leaf 3 is nan"},
        {LINES("1 2 3 4", "0 0 0", "", ""), "num_features has 3 values, not 4"},
        {LINES("1 2 3 4", "0 0 0 4", "", ""), "num_features of node 3 is 4, not 0 to 3"},
        {LINES("1 2 3 4", "0 0 0 1", "", "1"), "leaf_features has 0 values, not 1"},
        {LINES("1 2 3 4", "0 0 0 1", "1", "1 2"), "leaf_coeff has 2 values, not 1"},
        {LINES("1 2 3 4", "0 0 0 1", "3", "1"), "leaf_features of node 3 is 3, not 0 to 2"},
        {LINES("1 2 3 4", "0 0 0 1", "2", "x"), "leaf_coeff of node 3 is x"},
    };
    for (size_t k = 0; k < MYR_COUNT_OF(cases); k++) {
        expect_refused("is_linear=0\n", cases[k].lines, MYR_BAD_FORMAT, cases[k].part);
    }
    expect_refused("is_linear=0", "is_linear=2", MYR_BAD_FORMAT, "is_linear is 2");
    expect_refused("is_linear=0", "leaf_const=1 2 3 4\nis_linear=0", MYR_BAD_FORMAT,
                   "field leaf_const without is_linear=1");
}

static void expect_text_refused(const char *text, const char *part)
{
    myr_err err = {0};
    myr_imported *imported = NULL;
    EXPECT_RC(import_text(text, strlen(text), &imported, &err), BAD_FORMAT, &err);
    EXPECT_HAS(err.message, part);
}

TEST(lightgbm_holds_tree_sizes_against_the_file)
{
    static const char *const lies[][2] = {
        {"tree_sizes=", "tree_sizes=1"}, {"tree_sizes=", "tree_sizes=-"}, {"tree_sizes=", "tree_sizes=1 "}};
    char text[TEXT_BYTES_MAX];
    char bad[TEXT_BYTES_MAX];
    make_text(text, true, NULL, NULL);
    for (size_t k = 0; k < MYR_COUNT_OF(lies); k++) {
        char *at = strstr(text, lies[k][0]);
        snprintf(bad, sizeof bad, "%.*s%s%s", (int)(at - text), text, lies[k][1], at + strlen(lies[k][0]));
        expect_text_refused(bad, "tree_sizes");
    }
    char *line = strstr(text, "tree_sizes=");
    snprintf(bad, sizeof bad, "%.*stree_sizes=%zu %s", (int)(line - text), text, strlen(tree0), strchr(line, '\n'));
    expect_text_refused(bad, "tree 1 has no tree_sizes");
    snprintf(bad, sizeof bad, "%.*stree_sizes=%zu %zu%s", (int)(line - text), text, strlen(tree0), strlen(tree1) + 1,
             strchr(line, '\n'));
    expect_text_refused(bad, "the trees end at byte");
    snprintf(bad, sizeof bad, "%.*stree_sizes=%zu %zu 5%s", (int)(line - text), text, strlen(tree0), strlen(tree1),
             strchr(line, '\n'));
    expect_text_refused(bad, "tree_sizes has more than the file's 2 trees");
    snprintf(bad, sizeof bad, "%.*stree_sizes=%zu 18446744073709551615%s", (int)(line - text), text, strlen(tree0),
             strchr(line, '\n'));
    expect_text_refused(bad, "bytes are left");
}

TEST(lightgbm_averages_a_random_forest)
{
    char text[TEXT_BYTES_MAX];
    double row[3] = {0, 0, 0};
    make_text(text, true, "objective=binary sigmoid:0.7\n", "objective=regression\naverage_output\n");
    EXPECT(predict_text(text, row) == 0.625 / 2);
    static const char empty[] = "tree\nversion=v4\nnum_class=1\nmax_feature_idx=0\nfeature_names=a\naverage_"
                                "output\ntree_sizes=\n\nend of trees\n";
    expect_text_refused(empty, "average_output without a tree");
}

TEST(lightgbm_deals_trees_to_classes)
{
    char text[TEXT_BYTES_MAX];
    MYR_AUTO(myr_imported_ptr) m = NULL;
    make_text(text, true,
              "num_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=2\nobjective=binary sigmoid:0.7",
              "num_class=2\nlabel_index=0\nmax_feature_idx=2\nobjective=multiclass num_class:2");
    EXPECT_RC(import_text(text, strlen(text), &m, NULL), OK, NULL);
    EXPECT(m->desc.margin_count == 2 && m->desc.trees[0].output == 0 && m->desc.trees[1].output == 1);
    make_text(text, true,
              "num_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=2\nobjective=binary sigmoid:0.7",
              "num_class=3\nlabel_index=0\nmax_feature_idx=2\nobjective=multiclass num_class:3");
    expect_text_refused(text, "2 trees are not a multiple of num_class, 3");
}

TEST(lightgbm_refuses_every_cut)
{
    char text[TEXT_BYTES_MAX];
    for (int with_sizes = 0; with_sizes < 2; with_sizes++) {
        make_text(text, with_sizes, NULL, NULL);
        size_t whole = (size_t)(strstr(text, "end of trees") - text) + strlen("end of trees");
        for (size_t size = 0; size <= strlen(text); size++) {
            myr_err err = {0};
            MYR_AUTO(myr_imported_ptr) m = NULL;
            myr_rc rc = import_text(text, size, &m, &err);
            if (size > whole && rc != MYR_OK && strstr(err.message, "pandas_categorical: ") != NULL) continue;
            if ((rc == MYR_OK) != (size >= whole))
                fail_msg("cut at %zu of %zu: %s %s", size, whole, myr_rc_name(rc), err.message);
        }
    }
}

TEST(lightgbm_survives_every_changed_byte)
{
    static const char changes[] = "\0\n \r-=9.0eN\x7f\x80\xff+:";
    char text[TEXT_BYTES_MAX];
    size_t passed = 0;
    size_t refused = 0;
    make_text(text, true, NULL, NULL);
    size_t size = strlen(text);
    double row[3] = {1, NAN, 33};
    for (size_t at = 0; at < size; at++) {
        char before = text[at];
        for (size_t k = 0; k < sizeof changes - 1; k++) {
            MYR_AUTO(myr_imported_ptr) m = NULL;
            text[at] = changes[k];
            if (import_text(text, size, &m, NULL) == MYR_OK) {
                if (m->feature_count == 3) MYR_IGNORE(predict_imported(m, row) > 0); /* what passes must compile */
                passed++;
            } else {
                refused++;
            }
        }
        text[at] = before;
    }
    EXPECT(passed > 100 && refused > 5000);
}

TEST(lightgbm_survives_each_failed_allocation)
{
    char text[TEXT_BYTES_MAX];
    make_text(text, true, NULL, NULL);
    FAIL_EACH_ALLOC (nth) {
        myr_imported *m = NULL;
        myr_rc rc = myr_import("m.txt", text, strlen(text), NULL, 0, &m, NULL);
        EXPECT(rc == MYR_OK ? m != NULL : rc == MYR_NO_MEMORY && m == NULL);
        myr_imported_free(m);
        if (rc == MYR_OK) break;
    }
}

RUN()
