/*
 * Trees as ONNX's operators know them, in one shape for all their versions, and how they become our trees. Not for
 * other directories.
 */
#ifndef MYR_IMPORT_ONNX_FOREST_H
#define MYR_IMPORT_ONNX_FOREST_H

#include "import/onnx_graph.h"

/*
 * Splits that a model may come to have: so many per node and weight of the file. A leaf with weights for several
 * outputs makes a tree for each, and a set of values makes several splits: what would grow beyond is left to ONNX
 * Runtime.
 */
#define MYR_ONNX_SPLITS_FREE     4096
#define MYR_ONNX_SPLITS_PER_NODE 16
#define MYR_ONNX_SET_MAX         4096 /* values of one chain of equalities */

typedef enum myr_onnx_mode {
    MYR_ONNX_LEQ,
    MYR_ONNX_LT,
    MYR_ONNX_GTE,
    MYR_ONNX_GT,
    MYR_ONNX_EQ,
    MYR_ONNX_NEQ,
    MYR_ONNX_MEMBER,
    MYR_ONNX_LEAF
} myr_onnx_mode;

typedef struct myr_onnx_tree_node {
    uint8_t mode; /* myr_onnx_mode */
    bool nan_yes; /* a NaN goes to `yes` whatever the comparison says */
    uint32_t feature;
    uint32_t yes, no;      /* nodes */
    uint32_t first, count; /* of a leaf: weights; of MEMBER: members */
    double value;
} myr_onnx_tree_node;

typedef struct myr_onnx_weight {
    uint32_t output;
    double value;
} myr_onnx_weight;

typedef enum myr_onnx_post {
    MYR_ONNX_POST_NONE,
    MYR_ONNX_POST_SOFTMAX,
    MYR_ONNX_POST_LOGISTIC,
    MYR_ONNX_POST_SOFTMAX_ZERO,
    MYR_ONNX_POST_PROBIT
} myr_onnx_post;

typedef struct myr_onnx_forest {
    const myr_onnx_node *node;
    const myr_onnx_columns *columns;
    myr_onnx_tree_node *nodes;
    uint32_t node_count;
    myr_onnx_weight *weights;
    uint32_t weight_count;
    const double *members; /* of MEMBER nodes */
    uint32_t *roots;
    uint32_t tree_count;
    uint32_t output_count; /* targets or classes */
    bool single;           /* the kernel computes in float, not in double */
    bool double_out;       /* and does not round a double sum to float in the end */
    bool is_classifier;
    bool average;
    myr_onnx_post post;
    const double *bases;
    size_t base_count;
} myr_onnx_forest;

/* Take input 0 as the trees' columns, closing an open one to feature_count. */
myr_rc myr_onnx_forest_input(myr_onnx_eval *eval, const myr_onnx_node *node, bool is_classifier, uint32_t feature_count,
                             myr_onnx_forest *forest);
/* Make scores of it. UNSUPPORTED names what has no exact counterpart. */
myr_rc myr_onnx_forest_scores(myr_onnx_eval *eval, const myr_onnx_forest *forest, myr_onnx_sym *out);
/* Grow the trees: one for each tree and output that it has weights for, in the order of the trees. */
myr_rc myr_onnx_forest_grow(myr_onnx_eval *eval, const myr_onnx_forest *forest, myr_model_desc *desc);

#endif
