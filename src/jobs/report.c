/* What a scheduler knows, in Prometheus' text form, into a file. All of it is of the store: any scheduler says the
 * same. */
#include <stdio.h>
#include <string.h>

#include "jobs/scheduler.h"

static void report_head(myr_buf *out, const char *name, const char *help)
{
    myr_buf_printf(out, "# HELP %s %s\n# TYPE %s gauge\n", name, help, name);
}

static void report_next(const myr_scheduler *s, myr_buf *out)
{
    report_head(out, "myriad_job_next_timestamp_seconds", "when a job is due next");
    for (size_t i = 0; i < s->jobs.count; i++) {
        int64_t next_ms = 0;
        if (!myr_job_next(s->jobs.items[i], s->now_ms, &next_ms)) continue;
        myr_buf_printf(out, "myriad_job_next_timestamp_seconds{job=\"%s\"} %lld\n", s->jobs.items[i]->name,
                       (long long)(next_ms / 1000));
    }
}

static void report_jobs(const myr_scheduler *s, myr_buf *out)
{
    report_head(out, "myriad_job_usable", "1: its file can be used, 0: it can't");
    for (size_t i = 0; i < s->row_count; i++) {
        if (s->rows[i].is_active)
            myr_buf_printf(out, "myriad_job_usable{job=\"%s\"} %d\n", s->rows[i].name, s->rows[i].trouble[0] == '\0');
    }
    report_head(out, "myriad_job_paused", "1: nothing of it is started");
    for (size_t i = 0; i < s->row_count; i++) {
        if (s->rows[i].is_active)
            myr_buf_printf(out, "myriad_job_paused{job=\"%s\"} %d\n", s->rows[i].name, s->rows[i].is_paused);
    }
}

static void report_firings(const store_count *counts, size_t count, myr_buf *out)
{
    report_head(out, "myriad_job_firings", "times and events of a job that the history holds, by what became of them");
    for (size_t i = 0; i < count; i++) {
        myr_buf_printf(out, "myriad_job_firings{job=\"%s\",state=\"%s\"} %lld\n", counts[i].job,
                       myr_firing_state_name(counts[i].state), (long long)counts[i].count);
    }
    report_head(out, "myriad_job_last_timestamp_seconds", "when a job last came into a state");
    for (size_t i = 0; i < count; i++) {
        if (counts[i].last_ms == 0) continue;
        myr_buf_printf(out, "myriad_job_last_timestamp_seconds{job=\"%s\",state=\"%s\"} %lld\n", counts[i].job,
                       myr_firing_state_name(counts[i].state), (long long)(counts[i].last_ms / 1000));
    }
}

myr_rc myr_scheduler_report(myr_scheduler *s, myr_err *err)
{
    MYR_AUTO(myr_buf) out = {0};
    store_count *counts = NULL;
    size_t count = 0;
    MYR_TRY(myr_store_counts(s->store, s->arena, &counts, &count, err));
    report_head(&out, "myriad_scheduler_leads", "1: this scheduler starts jobs, 0: it stands by");
    myr_buf_printf(&out, "myriad_scheduler_leads %d\n", s->lease.epoch != 0);
    report_next(s, &out);
    report_jobs(s, &out);
    report_firings(counts, count, &out);
    MYR_TRY(myr_buf_check(&out, err));
    return myr_file_write(s->opts->metrics, out.data, out.size, err);
}
