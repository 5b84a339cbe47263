/* XGBoost models read: what a good file becomes, in both formats, and how its numbers are understood. */
#include <float.h>
#include <math.h>

#include "import/xgboost_doc.h"
#include "xgboost_fixture.h"

TEST(json_becomes_a_description)
{
    myr_err err = {0};
    myr_imported *imported = NULL;
    EXPECT_RC(fixture_import(fixture_json, strlen(fixture_json), &imported, &err), OK, &err);
    EXPECT_STR(imported->algorithm, "xgboost");
    EXPECT_STR(imported->objective, "reg:squarederror");
    EXPECT_INT(imported->format, MYR_FORMAT_XGBOOST_JSON);
    EXPECT_INT(imported->feature_count, 3);
    EXPECT_STR(imported->feature_names[1], "b");
    const myr_model_desc *desc = &imported->desc;
    EXPECT_INT(desc->calc, MYR_CALC_F32);
    EXPECT_INT(desc->margin_count, 1);
    EXPECT(desc->base_margins[0] == 1.0);
    EXPECT_INT(desc->tree_count, 2);
    EXPECT_INT(desc->trees[0].split_count, 2);
    EXPECT_INT(desc->trees[0].leaf_count, 3);
    const myr_split *root = &desc->trees[0].splits[0];
    EXPECT_INT(root->feature, 2);
    EXPECT_INT(root->left, 1);
    EXPECT_INT(root->right, ~0);
    EXPECT(root->threshold == (double)nextafterf(0.5f, -INFINITY));
    EXPECT_INT(root->default_left, 1);
    EXPECT_INT(root->missing, MYR_MISSING_NAN);
    const myr_split *set = &desc->trees[0].splits[1];
    EXPECT_INT(set->is_category, 1);
    EXPECT_INT(set->left, ~2); /* a member went right there, goes left here */
    EXPECT_INT(set->right, ~1);
    EXPECT_INT(set->default_left, 1);
    EXPECT_INT(set->category_count, 2);
    EXPECT_INT(desc->trees[0].category_words[0], 2);
    EXPECT_INT(desc->trees[0].category_words[1], 4);
    EXPECT_INT(desc->trees[1].split_count, 0);
    EXPECT(desc->trees[1].leaves[0] == 0.125);
    EXPECT(desc->trees[0].split_covers[1] == 3.0 && desc->trees[0].leaf_covers[2] == 1.0);
    EXPECT(desc->trees[0].leaf_ids[0] == 2 && desc->trees[0].leaf_ids[1] == 3 && desc->trees[0].leaf_ids[2] == 4);
    myr_imported_free(imported);
}

TEST(ubjson_gives_the_same_bytes)
{
    myr_err err = {0};
    myr_imported *text = NULL;
    myr_imported *binary = NULL;
    unsigned char *bytes[2];
    size_t sizes[2];
    MYR_AUTO(myr_buf) ubj = {0};
    fixture_to_ubj(fixture_json, &ubj);
    EXPECT_RC(fixture_import(fixture_json, strlen(fixture_json), &text, &err), OK, &err);
    EXPECT_RC(fixture_import(ubj.data, ubj.size, &binary, &err), OK, &err);
    EXPECT_INT(binary->format, MYR_FORMAT_XGBOOST_UBJ);
    EXPECT_STR(binary->feature_names[2], "c");
    EXPECT_RC(myr_model_compile(&text->desc, NULL, 3, NULL, &bytes[0], &sizes[0], &err), OK, &err);
    EXPECT_RC(myr_model_compile(&binary->desc, NULL, 3, NULL, &bytes[1], &sizes[1], &err), OK, &err);
    EXPECT_INT(sizes[0], sizes[1]);
    EXPECT(memcmp(bytes[0], bytes[1], sizes[0]) == 0);
    myr_free(bytes[0]);
    myr_free(bytes[1]);
    myr_imported_free(text);
    myr_imported_free(binary);
}

