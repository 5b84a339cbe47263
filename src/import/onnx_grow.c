/*
 * ONNX's trees become ours: every comparison becomes `x <= threshold` on the cell itself, NaN and all, and each output
 * that a tree votes for gets a tree of its own. The walk goes from the root along the branches, so that what nobody
 * reaches is dropped, and a node that two parents share is written twice. A bound in proportion to the file keeps that
 * from running away.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "import/onnx_forest.h"

#define GROW_FAIL(g, ...)     MYR_ONNX_FOREIGN((g)->eval, (g)->forest->node, __VA_ARGS__)
#define GROW_ROOT             UINT32_MAX /* the frame has no parent */
#define GROW_FRAMES_PER_SPLIT 8

/* The values of a chain of equalities on one column, ascending, and where each leads. */
typedef struct grow_member {
    double value;
    uint32_t target, order;
} grow_member;

typedef struct grow_set {
    uint32_t feature, otherwise; /* cell's feature; node for all other values */
    uint32_t count;
    grow_member *members;
} grow_set;

/* Something still to be written: a node, or members [first, end) of a set. */
typedef struct grow_frame {
    const grow_set *set; /* NULL: a node */
    uint32_t node, first, end;
    uint32_t parent; /* split, or GROW_ROOT */
    bool is_right;
    uint32_t depth; /* nodes of the file above this one */
} grow_frame;

typedef struct grow {
    myr_onnx_eval *eval;
    const myr_onnx_forest *forest;
    myr_arena *scratch; /* sets of one tree */
    myr_buf splits, leaves, frames, trees;
    uint32_t *seen; /* per node: number of the last walk that came by */
    uint8_t *wants; /* per output: this tree votes for it */
    uint64_t split_total, split_max, frame_total;
    uint32_t output;
} grow;

static uint32_t grow_count(const myr_buf *buf, size_t size)
{
    return (uint32_t)(buf->size / size);
}

static myr_rc grow_memory(const grow *g, const myr_buf *buf)
{
    if (buf->failed) MYR_ONNX_ALLOC_FAIL(g->eval->onnx);
    return MYR_OK;
}

static myr_rc grow_push(grow *g, grow_frame frame)
{
    if (frame.depth > g->forest->node_count) GROW_FAIL(g, "node %u is its own ancestor", frame.node);
    myr_buf_append(&g->frames, &frame, sizeof frame);
    return grow_memory(g, &g->frames);
}

static bool grow_pop(grow *g, grow_frame *out)
{
    if (g->frames.size == 0) return false;
    g->frames.size -= sizeof *out;
    memcpy(out, g->frames.data + g->frames.size, sizeof *out);
    return true;
}

static void grow_tie(grow *g, const grow_frame *frame, int32_t child)
{
    if (frame->parent == GROW_ROOT) return;
    myr_split *split = (myr_split *)(void *)g->splits.data + frame->parent;
    if (frame->is_right) {
        split->right = child;
    } else {
        split->left = child;
    }
}

/* Write a split in the frame's place; its number in *out. */
static myr_rc grow_split(grow *g, const grow_frame *frame, uint32_t feature, double threshold, bool nan_left,
                         uint32_t *out)
{
    const myr_split split = {
        .feature = feature, .threshold = threshold, .missing = MYR_MISSING_NAN, .default_left = nan_left};
    *out = grow_count(&g->splits, sizeof split);
    if (++g->split_total > g->split_max || *out >= MYR_TREE_LEAVES_MAX - 1) {
        GROW_FAIL(g, "written out, its trees have more than %llu splits", (unsigned long long)g->split_max);
    }
    grow_tie(g, frame, (int32_t)*out);
    myr_buf_append(&g->splits, &split, sizeof split);
    return grow_memory(g, &g->splits);
}

