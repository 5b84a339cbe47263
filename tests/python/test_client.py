"""The client against real servers: tables of each kind, errors, servers that die, deadlines, retries."""
import contextlib
import http.server
import json
import re
import signal
import subprocess
import threading
import time
import urllib.request

import myriad
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from conftest import BUILD, FEATURES, KEYS


@contextlib.contextmanager
def serving(workspace, *args):
    server = subprocess.Popen([BUILD / "myriad", "serve", "--workspace", workspace, "--listen", "127.0.0.1:0", *args], text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        line = server.stdout.readline()
        match = re.search(r"http://[^ ,\"]+", line)
        assert match, server.stderr.read()
        yield match[0], server
    finally:
        server.kill()
        server.communicate()


@pytest.fixture(scope="module")
def url(fleet):
    with serving(fleet.registry.workspace, "--serve.lease", "0") as (url, _):
        yield url


@pytest.fixture(scope="module")
def data(fleet):
    stores, brands, matrix = fleet.rows(9000)
    return stores, brands, matrix, fleet.expected(stores, brands, matrix)


@pytest.fixture(scope="module")
def frame(data):
    stores, brands, matrix, _ = data
    return pd.DataFrame(matrix, columns=FEATURES).assign(store=stores, brand=brands, note="not the fleet's")


def same(found, wanted):
    assert np.array_equal(np.asarray(found, np.float64), wanted)


def get(url, path):
    with urllib.request.urlopen(url + path) as answer:
        return json.load(answer)


def wait_for(condition, seconds=6):
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < seconds
        time.sleep(0.05)


# ---- rows in, predictions out ----

def test_tables_of_each_kind(url, frame, data, fleet):
    wanted = data[3]
    with myriad.Client(url) as client:
        found = client.score("oj", frame.set_index(np.arange(len(frame)) * 3))
        assert isinstance(found, pd.Series) and found.name == "prediction" and found.index[-1] == (len(frame) - 1) * 3
        same(found, wanted)
        found = client.score("oj", pl.from_pandas(frame))
        assert isinstance(found, pl.Series)
        same(found, wanted)
        table = pa.Table.from_pandas(frame)
        same(client.score("oj", table), wanted)
        same(client.score("oj", table.combine_chunks().to_batches()[0]), wanted)
        columns = {name: frame[name].to_numpy() for name in (*KEYS, *FEATURES)}
        same(client.score("oj", columns), wanted)
        rows = frame[[*KEYS, *FEATURES]].head(50).to_dict("records")
        same(client.score("oj", rows), wanted[:50])
        assert client.score("oj", rows[0]).prediction == wanted[0]
        assert len(client.score("oj", frame.head(0))) == 0 and client.score("oj", []) == []
    with myriad.open(fleet.pack_path) as pack:
        same(client.score("oj", frame), pack.predict(frame))  # a closed client opens again


def test_details(url, frame):
    client = myriad.Client(url)
    found = client.score("oj", frame.head(30), details=True)
    assert list(found.columns) == ["prediction", "level", "status", "model", "model_version"] and set(found.status) == {"ok"}
    assert {"segment", "parent", "global"} >= set(found.level)
    found = client.score("oj", pl.from_pandas(frame.head(30)), details=True)
    assert found["level"].to_list()[0] in ("segment", "parent", "global")
    answers = client.score("oj", [{"store": 1, "brand": "a"}, {"store": "x", "brand": "a"}], details=True)
    assert [a.status for a in answers] == ["ok", "bad_key"] and answers[1].prediction is None and answers[0].model == "oj@store=1,brand=a"
    assert client.score("oj", {"store": 1, "brand": "a", "price": np.float32(2), "deal": pd.NA, "feat": float("nan")}).status == "ok"


def test_what_servers_say(url):
    client = myriad.Client(url)
    assert client.resolve("oj", {"store": 1, "brand": "ü, brand=1"})["model"] == "oj@store=1,brand=ü%2C brand%3D1"
    assert client.resolve("oj", "store=9,brand=a")["level"] == "parent"
    (service,) = client.services(fleet="oj", feature="price")
    assert service["fleets"][0]["name"] == "oj" and client.services(fleet="none") == []
    assert client.describe("oj")["model_count"] == 8
    (endpoint,) = client.endpoints("oj")
    assert endpoint.uri == url and endpoint.fleets == {"oj": 1}


# ---- errors ----

def test_errors_are_typed(url):
    client = myriad.Client(url)
    with pytest.raises(myriad.NotFound, match="unknown model: 'none'"):
        client.score("none", {"store": 1})
    with pytest.raises(myriad.BadInput, match="no field 'shop'"):
        client.score("oj", {"shop": 1})
    with pytest.raises(myriad.BadInput, match="infinity"):
        client.score("oj", {"price": float("inf")})
    with pytest.raises(myriad.BadInput, match="not int"):
        client.score("oj", 7)
    with pytest.raises(myriad.BadInput, match="one number is needed"):
        client.score("oj", {"store": [1, 2], "brand": ["a"]})
    with pytest.raises(myriad.Unsupported):
        client.score("oj", [{"store": 1, "brand": "a"}], output="probability")
    with pytest.raises(myriad.NotFound, match="by the alias"):
        client.score("oj", {"store": 1, "brand": "a"}, alias="challenger")
    for bad in ("127.0.0.1:80", "ftp://x", "", []):
        with pytest.raises(myriad.BadInput):
            myriad.Client(bad)


def test_nobody_answers():
    client = myriad.Client("http://127.0.0.1:9", retries=2)
    with pytest.raises(myriad.Unavailable, match="127.0.0.1:9") as caught:
        client.score("oj", {"store": 1})
    assert isinstance(caught.value, ConnectionError)


def test_tokens(fleet, tmp_path):
    registry = myriad.Registry(tmp_path / "ws", create=True)
    registry.register(b'{"format":"myriad-linear","version":1,"features":["price"],"intercept":1,"weights":[2],"fills":[0]}', "tiny")
    registry.release("tiny")
    made = subprocess.run([BUILD / "myriad", "token", "create", "reader", "--scope", "infer,read", "--workspace", registry.workspace,
                           "--json"], capture_output=True, text=True, check=True)
    token = json.loads(made.stdout)["token"]
    with serving(registry.workspace) as (url, _):
        assert myriad.Client(url, token=token).score("tiny", {"price": 2}).prediction == 5
        for wrong in (None, "wrong"):
            with pytest.raises(myriad.Denied) as caught:
                myriad.Client(url, token=wrong).score("tiny", {"price": 2})
            assert isinstance(caught.value, PermissionError) and caught.value.code == "UNAUTHENTICATED"
        assert token not in repr(myriad.Client(url, token=token))


# ---- several servers ----

def calls_of(url):
    with urllib.request.urlopen(url + "/metrics") as answer:
        found = re.search(rb'myriad_requests_total\{route="score",code="200"\} (\d+)', answer.read())
    return int(found[1]) if found else 0


def test_no_call_fails_when_a_server_is_killed(fleet):
    """Two servers, clients in eight threads, one server killed without a word while they ask."""
    workspace = fleet.registry.workspace
    stores, brands, matrix = fleet.rows(64, seed=3)
    wanted = fleet.expected(stores, brands, matrix)
    rows = [{"store": int(s), "brand": str(b), **{f: (None if np.isnan(v) else float(v)) for f, v in zip(FEATURES, m)}}
            for s, b, m in zip(stores, brands, matrix)]
    with serving(workspace) as (a, first), serving(workspace) as (b, second):
        wait_for(lambda: len(get(a, "/v1/services")["services"][0]["endpoints"]) == 2)
        client = myriad.Client(a, deadline=20)
        failures, counts, stop = [], [0] * 8, threading.Event()

        def ask(thread):
            while not stop.is_set():
                try:
                    same(client.score("oj", rows), wanted)
                    counts[thread] += 1
                except BaseException as problem:
                    failures.append(problem)
                    return

        threads = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
        for thread in threads:
            thread.start()
        wait_for(lambda: min(counts) > 5 and calls_of(a) > 0 and calls_of(b) > 0, 30)  # both are asked
        first.send_signal(signal.SIGKILL)  # the one that the client was told
        first.wait()
        before = list(counts)
        wait_for(lambda: all(now > then + 20 for now, then in zip(counts, before)), 30)
        stop.set()
        for thread in threads:
            thread.join()
        assert failures == []
        wait_for(lambda: [e.uri for e in client.endpoints("oj")][0] == b)
        assert client.score("oj", rows[0]).prediction == wanted[0]
        second.kill()
        second.wait()
        with pytest.raises(myriad.Unavailable):
            myriad.Client([a, b]).score("oj", rows[0])


def test_the_own_region_first(fleet):
    workspace = fleet.registry.workspace
    with serving(workspace, "--region", "eu") as (a, _), serving(workspace, "--region", "us") as (b, _):
        wait_for(lambda: len(get(a, "/v1/services")["services"][0]["endpoints"]) == 2)
        client = myriad.Client(a, region="us")
        for _ in range(20):
            assert client.score("oj", {"store": 1, "brand": "a"}).status == "ok"
        assert calls_of(b) == 20 and calls_of(a) == 0
        assert [e.region for e in client.endpoints("oj")] == ["us", "eu"]


def test_a_client_that_does_not_discover(url):
    client = myriad.Client(url, discover=False)
    assert client.score("oj", {"store": 1, "brand": "a"}).status == "ok"
    assert [e.fleets for e in client.endpoints("oj")] == [None]


# ---- a server that behaves badly, made here ----

class Bad(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        status, headers, answer = self.server.behave(len(self.server.seen), dict(self.headers), body)
        self.server.seen.append(dict(self.headers))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *args):
        pass


@contextlib.contextmanager
def bad(behave):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Bad)
    server.behave, server.seen = behave, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", server.seen
    finally:
        server.shutdown()
        server.server_close()


