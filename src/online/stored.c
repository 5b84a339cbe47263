/* Requests that are to be stored: copied into a job, since who asks may be gone before the thread comes to it. */
#include <stdio.h>
#include <string.h>

#include "online/predictions.h"

struct myr_stored {
    prediction_job job;
};

/* What a request holds, about: for the bound on all that waits. */
static int64_t stored_bytes(const myr_store_request *request)
{
    size_t bytes = sizeof(prediction_job) + (request->claim != NULL ? request->answer.body.size : 0);
    for (size_t i = 0; i < request->row_count; i++) {
        const myr_prediction *row = &request->rows[i];
        bytes += sizeof(prediction_row) + row->key.size + row->features.size + row->model.size + 24 * row->value_count;
    }
    return (int64_t)bytes;
}

static myr_rc stored_check(const myr_predictions *store, const myr_store_request *request, int64_t bytes, myr_err *err)
{
    if (request->row_count > MYR_STORE_ROWS_MAX)
        MYR_FAIL(err, TOO_LARGE, "%zu predictions of one request, the most that are stored is %d", request->row_count,
                 MYR_STORE_ROWS_MAX);
    if (request->claim != NULL && request->answer.body.size > MYR_STORED_ANSWER_BYTES_MAX)
        MYR_FAIL(err, TOO_LARGE, "an answer of %zu bytes, the most that is kept under an idempotency key is %d",
                 request->answer.body.size, MYR_STORED_ANSWER_BYTES_MAX);
    if (atomic_load(&store->bytes) + bytes > PREDICTIONS_BYTES_MAX) {
        myr_metric_add(store->counts[PREDICTION_BUSY], 1);
        MYR_FAIL(err, BUSY, "%s: too much waits to be stored: try again later", store->shown);
    }
    return MYR_OK;
}

static bool stored_outputs(prediction_job *job, const myr_prediction *from, myr_str *out)
{
    MYR_AUTO(myr_buf) text = {0};
    if (from->value_count <= 1) return true;
    for (uint32_t i = 0; i < from->value_count; i++) {
        myr_buf_putc(&text, i == 0 ? '[' : ',');
        myr_buf_json_double(&text, from->values[i]);
    }
    myr_buf_putc(&text, ']');
    return !text.failed && myr_prediction_keep(job, myr_str_make(text.data, text.size), out);
}

/* PostgreSQL refuses texts that are not UTF-8; the others come from us. */
static myr_str stored_id(myr_str id)
{
    bool is_text = id.data != NULL && myr_utf8_is_valid(id) && memchr(id.data, '\0', id.size) == NULL;
    return is_text ? id : myr_str_make(NULL, 0);
}

static bool stored_fill(prediction_job *job, const myr_store_request *request)
{
    job->rows = myr_arena_calloc(job->arena, request->row_count + 1, sizeof *job->rows);
    bool ok = job->rows != NULL && myr_prediction_keep(job, request->fleet, &job->fleet) &&
              myr_prediction_keep(job, myr_str_of(request->source), &job->source) &&
              myr_prediction_keep(job, stored_id(request->request_id), &job->request_id);
    for (size_t i = 0; ok && i < request->row_count; i++) {
        const myr_prediction *from = &request->rows[i];
        prediction_row *row = &job->rows[i];
        MYR_ASSERT(from->value_count > 0);
        row->value = from->values[0];
        row->model_version = from->model_version;
        ok = myr_prediction_keep(job, from->key, &row->key) &&
             myr_prediction_keep(job, from->features, &row->features) &&
             myr_prediction_keep(job, from->model, &row->model) &&
             myr_prediction_keep(job, myr_str_of(from->level), &row->level) && stored_outputs(job, from, &row->outputs);
    }
    job->row_count = request->row_count;
    job->release = request->release;
    job->produced_ms = request->produced_ms;
    job->valid_ms = request->valid_ms;
    if (!ok || request->claim == NULL) return ok;
    job->has_answer = true;
    job->answer = request->answer;
    job->expires_ms = request->produced_ms + job->store->opts.answer_keep_ms;
    return myr_prediction_keep_claim(job, request->claim) &&
           myr_prediction_keep(job, request->answer.content_type, &job->answer.content_type) &&
           myr_prediction_keep(job, request->answer.body, &job->answer.body);
}

static myr_rc stored_make(myr_predictions *store, const myr_store_request *request, prediction_job **out, myr_err *err)
{
    int64_t bytes = stored_bytes(request);
    MYR_TRY(stored_check(store, request, bytes, err));
    prediction_job *job = NULL;
    MYR_TRY(myr_prediction_take(store, store->writer, PREDICTION_STORE, &job, err));
    if (!stored_fill(job, request)) {
        myr_lane_give(&job->job);
        MYR_FAIL(err, NO_MEMORY, "%s: no memory for %zu predictions", store->shown, request->row_count);
    }
    job->bytes = bytes;
    atomic_fetch_add(&store->bytes, bytes);
    *out = job;
    return MYR_OK;
}

myr_rc myr_stored_start(myr_predictions *store, const myr_store_request *request, int64_t deadline_ns,
                        myr_online_done done, void *ctx, myr_stored **out, myr_err *err)
{
    MYR_ASSERT(done != NULL);
    prediction_job *job = NULL;
    MYR_TRY(stored_make(store, request, &job, err));
    int64_t later_ns = myr_clock_mono_ns() + MYR_STORE_RETRY_MS * 1000000LL;
    job->stores_late = request->stores_late;
    job->retry_until_ns = job->stores_late && later_ns > deadline_ns ? later_ns : deadline_ns;
    *out = (myr_stored *)job;
    myr_lane_submit(&job->job, deadline_ns, done, ctx);
    return MYR_OK;
}

myr_rc myr_stored_later(myr_predictions *store, const myr_store_request *request, myr_err *err)
{
    prediction_job *job = NULL;
    MYR_TRY(stored_make(store, request, &job, err));
    job->retry_until_ns = myr_clock_mono_ns() + MYR_STORE_RETRY_MS * 1000000LL;
    job->claim = request->claim;
    myr_lane_submit_and_give(&job->job, INT64_MAX);
    return MYR_OK;
}

myr_rc myr_stored_result(const myr_stored *stored, myr_kept_answer *out_answer, myr_err *err)
{
    const prediction_job *job = &stored->job;
    MYR_TRY(myr_prediction_ended(job, err));
    *out_answer = (myr_kept_answer){0};
    if (!job->is_kept) return MYR_OK;
    if (memcmp(job->kept_hash, job->hash, MYR_SHA256_HEX_BYTES - 1) != 0)
        MYR_FAIL(err, MISMATCH, "the idempotency key belongs to another request, which was answered meanwhile");
    *out_answer = job->kept;
    return MYR_OK;
}

void myr_stored_free(myr_stored *stored)
{
    if (stored != NULL) myr_lane_give(&stored->job.job);
}
