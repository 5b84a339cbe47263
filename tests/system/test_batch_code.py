"""Models that are code in a batch: a bad row stands alone whatever it does, environments are made before and given back."""
import json
import os
import pathlib
import subprocess
import sys
import textwrap
import time

import pytest
from conftest import ROOT, linear
from test_batch_failures import letters
from test_score_py import make_wheel

SCORE = '''
import os, time
features = ["x", "kind"]
text_features = ["kind"]

def run(mini_batch):
    answers = []
    for x, kind in zip(mini_batch["x"], mini_batch["kind"]):
        if kind == "raise":
            raise ValueError("what a kind")
        if kind == "segfault":
            os.kill(os.getpid(), 11)
        if kind == "hang":
            time.sleep(1000)
        if kind == "leak":
            hoard = [bytearray(1 << 20) for _ in range(1 << 20)]
        answers.append(10 * x)
    return answers
'''
ROWS = 120
QUICK = {"MYRIAD_RUNTIME_PYTHON_TIMEOUT": "2s", "MYRIAD_RUNTIME_PYTHON_MEMORY": "500MiB"}


def write_model(directory, text=SCORE, requirements=None):
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "score.py").write_text(textwrap.dedent(text))
    if requirements:
        (directory / "requirements.txt").write_text(requirements)
    return directory


def fleet(workspace, text=SCORE, name="f", env=None, **more):
    write_model(workspace.cwd / name, text, **more)
    workspace.run("model", "import", name, "--fleet", name, "--segment", "", env=env)
    workspace.run("release", "create", name)


def table(workspace, bad):
    lines = [f"{i},{bad.get(i, 'fine')},{i}\n" for i in range(ROWS)]
    (workspace.cwd / "in.csv").write_text("x,kind,id\n" + "".join(lines))


def job(workspace, **more):
    lines = {"fleet": "f", "input": "in.csv", "output": "{path: out, keep: [id], format: csv}", "mini_batch_size": 40,
             "retry_settings": "{backoff: 10ms, max_retries: 0}", **more}
    (workspace.cwd / "job.yaml").write_text("".join(f"{key}: {value}\n" for key, value in lines.items()))


def rows(workspace, output="out"):
    import csv
    found = [row for path in (workspace.cwd / output).glob("*.csv") for row in csv.DictReader(open(path))]
    return sorted(found, key=lambda row: int(row["id"]))


WORDS = {"raise": "ValueError: what a kind", "segfault": "signal 11", "hang": "took more than 2000 ms", "leak": "MemoryError"}


@pytest.mark.parametrize("kind", WORDS)
def test_a_row_that_code_fails_at_stands_alone(workspace, kind):
    """Its neighbours have their answers; by default, without any threshold."""
    fleet(workspace)
    table(workspace, {69: kind})
    job(workspace, mini_batch_size=40 if kind == "raise" else 8)
    report = workspace.json("batch", "run", "job.yaml", env=QUICK)
    found = rows(workspace)
    assert [int(row["id"]) for row in found] == list(range(ROWS)) and report["mini_batches_failed"] == 0
    assert [row["status"] for row in found] == ["unavailable" if i == 69 else "ok" for i in range(ROWS)]
    assert all(float(row["prediction"]) == 10 * i for i, row in enumerate(found) if i != 69) and found[69]["prediction"] == ""
    letter, = letters(workspace, report["run"])
    assert letter["line"] == 71 and letter["cause"] == "unavailable" and WORDS[kind] in letter["why"], letter
    if kind == "raise":
        job(workspace, error_threshold=0)
        assert "1 rows have failed" in workspace.fails("batch", "run", "job.yaml", "--force", env=QUICK)[1]


def test_code_that_always_fails_ends(workspace):
    fleet(workspace, "features = ['x']\ndef run(b):\n    if list(b['x']) != [0.0]: raise ValueError('never')\n    return [0]\n")
    table(workspace, {})
    job(workspace, mini_batch_size=ROWS)
    report = workspace.json("batch", "run", "job.yaml", env=QUICK)
    assert report["rows"] == ROWS and report["statuses"]["unavailable"] >= ROWS - 1 and "never" in report["trouble"]
    assert len(workspace.run("batch", "logs").stdout.splitlines()) < 60


