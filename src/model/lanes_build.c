/*
 * A nodes model becomes lanes. The nodes were written by compile.c a moment ago, so nothing of them is doubted here.
 * First every split gets a byte column and a rank, then every tree its entries; the sizes fall out, and the bytes are
 * written.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/lanes.h"

#define BUILD_TREES_MIN 8 /* fewer trees walk as fast */

typedef struct build_split {
    int64_t order; /* of the threshold */
    uint32_t node; /* in the model */
    uint16_t feature;
    uint8_t flags; /* of the node */
} build_split;

/* Where a split's byte column stands and what rank it compares with. Sets come behind the numeric columns at the end.
 */
typedef struct build_place {
    uint16_t column;
    int8_t rank;
    bool is_set;
} build_place;

typedef struct build_ctx {
    model_header h; /* of the lanes model to be */
    const model_tree *trees;
    const model_node *nodes;
    const uint32_t *words;
    uint32_t node_count;
    build_split *splits; /* the numeric ones, sorted */
    uint32_t split_count;
    build_place *places; /* per node */
    lanes_column columns[LANES_COLUMNS_MAX];
    lanes_set sets[LANES_COLUMNS_MAX];
    uint32_t numeric, set_count;
    int64_t *orders; /* thresholds of the columns, one column after the other */
    uint32_t order_count;
    uint32_t *book;
    lanes_map map;
    unsigned char *bytes;
} build_ctx;

/* ---- columns ---- */

static int build_compare(const void *a, const void *b)
{
    const build_split *p = a;
    const build_split *q = b;
    if (p->feature != q->feature) return p->feature < q->feature ? -1 : 1;
    if (p->order != q->order) return p->order < q->order ? -1 : 1;
    return p->node < q->node ? -1 : p->node > q->node;
}

/* Append a numeric column; false if there are too many. */
static bool build_add_column(build_ctx *c, uint16_t feature, uint32_t low_first, uint32_t rank_count, bool zero,
                             bool same, int missing_bin)
{
    if (c->numeric >= LANES_COLUMNS_MAX) return false;
    lanes_column *column = &c->columns[c->numeric++];
    column->feature = feature;
    column->rank_count = (uint8_t)rank_count;
    column->flags = (uint8_t)((zero ? LANES_ZERO : 0) | (same ? LANES_SAME : 0));
    column->missing_bin = (int8_t)missing_bin;
    column->low_first = low_first;
    if (zero) c->h.flags |= MODEL_SPECIAL;
    return true;
}

/*
 * The columns of splits from..to: one feature, at most LANES_RANKS_MAX distinct thresholds, ranks in places already,
 * only those with (or without) NODE_ZERO. One column does if some bin of the missing goes left where it should and
 * right elsewhere; otherwise there is one for either side.
 */
static bool build_chunk_columns(build_ctx *c, uint32_t from, uint32_t to, uint32_t low_first, uint32_t rank_count,
                                bool zero, bool *same)
{
    int right_max = -129;
    int left_min = 128;
    uint32_t found = 0;
    for (uint32_t s = from; s < to; s++) {
        if (((c->splits[s].flags & NODE_ZERO) != 0) != zero) continue;
        int rank = c->places[c->splits[s].node].rank;
        found++;
        if ((c->splits[s].flags & NODE_NAN_LEFT) != 0) {
            if (rank < left_min) left_min = rank;
        } else if (rank > right_max) {
            right_max = rank;
        }
    }
    if (found == 0) return true;
    uint16_t feature = c->splits[from].feature;
    bool two = right_max >= left_min;
    uint32_t first = c->numeric;
    int one_bin = left_min == 128 ? LANES_RIGHT : right_max == -129 ? LANES_LEFT : right_max + 1;
    if (!build_add_column(c, feature, low_first, rank_count, zero, *same, two ? LANES_LEFT : one_bin)) return false;
    *same = true;
    if (two && !build_add_column(c, feature, low_first, rank_count, zero, true, LANES_RIGHT)) return false;
    for (uint32_t s = from; s < to; s++) {
        if (((c->splits[s].flags & NODE_ZERO) != 0) != zero) continue;
        bool second = two && (c->splits[s].flags & NODE_NAN_LEFT) == 0;
        c->places[c->splits[s].node].column = (uint16_t)(first + second);
    }
    return true;
}

