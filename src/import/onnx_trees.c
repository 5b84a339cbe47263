/*
 * TreeEnsembleRegressor and TreeEnsembleClassifier (ai.onnx.ml 1 to 4): parallel lists of nodes, named by tree and
 * number, and of weights that name their leaf. Names are resolved to places once; nodes of a tree must stand together,
 * its root first, as every writer has them.
 */
#include <stdlib.h>
#include <string.h>

#include "import/onnx_forest.h"

#define TREES_FAIL(t, ...) MYR_ONNX_FOREIGN((t)->eval, (t)->node, __VA_ARGS__)

/* The nodes [first, end) of one tree, by their numbers. */
typedef struct trees_span {
    int64_t tree;
    uint32_t first, end;
} trees_span;

typedef struct trees_name {
    int64_t number;
    uint32_t place;
} trees_name;

typedef struct trees {
    myr_onnx_eval *eval;
    const myr_onnx_node *node;
    myr_onnx_forest *forest;
    const char *prefix; /* "target" or "class" */
    size_t count, weight_count;
    int64_t *tree_ids, *node_ids, *features, *yes_ids, *no_ids, *tracks;
    int64_t *weight_trees, *weight_nodes, *weight_outputs;
    double *weight_values;
    trees_span *spans; /* sorted by tree */
    trees_name *names; /* of each span sorted by number */
} trees;

/* ---- attributes ---- */

static const char *const trees_known_regressor[] = {"aggregate_function",
                                                    "base_values",
                                                    "base_values_as_tensor",
                                                    "n_targets",
                                                    "nodes_falsenodeids",
                                                    "nodes_featureids",
                                                    "nodes_hitrates",
                                                    "nodes_hitrates_as_tensor",
                                                    "nodes_missing_value_tracks_true",
                                                    "nodes_modes",
                                                    "nodes_nodeids",
                                                    "nodes_treeids",
                                                    "nodes_truenodeids",
                                                    "nodes_values",
                                                    "nodes_values_as_tensor",
                                                    "post_transform",
                                                    "target_ids",
                                                    "target_nodeids",
                                                    "target_treeids",
                                                    "target_weights",
                                                    "target_weights_as_tensor",
                                                    NULL};
static const char *const trees_known_classifier[] = {"base_values",
                                                     "base_values_as_tensor",
                                                     "class_ids",
                                                     "class_nodeids",
                                                     "class_treeids",
                                                     "class_weights",
                                                     "class_weights_as_tensor",
                                                     "classlabels_int64s",
                                                     "classlabels_strings",
                                                     "nodes_falsenodeids",
                                                     "nodes_featureids",
                                                     "nodes_hitrates",
                                                     "nodes_hitrates_as_tensor",
                                                     "nodes_missing_value_tracks_true",
                                                     "nodes_modes",
                                                     "nodes_nodeids",
                                                     "nodes_treeids",
                                                     "nodes_truenodeids",
                                                     "nodes_values",
                                                     "nodes_values_as_tensor",
                                                     "post_transform",
                                                     NULL};

static myr_rc trees_name_of(trees *t, const char *suffix, const char **out)
{
    *out = myr_arena_printf(t->eval->onnx->arena, "%s_%s", t->prefix, suffix);
    if (*out == NULL) MYR_ONNX_ALLOC_FAIL(t->eval->onnx);
    return MYR_OK;
}

/* A list that must have `wanted` entries, or may be absent if `optional`. */
static myr_rc trees_ints(trees *t, const char *name, size_t wanted, bool optional, int64_t **out)
{
    size_t count;
    MYR_TRY(myr_onnx_attr_ints(t->eval->onnx, t->node, name, out, &count));
    if (optional && count == 0) return MYR_OK;
    if (count != wanted) TREES_FAIL(t, "%s has %zu entries, not %zu", name, count, wanted);
    return MYR_OK;
}

