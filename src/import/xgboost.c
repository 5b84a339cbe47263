/*
 * XGBoost models, JSON or UBJSON, versions 1.0 to 3.x, become descriptions: the top of the file, where the objective
 * turns base_score into the first margin. A file is read as the newest library reads it, whatever version wrote it:
 * one base_score stands for every output, logit or log is taken in float, and the trees are added to it in file order.
 * All trees count, as in Booster.predict, unless the caller wants fewer: best_iteration is an attribute that only the
 * scikit-learn wrapper heeds.
 */
#include "import/xgboost.h"

#include <math.h>
#include <string.h>

#define XGB_VERSION_MAJOR_MAX 3
#define XGB_BASE_EPS          1e-6f /* the logistic objectives keep base_score so far from 0 and 1 */

typedef enum xgb_link { XGB_LINK_NONE, XGB_LINK_LOGIT, XGB_LINK_LOG } xgb_link;

typedef struct xgb_objective {
    const char *name;
    myr_transform transform;
    xgb_link link;
    bool is_multiclass;
} xgb_objective;

static const xgb_objective xgb_objectives[] = {
    {"reg:squarederror", MYR_TRANSFORM_IDENTITY, XGB_LINK_NONE, false},
    {"reg:linear", MYR_TRANSFORM_IDENTITY, XGB_LINK_NONE, false},
    {"reg:squaredlogerror", MYR_TRANSFORM_IDENTITY, XGB_LINK_NONE, false},
    {"reg:pseudohubererror", MYR_TRANSFORM_IDENTITY, XGB_LINK_NONE, false},
    {"reg:absoluteerror", MYR_TRANSFORM_IDENTITY, XGB_LINK_NONE, false},
    {"reg:quantileerror", MYR_TRANSFORM_IDENTITY, XGB_LINK_NONE, false},
    {"reg:logistic", MYR_TRANSFORM_SIGMOID, XGB_LINK_LOGIT, false},
    {"binary:logistic", MYR_TRANSFORM_SIGMOID, XGB_LINK_LOGIT, false},
    {"binary:logitraw", MYR_TRANSFORM_IDENTITY, XGB_LINK_NONE, false},
    {"binary:hinge", MYR_TRANSFORM_STEP, XGB_LINK_NONE, false},
    {"count:poisson", MYR_TRANSFORM_EXP, XGB_LINK_LOG, false},
    {"reg:gamma", MYR_TRANSFORM_EXP, XGB_LINK_LOG, false},
    {"reg:tweedie", MYR_TRANSFORM_EXP, XGB_LINK_LOG, false},
    {"survival:cox", MYR_TRANSFORM_EXP, XGB_LINK_LOG, false},
    {"survival:aft", MYR_TRANSFORM_EXP, XGB_LINK_LOG, false},
    {"rank:pairwise", MYR_TRANSFORM_IDENTITY, XGB_LINK_NONE, false},
    {"rank:ndcg", MYR_TRANSFORM_IDENTITY, XGB_LINK_NONE, false},
    {"rank:map", MYR_TRANSFORM_IDENTITY, XGB_LINK_NONE, false},
    {"multi:softmax", MYR_TRANSFORM_HARD_MAX, XGB_LINK_NONE, true},
    {"multi:softprob", MYR_TRANSFORM_SOFTMAX, XGB_LINK_NONE, true},
};

/* ---- fields ---- */

myr_rc myr_xgb_fields(myr_xgb *xgb, myr_doc_value object, const myr_xgb_field *fields, size_t count, myr_doc_value *out)
{
    MYR_ASSERT(myr_doc_kind_of(object) == MYR_DOC_OBJECT);
    memset(out, 0, count * sizeof *out);
    myr_doc_iter iter;
    myr_str key = {0};
    myr_doc_value value;
    myr_doc_iter_init(&xgb->doc, object, &iter);
    while (myr_doc_next(&iter, &key, &value)) {
        size_t i = 0;
        while (i < count && !myr_str_is(key, fields[i].name)) {
            i++;
        }
        if (i == count) continue;
        myr_doc_kind kind = myr_doc_kind_of(value);
        if (myr_doc_kind_of(out[i]) != MYR_DOC_ABSENT) MYR_XGB_FAIL(xgb, BAD_FORMAT, "%s stands twice", fields[i].name);
        if (kind != fields[i].kind) {
            MYR_XGB_FAIL(xgb, BAD_FORMAT, "%s is %s, not %s", fields[i].name, myr_doc_kind_name(kind),
                         myr_doc_kind_name(fields[i].kind));
        }
        out[i] = value;
    }
    for (size_t i = 0; i < count; i++) {
        if (!fields[i].is_optional && myr_doc_kind_of(out[i]) == MYR_DOC_ABSENT) {
            MYR_XGB_FAIL(xgb, BAD_FORMAT, "%s is missing", fields[i].name);
        }
    }
    return MYR_OK;
}

