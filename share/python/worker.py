"""A worker of myriad: runs one score.py, asked over the socket at descriptor 3. Standard library alone; pandas if it is there.

Frames are 4 bytes of length, little-endian, then so many bytes. First the worker says what it is: a byte 0 and JSON, or a byte 1 and why it can't
run. A request is: rows, columns (32 bits each); per column its name, a byte 0 (doubles, NaN = missing) or 1 (texts, length -1 = missing), its cells. The
answer is a byte 0, rows, values per row, doubles row by row, then nothing or a byte per row (1: it has no answer); or a byte 1 and a message; or a byte
2 and a message, after which the worker ends.
"""
import array
import importlib.util
import json
import os
import socket
import struct
import sys
import traceback

sock = socket.socket(fileno=3)


def receive(size):
    parts = bytearray()
    while len(parts) < size:
        part = sock.recv(min(size - len(parts), 1 << 20))
        if not part:
            sys.exit(0)
        parts += part
    return bytes(parts)


def send(kind, data):
    sock.sendall(struct.pack("<IB", len(data) + 1, kind) + data)


def explain(error):
    """The error in one line, with the place in the model's own files where it came from."""
    place = ""
    for frame in traceback.extract_tb(error.__traceback__):
        if os.path.dirname(os.path.abspath(frame.filename)).startswith(os.getcwd()):
            place = f" ({os.path.basename(frame.filename)}, line {frame.lineno})"
    if isinstance(error, SyntaxError) and error.filename:
        place = f" ({os.path.basename(error.filename)}, line {error.lineno})"
    return f"{type(error).__name__}: {error}{place}".replace("\n", " ")[:2000].encode("utf-8", "replace")


def load():
    sys.path.insert(0, os.getcwd())
    os.environ.setdefault("AZUREML_MODEL_DIR", os.getcwd())
    spec = importlib.util.spec_from_file_location("score", os.path.join(os.getcwd(), "score.py"))
    module = importlib.util.module_from_spec(spec)
    sys.modules["score"] = module
    spec.loader.exec_module(module)
    if not callable(getattr(module, "run", None)):
        raise AttributeError("score.py has no function run(mini_batch)")
    if callable(getattr(module, "init", None)):
        module.init()
    return module


def names(module, what):
    value = getattr(module, what, None)
    if value is None:
        return None
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) for name in value):
        raise TypeError(f"{what} in score.py is not a list of names")
    return list(value)


def decode(frame):
    rows, count = struct.unpack_from("<II", frame)
    at, columns = 8, {}
    for _ in range(count):
        (size,) = struct.unpack_from("<I", frame, at)
        name = frame[at + 4:at + 4 + size].decode()
        kind, at = frame[at + 4 + size], at + 5 + size
        if kind == 0:
            cells = array.array("d")
            cells.frombytes(frame[at:at + 8 * rows])
            at += 8 * rows
            columns[name] = cells
            continue
        texts = []
        for _ in range(rows):
            (size,) = struct.unpack_from("<i", frame, at)
            at += 4
            texts.append(None if size < 0 else frame[at:at + size].decode("utf-8", "replace"))
            at += max(size, 0)
        columns[name] = texts
    return rows, columns


def mini_batch(columns):
    if pandas is None:
        return {name: list(cells) for name, cells in columns.items()}
    return pandas.DataFrame({name: numpy.frombuffer(cells, dtype="float64").copy() if isinstance(cells, array.array) else cells
                             for name, cells in columns.items()})


def plain(value):
    """Lists of what pandas and numpy give."""
    if hasattr(value, "to_numpy"):
        value = value.to_numpy()
    if hasattr(value, "tolist"):
        value = value.tolist()
    return value


def of_files(module, columns):
    """What run() gives for a list of files; None for those without an answer. A table says with a column `file` which ones it has."""
    if not os.environ.get("MYRIAD_FILES"):
        raise RuntimeError("it takes files, which a batch job gives it (input: {items: ...}), and nobody else")
    files = list(columns["file"])
    result = module.run(list(files))
    if hasattr(result, "columns") and hasattr(result, "to_dict") and "file" in list(result.columns):
        names = [str(name) for name in result["file"]]
        rows = plain(result.drop(columns=["file"]))
        found = dict(zip(names, rows))
        if not set(found) <= set(files):
            raise ValueError(f"run() gave an answer for {sorted(set(found) - set(files))[0]!r}, which it was not given")
        return [found.get(name) for name in files]
    result = plain(result)
    if isinstance(result, dict):
        return [result.get(name) for name in files]
    return result


def encode_files(result, rows, width):
    if isinstance(result, (list, tuple)) and len(result) == rows:
        missing = bytes(answer is None for answer in result)
        return encode([[float("nan")] * width if answer is None else answer for answer in result], rows) + (missing if any(missing) else b"")
    return encode(result, rows)


def encode(result, rows):
    result = plain(result)
    if not isinstance(result, (list, tuple)):
        raise TypeError(f"run() gave a {type(result).__name__}, not a list of one answer per row")
    if len(result) != rows:
        raise ValueError(f"run() gave {len(result)} answers for {rows} rows")
    cells, width = array.array("d"), None
    for answer in result:
        answer = plain(answer)
        values = list(answer) if isinstance(answer, (list, tuple)) else [answer]
        if width is not None and len(values) != width:
            raise ValueError(f"run() gave a row of {len(values)} values after one of {width}")
        width = len(values)
        cells.extend(float("nan") if value is None else float(value) for value in values)
    return struct.pack("<II", rows, width or 0) + cells.tobytes()


try:
    try:
        import numpy
        import pandas
    except ImportError:
        pandas = None
    module = load()
    takes_files, output_count = getattr(module, "items", None) == "files", getattr(module, "outputs", 1)
    send(0, json.dumps({"features": names(module, "features"), "texts": names(module, "text_features"),
                        "items": "files" if takes_files else None, "outputs": output_count}).encode())
except Exception as error:  # whatever a model's code may raise
    send(1, explain(error))
    sys.exit(1)

while True:
    (frame_size,) = struct.unpack("<I", receive(4))
    row_count, cells_by_name = decode(receive(frame_size))
    try:
        if takes_files:
            send(0, encode_files(of_files(module, cells_by_name), row_count, output_count))
        else:
            send(0, encode(module.run(mini_batch(cells_by_name)), row_count))
    except MemoryError as error:
        send(2, explain(error))
        sys.exit(1)
    except Exception as error:  # whatever a model's code may raise
        send(1, explain(error))
