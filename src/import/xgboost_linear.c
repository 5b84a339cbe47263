/*
 * gblinear: a weight per feature and output, the biases last, all floats. XGBoost's predictor adds in float: bias plus
 * base, then value times weight of each feature that is not missing, in the features' order. Every output begins with
 * the base margin of output 0, whatever base_score says of the others: so does the library's.
 */
#include "import/xgboost.h"

#include <math.h>

#define XGB_EMPTY_WEIGHTS_MAX                                                                                          \
    (1 << 20) /* a model without a round has none in the file, which says nothing of its size */

static myr_rc xgb_linear_weights(myr_xgb *xgb, const float *file, double *weights, double *biases)
{
    uint32_t features = xgb->out->feature_count;
    uint32_t outputs = xgb->out->desc.margin_count;
    for (uint32_t j = 0; j <= features; j++) {
        for (uint32_t k = 0; k < outputs; k++) {
            float weight = file[(size_t)j * outputs + k];
            if (!isfinite(weight)) {
                MYR_XGB_FAIL(xgb, BAD_INPUT, "weights[%zu] is %g", (size_t)j * outputs + k, (double)weight);
            }
            *(j < features ? &weights[(size_t)k * features + j] : &biases[k]) = (double)weight;
        }
    }
    return MYR_OK;
}

myr_rc myr_xgb_read_linear(myr_xgb *xgb, myr_doc_value model, double **out_biases)
{
    enum { WEIGHTS, ROUNDS, COUNT };
    static const myr_xgb_field fields[COUNT] = {{"weights", MYR_DOC_ARRAY, false},
                                                {"boosted_rounds", MYR_DOC_NUMBER, true}};
    myr_doc_value values[COUNT];
    myr_model_desc *desc = &xgb->out->desc;
    uint64_t count = ((uint64_t)xgb->out->feature_count + 1) * desc->margin_count;
    int64_t rounds = 0; /* files before 1.6 do not say: as the library does */
    MYR_TRY(myr_xgb_fields(xgb, model, fields, COUNT, values));
    if (myr_doc_kind_of(values[ROUNDS]) != MYR_DOC_ABSENT && !myr_doc_int(values[ROUNDS], &rounds))
        MYR_XGB_FAIL(xgb, BAD_FORMAT, "boosted_rounds is not a whole number");
    bool is_empty = myr_doc_count(&xgb->doc, values[WEIGHTS]) == 0; /* before the first round: all are 0 */
    if (!is_empty) MYR_TRY(myr_xgb_expect_count(xgb, "weights", values[WEIGHTS], count)); /* before memory is taken */
    if (is_empty && count > XGB_EMPTY_WEIGHTS_MAX) {
        MYR_XGB_FAIL(xgb, TOO_LARGE, "%llu weights that the file leaves out, at most %d", (unsigned long long)count,
                     XGB_EMPTY_WEIGHTS_MAX);
    }
    if (is_empty && rounds != 0) MYR_XGB_FAIL(xgb, BAD_FORMAT, "weights is empty after %lld rounds", (long long)rounds);
    float *file = myr_xgb_alloc(xgb, (size_t)count, sizeof *file);
    double *weights = myr_xgb_alloc(xgb, (size_t)count, sizeof *weights);
    double *biases = myr_xgb_alloc(xgb, desc->margin_count, sizeof *biases);
    if (file == NULL || weights == NULL || biases == NULL)
        MYR_XGB_FAIL(xgb, NO_MEMORY, "%llu weights", (unsigned long long)count);
    if (!is_empty) MYR_TRY(myr_xgb_floats(xgb, "weights", values[WEIGHTS], count, file));
    MYR_TRY(xgb_linear_weights(xgb, file, weights, biases));
    desc->kind = MYR_MODEL_LINEAR;
    desc->weights = weights;
    xgb->is_fitted = rounds != 0;
    *out_biases = biases;
    return MYR_OK;
}

void myr_xgb_add_biases(const double *biases, uint32_t count, double *margins)
{
    float base = (float)margins[0];
    for (uint32_t k = 0; k < count; k++) {
        margins[k] = (double)((float)biases[k] + base);
    }
}
