/* XGBoost models that are damaged or made to do harm: each is refused with the place and the value, never a crash. */
#include "import/xgboost.h"
#include "xgboost_fixture.h"

typedef struct bad_case {
    const char *from, *to;
    myr_rc rc;
    const char *message;
} bad_case;

/* `from` is unique or its first place is the one meant. */
static const bad_case cases[] = {
    /* the top */
    {"\"learner\":{\"attr", "\"learner\":[],\"x\":{\"attr", MYR_BAD_FORMAT,
     "m: model: learner is an array, not an object"},
    {"\"version\":[3,2,0]", "\"v\":[3,2,0]", MYR_BAD_FORMAT, "m: model: version is missing"},
    {"\"version\":[3,2,0]", "\"version\":[]", MYR_BAD_FORMAT, "version does not begin with two whole numbers"},
    {"\"version\":[3,2,0]", "\"version\":[4,0,0]", MYR_UNSUPPORTED, "written by XGBoost 4; versions 1 to 3 are read"},
    {"\"version\":[3,2,0]", "\"version\":[0,9,0]", MYR_UNSUPPORTED, "written by XGBoost 0"},
    {"\"name\":\"gbtree\"", "\"name\":\"gblinear\"", MYR_BAD_FORMAT, "weights is missing"},
    {"\"name\":\"gbtree\"", "\"name\":\"forest\"", MYR_UNSUPPORTED,
     "booster \"forest\"; gbtree, dart and gblinear are read"},
    {"\"name\":\"gbtree\"", "\"name\":\"dart\"", MYR_BAD_FORMAT, "gbtree is missing"},
    {"\"name\":\"gbtree\"", "\"name\":\"gbtree\",\"weight_drop\":[1E0,1E0]", MYR_BAD_FORMAT,
     "weight_drop, but the booster is \"gbtree\""},
    {"\"objective\":", "\"objectivo\":", MYR_BAD_FORMAT, "m: learner: objective is missing"},
    {"\"base_score\":\"[1E0]\"", "\"base_score\":[1]", MYR_BAD_FORMAT, "base_score is an array, not a text"},
    {"\"base_score\":\"[1E0]\"", "\"base_score\":1", MYR_BAD_FORMAT, "base_score is a number, not a text"},
    {"\"num_feature\":\"3\",\"num_target\"", "\"num_feature\":\"2\",\"num_target\"", MYR_BAD_FORMAT,
     "3 feature_names for num_feature 2"},
    {"\"num_feature\":\"3\",\"num_target\"", "\"num_feature\":\"65536\",\"num_target\"", MYR_TOO_LARGE,
     "num_feature is 65536, the most is 65535"},
    {"\"num_feature\":\"3\",\"num_target\"", "\"num_feature\":\"99999999999999999999\",\"num_target\"", MYR_BAD_FORMAT,
     "not a whole number"},
    {"[\"a\",\"b\",\"c\"]", "[\"a\",2,\"c\"]", MYR_BAD_FORMAT, "m: learner: feature_names[1] is a number, not a text"},
    {"[\"a\",\"b\",\"c\"]", "[\"a\",\"b\\u0000\",\"c\"]", MYR_BAD_FORMAT, "feature_names[1] has a NUL"},
    {"[\"a\",\"b\",\"c\"]", "[\"a\",\"a\",\"c\"]", MYR_BAD_INPUT, "both named \"a\""},
    {"\"attributes\":", "\"objective\":{},\"attributes\":", MYR_BAD_FORMAT, "objective stands twice"},
    /* the list of trees */
    {"\"num_trees\":\"2\"", "\"num_trees\":\"3\"", MYR_BAD_FORMAT, "trees has 2 entries, expected 3"},
    {"\"num_trees\":\"2\"", "\"num_trees\":\"1\"", MYR_BAD_FORMAT, "trees has 2 entries, expected 1"},
    {"\"num_trees\":\"2\"", "\"num_trees\":\"1000001\"", MYR_TOO_LARGE, "num_trees is 1000001, the most is 1000000"},
    {"\"num_trees\":\"2\"", "\"num_trees\":\"1000000\"", MYR_BAD_FORMAT, "the file has no room for so many"},
    {"\"num_trees\":\"2\"", "\"num_trees\":2", MYR_BAD_FORMAT, "num_trees is a number, not a text"},
    {"\"tree_info\":[0,0]", "\"tree_info\":[0,1]", MYR_BAD_FORMAT,
     "m: tree 1: tree_info is 1, the model has 1 outputs"},
    {"\"tree_info\":[0,0]", "\"tree_info\":[-1,0]", MYR_BAD_FORMAT, "m: tree 0: tree_info is -1"},
    {"\"tree_info\":[0,0]", "\"tree_info\":[0]", MYR_BAD_FORMAT, "tree_info has 1 entries, expected 2"},
    {"\"iteration_indptr\":[0,1,2]", "\"iteration_indptr\":[0,2,1]", MYR_BAD_FORMAT,
     "iteration_indptr[2] does not rise from 0"},
    {"\"iteration_indptr\":[0,1,2]", "\"iteration_indptr\":[0,1]", MYR_BAD_FORMAT,
     "iteration_indptr ends at 1, num_trees is 2"},
    {"\"tree_info\":[0,0]", "\"tree_info\":[0,0],\"weight_drop\":[1E0]", MYR_UNSUPPORTED,
     "weight_drop inside the trees' model"},
    {"\"trees\":[{", "\"trees\":[7,{", MYR_BAD_FORMAT, "trees has 3 entries"},
    {"\"id\":0", "\"id\":1", MYR_BAD_FORMAT, "m: tree 0: id is not 0"},
    {"\"id\":1", "\"id\":0", MYR_BAD_FORMAT, "m: tree 1: id is not 1"},
    {"\"id\":1", "\"id\":1E0", MYR_BAD_FORMAT, "m: tree 1: id is not 1"},
    /* one tree */
    {"\"num_nodes\":\"5\"", "\"num_nodes\":\"4\"", MYR_BAD_FORMAT, "left_children has 5 entries, expected 4"},
    {"\"num_nodes\":\"5\"", "\"num_nodes\":\"2147483647\"", MYR_BAD_FORMAT, "left_children has 5 entries"},
    {"\"num_nodes\":\"5\"", "\"num_nodes\":\"2147483648\"", MYR_TOO_LARGE, "the most is 2147483647"},
    {"\"num_nodes\":\"5\"", "\"num_nodes\":\"0\"", MYR_BAD_FORMAT, "num_nodes is 0"},
    {"\"size_leaf_vector\":\"1\"", "\"size_leaf_vector\":\"3\"", MYR_BAD_FORMAT,
     "size_leaf_vector is 3, the model has 1 outputs"},
    {"\"right_children\":[2,4,-1,-1,-1]", "\"right_children\":[2,4,-1,-1]", MYR_BAD_FORMAT,
     "right_children has 4 entries, expected 5"},
    {"\"sum_hessian\":[5E0,", "\"sum_hessian\":[", MYR_BAD_FORMAT, "sum_hessian has 4 entries, expected 5"},
    {"\"loss_changes\":[1E0,", "\"loss_changes\":[", MYR_BAD_FORMAT, "loss_changes has 4 entries, expected 5"},
    {"\"split_conditions\":[5E-1", "\"split_conditions\":[NaN", MYR_BAD_FORMAT, "tree 0: node 0: its threshold is NaN"},
    {"NaN,1E1", "NaN,NaN", MYR_BAD_FORMAT, "m: tree 0: node 2: its value is NaN"},
    {"NaN,1E1", "NaN,\"1\"", MYR_BAD_FORMAT, "m: tree 0: split_conditions[2] is not a number"},
    {"\"left_children\":[1,3,", "\"left_children\":[1,5,", MYR_BAD_FORMAT,
     "m: tree 0: node 1: its left child is 5, not within 1 to 4"},
    {"\"left_children\":[1,3,", "\"left_children\":[1,-2,", MYR_BAD_FORMAT, "node 1: its left child is -2"},
    {"\"left_children\":[1,3,", "\"left_children\":[1,0,", MYR_BAD_FORMAT, "node 1: its left child is 0"},
    {"\"left_children\":[1,3,", "\"left_children\":[1,1,", MYR_BAD_FORMAT,
     "node 1: its left child 1 hangs below another node too"},
    {"\"left_children\":[1,3,", "\"left_children\":[1,4,", MYR_BAD_FORMAT,
     "node 1: its right child 4 hangs below another node too"},
    {"\"left_children\":[1,3,", "\"left_children\":[1,-1,", MYR_BAD_FORMAT, "node 1: its value is NaN"},
    {"\"left_children\":[1,3,-1,", "\"left_children\":[1,3,2,", MYR_BAD_FORMAT, "node 2: its left child 2"},
    {"\"left_children\":[1,3,", "\"left_children\":[1,3.0,", MYR_BAD_FORMAT, "left_children[1] is not a whole number"},
    {"\"left_children\":[1,3,", "\"left_children\":[1,4294967299,", MYR_BAD_FORMAT,
     "left_children[1] is 4294967299, not within -2147483648 to 2147483647"},
    {"\"right_children\":[2,4,-1", "\"right_children\":[2,4,1", MYR_BAD_FORMAT,
     "node 2: a leaf without left child has right child 1"},
    {"\"right_children\":[2,4,", "\"right_children\":[2,-1,", MYR_BAD_FORMAT, "node 1: its right child is -1"},
    {"\"parents\":[2147483647,0,0,1,1]", "\"parents\":[2147483647,0,0,1,2]", MYR_BAD_FORMAT,
     "node 1: its right child 4 names 2 as its parent"},
    {"\"left_children\":[1,3,-1,-1,-1]", "\"left_children\":[-1,3,-1,-1,-1]", MYR_BAD_FORMAT,
     "node 0: a leaf without left child"},
    {"\"split_indices\":[2,", "\"split_indices\":[3,", MYR_BAD_FORMAT,
     "m: tree 0: node 0: split_indices is 3, num_feature 3"},
    {"\"split_indices\":[2,", "\"split_indices\":[-1,", MYR_BAD_FORMAT, "split_indices is -1"},
    {"\"default_left\":[1,", "\"default_left\":[2,", MYR_BAD_FORMAT, "default_left[0] is 2, not within 0 to 1"},
    /* categories */
    {"\"split_type\":[0,1,", "\"split_type\":[0,0,", MYR_BAD_FORMAT, "node 1: its threshold is NaN"},
    {"\"split_type\":[0,1,", "\"split_type\":[0,2,", MYR_BAD_FORMAT, "split_type[1] is 2"},
    {"\"categories_nodes\":[1]", "\"categories_nodes\":[0]", MYR_BAD_FORMAT,
     "categories_nodes[0] is not the next node"},
    {"\"categories_nodes\":[1]", "\"categories_nodes\":[5]", MYR_BAD_FORMAT,
     "categories_nodes[0] is not the next node"},
    {"\"categories_nodes\":[1]", "\"categories_nodes\":[-1]", MYR_BAD_FORMAT,
     "categories_nodes[0] is not the next node"},
    {"\"categories_nodes\":[1],", "", MYR_BAD_FORMAT, "split_type without categories_nodes"},
    {"\"categories_segments\":[0]", "\"categories_segments\":[1]", MYR_BAD_FORMAT,
     "node 1: its categories are not entries 0"},
    {"\"categories_sizes\":[2]", "\"categories_sizes\":[3]", MYR_BAD_FORMAT,
     "node 1: its categories are not entries 0"},
    {"\"categories_sizes\":[2]", "\"categories_sizes\":[0]", MYR_BAD_FORMAT,
     "node 1: its categories are not entries 0"},
    {"\"categories_sizes\":[2]", "\"categories_sizes\":[9223372036854775807]", MYR_BAD_FORMAT,
     "categories are not entries"},
    {"\"categories\":[1,34]", "\"categories\":[1,-1]", MYR_BAD_FORMAT,
     "node 1: category -1 is not within 0 to 16777215"},
    {"\"categories\":[1,34]", "\"categories\":[1,16777216]", MYR_BAD_FORMAT, "category 16777216 is not within"},
    {"\"categories\":[1,34]", "\"categories\":[1,1.5]", MYR_BAD_FORMAT, "node 1: a category is not a whole number"},
    {"\"split_type\":[0,1,0", "\"split_type\":[0,1,1", MYR_BAD_FORMAT, "categories_nodes has 1 entries, expected 2"},
};

