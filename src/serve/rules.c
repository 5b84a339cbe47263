/*
 * The stage `rules`: the fleet's score script over each row that has an answer. It may change the value, refuse the
 * row, have another model answer, add fields; where it fails, the row has failed, with script and line, and no other.
 */
#include "serve/internal.h"

#include <math.h>
#include <string.h>

#define RULES_CHOICES_MAX 3           /* models that a script may choose for one row, one after another */
#define RULES_INLINE_NS   200000      /* rows that take longer together are not run on a loop */
#define RULES_MOST_NS     10000000000 /* for a request without a deadline */
#define RULES_SHARE       4           /* where rules may be skipped, one part of so many is left for what follows */
#define RULES_WEIGHT      8           /* of what was, against what is */

typedef struct rules_run {
    serve_work *work;
    myr_script_state *state;
    const myr_answers *value;
    const myr_col *keys;
    int64_t deadline_ns;
    bool is_over; /* the other rows go without */
} rules_run;

void myr_serve_rules_begin(serve_work *work)
{
    for (uint32_t i = 0; i < work->output_count; i++) {
        if (work->outputs[i] == MYR_OUTPUT_VALUE) return;
    }
    work->outputs[work->output_count++] = MYR_OUTPUT_VALUE;
    work->adds_value = true;
}

/* ---- what is said of a row ---- */

static myr_rc rules_no_memory(myr_err *err)
{
    MYR_FAIL(err, NO_MEMORY, "out of memory for what a score script says");
}

static myr_rc rules_fail(rules_run *run, size_t row_idx, const char *message, myr_err *err)
{
    MYR_TRY(myr_serve_work_mark_row(run->work, row_idx, SERVE_ROW_FAILED, err));
    if (run->work->notes != NULL) run->work->notes[row_idx].message = (myr_str){0}; /* that a cell was clamped */
    return myr_serve_work_note(run->work, row_idx, err, "%s", message);
}

static myr_rc rules_refuse(rules_run *run, size_t row_idx, const myr_script_answer *answer, myr_err *err)
{
    serve_work *work = run->work;
    if (work->words == NULL) work->words = myr_arena_calloc(work->arena, (size_t)work->rows.row_count, sizeof(char *));
    if (work->words == NULL) return rules_no_memory(err);
    work->words[row_idx] = answer->status;
    MYR_TRY(myr_serve_work_mark_row(work, row_idx, SERVE_ROW_REJECTED, err));
    return myr_serve_work_note(work, row_idx, err, "%s", answer->reason[0] != '\0' ? answer->reason : answer->status);
}

/* The added fields as members of a JSON object, in the row's note. */
static myr_rc rules_keep_fields(rules_run *run, size_t row_idx, const myr_script_answer *answer, myr_err *err)
{
    serve_work *work = run->work;
    myr_buf *text = &work->thread->text;
    if (answer->field_count == 0) return MYR_OK;
    if (work->notes == NULL)
        work->notes = myr_arena_calloc(work->arena, (size_t)work->rows.row_count, sizeof *work->notes);
    if (work->notes == NULL) return rules_no_memory(err);
    serve_row_note *note = &work->notes[row_idx];
    myr_buf_clear(text);
    if (note->fields.data != NULL) myr_buf_append(text, note->fields.data, note->fields.size);
    for (uint32_t i = 0; i < answer->field_count; i++) {
        const myr_script_field *field = &answer->fields[i];
        myr_buf_puts(text, text->size > 0 ? ",\"" : "\"");
        myr_buf_puts(text, field->name);
        myr_buf_puts(text, "\":");
        if (field->type == MYR_SCRIPT_TEXT) {
            myr_buf_json_string(text, field->text);
        } else if (field->type == MYR_SCRIPT_BOOL) {
            myr_buf_puts(text, field->number != 0 ? "true" : "false");
        } else {
            myr_buf_json_double(text, field->number);
        }
    }
    MYR_TRY(myr_buf_check(text, err));
    char *kept = myr_arena_strndup(work->arena, text->data, text->size);
    if (kept == NULL) return rules_no_memory(err);
    note->fields = myr_str_make(kept, text->size);
    return MYR_OK;
}

/* ---- another model ---- */

