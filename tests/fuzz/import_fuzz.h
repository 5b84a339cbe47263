/*
 * Any bytes as a model file: import answers or refuses; what it accepts compiles (with explanations too), passes the
 * check and predicts. What the targets for text formats share.
 */
#ifndef MYR_IMPORT_FUZZ_H
#define MYR_IMPORT_FUZZ_H

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

/* A file of an odd size also loses rounds. */
static int fuzz_one(const uint8_t *data, size_t size)
{
    const myr_import_opts opts = {.first_iteration = size % 5 == 4, .iterations = size % 5 == 3};
    const myr_compile_opts compile_opts = {.explain = size % 2 == 0};
    MYR_AUTO(myr_imported_ptr) imported = NULL;
    unsigned char *bytes = NULL;
    size_t model_size = 0;
    const myr_model *model = NULL;
    myr_err err = {0};
    if (myr_import_with("fuzz", data, size, &opts, &imported, &err) != MYR_OK) {
        MYR_ASSERT(err.rc != MYR_OK && err.message[0] != '\0' && imported == NULL);
        return 0;
    }
    myr_rc rc =
        myr_model_compile(&imported->desc, NULL, imported->feature_count, &compile_opts, &bytes, &model_size, &err);
    MYR_ASSERT(rc == MYR_OK);
    MYR_ASSERT(myr_model_check(bytes, model_size, &model, &err) == MYR_OK);
    fuzz_predict(model);
    myr_free(bytes);
    return 0;
}

#endif