TEST(each_damage_is_named)
{
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        char json[FIXTURE_BYTES_MAX];
        myr_imported *imported = NULL;
        myr_err err = {0};
        fixture_change(json, fixture_json, cases[i].from, cases[i].to);
        myr_rc rc = fixture_import(json, strlen(json), &imported, &err);
        if (rc != cases[i].rc || strstr(err.message, cases[i].message) == NULL) {
            fail_msg("%s -> %s: %s \"%s\"", cases[i].from, cases[i].to, myr_rc_name(rc), err.message);
        }
        EXPECT(imported == NULL);
        EXPECT(strncmp(err.message, "m: ", 3) == 0);
    }
}

TEST(the_same_damages_as_ubjson)
{
    for (size_t i = 0; i < MYR_COUNT_OF(cases); i++) {
        char json[FIXTURE_BYTES_MAX];
        myr_imported *imported = NULL;
        myr_err err = {0};
        MYR_AUTO(myr_buf) ubj = {0};
        if (strstr(cases[i].to, "u0000") != NULL || strstr(cases[i].to, "4294967299") != NULL ||
            strstr(cases[i].to, "922337203") != NULL || strstr(cases[i].to, "\"1\"") != NULL ||
            strstr(cases[i].to, "3.0,") != NULL || strstr(cases[i].to, "1.5]") != NULL) {
            continue; /* not writable as the fixture's C strings and typed arrays of 32 bits */
        }
        fixture_change(json, fixture_json, cases[i].from, cases[i].to);
        fixture_to_ubj(json, &ubj);
        myr_rc rc = fixture_import(ubj.data, ubj.size, &imported, &err);
        if (rc != cases[i].rc || strstr(err.message, cases[i].message) == NULL) {
            fail_msg("%s -> %s: %s \"%s\"", cases[i].from, cases[i].to, myr_rc_name(rc), err.message);
        }
    }
}

