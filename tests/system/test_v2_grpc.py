"""Unmodified tritonclient (grpc and grpc.aio) and bare grpcio against the server: every datatype, typed and raw, errors, streams."""
import asyncio
import contextlib
import pathlib
import queue
import re
import sqlite3
import threading
import time

import numpy as np
import pytest
import requests

from conftest import ROOT, Program, linear
from test_v2_client import DTYPES, ROWS, import_models, values

grpc = pytest.importorskip("grpc")
client_grpc = pytest.importorskip("tritonclient.grpc")
client_aio = pytest.importorskip("tritonclient.grpc.aio")
from tritonclient.grpc import model_config_pb2, service_pb2 as pb, service_pb2_grpc  # noqa: E402
from tritonclient.utils import InferenceServerException  # noqa: E402

SERVICE = "/inference.GRPCInferenceService/"
MATRIX = [*DTYPES, "BYTES"]
CONTENTS = {"BOOL": "bool", "INT8": "int", "INT16": "int", "INT32": "int", "INT64": "int64", "UINT8": "uint", "UINT16": "uint",
            "UINT32": "uint", "UINT64": "uint64", "FP32": "fp32", "FP64": "fp64", "BYTES": "bytes"}


@pytest.fixture(scope="module")
def url(tmp_path_factory, build):
    workspace = Program(build / "myriad", tmp_path_factory.mktemp("v2"))
    workspace.run("init", ".")
    import_models(workspace, "oj", "store")
    with workspace.serving("--grpc-listen", "127.0.0.1:0", "--serve.model-control", "true", "--serve.body-bytes-max", "1MiB") as base:
        yield base


class Sync:
    """Both clients behind the same few calls."""

    def __init__(self, address):
        self.client = client_grpc.InferenceServerClient(address)
        self.channel = grpc.insecure_channel(address)
        self.stub = service_pb2_grpc.GRPCInferenceServiceStub(self.channel)

    def call(self, name, *args, **kwargs):
        return getattr(self.client, name)(*args, **kwargs)

    def ask(self, request, **kwargs):
        return self.stub.ModelInfer(request, **kwargs)

    def stream(self, requests):
        return list(self.stub.ModelStreamInfer(iter(requests)))

    def close(self):
        self.client.close()
        self.channel.close()


class Aio(Sync):
    def __init__(self, address):
        self.loop = asyncio.new_event_loop()

        async def make():
            channel = grpc.aio.insecure_channel(address)
            return client_aio.InferenceServerClient(address), channel, service_pb2_grpc.GRPCInferenceServiceStub(channel)
        self.client, self.channel, self.stub = self.loop.run_until_complete(make())

    def call(self, name, *args, **kwargs):
        return self.loop.run_until_complete(getattr(self.client, name)(*args, **kwargs))

    def ask(self, request, **kwargs):
        async def one():
            return await self.stub.ModelInfer(request, **kwargs)
        return self.loop.run_until_complete(one())

    def stream(self, requests):
        async def all_of():
            return [answer async for answer in self.stub.ModelStreamInfer(iter(requests))]
        return self.loop.run_until_complete(all_of())

    def close(self):
        self.loop.run_until_complete(self.client.close())
        self.loop.run_until_complete(self.channel.close())
        self.loop.close()


@pytest.fixture(params=[Sync, Aio], ids=["grpc", "aio"])
def client(request, url):
    made = request.param(url.grpc)
    yield made
    made.close()


def inputs_of(datatype, is_fleet, rows=ROWS):
    """[(name, datatype, values)] and the predictions that they must have."""
    stores = np.array([2, 7, 3, 2, 7][:rows], np.int64)
    deal = np.arange(rows, dtype=np.float32)
    price = np.arange(rows, dtype=np.float64) if datatype == "BYTES" else values(datatype, rows)
    inputs = [("price", "FP64" if datatype == "BYTES" else datatype, price), ("deal", "FP32", deal)]
    intercept = np.full(rows, 10.0)
    if is_fleet:
        intercept = np.select([stores == 2, stores == 7], [10.0, 20.0], 1000.0)
        texts = np.array([str(s) for s in stores], object)
        inputs.append(("store", "BYTES", texts) if datatype == "BYTES" else ("store", "INT64", stores))
    known = np.where(np.isnan(price.astype(np.float64)), 0.0, price.astype(np.float64))  # missing: the model's fill
    return inputs, (intercept + known) + 0.5 * deal.astype(np.float64)


