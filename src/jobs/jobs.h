/*
 * The face of jobs: what starts batch jobs. A job is a file of the directory of jobs, with `schedule:` and `triggers:`
 * in it; a firing is one time or event that starts it, or the record of why it did not; a scheduler is the process
 * that turns the one into the other. All state is in the store: a scheduler may die at any moment, and another go on.
 *
 * Thread: each handle has one owner thread at a time; any number of processes may have the store open.
 * Errors: BAD_INPUT names file, line, field and value; those of db; UNAVAILABLE the store's database is away.
 */
#ifndef MYR_JOBS_JOBS_H
#define MYR_JOBS_JOBS_H

#include "base/base.h"

#define MYR_JOBS_MAX                1000  /* files of the directory of jobs */
#define MYR_JOB_CALL_MAX            1000  /* firings of one job that wait because somebody asked (run, HTTP) */
#define MYR_BACKFILL_MAX            10000 /* times of one backfill */
#define MYR_FIRING_KEY_BYTES_MAX    256
#define MYR_FIRING_DETAIL_BYTES_MAX (1 << 20)

/* ---- options: scheduler.* ---- */
typedef struct myr_scheduler_opts {
    char jobs[MYR_PATH_BYTES_MAX];    /* directory of job files; relative: to the workspace */
    char store[1024];                 /* URI; "": the workspace's registry */
    char program[MYR_PATH_BYTES_MAX]; /* what is started: PROGRAM batch run FILE --json; "": this program */
    char metrics[MYR_PATH_BYTES_MAX]; /* file that metrics are written into; "": none */
    int64_t poll_ms, lease_ms, history_ms, runs_max;
} myr_scheduler_opts;
extern const myr_opt_table myr_scheduler_opt_table;

/* ---- the store ---- */
typedef struct myr_job_store myr_job_store;
/* root: the workspace, whose registry is open or was opened before. uri: opts.store. */
myr_rc myr_job_store_open(const char *root, const char *uri, myr_job_store **out, myr_err *err);
void myr_job_store_close(myr_job_store *store); /* NULL accepted */
typedef myr_job_store *myr_job_store_ptr;
static inline void myr_job_store_ptr_drop(myr_job_store_ptr *store)
{
    myr_job_store_close(*store);
}

/* What the store knows of a job, written by the scheduler that read its file. */
typedef struct myr_job_row {
    const char *name, *path;
    const char *trouble; /* why its file can't be used; "" */
    bool is_active;      /* its file is there */
    bool is_paused;
    int64_t created_ms;
    int64_t cursor_ms; /* times up to here are decided */
} myr_job_row;

typedef enum myr_firing_state {
    MYR_FIRING_WAITING,   /* for its time, or for a place */
    MYR_FIRING_STARTING,  /* a process is there; its run is not known yet */
    MYR_FIRING_RUNNING,   /* as run `run_id` */
    MYR_FIRING_COMPLETED, /* exit code 0 */
    MYR_FIRING_FAILED,
    MYR_FIRING_CANCELLED, /* because of the overlap policy or on request */
    MYR_FIRING_SKIPPED,   /* never started: the overlap policy, a full queue */
    MYR_FIRING_MISSED,    /* never started: nobody was there at the time; stands for `count` times */
    MYR_FIRING_COALESCED, /* never started: a later one stands for it */
    MYR_FIRING_STATES
} myr_firing_state;
const char *myr_firing_state_name(myr_firing_state state);
static inline bool myr_firing_is_open(myr_firing_state state)
{
    return state <= MYR_FIRING_RUNNING;
}

typedef struct myr_firing {
    int64_t id; /* given by the store */
    const char *job, *key;
    const char *kind; /* schedule, catch-up, backfill, manual, http, files, after, message */
    myr_firing_state state;
    int64_t logical_ms; /* the time it is for */
    int64_t due_ms;     /* when it may start: with jitter */
    int64_t count;      /* how many times it stands for */
    int64_t created_ms, started_ms, ended_ms;
    int64_t seen_ms;  /* when a scheduler last saw its process */
    const char *host; /* where its process is */
    int64_t pid, pid_start;
    int64_t run_id; /* 0: not known */
    int64_t exit_code;
    const char *wish;            /* "cancel": it is to be ended */
    const char *reason, *detail; /* detail: one file per line, or the upstream firing */
} myr_firing;

/* Jobs by name. */
myr_rc myr_job_store_jobs(myr_job_store *store, myr_arena *arena, myr_job_row **out, size_t *out_count, myr_err *err);
/* NOT_FOUND names the nearest. */
myr_rc myr_job_store_job(myr_job_store *store, myr_arena *arena, const char *name, myr_job_row *out, myr_err *err);
myr_rc myr_job_store_pause(myr_job_store *store, const char *name, bool is_paused, myr_err *err);

typedef struct myr_firing_filter {
    const char *job; /* NULL: all */
    bool open_only;
    int64_t id; /* 0: all */
    int64_t limit;
} myr_firing_filter;
/* Newest first; open ones alone: those with a process, others, backfills, each oldest first. At most 10,000. */
myr_rc myr_job_store_firings(myr_job_store *store, myr_arena *arena, const myr_firing_filter *filter, myr_firing **out,
                             size_t *out_count, myr_err *err);