/* Whatever it is: an error without a model, or a model that compiles and passes its check. */
static void survives(const char *data, size_t size, bool must_fail)
{
    myr_imported *imported = NULL;
    myr_err err = {0};
    myr_rc rc = fixture_import(data, size, &imported, &err);
    if (rc != MYR_OK) {
        EXPECT(imported == NULL && err.message[0] != '\0');
        return;
    }
    EXPECT(!must_fail);
    unsigned char *bytes = NULL;
    size_t bytes_size = 0;
    const myr_model *model = NULL;
    uint32_t columns = imported->feature_count > 0 ? imported->feature_count : 1;
    EXPECT_RC(myr_model_compile(&imported->desc, NULL, columns, NULL, &bytes, &bytes_size, &err), OK, &err);
    EXPECT_RC(myr_model_check(bytes, bytes_size, &model, &err), OK, &err);
    myr_free(bytes);
    myr_imported_free(imported);
}

TEST(truncated_at_any_byte)
{
    MYR_AUTO(myr_buf) ubj = {0};
    fixture_to_ubj(fixture_json, &ubj);
    for (size_t size = 0; size < strlen(fixture_json); size++) {
        char *cut = myr_strndup(fixture_json, size); /* its own block, so that a read past the end is seen */
        survives(cut, size, true);
        myr_free(cut);
    }
    for (size_t size = 0; size < ubj.size; size++) {
        char *cut = myr_alloc(size + 1);
        memcpy(cut, ubj.data, size);
        survives(cut, size, true);
        myr_free(cut);
    }
}

