/* A cron expression, read. Not for other directories. Thread: any; a value. */
#ifndef MYR_JOBS_CRON_H
#define MYR_JOBS_CRON_H

#include "base/base.h"

#define MYR_CRON_BYTES_MAX 256
#define CRON_LAST_DAY      (1ULL << 32) /* beside the bits 1 to 31 of days */

typedef struct myr_cron {
    uint64_t minutes, days;
    uint32_t hours, months, weekdays; /* bits: 0 to 23, 1 to 12, 0 (Sunday) to 6 */
    bool any_day, any_weekday;        /* the field begins with '*' */
    bool is_wild;                     /* minute or hour begins with '*' */
} myr_cron;

/* Errors: BAD_INPUT names the field, its value and what is allowed; TOO_LARGE. */
myr_rc myr_cron_parse(myr_str text, myr_cron *out, myr_err *err);
/* Does it run on this day, counted from 1970-01-01? */
bool myr_cron_has_day(const myr_cron *cron, int64_t day);

#endif
