/* ONNX files written by hand: what becomes a model, what is refused, and that nothing hostile gets through. */
#include "onnx_fixture.h"

#include "import/onnx_graph.h"

static myr_rc import_of(const void *data, size_t size, myr_imported **out, myr_err *err)
{
    return myr_import("m.onnx", data, size, NULL, 0, out, err);
}

/* Import, compile, check, predict one row of two features. */
static double value_of(const myr_buf *model, double x0, double x1)
{
    MYR_AUTO(myr_imported_ptr) imported = NULL;
    const double row[2] = {x0, x1};
    double value = NAN;
    myr_err err = {0};
    unsigned char *bytes = NULL;
    size_t size = 0;
    const myr_model *checked;
    EXPECT_RC(import_of(model->data, model->size, &imported, &err), OK, &err);
    EXPECT_RC(myr_model_compile(&imported->desc, NULL, 2, NULL, &bytes, &size, &err), OK, &err);
    EXPECT_RC(myr_model_check(bytes, size, &checked, &err), OK, &err);
    myr_model_predict(checked, row, 2, 1, &value);
    myr_free(bytes);
    return value;
}

static void expect_import(myr_buf model, myr_rc rc, const char *part)
{
    MYR_AUTO(myr_imported_ptr) imported = NULL;
    myr_err err = {0};
    EXPECT_INT(import_of(model.data, model.size, &imported, &err), rc);
    if (rc != MYR_OK) EXPECT_HAS(err.message, part);
    EXPECT((imported == NULL) == (rc != MYR_OK));
    myr_buf_fini(&model);
}

TEST(onnx_modes_compare_as_they_say)
{
    static const struct {
        const char *mode;
        double below, equal, above, nan; /* 10.5: true; else false and x1 = 0 gives 30.5 */
    } cases[] = {
        {"BRANCH_LEQ", 10.5, 10.5, 30.5, 30.5}, {"BRANCH_LT", 10.5, 30.5, 30.5, 30.5},
        {"BRANCH_GTE", 30.5, 10.5, 10.5, 30.5}, {"BRANCH_GT", 30.5, 30.5, 10.5, 30.5},
        {"BRANCH_EQ", 30.5, 10.5, 30.5, 30.5},  {"BRANCH_NEQ", 10.5, 30.5, 10.5, 10.5},
    };
    const double just = 1e-7;
    for (size_t k = 0; k < MYR_COUNT_OF(cases); k++) {
        MYR_AUTO(myr_buf) model = make_tree_model(cases[k].mode, 1, false);
        EXPECT(value_of(&model, 0.5 - just, 0) == cases[k].below);
        EXPECT(value_of(&model, 0.5, 0) == cases[k].equal);
        EXPECT(value_of(&model, 0.5 + 1e-12, 0) == cases[k].equal); /* the same float */
        EXPECT(value_of(&model, 0.5 + just, 0) == cases[k].above);
        EXPECT(value_of(&model, (double)NAN, 0) == cases[k].nan);
    }
}

TEST(onnx_scalers_move_thresholds_exactly)
{
    MYR_AUTO(myr_buf) model = make_tree_model("BRANCH_LEQ", 1, true);
    for (int k = -40; k <= 40; k++) { /* around (x - 1) * 2 = 0.5, and (x - 0.1f) * -0.5f = -1.25 */
        float x0 = 1.25f;
        float x1 = 2.6f;
        for (int n = 0; n < abs(k); n++) {
            x0 = nextafterf(x0, k < 0 ? -9.0f : 9.0f);
            x1 = nextafterf(x1, k < 0 ? -9.0f : 9.0f);
        }
        float z0 = (x0 - 1.0f) * 2.0f;
        float z1 = (x1 - 0.1f) * -0.5f;
        double want = z0 <= 0.5f ? 10.5 : 30.5;
        EXPECT(value_of(&model, (double)x0, -10.0) == want);
        EXPECT(value_of(&model, 9.0, (double)x1) == (z1 <= -1.25f ? 20.5 : 30.5));
    }
    EXPECT(value_of(&model, 9.0, (double)INFINITY) == 20.5); /* a falling scaler */
    EXPECT(value_of(&model, 9.0, -(double)INFINITY) == 30.5);
}

