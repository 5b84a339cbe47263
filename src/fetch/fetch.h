/*
 * The face of fetch: HTTP as a client, over libcurl, which is opened when it is first needed: nothing else waits for
 * it, and a program without it does everything else.
 */
#ifndef MYR_FETCH_FETCH_H
#define MYR_FETCH_FETCH_H

#include "base/base.h"

typedef struct myr_fetch myr_fetch;

typedef struct myr_fetch_opts {
    int64_t timeout_ms; /* for all of it */
    int64_t bytes_max;  /* of the body; more is TOO_LARGE */
    const char *token;  /* sent as a bearer token, to this host alone; NULL: none */
    const char *ca;     /* certificates to trust, a file in PEM; NULL: the system's */
} myr_fetch_opts;

/* UNAVAILABLE: libcurl is not here. Thread: one at a time, the first call before others start. */
myr_rc myr_fetch_open(myr_fetch **out, myr_err *err);
void myr_fetch_close(myr_fetch *fetch); /* NULL accepted */
typedef myr_fetch *myr_fetch_ptr;
static inline void myr_fetch_ptr_drop(myr_fetch_ptr *fetch)
{
    myr_fetch_close(*fetch);
}
/*
 * GET http:// or https://; no redirects, no other protocol. Any status is an answer: *out_status. The body is appended.
 * Errors: BAD_INPUT (no such URL), UNAVAILABLE (not reached, TLS), TIMEOUT, TOO_LARGE, NO_MEMORY.
 */
myr_rc myr_fetch_get(myr_fetch *fetch, const char *url, const myr_fetch_opts *opts, int *out_status, myr_buf *out,
                     myr_err *err);

#endif
