"""Redis is killed and PostgreSQL crashes while a service that fetches and stores is under load: what is answered meanwhile, that
nothing that was acknowledged is missing, and that both are found again without a restart."""
import json
import threading
import time

import requests
from databases import Postgres, Redis
from servers import running
from test_predictions import fleet, service, serving  # noqa: F401  (fleet is a fixture)

CLIENTS = 6
PHASE_SECONDS = 1


class Load:
    """Clients that ask without a pause. Each request's `deal` is its own number; its price comes from Redis: 0.5."""

    def __init__(self, server):
        self.server, self.lock, self.stop, self.numbers = server, threading.Lock(), threading.Event(), iter(range(1, 1 << 30))
        self.answers = []  # (when, number, status, row or error)
        self.threads = [threading.Thread(target=self.client) for _ in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def client(self):
        with requests.Session() as session:
            while not self.stop.is_set():
                with self.lock:
                    number = next(self.numbers)
                answer = session.post(f"{self.server.url}/v1/fleets/oj/score", timeout=30,
                                      json={"rows": [{"store": 2, "brand": 1, "deal": number}]})
                told = answer.json()["rows"][0] if answer.status_code == 200 else answer.json()["error"]
                with self.lock:
                    self.answers.append((time.monotonic(), number, answer.status_code, told))

    def until(self, condition, seconds=30):
        """Wait until an answer of now on is so; gives how long that took."""
        begin = time.monotonic()
        while time.monotonic() < begin + seconds:
            with self.lock:
                found = [a for a in self.answers[-4 * CLIENTS:] if a[0] > begin and condition(a)]
            if found:
                return time.monotonic() - begin
            time.sleep(0.01)
        raise AssertionError(f"none of the answers is so: {self.answers[-3:]}")

    def phase(self):
        """What is answered from now on, for a while."""
        begin = time.monotonic()
        time.sleep(PHASE_SECONDS)
        with self.lock:
            return [a for a in self.answers if a[0] > begin]

    def settles(self, seconds=15):
        """All is whole again: each connection mends by itself, after a pause of its own of at most 2 s."""
        end = time.monotonic() + seconds
        while others := [answer for answer in self.phase() if not is_whole(answer)]:
            assert time.monotonic() < end, others[-3:]

    def end(self):
        self.stop.set()
        for thread in self.threads:
            thread.join()


def is_whole(answer):
    """Stored, with its features."""
    return answer[2] == 200 and answer[3]["prediction"] == 5 + answer[1] and "message" not in answer[3]


def test_redis_is_killed_and_postgresql_crashes_under_load(fleet):  # noqa: F811
    with running(Redis) as redis, running(Postgres) as postgres:
        fleet.run("features", "load", "features.csv", "--to", redis.uri, "--table", "prices", "--keys", "store,brand")
        text = f"""
fetch: [{{from: "{redis.uri}", table: prices, keys: [store, brand], features: [price], within: 300ms}}]
store: {{to: "{postgres.uri}", when: before_answer}}
deadline: 3s
"""
        with serving(fleet, *service(fleet, text)) as server:
            load = Load(server)
            try:
                load.settles()

                redis.kill()  # SIGKILL: rows go on without what was fetched, say so, and are stored
                load.until(lambda a: a[2] == 200 and "message" in a[3])
                for _, number, status, told in load.phase():
                    assert status == 200 and told["prediction"] == number and "prices" in told["message"], told
                redis.start()
                load.settles()

                postgres.kill()  # SIGQUIT: all of it ends at once, without a checkpoint
                load.until(lambda a: a[2] == 503)
                for _, _, status, told in load.phase():
                    assert status in (503, 504) and "secret-word" not in told, told
                ready = requests.get(f"{server.url}/v2/health/ready", timeout=30)
                assert ready.status_code == 200, "a store is no reason to send everyone away"
                postgres.start()
                load.settles()

                redis.kill()
                postgres.kill()  # both at once, and back in the other order
                load.until(lambda a: a[2] == 503)
                postgres.start()
                load.until(lambda a: a[2] == 200 and "message" in a[3])
                redis.start()
                load.settles()
            finally:
                load.end()
            statuses = {a[2] for a in load.answers}
            assert statuses <= {200, 503, 504}, statuses
            lines = postgres.sql("SELECT value, features FROM myriad_prediction").splitlines()
            stored = [(float(value), json.loads(features)["deal"]) for value, features in (line.split("|", 1) for line in lines)]
            acknowledged = [(a[3]["prediction"], a[1]) for a in load.answers if a[2] == 200]
            assert len(acknowledged) > 50 and set(acknowledged) <= set(stored), set(acknowledged) - set(stored)
            assert len(stored) == len(set(stored)), "none twice"
