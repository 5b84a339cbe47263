"""LightGBM text models: our predictions equal Booster.predict of the same file, bit for bit.

Files of older versions lie in data/ with what their own library said (make_lightgbm_data.py).
Models are trained here, with odd settings drawn from a seed, and some are edited afterwards so that thresholds and
missing types stand where training does not put them. Rows hold what breaks comparisons: NaN, infinities, zeros of both
signs, denormals, the edges of LightGBM's zero band, thresholds and their neighbours, categories and what is none.
"""
import pathlib
import re

import numpy as np
import pytest

from conftest import Refused, same_bits

lgb = pytest.importorskip("lightgbm")

ZERO = float(np.float32(1e-35))
ODD = [np.nan, np.inf, -np.inf, 0.0, -0.0, 5e-324, -5e-324, 1e-310, -1e-310, 1e-36, -1e-36, ZERO, -ZERO,
       np.nextafter(ZERO, 1), np.nextafter(-ZERO, -1), np.nextafter(ZERO, 0), 1e300, -1e300, -0.5, -0.999999, -1.0,
       0.5, 1.5, 31.0, 31.99, 32.0, 2147483647.0, 2147483648.0, -2147483649.0, 4294967296.0, 1e18]

OBJECTIVES = ["regression", "regression_sqrt", "regression_l1", "huber", "fair", "quantile", "mape", "poisson", "gamma",
              "tweedie", "binary", "multiclass", "multiclassova", "cross_entropy", "cross_entropy_lambda", "lambdarank",
              "rank_xendcg", "custom", "custom_classes"]


LINEAR = {"regression", "regression_sqrt", "huber", "fair", "poisson", "gamma", "tweedie", "binary", "multiclass",
          "multiclassova", "cross_entropy", "lambdarank", "custom"}
HERE = pathlib.Path(__file__).resolve().parent


def draw_table(rng, feature_count, row_count):
    """Features of several kinds; which of them are categorical; a signal that depends on all."""
    table = np.empty((row_count, feature_count))
    categorical = []
    for j in range(feature_count):
        kind = rng.integers(0, 6)
        if kind == 0:
            table[:, j] = rng.integers(-3, 4, row_count)
        elif kind == 1:
            table[:, j] = rng.normal(size=row_count) * 10.0 ** rng.integers(-30, 30)
        elif kind == 2:
            table[:, j] = np.where(rng.random(row_count) < 0.7, 0.0, rng.normal(size=row_count))
        elif kind == 3:
            table[:, j] = rng.integers(0, int(rng.choice([2, 5, 40, 300, 5000])), row_count)
            categorical.append(j)
        else:
            table[:, j] = rng.normal(size=row_count)
        if rng.random() < 0.5:
            table[rng.random(row_count) < 0.2, j] = np.nan
    ranks = np.argsort(np.argsort(np.nan_to_num(table), axis=0), axis=0) / row_count
    signal = (ranks * rng.normal(size=feature_count)).sum(axis=1) + 0.3 * np.isnan(table).sum(axis=1)
    return table, categorical, signal + 0.1 * rng.normal(size=row_count)


def draw_params(rng, objective):
    params = {"verbose": -1, "num_threads": 1, "seed": int(rng.integers(1 << 30)), "deterministic": True,
              "num_leaves": int(rng.choice([2, 3, 7, 15, 31, 64, 200])), "max_depth": int(rng.choice([-1, -1, 1, 3, 12])),
              "learning_rate": float(rng.choice([0.1, 0.37, 1.0])), "min_data_in_leaf": int(rng.choice([1, 1, 5, 20])),
              "min_sum_hessian_in_leaf": 1e-6, "use_missing": bool(rng.random() < 0.8),
              "zero_as_missing": bool(rng.random() < 0.25), "max_bin": int(rng.choice([4, 63, 255])),
              "min_data_per_group": 1, "cat_smooth": 1.0, "max_cat_to_onehot": int(rng.choice([1, 4])),
              "boost_from_average": bool(rng.random() < 0.7)}
    boosting = rng.choice(["gbdt", "gbdt", "gbdt", "dart", "rf"])
    if objective in LINEAR and rng.random() < 0.3:
        params.update(linear_tree=True, zero_as_missing=False, linear_lambda=float(rng.choice([0, 0.01, 1.0])))
    elif boosting != "rf" and rng.random() < 0.05:
        params.update(data_sample_strategy="goss")
    if boosting == "rf" and "linear_tree" not in params and not objective.startswith("custom"):
        params.update(boosting="rf", bagging_freq=1, bagging_fraction=0.6, feature_fraction=0.8)
    elif boosting == "dart":
        params.update(boosting="dart", drop_rate=0.3)
    if objective == "regression_sqrt":
        params.update(objective="regression", reg_sqrt=True)
    elif objective.startswith("custom"):
        params.update(objective=custom_gradient, num_class=3 if objective == "custom_classes" else 1)
        params["boost_from_average"] = False
    else:
        params["objective"] = objective
    if objective in ("binary", "multiclassova") and rng.random() < 0.6:
        params["sigmoid"] = float(rng.choice([0.3, 0.7, 1.7, 12.3456, 0.000123456]))
    if objective.startswith("multiclass"):
        params["num_class"] = int(rng.choice([2, 3, 7]))
    return params


