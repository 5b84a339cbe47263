/*
 * Connections over a socket, in common. A lost one is tried again at the next call, but not at once after a failure:
 * the pause doubles, and has jitter, so that many processes do not come back in the same moment. Meanwhile a call fails
 * at once, with the reason of the last attempt; nobody waits for a database that is known to be away.
 */
#include "db/link.h"

#include <errno.h>
#include <poll.h>
#include <string.h>

#include "db/db.h"

myr_rc myr_db_link_init(db_link *link, const char *uri, myr_err *err)
{
    MYR_AUTO(myr_buf) shown = {0};
    myr_db_uri_show(uri, &shown);
    MYR_TRY(myr_buf_check(&shown, err));
    *link = (db_link){.shown = myr_buf_take(&shown)};
    if (link->shown == NULL) MYR_FAIL(err, NO_MEMORY, "no memory for a connection");
    return MYR_OK;
}

void myr_db_link_fini(db_link *link)
{
    myr_free(link->shown);
    link->shown = NULL;
}

myr_rc myr_db_link_may(const db_link *link, myr_err *err)
{
    int64_t left_ns = link->retry_ns - myr_clock_mono_ns();
    if (link->failures == 0 || left_ns <= 0) return MYR_OK;
    /* The words of the last attempt name the database already. */
    MYR_FAIL(err, UNAVAILABLE, "%s (tried %d times, again in %lld ms)", link->last.message, link->failures,
             (long long)(left_ns / 1000000) + 1);
}

myr_rc myr_db_link_failed(db_link *link, myr_err *why)
{
    if (why->rc == MYR_TIMEOUT) why->rc = MYR_UNAVAILABLE;
    int64_t pause_ms = LINK_BACKOFF_MIN_MS;
    for (int i = 0; i < link->failures && pause_ms < LINK_BACKOFF_MAX_MS; i++)
        pause_ms *= 2;
    if (pause_ms > LINK_BACKOFF_MAX_MS) pause_ms = LINK_BACKOFF_MAX_MS;
    uint32_t random = 0;
    MYR_IGNORE(myr_random(&random, sizeof random, NULL)); /* without it there is no jitter, which is no failure */
    int64_t pause_ns = pause_ms * 1000000 / 2 + (int64_t)(random % 1000) * (pause_ms * 1000000 / 2000);
    link->failures++;
    link->retry_ns = myr_clock_mono_ns() + pause_ns;
    link->last = *why;
    return (myr_rc)why->rc;
}

void myr_db_link_works(db_link *link)
{
    link->failures = 0;
    link->retry_ns = 0;
}

myr_rc myr_db_link_wait(const db_link *link, int fd, short events, int64_t deadline_ns, myr_err *err)
{
    for (;;) {
        int64_t left_ns = deadline_ns - myr_clock_mono_ns();
        if (left_ns <= 0) MYR_FAIL(err, TIMEOUT, "%s: no answer within the time", link->shown);
        struct pollfd item = {.fd = fd, .events = events};
        int count = poll(&item, 1, (int)((left_ns + 999999) / 1000000 > 60000 ? 60000 : (left_ns + 999999) / 1000000));
        if (count > 0) return MYR_OK; /* errors and hang-ups too: the next read or write says which */
        if (count < 0 && errno != EINTR) MYR_FAIL(err, IO, "%s: poll: %s", link->shown, strerror(errno));
    }
}

int64_t myr_db_link_deadline(int64_t deadline_ns)
{
    int64_t limit_ns = myr_clock_mono_ns() + LINK_CALL_MS * 1000000LL;
    return deadline_ns < limit_ns ? deadline_ns : limit_ns;
}
