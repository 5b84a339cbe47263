/* Names of categories, put together one by one for a description, whatever file they come from. Not for others. */
#ifndef MYR_IMPORT_CATEGORY_H
#define MYR_IMPORT_CATEGORY_H

#include "import/internal.h"

/* All features of one model; zeroed but for the first three before use. */
typedef struct myr_category_maker {
    const myr_import_src *src;
    myr_imported *out; /* feature_count is set; desc.categories is set by the first begin */
    myr_err *err;
    myr_category_names *all; /* feature_count */
    uint32_t feature;
    const char **names; /* of the feature at hand */
    uint8_t *kinds;
    uint32_t count, room;
    uint64_t text_bytes; /* of all features so far */
    myr_map *seen;
    myr_buf text; /* scratch */
} myr_category_maker;

/*
 * Begin the names of a feature that has `count` of them, put each, end. A name that comes twice, has a NUL, is no UTF-8
 * or is too long: BAD_FORMAT or TOO_LARGE, with the feature and the code.
 */
myr_rc myr_category_begin(myr_category_maker *maker, uint32_t feature, uint64_t count);
myr_rc myr_category_put_text(myr_category_maker *maker, myr_str text);
myr_rc myr_category_put_int(myr_category_maker *maker, int64_t number);
myr_rc myr_category_put_double(myr_category_maker *maker, double number); /* NaN: BAD_FORMAT */
myr_rc myr_category_put_bool(myr_category_maker *maker, bool truth);
void myr_category_end(myr_category_maker *maker);
void myr_category_maker_fini(myr_category_maker *maker);

#endif
