/* Names of categories: LightGBM's pandas_categorical and the features it belongs to, XGBoost's cats. */
#include "xgboost_fixture.h"

#define TEXT_BYTES_MAX 4096

/* A LightGBM file whose last lines are `tail`. */
static void make_text(char out[TEXT_BYTES_MAX], const char *infos, const char *tail)
{
    int size = snprintf(out, TEXT_BYTES_MAX,
                        "tree\nversion=v4\nnum_class=1\nnum_tree_per_iteration=1\nlabel_index=0\nmax_feature_idx=3\n"
                        "objective=regression\nfeature_names=size shop kind day\nfeature_infos=%s\n\n"
                        "Tree=0\nnum_leaves=1\nnum_cat=0\nleaf_value=1\n\n\nend of trees\n\nparameters:\n"
                        "[boosting: gbdt]\n%s",
                        infos, tail);
    EXPECT(size > 0 && size < TEXT_BYTES_MAX);
}

#define INFOS "[0:9] 0:1:2 -1:1:0 none"

static myr_rc import_tail(const char *infos, const char *tail, const myr_import_opts *opts, myr_imported **out,
                          myr_err *err)
{
    char text[TEXT_BYTES_MAX];
    make_text(text, infos, tail);
    MYR_AUTO(myr_mem) copy = myr_alloc(strlen(text)); /* exactly: the sanitizer sees a read beyond */
    EXPECT(copy != NULL);
    memcpy(copy, text, strlen(text));
    return myr_import_with("m.txt", copy, strlen(text), opts, out, err);
}

static void expect_refused(const char *infos, const char *tail, const myr_import_opts *opts, myr_rc rc,
                           const char *part)
{
    myr_err err = {0};
    myr_imported *m = NULL;
    myr_rc got = import_tail(infos, tail, opts, &m, &err);
    if (got != rc) fail_msg("%s: %s %s", tail, myr_rc_name(got), got != MYR_OK ? err.message : "");
    EXPECT_HAS(err.message, part);
    EXPECT(m == NULL);
}

static void expect_names(const myr_imported *m, uint32_t feature, myr_category_kind kind, const char *joined)
{
    const myr_category_names *names = &m->desc.categories[feature];
    MYR_AUTO(myr_buf) text = {0};
    for (uint32_t i = 0; i < names->count; i++) {
        myr_buf_printf(&text, "%s%s", i > 0 ? "|" : "", names->names[i]);
        EXPECT_INT(names->kinds[i], kind);
    }
    EXPECT_STR(text.data, joined);
}

TEST(lightgbm_names_go_to_the_categorical_features)
{
    static const char *const tails[] = {
        "[categorical_feature: 1,2]\nend of parameters\n\npandas_categorical:[[\"a\", \"b \\u00e9\", \"\"], [10, "
        "-2]]\n",
        "pandas_categorical:[[\"a\", \"b \\u00e9\", \"\"], [10, -2]]", /* by feature_infos; no end of line */
        "[categorical_feature: ]\r\npandas_categorical:[[\"a\", \"b \\u00e9\", \"\"], [10, -2]]\r\n\r\n",
        "[categorical_feature: name:a]\npandas_categorical:[[\"a\", \"b \\u00e9\", \"\"], [10, -2]]\n",
    };
    for (size_t k = 0; k < MYR_COUNT_OF(tails); k++) {
        MYR_AUTO(myr_imported_ptr) m = NULL;
        myr_err err = {0};
        EXPECT_RC(import_tail(INFOS, tails[k], NULL, &m, &err), OK, &err);
        EXPECT(m->desc.categories[0].count == 0 && m->desc.categories[3].count == 0);
        expect_names(m, 1, MYR_CATEGORY_TEXT, "a|b é|");
        expect_names(m, 2, MYR_CATEGORY_NUMBER, "10|-2");
    }
}

TEST(lightgbm_names_keep_their_kind)
{
    MYR_AUTO(myr_imported_ptr) m = NULL;
    myr_err err = {0};
    EXPECT_RC(import_tail(INFOS,
                          "[categorical_feature: 1,2,3]\n"
                          "pandas_categorical:[[1.0, 2.5, 1e+20, -0.0], [false, true], [9007199254740993, Infinity]]",
                          NULL, &m, &err),
              OK, &err);
    expect_names(m, 1, MYR_CATEGORY_NUMBER, "1|2.5|1e+20|0");
    expect_names(m, 2, MYR_CATEGORY_BOOL, "false|true");
    expect_names(m, 3, MYR_CATEGORY_NUMBER, "9007199254740993|inf");
}

