"""Outputs in several places at once, each category in its own, and predictions that servers read: whole each, all in the end, each once."""
import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import time

import pytest
import requests
from databases import Postgres
from servers import running
from test_batch_sinks import COLUMNS, ROWS, fleet, job, left, locked, start, table, tuples, until, work_is_done  # noqa: F401

PLACES = "stores: {brand=1: first, brand=2: {table: scored, database: 'sqlite:s.db'}, \"store=4,brand=0\": deep/er, default: rest}"


def dataset(path):
    rows = pytest.importorskip("pyarrow.parquet")
    out = []
    manifest = json.loads((path / "_myriad.json").read_text())
    files = {str(p.relative_to(path)): p.stat().st_size for p in path.rglob("*") if p.is_file() and p.name != "_myriad.json"}
    assert files == {f["path"]: f["bytes"] for f in manifest["files"]}, "files and manifest differ"
    for name in files:
        values = dict(part.split("=") for part in name.split("/")[:-1])
        out += [{**row, **values} for row in rows.ParquetFile(path / name).read().to_pylist()]
    return out


def read(fleet, **places):
    """Rows of all places: {name: rows}, each as tuples."""
    found = {name: tuples([int(row["store"]), row["brand"], *(row[c] for c in COLUMNS[2:])] for row in dataset(fleet.cwd / path))
             for name, path in places.items()}
    with contextlib.closing(sqlite3.connect(fleet.cwd / "s.db")) as db:
        found["table"] = tuples(db.execute(f"SELECT {','.join(COLUMNS)} FROM scored").fetchall())
    return found


def wanted(fleet):
    """The same rows out of one directory, dealt out."""
    fleet.run("batch", "run", job(fleet, "plain", "plain.yaml"))
    rows = tuples([row[c] for c in COLUMNS] for row in dataset(fleet.cwd / "plain"))
    deal = {"first": lambda r: r[1] == "1", "table": lambda r: r[1] == "2", "deep": lambda r: r[1] == "0" and r[0] == 4}
    out = {name: [r for r in rows if is_its(r)] for name, is_its in deal.items()}
    out["rest"] = [r for r in rows if not any(is_its(r) for is_its in deal.values())]
    assert all(out.values())
    return out


WHERE = {"first": "first", "deep": "deep/er", "rest": "rest"}


def test_each_group_has_its_place(fleet):  # noqa: F811
    name = job(fleet, "{" + PLACES + ", by: [store, brand]}")
    report = fleet.json("batch", "run", name)
    found = read(fleet, **WHERE)
    assert found == wanted(fleet) and report["rows"] == ROWS and left(fleet) == []
    for place, path in WHERE.items():
        manifest = json.loads((fleet.cwd / path / "_myriad.json").read_text())
        assert (manifest["rows"], manifest["run_rows"]) == (len(found[place]), ROWS)
    assert {p.name for p in (fleet.cwd / "deep/er").iterdir()} == {"store=4", "_myriad.json"}
    again = fleet.json("batch", "run", name)
    assert again["unchanged"] and again["rows"] == ROWS
    shutil.rmtree(fleet.cwd / "first")
    assert not fleet.json("batch", "run", name)["unchanged"], "one place is gone: all are made"
    table(fleet, 1.0)
    run = fleet.json("batch", "run", name)["run"]
    assert read(fleet, **WHERE) == wanted(fleet)
    shown = fleet.run("batch", "show", run).stdout
    assert "brand=1" in shown and "default" in shown
    assert "do not say what they are of: begin a new run with --force" in fleet.fails("batch", "retry-failed", run)[1]


def test_places_that_can_not_be(fleet):  # noqa: F811
    for output, words in (("{stores: {brand=1: a, default: b}}", "'brand=1' is no group of the output"),
                          ("{stores: {brnd=1: a, default: b}, by: [brand]}", "'brnd=1' is no group"),
                          ("{stores: {brand=1: a}, by: [brand]}", "needs a 'default'"),
                          ("{stores: {brand=1: a, default: a}, by: [brand]}", "is named twice"),
                          ("{stores: {brand=1: n/b, default: n}, by: [brand]}", "one lies in the other"),
                          ("{stores: {brand=1: a, default: b}, path: c, by: [brand]}", "in place of a path or a table"),
                          ("{stores: {brand=1: {tabel: x}, default: b}, by: [brand]}", "did you mean 'table'"),
                          ("{stores: [a, b], by: [brand]}", "'stores' is {brand=1")):
        code, message = fleet.fails("batch", "run", job(fleet, output))
        assert code == 65 and words in message, message
        assert not [p for p in fleet.cwd.rglob("_myriad.json")]
    many = ", ".join(f"brand=n{i}: d/{i}" for i in range(256))
    fleet.run("batch", "run", job(fleet, f"{{stores: {{{many}, default: d/rest}}, by: [brand]}}"))
    assert len(list((fleet.cwd / "d").iterdir())) == 257
    code, message = fleet.fails("batch", "run", job(fleet, f"{{stores: {{{many}, brand=one: d/one, default: d/rest}}, by: [brand]}}"))
    assert "at most 256" in message, message


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_killed_between_two_places(fleet):  # noqa: F811
    """kill -9 at each exchange of names: each place is old or new, never a half; resuming finishes those that are left."""
    name = job(fleet, "{" + PLACES + ", by: [store, brand]}")
    fleet.run("batch", "run", name)
    resumed = 0
    for shift in (1, 2, 3):
        before = read(fleet, **WHERE)
        table(fleet, float(shift))
        after = wanted(fleet)
        done = subprocess.run(["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=renameat2", "-e",
                               f"inject=renameat2:signal=KILL:when={shift}", fleet.path, "batch", "run", name], cwd=fleet.cwd,
                              capture_output=True, text=True, timeout=120, env={**os.environ, "ASAN_OPTIONS": "detect_leaks=0"})
        assert done.returncode != 0
        now = read(fleet, **WHERE)
        assert all(now[place] in (before[place], after[place]) for place in now), "a place is neither old nor new"
        assert now != after or shift == 3
        resumed += now["table"] == after["table"] and now["rest"] == before["rest"]
        fleet.run("batch", "resume")
        assert read(fleet, **WHERE) == after and left(fleet) == []
        assert not [p for p in fleet.cwd.rglob("*.staging-*")], "nothing is left"
    assert resumed, "some were finished while others were not"


