/*
 * What waits is started while the job has a place for it (max_active_runs) and this scheduler has (runs-max); a time of
 * the schedule that finds none is treated by the job's overlap policy, all else waits in line.
 */
#include <stdio.h>
#include <string.h>

#include "jobs/scheduler.h"

/* The open firings of one job. */
typedef struct dispatch_job {
    myr_scheduler *s;
    const myr_job_file *job; /* NULL: its file is gone */
    const myr_job_row *row;
    int64_t active, queued, cancelling;
    int64_t newest_due; /* id of the newest time of the schedule that is due and waits */
} dispatch_job;

static bool firing_is(const myr_firing *firing, const char *kind)
{
    return strcmp(firing->kind, kind) == 0;
}

/* It will not be started: why. */
static myr_rc dispatch_drop(dispatch_job *d, const myr_firing *firing, myr_firing_state state, const char *reason,
                            myr_err *err)
{
    bool done = false;
    myr_firing next = *firing;
    next.state = state;
    next.ended_ms = d->s->now_ms;
    next.reason = reason;
    MYR_TRY(myr_store_begin(d->s->store, &d->s->lease, err));
    MYR_TRY(myr_store_end(d->s->store, myr_store_move(d->s->store, &next, MYR_FIRING_WAITING, &done, err), err));
    if (done) {
        myr_log(MYR_LOG_INFO, "jobs", "not started", "job", firing->job, "kind", firing->kind, "state",
                myr_firing_state_name(state), "reason", reason, NULL);
    }
    return MYR_OK;
}

/* Ask as many of the oldest runs to end as there are places missing. */
static myr_rc dispatch_cancel(dispatch_job *d, const myr_firing *firing, myr_err *err)
{
    char reason[160];
    (void)snprintf(reason, sizeof reason, "overlap: cancel: the time of firing %lld has come", (long long)firing->id);
    for (size_t i = 0; i < d->s->open_count && d->cancelling == 0; i++) {
        const myr_firing *other = &d->s->open[i];
        if (strcmp(other->job, firing->job) != 0 || other->state == MYR_FIRING_WAITING) continue;
        d->cancelling++;
        if (other->wish[0] != '\0') continue;
        MYR_TRY(myr_store_begin(d->s->store, &d->s->lease, err));
        MYR_TRY(myr_store_end(d->s->store, myr_store_wish(d->s->store, other->id, "cancel", reason, err), err));
    }
    return MYR_OK;
}

/* No place for it now. */
static myr_rc dispatch_full(dispatch_job *d, const myr_firing *firing, myr_err *err)
{
    const myr_schedule *schedule = &d->job->schedule;
    char reason[160];
    bool is_time = firing_is(firing, "schedule");
    bool is_bounded =
        !firing_is(firing, "backfill") && !firing_is(firing, "catch-up"); /* these have bounds of theirs */
    if (is_time && schedule->overlap == OVERLAP_SKIP) {
        (void)snprintf(reason, sizeof reason, "overlap: skip: %lld runs were active, max_active_runs is %lld",
                       (long long)d->active, (long long)schedule->active_max);
        return dispatch_drop(d, firing, MYR_FIRING_SKIPPED, reason, err);
    }
    if (is_time && schedule->overlap == OVERLAP_CANCEL) {
        if (firing->id == d->newest_due) return dispatch_cancel(d, firing, err);
        (void)snprintf(reason, sizeof reason, "overlap: cancel: firing %lld came while it waited",
                       (long long)d->newest_due);
        return dispatch_drop(d, firing, MYR_FIRING_COALESCED, reason, err);
    }
    if (is_bounded && d->queued >= schedule->queue_max) {
        (void)snprintf(reason, sizeof reason, "%lld firings waited already: queue_max is %lld", (long long)d->queued,
                       (long long)schedule->queue_max);
        return dispatch_drop(d, firing, MYR_FIRING_SKIPPED, reason, err);
    }
    if (is_bounded) d->queued++;
    return MYR_OK;
}

static myr_rc dispatch_one(dispatch_job *d, const myr_firing *firing, int64_t *all_active, myr_err *err)
{
    bool is_started = false;
    if (firing->state != MYR_FIRING_WAITING || firing->due_ms > d->s->now_ms) return MYR_OK;
    if (d->active >= d->job->schedule.active_max) return dispatch_full(d, firing, err);
    if (*all_active >= d->s->opts->runs_max) return MYR_OK; /* this scheduler's own places: it only waits */
    MYR_TRY(myr_scheduler_start(d->s, d->job, firing, &is_started, err));
    if (!is_started) return MYR_OK;
    d->active++;
    (*all_active)++;
    return MYR_OK;
}

/* Its file is gone: nothing of it can be started any more. */
static myr_rc dispatch_gone(dispatch_job *d, const char *name, myr_err *err)
{
    for (size_t i = 0; i < d->s->open_count; i++) {
        const myr_firing *firing = &d->s->open[i];
        if (strcmp(firing->job, name) != 0 || firing->state != MYR_FIRING_WAITING) continue;
        MYR_TRY(dispatch_drop(d, firing, MYR_FIRING_CANCELLED, "the job's file is gone", err));
    }
    return MYR_OK;
}

static myr_rc dispatch_job_firings(dispatch_job *d, int64_t *all_active, myr_err *err)
{
    myr_scheduler *s = d->s;
    for (size_t i = 0; i < s->open_count; i++) {
        const myr_firing *firing = &s->open[i];
        if (strcmp(firing->job, d->job->name) != 0) continue;
        if (firing->state != MYR_FIRING_WAITING) d->active++;
        bool is_due = firing->state == MYR_FIRING_WAITING && firing->due_ms <= s->now_ms;
        if (is_due && firing_is(firing, "schedule")) d->newest_due = firing->id;
    }
    for (size_t i = 0; i < s->open_count; i++) {
        if (strcmp(s->open[i].job, d->job->name) == 0) MYR_TRY(dispatch_one(d, &s->open[i], all_active, err));
    }
    return MYR_OK;
}

/* The first of the open firings of its job? Then the job is dealt with. */
static bool dispatch_is_first(const myr_scheduler *s, size_t at)
{
    for (size_t i = 0; i < at; i++) {
        if (strcmp(s->open[i].job, s->open[at].job) == 0) return false;
    }
    return true;
}

myr_rc myr_scheduler_dispatch(myr_scheduler *s, myr_err *err)
{
    int64_t all_active = 0;
    for (size_t i = 0; i < s->open_count; i++)
        all_active += s->open[i].state != MYR_FIRING_WAITING ? 1 : 0;
    for (size_t i = 0; i < s->open_count; i++) {
        const char *name = s->open[i].job;
        if (!dispatch_is_first(s, i)) continue;
        dispatch_job d = {.s = s, .job = myr_jobs_find(&s->jobs, name), .row = myr_scheduler_row_of(s, name)};
        if (d.row == NULL || !d.row->is_active) {
            MYR_TRY(dispatch_gone(&d, name, err));
        } else if (d.job != NULL && d.job->is_usable && !d.row->is_paused) {
            MYR_TRY(dispatch_job_firings(&d, &all_active, err));
        }
    }
    return MYR_OK;
}
