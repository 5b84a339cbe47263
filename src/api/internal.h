/* What the files of api share. Not for other directories. */
#ifndef MYR_API_INTERNAL_H
#define MYR_API_INTERNAL_H

#include "base/base.h"
#include "import/import.h"
#include "myriad/myriad.h"
#include "score/score.h"

#define API_WORKS_MAX                                                                                                  \
    16 /* working memories kept for the next call; more callers at once make their own and free it                     \
        */

/* Working memory of one call. */
typedef struct api_work {
    struct api_work *next; /* in the list of idle ones */
    myr_score_scratch *scratch;
    myr_arena *arena;
} api_work;

/* The only part that changes after open. */
typedef struct api_pool {
    myr_mutex lock; /* guards idle and idle_count */
    api_work *idle;
    int idle_count;
} api_pool;

/*
 * Either a pack with its scorer, or one compiled model (pack is NULL). A single model has no segments to choose among,
 * so it goes to the same kernel directly; a pack goes through myr_score like everything else.
 */
struct myr_models {
    myr_pack *pack;
    myr_scorer *scorer;
    myr_imported *imported; /* a single model's names */
    unsigned char *bytes;   /* a single model, checked */
    const myr_model *model; /* into bytes */
    myr_pack_info info;     /* a pack's own, or made up for a single model */
    api_pool *pool;
};

api_work *myr_api_work_take(api_pool *pool); /* NULL: no memory */
void myr_api_work_give(api_pool *pool, api_work *work);
void myr_api_pool_free(api_pool *pool); /* NULL accepted; none may be in use */

/*
 * A caller's struct must have at least the fields of 0.1. When a struct grows, `least` stays and the new fields are
 * read only if struct_size covers them: older and newer callers both work.
 */
myr_rc myr_api_check_struct(size_t given, size_t least, const char *name, myr_err *err);

#endif
