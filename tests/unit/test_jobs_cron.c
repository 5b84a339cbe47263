/* Cron expressions: what is read, what is refused and how; next() against a walk minute by minute through the changes
 * of several zones' clocks. */
#include "testing.h"

#include "jobs/schedule.h"

static myr_cron parse(const char *text)
{
    myr_cron cron;
    myr_err err = {0};
    EXPECT_RC(myr_cron_parse(myr_str_of(text), &cron, &err), OK, &err);
    return cron;
}

static void refused(const char *text, const char *part, const char *other)
{
    myr_cron cron;
    myr_err err = {0};
    EXPECT_RC(myr_cron_parse(myr_str_of(text), &cron, &err), BAD_INPUT, &err);
    EXPECT_HAS(err.message, part);
    EXPECT_HAS(err.message, other);
}

TEST(fields_are_sets)
{
    myr_cron cron = parse("0,15,30-32 2-10/4 1,L JAN,mar-MAY MON-FRI");
    EXPECT(cron.minutes == (1ULL | 1ULL << 15 | 7ULL << 30));
    EXPECT_INT(cron.hours, 1 << 2 | 1 << 6 | 1 << 10);
    EXPECT(cron.days == (2ULL | CRON_LAST_DAY));
    EXPECT_INT(cron.months, 1 << 1 | 1 << 3 | 1 << 4 | 1 << 5);
    EXPECT_INT(cron.weekdays, 0x3e);
    EXPECT(!cron.any_day && !cron.any_weekday && !cron.is_wild);
    cron = parse("\t*/20 \t 5   */2 * 7 ");
    EXPECT(cron.minutes == (1ULL | 1ULL << 20 | 1ULL << 40));
    EXPECT(cron.any_day && !cron.any_weekday && cron.is_wild);
    EXPECT_INT(cron.weekdays, 1);
    EXPECT_INT(parse("0 0 * * 5-7").weekdays, 1 << 5 | 1 << 6 | 1);
    EXPECT_INT(parse("0 0 * * *").weekdays, 0x7f);
    EXPECT_INT(parse("0 0 * * */6").weekdays, 1 | 1 << 6); /* 7 is no day of its own */
    EXPECT_INT(parse("@Daily").hours, 1);
    EXPECT_INT(parse("@weekly").weekdays, 1);
    EXPECT(parse("@hourly").is_wild);
}

TEST(what_is_refused_names_field_value_and_what_is_allowed)
{
    refused("60 * * * *", "minute '60'", "0 to 59");
    refused("* 24 * * *", "hour '24'", "0 to 23");
    refused("* * 0 * *", "day of month '0'", "1 to 31, or L");
    refused("* * * 13 *", "month '13'", "JAN to DEC");
    refused("* * * FOO *", "month 'FOO'", "JAN to DEC");
    refused("* * * * 8", "day of week '8'", "0 and 7 are Sunday");
    refused("5/15 * * * *", "a step needs a range", "5-59/15");
    refused("*/0 * * * *", "the step after '/'", "1 to 59");
    refused("*/60 * * * *", "the step after '/'", "1 to 59");
    refused("*/ * * * *", "the step after '/'", "1 to 59");
    refused("*/+2 * * * *", "the step after '/'", "1 to 59");
    refused("30-10 * * * *", "ends before it begins", "30-10");
    refused("1,,2 * * * *", "minute ''", "0 to 59");
    refused("1- * * * *", "minute '1-'", "0 to 59");
    refused("-1 * * * *", "minute '-1'", "0 to 59");
    refused("1-2-3 * * * *", "minute '1-2-3'", "0 to 59");
    refused("+1 * * * *", "minute '+1'", "0 to 59");
    refused("001 * * * *", "minute '001'", "0 to 59");
    refused("L * * * *", "minute 'L'", "0 to 59");
    refused("0 0 ? * *", "day of month '?'", "1 to 31");
    refused("0 0 15W * *", "day of month '15W'", "1 to 31");
    refused("* * * *", "4 fields", "write five");
    refused("0 0 0 * * *", "6 fields", "write five");
    refused("", "0 fields", "write five");
    refused("@reboot", "@reboot", "@daily");
    refused("0 0 30 FEB *", "no such day ever comes", "'30'");
    refused("0 0 31 2,4,6,9,11 *", "no such day ever comes", "'31'");
    parse("0 0 30 FEB MON"); /* or a Monday */
    parse("0 0 31 1,2 *");
    parse("0 0 L 2 *");
}

