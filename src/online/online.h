/*
 * The face of online: what a real-time request reads from and writes to a database. The feature store: the latest row
 * of features by key, in SQLite, PostgreSQL or Redis. The prediction store: each prediction with its key, features,
 * release and times, in SQLite or PostgreSQL; and answers by idempotency key.
 *
 * Nothing that ends in _start waits: it copies what it is given and hands it to threads of the store, which take all
 * that waits and do it in one round trip or one transaction; `done` is called once, from one of these threads, when
 * there is an answer or the deadline has passed. It must be short. Then the result is read, and the thing freed.
 * Thread: any, but for what says otherwise. Errors: BUSY (too much waits: never growth), TIMEOUT (the deadline),
 * UNAVAILABLE (not reachable; again later), those of db.
 */
#ifndef MYR_ONLINE_ONLINE_H
#define MYR_ONLINE_ONLINE_H

#include "base/base.h"
#include "db/db.h"
#include "pack/pack.h"

typedef void (*myr_online_done)(void *ctx);

/* ---- keys ---- */
/*
 * The canonical text of a row's key, `store=2,brand=1`, appended: the same text for 2, 2.0 and "2" (pack/key.h).
 * *out_is_null: a part is null, so there is no key, and nothing was appended. BAD_INPUT: a cell is not of its type.
 */
myr_rc myr_online_key(const myr_key_schema *schema, const myr_col *cols, int64_t row_idx, myr_buf *out,
                      bool *out_is_null, myr_err *err);

/* ---- feature store: tables, for those who fill and look ---- */
#define MYR_FEATURE_TABLES_FEATURES_MAX 4096
#define MYR_FEATURE_ROW_BYTES_MAX       (1 << 20) /* a row as JSON */
#define MYR_FEATURE_KEYS_MAX            65536     /* of one question */

/* What a table has. Names in the caller's arena. */
typedef struct myr_feature_table {
    myr_key_schema keys;
    const char *const *features;
    uint32_t feature_count;
} myr_feature_table;

typedef struct myr_feature_store myr_feature_store; /* one connection; one owner thread at a time */
/* sqlite: files are made if `create`. PostgreSQL and Redis are connected by the first call. */
myr_rc myr_feature_store_open(const char *uri, bool create, myr_feature_store **out, myr_err *err);
void myr_feature_store_close(myr_feature_store *store); /* NULL accepted */
/*
 * Make a table, or change which features it has (rows that are there keep theirs until they are written again). Other
 * keys than the table has are EXISTS; columns of it whose type is INT64 and shall be BYTES, or the other way, too.
 */
myr_rc myr_feature_store_define(myr_feature_store *store, const char *name, const myr_feature_table *table,
                                int64_t deadline_ns, myr_err *err);
/* NOT_FOUND: there is no such table. */
myr_rc myr_feature_store_describe(myr_feature_store *store, const char *name, myr_arena *arena, myr_feature_table *out,
                                  int64_t deadline_ns, myr_err *err);
/* Write rows: JSON objects of numbers, texts and nulls by feature. One transaction, or for Redis one pipeline. */
typedef struct myr_feature_put {
    myr_str key, json;
} myr_feature_put;
myr_rc myr_feature_store_put(myr_feature_store *store, const char *name, const myr_feature_put *rows, size_t count,
                             int64_t written_ms, int64_t deadline_ns, myr_err *err);
/* See each row that is there (json lives for the call; "": it is damaged). One round trip per 4096 keys. */
typedef myr_rc (*myr_feature_fn)(void *ctx, size_t key_idx, int64_t written_ms, myr_str json, myr_err *err);
myr_rc myr_feature_store_get(myr_feature_store *store, const char *name, const myr_str *keys, size_t count,
                             int64_t deadline_ns, myr_feature_fn fn, void *ctx, myr_err *err);