def raw_of(inputs):
    out = []
    for name, datatype, data in inputs:
        out.append(client_grpc.InferInput(name, list(data.shape), datatype))
        out[-1].set_data_from_numpy(data)
    return out


def fill(contents, datatype, data):
    getattr(contents, CONTENTS[datatype] + "_contents").extend(
        [str(v).encode() for v in data] if datatype == "BYTES" else [v.item() for v in data.ravel()])


def typed(model, inputs, **kwargs):
    """The request that tritonclient can't make: values in typed contents."""
    request = pb.ModelInferRequest(model_name=model, **kwargs)
    for name, datatype, data in inputs:
        tensor = request.inputs.add(name=name, datatype=datatype, shape=data.shape)
        fill(tensor.contents, datatype, data)
    return request


def prediction(response, output=0):
    return np.frombuffer(response.raw_output_contents[output]).reshape(response.outputs[output].shape)


@pytest.mark.parametrize("is_fleet", [True, False], ids=["fleet", "model"])
@pytest.mark.parametrize("datatype", MATRIX)
def test_the_matrix(client, url, datatype, is_fleet):
    name = "oj" if is_fleet else "oj@store=2"
    inputs, wanted = inputs_of(datatype, is_fleet)
    for outputs in (None, [client_grpc.InferRequestedOutput("prediction")]):
        result = client.call("infer", name, raw_of(inputs), outputs=outputs, request_id="r-1")
        got = result.as_numpy("prediction")
        assert got.dtype == np.float64 and got.tobytes() == wanted.tobytes()
        answer = result.get_response()
        assert (answer.id, answer.model_name, answer.model_version) == ("r-1", name, "1")
        assert list(answer.outputs[0].shape) == [ROWS] and not answer.outputs[0].HasField("contents")
    answer = client.ask(typed(name, inputs, id="r-2"))
    assert prediction(answer).tobytes() == wanted.tobytes() and answer.id == "r-2"
    # and REST gives the same bits
    rest = requests.post(f"{url}/v2/models/{name}/infer", json={"inputs": [
        {"name": n, "datatype": d, "shape": list(v.shape), "data": [None if x != x else x for x in v.tolist()]} for n, d, v in inputs]})
    assert np.array(rest.json()["outputs"][0]["data"]).tobytes() == wanted.tobytes()


def test_matrices_empty_batches_and_other_outputs(client):
    matrix = np.array([[0.5, 1.0], [2.0, 3.0]])
    wanted = [client_grpc.InferRequestedOutput(n) for n in ("contribution", "margin", "prediction")]
    for dtype, name in ((np.float64, "FP64"), (np.float32, "FP32")):
        inputs = [("features", name, matrix.astype(dtype))]
        result = client.call("infer", "oj@", raw_of(inputs), outputs=wanted)
        assert result.as_numpy("contribution").tolist() == [[0.5, 0.5, 1000.0], [2.0, 1.5, 1000.0]]
        assert result.as_numpy("margin").tolist() == result.as_numpy("prediction").tolist() == [1001.0, 1003.5]
        assert [o.name for o in result.get_response().outputs] == ["contribution", "margin", "prediction"]
        assert prediction(client.ask(typed("oj@", inputs))).tolist() == [1001.0, 1003.5]
    inputs, _ = inputs_of("FP64", True, rows=0)
    assert client.call("infer", "oj", raw_of(inputs)).as_numpy("prediction").shape == (0,)
    assert prediction(client.ask(typed("oj", inputs))).shape == (0,)


def test_pieces_as_they_are_sent(url):
    """Typed contents packed and not, in several runs, an unknown field: protobuf lets a writer choose."""
    prices = np.array([1.5, 2.5, 3.5])
    pieces = b"\x3a\x08" + prices[:1].tobytes() + b"\x39" + prices[1:2].tobytes() + b"\x3a\x08" + prices[2:].tobytes()
    first = b"\x0a\x05price\x12\x04FP64\x18\x03\x2a" + bytes([len(pieces)]) + pieces
    second = b"\x0a\x04deal\x12\x05INT64\x1a\x01\x03\x2a\x06\x18\x01\x1a\x02\x02\x03"
    body = b"\x0a\x0aoj@store=2\x2a" + bytes([len(first)]) + first + b"\x2a" + bytes([len(second)]) + second + b"\x9a\x06\x01x"
    with grpc.insecure_channel(url.grpc) as channel:
        answer = channel.unary_unary(SERVICE + "ModelInfer")(body)
    assert prediction(pb.ModelInferResponse.FromString(answer)).tolist() == [12.0, 13.5, 15.0]


