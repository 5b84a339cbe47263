/*
 * ONNX files made byte by byte, as small as they can be, and a source that hands them to a runtime: for the tests of
 * runtime and of the models that a fleet gives to it.
 */
#ifndef MYR_RUNTIME_FIXTURE_H
#define MYR_RUNTIME_FIXTURE_H

#include <stdlib.h>

#include "runtime/runtime.h"
#include <stdatomic.h>

#include "testing.h"

#ifndef MYR_DEFAULT_ONNXRUNTIME_LIB
#define MYR_DEFAULT_ONNXRUNTIME_LIB ""
#endif

/* ---- protobuf ---- */

TESTING_UNUSED static void onnx_varint(myr_buf *out, uint64_t value)
{
    while (value >= 0x80) {
        myr_buf_putc(out, (char)(value | 0x80));
        value >>= 7;
    }
    myr_buf_putc(out, (char)value);
}

TESTING_UNUSED static void onnx_int(myr_buf *out, unsigned field, uint64_t value)
{
    onnx_varint(out, (uint64_t)field << 3);
    onnx_varint(out, value);
}

TESTING_UNUSED static void onnx_bytes(myr_buf *out, unsigned field, const void *data, size_t size)
{
    onnx_varint(out, (uint64_t)field << 3 | 2);
    onnx_varint(out, size);
    myr_buf_append(out, data, size);
}

TESTING_UNUSED static void onnx_text(myr_buf *out, unsigned field, const char *text)
{
    onnx_bytes(out, field, text, strlen(text));
}

/* A message that was made in `part` becomes a field of `out`; part is empty again. */
TESTING_UNUSED static void onnx_part(myr_buf *out, unsigned field, myr_buf *part)
{
    onnx_bytes(out, field, part->data != NULL ? part->data : "", part->size);
    myr_buf_clear(part);
}

/* ---- a graph ---- */

enum { ONNX_FLOAT = 1, ONNX_INT32 = 6, ONNX_INT64 = 7, ONNX_STRING = 8, ONNX_BOOL = 9, ONNX_DOUBLE = 11 };

/* An input (field 11) or output (12) of a graph; a dimension of -1 is free. */
TESTING_UNUSED static void onnx_value(myr_buf *graph, unsigned field, const char *name, int type, const int64_t *dims,
                                      size_t rank)
{
    MYR_AUTO(myr_buf) dim = {0};
    MYR_AUTO(myr_buf) shape = {0};
    MYR_AUTO(myr_buf) tensor = {0};
    MYR_AUTO(myr_buf) kind = {0};
    MYR_AUTO(myr_buf) value = {0};
    for (size_t i = 0; i < rank; i++) {
        if (dims[i] >= 0) onnx_int(&dim, 1, (uint64_t)dims[i]);
        onnx_part(&shape, 1, &dim);
    }
    onnx_int(&tensor, 1, (uint64_t)type);
    onnx_part(&tensor, 2, &shape);
    onnx_part(&kind, 1, &tensor);
    onnx_text(&value, 1, name);
    onnx_part(&value, 2, &kind);
    onnx_part(graph, field, &value);
}

/* An input or output of [any, width]. */
TESTING_UNUSED static void onnx_rows(myr_buf *graph, unsigned field, const char *name, int type, int64_t width)
{
    int64_t dims[] = {-1, width};
    onnx_value(graph, field, name, type, dims, 2);
}

TESTING_UNUSED static void onnx_floats(myr_buf *graph, const char *name, const float *values, const int64_t *dims,
                                       size_t rank)
{
    MYR_AUTO(myr_buf) tensor = {0};
    size_t count = 1;
    for (size_t i = 0; i < rank; i++) {
        onnx_int(&tensor, 1, (uint64_t)dims[i]);
        count *= (size_t)dims[i];
    }
    onnx_int(&tensor, 2, ONNX_FLOAT);
    onnx_text(&tensor, 8, name);
    onnx_bytes(&tensor, 9, values, count * sizeof *values);
    onnx_part(graph, 5, &tensor);
}

