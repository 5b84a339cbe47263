/* The linear format both ways, how formats are told apart, and names: from file or caller, and tied to columns. */
#include <math.h>

#include "testing.h"

#include "import/import.h"

static const char good[] = "{\"format\":\"myriad-linear\",\"version\":1,\"features\":[\"a\",\"b\"],\"intercept\":1.5,"
                           "\"weights\":[2,-0.25],\"fills\":[null,4]}";

static myr_rc import_bytes(const void *data, size_t size, myr_imported **out, myr_err *err)
{
    MYR_AUTO(myr_mem) copy = myr_alloc(size > 0 ? size : 1);
    if (copy == NULL) return MYR_NO_MEMORY;
    memcpy(copy, data, size);
    return myr_import("m.json", copy, size, NULL, 0, out, err);
}

static void expect_bytes_refused(const void *data, size_t size, myr_rc rc, const char *part)
{
    myr_err err = {0};
    myr_imported *imported = NULL;
    myr_rc got = import_bytes(data, size, &imported, &err);
    if (got != rc) fail_msg("%.60s: %s %s", (const char *)data, myr_rc_name(got), got != MYR_OK ? err.message : "");
    EXPECT_HAS(err.message, part);
    EXPECT(imported == NULL);
}

/* `good` with `from` replaced by `to`. */
static void expect_refused(const char *from, const char *to, myr_rc rc, const char *part)
{
    char text[1024];
    const char *at = strstr(good, from);
    EXPECT(at != NULL);
    snprintf(text, sizeof text, "%.*s%s%s", (int)(at - good), good, to, at + strlen(from));
    expect_bytes_refused(text, strlen(text), rc, part);
}

static myr_imported *import_good(void)
{
    myr_imported *imported = NULL;
    myr_err err = {0};
    EXPECT_RC(import_bytes(good, strlen(good), &imported, &err), OK, &err);
    return imported;
}

static double predict(const myr_imported *imported, const char *const *columns, uint32_t column_count,
                      const double *row)
{
    unsigned char *bytes = NULL;
    size_t size = 0;
    const myr_model *model = NULL;
    myr_err err = {0};
    double value;
    EXPECT_RC(myr_imported_compile(imported, columns, column_count, NULL, &bytes, &size, &err), OK, &err);
    EXPECT_RC(myr_model_check(bytes, size, &model, &err), OK, &err);
    myr_model_predict(model, row, column_count, 1, &value);
    myr_free(bytes);
    return value;
}

TEST(linear_reads_and_predicts)
{
    static const char *const columns[] = {"c", "b", "a"};
    MYR_AUTO(myr_imported_ptr) m = import_good();
    EXPECT_INT(m->format, MYR_FORMAT_LINEAR);
    EXPECT_STR(m->algorithm, "linear");
    EXPECT_STR(m->objective, "");
    EXPECT(predict(m, columns, 3, (const double[]){9, 8, 3}) == 1.5 + 2 * 3 - 0.25 * 8);
    EXPECT(predict(m, columns, 3, (const double[]){9, NAN, 3}) == 1.5 + 2 * 3 - 0.25 * 4);
    EXPECT(isnan(predict(m, columns, 3, (const double[]){9, 8, NAN})));
}

TEST(linear_reads_what_it_writes)
{
    static const char *const features[] = {"pr\"ice",
                                           "d\xc3\xa9"
                                           "al",
                                           "x"};
    double weights[3] = {0.1, -1e-300, 123456789.123456789};
    double fills[3] = {NAN, 5e-324, -0.0};
    MYR_AUTO(myr_buf) text = {0};
    MYR_AUTO(myr_imported_ptr) m = NULL;
    myr_err err = {0};
    myr_linear_format(features, 3, 1.0 / 3.0, weights, fills, &text);
    EXPECT_RC(myr_buf_check(&text, &err), OK, &err);
    EXPECT_RC(import_bytes(text.data, text.size, &m, &err), OK, &err);
    EXPECT(m->desc.base_margins[0] == 1.0 / 3.0);
    for (int j = 0; j < 3; j++) {
        EXPECT_STR(m->feature_names[j], features[j]);
        EXPECT(memcmp(&m->desc.weights[j], &weights[j], sizeof(double)) == 0);
        EXPECT(isnan(fills[j]) ? isnan(m->desc.fills[j]) : memcmp(&m->desc.fills[j], &fills[j], sizeof(double)) == 0);
    }
    myr_buf_clear(&text);
    myr_linear_format(NULL, 0, 2.0, NULL, NULL, &text); /* `mean`: an intercept alone */
    MYR_AUTO(myr_imported_ptr) mean = NULL;
    EXPECT_RC(import_bytes(text.data, text.size, &mean, &err), OK, &err);
    EXPECT(predict(mean, NULL, 0, (const double[]){0}) == 2.0);
}

