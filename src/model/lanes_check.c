/*
 * Untrusted lanes are checked: offsets and counts are the canonical ones, thresholds are sorted, ranks and columns
 * exist, no entry clears a tree's last leaf, padding is zero. After that no kernel can leave the bytes (lanes.h says
 * why), and every kernel gives the same answer.
 */
#include <math.h>

#include "model/lanes_check.h"

typedef struct lcheck_ctx {
    const model_header *h;
    const unsigned char *bytes;
    lanes_map map;
    uint32_t byte_columns;
    bool mirror;
    int rank_last; /* mirrored ranks go one further */
    myr_err *err;
} lcheck_ctx;

static bool lcheck_is_zero(const unsigned char *bytes, size_t count)
{
    unsigned char any = 0;
    for (size_t k = 0; k < count; k++) {
        any |= bytes[k];
    }
    return any == 0;
}

static myr_rc lcheck_zeros(const lcheck_ctx *c, uint64_t from, uint64_t to)
{
    MYR_ASSERT(from <= to && to <= c->map.size);
    if (lcheck_is_zero(c->bytes + from, to - from)) return MYR_OK;
    MYR_FAIL(c->err, BAD_FORMAT, "model: a padding byte of %llu to %llu is not 0", (unsigned long long)from,
             (unsigned long long)to);
}

/* ---- columns ---- */

/* The last key of each block: before there were slabs a block of them stands before the blocks. */
static bool lcheck_pivots(const lanes_numbers *n, const lanes_column *column, uint32_t j, const int32_t *keys)
{
    uint32_t block_count = column->rank_count / LANES_BLOCK + 1u;
    const int32_t *pivots = n->keys + (size_t)column->key_block * LANES_BLOCK;
    uint32_t count = block_count > 1 ? LANES_BLOCK : 0;
    size_t step = 1;
    bool good = true;
    if (n->slabs) {
        const int32_t *slab = n->keys + (size_t)column->slab_block * LANES_BLOCK;
        good = slab[j % LANES_SLAB] == column->key_block * LANES_BLOCK;
        pivots = slab + LANES_SLAB + j % LANES_SLAB;
        count = column->slab_rows;
        step = LANES_SLAB;
    }
    for (uint32_t b = 0; b < count; b++) {
        good &= pivots[b * step] == (b + 1 < block_count ? keys[b * LANES_BLOCK + LANES_BLOCK - 1] : LANES_KEY_PAD);
    }
    return good;
}

/* Keys of one column: sorted, with their lows, padded, and the pivots. */
static myr_rc lcheck_keys(const lanes_numbers *n, const lanes_column *column, uint32_t j, myr_err *err)
{
    uint32_t block_count = column->rank_count / LANES_BLOCK + 1u;
    const int32_t *keys = n->keys + (size_t)column->key_block * LANES_BLOCK;
    const unsigned char *codes = n->low_codes + column->low_first;
    bool bad = false;
    int64_t before = 0;
    if (!n->slabs && block_count > 1) keys += LANES_BLOCK;
    for (uint32_t r = 0; r < column->rank_count; r++) {
        uint32_t at = n->book_count > 0 ? codes[r] : column->low_first + r;
        if (!n->single && n->book_count > 0 && at >= n->book_count) {
            MYR_FAIL(err, BAD_FORMAT, "model: column %u, threshold %u: code %u of %u", j, r, at, n->book_count);
        }
        int64_t order = (int64_t)keys[r] * ((int64_t)1 << 32) + (n->single ? 0 : (int64_t)n->lows[at]);
        bad |= (r > 0 && order <= before) || keys[r] == LANES_KEY_PAD;
        before = order;
    }
    for (uint32_t r = column->rank_count; r < block_count * LANES_BLOCK; r++) {
        bad |= keys[r] != LANES_KEY_PAD;
    }
    bad |= !lcheck_pivots(n, column, j, keys);
    if (bad) MYR_FAIL(err, BAD_FORMAT, "model: column %u: its %u thresholds are not in order", j, column->rank_count);
    return MYR_OK;
}

