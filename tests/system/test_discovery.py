"""Discovery between real processes: they find each other, one is killed, one is stopped."""
import re
import signal
import subprocess
import time

import pytest
import requests
from conftest import linear


@pytest.fixture
def oj(workspace):
    for segment, intercept in (("store=2,brand=1", 10), ("brand=1", 100), ("", 1000)):
        (workspace.cwd / "m.json").write_text(linear(["price", "deal"], intercept, [1, 0.5]))
        workspace.run("model", "import", "m.json", "--fleet", "oj", "--segment", segment, "--tag", f"team=t{len(segment)}")
    workspace.run("release", "create", "oj")
    return workspace


def start(program, *args):
    server = subprocess.Popen([program.path, "serve", "--listen", "127.0.0.1:0", *args], cwd=program.cwd, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return server, re.search(r"http://[^ ,\"]+", server.stdout.readline())[0]


def wait_for(condition, seconds):
    """How long it took; fails when it takes longer."""
    begin = time.monotonic()
    while not condition():
        assert time.monotonic() - begin < seconds
        time.sleep(0.05)
    return time.monotonic() - begin


def endpoints(url, **query):
    answer = requests.get(f"{url}/v1/services", params=query).json()
    return {e["rest"]: e for s in answer["services"] for e in s["endpoints"]}


def test_a_killed_server_is_gone_in_five_seconds_a_stopped_one_at_once(oj):
    first, a = start(oj, "--name", "prices", "--region", "eu")
    second, b = start(oj, "--name", "prices", "--region", "us")
    third, c = start(oj, "--name", "other")
    try:
        for url in (a, b, c):
            wait_for(lambda url=url: set(endpoints(url)) == {a, b, c}, 5)
        assert set(endpoints(a, region="us")) == {b} and endpoints(c)[b]["region"] == "us"
        resolved = requests.get(f"{c}/v1/resolve", params={"fleet": "oj", "store": 2, "brand": 1}).json()
        assert resolved["model"] == "oj@store=2,brand=1" and {e["rest"] for e in resolved["endpoints"]} == {a, b, c}
        wait_for(lambda: set(endpoints(a, tag="team=t7")) == {a, b, c}, 5)
        assert endpoints(a, tag="team=t8") == {}
        second.send_signal(signal.SIGKILL)
        second.wait()
        wait_for(lambda: set(endpoints(a)) == {a, c}, 5.5)
        wait_for(lambda: set(endpoints(c)) == {a, c}, 0.5)
        third.send_signal(signal.SIGTERM)
        assert third.wait(timeout=30) == 0
        wait_for(lambda: set(endpoints(a)) == {a}, 2.5)
        # A new release is told by all within a look and a beat.
        (oj.cwd / "m.json").write_text(linear(["price", "deal"], 7, [1, 0.5]))
        oj.run("model", "import", "m.json", "--fleet", "oj", "--segment", "")
        oj.run("release", "create", "oj")
        wait_for(lambda: endpoints(a)[a]["fleets"] == [{"name": "oj", "release": 2}], 5)
    finally:
        for server in (first, second, third):
            server.kill()
            server.wait()


def test_a_paused_server_comes_back(oj):
    first, a = start(oj, "--name", "a", "--serve.lease", "1s", "--serve.reload", "100ms")
    second, b = start(oj, "--name", "b", "--serve.lease", "1s", "--serve.reload", "100ms")
    try:
        wait_for(lambda: set(endpoints(a)) == {a, b}, 5)
        second.send_signal(signal.SIGSTOP)
        wait_for(lambda: set(endpoints(a)) == {a}, 3)
        second.send_signal(signal.SIGCONT)
        wait_for(lambda: set(endpoints(a)) == {a, b}, 3)
    finally:
        for server in (first, second):
            server.kill()
            server.wait()


def test_a_long_import_does_not_make_servers_vanish(oj):
    """Somebody holds the registry's write lock: the server goes on answering, and is told again once it is free."""
    import sqlite3
    server, url = start(oj, "--serve.lease", "2s", "--serve.reload", "100ms")
    try:
        wait_for(lambda: url in endpoints(url), 5)
        lock = sqlite3.connect(oj.cwd / "registry.db", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        for _ in range(30):
            assert url in endpoints(url)
            assert requests.post(f"{url}/v1/fleets/oj/score", json={"rows": [{"brand": 1, "price": 1, "deal": 0}]}).status_code == 200
            time.sleep(0.1)
        lock.execute("ROLLBACK")
        other, there = start(oj)
        try:
            wait_for(lambda: set(endpoints(there)) == {url, there}, 5)
        finally:
            other.kill()
            other.wait()
    finally:
        server.kill()
        server.wait()


def test_discover_prints_what_there_is(oj, tmp_path):
    assert "no server is there" in oj.run("discover").stdout
    assert oj.json("discover") == {"services": []}
    server, url = start(oj, "--name", "prices", "--region", "eu")
    try:
        wait_for(lambda: len(oj.json("discover")["services"]) == 1, 5)
        there = oj.json("discover", url)
        assert there["services"][0]["endpoints"][0]["rest"] == url
        (line,) = oj.run("discover", url).stdout.splitlines()[1:]
        assert line.split()[:3] == ["prices", "ready", "eu"] and url in line and line.endswith("oj r1")
        assert oj.run("discover").stdout.splitlines()[1].split()[0] == "prices"
        assert oj.json("discover", url + "/", "--fleet", "oj", "--group", "store=2,brand=1", "--feature", "price")["services"] != []
        assert oj.json("discover", url, "--fleet", "none")["services"] == []
        assert oj.json("discover", "--region", "us")["services"] == []
        assert "brand" in oj.fails("discover", url, "--group", "brand")[1]
    finally:
        server.kill()
        server.wait()
    assert oj.fails("discover", url)[1].startswith(f"myriad: {url}/v1/services")
    assert "http://HOST:PORT" in oj.fails("discover", "ftp://x")[1]
    (oj.cwd / "ws").mkdir()
    assert "no workspace" in oj.fails("discover", "--workspace", str(oj.cwd / "ws"))[1]


def test_discover_with_a_token(oj):
    token = oj.json("token", "create", "reader", "--scope", "read")["token"]
    server, url = start(oj)
    try:
        assert "MYRIAD_TOKEN" in oj.fails("discover", url)[1]
        found = oj.json("discover", url, env={"MYRIAD_TOKEN": token})
        assert found["services"][0]["authentication"] == ["token"] and token not in str(found)
    finally:
        server.kill()
        server.wait()
