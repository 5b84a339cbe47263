"""Clients of other servers, unmodified: MLflow's scoring client, curl, a browser."""
import asyncio
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import time

import numpy as np
import pandas as pd
import pytest
import requests

from conftest import Program, linear

MODELS = {"store=2,brand=1": 10.0, "brand=1": 100.0, "": 1000.0}


def make(workspace, fleet="oj", segments=MODELS, more=0.0):
    for segment, intercept in segments.items():
        (workspace.cwd / "m.json").write_text(linear(["price", "deal"], intercept + more, [1.0, 0.5]))
        workspace.run("model", "import", "m.json", "--fleet", fleet, "--segment", segment)
    workspace.run("release", "create", fleet)
    return workspace


@pytest.fixture(scope="module")
def url(tmp_path_factory, build):
    workspace = Program(build / "myriad", tmp_path_factory.mktemp("compat"))
    workspace.run("init", ".")
    with make(workspace).serving() as base:
        yield base


FRAME = pd.DataFrame({"store": [2, 3, 2], "brand": [1, 1, 9], "price": [0.5, np.nan, 1 / 3], "deal": [True, False, True]})
WANTED = [11.0, 100.0, 1000 + 1 / 3 + 0.5]


def test_mlflows_own_client(url):
    client_lib = pytest.importorskip("mlflow.pyfunc.scoring_server.client")
    client = client_lib.ScoringServerClient("127.0.0.1", int(url.rsplit(":", 1)[1]))
    client.ping()
    client.wait_server_ready(timeout=5)
    assert client.get_version()
    for params in (None, {"temperature": 0.5}):
        answer = client.invoke(FRAME, params)
        assert answer.get_predictions()[0].tolist() == WANTED
    assert client.invoke(np.array([[2, 1, 0.5, 1.0]])).get_predictions()[0].tolist() == [11]
    with pytest.raises(Exception, match="did you mean 'price'"):
        client.invoke(FRAME.rename(columns={"price": "prise"}))


def invoke(url, body, content_type="application/json", **kwargs):
    data = body if isinstance(body, (str, bytes)) else json.dumps(body)
    return requests.post(f"{url}/invocations", data=data, headers={"Content-Type": content_type} if content_type else {}, timeout=60, **kwargs)


BODIES = [
    {"dataframe_split": {"columns": ["price", "deal", "brand", "store"], "index": [5], "data": [[0.5, True, 1, 2]]}},
    {"dataframe_records": [{"store": 2, "brand": 1, "price": 0.5, "deal": 1}]}, {"instances": [{"store": 2, "brand": 1, "price": 0.5, "deal": 1}]},
    {"instances": [[2, 1, 0.5, 1]], "signature_name": "serving_default"}, {"inputs": [[2, 1, 0.5, 1]], "params": {}},
    {"inputs": {"store": [2], "brand": ["1"], "price": [0.5], "deal": [1.0]}}, {"inputs": {"store": 2, "brand": 1, "price": 0.5, "deal": True}},
    {"inputs": {"columns": ["store", "brand", "price", "deal"], "data": [[2, 1, 0.5, 1]]}},
]


@pytest.mark.parametrize("body", BODIES)
def test_every_form_of_an_invocation(url, body):
    answer = invoke(url, body)
    assert (answer.status_code, answer.text) == (200, '{"predictions":[11]}'), answer.text
    answer = invoke(url, body, "application/json; charset=utf-8")
    assert answer.json() == {"predictions": [11]}


def test_invocations_as_csv_and_with_nan(url):
    answer = invoke(url, FRAME.to_csv(index=False), "text/csv")
    assert answer.json() == {"predictions": WANTED}
    assert invoke(url, '{"inputs":{"store":[2,NaN],"brand":[1,1],"price":[NaN,1],"deal":[1,0]}}').json() == {"predictions": [10.5, 101]}
    assert invoke(url, {"dataframe_records": []}).json() == {"predictions": []}


def test_rows_that_have_no_prediction_say_so(url):
    answer = invoke(url, {"dataframe_records": [{"store": 2, "brand": 1, "price": 1}, {"store": 2.5}]})
    assert answer.json() == {"predictions": [11, None], "statuses": ["ok", "bad_key"]}


