/* XGBoost's other boosters: dart's weights, gblinear, vector leaves; and which rounds are kept. */
#include <math.h>

#include "xgboost_fixture.h"

/* `text` with two changes. */
static void change_twice(char out[FIXTURE_BYTES_MAX], const char *text, const char *const changes[4])
{
    char once[FIXTURE_BYTES_MAX];
    fixture_change(once, text, changes[0], changes[1]);
    fixture_change(out, once, changes[2], changes[3]);
}

static void expect_refused(const char *text, const myr_import_opts *opts, myr_rc rc, const char *part)
{
    myr_err err = {0};
    myr_imported *m = NULL;
    myr_rc got = myr_import_with("m", text, strlen(text), opts, &m, &err);
    if (got != rc) fail_msg("%s: %s, not %s: %s", part, myr_rc_name(got), myr_rc_name(rc), err.message);
    EXPECT_HAS(err.message, part);
    EXPECT(m == NULL);
}

/* ---- dart ---- */

static void make_dart(char out[FIXTURE_BYTES_MAX], const char *weights)
{
    char end[256];
    snprintf(end, sizeof end, "]},\"name\":\"gbtree\"},\"weight_drop\":%s,\"name\":\"dart\"}", weights);
    const char *const changes[4] = {"\"gradient_booster\":{\"model\"", "\"gradient_booster\":{\"gbtree\":{\"model\"",
                                    "]},\"name\":\"gbtree\"}", end};
    change_twice(out, fixture_json, changes);
}

TEST(dart_multiplies_leaves_by_the_weights_of_their_trees)
{
    char text[FIXTURE_BYTES_MAX];
    const double row[3] = {0, 0, 1}; /* 10 of tree 0, 0.125 of tree 1 */
    double margin = 0;
    make_dart(text, "[1.1E-1,3E-1]");
    fixture_predict(text, row, NULL, &margin);
    EXPECT(margin == (double)((1.0f + 10.0f * 0.11f) + 0.125f * 0.3f));
    make_dart(text, "[1E0]");
    expect_refused(text, NULL, MYR_BAD_FORMAT, "weight_drop has 1 entries, expected 2");
    make_dart(text, "[1E0,NaN]");
    expect_refused(text, NULL, MYR_BAD_FORMAT, "tree 1: leaf 0 times weight_drop is NaN");
    make_dart(text, "[1E0,\"1\"]");
    expect_refused(text, NULL, MYR_BAD_FORMAT, "weight_drop[1] is not a number");
}

TEST(dart_adds_its_trees_to_a_zero_that_is_positive)
{
    char plain[FIXTURE_BYTES_MAX];
    char text[FIXTURE_BYTES_MAX];
    char zero[FIXTURE_BYTES_MAX];
    const double row[3] = {0, 0, 1};
    const char *const changes[4] = {"\"base_score\":\"[1E0]\"", "\"base_score\":\"[-0E0]\"", "NaN,1E1,", "NaN,-0E0,"};
    double margin = 1;
    change_twice(plain, fixture_json, changes);
    fixture_change(zero, plain, "\"split_conditions\":[1.25E-1]", "\"split_conditions\":[-0E0]");
    fixture_predict(zero, row, NULL, &margin);
    EXPECT(margin == 0 && signbit(margin)); /* gbtree: -0 and -0 and -0 */
    const char *const dart[4] = {"\"gradient_booster\":{\"model\"", "\"gradient_booster\":{\"gbtree\":{\"model\"",
                                 "]},\"name\":\"gbtree\"}",
                                 "]},\"name\":\"gbtree\"},\"weight_drop\":[1E0,1E0],\"name\":\"dart\"}"};
    change_twice(text, zero, dart);
    fixture_predict(text, row, NULL, &margin);
    EXPECT(margin == 0 && !signbit(margin)); /* -0 and 0 */
}

/* ---- gblinear ---- */

static const char linear_json[] =
    "{\"learner\":{\"attributes\":{},\"feature_names\":[],\"feature_types\":[],\"gradient_booster\":{\"model\":{"
    "\"boosted_rounds\":3,\"weights\":[1E0,-1E0,2E-1,3E0,5E-1,0E0,1E1,2E1]},\"name\":\"gblinear\"},"
    "\"learner_model_param\":{\"base_score\":\"[2.5E-1,7.5E-1]\",\"boost_from_average\":\"1\",\"num_class\":\"0\","
    "\"num_feature\":\"3\",\"num_target\":\"2\"},\"objective\":{\"name\":\"reg:squarederror\"}},\"version\":[3,2,0]}";

