/*
 * Everything a model can answer beside its value: which outputs there are, how wide each is, and why one is not to be
 * had. A margin is what the transform starts from; probabilities are the transforms of classifiers, one per class.
 */
#include <math.h>
#include <string.h>

#include "model/explain.h"

static const char *const output_names[] = {"value", "margin", "probability", "leaf", "contribution"};
_Static_assert(MYR_COUNT_OF(output_names) == MYR_OUTPUT_COUNT, "a name per output");

const char *myr_output_name(myr_output output)
{
    MYR_ASSERT((unsigned)output < MYR_OUTPUT_COUNT);
    return output_names[output];
}

bool myr_output_parse(myr_str name, myr_output *out)
{
    for (unsigned k = 0; k < MYR_OUTPUT_COUNT; k++) {
        if (myr_str_is(name, output_names[k])) {
            *out = (myr_output)k;
            return true;
        }
    }
    return false;
}

/* A copy of the header; false if its page is gone. */
static bool output_open(const myr_model *model, model_header *h)
{
    memcpy(h, model, sizeof *h);
    return h->magic == MODEL_MAGIC;
}

/* ---- what a model has ---- */

static size_t output_probabilities(const model_header *h)
{
    switch ((myr_transform)h->transform) {
    case MYR_TRANSFORM_SIGMOID:
        return h->margin_count == 1 ? 2 : h->margin_count; /* several: each margin is a label of its own */
    case MYR_TRANSFORM_SIGMOID_EACH:
    case MYR_TRANSFORM_SOFTMAX:
    case MYR_TRANSFORM_HARD_MAX:
    case MYR_TRANSFORM_ONNX_LOGISTIC:
    case MYR_TRANSFORM_ONNX_SOFTMAX:
    case MYR_TRANSFORM_ONNX_SOFTMAX_ZERO:
    case MYR_TRANSFORM_ONNX_PROBIT:
    case MYR_TRANSFORM_SIGMOID_SHARE:
        return h->margin_count;
    case MYR_TRANSFORM_ONNX_PAIR:
    case MYR_TRANSFORM_ONNX_PAIR_LOGISTIC:
    case MYR_TRANSFORM_SIGMOID_PAIR:
        return 2;
    default:
        return 0;
    }
}

static const char *output_why_no_section(myr_output output, const explain_view *v)
{
    if (v->h.lack == EXPLAIN_DEEP) return "a tree of the model is too deep to be explained";
    if (output == MYR_OUTPUT_LEAF) return NULL;
    switch ((explain_lack)v->h.lack) {
    case EXPLAIN_NO_COVERS:
        return "the model's file does not say how many training rows its nodes have, so there are no contributions";
    case EXPLAIN_BAD_COVERS:
        return "some nodes of the model's file have no training rows, so there are no contributions";
    case EXPLAIN_LINES:
        return "the model has linear trees, whose contributions are not defined (LightGBM refuses them too)";
    default:
        return NULL;
    }
}

const char *myr_model_why_not(const myr_model *model, myr_output output)
{
    model_header h;
    explain_view v;
    MYR_ASSERT((unsigned)output < MYR_OUTPUT_COUNT);
    if (!output_open(model, &h)) return NULL; /* it answers nothing, as a value does */
    if (h.kind == MYR_MODEL_EXTERNAL) {
        return output == MYR_OUTPUT_VALUE ? NULL : "the model runs in another runtime, which gives values only";
    }
    switch (output) {
    case MYR_OUTPUT_PROBABILITY:
        return output_probabilities(&h) > 0 ? NULL : "the model is not a classifier, so there are no probabilities";
    case MYR_OUTPUT_LEAF:
    case MYR_OUTPUT_CONTRIBUTION:
        if (h.kind == MYR_MODEL_LINEAR) {
            return output == MYR_OUTPUT_LEAF ? "the model is linear and has no leaves" : NULL;
        }
        if (!myr_explain_open(model, &h, &v)) {
            return "the model was compiled without explanations: release it with 'myriad release create --explain'";
        }
        return output_why_no_section(output, &v);
    default:
        return NULL;
    }
}

bool myr_model_has_explanations(const myr_model *model)
{
    section_head head;
    return myr_section_find(model, SECTION_EXPLAIN, &head) != NULL;
}

size_t myr_model_width(const myr_model *model, myr_output output)
{
    model_header h;
    if (!output_open(model, &h) || myr_model_why_not(model, output) != NULL) return 0;
    switch (output) {
    case MYR_OUTPUT_VALUE:
        return model_output_count(&h);
    case MYR_OUTPUT_MARGIN:
        return h.margin_count;
    case MYR_OUTPUT_PROBABILITY:
        return output_probabilities(&h);
    case MYR_OUTPUT_LEAF:
        return h.tree_count;
    default:
        return (size_t)h.margin_count * ((size_t)h.column_count + 1);
    }
}

/* ---- answering ---- */

