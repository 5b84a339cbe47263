/*
 * A description becomes bytes. The description is as untrusted as the file it was read from, so all of it is checked
 * here; what is written is canonical (one description, one run of bytes) and is what check.c expects.
 */
#include <math.h>
#include <string.h>

#include "model/large.h"
#include "model/section.h"

/* Where the writing stands. */
typedef struct compile_ctx {
    const myr_model_desc *desc;
    const uint32_t *feature_map;
    model_header h;
    unsigned char *bytes;
    model_map map;
    uint32_t nodes_used, words_used;
    model_lines_used lines_used;
    int32_t *queue;      /* per slot of one tree: the split (>= 0) or leaf (~x) that comes to stand there */
    unsigned char *seen; /* per split, then per leaf of one tree */
    myr_err *err;
} compile_ctx;

static myr_rc compile_check_category(const compile_ctx *c, const myr_tree *tree, uint32_t t, uint32_t s)
{
    const myr_split *split = &tree->splits[s];
    if (split->category_first > tree->category_word_count ||
        split->category_count > tree->category_word_count - split->category_first) {
        MYR_FAIL(c->err, BAD_INPUT, "tree %u, split %u: category words %u to %llu of %u", t, s, split->category_first,
                 (unsigned long long)split->category_first + split->category_count, tree->category_word_count);
    }
    if (split->category_count > MYR_CATEGORY_MAX / 32) {
        MYR_FAIL(c->err, TOO_LARGE, "tree %u, split %u: %u words of categories, at most %d (categories below %d)", t, s,
                 split->category_count, MYR_CATEGORY_MAX / 32, MYR_CATEGORY_MAX);
    }
    if (split->missing == MYR_MISSING_ZERO) {
        MYR_FAIL(c->err, BAD_INPUT, "tree %u, split %u: zero cannot be the missing value of a category", t, s);
    }
    return MYR_OK;
}

static myr_rc compile_check_split(const compile_ctx *c, const myr_tree *tree, uint32_t t, uint32_t s)
{
    const myr_split *split = &tree->splits[s];
    if (split->feature >= c->desc->feature_count) {
        MYR_FAIL(c->err, BAD_INPUT, "tree %u, split %u: feature %u of %u", t, s, split->feature,
                 c->desc->feature_count);
    }
    if (split->missing > MYR_MISSING_NAN) {
        MYR_FAIL(c->err, BAD_INPUT, "tree %u, split %u: missing type %u is not known", t, s, split->missing);
    }
    if (split->is_category) return compile_check_category(c, tree, t, s);
    if (split->category_count != 0) {
        MYR_FAIL(c->err, BAD_INPUT, "tree %u, split %u: a numeric split with %u category words", t, s,
                 split->category_count);
    }
    if (isnan(split->threshold)) MYR_FAIL(c->err, BAD_INPUT, "tree %u, split %u: the threshold is not a number", t, s);
    if (c->desc->calc == MYR_CALC_F32 && !model_is_float(split->threshold)) {
        MYR_FAIL(c->err, BAD_INPUT, "tree %u, split %u: threshold %.17g is not a float", t, s, split->threshold);
    }
    return MYR_OK;
}

/* Everything of a tree but its shape; adds up the category words that its splits use. */
static myr_rc compile_check_tree(const compile_ctx *c, uint32_t t, uint64_t *words)
{
    const myr_tree *tree = &c->desc->trees[t];
    if (tree->split_count >= MYR_TREE_LEAVES_MAX) {
        MYR_FAIL(c->err, TOO_LARGE, "tree %u has %u splits, at most %d", t, tree->split_count, MYR_TREE_LEAVES_MAX - 1);
    }
    if (tree->leaf_count != tree->split_count + 1) {
        MYR_FAIL(c->err, BAD_INPUT, "tree %u has %u splits and %u leaves", t, tree->split_count, tree->leaf_count);
    }
    if (tree->output >= c->desc->margin_count) {
        MYR_FAIL(c->err, BAD_INPUT, "tree %u adds to output %u of %u", t, tree->output, c->desc->margin_count);
    }
    uint64_t used = 0;
    for (uint32_t s = 0; s < tree->split_count; s++) {
        MYR_TRY(compile_check_split(c, tree, t, s));
        used += tree->splits[s].category_count;
    }
    if (used > tree->category_word_count) { /* shared sets would let a small file grow without bound */
        MYR_FAIL(c->err, BAD_INPUT, "tree %u: its splits use %llu category words, it has %u: sets overlap", t,
                 (unsigned long long)used, tree->category_word_count);
    }
    *words += used;
    for (uint32_t k = 0; k < tree->leaf_count; k++) {
        if (isnan(tree->leaves[k]) || (c->desc->calc == MYR_CALC_F32 && !model_is_float(tree->leaves[k]))) {
            MYR_FAIL(c->err, BAD_INPUT, "tree %u, leaf %u: value %.17g", t, k, tree->leaves[k]);
        }
    }
    return MYR_OK;
}

