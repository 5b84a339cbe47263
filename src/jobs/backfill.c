/* A range of times asked for by hand: those that never ran become firings, once each, in one transaction. */
#include <stdio.h>

#include "jobs/job.h"
#include "jobs/store.h"

/* A time whose earlier firings ended otherwise gets another key, by how many there are. */
static myr_rc backfill_one(myr_job_store *store, const myr_job_file *job, int64_t logical_ms, myr_backfill *b,
                           myr_err *err)
{
    char key[MYR_FIRING_KEY_BYTES_MAX];
    bool has_run = false, is_new = false;
    int64_t firings = 0, now_ms = myr_clock_unix_ms();
    MYR_TRY(myr_store_has_run(store, job->name, logical_ms, &has_run, &firings, err));
    if (has_run && !b->again) return MYR_OK;
    b->out_new++;
    if (b->dry) return MYR_OK;
    (void)snprintf(key, sizeof key, firings > 0 ? "t:%lld#%lld" : "t:%lld", (long long)logical_ms, (long long)firings);
    const myr_firing firing = {.job = job->name,
                               .key = key,
                               .kind = "backfill",
                               .state = MYR_FIRING_WAITING,
                               .logical_ms = logical_ms,
                               .due_ms = now_ms,
                               .count = 1,
                               .created_ms = now_ms};
    MYR_TRY(myr_store_fire(store, &firing, &is_new, err));
    if (!is_new) MYR_FAIL(err, CONFLICT, "job '%s': firing '%s' is there already", job->name, key);
    return MYR_OK;
}

static myr_rc backfill_all(myr_job_store *store, const myr_job_file *job, myr_backfill *b, myr_err *err)
{
    for (int64_t at = b->from_ms - 1; myr_schedule_next(&job->schedule, at, &at) && at < b->until_ms;) {
        if (++b->out_times > MYR_BACKFILL_MAX) {
            MYR_FAIL(err, TOO_LARGE, "job '%s': more than %d times in this range: ask for a shorter one", job->name,
                     MYR_BACKFILL_MAX);
        }
        MYR_TRY(backfill_one(store, job, at, b, err));
    }
    return MYR_OK;
}

myr_rc myr_job_backfill(myr_job_store *store, const myr_job_file *job, myr_backfill *backfill, myr_err *err)
{
    if (!job->is_usable) MYR_FAIL(err, BAD_INPUT, "%s", job->trouble.message);
    if (!myr_schedule_has_times(&job->schedule))
        MYR_FAIL(err, BAD_INPUT, "job '%s' has no schedule: it has no times to fill (%s)", job->name, job->path);
    myr_backfill result = *backfill;
    result.out_times = result.out_new = 0;
    MYR_TRY(myr_store_begin(store, NULL, err));
    MYR_TRY(myr_store_end(store, backfill_all(store, job, &result, err), err));
    *backfill = result;
    return MYR_OK;
}
