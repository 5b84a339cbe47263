/* Messages of a topic that start a job, over librdkafka's mock cluster; the scheduler's clock stands still, real time
 * passes only for the brokers. */
#include <time.h>

#include "jobs_fixture.h"
#include "kafka_fixture.h"
#include "stream/stream.h"

/* A place with a job that waits for the topic, which is looked at as often as can be. */
static void open_both(place *p, kafka_cluster *t, const char *more)
{
    char text[512];
    kafka_open(t);
    kafka_topic(t, "t", 2);
    place_init(p, at_ms(2026, 11, 30, 12, 0));
    snprintf(text, sizeof text, "triggers: [{kafka: {topic: t, brokers: '%s', poll: 1s%s}}]\n", t->brokers, more);
    place_write(p, "jobs/a.yaml", text);
}

static void close_both(place *p, kafka_cluster *t)
{
    place_fini(p);
    kafka_cluster_drop(t);
}

/* The place in the store as "0:1,1:2". */
static const char *answered(place *p)
{
    store_file *rows = NULL;
    size_t count = 0;
    MYR_AUTO(myr_buf) out = {0};
    EXPECT_RC(myr_store_files(p->store, p->arena, "a", "kafka:t", &rows, &count, NULL), OK, NULL);
    for (size_t i = 0; i < count; i++)
        myr_buf_printf(&out, "%s%s:%lld", i > 0 ? "," : "", rows[i].path, (long long)rows[i].size_bytes);
    return out.data != NULL ? myr_arena_strndup(p->arena, out.data, out.size) : "";
}

/* Turns until the topic has been answered up to there. */
static void wait_answered(place *p, const char *wanted)
{
    for (int i = 0; i < 2000; i++) {
        place_turn(p);
        if (strcmp(answered(p), wanted) == 0) return;
        usleep(5000);
    }
    EXPECT_STR(answered(p), wanted);
}

/* Turns while real time passes: enough for looks. */
static void pass(place *p, int ms)
{
    for (int i = 0; i < ms / 10; i++) {
        place_turn(p);
        usleep(10000);
    }
}

TEST(messages_are_one_run_when_they_are_quiet)
{
    place p;
    kafka_cluster t;
    open_both(&p, &t, ", quiet: 300ms");
    kafka_write(&t, "t", 0, 4); /* before there was a trigger */
    wait_answered(&p, "0:2,1:2");
    EXPECT_INT(place_count(&p, MYR_FIRING_WAITING) + place_active(&p), 0);
    kafka_write(&t, "t", 0, 3);
    pass(&p, 1300);
    EXPECT_STR(answered(&p), "0:2,1:2"); /* not quiet for so long on the scheduler's clock */
    myr_clock_advance_ms(200);
    kafka_write(&t, "t", 0, 1);
    pass(&p, 600);
    myr_clock_advance_ms(290);
    pass(&p, 600);
    EXPECT_STR(answered(&p), "0:2,1:2");
    myr_clock_advance_ms(10);
    wait_answered(&p, "0:5,1:3");
    place_settle(&p);
    EXPECT_STR(place_ran(&p), "a message 2026-11-30T12:00:00+00:00\n");
    EXPECT_STR(place_read(&p, "files.txt"), "0 2 5\n1 2 3\n");
    EXPECT_STR(place_last(&p).key, "message:t:0:5,1:3");
    close_both(&p, &t);
}

TEST(a_topic_that_never_rests_is_answered_too)
{
    place p;
    kafka_cluster t;
    open_both(&p, &t, ", quiet: 300ms");
    wait_answered(&p, "0:0,1:0");
    for (int i = 0; i < 10; i++) {
        kafka_write(&t, "t", 0, 2);
        pass(&p, i == 0 ? 1300 : 400);
        EXPECT_STR(answered(&p), "0:0,1:0");
        myr_clock_advance_ms(299);
    }
    kafka_write(&t, "t", 0, 2);
    myr_clock_advance_ms(10);
    wait_answered(&p, "0:11,1:11");
    place_settle(&p);
    EXPECT_INT(place_count(&p, MYR_FIRING_COMPLETED), 1);
    close_both(&p, &t);
}

TEST(messages_that_come_while_a_firing_waits_are_the_next_ones)
{
    place p;
    kafka_cluster t;
    open_both(&p, &t, ", quiet: 0s");
    wait_answered(&p, "0:0,1:0");
    place_write(&p, "hold", "");
    kafka_write(&t, "t", 0, 2);
    wait_answered(&p, "0:1,1:1");
    place_running(&p, 1);
    kafka_write(&t, "t", 0, 2);
    wait_answered(&p, "0:2,1:2"); /* waits for the first to end */
    kafka_write(&t, "t", 0, 2);
    pass(&p, 1500);
    EXPECT_STR(answered(&p), "0:2,1:2");
    place_remove(&p, "hold");
    wait_answered(&p, "0:3,1:3");
    place_settle(&p);
    EXPECT_STR(place_read(&p, "files.txt"), "0 0 1\n1 0 1\n0 1 2\n1 1 2\n0 2 3\n1 2 3\n");
    close_both(&p, &t);
}

