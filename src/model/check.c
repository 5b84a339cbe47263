/*
 * Untrusted bytes become a checked model, or an error. Everything that a kernel relies on is established here, in one
 * pass over the bytes and without memory: the layout is canonical, so each number has exactly one right place.
 */
#include <math.h>
#include <string.h>

#include "model/external.h"
#include "model/large.h"
#include "model/section.h"

/* What stands beside the tree being read. */
typedef struct check_ctx {
    model_header h;
    model_map map;
    const unsigned char *bytes;
    uint32_t words_used, lines_used;
    bool special;
    myr_err *err;
} check_ctx;

static myr_rc check_zeros(const check_ctx *c, uint64_t from, uint64_t to)
{
    MYR_ASSERT(from <= to && to <= c->map.size);
    for (uint64_t k = from; k < to; k++) {
        if (c->bytes[k] != 0) {
            MYR_FAIL(c->err, BAD_FORMAT, "model: padding byte %llu is %u, not 0", (unsigned long long)k, c->bytes[k]);
        }
    }
    return MYR_OK;
}

static myr_rc check_lines_header(const model_header *h, myr_err *err)
{
    bool lines = (h->flags & MODEL_LINES) != 0;
    if (lines && (h->kind != MYR_MODEL_TREES || h->calc != MYR_CALC_F64 || (h->flags & MODEL_LANES) != 0)) {
        MYR_FAIL(err, BAD_FORMAT, "model: kind %u, calc %u, flags 0x%x: only nodes in double have lines", h->kind,
                 h->calc, h->flags);
    }
    if ((h->flags & MODEL_LANES) == 0 && lines != (h->line_count != 0)) {
        MYR_FAIL(err, BAD_FORMAT, "model: %u lines, flags 0x%x", h->line_count, h->flags);
    }
    if ((h->flags & MODEL_LANES) == 0 && !lines && h->line_term_count != 0) {
        MYR_FAIL(err, BAD_FORMAT, "model: %u terms of lines, but no lines", h->line_term_count);
    }
    return MYR_OK;
}

static myr_rc check_enums(const model_header *h, myr_err *err)
{
    if (h->kind != MYR_MODEL_TREES && h->kind != MYR_MODEL_LINEAR) {
        MYR_FAIL(err, BAD_FORMAT, "model: kind %u is not known", h->kind);
    }
    if (h->calc != MYR_CALC_F64 && h->calc != MYR_CALC_F32)
        MYR_FAIL(err, BAD_FORMAT, "model: calc %u is not known", h->calc);
    if (h->transform >= MYR_TRANSFORM_COUNT_) {
        MYR_FAIL(err, BAD_FORMAT, "model: transform %u is not known", h->transform);
    }
    int known = MODEL_AVERAGE | MODEL_SPECIAL | MODEL_LANES |
                (h->version >= 3 ? MODEL_SECTIONS | MODEL_LINES | MODEL_LARGE : 0) |
                (h->version >= 4 ? MODEL_MIRROR : 0);
    if ((h->flags & ~known) != 0) {
        MYR_FAIL(err, BAD_FORMAT, "model: flags 0x%x are not known", h->flags);
    }
    if ((h->flags & MODEL_LARGE) != 0 &&
        (h->kind != MYR_MODEL_TREES || (h->flags & (MODEL_LANES | MODEL_LINES)) != 0)) {
        MYR_FAIL(err, BAD_FORMAT, "model: kind %u, flags 0x%x: large models are trees without lines", h->kind,
                 h->flags);
    }
    if ((h->flags & MODEL_LANES) != 0) {
        if (h->kind != MYR_MODEL_TREES) {
            MYR_FAIL(err, BAD_FORMAT, "model: kind %u, flags 0x%x: only trees lie in lanes", h->kind, h->flags);
        }
    } else if (h->numeric_columns != 0 || h->entry_bytes != 0 || (h->flags & MODEL_MIRROR) != 0) {
        MYR_FAIL(err, BAD_FORMAT, "model: counts of lanes, but it has none");
    }
    return check_lines_header(h, err);
}

