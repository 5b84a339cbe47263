/*
 * Predictions in PostgreSQL. All rows of a batch go as one statement over arrays; where no idempotency key is among
 * them that is one round trip. With keys there are two: claim them, then store what is new and read what is not.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "online/prediction.h"

#define PG_COLUMNS 13

/* Durable means on disk there, whatever the server's default; who may not make tables can use them. */
static const char pg_setup[] =
    "DO $$BEGIN IF current_setting('synchronous_commit') = 'off' THEN"
    " PERFORM set_config('synchronous_commit', 'on', false); END IF;"
    " IF to_regclass('myriad_answer') IS NULL THEN PERFORM pg_advisory_xact_lock(7305810);"
    " CREATE TABLE IF NOT EXISTS myriad_prediction(prediction_id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,"
    " fleet TEXT NOT NULL, key TEXT NOT NULL, value DOUBLE PRECISION, outputs TEXT, features TEXT,"
    " release BIGINT NOT NULL, model TEXT NOT NULL, model_version BIGINT NOT NULL, level TEXT NOT NULL,"
    " source TEXT NOT NULL, produced_ms BIGINT NOT NULL, valid_ms BIGINT, request_id TEXT);"
    " CREATE INDEX IF NOT EXISTS myriad_prediction_by_key ON myriad_prediction(fleet, key, produced_ms);"
    " CREATE TABLE IF NOT EXISTS myriad_answer(token TEXT NOT NULL, fleet TEXT NOT NULL, idempotency_key TEXT NOT NULL,"
    " hash TEXT NOT NULL, expires_ms BIGINT NOT NULL, status INT NOT NULL, content_type TEXT NOT NULL,"
    " json_bytes BIGINT NOT NULL, body BYTEA NOT NULL, PRIMARY KEY(token, fleet, idempotency_key));"
    " CREATE INDEX IF NOT EXISTS myriad_answer_by_end ON myriad_answer(expires_ms); END IF; END$$";

static myr_rc pg_open(const char *uri, bool writes, void **out, myr_err *err)
{
    myr_pg *pg = NULL;
    (void)writes;
    MYR_TRY(myr_pg_new(uri, pg_setup, &pg, err));
    MYR_IGNORE(myr_pg_connect(pg, NULL)); /* so that the first request need not; a failure is said when it is used */
    *out = pg;
    return MYR_OK;
}

static void pg_close(void *self, bool is_sound)
{
    (void)is_sound;
    myr_pg_free(self);
}

/* ---- texts as parameters: NUL-terminated, in an arena ---- */

static const char *pg_text(myr_arena *arena, myr_str text)
{
    return text.data == NULL ? NULL : myr_arena_strndup(arena, text.data, text.size);
}

static const char *pg_number(myr_arena *arena, int64_t value)
{
    return myr_arena_printf(arena, "%lld", (long long)value);
}

/* `\x00ff`, a bytea. */
static const char *pg_bytes(myr_arena *arena, myr_str data)
{
    static const char digits[] = "0123456789abcdef";
    char *out = myr_arena_alloc(arena, data.size * 2 + 3);
    if (out == NULL) return NULL;
    out[0] = '\\';
    out[1] = 'x';
    for (size_t i = 0; i < data.size; i++) {
        out[2 + 2 * i] = digits[(unsigned char)data.data[i] >> 4];
        out[3 + 2 * i] = digits[(unsigned char)data.data[i] & 15];
    }
    out[2 + 2 * data.size] = '\0';
    return out;
}