myr_rc myr_xgb_parameter(myr_xgb *xgb, const char *name, myr_doc_value value, uint64_t max, uint64_t *out)
{
    myr_str text;
    uint64_t number;
    bool is_text = myr_doc_string(value, &text);
    MYR_ASSERT(is_text);
    if (!myr_parse_uint64(text, &number)) {
        MYR_XGB_FAIL(xgb, BAD_FORMAT, "%s is \"" MYR_STR_FMT "\", not a whole number", name, MYR_STR_ARG(text));
    }
    if (number > max) {
        MYR_XGB_FAIL(xgb, TOO_LARGE, "%s is %llu, the most is %llu", name, (unsigned long long)number,
                     (unsigned long long)max);
    }
    *out = number;
    return MYR_OK;
}

void *myr_xgb_alloc(myr_xgb *xgb, size_t count, size_t size_bytes)
{
    return myr_arena_calloc(xgb->out->arena, count > 0 ? count : 1, size_bytes);
}

static void xgb_set_where(myr_xgb *xgb, const char *where)
{
    size_t size = strlen(where);
    MYR_ASSERT(size < sizeof xgb->where);
    memcpy(xgb->where, where, size + 1);
}

static char *xgb_copy(myr_xgb *xgb, myr_str text)
{
    return myr_arena_strndup(xgb->out->arena, text.data, text.size);
}

/* ---- the top of the file ---- */

static myr_rc xgb_check_version(myr_xgb *xgb, myr_doc_value version)
{
    myr_doc_iter iter;
    myr_doc_value part;
    int64_t parts[2];
    myr_doc_iter_init(&xgb->doc, version, &iter);
    for (size_t i = 0; i < MYR_COUNT_OF(parts); i++) {
        if (!myr_doc_next(&iter, NULL, &part) || !myr_doc_int(part, &parts[i])) {
            MYR_XGB_FAIL(xgb, BAD_FORMAT, "version does not begin with two whole numbers");
        }
    }
    xgb->version_major = parts[0];
    xgb->version_minor = parts[1];
    if (parts[0] < 1 || parts[0] > XGB_VERSION_MAJOR_MAX) {
        MYR_XGB_FAIL(xgb, UNSUPPORTED, "written by XGBoost %lld; versions 1 to %d are read", (long long)parts[0],
                     XGB_VERSION_MAJOR_MAX);
    }
    return MYR_OK;
}

static myr_rc xgb_find_learner(myr_xgb *xgb, myr_doc_value *out)
{
    enum { LEARNER, VERSION, SNAPSHOT, COUNT };
    static const myr_xgb_field fields[COUNT] = {
        {"learner", MYR_DOC_OBJECT, true}, {"version", MYR_DOC_ARRAY, true}, {"Model", MYR_DOC_OBJECT, true}};
    myr_doc_value values[COUNT];
    xgb_set_where(xgb, "model");
    if (myr_doc_kind_of(xgb->doc.root) != MYR_DOC_OBJECT) MYR_XGB_FAIL(xgb, BAD_FORMAT, "not an object");
    MYR_TRY(myr_xgb_fields(xgb, xgb->doc.root, fields, COUNT, values));
    if (myr_doc_kind_of(values[LEARNER]) == MYR_DOC_ABSENT) {
        if (myr_doc_kind_of(values[SNAPSHOT]) != MYR_DOC_ABSENT) {
            MYR_XGB_FAIL(xgb, UNSUPPORTED, "a memory snapshot (pickle); write the model with save_model");
        }
        MYR_XGB_FAIL(xgb, BAD_FORMAT, "learner is missing");
    }
    if (myr_doc_kind_of(values[VERSION]) == MYR_DOC_ABSENT) MYR_XGB_FAIL(xgb, BAD_FORMAT, "version is missing");
    MYR_TRY(xgb_check_version(xgb, values[VERSION]));
    *out = values[LEARNER];
    return MYR_OK;
}

