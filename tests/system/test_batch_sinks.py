"""Outputs that are tables of real databases: all rows or none, once, whoever dies and when: the coordinator, the server, the connection."""
import contextlib
import json
import os
import sqlite3
import struct
import subprocess
import time

import pytest
from conftest import linear
from databases import Postgres
from servers import running

ROWS = 5000
COLUMNS = ["store", "brand", "note", "prediction", "model", "model_version", "level", "status"]


@pytest.fixture(scope="module")
def postgres():
    with running(Postgres) as server:
        yield server


@pytest.fixture
def fleet(workspace):
    for name, segment, intercept in (("a", "store=1,brand=1", 1 / 3), ("b", "brand=2", 10), ("c", "", 100)):
        (workspace.cwd / f"{name}.json").write_text(linear(["x1", "x2"], intercept, [0.1, 2.0]))
        workspace.run("model", "import", f"{name}.json", "--fleet", "f", "--segment", segment)
    workspace.run("release", "create", "f")
    table(workspace)
    return workspace


def table(fleet, shift=0.0):
    with open(fleet.cwd / "in.csv", "w") as out:
        out.write("store,brand,x1,x2,note\n")
        for i in range(ROWS):
            note = {0: '"tab\there, ""quotes"" \\\\ and \\N"', 1: "", 2: "žluťoučký"}.get(i, f"n{i}")
            out.write(f"{i % 5},{'x' if i % 1000 == 7 else i % 3},{i * 0.1 + shift},{i % 7},{note}\n")


def job(fleet, output, name="job.yaml", **more):
    lines = {"fleet": "f", "input": "in.csv", "output": output, "mini_batch_size": "1000", **more}
    (fleet.cwd / name).write_text("".join(f"{key}: {value}\n" for key, value in lines.items()))
    return name


def wanted(fleet):
    """What a directory has of the same run, sorted: rows as tuples, doubles by their bits."""
    fleet.run("batch", "run", job(fleet, "plain", "plain.yaml"))
    parquet = pytest.importorskip("pyarrow.parquet")
    return tuples([row[name] for name in COLUMNS] for row in parquet.read_table(fleet.cwd / "plain").to_pylist())


def tuples(rows):
    def cell(value):
        return value if not isinstance(value, float) else struct.pack("d", value).hex()
    return sorted((tuple(map(cell, row)) for row in rows), key=repr)


def read(place):
    """All rows of the table `scored`."""
    if isinstance(place, Postgres):
        text = place.sql(f"SELECT json_build_array({','.join(COLUMNS)}) FROM scored")
        return tuples([*row[:3], row[3] if row[3] is None else float(row[3]), *row[4:]] for row in map(json.loads, text.splitlines()))
    with contextlib.closing(sqlite3.connect(place)) as db:
        return tuples(db.execute(f"SELECT {','.join(COLUMNS)} FROM scored").fetchall())


def markers(place, columns="run, fleet, row_count"):
    query = f"SELECT {columns} FROM myriad_batch WHERE target LIKE '%scored' ORDER BY run"
    if isinstance(place, Postgres):
        return place.sql(query).splitlines()
    with contextlib.closing(sqlite3.connect(place)) as db:
        return ["|".join(map(str, row)) for row in db.execute(query)]


@pytest.fixture(params=["postgres", "sqlite"])
def place(request, fleet, postgres):
    """Where a table goes, and how a job says it."""
    if request.param == "postgres":
        postgres.sql("DROP TABLE IF EXISTS scored, myriad_batch CASCADE")
        return postgres, f"table: scored, database: '{postgres.uri}'"
    return fleet.cwd / "s.db", "table: scored, database: 'sqlite:s.db'"


def left(fleet):
    return sorted(path.name for path in (fleet.cwd / "runs").iterdir() if not path.name.isdigit())


