/*
 * Numbers both ways, always in the C locale: this code runs inside other people's processes, which may have set
 * another. Reading a double checks the whole text first, so that the C library's reader only ever sees plain decimals.
 */
#include "base/str.h"

#include <locale.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "yyjson.h"

#include "base/mem.h"

static bool num_is_digit(char c)
{
    return c >= '0' && c <= '9';
}
static char num_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

/* Equal but for the case of ASCII letters; `word` is lower case. */
static bool num_is_word(myr_str text, const char *word)
{
    size_t size = strlen(word);
    if (text.size != size) return false;
    for (size_t i = 0; i < size; i++) {
        if (num_lower(text.data[i]) != word[i]) return false;
    }
    return true;
}

/* ---- integers ---- */

bool myr_parse_uint64(myr_str text, uint64_t *out)
{
    if (text.size == 0) return false;
    uint64_t value = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (!num_is_digit(text.data[i])) return false;
        if (__builtin_mul_overflow(value, 10, &value)) return false;
        if (__builtin_add_overflow(value, (uint64_t)(text.data[i] - '0'), &value)) return false;
    }
    *out = value;
    return true;
}

/* Cut one optional sign off the front. */
static bool num_take_minus(myr_str *text)
{
    if (text->size == 0 || (text->data[0] != '-' && text->data[0] != '+')) return false;
    bool is_minus = text->data[0] == '-';
    text->data++;
    text->size--;
    return is_minus;
}

bool myr_parse_int64(myr_str text, int64_t *out)
{
    bool is_minus = num_take_minus(&text);
    uint64_t magnitude;
    if (!myr_parse_uint64(text, &magnitude)) return false;
    if (magnitude > (uint64_t)INT64_MAX + (is_minus ? 1 : 0)) return false;
    *out = (int64_t)(is_minus ? 0 - magnitude : magnitude); /* two's complement: -2^63 too */
    return true;
}

bool myr_is_canonical_int64(myr_str text, int64_t *out)
{
    if (text.size == 0) return false;
    size_t first = text.data[0] == '-' ? 1 : 0;
    if (first == text.size || !num_is_digit(text.data[first])) return false; /* "-", "+1" */
    if (text.data[first] == '0' && text.size > 1) return false;              /* "01", "-0", "-01" */
    return myr_parse_int64(text, out);
}

bool myr_parse_bool(myr_str text, bool *out)
{
    static const char *const yes[] = {"true", "yes", "on", "1"};
    static const char *const no[] = {"false", "no", "off", "0"};
    for (size_t i = 0; i < MYR_COUNT_OF(yes); i++) {
        if (!num_is_word(text, yes[i]) && !num_is_word(text, no[i])) continue;
        *out = num_is_word(text, yes[i]);
        return true;
    }
    return false;
}

/* ---- numbers with a unit ---- */

typedef struct num_unit {
    const char *name; /* lower case */
    int64_t factor;
} num_unit;

/* digits and a unit's name, any case; a bare number is in units of bare_factor. */
static bool num_parse_unit(myr_str text, const num_unit *units, size_t unit_count, int64_t bare_factor, int64_t *out)
{
    size_t digits = 0;
    while (digits < text.size && num_is_digit(text.data[digits]))
        digits++;
    int64_t value;
    if (!myr_parse_int64(myr_str_make(text.data, digits), &value)) return false;
    myr_str name = myr_str_make(text.data + digits, text.size - digits);
    int64_t factor = name.size == 0 ? bare_factor : 0;
    for (size_t i = 0; i < unit_count; i++) {
        if (num_is_word(name, units[i].name)) factor = units[i].factor;
    }
    if (factor == 0 || __builtin_mul_overflow(value, factor, &value)) return false;
    MYR_ASSERT(value >= 0);
    *out = value;
    return true;
}

bool myr_parse_bytes(myr_str text, int64_t *out)
{
    static const num_unit units[] = {
        {"b", 1},
        {"kb", 1000},
        {"mb", 1000 * 1000},
        {"gb", 1000 * 1000 * 1000},
        {"tb", 1000LL * 1000 * 1000 * 1000},
        {"kib", 1 << 10},
        {"mib", 1 << 20},
        {"gib", 1 << 30},
        {"tib", 1LL << 40},
    };
    return num_parse_unit(text, units, MYR_COUNT_OF(units), 1, out);
}