TEST(any_byte_changed)
{
    static const unsigned char values[] = {0x00, 0x01, 0x7f, 0x80, 0xff, '0', '9', '-',
                                           '[',  '{',  '"',  'L',  'd',  '$', '#'};
    MYR_AUTO(myr_buf) ubj = {0};
    fixture_to_ubj(fixture_json, &ubj);
    char *json = myr_strdup(fixture_json);
    for (size_t i = 0; i < MYR_COUNT_OF(values); i++) {
        for (size_t at = 0; json[at] != '\0'; at++) {
            char before = json[at];
            json[at] = (char)values[i];
            survives(json, strlen(fixture_json), false);
            json[at] = before;
        }
        for (size_t at = 0; at < ubj.size; at++) {
            char before = ubj.data[at];
            ubj.data[at] = (char)values[i];
            survives(ubj.data, ubj.size, false);
            ubj.data[at] = before;
        }
    }
    myr_free(json);
}

TEST(something_after_the_model)
{
    char json[FIXTURE_BYTES_MAX];
    MYR_AUTO(myr_buf) ubj = {0};
    snprintf(json, sizeof json, "%s \n", fixture_json);
    survives(json, strlen(json), false);
    snprintf(json, sizeof json, "%s}", fixture_json);
    survives(json, strlen(json), true);
    fixture_to_ubj(fixture_json, &ubj);
    myr_buf_putc(&ubj, 'N');
    survives(ubj.data, ubj.size, true);
}

