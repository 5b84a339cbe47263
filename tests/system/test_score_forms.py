"""POST /v1/fleets/{fleet}/score in all its forms: JSON, CSV, NDJSON and events, whole and as streams, with real clients."""
import csv
import io
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import threading
import time

import numpy as np
import pandas as pd
import pytest
import requests

from conftest import Program, linear

LINES = {"Content-Type": "application/x-ndjson"}
MODELS = {"store=2,brand=1": 10.0, "brand=1": 100.0, "": 1000.0}


def make(workspace):
    for segment, intercept in MODELS.items():
        (workspace.cwd / "m.json").write_text(linear(["price", "deal"], intercept, [1.0, 0.5]))
        workspace.run("model", "import", "m.json", "--fleet", "oj", "--segment", segment)
    workspace.run("release", "create", "oj")
    return workspace


@pytest.fixture(scope="module")
def url(tmp_path_factory, build):
    workspace = Program(build / "myriad", tmp_path_factory.mktemp("forms"))
    workspace.run("init", ".")
    with make(workspace).serving("--serve.stream-line-bytes-max", "4096") as base:
        yield base


def score(url, data, content_type, accept=None, **params):
    headers = {"Content-Type": content_type} if content_type else {}
    if accept is not None:
        headers["Accept"] = accept
    return requests.post(f"{url}/v1/fleets/oj/score", data=data, headers=headers, params=params, timeout=60)


ROWS = [{"store": 2, "brand": 1, "price": 0.1, "deal": 1}, {"store": 3, "brand": 1, "price": 1 / 3}, {"store": 2, "brand": 9},
        {"store": 2, "brand": 1, "price": None, "deal": True}, {"store": None, "brand": None, "price": 1e300}]
BODIES = {
    "application/json": json.dumps({"rows": ROWS}),
    "application/x-ndjson": "".join(json.dumps(row) + "\n" for row in ROWS),
    "text/csv": "store,brand,price,deal\r\n2,1,0.1,1\r\n3,1,%r,\n2,9,,\n2,1,,True\n,,1e300,\n" % (1 / 3),
}


def read(answer, accept):
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == accept
    if accept == "application/json":
        return answer.json()["rows"]
    if accept == "application/x-ndjson":
        return [json.loads(line) for line in answer.text.splitlines()]
    if accept == "text/csv":
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        return [{**row, "prediction": float(row["prediction"]), "model_version": int(row["model_version"])} for row in rows]
    *events, end, nothing = answer.text.split("\n\n")
    assert nothing == "" and end == 'event: end\ndata: {"rows":%d,"failed":0}' % len(events)
    out = []
    for number, event in enumerate(events, 1):
        first, second, data = event.split("\n")
        assert (first, second) == (f"id: {number}", "event: row")
        out.append(json.loads(data.removeprefix("data: ")))
    return out


@pytest.mark.parametrize("accept", [*BODIES, "text/event-stream"])
@pytest.mark.parametrize("body", BODIES)
def test_every_form_gives_the_same_bits(url, body, accept):
    wanted = read(score(url, BODIES["application/json"], "application/json"), "application/json")
    assert [row["prediction"] for row in wanted] == [10 + 0.1 + 0.5, 100 + 1 / 3, 1000, 10.5, 1e300]
    assert read(score(url, BODIES[body], body, accept), accept) == wanted


@pytest.mark.parametrize("body", BODIES)
def test_the_answer_has_the_form_of_the_body_unless_asked(url, body):
    for accept in ("", "*/*", "text/html, */*;q=0.8", "image/png", "text/csv;q=0", "application/json;q=x"):
        read(score(url, BODIES[body], body, accept), body)
    for accept, form in (("text/csv", "text/csv"), ("TEXT/CSV; charset=utf-8", "text/csv"), ("text/html, application/json", "application/json"),
                         ("application/json;q=0.5, text/csv;q=0.9", "text/csv"), ("text/csv;q=0.5, application/jsonl", "application/x-ndjson")):
        read(score(url, BODIES[body], body, accept), form)


