"""Rows of each kind of table as JSON records, and answers in the same kind."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ._errors import error

_PLAIN = (str, bool, int, type(None))


@dataclasses.dataclass(frozen=True)
class Answer:
    """What one row got."""

    prediction: Any  #: a number; a list of them for several outputs; None where there is none or it is not finite
    status: str  #: "ok", "no_model", "bad_key", …
    level: str | None = None  #: "segment", "parent", "global"
    model: str | None = None  #: "oj@store=2,brand=1"
    model_version: int | None = None
    message: str | None = None  #: why there is no answer, or not the usual one
    release: int | None = None  #: of the request, where several serve
    fields: Mapping[str, Any] = dataclasses.field(default_factory=dict)  #: what rules added


_KNOWN = frozenset({"status", "level", "model", "model_version", "message"})


def answer_of(row: Mapping[str, Any], output: str, release: int | None) -> Answer:
    label = "prediction" if output == "value" else output
    fields = {name: value for name, value in row.items() if name not in _KNOWN and name != label}
    return Answer(row.get(label), row["status"], row.get("level"), row.get("model"), row.get("model_version"), row.get("message"),
                  release, fields)


def cell(value: Any) -> Any:
    """A value as JSON has it: NaN and NA are null; numbers of NumPy and Decimal are plain ones."""
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else _not_finite(value)
    if isinstance(value, np.generic):
        return cell(value.item())
    if type(value).__name__ in ("NAType", "NaTType"):
        return None
    try:
        return cell(float(value)) if hasattr(value, "__float__") else str(value)
    except (TypeError, ValueError):
        return str(value)


def _not_finite(value: float) -> None:
    if math.isnan(value):
        return None
    raise error("BAD_INPUT", f"{value} can't be sent: JSON has no infinity")


class Table:
    """Rows, whatever they came in."""

    def __init__(self, rows: Any) -> None:
        self.rows = rows
        kind = type(rows).__module__.partition(".")[0]
        self.kind = kind if kind in ("pandas", "polars", "pyarrow") else "plain"
        if self.kind == "plain" and isinstance(rows, Mapping):
            self.kind = "columns" if any(_is_column(v) for v in rows.values()) else "one"
        if self.kind == "plain" and not isinstance(rows, Sequence):
            raise error("BAD_INPUT", f"rows are a table, a mapping, or a list of mappings; not {type(rows).__name__}")

    def records(self, known: Collection[str] | None) -> list[dict[str, Any]]:
        """One mapping per row. Of tables only the columns that the fleet has; a list of mappings is sent as it is."""
        if self.kind == "one":
            return [{str(k): cell(v) for k, v in self.rows.items()}]
        if self.kind == "plain":
            return [{str(k): cell(v) for k, v in row.items()} for row in self.rows]
        columns = {name: [cell(v) for v in values] for name, values in self._columns() if known is None or name in known}
        count = self._row_count(columns)
        return [{name: values[i] for name, values in columns.items()} for i in range(count)]

    def _columns(self) -> list[tuple[str, list[Any]]]:
        if self.kind == "pandas":
            return [(str(name), self.rows[name].tolist()) for name in self.rows.columns]
        if self.kind == "polars":
            return [(name, self.rows[name].to_list()) for name in self.rows.columns]
        if self.kind == "pyarrow":
            return [(name, self.rows.column(name).to_pylist()) for name in self.rows.schema.names]
        return [(str(name), values.tolist() if hasattr(values, "tolist") else list(values)) for name, values in self.rows.items()]

    def _row_count(self, columns: Mapping[str, list[Any]]) -> int:
        if self.kind in ("pandas", "polars"):
            return len(self.rows)
        if self.kind == "pyarrow":
            return int(self.rows.num_rows)
        lengths = {len(values) for values in columns.values()}
        if len(lengths) > 1:
            raise error("BAD_INPUT", f"the columns have {sorted(lengths)} rows: one number is needed")
        return lengths.pop() if lengths else 0

    def answer(self, answers: list[Answer], details: bool) -> Any:
        """In the kind that the rows came in."""
        if self.kind == "one":
            return answers[0]
        if self.kind == "plain":
            return answers if details else [a.prediction for a in answers]
        values = _values(answers)
        if self.kind == "columns" and not details:
            return values
        columns = _named(values)
        if details:
            columns |= {"level": [a.level for a in answers], "status": [a.status for a in answers], "model": [a.model for a in answers],
                        "model_version": [a.model_version for a in answers]}
        return self._table(columns, details)

    def _table(self, columns: dict[str, Any], details: bool) -> Any:
        single = len(columns) == 1 and not details
        if self.kind == "pandas":
            frame = sys.modules["pandas"].DataFrame(columns, index=self.rows.index)
            return frame["prediction"] if single else frame
        if self.kind == "polars":
            frame = sys.modules["polars"].DataFrame(columns, nan_to_null=True)
            return frame["prediction"] if single else frame
        if self.kind == "pyarrow":
            arrow = sys.modules["pyarrow"]
            plain = {name: arrow.array(values, from_pandas=True) for name, values in columns.items()}
            return plain["prediction"] if single else arrow.table(plain)
        return columns


def _is_column(value: Any) -> bool:
    return hasattr(value, "__len__") and not isinstance(value, (str, bytes))


def _values(answers: list[Answer]) -> npt.NDArray[np.float64]:
    width = max((len(a.prediction) for a in answers if isinstance(a.prediction, list)), default=0)
    if width == 0:
        return np.array([np.nan if a.prediction is None else a.prediction for a in answers], np.float64)
    empty = [None] * width
    return np.array([[np.nan if v is None else v for v in (a.prediction or empty)] for a in answers], np.float64)


def _named(values: npt.NDArray[np.float64]) -> dict[str, Any]:
    if values.ndim == 1:
        return {"prediction": values}
    return {f"prediction_{k}": np.ascontiguousarray(values[:, k]) for k in range(values.shape[1])}


__all__ = ["Answer", "Table", "answer_of", "cell"]
