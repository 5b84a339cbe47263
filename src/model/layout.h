/*
 * How a compiled model lies in memory. Known to the files of model/ alone, so that another kernel may replace it.
 *
 *   header          64 bytes: one cache line, never split over two pages
 *   base margins    margin_count doubles
 *   trees           8 bytes each: first node, output
 *   nodes           16 bytes each: all trees of the model, one after the other
 *   category words  32 bits each: the sets of the categorical splits, in the order of their nodes
 *   lines, terms    16 bytes each: the leaves of linear trees (lines.c)
 *
 * or, for a linear model, header, base margins, terms of 24 bytes. Every section begins on a multiple of 64 bytes; what
 * lies between is zero, and checked to be. A model of trees may lie in lanes instead (lanes.h), which is what the fast
 * kernels read; the nodes here take whatever does not fit there. Sections may follow either (section.h).
 *
 * A tree takes an even number of nodes. Slot 0 is zero (it aligns the pairs), slot 1 is the root, and two siblings lie
 * side by side from slot 2 on, so that a step is `child + goes_right`. Pairs stand in level order: the k-th split of
 * the tree, counted by slot, owns the k-th pair. That one rule makes every child lie behind its parent, gives every
 * slot one parent, and is checked in one pass without memory.
 */
#ifndef MYR_MODEL_LAYOUT_H
#define MYR_MODEL_LAYOUT_H

#include "model/model.h"

#define MODEL_MAGIC          0x4d52594du /* "MYRM" */
#define MODEL_LAYOUT_VERSION 5           /* 3: sections may follow; 4: lanes may be mirrored; 5: lanes have slabs */
#define MODEL_LAYOUT_OLDEST  2           /* still read */
#define MODEL_ITEMS_MAX      (UINT32_MAX - 64) /* nodes of all trees together, and category words likewise */

/* LightGBM's kZeroThreshold: a float constant widened to double. */
#define MODEL_ZERO ((double)1e-35f)

enum {
    MODEL_AVERAGE = 1, /* header flag: margins are divided by average_over */
    MODEL_SPECIAL = 2, /* header flag: some node has NODE_ZERO or NODE_CATEGORY; some column in lanes LANES_ZERO */
    MODEL_LANES = 4,   /* header flag: the trees lie in lanes */
    MODEL_NAMES = 8,   /* header flags: sections that follow the model (section.h) */
    MODEL_EXPLAIN = 16,
    MODEL_SECTIONS = MODEL_NAMES | MODEL_EXPLAIN,
    MODEL_LINES = 32,  /* header flag: some leaf is a line; nodes only */
    MODEL_LARGE = 64,  /* header flag: the trees lie as large.h says */
    MODEL_MIRROR = 128 /* header flag: entries of lanes may compare mirrored bins */
};

enum {
    NODE_NAN_LEFT = 1, /* a missing value goes left */
    NODE_ZERO = 2,     /* |x| <= MODEL_ZERO is missing too */
    NODE_CATEGORY = 4, /* a set, not a threshold */
    NODE_FLAGS_ALL = 7
};

typedef struct model_header {
    uint32_t magic;
    uint16_t version;
    uint8_t kind, calc;
    uint8_t transform, flags;
    uint16_t numeric_columns; /* lanes: see lanes.h; 0 elsewhere, as are all fields below average_over */
    uint32_t column_count;
    uint32_t margin_count;
    uint32_t tree_count;
    uint32_t item_count; /* nodes of all trees, or terms of a linear model, or leaves of all lanes */
    uint32_t word_count;
    double transform_param;
    uint64_t size_bytes; /* without the sections that follow */
    uint32_t average_over;
    uint32_t entry_bytes;
    union {
        struct { /* lanes */
            uint16_t set_columns, key_blocks, low_count, book_count;
        };
        struct { /* nodes: with MODEL_LINES, else 0 */
            uint32_t line_count, line_term_count;
        };
    };
} model_header;

typedef struct model_tree {
    uint32_t first; /* node */
    uint32_t output;
} model_tree;

typedef struct model_set {
    uint32_t first, count; /* words */
} model_set;

typedef struct model_node {
    union {
        double value; /* of a leaf; or the threshold of a numeric split */
        model_set set;
    } u;
    uint32_t child; /* slot of the left child in this tree, the right one follows; 0 = leaf, so zeros end a walk */
    uint16_t column;
    uint16_t flags;
} model_node;

typedef struct model_term {
    double weight;
    double fill; /* stands for a NaN; NaN if there is none */
    uint32_t column;
    uint32_t output; /* terms stand in the order of their outputs, as many of each */
} model_term;

typedef struct model_line {
    double constant;
    uint32_t first, count; /* terms */
} model_line;

typedef struct model_line_term {
    double coefficient;
    uint32_t column;
    uint32_t pad;
} model_line_term;

_Static_assert(sizeof(model_header) == 64 && sizeof(model_tree) == 8 && sizeof(model_node) == 16 &&
                   sizeof(model_term) == 24 && sizeof(model_line) == 16 && sizeof(model_line_term) == 16,
               "the layout is frozen");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "packs are little-endian");

/* Offsets of the sections in bytes. */
typedef struct model_map {
    uint64_t bases_at, bases_end, trees_at, trees_end, items_at, items_end, words_at, words_end;
    uint64_t lines_at, lines_end, line_terms_at, line_terms_end, size;
} model_map;

static inline uint64_t model_round_up(uint64_t offset)
{
    return (offset + (MYR_MODEL_ALIGN - 1)) / MYR_MODEL_ALIGN * MYR_MODEL_ALIGN;
}

