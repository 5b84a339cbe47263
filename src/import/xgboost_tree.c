/*
 * One XGBoost tree, an array per field with an entry per node, becomes splits and leaves. A walk from node 0 proves
 * that every node hangs below exactly one parent or is marked as deleted; only then are splits and leaves numbered, in
 * the order of the file.
 *
 * XGBoost goes left when x < t, our description when x <= t: t becomes the float before it. Nothing is below -infinity:
 * that split is turned around, "x <= infinity goes to what was the right child". The right child is the one that the
 * file names; XGBoost itself takes left + 1 in most of its loops, and every file it writes agrees with that.
 */
#include "import/xgboost.h"

#include <math.h>
#include <string.h>

#define XGB_NO_NODE         (-1)      /* a leaf's children */
#define XGB_DELETED_FEATURE INT32_MAX /* a pruned node: this feature, and default_left set */

/* ---- the arrays ---- */

void myr_xgb_nodes_fini(myr_xgb_nodes *nodes)
{
    myr_free(nodes->left);
    myr_free(nodes->right);
    myr_free(nodes->parent);
    myr_free(nodes->feature);
    myr_free(nodes->condition);
    myr_free(nodes->default_left);
    myr_free(nodes->is_category);
    myr_free(nodes->cover);
    myr_free(nodes->place);
    myr_free(nodes->todo);
    *nodes = (myr_xgb_nodes){0};
}

/* Room for `count` nodes; what was there is gone. */
static myr_rc xgb_nodes_room(myr_xgb *xgb, uint32_t count)
{
    myr_xgb_nodes *nodes = &xgb->nodes;
    if (count > xgb->nodes_room) {
        myr_xgb_nodes_fini(nodes);
        xgb->nodes_room = 0;
        nodes->left = myr_calloc(count, sizeof *nodes->left);
        nodes->right = myr_calloc(count, sizeof *nodes->right);
        nodes->parent = myr_calloc(count, sizeof *nodes->parent);
        nodes->feature = myr_calloc(count, sizeof *nodes->feature);
        nodes->condition = myr_calloc(count, sizeof *nodes->condition);
        nodes->default_left = myr_calloc(count, sizeof *nodes->default_left);
        nodes->is_category = myr_calloc(count, sizeof *nodes->is_category);
        nodes->cover = myr_calloc(count, sizeof *nodes->cover);
        nodes->place = myr_calloc(count, sizeof *nodes->place);
        nodes->todo = myr_calloc(count, sizeof *nodes->todo);
        if (nodes->left == NULL || nodes->right == NULL || nodes->parent == NULL || nodes->feature == NULL ||
            nodes->condition == NULL || nodes->default_left == NULL || nodes->is_category == NULL ||
            nodes->cover == NULL || nodes->place == NULL || nodes->todo == NULL) {
            MYR_XGB_FAIL(xgb, NO_MEMORY, "%u nodes", count);
        }
        xgb->nodes_room = count;
    }
    nodes->count = count;
    memset(nodes->is_category, 0, count);
    return MYR_OK;
}

enum {
    TREE_PARAM,
    TREE_ID,
    TREE_LEFT,
    TREE_RIGHT,
    TREE_PARENT,
    TREE_FEATURE,
    TREE_CONDITION,
    TREE_DEFAULT_LEFT,
    TREE_LOSS,
    TREE_HESSIAN,
    TREE_WEIGHT,
    TREE_VECTOR,
    TREE_CATEGORIES, /* the fields of xgboost_category.c follow */
    TREE_FIELDS = TREE_CATEGORIES + MYR_XGB_CATEGORY_FIELDS
};

static const myr_xgb_field xgb_tree_fields[TREE_CATEGORIES] = {
    [TREE_PARAM] = {"tree_param", MYR_DOC_OBJECT, false},
    [TREE_ID] = {"id", MYR_DOC_NUMBER, false},
    [TREE_LEFT] = {"left_children", MYR_DOC_ARRAY, false},
    [TREE_RIGHT] = {"right_children", MYR_DOC_ARRAY, false},
    [TREE_PARENT] = {"parents", MYR_DOC_ARRAY, false},
    [TREE_FEATURE] = {"split_indices", MYR_DOC_ARRAY, false},
    [TREE_CONDITION] = {"split_conditions", MYR_DOC_ARRAY, false},
    [TREE_DEFAULT_LEFT] = {"default_left", MYR_DOC_ARRAY, false},
    [TREE_LOSS] = {"loss_changes", MYR_DOC_ARRAY, true},
    [TREE_HESSIAN] = {"sum_hessian", MYR_DOC_ARRAY, true},
    [TREE_WEIGHT] = {"base_weights", MYR_DOC_ARRAY, true},
    [TREE_VECTOR] = {"leaf_weights", MYR_DOC_ARRAY, true},
};

