/*
 * Operations between a model and the graph's outputs. Behind trees only those are read that keep the bits (or whose
 * library function may differ in the last one, as Exp's); behind linear models, which are close and not equal anyway,
 * also those that differ by a rounding.
 */
#include <math.h>
#include <string.h>

#include "import/onnx_graph.h"

static myr_rc finish_give(myr_onnx_eval *eval, const myr_onnx_scores *scores, myr_onnx_sym *out)
{
    myr_onnx_scores *copy = myr_onnx_new(eval, 1, sizeof *copy);
    if (copy == NULL) MYR_ONNX_ALLOC_FAIL(eval->onnx);
    *copy = *scores;
    out[0] = (myr_onnx_sym){.kind = MYR_ONNX_IS_SCORES, .scores = copy};
    return MYR_OK;
}

/* The scores that come in as input k, or as the only ones. */
static const myr_onnx_scores *finish_scores(const myr_onnx_eval *eval, const myr_onnx_node *node, uint32_t k)
{
    const myr_onnx_sym *sym = myr_onnx_input(eval, node, k, MYR_ONNX_IS_SCORES);
    return sym != NULL ? sym->scores : NULL;
}

static bool finish_is_linear(const myr_onnx_scores *scores)
{
    return scores->desc.kind == MYR_MODEL_LINEAR;
}

/* ---- one function of the scores ---- */

static myr_rc finish_exp(myr_onnx_eval *eval, const myr_onnx_node *node, const myr_onnx_scores *scores,
                         myr_onnx_sym *out)
{
    myr_onnx_scores next = *scores;
    bool plain =
        scores->is_sum && !scores->desc.average && (finish_is_linear(scores) || scores->desc.calc == MYR_CALC_F32);
    if (!plain) MYR_ONNX_FOREIGN(eval, node, "not of the sums of a model in float");
    next.desc.transform = MYR_TRANSFORM_EXP;
    next.is_sum = false;
    return finish_give(eval, &next, out);
}

static myr_rc finish_sigmoid(myr_onnx_eval *eval, const myr_onnx_node *node, const myr_onnx_scores *scores,
                             myr_onnx_sym *out)
{
    myr_onnx_scores next = *scores;
    if (!scores->is_sum || !finish_is_linear(scores)) MYR_ONNX_FOREIGN(eval, node, "not of the sums of a linear model");
    next.desc.transform = MYR_TRANSFORM_SIGMOID_EACH;
    next.desc.transform_param = 1.0;
    next.is_sum = false;
    next.is_positive = true;
    return finish_give(eval, &next, out);
}

static myr_rc finish_softmax(myr_onnx_eval *eval, const myr_onnx_node *node, const myr_onnx_scores *scores,
                             myr_onnx_sym *out)
{
    myr_onnx_scores next = *scores;
    int64_t axis;
    MYR_TRY(myr_onnx_attr_int(eval->onnx, node, "axis", eval->onnx->opset >= 13 ? -1 : 1, &axis));
    if (!scores->is_sum || !finish_is_linear(scores) || (axis != 1 && axis != -1)) {
        MYR_ONNX_FOREIGN(eval, node, "not over the sums of a linear model");
    }
    next.desc.transform = MYR_TRANSFORM_SOFTMAX;
    next.is_sum = false;
    next.is_positive = true;
    return finish_give(eval, &next, out);
}

/* Scores divided by the sum of their magnitudes. */
static myr_rc finish_share(myr_onnx_eval *eval, const myr_onnx_node *node, const myr_onnx_scores *scores,
                           myr_onnx_sym *out)
{
    myr_onnx_scores next = *scores;
    if (!finish_is_linear(scores) || !scores->is_positive || scores->width < 2) {
        MYR_ONNX_FOREIGN(eval, node, "not of a linear model's probabilities");
    }
    if (scores->desc.transform == MYR_TRANSFORM_SIGMOID_EACH) {
        next.desc.transform = MYR_TRANSFORM_SIGMOID_SHARE;
        next.desc.transform_param = 0.0;
    } /* the others add up to 1 but for rounding */
    return finish_give(eval, &next, out);
}

static myr_rc finish_normalizer(myr_onnx_eval *eval, const myr_onnx_node *node, const myr_onnx_scores *scores,
                                myr_onnx_sym *out)
{
    myr_str norm;
    MYR_TRY(myr_onnx_attr_string(eval->onnx, node, "norm", "MAX", &norm));
    if (!myr_str_is(norm, "L1")) MYR_ONNX_FOREIGN(eval, node, "norm %.*s", MYR_STR_ARG(norm));
    return finish_share(eval, node, scores, out);
}

