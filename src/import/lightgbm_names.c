/*
 * The last line of a LightGBM file, `pandas_categorical`: for each column of the training data frame that was of the
 * category type, in order, the list of its categories; the model knows their places in that list.
 *
 * The line does not say which features they are. LightGBM takes the category columns of the frame that it is handed; we
 * have none, so: the features that the caller names, else those that `parameters` calls categorical, else those whose
 * feature_infos is a set. That is right when training took its categorical features from the frame (the default). If
 * the counts differ (an ordered category is a number for LightGBM, but has a list), or a feature has larger codes than
 * its list, it would be a guess: an error that asks for the names.
 */
#include "import/category.h"
#include "import/lightgbm.h"
#include "import/xgboost_doc.h"

#include <math.h>
#include <string.h>

#define NAMES_LINE      "pandas_categorical:"
#define NAMES_PARAMETER "[categorical_feature: "

typedef struct names_ctx {
    const myr_import_src *src;
    myr_imported *out;
    myr_str infos;      /* feature_infos, empty if the file has none */
    uint32_t *features; /* which feature a list belongs to */
    uint32_t count;
    myr_err *err;
} names_ctx;

/* ---- what stands behind the trees ---- */

static void names_find_lines(myr_lightgbm_reader *reader, myr_str *out_lists, myr_str *out_parameter)
{
    myr_str line;
    *out_lists = (myr_str){0};
    *out_parameter = (myr_str){0};
    while (myr_lightgbm_line(reader, &line)) {
        if (myr_str_starts_with(line, NAMES_LINE)) {
            size_t skip = strlen(NAMES_LINE);
            *out_lists = myr_str_trim(myr_str_make(line.data + skip, line.size - skip));
        } else if (myr_str_starts_with(line, NAMES_PARAMETER) && line.data[line.size - 1] == ']') {
            size_t skip = strlen(NAMES_PARAMETER);
            *out_parameter = myr_str_make(line.data + skip, line.size - skip - 1);
        }
    }
}

/* ---- which features ---- */

static myr_rc names_add(names_ctx *c, uint32_t feature)
{
    if (c->count >= c->out->feature_count) {
        MYR_FAIL(c->err, BAD_INPUT, "%s: more features of categories are named than the model's %u features",
                 c->src->name, c->out->feature_count);
    }
    c->features[c->count++] = feature;
    return MYR_OK;
}

/* The caller's names, in the order of the lists. */
static myr_rc names_from_caller(names_ctx *c)
{
    const myr_import_opts *opts = c->src->opts;
    for (uint32_t i = 0; i < opts->category_feature_count; i++) {
        const char *wanted = opts->category_features[i];
        uint32_t j = 0;
        while (j < c->out->feature_count) {
            const char *name = opts->feature_names != NULL ? opts->feature_names[j] : c->out->feature_names[j];
            if (strcmp(name, wanted) == 0) break;
            j++;
        }
        if (j == c->out->feature_count) {
            MYR_FAIL(c->err, BAD_INPUT, "%s: category feature \"%s\" is not a feature of the model", c->src->name,
                     wanted);
        }
        for (uint32_t k = 0; k < c->count; k++) {
            if (c->features[k] == j)
                MYR_FAIL(c->err, BAD_INPUT, "%s: category feature \"%s\" is named twice", c->src->name, wanted);
        }
        MYR_TRY(names_add(c, j));
    }
    return MYR_OK;
}

/* "0,3,5", ascending; false: something else, and nothing is added. */
static bool names_from_parameter(names_ctx *c, myr_str parameter)
{
    myr_str token;
    while (myr_str_split(&parameter, ',', &token)) {
        uint64_t feature;
        bool is_good = myr_parse_uint64(token, &feature) && feature < c->out->feature_count;
        is_good = is_good && (c->count == 0 || feature > c->features[c->count - 1]);
        if (!is_good) {
            c->count = 0;
            return false;
        }
        c->features[c->count++] = (uint32_t)feature; /* ascending and below feature_count: there is room */
    }
    return c->count > 0;
}

/* A set in feature_infos is written "0:2:1", a range "[0:2]", a feature that was not used "none". */
static bool names_info_is_set(myr_str info)
{
    return info.size > 0 && info.data[0] != '[' && !myr_str_is(info, "none");
}

static void names_from_infos(names_ctx *c)
{
    myr_str rest = c->infos;
    myr_str info;
    for (uint32_t j = 0; j < c->out->feature_count && myr_lightgbm_token(&rest, &info); j++) {
        if (names_info_is_set(info)) c->features[c->count++] = j;
    }
}

/* Could the codes of a feature, by its feature_infos, be places in a list of `count`? */
static bool names_info_fits(myr_str info, uint64_t count)
{
    myr_str token;
    if (!names_info_is_set(info)) return true;
    while (myr_str_split(&info, ':', &token)) {
        int64_t code;
        if (myr_parse_int64(token, &code) && code >= 0 && (uint64_t)code >= count) return false;
    }
    return true;
}

static bool names_fit(const names_ctx *c, const myr_doc *doc)
{
    myr_doc_iter iter;
    myr_doc_value list;
    myr_doc_iter_init(doc, doc->root, &iter);
    for (uint32_t i = 0; i < c->count && myr_doc_next(&iter, NULL, &list); i++) {
        myr_str rest = c->infos;
        myr_str info = {0};
        for (uint32_t j = 0; j <= c->features[i]; j++) {
            if (!myr_lightgbm_token(&rest, &info)) info = (myr_str){0};
        }
        if (myr_doc_kind_of(list) == MYR_DOC_ARRAY && !names_info_fits(info, myr_doc_count(doc, list))) return false;
    }
    return true;
}

