"""`myriad stream` against a real Kafka broker: what goes in comes out, at least once, whatever is killed."""
import contextlib
import json
import os
import random
import re
import signal
import sqlite3
import subprocess
import time
import urllib.error
import urllib.request

import pytest

from brokers import Kafka
from conftest import linear
from schedulers import Scheduler, until
from servers import running

# a member that was killed is missed soon
QUICK = ["--kafka-property", "session.timeout.ms=1500", "--kafka-property", "heartbeat.interval.ms=300"]


@pytest.fixture(scope="module")
def kafka():
    with running(Kafka) as broker:
        yield broker


def bring(myriad, intercept=0.0):
    """A fleet `f`, keys store, prediction = intercept + price: models for stores 1 and 2, none above."""
    for store in (1, 2):
        name = myriad.cwd / f"m{store}-{intercept}.json"
        name.write_text(linear(["price"], intercept + 100 * store, [1.0]))
        myriad.run("model", "import", name, "--fleet", "f", "--segment", f"store={store}")
    myriad.run("release", "create", "f")


@pytest.fixture
def fleet(workspace):
    bring(workspace)
    return workspace


class Stream:
    """A running `myriad stream`; its log is read at the end."""

    def __init__(self, myriad, broker, *args, brokers=None):
        self.errors = open(myriad.cwd / f"stream-{time.monotonic_ns()}.log", "w+")
        self.process = subprocess.Popen([myriad.path, "stream", "--fleet", "f", "--brokers", brokers or broker.uri, *map(str, args)],
                                        cwd=myriad.cwd, text=True, stdout=subprocess.PIPE, stderr=self.errors)

    def line(self):
        return self.process.stdout.readline()

    def log(self):
        self.errors.flush()
        with open(self.errors.name) as f:
            return f.read()

    def wait_log(self, text, timeout=60):
        end = time.monotonic() + timeout
        while text not in self.log():
            assert time.monotonic() < end and self.process.poll() is None, self.log()
            time.sleep(0.05)

    def kill(self):
        self.process.kill()
        self.process.communicate()
        self.errors.close()

    def stop(self, code=0, timeout=90):
        """SIGTERM, and how it ended: its last line as JSON or text, and its log."""
        self.process.send_signal(signal.SIGTERM)
        return self.end(code, timeout)

    def end(self, code=0, timeout=90):
        out, _ = self.process.communicate(timeout=timeout)
        log = self.log()
        self.errors.close()
        assert self.process.returncode == code, f"exit {self.process.returncode}\n{out}{log}"
        assert "Sanitizer" not in log, log
        return out, log


@contextlib.contextmanager
def streaming(myriad, broker, *args, **kwargs):
    stream = Stream(myriad, broker, *args, **kwargs)
    try:
        yield stream
    finally:
        if stream.process.poll() is None:
            stream.kill()


def row(store, price):
    return json.dumps({"store": store, "price": price}).encode()


def headers(record):
    return {name: value.decode() for name, value in record.headers}


def test_rows_become_answers(kafka, fleet):
    kafka.make("thin-in", "thin-out", partitions=3)
    kafka.write("thin-in", [(b"k%d" % i, row(1 + i % 2, i), [("trace", b"t%d" % i)]) for i in range(100)])
    with streaming(fleet, kafka, "--from", "kafka:thin-in", "--to", "kafka:thin-out", "--group", "thin") as stream:
        assert stream.line() == "scoring kafka:thin-in into kafka:thin-out as group thin, with f release 1\n"
        found = kafka.read("thin-out", 100)
        out, _ = stream.stop()
    assert re.fullmatch("answered 100, dead 0, in [0-9]+ batches\n", out)
    assert len(found) == 100
    for record in found:
        i = int(record.key[1:])
        assert json.loads(record.value) == {"prediction": 100.0 * (1 + i % 2) + i, "model": f"f@store={1 + i % 2}", "model_version": 1,
                                            "level": "segment", "status": "ok"}
        names = headers(record)
        assert names["trace"] == f"t{i}" and names["myriad.fleet"] == "f" and names["myriad.release"] == "1"
        assert names["myriad.model"] == f"f@store={1 + i % 2}" and names["myriad.topic"] == "thin-in"
    assert kafka.committed("thin") == kafka.ends("thin-in")


