/* The option rows `scheduler.*`. */
#include "jobs/jobs.h"

static const myr_opt_row scheduler_rows[] = {
    {"scheduler.jobs", "jobs", MYR_OPT_TEXT, 0, 0, sizeof((myr_scheduler_opts *)0)->jobs,
     offsetof(myr_scheduler_opts, jobs), "Directory of job files (*.yaml); relative to the workspace."},
    {"scheduler.store", "", MYR_OPT_TEXT, MYR_OPT_SECRET, 0, sizeof((myr_scheduler_opts *)0)->store,
     offsetof(myr_scheduler_opts, store),
     "Where schedules and firings are kept: postgresql://… shared by the schedulers of several machines. Empty: the "
     "workspace's registry."},
    {"scheduler.program", "", MYR_OPT_TEXT, 0, 0, sizeof((myr_scheduler_opts *)0)->program,
     offsetof(myr_scheduler_opts, program), "Program that runs a job: PROGRAM batch run FILE --json. Empty: this one."},
    {"scheduler.runs-max", "8", MYR_OPT_INT, 0, 1, 1000, offsetof(myr_scheduler_opts, runs_max),
     "Most runs at once, of all jobs together; what is due waits."},
    {"scheduler.poll", "1s", MYR_OPT_DURATION, 0, 50, 60000, offsetof(myr_scheduler_opts, poll_ms),
     "How often job files and the store are looked at."},
    {"scheduler.lease", "10s", MYR_OPT_DURATION, 0, 500, 600000, offsetof(myr_scheduler_opts, lease_ms),
     "How long after a scheduler's death another takes over."},
    {"scheduler.history", "90d", MYR_OPT_DURATION, 0, 3600000, 315360000000, offsetof(myr_scheduler_opts, history_ms),
     "How long firings that have ended are kept; also how long their keys count."},
    {"scheduler.metrics", "", MYR_OPT_TEXT, 0, 0, sizeof((myr_scheduler_opts *)0)->metrics,
     offsetof(myr_scheduler_opts, metrics),
     "File that metrics are written into every 15 s, for Prometheus' node exporter. Empty: none."},
};

const myr_opt_table myr_scheduler_opt_table = {scheduler_rows, MYR_COUNT_OF(scheduler_rows)};
