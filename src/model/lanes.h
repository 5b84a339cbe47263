/*
 * Trees in lanes: the form that the fast kernels read. Exact, without branches, and compact.
 *
 * Quantised rows. A byte column belongs to a feature and at most 254 of its thresholds, sorted. The byte of a value,
 * its bin, is the number of thresholds below it, so `x <= threshold` is `bin <= rank of the threshold`, whatever the
 * values are. A missing value has a bin of its own per column: -128 goes left everywhere, 127 right, and one in between
 * is the bin of zero where a NaN is read as zero. A categorical split compares the bin of a column of its own, one per
 * distinct set. Bins and ranks are stored less 128, since SIMD compares signed bytes.
 *
 * Leaf bits. The leaves of a tree are numbered so that of each split's two sides the one with fewer leaves comes first,
 * and cut into bytes of eight. A split whose row goes to the second side clears the bits of the leaves of the first;
 * the lowest bit that is left is the row's leaf. One entry {column, rank, clear} stands for one split and one byte that
 * it touches, and clears where the column's bin is above the rank; the order of entries does not matter. Where the
 * second side is the left one, the entry compares mirrored bins: ~bin, which is above ~rank - 1 just where the bin is
 * not above the rank. It names the column by ~column (models with MODEL_MIRROR; others number leaves from left to
 * right).
 *
 * Lanes. 64 trees are a group (the last has fewer); entry number p of byte b of all its trees lie side by side,
 * columns, then ranks, then clears, one byte each. A kernel for few rows takes a register of trees; a kernel for many
 * rows takes one tree at a time and a register of rows, and reads the same bytes.
 *
 *   header            64 bytes
 *   groups            64 bytes each
 *   numeric columns   16 bytes each
 *   set columns       16 bytes each; their byte columns follow the numeric ones
 *   base margins      margin_count doubles
 *   outputs           uint16 per tree, only if margin_count > 1
 *   keys              blocks of 16 int32: the slabs, then the thresholds of the columns, as sortable integers (their
 *                     upper halves)
 *   entries           per group: uint16 first leaf of each tree; uint8 entries per byte and tree; then the entries
 *   (64 zeros, so that a kernel may read whole registers)
 *   lows              per threshold the lower half: a byte that points into the book, or (without a book) a uint32
 *   book              the distinct lower halves, if there are at most 256
 *   leaves            doubles, or floats in F32 models
 *   category words    32 bits each
 *
 * What every row reads stands in front, so that a model that comes next can be asked for from its first byte to the end
 * of its entries. Layouts before 5 have keys behind the groups, lows and book before the entries, and no slabs.
 *
 * Slabs. Sixteen numeric columns are searched side by side: a slab's first block says where the keys of each begin, the
 * others are pivots, row by row: the last key of each column's first block, of its second, and so on.
 *
 * Why no kernel leaves the bytes, also when pages turn to zeros after the check: a cleared bit is always one of a leaf
 * before the tree's last (checked for each entry), so some leaf of the tree is left whatever the bins and however many
 * entries are gone, and a zero first-leaf only moves it toward the group's first. Group records are 64 bytes in one
 * page and are read whole, or skipped (their mark). Columns name ranges that are within the sections for each mixture
 * of old and zero fields.
 */
#ifndef MYR_MODEL_LANES_H
#define MYR_MODEL_LANES_H

#include <string.h>

#include "model/layout.h"

#define LANES_TREES       64  /* trees of a group */
#define LANES_LEAVES_MAX  256 /* of a tree: a leaf number is a byte */
#define LANES_BYTES_MAX   32  /* LANES_LEAVES_MAX / 8 */
#define LANES_COLUMNS_MAX 256 /* byte columns */
#define LANES_MIRROR_MAX  128 /* byte columns where entries may be mirrored: a sign tells them apart */
#define LANES_RANKS_MAX   254 /* thresholds of a byte column: bins 0 to 254, and 255 for what goes right */
#define LANES_BLOCK       16  /* keys that one step of the search compares */
#define LANES_BLOCK_SHIFT 4
#define LANES_SLAB        16 /* numeric columns whose blocks are found side by side */
#define LANES_SLABS_SINCE 5  /* layout version */
#define LANES_RUN_COLUMNS 8  /* that LANES_RUN speaks of */
#define LANES_BOOK_MAX    256
#define LANES_KEY_PAD     INT32_MAX /* behind the last key: above every number's key */
#define LANES_STRIDE      32        /* lanes of a group are rounded up to this */
#define LANES_MARK        0x4c47    /* of a group */
#define LANES_TAIL        64        /* zeros behind the entries */
#define LANES_REACH                                                                                                    \
    ((LANES_BLOCK + 2) * LANES_BLOCK * sizeof(int32_t)) /* how far a search may stray behind damaged keys */
