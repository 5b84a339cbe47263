"""make_models.py DIR NAME [COUNT]: a model of the benchmark, its rows and LightGBM's raw scores, seeded.

S: 50 trees x 31 leaves, 12 features. M: 500 x 63, 28. L: 1000 x 255, 24 numbers and 4 categories (8 to 200 of them), a
twentieth missing. Ln: 1000 x 255, 28 numbers. many: COUNT models like S, 16 rows of each. What `run` makes where it is
given no DIR of peers, whose mkmodels.py makes the same shapes (and XGBoost's models too).
"""
import pathlib
import sys

import lightgbm as lgb
import numpy as np

#          numbers cards              rows   trees leaves missing rate
SHAPES = {"S": (12, [],               20000,  50,   31,  0.0,  0.1),
          "M": (28, [],               60000,  500,  63,  0.0,  0.05),
          "L": (24, [8, 24, 60, 200], 100000, 1000, 255, 0.05, 0.03),
          "Ln": (28, [],              100000, 1000, 255, 0.0,  0.03)}
BENCH_ROWS = 20000


def draw(seed, row_count, numbers, cards, missing):
    """Rows that are exact as floats, and a signal with interactions."""
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(row_count, numbers))
    signal = table @ rng.normal(size=numbers) * 0.4
    for _ in range(8):
        i, j, k = rng.integers(0, numbers, 3)
        signal += np.sin(2 * table[:, i]) * table[:, j] + (table[:, k] > 0.3)
    for card in cards:
        codes = rng.integers(0, card, row_count)
        signal += rng.normal(size=card)[codes]
        table = np.column_stack([table, codes])
    table[rng.random(table.shape) < missing] = np.nan
    return table.astype(np.float32).astype(np.float64), signal + 0.1 * rng.normal(size=row_count)


def train(seed, table, signal, cards, trees, leaves, rate):
    first = table.shape[1] - len(cards)
    params = {"objective": "regression", "num_leaves": leaves, "learning_rate": rate, "verbose": -1, "num_threads": 1,
              "seed": seed, "deterministic": True, "force_row_wise": True}
    data = lgb.Dataset(table, signal, categorical_feature=list(range(first, table.shape[1])), params={"verbose": -1})
    return lgb.train(params, data, trees)


def make(out, name):
    numbers, cards, row_count, trees, leaves, missing, rate = SHAPES[name]
    table, signal = draw(list(SHAPES).index(name), row_count + BENCH_ROWS, numbers, cards, missing)
    booster = train(1, table[BENCH_ROWS:], signal[BENCH_ROWS:], cards, trees, leaves, rate)
    booster.save_model(out / f"{name}.lgb.txt")
    table[:BENCH_ROWS].tofile(out / f"{name}.rows.f64")
    booster.predict(table[:BENCH_ROWS], raw_score=True, num_threads=1).tofile(out / f"{name}.want.f64")


def make_many(out, count):
    (out / "many").mkdir(exist_ok=True)
    rows, want = [], []
    for i in range(count):
        table, signal = draw(1000 + i, 2516, 12, [], 0.0)
        booster = train(i, table[16:], signal[16:], [], 50, 31, 0.1)
        booster.save_model(out / f"many/m{i:05d}.lgb.txt")
        rows.append(table[:16])
        want.append(booster.predict(table[:16], raw_score=True, num_threads=1))
    np.concatenate(rows).tofile(out / "many/rows.f64")
    np.concatenate(want).tofile(out / "many/want.f64")


if __name__ == "__main__":
    if sys.argv[2] == "many":
        make_many(pathlib.Path(sys.argv[1]), int(sys.argv[3]))
    else:
        make(pathlib.Path(sys.argv[1]), sys.argv[2])
