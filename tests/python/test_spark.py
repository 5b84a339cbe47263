"""DataFrames of a real Spark: a standalone master with two workers, whose executors have nothing of ours installed.

Long tests, since the pinned Spark is a download of 450 MB: scripts/setup --tests --spark, then MYR_LONG=1.
"""
import datetime
import decimal
import json
import os
import pathlib
import re
import subprocess
import sys
import threading
import time

import myriad
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sparkcluster
from conftest import FEATURES

pytestmark = pytest.mark.skipif(not os.environ.get("MYR_LONG"), reason="long: needs scripts/setup --spark and MYR_LONG=1")
ROWS = 2000


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    sparkcluster.use()
    with sparkcluster.cluster(tmp_path_factory.mktemp("spark")) as made:
        yield made


@pytest.fixture(scope="module")
def session(cluster):
    with cluster.session() as made:
        yield made


@pytest.fixture(scope="module")
def table(fleet, tmp_path_factory):
    """Rows of all kinds: own segment, parent, global, null keys, keys that are none, missing features."""
    stores, brands, matrix = fleet.rows(ROWS)
    keys = pd.Series(stores).astype("string")
    keys[::97], keys[5::131] = "x", None
    rows = pd.DataFrame(dict(zip(FEATURES, matrix.T))).assign(store=keys, brand=pd.Series(brands).where(np.arange(ROWS) % 59 != 1),
                                                              row_id=np.arange(ROWS), level2="a")
    path = tmp_path_factory.mktemp("rows") / "rows.parquet"
    rows.to_parquet(path, row_group_size=300)
    return path


@pytest.fixture(scope="module")
def batch(fleet, table, tmp_path_factory):
    """What `myriad batch run` says of them."""
    out = tmp_path_factory.mktemp("batch") / "out"
    subprocess.run([os.environ["MYRIAD"], "batch", "run", "--workspace", fleet.registry.workspace, "--fleet", "oj", "--input", table, "--output", out],
                   check=True, capture_output=True)
    return read(out)


def read(folder):
    """By row_id; predictions as their bits."""
    found = pa.concat_tables([pq.read_table(path) for path in sorted(pathlib.Path(folder).glob("*.parquet"))]).sort_by("row_id")
    return found.set_column(found.schema.get_field_index("prediction"), "bits",
                            pa.array(found["prediction"].to_numpy().view(np.int64), mask=found["prediction"].is_null().to_numpy()))


def score(df, *args, **how):
    from myriad import spark
    return spark.score(df, *args, **how)


def test_the_same_bits_as_batch(session, fleet, table, batch, tmp_path):
    from myriad import spark
    counts = spark.Counts(session)
    df = session.read.parquet(str(table)).repartition(6)
    scored = score(df, fleet.pack_path, counts=counts)
    assert scored.columns == ["store", "brand", "row_id", "level2", "prediction", "model", "model_version", "level", "status"]
    scored.write.parquet(str(tmp_path / "out"))
    found = read(tmp_path / "out")
    assert found.num_rows == ROWS and found.column_names == batch.column_names
    for name in batch.column_names:
        assert found[name].to_pylist() == batch[name].to_pylist(), name
    words = pd.Series(batch["status"].to_pylist()).value_counts().to_dict()
    assert counts.statuses == words and set(words) == {"ok", "bad_key"} and counts.rows == ROWS
    assert counts.levels == pd.Series(batch["level"].to_pylist()).value_counts().to_dict()


def test_executors_use_what_was_shipped_and_share_it(session, fleet, table, monkeypatch):
    """Neither package nor library is installed there; the executors of one worker map one file."""
    from myriad import spark
    task = spark._task

    def looking(plan, counts):
        run = task(plan, counts)

        def look(batches):
            import json
            import os as worker_os

            from pyspark import SparkFiles
            for answer in run(batches):
                import myriad as there
                lines = [line.split() for line in open("/proc/self/maps", encoding="utf-8")]
                told = {"executor": worker_os.path.abspath(SparkFiles.getRootDirectory()), "worker": worker_os.environ["SPARK_EXECUTOR_DIRS"], "package": there.__file__,
                        "blobs": sorted({line[4] for line in lines if len(line) > 5 and line[5].endswith(".blobs")}),
                        "library": sorted({line[5] for line in lines if len(line) > 5 and "libmyriad" in line[5]})}
                place = answer.schema.get_field_index("status")
                yield answer.set_column(place, "status", pa.array([json.dumps(told)] * answer.num_rows))
        return look

    monkeypatch.setattr(spark, "_task", looking)
    df = score(session.read.parquet(str(table)).repartition(16), fleet.pack_path)
    seen = [json.loads(row.status) for row in df.select("status").distinct().collect()]
    assert all("/myriad-package-" in path for told in seen for path in (told["package"], *told["library"]))
    assert len({told["executor"] for told in seen}) >= 3  # of the four
    workers = {told["worker"]: set() for told in seen}
    for told in seen:
        workers[told["worker"]].update(told["blobs"])
    assert [len(inodes) for inodes in workers.values()] == [1, 1]


