/* A run: the clients opened, the topics found, the loop, and the end in order. */
#include <stdio.h>
#include <string.h>

#include "stream/internal.h"

#define RUN_TRY_MS       1000  /* how long the topics are asked for at once */
#define RUN_BACKOFF_MS   250   /* from the first try to the second; doubled with each … */
#define RUN_BACKOFF_MOST 10000 /* … up to this */
#define RUN_COMMIT_MS    500   /* at the end: from a commit that was refused to the next */
#define RUN_FULL_MS      5000  /* no room to read for so long: partitions are paused, so that the group keeps us */

void myr_stream_tell(stream_run *run, myr_stream_event event, const char *detail)
{
    if (run->opts->on_event != NULL) run->opts->on_event(run->opts->ctx, event, detail);
}

void myr_stream_break(stream_run *run, const myr_err *err)
{
    MYR_ASSERT(err->rc != MYR_OK);
    if (run->failure.rc == MYR_OK) run->failure = *err;
}

void myr_stream_is_back(stream_run *run)
{
    if (!run->is_away) return;
    run->is_away = false;
    myr_metric_set(run->away, 0);
    myr_stream_tell(run, MYR_STREAM_BACK, run->opts->link.brokers);
}

/* Of both clients. Most of what it says passes by itself. */
static void run_on_error(rd_kafka_t *client, int number, const char *reason, void *ctx)
{
    stream_run *run = ctx;
    rd_kafka_resp_err_t code = (rd_kafka_resp_err_t)number;
    myr_err err = {0};
    if (code == RD_KAFKA_RESP_ERR__FATAL) {
        char why[200] = "";
        MYR_IGNORE(myr_kafka.fatal_error(client, why, sizeof why)); /* its words are wanted */
        MYR_IGNORE(MYR_ERROR(&err, IO, "Kafka: %s: start again, it goes on behind the last commit", why));
        myr_stream_break(run, &err);
    } else if (myr_kafka_rc(code) == MYR_DENIED) {
        MYR_IGNORE(MYR_ERROR(&err, DENIED, "%.60s: %s", run->opts->link.brokers, reason)); /* it ends the run */
        myr_stream_break(run, &err);
    } else if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN && !run->is_away) {
        run->is_away = true;
        myr_metric_set(run->away, 1);
        myr_stream_tell(run, MYR_STREAM_AWAY, reason);
    }
}

/* ---- opening ---- */

static myr_rc run_open_reader(stream_run *run, myr_err *err)
{
    const kafka_setting own[] = {
        {"group.id", run->opts->group},
        {"enable.auto.offset.store", "false"}, /* what is committed is what we store: acknowledged records */
        {"enable.auto.commit", "true"},
        {"auto.commit.interval.ms", STREAM_COMMIT_MS},
        {"partition.assignment.strategy", "cooperative-sticky"},
    };
    rd_kafka_conf_t *conf = NULL;
    MYR_TRY(myr_kafka_conf(&run->opts->link, own, MYR_COUNT_OF(own), &conf, err));
    myr_kafka.conf_set_opaque(conf, run);
    myr_kafka.conf_set_error_cb(conf, run_on_error);
    myr_kafka.conf_set_rebalance_cb(conf, myr_stream_on_rebalance);
    myr_kafka.conf_set_offset_commit_cb(conf, myr_stream_on_commit);
    return myr_kafka_open(RD_KAFKA_CONSUMER, conf, &run->reader, err);
}

static myr_rc run_open_writer(stream_run *run, myr_err *err)
{
    const kafka_setting own[] = {
        {"enable.idempotence", "true"},
        {"acks", "all"},
        {"message.timeout.ms", "0"}, /* brokers that are away are waited for; room in flight bounds it */
    };
    rd_kafka_conf_t *conf = NULL;
    MYR_TRY(myr_kafka_conf(&run->opts->link, own, MYR_COUNT_OF(own), &conf, err));
    myr_kafka.conf_set_opaque(conf, run);
    myr_kafka.conf_set_error_cb(conf, run_on_error);
    myr_kafka.conf_set_dr_msg_cb(conf, myr_stream_on_delivery);
    return myr_kafka_open(RD_KAFKA_PRODUCER, conf, &run->writer, err);
}

