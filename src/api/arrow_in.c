/*
 * An Arrow batch as columns of cells. Columns are found by name and checked before anything is scored; then each chunk
 * of rows is read: doubles and int64 in place, everything else converted. A dictionary's entries are read once per
 * call.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "api/internal.h"

/* How cells lie in memory. */
typedef enum cells_kind {
    CELLS_NONE,
    CELLS_I8,
    CELLS_U8,
    CELLS_I16,
    CELLS_U16,
    CELLS_I32,
    CELLS_U32,
    CELLS_I64,
    CELLS_U64,
    CELLS_F32,
    CELLS_F64,
    CELLS_BOOL,
    CELLS_TEXT32, /* offsets of 32 bits */
    CELLS_TEXT64,
    CELLS_VIEW, /* 16 bytes: the text itself, or where it is */
    CELLS_NULL
} cells_kind;

static const struct {
    char format[4];
    cells_kind kind;
    int buffer_count; /* at least; buffers[0] is the bitmap */
} cells_formats[] = {
    {"c", CELLS_I8, 2},   {"C", CELLS_U8, 2},     {"s", CELLS_I16, 2},    {"S", CELLS_U16, 2},   {"i", CELLS_I32, 2},
    {"I", CELLS_U32, 2},  {"l", CELLS_I64, 2},    {"L", CELLS_U64, 2},    {"f", CELLS_F32, 2},   {"g", CELLS_F64, 2},
    {"b", CELLS_BOOL, 2}, {"u", CELLS_TEXT32, 3}, {"U", CELLS_TEXT64, 3}, {"vu", CELLS_VIEW, 2}, {"n", CELLS_NULL, 0},
};

/* What a column is read as. */
typedef enum cells_use {
    CELLS_AS_NUMBER,
    CELLS_AS_NAME, /* a feature that has names of categories: numbers are looked up by their text */
    CELLS_AS_KEY
} cells_use;

#define CELLS_NUMBER_BYTES (sizeof(double) + 1) /* of a converted cell, with its mark */
#define CELLS_TEXT_BYTES   (sizeof(myr_str) + 1)
#define CELLS_UINT64_TEXT  21
#define CELLS_VIEW_BYTES   16
#define CELLS_VIEW_INLINE  12 /* a shorter text lies in the view itself */

/* One column. */
typedef struct api_cells {
    const char *name;
    cells_kind kind; /* of a dictionary: its codes' */
    cells_use use;
    const uint8_t *bits;     /* valid cells, or NULL */
    const uint8_t *row_bits; /* valid rows of the struct, or NULL */
    int64_t row_offset;      /* of the struct */
    int64_t offset;          /* of its row 0 in the buffers */
    const void *const *buffers;
    bool is_dictionary;
    int64_t entry_count; /* of the dictionary */
    myr_col entries;
} api_cells;

struct api_batch {
    api_cells *features;
    uint32_t feature_count;
    api_cells *keys;
    uint32_t key_count;
    uint8_t *claimed; /* per column of the batch: asked for */
};

static myr_rc cells_no_memory(myr_err *err)
{
    MYR_FAIL(err, NO_MEMORY, "no memory to read an Arrow batch");
}

/* ---- which cells are there ---- */

static bool cells_bit(const uint8_t *bits, int64_t at)
{
    return (bits[at >> 3] >> (at & 7) & 1) != 0;
}

/* A byte per row, 0 = null; *out is NULL if there is no null. */
static myr_rc cells_valid(const api_cells *cells, int64_t first, size_t count, myr_arena *arena, uint8_t **out,
                          myr_err *err)
{
    *out = NULL;
    if (cells->bits == NULL && cells->row_bits == NULL) return MYR_OK;
    uint8_t *valid = myr_arena_alloc(arena, count);
    if (valid == NULL) return cells_no_memory(err);
    memset(valid, 1, count);
    for (size_t i = 0; cells->bits != NULL && i < count; i++)
        valid[i] = cells_bit(cells->bits, cells->offset + first + (int64_t)i);
    for (size_t i = 0; cells->row_bits != NULL && i < count; i++)
        valid[i] &= cells_bit(cells->row_bits, cells->row_offset + first + (int64_t)i);
    *out = valid;
    return MYR_OK;
}

/* ---- cells of each kind ---- */