def with_raw(request, *raws):
    for tensor in request.inputs:
        tensor.ClearField("contents")
    request.raw_input_contents.extend(raws)


DOUBLES, FLOATS, INTS = b"\0" * 40, b"\0" * 20, b"\0" * 40
ERRORS = {
    "unknown model": (lambda r: setattr(r, "model_name", "x"), "NOT_FOUND", "unknown model: 'x' is not found"),
    "no model": (lambda r: setattr(r, "model_name", ""), "NOT_FOUND", "unknown model: ''"),
    "segment": (lambda r: setattr(r, "model_name", "oj@store=9"), "NOT_FOUND", "unknown model: 'oj@store=9'"),
    "version": (lambda r: setattr(r, "model_version", "9"), "NOT_FOUND", "'oj' version 9 is not found"),
    "bad version": (lambda r: setattr(r, "model_version", "x"), "INVALID_ARGUMENT", "version 'x' is not a number"),
    "input name": (lambda r: setattr(r.inputs[0], "name", "prise"), "INVALID_ARGUMENT", "unknown input 'prise', did you mean 'price'"),
    "no name": (lambda r: setattr(r.inputs[0], "name", ""), "INVALID_ARGUMENT", "an input has no name"),
    "FP16": (lambda r: setattr(r.inputs[0], "datatype", "FP16"), "INVALID_ARGUMENT", "input 'price': FP16 is not supported"),
    "datatype": (lambda r: setattr(r.inputs[0], "datatype", "FP65"), "INVALID_ARGUMENT", "unknown datatype 'FP65'"),
    "contents": (lambda r: setattr(r.inputs[0], "datatype", "FP32"), "INVALID_ARGUMENT", "fp64_contents does not go with FP32"),
    "count": (lambda r: r.inputs[0].contents.fp64_contents.pop(), "INVALID_ARGUMENT", "fp64_contents has 4 values, its shape says 5"),
    "no contents": (lambda r: r.inputs[0].ClearField("contents"), "INVALID_ARGUMENT", "fp64_contents has 0 values, its shape says 5"),
    "rank": (lambda r: r.inputs[0].shape.extend([1, 1]), "INVALID_ARGUMENT", "shape has 3 dimensions"),
    "no shape": (lambda r: r.inputs[0].ClearField("shape"), "INVALID_ARGUMENT", "shape has 0 dimensions"),
    "negative": (lambda r: r.inputs[0].shape.__setitem__(0, -5), "INVALID_ARGUMENT", "the dimension -5"),
    "overflow": (lambda r: r.inputs[0].shape.__setitem__(slice(None), [1 << 62, 1 << 62]), "INVALID_ARGUMENT", "its shape says more than"),
    "rows": (lambda r: r.inputs[0].shape.__setitem__(0, 1), "INVALID_ARGUMENT", "has 5 values, its shape says 1"),
    "missing": (lambda r: r.inputs.pop(), "INVALID_ARGUMENT", "input 'store' is missing"),
    "none": (lambda r: r.ClearField("inputs"), "INVALID_ARGUMENT", "input 'store' and 2 more are missing"),
    "twice": (lambda r: r.inputs.append(r.inputs[0]), "INVALID_ARGUMENT", "input 'price' is given twice"),
    "mixed": (lambda r: r.raw_input_contents.extend([DOUBLES, FLOATS, INTS]), "INVALID_ARGUMENT", "send one or the other"),
    "too few raws": (lambda r: with_raw(r, DOUBLES), "INVALID_ARGUMENT", "3 inputs, but 1 in raw_input_contents"),
    "short raw": (lambda r: with_raw(r, DOUBLES[:39], FLOATS, INTS), "INVALID_ARGUMENT", "39 bytes of binary data"),
    "range": (lambda r: (setattr(r.inputs[0], "datatype", "INT8"), r.inputs[0].ClearField("contents"),
                         r.inputs[0].contents.int_contents.extend([1, 2, 3, -129, 4])), "INVALID_ARGUMENT", "row 3: -129 is not a value of INT8"),
    "unsigned range": (lambda r: (setattr(r.inputs[0], "datatype", "UINT16"), r.inputs[0].ClearField("contents"),
                                  r.inputs[0].contents.uint_contents.extend([1, 65536, 3, 9, 4])), "INVALID_ARGUMENT", "65536 is not a value of UINT16"),
    "output": (lambda r: r.outputs.add(name="y"), "INVALID_ARGUMENT", "unknown output 'y'"),
    "output twice": (lambda r: (r.outputs.add(name="margin"), r.outputs.add(name="margin")), "INVALID_ARGUMENT", "'margin' is asked for twice"),
    "classification": (lambda r: r.outputs.add(name="prediction").parameters["classification"].__setattr__("int64_param", 1),
                       "UNIMPLEMENTED", "classification is not supported"),
    "shared memory": (lambda r: r.inputs[0].parameters["shared_memory_region"].__setattr__("string_param", "x"), "UNIMPLEMENTED",
                      "shared_memory_region is not supported"),
    "timeout": (lambda r: r.parameters["timeout"].__setattr__("string_param", "x"), "INVALID_ARGUMENT", "parameter 'timeout'"),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors(client, case):
    change, code, message = ERRORS[case]
    request = typed("oj", inputs_of("FP64", True)[0])
    change(request)
    with pytest.raises(grpc.RpcError) as raised:
        client.ask(request)
    assert raised.value.code().name == code and message in raised.value.details(), raised.value.details()


def test_errors_through_tritonclient(client):
    for call, args, code, message in (("infer", ("x", raw_of(inputs_of("FP64", True)[0])), "NOT_FOUND", "unknown model: 'x'"),
                                      ("get_model_metadata", ("x",), "NOT_FOUND", "unknown model: 'x'"),
                                      ("get_model_config", ("oj", "7"), "NOT_FOUND", "version 7"),
                                      ("get_inference_statistics", ("oj@store=2",), "UNIMPLEMENTED", "kept per fleet"),
                                      ("get_trace_settings", (), "UNIMPLEMENTED", "unknown method"),
                                      ("get_log_settings", (), "UNIMPLEMENTED", "unknown method"),
                                      ("get_system_shared_memory_status", (), "UNIMPLEMENTED", "unknown method")):
        with pytest.raises(InferenceServerException, match=message) as raised:
            client.call(call, *args)
        assert raised.value.status() == f"StatusCode.{code}"


@pytest.mark.parametrize("body, message", [
    (b"\x0a", "the bytes end before a length"), (b"\x0a\x05oj", "a length goes past the end"), (b"\x08\x01", "model_name (1) is a number"),
    (b"\x0a\x02\xff\xfe", "is not UTF-8"), (b"\x0a\x03o\0j", "has a NUL"), (b"\xff" * 11, "more than 64 bits"), (b"\x0b\x0c", "a wire type"),
    (b"\x0a\x02oj\x2a\x02\x0a\x09", "a length goes past the end"), (b"\x0a\x02oj\x22\x03\x0a\x01\xff", "is not UTF-8"),
    (b"\x0a\x02oj\x2a\x0e\x0a\x05price\x12\x04FP64\x1d", "the bytes end within a fixed number"),
])
def test_damaged_messages(url, body, message):
    with grpc.insecure_channel(url.grpc) as channel:
        with pytest.raises(grpc.RpcError) as raised:
            channel.unary_unary(SERVICE + "ModelInfer")(body)
    assert raised.value.code().name == "INVALID_ARGUMENT" and message in raised.value.details(), raised.value.details()


def test_messages_at_the_limit_and_past_it(client):
    for rows, fits in ((65_000, True), (66_000, False)):
        inputs = raw_of([("features", "FP64", np.zeros((rows, 2)))])
        if fits:
            assert len(client.call("infer", "oj@", inputs).as_numpy("prediction")) == rows
        else:
            with pytest.raises(InferenceServerException, match="the limit is 1048576") as raised:
                client.call("infer", "oj@", inputs)
            assert raised.value.status() == "StatusCode.RESOURCE_EXHAUSTED"
    with pytest.raises(InferenceServerException, match="the most in one request is 65536"):
        client.call("infer", "oj@", raw_of([("price", "INT8", np.zeros(65537, np.int8)), ("deal", "INT8", np.zeros(65537, np.int8))]))


@pytest.mark.parametrize("algorithm", ["gzip", "deflate"])
def test_compression(client, algorithm):
    for rows in (1, 5000):
        inputs = raw_of([("features", "FP64", np.ones((rows, 2)))])
        result = client.call("infer", "oj@store=7", inputs, compression_algorithm=algorithm)
        assert result.as_numpy("prediction").tolist() == [21.5] * rows
    with pytest.raises(InferenceServerException, match="expands to more than the limit of 1048576 bytes"):
        client.call("infer", "oj@", raw_of([("features", "FP64", np.zeros((400_000, 2)))]), compression_algorithm=algorithm)


def test_metadata_configuration_and_statistics(client):
    assert client.call("is_server_live") and client.call("is_server_ready")
    assert client.call("is_model_ready", "oj") and client.call("is_model_ready", "oj@store=2", "1")
    for name, version in (("x", ""), ("oj", "9"), ("oj@store=9", ""), ("oj", "x")):
        assert not client.call("is_model_ready", name, version)  # not there is not ready, and no error
    server = client.call("get_server_metadata", as_json=True)
    assert server["name"] == "myriad" and server["extensions"] == ["binary_tensor_data", "model_configuration", "model_repository", "statistics"]
    model = client.call("get_model_metadata", "oj@store=2", as_json=True)
    assert (model["name"], model["versions"], model["platform"]) == ("oj@store=2", ["1"], "myriad")
    assert model["inputs"] == [{"name": n, "datatype": "FP64", "shape": ["-1"]} for n in ("price", "deal")]
    assert model["outputs"][2] == {"name": "contribution", "datatype": "FP64", "shape": ["-1", "3"]}
    config = client.call("get_model_config", "oj").config
    assert [(i.name, i.data_type, list(i.dims)) for i in config.input] == [
        ("store", model_config_pb2.TYPE_INT64, [-1]), ("price", model_config_pb2.TYPE_FP64, [-1]), ("deal", model_config_pb2.TYPE_FP64, [-1])]
    assert config.max_batch_size == 0 and config.backend == "myriad" and config.parameters["release"].string_value == "1"
    (before,) = client.call("get_inference_statistics", "oj").model_stats
    client.call("infer", "oj", raw_of(inputs_of("FP64", True)[0]))
    with pytest.raises(InferenceServerException):
        client.call("infer", "oj", raw_of(inputs_of("FP64", True)[0][:1]))
    (after,) = client.call("get_inference_statistics").model_stats
    assert after.inference_count - before.inference_count == ROWS and after.execution_count - before.execution_count == 1
    for part in ("success", "fail", "compute_input", "compute_infer", "compute_output"):
        old, new = getattr(before.inference_stats, part), getattr(after.inference_stats, part)
        assert new.count - old.count == 1 and new.ns > old.ns, part


def test_the_repository(client):
    def index():
        return [(m.name, m.version, m.state, m.reason) for m in client.call("get_model_repository_index").models]
    ready = [("oj", "1", "READY", "")]
    assert index() == ready
    client.call("unload_model", "oj")
    try:
        assert index() == [("oj", "", "UNAVAILABLE", "unloaded")]
        assert not client.call("is_model_ready", "oj")
        with pytest.raises(InferenceServerException, match="unknown model: 'oj'"):
            client.call("infer", "oj", raw_of(inputs_of("FP64", True)[0]))
        with pytest.raises(InferenceServerException, match="unknown model: 'oj'"):
            client.call("unload_model", "oj")
    finally:
        client.call("load_model", "oj")
    assert index() == ready and client.call("is_model_ready", "oj")
    for call, name, kwargs, message in (("load_model", "x", {}, "unknown model: 'x'"),
                                        ("load_model", "oj", {"config": "{}"}, "models come from the registry"),
                                        ("load_model", "oj@store=2", {}, "with its fleet")):
        with pytest.raises(InferenceServerException, match=message):
            client.call(call, name, **kwargs)


def test_streams_answer_in_order_and_go_on_after_errors(client):
    requests = []
    for i in range(200):
        inputs, _ = inputs_of("FP64", True, rows=1)
        inputs[0] = ("price", "FP64", np.array([float(i)]))
        requests.append(typed("x" if i % 10 == 9 else "oj", inputs, id=str(i)))
    answers = client.stream(requests)
    assert len(answers) == 200
    for i, answer in enumerate(answers):
        assert answer.infer_response.id == str(i)
        if i % 10 == 9:
            assert "unknown model: 'x'" in answer.error_message
        else:
            assert answer.error_message == "" and prediction(answer.infer_response).tolist() == [10.0 + i]


def test_streams_of_tritonclient(url):
    client = client_grpc.InferenceServerClient(url.grpc)
    got = queue.Queue()
    client.start_stream(callback=lambda result, error: got.put((result, error)))
    for i in range(20):
        inputs, wanted = inputs_of("FP64", True)
        client.async_stream_infer("oj" if i != 7 else "x", raw_of(inputs), request_id=str(i))
        result, error = got.get(timeout=60)
        if i == 7:
            assert "unknown model: 'x'" in error.message()
        else:
            assert error is None and result.as_numpy("prediction").tobytes() == wanted.tobytes() and result.get_response().id == str(i)
    client.stop_stream()
    client.close()


def test_deadlines(client):
    request = typed("oj", inputs_of("FP64", True)[0])
    request.parameters["timeout"].int64_param = 1  # a microsecond, as V2 counts; grpc-timeout: tests/unit/test_net_rpc.c
    with pytest.raises(grpc.RpcError, match="deadline") as raised:
        client.ask(request)
    assert raised.value.code().name == "DEADLINE_EXCEEDED"
    request.parameters["timeout"].int64_param = 60_000_000
    assert len(prediction(client.ask(request, timeout=60))) == ROWS


def test_many_cancelled_calls_leave_nothing(url):
    with grpc.insecure_channel(url.grpc) as channel:
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        large = typed("oj@", [("features", "FP64", np.zeros((3000, 2)))])
        for i in range(300):
            stub.ModelInfer.future(large).cancel()
        assert len(prediction(stub.ModelInfer(large))) == 3000


HEALTH = "/grpc.health.v1.Health/"
SERVING, NOT_SERVING, SERVICE_UNKNOWN = b"\x08\x01", b"\x08\x02", b"\x08\x03"


def service(name):
    return b"\x0a" + bytes([len(name)]) + name.encode() if name else b""


def test_health(url):
    with grpc.insecure_channel(url.grpc) as channel:
        check = channel.unary_unary(HEALTH + "Check")
        assert check(service("")) == check(service("inference.GRPCInferenceService")) == SERVING
        with pytest.raises(grpc.RpcError) as raised:
            check(service("x"))
        assert raised.value.code().name == "NOT_FOUND"
        watch = channel.unary_stream(HEALTH + "Watch")(service("x"))
        assert next(watch) == SERVICE_UNKNOWN
        watch.cancel()


def test_stopping_is_told_and_waits_for_answers(tmp_path, build):
    workspace = Program(build / "myriad", tmp_path)
    workspace.run("init", ".")
    import_models(workspace, "oj", "store")
    seen, errors, answered = [], [], []
    with workspace.serving("--grpc-listen", "127.0.0.1:0") as url:
        channel = grpc.insecure_channel(url.grpc)

        def watch():
            try:
                for status in channel.unary_stream(HEALTH + "Watch")(b""):
                    seen.append(status)
            except grpc.RpcError as error:
                errors.append(error.code().name)

        def ask():
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            request = typed("oj", inputs_of("FP64", True)[0])
            while not errors:
                try:
                    answered.append(len(prediction(stub.ModelInfer(request, timeout=10))))
                except grpc.RpcError as error:
                    if not errors and error.code().name != "UNAVAILABLE":
                        answered.append(error)
        threads = [threading.Thread(target=f) for f in (watch, ask)]
        for thread in threads:
            thread.start()
        while not seen or len(answered) < 20:
            time.sleep(0.01)
    for thread in threads:
        thread.join(60)
    assert seen == [SERVING, NOT_SERVING] and errors == ["UNAVAILABLE"]
    assert set(answered) == {ROWS}
    channel.close()


def test_tokens(tmp_path, build):
    workspace = Program(build / "myriad", tmp_path)
    workspace.run("init", ".")
    import_models(workspace, "oj", "store")
    import_models(workspace, "other", "store")
    token = workspace.json("token", "create", "reader", "--scope", "infer,read", "--fleet", "oj")["token"]
    with workspace.serving("--grpc-listen", "127.0.0.1:0", "--serve.model-control", "true") as url:
        with grpc.insecure_channel(url.grpc) as channel:
            stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
            assert channel.unary_unary(HEALTH + "Check")(b"") == SERVING
            good = [("authorization", f"Bearer {token}")]

            def code(call, request, metadata=None):
                try:
                    call(request, metadata=metadata)
                    return "OK"
                except grpc.RpcError as error:
                    return error.code().name
            request = typed("oj", inputs_of("FP64", True)[0])
            assert code(stub.ModelInfer, request) == "UNAUTHENTICATED"
            assert code(stub.ModelInfer, request, [("authorization", "Bearer x")]) == "UNAUTHENTICATED"
            assert code(stub.ModelInfer, request, good) == "OK"
            assert code(stub.ModelInfer, typed("other", inputs_of("FP64", True)[0]), good) == "PERMISSION_DENIED"
            assert code(stub.ModelMetadata, pb.ModelMetadataRequest(name="other"), good) == "PERMISSION_DENIED"
            assert code(stub.RepositoryModelUnload, pb.RepositoryModelUnloadRequest(model_name="oj"), good) == "PERMISSION_DENIED"
            index = stub.RepositoryIndex(pb.RepositoryIndexRequest(), metadata=good)
            assert [m.name for m in index.models] == ["oj"]
            assert len(list(stub.ModelStreamInfer(iter([request] * 3), metadata=good))) == 3
            with pytest.raises(grpc.RpcError) as raised:
                list(stub.ModelStreamInfer(iter([request]), metadata=None))
            assert raised.value.code().name == "UNAUTHENTICATED"
            with pytest.raises(grpc.RpcError) as raised:
                list(stub.ModelStreamInfer(iter([typed("other", inputs_of("FP64", True)[0])]), metadata=good))
            assert raised.value.code().name == "PERMISSION_DENIED"


def test_metrics_and_access_log(url, client):
    client.call("is_server_live")
    text = requests.get(f"{url}/metrics").text
    assert re.search(r'myriad_grpc_requests_total\{method="ServerLive",code="0"\} \d', text)
    assert 'myriad_grpc_request_duration_seconds_count{method="ModelInfer"}' in text


def test_load_without_leave(tmp_path, build):
    workspace = Program(build / "myriad", tmp_path)
    workspace.run("init", ".")
    with workspace.serving("--grpc-listen", "127.0.0.1:0") as url:
        client = client_grpc.InferenceServerClient(url.grpc)
        for call in (client.load_model, client.unload_model):
            with pytest.raises(InferenceServerException, match="start the server with serve.model-control") as raised:
                call("oj")
            assert raised.value.status() == "StatusCode.PERMISSION_DENIED"
        client.close()


def test_the_proto_is_the_protocol():
    """Names and numbers of our .proto stand in the clients' own descriptors."""
    text = re.sub(r"//.*", "", pathlib.Path(ROOT / "share/grpc/inference.proto").read_text())
    checked, scope = 0, []
    for line in map(str.strip, text.splitlines()):
        if match := re.match(r"(?:repeated )?(?:map<\w+, *)?[\w.]+>? (\w+) = (\d+);", line):
            names = [name for name in scope if name]
            of = pb if names[0] in pb.DESCRIPTOR.message_types_by_name else model_config_pb2
            found = of.DESCRIPTOR.message_types_by_name[names[0]]
            for name in names[1:]:
                found = found.nested_types_by_name[name]
            assert found.fields_by_name[match[1]].number == int(match[2]), line
            checked += 1
        elif match := re.match(r"(\w+) = (\d+);", line):
            assert getattr(model_config_pb2, match[1]) == int(match[2]), line
            checked += 1
        elif match := re.match(r"rpc (\w+)\(", line):
            assert match[1] in pb.DESCRIPTOR.services_by_name["GRPCInferenceService"].methods_by_name
            checked += 1
        if match := re.match(r"(message|service|oneof|enum) (\w+) \{", line):
            scope.append(match[2] if match[1] == "message" else None)
        scope = scope[:len(scope) - line.count("}")] if "}" in line else scope
    assert checked > 100 and not scope


# ---- what is stored ----

STORED = """fleets:
  oj:
    store: {to: "sqlite:p.db", when: before_answer}
"""


@pytest.fixture
def storing(tmp_path, build):
    workspace = Program(build / "myriad", tmp_path)
    workspace.run("init", ".")
    (tmp_path / "m.json").write_text(linear(["price"], 1, [10]))
    workspace.run("model", "import", "m.json", "--fleet", "oj", "--segment", "")
    workspace.run("release", "create", "oj")
    (tmp_path / "s.yaml").write_text(STORED)
    with workspace.serving("--service", "s.yaml", "--grpc-listen", "127.0.0.1:0") as base:
        channel = grpc.insecure_channel(base.grpc)
        yield workspace, service_pb2_grpc.GRPCInferenceServiceStub(channel)
        channel.close()


def priced(price):
    request = pb.ModelInferRequest(model_name="oj", raw_input_contents=[np.array([[price]], "<f8").tobytes()])
    request.inputs.add(name="price", datatype="FP64", shape=[1, 1])
    return request


def stored_values(workspace):
    with contextlib.closing(sqlite3.connect(workspace.cwd / "p.db")) as db:
        return [row[0] for row in db.execute("SELECT value FROM prediction ORDER BY prediction_id")]


def answered(reply):
    return np.frombuffer(reply.raw_output_contents[0], "<f8")[0]


def test_what_is_answered_is_stored(storing):
    workspace, stub = storing
    assert answered(stub.ModelInfer(priced(0.5))) == 6
    streamed = list(stub.ModelStreamInfer(iter([priced(1), priced(2)])))
    assert [answered(part.infer_response) for part in streamed] == [11, 21]
    assert stored_values(workspace) == [6, 11, 21]


def test_a_key_is_answered_once(storing):
    workspace, stub = storing
    key = [("idempotency-key", "k1")]
    first = stub.ModelInfer(priced(0.5), metadata=key)
    again = stub.ModelInfer(priced(0.5), metadata=key)
    assert again.SerializeToString() == first.SerializeToString() and answered(again) == 6
    with pytest.raises(grpc.RpcError) as refused:
        stub.ModelInfer(priced(0.75), metadata=key)
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION, refused.value.details()
    assert stored_values(workspace) == [6]


# ---- overload ----

SLOW = """function run(row, prediction)
  local s = 0
  for i = 1, 300000 do s = s + i end
  prediction.fields.s = s
end
"""


def test_calls_that_would_be_late_are_refused_at_once(tmp_path, build):
    """One compute thread, calls of some milliseconds each, many at once that have little time."""
    workspace = Program(build / "myriad", tmp_path)
    workspace.run("init", ".")
    (tmp_path / "m.json").write_text(linear(["price"], 1, [10]))
    for fleet in ("oj", "other"):
        workspace.run("model", "import", "m.json", "--fleet", fleet, "--segment", "")
        workspace.run("release", "create", fleet)
    (tmp_path / "slow.lua").write_text(SLOW)
    (tmp_path / "s.yaml").write_text("fleets:\n  oj:\n    rules: slow.lua\n  other: {}\n")
    with workspace.serving("--service", "s.yaml", "--grpc-listen", "127.0.0.1:0", "--serve.compute-threads", "1",
                           "--serve.inline-rows-max", "0") as base:
        channel = grpc.insecure_channel(base.grpc)
        stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
        each = 60
        for _ in range(4):  # the first one connects
            began = time.monotonic()
            assert answered(stub.ModelInfer(priced(1))) == 11
            each = min(each, time.monotonic() - began)
        calls = [stub.ModelInfer.future(priced(1), timeout=max(12 * each, 0.1)) for _ in range(120)]
        other = priced(1)
        other.model_name = "other"
        assert answered(stub.ModelInfer(other, timeout=60)) == 11  # a fleet has its turn whatever the others do
        codes = [call.code() for call in calls]
        assert codes.count(grpc.StatusCode.OK) > 0 and codes.count(grpc.StatusCode.UNAVAILABLE) > 5, codes
        assert set(codes) <= {grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
        refused = next(call for call in calls if call.code() == grpc.StatusCode.UNAVAILABLE)
        assert ("grpc-retry-pushback-ms", "1000") in [(key, value) for key, value in refused.trailing_metadata()]
        channel.close()
        metrics = requests.get(f"{base}/metrics", timeout=30).text
        assert f'myriad_overload_refused_total{{listener="grpc"}} {codes.count(grpc.StatusCode.UNAVAILABLE)}' in metrics
        assert 'myriad_concurrency_limit{listener="grpc"}' in metrics and "\nmyriad_overload_refused_total 0\n" in metrics
