"""Models that are code: a directory with score.py, in worker processes, as docs/score-py.md promises."""
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile

import pytest
import requests

from conftest import ROOT, linear
from test_rules import eventually

SCORE = '''
import os, time
features = ["price", "kind"]
text_features = ["kind"]

def init():
    global base
    with open("data/base.txt") as file:
        base = float(file.read())

def run(mini_batch):
    answers = []
    for price, kind in zip(mini_batch["price"], mini_batch["kind"]):
        if kind == "hang":
            time.sleep(1000)
        if kind == "spin":
            while True: pass
        if kind == "crash":
            os._exit(3)
        if kind == "abort":
            os.abort()
        if kind == "leak":
            hoard = [bytearray(1 << 20) for _ in range(1 << 20)]
        if kind == "raise":
            raise ValueError("what a kind")
        if kind == "short":
            return []
        if kind == "text":
            return ["x"] * len(mini_batch["price"])
        if kind == "pid":
            answers.append(float(os.getpid()))
        elif kind is None:
            answers.append(-1.0)
        else:
            answers.append(base + price)
    return answers
'''
QUICK = {"MYRIAD_RUNTIME_PYTHON_TIMEOUT": "6s", "MYRIAD_RUNTIME_PYTHON_MEMORY": "500MiB"}


def write_model(directory, text=SCORE, base="100"):
    (directory / "data").mkdir(parents=True, exist_ok=True)
    (directory / "score.py").write_text(text)
    (directory / "data" / "base.txt").write_text(base)
    return directory


@pytest.fixture
def fleet(workspace):
    """store=1 is code, store=2 is flat, everything else the code too."""
    write_model(workspace.cwd / "model")
    flat = workspace.cwd / "flat.json"
    flat.write_text(linear(["price", "kind"], 5.0, [1.0, 0.0]))
    workspace.run("model", "import", "model", "--fleet", "f", "--segment", "store=1")
    workspace.run("model", "import", flat, "--fleet", "f", "--segment", "store=2")
    workspace.run("release", "create", "f")
    return workspace


def row(kind="red", store=1, price=1.5):
    return {"store": store, "price": price, "kind": kind}


