/*
 * Linear models: LinearRegressor, LinearClassifier, and a MatMul or Gemm with constants. ONNX Runtime adds the products
 * in float, in an order that depends on the machine and the number of rows; ours are added in double. Scalers before
 * the model are multiplied into its weights. docs/internals/import.md says how far apart the two can be.
 */
#include <math.h>
#include <string.h>

#include "import/onnx_graph.h"

#define LINEAR_WEIGHTS_FREE     (UINT64_C(1) << 20) /* weights that any file may have … */
#define LINEAR_WEIGHTS_PER_BYTE 16                  /* … and so many more per byte */

/* sum over j of coefficients[k * step_k + j * step_j] * column j, plus intercepts[k] */
typedef struct linear_terms {
    const myr_onnx_columns *columns;
    const double *coefficients;
    size_t step_output, step_column;
    const double *intercepts; /* NULL: zeros */
    uint32_t output_count;
} linear_terms;

static myr_rc linear_room(myr_onnx_eval *eval, const myr_onnx_node *node, uint32_t output_count, double **weights,
                          double **bases, double **fills)
{
    uint64_t room = LINEAR_WEIGHTS_FREE + (uint64_t)eval->onnx->src->size * LINEAR_WEIGHTS_PER_BYTE;
    uint64_t total = (uint64_t)output_count * eval->feature_count;
    if (total > room) MYR_ONNX_FOREIGN(eval, node, "%llu weights from such a small file", (unsigned long long)total);
    *weights = myr_onnx_new(eval, total, sizeof **weights);
    *bases = myr_onnx_new(eval, output_count, sizeof **bases);
    *fills = myr_onnx_new(eval, eval->feature_count, sizeof **fills);
    if (*weights == NULL || *bases == NULL || *fills == NULL) MYR_ONNX_ALLOC_FAIL(eval->onnx);
    return MYR_OK;
}

/* One column's part: its steps are a line, so its weights move to the feature, and the rest to the bases. */
static myr_rc linear_column(myr_onnx_eval *eval, const myr_onnx_node *node, const linear_terms *terms, uint32_t j,
                            double *weights, double *bases, double *fill)
{
    double scale;
    double offset;
    double replaces;
    const myr_onnx_column *column = &terms->columns->list[j];
    if (!myr_onnx_steps_line(column, &scale, &offset, &replaces)) {
        MYR_ONNX_FOREIGN(eval, node, "what stands before column %u is no line", j);
    }
    for (uint32_t k = 0; k < terms->output_count; k++) {
        double coefficient = terms->coefficients[k * terms->step_output + j * terms->step_column];
        weights[(size_t)k * eval->feature_count + column->feature] += coefficient * scale;
        bases[k] += coefficient * offset;
    }
    *fill = replaces;
    return MYR_OK;
}

/* A feature may come twice, but can have one fill only. */
static myr_rc linear_columns(myr_onnx_eval *eval, const myr_onnx_node *node, const linear_terms *terms, double *weights,
                             double *bases, double *fills)
{
    uint8_t *used = myr_onnx_new(eval, eval->feature_count, 1);
    if (used == NULL) MYR_ONNX_ALLOC_FAIL(eval->onnx);
    for (uint32_t k = 0; k < terms->output_count; k++) {
        bases[k] = terms->intercepts != NULL ? terms->intercepts[k] : 0.0;
    }
    for (uint32_t j = 0; j < eval->feature_count; j++) {
        fills[j] = 0.0; /* of a feature that nobody reads */
    }
    for (uint32_t j = 0; j < terms->columns->count; j++) {
        double fill = 0.0;
        uint32_t feature = terms->columns->list[j].feature;
        MYR_TRY(linear_column(eval, node, terms, j, weights, bases, &fill));
        if (used[feature] && !(fills[feature] == fill || (isnan(fill) && isnan(fills[feature])))) {
            MYR_ONNX_FOREIGN(eval, node, "feature %u is filled in two ways", feature);
        }
        used[feature] = 1;
        fills[feature] = fill;
    }
    for (uint64_t i = 0; i < (uint64_t)terms->output_count * eval->feature_count; i++) {
        if (!isfinite(weights[i])) MYR_ONNX_FOREIGN(eval, node, "a weight is %g", weights[i]);
    }
    for (uint32_t k = 0; k < terms->output_count; k++) {
        if (!isfinite(bases[k])) MYR_ONNX_FOREIGN(eval, node, "an intercept is %g", bases[k]);
    }
    return MYR_OK;
}