/* The columns of one slab say where it lies; lanes without a column are padded. *blocks moves behind it. */
static myr_rc lcheck_slab(const lanes_numbers *n, uint32_t first, uint32_t *blocks, myr_err *err)
{
    uint32_t count = n->numeric_columns - first < LANES_SLAB ? n->numeric_columns - first : LANES_SLAB;
    const int32_t *slab = n->keys + (size_t)*blocks * LANES_BLOCK;
    uint32_t rows = 0;
    bool bad = false;
    for (uint32_t j = first; j < first + count; j++) {
        if (n->columns[j].rank_count / LANES_BLOCK > rows) rows = n->columns[j].rank_count / LANES_BLOCK;
    }
    for (uint32_t j = first; j < first + count; j++) {
        bad |= n->columns[j].slab_block != *blocks || n->columns[j].slab_rows != rows;
    }
    if (bad || rows + 1 > n->key_blocks - *blocks)
        MYR_FAIL(err, BAD_FORMAT, "model: the slab of column %u is not at block %u of %u", first, *blocks,
                 n->key_blocks);
    for (uint32_t k = count; k < LANES_SLAB; k++) {
        bad |= slab[k] != 0;
        for (uint32_t r = 1; r <= rows; r++) {
            bad |= slab[r * LANES_SLAB + k] != LANES_KEY_PAD;
        }
    }
    if (bad) MYR_FAIL(err, BAD_FORMAT, "model: the slab of column %u is not padded", first);
    *blocks += rows + 1;
    return MYR_OK;
}

/* Is LANES_RUN where it must be? */
static bool lcheck_run(const lanes_numbers *n, uint32_t j)
{
    bool run = n->slabs && j % LANES_RUN_COLUMNS == 0;
    for (uint32_t k = 1; run && k < LANES_RUN_COLUMNS && j + k < n->numeric_columns; k++) {
        run = n->columns[j + k].feature == n->columns[j].feature + k;
    }
    return run == ((n->columns[j].flags & LANES_RUN) != 0);
}

static myr_rc lcheck_book(const lanes_numbers *n, myr_err *err)
{
    bool bad = n->book_count > LANES_BOOK_MAX || n->book_count > n->low_count;
    for (uint32_t k = 1; !bad && k < n->book_count; k++) {
        bad = n->lows[k] <= n->lows[k - 1];
    }
    if (bad)
        MYR_FAIL(err, BAD_FORMAT, "model: the book of %u for %u lows is not in order", n->book_count, n->low_count);
    return MYR_OK;
}

myr_rc myr_lanes_check_columns(const lanes_numbers *n, myr_err *err)
{
    uint32_t blocks = 0;
    uint32_t lows = 0;
    unsigned flags = 0;
    MYR_TRY(lcheck_book(n, err));
    for (uint32_t j = 0; n->slabs && j < n->numeric_columns; j += LANES_SLAB) {
        MYR_TRY(lcheck_slab(n, j, &blocks, err));
    }
    for (uint32_t j = 0; j < n->numeric_columns; j++) {
        const lanes_column *column = &n->columns[j];
        bool same = (column->flags & LANES_SAME) != 0;
        flags |= column->flags;
        if (column->feature >= n->column_count) {
            MYR_FAIL(err, BAD_FORMAT, "model: byte column %u: column %u of %u", j, column->feature, n->column_count);
        }
        if ((column->flags & ~(LANES_ZERO | LANES_SAME | LANES_RUN)) != 0 || !lcheck_run(n, j) ||
            !lcheck_is_zero(column->pad, sizeof column->pad) ||
            (!n->slabs && (column->slab_block | column->slab_rows) != 0)) {
            MYR_FAIL(err, BAD_FORMAT, "model: byte column %u: flags 0x%x or padding", j, column->flags);
        }
        if (same) {
            if (j == 0 || column[-1].feature != column->feature || column[-1].rank_count != column->rank_count ||
                column[-1].key_block != column->key_block || column[-1].low_first != column->low_first) {
                MYR_FAIL(err, BAD_FORMAT, "model: byte column %u is not like the one before", j);
            }
            const int32_t *keys = n->keys + (size_t)column->key_block * LANES_BLOCK;
            if (n->slabs && !lcheck_pivots(n, column, j, keys))
                MYR_FAIL(err, BAD_FORMAT, "model: byte column %u: its pivots are not those of the one before", j);
            continue;
        }
        uint32_t block_count = column->rank_count / LANES_BLOCK + 1u;
        if (!n->slabs) block_count += block_count > 1;
        if (column->key_block != blocks || block_count > n->key_blocks - blocks || column->low_first != lows ||
            column->rank_count == 0 || column->rank_count > LANES_RANKS_MAX ||
            (!n->single && column->rank_count > n->low_count - lows)) {
            MYR_FAIL(err, BAD_FORMAT, "model: byte column %u: %u thresholds at block %u, %u of %u lows", j,
                     column->rank_count, column->key_block, column->low_first, n->low_count);
        }
        MYR_TRY(lcheck_keys(n, column, j, err));
        blocks += block_count;
        lows += column->rank_count;
    }
    if (((flags & LANES_ZERO) != 0) != n->special)
        MYR_FAIL(err, BAD_FORMAT, "model: its flags do not fit its columns (special %d)", n->special);
    if (blocks != n->key_blocks || (n->single ? 0 : lows) != n->low_count) {
        MYR_FAIL(err, BAD_FORMAT, "model: %u key blocks and %u lows, %u and %u used", n->key_blocks, n->low_count,
                 blocks, lows);
    }
    return MYR_OK;
}

