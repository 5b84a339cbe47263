"""Tables of each kind: their columns as Arrow chunks, and answers in the same kind."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from . import _arrow
from ._abi import BY_KEY, LEVELS, STATUSES
from ._errors import error

if TYPE_CHECKING:
    from ._pack import Pack, _Call

Chunks = tuple[Iterable[tuple[Any, Any]], list[object]]


@dataclasses.dataclass(frozen=True)
class Names:
    """Texts by code; -1 is none."""

    words: list[str]
    codes: npt.NDArray[np.int32]


def model_names(pack: "Pack", indexes: npt.NDArray[np.uint32]) -> Names:
    """The names of the models that answered, and which of them each row had."""
    present, inverse = np.unique(indexes, return_inverse=True)
    has_none = len(present) > 0 and present[-1] == BY_KEY
    words = [pack.model(int(i)).name for i in present if i != BY_KEY]
    codes = inverse.reshape(-1).astype(np.int32)
    if has_none:
        codes[codes == len(present) - 1] = -1
    return Names(words, codes)


def _labels(call: "_Call", output: str) -> list[str]:
    label = "prediction" if output == "value" else output
    return [label] if call.width == 1 else [f"{label}_{k}" for k in range(call.width)]


def _details(call: "_Call", pack: "Pack") -> list[tuple[str, Names]]:
    if not call.details:
        return []
    return [("level", Names(list(LEVELS), call.levels.astype(np.int32))),
            ("status", Names(list(STATUSES), call.statuses.astype(np.int32))),
            ("model", model_names(pack, call.model_indexes))]


class Columns:
    """A mapping of columns, and what the kinds of tables have in common."""

    def names(self, rows: Any) -> list[str]:
        return list(rows)

    def column(self, rows: Any, name: str) -> Any:
        return rows[name]

    def row_count(self, rows: Any) -> int:
        return max((len(column) for column in rows.values() if hasattr(column, "__len__")), default=0)

    def batch(self, rows: Any, wanted: list[str]) -> _arrow.Batch:
        """The wanted columns that are there; the library says which are missing. Not finished: more may be added."""
        batch = _arrow.Batch(self.row_count(rows))
        there = self.names(rows)
        for name in wanted:
            count = there.count(name)
            if count > 1:
                raise error("BAD_INPUT", f"there are {count} columns '{name}': which one is meant is not known")
            if count == 1:
                batch.add(name, self.column(rows, name))
        return batch

    def chunks(self, rows: Any, wanted: list[str]) -> Chunks:
        batch = self.batch(rows, wanted).finish()
        return [(batch.schema, batch.array)], [batch]

    def matrix(self, rows: Any, features: list[str]) -> npt.NDArray[np.float64] | None:
        """All features as one array over the table's own memory, if they lie so."""
        return None

    def answer(self, call: "_Call", pack: "Pack", rows: Any, output: str) -> Any:
        return call.answer_numpy(pack)


class Pandas(Columns):
    def names(self, rows: Any) -> list[str]:
        return [str(name) for name in rows.columns]

    def column(self, rows: Any, name: str) -> Any:
        return rows.iloc[:, self.names(rows).index(name)] if name not in rows.columns else rows[name]

    def row_count(self, rows: Any) -> int:
        return len(rows)

    def matrix(self, rows: Any, features: list[str]) -> npt.NDArray[np.float64] | None:
        """pandas keeps columns of one type as rows of one array: if the features are evenly spaced there, that is a matrix.

        Asking for the columns one by one costs 20 us each. The way to the array is not public, so without it (or with
        features elsewhere) they are asked for.
        """
        manager = getattr(rows, "_mgr", None)
        if manager is None or not features or not all(hasattr(manager, name) for name in ("blocks", "blknos", "blklocs")):
            return None
        names = rows.columns.tolist()
        places = {name: at for at, name in enumerate(names)}
        at = [places.get(name, -1) for name in features]
        if min(at) < 0 or len(places) != len(names):
            return None
        block = manager.blknos[at[0]]
        values = manager.blocks[block].values
        if not isinstance(values, np.ndarray) or values.ndim != 2 or values.dtype != np.float64:
            return None
        if any(manager.blknos[i] != block for i in at):
            return None
        lines = [int(manager.blklocs[i]) for i in at]
        step = lines[1] - lines[0] if len(lines) > 1 else 1
        if step == 0 or any(b - a != step for a, b in zip(lines, lines[1:])):
            return None
        end = lines[-1] + step
        return values[lines[0]:end if end >= 0 else None:step].T

    def answer(self, call: "_Call", pack: "Pack", rows: Any, output: str) -> Any:
        import pandas

        labels = _labels(call, output)
        if call.width == 1 and not call.details:
            return pandas.Series(call.values[0], index=rows.index, name=labels[0], copy=False)
        columns: dict[str, Any] = dict(zip(labels, call.values))
        for name, words in _details(call, pack):
            columns[name] = pandas.Categorical.from_codes(words.codes, words.words)
        return pandas.DataFrame(columns, index=rows.index, copy=False)


