"""`myriad batch run` with `compute: {type: spark}`: the same job as on this machine, on a real standalone Spark with two workers.

Long tests, as those of test_spark.py: scripts/setup --tests --spark, then MYR_LONG=1.
"""
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.dataset
import pytest
import sparkcluster
from conftest import FEATURES

pytestmark = pytest.mark.skipif(not os.environ.get("MYR_LONG"), reason="long: needs scripts/setup --spark and MYR_LONG=1")
ROWS = 3000


@pytest.fixture(scope="module")
def place(fleet, tmp_path_factory):
    """A folder with inputs of all kinds of rows, in files of a directory with a space in its name."""
    folder = tmp_path_factory.mktemp("spark batch")
    stores, brands, matrix = fleet.rows(ROWS)
    keys = pd.Series(stores).astype("string")
    keys[::97], keys[5::131] = "x", None
    rows = pd.DataFrame(dict(zip(FEATURES, matrix.T))).assign(store=keys, brand=pd.Series(brands).where(np.arange(ROWS) % 59 != 1),
                                                              row_id=np.arange(ROWS))
    (folder / "in").mkdir()
    for number in range(3):
        rows[number::3].to_parquet(folder / "in" / f"{number}.parquet", row_group_size=200)
        for store, part in rows[number::3].groupby("store"):
            (folder / "hive" / f"store={store}").mkdir(parents=True, exist_ok=True)
            part.drop(columns="store").to_csv(folder / "hive" / f"store={store}" / f"{number}.csv", index=False)
    return folder


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    paths = sparkcluster.use()
    sparkcluster.stop()  # of the tests before, whose executors hold all cores
    with sparkcluster.cluster(tmp_path_factory.mktemp("spark")) as made:
        made.env = os.environ | made.env | {"PYTHONPATH": os.pathsep.join([*paths, os.environ["PYTHONPATH"]])}
        yield made


class Job:
    def __init__(self, cluster, fleet, place, name):
        self.cluster, self.fleet, self.place, self.name = cluster, fleet, place, name
        self.file, self.out = place / f"{name}.yaml", place / f"out-{name}"

    def write(self, input="in/*.parquet", format="parquet", by=(), details=None, more="", conf=(), **compute):
        columns = f", by: [{', '.join(by)}]" if by else ""
        columns += "" if details is None else f", details: {details}"
        lines = [f"name: {self.name}", "fleet: oj", f"input: {input}", f"output: {{path: '{self.out}', format: {format}{columns}, keep: [row_id]}}"]
        if compute:
            lines += ["compute:", *(f"  {key}: {value}" for key, value in compute.items()), "  conf:"]
            lines += [f"    {key}: {value}" for key, value in ({"spark.executor.memory": "512m", "spark.driver.host": "127.0.0.1",
                                                                "spark.executor.cores": "1"} | dict(conf)).items()]
        self.file.write_text("\n".join(lines) + f"\n{more}\n")
        return self

    def spark(self, **how):
        return self.write(**({"type": "spark", "master": self.cluster.url, "python": sys.executable} | how))

    def start(self, *args):
        return subprocess.Popen([os.environ["MYRIAD"], "batch", "run", self.file, "--workspace", self.fleet.registry.workspace, "--json", *args],
                                env=self.cluster.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *args):
        process = self.start(*args)
        out, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
        return json.loads(out.splitlines()[-1])

    def fails(self):
        process = self.start()
        out, errors = process.communicate(timeout=300)
        assert process.returncode > 0 and errors.startswith("myriad: "), errors
        return process.returncode, errors, json.loads(out.splitlines()[0])["run"] if out else None

    def batch(self, *args):
        done = subprocess.run([os.environ["MYRIAD"], "batch", *map(str, args), "--workspace", self.fleet.registry.workspace, "--json"],
                              env=self.cluster.env, capture_output=True, text=True, timeout=300, check=True)
        return json.loads(done.stdout.splitlines()[-1])

    def record(self, run, name):
        return pathlib.Path(self.fleet.registry.workspace, "runs", str(run), name)

    def rows(self):
        """By row_id; predictions as their bits."""
        manifest = json.loads((self.out / "_myriad.json").read_text())
        paths = {str(p.relative_to(self.out)) for p in self.out.rglob("*") if p.is_file()}
        assert paths == {f["path"] for f in manifest["files"]} | {"_myriad.json"}
        format = "csv" if any(path.endswith(".csv") for path in paths) else "parquet"
        text = {name: pa.string() for name in ("store", "brand", "model", "level", "status")}
        partitioning = pa.dataset.partitioning(pa.schema({"brand": pa.string()}), flavor="hive")
        if format == "csv":
            format = pa.dataset.CsvFileFormat(convert_options=pa.csv.ConvertOptions(column_types=text | {"prediction": pa.float64()}, strings_can_be_null=True))
        found = pa.dataset.dataset(self.out, format=format, partitioning=partitioning).to_table().to_pandas().sort_values("row_id", ignore_index=True)
        found["bits"] = found.pop("prediction").to_numpy(float).view(np.int64)
        return found[sorted(found.columns)].astype(object).where(found.notna(), None)


