/* `after:`: each end of an upstream firing starts one of ours, once: its key names the firing it comes from. */
#include <stdio.h>
#include <string.h>

#include "jobs/scheduler.h"

#define AFTER_REACH_MS (7 * 86400000LL) /* an end that is older starts nothing any more */

static myr_rc after_fire(myr_scheduler *s, const myr_job_file *job, const myr_firing *upstream, myr_err *err)
{
    char key[MYR_FIRING_KEY_BYTES_MAX], detail[MYR_NAME_BYTES_MAX + 64];
    (void)snprintf(key, sizeof key, "after:%lld", (long long)upstream->id);
    (void)snprintf(detail, sizeof detail, "%s: firing %lld, run %lld, %s", upstream->job, (long long)upstream->id,
                   (long long)upstream->run_id, myr_firing_state_name(upstream->state));
    const myr_firing firing = {.job = job->name,
                               .key = key,
                               .kind = "after",
                               .state = MYR_FIRING_WAITING,
                               .logical_ms = upstream->logical_ms,
                               .due_ms = s->now_ms,
                               .count = 1,
                               .created_ms = s->now_ms,
                               .detail = detail};
    return myr_store_fire(s->store, &firing, NULL, err);
}

static myr_rc after_one(myr_scheduler *s, const myr_job_file *job, const job_trigger *trigger, int64_t since_ms,
                        myr_err *err)
{
    myr_firing *ended = NULL;
    size_t count = 0;
    MYR_TRY(myr_store_unanswered(s->store, s->arena, job->name, trigger->job, since_ms, &ended, &count, err));
    for (size_t i = count; i-- > 0;) { /* oldest first */
        bool is_wanted = ended[i].state == MYR_FIRING_COMPLETED ? trigger->on_completed : trigger->on_failed;
        if (!is_wanted) continue;
        MYR_TRY(myr_store_begin(s->store, &s->lease, err));
        MYR_TRY(myr_store_end(s->store, after_fire(s, job, &ended[i], err), err));
    }
    return MYR_OK;
}

myr_rc myr_scheduler_after(myr_scheduler *s, const myr_job_file *job, const myr_job_row *row, myr_err *err)
{
    int64_t since_ms = s->now_ms - AFTER_REACH_MS;
    if (since_ms < row->created_ms) since_ms = row->created_ms; /* what ended before there was this job is not its */
    for (uint32_t i = 0; i < job->trigger_count; i++) {
        if (job->triggers[i].kind == TRIGGER_AFTER) MYR_TRY(after_one(s, job, &job->triggers[i], since_ms, err));
    }
    return MYR_OK;
}
