/*
 * Our own linear format, both ways:
 *   {"format":"myriad-linear","version":1,"features":["a","b"],"intercept":1.5,"weights":[1,2],"fills":[null,0.5]}
 * One object, each member known and at most once. Numbers are finite; a fill is null where a NaN shall stay a NaN.
 */
#include <math.h>
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
    LINEAR_KEY_FILLS,
    LINEAR_KEY_COUNT
};
static const char *const linear_keys[LINEAR_KEY_COUNT] = {"format",    "version", "features",
                                                          "intercept", "weights", "fills"};

typedef struct linear_ctx {
    const myr_import_src *src;
    myr_imported *out;
    yyjson_val *members[LINEAR_KEY_COUNT];
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
    for (size_t k = 0; k < LINEAR_KEY_FILLS; k++) { /* only fills may be absent */
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

/* feature_count finite numbers; with `null_is_nan`, a null is a NaN. */
static myr_rc linear_numbers(linear_ctx *c, int key, bool null_is_nan, double **out)
{
    yyjson_val *list = c->members[key];
    uint32_t count = c->out->feature_count;
    if (!yyjson_is_arr(list)) MYR_FAIL(c->err, BAD_FORMAT, "%s: %s is not an array", c->src->name, linear_keys[key]);
    if (yyjson_arr_size(list) != count) {
        MYR_FAIL(c->err, BAD_FORMAT, "%s: %zu %s for %u features", c->src->name, yyjson_arr_size(list),
                 linear_keys[key], count);
    }
    double *numbers = myr_arena_calloc(c->out->arena, (size_t)count + 1, sizeof *numbers);
    if (numbers == NULL) return linear_no_memory(c);
    yyjson_arr_iter iter = yyjson_arr_iter_with(list);
    for (uint32_t j = 0; j < count; j++) {
        yyjson_val *number = yyjson_arr_iter_next(&iter);
        bool absent = null_is_nan && yyjson_is_null(number);
        numbers[j] = (double)NAN;
        if (!absent && !linear_number(number, &numbers[j])) {
            MYR_FAIL(c->err, BAD_FORMAT, "%s: %s[%u] is not a finite number", c->src->name, linear_keys[key], j);
        }
    }
    *out = numbers;
    return MYR_OK;
}

static myr_rc linear_intercept(linear_ctx *c, double **out)
{
    double *intercept = myr_arena_alloc(c->out->arena, sizeof *intercept);
    if (intercept == NULL) return linear_no_memory(c);
    if (!linear_number(c->members[LINEAR_KEY_INTERCEPT], intercept)) {
        MYR_FAIL(c->err, BAD_FORMAT, "%s: intercept is not a finite number", c->src->name);
    }
    *out = intercept;
    return MYR_OK;
}

myr_rc myr_import_linear(const myr_import_src *src, myr_imported *out, myr_err *err)
{
    linear_ctx c = {.src = src, .out = out, .err = err};
    MYR_AUTO(linear_doc) doc = NULL;
    double *intercept = NULL;
    double *weights = NULL;
    double *fills = NULL;
    if (src->size > MYR_LINEAR_BYTES_MAX) {
        MYR_FAIL(err, TOO_LARGE, "%s: a linear model of %zu bytes, at most %d", src->name, src->size,
                 MYR_LINEAR_BYTES_MAX);
    }
    MYR_TRY(linear_parse(src, &doc, err));
    MYR_TRY(linear_find_members(&c, yyjson_doc_get_root(doc)));
    MYR_TRY(linear_check_version(&c));
    MYR_TRY(linear_features(&c));
    MYR_TRY(linear_intercept(&c, &intercept));
    MYR_TRY(linear_numbers(&c, LINEAR_KEY_WEIGHTS, false, &weights));
    bool filled = c.members[LINEAR_KEY_FILLS] != NULL && !yyjson_is_null(c.members[LINEAR_KEY_FILLS]);
    if (filled) MYR_TRY(linear_numbers(&c, LINEAR_KEY_FILLS, true, &fills));
    out->algorithm = "linear";
    out->objective = "";
    out->desc = (myr_model_desc){.kind = MYR_MODEL_LINEAR,
                                 .calc = MYR_CALC_F64,
                                 .transform = MYR_TRANSFORM_IDENTITY,
                                 .feature_count = out->feature_count,
                                 .margin_count = 1,
                                 .base_margins = intercept,
                                 .weights = weights,
                                 .fills = fills};
    return MYR_OK;
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
