"""Too much of everything: slow clients, idle ones, floods, sizes, deadlines. The others are answered and the server goes on."""
import concurrent.futures
import contextlib
import json
import os
import re
import resource
import selectors
import socket
import subprocess
import sys
import threading
import time

import pytest
import requests

from conftest import linear

LONG = bool(os.environ.get("MYR_LONG"))
ROW = {"rows": [{"price": 1}]}
BODY = json.dumps(ROW).encode()
POST = b"POST /v1/fleets/oj/score HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY


@pytest.fixture
def fleets(workspace):
    for name in ("oj", "other"):
        (workspace.cwd / "m.json").write_text(linear(["price"], 10.0, [1.0]))
        workspace.run("model", "import", "m.json", "--fleet", name, "--segment", "")
        workspace.run("release", "create", name)
    return workspace


@contextlib.contextmanager
def serving(program, *args):
    process = subprocess.Popen([program.path, "serve", "--listen", "127.0.0.1:0", *map(str, args)], cwd=program.cwd, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        yield re.search(r"http://[^ ,\"]+", process.stdout.readline())[0], process
    finally:
        process.terminate()
        _, errors = process.communicate(timeout=120)
    assert process.returncode == 0 and "Sanitizer" not in errors, errors


def address(url):
    host, port = url.removeprefix("http://").split(":")
    return host, int(port)


def p99(seconds):
    return sorted(seconds)[int(len(seconds) * 0.99)]


def good_client(url, count):
    """Requests one after the other on one connection; the seconds that each took."""
    took = []
    with requests.Session() as http:
        for _ in range(count):
            began = time.monotonic()
            answer = http.post(f"{url}/v1/fleets/oj/score", json=ROW, timeout=30)
            took.append(time.monotonic() - began)
            assert answer.status_code == 200 and answer.json()["rows"][0]["prediction"] == 11
    return took


def raise_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard


@pytest.mark.parametrize("where", ["header", "body", "answer"])
def test_two_thousand_slow_clients(fleets, where):
    raise_files()
    with serving(fleets, "--serve.header-timeout", "4s", "--serve.body-timeout", "4s") as (url, process):
        alone = good_client(url, 200)
        slow, stop = [], threading.Event()
        for _ in range(2000):
            s = socket.create_connection(address(url), timeout=30)
            if where == "answer":  # asks for much and reads nothing
                s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                s.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 3)
            else:
                s.sendall(POST[:20] if where == "header" else POST[:-len(BODY)])
            s.setblocking(False)
            slow.append(s)

        def drip():
            while not stop.wait(0.5):
                for s in slow:
                    if where != "answer":
                        with contextlib.suppress(OSError):
                            s.send(b"X" if where == "header" else b" ")
        thread = threading.Thread(target=drip)
        thread.start()
        beside = good_client(url, 200)
        if where != "answer":  # a byte now and then keeps nobody here beyond the time-out
            closed = set()
            with selectors.DefaultSelector() as selector:
                for s in slow:
                    selector.register(s, selectors.EVENT_READ)
                until = time.monotonic() + 30
                while len(closed) < len(slow) and time.monotonic() < until:
                    for key, _ in selector.select(0.5):
                        with contextlib.suppress(OSError):
                            if key.fileobj.recv(4096):
                                continue
                        closed.add(key.fileobj)
                        selector.unregister(key.fileobj)
            assert len(closed) == len(slow)
        stop.set()
        thread.join()
        for s in slow:
            s.close()
        good_client(url, 20)
        if LONG:
            assert p99(beside) <= max(1.2 * p99(alone), p99(alone) + 0.005)


IDLE = """
import resource, socket, sys
host, port, count, path = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4].encode()
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
kept = []
for i in range(count):
    s = socket.socket()
    s.bind((f"127.0.0.{2 + i % 4}", 0))
    s.connect((host, port))
    s.sendall(b"GET " + path + b" HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    assert s.recv(4096).startswith(b"HTTP/1.1 200"), i
    kept.append(s)
print("there", flush=True)
sys.stdin.read()
"""


def resident_bytes(process):
    status = open(f"/proc/{process.pid}/status").read()
    return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) * 1024


