"""Inputs that are not files yet: queries, conditions, tables of real databases. What a run reads is what they were when it began."""
import json
import signal
import sqlite3
import subprocess
import time

import pytest
from conftest import linear
from databases import Postgres
from servers import running


@pytest.fixture(scope="module")
def postgres():
    with running(Postgres) as server:
        yield server


@pytest.fixture
def fleet(workspace):
    for name, segment, intercept in (("a", "store=1,brand=1", 1), ("c", "", 100)):
        (workspace.cwd / f"{name}.json").write_text(linear(["x1", "x2"], intercept, [1.0, 2.0]))
        workspace.run("model", "import", f"{name}.json", "--fleet", "f", "--segment", segment)
    workspace.run("release", "create", "f")
    return workspace


def job(fleet, text, name="job.yaml", **more):
    lines = "".join(f"{key}: {value}\n" for key, value in more.items())
    (fleet.cwd / name).write_text(f"fleet: f\noutput: {{path: out}}\ninput: {text}\n{lines}")
    return name


def rows(fleet, output="out"):
    table = pytest.importorskip("pyarrow.parquet").read_table(fleet.cwd / output)
    return table.to_pylist()


def brought(fleet):
    return sorted(path.name for path in (fleet.cwd / "runs").glob("input-*"))


def test_a_query(fleet):
    (fleet.cwd / "jobs").mkdir()
    (fleet.cwd / "jobs/sales.csv").write_text("store,brand,qty,note\n1,1,4,own\n2,1,6,other\n1,1,0,none\n")
    (fleet.cwd / "jobs/prices.csv").write_text("brand,price\n1,0.5\n")
    name = job(fleet, "{sql: \"select store, brand, qty as x1, price as x2, note from 'sales.csv' join 'prices.csv' using (brand)"
                      " where qty > 0 order by note\"}", "jobs/query.yaml")
    report = fleet.json("batch", "run", name)
    assert [(r["note"], r["prediction"], r["model"]) for r in rows(fleet)] == [("other", 107.0, "f@"), ("own", 6.0, "f@store=1,brand=1")]
    assert brought(fleet) == []
    again = fleet.json("batch", "run", name)  # the same rows: nothing is to do
    assert again["unchanged"] and again["run"] == report["run"] and brought(fleet) == []
    with open(fleet.cwd / "jobs/sales.csv", "a") as out:
        out.write("1,1,0,nobody reads this\n")
    assert fleet.json("batch", "run", name)["unchanged"], "the result is what counts"
    with open(fleet.cwd / "jobs/sales.csv", "a") as out:
        out.write("1,1,9,new\n")
    assert not fleet.json("batch", "run", name)["unchanged"] and len(rows(fleet)) == 3
    code, message = fleet.fails("batch", "run", job(fleet, "{sql: \"select stor from 'jobs/sales.csv'\"}"))
    assert code == 65 and "input: SQL: " in message and "stor" in message, message
    assert fleet.fails("batch", "run", job(fleet, "{sql: \"drop table x\"}"))[0] == 65
    assert "jobs/nothing.csv" in fleet.fails("batch", "run", job(fleet, "{sql: \"from 'jobs/nothing.csv'\"}"))[1]
    assert brought(fleet) == []


def test_a_condition_leaves_cells_as_they_are(fleet):
    for year, text in ((2025, "store,brand,x1,x2,zip\n1,1,10,0,007\n"), (2026, "store,brand,x1,x2,zip\n1,1,9,0,007\n1,1,10,0,08\n1,1,,0,1\n")):
        (fleet.cwd / f"t/year={year}").mkdir(parents=True)
        (fleet.cwd / f"t/year={year}/p.csv").write_text(text)
    name = job(fleet, "{files: t, filter: \"year = 2026 and x1 >= 10 -- a comment\"}")
    fleet.run("batch", "run", name)
    assert [(r["zip"], r["year"], r["prediction"]) for r in rows(fleet)] == [("08", 2026, 11.0)]
    assert fleet.json("batch", "run", name)["unchanged"]
    fleet.run("batch", "run", "--fleet", "f", "--input", "t/year=2025", "--filter", "zip = '007'", "--output", "out")
    assert [(r["zip"], r["prediction"]) for r in rows(fleet)] == [("007", 11.0)]
    code, message = fleet.fails("batch", "run", job(fleet, "{files: t, filter: 'x3 > 1'}"))
    assert code == 65 and message.startswith("myriad: filter: SQL: ") and "x3" in message, message
    message = fleet.fails("batch", "run", job(fleet, "{sql: 'select 1', filter: 'x3 > 1'}"))[1]
    assert "job.yaml:3" in message and "has its own WHERE" in message, message
    message = fleet.fails("batch", "run", job(fleet, "{sql: 'select 1', files: t}"))[1]
    assert "'input' has one of files, items, sql and table" in message
    message = fleet.fails("batch", "run", job(fleet, "{file: t}"))[1]
    assert "did you mean 'files'" in message