static myr_rc xgb_read_objective(myr_xgb *xgb, myr_doc_value value, const xgb_objective **out)
{
    static const myr_xgb_field field = {"name", MYR_DOC_STRING, false};
    myr_doc_value name_value;
    myr_str name;
    xgb_set_where(xgb, "learner.objective");
    MYR_TRY(myr_xgb_fields(xgb, value, &field, 1, &name_value));
    bool is_text = myr_doc_string(name_value, &name);
    MYR_ASSERT(is_text);
    for (size_t i = 0; i < MYR_COUNT_OF(xgb_objectives); i++) {
        if (!myr_str_is(name, xgb_objectives[i].name)) continue;
        *out = &xgb_objectives[i];
        xgb->out->objective = xgb_objectives[i].name;
        xgb->out->desc.transform = xgb_objectives[i].transform;
        return MYR_OK;
    }
    MYR_XGB_FAIL(xgb, UNSUPPORTED, "objective \"" MYR_STR_FMT "\" is not known", MYR_STR_ARG(name));
}

/* ---- base_score ---- */

/* XGBoost's ProbToMargin, in float as there. False: not a value that the objective can have. */
static bool xgb_to_margin(xgb_link link, float base, float *out)
{
    switch (link) {
    case XGB_LINK_LOGIT:
        if (!(base >= 0.0f && base <= 1.0f)) return false;
        base = base < XGB_BASE_EPS ? XGB_BASE_EPS : base;
        base = base > 1.0f - XGB_BASE_EPS ? 1.0f - XGB_BASE_EPS : base;
        *out = -logf(1.0f / base - 1.0f);
        return true;
    case XGB_LINK_LOG:
        if (!(base >= 0.0f)) return false;
        *out =
            logf(base); /* 0 gives -infinity, and exp gives 0 back: what count:poisson makes of labels that are all 0 */
        return true;
    default:
        *out = base;
        return true;
    }
}

static myr_rc xgb_parse_base(myr_xgb *xgb, myr_str text, double *out)
{
    float base = 0;
    text = myr_str_trim(text);
    if (!myr_doc_parse_float(text, &base) || !isfinite(base)) {
        MYR_XGB_FAIL(xgb, BAD_FORMAT, "base_score \"" MYR_STR_FMT "\" is not a finite number", MYR_STR_ARG(text));
    }
    *out = (double)base;
    return MYR_OK;
}

/* base_score is a text: "5E-1" up to version 3.0, "[5E-1]" or "[1E0,2E0]" since. One value stands for all outputs. */
static myr_rc xgb_read_base(myr_xgb *xgb, myr_doc_value value, double **out)
{
    uint32_t count = xgb->out->desc.margin_count;
    double *margins = myr_xgb_alloc(xgb, count, sizeof *margins);
    if (margins == NULL) MYR_XGB_FAIL(xgb, NO_MEMORY, "%u base margins", count);
    myr_str text;
    bool is_text = myr_doc_string(value, &text);
    MYR_ASSERT(is_text);
    text = myr_str_trim(text);
    if (text.size >= 2 && text.data[0] == '[' && text.data[text.size - 1] == ']') {
        text = myr_str_make(text.data + 1, text.size - 2);
    }
    uint32_t found = 0;
    const char *end = text.data + text.size;
    for (const char *at = text.data; found <= count; at++) {
        const char *comma = memchr(at, ',', (size_t)(end - at));
        const char *stop = comma != NULL ? comma : end;
        double base = 0;
        MYR_TRY(xgb_parse_base(xgb, myr_str_make(at, (size_t)(stop - at)), &base));
        if (found < count) margins[found] = base;
        found++;
        at = stop;
        if (comma == NULL) break;
    }
    if (found != count && found != 1) {
        MYR_XGB_FAIL(xgb, BAD_FORMAT, "base_score has %s%u values for %u outputs", found > count ? "at least " : "",
                     found, count);
    }
    for (uint32_t i = found; i < count; i++) {
        margins[i] = margins[0];
    }
    *out = margins;
    return MYR_OK;
}

/*
 * The values become margins. A model without trees whose base_score nobody gave was never fitted: from version 3.1 on
 * XGBoost then takes the value as the margin itself.
 */