/* Made whether or not somebody reads them. */
static void run_open_metrics(stream_run *run)
{
    myr_metrics *metrics = run->opts->metrics;
    static const char records[] = "myriad_stream_records_total", of_records[] =
                                                                     "Records that were read, by what became "
                                                                     "of them, when that was acknowledged.";
    static const char commits[] = "myriad_stream_commits_total", of_commits[] = "Commits of offsets, by their end.";
    if (metrics == NULL) return;
    run->answered = myr_metrics_series(metrics, MYR_METRIC_COUNTER, records, of_records, "outcome=\"answered\"");
    run->dead = myr_metrics_series(metrics, MYR_METRIC_COUNTER, records, of_records, "outcome=\"dead\"");
    run->commits = myr_metrics_series(metrics, MYR_METRIC_COUNTER, commits, of_commits, "result=\"ok\"");
    run->commit_failures = myr_metrics_series(metrics, MYR_METRIC_COUNTER, commits, of_commits, "result=\"failed\"");
    run->batch_time = myr_metrics_series(metrics, MYR_METRIC_HISTOGRAM, "myriad_stream_batch_seconds",
                                         "Time to answer a batch and hand it to the writer.", NULL);
    run->in_flight = myr_metrics_series(metrics, MYR_METRIC_GAUGE, "myriad_stream_in_flight_records",
                                        "Records read and not yet acknowledged.", NULL);
    run->rebalances = myr_metrics_series(metrics, MYR_METRIC_COUNTER, "myriad_stream_rebalances_total",
                                         "Times that partitions came or went.", NULL);
    run->away = myr_metrics_series(metrics, MYR_METRIC_GAUGE, "myriad_stream_brokers_away",
                                   "1 while no broker is reached.", NULL);
}

