/*
 * What an ensemble's sums become: where base values are added, which transform follows, and how many values a row has.
 * The rules are those of ONNX Runtime's kernels, which differ by operator, number of classes and weights; whatever
 * depends on the row itself (a class that only some leaves vote for) is left to it.
 */
#include <math.h>
#include <string.h>

#include "import/onnx_forest.h"

#define FOREST_FAIL(eval, forest, ...) MYR_ONNX_FOREIGN(eval, (forest)->node, __VA_ARGS__)

/* Which outputs have weights at all, and in every leaf of at least one tree (so in every row). */
typedef struct forest_use {
    bool *any, *always;
    uint32_t any_count;
    bool some_negative;
} forest_use;

static myr_rc forest_look(myr_onnx_eval *eval, const myr_onnx_forest *forest, forest_use *out)
{
    out->any = myr_onnx_new(eval, forest->output_count, sizeof *out->any);
    out->always = myr_onnx_new(eval, forest->output_count, sizeof *out->always);
    if (out->any == NULL || out->always == NULL) MYR_ONNX_ALLOC_FAIL(eval->onnx);
    for (uint32_t k = 0; k < forest->weight_count; k++) {
        bool *any = &out->any[forest->weights[k].output];
        out->any_count += !*any;
        *any = true;
        out->some_negative = out->some_negative || forest->weights[k].value < 0;
    }
    return MYR_OK;
}

/* Does some tree have a weight for `output` in each leaf? Nodes of a tree stand together, so one pass will do. */
static bool forest_votes_always(const myr_onnx_forest *forest, uint32_t output)
{
    for (uint32_t t = 0; t < forest->tree_count; t++) {
        uint32_t end = t + 1 < forest->tree_count ? forest->roots[t + 1] : forest->node_count;
        bool all = end > forest->roots[t];
        for (uint32_t n = forest->roots[t]; all && n < end; n++) {
            const myr_onnx_tree_node *node = &forest->nodes[n];
            if (node->mode != MYR_ONNX_LEAF) continue;
            bool has = false;
            for (uint32_t k = 0; k < node->count; k++) {
                has = has || forest->weights[node->first + k].output == output;
            }
            all = has;
        }
        if (all) return true;
    }
    return false;
}

/* One leaf has at most one weight per output, finite or infinite. */
static myr_rc forest_check_weights(myr_onnx_eval *eval, const myr_onnx_forest *forest)
{
    MYR_AUTO(myr_mem) block = myr_calloc((size_t)forest->output_count + 1, sizeof(uint32_t));
    uint32_t *last = block; /* node + 1 that voted for this output last */
    if (last == NULL) MYR_ONNX_ALLOC_FAIL(eval->onnx);
    for (uint32_t n = 0; n < forest->node_count; n++) {
        const myr_onnx_tree_node *node = &forest->nodes[n];
        if (node->mode != MYR_ONNX_LEAF) continue;
        if (node->count == 0) FOREST_FAIL(eval, forest, "leaf %u has no weight", n);
        for (uint32_t k = 0; k < node->count; k++) {
            const myr_onnx_weight *weight = &forest->weights[node->first + k];
            if (isnan(weight->value)) FOREST_FAIL(eval, forest, "leaf %u has a weight that is not a number", n);
            if (last[weight->output] == n + 1) {
                FOREST_FAIL(eval, forest, "leaf %u has two weights for output %u", n, weight->output);
            }
            last[weight->output] = n + 1;
        }
    }
    return MYR_OK;
}

/* ---- bases ---- */

/*
 * The kernels add base values behind the sum, ours begin with them; in float that is another rounding. So they become
 * a last tree of one leaf. `add[k]` says what is added to margin k.
 */