bool myr_parse_duration_ms(myr_str text, int64_t *out)
{
    static const num_unit units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    return num_parse_unit(text, units, MYR_COUNT_OF(units), 1000, out);
}

/* ---- doubles in ---- */

/* What the grammar check found on its way; enough to finish most numbers without the C library. */
typedef struct num_decimal {
    uint64_t digits; /* all significant digits, if is_short */
    int exponent;    /* value = digits * 10^exponent */
    bool is_short;   /* at most 19 significant digits */
} num_decimal;

static size_t num_count_digits(myr_str text, size_t pos)
{
    size_t start = pos;
    while (pos < text.size && num_is_digit(text.data[pos]))
        pos++;
    return pos - start;
}

static void num_add_digits(num_decimal *dec, const char *digits, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (dec->digits > (UINT64_MAX - 9) / 10) {
            dec->is_short = false;
            return;
        }
        dec->digits = dec->digits * 10 + (uint64_t)(digits[i] - '0');
    }
}

/* digits [. digits] of at most 19 digits, which is most numbers: one pass, and nothing can overflow. */
static bool num_scan_plain(myr_str text, num_decimal *dec)
{
    const char *at = text.data, *end = at + text.size, *point = end;
    uint64_t digits = 0;
    if (text.size > 20) return false;
    for (; at < end; at++) {
        unsigned digit = (unsigned)(unsigned char)*at - '0';
        if (digit <= 9) {
            digits = digits * 10 + digit;
        } else if (*at == '.' && point == end) {
            point = at;
        } else {
            return false;
        }
    }
    bool has_point = point < end;
    if (text.size - has_point < 1 || text.size - has_point > 19) return false;
    *dec = (num_decimal){.digits = digits, .exponent = has_point ? -(int)(end - point - 1) : 0, .is_short = true};
    return true;
}

/* digits [. digits] [e [sign] digits], at least one digit before the exponent; no sign in front. */
static bool num_scan_decimal(myr_str text, num_decimal *dec)
{
    *dec = (num_decimal){.is_short = true};
    size_t whole = num_count_digits(text, 0);
    num_add_digits(dec, text.data, whole);
    size_t pos = whole;
    size_t fraction = 0;
    if (pos < text.size && text.data[pos] == '.') {
        pos++;
        fraction = num_count_digits(text, pos);
        num_add_digits(dec, text.data + pos, fraction);
        pos += fraction;
    }
    if (whole + fraction == 0) return false;
    int exponent = 0;
    if (pos < text.size && num_lower(text.data[pos]) == 'e') {
        pos++;
        bool is_minus = pos < text.size && text.data[pos] == '-';
        if (pos < text.size && (is_minus || text.data[pos] == '+')) pos++;
        size_t count = num_count_digits(text, pos);
        if (count == 0) return false;
        for (size_t i = 0; i < count; i++) {
            if (exponent < 100000) exponent = exponent * 10 + (text.data[pos + i] - '0'); /* past that all are alike */
        }
        pos += count;
        if (is_minus) exponent = -exponent;
    }
    dec->exponent = exponent - (int)fraction;
    return pos == text.size;
}

/* Both factors are exact doubles, so the one rounding of the product or quotient is the right one. */
static bool num_decimal_is_exact(const num_decimal *dec)
{
    return dec->is_short && dec->digits <= (1ULL << 53) && dec->exponent >= -22 && dec->exponent <= 22;
}

static double num_decimal_value(const num_decimal *dec)
{
    static const double powers[] = {1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
                                    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22};
    MYR_ASSERT(num_decimal_is_exact(dec));
    double digits = (double)(int64_t)dec->digits; /* a signed number's conversion is one instruction */
    return dec->exponent < 0 ? digits / powers[-dec->exponent] : digits * powers[dec->exponent];
}

/* The C library's reader, which rounds correctly, with a locale of our own. */
static double num_strtod(const char *text, size_t size)
{
    static _Atomic(locale_t) shared; /* two threads may make one: the C library gives its built-in "C" to both */
    locale_t locale = atomic_load_explicit(&shared, memory_order_acquire);
    if (locale == (locale_t)0) {
        locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
        MYR_ASSERT(locale != (locale_t)0);
        atomic_store_explicit(&shared, locale, memory_order_release);
    }
    char *end = NULL;
    double value = strtod_l(text, &end, locale);
    MYR_ASSERT(end == text + size); /* the grammar was checked */
    return value;
}

