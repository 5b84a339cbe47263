/*
 * The output appears at once or not at all. Everything is written below `<output>.staging-<run>`, synced, and moved
 * into place by one rename (or one exchange of names, when an earlier output is replaced). A lock beside the staging
 * directory tells a run at work from one that was killed: the next run removes what the dead one left.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "batch/internal.h"

#define PUBLISH_STAGING ".staging-"
#define PUBLISH_LOCK    ".lock"

/* ---- where ---- */

/* Without the slashes at the end. */
static myr_rc publish_trim(const char *path, char *out, size_t out_bytes, myr_err *err)
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
static void publish_existing(const char *path, char out[MYR_PATH_BYTES_MAX])
{
    snprintf(out, MYR_PATH_BYTES_MAX, "%s", path);
    while (!myr_io_exists(out)) {
        char above[MYR_PATH_BYTES_MAX];
        myr_path_dir(out, above, sizeof above);
        if (strcmp(above, out) == 0) return;
        memcpy(out, above, sizeof above);
    }
}

static myr_rc publish_real(const char *path, char out[MYR_PATH_BYTES_MAX], myr_err *err)
{
    _Static_assert(MYR_PATH_BYTES_MAX >= PATH_MAX, "realpath writes up to PATH_MAX bytes");
    if (realpath(path, out) == NULL) MYR_FAIL(err, BAD_INPUT, "%s: the path does not lead to a directory", path);
    return MYR_OK;
}

/* Follow links: what a link to a directory names is replaced, not the link. */
static myr_rc publish_place(const char *path, batch_output *out, myr_err *err)
{
    char given[MYR_PATH_BYTES_MAX], dir[MYR_PATH_BYTES_MAX], existing[MYR_PATH_BYTES_MAX];
    MYR_TRY(publish_trim(path, given, sizeof given, err));
    if (myr_io_exists(given)) {
        MYR_TRY(publish_real(given, out->path, err));
        myr_path_dir(out->path, out->parent, sizeof out->parent);
        memcpy(out->sync_to, out->parent, sizeof out->sync_to);
    } else {
        myr_path_dir(given, dir, sizeof dir);
        publish_existing(dir, existing);
        MYR_TRY(publish_real(existing, out->sync_to, err));
        MYR_TRY(myr_io_mkdirs(dir, err));
        MYR_TRY(publish_real(dir, out->parent, err));
        const char *slash = strrchr(given, '/');
        MYR_TRY(myr_path_join(out->path, sizeof out->path, out->parent, slash != NULL ? slash + 1 : given, err));
    }
    const char *slash = strrchr(out->path, '/');
    MYR_ASSERT(slash != NULL);
    snprintf(out->base, sizeof out->base, "%s", slash + 1);
    if (out->base[0] == '\0') MYR_FAIL(err, BAD_USAGE, "the output cannot be the root directory");
    return MYR_OK;
}

typedef enum publish_found { PUBLISH_ABSENT, PUBLISH_EMPTY, PUBLISH_OURS } publish_found;

static myr_rc publish_look(const batch_output *output, publish_found *out, myr_err *err)
{
    batch_manifest manifest;
    if (!myr_io_exists(output->path)) {
        *out = PUBLISH_ABSENT;
        return MYR_OK;
    }
    if (!myr_io_is_dir(output->path)) MYR_FAIL(err, EXISTS, "%s is a file: choose another output", output->path);
    if (myr_batch_manifest_read(output->path, &manifest)) {
        *out = PUBLISH_OURS;
        return MYR_OK;
    }
    char **names = NULL;
    size_t count = 0;
    MYR_TRY(myr_io_list(output->path, &names, &count, err));
    myr_names_free(names, count);
    if (count > 0) {
        MYR_FAIL(err, EXISTS,
                 "%s holds files that are not an output of myriad (no %s): remove it or choose another output",
                 output->path, BATCH_MANIFEST_NAME);
    }
    *out = PUBLISH_EMPTY;
    return MYR_OK;
}

myr_rc myr_batch_output_open(const char *path, batch_output *out, myr_err *err)
{
    memset(out, 0, sizeof *out);
    out->lock = -1;
    publish_found found;
    MYR_TRY(publish_place(path, out, err));
    return publish_look(out, &found, err);
}