/* ---- feature store: a table as requests read it ---- */
typedef struct myr_source_opts {
    const char *uri, *table;
    const char *const *keys; /* in the order of the table */
    uint32_t key_count;
    const char *const *features; /* that are wanted of it */
    uint32_t feature_count;
    int64_t max_age_ms;   /* older is stale; 0 = none is */
    int connections;      /* 0 = 1 for SQLite, 2 otherwise */
    size_t waiting_max;   /* questions; 0 = 4096 */
    myr_metrics *metrics; /* or NULL */
} myr_source_opts;
typedef struct myr_source myr_source;
/* Copies its options. Does not connect. */
myr_rc myr_source_open(const myr_source_opts *opts, myr_source **out, myr_err *err);
/* Is the table there, with these keys and features? NOT_FOUND, BAD_INPUT say what it has; UNAVAILABLE, TIMEOUT. */
myr_rc myr_source_check(const myr_source *source, int64_t deadline_ns, myr_err *err);
void myr_source_close(myr_source *source); /* no question is open any more; NULL accepted */

typedef enum myr_feature_state { MYR_FEATURE_MISSING, MYR_FEATURE_STALE, MYR_FEATURE_FOUND } myr_feature_state;
/* A number, or a text (text.data != NULL), or null (NaN and no text). */
typedef struct myr_feature_cell {
    double number;
    myr_str text;
} myr_feature_cell;
typedef struct myr_feature_row {
    myr_feature_state state;
    int64_t written_ms;            /* 0 if missing */
    const myr_feature_cell *cells; /* the source's features, in its order; of a stale row too; NULL if missing */
} myr_feature_row;

typedef struct myr_lookup myr_lookup;
myr_rc myr_lookup_start(myr_source *source, const myr_str *keys, size_t key_count, int64_t deadline_ns,
                        myr_online_done done, void *ctx, myr_lookup **out, myr_err *err);
/*
 * The same on the caller's thread, where that takes microseconds: few keys, SQLite, pages in memory (measured). True:
 * *out has its rows now, without `done`. False: nothing has happened, start it.
 */
bool myr_lookup_now(myr_source *source, const myr_str *keys, size_t key_count, myr_lookup **out);
/* After `done`: one row per key, or why there are none. They live until the fetch is freed. */
myr_rc myr_lookup_rows(const myr_lookup *lookup, const myr_feature_row **out, myr_err *err);
void myr_lookup_free(myr_lookup *lookup); /* after `done`; NULL accepted */

/* ---- prediction store ---- */
#define MYR_IDEMPOTENCY_KEY_BYTES_MAX 255
#define MYR_STORED_ANSWER_BYTES_MAX   (1 << 20) /* of an answer that is kept under an idempotency key */
#define MYR_STORE_ROWS_MAX            65536     /* of one request */
#define MYR_STORE_RETRY_MS            30000     /* how long after the answer a prediction is tried to be stored */

typedef struct myr_predictions_opts {
    const char *uri;        /* sqlite: or postgresql: */
    size_t waiting_max;     /* requests that wait to be stored; 0 = 4096 */
    int64_t keep_ms;        /* predictions older than that are removed, little by little; 0 = none is */
    int64_t answer_keep_ms; /* how long an answer is kept under its idempotency key; 0 = a day */
    myr_metrics *metrics;   /* or NULL */
} myr_predictions_opts;
typedef struct myr_predictions myr_predictions;
/* SQLite: the file is made, errors are told. PostgreSQL: does not connect; tables are made by the first connection. */
myr_rc myr_predictions_open(const myr_predictions_opts *opts, myr_predictions **out, myr_err *err);
void myr_predictions_close(myr_predictions *store); /* what waits is stored; NULL accepted */

/* One prediction; everything is borrowed for the call. */
typedef struct myr_prediction {
    myr_str key; /* canonical text */
    const double *values;
    uint32_t value_count; /* at least 1 */
    myr_str features;     /* JSON object, or data NULL */
    myr_str model;        /* oj@store=2,brand=1 */
    int64_t model_version;
    const char *level; /* myr_level_name */
} myr_prediction;

