"""Disks that fill up, files that cannot be read, models that are damaged, gone, or answer NaN: how a run ends, and what it names."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest
from conftest import Program, linear

ROWS = 20000
NOBODY = 65534


@pytest.fixture
def fleet(workspace):
    for key, weight in ((1, 0.0), (2, 2.0)):  # nothing times infinity is NaN
        (workspace.cwd / "m.json").write_text(linear(["x"], 0, [weight]))
        workspace.run("model", "import", "m.json", "--fleet", "f", "--segment", f"k={key}")
    workspace.run("release", "create", "f")
    table(workspace)
    job(workspace)
    return workspace


def table(workspace, name="in.csv", cell=lambda i: i, first=0):
    lines = [f"{1 + i % 2},{cell(i)},{i}\n" for i in range(first, first + ROWS)]
    (workspace.cwd / name).write_text("k,x,id\n" + "".join(lines))


def job(workspace, **more):
    lines = {"fleet": "f", "input": "in.csv", "output": "{path: out, keep: [id]}", "mini_batch_size": "1000",
             "retry_settings": "{backoff: 10ms, max_retries: 1}", **more}
    (workspace.cwd / "job.yaml").write_text("".join(f"{key}: {value}\n" for key, value in lines.items()))


def letters(workspace, run):
    path = workspace.cwd / f"runs/{run}/dead_letters.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()]


def ids(output):
    dataset = pytest.importorskip("pyarrow.dataset")
    return sorted(int(i) for i in dataset.dataset(output, format="parquet").to_table()["id"].to_pylist())


@pytest.fixture
def small(tmp_path_factory):
    """A small file system of its own, and how to make it larger."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    mount = tmp_path_factory.mktemp("small")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", mount]).returncode != 0:
        pytest.skip("mounting is not allowed here")
    yield mount, lambda size: subprocess.run(["mount", "-o", f"remount,size={size}", mount], check=True)
    subprocess.run(["umount", mount], check=True)


@pytest.mark.parametrize("threshold", [0, -1])
def test_a_disk_that_fills_up_between_mini_batches(fleet, small, threshold):
    mount, resize = small
    job(fleet, output=f"{{path: {mount}/out, keep: [id]}}", mini_batch_error_threshold=threshold)
    code, message = fleet.fails("batch", "run", "job.yaml")
    assert code == 74 and "space" in message, message
    assert list(mount.iterdir()) == [], "what was staged is gone"
    run, = fleet.json("batch", "list")["runs"]
    assert run["state"] == "failed" and "space" in run["message"]
    resize("10m")
    assert fleet.json("batch", "run", "job.yaml")["rows"] == ROWS
    assert ids(mount / "out") == list(range(ROWS))


def test_a_workspace_whose_disk_is_full(fleet, small):
    """The ledger cannot be written: no row is called done that might not be."""
    mount, resize = small
    resize("10m")
    shutil.copytree(fleet.cwd, mount / "ws")
    program = Program(fleet.path, mount / "ws")
    job(program, output=f"{{path: {fleet.cwd}/out, keep: [id]}}")
    disk = os.statvfs(mount)
    (mount / "ballast").write_bytes(b"x" * (disk.f_bavail * disk.f_frsize - 8192))
    code, message = program.fails("batch", "run", "job.yaml")
    assert code == 74 and ("full" in message or "space" in message), message
    assert not (fleet.cwd / "out").exists()
    (mount / "ballast").unlink()
    assert program.json("batch", "run", "job.yaml")["rows"] == ROWS
    assert ids(fleet.cwd / "out") == list(range(ROWS)) and not list(fleet.cwd.glob("out.*"))


def test_a_directory_among_the_files_of_a_glob(fleet):
    table(fleet, "part-1.csv")
    (fleet.cwd / "part-2.csv").mkdir()
    job(fleet, input="part-*.csv")
    done = fleet.run("batch", "run", "job.yaml", ok=False)
    if done.returncode == 0:  # a pattern finds files
        assert ids(fleet.cwd / "out") == list(range(ROWS))
    else:
        assert "part-2.csv" in done.stderr, done.stderr
    job(fleet, input="part-2.csv")
    code, message = fleet.fails("batch", "run", "job.yaml", "--force")
    assert "part-2.csv" in message, message


