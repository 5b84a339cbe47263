/*
 * Large models: the form of trees that do not fit side by side in lanes. Many leaves, many columns, sets of categories
 * that no two splits share, ranks beyond a byte. Each tree lies by itself; exact, and without branches on the data.
 *
 * Bins. A numeric column turns a value into the number of its thresholds below, as in lanes: a byte (at most 254
 * thresholds, more columns for more), or, in word models, two bytes. What is missing has a bin of its own per column.
 *
 * Codes and sets. A categorical feature turns a value into a code: 0 is a NaN, 1 + k is category k, the last is any
 * other value. For each code there is a row of bits, one bit per set of the model: does the set hold the code? The bits
 * of a tree's sets stand side by side, so one load answers up to 64 splits of one row, whatever the number of
 * categories. They become the tree's own columns, numbered behind the numeric ones: 0 is in the set and goes left.
 *
 * Nodes. The splits of a tree are numbered from left to right, as its leaves are: split i stands between the leaves i
 * and i + 1. A node is {column, rank, left, right}; children are told by their distance in nodes, and a leaf is at
 * distance 0: a walk that has ended stays where it is, and its leaf is i, or i + 1 if node i goes right.
 *
 * Tops. A tree's record repeats the nodes of its first four levels, so that walks of few rows, which wait for memory
 * most of all, find these in a line that is read ahead. What a level does not have repeats its parent.
 *
 * Entries. Trees of at most 256 leaves have them as in lanes, for blocks of rows: {column, rank, clear}, four bytes,
 * one tree after the other. Split i clears the leaves from its subtree's first one up to i.
 *
 *   header, large header      64 bytes each
 *   trees                     128 bytes each
 *   code columns              32 bytes each
 *   numeric columns           16 bytes each
 *   base margins              margin_count doubles
 *   outputs                   uint16 per tree, only if margin_count > 1
 *   runs                      8 bytes each: the sets of one tree and one code column, at most 512
 *   keys                      bytes: blocks of 16 int32, as in lanes; words: the thresholds as sortable int64 or int32
 *   lows, book                bytes only, as in lanes
 *   nodes                     8 bytes each
 *   entries                   per tree: uint8 entries of each byte of leaves (rounded up to 4), then the entries
 *   leaves                    doubles, or floats in F32 models
 *   bits                      per code column: per line of its runs (64 bytes, or less if one holds all): the line of
 *                             each code
 *
 * Every section begins on a multiple of 64. Why a walk ends and stays inside, also when pages turn to zeros: records
 * are copied whole or skipped (their mark), children lie within the tree and a distance of zero stays, and a walk takes
 * no more steps than the record's depth (rounded up to 4).
 */
#ifndef MYR_MODEL_LARGE_H
#define MYR_MODEL_LARGE_H

#include "model/lanes.h"

#define LARGE_MARK         0x4752414cu /* of the large header, trees and code columns */
#define LARGE_LEAVES_MAX   32768       /* of a tree: distances of nodes are 16-bit, with a sign */
#define LARGE_RANKS_MAX    65534       /* thresholds of a word column */
#define LARGE_CODES_MAX    65535       /* rows of bits of a code column: 65533 categories */
#define LARGE_RUN_BYTES    64          /* of one run: it lies in one line of bits */
#define LARGE_TILE_BYTES   65536       /* bins of a tile of rows, on the stack */
#define LARGE_BYTE_COLUMNS (LARGE_TILE_BYTES / LANES_ROWS_SOME) /* numeric, own and twice the code columns */
#define LARGE_BYTE_STEP    (LARGE_BYTE_COLUMNS + 64)            /* from one row's bytes to the next, when walked */
#define LARGE_TOP_LEVELS   4
#define LARGE_TOPS         ((1 << LARGE_TOP_LEVELS) - 1)
#define LARGE_CODE_COLUMNS 256 /* categorical features */
#define LARGE_LANES        8   /* walks side by side: their places fit into registers */
#define LARGE_TAIL         64  /* zeros behind nodes and bits, so that a kernel may read eight bytes */
#define LARGE_SET_RANK     0   /* of a set's node; its entries have LARGE_SET_ENTRY */
#define LARGE_SET_ENTRY    (-1)

