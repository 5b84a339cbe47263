/* Records of a stream answered by a fleet: JSON rows in, the answers of /score out. For `myriad stream`. */
#ifndef MYR_CLI_STREAM_SCORE_H
#define MYR_CLI_STREAM_SCORE_H

#include "serve/serve.h"
#include "stream/stream.h"

/* The fleet, and what scoring it needs. One thread's. */
typedef struct stream_scorer {
    myr_workspace *workspace; /* borrowed */
    const char *name;
    const char *service; /* a service file: the stages are its; NULL: models answer alone */
    int64_t release;     /* 0: the champion, followed */
    bool ignore_unknown;
    bool reads_service;        /* set: the service file is read again before the next batch */
    myr_metric *release_gauge; /* or NULL */
    /* its own */
    const myr_fleet *fleet; /* that answers, or answered last */
    myr_fleet *opened;      /* without a service file it is this */
    myr_stages *stages;     /* with one it is theirs, from begin to end */
    bool has_begun;
    myr_score_scratch *scratch;
    myr_arena *arena; /* of a batch */
    myr_buf out;      /* its answers */
    int64_t looked_ns, change_number;
    myr_err last_error; /* of a look at the registry: the same is logged once */
} stream_scorer;

/* Open the fleet; the first part of the struct is the caller's. In any case myr_stream_scorer_fini comes after it.
 * Errors: those of myr_fleet_open; NO_MEMORY. */
myr_rc myr_stream_scorer_init(stream_scorer *scorer, myr_err *err);
void myr_stream_scorer_fini(stream_scorer *scorer);
/*
 * For myr_stream_setup.answer. A record that is no row, and one whose status is not ok, is dead. A new champion answers
 * from the next batch on, at most a second after it was made. With a service file what it stores is stored before this
 * returns; a store that is away is waited for, for half a minute. Errors: NO_MEMORY; UNAVAILABLE, TIMEOUT, BUSY (a
 * store).
 */
myr_rc myr_stream_scorer_answer(stream_scorer *scorer, const myr_stream_record *records, size_t count,
                                myr_stream_answer *answers, myr_err *err);

#endif