static myr_rc linear_scores(myr_onnx_eval *eval, const myr_onnx_node *node, const linear_terms *terms,
                            myr_onnx_scores **out)
{
    double *weights = NULL;
    double *bases = NULL;
    double *fills = NULL;
    myr_onnx_scores *scores = myr_onnx_new(eval, 1, sizeof *scores);
    if (scores == NULL) MYR_ONNX_ALLOC_FAIL(eval->onnx);
    if (terms->output_count == 0 || terms->output_count > MYR_OUTPUTS_MAX) {
        MYR_ONNX_FOREIGN(eval, node, "%u outputs, not 1 to %d", terms->output_count, MYR_OUTPUTS_MAX);
    }
    MYR_TRY(linear_room(eval, node, terms->output_count, &weights, &bases, &fills));
    MYR_TRY(linear_columns(eval, node, terms, weights, bases, fills));
    scores->desc = (myr_model_desc){.kind = MYR_MODEL_LINEAR,
                                    .calc = MYR_CALC_F64,
                                    .feature_count = eval->feature_count,
                                    .margin_count = terms->output_count,
                                    .base_margins = bases,
                                    .weights = weights,
                                    .fills = fills};
    scores->op = myr_arena_printf(eval->onnx->arena, "%.*s", MYR_STR_ARG(node->op));
    if (scores->op == NULL) MYR_ONNX_ALLOC_FAIL(eval->onnx);
    scores->width = terms->output_count;
    scores->is_sum = true;
    *out = scores;
    return MYR_OK;
}

/* The columns of input k, closed to `count`. */
static myr_rc linear_input(myr_onnx_eval *eval, const myr_onnx_node *node, uint64_t count, const myr_onnx_columns **out)
{
    bool fits = false;
    const myr_onnx_sym *sym = myr_onnx_input(eval, node, 0, MYR_ONNX_IS_COLUMNS);
    if (sym == NULL) MYR_ONNX_FOREIGN(eval, node, "its input is no columns of the graph's inputs");
    if (count > 0 && count <= MYR_FEATURES_MAX) MYR_TRY(myr_onnx_close(eval, sym->columns, (uint32_t)count, &fits));
    if (!fits) MYR_ONNX_FOREIGN(eval, node, "weights for %llu columns", (unsigned long long)count);
    *out = sym->columns;
    return MYR_OK;
}

/* ---- LinearRegressor, LinearClassifier ---- */

static myr_rc linear_post(myr_onnx_eval *eval, const myr_onnx_node *node, bool is_classifier, myr_onnx_scores *scores)
{
    myr_str post;
    MYR_TRY(myr_onnx_attr_string(eval->onnx, node, "post_transform", "NONE", &post));
    if (is_classifier && scores->width == 1) { /* two classes of one score: the kernel pays no heed to the transform */
        if (myr_str_is(post, "PROBIT")) MYR_ONNX_FOREIGN(eval, node, "post_transform PROBIT");
        scores->desc.transform = MYR_TRANSFORM_ONNX_PAIR;
        scores->width = 2;
        scores->is_sum = false;
        return MYR_OK;
    }
    if (myr_str_is(post, "NONE")) return MYR_OK;
    bool logistic = myr_str_is(post, "LOGISTIC");
    if (!is_classifier || (!logistic && !myr_str_is(post, "SOFTMAX"))) {
        MYR_ONNX_FOREIGN(eval, node, "post_transform %.*s", MYR_STR_ARG(post));
    }
    scores->desc.transform = logistic ? MYR_TRANSFORM_SIGMOID_EACH : MYR_TRANSFORM_SOFTMAX;
    scores->desc.transform_param = logistic ? 1.0 : 0.0;
    scores->is_sum = false;
    scores->is_positive = true;
    return MYR_OK;
}

static myr_rc linear_classes(myr_onnx_eval *eval, const myr_onnx_node *node, size_t *out)
{
    int64_t *numbers;
    myr_str *texts;
    size_t number_count;
    size_t text_count;
    MYR_TRY(myr_onnx_attr_ints(eval->onnx, node, "classlabels_ints", &numbers, &number_count));
    MYR_TRY(myr_onnx_attr_strings(eval->onnx, node, "classlabels_strings", &texts, &text_count));
    *out = text_count > 0 ? text_count : number_count;
    return MYR_OK;
}

