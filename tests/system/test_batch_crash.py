"""`batch run` killed, or failed, at every write, sync and rename: the output is the old one or the new one, never a half.

strace does the killing; DuckDB has one thread, so that runs are alike. Calls that are made often are sampled;
scripts/test --long (MYR_LONG=1) tries each of them, MYR_KILLS=100 up to a hundred of each call. A disturbed run begins where the one
before it was left, so that what one leaves behind is in the next one's way; after all of a call an undisturbed one makes it good.
"""
import csv
import hashlib
import json
import os
import re
import shutil
import subprocess

import pytest
from conftest import linear

CALLS = ["write", "pwrite64", "fsync", "fdatasync", "syncfs", "rename", "renameat2", "mkdir", "unlink", "ftruncate"]
LONG = bool(os.environ.get("MYR_LONG"))
POINTS_PER_CALL = int(os.environ.get("MYR_KILLS") or (10**9 if LONG else 6))
ROWS = 4000
NO_LEAK_CHECK = {"ASAN_OPTIONS": "detect_leaks=0"}  # the leak checker cannot run under strace

pytestmark = pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")


def table(path, shift):
    with open(path, "w", newline="") as file:
        out = csv.writer(file)
        out.writerow(["store", "brand", "x1", "x2", "id"])
        out.writerows([i % 5, i % 3, i * 0.25, shift, i] for i in range(ROWS))


@pytest.fixture
def fleet(workspace):
    """A workspace with a fleet, two inputs, and what an undisturbed run makes of each."""
    for name, segment, intercept in (("a", "store=1,brand=1", 1), ("b", "brand=2", 10), ("c", "", 100)):
        (workspace.cwd / f"{name}.json").write_text(linear(["x1", "x2"], intercept, [1.0, 2.0]))
        workspace.run("model", "import", f"{name}.json", "--fleet", "f", "--segment", segment)
    workspace.run("release", "create", "f")
    table(workspace.cwd / "one.csv", 1)
    table(workspace.cwd / "two.csv", 2)
    workspace.expected = {}
    for name in ("one", "two"):
        batch(workspace, name, f"plain-{name}")
        workspace.expected[content(workspace.cwd / f"plain-{name}")] = name
    assert len(workspace.expected) == 2
    return workspace


def arguments(name, output):
    return ["batch", "run", "--fleet", "f", "--input", f"{name}.csv", "--output", output, "--by", "brand", "--threads", "1", "--force"]


def batch(program, name, output):
    program.run(*arguments(name, output))


def traced(program, words, *options):
    """Where no signal is sent (strace 6.1 forgets it then), a filter in the kernel stops a process at the traced calls alone."""
    fast = [] if any("signal=" in option for option in options) else ["--seccomp-bpf"]
    return subprocess.run(["strace", "-f", "-qq", *fast, "-o", "trace.txt", *options, program.path, *words], cwd=program.cwd,
                          capture_output=True, text=True, timeout=120, env={**os.environ, **NO_LEAK_CHECK})


def content(output):
    """What stands in an output, or None if there is none. A half output fails here: each file of the manifest, and no other."""
    if not output.exists():
        return None
    manifest = json.loads((output / "_myriad.json").read_text())
    files = {str(p.relative_to(output)): p.stat().st_size for p in output.rglob("*") if p.is_file() and p.name != "_myriad.json"}
    assert files == {f["path"]: f["bytes"] for f in manifest["files"]}, "files and manifest differ"
    assert manifest["rows"] == ROWS
    digest = hashlib.sha256()
    for name in sorted(files):
        digest.update(name.encode() + (output / name).read_bytes())
    return digest.hexdigest()