/* Numbers given as floats or, from version 3 on, as a tensor of floats or doubles. */
static myr_rc trees_numbers(trees *t, const char *name, double **out, size_t *count)
{
    float *floats;
    myr_onnx_tensor *tensor;
    myr_onnx *onnx = t->eval->onnx;
    const char *tensor_name = myr_arena_printf(onnx->arena, "%s_as_tensor", name);
    if (tensor_name == NULL) MYR_ONNX_ALLOC_FAIL(onnx);
    MYR_TRY(myr_onnx_attr_floats(onnx, t->node, name, &floats, count));
    MYR_TRY(myr_onnx_attr_tensor(onnx, t->node, tensor_name, &tensor));
    if (tensor != NULL && tensor->count > 0) {
        int64_t wanted = t->forest->single ? MYR_ONNX_FLOAT : MYR_ONNX_DOUBLE;
        if (*count > 0) TREES_FAIL(t, "both %s and %s", name, tensor_name);
        if (tensor->type != wanted) TREES_FAIL(t, "%s is not of the input's type", tensor_name);
        *count = tensor->count;
        return myr_onnx_tensor_doubles(onnx, tensor, out);
    }
    *out = myr_onnx_new(t->eval, *count, sizeof **out);
    if (*out == NULL) MYR_ONNX_ALLOC_FAIL(onnx);
    for (size_t k = 0; k < *count; k++) {
        (*out)[k] = (double)floats[k];
    }
    return MYR_OK;
}

static myr_rc trees_post(trees *t)
{
    static const struct {
        const char *name;
        myr_onnx_post post;
    } posts[] = {{"NONE", MYR_ONNX_POST_NONE},
                 {"SOFTMAX", MYR_ONNX_POST_SOFTMAX},
                 {"LOGISTIC", MYR_ONNX_POST_LOGISTIC},
                 {"SOFTMAX_ZERO", MYR_ONNX_POST_SOFTMAX_ZERO},
                 {"PROBIT", MYR_ONNX_POST_PROBIT}};
    myr_str post;
    MYR_TRY(myr_onnx_attr_string(t->eval->onnx, t->node, "post_transform", "NONE", &post));
    for (size_t k = 0; k < MYR_COUNT_OF(posts); k++) {
        if (myr_str_is(post, posts[k].name)) {
            t->forest->post = posts[k].post;
            return MYR_OK;
        }
    }
    TREES_FAIL(t, "post_transform %.*s is not known", MYR_STR_ARG(post));
}

static myr_rc trees_aggregate(trees *t)
{
    myr_str aggregate;
    MYR_TRY(myr_onnx_attr_string(t->eval->onnx, t->node, "aggregate_function", "SUM", &aggregate));
    t->forest->average = myr_str_is(aggregate, "AVERAGE");
    if (!t->forest->average && !myr_str_is(aggregate, "SUM")) {
        TREES_FAIL(t, "aggregate_function %.*s", MYR_STR_ARG(aggregate));
    }
    return MYR_OK;
}

static myr_rc trees_outputs(trees *t)
{
    int64_t targets;
    int64_t *numbers;
    myr_str *texts;
    size_t number_count;
    size_t text_count;
    myr_onnx *onnx = t->eval->onnx;
    if (!t->forest->is_classifier) {
        MYR_TRY(myr_onnx_attr_int(onnx, t->node, "n_targets", 0, &targets));
    } else {
        MYR_TRY(myr_onnx_attr_ints(onnx, t->node, "classlabels_int64s", &numbers, &number_count));
        MYR_TRY(myr_onnx_attr_strings(onnx, t->node, "classlabels_strings", &texts, &text_count));
        targets = (int64_t)(text_count > 0 ? text_count : number_count);
    }
    if (targets < 1 || targets > MYR_OUTPUTS_MAX) {
        TREES_FAIL(t, "%lld outputs, not 1 to %d", (long long)targets, MYR_OUTPUTS_MAX);
    }
    t->forest->output_count = (uint32_t)targets;
    return MYR_OK;
}

/* ---- nodes ---- */

static bool trees_mode(myr_str text, uint8_t *out)
{
    static const char *const modes[] = {"BRANCH_LEQ", "BRANCH_LT",  "BRANCH_GTE",    "BRANCH_GT",
                                        "BRANCH_EQ",  "BRANCH_NEQ", "BRANCH_MEMBER", "LEAF"};
    for (size_t k = 0; k < MYR_COUNT_OF(modes); k++) {
        if (k != MYR_ONNX_MEMBER && myr_str_is(text, modes[k])) {
            *out = (uint8_t)k;
            return true;
        }
    }
    return false;
}

