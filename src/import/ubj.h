/*
 * UBJSON as XGBoost writes it, read in place: the bytes are checked once, completely, then walked without a copy, so a
 * typed array of a million numbers costs nothing. Not for other directories.
 *
 * The dialect: values Z T F i U I l L d D S, arrays plain, counted (`[#`) or typed and counted (`[$d#`), plain objects.
 * The rest of UBJSON (no-ops, characters, high-precision numbers, typed or counted objects) is refused, as XGBoost
 * does.
 */
#ifndef MYR_IMPORT_UBJ_H
#define MYR_IMPORT_UBJ_H

#include "import/internal.h"

/* A value inside checked bytes: its marker, and the first byte after the marker. */
typedef struct myr_ubj_value {
    const unsigned char *at;
    unsigned char marker;
} myr_ubj_value;

typedef struct myr_ubj_iter {
    const unsigned char *at, *end;
    uint64_t left;      /* elements to come; UINT64_MAX: up to the closing marker */
    unsigned char type; /* the marker of every element; 0: each has its own */
    bool is_object;
} myr_ubj_iter;

/*
 * Check all of src->data: every length and count within the file, text UTF-8, nesting at most MYR_IMPORT_DEPTH_MAX,
 * nothing after the value. Thread: any. Errors: BAD_FORMAT names the byte offset; TOO_LARGE for nesting.
 */
myr_rc myr_ubj_check(const myr_import_src *src, myr_ubj_value *out_root, myr_err *err);

/* Everything below takes values of checked bytes only; `src` is what was checked. */
void myr_ubj_iter_init(const myr_import_src *src, myr_ubj_value container, myr_ubj_iter *out);
/* The next element, false at the end; out_key (NULL accepted) is set for objects. */
bool myr_ubj_next(myr_ubj_iter *iter, myr_str *out_key, myr_ubj_value *out_value);
/* Elements of an array or object. O(1) for counted arrays, a walk otherwise. */
uint64_t myr_ubj_count(const myr_import_src *src, myr_ubj_value container);
bool myr_ubj_int(myr_ubj_value value, int64_t *out); /* i U I l L, T, F */
bool myr_ubj_float(myr_ubj_value value, float *out); /* d, D rounded once, and the integers */
bool myr_ubj_string(myr_ubj_value value, myr_str *out);

#endif