/* The next run of splits that shares thresholds; *from moves behind it. */
static bool build_chunk(build_ctx *c, uint32_t *from)
{
    uint32_t first = c->order_count;
    uint32_t s = *from;
    uint16_t feature = c->splits[s].feature;
    for (; s < c->split_count && c->splits[s].feature == feature; s++) {
        bool fresh = c->order_count == first || c->orders[c->order_count - 1] != c->splits[s].order;
        if (fresh && c->order_count - first == LANES_RANKS_MAX) break;
        if (fresh) c->orders[c->order_count++] = c->splits[s].order;
        c->places[c->splits[s].node].rank = (int8_t)((int)(c->order_count - first) - 1 - 128);
    }
    bool same = false;
    uint32_t begin = *from;
    *from = s;
    return build_chunk_columns(c, begin, s, first, c->order_count - first, false, &same) &&
           build_chunk_columns(c, begin, s, first, c->order_count - first, true, &same);
}

static bool build_numeric(build_ctx *c)
{
    qsort(c->splits, c->split_count, sizeof *c->splits, build_compare);
    for (uint32_t from = 0; from < c->split_count;) {
        if (c->order_count + LANES_RANKS_MAX > LANES_COLUMNS_MAX * LANES_RANKS_MAX) return false;
        if (!build_chunk(c, &from)) return false;
    }
    return true;
}

/* One column per distinct feature, side of the missing, and set. */
static bool build_set(build_ctx *c, uint32_t node)
{
    const model_node *n = &c->nodes[node];
    int8_t missing = (n->flags & NODE_NAN_LEFT) != 0 ? LANES_LEFT : LANES_RIGHT;
    uint32_t k = 0;
    for (; k < c->set_count; k++) {
        const lanes_set *set = &c->sets[k];
        if (set->feature == n->column && set->missing_bin == missing && set->word_count == n->u.set.count &&
            memcmp(c->words + set->word_first, c->words + n->u.set.first, set->word_count * sizeof *c->words) == 0) {
            break;
        }
    }
    if (k == LANES_COLUMNS_MAX) return false;
    if (k == c->set_count) {
        c->sets[c->set_count++] = (lanes_set){
            .word_first = n->u.set.first, .word_count = n->u.set.count, .feature = n->column, .missing_bin = missing};
    }
    c->places[node] = (build_place){.column = (uint16_t)k, .rank = LANES_LEFT, .is_set = true};
    return true;
}

static bool build_columns(build_ctx *c)
{
    bool single = c->h.calc == MYR_CALC_F32;
    for (uint32_t k = 0; k < c->node_count; k++) {
        const model_node *n = &c->nodes[k];
        if (n->child == 0) continue;
        if ((n->flags & NODE_CATEGORY) != 0) {
            if (!build_set(c, k)) return false;
        } else {
            c->splits[c->split_count++] = (build_split){
                .order = lanes_order(n->u.value, single), .node = k, .feature = n->column, .flags = (uint8_t)n->flags};
        }
    }
    return build_numeric(c) && c->numeric + c->set_count <= LANES_COLUMNS_MAX;
}

static int build_compare_lows(const void *a, const void *b)
{
    uint32_t p = *(const uint32_t *)a;
    uint32_t q = *(const uint32_t *)b;
    return p < q ? -1 : p > q;
}

/* The distinct lower halves; a book of them if a byte can tell them apart. */
static void build_book(build_ctx *c)
{
    if (c->h.calc == MYR_CALC_F32) return;
    c->h.low_count = (uint16_t)c->order_count;
    for (uint32_t k = 0; k < c->order_count; k++) {
        c->book[k] = (uint32_t)c->orders[k];
    }
    qsort(c->book, c->order_count, sizeof *c->book, build_compare_lows);
    uint32_t count = 0;
    for (uint32_t k = 0; k < c->order_count; k++) {
        if (count == 0 || c->book[count - 1] != c->book[k]) c->book[count++] = c->book[k];
    }
    c->h.book_count = count <= LANES_BOOK_MAX ? (uint16_t)count : 0;
}

/* ---- entries ---- */

