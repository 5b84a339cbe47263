/*
 * Trees whose leaves are vectors (multi_strategy=multi_output_tree): one value per output. Such a tree becomes one tree
 * per output, all with the same splits, covers and numbers of leaves. Up to XGBoost 3.1 the values stand in
 * base_weights, by node; since then in leaf_weights, by the number that a leaf has for its right child.
 */
#include "import/xgboost.h"

#include <math.h>

typedef struct xgb_vectors {
    const float *values;
    uint64_t row_count; /* vectors in `values` */
    bool is_by_node;
} xgb_vectors;

static myr_rc xgb_vector_open(myr_xgb *xgb, myr_doc_value base, myr_doc_value leaf, uint64_t leaf_count,
                              xgb_vectors *out)
{
    bool is_by_node = myr_doc_kind_of(leaf) == MYR_DOC_ABSENT;
    myr_doc_value array = is_by_node ? base : leaf;
    const char *what = is_by_node ? "base_weights" : "leaf_weights";
    uint64_t rows = is_by_node ? xgb->nodes.count : leaf_count;
    uint64_t count = rows * xgb->vector_size; /* at most 2^31 * 2^10 */
    if (myr_doc_kind_of(array) == MYR_DOC_ABSENT) MYR_XGB_FAIL(xgb, BAD_FORMAT, "%s is missing", what);
    MYR_TRY(myr_xgb_expect_count(xgb, what, array, count)); /* before memory is taken */
    float *values = myr_xgb_alloc(xgb, (size_t)count, sizeof *values);
    if (values == NULL) MYR_XGB_FAIL(xgb, NO_MEMORY, "%llu values of leaves", (unsigned long long)count);
    MYR_TRY(myr_xgb_floats(xgb, what, array, count, values));
    *out = (xgb_vectors){values, rows, is_by_node};
    return MYR_OK;
}

/* The vector of leaf `node`. */
static myr_rc xgb_vector_of(myr_xgb *xgb, const xgb_vectors *vectors, uint32_t node, const float **out)
{
    uint64_t row = node;
    if (!vectors->is_by_node) {
        int32_t number = xgb->nodes.right[node];
        if (number < 0 || (uint64_t)number >= vectors->row_count) {
            MYR_XGB_FAIL(xgb, BAD_FORMAT, "node %u: a leaf whose right child is %d names none of the %llu leaf_weights",
                         node, number, (unsigned long long)vectors->row_count);
        }
        row = (uint64_t)number;
    }
    *out = vectors->values + row * xgb->vector_size;
    for (uint32_t k = 0; k < xgb->vector_size; k++) {
        if (isnan((*out)[k])) MYR_XGB_FAIL(xgb, BAD_FORMAT, "node %u: value %u of its leaf is NaN", node, k);
    }
    return MYR_OK;
}

myr_rc myr_xgb_read_vectors(myr_xgb *xgb, myr_doc_value base, myr_doc_value leaf, myr_tree *trees)
{
    uint32_t leaf_count = trees[0].leaf_count;
    xgb_vectors vectors = {0};
    MYR_TRY(xgb_vector_open(xgb, base, leaf, leaf_count, &vectors));
    for (uint32_t k = 0; k < xgb->vector_size; k++) {
        double *leaves = myr_xgb_alloc(xgb, leaf_count, sizeof *leaves);
        if (leaves == NULL) MYR_XGB_FAIL(xgb, NO_MEMORY, "%u leaves", leaf_count);
        if (k > 0) trees[k] = trees[0];
        trees[k].leaves = leaves;
        trees[k].output = k;
    }
    for (uint32_t i = 0; i < xgb->nodes.count; i++) {
        int32_t place = xgb->nodes.place[i];
        if (place >= 0 || place == MYR_XGB_UNSEEN) continue;
        const float *vector = NULL;
        MYR_TRY(xgb_vector_of(xgb, &vectors, i, &vector));
        for (uint32_t k = 0; k < xgb->vector_size; k++) {
            trees[k].leaves[~place] = (double)vector[k];
        }
    }
    return MYR_OK;
}