static myr_rc lcheck_sets(const lcheck_ctx *c)
{
    const lanes_set *sets = (const lanes_set *)(c->bytes + c->map.sets_at);
    for (uint32_t j = 0; j < c->h->set_columns; j++) {
        const lanes_set *set = &sets[j];
        if (set->feature >= c->h->column_count || !lcheck_is_zero(set->pad, sizeof set->pad) ||
            (set->missing_bin != LANES_LEFT && set->missing_bin != LANES_RIGHT)) {
            MYR_FAIL(c->err, BAD_FORMAT, "model: set column %u: column %u of %u, missing %d, or padding", j,
                     set->feature, c->h->column_count, set->missing_bin);
        }
        if (set->word_first > c->h->word_count || set->word_count > c->h->word_count - set->word_first ||
            set->word_count > MYR_CATEGORY_MAX / 32) {
            MYR_FAIL(c->err, BAD_FORMAT, "model: set column %u: %u category words from %u of %u", j, set->word_count,
                     set->word_first, c->h->word_count);
        }
    }
    return MYR_OK;
}

/* ---- trees ---- */

static uint32_t lcheck_leaves_of(const uint16_t *firsts, uint32_t tree_count, uint32_t leaf_count, uint32_t k)
{
    return (k + 1 < tree_count ? firsts[k + 1] : leaf_count) - firsts[k];
}

#define LCHECK_LANES 16 /* a register that every CPU has */
typedef uint8_t lcheck_lanes __attribute__((vector_size(LCHECK_LANES)));
typedef int8_t lcheck_ranks __attribute__((vector_size(LCHECK_LANES)));
_Static_assert(LANES_STRIDE % LCHECK_LANES == 0, "lanes are whole registers");

static inline void lcheck_load(const unsigned char *from, lcheck_lanes *out)
{
    memcpy(out, from, sizeof *out);
}

