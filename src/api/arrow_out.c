/*
 * Answers as an Arrow struct array. Each array owns its buffers and children, so that a consumer may move a child out
 * of its parent, as the specification allows; what is half made when memory ends is released the same way.
 */
#include <string.h>

#include "api/internal.h"

#define OUT_ALIGN 64 /* what the Arrow specification recommends for buffers */

/* What was scored. */
typedef struct out_rows {
    const myr_models *models;
    int64_t row_count;
    int32_t output;
    size_t width;
    double *values; /* column-major */
    uint8_t *levels;
    uint8_t *statuses;
    uint32_t *model_idxs;
} out_rows;

static myr_rc out_no_memory(myr_err *err)
{
    MYR_FAIL(err, NO_MEMORY, "no memory for an Arrow answer");
}

/* ---- release ---- */

static void out_array_release(struct ArrowArray *array)
{
    for (int64_t i = 0; i < array->n_children; i++) {
        struct ArrowArray *child = array->children[i];
        if (child != NULL && child->release != NULL) child->release(child);
        myr_free(child);
    }
    myr_free(array->children);
    if (array->dictionary != NULL && array->dictionary->release != NULL) array->dictionary->release(array->dictionary);
    myr_free(array->dictionary);
    for (int64_t i = 0; i < array->n_buffers; i++)
        myr_free((void *)(uintptr_t)array->buffers[i]);
    myr_free(array->buffers);
    array->release = NULL;
}

static void out_schema_release(struct ArrowSchema *schema)
{
    for (int64_t i = 0; i < schema->n_children; i++) {
        struct ArrowSchema *child = schema->children[i];
        if (child != NULL && child->release != NULL) child->release(child);
        myr_free(child);
    }
    myr_free(schema->children);
    if (schema->dictionary != NULL && schema->dictionary->release != NULL) {
        schema->dictionary->release(schema->dictionary);
    }
    myr_free(schema->dictionary);
    myr_free((void *)(uintptr_t)schema->name);
    schema->release = NULL;
}

/* ---- making ---- */

/* Formats are static texts. */
static myr_rc out_schema_init(struct ArrowSchema *schema, const char *format, const char *name, int64_t child_count,
                              myr_err *err)
{
    *schema = (struct ArrowSchema){.format = format, .flags = ARROW_FLAG_NULLABLE, .release = out_schema_release};
    schema->name = myr_strdup(name);
    if (schema->name == NULL) return out_no_memory(err);
    if (child_count == 0) return MYR_OK;
    schema->children = myr_calloc((size_t)child_count, sizeof *schema->children);
    if (schema->children == NULL) return out_no_memory(err);
    schema->n_children = child_count;
    for (int64_t i = 0; i < child_count; i++) {
        schema->children[i] = myr_calloc(1, sizeof **schema->children);
        if (schema->children[i] == NULL) return out_no_memory(err);
    }
    return MYR_OK;
}

static myr_rc out_array_init(struct ArrowArray *array, int64_t length, int64_t buffer_count, int64_t child_count,
                             myr_err *err)
{
    *array = (struct ArrowArray){.length = length, .release = out_array_release};
    array->buffers = myr_calloc((size_t)buffer_count, sizeof *array->buffers);
    if (array->buffers == NULL) return out_no_memory(err);
    array->n_buffers = buffer_count;
    if (child_count == 0) return MYR_OK;
    array->children = myr_calloc((size_t)child_count, sizeof *array->children);
    if (array->children == NULL) return out_no_memory(err);
    array->n_children = child_count;
    for (int64_t i = 0; i < child_count; i++) {
        array->children[i] = myr_calloc(1, sizeof **array->children);
        if (array->children[i] == NULL) return out_no_memory(err);
    }
    return MYR_OK;
}

/* A zeroed buffer that belongs to the array from now on; NULL: no memory. */
static void *out_buffer(struct ArrowArray *array, int buffer_idx, size_t size_bytes)
{
    void *buffer = myr_alloc_aligned(OUT_ALIGN, size_bytes + 1);
    if (buffer == NULL) return NULL;
    memset(buffer, 0, size_bytes + 1);
    array->buffers[buffer_idx] = buffer;
    return buffer;
}