typedef struct build_walk {
    const build_ctx *c;
    const model_node *nodes; /* of the tree */
    uint16_t leaves_below[2 * LANES_LEAVES_MAX];
    unsigned char *planes[LANES_BYTES_MAX]; /* where the next entry of each byte goes; NULL while counting */
    uint8_t counts[LANES_BYTES_MAX];
    unsigned char *leaves;
    uint32_t lane_count, leaf_count;
} build_walk;

/* Of one split, for the leaves from..to of the side that comes first. */
static void build_entries(build_walk *w, uint32_t slot, uint32_t from, uint32_t to, bool mirrored)
{
    const build_place *place = &w->c->places[(uint32_t)(w->nodes - w->c->nodes) + slot];
    unsigned column = place->column + (place->is_set ? w->c->numeric : 0);
    int rank = place->rank;
    if (mirrored) {
        column = ~column;
        rank = ~rank - 1;
    }
    for (uint32_t b = from / 8; b * 8 < to; b++) {
        w->counts[b]++;
        if (w->planes[b] == NULL) continue;
        unsigned char *entry = w->planes[b];
        uint32_t low = from > b * 8 ? from - b * 8 : 0;
        uint32_t high = to < b * 8 + 8 ? to - b * 8 : 8;
        entry[0] = (unsigned char)column;
        entry[w->lane_count] = (unsigned char)rank;
        entry[2 * w->lane_count] = (unsigned char)((1u << high) - (1u << low));
        w->planes[b] += 3 * (size_t)w->lane_count;
    }
}

/* The side with fewer leaves comes first: it is what entries clear. As deep as a tree of LANES_LEAVES_MAX leaves. */
static void build_subtree(build_walk *w, uint32_t slot)
{
    const model_node *n = &w->nodes[slot];
    uint32_t from = w->leaf_count;
    if (n->child != 0) {
        bool mirrored =
            (w->c->h.flags & MODEL_MIRROR) != 0 && w->leaves_below[n->child] > w->leaves_below[n->child + 1];
        build_subtree(w, n->child + mirrored);
        build_entries(w, slot, from, w->leaf_count, mirrored);
        build_subtree(w, n->child + !mirrored);
        return;
    }
    if (w->leaves != NULL && w->c->h.calc == MYR_CALC_F32) {
        float value = (float)n->u.value;
        memcpy(w->leaves + w->leaf_count * sizeof value, &value, sizeof value);
    } else if (w->leaves != NULL) {
        memcpy(w->leaves + w->leaf_count * sizeof n->u.value, &n->u.value, sizeof n->u.value);
    }
    w->leaf_count++;
    MYR_ASSERT(w->leaf_count <= LANES_LEAVES_MAX);
}

static uint32_t build_leaves_of(const build_ctx *c, uint32_t t)
{
    uint32_t end = t + 1 < c->h.tree_count ? c->trees[t + 1].first : c->node_count;
    return (end - c->trees[t].first) / 2;
}

/* Walk tree `t`: count its entries, or write them. */
static void build_tree(build_walk *w, uint32_t t)
{
    w->nodes = w->c->nodes + w->c->trees[t].first;
    for (uint32_t slot = 2 * build_leaves_of(w->c, t) - 1; slot >= 1; slot--) { /* children lie behind their parents */
        uint32_t child = w->nodes[slot].child;
        w->leaves_below[slot] = child == 0 ? 1 : (uint16_t)(w->leaves_below[child] + w->leaves_below[child + 1]);
    }
    build_subtree(w, 1);
}

/* Size of group `g`, which begins at *entry_bytes and *leaf_count; false if it is too large. */
static bool build_group(const build_ctx *c, uint32_t g, lanes_group *group, uint64_t *entry_bytes, uint32_t *leaf_count)
{
    uint32_t first = g * LANES_TREES;
    uint32_t count = c->h.tree_count - first < LANES_TREES ? c->h.tree_count - first : LANES_TREES;
    memset(group, 0, sizeof *group);
    group->mark = LANES_MARK;
    group->entries_at = (uint32_t)*entry_bytes;
    group->leaves_first = *leaf_count;
    group->tree_count = (uint8_t)count;
    group->lane_count = (uint8_t)lanes_stride(count);
    for (uint32_t k = 0; k < count; k++) {
        build_walk w = {.c = c};
        build_tree(&w, first + k);
        uint32_t byte_count = (w.leaf_count + 7) / 8;
        if (byte_count > group->byte_count) group->byte_count = (uint8_t)byte_count;
        for (uint32_t b = 0; b < LANES_BYTES_MAX; b++) {
            if (w.counts[b] > group->positions[b]) group->positions[b] = w.counts[b];
        }
        *leaf_count += w.leaf_count;
    }
    *entry_bytes += lanes_group_bytes(group);
    return *entry_bytes <= UINT32_MAX;
}

