"""Fleets whose models are partly ONNX Runtime's: by predict, batch and serve, bit for bit what onnxruntime's Python gives."""
import json
import os
import pathlib
import re
import struct
import warnings

import numpy as np
import pandas as pd
import pytest
import requests

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
pytest.importorskip("skl2onnx")

import lightgbm as lgb  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402
from skl2onnx import to_onnx  # noqa: E402
from skl2onnx.common.data_types import FloatTensorType, Int64TensorType, StringTensorType  # noqa: E402
from sklearn.cluster import KMeans  # noqa: E402
from sklearn.compose import ColumnTransformer  # noqa: E402
from sklearn.ensemble import GradientBoostingClassifier  # noqa: E402
from sklearn.linear_model import LogisticRegression  # noqa: E402
from sklearn.neural_network import MLPClassifier, MLPRegressor  # noqa: E402
from sklearn.pipeline import make_pipeline  # noqa: E402
from sklearn.preprocessing import OneHotEncoder, StandardScaler  # noqa: E402

warnings.filterwarnings("ignore")
FEATURES = [f"f{j}" for j in range(4)]


def bits(value):
    return struct.pack("<d", value)


def same(got, wanted):
    got, wanted = np.asarray(got, dtype=np.float64), np.asarray(wanted, dtype=np.float64)
    assert got.shape == wanted.shape
    assert (got.view(np.uint64) == wanted.view(np.uint64)).all(), (got[:5], wanted[:5])


def session(model):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model if isinstance(model, bytes) else str(model), options)


def run(model, feed, output=0):
    return session(model).run(None, feed)[output]


@pytest.fixture(scope="module")
def table():
    rng = np.random.default_rng(5)
    x = rng.normal(size=(300, 4)).astype(np.float32)
    return x, 2 * x[:, 0] + np.sin(x[:, 1]) * x[:, 2]


@pytest.fixture(scope="module")
def mlp(table):
    """A scaler and a network, of floats; and the same of doubles."""
    x, y = table
    model = make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(16, 8), max_iter=60, random_state=1)).fit(x, y)
    return {dtype: to_onnx(model, x[:1].astype(dtype)).SerializeToString() for dtype in (np.float32, np.float64)}


@pytest.fixture(scope="module")
def trees(table, tmp_path_factory):
    x, y = table
    path = tmp_path_factory.mktemp("lgb") / "trees.txt"
    data = lgb.Dataset(x.astype(np.float64), y, feature_name=FEATURES)
    booster = lgb.train({"verbosity": -1, "num_threads": 1, "num_leaves": 7, "min_data_in_leaf": 5}, data, 10)
    booster.save_model(path)
    return booster, path


def import_bytes(workspace, content, segment, fleet="f", **kwargs):
    path = workspace.cwd / "model.onnx"
    path.write_bytes(content)
    return workspace.run("model", "import", path, "--fleet", fleet, "--segment", segment, **kwargs)


def batch(workspace, frame, fleet="f", env=None, name="in.parquet"):
    """Rows in the order of `id`, and the report."""
    path = workspace.cwd / name
    frame.to_csv(path, index=False) if name.endswith(".csv") else frame.to_parquet(path)
    report = workspace.json("batch", "run", "--fleet", fleet, "--input", path, "--output", "out", env=env)
    files = list((workspace.cwd / "out").rglob("*.parquet"))
    got = pd.concat(pd.read_parquet(file) for file in files)
    got["id"] = got["id"].astype(int)  # kept cells of a CSV are texts
    return got.sort_values("id").reset_index(drop=True), report


@pytest.fixture
def mixed(workspace, mlp, trees):
    """LightGBM for segments 0 and 1, networks for 2 and 3, and one for all others."""
    for segment in (0, 1):
        workspace.run("model", "import", trees[1], "--fleet", "f", "--segment", f"s={segment}")
    import_bytes(workspace, mlp[np.float32], "s=2")
    import_bytes(workspace, mlp[np.float64], "s=3")
    import_bytes(workspace, mlp[np.float32], "")
    workspace.run("release", "create", "f")
    return workspace


