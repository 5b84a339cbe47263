/*
 * Environments made and had. Programs of a venv know their own path, so it is made in place, and a mark written last
 * says that it is whole.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compute/environment.h"
#include "compute/requirements.h"

#define ENVIRONMENT_WAIT_MS 100 /* between looks at a lock that another has */

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

/* One that was made without hashes of a list that names another list is not the one that is asked for with them. */
void myr_environment_hash(const char *python, const void *requirements, size_t size, bool require_hashes,
                          char out[MYR_ENVIRONMENT_HASH_CHARS + 1])
{
    bool is_forced = require_hashes && !myr_requirements_have_hashes(myr_str_make(requirements, size));
    char hex[MYR_SHA256_HEX_BYTES], real[PATH_MAX];
    const char *path = realpath(python, real) != NULL ? real : python;
    myr_sha256 sha;
    myr_sha256_init(&sha);
    myr_sha256_add(&sha, path, strlen(path) + 1);
    myr_sha256_add(&sha, requirements, size);
    if (is_forced) myr_sha256_add(&sha, "", 1);
    myr_sha256_hex(&sha, hex);
    memcpy(out, hex, MYR_ENVIRONMENT_HASH_CHARS);
    out[MYR_ENVIRONMENT_HASH_CHARS] = '\0';
}

myr_rc myr_environment_path(char out[MYR_PATH_BYTES_MAX], const char *dir, const char *hash, const char *part,
                            myr_err *err)
{
    MYR_TRY(myr_path_join(out, MYR_PATH_BYTES_MAX, dir, hash, err));
    size_t size = strlen(out);
    if (size + strlen(part) >= MYR_PATH_BYTES_MAX) MYR_FAIL(err, BAD_INPUT, "%s: the path is too long", dir);
    memcpy(out + size, part, strlen(part) + 1);
    return MYR_OK;
}

bool myr_environment_lock_try(int fd, short type)
{
    struct flock lock = {.l_type = type, .l_whence = SEEK_SET};
    int rc;
    do {
        rc = fcntl(fd, F_OFD_SETLK, &lock);
    } while (rc != 0 && errno == EINTR);
    if (rc != 0 && errno == EACCES) errno = EAGAIN;
    return rc == 0;
}

static bool environment_stops(const myr_environment_opts *opts)
{
    return opts->stop != NULL && atomic_load(opts->stop);
}

/* What it made is what it wants; another's is still being made. */
static myr_rc environment_lock(const myr_environment_opts *opts, const char *path, short type, int64_t deadline_ns,
                               int fd, myr_err *err)
{
    while (!myr_environment_lock_try(fd, type)) {
        if (errno != EAGAIN) MYR_FAIL(err, IO, "%s: %s", path, strerror(errno));
        if (myr_clock_mono_ns() >= deadline_ns || opts->only_found || environment_stops(opts))
            MYR_FAIL(err, BUSY, "its environment is still being made: ask again");
        myr_clock_sleep_ms(ENVIRONMENT_WAIT_MS);
    }
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
    MYR_AUTO(myr_buf) tail = {0};
    int64_t left_ms = (deadline_ns - myr_clock_mono_ns()) / 1000000;
    myr_rc rc = myr_process_run(&worker, left_ms > 1 ? left_ms : 1, &tail, err);
    if (rc == MYR_UNAVAILABLE) MYR_TRY(myr_requirements_explain(myr_str_make(tail.data, tail.size), err));
    return rc == MYR_OK ? MYR_OK : myr_err_prefix(err, rc, "its environment can't be made (%s): ", what);
}

typedef struct environment_place {
    char path[MYR_PATH_BYTES_MAX], lock[MYR_PATH_BYTES_MAX], mark[MYR_PATH_BYTES_MAX], list[MYR_PATH_BYTES_MAX];
    char *requirements; /* the text */
    size_t requirements_size;
    bool is_hashed;
} environment_place;

static void environment_place_drop(environment_place *place)
{
    myr_free(place->requirements);
}

static myr_rc environment_find(const myr_environment_opts *opts, environment_place *out, myr_err *err)
{
    char hash[MYR_ENVIRONMENT_HASH_CHARS + 1];
    MYR_TRY(myr_file_read(opts->requirements, ENVIRONMENT_FILE_MAX, &out->requirements, &out->requirements_size, err));
    const char *slash = strrchr(opts->requirements, '/');
    MYR_TRY(myr_requirements_check(slash != NULL ? slash + 1 : opts->requirements,
                                   myr_str_make(out->requirements, out->requirements_size), opts->require_hashes,
                                   &out->is_hashed, err));
    myr_environment_hash(opts->python, out->requirements, out->requirements_size, opts->require_hashes, hash);
    MYR_TRY(myr_environment_path(out->path, opts->dir, hash, "", err));
    MYR_TRY(myr_environment_path(out->lock, opts->dir, hash, ENVIRONMENT_LOCK, err));
    MYR_TRY(myr_environment_path(out->mark, opts->dir, hash, ENVIRONMENT_MARK, err));
    return myr_environment_path(out->list, opts->dir, hash, ENVIRONMENT_LIST, err);
}

