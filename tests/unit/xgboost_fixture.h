/*
 * A small XGBoost model as JSON, changes to it by text, and the same as UBJSON. Two trees over three features: tree 0
 * has a numeric and a categorical split (left and right not adjacent in value order), tree 1 is a single leaf.
 */
#ifndef MYR_XGBOOST_FIXTURE_H
#define MYR_XGBOOST_FIXTURE_H

#include <yyjson.h>

#include "import/import.h"
#include "testing.h"

#define FIXTURE_BYTES_MAX 65536

static const char fixture_json[] =
    "{\"learner\":{\"attributes\":{\"best_iteration\":\"0\"},\"feature_names\":[\"a\",\"b\",\"c\"],"
    "\"feature_types\":[\"float\",\"c\",\"float\"],\"gradient_booster\":{\"model\":{"
    "\"cats\":{\"enc\":[],\"feature_segments\":[],\"sorted_idx\":[]},"
    "\"gbtree_model_param\":{\"num_parallel_tree\":\"1\",\"num_trees\":\"2\"},"
    "\"iteration_indptr\":[0,1,2],\"tree_info\":[0,0],\"trees\":[{"
    "\"base_weights\":[0E0,0E0,1E0,2E0,3E0],\"categories\":[1,34],\"categories_nodes\":[1],"
    "\"categories_segments\":[0],\"categories_sizes\":[2],\"default_left\":[1,0,0,0,0],\"id\":0,"
    "\"left_children\":[1,3,-1,-1,-1],\"loss_changes\":[1E0,1E0,0E0,0E0,0E0],\"parents\":[2147483647,0,0,1,1],"
    "\"right_children\":[2,4,-1,-1,-1],\"split_conditions\":[5E-1,NaN,1E1,2E1,4E1],"
    "\"split_indices\":[2,1,0,0,0],\"split_type\":[0,1,0,0,0],\"sum_hessian\":[5E0,3E0,2E0,2E0,1E0],"
    "\"tree_param\":{\"num_deleted\":\"0\",\"num_feature\":\"3\",\"num_nodes\":\"5\",\"size_leaf_vector\":\"1\"}},{"
    "\"base_weights\":[0E0],\"categories\":[],\"categories_nodes\":[],\"categories_segments\":[],"
    "\"categories_sizes\":[],\"default_left\":[0],\"id\":1,\"left_children\":[-1],\"loss_changes\":[0E0],"
    "\"parents\":[2147483647],\"right_children\":[-1],\"split_conditions\":[1.25E-1],\"split_indices\":[0],"
    "\"split_type\":[0],\"sum_hessian\":[1E0],"
    "\"tree_param\":{\"num_deleted\":\"0\",\"num_feature\":\"3\",\"num_nodes\":\"1\",\"size_leaf_vector\":\"1\"}}]},"
    "\"name\":\"gbtree\"},\"learner_model_param\":{\"base_score\":\"[1E0]\",\"boost_from_average\":\"1\","
    "\"num_class\":\"0\",\"num_feature\":\"3\",\"num_target\":\"1\"},\"objective\":{\"name\":\"reg:squarederror\","
    "\"reg_loss_param\":{\"scale_pos_weight\":\"1\"}}},\"version\":[3,2,0]}";