#define LANES_RANK_LAST (LANES_RANKS_MAX - 1 - 128)
#define LANES_LEFT      (-128) /* bin that goes left at every split */
#define LANES_RIGHT     127    /* bin that goes right at every split */

enum {
    LANES_ZERO = 1, /* column flag: |x| <= MODEL_ZERO is missing too */
    LANES_SAME = 2, /* column flag: feature and thresholds are those of the column before */
    LANES_RUN = 4   /* of every eighth column: the features of the eight, or those left, are consecutive; layout 5 */
};

typedef struct lanes_group {
    uint32_t entries_at;   /* bytes from the section's start */
    uint32_t leaves_first; /* leaf */
    uint16_t mark;
    uint8_t tree_count, byte_count;
    uint8_t positions[LANES_BYTES_MAX]; /* entries per byte: the most that a tree of the group has */
    uint8_t lane_count;                 /* lanes_stride(tree_count) */
    uint8_t pad[19];
} lanes_group;

/* Before layout 5 there are no slabs; with rank_count >= LANES_BLOCK a block of pivots stands before the blocks. */
typedef struct lanes_column {
    uint16_t key_block, slab_block;
    uint32_t low_first;
    uint16_t feature;
    uint8_t rank_count, flags;
    int8_t missing_bin;
    uint8_t slab_rows; /* of pivots */
    uint8_t pad[2];
} lanes_column;

typedef struct lanes_set {
    uint32_t word_first, word_count;
    uint16_t feature;
    int8_t missing_bin;
    uint8_t pad[5];
} lanes_set;

_Static_assert(sizeof(lanes_group) == 64 && sizeof(lanes_column) == 16 && sizeof(lanes_set) == 16,
               "the layout is frozen");

/* Offsets of the sections in bytes. */
typedef struct lanes_map {
    uint64_t groups_at, keys_at, columns_at, sets_at, bases_at, outputs_at, lows_at, book_at, entries_at, leaves_at,
        words_at, size;
    uint64_t outputs_end, lows_end, book_end, entries_end, leaves_end, words_end; /* where padding begins */
    uint64_t group_bytes, key_bytes, output_bytes, low_bytes, reach_end;
} lanes_map;

static inline uint64_t lanes_round(uint64_t offset)
{
    return (offset + 7) / 8 * 8;
}

/* The sections of layouts before 5. */
static inline __attribute__((always_inline)) void lanes_map_old(const model_header *h, lanes_map *m)
{
    m->keys_at = m->groups_at + m->group_bytes;
    m->columns_at = m->keys_at + m->key_bytes;
    m->sets_at = m->columns_at + (uint64_t)h->numeric_columns * sizeof(lanes_column);
    m->bases_at = m->sets_at + (uint64_t)h->set_columns * sizeof(lanes_set);
    m->outputs_at = m->bases_at + (uint64_t)h->margin_count * sizeof(double);
    m->outputs_end = m->outputs_at + m->output_bytes;
    m->lows_at = lanes_round(m->outputs_end);
    m->lows_end = m->lows_at + m->low_bytes;
    m->book_at = lanes_round(m->lows_end);
    m->book_end = m->book_at + (uint64_t)h->book_count * sizeof(uint32_t);
    m->entries_at = model_round_up(m->book_end);
    m->entries_end = m->entries_at + h->entry_bytes;
    m->leaves_at = lanes_round(m->entries_end + LANES_TAIL);
    m->reach_end = m->columns_at + LANES_REACH;
}

static inline __attribute__((always_inline)) void lanes_map_new(const model_header *h, lanes_map *m)
{
    m->columns_at = m->groups_at + m->group_bytes;
    m->sets_at = m->columns_at + (uint64_t)h->numeric_columns * sizeof(lanes_column);
    m->bases_at = m->sets_at + (uint64_t)h->set_columns * sizeof(lanes_set);
    m->outputs_at = m->bases_at + (uint64_t)h->margin_count * sizeof(double);
    m->outputs_end = m->outputs_at + m->output_bytes;
    m->keys_at = model_round_up(m->outputs_end);
    m->entries_at = m->keys_at + m->key_bytes;
    m->entries_end = m->entries_at + h->entry_bytes;
    m->lows_at = lanes_round(m->entries_end + LANES_TAIL);
    m->lows_end = m->lows_at + m->low_bytes;
    m->book_at = lanes_round(m->lows_end);
    m->book_end = m->book_at + (uint64_t)h->book_count * sizeof(uint32_t);
    m->leaves_at = lanes_round(m->book_end);
    m->reach_end = m->entries_at + LANES_REACH;
}