def test_two_jobs_with_requirements_that_exclude_each_other(workspace):
    """One after the other on the same compute; each is held while its run lasts, and kept or removed afterwards."""
    cache = workspace.cwd / "environments"
    env = {"MYRIAD_RUNTIME_PYTHON_ENVIRONMENTS": str(cache), "MYRIAD_RUNTIME_PYTHON_KEEP": "1h"}
    table(workspace, {})
    for version in (1, 2):
        make_wheel_in = workspace.cwd / f"f{version}" / "wheels"
        make_wheel_in.mkdir(parents=True)
        make_wheel(make_wheel_in, version)
        fleet(workspace, "import tiny_answer\nfeatures = ['x']\ndef run(b): return [tiny_answer.answer * 1000 + x for x in b['x']]\n", f"f{version}",
              env=env if version == 1 else {**env, "MYRIAD_RUNTIME_PYTHON_ENVIRONMENTS": str(workspace.cwd / "elsewhere")},
              requirements=f"--no-index\n--find-links wheels\ntiny-answer=={version}\n")
    for version in (1, 2, 1):
        job(workspace, fleet=f"f{version}", output=f"{{path: out{version}, keep: [id], format: csv}}")
        workspace.run("batch", "run", "job.yaml", "--force", env=env)
        assert [float(row["prediction"]) for row in rows(workspace, f"out{version}")] == [version * 1000 + i for i in range(ROWS)]
    made = [path for path in cache.iterdir() if path.is_dir()]
    assert len(made) == 2, "both are kept"
    workspace.run("batch", "run", "job.yaml", "--force", env={**env, "MYRIAD_RUNTIME_PYTHON_KEEP": "0s"})
    assert [path for path in cache.iterdir() if path.is_dir()] == [], "nobody has them any more"


def test_an_environment_that_can_not_be_made_ends_the_run(workspace):
    good = {"MYRIAD_RUNTIME_PYTHON_ENVIRONMENTS": str(workspace.cwd / "good")}
    (workspace.cwd / "f" / "wheels").mkdir(parents=True)
    make_wheel(workspace.cwd / "f" / "wheels", 1)
    fleet(workspace, "import tiny_answer\nfeatures = ['x']\ndef run(b): return [0 for x in b['x']]\n", env=good,
          requirements="--no-index\n--find-links wheels\ntiny-answer==1\n")
    table(workspace, {})
    job(workspace)
    (workspace.cwd / "in-the-way").write_text("")
    code, message = workspace.fails("batch", "run", "job.yaml", env={"MYRIAD_RUNTIME_PYTHON_ENVIRONMENTS": str(workspace.cwd / "in-the-way")})
    assert "in-the-way" in message and not list(workspace.cwd.glob("out*"))
    assert workspace.json("batch", "list")["runs"][0]["state"] == "failed"


def test_an_environment_that_takes_long(workspace):
    """The run is there meanwhile: it can be canceled, and first_task_creation_timeout ends it."""
    good = {"MYRIAD_RUNTIME_PYTHON_ENVIRONMENTS": str(workspace.cwd / "good")}
    (workspace.cwd / "f" / "wheels").mkdir(parents=True)
    make_wheel(workspace.cwd / "f" / "wheels", 1)
    fleet(workspace, "import tiny_answer\nfeatures = ['x']\ndef run(b): return [0 for x in b['x']]\n", env=good,
          requirements="--no-index\n--find-links wheels\ntiny-answer==1\n")
    slow = workspace.cwd / "python"
    slow.write_text("#!/bin/sh\nexec sleep 100\n")
    slow.chmod(0o755)
    env = {"MYRIAD_RUNTIME_PYTHON_PROGRAM": str(slow), "MYRIAD_RUNTIME_PYTHON_ENVIRONMENTS": str(workspace.cwd / "slow")}
    table(workspace, {})
    job(workspace, first_task_creation_timeout="2s")
    begin = time.monotonic()
    assert "first_task_creation_timeout" in workspace.fails("batch", "run", "job.yaml", env=env)[1]
    assert time.monotonic() - begin < 30
    job(workspace)
    process = subprocess.Popen([workspace.path, "batch", "run", "job.yaml", "--json"], cwd=workspace.cwd, text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, env={**os.environ, **env})
    run = json.loads(process.stdout.readline())["run"]
    workspace.run("batch", "cancel", run)
    out, err = process.communicate(timeout=60)
    assert process.returncode != 0 and "was canceled" in err and not list(workspace.cwd.glob("out*"))


