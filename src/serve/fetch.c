/*
 * The stage `fetch`: features that a request leaves out are looked up by its rows' keys, in all sources at once. A
 * value of the request wins; what no source has is the default, or the row is rejected or falls to the next level.
 */
#include "serve/internal.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define FETCH_NUMBER_BYTES 32

/* What one source is asked for one request; in its arena. */
struct serve_question {
    myr_lookup *fetch; /* NULL: nothing to ask, or it could not be asked */
    uint32_t *keys;    /* per row: 1 + its key in the question; 0: none */
    size_t key_count;
    bool any_lacks; /* some row lacks a feature of this source */
    myr_err err;    /* why it could not be asked; rc OK */
};

/* The key columns of a source. */
typedef struct fetch_keys {
    myr_key_schema schema;
    myr_col cols[MYR_PARTITION_COLUMNS_MAX];
    int64_t ints[MYR_PARTITION_COLUMNS_MAX];
    myr_str texts[MYR_PARTITION_COLUMNS_MAX];
} fetch_keys;

static myr_rc fetch_no_memory(const serve_work *work, myr_err *err)
{
    MYR_FAIL(err, NO_MEMORY, "out of memory to fetch features of %lld rows", (long long)work->rows.row_count);
}

/* ---- cells of the request ---- */

static bool fetch_is_null(const serve_work *work, uint32_t feature_idx, size_t row_idx)
{
    const myr_col *col = &work->rows.features[feature_idx];
    int64_t stride = work->rows.feature_stride != 0 ? work->rows.feature_stride : 1;
    if (myr_col_is_null(col, (int64_t)row_idx)) return true;
    return col->type == MYR_COL_DOUBLE && isnan(col->data.f64[(int64_t)row_idx * stride]);
}

static bool fetch_lacks(const serve_work *work, const serve_bound_source *bound, size_t row_idx)
{
    for (uint32_t i = 0; i < bound->source->feature_count; i++) {
        if (fetch_is_null(work, bound->features[i], row_idx)) return true;
    }
    return false;
}

/* ---- asking ---- */

/* The key columns of the source: of the rows, or of the one model that was named. */
static bool fetch_key_columns(const serve_work *work, const serve_bound_source *bound, fetch_keys *out)
{
    const myr_key_schema *schema = &work->bound->fleet->info->keys;
    bool by_key = work->rows.fixed_model == MYR_PACK_NONE;
    myr_key_value values[MYR_PARTITION_COLUMNS_MAX];
    myr_pack_entry entry;
    if (!by_key && myr_pack_get_entry(work->bound->fleet->pack, work->rows.fixed_model, &entry, NULL) != MYR_OK) {
        return false;
    }
    if (!by_key) myr_serve_key_values(schema, entry.key, values);
    out->schema.column_count = bound->source->key_count;
    for (uint32_t i = 0; i < bound->source->key_count; i++) {
        uint32_t column = bound->keys[i];
        out->schema.columns[i] = schema->columns[column];
        if (by_key) {
            out->cols[i] = work->rows.keys[column];
            continue;
        }
        if (values[column].is_null) return false; /* a parent's model has no such key */
        out->ints[i] = values[column].i64;
        out->texts[i] = values[column].text;
        out->cols[i] = (myr_col){.name = schema->columns[column].name};
        bool is_int = schema->columns[column].type == MYR_KEY_INT64;
        out->cols[i].type = is_int ? MYR_COL_INT64 : MYR_COL_TEXT;
        if (is_int) {
            out->cols[i].data.i64 = &out->ints[i];
        } else {
            out->cols[i].data.text = &out->texts[i];
        }
    }
    return true;
}

/* The key of a row as text, in the arena; data NULL: it has none, or one that is no key. */
static myr_rc fetch_key_text(const serve_work *work, const fetch_keys *keys, size_t row_idx, myr_str *out, myr_err *err)
{
    myr_buf *buf = &work->thread->out; /* stays warm; its content, if any, is kept */
    size_t start = buf->size;
    bool is_null = true;
    *out = (myr_str){0};
    if (myr_online_key(&keys->schema, keys->cols, (int64_t)row_idx, buf, &is_null, NULL) != MYR_OK || is_null) {
        buf->size = start;
        return myr_buf_check(buf, err);
    }
    MYR_TRY(myr_buf_check(buf, err));
    size_t size = buf->size - start;
    char *copy = myr_arena_strndup(work->arena, buf->data + start, size);
    buf->size = start;
    if (copy == NULL) return fetch_no_memory(work, err);
    *out = myr_str_make(copy, size);
    return MYR_OK;
}