BAD = [  # (value, what the cause says)
    (b'{"store":1,"price":', "the record is not JSON: byte "),
    (b'[1,2]', "is not a JSON object"),
    (b'{"store":1,"prize":2}', "did you mean 'price'?"),
    (b'{"store":1,"price":"x"}', "'price' is \"x\", not a number"),
    (b'{"store":1,"price":1,"price":2}', "'price' is given twice"),
    (b'\xff\xfe', "the record is not JSON"),
    (b'', "the record is not JSON"),
    (None, "the record has no value"),
    (b'{"store":9,"price":2}', "no_model"),
    (b'{"store":"x","price":2}', "bad_key"),
]


def test_what_has_no_answer_goes_to_the_dead_letters(kafka, fleet):
    kafka.make("bad-in", "bad-out", "bad-dead")
    for value, _ in BAD:
        kafka.write("bad-in", [(b"bad", value, [("trace", b"x")]), (b"good", row(1, 1))])
    with streaming(fleet, kafka, "--from", "kafka:bad-in", "--to", "kafka:bad-out", "--dead-letter", "bad-dead") as stream:
        dead = kafka.read("bad-dead", len(BAD))
        good = kafka.read("bad-out", len(BAD))
        out, _ = stream.stop()
    assert f"answered {len(BAD)}, dead {len(BAD)}, in" in out
    assert [r.key for r in good] == [b"good"] * len(BAD)
    for i, (record, (value, cause)) in enumerate(zip(dead, BAD)):
        names = headers(record)
        assert (record.key, record.value or None) == (b"bad", value or None) and names["trace"] == "x"
        assert (names["myriad.topic"], names["myriad.partition"], names["myriad.offset"]) == ("bad-in", "0", str(2 * i))
        assert cause in names["myriad.cause"], names
        assert names.get("myriad.status") == (cause if cause in ("no_model", "bad_key") else None)
    # without such a topic it is an answer, as a line of /score has it
    with streaming(fleet, kafka, "--from", "kafka:bad-in", "--to", "kafka:bad-out", "--group", "again"):
        both = kafka.read("bad-out", 3 * len(BAD))[len(BAD):]
    answers = [json.loads(r.value) for r in both if r.key == b"bad"]
    assert ["error" in a or a["status"] for a in answers] == [True] * 8 + ["no_model", "bad_key"]


def test_what_is_too_large_goes_by_itself(kafka, fleet):
    """A broker measures requests: answers that fit alone are not lost to their neighbours."""
    kafka.make("big-in")
    kafka.make("big-out", "big-dead", max_message_bytes=2000)
    kafka.write("big-in", [(b"%d" % i, row(1, i)) for i in range(200)])
    kafka.write("big-in", [(b"large", b"x" * 5000), (b"wide", row(1, 1), [("wide", b"w" * 1500)]), (b"end", row(2, 0))])
    with streaming(fleet, kafka, "--from", "kafka:big-in", "--to", "kafka:big-out", "--dead-letter", "big-dead", "--group", "big") as stream:
        good = kafka.read("big-out", 202)
        dead = kafka.read("big-dead", 1)
        stream.stop()
    assert sorted(r.key for r in good) == sorted([b"%d" % i for i in range(200)] + [b"wide", b"end"])
    names = headers(dead[0])
    assert (dead[0].key, dead[0].value) == (b"large", None) and names["myriad.offset"] == "200"
    assert "not JSON" in names["myriad.cause"] and "5000 bytes" in names["myriad.omitted"]
    assert kafka.committed("big")[0] == 203


def test_partitions_are_handed_over_without_a_record_twice(kafka, fleet):
    kafka.make("two-in", "two-out", partitions=4)
    args = ["--from", "kafka:two-in", "--to", "kafka:two-out", "--group", "two", "--batch-rows", 50]
    with streaming(fleet, kafka, *args) as one:
        one.wait_log("partitions=0,1,2,3")
        kafka.write("two-in", [(b"%d" % i, row(1, i)) for i in range(500)])
        with streaming(fleet, kafka, *args) as two:
            two.wait_log("partitions came")  # others stay with the first, and go on
            kafka.write("two-in", [(b"%d" % i, row(2, i)) for i in range(500, 1500)])
            kafka.read("two-out", 1200)
            two.stop()
        kafka.write("two-in", [(b"%d" % i, row(1, i)) for i in range(1500, 2000)])
        found = kafka.read("two-out", 2000)
        out, log = one.stop()
    assert "partitions went" in log and "partitions were taken" not in log
    assert sorted(int(r.key) for r in found) == list(range(2000))
    assert kafka.committed("two") == kafka.ends("two-in")


