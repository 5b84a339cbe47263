/*
 * The arrays of an XGBoost tree: one pass from the document into plain C arrays whose length was checked before. A
 * value of another kind or range is named with its index, which is the node's number.
 */
#include "import/xgboost.h"

#include <float.h>

myr_rc myr_xgb_expect_count(myr_xgb *xgb, const char *what, myr_doc_value array, uint64_t count)
{
    uint64_t found = myr_doc_count(&xgb->doc, array);
    if (found != count) {
        MYR_XGB_FAIL(xgb, BAD_FORMAT, "%s has %llu entries, expected %llu", what, (unsigned long long)found,
                     (unsigned long long)count);
    }
    return MYR_OK;
}

/* The next whole number of an array between two bounds. */
static myr_rc xgb_next_int(myr_xgb *xgb, const char *what, myr_doc_iter *iter, uint64_t idx, int64_t min, int64_t max,
                           int64_t *out)
{
    myr_doc_value value;
    int64_t number;
    bool has_more = myr_doc_next(iter, NULL, &value);
    MYR_ASSERT(has_more); /* the caller has compared the count */
    if (!myr_doc_int(value, &number)) {
        MYR_XGB_FAIL(xgb, BAD_FORMAT, "%s[%llu] is not a whole number", what, (unsigned long long)idx);
    }
    if (number < min || number > max) {
        MYR_XGB_FAIL(xgb, BAD_FORMAT, "%s[%llu] is %lld, not within %lld to %lld", what, (unsigned long long)idx,
                     (long long)number, (long long)min, (long long)max);
    }
    *out = number;
    return MYR_OK;
}

myr_rc myr_xgb_ints64(myr_xgb *xgb, const char *what, myr_doc_value array, uint64_t count, int64_t *out)
{
    myr_doc_iter iter;
    MYR_TRY(myr_xgb_expect_count(xgb, what, array, count));
    myr_doc_iter_init(&xgb->doc, array, &iter);
    for (uint64_t i = 0; i < count; i++) {
        MYR_TRY(xgb_next_int(xgb, what, &iter, i, INT64_MIN, INT64_MAX, &out[i]));
    }
    return MYR_OK;
}

myr_rc myr_xgb_ints32(myr_xgb *xgb, const char *what, myr_doc_value array, uint64_t count, int32_t *out)
{
    myr_doc_iter iter;
    int64_t number = 0;
    MYR_TRY(myr_xgb_expect_count(xgb, what, array, count));
    myr_doc_iter_init(&xgb->doc, array, &iter);
    for (uint64_t i = 0; i < count; i++) {
        MYR_TRY(xgb_next_int(xgb, what, &iter, i, INT32_MIN, INT32_MAX, &number));
        out[i] = (int32_t)number;
    }
    return MYR_OK;
}

myr_rc myr_xgb_flags(myr_xgb *xgb, const char *what, myr_doc_value array, uint64_t count, uint8_t *out)
{
    myr_doc_iter iter;
    int64_t number = 0;
    MYR_TRY(myr_xgb_expect_count(xgb, what, array, count));
    myr_doc_iter_init(&xgb->doc, array, &iter);
    for (uint64_t i = 0; i < count; i++) {
        MYR_TRY(xgb_next_int(xgb, what, &iter, i, 0, 1, &number));
        out[i] = (uint8_t)number;
    }
    return MYR_OK;
}

myr_rc myr_xgb_floats(myr_xgb *xgb, const char *what, myr_doc_value array, uint64_t count, float *out)
{
    myr_doc_iter iter;
    myr_doc_value value;
    MYR_TRY(myr_xgb_expect_count(xgb, what, array, count));
    myr_doc_iter_init(&xgb->doc, array, &iter);
    for (uint64_t i = 0; i < count; i++) {
        bool has_more = myr_doc_next(&iter, NULL, &value);
        MYR_ASSERT(has_more);
        if (!myr_doc_float(value, &out[i])) {
            MYR_XGB_FAIL(xgb, BAD_FORMAT, "%s[%llu] is not a number", what, (unsigned long long)i);
        }
    }
    return MYR_OK;
}