myr_rc myr_batch_output_check_input(const batch_output *output, const char *const *files, size_t count, myr_err *err)
{
    size_t path_bytes = strlen(output->path);
    for (size_t i = 0; i < count; i++) {
        char real[MYR_PATH_BYTES_MAX];
        if (realpath(files[i], real) == NULL) continue; /* reading it will say why */
        if (strncmp(real, output->path, path_bytes) != 0 || (real[path_bytes] != '/' && real[path_bytes] != '\0'))
            continue;
        MYR_FAIL(err, BAD_INPUT,
                 "the input %s lies in the output %s, which the run would replace: choose another output", files[i],
                 output->path);
    }
    return MYR_OK;
}

/* ---- staging ---- */

static myr_rc publish_names(batch_output *output, int64_t run_id, myr_err *err)
{
    int size =
        snprintf(output->staging, sizeof output->staging, "%s%s%lld", output->path, PUBLISH_STAGING, (long long)run_id);
    if (size < 0 || (size_t)size + 16 >= sizeof output->staging)
        MYR_FAIL(err, BAD_INPUT, "%s: the path is too long", output->path);
    snprintf(output->lock_path, sizeof output->lock_path, "%.*s%s", size, output->staging, PUBLISH_LOCK);
    snprintf(output->data, sizeof output->data, "%.*s/data", size, output->staging);
    snprintf(output->temp, sizeof output->temp, "%.*s/temp", size, output->staging);
    snprintf(output->old, sizeof output->old, "%.*s/old", size, output->staging);
    return MYR_OK;
}

/* The lock, on a file that still has its name: a sweep may have taken the file away between our open and our lock. */
static myr_rc publish_lock(batch_output *output, myr_err *err)
{
    myr_rc rc = MYR_OK;
    for (int i = 0; i < BATCH_LOCK_RETRIES; i++) {
        rc = myr_io_lock(output->lock_path, &output->lock, err);
        if (rc == MYR_OK && myr_io_exists(output->lock_path)) return MYR_OK;
        if (rc == MYR_OK)
            myr_fd_drop(&output->lock);
        else if (rc != MYR_BUSY)
            return rc;
        myr_clock_sleep_ms(10);
    }
    MYR_FAIL(err, BUSY, "%s: another run is at work under the same number", output->staging);
}

myr_rc myr_batch_output_stage(batch_output *output, int64_t run_id, myr_err *err)
{
    MYR_ASSERT(output->lock < 0);
    MYR_TRY(publish_names(output, run_id, err));
    MYR_TRY(publish_lock(output, err));
    MYR_TRY(myr_io_remove_tree(output->staging, err)); /* of a run with this number in another workspace, dead */
    return myr_io_mkdirs(output->staging, err);
}

myr_rc myr_batch_output_stage_again(batch_output *output, int64_t run_id, myr_err *err)
{
    MYR_ASSERT(output->lock < 0);
    output->is_kept = true;
    MYR_TRY(publish_names(output, run_id, err));
    MYR_TRY(publish_lock(output, err));
    return myr_io_mkdirs(output->staging, err);
}

void myr_batch_output_close(batch_output *output)
{
    if (output->lock < 0) return;
    if (!output->is_kept) MYR_IGNORE(myr_io_remove_tree(output->staging, NULL)); /* what stays the next run sweeps */
    if (!myr_io_exists(output->staging)) MYR_IGNORE(myr_io_unlink(output->lock_path, NULL));
    myr_fd_drop(&output->lock);
}

/* ---- publishing ---- */

static myr_rc publish_sync_parents(const batch_output *output, myr_err *err)
{
    char dir[MYR_PATH_BYTES_MAX];
    memcpy(dir, output->parent, sizeof dir);
    for (;;) {
        MYR_TRY(myr_io_sync_dir(dir, err));
        if (strcmp(dir, output->sync_to) == 0 || strcmp(dir, "/") == 0) return MYR_OK;
        char above[MYR_PATH_BYTES_MAX];
        myr_path_dir(dir, above, sizeof above);
        memcpy(dir, above, sizeof dir);
    }
}

/* Where names cannot be exchanged the output is away for a moment; the sweep puts it back if we die in it. */
static myr_rc publish_in_two(const batch_output *output, myr_err *err)
{
    MYR_TRY(myr_io_rename(output->path, output->old, err));
    MYR_TRY(myr_io_sync_dir(output->staging, err));
    myr_rc rc = myr_io_rename(output->data, output->path, err);
    if (rc != MYR_OK) MYR_IGNORE(myr_io_rename(output->old, output->path, NULL)); /* else the next sweep does it */
    return rc;
}

static myr_rc publish_move(const batch_output *output, myr_err *err)
{
    publish_found found;
    MYR_TRY(publish_look(output, &found, err)); /* again: others may have come meanwhile */
    if (found != PUBLISH_OURS)
        return myr_io_rename(output->data, output->path, err); /* over an empty directory is fine */
    myr_rc rc = myr_io_exchange(output->data, output->path, err);
    return rc == MYR_UNSUPPORTED ? publish_in_two(output, err) : rc;
}

