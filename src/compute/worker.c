/* A child process: started with limits, asked over a socket, ended; what it writes is kept at its end. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compute/network.h"

#define WORKER_PREFIX_BYTES 4
#define WORKER_GONE_MS      5000 /* how long an ended process may take to be gone */
#define WORKER_LOOK_MS      200  /* between looks whether it has ended, or whether all this stops */
#define WORKER_END_US       5000 /* between looks whether one that was told to has ended */
#define WORKER_LAST_MS      500  /* how long one that has closed its socket may take to end */

struct myr_worker {
    pid_t pid;                /* 0: waited for */
    int fd;                   /* our end of the socket */
    int output;               /* what it writes to standard output and error */
    int status;               /* when pid is 0 */
    const _Atomic bool *stop; /* borrowed */
    int64_t number;           /* of this process' workers */
    myr_cgroup_worker groups;
    compute_ids ids; /* of one that is offline */
    int64_t memory_bytes_max;
    char tail[MYR_WORKER_TAIL_BYTES];
    size_t tail_bytes;
};

/* ---- the child, between fork and exec: only what is safe there ---- */

static void child_limit(int what, int64_t bytes)
{
    struct rlimit limit = {.rlim_cur = (rlim_t)bytes, .rlim_max = (rlim_t)bytes};
    if (bytes > 0) MYR_IGNORE(setrlimit(what, &limit)); /* a lower hard limit stands: it is stricter */
}

/* As many processors as its share is, rounded up: the n-th worker begins where the one before ended. */
static void child_affinity(int64_t milli, int64_t number)
{
    cpu_set_t may, set;
    int count = 0, wanted = (int)((milli + 999) / 1000);
    if (sched_getaffinity(0, sizeof may, &may) != 0) return;
    count = CPU_COUNT(&may);
    if (milli <= 0 || wanted >= count) return;
    CPU_ZERO(&set);
    int first = (int)((number - 1) * wanted % count), seen = 0;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        if (!CPU_ISSET(cpu, &may)) continue;
        int place = (seen++ - first + count) % count;
        if (place < wanted) CPU_SET(cpu, &set);
    }
    MYR_IGNORE(sched_setaffinity(0, sizeof set, &set) != 0); /* where it may not, it runs where it can */
}

/* It ends with its parent; false: which was gone before that. */
static bool child_bind(pid_t parent)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    return getppid() == parent;
}

_Noreturn static void child_run(const myr_worker_opts *opts, const myr_worker *worker, int fd, int output, pid_t parent)
{
    struct rlimit none = {0};
    sigset_t signals;
    sigemptyset(&signals);
    sigprocmask(SIG_SETMASK, &signals, NULL);
    signal(SIGPIPE, SIG_DFL);
    setpgid(0, 0);
    if (!child_bind(parent)) _exit(125);
    int null = open(opts->input_path != NULL ? opts->input_path : "/dev/null", O_RDONLY);
    /* Above the places that they go to, so that none overwrites another. */
    int from = fcntl(fd, F_DUPFD, 16), to = fcntl(output, F_DUPFD, 16);
    if (null < 0 || from < 0 || to < 0 || dup2(null, 0) < 0 || dup2(to, 1) < 0 || dup2(to, 2) < 0 ||
        dup2(from, MYR_WORKER_FD) < 0) {
        _exit(125);
    }
    close_range(MYR_WORKER_FD + 1, ~0u, 0);
    MYR_IGNORE(setrlimit(RLIMIT_CORE, &none));
    if (!myr_cgroup_enter(&worker->groups)) _exit(123);
    if (worker->groups.memory[0] == '\0') child_limit(RLIMIT_AS, opts->memory_bytes_max);
    if (worker->groups.cpu[0] == '\0') child_affinity(opts->cpu_milli_max, worker->number);
    child_limit(RLIMIT_FSIZE, opts->file_bytes_max);
    /* A change of who it is may take the signal of its parent's death away. */
    if (opts->is_offline && (myr_offline_enter(&worker->ids) == MYR_OFFLINE_NO || !child_bind(parent))) _exit(122);
    if (chdir(opts->dir) != 0) _exit(124);
    execve(opts->argv[0], (char *const *)(uintptr_t)opts->argv, (char *const *)(uintptr_t)opts->env);
    _exit(errno == ENOENT ? 127 : 126);
}