TEST(what_came_while_no_scheduler_ran_is_counted)
{
    place p;
    kafka_cluster t;
    open_both(&p, &t, ", quiet: 0s");
    wait_answered(&p, "0:0,1:0");
    myr_scheduler_close(p.scheduler);
    kafka_write(&t, "t", 0, 5);
    place_open_scheduler(&p);
    wait_answered(&p, "0:3,1:2");
    place_settle(&p);
    EXPECT_STR(place_read(&p, "files.txt"), "0 0 3\n1 0 2\n");
    close_both(&p, &t);
}

TEST(a_place_that_comes_again_is_another_event)
{
    place p;
    kafka_cluster t;
    myr_err err = {0};
    bool is_new = false;
    open_both(&p, &t, ", quiet: 0s");
    wait_answered(&p, "0:0,1:0");
    const myr_firing before = {.job = "a",
                               .key = "message:t:0:1,1:1",
                               .kind = "message",
                               .state = MYR_FIRING_COMPLETED,
                               .count = 1,
                               .created_ms = 1,
                               .ended_ms = myr_clock_unix_ms()};
    EXPECT_RC(myr_store_begin(p.store, NULL, &err), OK, &err);
    EXPECT_RC(myr_store_end(p.store, myr_store_fire(p.store, &before, &is_new, &err), &err), OK, &err);
    kafka_write(&t, "t", 0, 2);
    wait_answered(&p, "0:1,1:1");
    place_settle(&p);
    EXPECT_HAS(place_last(&p).key, "message:t:0:1,1:1@");
    EXPECT_INT(place_last(&p).state, MYR_FIRING_COMPLETED);
    close_both(&p, &t);
}

TEST(brokers_that_are_away_keep_nobody_waiting)
{
    place p;
    place_init(&p, at_ms(2026, 11, 30, 12, 0));
    place_write(&p, "jobs/a.yaml", "triggers: [{kafka: {topic: t, brokers: '127.0.0.1:1', poll: 1s}}]\n");
    place_write(&p, "jobs/b.yaml", "triggers: [{kafka: {topic: t, properties: none}}]\n");
    place_write(&p, "jobs/c.yaml", "schedule: '* * * * *'\n");
    place_turn(&p);
    myr_clock_advance_ms(MINUTE_MS);
    int64_t before_ns = 0, after_ns = 0;
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    before_ns = now.tv_sec * 1000000000LL + now.tv_nsec;
    place_turn(&p);
    clock_gettime(CLOCK_MONOTONIC, &now);
    after_ns = now.tv_sec * 1000000000LL + now.tv_nsec;
    EXPECT((after_ns - before_ns) / 1000000 < 1500);
    place_settle(&p);
    EXPECT_STR(place_ran(&p), "c schedule 2026-11-30T12:01:00+00:00\n");
    place_fini(&p);
}

static void refused(const char *trigger, const char *message)
{
    place p;
    char text[2048];
    myr_job_list jobs = {0};
    myr_err err = {0};
    place_init(&p, at_ms(2026, 11, 30, 12, 0));
    snprintf(text, sizeof text, "triggers:\n  - kafka: %s\n", trigger);
    place_write(&p, "jobs/a.yaml", text);
    snprintf(text, sizeof text, "%s/jobs", p.dir);
    EXPECT_RC(myr_jobs_load(text, &jobs, &err), OK, &err);
    EXPECT_HAS(myr_job_trouble(jobs.items[0]), message);
    myr_jobs_free(&jobs);
    place_fini(&p);
    testing_reset(NULL);
}

TEST(what_is_refused_is_named_where_it_stands)
{
    char long_topic[MYR_STREAM_TOPIC_MAX + 16], long_brokers[JOB_PATTERN_BYTES_MAX + 64];
    refused("t", "a.yaml:2:");
    refused("{}", "'topic' is missing");
    refused("{topic: 'a b'}", "a.yaml:2:20: topic 'a b': 1 to 249 letters");
    refused("{topic: t, broker: h}", "unknown key 'broker': did you mean 'brokers'?");
    refused("{topic: t, brokers: ''}", "'brokers' must not be empty");
    refused("{topic: t, quiet: 2d}", "quiet '2d': a duration");
    refused("{topic: t, poll: 10ms}", "poll '10ms': a duration from 1s");
    refused("{topic: t}\n    files: x", "unknown key 'kafka': known here are files");
    refused("{topic: t}\n  - kafka: {topic: t}", "a.yaml:3:20: topic 't': another trigger has it");
    memset(long_topic, 'a', sizeof long_topic);
    memcpy(long_topic, "{topic: ", 8);
    memcpy(long_topic + 8 + MYR_STREAM_TOPIC_MAX + 1, "}", 2);
    refused(long_topic, "1 to 249 letters");
    int size = snprintf(long_brokers, sizeof long_brokers, "{topic: t, brokers: %0*d}", JOB_PATTERN_BYTES_MAX + 1, 1);
    EXPECT(size > JOB_PATTERN_BYTES_MAX);
    refused(long_brokers, "brokers: HOST:PORT");
}

RUN()