def test_a_new_champion_answers_from_the_next_batch_on(kafka, fleet):
    kafka.make("swap-in", "swap-out")
    with streaming(fleet, kafka, "--from", "kafka:swap-in", "--to", "kafka:swap-out", "--group", "swap") as stream:
        kafka.write("swap-in", [(b"a", row(1, 1))])
        kafka.read("swap-out", 1)
        bring(fleet, 0.5)
        time.sleep(1.1)
        kafka.write("swap-in", [(b"b", row(1, 1))])
        found = kafka.read("swap-out", 2)
        stream.stop()
    assert [(json.loads(r.value)["prediction"], headers(r)["myriad.release"]) for r in found] == [(101.0, "1"), (101.5, "2")]


def test_rows_go_through_the_stages_of_a_service(kafka, fleet):
    """Features fetched, validated, ruled, stored: as /score answers them; what is refused is a dead letter; a slow record hurts no other."""
    (fleet.cwd / "features.csv").write_text("store,price\n1,5\n2,7\n")
    fleet.run("features", "load", "features.csv", "--to", "sqlite:features.db", "--table", "prices", "--keys", "store")
    rules = fleet.cwd / "rules.lua"
    rules.write_text("""function run(row, p)
      if row.price == 40 then while true do end end
      p.value = p.value + 1000; p.fields.seen = true
    end""")
    (fleet.cwd / "s.yaml").write_text("""fleets:
  f:
    deadline: 2s
    fetch: [{from: "sqlite:features.db", table: prices, keys: [store], features: [price]}]
    validate: {inputs: {price: {min: 0}}}
    rules: rules.lua
    store: {to: "sqlite:predictions.db"}
""")
    kafka.make("stages-in", "stages-out", "stages-dead")
    kafka.write("stages-in", [(b"a", b'{"store":1}'), (b"b", row(2, 3)), (b"c", row(1, -1)), (b"slow", row(1, 40)), (b"d", b'{"store":2}')])
    args = ["--from", "kafka:stages-in", "--to", "kafka:stages-out", "--dead-letter", "stages-dead", "--service", "s.yaml", "--group", "stages"]
    args += [] if os.environ.get("MYR_LONG") else ["--batch-rows", "1"]  # a batch that is late, and then each record of it: 10 s
    with streaming(fleet, kafka, *args) as stream:
        found = {r.key: json.loads(r.value) for r in kafka.read("stages-out", 3)}
        dead = {r.key: headers(r) for r in kafka.read("stages-dead", 2)}
        bring(fleet, intercept=1.0)  # the next champion, by the same stages; and another script
        rules.write_text("function run(row, p) p.value = p.value + 2000 end")
        time.sleep(1.1)  # a look a second, when records come
        kafka.write("stages-in", [(b"e", row(1, 1))])
        last = kafka.read("stages-out", 4)[-1]
        assert (json.loads(last.value)["prediction"], headers(last)["myriad.release"]) == (2102.0, "2")
        good = (fleet.cwd / "s.yaml").read_text()
        for script, count in (("", 5), ("rules: none.lua", 6)):  # another file, and one that does not fit
            (fleet.cwd / "s.yaml").write_text(good.replace("rules: rules.lua", script))
            stream.process.send_signal(signal.SIGHUP)
            kafka.write("stages-in", [(b"f", row(1, 1))])
            assert json.loads(kafka.read("stages-out", count)[-1].value)["prediction"] == 102
        stream.wait_log("service file not taken: the earlier one goes on")
        stream.stop()
    assert {k: (v["prediction"], v["seen"]) for k, v in found.items()} == {b"a": (1105, True), b"b": (1203, True), b"d": (1207, True)}
    assert dead[b"c"]["myriad.status"] == "rejected" and "price" in dead[b"c"]["myriad.cause"]
    assert "ms" in dead[b"slow"]["myriad.cause"]
    with contextlib.closing(sqlite3.connect(fleet.cwd / "predictions.db")) as db:
        assert db.execute("SELECT count(*) FROM prediction").fetchone()[0] >= 4
    assert "leave out --release" in fleet.fails("stream", "--fleet", "f", *args, "--release", "1")[1]
    assert "did you mean 'price'" in broken(fleet, args)


def broken(fleet, args):
    (fleet.cwd / "s.yaml").write_text("fleets: {f: {validate: {inputs: {prise: {min: 0}}}}}")
    return fleet.fails("stream", "--fleet", "f", *args)[1]