static int pg_digit(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool pg_keep_bytes(prediction_job *job, myr_str text, myr_str *out)
{
    if (text.size < 2 || text.size % 2 != 0 || text.data[0] != '\\' || text.data[1] != 'x') return false;
    char *data = myr_arena_alloc(job->arena, text.size / 2);
    if (data == NULL) return false;
    for (size_t i = 1; i < text.size / 2; i++) {
        int high = pg_digit(text.data[2 * i]), low = pg_digit(text.data[2 * i + 1]);
        if (high < 0 || low < 0) return false;
        data[i - 1] = (char)(high * 16 + low);
    }
    *out = myr_str_make(data, text.size / 2 - 1);
    return true;
}

/* ---- answers ---- */

static myr_rc pg_answer_call(const prediction_job *job, myr_arena *arena, const char *params[11], myr_pg_call *out,
                             myr_err *err)
{
    params[0] = pg_text(arena, job->token);
    params[1] = pg_text(arena, job->fleet);
    params[2] = pg_text(arena, job->idempotency_key);
    params[3] = job->hash;
    params[4] = pg_number(arena, job->expires_ms);
    params[5] = pg_number(arena, job->answer.status);
    params[6] = pg_text(arena, job->answer.content_type);
    params[7] = pg_number(arena, job->answer.json_bytes);
    params[8] = pg_bytes(arena, job->answer.body);
    params[9] = pg_number(arena, myr_clock_unix_ms());
    for (int i = 0; i < 10; i++) {
        if (params[i] == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for an answer");
    }
    *out = (myr_pg_call){"INSERT INTO myriad_answer AS a VALUES($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT(token,"
                         " fleet, idempotency_key) DO UPDATE SET hash = EXCLUDED.hash, expires_ms ="
                         " EXCLUDED.expires_ms, status = EXCLUDED.status, content_type = EXCLUDED.content_type,"
                         " json_bytes = EXCLUDED.json_bytes, body = EXCLUDED.body WHERE a.expires_ms <= $10::bigint",
                         params, 10};
    return MYR_OK;
}

static myr_rc pg_find_call(const prediction_job *job, myr_arena *arena, const char *params[4], myr_pg_call *out,
                           myr_err *err)
{
    params[0] = pg_text(arena, job->token);
    params[1] = pg_text(arena, job->fleet);
    params[2] = pg_text(arena, job->idempotency_key);
    params[3] = pg_number(arena, myr_clock_unix_ms());
    for (int i = 0; i < 4; i++) {
        if (params[i] == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for an answer");
    }
    *out = (myr_pg_call){"SELECT hash, status, content_type, json_bytes, body FROM myriad_answer WHERE token = $1 AND"
                         " fleet = $2 AND idempotency_key = $3 AND expires_ms > $4::bigint",
                         params, 4};
    return MYR_OK;
}

static myr_rc pg_read_answer(prediction_job *job, const myr_pg_rows *rows, myr_err *err)
{
    if (myr_pg_row_count(rows) == 0) return MYR_OK;
    myr_str hash = myr_pg_text(rows, 0, 0);
    bool ok = hash.size == MYR_SHA256_HEX_BYTES - 1 &&
              myr_prediction_keep(job, myr_pg_text(rows, 0, 2), &job->kept.content_type) &&
              pg_keep_bytes(job, myr_pg_text(rows, 0, 4), &job->kept.body);
    if (!ok) MYR_FAIL(err, BAD_FORMAT, "an answer that is kept can't be read");
    memcpy(job->kept_hash, hash.data, hash.size);
    job->kept.status = (int)myr_pg_int64(rows, 0, 1);
    job->kept.json_bytes = myr_pg_int64(rows, 0, 3);
    job->is_kept = true;
    return MYR_OK;
}

static myr_rc pg_look_answer(myr_pg *pg, prediction_job *job, myr_arena *arena, int64_t deadline_ns, myr_err *err)
{
    const char *params[4];
    myr_pg_call call;
    myr_pg_rows *rows = NULL;
    MYR_TRY(pg_find_call(job, arena, params, &call, err));
    MYR_TRY(myr_pg_run(pg, &call, 1, deadline_ns, &rows, err));
    myr_rc rc = pg_read_answer(job, rows, err);
    myr_pg_rows_free(rows);
    return rc;
}

static myr_rc pg_find_answer(void *self, prediction_job *job, myr_err *err)
{
    return pg_look_answer(self, job, job->arena, job->job.deadline_ns, err);
}

/* ---- rows as arrays ---- */

typedef struct pg_arrays {
    myr_buf text[PG_COLUMNS];
    const char *params[PG_COLUMNS];
    size_t count;
} pg_arrays;

static void pg_arrays_drop(pg_arrays *arrays)
{
    for (int i = 0; i < PG_COLUMNS; i++)
        myr_buf_fini(&arrays->text[i]);
}

static void pg_array_text(pg_arrays *arrays, int column, myr_str text)
{
    MYR_AUTO(myr_buf) one = {0};
    myr_buf *out = &arrays->text[column];
    myr_buf_putc(out, arrays->count == 0 ? '{' : ',');
    if (text.data == NULL) {
        myr_buf_puts(out, "NULL");
        return;
    }
    myr_pg_put_array(&one, &text, 1); /* `{"…"}` without its braces */
    if (one.failed) {
        out->failed = true;
    } else {
        myr_buf_append(out, one.data + 1, one.size - 2);
    }
}

static void pg_array_int64(pg_arrays *arrays, int column, int64_t value)
{
    myr_buf_printf(&arrays->text[column], "%c%lld", arrays->count == 0 ? '{' : ',', (long long)value);
}

static void pg_array_row(pg_arrays *arrays, const prediction_job *job, const prediction_row *row)
{
    pg_array_text(arrays, 0, job->fleet);
    pg_array_text(arrays, 1, row->key);
    myr_buf_putc(&arrays->text[2], arrays->count == 0 ? '{' : ',');
    myr_buf_double(&arrays->text[2], row->value);
    pg_array_text(arrays, 3, row->outputs);
    pg_array_text(arrays, 4, row->features);
    pg_array_int64(arrays, 5, job->release);
    pg_array_text(arrays, 6, row->model);
    pg_array_int64(arrays, 7, row->model_version);
    pg_array_text(arrays, 8, row->level);
    pg_array_text(arrays, 9, job->source);
    pg_array_int64(arrays, 10, job->produced_ms);
    if (job->valid_ms != 0) {
        pg_array_int64(arrays, 11, job->valid_ms);
    } else {
        pg_array_text(arrays, 11, myr_str_make(NULL, 0));
    }
    pg_array_text(arrays, 12, job->request_id);
    arrays->count++;
}

static myr_rc pg_rows_call(pg_arrays *arrays, prediction_job **jobs, size_t count, myr_pg_call *out, myr_err *err)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; !jobs[i]->is_kept && k < jobs[i]->row_count; k++)
            pg_array_row(arrays, jobs[i], &jobs[i]->rows[k]);
    }
    for (int i = 0; i < PG_COLUMNS; i++) {
        myr_buf_puts(&arrays->text[i], arrays->count == 0 ? "{}" : "}");
        MYR_TRY(myr_buf_check(&arrays->text[i], err));
        arrays->params[i] = arrays->text[i].data;
    }
    *out =
        (myr_pg_call){"INSERT INTO myriad_prediction(fleet, key, value, outputs, features, release, model,"
                      " model_version, level, source, produced_ms, valid_ms, request_id) SELECT * FROM"
                      " unnest($1::text[], $2::text[], $3::float8[], $4::text[], $5::text[], $6::bigint[], $7::text[],"
                      " $8::bigint[], $9::text[], $10::text[], $11::bigint[], $12::bigint[], $13::text[])",
                      arrays->params, PG_COLUMNS};
    return MYR_OK;
}

