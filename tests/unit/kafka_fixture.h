/* The cluster of one broker that librdkafka brings for tests: it lives in a writer, and fails on demand. */
#ifndef MYR_KAFKA_FIXTURE_H
#define MYR_KAFKA_FIXTURE_H

#include "testing.h"

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

typedef struct kafka_cluster {
    rd_kafka_t *writer;
    rd_kafka_mock_cluster_t *mock;
    const char *brokers; /* lives as long as the cluster */
} kafka_cluster;

TESTING_UNUSED static void kafka_open(kafka_cluster *out)
{
    char why[200];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    EXPECT(rd_kafka_conf_set(conf, "test.mock.num.brokers", "1", why, sizeof why) == RD_KAFKA_CONF_OK);
    out->writer = rd_kafka_new(RD_KAFKA_PRODUCER, conf, why, sizeof why);
    EXPECT(out->writer != NULL);
    out->mock = rd_kafka_handle_mock_cluster(out->writer);
    out->brokers = rd_kafka_mock_cluster_bootstraps(out->mock);
}

TESTING_UNUSED static void kafka_cluster_drop(kafka_cluster *cluster)
{
    rd_kafka_destroy(cluster->writer); /* with its brokers */
}

TESTING_UNUSED static void kafka_topic(const kafka_cluster *cluster, const char *topic, int partitions)
{
    EXPECT(rd_kafka_mock_topic_create(cluster->mock, topic, partitions, 1) == RD_KAFKA_RESP_ERR_NO_ERROR);
}

/* The numbers from `first` on, as key and value, in the partitions 0 and 1 in turn. */
TESTING_UNUSED static void kafka_write(const kafka_cluster *cluster, const char *topic, int first, int count)
{
    char text[16];
    for (int i = first; i < first + count; i++) {
        int size = snprintf(text, sizeof text, "%d", i);
        rd_kafka_resp_err_t code = rd_kafka_producev(
            cluster->writer, RD_KAFKA_V_TOPIC(topic), RD_KAFKA_V_PARTITION(i % 2), RD_KAFKA_V_KEY(text, (size_t)size),
            RD_KAFKA_V_VALUE(text, (size_t)size), RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_END);
        EXPECT(code == RD_KAFKA_RESP_ERR_NO_ERROR);
    }
    EXPECT(rd_kafka_flush(cluster->writer, 10000) == RD_KAFKA_RESP_ERR_NO_ERROR);
}

#endif