/* Put one child into its slot; each split and leaf may hang below one parent only. */
static myr_rc compile_claim(compile_ctx *c, const myr_tree *tree, uint32_t t, uint32_t s, int32_t child, uint32_t slot)
{
    uint32_t mark;
    if (child >= 0) {
        if ((uint32_t)child >= tree->split_count) {
            MYR_FAIL(c->err, BAD_INPUT, "tree %u, split %u: child %d, but there are %u splits", t, s, child,
                     tree->split_count);
        }
        mark = (uint32_t)child;
    } else {
        if ((uint32_t)~child >= tree->leaf_count) {
            MYR_FAIL(c->err, BAD_INPUT, "tree %u, split %u: leaf %d, but there are %u leaves", t, s, ~child,
                     tree->leaf_count);
        }
        mark = tree->split_count + (uint32_t)~child;
    }
    if (c->seen[mark]) {
        MYR_FAIL(c->err, BAD_INPUT, "tree %u, split %u: %s %d has a second parent (or is its own ancestor)", t, s,
                 child >= 0 ? "split" : "leaf", child >= 0 ? child : ~child);
    }
    c->seen[mark] = 1;
    c->queue[slot] = child;
    return MYR_OK;
}

static void compile_write_split(compile_ctx *c, const myr_tree *tree, const myr_split *split, model_node *out)
{
    out->column = (uint16_t)(c->feature_map != NULL ? c->feature_map[split->feature] : split->feature);
    out->flags = model_nan_left(tree, split) ? NODE_NAN_LEFT : 0;
    if (!split->is_category) {
        out->u.value = split->threshold;
        if (split->missing == MYR_MISSING_ZERO) out->flags |= NODE_ZERO;
    } else {
        out->flags |= NODE_CATEGORY;
        out->u.set = (model_set){c->words_used, split->category_count};
        uint32_t *words = (uint32_t *)(c->bytes + c->map.words_at) + c->words_used;
        if (split->category_count > 0) {
            memcpy(words, tree->category_words + split->category_first, split->category_count * sizeof *words);
        }
        c->words_used += split->category_count;
    }
    if ((out->flags & (NODE_ZERO | NODE_CATEGORY)) != 0) c->h.flags |= MODEL_SPECIAL;
}

/* Level order: slots are read in the order in which they were claimed. */
static myr_rc compile_tree(compile_ctx *c, uint32_t t)
{
    const myr_tree *tree = &c->desc->trees[t];
    model_node *nodes = (model_node *)(c->bytes + c->map.items_at) + c->nodes_used;
    ((model_tree *)(c->bytes + c->map.trees_at))[t] = (model_tree){c->nodes_used, tree->output};
    uint32_t slot_count = 2 * tree->leaf_count;
    uint32_t claimed = 2;
    memset(c->seen, 0, (size_t)tree->split_count + tree->leaf_count);
    MYR_TRY(compile_claim(c, tree, t, 0, tree->split_count > 0 ? 0 : ~0, 1));
    for (uint32_t slot = 1; slot < claimed; slot++) {
        int32_t what = c->queue[slot];
        if (what < 0) {
            nodes[slot].u.value = tree->leaves[~what];
            if (tree->lines != NULL) {
                myr_lines_write(&tree->lines[~what], c->feature_map, &c->map, c->bytes, &c->lines_used, &nodes[slot]);
            }
            continue;
        }
        const myr_split *split = &tree->splits[what];
        MYR_TRY(compile_claim(c, tree, t, (uint32_t)what, split->left, claimed));
        MYR_TRY(compile_claim(c, tree, t, (uint32_t)what, split->right, claimed + 1));
        compile_write_split(c, tree, split, &nodes[slot]);
        nodes[slot].child = claimed;
        claimed += 2;
        MYR_ASSERT(claimed <= slot_count); /* each split is read once, since each is claimed once */
    }
    if (claimed != slot_count) {
        uint32_t orphan = 0;
        while (c->seen[orphan])
            orphan++;
        bool is_split = orphan < tree->split_count;
        MYR_FAIL(c->err, BAD_INPUT, "tree %u: %s %u has no parent", t, is_split ? "split" : "leaf",
                 is_split ? orphan : orphan - tree->split_count);
    }
    c->nodes_used += slot_count;
    return MYR_OK;
}

