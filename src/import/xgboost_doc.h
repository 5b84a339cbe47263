/*
 * One way to look into an XGBoost file, whether it is JSON (through yyjson) or UBJSON (in place). Not for other
 * directories.
 */
#ifndef MYR_IMPORT_XGBOOST_DOC_H
#define MYR_IMPORT_XGBOOST_DOC_H

#include <yyjson.h>

#include "import/ubj.h"

typedef enum myr_doc_kind {
    MYR_DOC_ABSENT,
    MYR_DOC_NULL,
    MYR_DOC_BOOL,
    MYR_DOC_NUMBER,
    MYR_DOC_STRING,
    MYR_DOC_ARRAY,
    MYR_DOC_OBJECT
} myr_doc_kind;

/* A borrowed value of an open document. All zero: absent. */
typedef struct myr_doc_value {
    yyjson_val *json; /* NULL: it is the other */
    myr_ubj_value ubj;
} myr_doc_value;

typedef struct myr_doc {
    const myr_import_src *src; /* borrowed: must outlive the document */
    yyjson_doc *json;
    myr_doc_value root;
} myr_doc;

typedef struct myr_doc_iter {
    bool is_json, is_object;
    yyjson_arr_iter array;
    yyjson_obj_iter object;
    myr_ubj_iter ubj;
} myr_doc_iter;

/*
 * Read and check the syntax of all of `src`: UTF-8, nesting at most MYR_IMPORT_DEPTH_MAX, nothing after the value.
 * Ownership: *out is freed by myr_doc_close, also after an error. Thread: any.
 * Errors:    BAD_FORMAT names the byte; TOO_LARGE for nesting; NO_MEMORY.
 */
myr_rc myr_doc_open(const myr_import_src *src, bool is_ubj, myr_doc *out, myr_err *err);
void myr_doc_close(myr_doc *doc); /* zeroed accepted */

myr_doc_kind myr_doc_kind_of(myr_doc_value value);
const char *myr_doc_kind_name(myr_doc_kind kind); /* "an array", for messages */

/* Walk an array or an object; false at the end. out_key (NULL accepted) is set for objects. */
void myr_doc_iter_init(const myr_doc *doc, myr_doc_value container, myr_doc_iter *out);
bool myr_doc_next(myr_doc_iter *iter, myr_str *out_key, myr_doc_value *out_value);
uint64_t myr_doc_count(const myr_doc *doc, myr_doc_value container); /* elements of an array */

/* A value as …; false and *out untouched if it is something else or out of range. */
bool myr_doc_int(myr_doc_value value, int64_t *out);    /* whole numbers, true and false */
bool myr_doc_float(myr_doc_value value, float *out);    /* any number, rounded once */
bool myr_doc_double(myr_doc_value value, double *out);  /* any number of JSON */
bool myr_doc_string(myr_doc_value value, myr_str *out); /* borrowed */

/* A decimal text as the nearest float, rounded once (a detour through double can round twice). */
bool myr_doc_parse_float(myr_str text, float *out);

#endif
