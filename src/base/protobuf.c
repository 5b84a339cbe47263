/*
 * Protobuf's wire format. Every read compares with what is left (never a sum that could wrap), so that a length is
 * believed only when its bytes are there.
 */
#include "base/protobuf.h"

#include <string.h>

#include "base/err.h"

void myr_pb_init(myr_pb *pb, const void *data, size_t size_bytes)
{
    static const unsigned char nothing[1] = {0};
    const unsigned char *bytes = size_bytes > 0 ? data : nothing;
    *pb = (myr_pb){.begin = bytes, .at = bytes, .end = bytes + size_bytes};
}

static bool pb_fault(myr_pb *pb, const char *fault)
{
    pb->fault = fault;
    return false;
}

bool myr_pb_varint(myr_pb *pb, uint64_t *out)
{
    uint64_t value = 0;
    if (pb->fault != NULL || pb->at == pb->end) return false;
    if (*pb->at < 0x80) { /* most are small */
        *out = *pb->at++;
        return true;
    }
    for (unsigned k = 0; k < MYR_PB_VARINT_BYTES_MAX; k++) {
        if ((size_t)(pb->end - pb->at) <= k) return pb_fault(pb, "the bytes end within a number");
        unsigned char byte = pb->at[k];
        if (k == MYR_PB_VARINT_BYTES_MAX - 1 && byte > 1) return pb_fault(pb, "a number of more than 64 bits");
        value |= (uint64_t)(byte & 0x7fu) << (7 * k);
        if ((byte & 0x80u) == 0) {
            pb->at += k + 1;
            *out = value;
            return true;
        }
    }
    return pb_fault(pb, "a number of more than 10 bytes");
}

static uint64_t pb_little_endian(const unsigned char *bytes, size_t size)
{
    uint64_t value = 0;
    memcpy(&value, bytes, size); /* every machine that this is built for is little-endian */
    return value;
}

static bool pb_fixed(myr_pb *pb, size_t size, uint64_t *out)
{
    if ((size_t)(pb->end - pb->at) < size) return pb_fault(pb, "the bytes end within a fixed number");
    *out = pb_little_endian(pb->at, size);
    pb->at += size;
    return true;
}

static bool pb_bytes(myr_pb *pb, myr_pb_field *out)
{
    uint64_t size;
    if (pb->at == pb->end) return pb_fault(pb, "the bytes end before a length");
    if (!myr_pb_varint(pb, &size)) return false;
    if (size > (uint64_t)(pb->end - pb->at)) return pb_fault(pb, "a length goes past the end");
    out->data = pb->at;
    out->size = (size_t)size;
    pb->at += size;
    return true;
}

/* Short bytes with a small number, as most fields are; false: it is another, nothing was read. */
static inline bool pb_next_short(myr_pb *pb, myr_pb_field *out)
{
    size_t left = (size_t)(pb->end - pb->at);
    if (left < 2 || pb->fault != NULL) return false;
    unsigned tag = pb->at[0], size = pb->at[1];
    if (tag >= 0x80 || tag < 8 || (tag & 7) != MYR_PB_BYTES || size >= 0x80 || size > left - 2) return false;
    *out = (myr_pb_field){.number = tag >> 3, .wire = MYR_PB_BYTES, .data = pb->at + 2, .size = size};
    pb->at += 2 + size;
    return true;
}

bool myr_pb_next(myr_pb *pb, myr_pb_field *out)
{
    if (pb_next_short(pb, out)) return true;
    uint64_t tag;
    const unsigned char *from = pb->at;
    if (!myr_pb_varint(pb, &tag)) return false;
    *out = (myr_pb_field){.number = (uint32_t)(tag >> 3 & MYR_PB_NUMBER_MAX), .wire = (myr_pb_wire)(tag & 7)};
    if (tag >> 3 == 0 || tag >> 3 > MYR_PB_NUMBER_MAX) {
        pb->at = from;
        return pb_fault(pb, "a field number out of range");
    }
    switch (out->wire) {
    case MYR_PB_VARINT:
        if (pb->at == pb->end) return pb_fault(pb, "the bytes end before a number");
        return myr_pb_varint(pb, &out->value);
    case MYR_PB_FIXED64:
        return pb_fixed(pb, 8, &out->value);
    case MYR_PB_FIXED32:
        return pb_fixed(pb, 4, &out->value);
    case MYR_PB_BYTES:
        return pb_bytes(pb, out);
    }
    pb->at = from;
    return pb_fault(pb, "a wire type that is not known");
}

/* ---- repeated numbers ---- */

static size_t pb_width(myr_pb_wire wire)
{
    return wire == MYR_PB_FIXED64 ? 8 : 4;
}

