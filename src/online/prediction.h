/*
 * What the files of the prediction store share: a job, and what a kind of database does with it. Not for other
 * directories.
 *
 * Owners: as lanes say. Texts of a job are in its arena.
 */
#ifndef MYR_ONLINE_PREDICTION_H
#define MYR_ONLINE_PREDICTION_H

#include "online/lane.h"

typedef enum prediction_ask { PREDICTION_STORE, PREDICTION_ANSWER, PREDICTION_LATEST } prediction_ask;

typedef struct prediction_row {
    double value;
    myr_str outputs; /* JSON array where there are several; data NULL otherwise */
    myr_str key, features, model, level;
    int64_t model_version;
} prediction_row;

typedef struct prediction_job {
    lane_job job;
    myr_predictions *store;
    myr_arena *arena;
    prediction_ask ask;
    int64_t bytes; /* counted against the store's, until the thread is through with it */

    /* to store */
    myr_str fleet, source, request_id;
    int64_t release, produced_ms, valid_ms;
    prediction_row *rows;
    size_t row_count;
    int64_t retry_until_ns; /* monotonic; how long a database that is away is waited for */
    myr_claim *claim;       /* of one that nobody waits for: freed when it is stored */
    bool stores_late;       /* stored also when its time is over */
    bool is_over;           /* the thread's: it is stored, or given up */

    /* an answer under an idempotency key: to store with it, or asked for */
    bool has_answer;
    myr_str token, idempotency_key;
    char hash[MYR_SHA256_HEX_BYTES];
    int64_t expires_ms;
    myr_kept_answer answer;

    /* found: the answer that is kept already, under which hash */
    bool is_kept;
    myr_kept_answer kept;
    char kept_hash[MYR_SHA256_HEX_BYTES];

    /* the latest of a key */
    myr_str key;
    myr_latest_row latest;
} prediction_job;

typedef struct prediction_kind {
    /* writes: for the one that stores; the others look. */
    myr_rc (*open)(const char *uri, bool writes, void **out, myr_err *err);
    void (*close)(void *self, bool is_sound); /* not sound: a sync failed, leave the file alone */
    /*
     * One transaction. A job whose idempotency key has an answer already gets it (is_kept), and nothing of it is
     * stored. *out_unknown: there is an error, but it may have taken effect.
     */
    myr_rc (*write)(void *self, prediction_job **jobs, size_t count, int64_t deadline_ns, bool *out_unknown,
                    myr_err *err);
    myr_rc (*find_answer)(void *self, prediction_job *job, myr_err *err);
    myr_rc (*find_latest)(void *self, prediction_job *job, myr_err *err);
    /* Remove at most row_max predictions produced before `before_ms` (0: none), and answers that have expired. */
    myr_rc (*clean)(void *self, int64_t now_ms, int64_t before_ms, int64_t row_max, int64_t deadline_ns, myr_err *err);
    myr_rc (*settle)(void *self, myr_err *err); /* SQLite: bring the log into the file; NULL: nothing to do */
    int64_t (*unsettled_pages)(void *self);     /* of the log, after the last write; NULL if settle is */
} prediction_kind;

extern const prediction_kind myr_prediction_sqlite, myr_prediction_pg;

/* From the thread that stores: is it still to be? Somebody waits for it, or it was to be stored all the same. */
static inline bool myr_prediction_is_wanted(prediction_job *job)
{
    return !job->is_over && (job->stores_late || myr_lane_is_wanted(&job->job));
}

/* Copies a text into a job's arena; data NULL stays so. False: no memory. */
bool myr_prediction_keep(prediction_job *job, myr_str text, myr_str *out);
/* Reads `[1,2]` or one value into job->latest. */
myr_rc myr_prediction_values(prediction_job *job, double value, myr_str outputs, myr_err *err);

#endif
