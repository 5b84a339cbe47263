/*
 * myriad: models of many segments in one file, scored in place. Stable C ABI: C99- and C++17-clean, libc only.
 * Every struct that may grow begins with struct_size = sizeof as the caller compiled it.
 */
#ifndef MYRIAD_MYRIAD_H
#define MYRIAD_MYRIAD_H

#include <stddef.h>
#include <stdint.h>

#include "myriad/err.h"

#ifdef __cplusplus
extern "C" {
#endif

/* "0.1.0". Static. Thread: any. Since: 0.1 */
MYR_API const char *myr_version(void);
/* "NOT_FOUND" for a code. Static. Thread: any. Since: 0.1 */
MYR_API const char *myr_error_name(int32_t rc);

/* An opened pack with its scorer, or one model file. Immutable: any number of threads may use it at once. */
typedef struct myr_models myr_models;

/*
 * Open a pack (its .index file), or a single model file (LightGBM text, XGBoost JSON or UBJSON, linear JSON).
 * Ownership: *out is the caller's, closed by myr_models_close. Thread: any.
 * Errors:    NOT_FOUND, BAD_FORMAT, UNSUPPORTED, TOO_LARGE, NO_MEMORY. Since: 0.1
 */
MYR_API int32_t myr_models_open(const char *path, myr_models **out, myr_err *err);
MYR_API void myr_models_close(myr_models *models); /* NULL accepted. Since: 0.1 */

/* Strings live until close. Since: 0.1 */
typedef struct myr_models_info {
    size_t struct_size;
    const char *fleet; /* "" for a single model file */
    int64_t release;
    uint32_t model_count;
    uint32_t key_count; /* partition columns */
    uint32_t feature_count;
    uint32_t output_count;
} myr_models_info;
MYR_API int32_t myr_models_get_info(const myr_models *models, myr_models_info *out, myr_err *err);
MYR_API const char *myr_models_key_name(const myr_models *models, uint32_t key_idx);         /* NULL past the end */
MYR_API int myr_models_key_is_int64(const myr_models *models, uint32_t key_idx);             /* 1: INT64, 0: BYTES */
MYR_API const char *myr_models_feature_name(const myr_models *models, uint32_t feature_idx); /* NULL past the end */

/* The model of a segment text `store=2,brand=1` ("" = global). NOT_FOUND if it has none of its own. Since: 0.1 */
MYR_API int32_t myr_models_find(const myr_models *models, const char *segment, uint32_t *out_model_idx, myr_err *err);

#define MYR_MODELS_BY_KEY UINT32_MAX

/* What to score. Arrays are borrowed until myr_models_score returns. Since: 0.1 */
typedef struct myr_models_rows {
    size_t struct_size;
    int64_t row_count;
    uint32_t model_idx; /* one model for all rows, or MYR_MODELS_BY_KEY */
    /* BY_KEY: row-major, row_count x key_count values as decimal or UTF-8 text; NULL = null */
    const char *const *key_texts;
    const double *features; /* row-major, NaN = missing */
    int64_t row_stride;     /* in doubles; 0 = feature_count */
} myr_models_rows;

/*
 * Score rows. out_values: row-major, row_count x output_count. out_levels (0 none, 1 segment, 2 parent, 3 global) and
 * out_statuses (0 ok, 1 no model, 2 bad key, 3 broken model): row_count each, or NULL. Thread: any; calls may overlap.
 * Errors: BAD_INPUT, NO_MEMORY. A row that can't be scored is a status and NaN. Since: 0.1
 */
MYR_API int32_t myr_models_score(const myr_models *models, const myr_models_rows *rows, double *out_values,
                                 uint8_t *out_levels, uint8_t *out_statuses, myr_err *err);

#ifdef __cplusplus
}
#endif
#endif