/* All entries of LCHECK_LANES trees in one byte: this is most of a check, so a register at a time. */
static bool lcheck_part(const lcheck_ctx *c, const unsigned char *counts, const unsigned char *entries, size_t lanes,
                        uint32_t positions, const unsigned char *forbidden)
{
    lcheck_lanes bad = {0};
    lcheck_ranks mirrored = (lcheck_ranks){0} - (int8_t)c->mirror;
    lcheck_lanes last_column = (lcheck_lanes){0} + (uint8_t)(c->byte_columns - 1);
    lcheck_ranks last_rank = (lcheck_ranks){0} + (int8_t)c->rank_last;
    lcheck_lanes count;
    lcheck_lanes never;
    lcheck_load(counts, &count);
    lcheck_load(forbidden, &never);
    for (uint32_t p = 0; p < positions; p++, entries += 3 * lanes) {
        lcheck_lanes column;
        lcheck_lanes rank;
        lcheck_lanes clear;
        lcheck_load(entries, &column);
        lcheck_load(entries + lanes, &rank);
        lcheck_load(entries + 2 * lanes, &clear);
        lcheck_lanes inside = (lcheck_lanes)(count > (lcheck_lanes){0} + (uint8_t)p);
        lcheck_lanes named = column ^ (lcheck_lanes)(((lcheck_ranks)column < (lcheck_ranks){0}) & mirrored);
        lcheck_lanes wrong = (lcheck_lanes)(named > last_column) | (lcheck_lanes)((lcheck_ranks)rank > last_rank) |
                             (lcheck_lanes)(clear == (lcheck_lanes){0}) | (clear & never);
        bad |= (inside & wrong) | (~inside & (column | rank | clear));
    }
    return lcheck_is_zero((const unsigned char *)&bad, sizeof bad);
}

/* The same one by one, for the message. */
static myr_rc lcheck_name_entry(const lcheck_ctx *c, const lanes_group *g, const unsigned char *counts,
                                const unsigned char *entries, uint32_t positions, const unsigned char *forbidden)
{
    uint32_t lanes = g->lane_count;
    for (uint32_t p = 0; p < positions; p++, entries += 3 * (size_t)lanes) {
        for (uint32_t k = 0; k < lanes; k++) {
            uint32_t column = entries[k] ^ (c->mirror && entries[k] >= LANES_MIRROR_MAX ? UINT8_MAX : 0);
            int rank = (int8_t)entries[lanes + k];
            uint32_t clear = entries[2 * lanes + k];
            bool good = p < counts[k] ? column < c->byte_columns && rank <= c->rank_last && clear != 0 &&
                                            (clear & forbidden[k]) == 0
                                      : (entries[k] | (uint32_t)rank | clear) == 0;
            if (!good) {
                MYR_FAIL(c->err, BAD_FORMAT,
                         "model: tree %u of its group, entry %u of %u: column %u of %u, rank %d, clears 0x%x", k, p,
                         counts[k], column, c->byte_columns, rank, clear);
            }
        }
    }
    MYR_FAIL(c->err, BAD_FORMAT, "model: a group's entries changed while they were checked");
}

/* One byte of all trees of a group: entries in front, zeros behind them, no leaf cleared from the tree's last on. */
static myr_rc lcheck_entries(const lcheck_ctx *c, const lanes_group *g, const unsigned char *counts,
                             const unsigned char *entries, uint32_t positions, const unsigned char *forbidden)
{
    uint32_t most = 0;
    bool good = true;
    for (uint32_t k = 0; k < g->tree_count; k++) {
        if (counts[k] > most) most = counts[k];
    }
    if (most != positions) MYR_FAIL(c->err, BAD_FORMAT, "model: %u entries, %u expected", most, positions);
    if (most > 0 && c->byte_columns == 0) MYR_FAIL(c->err, BAD_FORMAT, "model: entries without a byte column");
    for (uint32_t k = 0; k < g->lane_count; k += LCHECK_LANES) {
        good &= lcheck_part(c, counts + k, entries + k, g->lane_count, positions, forbidden + k);
    }
    return good ? MYR_OK : lcheck_name_entry(c, g, counts, entries, positions, forbidden);
}