OK = b'{"rows":[{"prediction":1.5,"model":"oj@","model_version":1,"level":"global","status":"ok","added":7}]}'


def test_retries_keep_their_key_and_tell_what_time_is_left():
    with bad(lambda n, *_: (503, {"Retry-After": "1"}, b'{"error":"the queue is full"}') if n < 2 else (200, {"X-Myriad-Release": "4"}, OK)) as (url, seen):
        client = myriad.Client(url, discover=False, deadline=5)
        found = client.score("oj", {"a": 1})
        assert (found.prediction, found.release, found.fields) == (1.5, 4, {"added": 7})
        assert len({s["Idempotency-Key"] for s in seen}) == 1 and len(seen) == 3
        left = [int(s["X-Deadline-Ms"]) for s in seen]
        assert 5000 >= left[0] >= left[1] >= left[2] > 3000
        client.score("oj", {"a": 1}, idempotency_key="mine")
        assert seen[-1]["Idempotency-Key"] == "mine" and seen[-1]["Idempotency-Key"] != seen[0]["Idempotency-Key"]


def test_what_can_not_be_helped_is_not_asked_again():
    with bad(lambda *_: (400, {}, b'{"error":"row 0: no"}')) as (url, seen):
        with pytest.raises(myriad.BadInput, match="row 0: no"):
            myriad.Client(url, discover=False).score("oj", {"a": 1})
        assert len(seen) == 1


