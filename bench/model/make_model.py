"""make_model.py DIR: the model and the rows of the benchmark: 50 trees of 31 leaves over 14 features, 20,000 rows."""
import pathlib
import sys

import lightgbm as lgb
import numpy as np

out = pathlib.Path(sys.argv[1])
rng = np.random.default_rng(0)
table = rng.normal(size=(20000, 14))
label = table[:, 0] * 2 + np.sin(table[:, 1] * 3) + table[:, 2] * table[:, 3]
params = {"objective": "regression", "verbose": -1, "num_leaves": 31, "num_threads": 1}
lgb.train(params, lgb.Dataset(table, label), 50).save_model(out / "bench.txt")
table.astype("<f8").tofile(out / "bench.f64")