/* The bitmap of the cells that are there; none if all are. */
static myr_rc out_bits(struct ArrowArray *array, const uint8_t *is_null, myr_err *err)
{
    int64_t null_count = 0;
    for (int64_t i = 0; i < array->length; i++)
        null_count += is_null[i];
    array->null_count = null_count;
    if (null_count == 0) return MYR_OK;
    uint8_t *bits = out_buffer(array, 0, (size_t)(array->length + 7) / 8);
    if (bits == NULL) return out_no_memory(err);
    for (int64_t i = 0; i < array->length; i++)
        bits[i >> 3] = (uint8_t)(bits[i >> 3] | (is_null[i] == 0) << (i & 7));
    return MYR_OK;
}

/* ---- texts: the entries of a dictionary ---- */

static myr_rc out_texts(struct ArrowSchema *schema, struct ArrowArray *array, const myr_buf *texts,
                        const int32_t *offsets, int64_t count, myr_err *err)
{
    schema->dictionary = myr_calloc(1, sizeof *schema->dictionary);
    array->dictionary = myr_calloc(1, sizeof *array->dictionary);
    if (schema->dictionary == NULL || array->dictionary == NULL) return out_no_memory(err);
    MYR_TRY(out_schema_init(schema->dictionary, "u", "", 0, err));
    MYR_TRY(out_array_init(array->dictionary, count, 3, 0, err));
    int32_t *own_offsets = out_buffer(array->dictionary, 1, ((size_t)count + 1) * sizeof *offsets);
    char *data = out_buffer(array->dictionary, 2, texts->size);
    if (own_offsets == NULL || data == NULL) return out_no_memory(err);
    memcpy(own_offsets, offsets, ((size_t)count + 1) * sizeof *offsets);
    if (texts->size > 0) memcpy(data, texts->data, texts->size);
    return MYR_OK;
}

#define OUT_NAMES_MAX 16 /* levels, or statuses */

/* A column of small numbers whose words are static: level and status. */
static myr_rc out_words(struct ArrowSchema *schema, struct ArrowArray *array, const char *name, const uint8_t *codes,
                        int64_t row_count, const char *(*word)(int32_t code), myr_err *err)
{
    int32_t offsets[OUT_NAMES_MAX + 1] = {0}, count = 0;
    MYR_AUTO(myr_buf) texts = {0};
    for (; word(count) != NULL; count++) {
        MYR_ASSERT(count < OUT_NAMES_MAX);
        myr_buf_puts(&texts, word(count));
        offsets[count + 1] = (int32_t)texts.size;
    }
    MYR_TRY(myr_buf_check(&texts, err));
    MYR_TRY(out_schema_init(schema, "c", name, 0, err));
    MYR_TRY(out_array_init(array, row_count, 2, 0, err));
    int8_t *cells = out_buffer(array, 1, (size_t)row_count);
    if (cells == NULL) return out_no_memory(err);
    if (row_count > 0) memcpy(cells, codes, (size_t)row_count);
    return out_texts(schema, array, &texts, offsets, count, err);
}

/* ---- model and model_index ---- */

/* The rows' models, numbered as they come; entry_idx has one more than the number of a model that came, else 0. */
typedef struct out_names {
    int32_t *entry_idx; /* per model of the pack */
    int32_t *offsets;   /* per entry, and the end */
    int32_t count, room;
    myr_buf texts;
} out_names;

static void out_names_drop(out_names *names)
{
    myr_free(names->entry_idx);
    myr_free(names->offsets);
    myr_buf_fini(&names->texts);
}

static myr_rc out_names_add(const out_rows *rows, out_names *names, uint32_t model_idx, int32_t *out, myr_err *err)
{
    if (names->entry_idx[model_idx] != 0) {
        *out = names->entry_idx[model_idx] - 1;
        return MYR_OK;
    }
    if (names->count + 1 >= names->room) {
        int32_t room = names->room == 0 ? 64 : names->room * 2;
        int32_t *offsets = myr_realloc_array(names->offsets, (size_t)room, sizeof *offsets);
        if (offsets == NULL) return out_no_memory(err);
        if (names->room == 0) offsets[0] = 0;
        names->offsets = offsets;
        names->room = room;
    }
    MYR_TRY(myr_score_model_name(rows->models->scorer, model_idx, &names->texts, err));
    MYR_TRY(myr_buf_check(&names->texts, err));
    if (names->texts.size > INT32_MAX)
        MYR_FAIL(err, TOO_LARGE, "names of models exceed 2 GiB: score fewer rows at once");
    names->offsets[++names->count] = (int32_t)names->texts.size;
    names->entry_idx[model_idx] = names->count;
    *out = names->count - 1;
    return MYR_OK;
}

