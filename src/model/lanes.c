/*
 * A model in lanes answers rows: it is opened once per call, then tiles of rows are quantised and handed to the kernel
 * for their number. Which kernels: the best that the CPU has, found once.
 */
#include "model/lanes.h"

#define LANES_FEW_ROWS_MAX 16 /* up to here registers of trees are faster than registers of rows */

static const lanes_kernels *lanes_chosen; /* by atomic loads and stores only */

static const lanes_kernels *lanes_best(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") && __builtin_cpu_supports("popcnt"))
        return &myr_lanes_avx2;
#endif
    return &myr_lanes_plain;
}

const lanes_kernels *myr_lanes_kernels(void)
{
    const lanes_kernels *kernels = __atomic_load_n(&lanes_chosen, __ATOMIC_RELAXED);
    if (kernels == NULL) {
        kernels = lanes_best(); /* two threads find the same */
        __atomic_store_n(&lanes_chosen, kernels, __ATOMIC_RELAXED);
    }
    return kernels;
}

bool myr_lanes_force(const char *name)
{
    const lanes_kernels *best = lanes_best();
    const lanes_kernels *forced = name == NULL || strcmp(name, best->name) == 0 ? best : NULL;
    if (name != NULL && strcmp(name, myr_lanes_plain.name) == 0) forced = &myr_lanes_plain;
    if (forced != NULL) __atomic_store_n(&lanes_chosen, forced, __ATOMIC_RELAXED);
    return forced != NULL;
}

static void lanes_open(const model_header *h, const unsigned char *bytes, lanes_view *v)
{
    lanes_map m = lanes_map_of(h);
    *v = (lanes_view){.h = h,
                      .groups = (const lanes_group *)(bytes + m.groups_at),
                      .keys = (const int32_t *)(bytes + m.keys_at),
                      .columns = (const lanes_column *)(bytes + m.columns_at),
                      .sets = (const lanes_set *)(bytes + m.sets_at),
                      .outputs = h->margin_count > 1 ? (const uint16_t *)(bytes + m.outputs_at) : NULL,
                      .low_codes = h->book_count > 0 ? bytes + m.lows_at : NULL,
                      .lows = h->calc == MYR_CALC_F32
                                  ? NULL
                                  : (const uint32_t *)(bytes + (h->book_count > 0 ? m.book_at : m.lows_at)),
                      .entries = bytes + m.entries_at,
                      .leaves = bytes + m.leaves_at,
                      .words = (const uint32_t *)(bytes + m.words_at),
                      .byte_columns = (uint32_t)h->numeric_columns + h->set_columns};
}

/* The tile for `row_count` rows: whole registers of rows for the wide one must pay. */
static size_t lanes_tile(const lanes_view *v, size_t row_count)
{
    bool room = v->byte_columns <= LANES_BINS_BYTES / LANES_ROWS_MANY;
    return room && row_count > LANES_ROWS_MANY - LANES_ROWS_SOME ? LANES_ROWS_MANY : LANES_ROWS_SOME;
}

void myr_lanes_margins(const model_header *h, const unsigned char *bytes, const double *rows, size_t row_stride,
                       size_t row_count, double *margins)
{
    _Alignas(64) int8_t bins[LANES_BINS_BYTES];
    const lanes_kernels *kernels = myr_lanes_kernels();
    lanes_view v;
    lanes_open(h, bytes, &v);
    while (row_count > 0) {
        size_t count;
        if (row_count <= LANES_FEW_ROWS_MAX && v.byte_columns <= LANES_FEW_COLUMNS) {
            count = row_count < LANES_ROWS_FEW ? row_count : LANES_ROWS_FEW;
            kernels->quantise(&v, rows, row_stride, count, bins, 1, LANES_FEW_COLUMNS);
            kernels->few(&v, bins, count, margins);
        } else {
            size_t tile = lanes_tile(&v, row_count);
            count = row_count < tile ? row_count : tile;
            kernels->quantise(&v, rows, row_stride, count, bins, tile, 1);
            kernels->many(&v, bins, tile, count, margins);
        }
        rows += count * row_stride;
        margins += count * h->margin_count;
        row_count -= count;
    }
}