/* The group's part of the entries section; leaf_count is what the next group's first leaf leaves to it. */
static myr_rc lcheck_group_entries(const lcheck_ctx *c, const lanes_group *g, uint32_t leaf_count)
{
    const unsigned char *at = c->bytes + c->map.entries_at + g->entries_at;
    const unsigned char *end = at + lanes_group_bytes(g);
    const uint16_t *firsts = (const uint16_t *)at;
    const unsigned char *counts = at + g->lane_count * sizeof *firsts;
    const unsigned char *entries = counts + (size_t)g->lane_count * g->byte_count;
    uint32_t leaves_max = 0;
    bool padded = false;
    for (uint32_t k = g->tree_count; k < g->lane_count; k++) {
        padded |= firsts[k] != 0;
        for (uint32_t b = 0; b < g->byte_count; b++) {
            padded |= counts[(size_t)b * g->lane_count + k] != 0;
        }
    }
    if (padded) MYR_FAIL(c->err, BAD_FORMAT, "model: a lane behind the %u trees of a group is not 0", g->tree_count);
    for (uint32_t k = 0; k < g->tree_count; k++) {
        uint32_t leaves = lcheck_leaves_of(firsts, g->tree_count, leaf_count, k);
        if (leaves == 0 || leaves > LANES_LEAVES_MAX || (k == 0 && firsts[k] != 0)) {
            MYR_FAIL(c->err, BAD_FORMAT, "model: tree %u of its group has %u leaves from %u", k, leaves, firsts[k]);
        }
        if (leaves > leaves_max) leaves_max = leaves;
    }
    if (g->byte_count != (leaves_max + 7) / 8)
        MYR_FAIL(c->err, BAD_FORMAT, "model: %u bytes for %u leaves", g->byte_count, leaves_max);
    for (uint32_t b = 0; b < g->byte_count; b++) {
        unsigned char forbidden[LANES_TREES] = {0};
        for (uint32_t k = 0; k < g->tree_count; k++) {
            uint32_t last = lcheck_leaves_of(firsts, g->tree_count, leaf_count, k) - 1;
            unsigned bits = last >= b * 8 + 8 ? 0 : 0xffu << (last > b * 8 ? last - b * 8 : 0);
            forbidden[k] = (unsigned char)(bits & 0xffu);
        }
        MYR_TRY(lcheck_entries(c, g, counts + (size_t)b * g->lane_count, entries, g->positions[b], forbidden));
        entries += 3 * (size_t)g->lane_count * g->positions[b];
    }
    MYR_ASSERT(entries <= end);
    return lcheck_zeros(c, (uint64_t)(entries - c->bytes), (uint64_t)(end - c->bytes));
}

static myr_rc lcheck_groups(const lcheck_ctx *c)
{
    const lanes_group *groups = (const lanes_group *)(c->bytes + c->map.groups_at);
    uint32_t group_count = (c->h->tree_count + LANES_TREES - 1) / LANES_TREES;
    uint64_t entries_at = 0;
    uint32_t leaves_first = 0;
    for (uint32_t i = 0; i < group_count; i++) {
        const lanes_group *g = &groups[i];
        uint32_t trees = c->h->tree_count - i * LANES_TREES;
        uint32_t leaves_end = i + 1 < group_count ? groups[i + 1].leaves_first : c->h->item_count;
        if (g->mark != LANES_MARK || g->tree_count != (trees < LANES_TREES ? trees : LANES_TREES) ||
            g->byte_count == 0 || g->lane_count != lanes_stride(g->tree_count) || g->byte_count > LANES_BYTES_MAX ||
            !lcheck_is_zero(g->pad, sizeof g->pad) ||
            !lcheck_is_zero(g->positions + g->byte_count, LANES_BYTES_MAX - g->byte_count)) {
            MYR_FAIL(c->err, BAD_FORMAT, "model: group %u: mark 0x%x, %u trees, %u bytes, or padding", i, g->mark,
                     g->tree_count, g->byte_count);
        }
        if (g->entries_at != entries_at || lanes_group_bytes(g) > c->h->entry_bytes - entries_at ||
            g->leaves_first != leaves_first || leaves_end < leaves_first || leaves_end > c->h->item_count ||
            leaves_end - leaves_first > LANES_TREES * LANES_LEAVES_MAX) {
            MYR_FAIL(c->err, BAD_FORMAT, "model: group %u: entries at %u of %u, leaves %u to %u of %u", i,
                     g->entries_at, c->h->entry_bytes, g->leaves_first, leaves_end, c->h->item_count);
        }
        MYR_TRY(lcheck_group_entries(c, g, leaves_end - leaves_first));
        entries_at += lanes_group_bytes(g);
        leaves_first = leaves_end;
    }
    if (entries_at != c->h->entry_bytes || leaves_first != c->h->item_count) {
        MYR_FAIL(c->err, BAD_FORMAT, "model: %u bytes of entries and %u leaves, not all used", c->h->entry_bytes,
                 c->h->item_count);
    }
    return MYR_OK;
}