enum { LARGE_WORDS = 1 }; /* flag of the large header: two-byte bins, and no entries */

typedef struct large_header {
    uint32_t mark, flags;
    uint32_t numeric_columns, code_columns;
    uint32_t own_columns; /* the most that a tree has, a multiple of 8 */
    uint32_t key_count;   /* blocks, or keys of word columns */
    uint32_t low_count, book_count;
    uint32_t run_count, split_count;
    uint64_t entry_bytes, bit_bytes;
    uint32_t pad[2];
} large_header;

typedef struct large_top {
    uint16_t column, rank; /* of a node */
} large_top;

typedef struct large_head {
    uint64_t entries_at; /* bytes from the section's start */
    uint32_t leaf_first, split_first, run_first;
    uint32_t run_count;
    uint16_t split_count; /* leaves less one */
    uint16_t root;
    uint16_t depth; /* splits on the longest way */
    uint16_t mark;  /* LARGE_MARK's lower half */
} large_head;

typedef struct large_tree {
    large_head head;
    large_top top[LARGE_TOPS];      /* the children of k are 2k + 1 and 2k + 2 */
    uint16_t below[LARGE_TOPS + 1]; /* the node where each way goes on */
    uint8_t pad[4];
} large_tree;

typedef struct large_code {
    uint64_t bits_at; /* bytes from the section's start */
    uint32_t code_count;
    uint32_t run_bytes;  /* of all its runs, a multiple of line_bytes */
    uint32_t line_bytes; /* large_line_of what its runs use */
    uint32_t mark;
    uint16_t feature;
    uint8_t pad[6];
} large_code;

typedef struct large_run {
    uint32_t at; /* byte of the code column's runs */
    uint16_t code_column;
    uint16_t set_count;
} large_run;

typedef struct large_column { /* of words; byte models have lanes_column */
    uint32_t key_first, rank_count;
    uint16_t feature, missing_bin;
    uint8_t flags; /* LANES_ZERO, LANES_SAME */
    uint8_t pad[3];
} large_column;

typedef struct large_node {
    uint16_t column, rank;
    int16_t children[2];
} large_node;

typedef struct large_entry {
    uint16_t column;
    int8_t rank;
    uint8_t clear;
} large_entry;

_Static_assert(sizeof(large_header) == 64 && sizeof(large_head) == 32 && sizeof(large_tree) == 128 &&
                   sizeof(large_code) == 32 && sizeof(large_run) == 8 && sizeof(large_column) == 16 &&
                   sizeof(large_entry) == 4 && sizeof(large_node) == 8,
               "the layout is frozen");

/* Offsets of the sections in bytes, and where what they hold ends. */
typedef struct large_map {
    uint64_t trees_at, trees_end, codes_at, codes_end, columns_at, columns_end, bases_at, bases_end, outputs_at,
        outputs_end, runs_at, runs_end, keys_at, keys_end, lows_at, lows_end, book_at, book_end, nodes_at, nodes_end,
        entries_at, entries_end, leaves_at, leaves_end, bits_at, bits_end, size;
} large_map;

/* Bytes from one row's bins to the next where rows walk: whole lines, and not a power of two. */
static inline size_t large_step_of(const large_header *g)
{
    if ((g->flags & LARGE_WORDS) == 0) return LARGE_BYTE_STEP;
    return (((size_t)g->numeric_columns + g->own_columns) * 2 + 63) / 64 * 64 + 64;
}

/* Do the columns fit the bins that a call has on its stack? */
static inline bool large_fits(const large_header *g)
{
    uint64_t columns = (uint64_t)g->numeric_columns + g->own_columns;
    if (g->code_columns > LARGE_CODE_COLUMNS || columns > UINT16_MAX) return false;
    if ((g->flags & LARGE_WORDS) == 0) return columns + 2 * (uint64_t)g->code_columns <= LARGE_BYTE_COLUMNS;
    return large_step_of(g) * (g->own_columns > 0 ? LARGE_LANES : 1) <= LARGE_TILE_BYTES;
}

