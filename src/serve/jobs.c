/*
 * Jobs over HTTP: a run is asked for by a row in the store, which the scheduler finds; so the answer is durable before
 * it is given, whether a scheduler runs or not. The database may be slow: never on a loop.
 */
#include "jobs/jobs.h"

#include <string.h>

#include "serve/internal.h"

#define JOBS_RUN           ":run"
#define JOBS_KEY_BYTES_MAX 128

static myr_rc jobs_open(const serve_call *call, myr_job_store **out, myr_err *err)
{
    return myr_job_store_open(call->server->root, call->server->opts.job_store, out, err);
}

/* A name as the store has it. NOT_FOUND: what no job can be called. */
static myr_rc jobs_name(const serve_call *call, myr_str text, const char **out, myr_err *err)
{
    if (!myr_name_is_valid(text)) MYR_FAIL(err, NOT_FOUND, "no job '" MYR_STR_FMT "'", MYR_STR_ARG(text));
    *out = myr_arena_strndup(call->arena, text.data, text.size);
    if (*out == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    return MYR_OK;
}

/* `{job}:run` is one part of the path. */
static myr_rc jobs_name_to_run(const serve_call *call, const char **out, myr_err *err)
{
    myr_str text = call->params[0];
    if (!myr_str_ends_with(text, JOBS_RUN)) {
        MYR_FAIL(err, NOT_FOUND, "no such path: %s: a job is run by POST /v1/jobs/{job}" JOBS_RUN,
                 myr_req_path(call->req));
    }
    return jobs_name(call, myr_str_make(text.data, text.size - strlen(JOBS_RUN)), out, err);
}

/* What makes the request the only one: the client's key, apart for each token, or a random one. */
static myr_rc jobs_key(const serve_call *call, const char **out, myr_err *err)
{
    const char *key = myr_req_header(call->req, SERVE_IDEMPOTENCY_KEY);
    unsigned char random[16];
    char hex[2 * sizeof random + 1];
    if (key != NULL) {
        size_t size = strlen(key);
        for (size_t i = 0; i < size; i++) {
            if (key[i] < '!' || key[i] > '~') size = JOBS_KEY_BYTES_MAX + 1;
        }
        if (size == 0 || size > JOBS_KEY_BYTES_MAX) {
            MYR_FAIL(err, BAD_INPUT, "the header " SERVE_IDEMPOTENCY_KEY " has 1 to %d characters, no blanks",
                     JOBS_KEY_BYTES_MAX);
        }
    } else {
        MYR_TRY(myr_random(random, sizeof random, err));
        myr_hex(random, sizeof random, hex);
    }
    long long token = call->who->token != NULL ? (long long)call->who->token->id : 0;
    *out = myr_arena_printf(call->arena, key != NULL ? "http:%lld:%s" : "http:%lld-%s", token, key != NULL ? key : hex);
    if (*out == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    return MYR_OK;
}

/* Answer with a firing. */
static myr_rc jobs_put(serve_call *call, myr_job_store *store, const char *job, int64_t id, myr_err *err)
{
    const myr_firing_filter filter = {.job = job, .id = id};
    myr_firing *firings = NULL;
    size_t count = 0;
    MYR_TRY(myr_job_store_firings(store, call->arena, &filter, &firings, &count, err));
    if (count == 0) MYR_FAIL(err, NOT_FOUND, "job '%s' has no run %lld", job, (long long)id);
    myr_firing_put_json(&firings[0], NULL, call->out);
    return MYR_OK;
}

myr_rc myr_serve_post_job(serve_call *call, myr_err *err)
{
    MYR_AUTO(myr_job_store_ptr) store = NULL;
    myr_firing_request request = {.kind = "http", .detail = "", .logical_ms = myr_clock_unix_ms()};
    int64_t id = 0;
    bool is_new = false;
    MYR_TRY(jobs_name_to_run(call, &request.job, err));
    MYR_TRY(jobs_key(call, &request.key, err));
    call->wants_compute = !call->may_block;
    if (call->wants_compute) return MYR_OK;
    MYR_TRY(jobs_open(call, &store, err));
    MYR_TRY(myr_job_store_request(store, &request, &id, &is_new, err));
    const char *place = myr_arena_printf(call->arena, "/v1/jobs/%s/runs/%lld", request.job, (long long)id);
    if (place == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory");
    MYR_TRY(jobs_put(call, store, request.job, id, err));
    myr_req_add_header(call->req, "Location", place);
    if (!is_new) myr_req_add_header(call->req, SERVE_REPLAYED, "true");
    return MYR_OK;
}

myr_rc myr_serve_get_job_run(serve_call *call, myr_err *err)
{
    MYR_AUTO(myr_job_store_ptr) store = NULL;
    const char *job = NULL;
    int64_t id = 0;
    MYR_TRY(jobs_name(call, call->params[0], &job, err));
    if (!myr_parse_int64(call->params[1], &id) || id < 1) {
        MYR_FAIL(err, NOT_FOUND, "job '%s' has no run '" MYR_STR_FMT "': its number is in the answer to " JOBS_RUN, job,
                 MYR_STR_ARG(call->params[1]));
    }
    call->wants_compute = !call->may_block;
    if (call->wants_compute) return MYR_OK;
    MYR_TRY(jobs_open(call, &store, err));
    return jobs_put(call, store, job, id, err);
}
