/*
 * Times one evaluator behind a shared library on one thread: rows of one model, rows of many models, the load of a
 * model, its memory, its first score. bench/model calls it and makes the table; times are process CPU time, the
 * fewest of several repeats, and every answer is compared with LightGBM's.
 *
 *   bench_model one   KIND LIB MODEL   ROWS COLUMNS WANT POINT,POINT,... ROWS_MAX REPEATS
 *   bench_model many  KIND LIB PATTERN ROWS COLUMNS WANT MODELS REPEATS     (16 rows of each model, then one of each)
 *   bench_model load  KIND LIB MODEL   COLUMNS REPEATS
 *   bench_model first plug LIB MODEL   ROWS COLUMNS REPEATS
 *
 * KIND is plug (libmyriad_plug.so), lgb (LightGBM's C interface) or xgb (XGBoost's). ROWS ends in .f64; XGBoost reads
 * the same rows as floats.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define BENCH_MANY_ROWS 16 /* of each model in many's files */
#define BENCH_FLOAT64   1  /* C_API_DTYPE_FLOAT64 */
#define BENCH_RAW       1  /* C_API_PREDICT_RAW_SCORE */
#define BENCH_SETTINGS  "num_threads=1 verbose=-1"

typedef struct bench_lib {
    const char *kind;
    int columns;
    void *(*plug_load)(const char *path);
    void (*plug_predict)(void *plug, const double *rows, long row_count, double *out);
    void (*plug_prefetch)(void *plug);
    void (*plug_runs)(void *const *plugs, const double *const *rows, long run_count, long row_count,
                      double *const *outs);
    const void *(*plug_bytes)(void *plug, size_t *out_size);
    int (*plug_first)(const void *bytes, size_t size, const double *row, double *out);
    int (*lgb_load)(const char *path, int *iterations, void **out);
    int (*lgb_free)(void *booster);
    int (*lgb_predict)(void *booster, const void *data, int type, int32_t rows, int32_t columns, int is_row_major,
                       int predict, int start, int count, const char *settings, int64_t *out_size, double *out);
    int (*lgb_fast_init)(void *booster, int predict, int start, int count, int type, int32_t columns,
                         const char *settings, void **out);
    int (*lgb_fast)(void *fast, const void *row, int64_t *out_size, double *out);
    int (*xgb_new)(const void *cache, uint64_t count, void **out);
    int (*xgb_load)(void *booster, const char *path);
    int (*xgb_set)(void *booster, const char *name, const char *value);
    int (*xgb_predict)(void *booster, const char *data, const char *config, void *proxy, const uint64_t **shape,
                       uint64_t *dim, const float **out);
} bench_lib;

typedef struct bench_model {
    void *handle, *fast;
} bench_model;

