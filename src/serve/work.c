/*
 * The stages of a request, whatever protocol it came by. A row that can't be answered has a status; V2 has no place for
 * one, so there the first such row is the error of its request.
 */
#include "serve/internal.h"

#include <stdio.h>
#include <string.h>

#define WORK_KEY_TEXT_BYTES 160
#define WORK_TROUBLE_LOG_NS 10000000000 /* a model that can't be run is told at most so often */

myr_rc myr_serve_work_new(struct myr_server *server, serve_thread *thread, myr_arena *arena,
                          const struct serve_principal *who, int64_t start_ns, bool may_block, serve_work **out,
                          myr_err *err)
{
    serve_work *work = myr_arena_calloc(arena, 1, sizeof *work);
    if (work == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for a request");
    work->server = server;
    work->thread = thread;
    work->arena = arena;
    work->who = who;
    work->may_block = may_block;
    work->start_ns = work->mark_ns = start_ns;
    myr_serve_work_mark(work, SERVE_QUEUE);
    *out = work;
    return MYR_OK;
}

void myr_serve_work_mark(serve_work *work, serve_stage stage)
{
    int64_t now_ns = myr_clock_mono_ns();
    work->stage_ns[stage] += now_ns - work->mark_ns;
    work->mark_ns = now_ns;
}

void myr_serve_work_end(serve_work *work, bool is_ok)
{
    if (work->wants_compute) return; /* it comes again */
    myr_serve_work_mark(work, SERVE_ENCODE);
    myr_serve_count_infer(work, is_ok);
}

/* ---- errors ---- */

static myr_rc work_no_memory(const serve_work *work, myr_err *err)
{
    MYR_FAIL(err, NO_MEMORY, "out of memory for %lld predictions", (long long)work->rows.row_count);
}

/* "store=2,brand=1" of a row, as it was sent; for messages. */
static void work_key_text(const serve_work *work, size_t row_idx, char out[WORK_KEY_TEXT_BYTES])
{
    const myr_pack_info *info = work->target.fleet->fleet->info;
    size_t used = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < info->keys.column_count && used < WORK_KEY_TEXT_BYTES; i++) {
        const myr_col *col = &work->rows.keys[i];
        int n;
        const char *comma = i > 0 ? "," : "";
        if (myr_col_is_null(col, (int64_t)row_idx)) {
            n = snprintf(out + used, WORK_KEY_TEXT_BYTES - used, "%s%s=null", comma, col->name);
        } else if (col->type == MYR_COL_INT64) {
            n = snprintf(out + used, WORK_KEY_TEXT_BYTES - used, "%s%s=%lld", comma, col->name,
                         (long long)col->data.i64[row_idx]);
        } else {
            n = snprintf(out + used, WORK_KEY_TEXT_BYTES - used, "%s%s=" MYR_STR_FMT, comma, col->name,
                         MYR_STR_ARG(col->data.text[row_idx]));
        }
        MYR_ASSERT(n >= 0);
        used += (size_t)n;
    }
}

myr_rc myr_serve_work_row_error(const serve_work *work, size_t row_idx, myr_err *err)
{
    uint8_t status = work->statuses[row_idx];
    const myr_fleet *fleet = work->target.fleet->fleet;
    const myr_err *trouble = myr_score_trouble(work->thread->scratch);
    if (trouble->rc != MYR_OK && (status == MYR_ROW_UNAVAILABLE || status == MYR_ROW_BROKEN_MODEL)) {
        if (err != NULL) *err = *trouble;
        return myr_err_prefix(err, (myr_rc)trouble->rc, "row %zu: ", row_idx);
    }
    if (status == MYR_ROW_BAD_INPUT) {
        MYR_FAIL(err, BAD_INPUT, "row %zu: a feature is nothing that its model takes: a text or a missing value",
                 row_idx);
    }
    if (status == MYR_ROW_NO_OUTPUT) {
        MYR_FAIL(err, UNSUPPORTED, "row %zu: its model does not give this output, or not as wide as others", row_idx);
    }
    char key[WORK_KEY_TEXT_BYTES];
    if (work->target.model_idx != MYR_PACK_NONE) { /* its model is chosen: only damage is left */
        MYR_FAIL(err, INTERNAL, "row %zu: model '" MYR_STR_FMT "' is damaged in the pack of release %lld", row_idx,
                 MYR_STR_ARG(work->target.name), (long long)fleet->release);
    }
    work_key_text(work, row_idx, key);
    if (status == MYR_ROW_BAD_KEY) {
        MYR_FAIL(err, BAD_INPUT, "row %zu (%s): a key value is not of its column's type, or too long", row_idx, key);
    }
    if (status == MYR_ROW_NO_MODEL) {
        MYR_FAIL(err, NOT_FOUND, "row %zu (%s): fleet '%s' has no model for this key, nor a parent or global one",
                 row_idx, key, fleet->name);
    }
    MYR_FAIL(err, INTERNAL, "row %zu (%s): its model is damaged in the pack of fleet '%s', release %lld", row_idx, key,
             fleet->name, (long long)fleet->release);
}

/* ---- infer ---- */

