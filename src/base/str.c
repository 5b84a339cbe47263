/*
 * Slices and the growable buffer. A buffer remembers that an append failed and then ignores the rest, so that callers
 * write a whole text without a check per line and ask once at the end.
 */
#include "base/str.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/bounds.h"
#include "base/mem.h"

#define BUF_ROOM_MIN     64
#define BUF_INT_BYTES    20                 /* a sign and 19 digits */
#define STR_DOUBLE_EXACT 9007199254740992.0 /* 2^53: below it, an integer of any reader is the double */

/* ---- slices ---- */

bool myr_str_starts_with(myr_str text, const char *prefix)
{
    size_t size = strlen(prefix);
    return text.size >= size && (size == 0 || memcmp(text.data, prefix, size) == 0);
}

bool myr_str_ends_with(myr_str text, const char *suffix)
{
    size_t size = strlen(suffix);
    return text.size >= size && (size == 0 || memcmp(text.data + (text.size - size), suffix, size) == 0);
}

static bool str_is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

myr_str myr_str_trim(myr_str text)
{
    while (text.size > 0 && str_is_blank(text.data[0])) {
        text.data++;
        text.size--;
    }
    while (text.size > 0 && str_is_blank(text.data[text.size - 1]))
        text.size--;
    return text;
}

bool myr_str_split(myr_str *rest, char separator, myr_str *out_part)
{
    if (rest->data == NULL) return false;
    const char *found = rest->size > 0 ? memchr(rest->data, separator, rest->size) : NULL;
    if (found == NULL) {
        *out_part = *rest;
        *rest = (myr_str){NULL, 0};
        return true;
    }
    size_t part_bytes = (size_t)(found - rest->data);
    MYR_ASSERT(part_bytes < rest->size);
    *out_part = (myr_str){rest->data, part_bytes};
    *rest = (myr_str){found + 1, rest->size - part_bytes - 1};
    return true;
}

/* ---- buffer ---- */

void myr_buf_fini(myr_buf *buf)
{
    myr_free(buf->data);
    *buf = (myr_buf){0};
}

/* Make room for size_bytes more and the NUL; false (and failed) when memory is short. */
static bool buf_reserve(myr_buf *buf, size_t size_bytes)
{
    if (buf->failed) return false;
    MYR_ASSERT(buf->size < buf->room || buf->room == 0);
    if (buf->room - buf->size > size_bytes) return true;
    size_t wanted;
    if (__builtin_add_overflow(buf->size, size_bytes, &wanted) || wanted > SIZE_MAX / 4) {
        buf->failed = true;
        return false;
    }
    size_t room = buf->room > 0 ? buf->room : BUF_ROOM_MIN;
    while (room <= wanted)
        room *= 2;
    char *data = myr_realloc(buf->data, room);
    if (data == NULL) {
        buf->failed = true;
        return false;
    }
    buf->data = data;
    buf->room = room;
    return true;
}

void myr_buf_append_slowly(myr_buf *buf, const void *data, size_t size_bytes)
{
    if (!buf_reserve(buf, size_bytes)) return;
    if (size_bytes > 0) memcpy(buf->data + buf->size, data, size_bytes);
    buf->size += size_bytes;
    buf->data[buf->size] = '\0';
    MYR_ASSERT(buf->size < buf->room);
}

void myr_buf_printf(myr_buf *buf, const char *fmt, ...)
{
    char small[128]; /* most pieces are short: one pass */
    va_list args;
    va_start(args, fmt);
    int wanted = vsnprintf(small, sizeof small, fmt, args);
    va_end(args);
    if (wanted < 0) {
        buf->failed = true;
        return;
    }
    size_t size = (size_t)wanted;
    if (size < sizeof small) {
        myr_buf_append(buf, small, size);
        return;
    }
    if (!buf_reserve(buf, size)) return;
    va_start(args, fmt);
    int written = vsnprintf(buf->data + buf->size, size + 1, fmt, args);
    va_end(args);
    MYR_ASSERT(written == wanted);
    buf->size += size;
}

void myr_buf_int(myr_buf *buf, int64_t value)
{
    char text[BUF_INT_BYTES];
    size_t at = sizeof text;
    uint64_t rest = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    do {
        text[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest > 0);
    if (value < 0) text[--at] = '-';
    myr_buf_append(buf, text + at, sizeof text - at);
}

void myr_buf_double(myr_buf *buf, double value)
{
    char text[MYR_DOUBLE_TEXT_BYTES];
    size_t size = myr_format_double(value, text);
    myr_buf_append(buf, text, size);
}

void myr_buf_json_double(myr_buf *buf, double value)
{
    if (!isfinite(value)) {
        myr_buf_puts(buf, "null");
    } else if (value == 0.0 && signbit(value)) {
        myr_buf_puts(buf, "-0.0"); /* "-0" is an integer to most readers and would lose its sign */
    } else {
        char text[MYR_DOUBLE_TEXT_BYTES];
        size_t size = myr_format_double(value, text);
        myr_buf_append(buf, text, size);
        if (fabs(value) >= STR_DOUBLE_EXACT && strpbrk(text, ".e") == NULL) myr_buf_puts(buf, ".0");
    }
}

void myr_buf_clear(myr_buf *buf)
{
    buf->size = 0;
    buf->failed = false;
    if (buf->data != NULL) buf->data[0] = '\0';
}

myr_rc myr_buf_check(const myr_buf *buf, myr_err *err)
{
    if (buf->failed) MYR_FAIL(err, NO_MEMORY, "out of memory after %zu bytes of text", buf->size);
    return MYR_OK;
}

char *myr_buf_take(myr_buf *buf)
{
    if (buf->data == NULL) myr_buf_append(buf, "", 0); /* an empty text is a text, not a failure */
    char *text = buf->data;
    if (buf->failed) {
        myr_free(text);
        text = NULL;
    }
    *buf = (myr_buf){0};
    return text;
}
