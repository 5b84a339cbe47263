/*
 * Redis or Valkey. A myr_redis is one connection that mends itself, as myr_pg does. No TLS.
 * redis://[[user]:password@]host[:port][/database]
 *
 * Ownership: one owner thread at a time. Errors: UNAVAILABLE (not reachable, lost), TIMEOUT (the connection is given
 * up), DENIED (password), NO_SPACE (OOM of the server), BAD_INPUT; messages name the URI without its password.
 */
#ifndef MYR_DB_REDIS_H
#define MYR_DB_REDIS_H

#include "base/base.h"

typedef struct myr_redis myr_redis;
myr_rc myr_redis_new(const char *uri, myr_redis **out, myr_err *err);
void myr_redis_free(myr_redis *redis); /* NULL accepted */

typedef struct myr_redis_call {
    const myr_str *args;
    size_t arg_count;
} myr_redis_call;
/* One answer, as its items: a text, status or number is one, nil is one without data, a list has many. Borrowed. */
typedef myr_rc (*myr_redis_fn)(void *ctx, size_t call_idx, const myr_str *items, size_t item_count, myr_err *err);

/* Commands in one round trip; on_answer (may be NULL) sees each answer, in order. */
myr_rc myr_redis_run(myr_redis *redis, const myr_redis_call *calls, size_t count, int64_t deadline_ns,
                     myr_redis_fn on_answer, void *ctx, myr_err *err);

#endif
