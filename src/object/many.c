/* Many objects at once: a client for each of some threads. */
#include "object/internal.h"

typedef myr_rc (*many_fn)(myr_object_client *client, const myr_object_move *move, myr_err *err);

typedef struct many_work {
    myr_object_client *clients[MYR_OBJECT_TRANSFERS_MAX];
    const myr_object_move *moves;
    many_fn fn;
} many_work;

static myr_rc many_item(void *ctx, size_t item_idx, int thread_idx, myr_err *err)
{
    const many_work *work = ctx;
    return work->fn(work->clients[thread_idx], &work->moves[item_idx], err);
}

static myr_rc many_open(const char *uri, size_t count, many_work *work, int *out_threads, myr_err *err)
{
    myr_object_opts opts;
    MYR_TRY(myr_object_defaults(&opts, err));
    size_t wanted = (size_t)opts.transfers < count ? (size_t)opts.transfers : count;
    for (size_t i = 0; i < wanted; i++) {
        MYR_TRY(myr_object_open(uri, &opts, &work->clients[i], err));
        *out_threads = (int)i + 1;
    }
    return MYR_OK;
}

static myr_rc many_run(const char *uri, const myr_object_move *moves, size_t count, many_fn fn, myr_err *err)
{
    many_work work = {.moves = moves, .fn = fn};
    int threads = 0;
    if (count == 0) return MYR_OK;
    myr_rc rc = many_open(uri, count, &work, &threads, err);
    if (rc == MYR_OK) rc = myr_parallel(threads, count, many_item, &work, err);
    for (int i = 0; i < threads; i++)
        myr_object_close(work.clients[i]);
    return rc;
}

static myr_rc many_get(myr_object_client *client, const myr_object_move *move, myr_err *err)
{
    char dir[MYR_PATH_BYTES_MAX];
    myr_path_dir(move->path, dir, sizeof dir);
    MYR_TRY(myr_io_mkdirs(dir, err));
    return myr_object_get_file(client, &move->object, move->path, err);
}

static myr_rc many_put(myr_object_client *client, const myr_object_move *move, myr_err *err)
{
    return myr_object_put_file(client, move->object.key, move->path, err);
}

static myr_rc many_delete(myr_object_client *client, const myr_object_move *move, myr_err *err)
{
    return myr_object_delete(client, move->object.key, err);
}

myr_rc myr_object_get_all(const char *uri, const myr_object_move *moves, size_t count, myr_err *err)
{
    return many_run(uri, moves, count, many_get, err);
}

myr_rc myr_object_put_all(const char *uri, const myr_object_move *moves, size_t count, myr_err *err)
{
    return many_run(uri, moves, count, many_put, err);
}

myr_rc myr_object_delete_all(const char *uri, const myr_object_move *moves, size_t count, myr_err *err)
{
    return many_run(uri, moves, count, many_delete, err);
}