static void build_write_group(build_ctx *c, uint32_t g)
{
    const lanes_group *group = (const lanes_group *)(c->bytes + c->map.groups_at) + g;
    unsigned char *at = c->bytes + c->map.entries_at + group->entries_at;
    uint16_t *firsts = (uint16_t *)at;
    unsigned char *counts = at + group->lane_count * sizeof *firsts;
    unsigned char *entries = counts + (size_t)group->lane_count * group->byte_count;
    size_t leaf_bytes = c->h.calc == MYR_CALC_F32 ? sizeof(float) : sizeof(double);
    uint32_t leaf = 0;
    for (uint32_t k = 0; k < group->tree_count; k++) {
        uint32_t t = g * LANES_TREES + k;
        build_walk w = {.c = c, .lane_count = group->lane_count};
        unsigned char *plane = entries + k;
        for (uint32_t b = 0; b < group->byte_count; b++) {
            w.planes[b] = plane;
            plane += 3 * (size_t)group->lane_count * group->positions[b];
        }
        w.leaves = c->bytes + c->map.leaves_at + ((size_t)group->leaves_first + leaf) * leaf_bytes;
        build_tree(&w, t);
        firsts[k] = (uint16_t)leaf;
        leaf += w.leaf_count;
        for (uint32_t b = 0; b < group->byte_count; b++) {
            counts[(size_t)b * group->lane_count + k] = w.counts[b];
        }
        if (c->h.margin_count > 1) ((uint16_t *)(c->bytes + c->map.outputs_at))[t] = (uint16_t)c->trees[t].output;
    }
}

/* ---- bytes ---- */

static void build_write_columns(build_ctx *c)
{
    memcpy(c->bytes + c->map.columns_at, c->columns, c->numeric * sizeof *c->columns);
    memcpy(c->bytes + c->map.sets_at, c->sets, c->set_count * sizeof *c->sets);
    myr_lanes_write_keys(c->columns, c->numeric, c->orders, (int32_t *)(c->bytes + c->map.keys_at), c->h.key_blocks);
    for (uint32_t k = 0; k < c->h.low_count; k++) {
        uint32_t low = (uint32_t)c->orders[k];
        if (c->h.book_count == 0) {
            ((uint32_t *)(c->bytes + c->map.lows_at))[k] = low;
            continue;
        }
        const uint32_t *found = bsearch(&low, c->book, c->h.book_count, sizeof low, build_compare_lows);
        MYR_ASSERT(found != NULL);
        c->bytes[c->map.lows_at + k] = (unsigned char)(found - c->book);
    }
    if (c->h.book_count > 0) memcpy(c->bytes + c->map.book_at, c->book, c->h.book_count * sizeof *c->book);
}

static void build_write(build_ctx *c, const unsigned char *nodes_model, const lanes_group *groups, uint32_t group_count)
{
    memset(c->bytes, 0, c->map.size);
    memcpy(c->bytes, &c->h, sizeof c->h);
    memcpy(c->bytes + c->map.groups_at, groups, group_count * sizeof *groups);
    memcpy(c->bytes + c->map.bases_at, nodes_model + sizeof c->h, c->h.margin_count * sizeof(double));
    if (c->h.word_count > 0) memcpy(c->bytes + c->map.words_at, c->words, c->h.word_count * sizeof *c->words);
    build_write_columns(c);
    for (uint32_t g = 0; g < group_count; g++) {
        build_write_group(c, g);
    }
}