/* Every count is 32-bit and every item at most 64 bytes: no sum can wrap. */
static inline __attribute__((always_inline)) lanes_map lanes_map_of(const model_header *h)
{
    lanes_map m;
    uint64_t group_count = ((uint64_t)h->tree_count + LANES_TREES - 1) / LANES_TREES;
    m.groups_at = sizeof *h;
    m.group_bytes = group_count * sizeof(lanes_group);
    m.key_bytes = (uint64_t)h->key_blocks * LANES_BLOCK * sizeof(int32_t);
    m.output_bytes = h->margin_count > 1 ? (uint64_t)h->tree_count * sizeof(uint16_t) : 0;
    m.low_bytes = (uint64_t)h->low_count * (h->book_count > 0 ? sizeof(uint8_t) : sizeof(uint32_t));
    if (h->version < LANES_SLABS_SINCE) {
        lanes_map_old(h, &m);
    } else {
        lanes_map_new(h, &m);
    }
    m.leaves_end = m.leaves_at + (uint64_t)h->item_count * (h->calc == MYR_CALC_F32 ? sizeof(float) : sizeof(double));
    m.words_at = lanes_round(m.leaves_end);
    m.words_end = m.words_at + (uint64_t)h->word_count * sizeof(uint32_t);
    m.size = model_round_up(m.words_end > m.reach_end ? m.words_end : m.reach_end);
    return m;
}

/* The map's bases_at alone, for each call. */
static inline uint64_t lanes_bases_at(const model_header *h)
{
    uint64_t groups = ((uint64_t)h->tree_count + LANES_TREES - 1) / LANES_TREES;
    uint64_t keys = h->version < LANES_SLABS_SINCE ? (uint64_t)h->key_blocks * LANES_BLOCK * sizeof(int32_t) : 0;
    return sizeof *h + groups * sizeof(lanes_group) + keys + (uint64_t)h->numeric_columns * sizeof(lanes_column) +
           (uint64_t)h->set_columns * sizeof(lanes_set);
}

/* Bytes from one row of lanes to the next: whole half registers, so that few loads cross a cache line. */
static inline uint32_t lanes_stride(uint32_t tree_count)
{
    return (tree_count + LANES_STRIDE - 1) / LANES_STRIDE * LANES_STRIDE;
}

/* Bytes of a group's part of the entries. */
static inline uint64_t lanes_group_bytes(const lanes_group *g)
{
    uint64_t positions = 0;
    for (unsigned b = 0; b < g->byte_count; b++) {
        positions += g->positions[b];
    }
    return model_round_up((uint64_t)g->lane_count * (sizeof(uint16_t) + g->byte_count + 3 * positions));
}

/*
 * A number as an integer of the same order, -0.0 being 0.0: the upper half is the key, the lower half the low. Floats
 * have no low. A NaN has no place.
 */
static inline int64_t lanes_order(double x, bool single)
{
    if (single) {
        float f = (float)x + 0.0f;
        int32_t bits;
        memcpy(&bits, &f, sizeof bits);
        return (int64_t)(bits ^ (int32_t)((uint32_t)(bits >> 31) >> 1)) * ((int64_t)1 << 32);
    }
    double d = x + 0.0;
    int64_t bits;
    memcpy(&bits, &d, sizeof bits);
    return bits ^ (int64_t)((uint64_t)(bits >> 63) >> 1);
}

/* ---- reading ---- */

/* A model in lanes, opened: what the kernels take. */
typedef struct lanes_view {
    const model_header *h; /* a copy, not the mapping */
    const lanes_group *groups;
    const int32_t *keys;
    const lanes_column *columns;
    const lanes_set *sets;
    const uint16_t *outputs;  /* NULL with one margin */
    const uint8_t *low_codes; /* with a book */
    const uint32_t *lows;     /* the book, or the lows themselves; NULL in F32 models */
    const unsigned char *entries;
    const void *leaves;
    const uint32_t *words;
    uint32_t byte_columns;
    bool slabs;
} lanes_view;

/* Copy a group record; false if it is no longer there. */
static inline bool lanes_group_read(const lanes_view *v, uint32_t group_idx, lanes_group *out)
{
    memcpy(out, &v->groups[group_idx], sizeof *out);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return out->mark == LANES_MARK && __atomic_load_n(&v->groups[group_idx].mark, __ATOMIC_RELAXED) == LANES_MARK;
}