static myr_rc trees_lists(trees *t)
{
    myr_onnx *onnx = t->eval->onnx;
    const char *name;
    size_t count;
    MYR_TRY(myr_onnx_attr_ints(onnx, t->node, "nodes_treeids", &t->tree_ids, &t->count));
    if (t->count == 0 || t->count > MYR_ONNX_NUMBERS_MAX / 4) TREES_FAIL(t, "%zu nodes", t->count);
    MYR_TRY(trees_ints(t, "nodes_nodeids", t->count, false, &t->node_ids));
    MYR_TRY(trees_ints(t, "nodes_featureids", t->count, false, &t->features));
    MYR_TRY(trees_ints(t, "nodes_truenodeids", t->count, false, &t->yes_ids));
    MYR_TRY(trees_ints(t, "nodes_falsenodeids", t->count, false, &t->no_ids));
    MYR_TRY(trees_ints(t, "nodes_missing_value_tracks_true", t->count, true, &t->tracks));
    MYR_TRY(trees_name_of(t, "ids", &name));
    MYR_TRY(myr_onnx_attr_ints(onnx, t->node, name, &t->weight_outputs, &t->weight_count));
    MYR_TRY(trees_name_of(t, "nodeids", &name));
    MYR_TRY(trees_ints(t, name, t->weight_count, false, &t->weight_nodes));
    MYR_TRY(trees_name_of(t, "treeids", &name));
    MYR_TRY(trees_ints(t, name, t->weight_count, false, &t->weight_trees));
    MYR_TRY(trees_name_of(t, "weights", &name));
    MYR_TRY(trees_numbers(t, name, &t->weight_values, &count));
    if (count != t->weight_count) TREES_FAIL(t, "%s has %zu entries, not %zu", name, count, t->weight_count);
    return MYR_OK;
}

static int trees_by_number(const void *a, const void *b)
{
    const trees_name *x = a;
    const trees_name *y = b;
    return x->number < y->number ? -1 : x->number > y->number;
}

static int trees_by_tree(const void *a, const void *b)
{
    const trees_span *x = a;
    const trees_span *y = b;
    return x->tree < y->tree ? -1 : x->tree > y->tree;
}

/* Cut the list where the tree changes; sort the names within, then the trees. */
static myr_rc trees_cut(trees *t)
{
    myr_onnx_forest *forest = t->forest;
    t->names = myr_onnx_new(t->eval, t->count, sizeof *t->names);
    t->spans = myr_onnx_new(t->eval, t->count, sizeof *t->spans);
    forest->roots = myr_onnx_new(t->eval, t->count, sizeof *forest->roots);
    if (t->names == NULL || t->spans == NULL || forest->roots == NULL) MYR_ONNX_ALLOC_FAIL(t->eval->onnx);
    for (uint32_t n = 0; n < t->count; n++) {
        t->names[n] = (trees_name){t->node_ids[n], n};
        if (n == 0 || t->tree_ids[n] != t->tree_ids[n - 1]) {
            t->spans[forest->tree_count] = (trees_span){.tree = t->tree_ids[n], .first = n};
            forest->roots[forest->tree_count++] = n;
        }
        t->spans[forest->tree_count - 1].end = n + 1;
    }
    for (uint32_t k = 0; k < forest->tree_count; k++) {
        const trees_span *span = &t->spans[k];
        qsort(t->names + span->first, span->end - span->first, sizeof *t->names, trees_by_number);
        for (uint32_t n = span->first + 1; n < span->end; n++) {
            if (t->names[n].number == t->names[n - 1].number) {
                TREES_FAIL(t, "tree %lld has two nodes %lld", (long long)span->tree, (long long)t->names[n].number);
            }
        }
    }
    qsort(t->spans, forest->tree_count, sizeof *t->spans, trees_by_tree);
    for (uint32_t k = 1; k < forest->tree_count; k++) {
        if (t->spans[k].tree == t->spans[k - 1].tree) {
            TREES_FAIL(t, "the nodes of tree %lld do not stand together", (long long)t->spans[k].tree);
        }
    }
    return MYR_OK;
}

