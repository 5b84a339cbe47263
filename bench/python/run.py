#!/usr/bin/env python3
"""What a prediction costs from Python, beside LightGBM's own Python, on one core.

    build a release, then: PYTHONPATH=python MYRIAD_LIBRARY=build/libmyriad.so python bench/python/run.py

Model S: 50 trees x 31 leaves, 12 features. Both answer the same rows in turns, and every answer is compared bit by bit.
Times are processor time of this process, the least of the repeats. A fleet of 1,000 such models by key has no peer that
takes keys: LightGBM is called for each group of rows, as its users do.
"""
import argparse
import os
import tempfile
import time

os.environ.setdefault("OMP_NUM_THREADS", "1")
import lightgbm
import myriad
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa

FEATURES = [f"x{j}" for j in range(12)]


def least(call, repeats, inner=1):
    best = float("inf")
    for _ in range(repeats):
        began = time.process_time()
        for _ in range(inner):
            call()
        best = min(best, (time.process_time() - began) / inner)
    return best


def train(seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(4000, 12))
    y = x[:, 0] * x[:, 1] + np.sin(x[:, 2] * 3) + rng.normal(size=4000) / 4
    return lightgbm.train({"objective": "regression", "num_leaves": 31, "verbose": -1, "num_threads": 1, "min_data_in_leaf": 5},
                          lightgbm.Dataset(x, y, feature_name=FEATURES), 50)


def line(what, ours, theirs, per, unit):
    shown = f"{theirs / per * unit:>10,.1f} {theirs / ours:>8.1f}x" if theirs else f"{'-':>10} {'-':>9}"
    print(f"{what:<44}{ours / per * unit:>10,.1f} {shown}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    booster = train(1)
    rng = np.random.default_rng(2)
    matrix = rng.normal(size=(args.rows, 12))
    with tempfile.TemporaryDirectory() as folder:
        booster.save_model(f"{folder}/m.txt")
        pack = myriad.open(f"{folder}/m.txt")
        frame = pd.DataFrame(np.asfortranarray(matrix), columns=FEATURES)
        assert (pack.predict(matrix) == booster.predict(matrix, num_threads=1)).all()
        print(f"{'':<44}{'myriad':>10} {'LightGBM':>10} {'ratio':>9}")
        print("one row, us a call")
        one, one_frame = matrix[:1], frame[:1]
        line("  NumPy", least(lambda: pack.predict(one), args.repeats, 2000), least(lambda: booster.predict(one, num_threads=1), args.repeats, 500), 1, 1e6)
        line("  pandas", least(lambda: pack.predict(one_frame), args.repeats, 500), least(lambda: booster.predict(one_frame, num_threads=1), args.repeats, 200), 1, 1e6)
        one_dict = [dict(zip(FEATURES, matrix[0].tolist()))]
        line("  a mapping", least(lambda: pack.predict(one_dict), args.repeats, 500), None, 1, 1e6)
        print(f"{args.rows:,} rows, ns a row")
        theirs = least(lambda: booster.predict(matrix, num_threads=1), args.repeats)
        line("  NumPy, C order", least(lambda: pack.predict(matrix), args.repeats), theirs, args.rows, 1e9)
        fortran = np.asfortranarray(matrix)
        line("  NumPy, Fortran order", least(lambda: pack.predict(fortran), args.repeats), least(lambda: booster.predict(fortran, num_threads=1), args.repeats), args.rows, 1e9)
        theirs = least(lambda: booster.predict(frame, num_threads=1), args.repeats)
        line("  pandas", least(lambda: pack.predict(frame), args.repeats), theirs, args.rows, 1e9)
        table, polars = pa.Table.from_pandas(frame), pl.from_pandas(frame)
        line("  pyarrow", least(lambda: pack.predict(table), args.repeats), least(lambda: booster.predict(table, num_threads=1), args.repeats), args.rows, 1e9)
        line("  polars", least(lambda: pack.predict(polars), args.repeats), None, args.rows, 1e9)
        fleet(args, folder, matrix, frame)


def fleet(args, folder, matrix, frame):
    """1,000 models by key; the peer gets each group's rows cut out by pandas."""
    boosters = [train(seed) for seed in range(8)]
    texts = [b.model_to_string().encode() for b in boosters]
    registry = myriad.Registry(f"{folder}/ws", create=True)
    registry.register_many("f", [({"store": s, "brand": b}, texts[(s + b) % 8]) for s in range(100) for b in range(10)])
    registry.release("f")
    pack = registry.open("f")
    rng = np.random.default_rng(3)
    count = args.rows // 10
    frame = frame[:count].assign(store=rng.integers(0, 100, count), brand=rng.integers(0, 10, count))

    def grouped():
        out = np.empty(count)
        for (store, brand), rows in frame.groupby(["store", "brand"]).indices.items():
            out[rows] = boosters[(store + brand) % 8].predict(matrix[rows], num_threads=1)
        return out

    assert (pack.predict(frame).to_numpy() == grouped()).all()
    print(f"{count:,} rows of 1,000 models by two keys, ns a row")
    line("  pandas", least(lambda: pack.predict(frame), args.repeats), least(grouped, args.repeats), count, 1e9)
    stores, brands = frame.store.to_numpy(), frame.brand.to_numpy()
    line("  NumPy with keys", least(lambda: pack.predict(matrix[:count], keys=[stores, brands]), args.repeats), None, count, 1e9)
    one, key = matrix[:1], [[5], [5]]
    line("  one row by key, us a call", least(lambda: pack.predict(one, keys=key), args.repeats, 1000), None, 1, 1e6)


if __name__ == "__main__":
    main()