static myr_rc compile_check_transform(const compile_ctx *c)
{
    const myr_model_desc *d = c->desc;
    if ((unsigned)d->transform >= MYR_TRANSFORM_COUNT_)
        MYR_FAIL(c->err, BAD_INPUT, "transform %d is not known", (int)d->transform);
    if (model_takes_param((uint8_t)d->transform, (uint8_t)d->calc) &&
        !model_param_is_good((uint8_t)d->transform, d->transform_param)) {
        MYR_FAIL(c->err, BAD_INPUT, "the parameter %g of transform %d is not above 0", d->transform_param,
                 (int)d->transform);
    }
    if (d->transform >= MYR_TRANSFORM_LINK_POWER && d->calc != MYR_CALC_F64) {
        MYR_FAIL(c->err, BAD_INPUT, "transform %d, a link, is in double only", (int)d->transform);
    }
    if (model_is_pair((uint8_t)d->transform) && d->margin_count != 1) {
        MYR_FAIL(c->err, BAD_INPUT, "transform %d takes one margin, not %u", (int)d->transform, d->margin_count);
    }
    if (d->average && d->average_over == 0) MYR_FAIL(c->err, BAD_INPUT, "the average is over 0 rounds");
    return MYR_OK;
}

static myr_rc compile_check_desc(const compile_ctx *c, uint32_t column_count)
{
    const myr_model_desc *d = c->desc;
    if (d->kind != MYR_MODEL_TREES && d->kind != MYR_MODEL_LINEAR)
        MYR_FAIL(c->err, BAD_INPUT, "kind %d is not known", (int)d->kind);
    if (d->calc != MYR_CALC_F64 && d->calc != MYR_CALC_F32)
        MYR_FAIL(c->err, BAD_INPUT, "calc %d is not known", (int)d->calc);
    if (d->feature_count > MYR_FEATURES_MAX || column_count > MYR_FEATURES_MAX) {
        MYR_FAIL(c->err, TOO_LARGE, "%u features for %u columns, at most %d", d->feature_count, column_count,
                 MYR_FEATURES_MAX);
    }
    if (d->margin_count == 0) MYR_FAIL(c->err, BAD_INPUT, "the model has no output");
    if (d->margin_count > MYR_OUTPUTS_MAX) {
        MYR_FAIL(c->err, TOO_LARGE, "%u outputs, at most %d", d->margin_count, MYR_OUTPUTS_MAX);
    }
    for (uint32_t k = 0; d->base_margins != NULL && k < d->margin_count; k++) {
        if (isnan(d->base_margins[k]) || (d->calc == MYR_CALC_F32 && !model_is_float(d->base_margins[k]))) {
            MYR_FAIL(c->err, BAD_INPUT, "base margin %u is %.17g", k, d->base_margins[k]);
        }
    }
    for (uint32_t j = 0; j < d->feature_count; j++) {
        uint32_t column = c->feature_map != NULL ? c->feature_map[j] : j;
        if (column >= column_count)
            MYR_FAIL(c->err, BAD_INPUT, "feature %u is column %u of %u", j, column, column_count);
    }
    return compile_check_transform(c);
}

