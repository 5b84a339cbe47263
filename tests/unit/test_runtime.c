/* One model through ONNX Runtime: types, shapes, several inputs and outputs, rows it refuses, files it refuses. */
#include "runtime_fixture.h"

#include <math.h>

#define ROWS 5

typedef struct one {
    source_store store;
    myr_runtime *runtime;
    source_model *model;
    double numbers[8][ROWS];
    myr_str texts[ROWS];
    myr_col cols[8];
    double cells[4][ROWS];
    double *values[4];
    uint8_t is_bad[ROWS];
    myr_err err;
} one;

static inline void one_drop(one *o)
{
    myr_runtime_release(o->runtime);
    source_store_drop(&o->store);
}

/* Columns of r + 10 c. */
static void one_start(one *o, myr_buf *bytes, uint32_t feature_count, const uint8_t *is_text, uint32_t output_count)
{
    o->runtime = runtime_make(0);
    o->model = source_add(&o->store, bytes, feature_count, is_text, output_count);
    for (uint32_t c = 0; c < 8; c++) {
        for (uint32_t r = 0; r < ROWS; r++)
            o->numbers[c][r] = r + 10.0 * c;
        o->cols[c] = (myr_col){.name = "c", .type = MYR_COL_DOUBLE, .data.f64 = o->numbers[c]};
    }
    for (uint32_t k = 0; k < 4; k++)
        o->values[k] = o->cells[k];
}

static myr_rc one_run(one *o)
{
    memset(o->is_bad, 0, sizeof o->is_bad);
    return runtime_score(o->runtime, &o->store, o->model, o->cols, ROWS, o->values, o->is_bad, &o->err);
}

TEST(a_dot_product)
{
    if (!runtime_is_here()) skip();
    MYR_AUTO(one) o = {0};
    MYR_AUTO(myr_buf) bytes = {0};
    onnx_dot(&bytes, 3, 1);
    one_start(&o, &bytes, 3, NULL, 1);
    EXPECT_RC(one_run(&o), OK, &o.err);
    for (uint32_t r = 0; r < ROWS; r++)
        EXPECT(o.cells[0][r] == r + 2.0 * (r + 10) + 3.0 * (r + 20));
    EXPECT_RC(one_run(&o), OK, &o.err);
    EXPECT_INT(o.model->loads, 1);
}

TEST(missing_and_infinite_cells_go_through)
{
    if (!runtime_is_here()) skip();
    MYR_AUTO(one) o = {0};
    MYR_AUTO(myr_buf) bytes = {0};
    uint8_t valid[ROWS] = {1, 0, 1, 1, 1};
    onnx_dot(&bytes, 1, 2);
    one_start(&o, &bytes, 1, NULL, 1);
    o.cols[0].valid = valid;
    o.numbers[0][2] = INFINITY;
    EXPECT_RC(one_run(&o), OK, &o.err);
    EXPECT(o.cells[0][0] == 0 && isnan(o.cells[0][1]) && isinf(o.cells[0][2]) && o.cells[0][3] == 6);
    EXPECT_INT(o.is_bad[1], 0);
}