typedef struct xgb_tree_sizes {
    uint64_t node_count, deleted_count;
    bool has_deleted_count;
} xgb_tree_sizes;

static myr_rc xgb_read_sizes(myr_xgb *xgb, myr_doc_value params, xgb_tree_sizes *out)
{
    enum { NODES, DELETED, COUNT };
    static const myr_xgb_field fields[COUNT] = {{"num_nodes", MYR_DOC_STRING, false},
                                                {"num_deleted", MYR_DOC_STRING, true}};
    myr_doc_value values[COUNT];
    MYR_TRY(myr_xgb_fields(xgb, params, fields, COUNT, values));
    MYR_TRY(myr_xgb_parameter(xgb, "num_nodes", values[NODES], INT32_MAX, &out->node_count));
    if (out->node_count == 0) MYR_XGB_FAIL(xgb, BAD_FORMAT, "num_nodes is 0");
    out->has_deleted_count = myr_doc_kind_of(values[DELETED]) != MYR_DOC_ABSENT;
    if (out->has_deleted_count) {
        MYR_TRY(myr_xgb_parameter(xgb, "num_deleted", values[DELETED], INT32_MAX, &out->deleted_count));
    }
    return MYR_OK;
}

myr_rc myr_xgb_read_vector_size(myr_xgb *xgb, myr_doc_value tree, uint64_t *out)
{
    static const myr_xgb_field param_field = {"tree_param", MYR_DOC_OBJECT, false};
    static const myr_xgb_field size_field = {"size_leaf_vector", MYR_DOC_STRING, true};
    myr_doc_value param;
    myr_doc_value size;
    uint64_t number = 1;
    MYR_TRY(myr_xgb_fields(xgb, tree, &param_field, 1, &param));
    MYR_TRY(myr_xgb_fields(xgb, param, &size_field, 1, &size));
    if (myr_doc_kind_of(size) != MYR_DOC_ABSENT) {
        MYR_TRY(myr_xgb_parameter(xgb, "size_leaf_vector", size, UINT32_MAX, &number));
    }
    *out = number > 1 ? number : 1; /* 0 in files of version 1: a leaf has its one value */
    return MYR_OK;
}

static myr_rc xgb_check_id(myr_xgb *xgb, myr_doc_value value, uint32_t tree_idx)
{
    int64_t id;
    if (!myr_doc_int(value, &id) || id != (int64_t)tree_idx) MYR_XGB_FAIL(xgb, BAD_FORMAT, "id is not %u", tree_idx);
    return MYR_OK;
}

/* The other statistics are not used, but their lengths tell whether the tree is whole. */
static myr_rc xgb_check_statistics(myr_xgb *xgb, const myr_doc_value *values, uint64_t count)
{
    for (size_t i = TREE_LOSS; i <= (xgb->vector_size > 1 ? TREE_HESSIAN : TREE_WEIGHT); i++) {
        if (myr_doc_kind_of(values[i]) == MYR_DOC_ABSENT) continue;
        MYR_TRY(myr_xgb_expect_count(xgb, xgb_tree_fields[i].name, values[i], count));
    }
    return MYR_OK;
}

static myr_rc xgb_read_arrays(myr_xgb *xgb, const myr_doc_value *values, uint64_t count)
{
    myr_xgb_nodes *nodes = &xgb->nodes;
    MYR_TRY(myr_xgb_expect_count(xgb, "left_children", values[TREE_LEFT], count)); /* before memory is taken */
    MYR_TRY(xgb_nodes_room(xgb, (uint32_t)count));
    MYR_TRY(myr_xgb_ints32(xgb, "left_children", values[TREE_LEFT], count, nodes->left));
    MYR_TRY(myr_xgb_ints32(xgb, "right_children", values[TREE_RIGHT], count, nodes->right));
    MYR_TRY(myr_xgb_ints32(xgb, "parents", values[TREE_PARENT], count, nodes->parent));
    MYR_TRY(myr_xgb_ints64(xgb, "split_indices", values[TREE_FEATURE], count, nodes->feature));
    MYR_TRY(myr_xgb_floats(xgb, "split_conditions", values[TREE_CONDITION], count, nodes->condition));
    MYR_TRY(myr_xgb_flags(xgb, "default_left", values[TREE_DEFAULT_LEFT], count, nodes->default_left));
    nodes->has_cover = myr_doc_kind_of(values[TREE_HESSIAN]) != MYR_DOC_ABSENT;
    if (nodes->has_cover) MYR_TRY(myr_xgb_floats(xgb, "sum_hessian", values[TREE_HESSIAN], count, nodes->cover));
    return xgb_check_statistics(xgb, values, count);
}