TEST(onnx_refuses_by_name_and_leaves_the_file_to_others)
{
    myr_buf graph = {0};
    myr_buf node = make_node("Normalizer", "ai.onnx.ml", "X", "Y");
    put_message(&graph, 1, &node);
    put_value(&graph, 11, "X", MYR_ONNX_FLOAT, 2);
    put_value(&graph, 12, "Y", MYR_ONNX_FLOAT, 2);
    expect_import(make_model(&graph), MYR_UNSUPPORTED, "m.onnx: operator ai.onnx.ml.Normalizer: ");
    graph = (myr_buf){0};
    node = make_node("Fancy", "com.example", "X", "Y");
    put_message(&graph, 1, &node);
    put_value(&graph, 11, "X", MYR_ONNX_FLOAT, 2);
    put_value(&graph, 12, "Y", MYR_ONNX_FLOAT, 2);
    expect_import(make_model(&graph), MYR_UNSUPPORTED, "domain com.example is not known");
    graph = (myr_buf){0};
    put_value(&graph, 12, "Y", MYR_ONNX_FLOAT, 2);
    expect_import(make_model(&graph), MYR_UNSUPPORTED, "nothing makes output \"Y\"");
    expect_import(make_tree_model("BRANCH_LEQ", 0, false), MYR_UNSUPPORTED, "its own ancestor");
    expect_import(make_tree_model("BRANCH_LEQ", 9, false), MYR_UNSUPPORTED, "has no node 9");
    expect_import(make_tree_model("BRANCH_SO", 1, false), MYR_UNSUPPORTED, "mode BRANCH_SO");
}

/* Two parents of one node are written out twice; a graph that grows without bound is left alone. */
TEST(onnx_shared_nodes_are_written_out_within_bounds)
{
    enum { COUNT = 61 };
    int64_t zeros[COUNT] = {0};
    int64_t numbers[COUNT];
    int64_t next[COUNT];
    float values[COUNT] = {0};
    const char *modes[COUNT];
    const float weight = 1.0f;
    const int64_t last = COUNT - 1;
    for (int k = 0; k < COUNT; k++) {
        numbers[k] = k;
        next[k] = k + 1 < COUNT ? k + 1 : 0;
        values[k] = (float)k;
        modes[k] = k + 1 < COUNT ? "BRANCH_LEQ" : "LEAF";
    }
    myr_buf graph = {0};
    myr_buf node = make_node("TreeEnsembleRegressor", "ai.onnx.ml", "X", "Y");
    put_attr_ints(&node, "nodes_treeids", zeros, COUNT);
    put_attr_ints(&node, "nodes_nodeids", numbers, COUNT);
    put_attr_ints(&node, "nodes_featureids", zeros, COUNT);
    put_attr_ints(&node, "nodes_truenodeids", next, COUNT);
    put_attr_ints(&node, "nodes_falsenodeids", next, COUNT);
    put_attr_texts(&node, "nodes_modes", modes, COUNT);
    put_attr_floats(&node, "nodes_values", values, COUNT);
    put_attr_ints(&node, "target_treeids", zeros, 1);
    put_attr_ints(&node, "target_nodeids", &last, 1);
    put_attr_ints(&node, "target_ids", zeros, 1);
    put_attr_floats(&node, "target_weights", &weight, 1);
    put_attr_int(&node, "n_targets", 1);
    put_message(&graph, 1, &node);
    put_value(&graph, 11, "X", MYR_ONNX_FLOAT, 1);
    put_value(&graph, 12, "Y", MYR_ONNX_FLOAT, 1);
    expect_import(make_model(&graph), MYR_UNSUPPORTED, "written out, its trees have more than");
}

TEST(onnx_signature_says_what_goes_in_and_out)
{
    MYR_AUTO(myr_onnx_signature_ptr) signature = NULL;
    MYR_AUTO(myr_buf) model = make_tree_model("BRANCH_LEQ", 1, true);
    myr_err err = {0};
    EXPECT(myr_onnx_is(model.data, model.size));
    EXPECT_RC(myr_onnx_signature_read("m", model.data, model.size, &signature, &err), OK, &err);
    EXPECT(signature->ir_version == 8 && signature->opset_ml == 1 && signature->opset == 0);
    EXPECT_STR(signature->producer, "fixture");
    EXPECT(signature->input_count == 1 && signature->output_count == 1 && signature->feature_count == 2);
    EXPECT_STR(signature->inputs[0].name, "X");
    EXPECT(signature->inputs[0].type == MYR_ONNX_FLOAT && signature->inputs[0].dim_count == 2);
    EXPECT(signature->inputs[0].dims[0] == -1 && signature->inputs[0].dims[1] == 2);
    EXPECT_STR(signature->feature_names[1], "f1");
    EXPECT_INT(signature->operator_count, 2);
    EXPECT_STR(signature->operators[0], "ai.onnx.ml.Scaler");
    EXPECT_INT(signature->external_file_count, 0);
}

