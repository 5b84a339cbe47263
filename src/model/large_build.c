/*
 * A nodes model becomes a large one. The nodes were written by compile.c a moment ago, so nothing of them is doubted
 * here. Children stand behind their parents, so a tree is numbered by one loop backwards (leaves below each slot) and
 * one forwards (the first of them).
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "model/large.h"

#define LBUILD_TREES_MIN 8 /* fewer trees walk as fast as nodes */

typedef struct lbuild_split {
    int64_t order; /* of the threshold */
    uint32_t node; /* in the model */
    uint16_t feature;
    uint8_t flags; /* of the node */
} lbuild_split;

typedef struct lbuild_place {
    uint16_t column, rank;
} lbuild_place;

/* A tree as the large form numbers it; arrays by slot, then by split. */
typedef struct lbuild_shape {
    const model_node *nodes;
    uint32_t slot_count, split_count, depth, root;
    uint32_t *leaves; /* below a slot */
    uint32_t *first;  /* leaf below a slot */
    uint32_t *depths;
    uint32_t *slots; /* of a split */
} lbuild_shape;

typedef struct lbuild_ctx {
    model_header h;
    large_header g;
    const unsigned char *source;
    const model_tree *trees;
    const model_node *nodes;
    const uint32_t *words;
    uint32_t node_count;
    lbuild_split *splits; /* the numeric ones, sorted */
    uint32_t split_count;
    lbuild_place *places;  /* per node */
    large_column *columns; /* numeric ones, of bytes or words: with room for twice the splits */
    int64_t *orders;       /* their thresholds, one column after the other */
    uint32_t order_count;
    uint32_t *book;
    uint32_t ranks_max;
    bool wide; /* a tree has more leaves than entries can tell */
    large_code codes[LARGE_CODE_COLUMNS];
    lbuild_shape shape;
    large_map map;
    unsigned char *bytes;
    lanes_column byte_columns[LARGE_BYTE_COLUMNS];
} lbuild_ctx;

/* ---- numeric columns ---- */

static int lbuild_compare(const void *a, const void *b)
{
    const lbuild_split *p = a;
    const lbuild_split *q = b;
    if (p->feature != q->feature) return p->feature < q->feature ? -1 : 1;
    if (p->order != q->order) return p->order < q->order ? -1 : 1;
    return p->node < q->node ? -1 : p->node > q->node;
}

static void lbuild_add_column(lbuild_ctx *c, uint16_t feature, uint32_t first, bool zero, bool same, uint32_t missing)
{
    bool words = (c->g.flags & LARGE_WORDS) != 0;
    uint32_t ranks = c->order_count - first;
    large_column *column = &c->columns[c->g.numeric_columns++];
    *column = (large_column){.key_first = first,
                             .rank_count = ranks,
                             .feature = feature,
                             .missing_bin = (uint16_t)missing,
                             .flags = (uint8_t)((zero ? LANES_ZERO : 0) | (same ? LANES_SAME : 0))};
    if (zero) c->h.flags |= MODEL_SPECIAL;
    if (words && !same) c->g.key_count += ranks; /* those of bytes are counted when all are known */
}

/*
 * The columns of splits from..to: one feature, ranks in places already, only those with (or without) NODE_ZERO. One
 * column does if some bin of the missing goes left where it should and right elsewhere; else there is one for each
 * side.
 */
static void lbuild_chunk_columns(lbuild_ctx *c, uint32_t from, uint32_t to, uint32_t order_first, bool zero, bool *same)
{
    uint32_t top = (c->g.flags & LARGE_WORDS) != 0 ? 65535 : 255;
    uint32_t right_end = 0; /* ranks of splits that send the missing right are below this */
    uint32_t left_min = UINT32_MAX;
    uint32_t found = 0;
    for (uint32_t s = from; s < to; s++) {
        if (((c->splits[s].flags & NODE_ZERO) != 0) != zero) continue;
        uint32_t rank = c->places[c->splits[s].node].rank;
        found++;
        if ((c->splits[s].flags & NODE_NAN_LEFT) != 0) {
            if (rank < left_min) left_min = rank;
        } else if (rank + 1 > right_end) {
            right_end = rank + 1;
        }
    }
    if (found == 0) return;
    uint16_t feature = c->splits[from].feature;
    bool two = right_end > left_min; /* no bin is above the one and not above the other */
    uint32_t first = c->g.numeric_columns;
    lbuild_add_column(c, feature, order_first, zero, *same, two ? 0 : left_min == UINT32_MAX ? top : right_end);
    *same = true;
    if (two) lbuild_add_column(c, feature, order_first, zero, true, top);
    for (uint32_t s = from; s < to; s++) {
        if (((c->splits[s].flags & NODE_ZERO) != 0) != zero) continue;
        bool second = two && (c->splits[s].flags & NODE_NAN_LEFT) == 0;
        c->places[c->splits[s].node].column = (uint16_t)(first + second);
    }
}