static bool trees_find(const trees *t, int64_t tree, int64_t number, uint32_t *out)
{
    const trees_span span_key = {.tree = tree};
    const trees_name name_key = {.number = number};
    const trees_span *span = bsearch(&span_key, t->spans, t->forest->tree_count, sizeof span_key, trees_by_tree);
    if (span == NULL) return false;
    const trees_name *name =
        bsearch(&name_key, t->names + span->first, span->end - span->first, sizeof name_key, trees_by_number);
    if (name == NULL) return false;
    *out = name->place;
    return true;
}

static myr_rc trees_one_node(trees *t, uint32_t n, myr_str mode, const double *values)
{
    myr_onnx_tree_node *node = &t->forest->nodes[n];
    if (!trees_mode(mode, &node->mode)) TREES_FAIL(t, "mode %.*s is not known", MYR_STR_ARG(mode));
    if (node->mode == MYR_ONNX_LEAF) return MYR_OK;
    if (t->features[n] < 0 || t->features[n] > MYR_FEATURES_MAX - 1) {
        TREES_FAIL(t, "node %u reads feature %lld", n, (long long)t->features[n]);
    }
    node->feature = (uint32_t)t->features[n];
    node->value = values[n];
    node->nan_yes = t->tracks != NULL && t->tracks[n] == 1;
    if (!trees_find(t, t->tree_ids[n], t->yes_ids[n], &node->yes) ||
        !trees_find(t, t->tree_ids[n], t->no_ids[n], &node->no)) {
        TREES_FAIL(t, "tree %lld has no node %lld or %lld", (long long)t->tree_ids[n], (long long)t->yes_ids[n],
                   (long long)t->no_ids[n]);
    }
    return MYR_OK;
}

static myr_rc trees_nodes(trees *t)
{
    myr_str *modes;
    double *values;
    size_t mode_count;
    size_t value_count;
    MYR_TRY(myr_onnx_attr_strings(t->eval->onnx, t->node, "nodes_modes", &modes, &mode_count));
    MYR_TRY(trees_numbers(t, "nodes_values", &values, &value_count));
    if (mode_count != t->count || value_count != t->count) {
        TREES_FAIL(t, "%zu modes and %zu values for %zu nodes", mode_count, value_count, t->count);
    }
    t->forest->node_count = (uint32_t)t->count;
    t->forest->nodes = myr_onnx_new(t->eval, t->count, sizeof *t->forest->nodes);
    if (t->forest->nodes == NULL) MYR_ONNX_ALLOC_FAIL(t->eval->onnx);
    for (uint32_t n = 0; n < t->count; n++) {
        MYR_TRY(trees_one_node(t, n, modes[n], values));
    }
    return MYR_OK;
}

/* ---- weights ---- */

static myr_rc trees_check_weight(trees *t, size_t k, uint32_t *out_place)
{
    if (!trees_find(t, t->weight_trees[k], t->weight_nodes[k], out_place)) {
        TREES_FAIL(t, "a weight for node %lld of tree %lld, which is not there", (long long)t->weight_nodes[k],
                   (long long)t->weight_trees[k]);
    }
    if (t->forest->nodes[*out_place].mode != MYR_ONNX_LEAF)
        TREES_FAIL(t, "node %u has a weight, but is no leaf", *out_place);
    if (t->weight_outputs[k] < 0 || t->weight_outputs[k] >= t->forest->output_count) {
        TREES_FAIL(t, "a weight for output %lld of %u", (long long)t->weight_outputs[k], t->forest->output_count);
    }
    return MYR_OK;
}

/* Count per leaf, then lay them out leaf by leaf, in the order of the file. */
static myr_rc trees_weights(trees *t)
{
    myr_onnx_forest *forest = t->forest;
    uint32_t *places = myr_onnx_new(t->eval, t->weight_count, sizeof *places);
    forest->weights = myr_onnx_new(t->eval, t->weight_count, sizeof *forest->weights);
    if (places == NULL || forest->weights == NULL) MYR_ONNX_ALLOC_FAIL(t->eval->onnx);
    for (size_t k = 0; k < t->weight_count; k++) {
        MYR_TRY(trees_check_weight(t, k, &places[k]));
        forest->nodes[places[k]].count++;
    }
    uint32_t first = 0;
    for (uint32_t n = 0; n < forest->node_count; n++) {
        forest->nodes[n].first = first;
        first += forest->nodes[n].count;
        forest->nodes[n].count = 0;
    }
    for (size_t k = 0; k < t->weight_count; k++) {
        myr_onnx_tree_node *leaf = &forest->nodes[places[k]];
        forest->weights[leaf->first + leaf->count++] =
            (myr_onnx_weight){.output = (uint32_t)t->weight_outputs[k], .value = t->weight_values[k]};
    }
    forest->weight_count = (uint32_t)t->weight_count;
    return MYR_OK;
}