TEST(length_at_the_limit_and_past_it)
{
    char text[MYR_CRON_BYTES_MAX + 8];
    myr_cron cron;
    myr_err err = {0};
    size_t used = (size_t)snprintf(text, sizeof text, "11,");
    while (used < MYR_CRON_BYTES_MAX - strlen("1 * * * *"))
        used += (size_t)snprintf(text + used, sizeof text - used, "1,");
    used += (size_t)snprintf(text + used, sizeof text - used, "1 * * * *");
    EXPECT_INT(used, MYR_CRON_BYTES_MAX);
    parse(text);
    snprintf(text + used - 1, sizeof text - used, "*,");
    text[used] = '1';
    text[used + 1] = '\0';
    EXPECT_RC(myr_cron_parse(myr_str_of(text), &cron, &err), TOO_LARGE, &err);
}

/* ---- times ---- */

static void schedule_init(myr_schedule *schedule, const char *cron, const char *zone)
{
    myr_err err = {0};
    *schedule = (myr_schedule){.cron_count = 1, .start_ms = INT64_MIN, .end_ms = INT64_MAX};
    schedule->crons[0] = parse(cron);
    EXPECT_RC(myr_zone_open(zone, &schedule->zone, &err), OK, &err);
}

static int64_t instant_of(const myr_zone *zone, int year, int month, int day, int hour, int minute)
{
    return myr_zone_instant(zone, (myr_day_of_civil(year, month, day) * 24 + hour) * 3600 + minute * 60) * 1000;
}

/* The times from `from` on, one per word, in the zone. */
static void expect_times(const char *cron, const char *zone, int year, int month, int day, const char *wanted)
{
    myr_schedule schedule;
    schedule_init(&schedule, cron, zone);
    int64_t at = instant_of(schedule.zone, year, month, day, 0, 0) - 1;
    myr_str rest = myr_str_of(wanted), word;
    while (myr_str_split(&rest, ' ', &word)) {
        char text[ZONE_TIME_TEXT_BYTES], want[ZONE_TIME_TEXT_BYTES];
        snprintf(want, sizeof want, "%.*s", (int)word.size, word.data);
        EXPECT(myr_schedule_next(&schedule, at, &at));
        myr_zone_format(schedule.zone, at, text);
        EXPECT_STR(text, want);
    }
    myr_schedule_fini(&schedule);
}

TEST(a_time_that_does_not_exist_runs_after_the_gap)
{
    expect_times("30 2 * * *", "Europe/Berlin", 2026, 3, 28,
                 "2026-03-28T02:30:00+01:00 2026-03-29T03:00:00+02:00 2026-03-30T02:30:00+02:00");
    expect_times("0,30 2,3 * * *", "Europe/Berlin", 2026, 3, 29, /* all that fall into the gap are one */
                 "2026-03-29T03:00:00+02:00 2026-03-29T03:30:00+02:00 2026-03-30T02:00:00+02:00");
    expect_times("30 2 * * *", "America/New_York", 2026, 3, 8, "2026-03-08T03:00:00-04:00 2026-03-09T02:30:00-04:00");
    expect_times("15 2 * * *", "Australia/Lord_Howe", 2026, 10, 4, /* half an hour */
                 "2026-10-04T02:30:00+11:00 2026-10-05T02:15:00+11:00");
    expect_times("0 5 * * *", "Pacific/Apia", 2011, 12, 29, /* a day that was left out */
                 "2011-12-29T05:00:00-10:00 2011-12-31T00:00:00+14:00 2011-12-31T05:00:00+14:00");
    expect_times("*/30 2 * * *", "Europe/Berlin", 2026, 3, 29, /* a wildcard: what is never shown does not run */
                 "2026-03-30T02:00:00+02:00 2026-03-30T02:30:00+02:00");
}

