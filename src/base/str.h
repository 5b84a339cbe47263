/* Strings: borrowed slices, a growable buffer, numbers both ways, percent-encoding, nearest names. */
#ifndef MYR_BASE_STR_H
#define MYR_BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/err.h"

/* A borrowed run of bytes, not NUL-terminated. */
typedef struct myr_str {
    const char *data;
    size_t size;
} myr_str;

#define MYR_STR_FMT    "%.*s"
#define MYR_STR_ARG(s) (int)((s).size > 200 ? 200 : (s).size), (s).data
static inline myr_str myr_str_make(const char *data, size_t size)
{
    return (myr_str){data, size};
}
/* NULL gives the empty slice. Of a literal nothing is left to be counted when the program runs, as in the next two. */
static inline myr_str myr_str_of(const char *text)
{
    return (myr_str){text, text != NULL ? strlen(text) : 0};
}
static inline bool myr_str_equal(myr_str a, myr_str b)
{
    return a.size == b.size && (a.size == 0 || memcmp(a.data, b.data, a.size) == 0);
}
static inline bool myr_str_is(myr_str a, const char *text)
{
    return myr_str_equal(a, myr_str_of(text));
}
bool myr_str_starts_with(myr_str text, const char *prefix);
bool myr_str_ends_with(myr_str text, const char *suffix);
myr_str myr_str_trim(myr_str text); /* blanks, tabs, CR, LF at both ends */
/* Cut the part before `separator` off the front of *rest. False when nothing was left (data == NULL,
 * as after the last part): "a," has two parts, "" has one. */
bool myr_str_split(myr_str *rest, char separator, myr_str *out_part);

/* A growable byte buffer, always NUL-terminated once anything was appended. Zero-initialise; free with myr_buf_fini. */
typedef struct myr_buf {
    char *data;
    size_t size;
    size_t room;
    bool failed; /* an append ran out of memory: all later appends do nothing; check once at the end */
} myr_buf;
void myr_buf_fini(myr_buf *buf);
static inline void myr_buf_drop(myr_buf *buf)
{
    myr_buf_fini(buf);
}
void myr_buf_append_slowly(myr_buf *buf, const void *data, size_t size_bytes); /* myr_buf_append where it must grow */
static inline void myr_buf_append(myr_buf *buf, const void *data, size_t size_bytes)
{
    if (buf->failed || buf->room - buf->size <= size_bytes) {
        myr_buf_append_slowly(buf, data, size_bytes);
        return;
    }
    if (size_bytes > 0) memcpy(buf->data + buf->size, data, size_bytes);
    buf->size += size_bytes;
    buf->data[buf->size] = '\0';
}
static inline void myr_buf_puts(myr_buf *buf, const char *text)
{
    myr_buf_append(buf, text, strlen(text));
}
static inline void myr_buf_putc(myr_buf *buf, char c)
{
    myr_buf_append(buf, &c, 1);
}
void myr_buf_int(myr_buf *buf, int64_t value); /* as %lld does, many times faster */
void myr_buf_printf(myr_buf *buf, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void myr_buf_json_string(myr_buf *buf, myr_str text); /* with quotes, escaped; invalid UTF-8 becomes U+FFFD */
void myr_buf_json_field(myr_buf *buf, const char *name, const char *text); /* ,"name":"text" */
void myr_buf_double(myr_buf *buf, double value); /* shortest text that reads back to the same bits; nan, inf, -inf */
/* The same for JSON: null if not finite, -0.0 with its sign, and from 2^53 on a point or exponent: a reader that keeps
 * integers apart must not take the shortest digits of a double for an integer, which may be another number. */
void myr_buf_json_double(myr_buf *buf, double value);
void myr_buf_clear(myr_buf *buf);
myr_rc myr_buf_check(const myr_buf *buf, myr_err *err); /* NO_MEMORY if an append failed */
char *myr_buf_take(myr_buf *buf); /* the text is the caller's (myr_free); the buffer is empty again */

#define MYR_DOUBLE_DIGITS_MAX 128 /* a longer text is not read as a double: no number that a program wrote is */

/*
 * Numbers. The whole slice must be the number, in the C locale; false otherwise and *out untouched.
 * double: decimal, exponent, inf, nan (any case); correctly rounded; overflow gives inf as strtod does.
 */
bool myr_parse_int64(myr_str text, int64_t *out);   /* optional sign, digits */
bool myr_parse_uint64(myr_str text, uint64_t *out); /* digits */
bool myr_parse_double(myr_str text, double *out);
bool myr_parse_bool(myr_str text, bool *out);           /* true false yes no on off 1 0 */
bool myr_parse_bytes(myr_str text, int64_t *out);       /* 8MiB 100kB 1GB 42 */
bool myr_parse_duration_ms(myr_str text, int64_t *out); /* 250ms 30s 5m 2h 1d; a bare number is seconds */
/* A canonical integer: "0", or an optional minus and digits without leading zero, within int64 ("-0", "+1", "01" are
 * not). */
bool myr_is_canonical_int64(myr_str text, int64_t *out);

#define MYR_DOUBLE_TEXT_BYTES 32
/* Shortest text that reads back to the same bits ("0.1", "1e+30", "nan"); returns its length. */
size_t myr_format_double(double value, char out[MYR_DOUBLE_TEXT_BYTES]);
/* "1,234,567" and "12.3 MB" for people; returns out. */
const char *myr_format_count(int64_t count, char *out, size_t out_bytes);
const char *myr_format_bytes(int64_t bytes, char *out, size_t out_bytes);

bool myr_utf8_is_valid(myr_str text);
/* Percent-encode the bytes of `text` that are controls (< 0x20, 0x7f) or in `reserved`; '%' is always encoded. */
void myr_percent_encode(myr_buf *out, myr_str text, const char *reserved);
/* Decode once. False on a bad escape; *out then holds what was decoded before it. */
bool myr_percent_decode(myr_buf *out, myr_str text);

/*
 * The nearest of the NULL-terminated `known` names, case aside, or NULL. A swap of neighbours is one edit; allowed are
 * 0 of 2 letters, 1 of 3 or 4, 2 from 5 on, a third of the longer name if that is more.
 */
const char *myr_nearest(const char *name, const char *const *known);
/* A name people type: [A-Za-z0-9][A-Za-z0-9._-]*, 1..MYR_NAME_BYTES_MAX bytes. */
bool myr_name_is_valid(myr_str name);

#endif