def mixed_wanted(x, segments, mlp, trees):
    double = run(mlp[np.float64], {"X": x.astype(np.float64)})[:, 0]
    single = run(mlp[np.float32], {"X": x})[:, 0].astype(np.float64)
    leaves = trees[0].predict(x.astype(np.float64))
    return np.where(segments <= 1, leaves, np.where(segments == 3, double, single))


def test_one_fleet_of_both_kinds_gives_the_bits_of_both_libraries(mixed, table, mlp, trees):
    x = table[0]
    segments = np.arange(len(x)) % 5
    wanted = mixed_wanted(x, segments, mlp, trees)
    frame = pd.DataFrame(x.astype(np.float64), columns=FEATURES).assign(s=segments, id=np.arange(len(x)))
    got, report = batch(mixed, frame)
    same(got.prediction, wanted)
    assert report["statuses"]["ok"] == len(x) and "trouble" not in report
    for i in (0, 2, 3, 4):
        row = {name: float(x[i, j]) for j, name in enumerate(FEATURES)} | {"s": int(segments[i])}
        answer = mixed.json("predict", "f", "--row", json.dumps(row))
        assert bits(answer["prediction"]) == bits(wanted[i]) and answer["status"] == "ok"
        assert answer["level"] == ("global" if i == 4 else "segment")


def test_the_server_answers_both_kinds(mixed, table, mlp, trees):
    x = table[0][:60]
    segments = np.arange(len(x)) % 5
    wanted = mixed_wanted(table[0], np.arange(300) % 5, mlp, trees)[:60]
    rows = [{name: float(r[j]) for j, name in enumerate(FEATURES)} | {"s": int(s)} for r, s in zip(x, segments)]
    with mixed.serving() as url:
        for part in (rows, rows[:1], rows[2:3]):  # all; ours alone, on the loop; ONNX alone
            answer = requests.post(f"{url}/v1/fleets/f/score", json={"rows": part}, timeout=60)
            assert answer.status_code == 200, answer.text
            assert all(row["status"] == "ok" for row in answer.json()["rows"])
            first = rows.index(part[0])
            same([row["prediction"] for row in answer.json()["rows"]], wanted[first:first + len(part)])
        tensors = [{"name": "s", "shape": [60], "datatype": "INT64", "data": segments.tolist()},
                   {"name": "features", "shape": [60, 4], "datatype": "FP32", "data": x.astype(float).ravel().tolist()}]
        answer = requests.post(f"{url}/v2/models/f/infer", json={"inputs": tensors}, timeout=60)
        assert answer.status_code == 200, answer.text
        same(answer.json()["outputs"][0]["data"], wanted)
        metrics = requests.get(f"{url}/metrics", timeout=60).text
        count = sum(int(n) for n in re.findall(r'myriad_rows_total\{fleet="f",level="\w+",status="\w+"\} (\d+)', metrics))
        assert count == 60 + 1 + 1 + 60 and 'status="unavailable"' not in metrics  # what was asked again counts once


