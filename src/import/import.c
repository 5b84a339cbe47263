/*
 * The way in: find the format from the first bytes, let its reader make a description, then settle the feature names,
 * by which a model is tied to the columns of a fleet.
 */
#include "import/import.h"

#include <string.h>

#include "import/internal.h"

const char *myr_format_name(myr_format format)
{
    static const char *const names[] = {"lightgbm", "xgboost-json", "xgboost-ubj", "linear", "onnx"};
    MYR_ASSERT((size_t)format < MYR_COUNT_OF(names));
    return names[format];
}

/* ---- which format ---- */

/* The string that begins at data[at] (a quote): its inside, and the position behind its closing quote. */
static bool import_json_string(const myr_import_src *src, size_t *at, myr_str *out)
{
    size_t from = *at + 1;
    for (size_t k = from; k < src->size; k++) {
        if (src->data[k] == '\\') {
            k++;
        } else if (src->data[k] == '"') {
            *out = myr_str_make(src->data + from, k - from);
            *at = k + 1;
            return true;
        }
    }
    return false;
}

/* Look at the keys of the outermost object alone: "learner" is XGBoost's, "format" is ours. No checks: the readers do.
 */
static bool import_detect_json(const myr_import_src *src, myr_format *out)
{
    size_t depth = 0;
    bool key_may_come = false;
    size_t at = 0;
    while (at < src->size) {
        char c = src->data[at];
        if (c == '"') {
            myr_str text;
            if (!import_json_string(src, &at, &text)) return false;
            if (depth == 1 && key_may_come && (myr_str_is(text, "learner") || myr_str_is(text, "format"))) {
                *out = myr_str_is(text, "format") ? MYR_FORMAT_LINEAR : MYR_FORMAT_XGBOOST_JSON;
                return true;
            }
            key_may_come = false;
            continue;
        }
        if (c == '{' || c == '[') depth++;
        if ((c == '}' || c == ']') && --depth == 0) return false;
        if (c == '{' || c == ',') key_may_come = true;
        at++;
    }
    return false;
}

/* What people hand over by mistake, and what to do instead. */
static const char *import_known_stranger(const myr_import_src *src)
{
    static const struct {
        const char *magic;
        size_t size;
        const char *advice;
    } strangers[] = {
        {"\x1f\x8b", 2, "it is compressed with gzip: unpack it first"},
        {"PK\x03\x04", 4, "it is a zip archive: unpack it first"},
        {"\x80", 1, "it looks like a Python pickle, which is never read: save the model in its library's own format"},
        {"binf", 4, "it is XGBoost's old binary format: save it as .json or .ubj"},
        {"CONFIG-offset:", 14, "it is an XGBoost memory snapshot: save the model as .json or .ubj"},
    };
    for (size_t k = 0; k < MYR_COUNT_OF(strangers); k++) {
        if (src->size >= strangers[k].size && memcmp(src->data, strangers[k].magic, strangers[k].size) == 0) {
            return strangers[k].advice;
        }
    }
    return "expected LightGBM text (save_model), XGBoost .json or .ubj, ONNX, or myriad-linear JSON";
}

static myr_rc import_detect(const myr_import_src *src, myr_format *out, myr_err *err)
{
    if (src->size == 0) MYR_FAIL(err, BAD_FORMAT, "%s: the file is empty", src->name);
    size_t at = 0;
    while (at < src->size &&
           (src->data[at] == ' ' || src->data[at] == '\n' || src->data[at] == '\r' || src->data[at] == '\t')) {
        at++;
    }
    myr_str rest = myr_str_make(src->data + at, src->size - at);
    if (myr_str_starts_with(rest, "tree\n") || myr_str_starts_with(rest, "tree\r\n")) {
        *out = MYR_FORMAT_LIGHTGBM;
        return MYR_OK;
    }
    /* An object in UBJSON goes on with the type of a length, in JSON with a blank or a quote. */
    if (src->size >= 2 && src->data[0] == '{' && src->data[1] != '\0' && strchr("iUIlL$#", src->data[1]) != NULL) {
        *out = MYR_FORMAT_XGBOOST_UBJ;
        return MYR_OK;
    }
    if (myr_onnx_is(src->data, src->size)) {
        *out = MYR_FORMAT_ONNX;
        return MYR_OK;
    }
    if (rest.size > 0 && rest.data[0] == '{') {
        if (import_detect_json(src, out)) return MYR_OK;
        MYR_FAIL(err, BAD_FORMAT,
                 "%s: JSON, but its outermost object has neither \"learner\" (XGBoost) nor \"format\" (linear)",
                 src->name);
    }
    MYR_FAIL(err, BAD_FORMAT, "%s: not a model file: %s", src->name, import_known_stranger(src));
}

/* ---- feature names ---- */

