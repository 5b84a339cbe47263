/*
 * From a ModelProto's bytes to its graph. Lists are counted before memory is taken; names and attributes stay slices of
 * the file. A singular field that comes twice is refused: protobuf would take the last one or merge them, and no writer
 * does it.
 */
#include "import/onnx.h"

#include <string.h>

enum { /* field numbers of onnx.proto */
       MODEL_IR_VERSION = 1,
       MODEL_PRODUCER = 2,
       MODEL_GRAPH = 7,
       MODEL_OPSETS = 8,
       MODEL_FUNCTIONS = 25,
       OPSET_DOMAIN = 1,
       OPSET_VERSION = 2,
       GRAPH_NODES = 1,
       GRAPH_TENSORS = 5,
       GRAPH_INPUTS = 11,
       GRAPH_OUTPUTS = 12,
       GRAPH_SPARSE = 15,
       NODE_INPUTS = 1,
       NODE_OUTPUTS = 2,
       NODE_NAME = 3,
       NODE_OP = 4,
       NODE_ATTRS = 5,
       NODE_DOMAIN = 7,
       ATTR_NAME = 1,
       ATTR_TENSOR = 5,
       ATTR_GRAPH = 6,
       ATTR_TENSORS = 10,
       ATTR_GRAPHS = 11,
       VALUE_NAME = 1,
       VALUE_TYPE = 2,
       TYPE_TENSOR = 1,
       TENSOR_TYPE_ELEMENT = 1,
       TENSOR_TYPE_SHAPE = 2,
       SHAPE_DIMS = 1,
       DIM_VALUE = 1,
       TENSOR_DIMS = 1,
       TENSOR_TYPE = 2,
       TENSOR_NAME = 8,
       TENSOR_EXTERNAL = 13,
       TENSOR_LOCATION = 14,
       ENTRY_KEY = 1,
       ENTRY_VALUE = 2
};

static myr_str onnx_slice(const myr_pb_field *field)
{
    return myr_str_make((const char *)field->data, field->size);
}

static size_t onnx_place(const myr_onnx *onnx, const unsigned char *at)
{
    return (size_t)(at - (const unsigned char *)onnx->src->data);
}

/* A message that ended in a fault. */
static myr_rc onnx_check_end(myr_onnx *onnx, const myr_pb *pb, const char *message)
{
    if (pb->fault == NULL) return MYR_OK;
    MYR_ONNX_FAIL(onnx, BAD_FORMAT, "byte %zu, within a %s: %s", onnx_place(onnx, pb->at), message, pb->fault);
}

static myr_rc onnx_wire(myr_onnx *onnx, const myr_pb *pb, const myr_pb_field *field, myr_pb_wire wire,
                        const char *message)
{
    if (field->wire == wire) return MYR_OK;
    MYR_ONNX_FAIL(onnx, BAD_FORMAT, "before byte %zu, within a %s: field %u has wire type %d, not %d",
                  onnx_place(onnx, pb->at), message, field->number, (int)field->wire, (int)wire);
}

/* Take the bytes of a singular field. */
static myr_rc onnx_take(myr_onnx *onnx, const myr_pb *pb, const myr_pb_field *field, const char *message, myr_str *out)
{
    MYR_TRY(onnx_wire(onnx, pb, field, MYR_PB_BYTES, message));
    if (out->data != NULL) {
        MYR_ONNX_FAIL(onnx, BAD_FORMAT, "before byte %zu, within a %s: field %u comes twice", onnx_place(onnx, pb->at),
                      message, field->number);
    }
    *out = onnx_slice(field);
    return MYR_OK;
}

/* How often each of the fields 1 to 31 comes; the pass that checks the wire format of a message. */
#define ONNX_FIELDS 32
static myr_rc onnx_count(myr_onnx *onnx, myr_str body, const char *message, uint32_t counts[ONNX_FIELDS])
{
    myr_pb pb;
    myr_pb_field field;
    memset(counts, 0, ONNX_FIELDS * sizeof *counts);
    myr_pb_init(&pb, body.data, body.size);
    while (myr_pb_next(&pb, &field)) {
        if (field.number >= ONNX_FIELDS) continue;
        if (counts[field.number]++ == MYR_ONNX_NODES_MAX) {
            MYR_ONNX_FAIL(onnx, TOO_LARGE, "a %s has more than %d of field %u", message, MYR_ONNX_NODES_MAX,
                          field.number);
        }
    }
    return onnx_check_end(onnx, &pb, message);
}

