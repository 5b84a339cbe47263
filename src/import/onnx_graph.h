/*
 * A graph read symbolically: what each of its values is, in terms of the columns of a row and of one model's scores.
 * Operators that are not known make foreign values; only a graph whose outputs hang on one is refused. Not for other
 * directories.
 */
#ifndef MYR_IMPORT_ONNX_GRAPH_H
#define MYR_IMPORT_ONNX_GRAPH_H

#include "import/onnx.h"

#define MYR_ONNX_STEPS_MAX 16 /* operations on one column before a model reads it */

/* ---- columns ---- */

/* One operation on a number: monotone in it, and a NaN stays one (but for FILL, which replaces it). */
typedef enum myr_onnx_op {
    MYR_ONNX_STEP_ROUND, /* to float */
    MYR_ONNX_STEP_ADD,
    MYR_ONNX_STEP_SUB, /* x - c */
    MYR_ONNX_STEP_MUL,
    MYR_ONNX_STEP_DIV, /* x / c */
    MYR_ONNX_STEP_FILL /* a NaN becomes c */
} myr_onnx_op;

typedef struct myr_onnx_step {
    myr_onnx_op op;
    bool single; /* in float */
    double c;
} myr_onnx_step;

typedef struct myr_onnx_column {
    uint32_t feature;
    uint32_t step_count;
    const myr_onnx_step *steps; /* the first one first */
} myr_onnx_column;

/* A tensor [N,count] of columns. */
typedef struct myr_onnx_columns {
    int64_t type; /* of its cells */
    bool is_open; /* the input does not say how many: whoever reads it says so first */
    uint32_t count;
    myr_onnx_column *list;
} myr_onnx_columns;

/* What the columns make of x, with the rounding of their types. */
double myr_onnx_steps_run(const myr_onnx_column *column, double x);
/* z = scale * x + offset and NaN = fill in real numbers (a NaN fill: none); false if that cannot be said. */
bool myr_onnx_steps_line(const myr_onnx_column *column, double *scale, double *offset, double *fill);

/* A comparison with x, of all that is not a NaN. */
typedef struct myr_onnx_cut {
    enum { MYR_ONNX_NEVER, MYR_ONNX_ALWAYS, MYR_ONNX_UP_TO, MYR_ONNX_ABOVE } kind; /* x <= at; x > at */
    double at;
} myr_onnx_cut;
/*
 * The x for which the columns' value is <= t (or < t, if `strict`), found by search over all floats (single) or doubles
 * in order, which works since every step is monotone.
 */
myr_onnx_cut myr_onnx_cut_find(const myr_onnx_column *column, double t, bool strict, bool single);

/* ---- values ---- */

/* A model and what has been done to its scores so far: a description in the making. */
typedef struct myr_onnx_scores {
    const char *op; /* TreeEnsembleRegressor, …, for `objective` */
    myr_model_desc desc;
    uint32_t width;   /* values per row */
    bool is_exact;    /* trees: bit-equal so far */
    bool is_positive; /* probabilities: their L1 norm is their sum */
    bool is_sum;      /* the values are sums still: a constant may be added */
} myr_onnx_scores;

typedef enum myr_onnx_kind {
    MYR_ONNX_IS_FOREIGN,
    MYR_ONNX_IS_COLUMNS,
    MYR_ONNX_IS_TENSOR,
    MYR_ONNX_IS_SCORES,
    MYR_ONNX_IS_LABELS,   /* classes by name or number: we answer scores */
    MYR_ONNX_IS_NORM,     /* the sums of |scores| over a row */
    MYR_ONNX_IS_OPPOSITE, /* 1 - scores */
} myr_onnx_kind;

typedef struct myr_onnx_sym {
    myr_onnx_kind kind;
    myr_onnx_columns *columns;
    const myr_onnx_tensor *tensor;
    myr_onnx_scores *scores; /* also of NORM and OPPOSITE */
    const char *reason;      /* of a foreign value: why */
    bool is_input;           /* a foreign input of the graph: whoever reads it is named */
} myr_onnx_sym;

typedef struct myr_onnx_eval {
    myr_onnx *onnx;
    myr_map *names; /* of values: index into syms */
    myr_onnx_sym *syms;
    uint32_t sym_count, sym_room;
    uint32_t feature_count; /* of all inputs; 0 while the only one is open */
} myr_onnx_eval;

/* Why this node is not one of ours; an UNSUPPORTED that names it. */
#define MYR_ONNX_FOREIGN(eval, node, ...)                                                                              \
    do {                                                                                                               \
        myr_rc onnx_rc_ = MYR_ERROR((eval)->onnx->err, UNSUPPORTED, __VA_ARGS__);                                      \
        return myr_err_prefix((eval)->onnx->err, onnx_rc_, "operator %s%.*s: ", (node)->is_ml ? "ai.onnx.ml." : "",    \
                              MYR_STR_ARG((node)->op));                                                                \
    } while (0)

/* An open tensor gets `count` columns; false if there are others. */
myr_rc myr_onnx_close(myr_onnx_eval *eval, myr_onnx_columns *columns, uint32_t count, bool *out_fits);
void *myr_onnx_new(myr_onnx_eval *eval, size_t count, size_t size); /* from the arena, zeroed; NULL: no memory */

/* Input k of a node if it is of that kind, else NULL. */
const myr_onnx_sym *myr_onnx_input(const myr_onnx_eval *eval, const myr_onnx_node *node, uint32_t k,
                                   myr_onnx_kind kind);

/* One node: fill out[0 .. output_count-1]. UNSUPPORTED: all of them are foreign. */
typedef myr_rc (*myr_onnx_handler)(myr_onnx_eval *eval, const myr_onnx_node *node, myr_onnx_sym *out);
myr_rc myr_onnx_trees(myr_onnx_eval *eval, const myr_onnx_node *node, myr_onnx_sym *out);         /* v1 to v4 */
myr_rc myr_onnx_tree_ensemble(myr_onnx_eval *eval, const myr_onnx_node *node, myr_onnx_sym *out); /* v5 */
myr_rc myr_onnx_linear(myr_onnx_eval *eval, const myr_onnx_node *node, myr_onnx_sym *out);
myr_rc myr_onnx_matmul(myr_onnx_eval *eval, const myr_onnx_node *node, myr_onnx_sym *out);
myr_rc myr_onnx_gemm(myr_onnx_eval *eval, const myr_onnx_node *node, myr_onnx_sym *out);
/* Operations on columns, and on scores; which of both, the input says. */
myr_rc myr_onnx_prepare(myr_onnx_eval *eval, const myr_onnx_node *node, myr_onnx_sym *out);
myr_rc myr_onnx_finish(myr_onnx_eval *eval, const myr_onnx_node *node, myr_onnx_sym *out);

#endif
