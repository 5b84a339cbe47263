/* What the files of score share: the scorer, the working memory of one thread, and the groups of a chunk. */
#ifndef MYR_SCORE_INSIDE_H
#define MYR_SCORE_INSIDE_H

#include <math.h>

#include "score/score.h"

#define SCORE_CHUNK_ROWS    65536 /* rows that are grouped together: bounds the working memory */
#define SCORE_BLOCK_ROWS    256   /* rows that a kernel gets at once, fewer if they are wide */
#define SCORE_BLOCK_DOUBLES 32768 /* 256 KiB: stays in the second-level cache */

/* Immutable after myr_scorer_new. */
struct myr_scorer {
    const myr_pack *pack;    /* NULL: */
    const myr_model *single; /* the one model */
    const myr_pack_info *info;
    uint32_t chain[MYR_PARTITION_COLUMNS_MAX + 1]; /* masks, in the order they are tried */
    uint32_t chain_count;
    myr_runner runner; /* run NULL: none */
};

/* What a row was resolved to: a model index, or one of these. */
#define SCORE_CODE_NO_MODEL MYR_PACK_NONE
#define SCORE_CODE_BAD_KEY  (MYR_PACK_NONE - 1)
#define SCORE_CODE_DAMAGED  (MYR_PACK_NONE - 2) /* a damaged page of the index: which model it would be is not known */
_Static_assert(MYR_PACK_MODELS_MAX < SCORE_CODE_DAMAGED, "codes are no model's index");

/* The rows of a chunk that share a code. */
typedef struct score_group {
    uint32_t code;
    uint32_t first; /* its rows are order[first .. first + count) */
    uint32_t count;
} score_group;

/* Owned by one thread; kept between calls. */
struct myr_score_scratch {
    uint32_t row_room;
    uint32_t *row_groups; /* per row of the chunk: its group */
    uint32_t *order;      /* rows of the chunk, group by group, each in the order given */
    score_group *groups;
    uint32_t group_count;
    uint32_t *table; /* code -> group + 1; open addressing, a power of two of at least two slots a row */
    uint32_t table_room;
    uint32_t table_shift; /* 32 - log2 of the part of the table that this chunk uses */
    double *block;        /* features, row-major */
    size_t block_room;
    double *values; /* what the kernel gives, row-major */
    size_t value_room;
    uint8_t *is_bad; /* per row of a group: its model can't take one of its cells */
    uint32_t bad_room;
    bool needs_runner;
    myr_err trouble;
};

/* The one NaN that answers have, without a sign: a batch would else write -nan for what a processor makes of 0/0. */
static inline double score_plain(double value)
{
    return isnan(value) ? (double)NAN : value;
}

/* The level of a model; without partition columns the one model is global: there are no segments. */
static inline myr_level myr_score_level_of(const myr_scorer *scorer, uint32_t key_columns)
{
    if (key_columns == 0) return MYR_LEVEL_GLOBAL;
    return key_columns == scorer->info->keys.column_count ? MYR_LEVEL_SEGMENT : MYR_LEVEL_PARENT;
}

/* score_resolve.c: the model of one row, or a code. */
uint32_t myr_score_resolve_row(const myr_scorer *scorer, const myr_score_rows *rows, int64_t row_idx);
/* How many rows from row_idx on, of row_count (> 0), have its cells in all key columns? They have its model. */
uint32_t myr_score_keys_run(const myr_col *keys, uint32_t column_count, int64_t row_idx, uint32_t row_count);

/* score_group.c. Room for a chunk of so many rows; NO_MEMORY leaves the scratch usable. */
myr_rc myr_score_scratch_reserve(myr_score_scratch *scratch, uint32_t row_count, size_t block_doubles,
                                 size_t value_doubles, myr_err *err);
/* Group row_count rows from first_row on, and order them. */
void myr_score_group_rows(myr_score_scratch *scratch, const myr_scorer *scorer, const myr_score_rows *rows,
                          int64_t first_row, uint32_t row_count);

/* Room for the marks of a group's rows; false: no memory. */
bool myr_score_bad_reserve(myr_score_scratch *scratch, uint32_t row_count);

/* score_text.c: what stays the same while the rows of one model are gathered. */
typedef struct score_text {
    const myr_names *names; /* of the model; NULL: it has none */
    const myr_col *features;
    uint32_t feature_count;
    int64_t first_row;
} score_text;
/* Copy a column of texts as the model's codes, to at, at + feature_count, …; rows that are bad get a mark. */
void myr_score_gather_text(const score_text *text, uint32_t feature_idx, const uint32_t *order, uint32_t row_count,
                           double *at, uint8_t *is_bad);

/* score_runner.c: forget what the call before left; the rows of one group through the runner (its values are final);
 * then, once the statuses of a group are filled in, those of its bad rows. */
void myr_score_runner_begin(myr_score_scratch *scratch);
myr_row_status myr_score_runner_run(const myr_scorer *scorer, myr_score_scratch *scratch, const myr_score_rows *rows,
                                    const myr_score_out *out, int64_t first_row, const score_group *group,
                                    const myr_model *model);
void myr_score_mark_bad(const myr_score_scratch *scratch, const myr_score_out *out, int64_t first_row,
                        const score_group *group);

#endif
