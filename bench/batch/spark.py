#!/usr/bin/env python3
"""Spark with myriad's `mapInArrow` beside LightGBM's and one that computes nothing: the same table, session and columns written.

Usage: bench/batch/spark.py DATA [ROUNDS]     DATA: the end-to-end peers' (batch/seg.parquet, batch/models/sNNNNN.txt)

Needs scripts/setup --tests --spark and a release build; run it with .deps/venv-tests/bin/python. 1,000,000 rows of 2,000
segments x 12 features, local[2]. LightGBM's side is the peers' own: it loads a model's text when a segment comes first,
groups a batch by segment, predicts on one thread. Prints, per side, the best wall time of a job that reads, maps and writes
Parquet, and the time of its Python iterator without what it waits for.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / os.environ.get("MYR_BUILD_DIR", "build")
FEATURES = [f"f{i}" for i in range(12)]
SCHEMA = "seg int, category string, row_id long, prediction double, model string, model_version long, level string, status string"
NAMES = [column.split()[0] for column in SCHEMA.split(", ")]


def use():
    spark = ROOT / ".deps/spark"
    sys.path[:0] = [str(ROOT / "python"), str(spark), str((spark / "py4j.zip").resolve())]
    os.environ |= {"SPARK_HOME": str((spark / "pyspark").resolve()), "SPARK_LOCAL_IP": "127.0.0.1", "PYSPARK_PYTHON": sys.executable,
                   "MYRIAD_LIBRARY": str(BUILD / "libmyriad.so"), "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore"}


def make_pack(data, folder):
    def myriad(*args):
        subprocess.run([BUILD / "myriad", *map(str, args), "--workspace", folder / "ws"], check=True, stdout=subprocess.DEVNULL)
    subprocess.run([BUILD / "myriad", "init", folder / "ws"], check=True, stdout=subprocess.DEVNULL)
    manifest = folder / "manifest.csv"
    models = sorted((data / "batch/models").glob("s*.txt"))
    manifest.write_text("path,seg\n" + "".join(f"{path},{int(path.stem[1:])}\n" for path in models))
    myriad("model", "import", "--manifest", manifest, "--fleet", "seg")
    myriad("release", "create", "seg")
    return folder / "ws/packs/seg/r1.index"


def timed(run, seconds):
    """The same task; `seconds` gets the time that it takes itself, without waiting for its input."""
    def task(batches):
        import time as clock
        inside = waited = 0.0

        def source():
            nonlocal waited
            began = clock.perf_counter()
            for batch in batches:
                waited += clock.perf_counter() - began
                yield batch
                began = clock.perf_counter()
            waited += clock.perf_counter() - began
        answers = iter(run(source()))
        while True:
            began = clock.perf_counter()
            answer = next(answers, None)
            inside += clock.perf_counter() - began
            if answer is None:
                break
            yield answer
        seconds.add(inside - waited)
    return task


def lightgbm_task(models):
    def task(batches):
        import lightgbm
        import numpy as np
        import pyarrow as pa
        loaded = {}
        for batch in batches:
            segments = batch.column("seg").to_numpy()
            matrix = np.column_stack([batch.column(name).to_numpy() for name in FEATURES])
            values = np.empty(len(segments))
            order = np.argsort(segments, kind="stable")
            for rows in np.split(order, np.flatnonzero(np.diff(segments[order])) + 1):
                segment = int(segments[rows[0]])
                if segment not in loaded:
                    loaded[segment] = lightgbm.Booster(model_file=f"{models}/s{segment:05d}.txt")
                values[rows] = loaded[segment].predict(matrix[rows], num_threads=1)
            yield answer(batch, pa.array(values))
    return task


def answer(batch, values):
    """Kept columns, values, and constants where myriad says which model answered."""
    import pyarrow as pa
    told = [pa.repeat(pa.scalar(word), batch.num_rows) for word in ("seg@seg=1234", 1, "segment", "ok")]
    return pa.RecordBatch.from_arrays([batch.column(name) for name in NAMES[:3]] + [values, *told], names=NAMES)


def identity_task(batches):
    for batch in batches:
        yield answer(batch, batch.column("f0"))


def main(data, rounds=3):
    use()
    from myriad import spark as ours
    from pyspark.sql import SparkSession
    with tempfile.TemporaryDirectory() as scratch:
        folder, out = pathlib.Path(scratch), pathlib.Path(scratch) / "out"
        pack = make_pack(data, folder)
        session = (SparkSession.builder.master("local[2]").config("spark.driver.memory", "4g").config("spark.ui.enabled", "false")
                   .config("spark.driver.bindAddress", "127.0.0.1").config("spark.driver.host", "127.0.0.1")
                   .config("spark.local.dir", scratch).config("spark.log.level", "ERROR").config("spark.ui.showConsoleProgress", "false").getOrCreate())
        table = session.read.parquet(str(data / "batch/seg.parquet"))
        plain = table.select(*NAMES[:3], *FEATURES)
        task = ours._task
        best = {}
        for number in range(rounds + 1):  # the first warms the JVM, the workers and the page cache
            for side in ("identity", "myriad", "lightgbm"):
                if side == "lightgbm" and number > 1:
                    continue  # one round of it: it takes long, and its spread is small against the ratio
                inside = session.sparkContext.accumulator(0.0)
                if side == "myriad":
                    ours._task = lambda plan, counts: timed(task(plan, counts), inside)
                    job = ours.score(table, pack, keep=["category", "row_id"])
                else:
                    job = plain.mapInArrow(timed(identity_task if side == "identity" else lightgbm_task(str(data / "batch/models")), inside), SCHEMA)
                shutil.rmtree(out, ignore_errors=True)
                began = time.perf_counter()
                job.write.parquet(str(out))
                wall = time.perf_counter() - began
                if number > 0:
                    before = best.get(side, (9e9, 9e9))
                    best[side] = (min(before[0], wall), min(before[1], inside.value))
        session.stop()
    for side, (wall, inside) in best.items():
        print(f"{side:9} job {wall:6.2f} s, inside the iterator {inside:6.2f} s")
    print(f"myriad against lightgbm inside the iterator: {best['lightgbm'][1] / best['myriad'][1]:.1f}x faster; "
          f"job against identity: {best['myriad'][0] / best['identity'][0]:.2f}x")


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]).resolve(), *map(int, sys.argv[2:]))
