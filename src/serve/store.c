/*
 * The stage `store` and what goes with it: an idempotency key is claimed before anything else, so that a request that
 * comes again gets the answer that it had; predictions are stored with their key, features and release, before the
 * answer (durable when it is given) or after it; rows that no level answers may have a stored prediction.
 */
#include "serve/internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const serve_store *store_of(const serve_work *work)
{
    return work->bound != NULL ? work->bound->plan->store : NULL;
}

static myr_rc store_no_memory(const serve_work *work, myr_err *err)
{
    MYR_FAIL(err, NO_MEMORY, "out of memory to store %lld predictions", (long long)work->rows.row_count);
}

/* ---- the claim ---- */

bool myr_serve_wants_claim(const serve_work *work, bool has_key)
{
    const serve_service *service = atomic_load_explicit(&work->thread->held, memory_order_relaxed)->service;
    for (uint32_t i = 0; service != NULL && i < service->plan_count; i++) {
        const serve_store *store = service->plans[i].store;
        if (store != NULL && (has_key || store->id_is_key)) return true;
    }
    return false;
}

myr_rc myr_serve_claim_start(serve_work *work, myr_err *err)
{
    const serve_store *store = store_of(work);
    if (store == NULL) return MYR_OK;
    if (!myr_serve_wait_can(work)) { /* its answer will be waited for */
        work->wants_compute = true;
        return MYR_OK;
    }
    bool by_id = work->claim_id.key.data == NULL && store->id_is_key && work->id.data != NULL;
    if (by_id) work->claim_id.key = work->id;
    if (work->claim_id.key.data == NULL || !work->can_replay) return MYR_OK;
    work->claim_id.fleet = myr_str_of(work->bound->fleet->name);
    MYR_TRY(myr_serve_wait_begin(work, err));
    myr_serve_wait_more(work);
    work->claim_err = (myr_err){0};
    myr_rc rc = myr_claim_start(store->store, &work->claim_id, work->deadline_ns, myr_serve_wait_done, work,
                                &work->claim, &work->claim_err);
    if (rc != MYR_OK) myr_serve_wait_done(work);
    work->has_claimed = true;
    myr_serve_wait_end(work);
    return MYR_OK;
}

myr_rc myr_serve_claim_take(serve_work *work, myr_err *err)
{
    if (!work->has_claimed) return MYR_OK;
    if (work->claim == NULL) {
        if (err != NULL) *err = work->claim_err;
        return (myr_rc)work->claim_err.rc;
    }
    MYR_TRY(myr_claim_result(work->claim, &work->replay, err));
    myr_serve_work_mark(work, SERVE_STORE);
    return MYR_OK;
}

/* ---- stored predictions ---- */

struct serve_latest {
    size_t row_idx;
    myr_latest *latest;
    myr_err err;
};

/* Rows for which nothing else is left. */
static bool store_is_wanted(const serve_work *work, size_t row_idx)
{
    uint8_t mark = work->marks != NULL ? work->marks[row_idx] : 0;
    if ((mark & (SERVE_ROW_OUTSIDE | SERVE_ROW_FAILED)) != 0) return false;
    if ((mark & SERVE_ROW_LAST) != 0) return true;
    return mark == 0 && work->statuses[row_idx] == MYR_ROW_NO_MODEL;
}

/* The canonical key of a row, in the arena; data NULL: it has none. */
myr_rc myr_serve_row_key(const serve_work *work, size_t row_idx, myr_str *out, myr_err *err)
{
    const myr_fleet *fleet = work->bound->fleet;
    myr_buf *buf = &work->thread->text;
    bool is_null = true;
    *out = (myr_str){0};
    myr_buf_clear(buf);
    if (work->rows.fixed_model != MYR_PACK_NONE) {
        myr_pack_entry entry;
        MYR_TRY(myr_pack_get_entry(fleet->pack, work->rows.fixed_model, &entry, err));
        MYR_TRY(myr_key_text(&fleet->info->keys, entry.key, entry.key_bytes, buf, err));
    } else if (myr_online_key(&fleet->info->keys, work->rows.keys, (int64_t)row_idx, buf, &is_null, NULL) != MYR_OK ||
               is_null) {
        return MYR_OK;
    }
    MYR_TRY(myr_buf_check(buf, err));
    char *copy = myr_arena_strndup(work->arena, buf->data != NULL ? buf->data : "", buf->size);
    if (copy == NULL) return store_no_memory(work, err);
    *out = myr_str_make(copy, buf->size);
    return MYR_OK;
}

