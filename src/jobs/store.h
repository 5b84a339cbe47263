/*
 * The store as the scheduler uses it: what it writes stands in transactions that begin by looking whether it still
 * leads, so that one that was stopped for a while and goes on can change nothing. Not for other directories.
 */
#ifndef MYR_JOBS_STORE_H
#define MYR_JOBS_STORE_H

#include "db/db.h"
#include "jobs/jobs.h"

struct myr_job_store {
    myr_sql *sql;
};

/* Who asks for the lease, and what was given. */
typedef struct store_lease {
    char owner[40]; /* random, new at each start */
    const char *host;
    int64_t pid;
    int64_t epoch; /* of the lease it holds; 0: none */
} store_lease;

/* Take the lease if it is free or has run out, or hold it. lease->epoch says whether; it is another one when taken. */
myr_rc myr_store_lead(myr_job_store *store, store_lease *lease, int64_t now_ms, int64_t lease_ms, myr_err *err);
myr_rc myr_store_yield(myr_job_store *store, const store_lease *lease, myr_err *err);

/* A transaction. lease NULL: without asking who leads. CONFLICT: another leads now; nothing is open then. */
myr_rc myr_store_begin(myr_job_store *store, const store_lease *lease, myr_err *err);
/* Commit if rc is OK, else roll back and give rc back. */
myr_rc myr_store_end(myr_job_store *store, myr_rc rc, myr_err *err);

/* ---- inside a transaction ---- */
/* A job of a file that is there; row->cursor_ms counts only if it is new, or was not active before. */
myr_rc myr_store_job_put(myr_job_store *store, const myr_job_row *row, myr_err *err);
/* Its file is gone. */
myr_rc myr_store_job_drop(myr_job_store *store, const char *name, myr_err *err);
myr_rc myr_store_cursor(myr_job_store *store, const char *job, int64_t cursor_ms, myr_err *err);
/* A new firing, in the state it has; its key may be there already: *out_is_new = false then. out_is_new may be NULL. */
myr_rc myr_store_fire(myr_job_store *store, const myr_firing *firing, bool *out_is_new, myr_err *err);
/* Has this time of the job run, or will it? */
myr_rc myr_store_has_run(myr_job_store *store, const char *job, int64_t logical_ms, bool *out, int64_t *out_firings,
                         myr_err *err);
/* A firing that is in the state `from` now goes on: state, host, pid, run, end, reason are written. *out_done = false:
 * it was in another state. */
myr_rc myr_store_move(myr_job_store *store, const myr_firing *firing, myr_firing_state from, bool *out_done,
                      myr_err *err);
myr_rc myr_store_seen(myr_job_store *store, int64_t id, int64_t now_ms, myr_err *err);
myr_rc myr_store_wish(myr_job_store *store, int64_t id, const char *wish, const char *reason, myr_err *err);
/* Ended firings of `upstream` since a time that no firing of `job` has come from. Newest first. */
myr_rc myr_store_unanswered(myr_job_store *store, myr_arena *arena, const char *job, const char *upstream,
                            int64_t since_ms, myr_firing **out, size_t *out_count, myr_err *err);
/* How many firings of each job are in each state, and when the last of them ended (or was made). */
typedef struct store_count {
    const char *job;
    myr_firing_state state;
    int64_t count, last_ms;
} store_count;
myr_rc myr_store_counts(myr_job_store *store, myr_arena *arena, store_count **out, size_t *out_count, myr_err *err);
/* Forget firings that ended before a time. */
myr_rc myr_store_forget(myr_job_store *store, int64_t before_ms, myr_err *err);

/* ---- files that a trigger has answered ---- */
typedef struct store_file {
    const char *path;
    int64_t size_bytes, changed_ns;
} store_file;
myr_rc myr_store_files(myr_job_store *store, myr_arena *arena, const char *job, const char *pattern, store_file **out,
                       size_t *out_count, myr_err *err);
myr_rc myr_store_file_put(myr_job_store *store, const char *job, const char *pattern, const store_file *file,
                          myr_err *err);
myr_rc myr_store_file_drop(myr_job_store *store, const char *job, const char *pattern, const char *path, myr_err *err);

#endif
