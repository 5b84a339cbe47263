/*
 * The face of fetch: HTTP as a client, over libcurl, which is opened when it is first needed: nothing else waits for
 * it, and a program without it does everything else.
 */
#ifndef MYR_FETCH_FETCH_H
#define MYR_FETCH_FETCH_H

#include "base/base.h"

#define MYR_FETCH_HEADERS_BYTES_MAX (64 << 10) /* of an answer; more is TOO_LARGE */

typedef struct myr_fetch myr_fetch;

/* UNAVAILABLE: libcurl is not here. Thread: one at a time; connections are kept from one call to the next. */
myr_rc myr_fetch_open(myr_fetch **out, myr_err *err);
void myr_fetch_close(myr_fetch *fetch); /* NULL accepted */
typedef myr_fetch *myr_fetch_ptr;
static inline void myr_fetch_ptr_drop(myr_fetch_ptr *fetch)
{
    myr_fetch_close(*fetch);
}

/* A piece of a body as it comes. A failure ends the call and is what it gives. */
typedef myr_rc (*myr_fetch_take)(void *ctx, const void *data, size_t size_bytes, myr_err *err);

typedef struct myr_fetch_call {
    const char *method;         /* NULL: GET; HEAD, PUT, POST, DELETE */
    const char *url;            /* http:// or https://, percent-encoded: sent as it is */
    const char *name;           /* what messages call it; NULL: the URL, which must hold no secret then */
    const char *const *headers; /* `Name: value`, NULL-terminated; NULL: none */
    const char *token;          /* sent as a bearer token; NULL: none */
    const char *ca;             /* certificates to trust, a file in PEM; NULL: the system's */
    const void *body;           /* what is sent, borrowed; NULL: nothing */
    size_t body_bytes;
    int64_t timeout_ms;  /* for all of it; 0: as long as it moves */
    int64_t stall_ms;    /* less than 1 KiB/s for so long is TIMEOUT; in whole seconds, 0: never */
    int64_t bytes_max;   /* of the answer's body; more is TOO_LARGE */
    myr_fetch_take take; /* gets the body of a 2xx; NULL: it is in answer->body, as that of any other status is */
    void *ctx;
} myr_fetch_call;

typedef struct myr_fetch_answer {
    int status;
    myr_buf headers; /* `name: value` lines of the last answer */
    myr_buf body;
} myr_fetch_answer;
void myr_fetch_answer_fini(myr_fetch_answer *answer);
static inline void myr_fetch_answer_drop(myr_fetch_answer *answer)
{
    myr_fetch_answer_fini(answer);
}

/*
 * Ask once: no redirects, no other protocol. Any status is an answer. Of a call that fails, *answer has what came until
 * then (status 0: nothing).
 * Errors: BAD_INPUT (no such URL), UNAVAILABLE (not reached, cut, TLS), TIMEOUT, TOO_LARGE, NO_MEMORY, those of `take`.
 */
myr_rc myr_fetch_ask(myr_fetch *fetch, const myr_fetch_call *call, myr_fetch_answer *answer, myr_err *err);
/* The value of a header, whatever its case; borrowed from *answer. data == NULL: it is not there. */
myr_str myr_fetch_header(const myr_fetch_answer *answer, const char *name);

#endif
