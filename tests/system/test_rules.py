"""The stage rules over a real server: docs/rules.md and docs/service.md as they are promised."""
import contextlib
import json
import re
import signal
import subprocess
import threading
import time

import pytest
import requests

from conftest import ROOT, linear

SEGMENTS = {"store=2,brand=1": 10.0, "brand=1": 8.0, "": 9.0}


@pytest.fixture
def oj(workspace):
    """prediction = intercept + price; no model of its own but for store=2,brand=1."""
    for segment, intercept in SEGMENTS.items():
        path = workspace.cwd / "m.json"
        path.write_text(linear(["price", "feat"], intercept, [1.0, 0.0]))
        workspace.run("model", "import", path, "--fleet", "oj", "--segment", segment)
    workspace.run("release", "create", "oj")
    return workspace


def write_rules(program, text, more=""):
    (program.cwd / "rules.lua").write_text(text)
    (program.cwd / "s.yaml").write_text(f"fleets:\n  oj:\n    rules: rules.lua\n{more}")


@contextlib.contextmanager
def serving(program, *args):
    """A server; gives its URL and a list of the lines that it logs."""
    process = subprocess.Popen([program.path, "serve", "--listen", "127.0.0.1:0", "--service", "s.yaml", "--serve.reload", "200ms",
                                *args], cwd=program.cwd, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    lines = []
    reader = threading.Thread(target=lambda: lines.extend(process.stderr), daemon=True)
    first = process.stdout.readline()
    reader.start()
    try:
        yield re.search(r"http://[^ ,\"]+", first)[0], lines
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        reader.join(10)
    log = "".join(lines)
    assert process.returncode == 0 and "Sanitizer" not in log, log


def score(url, *rows, **params):
    answer = requests.post(f"{url}/v1/fleets/oj/score", json={"rows": rows}, params=params, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()["rows"]


def infer(url, model="oj", **inputs):
    tensors = [{"name": name, "shape": [1], "datatype": "INT64" if name in ("store", "brand") else "FP64", "data": [value]}
               for name, value in inputs.items()]
    return requests.post(f"{url}/v2/models/{model}/infer", json={"inputs": tensors}, timeout=60)


def row(store=2, brand=1, price=0.5, feat=0.0):
    return {"store": store, "brand": brand, "price": price, "feat": feat}


def test_an_answer_is_changed_refused_and_added_to(oj):
    write_rules(oj, """
        function run(row, prediction)
            if row.price == 7 then refuse("no stock in store " .. row.store, "no_stock") end
            if row.price == 8 then refuse("too dear") end
            prediction.fields.band = prediction.value > 10 and "high" or 'lo"w'
            prediction.fields.n, prediction.fields.promoted = 2.5, row.feat == 1
            prediction.value = math.min(prediction.value, 10.25)
        end
    """)
    with serving(oj) as (url, _):
        answers = score(url, row(), row(price=7), row(brand=3, price=-1), row(price=8))
        assert answers[0] == {"prediction": 10.25, "model": "oj@store=2,brand=1", "model_version": 1, "level": "segment", "status": "ok",
                              "promoted": False, "n": 2.5, "band": "high"}
        assert answers[1]["status"] == "no_stock" and answers[1]["message"] == "no stock in store 2"
        assert answers[1]["prediction"] is None and answers[1]["model"] == "oj@store=2,brand=1"
        assert answers[2]["prediction"] == 8.0 and answers[2]["band"] == 'lo"w' and answers[2]["level"] == "global"
        assert answers[3]["status"] == "refused" and answers[3]["message"] == "too dear"
        # V2 has the values alone; a row that is refused is the error of its request
        assert infer(url, **row()).json()["outputs"][0]["data"] == [10.25]
        refused = infer(url, **row(price=7))
        assert refused.status_code == 400 and "row 0: no stock in store 2" in refused.json()["error"]
        # what is not the value stays the model's; who is refused is refused
        margin = score(url, row(), row(price=7), output="margin")
        assert margin[0]["margin"] == 10.5 and margin[0]["band"] == "high" and "prediction" not in margin[0]
        assert margin[1]["margin"] is None and margin[1]["status"] == "no_stock"
        # a model that is named: row has the keys of its segment
        named = infer(url, "oj@store=2,brand=1", price=7.0, feat=0.0)
        assert named.status_code == 400 and "no stock in store 2" in named.json()["error"]
        assert infer(url, "oj@store=2,brand=1", price=0.5, feat=0.0).json()["outputs"][0]["data"] == [10.25]
        assert "myriad_stage_duration_seconds" in (metrics := requests.get(f"{url}/metrics", timeout=60).text)
        assert 'stage="rules"' in metrics
        timed = requests.post(f"{url}/v1/fleets/oj/score", json={"rows": [row()]}, headers={"X-Server-Timing": "1"}, timeout=60)
        assert "rules;dur=" in timed.headers["Server-Timing"]


def test_another_model_is_chosen(oj):
    write_rules(oj, """
        function run(row, prediction)
            local f = row.feat
            prediction.fields.seen = (prediction.fields.seen or 0) + 1
            if f == 1 and prediction.level == "segment" then choose_level("parent") end
            if f == 2 and prediction.level ~= "global" then choose_level("global") end
            if f == 3 and prediction.level ~= "parent" then choose_model("brand=1") end
            if f == 4 then choose_model("brand=77") end
            if f == 5 then choose_level("global") end
            if f == 6 then choose_model("") end
        end
    """)
    with serving(oj) as (url, _):
        got = [(a["prediction"], a["level"], a["status"]) for a in score(url, *(row(feat=f) for f in range(4)))]
        assert got == [(10.5, "segment", "ok"), (8.5, "parent", "ok"), (9.5, "global", "ok"), (8.5, "parent", "ok")]
        absent, endless, also = score(url, row(feat=4), row(feat=5), row(feat=6))
        assert absent["status"] == "failed" and "brand=77" in absent["message"]
        assert endless["status"] == also["status"] == "failed" and "again and again" in endless["message"]
        named = infer(url, "oj@store=2,brand=1", price=0.5, feat=1.0)
        assert named.status_code == 500 and "the request has named one" in named.json()["error"]
        many = score(url, *(row(feat=i % 4) for i in range(2000)))  # on a compute thread
        assert [(a["prediction"], a["status"]) for a in many] == [(got[i % 4][0], "ok") for i in range(2000)]


def test_chosen_levels_are_those_of_the_service_file(oj):
    write_rules(oj, "function run(row, p) if p.level == 'segment' then choose_level(row.feat == 1 and 'parent' or 'global') end end",
                "    fallback: [segment, parent]\n")
    with serving(oj) as (url, _):
        fine, out = score(url, row(price=-1.5, feat=1), row(price=-1.5))
        assert (fine["prediction"], fine["level"]) == (6.5, "parent")
        assert out["status"] == "failed" and "'fallback' of the service file leaves out" in out["message"]


def test_what_the_chosen_model_says_is_validated(oj):
    write_rules(oj, "function run(row, p) if p.level == 'segment' then choose_level('global') end end",
                "    validate: {output: {min: 9.5, on_violation: fallback}}\n")
    with serving(oj) as (url, _):
        (fine,) = score(url, row(price=0.5))
        (low,) = score(url, row(price=0.25))
        assert (fine["prediction"], fine["status"]) == (9.5, "ok")
        assert low["status"] == "rejected" and "9.25" in low["message"]


BAD = {"function run(row) return row.prise end": "rules.lua:1: row has no column 'prise': is 'price' meant?",
       "function run(row)\n  return nothing.x\nend": "rules.lua:2: variable 'nothing' is not defined",
       "function run(row) return {1, 2, 3} end": "prediction.value is set to a table",
       "function run(row) return 0/0 end": "nan",
       "function run(row) return 1, 2 end": "gave back 2 values",
       "function run(row) local t = {} t[1] = t return t end": "set to a table",
       "function run(row) local t = {} while true do t[#t + 1] = {} end end": "of memory",
       "function run(row) return ('x'):rep(1e9) end": "rep makes more than 65536 bytes",
       "function run(row) return os.execute('true') end": "'os' is not there",
       "function run(row) return load('return 1')() end": "'load' is not there"}


@pytest.mark.parametrize("text", BAD)
def test_a_row_that_fails_concerns_no_other(oj, text):
    write_rules(oj, text.replace("function run(row)", "function run(row, p) if row.feat == 1 then return 1.5 end", 1))
    with serving(oj, "--serve.deadline", "5s") as (url, _):
        fine, failed, also = score(url, row(feat=1), row(), row(feat=1))
        assert fine["prediction"] == also["prediction"] == 1.5
        assert failed["status"] == "failed" and failed["prediction"] is None and BAD[text] in failed["message"], failed
        answer = infer(url, **row())
        assert answer.status_code == 500 and BAD[text] in answer.json()["error"]
        assert infer(url, **row(feat=1)).json()["outputs"][0]["data"] == [1.5]


@pytest.mark.parametrize("loop", ["while true do end", "while true do pcall(function() while true do end end) end",
                                  "return string.find(('a'):rep(40), ('a*'):rep(40) .. 'b')"])
def test_an_endless_script_ends_at_the_deadline(oj, loop):
    write_rules(oj, f"function run(row, p) if row.feat == 1 then return 1.5 end {loop} end", "    deadline: 50ms\n")
    with serving(oj) as (url, _):
        begin = time.monotonic()
        answer = infer(url, **row())
        assert answer.status_code == 504 and "rules.lua:1: stopped after" in answer.json()["error"], answer.text
        assert time.monotonic() - begin < 5
        score_answer = requests.post(f"{url}/v1/fleets/oj/score", json={"rows": [row()]}, timeout=60)
        assert score_answer.status_code == 504
        assert infer(url, **row(feat=1)).json()["outputs"][0]["data"] == [1.5]


def test_late_rules_may_be_skipped(oj):
    write_rules(oj, "function run(row, p) if row.feat == 1 then return 1.5 end while true do end end",
                "    deadline: 400ms\n    degrade: {rules: skip}\n")
    with serving(oj) as (url, _):
        fine, late, after = score(url, row(feat=1), row(), row(feat=1))
        assert (fine["prediction"], late["prediction"], after["prediction"]) == (1.5, 10.5, 10.5)
        assert "the rules were skipped" in late["message"] and "the rules were skipped" in after["message"]
        assert [a["status"] for a in (fine, late, after)] == ["ok"] * 3


def eventually(check, seconds=20):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if check():
            return True
        time.sleep(0.05)
    return False


def test_a_changed_script_is_taken_up_and_a_broken_one_is_not(oj):
    write_rules(oj, "function run() return 1 end")
    with serving(oj) as (url, lines):
        stop, wrong = threading.Event(), []

        def load():
            while not stop.is_set():
                got = infer(url, **row())
                if got.status_code != 200 or got.json()["outputs"][0]["data"][0] not in (1.0, 2.0, 3.0):
                    wrong.append(got.text)

        loader = threading.Thread(target=load)
        loader.start()
        try:
            value = lambda: infer(url, **row()).json()["outputs"][0]["data"][0]  # noqa: E731
            assert value() == 1.0
            (oj.cwd / "rules.lua").write_text("function run() return 2 end")
            assert eventually(lambda: value() == 2.0)
            (oj.cwd / "rules.lua").write_text("function run() return 3\n")
            assert eventually(lambda: any("rules.lua:2:" in line for line in lines)), lines
            assert value() == 2.0
            (oj.cwd / "rules.lua").write_text("function init() error('no luck') end function run() return 3 end")
            assert eventually(lambda: any("no luck" in line for line in lines)), lines
            (oj.cwd / "rules.lua").unlink()
            assert eventually(lambda: any("rules.lua" in line and "No such file" in line for line in lines)), lines
            assert value() == 2.0
            (oj.cwd / "rules.lua").write_text("function run() return 3 end")
            assert eventually(lambda: value() == 3.0)
        finally:
            stop.set()
            loader.join()
        assert not wrong, wrong[:3]
        assert sum("rules.lua:2:" in line for line in lines) == 1, "told once"


def test_a_script_that_does_not_load_ends_the_start(oj):
    for text, part in (("function run(\n", "rules.lua:2:"), ("x = 1", "there is no function run(row, prediction)"),
                       ("function init() while true do end end function run() end", "stopped after")):
        write_rules(oj, text)
        code, message = oj.fails("serve", "--listen", "127.0.0.1:0", "--service", "s.yaml")
        assert code == 65 and "s.yaml:3:12: " in message and part in message, message
    (oj.cwd / "rules.lua").unlink()
    code, message = oj.fails("serve", "--listen", "127.0.0.1:0", "--service", "s.yaml")
    assert code == 65 and "rules.lua" in message and "s.yaml:3:12: " in message


def test_a_new_release_and_the_rules_together(oj):
    write_rules(oj, "function run(row, p) return p.release * 100 + p.version end")
    with serving(oj) as (url, _):
        assert score(url, row())[0]["prediction"] == 101
        path = oj.cwd / "m.json"
        path.write_text(linear(["price", "feat"], 3.0, [1.0, 0.0]))
        oj.run("model", "import", path, "--fleet", "oj", "--segment", "store=2,brand=1")
        oj.run("release", "create", "oj")
        assert eventually(lambda: score(url, row())[0]["prediction"] == 202)


def test_the_examples_of_the_documents(workspace):
    """examples/rules on a fleet with the columns of examples/oj."""
    for segment, intercept in (("store=5,brand=9", 3.0), ("brand=9", 10.0), ("", 20.0)):
        path = workspace.cwd / "m.json"
        path.write_text(linear(["week"], intercept, [0.0]))
        workspace.run("model", "import", path, "--fleet", "oj", "--segment", segment)
    workspace.run("release", "create", "oj")
    rows = [{"store": 5, "brand": 9, "week": 1}, {"store": 6, "brand": 9, "week": 1}, {"store": 6, "brand": 8, "week": 1}]
    seen = {}
    for name in ("clamp", "refuse", "fallback"):
        (workspace.cwd / "s.yaml").write_text(f"fleets:\n  oj:\n    rules: {ROOT}/examples/rules/{name}.lua\n")
        with serving(workspace) as (url, _):
            seen[name] = score(url, *rows)
    assert [(a["prediction"], a["clamped"]) for a in seen["clamp"]] == [(6, True), (10, False), (14, True)]
    assert [a["status"] for a in seen["refuse"]] == ["not_sold", "ok", "ok"]
    assert [(a["prediction"], a["level"], a["answered_by"]) for a in seen["fallback"]] == [
        (10, "parent", "oj@brand=9"), (10, "parent", "oj@brand=9"), (20, "global", "oj@")]


def test_answers_are_json(oj):
    """What a script adds stays one member each, whatever it is."""
    write_rules(oj, "function run(row, p) p.fields.text = 'a\\n\"\\\\\\u{1F600}\\0'; p.fields.big = 2^53 end")
    with serving(oj) as (url, _):
        text = requests.post(f"{url}/v1/fleets/oj/score", json={"rows": [row()]}, timeout=60).text
        (answer,) = json.loads(text)["rows"]
        assert answer["text"] == 'a\n"\\\U0001F600\0' and answer["big"] == 2**53
