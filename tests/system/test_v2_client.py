"""Unmodified tritonclient (http and http.aio) against the server: every datatype, JSON and binary, fleets and models."""
import asyncio
import gzip
import json
import zlib

import numpy as np
import pytest
import requests

from conftest import linear

client_http = pytest.importorskip("tritonclient.http")
client_aio = pytest.importorskip("tritonclient.http.aio")
from tritonclient.utils import InferenceServerException  # noqa: E402

ROWS = 5
DTYPES = {"FP32": np.float32, "FP64": np.float64, "BOOL": np.bool_, "INT8": np.int8, "INT16": np.int16, "INT32": np.int32,
          "INT64": np.int64, "UINT8": np.uint8, "UINT16": np.uint16, "UINT32": np.uint32, "UINT64": np.uint64}
MATRIX = [*DTYPES, "BYTES"]


def import_models(workspace, fleet, columns):
    for segment, intercept in ((f"{columns}=2", 10.0), (f"{columns}=7", 20.0), ("", 1000.0)):
        path = workspace.cwd / "m.json"
        path.write_text(linear(["price", "deal"], intercept, [1.0, 0.5]))
        workspace.run("model", "import", path, "--fleet", fleet, "--segment", segment)
    workspace.run("release", "create", fleet)


@pytest.fixture(scope="module")
def url(tmp_path_factory, build):
    from conftest import Program
    workspace = Program(build / "myriad", tmp_path_factory.mktemp("v2"))
    workspace.run("init", ".")
    import_models(workspace, "oj", "store")
    with workspace.serving("--serve.model-control", "true", "--serve.body-bytes-max", "1MiB") as base:
        yield base


class Sync:
    """Both clients behind the same few calls."""
    lib = client_http

    def __init__(self, url):
        self.client = client_http.InferenceServerClient(url.removeprefix("http://"))

    def call(self, name, *args, **kwargs):
        return getattr(self.client, name)(*args, **kwargs)

    def close(self):
        self.client.close()


class Aio(Sync):
    def __init__(self, url):
        self.loop = asyncio.new_event_loop()

        async def make():
            return client_aio.InferenceServerClient(url.removeprefix("http://"))
        self.client = self.loop.run_until_complete(make())

    def call(self, name, *args, **kwargs):
        return self.loop.run_until_complete(getattr(self.client, name)(*args, **kwargs))

    def close(self):
        self.loop.run_until_complete(self.client.close())
        self.loop.close()


@pytest.fixture(params=[Sync, Aio], ids=["http", "aio"])
def client(request, url):
    made = request.param(url)
    yield made
    made.close()


def tensor(name, values, datatype, **kwargs):
    out = client_http.InferInput(name, list(values.shape), datatype)
    out.set_data_from_numpy(values, **kwargs)
    return out


def values(datatype, rows=ROWS):
    """Numbers that the datatype can hold and that show its sign and width."""
    if datatype == "BOOL":
        return np.arange(rows) % 2 == 1
    dtype = DTYPES[datatype]
    if datatype in ("FP32", "FP64"):
        return np.array([0.1, -0.0, 1e30, np.nan, 1 / 3][:rows], dtype)
    info = np.iinfo(dtype)
    return np.array([info.min, info.max, 0, 1, 7][:rows], dtype)


def tensors(datatype, is_fleet, rows=ROWS, **kwargs):
    """Inputs and the predictions that they must have."""
    stores = np.array([2, 7, 3, 2, 7][:rows], np.int64)
    deal = np.arange(rows, dtype=np.float32)
    price = np.arange(rows, dtype=np.float64) if datatype == "BYTES" else values(datatype, rows)
    inputs = [tensor("price", price, "FP64" if datatype == "BYTES" else datatype, **kwargs), tensor("deal", deal, "FP32", **kwargs)]
    intercept = np.full(rows, 10.0)
    if is_fleet:
        intercept = np.select([stores == 2, stores == 7], [10.0, 20.0], 1000.0)
        if datatype == "BYTES":
            inputs.append(tensor("store", np.array([str(s) for s in stores], object), "BYTES", **kwargs))
        else:
            inputs.append(tensor("store", stores, "INT64", **kwargs))
    known = np.where(np.isnan(price.astype(np.float64)), 0.0, price.astype(np.float64))  # missing: the model's fill
    return inputs, (intercept + known) + 0.5 * deal.astype(np.float64)