/* CELLS_EACH(type): the loop of one physical type, into out[i]. */
#define CELLS_EACH(type)                                                                                               \
    for (size_t i = 0; i < count; i++)                                                                                 \
        out[i] = (CELLS_TO)((const type *)data)[at + (int64_t)i];                                                      \
    return

#define CELLS_TO double
static void cells_widen(cells_kind kind, const void *data, int64_t at, size_t count, double *out)
{
    switch (kind) {
    case CELLS_I8:
        CELLS_EACH(int8_t);
    case CELLS_U8:
        CELLS_EACH(uint8_t);
    case CELLS_I16:
        CELLS_EACH(int16_t);
    case CELLS_U16:
        CELLS_EACH(uint16_t);
    case CELLS_I32:
        CELLS_EACH(int32_t);
    case CELLS_U32:
        CELLS_EACH(uint32_t);
    case CELLS_I64:
        CELLS_EACH(int64_t);
    case CELLS_U64:
        CELLS_EACH(uint64_t);
    case CELLS_F32:
        CELLS_EACH(float);
    case CELLS_F64:
        CELLS_EACH(double);
    case CELLS_BOOL:
        for (size_t i = 0; i < count; i++)
            out[i] = cells_bit(data, at + (int64_t)i) ? 1.0 : 0.0;
        return;
    default:
        MYR_ASSERT(kind == CELLS_NULL);
        for (size_t i = 0; i < count; i++)
            out[i] = (double)NAN;
    }
}
#undef CELLS_TO

#define CELLS_TO int64_t
static void cells_integers(cells_kind kind, const void *data, int64_t at, size_t count, int64_t *out)
{
    switch (kind) {
    case CELLS_I8:
        CELLS_EACH(int8_t);
    case CELLS_U8:
        CELLS_EACH(uint8_t);
    case CELLS_I16:
        CELLS_EACH(int16_t);
    case CELLS_U16:
        CELLS_EACH(uint16_t);
    case CELLS_I32:
        CELLS_EACH(int32_t);
    case CELLS_U32:
        CELLS_EACH(uint32_t);
    case CELLS_U64:
        CELLS_EACH(uint64_t); /* the bits: those above INT64_MAX are looked for, or refused as negative codes */
    default:
        MYR_ASSERT(kind == CELLS_I64);
        CELLS_EACH(int64_t);
    }
}
#undef CELLS_TO

static myr_str cells_view(const api_cells *cells, int64_t at)
{
    const char *view = (const char *)cells->buffers[1] + at * CELLS_VIEW_BYTES;
    int32_t size = 0, buffer_idx = 0, offset = 0;
    memcpy(&size, view, sizeof size);
    if (size <= CELLS_VIEW_INLINE) return myr_str_make(view + 4, (size_t)size);
    memcpy(&buffer_idx, view + 8, sizeof buffer_idx);
    memcpy(&offset, view + 12, sizeof offset);
    return myr_str_make((const char *)cells->buffers[2 + buffer_idx] + offset, (size_t)size);
}

static myr_str cells_text(const api_cells *cells, int64_t at)
{
    if (cells->kind == CELLS_VIEW) return cells_view(cells, at);
    int64_t from = 0, to = 0;
    if (cells->kind == CELLS_TEXT32) {
        const int32_t *offsets = cells->buffers[1];
        from = offsets[at];
        to = offsets[at + 1];
    } else {
        const int64_t *offsets = cells->buffers[1];
        from = offsets[at];
        to = offsets[at + 1];
    }
    const char *data = cells->buffers[2]; /* may be NULL if all texts are empty */
    return myr_str_make(data == NULL ? "" : data + from, (size_t)(to - from));
}

static bool cells_are_text(cells_kind kind)
{
    return kind == CELLS_TEXT32 || kind == CELLS_TEXT64 || kind == CELLS_VIEW;
}

/* ---- columns of cells ---- */

static myr_rc cells_read_text(const api_cells *cells, int64_t first, size_t count, myr_arena *arena, myr_col *col,
                              myr_err *err)
{
    myr_str *texts = myr_arena_calloc(arena, count, sizeof *texts);
    if (texts == NULL) return cells_no_memory(err);
    for (size_t i = 0; i < count; i++) {
        if (col->valid == NULL || col->valid[i] != 0) texts[i] = cells_text(cells, cells->offset + first + (int64_t)i);
    }
    col->type = MYR_COL_TEXT;
    col->data.text = texts;
    return MYR_OK;
}

