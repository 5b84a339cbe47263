/*
 * One face over two syntaxes. JSON numbers stay text until they are asked for, because XGBoost's are floats: read as
 * doubles first they could be rounded twice.
 */
#include "import/xgboost_doc.h"

#include <locale.h>
#include <stdlib.h>
#include <string.h>

/* yyjson's memory comes from base, so that a test can make it fail. */
static void *doc_malloc(void *ctx, size_t size)
{
    (void)ctx;
    return myr_alloc(size);
}

static void *doc_realloc(void *ctx, void *block, size_t old_size, size_t size)
{
    (void)ctx;
    (void)old_size;
    return myr_realloc(block, size);
}

static void doc_free(void *ctx, void *block)
{
    (void)ctx;
    myr_free(block);
}

/* Nesting, before yyjson spends memory on it. Brackets inside strings do not count; other damage is yyjson's to find.
 */
static myr_rc doc_check_depth(const myr_import_src *src, myr_err *err)
{
    unsigned depth = 0;
    bool is_text = false;
    for (size_t i = 0; i < src->size; i++) {
        char c = src->data[i];
        if (is_text) {
            if (c == '\\') {
                i++;
            } else if (c == '"') {
                is_text = false;
            }
        } else if (c == '"') {
            is_text = true;
        } else if (c == '[' || c == '{') {
            if (++depth > MYR_IMPORT_DEPTH_MAX) {
                MYR_FAIL(err, TOO_LARGE, "%s: byte %zu: nested deeper than %d", src->name, i, MYR_IMPORT_DEPTH_MAX);
            }
        } else if ((c == ']' || c == '}') && depth > 0) {
            depth--;
        }
    }
    return MYR_OK;
}

static myr_rc doc_open_json(const myr_import_src *src, myr_doc *out, myr_err *err)
{
    const yyjson_alc alc = {.malloc = doc_malloc, .realloc = doc_realloc, .free = doc_free};
    const yyjson_read_flag flags = YYJSON_READ_NUMBER_AS_RAW | YYJSON_READ_ALLOW_INF_AND_NAN;
    MYR_TRY(doc_check_depth(src, err));
    yyjson_read_err why = {0};
    /* The cast drops const only for yyjson's signature: without INSITU it reads a copy of its own. */
    out->json = yyjson_read_opts((char *)(uintptr_t)src->data, src->size, flags, &alc, &why);
    if (out->json != NULL) {
        out->root = (myr_doc_value){.json = yyjson_doc_get_root(out->json)};
        return MYR_OK;
    }
    if (why.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION) MYR_FAIL(err, NO_MEMORY, "%s: reading JSON", src->name);
    MYR_FAIL(err, BAD_FORMAT, "%s: byte %zu: not JSON: %s", src->name, why.pos, why.msg);
}

myr_rc myr_doc_open(const myr_import_src *src, bool is_ubj, myr_doc *out, myr_err *err)
{
    *out = (myr_doc){.src = src};
    if (!is_ubj) return doc_open_json(src, out, err);
    return myr_ubj_check(src, &out->root.ubj, err);
}

void myr_doc_close(myr_doc *doc)
{
    yyjson_doc_free(doc->json);
    *doc = (myr_doc){0};
}

static myr_doc_kind doc_kind_of_json(yyjson_val *json)
{
    switch (yyjson_get_type(json)) {
    case YYJSON_TYPE_NULL:
        return MYR_DOC_NULL;
    case YYJSON_TYPE_BOOL:
        return MYR_DOC_BOOL;
    case YYJSON_TYPE_RAW:
    case YYJSON_TYPE_NUM:
        return MYR_DOC_NUMBER;
    case YYJSON_TYPE_STR:
        return MYR_DOC_STRING;
    case YYJSON_TYPE_ARR:
        return MYR_DOC_ARRAY;
    case YYJSON_TYPE_OBJ:
        return MYR_DOC_OBJECT;
    default:
        return MYR_DOC_ABSENT;
    }
}

myr_doc_kind myr_doc_kind_of(myr_doc_value value)
{
    if (value.json != NULL) return doc_kind_of_json(value.json);
    switch (value.ubj.marker) {
    case 0:
        return MYR_DOC_ABSENT;
    case 'Z':
        return MYR_DOC_NULL;
    case 'T':
    case 'F':
        return MYR_DOC_BOOL;
    case 'S':
        return MYR_DOC_STRING;
    case '[':
        return MYR_DOC_ARRAY;
    case '{':
        return MYR_DOC_OBJECT;
    default:
        return MYR_DOC_NUMBER;
    }
}

const char *myr_doc_kind_name(myr_doc_kind kind)
{
    static const char *const names[] = {"absent", "null",     "true or false", "a number",
                                        "a text", "an array", "an object"};
    MYR_ASSERT((size_t)kind < MYR_COUNT_OF(names));
    return names[kind];
}

