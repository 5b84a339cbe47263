"""kill -9 of workers, coordinators and the scheduler at random moments, over repeated runs: in the end the output is that of an
undisturbed run, row for row and bit for bit, and the ledger says the same.

20 kills; with MYR_LONG=1 a thousand, or as many as MYR_KILLS says. MYR_SEED is another course of events:
    MYR_LONG=1 MYR_BUILD_DIR=build .deps/venv-tests/bin/python -m pytest -s tests/system/test_batch_kills.py
"""
import collections
import contextlib
import json
import os
import pathlib
import random
import signal
import sqlite3
import subprocess
import time

import pytest
from conftest import linear

LONG = bool(os.environ.get("MYR_LONG"))
KILLS = int(os.environ.get("MYR_KILLS") or (1000 if LONG else 20))
SEED = int(os.environ.get("MYR_SEED") or 1)
FILES, ROWS = 3, 12000  # of each


@pytest.fixture
def world(workspace):
    parquet = pytest.importorskip("pyarrow.parquet")
    for name, segment, intercept in (("a", "store=1,brand=1", 1), ("b", "brand=2", 10), ("c", "", 100)):
        (workspace.cwd / f"{name}.json").write_text(linear(["x1", "x2"], intercept, [1.1, 2.3]))
        workspace.run("model", "import", f"{name}.json", "--fleet", "f", "--segment", segment)
    workspace.run("release", "create", "f")
    (workspace.cwd / "jobs").mkdir()
    for file in range(FILES):
        ids = range(file * ROWS, file * ROWS + ROWS)
        import pyarrow
        columns = {"store": [i % 5 for i in ids], "brand": ["x" if i % 1000 == 7 else str(i % 3) for i in ids], "x1": [i * 0.37 for i in ids],
                   "x2": [None if i % 11 == 0 else i % 7 / 3 for i in ids], "id": list(ids)}
        parquet.write_table(pyarrow.table(columns), workspace.cwd / f"in-{file}.parquet", row_group_size=3000)
    (workspace.cwd / "jobs/nightly.yaml").write_text(
        "fleet: f\ninput: ../in-*.parquet\noutput: {path: out, by: [brand], keep: [id]}\nmini_batch_size: 3000\n"
        "retry_settings: {backoff: 10ms, max_retries: 100}\n")
    return workspace


def rows(output):
    """All rows in order of their id, answers as bits. A half output fails here: each file of the manifest, and no other."""
    dataset = pytest.importorskip("pyarrow.dataset")
    manifest = json.loads((output / "_myriad.json").read_text())
    files = {str(p.relative_to(output)): p.stat().st_size for p in output.rglob("*") if p.is_file() and p.name != "_myriad.json"}
    assert files == {f["path"]: f["bytes"] for f in manifest["files"]}, "files and manifest differ"
    table = dataset.dataset(output, format="parquet", partitioning="hive").to_table().sort_by("id")
    answers = table["prediction"].combine_chunks()
    names = [name for name in table.column_names if name != "prediction"]
    return [answers.is_null().to_pylist(), answers.fill_null(0).to_numpy().tobytes(), table.select(sorted(names)).to_pydict()]


def ledger_is_consistent(world, run):
    """What the registry says of a completed run, against its output."""
    with contextlib.closing(sqlite3.connect(world.cwd / "registry.db")) as db:
        ask = lambda sql: db.execute(sql, (run,)).fetchall()
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        assert ask("SELECT state, row_count FROM run WHERE run_id = ?") == [("completed", FILES * ROWS)]
        batches = ask("SELECT number, input, first, past, row_count, state, attempts, file_count, byte_count FROM mini_batch WHERE run_id = ?")
        ended = {(n, k): cause for n, k, cause in ask("SELECT number, attempt, cause FROM attempt WHERE run_id = ?")}
    manifest = json.loads((world.cwd / "out/_myriad.json").read_text())
    assert {batch[5] for batch in batches} == {"done"}
    assert manifest["run"] == run and manifest["rows"] == sum(batch[4] for batch in batches) == FILES * ROWS
    assert sum(batch[7] for batch in batches) == len(manifest["files"])
    assert sum(batch[8] for batch in batches) == sum(file["bytes"] for file in manifest["files"])
    for file in range(FILES):  # parts are one after the other
        parts = sorted(batch[2:5] for batch in batches if batch[1] == file)
        assert [p[0] for p in parts] == [0, *(p[1] for p in parts[:-1])] and parts[-1][1] == ROWS
    for number, attempts in ((batch[0], batch[6]) for batch in batches):  # the last attempt won, those before it say why not
        assert ended[(number, attempts)] == "" and all(ended.get((number, k), "killed") for k in range(1, attempts))


def command_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_text().split("\0")[:-1]
    except OSError:
        return []