@pytest.mark.parametrize("is_fleet", [True, False], ids=["fleet", "model"])
@pytest.mark.parametrize("datatype", MATRIX)
def test_the_matrix(client, datatype, is_fleet):
    name = "oj" if is_fleet else "oj@store=2"
    for binary_in in (True, False):
        rows = ROWS if binary_in or not datatype.startswith("FP") else 3  # JSON has no NaN
        inputs, wanted = tensors(datatype, is_fleet, rows, binary_data=binary_in)
        for outputs in (None, [client_http.InferRequestedOutput("prediction")],
                        [client_http.InferRequestedOutput("prediction", binary_data=False)]):
            result = client.call("infer", name, inputs, outputs=outputs, request_id="r-1")
            got = result.as_numpy("prediction")
            assert got.dtype == np.float64 and got.tobytes() == wanted.tobytes(), (binary_in, outputs)
            answer = result.get_response()
            assert (answer["id"], answer["model_name"], answer["model_version"]) == ("r-1", name, "1")
            assert ("data" in answer["outputs"][0]) == (outputs is not None and not outputs[0]._binary)


def test_matrices_empty_batches_and_other_outputs(client):
    matrix = np.array([[0.5, 1.0], [2.0, 3.0]])
    for dtype, name in ((np.float64, "FP64"), (np.float32, "FP32")):
        result = client.call("infer", "oj@", [tensor("features", matrix.astype(dtype), name)],
                             outputs=[client_http.InferRequestedOutput("contribution"),
                                      client_http.InferRequestedOutput("margin", binary_data=False),
                                      client_http.InferRequestedOutput("prediction")])
        assert result.as_numpy("contribution").tolist() == [[0.5, 0.5, 1000.0], [2.0, 1.5, 1000.0]]
        assert result.as_numpy("margin").tolist() == result.as_numpy("prediction").tolist() == [1001.0, 1003.5]
    inputs, _ = tensors("FP64", True, rows=0)
    assert client.call("infer", "oj", inputs).as_numpy("prediction").shape == (0,)


@pytest.mark.parametrize("change, message", [
    (dict(model_name="x"), "unknown model: 'x' is not found"),
    (dict(model_version="9"), "'oj' version 9 is not found"),
    (dict(model_version="x"), "version 'x' is not a number"),
    (dict(name="prise"), "unknown input 'prise', did you mean 'price'"),
    (dict(datatype="FP16"), "input 'price': FP16 is not supported"),
    (dict(shape=[4]), "input 'price': 40 bytes of binary data, its shape and FP64 say 32"),
    (dict(shape=[5, 2]), r"input 'price': shape is \[5,2\]"),
    (dict(shape=[1, 5, 1]), "shape has 3 dimensions"),
    (dict(outputs="y"), "unknown output 'y'"),
])
def test_errors(client, change, message):
    price, *rest = tensors("FP64", True)[0]
    if "name" in change:
        price._name = change["name"]
    if "datatype" in change:
        price._datatype = change["datatype"]
    if "shape" in change:
        price.set_shape(change["shape"])
    outputs = [client_http.InferRequestedOutput(change["outputs"])] if "outputs" in change else None
    with pytest.raises(InferenceServerException, match=message) as raised:
        client.call("infer", change.get("model_name", "oj"), [price, *rest], model_version=change.get("model_version", ""),
                    outputs=outputs)
    assert str(raised.value.status()) in ("400", "404")


def test_a_body_that_is_too_short(url):
    inputs, _ = tensors("FP64", True)
    body, size = client_http.InferenceServerClient.generate_request_body(inputs)
    whole = {"Inference-Header-Content-Length": str(size)}
    assert requests.post(f"{url}/v2/models/oj/infer", data=body, headers=whole).status_code == 200
    for end in range(size, len(body)):
        answer = requests.post(f"{url}/v2/models/oj/infer", data=body[:end], headers=whole)
        assert answer.status_code == 400 and "binary_data_size" in answer.json()["error"]