/* Where the script wants the row scored; a message says why it can't be. */
static bool rules_aim(const serve_work *work, const myr_script_answer *answer, myr_score_rows *rows, myr_err *why)
{
    uint32_t all = 1u << MYR_LEVEL_SEGMENT | 1u << MYR_LEVEL_PARENT | 1u << MYR_LEVEL_GLOBAL;
    if (answer->verdict == MYR_SCRIPT_CHOSE_MODEL) {
        return myr_fleet_find_segment(work->bound->fleet, answer->choice, &rows->fixed_model, why) == MYR_OK;
    }
    if (rows->levels == 0) rows->levels = all;
    rows->levels &= all & ~((1u << answer->level) - 1);
    if (rows->levels != 0) return true;
    MYR_IGNORE(MYR_ERROR(why, SCRIPT, "the rules choose level '%s', which 'fallback' of the service file leaves out",
                         myr_level_name(answer->level)));
    return false;
}

/* Score the row again as the script wants it. *out_ended: it has no answer now, or the request goes elsewhere. */
static myr_rc rules_choose(rules_run *run, size_t row_idx, const myr_script_answer *answer, bool *out_ended,
                           myr_err *err)
{
    serve_work *work = run->work, one;
    myr_err why = {0};
    *out_ended = true;
    if (work->rows.fixed_model != MYR_PACK_NONE) { /* nor are there keys to choose by */
        return rules_fail(run, row_idx, "the rules choose a model, but the request has named one", err);
    }
    MYR_TRY(myr_serve_work_pick(work, &row_idx, 1, &one, err));
    if (!rules_aim(work, answer, &one.rows, &why)) return rules_fail(run, row_idx, why.message, err);
    MYR_TRY(myr_serve_work_infer(&one, err));
    work->trouble = one.trouble;
    work->wants_compute = one.wants_compute;
    if (work->wants_compute) return MYR_OK;
    one.rows.fixed_model =
        0; /* what breaks a rule of the output is rejected: the script has chosen, nothing falls on */
    MYR_TRY(myr_serve_check_outputs(&one, err));
    bool is_refused = one.marks != NULL && one.marks[0] != 0;
    if (is_refused || one.statuses[0] != MYR_ROW_OK) {
        const char *reason =
            is_refused ? one.notes[0].message.data : myr_row_status_name((myr_row_status)one.statuses[0]);
        myr_serve_work_put(work, row_idx, &one, 0);
        if (is_refused) MYR_TRY(myr_serve_work_mark_row(work, row_idx, SERVE_ROW_REJECTED, err));
        return myr_serve_work_note(work, row_idx, err, "of the model that the rules chose: %s", reason);
    }
    myr_serve_work_put(work, row_idx, &one, 0);
    *out_ended = false;
    return MYR_OK;
}

/* ---- a row ---- */

static myr_rc rules_ask(const rules_run *run, size_t row_idx, myr_script_answer *out, myr_err *why)
{
    const serve_work *work = run->work;
    myr_script_row row = {.keys = run->keys,
                          .features = work->rows.features,
                          .feature_stride = work->rows.feature_stride,
                          .row_idx = (int64_t)row_idx,
                          .values = run->value->values,
                          .scorer = work->bound->fleet->scorer,
                          .model_idx = work->model_idxs[row_idx],
                          .level = (myr_level)work->levels[row_idx],
                          .deadline_ns = run->deadline_ns,
                          .arena = work->arena};
    return myr_script_run(run->state, &row, out, why);
}

/* The script was stopped at its deadline. */
static myr_rc rules_late(rules_run *run, size_t row_idx, const myr_err *why, myr_err *err)
{
    serve_work *work = run->work;
    if (work->bound->plan->late_rules != SERVE_SKIP) {
        if (err != NULL) *err = *why;
        return myr_err_prefix(err, MYR_TIMEOUT, "row %zu: ", row_idx);
    }
    run->is_over = true;
    for (size_t i = row_idx; i < (size_t)work->rows.row_count; i++) {
        if (work->statuses[i] != MYR_ROW_OK) continue;
        MYR_TRY(myr_serve_work_note(work, i, err, "the rules were skipped: they would have been too late"));
    }
    return MYR_OK;
}

static myr_rc rules_row(rules_run *run, size_t row_idx, myr_err *err)
{
    for (int choices = 0;; choices++) {
        bool has_ended = true;
        myr_script_answer answer;
        myr_err why = {0};
        myr_rc rc = rules_ask(run, row_idx, &answer, &why);
        if (rc == MYR_TIMEOUT) return rules_late(run, row_idx, &why, err);
        if (rc == MYR_SCRIPT) return rules_fail(run, row_idx, why.message, err);
        if (rc != MYR_OK) {
            if (err != NULL) *err = why;
            return rc;
        }
        MYR_TRY(rules_keep_fields(run, row_idx, &answer, err));
        if (answer.verdict == MYR_SCRIPT_KEPT) return MYR_OK;
        if (answer.verdict == MYR_SCRIPT_REFUSED) return rules_refuse(run, row_idx, &answer, err);
        if (choices == RULES_CHOICES_MAX) {
            return rules_fail(run, row_idx, "the rules choose a model again and again", err);
        }
        MYR_TRY(rules_choose(run, row_idx, &answer, &has_ended, err));
        if (has_ended) return MYR_OK;
    }
}

