/*
 * myr_parity MODEL ROWS COLUMNS OUT [--margins | OUTPUT [FIRST ITERATIONS]]: import a model file (or some of its
 * rounds), predict, and write what came out. ROWS and OUT are raw little-endian doubles, row-major; the columns are the
 * model's features in their own order. For parity tests alone.
 */
#include <stdio.h>
#include <string.h>

#include "import/import.h"

static myr_rc parity_rows(const char *path, uint32_t column_count, char **out_rows, size_t *out_count, myr_err *err)
{
    size_t size = 0;
    MYR_TRY(myr_file_read(path, 1LL << 32, out_rows, &size, err));
    if (column_count == 0 || size % (column_count * sizeof(double)) != 0) {
        MYR_FAIL(err, BAD_INPUT, "%s: %zu bytes are no rows of %u columns", path, size, column_count);
    }
    *out_count = size / (column_count * sizeof(double));
    return MYR_OK;
}

static myr_rc parity_write(const char *path, const double *values, size_t count, myr_err *err)
{
    FILE *file = fopen(path, "wb");
    if (file == NULL) MYR_FAIL(err, IO, "%s: cannot be opened", path);
    size_t written = fwrite(values, sizeof *values, count, file);
    if (fclose(file) != 0 || written != count) MYR_FAIL(err, IO, "%s: cannot be written", path);
    return MYR_OK;
}

static myr_rc parity_run(char **argv, uint32_t column_count, myr_output output, const myr_import_opts *import_opts,
                         myr_err *err)
{
    MYR_AUTO(myr_mem) file = NULL;
    MYR_AUTO(myr_mem) rows = NULL;
    MYR_AUTO(myr_mem) bytes = NULL;
    MYR_AUTO(myr_imported_ptr) imported = NULL;
    char *text = NULL;
    unsigned char *compiled = NULL;
    size_t size = 0;
    size_t row_count = 0;
    const myr_model *model = NULL;
    myr_compile_opts opts = {.explain = output == MYR_OUTPUT_LEAF || output == MYR_OUTPUT_CONTRIBUTION};
    MYR_TRY(myr_file_read(argv[1], MYR_FILE_BYTES_MAX, &text, &size, err));
    file = text;
    MYR_TRY(myr_import_with(argv[1], text, size, import_opts, &imported, err));
    if (imported->feature_count > column_count) {
        MYR_FAIL(err, BAD_INPUT, "%s has %u features, the rows %u", argv[1], imported->feature_count, column_count);
    }
    MYR_TRY(myr_model_compile(&imported->desc, NULL, column_count, &opts, &compiled, &size, err));
    bytes = compiled;
    MYR_TRY(myr_model_check(compiled, size, &model, err));
    char *row_bytes = NULL;
    MYR_TRY(parity_rows(argv[2], column_count, &row_bytes, &row_count, err));
    rows = row_bytes;
    size_t width = myr_model_width(model, output);
    MYR_AUTO(myr_mem) values = myr_calloc(row_count * width + 1, sizeof(double));
    if (values == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %zu values", row_count * width);
    if (output == MYR_OUTPUT_VALUE) {
        myr_model_predict(model, rows, column_count, row_count, values);
    } else {
        MYR_TRY(myr_model_predict_as(model, output, rows, column_count, row_count, values, err));
    }
    return parity_write(argv[4], values, row_count * width, err);
}

int main(int argc, char **argv)
{
    myr_err err = {0};
    uint64_t columns = 0;
    uint64_t first = 0;
    uint64_t rounds = 0;
    bool has_output = argc == 6 || argc == 8;
    myr_output output = has_output && strcmp(argv[5], "--margins") == 0 ? MYR_OUTPUT_MARGIN : MYR_OUTPUT_VALUE;
    bool known = argc == 5 || output == MYR_OUTPUT_MARGIN;
    if (has_output && !known) known = myr_output_parse(myr_str_of(argv[5]), &output);
    if (argc == 8)
        known =
            known && myr_parse_uint64(myr_str_of(argv[6]), &first) && myr_parse_uint64(myr_str_of(argv[7]), &rounds);
    if (!known || !myr_parse_uint64(myr_str_of(argv[3]), &columns) || columns > MYR_FEATURES_MAX) {
        fprintf(stderr, "usage: myr_parity MODEL ROWS.f64 COLUMNS OUT.f64 [--margins | OUTPUT [FIRST ITERATIONS]]\n");
        return 64;
    }
    const myr_import_opts opts = {.first_iteration = (uint32_t)first, .iterations = (uint32_t)rounds};
    myr_rc rc = parity_run(argv, (uint32_t)columns, output, &opts, &err);
    if (rc != MYR_OK) fprintf(stderr, "%s: %s\n", myr_rc_name(rc), err.message);
    return myr_rc_exit(rc);
}
