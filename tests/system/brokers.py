"""A real Kafka broker that tests start and end themselves: one node, in a directory of its own, on this machine alone."""
import pathlib
import shutil
import subprocess
import tempfile
import time

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

from databases import Server, free_port

JARS = pathlib.Path(__file__).resolve().parents[2] / ".deps/kafka"
PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=CLIENTS://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=CLIENTS://127.0.0.1:{port}
listener.security.protocol.map=CLIENTS:{protocol},CONTROLLER:PLAINTEXT
inter.broker.listener.name=CLIENTS
controller.listener.names=CONTROLLER
log.dirs={dir}/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=1000
"""
SASL = """
sasl.enabled.mechanisms=PLAIN
sasl.mechanism.inter.broker.protocol=PLAIN
listener.name.clients.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required username="broker" password="broker-word" user_broker="broker-word" user_myriad="secret-word";
"""


class Kafka(Server):
    def __init__(self, sasl=False):
        if not JARS.is_dir() or not shutil.which("java"):
            pytest.fail("Kafka is not here: scripts/setup --tests")
        self.dir = tempfile.mkdtemp(prefix="myriad-kafka-")
        port, controller = free_port(), free_port()
        self.client_options = {} if not sasl else {"security_protocol": "SASL_PLAINTEXT", "sasl_mechanism": "PLAIN",
                                                   "sasl_plain_username": "myriad", "sasl_plain_password": "secret-word"}
        text = PROPERTIES.format(port=port, controller=controller, dir=self.dir, protocol="SASL_PLAINTEXT" if sasl else "PLAINTEXT")
        properties = pathlib.Path(self.dir, "server.properties")
        properties.write_text(text + (SASL if sasl else ""))
        java = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{JARS}/*"]
        subprocess.run([*java, "kafka.tools.StorageTool", "format", "-t", "AAAAAAAAAAAAAAAAAAAAAQ", "-c", properties],
                       check=True, capture_output=True, cwd=self.dir)
        super().__init__([*java, "kafka.Kafka", str(properties)], port, f"127.0.0.1:{port}")

    def start(self):
        super().start()
        end = time.monotonic() + 60
        while True:  # its port opens before it answers
            try:
                with self.admin() as admin:
                    admin.list_topics()
                return self
            except Exception:
                assert time.monotonic() < end and self.process.poll() is None, "Kafka does not get ready"
                time.sleep(0.1)

    def remove(self):
        self.kill()
        shutil.rmtree(self.dir, ignore_errors=True)

    def _options(self):
        return {"bootstrap_servers": self.uri, **self.client_options}

    def admin(self):
        return _Closing(KafkaAdminClient(**self._options()))

    def make(self, *names, partitions=1, **config):
        with self.admin() as admin:
            admin.create_topics([NewTopic(name, partitions, 1, topic_configs={k.replace("_", "."): str(v) for k, v in config.items()})
                                 for name in names])
            end = time.monotonic() + 30
            while not set(names) <= set(admin.list_topics()):
                assert time.monotonic() < end
                time.sleep(0.05)

    def write(self, topic, records):
        """records: (key, value, headers) or (key, value); gives the metadata of each, in order."""
        producer = KafkaProducer(acks="all", linger_ms=5, max_request_size=4 << 20, **self._options())
        futures = [producer.send(topic, key=r[0], value=r[1], headers=list(r[2]) if len(r) > 2 else None) for r in records]
        producer.flush(120)
        done = [future.get(60) for future in futures]
        producer.close()
        return done

    def read(self, topic, wanted=None, timeout=60):
        """All records of a topic; waits for `wanted` of them."""
        consumer = KafkaConsumer(enable_auto_commit=False, auto_offset_reset="earliest", **self._options())
        end = time.monotonic() + timeout
        try:
            parts = [TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic)]
            consumer.assign(parts)
            consumer.seek_to_beginning(*parts)
            found = []
            while True:
                for records in consumer.poll(timeout_ms=200, max_records=5000).values():
                    found += records
                ends = consumer.end_offsets(parts)
                whole = all(consumer.position(part) >= ends[part] for part in parts)
                if whole and (wanted is None or len(found) >= wanted):
                    return found
                assert time.monotonic() < end, f"{topic}: {len(found)} records of {wanted}"
        finally:
            consumer.close()

    def committed(self, group):
        """{partition: offset}"""
        with self.admin() as admin:
            return {part.partition: found.offset for part, found in admin.list_group_offsets(group)[group].items()}

    def ends(self, topic):
        consumer = KafkaConsumer(**self._options())
        try:
            return {p.partition: n for p, n in consumer.end_offsets([TopicPartition(topic, p) for p in consumer.partitions_for_topic(topic)]).items()}
        finally:
            consumer.close()


class _Closing:
    def __init__(self, inner):
        self.inner = inner

    def __enter__(self):
        return self.inner

    def __exit__(self, *_):
        self.inner.close()
