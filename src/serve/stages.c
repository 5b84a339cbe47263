/*
 * Rows through the stages of a service file without a server: what `myriad predict --service` and `myriad stream
 * --service` ask. The stages are the server's own; there are no listeners, no thread looks at the registry, and nobody
 * is told.
 */
#include "serve/reload.h"

#include <stdio.h>

#define STAGES_LOOK_MS  50
#define STAGES_LEAST_MS 1000  /* for rows that come together, … */
#define STAGES_MOST_MS  10000 /* … as for a large request */

struct myr_stages {
    myr_server *server;
    char fleet[MYR_NAME_BYTES_MAX + 1];
    serve_principal who;
    const serve_fleet *served; /* between begin and end: the rows are decoded for it */
    serve_work *work;
};

/* Models that are code: as a server that is ready. */
static void stages_wait_deployed(myr_server *server)
{
    while (!myr_serve_deploy_is_settled(server))
        myr_clock_sleep_ms(STAGES_LOOK_MS);
}

myr_rc myr_stages_open(const char *workspace_root, const char *service, const char *fleet, myr_stages **out,
                       myr_err *err)
{
    myr_stages *stages = myr_calloc(1, sizeof *stages);
    const myr_fleet *opened;
    if (stages == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for the stages");
    stages->who.is_known = true; /* who reads the workspace may ask all of it */
    (void)snprintf(stages->fleet, sizeof stages->fleet, "%s", fleet);
    myr_rc rc = myr_serve_open_silent(workspace_root, service, &stages->server, err);
    if (rc == MYR_OK) {
        stages_wait_deployed(stages->server);
        rc = myr_stages_begin(stages, &opened, err);
        if (rc == MYR_OK) myr_stages_end(stages);
    }
    if (rc != MYR_OK) {
        myr_stages_close(stages);
        return rc;
    }
    *out = stages;
    return MYR_OK;
}

void myr_stages_close(myr_stages *stages)
{
    if (stages == NULL) return;
    if (stages->server != NULL) myr_serve_close_silent(stages->server);
    myr_free(stages);
}

void myr_stages_follow(myr_stages *stages, bool reads_service)
{
    MYR_ASSERT(stages->served == NULL);
    myr_serve_reloader_look_here(stages->server, reads_service);
}

myr_rc myr_stages_begin(myr_stages *stages, const myr_fleet **out, myr_err *err)
{
    serve_thread *thread = stages->server->threads;
    serve_fleet *served = NULL;
    MYR_ASSERT(stages->served == NULL);
    myr_serve_hold(stages->server, thread);
    myr_rc rc = myr_serve_fleet_find(thread, myr_str_of(stages->fleet), &served, err);
    if (rc != MYR_OK) {
        myr_serve_drop(thread);
        return rc;
    }
    stages->served = served;
    *out = served->fleet;
    return MYR_OK;
}

myr_rc myr_stages_store(myr_stages *stages, myr_err *err)
{
    const myr_kept_answer nothing = {0}; /* it has no idempotency key */
    serve_work *work = stages->work;
    if (!myr_serve_work_stores(work)) return MYR_OK;
    MYR_TRY(myr_serve_store_start(work, &nothing, err));
    return myr_serve_store_take(work, err);
}

/* As much time together as they would have one by one. */
static int64_t stages_limit_ms(const myr_stages *stages, int64_t row_count)
{
    const serve_bound *bound = stages->served->bound;
    if (bound == NULL || bound->plan->deadline_ms == 0) return STAGES_MOST_MS;
    if (row_count > STAGES_MOST_MS / bound->plan->deadline_ms) return STAGES_MOST_MS;
    int64_t limit_ms = bound->plan->deadline_ms * row_count;
    return limit_ms > STAGES_LEAST_MS ? limit_ms : STAGES_LEAST_MS;
}

myr_rc myr_stages_run(myr_stages *stages, const myr_score_rows *rows, const myr_stages_ask *ask, myr_arena *arena,
                      myr_err *err)
{
    MYR_ASSERT(stages->served != NULL && stages->work == NULL);
    serve_work *work = NULL;
    int64_t now_ns = myr_clock_mono_ns();
    MYR_TRY(myr_serve_work_new(stages->server, stages->server->threads, arena, &stages->who, now_ns, now_ns, true,
                               &work, err));
    stages->work = work;
    work->outputs[0] = ask->output;
    work->output_count = ask->output != MYR_OUTPUT_VALUE ? 1 : 0;
    work->any_leaves = true;
    work->target = (serve_target){.fleet = (serve_fleet *)(uintptr_t)stages->served,
                                  .model_idx = MYR_PACK_NONE,
                                  .name = myr_str_of(stages->fleet),
                                  .is_release = ask->champion};
    work->rows = *rows;
    int64_t limit_ms = ask->limit_ms > 0 ? ask->limit_ms : stages_limit_ms(stages, rows->row_count);
    myr_serve_work_limit(work, limit_ms * 1000000);
    MYR_TRY(myr_serve_work_run(work, err));
    MYR_ASSERT(myr_serve_work_is_answered(work)); /* it may block, and has no key that was claimed before */
    return MYR_OK;
}

const myr_err *myr_stages_trouble(const myr_stages *stages)
{
    static const myr_err none;
    return stages->work != NULL ? &stages->work->trouble : &none;
}

void myr_stages_row(const myr_stages *stages, size_t row_idx, myr_stages_answer *out)
{
    const serve_work *work = stages->work;
    MYR_ASSERT(row_idx < (size_t)work->rows.row_count);
    *out = (myr_stages_answer){.status = (myr_row_status)work->statuses[row_idx],
                               .model_idx = work->model_idxs[row_idx],
                               .fleet = work->target.fleet->fleet};
    if (work->notes != NULL) out->message = work->notes[row_idx].message;
}

myr_rc myr_stages_put(const myr_stages *stages, size_t row_idx, myr_buf *out, myr_err *err)
{
    MYR_TRY(myr_serve_put_row(stages->work, row_idx, SERVE_AS_JSON, row_idx + 1, out, err));
    return myr_buf_check(out, err);
}

void myr_stages_forget(myr_stages *stages, bool is_ok)
{
    if (stages->work != NULL) myr_serve_work_end(stages->work, is_ok);
    stages->work = NULL;
}

void myr_stages_end(myr_stages *stages)
{
    myr_stages_forget(stages, true);
    stages->served = NULL;
    myr_serve_drop(stages->server->threads);
}
