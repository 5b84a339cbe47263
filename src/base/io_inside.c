/*
 * A file that another file names, looked for beside it and nowhere else: the name is judged as a text first, then the
 * place that it leads to, links followed, must be below the directory.
 */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/bounds.h"
#include "base/io_call.h"

static bool inside_name_is_plain(const char *name)
{
    myr_str rest = myr_str_of(name), part;
    if (name[0] == '\0' || name[0] == '/' || strchr(name, '\\') != NULL) return false;
    while (myr_str_split(&rest, '/', &part)) {
        if (part.size == 0 || myr_str_is(part, ".") || myr_str_is(part, "..")) return false;
    }
    return true;
}

_Static_assert(MYR_PATH_BYTES_MAX >= PATH_MAX, "realpath fits");

/* With links followed. */
static myr_rc inside_real(const char *path, char out[MYR_PATH_BYTES_MAX], myr_err *err)
{
    if (myr_io_allows(MYR_IO_STAT, path) && realpath(path, out) != NULL) return MYR_OK;
    return myr_io_fail("find", path, errno, err);
}

static myr_rc inside_check(const char *real_dir, const char *real, const char *name, char *out, size_t out_bytes,
                           myr_err *err)
{
    size_t dir_size = strlen(real_dir), size = strlen(real);
    if (dir_size == 1) dir_size = 0; /* the root ends in its slash */
    struct stat st;
    if (strncmp(real, real_dir, dir_size) != 0 || real[dir_size] != '/') {
        MYR_FAIL(err, DENIED, "'%.80s' is a link that leads out of %.100s", name, real_dir);
    }
    if (!myr_io_allows(MYR_IO_STAT, real) || stat(real, &st) != 0) return myr_io_fail("look at", real, errno, err);
    if (!S_ISREG(st.st_mode)) MYR_FAIL(err, BAD_INPUT, "%.180s is not a regular file", real);
    if (size >= out_bytes) MYR_FAIL(err, BAD_INPUT, "path of %zu bytes is too long: %.100s…", size, real);
    memcpy(out, real, size + 1);
    return MYR_OK;
}

myr_rc myr_path_inside(const char *dir, const char *name, char *out, size_t out_bytes, myr_err *err)
{
    char path[MYR_PATH_BYTES_MAX], real_dir[MYR_PATH_BYTES_MAX], real[MYR_PATH_BYTES_MAX];
    if (!inside_name_is_plain(name)) {
        MYR_FAIL(err, DENIED, "'%.100s' is not the name of a file in the same directory (no '..', no absolute path)",
                 name);
    }
    MYR_TRY(myr_path_join(path, sizeof path, dir, name, err));
    MYR_TRY(inside_real(dir, real_dir, err));
    MYR_TRY(inside_real(path, real, err));
    return inside_check(real_dir, real, name, out, out_bytes, err);
}
