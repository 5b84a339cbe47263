/* The transforms of ONNX's classifiers against values worked out by hand, and linear models of several margins. */
#include "model_fixture.h"

/* Values of one row: a linear model that passes its features through makes any margins. */
static void values_of(myr_transform transform, const double *margins, uint32_t count, double *out)
{
    double weights[9] = {0};
    MYR_ASSERT(count <= 3);
    for (uint32_t k = 0; k < count; k++) {
        weights[k * count + k] = 1.0;
    }
    myr_model_desc desc = {.kind = MYR_MODEL_LINEAR,
                           .transform = transform,
                           .feature_count = count,
                           .margin_count = count,
                           .weights = weights};
    MYR_AUTO(compiled) c = fixture_compile(&desc, NULL, count);
    myr_model_info info;
    myr_model_get_info(c.model, &info);
    EXPECT(info.margin_count == count);
    EXPECT(info.output_count == (count == 1 && transform >= MYR_TRANSFORM_ONNX_PAIR ? 2 : count));
    double rows[2 * 3];
    double values[2 * 3];
    memcpy(rows, margins, count * sizeof *rows);
    memcpy(rows + count, margins, count * sizeof *rows);
    myr_model_predict(c.model, rows, count, 2, values);
    for (uint32_t k = 0; k < info.output_count; k++) {
        out[k] = values[k];
        assert_same_bits(values[info.output_count + k], values[k]);
    }
}

TEST(transform_onnx_pairs)
{
    double x = 0.75;
    double tenth = 0.1;
    double got[2];
    values_of(MYR_TRANSFORM_ONNX_PAIR, &x, 1, got);
    EXPECT(got[0] == 0.25 && got[1] == 0.75);
    values_of(MYR_TRANSFORM_ONNX_PAIR, &tenth, 1, got);
    EXPECT(got[0] == (double)(float)0.9 && got[1] == (double)0.1f); /* the difference is taken in double */
    values_of(MYR_TRANSFORM_ONNX_PAIR_SIGNED, &x, 1, got);
    EXPECT(got[0] == -0.75 && got[1] == 0.75);
    values_of(MYR_TRANSFORM_ONNX_PAIR_LOGISTIC, &x, 1, got);
    float v = 1.0f / (1.0f + expf(-0.75f));
    EXPECT(got[1] == (double)v && got[0] == (double)(1.0f - v));
    values_of(MYR_TRANSFORM_SIGMOID_PAIR, &x, 1, got);
    EXPECT(got[1] == 1.0 / (1.0 + exp(-0.75)) && got[0] == 1.0 - got[1]);
}

TEST(transform_onnx_each)
{
    double x[3] = {0.1, -2.0, 100.0};
    double got[3];
    values_of(MYR_TRANSFORM_ONNX_FLOAT, x, 3, got);
    EXPECT(got[0] == (double)0.1f && got[1] == -2.0 && got[2] == 100.0);
    values_of(MYR_TRANSFORM_ONNX_LOGISTIC, x, 3, got);
    EXPECT(got[2] == 1.0 && got[1] == (double)(1.0f - 1.0f / (1.0f + expf(-2.0f))));
    double p[3] = {0.5, 0.25, 0.975};
    values_of(MYR_TRANSFORM_ONNX_PROBIT, p, 3, got);
    EXPECT(got[0] == 0.0 && fabs(got[1] + 0.6745) < 2e-3 && fabs(got[2] - 1.96) < 2e-2);
}

TEST(transform_onnx_over_all)
{
    double x[3] = {1.0, 0.0, -1.0};
    double got[3];
    values_of(MYR_TRANSFORM_ONNX_SOFTMAX, x, 3, got);
    float sum = 1.0f + expf(-1.0f) + expf(-2.0f);
    EXPECT(got[0] == (double)(1.0f / sum) && got[1] == (double)(expf(-1.0f) / sum));
    values_of(MYR_TRANSFORM_ONNX_SOFTMAX_ZERO, x, 3, got);
    sum = 1.0f + expf(-2.0f);
    EXPECT(got[1] == 0.0 && got[0] == (double)(1.0f / sum) && got[2] == (double)(expf(-2.0f) / sum));
    values_of(MYR_TRANSFORM_SIGMOID_SHARE, x, 3, got);
    EXPECT(fabs(got[0] + got[1] + got[2] - 1.0) < 1e-15 && fabs(got[1] - 0.5 / 1.5) < 1e-15);
}

TEST(linear_models_have_a_row_of_weights_per_margin)
{
    double weights[6] = {1.0, 2.0, 10.0, 20.0, 0.0, -1.0};
    double fills[2] = {NAN, 0.5};
    double bases[3] = {100.0, 200.0, 300.0};
    uint32_t map[2] = {1, 0};
    myr_model_desc desc = {.kind = MYR_MODEL_LINEAR,
                           .feature_count = 2,
                           .margin_count = 3,
                           .weights = weights,
                           .fills = fills,
                           .base_margins = bases};
    MYR_AUTO(compiled) c = fixture_compile(&desc, map, 2);
    double rows[4] = {4.0, 3.0, NAN, 1.0}; /* columns are the other way round */
    double got[6];
    myr_model_predict(c.model, rows, 2, 2, got);
    EXPECT(got[0] == 111.0 && got[1] == 310.0 && got[2] == 296.0);
    EXPECT(got[3] == 102.0 && got[4] == 220.0 && got[5] == 299.5);
}

TEST(pairs_need_one_margin)
{
    double weights[4] = {0};
    myr_err err = {0};
    unsigned char *bytes = NULL;
    size_t size = 0;
    myr_model_desc desc = {.kind = MYR_MODEL_LINEAR, .feature_count = 2, .margin_count = 2, .weights = weights};
    for (int t = MYR_TRANSFORM_ONNX_PAIR; t <= MYR_TRANSFORM_SIGMOID_PAIR; t++) {
        desc.transform = (myr_transform)t;
        EXPECT(myr_model_compile(&desc, NULL, 2, NULL, &bytes, &size, &err) == MYR_BAD_INPUT && bytes == NULL);
        EXPECT_HAS(err.message, "takes one margin, not 2");
    }
}

RUN()
