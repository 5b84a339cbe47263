#!/usr/bin/env python3
"""Goodput under overload: requests offered at 1, 10 and 50 times of what the server can do, whoever waits for whom.

Usage: bench/serve/overload.py [PROGRAM] [--seconds N] [--rows N] [--deadline MS]     (default build/myriad, 10 s, 20,000 rows, 400 ms)

Each request has enough rows that one compute thread answers some tens a second, so that a load generator in Python can offer
fifty times as many. It is open loop: requests are sent when they are due, however late the answers are. Counted are answers with 200
within the deadline, as the client's clock sees it.
"""
import argparse
import asyncio
import json
import pathlib
import re
import subprocess
import tempfile
import time

CONNECTIONS = 400


class Client:
    """Connections that are free, and what came of the requests."""

    def __init__(self, host, port, request, deadline_s):
        self.host, self.port, self.request, self.deadline_s = host, port, request, deadline_s
        self.free, self.made, self.codes, self.good, self.late = [], 0, {}, 0, 0

    async def connection(self):
        if self.free:
            return self.free.pop()
        if self.made >= CONNECTIONS:
            return None
        self.made += 1
        return await asyncio.open_connection(self.host, self.port, limit=1 << 26)

    async def ask(self):
        began = time.monotonic()
        pair = await self.connection()
        if pair is None:  # nothing is free: a client would have given up
            self.codes["unsent"] = self.codes.get("unsent", 0) + 1
            return
        reader, writer = pair
        try:
            writer.write(self.request)
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(re.search(rb"(?i)content-length: (\d+)", head)[1]))
        except (OSError, asyncio.IncompleteReadError):
            self.codes["broken"] = self.codes.get("broken", 0) + 1
            self.made -= 1
            return
        self.free.append(pair)
        code = int(head[9:12])
        self.codes[code] = self.codes.get(code, 0) + 1
        in_time = time.monotonic() - began <= self.deadline_s
        self.good += code == 200 and in_time
        self.late += code == 200 and not in_time


async def closed_loop(client, seconds):
    """What the server can do: two at a time, one after the other."""
    until = time.monotonic() + seconds

    async def one():
        while time.monotonic() < until:
            await client.ask()
    await asyncio.gather(one(), one())
    return client.good / seconds


async def open_loop(client, rate, seconds):
    began, sent, tasks = time.monotonic(), 0, set()
    while (now := time.monotonic()) - began < seconds:
        while sent < (now - began) * rate:
            task = asyncio.ensure_future(client.ask())
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            sent += 1
        await asyncio.sleep(0.001)
    await asyncio.gather(*tasks)
    return client.good / seconds


def make(program, cwd):
    (cwd / "m.json").write_text(json.dumps({"format": "myriad-linear", "version": 1, "features": ["x"], "intercept": 1.0, "weights": [2.0],
                                            "fills": [0.0]}))
    for command in (["init", "."], ["model", "import", "m.json", "--fleet", "f", "--segment", ""], ["release", "create", "f"]):
        subprocess.run([program, *command], cwd=cwd, check=True, capture_output=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program", nargs="?", default="build/myriad")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rows", type=int, default=20000)
    parser.add_argument("--deadline", type=int, default=400)
    args = parser.parse_args()
    program = str(pathlib.Path(args.program).resolve())
    body = json.dumps({"rows": [{"x": 1}] * args.rows}).encode()
    request = (f"POST /v1/fleets/f/score HTTP/1.1\r\nHost: x\r\nX-Deadline-Ms: {args.deadline}\r\n"
               f"Content-Length: {len(body)}\r\n\r\n").encode() + body
    with tempfile.TemporaryDirectory() as where:
        cwd = pathlib.Path(where)
        make(program, cwd)
        server = subprocess.Popen([program, "serve", "--listen", "127.0.0.1:0", "--serve.loops", "1", "--serve.compute-threads", "1"],
                                  cwd=cwd, stdout=subprocess.PIPE, text=True)
        try:
            port = int(re.search(r":(\d+)", server.stdout.readline())[1])
            fresh = lambda: Client("127.0.0.1", port, request, args.deadline / 1000)  # noqa: E731
            peak = asyncio.run(closed_loop(fresh(), args.seconds))
            print(f"peak{peak:20.1f} answers/s")
            for times in (1, 10, 50):
                client = fresh()
                goodput = asyncio.run(open_loop(client, peak * times, args.seconds))
                print(f"{times:3}x offered{goodput:13.1f} answers/s in time, {100 * goodput / peak:5.1f} % of the peak; {client.late} late; "
                      f"{client.codes}")
        finally:
            server.terminate()
            server.wait(60)


if __name__ == "__main__":
    main()
