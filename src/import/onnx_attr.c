/*
 * Attributes of nodes and numbers of tensors, fetched when somebody asks. Only damaged bytes are BAD_FORMAT here; what
 * is sound but not understood is UNSUPPORTED, so that ONNX Runtime may still take the file.
 */
#include <string.h>

#include "import/onnx.h"

enum { /* field numbers of onnx.proto */
       ATTR_FLOAT = 2,
       ATTR_INT = 3,
       ATTR_STRING = 4,
       ATTR_TENSOR = 5,
       ATTR_FLOATS = 7,
       ATTR_INTS = 8,
       ATTR_STRINGS = 9,
       ATTR_REFERENCE = 21,
       TENSOR_FLOATS = 4,
       TENSOR_INT32S = 5,
       TENSOR_INT64S = 7,
       TENSOR_RAW = 9,
       TENSOR_DOUBLES = 10
};

const myr_onnx_attr *myr_onnx_find_attr(const myr_onnx_node *node, const char *name)
{
    for (uint32_t k = 0; k < node->attr_count; k++) {
        if (myr_str_is(node->attrs[k].name, name)) return &node->attrs[k];
    }
    return NULL;
}

myr_rc myr_onnx_check_attrs(myr_onnx *onnx, const myr_onnx_node *node, const char *const *known)
{
    for (uint32_t k = 0; k < node->attr_count; k++) {
        size_t n = 0;
        while (known[n] != NULL && !myr_str_is(node->attrs[k].name, known[n])) {
            n++;
        }
        if (known[n] == NULL) {
            MYR_ONNX_FAIL(onnx, UNSUPPORTED, "%.*s: attribute %.*s is not known", MYR_STR_ARG(node->op),
                          MYR_STR_ARG(node->attrs[k].name));
        }
        if (myr_onnx_find_attr(node, known[n]) != &node->attrs[k]) {
            MYR_ONNX_FAIL(onnx, BAD_FORMAT, "%.*s: attribute %s comes twice", MYR_STR_ARG(node->op), known[n]);
        }
    }
    return MYR_OK;
}

static myr_rc attr_wrong(myr_onnx *onnx, const myr_onnx_node *node, const char *name)
{
    MYR_ONNX_FAIL(onnx, BAD_FORMAT, "%.*s: attribute %s has another type than it should", MYR_STR_ARG(node->op), name);
}

/* Walk an attribute whose value stands in field `wanted`; values of other fields, or a reference, are refused. */
typedef struct attr_walk {
    myr_pb pb;
    uint32_t wanted;
} attr_walk;

static bool attr_next(attr_walk *walk, myr_pb_field *field, bool *out_wrong)
{
    while (myr_pb_next(&walk->pb, field)) {
        if (field->number == walk->wanted) return true;
        bool value = field->number >= ATTR_FLOAT && field->number <= ATTR_STRINGS + 2;
        if (value || field->number == ATTR_REFERENCE) *out_wrong = true;
    }
    if (walk->pb.fault != NULL) *out_wrong = true; /* parsed before: cannot be */
    return false;
}

/* The last value of a singular attribute; false if it has none. */
static myr_rc attr_single(myr_onnx *onnx, const myr_onnx_node *node, const char *name, uint32_t wanted,
                          myr_pb_wire wire, bool *out_found, myr_pb_field *out)
{
    const myr_onnx_attr *attr = myr_onnx_find_attr(node, name);
    attr_walk walk = {.wanted = wanted};
    myr_pb_field field;
    bool wrong = false;
    *out_found = false;
    if (attr == NULL) return MYR_OK;
    myr_pb_init(&walk.pb, attr->body.data, attr->body.size);
    while (attr_next(&walk, &field, &wrong)) {
        if (field.wire != wire) wrong = true;
        *out_found = true;
        *out = field;
    }
    return wrong ? attr_wrong(onnx, node, name) : MYR_OK;
}

myr_rc myr_onnx_attr_int(myr_onnx *onnx, const myr_onnx_node *node, const char *name, int64_t fallback, int64_t *out)
{
    bool found;
    myr_pb_field field;
    MYR_TRY(attr_single(onnx, node, name, ATTR_INT, MYR_PB_VARINT, &found, &field));
    *out = found ? (int64_t)field.value : fallback;
    return MYR_OK;
}