def test_a_place_on_another_file_system(fleet, tmp_path_factory):  # noqa: F811
    mount = tmp_path_factory.mktemp("other")
    if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", mount]).returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        places = PLACES.replace("brand=1: first", f"brand=1: {mount}/first")
        fleet.run("batch", "run", job(fleet, "{" + places + ", by: [store, brand]}"))
        assert read(fleet, **{**WHERE, "first": f"{mount}/first"}) == wanted(fleet)
        assert [p.name for p in mount.iterdir()] == ["first"]
    finally:
        subprocess.run(["umount", mount], check=True)


# ---- predictions that servers read ----

@pytest.fixture(params=["sqlite", "postgres"])
def store(request, fleet):  # noqa: F811
    if request.param == "sqlite":
        def ask(sql):
            with contextlib.closing(sqlite3.connect(fleet.cwd / "p.db")) as db:
                return db.execute(sql.replace("TABLE", "prediction")).fetchall()
        yield "sqlite:p.db", ask
        return
    with running(Postgres) as server:
        yield server.uri, lambda sql: [tuple(line.split("|")) for line in server.sql(sql.replace("TABLE", "myriad_prediction")).splitlines()]


def distinct(fleet):  # noqa: F811
    """Rows with a prediction of their own."""
    return sum(1 for row in dataset(fleet.cwd / "out") if row["status"] == "ok")


def test_a_batch_is_served_at_once(fleet, store):  # noqa: F811
    uri, ask = store
    name = job(fleet, f"{{path: out, details: [], predictions: {{to: '{uri}', valid_for: 36h}}}}")
    report = fleet.json("batch", "run", name)
    fleet.run("batch", "run", job(fleet, "{path: all}", "all.yaml"))
    rows = [row for row in dataset(fleet.cwd / "all") if row["status"] == "ok"]
    assert report["stored"] == len(rows) < ROWS and "model" not in dataset(fleet.cwd / "out")[0]
    known = sorted({(row["model"], str(row["model_version"]), row["level"]) for row in rows})
    assert sorted(tuple(map(str, row)) for row in ask("SELECT DISTINCT model, model_version, level FROM TABLE")) == known, "the key says which model"
    assert [tuple(map(str, row)) for row in ask("SELECT count(*), count(DISTINCT request_id), max(valid_ms - produced_ms) FROM TABLE")] \
        == [(str(report["stored"]), "1", str(36 * 3600 * 1000))]
    (fleet.cwd / "s.yaml").write_text(f"fleets:\n  f:\n    store: {{to: '{uri}'}}\n")
    with fleet.serving("--service", "s.yaml") as url:
        told = requests.get(f"{url}/v1/fleets/f/predictions?store=1&brand=1", timeout=30).json()
    assert told["from"] == "stored" and told["source"] == "batch" and told["release"] == 1 and told["model"] == "f@store=1,brand=1", told
    assert told["stale"] is False and told["valid_until"] > told["produced_at"]
    assert fleet.json("batch", "run", name)["unchanged"]
    assert str(ask("SELECT count(*) FROM TABLE")[0][0]) == str(report["stored"]), "a run that does nothing stores nothing"


def test_the_store_restarts_while_it_is_filled(fleet):  # noqa: F811
    with running(Postgres) as server:
        name = job(fleet, f"{{path: out, predictions: {{to: '{server.uri}'}}}}")
        count = lambda: int(server.sql("SELECT count(*) FROM myriad_prediction"))
        fleet.run("batch", "run", name)
        first = count()
        with locked(server, "myriad_prediction") as is_waiting:
            process = start(fleet, "run", name, "--force")
            until(is_waiting, process)
            server.kill()
            time.sleep(0.3)
            server.start()
        out, err = process.communicate(timeout=120)
        if process.returncode != 0:
            assert "`myriad batch resume" in err, err
            fleet.run("batch", "resume")
        assert first == distinct(fleet) and count() == 2 * first and left(fleet) == []


def test_killed_while_it_stores(fleet, store):  # noqa: F811
    uri, ask = store
    name = job(fleet, f"{{path: out, predictions: {{to: '{uri}'}}}}")

    def stored():
        with contextlib.suppress(Exception):  # the table may not be there yet
            return int(ask("SELECT count(*) FROM TABLE")[0][0])
        return 0
    process = start(fleet, "run", name)
    run = json.loads(process.stdout.readline())["run"]
    until(lambda: stored() > 0 or process.poll() is not None)
    process.kill()
    process.wait()
    if not (fleet.cwd / "out").exists():  # else it was faster than we
        assert stored() > 0, "what is stored comes before what is published"
        assert fleet.json("batch", "resume")["run"] == run
    assert stored() == distinct(fleet) and left(fleet) == []