TEST(a_time_that_exists_twice_runs_once_unless_wild)
{
    expect_times("30 2 * * *", "Europe/Berlin", 2026, 10, 25, "2026-10-25T02:30:00+02:00 2026-10-26T02:30:00+01:00");
    expect_times("45 1 * * *", "Australia/Lord_Howe", 2026, 4, 5,
                 "2026-04-05T01:45:00+11:00 2026-04-06T01:45:00+10:30");
    expect_times("30 * * * *", "Europe/Berlin", 2026, 10, 25,
                 "2026-10-25T00:30:00+02:00 2026-10-25T01:30:00+02:00 2026-10-25T02:30:00+02:00 "
                 "2026-10-25T02:30:00+01:00 2026-10-25T03:30:00+01:00");
    expect_times("*/20 1 * * *", "America/New_York", 2026, 11, 1,
                 "2026-11-01T01:00:00-04:00 2026-11-01T01:20:00-04:00 2026-11-01T01:40:00-04:00 "
                 "2026-11-01T01:00:00-05:00 2026-11-01T01:20:00-05:00 2026-11-01T01:40:00-05:00 "
                 "2026-11-02T01:00:00-05:00");
}

TEST(days_of_months_and_weeks)
{
    expect_times("0 0 29 2 *", "UTC", 2026, 1, 1, "2028-02-29T00:00:00+00:00 2032-02-29T00:00:00+00:00");
    expect_times("0 0 29 2 *", "UTC", 2097, 1, 1, "2104-02-29T00:00:00+00:00");
    expect_times("0 0 29 2 */7", "UTC", 2026, 1, 1, "2032-02-29T00:00:00+00:00 2060-02-29T00:00:00+00:00");
    expect_times("0 0 29 2 */7", "UTC", 2089, 1, 1, "2128-02-29T00:00:00+00:00"); /* 40 years: the longest wait */
    expect_times("0 12 31 * *", "UTC", 2026, 4, 1, "2026-05-31T12:00:00+00:00 2026-07-31T12:00:00+00:00");
    expect_times("0 12 L * *", "UTC", 2028, 1, 15,
                 "2028-01-31T12:00:00+00:00 2028-02-29T12:00:00+00:00 2028-03-31T12:00:00+00:00");
    expect_times("0 0 13 * FRI", "UTC", 2026, 11, 10, /* both restricted: either */
                 "2026-11-13T00:00:00+00:00 2026-11-20T00:00:00+00:00 2026-11-27T00:00:00+00:00 "
                 "2026-12-04T00:00:00+00:00 2026-12-11T00:00:00+00:00 2026-12-13T00:00:00+00:00");
    expect_times("0 0 */10 * FRI", "UTC", 2026, 11, 1, /* one begins with a star: both */
                 "2026-12-11T00:00:00+00:00 2027-01-01T00:00:00+00:00");
    expect_times("@yearly", "Asia/Kolkata", 2026, 2, 1, "2027-01-01T00:00:00+05:30");
}

TEST(intervals_count_from_their_anchor)
{
    myr_schedule schedule = {.every_ms = 900000, .anchor_ms = 60000, .start_ms = INT64_MIN, .end_ms = 2760001};
    int64_t next = 0;
    EXPECT(myr_schedule_next(&schedule, 0, &next));
    EXPECT_INT(next, 60000);
    EXPECT(myr_schedule_next(&schedule, next, &next));
    EXPECT_INT(next, 960000);
    EXPECT(myr_schedule_next(&schedule, 959999, &next));
    EXPECT_INT(next, 960000);
    EXPECT(myr_schedule_next(&schedule, -1000000, &next));
    EXPECT_INT(next, -840000);
    EXPECT(myr_schedule_next(&schedule, 1860000, &next));
    EXPECT_INT(next, 2760000);
    EXPECT(!myr_schedule_next(&schedule, 2760000, &next)); /* its end */
    schedule.start_ms = 1860000;
    EXPECT(myr_schedule_next(&schedule, 0, &next));
    EXPECT_INT(next, 1860000); /* its start counts */
}