/* ---- the shape ---- */

static bool xgb_is_leaf(const myr_xgb_nodes *nodes, int32_t node)
{
    return nodes->left[node] == XGB_NO_NODE;
}

static bool xgb_is_deleted(const myr_xgb_nodes *nodes, uint32_t node)
{
    return nodes->feature[node] == XGB_DELETED_FEATURE && nodes->default_left[node] != 0;
}

static myr_rc xgb_check_child(myr_xgb *xgb, int32_t node, int32_t child, const char *side)
{
    const myr_xgb_nodes *nodes = &xgb->nodes;
    if (child <= 0 || (uint32_t)child >= nodes->count) {
        MYR_XGB_FAIL(xgb, BAD_FORMAT, "node %d: its %s child is %d, not within 1 to %u", node, side, child,
                     nodes->count - 1);
    }
    if (nodes->place[child] != MYR_XGB_UNSEEN) {
        MYR_XGB_FAIL(xgb, BAD_FORMAT, "node %d: its %s child %d hangs below another node too", node, side, child);
    }
    if (nodes->parent[child] != node) {
        MYR_XGB_FAIL(xgb, BAD_FORMAT, "node %d: its %s child %d names %d as its parent", node, side, child,
                     nodes->parent[child]);
    }
    return MYR_OK;
}

static myr_rc xgb_check_node(myr_xgb *xgb, int32_t node)
{
    const myr_xgb_nodes *nodes = &xgb->nodes;
    bool is_leaf = xgb_is_leaf(nodes, node);
    bool needs_number = is_leaf ? xgb->vector_size == 1 : nodes->is_category[node] == 0; /* a set has no threshold */
    if (needs_number && isnan(nodes->condition[node])) {
        MYR_XGB_FAIL(xgb, BAD_FORMAT, "node %d: its %s is NaN", node, is_leaf ? "value" : "threshold");
    }
    if (is_leaf) {
        if (nodes->right[node] == XGB_NO_NODE || xgb->vector_size > 1) return MYR_OK;
        MYR_XGB_FAIL(xgb, BAD_FORMAT, "node %d: a leaf without left child has right child %d", node,
                     nodes->right[node]);
    }
    if (nodes->feature[node] < 0 || nodes->feature[node] >= (int64_t)xgb->out->feature_count) {
        MYR_XGB_FAIL(xgb, BAD_FORMAT, "node %d: split_indices is %lld, num_feature %u", node,
                     (long long)nodes->feature[node], xgb->out->feature_count);
    }
    return MYR_OK;
}

/* Visit every node below the root once. Each node is pushed at most once, so `todo` of node_count entries is enough. */
static myr_rc xgb_walk(myr_xgb *xgb)
{
    myr_xgb_nodes *nodes = &xgb->nodes;
    for (uint32_t i = 0; i < nodes->count; i++) {
        nodes->place[i] = MYR_XGB_UNSEEN;
    }
    uint32_t waiting = 0;
    nodes->place[0] = 0;
    nodes->todo[waiting++] = 0;
    while (waiting > 0) {
        int32_t node = nodes->todo[--waiting];
        MYR_TRY(xgb_check_node(xgb, node));
        if (xgb_is_leaf(nodes, node)) continue;
        for (int side = 0; side < 2; side++) {
            int32_t child = side == 0 ? nodes->left[node] : nodes->right[node];
            MYR_TRY(xgb_check_child(xgb, node, child, side == 0 ? "left" : "right"));
            nodes->place[child] = 0;
            MYR_ASSERT(waiting < nodes->count);
            nodes->todo[waiting++] = child;
        }
    }
    return MYR_OK;
}