/* The next run of splits that shares thresholds; gives where it ends. */
static uint32_t lbuild_chunk(lbuild_ctx *c, uint32_t from)
{
    uint32_t first = c->order_count;
    uint32_t s = from;
    uint16_t feature = c->splits[s].feature;
    for (; s < c->split_count && c->splits[s].feature == feature; s++) {
        bool fresh = c->order_count == first || c->orders[c->order_count - 1] != c->splits[s].order;
        if (fresh && c->order_count - first == c->ranks_max) break;
        if (fresh) c->orders[c->order_count++] = c->splits[s].order;
        c->places[c->splits[s].node].rank = (uint16_t)(c->order_count - first - 1);
    }
    bool same = false;
    lbuild_chunk_columns(c, from, s, first, false, &same);
    lbuild_chunk_columns(c, from, s, first, true, &same);
    return s;
}

/* Every numeric split gets its column and rank; false if there are too many columns. */
static bool lbuild_numeric(lbuild_ctx *c, bool words)
{
    c->g.flags = (c->g.flags & ~(uint32_t)LARGE_WORDS) | (words ? LARGE_WORDS : 0);
    c->g.numeric_columns = c->g.key_count = c->order_count = 0;
    c->ranks_max = words ? LARGE_RANKS_MAX : LANES_RANKS_MAX;
    c->h.flags &= (uint8_t)~MODEL_SPECIAL;
    for (uint32_t from = 0; from < c->split_count;) {
        if (c->g.numeric_columns > LARGE_TILE_BYTES / 2) return false;
        from = lbuild_chunk(c, from);
    }
    return large_fits(&c->g);
}

/* Byte columns as lanes have them; the number of their blocks of keys. */
static uint32_t lbuild_byte_columns(lbuild_ctx *c)
{
    for (uint32_t j = 0; j < c->g.numeric_columns; j++) {
        const large_column *from = &c->columns[j];
        c->byte_columns[j] = (lanes_column){.low_first = from->key_first,
                                            .feature = from->feature,
                                            .rank_count = (uint8_t)from->rank_count,
                                            .flags = from->flags,
                                            .missing_bin = (int8_t)((int)from->missing_bin - 128)};
    }
    return myr_lanes_place_keys(c->byte_columns, c->g.numeric_columns);
}

/* The distinct lower halves of thresholds; a book of them if a byte can tell them apart. */
static int lbuild_compare_lows(const void *a, const void *b)
{
    uint32_t p = *(const uint32_t *)a;
    uint32_t q = *(const uint32_t *)b;
    return p < q ? -1 : p > q;
}

static void lbuild_book(lbuild_ctx *c)
{
    if (c->h.calc == MYR_CALC_F32 || (c->g.flags & LARGE_WORDS) != 0) return;
    c->g.low_count = c->order_count;
    for (uint32_t k = 0; k < c->order_count; k++) {
        c->book[k] = (uint32_t)c->orders[k];
    }
    qsort(c->book, c->order_count, sizeof *c->book, lbuild_compare_lows);
    uint32_t count = 0;
    for (uint32_t k = 0; k < c->order_count; k++) {
        if (count == 0 || c->book[count - 1] != c->book[k]) c->book[count++] = c->book[k];
    }
    c->g.book_count = count <= LANES_BOOK_MAX ? count : 0;
}

/* ---- sets ---- */

static uint32_t lbuild_top(const uint32_t *words, uint32_t count)
{
    while (count > 0 && words[count - 1] == 0) {
        count--;
    }
    return count == 0 ? 0 : count * 32 - (uint32_t)__builtin_clz(words[count - 1]);
}