def test_without_the_library_the_others_are_answered(mixed, table, trees):
    x = table[0]
    env = {"MYRIAD_RUNTIME_ONNX_LIBRARY": "/nowhere/libonnxruntime.so"}
    frame = pd.DataFrame(x.astype(np.float64), columns=FEATURES).assign(s=np.arange(300) % 3, id=np.arange(300))
    got, report = batch(mixed, frame, env=env)
    assert report["statuses"]["ok"] == 200 and report["statuses"]["unavailable"] == 100
    assert "/nowhere/libonnxruntime.so" in report["trouble"] and "runtime.onnx.library" in report["trouble"]
    ours = got[got.s < 2]
    same(ours.prediction, trees[0].predict(x.astype(np.float64))[ours.id])
    assert got[got.s == 2].prediction.isna().all() and (got[got.s == 2].status == "unavailable").all()
    row = json.dumps({name: 1.0 for name in FEATURES} | {"s": 2})
    code, message = mixed.fails("predict", "f", "--row", row, env=env)
    assert code == 69 and "/nowhere/libonnxruntime.so" in message
    (mixed.cwd / "myriad.yaml").write_text("runtime:\n  onnx:\n    library: /elsewhere.so\n")
    assert "/elsewhere.so" in mixed.fails("predict", "f", "--row", row)[1]
    with mixed.serving(env=env) as url:
        answer = requests.post(f"{url}/v1/fleets/f/score", json={"rows": [json.loads(row), {**json.loads(row), "s": 0}]}, timeout=60)
        assert [r["status"] for r in answer.json()["rows"]] == ["unavailable", "ok"]
        tensors = [{"name": "s", "shape": [1], "datatype": "INT64", "data": [2]},
                   {"name": "features", "shape": [1, 4], "datatype": "FP64", "data": [1, 1, 1, 1]}]
        answer = requests.post(f"{url}/v2/models/f/infer", json={"inputs": tensors}, timeout=60)
        assert answer.status_code == 503 and "/nowhere/libonnxruntime.so" in answer.text


def test_an_import_without_the_library_says_so(workspace, mlp):
    path = workspace.cwd / "m.onnx"
    path.write_bytes(mlp[np.float32])
    code, message = workspace.fails("model", "import", path, "--fleet", "f", "--segment", "",
                                    env={"MYRIAD_RUNTIME_ONNX_LIBRARY": "/nowhere.so"})
    assert code == 69 and "/nowhere.so" in message and "m.onnx" in message
    (workspace.cwd / "myriad.yaml").write_text("runtime:\n  onnx:\n    bytes-may: 1GiB\n")
    code, message = workspace.fails("model", "import", path, "--fleet", "f", "--segment", "")
    assert code == 64 and "bytes-may" in message and "bytes-max" in message


# ---- inputs and outputs ----

COLORS = ["red", "green", "größer", ""]


@pytest.fixture(scope="module")
def shop():
    rng = np.random.default_rng(7)
    frame = pd.DataFrame({"price": rng.normal(size=200).astype(np.float32), "color": rng.choice(COLORS, 200),
                          "size": rng.integers(1, 4, 200)})
    encode = ColumnTransformer([("n", StandardScaler(), ["price"]), ("c", OneHotEncoder(handle_unknown="ignore"), ["color", "size"])])
    target = (frame.price + (frame.color == "red") + frame["size"] > 2).astype(int)
    return frame, encode, target


@pytest.mark.parametrize("zipmap", [False, True])
def test_texts_integers_and_classes(workspace, shop, zipmap):
    frame, encode, target = shop
    kind = MLPClassifier(hidden_layer_sizes=(5,), max_iter=50, random_state=1)
    model = make_pipeline(encode, kind).fit(frame, target + 2 * (frame.color == "green"))  # four classes
    types = [("price", FloatTensorType([None, 1])), ("color", StringTensorType([None, 1])), ("size", Int64TensorType([None, 1]))]
    content = to_onnx(model, initial_types=types, options={id(kind): {"zipmap": zipmap}}).SerializeToString()
    import_bytes(workspace, content, "")
    workspace.run("release", "create", "f")
    feed = {"price": frame[["price"]].to_numpy(np.float32), "color": frame[["color"]].to_numpy(object),
            "size": frame[["size"]].to_numpy(np.int64)}
    wanted = run(content, feed, 1)
    wanted = np.array([[row[k] for k in sorted(row)] for row in wanted]) if zipmap else wanted
    for name in ("in.parquet", "in.csv"):
        got, report = batch(workspace, frame.assign(id=np.arange(200)), name=name)
        assert report["statuses"]["ok"] == 200, report
        for k in range(wanted.shape[1]):
            same(got[f"prediction_{k}"], wanted[:, k].astype(np.float64))
    row = {"price": float(frame.price[3]), "color": frame.color[3], "size": int(frame["size"][3])}
    same(workspace.json("predict", "f", "--row", json.dumps(row))["prediction"], wanted[3].astype(np.float64))
    for bad in ({**row, "size": 1.5}, {**row, "size": None}):
        code, message = workspace.fails("predict", "f", "--row", json.dumps(bad))
        assert code == 65 and "bad_input" not in message and "feature of the row" in message