/* ---- nesting ---- */

static void nest(myr_buf *out, size_t depth, bool is_ubj)
{
    myr_buf_puts(out, is_ubj ? "{" : "{\"learner\":");
    if (is_ubj) ubj_text(out, "learner");
    for (size_t i = 1; i < depth; i++) {
        myr_buf_putc(out, '[');
    }
    for (size_t i = 1; i < depth; i++) {
        myr_buf_putc(out, ']');
    }
    myr_buf_putc(out, '}');
}

TEST(nesting_has_a_limit)
{
    static const size_t depths[] = {MYR_IMPORT_DEPTH_MAX, MYR_IMPORT_DEPTH_MAX + 1, 100000};
    for (size_t i = 0; i < MYR_COUNT_OF(depths); i++) {
        for (int is_ubj = 0; is_ubj < 2; is_ubj++) {
            MYR_AUTO(myr_buf) text = {0};
            myr_imported *imported = NULL;
            myr_err err = {0};
            nest(&text, depths[i], is_ubj != 0);
            myr_rc rc = fixture_import(text.data, text.size, &imported, &err);
            if (depths[i] > MYR_IMPORT_DEPTH_MAX) {
                EXPECT_INT(rc, MYR_TOO_LARGE);
                EXPECT_HAS(err.message, "nested deeper than 64");
            } else {
                EXPECT_INT(rc, MYR_BAD_FORMAT);
                EXPECT_HAS(err.message, "learner is an array");
            }
        }
    }
}

/* ---- UBJSON made to do harm ---- */

typedef struct bad_bytes {
    const char *bytes;
    size_t size;
    const char *message;
} bad_bytes;
#define BAD(bytes, message)                                                                                            \
    {                                                                                                                  \
        bytes, sizeof(bytes) - 1, message                                                                              \
    }