/* The code column of a feature; false if there are too many. */
static bool lbuild_code(lbuild_ctx *c, const model_node *n)
{
    uint32_t codes = lbuild_top(c->words + n->u.set.first, n->u.set.count) + 2;
    uint32_t k = 0;
    while (k < c->g.code_columns && c->codes[k].feature < n->column) {
        k++;
    }
    if (k == c->g.code_columns || c->codes[k].feature != n->column) {
        if (c->g.code_columns == LARGE_CODE_COLUMNS) return false;
        memmove(&c->codes[k + 1], &c->codes[k], (c->g.code_columns - k) * sizeof *c->codes);
        c->codes[k] = (large_code){.mark = LARGE_MARK, .feature = n->column};
        c->g.code_columns++;
    }
    if (codes > c->codes[k].code_count) c->codes[k].code_count = codes;
    return codes <= LARGE_CODES_MAX;
}

static uint32_t lbuild_code_of(const lbuild_ctx *c, uint16_t feature)
{
    uint32_t k = 0;
    while (c->codes[k].feature != feature) {
        k++;
    }
    return k;
}

/* Room for `set_count` sets in a code column: in one line. Gives their byte. */
static uint32_t lbuild_claim(uint32_t *used, uint32_t set_count)
{
    uint32_t bytes = (set_count + 7) / 8;
    uint32_t at = *used;
    if (at % LARGE_RUN_BYTES + bytes > LARGE_RUN_BYTES) at = (at / LARGE_RUN_BYTES + 1) * LARGE_RUN_BYTES;
    *used = at + bytes;
    return at;
}

/* ---- trees ---- */

static void lbuild_shape_of(lbuild_ctx *c, uint32_t t)
{
    lbuild_shape *s = &c->shape;
    uint32_t end = t + 1 < c->h.tree_count ? c->trees[t + 1].first : c->node_count;
    s->nodes = c->nodes + c->trees[t].first;
    s->slot_count = end - c->trees[t].first;
    s->split_count = s->slot_count / 2 - 1;
    s->depth = 0;
    for (uint32_t slot = s->slot_count - 1; slot > 0; slot--) {
        uint32_t child = s->nodes[slot].child;
        s->leaves[slot] = child == 0 ? 1 : s->leaves[child] + s->leaves[child + 1];
    }
    s->first[1] = 0;
    s->depths[1] = 0;
    for (uint32_t slot = 1; slot < s->slot_count; slot++) {
        uint32_t child = s->nodes[slot].child;
        if (s->depths[slot] > s->depth) s->depth = s->depths[slot];
        if (child == 0) continue;
        s->first[child] = s->first[slot];
        s->first[child + 1] = s->first[slot] + s->leaves[child];
        s->depths[child] = s->depths[child + 1] = s->depths[slot] + 1;
        s->slots[s->first[slot] + s->leaves[child] - 1] = slot;
    }
    s->root = s->split_count > 0 ? s->first[1] + s->leaves[s->nodes[1].child] - 1 : 0;
}

/* Split number of a slot that is a split. */
static uint32_t lbuild_number(const lbuild_shape *s, uint32_t slot)
{
    return s->first[slot] + s->leaves[s->nodes[slot].child] - 1;
}

/* The runs of one tree, code column by code column, split by split; with `runs` they and places are written. */
static void lbuild_runs(lbuild_ctx *c, uint32_t used[], large_run *runs, uint32_t *run_count, uint32_t *own_count)
{
    const lbuild_shape *s = &c->shape;
    uint32_t counts[LARGE_CODE_COLUMNS] = {0};
    for (uint32_t i = 0; i < s->split_count; i++) {
        const model_node *n = &s->nodes[s->slots[i]];
        if ((n->flags & NODE_CATEGORY) != 0) counts[lbuild_code_of(c, n->column)]++;
    }
    *run_count = *own_count = 0;
    for (uint32_t j = 0; j < c->g.code_columns; j++) {
        uint32_t own_first = *own_count;
        for (uint32_t left = counts[j]; left > 0;) {
            uint32_t sets = left < LARGE_RUN_BYTES * 8 ? left : LARGE_RUN_BYTES * 8;
            uint32_t at = lbuild_claim(&used[j], sets);
            if (runs != NULL) runs[*run_count] = (large_run){at, (uint16_t)j, (uint16_t)sets};
            ++*run_count;
            *own_count += (sets + 7) / 8 * 8;
            left -= sets;
        }
        if (runs == NULL || counts[j] == 0) continue;
        uint32_t own = own_first;
        for (uint32_t i = 0; i < s->split_count; i++) {
            const model_node *n = &s->nodes[s->slots[i]];
            if ((n->flags & NODE_CATEGORY) == 0 || n->column != c->codes[j].feature) continue;
            c->places[n - c->nodes] = (lbuild_place){(uint16_t)own++, LARGE_SET_RANK};
        }
    }
}