static myr_rc xgb_link_base(myr_xgb *xgb, const xgb_objective *objective, double *margins)
{
    bool is_late = xgb->version_major > 3 || (xgb->version_major == 3 && xgb->version_minor >= 1);
    bool is_unfitted = !xgb->is_fitted && xgb->boost_from_average && is_late;
    xgb_link link = is_unfitted ? XGB_LINK_NONE : objective->link;
    for (uint32_t i = 0; i < xgb->out->desc.margin_count; i++) {
        float margin;
        if (!xgb_to_margin(link, (float)margins[i], &margin)) {
            MYR_XGB_FAIL(xgb, BAD_INPUT, "base_score %g is outside what %s allows (%s)", margins[i], objective->name,
                         link == XGB_LINK_LOGIT ? "0 to 1" : "not below 0");
        }
        margins[i] = (double)margin;
    }
    xgb->out->desc.base_margins = margins;
    return MYR_OK;
}

/* ---- the learner's parameters ---- */

static myr_rc xgb_read_parameters(myr_xgb *xgb, myr_doc_value value, const xgb_objective *objective, double **out_base)
{
    enum { BASE_SCORE, NUM_FEATURE, NUM_CLASS, NUM_TARGET, AVERAGE, COUNT };
    static const myr_xgb_field fields[COUNT] = {{"base_score", MYR_DOC_STRING, false},
                                                {"num_feature", MYR_DOC_STRING, false},
                                                {"num_class", MYR_DOC_STRING, false},
                                                {"num_target", MYR_DOC_STRING, true},
                                                {"boost_from_average", MYR_DOC_STRING, true}};
    myr_doc_value values[COUNT];
    uint64_t average = 1;
    uint64_t features;
    uint64_t classes;
    uint64_t targets = 1;
    xgb_set_where(xgb, "learner.learner_model_param");
    MYR_TRY(myr_xgb_fields(xgb, value, fields, COUNT, values));
    MYR_TRY(myr_xgb_parameter(xgb, "num_feature", values[NUM_FEATURE], MYR_FEATURES_MAX, &features));
    MYR_TRY(myr_xgb_parameter(xgb, "num_class", values[NUM_CLASS], MYR_OUTPUTS_MAX, &classes));
    if (myr_doc_kind_of(values[NUM_TARGET]) != MYR_DOC_ABSENT) {
        MYR_TRY(myr_xgb_parameter(xgb, "num_target", values[NUM_TARGET], MYR_OUTPUTS_MAX, &targets));
    }
    if (myr_doc_kind_of(values[AVERAGE]) != MYR_DOC_ABSENT) {
        MYR_TRY(myr_xgb_parameter(xgb, "boost_from_average", values[AVERAGE], INT32_MAX, &average));
    }
    xgb->boost_from_average = average != 0;
    if (classes > 1 && targets > 1) MYR_XGB_FAIL(xgb, UNSUPPORTED, "several classes and several targets");
    if (objective->is_multiclass && classes == 0)
        MYR_XGB_FAIL(xgb, BAD_FORMAT, "num_class is 0 for %s", objective->name);
    uint64_t outputs = classes > targets ? classes : targets;
    xgb->out->feature_count = (uint32_t)features;
    xgb->out->desc.feature_count = (uint32_t)features;
    xgb->out->desc.margin_count = outputs > 0 ? (uint32_t)outputs : 1;
    if (xgb->out->desc.transform == MYR_TRANSFORM_SIGMOID && outputs > 1) {
        xgb->out->desc.transform = MYR_TRANSFORM_SIGMOID_EACH; /* several targets, each with its own probability */
    }
    xgb->out->desc.transform_param = 1.0;
    return xgb_read_base(xgb, values[BASE_SCORE], out_base);
}

