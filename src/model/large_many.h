/*
 * The kernels of large models, as a template: to be included behind lanes_many.h, with the same macros, and LARGE_NAME.
 *
 * Blocks of rows: a tree's sets become columns, then entries as in lanes. Few rows, and models of words: walks,
 * LARGE_LANES of them side by side, so that their loads overlap.
 */
#include "model/large_inner.h"

#define LARGE_FN(part)  LANES_JOIN(LARGE_NAME, part)
#define LARGE_REGISTERS (LANES_ROWS_MANY / LANES_WIDTH)

typedef uint8_t LARGE_FN(line) __attribute__((vector_size(16)));
typedef uint16_t LARGE_FN(eight) __attribute__((vector_size(16)));

typedef uint8_t LARGE_FN(wide) __attribute__((vector_size(32)));
typedef uint32_t LARGE_FN(four) __attribute__((vector_size(32)));

/* ---- blocks of rows ---- */

/* Registers whose numbers differ in one bit, interleaved byte by byte. */
LANES_TARGET LANES_INLINE void LARGE_FN(weave)(LARGE_FN(line) a[8], unsigned bit)
{
    LANES_UNROLL
    for (unsigned k = 0; k < 8; k++) {
        if ((k & bit) != 0) continue;
        LARGE_FN(line) low = a[k];
        LARGE_FN(line) high = a[k | bit];
        a[k] = __builtin_shufflevector(low, high, 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
        a[k | bit] = __builtin_shufflevector(low, high, 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
    }
}

/*
 * Eight bytes of each of 16 rows become 16 rows of each of eight bytes: row i, byte b to out[b * step + i]. Each weave
 * moves the register's top address bit out and one of the register number's in: r0 b2 b1 b0 | r3 r2 r1 becomes
 * r3 r2 r1 r0 | b0 b2 b1.
 */
LANES_TARGET LANES_INLINE void LARGE_FN(turn)(const uint64_t from[16], uint8_t *out, size_t step)
{
    LARGE_FN(line) a[8];
    memcpy(a, from, sizeof a);
    LARGE_FN(weave)(a, 4);
    LARGE_FN(weave)(a, 2);
    LARGE_FN(weave)(a, 1);
    LARGE_FN(weave)(a, 4);
    LANES_UNROLL
    for (unsigned k = 0; k < 8; k++) {
        unsigned byte = (k >> 2) | (k & 1) << 1 | (k & 2) << 1;
        memcpy(out + byte * step, &a[k], sizeof a[k]);
    }
}

/* At most 64 sets of one run, from byte `at`: their columns, `tile` rows each. */
LANES_TARGET LANES_INLINE void LARGE_FN(columns)(const large_view *v, const large_code *code, uint32_t at,
                                                 uint32_t set_count, const uint16_t *codes, unsigned count, int8_t *out)
{
    _Alignas(64) uint8_t blocks[8 * LANES_ROWS_MANY];
    size_t tile = (size_t)count * LANES_WIDTH;
    size_t line = code->line_bytes;
    const unsigned char *bits = large_bits_of(v, code, at, 0);
    for (size_t i = 0; i < tile; i += 16) {
        uint64_t words[16];
        LANES_UNROLL
        for (unsigned k = 0; k < 16; k++) {
            memcpy(&words[k], bits + (size_t)codes[i + k] * line, sizeof words[k]);
        }
        LARGE_FN(turn)(words, blocks + i, tile);
    }
    for (uint32_t s = 0; s < set_count; s++, out += tile) {
        const LANES_VECTOR *block = (const LANES_VECTOR *)(const void *)(blocks + s / 8 * tile);
        LANES_VECTOR bit = (LANES_VECTOR){0} + (int8_t)(1u << s % 8);
        LANES_UNROLL
        for (unsigned r = 0; r < count; r++) {
            LANES_VECTOR inside = (block[r] & bit) == bit; /* -1, or 0: above the entry's rank */
            memcpy(out + r * LANES_WIDTH, &inside, sizeof inside);
        }
    }
}

LANES_TARGET LANES_INLINE void LARGE_FN(own)(const large_view *v, const large_code *code_columns,
                                             const large_head *tree, int8_t *bins, unsigned count)
{
    size_t tile = (size_t)count * LANES_WIDTH;
    const uint16_t *codes = large_tile_codes(v, bins, tile);
    int8_t *out = bins + v->g.numeric_columns * tile;
    for (uint32_t k = 0; k < tree->run_count; k++) {
        large_run run = large_run_read(v, tree->run_first + k);
        const large_code *code = &code_columns[run.code_column];
        for (uint32_t s = 0; s < run.set_count; s += 64) {
            uint32_t sets = run.set_count - s < 64 ? run.set_count - s : 64;
            LARGE_FN(columns)(v, code, run.at + s / 8, sets, codes + run.code_column * tile, count, out);
            out += (sets + 7) / 8 * 8 * tile;
        }
    }
}

/* Entries of one byte of leaves; keep[] starts as all ones. */
LANES_TARGET LANES_INLINE void LARGE_FN(byte)(const int8_t *bins, const unsigned char *entries, uint32_t entry_count,
                                              unsigned count, LANES_VECTOR keep[])
{
    LANES_UNROLL
    for (unsigned r = 0; r < count; r++) {
        keep[r] = (LANES_VECTOR){0} - 1;
    }
    for (uint32_t p = 0; p < entry_count; p++, entries += sizeof(large_entry)) {
        const large_entry *entry = (const large_entry *)(const void *)entries;
        const LANES_VECTOR *column =
            (const LANES_VECTOR *)(const void *)(bins + (size_t)entry->column * count * LANES_WIDTH);
        LANES_VECTOR rank = (LANES_VECTOR){0} + entry->rank;
        LANES_VECTOR clear = (LANES_VECTOR){0} + (int8_t)entry->clear;
        LANES_UNROLL
        for (unsigned r = 0; r < count; r++) {
            keep[r] = LANES_CLEAR(keep[r], column[r], rank, clear);
        }
    }
}

LANES_TARGET LANES_INLINE void LARGE_FN(tree)(const large_view *v, const large_head *tree, const int8_t *bins,
                                              unsigned count, uint8_t *leaf_numbers)
{
    LANES_VECTOR kept[LARGE_REGISTERS];
    LANES_VECTOR base[LARGE_REGISTERS];
    LANES_VECTOR keep[LARGE_REGISTERS];
    const unsigned char *counts = v->entries + tree->entries_at;
    const unsigned char *entries = counts + large_count_bytes(tree->split_count);
    LARGE_FN(byte)(bins, entries, counts[0], count, kept);
    LANES_UNROLL
    for (unsigned r = 0; r < count; r++) {
        base[r] = (LANES_VECTOR){0};
    }
    for (unsigned b = 1; b <= tree->split_count / 8u; b++) {
        entries += sizeof(large_entry) * counts[b - 1];
        LARGE_FN(byte)(bins, entries, counts[b], count, keep);
        LANES_VECTOR here = (LANES_VECTOR){0} + (int8_t)(8 * b);
        LANES_UNROLL
        for (unsigned r = 0; r < count; r++) {
            LANES_VECTOR none = kept[r] == (LANES_VECTOR){0};
            kept[r] |= keep[r] & none;
            base[r] = (base[r] & ~none) | (here & none);
        }
    }
    LANES_UNROLL
    for (unsigned r = 0; r < count; r++) {
        LANES_VECTOR number = base[r] + LANES_LOWEST(kept[r]);
        memcpy(leaf_numbers + r * LANES_WIDTH, &number, sizeof number);
    }
}

LANES_TARGET LANES_INLINE void LARGE_FN(trees)(const large_view *v, const large_code *codes, int8_t *bins,
                                               unsigned count, size_t row_count, double *margins)
{
    uint8_t leaf_numbers[LANES_ROWS_MANY];
    for (uint32_t t = 0; t < v->h.tree_count; t++) {
        large_head tree;
        if (!large_tree_read(v, t, &tree)) continue;
        LARGE_FN(own)(v, codes, &tree, bins, count);
        LARGE_FN(tree)(v, &tree, bins, count, leaf_numbers);
        uint32_t byte_count = (tree.split_count + 8u) / 8;
        MANY_ADD(&v->lanes, tree.leaf_first, t, byte_count, leaf_numbers, row_count, margins);
    }
}

LANES_TARGET static void LARGE_FN(tile)(const large_view *v, const large_code *codes, int8_t *bins, size_t tile,
                                        size_t row_count, double *margins)
{
    MYR_ASSERT((tile == LANES_ROWS_MANY || tile == LANES_ROWS_SOME) && row_count <= tile);
    if (tile == LANES_ROWS_MANY) {
        LARGE_FN(trees)(v, codes, bins, LANES_ROWS_MANY / LANES_WIDTH, row_count, margins);
    } else {
        LARGE_FN(trees)(v, codes, bins, LANES_ROWS_SOME / LANES_WIDTH, row_count, margins);
    }
}

/* ---- walks ---- */

/* 32 bits become 32 bytes: 0 for a set bit, else 255. */
LANES_TARGET LANES_INLINE void LARGE_FN(spread)(uint32_t bits, uint8_t *out)
{
    const LARGE_FN(wide) bit = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128,
                                1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    LARGE_FN(wide) bytes = (LARGE_FN(wide))((LARGE_FN(four)){0} + bits);
    bytes = __builtin_shufflevector(bytes, bytes, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 18, 18, 18, 18, 18,
                                    18, 18, 18, 19, 19, 19, 19, 19, 19, 19, 19);
    LARGE_FN(wide) outside = (LARGE_FN(wide))((bytes & bit) == (LARGE_FN(wide)){0});
    memcpy(out, &outside, sizeof outside);
}

/* A tree's own columns for one row of bytes: 32 at a time, so up to 31 bytes behind them are written too. */
LANES_TARGET LANES_INLINE void LARGE_FN(own_bytes)(const large_view *v, const large_code *code_columns,
                                                   const large_head *tree, const uint16_t *codes, uint8_t *out)
{
    for (uint32_t k = 0; k < tree->run_count; k++) {
        large_run run = large_run_read(v, tree->run_first + k);
        const large_code *code = &code_columns[run.code_column];
        const unsigned char *bits = large_bits_of(v, code, run.at, codes[run.code_column]);
        uint8_t *to = out;
        __builtin_prefetch(bits + (size_t)code->code_count * code->line_bytes); /* the next line of this code's runs */
        for (uint32_t s = 0; s < run.set_count; s += 32, to += 32) {
            uint32_t some;
            memcpy(&some, bits + s / 8, sizeof some);
            LARGE_FN(spread)(some, to);
        }
        out += (run.set_count + 7u) / 8 * 8;
    }
}

/* The same for words. */
LANES_TARGET LANES_INLINE void LARGE_FN(own_words)(const large_view *v, const large_code *code_columns,
                                                   const large_head *tree, const uint16_t *codes, uint16_t *out)
{
    const LARGE_FN(eight) bit = {1, 2, 4, 8, 16, 32, 64, 128};
    for (uint32_t k = 0; k < tree->run_count; k++) {
        large_run run = large_run_read(v, tree->run_first + k);
        const unsigned char *bits = large_bits_of(v, &code_columns[run.code_column], run.at, codes[run.code_column]);
        for (uint32_t s = 0; s < run.set_count; s += 8, out += 8) {
            LARGE_FN(eight) byte = (LARGE_FN(eight)){0} + bits[s / 8];
            LARGE_FN(eight) outside = (LARGE_FN(eight))((byte & bit) == (LARGE_FN(eight)){0});
            memcpy(out, &outside, sizeof outside);
        }
    }
}

/* Where a walk goes from its node: 1 right, 0 left. */
LANES_TARGET LANES_INLINE size_t LARGE_FN(side)(const large_node *node, const unsigned char *bins, bool words)
{
    uint32_t bin = words ? ((const uint16_t *)(const void *)bins)[node->column] : bins[node->column];
    return node->rank < bin;
}

/* LARGE_LANES walks to their leaves, whose numbers are node and side. bins: of one walk, the next ones `step` apart. */
LANES_TARGET LANES_INLINE void LARGE_FN(walks)(const large_node *nodes[], const unsigned char *bins, size_t step,
                                               uint32_t depth, bool words)
{
    bool moved = true;
    for (uint32_t at = 0; at < depth && moved; at += 4) {
        LANES_UNROLL
        for (unsigned times = 0; times < 3; times++) {
            LANES_UNROLL
            for (unsigned k = 0; k < LARGE_LANES; k++) {
                nodes[k] += nodes[k]->children[LARGE_FN(side)(nodes[k], bins + k * step, words)];
            }
        }
        size_t any = 0;
        LANES_UNROLL
        for (unsigned k = 0; k < LARGE_LANES; k++) {
            ptrdiff_t by = nodes[k]->children[LARGE_FN(side)(nodes[k], bins + k * step, words)];
            nodes[k] += by;
            any |= (size_t)by;
        }
        moved = any != 0;
    }
}

/* The first levels of a tree, by its record. */
LANES_TARGET LANES_INLINE const large_node *LARGE_FN(top)(const large_tree *tree, const large_node *first,
                                                          const unsigned char *bins, bool words)
{
    size_t k = 0;
    LANES_UNROLL
    for (unsigned level = 0; level < LARGE_TOP_LEVELS; level++) {
        uint16_t column = tree->top[k].column;
        uint32_t bin = words ? ((const uint16_t *)(const void *)bins)[column] : bins[column];
        k = 2 * k + 1 + (tree->top[k].rank < bin);
    }
    return first + tree->below[k - LARGE_TOPS];
}

/* LARGE_LANES trees from `first` on for one row: which leaf of the model each reaches, or UINT32_MAX. */
LANES_TARGET LANES_INLINE void LARGE_FN(walk_trees)(const large_view *v, const large_code *code_columns,
                                                    const uint16_t *codes, unsigned char *bins, size_t step, bool words,
                                                    uint32_t first, uint32_t leaves[LARGE_LANES])
{
    size_t numeric = v->g.numeric_columns;
    const large_node *nodes[LARGE_LANES];
    const large_node *firsts[LARGE_LANES];
    uint32_t depth = LARGE_TOP_LEVELS;
    for (uint32_t k = 0; k < LARGE_LANES; k++) {
        large_head tree;
        nodes[k] = firsts[k] = &large_no_node;
        leaves[k] = UINT32_MAX;
        if (first + k >= v->h.tree_count || !large_tree_read(v, first + k, &tree)) continue;
        leaves[k] = tree.leaf_first;
        if (tree.split_count == 0) continue;
        if (tree.depth > depth) depth = tree.depth;
        if (words) {
            LARGE_FN(own_words)(v, code_columns, &tree, codes, (uint16_t *)(void *)(bins + k * step) + numeric);
        } else {
            LARGE_FN(own_bytes)(v, code_columns, &tree, codes, bins + k * step + numeric);
        }
        firsts[k] = v->nodes + tree.split_first;
        nodes[k] = LARGE_FN(top)(&v->trees[first + k], firsts[k], bins + k * step, words);
    }
    LARGE_FN(walks)(nodes, bins, step, depth - LARGE_TOP_LEVELS, words);
    for (uint32_t k = 0; k < LARGE_LANES; k++) {
        size_t side = LARGE_FN(side)(nodes[k], bins + k * step, words);
        if (leaves[k] != UINT32_MAX) leaves[k] += (uint32_t)(nodes[k] - firsts[k] + (ptrdiff_t)side);
    }
}

/* All trees for one row. Leaves are asked for at once and added later, in tree order. */
LANES_TARGET LANES_INLINE void LARGE_FN(walk_row)(const large_view *v, const large_code *code_columns,
                                                  const uint16_t *codes, unsigned char *bins, size_t step, bool words,
                                                  double *margins)
{
    size_t leaf_bytes = v->h.calc == MYR_CALC_F32 ? sizeof(float) : sizeof(double);
    for (uint32_t from = 0; from < v->h.tree_count; from += LARGE_LATER) {
        uint32_t leaves[LARGE_LATER];
        uint32_t end = v->h.tree_count - from < LARGE_LATER ? v->h.tree_count - from : LARGE_LATER;
        for (uint32_t k = 0; k < end; k += LARGE_LANES) {
            LARGE_FN(walk_trees)(v, code_columns, codes, bins, step, words, from + k, leaves + k);
            for (uint32_t i = k; i < k + LARGE_LANES && i < end; i++) {
                __builtin_prefetch((const char *)v->lanes.leaves + leaves[i] * leaf_bytes);
            }
        }
        for (uint32_t k = 0; k < end; k++) {
            if (leaves[k] != UINT32_MAX) large_add(v, from + k, leaves[k], margins);
        }
    }
}

/* All trees for many rows, LARGE_LANES rows at a time; there are bins for whole LARGE_LANES. */
LANES_TARGET LANES_INLINE void LARGE_FN(walk_rows)(const large_view *v, const large_code *code_columns,
                                                   const uint16_t *codes, unsigned char *bins, size_t step,
                                                   size_t row_count, bool words, double *margins)
{
    size_t numeric = v->g.numeric_columns;
    for (uint32_t t = 0; t < v->h.tree_count; t++) {
        large_head tree;
        if (!large_tree_read(v, t, &tree)) continue;
        const large_node *root = tree.split_count > 0 ? v->nodes + tree.split_first : &large_no_node;
        for (size_t i = 0; i < row_count && tree.run_count > 0; i++) {
            const uint16_t *row_codes = codes + i * v->g.code_columns;
            if (words) {
                uint16_t *own = (uint16_t *)(void *)(bins + i * step) + numeric;
                LARGE_FN(own_words)(v, code_columns, &tree, row_codes, own);
            } else {
                LARGE_FN(own_bytes)(v, code_columns, &tree, row_codes, bins + i * step + numeric);
            }
        }
        for (size_t i = 0; i < row_count; i += LARGE_LANES) {
            const large_node *nodes[LARGE_LANES];
            size_t end = row_count - i < LARGE_LANES ? row_count - i : LARGE_LANES;
            for (size_t k = 0; k < LARGE_LANES; k++) {
                nodes[k] = root + tree.root;
            }
            LARGE_FN(walks)(nodes, bins + i * step, step, tree.depth, words);
            for (size_t k = 0; k < end; k++) {
                size_t side = LARGE_FN(side)(nodes[k], bins + (i + k) * step, words);
                large_add(v, t, tree.leaf_first + (uint32_t)(nodes[k] - root + side),
                          margins + (i + k) * v->h.margin_count);
            }
        }
    }
}

LANES_TARGET static void LARGE_FN(row)(const large_view *v, const large_code *code_columns, const uint16_t *codes,
                                       unsigned char *bins, size_t step, double *margins)
{
    if ((v->g.flags & LARGE_WORDS) != 0) {
        LARGE_FN(walk_row)(v, code_columns, codes, bins, step, true, margins);
    } else if (step == 0) {
        LARGE_FN(walk_row)(v, code_columns, codes, bins, 0, false, margins);
    } else {
        MYR_ASSERT(step == LARGE_BYTE_STEP);
        LARGE_FN(walk_row)(v, code_columns, codes, bins, LARGE_BYTE_STEP, false, margins);
    }
}

LANES_TARGET static void LARGE_FN(rows)(const large_view *v, const large_code *code_columns, const uint16_t *codes,
                                        unsigned char *bins, size_t step, size_t row_count, double *margins)
{
    if ((v->g.flags & LARGE_WORDS) != 0) {
        LARGE_FN(walk_rows)(v, code_columns, codes, bins, step, row_count, true, margins);
    } else {
        MYR_ASSERT(step == LARGE_BYTE_STEP);
        LARGE_FN(walk_rows)(v, code_columns, codes, bins, LARGE_BYTE_STEP, row_count, false, margins);
    }
}

static const large_kernels LARGE_NAME = {LARGE_FN(tile), LARGE_FN(row), LARGE_FN(rows)};