/* Number splits and leaves in the order of the file; what the walk did not reach must be marked as deleted. */
static myr_rc xgb_number(myr_xgb *xgb, const xgb_tree_sizes *sizes, uint32_t *out_splits, uint32_t *out_leaves)
{
    myr_xgb_nodes *nodes = &xgb->nodes;
    uint32_t splits = 0;
    uint32_t leaves = 0;
    uint32_t deleted = 0;
    for (uint32_t i = 0; i < nodes->count; i++) {
        if (nodes->place[i] == MYR_XGB_UNSEEN) {
            if (!xgb_is_deleted(nodes, i)) {
                MYR_XGB_FAIL(xgb, BAD_FORMAT, "node %u hangs below no node and is not marked as deleted", i);
            }
            deleted++;
        } else if (xgb_is_leaf(nodes, (int32_t)i)) {
            nodes->place[i] = ~(int32_t)leaves++;
        } else {
            nodes->place[i] = (int32_t)splits++;
        }
    }
    if (sizes->has_deleted_count && deleted != sizes->deleted_count) {
        MYR_XGB_FAIL(xgb, BAD_FORMAT, "num_deleted is %llu, %u nodes are", (unsigned long long)sizes->deleted_count,
                     deleted);
    }
    if (leaves > MYR_TREE_LEAVES_MAX) {
        MYR_XGB_FAIL(xgb, TOO_LARGE, "%u leaves, the most is %d", leaves, MYR_TREE_LEAVES_MAX);
    }
    MYR_ASSERT(leaves == splits + 1);
    *out_splits = splits;
    *out_leaves = leaves;
    return MYR_OK;
}

/* ---- the description ---- */

static void xgb_fill_split(const myr_xgb_nodes *nodes, uint32_t node, myr_split *out)
{
    float threshold = nodes->condition[node];
    bool is_category = nodes->is_category[node] != 0;
    /* Categories: XGBoost sends a member right, we send it left. */
    bool is_turned = is_category || threshold == -INFINITY;
    int32_t left = nodes->place[nodes->left[node]];
    int32_t right = nodes->place[nodes->right[node]];
    bool default_left = nodes->default_left[node] != 0;
    out->feature = (uint32_t)nodes->feature[node];
    out->left = is_turned ? right : left;
    out->right = is_turned ? left : right;
    out->default_left = (uint8_t)(default_left != is_turned);
    out->missing = MYR_MISSING_NAN;
    out->is_category = (uint8_t)is_category;
    if (is_category) return;
    out->threshold = is_turned ? (double)INFINITY : (double)nextafterf(threshold, -INFINITY);
}

/* dart's library multiplies what a tree gave to a sum that began at 0: so -0 is 0 before, whatever the weight. */
static void xgb_fill(const myr_xgb_nodes *nodes, const float *weight, myr_tree *tree)
{
    for (uint32_t i = 0; i < nodes->count; i++) {
        if (nodes->place[i] == MYR_XGB_UNSEEN) continue;
        if (xgb_is_leaf(nodes, (int32_t)i)) {
            uint32_t leaf_idx = (uint32_t)~nodes->place[i];
            MYR_ASSERT(leaf_idx < tree->leaf_count);
            float value = nodes->condition[i];
            tree->leaves[leaf_idx] = weight == NULL ? (double)value : (double)((0.0f + value) * *weight);
        } else {
            MYR_ASSERT((uint32_t)nodes->place[i] < tree->split_count);
            xgb_fill_split(nodes, i, &tree->splits[nodes->place[i]]);
        }
    }
}

/* Covers that are no weights (a person's own objective may sum hessians to less than 0) are as good as none. */
static bool xgb_has_covers(const myr_xgb_nodes *nodes)
{
    bool is_good = nodes->has_cover;
    for (uint32_t i = 0; is_good && i < nodes->count; i++) {
        is_good = nodes->place[i] == MYR_XGB_UNSEEN || (nodes->cover[i] >= 0.0f && isfinite(nodes->cover[i]));
    }
    return is_good;
}

