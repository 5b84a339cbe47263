/*
 * What a run's models need that are code (score.py): environments, made before the first mini-batch, on a thread of
 * their own so that the run stays alive meanwhile and can be canceled; held until it is over, so that nobody removes
 * one that its workers still start processes in.
 */
#include <stdatomic.h>
#include <string.h>

#include "batch/internal.h"

#define ENVIRONMENTS_LOOK_MS 100

struct batch_environments {
    myr_fleet_code *code;
    myr_runtime_environment **items;
    const char *const *artifacts;
    size_t count;
    _Atomic bool stop;
    myr_mutex lock; /* guards what follows, while the thread runs */
    myr_cond changed;
    bool is_over;
    myr_err err;
};

static void *environments_main(void *arg)
{
    batch_environments *all = arg;
    myr_err err = {0};
    myr_rc rc = MYR_OK;
    for (size_t i = 0; rc == MYR_OK && i < all->count; i++)
        rc = myr_fleet_code_prepare(all->code, all->artifacts[i], &all->stop, &all->items[i], &err);
    myr_mutex_lock(&all->lock);
    all->is_over = true;
    if (rc != MYR_OK) all->err = err; /* steps that succeed may leave words in it */
    myr_cond_broadcast(&all->changed);
    myr_mutex_unlock(&all->lock);
    return NULL;
}

/* Until it is over, or the run is. */
static myr_rc environments_wait(batch *b, batch_environments *all, myr_err *err)
{
    for (;;) {
        myr_mutex_lock(&all->lock);
        if (!all->is_over)
            MYR_IGNORE(!myr_cond_wait_ms(&all->changed, &all->lock, ENVIRONMENTS_LOOK_MS)); /* looked at */
        bool is_over = all->is_over;
        myr_mutex_unlock(&all->lock);
        if (is_over) return MYR_OK;
        MYR_TRY(myr_batch_work_beat(b, err));
    }
}

static myr_rc environments_make(batch *b, batch_environments *all, myr_err *err)
{
    myr_thread thread;
    MYR_TRY(myr_thread_start(&thread, "environments", environments_main, all, err));
    myr_rc rc = environments_wait(b, all, err);
    if (rc != MYR_OK) atomic_store(&all->stop, true);
    myr_thread_join(thread);
    MYR_TRY(rc);
    if (all->err.rc == MYR_OK) return MYR_OK;
    return myr_err_set(err, (myr_rc)all->err.rc, all->err.file, all->err.line, "%s: %s", b->opts.fleet,
                       all->err.message);
}

/* Where the network can't be kept from code, whoever runs it is told. */
static void environments_tell(void)
{
    bool is_offline;
    const char *how = myr_runtime_offline(&is_offline);
    if (!is_offline) myr_log(MYR_LOG_WARN, "batch", "models that are code have a network", "why", how, NULL);
}

myr_rc myr_batch_environments_make(batch *b, myr_err *err)
{
    const char **artifacts = NULL;
    size_t count = 0;
    MYR_TRY(myr_registry_release_code(b->workspace->registry, b->arena, b->fleet->row.id, b->fleet->release, &artifacts,
                                      &count, err));
    if (count == 0) return MYR_OK;
    batch_environments *all = myr_arena_calloc(b->arena, 1, sizeof *all);
    if (all != NULL) all->items = myr_arena_calloc(b->arena, count, sizeof(myr_runtime_environment *));
    if (all == NULL || all->items == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %zu environments", count);
    all->artifacts = artifacts;
    all->count = count;
    myr_mutex_init(&all->lock);
    myr_cond_init(&all->changed);
    b->environments = all; /* drop gives back what was made */
    myr_runtime_set_environment(b->workspace->runtime, b->opts.network, b->opts.require_hashes);
    MYR_TRY(myr_fleet_code_open(b->workspace, &all->code, err));
    environments_tell();
    return environments_make(b, all, err);
}

void myr_batch_environments_drop(batch *b)
{
    batch_environments *all = b->environments;
    if (all == NULL) return;
    for (size_t i = 0; i < all->count; i++)
        myr_runtime_environment_release(all->items[i]);
    myr_fleet_code_close(all->code);
    myr_cond_fini(&all->changed);
    myr_mutex_fini(&all->lock);
    b->environments = NULL;
}