def test_lag_and_counts_are_told(kafka, fleet):
    kafka.make("lag-in", "lag-out", "lag-dead")
    kafka.write("lag-in", [(b"", row(1 + i % 10, i)) for i in range(50)])
    args = ["--from", "kafka:lag-in", "--to", "kafka:lag-out", "--dead-letter", "lag-dead", "--admin-listen", "127.0.0.1:0"]
    with streaming(fleet, kafka, *args, "--group", "lag", "--json") as stream:
        admin = json.loads(stream.line())["admin"]
        kafka.read("lag-out", 10)
        end = time.monotonic() + 20
        while True:
            text = urllib.request.urlopen(f"{admin}/metrics").read().decode()
            if 'myriad_stream_lag_records{topic="lag-in",partition="0"} 0\n' in text and "_commits_total{result=\"ok\"} 0" not in text:
                break
            assert time.monotonic() < end, text
            time.sleep(0.1)
        assert 'myriad_stream_records_total{outcome="answered"} 10\n' in text and 'outcome="dead"} 40\n' in text
        assert "myriad_stream_release 1\n" in text and "myriad_stream_in_flight_records 0\n" in text
        assert json.load(urllib.request.urlopen(f"{admin}/ready")) == {"ready": True}
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{admin}/other")
        out, _ = stream.stop()
    assert json.loads(out) | {"batches": 0} == {"answered": 10, "dead": 40, "batches": 0}
    code, message = fleet.fails("stream", "--fleet", "f", "--from", "kafka:a", "--to", "kafka:b", "--admin-listen", "0.0.0.0:0")
    assert "--insecure" in message


@pytest.mark.parametrize("args, says", [
    (["--to", "kafka:b"], "--from is missing"),
    (["--from", "a", "--to", "kafka:b"], "--from 'a' is not known: kafka:TOPIC"),
    (["--from", "kafka:a", "--to", "file:b"], "--to 'file:b' is not known"),
    (["--from", "kafka:a", "--to", "kafka:a"], "topic a is read and written"),
    (["--from", "kafka:a", "--to", "kafka:b", "--dead-letter", "kafka:a"], "topic a is read and written"),
    (["--from", "kafka:a", "--to", "kafka:b", "--linger", "soon"], "--linger 'soon' is no time"),
    (["--from", "kafka:a", "--to", "kafka:b", "--batch-rows", 65537, "--in-flight", 65537], "batches of 65537 records: 1 to 65536"),
    (["--from", "kafka:a", "--to", "kafka:b", "--in-flight", 999], "at least a batch (1000)"),
    (["--from", "kafka:a", "--to", "kafka:b", "--in-flight", 1000001], "at most 1000000"),
    (["--from", "kafka:" + 250 * "a", "--to", "kafka:b"], "1 to 249 bytes, this one 250"),
    (["--from", "kafka:a", "--to", "kafka:b", "--kafka-property", "no.such.thing=1"], "'no.such.thing' is not known to librdkafka"),
    (["--from", "kafka:a", "--to", "kafka:b", "--kafka-property", "sasl.password"], "NAME=VALUE"),
    (["--from", "kafka:a", "--to", "kafka:b", "--kafka-property", "enable.auto.commit=true"], "is myriad's own"),
    (["--from", "kafka:a", "--to", "kafka:b", "--kafka-property", "session.timeout.ms=x"], "session.timeout.ms"),
])
def test_mistakes_are_named(fleet, args, says):
    code, message = fleet.fails("stream", "--fleet", "f", *args)
    assert code == 64 and says in message, message


def test_topics_that_are_not_there(kafka, fleet):
    kafka.make("there-in", "there-out")
    base = ["stream", "--fleet", "f", "--brokers", kafka.uri]
    for args, name in [(["--from", "kafka:none", "--to", "kafka:there-out"], "none"), (["--from", "kafka:there-in", "--to", "kafka:nix"], "nix"),
                       (["--from", "kafka:there-in", "--to", "kafka:there-out", "--dead-letter", "dead"], "dead")]:
        code, message = fleet.fails(*base, *args)
        assert f"topic {name}: there is no such topic" in message, message


