"""The C ABI of libmyriad, as ``include/myriad/myriad.h`` declares it. ctypes lets go of the GIL during every call."""

from __future__ import annotations

import ctypes
import os
import pathlib
from ctypes import POINTER, Structure, byref, c_char, c_char_p, c_double, c_int, c_int32, c_int64, c_size_t, c_uint8
from ctypes import c_uint32, c_uint64, c_void_p

from ._errors import error

BY_KEY = 0xFFFFFFFF
OUTPUTS = {"value": 0, "margin": 1, "probability": 2, "leaf": 3, "contribution": 4}


class Err(Structure):
    _fields_ = [("rc", c_int32), ("line", c_int32), ("file", c_char_p), ("message", c_char * 240)]


class ArrowSchema(Structure):
    pass


class ArrowArray(Structure):
    pass


ArrowSchema._fields_ = [
    ("format", c_char_p), ("name", c_char_p), ("metadata", c_void_p), ("flags", c_int64), ("n_children", c_int64),
    ("children", c_void_p), ("dictionary", c_void_p), ("release", c_void_p), ("private_data", c_void_p)]
ArrowArray._fields_ = [
    ("length", c_int64), ("null_count", c_int64), ("offset", c_int64), ("n_buffers", c_int64), ("n_children", c_int64),
    ("buffers", c_void_p), ("children", c_void_p), ("dictionary", c_void_p), ("release", c_void_p),
    ("private_data", c_void_p)]


class ArrowArrayStream(Structure):
    _fields_ = [("get_schema", c_void_p), ("get_next", c_void_p), ("get_last_error", c_void_p), ("release", c_void_p),
                ("private_data", c_void_p)]


class Info(Structure):
    _fields_ = [("struct_size", c_size_t), ("fleet", c_char_p), ("release", c_int64), ("model_count", c_uint32),
                ("key_count", c_uint32), ("feature_count", c_uint32), ("output_count", c_uint32)]


class Entry(Structure):
    _fields_ = [("struct_size", c_size_t), ("version", c_int64), ("level", c_int32), ("key_count", c_uint32),
                ("size_bytes", c_uint64)]


class Rows(Structure):
    _fields_ = [("struct_size", c_size_t), ("row_count", c_int64), ("model_idx", c_uint32), ("key_texts", c_void_p),
                ("features", c_void_p), ("row_stride", c_int64), ("column_stride", c_int64), ("output", c_int32),
                ("schema", c_void_p), ("batch", c_void_p), ("key_columns", c_void_p)]


class Out(Structure):
    _fields_ = [("struct_size", c_size_t), ("values", c_void_p), ("row_stride", c_int64), ("column_stride", c_int64),
                ("levels", c_void_p), ("statuses", c_void_p), ("model_idxs", c_void_p)]


def _find() -> str:
    named = os.environ.get("MYRIAD_LIBRARY")
    if named:
        return named
    beside = pathlib.Path(__file__).parent / "libmyriad.so.0"
    return str(beside) if beside.exists() else "libmyriad.so.0"


def library_path() -> pathlib.Path:
    """Where the library lies that this process has opened."""
    found = pathlib.Path(_find())
    if found.is_absolute():
        return found
    with open("/proc/self/maps", encoding="utf-8") as maps:  # the loader found it
        return pathlib.Path(next(line.split(maxsplit=5)[5].strip() for line in maps if "/libmyriad.so" in line))


def _load() -> ctypes.CDLL:
    path = _find()
    try:
        lib = ctypes.CDLL(path)
    except OSError as problem:
        raise ImportError(f"{problem}: the wheel holds libmyriad.so.0; from a source tree, set MYRIAD_LIBRARY to "
                          "build/libmyriad.so") from None
    declare = {
        "myr_version": (c_char_p, []),
        "myr_error_name": (c_char_p, [c_int32]),
        "myr_models_open": (c_int32, [c_char_p, POINTER(c_void_p), POINTER(Err)]),
        "myr_models_close": (None, [c_void_p]),
        "myr_models_get_info": (c_int32, [c_void_p, POINTER(Info), POINTER(Err)]),
        "myr_models_file_name": (c_char_p, [c_void_p, c_uint32]),
        "myr_models_key_name": (c_char_p, [c_void_p, c_uint32]),
        "myr_models_key_is_int64": (c_int, [c_void_p, c_uint32]),
        "myr_models_feature_name": (c_char_p, [c_void_p, c_uint32]),
        "myr_models_feature_is_text": (c_int, [c_void_p, c_uint32]),
        "myr_models_find": (c_int32, [c_void_p, c_char_p, POINTER(c_uint32), POINTER(Err)]),
        "myr_models_get_entry": (c_int32, [c_void_p, c_uint32, POINTER(Entry), POINTER(Err)]),
        "myr_models_get_segment": (c_int32, [c_void_p, c_uint32, c_char_p, c_size_t, POINTER(c_size_t), POINTER(Err)]),
        "myr_models_width": (c_size_t, [c_void_p, c_uint32, c_int32]),
        "myr_models_level_name": (c_char_p, [c_int32]),
        "myr_models_status_name": (c_char_p, [c_int32]),
        "myr_models_score_into": (c_int32, [c_void_p, POINTER(Rows), POINTER(Out), POINTER(Err)]),
    }
    for name, (result, arguments) in declare.items():
        function = getattr(lib, name)
        function.restype = result
        function.argtypes = arguments
    return lib


lib = _load()


def check(rc: int, err: Err) -> None:
    """Raise what a call that failed said."""
    if rc != 0:
        raise error(lib.myr_error_name(rc).decode(), err.message.decode(errors="replace"))


def words(function: object) -> tuple[str, ...]:
    """What a function of numbers 0, 1, … says until it says nothing."""
    found: list[str] = []
    while (word := function(len(found))) is not None:  # type: ignore[operator]
        found.append(word.decode())
    return tuple(found)


LEVELS = words(lib.myr_models_level_name)
STATUSES = words(lib.myr_models_status_name)
VERSION: str = lib.myr_version().decode()

__all__ = ["ArrowArray", "ArrowArrayStream", "ArrowSchema", "BY_KEY", "Entry", "Err", "Info", "LEVELS", "OUTPUTS", "Out",
           "Rows", "STATUSES", "VERSION", "byref", "c_double", "c_uint8", "check", "lib", "library_path", "words"]