def fill(postgres, name):
    postgres.sql(f"""CREATE TABLE {name} (store bigint, "Brand" int, x1 numeric(10,2), x2 real, note text, "on" date, ok boolean, big numeric,
                     at timestamp, many int[]);
                     INSERT INTO {name} VALUES (1, 1, 1.25, 0.5, E'a "quoted"\\nline, \\\\N', '2026-02-28', true, 12.5, '2026-01-01 10:00', '{{1,2}}'),
                     (1, 1, NULL, 0.1, '', NULL, NULL, NULL, NULL, NULL), (9, 1, 3, 1, NULL, '1999-12-31', false, 0, NULL, NULL),
                     (1, 1, 4, 1, '\\N', NULL, NULL, NULL, NULL, NULL)""")


def test_a_table_of_postgresql(fleet, postgres):
    postgres.sql("CREATE SCHEMA IF NOT EXISTS sales")
    fill(postgres, "sales.daily")
    postgres.sql('ALTER TABLE sales.daily RENAME "Brand" TO brand')
    name = job(fleet, f"{{table: sales.daily, database: '{postgres.uri}', filter: \"note is distinct from 'x'\"}}")
    report = fleet.json("batch", "run", name)
    found = rows(fleet)
    assert [r["prediction"] for r in found][0] == 3.25 and [r["model"] for r in found] == ["f@store=1,brand=1"] * 2 + ["f@"] + ["f@store=1,brand=1"]
    assert [r["note"] for r in found] == ['a "quoted"\nline, \\N', "", None, "\\N"]
    assert [str(r["on"]) for r in found] == ["2026-02-28", "None", "1999-12-31", "None"]
    assert [r["ok"] for r in found] == [True, None, False, None] and found[0]["big"] == 12.5 and found[0]["many"] == "{1,2}"
    assert fleet.json("batch", "run", name)["unchanged"]
    postgres.sql("UPDATE sales.daily SET x1 = 5 WHERE store = 9")
    again = fleet.json("batch", "run", name)
    assert not again["unchanged"] and again["run"] == report["run"] + 1
    told = fleet.run("batch", "show", again["run"]).stdout + fleet.run("batch", "list").stdout
    told += "".join(path.read_text() for path in (fleet.cwd / "runs").rglob("report.*"))
    assert "table sales.daily of postgresql://myriad:***@127.0.0.1" in told and "secret-word" not in told
    assert b"secret-word" not in (fleet.cwd / "registry.db").read_bytes()
    code, message = fleet.fails("batch", "run", job(fleet, f"{{table: sales.monthly, database: '{postgres.uri}'}}"))
    assert "sales" in message and "monthly" in message and "does not exist" in message and "secret-word" not in message
    code, message = fleet.fails("batch", "run", job(fleet, f"{{table: sales.daily, database: '{postgres.uri}', filter: 'nots > 1'}}"))
    assert code == 65 and "nots" in message, message
    code, message = fleet.fails("batch", "run", job(fleet, "{table: t, database: 'postgresql://u:pw@127.0.0.1:1/x'}"))
    assert code == 69 and "cannot connect" in message and "pw" not in message, message
    assert brought(fleet) == []


def test_a_dead_letter_names_the_table(fleet, postgres):
    postgres.sql("CREATE TABLE keys (store text, brand int, x1 float8, x2 float8)")
    postgres.sql("INSERT INTO keys VALUES ('1', 1, 1, 1), ('x', 1, 1, 1)")
    report = fleet.json("batch", "run", job(fleet, f"{{table: keys, database: '{postgres.uri}'}}"))
    letters = [json.loads(line) for line in (fleet.cwd / f"runs/{report['run']}/dead_letters.jsonl").read_text().splitlines()]
    assert [(x["row"], x["cause"]) for x in letters] == [(2, "bad_key")] and letters[0]["file"].startswith("table keys of postgresql://myriad:***@")