static myr_rc grow_leaf(grow *g, const grow_frame *frame, const myr_onnx_tree_node *node)
{
    double value = 0.0;
    for (uint32_t k = 0; k < node->count; k++) {
        const myr_onnx_weight *weight = &g->forest->weights[node->first + k];
        if (weight->output == g->output) value = weight->value;
    }
    grow_tie(g, frame, ~(int32_t)grow_count(&g->leaves, sizeof value));
    myr_buf_append(&g->leaves, &value, sizeof value);
    return grow_memory(g, &g->leaves);
}

/* ---- comparisons ---- */

static myr_rc grow_column(const grow *g, uint32_t feature, const myr_onnx_column **out)
{
    if (feature >= g->forest->columns->count) {
        GROW_FAIL(g, "feature %u of %u", feature, g->forest->columns->count);
    }
    *out = &g->forest->columns->list[feature];
    return MYR_OK;
}

static bool grow_compare(myr_onnx_mode mode, double z, double t)
{
    switch (mode) {
    case MYR_ONNX_LEQ:
        return z <= t;
    case MYR_ONNX_LT:
        return z < t;
    case MYR_ONNX_GTE:
        return z >= t;
    default:
        return z > t;
    }
}

/* Two children in the places below a split. */
static myr_rc grow_children(grow *g, uint32_t split, const grow_frame *above, uint32_t left, uint32_t right)
{
    MYR_TRY(grow_push(g, (grow_frame){.node = right, .parent = split, .is_right = true, .depth = above->depth + 1}));
    return grow_push(g, (grow_frame){.node = left, .parent = split, .depth = above->depth + 1});
}

/*
 * yes for `cut`, no for the rest, a NaN to nan_yes ? yes : no. Where the cut says nothing a split may still be needed
 * to turn the NaN away.
 */
static myr_rc grow_cut(grow *g, const grow_frame *frame, uint32_t feature, myr_onnx_cut cut, bool nan_yes, uint32_t yes,
                       uint32_t no)
{
    uint32_t split;
    bool yes_left = cut.kind == MYR_ONNX_UP_TO || cut.kind == MYR_ONNX_ALWAYS;
    bool splits = cut.kind == MYR_ONNX_UP_TO || cut.kind == MYR_ONNX_ABOVE;
    if (!splits && nan_yes == yes_left) {
        grow_frame next = *frame;
        next.node = yes_left ? yes : no;
        next.depth++;
        return grow_push(g, next);
    }
    MYR_TRY(grow_split(g, frame, feature, splits ? cut.at : (double)INFINITY, nan_yes == yes_left, &split));
    return grow_children(g, split, frame, yes_left ? yes : no, yes_left ? no : yes);
}

static myr_rc grow_comparison(grow *g, const grow_frame *frame, const myr_onnx_tree_node *node)
{
    const myr_onnx_column *column;
    myr_onnx_mode mode = (myr_onnx_mode)node->mode;
    MYR_TRY(grow_column(g, node->feature, &column));
    if (isnan(node->value)) GROW_FAIL(g, "a threshold of node %u is not a number", frame->node);
    double z = myr_onnx_steps_run(column, (double)NAN); /* a number where NaN is replaced */
    bool nan_yes = grow_compare(mode, z, node->value) || (isnan(z) && node->nan_yes);
    bool strict = mode == MYR_ONNX_LT || mode == MYR_ONNX_GTE;
    bool turned = mode == MYR_ONNX_GTE || mode == MYR_ONNX_GT; /* not < and not <= */
    myr_onnx_cut cut = myr_onnx_cut_find(column, node->value, strict, g->forest->single);
    return grow_cut(g, frame, column->feature, cut, nan_yes != turned, turned ? node->no : node->yes,
                    turned ? node->yes : node->no);
}

/* ---- sets ---- */