static myr_rc import_no_memory(const char *name, myr_err *err)
{
    MYR_FAIL(err, NO_MEMORY, "%s: no memory for the model", name);
}

static myr_rc import_copy_names(const char *name, const char *const *names, myr_imported *out, myr_err *err)
{
    out->feature_names = myr_arena_calloc(out->arena, (size_t)out->feature_count + 1, sizeof *out->feature_names);
    if (out->feature_names == NULL) return import_no_memory(name, err);
    for (uint32_t j = 0; j < out->feature_count; j++) {
        out->feature_names[j] = names != NULL ? myr_arena_strndup(out->arena, names[j], strlen(names[j]))
                                              : myr_arena_printf(out->arena, "f%u", j);
        if (out->feature_names[j] == NULL) return import_no_memory(name, err);
    }
    return MYR_OK;
}

static myr_rc import_check_name(const char *name, uint32_t j, const char *feature, myr_err *err)
{
    size_t size = strlen(feature);
    if (size == 0) MYR_FAIL(err, BAD_INPUT, "%s: feature %u has an empty name", name, j);
    if (size > MYR_NAME_BYTES_MAX) {
        MYR_FAIL(err, TOO_LARGE, "%s: the name of feature %u has %zu bytes, at most %d: %.40s…", name, j, size,
                 MYR_NAME_BYTES_MAX, feature);
    }
    if (!myr_utf8_is_valid(myr_str_make(feature, size))) {
        MYR_FAIL(err, BAD_INPUT, "%s: the name of feature %u is not UTF-8", name, j);
    }
    for (size_t k = 0; k < size; k++) {
        unsigned char c = (unsigned char)feature[k];
        if (c < 0x20 || c == 0x7f) {
            MYR_FAIL(err, BAD_INPUT, "%s: the name of feature %u has control character 0x%02x", name, j, c);
        }
    }
    return MYR_OK;
}

/* Names tie features to columns, so two equal ones would be a guess. */
static myr_rc import_check_names(const char *name, const myr_imported *imported, myr_err *err)
{
    MYR_AUTO(myr_map_ptr) seen = myr_map_new();
    if (seen == NULL) return import_no_memory(name, err);
    for (uint32_t j = 0; j < imported->feature_count; j++) {
        const char *feature = imported->feature_names[j];
        uint64_t before;
        MYR_TRY(import_check_name(name, j, feature, err));
        if (myr_map_find(seen, myr_str_of(feature), &before)) {
            MYR_FAIL(err, BAD_INPUT, "%s: features %u and %u are both named \"%s\": give distinct names", name,
                     (unsigned)before, j, feature);
        }
        MYR_TRY(myr_map_put(seen, myr_str_of(feature), j, err));
    }
    return MYR_OK;
}

myr_rc myr_import_check_name_count(const myr_import_src *src, uint32_t feature_count, myr_err *err)
{
    const myr_import_opts *opts = src->opts;
    if (opts->feature_names == NULL || opts->feature_count == feature_count) return MYR_OK;
    MYR_FAIL(err, BAD_INPUT, "%s: %u feature names were given, the model has %u features", src->name,
             opts->feature_count, feature_count);
}

static myr_rc import_settle_names(const myr_import_src *src, myr_imported *out, myr_err *err)
{
    const char *name = src->name;
    const char *const *names = src->opts->feature_names;
    if (out->feature_count > MYR_FEATURES_MAX) {
        MYR_FAIL(err, TOO_LARGE, "%s: %u features, at most %d", name, out->feature_count, MYR_FEATURES_MAX);
    }
    MYR_TRY(myr_import_check_name_count(src, out->feature_count, err));
    if (names != NULL || out->feature_names == NULL) MYR_TRY(import_copy_names(name, names, out, err));
    return import_check_names(name, out, err);
}

/* ---- the face ---- */

/* What would have no effect is refused, so that nobody waits for one. */
static myr_rc import_check_opts(const myr_import_src *src, myr_format format, myr_err *err)
{
    if (src->opts->category_feature_count > 0 && format != MYR_FORMAT_LIGHTGBM) {
        MYR_FAIL(err, BAD_INPUT, "%s: category features are named, but the format is %s: only LightGBM needs them",
                 src->name, myr_format_name(format));
    }
    const myr_import_opts *opts = src->opts;
    bool is_xgboost = format == MYR_FORMAT_XGBOOST_JSON || format == MYR_FORMAT_XGBOOST_UBJ;
    if (opts->best_iteration && (!is_xgboost || opts->iterations > 0)) {
        MYR_FAIL(err, BAD_INPUT, "%s: the best iteration is wanted%s", src->name,
                 is_xgboost ? ", and a number of iterations too" : ", which only XGBoost files name: give a number");
    }
    if ((opts->first_iteration > 0 || opts->iterations > 0) && !is_xgboost && format != MYR_FORMAT_LIGHTGBM) {
        MYR_FAIL(err, BAD_INPUT, "%s: iterations are wanted, but a model of format %s has none", src->name,
                 myr_format_name(format));
    }
    return MYR_OK;
}

