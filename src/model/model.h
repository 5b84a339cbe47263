/*
 * The face of model: a model described in neutral terms (`myr_model_desc`), compiled into one flat run of bytes, and
 * checked bytes (`myr_model`) that the predict kernels accept. Pure: no I/O, no threads, no logging; the heap is
 * touched only by compile.
 */
#ifndef MYR_MODEL_MODEL_H
#define MYR_MODEL_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/base.h"

/* Limits of one model. Each is checked by compile and by check, and named in the message. */
#define MYR_TREES_MAX         1000000
#define MYR_TREE_LEAVES_MAX   (1 << 24)
#define MYR_CATEGORY_MAX      (1 << 24) /* largest category number of a split, exclusive */
#define MYR_MODEL_ALIGN       64
#define MYR_EXPLAIN_DEPTH_MAX 1024 /* splits above a leaf; a model with a deeper tree is not explained */

/* ---- a model described ---- */

typedef enum myr_calc {
    MYR_CALC_F64, /* LightGBM: inputs, thresholds and sums are doubles */
    MYR_CALC_F32  /* XGBoost: inputs are rounded to float, sums run in float, in tree order, from the base margin */
} myr_calc;

typedef enum myr_missing {
    MYR_MISSING_NONE, /* NaN is taken as 0.0, then compared */
    MYR_MISSING_ZERO, /* NaN and |x| <= 1e-35 go the default way (LightGBM zero_as_missing) */
    MYR_MISSING_NAN   /* NaN goes the default way */
} myr_missing;

/* What turns margins into values; the formulas and their order of operations are the source library's. */
typedef enum myr_transform {
    MYR_TRANSFORM_IDENTITY,
    MYR_TRANSFORM_SIGMOID,       /* 1 / (1 + exp(-p x)), p = transform_param */
    MYR_TRANSFORM_SOFTMAX,       /* over the outputs */
    MYR_TRANSFORM_SIGMOID_EACH,  /* LightGBM multiclassova */
    MYR_TRANSFORM_EXP,           /* poisson, gamma, tweedie */
    MYR_TRANSFORM_SIGNED_SQUARE, /* LightGBM reg_sqrt: sign(x) x^2 */
    MYR_TRANSFORM_LOG1P_EXP,     /* LightGBM cross_entropy_lambda */
    MYR_TRANSFORM_HARD_MAX,      /* XGBoost multi:softmax: one output, the class number */
    MYR_TRANSFORM_STEP,          /* XGBoost binary:hinge: margin > 0 gives 1, else 0 */
    /* What ONNX's classifiers do, in float whatever the margins are; a pair makes two values of one margin x. */
    MYR_TRANSFORM_ONNX_FLOAT,         /* x, rounded to float */
    MYR_TRANSFORM_ONNX_LOGISTIC,      /* of each */
    MYR_TRANSFORM_ONNX_SOFTMAX,       /* over the outputs */
    MYR_TRANSFORM_ONNX_SOFTMAX_ZERO,  /* the same, but zeros stay zero */
    MYR_TRANSFORM_ONNX_PROBIT,        /* of each */
    MYR_TRANSFORM_ONNX_PAIR,          /* 1 - x and x */
    MYR_TRANSFORM_ONNX_PAIR_SIGNED,   /* -x and x */
    MYR_TRANSFORM_ONNX_PAIR_LOGISTIC, /* logistic of -x and of x */
    MYR_TRANSFORM_SIGMOID_PAIR,       /* in double: 1 - s and s, s the sigmoid of x */
    MYR_TRANSFORM_SIGMOID_SHARE,      /* in double: the sigmoids of all outputs, divided by their sum */
    /* Inverse links of generalised linear models, of each margin x, in double; p = transform_param. */
    MYR_TRANSFORM_LINK_POWER,             /* x^(1/p) */
    MYR_TRANSFORM_LINK_PROBIT,            /* the normal distribution's cdf */
    MYR_TRANSFORM_LINK_CAUCHIT,           /* 1/2 + atan(x)/pi */
    MYR_TRANSFORM_LINK_CLOGLOG,           /* 1 - exp(-exp(x)) */
    MYR_TRANSFORM_LINK_LOGLOG,            /* exp(-exp(-x)) */
    MYR_TRANSFORM_LINK_LOGC,              /* 1 - exp(x) */
    MYR_TRANSFORM_LINK_NEGATIVE_BINOMIAL, /* -1 / (p (1 - exp(-x))) */
    MYR_TRANSFORM_COUNT_
} myr_transform;