/* False if the two 64-bit counts are beyond any file; no other sum can wrap. */
static inline bool large_map_of(const model_header *h, const large_header *g, large_map *m)
{
    bool single = h->calc == MYR_CALC_F32;
    uint32_t key_bytes = (g->flags & LARGE_WORDS) == 0 ? LANES_BLOCK * 4 : single ? 4 : 8;
    uint32_t low_bytes = g->book_count > 0 ? 1 : 4;
    if (g->entry_bytes > UINT64_MAX / 4 || g->bit_bytes > UINT64_MAX / 4) return false;
    m->trees_at = sizeof *h + sizeof *g;
    m->trees_end = m->trees_at + (uint64_t)h->tree_count * sizeof(large_tree);
    m->codes_at = model_round_up(m->trees_end);
    m->codes_end = m->codes_at + (uint64_t)g->code_columns * sizeof(large_code);
    m->columns_at = model_round_up(m->codes_end);
    m->columns_end = m->columns_at + (uint64_t)g->numeric_columns * sizeof(lanes_column);
    m->bases_at = model_round_up(m->columns_end);
    m->bases_end = m->bases_at + (uint64_t)h->margin_count * sizeof(double);
    m->outputs_at = model_round_up(m->bases_end);
    m->outputs_end = m->outputs_at + (h->margin_count > 1 ? (uint64_t)h->tree_count * sizeof(uint16_t) : 0);
    m->runs_at = model_round_up(m->outputs_end);
    m->runs_end = m->runs_at + (uint64_t)g->run_count * sizeof(large_run);
    m->keys_at = model_round_up(m->runs_end);
    m->keys_end = m->keys_at + (uint64_t)g->key_count * key_bytes;
    m->lows_at = model_round_up(m->keys_end + ((g->flags & LARGE_WORDS) == 0 ? LANES_REACH : 0));
    m->lows_end = m->lows_at + (uint64_t)g->low_count * low_bytes;
    m->book_at = model_round_up(m->lows_end);
    m->book_end = m->book_at + (uint64_t)g->book_count * sizeof(uint32_t);
    m->nodes_at = model_round_up(m->book_end);
    m->nodes_end = m->nodes_at + (uint64_t)g->split_count * sizeof(large_node);
    m->entries_at = model_round_up(m->nodes_end + LARGE_TAIL);
    m->entries_end = m->entries_at + g->entry_bytes;
    m->leaves_at = model_round_up(m->entries_end);
    m->leaves_end = m->leaves_at + (uint64_t)h->item_count * (single ? sizeof(float) : sizeof(double));
    m->bits_at = model_round_up(m->leaves_end);
    m->bits_end = m->bits_at + g->bit_bytes;
    m->size = model_round_up(m->bits_end + LARGE_TAIL);
    return true;
}

/* The top of a tree: `node` is a model's node array from the tree's first on. */
static inline void large_top_of(const large_node *nodes, uint16_t root, large_tree *tree)
{
    uint16_t at[2 * LARGE_TOPS + 1] = {root};
    for (uint32_t k = 0; k < LARGE_TOPS; k++) {
        const large_node *n = &nodes[at[k]];
        tree->top[k] = (large_top){n->column, n->rank};
        at[2 * k + 1] = (uint16_t)(at[k] + n->children[0]);
        at[2 * k + 2] = (uint16_t)(at[k] + n->children[1]);
    }
    memcpy(tree->below, at + LARGE_TOPS, sizeof tree->below);
}

/* Bytes of a line of bits where the runs use `used` bytes. */
static inline uint32_t large_line_of(uint32_t used)
{
    return used <= 8 ? 8 : used <= 16 ? 16 : used <= 32 ? 32 : LARGE_RUN_BYTES;
}

/* Bytes of a tree's entries before the entries themselves: their counts. */
static inline uint32_t large_count_bytes(uint32_t split_count)
{
    return (split_count / 8 + 1 + 3) / 4 * 4;
}

