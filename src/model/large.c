/*
 * A large model answers rows: opened once per call, then either tiles of rows go through the kernel of blocks, or few
 * rows (and all rows of word models) are walked. Both read the same bytes and give the same bits.
 */
#include <math.h>

#include "model/large_inner.h"

#define LARGE_WALK_ROWS_MAX 16 /* up to here walks are faster than a tile */
#define LARGE_ROWS_APART    4  /* rows that walk tree by tree; fewer go row by row */

#define LARGE_CODES     4096 /* of rows that walk together */
#define LARGE_BYTE_ROWS 16   /* rows of bytes that walk together */

/* Bins of a call: a tile, or rows that walk. */
typedef struct large_bins {
    _Alignas(64) unsigned char bytes[LARGE_TILE_BYTES];
} large_bins;

static bool large_header_read(const unsigned char *bytes, large_header *out)
{
    const large_header *g = (const large_header *)(bytes + sizeof(model_header));
    memcpy(out, g, sizeof *out);
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    return out->mark == LARGE_MARK && __atomic_load_n(&g->mark, __ATOMIC_RELAXED) == LARGE_MARK;
}

const double *myr_large_bases(const model_header *h, const unsigned char *bytes)
{
    large_header g;
    large_map m;
    if (!large_header_read(bytes, &g) || !large_map_of(h, &g, &m)) return NULL;
    return (const double *)(bytes + m.bases_at);
}

static bool large_open(const model_header *h, const unsigned char *bytes, large_view *v)
{
    large_map m;
    memset(v, 0, sizeof *v);
    if (!large_header_read(bytes, &v->g) || !large_map_of(h, &v->g, &m)) return false;
    bool words = (v->g.flags & LARGE_WORDS) != 0;
    v->h = *h;
    v->h.numeric_columns = words ? 0 : (uint16_t)v->g.numeric_columns; /* what lanes know of */
    v->h.set_columns = 0;
    v->trees = (const large_tree *)(bytes + m.trees_at);
    v->codes = (const large_code *)(bytes + m.codes_at);
    v->columns = (const large_column *)(bytes + m.columns_at);
    v->runs = (const large_run *)(bytes + m.runs_at);
    v->keys = bytes + m.keys_at;
    v->nodes = (const large_node *)(bytes + m.nodes_at);
    v->entries = bytes + m.entries_at;
    v->bits = bytes + m.bits_at;
    v->lanes = (lanes_view){.h = &v->h,
                            .keys = v->keys,
                            .columns = (const lanes_column *)(bytes + m.columns_at),
                            .outputs = h->margin_count > 1 ? (const uint16_t *)(bytes + m.outputs_at) : NULL,
                            .low_codes = v->g.book_count > 0 ? bytes + m.lows_at : NULL,
                            .lows = h->calc == MYR_CALC_F32
                                        ? NULL
                                        : (const uint32_t *)(bytes + (v->g.book_count > 0 ? m.book_at : m.lows_at)),
                            .leaves = bytes + m.leaves_at,
                            .byte_columns = v->h.numeric_columns,
                            .slabs = h->version >= LANES_SLABS_SINCE};
    return true;
}

/* ---- bins and codes ---- */

/* Byte columns in parts that the kernels of lanes take. */
static void large_quantise(const large_view *v, const double *rows, size_t row_stride, size_t row_count, int8_t *bins,
                           size_t column_step, size_t row_step)
{
    const lanes_kernels *kernels = myr_lanes_kernels();
    model_header h = v->h;
    lanes_view part = v->lanes;
    part.h = &h;
    for (uint32_t from = 0; from < v->g.numeric_columns; from += LANES_COLUMNS_MAX) {
        uint32_t count = v->g.numeric_columns - from;
        h.numeric_columns = (uint16_t)(count < LANES_COLUMNS_MAX ? count : LANES_COLUMNS_MAX);
        part.columns = v->lanes.columns + from;
        part.byte_columns = h.numeric_columns;
        kernels->quantise(&part, rows, row_stride, row_count, bins + from * column_step, column_step, row_step);
    }
}

static uint32_t large_rank(const large_view *v, const large_column *column, int64_t order)
{
    bool single = v->h.calc == MYR_CALC_F32;
    const int32_t *narrow = (const int32_t *)v->keys + column->key_first;
    const int64_t *wide = (const int64_t *)v->keys + column->key_first;
    uint32_t below = 0;
    for (uint32_t left = column->rank_count; left > 0;) { /* below + left never passes rank_count */
        uint32_t half = (left + 1) / 2;
        int64_t key = single ? (int64_t)narrow[below + half - 1] * ((int64_t)1 << 32) : wide[below + half - 1];
        below += key < order ? half : 0;
        left -= half;
    }
    return below;
}

/* Word columns of one row. */
static void large_words(const large_view *v, const double *row, uint16_t *bins)
{
    bool single = v->h.calc == MYR_CALC_F32;
    uint32_t rank = 0;
    for (uint32_t j = 0; j < v->g.numeric_columns; j++) {
        large_column column;
        memcpy(&column, &v->columns[j], sizeof column);
        double x = row[column.feature];
        if (single) x = (double)(float)x;
        bool missing = quantise_is_missing(x, (column.flags & LANES_ZERO) != 0);
        if ((column.flags & LANES_SAME) == 0) rank = large_rank(v, &column, lanes_order(isnan(x) ? 0.0 : x, single));
        bins[j] = missing ? column.missing_bin : (uint16_t)rank;
    }
}

