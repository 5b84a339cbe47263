"""Unmodified tritonclient (http and http.aio) against the server: every datatype, JSON and binary, fleets and models."""
import asyncio
import json

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
    with workspace.serving() as base:
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