def points(program, words):
    """For each call that a run makes, n of those that are tried: sampled where there are many."""
    done = traced(program, words, "-e", f"trace={','.join(CALLS)}")
    assert done.returncode == 0, done.stderr
    calls = re.findall(r"^(\d+) +(\w+)\(", (program.cwd / "trace.txt").read_text(), re.M)
    counts = {}
    for thread, call in calls:  # strace counts per thread and call
        counts.setdefault(call, {}).setdefault(thread, 0)
        counts[call][thread] += 1
    found = {}
    for call, threads in sorted(counts.items()):
        count = max(threads.values())
        step = max(1, -(-count // POINTS_PER_CALL))
        found[call] = sorted({*range(1, count + 1, step), count})
    return found


def leftovers(program):
    return [p.name for p in program.cwd.iterdir() if p.name.startswith("out.")]


def disturb(program, inject, calls=CALLS):
    """A run at each point, of whichever input the output is not of; yields what became of it, the output being old or new."""
    for call, tries in points(program, arguments("two", "out")).items():
        for n in tries if call in calls else ():
            before = content(program.cwd / "out")
            name = "one" if program.expected.get(before) == "two" else "two"
            done = traced(program, arguments(name, "out"), "-e", f"trace={call}", "-e", f"inject={call}:{inject(n)}")
            where, now = f"{call} {n}: exit {done.returncode}: {done.stderr}", content(program.cwd / "out")
            is_new = program.expected.get(now) == name
            assert now == before or is_new, f"{where}: neither the old nor a complete new output"
            yield call, done, is_new, where
        batch(program, "one", "out")
        assert program.expected[content(program.cwd / "out")] == "one" and leftovers(program) == [], call


@pytest.mark.parametrize("replace", [False, True], ids=["new", "replace"])
def test_kill_at_every_call(fleet, replace):
    tried = 0
    if replace:
        batch(fleet, "one", "out")
    for _, done, _, _ in disturb(fleet, lambda n: f"signal=KILL:when={n}"):
        tried += done.returncode != 0  # SQLite's last writes may be one fewer than they were
        if not replace:
            shutil.rmtree(fleet.cwd / "out", ignore_errors=True)
    assert tried >= 30


@pytest.mark.parametrize("error", ["EIO", "ENOSPC"])
def test_fail_each_call(fleet, error):
    """A call that fails: a message and a non-zero exit, or (where nothing depends on the call) a complete output."""
    failed = 0
    batch(fleet, "one", "out")
    for call, done, is_new, where in disturb(fleet, lambda n: f"error={error}:when={n}"):
        assert done.returncode >= 0 and "Sanitizer" not in done.stderr, where
        if done.returncode == 0:
            assert is_new, where
            continue
        said = done.stderr.startswith("myriad: ")
        assert said or (call == "write" and done.stderr == ""), where  # each process fails at its n-th: also at saying so
        failed += 1
    assert failed >= 20


def test_full_disk_from_any_write_on(fleet):
    """From the n-th write on the disk is full: exit code 74, the old output stays."""
    batch(fleet, "one", "out")
    codes = {done.returncode for _, done, _, _ in disturb(fleet, lambda n: f"error=ENOSPC:when={n}+", ("write", "pwrite64"))}
    assert 74 in codes


def resumed(program, where):
    """A run that was killed goes on, if it was in the ledger; else there was none."""
    done = program.run("batch", "resume", ok=False, env=NO_LEAK_CHECK)
    if done.returncode != 0:  # each process was killed at its n-th call: a mini-batch may have had all its attempts
        assert "no run is unfinished" in done.stderr or "after 3 attempts" in done.stderr, f"{where}: {done.stderr}"
    return done.returncode == 0


def test_resume_after_a_kill_at_every_call(fleet):
    """Five mini-batches, each kept in the ledger once it is on the disk: what goes on comes to the same output, and loses no mini-batch."""
    gone_on = tried = 0
    (fleet.cwd / "job.yaml").write_text("fleet: f\ninput: two.csv\noutput: {path: out, by: [brand]}\nmini_batch_size: 800\ncompute: {max: 1}\n")
    words = ["batch", "run", "job.yaml", "--force"]
    fleet.run(*words)
    wanted = content(fleet.cwd / "out")
    every = [(call, n) for call, tries in points(fleet, words).items() for n in tries]
    for call, n in every[::1 if LONG else 3]:
        shutil.rmtree(fleet.cwd / "out", ignore_errors=True)
        done = traced(fleet, words, "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={n}")
        where = f"killed at {call} {n}"
        tried += done.returncode != 0
        if resumed(fleet, where):
            gone_on += 1
            assert content(fleet.cwd / "out") == wanted, where
    fleet.run(*words)
    assert content(fleet.cwd / "out") == wanted and leftovers(fleet) == []
    assert tried >= 8 and gone_on >= 3


def test_exchange_is_not_there(fleet):
    """A file system without RENAME_EXCHANGE: two renames, killed at each of them."""
    batch(fleet, "one", "out")
    done = traced(fleet, arguments("two", "out"), "-e", "trace=renameat2", "-e", "inject=renameat2:error=EINVAL")
    assert done.returncode == 0, done.stderr
    assert fleet.expected[content(fleet.cwd / "out")] == "two"
    done = traced(fleet, arguments("two", "out"), "-e", "trace=renameat2,rename", "-e", "inject=renameat2:error=EINVAL")
    renames = len(re.findall(r"^\d+ +rename\(", (fleet.cwd / "trace.txt").read_text(), re.M))
    assert renames >= 2
    for n in range(1, renames + 1):
        traced(fleet, arguments("two", "out"), "-e", "trace=renameat2,rename", "-e", "inject=renameat2:error=EINVAL",
               "-e", f"inject=rename:signal=KILL:when={n}")
        assert content(fleet.cwd / "out") is None or fleet.expected[content(fleet.cwd / "out")]
        assert (fleet.cwd / "out").exists() or list(fleet.cwd.glob("out.staging-*/old")), "the old output is gone"
        batch(fleet, "one", "out")
        assert fleet.expected[content(fleet.cwd / "out")] == "one"
        assert leftovers(fleet) == []


def test_a_full_file_system(fleet, tmp_path_factory):
    """A real one, small: NO_SPACE, nothing published, the old output readable."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a small file system")
    mount = tmp_path_factory.mktemp("small")
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", mount]).returncode != 0:
        pytest.skip("mounting is not allowed here")
    try:
        batch(fleet, "one", mount / "out")
        disk = os.statvfs(mount)
        (mount / "ballast").write_bytes(b"x" * (disk.f_bavail * disk.f_frsize - 24 * 1024))  # the output needs more than that
        code, message = fleet.fails(*arguments("two", mount / "out"), env=NO_LEAK_CHECK)
        assert code == 74 and "space" in message, message
        assert fleet.expected[content(mount / "out")] == "one"
        assert sorted(p.name for p in mount.iterdir()) == ["ballast", "out"]
    finally:
        subprocess.run(["umount", mount], check=True)


def test_arrow_reads_the_output(fleet):
    dataset = pytest.importorskip("pyarrow.dataset")
    batch(fleet, "one", "out")
    read = dataset.dataset(fleet.cwd / "out", format="parquet", partitioning="hive").to_table().to_pandas()
    read["id"] = read["id"].astype(int)  # a kept cell of a CSV stays the text that it was
    read = read.sort_values("id")
    assert list(read["id"]) == list(range(ROWS))
    assert read["prediction"].iloc[1] == 1 + 0.25 + 2 and read["model"].iloc[1] == "f@store=1,brand=1"
    assert set(read["level"]) == {"segment", "parent", "global"} and set(read["status"]) == {"ok"}