def test_a_row_that_the_model_refuses_harms_no_other(workspace, shop):
    frame, _, target = shop
    words = np.where(frame.color == "", "blue", frame.color).reshape(-1, 1)
    model = make_pipeline(OneHotEncoder(handle_unknown="error"), LogisticRegression()).fit(words, target)
    content = to_onnx(model, initial_types=[("color", StringTensorType([None, 1]))],
                      options={id(model[-1]): {"zipmap": False}}).SerializeToString()
    done = import_bytes(workspace, content, "", ok=False)
    assert done.returncode == 0, done.stderr
    workspace.run("release", "create", "f")
    column = words[:, 0].copy()
    column[17] = "mauve"
    fine = np.arange(200) != 17
    wanted = run(content, {"color": words.astype(object)}, 1)[:, 0].astype(np.float64)
    features = re.findall(r'"features":\[(.*?)\]', read_description(workspace))[0].strip('"')
    got, report = batch(workspace, pd.DataFrame({features: column, "id": np.arange(200)}))
    same(got.prediction_0[fine], wanted[fine])
    known = session(content)
    try:
        known.run(None, {"color": np.array([["mauve"]], dtype=object)})
    except Exception:  # noqa: BLE001: whatever it is, ONNX Runtime refuses the word
        assert report["statuses"]["bad_input"] == 1 and got.status[17] == "bad_input"


def read_description(workspace):
    for path in (workspace.cwd / "artifacts").rglob("*"):
        if path.is_file() and path.read_bytes().startswith(b'{"format":"myriad-external"'):
            return path.read_text()
    raise AssertionError("no description of a model for a runtime")


def graph_model(nodes, inputs, outputs, weights=()):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(weights))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def test_any_number_of_columns_takes_those_that_are_named(workspace):
    model = graph_model([helper.make_node("Exp", ["x"], ["e"]), helper.make_node("ReduceSum", ["e", "axes"], ["y"])],
                        [helper.make_tensor_value_info("x", TensorProto.DOUBLE, [None, None])],
                        [helper.make_tensor_value_info("y", TensorProto.DOUBLE, [None, 1])],
                        [numpy_helper.from_array(np.array([1], dtype=np.int64), "axes")])
    content = model.SerializeToString()
    path = workspace.cwd / "model.onnx"
    path.write_bytes(content)
    code, message = workspace.fails("model", "import", path, "--fleet", "f", "--segment", "")
    assert code == 65 and "--features" in message
    workspace.run("model", "import", path, "--fleet", "f", "--segment", "", "--features", "a,b,c")
    workspace.run("release", "create", "f")
    x = np.random.default_rng(3).normal(size=(50, 3))
    got, _ = batch(workspace, pd.DataFrame(x, columns=["a", "b", "c"]).assign(id=np.arange(50)))
    same(got.prediction, run(content, {"x": x})[:, 0])


def test_outputs_of_floats_stand_side_by_side(workspace, table):
    x = table[0]
    model = KMeans(3, n_init=1, random_state=1).fit(x)
    content = to_onnx(model, x[:1]).SerializeToString()  # label (int64) and three distances
    import_bytes(workspace, content, "")
    workspace.run("release", "create", "f")
    got, _ = batch(workspace, pd.DataFrame(x.astype(float), columns=FEATURES).assign(id=np.arange(300)))
    wanted = run(content, {"X": x}, 1)
    for k in range(3):
        same(got[f"prediction_{k}"], wanted[:, k].astype(np.float64))