static void *onnx_room(myr_onnx *onnx, size_t count, size_t size)
{
    return myr_arena_calloc(onnx->arena, count + 1, size);
}

/* ---- tensors ---- */

static myr_rc onnx_tensor_dims(myr_onnx *onnx, const myr_pb *pb, const myr_pb_field *field, myr_onnx_tensor *out)
{
    uint64_t count;
    if (!myr_pb_count(field, MYR_PB_VARINT, &count)) {
        MYR_ONNX_FAIL(onnx, BAD_FORMAT, "before byte %zu: the dims of a tensor are no numbers",
                      onnx_place(onnx, pb->at));
    }
    if (count > MYR_ONNX_DIMS_MAX - out->dim_count) {
        MYR_ONNX_FAIL(onnx, TOO_LARGE, "tensor \"" MYR_STR_FMT "\" has more than %d dimensions", MYR_STR_ARG(out->name),
                      MYR_ONNX_DIMS_MAX);
    }
    out->dim_count += (uint32_t)myr_pb_int64s(field, out->dims + out->dim_count);
    return MYR_OK;
}

static myr_rc onnx_tensor_count(myr_onnx *onnx, myr_onnx_tensor *out)
{
    out->count = 1;
    for (uint32_t k = 0; k < out->dim_count; k++) {
        if (out->dims[k] < 0 || (out->count > 0 && (uint64_t)out->dims[k] > MYR_ONNX_NUMBERS_MAX / out->count)) {
            MYR_ONNX_FAIL(onnx, TOO_LARGE, "tensor \"" MYR_STR_FMT "\": dimension %u is %lld; at most %d numbers",
                          MYR_STR_ARG(out->name), k, (long long)out->dims[k], MYR_ONNX_NUMBERS_MAX);
        }
        out->count *= (uint64_t)out->dims[k];
    }
    return MYR_OK;
}

/* One {key, value} of external_data; only the location matters here. */
static myr_rc onnx_external(myr_onnx *onnx, const myr_pb_field *entry, myr_onnx_tensor *out)
{
    myr_str key = {0};
    myr_str value = {0};
    myr_pb pb;
    myr_pb_field field;
    if (entry->wire != MYR_PB_BYTES) MYR_ONNX_FAIL(onnx, BAD_FORMAT, "external_data of a tensor is no message");
    myr_pb_init(&pb, entry->data, entry->size);
    while (myr_pb_next(&pb, &field)) {
        if (field.number == ENTRY_KEY) MYR_TRY(onnx_take(onnx, &pb, &field, "StringStringEntryProto", &key));
        if (field.number == ENTRY_VALUE) MYR_TRY(onnx_take(onnx, &pb, &field, "StringStringEntryProto", &value));
    }
    MYR_TRY(onnx_check_end(onnx, &pb, "StringStringEntryProto"));
    if (myr_str_is(key, "location")) out->location = value;
    return MYR_OK;
}

myr_rc myr_onnx_tensor_parse(myr_onnx *onnx, myr_str body, myr_onnx_tensor *out)
{
    myr_pb pb;
    myr_pb_field field;
    *out = (myr_onnx_tensor){.body = body};
    myr_pb_init(&pb, body.data, body.size);
    while (myr_pb_next(&pb, &field)) {
        switch (field.number) {
        case TENSOR_DIMS:
            MYR_TRY(onnx_tensor_dims(onnx, &pb, &field, out));
            break;
        case TENSOR_TYPE:
            MYR_TRY(onnx_wire(onnx, &pb, &field, MYR_PB_VARINT, "TensorProto"));
            out->type = (int64_t)field.value;
            break;
        case TENSOR_NAME:
            MYR_TRY(onnx_take(onnx, &pb, &field, "TensorProto", &out->name));
            break;
        case TENSOR_EXTERNAL:
            MYR_TRY(onnx_external(onnx, &field, out));
            break;
        case TENSOR_LOCATION:
            MYR_TRY(onnx_wire(onnx, &pb, &field, MYR_PB_VARINT, "TensorProto"));
            out->is_external = field.value == 1;
            break;
        default:
            break;
        }
    }
    MYR_TRY(onnx_check_end(onnx, &pb, "TensorProto"));
    MYR_TRY(onnx_tensor_count(onnx, out));
    if (out->is_external && onnx->externals != NULL) return myr_map_put(onnx->externals, out->location, 0, onnx->err);
    return MYR_OK;
}

