"""XGBoost models: margins are bit-equal to Booster.predict(output_margin=True), values within 5e-7.

Models are generated from seeds (xgboost_models.py) with the XGBoost of this Python; files of older versions lie in data/
with what their own library said (make_xgboost_data.py). Infinities: DMatrix refuses them, inplace_predict does not, so they
are compared with the latter. best_iteration is an attribute that Booster.predict of a loaded model pays no heed to (the
scikit-learn wrapper does); the generated models carry one to show it.
"""

import json
import pathlib

import numpy as np
import pytest

xgb = pytest.importorskip("xgboost")

import xgboost_models as models  # noqa: E402
from conftest import same_bits  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
VALUE_TOLERANCE = 5e-7
BATCHES = 50
MODELS_PER_BATCH = 10


def check_margins(got, want, what):
    want = np.asarray(want, dtype=np.float64).reshape(len(got), -1)
    assert got.shape == want.shape, what
    bad = np.argwhere(~same_bits(got, want))
    assert len(bad) == 0, f"{what}: {len(bad)} margins differ, first at {bad[0]}: {got[tuple(bad[0])]!r}, {want[tuple(bad[0])]!r}"


def check_values(got, want, what):
    want = np.asarray(want, dtype=np.float64).reshape(len(got), -1)
    assert got.shape == want.shape, what
    assert np.allclose(got, want, rtol=VALUE_TOLERANCE, atol=0, equal_nan=True), f"{what}: values differ"


def try_seed(parity, seed):
    try:
        booster, categorical, what = models.train(seed)
    except xgb.core.XGBoostError:
        return 0  # XGBoost's own sketch gives up on a few of these tables
    rows = models.rows(booster, categorical, seed)
    data = models.matrix(rows, categorical, booster.feature_names)
    first, second = ("json", "ubj") if seed % 2 else ("ubj", "json")
    check_margins(parity.predict(bytes(booster.save_raw(first)), rows, margins=True),
                  booster.predict(data, output_margin=True), f"{what}, {first}")
    if seed % 5 == 0 and " gblinear " not in what and booster.num_boosted_rounds() > 0:
        total = booster.num_boosted_rounds()
        begin = seed // 5 % total
        end = begin + 1 + seed // 7 % (total - begin)
        check_margins(parity.predict(bytes(booster.save_raw(second)), rows, margins=True, rounds=(begin, end - begin)),
                      booster.predict(data, output_margin=True, iteration_range=(begin, end)), f"{what}, {begin}:{end}")
    check_values(parity.predict(bytes(booster.save_raw(second)), rows), booster.predict(data), f"{what}, {second}")
    return 1


@pytest.mark.parametrize("batch", range(BATCHES))
def test_generated_models(parity, factor, batch):
    count = MODELS_PER_BATCH * factor
    tried = sum(try_seed(parity, seed) for seed in range(batch * count, (batch + 1) * count))
    assert tried >= count * 0.9


@pytest.mark.parametrize("path", sorted(p.name for p in (HERE / "data").glob("xgboost-*") if p.suffix != ".npz"))
def test_files_of_older_versions(parity, path):
    expected = np.load((HERE / "data" / path).with_suffix(".npz"))
    rows = expected["rows"]
    check_margins(parity.predict(HERE / "data" / path, rows, margins=True), expected["margins"], path)
    check_values(parity.predict(HERE / "data" / path, rows), expected["values"], path)


@pytest.mark.parametrize("path", sorted(p.name for p in (HERE / "data").glob("xgboost-*") if p.suffix != ".npz"))
def test_this_version_reads_older_files_alike(path):
    """The rule "a file means what the newest library reads in it" costs old files nothing."""
    if "-vector-" in path and path.split("-")[1] < "3.2":
        pytest.skip("XGBoost 3.2 dies of vector leaves that were written before it; ours answer as their writer did")
    expected = np.load((HERE / "data" / path).with_suffix(".npz"))
    booster = xgb.Booster(model_file=str(HERE / "data" / path))
    kinds = booster.feature_types or []
    categorical = {j: 1 for j, kind in enumerate(kinds) if kind == "c"}
    data = models.matrix(expected["rows"], categorical, booster.feature_names)
    margins = booster.predict(data, output_margin=True)
    check_margins(np.asarray(margins, np.float64).reshape(len(margins), -1), expected["margins"], path)


def small_booster(**params):
    rng = np.random.default_rng(3)
    x = models.features(rng, 200, 4, {})
    y = models.labels(rng, params.get("objective", "reg:squarederror"), x, 1)
    return xgb.train({"nthread": 1, "max_depth": 4, **params}, xgb.DMatrix(x, y), 5)


