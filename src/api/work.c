/*
 * Working memories: taken by a call, given back after it, so that a warm call makes no heap block. A slot is a pointer
 * that is exchanged whole: two calls never see the same one, and a process that forks during a call loses a slot's
 * content, not a lock.
 */
#include "api/internal.h"

static void api_work_free(api_work *work)
{
    if (work == NULL) return;
    myr_score_scratch_free(work->scratch);
    myr_arena_free(work->arena);
    myr_arena_free(work->chunk_arena);
    myr_free(work);
}

static api_work *api_work_new(void)
{
    api_work *work = myr_calloc(1, sizeof *work);
    if (work == NULL) return NULL;
    work->scratch = myr_score_scratch_new();
    work->arena = myr_arena_new(0);
    work->chunk_arena = myr_arena_new(0);
    if (work->scratch != NULL && work->arena != NULL && work->chunk_arena != NULL) return work;
    api_work_free(work);
    return NULL;
}

api_work *myr_api_work_take(api_pool *pool)
{
    for (int i = 0; i < API_WORKS_MAX; i++) {
        if (__atomic_load_n(&pool->idle[i], __ATOMIC_RELAXED) == NULL) continue;
        api_work *work = __atomic_exchange_n(&pool->idle[i], NULL, __ATOMIC_ACQUIRE);
        if (work != NULL) return work;
    }
    return api_work_new();
}

void myr_api_work_give(api_pool *pool, api_work *work)
{
    myr_arena_reset(work->arena);
    myr_arena_reset(work->chunk_arena);
    for (int i = 0; i < API_WORKS_MAX; i++) {
        api_work *empty = NULL;
        if (__atomic_compare_exchange_n(&pool->idle[i], &empty, work, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
            return;
    }
    api_work_free(work);
}

void myr_api_pool_fini(api_pool *pool)
{
    for (int i = 0; i < API_WORKS_MAX; i++) {
        api_work_free(pool->idle[i]);
        pool->idle[i] = NULL;
    }
}