/* yyjson's reader rounds correctly too and is several times as fast; what JSON does not know as a number is strtod's.
 */
static double num_round(myr_str text)
{
    char copy[MYR_DOUBLE_DIGITS_MAX + 1];
    MYR_ASSERT(text.size < sizeof copy);
    memcpy(copy, text.data, text.size);
    copy[text.size] = '\0';
    yyjson_val number = {0};
    const char *end = yyjson_read_number(copy, &number, YYJSON_READ_NOFLAG, NULL, NULL);
    return end == copy + text.size ? yyjson_get_num(&number) : num_strtod(copy, text.size);
}

bool myr_parse_double(myr_str text, double *out)
{
    if (text.size > MYR_DOUBLE_DIGITS_MAX) return false;
    bool is_minus = num_take_minus(&text);
    num_decimal dec;
    double value;
    if (num_scan_plain(text, &dec) || (text.size > 0 && num_scan_decimal(text, &dec))) {
        value = num_decimal_is_exact(&dec) ? num_decimal_value(&dec) : num_round(text);
    } else if (num_is_word(text, "inf") || num_is_word(text, "infinity")) {
        value = (double)INFINITY;
    } else if (num_is_word(text, "nan")) {
        value = (double)NAN;
    } else {
        return false;
    }
    *out = is_minus ? -value : value;
    return true;
}

/* ---- doubles out ---- */

#define NUM_POSITIONAL_MAX  17 /* up to 10^16 a number is written without exponent, as %.17g does */
#define NUM_POSITIONAL_MIN  (-4)
#define NUM_INTEGER_EXACT   1e15
#define NUM_SAME_MIN        1e-3 /* from here to NUM_INTEGER_EXACT JSON's writer and %g lay out a fraction alike */
#define NUM_DIGITS_MAX      20
#define NUM_JSON_WORK_BYTES 512 /* yyjson's working memory for one number */

/* The shortest text of a finite value > 0 as JSON has it, in `work`. */
static myr_str num_json(double value, char work[NUM_JSON_WORK_BYTES])
{
    yyjson_alc alc;
    bool has_pool = yyjson_alc_pool_init(&alc, work, NUM_JSON_WORK_BYTES);
    MYR_ASSERT(has_pool);
    yyjson_val number = {0};
    yyjson_set_real(&number, value);
    size_t size = 0;
    const char *text = yyjson_val_write_opts(&number, 0, &alc, &size, NULL);
    MYR_ASSERT(text != NULL);
    return myr_str_make(text, size);
}

/* Its digits d1d2… and the point's place: value = 0.d1d2… * 10^point. */
static size_t num_digits(myr_str json, char digits[NUM_DIGITS_MAX], int *out_point)
{
    const char *text = json.data;
    size_t size = json.size;
    size_t count = 0;
    int point = 0;
    bool is_past_point = false;
    size_t pos = 0;
    for (; pos < size && text[pos] != 'e'; pos++) {
        if (text[pos] == '.') {
            is_past_point = true;
            continue;
        }
        MYR_ASSERT(num_is_digit(text[pos]));
        if (count == 0 && text[pos] == '0') { /* zeros in front are not digits of the number */
            if (is_past_point) point--;
            continue;
        }
        if (!is_past_point) point++;
        if (count < NUM_DIGITS_MAX) digits[count++] = text[pos];
    }
    int64_t exponent = 0;
    if (pos < size) {
        bool is_read = myr_parse_int64(myr_str_make(text + pos + 1, size - pos - 1), &exponent);
        MYR_ASSERT(is_read);
    }
    while (count > 0 && digits[count - 1] == '0')
        count--;
    MYR_ASSERT(count > 0);
    *out_point = point + (int)exponent;
    return count;
}

