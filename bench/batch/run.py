#!/usr/bin/env python3
"""Batch beside what it is measured against, side by side in one run: one line per point, with the ratio that counts.

Usage: bench/batch/run.py DIR [POINT…] [--rounds N] [--peers DIR] [--ray PYTHON] [--spark PYTHON]

DIR gets what is missing in it: the tables and models of make_segments.py, workspaces with the models imported (10 GB with all points).
Needs a release build with bench_batch_floor and bench_batch_plain; run it with .deps/venv-tests/bin/python. --peers is the directory
of the end-to-end peers (score.py); Ray and Spark run in the Pythons that are named.
Each side's best wall time over interleaved rounds; the process's start is in it, but the floor's is that of its query alone.
"""
import argparse
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import numpy as np

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / os.environ.get("MYR_BUILD_DIR", "build")
ANSWER = "(" + " + ".join(f"f{i}" for i in range(12)) + ") * 0 + 1.0 AS prediction"  # a constant that needs all features
COPY = f"category, seg, row_id, {ANSWER}"
COLUMNS = f"{COPY}, 's@seg=' || seg AS model, 1::BIGINT AS model_version, 'segment' AS level, 'ok' AS status"
POLL_SECONDS = 0.02


class Data:
    """Tables and a workspace below one directory, made when they are asked for."""

    def __init__(self, folder, segments):
        self.folder, self.segments, self.out = folder / str(segments), segments, folder / "out"
        if not (self.folder / "batch/shuf.parquet").exists():
            subprocess.run([sys.executable, ROOT / "bench/batch/make_segments.py", self.folder, str(segments)], check=True)

    def workspace(self):
        path = self.folder / "workspace"
        if not path.exists():
            began = time.perf_counter()
            for command in (["init", path], ["model", "import", "--manifest", self.folder / "models.csv", "--fleet", "s", "--workspace", path],
                            ["release", "create", "s", "--workspace", path]):
                subprocess.run([BUILD / "myriad", *command], check=True, stdout=subprocess.DEVNULL)
            print(f"{self.segments:,} models imported and released in {time.perf_counter() - began:.1f} s")
        return path

    def table(self, name="seg.parquet", copies=1):
        path = self.folder / "batch" / name
        many = path.with_stem(f"{path.stem}-{copies}")
        if copies == 1:
            return path
        if not many.exists():
            import pyarrow.parquet as parquet
            source = parquet.ParquetFile(path)
            with parquet.ParquetWriter(many, source.schema_arrow) as writer:
                for _ in range(copies):
                    for group in range(source.num_row_groups):
                        writer.write_table(source.read_row_group(group))
        return many

    def batch(self, table, *more):
        return [BUILD / "myriad", "batch", "run", "--fleet", "s", "--input", table, "--output", self.out, "--by", "category", "--keep", "row_id",
                "--workspace", self.workspace(), *more]

    def plain(self, table):
        return [BUILD / "bench_batch_plain", self.workspace(), "s", table, self.out, "category", "row_id"]

    def floor(self, table, columns=COPY, form="parquet"):
        return [BUILD / "bench_batch_floor", table, self.out, columns, "category", form]

    def clean(self):
        shutil.rmtree(self.out, ignore_errors=True)
        os.sync()  # what the side before left to be written is not this one's

    def check(self, form="parquet", copies=1):
        """Every row is there, with LightGBM's answer, bit for bit."""
        import pyarrow.dataset
        rows = pyarrow.dataset.dataset(self.out, format=form, partitioning="hive").to_table(columns=["row_id", "prediction"])
        ids, expected = rows["row_id"].to_numpy(), np.load(self.folder / "batch/expected.npy")
        assert (np.bincount(ids, minlength=len(expected)) == copies).all(), "rows are missing, or twice there"
        assert (rows["prediction"].to_numpy() == expected[ids]).all(), "answers differ"