def test_brokers_that_are_away(fleet):
    """At the start, in the middle, at the end; nobody waits longer than was said, and nothing is lost."""
    broker = Kafka()
    try:
        args = ["--from", "kafka:in", "--to", "kafka:out", "--group", "away", *QUICK]
        with streaming(fleet, broker, *args) as stream:
            stream.wait_log("waiting for a broker")
            stream.stop()
        with streaming(fleet, broker, *args) as stream:
            stream.wait_log("waiting for a broker")
            broker.start()
            stream.process.wait(30)  # it finds the broker, but not the topic
            assert "topic in: there is no such topic" in stream.log()
            stream.process.communicate()
        broker.make("in", "out")
        broker.write("in", [(b"%d" % i, row(1, i)) for i in range(100)])
        with streaming(fleet, broker, *args, "--drain", "2s") as stream:
            broker.read("out", 100)
            broker.process.send_signal(signal.SIGSTOP)  # mute: connections stay, nothing is acknowledged
            time.sleep(2)
            broker.process.send_signal(signal.SIGCONT)
            broker.write("in", [(b"%d" % i, row(1, i)) for i in range(100, 200)])
            broker.read("out", 200)
            broker.kill()
            stream.wait_log("no broker is reached")
            begun = time.monotonic()
            stream.process.send_signal(signal.SIGTERM)
            stream.process.wait(30)
            assert time.monotonic() - begun < 25
            stream.process.communicate()
        broker.start()
        with streaming(fleet, broker, *args) as stream:
            broker.write("in", [(b"%d" % i, row(1, i)) for i in range(200, 300)])
            found = broker.read("out", 300)
            stream.stop()
        assert {int(r.key) for r in found} == set(range(300))
        assert broker.committed("away") == {0: 300}
    finally:
        broker.remove()


def test_log_ins(fleet):
    with running(lambda: Kafka(sasl=True)) as broker:
        broker.make("in", "out")
        broker.write("in", [(b"a", row(1, 1))])
        secret = fleet.cwd / "kafka.properties"
        args = ["--from", "kafka:in", "--to", "kafka:out", "--kafka-property", "security.protocol=SASL_PLAINTEXT",
                "--kafka-properties", secret]
        secret.write_text("# log-in\nsasl.mechanism=PLAIN\nsasl.username=myriad\nsasl.password=wrong-word\n")
        done = fleet.run("stream", "--fleet", "f", "--brokers", broker.uri, *args, ok=False)
        assert done.returncode == 77 and "Authentication failed" in done.stderr and "wrong-word" not in done.stderr, done.stderr
        secret.write_text("sasl.mechanism=PLAIN\n\nsasl.username=myriad\nsasl.password=secret-word")
        with streaming(fleet, broker, *args) as stream:
            assert len(broker.read("out", 1)) == 1
            stream.stop()
        secret.write_text("sasl.mechanism=PLAIN\nsecret-word\n")
        code, message = fleet.fails("stream", "--fleet", "f", *args)
        assert code == 64 and "kafka.properties:2 is no Kafka property" in message and "secret-word" not in message


