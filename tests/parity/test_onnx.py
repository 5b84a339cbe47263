"""ONNX files: bit-equal to ONNX Runtime (one thread) where trees decide, close as documented where sums are linear.

What the importer refuses is a file for ONNX Runtime (tests/system/test_onnx_runtime.py); here it must be refused by the
name of an operator, and must stay the smaller part.
"""

import collections
import pathlib

import numpy as np
import pytest

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx_models as models  # noqa: E402
from conftest import Refused, same_bits  # noqa: E402

HERE = pathlib.Path(__file__).resolve().parent
FLOAT_STEP, DOUBLE_STEP = 2.0 ** -24, 2.0 ** -53
SMALLEST_FLOAT = float(np.finfo(np.float32).tiny)  # below it an exponential in float is 0, or has few digits


def check_equal(got, want, what):
    assert got.shape == want.shape, f"{what}: {got.shape}, {want.shape}"
    bad = np.argwhere(~same_bits(got, want) & ~((got == 0) & (want == 0)))
    assert len(bad) == 0, f"{what}: {len(bad)} differ, first at {bad[0]}: {got[tuple(bad[0])]!r}, {want[tuple(bad[0])]!r}"


def check_refusal(refusal, what):
    assert "UNSUPPORTED" in str(refusal) and "operator " in str(refusal), f"{what}: {refusal}"


def try_ensembles(parity, make, seeds, most_refused):
    refused = 0
    for seed in seeds:
        content, rows, what = make(seed)
        try:
            got = parity.predict(content, rows)
        except Refused as refusal:
            check_refusal(refusal, what)
            refused += 1
            continue
        check_equal(got, models.answers(content, models.feeds_of(content, rows)), what)
    assert refused <= len(seeds) * most_refused, f"{refused} of {len(seeds)} refused"


@pytest.mark.parametrize("batch", range(4))
def test_generated_ensembles(parity, factor, batch):
    count = 15 * factor
    try_ensembles(parity, models.ensemble, range(batch * count, (batch + 1) * count), 0.4)


@pytest.mark.parametrize("batch", range(2))
def test_generated_ensembles_of_version_5(parity, factor, batch):
    count = 15 * factor
    try_ensembles(parity, models.ensemble5, range(batch * count, (batch + 1) * count), 0.6)


# ---- scikit-learn ----

def check_close(got, want, content, rows, what):
    """Sums within (terms + 8) steps of their magnitude (double graphs: the same in double); behind a link function what
    its slope makes of that. Probabilities have slope 1 at most."""
    sums, terms = models.magnitude(content, rows)
    double = onnx.load_from_string(content).graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.DOUBLE
    step = DOUBLE_STEP if double else FLOAT_STEP
    bound = (terms + 8) * step * np.nan_to_num(sums, nan=0.0).max(axis=1, keepdims=True)
    ops = {node.op_type for node in onnx.load_from_string(content).graph.node}
    if "Exp" in ops:
        bound = np.abs(want) * (np.expm1(bound) + 8 * step) + SMALLEST_FLOAT
    elif ops & {"LinearClassifier", "Sigmoid", "Softmax"}:
        bound = bound + 16 * step
    assert got.shape == want.shape, what
    assert (np.isnan(got) == np.isnan(want)).all(), what
    with np.errstate(invalid="ignore"):
        off = np.abs(got - want) > bound
    inside = np.isfinite(want)
    assert not (off & inside).any(), f"{what}: off by {np.nanmax((np.abs(got - want) / bound)[inside]):.3g} bounds"


def try_pipeline(parity, seed, tally):
    content, rows, what = models.pipeline(seed)
    if content is None:
        tally["not to be had"] += 1
        return
    try:
        got = parity.predict(content, rows)
    except Refused as refusal:
        check_refusal(refusal, what)
        tally["refused"] += 1
        return
    want = models.answers(content, models.feeds_of(content, rows))
    if models.magnitude(content, rows) is not None:
        tally["close"] += 1
        check_close(got, want, content, rows, what)
    else:
        tally["equal"] += 1
        check_equal(got, want, what)


@pytest.mark.parametrize("batch", range(3))
def test_generated_pipelines(parity, factor, batch):
    pytest.importorskip("skl2onnx")
    count = 24 * factor
    tally = collections.Counter()
    for seed in range(batch * count, (batch + 1) * count):
        try_pipeline(parity, seed, tally)
    assert tally["equal"] + tally["close"] >= count * 0.55, tally
    assert tally["not to be had"] <= count * 0.3, tally


# ---- other converters ----

def boosted_models(rng, x):
    import lightgbm
    import xgboost
    y = np.nan_to_num(x[:, 0]) * 2 + rng.normal(size=len(x))
    two, three = (y > 0).astype(int), np.digitize(y, [-1, 1])
    light = {"n_estimators": int(rng.integers(1, 15)), "num_leaves": int(rng.integers(2, 16)), "verbose": -1,
             "min_child_samples": 5, "n_jobs": 1}
    extreme = {"n_estimators": int(rng.integers(1, 15)), "max_depth": int(rng.integers(1, 6)), "n_jobs": 1}
    yield "LightGBM regression", lightgbm.LGBMRegressor(**light).fit(x, y)
    yield "LightGBM binary", lightgbm.LGBMClassifier(**light).fit(x, two)
    yield "LightGBM classes", lightgbm.LGBMClassifier(**light).fit(x, three)
    yield "LightGBM forest", lightgbm.LGBMRegressor(boosting_type="rf", bagging_freq=1, bagging_fraction=0.5,
                                                    **light).fit(x, y)
    coded = x.copy()
    coded[:, 0] = rng.integers(0, 8, len(x))
    yield "LightGBM categories", lightgbm.LGBMRegressor(min_data_per_group=1, cat_smooth=0, **light).fit(
        coded, y + coded[:, 0] % 3 * 5, categorical_feature=[0])
    yield "XGBoost regression", xgboost.XGBRegressor(**extreme).fit(x, y)
    yield "XGBoost binary", xgboost.XGBClassifier(**extreme).fit(x, two)
    yield "XGBoost classes", xgboost.XGBClassifier(**extreme).fit(x, three)