/* Counts over all trees: runs, own columns, splits, the widest tree. False if a tree is too large. */
static bool lbuild_count_trees(lbuild_ctx *c)
{
    uint32_t used[LARGE_CODE_COLUMNS] = {0};
    for (uint32_t t = 0; t < c->h.tree_count; t++) {
        uint32_t runs;
        uint32_t own;
        lbuild_shape_of(c, t);
        if (c->shape.depth > UINT16_MAX) return false;
        lbuild_runs(c, used, NULL, &runs, &own);
        c->g.run_count += runs;
        c->g.split_count += c->shape.split_count;
        if (own > c->g.own_columns) c->g.own_columns = own;
        if (c->shape.split_count >= LANES_LEAVES_MAX) c->wide = true;
    }
    for (uint32_t j = 0; j < c->g.code_columns; j++) {
        uint32_t line = large_line_of(used[j]);
        c->codes[j].line_bytes = line;
        c->codes[j].run_bytes = (used[j] + line - 1) / line * line;
        c->codes[j].bits_at = c->g.bit_bytes;
        c->g.bit_bytes += (uint64_t)c->codes[j].code_count * c->codes[j].run_bytes;
    }
    c->h.item_count = c->g.split_count + c->h.tree_count;
    return true;
}

/* Entries per byte of leaves of the shape; gives their sum. */
static uint32_t lbuild_entry_counts(const lbuild_shape *s, uint8_t counts[LANES_BYTES_MAX])
{
    uint32_t sum = 0;
    memset(counts, 0, LANES_BYTES_MAX);
    for (uint32_t i = 0; i < s->split_count; i++) {
        for (uint32_t b = s->first[s->slots[i]] / 8; b <= i / 8; b++) {
            counts[b]++;
            sum++;
        }
    }
    return sum;
}

static void lbuild_count_entries(lbuild_ctx *c)
{
    for (uint32_t t = 0; t < c->h.tree_count; t++) {
        uint8_t counts[LANES_BYTES_MAX];
        lbuild_shape_of(c, t);
        c->g.entry_bytes +=
            large_count_bytes(c->shape.split_count) + sizeof(large_entry) * lbuild_entry_counts(&c->shape, counts);
    }
}

/* ---- bytes ---- */

static void lbuild_write_bits(lbuild_ctx *c, const large_code *code, uint32_t at, uint32_t bit, const model_node *n)
{
    unsigned char *lines = c->bytes + c->map.bits_at + code->bits_at +
                           (uint64_t)(at / LARGE_RUN_BYTES) * code->code_count * code->line_bytes +
                           at % LARGE_RUN_BYTES + bit / 8;
    const uint32_t *words = c->words + n->u.set.first;
    unsigned char mask = (unsigned char)(1u << bit % 8);
    if ((n->flags & NODE_NAN_LEFT) != 0) lines[0] |= mask;
    for (uint32_t k = 0; k < n->u.set.count * 32; k++) {
        if ((words[k / 32] >> (k % 32) & 1u) != 0) lines[(size_t)(k + 1) * code->line_bytes] |= mask;
    }
}

