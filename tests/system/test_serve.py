"""The server as its clients meet it: curl, tritonclient, requests, raw sockets; against the program's own `predict`."""
import concurrent.futures
import contextlib
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

import numpy as np
import pytest
import requests

from conftest import PATIENT, linear

MODELS = {"": 1000.0, "brand=1": 100.0, "store=2,brand=1": 10.0, "store=2,brand=9007199254740993": 20.0}


def linear_file(path, intercept):
    path.write_text(linear(["price", "deal"], intercept, [1.0, 0.5]))
    return path


def make_release(workspace, more=0.0):
    for segment, intercept in MODELS.items():
        path = linear_file(workspace.cwd / "m.json", intercept + more)
        workspace.run("model", "import", path, "--fleet", "oj", "--segment", segment)
    workspace.run("release", "create", "oj")


@pytest.fixture
def oj(workspace):
    # The first import fixes the order of the partition columns, so the most special model comes first.
    workspace.run("model", "import", linear_file(workspace.cwd / "m.json", MODELS["store=2,brand=1"]), "--fleet", "oj",
                  "--segment", "store=2,brand=1")
    make_release(workspace)
    return workspace


@contextlib.contextmanager
def server(program, *args):
    """Like Program.serving, and gives the process too."""
    process = subprocess.Popen([program.path, "serve", "--listen", "127.0.0.1:0", *args], cwd=program.cwd, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**PATIENT, **os.environ})
    try:
        url = re.search(r"http://[^ ,\"]+", process.stdout.readline())[0]
        yield url, process
    finally:
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and "Sanitizer" not in errors, errors


def connect(url):
    host, port = url.removeprefix("http://").split(":")
    return socket.create_connection((host, int(port)), timeout=20)


def tensor(name, data, datatype="FP64"):
    return {"name": name, "shape": [len(data)], "datatype": datatype, "data": data}


def infer_body(stores, brands, prices, deals, **more):
    return {"inputs": [tensor("store", stores, "INT64"), tensor("brand", brands, "INT64"), tensor("price", prices),
                       tensor("deal", deals)], **more}


def prediction(answer):
    assert answer.status_code == 200, answer.text
    (output,) = answer.json()["outputs"]
    assert output["name"] == "prediction" and output["datatype"] == "FP64"
    return output["data"]


def bits(value):
    return struct.pack("<d", float(value))


def test_every_way_gives_the_same_bits(oj):
    with oj.serving() as url, requests.Session() as http:
        for price in (0.1, -0.0, 5e-324, 1e308, 2.0**53 + 1, 1 / 3, 1e22, 1e23):
            row = {"store": 2, "brand": 1, "price": price, "deal": 0.3}
            wanted = oj.json("predict", "oj", "--row", json.dumps(row))["prediction"]
            assert bits(wanted) == bits((10.0 + price) + 0.5 * 0.3)
            score = http.post(f"{url}/v1/fleets/oj/score", json={"rows": [row]}).json()["rows"][0]
            assert bits(score["prediction"]) == bits(wanted)
            assert (score["model"], score["level"], score["status"]) == ("oj@store=2,brand=1", "segment", "ok")
            (fleet,) = prediction(http.post(f"{url}/v2/models/oj/infer", json=infer_body([2], [1], [price], [0.3])))
            (one,) = prediction(http.post(f"{url}/v2/models/oj@store=2,brand=1/infer",
                                          json={"inputs": [tensor("price", [price]), tensor("deal", [0.3])]}))
            assert bits(fleet) == bits(one) == bits(wanted)


def test_keys_beyond_2_to_53_are_exact(oj):
    with oj.serving() as url:
        body = infer_body([2, 2], [9007199254740993, 9007199254740992], [0, 0], [0, 0])
        assert prediction(requests.post(f"{url}/v2/models/oj/infer", json=body)) == [20, 1000]
        rows = [{"store": "2", "brand": brand, "price": 0, "deal": 0} for brand in (9007199254740993, "9007199254740993")]
        answer = requests.post(f"{url}/v1/fleets/oj/score", json={"rows": rows}).json()["rows"]
        assert [row["prediction"] for row in answer] == [20, 20]