/* a has no split; b is the category, c is compared with 0.5. 10 right of the root, 40 in the set {1, 34}, else 20. */
TEST(rows_go_where_xgboost_sends_them)
{
    static const struct {
        double b, c, leaf;
    } rows[] = {
        {1, 0.5, 10},      {1, 0.49999997, 40}, {1, 0.499999999, 10}, /* the last rounds to 0.5f */
        {34, 0, 40},       {34.9, 0, 40},       {33, 0, 20},          {2, 0, 20},     {-1, 0, 20},  {-0.5, 0, 20},
        {1e9, 0, 20},      {INFINITY, 0, 20},   {-INFINITY, 0, 20},   {NAN, 0, 40},   {1, NAN, 40}, {NAN, NAN, 40},
        {1, INFINITY, 10}, {1, -INFINITY, 40},  {1, -0.0, 40},        {1, 1e300, 10},
    };
    for (size_t i = 0; i < MYR_COUNT_OF(rows); i++) {
        const double row[3] = {0, rows[i].b, rows[i].c};
        double value = 0;
        fixture_predict(fixture_json, row, &value, NULL);
        if (value != rows[i].leaf + 1.125) fail_msg("row %zu gives %g, not %g", i, value, rows[i].leaf + 1.125);
    }
}

TEST(thresholds_at_the_ends_of_the_range)
{
    static const struct {
        const char *threshold;
        double x;
        bool is_left;
    } rows[] = {
        {"0E0", -0.0, false},
        {"0E0", -1e-45, true},
        {"0E0", 0.0, false},
        {"-0E0", -1e-45, true},
        {"1E-45", 0.0, true},
        {"1E-45", 1e-45, false},
        {"-Infinity", -INFINITY, false},
        {"-Infinity", 0, false},
        {"-Infinity", NAN, true},
        {"Infinity", FLT_MAX, true},
        {"Infinity", INFINITY, false},
        {"Infinity", 3e300, false},
        {"-3.4028235E38", -FLT_MAX, false},
        {"-3.4028235E38", -INFINITY, true},
        {"1E39", FLT_MAX, true},
    };
    for (size_t i = 0; i < MYR_COUNT_OF(rows); i++) {
        char json[FIXTURE_BYTES_MAX];
        char condition[64];
        const double row[3] = {0, 0, rows[i].x};
        double value = 0;
        snprintf(condition, sizeof condition, "\"split_conditions\":[%s,", rows[i].threshold);
        fixture_change(json, fixture_json, "\"split_conditions\":[5E-1,", condition);
        fixture_predict(json, row, &value, NULL);
        if ((value == 20 + 1.125) != rows[i].is_left) fail_msg("row %zu gives %g", i, value);
    }
}

TEST(an_infinite_split_keeps_its_default_side)
{
    char json[FIXTURE_BYTES_MAX];
    char right[FIXTURE_BYTES_MAX];
    const double row[3] = {0, 0, NAN};
    double value = 0;
    fixture_change(json, fixture_json, "\"split_conditions\":[5E-1,", "\"split_conditions\":[-Infinity,");
    fixture_change(right, json, "\"default_left\":[1,", "\"default_left\":[0,");
    fixture_predict(right, row, &value, NULL);
    EXPECT(value == 11.125);
}

TEST(the_right_child_is_the_one_that_is_named)
{
    char a[FIXTURE_BYTES_MAX];
    char b[FIXTURE_BYTES_MAX];
    const double row[3] = {0, 2, 0};
    double value = 0;
    fixture_change(a, fixture_json, "\"left_children\":[1,3,", "\"left_children\":[1,4,");
    fixture_change(b, a, "\"right_children\":[2,4,", "\"right_children\":[2,3,");
    fixture_predict(b, row, &value, NULL);
    EXPECT(value == 41.125);
}

TEST(deleted_nodes_are_passed_over)
{
    char a[FIXTURE_BYTES_MAX];
    char b[FIXTURE_BYTES_MAX];
    myr_err err = {0};
    myr_imported *imported = NULL;
    /* node 1 pruned to a leaf: 3 and 4 are deleted */
    fixture_change(a, fixture_json, "\"left_children\":[1,3,", "\"left_children\":[1,-1,");
    fixture_change(b, a, "\"right_children\":[2,4,", "\"right_children\":[2,-1,");
    fixture_change(a, b, "\"split_conditions\":[5E-1,NaN,", "\"split_conditions\":[5E-1,7E0,");
    fixture_change(b, a, "\"split_indices\":[2,1,0,0,0]", "\"split_indices\":[2,1,0,2147483647,2147483647]");
    fixture_change(a, b, "\"default_left\":[1,0,0,0,0]", "\"default_left\":[1,0,0,1,1]");
    fixture_change(b, a, "\"num_deleted\":\"0\"", "\"num_deleted\":\"2\"");
    EXPECT_RC(fixture_import(b, strlen(b), &imported, &err), OK, &err);
    EXPECT_INT(imported->desc.trees[0].split_count, 1);
    EXPECT_INT(imported->desc.trees[0].category_word_count, 0);
    EXPECT(imported->desc.trees[0].leaves[0] == 7.0);
    myr_imported_free(imported);
    imported = NULL;
    fixture_change(a, b, "\"num_deleted\":\"2\"", "\"num_deleted\":\"1\"");
    EXPECT_RC(fixture_import(a, strlen(a), &imported, &err), BAD_FORMAT, &err);
    EXPECT_STR(err.message, "m: tree 0: num_deleted is 1, 2 nodes are");
}

