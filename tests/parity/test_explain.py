"""Contributions and leaf numbers beside the source libraries' own, on the generated models of their parity tests.

LightGBM's pred_contrib is the same formula in doubles: each number within 1e-10 of the largest in its row and output
(ours come from another order of operations, and a sum that cancels has no digits of its own). A random forest's are
divided by its trees, as its predictions are; LightGBM leaves the sums. XGBoost computes in float: within 1e-4.
"""
import json
import subprocess

import numpy as np
import pytest

import test_lightgbm
from conftest import Refused

lgb = pytest.importorskip("lightgbm")
xgb = pytest.importorskip("xgboost")
import xgboost_models  # noqa: E402  (needs xgboost)

BATCHES = 4
MODELS_PER_BATCH = 10
ROWS = 60


def ask(parity, model, rows, output):
    path, rows_path, out_path = (parity.directory / name for name in ("explain.model", "explain.rows", "explain.out"))
    path.write_bytes(model)
    np.ascontiguousarray(rows, dtype="<f8").tofile(rows_path)
    done = subprocess.run([parity.program, path, rows_path, str(rows.shape[1]), out_path, output], capture_output=True,
                          text=True, timeout=120)
    if done.returncode in (65, 69):
        raise Refused(done.stderr.strip())
    assert done.returncode == 0, done.stderr
    return np.fromfile(out_path, dtype="<f8").reshape(len(rows), -1)


def check_close(got, want, outputs, tolerance, what, floor=1e-300):
    """Relative to the largest contribution of the row to the same output, or to the floor if that is more."""
    assert got.shape == want.shape, f"{what}: {got.shape}, {want.shape}"
    got, want = (np.asarray(x, dtype=float).reshape(len(got), outputs, -1) for x in (got, want))
    scale = np.maximum(np.abs(want).max(axis=2, keepdims=True), floor)
    bad = np.argwhere(~(np.abs(got - want) <= tolerance * scale))
    assert len(bad) == 0, f"{what}: {len(bad)} differ, first {bad[0]}: {got[tuple(bad[0])]!r}, {want[tuple(bad[0])]!r}"


def check_sums(got, margins, tolerance, what, floor=1e-300):
    parts = got.reshape(len(got), margins.shape[1], -1)
    scale = np.maximum(np.abs(parts).sum(axis=2), floor)
    assert (np.abs(parts.sum(axis=2) - margins) <= tolerance * scale).all(), f"{what}: sums are not the margins"