/* y = cast(a) + cast(b) + …, one input [any, 1] per type. */
TEST(every_type_of_number_as_inputs_of_their_own)
{
    if (!runtime_is_here()) skip();
    MYR_AUTO(one) o = {0};
    MYR_AUTO(myr_buf) bytes = {0};
    MYR_AUTO(myr_buf) graph = {0};
    MYR_AUTO(myr_buf) to = {0};
    static const int types[] = {ONNX_FLOAT, ONNX_DOUBLE, ONNX_INT64, ONNX_INT32, ONNX_BOOL};
    for (size_t i = 0; i < MYR_COUNT_OF(types); i++) {
        char name[8], cast[8], sum[8], pair[24];
        snprintf(name, sizeof name, "in%zu", i);
        snprintf(cast, sizeof cast, "c%zu", i);
        snprintf(sum, sizeof sum, i + 1 == MYR_COUNT_OF(types) ? "y" : "s%zu", i);
        snprintf(pair, sizeof pair, i == 0 ? "c0,c0" : "s%zu,%s", i - 1, cast);
        onnx_rows(&graph, 11, name, types[i], 1);
        onnx_attribute_int(&to, "to", ONNX_DOUBLE);
        onnx_node(&graph, "Cast", name, cast, &to);
        onnx_node(&graph, "Add", pair, sum, NULL);
    }
    onnx_rows(&graph, 12, "y", ONNX_DOUBLE, 1);
    onnx_model(&bytes, &graph);
    one_start(&o, &bytes, 5, NULL, 1);
    for (uint32_t r = 0; r < ROWS; r++) {
        o.numbers[1][r] = 0.1 * r;
        o.numbers[4][r] = r % 2;
    }
    EXPECT_RC(one_run(&o), OK, &o.err);
    for (uint32_t r = 0; r < ROWS; r++)
        EXPECT(o.cells[0][r] == 2.0 * r + 0.1 * r + (r + 20.0) + (r + 30.0) + r % 2);
    o.numbers[2][0] = 2.5;    /* no int64 */
    o.numbers[3][1] = 0x1p31; /* no int32 */
    o.numbers[3][2] = 0x1p31 - 1;
    o.numbers[4][3] = 2; /* no bool */
    o.numbers[2][4] = (double)NAN;
    EXPECT_RC(one_run(&o), OK, &o.err);
    EXPECT(o.is_bad[0] && o.is_bad[1] && !o.is_bad[2] && o.is_bad[3] && o.is_bad[4]);
    EXPECT(o.cells[0][2] == 2.0 * 2 + 0.1 * 2 + 22.0 + (0x1p31 - 1) + 0);
}

TEST(texts_go_in_and_numbers_are_their_shortest_texts)
{
    if (!runtime_is_here()) skip();
    MYR_AUTO(one) o = {0};
    MYR_AUTO(myr_buf) bytes = {0};
    MYR_AUTO(myr_buf) graph = {0};
    MYR_AUTO(myr_buf) to = {0};
    static const uint8_t is_text[] = {1};
    onnx_rows(&graph, 11, "s", ONNX_STRING, 1);
    onnx_rows(&graph, 12, "y", ONNX_FLOAT, 1);
    onnx_attribute_int(&to, "to", ONNX_FLOAT);
    onnx_node(&graph, "Cast", "s", "y", &to);
    onnx_model(&bytes, &graph);
    one_start(&o, &bytes, 1, is_text, 1);
    o.numbers[0][0] = 2.5;
    EXPECT_RC(one_run(&o), OK, &o.err);
    EXPECT(o.cells[0][0] == 2.5 && o.cells[0][3] == 3);
    for (uint32_t r = 0; r < ROWS; r++)
        o.texts[r] = myr_str_of("12x" + 0);
    for (uint32_t r = 0; r < ROWS; r++)
        o.texts[r].size = 2; /* not NUL-terminated */
    o.texts[3] = myr_str_of("pear");
    o.cols[0] = (myr_col){.name = "s", .type = MYR_COL_TEXT, .data.text = o.texts};
    EXPECT_RC(one_run(&o), OK, &o.err);
    EXPECT(o.cells[0][0] == 12 && o.cells[0][4] == 12);
    EXPECT(o.is_bad[3] == 1 && o.is_bad[2] == 0); /* the model refuses "pear" alone: the others are asked again */
}

TEST(a_text_that_is_no_number_makes_a_row_bad)
{
    if (!runtime_is_here()) skip();
    MYR_AUTO(one) o = {0};
    MYR_AUTO(myr_buf) bytes = {0};
    onnx_dot(&bytes, 1, 2);
    one_start(&o, &bytes, 1, NULL, 1);
    for (uint32_t r = 0; r < ROWS; r++)
        o.texts[r] = myr_str_of(r == 1 ? "x" : "4");
    o.cols[0] = (myr_col){.name = "s", .type = MYR_COL_TEXT, .data.text = o.texts};
    EXPECT_RC(one_run(&o), OK, &o.err);
    EXPECT(o.cells[0][0] == 8 && o.is_bad[1] == 1 && o.is_bad[0] == 0);
}

