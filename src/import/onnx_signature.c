/*
 * What goes in and out of an ONNX file: the part of the reader that ONNX Runtime's side needs too. Nothing here judges
 * whether the graph is one of our models.
 */
#include <string.h>

#include "import/onnx.h"

enum { MODEL_FIELD_IR_VERSION = 1, MODEL_FIELD_LAST = 26, MODEL_IR_VERSION_MAX = 127 };

bool myr_onnx_is(const void *data, size_t size_bytes)
{
    myr_pb pb;
    myr_pb_field field;
    uint64_t tag;
    myr_pb_init(&pb, data, size_bytes);
    if (!myr_pb_next(&pb, &field) || field.number != MODEL_FIELD_IR_VERSION || field.wire != MYR_PB_VARINT)
        return false;
    if (field.value == 0 || field.value > MODEL_IR_VERSION_MAX) return false;
    if (pb.at == pb.end) return true; /* cut off there */
    if (!myr_pb_varint(&pb, &tag)) return false;
    return tag >> 3 > MODEL_FIELD_IR_VERSION && tag >> 3 <= MODEL_FIELD_LAST && ((tag & 7) == 0 || (tag & 7) == 2);
}

/* ---- lists of texts ---- */

static myr_rc signature_keys(myr_onnx *onnx, const myr_map *map, const char *const **out, uint32_t *out_count)
{
    size_t cursor = 0;
    uint32_t count = 0;
    myr_str key;
    uint64_t value;
    const char **list = myr_arena_calloc(onnx->arena, myr_map_count(map) + 1, sizeof *list);
    if (list == NULL) MYR_ONNX_ALLOC_FAIL(onnx);
    while (myr_map_next(map, &cursor, &key, &value)) {
        list[count] = myr_arena_strndup(onnx->arena, key.data, key.size);
        if (list[count++] == NULL) MYR_ONNX_ALLOC_FAIL(onnx);
    }
    *out = list;
    *out_count = count;
    return MYR_OK;
}

/* ---- inputs ---- */

/* Old files list their initializers among the inputs; those are no inputs to feed. */
myr_rc myr_onnx_drop_initialized(myr_onnx *onnx)
{
    myr_onnx_graph *graph = &onnx->graph;
    uint32_t kept = 0;
    MYR_AUTO(myr_map_ptr) names = myr_map_new();
    if (names == NULL) MYR_ONNX_ALLOC_FAIL(onnx);
    for (uint32_t k = 0; k < graph->tensor_count; k++) {
        MYR_TRY(myr_map_put(names, graph->tensors[k].name, k, onnx->err));
    }
    for (uint32_t k = 0; k < graph->input_count; k++) {
        if (!myr_map_find(names, myr_str_of(graph->inputs[k].name), NULL)) graph->inputs[kept++] = graph->inputs[k];
    }
    graph->input_count = kept;
    return MYR_OK;
}

static uint64_t signature_width(const myr_onnx_graph *graph)
{
    uint64_t width = 0;
    for (uint32_t k = 0; k < graph->input_count; k++) {
        if (graph->inputs[k].width == 0) return 0;
        width += graph->inputs[k].width;
    }
    return width;
}

myr_rc myr_onnx_feature_names(myr_onnx *onnx, char ***out, uint32_t *out_count)
{
    const myr_onnx_graph *graph = &onnx->graph;
    uint64_t width = signature_width(graph);
    uint32_t count = 0;
    if (width > MYR_FEATURES_MAX) {
        MYR_ONNX_FAIL(onnx, TOO_LARGE, "%llu features, at most %d", (unsigned long long)width, MYR_FEATURES_MAX);
    }
    if (width == 0) return MYR_OK;
    char **names = myr_arena_calloc(onnx->arena, width + 1, sizeof *names);
    if (names == NULL) MYR_ONNX_ALLOC_FAIL(onnx);
    for (uint32_t k = 0; k < graph->input_count; k++) {
        const myr_onnx_value *input = &graph->inputs[k];
        for (uint32_t j = 0; j < input->width; j++) {
            names[count] = graph->input_count == 1 ? myr_arena_printf(onnx->arena, "f%u", j)
                           : input->width == 1     ? myr_arena_strndup(onnx->arena, input->name, strlen(input->name))
                                                   : myr_arena_printf(onnx->arena, "%s_%u", input->name, j);
            if (names[count++] == NULL) MYR_ONNX_ALLOC_FAIL(onnx);
        }
    }
    *out = names;
    *out_count = count;
    return MYR_OK;
}

/* ---- the face ---- */

static myr_rc signature_fill(myr_onnx *onnx, myr_onnx_signature *out)
{
    char **names = NULL;
    MYR_TRY(myr_onnx_parse(onnx));
    MYR_TRY(myr_onnx_drop_initialized(onnx));
    MYR_TRY(myr_onnx_feature_names(onnx, &names, &out->feature_count));
    MYR_TRY(signature_keys(onnx, onnx->externals, &out->external_files, &out->external_file_count));
    MYR_TRY(signature_keys(onnx, onnx->operators, &out->operators, &out->operator_count));
    out->feature_names = (const char *const *)names;
    out->producer =
        myr_arena_strndup(onnx->arena, onnx->producer.size > 0 ? onnx->producer.data : "", onnx->producer.size);
    if (out->producer == NULL) MYR_ONNX_ALLOC_FAIL(onnx);
    out->ir_version = onnx->ir_version;
    out->opset = onnx->opset;
    out->opset_ml = onnx->opset_ml;
    out->inputs = onnx->graph.inputs;
    out->input_count = onnx->graph.input_count;
    out->outputs = onnx->graph.outputs;
    out->output_count = onnx->graph.output_count;
    return MYR_OK;
}

myr_rc myr_onnx_signature_read(const char *name, const void *data, size_t size_bytes, myr_onnx_signature **out,
                               myr_err *err)
{
    const myr_import_src src = {.name = name, .data = data, .size = size_bytes};
    MYR_AUTO(myr_onnx_signature_ptr) signature = myr_calloc(1, sizeof *signature);
    MYR_AUTO(myr_map_ptr) externals = myr_map_new();
    MYR_AUTO(myr_map_ptr) operators = myr_map_new();
    if (size_bytes > MYR_FILE_BYTES_MAX) {
        MYR_FAIL(err, TOO_LARGE, "%s: %zu bytes, at most %lld", name, size_bytes, MYR_FILE_BYTES_MAX);
    }
    if (signature != NULL) signature->arena = myr_arena_new(0);
    if (signature == NULL || signature->arena == NULL || externals == NULL || operators == NULL) {
        MYR_FAIL(err, NO_MEMORY, "%s: no memory for the signature", name);
    }
    myr_onnx onnx = {
        .src = &src, .arena = signature->arena, .externals = externals, .operators = operators, .err = err};
    MYR_TRY(signature_fill(&onnx, signature));
    *out = signature;
    signature = NULL;
    return MYR_OK;
}

void myr_onnx_signature_free(myr_onnx_signature *signature)
{
    if (signature == NULL) return;
    myr_arena_free(signature->arena);
    myr_free(signature);
}