/* ---- base_score, objectives ---- */

static void set_model(char out[FIXTURE_BYTES_MAX], const char *objective, const char *base, const char *classes,
                      const char *targets)
{
    char middle[FIXTURE_BYTES_MAX];
    char text[128];
    snprintf(text, sizeof text, "\"objective\":{\"name\":\"%s\"", objective);
    fixture_change(out, fixture_json, "\"objective\":{\"name\":\"reg:squarederror\"", text);
    snprintf(text, sizeof text, "\"base_score\":\"%s\"", base);
    fixture_change(middle, out, "\"base_score\":\"[1E0]\"", text);
    snprintf(text, sizeof text, "\"num_class\":\"%s\"", classes);
    fixture_change(out, middle, "\"num_class\":\"0\"", text);
    snprintf(text, sizeof text, "\"num_target\":\"%s\"", targets);
    fixture_change(middle, out, "\"num_target\":\"1\"", text);
    memcpy(out, middle, FIXTURE_BYTES_MAX);
}

TEST(base_score_becomes_a_margin_in_float)
{
    static const struct {
        const char *objective, *base;
        float margin;
    } cases[] = {
        {"reg:squarederror", "5E-1", 0.5f},       {"reg:squarederror", "[-2.5E0]", -2.5f},
        {"reg:squarederror", " [ 1E0 ] ", 1.0f},  {"binary:logitraw", "[2.5E-1]", 0.25f},
        {"binary:hinge", "[1E0]", 1.0f},          {"rank:ndcg", "5E-1", 0.5f},
        {"binary:logistic", "5E-1", -0.0f},       {"reg:logistic", "[2.5E-1]", -1.0986123f},
        {"binary:logistic", "[0E0]", -13.81551f}, {"binary:logistic", "[1E0]", 13.74516f},
        {"count:poisson", "[0E0]", -INFINITY},    {"reg:gamma", "5E-1", -0.6931472f},
        {"reg:tweedie", "[1E0]", 0.0f},           {"survival:cox", "[2.6655014E0]", 0.98039216f},
        {"survival:aft", "5E-1", -0.6931472f},
    };
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        char json[FIXTURE_BYTES_MAX];
        myr_err err = {0};
        myr_imported *imported = NULL;
        set_model(json, cases[i].objective, cases[i].base, "0", "1");
        EXPECT_RC(fixture_import(json, strlen(json), &imported, &err), OK, &err);
        double margin = imported->desc.base_margins[0];
        if (margin != (double)cases[i].margin) {
            fail_msg("%s %s gives %.9g, not %.9g", cases[i].objective, cases[i].base, margin, (double)cases[i].margin);
        }
        EXPECT_STR(imported->objective, cases[i].objective);
        myr_imported_free(imported);
    }
}

TEST(base_score_is_one_value_or_one_for_each_output)
{
    static const struct {
        const char *base, *classes, *targets;
        double last;
    } cases[] = {
        {"5E-1", "3", "1", 0.5}, {"[5E-1]", "3", "1", 0.5}, {"[1E0,2E0,3E0]", "3", "1", 3}, {"[1E0,2E0]", "0", "2", 2}};
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        char json[FIXTURE_BYTES_MAX];
        myr_err err = {0};
        myr_imported *imported = NULL;
        set_model(json, "reg:squarederror", cases[i].base, cases[i].classes, cases[i].targets);
        EXPECT_RC(fixture_import(json, strlen(json), &imported, &err), OK, &err);
        EXPECT(imported->desc.base_margins[imported->desc.margin_count - 1] == cases[i].last);
        myr_imported_free(imported);
    }
}