/* Checks the trees' contents and counts what they need. */
static myr_rc compile_count_trees(compile_ctx *c, uint32_t *leaves_max)
{
    const myr_model_desc *d = c->desc;
    uint64_t nodes = 0;
    uint64_t words = 0;
    if (d->tree_count > MYR_TREES_MAX)
        MYR_FAIL(c->err, TOO_LARGE, "%u trees, at most %d", d->tree_count, MYR_TREES_MAX);
    for (uint32_t t = 0; t < d->tree_count; t++) {
        MYR_TRY(compile_check_tree(c, t, &words));
        MYR_TRY(myr_lines_count(d, t, &c->h, c->err));
        nodes += 2 * (uint64_t)d->trees[t].leaf_count;
        if (d->trees[t].leaf_count > *leaves_max) *leaves_max = d->trees[t].leaf_count;
        if (nodes > MODEL_ITEMS_MAX || words > MODEL_ITEMS_MAX) {
            MYR_FAIL(c->err, TOO_LARGE, "the trees up to %u have more than %u nodes or category words", t,
                     MODEL_ITEMS_MAX);
        }
    }
    c->h.tree_count = d->tree_count;
    c->h.item_count = (uint32_t)nodes;
    c->h.word_count = (uint32_t)words;
    return MYR_OK;
}

static myr_rc compile_check_linear(compile_ctx *c)
{
    const myr_model_desc *d = c->desc;
    bool single = d->calc == MYR_CALC_F32;
    if (d->average) MYR_FAIL(c->err, BAD_INPUT, "a linear model has no average");
    if (single && d->fills != NULL) MYR_FAIL(c->err, BAD_INPUT, "a linear model in float leaves missing values out");
    for (uint64_t j = 0; j < (uint64_t)d->feature_count * d->margin_count; j++) {
        if (!isfinite(d->weights[j]) || (single && !model_is_float(d->weights[j]))) {
            MYR_FAIL(c->err, BAD_INPUT, "weight %llu is %.17g", (unsigned long long)j, d->weights[j]);
        }
    }
    for (uint32_t j = 0; j < d->feature_count; j++) {
        if (d->fills != NULL && isinf(d->fills[j])) MYR_FAIL(c->err, BAD_INPUT, "fill %u is %.17g", j, d->fills[j]);
    }
    c->h.item_count = d->feature_count * d->margin_count; /* at most 2^26 */
    return MYR_OK;
}

static void compile_linear(compile_ctx *c)
{
    const myr_model_desc *d = c->desc;
    model_term *terms = (model_term *)(c->bytes + c->map.items_at);
    for (uint32_t i = 0; i < c->h.item_count; i++) {
        uint32_t j = i % d->feature_count;
        bool filled = d->fills != NULL && !isnan(d->fills[j]);
        terms[i] = (model_term){.weight = d->weights[i],
                                .fill = filled ? d->fills[j] : (double)NAN, /* one NaN: the bytes are deterministic */
                                .column = c->feature_map != NULL ? c->feature_map[j] : j,
                                .output = i / d->feature_count};
    }
}

static myr_rc compile_trees(compile_ctx *c, uint32_t leaves_max)
{
    if (c->h.tree_count == 0) return MYR_OK;
    MYR_AUTO(myr_mem) queue = myr_alloc(2 * (size_t)leaves_max * sizeof(int32_t));
    MYR_AUTO(myr_mem) seen = myr_alloc(2 * (size_t)leaves_max);
    if (queue == NULL || seen == NULL)
        MYR_FAIL(c->err, NO_MEMORY, "no memory to compile a tree of %u leaves", leaves_max);
    c->queue = queue;
    c->seen = seen;
    for (uint32_t t = 0; t < c->h.tree_count; t++) {
        MYR_TRY(compile_tree(c, t));
    }
    MYR_ASSERT(c->nodes_used == c->h.item_count && c->words_used == c->h.word_count);
    MYR_ASSERT(c->lines_used.lines == c->h.line_count && c->lines_used.terms == c->h.line_term_count);
    return MYR_OK;
}

static void compile_header(compile_ctx *c, uint32_t column_count)
{
    const myr_model_desc *d = c->desc;
    c->h.magic = MODEL_MAGIC;
    c->h.version = MODEL_LAYOUT_VERSION;
    c->h.kind = (uint8_t)d->kind;
    c->h.calc = (uint8_t)d->calc;
    c->h.transform = (uint8_t)d->transform;
    c->h.flags |= d->average ? MODEL_AVERAGE : 0; /* MODEL_LINES may stand there */
    c->h.column_count = column_count;
    c->h.margin_count = d->margin_count;
    c->h.transform_param = model_takes_param(c->h.transform, c->h.calc) ? d->transform_param : 0.0;
    c->h.average_over = d->average ? d->average_over : 0;
}