TEST(onnx_signature_names_columns_of_several_inputs)
{
    MYR_AUTO(myr_onnx_signature_ptr) signature = NULL;
    myr_buf graph = {0};
    myr_err err = {0};
    put_value(&graph, 11, "age", MYR_ONNX_FLOAT, 1);
    put_value(&graph, 11, "rest", MYR_ONNX_FLOAT, 2);
    MYR_AUTO(myr_buf) model = make_model(&graph);
    EXPECT_RC(myr_onnx_signature_read("m", model.data, model.size, &signature, &err), OK, &err);
    EXPECT_INT(signature->feature_count, 3);
    EXPECT_STR(signature->feature_names[0], "age");
    EXPECT_STR(signature->feature_names[1], "rest_0");
    EXPECT_STR(signature->feature_names[2], "rest_1");
}

/* A graph in an attribute of a node in a graph in …; the innermost has a tensor in another file. */
static myr_buf make_nested(unsigned depth)
{
    myr_buf inner = {0};
    myr_buf tensor = {0};
    myr_buf entry = {0};
    put_text(&entry, 1, "location");
    put_text(&entry, 2, "weights.bin");
    put_text(&tensor, 8, "w");
    put_message(&tensor, 13, &entry);
    put_int(&tensor, 14, 1);
    put_message(&inner, 5, &tensor);
    for (unsigned k = 0; k < depth; k++) {
        myr_buf attr = {0};
        myr_buf outer = {0};
        myr_buf node = make_node("If", "", "X", "Y");
        put_text(&attr, 1, "then_branch");
        put_message(&attr, 6, &inner);
        put_message(&node, 5, &attr);
        put_message(&outer, 1, &node);
        inner = outer;
    }
    return make_model(&inner);
}

TEST(onnx_graphs_nest_to_a_limit)
{
    MYR_AUTO(myr_onnx_signature_ptr) signature = NULL;
    myr_err err = {0};
    MYR_AUTO(myr_buf) good = make_nested(MYR_ONNX_DEPTH_MAX);
    MYR_AUTO(myr_buf) bad = make_nested(MYR_ONNX_DEPTH_MAX + 1);
    EXPECT_RC(myr_onnx_signature_read("m", bad.data, bad.size, &signature, &err), TOO_LARGE, &err);
    EXPECT_HAS(err.message, "deeper than 16");
    EXPECT_RC(myr_onnx_signature_read("m", good.data, good.size, &signature, &err), OK, &err);
    EXPECT_INT(signature->external_file_count, 1);
    EXPECT_STR(signature->external_files[0], "weights.bin");
}

static myr_buf make_tensor_model(unsigned dim_count, int64_t dim)
{
    myr_buf graph = {0};
    myr_buf tensor = {0};
    put_text(&tensor, 8, "w");
    for (unsigned k = 0; k < dim_count; k++) {
        put_int(&tensor, 1, dim);
    }
    put_int(&tensor, 2, MYR_ONNX_FLOAT);
    put_message(&graph, 5, &tensor);
    return make_model(&graph);
}

TEST(onnx_tensors_have_limits)
{
    expect_import(make_tensor_model(MYR_ONNX_DIMS_MAX, 1), MYR_UNSUPPORTED, "answers labels alone, or nothing");
    expect_import(make_tensor_model(MYR_ONNX_DIMS_MAX + 1, 1), MYR_TOO_LARGE, "more than 8 dimensions");
    expect_import(make_tensor_model(1, MYR_ONNX_NUMBERS_MAX), MYR_UNSUPPORTED, "answers labels alone, or nothing");
    expect_import(make_tensor_model(1, MYR_ONNX_NUMBERS_MAX + 1), MYR_TOO_LARGE, "at most 268435456 numbers");
    expect_import(make_tensor_model(8, 1 << 20), MYR_TOO_LARGE, "at most 268435456 numbers");
    expect_import(make_tensor_model(1, -1), MYR_TOO_LARGE, "dimension 0 is -1");
}

/* That many initializers without a name or a number. */
static myr_buf make_crowd(uint32_t count)
{
    myr_buf graph = {0};
    for (uint32_t k = 0; k < count; k++) {
        put_bytes(&graph, 5, "", 0);
    }
    return make_model(&graph);
}

