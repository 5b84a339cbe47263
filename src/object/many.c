/* Many objects at once: a client for each of some threads. */
#include "object/internal.h"

struct many_work;
typedef myr_rc (*many_fn)(const struct many_work *work, myr_object_client *client, const myr_object_move *move,
                          myr_err *err);

typedef struct many_work {
    const myr_object_opts *opts;
    myr_object_client *clients[MYR_OBJECT_TRANSFERS_MAX];
    const myr_object_move *moves;
    const char *cache; /* NULL: none */
    many_fn fn;
} many_work;

static myr_rc many_item(void *ctx, size_t item_idx, int thread_idx, myr_err *err)
{
    const many_work *work = ctx;
    return work->fn(work, work->clients[thread_idx], &work->moves[item_idx], err);
}

static myr_rc many_open(const char *uri, size_t count, many_work *work, int *out_threads, myr_err *err)
{
    size_t wanted = (size_t)work->opts->transfers < count ? (size_t)work->opts->transfers : count;
    for (size_t i = 0; i < wanted; i++) {
        MYR_TRY(myr_object_open(uri, work->opts, &work->clients[i], err));
        *out_threads = (int)i + 1;
    }
    return MYR_OK;
}

static myr_rc many_run(const char *uri, many_work *work, size_t count, myr_err *err)
{
    myr_object_opts opts;
    int threads = 0;
    if (count == 0) return MYR_OK;
    MYR_TRY(myr_object_defaults(&opts, err));
    if (opts.cache_bytes == 0) work->cache = NULL;
    if (work->cache != NULL) MYR_TRY(myr_io_mkdirs(work->cache, err));
    work->opts = &opts;
    myr_rc rc = many_open(uri, count, work, &threads, err);
    if (rc == MYR_OK) rc = myr_parallel(threads, count, many_item, work, err);
    for (int i = 0; i < threads; i++)
        myr_object_close(work->clients[i]);
    if (rc == MYR_OK && work->cache != NULL) rc = myr_object_cache_prune(work->cache, opts.cache_bytes, err);
    return rc;
}

static myr_rc many_get(const many_work *work, myr_object_client *client, const myr_object_move *move, myr_err *err)
{
    char dir[MYR_PATH_BYTES_MAX];
    myr_path_dir(move->path, dir, sizeof dir);
    MYR_TRY(myr_io_mkdirs(dir, err));
    if (work->cache != NULL && myr_object_cache_take(work->cache, client->root, &move->object, move->path))
        return MYR_OK;
    MYR_TRY(myr_object_get_file(client, &move->object, move->path, err));
    if (work->cache != NULL) myr_object_cache_put(work->cache, client->root, &move->object, move->path);
    return MYR_OK;
}

static myr_rc many_put(const many_work *work, myr_object_client *client, const myr_object_move *move, myr_err *err)
{
    (void)work;
    return myr_object_put_file(client, move->object.key, move->path, err);
}

static myr_rc many_delete(const many_work *work, myr_object_client *client, const myr_object_move *move, myr_err *err)
{
    (void)work;
    return myr_object_delete(client, move->object.key, err);
}

myr_rc myr_object_get_all(const char *uri, const char *cache, const myr_object_move *moves, size_t count, myr_err *err)
{
    many_work work = {.moves = moves, .cache = cache, .fn = many_get};
    return many_run(uri, &work, count, err);
}

myr_rc myr_object_put_all(const char *uri, const myr_object_move *moves, size_t count, myr_err *err)
{
    many_work work = {.moves = moves, .fn = many_put};
    return many_run(uri, &work, count, err);
}

myr_rc myr_object_delete_all(const char *uri, const myr_object_move *moves, size_t count, myr_err *err)
{
    many_work work = {.moves = moves, .fn = many_delete};
    return many_run(uri, &work, count, err);
}
