"""The whole request with stores: features fetched, predictions stored and found again, idempotency keys, and what happens when the
server or the database is killed, the disk is full, a sync fails. SQLite, and a real PostgreSQL and Redis."""
import concurrent.futures
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import threading
import time

import pytest
import requests
from conftest import linear
from databases import Postgres, Redis
from servers import running

FEATURES = """store,brand,price,deal
2,1,0.5,1
2,2,0.25,0
"""


@pytest.fixture
def fleet(workspace):
    """oj: segment store=2,brand=1 is 10*price + deal, the global model 100*price + 1."""
    (workspace.cwd / "own.json").write_text(linear(["price", "deal"], 0, [10, 1]))
    (workspace.cwd / "global.json").write_text(linear(["price", "deal"], 1, [100, 0]))
    workspace.run("model", "import", "own.json", "--fleet", "oj", "--segment", "store=2,brand=1")
    workspace.run("model", "import", "global.json", "--fleet", "oj", "--segment", "")
    workspace.run("release", "create", "oj")
    (workspace.cwd / "features.csv").write_text(FEATURES)
    return workspace


def service(program, text):
    (program.cwd / "s.yaml").write_text("fleets:\n  oj:\n" + "".join(f"    {line}\n" for line in text.strip().splitlines()))
    return "--service", "s.yaml"


class Running:
    """A server that may be killed."""

    def __init__(self, program, *args, before=(), env=None):
        self.process = subprocess.Popen([*before, program.path, "serve", "--listen", "127.0.0.1:0", *args], cwd=program.cwd, text=True,
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **(env or {})})
        line = self.process.stdout.readline()
        match = re.search(r"http://[^ ,\"]+", line)
        assert match, line + self.process.stderr.read()
        self.url = match[0]

    def score(self, *rows, **headers):
        return requests.post(f"{self.url}/v1/fleets/oj/score", json={"rows": list(rows)},
                             headers={k.replace("_", "-"): v for k, v in headers.items()}, timeout=30)

    def predict(self, query="store=2&brand=1", **kwargs):
        return requests.get(f"{self.url}/v1/fleets/oj/predictions?{query}", timeout=30, **kwargs)

    def metric(self, name):
        text = requests.get(f"{self.url}/metrics", timeout=30).text
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name))

    def end(self, number=signal.SIGTERM):
        self.process.send_signal(number)
        out, errors = self.process.communicate(timeout=120)
        assert "Sanitizer" not in errors, errors
        return errors


@contextlib.contextmanager
def serving(program, *args, **kwargs):
    server = Running(program, *args, **kwargs)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            errors = server.end()
            assert server.process.returncode == 0, errors


class Place:
    """Where features and predictions are, and how a test looks into it."""

    def __init__(self, kind, cwd, features, predictions, server=None):
        self.kind, self.cwd, self.features, self.predictions, self.server = kind, cwd, features, predictions, server

    def rows(self, columns="key, value"):
        if self.kind == "sqlite":
            with contextlib.closing(sqlite3.connect(self.cwd / "p.db")) as db:
                return db.execute(f"SELECT {columns} FROM prediction ORDER BY prediction_id").fetchall()
        text = self.server.sql(f"SELECT {columns} FROM myriad_prediction ORDER BY prediction_id")
        return [tuple(line.split("|")) for line in text.splitlines()]


@pytest.fixture(params=["sqlite", "servers"])
def place(request, fleet):
    """SQLite for both, and PostgreSQL for predictions with Redis for features."""
    if request.param == "sqlite":
        here = Place("sqlite", fleet.cwd, "sqlite:f.db", "sqlite:p.db")
        fleet.run("features", "load", "features.csv", "--to", here.features, "--table", "prices", "--keys", "store,brand")
        yield here
        return
    with running(Postgres) as postgres, running(Redis) as redis:
        here = Place("servers", fleet.cwd, redis.uri, postgres.uri, postgres)
        fleet.run("features", "load", "features.csv", "--to", here.features, "--table", "prices", "--keys", "store,brand")
        yield here


def all_stages(place, *more):
    return "\n".join([
        f'fetch: [{{from: "{place.features}", table: prices, keys: [store, brand], features: [price, deal]}}]',
        "deadline: 10s",
        "validate: {inputs: {price: {min: 0, max: 10}}, output: {min: 0}}",
        "rules: rules.lua",
        f'store: {{to: "{place.predictions}", when: before_answer, valid: 1h, max_age: 10m{"".join(", " + m for m in more)}}}'])