/* How many outputs: targets, or as many as there are intercepts. */
static myr_rc linear_outputs(myr_onnx_eval *eval, const myr_onnx_node *node, bool is_classifier, size_t intercept_count,
                             uint32_t *out)
{
    int64_t targets = (int64_t)intercept_count;
    if (!is_classifier) MYR_TRY(myr_onnx_attr_int(eval->onnx, node, "targets", 1, &targets));
    bool none = !is_classifier && intercept_count == 0;
    if (targets < 1 || targets > MYR_OUTPUTS_MAX || (!none && (uint64_t)targets != intercept_count)) {
        MYR_ONNX_FOREIGN(eval, node, "%lld outputs, %zu intercepts", (long long)targets, intercept_count);
    }
    *out = (uint32_t)targets;
    return MYR_OK;
}

static myr_rc linear_widen(myr_onnx_eval *eval, const float *floats, size_t count, double **out)
{
    *out = myr_onnx_new(eval, count, sizeof **out);
    if (*out == NULL) MYR_ONNX_ALLOC_FAIL(eval->onnx);
    for (size_t k = 0; k < count; k++) {
        (*out)[k] = (double)floats[k];
    }
    return MYR_OK;
}

static myr_rc linear_model(myr_onnx_eval *eval, const myr_onnx_node *node, bool is_classifier, myr_onnx_scores **out)
{
    float *coefficients;
    float *intercepts;
    size_t count;
    size_t intercept_count;
    double *wide;
    double *wide_intercepts;
    linear_terms terms = {0};
    MYR_TRY(myr_onnx_attr_floats(eval->onnx, node, "coefficients", &coefficients, &count));
    MYR_TRY(myr_onnx_attr_floats(eval->onnx, node, "intercepts", &intercepts, &intercept_count));
    MYR_TRY(linear_outputs(eval, node, is_classifier, intercept_count, &terms.output_count));
    if (count == 0 || count % terms.output_count != 0) {
        MYR_ONNX_FOREIGN(eval, node, "%zu coefficients for %u outputs", count, terms.output_count);
    }
    MYR_TRY(linear_widen(eval, coefficients, count, &wide));
    MYR_TRY(linear_widen(eval, intercepts, intercept_count, &wide_intercepts));
    MYR_TRY(linear_input(eval, node, count / terms.output_count, &terms.columns));
    if (!is_classifier && terms.columns->type != MYR_ONNX_FLOAT) {
        MYR_ONNX_FOREIGN(eval, node, "its input is not of floats");
    }
    terms.coefficients = wide;
    terms.intercepts = intercept_count > 0 ? wide_intercepts : NULL;
    terms.step_output = count / terms.output_count;
    terms.step_column = 1;
    return linear_scores(eval, node, &terms, out);
}

myr_rc myr_onnx_linear(myr_onnx_eval *eval, const myr_onnx_node *node, myr_onnx_sym *out)
{
    static const char *const known_regressor[] = {"coefficients", "intercepts", "post_transform", "targets", NULL};
    static const char *const known_classifier[] = {
        "classlabels_ints", "classlabels_strings", "coefficients", "intercepts", "multi_class", "post_transform", NULL};
    bool is_classifier = myr_str_is(node->op, "LinearClassifier");
    size_t classes = 0;
    myr_onnx_scores *scores;
    MYR_TRY(myr_onnx_check_attrs(eval->onnx, node, is_classifier ? known_classifier : known_regressor));
    MYR_TRY(linear_model(eval, node, is_classifier, &scores));
    if (is_classifier) MYR_TRY(linear_classes(eval, node, &classes));
    if (is_classifier && classes != (scores->width == 1 ? 2 : scores->width)) {
        MYR_ONNX_FOREIGN(eval, node, "%zu labels for %u scores", classes, scores->width);
    }
    MYR_TRY(linear_post(eval, node, is_classifier, scores));
    out[is_classifier ? 1 : 0] = (myr_onnx_sym){.kind = MYR_ONNX_IS_SCORES, .scores = scores};
    if (is_classifier) out[0] = (myr_onnx_sym){.kind = MYR_ONNX_IS_LABELS};
    return MYR_OK;
}

/* ---- MatMul, Gemm ---- */

