/* One step over UTF-8: private to base, shared by messages, log lines and text. */
#ifndef MYR_BASE_UTF8_H
#define MYR_BASE_UTF8_H

#include <stdbool.h>
#include <stddef.h>

/*
 * How many bytes the well-formed character at the front of data[0..size) has (1 to 4), or 0 if there is none: the run
 * is empty, cut short, overlong, a surrogate or past U+10FFFF.
 */
static inline size_t myr_utf8_step(const char *data, size_t size)
{
    const unsigned char *p = (const unsigned char *)data;
    if (size == 0) return 0;
    if (p[0] < 0x80) return 1;
    size_t need = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || size < need) return 0;
    /* The second byte's range is what rules out overlong forms, surrogates and values past the end. */
    unsigned low = p[0] == 0xe0 ? 0xa0 : p[0] == 0xf0 ? 0x90 : 0x80;
    unsigned high = p[0] == 0xed ? 0x9f : p[0] == 0xf4 ? 0x8f : 0xbf;
    if (p[1] < low || p[1] > high) return 0;
    for (size_t i = 2; i < need; i++) {
        if ((p[i] & 0xc0) != 0x80) return 0;
    }
    return need;
}

/* Whether the character of `size` bytes at `data` (from myr_utf8_step) may stand in a line as it is: no C0, DEL or C1
 * control. */
static inline bool myr_utf8_is_plain(const char *data, size_t size)
{
    unsigned char first = (unsigned char)data[0];
    if (size == 1) return first >= 0x20 && first != 0x7f;
    return !(size == 2 && first == 0xc2 && (unsigned char)data[1] < 0xa0);
}

#endif
