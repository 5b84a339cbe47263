"""Models of pandas DataFrames: text records give what the library's own Python gives for the frame, bit for bit.

Each model is trained on category columns, saved, imported and released. Frames with other orders of categories, with
values that training did not see, with None and NaN go to Booster.predict; the same rows go to `myriad` as a CSV, a
Parquet file, JSON rows over REST and `myriad predict`. LightGBM takes an unseen category as missing. XGBoost refuses
the frame, so there the wanted answer is that of the frame with None in its place.
"""
import importlib.util
import json
import os
import pathlib
import urllib.request

import numpy as np
import pytest


from conftest import ROOT, same_bits

lgb = pytest.importorskip("lightgbm")
xgb = pytest.importorskip("xgboost")
pd = pytest.importorskip("pandas")

spec = importlib.util.spec_from_file_location("system_conftest", ROOT / "tests" / "system" / "conftest.py")
system = importlib.util.module_from_spec(spec)
spec.loader.exec_module(system)

ROWS = 400
TEXTS = ["b", "a", "é\"x", "", ",;'", "7", "7.0", "true", "NA", " pad ", "new\tline", "日本", "🙂", "x" * 300]
LISTS = {
    "texts": TEXTS,
    "one": ["only"],
    "ints": [3, 1, 2, -7, 0],
    "wide": [10**17 + 1, 10**17 + 2, 5, -(2**62)],
    "floats": [0.5, 1.0, -0.0, 1e30, 0.1, 2.5e-7, float("inf")],
    "bools": [False, True],
}


def build_dir():
    build = pathlib.Path(os.environ.get("MYR_BUILD_DIR", "build-dev"))
    return build if build.is_absolute() else ROOT / build


@pytest.fixture
def myriad(tmp_path):
    program = system.Program(build_dir() / "myriad", tmp_path)
    program.run("init", ".")
    return program


def frame(rng, columns, rows=ROWS):
    """columns: {name: list of categories, or None for a number}."""
    data = {}
    for name, categories in columns.items():
        if categories is None:
            data[name] = rng.normal(size=rows)
        else:
            codes = rng.integers(0, len(categories), rows)
            codes[: len(categories)] = np.arange(len(categories))
            data[name] = pd.Categorical.from_codes(codes, categories=pd.Index(categories))
    return pd.DataFrame(data)


def target(rng, df):
    y = rng.normal(size=len(df)) * 0.1
    for name in df:
        y = y + (df[name].cat.codes * 1.7 % 5 if isinstance(df[name].dtype, pd.CategoricalDtype) else df[name])
    return np.asarray(y)


def train_lightgbm(rng, df, path, **params):
    settings = {"verbosity": -1, "min_data_in_leaf": 2, "min_data_per_group": 2, "cat_smooth": 1, "num_leaves": 16,
                "max_cat_to_onehot": 1, "num_threads": 1, "deterministic": True, **params}
    lgb.train(settings, lgb.Dataset(df, target(rng, df)), 8).save_model(path)
    return lgb.Booster(model_file=path)


def train_xgboost(rng, df, path, **params):
    data = xgb.DMatrix(df, target(rng, df), enable_categorical=True)
    booster = xgb.train({"max_depth": 5, "max_cat_to_onehot": 1, "nthread": 1, **params}, data, 8)
    booster.save_model(path)
    loaded = xgb.Booster()
    loaded.load_model(path)
    return loaded


def records(rng, columns, rows=60, strangers=()):
    """Rows as Python values, with None and unseen values among them; numbers have no None: CSV cells are shorter so."""
    out = []
    for _ in range(rows):
        row = {}
        for name, categories in columns.items():
            if categories is None:
                row[name] = float(rng.normal()) if rng.random() > 0.1 else None
                continue
            pick = rng.random()
            if pick < 0.1:
                row[name] = None
            elif pick < 0.3 and strangers:
                row[name] = strangers[rng.integers(len(strangers))]
            else:
                row[name] = categories[rng.integers(len(categories))]
        out.append(row)
    return out