/* ---- writing ---- */

static int pg_compare_text(myr_str x, myr_str y)
{
    size_t size = x.size < y.size ? x.size : y.size;
    int order = size == 0 ? 0 : memcmp(x.data, y.data, size);
    return order != 0 ? order : (x.size > y.size) - (x.size < y.size);
}

/* All servers claim in one order, so that no two wait for each other: by all columns that make an answer one. */
static int pg_compare(const void *a, const void *b)
{
    const prediction_job *x = *(prediction_job *const *)a, *y = *(prediction_job *const *)b;
    int order = pg_compare_text(x->idempotency_key, y->idempotency_key);
    if (order == 0) order = pg_compare_text(x->fleet, y->fleet);
    return order != 0 ? order : pg_compare_text(x->token, y->token);
}

typedef struct pg_claims {
    prediction_job *jobs[LANE_BATCH_MAX];
    myr_pg_call calls[LANE_BATCH_MAX + 1];
    const char *params[LANE_BATCH_MAX][11];
    myr_pg_rows *rows[LANE_BATCH_MAX + 1];
    myr_arena *arena; /* of the parameters, for one attempt: a job may see many */
    size_t count;
} pg_claims;

static void pg_claims_clear(pg_claims *claims)
{
    for (size_t i = 0; i <= LANE_BATCH_MAX; i++) {
        myr_pg_rows_free(claims->rows[i]);
        claims->rows[i] = NULL;
    }
}

