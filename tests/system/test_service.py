"""The service file and the stages of a request, as docs/service.md promises them."""
import contextlib
import json
import os
import re
import sqlite3
import subprocess
import threading
import time

import pytest
import requests

from conftest import PATIENT, ROOT, linear


def test_the_example_of_a_service(workspace):
    """examples/oj/service.yaml, on a fleet with the columns of examples/oj: what docs/service.md says of each key."""
    features = ["week", *(f"price{i}" for i in range(1, 12)), "deal", "feat"]
    files = []
    for segment, intercept in (("store=2,brand=1", 20.0), ("brand=1", 8.0), ("", 9.0)):
        path = workspace.cwd / f"m{len(files)}.json"
        path.write_text(linear(features, intercept, [0.0] * 12 + [1.0, 1.0]))
        files.append(path)
        workspace.run("model", "import", path, "--fleet", "oj", "--segment", segment)
    workspace.run("release", "create", "oj")
    row = {"store": 2, "brand": 1, "week": 1, **{f"price{i}": 0.05 for i in range(1, 12)}, "deal": 1, "feat": 0.5}
    with workspace.serving("--service", ROOT / "examples/oj/service.yaml") as url:
        rows = [row, {**row, "brand": 3}, {**row, "price1": 0.5}, {**row, "feat": 7}, {**row, "deal": 2}, {**row, "price1": None}]
        answer = requests.post(f"{url}/v1/fleets/oj/score", json={"rows": rows}, timeout=60)
    got = [(r["status"], r["level"], r["prediction"], r.get("message")) for r in answer.json()["rows"]]
    assert "infer;dur=" in answer.headers["Server-Timing"]
    assert got[0] == ("ok", "parent", 9.5, "the prediction is 21.5, above 15")
    assert got[1][0] == "no_model" and "not in the groups" in got[1][3]
    assert got[2] == ("rejected", "segment", None, "'price1' is 0.5, above 0.2")
    assert got[3][:3] == ("ok", "parent", 10.0)
    assert got[4][0] == "rejected" and got[5][3] == "'price1' is missing"


def test_a_service_file_that_is_wrong_ends_the_start(workspace):
    (workspace.cwd / "s.yaml").write_text("fleets:\n  oj:\n    dedline: 1s\n")
    code, message = workspace.fails("serve", "--listen", "127.0.0.1:0", "--service", "s.yaml")
    assert code == 65 and "s.yaml:3:5: unknown key 'dedline': did you mean 'deadline'?" in message
    code, message = workspace.fails("serve", "--listen", "127.0.0.1:0", "--service", "none.yaml")
    assert code == 66 and "none.yaml" in message


def test_rows_by_group_in_the_metrics(workspace):
    """Of up to 512 groups; the others are one, and all of it stays small."""
    (workspace.cwd / "m.json").write_text(linear(["price"]))
    workspace.run("model", "import", "m.json", "--fleet", "oj", "--segment", "")
    workspace.run("model", "import", "m.json", "--fleet", "oj", "--segment", "store=1,brand=1")
    workspace.run("release", "create", "oj")
    (workspace.cwd / "s.yaml").write_text("fleets:\n  oj:\n    groups: [%s]\n" % ", ".join(f"store={i}" for i in range(1024)))
    with workspace.serving("--service", "s.yaml") as url:
        rows = [{"store": store, "brand": 1, "price": 1} for store in (0, 511, 511, 512, 1023, 1024)]
        answer = requests.post(f"{url}/v1/fleets/oj/score", json={"rows": rows}, timeout=60).json()["rows"]
        assert [row["status"] for row in answer] == ["ok"] * 5 + ["no_model"]
        text = requests.get(f"{url}/metrics", timeout=60).text
    found = dict(re.findall(r'myriad_group_rows_total\{fleet="oj",group="([^"]+)"\} (\d+)', text))
    assert len(found) == 513 and len(text) < 100_000
    assert [found[name] for name in ("store=0", "store=1", "store=511", "_other")] == ["1", "0", "2", "2"]


STAGES = """\
name: all
fleets:
  oj:
    fetch:
      - {from: "sqlite:features.db", table: prices, keys: [store, brand], features: [price, deal], max_age: 1h, within: 30s,
         on_miss: default, defaults: {price: 1, deal: 0}}
    validate:
      inputs: {price: {min: 0, max: 100}}
      output: {min: 0, max: 2000, on_violation: clamp}
    rules: rules.lua
    store: {to: "sqlite:predictions.db", when: before_answer}
server_timing: true
"""

RULES = """\
function run(row, prediction)
  if row.deal == 1 then
    prediction.value = prediction.value * 2
    prediction.fields.doubled = true
  end
end
"""


@pytest.fixture
def staged(workspace):
    """A fleet with its features in SQLite, and a service file with every stage."""
    for segment, intercept in (("store=2,brand=1", 10.0), ("brand=1", 100.0), ("", 1000.0)):
        (workspace.cwd / "m.json").write_text(linear(["price", "deal"], intercept, [1.0, 0.5]))
        workspace.run("model", "import", "m.json", "--fleet", "oj", "--segment", segment)
    workspace.run("release", "create", "oj")
    (workspace.cwd / "prices.csv").write_text("store,brand,price,deal\n2,1,5,0\n3,1,7,1\n")
    workspace.run("features", "load", "prices.csv", "--to", "sqlite:features.db", "--table", "prices", "--keys", "store,brand")
    (workspace.cwd / "rules.lua").write_text(RULES)
    (workspace.cwd / "s.yaml").write_text(STAGES)
    return workspace


def stored(workspace):
    with contextlib.closing(sqlite3.connect(workspace.cwd / "predictions.db")) as db:
        return db.execute("select key, value, features, release, model, level, produced_ms from prediction order by prediction_id").fetchall()


