/* Names of categories: each becomes UTF-8 with its kind, and a code has one name, so that no text means two codes. */
#include "import/category.h"

#include <math.h>
#include <string.h>

#define CATEGORY_FAIL(maker, code, ...)                                                                                \
    do {                                                                                                               \
        myr_rc category_rc_ = MYR_ERROR((maker)->err, code, __VA_ARGS__);                                              \
        return myr_err_prefix((maker)->err, category_rc_, "%s: categories of feature %u: ", (maker)->src->name,        \
                              (maker)->feature);                                                                       \
    } while (0)

static myr_rc category_no_memory(myr_category_maker *maker)
{
    CATEGORY_FAIL(maker, NO_MEMORY, "no memory for %u names", maker->room);
}

myr_rc myr_category_begin(myr_category_maker *maker, uint32_t feature, uint64_t count)
{
    myr_imported *out = maker->out;
    MYR_ASSERT(feature < out->feature_count);
    maker->feature = feature;
    if (count >= MYR_CATEGORY_MAX) {
        CATEGORY_FAIL(maker, TOO_LARGE, "%llu names, at most %d", (unsigned long long)count, MYR_CATEGORY_MAX - 1);
    }
    maker->room = (uint32_t)count;
    maker->count = 0;
    if (maker->all == NULL) maker->all = myr_arena_calloc(out->arena, out->feature_count, sizeof *maker->all);
    maker->names = myr_arena_calloc(out->arena, (size_t)count + 1, sizeof *maker->names);
    maker->kinds = myr_arena_calloc(out->arena, (size_t)count + 1, sizeof *maker->kinds);
    myr_map_free(maker->seen);
    maker->seen = myr_map_new();
    if (maker->all == NULL || maker->names == NULL || maker->kinds == NULL || maker->seen == NULL)
        return category_no_memory(maker);
    out->desc.categories = maker->all;
    return MYR_OK;
}

/* The same text may be a name twice if the kinds differ: "1" the text, 1 the number. */
static myr_rc category_put(myr_category_maker *maker, myr_category_kind kind, myr_str text)
{
    uint64_t before = 0;
    MYR_ASSERT(maker->count < maker->room);
    if (text.size > MYR_CATEGORY_NAME_BYTES_MAX) {
        CATEGORY_FAIL(maker, TOO_LARGE, "name %u has %zu bytes, at most %d", maker->count, text.size,
                      MYR_CATEGORY_NAME_BYTES_MAX);
    }
    maker->text_bytes += text.size + 1;
    if (maker->text_bytes > MYR_NAMES_TEXT_BYTES_MAX) {
        CATEGORY_FAIL(maker, TOO_LARGE, "the names of all features have more than %d bytes", MYR_NAMES_TEXT_BYTES_MAX);
    }
    if (!myr_utf8_is_valid(text) || (text.size > 0 && memchr(text.data, '\0', text.size) != NULL)) {
        CATEGORY_FAIL(maker, BAD_FORMAT, "name %u is not UTF-8, or has a NUL", maker->count);
    }
    myr_buf_clear(&maker->text);
    myr_buf_putc(&maker->text, (char)('0' + (int)kind));
    myr_buf_append(&maker->text, text.data, text.size);
    if (myr_buf_check(&maker->text, NULL) != MYR_OK) return category_no_memory(maker);
    myr_str key = myr_str_make(maker->text.data, maker->text.size);
    if (myr_map_find(maker->seen, key, &before)) {
        CATEGORY_FAIL(maker, BAD_FORMAT, "names %u and %u are both \"%.*s\"", (unsigned)before, maker->count,
                      MYR_STR_ARG(text));
    }
    MYR_TRY(myr_map_put(maker->seen, key, maker->count, maker->err));
    const char *copy = myr_arena_strndup(maker->out->arena, text.size > 0 ? text.data : "", text.size);
    if (copy == NULL) return category_no_memory(maker);
    maker->names[maker->count] = copy;
    maker->kinds[maker->count] = (uint8_t)kind;
    maker->count++;
    return MYR_OK;
}

myr_rc myr_category_put_text(myr_category_maker *maker, myr_str text)
{
    return category_put(maker, MYR_CATEGORY_TEXT, text);
}

static myr_rc category_put_number(myr_category_maker *maker, const myr_buf *digits)
{
    if (myr_buf_check(digits, NULL) != MYR_OK) return category_no_memory(maker);
    return category_put(maker, MYR_CATEGORY_NUMBER, myr_str_make(digits->data, digits->size));
}

myr_rc myr_category_put_int(myr_category_maker *maker, int64_t number)
{
    MYR_AUTO(myr_buf) digits = {0};
    myr_buf_printf(&digits, "%lld", (long long)number);
    return category_put_number(maker, &digits);
}

myr_rc myr_category_put_double(myr_category_maker *maker, double number)
{
    MYR_AUTO(myr_buf) digits = {0};
    if (isnan(number)) CATEGORY_FAIL(maker, BAD_FORMAT, "name %u is NaN", maker->count);
    myr_buf_double(&digits, number == 0.0 ? 0.0 : number); /* -0 is the category 0 */
    return category_put_number(maker, &digits);
}

myr_rc myr_category_put_bool(myr_category_maker *maker, bool truth)
{
    return category_put(maker, MYR_CATEGORY_BOOL, myr_str_of(truth ? "true" : "false"));
}

void myr_category_end(myr_category_maker *maker)
{
    MYR_ASSERT(maker->count == maker->room);
    maker->all[maker->feature] =
        (myr_category_names){.names = maker->names, .count = maker->count, .kinds = maker->kinds};
}

void myr_category_maker_fini(myr_category_maker *maker)
{
    myr_map_free(maker->seen);
    myr_buf_drop(&maker->text);
    maker->seen = NULL;
}