TEST(base_score_out_of_place_is_named)
{
    static const struct {
        const char *objective, *base, *classes, *targets, *message;
    } cases[] = {
        {"reg:squarederror", "NaN", "0", "1", "base_score \"NaN\" is not a finite number"},
        {"reg:squarederror", "1E99", "0", "1", "base_score \"1E99\" is not a finite number"},
        {"reg:squarederror", "", "0", "1", "base_score \"\" is not a finite number"},
        {"reg:squarederror", "[]", "0", "1", "base_score \"\" is not a finite number"},
        {"reg:squarederror", "[1E0,]", "0", "1", "base_score \"\" is not a finite number"},
        {"reg:squarederror", "[1E0,2E0]", "0", "1", "base_score has at least 2 values for 1 outputs"},
        {"reg:squarederror", "[1E0,2E0]", "3", "1", "base_score has 2 values for 3 outputs"},
        {"reg:squarederror", "half", "0", "1", "base_score \"half\" is not a finite number"},
        {"binary:logistic", "1.5E0", "0", "1", "base_score 1.5 is outside what binary:logistic allows (0 to 1)"},
        {"count:poisson", "-1E0", "0", "1", "base_score -1 is outside what count:poisson allows (not below 0)"},
        {"reg:squarederror", "1E0", "3", "2", "several classes and several targets"},
        {"multi:softmax", "1E0", "0", "1", "num_class is 0 for multi:softmax"},
        {"reg:squarederror", "1E0", "1025", "1", "num_class is 1025, the most is 1024"},
        {"reg:squarederror", "1E0", "1", "-1", "num_target is \"-1\", not a whole number"},
        {"reg:new", "1E0", "0", "1", "m: learner.objective: objective \"reg:new\" is not known"},
    };
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        char json[FIXTURE_BYTES_MAX];
        myr_err err = {0};
        myr_imported *imported = NULL;
        set_model(json, cases[i].objective, cases[i].base, cases[i].classes, cases[i].targets);
        EXPECT(fixture_import(json, strlen(json), &imported, &err) != MYR_OK);
        EXPECT(imported == NULL);
        EXPECT_HAS(err.message, cases[i].message);
    }
}

TEST(objectives_transform_margins)
{
    static const struct {
        const char *objective;
        double value; /* of margin 1 + 10.125, base 1 having been turned to a margin */
    } cases[] = {
        {"reg:squarederror", 11.125}, {"binary:logitraw", 11.125}, {"binary:hinge", 1.0}, {"rank:map", 11.125}};
    const double row[3] = {0, 1, 1};
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        char json[FIXTURE_BYTES_MAX];
        double value = 0;
        set_model(json, cases[i].objective, "1E0", "0", "1");
        fixture_predict(json, row, &value, NULL);
        EXPECT(value == cases[i].value);
    }
    char json[FIXTURE_BYTES_MAX];
    double values[3] = {0};
    set_model(json, "multi:softmax", "1E0", "3", "1");
    fixture_predict(json, row, values, NULL);
    EXPECT(values[0] == 0.0);
    set_model(json, "multi:softprob", "0E0", "3", "1");
    fixture_predict(json, row, values, NULL);
    EXPECT(values[0] > 0.9999 && values[1] == values[2]);
    set_model(json, "binary:logistic", "5E-1", "0", "2");
    fixture_predict(json, row, values, NULL);
    EXPECT(values[0] > 0.9999 && values[1] == 0.5);
    set_model(json, "count:poisson", "1E0", "0", "1");
    fixture_predict(json, row, values, NULL);
    EXPECT(values[0] == (double)expf(10.125f));
}

/* An unfitted model: from 3.1 on its base_score is the margin; before, and if a person gave it, it goes through the
 * link. */
TEST(a_model_without_trees)
{
    static const struct {
        const char *version, *average;
        double margin;
    } cases[] = {{"[3,2,0]", "1", 0.25},
                 {"[3,1,0]", "1", 0.25},
                 {"[3,0,5]", "1", -1.0986123},
                 {"[3,2,0]", "0", -1.0986123},
                 {"[1,7,6]", "1", -1.0986123}};
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        char json[FIXTURE_BYTES_MAX];
        double margin = 0;
        const double row[3] = {0, 0, 0};
        snprintf(json, sizeof json,
                 "{\"learner\":{\"gradient_booster\":{\"name\":\"gbtree\",\"model\":{\"trees\":[],\"tree_info\":[],"
                 "\"gbtree_model_param\":{\"num_trees\":\"0\"}}},\"learner_model_param\":{\"base_score\":\"2.5E-1\","
                 "\"num_class\":\"0\",\"num_feature\":\"3\",\"boost_from_average\":\"%s\"},"
                 "\"objective\":{\"name\":\"binary:logistic\"}},\"version\":%s}",
                 cases[i].average, cases[i].version);
        fixture_predict(json, row, NULL, &margin);
        EXPECT(margin == (double)(float)cases[i].margin);
    }
}