class Polars(Columns):
    def names(self, rows: Any) -> list[str]:
        return list(rows.columns)

    def row_count(self, rows: Any) -> int:
        return int(rows.height)

    def chunks(self, rows: Any, wanted: list[str]) -> Chunks:
        kept: list[object] = []
        there = set(rows.columns)
        return _arrow.stream(rows.select([name for name in wanted if name in there]), kept), kept

    def answer(self, call: "_Call", pack: "Pack", rows: Any, output: str) -> Any:
        import polars

        frame = polars.DataFrame(dict(zip(_labels(call, output), call.values)))
        if call.statuses.any():  # null where there is no answer
            is_ok = polars.Series("ok", call.statuses == 0)
            frame = frame.select(polars.when(is_ok).then(polars.col(name)).alias(name) for name in frame.columns)
        if call.width == 1 and not call.details:
            return frame.to_series()
        for name, words in _details(call, pack):
            texts = polars.Series(name, words.words, dtype=polars.Enum(words.words))
            codes = polars.Series(words.codes)
            frame = frame.with_columns(texts.gather(polars.select(polars.when(codes >= 0).then(codes)).to_series()))
        return frame


class Arrow(Columns):
    """pyarrow's Table and RecordBatch."""

    def names(self, rows: Any) -> list[str]:
        return list(rows.schema.names)

    def column(self, rows: Any, name: str) -> Any:
        return rows.column(name)

    def row_count(self, rows: Any) -> int:
        return int(rows.num_rows)

    def chunks(self, rows: Any, wanted: list[str]) -> Chunks:
        kept: list[object] = []
        names = self.names(rows)
        for name in wanted:
            if names.count(name) > 1:
                raise error("BAD_INPUT", f"there are {names.count(name)} columns '{name}': which one is meant is not known")
        there = rows.select([name for name in wanted if name in names])
        return _arrow.stream(there, kept), kept

    def answer(self, call: "_Call", pack: "Pack", rows: Any, output: str) -> Any:
        import pyarrow

        mask = call.statuses != 0
        columns = [pyarrow.array(values, mask=mask if mask.any() else None, from_pandas=False) for values in call.values]
        if call.width == 1 and not call.details:
            return columns[0]
        labels = _labels(call, output)
        for name, words in _details(call, pack):
            codes = pyarrow.array(words.codes, mask=words.codes < 0)
            columns.append(pyarrow.DictionaryArray.from_arrays(codes, pyarrow.array(words.words, pyarrow.string())))
            labels.append(name)
        return pyarrow.table(columns, names=labels)


def kind_of(rows: Any) -> Columns:
    """How to read a table, by its type's home: none of these libraries is imported for it."""
    home = type(rows).__module__.partition(".")[0]
    name = type(rows).__name__
    if home == "pandas" and name == "DataFrame" or hasattr(rows, "iloc") and hasattr(rows, "columns"):
        return Pandas()
    if home == "polars":
        if name == "LazyFrame":
            raise error("BAD_INPUT", "rows are a polars LazyFrame: collect() it first")
        return Polars()
    if home == "pyarrow" or hasattr(rows, "num_rows") and hasattr(rows, "select"):
        return Arrow()
    if isinstance(rows, Mapping):
        return Columns()
    raise error("BAD_INPUT", f"rows are a {home}.{name}: give a NumPy array, a DataFrame, an Arrow table, or a mapping of columns")