static myr_rc xgb_read_names(myr_xgb *xgb, myr_doc_value array)
{
    if (myr_doc_kind_of(array) == MYR_DOC_ABSENT) return MYR_OK;
    uint64_t count = myr_doc_count(&xgb->doc, array);
    if (count == 0) return MYR_OK;
    if (count != xgb->out->feature_count) {
        MYR_XGB_FAIL(xgb, BAD_FORMAT, "%llu feature_names for num_feature %u", (unsigned long long)count,
                     xgb->out->feature_count);
    }
    char **names = myr_xgb_alloc(xgb, (size_t)count, sizeof *names);
    if (names == NULL) MYR_XGB_FAIL(xgb, NO_MEMORY, "%llu feature names", (unsigned long long)count);
    myr_doc_iter iter;
    myr_doc_value value;
    myr_str name;
    myr_doc_iter_init(&xgb->doc, array, &iter);
    for (size_t i = 0; i < count; i++) {
        bool has_more = myr_doc_next(&iter, NULL, &value);
        MYR_ASSERT(has_more);
        if (!myr_doc_string(value, &name)) {
            MYR_XGB_FAIL(xgb, BAD_FORMAT, "feature_names[%zu] is %s, not a text", i,
                         myr_doc_kind_name(myr_doc_kind_of(value)));
        }
        if (memchr(name.data, '\0', name.size) != NULL)
            MYR_XGB_FAIL(xgb, BAD_FORMAT, "feature_names[%zu] has a NUL", i);
        names[i] = xgb_copy(xgb, name);
        if (names[i] == NULL) MYR_XGB_FAIL(xgb, NO_MEMORY, "feature_names[%zu]", i);
    }
    xgb->out->feature_names = names;
    return MYR_OK;
}

/* ---- the booster ---- */

/* gbtree and gblinear have a model; dart has weights of trees, and a gbtree that has the model. */
typedef struct xgb_booster {
    bool is_linear;
    myr_doc_value model;
    myr_doc_value weight_drop; /* absent but for dart */
} xgb_booster;

static myr_rc xgb_find_model(myr_xgb *xgb, myr_doc_value object, xgb_booster *out)
{
    enum { NAME, MODEL, INNER, DROP, COUNT };
    static const myr_xgb_field fields[COUNT] = {{"name", MYR_DOC_STRING, false},
                                                {"model", MYR_DOC_OBJECT, true},
                                                {"gbtree", MYR_DOC_OBJECT, true},
                                                {"weight_drop", MYR_DOC_ARRAY, true}};
    myr_doc_value values[COUNT];
    myr_str name;
    xgb_set_where(xgb, "learner.gradient_booster");
    MYR_TRY(myr_xgb_fields(xgb, object, fields, COUNT, values));
    bool is_text = myr_doc_string(values[NAME], &name);
    MYR_ASSERT(is_text);
    if (myr_str_is(name, "dart")) {
        if (myr_doc_kind_of(values[INNER]) == MYR_DOC_ABSENT) MYR_XGB_FAIL(xgb, BAD_FORMAT, "gbtree is missing");
        if (myr_doc_kind_of(values[DROP]) == MYR_DOC_ABSENT) MYR_XGB_FAIL(xgb, BAD_FORMAT, "weight_drop is missing");
        out->weight_drop = values[DROP];
        xgb_set_where(xgb, "gradient_booster.gbtree");
        MYR_TRY(myr_xgb_fields(xgb, values[INNER], &fields[MODEL], 1, &values[MODEL]));
    } else if (myr_doc_kind_of(values[DROP]) != MYR_DOC_ABSENT) {
        MYR_XGB_FAIL(xgb, BAD_FORMAT, "weight_drop, but the booster is \"" MYR_STR_FMT "\"", MYR_STR_ARG(name));
    } else if (myr_str_is(name, "gblinear")) {
        out->is_linear = true;
    } else if (!myr_str_is(name, "gbtree")) {
        MYR_XGB_FAIL(xgb, UNSUPPORTED, "booster \"" MYR_STR_FMT "\"; gbtree, dart and gblinear are read",
                     MYR_STR_ARG(name));
    }
    if (myr_doc_kind_of(values[MODEL]) == MYR_DOC_ABSENT) MYR_XGB_FAIL(xgb, BAD_FORMAT, "model is missing");
    out->model = values[MODEL];
    return MYR_OK;
}

/* ---- which rounds ---- */

static myr_rc xgb_best_iteration(myr_xgb *xgb, myr_doc_value attributes, uint32_t *out)
{
    static const myr_xgb_field field = {"best_iteration", MYR_DOC_STRING, true};
    myr_doc_value value = {0};
    uint64_t best;
    xgb_set_where(xgb, "learner.attributes");
    if (myr_doc_kind_of(attributes) != MYR_DOC_ABSENT) MYR_TRY(myr_xgb_fields(xgb, attributes, &field, 1, &value));
    if (myr_doc_kind_of(value) == MYR_DOC_ABSENT) {
        MYR_XGB_FAIL(xgb, BAD_INPUT, "the best iteration is wanted, but the file has no best_iteration");
    }
    MYR_TRY(myr_xgb_parameter(xgb, "best_iteration", value, MYR_TREES_MAX, &best));
    *out = (uint32_t)best;
    return MYR_OK;
}

