/*
 * Score an Arrow batch with many models at once: each row has its keys beside its features.
 *
 *   cc -std=c99 examples/c/arrow.c $(pkg-config --cflags --libs myriad) -o arrow
 *   ./arrow demo/packs/oj/r1.index
 *
 * The pack must have the keys store (INT64) and brand and the features price and deal. A real program gets such a batch
 * from Arrow C++, nanoarrow, DuckDB, …; here it is made by hand over plain arrays, to show what the structs say.
 */
#include <stdio.h>
#include <string.h>

#include <myriad/myriad.h>

#define ROWS    4
#define COLUMNS 4

/* The arrays are ours and static, so releasing means nothing but saying so. */
static void release_schema(struct ArrowSchema *schema)
{
    schema->release = NULL;
}

static void release_array(struct ArrowArray *array)
{
    array->release = NULL;
}

static void column(struct ArrowSchema *schema, struct ArrowArray *array, const char *name, const char *format,
                   const void **buffers, int64_t buffer_count)
{
    memset(schema, 0, sizeof *schema);
    memset(array, 0, sizeof *array);
    schema->name = name;
    schema->format = format;
    schema->release = release_schema;
    array->length = ROWS;
    array->null_count = buffers[0] != NULL ? -1 : 0;
    array->n_buffers = buffer_count;
    array->buffers = buffers;
    array->release = release_array;
}

/* Text i of a dictionary column. */
static void print_text(const struct ArrowArray *array, int64_t i)
{
    const int8_t *codes = (const int8_t *)array->buffers[1];
    const int32_t *offsets = (const int32_t *)array->dictionary->buffers[1];
    const char *texts = (const char *)array->dictionary->buffers[2];
    int32_t first = offsets[codes[i]];
    printf(" %.*s", (int)(offsets[codes[i] + 1] - first), texts + first);
}

static int score(const myr_models *models, const struct ArrowSchema *schema, const struct ArrowArray *batch)
{
    struct ArrowSchema out_schema;
    struct ArrowArray out;
    myr_models_rows rows;
    myr_err err;
    int64_t i;
    int32_t rc;
    memset(&rows, 0, sizeof rows);
    rows.struct_size = sizeof rows;
    rows.model_idx = MYR_MODELS_BY_KEY;
    rows.schema = schema;
    rows.batch = batch;
    rc = myr_models_score_arrow(models, &rows,
                                MYR_MODELS_COLUMN_VALUES | MYR_MODELS_COLUMN_LEVEL | MYR_MODELS_COLUMN_STATUS,
                                &out_schema, &out, &err);
    if (rc != 0) {
        fprintf(stderr, "arrow: %s: %s\n", myr_error_name(rc), err.message);
        return 1;
    }
    for (i = 0; i < out.length; i++) {
        printf("%.17g", ((const double *)out.children[0]->buffers[1])[i]);
        print_text(out.children[1], i);
        print_text(out.children[2], i);
        printf("\n");
    }
    out.release(&out);
    out_schema.release(&out_schema);
    return 0;
}

int main(int argc, char **argv)
{
    static const int64_t stores[ROWS] = {2, 2, 99, 99};
    static const int32_t brand_offsets[ROWS + 1] = {0, 1, 1, 2, 3};
    static const uint8_t brand_bits[1] = {0x0d}; /* row 1 is null */
    static const double prices[ROWS] = {10, 10, 10, 10}, deals[ROWS] = {2, 2, 2, 2};
    const void *store_buffers[2], *brand_buffers[3], *price_buffers[2], *deal_buffers[2], *no_buffers[1] = {NULL};
    struct ArrowSchema schema, schemas[COLUMNS], *schema_list[COLUMNS];
    struct ArrowArray batch, arrays[COLUMNS], *array_list[COLUMNS];
    myr_models *models = NULL;
    myr_err err;
    int32_t rc;
    int i, code;
    if (argc != 2) {
        fprintf(stderr, "usage: arrow PACK.index   (myriad %s)\n", myr_version());
        return 64;
    }
    store_buffers[0] = price_buffers[0] = deal_buffers[0] = NULL;
    store_buffers[1] = stores;
    brand_buffers[0] = brand_bits;
    brand_buffers[1] = brand_offsets;
    brand_buffers[2] = "11z";
    price_buffers[1] = prices;
    deal_buffers[1] = deals;
    column(&schemas[0], &arrays[0], "store", "l", store_buffers, 2);
    column(&schemas[1], &arrays[1], "brand", "u", brand_buffers, 3);
    column(&schemas[2], &arrays[2], "price", "g", price_buffers, 2);
    column(&schemas[3], &arrays[3], "deal", "g", deal_buffers, 2);
    for (i = 0; i < COLUMNS; i++) {
        schema_list[i] = &schemas[i];
        array_list[i] = &arrays[i];
    }
    column(&schema, &batch, "", "+s", no_buffers, 1);
    schema.n_children = batch.n_children = COLUMNS;
    schema.children = schema_list;
    batch.children = array_list;
    rc = myr_models_open(argv[1], &models, &err);
    if (rc != 0) {
        fprintf(stderr, "arrow: %s: %s\n", myr_error_name(rc), err.message);
        return 1;
    }
    code = score(models, &schema, &batch);
    myr_models_close(models);
    return code;
}