def test_one_request_through_all_stages(staged):
    """decode -> fetch -> resolve -> infer -> validate -> rules -> store -> encode, and what lies in the store afterwards."""
    rows = [{"store": 2, "brand": 1}, {"store": 3, "brand": 1}, {"store": 9, "brand": 1, "deal": 0}, {"store": 2, "brand": 1, "price": -1},
            {"store": 2, "brand": 9, "price": 99}]
    before = time.time_ns() // 1_000_000
    with staged.serving("--service", "s.yaml") as url:
        answer = requests.post(f"{url}/v1/fleets/oj/score", json={"rows": rows}, timeout=60)
        got = [(r["prediction"], r["level"], r["status"]) for r in answer.json()["rows"]]
        assert got == [(15.0, "segment", "ok"), (215.0, "parent", "ok"), (101.0, "parent", "ok"), (None, "segment", "rejected"),
                       (1099.0, "global", "ok")]
        assert answer.json()["rows"][1]["doubled"] is True
        for stage in ("queue", "decode", "fetch", "infer", "validate", "rules", "store", "encode"):
            assert f"{stage};dur=" in answer.headers["Server-Timing"], stage
        after = stored(staged)  # while the server runs: it is durable when it is answered
        metrics = requests.get(f"{url}/metrics", timeout=60).text
    assert 'myriad_stage_duration_seconds_count{fleet="oj",stage="store"} 1' in metrics
    assert [(key, value, model, level) for key, value, _, _, model, level, _ in after] == [
        ("store=2,brand=1", 15.0, "oj@store=2,brand=1", "segment"), ("store=3,brand=1", 215.0, "oj@brand=1", "parent"),
        ("store=9,brand=1", 101.0, "oj@brand=1", "parent"), ("store=2,brand=9", 1099.0, "oj@", "global")]
    assert json.loads(after[1][2]) == {"price": 7, "deal": 1} and after[0][3] == 1 and all(before <= r[6] <= before + 120_000 for r in after)


def test_predict_goes_through_the_same_stages(staged):
    """`myriad predict --service`: what the server answers, row by row, and nothing is stored."""
    rows = [{"store": 2, "brand": 1}, {"store": 3, "brand": 1}, {"store": 9, "brand": 1, "deal": 0}, {"store": 2, "brand": 9, "price": 99}]
    with staged.serving("--service", "s.yaml") as url:
        wanted = requests.post(f"{url}/v1/fleets/oj/score", json={"rows": rows}, timeout=60).json()["rows"]
    count = len(stored(staged))
    got = [staged.json("predict", "oj", "--row", json.dumps(row), "--service", "s.yaml") for row in rows]
    assert got == wanted and len(stored(staged)) == count
    assert [row["prediction"] for row in got] == [15, 215, 101, 1099]
    assert staged.json("predict", "oj", "--row", json.dumps(rows[1]))["prediction"] == 100, "without the file: the model alone"
    text = staged.run("predict", "oj", "--row", json.dumps(rows[1]), "--service", "s.yaml").stdout
    assert "prediction 215" in text and "doubled    true" in text and "level      parent" in text
    code, message = staged.fails("predict", "oj", "--row", '{"store":2,"brand":1,"price":-1}', "--service", "s.yaml")
    assert code == 65 and "rejected: 'price' is -1, below 0" in message
    for args, said in ((("--service", "none.yaml"), "none.yaml"), (("--service", "s.yaml", "--release", "1"), "leave out --release")):
        assert said in staged.fails("predict", "oj", "--row", "{}", *args)[1]
    assert "unknown model: 'x'" in staged.fails("predict", "x", "--row", "{}", "--service", "s.yaml")[1]
    assert "did you mean 'price'" in staged.fails("predict", "oj", "--row", '{"prise":1}', "--service", "s.yaml")[1]


def test_nothing_that_was_answered_is_lost(staged):
    """Many clients, then SIGKILL: each prediction that was answered as durable is in the store, once per idempotency key."""
    server = subprocess.Popen([staged.path, "serve", "--listen", "127.0.0.1:0", "--service", "s.yaml"], cwd=staged.cwd, text=True,
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**PATIENT, **os.environ})
    url = re.search(r"http://[^ ,\"]+", server.stdout.readline())[0]
    answered, lock = [], threading.Lock()

    def ask(client):
        session = requests.Session()
        for i in range(10_000):
            key = client * 10_000 + i
            try:
                answer = session.post(f"{url}/v1/fleets/oj/score", json={"rows": [{"store": key, "brand": 1, "price": 1, "deal": 0}]},
                                      headers={"Idempotency-Key": f"k{key}"}, timeout=60)
            except requests.RequestException:
                return
            if answer.status_code == 200:
                with lock:
                    answered.append(key)

    clients = [threading.Thread(target=ask, args=(i,)) for i in range(8)]
    for thread in clients:
        thread.start()
    while len(answered) < 200:
        time.sleep(0.01)
    server.kill()
    server.wait()
    for thread in clients:
        thread.join()
    keys = [row[0] for row in stored(staged)]
    assert len(keys) == len(set(keys)) and len(answered) >= 200
    assert {f"store={key},brand=1" for key in answered} <= set(keys)
    with staged.serving("--service", "s.yaml") as url:  # asked again: the same answer, nothing stored twice
        key = answered[0]
        answer = requests.post(f"{url}/v1/fleets/oj/score", json={"rows": [{"store": key, "brand": 1, "price": 1, "deal": 0}]},
                               headers={"Idempotency-Key": f"k{key}"}, timeout=60)
        assert answer.headers["Idempotency-Replayed"] == "true" and answer.json()["rows"][0]["prediction"] == 101.0
    assert len(stored(staged)) == len(keys)