/* Two float outputs and an integer one: the floats are the answer, side by side. */
TEST(several_outputs_stand_side_by_side)
{
    if (!runtime_is_here()) skip();
    MYR_AUTO(one) o = {0};
    MYR_AUTO(myr_buf) bytes = {0};
    MYR_AUTO(myr_buf) graph = {0};
    MYR_AUTO(myr_buf) to = {0};
    onnx_rows(&graph, 11, "x", ONNX_FLOAT, 2);
    onnx_attribute_int(&to, "to", ONNX_INT64);
    onnx_node(&graph, "Cast", "x", "label", &to);
    onnx_node(&graph, "Neg", "x", "minus", NULL);
    onnx_node(&graph, "Add", "x,x", "twice", NULL);
    onnx_rows(&graph, 12, "label", ONNX_INT64, 2);
    onnx_rows(&graph, 12, "minus", ONNX_FLOAT, 2);
    onnx_rows(&graph, 12, "twice", ONNX_FLOAT, 2);
    onnx_model(&bytes, &graph);
    one_start(&o, &bytes, 2, NULL, 4);
    EXPECT_RC(one_run(&o), OK, &o.err);
    for (uint32_t r = 0; r < ROWS; r++) {
        EXPECT(o.cells[0][r] == -(double)r && o.cells[1][r] == -(r + 10.0));
        EXPECT(o.cells[2][r] == 2.0 * r && o.cells[3][r] == 2 * (r + 10.0));
    }
}

/* A model exported for exactly 2 rows: 5 rows are three runs, the last one filled up. */
TEST(a_fixed_number_of_rows_is_run_in_pieces)
{
    if (!runtime_is_here()) skip();
    MYR_AUTO(one) o = {0};
    MYR_AUTO(myr_buf) bytes = {0};
    MYR_AUTO(myr_buf) graph = {0};
    int64_t dims[] = {2, 1, 3};
    onnx_value(&graph, 11, "x", ONNX_FLOAT, dims, 3);
    onnx_value(&graph, 12, "y", ONNX_FLOAT, dims, 3);
    onnx_node(&graph, "Neg", "x", "y", NULL);
    onnx_model(&bytes, &graph);
    one_start(&o, &bytes, 3, NULL, 3);
    EXPECT_RC(one_run(&o), OK, &o.err);
    for (uint32_t r = 0; r < ROWS; r++)
        EXPECT(o.cells[2][r] == -(r + 20.0));
}

/* ---- what is refused, and in which words ---- */

static void describe_fails(myr_buf *bytes, uint32_t feature_count, myr_rc rc, const char *part)
{
    myr_err err = {0};
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    MYR_AUTO(myr_runtime_ptr) runtime = runtime_make(0);
    myr_runtime_file file = {"m.onnx", bytes->data, bytes->size};
    myr_runtime_bundle bundle = {.files = &file, .file_count = 1};
    myr_runtime_signature signature;
    myr_rc got = myr_runtime_describe(runtime, &bundle, feature_count, arena, &signature, &err);
    if (got != rc) print_error("%s\n", err.message);
    EXPECT_INT(got, rc);
    EXPECT_HAS(err.message, part);
    EXPECT_HAS(err.message, "m.onnx");
}