def test_one_request_through_all_stages(fleet, place):
    (fleet.cwd / "rules.lua").write_text("function run(row, prediction) prediction.value = prediction.value * 2 end\n")
    with serving(fleet, *service(fleet, all_stages(place))) as server:
        answer = server.score({"store": 2, "brand": 1}, {"store": "2", "brand": 1, "price": 1}, {"store": 9, "brand": 9, "price": 3},
                              X_Server_Timing="1")
        assert answer.status_code == 200, answer.text
        rows = answer.json()["rows"]
        assert [row["prediction"] for row in rows] == [12, 22, 602]  # (10*0.5+1)*2, (10*1+1)*2: the request wins, (100*3+1)*2
        assert all(f"{stage};dur=" in answer.headers["Server-Timing"] for stage in ("fetch", "infer", "validate", "rules", "store"))
        stored = place.rows("key, value, level, model, release, features, source")
        assert [row[0] for row in stored] == ["store=2,brand=1", "store=2,brand=1", "store=9,brand=9"]
        assert [float(row[1]) for row in stored] == [12, 22, 602]
        assert stored[0][2:4] == ("segment", "oj@store=2,brand=1") and int(stored[0][4]) == 1
        assert json.loads(stored[0][5]) == {"price": 0.5, "deal": 1} and stored[0][6] == "request"
        # V2 stores too
        infer = requests.post(f"{server.url}/v2/models/oj/infer", timeout=30, json={"id": "v2-1", "inputs": [
            {"name": "store", "shape": [1], "datatype": "INT64", "data": [2]},
            {"name": "brand", "shape": [1], "datatype": "INT64", "data": [2]}]})
        assert infer.status_code == 200 and infer.json()["outputs"][0]["data"] == [52], infer.text
        assert tuple(map(str, place.rows("key, request_id")[-1])) == ("store=2,brand=2", "v2-1")
        # what is found again
        found = server.predict().json()
        assert (found["from"], found["stale"], found["prediction"], found["release"]) == ("stored", False, 22, 1)
        assert found["model"] == "oj@store=2,brand=1" and found["valid_until"] is not None and 0 <= found["age_ms"] < 600_000
        made = server.predict("store=5&brand=5&price=1").json()
        assert (made["from"], made["stale"], made["prediction"], made["level"]) == ("scored", False, 202, "global")
        assert server.predict("store=5&brand=5").json()["from"] == "stored"  # the one just made
        assert server.metric('myriad_predictions_total{result="stored"}') == 5
        assert server.metric("myriad_prediction_commits_total") >= 3
        assert server.metric("myriad_features_round_trips_total") >= 2


def test_stale_and_missing(fleet, place):
    (fleet.cwd / "rules.lua").write_text("function run(row, prediction) end\n")
    with serving(fleet, *service(fleet, all_stages(place))) as server:
        assert server.score({"store": 2, "brand": 1, "price": 1, "deal": 0}).json()["rows"][0]["prediction"] == 10
        time.sleep(0.05)
        assert server.predict("store=2&brand=1&max_age=1h").json()["prediction"] == 10
        fresh = server.predict("store=2&brand=1&max_age=1ms").json()  # older than that: scored, with features of the store
        assert (fresh["from"], fresh["prediction"]) == ("scored", 6)
        time.sleep(0.05)
        # scoring is refused (price above its bound): the old one, marked
        old = server.predict("store=2&brand=1&price=99&max_age=1ms").json()
        assert (old["from"], old["stale"], old["prediction"]) == ("stored", True, 6)
        refused = server.predict("store=8&brand=8&price=99")
        assert refused.status_code == 400 and "price" in refused.json()["error"]
        assert server.predict("store=2").status_code == 400 and "'brand' is missing" in server.predict("store=2").json()["error"]
        assert "give a time" in server.predict("store=2&brand=1&max_age=soon").json()["error"]
        assert server.predict("store=x&brand=1").status_code == 400
        assert requests.get(f"{server.url}/v1/fleets/none/predictions?a=1", timeout=30).status_code == 404