@pytest.mark.parametrize("body, status, message", [
    ("{}", 400, "no rows: expected exactly one of 'dataframe_split', 'dataframe_records', 'instances' and 'inputs'"),
    ('{"inputs":[],"instances":[]}', 400, "both 'inputs' and 'instances'"), ('{"rows":[]}', 400, "unknown field 'rows'"),
    ("[]", 400, "the request is an array, not an object"), ("x", 400, "not JSON"), ("", 400, "empty"),
    ('{"dataframe_split":[]}', 400, "'dataframe_split' is not {\"columns\""), ('{"dataframe_records":{}}', 400, "is an object, not an array of rows"),
    ('{"dataframe_split":{"columns":["x"],"data":[]}}', 400, "column 0: fleet 'oj' has no field 'x'"),
    ('{"dataframe_split":{"columns":[1],"data":[]}}', 400, "column 0 is an integer, not a name"),
    ('{"dataframe_split":{"columns":["price"],"data":[[1,2]]}}', 400, "row 0 is an array of 2 values, not an array of 1"),
    ('{"instances":[[1,2]]}', 400, "row 0 is an array of 2 values, not an array of 4"), ('{"instances":[1]}', 400, "row 0 is an integer, not an object"),
    ('{"inputs":{"price":[1,2],"deal":[1]}}', 400, "column 'deal' has 1 values, the first has 2"),
    ('{"inputs":{"price":[1,2],"deal":1}}', 400, "column 'deal' is an integer, not an array of 2"), ('{"inputs":3}', 400, "'inputs' is an integer"),
    ('{"dataframe_records":[' + ",".join(["{}"] * 65537) + "]}", 413, "65537 rows"),
])
def test_bad_invocations(url, body, status, message):
    answer = invoke(url, body)
    assert answer.status_code == status and message in answer.json()["message"] == answer.json()["error"], answer.text
    assert answer.json()["error_code"] in ("BAD_INPUT", "TOO_LARGE")


def test_types_of_invocations(url):
    for content_type in (None, "application/x-ndjson", "text/plain", "application/x-www-form-urlencoded", "text/json"):
        assert invoke(url, "{}", content_type).status_code == 415, content_type
    assert invoke(url, {"dataframe_records": [{"x": 1}]}, params={"ignore_unknown": "true"}).status_code == 200
    for path in ("/ping", "/health"):
        assert (requests.get(url + path).status_code, requests.get(url + path).text) == (200, "\n")
    assert requests.get(url + "/version").text == requests.get(url + "/v2").json()["version"]


def test_azure(url):
    assert requests.get(url + "/").text == "Healthy"
    for body in ({"input_data": {"columns": ["store", "brand", "price", "deal"], "index": [0], "data": [[2, 1, 0.5, 1]]}}, {"data": [[2, 1, 0.5, 1]]},
                 {"data": [{"store": 2, "brand": 1, "price": 0.5, "deal": 1}]}, {"input_data": {"store": [2], "brand": [1], "price": [0.5], "deal": [1]}}):
        answer = requests.post(f"{url}/score", json=body, headers={"azureml-model-deployment": "champion", "x-ms-client-request-id": "a" * 100})
        assert (answer.status_code, answer.text) == (200, "[11]"), answer.text
        assert answer.headers["azureml-model-deployment"] == "champion" and answer.headers["x-ms-client-request-id"] == "a" * 100
    answer = requests.post(f"{url}/score", json={"data": []}, headers={"x-ms-client-request-id": "a" * 101})
    assert answer.status_code == 431 and "at most 100" in answer.json()["message"]
    answer = requests.post(f"{url}/score", json={"data": []}, headers={"azureml-model-deployment": "green"})
    assert answer.status_code == 404 and "green" in answer.json()["message"]
    answer = requests.post(f"{url}/score", json={"data": [{"store": 2.5}]})
    assert answer.status_code == 400 and "row 0 (store=2.5" in answer.json()["message"]
    assert requests.post(f"{url}/score", data=FRAME.to_csv(index=False), headers={"Content-Type": "text/csv"}).json() == WANTED


