/*
 * Our own linear format, both ways:
 *   {"format":"myriad-linear","version":1,"features":["a","b"],"intercept":1.5,"weights":[1,2],"fills":[null,0.5]}
 * and with "link":"probit" (and "link_param":…) the inverse link of the margin is the value. Several outputs: intercept
 * is an array of numbers, weights one of arrays, an array per output. One object, each member known and at most once.
 * Numbers are finite; a fill is null where a NaN shall stay a NaN.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include <yyjson.h>

#include "import/internal.h"

#define LINEAR_FORMAT  "myriad-linear"
#define LINEAR_VERSION 1

enum {
    LINEAR_KEY_FORMAT,
    LINEAR_KEY_VERSION,
    LINEAR_KEY_FEATURES,
    LINEAR_KEY_INTERCEPT,
    LINEAR_KEY_WEIGHTS,
    LINEAR_KEY_FILLS, /* from here on they may be absent */
    LINEAR_KEY_LINK,
    LINEAR_KEY_LINK_PARAM,
    LINEAR_KEY_COUNT
};
static const char *const linear_keys[LINEAR_KEY_COUNT] = {"format",  "version", "features", "intercept",
                                                          "weights", "fills",   "link",     "link_param"};

/* Which transform is the inverse of a link. */
typedef struct linear_link {
    const char *name;
    myr_transform transform;
    double param;   /* NAN: link_param gives it */
    bool is_shared; /* over all outputs, of which there are at least two */
} linear_link;

static const linear_link linear_links[] = {
    {"identity", MYR_TRANSFORM_IDENTITY, 0, false},
    {"log", MYR_TRANSFORM_EXP, 0, false},
    {"logit", MYR_TRANSFORM_SIGMOID, 1, false},
    {"probit", MYR_TRANSFORM_LINK_PROBIT, 0, false},
    {"cauchit", MYR_TRANSFORM_LINK_CAUCHIT, 0, false},
    {"cloglog", MYR_TRANSFORM_LINK_CLOGLOG, 0, false},
    {"loglog", MYR_TRANSFORM_LINK_LOGLOG, 0, false},
    {"logc", MYR_TRANSFORM_LINK_LOGC, 0, false},
    {"inverse", MYR_TRANSFORM_LINK_POWER, -1, false},
    {"inverse_squared", MYR_TRANSFORM_LINK_POWER, -2, false},
    {"sqrt", MYR_TRANSFORM_LINK_POWER, 0.5, false},
    {"power", MYR_TRANSFORM_LINK_POWER, (double)NAN, false},
    {"negative_binomial", MYR_TRANSFORM_LINK_NEGATIVE_BINOMIAL, (double)NAN, false},
    {"softmax", MYR_TRANSFORM_SOFTMAX, 0, true},
    {"one_vs_rest", MYR_TRANSFORM_SIGMOID_SHARE, 0, true},
};

typedef struct linear_ctx {
    const myr_import_src *src;
    myr_imported *out;
    yyjson_val *members[LINEAR_KEY_COUNT];
    bool is_many; /* several outputs: arrays of arrays */
    myr_err *err;
} linear_ctx;

static void *linear_malloc(void *ctx, size_t size)
{
    (void)ctx;
    return myr_alloc(size);
}

static void *linear_realloc(void *ctx, void *block, size_t old_size, size_t size)
{
    (void)ctx;
    (void)old_size;
    return myr_realloc(block, size);
}

static void linear_free(void *ctx, void *block)
{
    (void)ctx;
    myr_free(block);
}

typedef yyjson_doc *linear_doc;
static void linear_doc_drop(linear_doc *doc)
{
    yyjson_doc_free(*doc);
}

static myr_rc linear_parse(const myr_import_src *src, linear_doc *out, myr_err *err)
{
    const yyjson_alc alc = {.malloc = linear_malloc, .realloc = linear_realloc, .free = linear_free};
    yyjson_read_err why = {0};
    const yyjson_read_flag flags =
        YYJSON_READ_NUMBER_AS_RAW; /* read by our own parser, which keeps -0; data is not written */
    yyjson_doc *doc = yyjson_read_opts((char *)src->data, src->size, flags, &alc, &why);
    if (doc == NULL && why.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION) {
        MYR_FAIL(err, NO_MEMORY, "%s: no memory to read %zu bytes of JSON", src->name, src->size);
    }
    if (doc == NULL) MYR_FAIL(err, BAD_FORMAT, "%s: byte %zu: not JSON: %s", src->name, why.pos, why.msg);
    *out = doc;
    return MYR_OK;
}