/* ---- inputs and outputs ---- */

static myr_rc onnx_dim(myr_onnx *onnx, const myr_pb_field *dim, myr_onnx_value *out)
{
    myr_pb pb;
    myr_pb_field field;
    int64_t value = -1;
    if (dim->wire != MYR_PB_BYTES) MYR_ONNX_FAIL(onnx, BAD_FORMAT, "%s: a dimension is no message", out->name);
    if (out->dim_count == MYR_ONNX_DIMS_MAX) {
        MYR_ONNX_FAIL(onnx, TOO_LARGE, "%s has more than %d dimensions", out->name, MYR_ONNX_DIMS_MAX);
    }
    myr_pb_init(&pb, dim->data, dim->size);
    while (myr_pb_next(&pb, &field)) {
        if (field.number != DIM_VALUE) continue;
        MYR_TRY(onnx_wire(onnx, &pb, &field, MYR_PB_VARINT, "Dimension"));
        value = (int64_t)field.value;
    }
    MYR_TRY(onnx_check_end(onnx, &pb, "Dimension"));
    out->dims[out->dim_count++] = value < 0 ? -1 : value;
    return MYR_OK;
}

static myr_rc onnx_shape(myr_onnx *onnx, myr_str body, myr_onnx_value *out)
{
    myr_pb pb;
    myr_pb_field field;
    myr_pb_init(&pb, body.data, body.size);
    while (myr_pb_next(&pb, &field)) {
        if (field.number == SHAPE_DIMS) MYR_TRY(onnx_dim(onnx, &field, out));
    }
    out->has_shape = true;
    return onnx_check_end(onnx, &pb, "TensorShapeProto");
}

static myr_rc onnx_tensor_type(myr_onnx *onnx, myr_str body, myr_onnx_value *out)
{
    myr_pb pb;
    myr_pb_field field;
    myr_str shape = {0};
    myr_pb_init(&pb, body.data, body.size);
    while (myr_pb_next(&pb, &field)) {
        if (field.number == TENSOR_TYPE_ELEMENT) {
            MYR_TRY(onnx_wire(onnx, &pb, &field, MYR_PB_VARINT, "TypeProto.Tensor"));
            out->type = (int64_t)field.value;
        }
        if (field.number == TENSOR_TYPE_SHAPE) MYR_TRY(onnx_take(onnx, &pb, &field, "TypeProto.Tensor", &shape));
    }
    MYR_TRY(onnx_check_end(onnx, &pb, "TypeProto.Tensor"));
    out->is_tensor = true;
    return shape.data != NULL ? onnx_shape(onnx, shape, out) : MYR_OK;
}

static myr_rc onnx_type(myr_onnx *onnx, myr_str body, myr_onnx_value *out)
{
    myr_pb pb;
    myr_pb_field field;
    myr_str tensor = {0};
    myr_pb_init(&pb, body.data, body.size);
    while (myr_pb_next(&pb, &field)) {
        if (field.number == TYPE_TENSOR) MYR_TRY(onnx_take(onnx, &pb, &field, "TypeProto", &tensor));
    }
    MYR_TRY(onnx_check_end(onnx, &pb, "TypeProto"));
    return tensor.data != NULL ? onnx_tensor_type(onnx, tensor, out) : MYR_OK;
}

