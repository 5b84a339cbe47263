#!/usr/bin/env python3
"""The tables and models of the batch benchmark, from fixed seeds: SEGMENTS x 500 rows x 12 features, one LightGBM model of 50
trees with 15 leaves per segment. Usage: make_segments.py OUT [SEGMENTS]   (2,000 segments: 1 M rows, about a minute)
OUT/batch/seg.parquet (sorted by segment), shuf.parquet, seg.csv, models/sNNNNN.txt, expected.npy (LightGBM's answers by row_id): as the
end-to-end peers read them. OUT/models.csv is for `myriad model import --manifest`.
"""
import multiprocessing
import pathlib
import sys

import lightgbm as lgb
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

ROWS, FEATURES = 500, [f"f{i}" for i in range(12)]
GROUP_ROWS = 100_000
PARAMETERS = dict(objective="regression", verbosity=-1, num_threads=1, min_data_in_leaf=5, learning_rate=0.1, deterministic=True,
                  force_col_wise=True, seed=1, num_leaves=15)


def target(x, dice):
    weights = dice.normal(size=12)
    a, b = dice.integers(0, 12, 2)
    bump = 3 * np.sin(2 * x[:, a]) + 2 * (x[:, b] > 0) * x[:, (b + 1) % 12]
    return x @ weights + bump + dice.normal(scale=0.5, size=len(x))


def segment(task):
    number, path = task
    dice = np.random.default_rng(2_000_000 + number)
    x = np.round(dice.normal(size=(ROWS, 12)), 6)
    model = lgb.train(PARAMETERS, lgb.Dataset(x, target(x, dice), feature_name=FEATURES, params={"verbosity": -1, "num_threads": 1}), 50)
    model.save_model(path)
    return x, model.predict(x, num_threads=1)


def table(first, parts):
    """The rows of consecutive segments."""
    numbers = np.repeat(np.arange(first, first + len(parts)), ROWS)
    rows = pd.DataFrame(np.concatenate([x for x, _ in parts]), columns=FEATURES)
    rows.insert(0, "row_id", np.arange(first * ROWS, (first + len(parts)) * ROWS))
    rows.insert(0, "seg", numbers.astype(np.int32))
    rows.insert(0, "category", [f"cat{n % 20:02}" for n in numbers])
    rows.insert(0, "brand", [f"brand{n % 10:02}" for n in numbers])
    rows.insert(0, "store", [f"store{n // 10:03}" for n in numbers])
    return pa.Table.from_pandas(rows, preserve_index=False)


def main(out, count=2000):
    out = pathlib.Path(out) / "batch"
    (out / "models").mkdir(parents=True, exist_ok=True)
    paths = [out / f"models/s{number:05}.txt" for number in range(count)]
    with multiprocessing.Pool() as pool:
        made = pool.map(segment, list(enumerate(paths)), chunksize=20)
    (out.parent / "models.csv").write_text("path,seg\n" + "".join(f"batch/models/{path.name},{n}\n" for n, path in enumerate(paths)))
    np.save(out / "expected.npy", np.concatenate([answers for _, answers in made]))
    rows = table(0, made)
    pa.csv.write_csv(rows, out / "seg.csv")
    pa.parquet.write_table(rows, out / "seg.parquet", row_group_size=GROUP_ROWS)
    rows = rows.take(np.random.default_rng(7).permutation(len(rows)))
    pa.parquet.write_table(rows, out / "shuf.parquet", row_group_size=GROUP_ROWS)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
