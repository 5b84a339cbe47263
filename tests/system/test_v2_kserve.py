"""Unmodified InferenceRESTClient of KServe's Python package: the matrix of V2 over JSON and binary tensors, health, errors.

The package's own __init__ brings a model server and Kubernetes' client with it, which are not installed (scripts/fetch-lock.py):
a bare package stands in for it, and the client's modules are those of the wheel."""
import asyncio
import importlib.util
import sys
import types
import unittest.mock

import numpy as np
import pytest

from conftest import Program
from test_v2_client import ROWS, import_models, values

httpx = pytest.importorskip("httpx")
descriptor_pool = pytest.importorskip("google.protobuf.descriptor_pool")


@pytest.fixture(scope="module")
def kserve():
    """What `from kserve import …` gives: InferenceRESTClient, RESTConfig, InferRequest, InferInput, RequestedOutput."""
    spec = importlib.util.find_spec("kserve")
    if spec is None:
        pytest.skip("kserve is not installed: scripts/setup --tests")
    package = types.ModuleType("kserve")
    package.__path__ = list(spec.submodule_search_locations)
    sys.modules["kserve"] = package
    pool = descriptor_pool.DescriptorPool()  # of its own: tritonclient has messages of the same names
    with unittest.mock.patch.object(descriptor_pool, "Default", lambda: pool):
        from kserve import inference_client
        from kserve.protocol import infer_type
    return types.SimpleNamespace(**{**vars(infer_type), **vars(inference_client)})


@pytest.fixture(scope="module")
def url(tmp_path_factory, build):
    workspace = Program(build / "myriad", tmp_path_factory.mktemp("v2"))
    workspace.run("init", ".")
    import_models(workspace, "oj", "store")
    with workspace.serving() as base:
        yield base


def ask(kserve, call, *args, **kwargs):
    """One call of a client of its own: its connections belong to one event loop."""
    async def run():
        client = kserve.InferenceRESTClient(kserve.RESTConfig(protocol="v2", timeout=60))
        try:
            return await getattr(client, call)(*args, **kwargs)
        finally:
            await client.close()
    return asyncio.run(run())


def tensors(kserve, datatype, is_fleet, binary, rows):
    """Inputs and the predictions that they must have."""
    stores = np.array([2, 7, 3, 2, 7][:rows], np.int64)
    deal = np.arange(rows, dtype=np.float32)
    price = np.arange(rows, dtype=np.float64) if datatype == "BYTES" else values(datatype, rows)
    columns = [("price", "FP64" if datatype == "BYTES" else datatype, price), ("deal", "FP32", deal)]
    intercept = np.full(rows, 10.0)
    if is_fleet:
        intercept = np.select([stores == 2, stores == 7], [10.0, 20.0], 1000.0)
        texts = np.array([str(store).encode() for store in stores], object)
        columns.append(("store", "BYTES", texts) if datatype == "BYTES" else ("store", "INT64", stores))
    inputs = []
    for name, kind, array in columns:
        inputs.append(kserve.InferInput(name, list(array.shape), kind))
        inputs[-1].set_data_from_numpy(array, binary_data=binary)
    known = np.where(np.isnan(price.astype(np.float64)), 0.0, price.astype(np.float64))  # missing: the model's fill
    return inputs, (intercept + known) + 0.5 * deal.astype(np.float64)


@pytest.mark.parametrize("binary", [False, True], ids=["json", "binary"])
@pytest.mark.parametrize("is_fleet", [True, False], ids=["fleet", "model"])
@pytest.mark.parametrize("datatype", ["FP32", "FP64", "INT64", "BYTES", "BOOL"])
def test_the_matrix(kserve, url, datatype, is_fleet, binary):
    name = "oj" if is_fleet else "oj@store=2"
    rows = ROWS if binary or not datatype.startswith("FP") else 3  # JSON has no NaN
    inputs, wanted = tensors(kserve, datatype, is_fleet, binary, rows)
    for binary_out in (None, True, False):
        outputs = None if binary_out is None else [kserve.RequestedOutput("prediction", {"binary_data": binary_out})]
        request = kserve.InferRequest(model_name=name, infer_inputs=inputs, request_id="r-1", request_outputs=outputs)
        headers = {}
        result = ask(kserve, "infer", url, request, model_name=name, response_headers=headers)
        assert (result.id, result.model_name) == ("r-1", name)  # it does not keep the version
        assert result.outputs[0].as_numpy().tobytes() == wanted.tobytes()
        assert ("inference-header-content-length" in headers) == bool(binary_out)


def test_a_request_as_a_dict(kserve, url):
    body = {"inputs": [{"name": "features", "shape": [1, 2], "datatype": "FP64", "data": [[0.5, 1.0]]}]}
    assert ask(kserve, "infer", url, body, model_name="oj@").outputs[0].data == [1001.0]


def test_health_and_readiness(kserve, url):
    assert ask(kserve, "is_server_live", url) is True and ask(kserve, "is_server_ready", url) is True
    assert ask(kserve, "is_model_ready", url, "oj") is True and ask(kserve, "is_model_ready", url, "oj@store=2") is True
    assert ask(kserve, "is_model_ready", url, "x") is False


def test_errors_have_the_servers_words(kserve, url):
    inputs, _ = tensors(kserve, "FP64", True, False, 3)
    for name, change, status, message in (("x", {}, 404, "unknown model: 'x' is not found"),
                                          ("oj", {"_name": "prise"}, 400, "unknown input 'prise', did you mean 'price'"),
                                          ("oj", {"_shape": [4]}, 400, "input 'price'")):
        for key, value in change.items():
            assert hasattr(inputs[0], key)
            setattr(inputs[0], key, value)
        request = kserve.InferRequest(model_name=name, infer_inputs=inputs)
        with pytest.raises(httpx.HTTPStatusError, match=message) as raised:
            ask(kserve, "infer", url, request, model_name=name)
        assert raised.value.response.status_code == status
        inputs, _ = tensors(kserve, "FP64", True, False, 3)
