/*
 * An untrusted large model is checked: every record, column, run, node, entry, bit and leaf has the one value that
 * large_build.c would give it, as far as kernels can tell. Entries are what the nodes say, so blocks and walks agree.
 */
#include <math.h>
#include <string.h>

#include "model/lanes_check.h"
#include "model/large.h"

#define GCHECK_RUNS_MAX (LARGE_CODE_COLUMNS + LARGE_LEAVES_MAX / (LARGE_RUN_BYTES * 8)) /* of a tree */

/* A subtree that waits to be looked at: splits low to high, whose root is `node`. */
typedef struct gcheck_part {
    uint16_t node, low, high, depth;
} gcheck_part;

typedef struct gcheck_ctx {
    const model_header *h;
    const unsigned char *bytes;
    large_header g;
    large_map map;
    const large_code *codes;
    bool words;
    uint32_t used[LARGE_CODE_COLUMNS];                       /* bytes of runs so far */
    unsigned char line[LARGE_CODE_COLUMNS][LARGE_RUN_BYTES]; /* bits that runs have in the line that fills */
    uint32_t own_most;
    gcheck_part *parts; /* room for the largest tree's splits and one */
    myr_err *err;
} gcheck_ctx;

/* The tree at hand. */
typedef struct gcheck_tree {
    uint32_t t;
    large_head at;
    uint32_t own[GCHECK_RUNS_MAX + 1]; /* first own column of each run */
    uint16_t sets[GCHECK_RUNS_MAX];    /* of each run that nodes have used */
    uint16_t lows[LANES_LEAVES_MAX];   /* first leaf below each split */
} gcheck_tree;

static bool gcheck_is_zero(const unsigned char *bytes, uint64_t count)
{
    unsigned char any = 0;
    for (uint64_t k = 0; k < count; k++) {
        any |= bytes[k];
    }
    return any == 0;
}

static myr_rc gcheck_zeros(const gcheck_ctx *c, uint64_t from, uint64_t to)
{
    MYR_ASSERT(from <= to && to <= c->map.size);
    if (gcheck_is_zero(c->bytes + from, to - from)) return MYR_OK;
    MYR_FAIL(c->err, BAD_FORMAT, "model: a padding byte of %llu to %llu is not 0", (unsigned long long)from,
             (unsigned long long)to);
}

static myr_rc gcheck_gaps(const gcheck_ctx *c)
{
    const large_map *m = &c->map;
    const uint64_t gaps[][2] = {
        {m->trees_end, m->codes_at},   {m->codes_end, m->columns_at},  {m->columns_end, m->bases_at},
        {m->bases_end, m->outputs_at}, {m->outputs_end, m->runs_at},   {m->runs_end, m->keys_at},
        {m->keys_end, m->lows_at},     {m->lows_end, m->book_at},      {m->book_end, m->nodes_at},
        {m->nodes_end, m->entries_at}, {m->entries_end, m->leaves_at}, {m->leaves_end, m->bits_at},
        {m->bits_end, m->size}};
    for (size_t k = 0; k < MYR_COUNT_OF(gaps); k++) {
        MYR_TRY(gcheck_zeros(c, gaps[k][0], gaps[k][1]));
    }
    return MYR_OK;
}

/* ---- the large header ---- */

static bool gcheck_counts(const model_header *h, const large_header *g)
{
    bool words = (g->flags & LARGE_WORDS) != 0;
    if (g->mark != LARGE_MARK || (g->flags & ~(uint32_t)LARGE_WORDS) != 0) return false;
    if (g->pad[0] != 0 || g->pad[1] != 0 || g->own_columns % 8 != 0) return false;
    if (words && (g->entry_bytes | g->low_count | g->book_count) != 0) return false;
    if (!large_fits(g)) return false;
    return h->tree_count > 0 && h->word_count == 0 && h->item_count == (uint64_t)g->split_count + h->tree_count;
}

uint64_t myr_large_size(const model_header *h, const unsigned char *bytes, size_t size_bytes)
{
    large_header g;
    large_map m;
    if (size_bytes < sizeof *h + sizeof g) return 0;
    memcpy(&g, bytes + sizeof *h, sizeof g);
    return gcheck_counts(h, &g) && large_map_of(h, &g, &m) ? m.size : 0;
}

/* ---- columns ---- */

