/*
 * Environments: <dir>/<hash> is a venv, <dir>/<hash>.lock says who has it: exclusive while it is made or removed,
 * shared while it is used. Programs of a venv know their own path, so it is made in place, and a mark written last says
 * that it is whole.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compute/compute.h"

#define ENVIRONMENT_HASH_CHARS 24
#define ENVIRONMENT_FILE_MAX   (1 << 20) /* a list of requirements */
#define ENVIRONMENT_MARK       ".complete"
#define ENVIRONMENT_LOCK       ".lock"
#define ENVIRONMENT_WAIT_MS    100 /* between looks at a lock that another has */

struct myr_environment {
    int lock;
    char python[MYR_PATH_BYTES_MAX];
};

myr_rc myr_program_find(const char *name, char *out, size_t out_bytes, myr_err *err)
{
    const char *path = getenv("PATH");
    myr_str rest = myr_str_of(path != NULL ? path : "/usr/local/bin:/usr/bin:/bin"), part;
    if (strchr(name, '/') != NULL) {
        if (access(name, X_OK) != 0) MYR_FAIL(err, NOT_FOUND, "%s can't be run: %s", name, strerror(errno));
        return myr_path_join(out, out_bytes, "", name, err);
    }
    while (myr_str_split(&rest, ':', &part)) {
        int size = snprintf(out, out_bytes, "%.*s/%s", (int)part.size, part.data, name);
        if (part.size > 0 && size > 0 && (size_t)size < out_bytes && access(out, X_OK) == 0) return MYR_OK;
    }
    MYR_FAIL(err, NOT_FOUND, "there is no program %s in PATH", name);
}

/* What it is called: requirements, the Python that makes it. */
static myr_rc environment_hash(const myr_environment_opts *opts, char out[ENVIRONMENT_HASH_CHARS + 1], myr_err *err)
{
    MYR_AUTO(myr_mem) text = NULL;
    size_t size = 0;
    char hex[MYR_SHA256_HEX_BYTES], real[PATH_MAX];
    MYR_TRY(myr_file_read(opts->requirements, ENVIRONMENT_FILE_MAX, (char **)&text, &size, err));
    const char *python = realpath(opts->python, real) != NULL ? real : opts->python;
    myr_sha256 sha;
    myr_sha256_init(&sha);
    myr_sha256_add(&sha, python, strlen(python) + 1);
    myr_sha256_add(&sha, text, size);
    myr_sha256_hex(&sha, hex);
    memcpy(out, hex, ENVIRONMENT_HASH_CHARS);
    out[ENVIRONMENT_HASH_CHARS] = '\0';
    return MYR_OK;
}

static bool environment_stops(const myr_environment_opts *opts)
{
    return opts->stop != NULL && atomic_load(opts->stop);
}

static myr_rc environment_lock(const myr_environment_opts *opts, const char *path, int how, int64_t deadline_ns,
                               int *out, myr_err *err)
{
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) MYR_FAIL(err, IO, "%s: %s", path, strerror(errno));
    while (flock(fd, how | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK && errno != EINTR) {
            int error = errno;
            close(fd);
            MYR_FAIL(err, IO, "%s: %s", path, strerror(error));
        }
        if (myr_clock_mono_ns() >= deadline_ns || opts->only_found || environment_stops(opts)) {
            close(fd);
            MYR_FAIL(err, BUSY, "its environment is still being made: ask again");
        }
        myr_clock_sleep_ms(ENVIRONMENT_WAIT_MS);
    }
    *out = fd;
    return MYR_OK;
}

static myr_rc environment_step(const myr_environment_opts *opts, const char *const *argv, int64_t deadline_ns,
                               const char *what, myr_err *err)
{
    char dir[MYR_PATH_BYTES_MAX], home[MYR_PATH_BYTES_MAX + 8], path[MYR_PATH_BYTES_MAX + 8];
    const char *env_home = getenv("HOME"), *env_path = getenv("PATH");
    snprintf(home, sizeof home, "HOME=%s", env_home != NULL ? env_home : "/");
    snprintf(path, sizeof path, "PATH=%s", env_path != NULL ? env_path : "/usr/bin:/bin");
    const char *const env[] = {home, path, "LANG=C.UTF-8", "PIP_NO_INPUT=1", "PIP_DISABLE_PIP_VERSION_CHECK=1", NULL};
    myr_path_dir(opts->requirements, dir, sizeof dir);
    myr_worker_opts worker = {.argv = argv, .env = env, .dir = dir, .stop = opts->stop};
    int64_t left_ms = (deadline_ns - myr_clock_mono_ns()) / 1000000;
    myr_rc rc = myr_process_run(&worker, left_ms > 1 ? left_ms : 1, err);
    return rc == MYR_OK ? MYR_OK : myr_err_prefix(err, rc, "its environment can't be made (%s): ", what);
}

static bool environment_is_whole(const char *path)
{
    char mark[MYR_PATH_BYTES_MAX];
    return myr_path_join(mark, sizeof mark, path, ENVIRONMENT_MARK, NULL) == MYR_OK && myr_io_exists(mark);
}