def test_types_of_columns(session, fleet, tmp_path):
    """Integers, floats, decimals, booleans, texts that are numbers and one that is none; whatever is kept."""
    from pyspark.sql import functions as f
    rows = [(1, "a", 1.5), (2, "ü, brand=1", 2.0), (3, "none", -0.25)]
    df = session.createDataFrame(rows, "store int, brand string, price double").select(
        "*", f.lit(True).alias("deal"), f.col("price").cast("decimal(9,3)").alias("feat"), f.col("price").cast("float").alias("week"),
        f.when(f.col("store") == 3, "dear").otherwise(f.col("price").cast("string")).alias("income"),
        f.lit(datetime.datetime(2026, 11, 30, 12)).alias("at"), f.lit(datetime.date(2026, 11, 30)).alias("day"),
        f.array(f.lit(1), f.col("store")).alias("list"), f.struct("store", "brand").alias("pair"),
        f.create_map(f.lit("k"), f.col("price")).alias("map"), f.lit(bytearray(b"\0\1")).alias("bytes"),
        f.lit(decimal.Decimal("1.10")).alias("money"), f.lit(None).alias("nothing"), f.col("store").alias("with.dot"))
    found = score(df, fleet.pack_path).orderBy("store").collect()
    matrix = np.array([[price, 1, price, price, price] for _, _, price in rows])
    expected = fleet.expected([1, 2, 3], ["a", "ü, brand=1", "none"], matrix)
    assert [r.prediction for r in found[:2]] == list(expected[:2])
    assert [r.status for r in found] == ["ok", "ok", "bad_input"] and found[2].prediction is None and found[2].level == "global"
    kept = df.orderBy("store").collect()
    for name in ("at", "day", "list", "pair", "map", "bytes", "money", "nothing", "with.dot"):
        assert [r[name] for r in found] == [r[name] for r in kept], name
    for type_ in ("decimal(10,2)", "double", "string", "bigint", "float", "tinyint"):  # a key is what its text says
        again = score(df.withColumn("store", f.col("store").cast(type_)), fleet.pack_path, keep=[]).orderBy("store").collect()
        assert [r.model for r in again] == [r.model for r in found], type_
        assert [r.prediction for r in again] == [r.prediction for r in found]
    renamed = df.withColumnsRenamed({"store": "shop", "brand": "label"})
    assert [r.prediction for r in score(renamed, fleet.pack_path, ["shop", "label"], ["day"]).orderBy("shop").collect()] == [
        r.prediction for r in found]
    assert score(renamed, fleet.pack_path, ["shop", "label"], ["day"]).columns[:3] == ["shop", "label", "day"]


def test_names_of_categories(session, tmp_path):
    import lightgbm
    rng = np.random.default_rng(3)
    frame = pd.DataFrame({"colour": pd.Categorical(rng.choice(["red", "green", "blau"], 600)), "size": pd.Categorical(rng.integers(1, 5, 600)),
                          "x": rng.normal(size=600)})
    y = frame.colour.cat.codes * 2 + frame["size"].cat.codes * frame.x
    booster = lightgbm.train({"objective": "regression", "verbose": -1, "num_threads": 1, "min_data_in_leaf": 5}, lightgbm.Dataset(frame, y), 10)
    registry = myriad.Registry(tmp_path / "ws", create=True)
    registry.register(booster, "shirts")
    pack = registry.open(registry.release("shirts").fleet)
    df = session.createDataFrame(frame.astype({"colour": str, "size": int}).assign(n=range(600)))
    expected = booster.predict(frame)
    for type_ in ("int", "string", "decimal(8,2)", "double"):
        found = score(df.withColumn("size", df["size"].cast(type_)), pack, keep=["n"]).orderBy("n").collect()
        assert [r.prediction for r in found] == list(expected), type_
    strange = score(df.replace("red", "pink"), pack, keep=["n"]).collect()
    assert {r.status for r in strange} == {"ok"}  # a name that the model has not is missing, as in LightGBM