/* The same, lying in another file. */
TESTING_UNUSED static void onnx_floats_outside(myr_buf *graph, const char *name, const char *file, const int64_t *dims,
                                               size_t rank)
{
    MYR_AUTO(myr_buf) tensor = {0};
    MYR_AUTO(myr_buf) entry = {0};
    for (size_t i = 0; i < rank; i++)
        onnx_int(&tensor, 1, (uint64_t)dims[i]);
    onnx_int(&tensor, 2, ONNX_FLOAT);
    onnx_text(&tensor, 8, name);
    onnx_text(&entry, 1, "location");
    onnx_text(&entry, 2, file);
    onnx_part(&tensor, 13, &entry);
    onnx_int(&tensor, 14, 1); /* EXTERNAL */
    onnx_part(graph, 5, &tensor);
}

/* A node; inputs and output by name, with commas. attribute may be NULL. */
TESTING_UNUSED static void onnx_node(myr_buf *graph, const char *op, const char *inputs, const char *output,
                                     myr_buf *attribute)
{
    MYR_AUTO(myr_buf) node = {0};
    myr_str rest = myr_str_of(inputs), part;
    while (myr_str_split(&rest, ',', &part))
        onnx_bytes(&node, 1, part.data, part.size);
    onnx_text(&node, 2, output);
    onnx_text(&node, 4, op);
    if (attribute != NULL) onnx_part(&node, 5, attribute);
    onnx_part(graph, 1, &node);
}

TESTING_UNUSED static void onnx_attribute_int(myr_buf *out, const char *name, int64_t value)
{
    onnx_text(out, 1, name);
    onnx_int(out, 3, (uint64_t)value);
    onnx_int(out, 20, 2); /* INT */
}

/* The model around a graph, which is empty then. */
TESTING_UNUSED static void onnx_model(myr_buf *out, myr_buf *graph)
{
    MYR_AUTO(myr_buf) opset = {0};
    onnx_int(out, 1, 8); /* ir_version */
    onnx_text(graph, 2, "g");
    onnx_part(out, 7, graph);
    onnx_text(&opset, 1, "");
    onnx_int(&opset, 2, 13);
    onnx_part(out, 8, &opset);
    assert_false(out->failed);
}

/* y = x * w: one input x of [any, width], one output y of [any, 1]; w_k = first + k. Relu makes it not linear; the sums
 * are above 0.
 */
TESTING_UNUSED static void onnx_dot(myr_buf *out, uint32_t width, float first)
{
    MYR_AUTO(myr_buf) graph = {0};
    MYR_AUTO(myr_mem) block = myr_calloc(width, sizeof(float));
    float *w = block;
    assert_non_null(w);
    for (uint32_t k = 0; k < width; k++)
        w[k] = first + (float)k;
    onnx_rows(&graph, 11, "x", ONNX_FLOAT, width);
    onnx_rows(&graph, 12, "y", ONNX_FLOAT, 1);
    int64_t dims[] = {width, 1};
    onnx_floats(&graph, "w", w, dims, 2);
    onnx_node(&graph, "MatMul", "x,w", "m", NULL);
    onnx_node(&graph, "Relu", "m", "y", NULL);
    onnx_model(out, &graph);
}

/* ---- a source of models ---- */

#define SOURCE_MODELS_MAX 64

typedef struct source_model {
    myr_buf bytes;
    unsigned char sha256[MYR_SHA256_BYTES];
    char hex[MYR_SHA256_HEX_BYTES];
    unsigned char *compiled;
    const myr_model *model;
    int loads; /* times it was asked for; under the runtime's load lock */
} source_model;

typedef struct source_store {
    _Atomic int begun; /* loads */
    source_model models[SOURCE_MODELS_MAX];
    size_t count;
    myr_runtime_file file;
    myr_rc fails; /* OK: it does not */
    int64_t delay_ms;
} source_store;