def test_types_of_bodies(url):
    for content_type in (None, "application/json; charset=utf-8", "text/json", "application/x-www-form-urlencoded"):
        read(score(url, BODIES["application/json"], content_type, "application/json"), "application/json")
    for content_type in ("application/jsonl", "application/jsonlines", "application/ndjson"):
        read(score(url, BODIES["application/x-ndjson"], content_type), "application/x-ndjson")
    for content_type in ("application/xml", "text/plain", ";", "text/event-stream", "text/csv2"):
        answer = score(url, "x", content_type)
        assert answer.status_code == 415 and "send application/json, text/csv, application/x-ndjson" in answer.json()["error"]


@pytest.mark.parametrize("content_type, body, message", [
    ("application/json", '{"rows":[{"store":1},{"prise":1}]}', "row 1: fleet 'oj' has no field 'prise': did you mean 'price'?"),
    ("text/csv", "store,prise\n1,2\n", "column 2: fleet 'oj' has no field 'prise': did you mean 'price'?"),
    ("application/x-ndjson", '{"store":1}\n\n{"prise":1}\n', "line 3: fleet 'oj' has no field 'prise': did you mean 'price'?"),
    ("text/csv", "store,price\n1,2\n1,x\n", "line 3: 'price' is \"x\", not a number"),
    ("text/csv", "store,price\n1,2\n1\n", "line 3: 1 cells, the first line names 2 columns"),
    ("text/csv", "store,price\n1,2,3\n", "line 2: 3 cells, the first line names 2 columns"),
    ("text/csv", 'store,price\n1,"2\n\n', "line 2: a quoted cell begins and has no end"),
    ("text/csv", 'store,price\n1,"2"x\n', "line 2: something follows a quoted cell"),
    ("text/csv", 'store,price\n1,2"\n', "line 2: a quote stands in a cell without quotes"),
    ("text/csv", "store,store\n1,2\n", "line 2: 'store' is given twice"),
    ("text/csv", "", "the CSV is empty"),
    ("text/csv", b"store,\xff\n1,2\n", "the CSV is not UTF-8"),
    ("text/csv", "\ufeff\n\nstore,\n1,2\n", "column 2: fleet 'oj' has no field ''"),
    ("application/x-ndjson", '{"store":1}\n[1]\n', "line 2 is not a JSON object"),
    ("application/x-ndjson", '{"store":1,"store":2}\n', 'the key "store" stands twice'),
])
def test_errors_name_their_place(url, content_type, body, message):
    body = body if isinstance(body, bytes) else body.encode()
    answer = score(url, body, content_type, "application/json")
    assert answer.status_code == 400 and message in answer.json()["error"], answer.text


@pytest.mark.parametrize("content_type, body", [
    ("application/json", '{"rows":[{"store":2,"brand":1,"price":1,"other":"x"}]}'),
    ("text/csv", "store,other,brand,price\n2,x,1,1\n"), ("application/x-ndjson", '{"store":2,"brand":1,"price":1,"other":{}}')])
def test_ignoring_what_is_not_known(url, content_type, body):
    assert "has no field 'other'" in score(url, body, content_type, "application/json").text
    assert read(score(url, body, content_type, "application/json", ignore_unknown="true"), "application/json")[0]["prediction"] == 11
    assert "ignore_unknown=maybe is not true or false" in score(url, body, content_type, ignore_unknown="maybe").text


def test_limits_of_rows(url):
    for content_type, head, row in (("text/csv", "store,price\n", "1,2\n"), ("application/x-ndjson", "", "{}\n")):
        answer = score(url, head + row * 65536, content_type, "application/json")
        assert answer.status_code == 200 and len(answer.json()["rows"]) == 65536
        answer = score(url, head + row * 65537, content_type, "application/json")
        assert answer.status_code == 413 and "65536" in answer.json()["error"].replace(",", "")
    assert score(url, "store,price\n", "text/csv").text == "prediction,model,model_version,level,status\n"
    assert score(url, "", "application/x-ndjson").text == ""


