"""Train the small LightGBM models that are committed, with whatever version this Python has. Not run by the tests.

    python tests/parity/make_lightgbm_data.py    writes tests/parity/data/lightgbm-<version>-*: a model and an .npz with rows
                                                 and the values that this version predicts, so that old files are tested always
"""
import pathlib

import lightgbm as lgb
import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
ODD = [np.nan, 0.0, -0.0, 1e-36, -1e-36, 1e300, -1e300, 5e-324, -1.0, 0.5, 31.0, 64.0]
MODELS = {
    "binary": {"objective": "binary", "sigmoid": 0.7},
    "classes": {"objective": "multiclass", "num_class": 3},
    "ova": {"objective": "multiclassova", "num_class": 3, "sigmoid": 1.7},
    "sqrt": {"objective": "regression", "reg_sqrt": True},
    "tweedie": {"objective": "tweedie"},
    "zero": {"objective": "regression", "zero_as_missing": True},
    "sets": {"objective": "regression", "max_cat_to_onehot": 1, "cat_smooth": 1, "min_data_per_group": 1},
    "forest": {"objective": "regression", "boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.6, "feature_fraction": 0.8},
    "dart": {"objective": "poisson", "boosting": "dart", "drop_rate": 0.4},
    "linear": {"objective": "regression", "linear_tree": True, "linear_lambda": 0.01},
}


def main():
    version = tuple(int(part) for part in lgb.__version__.split(".")[:2])
    for name, params in MODELS.items():
        if name == "linear" and version < (3, 2):
            continue
        rng = np.random.default_rng(len(name) * 7 + 1)
        x = rng.normal(size=(200, 4))
        x[:, 2] = rng.integers(0, 70, 200)
        x[rng.random(x.shape) < 0.1] = 0.0
        x[rng.random(x.shape) < 0.1] = np.nan
        x[:, 2] = np.nan_to_num(x[:, 2])
        signal = np.nan_to_num(x[:, 0]) + np.sin(x[:, 2]) + (x[:, 1] > 0.3)
        label = np.exp(signal)
        if params["objective"] == "binary":
            label = (signal > 0.5).astype(float)
        elif params["objective"].startswith("multi"):
            label = np.digitize(signal, [0, 1]).astype(float)
        params = {"verbose": -1, "verbosity": -1, "num_threads": 1, "num_leaves": 7, "min_data_in_leaf": 5, "seed": 3, **params}
        data = lgb.Dataset(x, label, categorical_feature=[2], params={"verbose": -1})
        booster = lgb.train(params, data, num_boost_round=2 if "num_class" in params else 4)
        base = HERE / "data" / f"lightgbm-{lgb.__version__}-{name}"
        booster.save_model(f"{base}.txt")
        rows = rng.choice(np.concatenate([ODD, rng.normal(size=20)]), (60, 4))
        rows[:, 2] = np.where(rng.random(60) < 0.8, rng.integers(0, 90, 60), rows[:, 2])
        values = lgb.Booster(model_file=f"{base}.txt").predict(rows)
        np.savez_compressed(f"{base}.npz", rows=rows, values=values)


if __name__ == "__main__":
    main()
