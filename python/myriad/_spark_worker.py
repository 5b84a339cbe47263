"""``python -m myriad.spark --worker``: what ``myriad batch run`` starts for a job with ``compute: {type: spark}``.

It is asked over a socket as workers of the program itself are (docs/internals/batch.md): open a fleet, plan, then score: all
inputs at once, on Spark, into a directory that the program publishes. When nobody asks any more it gives its executors back.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import queue
import re
import socket
import threading
from typing import TYPE_CHECKING, Any

from . import spark
from ._abi import LEVELS, STATUSES, lib
from ._errors import Error, error
from ._spark_job import cause, read, session_of
from ._spark_rows import DETAILS
from .registry import Registry

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_SOCKET = 3  # where the program leaves it
_FRAME_BYTES_MAX = 256 << 20
_TELL_SECONDS = 0.5
_CODES = {name.decode(): number for number in range(1, 64) if (name := lib.myr_error_name(number)) is not None}


class _Link:
    """Frames: four bytes of length, then so many of JSON."""

    def __init__(self) -> None:
        self._socket = socket.socket(fileno=_SOCKET)
        self._lock = threading.Lock()

    def hear(self) -> dict[str, Any] | None:
        """The next request; None: there is none any more."""
        size = self._take(4)
        if size is None or int.from_bytes(size, "little") > _FRAME_BYTES_MAX:
            return None
        frame = self._take(int.from_bytes(size, "little"))
        return None if frame is None else json.loads(frame)

    def _take(self, size: int) -> bytes | None:
        found = bytearray()
        while len(found) < size:
            part = self._socket.recv(min(size - len(found), 1 << 20))
            if not part:
                return None
            found += part
        return bytes(found)

    def tell(self, answer: dict[str, Any]) -> None:
        data = json.dumps(answer).encode()
        with self._lock:
            self._socket.sendall(len(data).to_bytes(4, "little") + data)


class _Worker:
    def __init__(self, link: _Link) -> None:
        self.link = link
        self.settings: dict[str, Any] = {}
        self.plan: dict[str, Any] = {}
        self.session: SparkSession | None = None

    def answer(self, request: dict[str, Any]) -> dict[str, Any]:
        if "open" in request:
            return self._open(request)
        if "plan" in request:
            self.plan = request
            return {}
        return self._score(request)

    def _open(self, request: dict[str, Any]) -> dict[str, Any]:
        try:
            import pyspark  # noqa: F401
        except ImportError as problem:
            raise error("UNSUPPORTED", f"{problem}: pip install 'pyspark>=3.5', or name a Python that has it in `compute: {{python: …}}`") from None
        self.settings = json.loads(request["open"])
        self.pack = Registry(request["workspace"]).open(self.settings["fleet"], self.settings["release"])
        return {}

    def _score(self, request: dict[str, Any]) -> dict[str, Any]:
        compute = self.settings["spark"]
        args = argparse.Namespace(master=compute.get("master"), min_executors=compute["min"], max_executors=compute["max"] or None,
                                  idle_seconds=self.settings["idle_ms"] / 1000,
                                  conf=["spark.sql.sources.partitionColumnTypeInference.enabled=false", *compute.get("conf", ())])
        with session_of(args, f"myriad {self.settings['job'] or self.settings['fleet']}") as session:
            self.session = session
            try:
                return self._write(session, request)
            finally:
                self.session = None

    def _write(self, session: "SparkSession", request: dict[str, Any]) -> dict[str, Any]:
        by, keep = self.settings.get("by", []), self.plan["keep"]
        counts = spark.Counts(session)
        rows = self._read(session, {*keep, *self.pack.keys, *self.pack.features})
        output, details = (self.settings["kinds"] or ["value"])[0], self.settings.get("details", DETAILS)
        scored = spark.score(rows, self.pack, keep=keep, output=output, details=details, counts=counts)
        writer = scored.write.partitionBy(*by) if by else scored.write
        is_csv = self.settings["format"] == "csv"
        done = threading.Event()
        teller = threading.Thread(target=self._tell, args=(session, counts, done), daemon=True)
        teller.start()
        try:
            (writer.option("header", True) if is_csv else writer).format(self.settings["format"]).save(f"file:{request['dir']}")
        finally:
            done.set()
            teller.join()
        _name_parts(pathlib.Path(request["dir"]), self.settings["format"])
        reader = session.read.schema(scored.schema).format(self.settings["format"])
        written = (reader.option("header", True) if is_csv else reader).load(f"file:{request['dir']}")
        if not is_csv and written.count() != counts.rows:  # Parquet knows it without being read
            raise error("INTERNAL", f"{counts.rows} rows were scored and {written.count()} written")
        if "status" not in details:  # where it is asked for, the models say it again
            written = spark.score(rows, self.pack, keep=[], output=output, details=["status"])
        return self._count(counts, written, request) | {"application": session.sparkContext.applicationId}

    def _read(self, session: "SparkSession", needed: set[str]) -> "DataFrame":
        """The inputs. Columns that files don't have may stand in their paths, as store=7/."""
        paths = [f"file:{_plain(path)}" for path in self.plan["files"]]
        rows = read(session, paths)
        above = re.match(r"(.*?)/[^/=]+=[^/]*/", self.plan["files"][0]) if needed - set(rows.columns) else None
        return read(session, paths, base=f"file:{above[1] or '/'}") if above else rows

    def _tell(self, session: "SparkSession", counts: spark.Counts, done: threading.Event) -> None:
        """How far it is, whenever a task more is done."""
        tracker, last = session.sparkContext.statusTracker(), None
        while not done.wait(_TELL_SECONDS):
            stages = [tracker.getStageInfo(stage) for stage in tracker.getActiveStageIds()]
            now = counts.rows, sum(stage.numCompletedTasks for stage in stages if stage is not None)
            if now != last:
                self.link.tell({"progress": now[0]})
            last = now

    def _count(self, counts: spark.Counts, answers: "DataFrame", request: dict[str, Any]) -> dict[str, Any]:
        """What was counted, as a worker of the program says it; rows without an answer become dead letters."""
        levels, statuses = dict.fromkeys(LEVELS, 0) | counts.levels, dict.fromkeys(STATUSES, 0) | counts.statuses
        answer: dict[str, Any] = {"rows": counts.rows, "dead": counts.rows - statuses["ok"], "compared": 0, "levels": list(levels.values()),
                                  "statuses": list(statuses.values()), "used": self._used(counts.models_used)}
        if answer["dead"]:
            first = self._write_dead(answers, request)
            if statuses["bad_key"]:
                answer["bad_key"] = f"the first row without an answer has the key {json.dumps(first, ensure_ascii=False)}"
        if statuses["unavailable"]:
            answer |= {"trouble_code": _CODES["UNSUPPORTED"],
                       "trouble": "its model is not ours (ONNX networks, score.py), and Spark's workers run none: use `compute: {type: local}`"}
        return answer

    def _used(self, models: int) -> list[int]:
        """Models that answered, a bit for each, as pairs: how many did not, how many did, in the order of the pack."""
        runs, now = [0], False
        for bit in f"{models:0{len(self.pack)}b}"[::-1] if len(self.pack) else "":
            if (bit == "1") != now:
                runs.append(0)
                now = not now
            runs[-1] += 1
        return runs

    def _write_dead(self, answers: "DataFrame", request: dict[str, Any]) -> dict[str, Any]:
        """Gives the first one's key. Which row of which file it was Spark has forgotten by now."""
        first = None
        with open(request["dead"], "w", encoding="utf-8") as out:
            for row in answers.where("status <> 'ok'").select(*(f"`{key}`" for key in self.pack.keys), "status").toLocalIterator():
                key = {name: value if value is None or isinstance(value, (int, float, str)) else str(value) for name, value in zip(self.pack.keys, row)}
                first = first or key
                out.write(json.dumps({"key": key, "cause": row["status"], "mini_batch": request["name"], "attempt": request["attempt"]},
                                     ensure_ascii=False) + "\n")
            out.flush()
            os.fsync(out.fileno())
        return first or {}


