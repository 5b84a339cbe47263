/*
 * What ONNX's tree operators do with scores, in the types and the order of operations of ONNX Runtime's kernels, since
 * the promise is bit-equality: everything runs in float, also where the scores are sums of doubles. Two transforms of
 * linear graphs stand here too; those run in double (import.md says how close that comes).
 */
#include <float.h>
#include <math.h>

#include "model/layout.h"

static float onnx_logistic(float x)
{
    float v = 1.0f / (1.0f + expf(-fabsf(x)));
    return x < 0 ? 1.0f - v : v;
}

/* An approximation of the inverse error function (Winitzki), as the kernel writes it. */
static float onnx_probit(float p)
{
    float x = 2.0f * p - 1.0f;
    float sign = x < 0 ? -1.0f : 1.0f;
    x = (1.0f - x) * (1.0f + x);
    float log = logf(x);
    float v = 2.0f / ((float)M_PI * 0.147f) + 0.5f * log;
    float v2 = 1.0f / 0.147f * log;
    float v3 = -v + sqrtf(v * v - v2);
    return (float)M_SQRT2 * (sign * sqrtf(v3));
}

static float onnx_most(const double *margins, uint32_t count)
{
    float most = -FLT_MAX;
    for (uint32_t k = 0; k < count; k++) {
        if ((float)margins[k] > most) most = (float)margins[k];
    }
    return most;
}

/* `keep_zero`: what is nearly zero is no score and takes no part in the sum. */
static void onnx_softmax(const double *margins, uint32_t count, bool keep_zero, double *out)
{
    float most = onnx_most(margins, count);
    float least = expf(-most);
    float sum = 0.0f;
    for (uint32_t k = 0; k < count; k++) {
        float x = (float)margins[k];
        if (keep_zero && !(x > 0.0000001f || x < -0.0000001f)) {
            out[k] = (double)(x * least);
            continue;
        }
        float e = expf(x - most);
        sum += e;
        out[k] = (double)e;
    }
    for (uint32_t k = 0; k < count; k++) {
        out[k] = (double)((float)out[k] / sum);
    }
}

static double onnx_sigmoid(double x)
{
    return 1.0 / (1.0 + exp(-x));
}

static void onnx_share(const double *margins, uint32_t count, double *out)
{
    double sum = 0.0;
    for (uint32_t k = 0; k < count; k++) {
        out[k] = onnx_sigmoid(margins[k]);
        sum += out[k];
    }
    for (uint32_t k = 0; k < count; k++) {
        out[k] /= sum;
    }
}

/* Two values of one margin. */
static void onnx_pair(const model_header *h, double x, double out[2])
{
    bool single = h->calc == MYR_CALC_F32;
    switch ((myr_transform)h->transform) {
    case MYR_TRANSFORM_ONNX_PAIR:
        out[0] = single ? (double)(1.0f - (float)x) : (double)(float)(1.0 - x);
        out[1] = (double)(float)x;
        return;
    case MYR_TRANSFORM_ONNX_PAIR_SIGNED:
        out[0] = (double)-(float)x;
        out[1] = (double)(float)x;
        return;
    case MYR_TRANSFORM_ONNX_PAIR_LOGISTIC:
        out[0] = (double)onnx_logistic(-(float)x);
        out[1] = (double)onnx_logistic((float)x);
        return;
    default:
        MYR_ASSERT(h->transform == MYR_TRANSFORM_SIGMOID_PAIR);
        out[1] = onnx_sigmoid(x);
        out[0] = 1.0 - out[1];
    }
}

static double onnx_one(const model_header *h, double x)
{
    switch ((myr_transform)h->transform) {
    case MYR_TRANSFORM_ONNX_LOGISTIC:
        return (double)onnx_logistic((float)x);
    case MYR_TRANSFORM_ONNX_PROBIT:
        return (double)onnx_probit((float)x);
    default:
        return (double)(float)x;
    }
}

void myr_model_transform_onnx(const model_header *h, const double *margins, double *out)
{
    if (model_is_pair(h->transform)) {
        onnx_pair(h, margins[0], out);
    } else if (h->transform == MYR_TRANSFORM_SIGMOID_SHARE) {
        onnx_share(margins, h->margin_count, out);
    } else if (h->transform == MYR_TRANSFORM_ONNX_SOFTMAX || h->transform == MYR_TRANSFORM_ONNX_SOFTMAX_ZERO) {
        onnx_softmax(margins, h->margin_count, h->transform == MYR_TRANSFORM_ONNX_SOFTMAX_ZERO, out);
    } else {
        for (uint32_t k = 0; k < h->margin_count; k++) {
            out[k] = onnx_one(h, margins[k]);
        }
    }
}