@pytest.fixture
def job(cluster, fleet, place, request):
    return lambda name: Job(cluster, fleet, place, re.sub(r"[^\w.-]", "-", f"{request.node.name[:40]}.{name}"))


@pytest.mark.parametrize("how", [{}, {"by": ["brand"], "details": "[]"}, {"input": "hive/*/*.csv", "format": "csv", "details": "[level]"}])
def test_the_same_as_on_this_machine(job, how):
    here, there = job("here").write(**how), job("there").spark(**how)
    expected, found = here.run(), there.run()
    pd.testing.assert_frame_equal(there.rows(), here.rows())
    for name in ("rows", "statuses", "levels", "dead_rows", "models_used", "release", "mini_batches_failed", "attempts_lost"):
        assert found[name] == expected[name], name
    assert found["mini_batches"] == 1 and found["statuses"]["bad_key"] > 0 or "hive" in str(how)
    shown = there.batch("show", found["run"])
    assert (shown["state"], shown["rows"], shown["ok_rows"]) == ("completed", found["rows"], found["statuses"]["ok"])
    assert shown["mini_batches"][0]["state"] == "done" and shown["mini_batches"][0]["report"]["application"].startswith("app-")
    assert json.loads(there.record(found["run"], "report.json").read_text())["state"] == "completed"
    if found["dead_rows"]:
        dead = [json.loads(line) for line in there.record(found["run"], "dead_letters.jsonl").read_text().splitlines()]
        local = [json.loads(line) for line in here.record(expected["run"], "dead_letters.jsonl").read_text().splitlines()]
        known = lambda letters: sorted(json.dumps([letter["key"], letter["cause"]], sort_keys=True) for letter in letters)
        assert known(dead) == known(local)
    again = there.run()
    assert again["unchanged"] and again["run"] == found["run"]  # it is not where a run was done that makes it another


def test_executors_as_the_job_says(job, tmp_path):
    log = tmp_path / "events"
    log.mkdir()
    made = job("j").spark(min=1, max=3, idle_seconds=2, conf={"spark.eventLog.enabled": "true", "spark.eventLog.dir": f"file:{log}",
                                                              "spark.eventLog.rolling.enabled": "false", "spark.eventLog.compress": "false"})
    made.run()
    events = [json.loads(line) for path in log.rglob("*") if path.is_file() for line in path.read_text().splitlines()]
    told = [event["Spark Properties"] for event in events if event["Event"] == "SparkListenerEnvironmentUpdate"][-1]
    assert told["spark.app.name"] == f"myriad {made.name}" and told["spark.master"] == made.cluster.url
    names = ("enabled", "minExecutors", "maxExecutors", "executorIdleTimeout")
    assert [told[f"spark.dynamicAllocation.{name}"] for name in names] == ["true", "1", "3", "2000ms"]
    assert sum(event["Event"] == "SparkListenerExecutorAdded" for event in events) >= 1


