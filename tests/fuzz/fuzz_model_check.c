/*
 * Any bytes as a compiled model: check answers or refuses; what passes predicts (every output that it has), also after
 * a page of it became zeros, and every kernel gives the same bits.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "model/lanes.h"

#define FUZZ_CELLS_MAX   512
#define FUZZ_OUTPUTS_MAX 16
#define FUZZ_EXPLAINED   3 /* rows of the outputs beside the value */
#define FUZZ_WIDTH_MAX   8192
#define FUZZ_ROWS        69 /* a tile and five: each kernel of lanes, and nodes side by side and alone */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char *const kernel_names[] = {LANES_KERNEL_NAMES};

/* One row to a run, and three at the end, with the kernels that are set. */
static void fuzz_runs(const myr_model *model, const double *rows, uint32_t column_count)
{
    static double values[FUZZ_ROWS * FUZZ_OUTPUTS_MAX];
    static double want[FUZZ_ROWS * FUZZ_OUTPUTS_MAX];
    myr_model_run runs[FUZZ_ROWS];
    myr_model_info info;
    myr_model_get_info(model, &info);
    size_t width = info.output_count;
    size_t count = 0;
    for (size_t i = 0; i < FUZZ_ROWS; count++) {
        size_t some = i + 3 == FUZZ_ROWS ? 3 : 1;
        runs[count] =
            (myr_model_run){model, info.size_bytes, rows + i * column_count, column_count, some, values + i * width};
        i += some;
    }
    myr_model_predict_runs(runs, count);
    myr_model_predict(model, rows, column_count, FUZZ_ROWS, want);
    for (size_t k = 0; k < FUZZ_ROWS * width; k++) {
        MYR_ASSERT((isnan(want[k]) && isnan(values[k])) || memcmp(&want[k], &values[k], sizeof want[k]) == 0);
    }
}

static void fuzz_predict(const myr_model *model, uint32_t column_count, uint32_t margin_count, bool whole)
{
    static const double some[] = {0,           -0.0, 1, -1, 2.5, 33, 1e-36, -1e300, (double)INFINITY, 4294967296.0,
                                  (double)NAN, -0.5, 63};
    static double rows[FUZZ_ROWS * FUZZ_CELLS_MAX];
    static double values[FUZZ_ROWS * FUZZ_OUTPUTS_MAX];
    static double plain[FUZZ_ROWS * FUZZ_OUTPUTS_MAX];
    if (column_count > FUZZ_CELLS_MAX || margin_count > FUZZ_OUTPUTS_MAX) return;
    for (size_t k = 0; k < FUZZ_ROWS * (size_t)column_count; k++) {
        rows[k] = some[k % MYR_COUNT_OF(some)];
    }
    myr_model_predict(model, rows, column_count, FUZZ_ROWS, values);
    myr_model_margins(model, rows, column_count, 5, values);
    MYR_ASSERT(myr_lanes_force("plain"));
    myr_model_margins(model, rows, column_count, FUZZ_ROWS, plain);
    for (size_t n = 0; n < MYR_COUNT_OF(kernel_names); n++) {
        if (!myr_lanes_force(kernel_names[n])) continue;
        myr_model_margins(model, rows, column_count, FUZZ_ROWS, values);
        for (size_t k = 0; k < FUZZ_ROWS * (size_t)margin_count; k++) {
            MYR_ASSERT((isnan(plain[k]) && isnan(values[k])) || memcmp(&plain[k], &values[k], sizeof plain[k]) == 0);
        }
        fuzz_runs(model, rows, column_count);
    }
    MYR_ASSERT(myr_lanes_force(NULL));
    for (size_t some = 1; whole && some <= 5; some += 4) { /* few rows go other ways than a block */
        for (size_t i = 0; i + some <= FUZZ_ROWS; i += some) {
            myr_model_margins(model, rows + i * column_count, column_count, some, values + i * margin_count);
        }
        for (size_t k = 0; k < FUZZ_ROWS / some * some * margin_count; k++) {
            MYR_ASSERT((isnan(plain[k]) && isnan(values[k])) || memcmp(&plain[k], &values[k], sizeof plain[k]) == 0);
        }
    }
}

/* The other outputs: of a few rows, since deep trees are slow to explain. */
static void fuzz_outputs(const myr_model *model, uint32_t column_count)
{
    static double rows[FUZZ_EXPLAINED * FUZZ_CELLS_MAX];
    static double values[FUZZ_EXPLAINED * FUZZ_WIDTH_MAX];
    if (column_count > FUZZ_CELLS_MAX) return;
    for (size_t k = 0; k < MYR_COUNT_OF(rows); k++) {
        rows[k] = k % 7 == 6 ? (double)NAN : (double)(k % 5) - 1.5;
    }
    for (int output = 0; output < MYR_OUTPUT_COUNT; output++) {
        size_t width = myr_model_width(model, (myr_output)output);
        if (width == 0 || width > FUZZ_WIDTH_MAX) continue;
        MYR_IGNORE(myr_model_predict_as(model, (myr_output)output, rows, column_count, FUZZ_EXPLAINED, values,
                                        NULL)); /* it may not have this one; the rest is for the sanitizers */
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    MYR_AUTO(myr_mem) copy = myr_alloc_aligned(MYR_MODEL_ALIGN, size + 1);
    const myr_model *model = NULL;
    myr_err err = {0};
    if (copy == NULL) return 0;
    memcpy(copy, data, size);
    if (myr_model_check(copy, size, &model, &err) != MYR_OK) {
        MYR_ASSERT(err.rc != MYR_OK && err.message[0] != '\0' && model == NULL);
        return 0;
    }
    myr_model_info info;
    myr_model_get_info(model, &info);
    fuzz_predict(model, info.column_count, info.margin_count, true);
    fuzz_outputs(model, info.column_count);
    size_t page =
        (data[size - 1] + data[size / 2] * 7u) % (size / MYR_MODEL_ALIGN); /* some place, by the input alone */
    memset((unsigned char *)copy + page * MYR_MODEL_ALIGN, 0, size - page * MYR_MODEL_ALIGN);
    fuzz_predict(model, info.column_count, info.margin_count, false);
    fuzz_outputs(model, info.column_count);
    return 0;
}
