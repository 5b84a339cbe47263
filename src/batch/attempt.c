/* What one attempt at a mini-batch wrote: made safe on the disk when it is done, moved to its place when all are. */
#include <stdio.h>
#include <string.h>

#include "batch/internal.h"

typedef struct attempt_names {
    char **items;
    size_t count;
} attempt_names;
static void attempt_names_drop(attempt_names *names)
{
    myr_names_free(names->items, names->count);
}

/* ---- sealed ---- */

/* Calls itself for directories; depth bounds it. */
static myr_rc attempt_count(const char *dir, int depth, int64_t *files, int64_t *bytes, myr_err *err)
{
    if (depth > BATCH_DEPTH_MAX)
        MYR_FAIL(err, TOO_LARGE, "%s: directories are nested more than %d deep", dir, BATCH_DEPTH_MAX);
    MYR_AUTO(attempt_names) names = {0};
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

myr_rc myr_batch_attempt_seal(const char *dir, int64_t *out_files, int64_t *out_bytes, myr_err *err)
{
    int64_t files = 0, bytes = 0;
    MYR_TRY(myr_batch_attempt_count(dir, &files, &bytes, err));
    MYR_TRY(myr_io_sync_tree(dir, err));
    *out_files = files;
    *out_bytes = bytes;
    return MYR_OK;
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

/* Calls itself for directories; depth bounds it. */
static myr_rc attempt_move(const char *dir, const char *data, const char *name, int depth, myr_err *err)
{
    if (depth > BATCH_DEPTH_MAX)
        MYR_FAIL(err, TOO_LARGE, "%s: directories are nested more than %d deep", dir, BATCH_DEPTH_MAX);
    MYR_AUTO(attempt_names) names = {0};
    MYR_TRY(myr_io_list(dir, &names.items, &names.count, err));
    for (size_t i = 0; i < names.count; i++) {
        char from[MYR_PATH_BYTES_MAX], to[MYR_PATH_BYTES_MAX], renamed[512];
        MYR_TRY(myr_path_join(from, sizeof from, dir, names.items[i], err));
        if (myr_io_is_dir(from)) {
            MYR_TRY(myr_path_join(to, sizeof to, data, names.items[i], err));
            if (!myr_io_exists(to)) MYR_TRY(myr_io_mkdirs(to, err));
            MYR_TRY(attempt_move(from, to, name, depth + 1, err));
            continue;
        }
        MYR_TRY(attempt_rename(names.items[i], name, renamed, sizeof renamed, err));
        MYR_TRY(myr_path_join(to, sizeof to, data, renamed, err));
        MYR_TRY(myr_io_rename(from, to, err));
    }
    return MYR_OK;
}

myr_rc myr_batch_attempt_move(const char *dir, const char *data, const char *name, myr_err *err)
{
    return attempt_move(dir, data, name, 0, err);
}
