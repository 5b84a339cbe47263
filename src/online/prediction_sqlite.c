/*
 * Predictions in an SQLite file. Rows are appended, and a commit writes no more than their pages: which row is the
 * latest of its key is noted in a table of its own, for some hundred rows at once, since each of them would change
 * another page of it. Who looks for the latest looks there and through the rows that came after. Commits do not bring
 * the log into the file: whoever looks does that between questions, beside the writer (settle).
 */
#include <math.h>
#include <string.h>

#include "online/prediction.h"

#define SQLITE_BUSY_MS   20                         /* of one attempt: how long the jobs wait is theirs to say */
#define SQLITE_CACHE     "PRAGMA cache_size=-16384" /* KiB: the keys of many rows are noted at once */
#define SQLITE_NOTE_ROWS 256 /* that this writer adds before it notes their keys; a look goes through them */

/* Ids ascend, so of two rows of one moment the later one stays. */
#define SQLITE_NOTE                                                                                                    \
    "INSERT INTO latest SELECT fleet, key, produced_ms, prediction_id FROM prediction"                                 \
    " WHERE prediction_id > (SELECT prediction_id FROM noted) ORDER BY prediction_id"                                  \
    " ON CONFLICT DO UPDATE SET produced_ms = excluded.produced_ms, prediction_id = excluded.prediction_id"            \
    " WHERE excluded.produced_ms >= latest.produced_ms;"                                                               \
    "UPDATE noted SET prediction_id = (SELECT coalesce(max(prediction_id), 0) FROM prediction);"

static const char *const migrations[] = {
    "CREATE TABLE prediction(prediction_id INTEGER PRIMARY KEY, fleet TEXT NOT NULL, key TEXT NOT NULL,"
    " value REAL, outputs TEXT, features TEXT, release INTEGER NOT NULL, model TEXT NOT NULL,"
    " model_version INTEGER NOT NULL, level TEXT NOT NULL, source TEXT NOT NULL, produced_ms INTEGER NOT NULL,"
    " valid_ms INTEGER, request_id TEXT) STRICT;"
    "CREATE INDEX prediction_by_key ON prediction(fleet, key, produced_ms);"
    "CREATE TABLE answer(token TEXT NOT NULL, fleet TEXT NOT NULL, idempotency_key TEXT NOT NULL, hash TEXT NOT NULL,"
    " expires_ms INTEGER NOT NULL, status INTEGER NOT NULL, content_type TEXT NOT NULL, json_bytes INTEGER NOT NULL,"
    " body BLOB NOT NULL, PRIMARY KEY(token, fleet, idempotency_key)) STRICT, WITHOUT ROWID;"
    "CREATE INDEX answer_by_end ON answer(expires_ms);",
    /* `latest` knows the rows up to noted.prediction_id. */
    "CREATE TABLE latest(fleet TEXT NOT NULL, key TEXT NOT NULL, produced_ms INTEGER NOT NULL,"
    " prediction_id INTEGER NOT NULL, PRIMARY KEY(fleet, key)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE noted(prediction_id INTEGER NOT NULL) STRICT;"
    "INSERT INTO noted VALUES(0);" SQLITE_NOTE "DROP INDEX prediction_by_key;",
};

/* Self. */
typedef struct prediction_db {
    myr_db *db;
    size_t added; /* rows since this one noted keys; others may have noted them meanwhile */
} prediction_db;

static myr_rc sqlite_open_db(const char *uri, bool writes, myr_db **out, myr_err *err)
{
    myr_db *db = NULL;
    MYR_TRY(myr_db_open(myr_db_uri_path(uri), true, &db, err));
    myr_rc rc = myr_db_migrate(db, migrations, MYR_COUNT_OF(migrations), err);
    if (rc == MYR_OK && writes) rc = myr_db_exec(db, SQLITE_CACHE, err);
    if (rc != MYR_OK) {
        myr_db_close(db);
        return rc;
    }
    myr_db_own_checkpoints(db);
    myr_db_set_busy_ms(db, SQLITE_BUSY_MS);
    *out = db;
    return MYR_OK;
}

