#!/usr/bin/env python3
"""Batch against its floor: `myriad batch run` on the orange juice fleet, next to the same DuckDB copying the same columns.

Usage: bench/batch/run.py WORKSPACE [COPIES] [ROUNDS]     WORKSPACE: a quickstart's demo; COPIES of its 106,139 rows (default 10)
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


def make_table(path, copies):
    rows = pd.read_csv(ROOT / ".deps/oj/oj.csv").drop(columns=["constant", "profit"])
    rows = pd.concat([rows] * copies, ignore_index=True)
    rows.sample(frac=1, random_state=1).to_parquet(path)
    return len(rows)


def timed(command):
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - began


def main(workspace, copies=10, rounds=5):
    with tempfile.TemporaryDirectory() as scratch:
        table, out = pathlib.Path(scratch) / "rows.parquet", pathlib.Path(scratch) / "out"
        rows = make_table(table, copies)
        print(f"{rows:,} rows in random order, {table.stat().st_size / 1e6:.1f} MB of Parquet, 913 + 12 models")
        for name, floor_by, ours_by in [("one directory", [], []), ("by brand", ["brand"], ["--by", "brand"])]:
            best = {"floor": np.inf, "myriad": np.inf}
            for _ in range(rounds):
                for side in best:
                    shutil.rmtree(out, ignore_errors=True)
                    command = [BUILD / "bench_batch_floor", table, out, *floor_by] if side == "floor" else [
                        BUILD / "myriad", "batch", "run", "--fleet", "oj", "--input", table, "--output", out, "--keep", "logmove",
                        "--workspace", workspace, *ours_by]
                    best[side] = min(best[side], timed(list(map(str, command))))
            print(f"{name:14} floor {best['floor']:.2f} s, myriad {best['myriad']:.2f} s: {best['myriad'] / best['floor']:.2f}x, "
                  f"{rows / best['myriad']:,.0f} rows/s")


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