def test_statuses_in_csv(url):
    lines = score(url, "store,brand,price\n2.5,1,1\n2,1,1\n", "text/csv").text.splitlines()
    assert lines[1] == ",,,none,bad_key" and lines[2].startswith('11,"oj@store=2,brand=1",1,segment,ok')


def test_pandas_frames_there_and_back(url):
    rng = np.random.default_rng(1)
    frame = pd.DataFrame({"store": rng.choice([2, 3, np.nan], 500), "brand": rng.choice([1, 2], 500),
                          "price": rng.standard_normal(500) * 10.0 ** rng.integers(-300, 300, 500), "deal": rng.choice([True, False], 500)})
    frame.loc[::7, "price"] = np.nan
    wanted = np.select([(frame.brand == 1) & (frame.store == 2), frame.brand == 1], [10.0, 100.0], 1000.0)
    wanted = (wanted + frame.price.fillna(0)) + 0.5 * frame.deal.astype(float)
    csv_answer = pd.read_csv(io.StringIO(score(url, frame.to_csv(index=False), "text/csv").text), float_precision="round_trip")
    lines = score(url, frame.to_json(orient="records", lines=True, double_precision=15), "application/x-ndjson")
    assert csv_answer.prediction.to_numpy().tobytes() == wanted.to_numpy().tobytes()
    assert len(pd.read_json(io.StringIO(lines.text), lines=True)) == 500
    records = json.dumps({"rows": json.loads(frame.to_json(orient="records", double_precision=15))})
    rounded = score(url, records, "application/json").json()["rows"]
    assert [json.loads(line) for line in lines.text.splitlines()] == rounded


# ---- streams ----

class Stream:
    """A request whose body is written bit by bit, over a bare socket."""

    def __init__(self, url, path="/v1/fleets/oj/score", accept="application/x-ndjson", head=""):
        host, port = url.removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=60)
        self.file = self.socket.makefile("rb")
        self.socket.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nAccept: {accept}\r\n"
                            f"Transfer-Encoding: chunked\r\n{head}\r\n".encode())

    def headers(self):
        status = self.file.readline()
        while self.file.readline() != b"\r\n":
            pass
        return int(status.split()[1])

    def send(self, text):
        data = text.encode()
        self.socket.sendall(b"%x\r\n%s\r\n" % (len(data), data))

    def end(self):
        self.socket.sendall(b"0\r\n\r\n")

    def chunk(self):
        size = int(self.file.readline(), 16)
        data = self.file.read(size)
        assert self.file.readline() == b"\r\n"
        return data.decode()

    def close(self):
        self.file.close()
        self.socket.close()


def test_a_row_is_answered_before_the_next_is_sent(url):
    stream = Stream(url)
    assert stream.headers() == 200
    for price in range(200):
        stream.send(json.dumps({"store": 2, "brand": 1, "price": price}) + "\n")
        assert json.loads(stream.chunk())["prediction"] == 10 + price
    stream.send('{"store":2,"brand":1,"pri')  # a row in two pieces
    stream.send('ce":7}\n\n{"store":')
    assert json.loads(stream.chunk())["prediction"] == 17
    stream.send("1}")
    stream.end()
    assert json.loads(stream.chunk())["prediction"] == 1000
    assert stream.chunk() == "" and stream.file.read() == b""
    stream.close()


def test_lines_at_the_limit_and_past_it(url):
    stream = Stream(url)
    stream.headers()
    pad = 4096 - len('{"price":1}\n')
    stream.send('{"price":1' + " " * pad + "}\n")
    assert json.loads(stream.chunk())["prediction"] == 1001
    stream.send('{"price":1' + " " * (pad + 1) + "}\n")
    assert json.loads(stream.chunk()) == {"line": 2, "error": "line 2: longer than serve.stream-line-bytes-max (4096 bytes)"}
    stream.send('{"price":"' + "1" * 100000)
    assert json.loads(stream.chunk())["line"] == 3
    stream.send("1" * 100000)
    stream.send('"}\n{"price":2}\n')
    assert json.loads(stream.chunk())["prediction"] == 1002
    stream.close()