/* ---- numbers ---- */

TEST(floats_are_rounded_once)
{
    static const struct {
        const char *text;
        float value;
    } cases[] = {
        /* just below the tie between two floats: as a double it is the tie, which would round up */
        {"1.00000017881393432617187499", 0x1.000002p0f},
        {"1.00000017881393432617187500", 0x1.000004p0f},
        {"1.00000017881393432617187501", 0x1.000004p0f},
        {"-1.00000017881393432617187499", -0x1.000002p0f},
        {"1.4E-45", 0x1p-149f},
        {"7.006492321624085E-46", 0.0f},
        {"7.0064923216240854E-46", 0x1p-149f},
        {"3.4028235E38", FLT_MAX},
        {"3.4028236E38", INFINITY},
        {"0", 0.0f},
        {"-Infinity", -INFINITY},
    };
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        float value = -1;
        EXPECT(myr_doc_parse_float(myr_str_of(cases[i].text), &value));
        if (value != cases[i].value)
            fail_msg("%s gives %a, not %a", cases[i].text, (double)value, (double)cases[i].value);
    }
    float untouched = 7;
    EXPECT(!myr_doc_parse_float(myr_str_of("0x1p3"), &untouched));
    EXPECT(!myr_doc_parse_float(myr_str_of("1e"), &untouched));
    EXPECT(untouched == 7);
}

TEST(ubjson_numbers_of_every_kind)
{
    /* default_left and split_conditions in other types than XGBoost's own, keys with a short length */
    static const unsigned char bytes[] = {
        '[',  'i',  0xff, 'U', 0xff, 'I',  0xff, 0xfe, 'l', 0x80, 0, 0, 0, 'L', 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xfd, 'T',  'F', 'D',  0x40, 0x08, 0,    0,   0,    0, 0, 0, 'd', 0x3f, 0x80, 0,    0,    'Z',  ']'};
    const int64_t ints[] = {-1, 255, -2, INT32_MIN, -3, 1, 0};
    myr_import_src src = {"n", (const char *)bytes, sizeof bytes, NULL};
    myr_doc doc;
    myr_doc_iter iter;
    myr_doc_value value;
    myr_err err = {0};
    EXPECT_RC(myr_doc_open(&src, true, &doc, &err), OK, &err);
    EXPECT_INT(myr_doc_count(&doc, doc.root), 10);
    myr_doc_iter_init(&doc, doc.root, &iter);
    for (size_t i = 0; i < MYR_COUNT_OF(ints); i++) {
        int64_t number = 99;
        EXPECT(myr_doc_next(&iter, NULL, &value));
        EXPECT(myr_doc_int(value, &number));
        EXPECT_INT(number, ints[i]);
    }
    float real = 0;
    int64_t number = 99;
    EXPECT(myr_doc_next(&iter, NULL, &value) && myr_doc_float(value, &real) && real == 3.0f);
    EXPECT(!myr_doc_int(value, &number) && number == 99);
    EXPECT(myr_doc_next(&iter, NULL, &value) && myr_doc_float(value, &real) && real == 1.0f);
    EXPECT(myr_doc_next(&iter, NULL, &value) && !myr_doc_float(value, &real) && !myr_doc_int(value, &number));
    EXPECT_INT(myr_doc_kind_of(value), MYR_DOC_NULL);
    EXPECT(!myr_doc_next(&iter, NULL, &value));
    EXPECT(!myr_doc_next(&iter, NULL, &value));
    myr_doc_close(&doc);
}

TEST(each_failed_allocation_is_reported)
{
    MYR_AUTO(myr_buf) ubj = {0};
    fixture_to_ubj(fixture_json, &ubj);
    for (int kind = 0; kind < 2; kind++) {
        FAIL_EACH_ALLOC (nth) {
            myr_imported *imported = NULL;
            myr_err err = {0};
            myr_rc rc = kind == 0 ? fixture_import(fixture_json, strlen(fixture_json), &imported, &err)
                                  : fixture_import(ubj.data, ubj.size, &imported, &err);
            EXPECT(rc == MYR_OK || (rc == MYR_NO_MEMORY && imported == NULL && err.message[0] != '\0'));
            myr_imported_free(imported);
            if (rc == MYR_OK) break;
        }
    }
}

RUN()