static myr_rc gcheck_codes(const gcheck_ctx *c)
{
    for (uint32_t j = 0; j < c->g.code_columns; j++) {
        const large_code *code = &c->codes[j];
        if (code->mark != LARGE_MARK || code->feature >= c->h->column_count ||
            !gcheck_is_zero(code->pad, sizeof code->pad) || (j > 0 && code->feature <= code[-1].feature)) {
            MYR_FAIL(c->err, BAD_FORMAT, "model: code column %u: mark 0x%x, column %u of %u, or padding", j, code->mark,
                     code->feature, c->h->column_count);
        }
        uint64_t from = j == 0 ? 0 : code[-1].bits_at + (uint64_t)code[-1].code_count * code[-1].run_bytes;
        uint64_t bytes = (uint64_t)code->code_count * code->run_bytes;
        uint32_t line = code->line_bytes;
        if (code->code_count < 2 || code->code_count > LARGE_CODES_MAX || line == 0 || line != large_line_of(line) ||
            code->run_bytes == 0 || code->run_bytes % line != 0 || (code->run_bytes > line && line < LARGE_RUN_BYTES) ||
            code->bits_at != from || from > c->g.bit_bytes || bytes > c->g.bit_bytes - from ||
            (j + 1 == c->g.code_columns && bytes != c->g.bit_bytes - from)) {
            MYR_FAIL(c->err, BAD_FORMAT, "model: code column %u: %u codes of %u bytes at %llu of %llu", j,
                     code->code_count, code->run_bytes, (unsigned long long)code->bits_at,
                     (unsigned long long)c->g.bit_bytes);
        }
    }
    if (c->g.code_columns == 0 && (c->g.bit_bytes | c->g.own_columns | c->g.run_count) != 0)
        MYR_FAIL(c->err, BAD_FORMAT, "model: %u runs of sets without a code column", c->g.run_count);
    return MYR_OK;
}

static bool gcheck_sorted(const gcheck_ctx *c, const large_column *column)
{
    const int32_t *narrow = (const int32_t *)(c->bytes + c->map.keys_at) + column->key_first;
    const int64_t *wide = (const int64_t *)(c->bytes + c->map.keys_at) + column->key_first;
    bool sorted = true;
    for (uint32_t r = 1; r < column->rank_count; r++) {
        sorted &= c->h->calc == MYR_CALC_F32 ? narrow[r - 1] < narrow[r] : wide[r - 1] < wide[r];
    }
    return sorted;
}

static myr_rc gcheck_word_columns(const gcheck_ctx *c)
{
    const large_column *columns = (const large_column *)(c->bytes + c->map.columns_at);
    uint32_t keys = 0;
    unsigned flags = 0;
    for (uint32_t j = 0; j < c->g.numeric_columns; j++) {
        const large_column *column = &columns[j];
        flags |= column->flags;
        if (column->feature >= c->h->column_count || (column->flags & ~(LANES_ZERO | LANES_SAME)) != 0 ||
            !gcheck_is_zero(column->pad, sizeof column->pad)) {
            MYR_FAIL(c->err, BAD_FORMAT, "model: word column %u: column %u of %u, flags 0x%x, or padding", j,
                     column->feature, c->h->column_count, column->flags);
        }
        if ((column->flags & LANES_SAME) != 0) {
            if (j == 0 || column[-1].feature != column->feature || column[-1].rank_count != column->rank_count ||
                column[-1].key_first != column->key_first) {
                MYR_FAIL(c->err, BAD_FORMAT, "model: word column %u is not like the one before", j);
            }
            continue;
        }
        if (column->key_first != keys || column->rank_count == 0 || column->rank_count > LARGE_RANKS_MAX ||
            column->rank_count > c->g.key_count - keys || !gcheck_sorted(c, column)) {
            MYR_FAIL(c->err, BAD_FORMAT, "model: word column %u: %u thresholds from %u of %u, or out of order", j,
                     column->rank_count, column->key_first, c->g.key_count);
        }
        keys += column->rank_count;
    }
    if (keys != c->g.key_count || ((flags & LANES_ZERO) != 0) != ((c->h->flags & MODEL_SPECIAL) != 0)) {
        MYR_FAIL(c->err, BAD_FORMAT, "model: %u thresholds, %u used; flags 0x%x", c->g.key_count, keys, c->h->flags);
    }
    return MYR_OK;
}