myr_rc myr_serve_latest_start(serve_work *work, myr_err *err)
{
    const serve_store *store = store_of(work);
    size_t row_count = (size_t)work->rows.row_count, count = 0;
    if (store == NULL || !(work->bound->plan->from_stored || work->takes_stored)) return MYR_OK;
    if (work->outputs[0] != MYR_OUTPUT_VALUE || work->output_count > 1) return MYR_OK; /* only values are stored */
    for (size_t i = 0; i < row_count; i++)
        count += store_is_wanted(work, i) ? 1 : 0;
    if (count == 0) return MYR_OK;
    if (count > SERVE_LATEST_MAX) count = SERVE_LATEST_MAX;
    work->latest = myr_arena_calloc(work->arena, count, sizeof *work->latest);
    myr_str *keys = myr_arena_calloc(work->arena, count, sizeof *keys);
    if (work->latest == NULL || keys == NULL) return store_no_memory(work, err);
    for (size_t i = 0; i < row_count && work->latest_count < count; i++) {
        if (!store_is_wanted(work, i)) continue;
        work->latest[work->latest_count].row_idx = i;
        MYR_TRY(myr_serve_row_key(work, i, &keys[work->latest_count++], err));
    }
    MYR_TRY(myr_serve_wait_begin(work, err));
    for (size_t i = 0; i < work->latest_count; i++) {
        if (keys[i].data == NULL) continue;
        myr_serve_wait_more(work);
        myr_rc rc = myr_latest_start(store->store, myr_str_of(work->bound->fleet->name), keys[i], work->deadline_ns,
                                     myr_serve_wait_done, work, &work->latest[i].latest, &work->latest[i].err);
        if (rc != MYR_OK) myr_serve_wait_done(work);
    }
    myr_serve_wait_end(work);
    return MYR_OK;
}

/* The row's answer is what was stored, and says of when it is. */
static myr_rc store_take_latest(serve_work *work, size_t row_idx, const myr_latest_row *stored, myr_err *err)
{
    const myr_answers *answers = &work->answers[0];
    char time[MYR_TIME_TEXT_BYTES];
    if (stored->value_count != answers->width) return MYR_OK; /* of a release with other outputs */
    for (uint32_t k = 0; k < answers->width; k++)
        answers->values[k][row_idx] = stored->values[k];
    work->statuses[row_idx] = MYR_ROW_OK;
    work->levels[row_idx] = MYR_LEVEL_STORED;
    work->model_idxs[row_idx] = MYR_PACK_NONE;
    if (work->marks != NULL) work->marks[row_idx] = 0;
    if (work->notes == NULL)
        work->notes = myr_arena_calloc(work->arena, (size_t)work->rows.row_count, sizeof *work->notes);
    if (work->notes == NULL) return store_no_memory(work, err);
    bool is_stale = work->takes_stored || (stored->valid_ms > 0 && stored->valid_ms < myr_clock_unix_ms());
    const char *fields = myr_arena_printf(
        work->arena, "\"from\":\"stored\",\"stale\":%s,\"produced_at\":\"%s\",\"release\":%lld",
        is_stale ? "true" : "false", myr_format_time(stored->produced_ms, time), (long long)stored->release);
    if (fields == NULL) return store_no_memory(work, err);
    work->notes[row_idx].fields = myr_str_of(fields);
    return MYR_OK;
}

