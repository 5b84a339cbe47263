/*
 * How wide an answer is. With one model it is the model's own; by key the rows of a call may have different models, so
 * the width is that of the first models of the pack that can give the output, and a row whose model differs has the
 * status no_output.
 */
#include "score/score_inside.h"

#define SCORE_WIDTH_TRIES 16 /* models that are asked: a fleet's are made alike */

static const myr_model *score_model_at(const myr_scorer *scorer, uint32_t model_idx)
{
    const myr_model *model = NULL;
    if (scorer->single != NULL) return scorer->single;
    return myr_pack_model(scorer->pack, model_idx, &model, NULL) == MYR_OK ? model : NULL;
}

size_t myr_scorer_width(const myr_scorer *scorer, uint32_t model_idx, myr_output output)
{
    MYR_ASSERT((unsigned)output < MYR_OUTPUT_COUNT);
    if (output == MYR_OUTPUT_VALUE) return scorer->info->output_count;
    if (model_idx != MYR_PACK_NONE || scorer->info->model_count == 1) {
        uint32_t idx = model_idx == MYR_PACK_NONE ? 0 : model_idx;
        const myr_model *model = idx < scorer->info->model_count ? score_model_at(scorer, idx) : NULL;
        return model != NULL ? myr_model_width(model, output) : 0;
    }
    for (uint32_t k = 0; output != MYR_OUTPUT_LEAF && k < scorer->info->model_count && k < SCORE_WIDTH_TRIES; k++) {
        const myr_model *model = score_model_at(scorer, k);
        size_t width = model != NULL ? myr_model_width(model, output) : 0;
        if (width > 0) return width;
    }
    return 0;
}

myr_rc myr_scorer_check_output(const myr_scorer *scorer, uint32_t model_idx, myr_output output, size_t *out_width,
                               myr_err *err)
{
    if ((unsigned)output >= MYR_OUTPUT_COUNT) MYR_FAIL(err, BAD_INPUT, "there is no output %d", (int)output);
    size_t width = myr_scorer_width(scorer, model_idx, output);
    if (width == 0 && output != MYR_OUTPUT_VALUE) {
        bool by_key = model_idx == MYR_PACK_NONE && scorer->info->model_count > 1;
        if (by_key && output == MYR_OUTPUT_LEAF) {
            MYR_FAIL(err, UNSUPPORTED, "leaf: models have different numbers of trees, so name one model");
        }
        const myr_model *model = score_model_at(scorer, by_key || model_idx == MYR_PACK_NONE ? 0 : model_idx);
        const char *why = model != NULL ? myr_model_why_not(model, output) : "the model is damaged";
        MYR_FAIL(err, UNSUPPORTED, "%s: %s", myr_output_name(output), why != NULL ? why : "the model has none");
    }
    *out_width = width;
    return MYR_OK;
}

static void score_name_numbered(const char *name, size_t count, size_t idx, myr_buf *out)
{
    myr_buf_puts(out, name);
    if (count > 1) myr_buf_printf(out, "_%zu", idx);
}

void myr_scorer_column_name(const myr_scorer *scorer, myr_output output, size_t width, size_t column_idx, myr_buf *out)
{
    size_t features = scorer->info->feature_count;
    size_t margins = width / (features + 1);
    MYR_ASSERT(column_idx < width);
    switch (output) {
    case MYR_OUTPUT_PROBABILITY:
        myr_buf_printf(out, "p_%zu", column_idx);
        return;
    case MYR_OUTPUT_LEAF:
        myr_buf_printf(out, "leaf_%zu", column_idx);
        return;
    case MYR_OUTPUT_CONTRIBUTION:
        if (column_idx % (features + 1) == features) {
            score_name_numbered("base", margins, column_idx / (features + 1), out);
            return;
        }
        score_name_numbered("contribution", margins, column_idx / (features + 1), out);
        myr_buf_printf(out, "_%s", scorer->info->features[column_idx % (features + 1)]);
        return;
    default:
        score_name_numbered(output == MYR_OUTPUT_VALUE ? "prediction" : "margin", width, column_idx, out);
        return;
    }
}
