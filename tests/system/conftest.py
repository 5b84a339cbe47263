"""What system tests share: the program, workspaces, a server on a free port. MYR_BUILD_DIR says which build (build-asan)."""
import contextlib
import json
import os
import pathlib
import re
import signal
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
# A sanitized server on a busy machine may be slow, and that is not what most tests are about.
PATIENT = {"MYRIAD_SERVE_DEADLINE": "60s", "MYRIAD_SERVE_BULK_DEADLINE": "5m"}
BUILD = ROOT / os.environ.get("MYR_BUILD_DIR", "build-dev")


class Url(str):
    """The base URL of a server; .grpc is HOST:PORT of its gRPC, or None; .pid its process."""


class Program:
    """The `myriad` program in one working directory."""

    def __init__(self, path, cwd):
        self.path, self.cwd = str(path), pathlib.Path(cwd)

    def run(self, *args, ok=True, env=None, timeout=300, cwd=None):
        """Run to the end; with ok, a failure fails the test and shows both outputs."""
        done = subprocess.run([self.path, *map(str, args)], cwd=cwd or self.cwd, capture_output=True, text=True, timeout=timeout,
                              env={**os.environ, **(env or {})})
        if ok:
            assert done.returncode == 0, f"myriad {' '.join(map(str, args))}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def json(self, *args, **kwargs):
        text = self.run(*args, "--json", **kwargs).stdout
        return json.loads(text.splitlines()[-1] if args[0] == "batch" else text)  # a run tells its number first

    def fails(self, *args, **kwargs):
        """Run what must fail with a message, never by a signal; gives (exit code, message)."""
        done = self.run(*args, ok=False, **kwargs)
        assert done.returncode > 0, f"exit {done.returncode}\n{done.stdout}{done.stderr}"
        assert done.stderr.startswith("myriad: "), done.stderr
        assert "Sanitizer" not in done.stderr, done.stderr
        return done.returncode, done.stderr.strip()

    @contextlib.contextmanager
    def serving(self, *args, env=None):
        """A server on a free port: gives its base URL; SIGTERM at the end must give exit code 0."""
        server = subprocess.Popen([self.path, "serve", "--listen", "127.0.0.1:0", *map(str, args)], cwd=self.cwd, text=True,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  env={**PATIENT, **os.environ, **(env or {})})
        line = server.stdout.readline()
        match = re.search(r"http://[^ ,\"]+", line)
        if not match:
            server.kill()
            pytest.fail(f"the server did not start: {line}{server.stderr.read()}")
        url = Url(match[0])
        url.grpc = (re.search(r"gRPC on ([^ ,]+)", line) or [None, None])[1]
        url.pid = server.pid
        try:
            yield url
        finally:
            server.send_signal(signal.SIGTERM)
            _, errors = server.communicate(timeout=60)
        assert server.returncode == 0, errors
        assert "Sanitizer" not in errors, errors


@pytest.fixture(scope="session")
def build():
    return BUILD


@pytest.fixture
def myriad(tmp_path):
    """The program, in an empty directory."""
    path = BUILD / "myriad"
    if not path.exists():
        pytest.fail(f"{path} is not there: build it first (cmake --build --preset asan)")
    return Program(path, tmp_path)


@pytest.fixture
def workspace(myriad):
    """The program, inside a fresh workspace."""
    myriad.run("init", ".")
    return myriad


def linear(features, intercept=0.0, weights=None):
    """A model file of the linear format, as text."""
    return json.dumps({"format": "myriad-linear", "version": 1, "features": list(features), "intercept": intercept,
                       "weights": list(weights or [0.0] * len(features)), "fills": [0.0] * len(features)})
