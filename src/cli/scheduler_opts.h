/* Options `scheduler.*` of a workspace, as its scheduler and the commands about schedules read them. */
#ifndef MYR_CLI_SCHEDULER_OPTS_H
#define MYR_CLI_SCHEDULER_OPTS_H

#include "cli/args.h"
#include "jobs/jobs.h"

/* Flags (argv; may be none), environment, myriad.yaml, defaults, in this order of precedence. */
myr_rc myr_cli_scheduler_opts(const char *root, int argc, char **argv, myr_scheduler_opts *out, myr_err *err);
/* The directory of job files; out: MYR_PATH_BYTES_MAX. */
myr_rc myr_cli_jobs_dir(const char *root, const myr_scheduler_opts *opts, char *out, myr_err *err);

#endif