static myr_rc check_numbers(const model_header *h, myr_err *err)
{
    uint64_t param_bits;
    memcpy(&param_bits, &h->transform_param, sizeof param_bits);
    if (h->transform >= MYR_TRANSFORM_LINK_POWER && h->calc != MYR_CALC_F64) {
        MYR_FAIL(err, BAD_FORMAT, "model: transform %u, a link, with calc %u", h->transform, h->calc);
    }
    if (model_takes_param(h->transform, h->calc)) {
        if (!model_param_is_good(h->transform, h->transform_param)) {
            MYR_FAIL(err, BAD_FORMAT, "model: the parameter %g of transform %u is not above 0", h->transform_param,
                     h->transform);
        }
    } else if (param_bits != 0) {
        MYR_FAIL(err, BAD_FORMAT, "model: transform %u takes no parameter, but has %g", h->transform,
                 h->transform_param);
    }
    if (model_is_pair(h->transform) && h->margin_count != 1) {
        MYR_FAIL(err, BAD_FORMAT, "model: transform %u takes one margin, not %u", h->transform, h->margin_count);
    }
    if (((h->flags & MODEL_AVERAGE) != 0) != (h->average_over != 0)) {
        MYR_FAIL(err, BAD_FORMAT, "model: average over %u, flags 0x%x", h->average_over, h->flags);
    }
    if (h->column_count > MYR_FEATURES_MAX) {
        MYR_FAIL(err, BAD_FORMAT, "model: %u columns, at most %d", h->column_count, MYR_FEATURES_MAX);
    }
    if (h->margin_count == 0 || h->margin_count > MYR_OUTPUTS_MAX) {
        MYR_FAIL(err, BAD_FORMAT, "model: %u margins, not 1 to %d", h->margin_count, MYR_OUTPUTS_MAX);
    }
    if (h->tree_count > MYR_TREES_MAX) {
        MYR_FAIL(err, BAD_FORMAT, "model: %u trees, at most %d", h->tree_count, MYR_TREES_MAX);
    }
    if (h->kind == MYR_MODEL_LINEAR &&
        (h->item_count % h->margin_count != 0 || h->tree_count != 0 || h->word_count != 0 ||
         (h->flags & ~MODEL_SECTIONS) != 0 || h->item_count / h->margin_count > MYR_FEATURES_MAX)) {
        MYR_FAIL(err, BAD_FORMAT, "model: a linear model has at most %d terms for each margin, and nothing else",
                 MYR_FEATURES_MAX);
    }
    return MYR_OK;
}

static myr_rc check_version(const model_header *h, myr_err *err)
{
    if (h->magic != MODEL_MAGIC) MYR_FAIL(err, BAD_FORMAT, "model: magic 0x%08x, not 0x%08x", h->magic, MODEL_MAGIC);
    if (h->version > MODEL_LAYOUT_VERSION) {
        MYR_FAIL(err, UNSUPPORTED, "model: layout version %u, this program reads %d: use a newer one", h->version,
                 MODEL_LAYOUT_VERSION);
    }
    if (h->version < MODEL_LAYOUT_OLDEST) MYR_FAIL(err, BAD_FORMAT, "model: layout version %u", h->version);
    return MYR_OK;
}

static myr_rc check_header(const model_header *h, const unsigned char *bytes, size_t size_bytes, myr_err *err)
{
    MYR_TRY(check_enums(h, err));
    MYR_TRY(check_numbers(h, err));
    uint64_t size = (h->flags & MODEL_LARGE) != 0   ? myr_large_size(h, bytes, size_bytes)
                    : (h->flags & MODEL_LANES) != 0 ? lanes_map_of(h).size
                                                    : model_map_of(h).size;
    bool sections = (h->flags & MODEL_SECTIONS) != 0; /* which then have bytes too, and are checked to fill them */
    if (size > size_bytes || (!sections && size != size_bytes) || h->size_bytes != size) {
        MYR_FAIL(err, BAD_FORMAT, "model: %zu bytes, but its counts need %llu and its header says %llu", size_bytes,
                 (unsigned long long)size, (unsigned long long)h->size_bytes);
    }
    return MYR_OK;
}

static myr_rc check_bases(const check_ctx *c)
{
    const double *bases = (const double *)(c->bytes + c->map.bases_at);
    for (uint32_t k = 0; k < c->h.margin_count; k++) {
        if (isnan(bases[k]) || (c->h.calc == MYR_CALC_F32 && !model_is_float(bases[k]))) {
            MYR_FAIL(c->err, BAD_FORMAT, "model: base margin %u is %.17g", k, bases[k]);
        }
    }
    return MYR_OK;
}

static myr_rc check_leaf(check_ctx *c, const model_node *n, uint32_t tree_idx, uint32_t slot)
{
    if ((c->h.flags & MODEL_LINES) != 0) {
        MYR_TRY(myr_lines_check_leaf(n, c->h.line_count, &c->lines_used, tree_idx, slot, c->err));
    } else if (n->column != 0 || n->flags != 0) {
        MYR_FAIL(c->err, BAD_FORMAT, "model: tree %u, slot %u: a leaf has column %u, flags 0x%x", tree_idx, slot,
                 n->column, n->flags);
    }
    if (isnan(n->u.value) || (c->h.calc == MYR_CALC_F32 && !model_is_float(n->u.value))) {
        MYR_FAIL(c->err, BAD_FORMAT, "model: tree %u, slot %u: leaf value %.17g", tree_idx, slot, n->u.value);
    }
    return MYR_OK;
}

