"""The kernels of models that this CPU may not have: NEON, cross-compiled and run by qemu-aarch64, and AVX-512 with its
intrinsics written out in C. Whether they are right is all that is tested here; emulation says nothing of speed."""
import os
import pathlib
import platform
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILDS = pathlib.Path(os.environ.get("MYR_EMULATED_DIR", ROOT / "build-emulated"))
NEON = ["-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64", "-DCMAKE_C_COMPILER=aarch64-linux-gnu-gcc"]
MACHINES = {
    # name: how CMake is called, what runs a program
    "avx512": (["-DMYR_LANES_EMULATED=ON"], []),
    "neon": (NEON, ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu"]),
}
pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="written for x86-64; aarch64 tests its own kernels")


def run(command, seconds):
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=seconds)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout[-4000:]}{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module", params=MACHINES)
def machine(request):
    options, runner = MACHINES[request.param]
    for tool in runner[:1] + (["aarch64-linux-gnu-gcc"] if runner else []):
        assert shutil.which(tool), f"{tool} is not here: scripts/setup --tests installs it"
    build = BUILDS / request.param
    run(["cmake", "-S", ROOT / "tests/emulated", "-B", build, "-G", "Ninja", *options], 120)
    run(["cmake", "--build", build], 600)
    return lambda program, *args: run([*runner, build / program, *args], 600)


def test_kernels_agree_with_a_plain_walk(machine):
    assert "0 failed" in machine("test_model_lanes")


def test_kernels_agree_on_what_fuzzing_found(machine):
    assert "replayed" in machine("fuzz_model_check", ROOT / "tests/fuzz/corpus/fuzz_model_check")