def until(what, seconds=120):
    end = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < end, "it does not happen"
        time.sleep(0.1)
    return value


def processes(word):
    found = subprocess.run(["pgrep", "-f", word], capture_output=True, text=True).stdout.split()
    return [int(pid) for pid in found if pathlib.Path(f"/proc/{pid}").exists()]


def nothing_left(made):
    assert not made.out.exists() and list(made.place.glob(f"{made.out.name}.*")) == []
    until(lambda: not [pid for pid in processes("myriad.spark --worker")], 30)


def test_a_run_that_waits_for_executors_is_cancelled(job):
    """The cluster is busy; the run ends all the same, and so does all that it has started."""
    made = job("j").spark()
    with made.cluster.session():
        process = made.start()
        run = json.loads(process.stdout.readline())["run"]
        until(lambda: len(processes("SparkSubmit.*pyspark-shell")) >= 2)
        until(lambda: processes("myriad.spark --worker"))
        time.sleep(2)
        made.batch("cancel", run)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 130 and "canceled" in errors
    assert made.batch("status", run)["state"] == "canceled"
    nothing_left(made)


def test_a_run_that_was_killed_goes_on(job):
    made = job("j").spark()
    with made.cluster.session():  # so that it waits
        process = made.start()
        run = json.loads(process.stdout.readline())["run"]
        until(lambda: len(processes("SparkSubmit.*pyspark-shell")) >= 2)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        until(lambda: not processes("myriad.spark --worker"), 30)  # with its coordinator
    done = made.batch("resume", run)
    assert (done["run"], done["rows"], done["unchanged"]) == (run, ROWS, False)
    here = job("here").write()
    here.run()
    pd.testing.assert_frame_equal(made.rows(), here.rows())


def damage(path):
    """What the footer says stays as it is: only who reads the pages finds out."""
    data = bytearray(path.read_bytes())
    data[8:len(data) // 2] = bytes(len(data) // 2 - 8)
    path.write_bytes(data)


def test_a_job_that_fails_says_why(job, place, fleet):
    (place / "bad").mkdir(exist_ok=True)
    (place / "bad" / "0.parquet").write_bytes((place / "in" / "0.parquet").read_bytes())
    damage(place / "bad" / "0.parquet")
    made = job("damaged").spark(input="bad/*.parquet")
    code, why, run = made.fails()
    assert code == 69 and "Spark: " in why and "0.parquet" in why, why
    shown = made.batch("show", run)
    assert shown["state"] == "failed" and "Spark: " in shown["message"] and shown["mini_batches"][0]["attempts"] == 1
    assert json.loads(made.record(run, "report.json").read_text())["state"] == "failed"
    nothing_left(made)
    code, why, _ = job("conf").spark(conf={"spark.sql.shuffle.partitions": "many"}).fails()
    assert code == 69 and "many" in why, why
    code, why, _ = job("python").spark(python="/usr/bin/env").fails()
    assert code == 69 and "it ended with exit code" in why, why
    code, why, run = job("none").spark(python="/nowhere/python").fails()
    assert code == 66 and "/nowhere/python" in why and run is None, why


@pytest.mark.parametrize("compute,message", [
    ({"type": "sparkk"}, "compute type 'sparkk' is not known: local or spark"),
    ({"type": "spark", "worker_memory_max": "1GiB"}, "unknown key 'worker_memory_max'"),
    ({"type": "spark", "min": "2"}, "2 executors stay, which goes with a 'max' of at least so many"),
    ({"type": "spark", "min": "2", "max": "1"}, "2 executors stay"),
    ({"type": "local", "master": "spark://h:1"}, "unknown key 'master'")])
def test_what_a_job_file_may_say(job, compute, message):
    made = job("j").write(**compute)
    if compute["type"] == "local":
        made.file.write_text(made.file.read_text().split("  conf:")[0])
    code, why, run = made.fails()
    assert code == 65 and message in why and run is None, why
