/* Processes that outlive whoever started them: a gate before they run, and how others find out about them. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "compute/compute.h"

#define DETACHED_FIELD_STATE 1  /* of /proc/PID/stat behind the name: 3 in the manual */
#define DETACHED_FIELD_START 20 /* 22 in the manual */
#define DETACHED_STAT_BYTES  4096

/* ---- the child, between fork and exec: only what is safe there ---- */

_Noreturn static void child_run(const myr_detached_opts *opts, int gate)
{
    char word = 0;
    sigset_t signals;
    sigemptyset(&signals);
    sigprocmask(SIG_SETMASK, &signals, NULL);
    for (int number = 1; number < NSIG; number++)
        (void)signal(number, SIG_DFL); /* a handler of ours would write into what is not open here */
    setsid();
    ssize_t got;
    do {
        got = read(gate, &word, 1);
    } while (got < 0 && errno == EINTR);
    if (got != 1) _exit(0); /* the starter is gone, or has changed its mind */
    if (chdir(opts->dir) != 0) _exit(124);
    int null = open("/dev/null", O_RDONLY);
    int output = open(opts->output_path, O_WRONLY | O_CREAT | O_EXCL | O_APPEND, 0640);
    int error = open(opts->error_path, O_WRONLY | O_CREAT | O_APPEND, 0640);
    if (null < 0 || output < 0 || error < 0 || dup2(null, 0) < 0 || dup2(output, 1) < 0 || dup2(error, 2) < 0)
        _exit(125);
    close_range(3, ~0u, 0);
    execve(opts->argv[0], (char *const *)(uintptr_t)opts->argv, (char *const *)(uintptr_t)opts->env);
    _exit(errno == ENOENT ? 127 : 126);
}

/* ---- what the kernel says of a process ---- */

/* The n-th word behind the process' name, which may hold anything; false: no such process. */
static bool stat_words(int64_t pid, char *out_state, int64_t *out_start)
{
    char path[64];
    MYR_AUTO(myr_mem) text = NULL;
    char *data = NULL;
    size_t size = 0;
    (void)snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    if (myr_file_read(path, DETACHED_STAT_BYTES, &data, &size, NULL) != MYR_OK) return false;
    text = data;
    const char *name_end = strrchr(data, ')');
    if (name_end == NULL) return false;
    myr_str rest = myr_str_trim(myr_str_of(name_end + 1)), word;
    for (int i = 1; myr_str_split(&rest, ' ', &word); i++) {
        if (i == DETACHED_FIELD_STATE && word.size == 1) *out_state = word.data[0];
        if (i == DETACHED_FIELD_START) return myr_parse_int64(word, out_start);
    }
    return false;
}

bool myr_process_runs(int64_t pid, int64_t pid_start)
{
    char state = '?';
    int64_t start = 0;
    return pid > 0 && stat_words(pid, &state, &start) && start == pid_start && state != 'Z' && state != 'X';
}

bool myr_process_ended(int64_t pid, int64_t *out_exit)
{
    int status = 0;
    pid_t ended;
    do {
        ended = waitpid((pid_t)pid, &status, WNOHANG);
    } while (ended < 0 && errno == EINTR);
    if (ended == 0) return false;
    *out_exit = ended < 0 ? -1 : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return true;
}

void myr_process_signal(int64_t pid, int64_t pid_start, int number)
{
    if (myr_process_runs(pid, pid_start)) MYR_IGNORE(kill((pid_t)-pid, number) != 0); /* it ended just now */
}

void myr_host(const char *place, char out[MYR_HOST_BYTES])
{
    char name[65] = "localhost", boot[9] = "00000000";
    char *data = NULL;
    size_t size = 0;
    struct stat space = {0};
    if (gethostname(name, sizeof name - 1) != 0) name[0] = '\0';
    MYR_IGNORE(stat("/proc/self/ns/pid", &space) != 0); /* without it there is one */
    if (myr_file_read("/proc/sys/kernel/random/boot_id", 64, &data, &size, NULL) == MYR_OK && size >= 8)
        memcpy(boot, data, 8);
    myr_free(data);
    (void)snprintf(out, MYR_HOST_BYTES, "%s:%08x/%s-%llu", name, (unsigned)myr_hash64(place, strlen(place), 0), boot,
                   (unsigned long long)space.st_ino);
}

/* ---- start ---- */

myr_rc myr_detached_start(const myr_detached_opts *opts, myr_detached *out, myr_err *err)
{
    int gate[2];
    char state = '?';
    if (access(opts->argv[0], X_OK) != 0)
        MYR_FAIL(err, NOT_FOUND, "%s can't be run: %s", opts->argv[0], strerror(errno));
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, gate) != 0)
        MYR_FAIL(err, IO, "a process' gate: %s", strerror(errno));
    pid_t pid = fork();
    if (pid == 0) {
        close(gate[1]); /* else it would keep its own gate open */
        child_run(opts, gate[0]);
    }
    int error = errno;
    close(gate[0]);
    myr_detached process = {.pid = pid, .gate = gate[1]};
    if (pid < 0) {
        close(gate[1]);
        MYR_FAIL(err, NO_MEMORY, "%s can't be started: %s", opts->argv[0], strerror(error));
    }
    if (!stat_words(pid, &state, &process.pid_start)) {
        myr_detached_send_away(&process);
        MYR_FAIL(err, IO, "/proc/%d/stat can't be read: is /proc mounted?", (int)pid);
    }
    *out = process;
    return MYR_OK;
}

void myr_detached_let_in(myr_detached *process)
{
    MYR_ASSERT(process->gate >= 0);
    MYR_IGNORE(send(process->gate, "g", 1, MSG_NOSIGNAL) != 1); /* killed at its gate: who looks after it will see */
    close(process->gate);
    process->gate = -1;
}

void myr_detached_send_away(myr_detached *process)
{
    MYR_ASSERT(process->gate >= 0);
    close(process->gate);
    process->gate = -1;
    while (waitpid((pid_t)process->pid, NULL, 0) < 0 && errno == EINTR)
        continue;
}
