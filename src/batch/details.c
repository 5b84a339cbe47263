/* What is written of each answer beside its numbers: which model gave it, how that was found, and whether it is one. */
#include <string.h>

#include "batch/internal.h"

#define DETAILS_NONE "none"

static const char *const details_names[] = {[MYR_BATCH_MODEL] = "model",
                                            [MYR_BATCH_MODEL_VERSION] = "model_version",
                                            [MYR_BATCH_LEVEL] = "level",
                                            [MYR_BATCH_STATUS] = "status"};

const char *myr_batch_detail_name(myr_batch_detail detail)
{
    MYR_ASSERT((size_t)detail < MYR_BATCH_DETAIL_COUNT);
    return details_names[detail];
}

static bool details_find(const char *name, myr_batch_detail *out)
{
    for (size_t i = 0; i < MYR_BATCH_DETAIL_COUNT; i++) {
        if (strcmp(name, details_names[i]) != 0) continue;
        *out = (myr_batch_detail)i;
        return true;
    }
    return false;
}

static myr_rc details_unknown(const char *name, myr_err *err)
{
    const char *known[MYR_BATCH_DETAIL_COUNT + 2] = {0};
    for (size_t i = 0; i < MYR_BATCH_DETAIL_COUNT; i++)
        known[i] = details_names[i];
    known[MYR_BATCH_DETAIL_COUNT] = DETAILS_NONE;
    const char *nearest = myr_nearest(name, known);
    if (nearest != NULL) MYR_FAIL(err, BAD_INPUT, "there is no detail '%.40s'; did you mean '%s'?", name, nearest);
    MYR_FAIL(err, BAD_INPUT, "there is no detail '%.40s': model, model_version, level and status are known, or none",
             name);
}

myr_rc myr_batch_details_choose(const char *const *names, size_t count, bool *out_leaves, myr_err *err)
{
    bool leaves[MYR_BATCH_DETAIL_COUNT];
    bool is_none = count == 1 && strcmp(names[0], DETAILS_NONE) == 0;
    memset(leaves, true, sizeof leaves);
    for (size_t i = 0; i < count && !is_none; i++) {
        myr_batch_detail detail;
        if (strcmp(names[i], DETAILS_NONE) == 0) MYR_FAIL(err, BAD_INPUT, "'none' stands alone: it is no detail");
        if (!details_find(names[i], &detail)) return details_unknown(names[i], err);
        if (!leaves[detail]) MYR_FAIL(err, BAD_INPUT, "the detail '%s' is named twice", names[i]);
        leaves[detail] = false;
    }
    memcpy(out_leaves, leaves, sizeof leaves);
    return MYR_OK;
}

bool myr_batch_details_are_all(const myr_batch_opts *opts)
{
    return memchr(opts->leaves_out, true, sizeof opts->leaves_out) == NULL;
}