/* Are there rows for a runner, which would block this thread? Its trouble is logged here. */
static bool work_needs_compute(serve_work *work)
{
    const myr_err *trouble = myr_score_trouble(work->thread->scratch);
    int64_t now_ns = myr_clock_mono_ns(), last_ns = atomic_load(&work->server->trouble_ns);
    if (trouble->rc != MYR_OK && (last_ns == 0 || now_ns - last_ns > WORK_TROUBLE_LOG_NS)) {
        atomic_store(&work->server->trouble_ns, now_ns);
        myr_log_err(MYR_LOG_WARN, "serve", "models not run", trouble);
    }
    return !work->may_block && myr_score_needs_runner(work->thread->scratch);
}

static myr_rc work_make_rows(serve_work *work, myr_err *err)
{
    size_t row_count = (size_t)work->rows.row_count;
    work->model_idxs = myr_arena_alloc(work->arena, (row_count + 1) * sizeof *work->model_idxs);
    work->levels = myr_arena_calloc(work->arena, row_count + 1, 2);
    if (work->model_idxs == NULL || work->levels == NULL) return work_no_memory(work, err);
    work->statuses = work->levels + row_count + 1;
    return MYR_OK;
}

/* Columns for one output, as wide as its models make it. */
static myr_rc work_make_answers(serve_work *work, myr_output output, myr_answers *out, myr_err *err)
{
    size_t row_count = (size_t)work->rows.row_count, width = 0;
    const myr_fleet *fleet = work->target.fleet->fleet;
    work->rows.leaf_width = 0;
    if (output == MYR_OUTPUT_LEAF && work->any_leaves && work->rows.fixed_model == MYR_PACK_NONE) {
        MYR_TRY(
            myr_fleet_leaf_width(fleet, work->thread->scratch, &work->rows, work->arena, &work->rows.leaf_width, err));
        width = work->rows.leaf_width;
    } else {
        MYR_TRY(myr_scorer_check_output(fleet->scorer, work->rows.fixed_model, output, &width, err));
    }
    double **columns = myr_arena_alloc(work->arena, width * sizeof *columns);
    double *cells = myr_arena_alloc(work->arena, (row_count * width + 1) * sizeof *cells);
    if (columns == NULL || cells == NULL) return work_no_memory(work, err);
    for (size_t i = 0; i < width; i++)
        columns[i] = cells + i * row_count;
    *out = (myr_answers){.output = output,
                         .width = (uint32_t)width,
                         .values = columns,
                         .model_idxs = work->model_idxs,
                         .levels = work->levels,
                         .statuses = work->statuses};
    return MYR_OK;
}

static myr_rc work_infer(serve_work *work, uint32_t output_idx, myr_err *err)
{
    myr_answers *answers = &work->answers[output_idx];
    work->rows.no_runner = !work->may_block;
    MYR_TRY(work_make_answers(work, work->outputs[output_idx], answers, err));
    if (work->rows.row_count == 0) return MYR_OK;
    myr_score_out out = {answers->values, work->model_idxs, work->levels, work->statuses};
    work->rows.output = work->outputs[output_idx];
    MYR_TRY(myr_score(work->target.fleet->fleet->scorer, work->thread->scratch, &work->rows, &out, err));
    work->wants_compute = work_needs_compute(work);
    return MYR_OK;
}

/* Count rows for the metrics; where a row has no status of its own, the first that was not answered is the error. */
static myr_rc work_check(serve_work *work, bool count_them, myr_err *err)
{
    serve_row_counts counts = {0};
    size_t row_count = (size_t)work->rows.row_count, bad = row_count;
    for (size_t row = row_count; row-- > 0;) {
        MYR_ASSERT(work->levels[row] < MYR_LEVEL_COUNT && work->statuses[row] < MYR_ROW_STATUS_COUNT);
        counts[work->levels[row]][work->statuses[row]]++;
        if (work->statuses[row] != MYR_ROW_OK) bad = row;
    }
    if (count_them) myr_serve_count_rows(work->server, work->target.fleet, counts);
    return bad < row_count && work->is_whole ? myr_serve_work_row_error(work, bad, err) : MYR_OK;
}

/* ---- all of them ---- */

myr_rc myr_serve_work_run(serve_work *work, myr_err *err)
{
    MYR_ASSERT(work->rows.row_count >= 0 && work->rows.row_count <= SERVE_ROWS_MAX);
    myr_serve_work_mark(work, SERVE_DECODE);
    MYR_TRY(myr_serve_may_rows(work->who, work->target.fleet, &work->rows, work->arena, err));
    if (work->output_count == 0) work->outputs[work->output_count++] = MYR_OUTPUT_VALUE;
    if (work->rows.row_count == 0 && !work->is_whole) return MYR_OK;
    MYR_TRY(work_make_rows(work, err));
    for (uint32_t i = 0; i < work->output_count; i++) {
        MYR_TRY(work_infer(work, i, err));
        if (work->wants_compute) return MYR_OK;
        MYR_TRY(work_check(work, i == 0, err));
    }
    myr_serve_work_mark(work, SERVE_INFER);
    return MYR_OK;
}