TEST(ubjson_made_to_do_harm)
{
    static const bad_bytes rows[] = {
        BAD("{L\0\0\0\0\0\0\0\1a[$d#L\x7f\xff\xff\xff\xff\xff\xff\xff",
            "an array's count is 9223372036854775807, room for 0"),
        BAD("{L\0\0\0\0\0\0\0\1a[$d#L\xff\xff\xff\xff\xff\xff\xff\xff", "an array's count is -1"),
        BAD("{L\0\0\0\0\0\0\0\1a[#L\0\0\0\0\0\0\0\2Z}", "0x7d begins no value"),
        BAD("{L\0\0\0\0\0\0\0\1a[#L\0\0\0\0\1\0\0\0Z}", "an array's count is 16777216, room for 2"),
        BAD("{L\xff\xff\xff\xff\xff\xff\xff\xff"
            "a",
            "a key's length is -1"),
        BAD("{L\0\0\0\0\0\0\0\xff"
            "a",
            "a key's length is 255, room for 1"),
        BAD("{i\1aSi\x80", "a text's length is -128"),
        BAD("{i\1aS", "the file ends inside a value"),
        BAD("{i\1aSd\0\0\0\0", "a text's length has marker 0x64, not an integer"),
        BAD("{i\1aSi\2\xc3\x28}", "a text's length is not UTF-8"),
        BAD("{i\1\xff"
            "Z}",
            "a key's length is not UTF-8"),
        BAD("{i\1aNNNNNNNNNNNN}", "byte 4: 0x4e begins no value"),
        BAD("{i\1a[$Z#L\x7f\xff\xff\xff\xff\xff\xff\xff}", "a typed array of 0x5a is not one of numbers"),
        BAD("{i\1a[$d]}", "a typed array without its count"),
        BAD("{i\1a[$", "the file ends inside a value"),
        BAD("{i\1aH}", "0x48 begins no value"),
        BAD("{$i#i\1i\1a\5", "a key's length has marker 0x24"),
        BAD("{L\0\0", "the file ends inside a key's length"),
        BAD("{i\1aL\0\0\0", "the file ends inside a number"),
        BAD("{i\1aZ", "the file ends inside a value"),
        BAD("{i\1aZ}Z", "1 bytes after the model"),
        BAD("{i\1aZ}", "learner is missing"),
    };
    for (size_t i = 0; i < MYR_COUNT_OF(rows); i++) {
        myr_imported *imported = NULL;
        myr_err err = {0};
        char *copy = myr_alloc(rows[i].size);
        memcpy(copy, rows[i].bytes, rows[i].size);
        myr_rc rc = fixture_import(copy, rows[i].size, &imported, &err);
        myr_free(copy);
        if (rc != MYR_BAD_FORMAT || strstr(err.message, rows[i].message) == NULL) {
            fail_msg("row %zu: %s \"%s\"", i, myr_rc_name(rc), err.message);
        }
    }
}

/* ---- category sets have a budget ---- */

/* Three categorical splits in a chain; the last set's largest category is given. */
static void chain(char out[FIXTURE_BYTES_MAX], unsigned last)
{
    char tree[2048];
    const char *begin = strstr(fixture_json, "{\"base_weights\":[0E0,0E0");
    const char *end = strstr(fixture_json, "{\"base_weights\":[0E0]");
    snprintf(
        tree, sizeof tree,
        "{\"categories\":[16777215,16777215,%06u],\"categories_nodes\":[0,1,3],\"categories_segments\":[0,1,2],"
        "\"categories_sizes\":[1,1,1],\"default_left\":[0,0,0,0,0,0,0],\"id\":0,\"left_children\":[1,3,-1,5,-1,-1,-1],"
        "\"parents\":[2147483647,0,0,1,1,3,3],\"right_children\":[2,4,-1,6,-1,-1,-1],"
        "\"split_conditions\":[0E0,0E0,1E0,0E0,1E0,1E0,1E0],\"split_indices\":[1,1,0,1,0,0,0],"
        "\"split_type\":[1,1,0,1,0,0,0],\"tree_param\":{\"num_deleted\":\"0\",\"num_nodes\":\"7\"}},",
        last);
    snprintf(out, FIXTURE_BYTES_MAX, "%.*s%s%s", (int)(begin - fixture_json), fixture_json, tree, end);
}

TEST(category_sets_have_a_budget)
{
    char json[FIXTURE_BYTES_MAX];
    myr_imported *imported = NULL;
    myr_err err = {0};
    chain(json, 100000);
    unsigned words = (unsigned)strlen(json) * MYR_XGB_CATEGORY_WORDS_PER_BYTE; /* what the two large sets leave */
    unsigned last = words * 32 - 1;
    EXPECT(last >= 100000 && last <= 999998); /* as many digits: the file keeps its size */
    chain(json, last);
    EXPECT_RC(fixture_import(json, strlen(json), &imported, &err), OK, &err);
    EXPECT_INT(imported->desc.trees[0].category_word_count, MYR_XGB_CATEGORY_WORDS_FREE + words);
    myr_imported_free(imported);
    imported = NULL;
    chain(json, last + 1);
    EXPECT_RC(fixture_import(json, strlen(json), &imported, &err), TOO_LARGE, &err);
    EXPECT_HAS(err.message, "m: tree 0: the category sets take more than");
}

RUN()
