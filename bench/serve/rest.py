#!/usr/bin/env python3
"""One-row requests over keep-alive against nginx that answers a constant: server on one core, wrk on another.

Usage: bench/serve/rest.py [PROGRAM]      (default build/myriad; needs nginx and wrk: scripts/setup --bench)

Requests/s move with whatever else the machine does, so the rounds are interleaved and the processor time that the server
spent per request is given too, the least of all rounds.
"""
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time

ROUNDS, SECONDS, CONNECTIONS = 5, 2, 16
ROOT = pathlib.Path(__file__).resolve().parents[2]
FEATURES = ["week", *(f"price{i}" for i in range(1, 12)), "deal", "feat"]
VALUES = [0.0625 + i / 10 for i in range(len(FEATURES))]
ANSWER = ('{"model_name":"oj","model_version":"1","outputs":[{"name":"prediction","datatype":"FP64","shape":[1],'
          '"data":[4.1625]}]}')


def tensor(name, datatype, value):
    return {"name": name, "shape": [1], "datatype": datatype, "data": [value]}


def requests():
    columns = [tensor(name, "FP64", value) for name, value in zip(FEATURES, VALUES)]
    keys = [tensor("store", "INT64", 2), tensor("brand", "INT64", 1)]
    matrix = {"name": "features", "shape": [1, len(FEATURES)], "datatype": "FP64", "data": VALUES}
    return {"infer, fleet, 16 columns": ("/v2/models/oj/infer", {"inputs": keys + columns}),
            "infer, fleet, matrix": ("/v2/models/oj/infer", {"inputs": [*keys, matrix]}),
            "infer, one model, matrix": ("/v2/models/oj@store=2,brand=1/infer", {"inputs": [matrix]}),
            "score": ("/v1/fleets/oj/score", {"rows": [{"store": 2, "brand": 1, **dict(zip(FEATURES, VALUES))}]})}


def cpu_us(pid):
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        total += int((task / "schedstat").read_text().split()[0])  # nanoseconds on a processor
    return total / 1000


def wrk(url, script, pid):
    before = cpu_us(pid)
    done = subprocess.run(["taskset", "-c", "1", "wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "--latency", "-s", script, url],
                          capture_output=True, text=True, check=True)
    assert "Non-2xx" not in done.stdout, done.stdout
    count = int(re.search(r"(\d+) requests in", done.stdout)[1])
    p99, unit = re.search(r"99%\s+([\d.]+)(us|ms|s)", done.stdout).groups()
    return count / SECONDS, (cpu_us(pid) - before) / count, float(p99) * {"us": 1e-3, "ms": 1, "s": 1000}[unit]


def main():
    program = str(pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build" / "myriad").resolve())
    with tempfile.TemporaryDirectory() as directory:
        cwd = pathlib.Path(directory)
        (cwd / "m.json").write_text(json.dumps({"format": "myriad-linear", "version": 1, "features": FEATURES, "intercept": 1,
                                                "weights": [0.37] * len(FEATURES)}))
        for command in (["init", "."], ["model", "import", "m.json", "--fleet", "oj", "--segment", "store=2,brand=1"],
                        ["release", "create", "oj"]):
            subprocess.run([program, *command], cwd=cwd, check=True, capture_output=True)
        (cwd / "nginx.conf").write_text(
            f"worker_processes 1; daemon off; pid {cwd}/pid; error_log {cwd}/err; events {{ worker_connections 1024; }}\n"
            "http { access_log off; keepalive_requests 100000000; server { listen 127.0.0.1:18999; location / {"
            f" default_type application/json; return 200 '{ANSWER}'; }} }} }}\n")
        nginx = subprocess.Popen(["taskset", "-c", "0", "nginx", "-c", str(cwd / "nginx.conf")])
        server = subprocess.Popen(["taskset", "-c", "0", program, "serve", "--listen", "127.0.0.1:0", "--serve.loops", "1"],
                                  cwd=cwd, stdout=subprocess.PIPE, text=True)
        try:
            url = re.search(r"http://[^ ,]+", server.stdout.readline())[0]
            time.sleep(0.5)
            worker = int(subprocess.run(["pgrep", "-P", str(nginx.pid)], capture_output=True, text=True, check=True).stdout)
            report(cwd, url, worker, server.pid)
        finally:
            for process in (nginx, server):
                process.terminate()
                process.wait()


def report(cwd, url, worker, pid):
    results = {}
    for _ in range(ROUNDS):
        for i, (name, (path, body)) in enumerate(requests().items()):
            script = cwd / f"{i}.lua"
            script.write_text(f"wrk.method='POST'\nwrk.path='{path}'\nwrk.body=[[{json.dumps(body, separators=(',', ':'))}]]\n")
            if i == 0:
                results.setdefault("nginx, a constant", []).append(wrk("http://127.0.0.1:18999", str(script), worker))
            results.setdefault(name, []).append(wrk(url, str(script), pid))
    base = results["nginx, a constant"]
    print(f"{'':28}{'requests/s':>11}{'of nginx':>9}{'us cpu':>8}{'of nginx':>9}{'p99 ms':>8}")
    for name, rounds in results.items():
        rate, cost, p99 = max(r[0] for r in rounds), min(r[1] for r in rounds), min(r[2] for r in rounds)
        print(f"{name:28}{rate:11.0f}{rate / max(r[0] for r in base):9.2f}{cost:8.1f}{min(r[1] for r in base) / cost:9.2f}{p99:8.1f}")


if __name__ == "__main__":
    os.environ.setdefault("LC_ALL", "C")
    main()
