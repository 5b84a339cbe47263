/* A batch of records through the one scoring path. */
#include "cli/stream_score.h"

#include <string.h>

#include <yyjson.h>

#define STREAM_LOOK_MS     1000  /* from a look at the registry to the next, while records come */
#define STREAM_PATIENCE_MS 30000 /* for a store that is away, … */
#define STREAM_PAUSE_MS    500   /* … between two tries */
#define STREAM_EACH_MS     60000 /* for a batch whose records are answered one by one */

static myr_rc scorer_begin(stream_scorer *scorer, myr_err *err)
{
    if (scorer->stages == NULL) return MYR_OK;
    MYR_TRY(myr_stages_begin(scorer->stages, &scorer->fleet, err));
    scorer->has_begun = true;
    return MYR_OK;
}

/* The name of the fleet and its release are asked for until the next one. */
static void scorer_end(stream_scorer *scorer)
{
    if (scorer->has_begun) myr_stages_end(scorer->stages);
    scorer->has_begun = false;
}

static myr_rc scorer_open(stream_scorer *scorer, myr_err *err)
{
    if (scorer->service != NULL) {
        MYR_TRY(myr_stages_open(scorer->workspace->root, scorer->service, scorer->name, &scorer->stages, err));
        return scorer_begin(scorer, err);
    }
    MYR_TRY(myr_registry_change_number(scorer->workspace->registry, &scorer->change_number, err));
    MYR_TRY(myr_fleet_open(scorer->workspace, scorer->name, scorer->release, &scorer->opened, err));
    scorer->fleet = scorer->opened;
    return MYR_OK;
}

