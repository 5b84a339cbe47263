/* The prediction store itself, and its claims. Not for other directories. */
#ifndef MYR_ONLINE_PREDICTIONS_H
#define MYR_ONLINE_PREDICTIONS_H

#include "online/prediction.h"

#define PREDICTIONS_WAITING_MAX    4096
#define PREDICTIONS_BYTES_MAX      (256LL << 20) /* of all that waits to be stored */
#define PREDICTIONS_JOB_BYTES_MAX  (128u << 20)
#define PREDICTIONS_JOB_BYTES_KEPT (32u << 10) /* by a slot between jobs */
#define PREDICTIONS_CLAIM_BUCKETS  1024
#define PREDICTIONS_ANSWER_KEEP_MS (24LL * 3600 * 1000)

typedef enum prediction_count {
    PREDICTION_STORED,
    PREDICTION_FAILED,
    PREDICTION_LATE,
    PREDICTION_BUSY,
    PREDICTION_LOST,
    PREDICTION_REPEATED,
    PREDICTION_COUNTS
} prediction_count;

struct myr_predictions {
    myr_predictions_opts opts;
    char *uri, *shown;
    const prediction_kind *kind;
    online_lane *writer, *reader;
    _Atomic int64_t bytes;          /* that wait */
    _Atomic int64_t unsettled_rows; /* stored since the log was brought into the file */
    _Atomic bool is_broken;         /* a sync failed: nothing is acknowledged, nothing is written */
    _Atomic bool is_stopping;
    myr_mutex claims_lock;
    myr_claim *claims[PREDICTIONS_CLAIM_BUCKETS]; /* under claims_lock: in progress */
    myr_metric *counts[PREDICTION_COUNTS];
    myr_metric *commits, *commit_duration;
};

/* An empty job of a lane, BUSY if there is none. */
myr_rc myr_prediction_take(myr_predictions *store, online_lane *lane, prediction_ask ask, prediction_job **out,
                           myr_err *err);
/* Why a job that has ended has no result: TIMEOUT, or the thread's error; else OK. */
myr_rc myr_prediction_ended(const prediction_job *job, myr_err *err);
/* Copies a claim's name into a job. False: no memory. */
bool myr_prediction_keep_claim(prediction_job *job, const myr_claim *claim);

/* ---- predictions_write.c: the thread that stores ---- */
void *myr_predictions_writer_open(void *ctx);
void myr_predictions_writer_close(void *state);
void myr_predictions_writer_warm(void *state);
void myr_predictions_writer_work(void *state, lane_job **jobs, size_t count);

#endif
