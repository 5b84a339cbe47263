"""clang-format and clang-tidy agree with the tree."""
import json
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from tree import ROOT, sources, tracked


def test_clang_format():
    if not shutil.which("clang-format"):
        pytest.skip("clang-format is not installed: scripts/setup --tests")
    files = sources() + [p for p in tracked("tests", "examples", "bench") if p.suffix in (".c", ".h")]
    done = subprocess.run(["clang-format", "--dry-run", "--Werror", *map(str, files)], capture_output=True, text=True, cwd=ROOT)
    lines = [line for line in done.stderr.splitlines() if "error:" in line]
    assert done.returncode == 0, "\n".join(lines[:20]) + "\nmend with: scripts/format"


def test_clang_tidy():
    if not shutil.which("clang-tidy"):
        pytest.skip("clang-tidy is not installed: scripts/setup --tests")
    build = ROOT / os.environ.get("MYR_BUILD_DIR", "build-dev")
    commands = build / "compile_commands.json"
    if not commands.exists():
        pytest.skip(f"{commands} is not there: build first")
    extra = ["--checks=clang-analyzer-core.*,clang-analyzer-deadcode.*,clang-analyzer-unix.*"] if os.environ.get("MYR_LONG") else []
    files = sorted({c["file"] for c in json.loads(commands.read_text()) if f"{ROOT}/src/" in c["file"]})

    def run(path):
        done = subprocess.run(["clang-tidy", "-p", str(build), "--quiet", "--extra-arg=-Wno-unknown-warning-option", *extra, path],
                              capture_output=True, text=True, cwd=ROOT)
        return done.stdout if done.returncode else ""

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        found = [text for text in pool.map(run, files) if text]
    assert not found, "\n".join(found)[:8000]