# ---- files as items ----

FILES = '''
import os, time
items = "files"
outputs = 2

def run(mini_batch):
    answers = []
    for path in mini_batch:
        with open(path, "rb") as file:
            data = file.read()
        if data == b"raise":
            raise ValueError("what a file")
        if data == b"segfault":
            os.kill(os.getpid(), 11)
        if data == b"hang":
            time.sleep(1000)
        if data == b"leak":
            hoard = [bytearray(1 << 20) for _ in range(1 << 20)]
        if data == b"locked":
            open(path + ".key")
        if data == b"none":
            answers.append(None)
        elif data != b"short":
            answers.append([len(data), len(mini_batch)])
    return answers
'''
COUNT = 60


def pictures(workspace, bad=None, directory="pictures"):
    """Bytes that are no text, in names with what names may have."""
    paths = []
    for i in range(COUNT):
        path = workspace.cwd / directory / f"{i % 3}" / f"p {i:02d}, “x”.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes((bad or {}).get(i, b"\xff\xd8\x00" * (i + 1)))
        paths.append(str(path))
    return paths


def files_job(workspace, **more):
    job(workspace, **{"input": "{items: 'pictures/**/*.jpg'}", "output": "{path: out, format: csv}", "mini_batch_size": "25 files", **more})


def by_file(workspace, output="out"):
    return {row["file"]: row for row in rows_of(workspace, output)}


def rows_of(workspace, output):
    import csv
    return [row for path in sorted((workspace.cwd / output).glob("*.csv")) for row in csv.DictReader(open(path))]


def test_files_are_items(workspace):
    fleet(workspace, FILES)
    paths = pictures(workspace)
    files_job(workspace)
    report = workspace.json("batch", "run", "job.yaml")
    assert report["mini_batches"] == 3 and report["rows"] == COUNT
    found = by_file(workspace)
    assert sorted(found) == sorted(paths)
    for i, path in enumerate(paths):
        assert (float(found[path]["prediction_0"]), found[path]["status"]) == (3 * (i + 1), "ok"), path
    assert sorted({float(row["prediction_1"]) for row in found.values()}) == [10, 25]  # run() is given whole mini-batches
    assert workspace.json("batch", "run", "job.yaml")["unchanged"] is True
    pathlib.Path(paths[7]).write_bytes(b"changed")
    assert workspace.json("batch", "run", "job.yaml")["unchanged"] is False
    assert float(by_file(workspace)[paths[7]]["prediction_0"]) == 7
    files_job(workspace, mini_batch_size="2048 files", output="{path: one, format: csv}")
    assert workspace.json("batch", "run", "job.yaml")["mini_batches"] == 1
    files_job(workspace, input="{items: pictures}", mini_batch_size="7 files", output="{path: all, format: csv}")
    assert workspace.json("batch", "run", "job.yaml")["mini_batches"] == 9 and sorted(by_file(workspace, "all")) == sorted(paths)
    shown = workspace.run("batch", "show").stdout
    assert "  items: [pictures]" in shown or "items: [" in shown


FILE_WORDS = {**WORDS, "raise": "ValueError: what a file", "short": "run() gave 0 answers for 1 rows"}


