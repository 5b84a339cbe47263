/*
 * An output that is a directory: staged beside its place, on the same file system, synced, and moved there by one
 * rename (or one exchange of names, when an earlier output is replaced).
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/link.h"
#include "batch/sink.h"

/* ---- where ---- */

/* Without the slashes at the end. */
static myr_rc dir_trim(const char *path, char *out, size_t out_bytes, myr_err *err)
{
    size_t size = strlen(path);
    while (size > 1 && path[size - 1] == '/')
        size--;
    if (size == 0 || size >= out_bytes) {
        MYR_FAIL(err, BAD_INPUT, "the output's name has %zu bytes; 1 to %zu are possible", size, out_bytes - 1);
    }
    memcpy(out, path, size);
    out[size] = '\0';
    return MYR_OK;
}

/* The nearest directory above (or at) `path` that exists: its entry of what is made below must be synced. */
static void dir_existing(const char *path, char out[MYR_PATH_BYTES_MAX])
{
    snprintf(out, MYR_PATH_BYTES_MAX, "%s", path);
    while (!myr_io_exists(out)) {
        char above[MYR_PATH_BYTES_MAX];
        myr_path_dir(out, above, sizeof above);
        if (strcmp(above, out) == 0) return;
        memcpy(out, above, sizeof above);
    }
}

static myr_rc dir_real(const char *path, char out[MYR_PATH_BYTES_MAX], myr_err *err)
{
    _Static_assert(MYR_PATH_BYTES_MAX >= PATH_MAX, "realpath writes up to PATH_MAX bytes");
    if (realpath(path, out) == NULL) MYR_FAIL(err, BAD_INPUT, "%s: the path does not lead to a directory", path);
    return MYR_OK;
}

/* Follow links: what a link to a directory names is replaced, not the link. */
static myr_rc dir_place(batch_sink *out, myr_err *err)
{
    char given[MYR_PATH_BYTES_MAX], dir[MYR_PATH_BYTES_MAX], existing[MYR_PATH_BYTES_MAX], parent[MYR_PATH_BYTES_MAX];
    MYR_TRY(dir_trim(out->place, given, sizeof given, err));
    if (myr_io_exists(given)) {
        MYR_TRY(dir_real(given, out->name, err));
        myr_path_dir(out->name, out->sync_to, sizeof out->sync_to);
    } else {
        myr_path_dir(given, dir, sizeof dir);
        dir_existing(dir, existing);
        MYR_TRY(dir_real(existing, out->sync_to, err));
        MYR_TRY(myr_io_mkdirs(dir, err));
        MYR_TRY(dir_real(dir, parent, err));
        const char *slash = strrchr(given, '/');
        MYR_TRY(myr_path_join(out->name, sizeof out->name, parent, slash != NULL ? slash + 1 : given, err));
    }
    MYR_TRY(myr_batch_stage_at(&out->stage, out->name, err));
    if (out->stage.base[0] == '\0') MYR_FAIL(err, BAD_USAGE, "the output cannot be the root directory");
    return MYR_OK;
}

typedef enum dir_found { DIR_ABSENT, DIR_EMPTY, DIR_OURS } dir_found;

static myr_rc dir_look(const batch_sink *sink, dir_found *out, myr_err *err)
{
    batch_manifest manifest;
    if (!myr_io_exists(sink->name)) {
        *out = DIR_ABSENT;
        return MYR_OK;
    }
    if (!myr_io_is_dir(sink->name)) MYR_FAIL(err, EXISTS, "%s is a file: choose another output", sink->name);
    if (myr_batch_manifest_read(sink->name, &manifest)) {
        *out = DIR_OURS;
        return MYR_OK;
    }
    char **names = NULL;
    size_t count = 0;
    MYR_TRY(myr_io_list(sink->name, &names, &count, err));
    myr_names_free(names, count);
    if (count > 0) {
        MYR_FAIL(err, EXISTS,
                 "%s holds files that are not an output of myriad (no %s): remove it or choose another output",
                 sink->name, BATCH_MANIFEST_NAME);
    }
    *out = DIR_EMPTY;
    return MYR_OK;
}

static bool dir_takes(const char *place)
{
    (void)place;
    return true;
}

static myr_rc dir_open(batch_sink *sink, myr_err *err)
{
    dir_found found;
    MYR_TRY(dir_place(sink, err));
    return dir_look(sink, &found, err);
}

static bool dir_holds(const batch_sink *sink, const myr_run_input_row *input)
{
    char real[MYR_PATH_BYTES_MAX];
    size_t bytes = strlen(sink->name);
    if (realpath(input->path, real) == NULL) return false; /* reading it will say why */
    return strncmp(real, sink->name, bytes) == 0 && (real[bytes] == '/' || real[bytes] == '\0');
}

static myr_rc dir_find(batch_sink *sink, int64_t run_id, const char *fingerprint, batch_manifest *out,
                       bool *out_is_there, myr_err *err)
{
    (void)err;
    *out_is_there = myr_batch_manifest_read(sink->name, out) && strcmp(out->fingerprint, fingerprint) == 0 &&
                    (run_id == 0 || out->run_id == run_id) &&
                    myr_batch_manifest_holds(sink->name, &out->files, &out->bytes);
    return MYR_OK;
}

