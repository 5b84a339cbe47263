/*
 * The list of trees of an XGBoost model: how many, which output each adds to, and that the counts which the file
 * repeats in several places agree.
 */
#include "import/xgboost.h"

#include <stdio.h>

/* A tree has its field names, so it can't be shorter: a count that the file has no room for is refused before memory.
 */
#define XGB_TREE_BYTES_MIN 64

/* Where each boosting round's trees begin, and where the last one's end: count + 1 numbers. */
typedef struct xgb_layers {
    uint32_t count;
    uint32_t *begins;
} xgb_layers;

static myr_rc xgb_read_indptr(myr_xgb *xgb, myr_doc_value array, uint32_t tree_count, xgb_layers *out)
{
    myr_doc_iter iter;
    myr_doc_value value;
    int64_t last = 0;
    uint64_t idx = 0;
    uint64_t count = myr_doc_count(&xgb->doc, array);
    out->begins = myr_xgb_alloc(xgb, (size_t)count + 1, sizeof *out->begins);
    if (out->begins == NULL) MYR_XGB_FAIL(xgb, NO_MEMORY, "%llu rounds", (unsigned long long)count);
    myr_doc_iter_init(&xgb->doc, array, &iter);
    for (; myr_doc_next(&iter, NULL, &value); idx++) {
        int64_t number;
        if (!myr_doc_int(value, &number) || number < last || number > tree_count || (idx == 0 && number != 0)) {
            MYR_XGB_FAIL(xgb, BAD_FORMAT, "iteration_indptr[%llu] does not rise from 0 to num_trees, %u",
                         (unsigned long long)idx, tree_count);
        }
        last = number;
        out->begins[idx] = (uint32_t)number;
    }
    if (last != tree_count) {
        MYR_XGB_FAIL(xgb, BAD_FORMAT, "iteration_indptr ends at %lld, num_trees is %u", (long long)last, tree_count);
    }
    out->count = idx > 0 ? (uint32_t)idx - 1 : 0;
    return MYR_OK;
}

/* Files before version 2 do not say: a round has num_parallel_tree trees for each output. */
static myr_rc xgb_make_indptr(myr_xgb *xgb, uint64_t parallel, uint32_t tree_count, xgb_layers *out)
{
    uint64_t step = parallel * (xgb->vector_size > 1 ? 1 : xgb->out->desc.margin_count);
    MYR_ASSERT(step > 0);
    if (tree_count % step != 0) {
        MYR_XGB_FAIL(xgb, BAD_FORMAT, "num_trees is %u, but a round has %llu", tree_count, (unsigned long long)step);
    }
    out->count = (uint32_t)(tree_count / step);
    out->begins = myr_xgb_alloc(xgb, (size_t)out->count + 1, sizeof *out->begins);
    if (out->begins == NULL) MYR_XGB_FAIL(xgb, NO_MEMORY, "%u rounds", out->count);
    for (uint32_t i = 0; i <= out->count; i++) {
        out->begins[i] = (uint32_t)(i * step);
    }
    return MYR_OK;
}

static myr_rc xgb_read_tree_count(myr_xgb *xgb, myr_doc_value params, uint32_t *out, uint64_t *out_parallel)
{
    enum { TREES, PARALLEL, COUNT };
    static const myr_xgb_field fields[COUNT] = {{"num_trees", MYR_DOC_STRING, false},
                                                {"num_parallel_tree", MYR_DOC_STRING, true}};
    myr_doc_value values[COUNT];
    uint64_t count = 0;
    *out_parallel = 1;
    MYR_TRY(myr_xgb_fields(xgb, params, fields, COUNT, values));
    MYR_TRY(myr_xgb_parameter(xgb, "num_trees", values[TREES], MYR_TREES_MAX, &count));
    if (myr_doc_kind_of(values[PARALLEL]) != MYR_DOC_ABSENT) {
        MYR_TRY(myr_xgb_parameter(xgb, "num_parallel_tree", values[PARALLEL], MYR_TREES_MAX, out_parallel));
    }
    if (*out_parallel == 0) *out_parallel = 1; /* as the library reads it */
    *out = (uint32_t)count;
    return MYR_OK;
}

/* Of the first tree; the others must agree. */
static myr_rc xgb_find_vector_size(myr_xgb *xgb, myr_doc_value trees)
{
    myr_doc_iter iter;
    myr_doc_value first;
    uint64_t size = 1;
    xgb->vector_size = 1;
    myr_doc_iter_init(&xgb->doc, trees, &iter);
    if (!myr_doc_next(&iter, NULL, &first) || myr_doc_kind_of(first) != MYR_DOC_OBJECT) return MYR_OK;
    MYR_TRY(myr_xgb_read_vector_size(xgb, first, &size));
    if (size > 1 && size != xgb->out->desc.margin_count) {
        MYR_XGB_FAIL(xgb, BAD_FORMAT, "size_leaf_vector is %llu, the model has %u outputs", (unsigned long long)size,
                     xgb->out->desc.margin_count);
    }
    xgb->vector_size = (uint32_t)size;
    return MYR_OK;
}

