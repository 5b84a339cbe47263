/* What the files of api share. Not for other directories. */
#ifndef MYR_API_INTERNAL_H
#define MYR_API_INTERNAL_H

#include "base/base.h"
#include "import/import.h"
#include "myriad/myriad.h"
#include "score/score.h"

/* ---- working memory (work.c) ---- */

#define API_WORKS_MAX                                                                                                  \
    16 /* working memories kept for the next call; more callers at once make their own and free it                     \
        */

/* Working memory of one call. */
typedef struct api_work {
    myr_score_scratch *scratch;
    myr_arena *arena;       /* what lives as long as the call */
    myr_arena *chunk_arena; /* what lives as long as a chunk of rows */
} api_work;

/*
 * The only part of myr_models that changes after open. Slots are swapped by atomic exchange, so that no lock can be
 * held while a process forks.
 */
typedef struct api_pool {
    api_work *idle[API_WORKS_MAX];
} api_pool;

api_work *myr_api_work_take(api_pool *pool); /* NULL: no memory */
void myr_api_work_give(api_pool *pool, api_work *work);
void myr_api_pool_fini(api_pool *pool); /* none may be in use */

/* ---- models.c ---- */

/* Either a pack, or one compiled model (pack is NULL); the scorer is over one of them. */
struct myr_models {
    myr_pack *pack;
    myr_scorer *scorer;
    myr_imported *imported; /* a single model's names */
    unsigned char *bytes;   /* a single model, checked */
    const myr_model *model; /* into bytes */
    myr_pack_info info;     /* a pack's own, or made up for a single model */
    api_pool *pool;
};

/*
 * A caller's struct must have at least the fields of 0.1. When a struct grows, `least` stays and the new fields are
 * read only if struct_size covers them: older and newer callers both work.
 */
myr_rc myr_api_check_struct(size_t given, size_t least, const char *name, myr_err *err);

/* ---- Arrow in (arrow_in.c) ---- */

/* The columns of a batch that are asked for, checked and ready to be read. In the arena of the call. */
typedef struct api_batch api_batch;

/*
 * Check a batch against the schema and find columns: the features of `info` if with_features, and key_columns (NULL:
 * none). Errors: BAD_INPUT names the column and the mend; NO_MEMORY.
 */
myr_rc myr_api_batch_open(const myr_models_rows *rows, const myr_pack_info *info, bool with_features,
                          const char *const *key_columns, myr_arena *arena, api_batch **out, myr_err *err);
size_t myr_api_batch_row_bytes(const api_batch *batch); /* what a row costs that must be converted; 0: read in place */
/* Some rows of all features, or of all keys, as columns; what is converted lies in the arena. Errors: NO_MEMORY. */
myr_rc myr_api_batch_features(const api_batch *batch, int64_t first, size_t count, myr_arena *arena, myr_col *out_cols,
                              myr_err *err);
myr_rc myr_api_batch_keys(const api_batch *batch, int64_t first, size_t count, myr_arena *arena, myr_col *out_cols,
                          myr_err *err);

/* ---- score.c ---- */

/* The caller's struct as far as struct_size covers it, zero beyond. */
myr_rc myr_api_rows_get(const myr_models *models, const myr_models_rows *rows, myr_models_rows *out, myr_err *err);
/* Score; rows and out are complete (from myr_api_rows_get). */
myr_rc myr_api_score(const myr_models *models, const myr_models_rows *rows, const myr_models_out *out, myr_err *err);
/* Doubles per row, or UNSUPPORTED with the reason. */
myr_rc myr_api_width(const myr_models *models, uint32_t model_idx, int32_t output, size_t *out_width, myr_err *err);

#endif