/* ---- taken over ---- */

static myr_rc dir_take_over(const char *from, const char *to, myr_err *err)
{
    myr_rc rc = myr_io_link(from, to, err);
    return rc == MYR_UNSUPPORTED ? myr_batch_copy(from, to, err) : rc;
}

/* Calls itself for directories; depth bounds it. */
static myr_rc dir_bring_below(const myr_map *mini_batches, const char *from, const char *to, int depth, myr_err *err)
{
    if (depth > BATCH_DEPTH_MAX)
        MYR_FAIL(err, TOO_LARGE, "%s: directories are nested more than %d deep", from, BATCH_DEPTH_MAX);
    MYR_AUTO(myr_file_names) names = {0};
    MYR_TRY(myr_io_list(from, &names.items, &names.count, err));
    for (size_t i = 0; i < names.count; i++) {
        char path[MYR_PATH_BYTES_MAX], kept[MYR_PATH_BYTES_MAX];
        MYR_TRY(myr_path_join(path, sizeof path, from, names.items[i], err));
        MYR_TRY(myr_path_join(kept, sizeof kept, to, names.items[i], err));
        if (myr_io_is_dir(path)) {
            MYR_TRY(myr_io_mkdirs(kept, err));
            MYR_TRY(dir_bring_below(mini_batches, path, kept, depth + 1, err));
        } else if (myr_batch_sink_is_of(mini_batches, names.items[i])) {
            MYR_TRY(dir_take_over(path, kept, err));
        }
    }
    return MYR_OK;
}

/* By second names; copies, where the file system has no such. */
static myr_rc dir_bring(batch_sink *sink, const myr_map *mini_batches, const char *dir, myr_err *err)
{
    return dir_bring_below(mini_batches, sink->name, dir, 0, err);
}

/* ---- publishing ---- */

static myr_rc dir_sync_parents(const batch_sink *sink, myr_err *err)
{
    char dir[MYR_PATH_BYTES_MAX];
    memcpy(dir, sink->stage.parent, sizeof dir);
    for (;;) {
        MYR_TRY(myr_io_sync_dir(dir, err));
        if (strcmp(dir, sink->sync_to) == 0 || strcmp(dir, "/") == 0) return MYR_OK;
        char above[MYR_PATH_BYTES_MAX];
        myr_path_dir(dir, above, sizeof above);
        memcpy(dir, above, sizeof dir);
    }
}

/* Where names cannot be exchanged the output is away for a moment; the sweep puts it back if we die in it. */
static myr_rc dir_in_two(const batch_sink *sink, myr_err *err)
{
    MYR_TRY(myr_io_rename(sink->name, sink->stage.old, err));
    MYR_TRY(myr_io_sync_dir(sink->stage.staging, err));
    myr_rc rc = myr_io_rename(sink->stage.data, sink->name, err);
    if (rc != MYR_OK) MYR_IGNORE(myr_io_rename(sink->stage.old, sink->name, NULL)); /* else the next sweep does it */
    return rc;
}

static myr_rc dir_move(const batch_sink *sink, myr_err *err)
{
    dir_found found;
    MYR_TRY(dir_look(sink, &found, err)); /* again: others may have come meanwhile */
    if (found != DIR_OURS)
        return myr_io_rename(sink->stage.data, sink->name, err); /* over an empty directory is fine */
    myr_rc rc = myr_io_exchange(sink->stage.data, sink->name, err);
    return rc == MYR_UNSUPPORTED ? dir_in_two(sink, err) : rc;
}

static myr_rc dir_publish(batch_sink *sink, batch_manifest *manifest, myr_err *err)
{
    MYR_ASSERT(sink->stage.lock >= 0);
    MYR_TRY(myr_batch_manifest_write(sink->stage.data, manifest, err));
    MYR_TRY(myr_batch_stage_sync(&sink->stage, sink->stage.data, manifest->files, err));
    MYR_TRY(dir_move(sink, err));
    return dir_sync_parents(sink, err);
}

/* Killed after the move: it may not have reached the disk. */
static myr_rc dir_settle(batch_sink *sink, myr_err *err)
{
    return dir_sync_parents(sink, err);
}

/* Killed between two renames: the output of before comes back. */
static myr_rc dir_recover(batch_sink *sink, myr_err *err)
{
    if (myr_io_exists(sink->name) || !myr_io_exists(sink->stage.old)) return MYR_OK;
    MYR_TRY(myr_io_rename(sink->stage.old, sink->name, err));
    return myr_io_sync_dir(sink->stage.parent, err);
}

const batch_sink_kind myr_batch_sink_dir = {.takes = dir_takes,
                                            .open = dir_open,
                                            .holds = dir_holds,
                                            .find = dir_find,
                                            .bring = dir_bring,
                                            .publish = dir_publish,
                                            .settle = dir_settle,
                                            .recover = dir_recover};
