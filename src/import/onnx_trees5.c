/*
 * TreeEnsemble (ai.onnx.ml 5): branches and leaves in lists of their own, children by place, sets of values that end in
 * a NaN each, and no classes. Every leaf votes for one target.
 */
#include <math.h>

#include "import/onnx_forest.h"

#define TREES5_FAIL(t, ...) MYR_ONNX_FOREIGN((t)->eval, (t)->node, __VA_ARGS__)

typedef struct trees5 {
    myr_onnx_eval *eval;
    const myr_onnx_node *node;
    myr_onnx_forest *forest;
    size_t count, leaf_count, root_count; /* branches, leaves, trees */
    uint8_t *modes;
    double *splits;
    int64_t *features, *yes, *no, *yes_leaf, *no_leaf, *tracks, *targets, *roots;
} trees5;

static const char *const trees5_known[] = {"aggregate_function",
                                           "leaf_targetids",
                                           "leaf_weights",
                                           "membership_values",
                                           "n_targets",
                                           "nodes_falseleafs",
                                           "nodes_falsenodeids",
                                           "nodes_featureids",
                                           "nodes_hitrates",
                                           "nodes_missing_value_tracks_true",
                                           "nodes_modes",
                                           "nodes_splits",
                                           "nodes_trueleafs",
                                           "nodes_truenodeids",
                                           "post_transform",
                                           "tree_roots",
                                           NULL};

static myr_rc trees5_ints(trees5 *t, const char *name, size_t wanted, bool optional, int64_t **out)
{
    size_t count;
    MYR_TRY(myr_onnx_attr_ints(t->eval->onnx, t->node, name, out, &count));
    if (optional && count == 0) return MYR_OK;
    if (count != wanted) TREES5_FAIL(t, "%s has %zu entries, not %zu", name, count, wanted);
    return MYR_OK;
}

static myr_rc trees5_numbers(trees5 *t, const char *name, double **out, size_t *count)
{
    myr_onnx_tensor *tensor;
    MYR_TRY(myr_onnx_attr_tensor(t->eval->onnx, t->node, name, &tensor));
    *count = 0;
    *out = NULL;
    if (tensor == NULL) return MYR_OK;
    if (tensor->type != (t->forest->single ? MYR_ONNX_FLOAT : MYR_ONNX_DOUBLE)) {
        TREES5_FAIL(t, "%s is not of the input's type", name);
    }
    *count = tensor->count;
    return myr_onnx_tensor_doubles(t->eval->onnx, tensor, out);
}

/* ---- what is done with the sums ---- */

static myr_rc trees5_options(trees5 *t)
{
    int64_t aggregate;
    int64_t post;
    int64_t targets;
    myr_onnx *onnx = t->eval->onnx;
    MYR_TRY(myr_onnx_attr_int(onnx, t->node, "aggregate_function", 1, &aggregate));
    MYR_TRY(myr_onnx_attr_int(onnx, t->node, "post_transform", 0, &post));
    MYR_TRY(myr_onnx_attr_int(onnx, t->node, "n_targets", 0, &targets));
    if (aggregate != 0 && aggregate != 1) {
        TREES5_FAIL(t, "aggregate_function %lld (0 is AVERAGE, 1 SUM)", (long long)aggregate);
    }
    if (post < MYR_ONNX_POST_NONE || post > MYR_ONNX_POST_PROBIT)
        TREES5_FAIL(t, "post_transform %lld", (long long)post);
    if (targets > 1 && (post == MYR_ONNX_POST_SOFTMAX || post == MYR_ONNX_POST_LOGISTIC)) {
        TREES5_FAIL(t, "post_transform %lld, where ONNX and ONNX Runtime mean different ones", (long long)post);
    }
    if (targets < 1 || targets > MYR_OUTPUTS_MAX) {
        TREES5_FAIL(t, "%lld targets, not 1 to %d", (long long)targets, MYR_OUTPUTS_MAX);
    }
    t->forest->average = aggregate == 0;
    t->forest->post = (myr_onnx_post)post;
    t->forest->output_count = (uint32_t)targets;
    return MYR_OK;
}

