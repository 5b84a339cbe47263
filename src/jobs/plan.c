/*
 * Times that have come become firings, once each: their key is the time, and the job's cursor moves in the same
 * transaction. A time that is found later than the job tolerates was missed: its catch_up says what becomes of it.
 */
#include <stdio.h>

#include "jobs/scheduler.h"

/* The times that were missed: how many, the first and the newest ones. */
typedef struct plan_missed {
    int64_t newest[SCHEDULE_CATCH_UP_MAX]; /* a ring of `keep` places */
    int64_t count, first_ms, last_ms, keep;
} plan_missed;

typedef struct plan {
    myr_scheduler *s;
    const myr_job_file *job;
    plan_missed missed;
    int64_t fired, last_fired_ms;
} plan;

static myr_rc plan_fire(plan *p, const char *kind, int64_t logical_ms, int64_t due_ms, myr_err *err)
{
    char key[MYR_FIRING_KEY_BYTES_MAX];
    (void)snprintf(key, sizeof key, "t:%lld", (long long)logical_ms);
    const myr_firing firing = {.job = p->job->name,
                               .key = key,
                               .kind = kind,
                               .state = MYR_FIRING_WAITING,
                               .logical_ms = logical_ms,
                               .due_ms = due_ms,
                               .count = 1,
                               .created_ms = p->s->now_ms};
    return myr_store_fire(p->s->store, &firing, NULL, err);
}

/* One record for all that are not run. */
static myr_rc plan_record(plan *p, int64_t count, int64_t last_ms, const char *why, myr_err *err)
{
    char key[MYR_FIRING_KEY_BYTES_MAX], reason[320], first[ZONE_TIME_TEXT_BYTES], last[ZONE_TIME_TEXT_BYTES];
    if (count == 0) return MYR_OK;
    const myr_zone *zone = p->job->schedule.zone;
    (void)snprintf(key, sizeof key, "missed:%lld-%lld", (long long)p->missed.first_ms, (long long)last_ms);
    (void)snprintf(reason, sizeof reason,
                   "due %s%s%s and found more than %llds late (no scheduler ran, the job was paused, or the clock was "
                   "set): %s",
                   myr_zone_format(zone, p->missed.first_ms, first), count > 1 ? " to " : "",
                   count > 1 ? myr_zone_format(zone, last_ms, last) : "",
                   (long long)(p->job->schedule.tolerance_ms / 1000), why);
    const myr_firing firing = {.job = p->job->name,
                               .key = key,
                               .kind = "schedule",
                               .state = MYR_FIRING_MISSED,
                               .logical_ms = last_ms,
                               .due_ms = last_ms,
                               .count = count,
                               .created_ms = p->s->now_ms,
                               .ended_ms = p->s->now_ms,
                               .reason = reason};
    return myr_store_fire(p->s->store, &firing, NULL, err);
}

static myr_rc plan_catch_up(plan *p, myr_err *err)
{
    const plan_missed *m = &p->missed;
    int64_t run = p->job->schedule.catch_up == CATCH_UP_ALL    ? m->keep
                  : p->job->schedule.catch_up == CATCH_UP_LAST ? (p->fired == 0 ? 1 : 0)
                                                               : 0;
    if (run > m->count) run = m->count;
    int64_t left = m->count - run;
    int64_t last_left = run < m->count && run > 0 ? m->newest[(m->count - run - 1 + m->keep) % m->keep] : m->last_ms;
    const char *why = p->job->schedule.catch_up == CATCH_UP_ALL    ? "catch_up: all runs the newest catch_up_max"
                      : p->job->schedule.catch_up == CATCH_UP_LAST ? "catch_up: last runs the newest"
                                                                   : "catch_up: none";
    MYR_TRY(plan_record(p, left, last_left, why, err));
    for (int64_t i = m->count - run; i < m->count; i++)
        MYR_TRY(plan_fire(p, "catch-up", m->newest[i % m->keep], p->s->now_ms, err));
    return MYR_OK;
}

static void plan_miss(plan_missed *m, int64_t time_ms)
{
    if (m->count == 0) m->first_ms = time_ms;
    m->last_ms = time_ms;
    m->newest[m->count % m->keep] = time_ms;
    m->count++;
}

static myr_rc plan_times(plan *p, int64_t cursor_ms, myr_err *err)
{
    const myr_schedule *schedule = &p->job->schedule;
    int64_t now_ms = p->s->now_ms;
    for (int64_t at = cursor_ms; myr_schedule_next(schedule, at, &at) && at <= now_ms;) {
        int64_t due_ms = at + myr_schedule_jitter(schedule, p->job->name, at);
        if (now_ms - due_ms > schedule->tolerance_ms) {
            plan_miss(&p->missed, at);
            continue;
        }
        MYR_TRY(plan_fire(p, "schedule", at, due_ms, err));
        p->fired++;
        p->last_fired_ms = at;
    }
    MYR_TRY(plan_catch_up(p, err));
    return myr_store_cursor(p->s->store, p->job->name, now_ms, err);
}

myr_rc myr_scheduler_plan(myr_scheduler *s, const myr_job_file *job, const myr_job_row *row, myr_err *err)
{
    int64_t next_ms = 0;
    /* The clock was put back: times that come again are looked at again, and those that ran have their firing. */
    bool is_back = s->now_ms < row->cursor_ms;
    bool is_due = !is_back && myr_schedule_next(&job->schedule, row->cursor_ms, &next_ms) && next_ms <= s->now_ms;
    if (!is_back && !is_due) return MYR_OK;
    MYR_AUTO(myr_mem) memory = myr_calloc(1, sizeof(plan));
    if (memory == NULL) MYR_FAIL(err, NO_MEMORY, "job '%s': no memory for its times", job->name);
    plan *p = memory;
    p->s = s;
    p->job = job;
    p->missed.keep = job->schedule.catch_up == CATCH_UP_ALL ? job->schedule.catch_up_max : 2;
    MYR_TRY(myr_store_begin(s->store, &s->lease, err));
    myr_rc rc = is_back ? myr_store_cursor(s->store, job->name, s->now_ms, err) : plan_times(p, row->cursor_ms, err);
    return myr_store_end(s->store, rc, err);
}
