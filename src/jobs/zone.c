/* Zones over GLib's GTimeZone, which numbers the intervals between changes; all else is counting. */
#include "jobs/zone.h"

#include <stdio.h>
#include <string.h>

#include <glib.h>

#define ZONE_REACH_S (27 * 3600) /* no offset is as far from UTC */

struct myr_zone {
    GTimeZone *zone;
    char name[ZONE_NAME_BYTES_MAX + 1];
};

/* A name that stays below the directory of zones. */
static bool zone_name_is_plain(const char *name)
{
    size_t size = strnlen(name, ZONE_NAME_BYTES_MAX + 1);
    if (size == 0 || size > ZONE_NAME_BYTES_MAX || strstr(name, "..") != NULL) return false;
    if (!((name[0] >= 'A' && name[0] <= 'Z') || (name[0] >= 'a' && name[0] <= 'z'))) return false;
    for (size_t i = 0; i < size; i++) {
        bool is_letter = (name[i] >= 'A' && name[i] <= 'Z') || (name[i] >= 'a' && name[i] <= 'z');
        if (!is_letter && strchr("0123456789/_+-", name[i]) == NULL) return false;
    }
    return true;
}

myr_rc myr_zone_open(const char *name, myr_zone **out, myr_err *err)
{
    myr_zone *zone = myr_calloc(1, sizeof *zone);
    if (zone == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a time zone");
    if (zone_name_is_plain(name)) zone->zone = g_time_zone_new_identifier(name);
    if (zone->zone == NULL) {
        myr_free(zone);
        MYR_FAIL(err, BAD_INPUT,
                 "time zone '%.100s' is not known: write an IANA name such as Europe/Berlin, America/New_York or UTC "
                 "(timedatectl list-timezones; they are the system's package tzdata)",
                 name);
    }
    (void)snprintf(zone->name, sizeof zone->name, "%s", name);
    *out = zone;
    return MYR_OK;
}

void myr_zone_close(myr_zone *zone)
{
    if (zone == NULL) return;
    g_time_zone_unref(zone->zone);
    myr_free(zone);
}

const char *myr_zone_name(const myr_zone *zone)
{
    return zone->name;
}

static int zone_interval(const myr_zone *zone, int64_t unix_s)
{
    int interval = g_time_zone_find_interval(zone->zone, G_TIME_TYPE_UNIVERSAL, unix_s);
    MYR_ASSERT(interval >= 0); /* universal times all exist */
    return interval;
}

int64_t myr_zone_offset(const myr_zone *zone, int64_t unix_s)
{
    return g_time_zone_get_offset(zone->zone, zone_interval(zone, unix_s));
}

int64_t myr_zone_steady_until(const myr_zone *zone, int64_t unix_s, int64_t until_s)
{
    int interval = zone_interval(zone, unix_s);
    if (until_s <= unix_s || zone_interval(zone, until_s) == interval) return until_s;
    int64_t same = unix_s, other = until_s; /* the numbers of intervals only grow */
    while (other - same > 1) {
        int64_t middle = same + (other - same) / 2;
        if (zone_interval(zone, middle) == interval) {
            same = middle;
        } else {
            other = middle;
        }
    }
    return other;
}

int64_t myr_zone_instant(const myr_zone *zone, int64_t local_s)
{
    int64_t at = local_s - ZONE_REACH_S, end = local_s + ZONE_REACH_S;
    for (;;) {
        int64_t change = myr_zone_steady_until(zone, at, end);
        int64_t instant = local_s - myr_zone_offset(zone, at);
        if (instant < at) instant = at; /* the clock was put forward past it */
        if (instant < change || change == end) return instant;
        at = change;
    }
}

const char *myr_zone_format(const myr_zone *zone, int64_t unix_ms, char out[ZONE_TIME_TEXT_BYTES])
{
    char text[MYR_TIME_TEXT_BYTES];
    int64_t unix_s = unix_ms / 1000 - (unix_ms % 1000 < 0 ? 1 : 0);
    int64_t offset = myr_zone_offset(zone, unix_s);
    int64_t minutes = (offset < 0 ? -offset : offset) / 60;
    (void)myr_format_time((unix_s + offset) * 1000, text);
    (void)snprintf(out, ZONE_TIME_TEXT_BYTES, "%.19s%c%02d:%02d", text, offset < 0 ? '-' : '+', (int)(minutes / 60),
                   (int)(minutes % 60));
    return out;
}