/* Write digits with the point at `point`, in the style of %g. */
static size_t num_lay_out(char *out, const char *digits, size_t count, int point)
{
    size_t at = 0;
    if (point - 1 < NUM_POSITIONAL_MIN || point - 1 >= NUM_POSITIONAL_MAX) {
        out[at++] = digits[0];
        if (count > 1) {
            out[at++] = '.';
            memcpy(out + at, digits + 1, count - 1);
            at += count - 1;
        }
        int written = snprintf(out + at, MYR_DOUBLE_TEXT_BYTES - at, "e%c%02d", point < 1 ? '-' : '+', abs(point - 1));
        MYR_ASSERT(written > 0 && at + (size_t)written < MYR_DOUBLE_TEXT_BYTES);
        return at + (size_t)written;
    }
    if (point <= 0) {
        out[at++] = '0';
        out[at++] = '.';
        for (int i = point; i < 0; i++)
            out[at++] = '0';
        memcpy(out + at, digits, count);
        return at + count;
    }
    for (size_t i = 0; i < count || i < (size_t)point; i++) {
        if (i == (size_t)point) out[at++] = '.';
        out[at++] = i < count ? digits[i] : '0';
    }
    return at;
}

/* An integer of at most 15 digits, which is its own shortest text. */
static size_t num_integer(char *out, uint64_t value)
{
    char reversed[NUM_DIGITS_MAX];
    size_t count = 0;
    do {
        reversed[count++] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    MYR_ASSERT(count <= 16);
    for (size_t i = 0; i < count; i++)
        out[i] = reversed[count - 1 - i];
    return count;
}

size_t myr_format_double(double value, char out[MYR_DOUBLE_TEXT_BYTES])
{
    size_t at = 0;
    if (signbit(value) && !isnan(value)) {
        out[at++] = '-';
        value = -value;
    }
    if (isnan(value) || isinf(value)) {
        memcpy(out + at, isnan(value) ? "nan" : "inf", 3);
        at += 3;
    } else if (value < NUM_INTEGER_EXACT && value == (double)(uint64_t)value) {
        at += num_integer(out + at, (uint64_t)value);
    } else {
        char work[NUM_JSON_WORK_BYTES];
        myr_str json = num_json(value, work);
        if (value >= NUM_SAME_MIN && value < NUM_INTEGER_EXACT && memchr(json.data, 'e', json.size) == NULL) {
            MYR_ASSERT(json.size < MYR_DOUBLE_TEXT_BYTES - at); /* with a fraction: both write the same */
            memcpy(out + at, json.data, json.size);
            at += json.size;
        } else {
            char digits[NUM_DIGITS_MAX];
            int point;
            size_t count = num_digits(json, digits, &point);
            at += num_lay_out(out + at, digits, count, point);
        }
    }
    MYR_ASSERT(at < MYR_DOUBLE_TEXT_BYTES);
    out[at] = '\0';
    return at;
}

/* ---- for people ---- */

static uint64_t num_magnitude(int64_t value)
{
    return value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
}

const char *myr_format_count(int64_t count, char *out, size_t out_bytes)
{
    char digits[24];
    int digit_count = snprintf(digits, sizeof digits, "%llu", (unsigned long long)num_magnitude(count));
    char text[32]; /* a sign, 19 digits and 6 commas */
    size_t at = 0;
    if (count < 0) text[at++] = '-';
    for (int i = 0; i < digit_count; i++) {
        if (i > 0 && (digit_count - i) % 3 == 0) text[at++] = ',';
        text[at++] = digits[i];
    }
    MYR_ASSERT(at < sizeof text);
    text[at] = '\0';
    snprintf(out, out_bytes, "%s", text);
    return out;
}

const char *myr_format_bytes(int64_t bytes, char *out, size_t out_bytes)
{
    static const char *const names[] = {"kB", "MB", "GB", "TB", "PB", "EB"};
    const char *sign = bytes < 0 ? "-" : "";
    uint64_t size = num_magnitude(bytes);
    if (size < 1000) {
        snprintf(out, out_bytes, "%s%u B", sign, (unsigned)size);
        return out;
    }
    uint64_t unit = 1000;
    size_t name = 0;
    /* 999,950 would be shown as 1000.0 kB: it is 1.0 MB */
    while (name + 1 < MYR_COUNT_OF(names) && size >= unit * 1000 - unit / 20) {
        unit *= 1000;
        name++;
    }
    uint64_t tenths = size / unit * 10 + (size % unit + unit / 20) / (unit / 10);
    snprintf(out, out_bytes, "%s%llu.%llu %s", sign, (unsigned long long)(tenths / 10),
             (unsigned long long)(tenths % 10), names[name]);
    return out;
}
