/* Time, asked of the system or, in tests, kept by hand: both clocks then stand still until they are advanced. */
#include "base/clock.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>

#include "base/err.h"

#define CLOCK_NS_PER_S   1000000000LL
#define CLOCK_NS_PER_MS  1000000LL
#define CLOCK_MS_PER_S   1000LL
#define CLOCK_MS_PER_DAY (86400 * CLOCK_MS_PER_S)

static atomic_bool clock_is_frozen;
static _Atomic int64_t clock_frozen_unix_ms;
static _Atomic int64_t clock_frozen_mono_ns;

static int64_t clock_read_ns(clockid_t id)
{
    struct timespec now;
    int failed = clock_gettime(id, &now);
    MYR_ASSERT(failed == 0); /* these clocks exist on every Linux */
    return now.tv_sec * CLOCK_NS_PER_S + now.tv_nsec;
}

int64_t myr_clock_unix_ms(void)
{
    if (atomic_load(&clock_is_frozen)) return atomic_load(&clock_frozen_unix_ms);
    return clock_read_ns(CLOCK_REALTIME) / CLOCK_NS_PER_MS;
}

int64_t myr_clock_mono_ns(void)
{
    if (atomic_load(&clock_is_frozen)) return atomic_load(&clock_frozen_mono_ns);
    return clock_read_ns(CLOCK_MONOTONIC);
}

int64_t myr_clock_tick_ns(void)
{
    if (atomic_load(&clock_is_frozen)) return atomic_load(&clock_frozen_mono_ns);
    return clock_read_ns(CLOCK_MONOTONIC_COARSE);
}

int64_t myr_clock_cpu_ns(void)
{
    return clock_read_ns(CLOCK_PROCESS_CPUTIME_ID);
}

void myr_clock_sleep_ms(int64_t duration_ms)
{
    if (duration_ms <= 0) return;
    if (atomic_load(&clock_is_frozen)) {
        myr_clock_advance_ms(duration_ms);
        return;
    }
    struct timespec left = {.tv_sec = duration_ms / CLOCK_MS_PER_S,
                            .tv_nsec = (duration_ms % CLOCK_MS_PER_S) * CLOCK_NS_PER_MS};
    while (nanosleep(&left, &left) != 0 && errno == EINTR) {
    }
}

void myr_civil_of_day(int64_t day, int *out_year, int *out_month, int *out_day_of_month)
{
    /* Years begin in March here, so that the leap day is the last; an era is 400 years = 146,097 days. */
    day += 719468; /* from 0000-03-01 */
    int64_t era = (day >= 0 ? day : day - 146096) / 146097;
    int64_t day_of_era = day - era * 146097;
    int64_t year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    int64_t day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t month = (5 * day_of_year + 2) / 153; /* 0 = March */
    *out_day_of_month = (int)(day_of_year - (153 * month + 2) / 5 + 1);
    *out_month = (int)(month < 10 ? month + 3 : month - 9);
    *out_year = (int)(year_of_era + era * 400 + (*out_month <= 2 ? 1 : 0));
}

int64_t myr_day_of_civil(int year, int month, int day_of_month)
{
    MYR_ASSERT(month >= 1 && month <= 12);
    int64_t march_year = month > 2 ? year : year - 1;
    int64_t era = (march_year >= 0 ? march_year : march_year - 399) / 400;
    int64_t year_of_era = march_year - era * 400;
    int64_t day_of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day_of_month - 1;
    return era * 146097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719468;
}

const char *myr_format_time(int64_t unix_ms, char out[MYR_TIME_TEXT_BYTES])
{
    const int64_t first_ms = -62167219200000LL; /* 0000-01-01T00:00:00.000Z: RFC 3339 has four digits for a year */
    const int64_t last_ms = 253402300799999LL;  /* 9999-12-31T23:59:59.999Z */
    if (unix_ms < first_ms) unix_ms = first_ms;
    if (unix_ms > last_ms) unix_ms = last_ms;
    int64_t day = unix_ms / CLOCK_MS_PER_DAY;
    int64_t ms = unix_ms % CLOCK_MS_PER_DAY;
    if (ms < 0) {
        ms += CLOCK_MS_PER_DAY;
        day--;
    }
    int year, month, day_of_month;
    myr_civil_of_day(day, &year, &month, &day_of_month);
    MYR_ASSERT(year >= 0 && year <= 9999);
    unsigned seconds = (unsigned)(ms / CLOCK_MS_PER_S);
    snprintf(out, MYR_TIME_TEXT_BYTES, "%04u-%02u-%02uT%02u:%02u:%02u.%03uZ", (unsigned)year % 10000,
             (unsigned)month % 100, (unsigned)day_of_month % 100, seconds / 3600 % 100, seconds / 60 % 60, seconds % 60,
             (unsigned)(ms % CLOCK_MS_PER_S));
    return out;
}

void myr_clock_freeze(int64_t unix_ms)
{
    atomic_store(&clock_frozen_unix_ms, unix_ms);
    atomic_store(&clock_frozen_mono_ns, myr_clock_mono_ns()); /* goes on from where it is */
    atomic_store(&clock_is_frozen, true);
}

void myr_clock_advance_ms(int64_t duration_ms)
{
    MYR_ASSERT(duration_ms >= 0 && atomic_load(&clock_is_frozen));
    atomic_fetch_add(&clock_frozen_unix_ms, duration_ms);
    atomic_fetch_add(&clock_frozen_mono_ns, duration_ms * CLOCK_NS_PER_MS);
}

void myr_clock_jump_ms(int64_t duration_ms)
{
    MYR_ASSERT(atomic_load(&clock_is_frozen));
    atomic_fetch_add(&clock_frozen_unix_ms, duration_ms);
}

void myr_clock_release(void)
{
    atomic_store(&clock_is_frozen, false);
}
