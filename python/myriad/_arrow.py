"""Columns of any container as Arrow structs in the C Data Interface, over the memory that they have.

NumPy arrays, pandas columns and lists become buffers that point into their memory; what speaks Arrow (pyarrow, polars)
hands out its own buffers by ``__arrow_c_array__`` or ``__arrow_c_stream__``. Nothing here needs pyarrow.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from ._abi import ArrowArray, ArrowArrayStream, ArrowSchema
from ._errors import error

_NULLABLE = 2
_RELEASE = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_borrowed = _RELEASE(lambda _: None)  # buffers belong to Python objects, which are kept until the call is over
_BORROWED = ctypes.cast(_borrowed, ctypes.c_void_p).value

_capsule_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_capsule_pointer.restype = ctypes.c_void_p
_capsule_pointer.argtypes = [ctypes.py_object, ctypes.c_char_p]

_FORMATS = {"f8": b"g", "f4": b"f", "i1": b"c", "i2": b"s", "i4": b"i", "i8": b"l", "u1": b"C", "u2": b"S", "u4": b"I",
            "u8": b"L"}


def capsule_pointer(capsule: object, name: bytes) -> int:
    pointer: int = _capsule_pointer(capsule, name)
    return pointer


class Batch:
    """An Arrow struct of columns, valid as long as this object lives."""

    def __init__(self, row_count: int) -> None:
        self.row_count = row_count
        self.schema = ArrowSchema(format=b"+s", name=b"", release=_BORROWED)
        self.array = ArrowArray(length=row_count, n_buffers=1, release=_BORROWED)
        self._schemas: list[int] = []
        self._arrays: list[int] = []
        self._kept: list[object] = []

    def add(self, name: str, column: Any) -> None:
        """Add a column: an array, a pandas or polars series, a list, or anything that speaks Arrow."""
        schema, array = _column(name, column, self._kept)
        if array.length != self.row_count:
            raise error("BAD_INPUT", f"column '{name}' has {array.length} rows, the others have {self.row_count}")
        self._kept += (schema, array)
        self._schemas.append(ctypes.addressof(schema))
        self._arrays.append(ctypes.addressof(array))

    def finish(self) -> "Batch":
        count = len(self._schemas)
        schemas = (ctypes.c_void_p * (count + 1))(*self._schemas)
        arrays = (ctypes.c_void_p * (count + 1))(*self._arrays)
        buffers = (ctypes.c_void_p * 1)()
        self._kept += (schemas, arrays, buffers)
        self.schema.n_children = self.array.n_children = count
        self.schema.children = ctypes.addressof(schemas)
        self.array.children = ctypes.addressof(arrays)
        self.array.buffers = ctypes.addressof(buffers)
        return self


def _make(name: str, format_: bytes, length: int, buffers: Sequence[Any], kept: list[object]) -> tuple[ArrowSchema, ArrowArray]:
    """A column over NumPy buffers (or None); buffers[0] is the bitmap."""
    pointers = (ctypes.c_void_p * len(buffers))(*[None if b is None else b.__array_interface__["data"][0] for b in buffers])
    kept += (pointers, *buffers)
    schema = ArrowSchema(format_, name.encode(), None, _NULLABLE, 0, None, None, _BORROWED)
    array = ArrowArray(length, 0 if buffers[0] is None else -1, 0, len(buffers), 0, ctypes.addressof(pointers), None, None, _BORROWED)
    return schema, array


def _bitmap(valid: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.uint8] | None:
    return None if valid is None or bool(valid.all()) else np.packbits(valid, bitorder="little")


# ---- what columns are ----


def _column(name: str, column: Any, kept: list[object]) -> tuple[ArrowSchema, ArrowArray]:
    if isinstance(column, np.ndarray):
        return _numpy(name, column, None, kept)
    module = type(column).__module__.partition(".")[0]
    if module == "pandas":
        return _pandas(name, column, kept)
    if hasattr(column, "__arrow_c_array__"):
        return exported(name, column, kept)
    if hasattr(column, "__arrow_c_stream__"):
        return _streamed(name, column, kept)
    if np.isscalar(column) or column is None:
        raise error("BAD_INPUT", f"column '{name}' is {column!r}: give a list or an array of values")
    values = list(column)
    try:
        plain = np.array(values)
    except (ValueError, OverflowError):  # of odd shapes: the objects tell what is wrong
        plain = np.empty(0, object)
    if plain.dtype.kind in "biuf" and plain.ndim == 1:
        return _numpy(name, plain, None, kept)
    return _objects(name, values, kept)


def _numpy(name: str, values: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None,
           kept: list[object]) -> tuple[ArrowSchema, ArrowArray]:
    if values.ndim != 1:
        raise error("BAD_INPUT", f"column '{name}' has {values.ndim} dimensions, not one")
    kind = values.dtype.kind
    if kind in "OUS":
        return _objects(name, values.tolist(), kept)
    if kind == "b":
        return _make(name, b"b", len(values), (_bitmap(valid), np.packbits(values, bitorder="little")), kept)
    if kind == "f" and values.dtype.itemsize not in (4, 8):
        values = values.astype(np.float64)
    format_ = _FORMATS.get(f"{kind}{values.dtype.itemsize}")
    if format_ is None:
        raise error("UNSUPPORTED", f"column '{name}' has the type {values.dtype}: convert it to numbers or text")
    if not values.dtype.isnative or not values.flags.c_contiguous or not values.flags.aligned:
        values = np.require(values, values.dtype.newbyteorder("="), ["C", "A"])
    return _make(name, format_, len(values), (_bitmap(valid), values), kept)


def _is_null(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value)) or type(value).__name__ in ("NAType", "NaTType")


def _objects(name: str, values: list[Any], kept: list[object]) -> tuple[ArrowSchema, ArrowArray]:
    """A list of Python objects: all texts, or all truths, or all numbers; None, NaN and pandas.NA are null."""
    valid = np.fromiter((not _is_null(v) for v in values), np.bool_, len(values))
    kinds = {type(v) for v in values if not _is_null(v)}
    if not kinds:
        return _numpy(name, np.full(len(values), math.nan), None, kept)
    if all(issubclass(k, (str, bytes)) for k in kinds):
        return _texts(name, values, valid, kept)
    if all(issubclass(k, (bool, np.bool_)) for k in kinds):
        return _numpy(name, np.array([bool(v) if ok else False for v, ok in zip(values, valid)]), valid, kept)
    if all(issubclass(k, (int, np.integer)) for k in kinds):
        try:
            return _numpy(name, np.array([int(v) if ok else 0 for v, ok in zip(values, valid)], np.int64), valid, kept)
        except OverflowError:
            raise error("BAD_INPUT", f"column '{name}' has an integer beyond 64 bits") from None
    if all(issubclass(k, (int, float, np.number)) or k.__name__ == "Decimal" for k in kinds):
        return _numpy(name, np.array([float(v) if ok else math.nan for v, ok in zip(values, valid)]), valid, kept)
    found = ", ".join(sorted(k.__name__ for k in kinds))
    raise error("BAD_INPUT", f"column '{name}' holds {found}: make it all numbers or all text")


def _texts(name: str, values: list[Any], valid: npt.NDArray[np.bool_], kept: list[object]) -> tuple[ArrowSchema, ArrowArray]:
    pieces = [(v if isinstance(v, bytes) else v.encode()) if ok else b"" for v, ok in zip(values, valid)]
    offsets = np.zeros(len(pieces) + 1, np.int64)
    np.cumsum(np.fromiter(map(len, pieces), np.int64, len(pieces)), out=offsets[1:])
    data = np.frombuffer(b"".join(pieces) or b"\0", np.uint8)
    return _make(name, b"U", len(pieces), (_bitmap(valid), offsets, data), kept)


def _pandas(name: str, series: Any, kept: list[object]) -> tuple[ArrowSchema, ArrowArray]:
    dtype = series.dtype
    if isinstance(dtype, np.dtype):
        return _numpy(name, series.to_numpy(), None, kept)
    if hasattr(dtype, "categories"):
        return _categories(name, series, kept)
    if hasattr(dtype, "numpy_dtype") and hasattr(dtype, "na_value") and dtype.kind in "biuf":  # Int64, Float64, boolean
        valid = series.notna().to_numpy()
        empty = False if dtype.kind == "b" else 0
        return _numpy(name, series.to_numpy(dtype=dtype.numpy_dtype, na_value=empty), valid, kept)
    try:
        import pyarrow
    except ImportError:
        return _objects(name, series.tolist(), kept)
    return _column(name, pyarrow.array(series, from_pandas=True), kept)


def _categories(name: str, series: Any, kept: list[object]) -> tuple[ArrowSchema, ArrowArray]:
    """A category column is a dictionary: codes into texts (or numbers); -1 is null."""
    codes = series.cat.codes.to_numpy()
    schema, array = _numpy(name, codes, codes >= 0, kept)
    entries = series.cat.categories
    words = entries.to_numpy() if isinstance(entries.dtype, np.dtype) else np.array(entries.tolist(), dtype=object)
    entry_schema, entry_array = _numpy("", words, None, kept)
    kept += (entry_schema, entry_array)
    schema.dictionary = ctypes.addressof(entry_schema)
    array.dictionary = ctypes.addressof(entry_array)
    return schema, array


# ---- what speaks Arrow ----


def _moved(name: str, schema_pointer: int, array_pointer: int) -> tuple[ArrowSchema, ArrowArray]:
    """A view of exported structs under another name; the exporter keeps (and releases) its own."""
    schema = ArrowSchema.from_buffer_copy(ArrowSchema.from_address(schema_pointer))
    array = ArrowArray.from_buffer_copy(ArrowArray.from_address(array_pointer))
    schema.name = name.encode()
    return schema, array


def exported(name: str, column: Any, kept: list[object]) -> tuple[ArrowSchema, ArrowArray]:
    capsules = column.__arrow_c_array__()
    kept.append(capsules)  # a capsule that is dropped releases what it holds
    return _moved(name, capsule_pointer(capsules[0], b"arrow_schema"), capsule_pointer(capsules[1], b"arrow_array"))


def _streamed(name: str, column: Any, kept: list[object]) -> tuple[ArrowSchema, ArrowArray]:
    """A chunked column: of one chunk as it is, of several as one (pyarrow and polars know how)."""
    if hasattr(column, "combine_chunks"):
        column = column.combine_chunks()
        if hasattr(column, "__arrow_c_array__"):
            return exported(name, column, kept)
    elif hasattr(column, "rechunk"):
        column = column.rechunk()
    chunks = list(stream(column, kept))
    if len(chunks) != 1:
        raise error("BAD_INPUT", f"column '{name}' has {len(chunks)} chunks: make it one")
    schema, array = chunks[0]
    return _moved(name, ctypes.addressof(schema), ctypes.addressof(array))


class _Released:
    """A struct that came out of a stream: released when nobody needs it any more."""

    def __init__(self, struct: Any) -> None:
        self.struct = struct

    def __del__(self) -> None:
        release = self.struct.release
        if release:
            _RELEASE(release)(ctypes.addressof(self.struct))


def stream(table: Any, kept: list[object]) -> Iterator[tuple[ArrowSchema, ArrowArray]]:
    """The chunks of what has ``__arrow_c_stream__``, each valid while ``kept`` is."""
    capsule = table.__arrow_c_stream__()
    kept.append(capsule)
    pointer = capsule_pointer(capsule, b"arrow_array_stream")
    source = ArrowArrayStream.from_address(pointer)
    call = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)
    schema = ArrowSchema()
    _stream_check(source, pointer, call(source.get_schema)(pointer, ctypes.addressof(schema)))
    kept.append(_Released(schema))
    while True:
        array = ArrowArray()
        _stream_check(source, pointer, call(source.get_next)(pointer, ctypes.addressof(array)))
        if not array.release:
            return
        kept.append(_Released(array))
        yield schema, array


def _stream_check(source: ArrowArrayStream, pointer: int, code: int) -> None:
    if code == 0:
        return
    said = ctypes.CFUNCTYPE(ctypes.c_char_p, ctypes.c_void_p)(source.get_last_error)(pointer)
    raise error("BAD_INPUT", f"the Arrow stream ended with error {code}: {(said or b'').decode(errors='replace')}")


def batch_of(columns: Mapping[str, Any], row_count: int) -> Batch:
    """A batch of named columns."""
    batch = Batch(row_count)
    for name, column in columns.items():
        batch.add(name, column)
    return batch.finish()
