/* Any bytes as a compiled model: check answers or refuses; what passes predicts, also after a page of it became zeros.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "model/model.h"

#define FUZZ_CELLS_MAX 4096
#define FUZZ_ROWS      9 /* eight side by side, and one alone */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_predict(const myr_model *model, uint32_t column_count, uint32_t margin_count)
{
    static const double some[] = {0,           -0.0, 1, -1, 2.5, 33, 1e-36, -1e300, (double)INFINITY, 4294967296.0,
                                  (double)NAN, -0.5, 63};
    static double rows[FUZZ_ROWS * FUZZ_CELLS_MAX];
    static double values[FUZZ_ROWS * MYR_OUTPUTS_MAX];
    if (column_count > FUZZ_CELLS_MAX || margin_count > MYR_OUTPUTS_MAX) return;
    for (size_t k = 0; k < FUZZ_ROWS * (size_t)column_count; k++) {
        rows[k] = some[k % MYR_COUNT_OF(some)];
    }
    myr_model_predict(model, rows, column_count, FUZZ_ROWS, values);
    myr_model_margins(model, rows, column_count, FUZZ_ROWS, values);
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
    fuzz_predict(model, info.column_count, info.margin_count);
    size_t page =
        (data[size - 1] + data[size / 2] * 7u) % (size / MYR_MODEL_ALIGN); /* some place, by the input alone */
    memset((unsigned char *)copy + page * MYR_MODEL_ALIGN, 0, size - page * MYR_MODEL_ALIGN);
    fuzz_predict(model, info.column_count, info.margin_count);
    return 0;
}