/* The bits of all sets of the shape, in the order of its runs. */
static void lbuild_write_sets(lbuild_ctx *c, const large_run *runs, uint32_t run_count)
{
    const lbuild_shape *s = &c->shape;
    uint32_t i = 0;
    for (uint32_t r = 0; r < run_count; r++) {
        const large_code *code = &c->codes[runs[r].code_column];
        if (r == 0 || runs[r].code_column != runs[r - 1].code_column) i = 0;
        for (uint32_t bit = 0; bit < runs[r].set_count; i++) {
            const model_node *n = &s->nodes[s->slots[i]];
            if ((n->flags & NODE_CATEGORY) == 0 || n->column != code->feature) continue;
            lbuild_write_bits(c, code, runs[r].at, bit++, n);
        }
    }
}

static void lbuild_write_nodes(lbuild_ctx *c, uint32_t split_first)
{
    const lbuild_shape *s = &c->shape;
    large_node *nodes = (large_node *)(c->bytes + c->map.nodes_at) + split_first;
    for (uint32_t i = 0; i < s->split_count; i++) {
        const model_node *n = &s->nodes[s->slots[i]];
        lbuild_place *place = &c->places[n - c->nodes];
        if ((n->flags & NODE_CATEGORY) != 0) place->column = (uint16_t)(place->column + c->g.numeric_columns);
        nodes[i] = (large_node){.column = place->column, .rank = place->rank};
        for (uint32_t k = 0; k < 2; k++) {
            bool leaf = s->nodes[n->child + k].child == 0;
            nodes[i].children[k] = leaf ? 0 : (int16_t)((int)lbuild_number(s, n->child + k) - (int)i);
        }
    }
}

static uint64_t lbuild_write_entries(lbuild_ctx *c, uint64_t entries_at)
{
    const lbuild_shape *s = &c->shape;
    uint8_t counts[LANES_BYTES_MAX];
    unsigned char *next[LANES_BYTES_MAX];
    unsigned char *at = c->bytes + c->map.entries_at + entries_at;
    lbuild_entry_counts(s, counts);
    memcpy(at, counts, s->split_count / 8 + 1);
    at += large_count_bytes(s->split_count);
    for (uint32_t b = 0; b <= s->split_count / 8; b++) {
        next[b] = at;
        at += sizeof(large_entry) * counts[b];
    }
    for (uint32_t i = 0; i < s->split_count; i++) {
        const model_node *n = &s->nodes[s->slots[i]];
        const lbuild_place *place = &c->places[n - c->nodes];
        uint32_t first = s->first[s->slots[i]];
        int8_t rank = (n->flags & NODE_CATEGORY) != 0 ? LARGE_SET_ENTRY : (int8_t)((int)place->rank - 128);
        for (uint32_t b = first / 8; b <= i / 8; b++) {
            uint32_t low = first > b * 8 ? first - b * 8 : 0;
            uint32_t high = i + 1 < b * 8 + 8 ? i + 1 - b * 8 : 8;
            large_entry entry = {place->column, rank, (uint8_t)((1u << high) - (1u << low))};
            memcpy(next[b], &entry, sizeof entry);
            next[b] += sizeof entry;
        }
    }
    return (uint64_t)(at - c->bytes) - c->map.entries_at;
}

static void lbuild_write_leaves(lbuild_ctx *c, uint32_t leaf_first)
{
    const lbuild_shape *s = &c->shape;
    for (uint32_t slot = 1; slot < s->slot_count; slot++) {
        const model_node *n = &s->nodes[slot];
        float narrow = (float)n->u.value;
        size_t leaf = (size_t)leaf_first + s->first[slot];
        if (n->child != 0) continue;
        if (c->h.calc == MYR_CALC_F32) {
            memcpy(c->bytes + c->map.leaves_at + leaf * sizeof narrow, &narrow, sizeof narrow);
        } else {
            memcpy(c->bytes + c->map.leaves_at + leaf * sizeof(double), &n->u.value, sizeof(double));
        }
    }
}

