"""libmyriad.so: what it needs and exports, that its headers are C99 and C++17, and that the C example runs."""
import re
import shutil
import subprocess

import pytest

from conftest import ROOT

LINEAR = '{"format":"myriad-linear","version":1,"features":["price","deal"],"intercept":1.5,"weights":[2,0.25]}\n'


@pytest.fixture(scope="module")
def library(build):
    path = build / "libmyriad.so"
    if not path.exists():
        pytest.fail(f"{path} is not there: build it first (cmake --build --preset asan)")
    return path


def tool(*args):
    return subprocess.run([str(a) for a in args], capture_output=True, text=True, check=True).stdout


def declared():
    text = (ROOT / "include/myriad/myriad.h").read_text()
    return set(re.findall(r"^MYR_API [^(]*?\b(myr_\w+)\(", text, re.M))


def test_exports_what_the_header_declares_and_nothing_else(library):
    lines = tool("nm", "-D", "--defined-only", library).splitlines()
    names = {re.sub(r"@.*", "", line.split()[-1]) for line in lines if line.split()[1] != "A"}
    names = {n for n in names if not n.startswith(("__asan", "__odr_asan", "__sanitizer"))}
    assert names == declared()
    listed = re.findall(r"^\s+(myr_\w+);", (ROOT / "src/api/libmyriad.map").read_text(), re.M)
    assert set(listed) == declared()
    assert len(declared()) == 18


def test_needs_libc_and_libm_alone(library):
    needed = set(re.findall(r"NEEDED.*\[(.*)\]", tool("readelf", "-d", library)))
    needed = {n for n in needed if not re.match(r"lib(a|t|ub|l)san\.so", n)}
    assert needed <= {"libc.so.6", "libm.so.6", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"}, needed
    assert re.search(r"SONAME.*\[libmyriad\.so\.0\]", tool("readelf", "-d", library))


@pytest.mark.parametrize("compiler,standard,suffix", [
    ("gcc", "c99", "c"), ("gcc", "c17", "c"), ("g++", "c++17", "cc"), ("clang", "c99", "c"), ("clang++", "c++17", "cc")])
def test_headers_are_clean(tmp_path, compiler, standard, suffix):
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    for header in ("myriad/myriad.h", "myriad/err.h", "myriad/arrow.h"):
        source = tmp_path / f"use.{suffix}"
        source.write_text(f"#include <{header}>\n#include <{header}>\nint use(void);\nint use(void) {{ return 0; }}\n")
        subprocess.run([compiler, f"-std={standard}", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror", "-I",
                        str(ROOT / "include"), "-c", str(source), "-o", str(tmp_path / "use.o")], check=True)


@pytest.fixture(scope="module")
def example(library, tmp_path_factory):
    """examples/c/score.c, built the way its comment says."""
    out = tmp_path_factory.mktemp("c") / "score"
    sanitized = re.search(r"NEEDED.*lib(a|t|ub)san", tool("readelf", "-d", library))
    kinds = {"a": "address,undefined", "t": "thread", "ub": "undefined"}
    flags = [f"-fsanitize={kinds[sanitized[1]]}"] if sanitized else []
    subprocess.run(["gcc", "-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", *flags, "-I", str(ROOT / "include"),
                    str(ROOT / "examples/c/score.c"), "-L", str(library.parent), "-lmyriad", f"-Wl,-rpath,{library.parent}",
                    "-o", str(out)], check=True)
    return out


def run(example, *args):
    return subprocess.run([str(example), *map(str, args)], capture_output=True, text=True, timeout=60)


def test_example_scores_a_model_file(example, tmp_path):
    model = tmp_path / "m.json"
    model.write_text(LINEAR)
    listed = run(example, model)
    assert listed.returncode == 0, listed.stderr
    assert listed.stdout == "fleet '' release 0: 1 models\nfeature price\nfeature deal\n"
    done = run(example, model, "", 10, 2)
    assert (done.returncode, done.stdout) == (0, "22 level=global status=ok\n"), done.stderr
    assert run(example, model, "", "?", 2).stdout.startswith("nan ")
    assert run(example, model, "", 10).returncode == 64
    missing = run(example, tmp_path / "none.json")
    assert missing.returncode == 1 and "NOT_FOUND" in missing.stderr and "none.json" in missing.stderr


def test_example_scores_a_pack(example, workspace):
    (workspace.cwd / "m.json").write_text(LINEAR)
    (workspace.cwd / "n.json").write_text(LINEAR.replace("1.5", "100"))
    workspace.run("model", "import", "m.json", "--fleet", "oj", "--segment", "store=2,brand=1")
    workspace.run("model", "import", "n.json", "--fleet", "oj", "--segment", "brand=1")
    workspace.run("release", "create", "oj")
    pack = workspace.cwd / "packs/oj/r1.index"
    assert "fleet 'oj' release 1: 2 models\nkey     store INT64\nkey     brand INT64\n" in run(example, pack).stdout
    assert run(example, pack, "2,1", 10, 2).stdout == "22 level=segment status=ok\n"
    assert run(example, pack, ",1", 10, 2).stdout == "120.5 level=parent status=ok\n"
    assert run(example, pack, "2,2", 10, 2).stdout == "nan level=none status=no model\n"
    assert run(example, pack, "two,1", 10, 2).stdout == "nan level=none status=bad key\n"
