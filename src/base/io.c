/*
 * Files, one call at a time. Each fallible call first asks the hook, then the kernel, and reports by errno with the
 * path. What is made of several calls (whole files, trees, directories) is in io_file.c and io_tree.c.
 */
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bounds.h"
#include "base/io_call.h"

/* ---- faults, tests only: set while no other thread is in here ---- */

static myr_io_hook io_hook;
static void *io_hook_ctx;

void myr_io_set_hook(myr_io_hook hook, void *ctx)
{
    io_hook = hook;
    io_hook_ctx = ctx;
}

bool myr_io_allows(myr_io_op op, const char *path)
{
    if (io_hook == NULL) return true;
    int error = io_hook(io_hook_ctx, op, path);
    if (error == 0) return true;
    errno = error;
    return false;
}

myr_rc myr_io_fail(const char *verb, const char *path, int error, myr_err *err)
{
    char text[128];
    return myr_err_set(err, myr_rc_from_errno(error), __FILE__, __LINE__, "cannot %s %s: %s", verb, path,
                       strerror_r(error, text, sizeof text));
}

/* -1 = the environment was not asked yet. */
static _Atomic int io_sync_state = -1;

void myr_io_set_sync(bool on)
{
    atomic_store(&io_sync_state, on ? 1 : 0);
}

bool myr_io_syncs(void)
{
    int state = atomic_load_explicit(&io_sync_state, memory_order_relaxed);
    if (state < 0) {
        const char *unsafe = getenv("MYRIAD_UNSAFE_NO_SYNC");
        state = unsafe != NULL && strcmp(unsafe, "1") == 0 ? 0 : 1;
        atomic_store(&io_sync_state, state);
    }
    return state == 1;
}

/* ---- descriptors ---- */

void myr_fd_drop(myr_fd *fd)
{
    if (*fd >= 0)
        MYR_IGNORE(close(*fd)); /* nothing that must last was written, or myr_io_close would have been called */
    *fd = -1;
}

myr_rc myr_io_open(const char *path, int flags, int mode, myr_fd *out_fd, myr_err *err)
{
    int fd = -1;
    if (myr_io_allows(MYR_IO_OPEN, path)) {
        do {
            fd = open(path, flags | O_CLOEXEC, mode);
        } while (fd < 0 && errno == EINTR);
    }
    if (fd < 0) return myr_io_fail("open", path, errno, err);
    *out_fd = fd;
    return MYR_OK;
}

myr_rc myr_io_write(int fd, const char *path, const void *data, size_t size_bytes, myr_err *err)
{
    const char *left = data;
    while (size_bytes > 0) {
        ssize_t written = -1;
        if (myr_io_allows(MYR_IO_WRITE, path)) written = write(fd, left, size_bytes);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) return myr_io_fail("write", path, errno, err);
        if (written == 0) return myr_io_fail("write", path, EIO, err);
        MYR_ASSERT((size_t)written <= size_bytes);
        left += written;
        size_bytes -= (size_t)written;
    }
    return MYR_OK;
}

myr_rc myr_io_read_some(int fd, const char *path, void *data, size_t size_bytes, size_t *out_bytes, myr_err *err)
{
    ssize_t got;
    do {
        got = -1;
        if (myr_io_allows(MYR_IO_READ, path)) got = read(fd, data, size_bytes);
    } while (got < 0 && errno == EINTR);
    if (got < 0) return myr_io_fail("read", path, errno, err);
    *out_bytes = (size_t)got;
    return MYR_OK;
}

myr_rc myr_io_pread(int fd, const char *path, void *data, size_t size_bytes, int64_t offset, myr_err *err)
{
    char *left = data;
    while (size_bytes > 0) {
        ssize_t got = -1;
        if (myr_io_allows(MYR_IO_READ, path)) got = pread(fd, left, size_bytes, offset);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return myr_io_fail("read", path, errno, err);
        if (got == 0) {
            MYR_FAIL(err, IO, "cannot read %s: it ends at byte %lld, %zu bytes before the end of what was asked for",
                     path, (long long)offset, size_bytes);
        }
        MYR_ASSERT((size_t)got <= size_bytes);
        left += got;
        offset += got;
        size_bytes -= (size_t)got;
    }
    return MYR_OK;
}