/* ---- the operator ---- */

myr_rc myr_onnx_forest_input(myr_onnx_eval *eval, const myr_onnx_node *node, bool is_classifier, uint32_t feature_count,
                             myr_onnx_forest *forest)
{
    const myr_onnx_sym *sym = myr_onnx_input(eval, node, 0, MYR_ONNX_IS_COLUMNS);
    bool fits;
    if (sym == NULL) MYR_ONNX_FOREIGN(eval, node, "its input is no columns of the graph's inputs");
    if (sym->columns->is_open) MYR_TRY(myr_onnx_close(eval, sym->columns, feature_count, &fits));
    bool whole = sym->columns->type == MYR_ONNX_INT64 || sym->columns->type == MYR_ONNX_INT32;
    if (whole && !is_classifier) MYR_ONNX_FOREIGN(eval, node, "its input is of whole numbers");
    forest->columns = sym->columns;
    for (uint32_t j = 0; forest->single && j < sym->columns->count; j++) {
        const myr_onnx_column *column = &sym->columns->list[j];
        bool rounds = column->step_count == 0 || column->steps[0].op == MYR_ONNX_STEP_ROUND;
        if (!rounds || (column->step_count == 0 && !whole)) {
            MYR_ONNX_FOREIGN(eval, node, "its input is computed in double, then taken in float");
        }
    }
    return MYR_OK;
}

static uint32_t trees_feature_count(const trees *t)
{
    uint32_t most = 0;
    for (uint32_t n = 0; n < t->forest->node_count; n++) {
        bool split = t->forest->nodes[n].mode != MYR_ONNX_LEAF;
        if (split && t->forest->nodes[n].feature >= most) most = t->forest->nodes[n].feature + 1;
    }
    return most > 0 ? most : 1;
}

static myr_rc trees_read(trees *t)
{
    double *bases;
    MYR_TRY(trees_post(t));
    MYR_TRY(trees_aggregate(t));
    MYR_TRY(trees_outputs(t));
    MYR_TRY(trees_lists(t));
    MYR_TRY(trees_cut(t));
    MYR_TRY(trees_nodes(t));
    MYR_TRY(trees_weights(t));
    MYR_TRY(trees_numbers(t, "base_values", &bases, &t->forest->base_count));
    t->forest->bases = bases;
    return myr_onnx_forest_input(t->eval, t->node, t->forest->is_classifier, trees_feature_count(t), t->forest);
}

myr_rc myr_onnx_trees(myr_onnx_eval *eval, const myr_onnx_node *node, myr_onnx_sym *out)
{
    bool is_classifier = myr_str_is(node->op, "TreeEnsembleClassifier");
    const myr_onnx_sym *input = myr_onnx_input(eval, node, 0, MYR_ONNX_IS_COLUMNS);
    bool is_double = input != NULL && input->columns->type == MYR_ONNX_DOUBLE;
    myr_onnx_forest forest = {.node = node, .single = !is_double, .is_classifier = is_classifier};
    trees t = {.eval = eval, .node = node, .forest = &forest, .prefix = is_classifier ? "class" : "target"};
    MYR_TRY(myr_onnx_check_attrs(eval->onnx, node, is_classifier ? trees_known_classifier : trees_known_regressor));
    MYR_TRY(trees_read(&t));
    MYR_TRY(myr_onnx_forest_scores(eval, &forest, &out[is_classifier ? 1 : 0]));
    if (is_classifier) out[0] = (myr_onnx_sym){.kind = MYR_ONNX_IS_LABELS};
    return MYR_OK;
}
