"""partition_keys: rows of one key are scored together, in one mini-batch, from any input, killed or not."""
import json
import os
import signal
import subprocess
import time

import pytest
from conftest import linear
from test_batch_failures import KILLS, exponential, job, letters, poison  # noqa: F401 (fixtures)

KEYS = 7


@pytest.fixture
def fleet(workspace):
    """A model for each of k=1 … k=6; k=0 has none."""
    for k in range(1, KEYS):
        (workspace.cwd / "m.json").write_text(linear(["x"], 100 * k, [1.0]))
        workspace.run("model", "import", "m.json", "--fleet", "f", "--segment", f"k={k}")
    workspace.run("release", "create", "f")
    return workspace


def table(workspace, name, first, rows, bad=None):
    lines = [f"{i % KEYS},{i},{i}\n" for i in range(first, first + rows)]
    for row, text in (bad or {}).items():
        lines[row] = text
    (workspace.cwd / name).write_text("k,x,id\n" + "".join(lines))


def parts(workspace, output="out"):
    """The rows of each file of an output."""
    parquet = pytest.importorskip("pyarrow.parquet")
    return {path.name: parquet.ParquetFile(path).read().to_pylist() for path in sorted((workspace.cwd / output).glob("*.parquet"))}


def rows(workspace, output="out"):
    return sorted((row for part in parts(workspace, output).values() for row in part), key=lambda row: int(row["id"]))


def keys_of(part):
    return {int(row["k"]) for row in part}


def test_each_key_is_a_mini_batch(fleet):
    table(fleet, "in-1.csv", 0, 3000), table(fleet, "in-2.csv", 3000, 2000)
    job(fleet, input="'in-*.csv'", partition_keys="[k]", mini_batch_size=1)
    report = fleet.json("batch", "run", "job.yaml")
    assert report["mini_batches"] == KEYS and report["rows"] == 5000 and report["statuses"]["no_model"] == 715
    found = parts(fleet)
    assert len(found) == KEYS and [keys_of(part) for part in found.values()] == [{k} for k in range(KEYS)]
    for part in found.values():  # ties are in the order of the input
        assert [int(row["id"]) for row in part] == sorted(int(row["id"]) for row in part)
    for row in rows(fleet):
        k, i = int(row["k"]), int(row["id"])
        assert row["prediction"] == (None if k == 0 else 100 * k + i)
    dead = letters(fleet, report["run"])
    assert len(dead) == 715 and all(d["key"] == {"k": 0} or d["key"] == {"k": "0"} for d in dead)
    place = {(os.path.basename(d["file"]), d["row"]) for d in dead}
    assert place == {("in-1.csv", i + 1) for i in range(0, 3000, 7)} | {("in-2.csv", i - 2999) for i in range(3003, 5000, 7)}
    shown = fleet.json("batch", "show")
    assert shown["settings"]["partition_keys"] == ["k"]
    assert fleet.json("batch", "run", "job.yaml")["unchanged"] is True


def test_whole_keys_are_put_together(fleet):
    table(fleet, "in.csv", 0, 7000)
    job(fleet, partition_keys="[k]", mini_batch_size=2500)
    report = fleet.json("batch", "run", "job.yaml")
    seen = [keys_of(part) for part in parts(fleet).values()]
    assert 2 <= report["mini_batches"] < KEYS and sum(len(keys) for keys in seen) == KEYS == len(set().union(*seen))
    fleet.run("batch", "run", "--fleet", "f", "--input", "in.csv", "--output", "plain", "--keep", "id")
    assert rows(fleet) == rows(fleet, "plain")


def test_parquet_and_keys_of_paths(fleet):
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet
    for day in (1, 2):
        for k in range(KEYS):
            path = fleet.cwd / f"data/day={day}/k={k}"
            path.mkdir(parents=True)
            ids = list(range(day * 1000 + k * 100, day * 1000 + k * 100 + 50))
            parquet.write_table(pyarrow.table({"x": [float(i) for i in ids], "id": ids, "big": [None] * 50}), path / "p.parquet", row_group_size=20)
    job(fleet, input="'data/*/*/*.parquet'", output="{path: out, keep: [id, day, big]}", partition_keys="[day, k]", mini_batch_size=1)
    report = fleet.json("batch", "run", "job.yaml")
    assert report["mini_batches"] == 2 * KEYS
    for part in parts(fleet).values():
        assert len({(row["day"], row["k"]) for row in part}) == 1 and len(part) == 50
    dead = letters(fleet, report["run"])
    assert len(dead) == 100 and all("k=0/p.parquet" in d["file"] and 1 <= d["row"] <= 50 for d in dead)


def test_a_bad_value_stands_alone(fleet):
    table(fleet, "in.csv", 0, 3500, bad={10: "3,oops,10\n", 2011: "2,oops,2011\n"})
    job(fleet, partition_keys="[k]", mini_batch_size=1)
    code, message = fleet.fails("batch", "run", "job.yaml")
    assert ("in.csv:12: " in message or "in.csv:2013: " in message) and "'oops' is not a number" in message and not list(fleet.cwd.glob("out*")), message
    job(fleet, partition_keys="[k]", mini_batch_size=1, mini_batch_error_threshold=-1)
    report = fleet.json("batch", "run", "job.yaml")
    assert report["mini_batches_failed"] == 2 and [int(row["id"]) for row in rows(fleet)] == [i for i in range(3500) if i not in (10, 2011)]
    dead = {d["row"]: d for d in letters(fleet, report["run"]) if "oops" in d["cause"]}
    assert sorted(dead) == [11, 2012] and str(dead[11]["key"]["k"]) == "3" and str(dead[2012]["key"]["k"]) == "2"
    for part in parts(fleet).values():
        assert len(keys_of(part)) == 1


