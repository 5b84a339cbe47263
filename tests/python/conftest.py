"""The Python package as a user has it: its wheel, made from the build's library, installed into a folder of its own.

MYR_BUILD_DIR says which build; it must be one without sanitizers, since Python itself has none.
"""
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / os.environ.get("MYR_BUILD_DIR", "build")


def install(folder):
    """pip install of the wheel, offline and alone."""
    library = BUILD / "libmyriad.so"
    if not library.exists():
        pytest.exit(f"{library} is not there: build it first (cmake --build --preset release)", 1)
    wheel = subprocess.run([sys.executable, ROOT / "python/make_wheel.py", "--library", library, "--out", folder], check=True,
                           capture_output=True, text=True).stdout.strip()
    subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", folder / "site", wheel],
                   check=True)
    return wheel


def pytest_configure(config):
    import tempfile
    folder = pathlib.Path(tempfile.mkdtemp(prefix="myriad-python-"))
    config._myriad_folder = folder
    config._myriad_wheel = install(folder)
    sys.path.insert(0, str(folder / "site"))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(folder / "site"), os.environ.get("PYTHONPATH")]))
    os.environ["MYRIAD"] = str(BUILD / "myriad")
    os.environ.pop("MYRIAD_LIBRARY", None)


def pytest_unconfigure(config):
    import shutil
    shutil.rmtree(config._myriad_folder, ignore_errors=True)


@pytest.fixture(scope="session")
def wheel(pytestconfig):
    return pytestconfig._myriad_wheel


@pytest.fixture(scope="session")
def fleet(tmp_path_factory):
    """A workspace with LightGBM models of six segments, a parent and a global one, and the pack of its release."""
    import lightgbm
    import myriad
    import numpy as np

    rng = np.random.default_rng(7)
    x = rng.normal(size=(3000, len(FEATURES)))

    def train(shift):
        y = x[:, 0] * shift + np.where(x[:, 1] > 0, shift, x[:, 2]) + rng.normal(size=len(x)) / 10
        data = lightgbm.Dataset(x, y, feature_name=list(FEATURES))
        return lightgbm.train({"objective": "regression", "verbose": -1, "num_leaves": 15, "num_threads": 1}, data, 12)

    boosters = {(store, brand): train(store + len(brand)) for store in (1, 2, 3) for brand in ("a", "ü, brand=1")}
    boosters[None, "a"] = train(20)
    boosters[None, None] = train(30)
    registry = myriad.Registry(tmp_path_factory.mktemp("fleet") / "ws", create=True)
    registry.register_many("oj", [({k: v for k, v in zip(KEYS, key) if v is not None}, b) for key, b in boosters.items()],
                           tags={"team": "juice"})
    registry.release("oj")
    return Fleet(registry, boosters)


FEATURES = ("price", "deal", "feat", "week", "income")
KEYS = ("store", "brand")


class Fleet:
    def __init__(self, registry, boosters):
        self.registry, self.boosters = registry, boosters
        self.pack_path = registry.releases("oj")[0].pack

    def key_of(self, store, brand):
        """Which model answers: own segment, else the brand's, else the global one."""
        return next(key for key in ((store, brand), (None, brand), (None, None)) if key in self.boosters)

    def rows(self, count, seed=1):
        """Keys and a matrix of features: segments with and without models, missing values."""
        import numpy as np
        rng = np.random.default_rng(seed)
        matrix = rng.normal(size=(count, len(FEATURES)))
        matrix[rng.random(matrix.shape) < 0.1] = np.nan
        return rng.integers(1, 6, count), rng.choice(["a", "ü, brand=1", "none"], count), matrix

    def expected(self, stores, brands, matrix, **how):
        """What LightGBM itself says, model by model."""
        import numpy as np
        wanted = None
        keys = [self.key_of(int(s), str(b)) for s, b in zip(stores, brands)]
        for key in set(keys):
            mine = np.array([k == key for k in keys])
            found = self.boosters[key].predict(matrix[mine], **how)
            if wanted is None:
                wanted = np.full((len(matrix), *found.shape[1:]), np.nan)
            wanted[mine] = found
        return wanted
