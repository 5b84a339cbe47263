"""What the parity tests share: the program that predicts, and the length of a run.

MYR_BUILD_DIR names the build directory (default: build-dev); MYR_LONG=1 or --long asks for ten times the models.
"""
import os
import pathlib
import subprocess

import numpy as np
import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def pytest_addoption(parser):
    parser.addoption("--long", action="store_true", help="ten times as many models")


@pytest.fixture(scope="session")
def factor(request):
    """How many times the usual number of models to try."""
    return 10 if request.config.getoption("--long") or os.environ.get("MYR_LONG") == "1" else 1


class Refused(Exception):
    """myr_parity refused the model; the text is its message."""


class Parity:
    def __init__(self, program, directory):
        self.program = str(program)
        self.directory = directory

    def predict(self, model, rows, margins=False, rounds=None):
        """Import `model` (a path, or the file's bytes or text), predict rows; one row of values per row.

        rounds: (first, count) of the boosting rounds to keep."""
        if isinstance(model, str) and "\n" in model:
            model = model.encode()
        if isinstance(model, (bytes, bytearray)):
            path = self.directory / "model"
            path.write_bytes(model)
            model = path
        rows = np.ascontiguousarray(rows, dtype="<f8")
        rows_path = self.directory / "rows.f64"
        out_path = self.directory / "out.f64"
        rows.tofile(rows_path)
        out_path.unlink(missing_ok=True)
        command = [self.program, str(model), str(rows_path), str(rows.shape[1]), str(out_path)]
        if margins or rounds:
            command.append("--margins" if margins else "value")
        if rounds:
            command += [str(rounds[0]), str(rounds[1])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        if done.returncode in (65, 69):
            raise Refused(done.stderr.strip())
        assert done.returncode == 0, f"{command}: exit {done.returncode}: {done.stderr}"
        values = np.fromfile(out_path, dtype="<f8")
        return values.reshape(rows.shape[0], -1)


@pytest.fixture(scope="session")
def parity(tmp_path_factory):
    build = pathlib.Path(os.environ.get("MYR_BUILD_DIR", "build-dev"))
    program = (build if build.is_absolute() else ROOT / build) / "tests" / "myr_parity"
    if not program.exists():
        pytest.fail(f"{program} is missing: build it (ninja myr_parity) or set MYR_BUILD_DIR")
    return Parity(program, tmp_path_factory.mktemp("parity"))


def same_bits(got, want):
    """Bit for bit; every NaN is the same."""
    got = np.asarray(got, dtype="<f8")
    want = np.asarray(want, dtype="<f8")
    return np.where(np.isnan(want), np.isnan(got), got.view("<u8") == want.view("<u8"))