def test_one_model_file_of_any_name(session, fleet, tmp_path):
    """A file is a pack of one model; its name may hold what a URI may not."""
    path = tmp_path / "größe #1 50%.txt"
    fleet.boosters[None, None].save_model(path)
    _, _, matrix = fleet.rows(20)
    df = session.createDataFrame(pd.DataFrame(matrix, columns=FEATURES).assign(n=range(20)))
    found = score(df, path).orderBy("n").collect()
    assert [r.prediction for r in found] == list(fleet.boosters[None, None].predict(matrix)) and {r.model for r in found} == {path.name}


def test_empty_partitions_and_no_rows(session, fleet, table):
    df = session.read.parquet(str(table))
    one = score(df.where("row_id = 7").repartition(8), fleet.pack_path)
    assert one.count() == 1
    assert score(df.where("row_id < 0"), fleet.pack_path).collect() == []


def test_other_outputs(session, fleet, table, batch):
    margins = score(session.read.parquet(str(table)), fleet.pack_path, keep=["row_id"], output="margin").orderBy("row_id").collect()
    assert [r.margin for r in margins] == [None if b is None else np.int64(b).view(np.float64) for b in batch["bits"].to_pylist()]
    with pytest.raises(myriad.Unsupported, match="explain"):
        score(session.read.parquet(str(table)), fleet.pack_path, output="contribution")


@pytest.mark.parametrize("details", [[], ["status", "model"], ["model_version"], "level"])
def test_details_that_are_told(session, fleet, table, batch, details):
    from myriad import spark
    counts = spark.Counts(session)
    scored = score(session.read.parquet(str(table)).repartition(3), fleet.pack_path, keep=["row_id"], details=details, counts=counts)
    names = [name for name in ("model", "model_version", "level", "status") if name in details]
    assert scored.columns == ["store", "brand", "row_id", "prediction", *names]
    found = {row["row_id"]: row for row in scored.collect()}
    for row in batch.to_pylist():
        assert [found[row["row_id"]][name] for name in names] == [row[name] for name in names]
    assert counts.rows == ROWS and counts.models_used.bit_count() == len(set(batch["model"].to_pylist()) - {None})


@pytest.mark.parametrize("how,change,message", [
    ({"details": ["modle"]}, None, "there is no detail 'modle': did you mean 'model'?"),
    ({"details": ["level", "level"]}, None, "the detail 'level' is named twice"),
    ({}, lambda df: df.withColumnRenamed("price", "Price"), "no column 'price', a feature: did you mean 'Price'?"),
    ({}, lambda df: df.withColumnRenamed("brand", "brands"), "no column 'brand', a partition column: did you mean 'brands'?"),
    ({"keys": ["shop", "brand"]}, None, "no column 'shop', a partition column: it has"),
    ({"keys": ["store"]}, None, "1 key columns, 2 are needed: store, brand"),
    ({"keep": ["weeks"]}, None, "no column 'weeks', which is to be kept: did you mean 'week'?"),
    ({"output": "leaf"}, None, "output is 'leaf'"),
    ({"keep": ["Status"]}, lambda df: df.withColumnRenamed("row_id", "Status"), "'Status' of keep= would stand twice"),
    ({"keys": ["model", "brand"]}, lambda df: df.withColumnRenamed("store", "model"), "partition column 'model' would stand twice"),
    ({}, lambda df: df.select("*", df.week.alias("Week")), "2 columns 'week', a feature"),
    ({}, lambda df: df.withColumn("price", df.row_id.cast("timestamp")), "'price', a feature, is timestamp and must be numbers"),
    ({}, lambda df: df.withColumn("store", df.row_id.cast("timestamp")), "'store', a partition column, is timestamp and must be numbers, text or dates"),
])
def test_errors_before_a_job_starts(session, fleet, table, how, change, message):
    df = session.read.parquet(str(table))
    with pytest.raises(myriad.BadInput, match=re.escape(message)):
        score(change(df) if change else df, fleet.pack_path, **how)