static void lbuild_write_trees(lbuild_ctx *c)
{
    uint32_t used[LARGE_CODE_COLUMNS] = {0};
    large_head at = {.mark = (uint16_t)LARGE_MARK};
    for (uint32_t t = 0; t < c->h.tree_count; t++) {
        large_run *runs = (large_run *)(c->bytes + c->map.runs_at) + at.run_first;
        uint32_t own;
        lbuild_shape_of(c, t);
        lbuild_runs(c, used, runs, &at.run_count, &own);
        lbuild_write_sets(c, runs, at.run_count);
        at.split_count = (uint16_t)c->shape.split_count;
        at.root = (uint16_t)c->shape.root;
        at.depth = (uint16_t)c->shape.depth;
        large_tree *tree = (large_tree *)(c->bytes + c->map.trees_at) + t;
        tree->head = at;
        lbuild_write_nodes(c, at.split_first);
        if (at.split_count > 0)
            large_top_of((const large_node *)(c->bytes + c->map.nodes_at) + at.split_first, at.root, tree);
        if ((c->g.flags & LARGE_WORDS) == 0) at.entries_at = lbuild_write_entries(c, at.entries_at);
        lbuild_write_leaves(c, at.leaf_first);
        at.run_first += at.run_count;
        at.split_first += c->shape.split_count;
        at.leaf_first += c->shape.split_count + 1;
        if (c->h.margin_count > 1) ((uint16_t *)(c->bytes + c->map.outputs_at))[t] = (uint16_t)c->trees[t].output;
    }
}

static void lbuild_write_keys(lbuild_ctx *c)
{
    if ((c->g.flags & LARGE_WORDS) != 0) {
        memcpy(c->bytes + c->map.columns_at, c->columns, c->g.numeric_columns * sizeof *c->columns);
        for (uint32_t k = 0; k < c->order_count; k++) {
            if (c->h.calc == MYR_CALC_F32) {
                ((int32_t *)(c->bytes + c->map.keys_at))[k] = (int32_t)(c->orders[k] >> 32);
            } else {
                ((int64_t *)(c->bytes + c->map.keys_at))[k] = c->orders[k];
            }
        }
        return;
    }
    memcpy(c->bytes + c->map.columns_at, c->byte_columns, c->g.numeric_columns * sizeof *c->byte_columns);
    myr_lanes_write_keys(c->byte_columns, c->g.numeric_columns, c->orders, (int32_t *)(c->bytes + c->map.keys_at),
                         c->g.key_count);
}

static void lbuild_write_lows(lbuild_ctx *c)
{
    for (uint32_t k = 0; k < c->g.low_count; k++) {
        uint32_t low = (uint32_t)c->orders[k];
        if (c->g.book_count == 0) {
            ((uint32_t *)(c->bytes + c->map.lows_at))[k] = low;
            continue;
        }
        const uint32_t *found = bsearch(&low, c->book, c->g.book_count, sizeof low, lbuild_compare_lows);
        MYR_ASSERT(found != NULL);
        c->bytes[c->map.lows_at + k] = (unsigned char)(found - c->book);
    }
    if (c->g.book_count > 0) memcpy(c->bytes + c->map.book_at, c->book, c->g.book_count * sizeof *c->book);
}

static void lbuild_write(lbuild_ctx *c)
{
    memset(c->bytes, 0, c->map.size);
    memcpy(c->bytes, &c->h, sizeof c->h);
    memcpy(c->bytes + sizeof c->h, &c->g, sizeof c->g);
    memcpy(c->bytes + c->map.codes_at, c->codes, c->g.code_columns * sizeof *c->codes);
    memcpy(c->bytes + c->map.bases_at, c->source + sizeof c->h, c->h.margin_count * sizeof(double));
    lbuild_write_keys(c);
    lbuild_write_lows(c);
    lbuild_write_trees(c);
}

/* ---- the whole ---- */

static void lbuild_open(lbuild_ctx *c, const unsigned char *nodes_model)
{
    memcpy(&c->h, nodes_model, sizeof c->h);
    model_map map = model_map_of(&c->h);
    c->source = nodes_model;
    c->trees = (const model_tree *)(nodes_model + map.trees_at);
    c->nodes = (const model_node *)(nodes_model + map.items_at);
    c->words = (const uint32_t *)(nodes_model + map.words_at);
    c->node_count = c->h.item_count;
    c->h.flags = (uint8_t)((c->h.flags & ~MODEL_SPECIAL) | MODEL_LARGE);
    c->h.word_count = 0;
    c->g.mark = LARGE_MARK;
}