static myr_rc linear_find_members(linear_ctx *c, yyjson_val *root)
{
    yyjson_obj_iter iter = yyjson_obj_iter_with(root);
    if (!yyjson_is_obj(root)) MYR_FAIL(c->err, BAD_FORMAT, "%s: not a JSON object", c->src->name);
    for (yyjson_val *key; (key = yyjson_obj_iter_next(&iter)) != NULL;) {
        size_t k = 0;
        while (k < LINEAR_KEY_COUNT && !yyjson_equals_str(key, linear_keys[k])) {
            k++;
        }
        if (k == LINEAR_KEY_COUNT) {
            MYR_FAIL(c->err, BAD_FORMAT, "%s: member \"%.60s\" is not known", c->src->name, yyjson_get_str(key));
        }
        if (c->members[k] != NULL)
            MYR_FAIL(c->err, BAD_FORMAT, "%s: member \"%s\" comes twice", c->src->name, linear_keys[k]);
        c->members[k] = yyjson_obj_iter_get_val(key);
    }
    for (size_t k = 0; k < LINEAR_KEY_FILLS; k++) { /* the others may be absent */
        if (c->members[k] == NULL)
            MYR_FAIL(c->err, BAD_FORMAT, "%s: member \"%s\" is missing", c->src->name, linear_keys[k]);
    }
    return MYR_OK;
}

/* A finite number; false and *out untouched otherwise. */
static bool linear_number(yyjson_val *val, double *out)
{
    double number;
    if (!yyjson_is_raw(val) || !myr_parse_double(myr_str_make(yyjson_get_raw(val), yyjson_get_len(val)), &number))
        return false;
    if (!isfinite(number)) return false;
    *out = number;
    return true;
}

static myr_rc linear_check_version(const linear_ctx *c)
{
    double version;
    if (!yyjson_equals_str(c->members[LINEAR_KEY_FORMAT], LINEAR_FORMAT)) {
        MYR_FAIL(c->err, BAD_FORMAT, "%s: format is not \"" LINEAR_FORMAT "\"", c->src->name);
    }
    if (!linear_number(c->members[LINEAR_KEY_VERSION], &version)) {
        MYR_FAIL(c->err, BAD_FORMAT, "%s: version is not a number", c->src->name);
    }
    if (version != LINEAR_VERSION) {
        MYR_FAIL(c->err, UNSUPPORTED, "%s: linear format version %g, this program reads %d", c->src->name, version,
                 LINEAR_VERSION);
    }
    return MYR_OK;
}

static myr_rc linear_no_memory(const linear_ctx *c)
{
    MYR_FAIL(c->err, NO_MEMORY, "%s: no memory for the model", c->src->name);
}

static myr_rc linear_features(linear_ctx *c)
{
    yyjson_val *list = c->members[LINEAR_KEY_FEATURES];
    myr_imported *out = c->out;
    if (!yyjson_is_arr(list)) MYR_FAIL(c->err, BAD_FORMAT, "%s: features is not an array", c->src->name);
    if (yyjson_arr_size(list) > MYR_FEATURES_MAX) {
        MYR_FAIL(c->err, TOO_LARGE, "%s: %zu features, at most %d", c->src->name, yyjson_arr_size(list),
                 MYR_FEATURES_MAX);
    }
    out->feature_count = (uint32_t)yyjson_arr_size(list);
    out->feature_names = myr_arena_calloc(out->arena, (size_t)out->feature_count + 1, sizeof *out->feature_names);
    if (out->feature_names == NULL) return linear_no_memory(c);
    yyjson_arr_iter iter = yyjson_arr_iter_with(list);
    for (uint32_t j = 0; j < out->feature_count; j++) {
        yyjson_val *name = yyjson_arr_iter_next(&iter);
        if (!yyjson_is_str(name) || strlen(yyjson_get_str(name)) != yyjson_get_len(name)) {
            MYR_FAIL(c->err, BAD_FORMAT, "%s: features[%u] is not a name", c->src->name, j);
        }
        out->feature_names[j] = myr_arena_strndup(out->arena, yyjson_get_str(name), yyjson_get_len(name));
        if (out->feature_names[j] == NULL) return linear_no_memory(c);
    }
    return MYR_OK;
}

