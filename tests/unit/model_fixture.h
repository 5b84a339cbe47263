/* Models for the tests of model: one small hand-written one, random ones, and a plain evaluator to compare with. */
#ifndef MYR_TESTS_MODEL_FIXTURE_H
#define MYR_TESTS_MODEL_FIXTURE_H

#include <math.h>

#include "testing.h"

#include "model/layout.h"
#include "model/lanes.h"

#define FIXTURE_COLUMNS 4

/* Three trees over four features: numeric with each missing type, a categorical split, a single leaf. */
typedef struct fixture {
    myr_split first[3];
    double first_leaves[4];
    myr_split second[2];
    double second_leaves[3];
    uint32_t words[3];
    double third_leaves[1];
    myr_tree trees[3];
    double bases[2];
    myr_model_desc desc;
} fixture;

static inline void fixture_init(fixture *f)
{
    memset(f, 0, sizeof *f);
    f->first[0] = (myr_split){.feature = 0, .left = 1, .right = 2, .threshold = 0.5, .missing = MYR_MISSING_NONE};
    f->first[1] = (myr_split){
        .feature = 1, .left = ~0, .right = ~3, .threshold = -1.5, .missing = MYR_MISSING_NAN, .default_left = 1};
    f->first[2] = (myr_split){
        .feature = 2, .left = ~2, .right = ~1, .threshold = 2.0, .missing = MYR_MISSING_ZERO, .default_left = 0};
    for (int k = 0; k < 4; k++) {
        f->first_leaves[k] = 1.0 + k;
    }
    f->second[0] = (myr_split){.feature = 3,
                               .left = ~1,
                               .right = 1,
                               .category_first = 0,
                               .category_count = 2,
                               .is_category = 1,
                               .missing = MYR_MISSING_NAN,
                               .default_left = 0};
    f->second[1] = (myr_split){.feature = 3,
                               .left = ~0,
                               .right = ~2,
                               .category_first = 2,
                               .category_count = 1,
                               .is_category = 1,
                               .missing = MYR_MISSING_NONE};
    f->words[0] = 1u | (1u << 5);
    f->words[1] = 1u << 31; /* category 63 */
    f->words[2] = 1u | (1u << 7);
    f->second_leaves[0] = 0.25;
    f->second_leaves[1] = -0.125;
    f->second_leaves[2] = 8.0;
    f->third_leaves[0] = 0.0625;
    f->trees[0] = (myr_tree){.splits = f->first, .split_count = 3, .leaves = f->first_leaves, .leaf_count = 4};
    f->trees[1] = (myr_tree){.splits = f->second,
                             .split_count = 2,
                             .leaves = f->second_leaves,
                             .leaf_count = 3,
                             .category_words = f->words,
                             .category_word_count = 3,
                             .output = 1};
    f->trees[2] = (myr_tree){.leaves = f->third_leaves, .leaf_count = 1};
    f->bases[0] = 100.0;
    f->bases[1] = -100.0;
    f->desc = (myr_model_desc){.kind = MYR_MODEL_TREES,
                               .feature_count = FIXTURE_COLUMNS,
                               .margin_count = 2,
                               .base_margins = f->bases,
                               .trees = f->trees,
                               .tree_count = 3};
}

/* A compiled model that frees itself. */
typedef struct compiled {
    unsigned char *bytes;
    size_t size;
    const myr_model *model;
} compiled;
static inline void compiled_drop(compiled *c)
{
    myr_free(c->bytes);
}

static inline compiled fixture_compile_form(const myr_model_desc *desc, const uint32_t *map, uint32_t column_count,
                                            myr_model_form form)
{
    compiled c = {0};
    myr_err err = {0};
    myr_compile_opts opts = {.form = form};
    if (myr_model_compile(desc, map, column_count, &opts, &c.bytes, &c.size, &err) != MYR_OK)
        fail_msg("compile: %s", err.message);
    if (myr_model_check(c.bytes, c.size, &c.model, &err) != MYR_OK) fail_msg("check: %s", err.message);
    EXPECT((const void *)c.model == (const void *)c.bytes);
    return c;
}

static inline compiled fixture_compile(const myr_model_desc *desc, const uint32_t *map, uint32_t column_count)
{
    return fixture_compile_form(desc, map, column_count, MYR_FORM_AUTO);
}

static inline bool fixture_in_lanes(const compiled *c)
{
    return (((const model_header *)(const void *)c->bytes)->flags & MODEL_LANES) != 0;
}

/* ---- a second opinion: the description walked as model.h words it ---- */

static inline bool plain_in_set(const myr_tree *tree, const myr_split *s, double x, bool single)
{
    double whole = trunc(x);
    if (single && x < 0) return false;
    if (!(whole >= 0 && whole < s->category_count * 32.0)) return false;
    uint32_t category = (uint32_t)whole;
    return (tree->category_words[s->category_first + category / 32] >> (category % 32)) & 1;
}

static inline bool plain_left(const myr_tree *tree, const myr_split *s, double x, bool single)
{
    double zero = (double)1e-35f;
    if (single) x = (double)(float)x;
    if (isnan(x) && s->missing == MYR_MISSING_NONE) x = 0.0;
    if (isnan(x) || (s->missing == MYR_MISSING_ZERO && fabs(x) <= zero)) return s->default_left;
    return s->is_category ? plain_in_set(tree, s, x, single) : x <= s->threshold;
}