myr_rc myr_serve_latest_take(serve_work *work, myr_err *err)
{
    if (work->latest == NULL) return MYR_OK;
    for (size_t i = 0; i < work->latest_count; i++) {
        struct serve_latest *latest = &work->latest[i];
        myr_latest_row row = {0};
        myr_rc rc = (myr_rc)latest->err.rc;
        if (latest->latest != NULL) rc = myr_latest_result(latest->latest, &row, &latest->err);
        if (rc != MYR_OK) myr_serve_note_trouble(work->server, "stored predictions not read", &latest->err);
        if (rc == MYR_OK && row.is_found) MYR_TRY(store_take_latest(work, latest->row_idx, &row, err));
    }
    myr_serve_work_mark(work, SERVE_STORE);
    return MYR_OK;
}

/* ---- the stored prediction of one key, for a route that wants it before anything else ---- */

myr_rc myr_serve_stored_start(serve_work *work, myr_str key, int64_t deadline_ns, myr_err *err)
{
    work->latest = myr_arena_calloc(work->arena, 1, sizeof *work->latest);
    if (work->latest == NULL) return store_no_memory(work, err);
    MYR_TRY(myr_serve_wait_begin(work, err));
    struct serve_latest *latest = work->latest;
    work->latest_count = 1;
    myr_serve_wait_more(work);
    myr_rc rc = myr_latest_start(store_of(work)->store, myr_str_of(work->bound->fleet->name), key, deadline_ns,
                                 myr_serve_wait_done, work, &latest->latest, &latest->err);
    if (rc != MYR_OK) myr_serve_wait_done(work);
    myr_serve_wait_end(work);
    return MYR_OK;
}

static bool store_copy(const serve_work *work, myr_str *text)
{
    if (text->data == NULL) return true;
    text->data = myr_arena_strndup(work->arena, text->data, text->size);
    return text->data != NULL;
}

/* Out of the store's memory, into the arena; the stages may ask again. */
static myr_rc store_copy_row(const serve_work *work, myr_latest_row *row, myr_err *err)
{
    double *values = myr_arena_alloc(work->arena, (row->value_count + 1) * sizeof *values);
    if (values == NULL || !store_copy(work, &row->model) || !store_copy(work, &row->level) ||
        !store_copy(work, &row->source)) {
        return store_no_memory(work, err);
    }
    if (row->value_count > 0) memcpy(values, row->values, row->value_count * sizeof *values);
    row->values = values;
    return MYR_OK;
}

myr_rc myr_serve_stored_take(serve_work *work, myr_latest_row *out, myr_err *err)
{
    struct serve_latest *latest = work->latest;
    if (latest == NULL) return MYR_OK;
    myr_latest_row row = {0};
    myr_rc rc = (myr_rc)latest->err.rc;
    if (latest->latest != NULL) rc = myr_latest_result(latest->latest, &row, &latest->err);
    if (rc != MYR_OK) myr_serve_note_trouble(work->server, "stored predictions not read", &latest->err);
    rc = rc == MYR_OK && row.is_found ? store_copy_row(work, &row, err) : MYR_OK;
    myr_latest_free(latest->latest);
    work->latest = NULL;
    work->latest_count = 0;
    myr_serve_work_mark(work, SERVE_STORE);
    if (rc == MYR_OK) *out = row;
    return rc;
}

/* ---- storing ---- */

