/*
 * What a measuring program calls to time our evaluator beside others: load a LightGBM text model, predict rows of
 * doubles, prefetch a model that comes next. For benchmarks alone; the product reads packs.
 */
#include <stdio.h>

#include "import/import.h"

#define PLUG_API __attribute__((visibility("default")))

PLUG_API void *kp_load(const char *path);
PLUG_API void kp_predict(void *plug, const double *rows, long row_count, double *out);
PLUG_API void kp_prefetch(void *plug);

typedef struct plug_model {
    const myr_model *model;
    size_t size_bytes;
    uint32_t column_count;
} plug_model;

static myr_rc plug_load(const char *path, plug_model *out, myr_err *err)
{
    MYR_AUTO(myr_mem) file = NULL;
    MYR_AUTO(myr_imported_ptr) imported = NULL;
    char *text = NULL;
    unsigned char *bytes = NULL;
    size_t size = 0;
    MYR_TRY(myr_file_read(path, MYR_FILE_BYTES_MAX, &text, &size, err));
    file = text;
    MYR_TRY(myr_import(path, text, size, NULL, 0, &imported, err));
    MYR_TRY(myr_model_compile(&imported->desc, NULL, imported->feature_count, NULL, &bytes, &size, err));
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

void kp_prefetch(void *plug)
{
    const plug_model *p = plug;
    myr_model_prefetch(p->model, p->size_bytes);
}