TEST(gblinear_adds_floats_in_order_and_leaves_missing_out)
{
    const double row[3] = {0.1, 0.2, 0.3};
    const double missing[3] = {0.1, NAN, 0.3};
    double out[2];
    fixture_predict(linear_json, row, NULL, out);
    float first = 10.0f + 0.25f;
    float second = 20.0f + 0.25f; /* the base of output 0, as in the library */
    EXPECT(out[0] == (double)(((first + 0.1f * 1.0f) + 0.2f * 0.2f) + 0.3f * 0.5f));
    EXPECT(out[1] == (double)(((second + 0.1f * -1.0f) + 0.2f * 3.0f) + 0.3f * 0.0f));
    fixture_predict(linear_json, missing, NULL, out);
    EXPECT(out[0] == (double)((first + 0.1f * 1.0f) + 0.3f * 0.5f));
}

TEST(gblinear_damages_are_named)
{
    char text[FIXTURE_BYTES_MAX];
    const myr_import_opts opts = {.iterations = 1};
    fixture_change(text, linear_json, ",1E1,2E1]", ",1E1]");
    expect_refused(text, NULL, MYR_BAD_FORMAT, "weights has 7 entries, expected 8");
    fixture_change(text, linear_json, "2E-1", "NaN");
    expect_refused(text, NULL, MYR_BAD_INPUT, "weights[2] is nan");
    fixture_change(text, linear_json, "\"boosted_rounds\":3", "\"boosted_rounds\":3.5");
    expect_refused(text, NULL, MYR_BAD_FORMAT, "boosted_rounds is not a whole number");
    fixture_change(text, linear_json, "[1E0,-1E0,2E-1,3E0,5E-1,0E0,1E1,2E1]", "[]");
    expect_refused(text, NULL, MYR_BAD_FORMAT, "weights is empty after 3 rounds");
    expect_refused(linear_json, &opts, MYR_BAD_INPUT, "gblinear has none to leave out");
}

TEST(gblinear_without_a_round_has_no_weights)
{
    char text[FIXTURE_BYTES_MAX];
    const char *const changes[4] = {"\"boosted_rounds\":3,\"weights\":[1E0,-1E0,2E-1,3E0,5E-1,0E0,1E1,2E1]",
                                    "\"boosted_rounds\":0,\"weights\":[]", "\"num_feature\":\"3\"",
                                    "\"num_feature\":\"3\""};
    const double row[3] = {1, 2, 3};
    double out[2];
    change_twice(text, linear_json, changes);
    fixture_predict(text, row, NULL, out);
    EXPECT(out[0] == 0.25 && out[1] == 0.25);
    const char *const wide[4] = {changes[0], changes[1], "\"num_feature\":\"3\",\"num_target\":\"2\"",
                                 "\"num_feature\":\"1024\",\"num_target\":\"1023\""};
    const char *const wider[4] = {changes[0], changes[1], "\"num_feature\":\"3\",\"num_target\":\"2\"",
                                  "\"num_feature\":\"1024\",\"num_target\":\"1024\""};
    myr_imported *m = NULL;
    myr_err err = {0};
    char one_base[FIXTURE_BYTES_MAX];
    change_twice(text, linear_json, wide);
    fixture_change(one_base, text, "[2.5E-1,7.5E-1]", "[2.5E-1]");
    EXPECT_RC(fixture_import(one_base, strlen(one_base), &m, &err), OK, &err); /* 1025 * 1023 = 2^20 - 1 */
    myr_imported_free(m);
    change_twice(text, linear_json, wider);
    fixture_change(one_base, text, "[2.5E-1,7.5E-1]", "[2.5E-1]");
    expect_refused(one_base, NULL, MYR_TOO_LARGE, "1049600 weights that the file leaves out, at most 1048576");
}

/* ---- vector leaves ---- */

/* One tree: a < 0.5 ? node 1 : node 2, two targets. `leaves`: how the file keeps the vectors. */
static void make_vector(char out[FIXTURE_BYTES_MAX], const char *right, const char *leaves)
{
    int size = snprintf(
        out, FIXTURE_BYTES_MAX,
        "{\"learner\":{\"attributes\":{},\"feature_names\":[],\"feature_types\":[],\"gradient_booster\":{\"model\":{"
        "\"gbtree_model_param\":{\"num_parallel_tree\":\"1\",\"num_trees\":\"1\"},\"iteration_indptr\":[0,1],"
        "\"tree_info\":[0],\"trees\":[{\"categories\":[],\"categories_nodes\":[],\"categories_segments\":[],"
        "\"categories_sizes\":[],\"default_left\":[0,0,0],\"id\":0,\"left_children\":[1,-1,-1],\"parents\":[-1,0,0],"
        "\"right_children\":%s,\"split_conditions\":[5E-1,NaN,NaN],\"split_indices\":[0,0,0],\"split_type\":[0,0,0],"
        "%s,\"tree_param\":{\"num_deleted\":\"0\",\"num_feature\":\"3\",\"num_nodes\":\"3\",\"size_leaf_vector\":\"2\"}"
        "}]},\"name\":\"gbtree\"},\"learner_model_param\":{\"base_score\":\"[1E0,2E0]\",\"num_class\":\"0\","
        "\"num_feature\":\"3\",\"num_target\":\"2\"},\"objective\":{\"name\":\"reg:squarederror\"}},"
        "\"version\":[3,2,0]}",
        right, leaves);
    EXPECT(size > 0 && size < FIXTURE_BYTES_MAX);
}