def test_retries_have_a_budget():
    """When every answer is 503, calls cost little more than one request each once the budget is spent."""
    with bad(lambda *_: (503, {}, b"{}")) as (url, seen):
        client = myriad.Client(url, discover=False, retries=4)
        for _ in range(100):
            with pytest.raises(myriad.Unavailable):
                client.score("oj", {"a": 1})
        assert len(seen) <= 100 + 50 + 100 * 0.2 + 1


def test_a_deadline_is_kept():
    def slow(*_):
        time.sleep(1)
        return 200, {}, OK
    with bad(slow) as (url, _):
        client = myriad.Client(url, discover=False)
        begin = time.monotonic()
        with pytest.raises(myriad.DeadlineExceeded) as caught:
            client.score("oj", {"a": 1}, deadline=0.2)
        assert 0.15 < time.monotonic() - begin < 0.8 and isinstance(caught.value, TimeoutError)


def test_connections_that_were_closed_meanwhile(fleet):
    with serving(fleet.registry.workspace, "--serve.idle-timeout", "100ms", "--serve.lease", "0") as (url, _):
        client = myriad.Client(url, retries=0, discover=False)
        for _ in range(3):
            assert client.score("oj", {"store": 1, "brand": "a"}).status == "ok"
            time.sleep(0.4)