static myr_rc sqlite_open(const char *uri, bool writes, void **out, myr_err *err)
{
    prediction_db *self = myr_calloc(1, sizeof *self);
    if (self == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a prediction store");
    myr_rc rc = sqlite_open_db(uri, writes, &self->db, err);
    if (rc != MYR_OK) {
        myr_free(self);
        return rc;
    }
    self->added = SQLITE_NOTE_ROWS; /* what the last process left is noted with the first row */
    *out = self;
    return MYR_OK;
}

static void sqlite_close(void *self, bool is_sound)
{
    myr_db *db = ((prediction_db *)self)->db;
    if (is_sound) MYR_IGNORE(myr_db_checkpoint(db, true, NULL)); /* the log holds all; the next one brings it in */
    myr_db_close(db);
    myr_free(self);
}

/* ---- writing ---- */

static void bind_optional_ms(myr_stmt *stmt, int position, int64_t value)
{
    if (value != 0) myr_stmt_bind_int64(stmt, position, value); /* else it stays unbound: null */
}

/* True in *out_is_new: nobody has the key, or its answer has expired. */
static myr_rc sqlite_put_answer(myr_db *db, const prediction_job *job, bool *out_is_new, myr_err *err)
{
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    MYR_TRY(myr_db_prepare(db,
                           "INSERT INTO answer VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT DO UPDATE SET"
                           " hash = ?4, expires_ms = ?5, status = ?6, content_type = ?7, json_bytes = ?8, body = ?9"
                           " WHERE expires_ms <= ?10 RETURNING 1",
                           &stmt, err));
    myr_stmt_bind_text(stmt, 1, job->token);
    myr_stmt_bind_text(stmt, 2, job->fleet);
    myr_stmt_bind_text(stmt, 3, job->idempotency_key);
    myr_stmt_bind_text(stmt, 4, myr_str_of(job->hash));
    myr_stmt_bind_int64(stmt, 5, job->expires_ms);
    myr_stmt_bind_int64(stmt, 6, job->answer.status);
    myr_stmt_bind_text(stmt, 7, job->answer.content_type);
    myr_stmt_bind_int64(stmt, 8, job->answer.json_bytes);
    myr_stmt_bind_blob(stmt, 9, job->answer.body.data, job->answer.body.size);
    myr_stmt_bind_int64(stmt, 10, myr_clock_unix_ms());
    return myr_stmt_step(stmt, out_is_new, err);
}

static myr_rc sqlite_put_rows(myr_db *db, const prediction_job *job, myr_err *err)
{
    myr_stmt *stmt = NULL;
    MYR_TRY(myr_db_prepare(db,
                           "INSERT INTO prediction(fleet, key, value, outputs, features, release, model, model_version,"
                           " level, source, produced_ms, valid_ms, request_id)"
                           " VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
                           &stmt, err));
    for (size_t i = 0; i < job->row_count; i++) {
        const prediction_row *row = &job->rows[i];
        myr_stmt_bind_text(stmt, 1, job->fleet);
        myr_stmt_bind_text(stmt, 2, row->key);
        myr_stmt_bind_double(stmt, 3, row->value);
        myr_stmt_bind_text(stmt, 4, row->outputs);
        myr_stmt_bind_text(stmt, 5, row->features);
        myr_stmt_bind_int64(stmt, 6, job->release);
        myr_stmt_bind_text(stmt, 7, row->model);
        myr_stmt_bind_int64(stmt, 8, row->model_version);
        myr_stmt_bind_text(stmt, 9, row->level);
        myr_stmt_bind_text(stmt, 10, job->source);
        myr_stmt_bind_int64(stmt, 11, job->produced_ms);
        bind_optional_ms(stmt, 12, job->valid_ms);
        myr_stmt_bind_text(stmt, 13, job->request_id);
        MYR_TRY(myr_stmt_run(stmt, err));
    }
    return MYR_OK;
}

static myr_rc sqlite_find_answer(void *self, prediction_job *job, myr_err *err)
{
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    bool has_row = false;
    MYR_TRY(
        myr_db_prepare(((prediction_db *)self)->db,
                       "SELECT hash, status, content_type, json_bytes, body FROM answer WHERE token = ?1 AND fleet = "
                       "?2 AND idempotency_key = ?3 AND expires_ms > ?4",
                       &stmt, err));
    myr_stmt_bind_text(stmt, 1, job->token);
    myr_stmt_bind_text(stmt, 2, job->fleet);
    myr_stmt_bind_text(stmt, 3, job->idempotency_key);
    myr_stmt_bind_int64(stmt, 4, myr_clock_unix_ms());
    MYR_TRY(myr_stmt_step(stmt, &has_row, err));
    if (!has_row) return MYR_OK;
    myr_str hash = myr_stmt_text(stmt, 0);
    bool ok = hash.size == MYR_SHA256_HEX_BYTES - 1 &&
              myr_prediction_keep(job, myr_stmt_text(stmt, 2), &job->kept.content_type) &&
              myr_prediction_keep(job, myr_stmt_text(stmt, 4), &job->kept.body);
    if (!ok) MYR_FAIL(err, NO_MEMORY, "no memory for the answer that is kept");
    memcpy(job->kept_hash, hash.data, hash.size);
    job->kept.status = (int)myr_stmt_int64(stmt, 1);
    job->kept.json_bytes = myr_stmt_int64(stmt, 3);
    job->is_kept = true;
    return MYR_OK;
}

static myr_rc sqlite_put_all(prediction_db *self, prediction_job **jobs, size_t count, size_t *out_added, myr_err *err)
{
    *out_added = 0;
    for (size_t i = 0; i < count; i++) {
        bool is_new = true;
        jobs[i]->job.skips = !myr_prediction_is_wanted(jobs[i]); /* its time ran out while we waited for the lock */
        if (jobs[i]->job.skips) continue;
        if (jobs[i]->has_answer) MYR_TRY(sqlite_put_answer(self->db, jobs[i], &is_new, err));
        MYR_TRY(is_new ? sqlite_put_rows(self->db, jobs[i], err) : sqlite_find_answer(self, jobs[i], err));
        *out_added += is_new ? jobs[i]->row_count : 0;
    }
    return MYR_OK;
}

static myr_rc sqlite_write(void *self, prediction_job **jobs, size_t count, int64_t deadline_ns, bool *out_unknown,
                           myr_err *err)
{
    prediction_db *store = self;
    size_t added;
    (void)deadline_ns;
    *out_unknown = false;
    MYR_TRY(myr_db_begin(store->db, err));
    myr_rc rc = sqlite_put_all(store, jobs, count, &added, err);
    bool notes = store->added + added > SQLITE_NOTE_ROWS;
    if (rc == MYR_OK && notes) rc = myr_db_exec(store->db, SQLITE_NOTE, err);
    if (rc == MYR_OK) rc = myr_db_commit(store->db, err);
    if (rc == MYR_OK)
        store->added = notes ? 0 : store->added + added;
    else
        myr_db_rollback(store->db);
    return rc;
}

/* ---- removing ---- */

/* A row that is gone is nobody's latest, and its number may be given to another one. */
static myr_rc sqlite_forget(myr_db *db, myr_stmt *gone, myr_err *err)
{
    myr_stmt *stmt = NULL;
    bool has_row = false;
    MYR_TRY(myr_db_prepare(db, "DELETE FROM latest WHERE fleet = ?1 AND key = ?2 AND prediction_id = ?3", &stmt, err));
    for (;;) {
        MYR_TRY(myr_stmt_step(gone, &has_row, err));
        if (!has_row) break;
        myr_stmt_bind_text(stmt, 1, myr_stmt_text(gone, 0));
        myr_stmt_bind_text(stmt, 2, myr_stmt_text(gone, 1));
        myr_stmt_bind_int64(stmt, 3, myr_stmt_int64(gone, 2));
        MYR_TRY(myr_stmt_run(stmt, err));
    }
    return myr_db_exec(db,
                       "UPDATE noted SET prediction_id = min(prediction_id,"
                       " (SELECT coalesce(max(prediction_id), 0) FROM prediction))",
                       err);
}

static myr_rc sqlite_clean_predictions(myr_db *db, int64_t before_ms, int64_t row_max, myr_err *err)
{
    MYR_AUTO(myr_stmt_ptr) gone = NULL;
    MYR_TRY(myr_db_prepare(db,
                           "DELETE FROM prediction WHERE prediction_id IN (SELECT prediction_id FROM (SELECT"
                           " prediction_id, produced_ms FROM prediction ORDER BY prediction_id LIMIT ?1)"
                           " WHERE produced_ms < ?2) RETURNING fleet, key, prediction_id",
                           &gone, err));
    myr_stmt_bind_int64(gone, 1, row_max);
    myr_stmt_bind_int64(gone, 2, before_ms);
    return sqlite_forget(db, gone, err);
}

static myr_rc sqlite_clean_answers(myr_db *db, int64_t now_ms, int64_t row_max, myr_err *err)
{
    myr_stmt *stmt = NULL;
    MYR_TRY(myr_db_prepare(db,
                           "DELETE FROM answer WHERE (token, fleet, idempotency_key) IN (SELECT token, fleet,"
                           " idempotency_key FROM answer WHERE expires_ms <= ?1 LIMIT ?2)",
                           &stmt, err));
    myr_stmt_bind_int64(stmt, 1, now_ms);
    myr_stmt_bind_int64(stmt, 2, row_max);
    return myr_stmt_run(stmt, err);
}

static myr_rc sqlite_clean(void *self, int64_t now_ms, int64_t before_ms, int64_t row_max, int64_t deadline_ns,
                           myr_err *err)
{
    myr_db *db = ((prediction_db *)self)->db;
    (void)deadline_ns;
    MYR_TRY(myr_db_begin(db, err));
    myr_rc rc = before_ms > 0 ? sqlite_clean_predictions(db, before_ms, row_max, err) : MYR_OK;
    if (rc == MYR_OK) rc = sqlite_clean_answers(db, now_ms, row_max, err);
    if (rc == MYR_OK) rc = myr_db_commit(db, err);
    if (rc != MYR_OK) myr_db_rollback(db);
    return rc;
}

static myr_rc sqlite_settle(void *self, myr_err *err)
{
    return myr_db_checkpoint(((prediction_db *)self)->db, false, err);
}

static int64_t sqlite_unsettled_pages(void *self)
{
    return myr_db_log_pages(((prediction_db *)self)->db);
}

/* ---- looking ---- */

static myr_rc sqlite_find_latest(void *self, prediction_job *job, myr_err *err)
{
    MYR_AUTO(myr_stmt_ptr) stmt = NULL;
    myr_latest_row *out = &job->latest;
    MYR_TRY(myr_db_prepare(((prediction_db *)self)->db,
                           "SELECT value, outputs, release, model, model_version, level, source, produced_ms, valid_ms,"
                           " request_id FROM prediction WHERE prediction_id IN (SELECT prediction_id FROM latest"
                           " WHERE fleet = ?1 AND key = ?2 UNION ALL SELECT prediction_id FROM prediction WHERE"
                           " prediction_id > (SELECT prediction_id FROM noted) AND fleet = ?1 AND key = ?2)"
                           " ORDER BY produced_ms DESC, prediction_id DESC LIMIT 1",
                           &stmt, err));
    myr_stmt_bind_text(stmt, 1, job->fleet);
    myr_stmt_bind_text(stmt, 2, job->key);
    MYR_TRY(myr_stmt_step(stmt, &out->is_found, err));
    if (!out->is_found) return MYR_OK;
    double value = myr_stmt_is_null(stmt, 0) ? NAN : myr_stmt_double(stmt, 0);
    MYR_TRY(myr_prediction_values(job, value, myr_stmt_text(stmt, 1), err));
    out->release = myr_stmt_int64(stmt, 2);
    out->model_version = myr_stmt_int64(stmt, 4);
    out->produced_ms = myr_stmt_int64(stmt, 7);
    out->valid_ms = myr_stmt_int64(stmt, 8);
    bool ok = myr_prediction_keep(job, myr_stmt_text(stmt, 3), &out->model) &&
              myr_prediction_keep(job, myr_stmt_text(stmt, 5), &out->level) &&
              myr_prediction_keep(job, myr_stmt_text(stmt, 6), &out->source) &&
              myr_prediction_keep(job, myr_stmt_text(stmt, 9), &out->request_id);
    if (!ok) MYR_FAIL(err, NO_MEMORY, "no memory for a stored prediction");
    return MYR_OK;
}

const prediction_kind myr_prediction_sqlite = {sqlite_open,        sqlite_close, sqlite_write,  sqlite_find_answer,
                                               sqlite_find_latest, sqlite_clean, sqlite_settle, sqlite_unsettled_pages};
