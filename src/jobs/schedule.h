/*
 * When a job is due: cron lines in a zone or an interval, and what is done about times that were missed or come while
 * the job still runs. Not for other directories. Thread: any; immutable once read.
 */
#ifndef MYR_JOBS_SCHEDULE_H
#define MYR_JOBS_SCHEDULE_H

#include "jobs/cron.h"
#include "jobs/zone.h"

#define SCHEDULE_CRONS_MAX     16
#define SCHEDULE_EVERY_MIN_MS  1000LL
#define SCHEDULE_EVERY_MAX_MS  (366 * 86400000LL)
#define SCHEDULE_JITTER_MAX_MS (86400000LL)
#define SCHEDULE_QUEUE_MAX     1000
#define SCHEDULE_CATCH_UP_MAX  1000
#define SCHEDULE_ACTIVE_MAX    100

typedef enum catch_up_policy { CATCH_UP_LAST, CATCH_UP_NONE, CATCH_UP_ALL } catch_up_policy;
typedef enum overlap_policy { OVERLAP_SKIP, OVERLAP_QUEUE, OVERLAP_CANCEL } overlap_policy;

typedef struct myr_schedule {
    myr_cron crons[SCHEDULE_CRONS_MAX];
    uint32_t cron_count;
    int64_t every_ms, anchor_ms; /* every_ms 0: the crons */
    int64_t start_ms, end_ms;    /* nothing is due before start_ms, or from end_ms on */
    int64_t jitter_ms;           /* started up to so much later */
    int64_t tolerance_ms;        /* late by more is missed */
    myr_zone *zone;              /* owned */
    catch_up_policy catch_up;
    overlap_policy overlap;
    int64_t catch_up_max, queue_max, active_max;
} myr_schedule;

void myr_schedule_fini(myr_schedule *schedule);

/* Does it have times of its own? A job may run by triggers alone. */
static inline bool myr_schedule_has_times(const myr_schedule *schedule)
{
    return schedule->cron_count > 0 || schedule->every_ms > 0;
}
/* The first time it is due after after_ms. False: never again. Depends on nothing but its arguments. */
bool myr_schedule_next(const myr_schedule *schedule, int64_t after_ms, int64_t *out_ms);
/* How much later than logical_ms the job of this name starts: the same for the same name and time, below jitter_ms. */
int64_t myr_schedule_jitter(const myr_schedule *schedule, const char *job, int64_t logical_ms);

#endif
