/* In place of all others here, where librdkafka's header was not there to build with: it says so. */
#include "stream/stream.h"

static myr_rc absent_fail(myr_err *err)
{
    MYR_FAIL(err, UNAVAILABLE,
             "this program was built without Kafka (librdkafka-dev): run scripts/setup and build it again");
}

myr_rc myr_stream_run(const myr_stream_setup *opts, myr_stream_report *out, myr_err *err)
{
    (void)opts;
    *out = (myr_stream_report){0};
    return absent_fail(err);
}

myr_rc myr_stream_find(const char **out_version, myr_err *err)
{
    (void)out_version;
    return absent_fail(err);
}

myr_rc myr_stream_watch_open(const myr_stream_link *link, const char *topic, myr_stream_watch **out, myr_err *err)
{
    (void)link;
    (void)topic;
    (void)out;
    return absent_fail(err);
}

void myr_stream_watch_close(myr_stream_watch *watch)
{
    MYR_ASSERT(watch == NULL); /* none was ever opened */
}

myr_rc myr_stream_watch_look(myr_stream_watch *watch, const char *since, int64_t timeout_ms, int64_t *out_new,
                             myr_buf *out_place, myr_err *err)
{
    (void)watch;
    (void)since;
    (void)timeout_ms;
    (void)out_new;
    (void)out_place;
    return absent_fail(err);
}
