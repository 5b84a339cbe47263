/* Text that others read back: JSON strings, percent-encoding, valid UTF-8, names and the nearest of them. */
#include "base/str.h"

#include <string.h>

#include "base/bounds.h"
#include "base/utf8.h"

static const char TEXT_HEX[] = "0123456789ABCDEF";

bool myr_utf8_is_valid(myr_str text)
{
    for (size_t pos = 0; pos < text.size;) {
        size_t step = myr_utf8_step(text.data + pos, text.size - pos);
        if (step == 0) return false;
        pos += step;
    }
    return true;
}

/* ---- JSON ---- */

/* How an ASCII byte is written inside quotes: its short escape's letter, 'u' for \u00XX, or 0 for itself. */
static char json_escape(unsigned char c)
{
    switch (c) {
    case '"':
        return '"';
    case '\\':
        return '\\';
    case '\b':
        return 'b';
    case '\f':
        return 'f';
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    default:
        return c < 0x20 || c == 0x7f ? 'u' : '\0';
    }
}

static void json_put_escape(myr_buf *buf, unsigned char c, char escape)
{
    if (escape != 'u') {
        const char pair[2] = {'\\', escape};
        myr_buf_append(buf, pair, sizeof pair);
        return;
    }
    const char unit[6] = {'\\', 'u', '0', '0', TEXT_HEX[c >> 4], TEXT_HEX[c & 15]};
    myr_buf_append(buf, unit, sizeof unit);
}

void myr_buf_json_string(myr_buf *buf, myr_str text)
{
    myr_buf_putc(buf, '"');
    size_t done = 0; /* text before it is written; what lies between it and pos goes out as it is */
    for (size_t pos = 0; pos < text.size;) {
        size_t step = myr_utf8_step(text.data + pos, text.size - pos);
        char escape = step == 1 ? json_escape((unsigned char)text.data[pos]) : '\0';
        if (step > 0 && escape == '\0') {
            pos += step;
            continue;
        }
        if (pos > done) myr_buf_append(buf, text.data + done, pos - done);
        if (step == 0) {
            myr_buf_append(buf, "\xef\xbf\xbd", 3);
        } else {
            json_put_escape(buf, (unsigned char)text.data[pos], escape);
        }
        pos++;
        done = pos;
    }
    if (text.size > done) myr_buf_append(buf, text.data + done, text.size - done);
    myr_buf_putc(buf, '"');
}

void myr_buf_json_field(myr_buf *buf, const char *name, const char *text)
{
    myr_buf_puts(buf, ",\"");
    myr_buf_puts(buf, name);
    myr_buf_puts(buf, "\":");
    myr_buf_json_string(buf, myr_str_of(text));
}

/* ---- percent-encoding ---- */

void myr_percent_encode(myr_buf *out, myr_str text, const char *reserved)
{
    for (size_t pos = 0; pos < text.size; pos++) {
        unsigned char c = (unsigned char)text.data[pos];
        bool plain = c >= 0x20 && c != 0x7f && c != '%' && strchr(reserved, c) == NULL;
        if (plain) {
            myr_buf_putc(out, (char)c);
        } else {
            const char escape[3] = {'%', TEXT_HEX[c >> 4], TEXT_HEX[c & 15]};
            myr_buf_append(out, escape, sizeof escape);
        }
    }
}

static int percent_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

bool myr_percent_decode(myr_buf *out, myr_str text)
{
    myr_buf_append(out, "", 0); /* an empty text is decoded too */
    for (size_t pos = 0; pos < text.size; pos++) {
        if (text.data[pos] != '%') {
            myr_buf_putc(out, text.data[pos]);
            continue;
        }
        if (text.size - pos < 3) return false;
        int high = percent_digit(text.data[pos + 1]);
        int low = percent_digit(text.data[pos + 2]);
        if (high < 0 || low < 0) return false;
        myr_buf_putc(out, (char)(unsigned char)(high * 16 + low));
        pos += 2;
    }
    return true;
}

/* ---- names ---- */

static size_t name_min(size_t a, size_t b)
{
    return a < b ? a : b;
}

static char name_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

/*
 * Edits from one name to the other, case aside: a letter changed, added, left out, or two neighbours swapped, which is
 * the commonest slip of all. Three rows of the table are enough. Both names are at most MYR_NAME_BYTES_MAX long.
 */
static size_t name_distance(const char *a, size_t a_bytes, const char *b, size_t b_bytes)
{
    size_t rows[3][MYR_NAME_BYTES_MAX + 1];
    MYR_ASSERT(a_bytes <= MYR_NAME_BYTES_MAX && b_bytes <= MYR_NAME_BYTES_MAX);
    for (size_t j = 0; j <= b_bytes; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= a_bytes; i++) {
        size_t *row = rows[i % 3], *above = rows[(i + 2) % 3], *swapped = rows[(i + 1) % 3];
        char c = name_lower(a[i - 1]);
        row[0] = i;
        for (size_t j = 1; j <= b_bytes; j++) {
            char d = name_lower(b[j - 1]);
            row[j] = name_min(above[j - 1] + (c == d ? 0 : 1), name_min(above[j], row[j - 1]) + 1);
            bool is_swap = i > 1 && j > 1 && c == name_lower(b[j - 2]) && d == name_lower(a[i - 2]);
            if (is_swap) row[j] = name_min(row[j], swapped[j - 2] + 1);
        }
    }
    return rows[a_bytes % 3][b_bytes];
}

/* How many edits still look like the same word: none of 2 letters, 1 of 3 or 4, 2 from 5 on, a third of a long one. */
static size_t name_distance_max(size_t longer_bytes)
{
    if (longer_bytes < 3) return 0;
    if (longer_bytes < 5) return 1;
    return longer_bytes / 3 > 2 ? longer_bytes / 3 : 2;
}

const char *myr_nearest(const char *name, const char *const *known)
{
    size_t name_bytes = strlen(name);
    if (name_bytes > MYR_NAME_BYTES_MAX) return NULL;
    const char *best = NULL;
    size_t best_distance = SIZE_MAX; /* 0: the same but for case */
    for (; *known != NULL && best_distance > 0; known++) {
        size_t known_bytes = strlen(*known);
        if (known_bytes > MYR_NAME_BYTES_MAX) continue;
        size_t distance = name_distance(name, name_bytes, *known, known_bytes);
        size_t longer = name_bytes > known_bytes ? name_bytes : known_bytes;
        if (distance <= name_distance_max(longer) && distance < best_distance) {
            best = *known;
            best_distance = distance;
        }
    }
    return best;
}

static bool name_is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool myr_name_is_valid(myr_str name)
{
    if (name.size == 0 || name.size > MYR_NAME_BYTES_MAX || !name_is_alnum(name.data[0])) return false;
    for (size_t i = 1; i < name.size; i++) {
        char c = name.data[i];
        if (!name_is_alnum(c) && c != '.' && c != '_' && c != '-') return false;
    }
    return true;
}