@pytest.mark.parametrize("kind", FILE_WORDS)
def test_a_file_that_code_fails_at_stands_alone(workspace, kind):
    fleet(workspace, FILES)
    paths = pictures(workspace, {31: kind.encode()})
    files_job(workspace, mini_batch_size="25 files" if kind in ("raise", "short") else "8 files")
    report = workspace.json("batch", "run", "job.yaml", env=QUICK)
    found = by_file(workspace)
    assert sorted(found) == sorted(paths) and report["mini_batches_failed"] == 0
    assert {path for path in paths if found[path]["status"] != "ok"} == {paths[31]} and found[paths[31]]["status"] == "unavailable"
    letter, = letters(workspace, report["run"])
    assert letter["file"] == paths[31] and FILE_WORDS[kind] in letter["why"] and "line" not in letter and "row" not in letter, letter


def test_files_without_an_answer(workspace):
    fleet(workspace, FILES)
    paths = pictures(workspace, {3: b"none", 4: b"none"})
    files_job(workspace)
    report = workspace.json("batch", "run", "job.yaml")
    found = by_file(workspace)
    assert [found[path]["status"] for path in paths] == ["bad_input" if i in (3, 4) else "ok" for i in range(COUNT)]
    assert sorted(d["file"] for d in letters(workspace, report["run"])) == sorted(paths[3:5]) and report["attempts_lost"] == 0
    files_job(workspace, error_threshold=1)
    assert "2 rows have failed" in workspace.fails("batch", "run", "job.yaml", "--force")[1]


def test_files_that_failed_are_tried_again(workspace):
    fleet(workspace, FILES)
    paths = pictures(workspace, {40: b"locked"})
    files_job(workspace, mini_batch_size="20 files")
    first = workspace.json("batch", "run", "job.yaml")
    letter, = letters(workspace, first["run"])
    assert letter["file"] == paths[40] and "FileNotFoundError" in letter["why"]
    pathlib.Path(paths[40] + ".key").write_text("")
    was, content = os.stat(paths[0]), pathlib.Path(paths[0]).read_bytes()
    pathlib.Path(paths[0]).write_bytes(b"changed")
    assert "has changed since run" in workspace.fails("batch", "retry-failed")[1]
    pathlib.Path(paths[0]).write_bytes(content)
    os.utime(paths[0], ns=(was.st_atime_ns, was.st_mtime_ns))
    again = workspace.json("batch", "retry-failed")
    assert again["run"] == first["run"] + 1 and again["statuses"]["ok"] == again["rows"] == COUNT
    assert by_file(workspace)[paths[40]]["status"] == "ok" and sorted(by_file(workspace)) == sorted(paths)
    assert len(workspace.run("batch", "logs", again["run"]).stdout.splitlines()) == 1, "that mini-batch alone"
    assert "no mini-batch failed" in workspace.run("batch", "retry-failed").stdout, "nothing is left, and nothing is read"


def test_answers_by_name_and_keys_in_paths(workspace):
    """A dict, or a DataFrame with a column `file`: who is not in it has no answer. The path chooses the model."""
    write_model(workspace.cwd / "a", "items = 'files'\ndef run(b): return {p: 1 for p in reversed(b) if 'p 0' not in p}\n")
    frame = "import pandas\nitems = 'files'\ndef run(b): return pandas.DataFrame({'file': b[::-1][1:], 'value': 2.0})\n"
    write_model(workspace.cwd / "b", frame)
    env = {"MYRIAD_RUNTIME_PYTHON_PROGRAM": sys.executable}
    for name, segment in (("a", "shop=1"), ("b", "shop=2")):
        workspace.run("model", "import", name, "--fleet", "f", "--segment", segment, env=env)
    workspace.run("release", "create", "f")
    for shop in (1, 2, 3):
        for i in range(8, 13):
            path = workspace.cwd / f"pictures/shop={shop}/p {i:02d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
    files_job(workspace, output="{path: out, by: [shop], format: csv}", mini_batch_size=1000)
    workspace.run("batch", "run", "job.yaml", env=env)
    told = {shop: {os.path.basename(row["file"]): row for row in rows_of(workspace, f"out/shop={shop}")} for shop in (1, 2, 3)}
    assert {name: row["status"] for name, row in told[1].items()} == {f"p {i:02d}.jpg": "bad_input" if i < 10 else "ok" for i in range(8, 13)}
    assert [row["status"] for row in told[2].values()].count("ok") == 4 and {row["prediction"] for row in told[2].values()} == {"2.0", ""}
    assert {row["status"] for row in told[3].values()} == {"no_model"}