def as_frame(rng, rows, columns):
    """The frame that somebody would score: only the categories that are there, in any order."""
    data = {}
    for name, categories in columns.items():
        values = [row[name] for row in rows]
        if categories is None:
            data[name] = np.array([np.nan if v is None else v for v in values], dtype=float)
        else:
            seen = list(dict.fromkeys(v for v in values if v is not None))
            rng.shuffle(seen)
            kind = object if not seen or any(isinstance(v, str) for v in seen) else None
            data[name] = pd.Series(pd.Categorical(values, categories=pd.Index(seen, dtype=kind)))
    return pd.DataFrame(data)


def release(myriad, path, columns, fleet="f", segment=""):
    myriad.run("model", "import", path, "--fleet", fleet, "--segment", segment)
    myriad.run("release", "create", fleet)


def by_batch(myriad, rows, kind, columns):
    """The rows as a file that pandas writes."""
    df = pd.DataFrame(rows, columns=list(columns))
    for name in df:  # pandas makes floats of integers with a gap: then 5 is written 5.0, and 10**17 + 1 is another number
        values = [row[name] for row in rows if row[name] is not None]
        if any(isinstance(v, int) and not isinstance(v, bool) and abs(v) > 2**53 for v in values):
            df[name] = pd.Series([row[name] for row in rows], dtype="Int64")
    path = myriad.cwd / f"rows.{kind}"
    if kind == "csv":
        df.to_csv(path, index=False)
    else:
        df.to_parquet(path, index=False)
    myriad.run("batch", "run", "--fleet", "f", "--input", path, "--output", "out", "--threads", "1")
    got = pd.read_parquet(next((myriad.cwd / "out").glob("*.parquet")))
    assert set(got["status"]) == {"ok"}
    return got["prediction"].to_numpy()


def finite(value):
    """JSON has no word for infinities: Python writes Infinity, which is not JSON."""
    return "inf" if value == float("inf") else value


def by_rest(url, rows):
    body = json.dumps({"rows": [{k: finite(v) for k, v in row.items()} for row in rows]}, allow_nan=False).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{url}/v1/fleets/f/score", body)) as answer:
        got = json.load(answer)["rows"]
    assert {row["status"] for row in got} == {"ok"}
    return np.array([row["prediction"] for row in got])


