"""The example runs as its first lines say."""
import subprocess
import sys

from conftest import ROOT


def test_the_example_runs(tmp_path):
    done = subprocess.run([sys.executable, ROOT / "examples/python/fleet.py", tmp_path], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "registered 18 models" and lines[1] == "release 1: 18 models, champion"
    assert lines[2].split() == ["store", "brand", "price", "deal", "prediction", "level", "status", "model"]
    assert [line.split()[5] for line in lines[3:8]] == ["segment", "segment", "parent", "parent", "global"]
    assert lines[8].split()[0] == "contribution_0" and lines[-1] == "release 2: 1 new of 18 models"