/* Keys of Arrow type bool are the words, and unsigned numbers beyond int64 their digits. */
static myr_rc cells_read_words(const api_cells *cells, int64_t first, size_t count, myr_arena *arena, myr_col *col,
                               myr_err *err)
{
    myr_str *texts = myr_arena_calloc(arena, count, sizeof *texts);
    char *digits = cells->kind == CELLS_U64 ? myr_arena_alloc(arena, count * CELLS_UINT64_TEXT) : NULL;
    if (texts == NULL || (cells->kind == CELLS_U64 && digits == NULL)) return cells_no_memory(err);
    for (size_t i = 0; i < count; i++) {
        int64_t at = cells->offset + first + (int64_t)i;
        if (cells->kind == CELLS_BOOL) {
            texts[i] = myr_str_of(cells_bit(cells->buffers[1], at) ? "true" : "false");
        } else if (cells->kind == CELLS_U64) {
            char *text = digits + i * CELLS_UINT64_TEXT;
            uint64_t number = ((const uint64_t *)cells->buffers[1])[at];
            int size = snprintf(text, CELLS_UINT64_TEXT, "%llu", (unsigned long long)number);
            texts[i] = myr_str_make(text, (size_t)size);
        }
    }
    col->type = MYR_COL_TEXT;
    col->data.text = texts;
    if (cells->kind != CELLS_NULL) return MYR_OK;
    col->valid = myr_arena_calloc(arena, count, 1);
    return col->valid == NULL ? cells_no_memory(err) : MYR_OK;
}

/* The text that a number stands for, as rows of JSON have it: whole numbers as decimal integers, others shortest. */
static size_t cells_number_text(double number, char out[MYR_DOUBLE_TEXT_BYTES])
{
    bool is_whole = number >= -0x1p63 && number < 0x1p63 && floor(number) == number;
    if (!is_whole) return myr_format_double(number, out);
    return (size_t)snprintf(out, MYR_DOUBLE_TEXT_BYTES, "%lld", (long long)number);
}

/* Numbers as names of categories. */
static myr_rc cells_read_names(const api_cells *cells, int64_t first, size_t count, myr_arena *arena, myr_col *col,
                               myr_err *err)
{
    int64_t at = cells->offset + first;
    bool is_float = cells->kind == CELLS_F32 || cells->kind == CELLS_F64;
    myr_str *texts = myr_arena_calloc(arena, count, sizeof *texts);
    char *room = myr_arena_alloc(arena, count * MYR_DOUBLE_TEXT_BYTES);
    uint8_t *valid = myr_arena_calloc(arena, count, sizeof *valid);
    void *numbers = myr_arena_alloc(arena, count * sizeof(double));
    if (texts == NULL || room == NULL || valid == NULL || numbers == NULL) return cells_no_memory(err);
    if (is_float) {
        cells_widen(cells->kind, cells->buffers[1], at, count, numbers);
    } else {
        cells_integers(cells->kind, cells->buffers[1], at, count, numbers);
    }
    for (size_t i = 0; i < count; i++, room += MYR_DOUBLE_TEXT_BYTES) {
        valid[i] = (col->valid == NULL || col->valid[i] != 0) && !(is_float && isnan(((double *)numbers)[i]));
        if (valid[i] == 0) continue;
        size_t size = is_float
                          ? cells_number_text(((double *)numbers)[i], room)
                          : (size_t)snprintf(room, MYR_DOUBLE_TEXT_BYTES, cells->kind == CELLS_U64 ? "%llu" : "%lld",
                                             ((long long *)numbers)[i]);
        texts[i] = myr_str_make(room, size);
    }
    *col = (myr_col){.name = cells->name, .type = MYR_COL_TEXT, .valid = valid, .data.text = texts};
    return MYR_OK;
}

