/* Any bytes as a model file: import answers or refuses; what it accepts compiles, passes the check and predicts. */
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "import/import.h"

#define FUZZ_CELLS_MAX 4096 /* a file may claim 65,535 features in a few bytes */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_predict(const myr_model *model)
{
    static const double some[] = {0, -0.0, 1, -1, 2.5, 33, 1e-36, -1e300, 1e300, 4294967296.0};
    static double row[FUZZ_CELLS_MAX];
    static double values[MYR_OUTPUTS_MAX];
    myr_model_info info;
    myr_model_get_info(model, &info);
    if (info.column_count > FUZZ_CELLS_MAX) return;
    for (size_t round = 0; round < 3; round++) {
        for (size_t k = 0; k < info.column_count; k++) {
            row[k] = round == 2 ? (double)NAN : some[(k * 7 + round) % MYR_COUNT_OF(some)];
        }
        myr_model_predict(model, row, info.column_count, 1, values);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    MYR_AUTO(myr_imported_ptr) imported = NULL;
    unsigned char *bytes = NULL;
    size_t model_size = 0;
    const myr_model *model = NULL;
    myr_err err = {0};
    if (myr_import("fuzz", data, size, NULL, 0, &imported, &err) != MYR_OK) {
        MYR_ASSERT(err.rc != MYR_OK && err.message[0] != '\0' && imported == NULL);
        return 0;
    }
    myr_rc rc = myr_model_compile(&imported->desc, NULL, imported->feature_count, NULL, &bytes, &model_size, &err);
    MYR_ASSERT(rc == MYR_OK);
    MYR_ASSERT(myr_model_check(bytes, model_size, &model, &err) == MYR_OK);
    fuzz_predict(model);
    myr_free(bytes);
    return 0;
}
