/*
 * myriad: models of many segments in one file, scored in place. Stable C ABI: C99- and C++17-clean, libc only.
 * Every struct that may grow begins with struct_size = sizeof as the caller compiled it.
 */
#ifndef MYRIAD_MYRIAD_H
#define MYRIAD_MYRIAD_H

#include <stddef.h>
#include <stdint.h>

#include "myriad/arrow.h"
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
/*
 * The names of the files beside the opened one that belong to it (a pack's blob files), for who copies a pack
 * elsewhere; NULL past the end. A model file stands alone. Since: 0.1
 */
MYR_API const char *myr_models_file_name(const myr_models *models, uint32_t file_idx);
MYR_API const char *myr_models_key_name(const myr_models *models, uint32_t key_idx);         /* NULL past the end */
MYR_API int myr_models_key_is_int64(const myr_models *models, uint32_t key_idx);             /* 1: INT64, 0: BYTES */
MYR_API const char *myr_models_feature_name(const myr_models *models, uint32_t feature_idx); /* NULL past the end */
/* 1: some model has names of categories for it, so that a batch may have texts there. Since: 0.1 */
MYR_API int myr_models_feature_is_text(const myr_models *models, uint32_t feature_idx);

/* The model of a segment text `store=2,brand=1` ("" = global). NOT_FOUND if it has none of its own. Since: 0.1 */
MYR_API int32_t myr_models_find(const myr_models *models, const char *segment, uint32_t *out_model_idx, myr_err *err);

/* One model of a pack, by index (0 .. model_count - 1). Since: 0.1 */
typedef struct myr_models_entry {
    size_t struct_size;
    int64_t version; /* in the registry; 0 for a single model file */
    int32_t level;   /* what it answers as: 1 segment, 2 parent, 3 global */
    uint32_t key_count;
    uint64_t size_bytes; /* compiled */
} myr_models_entry;
/* Errors: BAD_INPUT no such model; BAD_FORMAT its page of the index is damaged. */
MYR_API int32_t myr_models_get_entry(const myr_models *models, uint32_t model_idx, myr_models_entry *out, myr_err *err);
/*
 * The segment text of a model, NUL-terminated; "" for a global model. *out_size (may be NULL) is its length without the
 * NUL, set as well when room is too small (TOO_LARGE), so that the caller can come back with more. Since: 0.1
 */
MYR_API int32_t myr_models_get_segment(const myr_models *models, uint32_t model_idx, char *out, size_t room,
                                       size_t *out_size, myr_err *err);

/* What is wanted of a model. Numbers are append-only. Since: 0.1 */
enum {
    MYR_MODELS_VALUE = 0,       /* the answer */
    MYR_MODELS_MARGIN = 1,      /* before the transform of the objective */
    MYR_MODELS_PROBABILITY = 2, /* one per class */
    MYR_MODELS_LEAF = 3,        /* one per tree: the number of the leaf */
    MYR_MODELS_CONTRIBUTION = 4 /* per margin: one per feature, then the base (SHAP) */
};
/*
 * Doubles per row in an output, of one model or of all (MYR_MODELS_BY_KEY). 0: it can't be given, since models have
 * none or differ; scoring says why. Since: 0.1
 */
MYR_API size_t myr_models_width(const myr_models *models, uint32_t model_idx, int32_t output);

/* "segment", "no_model": names of a row's level and status, static; NULL past the last. Since: 0.1 */
MYR_API const char *myr_models_level_name(int32_t level);
MYR_API const char *myr_models_status_name(int32_t status);

#define MYR_MODELS_BY_KEY UINT32_MAX

/*
 * What to score. Everything is borrowed until the call returns. Features are either a matrix of doubles (`features`) or
 * columns of `batch`, found by name; keys are `key_texts` or columns of `batch`. Since: 0.1
 */
typedef struct myr_models_rows {
    size_t struct_size;
    int64_t row_count;  /* 0 with a batch: as many as it has */
    uint32_t model_idx; /* one model for all rows, or MYR_MODELS_BY_KEY */
    /* BY_KEY: row-major, row_count x key_count values as decimal or UTF-8 text; NULL = null */
    const char *const *key_texts;
    const double *features; /* NaN = missing; categories are codes */
    int64_t row_stride;     /* in doubles; 0 = feature_count */
    /* Up to here: the least that struct_size must cover. */
    int64_t column_stride; /* in doubles; 0 = 1. If set, both strides are taken as they are, of either sign */
    int32_t output;        /* MYR_MODELS_VALUE, … */
    /*
     * An Arrow struct ("+s"): integers, floats, bool, text (utf8, large, views), dictionaries of these, null; nulls,
     * offsets and slices. Other columns may be there. A feature that has names of categories in the fleet is looked up
     * by its text. Arrays are taken to be valid as the Arrow specification says.
     */
    const struct ArrowSchema *schema;
    const struct ArrowArray *batch;
    const char *const
        *key_columns; /* names in the batch, in the order of the partition columns; NULL: the same names */
} myr_models_rows;

/*
 * Score rows. out_values: row-major, row_count x output_count. out_levels (0 none, 1 segment, 2 parent, 3 global) and
 * out_statuses (0 ok, 1 no model, 2 bad key, 3 broken model, 4 bad input, … see myr_models_status_name): row_count
 * each, or NULL. Thread: any; calls may overlap. Errors: BAD_INPUT, UNSUPPORTED, NO_MEMORY. A row that can't be scored
 * is a status and NaN. Since: 0.1
 */
MYR_API int32_t myr_models_score(const myr_models *models, const myr_models_rows *rows, double *out_values,
                                 uint8_t *out_levels, uint8_t *out_statuses, myr_err *err);

/* Where answers go: the caller's arrays. Only values are needed, the others may be NULL. Since: 0.1 */
typedef struct myr_models_out {
    size_t struct_size;
    double *values;        /* value k of row i: values[i * row_stride + k * column_stride]; NaN where not ok */
    int64_t row_stride;    /* 0 = the width of the output */
    int64_t column_stride; /* 0 = 1 */
    uint8_t *levels;
    uint8_t *statuses;
    uint32_t *model_idxs; /* MYR_MODELS_BY_KEY where no model was found */
} myr_models_out;
/* The same, with any layout of the answers. Since: 0.1 */
MYR_API int32_t myr_models_score_into(const myr_models *models, const myr_models_rows *rows, const myr_models_out *out,
                                      myr_err *err);

/* Columns of an Arrow answer, to be or-ed. Since: 0.1 */
enum {
    MYR_MODELS_COLUMN_VALUES = 1, /* prediction, or prediction_0, …; margin, …: double, null where not ok */
    MYR_MODELS_COLUMN_LEVEL = 2,  /* level: dictionary of text */
    MYR_MODELS_COLUMN_STATUS = 4, /* status: dictionary of text */
    MYR_MODELS_COLUMN_MODEL = 8,  /* model: dictionary of text such as oj@store=2,brand=1; null where there is none */
    MYR_MODELS_COLUMN_MODEL_INDEX = 16 /* model_index: uint32; null where there is none */
};
/*
 * Score an Arrow batch into an Arrow struct array.
 * Ownership: on success *out_schema and *out_array are the caller's, each ended by its release().
 * Errors:    as above; both outputs untouched on failure. Since: 0.1
 */
MYR_API int32_t myr_models_score_arrow(const myr_models *models, const myr_models_rows *rows, uint32_t columns,
                                       struct ArrowSchema *out_schema, struct ArrowArray *out_array, myr_err *err);

#ifdef __cplusplus
}
#endif
#endif