static myr_rc cells_read_integers(const api_cells *cells, int64_t first, size_t count, myr_arena *arena, myr_col *col,
                                  myr_err *err)
{
    int64_t at = cells->offset + first;
    col->type = MYR_COL_INT64;
    if (cells->kind == CELLS_I64) {
        col->data.i64 = (const int64_t *)cells->buffers[1] + at;
        return MYR_OK;
    }
    if (cells->kind == CELLS_U64) {
        const uint64_t *numbers = (const uint64_t *)cells->buffers[1] + at;
        for (size_t i = 0; i < count; i++) {
            bool is_there = col->valid == NULL || col->valid[i] != 0;
            if (is_there && numbers[i] > INT64_MAX) return cells_read_words(cells, first, count, arena, col, err);
        }
    }
    int64_t *numbers = myr_arena_alloc(arena, count * sizeof *numbers);
    if (numbers == NULL) return cells_no_memory(err);
    cells_integers(cells->kind, cells->buffers[1], at, count, numbers);
    col->data.i64 = numbers;
    return MYR_OK;
}

static myr_rc cells_read_doubles(const api_cells *cells, int64_t first, size_t count, myr_arena *arena, myr_col *col,
                                 myr_err *err)
{
    int64_t at = cells->offset + first;
    col->type = MYR_COL_DOUBLE;
    if (cells->kind == CELLS_F64) {
        col->data.f64 = (const double *)cells->buffers[1] + at;
        return MYR_OK;
    }
    double *numbers = myr_arena_alloc(arena, count * sizeof *numbers);
    if (numbers == NULL) return cells_no_memory(err);
    cells_widen(cells->kind, cells->kind == CELLS_NULL ? NULL : cells->buffers[1], at, count, numbers);
    col->data.f64 = numbers;
    return MYR_OK;
}

/* Cells that are not a dictionary's codes. */
static myr_rc cells_read_plain(const api_cells *cells, int64_t first, size_t count, myr_arena *arena, myr_col *out,
                               myr_err *err)
{
    uint8_t *valid = NULL;
    MYR_TRY(cells_valid(cells, first, count, arena, &valid, err));
    *out = (myr_col){.name = cells->name, .valid = valid};
    if (cells_are_text(cells->kind)) return cells_read_text(cells, first, count, arena, out, err);
    bool is_float = cells->kind == CELLS_F32 || cells->kind == CELLS_F64;
    if (cells->use == CELLS_AS_NUMBER || (cells->use == CELLS_AS_KEY && is_float)) {
        return cells_read_doubles(cells, first, count, arena, out, err);
    }
    if (cells->kind == CELLS_BOOL || cells->kind == CELLS_NULL) {
        return cells_read_words(cells, first, count, arena, out, err);
    }
    if (cells->use == CELLS_AS_NAME) return cells_read_names(cells, first, count, arena, out, err);
    return cells_read_integers(cells, first, count, arena, out, err);
}

/* ---- dictionaries ---- */

/* The code of each row; rows that are null have any. */
static myr_rc cells_codes(const api_cells *cells, int64_t first, size_t count, myr_arena *arena, const int64_t **out,
                          myr_err *err)
{
    api_cells codes = *cells;
    codes.use = CELLS_AS_KEY;
    codes.is_dictionary = false;
    if (cells->kind == CELLS_I64 || cells->kind == CELLS_U64) { /* beyond INT64_MAX: negative, so out of range */
        *out = (const int64_t *)cells->buffers[1] + cells->offset + first;
        return MYR_OK;
    }
    myr_col col = {.name = cells->name};
    MYR_TRY(cells_read_integers(&codes, first, count, arena, &col, err));
    *out = col.data.i64;
    return MYR_OK;
}

static myr_rc cells_read_entries(const api_cells *cells, int64_t first, size_t count, myr_arena *arena, myr_col *out,
                                 myr_err *err)
{
    const myr_col *entries = &cells->entries;
    const int64_t *codes = NULL;
    uint8_t *rows_valid = NULL;
    size_t cell_bytes = entries->type == MYR_COL_TEXT ? sizeof(myr_str) : sizeof(double);
    uint8_t *valid = myr_arena_alloc(arena, count);
    void *cells_out = myr_arena_calloc(arena, count, cell_bytes);
    if (valid == NULL || cells_out == NULL) return cells_no_memory(err);
    MYR_TRY(cells_valid(cells, first, count, arena, &rows_valid, err));
    MYR_TRY(cells_codes(cells, first, count, arena, &codes, err));
    for (size_t i = 0; i < count; i++) {
        valid[i] = rows_valid == NULL || rows_valid[i] != 0;
        if (valid[i] == 0) continue;
        MYR_ASSERT(codes[i] >= 0 && codes[i] < cells->entry_count); /* checked when the batch was opened */
        valid[i] = !myr_col_is_null(entries, codes[i]);
        memcpy((char *)cells_out + i * cell_bytes, (const char *)entries->data.f64 + (size_t)codes[i] * cell_bytes,
               cell_bytes);
    }
    *out = (myr_col){.name = cells->name, .type = entries->type, .valid = valid, .data.f64 = cells_out};
    return MYR_OK;
}