static myr_rc check_set(check_ctx *c, const model_node *n, uint32_t tree_idx, uint32_t slot)
{
    c->special = true;
    if ((n->flags & NODE_ZERO) != 0) {
        MYR_FAIL(c->err, BAD_FORMAT, "model: tree %u, slot %u: flags 0x%x", tree_idx, slot, n->flags);
    }
    if (n->u.set.first != c->words_used || n->u.set.count > c->h.word_count - c->words_used ||
        n->u.set.count > MYR_CATEGORY_MAX / 32) {
        MYR_FAIL(c->err, BAD_FORMAT, "model: tree %u, slot %u: %u category words from %u, expected from %u of %u",
                 tree_idx, slot, n->u.set.count, n->u.set.first, c->words_used, c->h.word_count);
    }
    c->words_used += n->u.set.count;
    return MYR_OK;
}

static myr_rc check_split(check_ctx *c, const model_node *n, uint32_t tree_idx, uint32_t slot)
{
    if (n->column >= c->h.column_count) {
        MYR_FAIL(c->err, BAD_FORMAT, "model: tree %u, slot %u: column %u of %u", tree_idx, slot, n->column,
                 c->h.column_count);
    }
    if ((n->flags & ~NODE_FLAGS_ALL) != 0) {
        MYR_FAIL(c->err, BAD_FORMAT, "model: tree %u, slot %u: flags 0x%x", tree_idx, slot, n->flags);
    }
    if ((n->flags & NODE_CATEGORY) != 0) return check_set(c, n, tree_idx, slot);
    if ((n->flags & NODE_ZERO) != 0) c->special = true;
    if (isnan(n->u.value) || (c->h.calc == MYR_CALC_F32 && !model_is_float(n->u.value))) {
        MYR_FAIL(c->err, BAD_FORMAT, "model: tree %u, slot %u: threshold %.17g", tree_idx, slot, n->u.value);
    }
    return MYR_OK;
}

/* One pass: the next split in slot order owns the next pair, and a slot is read only after its parent claimed it. */
static myr_rc check_tree(check_ctx *c, const model_node *nodes, uint32_t tree_idx, uint32_t slot_count)
{
    uint64_t slot0_at = (uint64_t)((const unsigned char *)nodes - c->bytes);
    if (slot_count < 2 || slot_count % 2 != 0 || slot_count / 2 > MYR_TREE_LEAVES_MAX) {
        MYR_FAIL(c->err, BAD_FORMAT, "model: tree %u has %u slots", tree_idx, slot_count);
    }
    MYR_TRY(check_zeros(c, slot0_at, slot0_at + sizeof *nodes));
    uint32_t claimed = 2;
    for (uint32_t slot = 1; slot < slot_count; slot++) {
        const model_node *n = &nodes[slot];
        if (slot >= claimed)
            MYR_FAIL(c->err, BAD_FORMAT, "model: tree %u, slot %u: no split leads here", tree_idx, slot);
        if (n->child == 0) {
            MYR_TRY(check_leaf(c, n, tree_idx, slot));
            continue;
        }
        if (n->child != claimed || claimed > slot_count - 2) {
            MYR_FAIL(c->err, BAD_FORMAT, "model: tree %u, slot %u: child %u, expected %u of %u", tree_idx, slot,
                     n->child, claimed, slot_count);
        }
        claimed += 2;
        MYR_TRY(check_split(c, n, tree_idx, slot));
    }
    MYR_ASSERT(claimed ==
               slot_count); /* every slot was claimed before it was read, and no pair beyond the last exists */
    return MYR_OK;
}

