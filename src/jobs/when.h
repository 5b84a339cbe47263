/* Times as people write them. Not for other directories. */
#ifndef MYR_JOBS_WHEN_H
#define MYR_JOBS_WHEN_H

#include "jobs/zone.h"

/* `2026-11-30`, `2026-11-30T02:30`, `2026-11-30 02:30:15` on the zone's clock, or with Z or +01:00 behind. BAD_INPUT.
 */
myr_rc myr_when_parse(const myr_zone *zone, const char *text, int64_t *out_ms, myr_err *err);

#endif