def test_which_fleet_is_the_default(workspace):
    make(make(workspace), "other", {"": 5.0})
    ask = {"dataframe_records": [{"price": 1}]}
    with workspace.serving() as url:
        answer = invoke(url, ask)
        assert answer.status_code == 404 and "2 fleets are served and none is the default" in answer.json()["message"]
        assert requests.get(url + "/ping").status_code == 404 and requests.get(url + "/").status_code == 200
    for name, wanted in (("oj", 1001), ("other", 6)):
        (workspace.cwd / "service.yaml").write_text(f"default: {name}\n")
        with workspace.serving("--service", "service.yaml") as url:
            assert invoke(url, ask).json() == {"predictions": [wanted]}


# ---- a browser ----

SCRIPT = """
(async () => {
  const body = '{"store":2,"brand":1,"price":0.5,"deal":1}\\n{"prise":1}\\n{"store":2,"brand":9}\\n';
  const answer = await fetch('/v1/fleets/oj/score', {method: 'POST', body, headers: {
    'Content-Type': 'application/x-ndjson', 'Accept': 'text/event-stream'}});
  const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = '';
  for (;;) { const {done, value} = await reader.read(); if (done) break; text += value; }
  return JSON.stringify({status: answer.status, type: answer.headers.get('Content-Type'), text});
})()
"""


@contextlib.contextmanager
def chromium(tmp_path, page):
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium")
    process = subprocess.Popen([path, "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                                "--disable-background-networking", "--disable-component-update", "--disable-sync", "--remote-debugging-port=0",
                                "--remote-allow-origins=*", f"--user-data-dir={tmp_path}/chromium", page],
                               stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env={**os.environ, "HOME": str(tmp_path)})
    try:
        until = time.monotonic() + 60
        for line in process.stderr:
            match = re.search(r"DevTools listening on ws://([^/]+)/", line)
            if match:
                yield match[1]
                return
            assert time.monotonic() < until, "chromium does not start"
        pytest.fail("chromium ended")
    finally:
        process.terminate()
        process.wait(timeout=30)


async def evaluate(debugger, script):
    aiohttp = pytest.importorskip("aiohttp")
    async with aiohttp.ClientSession() as session:
        page = None
        for _ in range(200):
            async with session.get(f"http://{debugger}/json/list") as answer:
                pages = [p for p in await answer.json(content_type=None) if p["type"] == "page" and p["url"].startswith("http://127.0.0.1")]
            if pages:
                page = pages[0]
                break
            await asyncio.sleep(0.1)
        async with session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as socket_:
            for _ in range(200):  # listed does not mean loaded: until then fetch has no server to ask
                ready = await run_script(socket_, "location.protocol == 'http:' && document.readyState == 'complete'")
                if ready.get("result", {}).get("result", {}).get("value") is True:
                    break
                await asyncio.sleep(0.1)
            answer = await run_script(socket_, script)
            assert "value" in answer.get("result", {}).get("result", {}), answer
            return answer["result"]["result"]["value"]


async def run_script(socket_, script):
    await socket_.send_json({"id": 1, "method": "Runtime.evaluate", "params": {"expression": script, "awaitPromise": True}})
    async for message in socket_:
        data = json.loads(message.data)
        if data.get("id") == 1:
            return data


def test_a_browser_reads_events(url, tmp_path):
    with chromium(tmp_path, url + "/v2") as debugger:
        got = json.loads(asyncio.run(asyncio.wait_for(evaluate(debugger, SCRIPT), 60)))
    assert (got["status"], got["type"]) == (200, "text/event-stream")
    events = got["text"].split("\n\n")
    assert [event.split("\n")[0] for event in events] == ["id: 1", "id: 2", "id: 3", "event: end", ""]
    assert '"prediction":11' in events[0] and "did you mean 'price'" in events[1] and events[1].split("\n")[1] == "event: error"
    assert events[3] == 'event: end\ndata: {"rows":3,"failed":1}'