myr_rc myr_onnx_attr_float(myr_onnx *onnx, const myr_onnx_node *node, const char *name, float fallback, float *out)
{
    bool found;
    myr_pb_field field;
    MYR_TRY(attr_single(onnx, node, name, ATTR_FLOAT, MYR_PB_FIXED32, &found, &field));
    *out = fallback;
    if (found) MYR_ASSERT(myr_pb_floats(&field, out) == 1);
    return MYR_OK;
}

myr_rc myr_onnx_attr_string(myr_onnx *onnx, const myr_onnx_node *node, const char *name, const char *fallback,
                            myr_str *out)
{
    bool found;
    myr_pb_field field;
    MYR_TRY(attr_single(onnx, node, name, ATTR_STRING, MYR_PB_BYTES, &found, &field));
    *out = found ? myr_str_make((const char *)field.data, field.size) : myr_str_of(fallback);
    return MYR_OK;
}

/* ---- lists ---- */

/* Count a list of numbers (wire) or of texts (BYTES). */
static myr_rc attr_count(myr_onnx *onnx, const myr_onnx_node *node, const char *name, uint32_t wanted, myr_pb_wire wire,
                         size_t *out)
{
    const myr_onnx_attr *attr = myr_onnx_find_attr(node, name);
    attr_walk walk = {.wanted = wanted};
    myr_pb_field field;
    bool wrong = false;
    uint64_t total = 0;
    *out = 0;
    if (attr == NULL) return MYR_OK;
    myr_pb_init(&walk.pb, attr->body.data, attr->body.size);
    while (attr_next(&walk, &field, &wrong)) {
        uint64_t count = 1;
        if (wire == MYR_PB_BYTES ? field.wire != MYR_PB_BYTES : !myr_pb_count(&field, wire, &count)) wrong = true;
        total += count;
    }
    if (wrong) return attr_wrong(onnx, node, name);
    if (total > MYR_ONNX_NUMBERS_MAX) {
        MYR_ONNX_FAIL(onnx, TOO_LARGE, "%.*s: attribute %s has %llu entries, at most %d", MYR_STR_ARG(node->op), name,
                      (unsigned long long)total, MYR_ONNX_NUMBERS_MAX);
    }
    *out = (size_t)total;
    return MYR_OK;
}

/* Count, take memory, and begin the walk that fills it; *out is NULL if there is nothing. */
static myr_rc attr_list(myr_onnx *onnx, const myr_onnx_node *node, const char *name, uint32_t wanted, myr_pb_wire wire,
                        size_t entry_bytes, attr_walk *walk, void **out, size_t *count)
{
    *out = NULL;
    MYR_TRY(attr_count(onnx, node, name, wanted, wire, count));
    if (*count == 0) return MYR_OK;
    *out = myr_arena_calloc(onnx->arena, *count, entry_bytes);
    if (*out == NULL) MYR_ONNX_ALLOC_FAIL(onnx);
    const myr_onnx_attr *attr = myr_onnx_find_attr(node, name);
    walk->wanted = wanted;
    myr_pb_init(&walk->pb, attr->body.data, attr->body.size);
    return MYR_OK;
}

myr_rc myr_onnx_attr_ints(myr_onnx *onnx, const myr_onnx_node *node, const char *name, int64_t **out, size_t *count)
{
    attr_walk walk;
    myr_pb_field field;
    void *list;
    size_t at = 0;
    bool wrong = false;
    MYR_TRY(attr_list(onnx, node, name, ATTR_INTS, MYR_PB_VARINT, sizeof **out, &walk, &list, count));
    *out = list;
    while (*count > 0 && attr_next(&walk, &field, &wrong)) {
        at += myr_pb_int64s(&field, *out + at);
    }
    MYR_ASSERT(at == *count && !wrong);
    return MYR_OK;
}

