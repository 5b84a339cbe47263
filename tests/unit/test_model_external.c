/* Models that are not ours, as bytes: what compile writes check accepts, and every change of a byte is seen or
 * harmless. */
#include <math.h>

#include "model/layout.h"
#include "testing.h"

static unsigned char sha[MYR_SHA256_BYTES] = {1, 2, 3, 250};
static const uint32_t columns[] = {4, 0, 2};
static const uint8_t texts[] = {0, 1, 0};

static myr_external_desc external_desc(void)
{
    return (myr_external_desc){"onnxruntime", sha, columns, texts, 3, 2};
}

static void external_compile(const myr_external_desc *desc, uint32_t column_count, unsigned char **bytes, size_t *size)
{
    myr_err err = {0};
    assert_int_equal(myr_model_compile_external(desc, column_count, bytes, size, &err), MYR_OK);
}

TEST(what_is_compiled_is_read_back)
{
    myr_external_desc desc = external_desc();
    MYR_AUTO(myr_mem) bytes = NULL;
    size_t size = 0;
    const myr_model *model = NULL;
    myr_external external;
    myr_model_info info;
    external_compile(&desc, 5, (unsigned char **)&bytes, &size);
    EXPECT_INT(size, 192);
    EXPECT_RC(myr_model_check(bytes, size, &model, NULL), OK, NULL);
    EXPECT(myr_model_is_external(model) && myr_model_external(model, &external));
    EXPECT_STR(external.runtime, "onnxruntime");
    EXPECT(memcmp(external.sha256, sha, sizeof sha) == 0);
    EXPECT_INT(external.feature_count, 3);
    EXPECT_INT(external.output_count, 2);
    EXPECT_INT(external.columns[0], 4);
    EXPECT_INT(external.columns[1], MYR_EXTERNAL_TEXT | 0);
    EXPECT_INT(MYR_EXTERNAL_COLUMN(external.columns[2]), 2);
    myr_model_get_info(model, &info);
    EXPECT(info.kind == MYR_MODEL_EXTERNAL && info.column_count == 5 && info.output_count == 2);
}

TEST(our_kernels_give_no_number_for_it)
{
    myr_external_desc desc = external_desc();
    MYR_AUTO(myr_mem) bytes = NULL;
    size_t size = 0;
    const myr_model *model = NULL;
    double row[5] = {1, 2, 3, 4, 5}, values[2] = {7, 7};
    external_compile(&desc, 5, (unsigned char **)&bytes, &size);
    EXPECT_RC(myr_model_check(bytes, size, &model, NULL), OK, NULL);
    myr_model_predict(model, row, 5, 1, values);
    EXPECT(isnan(values[0]) && isnan(values[1]));
    values[0] = values[1] = 7;
    myr_model_margins(model, row, 5, 1, values);
    EXPECT(isnan(values[0]) && isnan(values[1]));
}

TEST(a_tree_is_not_external)
{
    model_header h = {.magic = MODEL_MAGIC, .version = MODEL_LAYOUT_VERSION, .kind = MYR_MODEL_TREES};
    myr_external external;
    EXPECT(!myr_model_is_external((const myr_model *)(const void *)&h));
    EXPECT(!myr_model_external((const myr_model *)(const void *)&h, &external));
}

TEST(limits_hold_at_them_and_one_past)
{
    myr_external_desc desc = external_desc();
    unsigned char *bytes = NULL;
    size_t size = 0;
    myr_err err = {0};
    desc.output_count = MYR_OUTPUTS_MAX;
    external_compile(&desc, MYR_FEATURES_MAX, &bytes, &size);
    myr_free(bytes);
    desc.output_count = MYR_OUTPUTS_MAX + 1;
    EXPECT_RC(myr_model_compile_external(&desc, 5, &bytes, &size, &err), TOO_LARGE, &err);
    desc.output_count = 0;
    EXPECT_RC(myr_model_compile_external(&desc, 5, &bytes, &size, &err), TOO_LARGE, &err);
    desc = external_desc();
    EXPECT_RC(myr_model_compile_external(&desc, MYR_FEATURES_MAX + 1, &bytes, &size, &err), TOO_LARGE, &err);
    EXPECT_RC(myr_model_compile_external(&desc, 4, &bytes, &size, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "feature 0 is column 4 of 4");
    desc.runtime = "";
    EXPECT_RC(myr_model_compile_external(&desc, 5, &bytes, &size, &err), BAD_INPUT, &err);
    desc.runtime = "abcdefghijklmnopqrstuvwxyzabcdef"; /* 32 */
    EXPECT_RC(myr_model_compile_external(&desc, 5, &bytes, &size, &err), BAD_INPUT, &err);
    desc.runtime = "abcdefghijklmnopqrstuvwxyzabcde";
    external_compile(&desc, 5, &bytes, &size);
    const myr_model *model = NULL;
    EXPECT_RC(myr_model_check(bytes, size, &model, &err), OK, NULL);
    myr_free(bytes);
}

TEST(no_changed_byte_breaks_the_check)
{
    myr_external_desc desc = external_desc();
    MYR_AUTO(myr_mem) block = NULL;
    size_t size = 0;
    external_compile(&desc, 5, (unsigned char **)&block, &size);
    unsigned char *bytes = block;
    for (size_t at = 0; at < size; at++) {
        unsigned char was = bytes[at];
        for (unsigned bit = 0; bit < 8; bit++) {
            const myr_model *model = NULL;
            myr_external external = {0};
            bytes[at] = (unsigned char)(was ^ (1u << bit));
            bool is_sha = at >= 96 && at < 128;
            myr_rc rc = myr_model_check(bytes, size, &model, NULL);
            EXPECT(!is_sha || rc == MYR_OK);
            if (rc != MYR_OK) continue;
            EXPECT(myr_model_external(model, &external));
            for (uint32_t j = 0; j < external.feature_count; j++) {
                myr_model_info info;
                myr_model_get_info(model, &info);
                EXPECT(MYR_EXTERNAL_COLUMN(external.columns[j]) < info.column_count);
            }
        }
        bytes[at] = was;
    }
    for (size_t cut = 0; cut < size; cut++) {
        const myr_model *model = NULL;
        EXPECT(myr_model_check(bytes, cut, &model, NULL) != MYR_OK);
    }
}

RUN()