def test_each_kind_of_bad_line(url):
    bad = ["x", '{"prise":1}', "[]", '{"price":"x"}', '{"price":1,"price":2}', "[" * 101, '{"price":NaN}', '{"price":1e999}', "{}{}",
           '"\\ud800"']
    body = "".join(f'{line}\n{{"store":2,"brand":1,"price":{i}}}\n' for i, line in enumerate(bad))
    answers = [json.loads(line) for line in score(url, body.encode() + b'\xff\n{"price":1}', "application/x-ndjson").text.splitlines()]
    assert len(answers) == 2 * len(bad) + 2
    for i, (error, row) in enumerate(zip(answers[:-2:2], answers[1:-2:2])):
        assert error["line"] == 2 * i + 1 and error["error"].startswith(f"line {2 * i + 1}"), error
        assert row["prediction"] == 10 + i and row["status"] == "ok"
    assert answers[-2]["line"] == 2 * len(bad) + 1 and answers[-1]["prediction"] == 1001


def test_refusals_come_at_once(url):
    for path, status, error in (("/v1/fleets/x/score", 404, "unknown model: 'x'"), ("/v1/fleets/oj/score?output=y", 400, "output=y is not known"),
                                ("/v1/fleets/oj/score?ignore_unknown=7", 400, "ignore_unknown=7")):
        stream = Stream(url, path)
        assert stream.headers() == status
        assert error in json.loads(stream.chunk())["error"]
        assert stream.chunk() == "" and stream.file.read() == b""
        stream.close()


def test_every_output_streams(url):
    stream = Stream(url, "/v1/fleets/oj/score?output=contribution&ignore_unknown=1")
    stream.headers()
    stream.send('{"store":2,"brand":1,"price":2,"x":1}\n')
    assert json.loads(stream.chunk())["contribution"] == {"base": 10, "features": {"price": 2, "deal": 0}}
    stream.close()