/* Rows that the kernels take at once, and the bins that go with them. */
#define LANES_ROWS_MANY   256
#define LANES_ROWS_SOME   64
#define LANES_ROWS_FEW    4     /* the kernel of few rows */
#define LANES_FEW_COLUMNS 64    /* byte columns that it can look up */
#define LANES_BINS_BYTES  16384 /* LANES_COLUMNS_MAX x SOME, LANES_FEW_COLUMNS x MANY */

typedef struct large_kernels large_kernels; /* large.h */

/* Bytes that will be read soon and are asked for piece by piece, while others are at work. */
typedef struct lanes_ahead {
    const char *at, *end;
} lanes_ahead;

typedef struct lanes_kernels {
    const char *name;
    /* Bins of row_count rows: row i, column c to bins[c * column_step + i * row_step]. */
    void (*quantise)(const lanes_view *v, const double *rows, size_t row_stride, size_t row_count, int8_t *bins,
                     size_t column_step, size_t row_step);
    /* Up to `tile` rows (SOME or MANY); what an entry with column c compares is at bins[(int8_t)c * tile + i], mirrored
     * once more; adds to row-major margins. Bins beyond row_count may hold anything. */
    void (*many)(const lanes_view *v, const int8_t *bins, size_t tile, size_t row_count, double *margins);
    /* Any number of rows of at most LANES_FEW_COLUMNS byte columns, a few at a time; adds to row-major margins. ahead:
     * NULL, or what to ask for meanwhile. */
    void (*few)(const lanes_view *v, const double *rows, size_t row_stride, size_t row_count, lanes_ahead *ahead,
                double *margins);
    /* One row of such a model: each tree's leaf, counted from the model's first, and its value asked for; room for
     * LANES_FOUND_MAX of them. */
    void (*find)(const lanes_view *v, const double *row, lanes_ahead *ahead, uint32_t *leaves);
    const large_kernels *large;
} lanes_kernels;

extern const lanes_kernels myr_lanes_plain;
#if defined(__x86_64__)
extern const lanes_kernels myr_lanes_avx2, myr_lanes_avx512, myr_lanes_avx512vbmi;
#elif defined(__aarch64__)
extern const lanes_kernels myr_lanes_neon;
#endif

/* All names of kernels; those of other CPUs are not built. */
#define LANES_KERNEL_NAMES "plain", "avx2", "avx512", "avx512vbmi", "neon"

/* The best kernels of this CPU, chosen once. Tests force others by name; false if this CPU has none of that name. */
const lanes_kernels *myr_lanes_kernels(void);
bool myr_lanes_force(const char *name); /* NULL: choose again */

/* Margins (which hold the base margins) of any number of rows. ahead: NULL, or what to ask for meanwhile; some of it.
 */
void myr_lanes_margins(const model_header *h, const unsigned char *bytes, const double *rows, size_t row_stride,
                       size_t row_count, lanes_ahead *ahead, double *margins);

/*
 * One row in two steps, with other work between them while its leaves come from memory. The first finds them; false:
 * the model is not of a kind that it takes. The second adds them to the base margins. Between them the model's bytes
 * must stay.
 */
#define LANES_FOUND_MAX 512 /* trees, a multiple of LANES_TREES */
typedef struct lanes_found {
    lanes_view view;
    uint32_t leaves[LANES_FOUND_MAX];
} lanes_found;
bool myr_lanes_find(const model_header *h, const unsigned char *bytes, const double *row, lanes_ahead *ahead,
                    lanes_found *out);
void myr_lanes_add(const lanes_found *found, double *margins);

/* Turn the bytes of a nodes model into lanes; *out_bytes stays NULL if it does not fit or would not be faster. */
myr_rc myr_lanes_build(const unsigned char *nodes_model, bool always, unsigned char **out_bytes, size_t *out_size,
                       myr_err *err);

/* Numeric columns with rank_count and flags: give each its slab and its blocks of keys, and LANES_RUN; the number of
 * blocks. */
uint32_t myr_lanes_place_keys(lanes_column *columns, uint32_t count);
/* Write the keys of placed columns; the orders of column j are at orders + low_first. */
void myr_lanes_write_keys(const lanes_column *columns, uint32_t count, const int64_t *orders, int32_t *keys,
                          uint32_t key_blocks);

/* Everything behind the header's own numbers. */
myr_rc myr_lanes_check(const model_header *h, const unsigned char *bytes, myr_err *err);

#endif
