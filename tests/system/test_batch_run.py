"""Runs that are killed and go on: whoever dies, and when, the output in the end is that of an undisturbed run, row for row."""
import contextlib
import json
import os
import random
import shutil
import signal
import subprocess
import time

import pytest
from conftest import ROOT, linear

KILLS = 1000 if os.environ.get("MYR_LONG") else 12
ROWS = 60000


@pytest.fixture
def fleet(workspace):
    for name, segment, intercept in (("a", "store=1,brand=1", 1), ("b", "brand=2", 10), ("c", "", 100)):
        (workspace.cwd / f"{name}.json").write_text(linear(["x1", "x2"], intercept, [1.0, 2.0]))
        workspace.run("model", "import", f"{name}.json", "--fleet", "f", "--segment", segment)
    workspace.run("release", "create", "f")
    with open(workspace.cwd / "in.csv", "w") as out:
        out.write("store,brand,x1,x2,id\n")
        out.writelines(f"{i % 5},{'x' if i % 1000 == 7 else i % 3},{i * 0.25},{i % 7},{i}\n" for i in range(ROWS))
    job(workspace)
    return workspace


def job(workspace, name="job.yaml", **more):
    lines = {"name": "nightly", "fleet": "f", "input": "in.csv", "output": "{path: out, by: [brand], keep: [id]}",
             "mini_batch_size": "3000", "retry_settings": "{backoff: 10ms}", **more}
    (workspace.cwd / name).write_text("".join(f"{key}: {value}\n" for key, value in lines.items()))


def rows(workspace, output="out"):
    """Every row of an output, in order of its id; a half output fails here."""
    dataset = pytest.importorskip("pyarrow.dataset")
    out = workspace.cwd / output
    manifest = json.loads((out / "_myriad.json").read_text())
    files = {str(p.relative_to(out)): p.stat().st_size for p in out.rglob("*") if p.is_file() and p.name != "_myriad.json"}
    assert files == {f["path"]: f["bytes"] for f in manifest["files"]}
    table = dataset.dataset(out, format="parquet", partitioning="hive").to_table().to_pylist()
    return sorted((tuple(sorted((k, repr(v)) for k, v in row.items())) for row in table), key=lambda row: int(dict(row)["id"].strip("'")))