#define CELLS_CHECK_ROWS 4096 /* codes looked at together: bounds the memory of the check */

static myr_rc cells_check_codes(const api_cells *cells, int64_t row_count, myr_err *err)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    if (arena == NULL) return cells_no_memory(err);
    for (int64_t first = 0; first < row_count; first += CELLS_CHECK_ROWS) {
        size_t count = (size_t)(row_count - first < CELLS_CHECK_ROWS ? row_count - first : CELLS_CHECK_ROWS);
        const int64_t *codes = NULL;
        uint8_t *valid = NULL;
        myr_arena_reset(arena);
        MYR_TRY(cells_valid(cells, first, count, arena, &valid, err));
        MYR_TRY(cells_codes(cells, first, count, arena, &codes, err));
        for (size_t i = 0; i < count; i++) {
            if ((valid != NULL && valid[i] == 0) || (codes[i] >= 0 && codes[i] < cells->entry_count)) continue;
            MYR_FAIL(err, BAD_INPUT, "column '%.100s', row %lld: code %lld of a dictionary of %lld entries",
                     cells->name, (long long)(first + (int64_t)i), (long long)codes[i], (long long)cells->entry_count);
        }
    }
    return MYR_OK;
}

/* ---- one column checked ---- */

static myr_rc cells_find_kind(const struct ArrowSchema *schema, const struct ArrowArray *array, const char *name,
                              cells_kind *out, myr_err *err)
{
    const char *format = schema->format == NULL ? "" : schema->format;
    for (size_t i = 0; i < MYR_COUNT_OF(cells_formats); i++) {
        if (strcmp(format, cells_formats[i].format) != 0) continue;
        if (array->n_buffers < cells_formats[i].buffer_count || (array->buffers == NULL && array->n_buffers > 0)) {
            MYR_FAIL(err, BAD_INPUT, "column '%.100s': Arrow type '%s' with %lld buffers", name, format,
                     (long long)array->n_buffers);
        }
        if (array->length > 0 && array->n_buffers >= 2 && array->buffers[1] == NULL) {
            MYR_FAIL(err, BAD_INPUT, "column '%.100s': %lld cells without a buffer", name, (long long)array->length);
        }
        *out = cells_formats[i].kind;
        return MYR_OK;
    }
    MYR_FAIL(err, UNSUPPORTED,
             "column '%.100s' has the Arrow type '%.20s': cast it to integers, float, double, bool or text", name,
             format);
}

static myr_rc cells_init(const struct ArrowSchema *schema, const struct ArrowArray *array, const char *name,
                         cells_use use, api_cells *out, myr_err *err)
{
    if (array == NULL || array->release == NULL) {
        MYR_FAIL(err, BAD_INPUT, "column '%.100s': the Arrow array was released", name);
    }
    if (array->length < 0 || array->offset < 0) {
        MYR_FAIL(err, BAD_INPUT, "column '%.100s': an Arrow array of length %lld at offset %lld", name,
                 (long long)array->length, (long long)array->offset);
    }
    *out = (api_cells){.name = name, .use = use, .offset = array->offset, .buffers = array->buffers};
    MYR_TRY(cells_find_kind(schema, array, name, &out->kind, err));
    if (out->kind != CELLS_NULL && array->null_count != 0) out->bits = array->buffers[0];
    return MYR_OK;
}

static myr_rc cells_init_dictionary(const struct ArrowSchema *schema, const struct ArrowArray *array, int64_t row_count,
                                    myr_arena *arena, api_cells *cells, myr_err *err)
{
    if (cells->kind < CELLS_I8 || cells->kind > CELLS_U64) {
        MYR_FAIL(err, BAD_INPUT, "column '%.100s': a dictionary with codes of Arrow type '%.20s'", cells->name,
                 schema->format);
    }
    if (schema->dictionary->dictionary != NULL) {
        MYR_FAIL(err, UNSUPPORTED, "column '%.100s': a dictionary of dictionaries", cells->name);
    }
    api_cells entries;
    MYR_TRY(cells_init(schema->dictionary, array->dictionary, cells->name, cells->use, &entries, err));
    cells->is_dictionary = true;
    cells->entry_count = array->dictionary->length;
    MYR_TRY(cells_read_plain(&entries, 0, (size_t)cells->entry_count, arena, &cells->entries, err));
    return cells_check_codes(cells, row_count, err);
}