def by_infer(url, rows, columns):
    """V2, texts as BYTES; numbers as Python's shortest text."""
    inputs = []
    for name, categories in columns.items():
        values = [row[name] for row in rows]
        if categories is not None:
            values = [None if v is None else str(v) for v in values]
        inputs.append({"name": name, "shape": [len(rows)], "datatype": "FP64" if categories is None else "BYTES",
                       "data": values})
    with urllib.request.urlopen(f"{url}/v2/models/f") as answer:
        told = {i["name"]: i["datatype"] for i in json.load(answer)["inputs"]}
    assert told == {i["name"]: i["datatype"] for i in inputs}
    body = json.dumps({"inputs": inputs}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{url}/v2/models/f/infer", body)) as answer:
        return np.array(json.load(answer)["outputs"][0]["data"])


def expect_everywhere(myriad, rows, columns, want, kinds=("csv", "parquet")):
    for kind in kinds:
        got = by_batch(myriad, rows, kind, columns)
        assert same_bits(got, want).all(), (kind, [r for r, ok in zip(rows, same_bits(got, want)) if not ok][:3])
    with myriad.serving() as url:
        for got in (by_rest(url, rows), by_infer(url, rows, columns)):
            assert same_bits(got, want).all(), [r for r, ok in zip(rows, same_bits(got, want)) if not ok][:3]
    for row, wanted in list(zip(rows, want))[:3]:
        answer = myriad.json("predict", "f", "--row", json.dumps({k: finite(v) for k, v in row.items()}))
        assert same_bits([answer["prediction"]], [wanted]).all(), row


def strangers_of(categories):
    if isinstance(categories[0], bool):
        return []
    return ["unseen", "B", "A", "a "] if isinstance(categories[0], str) else [77, 78]


# An empty cell of a CSV is a missing value, so a list with "" can't be told by CSV.
def kinds_of(categories):
    if "" in categories:
        return ("parquet",)
    return ("csv", "parquet")


@pytest.mark.parametrize("name", LISTS)
def test_lightgbm(myriad, name):
    rng = np.random.default_rng(sum(map(ord, name)))
    columns = {"number": None, "name": LISTS[name]}
    path = myriad.cwd / "m.txt"
    booster = train_lightgbm(rng, frame(rng, columns), path)
    release(myriad, path, columns)
    rows = records(rng, columns, strangers=strangers_of(LISTS[name]))
    want = booster.predict(as_frame(rng, rows, columns), num_threads=1)
    assert len(set(want)) > 3
    expect_everywhere(myriad, rows, columns, want, kinds_of(LISTS[name]))


def test_lightgbm_of_all_lists_at_once(myriad, factor):
    """Several category columns in one model, a number among them."""
    columns = {"t": TEXTS, "n": None, "i": LISTS["ints"], "f": LISTS["floats"], "b": LISTS["bools"]}
    for seed in range(factor):
        rng = np.random.default_rng(seed)
        path = myriad.cwd / "m.txt"
        booster = train_lightgbm(rng, frame(rng, columns, 800), path)
        release(myriad, path, columns)
        rows = records(rng, columns, 200)
        want = booster.predict(as_frame(rng, rows, columns), num_threads=1)
        expect_everywhere(myriad, rows, columns, want, ("parquet",))


def test_lightgbm_of_float32_categories(myriad):
    """0.1 as a float is another number than 0.1; a frame of floats finds it, and so does a FLOAT column of Parquet."""
    rng = np.random.default_rng(5)
    categories = [np.float32(v) for v in (0.1, 0.2, 0.3)]
    df = pd.DataFrame({"name": pd.Categorical.from_codes(rng.integers(0, 3, ROWS), pd.Index(categories, dtype="float32")),
                       "number": rng.normal(size=ROWS)})
    path = myriad.cwd / "m.txt"
    booster = train_lightgbm(rng, df, path)
    release(myriad, path, {})
    single = pd.DataFrame({"name": pd.Series([0.1, 0.3, 0.2, 0.1], dtype="float32"), "number": np.zeros(4)})
    double = single.assign(name=pd.Series([0.1, 0.3, 0.2, 0.1]))
    for rows in (single, double):
        want = booster.predict(rows.assign(name=rows["name"].astype("category")), num_threads=1)
        rows.to_parquet(myriad.cwd / "rows.parquet", index=False)
        myriad.run("batch", "run", "--fleet", "f", "--input", "rows.parquet", "--output", "out", "--threads", "1")
        got = pd.read_parquet(next((myriad.cwd / "out").glob("*.parquet")))["prediction"]
        assert same_bits(got, want).all()
    assert len(set(want)) == 1  # the doubles are unseen


@pytest.mark.parametrize("name", ["texts", "ints", "wide"])
@pytest.mark.parametrize("suffix", ["json", "ubj"])
def test_xgboost(myriad, name, suffix):
    rng = np.random.default_rng(sum(map(ord, name)))
    categories = [c for c in LISTS[name] if not isinstance(c, str) or c.isascii()]
    columns = {"number": None, "name": categories}
    path = myriad.cwd / f"m.{suffix}"
    booster = train_xgboost(rng, frame(rng, columns), path)
    release(myriad, path, columns)
    rows = records(rng, columns)
    want = booster.predict(xgb.DMatrix(as_frame(rng, rows, columns), enable_categorical=True))
    assert len(set(want)) > 3
    expect_everywhere(myriad, rows, columns, want, kinds_of(categories))


def test_xgboost_cuts_names_beyond_ascii(myriad):
    """From pandas it counts characters where it means bytes: the frame's own library can't find its names in another
    order. We don't believe such names: texts are refused aloud, codes answer."""
    rng = np.random.default_rng(2)
    categories = ["Köln", "Oslo", "Århus"]
    path = myriad.cwd / "m.json"
    booster = train_xgboost(rng, frame(rng, {"number": None, "name": categories}), path)
    cats = json.loads(path.read_text())["learner"]["gradient_booster"]["model"]["cats"]["enc"][1]
    if len(bytes(b & 255 for b in cats["values"])) == len("".join(categories).encode()):
        pytest.skip("this XGBoost writes them right")
    release(myriad, path, {})
    code, message = myriad.fails("predict", "f", "--row", '{"number":0,"name":"Oslo"}')
    assert "'name' is \"Oslo\", not a number" in message
    names = pd.Categorical.from_codes([0, 1, 2], categories=categories)
    want = booster.predict(xgb.DMatrix(pd.DataFrame({"number": np.zeros(3), "name": names}), enable_categorical=True))
    got = [myriad.json("predict", "f", "--row", json.dumps({"number": 0, "name": k}))["prediction"] for k in range(3)]
    assert same_bits(got, want).all()


def test_xgboost_refuses_what_is_missing_here(myriad):
    rng = np.random.default_rng(3)
    columns = {"number": None, "name": ["b", "a", "c"]}
    path = myriad.cwd / "m.ubj"
    booster = train_xgboost(rng, frame(rng, columns), path)
    release(myriad, path, columns)
    rows = records(rng, columns, strangers=["unseen"])
    with pytest.raises(xgb.core.XGBoostError, match="category not in the training set"):
        booster.predict(xgb.DMatrix(as_frame(rng, rows, columns), enable_categorical=True))
    known = [{**row, "name": None if row["name"] == "unseen" else row["name"]} for row in rows]
    want = booster.predict(xgb.DMatrix(as_frame(rng, known, columns), enable_categorical=True))
    expect_everywhere(myriad, rows, columns, want)


def test_each_model_of_a_fleet_has_its_own_list(myriad):
    """Lists in other orders, features in another order, and both libraries side by side."""
    rng = np.random.default_rng(11)
    lists = {"1": ["red", "green", "blue"], "2": ["blue", "red", "pink"], "3": ["green", "grey"]}
    boosters = {}
    for store, categories in lists.items():
        order = ["colour", "number"] if store == "2" else ["number", "colour"]
        df = frame(rng, {"number": None, "colour": categories})[order]
        path = myriad.cwd / f"m{store}.{'ubj' if store == '3' else 'txt'}"
        boosters[store] = (train_xgboost if store == "3" else train_lightgbm)(rng, df, path)
        myriad.run("model", "import", path, "--fleet", "f", "--segment", f"store={store}")
    myriad.run("release", "create", "f")
    columns = {"number": None, "colour": ["red", "green", "blue", "pink", "grey"]}
    rows = [{**row, "store": int(rng.integers(1, 4))} for row in records(rng, columns, 90)]
    want = np.empty(len(rows))
    for store, booster in boosters.items():
        mine = [k for k, row in enumerate(rows) if str(row["store"]) == store]
        known = [{**rows[k], "colour": rows[k]["colour"] if rows[k]["colour"] in lists[store] else None} for k in mine]
        df = as_frame(rng, known, columns)
        if store == "3":
            want[mine] = booster.predict(xgb.DMatrix(df, enable_categorical=True))
        else:
            want[mine] = booster.predict(df[booster.feature_name()], num_threads=1)
    got = by_batch(myriad, rows, "csv", ["store", *columns])
    assert same_bits(got, want).all()
    with myriad.serving() as url:
        assert same_bits(by_rest(url, rows), want).all()
