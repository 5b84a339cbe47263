/* librdkafka opened, configured, and its failures in our words. */
#include "stream/kafka.h"

#include <string.h>

#include "base/library.h"

kafka_calls myr_kafka;

/* What the promises rest on, or has a flag of its own. */
static const char *const kafka_ours[] = {
    "bootstrap.servers",
    "metadata.broker.list",
    "group.id",
    "enable.auto.commit",
    "enable.auto.offset.store",
    "enable.idempotence",
    "acks",
    "request.required.acks",
    "partition.assignment.strategy",
    "transactional.id",
    "message.timeout.ms",
    "delivery.timeout.ms",
    NULL,
};

static myr_rc kafka_load(kafka_calls *out, myr_err *err)
{
    static const char *const names[] = {"librdkafka.so.1", NULL};
    void *library = myr_library_open(names);
    if (library == NULL) MYR_FAIL(err, UNAVAILABLE, "%s is not here: apt-get install librdkafka1", names[0]);
    bool is_whole = true;
#define KAFKA_CALL(call) is_whole = myr_library_symbol(library, "rd_kafka_" #call, &out->call) && is_whole;
    KAFKA_CALLS(KAFKA_CALL)
#undef KAFKA_CALL
    if (!is_whole) MYR_FAIL(err, UNAVAILABLE, "%s is here, but older than 1.9: myriad needs a newer one", names[0]);
    return MYR_OK;
}

myr_rc myr_kafka_load(myr_err *err)
{
    static myr_mutex lock = MYR_MUTEX_INIT;
    static bool is_loaded;
    kafka_calls calls;
    myr_mutex_lock(&lock);
    myr_rc rc = is_loaded ? MYR_OK : kafka_load(&calls, err);
    if (rc == MYR_OK && !is_loaded) {
        myr_kafka = calls;
        is_loaded = true;
    }
    myr_mutex_unlock(&lock);
    return rc;
}

myr_rc myr_stream_find(const char **out_version, myr_err *err)
{
    MYR_TRY(myr_kafka_load(err));
    *out_version = myr_kafka.version_str();
    return MYR_OK;
}

/* ---- failures ---- */

myr_rc myr_kafka_rc(rd_kafka_resp_err_t code)
{
    switch (code) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return MYR_OK;
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
    case RD_KAFKA_RESP_ERR__SSL:
    case RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
        return MYR_DENIED;
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
        return MYR_NOT_FOUND;
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
        return MYR_BAD_INPUT; /* no name that a topic can have */
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR__RESOLVE:
    case RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE:
    case RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION:
    case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
    case RD_KAFKA_RESP_ERR_BROKER_NOT_AVAILABLE:
        return MYR_UNAVAILABLE;
    default:
        return MYR_IO;
    }
}

myr_rc myr_kafka_fail(myr_err *err, rd_kafka_resp_err_t code, const char *what, const char *name)
{
    myr_rc rc = myr_kafka_rc(code);
    if (rc == MYR_NOT_FOUND)
        MYR_FAIL(err, NOT_FOUND, "%s %.100s: there is no such topic: make it, or name another", what, name);
    if (rc == MYR_DENIED) {
        MYR_FAIL(err, DENIED, "%s %.100s: %s: give the log-in by --kafka-properties, or the rights in the cluster",
                 what, name, myr_kafka.err2str(code));
    }
    return myr_err_set(err, rc, __FILE__, __LINE__, "%s %.100s: %s", what, name, myr_kafka.err2str(code));
}

/* ---- configuration ---- */

static myr_rc kafka_set(rd_kafka_conf_t *conf, const char *name, const char *value, myr_err *err)
{
    char why[200] = "";
    rd_kafka_conf_res_t result = myr_kafka.conf_set(conf, name, value, why, sizeof why);
    if (result == RD_KAFKA_CONF_OK) return MYR_OK;
    if (result == RD_KAFKA_CONF_UNKNOWN)
        MYR_FAIL(err, BAD_USAGE, "the Kafka property '%.80s' is not known to librdkafka", name);
    MYR_FAIL(err, BAD_USAGE, "the Kafka property '%.80s': %s", name, why); /* librdkafka shows no secret's value */
}

/* librdkafka's threads come here. What matters comes as an event, too. */
static void kafka_on_log(const rd_kafka_t *client, int level, const char *facility, const char *text)
{
    (void)level;
    myr_log(MYR_LOG_DEBUG, "stream", "librdkafka", "client", myr_kafka.name(client), "facility", facility, "text", text,
            NULL);
}

