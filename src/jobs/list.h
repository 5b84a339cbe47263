/* Jobs of a directory, read again. Not for other directories. */
#ifndef MYR_JOBS_LIST_H
#define MYR_JOBS_LIST_H

#include "jobs/job.h"

/* As myr_jobs_load, where jobs whose files are as they were are taken out of `before` (NULL in their place). */
myr_rc myr_jobs_reload(const char *dir, myr_job_list *before, myr_job_list *out, myr_err *err);

#endif