static myr_rc xgb_find_rounds(myr_xgb *xgb, myr_doc_value attributes, bool is_linear, myr_xgb_rounds *out)
{
    const myr_import_opts *opts = xgb->src->opts;
    *out = (myr_xgb_rounds){opts->first_iteration, opts->iterations};
    if (is_linear && (opts->first_iteration > 0 || opts->iterations > 0 || opts->best_iteration)) {
        MYR_XGB_FAIL(xgb, BAD_INPUT, "iterations are wanted, but gblinear has none to leave out");
    }
    if (!opts->best_iteration) return MYR_OK;
    uint32_t best = 0;
    MYR_TRY(xgb_best_iteration(xgb, attributes, &best));
    if (best < opts->first_iteration) {
        MYR_XGB_FAIL(xgb, BAD_INPUT, "iterations from %u on are wanted, the best is %u", opts->first_iteration, best);
    }
    out->count = best + 1 - opts->first_iteration;
    return MYR_OK;
}

static myr_rc xgb_read(myr_xgb *xgb)
{
    enum { PARAMETERS, OBJECTIVE, BOOSTER, NAMES, ATTRIBUTES, COUNT };
    static const myr_xgb_field fields[COUNT] = {{"learner_model_param", MYR_DOC_OBJECT, false},
                                                {"objective", MYR_DOC_OBJECT, false},
                                                {"gradient_booster", MYR_DOC_OBJECT, false},
                                                {"feature_names", MYR_DOC_ARRAY, true},
                                                {"attributes", MYR_DOC_OBJECT, true}};
    myr_doc_value values[COUNT];
    myr_doc_value learner;
    xgb_booster booster = {0};
    myr_xgb_rounds rounds;
    const xgb_objective *objective = NULL;
    double *base = NULL;
    double *biases = NULL;
    MYR_TRY(xgb_find_learner(xgb, &learner));
    xgb_set_where(xgb, "learner");
    MYR_TRY(myr_xgb_fields(xgb, learner, fields, COUNT, values));
    MYR_TRY(xgb_find_model(xgb, values[BOOSTER], &booster));
    MYR_TRY(xgb_find_rounds(xgb, values[ATTRIBUTES], booster.is_linear, &rounds));
    MYR_TRY(xgb_read_objective(xgb, values[OBJECTIVE], &objective));
    MYR_ASSERT(objective != NULL);
    MYR_TRY(xgb_read_parameters(xgb, values[PARAMETERS], objective, &base));
    xgb_set_where(xgb, "learner");
    MYR_TRY(xgb_read_names(xgb, values[NAMES]));
    xgb_set_where(xgb, "gradient_booster.model");
    if (booster.is_linear) {
        MYR_TRY(myr_xgb_read_linear(xgb, booster.model, &biases));
    } else {
        MYR_TRY(myr_xgb_read_trees(xgb, booster.model, booster.weight_drop, rounds));
    }
    xgb_set_where(xgb, "learner.learner_model_param");
    MYR_TRY(xgb_link_base(xgb, objective, base));
    if (biases != NULL) myr_xgb_add_biases(biases, xgb->out->desc.margin_count, base);
    return MYR_OK;
}

myr_rc myr_import_xgboost(const myr_import_src *src, myr_imported *out, myr_err *err)
{
    MYR_ASSERT(out->format == MYR_FORMAT_XGBOOST_JSON || out->format == MYR_FORMAT_XGBOOST_UBJ);
    myr_xgb xgb = {.src = src, .out = out, .err = err};
    out->algorithm = "xgboost";
    out->desc.kind = MYR_MODEL_TREES;
    out->desc.calc = MYR_CALC_F32;
    myr_rc rc = myr_doc_open(src, out->format == MYR_FORMAT_XGBOOST_UBJ, &xgb.doc, err);
    if (rc == MYR_OK) rc = xgb_read(&xgb);
    myr_xgb_nodes_fini(&xgb.nodes);
    myr_doc_close(&xgb.doc);
    return rc;
}