static myr_rc gcheck_columns(const gcheck_ctx *c)
{
    const unsigned char *bytes = c->bytes;
    if (c->words) return gcheck_word_columns(c);
    lanes_numbers numbers = {.column_count = c->h->column_count,
                             .numeric_columns = c->g.numeric_columns,
                             .key_blocks = c->g.key_count,
                             .low_count = c->g.low_count,
                             .book_count = c->g.book_count,
                             .single = c->h->calc == MYR_CALC_F32,
                             .special = (c->h->flags & MODEL_SPECIAL) != 0,
                             .slabs = c->h->version >= LANES_SLABS_SINCE,
                             .columns = (const lanes_column *)(bytes + c->map.columns_at),
                             .keys = (const int32_t *)(bytes + c->map.keys_at),
                             .low_codes = bytes + c->map.lows_at,
                             .lows =
                                 (const uint32_t *)(bytes + (c->g.book_count > 0 ? c->map.book_at : c->map.lows_at))};
    return myr_lanes_check_columns(&numbers, c->err);
}

/* Thresholds of a numeric column. */
static uint32_t gcheck_ranks(const gcheck_ctx *c, uint32_t column)
{
    if (c->words) {
        return ((const large_column *)(c->bytes + c->map.columns_at))[column].rank_count;
    }
    return ((const lanes_column *)(c->bytes + c->map.columns_at))[column].rank_count;
}

/* ---- sets ---- */

/* The line that fills is full: what no run has is zero in every code's bytes, and all is for what is no category. */
static bool gcheck_line(gcheck_ctx *c, uint32_t j)
{
    const large_code *code = &c->codes[j];
    uint64_t lines = (c->used[j] - 1) / LARGE_RUN_BYTES;
    const unsigned char *at =
        c->bytes + c->map.bits_at + code->bits_at + lines * code->code_count * (uint64_t)code->line_bytes;
    unsigned char stray = 0;
    for (uint32_t k = 0; k < code->code_count; k++, at += code->line_bytes) {
        for (uint32_t b = 0; b < code->line_bytes; b++) {
            stray |= (unsigned char)(at[b] & ~c->line[j][b]);
        }
    }
    memset(c->line[j], 0, sizeof c->line[j]);
    return stray == 0 && gcheck_is_zero(at - code->line_bytes, code->line_bytes);
}

/* A run stands where the runs of its code column before it end. */
static bool gcheck_run(gcheck_ctx *c, const large_run *run)
{
    uint32_t j = run->code_column;
    uint32_t bytes = (run->set_count + 7u) / 8;
    uint32_t at = c->used[j];
    if (at % LARGE_RUN_BYTES + bytes > LARGE_RUN_BYTES) at = (at / LARGE_RUN_BYTES + 1) * LARGE_RUN_BYTES;
    if (run->at != at || at + bytes > c->codes[j].run_bytes) return false;
    if (c->used[j] > 0 && at % LARGE_RUN_BYTES == 0 && !gcheck_line(c, j)) return false;
    for (uint32_t s = 0; s < run->set_count; s++) {
        c->line[j][at % LARGE_RUN_BYTES + s / 8] |= (unsigned char)(1u << s % 8);
    }
    c->used[j] = at + bytes;
    return true;
}

/* A tree's runs: code column by code column, all but the last of each full. */
static myr_rc gcheck_runs(gcheck_ctx *c, gcheck_tree *tree)
{
    const large_run *runs = (const large_run *)(c->bytes + c->map.runs_at) + tree->at.run_first;
    uint32_t own = 0;
    for (uint32_t r = 0; r < tree->at.run_count; r++) {
        const large_run *run = &runs[r];
        bool first = r == 0 || run->code_column > run[-1].code_column;
        bool next = r > 0 && run->code_column == run[-1].code_column && run[-1].set_count == LARGE_RUN_BYTES * 8;
        if (run->code_column >= c->g.code_columns || run->set_count == 0 || run->set_count > LARGE_RUN_BYTES * 8 ||
            !(first || next) || !gcheck_run(c, run)) {
            MYR_FAIL(c->err, BAD_FORMAT, "model: tree %u, run %u: %u sets of code column %u at %u, or stray bits",
                     tree->t, r, run->set_count, run->code_column, run->at);
        }
        tree->own[r] = own;
        tree->sets[r] = 0;
        own += (run->set_count + 7u) / 8 * 8;
        if (own > c->g.own_columns) {
            MYR_FAIL(c->err, BAD_FORMAT, "model: tree %u: %u columns of its own, at most %u", tree->t, own,
                     c->g.own_columns);
        }
    }
    tree->own[tree->at.run_count] = own;
    if (own > c->own_most) c->own_most = own;
    return MYR_OK;
}