def test_rows_replace_those_of_the_run_before(fleet, place):
    where, says = place
    name = job(fleet, "{" + says + "}")
    report = fleet.json("batch", "run", name)
    assert read(where) == wanted(fleet) and report["rows"] == ROWS and report["output"].startswith("table scored of ")
    assert markers(where) == [f"{report['run']}|f|{ROWS}"] and left(fleet) == []
    again = fleet.json("batch", "run", name)
    assert again["unchanged"] and again["run"] == report["run"] and again["rows"] == ROWS
    table(fleet, 1.0)
    more = fleet.json("batch", "run", name)
    assert read(where) == wanted(fleet) and markers(where) == [f"{more['run']}|f|{ROWS}"]
    assert "secret-word" not in json.dumps(more) + fleet.run("batch", "show", more["run"]).stdout
    assert b"secret-word" not in (fleet.cwd / "registry.db").read_bytes()


def test_rows_are_added(fleet, place):
    where, says = place
    name = job(fleet, "{" + says + ", mode: append}")
    first = fleet.json("batch", "run", name)["run"]
    once = wanted(fleet)
    assert fleet.json("batch", "run", name)["unchanged"] and read(where) == once
    second = fleet.json("batch", "run", name, "--force")["run"]
    assert read(where) == sorted(once + once, key=repr)
    assert markers(where) == [f"{first}|f|{ROWS}", f"{second}|f|{ROWS}"]
    message = fleet.fails("batch", "run", job(fleet, "{" + says + ", mode: apend}"))[1]
    assert "replace or append" in message and "job.yaml:3" in message
    assert "is replaced" in fleet.fails("batch", "run", "plain.yaml", "--append")[1]
    assert "is no database" in fleet.fails("batch", "run", "plain.yaml", "--table", "t")[1]
    assert "give the rows that its dead letters name" in fleet.fails("batch", "retry-failed", second)[1]


def test_a_table_that_is_there_is_checked_before_a_row_is_scored(fleet, postgres):
    says = f"{{table: scored, database: '{postgres.uri}', keep: [note]}}"
    usual = "store bigint, brand bigint, note text, prediction float8, model text, model_version bigint, level text, status text"
    for columns, words in ((usual.replace("level text, ", ""), "has no column 'level'"),
                           (usual.replace("prediction float8", "prediction real"), "column 'prediction' is real, which would round"),
                           (usual.replace("note text, ", ""), "has no column 'note'")):
        postgres.sql(f"DROP TABLE IF EXISTS scored; CREATE TABLE scored ({columns})")
        code, message = fleet.fails("batch", "run", job(fleet, says))
        assert code == 65 and words in message, message
    postgres.sql(f"DROP TABLE scored; CREATE TABLE scored ({usual})")
    code, message = fleet.fails("batch", "run", job(fleet, says))
    assert code == 65 and 'line 8, column brand: "x"' in message and postgres.sql("SELECT count(*) FROM scored") == "0", message
    usual = usual.replace("brand bigint", "brand text")
    postgres.sql(f"DROP TABLE scored; CREATE TABLE scored ({usual.replace('level text', 'level varchar(3)')}, at timestamptz DEFAULT now());"
                 "INSERT INTO scored (store) VALUES (-1)")
    code, message = fleet.fails("batch", "run", job(fleet, says))
    assert code == 65 and "too long" in message and postgres.sql("SELECT store FROM scored") == "-1", message
    postgres.sql("ALTER TABLE scored ALTER level TYPE text")
    fleet.run("batch", "run", job(fleet, says))
    assert postgres.sql("SELECT count(*), count(at) FROM scored") == f"{ROWS}|{ROWS}", "a column of theirs keeps its default"
    for output, words in ((f"{{table: scored, database: '{postgres.uri}', by: [brand]}}", "`by` makes directories"),
                          (f"{{table: scored, database: '{postgres.uri}', format: csv}}", "leave `format` out"),
                          (f"{{database: '{postgres.uri}'}}", "'table'"), ("{table: scored, path: x}", "a path or a table"),
                          ("{table: t, database: 'mysql://h'}", "names no database")):
        code, message = fleet.fails("batch", "run", job(fleet, output))
        assert words in message, message


