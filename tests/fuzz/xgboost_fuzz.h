/* What the two XGBoost fuzz targets share: import, compile, check, predict; whatever passes one step must pass the
 * next. */
#ifndef MYR_XGBOOST_FUZZ_H
#define MYR_XGBOOST_FUZZ_H

#include <math.h>

#include "import/internal.h"

#define FUZZ_ROWS       4
#define FUZZ_VALUES_MAX (1 << 20) /* wide models are compiled and checked, not predicted */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fuzz_predict(const myr_model *model)
{
    static const double values[] = {0.0, -1.5, 1e30, (double)NAN, 3.0, (double)INFINITY, 0.1};
    myr_model_info info;
    myr_model_get_info(model, &info);
    size_t width = info.column_count;
    size_t wide = info.output_count > info.margin_count ? info.output_count : info.margin_count;
    if (width > FUZZ_VALUES_MAX / FUZZ_ROWS || info.tree_count > FUZZ_VALUES_MAX / FUZZ_ROWS) return;
    double *rows = myr_calloc(width * FUZZ_ROWS + 1, sizeof *rows);
    double *out = myr_calloc(wide * FUZZ_ROWS, sizeof *out);
    MYR_ASSERT(rows != NULL && out != NULL);
    for (size_t i = 0; i < width * FUZZ_ROWS; i++) {
        rows[i] = values[(i + i / MYR_COUNT_OF(values)) % MYR_COUNT_OF(values)];
    }
    myr_model_margins(model, rows, width, FUZZ_ROWS, out);
    myr_model_predict(model, rows, width, FUZZ_ROWS, out);
    myr_free(rows);
    myr_free(out);
}

static int fuzz_one(const uint8_t *data, size_t size, myr_format format)
{
    const myr_import_opts opts = {.first_iteration = size % 5 == 4, .iterations = size % 5 == 3}; /* some lose rounds */
    const myr_compile_opts compile_opts = {.explain = size % 2 == 0};
    myr_import_src src = {.name = "fuzz", .data = (const char *)data, .size = size, .opts = &opts};
    myr_imported imported = {.format = format, .arena = myr_arena_new(0)};
    myr_err err = {0};
    MYR_ASSERT(imported.arena != NULL);
    myr_rc rc = myr_import_xgboost(&src, &imported, &err);
    MYR_ASSERT(rc == MYR_OK || err.message[0] != '\0');
    MYR_ASSERT(rc != MYR_INTERNAL && rc != MYR_NO_MEMORY);
    if (rc == MYR_OK) {
        unsigned char *bytes = NULL;
        size_t bytes_size = 0;
        const myr_model *model = NULL;
        rc = myr_model_compile(&imported.desc, NULL, imported.feature_count, &compile_opts, &bytes, &bytes_size, &err);
        MYR_ASSERT(rc == MYR_OK);
        rc = myr_model_check(bytes, bytes_size, &model, &err);
        MYR_ASSERT(rc == MYR_OK);
        fuzz_predict(model);
        myr_free(bytes);
    }
    myr_arena_free(imported.arena);
    return 0;
}

#endif
