"""A pack (all models of a release) or one model file, opened: look at models, predict rows of any container."""

from __future__ import annotations

import ctypes
import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, overload

import numpy as np
import numpy.typing as npt

from . import _abi, _answers, _arrow
from ._abi import BY_KEY, LEVELS, OUTPUTS, STATUSES, Entry, Err, Info, Out, Rows, byref, check, lib, words
from ._errors import NotFound, error

Output = Literal["value", "margin", "probability", "leaf", "contribution"]
Segment = str | Mapping[str, object]
_ROWS_BYTES, _OUT_BYTES = ctypes.sizeof(Rows), ctypes.sizeof(Out)
_RESERVED = str.maketrans({c: f"%{ord(c):02X}" for c in ",=%/@" + "".join(map(chr, range(32))) + "\x7f"})


def segment_text(segment: Segment) -> str:
    """``{"store": 2, "brand": "a,b"}`` as ``store=2,brand=a%2Cb``; a text stays as it is."""
    if isinstance(segment, str):
        return segment
    return ",".join(f"{str(k).translate(_RESERVED)}={key_text(v).translate(_RESERVED)}" for k, v in segment.items())


def key_text(value: object) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "true" if value else "false"
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return str(int(value))
    return str(value)


@dataclasses.dataclass(frozen=True)
class Model:
    """One model of a pack."""

    index: int
    name: str  #: ``oj@store=2,brand=1``
    segment: str
    level: str  #: what it answers as: ``segment``, ``parent``, ``global``
    version: int
    size_bytes: int


@dataclasses.dataclass(frozen=True)
class Predictions:
    """What ``predict(…, details=True)`` answers for NumPy arrays: a row's value, and where it came from."""

    values: npt.NDArray[np.float64]
    levels: npt.NDArray[Any]  #: ``segment``, ``parent``, ``global``, ``none``
    statuses: npt.NDArray[Any]  #: ``ok``, or why there is no value
    models: npt.NDArray[Any]  #: names, None where there is no model
    model_indexes: npt.NDArray[np.uint32]


class _Handle:
    """The C object. A call holds a reference, so that close() in another thread ends it only after the call."""

    def __init__(self, path: str) -> None:
        self.pointer = ctypes.c_void_p()
        err = Err()
        check(lib.myr_models_open(os.fsencode(path), byref(self.pointer), byref(err)), err)

    def __del__(self, close: Any = lib.myr_models_close) -> None:
        if self.pointer:
            close(self.pointer)


