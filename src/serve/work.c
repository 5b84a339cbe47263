/*
 * The stages of a request, whatever protocol it came by. A row that can't be answered has a status; V2 has no place for
 * one, so there the first such row is the error of its request.
 */
#include "serve/internal.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define WORK_TROUBLE_LOG_NS 10000000000 /* a model that can't be run is told at most so often */
#define WORK_GUESS_WEIGHT   8           /* of what was, against what is */
#define WORK_NS_PER_MS      1000000
#define WORK_SPARE_SHARE    5                     /* of the time that is left … */
#define WORK_SPARE_NS       (20 * WORK_NS_PER_MS) /* … and no more than this, is kept for saying so */

const char *myr_serve_stage_name(serve_stage stage)
{
    static const char *const names[] = {"queue", "decode", "fetch", "infer", "validate", "rules", "store", "encode"};
    _Static_assert(MYR_COUNT_OF(names) == SERVE_STAGE_COUNT, "a name per stage");
    return names[stage];
}

myr_rc myr_serve_work_new(struct myr_server *server, serve_thread *thread, myr_arena *arena,
                          const struct serve_principal *who, int64_t start_ns, int64_t began_ns, bool may_block,
                          serve_work **out, myr_err *err)
{
    serve_work *work = myr_arena_calloc(arena, 1, sizeof *work);
    if (work == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for a request");
    work->server = server;
    work->thread = thread;
    work->arena = arena;
    work->who = who;
    work->may_block = may_block;
    work->start_ns = work->whole_ns = start_ns;
    work->mark_ns = began_ns;
    work->stage_ns[SERVE_QUEUE] = began_ns - start_ns;
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
    if (work->wants_compute || work->waits || work->is_ended) return; /* it comes again */
    work->is_ended = true;
    myr_serve_work_mark(work, SERVE_ENCODE);
    myr_serve_count_infer(work, is_ok);
    if (is_ok) myr_serve_count_stages(work);
    myr_serve_work_drop(work);
}

void myr_serve_work_drop(serve_work *work)
{
    MYR_ASSERT(atomic_load(&work->sleep.pending) == 0);
    myr_serve_fetch_free(work);
    myr_serve_store_free(work);
}

/* ---- the deadline ---- */

void myr_serve_work_limit(serve_work *work, int64_t limit_ns)
{
    int64_t most_ns = (int64_t)SERVE_DEADLINE_MS_MAX * WORK_NS_PER_MS;
    if (limit_ns > most_ns) limit_ns = most_ns;
    if (work->limit_ns == 0 || limit_ns < work->limit_ns) work->limit_ns = limit_ns;
}

/* The client's own, the fleet's, the server's; one for requests of many rows. */
static void work_set_deadline(serve_work *work)
{
    const myr_serve_opts *opts = &work->server->opts;
    bool is_bulk = work->rows.row_count > myr_serve_now(&opts->inline_rows_max);
    int64_t limit_ms = myr_serve_now(is_bulk ? &opts->bulk_deadline_ms : &opts->deadline_ms);
    if (work->bound != NULL && work->bound->plan->deadline_ms > 0) limit_ms = work->bound->plan->deadline_ms;
    int64_t limit_ns = work->limit_ns > 0 ? work->limit_ns : limit_ms * WORK_NS_PER_MS;
    work->deadline_ns = limit_ns > 0 ? work->whole_ns + limit_ns : INT64_MAX;
}

/* mark_ns is now: a stage has just ended. */
static myr_rc work_check_time(const serve_work *work, const char *when, myr_err *err)
{
    if (work->mark_ns <= work->deadline_ns) return MYR_OK;
    MYR_FAIL(err, TIMEOUT, "the deadline of %lld ms passed %s",
             (long long)((work->deadline_ns - work->whole_ns) / WORK_NS_PER_MS), when);
}

/* ---- notes ---- */

myr_rc myr_serve_work_note(serve_work *work, size_t row_idx, myr_err *err, const char *fmt, ...)
{
    char text[MYR_ERR_MESSAGE_BYTES];
    size_t row_count = (size_t)work->rows.row_count;
    if (work->notes == NULL) work->notes = myr_arena_calloc(work->arena, row_count, sizeof *work->notes);
    if (work->notes == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for %zu messages", row_count);
    if (work->notes[row_idx].message.data != NULL) return MYR_OK;
    va_list args;
    va_start(args, fmt);
    int size = vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    MYR_ASSERT(size >= 0);
    if ((size_t)size >= sizeof text) size = (int)sizeof text - 1;
    const char *copy = myr_arena_strndup(work->arena, text, (size_t)size);
    if (copy == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for a message");
    work->notes[row_idx].message = myr_str_make(copy, (size_t)size);
    return MYR_OK;
}

myr_rc myr_serve_work_mark_row(serve_work *work, size_t row_idx, uint8_t mark, myr_err *err)
{
    if (work->marks == NULL) work->marks = myr_arena_calloc(work->arena, (size_t)work->rows.row_count, 1);
    if (work->marks == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for marks of rows");
    work->marks[row_idx] |= mark;
    return MYR_OK;
}

/* ---- errors ---- */

static myr_rc work_no_memory(const serve_work *work, myr_err *err)
{
    MYR_FAIL(err, NO_MEMORY, "out of memory for %lld predictions", (long long)work->rows.row_count);
}

void myr_serve_work_key_text(const serve_work *work, size_t row_idx, char out[SERVE_KEY_TEXT_BYTES])
{
    const myr_pack_info *info = work->target.fleet->fleet->info;
    size_t used = 0;
    out[0] = '\0';
    for (uint32_t i = 0; i < info->keys.column_count && used < SERVE_KEY_TEXT_BYTES; i++) {
        const myr_col *col = &work->rows.keys[i];
        int n;
        const char *comma = i > 0 ? "," : "";
        if (myr_col_is_null(col, (int64_t)row_idx)) {
            n = snprintf(out + used, SERVE_KEY_TEXT_BYTES - used, "%s%s=null", comma, col->name);
        } else if (col->type == MYR_COL_INT64) {
            n = snprintf(out + used, SERVE_KEY_TEXT_BYTES - used, "%s%s=%lld", comma, col->name,
                         (long long)col->data.i64[row_idx]);
        } else {
            n = snprintf(out + used, SERVE_KEY_TEXT_BYTES - used, "%s%s=" MYR_STR_FMT, comma, col->name,
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
    const myr_err *trouble = &work->trouble;
    if (trouble->rc != MYR_OK && (status == MYR_ROW_UNAVAILABLE || status == MYR_ROW_BROKEN_MODEL)) {
        if (err != NULL) *err = *trouble;
        return myr_err_prefix(err, (myr_rc)trouble->rc, "row %zu: ", row_idx);
    }
    if (status == MYR_ROW_REJECTED) {
        MYR_ASSERT(work->notes != NULL);
        MYR_FAIL(err, BAD_INPUT, "row %zu: " MYR_STR_FMT, row_idx, MYR_STR_ARG(work->notes[row_idx].message));
    }
    if (status == MYR_ROW_FAILED) {
        MYR_ASSERT(work->notes != NULL);
        MYR_FAIL(err, SCRIPT, "row %zu: " MYR_STR_FMT, row_idx, MYR_STR_ARG(work->notes[row_idx].message));
    }
    if (status == MYR_ROW_BAD_INPUT) {
        MYR_FAIL(err, BAD_INPUT, "row %zu: a feature is nothing that its model takes: a text or a missing value",
                 row_idx);
    }
    if (status == MYR_ROW_NO_OUTPUT) {
        MYR_FAIL(err, UNSUPPORTED, "row %zu: its model does not give this output, or not as wide as others", row_idx);
    }
    char key[SERVE_KEY_TEXT_BYTES];
    if (work->target.model_idx != MYR_PACK_NONE) { /* its model is chosen: only damage is left */
        MYR_FAIL(err, INTERNAL, "row %zu: model '" MYR_STR_FMT "' is damaged in the pack of release %lld", row_idx,
                 MYR_STR_ARG(work->target.name), (long long)fleet->release);
    }
    myr_serve_work_key_text(work, row_idx, key);
    if (status == MYR_ROW_BAD_KEY) {
        MYR_FAIL(err, BAD_INPUT, "row %zu (%s): a key value is not of its column's type, or too long", row_idx, key);
    }
    if (status == MYR_ROW_NO_MODEL && work->notes != NULL && work->notes[row_idx].message.data != NULL) {
        MYR_FAIL(err, NOT_FOUND, "row %zu (%s): " MYR_STR_FMT, row_idx, key, MYR_STR_ARG(work->notes[row_idx].message));
    }
    if (status == MYR_ROW_NO_MODEL) {
        MYR_FAIL(err, NOT_FOUND, "row %zu (%s): fleet '%s' has no model for this key, nor a parent or global one",
                 row_idx, key, fleet->name);
    }
    MYR_FAIL(err, INTERNAL, "row %zu (%s): its model is damaged in the pack of fleet '%s', release %lld", row_idx, key,
             fleet->name, (long long)fleet->release);
}

void myr_serve_note_trouble(myr_server *server, const char *what, const myr_err *trouble)
{
    int64_t now_ns = myr_clock_mono_ns(), last_ns = atomic_load(&server->trouble_ns);
    if (last_ns != 0 && now_ns - last_ns <= WORK_TROUBLE_LOG_NS) return;
    atomic_store(&server->trouble_ns, now_ns);
    myr_log_err(MYR_LOG_WARN, "serve", what, trouble);
}

/* ---- infer ---- */

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
    if (output == MYR_OUTPUT_LEAF && work->any_leaves && work->rows.fixed_model == MYR_PACK_NONE) {
        if (work->rows.leaf_width == 0)
            MYR_TRY(myr_fleet_leaf_width(fleet, work->thread->scratch, &work->rows, work->arena, &work->rows.leaf_width,
                                         err));
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

/* How long a model that another request loads is waited for: so long that there is time left to say that it was too
 * long, which is 503 and "ask again", where the deadline itself would be 504. */
static int64_t work_wait_until(const serve_work *work)
{
    if (work->deadline_ns == INT64_MAX) return 0;
    int64_t left_ns = work->deadline_ns - work->mark_ns, spare_ns = left_ns / WORK_SPARE_SHARE;
    if (spare_ns > WORK_SPARE_NS) spare_ns = WORK_SPARE_NS;
    return work->deadline_ns - spare_ns;
}

static myr_rc work_infer_output(serve_work *work, uint32_t output_idx, uint8_t *statuses, myr_err *err)
{
    myr_answers *answers = &work->answers[output_idx];
    work->rows.no_runner = !work->may_block || work->spares_runner;
    work->rows.until_ns = work_wait_until(work);
    MYR_TRY(work_make_answers(work, work->outputs[output_idx], answers, err));
    if (work->rows.row_count == 0) return MYR_OK;
    myr_score_out out = {answers->values, work->model_idxs, work->levels, statuses};
    work->rows.output = work->outputs[output_idx];
    myr_err trouble;
    trouble.rc = MYR_OK;
    MYR_TRY(myr_serve_score(work, &out, answers->width, &trouble, err));
    if (trouble.rc != MYR_OK && work->trouble.rc == MYR_OK) work->trouble = trouble;
    if (trouble.rc != MYR_OK) myr_serve_note_trouble(work->server, "models not run", &trouble);
    work->wants_compute = !work->may_block && myr_score_needs_runner(work->thread->scratch);
    return MYR_OK;
}

/* A row is ok if all its outputs are. */
static void work_merge(uint8_t *statuses, const uint8_t *more, size_t row_count)
{
    for (size_t i = 0; i < row_count; i++) {
        if (statuses[i] == MYR_ROW_OK) statuses[i] = more[i];
    }
}

myr_rc myr_serve_work_infer(serve_work *work, myr_err *err)
{
    size_t row_count = (size_t)work->rows.row_count;
    MYR_TRY(work_make_rows(work, err));
    for (uint32_t i = 0; i < work->output_count && !work->wants_compute; i++) {
        uint8_t *statuses = i == 0 ? work->statuses : myr_arena_calloc(work->arena, row_count + 1, 1);
        if (statuses == NULL) return work_no_memory(work, err);
        MYR_TRY(work_infer_output(work, i, statuses, err));
        if (i > 0) work_merge(work->statuses, statuses, row_count);
    }
    return MYR_OK;
}

/* ---- all of them ---- */

/* Rows that have no answer, whatever was predicted for them. */
static void work_settle_row(serve_work *work, size_t row_idx)
{
    uint8_t mark = work->marks[row_idx];
    if ((mark & (SERVE_ROW_OUTSIDE | SERVE_ROW_REJECTED | SERVE_ROW_FAILED)) == 0) return;
    bool is_outside = (mark & SERVE_ROW_OUTSIDE) != 0, has_failed = (mark & SERVE_ROW_FAILED) != 0;
    work->statuses[row_idx] = is_outside ? MYR_ROW_NO_MODEL : has_failed ? MYR_ROW_FAILED : MYR_ROW_REJECTED;
    for (uint32_t i = 0; i < work->output_count; i++) {
        for (uint32_t k = 0; k < work->answers[i].width; k++)
            work->answers[i].values[k][row_idx] = (double)NAN;
    }
    if (!is_outside) return; /* whose prediction was refused is worth knowing */
    work->model_idxs[row_idx] = MYR_PACK_NONE;
    work->levels[row_idx] = MYR_LEVEL_NONE;
}

/* Count rows for the metrics; where a row has no status of its own, the first that was not answered is the error. */
static myr_rc work_finish(serve_work *work, myr_err *err)
{
    serve_row_counts counts = {0};
    size_t row_count = (size_t)work->rows.row_count, bad = row_count;
    for (size_t row = row_count; row-- > 0;) {
        if (work->marks != NULL) work_settle_row(work, row);
        MYR_ASSERT(work->levels[row] < MYR_LEVEL_COUNT && work->statuses[row] < MYR_ROW_STATUS_COUNT);
        counts[work->levels[row]][work->statuses[row]]++;
        if (work->statuses[row] != MYR_ROW_OK) bad = row;
    }
    myr_serve_count_rows(work->server, work->target.fleet, counts);
    if (work->tells_release) myr_serve_count_release(work->server, work->target.fleet, work->rows.row_count);
    return bad < row_count && work->is_whole ? myr_serve_work_row_error(work, bad, err) : MYR_OK;
}

/* How long these rows take, as far as those before them tell. A guess that is not used is made smaller, so that one
 * slow request does not stop all that follow. */
static bool work_would_overrun(serve_work *work)
{
    _Atomic int64_t *row_ns = &work->target.fleet->row_ns;
    int64_t guess_ns = atomic_load_explicit(row_ns, memory_order_relaxed);
    bool is_late = guess_ns * work->rows.row_count > work->deadline_ns - work->mark_ns;
    if (is_late) atomic_store_explicit(row_ns, guess_ns - guess_ns / WORK_GUESS_WEIGHT, memory_order_relaxed);
    return is_late;
}

static void work_note_speed(const serve_work *work, int64_t took_ns)
{
    _Atomic int64_t *row_ns = &work->target.fleet->row_ns;
    int64_t guess_ns = atomic_load_explicit(row_ns, memory_order_relaxed);
    int64_t now_ns = took_ns / (work->rows.row_count > 0 ? work->rows.row_count : 1);
    atomic_store_explicit(row_ns, guess_ns + (now_ns - guess_ns) / WORK_GUESS_WEIGHT, memory_order_relaxed);
}

/* Where a late model is not waited for, rows of one that can't be asked go to the next level. */
static myr_rc work_fall_unavailable(serve_work *work, myr_err *err)
{
    for (size_t i = 0; i < (size_t)work->rows.row_count; i++) {
        if (work->statuses[i] != MYR_ROW_UNAVAILABLE) continue;
        MYR_TRY(myr_serve_work_note(work, i, err, "its model %s",
                                    work->spares_runner ? "would have been too late" : "can't be run now"));
        MYR_TRY(myr_serve_work_mark_row(work, i, SERVE_ROW_FALLS, err));
    }
    return MYR_OK;
}

/* Decoded: is there time, and may this client ask for these rows? */
static myr_rc work_begin(serve_work *work, myr_err *err)
{
    MYR_ASSERT(work->rows.row_count >= 0 && work->rows.row_count <= SERVE_ROWS_MAX);
    myr_serve_work_mark(work, SERVE_DECODE);
    MYR_TRY(myr_serve_choose_release(work, err));
    work->bound = work->target.fleet->bound;
    work_set_deadline(work);
    MYR_TRY(work_check_time(work, "before its model could run", err));
    MYR_TRY(myr_serve_may_rows(work->who, work->target.fleet, &work->rows, work->arena, err));
    if (work->output_count == 0) work->outputs[work->output_count++] = MYR_OUTPUT_VALUE;
    return MYR_OK;
}

/* What the service file asks of rows before their models see them. */
static myr_rc work_check_before(serve_work *work, myr_err *err)
{
    if (work->bound == NULL) return MYR_OK;
    work->rows.levels = work->bound->plan->levels;
    MYR_TRY(myr_serve_check_groups(work, err));
    MYR_TRY(myr_serve_check_inputs(work, err));
    if (work->bound->script != NULL) myr_serve_rules_begin(work);
    myr_serve_work_mark(work, SERVE_VALIDATE);
    work->spares_runner = work->bound->plan->late_infer == SERVE_NEXT && work_would_overrun(work);
    return MYR_OK;
}

/* No model is asked: stored predictions are to answer. */
static myr_rc work_infer_nothing(serve_work *work, myr_err *err)
{
    MYR_TRY(work_make_rows(work, err));
    for (uint32_t i = 0; i < work->output_count; i++) {
        myr_answers *answers = &work->answers[i];
        MYR_TRY(work_make_answers(work, work->outputs[i], answers, err));
        for (uint32_t k = 0; k < answers->width; k++) {
            for (size_t row = 0; row < (size_t)work->rows.row_count; row++)
                answers->values[k][row] = (double)NAN;
        }
    }
    for (size_t row = 0; row < (size_t)work->rows.row_count; row++) {
        work->model_idxs[row] = MYR_PACK_NONE;
        work->statuses[row] = MYR_ROW_UNAVAILABLE;
        MYR_TRY(myr_serve_work_mark_row(work, row, SERVE_ROW_LAST, err));
        MYR_TRY(myr_serve_work_note(work, row, err, "its model would have been too late"));
    }
    return MYR_OK;
}

static myr_rc work_infer(serve_work *work, myr_err *err)
{
    work->takes_stored =
        work->bound != NULL && work->bound->plan->late_infer == SERVE_STORED && work_would_overrun(work);
    if (work->takes_stored) return work_infer_nothing(work, err);
    MYR_TRY(myr_serve_work_infer(work, err));
    myr_serve_work_mark(work, SERVE_INFER);
    return MYR_OK;
}

/* … and of predictions. */
static myr_rc work_check_after(serve_work *work, myr_err *err)
{
    if (work->bound == NULL || work->takes_stored) return MYR_OK;
    bool may_fall = work->bound->plan->late_infer == SERVE_NEXT && work->rows.fixed_model == MYR_PACK_NONE;
    if (!work->spares_runner) work_note_speed(work, work->stage_ns[SERVE_INFER]);
    if (may_fall) MYR_TRY(work_fall_unavailable(work, err));
    MYR_TRY(myr_serve_check_outputs(work, err));
    myr_serve_work_mark(work, SERVE_VALIDATE);
    MYR_TRY(myr_serve_fall_back(work, err));
    myr_serve_work_mark(work, SERVE_INFER);
    return MYR_OK;
}

static myr_rc work_rules(serve_work *work, myr_err *err)
{
    if (work->bound == NULL || work->bound->script == NULL) return MYR_OK;
    MYR_TRY(myr_serve_apply_rules(work, err));
    myr_serve_work_mark(work, SERVE_RULES);
    return MYR_OK;
}

static myr_rc work_settle(serve_work *work, myr_err *err)
{
    MYR_TRY(work_check_time(work, "while its model ran", err));
    return work_finish(work, err);
}

/* Each begins where the one before it ended, maybe after a sleep. */
static myr_rc (*const work_steps[])(serve_work *work, myr_err *err) = {
    work_begin,
    myr_serve_claim_start,
    myr_serve_claim_take,
    myr_serve_fetch_start,
    myr_serve_fetch_take,
    work_check_before,
    work_infer,
    work_check_after,
    myr_serve_latest_start,
    myr_serve_latest_take,
    work_rules,
    work_settle,
};

myr_rc myr_serve_work_run(serve_work *work, myr_err *err)
{
    work->waits = false;
    while (work->step < MYR_COUNT_OF(work_steps)) {
        MYR_TRY(work_steps[work->step](work, err));
        if (work->wants_compute) return MYR_OK;
        work->step++;
        if (work->waits || work->replay.status != 0) return MYR_OK;
        if (work->rows.row_count == 0 && !work->is_whole) break; /* nothing to say */
    }
    return MYR_OK;
}