/* ---- lists ---- */

static myr_rc trees5_lists(trees5 *t)
{
    myr_onnx_tensor *modes;
    size_t count;
    myr_onnx *onnx = t->eval->onnx;
    MYR_TRY(myr_onnx_attr_ints(onnx, t->node, "nodes_featureids", &t->features, &t->count));
    MYR_TRY(trees5_ints(t, "nodes_truenodeids", t->count, false, &t->yes));
    MYR_TRY(trees5_ints(t, "nodes_falsenodeids", t->count, false, &t->no));
    MYR_TRY(trees5_ints(t, "nodes_trueleafs", t->count, false, &t->yes_leaf));
    MYR_TRY(trees5_ints(t, "nodes_falseleafs", t->count, false, &t->no_leaf));
    MYR_TRY(trees5_ints(t, "nodes_missing_value_tracks_true", t->count, true, &t->tracks));
    MYR_TRY(myr_onnx_attr_ints(onnx, t->node, "tree_roots", &t->roots, &t->root_count));
    MYR_TRY(myr_onnx_attr_ints(onnx, t->node, "leaf_targetids", &t->targets, &t->leaf_count));
    MYR_TRY(myr_onnx_attr_tensor(onnx, t->node, "nodes_modes", &modes));
    if (modes == NULL || modes->count != t->count) TREES5_FAIL(t, "nodes_modes are not %zu", t->count);
    MYR_TRY(myr_onnx_tensor_bytes(onnx, modes, &t->modes));
    MYR_TRY(trees5_numbers(t, "nodes_splits", &t->splits, &count));
    if (count != t->count) TREES5_FAIL(t, "nodes_splits has %zu entries, not %zu", count, t->count);
    if (t->count == 0 || t->count > MYR_ONNX_NUMBERS_MAX / 4 || t->leaf_count > MYR_ONNX_NUMBERS_MAX / 4) {
        TREES5_FAIL(t, "%zu nodes, %zu leaves", t->count, t->leaf_count);
    }
    return MYR_OK;
}

/* The runs of membership_values, one for each node of that mode, in the order of the nodes. */
static myr_rc trees5_members(trees5 *t)
{
    double *members;
    size_t count;
    size_t at = 0;
    MYR_TRY(trees5_numbers(t, "membership_values", &members, &count));
    for (uint32_t n = 0; n < t->count; n++) {
        if (t->modes[n] != MYR_ONNX_MEMBER) continue;
        myr_onnx_tree_node *node = &t->forest->nodes[n];
        node->first = (uint32_t)at;
        while (at < count && !isnan(members[at])) {
            at++;
        }
        node->count = (uint32_t)at - node->first;
        if (node->count == 0) TREES5_FAIL(t, "node %u has an empty set", n);
        at++;
    }
    t->forest->members = members;
    return MYR_OK;
}

static myr_rc trees5_child(trees5 *t, int64_t child, int64_t is_leaf, uint32_t *out)
{
    size_t count = is_leaf != 0 ? t->leaf_count : t->count;
    if (child < 0 || (uint64_t)child >= count) {
        TREES5_FAIL(t, "%s %lld of %zu", is_leaf != 0 ? "leaf" : "node", (long long)child, count);
    }
    *out = (uint32_t)(is_leaf != 0 ? t->count + (uint64_t)child : (uint64_t)child);
    return MYR_OK;
}

static myr_rc trees5_branch(trees5 *t, uint32_t n)
{
    myr_onnx_tree_node *node = &t->forest->nodes[n];
    if (t->modes[n] > MYR_ONNX_MEMBER) TREES5_FAIL(t, "mode %u of node %u", t->modes[n], n);
    if (t->features[n] < 0 || t->features[n] > MYR_FEATURES_MAX - 1) {
        TREES5_FAIL(t, "node %u reads feature %lld", n, (long long)t->features[n]);
    }
    node->mode = t->modes[n];
    node->feature = (uint32_t)t->features[n];
    node->value = t->splits[n];
    node->nan_yes = t->tracks != NULL && t->tracks[n] == 1;
    MYR_TRY(trees5_child(t, t->yes[n], t->yes_leaf[n], &node->yes));
    return trees5_child(t, t->no[n], t->no_leaf[n], &node->no);
}