TEST(jitter_is_the_same_for_the_same_job_and_time)
{
    myr_schedule schedule = {.every_ms = 1, .jitter_ms = 60000};
    bool differs = false;
    for (int64_t at = 0; at < 100; at++) {
        int64_t jitter = myr_schedule_jitter(&schedule, "nightly", at * 60000);
        EXPECT(jitter >= 0 && jitter < 60000);
        EXPECT_INT(jitter, myr_schedule_jitter(&schedule, "nightly", at * 60000));
        differs = differs || jitter != myr_schedule_jitter(&schedule, "hourly", at * 60000);
    }
    EXPECT(differs);
    schedule.jitter_ms = 0;
    EXPECT_INT(myr_schedule_jitter(&schedule, "nightly", 1), 0);
}

TEST(zones_are_names_of_the_system)
{
    static const char *const bad[] = {"Mars/Olympus",   "",       "../../etc/passwd", "/etc/localtime",
                                      "Europe/Berlin ", "+01:00", "Europe/../UTC"};
    for (size_t i = 0; i < MYR_COUNT_OF(bad); i++) {
        myr_zone *zone = NULL;
        myr_err err = {0};
        EXPECT_RC(myr_zone_open(bad[i], &zone, &err), BAD_INPUT, &err);
        EXPECT_HAS(err.message, "IANA name");
    }
}

/* ---- the walk ---- */

static bool fields_match(const myr_cron *cron, int64_t local_s)
{
    int64_t minute = local_s / 60;
    return local_s % 60 == 0 && (cron->minutes >> (minute % 60) & 1) != 0 &&
           (cron->hours >> (minute / 60 % 24) & 1) != 0 && myr_cron_has_day(cron, minute / 1440);
}

/*
 * Every minute that passes from `at` on, told by what the clock on the wall shows. Wild: does that match? Fixed: was a
 * local time reached that matches and had not been reached before?
 */
static int64_t walk(const myr_cron *cron, const myr_zone *zone, int64_t *at_s, int64_t *reached_s, int64_t end_s)
{
    for (int64_t at = *at_s + 60; at < end_s; at += 60) {
        int64_t local = at + myr_zone_offset(zone, at);
        bool due = cron->is_wild && fields_match(cron, local);
        for (int64_t passed = *reached_s + 60; !cron->is_wild && passed <= local; passed += 60)
            due = due || fields_match(cron, passed);
        if (local > *reached_s) *reached_s = local;
        if (due) return *at_s = at;
    }
    return -1;
}

static void expect_as_walked(const char *text, const char *name, int64_t from_s, int64_t days)
{
    myr_schedule schedule;
    schedule_init(&schedule, text, name);
    int64_t at_s = from_s, end_s = from_s + days * 86400, next = from_s * 1000;
    int64_t reached_s = from_s + myr_zone_offset(schedule.zone, from_s);
    for (;;) {
        int64_t wanted_s = walk(&schedule.crons[0], schedule.zone, &at_s, &reached_s, end_s);
        bool comes = myr_schedule_next(&schedule, next, &next);
        if (wanted_s < 0) {
            EXPECT(!comes || next >= end_s * 1000);
            break;
        }
        if (!comes || next != wanted_s * 1000) print_error("'%s' in %s from %lld\n", text, name, (long long)from_s);
        EXPECT(comes);
        EXPECT_INT(next, wanted_s * 1000);
    }
    myr_schedule_fini(&schedule);
}

