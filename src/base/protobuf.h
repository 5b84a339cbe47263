/*
 * Protobuf's wire format. A reader over borrowed, hostile bytes: one field at a time, nothing copied, no schema; what
 * it accepts is what every protobuf library writes, but for groups, which no schema of ours has. And a writer that
 * appends to a buffer. Thread: one owner at a time.
 */
#ifndef MYR_BASE_PROTOBUF_H
#define MYR_BASE_PROTOBUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

#define MYR_PB_VARINT_BYTES_MAX 10               /* of a 64-bit number */
#define MYR_PB_NUMBER_MAX       ((1u << 29) - 1) /* the largest field number */

typedef enum myr_pb_wire { MYR_PB_VARINT = 0, MYR_PB_FIXED64 = 1, MYR_PB_BYTES = 2, MYR_PB_FIXED32 = 5 } myr_pb_wire;

/* One field: `value` of a number (fixed ones as their bits), or `data` and `size` of bytes; borrowed from the input. */
typedef struct myr_pb_field {
    uint32_t number;
    myr_pb_wire wire;
    uint64_t value;
    const unsigned char *data;
    size_t size;
} myr_pb_field;

/* A message being read. `fault`: NULL, or what is wrong at `at` (a constant text); it then stays there. */
typedef struct myr_pb {
    const unsigned char *begin, *at, *end;
    const char *fault;
} myr_pb;

void myr_pb_init(myr_pb *pb, const void *data, size_t size_bytes);
/* The next field; false at the end and at a fault. */
bool myr_pb_next(myr_pb *pb, myr_pb_field *out);
/* One bare varint, as packed arrays hold them; false at the end and at a fault. */
bool myr_pb_varint(myr_pb *pb, uint64_t *out);

/*
 * A repeated number in both its forms: a run of fields, or packed into bytes. Counts the numbers in one field; false if
 * its wire type is neither `wire` nor BYTES, or the packed bytes are no whole numbers.
 */
bool myr_pb_count(const myr_pb_field *field, myr_pb_wire wire, uint64_t *out_count);
/* Write the numbers of one field (checked by myr_pb_count) behind each other; gives back how many. */
size_t myr_pb_int64s(const myr_pb_field *field, int64_t *out);
size_t myr_pb_floats(const myr_pb_field *field, float *out);
size_t myr_pb_doubles(const myr_pb_field *field, double *out);

/* ---- writing: appended; proto3 leaves out what is zero or empty, which is the caller's to decide ---- */
void myr_pb_put_varint(myr_buf *out, uint32_t number, uint64_t value); /* also for bool, enum; int64 as its bits */
void myr_pb_put_bytes(myr_buf *out, uint32_t number, const void *data, size_t size);
void myr_pb_put_text(myr_buf *out, uint32_t number, const char *text);
void myr_pb_put_size(myr_buf *out, uint32_t number, size_t size); /* of bytes that the caller appends itself */
void myr_pb_put_packed(myr_buf *out, uint32_t number, const int64_t *values, size_t count);
/* A message inside: what is appended between begin and end, which gets the mark that begin gave. */
size_t myr_pb_begin(myr_buf *out, uint32_t number);
void myr_pb_end(myr_buf *out, size_t mark);

#endif