@pytest.mark.parametrize("seed", range(2))
def test_boosters_through_onnxmltools(parity, factor, seed):
    onnxmltools = pytest.importorskip("onnxmltools")
    from onnxmltools.convert.common.data_types import FloatTensorType
    for k in range(factor):
        rng = np.random.default_rng(1000 * seed + k)
        x = rng.normal(size=(200, 5)).astype(np.float32)
        x[rng.random(x.shape) < 0.1] = np.nan
        rows = np.concatenate([x, rng.normal(size=(100, 5))]).astype(np.float64)
        rows[:, 0] = np.where(rng.random(len(rows)) < 0.5, rng.integers(-1, 9, len(rows)), rows[:, 0])
        for what, model in boosted_models(rng, x):
            convert = onnxmltools.convert_lightgbm if "Light" in what else onnxmltools.convert_xgboost
            content = convert(model, initial_types=[("X", FloatTensorType([None, 5]))], target_opset=15)
            content = content.SerializeToString()
            check_equal(parity.predict(content, rows), models.answers(content, models.feeds_of(content, rows)), what)


@pytest.mark.parametrize("path", sorted(p.name for p in (HERE / "data").glob("catboost-*.onnx")))
def test_catboost_files(parity, path):
    """CatBoost writes ONNX itself; the files and what ONNX Runtime said lie in data/ (make_catboost_data.py)."""
    expected = np.load((HERE / "data" / path).with_suffix(".npz"))
    check_equal(parity.predict(HERE / "data" / path, expected["rows"]), expected["values"], path)


# ---- inputs, and what is refused ----

def test_one_input_per_column(parity):
    skl2onnx = pytest.importorskip("skl2onnx")
    import pandas
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.compose import ColumnTransformer
    from sklearn.ensemble import GradientBoostingRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import MinMaxScaler, StandardScaler
    rng = np.random.default_rng(1)
    table = pandas.DataFrame(rng.normal(size=(200, 5)).astype(np.float32), columns=list("abcde"))
    steps = [("s", StandardScaler(), ["a", "b"]), ("m", MinMaxScaler(), ["d"]), ("p", "passthrough", ["c", "e"])]
    model = make_pipeline(ColumnTransformer(steps), GradientBoostingRegressor(n_estimators=5)).fit(
        table, table["a"] - table["d"])
    content = skl2onnx.convert_sklearn(model, initial_types=[(name, FloatTensorType([None, 1])) for name in "abcde"])
    content = content.SerializeToString()
    rows = rng.normal(size=(300, 5))
    check_equal(parity.predict(content, rows), models.answers(content, models.feeds_of(content, rows)), "five inputs")


def test_the_width_of_an_open_input_is_the_models(parity):
    skl2onnx = pytest.importorskip("skl2onnx")
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.ensemble import RandomForestRegressor
    rng = np.random.default_rng(2)
    x = rng.normal(size=(200, 4))
    model = RandomForestRegressor(5, max_depth=4, random_state=0).fit(x, x[:, 3])
    content = skl2onnx.convert_sklearn(model, initial_types=[("X", FloatTensorType([None, None]))]).SerializeToString()
    check_equal(parity.predict(content, x), models.answers(content, models.feeds_of(content, x)), "open")


def test_the_onnx_packages_own_node_tests(parity):
    """All of domain ai.onnx.ml: those of trees are ours, the others are refused by name."""
    import importlib
    import pkgutil

    import onnx.backend.test.case.node as node_tests
    import onnx.backend.test.case.node.ai_onnx_ml as ml_tests
    for module in pkgutil.iter_modules(ml_tests.__path__):
        importlib.import_module(f"{ml_tests.__name__}.{module.name}")
    # What the package's collect_testcases gives, without making the 1,900 cases of other operators first.
    cases = [case for case in node_tests._NodeTestCases  # noqa: SLF001
             if any(node.domain == "ai.onnx.ml" for node in case.model.graph.node)]
    assert len(cases) >= 8
    ours, refused = 0, 0
    for case in cases:
        (inputs, outputs), = case.data_sets[:1]
        first = np.asarray(inputs[0])
        rows = first.astype(np.float64).reshape(len(first), -1) if first.dtype.kind in "fi" else np.zeros((1, 1))
        try:
            got = parity.predict(case.model.SerializeToString(), rows)
        except Refused as refusal:
            check_refusal(refusal, case.name)
            refused += 1
            continue
        check_equal(got, np.asarray(outputs[0]).astype(np.float64).reshape(got.shape), case.name)
        ours += 1
    assert ours >= 2 and ours + refused == len(cases)


def test_one_row_at_a_time(parity):
    """ONNX Runtime walks single rows by a loop of their own."""
    for seed in range(5):
        content, rows, what = models.ensemble(seed)
        rows = rows[:20]
        try:
            got = parity.predict(content, rows)
        except Refused:
            continue
        want = np.concatenate([models.answers(content, models.feeds_of(content, row.reshape(1, -1))) for row in rows])
        check_equal(got, want, what)