/* An answer as it is kept under an idempotency key. */
typedef struct myr_kept_answer {
    int status; /* 0: there is none */
    myr_str content_type, body;
    int64_t json_bytes; /* of a V2 answer with binary tensors; else 0 */
} myr_kept_answer;

/* ---- idempotency keys ---- */
typedef struct myr_claim_id {
    myr_str token; /* who asks: a key means nothing to another one; "" without tokens */
    myr_str fleet, key;
    char hash[MYR_SHA256_HEX_BYTES]; /* of the request: method, path, body */
} myr_claim_id;
typedef struct myr_claim myr_claim;
/*
 * A request with an idempotency key begins. BAD_INPUT: the key is empty or too long; CONFLICT (409): a request with it
 * is in progress in this process; MISMATCH (422): another body is in progress under it.
 */
myr_rc myr_claim_start(myr_predictions *store, const myr_claim_id *id, int64_t deadline_ns, myr_online_done done,
                       void *ctx, myr_claim **out, myr_err *err);
/* After `done`: the answer to repeat, or status 0: go on. MISMATCH (422): the key belongs to another request. */
myr_rc myr_claim_result(const myr_claim *claim, myr_kept_answer *out, myr_err *err);
/* The request was answered or failed: the key is free, or its answer is kept. After `done`; NULL accepted. */
void myr_claim_free(myr_claim *claim);

/* ---- storing ---- */
typedef struct myr_store_request {
    myr_str fleet;
    int64_t release;
    const char *source; /* "request", "batch" */
    myr_str request_id; /* data NULL: none */
    int64_t produced_ms;
    int64_t valid_ms; /* when it is no longer valid; 0 = no such time */
    const myr_prediction *rows;
    size_t row_count;
    bool stores_late; /* if its time is over it is TIMEOUT, and stored all the same, as by myr_stored_later */
    myr_claim *claim; /* or NULL; then `answer` is not looked at */
    myr_kept_answer answer;
} myr_store_request;
typedef struct myr_stored myr_stored;
/* Store before the answer: OK of myr_stored_result means that it is on disk. TOO_LARGE: too many rows, a long answer.
 */
myr_rc myr_stored_start(myr_predictions *store, const myr_store_request *request, int64_t deadline_ns,
                        myr_online_done done, void *ctx, myr_stored **out, myr_err *err);
/*
 * After `done`. *out_answer: status 0, or the answer that another server stored under the same idempotency key
 * meanwhile: nothing of this request was stored, and that one is the answer. Errors: IO (a sync failed: nothing is
 * acknowledged from now on, until a restart), NO_SPACE, MISMATCH, TIMEOUT (may be stored all the same), UNAVAILABLE.
 */
myr_rc myr_stored_result(const myr_stored *stored, myr_kept_answer *out_answer, myr_err *err);
void myr_stored_free(myr_stored *stored); /* after `done`; NULL accepted */
/*
 * Store after the answer: tried for MYR_STORE_RETRY_MS. BUSY: the queue is full (counted). A crash loses what waits. On
 * OK the claim, if there is one, is the store's: until it is stored, a repetition is CONFLICT.
 */
myr_rc myr_stored_later(myr_predictions *store, const myr_store_request *request, myr_err *err);

/* ---- the latest prediction of a key ---- */
typedef struct myr_latest_row {
    bool is_found;
    const double *values;
    uint32_t value_count;
    int64_t release, model_version, produced_ms, valid_ms; /* valid_ms 0: no such time */
    myr_str model, level, source, request_id;              /* request_id data NULL: none */
} myr_latest_row;
typedef struct myr_latest myr_latest;
myr_rc myr_latest_start(myr_predictions *store, myr_str fleet, myr_str key, int64_t deadline_ns, myr_online_done done,
                        void *ctx, myr_latest **out, myr_err *err);
myr_rc myr_latest_result(const myr_latest *latest, myr_latest_row *out, myr_err *err); /* lives until it is freed */
void myr_latest_free(myr_latest *latest);                                              /* after `done`; NULL accepted */

#endif