def test_a_column_of_sqlite_that_would_change_values(fleet):
    usual = "store INTEGER, brand INTEGER, note TEXT, prediction REAL, model TEXT, model_version INTEGER, level TEXT, status TEXT"
    for columns, words in ((usual.replace("prediction REAL", "prediction TEXT"), "would turn numbers into texts: declare it REAL"),
                           (usual.replace("note TEXT", "note NUMERIC"), "would turn texts into numbers: declare it TEXT")):
        with contextlib.closing(sqlite3.connect(fleet.cwd / "s.db")) as db:
            db.executescript(f"DROP TABLE IF EXISTS scored; CREATE TABLE scored ({columns}); INSERT INTO scored (store) VALUES (-1)")
        code, message = fleet.fails("batch", "run", job(fleet, "{table: scored, database: 'sqlite:s.db'}"))
        assert code == 65 and words in message, message
    assert [row[0] for row in read(fleet.cwd / "s.db")] == [-1]


# ---- deaths ----

def start(fleet, *words):
    return subprocess.Popen([fleet.path, "batch", *words, "--json"], cwd=fleet.cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def until(true, process=None, timeout=30):
    end = time.monotonic() + timeout
    while not true():
        assert time.monotonic() < end and (process is None or process.poll() is None), process and process.communicate()
        time.sleep(0.01)


@contextlib.contextmanager
def locked(where, table="scored"):
    """Nobody else writes the table meanwhile."""
    if not isinstance(where, Postgres):
        with contextlib.closing(sqlite3.connect(where, isolation_level=None)) as db:
            db.execute("BEGIN IMMEDIATE")
            yield lambda: True
            db.execute("ROLLBACK")
        return
    session = subprocess.Popen(["psql", "-X", "-q", "-At", where.uri], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    session.stdin.write(f"BEGIN; LOCK TABLE {table} IN SHARE MODE; SELECT 'locked';\n")
    session.stdin.flush()
    assert session.stdout.readline() == "locked\n"
    yield lambda: where.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") != "0"
    session.stdin.close()
    session.wait(30)


def work_is_done(fleet, run):
    with contextlib.closing(sqlite3.connect(fleet.cwd / "registry.db", timeout=30)) as db:
        return db.execute("SELECT count(*) FROM mini_batch WHERE run_id = ? AND state <> 'done'", (run,)).fetchone() == (0,)


def test_killed_before_and_after_the_commit(fleet, place):
    """kill -9 while the transaction is open: the old rows; between its end and the ledger: the new ones, and resuming adds none."""
    where, says = place
    name = job(fleet, "{" + says + ", mode: append}")
    fleet.run("batch", "run", name)
    first = read(where)
    table(fleet, 2.0)
    with locked(where) as is_waiting:
        process = start(fleet, "run", name)
        run = json.loads(process.stdout.readline())["run"]
        until(lambda: work_is_done(fleet, run) and is_waiting(), process)
        time.sleep(0.2)
        process.kill()
        process.wait()
    assert read(where) == first and len(markers(where)) == 1
    (staging,) = fleet.cwd.glob("runs/output-*.staging-*/places")
    assert staging.stat().st_mode & 0o777 == 0o600, "a place may have a password in it"

    with locked(where) as is_waiting:
        process = start(fleet, "resume")
        assert json.loads(process.stdout.readline())["run"] == run
        until(is_waiting, process)
        time.sleep(0.2)
        registry = sqlite3.connect(fleet.cwd / "registry.db", isolation_level=None, timeout=30)
        registry.execute("BEGIN IMMEDIATE")  # the ledger cannot be written from now on
    until(lambda: len(markers(where)) == 2, process)
    process.kill()
    process.wait()
    registry.execute("ROLLBACK")
    registry.close()
    both = read(where)
    assert len(both) == 2 * ROWS
    assert fleet.json("batch", "resume")["run"] == run
    assert read(where) == both == sorted(first + wanted(fleet), key=repr), "no row is lost, none is there twice"
    assert markers(where, "run")[1] == str(run) and left(fleet) == []
    assert fleet.json("batch", "list")["runs"][1]["state"] == "completed"


def test_the_server_restarts_while_it_takes_the_rows(fleet, postgres):
    postgres.sql("DROP TABLE IF EXISTS scored, myriad_batch")
    name = job(fleet, f"{{table: scored, database: '{postgres.uri}'}}")
    fleet.run("batch", "run", name)
    table(fleet, 3.0)
    with locked(postgres) as is_waiting:
        process = start(fleet, "run", name)
        until(is_waiting, process)
        postgres.kill()  # at once, without a checkpoint
        time.sleep(0.3)
        postgres.start()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert read(postgres) == wanted(fleet) and len(markers(postgres)) == 1


def test_the_connection_is_cut_in_the_copy(fleet, postgres):
    """A trigger holds the COPY up; the server ends the connection; the next attempt takes all rows, once."""
    postgres.sql("""DROP TABLE IF EXISTS scored, myriad_batch; DROP TABLE IF EXISTS brake; CREATE TABLE brake (on_ boolean);""")
    name = job(fleet, f"{{table: scored, database: '{postgres.uri}'}}")
    fleet.run("batch", "run", name)
    postgres.sql("""CREATE OR REPLACE FUNCTION hold() RETURNS trigger AS $$BEGIN
                    IF NEW.store = 4 AND EXISTS (SELECT FROM brake) THEN PERFORM pg_sleep(60); END IF; RETURN NEW; END$$ LANGUAGE plpgsql;
                    CREATE TRIGGER hold BEFORE INSERT ON scored FOR EACH ROW EXECUTE FUNCTION hold(); INSERT INTO brake VALUES (true)""")
    before = read(postgres)
    table(fleet, 4.0)
    process = start(fleet, "run", name)
    until(lambda: postgres.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'") == "1", process)
    assert read(postgres) == before, "readers see the old rows meanwhile"
    postgres.sql("DELETE FROM brake")
    postgres.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert read(postgres) == wanted(fleet) and len(markers(postgres)) == 1


@pytest.mark.skipif(not os.environ.get("MYR_LONG"), reason="the half minute that a database is waited for: scripts/test --long")
def test_a_server_that_stays_away(fleet):
    """Before the first row it is an error at once; after the last one what is scored is kept, and resuming publishes it."""
    with running(Postgres) as own:
        name = job(fleet, f"{{table: scored, database: '{own.uri}'}}", mini_batch_size=100, compute="{max: 1}")
        own.kill()
        code, message = fleet.fails("batch", "run", name)
        assert code == 69 and "cannot connect" in message and "secret-word" not in message
        assert fleet.json("batch", "list")["runs"] == []
        own.start()
        process = start(fleet, "run", name)
        run = json.loads(process.stdout.readline())["run"]
        own.kill()
        out, err = process.communicate(timeout=120)
        assert process.returncode == 69 and f"`myriad batch resume {run}` goes on" in err and "secret-word" not in err, err
        assert "interrupted" in fleet.run("batch", "status", run).stdout
        own.start()
        assert fleet.json("batch", "resume")["run"] == run
        assert read(own) == wanted(fleet) and len(markers(own)) == 1 and left(fleet) == []


def test_two_runs_on_one_table(fleet, postgres):
    """They go one after the other, each whole."""
    postgres.sql("DROP TABLE IF EXISTS scored, myriad_batch")
    name = job(fleet, f"{{table: scored, database: '{postgres.uri}', mode: append}}")
    runs = [start(fleet, "run", name, "--force") for _ in range(2)]
    assert [process.communicate(timeout=120) and process.returncode for process in runs] == [0, 0]
    once = wanted(fleet)
    assert read(postgres) == sorted(once + once, key=repr) and len(markers(postgres)) == 2


def test_json_lines(fleet):
    with open(fleet.cwd / "in.csv", "a") as out:
        out.write("1,1,nan,0,odd\n1,1,inf,0,odd\n")
    report = fleet.json("batch", "run", job(fleet, "{path: out, format: jsonl, by: [store]}"))
    lines = [json.loads(line) for path in sorted((fleet.cwd / "out").rglob("part-*.jsonl")) for line in path.read_text().splitlines()]
    parquet = pytest.importorskip("pyarrow.parquet")
    assert report["rows"] == len(lines) == ROWS + 2 and len(list((fleet.cwd / "out").glob("store=*"))) == 5
    plain = {row["note"]: row for row in (fleet.run("batch", "run", job(fleet, "plain", "plain.yaml")), parquet.read_table(fleet.cwd / "plain").to_pylist())[1]}
    for line in lines:
        if line["note"] != "odd":
            assert line["prediction"] == plain[line["note"]]["prediction"] and line["model"] == plain[line["note"]]["model"], line
    assert [line["prediction"] for line in lines if line["note"] == "odd"] == [1 / 3, None], "JSON has no infinity"