/* ---- with constants ---- */

/* The numbers of a constant that stands beside [N,width] scores; NULL if it is none. */
static myr_rc finish_constants(myr_onnx_eval *eval, const myr_onnx_node *node, uint32_t k, uint32_t width,
                               const myr_onnx_tensor **out_tensor, double **out)
{
    const myr_onnx_sym *sym = myr_onnx_input(eval, node, k, MYR_ONNX_IS_TENSOR);
    *out = NULL;
    if (sym == NULL || (sym->tensor->count != 1 && sym->tensor->count != width) || sym->tensor->dim_count > 2) {
        return MYR_OK;
    }
    if (sym->tensor->dim_count == 2 && sym->tensor->dims[0] != 1) return MYR_OK;
    *out_tensor = sym->tensor;
    return myr_onnx_tensor_doubles(eval->onnx, sym->tensor, out);
}

static myr_rc finish_add(myr_onnx_eval *eval, const myr_onnx_node *node, myr_onnx_sym *out)
{
    uint32_t at = finish_scores(eval, node, 0) != NULL ? 0 : 1;
    const myr_onnx_scores *scores = finish_scores(eval, node, at);
    const myr_onnx_tensor *tensor;
    double *numbers = NULL;
    if (scores != NULL) MYR_TRY(finish_constants(eval, node, 1 - at, scores->width, &tensor, &numbers));
    if (numbers == NULL || !finish_is_linear(scores) || !scores->is_sum) {
        MYR_ONNX_FOREIGN(eval, node, "not of a linear model's sums and a row of constants");
    }
    myr_onnx_scores next = *scores;
    double *bases = myr_onnx_new(eval, scores->width, sizeof *bases);
    if (bases == NULL) MYR_ONNX_ALLOC_FAIL(eval->onnx);
    for (uint32_t k = 0; k < scores->width; k++) {
        bases[k] = scores->desc.base_margins[k] + numbers[tensor->count == 1 ? 0 : k];
        if (!isfinite(bases[k])) MYR_ONNX_FOREIGN(eval, node, "a constant is %g", bases[k]);
    }
    next.desc.base_margins = bases;
    return finish_give(eval, &next, out);
}

/* 1 - scores: half of a pair. */
static myr_rc finish_sub(myr_onnx_eval *eval, const myr_onnx_node *node, myr_onnx_sym *out)
{
    const myr_onnx_sym *sym = myr_onnx_input(eval, node, 1, MYR_ONNX_IS_SCORES);
    const myr_onnx_tensor *tensor;
    double *numbers = NULL;
    if (sym != NULL) MYR_TRY(finish_constants(eval, node, 0, sym->scores->width, &tensor, &numbers));
    bool pair = numbers != NULL && numbers[0] == 1.0 && tensor->count == 1 && sym->scores->width == 1 &&
                sym->scores->desc.transform == MYR_TRANSFORM_SIGMOID_EACH;
    if (!pair) MYR_ONNX_FOREIGN(eval, node, "not 1 less the sigmoid of one linear sum");
    out[0] = (myr_onnx_sym){.kind = MYR_ONNX_IS_OPPOSITE, .scores = sym->scores};
    return MYR_OK;
}

static myr_rc finish_concat(myr_onnx_eval *eval, const myr_onnx_node *node, myr_onnx_sym *out)
{
    const myr_onnx_sym *first = myr_onnx_input(eval, node, 0, MYR_ONNX_IS_OPPOSITE);
    const myr_onnx_sym *second = myr_onnx_input(eval, node, 1, MYR_ONNX_IS_SCORES);
    int64_t axis;
    MYR_TRY(myr_onnx_attr_int(eval->onnx, node, "axis", 0, &axis));
    bool pair = first != NULL && second != NULL && first->scores == second->scores && node->input_count == 2;
    if (!pair || (axis != 1 && axis != -1)) MYR_ONNX_FOREIGN(eval, node, "not of 1 - p and p");
    myr_onnx_scores next = *second->scores;
    next.desc.transform = MYR_TRANSFORM_SIGMOID_PAIR;
    next.desc.transform_param = 0.0;
    next.width = 2;
    return finish_give(eval, &next, out);
}