def test_a_float16_input_is_refused_by_name(workspace):
    model = graph_model([helper.make_node("Cast", ["tiny"], ["y"], to=TensorProto.FLOAT)],
                        [helper.make_tensor_value_info("tiny", TensorProto.FLOAT16, [None, 2])],
                        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 2])])
    path = workspace.cwd / "half.onnx"
    path.write_bytes(model.SerializeToString())
    code, message = workspace.fails("model", "import", path, "--fleet", "f", "--segment", "")
    assert code == 69 and "tiny" in message and "half.onnx" in message


def test_classifiers_of_both_kinds_give_both_probabilities(workspace, table):
    """Boosted trees become ours, a network does not; two classes are two values in both."""
    x, y = table
    trees = GradientBoostingClassifier(n_estimators=8, max_depth=3, random_state=1).fit(x, y > 0)
    net = MLPClassifier(hidden_layer_sizes=(6,), max_iter=30, random_state=1).fit(x, y > 0)
    contents = [to_onnx(m, x[:1], options={id(m): {"zipmap": False}}).SerializeToString() for m in (trees, net)]
    for segment, content in enumerate(contents):
        import_bytes(workspace, content, f"s={segment}")
    algorithms = [m["algorithm"] for m in workspace.json("model", "list", "--fleet", "f")]
    assert sorted(algorithms) == ["onnx", "onnxruntime"], algorithms
    workspace.run("release", "create", "f")
    segments = np.arange(300) % 2
    got, report = batch(workspace, pd.DataFrame(x.astype(float), columns=FEATURES).assign(s=segments, id=np.arange(300)))
    assert report["statuses"]["ok"] == 300
    for k in range(2):
        wanted = np.where(segments == 0, run(contents[0], {"X": x}, 1)[:, k], run(contents[1], {"X": x}, 1)[:, k])
        same(got[f"prediction_{k}"], wanted.astype(np.float64))


def test_version_says_which_library(workspace):
    answer = workspace.json("version")
    assert answer["onnxruntime"]["version"] and "libonnxruntime" in answer["onnxruntime"]["path"]
    answer = workspace.json("version", env={"MYRIAD_RUNTIME_ONNX_LIBRARY": "/nowhere.so"})
    assert answer["onnxruntime"]["version"] is None and "/nowhere.so" in answer["onnxruntime"]["error"]
    assert "ONNX Runtime" in workspace.run("version").stdout


# ---- external data ----

def dense(width, depth, seed, location=None):
    """y = tanh(x W) v, with W of width x depth floats in another file if a location is given."""
    rng = np.random.default_rng(seed)
    w = numpy_helper.from_array(rng.normal(size=(width, depth)).astype(np.float32), "w")
    v = numpy_helper.from_array(rng.normal(size=(depth, 1)).astype(np.float32), "v")
    data = w.raw_data
    if location is not None:
        onnx.external_data_helper.set_external_data(w, location)
        w.ClearField("raw_data")
        w.data_location = TensorProto.EXTERNAL
    model = graph_model([helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Tanh", ["h"], ["t"]),
                         helper.make_node("MatMul", ["t", "v"], ["y"])],
                        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [None, width])],
                        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])], [w, v])
    return model.SerializeToString(), data