myr_rc myr_io_sync(int fd, const char *path, myr_err *err)
{
    if (!myr_io_syncs()) return MYR_OK;
    /* Never again after a failure, not even after EINTR: the kernel may have dropped the pages and would say yes. */
    if (!myr_io_allows(MYR_IO_SYNC, path) || fsync(fd) != 0) return myr_io_fail("sync", path, errno, err);
    return MYR_OK;
}

myr_rc myr_io_close(myr_fd *fd, const char *path, myr_err *err)
{
    MYR_ASSERT(*fd >= 0);
    int refused = myr_io_allows(MYR_IO_CLOSE, path) ? 0 : errno;
    int failed = close(*fd); /* also when refused: Linux releases the descriptor whatever close says */
    int error = failed != 0 ? errno : 0;
    *fd = -1;
    if (refused != 0) return myr_io_fail("close", path, refused, err);
    if (error != 0 && error != EINTR) return myr_io_fail("close", path, error, err);
    return MYR_OK;
}

/* ---- names ---- */

myr_rc myr_io_rename(const char *from, const char *to, myr_err *err)
{
    if (!myr_io_allows(MYR_IO_RENAME, from) || rename(from, to) != 0) {
        int error = errno;
        char text[128];
        return myr_err_set(err, myr_rc_from_errno(error), __FILE__, __LINE__, "cannot rename %s to %s: %s", from, to,
                           strerror_r(error, text, sizeof text));
    }
    return MYR_OK;
}

myr_rc myr_io_unlink(const char *path, myr_err *err)
{
    if (!myr_io_allows(MYR_IO_UNLINK, path) || unlink(path) != 0) return myr_io_fail("remove", path, errno, err);
    return MYR_OK;
}

myr_rc myr_io_size(const char *path, int64_t *out_bytes, myr_err *err)
{
    struct stat st;
    if (!myr_io_allows(MYR_IO_STAT, path) || stat(path, &st) != 0) return myr_io_fail("look at", path, errno, err);
    *out_bytes = st.st_size;
    return MYR_OK;
}

bool myr_io_exists(const char *path)
{
    struct stat st;
    return myr_io_allows(MYR_IO_STAT, path) && stat(path, &st) == 0;
}