def processes(world, *words):
    """Of this test's workspace, by what they were told."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*"):
        command = command_of(path.name)
        with contextlib.suppress(OSError):
            if command[1:1 + len(words)] == list(words) and os.readlink(path / "cwd") == str(world.cwd):
                found.append(int(path.name))
    return found


def start(world, *words):
    return subprocess.Popen([world.path, *words], cwd=world.cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


class Course:
    """The course of events of one seed."""

    def __init__(self, world):
        self.world, self.dice, self.kills, self.runs = world, random.Random(SEED), collections.Counter(), 0
        began = time.monotonic()
        world.run("batch", "run", "jobs/nightly.yaml", "--force")
        self.usual = time.monotonic() - began
        self.expected = rows(world.cwd / "out")
        self.log = (world.cwd / "scheduler.log").open("a")
        self.begin_scheduler()

    def begin_scheduler(self):
        self.scheduler = subprocess.Popen([self.world.path, "scheduler", "--scheduler.poll", "50ms", "--lease", "500ms"], cwd=self.world.cwd,
                                          stdout=subprocess.PIPE, stderr=self.log, text=True)
        assert "jobs" in self.scheduler.stdout.readline(), (self.world.cwd / "scheduler.log").read_text()

    def end_scheduler(self, number=signal.SIGKILL):
        self.scheduler.send_signal(number)
        self.scheduler.wait(60)
        self.scheduler.stdout.close()

    def where(self):
        return f"seed {SEED}, after {sum(self.kills.values())} kills: {dict(self.kills)}"

    def kill(self, pids, kind):
        if not pids:
            return
        with contextlib.suppress(ProcessLookupError):  # it may have ended by itself
            os.kill(self.dice.choice(pids), signal.SIGKILL)
            self.kills[kind] += 1

    def wait(self):
        time.sleep(self.dice.random() * self.usual / 2)

    def disturb(self, coordinators):
        """One kill, of whoever the dice say. A coordinator is given as a list: it may have ended."""
        kind = self.dice.choice(["worker", "worker", "coordinator"])
        self.kill(coordinators if kind == "coordinator" else processes(self.world, "batch-worker"), kind)
        if kind == "coordinator" and (self.world.cwd / "out").exists():
            assert rows(self.world.cwd / "out") == self.expected, f"{self.where()}: the output is not whole"

    def go_on(self, process):
        """A run, or what goes on with it, until it is through. Gives back its number, or None: it was killed at its very end."""
        while True:
            while self.dice.random() < 0.8:
                self.wait()
                if process.poll() is not None:
                    break
                self.disturb([process.pid])
            out, err = process.communicate(timeout=120)
            if process.returncode == 0:
                return json.loads(out.splitlines()[-1])["run"]
            if "no run is unfinished" in err:
                return None
            assert process.returncode == -signal.SIGKILL, f"{self.where()}: {err}"
            has_begun = '"run"' in out or process.args[2] == "resume"
            process = start(self.world, "batch", *(["resume"] if has_begun else ["run", "jobs/nightly.yaml"]), "--json")

    def by_hand(self):
        return self.go_on(start(self.world, "batch", "run", "jobs/nightly.yaml", "--json"))

    def firing(self, number):
        return next(f for f in self.world.json("schedule", "history", "nightly", "--limit", 20) if f["id"] == number)

    def by_the_scheduler(self):
        firing = self.world.json("schedule", "run", "nightly")["firing"]
        until = time.monotonic() + 120
        while (state := self.firing(firing))["state"] in ("waiting", "starting", "running"):
            assert time.monotonic() < until, f"{self.where()}: {state}"
            self.wait()
            if self.dice.random() < 0.4:
                self.end_scheduler()
                self.kills["scheduler"] += 1
                self.begin_scheduler()
            else:
                self.disturb(processes(self.world, "batch", "run"))
        if state["state"] == "completed":
            return state["run"]
        assert state["state"] == "failed", f"{self.where()}: {state}"
        for pid in processes(self.world, "batch", "run"):  # a scheduler was killed before it knew what it had started
            os.kill(pid, signal.SIGKILL)
        resumed = self.go_on(start(self.world, "batch", "resume", "--json"))
        return resumed

    def round(self):
        for file in self.world.cwd.glob("in-*.parquet"):
            os.utime(file)  # another run: of the same files nothing would be done
        number = self.by_hand() if self.dice.random() < 0.5 else self.by_the_scheduler()
        assert rows(self.world.cwd / "out") == self.expected, self.where()
        if number is None:  # killed at its very end, or before it had a number
            number = self.world.json("batch", "run", "jobs/nightly.yaml")["run"]
            assert rows(self.world.cwd / "out") == self.expected, self.where()
        ledger_is_consistent(self.world, number)
        assert processes(self.world, "batch-worker") == [], f"{self.where()}: workers outlive their coordinator"
        self.runs += 1


def test_whoever_is_killed_the_output_is_that_of_an_undisturbed_run(world):
    course = Course(world)
    while sum(course.kills.values()) < KILLS:
        course.round()
    course.end_scheduler(signal.SIGTERM)
    assert course.scheduler.returncode == 0
    world.run("batch", "run", "jobs/nightly.yaml", "--force")  # what those left that were killed at their very end
    assert rows(world.cwd / "out") == course.expected and not list(world.cwd.glob("out.staging-*"))
    unfinished = [run for run in world.json("batch", "list", "--all")["runs"] if run["state"] in ("running", "interrupted")]
    assert unfinished == []
    assert "Sanitizer" not in (world.cwd / "scheduler.log").read_text()
    print(f"\n{sum(course.kills.values())} kills ({dict(course.kills)}) in {course.runs} runs")