TEST(linear_refuses_what_is_damaged)
{
    expect_refused("myriad-linear", "myriad-linea", MYR_BAD_FORMAT, "m.json: format is not \"myriad-linear\"");
    expect_refused("\"version\":1", "\"version\":2", MYR_UNSUPPORTED, "linear format version 2");
    expect_refused("\"version\":1", "\"version\":\"1\"", MYR_BAD_FORMAT, "version is not a number");
    expect_refused("\"version\":1,", "", MYR_BAD_FORMAT, "member \"version\" is missing");
    expect_refused("\"version\":1,", "\"version\":1,\"version\":1,", MYR_BAD_FORMAT, "member \"version\" comes twice");
    expect_refused("\"intercept\"", "\"interceptx\"", MYR_BAD_FORMAT, "member \"interceptx\" is not known");
    expect_refused("1.5", "\"1.5\"", MYR_BAD_FORMAT, "intercept is not a finite number");
    expect_refused("1.5", "1e999", MYR_BAD_FORMAT, "intercept is not a finite number");
    expect_refused("[2,-0.25]", "[2]", MYR_BAD_FORMAT, "1 weights for 2 features");
    expect_refused("[2,-0.25]", "{}", MYR_BAD_FORMAT, "weights is not an array");
    expect_refused("[2,-0.25]", "[2,null]", MYR_BAD_FORMAT, "weights[1] is not a finite number");
    expect_refused("[2,-0.25]", "[2,NaN]", MYR_BAD_FORMAT, "not JSON");
    expect_refused("[null,4]", "[null]", MYR_BAD_FORMAT, "1 fills for 2 features");
    expect_refused("[null,4]", "[null,[]]", MYR_BAD_FORMAT, "fills[1] is not a finite number");
    expect_refused("[\"a\",\"b\"]", "[\"a\",1]", MYR_BAD_FORMAT, "features[1] is not a name");
    expect_refused("[\"a\",\"b\"]", "[\"a\",\"a\"]", MYR_BAD_INPUT, "features 0 and 1 are both named \"a\"");
    expect_refused("[\"a\",\"b\"]", "[\"a\",\"\"]", MYR_BAD_INPUT, "feature 1 has an empty name");
    expect_refused("[\"a\",\"b\"]", "[\"a\",\"b\\u0000\"]", MYR_BAD_FORMAT, "features[1] is not a name");
    expect_refused("[\"a\",\"b\"]", "[\"a\",\"b\\n\"]", MYR_BAD_INPUT, "feature 1 has control character 0x0a");
    expect_refused("}", "} 1", MYR_BAD_FORMAT, "not JSON");
}

TEST(linear_accepts_absent_and_null_fills)
{
    static const char *const texts[] = {
        "{\"format\":\"myriad-linear\",\"version\":1,\"features\":[\"a\"],\"intercept\":1,\"weights\":[2],\"fills\":"
        "null}",
        "{\"weights\":[2],\"intercept\":1,\"features\":[\"learner\"],\"version\":1,\"format\":\"myriad-linear\"}"};
    for (size_t k = 0; k < MYR_COUNT_OF(texts); k++) {
        MYR_AUTO(myr_imported_ptr) m = NULL;
        myr_err err = {0};
        EXPECT_RC(import_bytes(texts[k], strlen(texts[k]), &m, &err), OK, &err);
        EXPECT(m->desc.fills == NULL);
    }
}

TEST(linear_keeps_the_limit_of_its_file)
{
    MYR_AUTO(myr_mem) block = myr_alloc(MYR_LINEAR_BYTES_MAX + 1);
    MYR_AUTO(myr_imported_ptr) m = NULL;
    myr_err err = {0};
    memset(block, ' ', MYR_LINEAR_BYTES_MAX + 1);
    memcpy(block, good, strlen(good));
    EXPECT_RC(import_bytes(block, MYR_LINEAR_BYTES_MAX, &m, &err), OK, &err);
    expect_bytes_refused(block, MYR_LINEAR_BYTES_MAX + 1, MYR_TOO_LARGE, "16777217 bytes, at most 16777216");
}

