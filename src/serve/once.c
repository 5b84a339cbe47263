/*
 * One row through the stages of a service file without a server: what `myriad predict --service` asks. The stages are
 * the server's own; there are no listeners, nobody is told, and what would be stored is not.
 */
#include "serve/internal.h"

#include <string.h>

#define ONCE_LOOK_MS  50
#define ONCE_LIMIT_NS 3600000000000 /* what a request may ask for at most: stages degrade by trouble, not by haste */

/* Models that are code: as a server that is ready. */
static void once_wait_deployed(myr_server *server)
{
    while (!myr_serve_deploy_is_settled(server))
        myr_clock_sleep_ms(ONCE_LOOK_MS);
}

static myr_rc once_answer(serve_work *work, const char *fleet, yyjson_val *row, myr_output output, myr_buf *out,
                          myr_err *err)
{
    work->outputs[0] = output;
    work->output_count = output != MYR_OUTPUT_VALUE ? 1 : 0;
    work->any_leaves = true;
    MYR_TRY(myr_serve_fleet_find(work->thread, myr_str_of(fleet), &work->target.fleet, err));
    work->target.model_idx = MYR_PACK_NONE;
    work->target.name = myr_str_of(work->target.fleet->fleet->name);
    myr_serve_work_limit(work, ONCE_LIMIT_NS);
    MYR_TRY(myr_fleet_decode_rows(work->target.fleet->fleet, &row, 1, false, work->arena, &work->rows, err));
    MYR_TRY(myr_serve_work_run(work, err));
    MYR_ASSERT(myr_serve_work_is_answered(work)); /* it may block, and has no key that was claimed before */
    MYR_TRY(myr_serve_put_row(work, 0, SERVE_AS_JSON, 1, out, err));
    return myr_buf_check(out, err);
}

static myr_rc once_run(myr_server *server, serve_thread *thread, const char *fleet, yyjson_val *row, myr_output output,
                       myr_buf *out, myr_err *out_trouble, myr_err *err)
{
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    const serve_principal who = {.is_known = true}; /* who reads the workspace may ask all of it */
    serve_work *work = NULL;
    int64_t now_ns = myr_clock_mono_ns();
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    MYR_TRY(myr_serve_work_new(server, thread, arena, &who, now_ns, now_ns, true, &work, err));
    myr_rc rc = once_answer(work, fleet, row, output, out, err);
    *out_trouble = work->trouble;
    if (work->target.fleet != NULL) myr_serve_work_end(work, rc == MYR_OK);
    return rc;
}

myr_rc myr_serve_score_once(const char *workspace_root, const char *service, const char *fleet, yyjson_val *row,
                            myr_output output, myr_buf *out, myr_err *out_trouble, myr_err *err)
{
    myr_server *server = NULL;
    MYR_TRY(myr_serve_open_silent(workspace_root, service, &server, err));
    once_wait_deployed(server);
    serve_thread *thread = server->threads;
    myr_serve_hold(server, thread);
    myr_rc rc = once_run(server, thread, fleet, row, output, out, out_trouble, err);
    myr_serve_drop(thread);
    myr_serve_close_silent(server);
    return rc;
}
