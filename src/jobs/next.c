/*
 * The next time. On the wall's clock a search by day, hour and minute finds the next match; what differs is how it
 * becomes an instant when the clock is put forward or back:
 *
 * fixed (neither minute nor hour is a wildcard): each local time of each day is run once: at its first instant if the
 * clock shows it twice, at the first instant after the gap if it shows it never.
 * wildcard: the time that passes counts. Each minute that passes is looked at by what the clock shows then, so a time
 * that is shown twice runs twice and one that is never shown does not run.
 */
#include "jobs/schedule.h"

#define NEXT_DAYS_MAX (101 * 366) /* the rarest, a wildcard weekday with 29 February, comes within 40 years */
#define NEXT_STEADY_S (32 * ZONE_DAY_S)
#define NEXT_MINUTE_S 60
#define NEXT_HOUR_S   3600
#define NEXT_MS_PER_S 1000LL

static int64_t next_floor(int64_t value, int64_t unit)
{
    return value / unit - (value % unit < 0 ? 1 : 0);
}

/* The first minute of the day, at or after `from`, that matches; -1: none. */
static int next_minute_of_day(const myr_cron *cron, int from)
{
    for (int hour = from / 60; hour < 24; hour++) {
        if ((cron->hours >> hour & 1) == 0) continue;
        for (int minute = hour == from / 60 ? from % 60 : 0; minute < 60; minute++) {
            if ((cron->minutes >> minute & 1) != 0) return hour * 60 + minute;
        }
    }
    return -1;
}

/* The first local time at or after from_s and before until_s that matches. */
static bool next_local(const myr_cron *cron, int64_t from_s, int64_t until_s, int64_t *out_s)
{
    int64_t minute = next_floor(from_s + NEXT_MINUTE_S - 1, NEXT_MINUTE_S);
    int64_t day = next_floor(minute, 24 * 60);
    int from = (int)(minute - day * 24 * 60);
    for (; day * ZONE_DAY_S < until_s; day++, from = 0) {
        int found = myr_cron_has_day(cron, day) ? next_minute_of_day(cron, from) : -1;
        if (found < 0) continue;
        *out_s = day * ZONE_DAY_S + found * NEXT_MINUTE_S;
        return *out_s < until_s;
    }
    return false;
}

/* local_s grows, and so do the instants; they may stand still in a gap, or lie before the second of two times. */
static bool next_fixed(const myr_cron *cron, const myr_zone *zone, int64_t after_s, int64_t *out_s)
{
    int64_t local_s = after_s + myr_zone_offset(zone, after_s);
    int64_t until_s = local_s + NEXT_DAYS_MAX * ZONE_DAY_S;
    while (next_local(cron, local_s, until_s, &local_s)) {
        *out_s = myr_zone_instant(zone, local_s);
        if (*out_s > after_s) return true;
        local_s += NEXT_MINUTE_S;
    }
    return false;
}

static bool next_wild(const myr_cron *cron, const myr_zone *zone, int64_t after_s, int64_t *out_s)
{
    int64_t at = after_s + 1, end = after_s + NEXT_DAYS_MAX * ZONE_DAY_S, local_s;
    while (at < end) {
        int64_t offset = myr_zone_offset(zone, at);
        int64_t change = myr_zone_steady_until(zone, at, at + NEXT_STEADY_S);
        if (next_local(cron, at + offset, change + offset, &local_s)) {
            *out_s = local_s - offset;
            return true;
        }
        at = change;
    }
    return false;
}

static bool next_cron(const myr_schedule *schedule, int64_t after_ms, int64_t *out_ms)
{
    int64_t after_s = next_floor(after_ms, NEXT_MS_PER_S), best = INT64_MAX, found = 0;
    for (uint32_t i = 0; i < schedule->cron_count; i++) {
        const myr_cron *cron = &schedule->crons[i];
        bool comes = cron->is_wild ? next_wild(cron, schedule->zone, after_s, &found)
                                   : next_fixed(cron, schedule->zone, after_s, &found);
        if (comes && found < best) best = found;
    }
    if (best == INT64_MAX) return false;
    *out_ms = best * NEXT_MS_PER_S;
    return true;
}

bool myr_schedule_next(const myr_schedule *schedule, int64_t after_ms, int64_t *out_ms)
{
    int64_t next = 0;
    if (after_ms < schedule->start_ms) after_ms = schedule->start_ms - 1;
    if (schedule->every_ms > 0) {
        next = schedule->anchor_ms +
               (next_floor(after_ms - schedule->anchor_ms, schedule->every_ms) + 1) * schedule->every_ms;
    } else if (!next_cron(schedule, after_ms, &next)) {
        return false;
    }
    if (next >= schedule->end_ms) return false;
    *out_ms = next;
    return true;
}

int64_t myr_schedule_jitter(const myr_schedule *schedule, const char *job, int64_t logical_ms)
{
    if (schedule->jitter_ms == 0) return 0;
    myr_str name = myr_str_of(job);
    return (int64_t)(myr_hash64(name.data, name.size, (uint64_t)logical_ms) % (uint64_t)schedule->jitter_ms);
}

void myr_schedule_fini(myr_schedule *schedule)
{
    myr_zone_close(schedule->zone);
    schedule->zone = NULL;
}