static inline void plain_margins(const myr_model_desc *d, const double *row, double *out)
{
    bool single = d->calc == MYR_CALC_F32;
    for (uint32_t k = 0; k < d->margin_count; k++) {
        out[k] = d->base_margins != NULL ? d->base_margins[k] : 0.0;
    }
    for (uint32_t t = 0; t < d->tree_count; t++) {
        const myr_tree *tree = &d->trees[t];
        int32_t at = tree->split_count > 0 ? 0 : ~0;
        while (at >= 0) {
            const myr_split *s = &tree->splits[at];
            at = plain_left(tree, s, row[s->feature], single) ? s->left : s->right;
        }
        double *margin = &out[tree->output];
        *margin = single ? (double)((float)*margin + (float)tree->leaves[~at]) : *margin + tree->leaves[~at];
    }
    for (uint32_t k = 0; d->average && k < d->margin_count; k++) {
        out[k] /= d->average_over;
    }
}

/* ---- random models ---- */

typedef struct dice {
    uint64_t state;
} dice;
static inline uint32_t dice_roll(dice *d, uint32_t count)
{
    d->state ^= d->state << 13;
    d->state ^= d->state >> 7;
    d->state ^= d->state << 17;
    return (uint32_t)((d->state >> 11) % count);
}

/* Values that meet: few distinct numbers, so that rows hit thresholds, their neighbours and the odd ones. */
static inline double dice_value(dice *d)
{
    static const double odd[] = {
        0.0, -0.0,  1e-36,  -1e-36, (double)1e-35f, -(double)1e-35f, 5e-324,       -5e-324,   INFINITY, -INFINITY,
        NAN, 1e300, -1e300, -0.5,   -1.0,           4294967296.0,    2147483648.0, 16777216.0};
    if (dice_roll(d, 4) == 0) return odd[dice_roll(d, sizeof odd / sizeof *odd)];
    double whole = (double)dice_roll(d, 70) - 3.0;
    switch (dice_roll(d, 4)) {
    case 0:
        return nextafter(whole, INFINITY);
    case 1:
        return nextafter(whole, -INFINITY);
    case 2:
        return whole + 0.5;
    default:
        return whole;
    }
}

typedef struct random_model {
    myr_arena *arena;
    myr_model_desc desc;
} random_model;
static inline void random_model_drop(random_model *m)
{
    myr_arena_free(m->arena);
}

static inline void random_tree(dice *d, myr_arena *arena, const myr_model_desc *desc, myr_tree *tree)
{
    uint32_t splits = dice_roll(d, 40);
    tree->split_count = splits;
    tree->leaf_count = splits + 1;
    tree->splits = myr_arena_calloc(arena, splits + 1, sizeof *tree->splits);
    tree->leaves = myr_arena_calloc(arena, splits + 1, sizeof *tree->leaves);
    tree->category_words = myr_arena_calloc(arena, 2 * splits + 1, sizeof *tree->category_words);
    tree->output = dice_roll(d, desc->margin_count);
    for (uint32_t s = 0; s < splits; s++) { /* as LightGBM grows: a leaf becomes a split, whose children are leaves */
        myr_split *split = &tree->splits[s];
        if (s > 0) {
            uint32_t parent;
            int32_t *child;
            do { /* any leaf of an earlier split */
                parent = dice_roll(d, s);
                child = dice_roll(d, 2) ? &tree->splits[parent].left : &tree->splits[parent].right;
            } while (*child >= 0);
            split->left = *child;
            *child = (int32_t)s;
        } else {
            split->left = ~0;
        }
        split->right = ~(int32_t)(s + 1);
        split->feature = dice_roll(d, desc->feature_count);
        split->missing = (uint8_t)dice_roll(d, 3);
        split->default_left = (uint8_t)dice_roll(d, 2);
        if (dice_roll(d, 4) == 0) {
            split->is_category = 1;
            if (split->missing == MYR_MISSING_ZERO) split->missing = MYR_MISSING_NAN;
            split->category_first = tree->category_word_count;
            split->category_count = dice_roll(d, 3);
            for (uint32_t k = 0; k < split->category_count; k++) {
                tree->category_words[tree->category_word_count++] = dice_roll(d, UINT32_MAX);
            }
        } else {
            do {
                split->threshold = dice_value(d);
            } while (isnan(split->threshold));
            if (desc->calc == MYR_CALC_F32) split->threshold = (double)(float)split->threshold;
        }
    }
    for (uint32_t k = 0; k <= splits; k++) {
        tree->leaves[k] = (double)((float)dice_roll(d, 1000) * 0.37f - 185.0f);
        if (desc->calc == MYR_CALC_F64) tree->leaves[k] *= 1.0000000001;
    }
}

static inline random_model random_model_sized(dice *d, myr_calc calc, uint32_t feature_count, uint32_t margin_count,
                                              uint32_t tree_count)
{
    random_model m = {.arena = myr_arena_new(0)};
    m.desc = (myr_model_desc){.kind = MYR_MODEL_TREES,
                              .calc = calc,
                              .feature_count = feature_count,
                              .margin_count = margin_count,
                              .tree_count = tree_count};
    m.desc.average = calc == MYR_CALC_F64 && dice_roll(d, 4) == 0;
    m.desc.average_over = m.desc.average ? 7 : 0;
    myr_tree *trees = myr_arena_calloc(m.arena, m.desc.tree_count + 1, sizeof *trees);
    for (uint32_t t = 0; t < m.desc.tree_count; t++) {
        random_tree(d, m.arena, &m.desc, &trees[t]);
    }
    m.desc.trees = trees;
    return m;
}

static inline random_model random_model_make(dice *d, myr_calc calc)
{
    uint32_t features = 1 + dice_roll(d, 6);
    uint32_t margins = 1 + dice_roll(d, 3);
    return random_model_sized(d, calc, features, margins, dice_roll(d, 12));
}

static inline void assert_same_bits(double got, double want)
{
    if (isnan(got) && isnan(want)) return;
    if (memcmp(&got, &want, sizeof got) != 0) fail_msg("got %.17g (%a), want %.17g (%a)", got, got, want, want);
}

#endif
