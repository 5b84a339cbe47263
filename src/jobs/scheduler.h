/* What the files of the scheduler share. Not for other directories. Owner: the thread that takes the turns. */
#ifndef MYR_JOBS_SCHEDULER_H
#define MYR_JOBS_SCHEDULER_H

#include "compute/compute.h"
#include "jobs/list.h"
#include "jobs/store.h"

#define SCHEDULER_CHILDREN_MAX 1024

struct files_watch;    /* files.c */
struct messages_watch; /* messages.c */

struct myr_scheduler {
    const char *root;
    const myr_scheduler_opts *opts;
    char jobs_dir[MYR_PATH_BYTES_MAX], runs_dir[MYR_PATH_BYTES_MAX], program[MYR_PATH_BYTES_MAX];
    char host[MYR_HOST_BYTES];
    myr_job_store *store;
    store_lease lease;
    int64_t lease_ask_ns; /* monotonic: when the lease is asked for again */
    myr_job_list jobs;
    int64_t read_ns, put_epoch; /* when the directory was read; the lease under which it was put into the store */
    bool is_changed;            /* files differ from what the store was told */
    myr_arena *arena;           /* of this turn */
    int64_t now_ms, mono_ns;    /* of this turn */
    int64_t clean_ns, metrics_ns;
    int64_t children[SCHEDULER_CHILDREN_MAX]; /* processes that this one has to wait for */
    size_t child_count;
    struct files_watch *watches;     /* a list; files.c */
    struct messages_watch *messages; /* a list; messages.c */
    int inotify_fd, wake_fd;
    bool files_happened; /* inotify told something since the last turn */

    /* what this turn read from the store */
    myr_job_row *rows;
    size_t row_count;
    myr_firing *open; /* in the order in which they have a right to start: backfills last */
    size_t open_count;
};

/* The row of a job, or NULL: the store does not know it yet. */
const myr_job_row *myr_scheduler_row_of(const myr_scheduler *s, const char *job);

/* plan.c: what is due becomes firings. */
myr_rc myr_scheduler_plan(myr_scheduler *s, const myr_job_file *job, const myr_job_row *row, myr_err *err);
/* triggers.c: what upstream runs, once ended, start. */
myr_rc myr_scheduler_after(myr_scheduler *s, const myr_job_file *job, const myr_job_row *row, myr_err *err);
/* files.c: what files start. */
myr_rc myr_scheduler_files(myr_scheduler *s, const myr_job_file *job, myr_err *err);
void myr_scheduler_files_close(myr_scheduler *s);
/* When a trigger looks again, monotonic. */
int64_t myr_scheduler_files_next(const myr_scheduler *s);
/*
 * listing.c: what is in an object store, asked by a thread, so that a store that is away keeps nobody else waiting. It
 * decides nothing, and wakes the scheduler with each list.
 */
typedef struct job_listing job_listing;
typedef struct job_found {
    const char *path; /* a URI */
    int64_t size_bytes;
    int64_t changed_ns; /* another number for another version */
    bool is_wanted;     /* it matches; else it may be a marker */
} job_found;
myr_rc myr_listing_start(myr_scheduler *s, const char *uri, int64_t poll_ms, job_listing **out, myr_err *err);
/* The list that came since it was asked last, by path; false: none did. Borrowed until then. trouble: why it is none.
 */
bool myr_listing_take(job_listing *listing, const job_found **out, size_t *out_count, myr_err *trouble);
void myr_listing_pace(job_listing *listing, int64_t wait_ms); /* from one list to the next */
void myr_listing_stop(job_listing *listing);                  /* does not wait */
void myr_listing_free(job_listing *listing); /* waits for what is under way, 20 s at most; NULL accepted */
/* messages.c: what messages of a topic start. */
myr_rc myr_scheduler_messages(myr_scheduler *s, const myr_job_file *job, myr_err *err);
void myr_scheduler_messages_close(myr_scheduler *s); /* waits for looks that are under way */
/* dispatch.c: what waits is started, or told why not. */
myr_rc myr_scheduler_dispatch(myr_scheduler *s, myr_err *err);
/* start.c: one firing becomes a process. *out_is_started false: it is not this scheduler's to start any more. */
myr_rc myr_scheduler_start(myr_scheduler *s, const myr_job_file *job, const myr_firing *firing, bool *out_is_started,
                           myr_err *err);
void myr_scheduler_path(const myr_scheduler *s, const myr_firing *firing, const char *ending,
                        char out[MYR_PATH_BYTES_MAX]);
/* watch.c: what runs on this machine is looked after, what ran on one that is gone is settled. */
myr_rc myr_scheduler_watch(myr_scheduler *s, myr_err *err);
void myr_scheduler_child_add(myr_scheduler *s, int64_t pid);
/* report.c: metrics into opts->metrics. */
myr_rc myr_scheduler_report(myr_scheduler *s, myr_err *err);

#endif