/* The row's features as a JSON object, in the arena. */
static myr_rc store_features(const serve_work *work, size_t row_idx, myr_str *out, myr_err *err)
{
    const myr_pack_info *info = work->bound->fleet->info;
    int64_t stride = work->rows.feature_stride != 0 ? work->rows.feature_stride : 1;
    myr_buf *buf = &work->thread->text;
    myr_buf_clear(buf);
    for (uint32_t j = 0; j < info->feature_count; j++) {
        const myr_col *col = &work->rows.features[j];
        myr_buf_putc(buf, j == 0 ? '{' : ',');
        myr_buf_json_string(buf, myr_str_of(info->features[j]));
        myr_buf_putc(buf, ':');
        if (myr_col_is_null(col, (int64_t)row_idx)) {
            myr_buf_puts(buf, "null");
        } else if (col->type == MYR_COL_TEXT) {
            myr_buf_json_string(buf, col->data.text[row_idx]);
        } else {
            myr_buf_json_double(buf, col->data.f64[(int64_t)row_idx * stride]);
        }
    }
    myr_buf_puts(buf, info->feature_count > 0 ? "}" : "{}");
    MYR_TRY(myr_buf_check(buf, err));
    char *copy = myr_arena_strndup(work->arena, buf->data, buf->size);
    if (copy == NULL) return store_no_memory(work, err);
    *out = myr_str_make(copy, buf->size);
    return MYR_OK;
}

static myr_rc store_model(const serve_work *work, size_t row_idx, myr_prediction *out, myr_err *err)
{
    const myr_fleet *fleet = work->bound->fleet;
    myr_buf *buf = &work->thread->text;
    myr_pack_entry entry;
    myr_buf_clear(buf);
    MYR_TRY(myr_pack_get_entry(fleet->pack, work->model_idxs[row_idx], &entry, err));
    MYR_TRY(myr_score_model_name(fleet->scorer, work->model_idxs[row_idx], buf, err));
    MYR_TRY(myr_buf_check(buf, err));
    char *copy = myr_arena_strndup(work->arena, buf->data, buf->size);
    if (copy == NULL) return store_no_memory(work, err);
    out->model = myr_str_make(copy, buf->size);
    out->model_version = entry.version;
    return MYR_OK;
}

/* What was predicted now: not what was stored before, and not what has no answer or no key. */
static myr_rc store_row(const serve_work *work, const myr_answers *answers, size_t row_idx, myr_prediction *out,
                        bool *out_is_there, myr_err *err)
{
    *out = (myr_prediction){.value_count = answers->width, .level = myr_level_name((myr_level)work->levels[row_idx])};
    *out_is_there = false;
    if (work->statuses[row_idx] != MYR_ROW_OK || work->levels[row_idx] == MYR_LEVEL_STORED) return MYR_OK;
    MYR_TRY(myr_serve_row_key(work, row_idx, &out->key, err));
    if (out->key.data == NULL) return MYR_OK;
    double *values = myr_arena_alloc(work->arena, answers->width * sizeof *values);
    if (values == NULL) return store_no_memory(work, err);
    for (uint32_t k = 0; k < answers->width; k++)
        values[k] = answers->values[k][row_idx];
    out->values = values;
    MYR_TRY(store_model(work, row_idx, out, err));
    if (store_of(work)->keeps_features) MYR_TRY(store_features(work, row_idx, &out->features, err));
    *out_is_there = true;
    return MYR_OK;
}

/* Everything of this request that is stored; the value must be among its outputs. */
static myr_rc store_request(const serve_work *work, const myr_kept_answer *answer, myr_store_request *out, myr_err *err)
{
    const myr_fleet *fleet = work->bound->fleet;
    const serve_store *store = store_of(work);
    size_t row_count = (size_t)work->rows.row_count;
    int64_t now_ms = myr_clock_unix_ms();
    myr_prediction *rows = myr_arena_alloc(work->arena, (row_count + 1) * sizeof *rows);
    if (rows == NULL) return store_no_memory(work, err);
    *out = (myr_store_request){.fleet = myr_str_of(fleet->name),
                               .release = fleet->release,
                               .source = "request",
                               .request_id = work->id,
                               .produced_ms = now_ms,
                               .valid_ms = store->valid_ms > 0 ? now_ms + store->valid_ms : 0,
                               .rows = rows,
                               .stores_late = work->bound->plan->late_store == SERVE_SKIP,
                               .claim = work->claim,
                               .answer = *answer};
    for (uint32_t i = 0; i < work->output_count; i++) {
        if (work->answers[i].output != MYR_OUTPUT_VALUE) continue;
        for (size_t row = 0; row < row_count; row++) {
            bool is_there = false;
            MYR_TRY(store_row(work, &work->answers[i], row, &rows[out->row_count], &is_there, err));
            if (is_there) out->row_count++;
        }
    }
    return MYR_OK;
}

