/* A job as its file says it, read. Not for other directories. Thread: any; immutable once read. */
#ifndef MYR_JOBS_JOB_H
#define MYR_JOBS_JOB_H

#include "jobs/jobs.h"
#include "jobs/schedule.h"

#define JOB_TRIGGERS_MAX      16
#define JOB_PATTERN_BYTES_MAX 1024

typedef enum trigger_kind { TRIGGER_FILES, TRIGGER_AFTER, TRIGGER_MESSAGES } trigger_kind;

typedef struct job_trigger {
    trigger_kind kind;
    /* files, messages: a glob; a topic */
    char pattern[JOB_PATTERN_BYTES_MAX + 1];
    char marker[MYR_NAME_BYTES_MAX + 1]; /* "": files are whole when they have been quiet */
    int64_t quiet_ms, poll_ms;
    /* messages */
    char brokers[JOB_PATTERN_BYTES_MAX + 1];
    char properties[MYR_PATH_BYTES_MAX]; /* a file; "": none */
    /* after */
    char job[MYR_NAME_BYTES_MAX + 1];
    bool on_completed, on_failed;
} job_trigger;

/* What tells one state of a file from the next. */
typedef struct job_stamp {
    int64_t inode, size_bytes, changed_ns;
} job_stamp;

struct myr_job_file {
    char name[MYR_NAME_BYTES_MAX + 1];
    char *path;
    job_stamp stamp;
    bool is_edited; /* it was read before, and said something else that could be used */
    bool is_read;   /* the file itself is good */
    bool is_usable; /* … and so it is among the others; else trouble says why not */
    myr_err trouble;
    myr_schedule schedule;
    char words[MYR_CRON_BYTES_MAX + 1]; /* its crons or interval, for people */
    job_trigger *triggers;
    uint32_t trigger_count;
};

/* Read a file that is there. *out is made whatever it says; what is wrong with it is its trouble. NO_MEMORY. */
myr_rc myr_job_read(const char *path, const job_stamp *stamp, myr_job_file **out, myr_err *err);
void myr_job_free(myr_job_file *job); /* NULL accepted */
myr_rc myr_job_stamp(const char *path, job_stamp *out, myr_err *err);

#endif
