/*
 * The scheduler: turns, each of which reads what there is, holds the lease, and does what is to be done. Whatever fails
 * is tried again by the next turn; nothing that matters is in this process' memory alone.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "jobs/scheduler.h"

#define SCHEDULER_READ_MS    5000 /* how often the directory is read, unless told */
#define SCHEDULER_METRICS_MS 15000
#define SCHEDULER_CLEAN_MS   3600000
#define SCHEDULER_NS_PER_MS  1000000LL

/* ---- life ---- */

static myr_rc scheduler_paths(myr_scheduler *s, myr_err *err)
{
    bool is_absolute = s->opts->jobs[0] == '/';
    MYR_TRY(myr_path_join(s->jobs_dir, sizeof s->jobs_dir, is_absolute ? "/" : s->root,
                          is_absolute ? s->opts->jobs + 1 : s->opts->jobs, err));
    MYR_TRY(myr_path_join(s->runs_dir, sizeof s->runs_dir, s->root, "scheduler", err));
    if (strlen(s->runs_dir) + MYR_NAME_BYTES_MAX + 32 >= sizeof s->runs_dir)
        MYR_FAIL(err, BAD_INPUT, "%s: the path of the workspace is too long", s->root);
    if (s->opts->program[0] != '\0') {
        (void)snprintf(s->program, sizeof s->program, "%s", s->opts->program);
        return MYR_OK;
    }
    ssize_t size = readlink("/proc/self/exe", s->program, sizeof s->program - 1);
    if (size <= 0) MYR_FAIL(err, IO, "/proc/self/exe: %s", strerror(errno));
    s->program[size] = '\0';
    return MYR_OK;
}

static myr_rc scheduler_begin(myr_scheduler *s, myr_err *err)
{
    unsigned char id[16];
    MYR_TRY(scheduler_paths(s, err));
    MYR_TRY(myr_random(id, sizeof id, err));
    myr_hex(id, sizeof id, s->lease.owner);
    myr_host(s->root, s->host);
    s->lease.host = s->host;
    s->lease.pid = getpid();
    s->arena = myr_arena_new(0);
    if (s->arena == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a scheduler");
    s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (s->wake_fd < 0) MYR_FAIL(err, IO, "a scheduler's eventfd: %s", strerror(errno));
    s->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK); /* none: files are looked at now and then all the same */
    return myr_job_store_open(s->root, s->opts->store, &s->store, err);
}

