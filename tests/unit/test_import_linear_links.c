/* Generalised linear models in our format: links, several outputs, and what is refused. */
#include <math.h>

#include "testing.h"

#include "import/import.h"

#define TEXT_BYTES_MAX 2048

/* A model of two features whose members behind `weights` are `more`. */
static void make_text(char out[TEXT_BYTES_MAX], const char *intercept, const char *weights, const char *more)
{
    int size = snprintf(out, TEXT_BYTES_MAX,
                        "{\"format\":\"myriad-linear\",\"version\":1,\"features\":[\"a\",\"b\"],\"intercept\":%s,"
                        "\"weights\":%s%s}",
                        intercept, weights, more);
    EXPECT(size > 0 && size < TEXT_BYTES_MAX);
}

static myr_rc import_copy(const char *text, myr_imported **out, myr_err *err)
{
    MYR_AUTO(myr_mem) copy = myr_alloc(strlen(text));
    EXPECT(copy != NULL);
    memcpy(copy, text, strlen(text));
    return myr_import("m.json", copy, strlen(text), NULL, 0, out, err);
}

static uint32_t predict(const char *text, const double row[2], double *out)
{
    myr_err err = {0};
    MYR_AUTO(myr_imported_ptr) m = NULL;
    MYR_AUTO(myr_mem) owned = NULL;
    unsigned char *bytes = NULL;
    size_t size = 0;
    const myr_model *model = NULL;
    myr_model_info info;
    EXPECT_RC(import_copy(text, &m, &err), OK, &err);
    EXPECT_RC(myr_model_compile(&m->desc, NULL, 2, NULL, &bytes, &size, &err), OK, &err);
    owned = bytes;
    EXPECT_RC(myr_model_check(bytes, size, &model, &err), OK, &err);
    myr_model_get_info(model, &info);
    myr_model_predict(model, row, 2, 1, out);
    return info.output_count;
}

static void expect_refused(const char *intercept, const char *weights, const char *more, myr_rc rc, const char *part)
{
    char text[TEXT_BYTES_MAX];
    myr_err err = {0};
    myr_imported *m = NULL;
    make_text(text, intercept, weights, more);
    myr_rc got = import_copy(text, &m, &err);
    if (got != rc) fail_msg("%s: %s: %s", part, myr_rc_name(got), err.message);
    EXPECT_HAS(err.message, part);
    EXPECT(m == NULL && strncmp(err.message, "m.json", 6) == 0);
}

/* The margin is x = 0.25 + 0.5 a; known values, from tables or by another formula than the program's. */
TEST(each_link_has_its_inverse)
{
    static const struct {
        const char *more;
        double a, value;
    } cases[] = {
        {"", 1.5, 1.0},
        {",\"link\":\"identity\"", 1.5, 1.0},
        {",\"link\":\"log\"", 1.5, 2.718281828459045},
        {",\"link\":\"logit\"", -0.5, 0.5},
        {",\"link\":\"logit\"", 1.5, 0.7310585786300049},
        {",\"link\":\"probit\"", -0.5, 0.5},
        {",\"link\":\"probit\"", 3.42, 0.9750021048517795},
        {",\"link\":\"probit\"", -4.42, 0.02499789514822044},
        {",\"link\":\"cauchit\"", 1.5, 0.75},
        {",\"link\":\"cloglog\"", -0.5, 0.6321205588285577},
        {",\"link\":\"loglog\"", -0.5, 0.36787944117144233},
        {",\"link\":\"logc\"", -2.5, 0.6321205588285577},
        {",\"link\":\"inverse\"", 3.5, 0.5},
        {",\"link\":\"inverse_squared\"", 7.5, 0.5},
        {",\"link\":\"sqrt\"", 5.5, 9.0},
        {",\"link\":\"power\",\"link_param\":0.5", 5.5, 9.0},
        {",\"link\":\"power\",\"link_param\":3", 15.5, 2.0},
        {",\"link\":\"power\",\"link_param\":-3", 15.5, 0.5},
        {",\"link\":\"negative_binomial\",\"link_param\":2", -2.5, 0.2909883534346632},
    };
    for (size_t k = 0; k < MYR_COUNT_OF(cases); k++) {
        char text[TEXT_BYTES_MAX];
        const double row[2] = {cases[k].a, 7.0};
        double value = 0;
        make_text(text, "0.25", "[0.5,0]", cases[k].more);
        EXPECT_INT(predict(text, row, &value), 1);
        if (!(fabs(value - cases[k].value) <= 4e-15 * fabs(cases[k].value)))
            fail_msg("%s: %.17g, not %.17g", cases[k].more, value, cases[k].value);
    }
}

