"""libmyriad.so: what it needs and exports, that its headers are C99 and C++17, and that the C example runs."""
import os
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


# Sizes of what programs were compiled against (LP64). A struct may grow at its end, and then this line changes with it;
# what stands here for a released version never shrinks, and no number of an enum changes.
SIZES = {"myr_err": 256, "myr_models_info": 40, "myr_models_entry": 32, "myr_models_rows": 88, "myr_models_out": 56,
         "struct ArrowSchema": 72, "struct ArrowArray": 80}
OFFSETS = {"myr_models_rows.column_stride": 48, "myr_models_rows.key_columns": 80, "myr_models_out.model_idxs": 48,
           "myr_models_info.output_count": 36, "myr_err.message": 16}
NUMBERS = {"MYR_MODELS_VALUE": 0, "MYR_MODELS_CONTRIBUTION": 4, "MYR_MODELS_COLUMN_VALUES": 1, "MYR_MODELS_COLUMN_MODEL_INDEX": 16,
           "MYR_OK": 0, "MYR_BAD_INPUT": 1, "MYR_BAD_METHOD": 19}
SYMBOLS = """myr_error_name myr_models_close myr_models_feature_is_text myr_models_feature_name myr_models_file_name
    myr_models_find myr_models_get_entry
    myr_models_get_info myr_models_get_segment myr_models_key_is_int64 myr_models_key_name myr_models_level_name myr_models_open
    myr_models_score myr_models_score_arrow myr_models_score_into myr_models_status_name myr_models_width myr_version"""


def test_the_abi_is_the_recorded_one(tmp_path):
    """Sizes, offsets, numbers and names as recorded: a difference is a decision, not an accident."""
    assert declared() == set(SYMBOLS.split())
    checks = [f"_Static_assert(sizeof({name}) == {size}, \"{name}\");" for name, size in SIZES.items()]
    checks += [f"_Static_assert(offsetof({path.split('.')[0]}, {path.split('.')[1]}) == {at}, \"{path}\");" for path, at in OFFSETS.items()]
    checks += [f"_Static_assert((int){name} == {number}, \"{name}\");" for name, number in NUMBERS.items()]
    source = tmp_path / "abi.c"
    source.write_text("#include <myriad/myriad.h>\n" + "\n".join(checks) + "\nint main(void) { return 0; }\n")
    subprocess.run(["gcc", "-std=c11", "-I", str(ROOT / "include"), "-c", str(source), "-o", str(tmp_path / "abi.o")], check=True)


def test_arrow_structs_of_others_are_kept(tmp_path):
    """A program that has the Arrow structs from elsewhere (the guard of the specification) compiles, in C and in C++."""
    structs = (ROOT / "include/myriad/arrow.h").read_text()
    for suffix, compiler in (("c", "gcc"), ("cc", "g++")):
        source = tmp_path / f"both.{suffix}"
        source.write_text(structs.replace("MYRIAD_ARROW_H", "OTHER_ARROW_H") + "#include <myriad/myriad.h>\nint main(void) { return 0; }\n")
        subprocess.run([compiler, "-pedantic", "-Wall", "-Wextra", "-Werror", "-I", str(ROOT / "include"), "-c", str(source), "-o",
                        str(tmp_path / "both.o")], check=True)


def sanitizers(library):
    """Flags that a program needs beside a library built with sanitizers."""
    found = re.search(r"NEEDED.*lib(a|t|ub)san", tool("readelf", "-d", library))
    kinds = {"a": "address,undefined", "t": "thread", "ub": "undefined"}
    return [f"-fsanitize={kinds[found[1]]}"] if found else []


def compile_example(library, name, out):
    """examples/c/NAME.c, built the way its comment says."""
    subprocess.run(["gcc", "-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", *sanitizers(library), "-I", str(ROOT / "include"),
                    str(ROOT / f"examples/c/{name}.c"), "-L", str(library.parent), "-lmyriad", f"-Wl,-rpath,{library.parent}",
                    "-o", str(out)], check=True)
    return out


@pytest.fixture(scope="module")
def example(library, tmp_path_factory):
    return compile_example(library, "score", tmp_path_factory.mktemp("c") / "score")


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


ARROW_SAYS = "22 segment ok\nnan none no_model\n120.5 parent ok\nnan none bad_key\n"  # the brands are numbers, and z is none


def arrow_pack(workspace):
    """What examples/c/arrow.c scores."""
    (workspace.cwd / "m.json").write_text(LINEAR)
    (workspace.cwd / "n.json").write_text(LINEAR.replace("1.5", "100"))
    workspace.run("model", "import", "m.json", "--fleet", "oj", "--segment", "store=2,brand=1")
    workspace.run("model", "import", "n.json", "--fleet", "oj", "--segment", "brand=1")
    workspace.run("release", "create", "oj")
    return workspace.cwd / "packs/oj/r1.index"


def test_example_scores_arrow(library, workspace, tmp_path):
    arrow = compile_example(library, "arrow", tmp_path / "arrow")
    done = run(arrow, arrow_pack(workspace))
    assert (done.returncode, done.stdout) == (0, ARROW_SAYS), done.stderr
    missing = run(arrow, tmp_path / "none.index")
    assert missing.returncode == 1 and "NOT_FOUND" in missing.stderr


CMAKE = """cmake_minimum_required(VERSION 3.25)
project(use LANGUAGES C)
find_package(myriad 0.1 REQUIRED)
add_executable(arrow {source})
target_link_libraries(arrow PRIVATE myriad::myriad)
target_compile_options(arrow PRIVATE {flags})
target_link_options(arrow PRIVATE {flags})
"""


def test_an_installed_library_is_found(build, library, workspace, tmp_path):
    """cmake --install gives a tree that may be moved, from which find_package and pkg-config build the example."""
    pack = arrow_pack(workspace)
    subprocess.run(["cmake", "--install", str(build), "--prefix", str(tmp_path / "first"), "--component", "library"], check=True,
                   capture_output=True)
    prefix = tmp_path / "moved"
    (tmp_path / "first").rename(prefix)
    config = next(prefix.rglob("myriad.pc"))
    soname = next(prefix.rglob("libmyriad.so.0"))
    assert soname.is_symlink() and (soname.parent / "libmyriad.so").is_symlink()
    env = {**os.environ, "PKG_CONFIG_PATH": str(config.parent)}
    flags = subprocess.run(["pkg-config", "--cflags", "--libs", "myriad"], env=env, check=True, capture_output=True, text=True).stdout.split()
    by_pkgconfig = tmp_path / "by-pkgconfig"
    subprocess.run(["gcc", "-std=c99", "-Werror", *sanitizers(library), str(ROOT / "examples/c/arrow.c"), *flags, f"-Wl,-rpath,{soname.parent}",
                    "-o", str(by_pkgconfig)], check=True)
    use = tmp_path / "use"
    use.mkdir()
    (use / "CMakeLists.txt").write_text(CMAKE.format(source=ROOT / "examples/c/arrow.c", flags=" ".join(sanitizers(library))))
    subprocess.run(["cmake", "-S", str(use), "-B", str(use / "b"), f"-DCMAKE_PREFIX_PATH={prefix}"], check=True, capture_output=True)
    subprocess.run(["cmake", "--build", str(use / "b")], check=True, capture_output=True)
    for program in (by_pkgconfig, use / "b/arrow"):
        linked = tool("ldd", program)
        assert str(prefix) in linked and "not found" not in linked
        done = run(program, pack)
        assert (done.returncode, done.stdout) == (0, ARROW_SAYS), done.stderr