TEST(linear_refuses_every_cut_and_survives_every_changed_byte)
{
    char text[sizeof good];
    for (size_t size = 0; size < strlen(good); size++) {
        myr_imported *m = NULL;
        EXPECT_RC(import_bytes(good, size, &m, NULL), BAD_FORMAT, NULL);
    }
    memcpy(text, good, sizeof good);
    for (size_t at = 0; at < strlen(good); at++) {
        for (unsigned c = 0; c < 256; c++) {
            MYR_AUTO(myr_imported_ptr) m = NULL;
            text[at] = (char)c;
            if (import_bytes(text, strlen(good), &m, NULL) == MYR_OK) {
                unsigned char *bytes = NULL;
                size_t size;
                EXPECT_RC(myr_model_compile(&m->desc, NULL, m->feature_count, NULL, &bytes, &size, NULL), OK, NULL);
                myr_free(bytes);
            }
        }
        text[at] = good[at];
    }
}

TEST(linear_survives_each_failed_allocation)
{
    FAIL_EACH_ALLOC (nth) {
        myr_imported *m = NULL;
        unsigned char *bytes = NULL;
        size_t size;
        static const char *const columns[] = {"b", "a"};
        myr_rc rc = myr_import("m.json", good, strlen(good), NULL, 0, &m, NULL);
        EXPECT(rc == MYR_OK ? m != NULL : rc == MYR_NO_MEMORY && m == NULL);
        if (rc == MYR_OK) rc = myr_imported_compile(m, columns, 2, NULL, &bytes, &size, NULL);
        EXPECT(rc == MYR_OK ? bytes != NULL : rc == MYR_NO_MEMORY && bytes == NULL);
        myr_imported_free(m);
        myr_free(bytes);
        if (rc == MYR_OK) break;
    }
}

/* ---- formats ---- */

TEST(import_tells_strangers_what_they_are)
{
    static const struct {
        const char *data;
        size_t size;
        const char *part;
    } cases[] = {{"", 0, "the file is empty"},
                 {"\x1f\x8b\x08", 3, "compressed with gzip"},
                 {"PK\x03\x04zzz", 7, "zip archive"},
                 {"\x80\x04\x95", 3, "Python pickle"},
                 {"binf1234", 8, "XGBoost's old binary"},
                 {"CONFIG-offset:123", 17, "XGBoost memory snapshot"},
                 {"hello", 5, "expected LightGBM text"},
                 {"tree", 4, "expected LightGBM text"},
                 {"  \n ", 4, "expected LightGBM text"},
                 {"{", 1, "neither \"learner\" (XGBoost) nor \"format\""},
                 {"{}", 2, "neither \"learner\""},
                 {"{\"a\":{\"learner\":1},\"b\":[\"format\"]}", 35, "neither \"learner\""},
                 {"{\"a\":\"learner\"}", 15, "neither \"learner\""},
                 {"{\"a\":\"\\\"format\"}", 16, "neither \"learner\""},
                 {"}{\"learner\":1}", 14, "expected LightGBM text"}};
    for (size_t k = 0; k < MYR_COUNT_OF(cases); k++) {
        expect_bytes_refused(cases[k].data, cases[k].size, MYR_BAD_FORMAT, cases[k].part);
    }
}

TEST(import_finds_formats_by_content)
{
    static const struct {
        const char *data;
        const char *part;
    } cases[] = {{"tree\n", "version is missing"},
                 {"\n tree\r\n", "version is missing"},
                 {" {\"version\":[1],\"format\":3}", "is not known"},
                 {"{\"format\":\"x\"}", "is missing"}};
    for (size_t k = 0; k < MYR_COUNT_OF(cases); k++) {
        myr_imported *m = NULL;
        myr_err err = {0};
        EXPECT(import_bytes(cases[k].data, strlen(cases[k].data), &m, &err) == MYR_BAD_FORMAT);
        if (k != 2) EXPECT_HAS(err.message, cases[k].part);
    }
    EXPECT_STR(myr_format_name(MYR_FORMAT_LIGHTGBM), "lightgbm");
    EXPECT_STR(myr_format_name(MYR_FORMAT_XGBOOST_JSON), "xgboost-json");
    EXPECT_STR(myr_format_name(MYR_FORMAT_XGBOOST_UBJ), "xgboost-ubj");
    EXPECT_STR(myr_format_name(MYR_FORMAT_LINEAR), "linear");
}