TEST(several_outputs_have_their_own_weights)
{
    char text[TEXT_BYTES_MAX];
    const double row[2] = {2.0, 3.0};
    double out[3];
    make_text(text, "[1,2,3]", "[[1,0],[0,1],[-1,1]]", "");
    EXPECT_INT(predict(text, row, out), 3);
    EXPECT(out[0] == 3.0 && out[1] == 5.0 && out[2] == 4.0);
    make_text(text, "[1,2,3]", "[[1,0],[0,1],[-1,1]]", ",\"link\":\"softmax\"");
    predict(text, row, out);
    double sum = exp(-2.0) + 1.0 + exp(-1.0);
    EXPECT(fabs(out[0] - exp(-2.0) / sum) < 1e-15 && fabs(out[1] - 1.0 / sum) < 1e-15);
    EXPECT(fabs(out[0] + out[1] + out[2] - 1.0) < 1e-15);
    make_text(text, "[1,2,3]", "[[1,0],[0,1],[-1,1]]", ",\"link\":\"one_vs_rest\"");
    predict(text, row, out);
    double s[3] = {1 / (1 + exp(-3.0)), 1 / (1 + exp(-5.0)), 1 / (1 + exp(-4.0))};
    for (int k = 0; k < 3; k++)
        EXPECT(fabs(out[k] - s[k] / (s[0] + s[1] + s[2])) < 1e-15);
    make_text(text, "[1,2,3]", "[[1,0],[0,1],[-1,1]]", ",\"link\":\"logit\"");
    predict(text, row, out);
    for (int k = 0; k < 3; k++)
        EXPECT(fabs(out[k] - s[k]) < 1e-15); /* labels of their own */
    make_text(text, "[1]", "[[1,0]]", ",\"link\":\"log\"");
    EXPECT_INT(predict(text, row, out), 1);
    EXPECT(out[0] == exp(3.0));
}

TEST(fills_stand_for_missing_values_of_every_output)
{
    char text[TEXT_BYTES_MAX];
    const double row[2] = {NAN, NAN};
    double out[2];
    make_text(text, "[1,2]", "[[1,10],[2,20]]", ",\"fills\":[0.5,4]");
    predict(text, row, out);
    EXPECT(out[0] == 41.5 && out[1] == 83.0);
    make_text(text, "[1,2]", "[[1,10],[2,20]]", ",\"fills\":[0.5,null],\"link\":\"log\"");
    predict(text, row, out);
    EXPECT(isnan(out[0]) && isnan(out[1]));
}