static void onnx_width(myr_onnx_value *value)
{
    if (!value->is_tensor || !value->has_shape) return;
    if (value->dim_count == 1) value->width = 1;
    if (value->dim_count == 2 && value->dims[1] >= 0 && value->dims[1] <= MYR_FEATURES_MAX) {
        value->width = (uint32_t)value->dims[1];
    }
}

static myr_rc onnx_value(myr_onnx *onnx, myr_str body, myr_onnx_value *out)
{
    myr_pb pb;
    myr_pb_field field;
    myr_str name = {0};
    myr_str type = {0};
    myr_pb_init(&pb, body.data, body.size);
    while (myr_pb_next(&pb, &field)) {
        if (field.number == VALUE_NAME) MYR_TRY(onnx_take(onnx, &pb, &field, "ValueInfoProto", &name));
        if (field.number == VALUE_TYPE) MYR_TRY(onnx_take(onnx, &pb, &field, "ValueInfoProto", &type));
    }
    MYR_TRY(onnx_check_end(onnx, &pb, "ValueInfoProto"));
    if (name.size == 0 || memchr(name.data, '\0', name.size) != NULL) {
        MYR_ONNX_FAIL(onnx, BAD_FORMAT, "an input or output has no name, or a NUL in it");
    }
    out->name = myr_arena_strndup(onnx->arena, name.data, name.size);
    if (out->name == NULL) MYR_ONNX_ALLOC_FAIL(onnx);
    if (type.data != NULL) MYR_TRY(onnx_type(onnx, type, out));
    onnx_width(out);
    return MYR_OK;
}

/* ---- nodes ---- */

static myr_rc onnx_graph(myr_onnx *onnx, myr_str body, unsigned depth, myr_onnx_graph *out);

/* Tensors and graphs inside attributes matter to the signature alone (external files, operators). */
static myr_rc onnx_attr_inside(myr_onnx *onnx, const myr_pb *pb, const myr_pb_field *field, unsigned depth)
{
    bool is_tensor = field->number == ATTR_TENSOR || field->number == ATTR_TENSORS;
    bool is_graph = field->number == ATTR_GRAPH || field->number == ATTR_GRAPHS;
    if (onnx->externals == NULL || (!is_tensor && !is_graph)) return MYR_OK;
    MYR_TRY(onnx_wire(onnx, pb, field, MYR_PB_BYTES, "AttributeProto"));
    if (is_tensor) {
        myr_onnx_tensor tensor;
        return myr_onnx_tensor_parse(onnx, onnx_slice(field), &tensor);
    }
    if (depth == MYR_ONNX_DEPTH_MAX) {
        MYR_ONNX_FAIL(onnx, TOO_LARGE, "graphs within graphs go deeper than %d", MYR_ONNX_DEPTH_MAX);
    }
    myr_onnx_graph graph;
    return onnx_graph(onnx, onnx_slice(field), depth + 1, &graph);
}

static myr_rc onnx_attr(myr_onnx *onnx, myr_str body, unsigned depth, myr_onnx_attr *out)
{
    myr_pb pb;
    myr_pb_field field;
    *out = (myr_onnx_attr){.body = body};
    myr_pb_init(&pb, body.data, body.size);
    while (myr_pb_next(&pb, &field)) {
        if (field.number == ATTR_NAME) MYR_TRY(onnx_take(onnx, &pb, &field, "AttributeProto", &out->name));
        MYR_TRY(onnx_attr_inside(onnx, &pb, &field, depth));
    }
    return onnx_check_end(onnx, &pb, "AttributeProto");
}

static myr_rc onnx_note_operator(myr_onnx *onnx, const myr_onnx_node *node)
{
    if (onnx->operators == NULL) return MYR_OK;
    bool plain = node->domain.size == 0;
    char *text =
        myr_arena_printf(onnx->arena, "%.*s%s%.*s", MYR_STR_ARG(node->domain), plain ? "" : ".", MYR_STR_ARG(node->op));
    if (text == NULL) MYR_ONNX_ALLOC_FAIL(onnx);
    return myr_map_put(onnx->operators, myr_str_of(text), 0, onnx->err);
}

