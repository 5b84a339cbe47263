/*
 * The face of score: THE scoring path. Rows and keys in, values and one status per row out. Batch, serve, predict and
 * the C ABI all end here; nothing else predicts.
 */
#ifndef MYR_SCORE_SCORE_H
#define MYR_SCORE_SCORE_H

#include "base/base.h"
#include "pack/pack.h"

typedef enum myr_level {
    MYR_LEVEL_NONE,
    MYR_LEVEL_SEGMENT,
    MYR_LEVEL_PARENT,
    MYR_LEVEL_GLOBAL,
    MYR_LEVEL_STORED, /* a prediction that was made before: given by the server, never by a scorer */
    MYR_LEVEL_COUNT
} myr_level;
const char *myr_level_name(myr_level level); /* "none", "segment", "parent", "global", "stored" */

typedef enum myr_row_status {
    MYR_ROW_OK,
    MYR_ROW_NO_MODEL,     /* no model on the whole fallback chain */
    MYR_ROW_BAD_KEY,      /* a key value is not of its column's type, or too long */
    MYR_ROW_BROKEN_MODEL, /* its model is damaged in the pack: no other model answers in silence */
    MYR_ROW_BAD_INPUT,    /* a feature's cell is nothing that its model takes */
    MYR_ROW_UNAVAILABLE,  /* its model is not ours, and what runs it is not here or failed: myr_score_trouble */
    MYR_ROW_NO_OUTPUT,    /* its model can't give the output that is asked for, or not as wide as the call's */
    MYR_ROW_REJECTED,     /* a rule for inputs or predictions says no: given by the server, never by a scorer */
    MYR_ROW_FAILED,       /* what follows the model failed (a score script): given by the server, never by a scorer */
    MYR_ROW_STATUS_COUNT
} myr_row_status;
/* "ok", "no_model", "bad_key", "broken_model", "bad_input", "unavailable", "no_output", "rejected", "failed" */
const char *myr_row_status_name(myr_row_status status);

/* Rows to score. Everything is borrowed until myr_score returns. */
typedef struct myr_score_rows {
    int64_t row_count;
    const myr_col *keys; /* one per partition column of the pack, in its order; ignored if fixed_model is set */
    /* One column per feature of the pack, in its order; null = missing. DOUBLE: numbers, or codes of categories. TEXT:
     * each cell becomes its model's code of the category of that name, or NaN if it has none such; for a model without
     * names there, the number that it reads as, else the row is bad_input. */
    const myr_col *features;
    uint32_t fixed_model; /* a model index for all rows, or MYR_PACK_NONE: choose by key */
    uint32_t levels;      /* by key: bits 1 << myr_level that may answer; 0 = all */
    uint32_t skip_models; /* by key: so many models that the chain finds are passed over: the next level's answer */
    /* Doubles from a row to the next in every DOUBLE column of features, of either sign; 0 = 1. Columns that lie side
     * by side in rows of a matrix are predicted where they lie, without a copy. Keys, texts and `valid` are not
     * strided. */
    int64_t feature_stride;
    uint32_t
        leaf_width;    /* LEAF by key: columns there are; a model of fewer trees leaves NaN behind its last. 0 = none */
    myr_output output; /* what is asked; myr_scorer_width columns of values. Zero is the value */
    bool no_runner;    /* models that are not ours are not asked (they may block): see myr_score_needs_runner */
    int64_t until_ns;  /* monotonic: no longer is waited for a model that is being loaded; 0 = as long as it takes */
} myr_score_rows;

/* Where answers go: the caller's arrays of row_count; model_idxs, levels and statuses may be NULL. */
typedef struct myr_score_out {
    double *const *values; /* myr_scorer_width columns (the value: output_count); NaN (never with a sign) where the
                              status is not ok */
    uint32_t *model_idxs;  /* MYR_PACK_NONE where there is none */
    uint8_t *levels;       /* myr_level */
    uint8_t *statuses;     /* myr_row_status */
} myr_score_out;

/* What choosing costs and finds; immutable after open, shared by any number of threads. Borrows the pack. */
typedef struct myr_scorer myr_scorer;
myr_rc myr_scorer_new(const myr_pack *pack, myr_scorer **out, myr_err *err);
/* One checked model without a pack: model 0, level global. Borrows both; `info` describes it (no key columns, 1 model).
 */
myr_rc myr_scorer_new_single(const myr_model *model, const myr_pack_info *info, myr_scorer **out, myr_err *err);
void myr_scorer_free(myr_scorer *scorer);                  /* NULL accepted */
const myr_pack *myr_scorer_pack(const myr_scorer *scorer); /* NULL: a single model */

