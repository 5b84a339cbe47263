/*
 * The face of import: model files of other libraries, read as hostile input, become descriptions.
 * Formats: LightGBM text, XGBoost JSON and UBJSON, and our own linear JSON
 *   {"format":"myriad-linear","version":1,"features":["a","b"],"intercept":1.5,"weights":[…],"fills":[…]}.
 * The libraries' own loaders are never called.
 */
#ifndef MYR_IMPORT_IMPORT_H
#define MYR_IMPORT_IMPORT_H

#include "base/base.h"
#include "model/model.h"

typedef enum myr_format {
    MYR_FORMAT_LIGHTGBM,
    MYR_FORMAT_XGBOOST_JSON,
    MYR_FORMAT_XGBOOST_UBJ,
    MYR_FORMAT_LINEAR
} myr_format;
const char *myr_format_name(myr_format format); /* "lightgbm", "xgboost-json", "xgboost-ubj", "linear" */

#define MYR_IMPORT_DEPTH_MAX 64         /* nesting of JSON and UBJSON */
#define MYR_LINEAR_BYTES_MAX (16 << 20) /* a linear model file: parsed JSON takes up to 16 times its text */

typedef struct myr_imported {
    myr_arena *arena; /* owns everything below */
    myr_format format;
    const char *algorithm; /* "lightgbm", "xgboost", "linear" */
    const char *objective; /* as the file writes it: "binary sigmoid:1", "reg:squarederror"; "" if absent */
    char **feature_names;  /* feature_count names: from the caller, the file, or f0, f1, … (XGBoost) */
    uint32_t feature_count;
    myr_model_desc desc;
} myr_imported;

/*
 * Read one model. The format is found from the content (the name only stands in messages).
 * feature_names: NULL, or feature_count names that replace the file's; a different count is BAD_INPUT.
 * Ownership: *out is the caller's, freed by myr_imported_free. Thread: any.
 * Errors:    BAD_FORMAT/BAD_INPUT name file, tree and node, field, value; UNSUPPORTED names the content (linear trees,
 *            gblinear, dart, …) rather than answering differently; TOO_LARGE; NO_MEMORY.
 */
myr_rc myr_import(const char *name, const void *data, size_t size_bytes, const char *const *feature_names,
                  uint32_t feature_count, myr_imported **out, myr_err *err);
void myr_imported_free(myr_imported *imported); /* NULL accepted */
typedef myr_imported *myr_imported_ptr;
static inline void myr_imported_ptr_drop(myr_imported_ptr *imported)
{
    myr_imported_free(*imported);
}

/*
 * Compile for rows whose columns are `columns` (the fleet's signature): features are matched by name.
 * Errors: BAD_INPUT names the first feature that is not a column and the nearest one that is.
 */
myr_rc myr_imported_compile(const myr_imported *imported, const char *const *columns, uint32_t column_count,
                            unsigned char **out_bytes, size_t *out_size, myr_err *err);

/* Write the linear format (what the trainer registers for `mean` and `ridge`). fills may be NULL. Text appended to
 * *out. */
void myr_linear_format(const char *const *features, uint32_t feature_count, double intercept, const double *weights,
                       const double *fills, myr_buf *out);

#endif