typedef struct myr_split {
    uint32_t feature;        /* column of the row */
    int32_t left, right;     /* >= 0: a split of this tree; < 0: leaf number ~x */
    double threshold;        /* numeric: x <= threshold goes left; never NaN. In F32 models exactly a float */
    uint32_t category_first; /* categorical: first 32-bit word of its set in the tree's category_words … */
    uint32_t category_count; /* … and how many words; a category in the set goes left. 0 if numeric */
    uint8_t is_category;
    uint8_t missing;      /* myr_missing */
    uint8_t default_left; /* where a missing value goes */
} myr_split;

/* A leaf of a linear tree: constant + sum of coefficients[i] * x[features[i]], in order; any NaN among them: leaves[i].
 */
typedef struct myr_leaf_line {
    double constant;
    const double *coefficients;
    const uint32_t *features;
    uint32_t count;
} myr_leaf_line;

typedef struct myr_tree {
    myr_split *splits; /* splits[0] is the root; none in a single-leaf tree */
    uint32_t split_count;
    double *leaves; /* split_count + 1 values. In F32 models exactly floats */
    uint32_t leaf_count;
    uint32_t *category_words;
    uint32_t category_word_count;
    uint32_t output; /* which output it adds to */
    /* What explanations need; NULL where the file does not say. Covers: training rows (LightGBM) or hessian (XGBoost).
     */
    const double *split_covers; /* split_count */
    const double *leaf_covers;  /* leaf_count */
    const uint32_t *leaf_ids;   /* leaf_count: the source library's number of a leaf; NULL: its index */
    const myr_leaf_line *lines; /* leaf_count, or NULL: leaves are constants (LightGBM linear_tree) */
} myr_tree;

typedef enum myr_model_kind { MYR_MODEL_TREES, MYR_MODEL_LINEAR, MYR_MODEL_EXTERNAL } myr_model_kind;

/*
 * What a category was in the data frame. A text is found by itself alone; a number by whatever reads as it ("5",
 * "5.0"); a truth value by true, True, TRUE, 1 and their opposites.
 */
typedef enum myr_category_kind {
    MYR_CATEGORY_TEXT,
    MYR_CATEGORY_NUMBER,
    MYR_CATEGORY_BOOL,
    MYR_CATEGORY_KIND_COUNT
} myr_category_kind;
#define MYR_CATEGORY_NAME_BYTES_MAX 65535      /* one name */
#define MYR_NAMES_TEXT_BYTES_MAX    (64 << 20) /* all names of a model together */

/* The categories of one feature in the order of their codes: what turns text into the numbers that splits know. */
typedef struct myr_category_names {
    const char *const *names; /* UTF-8; numbers as digits ("5", "1.5", "inf"), truth values as true and false */
    uint32_t count;           /* 0: the feature is a number; below MYR_CATEGORY_MAX */
    const uint8_t *kinds;     /* count of myr_category_kind, or NULL: all are texts */
} myr_category_names;

/* Borrowed pointers throughout: the importer's or trainer's arena owns them. */
typedef struct myr_model_desc {
    myr_model_kind kind;
    myr_calc calc;
    myr_transform transform;
    double transform_param;
    uint32_t feature_count;
    uint32_t margin_count; /* margins per row (classes) */
    bool average;          /* random forest: margins are divided by average_over */
    uint32_t average_over;
    const double *base_margins; /* margin_count values, or NULL for zeros. In F32 models exactly floats */
    /* MYR_MODEL_TREES */
    const myr_tree *trees;
    uint32_t tree_count;
    /* MYR_MODEL_LINEAR: margin k = base_margins[k] + sum over j ascending of weights[k * feature_count + j] * x[j]; a
     * NaN is read as fills[j] */
    const double *weights;                /* margin_count * feature_count */
    const double *fills;                  /* feature_count, or NULL: a NaN gives NaN, in F32 it is left out */
    const myr_category_names *categories; /* feature_count, or NULL: no feature has names */
} myr_model_desc;

