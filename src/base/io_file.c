/*
 * Whole files. Reading trusts no size that the file system tells, only the limit; writing leaves either the old file or
 * the new one, whatever happens between.
 */
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bounds.h"
#include "base/io_call.h"
#include "base/mem.h"

#define FILE_READ_BYTES_MIN 4096 /* first buffer for a file that says it is empty, as those of /proc do */
#define FILE_TMP_TRIES      100  /* temporary names that a killed process may have left */

/* ---- reading ---- */

typedef struct file_text {
    char *data;
    size_t size;
    size_t room; /* of data, without the NUL */
} file_text;

static void file_text_drop(file_text *text)
{
    myr_free(text->data);
}

static myr_rc file_set_room(file_text *text, size_t room, const char *path, myr_err *err)
{
    char *data = myr_realloc(text->data, room + 1);
    if (data == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for %zu bytes of %s", room, path);
    text->data = data;
    text->room = room;
    return MYR_OK;
}

static myr_rc file_too_large(const char *path, int64_t max_bytes, myr_err *err)
{
    MYR_FAIL(err, TOO_LARGE, "%s is larger than the limit of %lld bytes", path, (long long)max_bytes);
}

/* The first buffer: as large as the file says it is, and a byte more to see the end without growing. */
static myr_rc file_first_room(int fd, const char *path, int64_t max_bytes, file_text *text, myr_err *err)
{
    struct stat st;
    if (!myr_io_allows(MYR_IO_STAT, path) || fstat(fd, &st) != 0) return myr_io_fail("look at", path, errno, err);
    int64_t size = S_ISREG(st.st_mode) ? st.st_size : 0;
    if (size > max_bytes) return file_too_large(path, max_bytes, err);
    return file_set_room(text, size > 0 ? (size_t)size + 1 : FILE_READ_BYTES_MIN, path, err);
}

myr_rc myr_file_read(const char *path, int64_t max_bytes, char **out_data, size_t *out_size, myr_err *err)
{
    MYR_ASSERT(max_bytes >= 0 && max_bytes < INT64_MAX / 4);
    MYR_AUTO(myr_fd) fd = -1;
    MYR_TRY(myr_io_open(path, O_RDONLY, 0, &fd, err));
    MYR_AUTO(file_text) text = {0};
    MYR_TRY(file_first_room(fd, path, max_bytes, &text, err));
    for (;;) {
        if (text.size == text.room) MYR_TRY(file_set_room(&text, text.room * 2, path, err));
        size_t got = 0;
        MYR_TRY(myr_io_read_some(fd, path, text.data + text.size, text.room - text.size, &got, err));
        if (got == 0) break;
        text.size += got;
        MYR_ASSERT(text.size <= text.room);
        if (text.size > (size_t)max_bytes) return file_too_large(path, max_bytes, err);
    }
    text.data[text.size] = '\0';
    *out_data = text.data;
    *out_size = text.size;
    text.data = NULL; /* the caller's now */
    return MYR_OK;
}

/* ---- writing ---- */

/* Create a file beside path under a name that nobody has. */
static myr_rc file_open_tmp(const char *path, char tmp[MYR_PATH_BYTES_MAX], myr_fd *out_fd, myr_err *err)
{
    static atomic_uint counter;
    for (int tries = 1;; tries++) {
        unsigned number = atomic_fetch_add(&counter, 1);
        int size = snprintf(tmp, MYR_PATH_BYTES_MAX, "%s.tmp-%ld-%u", path, (long)getpid(), number);
        if (size < 0 || size >= MYR_PATH_BYTES_MAX) {
            MYR_FAIL(err, BAD_INPUT, "path of %zu bytes is too long (limit %d): %.100s…", strlen(path),
                     MYR_PATH_BYTES_MAX, path);
        }
        myr_rc rc = myr_io_open(tmp, O_WRONLY | O_CREAT | O_EXCL, 0644, out_fd, err);
        if (rc != MYR_EXISTS || tries == FILE_TMP_TRIES) return rc;
    }
}

/* All that happens to the temporary file until it has its name. */
static myr_rc file_fill_and_rename(myr_fd *fd, const char *tmp, const char *path, const void *data, size_t size_bytes,
                                   myr_err *err)
{
    MYR_TRY(myr_io_write(*fd, tmp, data, size_bytes, err));
    MYR_TRY(myr_io_sync(*fd, tmp, err));
    MYR_TRY(myr_io_close(fd, tmp, err));
    return myr_io_rename(tmp, path, err);
}

myr_rc myr_file_write(const char *path, const void *data, size_t size_bytes, myr_err *err)
{
    char tmp[MYR_PATH_BYTES_MAX];
    MYR_AUTO(myr_fd) fd = -1;
    MYR_TRY(file_open_tmp(path, tmp, &fd, err));
    myr_rc rc = file_fill_and_rename(&fd, tmp, path, data, size_bytes, err);
    if (rc != MYR_OK) {
        MYR_IGNORE(myr_io_unlink(tmp, NULL)); /* the first failure is the one to tell */
        return rc;
    }
    char dir[MYR_PATH_BYTES_MAX];
    myr_path_dir(path, dir, sizeof dir);
    return myr_io_sync_dir(dir, err);
}