/* `count` finite numbers of an array; with `null_is_nan`, a null is a NaN. `what`: "weights[1]", for messages. */
static myr_rc linear_numbers(linear_ctx *c, yyjson_val *list, const char *what, bool null_is_nan, uint32_t count,
                             double *out)
{
    if (!yyjson_is_arr(list)) MYR_FAIL(c->err, BAD_FORMAT, "%s: %s is not an array", c->src->name, what);
    if (yyjson_arr_size(list) != count) {
        MYR_FAIL(c->err, BAD_FORMAT, "%s: %zu %s for %u features", c->src->name, yyjson_arr_size(list), what, count);
    }
    yyjson_arr_iter iter = yyjson_arr_iter_with(list);
    for (uint32_t j = 0; j < count; j++) {
        yyjson_val *number = yyjson_arr_iter_next(&iter);
        bool absent = null_is_nan && yyjson_is_null(number);
        out[j] = (double)NAN;
        if (!absent && !linear_number(number, &out[j])) {
            MYR_FAIL(c->err, BAD_FORMAT, "%s: %s[%u] is not a finite number", c->src->name, what, j);
        }
    }
    return MYR_OK;
}

/* A number is one output, an array has one number per output. */
static myr_rc linear_intercepts(linear_ctx *c)
{
    yyjson_val *member = c->members[LINEAR_KEY_INTERCEPT];
    myr_model_desc *d = &c->out->desc;
    c->is_many = yyjson_is_arr(member);
    size_t count = c->is_many ? yyjson_arr_size(member) : 1;
    if (count == 0) MYR_FAIL(c->err, BAD_FORMAT, "%s: intercept is empty: a model has an output", c->src->name);
    if (count > MYR_OUTPUTS_MAX) {
        MYR_FAIL(c->err, TOO_LARGE, "%s: intercept has %zu numbers, at most %d", c->src->name, count, MYR_OUTPUTS_MAX);
    }
    double *intercepts = myr_arena_calloc(c->out->arena, count, sizeof *intercepts);
    if (intercepts == NULL) return linear_no_memory(c);
    d->margin_count = (uint32_t)count;
    d->base_margins = intercepts;
    if (c->is_many) return linear_numbers(c, member, "intercept", false, d->margin_count, intercepts);
    if (!linear_number(member, intercepts))
        MYR_FAIL(c->err, BAD_FORMAT, "%s: intercept is not a finite number", c->src->name);
    return MYR_OK;
}

static myr_rc linear_weights(linear_ctx *c)
{
    yyjson_val *member = c->members[LINEAR_KEY_WEIGHTS];
    myr_model_desc *d = &c->out->desc;
    uint32_t features = c->out->feature_count;
    size_t room = (size_t)features * d->margin_count;
    if (!yyjson_is_arr(member)) MYR_FAIL(c->err, BAD_FORMAT, "%s: weights is not an array", c->src->name);
    if (c->is_many && yyjson_arr_size(member) != d->margin_count) {
        MYR_FAIL(c->err, BAD_FORMAT, "%s: weights has %zu arrays for %u intercepts", c->src->name,
                 yyjson_arr_size(member), d->margin_count);
    }
    if (room > c->src->size) { /* a weight takes a byte at least: memory is bounded by the file */
        MYR_FAIL(c->err, BAD_FORMAT, "%s: weights has no room for %zu numbers", c->src->name, room);
    }
    double *weights = myr_arena_calloc(c->out->arena, room + 1, sizeof *weights);
    if (weights == NULL) return linear_no_memory(c);
    d->weights = weights;
    if (!c->is_many) return linear_numbers(c, member, "weights", false, features, weights);
    yyjson_arr_iter iter = yyjson_arr_iter_with(member);
    for (uint32_t k = 0; k < d->margin_count; k++) {
        char what[32];
        MYR_IGNORE(snprintf(what, sizeof what, "weights[%u]", k)); /* it fits */
        MYR_TRY(linear_numbers(c, yyjson_arr_iter_next(&iter), what, false, features, weights + (size_t)k * features));
    }
    return MYR_OK;
}

static myr_rc linear_fills(linear_ctx *c)
{
    yyjson_val *member = c->members[LINEAR_KEY_FILLS];
    if (member == NULL || yyjson_is_null(member)) return MYR_OK;
    double *fills = myr_arena_calloc(c->out->arena, (size_t)c->out->feature_count + 1, sizeof *fills);
    if (fills == NULL) return linear_no_memory(c);
    c->out->desc.fills = fills;
    return linear_numbers(c, member, "fills", true, c->out->feature_count, fills);
}

/* ---- the link ---- */