def test_idle_connections(fleets):
    count = 18000 if LONG else 2000
    if raise_files() < count + 100:
        pytest.skip(f"the limit of open files is below {count}")
    with serving(fleets, "--serve.connections-max", 20000) as (url, process):
        good_client(url, 50)
        before = resident_bytes(process)
        idle = subprocess.Popen([sys.executable, "-c", IDLE, *map(str, address(url)), str(count), "/v2/health/live"],
                                stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            assert idle.stdout.readline() == "there\n"
            each = (resident_bytes(process) - before) / count
            assert max(good_client(url, 50)) < 1
        finally:
            idle.communicate(timeout=60)
        assert idle.returncode == 0
        if b"__asan_init" not in open(fleets.path, "rb").read():  # a sanitizer's memory is its own
            assert each <= 16 << 10, f"{each} bytes for each idle connection"
        good_client(url, 20)


def many(rows):
    return json.dumps({"rows": [{"price": 1}] * rows})


def test_a_fleet_that_floods_leaves_the_others_their_turn(fleets):
    """Everything goes through one compute thread; one fleet asks for as much as it can on 24 connections."""
    stop, codes = threading.Event(), []
    with serving(fleets, "--serve.inline-rows-max", 0, "--serve.compute-threads", 1, "--serve.queue-max", 16,
                 "--serve.bulk-deadline", "20s") as (url, _):
        def flood():
            with requests.Session() as http:
                while not stop.is_set():
                    codes.append(http.post(f"{url}/v1/fleets/oj/score", data=many(2000), timeout=60).status_code)
        with concurrent.futures.ThreadPoolExecutor(24) as pool:
            clients = [pool.submit(flood) for _ in range(24)]
            try:
                time.sleep(0.5)
                others, health = [], []
                with requests.Session() as http:
                    for _ in range(30):
                        others.append(http.post(f"{url}/v1/fleets/other/score", data=many(10), timeout=60).status_code)
                        health.append(http.get(f"{url}/v2/health/ready", timeout=60).status_code)
                        health.append(http.get(f"{url}/v1/services", timeout=60).status_code)
            finally:
                stop.set()
            for each in clients:
                each.result()
        assert others.count(200) >= 27 and set(health) == {200}
        assert set(codes) <= {200, 503} and codes.count(200) > 0
        assert requests.post(f"{url}/v1/fleets/oj/score", data=many(10), timeout=60).status_code == 200


SLOW = """function run(row, prediction)
  local s = 0
  for i = 1, 300000 do s = s + i end
  prediction.fields.s = s
end
"""


def test_clients_that_do_not_wait_cost_nothing(fleets):
    """Twenty times too much, from clients that ask again as soon as they are refused: most of it is not even read."""
    (fleets.cwd / "slow.lua").write_text(SLOW)
    (fleets.cwd / "slow.yaml").write_text("fleets:\n  oj:\n    rules: slow.lua\n  other: {}\n")
    seconds, clients, codes, stop = 3, 40, [], threading.Event()
    with serving(fleets, "--service", "slow.yaml", "--serve.loops", 1, "--serve.compute-threads", 1, "--serve.deadline", "300ms",
                 "--serve.admin-listen", "127.0.0.1:0") as (url, process):
        def hammer(i):
            health = []
            with requests.Session() as http:
                while not stop.is_set():
                    codes.append(http.post(f"{url}/v1/fleets/oj/score", data=BODY, timeout=60).status_code)
                    if i < 4 and codes[-1] != 200:  # on the very connection that was told to come later
                        began = time.monotonic()
                        assert http.get(f"{url}/v2/health/ready", timeout=60).status_code == 200
                        assert http.get(f"{url}/v1/resolve?fleet=other", timeout=60).status_code == 200
                        health.append(time.monotonic() - began)
            return health
        with concurrent.futures.ThreadPoolExecutor(clients) as pool:
            running = [pool.submit(hammer, i) for i in range(clients)]
            try:
                time.sleep(seconds / 2)
                with requests.Session() as http:
                    for _ in range(10):
                        for path in ("/v2/health/live", "/v1/services", "/metrics"):
                            assert http.get(f"{url}{path}", timeout=60).status_code == 200
                        assert http.post(f"{url}/v1/fleets/other/score", data=BODY, timeout=60).status_code == 200
                time.sleep(seconds / 2)
            finally:
                stop.set()
            health = [took for each in running for took in each.result()]
        assert set(codes) <= {200, 503, 504} and codes.count(200) > 0
        assert len(codes) - codes.count(200) < clients * (seconds + 2) * 4, "refused and refused, instead of left waiting"
        assert not health or sorted(health)[len(health) // 2] < 0.25
        assert requests.post(f"{url}/v1/fleets/oj/score", data=BODY, timeout=60).status_code == 200


def test_a_storm_of_deadlines(fleets):
    with serving(fleets, "--serve.compute-threads", 1) as (url, _):
        def hurry(i):
            answer = requests.post(f"{url}/v1/fleets/oj/score", data=many(20000), headers={"X-Deadline-Ms": str(1 + i % 3)}, timeout=120)
            return answer.status_code, answer.headers.get("Retry-After")
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            got = list(pool.map(hurry, range(64)))
        assert {code for code, _ in got} <= {200, 503, 504}
        assert sum(code != 200 for code, _ in got) >= 60
        assert all(retry == "1" for code, retry in got if code == 503)
        good_client(url, 20)
        metrics = requests.get(f"{url}/metrics", timeout=30).text
        assert re.search(r"^myriad_overload_refused_total \d+$", metrics, re.M) and "myriad_concurrency_limit" in metrics


def test_everything_too_large(fleets):
    """At the limit and one past it; each refusal is clear, and the next client is answered."""
    deep = ("[" * 98, "]" * 98)
    with serving(fleets, "--serve.body-bytes-max", "1MiB") as (url, _):
        def score(text, **headers):
            return requests.post(f"{url}/v1/fleets/oj/score", data=text, headers=headers, timeout=60)
        room = (1 << 20) - len('{"rows":[]}')
        cases = [
            (lambda: score('{"rows":[]' + " " * room + "}"), 200), (lambda: score('{"rows":[]' + " " * (room + 1) + "}"), 413),
            (lambda: requests.get(f"{url}/v2/models/{'x' * (8192 - len('/v2/models/'))}", timeout=60), 404),
            (lambda: requests.get(f"{url}/v2/models/{'x' * (8193 - len('/v2/models/'))}", timeout=60), 414),
            (lambda: requests.get(f"{url}/v2", headers={"X-Pad": "x" * 11000}, timeout=60), 200),
            (lambda: requests.get(f"{url}/v2", headers={"X-Pad": "x" * 12288}, timeout=60), 431),
            (lambda: requests.get(f"{url}/v2", headers={f"X-{i}": "x" for i in range(2000)}, timeout=60), 431),
            (lambda: score('{"rows":' + deep[0] + deep[1] + "}"), 400), (lambda: score("[" * 100000), 400),
            (lambda: requests.get(f"{url}/" + "a/" * 17, timeout=60), 404),
        ]
        for ask, status in cases:
            assert ask().status_code == status
            good_client(url, 1)
    with serving(fleets, "--serve.body-bytes-max", "64MiB") as (url, _):
        rows = '{"rows":[' + ",".join(['{"price":1}'] * 65536) + "]}"
        long = {"X-Deadline-Ms": "120000"}
        assert requests.post(f"{url}/v1/fleets/oj/score", data=rows, headers=long, timeout=120).status_code == 200
        rows = '{"rows":[' + ",".join(["{}"] * 65537) + "]}"
        assert requests.post(f"{url}/v1/fleets/oj/score", data=rows, headers=long, timeout=120).status_code == 413


def test_ten_thousand_small_connections_leave_nothing(fleets):
    count = 10000 if LONG else 1000
    with serving(fleets) as (url, process):
        good_client(url, 5)
        before = len(os.listdir(f"/proc/{process.pid}/fd"))
        for i in range(count):
            with socket.create_connection(address(url), timeout=30) as s:
                s.sendall(POST[:i % len(POST)])
        until = time.monotonic() + 20
        while len(os.listdir(f"/proc/{process.pid}/fd")) > before and time.monotonic() < until:
            time.sleep(0.05)
        assert len(os.listdir(f"/proc/{process.pid}/fd")) <= before
        good_client(url, 5)