def timed(command):
    """(wall seconds, what it printed)"""
    began = time.perf_counter()
    done = subprocess.run(list(map(str, command)), check=True, stdout=subprocess.PIPE, text=True)
    return time.perf_counter() - began, done.stdout


def best(data, sides, rounds):
    """{side: best seconds}; of a floor also `<side>, query`"""
    seconds = {}
    for _ in range(rounds):
        for name, command in sides.items():
            data.clean()
            wall, said = timed(command)
            seconds.setdefault(name, []).append(wall)
            if "floor" in str(command[0]):
                seconds.setdefault(f"{name}, query", []).append(float(said))
    return {name: min(walls) for name, walls in seconds.items()}


def family(pid):
    found, todo = [], [pid]
    while todo:
        found.append(todo.pop())
        try:
            for task in os.listdir(f"/proc/{found[-1]}/task"):
                todo += map(int, pathlib.Path(f"/proc/{found[-1]}/task/{task}/children").read_text().split())
        except OSError:
            pass
    return found


def share(pid):
    """Its part of memory, in MiB: pages that several processes have are divided among them."""
    try:
        return int(pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().split("\nPss:")[1].split()[0]) / 1024
    except (OSError, IndexError):
        return 0


def peak(data, command):
    data.clean()
    process, most = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL), 0
    while process.poll() is None:
        most = max(most, sum(map(share, family(process.pid))))
        time.sleep(POLL_SECONDS)
    assert process.returncode == 0
    return most


def tell(point, text):
    print(f"{point:8} {text}", flush=True)


def compare(point, data, table, rounds, rows, must, form="parquet"):
    """The answers alone against the floor, and with all details against the floor with such columns."""
    ours = data.batch(table, "--format", form)
    took = best(data, {"floor": data.floor(table, COPY, form), "same columns": data.floor(table, COLUMNS, form),
                       "answers": [*ours, "--details", "none"], "myriad": ours}, rounds)
    for name, floor, what in (("answers", "floor", "no details"), ("myriad", "same columns", "all details")):
        tell(point, f"{table.name}, {what}: floor {took[f'{floor}, query']:.3f} s (process {took[floor]:.3f}), myriad {took[name]:.3f} s: "
                    f"{took[name] / took[f'{floor}, query']:.2f}x, must {must}x; {rows / took[name]:,.0f} rows/s")


def point_parquet(args):
    data = Data(args.dir, 2000)
    for name in ("seg.parquet", "shuf.parquet"):
        compare("parquet", data, data.table(name), args.rounds, 1_000_000, 1.5)
        data.check()


def point_csv(args):
    data = Data(args.dir, 2000)
    compare("csv", data, data.table("seg.csv"), args.rounds, 1_000_000, 1.5, "csv")
    data.check("csv")


def point_large(args):
    data = Data(args.dir, 2000)
    compare("large", data, data.table(copies=20), min(args.rounds, 3), 20_000_000, 1.25)
    data.check(copies=20)


def point_sister(args):
    data = Data(args.dir, 10_000)
    table = data.table(copies=8)
    took = best(data, {"myriad": data.batch(table)}, min(args.rounds, 2))
    tell("sister", f"10,000 models, 40,000,000 rows: {took['myriad']:.1f} s, must 25 s; {40e6 / took['myriad']:,.0f} rows/s")
    data.check(copies=8)


def point_memory(args):
    data = Data(args.dir, 2000)
    found = {copies: (peak(data, data.floor(data.table(copies=copies))), peak(data, data.batch(data.table(copies=copies)))) for copies in (2, 20)}
    for copies, (floor, ours) in found.items():
        tell("memory", f"{copies},000,000 rows: floor {floor:.0f} MiB, myriad {ours:.0f} MiB: {ours / floor:.2f}x, must 1.5x")
    tell("memory", f"ten times as many rows: {found[20][1] / found[2][1]:.2f}x, must the same")