/* The constant that columns are multiplied with: [C,K], or [C] for one output. */
static myr_rc linear_matrix(myr_onnx_eval *eval, const myr_onnx_node *node, bool transposed, linear_terms *terms)
{
    const myr_onnx_sym *sym = myr_onnx_input(eval, node, 1, MYR_ONNX_IS_TENSOR);
    double *numbers;
    if (sym == NULL || sym->tensor->dim_count == 0 || sym->tensor->dim_count > 2 || sym->tensor->count == 0) {
        MYR_ONNX_FOREIGN(eval, node, "not of columns and a constant matrix");
    }
    MYR_TRY(myr_onnx_tensor_doubles(eval->onnx, sym->tensor, &numbers));
    uint64_t rows = (uint64_t)sym->tensor->dims[0];
    uint64_t columns = sym->tensor->dim_count == 2 ? (uint64_t)sym->tensor->dims[1] : 1;
    MYR_TRY(linear_input(eval, node, transposed ? columns : rows, &terms->columns));
    if (terms->columns->type != sym->tensor->type) MYR_ONNX_FOREIGN(eval, node, "of different types");
    uint64_t outputs = transposed ? rows : columns;
    terms->output_count = outputs <= MYR_OUTPUTS_MAX ? (uint32_t)outputs : 0;
    terms->coefficients = numbers;
    terms->step_output = transposed ? (size_t)columns : 1;
    terms->step_column = transposed ? 1 : (size_t)columns;
    return MYR_OK;
}

myr_rc myr_onnx_matmul(myr_onnx_eval *eval, const myr_onnx_node *node, myr_onnx_sym *out)
{
    linear_terms terms = {0};
    myr_onnx_scores *scores;
    MYR_TRY(linear_matrix(eval, node, false, &terms));
    MYR_TRY(linear_scores(eval, node, &terms, &scores));
    out[0] = (myr_onnx_sym){.kind = MYR_ONNX_IS_SCORES, .scores = scores};
    return MYR_OK;
}

static myr_rc gemm_intercepts(myr_onnx_eval *eval, const myr_onnx_node *node, linear_terms *terms)
{
    double *numbers;
    if (node->input_count < 3 || node->inputs[2].size == 0) return MYR_OK;
    const myr_onnx_sym *sym = myr_onnx_input(eval, node, 2, MYR_ONNX_IS_TENSOR);
    bool row =
        sym != NULL && (sym->tensor->dim_count <= 1 || (sym->tensor->dim_count == 2 && sym->tensor->dims[0] == 1));
    if (!row || (sym->tensor->count != 1 && sym->tensor->count != terms->output_count)) {
        MYR_ONNX_FOREIGN(eval, node, "its third input is no row of constants");
    }
    MYR_TRY(myr_onnx_tensor_doubles(eval->onnx, sym->tensor, &numbers));
    double *all = myr_onnx_new(eval, terms->output_count, sizeof *all);
    if (all == NULL) MYR_ONNX_ALLOC_FAIL(eval->onnx);
    for (uint32_t k = 0; k < terms->output_count; k++) {
        all[k] = numbers[sym->tensor->count == 1 ? 0 : k];
    }
    terms->intercepts = all;
    return MYR_OK;
}

myr_rc myr_onnx_gemm(myr_onnx_eval *eval, const myr_onnx_node *node, myr_onnx_sym *out)
{
    static const char *const known[] = {"alpha", "beta", "transA", "transB", NULL};
    linear_terms terms = {0};
    myr_onnx_scores *scores;
    float alpha;
    float beta;
    int64_t turn_a;
    int64_t turn_b;
    MYR_TRY(myr_onnx_check_attrs(eval->onnx, node, known));
    MYR_TRY(myr_onnx_attr_float(eval->onnx, node, "alpha", 1.0f, &alpha));
    MYR_TRY(myr_onnx_attr_float(eval->onnx, node, "beta", 1.0f, &beta));
    MYR_TRY(myr_onnx_attr_int(eval->onnx, node, "transA", 0, &turn_a));
    MYR_TRY(myr_onnx_attr_int(eval->onnx, node, "transB", 0, &turn_b));
    if (alpha != 1.0f || beta != 1.0f || turn_a != 0) MYR_ONNX_FOREIGN(eval, node, "with alpha, beta or transA");
    MYR_TRY(linear_matrix(eval, node, turn_b != 0, &terms));
    MYR_TRY(gemm_intercepts(eval, node, &terms));
    MYR_TRY(linear_scores(eval, node, &terms, &scores));
    out[0] = (myr_onnx_sym){.kind = MYR_ONNX_IS_SCORES, .scores = scores};
    return MYR_OK;
}
