"""Batches of a Spark task scored: what runs inside Spark's Python workers. The driver's part is ``spark.py``."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np

from . import _arrow
from ._abi import BY_KEY, LEVELS, OUTPUTS, STATUSES
from ._pack import Pack, _Call

if TYPE_CHECKING:
    import pyarrow


class Plan(TypedDict):
    """What a task does, in plain values: a worker can read it before it can import this package."""

    package: str | None  #: the folder below Spark's files that holds this package; None: it is installed
    digest: str  #: of the pack
    files: list[tuple[str, str]]  #: of the pack: the name that was shipped, the name that the pack knows; the index first
    kept: int  #: so many columns of a batch, from its first, are copied to the answer
    inputs: list[int]  #: which columns the models need, and under which names
    input_names: list[str]
    keys: list[str]  #: of these names, the partition columns
    output: str
    details: list[str]  #: of DETAILS, what is told beside the values
    names: list[str]  #: columns of the answer


#: What may stand beside the values, in this order.
DETAILS = ("model", "model_version", "level", "status")


class Scorer:
    """A pack, opened once per worker process, and what is known of the models that have answered so far."""

    def __init__(self, path: str) -> None:
        import pyarrow

        self.pack = Pack(path)
        count = len(self.pack)
        self._codes = np.full(count + 1, -1, np.int32)  # of each model, where its name stands; the last is no model
        self._versions = np.zeros(count + 1, np.int64)
        self._names: list[str] = []
        self._words = pyarrow.array([], pyarrow.string())
        self._levels = pyarrow.array(LEVELS, pyarrow.string())
        self._statuses = pyarrow.array(STATUSES, pyarrow.string())

    def score(self, plan: Plan, batch: "pyarrow.RecordBatch", totals: "Totals") -> "pyarrow.RecordBatch":
        """The answer for a batch: its kept columns, then values, then details."""
        import pyarrow

        columns = batch.columns
        rows = pyarrow.RecordBatch.from_arrays([columns[i] for i in plan["inputs"]], names=plan["input_names"])
        call = _Call(self.pack._use(), BY_KEY, OUTPUTS[plan["output"]], True)
        call.name_keys(plan["keys"])
        call.start(batch.num_rows)
        kept: list[object] = []
        schema, array = _arrow.exported("", rows, kept)
        call.run(0, batch.num_rows, schema, array, None)
        totals.add(call, len(self.pack))
        bad = call.statuses != 0
        mask = bad if bad.any() else None
        values = [pyarrow.array(column, mask=mask, from_pandas=False) for column in call.values]
        details = plan["details"]
        answer = [*columns[:plan["kept"]], *values, *self._models(call, details)]
        if "level" in details:
            answer.append(self._levels.take(pyarrow.array(call.levels)))
        if "status" in details:
            answer.append(self._statuses.take(pyarrow.array(call.statuses)))
        return pyarrow.RecordBatch.from_arrays(answer, names=plan["names"])

    def _models(self, call: _Call, details: list[str]) -> list[Any]:
        """Name and version of the model that answered each row, as far as they are told; null where none did."""
        import pyarrow

        if "model" not in details and "model_version" not in details:
            return []
        none = len(self._codes) - 1
        indexes = np.minimum(call.model_indexes, none)
        codes = self._codes[indexes]
        is_none = codes < 0
        if is_none.any():
            fresh = np.unique(indexes[is_none])
            if len(fresh) > 0 and fresh[-1] == none:
                fresh = fresh[:-1]
            if len(fresh) > 0:
                self._learn(fresh.tolist())
                codes = self._codes[indexes]
                is_none = codes < 0
        mask = is_none if is_none.any() else None
        answer = [self._words.take(pyarrow.array(codes, mask=mask))] if "model" in details else []
        return [*answer, pyarrow.array(self._versions[indexes], mask=mask)] if "model_version" in details else answer

    def _learn(self, indexes: list[int]) -> None:
        import pyarrow

        for index in indexes:
            model = self.pack.model(index)
            self._codes[index] = len(self._names)
            self._versions[index] = model.version
            self._names.append(model.name)
        self._words = pyarrow.array(self._names, pyarrow.string())


class Totals:
    """Rows of one task by status and by level, and which models have answered."""

    def __init__(self) -> None:
        self.statuses = np.zeros(len(STATUSES), np.int64)
        self.levels = np.zeros(len(LEVELS), np.int64)
        self._used = np.zeros(1, np.bool_)  # per model; the last is none

    def add(self, call: _Call, model_count: int) -> None:
        self.statuses += np.bincount(call.statuses, minlength=len(STATUSES))
        self.levels += np.bincount(call.levels, minlength=len(LEVELS))
        if len(self._used) <= model_count:
            self._used = np.zeros(model_count + 1, np.bool_)
        self._used[np.minimum(call.model_indexes, model_count)] = True

    @property
    def used(self) -> int:
        """A bit for each model."""
        return int.from_bytes(np.packbits(self._used[:-1], bitorder="little").tobytes(), "little")


_scorers: dict[str, Scorer] = {}  # by digest; a worker process runs one task at a time


def scorer_of(plan: Plan) -> Scorer:
    """The scorer of a plan's pack, opened when this process meets it first."""
    found = _scorers.get(plan["digest"])
    if found is None:
        _scorers[plan["digest"]] = found = Scorer(_place(plan))
    return found


def score(plan: Plan, batches: Iterator["pyarrow.RecordBatch"], counts: Any = None) -> Iterator["pyarrow.RecordBatch"]:
    """One task. Rows that can't be scored have a status; ``counts`` are accumulators, added to when the task is through."""
    totals = Totals()
    for batch in batches:
        yield scorer_of(plan).score(plan, batch, totals)
    for accumulator, count in zip(counts or (), [*totals.statuses.tolist(), *totals.levels.tolist(), totals.used]):
        if count:
            accumulator.add(count)


# ---- where the pack lies ----


def _place(plan: Plan) -> str:
    """The index file, its blob files beside it, under the names that they know each other by.

    Spark hands each executor a copy of a file. Executors of one application on one host share a directory, which is
    removed with the application: the first copy there is linked by all, so that they map the same pages.
    """
    from pyspark import SparkFiles

    root = os.path.abspath(SparkFiles.getRootDirectory())
    shared = os.environ.get("SPARK_EXECUTOR_DIRS") or os.environ.get("LOCAL_DIRS")  # standalone; YARN
    if shared:
        try:
            return _link(plan, root, shared.replace(os.pathsep, ",").partition(",")[0])
        except OSError:  # of another file system, or one without links
            pass
    return _link(plan, root, root)


def _link(plan: Plan, root: str, below: str) -> str:
    folder = os.path.join(below, f"myriad-pack-{plan['digest']}")
    os.makedirs(folder, exist_ok=True)
    for shipped, name in plan["files"]:
        place = os.path.join(folder, name)
        if os.path.exists(place):
            continue
        try:
            if below == root:
                os.symlink(os.path.join(root, shipped), place)
            else:
                os.link(os.path.join(root, shipped), place)
        except FileExistsError:  # another worker was faster
            pass
    return os.path.join(folder, plan["files"][0][1])


__all__ = ["DETAILS", "Plan", "Scorer", "Totals", "score", "scorer_of"]