static myr_rc out_model(const out_rows *rows, const uint8_t *is_null, struct ArrowSchema *schema,
                        struct ArrowArray *array, myr_err *err)
{
    static const int32_t no_offsets[1] = {0};
    MYR_AUTO(out_names) names = {0};
    names.entry_idx = myr_calloc(rows->models->info.model_count, sizeof *names.entry_idx);
    if (names.entry_idx == NULL) return out_no_memory(err);
    MYR_TRY(out_schema_init(schema, "i", "model", 0, err));
    MYR_TRY(out_array_init(array, rows->row_count, 2, 0, err));
    int32_t *codes = out_buffer(array, 1, (size_t)rows->row_count * sizeof *codes);
    if (codes == NULL) return out_no_memory(err);
    MYR_TRY(out_bits(array, is_null, err));
    for (int64_t i = 0; i < rows->row_count; i++) {
        if (is_null[i] == 0) MYR_TRY(out_names_add(rows, &names, rows->model_idxs[i], &codes[i], err));
    }
    return out_texts(schema, array, &names.texts, names.offsets == NULL ? no_offsets : names.offsets, names.count, err);
}

static myr_rc out_model_index(const out_rows *rows, const uint8_t *is_null, struct ArrowSchema *schema,
                              struct ArrowArray *array, myr_err *err)
{
    MYR_TRY(out_schema_init(schema, "I", "model_index", 0, err));
    MYR_TRY(out_array_init(array, rows->row_count, 2, 0, err));
    uint32_t *cells = out_buffer(array, 1, (size_t)rows->row_count * sizeof *cells);
    if (cells == NULL) return out_no_memory(err);
    if (rows->row_count > 0) memcpy(cells, rows->model_idxs, (size_t)rows->row_count * sizeof *cells);
    return out_bits(array, is_null, err);
}

/* ---- values ---- */

static myr_rc out_values(const out_rows *rows, const uint8_t *is_null, size_t value_idx, struct ArrowSchema *schema,
                         struct ArrowArray *array, myr_err *err)
{
    static const char *const outputs[] = {"prediction", "margin", "probability", "leaf", "contribution"};
    _Static_assert(MYR_COUNT_OF(outputs) == MYR_OUTPUT_COUNT, "a name per output");
    MYR_AUTO(myr_buf) name = {0};
    myr_buf_puts(&name, outputs[rows->output]);
    if (rows->width > 1) myr_buf_printf(&name, "_%zu", value_idx);
    MYR_TRY(myr_buf_check(&name, err));
    MYR_TRY(out_schema_init(schema, "g", name.data, 0, err));
    MYR_TRY(out_array_init(array, rows->row_count, 2, 0, err));
    size_t bytes = (size_t)rows->row_count * sizeof(double);
    double *cells = out_buffer(array, 1, bytes);
    if (cells == NULL) return out_no_memory(err);
    if (bytes > 0) memcpy(cells, rows->values + value_idx * (size_t)rows->row_count, bytes);
    return out_bits(array, is_null, err);
}

/* ---- the answer ---- */

static myr_rc out_columns(const out_rows *rows, uint32_t columns, uint8_t *is_null, struct ArrowSchema *schema,
                          struct ArrowArray *array, myr_err *err)
{
    int64_t at = 0;
    for (int64_t i = 0; i < rows->row_count; i++)
        is_null[i] = rows->statuses[i] != MYR_ROW_OK;
    for (size_t k = 0; (columns & MYR_MODELS_COLUMN_VALUES) != 0 && k < rows->width; k++, at++)
        MYR_TRY(out_values(rows, is_null, k, schema->children[at], array->children[at], err));
    if ((columns & MYR_MODELS_COLUMN_LEVEL) != 0) {
        MYR_TRY(out_words(schema->children[at], array->children[at], "level", rows->levels, rows->row_count,
                          myr_models_level_name, err));
        at++;
    }
    if ((columns & MYR_MODELS_COLUMN_STATUS) != 0) {
        MYR_TRY(out_words(schema->children[at], array->children[at], "status", rows->statuses, rows->row_count,
                          myr_models_status_name, err));
        at++;
    }
    for (int64_t i = 0; i < rows->row_count; i++)
        is_null[i] = rows->model_idxs[i] == MYR_MODELS_BY_KEY;
    if ((columns & MYR_MODELS_COLUMN_MODEL) != 0) {
        MYR_TRY(out_model(rows, is_null, schema->children[at], array->children[at], err));
        at++;
    }
    if ((columns & MYR_MODELS_COLUMN_MODEL_INDEX) != 0) {
        MYR_TRY(out_model_index(rows, is_null, schema->children[at], array->children[at], err));
        at++;
    }
    MYR_ASSERT(at == array->n_children);
    return MYR_OK;
}

