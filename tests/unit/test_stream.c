/* stream, over the mock cluster that librdkafka brings: its brokers fail on demand. */
#include "kafka_fixture.h"
#include "stream/stream.h"

#define PRODUCE 0 /* numbers of requests, as Kafka has them */
#define COMMIT  8

static void cluster_open(kafka_cluster *out)
{
    kafka_open(out);
    kafka_topic(out, "in", 2);
    kafka_topic(out, "out", 1);
    kafka_topic(out, "dead", 1);
}

static rd_kafka_t *cluster_reader(const kafka_cluster *c, const char *group)
{
    char why[200];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    EXPECT(rd_kafka_conf_set(conf, "bootstrap.servers", c->brokers, why, sizeof why) == RD_KAFKA_CONF_OK);
    EXPECT(rd_kafka_conf_set(conf, "group.id", group, why, sizeof why) == RD_KAFKA_CONF_OK);
    rd_kafka_t *reader = rd_kafka_new(RD_KAFKA_CONSUMER, conf, why, sizeof why);
    EXPECT(reader != NULL);
    return reader;
}

/* How often each number stands in partition 0 of a topic. */
static int cluster_count(const kafka_cluster *c, const char *topic, int counts[], int count)
{
    rd_kafka_t *reader = cluster_reader(c, "look");
    int64_t low = 0, high = 0;
    EXPECT(rd_kafka_query_watermark_offsets(reader, topic, 0, &low, &high, 10000) == RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(list, topic, 0)->offset = 0;
    EXPECT(rd_kafka_assign(reader, list) == RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_topic_partition_list_destroy(list);
    int all = 0;
    memset(counts, 0, (size_t)count * sizeof *counts);
    while (all < high) {
        rd_kafka_message_t *message = rd_kafka_consumer_poll(reader, 10000);
        EXPECT(message != NULL && message->err == RD_KAFKA_RESP_ERR_NO_ERROR);
        int64_t number = -1;
        EXPECT(myr_parse_int64(myr_str_make(message->key, message->key_len), &number) && number >= 0 && number < count);
        counts[number]++;
        all++;
        rd_kafka_message_destroy(message);
    }
    rd_kafka_destroy(reader);
    return all;
}

/* The group's offsets of `in`, both partitions together; what is not committed is none. */
static int64_t cluster_committed(const kafka_cluster *c)
{
    rd_kafka_t *reader = cluster_reader(c, "g");
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(2);
    rd_kafka_topic_partition_list_add(list, "in", 0);
    rd_kafka_topic_partition_list_add(list, "in", 1);
    EXPECT(rd_kafka_committed(reader, list, 10000) == RD_KAFKA_RESP_ERR_NO_ERROR);
    int64_t sum = 0;
    for (int i = 0; i < 2; i++)
        sum += list->elems[i].offset > 0 ? list->elems[i].offset : 0;
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(reader);
    return sum;
}

/* ---- answering ---- */

typedef struct answering {
    int64_t wanted, seen;      /* it is over when so many records were seen … */
    int64_t over_ns;           /* … or then */
    int64_t extra_ns, done_ns; /* so much later, since then */
    int64_t fail_at;           /* the batch with so many seen before it fails; -1: none */
    size_t batch_most;
    char values[MYR_STREAM_ROWS_MAX][16];
    int events[16];
} answering;

/* Multiples of ten are dead, others their own answer. */
static myr_rc answer(void *ctx, const myr_stream_record *records, size_t count, myr_stream_answer *answers,
                     myr_err *err)
{
    answering *a = ctx;
    if (a->fail_at >= 0 && a->seen >= a->fail_at) MYR_FAIL(err, NO_MEMORY, "told to fail");
    for (size_t i = 0; i < count; i++) {
        int64_t number = 0;
        EXPECT(myr_parse_int64(records[i].value, &number));
        snprintf(a->values[i], sizeof a->values[i], "%lld", (long long)number);
        answers[i].value = myr_str_of(a->values[i]);
        answers[i].is_dead = number % 10 == 0;
        answers[i].cause = myr_str_of("a ten");
        answers[i].headers[answers[i].header_count++] = (myr_stream_header){"h", myr_str_of("v")};
    }
    if (count > a->batch_most) a->batch_most = count;
    a->seen += (int64_t)count;
    return MYR_OK;
}

static bool is_over(void *ctx)
{
    answering *a = ctx;
    if (a->seen >= a->wanted && a->done_ns == 0) a->done_ns = myr_clock_mono_ns();
    bool is_done = a->done_ns != 0 && myr_clock_mono_ns() >= a->done_ns + a->extra_ns;
    return is_done || myr_clock_mono_ns() >= a->over_ns;
}

static void on_event(void *ctx, myr_stream_event event, const char *detail)
{
    answering *a = ctx;
    EXPECT(detail != NULL && (size_t)event < MYR_COUNT_OF(a->events));
    a->events[event]++;
}

static answering heard;

static myr_rc run(const kafka_cluster *c, int64_t wanted, const char *dead, myr_stream_report *report, myr_err *err)
{
    /* The mock answers those who join a second before their session would end. */
    const myr_stream_property quick[] = {{"session.timeout.ms", "2100"}, {"heartbeat.interval.ms", "100"}};
    myr_stream_setup setup = {.link = {c->brokers, quick, 2},
                              .group = "g",
                              .from = "in",
                              .to = "out",
                              .dead_letter = dead,
                              .batch_rows = 100,
                              .linger_ms = 5,
                              .in_flight = 300,
                              .drain_ms = 20000,
                              .answer = answer,
                              .is_over = is_over,
                              .on_event = on_event,
                              .ctx = &heard};
    heard.wanted = wanted;
    heard.over_ns = myr_clock_mono_ns() + 60000000000;
    return myr_stream_run(&setup, report, err);
}

static void reset(void)
{
    memset(&heard, 0, sizeof heard);
    heard.fail_at = -1;
}

TEST(each_record_is_answered_once_and_committed)
{
    MYR_AUTO(kafka_cluster) c = {0};
    int counts[1000];
    myr_err err = {0};
    myr_stream_report report;
    cluster_open(&c);
    kafka_write(&c, "in", 0, 1000);
    reset();
    EXPECT_RC(run(&c, 1000, "dead", &report, &err), OK, &err);
    EXPECT_INT(report.answered, 900);
    EXPECT_INT(report.dead, 100);
    EXPECT(heard.batch_most <= 100 && report.batches >= 10);
    EXPECT_INT(cluster_count(&c, "out", counts, 1000), 900);
    for (int i = 0; i < 1000; i++)
        EXPECT_INT(counts[i], i % 10 != 0);
    EXPECT_INT(cluster_count(&c, "dead", counts, 1000), 100);
    EXPECT_INT(cluster_committed(&c), 1000);
    EXPECT(heard.events[MYR_STREAM_READY] == 1 && heard.events[MYR_STREAM_ASSIGNED] == 1 &&
           heard.events[MYR_STREAM_REVOKED] == 1);
    /* without a topic for them, dead ones go out */
    kafka_write(&c, "in", 0, 100);
    reset();
    EXPECT_RC(run(&c, 100, NULL, &report, &err), OK, &err);
    EXPECT_INT(report.answered, 100);
    EXPECT_INT(cluster_count(&c, "out", counts, 1000), 1000);
}

TEST(a_failed_batch_is_not_committed_those_before_it_are)
{
    MYR_AUTO(kafka_cluster) c = {0};
    int counts[1000];
    myr_err err = {0};
    myr_stream_report report;
    cluster_open(&c);
    kafka_write(&c, "in", 0, 1000);
    reset();
    heard.fail_at = 500;
    EXPECT_RC(run(&c, 1000, "dead", &report, &err), NO_MEMORY, &err);
    EXPECT_STR(err.message, "told to fail");
    int64_t committed = cluster_committed(&c);
    EXPECT(committed == report.answered + report.dead && committed <= heard.seen);
    int64_t seen = heard.seen;
    reset();
    EXPECT_RC(run(&c, 1000 - committed, "dead", &report, &err), OK, &err);
    EXPECT_INT(cluster_committed(&c), 1000);
    int all = cluster_count(&c, "out", counts, 1000);
    for (int i = 0; i < 1000; i++)
        EXPECT(i % 10 == 0 ? counts[i] == 0 : counts[i] >= 1);
    EXPECT(all - 900 <= seen - committed); /* only what was not committed was answered twice */
}

TEST(failures_that_pass_are_tried_again)
{
    MYR_AUTO(kafka_cluster) c = {0};
    int counts[200];
    myr_err err = {0};
    myr_stream_report report;
    cluster_open(&c);
    kafka_write(&c, "in", 0, 200);
    rd_kafka_mock_push_request_errors(c.mock, PRODUCE, 3, RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
                                      RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION);
    rd_kafka_mock_push_request_errors(c.mock, COMMIT, 1, RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS);
    reset();
    heard.extra_ns = 2000000000; /* commits are tried again each half second */
    EXPECT_RC(run(&c, 200, NULL, &report, &err), OK, &err);
    EXPECT_INT(heard.events[MYR_STREAM_UNCOMMITTED], 1);
    EXPECT_INT(cluster_count(&c, "out", counts, 200), 200);
    for (int i = 0; i < 200; i++)
        EXPECT_INT(counts[i], 1);
    EXPECT_INT(cluster_committed(&c), 200);
}

TEST(what_is_done_is_committed_though_the_last_commits_are_refused)
{
    MYR_AUTO(kafka_cluster) c = {0};
    myr_err err = {0};
    myr_stream_report report;
    cluster_open(&c);
    kafka_write(&c, "in", 0, 100);
    rd_kafka_mock_push_request_errors(c.mock, COMMIT, 2, RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS,
                                      RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS);
    reset();
    EXPECT_RC(run(&c, 100, NULL, &report, &err), OK, &err); /* it is over before a commit of its own time */
    EXPECT_INT(heard.events[MYR_STREAM_UNCOMMITTED], 2);
    EXPECT_INT(cluster_committed(&c), 100);
}

TEST(a_request_too_large_is_sent_in_parts)
{
    MYR_AUTO(kafka_cluster) c = {0};
    int counts[100];
    myr_err err = {0};
    myr_stream_report report;
    cluster_open(&c);
    kafka_write(&c, "in", 1, 99);
    reset();
    rd_kafka_mock_push_request_errors(c.mock, PRODUCE, 2, RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE,
                                      RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE);
    EXPECT_RC(run(&c, 99, "dead", &report, &err), OK, &err);
    EXPECT_INT(report.answered + report.dead, 99);
    int out = cluster_count(&c, "out", counts, 100), dead = cluster_count(&c, "dead", counts, 100);
    EXPECT_INT(out + dead, 99);
    EXPECT(dead <= 10); /* nine are dead as it is, at most one of the two refusals met a message by itself */
    EXPECT_INT(cluster_committed(&c), 99);
}

TEST(a_topic_made_anew_is_read_from_its_start)
{
    MYR_AUTO(kafka_cluster) c = {0};
    myr_err err = {0};
    myr_stream_report report;
    cluster_open(&c);
    kafka_write(&c, "in", 0, 10);
    rd_kafka_t *reader = cluster_reader(&c, "g");
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(2);
    rd_kafka_topic_partition_list_add(list, "in", 0)->offset = 500; /* what the group had of the earlier one */
    rd_kafka_topic_partition_list_add(list, "in", 1)->offset = 700;
    EXPECT(rd_kafka_commit(reader, list, 0) == RD_KAFKA_RESP_ERR_NO_ERROR);
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_destroy(reader);
    reset();
    EXPECT_RC(run(&c, 10, NULL, &report, &err), OK, &err);
    EXPECT_INT(report.answered, 10);
    EXPECT_INT(cluster_committed(&c), 10);
}

TEST(a_refusal_that_no_retry_mends_ends_the_run)
{
    MYR_AUTO(kafka_cluster) c = {0};
    myr_err err = {0};
    myr_stream_report report;
    cluster_open(&c);
    kafka_write(&c, "in", 0, 10);
    reset();
    rd_kafka_mock_push_request_errors(c.mock, PRODUCE, 1, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED);
    EXPECT_RC(run(&c, 1000, NULL, &report, &err), DENIED, &err);
    EXPECT_HAS(err.message, "writing to out");
    EXPECT_INT(cluster_committed(&c), report.answered);
}

TEST(setups_are_checked)
{
    myr_err err = {0};
    myr_stream_report report;
    myr_stream_setup good = {.link = {"127.0.0.1:1", NULL, 0},
                             .group = "g",
                             .from = "in",
                             .to = "out",
                             .batch_rows = 1,
                             .in_flight = 1,
                             .answer = answer,
                             .is_over = is_over,
                             .ctx = &heard};
    reset();
    heard.over_ns = 0; /* at once: nobody is reached */
    EXPECT_RC(myr_stream_run(&good, &report, &err), OK, &err);
    myr_stream_setup s = good;
    s.batch_rows = s.in_flight = MYR_STREAM_ROWS_MAX;
    EXPECT_RC(myr_stream_run(&s, &report, &err), OK, &err);
    s.batch_rows = s.in_flight = MYR_STREAM_ROWS_MAX + 1;
    EXPECT_RC(myr_stream_run(&s, &report, &err), BAD_USAGE, &err);
    s = good;
    s.batch_rows = 0;
    EXPECT_RC(myr_stream_run(&s, &report, &err), BAD_USAGE, &err);
    s = good;
    s.in_flight = MYR_STREAM_IN_FLIGHT_MAX + 1;
    EXPECT_RC(myr_stream_run(&s, &report, &err), BAD_USAGE, &err);
    s = good;
    s.dead_letter = "in";
    EXPECT_RC(myr_stream_run(&s, &report, &err), BAD_USAGE, &err);
    s = good;
    s.to = "";
    EXPECT_RC(myr_stream_run(&s, &report, &err), BAD_USAGE, &err);
    const myr_stream_property bad[] = {{"acks", "1"}, {"no.such", "1"}, {"queue.buffering.max.kbytes", "x"}};
    for (size_t i = 0; i < MYR_COUNT_OF(bad); i++) {
        s = good;
        s.link.properties = &bad[i];
        s.link.property_count = 1;
        EXPECT_RC(myr_stream_run(&s, &report, &err), BAD_USAGE, &err);
        EXPECT_HAS(err.message, bad[i].name);
    }
}

/* ---- to be told of messages ---- */

TEST(a_watch_counts_what_came_since_a_place)
{
    MYR_AUTO(kafka_cluster) c = {0};
    myr_err err = {0};
    myr_stream_watch *watch = NULL;
    int64_t more = -1;
    cluster_open(&c);
    kafka_write(&c, "in", 0, 10);
    EXPECT_RC(myr_stream_watch_open(&(myr_stream_link){c.brokers, NULL, 0}, "in", &watch, &err), OK, &err);
    MYR_AUTO(myr_buf) place = {0};
    MYR_AUTO(myr_buf) next = {0};
    EXPECT_RC(myr_stream_watch_look(watch, NULL, 10000, &more, &place, &err), OK, &err);
    EXPECT_INT(more, 0); /* from now on */
    EXPECT_STR(place.data, "0:5,1:5");
    kafka_write(&c, "in", 0, 3);
    EXPECT_RC(myr_stream_watch_look(watch, place.data, 10000, &more, &next, &err), OK, &err);
    EXPECT_INT(more, 3);
    EXPECT_STR(next.data, "0:7,1:6");
    myr_buf_clear(&place);
    EXPECT_RC(myr_stream_watch_look(watch, next.data, 10000, &more, &place, &err), OK, &err);
    EXPECT_INT(more, 0);
    myr_buf_clear(&place);
    EXPECT_RC(myr_stream_watch_look(watch, "1:4", 10000, &more, &place, &err), OK, &err);
    EXPECT_INT(more, 9); /* a partition that the place has not is new */
    myr_buf_clear(&place);
    EXPECT_RC(myr_stream_watch_look(watch, "0:99,1:6", 10000, &more, &place, &err), OK, &err);
    EXPECT_INT(more, 7); /* a topic that was made anew */
    const char *const bad[] = {
        "x", "0", "0:", "0:1,", "0:-1", "-1:0", "0:1,0:2", "10000:1", "0:1:2", "0:01", "0:99999999999999999999"};
    for (size_t i = 0; i < MYR_COUNT_OF(bad); i++) {
        myr_buf_clear(&place);
        more = 77;
        EXPECT_RC(myr_stream_watch_look(watch, bad[i], 10000, &more, &place, &err), BAD_INPUT, &err);
        EXPECT(more == 77 && place.size == 0);
    }
    myr_stream_watch_close(watch);
    EXPECT_RC(myr_stream_watch_open(&(myr_stream_link){"127.0.0.1:1", NULL, 0}, "in", &watch, &err), OK, &err);
    EXPECT_RC(myr_stream_watch_look(watch, NULL, 300, &more, &place, &err), UNAVAILABLE, &err);
    myr_stream_watch_close(watch);
    myr_stream_watch_close(NULL);
}

RUN()
