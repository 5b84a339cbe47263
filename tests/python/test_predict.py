"""Predictions have the library's bits in every container and layout, and the same as the program's."""
import datetime
import decimal
import json
import subprocess

import myriad
import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from conftest import BUILD, FEATURES, KEYS


@pytest.fixture(scope="module")
def pack(fleet):
    with myriad.open(fleet.pack_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def data(fleet):
    stores, brands, matrix = fleet.rows(2000)
    return stores, brands, matrix, fleet.expected(stores, brands, matrix)


@pytest.fixture(scope="module")
def frame(data):
    stores, brands, matrix, _ = data
    return pd.DataFrame(matrix, columns=FEATURES).assign(store=stores, brand=brands, date=datetime.date(2026, 1, 1))


def same(found, wanted):
    found = np.asarray(found, np.float64)
    assert found.shape == wanted.shape
    assert (found.view(np.uint64) == np.ascontiguousarray(wanted).view(np.uint64)).all()


# ---- matrices ----

LAYOUTS = {
    "C": lambda m: m,
    "F": np.asfortranarray,
    "rows of a wider array": lambda m: np.hstack([np.full((len(m), 2), 9.0), m, m])[:, 2:2 + m.shape[1]],
    "every second row": lambda m: np.repeat(m, 2, axis=0)[::2],
    "backwards in memory": lambda m: np.ascontiguousarray(m[::-1])[::-1],
    "columns backwards in memory": lambda m: np.ascontiguousarray(m[:, ::-1])[:, ::-1],
    "every third column": lambda m: np.repeat(m, 3, axis=1)[:, ::3],
    "a field of records": lambda m: np.rec.fromarrays([m, np.zeros(len(m), "i1")], dtype=[("m", "f8", (m.shape[1],)), ("x", "i1")])["m"],
    "big-endian": lambda m: m.astype(">f8"),
    "objects": lambda m: m.astype(object),
    "read-only": lambda m: (c := m.copy(), c.setflags(write=False))[0],
    "memory-mapped": None,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_matrices_of_any_layout(pack, data, layout, tmp_path):
    stores, brands, matrix, wanted = data
    if layout == "memory-mapped":
        np.save(tmp_path / "m.npy", matrix)
        given = np.load(tmp_path / "m.npy", mmap_mode="r")
    else:
        given = LAYOUTS[layout](matrix)
    same(pack.predict(given, keys=[stores, brands]), wanted)
    same(pack.predict(given[:1], keys=[stores[:1], brands[:1]]), wanted[:1])
    same(pack.predict(given[:, :][5:900], keys=[stores[5:900], brands[5:900]]), wanted[5:900])


def test_other_number_types_are_those_numbers(fleet, pack, data):
    stores, brands, matrix, _ = data
    for dtype in (np.float32, np.float16, np.int64, np.int8, np.bool_):
        given = np.nan_to_num(matrix).astype(dtype)
        same(pack.predict(given, keys=[stores, brands]), fleet.expected(stores, brands, given.astype(np.float64)))


@pytest.mark.parametrize("keys", [
    lambda s, b: [s, b],
    lambda s, b: (s.astype(np.int8), list(b)),
    lambda s, b: {"brand": b.astype(object), "store": s.astype(np.uint16)},
    lambda s, b: np.array([[str(x), y] for x, y in zip(s, b)], object),
    lambda s, b: pd.DataFrame({"brand": pd.Categorical(b), "store": s.astype(float)}),
    lambda s, b: pl.DataFrame({"brand": b, "store": s}),
    lambda s, b: pa.table({"brand": b, "store": s}),
    lambda s, b: [pa.array(s, pa.uint64()), pa.array(b.tolist(), pa.large_string())],
    lambda s, b: [pd.Series(s), pl.Series(b.tolist())],
    lambda s, b: [s[::-1][::-1], np.char.encode(b, "utf-8")]])
def test_keys_beside_a_matrix(pack, data, keys):
    stores, brands, matrix, wanted = data
    same(pack.predict(matrix, keys=keys(stores, brands)), wanted)


def test_one_row_and_none(pack, data):
    stores, brands, matrix, wanted = data
    for i in range(50):
        same(pack.predict(matrix[i], keys=[[stores[i]], [brands[i]]]), wanted[i:i + 1])
    assert pack.predict(matrix[:0], keys=[[], []]).shape == (0,)
    assert len(pack.predict(pd.DataFrame(columns=[*KEYS, *FEATURES], dtype=float))) == 0


def test_one_model_for_all_rows(fleet, pack, data):
    _, _, matrix, _ = data
    wanted = fleet.boosters[2, "a"].predict(matrix)
    found = pack.find({"store": 2, "brand": "a"})
    for model in (found, found.index, "store=2,brand=a", {"brand": "a", "store": 2.0}):
        same(pack.predict(matrix, model=model), wanted)
    same(pack.predict(pd.DataFrame(matrix, columns=FEATURES), model=found), wanted)
    odd = pack.find({"store": 1, "brand": "ü, brand=1"})
    assert odd.segment == "store=1,brand=ü%2C brand%3D1" and odd.name == "oj@" + odd.segment
    same(pack.predict(matrix, model=odd), fleet.boosters[1, "ü, brand=1"].predict(matrix))


@pytest.mark.parametrize("output,how", [("margin", {"raw_score": True}), ("contribution", {"pred_contrib": True})])
def test_outputs(fleet, data, output, how, tmp_path):
    _, _, matrix, _ = data
    booster = fleet.boosters[2, "a"]
    booster.save_model(tmp_path / "m.txt")
    alone = myriad.open(tmp_path / "m.txt")
    found = alone.predict(matrix, output=output)
    wanted = booster.predict(matrix, **how)
    assert found.shape == wanted.shape
    np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-12)
    leaves = alone.predict(pd.DataFrame(matrix, columns=FEATURES), output="leaf")
    assert list(leaves.columns) == [f"leaf_{k}" for k in range(12)]
    assert (leaves.to_numpy() == booster.predict(matrix, pred_leaf=True)).all()
    with pytest.raises(myriad.Unsupported):
        alone.predict(matrix, output="probability")  # no classifier


# ---- tables ----

TABLES = {
    "pandas": lambda f: f,
    "pandas, one block": lambda f: pd.concat([pd.DataFrame(f[list(FEATURES)].to_numpy(), columns=FEATURES), f[list(KEYS)]], axis=1),
    "pandas, category": lambda f: f.astype({"brand": "category", "store": "category"}),
    "pandas, nullable": lambda f: f.astype({"store": "Int16", "brand": "string", **{n: "Float64" for n in FEATURES}}),
    "pandas, objects": lambda f: f.astype({"store": object, "brand": object, "price": object}),
    "pandas, arrow": lambda f: f.drop(columns="date").convert_dtypes(dtype_backend="pyarrow"),
    "pandas, odd index": lambda f: f.set_index(pd.Index(range(5, 5 + 3 * len(f), 3))),
    "polars": lambda f: pl.from_pandas(f),
    "polars, categorical": lambda f: pl.from_pandas(f).with_columns(pl.col("brand").cast(pl.Categorical), pl.col("store").cast(pl.UInt8)),
    "polars, chunks": lambda f: pl.concat([pl.from_pandas(f[:700]), pl.from_pandas(f[700:])], rechunk=False),
    "polars, slice": lambda f: pl.concat([pl.from_pandas(f[:9]), pl.from_pandas(f)]).slice(9),
    "arrow table": lambda f: pa.Table.from_pandas(f),
    "arrow batch": lambda f: pa.RecordBatch.from_pandas(f),
    "arrow chunks": lambda f: pa.concat_tables([pa.Table.from_pandas(f[:1]), pa.Table.from_pandas(f[1:1500]), pa.Table.from_pandas(f[1500:])]),
    "arrow, slice": lambda f: pa.concat_tables([pa.Table.from_pandas(f[:13]), pa.Table.from_pandas(f)]).slice(13),
    "arrow, dictionary": lambda f: pa.Table.from_pandas(f.astype({"brand": "category"})),
    "mapping": lambda f: {n: f[n].to_numpy() for n in f.columns},
    "lists": lambda f: {n: f[n].tolist() for n in f.columns},
    "records": lambda f: f.to_dict("records"),
}


@pytest.mark.parametrize("kind", TABLES)
def test_tables_of_any_kind(pack, data, frame, kind):
    wanted = data[-1]
    table = TABLES[kind](frame)
    found = pack.predict(table)
    if kind.startswith("pandas"):
        assert isinstance(found, pd.Series) and found.name == "prediction" and found.index.equals(table.index)
    elif kind.startswith("polars"):
        assert isinstance(found, pl.Series) and found.name == "prediction"
    elif kind.startswith("arrow"):
        assert isinstance(found, pa.Array)
    else:
        assert isinstance(found, np.ndarray)
    same(found.to_numpy() if hasattr(found, "to_numpy") else found, wanted)


def test_key_columns_of_other_names(pack, data, frame):
    renamed = frame.rename(columns={"store": "shop", "brand": "label"})
    for table in (renamed, pl.from_pandas(renamed), pa.Table.from_pandas(renamed)):
        same(pack.predict(table, keys=["shop", "label"]).to_numpy(), data[-1])
    same(pack.predict(frame[list(FEATURES)], keys=frame[list(KEYS)]), data[-1])
    same(pack.predict(frame[list(FEATURES)], keys=[data[0], data[1]]), data[-1])


def test_nulls_in_keys_ask_the_parents(fleet, pack):
    frame = pd.DataFrame({"store": [1, None, 1, None], "brand": ["a", "a", None, None], **{n: [0.5] * 4 for n in FEATURES}})
    wanted = np.array([fleet.boosters[k].predict([[0.5] * 5])[0] for k in ((1, "a"), (None, "a"), (None, None), (None, None))])
    for table in (frame, frame.convert_dtypes(), pl.from_pandas(frame), pa.Table.from_pandas(frame), frame.to_dict("records"),
                  frame.assign(brand=frame.brand.astype("category"))):
        same(pack.predict(table), wanted)


def test_details(fleet, pack, frame):
    wanted = [fleet.key_of(s, b) for s, b in zip(frame.store, frame.brand)]
    levels = ["segment" if k[0] else "parent" if k[1] else "global" for k in wanted]
    names = [pack.find({n: v for n, v in zip(KEYS, k) if v is not None}).name for k in wanted]
    for table in (frame, pl.from_pandas(frame), pa.Table.from_pandas(frame)):
        found = pack.predict(table, details=True)
        assert type(found).__name__ in ("DataFrame", "Table")
        columns = {c: found[c].to_numpy() if not isinstance(found, pa.Table) else found.column(c).to_numpy() for c in ("prediction", "level", "status", "model")}
        same(columns["prediction"], fleet.expected(frame.store, frame.brand, frame[list(FEATURES)].to_numpy()))
        assert list(columns["level"]) == levels and list(columns["model"]) == names and set(columns["status"]) == {"ok"}
    found = pack.predict(frame[list(FEATURES)].to_numpy(), keys=[frame.store, frame.brand], details=True)
    assert isinstance(found, myriad.Predictions)
    assert found.levels.tolist() == levels and found.models.tolist() == names
    assert [pack.model(i).name for i in found.model_indexes] == names


def test_rows_that_cannot_be_scored(pack, frame):
    some = frame[:3].assign(store=["x", "1", "2"])
    found = pack.predict(some, details=True)
    assert found.status.tolist() == ["bad_key", "ok", "ok"] and found.prediction.isna().tolist() == [True, False, False]
    assert found.model.isna().tolist() == [True, False, False] and found.level[0] == "none"
    assert np.isnan(pack.predict(some)[0])
    other = pl.from_pandas(some)
    assert pack.predict(other).is_null().to_list() == [True, False, False]
    assert pack.predict(other, details=True)["model"].is_null().to_list() == [True, False, False]
    assert pack.predict(pa.Table.from_pandas(some)).null_count == 1
    assert pack.predict(some.assign(store=1, price=["cheap", "1.5", "2"]), details=True).status.tolist() == ["bad_input", "ok", "ok"]


def test_categories_by_name(tmp_path):
    """Text columns, category columns and numbers are looked up as LightGBM's own pandas path does."""
    import lightgbm
    rng = np.random.default_rng(3)
    train = pd.DataFrame({"a": rng.normal(size=3000), "kind": pd.Categorical(rng.choice(list("pqrst"), 3000)),
                          "size": pd.Categorical(rng.choice([1, 5, 9], 3000)), "ratio": pd.Categorical(rng.choice([1.5, 2.0], 3000))})
    y = train.a + train.kind.cat.codes * (train["size"].astype(int) > 4) + train.ratio.astype(float)
    booster = lightgbm.train({"objective": "regression", "verbose": -1, "min_data_per_group": 10, "num_threads": 1}, lightgbm.Dataset(train, y), 20)
    booster.save_model(tmp_path / "m.txt")
    pack = myriad.open(tmp_path / "m.txt")
    assert pack.text_features == ["kind", "size", "ratio"]
    rows = train[:400].assign(kind=pd.Categorical(np.where(rng.random(400) < 0.2, "new", train.kind[:400].astype(str))))
    wanted = booster.predict(rows)
    plain = rows.astype({"kind": str, "size": int, "ratio": float})
    for table in (rows, plain, pl.from_pandas(plain), pa.Table.from_pandas(rows), plain.to_dict("records"), plain.astype({"size": "Int8"})):
        same(pack.predict(table), wanted)


# ---- the program's answers ----

def test_the_same_bits_as_batch_and_predict(fleet, pack, frame, tmp_path):
    frame.drop(columns="date").to_parquet(tmp_path / "rows.parquet")
    myriad_ = [str(BUILD / "myriad")]
    where = ["--workspace", fleet.registry.workspace, "--json"]
    subprocess.run([*myriad_, "batch", "run", "--fleet", "oj", "--input", tmp_path / "rows.parquet", "--output", tmp_path / "out", *where],
                   check=True, capture_output=True)
    import pyarrow.parquet
    scored = pa.concat_tables([pa.parquet.read_table(p) for p in sorted((tmp_path / "out").rglob("*.parquet"))]).to_pandas()
    found = pack.predict(frame, details=True)
    same(found.prediction, scored.prediction.to_numpy())
    for column in ("level", "status", "model"):
        assert found[column].tolist() == scored[column].tolist()
    for i in range(5):
        row = {k: v for k, v in frame.drop(columns="date").iloc[i].to_dict().items() if v == v}
        done = subprocess.run([*myriad_, "predict", "oj", "--row", json.dumps(row), *where], check=True, capture_output=True, text=True)
        assert json.loads(done.stdout)["prediction"] == found.prediction[i]


# ---- errors ----

def test_errors_name_what_is_wrong(fleet, pack, data, frame, tmp_path):
    stores, brands, matrix, _ = data
    say = [
        (lambda: myriad.open(tmp_path / "none.index"), myriad.NotFound, "none.index"),
        (lambda: myriad.open(__file__), myriad.BadFormat, "test_predict.py"),
        (lambda: pack.predict(matrix), myriad.BadInput, "keys are needed: store, brand"),
        (lambda: pack.predict(matrix[:, :4], keys=[stores, brands]), myriad.BadInput, "5 columns are needed"),
        (lambda: pack.predict(matrix, keys=[stores]), myriad.BadInput, "1 key columns, 2 are needed"),
        (lambda: pack.predict(matrix, keys=["store", "brand"]), myriad.BadInput, "an array per partition column"),
        (lambda: pack.predict(matrix, keys=[stores[:-1], brands]), myriad.BadInput, "'store' has 1999 rows"),
        (lambda: pack.predict(matrix, keys={"store": stores}), myriad.BadInput, "no column 'brand'"),
        (lambda: pack.predict(matrix.astype(str), keys=[stores, brands]), myriad.BadInput, "numbers are needed"),
        (lambda: pack.predict(matrix, model="store=9,brand=9"), myriad.NotFound, "store=9,brand=9"),
        (lambda: pack.predict(matrix, model="shop=9"), myriad.BadInput, "shop"),
        (lambda: pack.predict(matrix, model=8), myriad.BadInput, "there is no model 8, there are 8"),
        (lambda: pack.predict(matrix, model=0, output="shap"), myriad.BadInput, "one of value, margin"),
        (lambda: pack.predict(frame.drop(columns="price")), myriad.BadInput, "no column 'price', a feature"),
        (lambda: pack.predict(frame.drop(columns="store")), myriad.BadInput, "no column 'store', a partition column"),
        (lambda: pack.predict(pl.from_pandas(frame).drop("deal")), myriad.BadInput, "no column 'deal'"),
        (lambda: pack.predict(pd.concat([frame, frame[["price"]]], axis=1)), myriad.BadInput, "2 columns 'price'"),
        (lambda: pack.predict(frame, keys=["shop", "brand"]), myriad.BadInput, "no column 'shop'"),
        (lambda: pack.predict(frame.assign(price=pd.Timestamp("2026-01-01"))), myriad.Unsupported, "'price'"),
        (lambda: pack.predict(pa.Table.from_pandas(frame.assign(price=datetime.date(2026, 1, 1)))), myriad.Unsupported, "'tdD'"),
        (lambda: pack.predict({"price": [object()], **{n: [1] for n in (*FEATURES[1:], *KEYS)}}), myriad.BadInput, "'price' holds object"),
        (lambda: pack.predict({"price": [1, "a"], **{n: [1, 2] for n in (*FEATURES[1:], *KEYS)}}), myriad.BadInput, "'price' holds int, str"),
        (lambda: pack.predict({"price": 1, **{n: [1] for n in (*FEATURES[1:], *KEYS)}}), myriad.BadInput, "'price' is 1"),
        (lambda: pack.predict(pl.from_pandas(frame).lazy()), myriad.BadInput, "collect"),
        (lambda: pack.predict(object()), myriad.BadInput, "builtins.object"),
        (lambda: pack.predict(np.zeros((2, 2, 2))), myriad.BadInput, "shape (2, 2, 2)"),
    ]
    for call, kind, words in say:
        with pytest.raises(kind) as caught:
            call()
        assert words in str(caught.value), (words, str(caught.value))
        assert isinstance(caught.value, myriad.Error) and str(caught.value).startswith(caught.value.code)
    with pytest.raises(IndexError):
        pack.model(8)


def test_decimals_and_numpy_scalars_are_numbers(fleet, pack):
    row = {"price": decimal.Decimal("0.5"), "deal": np.float32(0.5), "feat": True, "week": np.int16(3), "income": 2, "store": np.int64(2), "brand": "a"}
    wanted = fleet.boosters[2, "a"].predict([[0.5, 0.5, 1, 3, 2]])
    same(pack.predict([row]), wanted)