def test_idempotency_keys(fleet, place):
    (fleet.cwd / "rules.lua").write_text("function run(row, prediction) end\n")
    row = {"store": 2, "brand": 1, "price": 1}
    arguments = service(fleet, all_stages(place, "keep_answers: 1d", "id_is_key: true"))
    with serving(fleet, *arguments) as server:
        first = server.score(row, Idempotency_Key="k-1")
        assert first.status_code == 200 and "Idempotency-Replayed" not in first.headers
        again = server.score(row, Idempotency_Key="k-1")
        assert again.status_code == 200 and again.content == first.content and again.headers["Idempotency-Replayed"] == "true"
        other = server.score({**row, "price": 2}, Idempotency_Key="k-1")
        assert other.status_code == 422 and "another request" in other.json()["error"]
        assert server.score(row, Idempotency_Key="k-2").status_code == 200
        assert server.score(row).status_code == 200 and server.score(row).status_code == 200  # without a key each is its own
        assert server.score(row, Idempotency_Key="x" * 256).status_code == 400
        assert server.score(row, Idempotency_Key="x" * 255).status_code == 200
        # a request that fails keeps nothing: it may be sent again
        assert server.score({"stre": 2}, Idempotency_Key="k-3").status_code == 400
        assert server.score(row, Idempotency_Key="k-3").status_code == 200
        # V2: its id is a key here; a binary answer is repeated as it was
        body = {"id": "i-1", "inputs": [{"name": n, "shape": [1], "datatype": t, "data": [v]} for n, t, v in
                                        (("store", "INT64", 2), ("brand", "INT64", 1), ("price", "FP64", 1), ("deal", "FP64", 0))],
                "parameters": {"binary_data_output": True}}
        one, two = (requests.post(f"{server.url}/v2/models/oj/infer", json=body, timeout=30) for _ in range(2))
        assert one.status_code == 200 and one.content == two.content and two.headers["Idempotency-Replayed"] == "true", one.text
        assert one.headers["Inference-Header-Content-Length"] == two.headers["Inference-Header-Content-Length"]
        # MLflow's and Azure's routes too; each route is another request
        for path, body, key in (("invocations", {"dataframe_records": [row]}, "k-4"), ("score", {"data": [row]}, "k-5")):
            one, two, other = (requests.post(f"{server.url}/{path}", json=body, timeout=30, headers={
                "Idempotency-Key": k, "x-ms-client-request-id": "c"}) for k in (key, key, "k-1"))
            assert one.status_code == 200 and "Idempotency-Replayed" not in one.headers, one.text
            assert two.content == one.content and two.headers["Idempotency-Replayed"] == "true"
            assert other.status_code == 422 and path != "score" or two.headers["x-ms-client-request-id"] == "c"
    assert len(place.rows()) == 9
    (fleet.cwd / "new.json").write_text(linear(["price", "deal"], 5, [0, 0]))
    fleet.run("model", "import", "new.json", "--fleet", "oj", "--segment", "store=2,brand=1")
    fleet.run("release", "create", "oj")
    with serving(fleet, *arguments) as server:  # after a restart, and of another release
        assert server.score(row).json()["rows"][0]["prediction"] == 5
        assert server.score(row, Idempotency_Key="k-1").content == first.content
        assert server.score(row, Idempotency_Key="k-9").json()["rows"][0]["prediction"] == 5
    assert len(place.rows()) == 11


def test_a_conflict_in_postgres_is_tried_again(fleet):
    """As when PostgreSQL ends one of two that wait for each other: nothing took effect, so it is no error of the request."""
    with running(Postgres) as postgres:
        with serving(fleet, *service(fleet, f'store: {{to: "{postgres.uri}"}}\ndeadline: 10s')) as server:
            row = {"store": 2, "brand": 1, "price": 1, "deal": 0}
            assert server.score(row, Idempotency_Key="k-1").status_code == 200
            postgres.sql("CREATE SEQUENCE tries; CREATE FUNCTION ends() RETURNS trigger LANGUAGE plpgsql AS $$BEGIN"
                         " IF nextval('tries') = 1 THEN RAISE EXCEPTION 'deadlock detected' USING ERRCODE = '40P01'; END IF;"
                         " RETURN NEW; END$$; CREATE TRIGGER ends BEFORE INSERT ON myriad_answer FOR EACH ROW EXECUTE FUNCTION ends()")
            answer = server.score(row, Idempotency_Key="k-2")
            assert answer.status_code == 200, answer.text
            assert postgres.sql("SELECT count(*), (SELECT last_value FROM tries) FROM myriad_prediction") == "2|2"


