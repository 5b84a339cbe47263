/*
 * Trees become the section that explains them: each tree is written in preorder, and the covers along its paths become
 * shares. The description was compiled without an error before this runs, so its shape is sound; its covers are
 * doubted here. What can't be explained gives a section that says why, not an error: the model itself is good.
 */
#include "model/explain.h"

#include <string.h>

typedef struct xbuild_frame {
    uint32_t split, slot;
    uint32_t distinct; /* columns of the edges above */
    bool on_right;
} xbuild_frame;

typedef struct xbuild_ctx {
    const section_source *source;
    explain_header h;
    explain_map map;
    unsigned char *bytes;
    uint32_t slots_used, words_used;
    xbuild_frame frames[MYR_EXPLAIN_DEPTH_MAX + 1]; /* the splits above */
    double zeros[MYR_EXPLAIN_DEPTH_MAX + 1];        /* of the edges above, by the depth of their lower end */
} xbuild_ctx;

static uint32_t xbuild_column(const xbuild_ctx *c, const myr_tree *tree, uint32_t split)
{
    return section_column(c->source, tree->splits[split].feature);
}

/* ---- what there is to explain with ---- */

static bool xbuild_cover_is_good(double cover)
{
    return cover >= 0 && isfinite(cover);
}

static explain_lack xbuild_tree_lack(const myr_tree *tree)
{
    if (tree->lines != NULL) return EXPLAIN_LINES;
    if (tree->split_count == 0) return EXPLAIN_COMPLETE;
    if (tree->split_covers == NULL || tree->leaf_covers == NULL) return EXPLAIN_NO_COVERS;
    for (uint32_t s = 0; s < tree->split_count; s++) {
        if (!xbuild_cover_is_good(tree->split_covers[s]) || tree->split_covers[s] == 0) return EXPLAIN_BAD_COVERS;
    }
    for (uint32_t k = 0; k < tree->leaf_count; k++) {
        if (!xbuild_cover_is_good(tree->leaf_covers[k])) return EXPLAIN_BAD_COVERS;
    }
    return EXPLAIN_COMPLETE;
}

/* The worst of all trees, and how much room they take. */
static void xbuild_count(xbuild_ctx *c)
{
    const myr_model_desc *d = c->source->desc;
    for (uint32_t t = 0; t < d->tree_count; t++) {
        const myr_tree *tree = &d->trees[t];
        explain_lack lack = xbuild_tree_lack(tree);
        if (lack > c->h.lack) c->h.lack = lack;
        c->h.slot_count += tree->split_count + tree->leaf_count; /* MODEL_ITEMS_MAX holds for the model */
        for (uint32_t s = 0; s < tree->split_count; s++) {
            c->h.word_count += tree->splits[s].category_count;
        }
    }
    c->h.tree_count = d->tree_count;
    c->h.margin_count = d->margin_count;
}

/* ---- one tree ---- */

/* The edge from the split at frames[depth - 1] to a slot at `depth`: its share, and how far up the one before is. */
static void xbuild_edge(xbuild_ctx *c, const myr_tree *tree, uint32_t depth, double cover, explain_slot *slot)
{
    const xbuild_frame *parent = &c->frames[depth - 1];
    uint32_t column = xbuild_column(c, tree, parent->split);
    uint32_t same = 0;
    for (uint32_t k = 1; k < depth && same == 0; k++) {
        if (xbuild_column(c, tree, c->frames[depth - 1 - k].split) == column) same = k;
    }
    slot->meta = (uint16_t)(slot->meta | same << EXPLAIN_SAME_SHIFT);
    c->zeros[depth] = 0;
    if (c->h.lack != EXPLAIN_COMPLETE) return;
    double zero = cover / tree->split_covers[parent->split] * (same > 0 ? c->zeros[depth - same] : 1.0);
    if (!(zero >= EXPLAIN_ZERO_MIN)) zero = 0;
    c->zeros[depth] = zero > EXPLAIN_ZERO_MAX ? EXPLAIN_ZERO_MAX : zero;
    slot->zero = c->zeros[depth];
}

static void xbuild_split(xbuild_ctx *c, const myr_tree *tree, const myr_split *split, explain_slot *slot)
{
    unsigned flags = EXPLAIN_SPLIT | (model_nan_left(tree, split) ? EXPLAIN_NAN_LEFT : 0u);
    slot->column = (uint16_t)section_column(c->source, split->feature);
    if (!split->is_category) {
        slot->u.value = split->threshold;
        if (split->missing == MYR_MISSING_ZERO) flags |= EXPLAIN_NEAR_ZERO;
    } else {
        flags |= EXPLAIN_CATEGORY;
        slot->u.set = (model_set){c->words_used, split->category_count};
        if (split->category_count > 0) {
            memcpy((uint32_t *)(c->bytes + c->map.words_at) + c->words_used,
                   tree->category_words + split->category_first, split->category_count * sizeof(uint32_t));
        }
        c->words_used += split->category_count;
    }
    slot->meta = (uint16_t)flags;
}

/* A slot for a split (>= 0) or a leaf (~x) at `depth`. */
static void xbuild_slot(xbuild_ctx *c, const myr_tree *tree, int32_t what, uint32_t depth, explain_slot *slot)
{
    double cover;
    if (what >= 0) {
        xbuild_split(c, tree, &tree->splits[what], slot);
        cover = tree->split_covers != NULL ? tree->split_covers[what] : 0;
    } else {
        uint32_t leaf = (uint32_t)~what;
        slot->u.value = tree->leaves[leaf];
        slot->link = tree->leaf_ids != NULL ? tree->leaf_ids[leaf] : leaf;
        cover = tree->leaf_covers != NULL ? tree->leaf_covers[leaf] : 0;
    }
    if (depth > 0) xbuild_edge(c, tree, depth, cover, slot);
}