void myr_doc_iter_init(const myr_doc *doc, myr_doc_value container, myr_doc_iter *out)
{
    myr_doc_kind kind = myr_doc_kind_of(container);
    MYR_ASSERT(kind == MYR_DOC_ARRAY || kind == MYR_DOC_OBJECT);
    *out = (myr_doc_iter){.is_json = container.json != NULL, .is_object = kind == MYR_DOC_OBJECT};
    if (!out->is_json) {
        myr_ubj_iter_init(doc->src, container.ubj, &out->ubj);
    } else if (out->is_object) {
        out->object = yyjson_obj_iter_with(container.json);
    } else {
        out->array = yyjson_arr_iter_with(container.json);
    }
}

bool myr_doc_next(myr_doc_iter *iter, myr_str *out_key, myr_doc_value *out_value)
{
    if (!iter->is_json) {
        myr_ubj_value ubj;
        if (!myr_ubj_next(&iter->ubj, out_key, &ubj)) return false;
        *out_value = (myr_doc_value){.ubj = ubj};
        return true;
    }
    yyjson_val *json;
    if (iter->is_object) {
        yyjson_val *key = yyjson_obj_iter_next(&iter->object);
        if (key == NULL) return false;
        if (out_key != NULL) *out_key = myr_str_make(yyjson_get_str(key), yyjson_get_len(key));
        json = yyjson_obj_iter_get_val(key);
    } else {
        json = yyjson_arr_iter_next(&iter->array);
        if (json == NULL) return false;
    }
    *out_value = (myr_doc_value){.json = json};
    return true;
}

uint64_t myr_doc_count(const myr_doc *doc, myr_doc_value container)
{
    MYR_ASSERT(myr_doc_kind_of(container) == MYR_DOC_ARRAY);
    return container.json != NULL ? yyjson_arr_size(container.json) : myr_ubj_count(doc->src, container.ubj);
}

bool myr_doc_int(myr_doc_value value, int64_t *out)
{
    if (value.json == NULL) return myr_ubj_int(value.ubj, out);
    if (yyjson_is_bool(value.json)) {
        *out = yyjson_get_bool(value.json);
        return true;
    }
    if (!yyjson_is_raw(value.json)) return false;
    return myr_parse_int64(myr_str_make(yyjson_get_raw(value.json), yyjson_get_len(value.json)), out);
}

bool myr_doc_float(myr_doc_value value, float *out)
{
    if (value.json == NULL) return myr_ubj_float(value.ubj, out);
    if (!yyjson_is_raw(value.json)) return false;
    return myr_doc_parse_float(myr_str_make(yyjson_get_raw(value.json), yyjson_get_len(value.json)), out);
}

bool myr_doc_double(myr_doc_value value, double *out)
{
    if (!yyjson_is_raw(value.json)) return false;
    return myr_parse_double(myr_str_make(yyjson_get_raw(value.json), yyjson_get_len(value.json)), out);
}

bool myr_doc_string(myr_doc_value value, myr_str *out)
{
    if (value.json == NULL) return myr_ubj_string(value.ubj, out);
    if (!yyjson_is_str(value.json)) return false;
    *out = myr_str_make(yyjson_get_str(value.json), yyjson_get_len(value.json));
    return true;
}

/* Is `wide` exactly half way between two floats (or in the denormal range, where that is not seen from its bits)? */
static bool doc_may_round_twice(double wide)
{
    const uint64_t below = (UINT64_C(1) << 29) - 1; /* the mantissa bits that a normal float does not have */
    const uint64_t half = UINT64_C(1) << 28;
    uint64_t bits;
    memcpy(&bits, &wide, sizeof bits);
    return (bits & below) == half || (wide > -0x1p-126 && wide < 0x1p-126 && wide != 0);
}

/*
 * Rounding to double and then to float is wrong only if the double is a tie between two floats: then the text itself
 * must decide. That is rare, so the C library does it.
 */
bool myr_doc_parse_float(myr_str text, float *out)
{
    double wide;
    if (!myr_parse_double(text, &wide)) return false;
    float value = (float)wide;
    if (doc_may_round_twice(wide)) {
        char copy[MYR_DOUBLE_DIGITS_MAX + 1]; /* myr_parse_double takes no longer text */
        MYR_ASSERT(text.size < sizeof copy);
        memcpy(copy, text.data, text.size);
        copy[text.size] = '\0';
        locale_t locale = newlocale(LC_ALL_MASK, "C", (locale_t)0); /* built in: the same object each time */
        MYR_ASSERT(locale != (locale_t)0);
        value = strtof_l(copy, NULL, locale);
    }
    *out = value;
    return true;
}
