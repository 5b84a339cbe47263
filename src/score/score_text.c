/*
 * Texts as features: each cell becomes the code that this row's model has for it, while the rows of the model are
 * gathered. A text that the model's list lacks is missing, as its library has it. Where the model has no list for the
 * feature the cell is a number written as text, or the row is bad: it is never guessed.
 */
#include "score/score_inside.h"

/* One cell as the model's number. False: it is none. A truth value of a table or of JSON comes as its word. */
static bool text_code(const myr_names *names, bool has_names, uint32_t feature_idx, myr_str text, double *out)
{
    bool is_true = myr_str_is(text, "true");
    if (!has_names && (is_true || myr_str_is(text, "false"))) {
        *out = is_true ? 1.0 : 0.0;
        return true;
    }
    if (!has_names) return myr_parse_double(text, out);
    *out = myr_names_code(names, feature_idx, text);
    return true;
}

void myr_score_gather_text(const score_text *text, uint32_t feature_idx, const uint32_t *order, uint32_t row_count,
                           double *at, uint8_t *is_bad)
{
    const myr_col *col = &text->features[feature_idx];
    bool has_names = myr_names_has(text->names, feature_idx);
    MYR_ASSERT(col->type == MYR_COL_TEXT);
    for (uint32_t i = 0; i < row_count; i++, at += text->feature_count) {
        int64_t row_idx = text->first_row + order[i];
        double value = (double)NAN;
        if (!myr_col_is_null(col, row_idx) &&
            !text_code(text->names, has_names, feature_idx, col->data.text[row_idx], &value)) {
            is_bad[i] = 1;
        }
        *at = value;
    }
}