/* The counts are 32-bit and the widest item has 24 bytes: no sum can wrap. */
static inline model_map model_map_of(const model_header *h)
{
    model_map m;
    uint64_t item_bytes = h->kind == MYR_MODEL_LINEAR ? sizeof(model_term) : sizeof(model_node);
    m.bases_at = sizeof *h;
    m.bases_end = m.bases_at + (uint64_t)h->margin_count * sizeof(double);
    m.trees_at = model_round_up(m.bases_end);
    m.trees_end = m.trees_at + (uint64_t)h->tree_count * sizeof(model_tree);
    m.items_at = model_round_up(m.trees_end);
    m.items_end = m.items_at + (uint64_t)h->item_count * item_bytes;
    m.words_at = model_round_up(m.items_end);
    m.words_end = m.words_at + (uint64_t)h->word_count * sizeof(uint32_t);
    bool lines = (h->flags & MODEL_LINES) != 0;
    m.lines_at = model_round_up(m.words_end);
    m.lines_end = m.lines_at + (lines ? (uint64_t)h->line_count * sizeof(model_line) : 0);
    m.line_terms_at = model_round_up(m.lines_end);
    m.line_terms_end = m.line_terms_at + (lines ? (uint64_t)h->line_term_count * sizeof(model_line_term) : 0);
    m.size = model_round_up(m.line_terms_end);
    return m;
}

/* Is the value exactly a float? Infinities are, a NaN is not. */
static inline bool model_is_float(double value)
{
    return (double)(float)value == value;
}

/* Where a NaN goes at a described split; NONE reads it as 0, or as category 0. */
static inline bool model_nan_left(const myr_tree *tree, const myr_split *split)
{
    if (split->missing != MYR_MISSING_NONE) return split->default_left != 0;
    if (!split->is_category) return 0.0 <= split->threshold;
    return split->category_count > 0 && (tree->category_words[split->category_first] & 1u) != 0;
}

/* Is x in a set of `count` words? Truncated toward zero; what is no category number is not in it. Never a NaN. */
static inline bool model_in_set(const uint32_t *words, uint32_t count, double x, bool single)
{
    double limit = (double)count * 32.0;
    bool from = single ? x >= 0.0 : x > -1.0;              /* LightGBM truncates before it compares, XGBoost after */
    if (!from || !(x < limit) || count == 0) return false; /* -0.5 is below an empty set's limit too */
    uint32_t category = (uint32_t)(int32_t)x;              /* -0.9 is 0; below 2^24, by the limit */
    return ((words[category / 32] >> (category % 32)) & 1u) != 0;
}

/* Add the trees of a nodes model to the margins of at most MODEL_TILE rows, or of a linear model (walk.c). */
#define MODEL_TILE 256 /* rows that pass a tree before the next one is read */
void myr_model_walk(const model_header *h, const unsigned char *bytes, const double *rows, size_t row_stride,
                    size_t row_count, double *margins);

/* ---- linear trees (lines.c) ---- */

typedef struct model_lines_used {
    uint32_t lines, terms;
} model_lines_used;

/* Check the lines of a tree, if it has any, and add them to the header's counts and flags. Errors: BAD_INPUT,
 * TOO_LARGE. */
myr_rc myr_lines_count(const myr_model_desc *desc, uint32_t tree_idx, model_header *h, myr_err *err);
/* Write the next line, and its number into the leaf's node. */
void myr_lines_write(const myr_leaf_line *line, const uint32_t *feature_map, const model_map *map, unsigned char *bytes,
                     model_lines_used *used, model_node *out_leaf);
/* The number of a leaf's line is none, or the next one. */
myr_rc myr_lines_check_leaf(const model_node *leaf, uint32_t line_count, uint32_t *used, uint32_t tree_idx,
                            uint32_t slot, myr_err *err);
/* All lines and terms of untrusted bytes whose size is right. */
myr_rc myr_lines_check(const model_header *h, const unsigned char *bytes, myr_err *err);
/* What a leaf of a checked model gives to a row: its line's value, or its constant. */
double myr_lines_leaf(const model_header *h, const model_map *map, const unsigned char *bytes, const model_node *leaf,
                      const double *row);

/* One margin that becomes two values. */
static inline bool model_is_pair(uint8_t transform)
{
    return transform == MYR_TRANSFORM_ONNX_PAIR || transform == MYR_TRANSFORM_ONNX_PAIR_SIGNED ||
           transform == MYR_TRANSFORM_ONNX_PAIR_LOGISTIC || transform == MYR_TRANSFORM_SIGMOID_PAIR;
}

/* Has the transform a parameter? And may it be `param`? */
static inline bool model_takes_param(uint8_t transform, uint8_t calc)
{
    return calc == MYR_CALC_F64 &&
           (transform == MYR_TRANSFORM_SIGMOID || transform == MYR_TRANSFORM_SIGMOID_EACH ||
            transform == MYR_TRANSFORM_LINK_POWER || transform == MYR_TRANSFORM_LINK_NEGATIVE_BINOMIAL);
}

static inline bool model_param_is_good(uint8_t transform, double param)
{
    return __builtin_isfinite(param) && (transform == MYR_TRANSFORM_LINK_POWER ? param != 0 : param > 0);
}

/* Values per row. */
static inline uint32_t model_output_count(const model_header *h)
{
    if (model_is_pair(h->transform)) return 2;
    return h->transform == MYR_TRANSFORM_HARD_MAX ? 1 : h->margin_count;
}

/* Turn margin_count margins into values; out may be `margins` itself if there are as many values. */
void myr_model_transform(const model_header *h, const double *margins, double *out);
/* Its part for the transforms from MYR_TRANSFORM_LINK_POWER on. */
void myr_model_transform_link(const model_header *h, const double *margins, double *out);
/* Its part for the transforms from MYR_TRANSFORM_ONNX_FLOAT up to them. */
void myr_model_transform_onnx(const model_header *h, const double *margins, double *out);

#endif
