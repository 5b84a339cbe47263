"""Train the small XGBoost models that are committed, with whatever version this Python has. Not run by the tests.

    python tests/parity/make_xgboost_data.py old     writes tests/parity/data/xgboost-<version>-*: a model and an .npz with
                                                     rows, margins and values, so that old files are tested always
    python tests/parity/make_xgboost_data.py seeds   writes the seed corpora of the fuzz targets
"""
import pathlib
import sys

import numpy as np
import xgboost as xgb

import xgboost_models as models

HERE = pathlib.Path(__file__).resolve().parent
OLD = [
    # name, parameters, categorical columns
    ("squared", {"objective": "reg:squarederror"}, {}),
    ("logistic", {"objective": "binary:logistic", "base_score": 0.2}, {}),
    ("poisson", {"objective": "count:poisson"}, {}),
    ("softprob", {"objective": "multi:softprob", "num_class": 3}, {}),
    ("softmax", {"objective": "multi:softmax", "num_class": 3, "num_parallel_tree": 2, "subsample": 0.5}, {}),
    ("category", {"objective": "reg:gamma", "max_cat_to_onehot": 1}, {1: 40}),
    ("onehot", {"objective": "binary:hinge", "max_cat_to_onehot": 100}, {1: 6}),
    ("pruned", {"objective": "reg:pseudohubererror", "tree_method": "exact", "gamma": 3.0, "max_depth": 6}, {}),
    ("targets", {"objective": "reg:squarederror"}, {}),
    ("dart", {"objective": "reg:tweedie", "booster": "dart", "rate_drop": 0.6, "one_drop": 1}, {}),
    ("gblinear", {"objective": "binary:logistic", "booster": "gblinear", "updater": "coord_descent"}, {}),
    ("gblinear3", {"objective": "multi:softprob", "num_class": 3, "booster": "gblinear", "updater": "coord_descent"}, {}),
    ("vector-targets", {"objective": "reg:squarederror", "multi_strategy": "multi_output_tree"}, {}),
    ("cox", {"objective": "survival:cox"}, {}),
    ("quantiles", {"objective": "reg:quantileerror", "quantile_alpha": [0.1, 0.9]}, {}),
]
SINCE_2 = {"vector-targets", "quantiles"}


def make(name, params, categorical, rounds, rows):
    rng = np.random.default_rng(len(name) * 131 + rows)
    x = models.features(rng, rows, 4, categorical)
    y = models.labels(rng, params["objective"], x, 2 if name.endswith("targets") else 1)
    data = models.matrix(x, categorical, ["store", "brand", "prix é", "week"])
    data.set_label(y)
    trees = {} if params.get("booster") == "gblinear" else {"max_depth": 3, "tree_method": "hist"}
    params = {"nthread": 1, "seed": 7, **trees, **params}
    return xgb.train(params, data, rounds)


def old():
    out = HERE / "data"
    out.mkdir(exist_ok=True)
    for i, (name, params, categorical) in enumerate(OLD):
        if name in SINCE_2 and models.is_version_1():
            continue
        booster = make(name, params, categorical, 2 if name == "softmax" else 4, 120)
        base = out / f"xgboost-{xgb.__version__}-{name}"
        booster.save_model(f"{base}.{'ubj' if i % 2 else 'json'}")
        rows = models.rows(booster, categorical, i, 60)
        data = models.matrix(rows, categorical, booster.feature_names)
        np.savez_compressed(f"{base}.npz", rows=rows, margins=booster.predict(data, output_margin=True),
                            values=booster.predict(data))


def seeds():
    for format in ("json", "ubj"):
        out = HERE.parent / "fuzz" / "corpus" / f"fuzz_import_xgboost_{format}"
        out.mkdir(parents=True, exist_ok=True)
        for name, params, categorical in OLD:
            params = {**params, "max_depth": 2}
            booster = make(name, params, categorical, 1, 30)
            (out / f"{name}-{xgb.__version__}").write_bytes(bytes(booster.save_raw(format)))


if __name__ == "__main__":
    {"old": old, "seeds": seeds}[sys.argv[1]]()