def test_a_pack_that_is_not_there(session, table):
    with pytest.raises(myriad.NotFound, match="nowhere"):
        score(session.read.parquet(str(table)), "/nowhere/r1.index")


def test_names_of_ours_are_left_out_with_a_warning(session, fleet, table):
    df = session.read.parquet(str(table)).withColumnRenamed("level2", "Level")
    with pytest.warns(UserWarning, match="left out Level"):
        assert score(df, fleet.pack_path).columns == ["store", "brand", "row_id", "prediction", "model", "model_version", "level", "status"]


def test_an_executor_dies_in_the_middle(session, fleet, table, batch, tmp_path):
    """Its tasks run again elsewhere: no row twice, none lost, and the counts say so too."""
    from myriad import spark
    mark = tmp_path / "killed"

    def fatal(batches):  # once, the third batch of a task ends the JVM that it runs in
        import os as worker_os
        import signal
        for number, rows in enumerate(batches):
            if number == 2:
                try:
                    worker_os.close(worker_os.open(str(mark), worker_os.O_CREAT | worker_os.O_EXCL))
                except FileExistsError:
                    pass
                else:
                    with open(f"/proc/{worker_os.getppid()}/stat", encoding="utf-8") as stat:  # the daemon's parent
                        worker_os.kill(int(stat.read().rpartition(")")[2].split()[1]), signal.SIGKILL)
            yield rows

    session.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", "50")
    try:
        df = session.read.parquet(str(table)).repartition(8)
        counts = spark.Counts(session)
        score(df.mapInArrow(fatal, df.schema), fleet.pack_path, counts=counts).write.parquet(str(tmp_path / "out"))
    finally:
        session.conf.unset("spark.sql.execution.arrow.maxRecordsPerBatch")
    assert mark.exists()
    found = read(tmp_path / "out")
    assert found["row_id"].to_pylist() == list(range(ROWS)) and found["bits"].to_pylist() == batch["bits"].to_pylist()
    assert counts.rows == ROWS


def test_executors_come_and_go(cluster, fleet, table, tmp_path):
    """Dynamic allocation: none before the job, as many as it may have while it runs, none after."""
    def executors():
        return made.sparkContext._jsc.sc().getExecutorMemoryStatus().size() - 1  # the driver is there too

    def slow(batches):
        for rows in batches:
            time.sleep(0.5)
            yield rows

    with cluster.session(dynamicAllocation_enabled="true", dynamicAllocation_shuffleTracking_enabled="true", dynamicAllocation_minExecutors="0",
                         dynamicAllocation_maxExecutors="3", dynamicAllocation_executorIdleTimeout="1s",
                         dynamicAllocation_initialExecutors="0", dynamicAllocation_shuffleTracking_timeout="1s") as made:
        assert executors() == 0
        df = made.read.parquet(str(table))
        seen = []
        watch = threading.Thread(target=lambda: [(seen.append(executors()), time.sleep(0.1)) for _ in iter(lambda: done.is_set(), True)])
        done = threading.Event()
        watch.start()
        try:
            score(df.repartition(12).mapInArrow(slow, df.schema), fleet.pack_path).write.parquet(str(tmp_path / "out"))
        finally:
            done.set()
            watch.join()
        assert max(seen) == 3
        until = time.monotonic() + 30
        while executors() > 0 and time.monotonic() < until:
            time.sleep(0.2)
        assert executors() == 0
    assert read(tmp_path / "out").num_rows == ROWS


def test_the_example_runs(cluster, fleet, table, batch, tmp_path):
    """By spark-submit, as its first lines say."""
    sparkcluster.stop()
    done = subprocess.run([f"{os.environ['SPARK_HOME']}/bin/spark-submit", "--master", cluster.url, "--conf", "spark.executor.memory=512m",
                           "--conf", "spark.driver.host=127.0.0.1", sparkcluster.ROOT / "examples/spark/nightly.py", fleet.registry.workspace, "oj",
                           table, tmp_path / "out"], capture_output=True, text=True, timeout=300, env=os.environ | cluster.env | {
                               "PYTHONPATH": os.environ["PYTHONPATH"], "MYRIAD": os.environ["MYRIAD"]})
    bad = sum(word != "ok" for word in batch["status"].to_pylist())
    assert done.returncode == (1 if bad > ROWS / 100 else 0), done.stderr[-3000:]
    assert f"\n{ROWS} rows with 8 models of oj release 1: {{" in "\n" + done.stdout  # behind warnings of pyspark's
    assert done.stdout.count("'status': 'bad_key'") == min(bad, 10)
    assert {path.name for path in (tmp_path / "out").glob("brand=*")} >= {"brand=a", "brand=__HIVE_DEFAULT_PARTITION__"}


