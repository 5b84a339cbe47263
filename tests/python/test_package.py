"""The package around predict: the wheel, its life (pickle, threads, fork, close), memory, types."""
import concurrent.futures
import ctypes
import importlib.util
import multiprocessing
import os
import pathlib
import pickle
import subprocess
import sys
import threading
import tracemalloc
import zipfile

import joblib
import myriad
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from conftest import BUILD, FEATURES, KEYS, ROOT


@pytest.fixture(scope="module")
def pack(fleet):
    return myriad.open(fleet.pack_path)


def test_the_wheel_is_whole(wheel):
    with zipfile.ZipFile(wheel) as file:
        names = file.namelist()
        record = file.read(next(n for n in names if n.endswith("RECORD"))).decode()
    assert {"myriad/__init__.py", "myriad/libmyriad.so.0", "myriad/py.typed"} <= set(names)
    assert {line.split(",")[0] for line in record.splitlines()} == set(names)
    assert wheel.endswith("-py3-none-linux_x86_64.whl") or "aarch64" in wheel
    assert myriad.__file__.startswith(str(pathlib.Path(wheel).parent))  # what is tested is the wheel
    assert myriad.__version__ in wheel


def test_pip_builds_the_same_wheel_offline(tmp_path):
    env = {**os.environ, "MYRIAD_LIBRARY": str(BUILD / "libmyriad.so")}
    subprocess.run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index", "-w", tmp_path,
                    ROOT / "python"], check=True, env=env)
    assert len(list(tmp_path.glob("myriad-*.whl"))) == 1


