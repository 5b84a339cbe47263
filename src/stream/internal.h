/*
 * A run, as its files see it. One thread: librdkafka's callbacks come only from inside myr_kafka.poll (the writer's:
 * acknowledgements) and myr_kafka.consumer_poll (the reader's: partitions, commits). Not for other directories.
 *
 * Records are read into the batch that is filling; a full one is answered and written, and is then in flight, in a
 * ring, the oldest first. A batch that is acknowledged whole, and so are all before it, is done: what it had of each
 * partition may be committed. So a commit never passes over a record that is not acknowledged.
 */
#ifndef MYR_STREAM_INTERNAL_H
#define MYR_STREAM_INTERNAL_H

#include "stream/kafka.h"

#define STREAM_BATCHES_MAX  64         /* in flight */
#define STREAM_FLIGHT_BYTES (64 << 20) /* of the records in flight; past it nothing is read */
#define STREAM_COMMIT_MS    "500"      /* from a commit to the next */
#define STREAM_LOOK_MS      1000       /* from a look at the lag to the next */
#define STREAM_POLL_MS      50         /* the longest that the loop sleeps */
#define STREAM_SETTLE_MS    10000      /* before partitions are given away: how long acknowledgements are waited for */
#define STREAM_ASK_MS       5000       /* how long the group is asked for its offsets */
#define STREAM_CLOSE_MS     5000       /* at the end: how long a broker is asked whether it is there */

typedef enum stream_state {
    STREAM_WAITS, /* for its acknowledgement */
    STREAM_ALONE, /* the broker found a request too large that it was in: once more, by itself */
    STREAM_IS_DONE
} stream_state;

/* What a record is sent as; what is too large for one is sent as the next. */
typedef enum stream_form {
    STREAM_ANSWER,
    STREAM_EXCUSE, /* without a dead-letter topic: that the answer is too large */
    STREAM_DEAD,   /* the record, to the dead-letter topic … */
    STREAM_BARE    /* … without its value */
} stream_form;

typedef struct stream_item {
    rd_kafka_message_t *message;
    struct stream_batch *batch;
    uint32_t epoch; /* of its partition, when it was read */
    uint8_t state;  /* stream_state */
    uint8_t form;   /* stream_form */
    bool is_by_itself;
    /* kept of what is to be sent again */
    char *value; /* of an answer; else it is the record's */
    size_t value_bytes;
    rd_kafka_headers_t *headers;
} stream_item;

typedef struct stream_batch {
    stream_item *items; /* batch_rows */
    size_t count;
    size_t pending; /* not acknowledged */
    size_t bytes;
} stream_batch;

typedef struct stream_partition {
    bool is_assigned;
    uint32_t epoch;    /* goes up when it is given away */
    int64_t next;      /* the offset behind the last that is done: what may be committed; -1: nothing yet */
    int64_t stored;    /* what librdkafka was told of it */
    int64_t committed; /* what the group has */
    myr_metric *lag;
} stream_partition;

typedef struct stream_run {
    const myr_stream_setup *opts;
    rd_kafka_t *reader, *writer;
    myr_arena *arena; /* what lives as long as the run */

    stream_batch batches[STREAM_BATCHES_MAX]; /* a ring: the oldest, those after it in flight, then the filling one */
    size_t first, flight_count;
    size_t flight_rows, flight_bytes; /* with those of the filling batch */
    int64_t filling_since_ns;
    size_t pending;     /* items that are not acknowledged … */
    size_t alone_count; /* … of them in STREAM_ALONE */
    stream_item *lone;  /* the one that is sent by itself now; nothing else is under way */

    stream_partition *partitions; /* by number */
    size_t partition_count;
    int64_t looked_ns;
    int64_t full_since_ns; /* there is no room to read; 0: there is */
    bool is_paused, is_away, is_closing;

    myr_stream_record *records; /* batch_rows; of the batch that is answered */
    myr_stream_answer *answers;
    myr_stream_report report;
    myr_err failure; /* the first that ends the run; rc OK: none */

    myr_metric *answered, *dead, *batch_time, *in_flight, *commits, *commit_failures, *rebalances, *away;
} stream_run;

/* ---- run.c ---- */
void myr_stream_tell(stream_run *run, myr_stream_event event, const char *detail);
/* Note the first failure. */
void myr_stream_break(stream_run *run, const myr_err *err);
void myr_stream_is_back(stream_run *run); /* a broker answered */

/* ---- batch.c ---- */
stream_batch *myr_stream_filling(stream_run *run);
bool myr_stream_has_room(const stream_run *run); /* to read one more record */
void myr_stream_add(stream_run *run, rd_kafka_message_t *message);
/* Answer the filling batch and write it; it is in flight then. */
myr_rc myr_stream_answer_batch(stream_run *run, myr_err *err);
/* Batches that are acknowledged let go, in order. */
void myr_stream_reap(stream_run *run);
/* Serve acknowledgements until none is missing, or the time is over: false. */
bool myr_stream_settle(stream_run *run, int64_t timeout_ms);
/* Records of a partition that are not yet answered are forgotten: another reader gets them. */
void myr_stream_forget(stream_run *run, int32_t partition);
void myr_stream_free_batches(stream_run *run);

/* ---- send.c ---- */
/* Write what a record became; a full queue is waited for. */
myr_rc myr_stream_send(stream_run *run, stream_item *item, const myr_stream_answer *answer, myr_err *err);
/* The next of those that are sent by themselves, if nothing else is under way. */
void myr_stream_send_alone(stream_run *run);
void myr_stream_free_again(stream_item *item); /* what is kept for it */
void myr_stream_on_delivery(rd_kafka_t *writer, const rd_kafka_message_t *message, void *ctx);

/* ---- group.c ---- */
/* An error, or NULL, of a call about the group: it ends the run. */
void myr_stream_check(stream_run *run, rd_kafka_error_t *error);
void myr_stream_on_rebalance(rd_kafka_t *reader, rd_kafka_resp_err_t code, rd_kafka_topic_partition_list_t *list,
                             void *ctx);
void myr_stream_on_commit(rd_kafka_t *reader, rd_kafka_resp_err_t code, rd_kafka_topic_partition_list_t *list,
                          void *ctx);
/* A batch is done: what its partitions may commit now. */
/* A record is done. */
void myr_stream_note_done(stream_run *run, const stream_item *item);
/* What is done may be committed: at the next time, and before partitions are given away. */
void myr_stream_store(stream_run *run);
/* Partitions of which something done is not committed. */
size_t myr_stream_uncommitted(const stream_run *run);
void myr_stream_look_at_lag(stream_run *run);
/* Read nothing more, or again. */
void myr_stream_pause(stream_run *run, bool pause);

#endif