def test_a_job_by_command(cluster, fleet, table, batch, tmp_path):
    """python -m myriad.spark: a directory per brand, executors as they are needed, all or nothing."""
    sparkcluster.stop()
    paths = os.pathsep.join([*sparkcluster.use(), os.environ["PYTHONPATH"]])

    def job(*args):
        return subprocess.run([sys.executable, "-W", "ignore", "-m", "myriad.spark", "--workspace", fleet.registry.workspace, "--fleet", "oj", "--master",
                               cluster.url, "--max-executors", "3", "--idle-seconds", "1", "--conf", "spark.executor.memory=512m", "--conf",
                               "spark.driver.host=127.0.0.1", "--conf", "spark.executor.cores=1", *map(str, args)], capture_output=True, text=True,
                              timeout=300, env=os.environ | cluster.env | {"PYTHONPATH": paths, "MYRIAD": os.environ["MYRIAD"]})

    out = tmp_path / "out"
    done = job("--input", table, "--output", out, "--by", "brand")
    assert done.returncode == 0, done.stderr[-3000:]
    said = json.loads(done.stdout.splitlines()[-1])
    assert (said["rows"], said["fleet"], said["release"]) == (ROWS, "oj", 1) and said["statuses"]["ok"] == batch["status"].to_pylist().count("ok")
    files = sorted(path.relative_to(out) for path in out.rglob("*") if path.is_file())
    assert {path.parts[0] for path in files} >= {"brand=a", "brand=__HIVE_DEFAULT_PARTITION__"} and all(path.suffix == ".parquet" for path in files)
    found = pa.concat_tables([pq.ParquetFile(out / path).read() for path in files]).sort_by("row_id")
    assert found["row_id"].to_pylist() == list(range(ROWS))
    values = found["prediction"]
    assert pa.array(values.to_numpy().view(np.int64), mask=values.is_null().to_numpy()).to_pylist() == batch["bits"].to_pylist()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]  # nothing beside it
    for args, code, message in (
            (("--input", table, "--output", out), 73, "exists already"),
            (("--input", tmp_path / "none.parquet", "--output", tmp_path / "o2"), 66, "none.parquet"),
            (("--input", table, "--output", tmp_path / "o2", "--keep", "weeks"), 65, "did you mean 'week'?"),
            (("--input", table, "--output", tmp_path / "o2", "--details", "statsu"), 65, "did you mean 'status'?"),
            (("--input", table, "--output", tmp_path / "o2", "--release", "9"), 66, "has no release 9")):
        done = job(*args)
        assert done.returncode == code and message in done.stderr.splitlines()[-1], done.stderr[-2000:]
    assert not (tmp_path / "o2").exists()


def test_settings_of_a_job():
    from myriad import _spark_job
    found = _spark_job.settings(_spark_job._arguments(["--pack", "p", "--input", "i", "--output", "o", "--min-executors", "1", "--max-executors", "8",
                                                       "--idle-seconds", "0.5", "--conf", "spark.executor.memory=4g"]))
    assert found["spark.dynamicAllocation.minExecutors"] == found["spark.dynamicAllocation.initialExecutors"] == "1"
    assert found["spark.dynamicAllocation.maxExecutors"] == "8" and found["spark.dynamicAllocation.executorIdleTimeout"] == "500ms"
    assert found["spark.executor.memory"] == "4g"
    assert "spark.dynamicAllocation.enabled" not in _spark_job.settings(_spark_job._arguments(["--pack", "p", "--input", "i", "--output", "o"]))


@pytest.mark.parametrize("args", [["--fleet", "f"], ["--input", "i", "--output", "o"], ["--fleet", "f", "--pack", "p", "--input", "i", "--output", "o"],
                                  ["--fleet", "f", "--input", "i", "--output", "o", "--min-executors", "1"],
                                  ["--fleet", "f", "--input", "i", "--output", "o", "--conf", "x"]])
def test_a_job_that_is_not_said_right(args, capsys):
    from myriad import _spark_job
    with pytest.raises(SystemExit):
        _spark_job.main(args)
    assert "usage: python -m myriad.spark" in capsys.readouterr().err
