/*
 * The face of import: model files of other libraries, read as hostile input, become descriptions.
 * Formats: LightGBM text, XGBoost JSON and UBJSON, ONNX, and our own linear JSON
 *   {"format":"myriad-linear","version":1,"features":["a","b"],"intercept":1.5,"weights":[…],"fills":[…]}.
 * The libraries' own loaders are never called.
 */
#ifndef MYR_IMPORT_IMPORT_H
#define MYR_IMPORT_IMPORT_H

#include "base/base.h"
#include "model/model.h"

typedef enum myr_format {
    MYR_FORMAT_LIGHTGBM,
    MYR_FORMAT_XGBOOST_JSON,
    MYR_FORMAT_XGBOOST_UBJ,
    MYR_FORMAT_LINEAR,
    MYR_FORMAT_ONNX
} myr_format;
const char *myr_format_name(myr_format format); /* "lightgbm", "xgboost-json", "xgboost-ubj", "linear", "onnx" */

#define MYR_IMPORT_DEPTH_MAX 64         /* nesting of JSON and UBJSON */
#define MYR_LINEAR_BYTES_MAX (16 << 20) /* a linear model file: parsed JSON takes up to 16 times its text */

typedef struct myr_imported {
    myr_arena *arena; /* owns everything below */
    myr_format format;
    const char *algorithm; /* "lightgbm", "xgboost", "linear", "onnx" */
    const char *objective; /* as the file writes it: "binary sigmoid:1", "reg:squarederror"; "" if absent */
    char **feature_names;  /* feature_count names: from the caller, the file, or f0, f1, … (XGBoost) */
    uint32_t feature_count;
    myr_model_desc desc;
} myr_imported;

/* What a caller may ask for beyond the file; all zero: nothing. Borrowed for the call. */
typedef struct myr_import_opts {
    const char *const *feature_names; /* NULL, or feature_count names that replace the file's */
    uint32_t feature_count;           /* another count than the model's is BAD_INPUT */
    /* Boosting rounds to keep, as num_iteration and iteration_range of the libraries' predict. */
    uint32_t first_iteration;
    uint32_t iterations; /* 0: all */
    bool best_iteration; /* XGBoost: up to the attribute best_iteration, as scikit-learn's wrapper; iterations is 0 */
    /* LightGBM: the features (by the names above, or else the file's) that pandas_categorical's lists belong to. */
    const char *const *category_features;
    uint32_t category_feature_count;
} myr_import_opts;

/*
 * Read one model. The format is found from the content (the name only stands in messages).
 * opts: NULL means none. myr_import is the same with feature names alone.
 * Ownership: *out is the caller's, freed by myr_imported_free. Thread: any.
 * Errors:    BAD_FORMAT/BAD_INPUT name file, tree and node, field, value; UNSUPPORTED names the content (an
 *            objective, a version, …) rather than answering differently; TOO_LARGE; NO_MEMORY.
 */
myr_rc myr_import_with(const char *name, const void *data, size_t size_bytes, const myr_import_opts *opts,
                       myr_imported **out, myr_err *err);
myr_rc myr_import(const char *name, const void *data, size_t size_bytes, const char *const *feature_names,
                  uint32_t feature_count, myr_imported **out, myr_err *err);
void myr_imported_free(myr_imported *imported); /* NULL accepted */
typedef myr_imported *myr_imported_ptr;
static inline void myr_imported_ptr_drop(myr_imported_ptr *imported)
{
    myr_imported_free(*imported);
}

/*
 * Compile for rows whose columns are `columns` (the fleet's signature): features are matched by name. opts may be NULL.
 * Errors: BAD_INPUT names the first feature that is not a column and the nearest one that is.
 */
myr_rc myr_imported_compile(const myr_imported *imported, const char *const *columns, uint32_t column_count,
                            const myr_compile_opts *opts, unsigned char **out_bytes, size_t *out_size, myr_err *err);

/* Write the linear format (what the trainer registers for `mean` and `ridge`). fills may be NULL. Text appended to
 * *out. */
void myr_linear_format(const char *const *features, uint32_t feature_count, double intercept, const double *weights,
                       const double *fills, myr_buf *out);

/* ---- ONNX files ---- */

#define MYR_ONNX_NODES_MAX (1 << 20) /* nodes of a graph, and likewise its initializers, inputs and outputs */
#define MYR_ONNX_DEPTH_MAX 16        /* graphs within graphs */
#define MYR_ONNX_DIMS_MAX  8         /* dimensions of a tensor */

/*
 * Is this an ONNX model (a ModelProto)? From the first fields alone; a damaged one is still one. For such a file
 * myr_import answers UNSUPPORTED, and only UNSUPPORTED, when the file is sound but not one of our models (the message
 * names the operator): the caller may then hand it to ONNX Runtime. Any other error is final. Thread: any.
 */
bool myr_onnx_is(const void *data, size_t size_bytes);

/* TensorProto.DataType: the numbers of the types that matter here. */
enum {
    MYR_ONNX_FLOAT = 1,
    MYR_ONNX_UINT8 = 2,
    MYR_ONNX_INT32 = 6,
    MYR_ONNX_INT64 = 7,
    MYR_ONNX_STRING = 8,
    MYR_ONNX_BOOL = 9,
    MYR_ONNX_DOUBLE = 11
};

/* An input or output of the graph. */
typedef struct myr_onnx_value {
    const char *name;
    bool is_tensor; /* false: a sequence, a map, …; nothing below is set */
    int64_t type;   /* MYR_ONNX_FLOAT, … */
    bool has_shape; /* the file may leave the rank open */
    uint32_t dim_count;
    int64_t dims[MYR_ONNX_DIMS_MAX]; /* -1: free */
    uint32_t width;                  /* features of a row: 1 of [N] or [N,1], C of [N,C]; 0 if the file does not say */
} myr_onnx_value;

typedef struct myr_onnx_signature {
    myr_arena *arena; /* owns everything */
    int64_t ir_version;
    int64_t opset, opset_ml; /* of ai.onnx and of ai.onnx.ml; 0 if not imported */
    const char *producer;    /* "skl2onnx"; "" if the file does not say */
    myr_onnx_value *inputs;  /* those that have no initializer */
    uint32_t input_count;
    myr_onnx_value *outputs;
    uint32_t output_count;
    /*
     * The columns of a row, in the order of the inputs. One input: f0, f1, …. Several: the name of an input of width 1,
     * name_0, name_1, … of a wider one. NULL and 0 if some input has no known width.
     */
    const char *const *feature_names;
    uint32_t feature_count;
    const char *const *external_files; /* of tensors that lie outside the file: as the file writes them, distinct */
    uint32_t external_file_count;
    const char *const *operators; /* "ai.onnx.ml.Scaler", "MatMul", distinct, in order of first use */
    uint32_t operator_count;
} myr_onnx_signature;

/*
 * Read what goes in and out of an ONNX file, without judging whether it can be run.
 * Ownership: *out is the caller's, freed by myr_onnx_signature_free. Thread: any.
 * Errors:    BAD_FORMAT names the message and the byte; TOO_LARGE names the limit; NO_MEMORY.
 */
myr_rc myr_onnx_signature_read(const char *name, const void *data, size_t size_bytes, myr_onnx_signature **out,
                               myr_err *err);
void myr_onnx_signature_free(myr_onnx_signature *signature); /* NULL accepted */
typedef myr_onnx_signature *myr_onnx_signature_ptr;
static inline void myr_onnx_signature_ptr_drop(myr_onnx_signature_ptr *signature)
{
    myr_onnx_signature_free(*signature);
}

#endif