def point_ledger(args):
    data = Data(args.dir, 2000)
    for copies in (1, 20):
        table = data.table(copies=copies)
        took = best(data, {"without": data.plain(table), "with": data.batch(table)}, args.rounds if copies == 1 else min(args.rounds, 3))
        tell("ledger", f"{copies},000,000 rows: without ledger, workers, syncs {took['without']:.3f} s, with {took['with']:.3f} s: "
                       f"{took['with'] / took['without']:.2f}x, must 1.05x")


def runs(data, command, *more):
    return json.loads(timed([BUILD / "myriad", "batch", command, *more, "--workspace", data.workspace(), "--json"])[1].splitlines()[-1])


def point_resume(args):
    data = Data(args.dir, 2000)
    command = list(map(str, data.batch(data.table(copies=20), "--json")))
    data.clean()
    whole, _ = timed(command)
    data.clean()
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    run = json.loads(process.stdout.readline())["run"]
    while runs(data, "status", str(run))["rows_done"] < 10_000_000:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = time.perf_counter() - began
    done = {batch["name"] for batch in runs(data, "show", str(run))["mini_batches"] if batch["state"] == "done"}
    begun = {path.name.rsplit("-", 1)[0] for path in data.out.with_name(f"{data.out.name}.staging-{run}").glob("work/*") if path.is_dir()}
    after, _ = timed([BUILD / "myriad", "batch", "resume", run, "--workspace", data.workspace()])
    data.check(copies=20)
    tell("resume", f"killed at {before:.2f} s with {len(done)} mini-batches done and {len(begun - done)} begun, resumed in {after:.2f} s; undisturbed "
                   f"{whole:.2f} s; begun again: {len(begun - done)}, must {os.cpu_count()} (one per worker)")


def point_start(args):
    data = Data(args.dir, 2000)
    table = data.folder / "row.csv"
    table.write_text("".join((data.folder / "batch/seg.csv").open().readline() for _ in range(1)) +
                     (data.folder / "batch/seg.csv").read_text(encoding="utf-8", errors="strict")[:4096].splitlines()[1] + "\n")
    took = best(data, {"myriad": data.batch(table)}, args.rounds)
    tell("start", f"a whole run of one row, from no process to published: {took['myriad']:.3f} s; to the first row must 0.5 s")


def point_peers(args):
    """The peers load a model's text when they need it, as their users do; ours are imported before."""
    data = Data(args.dir, 2000)
    took = best(data, {"myriad": data.batch(data.table())}, args.rounds)["myriad"]
    engines = {"polars": (args.python, 20), "raygroups": (args.ray, 50), "raybatches": (args.ray, 50), "spark": (args.spark, 70)}
    for engine, (python, must) in engines.items():
        if args.peers is None or python is None:
            tell("peers", f"{engine}: not measured, its Python was not named")
            continue
        env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONWARNINGS": "ignore", "PYSPARK_PYTHON": str(python)}
        began = time.perf_counter()
        subprocess.run([python, args.peers / "batch/score.py", engine, data.folder, data.folder / "peer-out"], check=True, env=env,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wall = time.perf_counter() - began
        tell("peers", f"{engine} {wall:.1f} s, myriad {took:.3f} s: {wall / took:.0f}x, must {must}x")


POINTS = {name.removeprefix("point_"): run for name, run in list(globals().items()) if name.startswith("point_")}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=pathlib.Path)
    parser.add_argument("points", nargs="*", choices=[*POINTS, []], metavar="POINT", help=" ".join(POINTS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--peers", type=pathlib.Path)
    parser.add_argument("--python", default=sys.executable, help="polars' Python")
    parser.add_argument("--ray")
    parser.add_argument("--spark")
    args = parser.parse_args()
    args.dir = args.dir.resolve()
    args.dir.mkdir(parents=True, exist_ok=True)
    for point in args.points or POINTS:
        POINTS[point](args)


if __name__ == "__main__":
    main()
