"""Large ONNX models run in processes of their own (runtime.onnx.isolate): the same bits, and what crashes, hangs or hoards takes
its own rows alone."""
import json
import os
import pathlib
import signal
import time

import pytest
import requests

from conftest import linear
from test_rules import eventually
from test_score_py import pid_is_there

onnx = pytest.importorskip("onnx")
import onnx.external_data_helper  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import numpy as np  # noqa: E402

# One byte is large enough here. The sanitizer maps terabytes, so the limit of address space is tested by what a run is given.
ISOLATED = {"MYRIAD_RUNTIME_ONNX_ISOLATE": "1", "MYRIAD_RUNTIME_ONNX_ISOLATE_MEMORY": "0", "MYRIAD_RUNTIME_ONNX_ISOLATE_TIMEOUT": "6s"}


def write_model(path, external=False):
    """y = 3 f0 + 0.1, after `loops` turns of a loop and with `hoard` floats in memory (both 0 for a row of zeros)."""
    turn = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Add", ["v", "one"], ["v_next"])], "turn",
        [helper.make_tensor_value_info("i", TensorProto.INT64, []), helper.make_tensor_value_info("go", TensorProto.BOOL, []),
         helper.make_tensor_value_info("v", TensorProto.FLOAT, [])],
        [helper.make_tensor_value_info("go_on", TensorProto.BOOL, []), helper.make_tensor_value_info("v_next", TensorProto.FLOAT, [])])
    nodes = [helper.make_node("ReduceMax", ["loops"], ["most"], keepdims=0), helper.make_node("Cast", ["most"], ["trips"], to=TensorProto.INT64),
             helper.make_node("Loop", ["trips", "yes", "zero"], ["turned"], body=turn),
             helper.make_node("ReduceMax", ["hoard"], ["much"], keepdims=0), helper.make_node("Cast", ["much"], ["count"], to=TensorProto.INT64),
             helper.make_node("Reshape", ["count", "shape_one"], ["counts"]), helper.make_node("ConstantOfShape", ["counts"], ["heap"]),
             helper.make_node("ReduceSum", ["heap"], ["sum"], keepdims=0), helper.make_node("Add", ["turned", "sum"], ["all"]),
             helper.make_node("Mul", ["all", "zero"], ["nothing"]), helper.make_node("Mul", ["f0", "weight"], ["scaled"]),
             helper.make_node("Add", ["scaled", "bias"], ["biased"]), helper.make_node("Add", ["biased", "nothing"], ["y"])]
    constants = {"yes": np.array(True), "zero": np.float32(0), "one": np.float32(1), "shape_one": np.array([1], np.int64),
                 "weight": np.array([[3]], np.float32), "bias": np.array([[0.1]], np.float32)}
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info(n, TensorProto.FLOAT, [None, 1]) for n in ("f0", "loops", "hoard")],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])],
                              [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    for tensor in model.graph.initializer:
        if external and tensor.name == "weight":
            onnx.external_data_helper.set_external_data(tensor, "weights.bin")
    onnx.save(model, str(path))


@pytest.fixture
def fleet(workspace):
    """store=1 is the network, store=2 and everything else are flat."""
    write_model(workspace.cwd / "net.onnx")
    (workspace.cwd / "flat.json").write_text(linear(["f0", "loops", "hoard"], 5.0, [1.0, 0, 0]))
    workspace.run("model", "import", "net.onnx", "--fleet", "f", "--segment", "store=1", "--features", "f0,loops,hoard")
    workspace.run("model", "import", "flat.json", "--fleet", "f", "--segment", "store=2")
    workspace.run("model", "import", "flat.json", "--fleet", "f", "--segment", "")
    workspace.run("release", "create", "f")
    return workspace


def row(f0=1.5, store=1, loops=0, hoard=0):
    return {"store": store, "f0": f0, "loops": loops, "hoard": hoard}


def ask(url, *rows):
    answer = requests.post(f"{url}/v1/fleets/f/score", json={"rows": rows}, headers={"X-Deadline-Ms": "60000"}, timeout=90)
    assert answer.status_code == 200, answer.text
    return answer.json()["rows"]


def workers(pid):
    """Processes of this server that hold a model."""
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if b"onnx-worker" in path.read_bytes() and f"\nPPid:\t{pid}\n" in (path.parent / "status").read_text():
                found.append(int(path.parent.name))
        except OSError:
            pass
    return found


def test_the_same_bits_from_another_process(fleet):
    rows = [row(f0=i / 7, store=1 + i % 2) for i in range(3000)]
    with fleet.serving() as url:
        here = ask(url, *rows)
        assert workers(url.pid) == [], "small models stay"
    with fleet.serving(env=ISOLATED) as url:
        assert ask(url, *rows) == here and len(workers(url.pid)) == 1
        (missing,) = ask(url, {"store": 1, "loops": 0, "hoard": 0})
        assert missing["prediction"] is None and missing["status"] == "ok"
    assert here[0]["prediction"] == float(np.float32(0) * np.float32(3) + np.float32(0.1))
    told = json.loads(fleet.run("predict", "f", "--row", json.dumps(rows[2]), "--json", env=ISOLATED).stdout)
    assert told["prediction"] == here[2]["prediction"]


def test_external_data_comes_along(workspace):
    write_model(workspace.cwd / "net.onnx", external=True)
    assert (workspace.cwd / "weights.bin").exists()
    workspace.run("model", "import", "net.onnx", "--fleet", "f", "--segment", "", "--features", "f0,loops,hoard")
    workspace.run("release", "create", "f")
    with workspace.serving(env=ISOLATED) as url:
        (answer,) = ask(url, {"f0": 2, "loops": 0, "hoard": 0})
        assert abs(answer["prediction"] - 6.1) < 1e-6 and len(workers(url.pid)) == 1


def test_what_fails_is_contained(fleet):
    with fleet.serving(env=ISOLATED) as url:
        wanted = ask(url, row())[0]["prediction"]
        (pid,) = workers(url.pid)
        for bad, part in ((row(hoard=1e12), "Failed to allocate"), (row(loops=1e15), "a run took more than 6000 ms: its worker was ended")):
            begin = time.monotonic()
            failed, other = ask(url, bad, row(store=2))
            assert failed["status"] == "unavailable" and failed["prediction"] is None, failed
            assert (other["status"], other["prediction"]) == ("ok", 6.5) and time.monotonic() - begin < 40
            assert eventually(lambda: ask(url, row())[0]["prediction"] == wanted), "it comes back"
            body = {"inputs": [{"name": name, "shape": [1], "datatype": "FP64", "data": [value]} for name, value in bad.items() if name != "store"]}
            answer = requests.post(f"{url}/v2/models/f@store=1/infer", json=body, headers={"X-Deadline-Ms": "60000"}, timeout=90)
            assert answer.status_code == 503 and ("ONNX: " in answer.json()["error"]), answer.text
            assert part in answer.json()["error"] or "hoard" in str(bad), answer.text
            assert eventually(lambda: ask(url, row())[0]["prediction"] == wanted)
        assert not pid_is_there(pid), "the one that hung was ended"
        (pid,) = workers(url.pid)
        os.kill(pid, signal.SIGSEGV)  # as a broken file would
        assert eventually(lambda: not pid_is_there(pid))
        assert ask(url, row(), row(store=2))[1]["prediction"] == 6.5
        assert eventually(lambda: ask(url, row())[0]["prediction"] == wanted)
        (pid,) = workers(url.pid)
    assert eventually(lambda: not pid_is_there(pid), 5), "it ends with its server"


def test_a_damaged_model_is_its_own_worker_s_trouble(fleet):
    for path in (fleet.cwd / "artifacts").rglob("*"):
        if path.is_file() and b"ConstantOfShape" in path.read_bytes():
            path.chmod(0o600)
            path.write_bytes(path.read_bytes()[:-40] + bytes(40))
    with fleet.serving(env=ISOLATED) as url:
        failed, other = ask(url, row(), row(store=2))
        assert failed["status"] in ("broken_model", "unavailable") and other["prediction"] == 6.5


def test_a_worker_is_nothing_to_be_called(myriad):
    done = myriad.run("onnx-worker", ok=False)
    assert done.returncode == 64 and "started by myriad alone" in done.stderr
    done = myriad.run("onnx-worker", "", "1", "1000000", "3", "1", "none.onnx", ok=False)
    assert done.returncode != 0 and "Sanitizer" not in done.stderr
