/*
 * The list of trees of an XGBoost model: how many, which output each adds to, and that the counts which the file
 * repeats in several places agree.
 */
#include "import/xgboost.h"

#include <stdio.h>

/* A tree has its field names, so it can't be shorter: a count that the file has no room for is refused before memory.
 */
#define XGB_TREE_BYTES_MIN 64

static myr_rc xgb_check_indptr(myr_xgb *xgb, myr_doc_value array, uint64_t tree_count)
{
    if (myr_doc_kind_of(array) == MYR_DOC_ABSENT) return MYR_OK; /* files before version 2 */
    myr_doc_iter iter;
    myr_doc_value value;
    int64_t last = 0;
    uint64_t idx = 0;
    myr_doc_iter_init(&xgb->doc, array, &iter);
    for (; myr_doc_next(&iter, NULL, &value); idx++) {
        int64_t number;
        if (!myr_doc_int(value, &number) || number < last || (idx == 0 && number != 0)) {
            MYR_XGB_FAIL(xgb, BAD_FORMAT, "iteration_indptr[%llu] does not rise from 0", (unsigned long long)idx);
        }
        last = number;
    }
    if ((uint64_t)last != tree_count) {
        MYR_XGB_FAIL(xgb, BAD_FORMAT, "iteration_indptr ends at %lld, num_trees is %llu", (long long)last,
                     (unsigned long long)tree_count);
    }
    return MYR_OK;
}

static myr_rc xgb_read_tree_count(myr_xgb *xgb, myr_doc_value params, uint32_t *out)
{
    enum { TREES, LEAF, COUNT };
    static const myr_xgb_field fields[COUNT] = {{"num_trees", MYR_DOC_STRING, false},
                                                {"size_leaf_vector", MYR_DOC_STRING, true}};
    myr_doc_value values[COUNT];
    uint64_t count = 0;
    uint64_t leaf_size = 0;
    MYR_TRY(myr_xgb_fields(xgb, params, fields, COUNT, values));
    MYR_TRY(myr_xgb_parameter(xgb, "num_trees", values[TREES], MYR_TREES_MAX, &count));
    if (myr_doc_kind_of(values[LEAF]) != MYR_DOC_ABSENT) {
        MYR_TRY(myr_xgb_parameter(xgb, "size_leaf_vector", values[LEAF], UINT32_MAX, &leaf_size));
    }
    if (leaf_size > 1) MYR_XGB_FAIL(xgb, UNSUPPORTED, "trees with vector leaves (multi_output_tree)");
    *out = (uint32_t)count;
    return MYR_OK;
}

static myr_rc xgb_read_each(myr_xgb *xgb, myr_doc_value array, const int32_t *outputs, uint32_t count, myr_tree *trees)
{
    myr_doc_iter iter;
    myr_doc_value value;
    uint32_t margin_count = xgb->out->desc.margin_count;
    myr_doc_iter_init(&xgb->doc, array, &iter);
    for (uint32_t i = 0; i < count; i++) {
        bool has_more = myr_doc_next(&iter, NULL, &value);
        MYR_ASSERT(has_more);
        MYR_IGNORE(snprintf(xgb->where, sizeof xgb->where, "tree %u", i)); /* it fits */
        if (outputs[i] < 0 || (uint32_t)outputs[i] >= margin_count) {
            MYR_XGB_FAIL(xgb, BAD_FORMAT, "tree_info is %d, the model has %u outputs", outputs[i], margin_count);
        }
        if (myr_doc_kind_of(value) != MYR_DOC_OBJECT) {
            MYR_XGB_FAIL(xgb, BAD_FORMAT, "is %s, not an object", myr_doc_kind_name(myr_doc_kind_of(value)));
        }
        MYR_TRY(myr_xgb_read_tree(xgb, value, i, &trees[i]));
        trees[i].output = (uint32_t)outputs[i];
    }
    return MYR_OK;
}

myr_rc myr_xgb_read_trees(myr_xgb *xgb, myr_doc_value model)
{
    enum { PARAMS, INFO, TREES, INDPTR, DROP, CATS, COUNT };
    static const myr_xgb_field fields[COUNT] = {{"gbtree_model_param", MYR_DOC_OBJECT, false},
                                                {"tree_info", MYR_DOC_ARRAY, false},
                                                {"trees", MYR_DOC_ARRAY, false},
                                                {"iteration_indptr", MYR_DOC_ARRAY, true},
                                                {"weight_drop", MYR_DOC_ARRAY, true},
                                                {"cats", MYR_DOC_OBJECT, true}};
    myr_doc_value values[COUNT];
    uint32_t count = 0;
    MYR_TRY(myr_xgb_fields(xgb, model, fields, COUNT, values));
    if (myr_doc_kind_of(values[DROP]) != MYR_DOC_ABSENT && myr_doc_count(&xgb->doc, values[DROP]) > 0) {
        MYR_XGB_FAIL(xgb, UNSUPPORTED, "weighted trees (dart, weight_drop)");
    }
    MYR_TRY(xgb_read_tree_count(xgb, values[PARAMS], &count));
    if (count > xgb->src->size / XGB_TREE_BYTES_MIN) {
        MYR_XGB_FAIL(xgb, BAD_FORMAT, "num_trees is %u, the file has no room for so many", count);
    }
    MYR_TRY(myr_xgb_expect_count(xgb, "trees", values[TREES], count));
    MYR_TRY(xgb_check_indptr(xgb, values[INDPTR], count));
    int32_t *outputs = myr_xgb_alloc(xgb, count, sizeof *outputs);
    myr_tree *trees = myr_xgb_alloc(xgb, count, sizeof *trees);
    if (outputs == NULL || trees == NULL) MYR_XGB_FAIL(xgb, NO_MEMORY, "%u trees", count);
    MYR_TRY(myr_xgb_ints32(xgb, "tree_info", values[INFO], count, outputs));
    MYR_TRY(xgb_read_each(xgb, values[TREES], outputs, count, trees));
    xgb->out->desc.trees = trees;
    xgb->out->desc.tree_count = count;
    if (myr_doc_kind_of(values[CATS]) == MYR_DOC_ABSENT) return MYR_OK;
    MYR_IGNORE(snprintf(xgb->where, sizeof xgb->where, "cats")); /* it fits */
    return myr_xgb_read_names_of_categories(xgb, values[CATS]);
}