/* Splits and code columns; false if there are too many of the latter. */
static bool lbuild_splits(lbuild_ctx *c)
{
    for (uint32_t k = 0; k < c->node_count; k++) {
        const model_node *n = &c->nodes[k];
        if (n->child == 0) continue;
        if ((n->flags & NODE_CATEGORY) != 0) {
            if (!lbuild_code(c, n)) return false;
        } else {
            c->splits[c->split_count++] = (lbuild_split){.order = lanes_order(n->u.value, c->h.calc == MYR_CALC_F32),
                                                         .node = k,
                                                         .feature = n->column,
                                                         .flags = (uint8_t)n->flags};
        }
    }
    qsort(c->splits, c->split_count, sizeof *c->splits, lbuild_compare);
    return true;
}

/* Everything but the bytes; false if the model does not fit. */
static bool lbuild_plan(lbuild_ctx *c)
{
    if (!lbuild_splits(c) || !lbuild_count_trees(c)) return false;
    bool bytes = !c->wide && lbuild_numeric(c, false);
    if (!bytes && !lbuild_numeric(c, true)) return false;
    if (bytes) c->g.key_count = lbuild_byte_columns(c);
    if (bytes) lbuild_count_entries(c);
    lbuild_book(c);
    if (!large_map_of(&c->h, &c->g, &c->map)) return false;
    c->h.size_bytes = c->map.size;
    return true;
}

static uint32_t lbuild_slots_max(const lbuild_ctx *c)
{
    uint32_t most = 2;
    for (uint32_t t = 0; t < c->h.tree_count; t++) {
        uint32_t end = t + 1 < c->h.tree_count ? c->trees[t + 1].first : c->node_count;
        if (end - c->trees[t].first > most) most = end - c->trees[t].first;
    }
    return most;
}

myr_rc myr_large_build(const unsigned char *nodes_model, bool always, unsigned char **out_bytes, size_t *out_size,
                       myr_err *err)
{
    MYR_AUTO(myr_mem) ctx = myr_calloc(1, sizeof(lbuild_ctx));
    if (ctx == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to lay out a large model");
    lbuild_ctx *c = ctx;
    lbuild_open(c, nodes_model);
    if (c->h.kind != MYR_MODEL_TREES || (c->h.flags & MODEL_LINES) != 0) return MYR_OK;
    if (c->h.tree_count < (always ? 1 : LBUILD_TREES_MIN)) return MYR_OK;
    uint32_t slots = lbuild_slots_max(c);
    if (slots > 2 * LARGE_LEAVES_MAX) return MYR_OK;
    MYR_AUTO(myr_mem) splits = myr_calloc(c->node_count, sizeof *c->splits);
    MYR_AUTO(myr_mem) places = myr_calloc(c->node_count, sizeof *c->places);
    MYR_AUTO(myr_mem) columns = myr_calloc(c->node_count, sizeof *c->columns);
    MYR_AUTO(myr_mem) orders = myr_calloc(c->node_count, sizeof *c->orders);
    MYR_AUTO(myr_mem) book = myr_calloc(c->node_count, sizeof *c->book);
    MYR_AUTO(myr_mem) shape = myr_calloc(slots, 4 * sizeof(uint32_t));
    if (splits == NULL || places == NULL || columns == NULL || orders == NULL || book == NULL || shape == NULL) {
        MYR_FAIL(err, NO_MEMORY, "no memory to lay out a large model of %u trees", c->h.tree_count);
    }
    c->splits = splits;
    c->places = places;
    c->columns = columns;
    c->orders = orders;
    c->book = book;
    c->shape.leaves = shape;
    c->shape.first = c->shape.leaves + slots;
    c->shape.depths = c->shape.first + slots;
    c->shape.slots = c->shape.depths + slots;
    if (!lbuild_plan(c)) return MYR_OK;
    size_t nodes_bytes = (size_t)((const model_header *)(const void *)nodes_model)->size_bytes;
    if (c->map.size > (always ? 1000 : 2) * nodes_bytes) return MYR_OK; /* sets too unlike in length */
    MYR_AUTO(myr_mem) bytes = myr_alloc_aligned(MYR_MODEL_ALIGN, c->map.size);
    if (bytes == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a model of %llu bytes", (unsigned long long)c->map.size);
    c->bytes = bytes;
    lbuild_write(c);
    *out_bytes = bytes;
    *out_size = c->map.size;
    bytes = NULL;
    return MYR_OK;
}