def test_raw_requests(url):
    matrix = np.array([[0.5, 1.0], [2.0, 3.0]])
    answer = requests.post(f"{url}/v2/models/oj@store=2/infer", data=matrix.tobytes(),
                           headers={"Inference-Header-Content-Length": "0", "Content-Type": "application/octet-stream"})
    assert answer.status_code == 200 and answer.headers["Content-Type"] == "application/octet-stream"
    size = int(answer.headers["Inference-Header-Content-Length"])
    assert json.loads(answer.content[:size])["outputs"][0]["parameters"] == {"binary_data_size": 16}
    assert np.frombuffer(answer.content[size:]).tolist() == [11.0, 13.5]


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compressed_requests_and_answers(client, algorithm):
    rows = 3000
    matrix = np.zeros((rows, 2))
    for binary in (True, False):
        result = client.call("infer", "oj@store=7", [tensor("features", matrix, "FP64", binary_data=binary)],
                             outputs=[client_http.InferRequestedOutput("prediction", binary_data=binary)],
                             request_compression_algorithm=algorithm, response_compression_algorithm=algorithm)
        assert result.as_numpy("prediction").tolist() == [20.0] * rows


def test_what_is_compressed(url):
    path = f"{url}/v2/models/oj@/infer"

    def body(rows):
        return json.dumps({"inputs": [{"name": "features", "shape": [rows, 2], "datatype": "FP64",
                                       "data": [0] * (rows * 2)}]}).encode()

    def ask(data, **headers):
        answer = requests.post(path, data=data, headers={"Accept-Encoding": "", **{k.replace("_", "-"): v for k, v in headers.items()}})
        return answer.status_code, answer.headers.get("Content-Encoding"), answer.json()
    wanted = ask(body(1000))
    assert wanted[:2] == (200, None)
    for accept, coding in (("gzip", "gzip"), ("deflate, gzip", "gzip"), ("deflate", "deflate"), ("x, GZIP;q=0.5", "gzip"),
                           ("gzip;q=0", None), ("gzip;q=0, deflate;q=1", "deflate"), ("br", None), ("*", None), (";", None)):
        assert ask(body(1000), Accept_Encoding=accept) == (200, coding, wanted[2]), accept
    assert ask(body(1), Accept_Encoding="gzip")[1] is None  # small
    assert requests.get(f"{url}/v2/models/oj/config", headers={"Accept-Encoding": "gzip"}).headers.get("Content-Encoding") is None
    assert ask(gzip.compress(body(1000)), Content_Encoding="gzip") == wanted
    assert ask(zlib.compress(body(1000)), Content_Encoding="deflate") == wanted


def test_compressed_bodies_that_are_bad(url):
    def ask(data, coding):
        answer = requests.post(f"{url}/v1/fleets/oj/score", data=data, headers={"Content-Encoding": coding})
        return answer.status_code, answer.json().get("error", "")
    small = b'{"rows":[]}'
    whole = gzip.compress(small)
    assert ask(whole, "gzip")[0] == 200
    for end in range(len(whole)):
        assert ask(whole[:end], "gzip") == (400, "the request body ends before its gzip does"), end
    assert ask(whole + b"x", "gzip") == (400, "the request body goes on after its gzip ends")
    assert ask(whole[:-8] + bytes(8), "gzip")[0] == 400
    assert ask(small, "deflate")[0] == 400 and ask(whole, "deflate")[0] == 400
    assert ask(whole, "br")[0] == 501 and ask(whole, "gzip, gzip")[0] == 501
    limit = 1 << 20  # bombs stop at the limit of any body
    assert ask(gzip.compress(small + b" " * (limit - len(small))), "gzip")[0] == 200
    status, error = ask(gzip.compress(small + b" " * (limit + 1 - len(small))), "gzip")
    assert (status, error) == (413, "the request body expands to more than the limit of 1048576 bytes")
    assert ask(gzip.compress(b" " * (512 << 20), 9), "gzip")[0] == 413


