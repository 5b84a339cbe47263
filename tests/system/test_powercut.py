"""The power fails after `batch run` has said that it is done: what it published is still there.

A killed process leaves the page cache alive, so the file system itself is shut down under the run: XFS on a loop mount,
without flushing its log. With syncing switched off the same must lose data, or the test would prove nothing.
"""
import json
import os
import random
import shutil
import subprocess
import time

import pytest
from conftest import linear

CONTROL_TRIES = 3
CUTS = 60 if os.environ.get("MYR_LONG") else 5
ROWS = 20000

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a file system"),
    pytest.mark.skipif(not (shutil.which("mkfs.xfs") and shutil.which("xfs_io")), reason="xfsprogs is not installed"),
]


class Disk:
    def __init__(self, image, mount):
        self.image, self.mount = image, mount

    def attach(self):
        return subprocess.run(["mount", "-o", "loop", self.image, self.mount], capture_output=True).returncode == 0

    def stop(self):
        """As it is, log unwritten."""
        subprocess.run(["xfs_io", "-x", "-c", "shutdown", self.mount], check=True)

    def come_back(self):
        deadline = time.monotonic() + 20  # workers of a run that was killed end by themselves, soon
        while subprocess.run(["umount", self.mount], capture_output=True).returncode != 0:
            assert time.monotonic() < deadline, "somebody is still at work on the disk that failed"
            time.sleep(0.05)
        assert self.attach()

    def cut(self):
        self.stop()
        self.come_back()


@pytest.fixture
def disk(tmp_path_factory):
    image = tmp_path_factory.mktemp("image") / "disk"
    with open(image, "wb") as file:
        file.truncate(400 << 20)
    made = Disk(image, tmp_path_factory.mktemp("mount"))
    subprocess.run(["mkfs.xfs", "-q", "-f", image], check=True)
    if not made.attach():
        pytest.skip("mounting is not allowed here")
    yield made
    subprocess.run(["umount", made.mount], check=True)


@pytest.fixture
def fleet(workspace):
    (workspace.cwd / "m.json").write_text(linear(["x"], 1, [2.0]))
    workspace.run("model", "import", "m.json", "--fleet", "f", "--segment", "k=1")
    workspace.run("release", "create", "f")
    (workspace.cwd / "in.csv").write_text("k,x\n" + "".join(f"{i % 4},{i}\n" for i in range(ROWS)))
    return workspace


def score(fleet, output, **env):
    fleet.run("batch", "run", "--fleet", "f", "--input", "in.csv", "--output", output, "--by", "k", "--force", env=env)


def is_whole(output):
    """Manifest, sizes, and content that can be read."""
    try:
        manifest = json.loads((output / "_myriad.json").read_text())
        files = [(output / f["path"], f["bytes"]) for f in manifest["files"]]
        return len(files) == 4 and all(p.stat().st_size == n and p.read_bytes()[-4:] == b"PAR1" for p, n in files)
    except (OSError, ValueError, KeyError):
        return False


def contents(output):
    """Every file but the manifest, which knows its run."""
    return {str(p.relative_to(output)): p.read_bytes() for p in output.rglob("*.parquet")}


def test_published_output_survives_a_power_cut(fleet, disk):
    score(fleet, disk.mount / "deep/er/out")
    disk.cut()
    assert is_whole(disk.mount / "deep/er/out")
    score(fleet, disk.mount / "deep/er/out")  # replaced, and cut again
    disk.cut()
    assert is_whole(disk.mount / "deep/er/out")
    dataset = pytest.importorskip("pyarrow.dataset")
    assert dataset.dataset(disk.mount / "deep/er/out", format="parquet", partitioning="hive").count_rows() == ROWS
    score(fleet, disk.mount / "deep/er/out")  # what was removed after publishing may be back: this run removes it again
    assert [p.name for p in (disk.mount / "deep/er").iterdir()] == ["out"]


def test_a_run_goes_on_after_a_power_cut(fleet, disk):
    """Workspace and output on the disk that fails: what the ledger calls done is there, the rest is done again."""
    moved = fleet.cwd.parent / "plain"
    (fleet.cwd / "job.yaml").write_text("fleet: f\ninput: in.csv\noutput: {path: out, by: [k]}\nmini_batch_size: 500\n")
    fleet.run("batch", "run", "job.yaml")
    shutil.move(fleet.cwd / "out", moved)
    wanted, dice, gone_on, kept = contents(moved), random.Random(3), 0, 0
    shutil.copytree(fleet.cwd, disk.mount / "ws")
    os.sync()
    program = type(fleet)(fleet.path, disk.mount / "ws")
    for _ in range(CUTS):
        shutil.rmtree(program.cwd / "out", ignore_errors=True)
        process = subprocess.Popen([program.path, "batch", "run", "job.yaml", "--force", "--json"], cwd=program.cwd, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        run = json.loads(process.stdout.readline())["run"]
        time.sleep(dice.random() * 0.6)
        disk.stop()
        process.kill()
        process.communicate()
        disk.come_back()
        batches = program.json("batch", "show", run)["mini_batches"]
        done = program.run("batch", "resume", run, ok=False)
        if done.returncode == 0:
            gone_on += 1
            kept += sum(batch["state"] == "done" for batch in batches)
        else:  # it had ended
            assert "nothing to resume" in done.stderr, done.stderr
        if program.json("batch", "status", run)["state"] == "completed":
            assert contents(program.cwd / "out") == wanted
    assert gone_on > 0 and kept > 0, "no cut fell into a run"


def test_control_without_syncs_loses_data(fleet, disk):
    lost = 0
    for n in range(CONTROL_TRIES):
        score(fleet, disk.mount / f"out{n}", MYRIAD_UNSAFE_NO_SYNC="1")
        disk.cut()
        lost += not is_whole(disk.mount / f"out{n}")
    assert lost > 0, "nothing was lost without syncs: the power cut is not one"