def test_infinities(parity):
    booster = small_booster()
    rows = models.rows(booster, {}, 5, 400)
    rng = np.random.default_rng(5)
    rows[rng.random(rows.shape) < 0.2] = np.inf
    rows[rng.random(rows.shape) < 0.2] = -np.inf
    rows[rng.random(rows.shape) < 0.05] = 1e300  # infinite as a float
    rows = rows.astype(np.float64)
    with np.errstate(over="ignore"):
        want = booster.inplace_predict(rows.astype(np.float32), predict_type="margin")
    check_margins(parity.predict(bytes(booster.save_raw("json")), rows, margins=True), want, "infinities")


def test_one_row_at_a_time(parity):
    """XGBoost walks blocks of rows and single rows by different loops."""
    booster = small_booster(objective="binary:logistic")
    rows = models.rows(booster, {}, 6, 40)
    want = [booster.predict(xgb.DMatrix(row.reshape(1, -1)), output_margin=True)[0] for row in rows]
    check_margins(parity.predict(bytes(booster.save_raw("ubj")), rows, margins=True), want, "rows one by one")


def test_a_threshold_below_everything(parity):
    """Splits at -infinity and infinity, and on either side of zero, put into a real model by hand."""
    booster = small_booster()
    for value in ("-Infinity", "Infinity", "0E0", "-0E0", "1E-45", "-1E-45", "3.4028235E38", "-3.4028235E38"):
        file = json.loads(booster.save_raw("json"))
        for tree in file["learner"]["gradient_booster"]["model"]["trees"]:
            tree["split_conditions"][0] = "@"
        text = json.dumps(file).replace('"@"', value)
        changed = xgb.Booster()
        changed.load_model(bytearray(text.encode()))
        rows = models.rows(booster, {}, 7, 200)
        want = changed.predict(xgb.DMatrix(rows), output_margin=True)
        check_margins(parity.predict(text.encode(), rows, margins=True), want, value)


def test_every_right_child_is_left_plus_one():
    """What the file names as right child is what XGBoost's loops, which take left + 1, walk to."""
    for seed in range(60, 90):
        booster, _, what = models.train(seed)
        if "vector" in what:
            continue  # the right child of a leaf is its vector's number there
        for tree in models.trees_of(booster):
            left, right = np.array(tree["left_children"]), np.array(tree["right_children"])
            assert (right[left >= 0] == left[left >= 0] + 1).all(), what


def test_the_models_cover_what_they_should():
    """The generator is worth nothing if it never makes the odd boosters."""
    seen = set()
    for seed in range(150):
        try:
            booster, categorical, what = models.train(seed)
        except xgb.core.XGBoostError:
            continue
        seen.add(what.split()[3])
        seen.update(["categorical"] if categorical else [])
        seen.update(["no round"] if " 0 rounds" in what else [])
    assert {"dart", "gblinear", "vector", "hist", "approx", "exact", "categorical", "no round"} <= seen, seen


def test_several_quantiles_and_the_rounds_of_the_scikit_learn_classes(parity):
    rng = np.random.default_rng(2)
    x = rng.normal(size=(300, 3))
    y = x[:, 0] + 0.3 * rng.normal(size=300)
    model = xgb.XGBRegressor(n_estimators=60, learning_rate=0.3, early_stopping_rounds=3, n_jobs=1)
    model.fit(x[:150], y[:150], eval_set=[(x[150:], y[150:])], verbose=False)
    best = model.best_iteration
    raw = bytes(model.get_booster().save_raw("ubj"))
    assert 0 < best + 1 < model.get_booster().num_boosted_rounds()
    check_margins(parity.predict(raw, x, margins=True, rounds=(0, best + 1)), model.predict(x, output_margin=True), "best")
    booster = xgb.train({"objective": "reg:quantileerror", "quantile_alpha": [0.05, 0.5, 0.95], "nthread": 1},
                        xgb.QuantileDMatrix(x, y), 5)
    check_margins(parity.predict(bytes(booster.save_raw("json")), x, margins=True),
                  booster.predict(xgb.DMatrix(x), output_margin=True), "quantiles")


def test_labels_that_are_all_zero(parity):
    """count:poisson then starts at -infinity and predicts 0: a product that was never sold."""
    x = np.zeros((30, 2))
    booster = xgb.train({"objective": "count:poisson", "nthread": 1}, xgb.DMatrix(x, np.zeros(30)), 2)
    check_margins(parity.predict(bytes(booster.save_raw("json")), x, margins=True),
                  booster.predict(xgb.DMatrix(x), output_margin=True), "margins")
    check_values(parity.predict(bytes(booster.save_raw("json")), x), booster.predict(xgb.DMatrix(x)), "values")