/* Which keys to ask for: of rows that lack something, each once if its rows stand together. */
static myr_rc fetch_collect(const serve_work *work, const serve_bound_source *bound, serve_question *question,
                            myr_str **out, myr_err *err)
{
    size_t row_count = (size_t)work->rows.row_count;
    fetch_keys keys;
    myr_str *texts = myr_arena_alloc(work->arena, row_count * sizeof *texts);
    question->keys = myr_arena_calloc(work->arena, row_count, sizeof *question->keys);
    if (texts == NULL || question->keys == NULL) return fetch_no_memory(work, err);
    *out = texts;
    bool by_key = work->rows.fixed_model == MYR_PACK_NONE, has_keys = fetch_key_columns(work, bound, &keys);
    for (size_t row = 0; row < row_count; row++) {
        if (!fetch_lacks(work, bound, row)) continue;
        question->any_lacks = true;
        if (!has_keys) break;
        myr_str text = {0};
        if (by_key || question->key_count == 0) MYR_TRY(fetch_key_text(work, &keys, by_key ? row : 0, &text, err));
        bool is_last = question->key_count > 0 && (!by_key || myr_str_equal(text, texts[question->key_count - 1]));
        if (text.data == NULL && !is_last) continue;
        if (!is_last) texts[question->key_count++] = text;
        question->keys[row] = (uint32_t)question->key_count;
    }
    return MYR_OK;
}

static int64_t fetch_deadline(const serve_work *work, const serve_source *source)
{
    int64_t until_ns = source->within_ms > 0 ? work->mark_ns + source->within_ms * 1000000 : INT64_MAX;
    return until_ns < work->deadline_ns ? until_ns : work->deadline_ns;
}

/* Ask those sources that answer at once; true: all of them did. */
static bool fetch_now(serve_work *work, myr_str **keys)
{
    bool all = true;
    for (uint32_t i = 0; i < work->bound->plan->source_count; i++) {
        serve_question *question = &work->questions[i];
        if (question->key_count == 0) continue;
        all = myr_lookup_now(work->bound->sources[i].source->source, keys[i], question->key_count, &question->fetch) &&
              all;
    }
    return all;
}

myr_rc myr_serve_fetch_start(serve_work *work, myr_err *err)
{
    const serve_bound *bound = work->bound;
    if (bound == NULL || bound->plan->source_count == 0) return MYR_OK;
    if (!myr_serve_wait_can(work)) {
        work->wants_compute = true;
        return MYR_OK;
    }
    serve_question *questions = myr_arena_calloc(work->arena, bound->plan->source_count, sizeof *questions);
    myr_str **keys = myr_arena_calloc(work->arena, bound->plan->source_count, sizeof *keys);
    if (questions == NULL || keys == NULL) return fetch_no_memory(work, err);
    size_t key_count = 0;
    bool any_lacks = false;
    for (uint32_t i = 0; i < bound->plan->source_count; i++) {
        MYR_TRY(fetch_collect(work, &bound->sources[i], &questions[i], &keys[i], err));
        key_count += questions[i].key_count;
        any_lacks = any_lacks || questions[i].any_lacks;
    }
    if (!any_lacks) return MYR_OK; /* the request has it all */
    work->questions = questions;
    if (key_count == 0 || fetch_now(work, keys)) return MYR_OK; /* … or no row has a key; or it is there already */
    MYR_TRY(myr_serve_wait_begin(work, err));
    for (uint32_t i = 0; i < bound->plan->source_count; i++) { /* no return from here: they hold the work */
        const serve_source *source = bound->sources[i].source;
        if (questions[i].key_count == 0 || questions[i].fetch != NULL) continue;
        myr_serve_wait_more(work);
        myr_rc rc = myr_lookup_start(source->source, keys[i], questions[i].key_count, fetch_deadline(work, source),
                                     myr_serve_wait_done, work, &questions[i].fetch, &questions[i].err);
        if (rc != MYR_OK) myr_serve_wait_done(work);
    }
    myr_serve_wait_end(work);
    return MYR_OK;
}

/* ---- taking ---- */

/* Columns that can be written: a source's features may have come from the client's bytes. */
static myr_rc fetch_put(serve_work *work, uint32_t feature_idx, size_t row_idx, double number, myr_str text,
                        myr_err *err)
{
    const myr_col *col = &work->rows.features[feature_idx];
    if (col->type == MYR_COL_DOUBLE) {
        if (text.data != NULL && !myr_parse_double(text, &number)) number = (double)NAN;
        ((double *)(uintptr_t)col->data.f64)[row_idx] = number; /* this work's own: see myr_serve_own_features */
        return MYR_OK;
    }
    if (text.data == NULL && isnan(number)) return MYR_OK;
    if (text.data == NULL) {
        char digits[FETCH_NUMBER_BYTES];
        bool is_whole = number >= -0x1p63 && number < 0x1p63 && floor(number) == number;
        size_t size = is_whole ? (size_t)snprintf(digits, sizeof digits, "%lld", (long long)number)
                               : myr_format_double(number, digits);
        text = myr_str_make(myr_arena_strndup(work->arena, digits, size), size);
    } else {
        text.data = myr_arena_strndup(work->arena, text.data, text.size); /* the fetch is freed before */
    }
    if (text.data == NULL) return fetch_no_memory(work, err);
    ((myr_str *)(uintptr_t)col->data.text)[row_idx] = text;
    ((uint8_t *)(uintptr_t)col->valid)[row_idx] = 1;
    return MYR_OK;
}