def test_nothing_is_lost_whatever_is_killed(fleet):
    """Streams and their broker are killed at seeded moments; each record has an answer or a dead letter at the end."""
    seed = int(os.environ.get("MYR_SEED", "20261130"))
    kills = 40 if os.environ.get("MYR_LONG") else 4
    count, random_ = 1000 * kills, random.Random(seed)
    broker = Kafka().start()
    try:
        broker.make("in", "out", "dead", partitions=3)
        args = ["--from", "kafka:in", "--to", "kafka:out", "--dead-letter", "dead", "--group", "killed", "--batch-rows", 100,
                *QUICK]
        is_bad = [random_.random() < 0.02 for _ in range(count)]
        records = [(b"%d" % i, b"{" if is_bad[i] else row(1 + i % 2, i)) for i in range(count)]
        for kill in range(kills):
            broker.write("in", records[count * kill // kills:count * (kill + 1) // kills])
            with streaming(fleet, broker, *args) as stream:
                stream.wait_log("partitions came", 90)
                time.sleep(random_.uniform(0.2, 0.7))
                if kill == kills // 2:  # the broker as well, without a word to its clients
                    broker.kill()
                    time.sleep(random_.uniform(0, 1))
                    broker.start()
                    time.sleep(random_.uniform(0, 1))
                stream.kill()
        with streaming(fleet, broker, *args) as stream:
            end = time.monotonic() + 120
            while broker.committed("killed") != broker.ends("in"):
                assert time.monotonic() < end and stream.process.poll() is None, stream.log()
                time.sleep(0.3)
            stream.stop()
        out, dead = broker.read("out"), broker.read("dead")
        answered = {int(r.key) for r in out}
        buried = {int(r.key) for r in dead}
        assert answered == {i for i in range(count) if not is_bad[i]} and buried == {i for i in range(count) if is_bad[i]}
        for r in out:
            assert json.loads(r.value)["prediction"] == 100.0 * (1 + int(r.key) % 2) + int(r.key)
        twice = len(out) + len(dead) - count
        print(f"seed {seed}: {count} records, {kills} kills of the stream, 1 of the broker: {twice} answered twice")
        assert twice <= kills * 20000  # what may be in flight, each time
    finally:
        broker.remove()


# ---- the scheduler, which is told of messages ----

STUB = """#!/bin/sh
tr '\\n' ' ' <"$MYRIAD_MESSAGES" >>ran.txt
echo "$MYRIAD_TRIGGER" >>ran.txt
echo "{\\"run\\":$MYRIAD_FIRING}"
"""


def place_of(workspace, job):
    """{partition: offset} up to which messages are answered."""
    with sqlite3.connect(workspace.cwd / "registry.db") as db:
        return {int(path): offset for path, offset in db.execute("select path, size_bytes from firing_file where job = ?", (job,))}


def test_messages_start_a_job(workspace):
    """Many messages are one run; none is missed, and none starts two, whatever is killed."""
    with running(Kafka) as kafka:
        kafka.make("orders", partitions=2)
        write = lambda count: kafka.write("orders", [(b"%d" % i, b"x") for i in range(count)])
        (workspace.cwd / "jobs").mkdir()
        stub = workspace.cwd / "stub"
        stub.write_text(STUB)
        stub.chmod(0o755)
        (workspace.cwd / "jobs" / "fresh.yaml").write_text(
            f"fleet: f\ntriggers: [{{kafka: {{topic: orders, brokers: '{kafka.uri}', quiet: 1s, poll: 1s, properties: kafka.properties}}}}]\n")
        (workspace.cwd / "jobs" / "kafka.properties").write_text("# words\nclient.id=test\n")
        write(7)  # before the trigger was there
        history = lambda: [f for f in workspace.json("schedule", "history", "fresh") if f["trigger"] == "message"]
        scheduler = Scheduler(workspace)
        assert sum(until(lambda: place_of(workspace, "fresh")).values()) == 7
        assert workspace.json("schedule", "list")[0]["when"] == "kafka orders"
        for _ in range(4):
            write(5)
            time.sleep(0.3)
        first = until(lambda: [f for f in history() if f["state"] == "completed"])
        assert len(history()) == 1 and sum(place_of(workspace, "fresh").values()) == 27
        assert first[0]["key"] == "message:orders:" + ",".join(f"{p}:{o}" for p, o in sorted(kafka.ends("orders").items()))
        assert sum(int(past) - int(start) for _, start, past in (line.split() for line in first[0]["detail"].splitlines())) == 20
        scheduler.kill()
        write(3)
        scheduler = Scheduler(workspace)  # what came meanwhile is one run
        until(lambda: [f["state"] for f in history()] == ["completed"] * 2)
        kafka.kill()
        write_log = workspace.cwd / "scheduler.log"
        until(lambda: "a topic can't be looked at" in write_log.read_text())
        kafka.start()
        write(2)
        until(lambda: [f["state"] for f in history()] == ["completed"] * 3)
        workspace.run("schedule", "pause", "fresh")
        write(4)
        time.sleep(2)
        assert len(history()) == 3
        workspace.run("schedule", "resume", "fresh")
        until(lambda: [f["state"] for f in history()] == ["completed"] * 4)
        assert scheduler.end() == 0
        ends = kafka.ends("orders")
        assert place_of(workspace, "fresh") == ends and sum(ends.values()) == 36
        runs = [line.split() for line in (workspace.cwd / "ran.txt").read_text().splitlines()]
        assert [run[-1] for run in runs] == ["message"] * 4
        seen = {p: [] for p in ends}
        for run in runs:
            for at in range(0, len(run) - 1, 3):
                seen[int(run[at])].append((int(run[at + 1]), int(run[at + 2])))
        for partition, ranges in seen.items():  # one after the other, up to the end
            assert all(a[1] == b[0] for a, b in zip(ranges, ranges[1:])) and ranges[-1][1] == ends[partition]
        assert sum(past - start for ranges in seen.values() for start, past in ranges) == 29
        assert "Sanitizer" not in write_log.read_text()
