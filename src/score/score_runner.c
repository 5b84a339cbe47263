/*
 * Models that are not ours: a group of rows goes to the runner that whoever opened the fleet set, with the columns as
 * they are. What it says of the whole group becomes a status; what it says of single rows is marked one by one.
 */
#include "score/score_inside.h"

#include <string.h>

void myr_scorer_set_runner(myr_scorer *scorer, const myr_runner *runner)
{
    MYR_ASSERT(runner->run != NULL);
    scorer->runner = *runner;
}

const myr_err *myr_score_trouble(const myr_score_scratch *scratch)
{
    return &scratch->trouble;
}

bool myr_score_needs_runner(const myr_score_scratch *scratch)
{
    return scratch->needs_runner;
}

void myr_score_runner_begin(myr_score_scratch *scratch)
{
    scratch->needs_runner = false;
    scratch->trouble.rc = MYR_OK;
    scratch->trouble.message[0] = '\0';
}

static myr_row_status runner_status(myr_rc rc)
{
    if (rc == MYR_OK) return MYR_ROW_OK;
    return rc == MYR_BAD_FORMAT ? MYR_ROW_BROKEN_MODEL : MYR_ROW_UNAVAILABLE;
}

static bool runner_room(myr_score_scratch *scratch, uint32_t row_count)
{
    if (!myr_score_bad_reserve(scratch, row_count)) return false;
    memset(scratch->is_bad, 0, row_count);
    return true;
}

static myr_rc runner_run(const myr_scorer *scorer, const myr_runner_call *call, myr_err *err)
{
    if (scorer->runner.run == NULL) {
        MYR_FAIL(err, UNAVAILABLE,
                 "the model is not ours, and nothing here runs such models: ask the program `myriad`");
    }
    return scorer->runner.run(scorer->runner.ctx, call, err);
}

myr_row_status myr_score_runner_run(const myr_scorer *scorer, myr_score_scratch *scratch, const myr_score_rows *rows,
                                    const myr_score_out *out, int64_t first_row, const score_group *group,
                                    const myr_model *model)
{
    if (rows->no_runner) {
        scratch->needs_runner = true;
        return MYR_ROW_UNAVAILABLE;
    }
    myr_err err = {0};
    if (!runner_room(scratch, group->count)) return MYR_ROW_UNAVAILABLE;
    myr_runner_call call = {.model = model,
                            .features = rows->features,
                            .feature_stride = rows->feature_stride == 0 ? 1 : rows->feature_stride,
                            .first_row = first_row,
                            .order = scratch->order + group->first,
                            .row_count = group->count,
                            .values = out->values,
                            .is_bad = scratch->is_bad,
                            .until_ns = rows->until_ns};
    myr_rc rc = runner_run(scorer, &call, &err);
    if (rc != MYR_OK && scratch->trouble.rc == MYR_OK) scratch->trouble = err;
    for (uint32_t k = 0; rc == MYR_OK && k < scorer->info->output_count; k++) {
        for (uint32_t i = 0; i < group->count; i++) {
            double *value = &out->values[k][first_row + call.order[i]];
            *value = scratch->is_bad[i] != 0 ? (double)NAN : score_plain(*value);
        }
    }
    return runner_status(rc);
}

void myr_score_mark_bad(const myr_score_scratch *scratch, const myr_score_out *out, int64_t first_row,
                        const score_group *group)
{
    const uint32_t *order = scratch->order + group->first;
    for (uint32_t i = 0; out->statuses != NULL && i < group->count; i++) {
        if (scratch->is_bad[i] != 0) out->statuses[first_row + order[i]] = MYR_ROW_BAD_INPUT;
    }
}