/* ---- the batch ---- */

static myr_rc batch_check(const struct ArrowSchema *schema, const struct ArrowArray *array, myr_err *err)
{
    if (schema->release == NULL || array->release == NULL) MYR_FAIL(err, BAD_INPUT, "the Arrow batch was released");
    if (schema->format == NULL || strcmp(schema->format, "+s") != 0) {
        MYR_FAIL(err, BAD_INPUT, "an Arrow batch is a struct ('+s'), this is '%.20s'",
                 schema->format == NULL ? "" : schema->format);
    }
    if (array->length < 0 || array->offset < 0 || array->n_children < 0 || array->n_children != schema->n_children) {
        MYR_FAIL(err, BAD_INPUT, "an Arrow batch of %lld rows at offset %lld with %lld columns, its schema has %lld",
                 (long long)array->length, (long long)array->offset, (long long)array->n_children,
                 (long long)schema->n_children);
    }
    return MYR_OK;
}

/* The only column of this name. Names mostly come in the order in which they are asked for: *hint is where to look
 * first. */
static myr_rc batch_find(const struct ArrowSchema *schema, const char *name, const char *what, int64_t *hint,
                         int64_t *out, myr_err *err)
{
    int64_t found = -1;
    for (int64_t i = 0; i < schema->n_children && found < 0; i++) {
        int64_t at = (*hint + i) % schema->n_children;
        if (schema->children[at]->name != NULL && strcmp(schema->children[at]->name, name) == 0) found = at;
    }
    if (found < 0) {
        MYR_FAIL(err, BAD_INPUT, "the batch has no column '%.100s', %s: it has %lld others, as '%.40s'", name, what,
                 (long long)schema->n_children,
                 schema->n_children == 0 || schema->children[0]->name == NULL ? "" : schema->children[0]->name);
    }
    *hint = found + 1;
    *out = found;
    return MYR_OK;
}

static myr_rc batch_column(const myr_models_rows *rows, const char *name, const char *what, cells_use use,
                           int64_t *hint, api_batch *into, myr_arena *arena, api_cells *out, myr_err *err)
{
    const struct ArrowArray *batch = rows->batch;
    int64_t at = 0;
    MYR_TRY(batch_find(rows->schema, name, what, hint, &at, err));
    into->claimed[at] = 1;
    const struct ArrowSchema *schema = rows->schema->children[at];
    const struct ArrowArray *array = batch->children[at];
    MYR_TRY(cells_init(schema, array, name, use, out, err));
    if (array->length < batch->offset + batch->length) {
        MYR_FAIL(err, BAD_INPUT, "column '%.100s' has %lld cells, the batch needs %lld", name, (long long)array->length,
                 (long long)(batch->offset + batch->length));
    }
    out->offset += batch->offset;
    if (batch->null_count != 0 && batch->n_buffers > 0 && batch->buffers[0] != NULL) {
        out->row_bits = batch->buffers[0];
        out->row_offset = batch->offset;
    }
    if (schema->dictionary == NULL) return MYR_OK;
    return cells_init_dictionary(schema, array, batch->length, arena, out, err);
}

/* Is a name there twice? Only a column that nobody asked for can be the second one. */
static myr_rc batch_check_twice(const struct ArrowSchema *schema, const api_batch *batch, myr_err *err)
{
    for (int64_t i = 0; i < schema->n_children; i++) {
        const char *name = schema->children[i]->name;
        if (batch->claimed[i] != 0 || name == NULL) continue;
        for (uint32_t j = 0; j < batch->feature_count + batch->key_count; j++) {
            const char *asked =
                j < batch->feature_count ? batch->features[j].name : batch->keys[j - batch->feature_count].name;
            if (strcmp(asked, name) != 0) continue;
            MYR_FAIL(err, BAD_INPUT, "the batch has two columns '%.100s': which one is meant is not known", name);
        }
    }
    return MYR_OK;
}