def ask(url, *rows):
    answer = requests.post(f"{url}/v1/fleets/f/score", json={"rows": rows}, headers={"X-Deadline-Ms": "30000"}, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()["rows"]


def pid_is_there(pid):
    try:
        return ") Z " not in pathlib.Path(f"/proc/{pid}/stat").read_text()
    except FileNotFoundError:
        return False


def test_code_answers_beside_other_models(fleet):
    assert json.loads(fleet.run("predict", "f", "--row", json.dumps(row()), "--json").stdout)["prediction"] == 101.5
    assert "score.py" in fleet.run("model", "show", "f@store=1").stdout
    (fleet.cwd / "t.csv").write_text("store,price,kind\n1,1,a\n2,2,0\n1,3,b\n1,,b\n3,1,a\n")
    fleet.run("batch", "run", "--fleet", "f", "--input", "t.csv", "--output", "out", "--format", "csv")
    text = "".join(path.read_text() for path in sorted((fleet.cwd / "out").rglob("*.csv")))
    assert "101" in text and "103" in text and "7" in text and "no_model" in text
    with fleet.serving() as url:
        many = ask(url, *(row(store=1 + i % 2, kind="1", price=i) for i in range(50)))
        assert [a["prediction"] for a in many] == [(100.0 if i % 2 == 0 else 5.0) + i for i in range(50)]
        body = {"inputs": [{"name": "store", "shape": [2], "datatype": "INT64", "data": [1, 1]},
                           {"name": "price", "shape": [2], "datatype": "FP64", "data": [1, 2]},
                           {"name": "kind", "shape": [2], "datatype": "BYTES", "data": ["a", "b"]}]}
        answer = requests.post(f"{url}/v2/models/f/infer", json=body, headers={"X-Deadline-Ms": "30000"}, timeout=60)
        assert answer.json()["outputs"][0]["data"] == [101, 102], answer.text
        (missing,) = ask(url, {"store": 1, "price": 2})
        assert missing["prediction"] == -1 and missing["status"] == "ok"


FAILURES = {"raise": "ValueError: what a kind (score.py, line 25)", "crash": "it ended with exit code 3", "abort": "signal 6",
            "hang": "run() took more than 6000 ms", "spin": "run() took more than 6000 ms", "leak": "MemoryError",
            "short": "run() gave 0 answers for 1 rows", "text": "could not convert string to float"}


@pytest.mark.parametrize("kind", FAILURES)
def test_what_fails_is_contained(fleet, kind):
    with fleet.serving(env=QUICK) as url:
        assert ask(url, row())[0]["prediction"] == 101.5
        failed, other = ask(url, row(kind), row("1", store=2))
        assert failed["status"] == "unavailable" and failed["prediction"] is None
        assert (other["status"], other["prediction"]) == ("ok", 6.5)
        assert eventually(lambda: ask(url, row())[0]["prediction"] == 101.5), "its worker comes back"
        body = {"inputs": [{"name": "store", "shape": [1], "datatype": "INT64", "data": [1]},
                           {"name": "price", "shape": [1], "datatype": "FP64", "data": [1]},
                           {"name": "kind", "shape": [1], "datatype": "BYTES", "data": [kind]}]}
        answer = requests.post(f"{url}/v2/models/f/infer", json=body, headers={"X-Deadline-Ms": "30000"}, timeout=60)
        assert answer.status_code == 503 and FAILURES[kind] in answer.json()["error"], answer.text


def test_failures_are_told_again_before_it_is_started_again(fleet):
    with fleet.serving(env=QUICK) as url:
        pids = set()
        for _ in range(3):
            assert ask(url, row("crash"))[0]["status"] == "unavailable"
        begin = time.monotonic()
        again = ask(url, row())[0]  # at once: in the time of its back-off
        assert again["status"] == "unavailable" and time.monotonic() - begin < 5
        assert eventually(lambda: ask(url, row())[0]["status"] == "ok")
        pids.add(ask(url, row("pid"))[0]["prediction"])
        pids.add(ask(url, row("pid"))[0]["prediction"])
        assert len(pids) == 1, "one worker stays"


def test_a_worker_that_was_killed_while_idle_is_started_again_at_once(fleet):
    with fleet.serving() as url:
        pid = int(ask(url, row("pid"))[0]["prediction"])
        os.kill(pid, signal.SIGKILL)
        assert eventually(lambda: not pid_is_there(pid))
        assert ask(url, row())[0]["prediction"] == 101.5
        assert int(ask(url, row("pid"))[0]["prediction"]) != pid


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_no_worker_outlives_the_server(fleet, how):
    server = subprocess.Popen([fleet.path, "serve", "--listen", "127.0.0.1:0"], cwd=fleet.cwd, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE)
    url = "http://" + server.stdout.readline().split("http://")[1].split()[0].rstrip(",\"")
    pid = int(ask(url, row("pid"))[0]["prediction"])
    assert pid_is_there(pid)
    server.send_signal(how)
    server.wait(60)
    assert eventually(lambda: not pid_is_there(pid), 5)


def test_others_go_on_while_one_hangs(fleet):
    """Flat models, and another model that is code, on a server with few threads for what may block."""
    write_model(fleet.cwd / "other", SCORE, "200")
    fleet.run("model", "import", "other", "--fleet", "f", "--segment", "store=3")
    fleet.run("release", "create", "f")
    with fleet.serving("--serve.compute-threads", "3", env={**QUICK, "MYRIAD_RUNTIME_PYTHON_TIMEOUT": "40s"}) as url:
        assert [a["prediction"] for a in ask(url, row(), row(store=3))] == [101.5, 201.5]
        stop = threading.Event()

        def flood():  # more and more rows for the one that hangs; some are answered 504
            while not stop.is_set():
                requests.post(f"{url}/v1/fleets/f/score", json={"rows": [row("hang")]}, headers={"X-Deadline-Ms": "30000"}, timeout=120)

        hung = [threading.Thread(target=flood) for _ in range(4)]
        for thread in hung:
            thread.start()
        time.sleep(4)  # its patience is over
        slowest = 0
        for i in range(100):
            begin = time.monotonic()
            assert ask(url, row("1", store=2, price=i))[0]["prediction"] == 5.0 + i
            assert ask(url, row(store=3, price=i))[0]["prediction"] == 200.0 + i
            slowest = max(slowest, time.monotonic() - begin)
        stop.set()
        for thread in hung:
            thread.join()
        assert slowest < 12, slowest  # never as long as the one that hangs


def test_what_is_refused_at_import(workspace):
    cases = {"x = (": "SyntaxError", "x = 1": "score.py has no function run(mini_batch)",
             "def init(): raise KeyError('gone')\ndef run(b): return [0]": "KeyError: 'gone' (score.py, line 1)",
             "features = ['a']\ndef run(b): return 5": "run() gave a int, not a list",
             "features = ['a']\ndef run(b): return [[]]": "run() gives 0 values a row",
             "features = 'a'\ndef run(b): return [0]": "features in score.py is not a list of names",
             "features = ['a', 'a']\ndef run(b): return [0]": "features 0 and 1 are both named 'a'",
             "def run(b): return [0]": "nobody names its features",
             "import no_such_module\ndef run(b): return [0]": "ModuleNotFoundError: No module named 'no_such_module'"}
    for i, (text, part) in enumerate(cases.items()):
        directory = workspace.cwd / f"m{i}"
        directory.mkdir()
        (directory / "score.py").write_text(text)
        _, message = workspace.fails("model", "import", directory, "--fleet", "f", "--segment", "")
        assert part in message and f"m{i}" in message, message
    (workspace.cwd / "empty").mkdir()
    _, message = workspace.fails("model", "import", "empty", "--fleet", "f", "--segment", "")
    assert "a directory is a model if it has score.py" in message
    outside = write_model(workspace.cwd / "outside")
    (outside / "secret").symlink_to("/etc/passwd")
    _, message = workspace.fails("model", "import", outside, "--fleet", "f", "--segment", "")
    assert "secret" in message


def test_files_at_the_limit_and_one_past_it(workspace):
    directory = write_model(workspace.cwd / "m")
    (directory / "data" / "deep").mkdir()
    for i in range(254):  # beside score.py and data/base.txt
        (directory / "data" / "deep" / f"{i}.txt").write_text(str(i))
    (directory / ".hidden").write_text("not a part of it")
    (directory / "__pycache__").mkdir()
    (directory / "__pycache__" / "x.pyc").write_text("nor this")
    workspace.run("model", "import", directory, "--fleet", "f", "--segment", "")
    (directory / "one_more.txt").write_text("")
    _, message = workspace.fails("model", "import", directory, "--fleet", "f", "--segment", "")
    assert "more than 256 files" in message
    (directory / "one_more.txt").unlink()
    deep = directory.joinpath(*"abcdefgh")
    deep.mkdir(parents=True)
    (directory / "data" / "deep" / "0.txt").rename(deep / "0.txt")
    workspace.run("model", "import", directory, "--fleet", "f", "--segment", "")
    (deep / "i").mkdir()
    (deep / "0.txt").rename(deep / "i" / "0.txt")
    _, message = workspace.fails("model", "import", directory, "--fleet", "f", "--segment", "")
    assert "more than 8 directories deep" in message


def test_an_endless_init_is_ended(workspace):
    directory = workspace.cwd / "m"
    directory.mkdir()
    (directory / "score.py").write_text("features = ['a']\ndef init():\n    while True: pass\ndef run(b): return [0]\n")
    begin = time.monotonic()
    _, message = workspace.fails("model", "import", directory, "--fleet", "f", "--segment", "", env=QUICK)
    assert time.monotonic() - begin < 60 and "m: " in message


def test_several_values_and_names_of_the_caller(workspace):
    directory = workspace.cwd / "m"
    directory.mkdir()
    (directory / "score.py").write_text("def run(b):\n    return [[x, x + y, None] for x, y in zip(b['p'], b['q'])]\n")
    workspace.run("model", "import", directory, "--fleet", "f", "--segment", "", "--features", "p,q")
    workspace.run("release", "create", "f")
    answer = json.loads(workspace.run("predict", "f", "--row", '{"p":1,"q":2}', "--json").stdout)
    assert answer["prediction"] == [1, 3, None]


def make_wheel(directory, version):
    """A package of one module, as a wheel."""
    directory.mkdir(exist_ok=True)
    name = f"tiny_answer-{version}"
    with zipfile.ZipFile(directory / f"{name}-py3-none-any.whl", "w") as archive:
        archive.writestr("tiny_answer.py", f"answer = {version}\n")
        archive.writestr(f"{name}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: tiny-answer\nVersion: {version}\n")
        archive.writestr(f"{name}.dist-info/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{name}.dist-info/RECORD", "")


def test_an_environment_is_made_shared_and_removed(workspace):
    environments = workspace.cwd / "environments"
    env = {"MYRIAD_RUNTIME_PYTHON_ENVIRONMENTS": str(environments), "MYRIAD_RUNTIME_PYTHON_KEEP": "1h"}
    for i in range(2):
        directory = workspace.cwd / f"m{i}"
        directory.mkdir()
        make_wheel(directory / "wheels", 42)
        (directory / "requirements.txt").write_text("--no-index\n--find-links wheels\ntiny-answer==42\n")
        (directory / "score.py").write_text(f"import tiny_answer\nfeatures = ['a']\ndef run(b): return [tiny_answer.answer + {i} + a for a in b['a']]\n")
        workspace.run("model", "import", directory, "--fleet", f"f{i}", "--segment", "", env=env)
        workspace.run("release", "create", f"f{i}")
    made = [path for path in environments.iterdir() if path.is_dir()]
    assert len(made) == 1, "the same requirements are one environment"
    before = (made[0] / ".complete").stat().st_mtime_ns
    for i in range(2):
        answer = json.loads(workspace.run("predict", f"f{i}", "--row", '{"a":1}', "--json", env=env).stdout)
        assert answer["prediction"] == 43 + i
    assert (made[0] / ".complete").stat().st_mtime_ns == before, "it was not made again"
    gone = {**env, "MYRIAD_RUNTIME_PYTHON_KEEP": "0s"}
    with workspace.serving(env=gone) as url:
        answer = requests.post(f"{url}/v1/fleets/f0/score", json={"rows": [{"a": 1}]}, headers={"X-Deadline-Ms": "60000"}, timeout=90)
        assert answer.json()["rows"][0]["prediction"] == 43
        assert made[0].exists()
    assert not made[0].exists(), "nobody has it any more"
    bad = workspace.cwd / "bad"
    bad.mkdir()
    (bad / "requirements.txt").write_text("--no-index\nno-such-package-here\n")
    (bad / "score.py").write_text("features = ['a']\ndef run(b): return [0]\n")
    _, message = workspace.fails("model", "import", bad, "--fleet", "g", "--segment", "", env=env)
    assert "its environment can't be made (pip)" in message and "no-such-package-here" in message


@pytest.fixture
def needy(workspace):
    """store=1 is code that needs an environment, store=2 and everything else are flat; release 2 is flat alone."""
    env = {"MYRIAD_RUNTIME_PYTHON_ENVIRONMENTS": str(workspace.cwd / "of-the-import")}
    directory = workspace.cwd / "needy"
    directory.mkdir()
    make_wheel(directory / "wheels", 42)
    (directory / "requirements.txt").write_text("--no-index\n--find-links wheels\ntiny-answer==42\n")
    (directory / "score.py").write_text("import os, tiny_answer\nfeatures = ['price']\n"
                                        "def run(b): return [float(os.getpid()) if p == 7 else tiny_answer.answer + p for p in b['price']]\n")
    workspace.run("model", "import", directory, "--fleet", "f", "--segment", "store=1", env=env)
    (workspace.cwd / "flat.json").write_text(linear(["price"], 5.0, [1.0]))
    workspace.run("model", "import", "flat.json", "--fleet", "f", "--segment", "store=2")
    workspace.run("model", "import", "flat.json", "--fleet", "f", "--segment", "")
    workspace.run("release", "create", "f")
    workspace.run("model", "import", "flat.json", "--fleet", "f", "--segment", "store=1")
    workspace.run("release", "create", "f", "--no-promote")
    workspace.serve_env = {"MYRIAD_RUNTIME_PYTHON_ENVIRONMENTS": str(workspace.cwd / "of-the-server"), "MYRIAD_RUNTIME_PYTHON_KEEP": "0s"}
    return workspace


def ready(url, model=None):
    answer = requests.get(f"{url}/v2/models/{model}/ready" if model else f"{url}/v2/health/ready", timeout=30)
    return answer.status_code, answer.json().get("error", "")


def environments(workspace):
    return [path for path in (workspace.cwd / "of-the-server").iterdir() if path.is_dir()]


V2_ROW = {"inputs": [{"name": "price", "shape": [1], "datatype": "FP64", "data": [1]}]}


def test_a_server_makes_environments_where_no_request_waits(needy):
    (needy.cwd / "s.yaml").write_text("fleets:\n  f:\n    degrade: {infer: next_level}\n")
    for service in ((), ("--service", "s.yaml")):
        shutil.rmtree(needy.cwd / "of-the-server", ignore_errors=True)
        with needy.serving(*service, "--grpc-listen", "127.0.0.1:0", env=needy.serve_env) as url:
            begin = time.monotonic()
            assert ready(url) == (503, "environments of models are still being made")
            assert ready(url, "f") == ready(url, "f@store=1") == (503, "its environment is still being made")
            assert ready(url, "f@store=2")[0] == 200
            code, flat = ask(url, {"store": 1, "price": 1}, {"store": 2, "price": 1})
            assert flat["prediction"] == 6 and code["status"] == ("ok" if service else "unavailable")
            if service:
                assert (code["level"], code["prediction"]) == ("global", 6) and "can't be run now" in code["message"]
            else:
                answer = requests.post(f"{url}/v2/models/f@store=1/infer", json=V2_ROW, headers={"X-Deadline-Ms": "30000"}, timeout=60)
                assert answer.status_code == 503 and answer.headers["Retry-After"] and "still being made" in answer.json()["error"]
            assert time.monotonic() - begin < 3, "nobody waits"
            assert eventually(lambda: ready(url)[0] == 200, 90) and ready(url, "f")[0] == ready(url, "f@store=1")[0] == 200
            assert ask(url, {"store": 1, "price": 1})[0]["prediction"] == 43


def test_what_no_served_release_needs_is_removed(needy):
    with needy.serving("--serve.reload", "100ms", env=needy.serve_env) as url:
        assert eventually(lambda: ready(url)[0] == 200, 90)
        pid = int(ask(url, {"store": 1, "price": 7})[0]["prediction"])
        assert pid_is_there(pid) and len(environments(needy)) == 1
        needy.run("release", "promote", "f", 2)
        assert eventually(lambda: ask(url, {"store": 1, "price": 1})[0]["prediction"] == 6)
        assert eventually(lambda: not pid_is_there(pid)) and eventually(lambda: environments(needy) == [])
        assert ready(url, "f@store=1")[0] == 200
        needy.run("release", "promote", "f", 1, "--alias", "challenger")  # served again, beside champion: made again
        assert eventually(lambda: len(environments(needy)) == 1)
        needy.run("release", "rollback", "f")
        assert eventually(lambda: ask(url, {"store": 1, "price": 1})[0]["prediction"] == 43, 90)
    assert environments(needy) == []


def test_an_environment_that_can_not_be_made_stops_nobody_else(needy):
    (needy.cwd / "of-the-server").write_text("in the way")
    with needy.serving(env=needy.serve_env) as url:
        assert eventually(lambda: ready(url)[0] == 200), "it was tried"
        status, error = ready(url, "f@store=1")
        assert status == 503 and "of-the-server" in error
        assert ready(url, "f")[0] == 200 and ask(url, {"store": 2, "price": 1})[0]["prediction"] == 6
        assert ask(url, {"store": 1, "price": 1})[0]["status"] == "unavailable"


def test_a_server_that_stops_does_not_wait_for_pip(needy):
    begin = time.monotonic()
    with needy.serving(env=needy.serve_env) as url:
        assert ready(url)[0] == 503
        stopped = time.monotonic()
    assert time.monotonic() - stopped < 5 or time.monotonic() - begin < 8


def test_the_example_with_pandas(workspace):
    """examples/custom-model, in a Python that has pandas."""
    env = {"MYRIAD_RUNTIME_PYTHON_PROGRAM": sys.executable}
    workspace.run("model", "import", ROOT / "examples/custom-model", "--fleet", "f", "--segment", "", env=env)
    workspace.run("release", "create", "f")
    for price, wanted in ((0.05, 9.3), (0.5, 0.3), (None, 9.1)):
        answer = workspace.run("predict", "f", "--row", json.dumps({"price": price, "deal": 1}), "--json", env=env)
        assert abs(json.loads(answer.stdout)["prediction"] - wanted) < 1e-9, (price, answer.stdout)


def test_nothing_is_left_in_the_temporary_directory(fleet, tmp_path_factory):
    tmp = tmp_path_factory.mktemp("t")
    env = {"TMPDIR": str(tmp)}
    for _ in range(2):
        fleet.run("predict", "f", "--row", json.dumps(row()), env=env)
        assert [path for base in tmp.iterdir() for path in base.iterdir()] == []
    server = subprocess.Popen([fleet.path, "serve", "--listen", "127.0.0.1:0"], cwd=fleet.cwd, text=True, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, env={**os.environ, **env})
    url = "http://" + server.stdout.readline().split("http://")[1].split()[0].rstrip(",\"")
    ask(url, row())
    server.kill()
    server.wait(60)
    assert [path for base in tmp.iterdir() for path in base.iterdir()] != []
    fleet.run("predict", "f", "--row", json.dumps(row()), env=env)  # the next one sweeps
    assert [path for base in tmp.iterdir() for path in base.iterdir()] == []
