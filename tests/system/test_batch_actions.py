"""What becomes of rows (output_action), settings that are told, the first mini-batch in time, and failures tried again."""
import contextlib
import csv
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import time

import pytest
from conftest import linear
from test_batch_failures import KILLS, exponential, job, letters, poison, table  # noqa: F401 (fixtures)

ROWS = 4000


@pytest.fixture
def fleet(workspace):
    (workspace.cwd / "m.json").write_text(linear(["x"], 0, [1.0]))
    workspace.run("model", "import", "m.json", "--fleet", "f", "--segment", "k=1")
    workspace.run("release", "create", "f")
    return workspace


def predictions(workspace, output="out"):
    dataset = pytest.importorskip("pyarrow.dataset")
    return sorted(dataset.dataset(workspace.cwd / output, format="parquet").to_table().to_pylist(), key=lambda row: int(row["id"]))


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_append_row_makes_one_file(fleet, format):
    table(fleet)
    job(fleet, output="{path: out, keep: [id], format: %s}" % format)
    fleet.run("batch", "run", "job.yaml", "--output", "plain")
    job(fleet, output="{path: out, keep: [id], format: %s}" % format, output_action="append_row")
    report = fleet.json("batch", "run", "job.yaml")
    assert report["mini_batches"] == 4 and report["files"] == 1
    names = sorted(path.name for path in (fleet.cwd / "out").iterdir())
    assert names == ["_myriad.json", f"predictions.{format}"]
    if format == "csv":
        parts = [path.read_text() for path in sorted((fleet.cwd / "plain").glob("*.csv"))]
        assert (fleet.cwd / "out/predictions.csv").read_text() == parts[0] + "".join(part.split("\n", 1)[1] for part in parts[1:])
    else:
        parquet = pytest.importorskip("pyarrow.parquet")
        ids = parquet.read_table(fleet.cwd / "out/predictions.parquet").column("id").to_pylist()
        assert [int(i) for i in ids] == list(range(ROWS)) and predictions(fleet) == predictions(fleet, "plain")
    assert fleet.json("batch", "run", "job.yaml")["unchanged"] is True
    assert "wrote one file" in fleet.fails("batch", "retry-failed", report["run"])[1]


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_append_row_killed_where_the_parts_are_one_file(fleet):
    table(fleet)
    job(fleet, output="{path: out, keep: [id], format: csv}", output_action="append_row", append_row_file_name="scores.csv")

    def traced(*options):
        return subprocess.run(["strace", "-f", "-qq", "-o", "trace.txt", "-e", "trace=rename", *options], cwd=fleet.cwd, timeout=120,
                              capture_output=True, text=True, env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"})

    assert traced(fleet.path, "batch", "run", "job.yaml", "--output", "other").returncode == 0
    calls = re.findall(r'^(\d+) +rename\(.*, "(.*)"', (fleet.cwd / "trace.txt").read_text(), re.M)
    thread, = {thread for thread, path in calls if path.endswith("/other")}
    last = [path for by, path in calls if by == thread].index(str((fleet.cwd / "other").resolve())) + 1
    done = traced("-e", f"inject=rename:signal=KILL:when={last}", fleet.path, "batch", "run", "job.yaml")
    assert done.returncode != 0 and list(fleet.cwd.glob("out.staging-*/appended/scores.csv")) and not (fleet.cwd / "out").exists()
    fleet.run("batch", "resume")
    rows = list(csv.DictReader(open(fleet.cwd / "out/scores.csv")))
    assert [int(row["id"]) for row in rows] == list(range(ROWS)) and not list(fleet.cwd.glob("out.*"))


def test_summary_only_counts(fleet):
    table(fleet, bad={7: "2,1,7\n"})
    job(fleet, output_action="summary_only")
    report = fleet.json("batch", "run", "job.yaml")
    assert report["rows"] == ROWS and report["statuses"] == {**report["statuses"], "ok": ROWS - 1, "no_model": 1} and report["files"] == 0
    assert [path.name for path in (fleet.cwd / "out").iterdir()] == ["_myriad.json"]
    letter, = letters(fleet, report["run"])
    assert letter["line"] == 9
    assert fleet.json("batch", "run", "job.yaml")["unchanged"] is True
    assert "nothing to --store" in fleet.fails("batch", "run", "job.yaml", "--store", "sqlite:p.db", "--force")[1]


def test_effective_settings_are_told(fleet):
    table(fleet)
    job(fleet, name="nightly", partition_keys="[k]", first_task_creation_timeout="90s")
    text = fleet.run("batch", "run", "job.yaml").stdout
    for line in ("run 1", "  name: nightly", "  release: 1", "  partition_keys: [k]", "  mini_batch_size: 1000", "  first_task_creation_timeout: 90s",
                 "  progress_update_timeout: 600s", "  output_action: parts", "    max_retries: 1", "    keep: [id]"):
        assert line in text.splitlines(), (line, text)
    shown = fleet.run("batch", "show").stdout.splitlines()
    assert all(line[2:] in shown for line in text.splitlines() if line.startswith("  ")), (text, shown)
    first = json.loads(fleet.run("batch", "run", "job.yaml", "--force", "--json").stdout.splitlines()[0])
    assert first["run"] == 2 and first["settings"]["mini_batch_rows"] == 1000
    assert "partition_keys: [k]" in (fleet.cwd / "runs/2/report.html").read_text()
    assert json.loads((fleet.cwd / "runs/2/report.json").read_text())["settings"] == first["settings"]
    assert fleet.json("batch", "show", 2)["settings"] == first["settings"]


def test_settings_that_are_told_are_a_job_file(fleet):
    """What a run tells is read as a job file again, and means the same."""
    table(fleet)
    job(fleet, retry_settings="{backoff: 10ms, max_retries: 1, timeout: 90s}", memory_max="512MiB", mini_batch_size="100kb")
    text = fleet.run("batch", "run", "job.yaml").stdout
    (fleet.cwd / "told.yaml").write_text("".join(line[2:] + "\n" for line in text.splitlines() if line.startswith("  ")))
    assert "unchanged" in fleet.run("batch", "run", "told.yaml").stdout


def test_the_first_mini_batch_comes_in_time(fleet):
    table(fleet, rows=100000)
    job(fleet, partition_keys="[k]", first_task_creation_timeout="50ms")
    code, message = fleet.fails("batch", "run", "job.yaml")
    assert "no worker has begun with a mini-batch after 50 ms: first_task_creation_timeout" in message
    assert not list(fleet.cwd.glob("out*")) and fleet.json("batch", "list")["runs"][0]["state"] == "failed"
    job(fleet, partition_keys="[k]", first_task_creation_timeout="0s")
    assert fleet.json("batch", "run", "job.yaml")["rows"] == 100000


def small(workspace, bad):
    """Rows whose exp() is a number; those of `bad` are as they are given."""
    lines = [bad.get(i, f"1,{i % 10},{i}\n") for i in range(ROWS)]
    (workspace.cwd / "in.csv").write_text("k,x,id\n" + "".join(lines))


@pytest.mark.parametrize("grouped", [False, True], ids=["plain", "grouped"])
def test_what_failed_is_tried_again(exponential, poison, grouped):  # noqa: F811
    small(exponential, {1500: f"1,{KILLS},1500\n", 7: "2,0,7\n"})
    job(exponential, mini_batch_error_threshold=-1, retry_settings="{backoff: 10ms, max_retries: 0}",
        **({"partition_keys": "[k]"} if grouped else {}))
    first = json.loads(exponential.run("batch", "run", "job.yaml", "--json", env=poison).stdout.splitlines()[-1])
    assert first["mini_batches_failed"] == 1 and len(predictions(exponential)) == ROWS - 1 and len(letters(exponential, first["run"])) == 2
    before = {path.name: path.stat().st_ino for path in (exponential.cwd / "out").glob("*.parquet")}
    assert "99" in exponential.fails("batch", "retry-failed", 99)[1]
    again = exponential.json("batch", "retry-failed")  # without the library that kills
    assert again["run"] == first["run"] + 1 and again["mini_batches_failed"] == 0 and again["rows"] == ROWS
    after = {path.name: path.stat().st_ino for path in (exponential.cwd / "out").glob("*.parquet")}
    assert set(after) > set(before) and all(after[name] == inode for name, inode in before.items()), "the rest is as it was"
    found = predictions(exponential)
    assert [int(row["id"]) for row in found] == list(range(ROWS)) and found[1500]["status"] == "ok"
    letter, infinite = sorted(letters(exponential, again["run"]), key=lambda letter: letter["cause"])
    assert letter["cause"] == "no_model" and (grouped or letter["line"] == 9) and infinite["cause"] == "not_finite"
    shown = exponential.json("batch", "show", again["run"])
    assert shown["settings"]["retry_of"] == first["run"] and shown["state"] == "completed"
    assert len(exponential.run("batch", "logs", again["run"]).stdout.splitlines()) == 1
    assert not list(exponential.cwd.glob("out.*"))
    assert "is the output of run" in exponential.fails("batch", "retry-failed", first["run"])[1]
    assert "nothing of run" in exponential.run("batch", "retry-failed").stdout
    exponential.run("batch", "run", "job.yaml", "--output", "fresh")
    assert predictions(exponential, "fresh") == found
    assert exponential.json("batch", "run", "job.yaml")["unchanged"] is True


def test_what_a_condition_left_is_tried_again(exponential, poison):  # noqa: F811
    """The rows went with the run; they are read again, from any directory, and must be the same."""
    small(exponential, {1500: f"1,{KILLS},1500\n"})
    job(exponential, input="{files: in.csv, filter: id < 3000}", mini_batch_error_threshold=-1, retry_settings="{backoff: 10ms, max_retries: 0}")
    exponential.run("batch", "run", "job.yaml", env=poison)
    assert len(predictions(exponential)) == 2999
    text = (exponential.cwd / "in.csv").read_text()
    (exponential.cwd / "in.csv").write_text(text.replace("\n1,", "\n1,0", 1))
    assert "in.csv where id < 3000 has changed since run" in exponential.fails("batch", "retry-failed")[1]
    (exponential.cwd / "in.csv").write_text(text + "1,1,5000\n")  # the condition leaves the same rows
    again = exponential.json("batch", "retry-failed", "--workspace", exponential.cwd, cwd="/")
    assert again["rows"] == 3000 and [int(row["id"]) for row in predictions(exponential)] == list(range(3000))


def test_a_retry_that_fails_or_is_killed_leaves_the_output(exponential, poison):  # noqa: F811
    small(exponential, {1500: f"1,{KILLS},1500\n"})
    job(exponential, mini_batch_error_threshold=-1, retry_settings="{backoff: 10ms, max_retries: 0}")
    exponential.run("batch", "run", "job.yaml", env=poison)
    before = predictions(exponential)
    report = exponential.json("batch", "retry-failed", env=poison)
    assert report["mini_batches_failed"] == 1 and predictions(exponential) == before  # it still kills: a row fewer, as before
    process = subprocess.Popen([exponential.path, "batch", "retry-failed", "--json"], cwd=exponential.cwd, text=True,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={**os.environ, **poison})
    run = json.loads(process.stdout.readline())["run"]
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    assert predictions(exponential) == before
    if exponential.json("batch", "status", run)["state"] != "completed":
        exponential.run("batch", "resume", run)
        assert [int(row["id"]) for row in predictions(exponential)] == list(range(ROWS)) and not list(exponential.cwd.glob("out.*"))


def test_an_input_that_has_changed_is_not_tried_again(fleet):
    table(fleet, bad={5: "1,oops,5\n"})
    job(fleet, mini_batch_error_threshold=-1)
    run = fleet.json("batch", "run", "job.yaml")["run"]
    time.sleep(0.01)
    table(fleet)
    assert "in.csv has changed since run" in fleet.fails("batch", "retry-failed", run)[1]


def test_details_by_job_file_and_flag(fleet):
    import pyarrow.parquet as parquet
    table(fleet)

    def columns(*args, **more):
        job(fleet, **more)
        fleet.run("batch", "run", "job.yaml", *args)
        return parquet.ParquetFile(next((fleet.cwd / "out").glob("*.parquet"))).schema_arrow.names
    usual = ["k", "id", "prediction"]
    assert columns() == [*usual, "model", "model_version", "level", "status"]
    assert columns(output="{path: out, keep: [id], details: [status, model]}") == [*usual, "model", "status"]
    settings = fleet.json("batch", "show")["settings"]
    assert settings["details"] == ["model", "status"]
    told = fleet.run("batch", "show").stdout
    assert "  details: [model, status]" in told.splitlines(), told
    assert columns("--details", "level", output="{path: out, keep: [id], details: []}") == [*usual, "level"]
    assert columns("--details", "none") == usual
    assert columns(output="{path: out, keep: [id], details: []}") == usual
    assert "unchanged" in fleet.run("batch", "run", "job.yaml", "--details", "none").stdout, "said in another way, it is the same"
    assert "did you mean 'status'?" in fleet.fails("batch", "run", "job.yaml", "--details", "model,statsu")[1]
    job(fleet, output="{table: t, database: 'sqlite:t.db', keep: [id], details: [status, model_version]}")
    fleet.run("batch", "run", "job.yaml")
    with contextlib.closing(sqlite3.connect(fleet.cwd / "t.db")) as db:
        assert [column[1] for column in db.execute("PRAGMA table_info(t)")] == [*usual, "model_version", "status"]
        assert db.execute("SELECT count(*), sum(status = 'ok') FROM t").fetchone() == (ROWS, ROWS)
    assert columns(output="{path: out, keep: [id], details: [level]}", output_action="append_row") == [*usual, "level"]


@pytest.mark.parametrize("line,words", [
    ("output: {path: x, details: [modle]}", "'details': there is no detail 'modle'; did you mean 'model'?"),
    ("output: {path: x, details: [model, none]}", "'none' stands alone"),
    ("output: {path: x, detials: []}", "did you mean 'details'?"),
    ("output_action: rows", "'output_action' is 'rows': parts (a file per mini-batch), append_row (one file) or summary_only"),
    ("output_action: append_row\noutput: {path: x, by: [k]}", "makes no directories: leave out 'by'"),
    ("append_row_file_name: x.parquet", "is for 'output_action: append_row'"),
    ("output_action: append_row\nappend_row_file_name: x.csv", "that ends in .parquet, the output's format"),
    ("output_action: append_row\nappend_row_file_name: a/x.parquet", "a name of at most 200 bytes"),
    ("output_action: append_row\nappend_row_file_name: _x.parquet", "a name of at most 200 bytes"),
    ("output_action: append_row\nappend_row_file_name: " + "x" * 193 + ".parquet", "a name of at most 200 bytes"),
    ("first_task_creation_timeout: 8d", "0 to 7 days"),
])
def test_a_job_file_that_is_wrong(fleet, line, words):
    (fleet.cwd / "job.yaml").write_text(line + "\n")
    code, message = fleet.fails("batch", "run", "job.yaml")
    assert code == 65 and words in message, message
