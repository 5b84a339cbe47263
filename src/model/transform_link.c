/*
 * The inverse link functions of generalised linear models, in double, by the formulas that statsmodels computes; what
 * has a transform already (identity, log, logit) keeps it.
 */
#include <math.h>

#include "model/layout.h"

#define LINK_PI 3.14159265358979323846

static double link_one(const model_header *h, double x)
{
    double p = h->transform_param;
    switch ((myr_transform)h->transform) {
    case MYR_TRANSFORM_LINK_POWER: /* margin = value^p */
        if (p == -1.0) return 1.0 / x;
        if (p == 0.5) return x * x;
        return pow(x, 1.0 / p);
    case MYR_TRANSFORM_LINK_PROBIT:
        return 0.5 * erfc(-x * M_SQRT1_2);
    case MYR_TRANSFORM_LINK_CAUCHIT:
        return 0.5 + atan(x) / LINK_PI;
    case MYR_TRANSFORM_LINK_CLOGLOG:
        return 1.0 - exp(-exp(x));
    case MYR_TRANSFORM_LINK_LOGLOG:
        return exp(-exp(-x));
    case MYR_TRANSFORM_LINK_LOGC:
        return 1.0 - exp(x);
    case MYR_TRANSFORM_LINK_NEGATIVE_BINOMIAL:
        return -1.0 / (p * (1.0 - exp(-x)));
    default:
        return x;
    }
}

void myr_model_transform_link(const model_header *h, const double *margins, double *out)
{
    for (uint32_t k = 0; k < h->margin_count; k++) {
        out[k] = link_one(h, margins[k]);
    }
}