/* Under the exclusive lock. */
static myr_rc environment_make(const myr_environment_opts *opts, const char *path, const char *python,
                               int64_t deadline_ns, myr_err *err)
{
    char mark[MYR_PATH_BYTES_MAX];
    if (environment_is_whole(path)) return MYR_OK; /* somebody was before */
    MYR_TRY(myr_path_join(mark, sizeof mark, path, ENVIRONMENT_MARK, err));
    MYR_TRY(myr_io_remove_tree(path, err)); /* what a killed one left */
    const char *const venv[] = {opts->python, "-m", "venv", path, NULL};
    MYR_TRY(environment_step(opts, venv, deadline_ns, "venv", err));
    const char *const pip[] = {python, "-m", "pip", "install", "--quiet", "-r", opts->requirements, NULL};
    MYR_TRY(environment_step(opts, pip, deadline_ns, "pip", err));
    MYR_TRY(myr_io_sync_all(path, err)); /* a mark that outlives a power cut says that the rest does */
    return myr_file_write(mark, "", 0, err);
}

static myr_rc environment_open(const myr_environment_opts *opts, myr_environment *out, myr_err *err)
{
    char hash[ENVIRONMENT_HASH_CHARS + 1], path[MYR_PATH_BYTES_MAX], lock[MYR_PATH_BYTES_MAX];
    int64_t deadline_ns = myr_clock_mono_ns() + opts->timeout_ms * 1000000;
    if (opts->requirements == NULL) return myr_path_join(out->python, sizeof out->python, "", opts->python, err);
    MYR_TRY(environment_hash(opts, hash, err));
    MYR_TRY(myr_io_mkdirs(opts->dir, err));
    MYR_TRY(myr_path_join(path, sizeof path, opts->dir, hash, err));
    MYR_TRY(myr_path_join(out->python, sizeof out->python, path, "bin/python", err));
    if ((size_t)snprintf(lock, sizeof lock, "%s" ENVIRONMENT_LOCK, path) >= sizeof lock) {
        MYR_FAIL(err, BAD_INPUT, "%s: the path is too long", path);
    }
    MYR_TRY(environment_lock(opts, lock, LOCK_SH, deadline_ns, &out->lock, err));
    if (environment_is_whole(path)) return MYR_OK;
    close(out->lock);
    out->lock = -1;
    if (opts->only_found) MYR_FAIL(err, BUSY, "its environment is still being made: ask again");
    MYR_TRY(environment_lock(opts, lock, LOCK_EX, deadline_ns, &out->lock, err));
    MYR_TRY(environment_make(opts, path, out->python, deadline_ns, err));
    /* From one to the other there is a moment without: what a sweep removed in it is made again by the next. */
    if (flock(out->lock, LOCK_SH) != 0) MYR_FAIL(err, IO, "%s: %s", lock, strerror(errno));
    MYR_IGNORE(futimens(out->lock, NULL)); /* when it was had last */
    return MYR_OK;
}

myr_rc myr_environment_acquire(const myr_environment_opts *opts, myr_environment **out, myr_err *err)
{
    myr_environment *environment = myr_calloc(1, sizeof *environment);
    if (environment == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for an environment");
    environment->lock = -1;
    myr_rc rc = environment_open(opts, environment, err);
    if (rc != MYR_OK) {
        myr_environment_release(environment);
        return rc;
    }
    *out = environment;
    return MYR_OK;
}

const char *myr_environment_python(const myr_environment *environment)
{
    return environment->python;
}

void myr_environment_release(myr_environment *environment)
{
    if (environment == NULL) return;
    if (environment->lock >= 0) {
        MYR_IGNORE(futimens(environment->lock, NULL));
        close(environment->lock);
    }
    myr_free(environment);
}

/* Without its mark first, and for good: what is half removed must be whole for nobody. */
static myr_rc sweep_remove(const char *path)
{
    char mark[MYR_PATH_BYTES_MAX];
    MYR_TRY(myr_path_join(mark, sizeof mark, path, ENVIRONMENT_MARK, NULL));
    myr_rc rc = myr_io_unlink(mark, NULL);
    if (rc != MYR_OK && rc != MYR_NOT_FOUND) return rc;
    MYR_TRY(myr_io_sync_dir(path, NULL));
    return myr_io_remove_tree(path, NULL);
}

static void sweep_one(const char *dir, const char *name, int64_t keep_ms)
{
    char path[MYR_PATH_BYTES_MAX];
    struct stat st;
    if (!myr_str_ends_with(myr_str_of(name), ENVIRONMENT_LOCK)) return;
    if (myr_path_join(path, sizeof path, dir, name, NULL) != MYR_OK || stat(path, &st) != 0) return;
    if (myr_clock_unix_ms() - ((int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000) < keep_ms) return;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) { /* nobody has it. The lock file stays: another may be waiting for it */
        path[strlen(path) - strlen(ENVIRONMENT_LOCK)] = '\0';
        MYR_IGNORE(sweep_remove(path)); /* the next sweep goes on */
    }
    close(fd);
}

void myr_environment_sweep(const char *dir, int64_t keep_ms)
{
    char **names;
    size_t count;
    if (myr_io_list(dir, &names, &count, NULL) != MYR_OK) return;
    for (size_t i = 0; i < count; i++)
        sweep_one(dir, names[i], keep_ms);
    myr_names_free(names, count);
}
