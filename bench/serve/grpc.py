#!/usr/bin/env python3
"""ModelInfer over gRPC against our own health call: server on one core, h2load on another.

Usage: bench/serve/grpc.py [PROGRAM]      (default build/myriad; needs h2load: scripts/setup --bench)

One row per call, 16 connections, with 1 and with 16 calls at once on each. The health call has the same frames, headers and
way through the listener, so the ratio is what reading, scoring and writing cost. Requests/s move with whatever else the machine
does: the rounds are interleaved, and the processor time per call is given too, the least of all rounds.
"""
import json
import os
import pathlib
import re
import struct
import subprocess
import sys
import tempfile

ROUNDS, SECONDS, CONNECTIONS = 5, 2, 16
ROOT = pathlib.Path(__file__).resolve().parents[2]
FEATURES = ["week", *(f"price{i}" for i in range(1, 12)), "deal", "feat"]
VALUES = [0.0625 + i / 10 for i in range(len(FEATURES))]
V2, HEALTH = "/inference.GRPCInferenceService/", "/grpc.health.v1.Health/Check"


def varint(number):
    return bytes([number]) if number < 128 else bytes([number % 128 + 128]) + varint(number // 128)


def field(number, data):
    return varint(number << 3 | 2) + varint(len(data)) + data


def infer(model, tensors):
    """A ModelInferRequest of tensors (name, datatype, shape, bytes), raw."""
    inputs = b"".join(field(5, field(1, name.encode()) + field(2, datatype.encode()) + field(3, bytes(shape)))
                      for name, datatype, shape, _ in tensors)
    return field(1, model.encode()) + inputs + b"".join(field(7, data) for *_, data in tensors)


def calls():
    keys = [("store", "INT64", [1], struct.pack("<q", 2)), ("brand", "INT64", [1], struct.pack("<q", 1))]
    columns = [(name, "FP64", [1], struct.pack("<d", value)) for name, value in zip(FEATURES, VALUES)]
    matrix = ("features", "FP64", [1, len(FEATURES)], struct.pack(f"<{len(VALUES)}d", *VALUES))
    return {"health": (HEALTH, b""),
            "ServerLive": (V2 + "ServerLive", b""),
            "ModelInfer, one model, matrix": (V2 + "ModelInfer", infer("oj@store=2,brand=1", [matrix])),
            "ModelInfer, fleet, matrix": (V2 + "ModelInfer", infer("oj", [*keys, matrix])),
            "ModelInfer, fleet, 16 columns": (V2 + "ModelInfer", infer("oj", [*keys, *columns]))}


def cpu_us(pid):
    return sum(int((task / "schedstat").read_text().split()[0]) for task in pathlib.Path(f"/proc/{pid}/task").iterdir()) / 1000


def h2load(address, path, body, streams, pid):
    before = cpu_us(pid)
    done = subprocess.run(["taskset", "-c", "1", "h2load", "-t1", f"-c{CONNECTIONS}", f"-m{streams}", f"-D{SECONDS}", "--warm-up-time=1",
                           "-H", "content-type: application/grpc", "-H", "te: trailers", f"--data={body}", f"http://{address}{path}"],
                          capture_output=True, text=True, check=True)
    assert re.search(r" 0 failed, 0 errored", done.stdout), done.stdout
    rate = float(re.search(r"finished in [\d.]+\w+, ([\d.]+) req/s", done.stdout)[1])
    count = int(re.search(r"(\d+) succeeded", done.stdout)[1])
    return rate, (cpu_us(pid) - before) / max(1, count) * SECONDS / (SECONDS + 1)  # the warm-up is not counted, but costs


def check(address, path, body):
    """grpc-status 0 and a message, before anything is measured."""
    done = subprocess.run(["curl", "-sS", "--http2-prior-knowledge", "-D-", "-o/dev/null", "-H", "content-type: application/grpc", "-H",
                           "te: trailers", "--data-binary", f"@{body}", f"http://{address}{path}"], capture_output=True, text=True, check=True)
    assert "grpc-status: 0" in done.stdout, done.stdout


def main():
    program = str(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "myriad").resolve())
    with tempfile.TemporaryDirectory() as directory:
        cwd = pathlib.Path(directory)
        (cwd / "m.json").write_text(json.dumps({"format": "myriad-linear", "version": 1, "features": FEATURES, "intercept": 1,
                                                "weights": [0.37] * len(FEATURES)}))
        for command in (["init", "."], ["model", "import", "m.json", "--fleet", "oj", "--segment", "store=2,brand=1"],
                        ["release", "create", "oj"]):
            subprocess.run([program, *command], cwd=cwd, check=True, capture_output=True)
        server = subprocess.Popen(["taskset", "-c", "0", program, "serve", "--listen", "127.0.0.1:0", "--grpc-listen", "127.0.0.1:0",
                                   "--serve.loops", "1"], cwd=cwd, stdout=subprocess.PIPE, text=True)
        try:
            address = re.search(r"gRPC on ([^ ,]+)", server.stdout.readline())[1]
            for streams in (1, 16):
                report(cwd, address, streams, server.pid)
        finally:
            server.terminate()
            server.wait()


def report(cwd, address, streams, pid):
    results = {}
    for turn in range(ROUNDS):
        for i, (name, (path, message)) in enumerate(calls().items()):
            body = cwd / f"{i}.bin"
            body.write_bytes(b"\0" + struct.pack(">I", len(message)) + message)
            if turn == 0:
                check(address, path, body)
            results.setdefault(name, []).append(h2load(address, path, body, streams, pid))
    base = results["health"]
    print(f"{CONNECTIONS} connections, {streams} calls at once on each")
    print(f"{'':32}{'requests/s':>11}{'of health':>10}{'us cpu':>8}{'of health':>10}")
    for name, rounds in results.items():
        rate, cost = max(r[0] for r in rounds), min(r[1] for r in rounds)
        print(f"{name:32}{rate:11.0f}{rate / max(r[0] for r in base):10.2f}{cost:8.1f}{min(r[1] for r in base) / cost:10.2f}")


if __name__ == "__main__":
    os.environ.setdefault("LC_ALL", "C")
    main()