static myr_rc run_open(stream_run *run, myr_err *err)
{
    size_t rows = (size_t)run->opts->batch_rows;
    run->arena = myr_arena_new(0);
    if (run->arena == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for a stream");
    run->records = myr_arena_calloc(run->arena, rows, sizeof *run->records);
    run->answers = myr_arena_calloc(run->arena, rows, sizeof *run->answers);
    if (run->records == NULL || run->answers == NULL)
        MYR_FAIL(err, NO_MEMORY, "out of memory for batches of %zu records", rows);
    run_open_metrics(run);
    MYR_TRY(run_open_reader(run, err));
    return run_open_writer(run, err);
}

/* ---- waiting for the topics ---- */

/* The reader asks: a writer's question may make the topic. */
static myr_rc run_find_topics(stream_run *run, myr_err *err)
{
    const char *topics[] = {run->opts->from, run->opts->to, run->opts->dead_letter};
    for (size_t i = 0; i < MYR_COUNT_OF(topics); i++) {
        if (topics[i] != NULL) MYR_TRY(myr_kafka_find_topic(run->reader, topics[i], RUN_TRY_MS, NULL, err));
    }
    return MYR_OK;
}

/* False: it is over, or something else than an absent broker is wrong. */
static bool run_sleep(stream_run *run, int64_t duration_ms)
{
    int64_t until_ns = myr_clock_mono_ns() + duration_ms * 1000000;
    while (myr_clock_mono_ns() < until_ns) {
        if (run->failure.rc != MYR_OK || run->opts->is_over(run->opts->ctx)) return false;
        myr_kafka.poll(run->reader, STREAM_POLL_MS);
    }
    return true;
}

static myr_rc run_wait(stream_run *run, bool *out_found, myr_err *err)
{
    *out_found = false;
    for (int64_t backoff_ms = RUN_BACKOFF_MS;; backoff_ms *= 2) {
        myr_err why = {0};
        myr_rc rc = run_find_topics(run, &why);
        myr_kafka.poll(run->reader, 0); /* a refused log-in comes as an event */
        if (rc == MYR_OK) break;
        if (run->failure.rc != MYR_OK) return MYR_OK;
        if (rc != MYR_UNAVAILABLE) {
            if (err != NULL) *err = why;
            return rc;
        }
        if (backoff_ms > RUN_BACKOFF_MOST) backoff_ms = RUN_BACKOFF_MOST;
        myr_stream_tell(run, MYR_STREAM_WAITING, why.message);
        if (!run_sleep(run, backoff_ms)) return MYR_OK;
    }
    *out_found = true;
    myr_stream_is_back(run);
    return MYR_OK;
}

static myr_rc run_subscribe(stream_run *run, myr_err *err)
{
    MYR_IGNORE(myr_kafka.poll_set_consumer(run->reader)); /* it fails only for writers */
    rd_kafka_topic_partition_list_t *list = myr_kafka.topic_partition_list_new(1);
    if (list == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for a subscription");
    MYR_IGNORE(myr_kafka.topic_partition_list_add(list, run->opts->from, RD_KAFKA_PARTITION_UA) == NULL);
    rd_kafka_resp_err_t code = myr_kafka.subscribe(run->reader, list);
    myr_kafka.topic_partition_list_destroy(list);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) return myr_kafka_fail(err, code, "reading", run->opts->from);
    myr_stream_tell(run, MYR_STREAM_READY, run->opts->from);
    return MYR_OK;
}

/* ---- the loop ---- */

/* What a reader says instead of a record. */
static void run_take_error(stream_run *run, const rd_kafka_message_t *message)
{
    myr_err err = {0};
    myr_rc rc = myr_kafka_rc(message->err);
    if (rc != MYR_DENIED && rc != MYR_NOT_FOUND) return; /* it passes; being away comes as an event */
    MYR_IGNORE(myr_kafka_fail(&err, message->err, "reading", run->opts->from)); /* it ends the run */
    myr_stream_break(run, &err);
}

static void run_take(stream_run *run, rd_kafka_message_t *message)
{
    if (message->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        myr_stream_is_back(run);
        myr_stream_add(run, message);
        return;
    }
    run_take_error(run, message);
    myr_kafka.message_destroy(message);
}

/* How long until the filling batch is answered; 0: now. */
static int64_t run_ripe_ms(stream_run *run)
{
    const stream_batch *batch = myr_stream_filling(run);
    if (batch->count == 0) return STREAM_POLL_MS;
    if (batch->count >= (size_t)run->opts->batch_rows || batch->bytes >= MYR_STREAM_BYTES_MAX) return 0;
    int64_t left_ms = run->opts->linger_ms - (myr_clock_mono_ns() - run->filling_since_ns) / 1000000;
    if (left_ms > STREAM_POLL_MS) return STREAM_POLL_MS;
    return left_ms > 0 ? left_ms : 0;
}

static void run_read(stream_run *run)
{
    rd_kafka_message_t *message = myr_kafka.consumer_poll(run->reader, (int)run_ripe_ms(run));
    while (message != NULL) {
        run_take(run, message);
        bool is_full = run_ripe_ms(run) == 0 || !myr_stream_has_room(run) || run->failure.rc != MYR_OK;
        message = is_full ? NULL : myr_kafka.consumer_poll(run->reader, 0);
    }
}

/* There is no room: acknowledgements make some. When they don't come, the group must still see that we live. */
static void run_hold(stream_run *run)
{
    int64_t now_ns = myr_clock_mono_ns();
    if (run->full_since_ns == 0) run->full_since_ns = now_ns;
    if (now_ns - run->full_since_ns > RUN_FULL_MS * 1000000LL) {
        myr_stream_pause(run, true);
        rd_kafka_message_t *message = myr_kafka.consumer_poll(run->reader, 0);
        bool has_place = myr_stream_filling(run)->count < (size_t)run->opts->batch_rows;
        if (message != NULL && has_place) {
            run_take(run, message);
        } else if (message != NULL) { /* paused, yet it came, and there is no place for it: not read, then */
            myr_err err = {0};
            MYR_IGNORE(MYR_ERROR(&err, INTERNAL, "a record came from a paused partition")); /* it ends the run */
            myr_stream_break(run, &err);
            myr_kafka.message_destroy(message);
        }
    }
    myr_kafka.poll(run->writer, STREAM_POLL_MS);
}

static void run_serve(stream_run *run)
{
    myr_kafka.poll(run->writer, 0);
    myr_stream_reap(run);
    myr_stream_send_alone(run);
    myr_stream_look_at_lag(run);
    myr_metric_set(run->in_flight, (int64_t)run->flight_rows);
}

static myr_rc run_loop(stream_run *run, myr_err *err)
{
    while (run->failure.rc == MYR_OK && !run->opts->is_over(run->opts->ctx)) {
        run_serve(run);
        if (!myr_stream_has_room(run)) {
            run_hold(run);
            continue;
        }
        run->full_since_ns = 0;
        myr_stream_pause(run, false);
        run_read(run);
        if (run_ripe_ms(run) == 0 && run->failure.rc == MYR_OK) MYR_TRY(myr_stream_answer_batch(run, err));
    }
    return MYR_OK;
}

/* ---- the end ---- */

/* Answer what was read, and wait for the acknowledgements. */
static myr_rc run_drain(stream_run *run, myr_err *err)
{
    MYR_TRY(myr_stream_answer_batch(run, err));
    if (myr_stream_settle(run, run->opts->drain_ms) || run->failure.rc != MYR_OK) return MYR_OK;
    MYR_FAIL(err, TIMEOUT, "%zu records were not acknowledged in %lld ms: they are answered again with the next start",
             run->flight_rows, (long long)run->opts->drain_ms);
}

/* A group that is just being put together refuses commits, also the one that leaving makes: so until it takes them. */
static void run_commit(stream_run *run)
{
    int64_t until_ns = myr_clock_mono_ns() + STREAM_CLOSE_MS * 1000000LL, again_ns = 0;
    for (int64_t now_ns = 0; myr_stream_uncommitted(run) > 0 && now_ns < until_ns; now_ns = myr_clock_mono_ns()) {
        if (now_ns >= again_ns) {
            MYR_IGNORE(myr_kafka.commit(run->reader, NULL, 1)); /* myr_stream_on_commit hears what comes of it */
            again_ns = myr_clock_mono_ns() + RUN_COMMIT_MS * 1000000LL;
        }
        rd_kafka_message_t *message = myr_kafka.consumer_poll(run->reader, STREAM_POLL_MS);
        if (message != NULL) myr_kafka.message_destroy(message); /* who comes after us reads it */
    }
}

/* Leave the group, which commits. librdkafka waits for the group's coordinator for as long as it takes: so only if
 * somebody answers. Else the group finds out by itself that we are gone. */
static myr_rc run_leave(stream_run *run, myr_err *err)
{
    run->is_closing = true; /* partitions that go now are not waited for */
    myr_stream_reap(run);
    myr_rc asked = run->is_away ? MYR_UNAVAILABLE
                                : myr_kafka_find_topic(run->reader, run->opts->from, STREAM_CLOSE_MS, NULL, NULL);
    if (asked != MYR_UNAVAILABLE) {
        run_commit(run);
        MYR_IGNORE(myr_kafka.consumer_close(run->reader)); /* what failed is not committed */
    }
    size_t count = myr_stream_uncommitted(run);
    if (count == 0) return MYR_OK;
    MYR_FAIL(err, TIMEOUT,
             "group %s: the offsets of %zu partitions are not committed: what is behind them is answered again with "
             "the next start",
             run->opts->group, count);
}

static void run_close(stream_run *run)
{
    if (run->writer != NULL) {
        MYR_IGNORE(
            myr_kafka.purge(run->writer, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT)); /* of no use now */
        MYR_IGNORE(myr_kafka.flush(run->writer, 1000)); /* serves what was purged */
        myr_kafka.destroy(run->writer);
    }
    myr_stream_free_batches(run); /* after who acknowledges them, before whose records they are */
    if (run->reader != NULL) myr_kafka.destroy_flags(run->reader, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    myr_free(run->partitions);
    myr_arena_free(run->arena);
}

static myr_rc run_all(stream_run *run, myr_err *err)
{
    bool is_found = false;
    MYR_TRY(run_open(run, err));
    MYR_TRY(run_wait(run, &is_found, err));
    if (!is_found) return MYR_OK; /* over before it began, or failed */
    MYR_TRY(run_subscribe(run, err));
    myr_rc rc = run_loop(run, err);
    if (rc == MYR_OK && run->failure.rc == MYR_OK) rc = run_drain(run, err);
    bool is_failed = rc != MYR_OK || run->failure.rc != MYR_OK; /* what was done before is committed all the same */
    myr_rc left = run_leave(run, is_failed ? NULL : err);
    return is_failed ? rc : left;
}

static myr_rc run_check(const myr_stream_setup *opts, myr_err *err)
{
    MYR_ASSERT(opts->answer != NULL && opts->is_over != NULL);
    if (opts->batch_rows < 1 || opts->batch_rows > MYR_STREAM_ROWS_MAX)
        MYR_FAIL(err, BAD_USAGE, "batches of %lld records: 1 to %d", (long long)opts->batch_rows, MYR_STREAM_ROWS_MAX);
    if (opts->in_flight < opts->batch_rows || opts->in_flight > MYR_STREAM_IN_FLIGHT_MAX) {
        MYR_FAIL(err, BAD_USAGE, "%lld records in flight: at least a batch (%lld), at most %d",
                 (long long)opts->in_flight, (long long)opts->batch_rows, MYR_STREAM_IN_FLIGHT_MAX);
    }
    const char *topics[] = {opts->from, opts->to, opts->dead_letter};
    for (size_t i = 0; i < MYR_COUNT_OF(topics); i++) {
        if (topics[i] == NULL) continue;
        size_t size = strlen(topics[i]);
        if (size < 1 || size > MYR_STREAM_TOPIC_MAX)
            MYR_FAIL(err, BAD_USAGE, "a topic's name has 1 to %d bytes, this one %zu", MYR_STREAM_TOPIC_MAX, size);
    }
    for (size_t i = 1; i < MYR_COUNT_OF(topics); i++) {
        if (topics[i] != NULL && strcmp(opts->from, topics[i]) == 0)
            MYR_FAIL(err, BAD_USAGE, "topic %s is read and written: it would answer its own answers", opts->from);
    }
    return MYR_OK;
}

myr_rc myr_stream_run(const myr_stream_setup *opts, myr_stream_report *out, myr_err *err)
{
    *out = (myr_stream_report){0};
    MYR_TRY(run_check(opts, err));
    MYR_TRY(myr_kafka_load(err));
    stream_run *run = myr_calloc(1, sizeof *run);
    if (run == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for a stream");
    run->opts = opts;
    myr_rc rc = run_all(run, err);
    if (rc == MYR_OK && run->failure.rc != MYR_OK) {
        if (err != NULL) *err = run->failure;
        rc = (myr_rc)run->failure.rc;
    }
    run_close(run);
    *out = run->report;
    myr_free(run);
    return rc;
}