/* Division by a count (a forest's trees), or by the scores' own norm. */
static myr_rc finish_div(myr_onnx_eval *eval, const myr_onnx_node *node, const myr_onnx_scores *scores,
                         myr_onnx_sym *out)
{
    const myr_onnx_sym *norm = myr_onnx_input(eval, node, 1, MYR_ONNX_IS_NORM);
    const myr_onnx_tensor *tensor;
    double *numbers = NULL;
    if (norm != NULL && norm->scores == scores) return finish_share(eval, node, scores, out);
    MYR_TRY(finish_constants(eval, node, 1, scores->width, &tensor, &numbers));
    bool count = numbers != NULL && tensor->count == 1 && numbers[0] >= 1.0 && numbers[0] <= 16777216.0 &&
                 numbers[0] == floor(numbers[0]);
    bool sums =
        scores->is_sum && !finish_is_linear(scores) && !scores->desc.average && scores->desc.calc == MYR_CALC_F32;
    if (!count || !sums) MYR_ONNX_FOREIGN(eval, node, "not of trees' sums in float by a whole number");
    myr_onnx_scores next = *scores;
    next.desc.average = true;
    next.desc.average_over = (uint32_t)numbers[0];
    next.is_sum = false;
    return finish_give(eval, &next, out);
}

static myr_rc finish_reduce(myr_onnx_eval *eval, const myr_onnx_node *node, const myr_onnx_scores *scores,
                            myr_onnx_sym *out)
{
    const myr_onnx_sym *input = myr_onnx_input(eval, node, 1, MYR_ONNX_IS_TENSOR);
    int64_t *axes;
    size_t count;
    int64_t keep;
    MYR_TRY(myr_onnx_attr_ints(eval->onnx, node, "axes", &axes, &count));
    MYR_TRY(myr_onnx_attr_int(eval->onnx, node, "keepdims", 1, &keep));
    if (input != NULL) {
        MYR_TRY(myr_onnx_tensor_int64s(eval->onnx, input->tensor, &axes));
        count = input->tensor->count;
    }
    if (count != 1 || (axes[0] != 1 && axes[0] != -1) || keep != 1 || !scores->is_positive) {
        MYR_ONNX_FOREIGN(eval, node, "not over a row of probabilities");
    }
    out[0] = (myr_onnx_sym){.kind = MYR_ONNX_IS_NORM, .scores = (myr_onnx_scores *)scores};
    return MYR_OK;
}

/* ---- shape and type ---- */

/* Reshape to [-1,width], or to [-1] where a row has one value. */
static myr_rc finish_reshape(myr_onnx_eval *eval, const myr_onnx_node *node, const myr_onnx_scores *scores,
                             myr_onnx_sym *out)
{
    const myr_onnx_sym *shape = myr_onnx_input(eval, node, 1, MYR_ONNX_IS_TENSOR);
    int64_t *dims;
    if (shape == NULL) MYR_ONNX_FOREIGN(eval, node, "its shape is no constant");
    MYR_TRY(myr_onnx_tensor_int64s(eval->onnx, shape->tensor, &dims));
    uint64_t rank = shape->tensor->count;
    bool flat = rank == 1 && dims[0] == -1 && scores->width == 1;
    bool rows = rank == 2 && dims[0] == -1 && dims[1] == (int64_t)scores->width;
    if (!flat && !rows) MYR_ONNX_FOREIGN(eval, node, "not to rows of %u", scores->width);
    return finish_give(eval, scores, out);
}

static myr_rc finish_cast(myr_onnx_eval *eval, const myr_onnx_node *node, const myr_onnx_scores *scores,
                          myr_onnx_sym *out)
{
    int64_t to;
    myr_onnx_scores next = *scores;
    MYR_TRY(myr_onnx_attr_int(eval->onnx, node, "to", 0, &to));
    if (to != MYR_ONNX_FLOAT && to != MYR_ONNX_DOUBLE) MYR_ONNX_FOREIGN(eval, node, "to type %lld", (long long)to);
    bool narrows = to == MYR_ONNX_FLOAT && !finish_is_linear(scores) && scores->desc.calc == MYR_CALC_F64 &&
                   scores->desc.transform == MYR_TRANSFORM_IDENTITY;
    if (narrows) {
        next.desc.transform = MYR_TRANSFORM_ONNX_FLOAT;
        next.is_sum = false;
    }
    return finish_give(eval, &next, out);
}