TEST(what_no_row_can_be_is_refused_by_name)
{
    if (!runtime_is_here()) skip();
    MYR_AUTO(myr_buf) bytes = {0};
    MYR_AUTO(myr_buf) graph = {0};
    MYR_AUTO(myr_buf) to = {0};
    onnx_rows(&graph, 11, "half", 10 /* float16 */, 1);
    onnx_rows(&graph, 12, "y", ONNX_FLOAT, 1);
    onnx_attribute_int(&to, "to", ONNX_FLOAT);
    onnx_node(&graph, "Cast", "half", "y", &to);
    onnx_model(&bytes, &graph);
    describe_fails(&bytes, 0, MYR_UNSUPPORTED, "input 'half'");

    myr_buf_clear(&bytes);
    onnx_rows(&graph, 11, "x", ONNX_STRING, 1);
    onnx_rows(&graph, 12, "word", ONNX_STRING, 1);
    onnx_node(&graph, "Identity", "x", "word", NULL);
    onnx_model(&bytes, &graph);
    describe_fails(&bytes, 0, MYR_UNSUPPORTED, "texts");

    myr_buf_clear(&bytes);
    onnx_value(&graph, 11, "x", ONNX_FLOAT, NULL, 0);
    onnx_value(&graph, 12, "y", ONNX_FLOAT, NULL, 0);
    onnx_node(&graph, "Neg", "x", "y", NULL);
    onnx_model(&bytes, &graph);
    describe_fails(&bytes, 0, MYR_UNSUPPORTED, "no dimension of rows");

    myr_buf_clear(&bytes);
    onnx_rows(&graph, 11, "x", ONNX_FLOAT, 2);
    onnx_rows(&graph, 12, "y", ONNX_FLOAT, 2);
    onnx_node(&graph, "Frobnicate", "x", "y", NULL);
    onnx_model(&bytes, &graph);
    describe_fails(&bytes, 0, MYR_BAD_FORMAT, "Frobnicate");

    myr_buf_clear(&bytes);
    myr_buf_puts(&bytes, "\x08\x08not onnx at all");
    describe_fails(&bytes, 0, MYR_BAD_FORMAT, "ONNX Runtime: ");
}

TEST(any_number_of_columns_needs_to_be_told_how_many)
{
    if (!runtime_is_here()) skip();
    MYR_AUTO(myr_buf) bytes = {0};
    MYR_AUTO(myr_buf) graph = {0};
    onnx_rows(&graph, 11, "x", ONNX_FLOAT, -1);
    onnx_rows(&graph, 12, "y", ONNX_FLOAT, -1);
    onnx_node(&graph, "Neg", "x", "y", NULL);
    onnx_model(&bytes, &graph);
    describe_fails(&bytes, 0, MYR_BAD_INPUT, "--features");
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    MYR_AUTO(myr_runtime_ptr) runtime = runtime_make(0);
    myr_runtime_file file = {"m.onnx", bytes.data, bytes.size};
    myr_runtime_bundle bundle = {.files = &file, .file_count = 1};
    myr_runtime_signature signature;
    myr_err err = {0};
    EXPECT_RC(myr_runtime_describe(runtime, &bundle, 7, arena, &signature, &err), OK, &err);
    EXPECT_INT(signature.inputs[0].width, 7);
    EXPECT_INT(signature.value_count, 7);
    EXPECT_STR(signature.inputs[0].type, "float");
}

TEST(too_many_values_a_row_are_refused)
{
    if (!runtime_is_here()) skip();
    MYR_AUTO(myr_buf) bytes = {0};
    MYR_AUTO(myr_buf) graph = {0};
    for (int64_t width = MYR_OUTPUTS_MAX; width <= MYR_OUTPUTS_MAX + 1; width++) {
        myr_buf_clear(&bytes);
        onnx_rows(&graph, 11, "x", ONNX_FLOAT, width);
        onnx_rows(&graph, 12, "y", ONNX_FLOAT, width);
        onnx_node(&graph, "Neg", "x", "y", NULL);
        onnx_model(&bytes, &graph);
        if (width > MYR_OUTPUTS_MAX) {
            describe_fails(&bytes, 0, MYR_UNSUPPORTED, "not 1 to 1024 for each");
            continue;
        }
        MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
        MYR_AUTO(myr_runtime_ptr) runtime = runtime_make(0);
        myr_runtime_file file = {"m.onnx", bytes.data, bytes.size};
        myr_runtime_bundle bundle = {.files = &file, .file_count = 1};
        myr_runtime_signature signature;
        myr_err err = {0};
        EXPECT_RC(myr_runtime_describe(runtime, &bundle, 0, arena, &signature, &err), OK, &err);
    }
}