static myr_rc fetch_miss(serve_work *work, const serve_bound_source *bound, size_t row_idx, const char *why,
                         myr_err *err)
{
    const serve_source *source = bound->source;
    bool by_key = work->rows.fixed_model == MYR_PACK_NONE;
    if (source->on_miss != SERVE_MISS_DEFAULT) {
        bool falls = source->on_miss == SERVE_MISS_FALLBACK && by_key;
        MYR_TRY(myr_serve_work_note(work, row_idx, err, "'%.60s' has %s", source->table, why));
        return myr_serve_work_mark_row(work, row_idx, falls ? SERVE_ROW_FALLS : SERVE_ROW_REJECTED, err);
    }
    for (uint32_t i = 0; i < source->feature_count; i++) {
        if (!fetch_is_null(work, bound->features[i], row_idx)) continue;
        MYR_TRY(
            fetch_put(work, bound->features[i], row_idx, source->defaults[i].number, source->defaults[i].text, err));
    }
    return MYR_OK;
}

static myr_rc fetch_take_row(serve_work *work, const serve_bound_source *bound, const myr_feature_row *fetched,
                             size_t row_idx, myr_err *err)
{
    const serve_source *source = bound->source;
    if (fetched == NULL || fetched->state == MYR_FEATURE_MISSING) {
        return fetch_miss(work, bound, row_idx, "no row of this key", err);
    }
    if (fetched->state == MYR_FEATURE_STALE && !source->uses_stale) {
        return fetch_miss(work, bound, row_idx, "only an old row of this key", err);
    }
    for (uint32_t i = 0; i < source->feature_count; i++) {
        if (!fetch_is_null(work, bound->features[i], row_idx)) continue;
        const myr_feature_cell *cell = &fetched->cells[i];
        MYR_TRY(fetch_put(work, bound->features[i], row_idx, cell->number, cell->text, err));
    }
    return MYR_OK;
}

/* A source that does not answer in time, or at all: as the fleet's plan says. */
static myr_rc fetch_degrade(serve_work *work, const serve_bound_source *bound, const serve_question *question,
                            const myr_err *why, myr_err *err)
{
    if (work->bound->plan->late_fetch == SERVE_FAIL) {
        if (err != NULL) *err = *why;
        return myr_err_prefix(err, (myr_rc)why->rc, "features of '%.60s': ", bound->source->table);
    }
    for (size_t row = 0; row < (size_t)work->rows.row_count; row++) {
        if (question->keys[row] == 0) continue;
        MYR_TRY(myr_serve_work_note(work, row, err, "no features of '%.60s' in time: %.100s", bound->source->table,
                                    why->message));
        MYR_TRY(fetch_miss(work, bound, row, "no answer", err));
    }
    return MYR_OK;
}

static myr_rc fetch_take(serve_work *work, const serve_bound_source *bound, serve_question *question, myr_err *err)
{
    const myr_feature_row *rows = NULL;
    myr_err why = question->err;
    myr_rc rc = (myr_rc)why.rc;
    if (question->fetch != NULL) rc = myr_lookup_rows(question->fetch, &rows, &why);
    if (rc != MYR_OK) {
        myr_serve_note_trouble(work->server, "features not fetched", &why);
        return fetch_degrade(work, bound, question, &why, err);
    }
    for (size_t row = 0; row < (size_t)work->rows.row_count; row++) {
        uint32_t key = question->keys[row];
        if (key == 0 && !fetch_lacks(work, bound, row)) continue;
        MYR_TRY(fetch_take_row(work, bound, key == 0 ? NULL : &rows[key - 1], row, err));
    }
    return MYR_OK;
}

myr_rc myr_serve_fetch_take(serve_work *work, myr_err *err)
{
    if (work->questions == NULL) return MYR_OK;
    MYR_TRY(myr_serve_own_features(work, err));
    myr_rc rc = MYR_OK;
    for (uint32_t i = 0; rc == MYR_OK && i < work->bound->plan->source_count; i++)
        rc = fetch_take(work, &work->bound->sources[i], &work->questions[i], err);
    myr_serve_fetch_free(work);
    myr_serve_work_mark(work, SERVE_FETCH);
    return rc;
}

void myr_serve_fetch_free(serve_work *work)
{
    for (uint32_t i = 0; work->questions != NULL && i < work->bound->plan->source_count; i++) {
        myr_lookup_free(work->questions[i].fetch);
        work->questions[i].fetch = NULL;
    }
    work->questions = NULL;
}