/* What explanations need beside the splits: a leaf's number is its node's, a cover the sum of its rows' hessians. */
static myr_rc xgb_fill_explain(myr_xgb *xgb, myr_tree *tree)
{
    const myr_xgb_nodes *nodes = &xgb->nodes;
    bool has_covers = xgb_has_covers(nodes);
    uint32_t *ids = myr_xgb_alloc(xgb, tree->leaf_count, sizeof *ids);
    double *splits = has_covers ? myr_xgb_alloc(xgb, tree->split_count, sizeof *splits) : NULL;
    double *leaves = has_covers ? myr_xgb_alloc(xgb, tree->leaf_count, sizeof *leaves) : NULL;
    if (ids == NULL || (has_covers && (splits == NULL || leaves == NULL))) {
        MYR_XGB_FAIL(xgb, NO_MEMORY, "%u leaves", tree->leaf_count);
    }
    for (uint32_t i = 0; i < nodes->count; i++) {
        int32_t place = nodes->place[i];
        if (place == MYR_XGB_UNSEEN) continue;
        if (place < 0) ids[~place] = i;
        if (has_covers) *(place < 0 ? &leaves[~place] : &splits[place]) = (double)nodes->cover[i];
    }
    tree->leaf_ids = ids;
    tree->split_covers = splits;
    tree->leaf_covers = leaves;
    return MYR_OK;
}

static myr_rc xgb_check_vector(myr_xgb *xgb, myr_doc_value tree, const myr_doc_value *values)
{
    uint64_t size = 0;
    MYR_TRY(myr_xgb_read_vector_size(xgb, tree, &size));
    if (size != xgb->vector_size) {
        MYR_XGB_FAIL(xgb, BAD_FORMAT, "size_leaf_vector is %llu, expected %u", (unsigned long long)size,
                     xgb->vector_size);
    }
    if (size == 1 && myr_doc_kind_of(values[TREE_VECTOR]) != MYR_DOC_ABSENT) {
        MYR_XGB_FAIL(xgb, BAD_FORMAT, "leaf_weights, but size_leaf_vector is 1");
    }
    return MYR_OK;
}

/* A weight of dart's that makes a leaf no number. */
static myr_rc xgb_check_leaves(myr_xgb *xgb, const myr_tree *tree)
{
    for (uint32_t k = 0; k < tree->leaf_count; k++) {
        if (isnan(tree->leaves[k])) MYR_XGB_FAIL(xgb, BAD_FORMAT, "leaf %u times weight_drop is NaN", k);
    }
    return MYR_OK;
}

myr_rc myr_xgb_read_tree(myr_xgb *xgb, myr_doc_value value, uint32_t tree_idx, const float *weight, myr_tree *out)
{
    myr_xgb_field fields[TREE_FIELDS];
    myr_doc_value values[TREE_FIELDS];
    xgb_tree_sizes sizes = {0};
    memcpy(fields, xgb_tree_fields, sizeof xgb_tree_fields);
    memcpy(fields + TREE_CATEGORIES, myr_xgb_category_fields, sizeof myr_xgb_category_fields);
    MYR_TRY(myr_xgb_fields(xgb, value, fields, TREE_FIELDS, values));
    MYR_TRY(xgb_check_vector(xgb, value, values)); /* first: a tree with vector leaves has other arrays */
    MYR_TRY(xgb_read_sizes(xgb, values[TREE_PARAM], &sizes));
    MYR_TRY(xgb_check_id(xgb, values[TREE_ID], tree_idx));
    MYR_TRY(xgb_read_arrays(xgb, values, sizes.node_count));
    MYR_TRY(myr_xgb_read_split_types(xgb, values + TREE_CATEGORIES));
    MYR_TRY(xgb_walk(xgb));
    MYR_TRY(xgb_number(xgb, &sizes, &out->split_count, &out->leaf_count));
    out->splits = myr_xgb_alloc(xgb, out->split_count, sizeof *out->splits);
    out->leaves = myr_xgb_alloc(xgb, out->leaf_count, sizeof *out->leaves);
    if (out->splits == NULL || out->leaves == NULL) MYR_XGB_FAIL(xgb, NO_MEMORY, "%u leaves", out->leaf_count);
    xgb_fill(&xgb->nodes, weight, out);
    if (xgb->vector_size == 1) MYR_TRY(xgb_check_leaves(xgb, out));
    MYR_TRY(xgb_fill_explain(xgb, out));
    MYR_TRY(myr_xgb_read_categories(xgb, values + TREE_CATEGORIES, out));
    if (xgb->vector_size == 1) return MYR_OK;
    return myr_xgb_read_vectors(xgb, values[TREE_WEIGHT], values[TREE_VECTOR], out);
}