bool myr_pb_count(const myr_pb_field *field, myr_pb_wire wire, uint64_t *out_count)
{
    if (field->wire == wire) {
        *out_count = 1;
        return true;
    }
    if (field->wire != MYR_PB_BYTES) return false;
    if (wire != MYR_PB_VARINT) {
        *out_count = field->size / pb_width(wire);
        return field->size % pb_width(wire) == 0;
    }
    myr_pb pb;
    uint64_t count = 0;
    uint64_t value;
    myr_pb_init(&pb, field->data, field->size);
    while (myr_pb_varint(&pb, &value)) {
        count++;
    }
    *out_count = count;
    return pb.fault == NULL;
}

size_t myr_pb_int64s(const myr_pb_field *field, int64_t *out)
{
    size_t count = 0;
    if (field->wire == MYR_PB_VARINT) {
        out[0] = (int64_t)field->value;
        return 1;
    }
    myr_pb pb;
    uint64_t value;
    myr_pb_init(&pb, field->data, field->size);
    while (myr_pb_varint(&pb, &value)) {
        out[count++] = (int64_t)value;
    }
    MYR_ASSERT(pb.fault == NULL); /* counted before */
    return count;
}

/* The bits of `field`, `width` bytes each, to `out`. */
static size_t pb_copy(const myr_pb_field *field, size_t width, void *out)
{
    if (field->wire != MYR_PB_BYTES) {
        memcpy(out, &field->value, width);
        return 1;
    }
    MYR_ASSERT(field->size % width == 0); /* counted before */
    if (field->size > 0) memcpy(out, field->data, field->size);
    return field->size / width;
}

size_t myr_pb_floats(const myr_pb_field *field, float *out)
{
    return pb_copy(field, sizeof *out, out);
}

size_t myr_pb_doubles(const myr_pb_field *field, double *out)
{
    return pb_copy(field, sizeof *out, out);
}

/* ---- writing ---- */

static size_t pb_format_varint(uint64_t value, unsigned char out[MYR_PB_VARINT_BYTES_MAX])
{
    size_t size = 0;
    for (; value >= 0x80; value >>= 7)
        out[size++] = (unsigned char)(value | 0x80);
    out[size++] = (unsigned char)value;
    return size;
}

static void pb_put(myr_buf *out, uint32_t number, myr_pb_wire wire, uint64_t value)
{
    unsigned char bytes[2 * MYR_PB_VARINT_BYTES_MAX];
    MYR_ASSERT(number > 0 && number <= MYR_PB_NUMBER_MAX);
    size_t size = pb_format_varint((uint64_t)number << 3 | wire, bytes);
    size += pb_format_varint(value, bytes + size);
    myr_buf_append(out, bytes, size);
}

void myr_pb_put_varint(myr_buf *out, uint32_t number, uint64_t value)
{
    pb_put(out, number, MYR_PB_VARINT, value);
}

void myr_pb_put_size(myr_buf *out, uint32_t number, size_t size)
{
    pb_put(out, number, MYR_PB_BYTES, size);
}

void myr_pb_put_bytes(myr_buf *out, uint32_t number, const void *data, size_t size)
{
    myr_pb_put_size(out, number, size);
    if (size > 0) myr_buf_append(out, data, size);
}

void myr_pb_put_text(myr_buf *out, uint32_t number, const char *text)
{
    myr_pb_put_bytes(out, number, text, strlen(text));
}

void myr_pb_put_packed(myr_buf *out, uint32_t number, const int64_t *values, size_t count)
{
    unsigned char bytes[MYR_PB_VARINT_BYTES_MAX];
    size_t mark = myr_pb_begin(out, number);
    for (size_t i = 0; i < count; i++)
        myr_buf_append(out, bytes, pb_format_varint((uint64_t)values[i], bytes));
    myr_pb_end(out, mark);
}

/* One byte is kept for the length; a longer one moves what follows, which is rare and short. */
size_t myr_pb_begin(myr_buf *out, uint32_t number)
{
    pb_put(out, number, MYR_PB_BYTES, 0);
    return out->size;
}

void myr_pb_end(myr_buf *out, size_t mark)
{
    unsigned char bytes[MYR_PB_VARINT_BYTES_MAX];
    if (out->failed) return;
    MYR_ASSERT(mark > 0 && mark <= out->size);
    size_t inside = out->size - mark, size = pb_format_varint(inside, bytes);
    if (size > 1) {
        myr_buf_append(out, bytes, size - 1); /* room */
        if (out->failed) return;
        memmove(out->data + mark + size - 1, out->data + mark, inside);
    }
    memcpy(out->data + mark - 1, bytes, size);
}