TEST(onnx_graphs_have_a_limit_of_parts)
{
    expect_import(make_crowd(MYR_ONNX_NODES_MAX), MYR_UNSUPPORTED, "answers labels alone, or nothing");
    expect_import(make_crowd(MYR_ONNX_NODES_MAX + 1), MYR_TOO_LARGE, "more than 1048576 of field 5");
}

/* x + 1 + 1 + …, then (2.0) * that. */
static myr_buf make_steps(unsigned count)
{
    const float one = 1.0f;
    const float weight = 2.0f;
    char from[16] = "X";
    myr_buf graph = {0};
    myr_buf tensor = {0};
    put_int(&tensor, 1, 1);
    put_int(&tensor, 2, MYR_ONNX_FLOAT);
    put_bytes(&tensor, 4, &one, sizeof one);
    put_text(&tensor, 8, "one");
    put_message(&graph, 5, &tensor);
    for (unsigned k = 0; k < count; k++) {
        char to[16];
        snprintf(to, sizeof to, "v%u", k);
        myr_buf node = make_node("Add", "", from, to);
        put_text(&node, 1, "one");
        put_message(&graph, 1, &node);
        memcpy(from, to, sizeof from);
    }
    myr_buf node = make_node("LinearRegressor", "ai.onnx.ml", from, "Y");
    put_attr_floats(&node, "coefficients", &weight, 1);
    put_message(&graph, 1, &node);
    put_value(&graph, 11, "X", MYR_ONNX_FLOAT, 1);
    put_value(&graph, 12, "Y", MYR_ONNX_FLOAT, 1);
    return make_model(&graph);
}

TEST(onnx_columns_have_a_limit_of_steps)
{
    MYR_AUTO(myr_buf) some = make_steps(MYR_ONNX_STEPS_MAX - 1); /* the input's rounding is the first step */
    EXPECT(value_of(&some, 5.0, 0) == 2.0 * (5.0 + MYR_ONNX_STEPS_MAX - 1));
    EXPECT(isnan(value_of(&some, (double)NAN, 0)));
    expect_import(make_steps(MYR_ONNX_STEPS_MAX), MYR_UNSUPPORTED, "more than 16 operations on one column");
}

TEST(onnx_damage_is_an_error_and_never_a_crash)
{
    MYR_AUTO(myr_buf) model = make_tree_model("BRANCH_LT", 1, true);
    static const unsigned char changes[] = {0x01, 0x80, 0xff};
    for (size_t size = 0; size < model.size; size++) {
        MYR_AUTO(myr_imported_ptr) imported = NULL;
        MYR_AUTO(myr_mem) copy = myr_alloc(size + 1);
        myr_err err = {0};
        memcpy(copy, model.data, size);
        myr_rc rc = import_of(copy, size, &imported, &err);
        EXPECT(rc == MYR_OK || rc == MYR_BAD_FORMAT || rc == MYR_UNSUPPORTED);
        EXPECT((rc != MYR_OK || size > model.size - 20) && (rc == MYR_OK || err.message[0] != '\0'));
    }
    for (size_t at = 0; at < model.size; at++) {
        for (size_t k = 0; k < MYR_COUNT_OF(changes); k++) {
            MYR_AUTO(myr_imported_ptr) imported = NULL;
            MYR_AUTO(myr_onnx_signature_ptr) signature = NULL;
            myr_err err = {0};
            model.data[at] = (char)(model.data[at] ^ changes[k]);
            myr_rc rc = import_of(model.data, model.size, &imported, &err);
            EXPECT(rc != MYR_INTERNAL && rc != MYR_NO_MEMORY);
            MYR_IGNORE(myr_onnx_signature_read("m", model.data, model.size, &signature, &err)); /* any answer will do */
            model.data[at] = (char)(model.data[at] ^ changes[k]);
        }
    }
}

TEST(onnx_survives_each_failed_allocation)
{
    MYR_AUTO(myr_buf) model = make_tree_model("BRANCH_EQ", 1, false);
    FAIL_EACH_ALLOC (nth) {
        myr_imported *imported = NULL;
        myr_onnx_signature *signature = NULL;
        myr_rc rc = import_of(model.data, model.size, &imported, NULL);
        EXPECT((rc == MYR_OK && imported != NULL) || (rc == MYR_NO_MEMORY && imported == NULL));
        myr_rc again = myr_onnx_signature_read("m", model.data, model.size, &signature, NULL);
        EXPECT((again == MYR_OK && signature != NULL) || (again == MYR_NO_MEMORY && signature == NULL));
        myr_imported_free(imported);
        myr_onnx_signature_free(signature);
    }
}

RUN()
