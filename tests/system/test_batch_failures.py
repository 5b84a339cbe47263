"""What fails in a run: lines, row groups, files, rows that kill or stop a worker. The run ends by its thresholds, every bad row is named."""
import json
import os
import pathlib
import shutil
import subprocess
import textwrap

import pytest
from conftest import linear

ROWS = 4000
KILLS, HANGS = 77777.0, 88888.0  # sums that the library below dies of, or never answers


@pytest.fixture(scope="module")
def poison(tmp_path_factory):
    """A library before libm whose exp() kills, or stops, who asks it for a certain number."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed")
    source = tmp_path_factory.mktemp("poison") / "poison.c"
    source.write_text(textwrap.dedent(f"""
        #define _GNU_SOURCE
        #include <dlfcn.h>
        #include <signal.h>
        #include <unistd.h>
        double exp(double x)
        {{
            static double (*real)(double);
            if (x == {KILLS}) raise(SIGKILL);
            while (x == {HANGS}) pause();
            if (!real) real = (double (*)(double))dlsym(RTLD_NEXT, "exp");
            return real(x);
        }}
        """))
    library = source.with_suffix(".so")
    subprocess.run(["gcc", "-shared", "-fPIC", "-O1", "-fno-builtin", "-o", library, source, "-ldl"], check=True)
    return {"LD_PRELOAD": str(library), "ASAN_OPTIONS": "verify_asan_link_order=0:detect_leaks=0"}


@pytest.fixture
def fleet(workspace):
    (workspace.cwd / "m.json").write_text(linear(["x"], 0, [1.0]))
    workspace.run("model", "import", "m.json", "--fleet", "f", "--segment", "k=1")
    workspace.run("release", "create", "f")
    return workspace


def table(workspace, name="in.csv", bad=None, rows=ROWS):
    lines = [f"1,{i},{i}\n" for i in range(rows)]
    for row, text in (bad or {}).items():
        lines[row] = text
    (workspace.cwd / name).write_text("k,x,id\n" + "".join(lines))


def job(workspace, **more):
    lines = {"fleet": "f", "input": "in.csv", "output": "{path: out, keep: [id]}", "mini_batch_size": "1000",
             "retry_settings": "{backoff: 10ms, max_retries: 1}", **more}
    (workspace.cwd / "job.yaml").write_text("".join(f"{key}: {value}\n" for key, value in lines.items()))


def ids(workspace):
    dataset = pytest.importorskip("pyarrow.dataset")
    table = dataset.dataset(workspace.cwd / "out", format="parquet").to_table().to_pydict()
    return sorted(int(i) for i in table["id"])


def letters(workspace, run):
    path = workspace.cwd / f"runs/{run}/dead_letters.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize("bad,words", [("1,1,1,1\n", "4 fields where the header has 3"), ("1,oops,5\n", "'oops' is not a number")])
def test_bad_lines(fleet, bad, words):
    table(fleet, bad={1234: bad, 3999: bad})
    job(fleet)
    code, message = fleet.fails("batch", "run", "job.yaml")
    assert code == 65 and ("in.csv:1236" in message or "in.csv:4001" in message) and words in message, message
    assert not (fleet.cwd / "out").exists() and not list(fleet.cwd.glob("out.*"))
    job(fleet, mini_batch_error_threshold=-1)
    report = fleet.json("batch", "run", "job.yaml")
    assert ids(fleet) == [i for i in range(ROWS) if i not in (1234, 3999)]
    dead = letters(fleet, report["run"])
    assert [letter["line"] for letter in dead] == [1236, 4001]
    assert all("in.csv" in letter["cause"] for letter in dead)  # DuckDB's words: of one line alone it may say less
    assert report["dead_rows"] == 2 and report["mini_batches_failed"] == 2 and report["mini_batches"] == 4


def test_thresholds(fleet):
    table(fleet, bad={10: "1,oops,1\n", 2010: "1,oops,1\n"})
    job(fleet, mini_batch_error_threshold=1)
    code, message = fleet.fails("batch", "run", "job.yaml")
    assert "2 of 4 mini-batches have failed" in message and not (fleet.cwd / "out").exists()
    job(fleet, mini_batch_error_threshold=2)
    assert fleet.json("batch", "run", "job.yaml")["mini_batches_failed"] == 2
    job(fleet, mini_batch_error_threshold=-1, allowed_failed_percent=25)
    assert "allowed_failed_percent" in fleet.fails("batch", "run", "job.yaml", "--force")[1]
    job(fleet, mini_batch_error_threshold=-1, error_threshold=1)
    assert "error_threshold is 1" in fleet.fails("batch", "run", "job.yaml", "--force")[1]
    assert len(ids(fleet)) == ROWS - 2  # the output is what it was


def test_rows_without_an_answer_are_named(fleet):
    table(fleet, bad={5: "2,1,5\n", 3001: "x,1,3001\n"})
    job(fleet)
    report = fleet.json("batch", "run", "job.yaml")
    assert report["statuses"]["no_model"] == 1 and report["statuses"]["bad_key"] == 1 and report["rows"] == ROWS
    dead = letters(fleet, report["run"])
    assert [(d["line"], d["cause"], d["key"]) for d in dead] == [(7, "no_model", {"k": "2"}), (3003, "bad_key", {"k": "x"})] or \
        [(d["line"], d["cause"]) for d in dead] == [(7, "no_model"), (3003, "bad_key")]
    job(fleet, error_threshold=1)
    assert "2 rows have failed" in fleet.fails("batch", "run", "job.yaml", "--force")[1]


@pytest.fixture
def exponential(workspace):
    model = json.loads(linear(["x"], 0, [1.0]))
    model["link"] = "log"
    (workspace.cwd / "m.json").write_text(json.dumps(model))
    workspace.run("model", "import", "m.json", "--fleet", "f", "--segment", "k=1")
    workspace.run("release", "create", "f")
    return workspace


@pytest.mark.parametrize("number,words", [(KILLS, "signal 9"), (HANGS, "not answered in time")], ids=["kills", "hangs"])
def test_a_row_that_kills_or_stops_its_worker_stands_alone(exponential, poison, number, words):
    table(exponential, bad={1500: f"1,{number},1500\n"})
    more = {"retry_settings": "{backoff: 10ms, max_retries: 0, timeout: 3s}"}
    job(exponential, **more)
    code, message = exponential.fails("batch", "run", "job.yaml", env=poison)
    assert words in message and "in.csv from line 1002 on" in message, message
    job(exponential, mini_batch_error_threshold=1, **more)
    text = exponential.run("batch", "run", "job.yaml", "--json", env=poison).stdout
    report = json.loads(text.splitlines()[-1])
    assert ids(exponential) == [i for i in range(ROWS) if i != 1500]
    letter, = (d for d in letters(exponential, report["run"]) if d["cause"] != "not_finite")  # exp() of a large number
    assert letter["line"] == 1502 and words in letter["cause"]


def test_a_worker_that_grows_too_large(fleet, build):
    if "asan" in build.name:
        pytest.skip("a sanitizer reserves address space without end")
    table(fleet)
    job(fleet, compute="{worker_memory_max: 100MiB}")
    code, message = fleet.fails("batch", "run", "job.yaml")
    assert not (fleet.cwd / "out").exists() and "after 2 attempts" in message, message


def test_a_corrupt_row_group(fleet):
    parquet = pytest.importorskip("pyarrow.parquet")
    import pyarrow
    path = fleet.cwd / "in.parquet"
    parquet.write_table(pyarrow.table({"k": [1] * ROWS, "x": [i * 1.7 for i in range(ROWS)], "id": list(range(ROWS))}), path,
                        row_group_size=1000, compression="zstd", use_dictionary=False)
    column = parquet.ParquetFile(path).metadata.row_group(2).column(1)
    bytes_ = bytearray(path.read_bytes())
    for at in range(column.data_page_offset, column.data_page_offset + column.total_compressed_size):
        bytes_[at] = 0x5A
    path.write_bytes(bytes_)
    job(fleet, input="in.parquet")
    code, message = fleet.fails("batch", "run", "job.yaml")
    assert "in.parquet" in message, message
    job(fleet, input="in.parquet", mini_batch_error_threshold=1)
    report = fleet.json("batch", "run", "job.yaml")
    assert ids(fleet) == [i for i in range(ROWS) if not 2000 <= i < 3000]
    rows = [i for d in letters(fleet, report["run"]) for i in range(d["row"], d.get("to_row", d["row"]) + 1)]
    assert sorted(rows) == list(range(2001, 3001))


def test_an_unreadable_file_in_a_glob(fleet):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    table(fleet, "in-1.csv"), table(fleet, "in-2.csv")
    (fleet.cwd / "in-2.csv").chmod(0)
    job(fleet, input="in-*.csv")
    assert "in-2.csv" in fleet.fails("batch", "run", "job.yaml")[1]


def test_files_of_a_glob_that_are_not_alike(fleet):
    table(fleet, "in-1.csv")
    (fleet.cwd / "in-2.csv").write_text("k,id\n1,9\n")
    job(fleet, input="in-*.csv")
    code, message = fleet.fails("batch", "run", "job.yaml")
    assert "in-2.csv has no column 'x', which the first file" in message, message


def test_cancel(fleet):
    table(fleet, rows=200000)
    job(fleet, mini_batch_size="200")
    process = subprocess.Popen([fleet.path, "batch", "run", "job.yaml", "--json"], cwd=fleet.cwd, text=True, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE)
    run = json.loads(process.stdout.readline())["run"]
    fleet.run("batch", "cancel", run)
    out, err = process.communicate(timeout=60)
    assert process.returncode != 0 and "was canceled" in err, err
    assert not (fleet.cwd / "out").exists() and not list(fleet.cwd.glob("out.*"))
    assert fleet.json("batch", "status", run)["state"] == "canceled"
    assert fleet.fails("batch", "cancel", run)[0] != 0


def test_what_is_told_of_runs(fleet):
    table(fleet, bad={1234: "1,oops,1\n"})
    job(fleet, name="nightly", mini_batch_error_threshold=-1)
    run = fleet.json("batch", "run", "job.yaml")["run"]
    told = json.loads((fleet.cwd / f"runs/{run}/report.json").read_text())
    assert told["state"] == "completed" and told["rows"] == ROWS - 1 and told["mini_batches_failed"] == 1
    page = (fleet.cwd / f"runs/{run}/report.html").read_text()
    assert page.startswith("<!doctype html>") and "oops" in page and page.count("<rect") > 5 and "http" not in page
    listed, = fleet.json("batch", "list")["runs"]
    assert listed["run"] == run and listed["state"] == "completed" and listed["job"] == "nightly"
    status = fleet.json("batch", "status")
    assert status["mini_batches_failed"] == 1 and status["rows_done"] == ROWS - 1
    shown = fleet.json("batch", "show", run)
    assert shown["settings"]["mini_batch_rows"] == 1000 and {b["state"] for b in shown["mini_batches"]} == {"done", "split", "failed"}
    log = fleet.run("batch", "logs", run).stdout.splitlines()
    assert len(log) > 4 and sum("oops" in line for line in log) >= 2 and sum(line.endswith(": done") for line in log) >= 4


@pytest.mark.parametrize("line,words", [
    ("fleat: f", "job.yaml:1:1: unknown key 'fleat': did you mean 'fleet'?"),
    ("mini_batch_size: many", "'mini_batch_size' is 'many'"),
    ("mini_batch_size: 0", "a number of rows"),
    ("mini_batch_size: 2GiB", "a size up to 1GiB"),
    ("error_threshold: -2", "must be from -1 to"),
    ("allowed_failed_percent: 101", "must be from 0 to 100"),
    ("retry_settings: {tries: 3}", "unknown key 'tries'"),
    ("retry_settings: {timeout: 8d}", "0 to 7 days"),
    ("compute: {type: spork}", "'spork' is not known: local"),
    ("compute: {max: 257}", "from 1 to 256"),
    ("output: {format: xls, path: x}", "parquet, csv or jsonl"),
    ("output: {predict: [value, value], path: x}", "each once"),
    ("release: '0'", "a number from 1 on"),
    ("name: a b", "1 to 128 letters, digits"),
])
def test_a_job_file_that_is_wrong(fleet, line, words):
    (fleet.cwd / "job.yaml").write_text(line + "\n")
    code, message = fleet.fails("batch", "run", "job.yaml")
    assert code == 65 and words in message, message