static myr_rc out_make(const out_rows *rows, uint32_t columns, struct ArrowSchema *schema, struct ArrowArray *array,
                       myr_err *err)
{
    int64_t child_count = (columns & MYR_MODELS_COLUMN_VALUES) != 0 ? (int64_t)rows->width : 0;
    child_count += __builtin_popcount(columns & ~(uint32_t)MYR_MODELS_COLUMN_VALUES);
    MYR_AUTO(myr_mem) is_null = myr_alloc((size_t)rows->row_count + 1);
    if (is_null == NULL) return out_no_memory(err);
    MYR_TRY(out_schema_init(schema, "+s", "", child_count, err));
    MYR_TRY(out_array_init(array, rows->row_count, 1, child_count, err));
    return out_columns(rows, columns, is_null, schema, array, err);
}

/* The caller's rows are scored into plain arrays, which then become the answer. */
static myr_rc out_score(const myr_models *models, const myr_models_rows *all, uint32_t columns,
                        struct ArrowSchema *schema, struct ArrowArray *array, myr_err *err)
{
    out_rows rows = {.models = models, .row_count = all->row_count, .output = all->output};
    if (all->row_count < 0) MYR_FAIL(err, BAD_INPUT, "row_count is %lld", (long long)all->row_count);
    MYR_TRY(myr_api_width(models, all->model_idx, all->output, &rows.width, err));
    size_t count = (size_t)all->row_count;
    MYR_AUTO(myr_mem) values = myr_realloc_array(NULL, count * rows.width + 1, sizeof(double));
    MYR_AUTO(myr_mem) levels = myr_alloc(count + 1);
    MYR_AUTO(myr_mem) statuses = myr_alloc(count + 1);
    MYR_AUTO(myr_mem) model_idxs = myr_realloc_array(NULL, count + 1, sizeof(uint32_t));
    if (values == NULL || levels == NULL || statuses == NULL || model_idxs == NULL) return out_no_memory(err);
    rows.values = values;
    rows.levels = levels;
    rows.statuses = statuses;
    rows.model_idxs = model_idxs;
    myr_models_out out = {.struct_size = sizeof out,
                          .values = values,
                          .row_stride = 1,
                          .column_stride = all->row_count == 0 ? 1 : all->row_count,
                          .levels = levels,
                          .statuses = statuses,
                          .model_idxs = model_idxs};
    MYR_TRY(myr_api_score(models, all, &out, err));
    return out_make(&rows, columns, schema, array, err);
}

int32_t myr_models_score_arrow(const myr_models *models, const myr_models_rows *rows, uint32_t columns,
                               struct ArrowSchema *out_schema, struct ArrowArray *out_array, myr_err *err)
{
    myr_models_rows all;
    MYR_TRY(myr_api_rows_get(models, rows, &all, err));
    if (out_schema == NULL || out_array == NULL) MYR_FAIL(err, BAD_INPUT, "out_schema and out_array are needed");
    uint32_t known = MYR_MODELS_COLUMN_MODEL_INDEX * 2 - 1;
    if (columns == 0 || (columns & ~known) != 0) {
        MYR_FAIL(err, BAD_INPUT, "columns is 0x%x: or MYR_MODELS_COLUMN_VALUES and its fellows", columns);
    }
    struct ArrowSchema schema = {.release = NULL};
    struct ArrowArray array = {.release = NULL};
    myr_rc rc = out_score(models, &all, columns, &schema, &array, err);
    if (rc != MYR_OK) {
        if (schema.release != NULL) schema.release(&schema);
        if (array.release != NULL) array.release(&array);
        return rc;
    }
    *out_schema = schema;
    *out_array = array;
    return MYR_OK;
}
