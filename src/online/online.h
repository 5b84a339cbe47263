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
/* See each row that is there (json lives for the call). One round trip per 4096 keys. */
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

typedef struct myr_fetch myr_fetch;
myr_rc myr_fetch_start(myr_source *source, const myr_str *keys, size_t key_count, int64_t deadline_ns,
                       myr_online_done done, void *ctx, myr_fetch **out, myr_err *err);
/* After `done`: one row per key, or why there are none. They live until the fetch is freed. */
myr_rc myr_fetch_rows(const myr_fetch *fetch, const myr_feature_row **out, myr_err *err);
void myr_fetch_free(myr_fetch *fetch); /* after `done`; NULL accepted */

#endif
