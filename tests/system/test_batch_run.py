"""Runs by job files: done once, refused when their inputs have changed, as the example has them."""
import json
import shutil
import signal
import subprocess
import time

import pytest
from conftest import ROOT, linear

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


def ledger(workspace, run):
    import sqlite3
    with sqlite3.connect(workspace.cwd / "registry.db") as db:
        state, = db.execute("select state from run where run_id = ?", (run,)).fetchone()
        return state, dict(db.execute("select state, count(*) from mini_batch where run_id = ? group by 1", (run,)).fetchall())


def test_a_job_file_runs_and_a_second_time_nothing_is_done(fleet):
    done = fleet.run("batch", "run", "job.yaml", "--json")
    first, report = (json.loads(line) for line in done.stdout.splitlines())
    assert (first["run"], first["state"], first["settings"]["by"]) == (report["run"], "running", ["brand"]) and report["rows"] == ROWS
    assert len(rows(fleet)) == ROWS
    assert ledger(fleet, report["run"])[0] == "completed" and set(ledger(fleet, report["run"])[1]) == {"done"}
    before = (fleet.cwd / "out/_myriad.json").read_bytes()
    again = fleet.json("batch", "run", "job.yaml")
    assert again["unchanged"] and again["run"] == report["run"] and again["rows"] == ROWS
    assert (fleet.cwd / "out/_myriad.json").read_bytes() == before
    forced = fleet.json("batch", "run", "job.yaml", "--force")
    assert not forced["unchanged"] and forced["run"] > report["run"]


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


def test_a_run_has_one_owner(fleet):
    """One that is stopped past its lease keeps its run; of two that resume one at once, one does."""
    import contextlib
    import sqlite3
    job(fleet, mini_batch_size=1500)
    process = start(fleet, "batch", "run", "job.yaml", "--json")
    run = json.loads(process.stdout.readline())["run"]
    process.send_signal(signal.SIGSTOP)
    with contextlib.closing(sqlite3.connect(fleet.cwd / "registry.db", timeout=10)) as db:
        db.execute("UPDATE run SET lease_ms = 1")
        db.commit()
    assert fleet.json("batch", "status", run)["state"] == "interrupted"
    code, message = fleet.fails("batch", "resume", run)
    assert code == 75 and "somebody else is at work on it" in message, message
    process.send_signal(signal.SIGKILL)
    process.wait()
    both = [start(fleet, "batch", "resume", str(run), "--json") for _ in range(2)]
    said = [one.communicate(timeout=120) for one in both]
    assert sorted(one.returncode == 0 for one in both) in ([False, True], [True, True]), said
    done, = {json.loads(out.splitlines()[-1])["run"] for (out, _), one in zip(said, both) if one.returncode == 0}
    for (_, err), one in zip(said, both):
        assert one.returncode == 0 or "somebody else is at work on it" in err or "there is nothing to resume" in err, err
    assert done == run and len(rows(fleet)) == ROWS and ledger(fleet, run)[1] == {"done": ROWS // 1500}
    with contextlib.closing(sqlite3.connect(fleet.cwd / "registry.db")) as db:
        most, = db.execute("SELECT max(n) FROM (SELECT count(*) AS n FROM attempt WHERE run_id = ? AND cause = '' GROUP BY number)", (run,)).fetchone()
    assert most == 1, "no mini-batch was done twice"


def test_a_run_goes_on_from_another_directory(fleet):
    """Whatever it was told relative to where it began, it means when it goes on from elsewhere."""
    below = fleet.cwd / "below"
    below.mkdir()
    (fleet.cwd / "big.yaml").write_text("fleet: f\nmini_batch_size: 500\ncompute: {max: 1}\n")
    words = ["--workspace", "..", "--input", "../in.csv", "--filter", "id < 50000", "--output", "out", "--store", "sqlite:p.db"]
    process = subprocess.Popen([fleet.path, "batch", "run", "../big.yaml", *words, "--json"], cwd=below, stdout=subprocess.PIPE, text=True)
    first = json.loads(process.stdout.readline())
    process.kill()
    process.wait()
    assert first["settings"]["input"] == [f"{below}/../in.csv"] and first["settings"]["predictions"] == f"sqlite:{below}/p.db"
    fleet.run("batch", "resume", "--workspace", "tmp/../" + str(fleet.cwd).lstrip("/"), cwd="/")
    assert json.loads((below / "out/_myriad.json").read_text())["rows"] == 50000 and (below / "p.db").exists()
    assert {path.name.removesuffix("-wal").removesuffix("-shm") for path in below.iterdir()} == {"out", "p.db"}


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


def test_workers_within_limits(fleet):
    """Without a group of ours it is affinity that holds a processor's share; the report says so, and how soon the first row came."""
    job(fleet, compute="{min: 2, max: 2, worker_cpus: 0.5, cgroup: 'off'}")
    run = fleet.json("batch", "run", "job.yaml")["run"]
    said = json.loads((fleet.cwd / f"runs/{run}/report.json").read_text())
    assert (said["workers"]["memory_held_by"], said["workers"]["cpu_held_by"]) == ("none", "affinity")
    assert 0 < said["workers"]["first_row_ms"] <= said["duration_ms"]
    assert (said["settings"]["workers_min"], said["settings"]["worker_cpu_milli"], said["settings"]["cgroup"]) == (2, 500, "off")
    assert len({batch["worker"] for batch in said["mini_batches"]}) == 2
    assert "limit of memory: none, of processors: affinity" in (fleet.cwd / f"runs/{run}/report.html").read_text()
    for compute, message in (("{min: 3, max: 2}", "'min' is 3, more than 'max'"), ("{worker_cpus: 0}", "'worker_cpus'"), ("{worker_cpus: 1025}", "'worker_cpus'"),
                             ("{cgroup: batch}", "'cgroup' is 'batch': auto, off, or a group"), ("{cgroup: /a/../b}", "'cgroup' is '/a/../b'")):
        job(fleet, compute=compute)
        code, why = fleet.fails("batch", "run", "job.yaml")
        assert code == 65 and message in why, why
