/*
 * Untrusted bytes of an `explain` section are checked in one pass over the slots, with a stack of the splits above.
 * Each number that has one right value is compared with it; covers themselves are gone, so a share is only asked to be
 * one that no arithmetic chokes on.
 */
#include "model/explain.h"

#include <string.h>

typedef struct xcheck_frame {
    uint32_t link; /* where its right child must stand; 0 once it has been seen */
    uint16_t column;
    uint16_t distinct; /* columns of the edges above */
} xcheck_frame;

typedef struct xcheck_ctx {
    const model_header *model;
    explain_header h;
    explain_map map;
    const unsigned char *bytes;
    uint32_t words_used, depth_max, points_max;
    uint32_t tree;
    xcheck_frame frames[MYR_EXPLAIN_DEPTH_MAX + 1];
    myr_err *err;
} xcheck_ctx;

static myr_rc xcheck_header(const xcheck_ctx *c, uint64_t size_bytes)
{
    static const uint8_t zeros[sizeof c->h.pad];
    const explain_header *h = &c->h;
    uint32_t tree_count = h->lack == EXPLAIN_DEEP ? 0 : c->model->tree_count;
    if (h->lack >= EXPLAIN_LACK_COUNT || memcmp(h->pad, zeros, sizeof zeros) != 0) {
        MYR_FAIL(c->err, BAD_FORMAT, "model: section 'explain': lack %u, or padding that is not 0", h->lack);
    }
    if (c->model->kind != MYR_MODEL_TREES || h->tree_count != tree_count || h->margin_count != c->model->margin_count) {
        MYR_FAIL(c->err, BAD_FORMAT, "model: section 'explain' of %u trees and %u margins, the model has %u and %u",
                 h->tree_count, h->margin_count, tree_count, c->model->margin_count);
    }
    if (c->map.size != size_bytes) {
        MYR_FAIL(c->err, BAD_FORMAT, "model: section 'explain' has %llu bytes, its counts need %llu",
                 (unsigned long long)size_bytes, (unsigned long long)c->map.size);
    }
    if (h->depth_max > MYR_EXPLAIN_DEPTH_MAX) {
        MYR_FAIL(c->err, BAD_FORMAT, "model: section 'explain': depth %u, at most %d", h->depth_max,
                 MYR_EXPLAIN_DEPTH_MAX);
    }
    for (uint64_t k = c->map.words_end; k < c->map.size; k++) {
        if (c->bytes[k] != 0) MYR_FAIL(c->err, BAD_FORMAT, "model: section 'explain': padding that is not 0");
    }
    return MYR_OK;
}

static myr_rc xcheck_bad(const xcheck_ctx *c, uint32_t slot, const char *what)
{
    MYR_FAIL(c->err, BAD_FORMAT, "model: section 'explain', tree %u, slot %u: %s", c->tree, slot, what);
}

/* The edge to a slot at `depth`: its share, and the edge before of the same column. */
static myr_rc xcheck_edge(const xcheck_ctx *c, const explain_slot *slot, uint32_t s, uint32_t depth)
{
    uint32_t same = slot->meta >> EXPLAIN_SAME_SHIFT;
    bool shares = c->h.lack == EXPLAIN_COMPLETE && depth > 0;
    if (same > 0 && (same >= depth || c->frames[depth - 1 - same].column != c->frames[depth - 1].column)) {
        return xcheck_bad(c, s, "the edge before of its column is none");
    }
    if (slot->zero == 0 && !signbit(slot->zero)) return MYR_OK;
    if (!shares || !(slot->zero >= EXPLAIN_ZERO_MIN && slot->zero <= EXPLAIN_ZERO_MAX)) {
        return xcheck_bad(c, s, "its share of the training rows");
    }
    return MYR_OK;
}

static myr_rc xcheck_split(xcheck_ctx *c, const explain_slot *slot, uint32_t s)
{
    bool single = c->model->calc == MYR_CALC_F32;
    if (slot->column >= c->model->column_count) return xcheck_bad(c, s, "its column is beyond the last");
    if ((slot->meta & EXPLAIN_CATEGORY) != 0) {
        if ((slot->meta & EXPLAIN_NEAR_ZERO) != 0) return xcheck_bad(c, s, "its flags");
        if (slot->u.set.first != c->words_used || slot->u.set.count > c->h.word_count - c->words_used ||
            slot->u.set.count > MYR_CATEGORY_MAX / 32) {
            return xcheck_bad(c, s, "its set is not where it should be");
        }
        c->words_used += slot->u.set.count;
        return MYR_OK;
    }
    if (isnan(slot->u.value) || (single && !model_is_float(slot->u.value))) return xcheck_bad(c, s, "its threshold");
    return MYR_OK;
}

static myr_rc xcheck_leaf(const xcheck_ctx *c, const explain_slot *slot, uint32_t s)
{
    bool single = c->model->calc == MYR_CALC_F32;
    if ((slot->meta & EXPLAIN_FLAGS) != 0 || slot->column != 0) return xcheck_bad(c, s, "a leaf has flags or a column");
    if (isnan(slot->u.value) || (single && !model_is_float(slot->u.value))) return xcheck_bad(c, s, "its value");
    return MYR_OK;
}