def try_lightgbm(parity, seed):
    objective, text = test_lightgbm.train(seed)
    booster = lgb.Booster(model_str=text)
    rng = np.random.default_rng(seed + 17)
    rows = rng.normal(size=(ROWS, booster.num_feature())) * rng.choice([1, 10], size=booster.num_feature())
    whole = rng.random(rows.shape) < 0.3
    rows[whole] = rng.integers(-2, 40, int(whole.sum()))
    odd = rng.random(rows.shape) < 0.15
    rows[odd] = rng.choice(test_lightgbm.ODD, int(odd.sum()))
    what = f"seed {seed}: {objective}"
    leaves = booster.predict(rows, pred_leaf=True).reshape(ROWS, -1)
    assert (ask(parity, text.encode(), rows, "leaf") == leaves).all(), f"{what}: leaves"
    if "is_linear=1" in text:
        with pytest.raises(Refused, match="linear trees"):
            ask(parity, text.encode(), rows, "contribution")
        return "linear"
    want = booster.predict(rows, pred_contrib=True)
    outputs = booster.num_model_per_iteration()
    forest = "boosting: rf" in text
    if forest:
        want = want / (leaves.shape[1] // outputs)
    got = ask(parity, text.encode(), rows, "contribution")
    check_close(got, want, outputs, 1e-10, what)
    check_sums(got, ask(parity, text.encode(), rows, "margin"), 1e-12, what)
    return "forest" if forest else "trees"


@pytest.mark.parametrize("batch", range(BATCHES))
def test_lightgbm_generated(parity, factor, batch):
    count = MODELS_PER_BATCH * factor
    kinds = [try_lightgbm(parity, seed) for seed in range(batch * count, (batch + 1) * count)]
    assert kinds.count("linear") < count * 0.6


def float_noise(booster):
    """Floats that were added have the rounding of the largest of them, also where they cancel: 1 + all trees' leaves."""
    part = json.loads(booster.save_raw("json"))["learner"]["gradient_booster"]
    trees = part.get("gbtree", part)["model"].get("trees", [])
    return 0.01 * (1 + sum(np.abs(np.asarray(tree["split_conditions"], dtype=float)).max(initial=0) for tree in trees))


def try_xgboost(parity, seed):
    try:
        booster, categorical, what = xgboost_models.train(seed)
    except xgb.core.XGBoostError:
        return
    rows = xgboost_models.rows(booster, categorical, seed, ROWS)
    data = xgboost_models.matrix(rows, categorical, booster.feature_names)
    model = bytes(booster.save_raw("ubj"))
    try:
        want = booster.predict(data, pred_contribs=True)
    except xgb.core.XGBoostError:
        return  # vector leaves: XGBoost has none either
    if not np.isfinite(want).all():
        return  # a node without hessian divides by zero there
    margins = ask(parity, model, rows, "margin")
    try:
        got = ask(parity, model, rows, "contribution")
    except Refused as refused:
        assert "no training rows" in str(refused), what
        return
    floor = float_noise(booster)
    check_close(got, want.reshape(ROWS, -1), margins.shape[1], 1e-4, what, floor)
    check_sums(got, margins, 1e-4, what, floor)
    if " gblinear " in what or booster.num_boosted_rounds() == 0:
        return
    leaves = booster.predict(data, pred_leaf=True).reshape(ROWS, -1)
    assert (ask(parity, model, rows, "leaf") == leaves).all(), f"{what}: leaves"


@pytest.mark.parametrize("batch", range(BATCHES))
def test_xgboost_generated(parity, factor, batch):
    count = MODELS_PER_BATCH * factor
    for seed in range(batch * count, (batch + 1) * count):
        try_xgboost(parity, seed)


@pytest.mark.parametrize("objective", ["binary", "multiclass", "multiclassova"])
def test_lightgbm_probabilities(parity, objective):
    rng = np.random.default_rng(3)
    table = rng.normal(size=(400, 4))
    label = np.digitize(table[:, 0] + table[:, 1] * table[:, 2], [-0.5, 0.5])
    model = (lgb.LGBMClassifier(n_estimators=12, objective=objective, verbose=-1, n_jobs=1)
             .fit(table, label > 0 if objective == "binary" else label))
    got = ask(parity, model.booster_.model_to_string().encode(), table, "probability")
    assert (got == model.predict_proba(table)).all()


@pytest.mark.parametrize("objective", ["binary:logistic", "multi:softprob", "multi:softmax"])
def test_xgboost_probabilities(parity, objective):
    rng = np.random.default_rng(4)
    table = rng.normal(size=(400, 4)).astype(np.float32).astype(float)
    label = np.digitize(table[:, 0] + table[:, 1] * table[:, 2], [-0.5, 0.5])
    params = {"objective": objective, "nthread": 1, "max_depth": 4}
    if objective == "binary:logistic":
        label = label > 0
    else:
        params["num_class"] = 3
    booster = xgb.train(params, xgb.DMatrix(table, label), 10)
    got = ask(parity, bytes(booster.save_raw("json")), table, "probability")
    if objective == "multi:softmax":
        booster.set_param({"objective": "multi:softprob"})
    want = booster.predict(xgb.DMatrix(table))
    if objective == "binary:logistic":
        want = np.vstack((np.float32(1) - want, want)).T
    assert np.allclose(got, want, rtol=2e-7, atol=2e-7)