def test_tritonclient_in_json_mode(oj):
    client_lib = pytest.importorskip("tritonclient.http")
    with oj.serving() as url:
        client = client_lib.InferenceServerClient(url.removeprefix("http://"))
        assert client.is_server_live() and client.is_server_ready()
        assert client.is_model_ready("oj") and client.is_model_ready("oj@store=2,brand=1") and not client.is_model_ready("x")
        assert client.get_server_metadata() == {"name": "myriad", "version": client.get_server_metadata()["version"],
                                                "extensions": ["binary_tensor_data", "model_configuration", "model_repository",
                                                               "statistics"]}
        metadata = client.get_model_metadata("oj@brand=1")
        assert [i["name"] for i in metadata["inputs"]] == ["price", "deal"]

        def inputs(binary):
            out = []
            for name, datatype, values in (("store", "INT64", np.array([2, 3])), ("brand", "BYTES", np.array(["1", "1"], object)),
                                           ("price", "FP64", np.array([0.1, 0.2])), ("deal", "FP32", np.array([1, 2], np.float32))):
                out.append(client_lib.InferInput(name, [2], datatype))
                out[-1].set_data_from_numpy(values, binary_data=binary)
            return out
        wanted = np.array([(10 + 0.1) + 0.5, (100 + 0.2) + 1.0])
        for outputs in (None, [client_lib.InferRequestedOutput("prediction")],
                        [client_lib.InferRequestedOutput("prediction", binary_data=False)]):
            result = client.infer("oj", inputs(False), outputs=outputs, request_id="r-1", parameters={"mine": 7})
            assert result.as_numpy("prediction").tobytes() == wanted.tobytes()
            assert result.get_response()["id"] == "r-1" and result.get_response()["model_version"] == "1"
        with pytest.raises(Exception, match="unknown model: 'x' is not found"):
            client.infer("x", inputs(False))
        client.close()


