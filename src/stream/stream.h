/*
 * The face of stream: Kafka in and out, over librdkafka, which is opened when it is needed: a program without it does
 * everything else. It knows no models: records are answered by a function of the caller's.
 *
 * At least once: an offset is committed only after what its record became was acknowledged by all in-sync replicas.
 * After a crash the records behind the last commit are answered again, and no other.
 */
#ifndef MYR_STREAM_STREAM_H
#define MYR_STREAM_STREAM_H

#include "base/base.h"

#define MYR_STREAM_ROWS_MAX       65536     /* of a batch */
#define MYR_STREAM_IN_FLIGHT_MAX  1000000   /* records read and not yet acknowledged */
#define MYR_STREAM_BYTES_MAX      (8 << 20) /* of a batch: one that has so many is full */
#define MYR_STREAM_PARTITIONS_MAX 10000     /* of a topic */
#define MYR_STREAM_HEADERS_MAX    8         /* of an answer; those of its record come with it */
#define MYR_STREAM_TOPIC_MAX      249       /* bytes of a topic's name, as Kafka has it */

/* How the brokers are reached. Everything is borrowed. */
typedef struct myr_stream_property {
    const char *name, *value; /* librdkafka's own: "sasl.username" */
} myr_stream_property;
typedef struct myr_stream_link {
    const char *brokers; /* HOST:PORT, commas between them */
    const myr_stream_property *properties;
    size_t property_count;
} myr_stream_link;

/*
 * NAME=VALUE: `text` is written into and lives on in *out. `where` names it in the message, since it may be a secret.
 * BAD_USAGE.
 */
myr_rc myr_stream_property_parse(const char *where, char *text, myr_stream_property *out, myr_err *err);
/* A file of them, one a line, # for words; in `arena`. NOT_FOUND, BAD_USAGE FILE:LINE, also more than `max`. */
myr_rc myr_stream_properties_load(const char *path, myr_arena *arena, size_t max, myr_stream_property *out,
                                  size_t *out_count, myr_err *err);

/* A record that was read; borrowed. */
typedef struct myr_stream_record {
    myr_str key, value; /* data NULL: it has none */
    int32_t partition;
    int64_t offset;
} myr_stream_record;

typedef struct myr_stream_header {
    const char *name;
    myr_str value;
} myr_stream_header;
/* What it becomes. Filled by the caller's function, whose memory all of it is until it is called again. */
typedef struct myr_stream_answer {
    bool is_dead;  /* no answer: the record goes to the dead-letter topic. Without one, value goes out as for others */
    myr_str value; /* what goes out */
    myr_str cause; /* of a dead one, for people */
    myr_stream_header headers[MYR_STREAM_HEADERS_MAX];
    uint32_t header_count;
} myr_stream_answer;

typedef enum myr_stream_event {
    MYR_STREAM_AWAY,       /* no broker is reached; it is tried again */
    MYR_STREAM_BACK,       /* and now one is */
    MYR_STREAM_WAITING,    /* for a broker, at the start: each time before it is tried again */
    MYR_STREAM_READY,      /* the topics are there, the group is asked for partitions */
    MYR_STREAM_ASSIGNED,   /* partitions came */
    MYR_STREAM_REVOKED,    /* partitions went, their offsets committed */
    MYR_STREAM_LOST,       /* partitions were taken: others may have answered the same records */
    MYR_STREAM_UNCOMMITTED /* a commit failed; it is tried again */
} myr_stream_event;

typedef struct myr_stream_setup {
    myr_stream_link link;
    const char *group, *from, *to;
    const char *dead_letter; /* NULL: none */
    int64_t batch_rows;      /* a batch is answered when it has so many … */
    int64_t linger_ms;       /* … or its first record is so old */
    int64_t in_flight;       /* records read and not yet acknowledged; past it nothing is read. At least batch_rows */
    int64_t drain_ms;        /* at the end: how long acknowledgements are waited for */
    /* Answer a batch: one answer per record, zeroed before. An error ends the run: none of the batch is committed. */
    myr_rc (*answer)(void *ctx, const myr_stream_record *records, size_t count, myr_stream_answer *answers,
                     myr_err *err);
    bool (*is_over)(void *ctx); /* asked at least ten times a second: true ends the run */
    void (*on_event)(void *ctx, myr_stream_event event, const char *detail); /* NULL: nobody listens */
    void *ctx;
    myr_metrics *metrics; /* NULL: none; else it outlives the run */
} myr_stream_setup;

typedef struct myr_stream_report {
    int64_t answered, dead; /* records, acknowledged */
    int64_t batches;
} myr_stream_report;

/*
 * Read, answer, write, commit, until is_over; then what was read is answered, acknowledged and committed. Thread: the
 * caller's alone answers; librdkafka has its own for the network. A broker that is away is waited for, always. *out is
 * also filled on failure. Errors: BAD_USAGE (a property that is not known or is ours); NOT_FOUND (no such topic);
 * DENIED (log-in, authorisation); TIMEOUT (acknowledgements did not come in drain_ms: those records are answered again
 * next time); IO (a fault of the brokers that no retry mends); those of answer; UNAVAILABLE (no librdkafka).
 */
myr_rc myr_stream_run(const myr_stream_setup *opts, myr_stream_report *out, myr_err *err);

/* The version of librdkafka, static. UNAVAILABLE: it is not here. */
myr_rc myr_stream_find(const char **out_version, myr_err *err);

/* ---- to be told of new messages, without reading them ---- */

/*
 * A look at a topic's ends, for triggers. A place in a topic is a text of the caller's to keep ("0:15,1:20": the end of
 * each partition), so that nothing is missed while nobody looks, and no group is needed.
 */
typedef struct myr_stream_watch myr_stream_watch;
/* Reaches for nobody yet. Errors: BAD_USAGE, UNAVAILABLE (no librdkafka), NO_MEMORY. */
myr_rc myr_stream_watch_open(const myr_stream_link *link, const char *topic, myr_stream_watch **out, myr_err *err);
void myr_stream_watch_close(myr_stream_watch *watch); /* NULL accepted */
/*
 * How many messages came since a place (NULL or "": none, so that 0 is the answer), and the place now, appended. A
 * topic that was made anew counts from its start. Blocks for timeout_ms at most. Thread: one at a time. Errors:
 * UNAVAILABLE (no broker: look again later), NOT_FOUND (no such topic), DENIED, BAD_INPUT (no such place).
 */
myr_rc myr_stream_watch_look(myr_stream_watch *watch, const char *since, int64_t timeout_ms, int64_t *out_new,
                             myr_buf *out_place, myr_err *err);

#endif
