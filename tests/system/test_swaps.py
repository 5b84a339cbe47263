"""Releases swap, fleets load and unload, shares move, service files come and go, all under full load: no request fails, every answer is of one release.

Eight seconds; a minute with MYR_LONG=1.
"""
import http.client
import json
import os
import random
import re
import signal
import threading
import time

import pytest
import requests
from conftest import linear

SECONDS = 60 if os.environ.get("MYR_LONG") else 8
CLIENTS = 8
ROWS = [{"store": s, "brand": b, "price": 0.5, "deal": 1} for s in (1, 2, 3) for b in (1, 2)]
SERVICES = ["fleets:\n  oj: {split: {challenger: 60}, deadline: 50s}\n  other: {}\n", "fleets: {oj: {split: {challenger: 101}}}\n",
            "fleets:\n  oj: {split: {challenger: 30}, validate: {inputs: {price: {max: 9}}}}\n  other: {}\n"]
SEGMENTS = {"store=2,brand=1": 10, "brand=1": 100, "": 1000}


def answers(more):
    """Of all rows, by a release whose intercepts are higher by `more`."""
    return [SEGMENTS["store=2,brand=1" if (r["store"], r["brand"]) == (2, 1) else "brand=1" if r["brand"] == 1 else ""] + more + 1 for r in ROWS]


@pytest.fixture
def two_releases(workspace):
    """oj with releases 1 and 2, challenger is 2; `other` comes and goes."""
    for more in (0, 1):
        for segment, intercept in SEGMENTS.items():
            (workspace.cwd / "m.json").write_text(linear(["price", "deal"], intercept + more, [1, 0.5]))
            workspace.run("model", "import", "m.json", "--fleet", "oj", "--segment", segment)
        workspace.run("release", "create", "oj")
    workspace.run("release", "promote", "oj", 1)
    workspace.run("release", "promote", "oj", 2, "--alias", "challenger")
    workspace.run("model", "import", "m.json", "--fleet", "other", "--segment", "")
    workspace.run("release", "create", "other")
    (workspace.cwd / "prices.yaml").write_text("fleets:\n  oj: {split: {challenger: 30}}\n  other: {}\n")
    return workspace


class Client(threading.Thread):
    """Asks in both protocols until told to stop; remembers what was wrong, and how often each release answered."""

    def __init__(self, url, stop, number):
        super().__init__()
        self.url, self.stop, self.number = url, stop, number
        self.wrong, self.count = [], {1: 0, 2: 0}

    def run(self):
        connection = http.client.HTTPConnection(self.url.removeprefix("http://"), timeout=60)
        score = json.dumps({"rows": ROWS})
        columns = [{"name": name, "datatype": kind, "shape": [len(ROWS)], "data": [r[name] for r in ROWS]}
                   for name, kind in (("store", "INT64"), ("brand", "INT64"), ("price", "FP64"), ("deal", "FP64"))]
        infer = json.dumps({"inputs": columns})
        chance = random.Random(self.number)
        try:
            while not self.stop.is_set():
                is_score = chance.random() < 0.5
                headers = {"X-Myriad-Sticky": str(chance.randrange(1000)), "X-Deadline-Ms": "60000"}
                connection.request("POST", "/v1/fleets/oj/score" if is_score else "/v2/models/oj/infer", score if is_score else infer, headers)
                reply = connection.getresponse()
                body = json.loads(reply.read())
                if reply.status != 200:
                    raise AssertionError(f"{reply.status} {body}")
                found = [r["prediction"] for r in body["rows"]] if is_score else body["outputs"][0]["data"]
                release = int(reply.headers["X-Myriad-Release"]) if is_score else int(body["model_version"])
                assert found == answers(release - 1), (release, found)
                self.count[release] += 1
        except BaseException as problem:
            self.wrong.append(repr(problem))


def test_swaps_under_full_load(two_releases):
    program = two_releases
    with program.serving("--serve.reload", "20ms", "--serve.model-control", "true", "--service", "prices.yaml") as url:
        stop = threading.Event()
        clients = [Client(url, stop, i) for i in range(CLIENTS)]
        for client in clients:
            client.start()
        end, rounds = time.monotonic() + SECONDS, 0
        while time.monotonic() < end and not any(c.wrong for c in clients):
            program.run("release", "promote", "oj", 1 + rounds % 2)
            assert requests.post(f"{url}/v2/repository/models/other/unload").status_code == 200
            program.run("release", "promote", "oj", 2 - rounds % 2, "--alias", "challenger")
            (program.cwd / "prices.yaml").write_text(SERVICES[rounds % len(SERVICES)])
            os.kill(url.pid, signal.SIGHUP)
            assert requests.post(f"{url}/v2/repository/models/other/load").status_code == 200
            assert requests.post(f"{url}/v2/repository/models/oj/load").status_code == 200
            program.run("release", "rollback", "oj")
            rounds += 1
        stop.set()
        for client in clients:
            client.join()
        assert [c.wrong for c in clients if c.wrong] == []
        assert rounds >= 3 and sum(c.count[1] for c in clients) > 100 and sum(c.count[2] for c in clients) > 100
        metrics = requests.get(f"{url}/metrics").text
        assert "myriad_reload_failures_total 0" in metrics
        taken, refused = (int(re.search(rf'myriad_service_files_total\{{result="{r}"\}} (\d+)', metrics)[1]) for r in ("taken", "refused"))
        assert taken >= 3 and refused >= 1
        assert 'myriad_release_rows_total{fleet="oj",release="1"}' in metrics
        print(f"{rounds} rounds, {sum(sum(c.count.values()) for c in clients)} answers")
