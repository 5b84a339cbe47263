/* Where a topic ends, asked now and then: a trigger that misses nothing and needs no group. */
#include <inttypes.h>
#include <string.h>

#include "stream/kafka.h"

struct myr_stream_watch {
    rd_kafka_t *client;
    char topic[MYR_STREAM_TOPIC_MAX + 1];
    int64_t places[MYR_STREAM_PARTITIONS_MAX]; /* of the look under way; -1: a partition that the place has not */
};

static myr_rc watch_open(myr_stream_watch *watch, const myr_stream_link *link, const char *topic, myr_err *err)
{
    size_t size = strlen(topic);
    if (size < 1 || size > MYR_STREAM_TOPIC_MAX)
        MYR_FAIL(err, BAD_USAGE, "a topic's name has 1 to %d bytes, this one %zu", MYR_STREAM_TOPIC_MAX, size);
    memcpy(watch->topic, topic, size + 1);
    rd_kafka_conf_t *conf = NULL;
    MYR_TRY(myr_kafka_conf(link, NULL, 0, &conf, err));
    return myr_kafka_open(RD_KAFKA_CONSUMER, conf, &watch->client, err);
}

myr_rc myr_stream_watch_open(const myr_stream_link *link, const char *topic, myr_stream_watch **out, myr_err *err)
{
    MYR_TRY(myr_kafka_load(err));
    myr_stream_watch *watch = myr_calloc(1, sizeof *watch);
    if (watch == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for a look at topic %.100s", topic);
    myr_rc rc = watch_open(watch, link, topic, err);
    if (rc != MYR_OK) {
        myr_free(watch);
        return rc;
    }
    *out = watch;
    return MYR_OK;
}

void myr_stream_watch_close(myr_stream_watch *watch)
{
    if (watch == NULL) return;
    myr_kafka.destroy(watch->client);
    myr_free(watch);
}

/* "0:15,1:20" */
static myr_rc watch_parse(myr_stream_watch *watch, const char *text, myr_err *err)
{
    myr_str rest = myr_str_of(text), part, number_text;
    for (size_t i = 0; i < MYR_STREAM_PARTITIONS_MAX; i++)
        watch->places[i] = -1;
    while (text[0] != '\0' && myr_str_split(&rest, ',', &part)) {
        int64_t number = -1, offset = -1;
        bool is_right = myr_str_split(&part, ':', &number_text) && part.data != NULL &&
                        myr_is_canonical_int64(number_text, &number) && myr_is_canonical_int64(part, &offset) &&
                        number >= 0 && number < MYR_STREAM_PARTITIONS_MAX && offset >= 0;
        if (!is_right || watch->places[number] >= 0)
            MYR_FAIL(err, BAD_INPUT, "'%.60s' is no place in a topic: PARTITION:OFFSET, commas between them", text);
        watch->places[number] = offset;
    }
    return MYR_OK;
}

static int64_t watch_left_ms(int64_t until_ns)
{
    int64_t left_ms = (until_ns - myr_clock_mono_ns()) / 1000000;
    return left_ms > 1 ? left_ms : 1;
}

/* How many of one partition's messages are new, and where it ends. */
static myr_rc watch_look_at(const myr_stream_watch *watch, int32_t number, bool is_first, int64_t until_ns,
                            int64_t *out_new, int64_t *out_end, myr_err *err)
{
    int64_t low = 0, high = 0, place = watch->places[number];
    rd_kafka_resp_err_t code = myr_kafka.query_watermark_offsets(watch->client, watch->topic, number, &low, &high,
                                                                 (int)watch_left_ms(until_ns));
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) return myr_kafka_fail(err, code, "topic", watch->topic);
    if (place < 0 || place > high) place = is_first ? high : low; /* a new partition, or a topic made anew */
    *out_new = high - place;
    *out_end = high;
    return MYR_OK;
}

myr_rc myr_stream_watch_look(myr_stream_watch *watch, const char *since, int64_t timeout_ms, int64_t *out_new,
                             myr_buf *out_place, myr_err *err)
{
    int64_t until_ns = myr_clock_mono_ns() + timeout_ms * 1000000, all_new = 0;
    bool is_first = since == NULL || since[0] == '\0';
    int32_t count = 0;
    MYR_AUTO(myr_buf) place = {0};
    MYR_TRY(watch_parse(watch, is_first ? "" : since, err));
    MYR_TRY(myr_kafka_find_topic(watch->client, watch->topic, watch_left_ms(until_ns), &count, err));
    for (int32_t i = 0; i < count; i++) {
        int64_t more = 0, end = 0;
        MYR_TRY(watch_look_at(watch, i, is_first, until_ns, &more, &end, err));
        all_new += more;
        myr_buf_printf(&place, "%s%d:%" PRId64, i > 0 ? "," : "", i, end);
    }
    MYR_TRY(myr_buf_check(&place, err));
    myr_buf_append(out_place, place.data, place.size);
    MYR_TRY(myr_buf_check(out_place, err));
    *out_new = all_new;
    return MYR_OK;
}
