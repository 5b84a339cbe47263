"""Write data/catboost-*.onnx and what ONNX Runtime says of them; run by hand in a venv with catboost, onnx and
onnxruntime:  python make_catboost_data.py
"""

import pathlib

import catboost
import numpy as np
import onnxruntime as ort

DATA = pathlib.Path(__file__).resolve().parent / "data"


def scores(path, rows):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    outs = ort.InferenceSession(str(path), options).run(None, {"features": rows.astype(np.float32)})
    last = outs[-1]
    if isinstance(last, list):
        return np.array([[row[k] for k in row] for row in last], np.float64)
    return np.asarray(last, np.float64).reshape(len(rows), -1)


def main():
    rng = np.random.default_rng(7)
    x = rng.normal(size=(400, 5))
    y = x[:, 0] * 2 - x[:, 3] + rng.normal(size=400) * 0.3
    common = {"iterations": 8, "depth": 4, "thread_count": 1, "allow_writing_files": False, "silent": True}
    models = {
        "regression": catboost.CatBoostRegressor(**common).fit(x, y),
        "binary": catboost.CatBoostClassifier(**common).fit(x, (y > 0).astype(int)),
        "classes": catboost.CatBoostClassifier(**common).fit(x, np.digitize(y, [-1, 1])),
    }
    rows = np.concatenate([x[:100], rng.normal(size=(100, 5))])
    rows[rng.random(rows.shape) < 0.1] = np.nan
    for name, model in models.items():
        path = DATA / f"catboost-{catboost.__version__}-{name}.onnx"
        model.save_model(str(path), format="onnx")
        np.savez_compressed(path.with_suffix(".npz"), rows=rows, values=scores(path, rows))


if __name__ == "__main__":
    main()