myr_rc myr_batch_output_publish(batch_output *output, const batch_manifest *manifest, int64_t *out_files,
                                int64_t *out_bytes, myr_err *err)
{
    MYR_ASSERT(output->lock >= 0);
    int64_t files = 0, bytes = 0;
    MYR_TRY(myr_batch_manifest_write(output->data, manifest, &files, &bytes, err));
    MYR_TRY(myr_io_sync_tree(output->data, err));
    MYR_TRY(publish_move(output, err));
    MYR_TRY(publish_sync_parents(output, err));
    *out_files = files;
    *out_bytes = bytes;
    return MYR_OK;
}

/* Killed after the move: it may not have reached the disk. */
myr_rc myr_batch_output_settle(const batch_output *output, myr_err *err)
{
    return publish_sync_parents(output, err);
}

/* ---- after a death ---- */

/* The run number in `<base>.staging-<number>` or its lock's name; false for any other name. */
static bool publish_parse_name(const batch_output *output, const char *name, int64_t *out_run_id)
{
    size_t base_bytes = strlen(output->base);
    if (strncmp(name, output->base, base_bytes) != 0) return false;
    myr_str rest = myr_str_of(name + base_bytes);
    if (!myr_str_starts_with(rest, PUBLISH_STAGING)) return false;
    rest = myr_str_make(rest.data + strlen(PUBLISH_STAGING), rest.size - strlen(PUBLISH_STAGING));
    if (myr_str_ends_with(rest, PUBLISH_LOCK)) rest.size -= strlen(PUBLISH_LOCK);
    return myr_is_canonical_int64(rest, out_run_id) && *out_run_id > 0;
}

/* The dead run's row still says "running": its manifest at the output's place tells whether it got there. */
static myr_rc publish_settle(const batch_output *output, myr_registry *registry, int64_t run_id, myr_err *err)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for the list of runs");
    myr_run_row *runs = NULL;
    size_t count = 0;
    MYR_TRY(myr_registry_runs(registry, arena, &runs, &count, err));
    for (size_t i = 0; i < count; i++) {
        if (runs[i].id != run_id || strcmp(runs[i].state, "running") != 0 || strcmp(runs[i].output, output->path) != 0)
            continue;
        batch_manifest manifest;
        if (myr_batch_manifest_read(output->path, &manifest) && manifest.run_id == run_id) {
            return myr_registry_run_end(registry, run_id, "completed", manifest.rows, 0,
                                        "killed after it had published", err);
        }
        return myr_registry_run_end(registry, run_id, "failed", 0, 0, "killed before it had published", err);
    }
    return MYR_OK;
}

static myr_rc publish_sweep_one(const batch_output *output, myr_registry *registry, int64_t run_id, myr_err *err)
{
    batch_output *dead = myr_calloc(1, sizeof *dead);
    if (dead == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to remove what run %lld left", (long long)run_id);
    *dead = *output;
    dead->lock = -1;
    myr_rc rc = publish_names(dead, run_id, err);
    if (rc == MYR_OK) rc = myr_io_lock(dead->lock_path, &dead->lock, err);
    if (rc == MYR_OK && !myr_io_exists(dead->path) && myr_io_exists(dead->old)) {
        rc = myr_io_rename(dead->old, dead->path, err);
        if (rc == MYR_OK) rc = myr_io_sync_dir(dead->parent, err);
    }
    if (rc == MYR_OK) rc = publish_settle(dead, registry, run_id, err);
    if (rc == MYR_OK) myr_batch_output_close(dead);
    myr_fd_drop(&dead->lock);
    myr_free(dead);
    return rc == MYR_BUSY ? MYR_OK : rc; /* that one is alive */
}

myr_rc myr_batch_output_sweep(batch_output *output, myr_registry *registry, myr_err *err)
{
    char **names = NULL;
    size_t count = 0;
    MYR_TRY(myr_io_list(output->parent, &names, &count, err));
    myr_rc rc = MYR_OK;
    int64_t before = 0, run_id = 0;
    for (size_t i = 0; rc == MYR_OK && i < count; i++) {
        if (!publish_parse_name(output, names[i], &run_id) || run_id == before) continue;
        before = run_id; /* sorted: a directory and its lock stand together */
        rc = publish_sweep_one(output, registry, run_id, err);
    }
    myr_names_free(names, count);
    return rc;
}