static void large_codes(const large_view *v, const large_code *code_columns, const double *rows, size_t row_stride,
                        size_t row_count, uint16_t *codes, size_t column_step, size_t row_step)
{
    bool single = v->h.calc == MYR_CALC_F32;
    for (uint32_t j = 0; j < v->g.code_columns; j++) {
        const large_code *code = &code_columns[j];
        for (size_t i = 0; i < row_count; i++) {
            double x = rows[i * row_stride + code->feature];
            codes[j * column_step + i * row_step] = (uint16_t)large_code_of(x, code->code_count, single);
        }
    }
}

/* Bins of at most LANES_ROWS_FEW rows that walk, `step` bytes apart. */
static void large_fill(const large_view *v, const large_code *code_columns, const double *rows, size_t row_stride,
                       size_t row_count, unsigned char *bins, size_t step, uint16_t *codes)
{
    MYR_ASSERT(row_count <= LANES_ROWS_FEW);
    if (v->g.own_columns > 0) memset(bins, 0, row_count * step); /* for trees whose runs are no longer there */
    if ((v->g.flags & LARGE_WORDS) != 0) {
        for (size_t i = 0; i < row_count; i++) {
            large_words(v, rows + i * row_stride, (uint16_t *)(void *)(bins + i * step));
        }
    } else {
        large_quantise(v, rows, row_stride, row_count, (int8_t *)bins, 1, step);
        for (size_t i = 0; i < row_count; i++) {
            for (uint32_t j = 0; j < v->g.numeric_columns; j++) {
                bins[i * step + j] ^= 0x80; /* walks compare bytes without a sign */
            }
        }
    }
    large_codes(v, code_columns, rows, row_stride, row_count, codes, 1, v->g.code_columns);
}

/* ---- walks ---- */

/* Rows that there is room for, in whole LARGE_LANES. */
static size_t large_room(const large_view *v)
{
    size_t room = (v->g.flags & LARGE_WORDS) == 0 ? LARGE_BYTE_ROWS : LARGE_TILE_BYTES / large_step_of(&v->g);
    size_t codes = v->g.code_columns > 0 ? LARGE_CODES / v->g.code_columns : room;
    if (codes < room) room = codes;
    return room / LARGE_LANES * LARGE_LANES;
}

static void large_walk_one(const large_view *v, const large_code *code_columns, const double *row, unsigned char *bins,
                           double *margins)
{
    uint16_t codes[LARGE_CODE_COLUMNS];
    size_t step = large_step_of(&v->g);
    bool own = v->g.own_columns > 0;
    large_fill(v, code_columns, row, 0, 1, bins, step, codes);
    for (size_t k = 1; own && k < LARGE_LANES; k++) {
        memcpy(bins + k * step, bins, step);
    }
    myr_lanes_kernels()->large->row(v, code_columns, codes, bins, own ? step : 0, margins);
}

/* As many rows as there is room for; gives their number. */
static size_t large_walk_some(const large_view *v, const large_code *code_columns, const double *rows,
                              size_t row_stride, size_t row_count, unsigned char *bins, double *margins)
{
    uint16_t codes[LARGE_CODES];
    size_t step = large_step_of(&v->g);
    size_t room = large_room(v);
    if (room == 0 || row_count < LARGE_ROWS_APART) {
        large_walk_one(v, code_columns, rows, bins, margins);
        return 1;
    }
    size_t count = row_count < room ? row_count : room;
    for (size_t i = 0; i < count; i += LANES_ROWS_FEW) {
        size_t some = count - i < LANES_ROWS_FEW ? count - i : LANES_ROWS_FEW;
        large_fill(v, code_columns, rows + i * row_stride, row_stride, some, bins + i * step, step,
                   codes + i * v->g.code_columns);
    }
    myr_lanes_kernels()->large->rows(v, code_columns, codes, bins, step, count, margins);
    return count;
}

/* ---- blocks ---- */

static size_t large_tile(const large_view *v, const large_code *code_columns, const double *rows, size_t row_stride,
                         size_t row_count, int8_t *bins, double *margins)
{
    size_t columns = (size_t)v->g.numeric_columns + v->g.own_columns + 2 * (size_t)v->g.code_columns;
    bool wide = row_count > LANES_ROWS_MANY - LANES_ROWS_SOME && columns * LANES_ROWS_MANY <= LARGE_TILE_BYTES;
    size_t tile = wide ? LANES_ROWS_MANY : LANES_ROWS_SOME;
    size_t count = row_count < tile ? row_count : tile;
    uint16_t *codes = large_tile_codes(v, bins, tile);
    memset(bins + v->g.numeric_columns * tile, 0, v->g.own_columns * tile); /* if a tree's runs are no longer there */
    if (count < tile) memset(codes, 0, v->g.code_columns * tile * sizeof *codes); /* all rows of a tile are looked up */
    large_quantise(v, rows, row_stride, count, bins, tile, 1);
    large_codes(v, code_columns, rows, row_stride, count, codes, tile, 1);
    myr_lanes_kernels()->large->tile(v, code_columns, bins, tile, count, margins);
    return count;
}

void myr_large_margins(const model_header *h, const unsigned char *bytes, const double *rows, size_t row_stride,
                       size_t row_count, double *margins)
{
    large_bins bins;
    large_code code_columns[LARGE_CODE_COLUMNS];
    large_view v;
    if (!large_open(h, bytes, &v)) return;
    for (uint32_t j = 0; j < v.g.code_columns; j++) {
        large_code_read(&v, j, &code_columns[j]);
    }
    while (row_count > 0) {
        bool walk = (v.g.flags & LARGE_WORDS) != 0 || row_count <= LARGE_WALK_ROWS_MAX;
        size_t count = walk ? large_walk_some(&v, code_columns, rows, row_stride, row_count, bins.bytes, margins)
                            : large_tile(&v, code_columns, rows, row_stride, row_count, (int8_t *)bins.bytes, margins);
        rows += count * row_stride;
        margins += count * h->margin_count;
        row_count -= count;
    }
}