static myr_rc lcheck_numbers(const lcheck_ctx *c)
{
    const double *bases = (const double *)(c->bytes + c->map.bases_at);
    const uint16_t *outputs = (const uint16_t *)(c->bytes + c->map.outputs_at);
    bool single = c->h->calc == MYR_CALC_F32;
    bool bad = false;
    for (uint32_t k = 0; k < c->h->margin_count; k++) {
        if (isnan(bases[k]) || (single && !model_is_float(bases[k]))) {
            MYR_FAIL(c->err, BAD_FORMAT, "model: base margin %u is %.17g", k, bases[k]);
        }
    }
    for (uint32_t t = 0; c->h->margin_count > 1 && t < c->h->tree_count; t++) {
        bad |= outputs[t] >= c->h->margin_count;
    }
    if (bad) MYR_FAIL(c->err, BAD_FORMAT, "model: a tree adds to an output that is none of %u", c->h->margin_count);
    const float *floats = (const float *)(c->bytes + c->map.leaves_at);
    const double *doubles = (const double *)(c->bytes + c->map.leaves_at);
    for (uint32_t k = 0; single && k < c->h->item_count; k++) {
        bad |= isnan(floats[k]);
    }
    for (uint32_t k = 0; !single && k < c->h->item_count; k++) {
        bad |= isnan(doubles[k]);
    }
    if (bad) MYR_FAIL(c->err, BAD_FORMAT, "model: a leaf's value is not a number");
    return MYR_OK;
}

myr_rc myr_lanes_check(const model_header *h, const unsigned char *bytes, myr_err *err)
{
    lcheck_ctx c = {.h = h, .bytes = bytes, .map = lanes_map_of(h), .err = err};
    c.mirror = (h->flags & MODEL_MIRROR) != 0;
    c.rank_last = LANES_RANK_LAST + c.mirror;
    int columns_max = c.mirror ? LANES_MIRROR_MAX : LANES_COLUMNS_MAX;
    c.byte_columns = (uint32_t)h->numeric_columns + h->set_columns;
    if (c.byte_columns > (uint32_t)columns_max || h->tree_count == 0) {
        MYR_FAIL(err, BAD_FORMAT, "model: %u byte columns (at most %d) and %u trees in lanes", c.byte_columns,
                 columns_max, h->tree_count);
    }
    bool slabs = h->version >= LANES_SLABS_SINCE;
    MYR_TRY(lcheck_zeros(&c, c.map.outputs_end, slabs ? c.map.keys_at : c.map.lows_at));
    MYR_TRY(lcheck_zeros(&c, c.map.lows_end, c.map.book_at));
    MYR_TRY(lcheck_zeros(&c, c.map.book_end, slabs ? c.map.leaves_at : c.map.entries_at));
    MYR_TRY(lcheck_zeros(&c, c.map.entries_end, slabs ? c.map.lows_at : c.map.leaves_at));
    MYR_TRY(lcheck_zeros(&c, c.map.leaves_end, c.map.words_at));
    MYR_TRY(lcheck_zeros(&c, c.map.words_end, c.map.size));
    lanes_numbers numbers = {.column_count = h->column_count,
                             .numeric_columns = h->numeric_columns,
                             .key_blocks = h->key_blocks,
                             .low_count = h->low_count,
                             .book_count = h->book_count,
                             .single = h->calc == MYR_CALC_F32,
                             .special = (h->flags & MODEL_SPECIAL) != 0,
                             .slabs = slabs,
                             .columns = (const lanes_column *)(bytes + c.map.columns_at),
                             .keys = (const int32_t *)(bytes + c.map.keys_at),
                             .low_codes = bytes + c.map.lows_at,
                             .lows = (const uint32_t *)(bytes + (h->book_count > 0 ? c.map.book_at : c.map.lows_at))};
    MYR_TRY(myr_lanes_check_columns(&numbers, err));
    MYR_TRY(lcheck_sets(&c));
    MYR_TRY(lcheck_numbers(&c));
    return lcheck_groups(&c);
}