#define BY_LEAF "\"base_weights\":[9E0,9E0,9E0,9E0,9E0,9E0],\"leaf_weights\":[1E1,2E1,3E1,4E1]"
#define BY_NODE "\"base_weights\":[9E0,9E0,3E1,4E1,1E1,2E1]"

TEST(vector_leaves_become_a_tree_per_output)
{
    char text[FIXTURE_BYTES_MAX];
    const double left[3] = {0, 0, 0};
    const double right[3] = {1, 0, 0};
    for (int by_node = 0; by_node < 2; by_node++) {
        double out[2];
        make_vector(text, by_node ? "[2,-1,-1]" : "[2,1,0]", by_node ? BY_NODE : BY_LEAF);
        fixture_predict(text, left, out, NULL);
        EXPECT(out[0] == 31.0 && out[1] == 42.0);
        fixture_predict(text, right, out, NULL);
        EXPECT(out[0] == 11.0 && out[1] == 22.0);
    }
    MYR_AUTO(myr_imported_ptr) m = NULL;
    myr_err err = {0};
    EXPECT_RC(fixture_import(text, strlen(text), &m, &err), OK, &err);
    EXPECT_INT(m->desc.tree_count, 2);
    EXPECT(m->desc.trees[0].splits == m->desc.trees[1].splits && m->desc.trees[1].output == 1);
    EXPECT_INT(m->desc.trees[1].leaf_ids[1], 2);
}

TEST(damaged_vector_leaves_are_named)
{
    char text[FIXTURE_BYTES_MAX];
    char bad[FIXTURE_BYTES_MAX];
    make_vector(text, "[2,1,2]", BY_LEAF);
    expect_refused(text, NULL, MYR_BAD_FORMAT,
                   "node 2: a leaf whose right child is 2 names none of the 2 leaf_weights");
    make_vector(text, "[2,1,-1]", BY_LEAF);
    expect_refused(text, NULL, MYR_BAD_FORMAT, "node 2: a leaf whose right child is -1");
    make_vector(text, "[2,1,0]", "\"leaf_weights\":[1E1,2E1,3E1]");
    expect_refused(text, NULL, MYR_BAD_FORMAT, "leaf_weights has 3 entries, expected 4");
    make_vector(text, "[2,-1,-1]", "\"base_weights\":[9E0,9E0,3E1,4E1,1E1]");
    expect_refused(text, NULL, MYR_BAD_FORMAT, "base_weights has 5 entries, expected 6");
    make_vector(text, "[2,-1,-1]", "\"sum_hessian\":[1E0,1E0,1E0]");
    expect_refused(text, NULL, MYR_BAD_FORMAT, "base_weights is missing");
    make_vector(text, "[2,1,0]", "\"leaf_weights\":[1E1,NaN,3E1,4E1]");
    expect_refused(text, NULL, MYR_BAD_FORMAT, "node 2: value 1 of its leaf is NaN");
    make_vector(text, "[2,1,0]", BY_LEAF);
    fixture_change(bad, text, "\"tree_info\":[0]", "\"tree_info\":[1]");
    expect_refused(bad, NULL, MYR_BAD_FORMAT, "tree_info is 1");
    fixture_change(bad, text, "\"size_leaf_vector\":\"2\"", "\"size_leaf_vector\":\"1\"");
    expect_refused(bad, NULL, MYR_BAD_FORMAT, "leaf_weights, but size_leaf_vector is 1");
}

/* ---- rounds ---- */

static double margin_with(const char *text, myr_import_opts opts)
{
    myr_err err = {0};
    MYR_AUTO(myr_imported_ptr) m = NULL;
    const double row[3] = {0, 0, 1};
    const myr_model *model = NULL;
    unsigned char *bytes = NULL;
    size_t size = 0;
    double margin = 0;
    EXPECT_RC(myr_import_with("m", text, strlen(text), &opts, &m, &err), OK, &err);
    EXPECT_RC(myr_model_compile(&m->desc, NULL, 3, NULL, &bytes, &size, &err), OK, &err);
    EXPECT_RC(myr_model_check(bytes, size, &model, &err), OK, &err);
    myr_model_margins(model, row, 3, 1, &margin);
    myr_free(bytes);
    return margin;
}

