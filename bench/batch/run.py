#!/usr/bin/env python3
"""Batch against its floor: `myriad batch run` next to the same DuckDB copying the same columns with constants in place of answers.

Usage: bench/batch/run.py WORKSPACE [COPIES] [ROUNDS]       the orange juice fleet of a quickstart's demo; COPIES of its 106,139 rows
       bench/batch/run.py --segments DATA [COPIES] [ROUNDS] the table and models of make_segments.py, imported first; COPIES of its rows
Prints, per form, the best wall time of each side over interleaved rounds, and their ratio.
"""
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import numpy as np
import pandas as pd

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / os.environ.get("MYR_BUILD_DIR", "build")
SEGMENT_COLUMNS = ("store, brand, row_id, f0 + f1 + f2 + f3 + f4 + f5 + f6 + f7 + f8 + f9 + f10 + f11 AS prediction, 's@store=2,brand=1' AS model, "
                   "1::BIGINT AS model_version, 'segment' AS level, 'ok' AS status")


def make_table(path, copies):
    rows = pd.read_csv(ROOT / ".deps/oj/oj.csv").drop(columns=["constant", "profit"])
    rows = pd.concat([rows] * copies, ignore_index=True)
    rows.sample(frac=1, random_state=1).to_parquet(path)
    return len(rows)


def timed(command):
    began = time.perf_counter()
    subprocess.run(list(map(str, command)), check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def compare(name, table, out, rows, rounds, floor, ours):
    best = {"floor": np.inf, "myriad": np.inf}
    for _ in range(rounds):
        for side in best:
            shutil.rmtree(out, ignore_errors=True)
            command = [BUILD / "bench_batch_floor", table, out, *floor] if side == "floor" else [
                BUILD / "myriad", "batch", "run", "--input", table, "--output", out, *ours]
            best[side] = min(best[side], timed(command))
    print(f"{name:14} floor {best['floor']:.2f} s, myriad {best['myriad']:.2f} s: {best['myriad'] / best['floor']:.2f}x, "
          f"{rows / best['myriad']:,.0f} rows/s", flush=True)


def juice(workspace, copies=10, rounds=5):
    with tempfile.TemporaryDirectory() as scratch:
        table, out = pathlib.Path(scratch) / "rows.parquet", pathlib.Path(scratch) / "out"
        rows = make_table(table, copies)
        print(f"{rows:,} rows in random order, {table.stat().st_size / 1e6:.1f} MB of Parquet, 913 + 12 models")
        ours = ["--fleet", "oj", "--keep", "logmove", "--workspace", workspace]
        compare("one directory", table, out, rows, rounds, [], ours)
        compare("by brand", table, out, rows, rounds, ["brand"], [*ours, "--by", "brand"])


def segments(data, copies=1, rounds=3):
    data = pathlib.Path(data)
    workspace = data / "workspace"
    if not workspace.exists():
        timed([BUILD / "myriad", "init", workspace])
        began = time.perf_counter()
        timed([BUILD / "myriad", "model", "import", "--manifest", data / "models.csv", "--fleet", "s", "--workspace", workspace])
        timed([BUILD / "myriad", "release", "create", "s", "--workspace", workspace])
        print(f"models imported and released in {time.perf_counter() - began:.1f} s")
    for name in ("rows", "shuffled"):
        table = data / f"{name}.parquet"
        if copies > 1:
            many = data / f"{name}-{copies}.parquet"
            if not many.exists():
                import pyarrow.parquet as parquet
                source = parquet.ParquetFile(table)
                with parquet.ParquetWriter(many, source.schema_arrow) as writer:
                    for _ in range(copies):
                        for group in range(source.num_row_groups):
                            writer.write_table(source.read_row_group(group), row_group_size=122_880)
            table = many
        import pyarrow.parquet as parquet
        compare(name, table, data / "out", parquet.ParquetFile(table).metadata.num_rows, rounds, ["", SEGMENT_COLUMNS],
                ["--fleet", "s", "--keep", "row_id", "--workspace", workspace])


if __name__ == "__main__":
    if sys.argv[1] == "--segments":
        segments(sys.argv[2], *map(int, sys.argv[3:]))
    else:
        juice(sys.argv[1], *map(int, sys.argv[2:]))