myr_rc myr_stream_scorer_init(stream_scorer *scorer, myr_err *err)
{
    scorer->scratch = myr_score_scratch_new();
    scorer->arena = myr_arena_new(0);
    if (scorer->scratch == NULL || scorer->arena == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for a stream");
    MYR_TRY(scorer_open(scorer, err));
    scorer->looked_ns = myr_clock_mono_ns();
    myr_metric_set(scorer->release_gauge, scorer->fleet->release);
    return MYR_OK;
}

void myr_stream_scorer_fini(stream_scorer *scorer)
{
    scorer_end(scorer);
    myr_stages_close(scorer->stages);
    myr_fleet_close(scorer->opened);
    myr_score_scratch_free(scorer->scratch);
    myr_arena_free(scorer->arena);
    myr_buf_fini(&scorer->out);
}

/* ---- the champion ---- */

static myr_rc scorer_look(stream_scorer *scorer, myr_err *err)
{
    int64_t number = 0;
    myr_fleet *next = NULL;
    MYR_TRY(myr_registry_change_number(scorer->workspace->registry, &number, err));
    if (number == scorer->change_number && scorer->last_error.rc == MYR_OK) return MYR_OK;
    MYR_TRY(myr_fleet_open(scorer->workspace, scorer->name, 0, &next, err));
    scorer->change_number = number; /* read before the fleet: what changed meanwhile is seen at the next look */
    if (next->release == scorer->opened->release) {
        myr_fleet_close(next);
        return MYR_OK;
    }
    myr_log(MYR_LOG_INFO, "cli", "another release answers", "fleet", scorer->name, NULL);
    myr_fleet_close(scorer->opened);
    scorer->fleet = scorer->opened = next;
    myr_metric_set(scorer->release_gauge, next->release);
    return MYR_OK;
}

/* What can't be read or opened leaves the release that answers. */
static void scorer_follow(stream_scorer *scorer)
{
    int64_t now_ns = myr_clock_mono_ns();
    bool is_soon = now_ns - scorer->looked_ns < STREAM_LOOK_MS * 1000000LL;
    if (scorer->release != 0 || (is_soon && !scorer->reads_service)) return;
    scorer->looked_ns = now_ns;
    if (scorer->stages != NULL) {
        myr_stages_follow(scorer->stages, scorer->reads_service); /* logs what it finds */
        scorer->reads_service = false;
        return;
    }
    myr_err err = {0};
    bool is_ok = scorer_look(scorer, &err) == MYR_OK;
    if (!is_ok && strcmp(err.message, scorer->last_error.message) != 0)
        myr_log_err(MYR_LOG_WARN, "cli", "registry not read: the earlier release goes on", &err);
    scorer->last_error = err;
}

/* ---- rows ---- */

static myr_rc scorer_put(const stream_scorer *scorer, myr_rows_build *build, size_t row, myr_str text, myr_err *err)
{
    yyjson_alc alc;
    yyjson_read_err failed;
    if (text.data == NULL) MYR_FAIL(err, BAD_INPUT, "the record has no value: a row is a JSON object");
    myr_arena_yyjson(scorer->arena, &alc);
    /* The reader does not write to its input unless told so (YYJSON_READ_INSITU). */
    yyjson_doc *doc = yyjson_read_opts((char *)(uintptr_t)text.data, text.size, 0, &alc, &failed);
    if (doc == NULL && failed.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION)
        MYR_FAIL(err, NO_MEMORY, "out of memory for a record of %zu bytes", text.size);
    if (doc == NULL) MYR_FAIL(err, BAD_INPUT, "the record is not JSON: byte %zu: %s", failed.pos, failed.msg);
    return myr_rows_put_object(build, row, yyjson_doc_get_root(doc), err);
}

static myr_rc scorer_refuse(stream_scorer *scorer, const myr_err *why, myr_stream_answer *answer, myr_err *err)
{
    char *cause = myr_arena_strndup(scorer->arena, why->message, strlen(why->message));
    if (cause == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for a record");
    answer->is_dead = true;
    answer->cause = myr_str_of(cause);
    return MYR_OK;
}

/* Records that are answered together; where each answer ends in the buffer. */
typedef struct scorer_batch {
    const myr_stream_record *records;
    myr_stream_answer *answers;
    size_t *ends;
    size_t count;
} scorer_batch;

/* Rows of the records that are some: *out_records[row] is the record of a row. */
static myr_rc scorer_decode(stream_scorer *scorer, const scorer_batch *batch, size_t **out_records, myr_score_rows *out,
                            myr_err *err)
{
    const myr_stream_record *records = batch->records;
    myr_rows_build *build = NULL;
    size_t row = 0, count = batch->count;
    size_t *of_row = myr_arena_calloc(scorer->arena, count, sizeof *of_row);
    if (of_row == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for %zu records", count);
    MYR_TRY(myr_rows_begin(scorer->fleet, count, scorer->ignore_unknown, scorer->arena, &build, err));
    for (size_t i = 0; i < count; i++) {
        myr_err why = {0};
        myr_rows_label(build, "offset", (size_t)records[i].offset);
        myr_rc rc = scorer_put(scorer, build, row, records[i].value, &why);
        if (rc == MYR_NO_MEMORY) MYR_FAIL(err, NO_MEMORY, "%s", why.message);
        if (rc == MYR_OK) {
            of_row[row++] = i;
        } else {
            myr_rows_undo(build, row);
            MYR_TRY(scorer_refuse(scorer, &why, &batch->answers[i], err));
        }
    }
    myr_rows_end(build, row, out);
    *out_records = of_row;
    return MYR_OK;
}

/* ---- answers ---- */

static const char *scorer_cause(myr_row_status status)
{
    switch (status) {
    case MYR_ROW_NO_MODEL:
        return "no_model: the fleet has no model for its key, nor a parent or global one";
    case MYR_ROW_BAD_KEY:
        return "bad_key: a value of its key is not of its column's type";
    case MYR_ROW_BAD_INPUT:
        return "bad_input: a feature is nothing that its model takes";
    case MYR_ROW_BROKEN_MODEL:
        return "broken_model: its model is damaged in the pack";
    default:
        return myr_row_status_name(status);
    }
}

static void scorer_head(myr_stream_answer *answer, const char *name, myr_str value)
{
    MYR_ASSERT(answer->header_count < MYR_STREAM_HEADERS_MAX);
    answer->headers[answer->header_count++] = (myr_stream_header){name, value};
}

/* `oj@store=2,brand=1` out of the answer's buffer, into the arena. */
static myr_rc scorer_model(stream_scorer *scorer, uint32_t model_idx, myr_str *out, myr_err *err)
{
    size_t start = scorer->out.size;
    MYR_TRY(myr_score_model_name(scorer->fleet->scorer, model_idx, &scorer->out, err));
    MYR_TRY(myr_buf_check(&scorer->out, err));
    char *name = myr_arena_strndup(scorer->arena, scorer->out.data + start, scorer->out.size - start);
    if (name == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for a model's name");
    *out = myr_str_make(name, scorer->out.size - start);
    scorer->out.size = start;
    return MYR_OK;
}

/* What became of a row, by either way. */
static myr_rc scorer_row(stream_scorer *scorer, const myr_answers *scored, size_t row, myr_stages_answer *out,
                         const myr_err **out_trouble, myr_err *err)
{
    if (scorer->stages != NULL) {
        myr_stages_row(scorer->stages, row, out);
        *out_trouble = myr_stages_trouble(scorer->stages);
        return myr_stages_put(scorer->stages, row, &scorer->out, err);
    }
    *out = (myr_stages_answer){
        .status = (myr_row_status)scored->statuses[row], .model_idx = scored->model_idxs[row], .fleet = scorer->fleet};
    *out_trouble = myr_score_trouble(scorer->scratch);
    return myr_fleet_put_answer(scorer->fleet, scored, row, scorer->arena, &scorer->out, err);
}

static myr_rc scorer_answer_row(stream_scorer *scorer, const myr_answers *scored, size_t row, myr_stream_answer *answer,
                                myr_err *err)
{
    myr_stages_answer became;
    const myr_err *trouble;
    myr_str model;
    MYR_TRY(scorer_row(scorer, scored, row, &became, &trouble, err));
    if (became.model_idx != MYR_PACK_NONE) {
        MYR_TRY(scorer_model(scorer, became.model_idx, &model, err));
        scorer_head(answer, "myriad.model", model);
    }
    if (became.status == MYR_ROW_OK) return MYR_OK;
    bool has_trouble =
        trouble->rc != MYR_OK && (became.status == MYR_ROW_UNAVAILABLE || became.status == MYR_ROW_BROKEN_MODEL);
    answer->is_dead = true;
    answer->cause = myr_str_of(has_trouble ? trouble->message : scorer_cause(became.status));
    if (became.message.data != NULL) answer->cause = became.message;
    scorer_head(answer, "myriad.status", myr_str_of(myr_row_status_name(became.status)));
    return MYR_OK;
}

static myr_rc scorer_encode(stream_scorer *scorer, const scorer_batch *batch, const myr_answers *scored,
                            size_t row_count, const size_t *of_row, myr_err *err)
{
    char *release = myr_arena_printf(scorer->arena, "%lld", (long long)scorer->fleet->release);
    size_t row = 0;
    if (release == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for %zu answers", batch->count);
    for (size_t i = 0; i < batch->count; i++) {
        scorer_head(&batch->answers[i], "myriad.fleet", myr_str_of(scorer->fleet->name));
        scorer_head(&batch->answers[i], "myriad.release", myr_str_of(release));
        if (row < row_count && of_row[row] == i) {
            MYR_TRY(scorer_answer_row(scorer, scored, row++, &batch->answers[i], err));
        } else { /* no row */
            myr_buf_puts(&scorer->out, "{\"error\":");
            myr_buf_json_string(&scorer->out, batch->answers[i].cause);
            myr_buf_putc(&scorer->out, '}');
        }
        batch->ends[i] = scorer->out.size;
    }
    return myr_buf_check(&scorer->out, err);
}

/* ---- a batch ---- */

/* *out_ran: its rows were answered; an error is the store's then. */
static myr_rc scorer_run(stream_scorer *scorer, const myr_score_rows *rows, myr_answers *scored, bool *out_ran,
                         myr_err *err)
{
    static const myr_stages_ask ask = {.output = MYR_OUTPUT_VALUE, .champion = true};
    *out_ran = rows->row_count == 0;
    if (*out_ran) return MYR_OK;
    if (scorer->stages != NULL) {
        MYR_TRY(myr_stages_run(scorer->stages, rows, &ask, scorer->arena, err));
        *out_ran = true;
        return myr_stages_store(scorer->stages, err);
    }
    *out_ran = true;
    return myr_fleet_answer_rows(scorer->fleet, scorer->scratch, rows, scorer->arena, scored, err);
}

/* Records as one request. A failure leaves no answer. */
static myr_rc scorer_try(stream_scorer *scorer, const scorer_batch *batch, bool *out_ran, myr_err *err)
{
    size_t *of_row = NULL, start = scorer->out.size;
    myr_score_rows rows = {0};
    myr_answers scored = {0};
    *out_ran = true;
    memset(batch->answers, 0, batch->count * sizeof *batch->answers);
    MYR_TRY(scorer_decode(scorer, batch, &of_row, &rows, err));
    myr_rc rc = scorer_run(scorer, &rows, &scored, out_ran, err);
    if (rc == MYR_OK) rc = scorer_encode(scorer, batch, &scored, (size_t)rows.row_count, of_row, err);
    if (scorer->stages != NULL) myr_stages_forget(scorer->stages, rc == MYR_OK);
    if (rc != MYR_OK && !scorer->out.failed) scorer->out.size = start;
    return rc;
}

/* A database that is away is waited for, but not so long that the group takes us for dead. *out_ran as in scorer_run.
 */
static myr_rc scorer_try_again(stream_scorer *scorer, const scorer_batch *batch, bool *out_ran, myr_err *err)
{
    int64_t until_ns = myr_clock_mono_ns() + STREAM_PATIENCE_MS * 1000000LL;
    for (bool is_first = true;; is_first = false) {
        myr_err why = {0};
        myr_rc rc = scorer_try(scorer, batch, out_ran, &why);
        bool may_mend = rc == MYR_UNAVAILABLE || rc == MYR_BUSY || (rc == MYR_TIMEOUT && *out_ran);
        if (rc == MYR_OK || !may_mend || myr_clock_mono_ns() >= until_ns) {
            if (rc != MYR_OK && err != NULL) *err = why;
            return rc;
        }
        if (is_first) myr_log_err(MYR_LOG_WARN, "cli", "a batch waits for its stores", &why);
        myr_clock_sleep_ms(STREAM_PAUSE_MS);
    }
}

static myr_rc scorer_refuse_late(stream_scorer *scorer, const scorer_batch *one, const myr_err *why, myr_err *err)
{
    MYR_TRY(scorer_refuse(scorer, why, &one->answers[0], err));
    return scorer_encode(scorer, one, NULL, 0, NULL, err);
}

/* The batch was too slow: each record for itself, so that it is one that is late and not those beside it. */
static myr_rc scorer_each(stream_scorer *scorer, const scorer_batch *batch, const myr_err *late, myr_err *err)
{
    if (batch->count == 1) return scorer_refuse_late(scorer, batch, late, err);
    int64_t until_ns = myr_clock_mono_ns() + STREAM_EACH_MS * 1000000LL;
    for (size_t i = 0; i < batch->count; i++) {
        scorer_batch one = {&batch->records[i], &batch->answers[i], &batch->ends[i], 1};
        myr_err why = {0};
        bool ran;
        myr_rc rc = scorer_try_again(scorer, &one, &ran, &why);
        if (rc == MYR_TIMEOUT && !ran && myr_clock_mono_ns() < until_ns)
            rc = scorer_refuse_late(scorer, &one, &why, &why);
        if (rc == MYR_OK) continue;
        if (err != NULL) *err = why;
        return rc;
    }
    return MYR_OK;
}

myr_rc myr_stream_scorer_answer(stream_scorer *scorer, const myr_stream_record *records, size_t count,
                                myr_stream_answer *answers, myr_err *err)
{
    scorer_end(scorer);
    scorer_follow(scorer);
    myr_arena_reset(scorer->arena);
    myr_buf_clear(&scorer->out);
    MYR_TRY(scorer_begin(scorer, err));
    size_t *ends = myr_arena_calloc(scorer->arena, count, sizeof *ends);
    if (ends == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for %zu answers", count);
    const scorer_batch batch = {records, answers, ends, count};
    bool ran;
    myr_err why = {0};
    myr_rc rc = scorer_try_again(scorer, &batch, &ran, &why);
    if (rc == MYR_TIMEOUT && !ran) {
        MYR_TRY(scorer_each(scorer, &batch, &why, err));
    } else if (rc != MYR_OK) {
        if (err != NULL) *err = why;
        return rc;
    }
    /* The buffer moved while it grew: found when all are written. */
    for (size_t i = 0, start = 0; i < count; start = ends[i++])
        answers[i].value = myr_str_make(scorer->out.data + start, ends[i] - start);
    return MYR_OK;
}