static uint32_t random_below(uint32_t bound)
{
    uint32_t value = 0;
    EXPECT_RC(myr_random(&value, sizeof value, NULL), OK, NULL);
    return value % bound;
}

static void random_field(char *out, size_t room, int min, int max)
{
    int first = min + (int)random_below((uint32_t)(max - min + 1)), last = first;
    if (last < max) last += (int)random_below((uint32_t)(max - last + 1));
    switch (random_below(7)) {
    case 0:
    case 1:
        snprintf(out, room, "*");
        break;
    case 2:
        snprintf(out, room, "*/%d", 1 + (int)random_below((uint32_t)(max - min)));
        break;
    case 3:
        snprintf(out, room, "%d-%d", first, last);
        break;
    case 4:
        snprintf(out, room, "%d-%d/%d,%d", first, last, 1 + (int)random_below(4), min);
        break;
    default:
        snprintf(out, room, "%d", first);
    }
}

static void random_cron(char text[128])
{
    char field[5][24];
    static const int bounds[5][2] = {{0, 59}, {0, 4}, {1, 31}, {1, 12}, {0, 7}};
    for (int i = 0; i < 5; i++)
        random_field(field[i], sizeof field[i], bounds[i][0], bounds[i][1]);
    if (random_below(2) == 0) snprintf(field[2], sizeof field[2], "*");
    if (random_below(2) == 0) snprintf(field[3], sizeof field[3], "*");
    if (random_below(2) == 0) snprintf(field[4], sizeof field[4], "*");
    snprintf(text, 128, "%s %s %s %s %s", field[0], field[1], field[2], field[3], field[4]);
}

/* Hours are those in which clocks are changed; stretches of days around changes, and years. */
TEST(next_is_what_a_walk_through_all_minutes_finds)
{
    static const struct {
        const char *zone;
        int year, month, day;
    } around[] = {
        {"Europe/Berlin", 2026, 3, 27},     {"Europe/Berlin", 2026, 10, 23},     {"America/New_York", 2026, 3, 6},
        {"America/New_York", 2026, 10, 30}, {"Australia/Lord_Howe", 2026, 4, 3}, {"Australia/Lord_Howe", 2026, 10, 2},
        {"Pacific/Apia", 2011, 12, 28},     {"America/Sao_Paulo", 2018, 11, 2},  {"Asia/Kathmandu", 1985, 12, 30},
        {"Africa/Casablanca", 2026, 2, 13}, {"America/St_Johns", 2006, 10, 27},  {"Antarctica/Troll", 2026, 3, 27},
        {"Asia/Pyongyang", 2018, 5, 2},     {"America/Caracas", 2016, 4, 29},    {"UTC", 2028, 2, 27},
    };
    int rounds = getenv("MYR_LONG") != NULL && getenv("MYR_LONG")[0] != '\0' ? 400 : 25;
    myr_random_seed(20261130);
    for (size_t i = 0; i < MYR_COUNT_OF(around); i++) {
        int64_t from_s = myr_day_of_civil(around[i].year, around[i].month, around[i].day) * 86400;
        for (int round = 0; round < rounds; round++) {
            char text[128];
            myr_cron cron;
            random_cron(text);
            if (myr_cron_parse(myr_str_of(text), &cron, NULL) != MYR_OK) continue; /* 30 February */
            expect_as_walked(text, around[i].zone, from_s, 6);
        }
    }
    static const char *const years[] = {"30 2 * * *", "0 3 29 2 *", "15 0 L * *", "0 1 1-7 * SUN",
                                        "*/30 1,2 * 3,4,10,11 *"};
    for (size_t i = 0; i < MYR_COUNT_OF(years); i++) {
        expect_as_walked(years[i], "Europe/Berlin", myr_day_of_civil(2027, 6, 1) * 86400, 366 * 2);
        expect_as_walked(years[i], "Australia/Lord_Howe", myr_day_of_civil(2027, 6, 1) * 86400, 366 * 2);
    }
}

RUN()
