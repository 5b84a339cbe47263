/*
 * A lane: jobs that wait for a database, handed over by requests that do not. A bounded set of job slots; threads that
 * take all the jobs that wait and do them together (one round trip, one transaction); a watchdog that answers a job
 * whose time is over, whatever its thread is stuck in. Not for other directories.
 *
 * Owners: a slot's payload belongs to who took the slot until it is submitted, then to the lane's thread until its end,
 * then to the taker again, until he gives it back. A job that is late ends while the thread may still be writing into
 * its payload: then the taker may not read it. The slot itself is free again when both have let go.
 */
#ifndef MYR_ONLINE_LANE_H
#define MYR_ONLINE_LANE_H

#include <stdatomic.h>

#include "online/online.h"

#define LANE_BATCH_MAX   256 /* jobs that one thread takes at once */
#define LANE_WATCH_MS    2   /* how late a late answer may be */
#define LANE_WATCH_IDLE  500 /* looks in vain before the watchdog sleeps until there is a job: a second */
#define LANE_THREADS_MAX 16

typedef struct online_lane online_lane;
typedef enum lane_state { LANE_FREE, LANE_WAITS, LANE_DONE, LANE_LATE } lane_state;

/* The head of every payload. */
typedef struct lane_job {
    online_lane *owner;
    struct lane_job *next;           /* in the list of free slots, or of jobs that wait */
    struct lane_job *before, *after; /* in the list of jobs that were submitted and did not end */
    bool is_out;                     /* in that list; under the lane's lock */
    int refs;                        /* under the lane's lock */
    _Atomic int state;
    int64_t deadline_ns;
    myr_online_done done;
    void *ctx;
    myr_err err; /* for the taker, once it ended: rc OK or why not */
    bool skips;  /* the thread's: it was late before the work began */
} lane_job;

typedef struct lane_opts {
    const char *name; /* of threads and messages; static or the caller's, as long as the online_lane */
    int thread_count;
    size_t job_max;   /* slots */
    size_t job_bytes; /* of a payload, lane_job first */
    /* What a thread keeps; NULL is NO_MEMORY. */
    void *(*open)(void *ctx);
    void (*close)(void *state);
    void (*warm)(void *state); /* on the thread, before its first jobs: connect …; may be NULL */
    /* Do these jobs: set each one's err. Those with `skips` are not to be touched. */
    void (*work)(void *state, lane_job **jobs, size_t count);
    void (*idle)(void *state); /* nothing waits; may be NULL */
    int64_t idle_ms;           /* how often, while nothing waits */
    int64_t gather_us;         /* of one thread: how long it waits for as many jobs as came together before; 0: not */
    void (*fini_job)(lane_job *job); /* when the lane is freed; may be NULL */
    void *ctx;
} lane_opts;

myr_rc myr_lane_start(const lane_opts *opts, online_lane **out, myr_err *err);
/* Everything that was submitted is done; then the threads end. NULL accepted. No slot is taken any more. */
void myr_lane_stop(online_lane *lane);

/* A free slot. BUSY: all are in use (counted); UNAVAILABLE: the lane stops. */
myr_rc myr_lane_take(online_lane *lane, lane_job **out, myr_err *err);
/* Hand it over; `done` is called exactly once, from the lane's thread or the watchdog. */
void myr_lane_submit(lane_job *job, int64_t deadline_ns, myr_online_done done, void *ctx);
/* The taker lets go: after its end, or instead of submitting it. NULL accepted. */
void myr_lane_give(lane_job *job);
size_t myr_lane_in_use(online_lane *lane);

/*
 * From the thread that works: this job has ended already, before the others of its batch. Its err is set. False: it had
 * ended before (it is late, or was told).
 */
bool myr_lane_tell(lane_job *job);
/* From the thread that works: does its taker still wait, or was there never one? */
static inline bool myr_lane_is_wanted(lane_job *job)
{
    return !job->skips && atomic_load(&job->state) == LANE_WAITS;
}

/* The taker does not wait for its end at all (after_answer): lets go now. */
void myr_lane_submit_and_give(lane_job *job, int64_t deadline_ns);

#endif
