/* A small writer of protobuf, and of the ONNX messages that the tests need. */
#ifndef MYR_ONNX_FIXTURE_H
#define MYR_ONNX_FIXTURE_H

#include <math.h>

#include "import/onnx.h"
#include "testing.h"

static inline void put_varint(myr_buf *buf, uint64_t value)
{
    while (value >= 0x80) {
        myr_buf_putc(buf, (char)(unsigned char)(0x80 | (value & 0x7f)));
        value >>= 7;
    }
    myr_buf_putc(buf, (char)(unsigned char)value);
}

static inline void put_tag(myr_buf *buf, uint32_t number, uint32_t wire)
{
    put_varint(buf, (uint64_t)number << 3 | wire);
}

static inline void put_int(myr_buf *buf, uint32_t number, int64_t value)
{
    put_tag(buf, number, 0);
    put_varint(buf, (uint64_t)value);
}

static inline void put_bytes(myr_buf *buf, uint32_t number, const void *data, size_t size)
{
    put_tag(buf, number, 2);
    put_varint(buf, size);
    myr_buf_append(buf, data, size);
}

static inline void put_text(myr_buf *buf, uint32_t number, const char *text)
{
    put_bytes(buf, number, text, strlen(text));
}

/* The message `inside` as a field; it is emptied. */
static inline void put_message(myr_buf *buf, uint32_t number, myr_buf *inside)
{
    put_bytes(buf, number, inside->data, inside->size);
    myr_buf_fini(inside);
}

/* ---- attributes of a node ---- */

static inline void put_attr_ints(myr_buf *node, const char *name, const int64_t *values, size_t count)
{
    myr_buf attr = {0};
    put_text(&attr, 1, name);
    for (size_t k = 0; k < count; k++) {
        put_int(&attr, 8, values[k]);
    }
    put_int(&attr, 20, 7);
    put_message(node, 5, &attr);
}

static inline void put_attr_floats(myr_buf *node, const char *name, const float *values, size_t count)
{
    myr_buf attr = {0};
    put_text(&attr, 1, name);
    put_bytes(&attr, 7, values, count * sizeof *values); /* packed: both forms are read */
    put_int(&attr, 20, 6);
    put_message(node, 5, &attr);
}

static inline void put_attr_texts(myr_buf *node, const char *name, const char *const *values, size_t count)
{
    myr_buf attr = {0};
    put_text(&attr, 1, name);
    for (size_t k = 0; k < count; k++) {
        put_text(&attr, 9, values[k]);
    }
    put_message(node, 5, &attr);
}

static inline void put_attr_text(myr_buf *node, const char *name, const char *value)
{
    myr_buf attr = {0};
    put_text(&attr, 1, name);
    put_text(&attr, 4, value);
    put_message(node, 5, &attr);
}

static inline void put_attr_int(myr_buf *node, const char *name, int64_t value)
{
    myr_buf attr = {0};
    put_text(&attr, 1, name);
    put_int(&attr, 3, value);
    put_message(node, 5, &attr);
}

/* ---- values and models ---- */

/* A tensor [N,width] (width -1: free) as input (11) or output (12) of a graph. */
static inline void put_value(myr_buf *graph, uint32_t field, const char *name, int64_t type, int64_t width)
{
    myr_buf rows = {0};
    myr_buf columns = {0};
    myr_buf shape = {0};
    myr_buf tensor = {0};
    myr_buf kind = {0};
    myr_buf value = {0};
    put_text(&rows, 2, "N");
    if (width >= 0) put_int(&columns, 1, width);
    put_message(&shape, 1, &rows);
    put_message(&shape, 1, &columns);
    put_int(&tensor, 1, type);
    put_message(&tensor, 2, &shape);
    put_message(&kind, 1, &tensor);
    put_text(&value, 1, name);
    put_message(&value, 2, &kind);
    put_message(graph, field, &value);
}

/* A node that reads `input` and writes `output`; attributes follow, then put_message(graph, 1, &node). */
static inline myr_buf make_node(const char *op, const char *domain, const char *input, const char *output)
{
    myr_buf node = {0};
    put_text(&node, 1, input);
    put_text(&node, 2, output);
    put_text(&node, 4, op);
    put_text(&node, 7, domain);
    return node;
}

static inline myr_buf make_model(myr_buf *graph)
{
    myr_buf opset = {0};
    myr_buf model = {0};
    put_int(&model, 1, 8);
    put_text(&model, 2, "fixture");
    put_message(&model, 7, graph);
    put_text(&opset, 1, "ai.onnx.ml");
    put_int(&opset, 2, 1);
    put_message(&model, 8, &opset);
    return model;
}

/*
 * One tree over two features: x0 MODE 0.5 ? 10 : (x1 <= -1.25 ? 20 : 30), base value 0.5, behind a Scaler if asked.
 * `yes` is the root's true child, so that a test may tie a knot.
 */
static inline myr_buf make_tree_model(const char *mode, int64_t yes, bool scaled)
{
    static const int64_t zeros[5] = {0, 0, 0, 0, 0};
    static const int64_t numbers[5] = {0, 1, 2, 3, 4};
    static const int64_t features[5] = {0, 0, 1, 0, 0};
    static const int64_t no_ids[5] = {2, 0, 4, 0, 0};
    static const float values[5] = {0.5f, 0, -1.25f, 0, 0};
    static const int64_t leaves[3] = {1, 3, 4};
    static const float weights[3] = {10, 20, 30};
    static const float base[1] = {0.5f};
    static const float scale[2] = {2.0f, -0.5f};
    static const float offset[2] = {1.0f, 0.1f};
    const int64_t yes_ids[5] = {yes, 0, 3, 0, 0};
    const char *modes[5] = {mode, "LEAF", "BRANCH_LEQ", "LEAF", "LEAF"};
    myr_buf graph = {0};
    if (scaled) {
        myr_buf scaler = make_node("Scaler", "ai.onnx.ml", "X", "Z");
        put_attr_floats(&scaler, "scale", scale, 2);
        put_attr_floats(&scaler, "offset", offset, 2);
        put_message(&graph, 1, &scaler);
    }
    myr_buf node = make_node("TreeEnsembleRegressor", "ai.onnx.ml", scaled ? "Z" : "X", "Y");
    put_attr_ints(&node, "nodes_treeids", zeros, 5);
    put_attr_ints(&node, "nodes_nodeids", numbers, 5);
    put_attr_ints(&node, "nodes_featureids", features, 5);
    put_attr_ints(&node, "nodes_truenodeids", yes_ids, 5);
    put_attr_ints(&node, "nodes_falsenodeids", no_ids, 5);
    put_attr_texts(&node, "nodes_modes", modes, 5);
    put_attr_floats(&node, "nodes_values", values, 5);
    put_attr_ints(&node, "target_treeids", zeros, 3);
    put_attr_ints(&node, "target_nodeids", leaves, 3);
    put_attr_ints(&node, "target_ids", zeros, 3);
    put_attr_floats(&node, "target_weights", weights, 3);
    put_attr_floats(&node, "base_values", base, 1);
    put_attr_int(&node, "n_targets", 1);
    put_attr_text(&node, "post_transform", "NONE");
    put_message(&graph, 1, &node);
    put_text(&graph, 2, "g");
    put_value(&graph, 11, "X", MYR_ONNX_FLOAT, 2);
    put_value(&graph, 12, "Y", MYR_ONNX_FLOAT, 1);
    return make_model(&graph);
}

#endif