def test_a_damaged_row_in_redis_is_its_requests_alone(fleet):
    with running(Redis) as redis:
        fleet.run("features", "load", "features.csv", "--to", redis.uri, "--table", "prices", "--keys", "store,brand")
        with socket.create_connection(("127.0.0.1", redis.port)) as s:
            s.sendall(b"AUTH secret-word\r\nSELECT 1\r\nSET myriad:features:prices:store=2,brand=2 junk\r\n")
            answer = b""
            while answer.count(b"+OK") < 3:
                answer += s.recv(4096)
        get = ("features", "get", "--from", redis.uri, "--table", "prices", "--key")
        assert "the row of 'store=2,brand=2' is not one of features" in fleet.fails(*get, "store=2,brand=2")[1]
        text = f'fetch: [{{from: "{redis.uri}", table: prices, keys: [store, brand], features: [price, deal]}}]\n'
        text += "deadline: 10s\ndegrade: {fetch: fail}"
        with serving(fleet, *service(fleet, text)) as server, concurrent.futures.ThreadPoolExecutor(8) as pool:
            codes = list(pool.map(lambda i: server.score({"store": 2, "brand": 1 + i % 2}).status_code, range(400)))
        assert set(codes[::2]) == {200} and 200 not in codes[1::2], codes


def test_many_with_one_key_at_once(fleet, place):
    """Of many that come together one is scored; the others are told to wait, or get its answer. Through two servers."""
    (fleet.cwd / "rules.lua").write_text("function run(row, prediction) end\n")
    arguments = service(fleet, all_stages(place))
    row = {"store": 2, "brand": 1, "price": 1}
    with serving(fleet, *arguments) as a, serving(fleet, *arguments) as b, concurrent.futures.ThreadPoolExecutor(16) as threads:
        for i in range(5):
            answers = list(threads.map(lambda k: (a, b)[k % 2].score(row, Idempotency_Key=f"k-{i}"), range(16)))
            assert {r.status_code for r in answers} <= {200, 409}, [r.text for r in answers]
            assert len({r.content for r in answers if r.status_code == 200}) == 1
            assert all("in progress" in r.json()["error"] for r in answers if r.status_code == 409)
            assert len(place.rows()) == i + 1


def load(server, seconds, count=8, **headers):
    """Clients that send until the server is gone; gives the prices that were acknowledged."""
    acknowledged, lock, number = [], threading.Lock(), iter(range(1, 1 << 30))
    end = time.monotonic() + seconds

    def client():
        with requests.Session() as session:
            while time.monotonic() < end:
                with lock:
                    price = next(number) / 1024
                try:
                    answer = session.post(f"{server.url}/v1/fleets/oj/score", json={"rows": [{"store": 2, "brand": 1, "price": price, "deal": 0}]},
                                          headers=headers, timeout=30)
                except requests.RequestException:
                    return
                if answer.status_code == 200:
                    with lock:
                        acknowledged.append(answer.json()["rows"][0]["prediction"])
    threads = [threading.Thread(target=client) for _ in range(count)]
    for thread in threads:
        thread.start()
    return acknowledged, threads


def test_kill_9_loses_nothing_that_was_answered(fleet, place):
    arguments = service(fleet, f'store: {{to: "{place.predictions}"}}\ndeadline: 10s')
    for round_ in range(2):
        server = Running(fleet, *arguments)
        acknowledged, threads = load(server, 20)
        time.sleep(1 + round_ * 0.7)
        server.end(signal.SIGKILL)
        for thread in threads:
            thread.join()
        assert len(acknowledged) > 10
        stored = {float(row[1]) for row in place.rows()}
        assert not set(acknowledged) - stored, f"{len(set(acknowledged) - stored)} of {len(acknowledged)} acknowledged are missing"
    with serving(fleet, *arguments) as server:
        assert server.predict().json()["from"] == "stored"


def test_after_answer(fleet, place):
    arguments = service(fleet, f'store: {{to: "{place.predictions}", when: after_answer, features: false}}\ndeadline: 10s')
    with serving(fleet, *arguments) as server:
        for i in range(20):
            assert server.score({"store": 2, "brand": 1, "price": i, "deal": 0}, Idempotency_Key=f"k-{i}").status_code == 200
    assert [float(row[1]) for row in place.rows()] == [10 * i for i in range(20)]  # a drained server has stored all
    assert {row[0] for row in place.rows("features")} <= {None, ""}