/* ---- all rows ---- */

/* The partition columns; of a model that was named, its own segment's. */
static myr_rc rules_keys(const serve_work *work, const myr_col **out, myr_err *err)
{
    const myr_fleet *fleet = work->bound->fleet;
    const myr_key_schema *schema = &fleet->info->keys;
    size_t row_count = (size_t)work->rows.row_count;
    myr_key_value values[MYR_PARTITION_COLUMNS_MAX];
    myr_pack_entry entry;
    *out = work->rows.keys;
    if (work->rows.fixed_model == MYR_PACK_NONE) return MYR_OK;
    MYR_TRY(myr_pack_get_entry(fleet->pack, work->rows.fixed_model, &entry, err));
    myr_serve_key_values(schema, entry.key, values);
    myr_col *cols = myr_arena_calloc(work->arena, (size_t)schema->column_count + 1, sizeof *cols);
    uint8_t *valid = myr_arena_calloc(work->arena, row_count, 1); /* all null */
    if (cols == NULL || valid == NULL) return rules_no_memory(err);
    for (uint32_t i = 0; i < schema->column_count; i++) {
        bool is_number = schema->columns[i].type == MYR_KEY_INT64;
        cols[i] = (myr_col){.name = schema->columns[i].name, .type = is_number ? MYR_COL_INT64 : MYR_COL_TEXT};
        cols[i].valid = values[i].is_null ? valid : NULL;
        int64_t *numbers = is_number ? myr_arena_alloc(work->arena, row_count * sizeof *numbers) : NULL;
        myr_str *texts = is_number ? NULL : myr_arena_alloc(work->arena, row_count * sizeof *texts);
        if (numbers == NULL && texts == NULL) return rules_no_memory(err);
        for (size_t row = 0; row < row_count; row++) {
            if (is_number) numbers[row] = values[i].i64;
            if (!is_number) texts[row] = values[i].text;
        }
        if (is_number) cols[i].data.i64 = numbers;
        if (!is_number) cols[i].data.text = texts;
    }
    *out = cols;
    return MYR_OK;
}

static myr_rc rules_rows(rules_run *run, myr_err *err)
{
    serve_work *work = run->work;
    for (size_t i = 0; i < (size_t)work->rows.row_count && !run->is_over && !work->wants_compute; i++) {
        if (work->statuses[i] != MYR_ROW_OK || (work->marks != NULL && work->marks[i] != 0)) continue;
        MYR_TRY(rules_row(run, i, err));
    }
    return MYR_OK;
}

/* mark_ns is when the stage before ended. */
static int64_t rules_deadline(const serve_work *work)
{
    int64_t left_ns = work->deadline_ns - work->mark_ns;
    if (left_ns > RULES_MOST_NS) left_ns = RULES_MOST_NS;
    if (work->bound->plan->late_rules == SERVE_SKIP) left_ns -= left_ns / RULES_SHARE;
    return work->mark_ns + left_ns;
}

myr_rc myr_serve_apply_rules(serve_work *work, myr_err *err)
{
    rules_run run = {.work = work, .deadline_ns = rules_deadline(work)};
    int64_t row_count = work->rows.row_count > 0 ? work->rows.row_count : 1;
    _Atomic int64_t *row_ns = &work->target.fleet->rules_ns;
    int64_t guess_ns = atomic_load_explicit(row_ns, memory_order_relaxed);
    if (!work->may_block && guess_ns * row_count > RULES_INLINE_NS) {
        work->wants_compute = true;
        return MYR_OK;
    }
    for (uint32_t i = 0; i < work->output_count; i++) {
        if (work->outputs[i] == MYR_OUTPUT_VALUE) run.value = &work->answers[i];
    }
    MYR_TRY(rules_keys(work, &run.keys, err));
    MYR_TRY(myr_script_acquire(work->bound->script, &run.state, err));
    myr_rc rc = rules_rows(&run, err);
    myr_script_release(run.state);
    int64_t took_ns = (myr_clock_mono_ns() - work->mark_ns) / row_count;
    atomic_store_explicit(row_ns, guess_ns + (took_ns - guess_ns) / RULES_WEIGHT, memory_order_relaxed);
    MYR_TRY(rc);
    if (work->adds_value) work->output_count--;
    for (uint32_t i = 0; i < work->output_count; i++)
        work->answers[i].words = work->words;
    return MYR_OK;
}
