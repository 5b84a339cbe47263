"""ONNX models that take files: their bytes go in, one file at a time, as docs/onnx.md promises."""
import json

import numpy as np
import onnx
import pytest
import requests
from onnx import TensorProto, helper, numpy_helper

from test_batch_code import by_file, files_job


def bytes_model(path, length=None, inputs=1, shape=(None,)):
    """The mean and the largest byte of a file; with a length: of so many bytes alone."""
    nodes = [helper.make_node("Cast", ["raw"], ["x"], to=TensorProto.FLOAT),
             helper.make_node("ReduceMean", ["x"], ["mean"], axes=[0]), helper.make_node("ReduceMax", ["x"], ["most"], axes=[0]),
             helper.make_node("Concat", ["mean", "most"], ["y"], axis=0)]
    if length:
        nodes[:1] = [helper.make_node("Reshape", ["raw", "shape"], ["fixed"]), helper.make_node("Cast", ["fixed"], ["x"], to=TensorProto.FLOAT)]
    names = ["raw", "other"][:inputs]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info(name, TensorProto.UINT8, list(shape)) for name in names],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
                              [numpy_helper.from_array(np.array([length or 1], np.int64), "shape")] if length else [])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))


def every_byte(path):
    """As many values as a file has bytes, which is one for the file of the probe."""
    graph = helper.make_graph([helper.make_node("Cast", ["raw"], ["y"], to=TensorProto.FLOAT)], "g",
                              [helper.make_tensor_value_info("raw", TensorProto.UINT8, [None])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None])])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(path))


def fleet(workspace, **more):
    bytes_model(workspace.cwd / "net.onnx", **more)
    workspace.run("model", "import", "net.onnx", "--fleet", "f", "--segment", "")
    workspace.run("release", "create", "f")


def blobs(workspace, count=9):
    """Any bytes: of any length, none at all, in names with what names may have."""
    rng, found = np.random.default_rng(3), {}
    for i in range(count):
        path = workspace.cwd / "pictures" / f"{i % 2}" / f"p {i:02d}, “x”.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(rng.integers(0, 256, size=1 + i * 1000, dtype=np.uint8).tobytes())
        found[str(path)] = np.frombuffer(path.read_bytes(), np.uint8)
    return found


WHERE = {"here": {"MYRIAD_RUNTIME_ONNX_ISOLATE": "0"}, "apart": {"MYRIAD_RUNTIME_ONNX_ISOLATE": "1", "MYRIAD_RUNTIME_ONNX_ISOLATE_MEMORY": "0"}}


@pytest.mark.parametrize("where", WHERE)
def test_files_go_into_a_network(workspace, where):
    """In the worker's own process, and in one of its own."""
    fleet(workspace)
    found = blobs(workspace)
    files_job(workspace, mini_batch_size="4 files")
    report = workspace.json("batch", "run", "job.yaml", env=WHERE[where])
    answers = by_file(workspace)
    assert sorted(answers) == sorted(found) and report["mini_batches"] == 3
    for path, data in found.items():
        assert answers[path]["status"] == "ok" and float(answers[path]["prediction_1"]) == data.max()
        assert abs(float(answers[path]["prediction_0"]) - data.astype(np.float64).mean()) < 1e-2
    assert workspace.json("batch", "run", "job.yaml")["unchanged"] is True


@pytest.mark.parametrize("where", WHERE)
def test_a_file_that_the_network_refuses_stands_alone(workspace, where):
    fleet(workspace, length=4001)
    found = blobs(workspace)
    files_job(workspace)
    workspace.run("batch", "run", "job.yaml", env=WHERE[where])
    answers = by_file(workspace)
    assert {path: row["status"] for path, row in answers.items()} == {path: "ok" if len(data) == 4001 else "bad_input" for path, data in found.items()}
    assert [row["status"] for row in answers.values()].count("ok") == 1


def test_a_file_with_another_number_of_values_stands_alone(workspace):
    every_byte(workspace.cwd / "net.onnx")
    workspace.run("model", "import", "net.onnx", "--fleet", "f", "--segment", "")
    workspace.run("release", "create", "f")
    found = blobs(workspace)
    files_job(workspace)
    workspace.run("batch", "run", "job.yaml")
    assert {path: row["status"] for path, row in by_file(workspace).items()} == {path: "ok" if len(data) == 1 else "bad_input" for path, data in found.items()}


def test_nobody_else_may_name_files(workspace):
    fleet(workspace)
    answer = workspace.run("predict", "f", "--row", '{"file":"/etc/passwd"}', "--json", ok=False)
    assert json.loads(answer.stdout or "{}").get("prediction") is None
    with workspace.serving() as url:
        answer = requests.post(f"{url}/v1/fleets/f/score", json={"rows": [{"file": "/etc/passwd"}]}, timeout=60)
        assert answer.json()["rows"][0]["status"] == "unavailable" and answer.json()["rows"][0]["prediction"] in (None, [None, None])
    (workspace.cwd / "in.csv").write_text("file\n/etc/passwd\n")
    files_job(workspace, input="in.csv", mini_batch_size=10)
    report = workspace.json("batch", "run", "job.yaml")
    assert report["statuses"]["unavailable"] == 1 and "input: {items: " in report["trouble"]


def test_what_is_refused_at_import(workspace):
    bytes_model(workspace.cwd / "two.onnx", inputs=2)
    assert "which are a file: it must be the only one" in workspace.fails("model", "import", "two.onnx", "--fleet", "f", "--segment", "", "--features", "a,b")[1]
    bytes_model(workspace.cwd / "large.onnx", shape=[(1 << 30) + 1])
    assert "is a file of 1073741825 bytes, 1 to 1073741824 can be read" in workspace.fails("model", "import", "large.onnx", "--fleet", "f", "--segment", "")[1]
    bytes_model(workspace.cwd / "net.onnx")
    assert "leave out --features" in workspace.fails("model", "import", "net.onnx", "--fleet", "f", "--segment", "", "--features", "a")[1]
    workspace.run("model", "import", "net.onnx", "--fleet", "f", "--segment", "", "--features", "file")
