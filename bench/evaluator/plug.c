/*
 * What a measuring program calls to time our evaluator beside others: load a LightGBM text model, predict rows of
 * doubles, rows of many models, prefetch a model that comes next; and the compiled bytes, to be used where they lie.
 * For benchmarks alone; the product reads packs.
 *
 * MYR_BENCH_KERNELS names the kernels to use (plain, avx2, ...) in place of the best ones that this CPU has;
 * MYR_BENCH_FORM the form to compile (nodes, lanes, large) in place of the one that compile would choose.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "import/import.h"
#include "model/lanes.h"

#define PLUG_RUNS 64 /* at once, as myr_score does */
#define PLUG_API  __attribute__((visibility("default")))

PLUG_API void *kp_load(const char *path);
PLUG_API void kp_predict(void *plug, const double *rows, long row_count, double *out);
PLUG_API void kp_prefetch(void *plug);
PLUG_API void kp_predict_runs(void *const *plugs, const double *const *rows, long run_count, long row_count,
                              double *const *outs);
PLUG_API const void *kp_bytes(void *plug, size_t *out_size);
PLUG_API int kp_first(const void *bytes, size_t size, const double *row, double *out);
PLUG_API const char *kp_kernels(void);

typedef struct plug_model {
    const myr_model *model;
    size_t size_bytes;
    uint32_t column_count;
} plug_model;

static const char *plug_setting(const char *name)
{
    const char *value = getenv(name);
    return value != NULL && value[0] != '\0' ? value : NULL;
}

static myr_model_form plug_form(void)
{
    static const char *const names[] = {"auto", "nodes", "lanes", "large"};
    const char *name = plug_setting("MYR_BENCH_FORM");
    for (size_t k = 0; name != NULL && k < MYR_COUNT_OF(names); k++) {
        if (strcmp(name, names[k]) == 0) return (myr_model_form)k;
    }
    return MYR_FORM_AUTO;
}

const char *kp_kernels(void)
{
    const char *name = plug_setting("MYR_BENCH_KERNELS");
    if (name != NULL && !myr_lanes_force(name)) return "";
    return myr_lanes_kernels()->name;
}

static myr_rc plug_load(const char *path, plug_model *out, myr_err *err)
{
    MYR_AUTO(myr_mem) file = NULL;
    MYR_AUTO(myr_imported_ptr) imported = NULL;
    char *text = NULL;
    unsigned char *bytes = NULL;
    size_t size = 0;
    myr_compile_opts opts = {.form = plug_form()};
    if (kp_kernels()[0] == '\0') MYR_FAIL(err, UNSUPPORTED, "this CPU has no such kernels");
    MYR_TRY(myr_file_read(path, MYR_FILE_BYTES_MAX, &text, &size, err));
    file = text;
    MYR_TRY(myr_import(path, text, size, NULL, 0, &imported, err));
    MYR_TRY(myr_model_compile(&imported->desc, NULL, imported->feature_count, &opts, &bytes, &size, err));
    MYR_TRY(myr_model_check(bytes, size, &out->model, err));
    out->size_bytes = size;
    out->column_count = imported->feature_count;
    return MYR_OK;
}

void *kp_load(const char *path)
{
    myr_err err = {0};
    plug_model *plug = myr_calloc(1, sizeof *plug);
    if (plug == NULL) return NULL;
    if (plug_load(path, plug, &err) != MYR_OK) {
        fprintf(stderr, "%s\n", err.message);
        myr_free(plug);
        return NULL;
    }
    return plug;
}

void kp_predict(void *plug, const double *rows, long row_count, double *out)
{
    const plug_model *p = plug;
    myr_model_margins(p->model, rows, p->column_count, (size_t)row_count, out);
}

/* row_count rows of each of several models, as many-model jobs predict them. */
void kp_predict_runs(void *const *plugs, const double *const *rows, long run_count, long row_count, double *const *outs)
{
    myr_model_run runs[PLUG_RUNS];
    while (run_count > 0) {
        long count = run_count < PLUG_RUNS ? run_count : PLUG_RUNS;
        for (long i = 0; i < count; i++) {
            const plug_model *p = plugs[i];
            runs[i] = (myr_model_run){p->model, p->size_bytes, rows[i], p->column_count, (size_t)row_count, outs[i]};
        }
        myr_model_predict_runs(runs, (size_t)count);
        plugs += count;
        rows += count;
        outs += count;
        run_count -= count;
    }
}

void kp_prefetch(void *plug)
{
    const plug_model *p = plug;
    myr_model_prefetch(p->model, p->size_bytes);
}

const void *kp_bytes(void *plug, size_t *out_size)
{
    const plug_model *p = plug;
    *out_size = p->size_bytes;
    return p->model;
}

/* What the first score of a model costs: check its bytes, predict one row. 0 if all is well. */
int kp_first(const void *bytes, size_t size, const double *row, double *out)
{
    const myr_model *model = NULL;
    if (myr_model_check(bytes, size, &model, NULL) != MYR_OK) return 1;
    myr_model_margins(model, row, 0, 1, out);
    return 0;
}