def test_the_database_dies_and_comes_back(fleet):
    with running(Postgres) as postgres:
        arguments = service(fleet, f'store: {{to: "{postgres.uri}"}}\ndeadline: 3s')
        with serving(fleet, *arguments) as server:
            row = {"store": 2, "brand": 1, "price": 1, "deal": 0}
            assert server.score(row).status_code == 200
            acknowledged, threads = load(server, 4)
            time.sleep(1)
            postgres.kill()
            time.sleep(0.5)
            started = time.monotonic()
            refused = server.score(row)
            assert refused.status_code in (503, 504) and time.monotonic() - started < 8, refused.text
            assert "secret-word" not in refused.text
            assert requests.get(f"{server.url}/v2/health/live", timeout=5).status_code == 200
            for thread in threads:
                thread.join()
            postgres.start()
            end = time.monotonic() + 30
            while server.score(row).status_code != 200:
                assert time.monotonic() < end
                time.sleep(0.2)
            stored = set(map(float, postgres.sql("SELECT value FROM myriad_prediction").splitlines()))
            assert not set(acknowledged) - stored


def test_a_dead_database_is_answered_in_time_or_lived_without(fleet):
    row = {"store": 2, "brand": 1, "price": 1, "deal": 0}
    dead = 'store: {to: "postgresql://u:secret-word@127.0.0.1:1/d"%s}'
    with serving(fleet, *service(fleet, dead % "")) as server:
        refused = server.score(row)
        assert refused.status_code == 503 and "cannot connect" in refused.json()["error"] and "secret-word" not in refused.text
        assert server.predict("store=2&brand=1&price=1&deal=0").status_code == 503
    with serving(fleet, *service(fleet, dead % "" + "\ndegrade: {store: after_answer}")) as server:
        answer = server.score(row)
        assert answer.status_code == 200 and answer.json()["rows"][0]["prediction"] == 10 and answer.headers["X-Stored"] == "later"
        assert server.predict("store=2&brand=1&price=1&deal=0").json()["from"] == "scored"


