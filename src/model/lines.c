/*
 * Linear trees: a leaf is a line over some columns of the row instead of a constant. Lines stand behind the category
 * words of the nodes form, their terms behind them, both in the order of the leaves' slots; a leaf's node holds the
 * number of its line (from 1) where a split has its column and flags. Zeros are a leaf without a line, so all that
 * walk.c says about pages that turn to zeros holds here too: a line's bounds are old or zero, and stay inside.
 */
#include <math.h>
#include <string.h>

#include "model/layout.h"

static uint32_t lines_number(const model_node *leaf)
{
    return (uint32_t)leaf->column | (uint32_t)leaf->flags << 16;
}

/* ---- compile ---- */

static myr_rc lines_check_desc(const myr_leaf_line *line, uint32_t feature_count, uint32_t tree_idx, uint32_t leaf,
                               myr_err *err)
{
    if (line->count > MYR_FEATURES_MAX) {
        MYR_FAIL(err, TOO_LARGE, "tree %u, leaf %u: a line of %u terms, at most %d", tree_idx, leaf, line->count,
                 MYR_FEATURES_MAX);
    }
    if (isnan(line->constant)) MYR_FAIL(err, BAD_INPUT, "tree %u, leaf %u: the line's constant is NaN", tree_idx, leaf);
    for (uint32_t i = 0; i < line->count; i++) {
        if (line->features[i] >= feature_count) {
            MYR_FAIL(err, BAD_INPUT, "tree %u, leaf %u: term %u has feature %u of %u", tree_idx, leaf, i,
                     line->features[i], feature_count);
        }
        if (isnan(line->coefficients[i]))
            MYR_FAIL(err, BAD_INPUT, "tree %u, leaf %u: coefficient %u is NaN", tree_idx, leaf, i);
    }
    return MYR_OK;
}

myr_rc myr_lines_count(const myr_model_desc *desc, uint32_t tree_idx, model_header *h, myr_err *err)
{
    const myr_tree *tree = &desc->trees[tree_idx];
    uint64_t lines = h->line_count;
    uint64_t terms = h->line_term_count;
    if (tree->lines == NULL) return MYR_OK;
    if (desc->calc != MYR_CALC_F64) MYR_FAIL(err, BAD_INPUT, "tree %u: lines are in double only", tree_idx);
    for (uint32_t k = 0; k < tree->leaf_count; k++) {
        MYR_TRY(lines_check_desc(&tree->lines[k], desc->feature_count, tree_idx, k, err));
        lines++;
        terms += tree->lines[k].count;
    }
    if (lines > MODEL_ITEMS_MAX || terms > MODEL_ITEMS_MAX) {
        MYR_FAIL(err, TOO_LARGE, "the trees up to %u have more than %u lines or terms", tree_idx, MODEL_ITEMS_MAX);
    }
    h->line_count = (uint32_t)lines;
    h->line_term_count = (uint32_t)terms;
    h->flags |= MODEL_LINES;
    return MYR_OK;
}

void myr_lines_write(const myr_leaf_line *line, const uint32_t *feature_map, const model_map *map, unsigned char *bytes,
                     model_lines_used *used, model_node *out_leaf)
{
    model_line *lines = (model_line *)(void *)(bytes + map->lines_at);
    model_line_term *terms = (model_line_term *)(void *)(bytes + map->line_terms_at);
    lines[used->lines] = (model_line){.constant = line->constant, .first = used->terms, .count = line->count};
    for (uint32_t i = 0; i < line->count; i++) {
        uint32_t feature = line->features[i];
        terms[used->terms++] = (model_line_term){.coefficient = line->coefficients[i],
                                                 .column = feature_map != NULL ? feature_map[feature] : feature};
    }
    used->lines++;
    out_leaf->column = (uint16_t)used->lines;
    out_leaf->flags = (uint16_t)(used->lines >> 16);
}

/* ---- check ---- */

myr_rc myr_lines_check_leaf(const model_node *leaf, uint32_t line_count, uint32_t *used, uint32_t tree_idx,
                            uint32_t slot, myr_err *err)
{
    uint32_t number = lines_number(leaf);
    if (number == 0) return MYR_OK;
    if (number != *used + 1 || number > line_count) {
        MYR_FAIL(err, BAD_FORMAT, "model: tree %u, slot %u: a leaf has line %u, expected %u of %u", tree_idx, slot,
                 number, *used + 1, line_count);
    }
    *used = number;
    return MYR_OK;
}

static myr_rc lines_check_term(const model_line_term *term, uint32_t column_count, uint32_t idx, myr_err *err)
{
    if (term->column >= column_count || term->pad != 0 || isnan(term->coefficient)) {
        MYR_FAIL(err, BAD_FORMAT, "model: term %u of the lines: coefficient %.17g, column %u of %u, padding %u", idx,
                 term->coefficient, term->column, column_count, term->pad);
    }
    return MYR_OK;
}

myr_rc myr_lines_check(const model_header *h, const unsigned char *bytes, myr_err *err)
{
    model_map map = model_map_of(h);
    const model_line *lines = (const model_line *)(const void *)(bytes + map.lines_at);
    const model_line_term *terms = (const model_line_term *)(const void *)(bytes + map.line_terms_at);
    uint32_t used = 0;
    for (uint32_t k = 0; k < h->line_count; k++) {
        if (isnan(lines[k].constant) || lines[k].first != used || lines[k].count > h->line_term_count - used ||
            lines[k].count > MYR_FEATURES_MAX) {
            MYR_FAIL(err, BAD_FORMAT, "model: line %u: constant %.17g, %u terms from %u, expected from %u of %u", k,
                     lines[k].constant, lines[k].count, lines[k].first, used, h->line_term_count);
        }
        used += lines[k].count;
    }
    if (used != h->line_term_count) {
        MYR_FAIL(err, BAD_FORMAT, "model: %u terms of lines, %u used", h->line_term_count, used);
    }
    for (uint32_t i = 0; i < used; i++) {
        MYR_TRY(lines_check_term(&terms[i], h->column_count, i, err));
    }
    return MYR_OK;
}

/* ---- predict ---- */

/*
 * LightGBM's order: the constant, then each term in turn; a NaN among them gives the leaf's value instead. What
 * Booster.predict drops from a dense row (|x| <= 1e-35f) is 0 here too.
 */
double myr_lines_leaf(const model_header *h, const model_map *map, const unsigned char *bytes, const model_node *leaf,
                      const double *row)
{
    uint32_t number = lines_number(leaf);
    if (number == 0 || number > h->line_count) return leaf->u.value;
    model_line line;
    memcpy(&line, bytes + map->lines_at + (number - 1) * sizeof line, sizeof line);
    const model_line_term *terms = (const model_line_term *)(const void *)(bytes + map->line_terms_at) + line.first;
    double sum = line.constant;
    for (uint32_t i = 0; i < line.count; i++) {
        double x = row[terms[i].column];
        if (isnan(x)) return leaf->u.value;
        sum += terms[i].coefficient * (x >= -MODEL_ZERO && x <= MODEL_ZERO ? 0.0 : x);
    }
    return sum;
}
