/*
 * A model in lanes answers rows: it is opened once per call, then tiles of rows are quantised and handed to the kernel
 * for their number. Which kernels: the best that the CPU has, found once.
 */
#include "model/lanes_inner.h"

#define LANES_FEW_ROWS_MAX 16 /* up to here registers of trees are faster than registers of rows */

static const lanes_kernels *lanes_chosen; /* by atomic loads and stores only */

#if defined(MYR_LANES_EMULATED)
#define LANES_CPU(feature) true /* a test wrote the instructions out in C */
#else
#define LANES_CPU(feature) (__builtin_cpu_supports(feature) != 0)
#endif

#if defined(__x86_64__)
/* The compiler's function asks the CPU and, by XGETBV, whether the system saves the registers. */
static bool lanes_has_avx2(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
           __builtin_cpu_supports("popcnt");
}

static bool lanes_has_avx512(void)
{
    return LANES_CPU("bmi2") && LANES_CPU("popcnt") && LANES_CPU("avx512f") && LANES_CPU("avx512bw") &&
           LANES_CPU("avx512vl") && LANES_CPU("avx512dq");
}

static bool lanes_has_avx512vbmi(void)
{
    return lanes_has_avx512() && LANES_CPU("avx512vbmi") && LANES_CPU("avx512bitalg");
}
#endif

static bool lanes_has_any(void)
{
    return true;
}

/* The best first. */
static const struct {
    const lanes_kernels *kernels;
    bool (*has)(void);
} lanes_known[] = {
#if defined(__x86_64__)
    {&myr_lanes_avx512vbmi, lanes_has_avx512vbmi},
    {&myr_lanes_avx512, lanes_has_avx512},
    {&myr_lanes_avx2, lanes_has_avx2},
#elif defined(__aarch64__)
    {&myr_lanes_neon, lanes_has_any},
#endif
    {&myr_lanes_plain, lanes_has_any},
};

/* The best that this CPU has, or the one of that name; NULL if there is none. */
static const lanes_kernels *lanes_find(const char *name)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
#endif
    for (size_t k = 0; k < MYR_COUNT_OF(lanes_known); k++) {
        if ((name == NULL || strcmp(name, lanes_known[k].kernels->name) == 0) && lanes_known[k].has())
            return lanes_known[k].kernels;
    }
    return NULL;
}

const lanes_kernels *myr_lanes_kernels(void)
{
    const lanes_kernels *kernels = __atomic_load_n(&lanes_chosen, __ATOMIC_RELAXED);
    if (kernels == NULL) {
        kernels = lanes_find(NULL); /* two threads find the same */
        __atomic_store_n(&lanes_chosen, kernels, __ATOMIC_RELAXED);
    }
    return kernels;
}

bool myr_lanes_force(const char *name)
{
    const lanes_kernels *forced = lanes_find(name);
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
                      .byte_columns = (uint32_t)h->numeric_columns + h->set_columns,
                      .slabs = h->version >= LANES_SLABS_SINCE};
}

/* The tile for `row_count` rows: whole registers of rows for the wide one must pay. */
static size_t lanes_tile(const lanes_view *v, size_t row_count)
{
    bool room = v->byte_columns <= LANES_BINS_BYTES / LANES_ROWS_MANY;
    return room && row_count > LANES_ROWS_MANY - LANES_ROWS_SOME ? LANES_ROWS_MANY : LANES_ROWS_SOME;
}

/*
 * The bins of a tile as the kernels of many rows take them: mirrored, since a comparison takes its second operand from
 * memory. Before them lies what the other columns of entries name: the mirror of the mirror, or what is above
 * INT8_MAX.
 */
static void lanes_mirror(const lanes_view *v, size_t tile, int8_t *bins)
{
    typedef uint64_t lanes_line __attribute__((vector_size(LANES_STRIDE)));
    bool mirror = (v->h->flags & MODEL_MIRROR) != 0;
    for (uint32_t c = 0; c < v->byte_columns; c++) {
        int8_t *column = bins + c * tile;
        int8_t *other = bins - (mirror ? c + 1 : LANES_COLUMNS_MAX - c) * tile;
        for (size_t i = 0; i < tile; i += sizeof(lanes_line)) {
            lanes_line line;
            memcpy(&line, column + i, sizeof line);
            lanes_line mirrored = ~line;
            memcpy(column + i, &mirrored, sizeof line);
            if (mirror) memcpy(other + i, &line, sizeof line);
            if (c > INT8_MAX) memcpy(other + i, &mirrored, sizeof line);
        }
    }
}

static bool lanes_is_few(const lanes_view *v, size_t row_count)
{
    return row_count <= LANES_FEW_ROWS_MAX && v->byte_columns <= LANES_FEW_COLUMNS;
}

/* Tiles; the rest by the kernel of few rows, if it can. */
static __attribute__((noinline)) void lanes_tiles(const lanes_view *v, const double *rows, size_t row_stride,
                                                  size_t row_count, double *margins)
{
    _Alignas(64) int8_t room[2 * LANES_BINS_BYTES];
    int8_t *bins = room + LANES_BINS_BYTES;
    const lanes_kernels *kernels = myr_lanes_kernels();
    while (row_count > 0 && !lanes_is_few(v, row_count)) {
        size_t tile = lanes_tile(v, row_count);
        size_t count = row_count < tile ? row_count : tile;
        kernels->quantise(v, rows, row_stride, count, bins, tile, 1);
        lanes_mirror(v, tile, bins);
        kernels->many(v, bins, tile, count, margins);
        rows += count * row_stride;
        margins += count * v->h->margin_count;
        row_count -= count;
    }
    if (row_count > 0) kernels->few(v, rows, row_stride, row_count, NULL, margins);
}

void myr_lanes_margins(const model_header *h, const unsigned char *bytes, const double *rows, size_t row_stride,
                       size_t row_count, lanes_ahead *ahead, double *margins)
{
    lanes_view v;
    lanes_open(h, bytes, &v);
    if (lanes_is_few(&v, row_count)) {
        myr_lanes_kernels()->few(&v, rows, row_stride, row_count, ahead, margins);
    } else {
        lanes_tiles(&v, rows, row_stride, row_count, margins);
    }
}

bool myr_lanes_find(const model_header *h, const unsigned char *bytes, const double *row, lanes_ahead *ahead,
                    lanes_found *out)
{
    if (h->tree_count > LANES_FOUND_MAX) return false;
    lanes_open(h, bytes, &out->view);
    if (out->view.byte_columns > LANES_FEW_COLUMNS) return false;
    myr_lanes_kernels()->find(&out->view, row, ahead, out->leaves);
    return true;
}

void myr_lanes_add(const lanes_found *found, double *margins)
{
    const lanes_view *v = &found->view;
    uint32_t tree_count = v->h->tree_count;
    if (v->outputs == NULL && v->h->calc != MYR_CALC_F32) {
        const double *values = v->leaves;
        for (uint32_t k = 0; k < tree_count; k++) {
            *margins += values[found->leaves[k]];
        }
        return;
    }
    for (uint32_t k = 0; k < tree_count; k++) {
        lanes_add(v, &margins[v->outputs != NULL ? v->outputs[k] : 0], found->leaves[k], v->h->calc == MYR_CALC_F32);
    }
}
