#!/usr/bin/env python3
"""The table and the models of the batch benchmark, from fixed seeds: SEGMENTS x 500 rows x 12 features, one LightGBM model of 50 trees
with 15 leaves per segment. Usage: make_segments.py OUT [SEGMENTS]   (2,000 segments: 1 M rows, about a minute)
OUT/rows.parquet, OUT/shuffled.parquet, OUT/models/, OUT/models.csv (for `myriad model import --manifest`), OUT/expected.npy
"""
import pathlib
import sys

import lightgbm as lgb
import numpy as np
import pandas as pd

FEATURES = [f"f{i}" for i in range(12)]
PARAMETERS = dict(objective="regression", verbosity=-1, num_threads=1, min_data_in_leaf=5, learning_rate=0.1, deterministic=True,
                  force_col_wise=True, seed=1, num_leaves=15)


def segment(number):
    dice = np.random.default_rng(2_000_000 + number)
    x = np.round(dice.normal(size=(500, 12)), 6)
    y = x @ dice.normal(size=12) + 3 * np.sin(2 * x[:, 0]) + dice.normal(scale=0.5, size=500)
    model = lgb.train(PARAMETERS, lgb.Dataset(x, y, feature_name=FEATURES, params={"verbosity": -1, "num_threads": 1}), 50)
    rows = pd.DataFrame(x, columns=FEATURES)
    rows.insert(0, "row_id", np.arange(number * 500, number * 500 + 500))
    rows.insert(0, "brand", np.int64(number % 10))
    rows.insert(0, "store", np.int64(number // 10))
    return model, rows, model.predict(x, num_threads=1)


def main(out, count=2000):
    out = pathlib.Path(out)
    (out / "models").mkdir(parents=True, exist_ok=True)
    rows, expected = [], []
    with open(out / "models.csv", "w") as manifest:
        manifest.write("path,store,brand\n")
        for number in range(count):
            model, table, predictions = segment(number)
            path = out / f"models/s{number:05}.txt"
            model.save_model(path)
            manifest.write(f"models/{path.name},{number // 10},{number % 10}\n")
            rows.append(table)
            expected.append(predictions)
    table = pd.concat(rows, ignore_index=True)
    np.save(out / "expected.npy", np.concatenate(expected))
    table.to_parquet(out / "rows.parquet", index=False, row_group_size=122_880)
    table.sample(frac=1, random_state=7).to_parquet(out / "shuffled.parquet", index=False, row_group_size=122_880)


if __name__ == "__main__":
    main(sys.argv[1], *map(int, sys.argv[2:]))