/* The nodes form, which takes everything. */
static myr_rc compile_nodes(const myr_model_desc *desc, const uint32_t *feature_map, uint32_t column_count,
                            unsigned char **out_bytes, size_t *out_size, myr_err *err)
{
    compile_ctx c = {.desc = desc, .feature_map = feature_map, .err = err};
    uint32_t leaves_max = 0;
    MYR_TRY(compile_check_desc(&c, column_count));
    if (desc->kind == MYR_MODEL_LINEAR) {
        MYR_TRY(compile_check_linear(&c));
    } else {
        MYR_TRY(compile_count_trees(&c, &leaves_max));
    }
    compile_header(&c, column_count);
    c.map = model_map_of(&c.h);
    c.h.size_bytes = c.map.size;
    MYR_AUTO(myr_mem) bytes = myr_alloc_aligned(MYR_MODEL_ALIGN, c.map.size);
    if (bytes == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a model of %llu bytes", (unsigned long long)c.map.size);
    memset(bytes, 0, c.map.size);
    c.bytes = bytes;
    if (desc->base_margins != NULL) {
        memcpy(c.bytes + c.map.bases_at, desc->base_margins, desc->margin_count * sizeof(double));
    }
    if (desc->kind == MYR_MODEL_LINEAR) {
        compile_linear(&c);
    } else {
        MYR_TRY(compile_trees(&c, leaves_max));
    }
    memcpy(c.bytes, &c.h, sizeof c.h);
    *out_bytes = bytes;
    *out_size = c.map.size;
    bytes = NULL;
    return MYR_OK;
}

/* Lanes that look up all columns of a row by shuffles are as fast as large models, or faster; others are not. */
static bool compile_wants_large(const unsigned char *lanes)
{
    const model_header *h = (const model_header *)(const void *)lanes;
    return lanes == NULL || (uint32_t)h->numeric_columns + h->set_columns > LANES_FEW_COLUMNS;
}

static myr_rc compile_form(const myr_model_desc *desc, const uint32_t *feature_map, uint32_t column_count,
                           myr_model_form form, unsigned char **out_bytes, size_t *out_size, myr_err *err)
{
    unsigned char *made = NULL;
    size_t size = 0;
    bool lanes = form == MYR_FORM_AUTO || form == MYR_FORM_LANES;
    MYR_TRY(compile_nodes(desc, feature_map, column_count, &made, &size, err));
    MYR_AUTO(myr_mem) nodes = made;
    made = NULL;
    if (lanes) MYR_TRY(myr_lanes_build(nodes, form == MYR_FORM_LANES, &made, &size, err));
    MYR_AUTO(myr_mem) in_lanes = made;
    made = NULL;
    if (form == MYR_FORM_LARGE || (form == MYR_FORM_AUTO && compile_wants_large(in_lanes))) {
        MYR_TRY(myr_large_build(nodes, form == MYR_FORM_LARGE, &made, &size, err));
    }
    *out_size = size; /* of the last that was made */
    *out_bytes = made != NULL ? made : in_lanes != NULL ? in_lanes : nodes;
    if (*out_bytes == in_lanes) in_lanes = NULL;
    if (*out_bytes == nodes) nodes = NULL;
    return MYR_OK;
}

myr_rc myr_model_compile(const myr_model_desc *desc, const uint32_t *feature_map, uint32_t column_count,
                         const myr_compile_opts *opts, unsigned char **out_bytes, size_t *out_size, myr_err *err)
{
    static const myr_compile_opts defaults = {MYR_FORM_AUTO, false};
    section_source source = {desc, feature_map, column_count, opts != NULL ? opts : &defaults};
    unsigned char *bytes = NULL;
    size_t size = 0;
    MYR_TRY(compile_form(desc, feature_map, column_count, source.opts->form, &bytes, &size, err));
    myr_rc rc = myr_sections_append(&source, &bytes, &size, err);
    if (rc != MYR_OK) {
        myr_free(bytes);
        return rc;
    }
    *out_bytes = bytes;
    *out_size = size;
    return MYR_OK;
}
