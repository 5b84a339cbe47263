/*
 * Binary tensors of V2 (little-endian, row-major) become columns. What lies well is used in place: FP64 and INT64 at a
 * multiple of 8, texts anywhere; the rest is copied once, value by value. Every size is checked before a byte is read.
 */
#include <math.h>
#include <string.h>

#include "serve/infer_inside.h"

#define BINARY_LENGTH_BYTES 4 /* before each text */

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "tensors are little-endian, and so are our machines");

myr_rc myr_serve_binary_take(infer_build *build, infer_tensor *tensor, yyjson_val *size, myr_err *err)
{
    if (!build->has_binary) {
        MYR_FAIL(err, BAD_INPUT, "input '%s' has binary_data_size, but the request has no header " SERVE_JSON_LENGTH,
                 tensor->name);
    }
    if (!yyjson_is_uint(size)) {
        MYR_FAIL(err, BAD_INPUT, "input '%s': binary_data_size is %s, not a number of bytes", tensor->name,
                 myr_serve_json_kind(size));
    }
    uint64_t bytes = yyjson_get_uint(size);
    if (bytes > build->binary.size) {
        MYR_FAIL(err, BAD_INPUT, "input '%s': binary_data_size is %llu, %zu bytes of the body are left for it",
                 tensor->name, (unsigned long long)bytes, build->binary.size);
    }
    tensor->raw = myr_str_make(build->binary.data, (size_t)bytes);
    build->binary = myr_str_make(build->binary.data + bytes, build->binary.size - (size_t)bytes);
    return MYR_OK;
}

/* Values of a fixed width: as many bytes as the shape says. The count is at most rows x features, so it can't overflow.
 */
static myr_rc binary_check_size(const infer_tensor *tensor, size_t count, myr_err *err)
{
    MYR_ASSERT(tensor->type->width > 0 && count <= (size_t)SERVE_ROWS_MAX * MYR_FEATURES_MAX);
    size_t wanted = count * tensor->type->width;
    if (tensor->raw.size == wanted) return MYR_OK;
    MYR_FAIL(err, BAD_INPUT, "input '%s': %zu bytes of binary data, its shape and %s say %zu", tensor->name,
             tensor->raw.size, tensor->type->name, wanted);
}

static bool binary_is_aligned(const infer_tensor *tensor)
{
    return (uintptr_t)tensor->raw.data % sizeof(double) == 0;
}

/* A whole number or truth value: its bits, with its sign to all 64. */
static uint64_t binary_bits(const infer_tensor *tensor, size_t idx)
{
    uint32_t width = tensor->type->width;
    uint64_t bits = 0;
    memcpy(&bits, tensor->raw.data + idx * width, width);
    if (tensor->type->kind != INFER_INT || width == sizeof bits) return bits;
    uint64_t sign = 1ULL << (width * 8 - 1);
    return (bits ^ sign) - sign;
}

static myr_rc binary_check_bools(const infer_tensor *tensor, myr_err *err)
{
    for (size_t i = 0; i < tensor->raw.size; i++) {
        unsigned byte = (unsigned char)tensor->raw.data[i];
        if (byte > 1)
            MYR_FAIL(err, BAD_INPUT, "input '%s', row %zu: byte %u is not a value of BOOL", tensor->name, i, byte);
    }
    return MYR_OK;
}

myr_rc myr_serve_binary_doubles(infer_build *build, const infer_tensor *tensor, size_t count, const double **out,
                                myr_err *err)
{
    void *memory;
    const char *data = tensor->raw.data;
    infer_class kind = tensor->type->kind;
    MYR_ASSERT(kind != INFER_TEXT && data != NULL);
    MYR_TRY(binary_check_size(tensor, count, err));
    if (kind == INFER_BOOL) MYR_TRY(binary_check_bools(tensor, err));
    if (kind == INFER_DOUBLE && binary_is_aligned(tensor)) {
        *out = (const double *)(const void *)data;
        return MYR_OK;
    }
    MYR_TRY(myr_serve_infer_memory(build, count, sizeof(double), &memory, err));
    double *values = memory;
    if (kind == INFER_DOUBLE) {
        if (count > 0) memcpy(values, data, count * sizeof(double));
    } else if (kind == INFER_FLOAT) {
        for (size_t i = 0; i < count; i++) {
            float value;
            memcpy(&value, data + i * sizeof value, sizeof value);
            values[i] = (double)value;
        }
    } else {
        for (size_t i = 0; i < count; i++) {
            uint64_t bits = binary_bits(tensor, i);
            values[i] = kind == INFER_INT ? (double)(int64_t)bits : (double)bits; /* beyond 2^53 the nearest */
        }
    }
    *out = values;
    return MYR_OK;
}

