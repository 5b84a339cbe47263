/*
 * `cats`, the names of categories that XGBoost 3 keeps beside the trees: one entry per feature, whose names are bytes
 * with offsets, or numbers with the type of their array. A feature without names has no entry's content.
 */
#include "import/category.h"
#include "import/xgboost.h"

#include <string.h>

/* `values` as bytes, written as signed or unsigned numbers. */
static myr_rc xgb_names_bytes(myr_xgb *xgb, myr_doc_value array, uint64_t count, char *out)
{
    myr_doc_iter iter;
    myr_doc_value value;
    myr_doc_iter_init(&xgb->doc, array, &iter);
    for (uint64_t i = 0; i < count; i++) {
        int64_t number = 0;
        bool has_more = myr_doc_next(&iter, NULL, &value);
        MYR_ASSERT(has_more);
        if (!myr_doc_int(value, &number) || number < INT8_MIN || number > UINT8_MAX) {
            MYR_XGB_FAIL(xgb, BAD_FORMAT, "values[%llu] is not a byte", (unsigned long long)i);
        }
        out[i] = (char)(unsigned char)(number & 0xff);
    }
    return MYR_OK;
}

/*
 * XGBoost's Python package (3.0 to 3.2 at least) hands over the names of a pandas column as UTF-8 with offsets that
 * count characters, so in the file they are cut at the wrong bytes, and the last ones are lost. From Arrow they are
 * right, and nothing says which it was. So names that are not all ASCII are not believed: the feature is one of codes,
 * and a text for it is refused, not taken for another category.
 */
static bool xgb_names_are_plain(const char *bytes, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        if ((unsigned char)bytes[i] >= 0x80) return false;
    }
    return true;
}

static myr_rc xgb_names_texts(myr_xgb *xgb, myr_category_maker *maker, myr_doc_value offsets, myr_doc_value values)
{
    uint64_t offset_count = myr_doc_count(&xgb->doc, offsets);
    uint64_t byte_count = myr_doc_count(&xgb->doc, values);
    int64_t from = 0;
    int64_t to = 0;
    myr_doc_iter iter;
    myr_doc_value value;
    if (offset_count == 0 && byte_count == 0) return MYR_OK; /* a feature of numbers */
    MYR_AUTO(myr_mem) bytes = myr_alloc((size_t)byte_count + 1);
    if (bytes == NULL) MYR_XGB_FAIL(xgb, NO_MEMORY, "%llu bytes of names", (unsigned long long)byte_count);
    MYR_TRY(xgb_names_bytes(xgb, values, byte_count, bytes));
    if (!xgb_names_are_plain(bytes, byte_count)) return MYR_OK;
    MYR_TRY(myr_category_begin(maker, maker->feature, offset_count > 0 ? offset_count - 1 : 0));
    myr_doc_iter_init(&xgb->doc, offsets, &iter);
    for (uint64_t i = 0; myr_doc_next(&iter, NULL, &value); i++) {
        if (!myr_doc_int(value, &to) || to < from || (i == 0 && to != 0) || (uint64_t)to > byte_count) {
            MYR_XGB_FAIL(xgb, BAD_FORMAT, "offsets[%llu] does not rise from 0 to %llu", (unsigned long long)i,
                         (unsigned long long)byte_count);
        }
        if (i > 0) MYR_TRY(myr_category_put_text(maker, myr_str_make((char *)bytes + from, (size_t)(to - from))));
        from = to;
    }
    if ((uint64_t)to != byte_count) {
        MYR_XGB_FAIL(xgb, BAD_FORMAT, "offsets end at %lld, values has %llu bytes", (long long)to,
                     (unsigned long long)byte_count);
    }
    myr_category_end(maker);
    return MYR_OK;
}

static myr_rc xgb_names_numbers(myr_xgb *xgb, myr_category_maker *maker, myr_doc_value values)
{
    uint64_t count = myr_doc_count(&xgb->doc, values);
    myr_doc_iter iter;
    myr_doc_value value;
    int64_t number = 0;
    MYR_TRY(myr_category_begin(maker, maker->feature, count));
    myr_doc_iter_init(&xgb->doc, values, &iter);
    for (uint64_t i = 0; i < count; i++) {
        bool has_more = myr_doc_next(&iter, NULL, &value);
        MYR_ASSERT(has_more);
        if (!myr_doc_int(value, &number)) { /* XGBoost refuses categories that are no whole numbers, too */
            MYR_XGB_FAIL(xgb, BAD_FORMAT, "values[%llu] is not a whole number", (unsigned long long)i);
        }
        MYR_TRY(myr_category_put_int(maker, number));
    }
    myr_category_end(maker);
    return MYR_OK;
}

static myr_rc xgb_names_feature(myr_xgb *xgb, myr_category_maker *maker, myr_doc_value entry)
{
    enum { OFFSETS, VALUES, COUNT };
    static const myr_xgb_field fields[COUNT] = {{"offsets", MYR_DOC_ARRAY, true}, {"values", MYR_DOC_ARRAY, false}};
    myr_doc_value found[COUNT];
    if (myr_doc_kind_of(entry) != MYR_DOC_OBJECT) {
        MYR_XGB_FAIL(xgb, BAD_FORMAT, "enc[%u] is %s, not an object", maker->feature,
                     myr_doc_kind_name(myr_doc_kind_of(entry)));
    }
    MYR_TRY(myr_xgb_fields(xgb, entry, fields, COUNT, found));
    if (myr_doc_kind_of(found[OFFSETS]) != MYR_DOC_ABSENT)
        return xgb_names_texts(xgb, maker, found[OFFSETS], found[VALUES]);
    return xgb_names_numbers(xgb, maker, found[VALUES]);
}

static myr_rc xgb_names_all(myr_xgb *xgb, myr_category_maker *maker, myr_doc_value enc)
{
    myr_doc_iter iter;
    myr_doc_value entry;
    myr_doc_iter_init(&xgb->doc, enc, &iter);
    for (uint32_t j = 0; j < xgb->out->feature_count; j++) {
        bool has_more = myr_doc_next(&iter, NULL, &entry);
        MYR_ASSERT(has_more);
        maker->feature = j;
        MYR_TRY(xgb_names_feature(xgb, maker, entry));
    }
    return MYR_OK;
}

myr_rc myr_xgb_read_names_of_categories(myr_xgb *xgb, myr_doc_value cats)
{
    static const myr_xgb_field field = {"enc", MYR_DOC_ARRAY, false};
    myr_doc_value enc;
    MYR_TRY(myr_xgb_fields(xgb, cats, &field, 1, &enc));
    if (myr_doc_count(&xgb->doc, enc) == 0) return MYR_OK;
    MYR_TRY(myr_xgb_expect_count(xgb, "enc", enc, xgb->out->feature_count));
    myr_category_maker maker = {.src = xgb->src, .out = xgb->out, .err = xgb->err};
    myr_rc rc = xgb_names_all(xgb, &maker, enc);
    myr_category_maker_fini(&maker);
    return rc;
}
