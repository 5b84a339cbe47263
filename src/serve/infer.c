/* POST /v2/models/{fleet}[@segment]/infer: its answer as V2's JSON and binary tensors. */
#include "serve/internal.h"

static void infer_put_data(myr_buf *out, const myr_answers *answers, size_t row_count)
{
    myr_buf_puts(out, ",\"data\":[");
    for (size_t row = 0; row < row_count; row++) {
        for (uint32_t i = 0; i < answers->width; i++) {
            if (row > 0 || i > 0) myr_buf_putc(out, ',');
            myr_buf_json_double(out, answers->values[i][row]);
        }
    }
    myr_buf_putc(out, ']');
}

void myr_serve_put_binary(myr_buf *out, const myr_answers *answers, size_t row_count)
{
    if (answers->width == 1) {
        myr_buf_append(out, answers->values[0], row_count * sizeof(double));
        return;
    }
    for (size_t row = 0; row < row_count; row++) {
        for (uint32_t i = 0; i < answers->width; i++)
            myr_buf_append(out, &answers->values[i][row], sizeof(double));
    }
}

static void infer_put_tensor(myr_buf *out, const serve_work *work, const myr_answers *answers, bool is_binary)
{
    size_t row_count = (size_t)work->rows.row_count;
    myr_buf_puts(out, "{\"name\":\"");
    myr_buf_puts(out, answers->output == MYR_OUTPUT_VALUE ? SERVE_PREDICTION : myr_output_name(answers->output));
    myr_buf_puts(out, "\",\"datatype\":\"FP64\",\"shape\":[");
    myr_buf_int(out, (int64_t)row_count);
    myr_serve_put_width(out, work->target.fleet->fleet->info, answers->output, answers->width);
    myr_buf_putc(out, ']');
    if (is_binary) {
        myr_buf_puts(out, ",\"parameters\":{\"binary_data_size\":");
        myr_buf_int(out, (int64_t)(row_count * answers->width * sizeof(double)));
        myr_buf_putc(out, '}');
    } else {
        infer_put_data(out, answers, row_count);
    }
    myr_buf_putc(out, '}');
}

/* JSON, then the binary outputs in their order. */
static void infer_encode(serve_call *call, const serve_work *work, const infer_form *form)
{
    myr_buf *out = call->out;
    bool any_binary = false;
    myr_buf_puts(out, "{\"model_name\":");
    myr_buf_json_string(out, work->target.name);
    myr_buf_puts(out, ",\"model_version\":\"");
    myr_buf_int(out, work->target.fleet->fleet->release);
    myr_buf_putc(out, '"');
    if (work->id.data != NULL) {
        myr_buf_puts(out, ",\"id\":");
        myr_buf_json_string(out, work->id);
    }
    myr_buf_puts(out, ",\"outputs\":[");
    for (uint32_t i = 0; i < work->output_count; i++) {
        if (i > 0) myr_buf_putc(out, ',');
        infer_put_tensor(out, work, &work->answers[i], form->is_binary[i]);
        any_binary = any_binary || form->is_binary[i];
    }
    myr_buf_puts(out, "]}");
    if (!any_binary) return;
    call->json_bytes = out->size;
    for (uint32_t i = 0; i < work->output_count; i++) {
        if (form->is_binary[i]) myr_serve_put_binary(out, &work->answers[i], (size_t)work->rows.row_count);
    }
}

/* Target and rows, once; a request that slept has them. */
static myr_rc infer_begin(serve_call *call, myr_err *err)
{
    serve_work *work;
    infer_form *form = myr_arena_alloc(call->arena, sizeof *form);
    if (form == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for a request");
    MYR_TRY(myr_serve_call_work(call, &work, err));
    MYR_TRY(myr_serve_call_target(call, &work->target, err));
    work->form = form;
    myr_serve_call_may_sleep(call);
    work->can_replay = true;
    return myr_serve_infer_decode(call, work, form, err);
}

myr_rc myr_serve_post_infer(serve_call *call, myr_err *err)
{
    if (call->work == NULL) MYR_TRY(infer_begin(call, err));
    serve_work *work = call->work;
    MYR_TRY(myr_serve_work_run(work, err));
    call->wants_compute = work->wants_compute;
    if (myr_serve_work_is_answered(work)) infer_encode(call, work, work->form);
    return MYR_OK;
}