def test_curl_reads_its_answers(oj):
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("no curl")
    with oj.serving() as url:
        def run(path, size, *more):
            (oj.cwd / "body").write_bytes(b'{"rows":[]' + b" " * (size - 11) + b"}")
            done = subprocess.run([curl, "-sS", "-w", "\n%{http_code}", "--data-binary", "@body", *more, url + path],
                                  cwd=oj.cwd, capture_output=True, text=True, timeout=60)
            assert done.returncode == 0, done.stderr
            return done.stdout.rsplit("\n", 1)
        limit = 8 << 20
        for more in ((), ("-H", "Expect:")):  # asking first, and writing everything first
            assert run("/v1/fleets/oj/score", limit, *more) == ['{"rows":[]}', "200"]
            text, code = run("/v1/fleets/oj/score", limit + 1, *more)
            assert code == "413" and "larger than the limit" in json.loads(text)["error"]
            assert run("/v1/fleets/oj/score", 10 << 20, *more)[1] == "413"
        done = subprocess.run([curl, "-sSI", url + "/v2"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and "200 OK" in done.stdout


def test_a_thousand_pipelined_requests(oj):
    with oj.serving() as url, connect(url) as s:
        body = json.dumps(infer_body([2], [1], [0.5], [1])).encode()
        head = b"POST /v2/models/oj/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
        writer = threading.Thread(target=s.sendall, args=((head + body) * 1000,))
        writer.start()
        got = b""
        while got.count(b'"data":[11]}]}') < 1000:
            part = s.recv(1 << 16)
            assert part, got[-300:]
            got += part
        writer.join()
        assert got.count(b"HTTP/1.1 200 OK") == 1000


def open_files(process):
    return len(os.listdir(f"/proc/{process.pid}/fd"))


def test_clients_that_leave_at_any_byte_leave_nothing(oj):
    body = json.dumps(infer_body([2], [1], [0.5], [1])).encode()
    request = b"POST /v2/models/oj/infer HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    with server(oj) as (url, process):
        requests.post(f"{url}/v2/models/oj/infer", data=body)
        time.sleep(0.2)
        before = open_files(process)
        for size in range(len(request) + 1):
            for hard in (False, True):
                with connect(url) as s:
                    if hard:  # a reset instead of an end
                        s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    s.sendall(request[:size])
        until = time.monotonic() + 10
        while open_files(process) > before and time.monotonic() < until:
            time.sleep(0.05)
        assert open_files(process) <= before
        assert prediction(requests.post(f"{url}/v2/models/oj/infer", data=body)) == [11]


def test_promoting_while_eight_clients_score(oj):
    make_release(oj, more=1.0)
    row = {"store": 2, "brand": 1, "price": 0.5, "deal": 1}
    stop = threading.Event()

    def client(url):
        seen = set()
        with requests.Session() as http:
            while not stop.is_set():
                answer = http.post(f"{url}/v2/models/oj/infer", json=infer_body([2], [1], [0.5], [1]))
                seen.add((answer.json()["model_version"], *prediction(answer)))
                (scored,) = http.post(f"{url}/v1/fleets/oj/score", json={"rows": [row]}).json()["rows"]
                seen.add((str(scored["model_version"]), scored["prediction"]))
        return seen
    with oj.serving("--serve.reload", "50ms") as url, concurrent.futures.ThreadPoolExecutor(8) as pool:
        clients = [pool.submit(client, url) for _ in range(8)]
        try:
            for i in range(12):
                oj.run("release", "promote", "oj", 1 + i % 2)
                time.sleep(0.1)
        finally:
            stop.set()
        seen = set().union(*(c.result() for c in clients))
    assert {prediction for _, prediction in seen} == {11, 12}


def test_a_model_with_several_outputs(workspace):
    lightgbm = pytest.importorskip("lightgbm")
    rng = np.random.default_rng(7)
    x, y = rng.normal(size=(300, 3)), rng.integers(0, 3, 300)
    booster = lightgbm.train({"objective": "multiclass", "num_class": 3, "verbose": -1, "num_leaves": 5},
                             lightgbm.Dataset(x, y, feature_name=["a", "b", "c"]), 4)
    booster.save_model(workspace.cwd / "m.txt")
    workspace.run("model", "import", "m.txt", "--fleet", "three", "--segment", "")
    workspace.run("release", "create", "three")
    with workspace.serving() as url:
        assert requests.get(f"{url}/v2/models/three").json()["outputs"][0]["shape"] == [-1, 3]
        body = {"inputs": [{"name": "features", "shape": [5, 3], "datatype": "FP64", "data": x[:5].tolist()}]}
        answer = requests.post(f"{url}/v2/models/three/infer", json=body).json()["outputs"][0]
        assert answer["shape"] == [5, 3]
        got = np.array(answer["data"]).reshape(5, 3)
        assert got.tobytes() == booster.predict(x[:5]).tobytes()
        rows = [dict(zip("abc", r)) for r in x[:5].tolist()]
        scored = requests.post(f"{url}/v1/fleets/three/score", json={"rows": rows}).json()["rows"]
        assert np.array([r["prediction"] for r in scored]).tobytes() == got.tobytes()


def told(url):
    """What discovery tells but for the load, which may be another one with each beat."""
    return json.loads(requests.get(url).text, object_hook=lambda o: {key: value for key, value in o.items() if key != "load"})


def test_discovery(oj):
    with oj.serving() as url:
        while "tags" not in requests.get(f"{url}/v1/services").json()["services"][0]["fleets"][0]:
            time.sleep(0.01)  # told once the new server has walked its models
        (service,) = told(f"{url}/v1/services")["services"]
        assert told(f"{url}/v1/services/myriad") == service
        (fleet,) = service["fleets"]
        assert service["name"] == "myriad" and service["model_count"] == 4 and service["health"] == "ready"
        assert fleet["name"] == "oj" and fleet["model_count"] == 4 and fleet["release"] == 1 and fleet["tags"] == []
        assert requests.get(url + fleet["uris"]["metadata"]).json()["name"] == "oj"
        assert [level["model_count"] for level in fleet["levels"]] == [2, 1, 1]
        described = requests.get(f"{url}/v1/fleets/oj").json()
        assert described == {key: value for key, value in fleet.items() if key not in ("aliases", "tags")}


def test_a_port_in_use_is_said(oj):
    with oj.serving() as url:
        code, message = oj.fails("serve", "--listen", url.removeprefix("http://"))
        assert "address in use: choose another --listen" in message


def test_sigterm_answers_what_is_in_flight(oj):
    rows = json.dumps({"rows": [{"store": 2, "brand": 1, "price": i, "deal": 0} for i in range(50000)]}).encode()
    with server(oj) as (url, process), connect(url) as s:
        s.sendall(b"POST /v1/fleets/oj/score HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(rows) + rows[:-1])
        time.sleep(0.1)
        process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        s.sendall(rows[-1:])
        got = b""
        while part := s.recv(1 << 20):
            got += part
        assert got.startswith(b"HTTP/1.1 200 OK") and got.count(b'"prediction"') == 50000
        assert process.wait(30) == 0


def test_the_access_log_is_one_line_whatever_the_path(oj):
    process = subprocess.Popen([oj.path, "serve", "--listen", "127.0.0.1:0", "--serve.access-log", "true"], cwd=oj.cwd, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    url = re.search(r"http://[^ ,\"]+", process.stdout.readline())[0]
    with connect(url) as s:
        s.sendall(b'GET /v2/models/a%0ab%22c"status=200 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
        while s.recv(4096):
            pass
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=30)
    (line,) = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert line["status"] == 404 and line["path"] == '/v2/models/a%0ab%22c"status=200'