static myr_rc kafka_set_all(rd_kafka_conf_t *conf, const myr_stream_link *link, const kafka_setting *own,
                            size_t own_count, myr_err *err)
{
    static const kafka_setting defaults[] = {
        {"client.id", "myriad"},
        {"log.connection.close", "false"}, /* brokers close what is idle */
        {"reconnect.backoff.max.ms", "5000"},
        {"auto.offset.reset", "earliest"}, /* a new group misses nothing */
    };
    for (size_t i = 0; i < MYR_COUNT_OF(defaults); i++)
        MYR_TRY(kafka_set(conf, defaults[i].name, defaults[i].value, err));
    for (size_t i = 0; i < link->property_count; i++) {
        const myr_stream_property *property = &link->properties[i];
        for (size_t k = 0; kafka_ours[k] != NULL; k++) {
            if (strcmp(kafka_ours[k], property->name) == 0)
                MYR_FAIL(err, BAD_USAGE, "the Kafka property '%s' is myriad's own: see --help", property->name);
        }
        MYR_TRY(kafka_set(conf, property->name, property->value, err));
    }
    MYR_TRY(kafka_set(conf, "bootstrap.servers", link->brokers, err));
    for (size_t i = 0; i < own_count; i++)
        MYR_TRY(kafka_set(conf, own[i].name, own[i].value, err));
    return MYR_OK;
}

myr_rc myr_kafka_conf(const myr_stream_link *link, const kafka_setting *own, size_t own_count, rd_kafka_conf_t **out,
                      myr_err *err)
{
    rd_kafka_conf_t *conf = myr_kafka.conf_new();
    if (conf == NULL) MYR_FAIL(err, NO_MEMORY, "out of memory for a Kafka client");
    myr_rc rc = kafka_set_all(conf, link, own, own_count, err);
    if (rc != MYR_OK) {
        myr_kafka.conf_destroy(conf);
        return rc;
    }
    myr_kafka.conf_set_log_cb(conf, kafka_on_log);
    *out = conf;
    return MYR_OK;
}

myr_rc myr_kafka_open(rd_kafka_type_t type, rd_kafka_conf_t *conf, rd_kafka_t **out, myr_err *err)
{
    char why[200] = "";
    rd_kafka_t *client = myr_kafka.new(type, conf, why, sizeof why);
    if (client == NULL) {
        myr_kafka.conf_destroy(conf); /* ours still */
        MYR_FAIL(err, BAD_USAGE, "the Kafka properties don't fit: %s", why);
    }
    *out = client;
    return MYR_OK;
}

/* ---- topics ---- */

static rd_kafka_resp_err_t kafka_topic_state(const struct rd_kafka_metadata *metadata, int32_t *out_partitions)
{
    if (metadata->topic_cnt != 1) return RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    const struct rd_kafka_metadata_topic *topic = &metadata->topics[0];
    *out_partitions = topic->partition_cnt;
    if (topic->err == RD_KAFKA_RESP_ERR_NO_ERROR && topic->partition_cnt == 0)
        return RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE;
    return topic->err;
}

myr_rc myr_kafka_find_topic(rd_kafka_t *client, const char *name, int64_t timeout_ms, int32_t *out_partitions,
                            myr_err *err)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_topic_t *topic = myr_kafka.topic_new(client, name, NULL);
    if (topic == NULL) MYR_FAIL(err, BAD_USAGE, "'%.100s' is no topic's name", name);
    int32_t partitions = 0;
    rd_kafka_resp_err_t code = myr_kafka.metadata(client, 0, topic, &metadata, (int)timeout_ms);
    if (code == RD_KAFKA_RESP_ERR_NO_ERROR) {
        code = kafka_topic_state(metadata, &partitions);
        myr_kafka.metadata_destroy(metadata);
    }
    myr_kafka.topic_destroy(topic);
    if (code != RD_KAFKA_RESP_ERR_NO_ERROR) return myr_kafka_fail(err, code, "topic", name);
    if (partitions > MYR_STREAM_PARTITIONS_MAX) {
        MYR_FAIL(err, TOO_LARGE, "topic %s has %d partitions, the most is %d", name, partitions,
                 MYR_STREAM_PARTITIONS_MAX);
    }
    if (out_partitions != NULL) *out_partitions = partitions;
    return MYR_OK;
}
