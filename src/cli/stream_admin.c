/* A small listener beside the stream: it answers from what the stream's thread has counted. */
#include "cli/stream_admin.h"

#include <string.h>

static void *admin_state_make(void *ctx)
{
    return ctx; /* nothing of its own, and not NULL */
}

static void admin_state_free(void *state)
{
    (void)state;
}

static void admin_metrics(const stream_admin *admin, myr_req *req)
{
    MYR_AUTO(myr_buf) text = {0};
    myr_err err = {0};
    myr_metrics_render(admin->metrics, &text);
    char *body = text.failed ? NULL : myr_arena_strndup(myr_req_arena(req), text.data, text.size);
    if (body == NULL) {
        MYR_IGNORE(MYR_ERROR(&err, NO_MEMORY, "out of memory for the metrics")); /* it is the answer */
        myr_req_reply_error(req, &err);
        return;
    }
    myr_req_reply(req, 200, "text/plain; version=0.0.4", body, text.size);
}

static void admin_state(myr_req *req, bool is_so)
{
    const char *body = is_so ? "{\"ready\":true}" : "{\"ready\":false}";
    myr_req_reply(req, is_so ? 200 : 503, "application/json", body, strlen(body));
}

static void admin_answer(void *ctx, myr_req *req)
{
    stream_admin *admin = ctx;
    const char *path = myr_req_path(req);
    myr_err err = {0};
    if (myr_req_method(req) != MYR_GET) {
        MYR_IGNORE(MYR_ERROR(&err, BAD_INPUT, "%s is only asked by GET", path)); /* it is the answer */
        myr_req_reply_error(req, &err);
    } else if (strcmp(path, "/metrics") == 0) {
        admin_metrics(admin, req);
    } else if (strcmp(path, "/ready") == 0) {
        admin_state(req, atomic_load(&admin->is_ready));
    } else if (strcmp(path, "/live") == 0) {
        myr_req_reply(req, 200, "application/json", "{\"live\":true}", 13);
    } else {
        MYR_IGNORE(MYR_ERROR(&err, NOT_FOUND, "%.100s: there are /metrics, /ready and /live", path));
        myr_req_reply_error(req, &err);
    }
}

myr_rc myr_stream_admin_start(stream_admin *admin, const char *listen, bool is_open, myr_err *err)
{
    const myr_http_opts opts = {
        .listen = listen,
        .only_loopback = is_open ? NULL : "whoever reaches it may read it: --insecure says that this is wanted",
        .loop_count = 1,
        .compute_count = 1,
        .queue_max = 16,
        .body_bytes_max = 1024,
        .request_bytes_max = 4 << 20,
        .connections_max = 64,
        .header_timeout_ms = 10000,
        .body_timeout_ms = 10000,
        .idle_timeout_ms = 60000,
        .handler = admin_answer,
        .make_loop_state = admin_state_make,
        .free_loop_state = admin_state_free,
        .ctx = admin,
    };
    return myr_http_start(&opts, &admin->server, err);
}

void myr_stream_admin_stop(stream_admin *admin)
{
    if (admin->server != NULL) myr_http_stop(admin->server, 1000);
    admin->server = NULL;
}