TEST(rounds_can_be_left_out)
{
    char old[FIXTURE_BYTES_MAX];
    fixture_change(old, fixture_json, "\"iteration_indptr\":[0,1,2],", "");
    for (int is_old = 0; is_old < 2; is_old++) {
        const char *text = is_old ? old : fixture_json;
        EXPECT(margin_with(text, (myr_import_opts){0}) == 11.125);
        EXPECT(margin_with(text, (myr_import_opts){.iterations = 2}) == 11.125);
        EXPECT(margin_with(text, (myr_import_opts){.iterations = 1}) == 11.0);
        EXPECT(margin_with(text, (myr_import_opts){.first_iteration = 1}) == 1.125);
        EXPECT(margin_with(text, (myr_import_opts){.first_iteration = 1, .iterations = 1}) == 1.125);
        EXPECT(margin_with(text, (myr_import_opts){.best_iteration = true}) == 11.0); /* best_iteration is 0 */
    }
}

TEST(rounds_that_are_not_there_are_refused)
{
    char text[FIXTURE_BYTES_MAX];
    myr_import_opts opts = {.iterations = 3};
    expect_refused(fixture_json, &opts, MYR_BAD_INPUT, "iterations 0 to 3 are wanted, the model has 2");
    opts = (myr_import_opts){.first_iteration = 2};
    expect_refused(fixture_json, &opts, MYR_BAD_INPUT, "iterations 2 to 2 are wanted, the model has 2");
    opts = (myr_import_opts){.first_iteration = UINT32_MAX, .iterations = UINT32_MAX};
    expect_refused(fixture_json, &opts, MYR_BAD_INPUT, "are wanted, the model has 2");
    opts = (myr_import_opts){.best_iteration = true, .iterations = 1};
    expect_refused(fixture_json, &opts, MYR_BAD_INPUT, "the best iteration is wanted, and a number of iterations too");
    opts = (myr_import_opts){.best_iteration = true, .first_iteration = 1};
    expect_refused(fixture_json, &opts, MYR_BAD_INPUT, "iterations from 1 on are wanted, the best is 0");
    opts = (myr_import_opts){.best_iteration = true};
    fixture_change(text, fixture_json, "\"best_iteration\":\"0\"", "");
    expect_refused(text, &opts, MYR_BAD_INPUT, "the file has no best_iteration");
    fixture_change(text, fixture_json, "\"best_iteration\":\"0\"", "\"best_iteration\":\"2\"");
    expect_refused(text, &opts, MYR_BAD_INPUT, "iterations 0 to 3 are wanted, the model has 2");
    fixture_change(text, fixture_json, "\"best_iteration\":\"0\"", "\"best_iteration\":\"x\"");
    expect_refused(text, &opts, MYR_BAD_FORMAT, "best_iteration is \"x\", not a whole number");
    fixture_change(text, fixture_json, "\"iteration_indptr\":[0,1,2],\"tree_info\":[0,0]", "\"tree_info\":[0,0]");
    char uneven[FIXTURE_BYTES_MAX];
    fixture_change(uneven, text, "\"num_parallel_tree\":\"1\"", "\"num_parallel_tree\":\"3\"");
    expect_refused(uneven, NULL, MYR_BAD_FORMAT, "num_trees is 2, but a round has 3");
}

TEST(other_formats_have_no_rounds)
{
    const char linear[] = "{\"format\":\"myriad-linear\",\"version\":1,\"features\":[],\"intercept\":1,\"weights\":[]}";
    const myr_import_opts rounds = {.iterations = 1};
    const myr_import_opts best = {.best_iteration = true};
    expect_refused(linear, &rounds, MYR_BAD_INPUT, "iterations are wanted, but a model of format linear has none");
    expect_refused(linear, &best, MYR_BAD_INPUT, "which only XGBoost files name");
}

/* ---- memory ---- */

TEST(boosters_survive_each_failed_allocation)
{
    char dart[FIXTURE_BYTES_MAX];
    char vector[FIXTURE_BYTES_MAX];
    make_dart(dart, "[1E0,2E0]");
    make_vector(vector, "[2,1,0]", BY_LEAF);
    const char *const texts[] = {dart, vector, linear_json};
    for (size_t k = 0; k < MYR_COUNT_OF(texts); k++) {
        FAIL_EACH_ALLOC (nth) {
            myr_imported *m = NULL;
            myr_rc rc = fixture_import(texts[k], strlen(texts[k]), &m, NULL);
            EXPECT(rc == MYR_OK ? m != NULL : rc == MYR_NO_MEMORY && m == NULL);
            myr_imported_free(m);
            if (rc == MYR_OK) break;
        }
    }
}

RUN()