bool myr_io_is_dir(const char *path)
{
    struct stat st;
    return myr_io_allows(MYR_IO_STAT, path) && stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* ---- mapping ---- */

/* The size of an open file that can be mapped. */
static myr_rc io_mappable_size(int fd, const char *path, size_t *out_size, myr_err *err)
{
    struct stat st;
    if (!myr_io_allows(MYR_IO_STAT, path) || fstat(fd, &st) != 0) return myr_io_fail("look at", path, errno, err);
    if (!S_ISREG(st.st_mode)) MYR_FAIL(err, BAD_FORMAT, "%s is not a regular file", path);
    if (st.st_size == 0) MYR_FAIL(err, BAD_FORMAT, "%s is empty", path);
    *out_size = (size_t)st.st_size;
    return MYR_OK;
}

myr_rc myr_io_map(const char *path, myr_mapping *out, myr_err *err)
{
    MYR_AUTO(myr_fd) fd = -1;
    MYR_TRY(myr_io_open(path, O_RDONLY | O_NONBLOCK, 0, &fd, err)); /* a named pipe would wait for its writer */
    size_t size = 0;
    MYR_TRY(io_mappable_size(fd, path, &size, err));
    void *data = MAP_FAILED;
    if (myr_io_allows(MYR_IO_MAP, path)) data = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    if (data == MAP_FAILED) return myr_io_fail("map", path, errno, err);
    *out = (myr_mapping){.data = data, .size = size};
    return MYR_OK;
}

void myr_io_unmap(myr_mapping *mapping)
{
    if (mapping->data != NULL) {
        int failed = munmap((void *)(uintptr_t)mapping->data, mapping->size);
        MYR_ASSERT(failed == 0);
    }
    *mapping = (myr_mapping){0};
}

/* ---- lock ---- */

myr_rc myr_io_lock(const char *path, myr_fd *out_fd, myr_err *err)
{
    MYR_AUTO(myr_fd) fd = -1;
    MYR_TRY(myr_io_open(path, O_RDWR | O_CREAT, 0644, &fd, err));
    int failed = -1;
    if (myr_io_allows(MYR_IO_OPEN, path)) failed = flock(fd, LOCK_EX | LOCK_NB);
    if (failed != 0 && errno == EWOULDBLOCK) MYR_FAIL(err, BUSY, "%s is locked by another process", path);
    if (failed != 0) return myr_io_fail("lock", path, errno, err);
    *out_fd = fd;
    fd = -1; /* the caller's now */
    return MYR_OK;
}

/* ---- paths ---- */

myr_rc myr_path_join(char *out, size_t out_bytes, const char *dir, const char *name, myr_err *err)
{
    size_t dir_bytes = strlen(dir);
    bool has_dir = dir_bytes > 0;
    while (dir_bytes > 0 && dir[dir_bytes - 1] == '/')
        dir_bytes--; /* "/" becomes "" and the separator */
    if (has_dir) {
        while (*name == '/')
            name++;
    }
    size_t name_bytes = strlen(name);
    size_t slash_bytes = has_dir ? 1 : 0;
    if (dir_bytes + slash_bytes + name_bytes >= out_bytes) {
        MYR_FAIL(err, BAD_INPUT, "path of %zu bytes is too long (limit %zu): %.60s…/%.60s",
                 dir_bytes + slash_bytes + name_bytes, out_bytes - 1, dir, name);
    }
    memmove(out, dir, dir_bytes); /* out may be dir */
    if (has_dir) out[dir_bytes] = '/';
    memcpy(out + dir_bytes + slash_bytes, name, name_bytes + 1);
    return MYR_OK;
}

myr_rc myr_path_absolute(const char *path, char *out, size_t out_bytes, myr_err *err)
{
    char cwd[MYR_PATH_BYTES_MAX];
    if (path[0] == '/') return myr_path_join(out, out_bytes, "", path, err);
    if (getcwd(cwd, sizeof cwd) == NULL) MYR_FAIL(err, NOT_FOUND, "the current directory: %s", strerror(errno));
    while (path[0] == '.' && (path[1] == '/' || path[1] == '\0'))
        path += path[1] == '/' ? 2 : 1;
    return path[0] == '\0' ? myr_path_join(out, out_bytes, "", cwd, err)
                           : myr_path_join(out, out_bytes, cwd, path, err);
}

void myr_path_dir(const char *path, char *out, size_t out_bytes)
{
    MYR_ASSERT(out_bytes >= 2);
    size_t size = strlen(path);
    while (size > 1 && path[size - 1] == '/')
        size--; /* "a/b/" is b in a */
    while (size > 0 && path[size - 1] != '/')
        size--;
    while (size > 1 && path[size - 1] == '/')
        size--;
    if (size == 0) {
        memcpy(out, ".", 2);
    } else if (size >= out_bytes) {
        out[0] = '\0'; /* no such directory: the next call on it fails, instead of meeting another one */
    } else {
        memmove(out, path, size);
        out[size] = '\0';
    }
}

/* ---- randomness ---- */

static _Atomic uint64_t io_random_state; /* 0 = the kernel */

void myr_random_seed(uint64_t seed)
{
    atomic_store(&io_random_state, seed);
}

/* The next number of a seeded sequence (SplitMix64). */
static uint64_t io_random_next(void)
{
    const uint64_t step = 0x9E3779B97F4A7C15ULL;
    uint64_t x = atomic_fetch_add(&io_random_state, step) + step;
    if (x == 0) atomic_store(&io_random_state, step); /* 0 would mean the kernel */
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ULL;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBULL;
    return x ^ (x >> 31);
}

myr_rc myr_random(void *data, size_t size_bytes, myr_err *err)
{
    unsigned char *left = data;
    bool is_seeded = atomic_load(&io_random_state) != 0;
    while (size_bytes > 0) {
        ssize_t got;
        if (is_seeded) {
            uint64_t number = io_random_next();
            got = (ssize_t)(size_bytes < sizeof number ? size_bytes : sizeof number);
            memcpy(left, &number, (size_t)got);
        } else {
            got = getrandom(left, size_bytes, 0);
        }
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return myr_io_fail("read", "the kernel's randomness", errno, err);
        left += got;
        size_bytes -= (size_t)got;
    }
    return MYR_OK;
}