myr_rc myr_onnx_attr_floats(myr_onnx *onnx, const myr_onnx_node *node, const char *name, float **out, size_t *count)
{
    attr_walk walk;
    myr_pb_field field;
    void *list;
    size_t at = 0;
    bool wrong = false;
    MYR_TRY(attr_list(onnx, node, name, ATTR_FLOATS, MYR_PB_FIXED32, sizeof **out, &walk, &list, count));
    *out = list;
    while (*count > 0 && attr_next(&walk, &field, &wrong)) {
        at += myr_pb_floats(&field, *out + at);
    }
    MYR_ASSERT(at == *count && !wrong);
    return MYR_OK;
}

myr_rc myr_onnx_attr_strings(myr_onnx *onnx, const myr_onnx_node *node, const char *name, myr_str **out, size_t *count)
{
    attr_walk walk;
    myr_pb_field field;
    void *list;
    size_t at = 0;
    bool wrong = false;
    MYR_TRY(attr_list(onnx, node, name, ATTR_STRINGS, MYR_PB_BYTES, sizeof **out, &walk, &list, count));
    *out = list;
    while (*count > 0 && attr_next(&walk, &field, &wrong)) {
        (*out)[at++] = myr_str_make((const char *)field.data, field.size);
    }
    MYR_ASSERT(at == *count && !wrong);
    return MYR_OK;
}

myr_rc myr_onnx_attr_tensor(myr_onnx *onnx, const myr_onnx_node *node, const char *name, myr_onnx_tensor **out)
{
    bool found;
    myr_pb_field field;
    *out = NULL;
    MYR_TRY(attr_single(onnx, node, name, ATTR_TENSOR, MYR_PB_BYTES, &found, &field));
    if (!found) return MYR_OK;
    myr_onnx_tensor *tensor = myr_arena_calloc(onnx->arena, 1, sizeof *tensor);
    if (tensor == NULL) MYR_ONNX_ALLOC_FAIL(onnx);
    MYR_TRY(myr_onnx_tensor_parse(onnx, myr_str_make((const char *)field.data, field.size), tensor));
    *out = tensor;
    return MYR_OK;
}

/* ---- tensors ---- */

static myr_rc tensor_damaged(myr_onnx *onnx, const myr_onnx_tensor *tensor)
{
    MYR_ONNX_FAIL(onnx, BAD_FORMAT, "tensor \"%.*s\": its data are not the %llu numbers of its shape",
                  MYR_STR_ARG(tensor->name), (unsigned long long)tensor->count);
}

/*
 * Fill `out` (count entries of `width` bytes) from raw_data or from the typed field `number`; exactly one of them is
 * there, unless the tensor is empty. Varints go through int64 and are narrowed to `width`.
 */
static myr_rc tensor_fill(myr_onnx *onnx, const myr_onnx_tensor *tensor, uint32_t number, myr_pb_wire wire,
                          size_t width, unsigned char *out)
{
    myr_pb pb;
    myr_pb_field field;
    uint64_t filled = 0;
    myr_pb_init(&pb, tensor->body.data, tensor->body.size);
    while (myr_pb_next(&pb, &field)) {
        uint64_t count = 0;
        if (field.number == TENSOR_RAW) {
            if (field.wire != MYR_PB_BYTES || field.size / width != tensor->count - filled || field.size % width != 0) {
                return tensor_damaged(onnx, tensor);
            }
            if (field.size > 0) memcpy(out + filled * width, field.data, field.size);
            filled = tensor->count;
        } else if (field.number == number) {
            if (!myr_pb_count(&field, wire, &count) || count > tensor->count - filled) {
                return tensor_damaged(onnx, tensor);
            }
            if (wire == MYR_PB_VARINT) {
                int64_t *whole = myr_arena_calloc(onnx->arena, count + 1, sizeof *whole);
                if (whole == NULL) MYR_ONNX_ALLOC_FAIL(onnx);
                MYR_ASSERT(myr_pb_int64s(&field, whole) == count);
                for (uint64_t k = 0; k < count; k++) {
                    memcpy(out + (filled + k) * width, &whole[k], width);
                }
            } else if (wire == MYR_PB_FIXED32) {
                MYR_ASSERT(width == sizeof(float) && myr_pb_floats(&field, (float *)(void *)out + filled) == count);
            } else {
                MYR_ASSERT(width == sizeof(double) && myr_pb_doubles(&field, (double *)(void *)out + filled) == count);
            }
            filled += count;
        }
    }
    return filled == tensor->count ? MYR_OK : tensor_damaged(onnx, tensor);
}