/* Which form compile writes. AUTO takes the one that predicts faster; tests ask for one of the others. */
typedef enum myr_model_form { MYR_FORM_AUTO, MYR_FORM_NODES, MYR_FORM_LANES, MYR_FORM_LARGE } myr_model_form;

typedef struct myr_compile_opts {
    myr_model_form form;
    bool explain; /* add what leaf numbers and contributions need; a few times the model's own bytes */
} myr_compile_opts;

/*
 * Compile into bytes that myr_model_check accepts (deterministic: same description, same bytes; padding is zero).
 * feature_map: NULL, or for each of desc->feature_count features its column in rows of `column_count` columns.
 * opts: NULL for the defaults (all zero).
 * Ownership: *out_bytes is the caller's (myr_free), aligned to MYR_MODEL_ALIGN, *out_size a multiple of it.
 * Errors:    BAD_INPUT names tree and split; TOO_LARGE names the limit; NO_MEMORY.
 */
myr_rc myr_model_compile(const myr_model_desc *desc, const uint32_t *feature_map, uint32_t column_count,
                         const myr_compile_opts *opts, unsigned char **out_bytes, size_t *out_size, myr_err *err);

/* ---- a checked model ---- */

/* Bytes that were checked in full. Only the two functions below make one, so unchecked bytes cannot reach a kernel. */
typedef struct myr_model myr_model;

/*
 * Check untrusted bytes in full: header, sizes, every split, every child (each walk ends), padding zero.
 * Ownership: *out points into `bytes`, which must stay in place, unchanged and aligned to MYR_MODEL_ALIGN.
 * Thread:    any. Errors: BAD_FORMAT with tree and split; UNSUPPORTED for a newer version, named.
 */
myr_rc myr_model_check(const void *bytes, size_t size_bytes, const myr_model **out, myr_err *err);
/* The same bytes again, after a myr_model_check that passed (the pack's mark says so). */
const myr_model *myr_model_checked_before(const void *bytes);

typedef struct myr_model_info {
    myr_model_kind kind;
    myr_calc calc;
    myr_transform transform;
    uint32_t column_count; /* width of a row */
    uint32_t margin_count;
    uint32_t output_count; /* values per row: margin_count, or 1 for HARD_MAX, 2 for a pair */
    uint32_t tree_count;
    uint64_t leaf_count;
    size_t size_bytes;
} myr_model_info;
void myr_model_get_info(const myr_model *model, myr_model_info *out);

/*
 * Predict. rows: row-major doubles, row i at rows + i * row_stride (in doubles, >= column_count); NaN = missing.
 * values: output_count per row, row-major; margins: margin_count per row, before the transform (averaged if `average`).
 * Bit-equal to the source library (LightGBM: doubles; XGBoost: float margins), whatever the row count.
 * Thread: any. A file that shrinks or turns to zeros under the mapping ends every walk (no endless loop).
 */
void myr_model_predict(const myr_model *model, const double *rows, size_t row_stride, size_t row_count,
                       double *out_values);
void myr_model_margins(const myr_model *model, const double *rows, size_t row_stride, size_t row_count,
                       double *out_margins);

/* Rows of one model. */
typedef struct myr_model_run {
    const myr_model *model;
    size_t size_bytes; /* of the model: as much of it is asked for while the run before it is predicted */
    const double *rows;
    size_t row_stride;
    size_t row_count;
    double *out_values; /* as of myr_model_predict */
} myr_model_run;
/*
 * As myr_model_predict of each run, bit for bit; for few rows of each of many models, where it would wait for memory:
 * each model's bytes are asked for during the run before it, and a single row's sum is taken during the run after it.
 */
void myr_model_predict_runs(const myr_model_run *runs, size_t run_count);

/* ---- outputs other than the value ---- */