TEST(lightgbm_without_lists_has_no_names)
{
    static const char *const tails[] = {"pandas_categorical:null\n", "pandas_categorical:[]\n", "",
                                        "end of parameters\n"};
    for (size_t k = 0; k < MYR_COUNT_OF(tails); k++) {
        MYR_AUTO(myr_imported_ptr) m = NULL;
        myr_err err = {0};
        EXPECT_RC(import_tail(INFOS, tails[k], NULL, &m, &err), OK, &err);
        EXPECT(m->desc.categories == NULL);
    }
}

TEST(lightgbm_names_go_where_the_caller_says)
{
    static const char *const wanted[] = {"kind", "size", "day"}; /* an ordered category is a number to LightGBM */
    static const char *const renamed[] = {"a", "b", "kind", "size"};
    const char tail[] = "[categorical_feature: 1,2]\npandas_categorical:[[\"x\", \"y\"], [\"lo\", \"hi\"], []]\n";
    myr_import_opts opts = {.category_features = wanted, .category_feature_count = 3};
    MYR_AUTO(myr_imported_ptr) m = NULL;
    MYR_AUTO(myr_imported_ptr) by_new_names = NULL;
    myr_err err = {0};
    EXPECT_RC(import_tail(INFOS, tail, &opts, &m, &err), OK, &err);
    EXPECT(m->desc.categories[1].count == 0 && m->desc.categories[3].count == 0);
    expect_names(m, 2, MYR_CATEGORY_TEXT, "x|y");
    expect_names(m, 0, MYR_CATEGORY_TEXT, "lo|hi");
    opts.category_feature_count = 2;
    expect_refused(INFOS, tail, &opts, MYR_BAD_INPUT, "3 lists of categories, but 2 features are named");
    opts = (myr_import_opts){
        .feature_names = renamed, .feature_count = 4, .category_features = wanted, .category_feature_count = 2};
    EXPECT_RC(import_tail(INFOS, "pandas_categorical:[[5,6],[1]]", &opts, &by_new_names, &err), OK, &err);
    expect_names(by_new_names, 3, MYR_CATEGORY_NUMBER, "1");
    opts.feature_count = 3;
    expect_refused(INFOS, tail, &opts, MYR_BAD_INPUT, "3 feature names were given, the model has 4");
}

