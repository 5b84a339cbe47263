/* Time: the only place that asks the system. A test can stop the clock and move it by hand. Thread: any. */
#ifndef MYR_BASE_CLOCK_H
#define MYR_BASE_CLOCK_H

#include <stddef.h>
#include <stdint.h>

int64_t myr_clock_unix_ms(void);              /* wall clock */
int64_t myr_clock_mono_ns(void);              /* never goes back; only differences mean something */
int64_t myr_clock_tick_ns(void);              /* the same, up to 10 ms behind, for a fifth of the time: for time-outs */
int64_t myr_clock_cpu_ns(void);               /* processor time of this process, all threads */
void myr_clock_sleep_ms(int64_t duration_ms); /* under a moved clock it moves the clock instead */

#define MYR_TIME_TEXT_BYTES 32
/* "2026-11-22T17:03:21.123Z" (UTC, RFC 3339); returns out. */
const char *myr_format_time(int64_t unix_ms, char out[MYR_TIME_TEXT_BYTES]);

/* The proleptic Gregorian calendar: days counted from 1970-01-01. Any day of the years -9999 to 9999. */
void myr_civil_of_day(int64_t day, int *out_year, int *out_month, int *out_day_of_month);
int64_t myr_day_of_civil(int year, int month, int day_of_month); /* the day of month may be past its end */

/* Tests only: freeze both clocks at the given wall time and advance them by hand; myr_clock_release lets them run
 * again. */
void myr_clock_freeze(int64_t unix_ms);
void myr_clock_advance_ms(int64_t duration_ms);
void myr_clock_jump_ms(int64_t duration_ms); /* the wall clock alone, forward or back, as when it is set */
void myr_clock_release(void);

#endif
