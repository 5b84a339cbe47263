/* What one attempt at a mini-batch wrote: counted when it is done, moved to its place when all are. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "batch/sink.h"

#define ATTEMPT_STEP_BYTES 65536

/* ---- counted ---- */

/* Calls itself for directories; depth bounds it. */
static myr_rc attempt_count(const char *dir, int depth, int64_t *files, int64_t *bytes, myr_err *err)
{
    if (depth > BATCH_DEPTH_MAX)
        MYR_FAIL(err, TOO_LARGE, "%s: directories are nested more than %d deep", dir, BATCH_DEPTH_MAX);
    MYR_AUTO(myr_file_names) names = {0};
    MYR_TRY(myr_io_list(dir, &names.items, &names.count, err));
    for (size_t i = 0; i < names.count; i++) {
        char path[MYR_PATH_BYTES_MAX];
        MYR_TRY(myr_path_join(path, sizeof path, dir, names.items[i], err));
        if (myr_io_is_dir(path)) {
            MYR_TRY(attempt_count(path, depth + 1, files, bytes, err));
            continue;
        }
        int64_t size = 0;
        MYR_TRY(myr_io_size(path, &size, err));
        *files += 1;
        *bytes += size;
    }
    return MYR_OK;
}

myr_rc myr_batch_attempt_count(const char *dir, int64_t *out_files, int64_t *out_bytes, myr_err *err)
{
    *out_files = *out_bytes = 0;
    return attempt_count(dir, 0, out_files, out_bytes, err);
}

/* ---- moved ---- */

/* part-0.parquet -> part-<name>.parquet, part-1.parquet -> part-<name>-1.parquet */
static myr_rc attempt_rename(const char *file, const char *name, char *out, size_t out_bytes, myr_err *err)
{
    static const char prefix[] = "part-";
    const char *number = file + strlen(prefix), *dot = strchr(file, '.');
    if (strncmp(file, prefix, strlen(prefix)) != 0 || dot == NULL || dot <= number)
        MYR_FAIL(err, INTERNAL, "a worker wrote '%s', which is no part of an output", file);
    int digits = (int)(dot - number);
    bool is_first = digits == 1 && number[0] == '0';
    int size =
        snprintf(out, out_bytes, "part-%s%s%.*s%s", name, is_first ? "" : "-", is_first ? 0 : digits, number, dot);
    if (size < 0 || (size_t)size >= out_bytes) MYR_FAIL(err, BAD_INPUT, "the name of part '%s' is too long", file);
    return MYR_OK;
}

/* Onto another file system: the name appears when the bytes are there. */
static myr_rc attempt_copy(const char *from, const char *to, myr_err *err)
{
    MYR_AUTO(myr_fd) in = -1;
    MYR_AUTO(myr_fd) out = -1;
    char temp[MYR_PATH_BYTES_MAX], step[ATTEMPT_STEP_BYTES];
    int64_t bytes = 0;
    if ((size_t)snprintf(temp, sizeof temp, "%s.tmp", to) >= sizeof temp)
        MYR_FAIL(err, BAD_INPUT, "%s: the path is too long", to);
    MYR_TRY(myr_io_size(from, &bytes, err));
    MYR_TRY(myr_io_open(from, O_RDONLY, 0, &in, err));
    MYR_TRY(myr_io_open(temp, O_WRONLY | O_CREAT | O_TRUNC, 0644, &out, err));
    for (int64_t at = 0; at < bytes;) {
        size_t next = bytes - at < ATTEMPT_STEP_BYTES ? (size_t)(bytes - at) : ATTEMPT_STEP_BYTES;
        MYR_TRY(myr_io_pread(in, from, step, next, at, err));
        MYR_TRY(myr_io_write(out, temp, step, next, err));
        at += (int64_t)next;
    }
    MYR_TRY(myr_io_sync(out, temp, err));
    MYR_TRY(myr_io_rename(temp, to, err));
    return myr_io_unlink(from, err);
}

static bool attempt_is_near(const char *a, const char *b)
{
    struct stat x, y;
    return stat(a, &x) == 0 && stat(b, &y) == 0 && x.st_dev == y.st_dev;
}

/* One file, below `dirs` of the attempt, to the sink that it belongs to. */
static myr_rc attempt_move_file(const batch *b, const char *from, const char *dirs, const char *file, const char *name,
                                myr_err *err)
{
    char below[MYR_PATH_BYTES_MAX], to[MYR_PATH_BYTES_MAX], renamed[512];
    const char *data = myr_batch_sink_of(b, dirs)->stage.data;
    MYR_TRY(attempt_rename(file, name, renamed, sizeof renamed, err));
    if (dirs[0] == '\0')
        (void)snprintf(below, sizeof below, "%s", data);
    else
        MYR_TRY(myr_path_join(below, sizeof below, data, dirs, err));
    if (!myr_io_exists(below)) MYR_TRY(myr_io_mkdirs(below, err));
    MYR_TRY(myr_path_join(to, sizeof to, below, renamed, err));
    return attempt_is_near(from, below) ? myr_io_rename(from, to, err) : attempt_copy(from, to, err);
}

/* Calls itself for directories; depth bounds it. */
static myr_rc attempt_move(const batch *b, const char *dir, const char *dirs, const char *name, int depth, myr_err *err)
{
    if (depth > BATCH_DEPTH_MAX)
        MYR_FAIL(err, TOO_LARGE, "%s: directories are nested more than %d deep", dir, BATCH_DEPTH_MAX);
    MYR_AUTO(myr_file_names) names = {0};
    MYR_TRY(myr_io_list(dir, &names.items, &names.count, err));
    for (size_t i = 0; i < names.count; i++) {
        char from[MYR_PATH_BYTES_MAX], below[MYR_PATH_BYTES_MAX];
        MYR_TRY(myr_path_join(from, sizeof from, dir, names.items[i], err));
        if (!myr_io_is_dir(from)) {
            MYR_TRY(attempt_move_file(b, from, dirs, names.items[i], name, err));
            continue;
        }
        if (dirs[0] == '\0')
            (void)snprintf(below, sizeof below, "%s", names.items[i]);
        else
            MYR_TRY(myr_path_join(below, sizeof below, dirs, names.items[i], err));
        MYR_TRY(attempt_move(b, from, below, name, depth + 1, err));
    }
    return MYR_OK;
}

myr_rc myr_batch_attempt_move(const batch *b, const char *dir, const char *name, myr_err *err)
{
    return attempt_move(b, dir, "", name, 0, err);
}