static void fail(const char *what)
{
    fprintf(stderr, "bench_model: %s\n", what);
    exit(1);
}

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static long resident_kb(void)
{
    long pages = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    if (f == NULL || fscanf(f, "%*d %ld", &pages) != 1) fail("no /proc/self/statm");
    fclose(f);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

static void *read_all(const char *path, size_t *out_size)
{
    FILE *f = fopen(path, "rb");
    if (f == NULL) fail(path);
    fseek(f, 0, SEEK_END);
    *out_size = (size_t)ftell(f);
    rewind(f);
    void *bytes = malloc(*out_size + 1);
    if (bytes == NULL || fread(bytes, 1, *out_size, f) != *out_size) fail(path);
    fclose(f);
    return bytes;
}

static void *need(void *lib, const char *name)
{
    void *found = dlsym(lib, name);
    if (found == NULL) fail(name);
    return found;
}

static bench_lib open_lib(const char *kind, const char *path, int columns)
{
    bench_lib b = {.kind = kind, .columns = columns};
    void *lib = dlopen(path, RTLD_NOW);
    if (lib == NULL) fail(dlerror());
    if (strcmp(kind, "plug") == 0) {
        *(void **)&b.plug_load = need(lib, "kp_load");
        *(void **)&b.plug_predict = need(lib, "kp_predict");
        *(void **)&b.plug_prefetch = need(lib, "kp_prefetch");
        *(void **)&b.plug_runs = need(lib, "kp_predict_runs");
        *(void **)&b.plug_bytes = need(lib, "kp_bytes");
        *(void **)&b.plug_first = need(lib, "kp_first");
    } else if (strcmp(kind, "lgb") == 0) {
        *(void **)&b.lgb_load = need(lib, "LGBM_BoosterCreateFromModelfile");
        *(void **)&b.lgb_free = need(lib, "LGBM_BoosterFree");
        *(void **)&b.lgb_predict = need(lib, "LGBM_BoosterPredictForMat");
        *(void **)&b.lgb_fast_init = need(lib, "LGBM_BoosterPredictForMatSingleRowFastInit");
        *(void **)&b.lgb_fast = need(lib, "LGBM_BoosterPredictForMatSingleRowFast");
    } else if (strcmp(kind, "xgb") == 0) {
        *(void **)&b.xgb_new = need(lib, "XGBoosterCreate");
        *(void **)&b.xgb_load = need(lib, "XGBoosterLoadModel");
        *(void **)&b.xgb_set = need(lib, "XGBoosterSetParam");
        *(void **)&b.xgb_predict = need(lib, "XGBoosterPredictFromDense");
    } else {
        fail("KIND is plug, lgb or xgb");
    }
    return b;
}

static bench_model load(const bench_lib *b, const char *path)
{
    bench_model m = {0};
    int iterations;
    if (b->plug_load != NULL) {
        m.handle = b->plug_load(path);
        if (m.handle == NULL) fail(path);
    } else if (b->lgb_load != NULL) {
        if (b->lgb_load(path, &iterations, &m.handle) != 0 ||
            b->lgb_fast_init(m.handle, BENCH_RAW, 0, -1, BENCH_FLOAT64, b->columns, BENCH_SETTINGS, &m.fast) != 0) {
            fail(path);
        }
    } else if (b->xgb_new(NULL, 0, &m.handle) != 0 || b->xgb_load(m.handle, path) != 0 ||
               b->xgb_set(m.handle, "nthread", "1") != 0) {
        fail(path);
    }
    return m;
}

/* XGBoost takes the same values as floats. */
static void predict_xgb(const bench_lib *b, const bench_model *m, const float *rows, long count, double *out)
{
    static const char config[] = "{\"type\":0,\"training\":false,\"iteration_begin\":0,\"iteration_end\":0,"
                                 "\"strict_shape\":false,\"missing\":NaN,\"cache_id\":0}";
    char data[200];
    const uint64_t *shape;
    uint64_t dim;
    const float *values;
    snprintf(data, sizeof data, "{\"data\":[%llu,true],\"shape\":[%ld,%d],\"typestr\":\"<f4\",\"version\":3}",
             (unsigned long long)(uintptr_t)rows, count, b->columns);
    if (b->xgb_predict(m->handle, data, config, NULL, &shape, &dim, &values) != 0) fail("XGBoost refuses to predict");
    for (long i = 0; i < count; i++) {
        out[i] = (double)values[i];
    }
}

static void predict(const bench_lib *b, const bench_model *m, const void *rows, long count, double *out)
{
    int64_t size;
    if (b->plug_load != NULL) {
        b->plug_predict(m->handle, rows, count, out);
    } else if (b->xgb_new != NULL) {
        predict_xgb(b, m, rows, count, out);
    } else if (count == 1) {
        if (b->lgb_fast(m->fast, rows, &size, out) != 0) fail("LightGBM refuses to predict");
    } else if (b->lgb_predict(m->handle, rows, BENCH_FLOAT64, (int32_t)count, b->columns, 1, BENCH_RAW, 0, -1,
                              BENCH_SETTINGS, &size, out) != 0) {
        fail("LightGBM refuses to predict");
    }
}

/* Rows as the library reads them; `width` is set to the bytes of one cell. */
static unsigned char *load_rows(const bench_lib *b, const char *path, size_t *cells, size_t *width)
{
    size_t size;
    double *rows = read_all(path, &size);
    *cells = size / sizeof(double);
    *width = sizeof(double);
    if (b->xgb_new == NULL) return (unsigned char *)rows;
    float *narrow = malloc(*cells * sizeof *narrow);
    if (narrow == NULL) fail("no memory");
    for (size_t k = 0; k < *cells; k++) {
        narrow[k] = (float)rows[k];
    }
    free(rows);
    *width = sizeof(float);
    return (unsigned char *)narrow;
}

static double largest_error(const double *got, const double *want, long count)
{
    double most = 0;
    for (long i = 0; i < count; i++) {
        double error = fabs(got[i] - want[i]);
        if (!(error <= most)) most = error; /* a NaN too */
    }
    return most;
}

static void run_one(char **av)
{
    size_t cells;
    size_t width;
    size_t size;
    bench_lib b = open_lib(av[2], av[3], atoi(av[6]));
    bench_model m = load(&b, av[4]);
    unsigned char *rows = load_rows(&b, av[5], &cells, &width);
    double *want = read_all(av[7], &size);
    long most = atol(av[9]);
    long total = (long)(cells / (size_t)b.columns);
    if (total > most) total = most;
    double *out = calloc((size_t)total + 1, sizeof *out);
    if (out == NULL) fail("no memory");
    for (char *point = strtok(av[8], ","); point != NULL; point = strtok(NULL, ",")) {
        long block = atol(point);
        long used = total / block * block;
        double best = INFINITY;
        for (int repeat = 0; repeat < atoi(av[10]); repeat++) {
            double start = now_ns();
            for (long i = 0; i < used; i += block) {
                predict(&b, &m, rows + (size_t)i * (size_t)b.columns * width, block, out + i);
            }
            double spent = (now_ns() - start) / (double)used;
            if (spent < best) best = spent;
        }
        printf("point=%ld ns=%.1f error=%g\n", block, best, largest_error(out, want, used));
        fflush(stdout);
    }
}

/* Models in random order, each the other's stranger: what a fleet's requests look like. */
static void run_many(char **av)
{
    size_t cells;
    size_t width;
    size_t size;
    char path[1000];
    bench_lib b = open_lib(av[2], av[3], atoi(av[6]));
    int count = atoi(av[8]);
    unsigned char *rows = load_rows(&b, av[5], &cells, &width);
    double *want = read_all(av[7], &size);
    double *out = calloc((size_t)count * BENCH_MANY_ROWS, sizeof *out);
    bench_model *models = calloc((size_t)count, sizeof *models);
    int *order = calloc((size_t)count, sizeof *order);
    void **plugs = calloc((size_t)count, sizeof *plugs);
    const double **row_of = calloc((size_t)count, sizeof *row_of);
    double **out_of = calloc((size_t)count, sizeof *out_of);
    if (plugs == NULL || row_of == NULL || out_of == NULL) fail("no memory");
    if (out == NULL || models == NULL || order == NULL || cells < (size_t)count * BENCH_MANY_ROWS) fail("too few rows");
    snprintf(path, sizeof path, av[4], 0);
    models[0] = load(&b, path);
    predict(&b, &models[0], rows, 1, out); /* what a library sets up once is no model's */
    long before = resident_kb();
    for (int i = 0; i < count; i++) {
        snprintf(path, sizeof path, av[4], i);
        models[i] = load(&b, path);
        order[i] = i;
    }
    srand(1);
    for (int i = count - 1; i > 0; i--) {
        int other = rand() % (i + 1);
        int kept = order[i];
        order[i] = order[other];
        order[other] = kept;
    }
    for (long block = BENCH_MANY_ROWS; block >= 1; block -= BENCH_MANY_ROWS - 1) {
        double best = INFINITY;
        for (int repeat = 0; repeat < atoi(av[9]); repeat++) {
            double start = now_ns();
            if (b.plug_runs != NULL) {
                for (int i = 0; i < count; i++) { /* in the measured time: whoever has many models gathers them so */
                    size_t row = (size_t)order[i] * BENCH_MANY_ROWS;
                    plugs[i] = models[order[i]].handle;
                    row_of[i] = (const double *)(const void *)rows + row * (size_t)b.columns;
                    out_of[i] = out + row;
                }
                b.plug_runs(plugs, row_of, count, block, out_of);
            }
            for (int i = 0; b.plug_runs == NULL && i < count; i++) {
                size_t row = (size_t)order[i] * BENCH_MANY_ROWS;
                predict(&b, &models[order[i]], rows + row * (size_t)b.columns * width, block, out + row);
            }
            double spent = (now_ns() - start) / ((double)count * (double)block);
            if (spent < best) best = spent;
        }
        printf("point=%ld ns=%.1f error=%g\n", block, best, largest_error(out, want, (long)count * BENCH_MANY_ROWS));
        fflush(stdout);
    }
    printf("resident_kb=%.1f\n", (double)(resident_kb() - before) / (count - 1));
}

static void run_load(char **av)
{
    bench_lib b = open_lib(av[2], av[3], atoi(av[5]));
    double best = INFINITY;
    for (int repeat = 0; repeat < atoi(av[6]); repeat++) {
        double start = now_ns();
        bench_model m = load(&b, av[4]);
        double spent = now_ns() - start;
        if (spent < best) best = spent;
        if (b.lgb_free != NULL) b.lgb_free(m.handle);
    }
    printf("ns=%.0f\n", best);
}

static int compare_doubles(const void *a, const void *b)
{
    double p = *(const double *)a;
    double q = *(const double *)b;
    return p < q ? -1 : p > q;
}

/* Copies of a model in a file, mapped anew: each is checked and scored once, its pages never touched before. */
static void run_first(char **av)
{
    size_t cells;
    size_t width;
    size_t size;
    bench_lib b = open_lib(av[2], av[3], atoi(av[6]));
    bench_model m = load(&b, av[4]);
    unsigned char *rows = load_rows(&b, av[5], &cells, &width);
    const void *bytes = b.plug_bytes(m.handle, &size);
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    size_t step = (size + page - 1) / page * page;
    int count = atoi(av[7]);
    double *spent = calloc((size_t)count, sizeof *spent);
    FILE *file = tmpfile();
    if (file == NULL || spent == NULL) fail("no temporary file");
    for (int i = 0; i < count; i++) {
        if (fseek(file, (long)((size_t)i * step), SEEK_SET) != 0 || fwrite(bytes, 1, size, file) != size)
            fail("tmpfile");
    }
    fflush(file);
    unsigned char *map = mmap(NULL, (size_t)count * step, PROT_READ, MAP_SHARED, fileno(file), 0);
    if (map == MAP_FAILED) fail("mmap");
    for (int i = 0; i < count; i++) {
        double out;
        double start = now_ns();
        if (b.plug_first(map + (size_t)i * step, size, (const double *)(const void *)rows, &out) != 0) fail("check");
        spent[i] = now_ns() - start;
    }
    qsort(spent, (size_t)count, sizeof *spent, compare_doubles);
    printf("ns=%.0f median=%.0f bytes=%zu\n", spent[0], spent[count / 2], size);
}

int main(int ac, char **av)
{
    if (ac == 11 && strcmp(av[1], "one") == 0) {
        run_one(av);
    } else if (ac == 10 && strcmp(av[1], "many") == 0) {
        run_many(av);
    } else if (ac == 7 && strcmp(av[1], "load") == 0) {
        run_load(av);
    } else if (ac == 8 && strcmp(av[1], "first") == 0) {
        run_first(av);
    } else {
        fail("usage: see the head of bench_model.c");
    }
    return 0;
}