/* The code of a value among code_count of them; the last is for what is no category of the column's sets. */
static inline uint32_t large_code_of(double x, uint32_t code_count, bool single)
{
    double limit = (double)code_count - 2.0;
    if (single) x = (double)(float)x;
    if (x != x) return 0;
    bool from = single ? x >= 0.0 : x > -1.0; /* as model_in_set */
    return from && x < limit ? (uint32_t)(int32_t)x + 1 : code_count - 1;
}

/* ---- reading ---- */

typedef struct large_view {
    lanes_view lanes; /* header (a copy), byte columns, outputs, leaves */
    model_header h;
    large_header g;
    const large_tree *trees;
    const large_code *codes;
    const large_column *columns; /* of words */
    const large_run *runs;
    const void *keys; /* of words */
    const large_node *nodes;
    const unsigned char *entries, *bits;
} large_view;

/* What large_many.h makes for each kind of CPU; lanes_kernels names one. Margins are row-major and added to. */
struct large_kernels {
    /* A tile of bytes (SOME or MANY rows), bins[c * tile + i], the codes behind the tree's own columns. */
    void (*tile)(const large_view *v, const large_code *code_columns, int8_t *bins, size_t tile, size_t row_count,
                 double *margins);
    /* One row: its bins once per walk, `step` bytes apart; 0 if no tree has columns of its own. */
    void (*row)(const large_view *v, const large_code *code_columns, const uint16_t *codes, unsigned char *bins,
                size_t step, double *margins);
    /* Many rows, `step` bytes apart, in whole LARGE_LANES (the last may hold anything); codes code_columns apart. */
    void (*rows)(const large_view *v, const large_code *code_columns, const uint16_t *codes, unsigned char *bins,
                 size_t step, size_t row_count, double *margins);
};

static inline bool large_tree_read(const large_view *v, uint32_t tree_idx, large_head *out)
{
    memcpy(out, &v->trees[tree_idx], sizeof *out);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return out->mark == (uint16_t)LARGE_MARK &&
           __atomic_load_n(&v->trees[tree_idx].head.mark, __ATOMIC_RELAXED) == (uint16_t)LARGE_MARK;
}

/* A code column that is no longer there has one code, whose bits begin the section. */
static inline void large_code_read(const large_view *v, uint32_t column_idx, large_code *out)
{
    memcpy(out, &v->codes[column_idx], sizeof *out);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (out->mark == LARGE_MARK && __atomic_load_n(&v->codes[column_idx].mark, __ATOMIC_RELAXED) == LARGE_MARK) return;
    *out = (large_code){.code_count = 1, .line_bytes = 8};
}

/* The bits of a run for a code: up to 64 bytes. */
static inline const unsigned char *large_bits_of(const large_view *v, const large_code *code, uint32_t at,
                                                 uint32_t code_idx)
{
    uint64_t line = at / LARGE_RUN_BYTES; /* 0 in a shorter one */
    return v->bits + code->bits_at + (line * code->code_count + code_idx) * code->line_bytes + at % LARGE_RUN_BYTES;
}

/* Margins (which hold the base margins) of any number of rows. */
void myr_large_margins(const model_header *h, const unsigned char *bytes, const double *rows, size_t row_stride,
                       size_t row_count, double *margins);
/* Where the base margins lie, for an opened header; NULL if the large header is no longer there. */
const double *myr_large_bases(const model_header *h, const unsigned char *bytes);

/* Turn the bytes of a nodes model into a large one; *out_bytes stays NULL if it does not fit or would not be faster. */
myr_rc myr_large_build(const unsigned char *nodes_model, bool always, unsigned char **out_bytes, size_t *out_size,
                       myr_err *err);
/* The size that the counts ask for; 0 if there is no large header or it is wrong. */
uint64_t myr_large_size(const model_header *h, const unsigned char *bytes, size_t size_bytes);
/* Everything behind the header's own numbers. Errors: BAD_FORMAT; NO_MEMORY for trees of more than 256 leaves. */
myr_rc myr_large_check(const model_header *h, const unsigned char *bytes, myr_err *err);

#endif