myr_rc myr_scheduler_open(const char *root, const myr_scheduler_opts *opts, myr_scheduler **out, myr_err *err)
{
    myr_scheduler *s = myr_calloc(1, sizeof *s);
    if (s == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a scheduler");
    s->root = root;
    s->opts = opts;
    s->wake_fd = s->inotify_fd = -1;
    s->read_ns = s->clean_ns = s->metrics_ns = INT64_MIN;
    myr_rc rc = scheduler_begin(s, err);
    if (rc != MYR_OK) {
        myr_scheduler_close(s);
        return rc;
    }
    *out = s;
    return MYR_OK;
}

static void scheduler_forget_triggers(myr_scheduler *s)
{
    myr_scheduler_files_close(s);
    myr_scheduler_messages_close(s);
}

void myr_scheduler_close(myr_scheduler *s)
{
    if (s == NULL) return;
    if (s->store != NULL && s->lease.epoch != 0) {
        MYR_IGNORE(myr_store_yield(s->store, &s->lease, NULL)); /* else it runs out by itself */
    }
    scheduler_forget_triggers(s);
    myr_jobs_free(&s->jobs);
    myr_job_store_close(s->store);
    myr_arena_free(s->arena);
    myr_fd_drop(&s->wake_fd);
    myr_fd_drop(&s->inotify_fd);
    myr_free(s);
}

bool myr_scheduler_leads(const myr_scheduler *s)
{
    return s->lease.epoch != 0;
}

void myr_scheduler_wake(myr_scheduler *s)
{
    uint64_t one = 1;
    int saved = errno;
    MYR_IGNORE(write(s->wake_fd, &one, sizeof one) < 0); /* full: it will wake anyway */
    errno = saved;
}

void myr_scheduler_reload(myr_scheduler *s)
{
    s->read_ns = INT64_MIN;
}

static void scheduler_drain(int fd)
{
    char buffer[4096] __attribute__((aligned(8)));
    while (fd >= 0 && read(fd, buffer, sizeof buffer) > 0)
        continue;
}

void myr_scheduler_sleep(myr_scheduler *s, int64_t duration_ms)
{
    struct pollfd fds[] = {{.fd = s->wake_fd, .events = POLLIN}, {.fd = s->inotify_fd, .events = POLLIN}};
    int timeout_ms = duration_ms > 60000 ? 60000 : duration_ms < 0 ? 0 : (int)duration_ms;
    if (poll(fds, MYR_COUNT_OF(fds), timeout_ms) <= 0) return;
    scheduler_drain(s->wake_fd);
    if ((fds[1].revents & POLLIN) == 0) return;
    scheduler_drain(s->inotify_fd);
    s->files_happened = true;
}

/* ---- what a turn reads ---- */

static myr_rc scheduler_read_jobs(myr_scheduler *s, myr_err *err)
{
    bool is_early = s->read_ns != INT64_MIN && s->mono_ns - s->read_ns < SCHEDULER_READ_MS * SCHEDULER_NS_PER_MS;
    if (is_early) return MYR_OK;
    myr_job_list next = {0};
    size_t before = s->jobs.count, taken = 0;
    myr_rc rc = myr_jobs_reload(s->jobs_dir, &s->jobs, &next, err);
    for (size_t i = 0; i < before; i++)
        taken += s->jobs.items[i] == NULL ? 1 : 0;
    bool is_same = rc == MYR_OK && taken == before && next.count == before && s->read_ns != INT64_MIN;
    if (!is_same) scheduler_forget_triggers(s); /* they name jobs of the list */
    myr_jobs_free(&s->jobs);
    s->jobs = next; /* empty after an error: nothing new is started until the directory can be read */
    s->read_ns = s->mono_ns;
    if (!is_same) s->is_changed = true;
    if (rc != MYR_OK) s->read_ns = INT64_MIN;
    return rc;
}

/* A job that is new begins now; one whose file was edited does so again: what it says now says nothing of before. */
static myr_rc scheduler_put_job(myr_scheduler *s, myr_job_file *job, myr_err *err)
{
    bool from_start = job->is_usable && job->schedule.catch_up == CATCH_UP_ALL && job->schedule.start_ms != INT64_MIN &&
                      job->schedule.start_ms <= s->now_ms;
    const myr_job_row row = {.name = job->name,
                             .path = job->path,
                             .trouble = job->is_usable ? "" : job->trouble.message,
                             .created_ms = s->now_ms,
                             .cursor_ms = from_start ? job->schedule.start_ms - 1 : s->now_ms};
    MYR_TRY(myr_store_job_put(s->store, &row, err));
    if (job->is_edited) MYR_TRY(myr_store_cursor(s->store, job->name, s->now_ms, err));
    job->is_edited = false;
    return MYR_OK;
}

static myr_rc scheduler_put_all(myr_scheduler *s, myr_err *err)
{
    for (size_t i = 0; i < s->jobs.count; i++)
        MYR_TRY(scheduler_put_job(s, s->jobs.items[i], err));
    for (size_t i = 0; i < s->row_count; i++) {
        if (s->rows[i].is_active && myr_jobs_find(&s->jobs, s->rows[i].name) == NULL)
            MYR_TRY(myr_store_job_drop(s->store, s->rows[i].name, err));
    }
    return MYR_OK;
}

static void scheduler_log_jobs(const myr_scheduler *s)
{
    char count[24];
    (void)snprintf(count, sizeof count, "%zu", s->jobs.count);
    myr_log(MYR_LOG_INFO, "jobs", "job files read", "dir", s->jobs_dir, "jobs", count, NULL);
    for (size_t i = 0; i < s->jobs.count; i++) {
        if (!s->jobs.items[i]->is_usable)
            myr_log_err(MYR_LOG_WARN, "jobs", "a job can't be used", &s->jobs.items[i]->trouble);
    }
}

/* The leader tells the store which jobs there are. */
static myr_rc scheduler_put_jobs(myr_scheduler *s, myr_err *err)
{
    if (!s->is_changed && s->put_epoch == s->lease.epoch) return MYR_OK;
    MYR_TRY(myr_job_store_jobs(s->store, s->arena, &s->rows, &s->row_count, err));
    MYR_TRY(myr_store_begin(s->store, &s->lease, err));
    MYR_TRY(myr_store_end(s->store, scheduler_put_all(s, err), err));
    scheduler_log_jobs(s);
    scheduler_forget_triggers(s); /* they begin anew, from what the store knows */
    s->is_changed = false;
    s->put_epoch = s->lease.epoch;
    return MYR_OK;
}

static myr_rc scheduler_read_store(myr_scheduler *s, myr_err *err)
{
    const myr_firing_filter filter = {.open_only = true};
    MYR_TRY(myr_job_store_jobs(s->store, s->arena, &s->rows, &s->row_count, err));
    return myr_job_store_firings(s->store, s->arena, &filter, &s->open, &s->open_count, err);
}

const myr_job_row *myr_scheduler_row_of(const myr_scheduler *s, const char *job)
{
    for (size_t i = 0; i < s->row_count; i++) {
        if (strcmp(s->rows[i].name, job) == 0) return &s->rows[i];
    }
    return NULL;
}

/* ---- the lease ---- */

static myr_rc scheduler_lead(myr_scheduler *s, myr_err *err)
{
    if (s->lease.epoch != 0 && s->mono_ns < s->lease_ask_ns) return MYR_OK;
    int64_t before = s->lease.epoch, lease_ms = s->opts->lease_ms;
    MYR_TRY(myr_store_lead(s->store, &s->lease, s->now_ms, lease_ms, err));
    s->lease_ask_ns = s->mono_ns + lease_ms / 3 * SCHEDULER_NS_PER_MS;
    if (before != s->lease.epoch) {
        myr_log(MYR_LOG_INFO, "jobs", s->lease.epoch != 0 ? "leads" : "another scheduler leads", "host", s->host, NULL);
    }
    return MYR_OK;
}

/* ---- a turn ---- */

static myr_rc scheduler_triggers(myr_scheduler *s, myr_err *err)
{
    for (size_t i = 0; i < s->jobs.count; i++) {
        const myr_job_file *job = s->jobs.items[i];
        const myr_job_row *row = myr_scheduler_row_of(s, job->name);
        if (!job->is_usable || row == NULL || row->is_paused) continue;
        if (myr_schedule_has_times(&job->schedule)) MYR_TRY(myr_scheduler_plan(s, job, row, err));
        MYR_TRY(myr_scheduler_after(s, job, row, err));
        MYR_TRY(myr_scheduler_files(s, job, err));
        MYR_TRY(myr_scheduler_messages(s, job, err));
    }
    s->files_happened = false;
    return MYR_OK;
}

static myr_rc scheduler_clean(myr_scheduler *s, myr_err *err)
{
    if (s->clean_ns != INT64_MIN && s->mono_ns - s->clean_ns < SCHEDULER_CLEAN_MS * SCHEDULER_NS_PER_MS) return MYR_OK;
    MYR_TRY(myr_store_begin(s->store, &s->lease, err));
    MYR_TRY(myr_store_end(s->store, myr_store_forget(s->store, s->now_ms - s->opts->history_ms, err), err));
    s->clean_ns = s->mono_ns;
    return MYR_OK;
}

static myr_rc scheduler_leader_turn(myr_scheduler *s, myr_err *err)
{
    MYR_TRY(scheduler_put_jobs(s, err));
    MYR_TRY(scheduler_read_store(s, err));
    MYR_TRY(scheduler_triggers(s, err));
    MYR_TRY(scheduler_read_store(s, err)); /* with what is new */
    MYR_TRY(myr_scheduler_dispatch(s, err));
    return scheduler_clean(s, err);
}

static myr_rc scheduler_turn(myr_scheduler *s, myr_err *err)
{
    MYR_TRY(scheduler_lead(s, err));
    MYR_TRY(scheduler_read_store(s, err));
    MYR_TRY(myr_scheduler_watch(s, err));
    MYR_TRY(scheduler_read_jobs(s, err));
    if (s->lease.epoch != 0) MYR_TRY(scheduler_leader_turn(s, err));
    if (s->opts->metrics[0] == '\0') return MYR_OK;
    if (s->metrics_ns != INT64_MIN && s->mono_ns - s->metrics_ns < SCHEDULER_METRICS_MS * SCHEDULER_NS_PER_MS)
        return MYR_OK;
    s->metrics_ns = s->mono_ns;
    return myr_scheduler_report(s, err);
}

/* How long until a time of a job or a firing comes, if that is before the next poll. */
static int64_t scheduler_idle(const myr_scheduler *s)
{
    int64_t wake_ms = s->now_ms + s->opts->poll_ms, next_ms = 0;
    for (size_t i = 0; i < s->jobs.count; i++) {
        if (myr_job_next(s->jobs.items[i], s->now_ms, &next_ms) && next_ms < wake_ms) wake_ms = next_ms;
    }
    for (size_t i = 0; i < s->open_count; i++) {
        bool waits = s->open[i].state == MYR_FIRING_WAITING && s->open[i].due_ms > s->now_ms;
        if (waits && s->open[i].due_ms < wake_ms) wake_ms = s->open[i].due_ms;
    }
    int64_t files_ns = s->lease.epoch != 0 ? myr_scheduler_files_next(s) - s->mono_ns : INT64_MAX;
    int64_t idle_ms = wake_ms - s->now_ms;
    return files_ns / SCHEDULER_NS_PER_MS < idle_ms ? files_ns / SCHEDULER_NS_PER_MS + 1 : idle_ms;
}

myr_rc myr_scheduler_turn(myr_scheduler *s, int64_t *out_sleep_ms, myr_err *err)
{
    myr_arena_reset(s->arena);
    s->rows = NULL;
    s->open = NULL;
    s->row_count = s->open_count = 0;
    s->now_ms = myr_clock_unix_ms();
    s->mono_ns = myr_clock_mono_ns();
    myr_rc rc = scheduler_turn(s, err);
    if (rc == MYR_CONFLICT) { /* the lease went to another in the middle: what was not done is the other's */
        s->lease.epoch = 0;
        s->lease_ask_ns = 0;
        rc = MYR_OK;
        if (err != NULL) err->rc = MYR_OK;
    }
    *out_sleep_ms = rc == MYR_OK ? scheduler_idle(s) : s->opts->poll_ms;
    return rc;
}