static int grow_by_value(const void *a, const void *b)
{
    const grow_member *x = a;
    const grow_member *y = b;
    if (x->value != y->value) return x->value < y->value ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

/* Sorted; of equal values the first one counts. */
static void grow_sort(grow_set *set)
{
    uint32_t kept = 0;
    for (uint32_t k = 0; k < set->count; k++) {
        set->members[k].order = k;
    }
    qsort(set->members, set->count, sizeof *set->members, grow_by_value);
    for (uint32_t k = 0; k < set->count; k++) {
        if (kept == 0 || set->members[kept - 1].value != set->members[k].value) set->members[kept++] = set->members[k];
    }
    set->count = kept;
}

static bool grow_is_set(const myr_onnx_tree_node *node)
{
    return node->mode == MYR_ONNX_EQ || node->mode == MYR_ONNX_NEQ || node->mode == MYR_ONNX_MEMBER;
}

/* How many values node has, and may the chain go on behind it with the same column? */
static uint32_t grow_size(const myr_onnx_tree_node *node)
{
    return node->mode == MYR_ONNX_MEMBER ? node->count : 1;
}

static bool grow_goes_on(const grow *g, const myr_onnx_tree_node *node, uint32_t so_far)
{
    const myr_onnx_tree_node *next = &g->forest->nodes[node->no];
    bool plain = node->mode != MYR_ONNX_NEQ && !node->nan_yes && !next->nan_yes;
    bool same = (next->mode == MYR_ONNX_EQ || next->mode == MYR_ONNX_MEMBER) && next->feature == node->feature;
    return plain && same && (uint64_t)so_far + grow_size(next) <= MYR_ONNX_SET_MAX;
}

static void grow_gather(const grow *g, const myr_onnx_tree_node *node, grow_set *set)
{
    bool turned = node->mode == MYR_ONNX_NEQ;
    if (node->mode != MYR_ONNX_MEMBER) {
        set->members[set->count++] = (grow_member){.value = node->value, .target = turned ? node->no : node->yes};
        return;
    }
    for (uint32_t k = 0; k < node->count; k++) {
        set->members[set->count++] = (grow_member){.value = g->forest->members[node->first + k], .target = node->yes};
    }
}

/* The chain that begins at `node`. A loop among its nodes cannot last: the set would outgrow its bound. */
static myr_rc grow_chain(grow *g, const myr_onnx_tree_node *node, grow_set **out)
{
    uint32_t total = grow_size(node);
    if (total > MYR_ONNX_SET_MAX) GROW_FAIL(g, "a set of more than %d values", MYR_ONNX_SET_MAX);
    for (const myr_onnx_tree_node *at = node; grow_goes_on(g, at, total); at = &g->forest->nodes[at->no]) {
        total += grow_size(&g->forest->nodes[at->no]);
        if (grow_size(&g->forest->nodes[at->no]) == 0) break;
    }
    grow_set *set = myr_arena_calloc(g->scratch, 1, sizeof *set);
    if (set == NULL) MYR_ONNX_ALLOC_FAIL(g->eval->onnx);
    set->members = myr_arena_calloc(g->scratch, (size_t)total + 1, sizeof *set->members);
    if (set->members == NULL) MYR_ONNX_ALLOC_FAIL(g->eval->onnx);
    grow_gather(g, node, set);
    while (set->count < total) {
        MYR_ASSERT(grow_goes_on(g, node, set->count));
        node = &g->forest->nodes[node->no];
        grow_gather(g, node, set);
    }
    set->otherwise = node->mode == MYR_ONNX_NEQ ? node->yes : node->no;
    set->feature = node->feature;
    for (uint32_t k = 0; k < set->count; k++) {
        if (isnan(set->members[k].value)) GROW_FAIL(g, "a value to compare with is not a number");
    }
    grow_sort(set);
    *out = set;
    return MYR_OK;
}

/* Where NaN goes: as a number that replaces it would, or with those that nothing equals. */
static uint32_t grow_set_nan(const grow_set *set, const myr_onnx_tree_node *node, double z)
{
    if (isnan(z)) return node->nan_yes && node->mode != MYR_ONNX_NEQ ? node->yes : set->otherwise;
    for (uint32_t k = 0; k < set->count; k++) {
        if (set->members[k].value == z) return set->members[k].target;
    }
    return set->otherwise;
}

static bool grow_is_plain(const myr_onnx_column *column, bool single)
{
    for (uint32_t k = 0; k < column->step_count; k++) {
        bool rounds = column->steps[k].op == MYR_ONNX_STEP_ROUND && single;
        if (!rounds && column->steps[k].op != MYR_ONNX_STEP_FILL) return false;
    }
    return true;
}

static myr_rc grow_set_node(grow *g, const grow_frame *frame, const myr_onnx_tree_node *node)
{
    const myr_onnx_column *column;
    grow_set *set = NULL;
    grow_frame range = *frame;
    MYR_TRY(grow_column(g, node->feature, &column));
    if (!grow_is_plain(column, g->forest->single)) GROW_FAIL(g, "equality behind other operations");
    MYR_TRY(grow_chain(g, node, &set));
    set->feature = column->feature;
    uint32_t nan_to = grow_set_nan(set, node, myr_onnx_steps_run(column, (double)NAN));
    if (nan_to != set->otherwise) {
        uint32_t split;
        MYR_TRY(grow_split(g, frame, set->feature, (double)INFINITY, false, &split));
        MYR_TRY(
            grow_push(g, (grow_frame){.node = nan_to, .parent = split, .is_right = true, .depth = frame->depth + 1}));
        range.parent = split;
        range.is_right = false;
    }
    range.set = set;
    range.first = 0;
    range.end = set->count;
    return grow_push(g, range);
}

/* Members [first, end) are left: cut at the middle one, twice, so that it stands alone. A NaN goes right each time. */
static myr_rc grow_range(grow *g, const grow_frame *frame)
{
    const grow_set *set = frame->set;
    uint32_t up_to;
    uint32_t below;
    if (frame->first == frame->end) {
        return grow_push(g, (grow_frame){.node = set->otherwise,
                                         .parent = frame->parent,
                                         .is_right = frame->is_right,
                                         .depth = frame->depth + 1});
    }
    uint32_t middle = frame->first + (frame->end - frame->first) / 2;
    double value = set->members[middle].value;
    double before =
        g->forest->single ? (double)nextafterf((float)value, -INFINITY) : nextafter(value, -(double)INFINITY);
    grow_frame range = *frame;
    MYR_TRY(grow_split(g, frame, set->feature, value, false, &up_to));
    range.parent = up_to;
    range.is_right = true;
    range.first = middle + 1;
    MYR_TRY(grow_push(g, range));
    range.is_right = false;
    range.first = frame->first;
    range.end = middle;
    if (value == -(double)INFINITY) { /* nothing is below */
        return grow_push(g,
                         (grow_frame){.node = set->members[middle].target, .parent = up_to, .depth = frame->depth + 1});
    }
    MYR_TRY(grow_split(g, &range, set->feature, before, false, &below));
    MYR_TRY(grow_push(
        g, (grow_frame){
               .node = set->members[middle].target, .parent = below, .is_right = true, .depth = frame->depth + 1}));
    range.parent = below;
    return grow_push(g, range);
}

/* ---- trees ---- */

static myr_rc grow_frame_out(grow *g, const grow_frame *frame)
{
    if (frame->set != NULL) return grow_range(g, frame);
    const myr_onnx_tree_node *node = &g->forest->nodes[frame->node];
    if (node->mode == MYR_ONNX_LEAF) return grow_leaf(g, frame, node);
    return grow_is_set(node) ? grow_set_node(g, frame, node) : grow_comparison(g, frame, node);
}

static myr_rc grow_keep(const grow *g, const myr_buf *buf, void **out)
{
    *out = myr_onnx_new(g->eval, buf->size, 1);
    if (*out == NULL) MYR_ONNX_ALLOC_FAIL(g->eval->onnx);
    if (buf->size > 0) memcpy(*out, buf->data, buf->size);
    return MYR_OK;
}

static myr_rc grow_tree(grow *g, uint32_t root)
{
    grow_frame frame;
    void *splits;
    void *leaves;
    g->splits.size = g->leaves.size = g->frames.size = 0;
    myr_arena_reset(g->scratch);
    MYR_TRY(grow_push(g, (grow_frame){.node = root, .parent = GROW_ROOT}));
    while (grow_pop(g, &frame)) {
        if (++g->frame_total > g->split_max * GROW_FRAMES_PER_SPLIT) { /* nodes that decide nothing, shared by many */
            GROW_FAIL(g, "written out, its trees have more than %llu splits", (unsigned long long)g->split_max);
        }
        MYR_TRY(grow_frame_out(g, &frame));
    }
    MYR_TRY(grow_keep(g, &g->splits, &splits));
    MYR_TRY(grow_keep(g, &g->leaves, &leaves));
    const myr_tree tree = {.splits = splits,
                           .split_count = grow_count(&g->splits, sizeof(myr_split)),
                           .leaves = leaves,
                           .leaf_count = grow_count(&g->leaves, sizeof(double)),
                           .output = g->output};
    MYR_ASSERT(tree.leaf_count == tree.split_count + 1);
    if (g->trees.size / sizeof tree >= MYR_TREES_MAX) GROW_FAIL(g, "more than %d trees", MYR_TREES_MAX);
    myr_buf_append(&g->trees, &tree, sizeof tree);
    return grow_memory(g, &g->trees);
}

/* Which outputs do the leaves below `root` vote for? */
static myr_rc grow_look(grow *g, uint32_t root, uint32_t walk)
{
    grow_frame frame;
    memset(g->wants, 0, g->forest->output_count);
    g->frames.size = 0;
    MYR_TRY(grow_push(g, (grow_frame){.node = root}));
    while (grow_pop(g, &frame)) {
        const myr_onnx_tree_node *node = &g->forest->nodes[frame.node];
        if (g->seen[frame.node] == walk) continue;
        g->seen[frame.node] = walk;
        if (node->mode != MYR_ONNX_LEAF) {
            MYR_TRY(grow_push(g, (grow_frame){.node = node->yes}));
            MYR_TRY(grow_push(g, (grow_frame){.node = node->no}));
            continue;
        }
        for (uint32_t k = 0; k < node->count; k++) {
            g->wants[g->forest->weights[node->first + k].output] = 1;
        }
    }
    return MYR_OK;
}

static myr_rc grow_all(grow *g, myr_model_desc *desc)
{
    void *trees;
    for (uint32_t t = 0; t < g->forest->tree_count; t++) {
        MYR_TRY(grow_look(g, g->forest->roots[t], t + 1));
        for (g->output = 0; g->output < g->forest->output_count; g->output++) {
            if (g->wants[g->output]) MYR_TRY(grow_tree(g, g->forest->roots[t]));
        }
    }
    MYR_TRY(grow_keep(g, &g->trees, &trees));
    desc->trees = trees;
    desc->tree_count = grow_count(&g->trees, sizeof(myr_tree));
    return MYR_OK;
}

myr_rc myr_onnx_forest_grow(myr_onnx_eval *eval, const myr_onnx_forest *forest, myr_model_desc *desc)
{
    uint64_t size = (uint64_t)forest->node_count + forest->weight_count;
    grow g = {.eval = eval,
              .forest = forest,
              .scratch = myr_arena_new(0),
              .seen = myr_calloc((size_t)forest->node_count + 1, sizeof *g.seen),
              .wants = myr_calloc((size_t)forest->output_count + 1, 1),
              .split_max = MYR_ONNX_SPLITS_FREE + size * MYR_ONNX_SPLITS_PER_NODE};
    bool memory = g.scratch != NULL && g.seen != NULL && g.wants != NULL;
    myr_rc rc = memory ? grow_all(&g, desc) : MYR_ERROR(eval->onnx->err, NO_MEMORY, "no memory for the trees");
    myr_buf_fini(&g.splits);
    myr_buf_fini(&g.leaves);
    myr_buf_fini(&g.frames);
    myr_buf_fini(&g.trees);
    myr_free(g.seen);
    myr_free(g.wants);
    myr_arena_free(g.scratch);
    return rc;
}