static myr_rc check_trees(check_ctx *c)
{
    const model_tree *trees = (const model_tree *)(c->bytes + c->map.trees_at);
    const model_node *nodes = (const model_node *)(c->bytes + c->map.items_at);
    uint32_t node_count = c->h.item_count;
    if (c->h.tree_count == 0 && node_count != 0)
        MYR_FAIL(c->err, BAD_FORMAT, "model: %u nodes without a tree", node_count);
    for (uint32_t t = 0; t < c->h.tree_count; t++) {
        uint32_t first = trees[t].first;
        uint32_t end = t + 1 < c->h.tree_count ? trees[t + 1].first : node_count;
        if ((t == 0 && first != 0) || first > end || end > node_count) {
            MYR_FAIL(c->err, BAD_FORMAT, "model: tree %u has nodes %u to %u of %u", t, first, end, node_count);
        }
        if (trees[t].output >= c->h.margin_count) {
            MYR_FAIL(c->err, BAD_FORMAT, "model: tree %u adds to output %u of %u", t, trees[t].output,
                     c->h.margin_count);
        }
        MYR_TRY(check_tree(c, nodes + first, t, end - first));
    }
    if (c->words_used != c->h.word_count) {
        MYR_FAIL(c->err, BAD_FORMAT, "model: %u category words, %u used", c->h.word_count, c->words_used);
    }
    if ((c->h.flags & MODEL_LINES) != 0 && c->lines_used != c->h.line_count) {
        MYR_FAIL(c->err, BAD_FORMAT, "model: %u lines, %u used", c->h.line_count, c->lines_used);
    }
    if ((c->h.flags & MODEL_LINES) != 0) MYR_TRY(myr_lines_check(&c->h, c->bytes, c->err));
    if (c->special != ((c->h.flags & MODEL_SPECIAL) != 0)) {
        MYR_FAIL(c->err, BAD_FORMAT, "model: flags 0x%x do not fit its nodes", c->h.flags);
    }
    return MYR_OK;
}

static myr_rc check_terms(const check_ctx *c)
{
    const model_term *terms = (const model_term *)(c->bytes + c->map.items_at);
    uint32_t per_output = c->h.item_count / c->h.margin_count;
    for (uint32_t j = 0; j < c->h.item_count; j++) {
        if (terms[j].column >= c->h.column_count || terms[j].output != j / per_output) {
            MYR_FAIL(c->err, BAD_FORMAT, "model: term %u: column %u of %u, output %u", j, terms[j].column,
                     c->h.column_count, terms[j].output);
        }
        bool bad_float = c->h.calc == MYR_CALC_F32 && (!model_is_float(terms[j].weight) || !isnan(terms[j].fill));
        if (!isfinite(terms[j].weight) || isinf(terms[j].fill) || bad_float) {
            MYR_FAIL(c->err, BAD_FORMAT, "model: term %u: weight %.17g, fill %.17g", j, terms[j].weight, terms[j].fill);
        }
    }
    return MYR_OK;
}

myr_rc myr_model_check(const void *bytes, size_t size_bytes, const myr_model **out, myr_err *err)
{
    check_ctx c = {.bytes = bytes, .err = err};
    if ((uintptr_t)bytes % MYR_MODEL_ALIGN != 0) {
        MYR_FAIL(err, BAD_FORMAT, "model: its address is not a multiple of %d", MYR_MODEL_ALIGN);
    }
    if (size_bytes < sizeof c.h) MYR_FAIL(err, BAD_FORMAT, "model of %zu bytes has no header", size_bytes);
    memcpy(&c.h, bytes, sizeof c.h);
    MYR_TRY(check_version(&c.h, err));
    if (c.h.kind == MYR_MODEL_EXTERNAL) {
        MYR_TRY(myr_external_check(bytes, size_bytes, err));
        *out = bytes;
        return MYR_OK;
    }
    MYR_TRY(check_header(&c.h, bytes, size_bytes, err));
    if ((c.h.flags & (MODEL_LANES | MODEL_LARGE)) != 0) {
        MYR_TRY((c.h.flags & MODEL_LARGE) != 0 ? myr_large_check(&c.h, bytes, err) : myr_lanes_check(&c.h, bytes, err));
        MYR_TRY(myr_sections_check(&c.h, bytes, size_bytes, err));
        *out = bytes;
        return MYR_OK;
    }
    c.map = model_map_of(&c.h);
    MYR_TRY(check_zeros(&c, c.map.bases_end, c.map.trees_at));
    MYR_TRY(check_zeros(&c, c.map.trees_end, c.map.items_at));
    MYR_TRY(check_zeros(&c, c.map.items_end, c.map.words_at));
    MYR_TRY(check_zeros(&c, c.map.words_end, c.map.lines_at));
    MYR_TRY(check_zeros(&c, c.map.lines_end, c.map.line_terms_at));
    MYR_TRY(check_zeros(&c, c.map.line_terms_end, c.map.size));
    MYR_TRY(check_bases(&c));
    if (c.h.kind == MYR_MODEL_LINEAR) {
        MYR_TRY(check_terms(&c));
    } else {
        MYR_TRY(check_trees(&c));
    }
    MYR_TRY(myr_sections_check(&c.h, bytes, size_bytes, err));
    *out = bytes;
    return MYR_OK;
}

const myr_model *myr_model_checked_before(const void *bytes)
{
    MYR_ASSERT((uintptr_t)bytes % MYR_MODEL_ALIGN == 0);
    return bytes;
}