def custom_gradient(scores, data):
    label = data.get_label()
    grad = scores - (label if scores.ndim == 1 else label[:, None] / (1 + np.arange(scores.shape[1])))
    return grad, np.ones_like(grad)


def draw_label(rng, objective, params, signal):
    rank = np.argsort(np.argsort(signal)) / len(signal)
    if objective == "binary":
        return (rank > 0.6).astype(float)
    if objective.startswith("multiclass"):
        return np.minimum((rank * params["num_class"]).astype(int), params["num_class"] - 1).astype(float)
    if objective.startswith("cross_entropy"):
        return rank
    if objective in ("poisson", "tweedie"):
        return np.floor(rank * 6)
    if objective == "gamma":
        return rank + 0.1
    if objective in ("lambdarank", "rank_xendcg"):
        return np.floor(rank * 4)
    if rng.random() < 0.05:
        return np.full(len(signal), 2.5)  # a constant: single-leaf trees
    return signal * 3


def train(seed):
    """(objective, text of a model)"""
    rng = np.random.default_rng(seed)
    objective = OBJECTIVES[seed % len(OBJECTIVES)]
    params = draw_params(rng, objective)
    row_count = int(rng.choice([60, 200, 400]))
    table, categorical, signal = draw_table(rng, int(rng.integers(1, 9)), row_count)
    group = [20] * (row_count // 20) if objective in ("lambdarank", "rank_xendcg") else None
    data = lgb.Dataset(table, draw_label(rng, objective, params, signal), categorical_feature=categorical, group=group,
                       params={"verbose": -1, "feature_pre_filter": False})
    booster = lgb.train(params, data, num_boost_round=int(rng.choice([1, 3, 10, 25])))
    return objective, booster.model_to_string()


def fields(model, name):
    """The values of a per-tree field, one list per tree."""
    return [line.split("=")[1].split() for line in model.splitlines() if line.startswith(name + "=")]


def edit(model, change):
    """Apply `change` to the text of each tree and write tree_sizes anew."""
    head, rest = model.split("Tree=", 1)
    body, tail = ("Tree=" + rest).split("end of trees", 1)
    trees = [change("Tree=" + part) for part in body.split("Tree=")[1:]]
    head = re.sub(r"tree_sizes=.*", "tree_sizes=" + " ".join(str(len(t.encode())) for t in trees), head)
    return head + "".join(trees) + "end of trees" + tail


def scramble(rng):
    """Numeric splits get thresholds near zero and any missing type."""
    def change(tree):
        kinds = re.search(r"^decision_type=(.*)$", tree, re.M)[1].split()
        thresholds = re.search(r"^threshold=(.*)$", tree, re.M)[1].split()
        for k, kind in enumerate(kinds):
            if int(kind) & 1:
                kinds[k] = str(1 + 2 * int(rng.integers(0, 6)))
                continue
            kinds[k] = str(2 * int(rng.integers(0, 6)))
            if rng.random() < 0.4:
                thresholds[k] = repr(float(rng.choice([v for v in ODD if not np.isnan(v) and abs(v) < 1e17])))
        tree = re.sub(r"^decision_type=.*$", "decision_type=" + " ".join(kinds), tree, flags=re.M)
        return re.sub(r"^threshold=.*$", "threshold=" + " ".join(thresholds), tree, flags=re.M)
    return change


def draw_rows(rng, model, feature_count, row_count=250):
    """Rows that meet the model: its thresholds, their neighbours, its categories, and odd values."""
    pools = [list(ODD) + list(rng.normal(size=10)) for _ in range(feature_count)]
    for columns, thresholds in zip(fields(model, "split_feature"), fields(model, "threshold")):
        for column, text in zip(columns, thresholds):
            t = float(text)
            pools[int(column)] += [t, np.nextafter(t, np.inf), np.nextafter(t, -np.inf)]
    for pool in pools:
        pool += list(rng.integers(0, 400, 20).astype(float))
    rows = np.column_stack([rng.choice(np.array(pool), row_count) for pool in pools])
    rows[0] = np.nan
    rows[1] = 0.0
    return rows


def draw_rounds(rng, model):
    """Some of the rounds, for one model in six; else None."""
    trees = model.count("\nTree=") // int(re.search(r"num_tree_per_iteration=(\d+)", model)[1])
    if trees == 0 or rng.random() > 1 / 6:
        return None
    first = int(rng.integers(0, trees))
    return first, int(rng.integers(1, trees - first + 1))


def compare(parity, model, rows, what, rounds=None):
    booster = lgb.Booster(model_str=model)
    some = rounds or (0, None)
    for raw in (False, True):
        want = booster.predict(rows, raw_score=raw, num_threads=1, start_iteration=some[0], num_iteration=some[1])
        want = want.reshape(len(rows), -1)
        if raw and "\naverage_output\n" in model:
            kept = some[1] or booster.num_trees() // want.shape[1]
            want = want / kept  # LightGBM gives the sum, our margins are averages
        got = parity.predict(model, rows, margins=raw, rounds=rounds)
        same = same_bits(got, want)
        assert same.all(), (f"{what}, raw_score={raw}: {np.count_nonzero(~same)} of {same.size} differ, first in row "
                            f"{rows[np.argwhere(~same)[0][0]]!r}: {got[~same][0]!r} instead of {want[~same][0]!r}")


BATCHES = 25
MODELS_PER_BATCH = 20


@pytest.mark.parametrize("batch", range(BATCHES))
def test_predictions_equal_lightgbm(parity, factor, batch):
    for seed in range(batch, BATCHES * MODELS_PER_BATCH * factor, BATCHES):
        rng = np.random.default_rng(seed + 1_000_000)
        objective, model = train(seed)
        feature_count = int(re.search(r"max_feature_idx=(\d+)", model)[1]) + 1
        if seed % 3 == 0:
            model = edit(model, scramble(rng))
        rounds = draw_rounds(rng, model)
        compare(parity, model, draw_rows(rng, model, feature_count), f"seed {seed}, {objective}, {rounds}", rounds)


def test_the_models_cover_what_they_should():
    """The generator is worth nothing if it never makes the odd cases."""
    seen = set()
    for seed in range(150):
        _, model = train(seed)
        seen.update(re.findall(r"objective=(\w+)", model))
        seen.update("missing %d" % ((int(d) >> 2) & 3) for ds in fields(model, "decision_type") for d in ds)
        seen.update("categorical" for ds in fields(model, "decision_type") for d in ds if int(d) & 1)
        seen.update(["single leaf"] if "\nnum_leaves=1\n" in model else [])
        seen.update(["average"] if "\naverage_output\n" in model else [])
        seen.update(["sqrt"] if re.search("objective=.* sqrt", model) else [])
        seen.update(["linear", *(["terms"] if re.search("num_features=.*[1-9]", model) else [])]
                    if "\nis_linear=1\n" in model else [])
        seen.update(["no objective"] if "objective=" not in model.split("Tree=")[0] else [])
    wanted = {o for o in OBJECTIVES if not o.startswith("custom") and o != "regression_sqrt"}
    wanted |= {"missing 0", "missing 1", "missing 2", "categorical", "single leaf", "average", "sqrt", "no objective",
               "linear", "terms"}
    assert wanted <= seen, wanted - seen


@pytest.mark.parametrize("shape", ["deep chain", "many trees", "wide", "one row", "many rows"])
def test_odd_sizes(parity, shape):
    rng = np.random.default_rng(99)
    feature_count = 2000 if shape == "wide" else 4
    table = rng.normal(size=(3000, feature_count))
    label = np.exp(3 * table[:, 0]) if shape == "deep chain" else table[:, 0] + table[:, 3] ** 2
    params = {"verbose": -1, "num_threads": 1, "min_data_in_leaf": 1, "num_leaves": 1500 if shape == "deep chain" else 31}
    rounds = 800 if shape == "many trees" else 5
    model = lgb.train(params, lgb.Dataset(table, label), rounds).model_to_string()
    count = {"one row": 1, "many rows": 5000}.get(shape, 137)
    compare(parity, model, draw_rows(rng, model, feature_count, max(count, 2))[:count], shape)


def test_versions_and_line_ends(parity):
    rng = np.random.default_rng(5)
    _, model = train(3)
    feature_count = int(re.search(r"max_feature_idx=(\d+)", model)[1]) + 1
    rows = draw_rows(rng, model, feature_count)
    want = parity.predict(model, rows)
    for version in ("v2", "v3"):
        older = model.replace("version=v4", "version=" + version)
        compare(parity, older, rows, version)
    without_sizes = re.sub(r"tree_sizes=.*\n", "", model)
    assert same_bits(parity.predict(without_sizes, rows), want).all()
    assert same_bits(parity.predict(without_sizes.replace("\n", "\r\n"), rows), want).all()
    with pytest.raises(Refused, match="version v5"):
        parity.predict(model.replace("version=v4", "version=v5"), rows)


OLD = sorted(p.name for p in (HERE / "data").glob("lightgbm-*.txt"))


@pytest.mark.parametrize("path", OLD)
def test_files_of_older_versions(parity, path):
    """What the library that wrote the file said, and what this one says."""
    expected = np.load((HERE / "data" / path).with_suffix(".npz"))
    text = (HERE / "data" / path).read_text()
    got = parity.predict(text, expected["rows"])
    assert same_bits(got, expected["values"].reshape(got.shape)).all()
    compare(parity, text, expected["rows"], path)


def test_there_are_files_of_older_versions():
    assert {name.split("-")[1].rsplit(".", 1)[0] for name in OLD} >= {"2.1", "2.3", "3.0", "3.3", "4.0", "4.6"}


def test_a_model_that_stopped_early_is_what_save_model_writes(parity):
    rng = np.random.default_rng(8)
    table = rng.normal(size=(400, 3))
    label = table[:, 0] + 0.2 * rng.normal(size=400)
    params = {"verbose": -1, "num_threads": 1, "learning_rate": 0.3, "num_leaves": 31, "min_data_in_leaf": 1}
    data = lgb.Dataset(table[:200], label[:200])
    booster = lgb.train(params, data, 60, valid_sets=[lgb.Dataset(table[200:], label[200:], reference=data)],
                        callbacks=[lgb.early_stopping(5, verbose=False)], keep_training_booster=True)
    assert 0 < booster.best_iteration < booster.num_trees()
    want = booster.predict(table)  # the best iterations alone
    assert same_bits(parity.predict(booster.model_to_string(), table)[:, 0], want).all()
    whole = booster.model_to_string(num_iteration=-1)
    assert same_bits(parity.predict(whole, table, rounds=(0, booster.best_iteration))[:, 0], want).all()


def test_pandas_categories_are_read_as_their_codes(parity):
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(7)
    frame = pd.DataFrame({"kind": pd.Categorical(rng.choice(["a", "b", "c"], 300)), "x": rng.normal(size=300)})
    label = frame["kind"].cat.codes * 2.0 + frame["x"]
    model = lgb.train({"verbose": -1, "num_threads": 1}, lgb.Dataset(frame, label), 5).model_to_string()
    codes = np.column_stack([frame["kind"].cat.codes, frame["x"]]).astype(float)
    want = lgb.Booster(model_str=model).predict(frame, num_threads=1).reshape(-1, 1)
    assert same_bits(parity.predict(model, codes), want).all()
