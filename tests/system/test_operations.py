"""What operators see and do: access log, request ids, signals, systemd's socket, draining, web pages of other origins."""
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time

import pytest
import requests

from conftest import ROOT, linear

ROW = {"rows": [{"price": 1}]}


@pytest.fixture
def oj(workspace):
    (workspace.cwd / "m.json").write_text(linear(["price"], 10.0, [1.0]))
    workspace.run("model", "import", "m.json", "--fleet", "oj", "--segment", "")
    workspace.run("release", "create", "oj")
    return workspace


@contextlib.contextmanager
def serving(program, *args, env=None):
    process = subprocess.Popen([program.path, "serve", "--listen", "127.0.0.1:0", *map(str, args)], cwd=program.cwd, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, **(env or {})})
    try:
        yield re.search(r"http://[^ ,\"]+", process.stdout.readline())[0], process
    finally:
        if process.poll() is None:
            process.terminate()
        process.out, process.errors = process.communicate(timeout=60)
    assert process.returncode == 0 and "Sanitizer" not in process.errors, process.errors


def wait_for(condition, seconds=20):
    until = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < until, condition
        time.sleep(0.02)
    return result


def raw(url, request):
    with socket.create_connection(url.removeprefix("http://").split(":"), timeout=20) as s:
        s.sendall(request)
        s.settimeout(20)
        return s.recv(65536)


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_each_line_of_the_access_log_is_an_object(oj):
    log = oj.cwd / "access.log"
    paths = [b"/v2", b"/v2/models/%22%7d%0a%0d", b"/a%1b[31m%ff%fe", b'/"quoted"\\back', b"/" + b"x" * 8000, b"/v2?token=secret-of-mine",
             b"/\xc3\xa4\xff\xfe", b"/%E2%80%A8line", b"/</script>", b"/v2/models/oj%00", b"/" + b"%41" * 2000]
    methods = [b"GET", b"POST", b"DELETE", b'"X"', b"G\\E", b"BREW"]
    with serving(oj, "--serve.access-log", log) as (url, _):
        for path in paths:
            raw(url, b"GET " + path + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        for method in methods:
            raw(url, method + b" /v2 HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
        requests.post(f"{url}/v1/fleets/oj/score", json=ROW, headers={"X-Request-Id": "abc-1",
                      "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"})
    got = lines(log)
    assert len(got) >= len(paths) and "secret-of-mine" not in log.read_text()
    last = got[-1]
    assert last == {**last, "client": "127.0.0.1", "method": "POST", "path": "/v1/fleets/oj/score", "route": "score", "status": 200,
                    "request_id": "abc-1", "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736", "parent_id": "00f067aa0ba902b7"}
    assert last["bytes"] > 0 and last["us"] >= 0 and last["time"].endswith("Z")
    assert all(0 < len(line["request_id"]) <= 128 for line in got if line["status"] == 200)


def test_request_ids_and_traces(oj):
    good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    bad = ["", "00", good.upper(), good[:-1], good + "0", "00-" + "0" * 32 + good[35:], good[:36] + "0" * 16 + good[52:], "ff" + good[2:],
           "zz" + good[2:], good.replace("-", "_")]
    log = oj.cwd / "access.log"
    with serving(oj, "--serve.access-log", log) as (url, _):
        assert requests.get(f"{url}/v2", headers={"X-Request-Id": "mine"}).headers["X-Request-Id"] == "mine"
        assert requests.get(f"{url}/none", headers={"X-Request-Id": "mine"}).headers["X-Request-Id"] == "mine"
        given = {requests.get(f"{url}/v2").headers["X-Request-Id"] for _ in range(5)}
        assert len(given) == 5 and all(re.fullmatch("[0-9a-f]{32}", each) for each in given)
        assert requests.get(f"{url}/v2", headers={"X-Request-Id": "x" * 128}).headers["X-Request-Id"] == "x" * 128
        for odd in ("x" * 129, 'quo"te', "two words"):
            assert re.fullmatch("[0-9a-f]{32}", requests.get(f"{url}/v2", headers={"X-Request-Id": odd}).headers["X-Request-Id"])
        for trace in [good, "01-" + good[3:] + "-more", *bad]:
            requests.get(f"{url}/v2/models", headers={"traceparent": trace})
    assert ["trace_id" in line for line in lines(log) if line["path"] == "/v2/models"] == [True, True] + [False] * len(bad)
    with serving(oj) as (url, _):  # no log: the client's own id comes back, none is made
        assert "X-Request-Id" not in requests.get(f"{url}/v2").headers
        assert requests.get(f"{url}/v2", headers={"X-Request-Id": "mine"}).headers["X-Request-Id"] == "mine"


def test_hangup_reads_options_again_and_opens_the_log(oj):
    log, config = oj.cwd / "access.log", oj.cwd / "myriad.yaml"
    config.write_text("serve:\n  model-control: false\n")
    with serving(oj, "--serve.access-log", log) as (url, process):
        assert requests.post(f"{url}/v2/repository/models/oj/load").status_code == 403
        log.rename(oj.cwd / "access.log.1")
        config.write_text("serve:\n  model-control: true\n  loops: 3\n  token-rate: 7\n")
        process.send_signal(signal.SIGHUP)
        said = [process.stdout.readline().strip() for _ in range(3)]
        assert sorted(said) == ["serve.loops: 0 -> 3 (after a restart)", "serve.model-control: false -> true", "serve.token-rate: 0 -> 7"]
        assert requests.post(f"{url}/v2/repository/models/oj/load").status_code == 200
        wait_for(lambda: log.exists() and any(line["status"] == 200 for line in lines(log)))
        for broken in ("serve:\n  model-control: maybe\n", "serve: [\n", "serve:\n  model-contrl: true\n"):
            config.write_text(broken)
            process.send_signal(signal.SIGHUP)
            time.sleep(0.3)
        assert requests.post(f"{url}/v2/repository/models/oj/load").status_code == 200
        config.write_text("serve:\n  model-control: true\n  loops: 3\n  token-rate: 7\n  drain: 3s\n")
        process.send_signal(signal.SIGHUP)
        assert {process.stdout.readline().strip() for _ in range(2)} == {"serve.loops: 0 -> 3 (after a restart)",
                                                                        "serve.drain: 10000ms -> 3000ms"}
    assert process.errors.count("options not read again: the earlier ones go on") == 3
    assert "did you mean" in process.errors and "myriad.yaml:2" in process.errors


def test_hangup_reads_the_service_file_again(oj):
    """Stages, default fleet and origins change without a restart; what does not fit is said in the log, over REST and as a number."""
    service, config = oj.cwd / "s.yaml", oj.cwd / "myriad.yaml"
    service.write_text("fleets:\n  oj: {validate: {inputs: {price: {max: 2}}}}\n")

    def predicted(url):
        reply = requests.post(f"{url}/invocations", json={"dataframe_records": [{"price": 3}]}, headers={"Origin": "https://shop.example"})
        return reply.json()["predictions"][0], reply.headers.get("Access-Control-Allow-Origin")

    with serving(oj, "--service", service) as (url, process):
        assert requests.get(f"{url}/v1/service-file").json().items() >= {"path": str(service), "refused": None}.items()
        assert predicted(url) == (None, None)
        service.write_text("default: oj\nname: prices\nfleets:\n  oj: {validate: {inputs: {price: {max: 4}}}}\n")
        config.write_text("serve: {cors-origins: 'https://shop.example', deadline: 70s}\n")
        process.send_signal(signal.SIGHUP)
        assert [process.stdout.readline().strip() for _ in range(5)] == [
            "serve.deadline: 100ms -> 70000ms", 'serve.cors-origins: "" -> "https://shop.example"',
            "fleets.oj.validate.inputs.price.max: 2 -> 4", "default: (not there) -> oj", "name: (not there) -> prices"]
        assert predicted(url) == (13, "https://shop.example")
        assert [s["name"] for s in requests.get(f"{url}/v1/services").json()["services"]] == ["prices"]
        service.write_text("fleets:\n  oj: {validate: {inputs: {prise: {max: 2}}}}\n")
        process.send_signal(signal.SIGHUP)
        assert re.search(r"s.yaml: not taken, the earlier one goes on: .*s.yaml:2:.*did you mean 'price'", process.stdout.readline())
        assert predicted(url)[0] == 13 and "prise" in requests.get(f"{url}/v1/service-file").json()["refused"]["error"]
        assert "myriad_service_file_is_refused 1" in requests.get(f"{url}/metrics").text
    assert "service file not taken: the earlier one goes on" in process.errors


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_is_told(oj, abstract):
    name = f"@myriad-test-{os.getpid()}" if abstract else str(oj.cwd / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("\0" + name[1:] if abstract else name)
        manager.settimeout(20)
        with serving(oj, env={"NOTIFY_SOCKET": name}) as (url, process):
            assert manager.recv(200) == b"READY=1"
            assert requests.get(f"{url}/v2/health/ready").status_code == 200
            process.send_signal(signal.SIGHUP)
            assert re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=\d+", manager.recv(200))
            assert manager.recv(200) == b"READY=1"
        assert manager.recv(200) == b"STOPPING=1"


def test_a_manager_that_is_gone_stops_nobody(oj):
    for path in (str(oj.cwd / "nobody"), "", "relative", "/" + "x" * 200):
        with serving(oj, env={"NOTIFY_SOCKET": path}) as (url, _):
            assert requests.get(f"{url}/v2/health/ready").status_code == 200


def test_readiness_flips_first_and_models_answer_to_the_last(oj):
    with serving(oj, "--serve.drain-delay", "60s", "--serve.drain", "20s") as (url, process):
        answers, stop = [], threading.Event()

        def client():
            with requests.Session() as http:
                while not stop.is_set():
                    answers.append(http.post(f"{url}/v1/fleets/oj/score", json=ROW).json()["rows"][0]["prediction"])

        def ready():
            return requests.get(f"{url}/v2/health/ready").status_code
        thread = threading.Thread(target=client)
        thread.start()
        body = json.dumps(ROW).encode()
        slow = socket.create_connection(url.removeprefix("http://").split(":"), timeout=20)
        slow.sendall(b"POST /v1/fleets/oj/score HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:5])
        assert ready() == 200
        process.send_signal(signal.SIGTERM)
        wait_for(lambda: ready() == 503)
        assert requests.get(f"{url}/v2/health/live").status_code == 200
        before = len(answers)
        wait_for(lambda: len(answers) > before + 20)  # not ready, and everything goes on
        stop.set()
        thread.join()
        process.send_signal(signal.SIGTERM)  # a second one ends the waiting
        time.sleep(0.3)
        slow.sendall(body[5:])
        got = slow.recv(65536)
        assert got.startswith(b"HTTP/1.1 200 OK") and b'"prediction":11' in got and b"Connection: close" in got
        slow.close()
        assert process.wait(timeout=30) == 0
    assert set(answers) == {11}


def test_not_ready_while_no_fleet_can_be_opened(oj):
    for path in (oj.cwd / "packs" / "oj").iterdir():
        path.write_bytes(b"damaged")
    with serving(oj) as (url, _):
        refused = requests.get(f"{url}/v2/health/ready")
        assert refused.status_code == 503 and "no fleet can be opened" in refused.json()["error"]
        assert requests.get(f"{url}/v2/health/live").status_code == 200


def test_an_empty_workspace_is_ready(workspace):
    with serving(workspace) as (url, _):
        assert requests.get(f"{url}/v2/health/ready").status_code == 200


def test_web_pages_of_other_origins(oj):
    ask = {"Origin": "https://shop.example", "Access-Control-Request-Method": "POST"}
    with serving(oj) as (url, _):  # off by default
        assert requests.options(f"{url}/v1/fleets/oj/score", headers=ask).status_code == 405
        answer = requests.get(f"{url}/v2", headers={"Origin": "https://shop.example"})
        assert not any(name.lower().startswith("access-control") for name in answer.headers)
    oj.run("token", "create", "t")
    with serving(oj, "--serve.cors-origins", "https://shop.example, http://localhost:5173") as (url, _):
        answer = requests.options(f"{url}/v1/fleets/oj/score", headers=ask)
        assert answer.status_code == 204 and answer.headers["Access-Control-Allow-Origin"] == "https://shop.example"
        assert "Authorization" in answer.headers["Access-Control-Allow-Headers"] and answer.headers["Vary"] == "Origin"
        answer = requests.post(f"{url}/v1/fleets/oj/score", json=ROW, headers={"Origin": "http://localhost:5173"})
        assert answer.status_code == 401 and answer.headers["Access-Control-Allow-Origin"] == "http://localhost:5173"
        for origin in ("https://evil.example", "https://shop.example.evil", "HTTPS://SHOP.EXAMPLE", "null", "*", "https://shop.example/"):
            answer = requests.options(f"{url}/v1/fleets/oj/score", headers={**ask, "Origin": origin})
            assert answer.status_code == 405 and "Access-Control-Allow-Origin" not in answer.headers


def test_the_unit_file(oj):
    unit = (ROOT / "deploy" / "systemd" / "myriad.service").read_text()
    assert "Type=notify-reload" in unit and "ExecStart=/usr/bin/myriad serve " in unit
    command = re.search(r"^ExecStart=/usr/bin/myriad serve --workspace \S+ (.*)$", unit, re.M)[1]
    with serving(oj, *command.split()):
        pass  # its options are options