/* One of several outputs of a linear model. */
static myr_rc finish_choose(myr_onnx_eval *eval, const myr_onnx_node *node, const myr_onnx_scores *scores,
                            myr_onnx_sym *out)
{
    const myr_onnx_sym *which = myr_onnx_input(eval, node, 1, MYR_ONNX_IS_TENSOR);
    int64_t *indices;
    bool each = scores->is_sum || scores->desc.transform == MYR_TRANSFORM_SIGMOID_EACH;
    if (which == NULL || which->tensor->count != 1 || !finish_is_linear(scores) || !each) {
        MYR_ONNX_FOREIGN(eval, node, "not one of a linear model's sums");
    }
    MYR_TRY(myr_onnx_tensor_int64s(eval->onnx, which->tensor, &indices));
    if (indices[0] < 0 || indices[0] >= (int64_t)scores->width) {
        MYR_ONNX_FOREIGN(eval, node, "number %lld of %u", (long long)indices[0], scores->width);
    }
    myr_onnx_scores next = *scores;
    next.desc.weights += (size_t)indices[0] * next.desc.feature_count;
    next.desc.base_margins += indices[0];
    next.desc.margin_count = next.width = 1;
    return finish_give(eval, &next, out);
}

/* ---- which ---- */

typedef myr_rc (*finish_one)(myr_onnx_eval *eval, const myr_onnx_node *node, const myr_onnx_scores *scores,
                             myr_onnx_sym *out);

static myr_rc finish_same(myr_onnx_eval *eval, const myr_onnx_node *node, const myr_onnx_scores *scores,
                          myr_onnx_sym *out)
{
    (void)node;
    out[0] = (myr_onnx_sym){.kind = MYR_ONNX_IS_SCORES, .scores = (myr_onnx_scores *)scores};
    (void)eval;
    return MYR_OK;
}

/* A map of classes has them in the order of their names, which here must be the order of the scores. */
static myr_rc finish_zipmap(myr_onnx_eval *eval, const myr_onnx_node *node, const myr_onnx_scores *scores,
                            myr_onnx_sym *out)
{
    int64_t *numbers;
    myr_str *texts;
    size_t number_count;
    size_t text_count;
    bool rises = true;
    MYR_TRY(myr_onnx_attr_ints(eval->onnx, node, "classlabels_int64s", &numbers, &number_count));
    MYR_TRY(myr_onnx_attr_strings(eval->onnx, node, "classlabels_strings", &texts, &text_count));
    for (size_t k = 1; k < number_count; k++) {
        rises = rises && numbers[k - 1] < numbers[k];
    }
    for (size_t k = 1; k < text_count; k++) {
        size_t size = texts[k - 1].size < texts[k].size ? texts[k - 1].size : texts[k].size;
        int order = size > 0 ? memcmp(texts[k - 1].data, texts[k].data, size) : 0;
        rises = rises && (order < 0 || (order == 0 && texts[k - 1].size < texts[k].size));
    }
    if (!rises || number_count + text_count != scores->width) MYR_ONNX_FOREIGN(eval, node, "its labels do not ascend");
    return finish_same(eval, node, scores, out);
}

static myr_rc finish_abs(myr_onnx_eval *eval, const myr_onnx_node *node, const myr_onnx_scores *scores,
                         myr_onnx_sym *out)
{
    if (!scores->is_positive) MYR_ONNX_FOREIGN(eval, node, "not of probabilities");
    return finish_same(eval, node, scores, out);
}

myr_rc myr_onnx_finish(myr_onnx_eval *eval, const myr_onnx_node *node, myr_onnx_sym *out)
{
    static const struct {
        const char *op;
        bool is_ml;
        finish_one handler;
    } ones[] = {
        {"ZipMap", true, finish_zipmap},     {"Normalizer", true, finish_normalizer},
        {"Identity", false, finish_same},    {"Cast", false, finish_cast},
        {"Exp", false, finish_exp},          {"Sigmoid", false, finish_sigmoid},
        {"Softmax", false, finish_softmax},  {"Div", false, finish_div},
        {"ReduceSum", false, finish_reduce}, {"Reshape", false, finish_reshape},
        {"Abs", false, finish_abs},          {"ArrayFeatureExtractor", true, finish_choose},
    };
    if (!node->is_ml && node->input_count == 2) {
        if (myr_str_is(node->op, "Add")) return finish_add(eval, node, out);
        if (myr_str_is(node->op, "Sub")) return finish_sub(eval, node, out);
        if (myr_str_is(node->op, "Concat")) return finish_concat(eval, node, out);
    }
    const myr_onnx_scores *scores = finish_scores(eval, node, 0);
    for (size_t k = 0; scores != NULL && k < MYR_COUNT_OF(ones); k++) {
        if (node->is_ml == ones[k].is_ml && myr_str_is(node->op, ones[k].op)) {
            return ones[k].handler(eval, node, scores, out);
        }
    }
    MYR_ONNX_FOREIGN(eval, node, "not read behind a model");
}