static void build_open(build_ctx *c, const unsigned char *nodes_model)
{
    memcpy(&c->h, nodes_model, sizeof c->h);
    model_map map = model_map_of(&c->h);
    c->trees = (const model_tree *)(nodes_model + map.trees_at);
    c->nodes = (const model_node *)(nodes_model + map.items_at);
    c->words = (const uint32_t *)(nodes_model + map.words_at);
    c->node_count = c->h.item_count;
    c->h.flags = (uint8_t)((c->h.flags & ~MODEL_SPECIAL) | MODEL_LANES);
}

static bool build_trees_fit(const build_ctx *c, bool always)
{
    if (c->h.kind != MYR_MODEL_TREES || c->h.tree_count < (always ? 1 : BUILD_TREES_MIN)) return false;
    if ((c->h.flags & MODEL_LINES) != 0) return false; /* a lane's leaf is one number */
    for (uint32_t t = 0; t < c->h.tree_count; t++) {
        if (build_leaves_of(c, t) > LANES_LEAVES_MAX) return false;
    }
    return true;
}

/* Columns, groups and sizes: false if they do not fit. */
static bool build_sizes(build_ctx *c, lanes_group *groups, uint32_t group_count)
{
    uint64_t entry_bytes = 0;
    uint32_t leaf_count = 0;
    if (!build_columns(c)) return false;
    if (c->numeric + c->set_count <= LANES_MIRROR_MAX) c->h.flags |= MODEL_MIRROR;
    for (uint32_t g = 0; g < group_count; g++) {
        if (!build_group(c, g, &groups[g], &entry_bytes, &leaf_count)) return false;
    }
    build_book(c);
    c->h.key_blocks = (uint16_t)myr_lanes_place_keys(c->columns, c->numeric);
    c->h.numeric_columns = (uint16_t)c->numeric;
    c->h.set_columns = (uint16_t)c->set_count;
    c->h.entry_bytes = (uint32_t)entry_bytes;
    c->h.item_count = leaf_count;
    c->map = lanes_map_of(&c->h);
    c->h.size_bytes = c->map.size;
    return true;
}

myr_rc myr_lanes_build(const unsigned char *nodes_model, bool always, unsigned char **out_bytes, size_t *out_size,
                       myr_err *err)
{
    MYR_AUTO(myr_mem) ctx = myr_calloc(1, sizeof(build_ctx));
    if (ctx == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to lay a model in lanes");
    build_ctx *c = ctx;
    build_open(c, nodes_model);
    if (!build_trees_fit(c, always)) return MYR_OK;
    uint32_t group_count = (c->h.tree_count + LANES_TREES - 1) / LANES_TREES;
    MYR_AUTO(myr_mem) splits = myr_calloc(c->node_count, sizeof *c->splits);
    MYR_AUTO(myr_mem) places = myr_calloc(c->node_count, sizeof *c->places);
    MYR_AUTO(myr_mem) orders = myr_calloc(LANES_COLUMNS_MAX * LANES_RANKS_MAX, sizeof *c->orders);
    MYR_AUTO(myr_mem) book = myr_calloc(LANES_COLUMNS_MAX * LANES_RANKS_MAX, sizeof *c->book);
    MYR_AUTO(myr_mem) groups = myr_calloc(group_count, sizeof(lanes_group));
    if (splits == NULL || places == NULL || orders == NULL || book == NULL || groups == NULL) {
        MYR_FAIL(err, NO_MEMORY, "no memory to lay a model of %u trees in lanes", c->h.tree_count);
    }
    c->splits = splits;
    c->places = places;
    c->orders = orders;
    c->book = book;
    if (!build_sizes(c, groups, group_count)) return MYR_OK;
    size_t nodes_bytes = (size_t)((const model_header *)(const void *)nodes_model)->size_bytes;
    if (!always && c->map.size > 2 * nodes_bytes) return MYR_OK; /* trees too unlike to stand side by side */
    MYR_AUTO(myr_mem) bytes = myr_alloc_aligned(MYR_MODEL_ALIGN, c->map.size);
    if (bytes == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a model of %llu bytes", (unsigned long long)c->map.size);
    c->bytes = bytes;
    build_write(c, nodes_model, groups, group_count);
    *out_bytes = bytes;
    *out_size = c->map.size;
    bytes = NULL;
    return MYR_OK;
}