TEST(import_keeps_the_limit_of_files)
{
    myr_imported *m = NULL;
    myr_err err = {0};
    EXPECT_RC(myr_import("big", good, (size_t)MYR_FILE_BYTES_MAX + 1, NULL, 0, &m, &err), TOO_LARGE, &err);
    EXPECT_HAS(err.message, "big: 1073741825 bytes");
}

/* ---- names ---- */

TEST(import_takes_names_from_the_caller)
{
    static const char *const names[] = {"u", "v"};
    MYR_AUTO(myr_imported_ptr) m = NULL;
    myr_imported *none = NULL;
    myr_err err = {0};
    EXPECT_RC(myr_import("m", good, strlen(good), names, 2, &m, &err), OK, &err);
    EXPECT_STR(m->feature_names[1], "v");
    EXPECT_RC(myr_import("m", good, strlen(good), names, 1, &none, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "m: 1 feature names were given, the model has 2 features");
    static const char *const twice[] = {"u", "u"};
    EXPECT_RC(myr_import("m", good, strlen(good), twice, 2, &none, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "both named \"u\"");
}

TEST(import_keeps_the_limit_of_names)
{
    char longest[MYR_NAME_BYTES_MAX + 2];
    const char *names[2] = {"u", longest};
    myr_err err = {0};
    memset(longest, 'n', sizeof longest);
    longest[MYR_NAME_BYTES_MAX] = '\0';
    MYR_AUTO(myr_imported_ptr) m = NULL;
    EXPECT_RC(myr_import("m", good, strlen(good), names, 2, &m, &err), OK, &err);
    longest[MYR_NAME_BYTES_MAX] = 'n';
    longest[MYR_NAME_BYTES_MAX + 1] = '\0';
    myr_imported *none = NULL;
    EXPECT_RC(myr_import("m", good, strlen(good), names, 2, &none, &err), TOO_LARGE, &err);
    EXPECT_HAS(err.message, "the name of feature 1 has 129 bytes, at most 128");
}

TEST(import_names_the_feature_that_is_no_column)
{
    static const char *const near[] = {"weight", "a", "bb"};
    static const char *const far[] = {"a", "completely different"};
    unsigned char *bytes = NULL;
    size_t size = 0;
    myr_err err = {0};
    MYR_AUTO(myr_imported_ptr) m = NULL;
    static const char *const names[] = {"a", "wieght"};
    EXPECT_RC(myr_import("m", good, strlen(good), names, 2, &m, &err), OK, &err);
    EXPECT_RC(myr_imported_compile(m, near, 3, NULL, &bytes, &size, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "feature 1, \"wieght\", is not a column; did you mean \"weight\"?");
    EXPECT_RC(myr_imported_compile(m, far, 2, NULL, &bytes, &size, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "feature 1, \"wieght\", is not one of the 2 columns");
    EXPECT(bytes == NULL && size == 0);
}

static void make_wide(myr_buf *text, uint32_t count)
{
    myr_buf_puts(text, "{\"format\":\"myriad-linear\",\"version\":1,\"intercept\":0,\"features\":[");
    for (uint32_t j = 0; j < count; j++) {
        myr_buf_printf(text, "%s\"f%u\"", j > 0 ? "," : "", j);
    }
    myr_buf_puts(text, "],\"weights\":[");
    for (uint32_t j = 0; j < count; j++) {
        myr_buf_puts(text, j > 0 ? ",1" : "1");
    }
    myr_buf_puts(text, "]}");
}

TEST(import_keeps_the_limit_of_features)
{
    MYR_AUTO(myr_buf) text = {0};
    MYR_AUTO(myr_imported_ptr) m = NULL;
    myr_err err = {0};
    make_wide(&text, MYR_FEATURES_MAX);
    EXPECT_RC(import_bytes(text.data, text.size, &m, &err), OK, &err);
    EXPECT_INT(m->feature_count, MYR_FEATURES_MAX);
    myr_buf_clear(&text);
    make_wide(&text, MYR_FEATURES_MAX + 1);
    expect_bytes_refused(text.data, text.size, MYR_TOO_LARGE, "65536 features, at most 65535");
}

RUN()
