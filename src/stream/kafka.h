/* librdkafka's functions, found by name at run time, as myr_kafka.poll for rd_kafka_poll. Not for other directories. */
#ifndef MYR_STREAM_KAFKA_H
#define MYR_STREAM_KAFKA_H

#include <librdkafka/rdkafka.h>

#include "stream/stream.h"

/* clang-format off */
#define KAFKA_CALLS(X)                                                                                      \
    X(version_str) X(new) X(destroy) X(destroy_flags) X(name) X(poll) X(poll_set_consumer)                  \
    X(conf_new) X(conf_set) X(conf_destroy) X(conf_set_opaque) X(conf_set_log_cb) X(conf_set_error_cb)      \
    X(conf_set_dr_msg_cb) X(conf_set_rebalance_cb) X(conf_set_offset_commit_cb)                             \
    X(err2str) X(fatal_error) X(error_code) X(error_string) X(error_destroy)                                \
    X(topic_new) X(topic_destroy) X(metadata) X(metadata_destroy)                                           \
    X(subscribe) X(consumer_poll) X(consumer_close)                                                         \
    X(message_destroy) X(message_headers) X(message_timestamp)                                              \
    X(topic_partition_list_new) X(topic_partition_list_add) X(topic_partition_list_destroy)                 \
    X(assign) X(incremental_assign) X(incremental_unassign) X(rebalance_protocol) X(assignment_lost)        \
    X(pause_partitions) X(resume_partitions) X(commit) X(committed) X(offsets_store)                        \
    X(get_watermark_offsets) X(query_watermark_offsets)                                                     \
    X(produceva) X(flush) X(purge)                                                                          \
    X(headers_new) X(headers_copy) X(headers_destroy) X(header_add) X(header_remove)

typedef struct kafka_calls {
#define KAFKA_CALL(name) __typeof__(rd_kafka_##name) *name;
    KAFKA_CALLS(KAFKA_CALL)
#undef KAFKA_CALL
} kafka_calls;
/* clang-format on */
extern kafka_calls myr_kafka; /* whole once myr_kafka_load was OK */

/* UNAVAILABLE: librdkafka is not here. It stays loaded. Thread: any. */
myr_rc myr_kafka_load(myr_err *err);

typedef struct kafka_setting {
    const char *name, *value;
} kafka_setting;
/*
 * A configuration of the link: defaults, then the user's properties, then what is ours alone and refused as a property.
 * *out is the caller's until a client takes it. Errors: BAD_USAGE names the property.
 */
myr_rc myr_kafka_conf(const myr_stream_link *link, const kafka_setting *own, size_t own_count, rd_kafka_conf_t **out,
                      myr_err *err);
/* A client; it takes the configuration, also on failure. */
myr_rc myr_kafka_open(rd_kafka_type_t type, rd_kafka_conf_t *conf, rd_kafka_t **out, myr_err *err);
/* Is there a topic now? UNAVAILABLE: not known, ask again. *out_partitions may be NULL. */
myr_rc myr_kafka_find_topic(rd_kafka_t *client, const char *topic, int64_t timeout_ms, int32_t *out_partitions,
                            myr_err *err);
/* What a failure means: UNAVAILABLE (it may pass), DENIED, NOT_FOUND, IO. */
myr_rc myr_kafka_rc(rd_kafka_resp_err_t code);
/* err filled by what a failure means: "doing what: why". */
myr_rc myr_kafka_fail(myr_err *err, rd_kafka_resp_err_t code, const char *what, const char *name);

#endif