/* A node's set is the next one of its run. */
static bool gcheck_set(const gcheck_ctx *c, gcheck_tree *tree, uint32_t own)
{
    const large_run *runs = (const large_run *)(c->bytes + c->map.runs_at) + tree->at.run_first;
    uint32_t low = 0;
    uint32_t high = tree->at.run_count;
    while (high - low > 1) {
        uint32_t middle = (low + high) / 2;
        if (own >= tree->own[middle]) {
            low = middle;
        } else {
            high = middle;
        }
    }
    return high > low && own - tree->own[low] == tree->sets[low] && tree->sets[low]++ < runs[low].set_count;
}

/* ---- nodes and entries ---- */

typedef struct gcheck_node {
    uint32_t column, rank;
    int children[2]; /* splits; the node itself for a leaf */
} gcheck_node;

static gcheck_node gcheck_node_at(const gcheck_ctx *c, const gcheck_tree *tree, uint32_t i)
{
    const large_node *n = (const large_node *)(c->bytes + c->map.nodes_at) + tree->at.split_first + i;
    return (gcheck_node){n->column, n->rank, {(int)i + n->children[0], (int)i + n->children[1]}};
}

/* One subtree's root: it stands among its splits, and so do its children, or they are itself. */
static bool gcheck_part_of(gcheck_ctx *c, gcheck_tree *tree, gcheck_part p, uint32_t *waiting)
{
    if (p.node < p.low || p.node >= p.high) return false;
    gcheck_node n = gcheck_node_at(c, tree, p.node);
    bool left = p.node > p.low;
    bool right = p.node + 1u < p.high;
    if (left ? n.children[0] < p.low || n.children[0] >= p.node : n.children[0] != p.node) return false;
    if (right ? n.children[1] <= p.node || n.children[1] >= p.high : n.children[1] != p.node) return false;
    uint16_t depth = (uint16_t)(p.depth + 1);
    if (left) c->parts[(*waiting)++] = (gcheck_part){(uint16_t)n.children[0], p.low, p.node, depth};
    if (right) {
        c->parts[(*waiting)++] = (gcheck_part){(uint16_t)n.children[1], (uint16_t)(p.node + 1), p.high, depth};
    }
    if (p.node < LANES_LEAVES_MAX) tree->lows[p.node] = p.low;
    return true;
}

static myr_rc gcheck_shape(gcheck_ctx *c, gcheck_tree *tree)
{
    uint32_t waiting = 0;
    uint32_t depth = 0;
    uint32_t seen = 0;
    if (tree->at.split_count > 0) c->parts[waiting++] = (gcheck_part){tree->at.root, 0, tree->at.split_count, 1};
    while (waiting > 0) {
        gcheck_part p = c->parts[--waiting];
        if (p.depth > depth) depth = p.depth;
        seen++;
        if (!gcheck_part_of(c, tree, p, &waiting)) {
            MYR_FAIL(c->err, BAD_FORMAT, "model: tree %u, split %u: it or a child is not among splits %u to %u",
                     tree->t, p.node, p.low, p.high);
        }
    }
    if (seen != tree->at.split_count || depth != tree->at.depth || (seen == 0 && tree->at.root != 0)) {
        MYR_FAIL(c->err, BAD_FORMAT, "model: tree %u: %u of %u splits, depth %u, not %u", tree->t, seen,
                 tree->at.split_count, depth, tree->at.depth);
    }
    return MYR_OK;
}

static myr_rc gcheck_nodes(gcheck_ctx *c, gcheck_tree *tree)
{
    for (uint32_t i = 0; i < tree->at.split_count; i++) {
        gcheck_node n = gcheck_node_at(c, tree, i);
        bool set = n.column >= c->g.numeric_columns;
        bool good = set ? n.rank == LARGE_SET_RANK && gcheck_set(c, tree, n.column - c->g.numeric_columns)
                        : n.rank < gcheck_ranks(c, n.column);
        if (!good)
            MYR_FAIL(c->err, BAD_FORMAT, "model: tree %u, split %u: column %u, rank %u", tree->t, i, n.column, n.rank);
    }
    const large_run *runs = (const large_run *)(c->bytes + c->map.runs_at) + tree->at.run_first;
    for (uint32_t r = 0; r < tree->at.run_count; r++) {
        if (tree->sets[r] != runs[r].set_count) {
            MYR_FAIL(c->err, BAD_FORMAT, "model: tree %u, run %u: %u sets, %u used", tree->t, r, runs[r].set_count,
                     tree->sets[r]);
        }
    }
    return MYR_OK;
}