TEST(links_and_shapes_that_are_wrong_are_refused)
{
    static const struct {
        const char *intercept, *weights, *more;
        myr_rc rc;
        const char *part;
    } cases[] = {
        {"1", "[1,2]", ",\"link\":\"tanh\"", MYR_UNSUPPORTED, "link \"tanh\" is not known"},
        {"1", "[1,2]", ",\"link\":3", MYR_BAD_FORMAT, "link is not a name"},
        {"1", "[1,2]", ",\"link\":\"power\"", MYR_BAD_FORMAT, "link power needs link_param"},
        {"1", "[1,2]", ",\"link\":\"power\",\"link_param\":0", MYR_BAD_FORMAT,
         "link_param is not a number other than 0"},
        {"1", "[1,2]", ",\"link\":\"negative_binomial\",\"link_param\":-1", MYR_BAD_FORMAT, "not a number above 0"},
        {"1", "[1,2]", ",\"link\":\"power\",\"link_param\":\"2\"", MYR_BAD_FORMAT, "link_param is not a number"},
        {"1", "[1,2]", ",\"link\":\"log\",\"link_param\":2", MYR_BAD_FORMAT, "link_param, but link log takes none"},
        {"1", "[1,2]", ",\"link_param\":2", MYR_BAD_FORMAT, "link_param, but link identity takes none"},
        {"1", "[1,2]", ",\"link\":\"softmax\"", MYR_BAD_FORMAT, "link softmax needs at least two outputs"},
        {"[1]", "[[1,2]]", ",\"link\":\"one_vs_rest\"", MYR_BAD_FORMAT, "needs at least two outputs"},
        {"[]", "[]", "", MYR_BAD_FORMAT, "intercept is empty"},
        {"[1,2]", "[1,2]", "", MYR_BAD_FORMAT, "weights[0] is not an array"},
        {"[1,2]", "[[1,2]]", "", MYR_BAD_FORMAT, "weights has 1 arrays for 2 intercepts"},
        {"[1,2]", "[[1,2],[3]]", "", MYR_BAD_FORMAT, "1 weights[1] for 2 features"},
        {"[1,2]", "[[1,2],[3,null]]", "", MYR_BAD_FORMAT, "weights[1][1] is not a finite number"},
        {"[1,null]", "[[1,2],[3,4]]", "", MYR_BAD_FORMAT, "intercept[1] is not a finite number"},
        {"1", "[[1,2]]", "", MYR_BAD_FORMAT, "1 weights for 2 features"},
        {"1", "[1,2]", ",\"link\":\"log\",\"link\":\"log\"", MYR_BAD_FORMAT, "member \"link\" comes twice"},
    };
    for (size_t k = 0; k < MYR_COUNT_OF(cases); k++) {
        expect_refused(cases[k].intercept, cases[k].weights, cases[k].more, cases[k].rc, cases[k].part);
    }
}

static void make_outputs(myr_buf *text, uint32_t count)
{
    myr_buf_puts(text, "{\"format\":\"myriad-linear\",\"version\":1,\"features\":[],\"intercept\":[");
    for (uint32_t k = 0; k < count; k++)
        myr_buf_puts(text, k > 0 ? ",1" : "1");
    myr_buf_puts(text, "],\"weights\":[");
    for (uint32_t k = 0; k < count; k++)
        myr_buf_puts(text, k > 0 ? ",[]" : "[]");
    myr_buf_puts(text, "]}");
}

TEST(outputs_have_a_limit)
{
    MYR_AUTO(myr_buf) text = {0};
    MYR_AUTO(myr_imported_ptr) m = NULL;
    myr_imported *none = NULL;
    myr_err err = {0};
    make_outputs(&text, MYR_OUTPUTS_MAX);
    EXPECT_RC(import_copy(text.data, &m, &err), OK, &err);
    EXPECT_INT(m->desc.margin_count, MYR_OUTPUTS_MAX);
    myr_buf_clear(&text);
    make_outputs(&text, MYR_OUTPUTS_MAX + 1);
    EXPECT_RC(import_copy(text.data, &none, &err), TOO_LARGE, &err);
    EXPECT_HAS(err.message, "intercept has 1025 numbers, at most 1024");
}

TEST(compile_refuses_a_link_in_float)
{
    double weights[1] = {1.0};
    myr_model_desc desc = {.kind = MYR_MODEL_LINEAR,
                           .calc = MYR_CALC_F32,
                           .transform = MYR_TRANSFORM_LINK_PROBIT,
                           .feature_count = 1,
                           .margin_count = 1,
                           .weights = weights};
    unsigned char *bytes = NULL;
    size_t size = 0;
    myr_err err = {0};
    EXPECT_RC(myr_model_compile(&desc, NULL, 1, NULL, &bytes, &size, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "a link, is in double only");
    desc.calc = MYR_CALC_F64;
    desc.transform = MYR_TRANSFORM_LINK_POWER;
    EXPECT_RC(myr_model_compile(&desc, NULL, 1, NULL, &bytes, &size, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "the parameter 0 of transform");
}

TEST(links_survive_each_failed_allocation)
{
    char text[TEXT_BYTES_MAX];
    make_text(text, "[1,2]", "[[1,10],[2,20]]", ",\"fills\":[0.5,4],\"link\":\"softmax\"");
    FAIL_EACH_ALLOC (nth) {
        myr_imported *m = NULL;
        myr_rc rc = myr_import("m", text, strlen(text), NULL, 0, &m, NULL);
        EXPECT(rc == MYR_OK ? m != NULL : rc == MYR_NO_MEMORY && m == NULL);
        myr_imported_free(m);
        if (rc == MYR_OK) break;
    }
}

RUN()