static myr_rc import_read(const myr_import_src *src, myr_imported *out, myr_err *err)
{
    switch (out->format) {
    case MYR_FORMAT_LIGHTGBM:
        return myr_import_lightgbm(src, out, err);
    case MYR_FORMAT_XGBOOST_JSON:
    case MYR_FORMAT_XGBOOST_UBJ:
        return myr_import_xgboost(src, out, err);
    case MYR_FORMAT_LINEAR:
        return myr_import_linear(src, out, err);
    case MYR_FORMAT_ONNX:
        return myr_import_onnx(src, out, err);
    }
    MYR_FAIL(err, INTERNAL, "%s: format %d", src->name, (int)out->format);
}

myr_rc myr_import_with(const char *name, const void *data, size_t size_bytes, const myr_import_opts *opts,
                       myr_imported **out, myr_err *err)
{
    static const myr_import_opts no_opts = {0};
    if (opts == NULL) opts = &no_opts;
    myr_import_src src = {.name = name, .data = data, .size = size_bytes, .opts = opts};
    myr_format format = MYR_FORMAT_LIGHTGBM;
    if (size_bytes > MYR_FILE_BYTES_MAX) {
        MYR_FAIL(err, TOO_LARGE, "%s: %zu bytes, at most %lld", name, size_bytes, MYR_FILE_BYTES_MAX);
    }
    MYR_TRY(import_detect(&src, &format, err));
    MYR_AUTO(myr_imported_ptr) imported = myr_calloc(1, sizeof *imported);
    if (imported == NULL) return import_no_memory(name, err);
    imported->format = format;
    imported->arena = myr_arena_new(0);
    if (imported->arena == NULL) return import_no_memory(name, err);
    MYR_TRY(import_check_opts(&src, format, err));
    MYR_TRY(import_read(&src, imported, err));
    MYR_ASSERT(imported->algorithm != NULL && imported->objective != NULL);
    MYR_ASSERT(imported->desc.feature_count == imported->feature_count);
    MYR_TRY(import_settle_names(&src, imported, err));
    *out = imported;
    imported = NULL;
    return MYR_OK;
}

myr_rc myr_import(const char *name, const void *data, size_t size_bytes, const char *const *feature_names,
                  uint32_t feature_count, myr_imported **out, myr_err *err)
{
    const myr_import_opts opts = {.feature_names = feature_names, .feature_count = feature_count};
    return myr_import_with(name, data, size_bytes, &opts, out, err);
}

void myr_imported_free(myr_imported *imported)
{
    if (imported == NULL) return;
    myr_arena_free(imported->arena);
    myr_free(imported);
}

/* ---- tied to columns ---- */

static myr_rc import_no_column(const myr_imported *imported, uint32_t j, const char *const *columns,
                               uint32_t column_count, myr_err *err)
{
    const char *feature = imported->feature_names[j];
    MYR_AUTO(myr_mem) block = myr_calloc((size_t)column_count + 1, sizeof(const char *));
    if (block == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %u columns", column_count);
    const char **known = block; /* NULL-terminated, as myr_nearest wants it */
    for (uint32_t k = 0; k < column_count; k++) {
        known[k] = columns[k];
    }
    const char *nearest = myr_nearest(feature, known);
    if (nearest != NULL) {
        MYR_FAIL(err, BAD_INPUT, "feature %u, \"%s\", is not a column; did you mean \"%s\"?", j, feature, nearest);
    }
    MYR_FAIL(err, BAD_INPUT, "feature %u, \"%s\", is not one of the %u columns", j, feature, column_count);
}

myr_rc myr_imported_compile(const myr_imported *imported, const char *const *columns, uint32_t column_count,
                            const myr_compile_opts *opts, unsigned char **out_bytes, size_t *out_size, myr_err *err)
{
    MYR_AUTO(myr_map_ptr) by_name = myr_map_new();
    MYR_AUTO(myr_mem) map_block = myr_calloc((size_t)imported->feature_count + 1, sizeof(uint32_t));
    uint32_t *feature_map = map_block;
    if (by_name == NULL || feature_map == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %u columns", column_count);
    for (uint32_t k = 0; k < column_count; k++) {
        MYR_TRY(myr_map_put(by_name, myr_str_of(columns[k]), k, err));
    }
    for (uint32_t j = 0; j < imported->feature_count; j++) {
        uint64_t column;
        if (!myr_map_find(by_name, myr_str_of(imported->feature_names[j]), &column)) {
            return import_no_column(imported, j, columns, column_count, err);
        }
        feature_map[j] = (uint32_t)column;
    }
    return myr_model_compile(&imported->desc, feature_map, column_count, opts, out_bytes, out_size, err);
}