def test_external_data_comes_along(workspace, table):
    x = table[0]
    content, data = dense(4, 64, 1, "weights/w.bin")
    home = workspace.cwd / "home"
    (home / "weights").mkdir(parents=True)
    (home / "model.onnx").write_bytes(content)
    (home / "weights" / "w.bin").write_bytes(data)
    wanted = run(home / "model.onnx", {"x": x})[:, 0].astype(np.float64)
    workspace.run("model", "import", home / "model.onnx", "--fleet", "f", "--segment", "")
    again = workspace.json("model", "import", home / "model.onnx", "--fleet", "f", "--segment", "")
    assert again["reused"] == 1
    (home / "weights" / "w.bin").unlink()  # what was imported is whole
    workspace.run("release", "create", "f")
    got, _ = batch(workspace, pd.DataFrame(x.astype(float), columns=FEATURES).assign(id=np.arange(300)))
    same(got.prediction, wanted)


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/hostname", "weights/../../secret.bin", "./w.bin", "link.bin",
                                      "linked/secret.bin", "", "weights\\w.bin", "gone.bin"])
def test_external_data_stays_in_the_models_directory(workspace, location):
    content, data = dense(4, 8, 1, location)
    home = workspace.cwd / "home"
    home.mkdir()
    (workspace.cwd / "secret.bin").write_bytes(data)
    (home / "w.bin").write_bytes(data)
    (home / "link.bin").symlink_to("../secret.bin")
    (home / "linked").symlink_to("..")
    (home / "model.onnx").write_bytes(content)
    code, message = workspace.fails("model", "import", home / "model.onnx", "--fleet", "f", "--segment", "")
    assert code in (65, 66, 77), message
    assert "model.onnx" in message
    assert not any((workspace.cwd / "artifacts").rglob("*/*")), "nothing was stored"


def test_a_link_inside_the_directory_is_followed(workspace):
    content, data = dense(4, 8, 1, "link.bin")
    home = workspace.cwd / "home"
    (home / "blobs").mkdir(parents=True)
    (home / "blobs" / "w").write_bytes(data)
    (home / "link.bin").symlink_to("blobs/w")
    (home / "model.onnx").write_bytes(content)
    workspace.run("model", "import", home / "model.onnx", "--fleet", "f", "--segment", "")


def test_a_damaged_artifact_breaks_its_rows_alone(mixed, table, trees, mlp):
    import hashlib
    name = hashlib.sha256(mlp[np.float64]).hexdigest()
    path = mixed.cwd / "artifacts" / name[:2] / name[2:]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    os.chmod(path, 0o644)
    path.write_bytes(content)
    x = table[0]
    frame = pd.DataFrame(x.astype(np.float64), columns=FEATURES).assign(s=np.arange(300) % 4, id=np.arange(300))
    got, report = batch(mixed, frame)
    assert report["statuses"]["ok"] == 225 and report["statuses"]["broken_model"] == 75
    assert (got[got.s == 3].status == "broken_model").all() and "damaged" in report["trouble"]


# ---- the budget ----

def test_a_budget_of_a_third_answers_all(workspace):
    count, width, depth = 9, 64, 4096  # 1 MiB of weights each
    (workspace.cwd / "myriad.yaml").write_text("runtime:\n  onnx:\n    bytes-max: 6MiB\n")
    wanted, x = [], np.random.default_rng(9).normal(size=(90, width)).astype(np.float32)
    for i in range(count):
        content, _ = dense(width, depth, i)
        import_bytes(workspace, content, f"s={i}")
        wanted.append(run(content, {"x": x})[:, 0].astype(np.float64))
    workspace.run("release", "create", "f")
    segments = np.arange(90) % count
    names = [f"f{j}" for j in range(width)]
    frame = pd.DataFrame(x.astype(float), columns=names).assign(s=segments, id=np.arange(90))
    got, report = batch(workspace, frame)
    assert report["statuses"]["ok"] == 90
    expected = np.array([wanted[s][i] for i, s in enumerate(segments)])
    np.testing.assert_allclose(got.prediction, expected, rtol=1e-5)  # other rows stand beside each row
    rows = [{name: float(v) for name, v in zip(names, x[i])} | {"s": int(segments[i])} for i in range(90)]
    with workspace.serving() as url:
        answer = requests.post(f"{url}/v1/fleets/f/score", json={"rows": rows}, timeout=120).json()["rows"]
        assert [r["status"] for r in answer] == ["ok"] * 90
        same([r["prediction"] for r in answer], got.prediction)


