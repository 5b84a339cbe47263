"""Large models, beside the library that wrote them: bit for bit.

Many leaves, many columns, many thresholds a column, categories by the thousand, missing values of all kinds: what does
not lie side by side in lanes. Rows are predicted in one block, and a few by themselves, since other kernels do that.
"""
import re

import numpy as np
import pytest

from conftest import same_bits
from test_lightgbm import draw_rows

lgb = pytest.importorskip("lightgbm")
xgb = pytest.importorskip("xgboost")

#         name             rows  numeric cards         leaves bins rounds  params
SHAPES = [("sets",         4000, 6,  [9, 40, 130, 600], 255, 255, 14, {}),
          ("thousands",    6000, 2,  [5000, 2500],      120, 63,  12, {"max_cat_threshold": 512}),
          ("deep",         6000, 5,  [],                900, 255, 10, {"min_data_in_leaf": 1}),
          ("deep sets",    6000, 3,  [30, 300],         700, 255, 9,  {"min_data_in_leaf": 1}),
          ("bins",         9000, 4,  [],                250, 3000, 16, {"min_data_in_leaf": 1}),
          ("columns",      900,  300, [],               200, 255, 40, {"feature_fraction": 0.3, "min_data_in_leaf": 1}),
          ("columns, sets", 900, 280, [50] * 20,        100, 100, 30, {"feature_fraction": 0.3}),
          ("zero missing", 3000, 40, [60, 60],          255, 255, 12, {"zero_as_missing": True})]


def draw_table(rng, row_count, numeric, cards):
    """Numbers, a third of them with holes and zeros, then categories; a signal that depends on both."""
    table = rng.normal(size=(row_count, numeric + len(cards)))
    for j in range(numeric):
        if j % 3 == 1:
            table[rng.random(row_count) < 0.2, j] = np.nan
        elif j % 3 == 2:
            table[rng.random(row_count) < 0.3, j] = 0.0
    signal = np.nan_to_num(table[:, 0]) * 2 + np.sin(3 * np.nan_to_num(table[:, numeric // 2]))
    for j, card in enumerate(cards):
        table[:, numeric + j] = rng.integers(0, card, row_count)
        signal = signal + rng.normal(size=card)[table[:, numeric + j].astype(int)]
        if j % 2:
            table[rng.random(row_count) < 0.1, numeric + j] = np.nan
    return table, signal + 0.2 * rng.normal(size=row_count)


@pytest.mark.parametrize("shape", SHAPES, ids=[s[0] for s in SHAPES])
def test_lightgbm(parity, shape):
    name, row_count, numeric, cards, leaves, bins, rounds, more = shape
    rng = np.random.default_rng(len(name) + leaves)
    table, signal = draw_table(rng, row_count, numeric, cards)
    params = {"verbose": -1, "num_threads": 1, "num_leaves": leaves, "max_bin": bins, "min_data_in_leaf": 5,
              "min_data_in_bin": 1, "min_data_per_group": 1, "cat_smooth": 1.0, "max_cat_to_onehot": 1,
              "learning_rate": 0.2, **more}
    data = lgb.Dataset(table, signal, categorical_feature=list(range(numeric, numeric + len(cards))),
                       params={"verbose": -1, "max_bin": bins, "min_data_in_bin": 1})
    model = lgb.train(params, data, rounds).model_to_string()
    sizes = [int(n) for n in re.findall(r"num_leaves=(\d+)", model)]
    assert max(sizes) > leaves / 2, sizes
    rows = draw_rows(rng, model, table.shape[1], 400)
    rows[100:300] = table[rng.integers(0, row_count, 200)]
    for j, card in enumerate(cards):
        rows[20:80, numeric + j] = rng.integers(-1, card + 40, 60)
    want = lgb.Booster(model_str=model).predict(rows, num_threads=1).reshape(-1, 1)
    for some in (slice(0, 400), slice(110, 111), slice(30, 35), slice(40, 57), slice(200, 270)):
        same = same_bits(parity.predict(model, rows[some]), want[some])
        assert same.all(), f"{name}: {np.count_nonzero(~same)} of {same.size} differ in {some}"


@pytest.mark.parametrize("shape", SHAPES, ids=[s[0] for s in SHAPES])
def test_xgboost(parity, shape):
    name, row_count, numeric, cards, leaves, bins, rounds, _ = shape
    rng = np.random.default_rng(len(name) + bins)
    table, signal = draw_table(rng, row_count, numeric, cards)
    types = ["q"] * numeric + ["c"] * len(cards)
    def matrix(rows, label=None):
        return xgb.DMatrix(rows, label, feature_types=types, enable_categorical=True)
    params = {"tree_method": "hist", "grow_policy": "lossguide", "max_leaves": leaves, "max_depth": 0, "eta": 0.2,
              "nthread": 1, "max_bin": bins, "min_child_weight": 1, "max_cat_to_onehot": 1, "max_cat_threshold": 256}
    booster = xgb.train(params, matrix(table, signal), rounds)
    rows = table[rng.integers(0, row_count, 400)]
    rows[rng.random(rows.shape) < 0.05] = np.nan
    for j, card in enumerate(cards):
        rows[20:80, numeric + j] = rng.integers(0, card, 60)
    want = booster.predict(matrix(rows), output_margin=True).reshape(-1, 1).astype(float)
    raw = bytes(booster.save_raw("ubj"))
    for some in (slice(0, 400), slice(110, 111), slice(30, 35), slice(40, 57), slice(200, 270)):
        same = same_bits(parity.predict(raw, rows[some], margins=True), want[some])
        assert same.all(), f"{name}: {np.count_nonzero(~same)} of {same.size} differ in {some}"