static myr_rc forest_add_bases(myr_onnx_eval *eval, const myr_onnx_forest *forest, const double *add,
                               myr_model_desc *desc)
{
    uint32_t count = 0;
    for (uint32_t k = 0; k < desc->margin_count; k++) {
        if (isnan(add[k])) FOREST_FAIL(eval, forest, "a base value is not a number");
        count += add[k] != 0.0;
    }
    if (count == 0) return MYR_OK;
    if (desc->average) FOREST_FAIL(eval, forest, "AVERAGE with base values");
    if (desc->tree_count > MYR_TREES_MAX - count) FOREST_FAIL(eval, forest, "more than %d trees", MYR_TREES_MAX);
    myr_tree *trees = myr_onnx_new(eval, (size_t)desc->tree_count + count, sizeof *trees);
    double *leaves = myr_onnx_new(eval, count, sizeof *leaves);
    if (trees == NULL || leaves == NULL) MYR_ONNX_ALLOC_FAIL(eval->onnx);
    if (desc->tree_count > 0) memcpy(trees, desc->trees, desc->tree_count * sizeof *trees);
    for (uint32_t k = 0; k < desc->margin_count; k++) {
        if (add[k] == 0.0) continue;
        *leaves = add[k];
        trees[desc->tree_count++] = (myr_tree){.leaves = leaves++, .leaf_count = 1, .output = k};
    }
    desc->trees = trees;
    return MYR_OK;
}

/*
 * What base value k adds. A target that nobody voted for stays 0 whatever its base value; where that depends on the
 * row, nothing of ours says the same.
 */
static myr_rc forest_base(myr_onnx_eval *eval, const myr_onnx_forest *forest, const forest_use *use, uint32_t k,
                          double *out)
{
    double base = k < forest->base_count ? forest->bases[k] : 0.0;
    *out = use->any[k] ? base : 0.0;
    if (*out != 0.0 && !forest_votes_always(forest, k)) {
        FOREST_FAIL(eval, forest, "some rows have no vote for output %u, which has a base value", k);
    }
    return MYR_OK;
}

static myr_rc forest_plain_bases(myr_onnx_eval *eval, const myr_onnx_forest *forest, const forest_use *use,
                                 myr_model_desc *desc)
{
    double *add = myr_onnx_new(eval, desc->margin_count, sizeof *add);
    if (add == NULL) MYR_ONNX_ALLOC_FAIL(eval->onnx);
    if (forest->base_count != 0 && forest->base_count != desc->margin_count) {
        FOREST_FAIL(eval, forest, "%zu base values for %u outputs", forest->base_count, desc->margin_count);
    }
    for (uint32_t k = 0; k < forest->base_count; k++) {
        add[k] = forest->bases[k]; /* of three classes and more each counts */
        if (!forest->is_classifier) MYR_TRY(forest_base(eval, forest, use, k, &add[k]));
    }
    return forest_add_bases(eval, forest, add, desc);
}

/* ---- transforms ---- */

static myr_rc forest_transform(myr_onnx_eval *eval, const myr_onnx_forest *forest, myr_model_desc *desc)
{
    bool narrow = !forest->single && !forest->double_out;
    bool alone = desc->margin_count == 1 && !forest->is_classifier; /* of one target only PROBIT is taken heed of */
    switch (forest->post) {
    case MYR_ONNX_POST_SOFTMAX:
        desc->transform = MYR_TRANSFORM_ONNX_SOFTMAX;
        break;
    case MYR_ONNX_POST_LOGISTIC:
        desc->transform = MYR_TRANSFORM_ONNX_LOGISTIC;
        break;
    case MYR_ONNX_POST_SOFTMAX_ZERO:
        if (!forest->single && !alone) FOREST_FAIL(eval, forest, "SOFTMAX_ZERO in double");
        desc->transform = MYR_TRANSFORM_ONNX_SOFTMAX_ZERO;
        break;
    case MYR_ONNX_POST_PROBIT:
        desc->transform = MYR_TRANSFORM_ONNX_PROBIT;
        return MYR_OK;
    case MYR_ONNX_POST_NONE:
        desc->transform = narrow ? MYR_TRANSFORM_ONNX_FLOAT : MYR_TRANSFORM_IDENTITY;
        return MYR_OK;
    }
    if (alone) desc->transform = narrow ? MYR_TRANSFORM_ONNX_FLOAT : MYR_TRANSFORM_IDENTITY;
    return MYR_OK;
}

/* ---- two classes ---- */

