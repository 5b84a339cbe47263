/* A date, a time and a zone, digit by digit: nothing is guessed. */
#include "jobs/when.h"

#include <string.h>

/* `count` digits; false if there are other characters. */
static bool when_digits(const char **at, int count, int *out)
{
    int value = 0;
    for (int i = 0; i < count; i++) {
        char c = (*at)[i];
        if (c < '0' || c > '9') return false;
        value = value * 10 + (c - '0');
    }
    *at += count;
    *out = value;
    return true;
}

static bool when_char(const char **at, char c)
{
    if (**at != c) return false;
    (*at)++;
    return true;
}

/* Seconds of the day; none: midnight. */
static bool when_clock(const char **at, int *out_s)
{
    int hour = 0, minute = 0, second = 0;
    *out_s = 0;
    if (**at == '\0') return true;
    if (!when_char(at, 'T') && !when_char(at, ' ')) return false;
    if (!when_digits(at, 2, &hour) || !when_char(at, ':') || !when_digits(at, 2, &minute)) return false;
    if (**at == ':' && (!when_char(at, ':') || !when_digits(at, 2, &second))) return false;
    *out_s = hour * 3600 + minute * 60 + second;
    return hour < 24 && minute < 60 && second < 60;
}

/* Z or +01:00 at the end; none: *out_given stays false. */
static bool when_offset(const char *at, bool *out_given, int *out_s)
{
    int hour = 0, minute = 0;
    *out_given = *at != '\0';
    *out_s = 0;
    if (!*out_given || strcmp(at, "Z") == 0) return true;
    int sign = *at == '-' ? -1 : 1;
    if (*at != '+' && *at != '-') return false;
    at++;
    if (!when_digits(&at, 2, &hour) || !when_char(&at, ':') || !when_digits(&at, 2, &minute) || *at != '\0')
        return false;
    *out_s = sign * (hour * 3600 + minute * 60);
    return hour < 24 && minute < 60;
}

static bool when_date(const char **at, int64_t *out_day)
{
    int year = 0, month = 0, day = 0, y, m, d;
    if (!when_digits(at, 4, &year) || !when_char(at, '-') || !when_digits(at, 2, &month) || !when_char(at, '-') ||
        !when_digits(at, 2, &day)) {
        return false;
    }
    if (year < 1970 || month < 1 || month > 12 || day < 1) return false;
    *out_day = myr_day_of_civil(year, month, day);
    myr_civil_of_day(*out_day, &y, &m, &d);
    return m == month && d == day; /* there is no 30 February */
}

myr_rc myr_when_parse(const myr_zone *zone, const char *text, int64_t *out_ms, myr_err *err)
{
    const char *at = text;
    int64_t day = 0;
    int clock_s = 0, offset_s = 0;
    bool has_offset = false;
    if (!when_date(&at, &day) || !when_clock(&at, &clock_s) || !when_offset(at, &has_offset, &offset_s)) {
        MYR_FAIL(err, BAD_INPUT,
                 "'%.60s' is no time: write 2026-11-30, 2026-11-30T02:30, or with a zone 2026-11-30T02:30+01:00 or …Z",
                 text);
    }
    int64_t local_s = day * ZONE_DAY_S + clock_s;
    *out_ms = (has_offset ? local_s - offset_s : myr_zone_instant(zone, local_s)) * 1000;
    return MYR_OK;
}