def test_what_was_brought_is_what_a_resumed_run_reads(fleet, postgres):
    """kill -9, the table changes, resume: the rows are those of the beginning; then the copy goes."""
    postgres.sql("CREATE TABLE moving AS SELECT 1 AS store, 1 AS brand, i::float8 AS x1, 0::float8 AS x2, i AS id FROM generate_series(1, 60000) AS i")
    name = job(fleet, f"{{table: moving, database: '{postgres.uri}'}}", mini_batch_size=1000, compute="{max: 1}")
    process = subprocess.Popen([fleet.path, "batch", "run", name, "--json"], cwd=fleet.cwd, stdout=subprocess.PIPE, text=True)
    run = json.loads(process.stdout.readline())["run"]
    process.send_signal(signal.SIGKILL)
    process.wait()
    postgres.sql("UPDATE moving SET x1 = -1")
    (kept,) = [path for path in brought(fleet) if not path.endswith(".lock")]
    fleet.run("batch", "run", job(fleet, "{sql: 'select 1 as store, 1 as brand, 1.0 as x1, 1.0 as x2'}", "other.yaml"), "--output", "elsewhere")
    assert kept in brought(fleet), "another run leaves it alone"
    assert fleet.json("batch", "resume")["run"] == run
    found = rows(fleet)
    assert len(found) == 60000 and all(r["prediction"] == 1 + r["id"] for r in found)
    assert brought(fleet) == []


def test_what_a_killed_run_brought_goes_with_the_next_one(fleet, postgres):
    postgres.sql("CREATE TABLE big AS SELECT 1 AS store, 1 AS brand, i::float8 AS x1, 0::float8 AS x2 FROM generate_series(1, 400000) AS i")
    name = job(fleet, f"{{table: big, database: '{postgres.uri}'}}")
    process = subprocess.Popen([fleet.path, "batch", "run", name, "--json"], cwd=fleet.cwd, stdout=subprocess.PIPE, text=True)
    end = time.monotonic() + 30
    while not list(fleet.cwd.glob("runs/input-*/table.text")):
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert brought(fleet), "it was killed while it read"
    assert "no run is unfinished" in fleet.fails("batch", "resume")[1], "it had not begun"
    assert fleet.json("batch", "run", name)["rows"] == 400000
    assert brought(fleet) == []


def test_the_server_restarts_while_it_is_read(fleet, postgres):
    """The table is read again from its beginning: each row once."""
    postgres.sql("CREATE TABLE long AS SELECT 1 AS store, 1 AS brand, i::float8 AS x1, 0::float8 AS x2, i AS id FROM generate_series(1, 400000) AS i")
    name = job(fleet, f"{{table: long, database: '{postgres.uri}'}}")
    process = subprocess.Popen([fleet.path, "batch", "run", name, "--json"], cwd=fleet.cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 30
    while not any(path.stat().st_size for path in fleet.cwd.glob("runs/input-*/table.text")):
        assert time.monotonic() < end and process.poll() is None
        time.sleep(0.002)
    postgres.kill()
    postgres.start()
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    assert sorted(r["id"] for r in rows(fleet)) == list(range(1, 400001)) and brought(fleet) == []


def test_a_table_of_sqlite(fleet):
    with sqlite3.connect(fleet.cwd / "s.db") as db:
        db.execute("CREATE TABLE t (store INTEGER, brand INTEGER, x1 REAL, x2, note TEXT, mixed INTEGER)")
        db.executemany("INSERT INTO t VALUES (?,?,?,?,?,?)", [(1, 1, 0.1, 1, 'a "b"\n,', 1), (1, 1, 1e300, 2.5, "\\N", "x"), (2, 1, None, 3, None, None)])
    name = job(fleet, "{table: t, database: 'sqlite:s.db'}")
    fleet.run("batch", "run", name)
    found = rows(fleet)
    assert [r["prediction"] for r in found][:2] == [1 + 0.1 + 2, 1e300] and [r["note"] for r in found] == ['a "b"\n,', "\\N", None]
    assert [r["mixed"] for r in found] == ["1", "x", None]
    assert sqlite3.connect(fleet.cwd / "s.db").execute("PRAGMA journal_mode").fetchone() == ("delete",), "it is only read"
    assert fleet.json("batch", "run", name)["unchanged"]
    fleet.run("batch", "run", job(fleet, "{table: t, database: 'sqlite:s.db', filter: 'x2 < 2'}"))
    assert len(rows(fleet)) == 1
    assert "has no table u" in fleet.fails("batch", "run", job(fleet, "{table: u, database: 'sqlite:s.db'}"))[1]
    assert "no such column" in fleet.fails("batch", "run", job(fleet, "{table: t, database: 'sqlite:s.db', filter: 'y = 1'}"))[1]
    message = fleet.fails("batch", "run", job(fleet, "{table: t, database: 'redis://h'}"))[1]
    assert "Redis has no tables" in message and "job.yaml:3" in message
    with sqlite3.connect(fleet.cwd / "s.db") as db:
        db.execute("UPDATE t SET note = x'00' WHERE store = 2")
    assert "column 'note' of table t holds 1 blobs" in fleet.fails("batch", "run", job(fleet, "{table: t, database: 'sqlite:s.db'}"))[1]
