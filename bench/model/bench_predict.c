/*
 * bench_predict MODEL.txt ROWS.f64 COLUMNS [LIB_LIGHTGBM.so]: nanoseconds per row of our evaluator, for batches and for
 * single rows, and of LightGBM's C interface on one thread when its library is named. Best of several rounds.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "import/import.h"

#define BENCH_ROUNDS     15
#define BENCH_FLOAT64    1 /* C_API_DTYPE_FLOAT64 */
#define BENCH_PREDICT    0 /* C_API_PREDICT_NORMAL */
#define BENCH_PARAMETERS "num_threads=1"

typedef int (*lgbm_load)(const char *path, int *iterations, void **out);
typedef int (*lgbm_predict)(void *booster, const void *data, int type, int32_t rows, int32_t columns, int is_row_major,
                            int predict, int start, int count, const char *parameters, int64_t *out_size, double *out);
typedef int (*lgbm_predict_row)(void *booster, const void *data, int type, int columns, int is_row_major, int predict,
                                int start, int count, const char *parameters, int64_t *out_size, double *out);

typedef struct bench {
    const char *model_path, *lightgbm;
    const double *rows;
    double *values, *others;
    size_t row_count;
    uint32_t columns;
    const myr_model *model;
    void *booster;
    lgbm_predict predict;
    lgbm_predict_row predict_row;
} bench;

typedef void (*bench_body)(bench *b);

static void ours_batch(bench *b)
{
    myr_model_predict(b->model, b->rows, b->columns, b->row_count, b->values);
}

static void ours_single(bench *b)
{
    for (size_t i = 0; i < b->row_count; i++) {
        myr_model_predict(b->model, b->rows + i * b->columns, b->columns, 1, b->values + i);
    }
}

static void theirs_batch(bench *b)
{
    int64_t size;
    MYR_ASSERT(b->predict(b->booster, b->rows, BENCH_FLOAT64, (int32_t)b->row_count, (int32_t)b->columns, 1,
                          BENCH_PREDICT, 0, -1, BENCH_PARAMETERS, &size, b->others) == 0);
}

static void theirs_single(bench *b)
{
    int64_t size;
    for (size_t i = 0; i < b->row_count; i++) {
        MYR_ASSERT(b->predict_row(b->booster, b->rows + i * b->columns, BENCH_FLOAT64, (int)b->columns, 1,
                                  BENCH_PREDICT, 0, -1, BENCH_PARAMETERS, &size, b->others + i) == 0);
    }
}

static void bench_report(const char *what, bench *b, bench_body body)
{
    int64_t best = INT64_MAX;
    for (int round = 0; round < BENCH_ROUNDS; round++) {
        int64_t before = myr_clock_mono_ns();
        body(b);
        int64_t took = myr_clock_mono_ns() - before;
        if (took < best) best = took;
    }
    printf("%-24s %8.0f ns/row\n", what, (double)best / (double)b->row_count);
}

static void bench_lightgbm(bench *b)
{
    void *library = dlopen(b->lightgbm, RTLD_NOW);
    int iterations;
    if (library == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        return;
    }
    lgbm_load load = (lgbm_load)dlsym(library, "LGBM_BoosterCreateFromModelfile");
    b->predict = (lgbm_predict)dlsym(library, "LGBM_BoosterPredictForMat");
    b->predict_row = (lgbm_predict_row)dlsym(library, "LGBM_BoosterPredictForMatSingleRow");
    MYR_ASSERT(load != NULL && b->predict != NULL && b->predict_row != NULL);
    MYR_ASSERT(load(b->model_path, &iterations, &b->booster) == 0);
    bench_report("LightGBM, batch", b, theirs_batch);
    bench_report("LightGBM, single rows", b, theirs_single);
    printf("bit-equal: %s\n", memcmp(b->values, b->others, b->row_count * sizeof(double)) == 0 ? "yes" : "NO");
}

static myr_rc bench_run(bench *b, const char *rows_path, myr_err *err)
{
    char *text = NULL;
    char *row_bytes = NULL;
    unsigned char *bytes = NULL;
    size_t size = 0;
    size_t row_size = 0;
    MYR_AUTO(myr_imported_ptr) imported = NULL;
    MYR_TRY(myr_file_read(b->model_path, MYR_FILE_BYTES_MAX, &text, &size, err)); /* freed by the end of the program */
    MYR_TRY(myr_file_read(rows_path, 1LL << 32, &row_bytes, &row_size, err));
    int64_t before = myr_clock_mono_ns();
    MYR_TRY(myr_import(b->model_path, text, size, NULL, 0, &imported, err));
    int64_t read = myr_clock_mono_ns();
    size_t model_size = 0;
    MYR_TRY(myr_model_compile(&imported->desc, NULL, b->columns, NULL, &bytes, &model_size, err));
    int64_t made = myr_clock_mono_ns();
    MYR_TRY(myr_model_check(bytes, model_size, &b->model, err));
    int64_t checked = myr_clock_mono_ns();
    myr_model_info info;
    myr_model_get_info(b->model, &info);
    if (info.output_count != 1)
        MYR_FAIL(err, BAD_INPUT, "%s: %u outputs, this bench takes one", b->model_path, info.output_count);
    printf("%u trees, %llu leaves: text %zu bytes, model %zu; import %.0f us, compile %.0f us, check %.1f us\n",
           info.tree_count, (unsigned long long)info.leaf_count, size, model_size, (double)(read - before) / 1e3,
           (double)(made - read) / 1e3, (double)(checked - made) / 1e3);
    b->rows = (const double *)(void *)row_bytes;
    b->row_count = row_size / sizeof(double) / b->columns;
    b->values = myr_calloc(b->row_count, sizeof(double));
    b->others = myr_calloc(b->row_count, sizeof(double));
    if (b->values == NULL || b->others == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %zu rows", b->row_count);
    bench_report("myriad, batch", b, ours_batch);
    bench_report("myriad, single rows", b, ours_single);
    if (b->lightgbm != NULL) bench_lightgbm(b);
    return MYR_OK;
}

int main(int argc, char **argv)
{
    uint64_t columns = 0;
    myr_err err = {0};
    if (argc < 4 || argc > 5 || !myr_parse_uint64(myr_str_of(argv[3]), &columns) || columns == 0 ||
        columns > MYR_FEATURES_MAX) {
        fprintf(stderr, "usage: bench_predict MODEL.txt ROWS.f64 COLUMNS [LIB_LIGHTGBM.so]\n");
        return 64;
    }
    bench b = {.model_path = argv[1], .lightgbm = argc == 5 ? argv[4] : NULL, .columns = (uint32_t)columns};
    myr_rc rc = bench_run(&b, argv[2], &err);
    if (rc != MYR_OK) fprintf(stderr, "%s\n", err.message);
    return rc == MYR_OK ? 0 : myr_rc_exit(rc);
}