/* Preorder: every slot has the place that its parent gave it, and the tree ends with its last slot. */
static myr_rc xcheck_tree(xcheck_ctx *c, const explain_tree *tree, const explain_slot *slots, uint32_t count)
{
    uint32_t depth = 0;
    uint32_t distinct_max = 0;
    for (uint32_t s = 0;; s++) {
        if (s >= count) return xcheck_bad(c, s, "the tree goes on behind its last slot");
        const explain_slot *slot = &slots[s];
        MYR_TRY(xcheck_edge(c, slot, s, depth));
        uint32_t distinct = depth == 0 ? 0 : c->frames[depth - 1].distinct + (slot->meta >> EXPLAIN_SAME_SHIFT == 0);
        if (depth == 0 && slot->meta >> EXPLAIN_SAME_SHIFT != 0) return xcheck_bad(c, s, "a root has an edge");
        if (distinct > distinct_max) distinct_max = distinct;
        if (depth > c->depth_max) c->depth_max = depth;
        if ((slot->meta & EXPLAIN_SPLIT) != 0) {
            MYR_TRY(xcheck_split(c, slot, s));
            if (depth == c->h.depth_max) return xcheck_bad(c, s, "it is deeper than the section says");
            if (slot->link <= s + 1) return xcheck_bad(c, s, "its right child stands before its left one");
            c->frames[depth++] = (xcheck_frame){slot->link, slot->column, (uint16_t)distinct};
            continue;
        }
        MYR_TRY(xcheck_leaf(c, slot, s));
        while (depth > 0 && c->frames[depth - 1].link == 0)
            depth--;
        if (depth == 0) {
            if (s + 1 != count) return xcheck_bad(c, s, "slots behind the tree's last");
            break;
        }
        if (c->frames[depth - 1].link != s + 1) return xcheck_bad(c, s, "the right child does not follow here");
        c->frames[depth - 1].link = 0;
    }
    if (tree->points != explain_points(distinct_max)) return xcheck_bad(c, 0, "its number of points");
    if (tree->points > c->points_max) c->points_max = tree->points;
    return MYR_OK;
}

static myr_rc xcheck_bases(const xcheck_ctx *c)
{
    const double *bases = (const double *)(c->bytes + c->map.bases_at);
    for (uint32_t k = 0; c->h.lack != EXPLAIN_COMPLETE && k < c->h.margin_count; k++) {
        uint64_t bits;
        memcpy(&bits, &bases[k], sizeof bits);
        if (bits != 0) MYR_FAIL(c->err, BAD_FORMAT, "model: section 'explain': base %u without contributions", k);
    }
    return MYR_OK;
}

static myr_rc xcheck_trees(xcheck_ctx *c)
{
    const explain_tree *trees = (const explain_tree *)(c->bytes + c->map.trees_at);
    const explain_slot *slots = (const explain_slot *)(c->bytes + c->map.slots_at);
    for (uint32_t t = 0; t < c->h.tree_count; t++) {
        uint32_t first = trees[t].first;
        uint32_t end = t + 1 < c->h.tree_count ? trees[t + 1].first : c->h.slot_count;
        c->tree = t;
        if ((t == 0 && first != 0) || first > end || end > c->h.slot_count) {
            MYR_FAIL(c->err, BAD_FORMAT, "model: section 'explain', tree %u has slots %u to %u of %u", t, first, end,
                     c->h.slot_count);
        }
        if (trees[t].output >= c->h.margin_count) {
            MYR_FAIL(c->err, BAD_FORMAT, "model: section 'explain', tree %u adds to output %u of %u", t,
                     trees[t].output, c->h.margin_count);
        }
        MYR_TRY(xcheck_tree(c, &trees[t], slots + first, end - first));
    }
    if ((c->h.tree_count == 0 && c->h.slot_count != 0) || c->words_used != c->h.word_count ||
        c->depth_max != c->h.depth_max || c->points_max != c->h.points_max) {
        MYR_FAIL(c->err, BAD_FORMAT, "model: section 'explain': its counts do not fit its trees");
    }
    return MYR_OK;
}

myr_rc myr_explain_check(const model_header *h, const unsigned char *bytes, uint64_t size_bytes, myr_err *err)
{
    xcheck_ctx c; /* 8 KB, most of it frames that are written before they are read */
    c.model = h;
    c.bytes = bytes;
    c.words_used = c.depth_max = c.points_max = c.tree = 0;
    c.err = err;
    MYR_ASSERT(size_bytes >= sizeof c.h);
    memcpy(&c.h, bytes, sizeof c.h);
    c.map = explain_map_of(&c.h);
    MYR_TRY(xcheck_header(&c, size_bytes));
    MYR_TRY(xcheck_bases(&c));
    return xcheck_trees(&c);
}