static myr_rc onnx_node_names(myr_onnx *onnx, const uint32_t counts[ONNX_FIELDS], myr_onnx_node *out)
{
    out->inputs = onnx_room(onnx, counts[NODE_INPUTS], sizeof *out->inputs);
    out->outputs = onnx_room(onnx, counts[NODE_OUTPUTS], sizeof *out->outputs);
    out->attrs = onnx_room(onnx, counts[NODE_ATTRS], sizeof *out->attrs);
    if (out->inputs == NULL || out->outputs == NULL || out->attrs == NULL) MYR_ONNX_ALLOC_FAIL(onnx);
    if (myr_str_is(out->domain, "ai.onnx")) out->domain = myr_str_of("");
    return MYR_OK;
}

static myr_rc onnx_node_field(myr_onnx *onnx, const myr_pb *pb, const myr_pb_field *field, unsigned depth,
                              myr_onnx_node *out)
{
    switch (field->number) {
    case NODE_INPUTS:
        MYR_TRY(onnx_wire(onnx, pb, field, MYR_PB_BYTES, "NodeProto"));
        ((myr_str *)out->inputs)[out->input_count++] = onnx_slice(field);
        return MYR_OK;
    case NODE_OUTPUTS:
        MYR_TRY(onnx_wire(onnx, pb, field, MYR_PB_BYTES, "NodeProto"));
        ((myr_str *)out->outputs)[out->output_count++] = onnx_slice(field);
        return MYR_OK;
    case NODE_ATTRS:
        MYR_TRY(onnx_wire(onnx, pb, field, MYR_PB_BYTES, "NodeProto"));
        return onnx_attr(onnx, onnx_slice(field), depth, &((myr_onnx_attr *)out->attrs)[out->attr_count++]);
    case NODE_NAME:
        return onnx_take(onnx, pb, field, "NodeProto", &out->name);
    case NODE_OP:
        return onnx_take(onnx, pb, field, "NodeProto", &out->op);
    case NODE_DOMAIN:
        return onnx_take(onnx, pb, field, "NodeProto", &out->domain);
    default:
        return MYR_OK;
    }
}

static myr_rc onnx_node(myr_onnx *onnx, myr_str body, unsigned depth, myr_onnx_node *out)
{
    myr_pb pb;
    myr_pb_field field;
    uint32_t counts[ONNX_FIELDS];
    MYR_TRY(onnx_count(onnx, body, "NodeProto", counts));
    MYR_TRY(onnx_node_names(onnx, counts, out));
    myr_pb_init(&pb, body.data, body.size);
    while (myr_pb_next(&pb, &field)) {
        MYR_TRY(onnx_node_field(onnx, &pb, &field, depth, out));
    }
    if (myr_str_is(out->domain, "ai.onnx")) out->domain = myr_str_of("");
    out->is_ml = myr_str_is(out->domain, "ai.onnx.ml");
    if (out->op.size == 0) MYR_ONNX_FAIL(onnx, BAD_FORMAT, "a node has no op_type");
    return onnx_note_operator(onnx, out);
}

/* ---- the graph ---- */

static myr_rc onnx_graph_field(myr_onnx *onnx, const myr_pb *pb, const myr_pb_field *field, unsigned depth,
                               myr_onnx_graph *out)
{
    if (field->number > GRAPH_OUTPUTS) return MYR_OK;
    switch (field->number) {
    case GRAPH_NODES:
        MYR_TRY(onnx_wire(onnx, pb, field, MYR_PB_BYTES, "GraphProto"));
        return onnx_node(onnx, onnx_slice(field), depth, &out->nodes[out->node_count++]);
    case GRAPH_TENSORS:
        MYR_TRY(onnx_wire(onnx, pb, field, MYR_PB_BYTES, "GraphProto"));
        return myr_onnx_tensor_parse(onnx, onnx_slice(field), &out->tensors[out->tensor_count++]);
    case GRAPH_INPUTS:
        MYR_TRY(onnx_wire(onnx, pb, field, MYR_PB_BYTES, "GraphProto"));
        return onnx_value(onnx, onnx_slice(field), &out->inputs[out->input_count++]);
    case GRAPH_OUTPUTS:
        MYR_TRY(onnx_wire(onnx, pb, field, MYR_PB_BYTES, "GraphProto"));
        return onnx_value(onnx, onnx_slice(field), &out->outputs[out->output_count++]);
    default:
        return MYR_OK;
    }
}