static myr_rc linear_param(linear_ctx *c, const linear_link *link)
{
    yyjson_val *member = c->members[LINEAR_KEY_LINK_PARAM];
    double param = link->param;
    if (!isnan(param)) {
        if (member != NULL)
            MYR_FAIL(c->err, BAD_FORMAT, "%s: link_param, but link %s takes none", c->src->name, link->name);
    } else if (member == NULL) {
        MYR_FAIL(c->err, BAD_FORMAT, "%s: link %s needs link_param", c->src->name, link->name);
    } else if (!linear_number(member, &param) ||
               !(link->transform == MYR_TRANSFORM_LINK_POWER ? param != 0 : param > 0)) {
        MYR_FAIL(c->err, BAD_FORMAT, "%s: link_param is not a number %s 0", c->src->name,
                 link->transform == MYR_TRANSFORM_LINK_POWER ? "other than" : "above");
    }
    c->out->desc.transform_param = param;
    return MYR_OK;
}

static myr_rc linear_link_of(linear_ctx *c)
{
    yyjson_val *member = c->members[LINEAR_KEY_LINK];
    myr_model_desc *d = &c->out->desc;
    const linear_link *link = &linear_links[0];
    if (member != NULL && !yyjson_is_str(member)) MYR_FAIL(c->err, BAD_FORMAT, "%s: link is not a name", c->src->name);
    if (member != NULL) {
        size_t k = 0;
        while (k < MYR_COUNT_OF(linear_links) && !yyjson_equals_str(member, linear_links[k].name)) {
            k++;
        }
        if (k == MYR_COUNT_OF(linear_links)) {
            MYR_FAIL(c->err, UNSUPPORTED, "%s: link \"%.60s\" is not known", c->src->name, yyjson_get_str(member));
        }
        link = &linear_links[k];
        c->out->objective = link->name;
    }
    if (link->is_shared && d->margin_count < 2) {
        MYR_FAIL(c->err, BAD_FORMAT, "%s: link %s needs at least two outputs", c->src->name, link->name);
    }
    d->transform = link->transform;
    if (d->transform == MYR_TRANSFORM_SIGMOID && d->margin_count > 1) d->transform = MYR_TRANSFORM_SIGMOID_EACH;
    return linear_param(c, link);
}

myr_rc myr_import_linear(const myr_import_src *src, myr_imported *out, myr_err *err)
{
    linear_ctx c = {.src = src, .out = out, .err = err};
    MYR_AUTO(linear_doc) doc = NULL;
    if (src->size > MYR_LINEAR_BYTES_MAX) {
        MYR_FAIL(err, TOO_LARGE, "%s: a linear model of %zu bytes, at most %d", src->name, src->size,
                 MYR_LINEAR_BYTES_MAX);
    }
    out->algorithm = "linear";
    out->objective = "";
    out->desc.kind = MYR_MODEL_LINEAR;
    out->desc.calc = MYR_CALC_F64;
    MYR_TRY(linear_parse(src, &doc, err));
    MYR_TRY(linear_find_members(&c, yyjson_doc_get_root(doc)));
    MYR_TRY(linear_check_version(&c));
    MYR_TRY(linear_features(&c));
    out->desc.feature_count = out->feature_count;
    MYR_TRY(linear_intercepts(&c));
    MYR_TRY(linear_weights(&c));
    MYR_TRY(linear_fills(&c));
    return linear_link_of(&c);
}

static void linear_put_numbers(myr_buf *out, const char *key, const double *numbers, uint32_t count)
{
    myr_buf_printf(out, ",\"%s\":[", key);
    for (uint32_t j = 0; j < count; j++) {
        if (j > 0) myr_buf_putc(out, ',');
        if (isnan(numbers[j])) {
            myr_buf_puts(out, "null");
        } else {
            myr_buf_double(out, numbers[j]);
        }
    }
    myr_buf_putc(out, ']');
}

void myr_linear_format(const char *const *features, uint32_t feature_count, double intercept, const double *weights,
                       const double *fills, myr_buf *out)
{
    MYR_ASSERT(isfinite(intercept));
    myr_buf_puts(out, "{\"format\":\"" LINEAR_FORMAT "\",\"version\":1,\"features\":[");
    for (uint32_t j = 0; j < feature_count; j++) {
        MYR_ASSERT(isfinite(weights[j]));
        if (j > 0) myr_buf_putc(out, ',');
        myr_buf_json_string(out, myr_str_of(features[j]));
    }
    myr_buf_puts(out, "],\"intercept\":");
    myr_buf_double(out, intercept);
    linear_put_numbers(out, "weights", weights, feature_count);
    if (fills != NULL) linear_put_numbers(out, "fills", fills, feature_count);
    myr_buf_puts(out, "}\n");
}