def _plain(path: str) -> str:
    """A path that Spark does not take for a pattern."""
    return re.sub(r"([\\*?\[\]{}])", r"\\\1", path)


def _name_parts(folder: pathlib.Path, suffix: str) -> None:
    """part-0.parquet, part-1.parquet … in each directory, and nothing else."""
    for place, _, names in os.walk(folder):
        parts = [name for name in sorted(names) if name.startswith("part-")]
        for name in set(names) - set(parts):
            os.unlink(os.path.join(place, name))
        for number, name in enumerate(parts):
            os.rename(os.path.join(place, name), os.path.join(place, f"part-{number}.{suffix}"))


def _end_when_nobody_asks(link: _Link, requests: "queue.Queue[dict[str, Any]]", worker: _Worker) -> None:
    """The program has gone, or the run is over or cancelled: executors go back, whatever they are at."""
    while (request := link.hear()) is not None:
        requests.put(request)
    try:
        if worker.session is not None:
            worker.session.stop()
    finally:
        os._exit(0)


def main() -> int:
    link = _Link()
    worker = _Worker(link)
    requests: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_end_when_nobody_asks, args=(link, requests, worker), daemon=True).start()
    while True:
        try:
            answer = worker.answer(requests.get())
        except Error as problem:
            answer = {"error": _CODES.get(problem.code, _CODES["INTERNAL"]), "message": problem.message}
        except Exception as problem:  # of Spark: an executor's, a disk's, the master's
            answer = {"error": _CODES["UNAVAILABLE"], "message": f"Spark: {cause(problem)}"}
        link.tell(answer)


__all__ = ["main"]