def test_nobody_else_may_name_files(workspace):
    """Whoever asks a server must not choose which of its files code opens."""
    fleet(workspace, FILES)
    pictures(workspace)
    (workspace.cwd / "in.csv").write_text("file\n/etc/passwd\n")
    answer = json.loads(workspace.run("predict", "f", "--row", '{"file":"/etc/passwd"}', "--json", ok=False).stdout or "{}")
    assert answer.get("prediction") is None
    job(workspace, output="{path: out, format: csv}")
    report = workspace.json("batch", "run", "job.yaml")
    assert report["statuses"]["unavailable"] == 1 and "input: {items: ...}" in report["trouble"]


@pytest.mark.parametrize("more,words", [
    ({"input": "{items: 'nothing/*.jpg'}"}, "nothing matches"),
    ({"input": "{items: x, files: y}"}, "'input' has one of files, items, sql and table"),
    ({"input": "in.csv"}, "50 files (up to 2048) with `input: {items: …}`"),
    ({"mini_batch_size": "2049 files"}, "'mini_batch_size' is '2049 files'"),
    ({"mini_batch_size": "0 files"}, "'mini_batch_size' is '0 files'"),
    ({"compute": "{type: spark, master: 'local[1]'}"}, "items: runs with `compute: {type: local}` have it"),
    ({"fleet": "g"}, "fleet g does not take files: its models have no feature 'file'"),
])
def test_files_that_are_refused(workspace, more, words):
    fleet(workspace, FILES)
    (workspace.cwd / "g.json").write_text(linear(["x"], 0, [1.0]))
    workspace.run("model", "import", "g.json", "--fleet", "g", "--segment", "")
    workspace.run("release", "create", "g")
    pictures(workspace)
    files_job(workspace, **more)
    assert words in workspace.fails("batch", "run", "job.yaml")[1]


def test_outputs_of_a_model_that_takes_files(workspace):
    for outputs, words in (("'two'", "outputs in score.py is 0"), ("0", "outputs in score.py is 0"), ("4097", "outputs in score.py is 4097")):
        write_model(workspace.cwd / "m", f"items = 'files'\noutputs = {outputs}\ndef run(b): return []\n")
        assert words in workspace.fails("model", "import", "m", "--fleet", "f", "--segment", "")[1]
    write_model(workspace.cwd / "m", "items = 'files'\ndef run(b): return []\n")
    assert "leave out --features" in workspace.fails("model", "import", "m", "--fleet", "f", "--segment", "", "--features", "a")[1]


def test_the_example(workspace):
    """The jobs of examples/code, as they stand there."""
    import shutil
    env = {"MYRIAD_RUNTIME_PYTHON_PROGRAM": sys.executable}
    shutil.copytree(ROOT / "examples/code", workspace.cwd / "code")
    workspace.run("model", "import", ROOT / "examples/custom-model", "--fleet", "curve", "--segment", "", env=env)
    workspace.run("release", "create", "curve")
    report = workspace.json("batch", "run", "code/sales.yaml", env=env)
    assert report["rows"] == 4 and report["statuses"]["ok"] == 4
    found = rows_of(workspace, "curve-scored")
    assert [round(float(row["prediction"]), 3) for row in found] == [9.3, 0.3, 9.1, 0.0]
    workspace.run("model", "import", ROOT / "examples/files-model", "--fleet", "pictures", "--segment", "")
    workspace.run("release", "create", "pictures")
    report = workspace.json("batch", "run", "code/pictures.yaml")
    assert report["rows"] == 3 and report["statuses"]["ok"] == 2 and report["statuses"]["bad_input"] == 1
    assert {os.path.basename(path): row["prediction"] for path, row in by_file(workspace, "pictures-scored").items()} == \
        {"dark.pgm": "10.0", "light.pgm": "200.0", "broken.pgm": ""}