static myr_rc trees5_nodes(trees5 *t)
{
    myr_onnx_forest *forest = t->forest;
    double *weights;
    size_t count;
    MYR_TRY(trees5_numbers(t, "leaf_weights", &weights, &count));
    if (count != t->leaf_count) TREES5_FAIL(t, "leaf_weights has %zu entries, not %zu", count, t->leaf_count);
    forest->node_count = (uint32_t)(t->count + t->leaf_count);
    forest->weight_count = (uint32_t)t->leaf_count;
    forest->nodes = myr_onnx_new(t->eval, forest->node_count, sizeof *forest->nodes);
    forest->weights = myr_onnx_new(t->eval, t->leaf_count, sizeof *forest->weights);
    if (forest->nodes == NULL || forest->weights == NULL) MYR_ONNX_ALLOC_FAIL(t->eval->onnx);
    for (uint32_t n = 0; n < t->count; n++) {
        MYR_TRY(trees5_branch(t, n));
    }
    for (uint32_t k = 0; k < t->leaf_count; k++) {
        if (t->targets[k] < 0 || t->targets[k] >= forest->output_count) {
            TREES5_FAIL(t, "leaf %u votes for target %lld of %u", k, (long long)t->targets[k], forest->output_count);
        }
        forest->nodes[t->count + k] = (myr_onnx_tree_node){.mode = MYR_ONNX_LEAF, .first = k, .count = 1};
        forest->weights[k] = (myr_onnx_weight){.output = (uint32_t)t->targets[k], .value = weights[k]};
    }
    return trees5_members(t);
}

/* A root whose branches are one and the same stands for a single leaf; which one, the kernel reads in its own way. */
static myr_rc trees5_roots(trees5 *t)
{
    t->forest->roots = myr_onnx_new(t->eval, t->root_count, sizeof *t->forest->roots);
    if (t->forest->roots == NULL) MYR_ONNX_ALLOC_FAIL(t->eval->onnx);
    for (size_t k = 0; k < t->root_count; k++) {
        MYR_TRY(trees5_child(t, t->roots[k], 0, &t->forest->roots[k]));
        const myr_onnx_tree_node *root = &t->forest->nodes[t->forest->roots[k]];
        size_t at = t->forest->roots[k];
        if (t->yes[at] == t->no[at] && (root->yes != root->no || root->yes != t->count + at)) {
            TREES5_FAIL(t, "the root of tree %zu has one child twice", k);
        }
    }
    t->forest->tree_count = (uint32_t)t->root_count;
    return MYR_OK;
}

static uint32_t trees5_feature_count(const trees5 *t)
{
    uint32_t most = 0;
    for (uint32_t n = 0; n < t->count; n++) {
        if (t->forest->nodes[n].feature >= most) most = t->forest->nodes[n].feature + 1;
    }
    return most > 0 ? most : 1;
}

myr_rc myr_onnx_tree_ensemble(myr_onnx_eval *eval, const myr_onnx_node *node, myr_onnx_sym *out)
{
    const myr_onnx_sym *input = myr_onnx_input(eval, node, 0, MYR_ONNX_IS_COLUMNS);
    bool is_double = input != NULL && input->columns->type == MYR_ONNX_DOUBLE;
    myr_onnx_forest forest = {.node = node, .single = !is_double, .double_out = is_double};
    trees5 t = {.eval = eval, .node = node, .forest = &forest};
    MYR_TRY(myr_onnx_check_attrs(eval->onnx, node, trees5_known));
    MYR_TRY(trees5_options(&t));
    MYR_TRY(trees5_lists(&t));
    MYR_TRY(trees5_nodes(&t));
    MYR_TRY(trees5_roots(&t));
    MYR_TRY(myr_onnx_forest_input(eval, node, false, trees5_feature_count(&t), &forest));
    return myr_onnx_forest_scores(eval, &forest, out);
}