static myr_rc tensor_bytes(myr_onnx *onnx, const myr_onnx_tensor *tensor, uint32_t number, myr_pb_wire wire,
                           size_t width, void **out)
{
    if (tensor->is_external) {
        MYR_ONNX_FAIL(onnx, UNSUPPORTED, "tensor \"%.*s\" lies in another file", MYR_STR_ARG(tensor->name));
    }
    if (tensor->count > tensor->body.size) return tensor_damaged(onnx, tensor); /* before memory is taken */
    *out = myr_arena_calloc(onnx->arena, tensor->count + 1, width);
    if (*out == NULL) MYR_ONNX_ALLOC_FAIL(onnx);
    return tensor_fill(onnx, tensor, number, wire, width, *out);
}

myr_rc myr_onnx_tensor_doubles(myr_onnx *onnx, const myr_onnx_tensor *tensor, double **out)
{
    void *bytes;
    if (tensor->type == MYR_ONNX_DOUBLE) {
        MYR_TRY(tensor_bytes(onnx, tensor, TENSOR_DOUBLES, MYR_PB_FIXED64, sizeof(double), &bytes));
        *out = bytes;
        return MYR_OK;
    }
    if (tensor->type != MYR_ONNX_FLOAT) {
        MYR_ONNX_FAIL(onnx, UNSUPPORTED, "tensor \"%.*s\" has type %lld, not float or double",
                      MYR_STR_ARG(tensor->name), (long long)tensor->type);
    }
    MYR_TRY(tensor_bytes(onnx, tensor, TENSOR_FLOATS, MYR_PB_FIXED32, sizeof(float), &bytes));
    const float *floats = bytes;
    double *doubles = myr_arena_calloc(onnx->arena, tensor->count + 1, sizeof *doubles);
    if (doubles == NULL) MYR_ONNX_ALLOC_FAIL(onnx);
    for (uint64_t k = 0; k < tensor->count; k++) {
        doubles[k] = (double)floats[k];
    }
    *out = doubles;
    return MYR_OK;
}

myr_rc myr_onnx_tensor_int64s(myr_onnx *onnx, const myr_onnx_tensor *tensor, int64_t **out)
{
    void *bytes;
    if (tensor->type == MYR_ONNX_INT64) {
        MYR_TRY(tensor_bytes(onnx, tensor, TENSOR_INT64S, MYR_PB_VARINT, sizeof(int64_t), &bytes));
        *out = bytes;
        return MYR_OK;
    }
    if (tensor->type != MYR_ONNX_INT32) {
        MYR_ONNX_FAIL(onnx, UNSUPPORTED, "tensor \"%.*s\" has type %lld, not int64 or int32", MYR_STR_ARG(tensor->name),
                      (long long)tensor->type);
    }
    MYR_TRY(tensor_bytes(onnx, tensor, TENSOR_INT32S, MYR_PB_VARINT, sizeof(int32_t), &bytes));
    const int32_t *narrow = bytes;
    int64_t *wide = myr_arena_calloc(onnx->arena, tensor->count + 1, sizeof *wide);
    if (wide == NULL) MYR_ONNX_ALLOC_FAIL(onnx);
    for (uint64_t k = 0; k < tensor->count; k++) {
        wide[k] = narrow[k];
    }
    *out = wide;
    return MYR_OK;
}

myr_rc myr_onnx_tensor_bytes(myr_onnx *onnx, const myr_onnx_tensor *tensor, uint8_t **out)
{
    void *bytes;
    if (tensor->type != MYR_ONNX_UINT8) {
        MYR_ONNX_FAIL(onnx, UNSUPPORTED, "tensor \"%.*s\" has type %lld, not uint8", MYR_STR_ARG(tensor->name),
                      (long long)tensor->type);
    }
    MYR_TRY(tensor_bytes(onnx, tensor, TENSOR_INT32S, MYR_PB_VARINT, 1, &bytes));
    *out = bytes;
    return MYR_OK;
}