/*
 * Values per row of an output, of one model or (MYR_PACK_NONE) by key; 0 if it can't be given. LEAF needs one model. By
 * key it is the width of the pack's first models that can; a row whose model can't, or has another width, has the
 * status no_output. Thread: any.
 */
size_t myr_scorer_width(const myr_scorer *scorer, uint32_t model_idx, myr_output output);
/* The same, and why not. Errors: UNSUPPORTED says why; BAD_INPUT: there is no such output. */
myr_rc myr_scorer_check_output(const myr_scorer *scorer, uint32_t model_idx, myr_output output, size_t *out_width,
                               myr_err *err);

/*
 * The name of one column of an output, appended: prediction(_K), margin(_K), p_K, leaf_T, contribution_(K_)FEATURE and
 * base(_K), with numbers where there are several. width: myr_scorer_width.
 */
void myr_scorer_column_name(const myr_scorer *scorer, myr_output output, size_t width, size_t column_idx, myr_buf *out);

/* ---- models that are not ours ---- */

/* Some rows for one model of kind MYR_MODEL_EXTERNAL. Everything is borrowed for the call. */
typedef struct myr_runner_call {
    const myr_model *model;
    const myr_col *features; /* the pack's, any type; row r of a DOUBLE column is f64[r * feature_stride] */
    int64_t feature_stride;  /* never 0; INT64 and TEXT columns and `valid` are not strided */
    int64_t first_row;       /* the rows are first_row + order[i] */
    const uint32_t *order;   /* row_count, ascending */
    uint32_t row_count;      /* at least 1 */
    double *const *values;   /* the answer's columns; row r at values[k][r] */
    uint8_t *is_bad;         /* row_count zeros: 1 says that row i has a cell that the model can't take */
    int64_t until_ns;        /* as in myr_score_rows */
} myr_runner_call;
/*
 * What predicts them. It may block: never on an event loop. Thread: any, at once. Errors: BAD_FORMAT: the model is
 * damaged (status broken_model); any other: it can't be asked now (status unavailable).
 */
typedef struct myr_runner {
    void *ctx;
    myr_rc (*run)(void *ctx, const myr_runner_call *call, myr_err *err);
} myr_runner;
/* Before the scorer is shared. The runner's ctx outlives the scorer. Without one their rows are `unavailable`. */
void myr_scorer_set_runner(myr_scorer *scorer, const myr_runner *runner);

/* Working memory of one thread, kept between calls so that a warm call allocates nothing. */
typedef struct myr_score_scratch myr_score_scratch;
myr_score_scratch *myr_score_scratch_new(void);
void myr_score_scratch_free(myr_score_scratch *scratch); /* NULL accepted */

/*
 * Score rows, each with the model that its key selects on the fallback chain (own segment -> parents -> global).
 * Rows are grouped by model inside, answered in the order given; a row's bits do not depend on its neighbours.
 * Thread: any; calls on one scorer may overlap, each with its own scratch. Errors: NO_MEMORY, BAD_INPUT (a column is
 * missing or has another type), UNSUPPORTED (myr_scorer_check_output). A row that cannot be scored is a status, not an
 * error.
 */
myr_rc myr_score(const myr_scorer *scorer, myr_score_scratch *scratch, const myr_score_rows *rows,
                 const myr_score_out *out, myr_err *err);

/* After a call: why the first rows that a runner failed are `unavailable` or `broken_model`; rc OK if none did. */
const myr_err *myr_score_trouble(const myr_score_scratch *scratch);
/* After a call with no_runner: were there rows for a runner? They are `unavailable`; ask again where one may block. */
bool myr_score_needs_runner(const myr_score_scratch *scratch);

/* Which model the key of one row selects, without asking it, and its level: MYR_PACK_NONE and NONE if there is none, or
 * the key is bad. Of rows its keys count, levels and skip_models. Thread: any. */
void myr_score_choose(const myr_scorer *scorer, const myr_score_rows *rows, int64_t row_idx, uint32_t *out_model_idx,
                      myr_level *out_level);

/* `oj@store=2,brand=1`: the name of a model, appended. */
myr_rc myr_score_model_name(const myr_scorer *scorer, uint32_t model_idx, myr_buf *out, myr_err *err);
/* The same, written once per model: `names` has one for each (zeroed at first), their texts are in `arena`. */
myr_rc myr_score_model_name_kept(const myr_scorer *scorer, uint32_t model_idx, myr_arena *arena, myr_str *names,
                                 myr_str *out, myr_err *err);

#endif