/* {"id":…,"job":…,"state":…}: a firing for programs, times by the clock of `job`'s zone (NULL: UTC); appended. */
struct myr_job_file;
void myr_firing_put_json(const myr_firing *firing, const struct myr_job_file *job, myr_buf *out);
/*
 * Ask for a run: an event of this kind with this key, once for all time. A key that is there already gives the firing
 * it made then (*out_is_new = false). NOT_FOUND: no such job; BUSY: MYR_JOB_CALL_MAX wait.
 */
typedef struct myr_firing_request {
    const char *job, *kind, *key, *detail;
    int64_t logical_ms;
} myr_firing_request;
myr_rc myr_job_store_request(myr_job_store *store, const myr_firing_request *request, int64_t *out_id, bool *out_is_new,
                             myr_err *err);
/* Ask that a firing is ended, or never started. NOT_FOUND; CONFLICT: it has ended. */
myr_rc myr_job_store_cancel(myr_job_store *store, int64_t id, myr_err *err);
/* Who leads until when; owner "" if nobody does now. */
typedef struct myr_scheduler_row {
    const char *owner, *host;
    int64_t pid, epoch, expires_ms;
} myr_scheduler_row;
myr_rc myr_job_store_leader(myr_job_store *store, myr_arena *arena, myr_scheduler_row *out, myr_err *err);

/* ---- jobs of a directory, as their files say ---- */
typedef struct myr_job_file myr_job_file;
typedef struct myr_job_list {
    myr_job_file **items; /* by name */
    size_t count;
} myr_job_list;
/* A job whose file can't be used is there with its trouble. Errors: the directory can't be read; TOO_LARGE. */
myr_rc myr_jobs_load(const char *dir, myr_job_list *out, myr_err *err);
void myr_jobs_free(myr_job_list *list);
static inline void myr_job_list_drop(myr_job_list *list)
{
    myr_jobs_free(list);
}
const myr_job_file *myr_jobs_find(const myr_job_list *list, const char *name); /* or NULL */
const char *myr_job_name(const myr_job_file *job);
const char *myr_job_path(const myr_job_file *job);
const char *myr_job_trouble(const myr_job_file *job); /* NULL: none */
/* When it is due, in words: "30 2 * * * Europe/Berlin", "every 15m", "files in/…"; appended. */
void myr_job_describe(const myr_job_file *job, myr_buf *out);
/* The first time it is due after after_ms; false: it has no times, or no more. */
bool myr_job_next(const myr_job_file *job, int64_t after_ms, int64_t *out_ms);
/* A time as the clock of its zone shows it. */
#define MYR_JOB_TIME_BYTES 40
const char *myr_job_time(const myr_job_file *job, int64_t unix_ms, char out[MYR_JOB_TIME_BYTES]);
/* A field of JSON: the same; of a job whose file is gone (NULL) in UTC; 0 is null. */
void myr_job_put_time(myr_buf *out, const char *key, const myr_job_file *job, int64_t unix_ms);
/* `2026-11-30`, `2026-11-30T02:30` by that clock, or with a zone of its own (Z, +01:00). BAD_INPUT. */
myr_rc myr_job_parse_time(const myr_job_file *job, const char *text, int64_t *out_ms, myr_err *err);

/* The same of a file that needs no directory of jobs: a time as people write it, or now (NULL). BAD_INPUT. */
myr_rc myr_job_file_time(const char *path, const char *text, char out[MYR_JOB_TIME_BYTES], myr_err *err);

/*
 * Ask for the times of [from_ms, until_ms): those that never ran, or with `again` all. dry: only count them.
 * Errors: TOO_LARGE: more than MYR_BACKFILL_MAX; BAD_INPUT: the job has no times.
 */
typedef struct myr_backfill {
    int64_t from_ms, until_ms;
    bool again, dry;
    int64_t out_times, out_new; /* times in the range; firings that were made */
} myr_backfill;
myr_rc myr_job_backfill(myr_job_store *store, const myr_job_file *job, myr_backfill *backfill, myr_err *err);

/* ---- the scheduler ---- */
typedef struct myr_scheduler myr_scheduler;
/* root: the workspace; borrowed with opts until it is closed. */
myr_rc myr_scheduler_open(const char *root, const myr_scheduler_opts *opts, myr_scheduler **out, myr_err *err);
/* Gives the lease back. Runs go on; the next scheduler finds them. */
void myr_scheduler_close(myr_scheduler *scheduler); /* NULL accepted */
/*
 * One turn: read what changed, hold or take the lease, decide what is due, start, look after what runs. *out_sleep_ms:
 * how long nothing will happen by itself. An error is the store's or the directory's: the next turn tries again.
 */
myr_rc myr_scheduler_turn(myr_scheduler *scheduler, int64_t *out_sleep_ms, myr_err *err);
/* Sleep, unless something happens before: a file arrives, a run ends, somebody wakes it. */
void myr_scheduler_sleep(myr_scheduler *scheduler, int64_t duration_ms);
void myr_scheduler_wake(myr_scheduler *scheduler);   /* from any thread, or a signal handler */
void myr_scheduler_reload(myr_scheduler *scheduler); /* the next turn reads the files again */
bool myr_scheduler_leads(const myr_scheduler *scheduler);

#endif