/* Two probabilities of one margin; XGBoost's and LightGBM's scikit-learn faces make the first as 1 - p. */
static void output_pair(const model_header *h, const double *margin, double *out)
{
    double p;
    if (model_is_pair(h->transform)) {
        myr_model_transform(h, margin, out);
        return;
    }
    myr_model_transform(h, margin, &p);
    out[1] = p;
    out[0] = h->calc == MYR_CALC_F32 ? (double)(1.0f - (float)p) : 1.0 - p;
}

static void output_probability(const myr_model *model, const model_header *h, const double *rows, size_t row_stride,
                               size_t row_count, double *out)
{
    size_t width = output_probabilities(h);
    model_header soft = *h;
    if (h->transform == MYR_TRANSFORM_HARD_MAX) soft.transform = MYR_TRANSFORM_SOFTMAX;
    myr_model_margins(model, rows, row_stride, row_count, out); /* fewer than probabilities: spread from behind */
    MYR_ASSERT(width == h->margin_count || (width == 2 && h->margin_count == 1));
    for (size_t i = row_count; i-- > 0;) {
        if (width == h->margin_count) {
            myr_model_transform(&soft, out + i * width, out + i * width);
        } else {
            double margin = out[i];
            output_pair(&soft, &margin, out + 2 * i);
        }
    }
}

/*
 * A linear margin is a sum already: column j adds weight * (x - fill), and the base is the margin of a row of fills.
 * Where fills are the training means these are the SHAP values of independent features; where there are none (or
 * zeros, as in XGBoost's gblinear) they are weight * x.
 */
static void output_linear(const myr_model *model, const model_header *h, const double *rows, size_t row_stride,
                          size_t row_count, double *out)
{
    const unsigned char *bytes = (const unsigned char *)model;
    model_map map = model_map_of(h);
    const model_term *terms = (const model_term *)(const void *)(bytes + map.items_at);
    const double *bases = (const double *)(const void *)(bytes + map.bases_at);
    size_t width = (size_t)h->column_count + 1;
    memset(out, 0, row_count * h->margin_count * width * sizeof *out);
    for (size_t i = 0; i < row_count; i++, out += h->margin_count * width) {
        for (size_t k = 0; k < h->margin_count; k++) {
            out[k * width + h->column_count] = bases[k];
        }
        for (uint32_t j = 0; j < h->item_count; j++) {
            double x = rows[i * row_stride + terms[j].column];
            if (h->calc == MYR_CALC_F32 && isnan(x)) continue; /* gblinear leaves it out */
            double fill = isnan(terms[j].fill) ? 0.0 : terms[j].fill;
            double *to = out + terms[j].output * width;
            if (isnan(x) && (h->calc == MYR_CALC_F32 || !isnan(terms[j].fill))) x = fill; /* F32 leaves it out */
            to[terms[j].column] += terms[j].weight * (x - fill);
            to[h->column_count] += terms[j].weight * fill;
        }
    }
}

static myr_rc output_contribution(const myr_model *model, const model_header *h, const double *rows, size_t row_stride,
                                  size_t row_count, double *out, myr_err *err)
{
    explain_view v;
    size_t width = (size_t)h->margin_count * ((size_t)h->column_count + 1);
    if (h->kind == MYR_MODEL_LINEAR) {
        output_linear(model, h, rows, row_stride, row_count, out);
        return MYR_OK;
    }
    if (!myr_explain_open(model, h, &v)) return MYR_OK;
    MYR_TRY(myr_explain_shap(&v, h->column_count, rows, row_stride, row_count, out, err));
    for (size_t k = 0; (h->flags & MODEL_AVERAGE) != 0 && k < row_count * width; k++) {
        out[k] /= (double)h->average_over;
    }
    return MYR_OK;
}

myr_rc myr_model_predict_as(const myr_model *model, myr_output output, const double *rows, size_t row_stride,
                            size_t row_count, double *out, myr_err *err)
{
    model_header h;
    explain_view v;
    const char *why = myr_model_why_not(model, output);
    if (why != NULL) MYR_FAIL(err, UNSUPPORTED, "%s: %s", myr_output_name(output), why);
    if (!output_open(model, &h)) return MYR_OK;
    MYR_ASSERT(row_count < 2 || row_stride >= h.column_count);
    switch (output) {
    case MYR_OUTPUT_MARGIN:
        myr_model_margins(model, rows, row_stride, row_count, out);
        return MYR_OK;
    case MYR_OUTPUT_PROBABILITY:
        output_probability(model, &h, rows, row_stride, row_count, out);
        return MYR_OK;
    case MYR_OUTPUT_LEAF:
        if (myr_explain_open(model, &h, &v)) myr_explain_leaves(&v, rows, row_stride, row_count, out);
        return MYR_OK;
    case MYR_OUTPUT_CONTRIBUTION:
        return output_contribution(model, &h, rows, row_stride, row_count, out, err);
    default:
        myr_model_predict(model, rows, row_stride, row_count, out);
        return MYR_OK;
    }
}