def test_a_line_that_can_not_be_read_has_no_key(fleet):
    table(fleet, "in.csv", 0, 700, bad={100: "1,1,1,1\n"})
    job(fleet, partition_keys="[k]", mini_batch_error_threshold=-1)
    code, message = fleet.fails("batch", "run", "job.yaml")
    assert code == 65 and "in.csv:102" in message and not list(fleet.cwd.glob("out*")), message


@pytest.mark.parametrize("grouped", [False, True], ids=["plain", "grouped"])
def test_the_dead_letter_of_a_row_that_kills_has_its_key(exponential, poison, grouped):  # noqa: F811
    lines = [f"{1 + i % 2},{i % 10},{i}\n" for i in range(400)]
    lines[123] = f"2,{KILLS},123\n"
    (exponential.cwd / "m2.json").write_text((exponential.cwd / "m.json").read_text())
    exponential.run("model", "import", "m2.json", "--fleet", "f", "--segment", "k=2")
    exponential.run("release", "create", "f")
    (exponential.cwd / "in.csv").write_text("k,x,id\n" + "".join(lines))
    more = {"partition_keys": "[k]", "mini_batch_size": 1} if grouped else {"mini_batch_size": 200}
    job(exponential, mini_batch_error_threshold=1, retry_settings="{backoff: 10ms, max_retries: 0}", **more)
    text = exponential.run("batch", "run", "job.yaml", "--json", env=poison).stdout
    letter, = letters(exponential, json.loads(text.splitlines()[-1])["run"])
    assert "signal 9" in letter["cause"] and str(letter["key"]["k"]) == "2" and letter["file"].endswith("in.csv")
    assert letter["row" if grouped else "line"] == (124 if grouped else 125)
    assert [int(row["id"]) for row in rows(exponential)] == [i for i in range(400) if i != 123]


@pytest.mark.parametrize("when", ["grouping", "scoring"])
def test_a_killed_run_goes_on(fleet, when):
    table(fleet, "in.csv", 0, 140000 if when == "grouping" else 35000)
    job(fleet, partition_keys="[k]", mini_batch_size=1)
    fleet.run("batch", "run", "job.yaml", "--input", "in.csv", "--output", "plain")
    process = subprocess.Popen([fleet.path, "batch", "run", "job.yaml", "--json"], cwd=fleet.cwd, text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL)
    run = json.loads(process.stdout.readline())["run"]
    staged = fleet.cwd / f"out.staging-{run}" / ("grouped" if when == "grouping" else "work")
    while process.poll() is None and not staged.exists():
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    assert not (fleet.cwd / "out").exists()
    report = fleet.json("batch", "resume", run)
    assert report["run"] == run and report["mini_batches"] == KEYS
    assert rows(fleet) == rows(fleet, "plain") and not list(fleet.cwd.glob("out.*"))


def test_an_input_larger_than_memory(fleet):
    pyarrow = pytest.importorskip("pyarrow")
    import pyarrow.parquet as parquet
    count = 1_500_000
    ids = pyarrow.array(range(count))
    columns = {"k": [i % KEYS for i in range(count)], "x": [float(i) for i in range(count)], "id": ids, "a": ids, "b": ids, "c": ids}
    parquet.write_table(pyarrow.table(columns), fleet.cwd / "in.parquet", use_dictionary=False, compression="none")
    assert (fleet.cwd / "in.parquet").stat().st_size > 60 << 20
    job(fleet, input="in.parquet", output="{path: out, keep: [id, a, b, c]}", partition_keys="[k]", mini_batch_size=1, memory_max="60MiB")
    report = fleet.json("batch", "run", "job.yaml", "--threads", "1")
    assert report["mini_batches"] == KEYS and report["rows"] == count
    found = parts(fleet)
    assert [len(part) for part in found.values()] == [count // KEYS + (k < count % KEYS) for k in range(KEYS)]
    assert all(row["prediction"] == (100 * row["k"] + row["id"] if row["k"] else None) and row["a"] == row["id"]
               for part in found.values() for row in part[::1000])


@pytest.mark.parametrize("more,words", [
    ({"partition_keys": "[ide]"}, "has no column 'ide' (of partition_keys); did you mean 'id'?"),
    ({"partition_keys": "[k, k]"}, "partition_keys names 'k' twice"),
    ({"partition_keys": "[k]", "mini_batch_size": "10mb"}, "with 'partition_keys' 'mini_batch_size' is a number of rows"),
    ({"partition_keys": "[k]", "mini_batch_size": "file"}, "with 'partition_keys' 'mini_batch_size' is a number of rows"),
])
def test_what_is_refused(fleet, more, words):
    table(fleet, "in.csv", 0, 70)
    job(fleet, **more)
    _, message = fleet.fails("batch", "run", "job.yaml")
    assert words in message, message