static uint32_t xbuild_distinct(const xbuild_ctx *c, uint32_t depth, const explain_slot *slot)
{
    if (depth == 0) return 0;
    return c->frames[depth - 1].distinct + (slot->meta >> EXPLAIN_SAME_SHIFT == 0);
}

/* False if the tree is too deep. */
static bool xbuild_tree(xbuild_ctx *c, const myr_tree *tree, explain_tree *out)
{
    explain_slot *slots = (explain_slot *)(c->bytes + c->map.slots_at) + c->slots_used;
    int32_t what = tree->split_count > 0 ? 0 : ~0;
    uint32_t used = 0;
    uint32_t depth = 0;
    uint32_t distinct_max = 0;
    for (;;) {
        explain_slot *slot = &slots[used];
        xbuild_slot(c, tree, what, depth, slot);
        uint32_t distinct = xbuild_distinct(c, depth, slot);
        if (distinct > distinct_max) distinct_max = distinct;
        if (depth > c->h.depth_max) c->h.depth_max = (uint16_t)depth;
        if (what >= 0) {
            if (depth == MYR_EXPLAIN_DEPTH_MAX) return false;
            c->frames[depth++] = (xbuild_frame){.split = (uint32_t)what, .slot = used++, .distinct = distinct};
            what = tree->splits[what].left;
            continue;
        }
        used++;
        while (depth > 0 && c->frames[depth - 1].on_right)
            depth--;
        if (depth == 0) break;
        xbuild_frame *parent = &c->frames[depth - 1];
        parent->on_right = true;
        slots[parent->slot].link = used;
        what = tree->splits[parent->split].right;
    }
    MYR_ASSERT(used == tree->split_count + tree->leaf_count); /* compile saw each below one parent */
    *out = (explain_tree){c->slots_used, (uint16_t)explain_points(distinct_max), (uint16_t)tree->output};
    if (out->points > c->h.points_max) c->h.points_max = out->points;
    c->slots_used += used;
    return true;
}

/* The tree's mean over its training rows, as LightGBM words it. */
static double xbuild_expected(const myr_tree *tree)
{
    double sum = 0;
    if (tree->split_count == 0) return tree->leaves[0];
    for (uint32_t k = 0; k < tree->leaf_count; k++) {
        sum += tree->leaf_covers[k] / tree->split_covers[0] * tree->leaves[k];
    }
    return sum;
}

/* ---- the section ---- */

static void xbuild_bases(xbuild_ctx *c)
{
    const myr_model_desc *d = c->source->desc;
    double *bases = (double *)(c->bytes + c->map.bases_at);
    if (c->h.lack != EXPLAIN_COMPLETE) return;
    for (uint32_t k = 0; d->base_margins != NULL && k < d->margin_count; k++) {
        bases[k] = d->base_margins[k];
    }
    for (uint32_t t = 0; t < d->tree_count; t++) {
        bases[d->trees[t].output] += xbuild_expected(&d->trees[t]);
    }
    for (uint32_t k = 0; k < d->margin_count; k++) {
        if (isnan(bases[k])) bases[k] = (double)NAN; /* of infinite leaves; one NaN, the bytes are deterministic */
    }
}

/* Allocate and write all; *deep if some tree is deeper than the limit. */
static myr_rc xbuild_write(xbuild_ctx *c, bool *deep, myr_err *err)
{
    const myr_model_desc *d = c->source->desc;
    c->map = explain_map_of(&c->h);
    MYR_AUTO(myr_mem) bytes = myr_alloc_aligned(MYR_MODEL_ALIGN, c->map.size);
    if (bytes == NULL) {
        MYR_FAIL(err, NO_MEMORY, "no memory for explanations of %llu bytes", (unsigned long long)c->map.size);
    }
    memset(bytes, 0, c->map.size);
    c->bytes = bytes;
    explain_tree *trees = (explain_tree *)(c->bytes + c->map.trees_at);
    for (uint32_t t = 0; t < c->h.tree_count; t++) {
        if (!xbuild_tree(c, &d->trees[t], &trees[t])) {
            *deep = true;
            return MYR_OK;
        }
    }
    MYR_ASSERT(c->slots_used == c->h.slot_count && c->words_used == c->h.word_count);
    xbuild_bases(c);
    c->h.head = (section_head){SECTION_EXPLAIN_MAGIC, SECTION_EXPLAIN_VERSION, c->map.size};
    memcpy(c->bytes, &c->h, sizeof c->h);
    bytes = NULL; /* the caller's */
    return MYR_OK;
}

myr_rc myr_explain_build(const section_source *source, unsigned char **out, size_t *out_size, myr_err *err)
{
    bool deep = false;
    if (!source->opts->explain || source->desc->kind != MYR_MODEL_TREES) return MYR_OK;
    MYR_AUTO(myr_mem) block = myr_calloc(1, sizeof(xbuild_ctx));
    if (block == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for explanations");
    xbuild_ctx *c = block;
    c->source = source;
    xbuild_count(c);
    MYR_TRY(xbuild_write(c, &deep, err));
    if (deep) {
        memset(c, 0, sizeof *c);
        c->source = source;
        c->h.lack = EXPLAIN_DEEP;
        c->h.margin_count = source->desc->margin_count;
        MYR_TRY(xbuild_write(c, &deep, err));
    }
    *out = c->bytes;
    *out_size = c->map.size;
    return MYR_OK;
}
