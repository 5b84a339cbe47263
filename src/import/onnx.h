/*
 * What the files of the ONNX reader share: the parts of a ModelProto that matter, as borrowed slices of the file, and
 * how attributes and tensors are fetched with names in every message. Not for other directories.
 */
#ifndef MYR_IMPORT_ONNX_H
#define MYR_IMPORT_ONNX_H

#include "import/internal.h"

#define MYR_ONNX_NUMBERS_MAX (1 << 28) /* numbers of one attribute or tensor */

typedef struct myr_onnx_attr {
    myr_str name;
    myr_str body; /* the AttributeProto */
} myr_onnx_attr;

/* A constant tensor. Its numbers are fetched by myr_onnx_tensor_*. */
typedef struct myr_onnx_tensor {
    myr_str name;
    int64_t type;
    uint32_t dim_count;
    int64_t dims[MYR_ONNX_DIMS_MAX];
    uint64_t count;   /* product of the dims */
    bool is_external; /* its data lies in another file */
    myr_str location; /* of external data */
    myr_str body;     /* the TensorProto */
} myr_onnx_tensor;

typedef struct myr_onnx_node {
    myr_str op, domain, name;
    bool is_ml;            /* domain ai.onnx.ml; else ai.onnx or a foreign one (domain is then not empty) */
    const myr_str *inputs; /* "": left out */
    const myr_str *outputs;
    uint32_t input_count, output_count;
    const myr_onnx_attr *attrs;
    uint32_t attr_count;
} myr_onnx_node;

typedef struct myr_onnx_graph {
    myr_onnx_node *nodes;
    myr_onnx_tensor *tensors; /* initializers */
    myr_onnx_value *inputs, *outputs;
    uint32_t node_count, tensor_count, input_count, output_count;
} myr_onnx_graph;

/* One file being read; owned by the function that reads it. */
typedef struct myr_onnx {
    const myr_import_src *src;
    myr_arena *arena;
    int64_t ir_version, opset, opset_ml;
    bool has_functions; /* operators defined in the file itself */
    myr_str producer;
    myr_onnx_graph graph;
    myr_map *externals; /* of myr_onnx_signature_read: locations found so far, else NULL */
    myr_map *operators;
    myr_err *err;
} myr_onnx;

/* Fail with the file's name in front. */
#define MYR_ONNX_FAIL(onnx, code, ...)                                                                                 \
    do {                                                                                                               \
        myr_rc onnx_rc_ = MYR_ERROR((onnx)->err, code, __VA_ARGS__);                                                   \
        return myr_err_prefix((onnx)->err, onnx_rc_, "%s: ", (onnx)->src->name);                                       \
    } while (0)
#define MYR_ONNX_ALLOC_FAIL(onnx) MYR_ONNX_FAIL(onnx, NO_MEMORY, "no memory for the model")

/* Read the file into `onnx` (src, arena, err set, the rest zero). Errors: BAD_FORMAT, TOO_LARGE, NO_MEMORY. */
myr_rc myr_onnx_parse(myr_onnx *onnx);

/* Take those inputs out of the graph that have an initializer: nobody feeds them. */
myr_rc myr_onnx_drop_initialized(myr_onnx *onnx);
/* Names of the columns, as myr_onnx_signature says; *out stays as it is where a width is not known. */
myr_rc myr_onnx_feature_names(myr_onnx *onnx, char ***out, uint32_t *out_count);

/* ---- attributes: absent ones give the default, a wrong type is BAD_FORMAT ---- */

/* Every attribute must be one of `known` (NULL-terminated; UNSUPPORTED names it) and come once. */
myr_rc myr_onnx_check_attrs(myr_onnx *onnx, const myr_onnx_node *node, const char *const *known);
const myr_onnx_attr *myr_onnx_find_attr(const myr_onnx_node *node, const char *name);
myr_rc myr_onnx_attr_int(myr_onnx *onnx, const myr_onnx_node *node, const char *name, int64_t fallback, int64_t *out);
myr_rc myr_onnx_attr_float(myr_onnx *onnx, const myr_onnx_node *node, const char *name, float fallback, float *out);
myr_rc myr_onnx_attr_string(myr_onnx *onnx, const myr_onnx_node *node, const char *name, const char *fallback,
                            myr_str *out);
/* Lists: NULL and 0 if absent; else from the arena. */
myr_rc myr_onnx_attr_ints(myr_onnx *onnx, const myr_onnx_node *node, const char *name, int64_t **out, size_t *count);
myr_rc myr_onnx_attr_floats(myr_onnx *onnx, const myr_onnx_node *node, const char *name, float **out, size_t *count);
myr_rc myr_onnx_attr_strings(myr_onnx *onnx, const myr_onnx_node *node, const char *name, myr_str **out, size_t *count);
/* *out is NULL if absent. */
myr_rc myr_onnx_attr_tensor(myr_onnx *onnx, const myr_onnx_node *node, const char *name, myr_onnx_tensor **out);

/* ---- tensors ---- */

myr_rc myr_onnx_tensor_parse(myr_onnx *onnx, myr_str body, myr_onnx_tensor *out); /* its head; the data stay */

/* Numbers of a float or double tensor as doubles. UNSUPPORTED for other types and for data in other files. */
myr_rc myr_onnx_tensor_doubles(myr_onnx *onnx, const myr_onnx_tensor *tensor, double **out);
myr_rc myr_onnx_tensor_int64s(myr_onnx *onnx, const myr_onnx_tensor *tensor, int64_t **out); /* int64 or int32 */
myr_rc myr_onnx_tensor_bytes(myr_onnx *onnx, const myr_onnx_tensor *tensor, uint8_t **out);  /* uint8 */

#endif