def test_a_file_that_may_not_be_read(fleet):
    """As another user, since root may read everything."""
    program = pathlib.Path(fleet.path)
    place = pathlib.Path(tempfile.mkdtemp())
    try:
        table(fleet, "part-1.csv"), table(fleet, "part-2.csv", first=ROWS)
        job(fleet, input="part-*.csv")
        shutil.copytree(fleet.cwd, place / "ws")
        (place / "ws/part-2.csv").chmod(0)
        if os.geteuid() == 0:
            subprocess.run(["chown", "-R", str(NOBODY), place], check=True)
            if subprocess.run([program, "version"], user=NOBODY, capture_output=True, check=False).returncode != 0:
                pytest.skip("the program cannot be run by another user here")
        who = {"user": NOBODY} if os.geteuid() == 0 else {}
        run = lambda *words: subprocess.run([program, *words], cwd=place / "ws", capture_output=True, text=True, timeout=120,
                                            env={**os.environ, "HOME": str(place)}, **who)
        done = run("batch", "run", "job.yaml")
        assert done.returncode > 0 and "part-2.csv" in done.stderr and "ermission" in done.stderr, done.stderr
        assert not (place / "ws/out").exists()
        job(Program(program, place / "ws"), input="part-*.csv", mini_batch_error_threshold=-1)
        done = run("batch", "run", "job.yaml")
        assert done.returncode > 0 and "part-2.csv" in done.stderr, "nobody knows how many rows it has: it is no row that failed"
    finally:
        shutil.rmtree(place)


def test_a_file_that_goes_while_a_run_reads(fleet):
    table(fleet, "part-1.csv"), table(fleet, "part-2.csv", first=ROWS)
    job(fleet, input="part-*.csv", compute="{max: 1}")
    process = subprocess.Popen([fleet.path, "batch", "run", "job.yaml", "--json"], cwd=fleet.cwd, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                               text=True)
    process.stdout.readline()
    (fleet.cwd / "part-2.csv").unlink()
    out, err = process.communicate(timeout=120)
    assert process.returncode > 0 and "part-2.csv" in err and not (fleet.cwd / "out").exists(), err


def test_a_model_that_answers_nan(fleet):
    """The row is there with the model's answer, and is named."""
    table(fleet, cell=lambda i: {7: "inf", 5000: "inf"}.get(i, i))
    job(fleet)
    report = fleet.json("batch", "run", "job.yaml")
    assert report["rows"] == ROWS and report["dead_rows"] == 2 and ids(fleet.cwd / "out") == list(range(ROWS))
    assert [(d["line"], d["cause"], d["key"]) for d in letters(fleet, report["run"])] == [(9, "not_finite", {"k": 2}), (5002, "not_finite", {"k": 1})]
    job(fleet, error_threshold=1)
    assert "2 rows have failed, error_threshold is 1" in fleet.fails("batch", "run", "job.yaml", "--force")[1]


def test_a_model_that_is_damaged(fleet):
    """Its rows have a status and are named, all others their answers."""
    blobs = fleet.cwd / "packs/f/r1.blobs"
    bytes_ = bytearray(blobs.read_bytes())
    at = bytes_.rindex(b"\x00\x00\x00\x00\x00\x00\x00\x40")  # a weight of 2.0
    bytes_[at + 7] ^= 0x01
    blobs.write_bytes(bytes_)
    report = fleet.json("batch", "run", "job.yaml")
    assert report["rows"] == ROWS and report["statuses"]["broken_model"] == ROWS // 2
    assert {(d["cause"], d["key"]["k"]) for d in letters(fleet, report["run"])} == {("broken_model", 2)}
    job(fleet, error_threshold=ROWS // 2 - 1)
    assert "error_threshold" in fleet.fails("batch", "run", "job.yaml", "--force")[1]


def test_a_pack_that_is_gone(fleet):
    (fleet.cwd / "packs/f/r1.blobs").unlink()
    code, message = fleet.fails("batch", "run", "job.yaml")
    assert "r1.blobs" in message and not (fleet.cwd / "out").exists(), message
