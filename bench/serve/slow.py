#!/usr/bin/env python3
"""What connections cost that do nothing, or too little: 2,000 slow ones to the others' p99, 18,000 idle ones in memory.

Usage: bench/serve/slow.py [PROGRAM] [--slow N] [--idle N] [--rounds N] [--seconds N]   (default build/myriad, 2,000, 18,000, 5, 3)

The server is on one core, all clients on the other. The good ones offer a third of what the server can do, each request at its moment
(openloop.c), with and without slow ones in turn. Slow ones send a byte of their headers, or of their body, every half second, or ask for
much and read nothing; who is cut off comes again at once. Idle ones have asked once, from four addresses.
"""
import argparse
import contextlib
import pathlib
import re
import resource
import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import load

ROOT = pathlib.Path(__file__).resolve().parents[2]
BODY = b'{"rows":[{"price":1}]}'
PATH = "/v1/fleets/oj/score"
HEAD = f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(BODY)}\r\n".encode()
WAYS = ("header", "body", "answer")
MODEL = '{"format":"myriad-linear","version":1,"features":["price"],"intercept":10.0,"weights":[1.0],"fills":[0.0]}'


def raise_files():
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


# ---- clients that are processes of their own: `slow.py slow WAY PORT N`, `slow.py idle PORT N` ----

def slow_open(way, port):
    s = socket.socket()
    if way == "answer":
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    s.connect(("127.0.0.1", port))
    s.sendall({"header": HEAD[:20], "body": HEAD + b"\r\n", "answer": b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 3}[way])
    s.setblocking(False)
    return s


def slow_main(way, port, count):
    raise_files()
    clients = [slow_open(way, port) for _ in range(count)]
    print("there", flush=True)
    began, done, watch = time.monotonic(), 0, selectors.DefaultSelector()
    watch.register(sys.stdin, selectors.EVENT_READ)
    while not watch.select(0.002):  # each has its turn every half second, none with all the others
        due = int((time.monotonic() - began) / 0.5 * count)
        for i in range(done, due):
            s = clients[i % count]
            try:
                if way != "answer":
                    s.send(b"X" if way == "header" else b" ")
            except BlockingIOError:
                pass
            except OSError:
                s.close()
                clients[i % count] = slow_open(way, port)
        done = due


def idle_main(port, count):
    raise_files()
    kept = []
    for i in range(count):
        s = socket.socket()
        s.bind((f"127.0.0.{2 + i % 4}", 0))
        s.connect(("127.0.0.1", port))
        s.sendall(HEAD + b"\r\n" + BODY)
        assert s.recv(4096).startswith(b"HTTP/1.1 200"), i
        kept.append(s)
    print("there", flush=True)
    sys.stdin.read()


@contextlib.contextmanager
def clients(*args):
    process = subprocess.Popen(load.on(load.LOAD_CORE, sys.executable, __file__, *args), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout.readline() == "there\n"
        yield
    finally:
        process.stdin.close()
        process.wait()


# ---- the server ----

@contextlib.contextmanager
def serving(program, cwd, *args):
    process = subprocess.Popen(load.on(load.SERVER_CORE, program, "serve", "--listen", "127.0.0.1:0", "--serve.loops", "1", *args), cwd=cwd,
                               text=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        yield re.search(r"http://[^ ,]+", process.stdout.readline())[0], process.pid
    finally:
        process.terminate()
        process.wait()


def make(program, cwd):
    (cwd / "m.json").write_text(MODEL)
    for command in (["init", "."], ["model", "import", "m.json", "--fleet", "oj", "--segment", ""], ["release", "create", "oj"]):
        subprocess.run([program, *command], cwd=cwd, check=True, capture_output=True)


def settle(port):
    """Who came at once is let in before anything is measured: somebody else is answered quickly, several times over."""
    quick, until = 0, time.monotonic() + 60
    while quick < 5 and time.monotonic() < until:
        began = time.monotonic()
        with socket.create_connection(("127.0.0.1", int(port)), timeout=60) as s:
            s.sendall(b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert s.recv(4096).startswith(b"HTTP/1.1 200")
        quick = quick + 1 if time.monotonic() - began < 0.05 else 0
        time.sleep(0.1)


def measured(url, rate, cwd, given):
    """The good ones' p99; again if the generator itself was held up, by whatever else this machine does."""
    for _ in range(5):
        seen = load.open_loop(url, PATH, BODY, rate, cwd, seconds=given.seconds)
        if seen["unsent"] <= seen["offered"] / 100 and seen["lag_ms"] < seen["p99_ms"]:
            assert seen["broken"] == 0 and set(seen["statuses"]) == {"200"}, seen
            return seen["p99_ms"]
    raise SystemExit(f"this machine is too busy for {rate} requests/s: {seen}")


def slow(program, cwd, given):
    with serving(program, cwd) as (url, _):
        port = url.rsplit(":", 1)[1]
        script = load.wrk_script(cwd / "one.lua", PATH, BODY)
        rate = int(load.wrk(url, script)[0] / 3)
        print(f"good clients: {rate} requests/s, a third of the peak")
        for way in WAYS:
            rows = []
            for _ in range(given.rounds):
                alone = measured(url, rate, cwd, given)
                with clients("slow", way, port, str(given.slow)):
                    settle(port)
                    rows.append((alone, measured(url, rate, cwd, given)))
            alone, beside = (statistics.median(r[i] for r in rows) for i in (0, 1))
            print(f"{given.slow} slow in the {way:8} p99 {alone:.2f} -> {beside:.2f} ms, {beside / alone:.2f}x   must 1.2x")


def resident(pid):
    return int(re.search(r"VmRSS:\s+(\d+) kB", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) << 10


def idle(program, cwd, given):
    with serving(program, cwd, "--serve.connections-max", "20000") as (url, pid):
        port = url.rsplit(":", 1)[1]
        with clients("idle", port, "50"):
            before = resident(pid)
        with clients("idle", port, str(given.idle)):
            each = (resident(pid) - before) / given.idle
            began = time.monotonic()
            with clients("idle", port, "50"):
                took = time.monotonic() - began
    print(f"{given.idle} idle connections     {each / 1024:.1f} KB each   must 16; 50 more were answered in {took:.2f} s")


def main():
    if sys.argv[1:2] == ["slow"]:
        return slow_main(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
    if sys.argv[1:2] == ["idle"]:
        return idle_main(int(sys.argv[2]), int(sys.argv[3]))
    args = argparse.ArgumentParser()
    args.add_argument("program", nargs="?", default=str(ROOT / "build" / "myriad"))
    args.add_argument("--slow", type=int, default=2000)
    args.add_argument("--idle", type=int, default=18000)
    args.add_argument("--rounds", type=int, default=5)
    args.add_argument("--seconds", type=int, default=3)
    given = args.parse_args()
    load.need("wrk", "cc")
    raise_files()
    program = str(pathlib.Path(given.program).resolve())
    with tempfile.TemporaryDirectory() as directory:
        cwd = pathlib.Path(directory)
        make(program, cwd)
        idle(program, cwd, given)
        slow(program, cwd, given)


if __name__ == "__main__":
    main()
