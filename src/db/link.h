/*
 * What the two kinds of connections over a socket share: how a URI is shown, waiting on a socket until a deadline, and
 * when a connection that was lost is tried again. Not for other directories.
 *
 * Owner: the one thread that has the connection.
 */
#ifndef MYR_DB_LINK_H
#define MYR_DB_LINK_H

#include "db/db.h"

#define LINK_BACKOFF_MIN_MS 20
#define LINK_BACKOFF_MAX_MS 2000
#define LINK_CALL_MS        30000 /* the longest that a call takes, whatever the caller's deadline */
#define LINK_CONNECT_MS     3000  /* the longest that one attempt takes, whatever the caller's deadline */

typedef struct db_link {
    char *shown;      /* the URI without its password: for messages */
    int failures;     /* attempts in a row that failed */
    int64_t retry_ns; /* no attempt before that */
    myr_err last;     /* why the last attempt failed */
} db_link;

myr_rc myr_db_link_init(db_link *link, const char *uri, myr_err *err);
void myr_db_link_fini(db_link *link);
/* May a connection be tried now? UNAVAILABLE at once while the last failure is too young, with its words. */
myr_rc myr_db_link_may(const db_link *link, myr_err *err);
/*
 * The attempt failed, for the reason in *why: the next one waits, longer each time, and not as long as its neighbours.
 * Gives the code of *why, where TIMEOUT has become UNAVAILABLE: the server is mute, the caller's own time is not over.
 */
myr_rc myr_db_link_failed(db_link *link, myr_err *why);
void myr_db_link_works(db_link *link);

/* Wait for events (POLLIN, POLLOUT) of fd. TIMEOUT: the deadline (monotonic ns) has passed; IO: poll failed. */
myr_rc myr_db_link_wait(const db_link *link, int fd, short events, int64_t deadline_ns, myr_err *err);

/* A caller's deadline, but not later than LINK_CALL_MS from now: a server that is mute holds no thread for ever. */
int64_t myr_db_link_deadline(int64_t deadline_ns);

#endif