class Pack:
    """All models of a release, or one model file, ready to predict. Threads may share it; it pickles as its path.

    >>> with myriad.open("demo/packs/oj/r1.index") as pack:
    ...     pack.predict(frame)  # key and feature columns by name
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = os.path.abspath(os.fspath(path))
        self._handle: _Handle | None = _Handle(self.path)
        info, err = Info(struct_size=ctypes.sizeof(Info)), Err()
        pointer = self._handle.pointer
        check(lib.myr_models_get_info(pointer, byref(info), byref(err)), err)
        self.fleet: str = info.fleet.decode()
        self.release: int = info.release
        self.output_count: int = info.output_count
        self._model_count: int = info.model_count
        self.features: list[str] = [lib.myr_models_feature_name(pointer, i).decode() for i in range(info.feature_count)]
        #: features with names of categories: tables may have text (or category columns) there
        self.text_features: list[str] = [
            name for i, name in enumerate(self.features) if lib.myr_models_feature_is_text(pointer, i)]
        self.keys: list[str] = [lib.myr_models_key_name(pointer, i).decode() for i in range(info.key_count)]
        #: files beside the index that belong to it
        self.blob_files: tuple[str, ...] = words(lambda i: lib.myr_models_file_name(pointer, i))
        self.key_types: dict[str, str] = {
            name: "int64" if lib.myr_models_key_is_int64(pointer, i) else "text" for i, name in enumerate(self.keys)}

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "Pack":
        """Open a pack (its ``.index`` file) or a model file (LightGBM text, XGBoost JSON or UBJSON, …)."""
        return cls(path)

    # ---- life ----

    def _use(self) -> _Handle:
        handle = self._handle
        if handle is None:
            raise error("BAD_INPUT", f"{self.path} was closed")
        return handle

    def close(self) -> None:
        """Let go of the file; calls that are under way end first."""
        self._handle = None

    def __enter__(self) -> "Pack":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[type["Pack"], tuple[str]]:
        return Pack, (self.path,)

    def __len__(self) -> int:
        return self._model_count

    def __repr__(self) -> str:
        if self._handle is None:
            return f"<myriad.Pack {self.path!r}, closed>"
        what = f"fleet {self.fleet!r} release {self.release}" if self.fleet else "one model"
        keys = f", keys {', '.join(self.keys)}" if self.keys else ""
        return f"<myriad.Pack {self.path!r}: {what}, {len(self):,} models{keys}, {len(self.features)} features>"

    # ---- models ----

    def model(self, index: int) -> Model:
        """The model of this index, 0 … len(pack) - 1."""
        handle, err, entry = self._use(), Err(), Entry(struct_size=ctypes.sizeof(Entry))
        if not 0 <= index < len(self):
            raise IndexError(f"there is no model {index}, there are {len(self)}")
        check(lib.myr_models_get_entry(handle.pointer, index, byref(entry), byref(err)), err)
        room, size = 256, ctypes.c_size_t()
        text = ctypes.create_string_buffer(room)
        rc = lib.myr_models_get_segment(handle.pointer, index, text, room, byref(size), byref(err))
        if rc != 0 and size.value >= room:
            text = ctypes.create_string_buffer(size.value + 1)
            rc = lib.myr_models_get_segment(handle.pointer, index, text, size.value + 1, byref(size), byref(err))
        check(rc, err)
        segment = text.value.decode()
        name = f"{self.fleet}@{segment}" if self.fleet else os.path.basename(self.path)
        return Model(index, name, segment, LEVELS[entry.level], entry.version, entry.size_bytes)

    def models(self) -> Iterator[Model]:
        """All models, in the order of their indexes."""
        return (self.model(i) for i in range(len(self)))

    def find(self, segment: Segment) -> Model | None:
        """The model of a segment (``"store=2,brand=1"`` or ``{"store": 2, "brand": 1}``; ``""`` is the global one), or None."""
        handle, err, index = self._use(), Err(), ctypes.c_uint32()
        try:
            check(lib.myr_models_find(handle.pointer, segment_text(segment).encode(), byref(index), byref(err)), err)
        except NotFound:
            return None
        return self.model(index.value)

    # ---- predict ----

    @overload
    def predict(self, rows: npt.NDArray[Any], keys: Any = ..., *, model: int | Model | Segment | None = ...,
                output: Output = ..., details: Literal[False] = ...) -> npt.NDArray[np.float64]: ...
    @overload
    def predict(self, rows: npt.NDArray[Any], keys: Any = ..., *, model: int | Model | Segment | None = ...,
                output: Output = ..., details: Literal[True]) -> Predictions: ...
    @overload
    def predict(self, rows: Any, keys: Any = ..., *, model: int | Model | Segment | None = ..., output: Output = ...,
                details: bool = ...) -> Any: ...

    def predict(self, rows: Any, keys: Any = None, *, model: int | Model | Segment | None = None,
                output: Output = "value", details: bool = False) -> Any:
        """Predict each row with the model of its segment, else its parents', else the global one.

        ``rows``: a matrix of numbers (NumPy; features in the order of ``pack.features``, categories as codes; any strides
        are read in place if they are float64), or a table whose columns have names: a pandas or polars DataFrame, a
        pyarrow Table or RecordBatch, a mapping of columns, or a list of mappings (one per row). Other columns are ignored.

        ``keys``: the partition columns. For a table: their names in it, in the order of ``pack.keys`` (default: the same
        names). For a matrix, or from elsewhere: a mapping of columns, a table, or a list of arrays, one per partition
        column. Not needed with ``model``.

        ``model``: one model for all rows: an index, a ``Model``, or a segment.

        ``output``: ``"value"``, ``"margin"``, ``"probability"``, ``"leaf"`` or ``"contribution"``.

        Answers in the kind that was asked: an array for a matrix, a Series for a DataFrame (a DataFrame if a row has
        several values), an Array for a Table. ``details=True`` adds level, status and model. A row that can't be scored is
        NaN (null in polars and Arrow); ``details`` say why.
        """
        handle = self._use()
        if output not in OUTPUTS:
            raise error("BAD_INPUT", f"output is {output!r}: one of {', '.join(OUTPUTS)}")
        index = BY_KEY if model is None else self._model_index(model)
        call = _Call(handle, index, OUTPUTS[output], details)
        if isinstance(rows, np.ndarray):
            return self._predict_matrix(call, rows, keys)
        return self._predict_table(call, rows, keys, output)

    def _model_index(self, model: int | Model | Segment) -> int:
        if isinstance(model, Model):
            return model.index
        if isinstance(model, (int, np.integer)) and not isinstance(model, bool):
            if 0 <= model < len(self):
                return int(model)
            raise error("BAD_INPUT", f"there is no model {model}, there are {len(self)}")
        assert not isinstance(model, int)
        found = self.find(model)
        if found is None:
            raise error("NOT_FOUND", f"{self.fleet or self.path} has no model of its own for {segment_text(model)!r}")
        return found.index

    def _predict_matrix(self, call: "_Call", rows: npt.NDArray[Any], keys: Any) -> Any:
        matrix = rows[None, :] if rows.ndim == 1 and len(rows) == len(self.features) else rows
        if matrix.ndim != 2 or matrix.shape[1] != len(self.features):
            raise error("BAD_INPUT", f"an array of shape {rows.shape}: {len(self.features)} columns are needed, one per feature")
        matrix = _plain(matrix)
        call.start(matrix.shape[0])
        batch = None
        if call.index == BY_KEY and self.keys:
            batch = self._key_batch(keys, matrix.shape[0])
        call.run(0, matrix.shape[0], batch.schema if batch else None, batch.array if batch else None, matrix)
        return call.answer_numpy(self)

    def _key_batch(self, keys: Any, row_count: int) -> _arrow.Batch:
        if keys is None:
            raise error("BAD_INPUT", f"keys are needed: {', '.join(self.keys)}, as arrays; or model= for one model")
        if isinstance(keys, Mapping) or hasattr(keys, "columns") or hasattr(keys, "column_names"):
            missing = [k for k in self.keys if k not in _names_of(keys)]
            if missing:
                raise error("BAD_INPUT", f"keys have no column '{missing[0]}'")
            columns = [keys[k] for k in self.keys]
        elif isinstance(keys, np.ndarray):
            columns = [keys] if keys.ndim == 1 else [keys[:, j] for j in range(keys.shape[1])]
        else:
            columns = list(keys)
            if any(isinstance(c, str) for c in columns):
                raise error("BAD_INPUT", "keys are names, but a matrix has none: give an array per partition column")
        if len(columns) != len(self.keys):
            raise error("BAD_INPUT", f"{len(columns)} key columns, {len(self.keys)} are needed: {', '.join(self.keys)}")
        return _arrow.batch_of(dict(zip(self.keys, columns)), row_count)

    def _predict_table(self, call: "_Call", rows: Any, keys: Any, output: str) -> Any:
        if isinstance(rows, Sequence) and not isinstance(rows, (str, bytes)):
            rows = {name: [row.get(name) for row in rows] for name in dict.fromkeys(n for row in rows for n in row)}
        table = _answers.kind_of(rows)
        key_names = self.keys
        apart = None
        if call.index == BY_KEY and self.keys and keys is not None:
            if isinstance(keys, str):
                keys = [keys]
            if isinstance(keys, Sequence) and all(isinstance(k, str) for k in keys):
                key_names = list(keys)
            else:
                apart = keys
        if len(key_names) != len(self.keys):
            raise error("BAD_INPUT", f"{len(key_names)} key columns, {len(self.keys)} are needed: {', '.join(self.keys)}")
        wanted = list(dict.fromkeys([*(key_names if call.index == BY_KEY and apart is None else ()), *self.features]))
        matrix = None if self.text_features or apart is not None else table.matrix(rows, self.features)
        if matrix is not None:
            matrix = _plain(matrix)
            wanted = list(key_names) if call.index == BY_KEY else []
        if apart is not None:
            batch = table.batch(rows, wanted)
            for name, column in zip(self.keys, self._key_columns(apart)):
                batch.add(name + _APART, column)
            key_names = [name + _APART for name in self.keys]
            batch.finish()
            chunks: Any = [(batch.schema, batch.array)]
            kept: list[object] = [batch]
        else:
            chunks, kept = table.chunks(rows, wanted)
        call.name_keys(key_names if call.index == BY_KEY else None)
        call.start(table.row_count(rows))
        first = 0
        for schema, array in chunks:
            call.run(first, array.length, schema, array, matrix)
            first += array.length
        del kept
        return table.answer(call, self, rows, output)

    def _key_columns(self, keys: Any) -> list[Any]:
        if isinstance(keys, Mapping) or hasattr(keys, "columns"):
            return [keys[k] for k in self.keys]
        return list(keys) if not isinstance(keys, np.ndarray) or keys.ndim == 1 else [keys[:, j] for j in range(keys.shape[1])]


_APART = "\x01key"  # a key column that stands beside a table: its name must not be one of the table's


def _names_of(table: Any) -> Any:
    if isinstance(table, Mapping):
        return table
    return getattr(table, "column_names", None) or list(table.columns)


def _plain(matrix: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """The same memory if it holds aligned native doubles at whole strides, else a copy that does."""
    if matrix.dtype == np.float64 and matrix.dtype.isnative and matrix.flags.aligned:
        rows, columns = matrix.strides
        if rows % 8 == 0 and columns % 8 == 0 and (rows != 0 or matrix.shape[0] <= 1) and (columns != 0 or matrix.shape[1] <= 1):
            return matrix
    if matrix.dtype.kind not in "biufO":
        raise error("BAD_INPUT", f"an array of {matrix.dtype}: numbers are needed")
    try:
        return np.require(matrix, np.float64, ["A"]).copy(order="C") if 0 in matrix.strides else np.require(matrix, np.float64, ["A", "C"])
    except (TypeError, ValueError) as problem:
        raise error("BAD_INPUT", f"an array of {matrix.dtype}: {problem}") from None


class _Call:
    """One call of predict: where its answers go."""

    def __init__(self, handle: _Handle, index: int, output: int, details: bool) -> None:
        self.handle, self.index, self.output, self.details = handle, index, output, details
        self.key_columns: Any = None
        self.width = 0

    def name_keys(self, names: list[str] | None) -> None:
        if names:
            self.key_columns = (ctypes.c_char_p * len(names))(*[name.encode() for name in names])

    def start(self, row_count: int) -> None:
        """Arrays for the answers: a column per value, so that each is one run of memory."""
        width: int = lib.myr_models_width(self.handle.pointer, self.index, self.output)
        self.row_count = row_count
        self.width = width or 1  # scoring says why there is none
        self.values: npt.NDArray[np.float64] = np.empty((self.width, row_count), np.float64)
        self.statuses: npt.NDArray[np.uint8] = np.zeros(row_count, np.uint8)
        if self.details:
            self.levels: npt.NDArray[np.uint8] = np.zeros(row_count, np.uint8)
            self.model_indexes: npt.NDArray[np.uint32] = np.full(row_count, BY_KEY, np.uint32)

    def run(self, first: int, count: int, schema: Any, array: Any, matrix: npt.NDArray[np.float64] | None) -> None:
        rows = Rows(_ROWS_BYTES, count, self.index)
        rows.output = self.output
        if matrix is not None:
            rows.features = matrix.__array_interface__["data"][0]
            rows.row_stride, rows.column_stride = matrix.strides[0] // 8, matrix.strides[1] // 8
            if matrix.shape[0] <= 1 or matrix.shape[1] <= 1:  # strides of one element mean nothing
                rows.row_stride = rows.row_stride or 1
                rows.column_stride = rows.column_stride or 1
        if array is not None:
            rows.schema, rows.batch = ctypes.addressof(schema), ctypes.addressof(array)
            if self.key_columns is not None:
                rows.key_columns = ctypes.addressof(self.key_columns)
        out = Out(_OUT_BYTES, self.values.__array_interface__["data"][0] + 8 * first, 1, self.row_count or 1, None,
                  self.statuses.__array_interface__["data"][0] + first)
        if self.details:
            out.levels = self.levels.__array_interface__["data"][0] + first
            out.model_idxs = self.model_indexes.__array_interface__["data"][0] + 4 * first
        err = Err()
        rc = lib.myr_models_score_into(self.handle.pointer, rows, out, err)
        if rc != 0:
            check(rc, err)

    def answer_numpy(self, pack: Pack) -> Any:
        values = self.values[0] if self.width == 1 else self.values.T
        if not self.details:
            return values
        names = _answers.model_names(pack, self.model_indexes)
        models = np.array([*names.words, None], object)[names.codes]
        return Predictions(values, np.array(LEVELS, object)[self.levels], np.array(STATUSES, object)[self.statuses], models,
                           self.model_indexes)


__all__ = ["Model", "Output", "Pack", "Predictions", "Segment", "segment_text", "_abi"]