/* The entries are those of the nodes, in their order; *at moves behind them. */
static myr_rc gcheck_entries(const gcheck_ctx *c, const gcheck_tree *tree, uint64_t *at)
{
    uint32_t count_bytes = large_count_bytes(tree->at.split_count);
    uint32_t last = tree->at.split_count / 8u;
    uint64_t room = c->g.entry_bytes - *at;
    const unsigned char *counts = c->bytes + c->map.entries_at + *at;
    uint64_t next[LANES_BYTES_MAX + 1] = {count_bytes};
    if (count_bytes > room || !gcheck_is_zero(counts + last + 1, count_bytes - last - 1))
        MYR_FAIL(c->err, BAD_FORMAT, "model: tree %u: no room for its entries, or padding", tree->t);
    for (uint32_t b = 0; b <= last; b++) {
        next[b + 1] = next[b] + counts[b] * sizeof(large_entry);
    }
    uint64_t end = next[last + 1];
    bool good = end <= room;
    for (uint32_t i = 0; good && i < tree->at.split_count; i++) {
        gcheck_node n = gcheck_node_at(c, tree, i);
        int rank = n.column >= c->g.numeric_columns ? LARGE_SET_ENTRY : (int)n.rank - 128;
        uint32_t low = tree->lows[i];
        for (uint32_t b = low / 8; good && b <= i / 8; b++) {
            uint32_t from = low > b * 8 ? low - b * 8 : 0;
            uint32_t to = i + 1 < b * 8 + 8 ? i + 1 - b * 8 : 8;
            large_entry want = {(uint16_t)n.column, (int8_t)rank, (uint8_t)((1u << to) - (1u << from))};
            good = next[b] + sizeof want <= end && memcmp(counts + next[b], &want, sizeof want) == 0;
            next[b] += sizeof want;
        }
    }
    uint64_t begin = count_bytes;
    for (uint32_t b = 0; b <= last; b++) { /* each byte's entries end where its count says */
        begin += counts[b] * sizeof(large_entry);
        good = good && next[b] == begin;
    }
    if (!good) MYR_FAIL(c->err, BAD_FORMAT, "model: tree %u: its entries are not those of its splits", tree->t);
    *at += end;
    return MYR_OK;
}

/* ---- trees ---- */

static myr_rc gcheck_top(const gcheck_ctx *c, const gcheck_tree *tree)
{
    const large_tree *at = (const large_tree *)(c->bytes + c->map.trees_at) + tree->t;
    large_tree want = {.head = tree->at};
    if (tree->at.split_count > 0) {
        large_top_of((const large_node *)(c->bytes + c->map.nodes_at) + tree->at.split_first, tree->at.root, &want);
    }
    if (memcmp(at, &want, sizeof want) == 0) return MYR_OK;
    MYR_FAIL(c->err, BAD_FORMAT, "model: tree %u: its top is not that of its splits", tree->t);
}

static myr_rc gcheck_tree_at(gcheck_ctx *c, gcheck_tree *tree, const large_head *want)
{
    const large_head *at = &tree->at;
    if (at->mark != (uint16_t)LARGE_MARK || at->leaf_first != want->leaf_first ||
        at->split_first != want->split_first || at->run_first != want->run_first ||
        at->entries_at != want->entries_at || at->split_count > c->g.split_count - want->split_first ||
        at->run_count > c->g.run_count - want->run_first || at->run_count > GCHECK_RUNS_MAX ||
        at->split_count >= (c->words ? LARGE_LEAVES_MAX : LANES_LEAVES_MAX)) {
        MYR_FAIL(c->err, BAD_FORMAT,
                 "model: tree %u: mark 0x%x, leaves from %u, %u splits from %u of %u, %u runs from %u of %u", tree->t,
                 at->mark, at->leaf_first, at->split_count, at->split_first, c->g.split_count, at->run_count,
                 at->run_first, c->g.run_count);
    }
    MYR_TRY(gcheck_runs(c, tree));
    MYR_TRY(gcheck_shape(c, tree));
    MYR_TRY(gcheck_nodes(c, tree));
    return gcheck_top(c, tree);
}