def test_configuration_and_statistics(client, url):
    config = client.call("get_model_config", "oj")
    assert config["name"] == "oj" and config["max_batch_size"] == 0
    assert [(i["name"], i["data_type"], i["dims"]) for i in config["input"]] == [
        ("store", "TYPE_INT64", [-1]), ("price", "TYPE_FP64", [-1]), ("deal", "TYPE_FP64", [-1])]
    assert config["output"][0] == {"name": "prediction", "data_type": "TYPE_FP64", "dims": [-1]}
    assert [i["name"] for i in client.call("get_model_config", "oj@store=2", model_version="1")["input"]] == ["price", "deal"]
    (before,) = client.call("get_inference_statistics", "oj")["model_stats"]
    client.call("infer", "oj", tensors("FP64", True)[0])
    with pytest.raises(InferenceServerException):
        client.call("infer", "oj", tensors("FP64", True)[0][:1])
    (after,) = client.call("get_inference_statistics")["model_stats"]
    assert (after["name"], after["version"]) == ("oj", "1")
    assert after["inference_count"] - before["inference_count"] == ROWS
    assert after["execution_count"] - before["execution_count"] == 1
    for part, count in (("success", 1), ("fail", 1), ("compute_input", 1), ("compute_infer", 1), ("compute_output", 1)):
        old, new = before["inference_stats"][part], after["inference_stats"][part]
        assert new["count"] - old["count"] == count and new["ns"] > old["ns"], part
    (model,) = client.call("get_inference_statistics", "oj@store=2")["model_stats"]
    assert model["name"] == "oj@store=2" and model["inference_count"] == model["inference_stats"]["success"]["count"]


def test_the_repository(client):
    ready = [{"name": "oj", "version": "1", "state": "READY", "reason": ""}]
    assert client.call("get_model_repository_index") == ready
    client.call("unload_model", "oj")
    try:
        assert client.call("get_model_repository_index") == [{"name": "oj", "state": "UNAVAILABLE", "reason": "unloaded"}]
        assert not client.call("is_model_ready", "oj")
        with pytest.raises(InferenceServerException, match="unknown model: 'oj'"):
            client.call("infer", "oj", tensors("FP64", True)[0])
        with pytest.raises(InferenceServerException, match="unknown model: 'oj'"):
            client.call("unload_model", "oj")
    finally:
        client.call("load_model", "oj")
    assert client.call("get_model_repository_index") == ready and client.call("is_model_ready", "oj")
    client.call("load_model", "oj")  # again: nothing changes
    for call, name, kwargs, message in (("load_model", "x", {}, "unknown model: 'x'"),
                                        ("load_model", "oj", {"config": "{}"}, "models come from the registry"),
                                        ("load_model", "oj@store=2", {}, "with its fleet")):
        with pytest.raises(InferenceServerException, match=message):
            client.call(call, name, **kwargs)


@pytest.mark.parametrize("call", ["get_trace_settings", "get_log_settings", "get_system_shared_memory_status"])
def test_what_is_not_supported(client, call):
    with pytest.raises(InferenceServerException, match="is not supported|no such path"):
        client.call(call)


def test_loading_is_off_unless_allowed(tmp_path, build):
    from conftest import Program
    workspace = Program(build / "myriad", tmp_path)
    workspace.run("init", ".")
    import_models(workspace, "oj", "store")
    with workspace.serving() as base:
        for verb in ("load", "unload"):
            answer = requests.post(f"{base}/v2/repository/models/oj/{verb}")
            assert answer.status_code == 403 and "serve.model-control" in answer.json()["error"]
        assert requests.get(f"{base}/v2/models/oj/ready").status_code == 200
        assert requests.post(f"{base}/v2/repository/index", data="[]").status_code == 400
        assert requests.post(f"{base}/v2/repository/index", json={"ready": 1}).status_code == 400
        assert len(requests.post(f"{base}/v2/repository/index", json={"ready": True}).json()) == 1