/* BEGIN and the claims, then the answers of those that were there; the transaction stays open. */
static myr_rc pg_claim(myr_pg *pg, pg_claims *claims, int64_t deadline_ns, myr_err *err)
{
    qsort(claims->jobs, claims->count, sizeof(claims->jobs[0]), pg_compare);
    claims->calls[0] = (myr_pg_call){"BEGIN", NULL, 0};
    for (size_t i = 0; i < claims->count; i++)
        MYR_TRY(pg_answer_call(claims->jobs[i], claims->arena, claims->params[i], &claims->calls[i + 1], err));
    MYR_TRY(myr_pg_run(pg, claims->calls, claims->count + 1, deadline_ns, claims->rows, err));
    for (size_t i = 0; i < claims->count; i++) {
        if (myr_pg_affected(claims->rows[i + 1]) > 0) continue;
        MYR_TRY(pg_look_answer(pg, claims->jobs[i], claims->arena, deadline_ns, err));
    }
    return MYR_OK;
}

static myr_rc pg_write_claimed(myr_pg *pg, prediction_job **jobs, size_t count, pg_claims *claims, int64_t deadline_ns,
                               bool *out_unknown, myr_err *err)
{
    myr_pg_call calls[2] = {{"", NULL, 0}, {"COMMIT", NULL, 0}};
    MYR_AUTO(pg_arrays) arrays = {0};
    MYR_AUTO(myr_arena_ptr) arena = myr_arena_new(0);
    if (arena == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %zu answers", claims->count);
    claims->arena = arena;
    myr_rc rc = pg_claim(pg, claims, deadline_ns, err);
    pg_claims_clear(claims);
    if (rc == MYR_OK) rc = pg_rows_call(&arrays, jobs, count, &calls[0], err);
    if (rc != MYR_OK) {
        myr_pg_call rollback = {"ROLLBACK", NULL, 0};
        MYR_IGNORE(
            myr_pg_run(pg, &rollback, 1, deadline_ns, NULL, NULL)); /* or the connection is lost, which does it */
        return rc;
    }
    *out_unknown = true;
    return myr_pg_run(pg, calls, 2, deadline_ns, NULL, err);
}

static myr_rc pg_write(void *self, prediction_job **jobs, size_t count, int64_t deadline_ns, bool *out_unknown,
                       myr_err *err)
{
    *out_unknown = false;
    MYR_TRY(myr_pg_connect(self, err)); /* a server that is away is known before anything is made or sent */
    MYR_AUTO(myr_mem) memory = myr_calloc(1, sizeof(pg_claims));
    if (memory == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for %zu requests", count);
    pg_claims *claims = memory;
    MYR_ASSERT(count <= LANE_BATCH_MAX);
    for (size_t i = 0; i < count; i++) {
        if (jobs[i]->has_answer) claims->jobs[claims->count++] = jobs[i];
    }
    if (claims->count > 0) return pg_write_claimed(self, jobs, count, claims, deadline_ns, out_unknown, err);
    MYR_AUTO(pg_arrays) arrays = {0};
    myr_pg_call call;
    MYR_TRY(pg_rows_call(&arrays, jobs, count, &call, err));
    *out_unknown = true;
    return myr_pg_run(self, &call, 1, deadline_ns, NULL, err);
}

static myr_rc pg_clean(void *self, int64_t now_ms, int64_t before_ms, int64_t row_max, int64_t deadline_ns,
                       myr_err *err)
{
    char now[24], before[24], rows[24];
    snprintf(now, sizeof now, "%lld", (long long)now_ms);
    snprintf(before, sizeof before, "%lld", (long long)before_ms);
    snprintf(rows, sizeof rows, "%lld", (long long)row_max);
    const char *const old[] = {rows, before}, *const expired[] = {now, rows};
    const myr_pg_call calls[] = {
        {"DELETE FROM myriad_prediction WHERE prediction_id IN (SELECT prediction_id FROM (SELECT prediction_id,"
         " produced_ms FROM myriad_prediction ORDER BY prediction_id LIMIT $1::bigint) AS p"
         " WHERE produced_ms < $2::bigint)",
         old, 2},
        {"DELETE FROM myriad_answer WHERE (token, fleet, idempotency_key) IN (SELECT token, fleet, idempotency_key FROM"
         " myriad_answer WHERE expires_ms <= $1::bigint LIMIT $2::bigint FOR UPDATE SKIP LOCKED)",
         expired, 2},
    };
    return myr_pg_run(self, before_ms > 0 ? calls : calls + 1, before_ms > 0 ? 2 : 1, deadline_ns, NULL, err);
}

/* ---- looking ---- */

static myr_rc pg_read_latest(prediction_job *job, const myr_pg_rows *rows, myr_err *err)
{
    myr_latest_row *out = &job->latest;
    double value = NAN;
    out->is_found = myr_pg_row_count(rows) > 0;
    if (!out->is_found) return MYR_OK;
    MYR_IGNORE(!myr_parse_double(myr_pg_text(rows, 0, 0), &value)); /* null stays NaN */
    MYR_TRY(myr_prediction_values(job, value, myr_pg_text(rows, 0, 1), err));
    out->release = myr_pg_int64(rows, 0, 2);
    out->model_version = myr_pg_int64(rows, 0, 4);
    out->produced_ms = myr_pg_int64(rows, 0, 7);
    out->valid_ms = myr_pg_int64(rows, 0, 8);
    bool ok = myr_prediction_keep(job, myr_pg_text(rows, 0, 3), &out->model) &&
              myr_prediction_keep(job, myr_pg_text(rows, 0, 5), &out->level) &&
              myr_prediction_keep(job, myr_pg_text(rows, 0, 6), &out->source) &&
              myr_prediction_keep(job, myr_pg_text(rows, 0, 9), &out->request_id);
    if (!ok) MYR_FAIL(err, NO_MEMORY, "no memory for a stored prediction");
    return MYR_OK;
}

static myr_rc pg_find_latest(void *self, prediction_job *job, myr_err *err)
{
    const char *params[] = {pg_text(job->arena, job->fleet), pg_text(job->arena, job->key)};
    myr_pg_call call = {"SELECT value, outputs, release, model, model_version, level, source, produced_ms, valid_ms,"
                        " request_id FROM myriad_prediction WHERE fleet = $1 AND key = $2"
                        " ORDER BY produced_ms DESC, prediction_id DESC LIMIT 1",
                        params, 2};
    myr_pg_rows *rows = NULL;
    if (params[0] == NULL || params[1] == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a question");
    MYR_TRY(myr_pg_run(self, &call, 1, job->job.deadline_ns, &rows, err));
    myr_rc rc = pg_read_latest(job, rows, err);
    myr_pg_rows_free(rows);
    return rc;
}

const prediction_kind myr_prediction_pg = {pg_open,        pg_close, pg_write, pg_find_answer,
                                           pg_find_latest, pg_clean, NULL,     NULL};