static myr_rc xgb_read_each(myr_xgb *xgb, myr_doc_value array, const int32_t *outputs, const float *weights,
                            uint32_t count, myr_tree *trees)
{
    myr_doc_iter iter;
    myr_doc_value value;
    uint32_t margin_count = xgb->out->desc.margin_count;
    myr_doc_iter_init(&xgb->doc, array, &iter);
    for (uint32_t i = 0; i < count; i++) {
        bool has_more = myr_doc_next(&iter, NULL, &value);
        MYR_ASSERT(has_more);
        MYR_IGNORE(snprintf(xgb->where, sizeof xgb->where, "tree %u", i)); /* it fits */
        if (outputs[i] < 0 || (uint32_t)outputs[i] >= margin_count || (xgb->vector_size > 1 && outputs[i] != 0)) {
            MYR_XGB_FAIL(xgb, BAD_FORMAT, "tree_info is %d, the model has %u outputs", outputs[i], margin_count);
        }
        if (myr_doc_kind_of(value) != MYR_DOC_OBJECT) {
            MYR_XGB_FAIL(xgb, BAD_FORMAT, "is %s, not an object", myr_doc_kind_name(myr_doc_kind_of(value)));
        }
        myr_tree *tree = &trees[(size_t)i * xgb->vector_size];
        MYR_TRY(myr_xgb_read_tree(xgb, value, i, weights != NULL ? &weights[i] : NULL, tree));
        if (xgb->vector_size == 1) tree->output = (uint32_t)outputs[i];
    }
    return MYR_OK;
}

/* dart: a weight per tree, or NULL if the booster has none. */
static myr_rc xgb_read_weights(myr_xgb *xgb, myr_doc_value array, uint32_t count, float **out)
{
    *out = NULL;
    if (myr_doc_kind_of(array) == MYR_DOC_ABSENT) return MYR_OK;
    if (xgb->vector_size > 1) MYR_XGB_FAIL(xgb, UNSUPPORTED, "dart with vector leaves, which no version has");
    MYR_TRY(myr_xgb_expect_count(xgb, "weight_drop", array, count));
    *out = myr_xgb_alloc(xgb, count, sizeof **out);
    if (*out == NULL) MYR_XGB_FAIL(xgb, NO_MEMORY, "%u weights", count);
    return myr_xgb_floats(xgb, "weight_drop", array, count, *out);
}

/* The whole list was read and checked; keep the trees of the wanted rounds. */
static myr_rc xgb_keep_rounds(myr_xgb *xgb, const xgb_layers *layers, myr_xgb_rounds rounds, myr_tree *trees)
{
    uint32_t left = rounds.first < layers->count ? layers->count - rounds.first : 0;
    uint32_t count = rounds.count > 0 ? rounds.count : left;
    if (rounds.first > layers->count || count > left || (rounds.first > 0 && count == 0)) {
        MYR_XGB_FAIL(xgb, BAD_INPUT, "iterations %u to %llu are wanted, the model has %u", rounds.first,
                     (unsigned long long)rounds.first + count, layers->count);
    }
    size_t begin = (size_t)layers->begins[rounds.first] * xgb->vector_size;
    size_t end = (size_t)layers->begins[rounds.first + count] * xgb->vector_size;
    xgb->out->desc.trees = trees + begin;
    xgb->out->desc.tree_count = (uint32_t)(end - begin);
    return MYR_OK;
}

myr_rc myr_xgb_read_trees(myr_xgb *xgb, myr_doc_value model, myr_doc_value weight_drop, myr_xgb_rounds rounds)
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
    uint64_t parallel = 1;
    float *weights = NULL;
    xgb_layers layers = {0};
    MYR_TRY(myr_xgb_fields(xgb, model, fields, COUNT, values));
    if (myr_doc_kind_of(values[DROP]) != MYR_DOC_ABSENT) {
        MYR_XGB_FAIL(xgb, UNSUPPORTED, "weight_drop inside the trees' model, where no version writes it");
    }
    MYR_TRY(xgb_read_tree_count(xgb, values[PARAMS], &count, &parallel));
    if (count > xgb->src->size / XGB_TREE_BYTES_MIN) {
        MYR_XGB_FAIL(xgb, BAD_FORMAT, "num_trees is %u, the file has no room for so many", count);
    }
    MYR_TRY(myr_xgb_expect_count(xgb, "trees", values[TREES], count));
    MYR_TRY(xgb_find_vector_size(xgb, values[TREES]));
    if ((uint64_t)count * xgb->vector_size > MYR_TREES_MAX) {
        MYR_XGB_FAIL(xgb, TOO_LARGE, "%u trees with leaves of %u values are more than %d trees", count,
                     xgb->vector_size, MYR_TREES_MAX);
    }
    if (myr_doc_kind_of(values[INDPTR]) != MYR_DOC_ABSENT) {
        MYR_TRY(xgb_read_indptr(xgb, values[INDPTR], count, &layers));
    } else {
        MYR_TRY(xgb_make_indptr(xgb, parallel, count, &layers));
    }
    MYR_TRY(xgb_read_weights(xgb, weight_drop, count, &weights));
    int32_t *outputs = myr_xgb_alloc(xgb, count, sizeof *outputs);
    myr_tree *trees = myr_xgb_alloc(xgb, (size_t)count * xgb->vector_size, sizeof *trees);
    if (outputs == NULL || trees == NULL) MYR_XGB_FAIL(xgb, NO_MEMORY, "%u trees", count);
    MYR_TRY(myr_xgb_ints32(xgb, "tree_info", values[INFO], count, outputs));
    MYR_TRY(xgb_read_each(xgb, values[TREES], outputs, weights, count, trees));
    xgb->is_fitted = count > 0;
    MYR_IGNORE(snprintf(xgb->where, sizeof xgb->where, "gradient_booster.model")); /* it fits */
    MYR_TRY(xgb_keep_rounds(xgb, &layers, rounds, trees));
    if (myr_doc_kind_of(values[CATS]) == MYR_DOC_ABSENT) return MYR_OK;
    MYR_IGNORE(snprintf(xgb->where, sizeof xgb->where, "cats")); /* it fits */
    return myr_xgb_read_names_of_categories(xgb, values[CATS]);
}
