/*
 * A time zone of the system's IANA data. Not for other directories.
 *
 * Read by GLib, whose zones never change once made and may be used by any thread; the C library's own (TZ, tzset) is
 * one for the whole process. ICU has data of its own, which the system's updates of tzdata do not reach.
 */
#ifndef MYR_JOBS_ZONE_H
#define MYR_JOBS_ZONE_H

#include "base/base.h"

#define ZONE_NAME_BYTES_MAX 64
#define ZONE_DAY_S          86400LL

typedef struct myr_zone myr_zone;

/* Errors: BAD_INPUT: no zone has this name. */
myr_rc myr_zone_open(const char *name, myr_zone **out, myr_err *err);
void myr_zone_close(myr_zone *zone); /* NULL accepted */
const char *myr_zone_name(const myr_zone *zone);

/* Local time is `unix_s + offset`, a count of seconds from 1970-01-01T00:00 on the wall's clock. */
int64_t myr_zone_offset(const myr_zone *zone, int64_t unix_s);
/* Until when the offset is certain to be the same: the next change, or until_s if none comes before. */
int64_t myr_zone_steady_until(const myr_zone *zone, int64_t unix_s, int64_t until_s);
/*
 * The first instant at which the wall's clock shows local_s or later: the first of two, and for a time that is left out
 * the instant after the gap.
 */
int64_t myr_zone_instant(const myr_zone *zone, int64_t local_s);

/* "2026-11-30T02:30:00+01:00"; returns out. */
#define ZONE_TIME_TEXT_BYTES 40
const char *myr_zone_format(const myr_zone *zone, int64_t unix_ms, char out[ZONE_TIME_TEXT_BYTES]);

#endif