myr_rc myr_api_batch_open(const myr_models_rows *rows, const myr_pack_info *info, bool with_features,
                          const char *const *key_columns, myr_arena *arena, api_batch **out, myr_err *err)
{
    MYR_TRY(batch_check(rows->schema, rows->batch, err));
    api_batch *batch = myr_arena_calloc(arena, 1, sizeof *batch);
    if (batch == NULL) return cells_no_memory(err);
    batch->feature_count = with_features ? info->feature_count : 0;
    batch->key_count = key_columns != NULL ? info->keys.column_count : 0;
    batch->features = myr_arena_calloc(arena, batch->feature_count + 1, sizeof *batch->features);
    batch->keys = myr_arena_calloc(arena, batch->key_count + 1, sizeof *batch->keys);
    batch->claimed = myr_arena_calloc(arena, (size_t)rows->schema->n_children + 1, 1);
    if (batch->features == NULL || batch->keys == NULL || batch->claimed == NULL) return cells_no_memory(err);
    int64_t hint = 0;
    for (uint32_t k = 0; k < batch->key_count; k++) {
        if (key_columns[k] == NULL) MYR_FAIL(err, BAD_INPUT, "key_columns[%u] is NULL", k);
        MYR_TRY(batch_column(rows, key_columns[k], "a partition column", CELLS_AS_KEY, &hint, batch, arena,
                             &batch->keys[k], err));
    }
    for (uint32_t j = 0; j < batch->feature_count; j++) {
        cells_use use = myr_pack_takes_text(info, j) ? CELLS_AS_NAME : CELLS_AS_NUMBER;
        MYR_TRY(batch_column(rows, info->features[j], "a feature", use, &hint, batch, arena, &batch->features[j], err));
    }
    MYR_TRY(batch_check_twice(rows->schema, batch, err));
    *out = batch;
    return MYR_OK;
}

static size_t cells_row_bytes(const api_cells *cells)
{
    if (cells->use == CELLS_AS_NAME) return CELLS_TEXT_BYTES + sizeof(double) + MYR_DOUBLE_TEXT_BYTES;
    bool is_text = cells->is_dictionary ? cells->entries.type == MYR_COL_TEXT : cells_are_text(cells->kind);
    if (is_text || (cells->use == CELLS_AS_KEY && cells->kind != CELLS_I64 && cells->kind != CELLS_F64)) {
        return CELLS_TEXT_BYTES + (cells->is_dictionary ? sizeof(int64_t) : 0);
    }
    if (cells->is_dictionary) return CELLS_NUMBER_BYTES + sizeof(int64_t);
    bool is_in_place = cells->kind == CELLS_F64 || (cells->use == CELLS_AS_KEY && cells->kind == CELLS_I64);
    bool has_nulls = cells->bits != NULL || cells->row_bits != NULL;
    return is_in_place ? has_nulls : CELLS_NUMBER_BYTES;
}

size_t myr_api_batch_row_bytes(const api_batch *batch)
{
    size_t bytes = 0;
    for (uint32_t j = 0; j < batch->feature_count; j++)
        bytes += cells_row_bytes(&batch->features[j]);
    for (uint32_t k = 0; k < batch->key_count; k++)
        bytes += cells_row_bytes(&batch->keys[k]);
    return bytes;
}

static myr_rc batch_read(const api_cells *cells, uint32_t column_count, int64_t first, size_t count, myr_arena *arena,
                         myr_col *out_cols, myr_err *err)
{
    for (uint32_t j = 0; j < column_count; j++) {
        if (cells[j].is_dictionary) {
            MYR_TRY(cells_read_entries(&cells[j], first, count, arena, &out_cols[j], err));
        } else {
            MYR_TRY(cells_read_plain(&cells[j], first, count, arena, &out_cols[j], err));
        }
    }
    return MYR_OK;
}

myr_rc myr_api_batch_features(const api_batch *batch, int64_t first, size_t count, myr_arena *arena, myr_col *out_cols,
                              myr_err *err)
{
    return batch_read(batch->features, batch->feature_count, first, count, arena, out_cols, err);
}

myr_rc myr_api_batch_keys(const api_batch *batch, int64_t first, size_t count, myr_arena *arena, myr_col *out_cols,
                          myr_err *err)
{
    return batch_read(batch->keys, batch->key_count, first, count, arena, out_cols, err);
}
