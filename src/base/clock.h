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

/* Tests only: freeze both clocks at the given wall time and advance them by hand; myr_clock_release lets them run
 * again. */
void myr_clock_freeze(int64_t unix_ms);
void myr_clock_advance_ms(int64_t duration_ms);
void myr_clock_release(void);

#endif