/* One score, of which the kernel makes two. */
static myr_rc forest_binary_single(myr_onnx_eval *eval, const myr_onnx_forest *forest, const forest_use *use,
                                   myr_model_desc *desc)
{
    double add = forest->base_count == 1 ? forest->bases[0] : 0.0;
    if (forest->post == MYR_ONNX_POST_PROBIT) FOREST_FAIL(eval, forest, "PROBIT of one score for two classes");
    desc->margin_count = 1;
    desc->transform = forest->post == MYR_ONNX_POST_LOGISTIC ? MYR_TRANSFORM_ONNX_PAIR_LOGISTIC
                      : use->some_negative                   ? MYR_TRANSFORM_ONNX_PAIR_SIGNED
                                                             : MYR_TRANSFORM_ONNX_PAIR;
    return forest_add_bases(eval, forest, &add, desc);
}

static myr_rc forest_binary(myr_onnx_eval *eval, const myr_onnx_forest *forest, const forest_use *use,
                            myr_model_desc *desc)
{
    double add[2] = {0};
    bool always = use->any[1] && forest_votes_always(forest, 1);
    if (use->any[1] && !always) FOREST_FAIL(eval, forest, "some rows have no vote for the second of two classes");
    if (forest->base_count > 2) FOREST_FAIL(eval, forest, "%zu base values for two classes", forest->base_count);
    if (!use->any[1] && forest->base_count < 2) return forest_binary_single(eval, forest, use, desc);
    if (use->any[1] && forest->base_count == 2) FOREST_FAIL(eval, forest, "two base values for two classes with votes");
    MYR_TRY(forest_base(eval, forest, use, 0, &add[0])); /* a second one is not taken heed of */
    MYR_TRY(forest_add_bases(eval, forest, add, desc));
    return forest_transform(eval, forest, desc);
}

/* ---- all together ---- */

static const char *const forest_posts[] = {"NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT"};

static myr_rc forest_check(myr_onnx_eval *eval, const myr_onnx_forest *forest)
{
    if (forest->output_count == 0) FOREST_FAIL(eval, forest, "it has no output");
    if (forest->output_count > MYR_OUTPUTS_MAX) {
        FOREST_FAIL(eval, forest, "%u outputs, at most %d", forest->output_count, MYR_OUTPUTS_MAX);
    }
    if (forest->is_classifier && forest->output_count == 1) FOREST_FAIL(eval, forest, "it has one class");
    if (forest->average && forest->tree_count == 0) FOREST_FAIL(eval, forest, "AVERAGE of no trees");
    return forest_check_weights(eval, forest);
}

myr_rc myr_onnx_forest_scores(myr_onnx_eval *eval, const myr_onnx_forest *forest, myr_onnx_sym *out)
{
    myr_onnx_scores *scores = myr_onnx_new(eval, 1, sizeof *scores);
    forest_use use = {0};
    if (scores == NULL) MYR_ONNX_ALLOC_FAIL(eval->onnx);
    MYR_TRY(forest_check(eval, forest));
    MYR_TRY(forest_look(eval, forest, &use));
    myr_model_desc *desc = &scores->desc;
    *desc = (myr_model_desc){.kind = MYR_MODEL_TREES,
                             .calc = forest->single ? MYR_CALC_F32 : MYR_CALC_F64,
                             .feature_count = eval->feature_count,
                             .margin_count = forest->output_count,
                             .average = forest->average,
                             .average_over = forest->average ? forest->tree_count : 0};
    MYR_TRY(myr_onnx_forest_grow(eval, forest, desc));
    if (forest->is_classifier && forest->output_count == 2) {
        MYR_TRY(forest_binary(eval, forest, &use, desc));
    } else {
        MYR_TRY(forest_plain_bases(eval, forest, &use, desc));
        MYR_TRY(forest_transform(eval, forest, desc));
    }
    scores->op =
        myr_arena_printf(eval->onnx->arena, "%.*s %s", MYR_STR_ARG(forest->node->op), forest_posts[forest->post]);
    if (scores->op == NULL) MYR_ONNX_ALLOC_FAIL(eval->onnx);
    scores->width = forest->is_classifier && desc->margin_count == 1 ? 2 : desc->margin_count;
    scores->is_sum = desc->transform == MYR_TRANSFORM_IDENTITY;
    out[0] = (myr_onnx_sym){.kind = MYR_ONNX_IS_SCORES, .scores = scores};
    return MYR_OK;
}
