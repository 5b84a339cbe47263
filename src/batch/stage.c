/*
 * Where an output is put together before it is published: `<place>.staging-<run>`, with a lock beside it that tells a
 * run at work from one that was killed. The next run on the same place removes what dead ones left.
 */
#include <stdio.h>
#include <string.h>

#include "batch/internal.h"

#define STAGE_MARK         ".staging-"
#define STAGE_LOCK         ".lock"
#define STAGE_LOCK_RETRIES 50

myr_rc myr_batch_stage_at(batch_stage *stage, const char *place, myr_err *err)
{
    memset(stage, 0, sizeof *stage);
    stage->lock = -1;
    if ((size_t)snprintf(stage->place, sizeof stage->place, "%s", place) >= sizeof stage->place)
        MYR_FAIL(err, BAD_INPUT, "%.100s…: the path is too long", place);
    myr_path_dir(place, stage->parent, sizeof stage->parent);
    const char *slash = strrchr(stage->place, '/');
    MYR_ASSERT(slash != NULL); /* it is absolute */
    (void)snprintf(stage->base, sizeof stage->base, "%s", slash + 1);
    return MYR_OK;
}

static myr_rc stage_names(batch_stage *stage, int64_t run_id, myr_err *err)
{
    int size = snprintf(stage->staging, sizeof stage->staging, "%s%s%lld", stage->place, STAGE_MARK, (long long)run_id);
    if (size < 0 || (size_t)size + 16 >= sizeof stage->staging)
        MYR_FAIL(err, BAD_INPUT, "%s: the path is too long", stage->place);
    snprintf(stage->lock_path, sizeof stage->lock_path, "%.*s%s", size, stage->staging, STAGE_LOCK);
    snprintf(stage->data, sizeof stage->data, "%.*s/data", size, stage->staging);
    snprintf(stage->temp, sizeof stage->temp, "%.*s/temp", size, stage->staging);
    snprintf(stage->old, sizeof stage->old, "%.*s/old", size, stage->staging);
    return MYR_OK;
}

/* A lock on a file that still has its name: whoever sweeps may take the file away between our open and our lock. */
myr_rc myr_batch_stage_lock(const char *path, myr_fd *out, myr_err *err)
{
    myr_rc rc = MYR_OK;
    for (int i = 0; i < STAGE_LOCK_RETRIES; i++) {
        rc = myr_io_lock(path, out, err);
        if (rc == MYR_OK && myr_io_exists(path)) return MYR_OK;
        if (rc == MYR_OK)
            myr_fd_drop(out);
        else if (rc != MYR_BUSY)
            return rc;
        myr_clock_sleep_ms(10);
    }
    MYR_FAIL(err, BUSY, "%s: somebody else is at work on it", path);
}

myr_rc myr_batch_stage_open(batch_stage *stage, int64_t run_id, bool again, myr_err *err)
{
    MYR_ASSERT(stage->lock < 0);
    stage->is_kept = again;
    MYR_TRY(stage_names(stage, run_id, err));
    MYR_TRY(myr_io_mkdirs(stage->parent, err));
    MYR_TRY(myr_batch_stage_lock(stage->lock_path, &stage->lock, err));
    if (!again) MYR_TRY(myr_io_remove_tree(stage->staging, err)); /* of this number in another workspace, dead */
    return myr_io_mkdirs(stage->staging, err);
}

/* The lock was opened before the first file was written, so it is told of all that went wrong since. */
myr_rc myr_batch_stage_sync(const batch_stage *stage, const char *dir, int64_t files, myr_err *err)
{
    MYR_ASSERT(stage->lock >= 0);
    return files <= BATCH_SYNC_EACH ? myr_io_sync_tree(dir, err) : myr_io_sync_all_of(stage->lock, dir, err);
}

void myr_batch_stage_close(batch_stage *stage)
{
    if (stage->lock < 0) return;
    if (!stage->is_kept) MYR_IGNORE(myr_io_remove_tree(stage->staging, NULL)); /* what stays the next run sweeps */
    if (!myr_io_exists(stage->staging)) MYR_IGNORE(myr_io_unlink(stage->lock_path, NULL));
    myr_fd_drop(&stage->lock);
}

/* ---- after a death ---- */

/* The run number in `<base>.staging-<number>` or its lock's name; false for any other name. */
static bool stage_parse_name(const batch_stage *stage, const char *name, int64_t *out_run_id)
{
    size_t base_bytes = strlen(stage->base);
    if (strncmp(name, stage->base, base_bytes) != 0) return false;
    myr_str rest = myr_str_of(name + base_bytes);
    if (!myr_str_starts_with(rest, STAGE_MARK)) return false;
    rest = myr_str_make(rest.data + strlen(STAGE_MARK), rest.size - strlen(STAGE_MARK));
    if (myr_str_ends_with(rest, STAGE_LOCK)) rest.size -= strlen(STAGE_LOCK);
    return myr_is_canonical_int64(rest, out_run_id) && *out_run_id > 0;
}

static myr_rc stage_bury_one(const batch_stage *stage, int64_t run_id, myr_batch_stage_fn fn, void *ctx, myr_err *err)
{
    batch_stage *dead = myr_calloc(1, sizeof *dead);
    if (dead == NULL) MYR_FAIL(err, NO_MEMORY, "no memory to remove what run %lld left", (long long)run_id);
    *dead = *stage;
    dead->lock = -1;
    dead->is_kept = false;
    myr_rc rc = stage_names(dead, run_id, err);
    if (rc == MYR_OK) rc = myr_io_lock(dead->lock_path, &dead->lock, err);
    if (rc == MYR_OK) {
        rc = fn(ctx, dead, run_id, err);
        if (rc == MYR_OK) myr_batch_stage_close(dead);
    }
    myr_fd_drop(&dead->lock);
    myr_free(dead);
    return rc == MYR_BUSY ? MYR_OK : rc; /* that one is alive */
}

myr_rc myr_batch_stage_bury(const batch_stage *stage, myr_batch_stage_fn fn, void *ctx, myr_err *err)
{
    char **names = NULL;
    size_t count = 0;
    if (!myr_io_exists(stage->parent)) return MYR_OK;
    MYR_TRY(myr_io_list(stage->parent, &names, &count, err));
    myr_rc rc = MYR_OK;
    int64_t before = 0, run_id = 0;
    for (size_t i = 0; rc == MYR_OK && i < count; i++) {
        if (!stage_parse_name(stage, names[i], &run_id) || run_id == before) continue;
        before = run_id; /* sorted: a directory and its lock stand together */
        rc = stage_bury_one(stage, run_id, fn, ctx, err);
    }
    myr_names_free(names, count);
    return rc;
}