static myr_rc onnx_graph(myr_onnx *onnx, myr_str body, unsigned depth, myr_onnx_graph *out)
{
    myr_pb pb;
    myr_pb_field field;
    uint32_t counts[ONNX_FIELDS];
    memset(out, 0, sizeof *out);
    MYR_TRY(onnx_count(onnx, body, "GraphProto", counts));
    out->nodes = onnx_room(onnx, counts[GRAPH_NODES], sizeof *out->nodes);
    out->tensors = onnx_room(onnx, counts[GRAPH_TENSORS], sizeof *out->tensors);
    out->inputs = onnx_room(onnx, counts[GRAPH_INPUTS], sizeof *out->inputs);
    out->outputs = onnx_room(onnx, counts[GRAPH_OUTPUTS], sizeof *out->outputs);
    if (out->nodes == NULL || out->tensors == NULL || out->inputs == NULL || out->outputs == NULL) {
        MYR_ONNX_ALLOC_FAIL(onnx);
    }
    myr_pb_init(&pb, body.data, body.size);
    while (myr_pb_next(&pb, &field)) {
        MYR_TRY(onnx_graph_field(onnx, &pb, &field, depth, out));
    }
    return MYR_OK;
}

/* ---- the model ---- */

static myr_rc onnx_opset(myr_onnx *onnx, const myr_pb_field *entry)
{
    myr_pb pb;
    myr_pb_field field;
    myr_str domain = {0};
    int64_t version = 0;
    if (entry->wire != MYR_PB_BYTES) MYR_ONNX_FAIL(onnx, BAD_FORMAT, "opset_import is no message");
    myr_pb_init(&pb, entry->data, entry->size);
    while (myr_pb_next(&pb, &field)) {
        if (field.number == OPSET_DOMAIN) MYR_TRY(onnx_take(onnx, &pb, &field, "OperatorSetIdProto", &domain));
        if (field.number != OPSET_VERSION) continue;
        MYR_TRY(onnx_wire(onnx, &pb, &field, MYR_PB_VARINT, "OperatorSetIdProto"));
        version = (int64_t)field.value;
    }
    MYR_TRY(onnx_check_end(onnx, &pb, "OperatorSetIdProto"));
    if (domain.size == 0 || myr_str_is(domain, "ai.onnx")) onnx->opset = version;
    if (myr_str_is(domain, "ai.onnx.ml")) onnx->opset_ml = version;
    return MYR_OK;
}

myr_rc myr_onnx_parse(myr_onnx *onnx)
{
    myr_pb pb;
    myr_pb_field field;
    myr_str graph = {0};
    myr_pb_init(&pb, onnx->src->data, onnx->src->size);
    while (myr_pb_next(&pb, &field)) {
        switch (field.number) {
        case MODEL_IR_VERSION:
            MYR_TRY(onnx_wire(onnx, &pb, &field, MYR_PB_VARINT, "ModelProto"));
            onnx->ir_version = (int64_t)field.value;
            break;
        case MODEL_PRODUCER:
            MYR_TRY(onnx_take(onnx, &pb, &field, "ModelProto", &onnx->producer));
            break;
        case MODEL_GRAPH:
            MYR_TRY(onnx_take(onnx, &pb, &field, "ModelProto", &graph));
            break;
        case MODEL_OPSETS:
            MYR_TRY(onnx_opset(onnx, &field));
            break;
        case MODEL_FUNCTIONS:
            onnx->has_functions = true;
            break;
        default:
            break;
        }
    }
    MYR_TRY(onnx_check_end(onnx, &pb, "ModelProto"));
    if (graph.data == NULL) MYR_ONNX_FAIL(onnx, BAD_FORMAT, "the model has no graph: is it cut off?");
    return onnx_graph(onnx, graph, 0, &onnx->graph);
}