/* y = sum over (w' x' x w): 2,000 x 2,000 floats on the way, 16 MB, where the allocator may hold 2 MiB. */
TEST(a_run_that_needs_too_much_memory_is_an_error)
{
    if (!runtime_is_here()) skip();
    static float w[2000];
    MYR_AUTO(myr_buf) bytes = {0};
    MYR_AUTO(myr_buf) graph = {0};
    int64_t dims[] = {1, 2000};
    onnx_rows(&graph, 11, "x", ONNX_FLOAT, 1);
    onnx_rows(&graph, 12, "y", ONNX_FLOAT, 1);
    onnx_floats(&graph, "w", w, dims, 2);
    onnx_node(&graph, "MatMul", "x,w", "m", NULL);
    onnx_node(&graph, "Transpose", "m", "t", NULL);
    onnx_node(&graph, "MatMul", "t,m", "big", NULL);
    onnx_node(&graph, "ReduceMax", "big", "r", NULL);
    onnx_node(&graph, "Add", "x,r", "y", NULL);
    onnx_model(&bytes, &graph);
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    MYR_AUTO(myr_runtime_ptr) runtime = runtime_make(1 << 20);
    myr_runtime_file file = {"m.onnx", bytes.data, bytes.size};
    myr_runtime_bundle bundle = {.files = &file, .file_count = 1};
    myr_runtime_signature signature;
    myr_err err = {0};
    for (int i = 0; i < 3; i++)
        EXPECT_RC(myr_runtime_describe(runtime, &bundle, 0, arena, &signature, &err), NO_MEMORY, &err);
    EXPECT_HAS(err.message, "runtime.onnx.bytes-max");
}

TEST(an_artifact_that_is_another_model_is_damage)
{
    if (!runtime_is_here()) skip();
    MYR_AUTO(one) o = {0};
    MYR_AUTO(myr_buf) bytes = {0};
    onnx_dot(&bytes, 3, 1);
    one_start(&o, &bytes, 2, NULL, 1);
    EXPECT_RC(one_run(&o), BAD_INPUT, &o.err);
    EXPECT_HAS(o.err.message, "take 3 columns, 2 are given");
}

/* ---- the library ---- */

TEST(a_library_that_is_not_there_is_named)
{
    myr_runtime_opts opts;
    myr_err err = {0};
    char version[32], path[64];
    MYR_AUTO(myr_runtime_ptr) runtime = NULL;
    myr_opt_defaults(myr_runtime_opt_table, &opts);
    snprintf(opts.library, sizeof opts.library, "/nowhere/libonnxruntime.so");
    EXPECT_RC(myr_runtime_new(&opts, &runtime, &err), OK, &err);
    EXPECT_RC(myr_runtime_find(runtime, version, sizeof version, path, sizeof path, &err), UNAVAILABLE, &err);
    EXPECT_HAS(err.message, "/nowhere/libonnxruntime.so");
    EXPECT_HAS(err.message, "runtime.onnx.library");
}

TEST(a_library_that_is_another_is_named)
{
    myr_runtime_opts opts;
    myr_err err = {0};
    char version[32], path[64];
    MYR_AUTO(myr_runtime_ptr) runtime = NULL;
    myr_opt_defaults(myr_runtime_opt_table, &opts);
    snprintf(opts.library, sizeof opts.library, "libm.so.6");
    EXPECT_RC(myr_runtime_new(&opts, &runtime, &err), OK, &err);
    EXPECT_RC(myr_runtime_find(runtime, version, sizeof version, path, sizeof path, &err), UNAVAILABLE, &err);
    EXPECT_HAS(err.message, "is not ONNX Runtime");
}

TEST(the_library_that_is_there_says_its_version)
{
    if (!runtime_is_here()) skip();
    char version[32], path[MYR_PATH_BYTES_MAX];
    myr_err err = {0};
    MYR_AUTO(myr_runtime_ptr) runtime = runtime_make(0);
    EXPECT_RC(myr_runtime_find(runtime, version, sizeof version, path, sizeof path, &err), OK, &err);
    EXPECT(version[0] == '1' && version[1] == '.');
    EXPECT_HAS(path, "libonnxruntime.so");
}

RUN()