def test_a_model_above_the_budget_is_refused_when_it_comes(workspace):
    (workspace.cwd / "myriad.yaml").write_text("runtime:\n  onnx:\n    bytes-max: 1MiB\n")
    path = workspace.cwd / "model.onnx"
    path.write_bytes(dense(64, 8192, 1)[0])
    code, message = workspace.fails("model", "import", path, "--fleet", "f", "--segment", "")
    assert code == 65 and "runtime.onnx.bytes-max" in message


def test_a_model_that_cannot_be_run_leaves_its_rows_to_the_next_level(workspace, mlp, trees):
    """`degrade: {infer: next_level}` of docs/service.md; without it, and where no level is left, the row is unavailable."""
    import_bytes(workspace, mlp[np.float32], "s=2")
    import_bytes(workspace, mlp[np.float32], "s=3")
    workspace.run("model", "import", trees[1], "--fleet", "f", "--segment", "")
    workspace.run("release", "create", "f")
    row = {name: 1.0 for name in FEATURES}
    rows = [{**row, "s": 2}, {**row, "s": 0}]
    wanted = float(trees[0].predict(np.ones((1, 4)))[0])
    env = {"MYRIAD_RUNTIME_ONNX_LIBRARY": "/nowhere/libonnxruntime.so"}
    (workspace.cwd / "next.yaml").write_text("fleets: {f: {degrade: {infer: next_level}}}\n")
    (workspace.cwd / "own.yaml").write_text("fleets: {f: {fallback: segment, degrade: {infer: next_level}}}\n")
    for service, first in (("next.yaml", ("ok", "global", wanted, "its model can't be run now")),
                           ("own.yaml", ("unavailable", "segment", None, "its model can't be run now"))):
        with workspace.serving("--service", service, env=env) as url:
            got = requests.post(f"{url}/v1/fleets/f/score", json={"rows": rows}, timeout=60).json()["rows"]
        assert (got[0]["status"], got[0]["level"], got[0]["prediction"], got[0].get("message")) == first
        assert got[1]["prediction"] == (wanted if service == "next.yaml" else None)
    with workspace.serving("--service", "next.yaml") as url:  # with the library each is answered by its own
        got = requests.post(f"{url}/v1/fleets/f/score", json={"rows": rows}, timeout=60).json()["rows"]
    assert [r["level"] for r in got] == ["segment", "global"] and "message" not in got[0]


def test_a_row_that_falls_to_a_network_is_answered_by_it(workspace, table, mlp):
    """The segment's model is ours and breaks a rule; the next level runs in ONNX Runtime, which no event loop may wait for."""
    x = table[0][:2]
    own = {"format": "myriad-linear", "version": 1, "features": FEATURES, "intercept": -1e6, "weights": [0] * len(FEATURES)}
    (workspace.cwd / "own.json").write_text(json.dumps(own))
    workspace.run("model", "import", "own.json", "--fleet", "f", "--segment", "s=0")
    import_bytes(workspace, mlp[np.float32], "")
    workspace.run("release", "create", "f")
    (workspace.cwd / "s.yaml").write_text("fleets:\n  f:\n    validate: {output: {min: -1000, on_violation: fallback}}\n")
    wanted = run(mlp[np.float32], {"X": x})[:, 0].astype(np.float64)
    rows = [{name: float(r[j]) for j, name in enumerate(FEATURES)} | {"s": 0} for r in x]
    with workspace.serving("--service", "s.yaml") as url:
        answers = requests.post(f"{url}/v1/fleets/f/score", json={"rows": rows}).json()["rows"]
    assert [(row["status"], row["level"]) for row in answers] == [("ok", "global")] * 2, answers
    same([row["prediction"] for row in answers], wanted)