/* ---- texts ---- */

/* The next text: its length in four bytes, then itself. */
static myr_rc binary_next_text(const infer_tensor *tensor, size_t row, myr_str *rest, myr_str *out, myr_err *err)
{
    uint32_t size;
    if (rest->size < BINARY_LENGTH_BYTES) {
        MYR_FAIL(err, BAD_INPUT, "input '%s', row %zu: its binary data ends before the length of this text",
                 tensor->name, row);
    }
    memcpy(&size, rest->data, BINARY_LENGTH_BYTES);
    *rest = myr_str_make(rest->data + BINARY_LENGTH_BYTES, rest->size - BINARY_LENGTH_BYTES);
    if (size > rest->size) {
        MYR_FAIL(err, BAD_INPUT, "input '%s', row %zu: a text of %u bytes, its binary data has %zu left", tensor->name,
                 row, size, rest->size);
    }
    *out = myr_str_make(rest->data, size);
    *rest = myr_str_make(rest->data + size, rest->size - size);
    if (!myr_utf8_is_valid(*out)) {
        MYR_FAIL(err, BAD_INPUT, "input '%s', row %zu: the text is not UTF-8", tensor->name, row);
    }
    return MYR_OK;
}

static myr_rc binary_texts(const infer_tensor *tensor, size_t row_count, myr_str *values, myr_err *err)
{
    myr_str rest = tensor->raw;
    for (size_t row = 0; row < row_count; row++)
        MYR_TRY(binary_next_text(tensor, row, &rest, &values[row], err));
    if (rest.size == 0) return MYR_OK;
    MYR_FAIL(err, BAD_INPUT, "input '%s': %zu bytes of binary data follow its %zu texts", tensor->name, rest.size,
             row_count);
}

/* The words that a JSON tensor would have. NULL: no memory. */
static const char *binary_word(infer_build *build, const infer_tensor *tensor, size_t row)
{
    uint64_t bits = binary_bits(tensor, row);
    if (tensor->type->kind == INFER_BOOL) return bits != 0 ? "true" : "false";
    if (tensor->type->kind == INFER_INT) {
        return myr_arena_printf(build->work->arena, "%lld", (long long)(int64_t)bits);
    }
    return myr_arena_printf(build->work->arena, "%llu", (unsigned long long)bits);
}

myr_rc myr_serve_binary_cells(infer_build *build, const infer_tensor *tensor, myr_col *col, myr_err *err)
{
    size_t row_count = (size_t)build->row_count;
    void *memory;
    MYR_ASSERT(tensor->type->kind != INFER_FLOAT && tensor->type->kind != INFER_DOUBLE);
    MYR_TRY(myr_serve_infer_memory(build, row_count, sizeof(myr_str), &memory, err));
    myr_str *values = memory;
    if (tensor->type->kind == INFER_TEXT) {
        MYR_TRY(binary_texts(tensor, row_count, values, err));
    } else {
        MYR_TRY(binary_check_size(tensor, row_count, err));
        if (tensor->type->kind == INFER_BOOL) MYR_TRY(binary_check_bools(tensor, err));
        for (size_t row = 0; row < row_count; row++) {
            const char *word = binary_word(build, tensor, row);
            if (word == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for %zu values", row_count);
            values[row] = myr_str_of(word);
        }
    }
    col->type = MYR_COL_TEXT;
    col->valid = NULL;
    col->data.text = values;
    return MYR_OK;
}

myr_rc myr_serve_binary_ints(infer_build *build, const infer_tensor *tensor, myr_col *col, myr_err *err)
{
    size_t row_count = (size_t)build->row_count;
    void *memory;
    MYR_ASSERT(tensor->type->kind == INFER_INT || tensor->type->kind == INFER_UINT);
    MYR_TRY(binary_check_size(tensor, row_count, err));
    col->type = MYR_COL_INT64;
    col->valid = NULL;
    if (tensor->type->kind == INFER_INT && tensor->type->width == sizeof(int64_t) && binary_is_aligned(tensor)) {
        col->data.i64 = (const int64_t *)(const void *)tensor->raw.data;
        return MYR_OK;
    }
    MYR_TRY(myr_serve_infer_memory(build, row_count, sizeof(int64_t), &memory, err));
    int64_t *values = memory;
    for (size_t row = 0; row < row_count; row++) {
        uint64_t bits = binary_bits(tensor, row);
        if (tensor->type->kind == INFER_UINT && bits > INT64_MAX) {
            MYR_FAIL(err, BAD_INPUT, "input '%s', row %zu: %llu is past the largest INT64, which keys are",
                     tensor->name, row, (unsigned long long)bits);
        }
        values[row] = (int64_t)bits;
    }
    col->data.i64 = values;
    return MYR_OK;
}