def test_curl_streams_both_ways(url, tmp_path):
    curl = shutil.which("curl")
    if curl is None:
        pytest.skip("no curl")
    process = subprocess.Popen([curl, "-sSN", "-T", ".", "-X", "POST", "-H", "Content-Type: application/x-ndjson",
                                f"{url}/v1/fleets/oj/score"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    for price in range(20):
        process.stdin.write(b'{"store":2,"brand":1,"price":%d}\n' % price)
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["prediction"] == 10 + price
    rest, _ = process.communicate(timeout=60)
    assert rest == b"" and process.returncode == 0


def test_a_hundred_thousand_rows_pushed(url):
    """Answers are read by another thread: a client that only writes is held back, not lost."""
    count = 100_000
    stream = Stream(url)
    stream.headers()

    def write():
        for start in range(0, count, 1000):
            stream.send("".join(f'{{"store":2,"brand":1,"price":{i}}}\n' for i in range(start, start + 1000)))
        stream.end()
    writer = threading.Thread(target=write)
    writer.start()
    got, tail = 0, ""
    while part := stream.chunk():
        *lines, tail = (tail + part).split("\n")
        for line in lines:
            assert json.loads(line)["prediction"] == 10 + got
            got += 1
    writer.join()
    assert got == count and tail == ""
    stream.close()


def memory_kb(pid):
    text = open(f"/proc/{pid}/status", encoding="ascii").read()
    return int(next(line for line in text.splitlines() if line.startswith("VmRSS")).split()[1])


def started(workspace, *args):
    process = subprocess.Popen([workspace.path, "serve", "--listen", "127.0.0.1:0", *args], cwd=workspace.cwd, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ})
    return "http://" + process.stdout.readline().split("http://")[1].split(",")[0].split()[0], process


def stopped(process):
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and "Sanitizer" not in errors, errors


def test_who_does_not_read_is_not_read(workspace):
    """32 clients push and never read: each is stopped by its own full socket, and the server's memory does not follow them."""
    url, process = started(make(workspace), "--serve.body-timeout", "10s")
    line = '{"store":2,"brand":1,"price":1}\n' * 500
    streams = [Stream(url) for _ in range(32)]
    before = memory_kb(process.pid)
    for stream in streams:
        stream.socket.settimeout(0.5)
        with pytest.raises((TimeoutError, BrokenPipeError, ConnectionResetError)):  # held back, or so long that it was cut
            for _ in range(10_000):
                stream.send(line)
    grown = memory_kb(process.pid) - before
    assert grown < 64 * 1024, f"{grown} kB for 32 streams"
    assert score(url, BODIES["text/csv"], "text/csv").status_code == 200
    until = time.monotonic() + 60  # after serve.body-timeout they are cut
    for stream in streams:
        while stream.socket.fileno() >= 0 and time.monotonic() < until:
            try:
                stream.socket.send(b"x" * 10)
                time.sleep(0.05)
            except (BrokenPipeError, ConnectionResetError, TimeoutError) as error:
                if not isinstance(error, TimeoutError):
                    break
        stream.close()
    assert time.monotonic() < until
    stopped(process)


def test_idle_and_stopping_streams_hear_why(workspace):
    url, process = started(make(workspace), "--serve.stream-idle-timeout", "1s")
    for accept, wrap in (("application/x-ndjson", "%s\n"), ("text/event-stream", "event: error\ndata: %s\n\n")):
        stream = Stream(url, accept=accept)
        stream.headers()
        for _ in range(3):  # each row is a new start
            stream.send('{"store":2,"brand":1,"price":1}\n')
            assert '"prediction":11' in stream.chunk()
            time.sleep(0.5)
        assert stream.chunk() == wrap % '{"error":"nothing came for serve.stream-idle-timeout: the stream ends"}'
        assert stream.chunk() == "" and stream.file.read() == b""
        stream.close()
    stream = Stream(url)
    stream.headers()
    stream.send('{"store":2,"brand":1,"price":1}\n')
    assert '"prediction":11' in stream.chunk()
    process.send_signal(signal.SIGTERM)
    assert "the server is stopping" in stream.chunk() and stream.chunk() == ""
    stream.close()
    stopped(process)


def test_clients_that_leave_their_streams_leave_nothing(workspace):
    url, process = started(make(workspace))

    def open_files():
        return len(os.listdir(f"/proc/{process.pid}/fd"))
    score(url, BODIES["text/csv"], "text/csv")
    time.sleep(0.2)
    before = open_files()
    for hard in (False, True):
        for rows in range(60):
            stream = Stream(url)
            if hard:
                stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            stream.send('{"store":2,"brand":1,"price":1}\n' * rows * 20)
            stream.close()
    until = time.monotonic() + 10
    while open_files() > before and time.monotonic() < until:
        time.sleep(0.05)
    assert open_files() <= before
    stopped(process)


def test_a_release_moves_under_a_stream(workspace):
    """Rows of one stream are answered by the release of their moment."""
    url, process = started(make(workspace), "--serve.reload", "50ms")
    stream = Stream(url)
    stream.headers()

    def ask():
        stream.send('{"store":2,"brand":1,"price":1}\n')
        return json.loads(stream.chunk())["prediction"]
    assert ask() == 11
    (workspace.cwd / "m.json").write_text(linear(["price", "deal"], 20.0, [1.0, 0.5]))
    workspace.run("model", "import", "m.json", "--fleet", "oj", "--segment", "store=2,brand=1")
    workspace.run("release", "create", "oj")
    until = time.monotonic() + 20
    while ask() == 11 and time.monotonic() < until:
        time.sleep(0.02)
    assert ask() == 21
    stream.close()
    stopped(process)