/* `text` with the first `from` replaced by `to`, in `out`; the test fails if `from` does not stand there. */
static void fixture_change(char out[FIXTURE_BYTES_MAX], const char *text, const char *from, const char *to)
{
    const char *at = strstr(text, from);
    if (at == NULL) fail_msg("the model has no %s", from);
    int size = snprintf(out, FIXTURE_BYTES_MAX, "%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
    EXPECT(size > 0 && size < FIXTURE_BYTES_MAX);
}

static myr_rc fixture_import(const void *data, size_t size, myr_imported **out, myr_err *err)
{
    return myr_import("m", data, size, NULL, 0, out, err);
}

/* Values of one row of three features, through import, compile and check. */
TESTING_UNUSED static void fixture_predict(const char *json, const double row[3], double *out, double *out_margins)
{
    myr_err err = {0};
    myr_imported *imported = NULL;
    const myr_model *model = NULL;
    unsigned char *bytes = NULL;
    size_t size = 0;
    EXPECT_RC(fixture_import(json, strlen(json), &imported, &err), OK, &err);
    EXPECT_RC(myr_model_compile(&imported->desc, NULL, 3, NULL, &bytes, &size, &err), OK, &err);
    EXPECT_RC(myr_model_check(bytes, size, &model, &err), OK, &err);
    if (out != NULL) myr_model_predict(model, row, 3, 1, out);
    if (out_margins != NULL) myr_model_margins(model, row, 3, 1, out_margins);
    myr_free(bytes);
    myr_imported_free(imported);
}

/* ---- UBJSON ---- */

static void ubj_number(myr_buf *out, char marker, uint64_t bits, size_t count)
{
    if (marker != '\0') myr_buf_putc(out, marker);
    for (size_t i = count; i > 0; i--) {
        myr_buf_putc(out, (char)(bits >> (8 * (i - 1)) & 0xff));
    }
}

TESTING_UNUSED static void ubj_text(myr_buf *out, const char *text)
{
    ubj_number(out, 'L', strlen(text), 8);
    myr_buf_puts(out, text);
}

static void ubj_float(myr_buf *out, char marker, double wide)
{
    float value = (float)wide;
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    ubj_number(out, marker, bits, 4);
}

/* Arrays of numbers become typed ones of floats or 32-bit integers, as XGBoost writes them. */
static void ubj_array(myr_buf *out, yyjson_val *array);

static void ubj_value(myr_buf *out, yyjson_val *value)
{
    size_t idx;
    size_t max;
    yyjson_val *key;
    yyjson_val *inner;
    if (yyjson_is_obj(value)) {
        myr_buf_putc(out, '{');
        yyjson_obj_foreach(value, idx, max, key, inner)
        {
            ubj_text(out, yyjson_get_str(key));
            ubj_value(out, inner);
        }
        myr_buf_putc(out, '}');
    } else if (yyjson_is_arr(value)) {
        ubj_array(out, value);
    } else if (yyjson_is_str(value)) {
        myr_buf_putc(out, 'S');
        ubj_text(out, yyjson_get_str(value));
    } else if (yyjson_is_int(value)) {
        ubj_number(out, 'l', (uint32_t)yyjson_get_sint(value), 4);
    } else {
        ubj_float(out, 'd', yyjson_get_real(value));
    }
}

static void ubj_array(myr_buf *out, yyjson_val *array)
{
    yyjson_val *first = yyjson_arr_get_first(array);
    bool is_real = yyjson_is_real(first);
    bool is_typed = is_real || yyjson_is_int(first);
    size_t idx;
    size_t max;
    yyjson_val *value;
    myr_buf_puts(out, is_real ? "[$d#" : is_typed ? "[$l#" : "[#");
    ubj_number(out, 'L', yyjson_arr_size(array), 8);
    yyjson_arr_foreach(array, idx, max, value)
    {
        if (is_real) {
            ubj_float(out, '\0', yyjson_get_real(value));
        } else if (is_typed) {
            ubj_number(out, '\0', (uint32_t)yyjson_get_sint(value), 4);
        } else {
            ubj_value(out, value);
        }
    }
}

/* The same model as UBJSON. */
TESTING_UNUSED static void fixture_to_ubj(const char *json, myr_buf *out)
{
    char *copy = myr_strdup(json);
    yyjson_doc *doc = yyjson_read_opts(copy, strlen(copy), YYJSON_READ_ALLOW_INF_AND_NAN, NULL, NULL);
    EXPECT(doc != NULL);
    ubj_value(out, yyjson_doc_get_root(doc));
    EXPECT(!out->failed);
    yyjson_doc_free(doc);
    myr_free(copy);
}

#endif