TEST(lightgbm_names_are_never_guessed)
{
    static const char *const twice[] = {"kind", "kind"};
    static const char *const unknown[] = {"colour"};
    static const char *const known[] = {"kind"};
    static const char *const five[] = {"size", "shop", "kind", "day", "more"};
    const char two[] = "pandas_categorical:[[1,2],[3,4]]\n";
    myr_import_opts opts = {.category_features = twice, .category_feature_count = 2};
    expect_refused(INFOS, two, &opts, MYR_BAD_INPUT, "\"kind\" is named twice");
    opts = (myr_import_opts){.category_features = unknown, .category_feature_count = 1};
    expect_refused(INFOS, two, &opts, MYR_BAD_INPUT, "\"colour\" is not a feature of the model");
    opts = (myr_import_opts){.category_features = five, .category_feature_count = 5};
    expect_refused(INFOS, two, &opts, MYR_BAD_INPUT, "\"more\" is not a feature");
    opts = (myr_import_opts){.category_features = known, .category_feature_count = 1};
    expect_refused(INFOS, "pandas_categorical:null\n", &opts, MYR_BAD_INPUT, "but the file has no categories");
    expect_refused(INFOS, "pandas_categorical:[[1],[2],[3]]", NULL, MYR_BAD_INPUT,
                   "3 lists of categories, but 2 features are categorical: say which features they belong to");
    expect_refused(INFOS, "[categorical_feature: 1]\npandas_categorical:[[1,2,3],[0,1]]", NULL, MYR_BAD_INPUT,
                   "but 1 features are categorical");
    expect_refused(INFOS, two, NULL, MYR_BAD_INPUT, "a code is beyond its list");
    expect_refused("0:1 0:1 0:1 0:1", two, NULL, MYR_BAD_INPUT, "but 4 features are categorical");
    char text[FIXTURE_BYTES_MAX];
    myr_err err = {0};
    myr_imported *m = NULL;
    fixture_change(text, fixture_json, "3,2,0", "3,2,1");
    EXPECT_RC(myr_import_with("x", text, strlen(text), &opts, &m, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, "the format is xgboost-json: only LightGBM needs them");
}

TEST(lightgbm_refuses_damaged_lists)
{
    static const struct {
        const char *tail;
        myr_rc rc;
        const char *part;
    } cases[] = {{"pandas_categorical:[[1,2,3],", MYR_BAD_FORMAT, "pandas_categorical: m.txt: byte"},
                 {"pandas_categorical:7", MYR_BAD_FORMAT, "pandas_categorical is a number, not lists"},
                 {"pandas_categorical:[[1,2,3],7]", MYR_BAD_FORMAT, "list 1 is a number"},
                 {"pandas_categorical:[[1,2,null],[1,2]]", MYR_UNSUPPORTED, "category 2 of list 1 is null"},
                 {"pandas_categorical:[[1,2,[]],[1,2]]", MYR_UNSUPPORTED, "is an array; texts, numbers and truth"},
                 {"pandas_categorical:[[1,2,NaN],[1,2]]", MYR_BAD_FORMAT, "name 2 is NaN"},
                 {"pandas_categorical:[[1,2,1.0],[1,2]]", MYR_BAD_FORMAT, "feature 1: names 0 and 2 are both \"1\""},
                 {"pandas_categorical:[[\"a\\u0000b\",2,1.0],[1,2]]", MYR_BAD_FORMAT, "has a NUL"}};
    for (size_t k = 0; k < MYR_COUNT_OF(cases); k++) {
        expect_refused(INFOS, cases[k].tail, NULL, cases[k].rc, cases[k].part);
    }
}

TEST(a_text_and_a_number_are_two_names)
{
    MYR_AUTO(myr_imported_ptr) m = NULL;
    myr_err err = {0};
    EXPECT_RC(import_tail(INFOS, "pandas_categorical:[[1,\"1\",true],[1,2]]", NULL, &m, &err), OK, &err);
    EXPECT(m->desc.categories[1].kinds[0] == MYR_CATEGORY_NUMBER &&
           m->desc.categories[1].kinds[1] == MYR_CATEGORY_TEXT);
    EXPECT_INT(m->desc.categories[1].kinds[2], MYR_CATEGORY_BOOL);
}

static void import_long_name(size_t size, myr_rc rc, const char *part)
{
    MYR_AUTO(myr_buf) text = {0};
    MYR_AUTO(myr_imported_ptr) m = NULL;
    char head[TEXT_BYTES_MAX];
    myr_err err = {0};
    make_text(head, "[0:9] 0:1 [0:1] none", "pandas_categorical:[[\"");
    myr_buf_puts(&text, head);
    for (size_t i = 0; i < size; i++)
        myr_buf_putc(&text, 'x');
    myr_buf_puts(&text, "\",\"b\"]]\n");
    myr_rc got = myr_import("m.txt", text.data, text.size, NULL, 0, &m, &err);
    EXPECT_INT(got, rc);
    if (rc != MYR_OK) EXPECT_HAS(err.message, part);
}

TEST(a_name_has_a_longest_length)
{
    import_long_name(MYR_CATEGORY_NAME_BYTES_MAX, MYR_OK, "");
    import_long_name(MYR_CATEGORY_NAME_BYTES_MAX + 1, MYR_TOO_LARGE, "name 0 has 65536 bytes, at most 65535");
}

/* ---- XGBoost ---- */

#define NO_NAMES "{\"enc\":[],\"feature_segments\":[],\"sorted_idx\":[]}"

static void expect_cats_refused(const char *enc, const char *part)
{
    char cats[1024];
    char text[FIXTURE_BYTES_MAX];
    myr_err err = {0};
    myr_imported *m = NULL;
    snprintf(cats, sizeof cats, "{\"enc\":%s,\"feature_segments\":[],\"sorted_idx\":[]}", enc);
    fixture_change(text, fixture_json, NO_NAMES, cats);
    EXPECT_RC(fixture_import(text, strlen(text), &m, &err), BAD_FORMAT, &err);
    EXPECT_HAS(err.message, part);
}

TEST(xgboost_cats_are_names)
{
    char text[FIXTURE_BYTES_MAX];
    myr_err err = {0};
    MYR_AUTO(myr_buf) ubj = {0};
    fixture_change(text, fixture_json, NO_NAMES,
                   "{\"enc\":[{\"offsets\":[],\"values\":[]},{\"offsets\":[0,1,4,4],\"values\":[97,98,99,100]},"
                   "{\"type\":15,\"values\":[10,-20]}],\"feature_segments\":[0,0,3,5],\"sorted_idx\":[0,1,2,1,0]}");
    fixture_to_ubj(text, &ubj);
    for (int is_ubj = 0; is_ubj < 2; is_ubj++) {
        MYR_AUTO(myr_imported_ptr) m = NULL;
        EXPECT_RC(is_ubj ? fixture_import(ubj.data, ubj.size, &m, &err) : fixture_import(text, strlen(text), &m, &err),
                  OK, &err);
        EXPECT_INT(m->desc.categories[0].count, 0);
        expect_names(m, 1, MYR_CATEGORY_TEXT, "a|bcd|");
        expect_names(m, 2, MYR_CATEGORY_NUMBER, "10|-20");
    }
}

/* Its Python cuts such names at the wrong bytes: the feature is one of codes, its neighbour has its names. */
TEST(xgboost_names_beyond_ascii_are_not_believed)
{
    char text[FIXTURE_BYTES_MAX];
    myr_err err = {0};
    MYR_AUTO(myr_imported_ptr) m = NULL;
    fixture_change(text, fixture_json, NO_NAMES,
                   "{\"enc\":[{\"offsets\":[],\"values\":[]},{\"offsets\":[0,1,4,4],\"values\":[97,98,-61,169]},"
                   "{\"type\":15,\"values\":[10,-20]}],\"feature_segments\":[0,0,3,5],\"sorted_idx\":[0,1,2,1,0]}");
    EXPECT_RC(fixture_import(text, strlen(text), &m, &err), OK, &err);
    EXPECT_INT(m->desc.categories[1].count, 0);
    expect_names(m, 2, MYR_CATEGORY_NUMBER, "10|-20");
}

TEST(xgboost_damaged_cats_are_refused)
{
    expect_cats_refused("[{\"offsets\":[],\"values\":[]}]", "enc has 1 entries, expected 3");
    expect_cats_refused("[1,2,3]", "enc[0] is a number, not an object");
    expect_cats_refused("[{},{},{}]", "values is missing");
    expect_cats_refused("[{\"offsets\":[0,2],\"values\":[97]},{},{}]", "offsets[1] does not rise from 0 to 1");
    expect_cats_refused("[{\"offsets\":[1,1],\"values\":[97]},{},{}]", "offsets[0] does not rise");
    expect_cats_refused("[{\"offsets\":[0,0],\"values\":[97]},{},{}]", "offsets end at 0, values has 1 bytes");
    expect_cats_refused("[{\"offsets\":[],\"values\":[97]},{},{}]", "offsets end at 0, values has 1 bytes");
    expect_cats_refused("[{\"offsets\":[0,1],\"values\":[256]},{},{}]", "values[0] is not a byte");
    expect_cats_refused("[{\"offsets\":[0,1],\"values\":[0]},{},{}]", "has a NUL");
    expect_cats_refused("[{\"type\":2,\"values\":[1.5]},{},{}]", "values[0] is not a whole number");
    expect_cats_refused("[{\"type\":15,\"values\":[1,1]},{},{}]", "names 0 and 1 are both \"1\"");
}

TEST(names_survive_each_failed_allocation)
{
    FAIL_EACH_ALLOC (nth) {
        char text[TEXT_BYTES_MAX];
        myr_imported *m = NULL;
        make_text(text, INFOS, "pandas_categorical:[[\"a\",2,true],[1.5,2]]");
        myr_rc rc = myr_import("m.txt", text, strlen(text), NULL, 0, &m, NULL);
        EXPECT(rc == MYR_OK ? m != NULL : rc == MYR_NO_MEMORY && m == NULL);
        myr_imported_free(m);
        if (rc == MYR_OK) break;
    }
}

RUN()
