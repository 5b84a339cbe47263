/*
 * The section that leaf numbers and contributions are read from. It holds the trees a second time, in preorder, since
 * the lanes that the fast kernels read no longer know the shape of a tree.
 *
 *   header   64 bytes
 *   bases    margin_count doubles: base margin + expected value of each tree (zeros if contributions lack)
 *   trees    8 bytes each: first slot, points of the quadrature, output
 *   slots    24 bytes each: the left child of a split follows it, the right one stands where `link` says
 *   words    32 bits each: the sets, in the order of their splits
 *
 * A slot also stands for the edge that leads to it: `zero` is the share of the training rows (or of the hessian) that
 * went this way, multiplied over all edges of the path that ask for the same column, and meta says how many edges up
 * the one before of that column is. That is all of the covers that TreeSHAP needs.
 *
 * Zeros are safe: a zero slot is a leaf, a scan ends with its tree or its slots, and whoever follows a link or climbs
 * to an edge compares first.
 */
#ifndef MYR_MODEL_EXPLAIN_H
#define MYR_MODEL_EXPLAIN_H

#include <math.h>

#include "model/section.h"

#define EXPLAIN_POINTS   4      /* points of the quadrature come in fours: a register of doubles */
#define EXPLAIN_ZERO_MIN 1e-250 /* a share is 0 or within these: its inverse is finite */
#define EXPLAIN_ZERO_MAX 1e250

enum {
    EXPLAIN_SPLIT = 1,
    EXPLAIN_NAN_LEFT = 2,
    EXPLAIN_NEAR_ZERO = 4, /* |x| <= MODEL_ZERO is missing too */
    EXPLAIN_CATEGORY = 8,
    EXPLAIN_FLAGS = 15,
    EXPLAIN_SAME_SHIFT = 4
};

/* Why a section has no contributions; EXPLAIN_DEEP: nor leaf numbers, it has no trees at all. */
typedef enum explain_lack {
    EXPLAIN_COMPLETE,
    EXPLAIN_NO_COVERS,
    EXPLAIN_BAD_COVERS,
    EXPLAIN_LINES,
    EXPLAIN_DEEP,
    EXPLAIN_LACK_COUNT
} explain_lack;

typedef struct explain_header {
    section_head head;
    uint32_t tree_count, margin_count;
    uint32_t slot_count, word_count;
    uint16_t depth_max; /* edges of the longest path */
    uint16_t points_max;
    uint32_t lack;
    uint8_t pad[24];
} explain_header;

typedef struct explain_tree {
    uint32_t first;
    uint16_t points; /* multiple of EXPLAIN_POINTS */
    uint16_t output;
} explain_tree;

typedef struct explain_slot {
    union {
        double value; /* of a leaf; or a threshold */
        model_set set;
    } u;
    double zero;
    uint32_t link;   /* split: the right child's slot in its tree; leaf: its number in the source library */
    uint16_t column; /* of a split; 0 in a leaf */
    uint16_t meta;   /* flags; from EXPLAIN_SAME_SHIFT on: edges up to the one before of the same column, 0 = none */
} explain_slot;

_Static_assert(sizeof(explain_header) == 64 && sizeof(explain_tree) == 8 && sizeof(explain_slot) == 24,
               "the layout is frozen");
_Static_assert(MYR_EXPLAIN_DEPTH_MAX < 1 << (16 - EXPLAIN_SAME_SHIFT), "edges up fit");

/* Offsets in bytes; counts are 32-bit, no sum can wrap. */
typedef struct explain_map {
    uint64_t bases_at, trees_at, slots_at, words_at, words_end, size;
} explain_map;

static inline explain_map explain_map_of(const explain_header *h)
{
    explain_map m;
    m.bases_at = sizeof *h;
    m.trees_at = m.bases_at + (uint64_t)h->margin_count * sizeof(double);
    m.slots_at = m.trees_at + (uint64_t)h->tree_count * sizeof(explain_tree);
    m.words_at = m.slots_at + (uint64_t)h->slot_count * sizeof(explain_slot);
    m.words_end = m.words_at + (uint64_t)h->word_count * sizeof(uint32_t);
    m.size = model_round_up(m.words_end);
    return m;
}

/* Points that integrate exactly along paths of so many distinct columns: the integrand's degree is one less. */
static inline uint32_t explain_points(uint32_t distinct)
{
    uint32_t points = (distinct + 1) / 2;
    return points <= EXPLAIN_POINTS ? EXPLAIN_POINTS : (points + EXPLAIN_POINTS - 1) / EXPLAIN_POINTS * EXPLAIN_POINTS;
}

/* ---- reading ---- */

typedef struct explain_view {
    explain_header h; /* a copy */
    const double *bases;
    const explain_tree *trees;
    const explain_slot *slots;
    const uint32_t *words;
    bool single;
} explain_view;

/* The section of a checked model; false if it has none (or its pages are gone). */
bool myr_explain_open(const myr_model *model, const model_header *h, explain_view *out);

/* Slots of tree t: from *first on so many; 0 if the pages are gone. */
static inline uint32_t explain_tree_slots(const explain_view *v, uint32_t t, uint32_t *first)
{
    uint32_t from = v->trees[t].first;
    uint32_t to = t + 1 < v->h.tree_count ? v->trees[t + 1].first : v->h.slot_count;
    *first = from;
    return from < to && to <= v->h.slot_count ? to - from : 0;
}

/* Does a row with x in the split's column go left? */
static inline bool explain_left(const explain_slot *slot, const uint32_t *words, double x, bool single)
{
    if (single) x = (double)(float)x;
    unsigned flags = slot->meta;
    if (__builtin_expect((flags & (EXPLAIN_NEAR_ZERO | EXPLAIN_CATEGORY)) == 0, 1)) {
        return x <= slot->u.value || (isnan(x) && (flags & EXPLAIN_NAN_LEFT) != 0);
    }
    bool missing = isnan(x) || ((flags & EXPLAIN_NEAR_ZERO) != 0 && x >= -MODEL_ZERO && x <= MODEL_ZERO);
    if (missing) return (flags & EXPLAIN_NAN_LEFT) != 0;
    if ((flags & EXPLAIN_CATEGORY) == 0) return x <= slot->u.value;
    return model_in_set(words + slot->u.set.first, slot->u.set.count, x, single);
}

/* The two functions of section.c's row. */
myr_rc myr_explain_build(const section_source *source, unsigned char **out, size_t *out_size, myr_err *err);
myr_rc myr_explain_check(const model_header *h, const unsigned char *bytes, uint64_t size_bytes, myr_err *err);

/* Leaf numbers, tree_count per row. */
void myr_explain_leaves(const explain_view *v, const double *rows, size_t row_stride, size_t row_count, double *out);

/*
 * Contributions, margin_count x (column_count + 1) per row, before any average (explain_shap.c). Errors: NO_MEMORY,
 * only where a path has more than SHAP_DEPTH_STACK edges or SHAP_POINTS_STACK points.
 */
myr_rc myr_explain_shap(const explain_view *v, uint32_t column_count, const double *rows, size_t row_stride,
                        size_t row_count, double *out, myr_err *err);
/* Tests: take the kernel for every CPU. The bits are the same. */
void myr_explain_force_plain(bool plain);

#endif
