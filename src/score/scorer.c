/* Scorers, and what levels, statuses and models are called. */
#include "score/score_inside.h"

/* ---- names ---- */

const char *myr_level_name(myr_level level)
{
    static const char *const names[] = {"none", "segment", "parent", "global", "stored"};
    _Static_assert(MYR_COUNT_OF(names) == MYR_LEVEL_COUNT, "a name per level");
    return (unsigned)level < MYR_LEVEL_COUNT ? names[level] : names[MYR_LEVEL_NONE];
}

const char *myr_row_status_name(myr_row_status status)
{
    static const char *const names[] = {"ok",          "no_model",  "bad_key",  "broken_model", "bad_input",
                                        "unavailable", "no_output", "rejected", "failed"};
    _Static_assert(MYR_COUNT_OF(names) == MYR_ROW_STATUS_COUNT, "a name per status");
    MYR_ASSERT((unsigned)status < MYR_ROW_STATUS_COUNT); /* statuses are only ever made here */
    return names[status];
}

/* ---- the scorer ---- */

myr_rc myr_scorer_new(const myr_pack *pack, myr_scorer **out, myr_err *err)
{
    myr_scorer *scorer = myr_calloc(1, sizeof *scorer);
    if (scorer == NULL) {
        MYR_FAIL(err, NO_MEMORY, "no memory for a scorer");
    }
    scorer->pack = pack;
    scorer->info = myr_pack_get_info(pack);
    scorer->chain_count = myr_key_chain(&scorer->info->keys, scorer->chain);
    *out = scorer;
    return MYR_OK;
}

myr_rc myr_scorer_new_single(const myr_model *model, const myr_pack_info *info, myr_scorer **out, myr_err *err)
{
    MYR_ASSERT(model != NULL && info->model_count == 1 && info->keys.column_count == 0);
    myr_scorer *scorer = myr_calloc(1, sizeof *scorer);
    if (scorer == NULL) {
        MYR_FAIL(err, NO_MEMORY, "no memory for a scorer");
    }
    scorer->single = model;
    scorer->info = info;
    *out = scorer;
    return MYR_OK;
}

void myr_scorer_free(myr_scorer *scorer)
{
    myr_free(scorer);
}

const myr_pack *myr_scorer_pack(const myr_scorer *scorer)
{
    return scorer->pack;
}

myr_rc myr_score_model_name(const myr_scorer *scorer, uint32_t model_idx, myr_buf *out, myr_err *err)
{
    myr_pack_entry entry;
    MYR_TRY(myr_buf_check(out, err));
    if (scorer->single != NULL) return MYR_OK; /* a file's model has no fleet, so no name */
    MYR_TRY(myr_pack_get_entry(scorer->pack, model_idx, &entry, err));
    size_t start = out->size;
    myr_buf_puts(out, scorer->info->fleet); /* in place: a buffer of its own would be a heap block per name */
    myr_buf_putc(out, '@');
    myr_rc rc = myr_key_text(&scorer->info->keys, entry.key, entry.key_bytes, out, err);
    if (rc == MYR_OK) return MYR_OK;
    out->size = start; /* untouched on failure */
    out->failed = false;
    if (out->data != NULL) out->data[start] = '\0';
    return rc;
}

myr_rc myr_score_model_name_kept(const myr_scorer *scorer, uint32_t model_idx, myr_arena *arena, myr_str *names,
                                 myr_str *out, myr_err *err)
{
    myr_str *name = &names[model_idx];
    if (name->data == NULL) {
        MYR_AUTO(myr_buf) text = {0};
        MYR_TRY(myr_score_model_name(scorer, model_idx, &text, err));
        MYR_TRY(myr_buf_check(&text, err));
        const char *copy = myr_arena_strndup(arena, text.data, text.size);
        if (copy == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a model's name");
        *name = myr_str_make(copy, text.size);
    }
    *out = *name;
    return MYR_OK;
}
