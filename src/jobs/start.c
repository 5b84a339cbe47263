/*
 * A firing becomes a process, once. The process is made first and waits at its gate; then one transaction says that the
 * firing is this process' (if it still waits, and this scheduler still leads); then it is let in. Whoever finds the
 * firing later, after any crash in between, can tell: no claim, no process; a claim whose process is gone and has made
 * no output file was never let in; all else has run (watch.c).
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "jobs/scheduler.h"

#define START_ENV_MAX  8
#define START_ARGS_MAX 16

void myr_scheduler_path(const myr_scheduler *s, const myr_firing *firing, const char *ending,
                        char out[MYR_PATH_BYTES_MAX])
{
    int size =
        snprintf(out, MYR_PATH_BYTES_MAX, "%s/%s/%lld.%s", s->runs_dir, firing->job, (long long)firing->id, ending);
    MYR_ASSERT(size > 0 && size < MYR_PATH_BYTES_MAX); /* runs_dir was checked when it was made */
}

/* What a run may be told as a list, by the kind of its firing: the ending of the file, the variable that names it. */
static const struct {
    const char *kind, *ending, *variable;
} start_lists[] = {{"files", "files", "MYRIAD_FILES"}, {"message", "messages", "MYRIAD_MESSAGES"}};

/* Or -1: it has no list. */
static int start_list(const myr_firing *firing)
{
    for (size_t i = 0; i < MYR_COUNT_OF(start_lists); i++) {
        if (strcmp(firing->kind, start_lists[i].kind) == 0) return (int)i;
    }
    return -1;
}

/* Ours, and what the run may want to know. In the turn's arena. */
static myr_rc start_env(myr_scheduler *s, const myr_job_file *job, const myr_firing *firing, const char ***out,
                        myr_err *err)
{
    char time[MYR_TIME_TEXT_BYTES], local[ZONE_TIME_TEXT_BYTES], path[MYR_PATH_BYTES_MAX];
    size_t count = 0, more = 0;
    int list = start_list(firing);
    while (environ[count] != NULL)
        count++;
    const char **env = myr_arena_calloc(s->arena, count + START_ENV_MAX + 1, sizeof *env);
    if (env == NULL) MYR_FAIL(err, NO_MEMORY, "job '%s': no memory to start it", job->name);
    for (size_t i = 0; i < count; i++)
        env[i] = environ[i];
    const char **own = env + count;
    own[more++] = myr_arena_printf(s->arena, "MYRIAD_JOB=%s", job->name);
    own[more++] = myr_arena_printf(s->arena, "MYRIAD_FIRING=%lld", (long long)firing->id);
    own[more++] = myr_arena_printf(s->arena, "MYRIAD_TRIGGER=%s", firing->kind);
    own[more++] = myr_arena_printf(s->arena, "MYRIAD_LOGICAL_TIME=%s", myr_format_time(firing->logical_ms, time));
    own[more++] = myr_arena_printf(s->arena, "MYRIAD_LOCAL_TIME=%s",
                                   myr_zone_format(job->schedule.zone, firing->logical_ms, local));
    if (list >= 0) {
        myr_scheduler_path(s, firing, start_lists[list].ending, path);
        own[more++] = myr_arena_printf(s->arena, "%s=%s", start_lists[list].variable, path);
    }
    MYR_ASSERT(more <= START_ENV_MAX);
    for (size_t i = 0; i < more; i++) {
        if (own[i] == NULL) MYR_FAIL(err, NO_MEMORY, "job '%s': no memory to start it", job->name);
    }
    *out = env;
    return MYR_OK;
}

/* The place for its output, and its list. */
static myr_rc start_files(myr_scheduler *s, const myr_job_file *job, const myr_firing *firing, myr_err *err)
{
    char path[MYR_PATH_BYTES_MAX];
    int list = start_list(firing);
    MYR_TRY(myr_path_join(path, sizeof path, s->runs_dir, job->name, err));
    MYR_TRY(myr_io_mkdirs(path, err));
    if (list < 0) return MYR_OK;
    myr_scheduler_path(s, firing, start_lists[list].ending, path);
    return myr_file_write(path, firing->detail, strlen(firing->detail), err);
}

static myr_rc start_claim(myr_scheduler *s, const myr_firing *firing, const myr_detached *process, bool *out_done,
                          myr_err *err)
{
    myr_firing next = *firing;
    next.state = MYR_FIRING_STARTING;
    next.started_ms = next.seen_ms = s->now_ms;
    next.host = s->host;
    next.pid = process->pid;
    next.pid_start = process->pid_start;
    MYR_TRY(myr_store_begin(s->store, &s->lease, err));
    return myr_store_end(s->store, myr_store_move(s->store, &next, MYR_FIRING_WAITING, out_done, err), err);
}

static myr_rc start_process(myr_scheduler *s, const myr_job_file *job, const myr_firing *firing, myr_detached *out,
                            myr_err *err)
{
    char output[MYR_PATH_BYTES_MAX], error[MYR_PATH_BYTES_MAX];
    const char **env = NULL;
    myr_scheduler_path(s, firing, "json", output);
    myr_scheduler_path(s, firing, "log", error);
    MYR_TRY(start_files(s, job, firing, err));
    MYR_TRY(start_env(s, job, firing, &env, err));
    const char *const argv[] = {s->program, "batch", "run", job->path, "--json", "--workspace", s->root, NULL};
    const myr_detached_opts opts = {
        .argv = argv, .env = env, .dir = s->root, .output_path = output, .error_path = error};
    return myr_detached_start(&opts, out, err);
}

/* It can't be started: that is how it ends. */
static myr_rc start_failed(myr_scheduler *s, const myr_firing *firing, const myr_err *why, myr_err *err)
{
    bool done = false;
    myr_firing next = *firing;
    next.state = MYR_FIRING_FAILED;
    next.ended_ms = s->now_ms;
    next.reason = why->message;
    myr_log_err(MYR_LOG_ERROR, "jobs", "a run can't be started", why);
    MYR_TRY(myr_store_begin(s->store, &s->lease, err));
    return myr_store_end(s->store, myr_store_move(s->store, &next, MYR_FIRING_WAITING, &done, err), err);
}

myr_rc myr_scheduler_start(myr_scheduler *s, const myr_job_file *job, const myr_firing *firing, bool *out_is_started,
                           myr_err *err)
{
    myr_detached process;
    myr_err why = {0};
    bool done = false;
    *out_is_started = false;
    if (s->child_count == SCHEDULER_CHILDREN_MAX) return MYR_OK;
    if (start_process(s, job, firing, &process, &why) != MYR_OK) return start_failed(s, firing, &why, err);
    myr_rc rc = start_claim(s, firing, &process, &done, err);
    if (rc != MYR_OK || !done) { /* not claimed, or nobody knows: then watch.c will see that it never ran */
        myr_detached_send_away(&process);
        return rc;
    }
    myr_detached_let_in(&process);
    myr_scheduler_child_add(s, process.pid);
    *out_is_started = true;
    char id[24];
    (void)snprintf(id, sizeof id, "%lld", (long long)firing->id);
    myr_log(MYR_LOG_INFO, "jobs", "started", "job", job->name, "kind", firing->kind, "firing", id, NULL);
    return MYR_OK;
}