static myr_rc gcheck_trees(gcheck_ctx *c)
{
    const large_tree *trees = (const large_tree *)(c->bytes + c->map.trees_at);
    large_head want = {0};
    gcheck_tree tree;
    for (uint32_t t = 0; t < c->h->tree_count; t++) {
        tree.t = t;
        tree.at = trees[t].head;
        MYR_TRY(gcheck_tree_at(c, &tree, &want));
        if (!c->words) MYR_TRY(gcheck_entries(c, &tree, &want.entries_at));
        want.leaf_first += tree.at.split_count + 1u;
        want.split_first += tree.at.split_count;
        want.run_first += tree.at.run_count;
    }
    for (uint32_t j = 0; j < c->g.code_columns; j++) {
        uint32_t line = c->codes[j].line_bytes;
        bool full = line == large_line_of(c->used[j]) && (c->used[j] + line - 1) / line * line == c->codes[j].run_bytes;
        if (!full || !gcheck_line(c, j)) MYR_FAIL(c->err, BAD_FORMAT, "model: code column %u: stray bits", j);
    }
    if (want.split_first != c->g.split_count || want.run_first != c->g.run_count ||
        want.entries_at != c->g.entry_bytes || c->own_most != c->g.own_columns) {
        MYR_FAIL(c->err, BAD_FORMAT, "model: %u splits, %u runs, %u own columns or bytes of entries are not all used",
                 c->g.split_count, c->g.run_count, c->g.own_columns);
    }
    return MYR_OK;
}

static myr_rc gcheck_numbers(const gcheck_ctx *c)
{
    const double *bases = (const double *)(c->bytes + c->map.bases_at);
    const uint16_t *outputs = (const uint16_t *)(c->bytes + c->map.outputs_at);
    const float *floats = (const float *)(c->bytes + c->map.leaves_at);
    const double *doubles = (const double *)(c->bytes + c->map.leaves_at);
    bool single = c->h->calc == MYR_CALC_F32;
    bool bad = false;
    for (uint32_t k = 0; k < c->h->margin_count; k++) {
        if (isnan(bases[k]) || (single && !model_is_float(bases[k])))
            MYR_FAIL(c->err, BAD_FORMAT, "model: base margin %u is %.17g", k, bases[k]);
    }
    for (uint32_t t = 0; c->h->margin_count > 1 && t < c->h->tree_count; t++) {
        bad |= outputs[t] >= c->h->margin_count;
    }
    if (bad) MYR_FAIL(c->err, BAD_FORMAT, "model: a tree adds to an output that is none of %u", c->h->margin_count);
    for (uint32_t k = 0; k < c->h->item_count; k++) {
        bad |= single ? isnan(floats[k]) : isnan(doubles[k]);
    }
    if (bad) MYR_FAIL(c->err, BAD_FORMAT, "model: a leaf's value is not a number");
    return MYR_OK;
}

myr_rc myr_large_check(const model_header *h, const unsigned char *bytes, myr_err *err)
{
    gcheck_part few[LANES_LEAVES_MAX + 1];
    MYR_AUTO(myr_mem) many = NULL;
    gcheck_ctx c = {.h = h, .bytes = bytes, .parts = few, .err = err};
    memcpy(&c.g, bytes + sizeof *h, sizeof c.g);
    if (!gcheck_counts(h, &c.g) || !large_map_of(h, &c.g, &c.map))
        MYR_FAIL(err, BAD_FORMAT, "model: counts of a large model that cannot be");
    c.words = (c.g.flags & LARGE_WORDS) != 0;
    c.codes = (const large_code *)(bytes + c.map.codes_at);
    if (c.words) {
        many = myr_calloc(LARGE_LEAVES_MAX + 1, sizeof *c.parts);
        if (many == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to check a model of large trees");
        c.parts = many;
    }
    MYR_TRY(gcheck_gaps(&c));
    MYR_TRY(gcheck_codes(&c));
    MYR_TRY(gcheck_columns(&c));
    MYR_TRY(gcheck_numbers(&c));
    return gcheck_trees(&c);
}