/* After the answer. BUSY: too much waits already. */
static myr_rc store_later(serve_work *work, const myr_store_request *request, myr_err *err)
{
    myr_err why = {0};
    myr_rc rc = myr_stored_later(store_of(work)->store, request, &why);
    if (rc == MYR_OK) {
        work->claim = NULL; /* the store's now */
        return MYR_OK;
    }
    myr_serve_note_trouble(work->server, "predictions not stored", &why);
    if (err != NULL) *err = why;
    return rc;
}

/* A store that can't take it now: as the fleet's plan says. */
static myr_rc store_degrade(serve_work *work, const myr_err *why, myr_err *err)
{
    bool may_be_later = why->rc == MYR_TIMEOUT || why->rc == MYR_UNAVAILABLE || why->rc == MYR_BUSY;
    myr_serve_note_trouble(work->server, "predictions not stored before the answer", why);
    if (work->bound->plan->late_store != SERVE_SKIP || !may_be_later) {
        if (err != NULL) *err = *why;
        return myr_err_prefix(err, (myr_rc)why->rc, "the predictions are not stored: ");
    }
    work->is_stored_later = true;
    if (why->rc != MYR_TIMEOUT) {                            /* a late one is stored all the same */
        MYR_IGNORE(store_later(work, &work->storing, NULL)); /* nothing was promised: a line in the log is all */
    }
    return MYR_OK;
}

bool myr_serve_work_stores(const serve_work *work)
{
    return store_of(work) != NULL && work->replay.status == 0 && work->rows.row_count > 0;
}

myr_rc myr_serve_store_start(serve_work *work, const myr_kept_answer *answer, myr_err *err)
{
    const serve_store *store = store_of(work);
    MYR_ASSERT(myr_serve_work_stores(work));
    myr_serve_work_mark(work, SERVE_ENCODE);
    MYR_TRY(store_request(work, answer, &work->storing, err));
    if (work->storing.row_count == 0 && work->claim == NULL) return MYR_OK;
    if (store->after_answer) {
        myr_rc later = store_later(work, &work->storing, err);
        return work->bound->plan->late_store == SERVE_SKIP ? MYR_OK : later;
    }
    MYR_TRY(myr_serve_wait_begin(work, err));
    myr_serve_wait_more(work);
    work->store_err = (myr_err){0};
    myr_rc rc = myr_stored_start(store->store, &work->storing, work->deadline_ns, myr_serve_wait_done, work,
                                 &work->stored, &work->store_err);
    if (rc != MYR_OK) myr_serve_wait_done(work);
    work->has_stored = true;
    myr_serve_wait_end(work);
    return MYR_OK;
}

myr_rc myr_serve_store_take(serve_work *work, myr_err *err)
{
    myr_rc rc = (myr_rc)work->store_err.rc;
    if (!work->has_stored) return MYR_OK;
    if (work->stored != NULL) rc = myr_stored_result(work->stored, &work->replay, &work->store_err);
    if (rc != MYR_OK) MYR_TRY(store_degrade(work, &work->store_err, err));
    myr_serve_work_mark(work, SERVE_STORE);
    return MYR_OK;
}

void myr_serve_store_free(serve_work *work)
{
    for (size_t i = 0; i < work->latest_count; i++)
        myr_latest_free(work->latest[i].latest);
    work->latest_count = 0;
    myr_stored_free(work->stored);
    myr_claim_free(work->claim);
    work->stored = NULL;
    work->claim = NULL;
}