def test_a_lock_that_is_held(fleet):
    arguments = service(fleet, 'store: {to: "sqlite:p.db"}\ndeadline: 500ms')
    row = {"store": 2, "brand": 1, "price": 1, "deal": 0}
    with serving(fleet, *arguments) as server:
        assert server.score(row).status_code == 200
        with contextlib.closing(sqlite3.connect(fleet.cwd / "p.db", isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            started = time.monotonic()
            late = server.score(row)
            assert late.status_code == 504 and time.monotonic() - started < 5, late.text
            assert requests.get(f"{server.url}/v2/health/ready", timeout=5).status_code == 200
            db.execute("ROLLBACK")
        assert server.score(row).status_code == 200


def test_what_is_late_is_stored_later(fleet):
    """Of a plan that answers all the same: what waits for the lock when its time is over, and what waits for the writer."""
    arguments = service(fleet, 'store: {to: "sqlite:p.db"}\ndeadline: 300ms\ndegrade: {store: after_answer}')
    with serving(fleet, *arguments) as server:
        with contextlib.closing(sqlite3.connect(fleet.cwd / "p.db", isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            with concurrent.futures.ThreadPoolExecutor(4) as pool:
                answers = list(pool.map(lambda i: server.score({"store": 2, "brand": 1, "price": i, "deal": 0}), range(8)))
            assert {(a.status_code, a.headers.get("X-Stored")) for a in answers} == {(200, "later")}
            db.execute("ROLLBACK")
    with contextlib.closing(sqlite3.connect(fleet.cwd / "p.db")) as db:  # a drained server has stored all, each once
        assert sorted(db.execute("SELECT value FROM prediction").fetchall()) == [(10.0 * i,) for i in range(8)]


def test_a_full_disk(fleet, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        arguments = service(fleet, f'store: {{to: "sqlite:{disk}/p.db"}}\ndeadline: 10s')
        row = {"store": 2, "brand": 1, "price": 1, "deal": 0}
        with serving(fleet, *arguments) as server:
            assert server.score(row).status_code == 200
            (disk / "ballast").write_bytes(b"x" * (os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize))
            statuses = [server.score(row).status_code for _ in range(30)]
            assert statuses[-1] == 507 and set(statuses) <= {200, 507}
            refused = server.score(row)
            assert "full" in refused.json()["error"] and server.predict().json()["from"] == "stored"
            (disk / "ballast").unlink()
            assert server.score(row).status_code == 200
            statuses.append(200)
        with contextlib.closing(sqlite3.connect(disk / "p.db")) as db:
            assert db.execute("SELECT count(*) FROM prediction").fetchone()[0] == 1 + statuses.count(200)
    finally:
        subprocess.run(["umount", disk], check=True)


def test_nothing_is_acknowledged_after_a_failed_sync(fleet):
    if not shutil.which("strace"):
        pytest.fail("strace is not installed: scripts/setup --tests")
    fleet.run("predict", "oj", "--row", '{"store":2,"brand":1,"price":1}')
    arguments = service(fleet, 'store: {to: "sqlite:p.db"}\ndeadline: 10s')
    row = {"store": 2, "brand": 1, "price": 1, "deal": 0}
    with serving(fleet, *arguments):
        pass  # the file is there
    strace = ["strace", "-D", "-f", "-qq", "-o", "/dev/null", "-e", "trace=fdatasync,fsync", "-e", "inject=fdatasync,fsync:error=EIO:when=3+"]
    server = Running(fleet, *arguments, before=strace, env={"ASAN_OPTIONS": "detect_leaks=0"})
    try:
        statuses = [server.score({**row, "price": i}).status_code for i in range(1, 12)]
        assert 500 in statuses, statuses
        first = statuses.index(500)
        assert statuses == [200] * first + [500] * (11 - first)
        refused = server.score(row).json()["error"]
        assert "nothing is stored until the server is started anew" in refused
        assert server.metric('myriad_predictions_total{result="failed"}') >= 2
        assert requests.get(f"{server.url}/v2/health/live", timeout=5).status_code == 200
    finally:
        server.end()
    with contextlib.closing(sqlite3.connect(fleet.cwd / "p.db")) as db:
        values = [v for v, in db.execute("SELECT value FROM prediction ORDER BY prediction_id")]
    assert values[:first] == [10 * i for i in range(1, first + 1)]  # what was answered is there


def test_the_service_file_is_checked(fleet):
    def refused(text):
        return fleet.fails("serve", "--listen", "127.0.0.1:0", *service(fleet, text))[1]
    assert "s.yaml:3" in refused("store: {to: redis://h}") and "SQLite or PostgreSQL" in refused("store: {to: redis://h}")
    assert "did you mean 'keep'" in refused('store: {to: "sqlite:p.db", kep: 1d}')
    assert "must be before_answer or after_answer" in refused('store: {to: "sqlite:p.db", when: now}')
    assert "'to'" in refused("store: {when: after_answer}")
    assert "/no/such" in refused('store: {to: "sqlite:/no/such/p.db"}')
    assert "secret-word" not in refused('store: {to: "mysql://u:secret-word@h/d"}')


def test_a_batch_is_stored_too(fleet, place):
    (fleet.cwd / "t.csv").write_text("store,brand,price,deal\n2,1,0.5,1\n7,7,2,0\n,1,1,1\n")
    for form in ("parquet", "csv"):
        done = fleet.json("batch", "run", "--fleet", "oj", "--input", "t.csv", "--output", f"out-{form}", "--format", form, "--by", "brand",
                          "--store", place.predictions)
        assert done["rows"] == 3 and done["stored"] == 2  # the third has no whole key
    assert [(row[0], float(row[1])) for row in place.rows()] == [("store=2,brand=1", 6), ("store=7,brand=7", 201)] * 2
    with serving(fleet, *service(fleet, f'store: {{to: "{place.predictions}"}}')) as server:
        found = server.predict("store=7&brand=7").json()
        assert (found["from"], found["prediction"], found["source"], found["level"]) == ("stored", 201, "batch", "global")
    code, message = fleet.fails("batch", "run", "--fleet", "oj", "--input", "t.csv", "--output", "o", "--store", "sqlite:/no/such/p.db")
    assert "/no/such" in message and not (fleet.cwd / "o").exists(), "told before the first row is scored"