def test_types_are_strict():
    """mypy --strict if it is there; in any case each function says all its types, and the marker is in the wheel."""
    import ast
    for path in (ROOT / "python/myriad").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
                bare = [a.arg for a in given if a and a.annotation is None and a.arg not in ("self", "cls")]
                assert not bare and node.returns is not None, f"{path.name}:{node.lineno}: {node.name}: {bare or 'no return type'}"
    if importlib.util.find_spec("mypy") is None:
        return
    done = subprocess.run([sys.executable, "-m", "mypy"], cwd=ROOT / "python", capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_everything_public_has_a_docstring():
    for name in myriad.__all__:
        thing = getattr(myriad, name)
        if isinstance(thing, str):
            continue
        assert thing.__doc__, name
        for member, value in vars(thing).items() if isinstance(thing, type) else ():
            if not member.startswith("_") and callable(value):
                assert value.__doc__, f"{name}.{member}"


def test_a_pack_describes_itself(fleet, pack):
    assert (pack.fleet, pack.release, len(pack), pack.output_count) == ("oj", 1, 8, 1)
    assert pack.features == list(FEATURES) and pack.keys == list(KEYS) and pack.key_types == {"store": "int64", "brand": "text"}
    assert repr(pack).endswith("fleet 'oj' release 1, 8 models, keys store, brand, 5 features>")
    models = list(pack.models())
    assert [m.index for m in models] == list(range(8)) and {m.level for m in models} == {"segment", "parent", "global"}
    assert all(pack.find(m.segment) == m for m in models)
    assert pack.find("store=99") is None and pack.find({"store": 2, "brand": "zz"}) is None
    with pytest.raises(myriad.BadInput):
        pack.find("shop=1")
    same = myriad.open(fleet.registry.workspace, fleet="oj")
    assert same.path == pack.path and myriad.open(fleet.registry.workspace, "oj", 1).release == 1
    with pytest.raises(myriad.NotFound):
        myriad.open(fleet.registry.workspace, "oj", 7)


def test_close_and_context(fleet):
    with myriad.open(fleet.pack_path) as pack:
        assert len(pack) == 8
    with pytest.raises(myriad.BadInput, match="was closed"):
        pack.predict(np.zeros((1, 5)), model=0)
    assert "closed" in repr(pack)
    pack.close()


def test_pickle_by_path(fleet, pack):
    matrix = fleet.rows(100)[2]
    again = pickle.loads(pickle.dumps(pack))
    assert again.path == pack.path and (again.predict(matrix, model=0) == pack.predict(matrix, model=0)).all()
    parts = joblib.Parallel(n_jobs=2)(joblib.delayed(pack.predict)(matrix[i::2], model=0) for i in range(2))
    for i in range(2):
        assert (parts[i] == pack.predict(matrix[i::2], model=0)).all()
    problem = pickle.loads(pickle.dumps(pytest.raises(myriad.NotFound, myriad.open, "none.index").value))
    assert isinstance(problem, myriad.NotFound) and problem.code == "NOT_FOUND"


def test_threads_share_a_pack(fleet, pack):
    stores, brands, matrix = fleet.rows(4000)
    wanted = pack.predict(matrix, keys=[stores, brands])

    def part(i):
        mine = slice(i * 100, i * 100 + 100 + i)
        return (pack.predict(matrix[mine], keys=[stores[mine], brands[mine]]) == wanted[mine]).all()

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert all(pool.map(part, list(range(40)) * 5))


def test_close_while_others_predict(fleet):
    matrix = fleet.rows(20000)[2]
    for _ in range(5):
        pack = myriad.open(fleet.pack_path)
        wanted = pack.predict(matrix, model=0)
        answers = []
        threads = [threading.Thread(target=lambda: answers.append(pack.predict(matrix, model=0))) for _ in range(4)]
        for thread in threads:
            thread.start()
        pack.close()  # those that began end well; a later one says that it is closed
        for thread in threads:
            thread.join()
        assert all((a == wanted).all() for a in answers)


def _child(pack, matrix, wanted, queue):
    queue.put(bool((pack.predict(matrix, model=0) == wanted).all()))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_fork_while_threads_predict(fleet, pack):
    matrix = fleet.rows(3000)[2]
    wanted = pack.predict(matrix, model=0)
    stop = threading.Event()

    def work():
        while not stop.is_set():
            pack.predict(matrix, model=0)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        for _ in range(8):
            child = context.Process(target=_child, args=(pack, matrix, wanted, queue))
            child.start()
            assert queue.get(timeout=60)
            child.join(60)
            assert child.exitcode == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()


# ---- zero copy ----

def given_pointers(monkeypatch, call):
    """What the library was given: (features pointer, its strides, {column: pointer of its cells})."""
    from myriad import _abi, _pack
    seen = {}
    original = _abi.lib.myr_models_score_into

    def spy(handle, rows, out, err):
        seen["features"] = rows.features
        seen["strides"] = (rows.row_stride, rows.column_stride)
        if rows.batch:
            schema = _abi.ArrowSchema.from_address(rows.schema)
            batch = _abi.ArrowArray.from_address(rows.batch)
            for i in range(batch.n_children):
                field = _abi.ArrowSchema.from_address(ctypes.c_void_p.from_address(schema.children + 8 * i).value)
                child = _abi.ArrowArray.from_address(ctypes.c_void_p.from_address(batch.children + 8 * i).value)
                seen[field.name.decode()] = ctypes.c_void_p.from_address(child.buffers + 8).value + 8 * (child.offset + batch.offset)
        return original(handle, rows, out, err)

    class Spied:
        myr_models_score_into = staticmethod(spy)

        def __getattr__(self, name):
            return getattr(_abi.lib, name)

    monkeypatch.setattr(_pack, "lib", Spied())
    call()
    return seen


def test_memory_is_read_where_it_lies(fleet, pack, monkeypatch):
    stores, brands, matrix = fleet.rows(1000)
    for given in (matrix, np.asfortranarray(matrix), matrix[::2], matrix[::-1, ::-1]):
        seen = given_pointers(monkeypatch, lambda: pack.predict(given, model=0))
        assert seen["features"] == given.ctypes.data and seen["strides"] == tuple(s // 8 for s in given.strides)
    seen = given_pointers(monkeypatch, lambda: pack.predict(matrix, keys=[stores, brands]))
    assert seen["features"] == matrix.ctypes.data and seen["store"] == stores.ctypes.data
    frame = pd.DataFrame(np.asfortranarray(matrix), columns=FEATURES).assign(store=stores, brand=brands)  # one block of doubles
    for given, strides in ((frame, (1, 1000)), (frame[[*KEYS, *reversed(FEATURES)]], None), (frame.assign(price=1), None),
                           (pd.DataFrame(matrix, columns=FEATURES, copy=False).assign(store=stores, brand=brands), (5, 1))):
        seen = given_pointers(monkeypatch, lambda: pack.predict(given))
        assert seen["store"] == given["store"].to_numpy().ctypes.data
        for name in FEATURES if strides is None and seen["features"] is None else FEATURES[:1]:
            assert seen.get(name, seen["features"]) == given[name].to_numpy().ctypes.data
        assert strides is None or seen["strides"] == strides
    table = pa.Table.from_pandas(frame)
    seen = given_pointers(monkeypatch, lambda: pack.predict(table))
    for name in (*FEATURES, "store"):
        assert seen[name] == table.column(name).chunk(0).buffers()[1].address
    import polars
    frame = polars.DataFrame({**{n: matrix[:, i] for i, n in enumerate(FEATURES)}, "store": stores, "brand": brands})
    seen = given_pointers(monkeypatch, lambda: pack.predict(frame))
    for name in (*FEATURES, "store"):
        assert seen[name] == frame[name].to_numpy(allow_copy=False).ctypes.data


def test_memory_of_a_call_is_that_of_its_answer(pack):
    """NumPy reports what it allocates to tracemalloc: a million doubles in, 200,000 and their statuses out."""
    matrix = np.zeros((200_000, 5))
    pack.predict(matrix, model=0)
    tracemalloc.start()
    try:
        pack.predict(matrix, model=0)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert 200_000 * 9 <= peak < 200_000 * 9 + 100_000


def test_many_rows(fleet, pack):
    stores, brands, matrix = fleet.rows(100_000)
    frame = pd.DataFrame(matrix, columns=FEATURES).assign(store=stores, brand=brands)
    found = pack.predict(frame).to_numpy()
    assert (found == pack.predict(matrix, keys=[stores, brands])).all() and not np.isnan(found).any()
    some = np.random.default_rng(1).integers(0, len(matrix), 500)
    assert (found[some] == fleet.expected(stores[some], brands[some], matrix[some])).all()


def test_nothing_leaks(pack, fleet):
    import resource
    stores, brands, matrix = fleet.rows(2000)
    table = pa.table({**{n: matrix[:, i] for i, n in enumerate(FEATURES)}, "store": stores, "brand": brands.tolist()})
    frame = table.to_pandas()

    def work():
        for _ in range(200):
            pack.predict(table)
            pack.predict(frame)
            pack.predict(matrix, keys=[stores, brands], details=True)

    work()
    before, held = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, pa.total_allocated_bytes()
    work()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 16 << 10  # KiB
    assert pa.total_allocated_bytes() == held