static myr_rc names_find_features(names_ctx *c, const myr_doc *doc, myr_str parameter)
{
    uint64_t lists = myr_doc_count(doc, doc->root);
    const bool is_given = c->src->opts->category_feature_count > 0;
    c->features = myr_arena_calloc(c->out->arena, (size_t)c->out->feature_count + 1, sizeof *c->features);
    if (c->features == NULL) MYR_FAIL(c->err, NO_MEMORY, "%s: no memory for its categories", c->src->name);
    if (is_given) {
        MYR_TRY(names_from_caller(c));
    } else if (!names_from_parameter(c, parameter)) {
        names_from_infos(c);
    }
    if (c->count != lists) {
        MYR_FAIL(c->err, BAD_INPUT,
                 "%s: pandas_categorical has %llu lists of categories, but %u features are %s: say which features they "
                 "belong to, in order (--category-features)",
                 c->src->name, (unsigned long long)lists, c->count, is_given ? "named" : "categorical");
    }
    if (!names_fit(c, doc)) {
        MYR_FAIL(c->err, BAD_INPUT,
                 "%s: pandas_categorical does not fit the categorical features (a code is beyond its list): say which "
                 "features the lists belong to, in order (--category-features)",
                 c->src->name);
    }
    return MYR_OK;
}

/* ---- the lists ---- */

static myr_rc names_put(const names_ctx *c, myr_category_maker *maker, myr_doc_value value)
{
    myr_str text;
    int64_t number = 0;
    double wide = 0;
    switch (myr_doc_kind_of(value)) {
    case MYR_DOC_STRING:
        MYR_IGNORE(myr_doc_string(value, &text)); /* it is one */
        return myr_category_put_text(maker, text);
    case MYR_DOC_BOOL:
        MYR_IGNORE(myr_doc_int(value, &number)); /* it is 0 or 1 */
        return myr_category_put_bool(maker, number != 0);
    case MYR_DOC_NUMBER:
        if (myr_doc_int(value, &number)) return myr_category_put_int(maker, number);
        if (myr_doc_double(value, &wide)) return myr_category_put_double(maker, wide);
        break;
    default:
        break;
    }
    MYR_FAIL(c->err, UNSUPPORTED,
             "%s: pandas_categorical: category %u of list %u is %s; texts, numbers and truth "
             "values are read",
             c->src->name, maker->count, maker->feature, myr_doc_kind_name(myr_doc_kind_of(value)));
}

static myr_rc names_lists(const names_ctx *c, const myr_doc *doc, myr_category_maker *maker)
{
    myr_doc_iter lists;
    myr_doc_value list;
    myr_doc_iter_init(doc, doc->root, &lists);
    for (uint32_t i = 0; i < c->count && myr_doc_next(&lists, NULL, &list); i++) {
        myr_doc_iter iter;
        myr_doc_value value;
        if (myr_doc_kind_of(list) != MYR_DOC_ARRAY) {
            MYR_FAIL(c->err, BAD_FORMAT, "%s: pandas_categorical: list %u is %s", c->src->name, i,
                     myr_doc_kind_name(myr_doc_kind_of(list)));
        }
        MYR_TRY(myr_category_begin(maker, c->features[i], myr_doc_count(doc, list)));
        myr_doc_iter_init(doc, list, &iter);
        while (myr_doc_next(&iter, NULL, &value)) {
            MYR_TRY(names_put(c, maker, value));
        }
        myr_category_end(maker);
    }
    return MYR_OK;
}

static myr_rc names_read(names_ctx *c, const myr_doc *doc, myr_str parameter)
{
    const bool is_given = c->src->opts->category_feature_count > 0;
    myr_doc_kind kind = myr_doc_kind_of(doc->root);
    if (kind != MYR_DOC_NULL && kind != MYR_DOC_ARRAY) {
        MYR_FAIL(c->err, BAD_FORMAT, "%s: pandas_categorical is %s, not lists", c->src->name, myr_doc_kind_name(kind));
    }
    if (kind == MYR_DOC_NULL || myr_doc_count(doc, doc->root) == 0) {
        if (!is_given) return MYR_OK;
        MYR_FAIL(c->err, BAD_INPUT, "%s: category features are named, but the file has no categories", c->src->name);
    }
    MYR_TRY(names_find_features(c, doc, parameter));
    myr_category_maker maker = {.src = c->src, .out = c->out, .err = c->err};
    myr_rc rc = names_lists(c, doc, &maker);
    myr_category_maker_fini(&maker);
    return rc;
}

myr_rc myr_lightgbm_names(myr_lightgbm_reader *reader, myr_str feature_infos, myr_imported *out)
{
    names_ctx c = {.src = reader->src, .out = out, .infos = feature_infos, .err = reader->err};
    myr_str lists;
    myr_str parameter;
    names_find_lines(reader, &lists, &parameter);
    if (lists.size == 0) lists = myr_str_of("null");
    /* The document's reader wants a file: this line is one, under the file's name. */
    const myr_import_src line = {
        .name = reader->src->name, .data = lists.data, .size = lists.size, .opts = c.src->opts};
    myr_doc doc = {0};
    myr_rc rc = myr_doc_open(&line, false, &doc, reader->err);
    if (rc == MYR_OK) {
        rc = names_read(&c, &doc, parameter);
    } else {
        rc = myr_err_prefix(reader->err, rc, "pandas_categorical: ");
    }
    myr_doc_close(&doc);
    return rc;
}