def start(workspace, *words):
    return subprocess.Popen([workspace.path, *words], cwd=workspace.cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def workers(pid):
    """Its workers alone: LeakSanitizer at its end works in a child as well, and would wait for that forever."""
    done = subprocess.run(["pgrep", "-P", str(pid), "-f", "batch-worker"], capture_output=True, text=True)
    return [int(word) for word in done.stdout.split()]


def ledger(workspace, run):
    import sqlite3
    with sqlite3.connect(workspace.cwd / "registry.db") as db:
        state, = db.execute("select state from run where run_id = ?", (run,)).fetchone()
        return state, dict(db.execute("select state, count(*) from mini_batch where run_id = ? group by 1", (run,)).fetchall())


def test_a_job_file_runs_and_a_second_time_nothing_is_done(fleet):
    done = fleet.run("batch", "run", "job.yaml", "--json")
    first, report = (json.loads(line) for line in done.stdout.splitlines())
    assert first == {"run": report["run"], "state": "running"} and report["rows"] == ROWS
    assert len(rows(fleet)) == ROWS
    assert ledger(fleet, report["run"])[0] == "completed" and set(ledger(fleet, report["run"])[1]) == {"done"}
    before = (fleet.cwd / "out/_myriad.json").read_bytes()
    again = fleet.json("batch", "run", "job.yaml")
    assert again["unchanged"] and again["run"] == report["run"] and again["rows"] == ROWS
    assert (fleet.cwd / "out/_myriad.json").read_bytes() == before
    forced = fleet.json("batch", "run", "job.yaml", "--force")
    assert not forced["unchanged"] and forced["run"] > report["run"]


def test_kill_and_resume(fleet):
    """Coordinators and workers killed at random moments, again and again over one run until it is through."""
    fleet.run("batch", "run", "job.yaml", "--output", "plain")
    expected = rows(fleet, "plain")
    began = time.monotonic()
    fleet.run("batch", "run", "job.yaml", "--force")
    usual = time.monotonic() - began
    seed = int(os.environ.get("MYR_SEED", "1"))
    dice = random.Random(seed)
    kills = finished = 0
    while kills < KILLS:
        process = start(fleet, "batch", "run", "job.yaml", "--force", "--json")
        while True:
            time.sleep(dice.random() * usual)
            if process.poll() is not None:
                break
            if dice.random() < 0.5:
                process.send_signal(signal.SIGKILL)
                kills += 1
            else:
                victims = workers(process.pid)
                if victims:
                    with contextlib.suppress(ProcessLookupError):  # it may have ended by itself
                        os.kill(dice.choice(victims), signal.SIGKILL)
                        kills += 1
                process.wait(timeout=120)
            out, err = process.communicate(timeout=120)
            if process.returncode == 0 or "no run is unfinished" in err:  # the one before was killed when all was done
                break
            assert process.returncode == -signal.SIGKILL, f"seed {seed}, kill {kills}: {err}"
            time.sleep(0.05)
            if "run" not in out:
                process = start(fleet, "batch", "run", "job.yaml", "--force", "--json")
            else:
                process = start(fleet, "batch", "resume", "--json")
        out, err = process.communicate(timeout=120)
        finished += 1
        if process.returncode != 0:  # nothing was left to resume: it was killed after it had published
            assert "unfinished" in err or "resume" in err, f"seed {seed}, kill {kills}: {err}"
        assert rows(fleet) == expected, f"seed {seed}, kill {kills}"
        if process.returncode == 0:
            assert [p.name for p in fleet.cwd.glob("out.staging-*")] == [], f"seed {seed}, kill {kills}"
    assert finished > 1
    fleet.run("batch", "run", "job.yaml", "--force")  # what those left that were killed at their very end
    assert rows(fleet) == expected and not list(fleet.cwd.glob("out.staging-*"))


def test_resume_refuses_changed_inputs(fleet):
    process = start(fleet, "batch", "run", "job.yaml", "--json")
    process.stdout.readline()
    process.kill()
    process.wait()
    with open(fleet.cwd / "in.csv", "a") as out:
        out.write("1,1,1,1,1\n")
    code, message = fleet.fails("batch", "resume")
    assert code == 65 and "in.csv has changed" in message, message
    assert list(fleet.cwd.glob("out.staging-*")), "what was done is kept"


def test_the_example_of_a_nightly_job(workspace):
    """examples/oj/nightly.yaml, on a fleet with the columns of examples/oj: a directory per brand, and its next time."""
    features = ["week", *(f"price{i}" for i in range(1, 12)), "deal", "feat"]
    (workspace.cwd / "m.json").write_text(linear(features))
    workspace.run("model", "import", "m.json", "--fleet", "oj", "--segment", "store=2,brand=1")
    workspace.run("model", "import", "m.json", "--fleet", "oj", "--segment", "brand=2")
    workspace.run("release", "create", "oj")
    for part in ("jobs", "data"):
        (workspace.cwd / part).mkdir()
    columns = ["store", "brand", "logmove", *features]
    for name, brand in (("oj-1.csv", 1), ("oj-2.csv", 2)):
        lines = [",".join(columns), *(f"2,{brand},9.5,{week}" + ",1" * (len(features) - 1) for week in range(3))]
        (workspace.cwd / "data" / name).write_text("\n".join(lines) + "\n")
    shutil.copy(ROOT / "examples/oj/nightly.yaml", workspace.cwd / "jobs")
    workspace.run("batch", "run", "jobs/nightly.yaml")
    assert {path.name for path in (workspace.cwd / "scored").iterdir()} == {"brand=1", "brand=2", "_myriad.json"}
    assert json.loads((workspace.cwd / "scored/_myriad.json").read_text())["rows"] == 6
    times = workspace.run("schedule", "next", "nightly", "--count", "1", "--after", "2026-07-01").stdout
    assert "2026-07-01T02:30:00-05:00" in times