/* ---- start and stop ---- */

static myr_rc worker_fork(const myr_worker_opts *opts, myr_worker *worker, myr_err *err)
{
    int sockets[2], pipes[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) != 0) {
        MYR_FAIL(err, IO, "a worker's socket: %s", strerror(errno));
    }
    if (pipe2(pipes, O_CLOEXEC) != 0) {
        int error = errno;
        close(sockets[0]);
        close(sockets[1]);
        MYR_FAIL(err, IO, "a worker's pipe: %s", strerror(error));
    }
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) child_run(opts, worker, sockets[1], pipes[1], parent);
    int error = errno;
    close(sockets[1]);
    close(pipes[1]);
    worker->fd = sockets[0];
    worker->output = pipes[0];
    if (pid < 0) MYR_FAIL(err, NO_MEMORY, "a worker can't be started: %s", strerror(error));
    worker->pid = pid;
    setpgid(pid, pid); /* here too: whoever comes first */
    fcntl(worker->fd, F_SETFL, O_NONBLOCK);
    fcntl(worker->output, F_SETFL, O_NONBLOCK);
    return MYR_OK;
}

/*
 * The kernel's death signal comes when the thread that forked ends, whatever the process does. So one thread of the
 * process forks for all, and lives as long as the process.
 */
typedef struct worker_job {
    const myr_worker_opts *opts;
    myr_worker *worker;
    myr_err *err;
    myr_rc rc;
    bool is_done;
} worker_job;

static myr_mutex spawner_lock = MYR_MUTEX_INIT; /* guards what follows */
static myr_cond spawner_changed;
static pid_t spawner_pid; /* whose thread it is: a process that was forked has none yet */
static worker_job *spawner_job;

static void *spawner_main(void *arg)
{
    (void)arg;
    myr_mutex_lock(&spawner_lock);
    for (;;) {
        while (spawner_job == NULL || spawner_job->is_done)
            myr_cond_wait(&spawner_changed, &spawner_lock);
        spawner_job->rc = worker_fork(spawner_job->opts, spawner_job->worker, spawner_job->err);
        spawner_job->is_done = true;
        myr_cond_broadcast(&spawner_changed);
    }
    return NULL;
}

static myr_rc spawner_begin(myr_err *err)
{
    myr_thread thread;
    if (spawner_pid == getpid()) return MYR_OK;
    myr_cond_init(&spawner_changed);
    spawner_job = NULL;
    MYR_TRY(myr_thread_start(&thread, "spawner", spawner_main, NULL, err)); /* waits for the lock; never joined */
    spawner_pid = getpid();
    return MYR_OK;
}

static myr_rc spawner_fork(const myr_worker_opts *opts, myr_worker *worker, myr_err *err)
{
    worker_job job = {.opts = opts, .worker = worker, .err = err};
    myr_mutex_lock(&spawner_lock);
    myr_rc rc = spawner_begin(err);
    while (rc == MYR_OK && spawner_job != NULL)
        myr_cond_wait(&spawner_changed, &spawner_lock);
    if (rc == MYR_OK) {
        spawner_job = &job;
        myr_cond_broadcast(&spawner_changed);
        while (!job.is_done)
            myr_cond_wait(&spawner_changed, &spawner_lock);
        spawner_job = NULL;
        myr_cond_broadcast(&spawner_changed);
        rc = job.rc;
    }
    myr_mutex_unlock(&spawner_lock);
    return rc;
}

static atomic_llong worker_numbers;