/* Add a model of bytes, compiled for columns 0, 1, …; `bytes` is empty then. */
TESTING_UNUSED static source_model *source_add(source_store *store, myr_buf *bytes, uint32_t feature_count,
                                               const uint8_t *is_text, uint32_t output_count)
{
    MYR_AUTO(myr_mem) block = myr_calloc((size_t)feature_count + 1, sizeof(uint32_t));
    uint32_t *columns = block;
    assert_true(store->count < SOURCE_MODELS_MAX && columns != NULL);
    source_model *model = &store->models[store->count++];
    model->bytes = *bytes;
    *bytes = (myr_buf){0};
    for (size_t i = 0; i < MYR_SHA256_BYTES; i++) /* any name does: its place here, and no hash */
        model->sha256[i] = (unsigned char)(store->count * 7 + i);
    for (size_t i = 0; i < MYR_SHA256_BYTES; i++)
        snprintf(model->hex + 2 * i, 3, "%02x", model->sha256[i]);
    for (uint32_t j = 0; j < feature_count; j++)
        columns[j] = j;
    myr_external_desc desc = {MYR_RUNTIME_ONNX, model->sha256, columns, is_text, feature_count, output_count};
    size_t size = 0;
    myr_err err = {0};
    EXPECT_RC(myr_model_compile_external(&desc, feature_count, &model->compiled, &size, &err), OK, &err);
    EXPECT_RC(myr_model_check(model->compiled, size, &model->model, &err), OK, &err);
    return model;
}

TESTING_UNUSED static myr_rc source_load(void *ctx, const char *hex, myr_arena *arena, myr_runtime_bundle *out,
                                         myr_err *err)
{
    source_store *store = ctx;
    (void)arena;
    atomic_fetch_add(&store->begun, 1);
    if (store->delay_ms > 0) myr_clock_sleep_ms(store->delay_ms);
    for (size_t i = 0; i < store->count; i++) {
        if (strcmp(store->models[i].hex, hex) != 0) continue;
        store->models[i].loads++;
        if (store->fails != MYR_OK) return myr_err_set(err, store->fails, __FILE__, __LINE__, "the source says no");
        store->file = (myr_runtime_file){"test.onnx", store->models[i].bytes.data, store->models[i].bytes.size};
        *out = (myr_runtime_bundle){.files = &store->file, .file_count = 1};
        return MYR_OK;
    }
    MYR_FAIL(err, NOT_FOUND, "no model %s", hex);
}

static inline void source_store_drop(source_store *store)
{
    for (size_t i = 0; i < store->count; i++) {
        myr_buf_fini(&store->models[i].bytes);
        myr_free(store->models[i].compiled);
    }
}

/* ---- runtimes ---- */

/* Is the library here? If not, whoever asks skips its test and says so. */
TESTING_UNUSED static bool runtime_is_here(void)
{
    if (MYR_DEFAULT_ONNXRUNTIME_LIB[0] != '\0') return true;
    print_message("ONNX Runtime is not fetched (scripts/setup): skipped\n");
    return false;
}

TESTING_UNUSED static myr_runtime *runtime_make(int64_t bytes_max)
{
    myr_runtime_opts opts;
    myr_runtime *runtime = NULL;
    myr_err err = {0};
    myr_opt_defaults(myr_runtime_opt_table, &opts);
    if (bytes_max > 0) opts.bytes_max = bytes_max;
    EXPECT_RC(myr_runtime_new(&opts, &runtime, &err), OK, &err);
    return runtime;
}

static int64_t runtime_until_ns; /* of the next calls; see myr_runner_call */

/* Run rows [0, row_count) of columns through a model. */
TESTING_UNUSED static myr_rc runtime_score(myr_runtime *runtime, source_store *store, const source_model *model,
                                           const myr_col *features, uint32_t row_count, double *const *values,
                                           uint8_t *is_bad, myr_err *err)
{
    const myr_runtime_source source = {.ctx = store, .load = source_load};
    MYR_AUTO(myr_mem) block = myr_calloc(row_count, sizeof(uint32_t));
    uint32_t *order = block;
    if (order == NULL) return MYR_NO_MEMORY;
    for (uint32_t i = 0; i < row_count; i++)
        order[i] = i;
    myr_runner_call call = {.model = model->model,
                            .features = features,
                            .feature_stride = 1,
                            .order = order,
                            .row_count = row_count,
                            .values = values,
                            .is_bad = is_bad,
                            .until_ns = runtime_until_ns};
    return myr_runtime_run(runtime, &source, &call, err);
}

#endif
