/* A second name for a file, and when a file was last used: what a cache of files is made of. */
#include "base/link.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/io_call.h"

myr_rc myr_io_link(const char *from, const char *to, myr_err *err)
{
    if (!myr_io_allows(MYR_IO_RENAME, to) || link(from, to) != 0) {
        int error = errno;
        char text[128];
        if (error == EXDEV || error == EPERM || error == EMLINK || error == ENOTSUP || error == ENOSYS)
            MYR_FAIL(err, UNSUPPORTED, "%s: the file system gives no second name for %s", to, from);
        return myr_err_set(err, myr_rc_from_errno(error), __FILE__, __LINE__, "cannot link %s to %s: %s", from, to,
                           strerror_r(error, text, sizeof text));
    }
    return MYR_OK;
}

myr_rc myr_io_set_used(const char *path, int64_t unix_ms, myr_err *err)
{
    const struct timespec times[2] = {{.tv_sec = unix_ms / 1000, .tv_nsec = unix_ms % 1000 * 1000000},
                                      {.tv_nsec = UTIME_OMIT}};
    if (!myr_io_allows(MYR_IO_STAT, path) || utimensat(AT_FDCWD, path, times, 0) != 0)
        return myr_io_fail("set the time of", path, errno, err);
    return MYR_OK;
}

myr_rc myr_io_used(const char *path, int64_t *out_unix_ms, int64_t *out_bytes, myr_err *err)
{
    struct stat st;
    if (!myr_io_allows(MYR_IO_STAT, path) || stat(path, &st) != 0) return myr_io_fail("look at", path, errno, err);
    *out_unix_ms = (int64_t)st.st_atim.tv_sec * 1000 + st.st_atim.tv_nsec / 1000000;
    *out_bytes = st.st_size;
    return MYR_OK;
}
