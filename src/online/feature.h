/*
 * What the kinds of feature stores share. Each keeps, by the name of a table, its definition (JSON: keys with their
 * types, features), and by name and key when a row was written and the row (JSON). Not for other directories.
 */
#ifndef MYR_ONLINE_FEATURE_H
#define MYR_ONLINE_FEATURE_H

#include "online/online.h"

#define FEATURE_KEYS_AT_ONCE     4096
#define FEATURE_DEFINITION_BYTES (1 << 20)

typedef struct feature_kind {
    myr_rc (*open)(const char *uri, bool create, void **out, myr_err *err);
    void (*close)(void *self);
    /* *out: data NULL if there is none; lives until the next call. */
    myr_rc (*get_definition)(void *self, myr_str name, myr_buf *out, bool *out_is_there, int64_t deadline_ns,
                             myr_err *err);
    myr_rc (*put_definition)(void *self, myr_str name, myr_str json, int64_t deadline_ns, myr_err *err);
    /* At most FEATURE_KEYS_AT_ONCE. */
    myr_rc (*put)(void *self, myr_str name, const myr_feature_put *rows, size_t count, int64_t written_ms,
                  int64_t deadline_ns, myr_err *err);
    myr_rc (*get)(void *self, myr_str name, const myr_str *keys, size_t count, int64_t deadline_ns, myr_feature_fn fn,
                  void *ctx, myr_err *err);
    void (*hurry)(void *self, int64_t busy_ms); /* how long a lock is waited for; NULL: there is none */
} feature_kind;

void myr_feature_store_hurry(myr_feature_store *store, int64_t busy_ms);

extern const feature_kind myr_feature_sqlite, myr_feature_pg, myr_feature_redis;

#endif
