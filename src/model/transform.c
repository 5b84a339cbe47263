/*
 * Margins become values. Each formula keeps the type and the order of operations of the library it comes from, since
 * the promise is bit-equality: LightGBM's in double, XGBoost's in float. Nothing here may be vectorised or rearranged.
 */
#include <math.h>

#include "model/layout.h"

/* XGBoost clamps the exponent so that expf stays finite, and adds an epsilon that float arithmetic swallows. */
#define TRANSFORM_EXPONENT_MAX 88.7f

static float transform_sigmoid_float(float x)
{
    float exponent = TRANSFORM_EXPONENT_MAX < -x ? TRANSFORM_EXPONENT_MAX : -x; /* a NaN stays one */
    float denominator = expf(exponent) + 1.0f + 1e-16f;
    return 1.0f / denominator;
}

static void transform_softmax_float(const double *margins, uint32_t count, double *out)
{
    float most = (float)margins[0];
    for (uint32_t k = 1; k < count; k++) {
        most = fmaxf((float)margins[k], most);
    }
    double sum = 0.0; /* XGBoost sums the floats in double, then rounds once */
    for (uint32_t k = 0; k < count; k++) {
        float e = expf((float)margins[k] - most);
        sum += (double)e;
        out[k] = (double)e;
    }
    for (uint32_t k = 0; k < count; k++) {
        out[k] = (double)((float)out[k] / (float)sum);
    }
}

static void transform_softmax(const double *margins, uint32_t count, double *out)
{
    double most = margins[0];
    for (uint32_t k = 1; k < count; k++) {
        most = margins[k] < most ? most : margins[k]; /* std::max(margins[k], most) */
    }
    double sum = 0.0;
    for (uint32_t k = 0; k < count; k++) {
        out[k] = exp(margins[k] - most);
        sum += out[k];
    }
    for (uint32_t k = 0; k < count; k++) {
        out[k] /= sum;
    }
}

/* The number of the first largest margin. */
static double transform_hard_max(const double *margins, uint32_t count)
{
    uint32_t best = 0;
    for (uint32_t k = 1; k < count; k++) {
        if (margins[k] > margins[best]) best = k;
    }
    return (double)best;
}

static double transform_one_float(const model_header *h, float x)
{
    switch ((myr_transform)h->transform) {
    case MYR_TRANSFORM_SIGMOID:
    case MYR_TRANSFORM_SIGMOID_EACH:
        return (double)transform_sigmoid_float(x);
    case MYR_TRANSFORM_EXP:
        return (double)expf(x);
    case MYR_TRANSFORM_SIGNED_SQUARE:
        return (double)((float)((x > 0) - (x < 0)) * x * x);
    case MYR_TRANSFORM_LOG1P_EXP:
        return (double)log1pf(expf(x));
    case MYR_TRANSFORM_STEP:
        return x > 0 ? 1.0 : 0.0;
    default:
        return (double)x;
    }
}

static double transform_one(const model_header *h, double x)
{
    switch ((myr_transform)h->transform) {
    case MYR_TRANSFORM_SIGMOID:
    case MYR_TRANSFORM_SIGMOID_EACH:
        return 1.0 / (1.0 + exp(-h->transform_param * x));
    case MYR_TRANSFORM_EXP:
        return exp(x);
    case MYR_TRANSFORM_SIGNED_SQUARE:
        return (double)((x > 0) - (x < 0)) * x * x;
    case MYR_TRANSFORM_LOG1P_EXP:
        return log1p(exp(x));
    case MYR_TRANSFORM_STEP:
        return x > 0 ? 1.0 : 0.0;
    default:
        return x;
    }
}

void myr_model_transform(const model_header *h, const double *margins, double *out)
{
    bool single = h->calc == MYR_CALC_F32;
    if (h->transform >= MYR_TRANSFORM_LINK_POWER) {
        myr_model_transform_link(h, margins, out);
    } else if (h->transform >= MYR_TRANSFORM_ONNX_FLOAT) {
        myr_model_transform_onnx(h, margins, out);
    } else if (h->transform == MYR_TRANSFORM_HARD_MAX) {
        MYR_ASSERT(out != margins || h->margin_count == 1);
        out[0] = transform_hard_max(margins, h->margin_count);
    } else if (h->transform == MYR_TRANSFORM_SOFTMAX && single) {
        transform_softmax_float(margins, h->margin_count, out);
    } else if (h->transform == MYR_TRANSFORM_SOFTMAX) {
        transform_softmax(margins, h->margin_count, out);
    } else {
        for (uint32_t k = 0; k < h->margin_count; k++) {
            out[k] = single ? transform_one_float(h, (float)margins[k]) : transform_one(h, margins[k]);
        }
    }
}