static myr_rc environment_fill(const myr_environment_opts *opts, const environment_place *place, const char *python,
                               int64_t deadline_ns, myr_err *err)
{
    const char *const venv[] = {opts->python, "-m", "venv", place->path, NULL};
    MYR_TRY(environment_step(opts, venv, deadline_ns, "venv", err));
    const char *const pip[] = {python,
                               "-m",
                               "pip",
                               "install",
                               "--quiet",
                               "-r",
                               opts->requirements,
                               place->is_hashed ? "--require-hashes" : NULL,
                               NULL};
    return environment_step(opts, pip, deadline_ns, "pip", err);
}

/* Under the exclusive lock. */
static myr_rc environment_make(const myr_environment_opts *opts, const environment_place *place, const char *python,
                               int64_t deadline_ns, myr_err *err)
{
    char text[32];
    int64_t bytes = 0;
    MYR_TRY(myr_io_remove_tree(place->path, err)); /* what a killed one left */
    myr_rc rc = environment_fill(opts, place, python, deadline_ns, err);
    if (rc != MYR_OK) {
        MYR_IGNORE(myr_io_remove_tree(place->path, NULL)); /* or the next sweep */
        return rc;
    }
    MYR_TRY(myr_file_write(place->list, place->requirements, place->requirements_size, err));
    MYR_TRY(myr_io_sync_all(place->path, err)); /* a mark that outlives a power cut says that the rest does */
    MYR_TRY(myr_io_measure_tree(place->path, &bytes, err));
    int size = snprintf(text, sizeof text, "%lld\n", (long long)bytes);
    return myr_file_write(place->mark, text, (size_t)size, err);
}

/* It is there and ours, shared; or we are alone with its place. */
static myr_rc environment_enter(const myr_environment_opts *opts, const environment_place *place, int64_t deadline_ns,
                                int fd, bool *out_whole, myr_err *err)
{
    MYR_TRY(environment_lock(opts, place->lock, F_RDLCK, deadline_ns, fd, err));
    *out_whole = myr_io_exists(place->mark);
    if (*out_whole) return MYR_OK;
    if (opts->only_found) MYR_FAIL(err, BUSY, "its environment is still being made: ask again");
    /* Given back first: two who both keep theirs would wait for one another. */
    if (!myr_environment_lock_try(fd, F_UNLCK)) MYR_FAIL(err, IO, "%s: %s", place->lock, strerror(errno));
    MYR_TRY(environment_lock(opts, place->lock, F_WRLCK, deadline_ns, fd, err));
    *out_whole = myr_io_exists(place->mark); /* somebody was before */
    return MYR_OK;
}

static myr_rc environment_open(const myr_environment_opts *opts, myr_environment *out, myr_err *err)
{
    MYR_AUTO(environment_place) place = {0};
    int64_t deadline_ns = myr_clock_mono_ns() + opts->timeout_ms * 1000000;
    bool is_whole = false;
    if (opts->requirements == NULL) return myr_path_join(out->python, sizeof out->python, "", opts->python, err);
    MYR_TRY(environment_find(opts, &place, err));
    MYR_TRY(myr_io_mkdirs(opts->dir, err));
    MYR_TRY(myr_path_join(out->python, sizeof out->python, place.path, "bin/python", err));
    out->lock = open(place.lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (out->lock < 0) MYR_FAIL(err, IO, "%s: %s", place.lock, strerror(errno));
    MYR_TRY(environment_enter(opts, &place, deadline_ns, out->lock, &is_whole, err));
    if (!is_whole) MYR_TRY(environment_make(opts, &place, out->python, deadline_ns, err));
    if (!myr_environment_lock_try(out->lock, F_RDLCK)) MYR_FAIL(err, IO, "%s: %s", place.lock, strerror(errno));
    MYR_IGNORE(futimens(out->lock, NULL)); /* when it was had last */
    if (!is_whole && opts->bytes_max > 0) {
        const myr_environment_prune room = {.by_size = true, .bytes_max = opts->bytes_max};
        MYR_IGNORE(myr_environment_remove(opts->dir, &room, NULL, NULL, NULL)); /* the next one tries again */
    }
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