typedef enum myr_output {
    MYR_OUTPUT_VALUE,        /* output_count a row: after the transform */
    MYR_OUTPUT_MARGIN,       /* margin_count: before it */
    MYR_OUTPUT_PROBABILITY,  /* one per class (a binary model has two); classifiers only */
    MYR_OUTPUT_LEAF,         /* one per tree: the source library's number of the leaf */
    MYR_OUTPUT_CONTRIBUTION, /* (column_count + 1) per margin: exact SHAP values in columns of the row, then the base */
    MYR_OUTPUT_COUNT
} myr_output;
const char *myr_output_name(myr_output output); /* "value", "margin", "probability", "leaf", "contribution" */
bool myr_output_parse(myr_str name, myr_output *out);

/* Values per row, or 0 if this model can't give them. LEAF and CONTRIBUTION need a model compiled to explain. */
size_t myr_model_width(const myr_model *model, myr_output output);
bool myr_model_has_explanations(const myr_model *model); /* it was compiled with them, whatever they lack */
/* Why it can't, in words that stay; NULL if it can. */
const char *myr_model_why_not(const myr_model *model, myr_output output);
/*
 * Predict what is asked, myr_model_width values per row, row-major. Thread: any. Errors: UNSUPPORTED says why this
 * model can't (not a classifier; compiled without explanations); NO_MEMORY.
 */
myr_rc myr_model_predict_as(const myr_model *model, myr_output output, const double *rows, size_t row_stride,
                            size_t row_count, double *out, myr_err *err);

/* ---- names of categories ---- */

/*
 * Which text means which code, per column of the row; part of the model's bytes, checked with them. A text that is no
 * category of the list has the code NaN, so it is missing. Thread: any. No heap.
 */
typedef struct myr_names myr_names;
const myr_names *myr_model_names(const myr_model *model);    /* NULL: no column has names */
bool myr_names_has(const myr_names *names, uint32_t column); /* this column's cells are names, not numbers */
double myr_names_code(const myr_names *names, uint32_t column, myr_str text);
uint32_t myr_names_count(const myr_names *names, uint32_t column);              /* 0: it has none */
myr_str myr_names_text(const myr_names *names, uint32_t column, uint32_t code); /* numbers in their shortest form */

/* ---- models that are not ours ---- */

#define MYR_EXTERNAL_RUNTIME_BYTES 32 /* of a runtime's name, with NUL */
#define MYR_EXTERNAL_TEXT          0x80000000u
#define MYR_EXTERNAL_COLUMN(entry) ((entry) & ~MYR_EXTERNAL_TEXT)

/* Borrowed. Feature j of the model is column columns[j] of a row, and a text if is_text (NULL: none is). */
typedef struct myr_external_desc {
    const char *runtime;         /* letters a to z: "onnxruntime" */
    const unsigned char *sha256; /* of the artifact, MYR_SHA256_BYTES */
    const uint32_t *columns;
    const uint8_t *is_text;
    uint32_t feature_count;
    uint32_t output_count; /* values per row */
} myr_external_desc;
/* Bytes of kind MYR_MODEL_EXTERNAL, as myr_model_compile gives them. Errors: BAD_INPUT, TOO_LARGE, NO_MEMORY. */
myr_rc myr_model_compile_external(const myr_external_desc *desc, uint32_t column_count, unsigned char **out_bytes,
                                  size_t *out_size, myr_err *err);

/* What the bytes of a checked model say; pointers into them. */
typedef struct myr_external {
    const char *runtime;
    const unsigned char *sha256;
    const uint32_t *columns; /* MYR_EXTERNAL_COLUMN and MYR_EXTERNAL_TEXT of each feature */
    uint32_t feature_count;
    uint32_t output_count;
} myr_external;
bool myr_model_is_external(const myr_model *model);
bool myr_model_external(const myr_model *model, myr_external *out); /* false: it is one of ours */

/*
 * Set a mark for each column that the model takes as text: its categories have names, or it is not ours and wants texts
 * there. marks: column_count bytes. False: there is none. Thread: any.
 */
bool myr_model_mark_text(const myr_model *model, uint8_t *marks);

/*
 * Ask for the model's bytes while another one answers, so that it does not wait for memory. Reads nothing; models too
 * large for the cache are left alone. Thread: any.
 */
void myr_model_prefetch(const myr_model *model, size_t size_bytes);

#endif