void myr_worker_holds(const myr_worker_opts *opts, myr_hold *out_memory, myr_hold *out_cpu)
{
    const myr_cgroup *place = opts->cgroup;
    myr_hold group = place == NULL || place->version != 2 ? MYR_HOLD_CGROUP1 : MYR_HOLD_CGROUP2;
    bool has_memory = place != NULL && place->memory[0] != '\0', has_cpu = place != NULL && place->cpu[0] != '\0';
    *out_memory = opts->memory_bytes_max <= 0 ? MYR_HOLD_NONE : has_memory ? group : MYR_HOLD_RLIMIT;
    *out_cpu = opts->cpu_milli_max <= 0 ? MYR_HOLD_NONE : has_cpu ? group : MYR_HOLD_AFFINITY;
}

myr_rc myr_worker_start(const myr_worker_opts *opts, myr_worker **out, myr_err *err)
{
    if (access(opts->argv[0], X_OK) != 0) {
        MYR_FAIL(err, NOT_FOUND, "%s can't be run: %s", opts->argv[0], strerror(errno));
    }
    myr_worker *worker = myr_calloc(1, sizeof *worker);
    if (worker == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a worker");
    worker->fd = worker->output = -1;
    worker->stop = opts->stop;
    worker->number = atomic_fetch_add(&worker_numbers, 1) + 1;
    worker->memory_bytes_max = opts->memory_bytes_max;
    if (opts->is_offline) myr_offline_prepare(&worker->ids);
    myr_rc rc = MYR_OK;
    if (opts->cgroup != NULL)
        rc = myr_cgroup_open(opts->cgroup, worker->number, opts->memory_bytes_max, opts->cpu_milli_max, &worker->groups,
                             err);
    if (rc == MYR_OK) rc = spawner_fork(opts, worker, err);
    if (rc != MYR_OK) {
        myr_worker_stop(worker);
        return rc;
    }
    *out = worker;
    return MYR_OK;
}

/* Has it ended? Nobody has waited for it yet, so its number is still its own. */
static bool worker_has_ended(const myr_worker *worker)
{
    siginfo_t info = {0};
    int rc;
    do {
        rc = waitid(P_PID, (id_t)worker->pid, &info, WEXITED | WNOHANG | WNOWAIT);
    } while (rc != 0 && errno == EINTR);
    return rc != 0 || info.si_pid == worker->pid; /* a failure: somebody else has waited for it */
}

/*
 * Wait until it is gone, which it is about to be. What it has started goes with it, and before it is waited for: from
 * then on another process may have its number.
 */
static void worker_reap(myr_worker *worker, int wait_ms)
{
    if (worker->pid == 0) return;
    for (int waited_ms = 0; waited_ms < wait_ms; waited_ms++) {
        if (worker_has_ended(worker)) {
            kill(-worker->pid, SIGKILL);
            while (waitpid(worker->pid, &worker->status, 0) < 0 && errno == EINTR)
                continue;
            worker->pid = 0;
            return;
        }
        usleep(1000);
    }
}

void myr_worker_stop(myr_worker *worker)
{
    if (worker == NULL) return;
    if (worker->pid != 0) {
        kill(-worker->pid, SIGKILL); /* what it has started too */
        kill(worker->pid, SIGKILL);
        worker_reap(worker, WORKER_GONE_MS);
    }
    myr_cgroup_close(&worker->groups);
    if (worker->fd >= 0) close(worker->fd);
    if (worker->output >= 0) close(worker->output);
    myr_free(worker);
}

int64_t myr_worker_pid(const myr_worker *worker)
{
    return worker->pid;
}

bool myr_worker_is_alive(myr_worker *worker)
{
    char byte;
    ssize_t got = recv(worker->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    bool is_silent = got < 0 && (errno == EAGAIN || errno == EINTR); /* 0: its end; a byte: nobody has asked for it */
    return is_silent && !worker_has_ended(worker);                   /* what it has started may hold its socket */
}

/* ---- what it says ---- */

/* Keep the last of what it wrote. */
static void worker_drain(myr_worker *worker)
{
    char part[1024];
    for (int i = 0; i < 64; i++) { /* one that writes without end is not followed for ever */
        ssize_t got = read(worker->output, part, sizeof part);
        if (got <= 0) return;
        size_t size = (size_t)got, room = sizeof worker->tail;
        size_t keep = worker->tail_bytes + size > room ? room - size : worker->tail_bytes;
        memmove(worker->tail, worker->tail + worker->tail_bytes - keep, keep);
        memcpy(worker->tail + keep, part, size);
        worker->tail_bytes = keep + size;
    }
}

/* The last line that says something. */
static myr_str worker_last_line(const myr_worker *worker)
{
    myr_str rest = myr_str_make(worker->tail, worker->tail_bytes), line, last = {"", 0};
    while (myr_str_split(&rest, '\n', &line)) {
        line = myr_str_trim(line);
        if (line.size > 0) last = line;
    }
    if (last.size > 120) last = myr_str_make(last.data, 120);
    return last;
}

static myr_rc worker_ended(myr_worker *worker, myr_err *err)
{
    worker_reap(worker, WORKER_LAST_MS);               /* its socket is closed: it is ending … */
    if (worker->pid != 0) kill(-worker->pid, SIGKILL); /* … or does now */
    worker_reap(worker, WORKER_GONE_MS);
    worker_drain(worker);
    myr_str line = worker_last_line(worker);
    const char *colon = line.size > 0 ? ": " : "";
    int status = worker->status;
    if (myr_cgroup_ran_out(&worker->groups)) {
        MYR_FAIL(err, UNAVAILABLE, "it needed more memory than its %lld bytes, and the kernel ended it",
                 (long long)worker->memory_bytes_max);
    }
    if (WIFSIGNALED(status)) {
        MYR_FAIL(err, UNAVAILABLE, "it was ended by signal %d (%s)%s" MYR_STR_FMT, WTERMSIG(status),
                 strsignal(WTERMSIG(status)), colon, MYR_STR_ARG(line));
    }
    MYR_FAIL(err, UNAVAILABLE, "it ended with exit code %d%s" MYR_STR_FMT, WEXITSTATUS(status), colon,
             MYR_STR_ARG(line));
}

/* Wait for the socket; what is written meanwhile is read. Its end shows there, but for one whose children hold it. */
static myr_rc worker_wait(myr_worker *worker, short events, int64_t deadline_ns, myr_err *err)
{
    for (;;) {
        int64_t left_ms = (deadline_ns - myr_clock_mono_ns()) / 1000000;
        if (left_ms <= 0) MYR_FAIL(err, TIMEOUT, "it has not answered in time");
        if (worker->stop != NULL && atomic_load(worker->stop))
            MYR_FAIL(err, UNAVAILABLE, "it is not waited for any more");
        struct pollfd fds[] = {{.fd = worker->fd, .events = events}, {.fd = worker->output, .events = POLLIN}};
        int got = poll(fds, worker->output >= 0 ? 2 : 1, left_ms > WORKER_LOOK_MS ? WORKER_LOOK_MS : (int)left_ms);
        if (got < 0 && errno != EINTR) MYR_FAIL(err, IO, "poll: %s", strerror(errno));
        /* Looked at again: its last words may have come between the two. */
        if (got == 0 && worker_has_ended(worker) && poll(fds, 1, 0) == 0) return worker_ended(worker, err);
        if (got <= 0) continue;
        if (fds[1].revents != 0) worker_drain(worker);
        if ((fds[1].revents & POLLHUP) != 0 && (fds[1].revents & POLLIN) == 0) {
            close(worker->output); /* nobody writes any more: poll would say so without end */
            worker->output = -1;
        }
        if (fds[0].revents != 0) return MYR_OK;
    }
}

static myr_rc worker_write(myr_worker *worker, const char *data, size_t size, int64_t deadline_ns, myr_err *err)
{
    while (size > 0) {
        ssize_t sent = send(worker->fd, data, size, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent > 0) {
            data += sent;
            size -= (size_t)sent;
        } else if (sent < 0 && (errno == EAGAIN || errno == EINTR)) {
            MYR_TRY(worker_wait(worker, POLLOUT, deadline_ns, err));
        } else {
            return worker_ended(worker, err);
        }
    }
    return MYR_OK;
}

static myr_rc worker_read(myr_worker *worker, char *data, size_t size, int64_t deadline_ns, myr_err *err)
{
    while (size > 0) {
        ssize_t got = recv(worker->fd, data, size, MSG_DONTWAIT);
        if (got > 0) {
            data += got;
            size -= (size_t)got;
        } else if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
            MYR_TRY(worker_wait(worker, POLLIN, deadline_ns, err));
        } else {
            return worker_ended(worker, err);
        }
    }
    return MYR_OK;
}

static uint32_t prefix_size(const unsigned char prefix[WORKER_PREFIX_BYTES])
{
    return (uint32_t)prefix[0] | (uint32_t)prefix[1] << 8 | (uint32_t)prefix[2] << 16 | (uint32_t)prefix[3] << 24;
}

myr_rc myr_worker_ask(myr_worker *worker, const myr_buf *request, int64_t deadline_ns, myr_buf *answer, myr_err *err)
{
    unsigned char prefix[WORKER_PREFIX_BYTES];
    myr_buf_clear(answer);
    if (request != NULL) {
        if (request->size > MYR_WORKER_FRAME_BYTES_MAX) {
            MYR_FAIL(err, TOO_LARGE, "a request of %zu bytes to a worker, at most %d", request->size,
                     MYR_WORKER_FRAME_BYTES_MAX);
        }
        for (int i = 0; i < WORKER_PREFIX_BYTES; i++)
            prefix[i] = (unsigned char)(request->size >> (8 * i));
        MYR_TRY(worker_write(worker, (const char *)prefix, sizeof prefix, deadline_ns, err));
        MYR_TRY(worker_write(worker, request->data, request->size, deadline_ns, err));
    }
    MYR_TRY(worker_read(worker, (char *)prefix, sizeof prefix, deadline_ns, err));
    size_t size = prefix_size(prefix);
    if (size > MYR_WORKER_FRAME_BYTES_MAX) {
        MYR_FAIL(err, TOO_LARGE, "it answers %zu bytes, at most %d are taken", size, MYR_WORKER_FRAME_BYTES_MAX);
    }
    for (size_t done = 0; done < size;) { /* a length alone takes no memory */
        char part[16384];
        size_t next = size - done < sizeof part ? size - done : sizeof part;
        MYR_TRY(worker_read(worker, part, next, deadline_ns, err));
        myr_buf_append(answer, part, next);
        done += next;
    }
    return myr_buf_check(answer, err);
}

void myr_worker_end(myr_worker *worker, int64_t wait_ms)
{
    int64_t until_ns = myr_clock_mono_ns() + wait_ms * 1000000;
    if (worker == NULL) return;
    MYR_IGNORE(shutdown(worker->fd, SHUT_WR) != 0); /* it has closed its end: then it is ending */
    while (worker->pid != 0 && !worker_has_ended(worker) && myr_clock_mono_ns() < until_ns) {
        if (worker->output >= 0) worker_drain(worker); /* its last words are not what it waits for */
        usleep(WORKER_END_US);
    }
    myr_worker_stop(worker);
}

/* ---- a program to its end ---- */

myr_rc myr_process_run(const myr_worker_opts *opts, int64_t timeout_ms, myr_buf *tail, myr_err *err)
{
    myr_worker *worker;
    int64_t deadline_ns = myr_clock_mono_ns() + timeout_ms * 1000000;
    char byte;
    myr_err how = {0};
    MYR_TRY(myr_worker_start(opts, &worker, err));
    myr_rc rc = worker_read(worker, &byte, 1, deadline_ns, &how); /* its socket ends with it: UNAVAILABLE says how */
    bool is_good =
        rc == MYR_UNAVAILABLE && worker->pid == 0 && WIFEXITED(worker->status) && WEXITSTATUS(worker->status) == 0;
    if (tail != NULL) myr_buf_append(tail, worker->tail, worker->tail_bytes);
    myr_worker_stop(worker);
    if (rc == MYR_OK) MYR_FAIL(err, INTERNAL, "%s answers, which it was not asked to", opts->argv[0]);
    return is_good ? MYR_OK : myr_err_set(err, rc, how.file, how.line, "%s", how.message);
}
