"""House rules that a compiler does not know; each message says what to write instead."""
import re

import pytest
from tree import ROOT, code_only, functions, sources, tracked

BANNED = {  # pattern: (where it is allowed, what to write instead)
    r"\b(strcpy|strcat|sprintf|vsprintf|strtok|atoi|atol|atof|gmtime|localtime|alloca|gets)\s*\(":
        ((), "snprintf, myr_buf, myr_parse_*, gmtime_r"),
    r"\b(malloc|calloc|realloc|reallocarray|aligned_alloc|posix_memalign|strdup|strndup|asprintf)\s*\(":
        (("src/base/",), "myr_alloc and its family, or an arena"),
    r"\bpthread_\w+": (("src/base/",), "base/thread.h"),
    r"\b(exit|abort|_exit|quick_exit)\s*\(": (("src/cli/main.c", "src/base/err.c", "src/compute/worker.c", "src/compute/detached.c", "src/compute/network.c"), "return a myr_rc"),
    r"\b(clock_gettime|gettimeofday|time)\s*\(": (("src/base/",), "base/clock.h"),
    r"\b(fopen|rename|unlink|mkdir|fsync|fdatasync)\s*\(": (("src/base/",), "base/io.h"),
}
LINES_MAX, FUNCTION_LINES_MAX = 1000, 70


def where(path, text, at):
    return f"{path.relative_to(ROOT)}:{text.count(chr(10), 0, at) + 1}"


@pytest.mark.parametrize("pattern", BANNED)
def test_banned_calls(pattern):
    allowed, instead = BANNED[pattern]
    bad = []
    for path in sources():
        name = str(path.relative_to(ROOT))
        if name.startswith(tuple(allowed)):
            continue
        text = code_only(path.read_text())
        bad += [f"{where(path, text, m.start())}: {m[0].strip()} is not used here: {instead}" for m in re.finditer(pattern, text)]
    assert not bad, "\n".join(bad)


def test_comments_and_blanks():
    bad = []
    for path in sources():
        text = path.read_text()
        bad += [f"{where(path, text, m.start())}: write /* */, not //" for m in re.finditer(r"//", code_only(text))]
        bad += [f"{where(path, text, m.start())}: a tab" for m in re.finditer(r"\t", text)]
        bad += [f"{where(path, text, m.start())}: {m[0]} without an issue number"
                for m in re.finditer(r"\b(TODO|FIXME|XXX)\b(?!\(#\d+\))", text)]
        if path.suffix in (".c", ".h") and not text.startswith("/*"):
            bad.append(f"{path.relative_to(ROOT)}:1: a header comment is missing: what is the one idea of this file?")
    assert not bad, "\n".join(bad)


def test_sizes():
    bad = []
    for path in sources():
        lines = path.read_text().count("\n")
        if lines > LINES_MAX:
            bad.append(f"{path.relative_to(ROOT)}: {lines} lines: cut it in two ideas (at most {LINES_MAX})")
        if path.suffix != ".c":
            continue
        text = path.read_text().splitlines()
        for name, first, count in functions(path):
            noted = any("/* long:" in line for line in text[max(0, first - 6):first + 2])
            if count > FUNCTION_LINES_MAX and not noted:
                bad.append(f"{path.relative_to(ROOT)}:{first}: {name} has {count} lines: cut it, or say why in /* long: … */")
    assert not bad, "\n".join(bad)


def test_global_names_have_the_prefix():
    bad = []
    for path in sources():
        if path.suffix != ".c" or path.name == "main.c":
            continue
        lines = path.read_text().splitlines()
        for name, first, _ in functions(path):
            head = " ".join(lines[max(0, first - 2):first + 1])
            is_static = re.search(r"\bstatic\b|\b[A-Z]+_INLINE\b", head)  # LANES_INLINE is `static inline` and an attribute
            if not name.startswith("myr_") and not is_static:
                bad.append(f"{path.relative_to(ROOT)}:{first}: {name} is global without myr_: make it static or name it")
    assert not bad, "\n".join(bad)


def test_nothing_of_this_machine():
    """No machine paths, no registry host names: the project must stand anywhere."""
    pattern = re.compile(r"(^|[^a-z.])/(work|farm|root)/|https?://[a-z0-9.-]*(npm|pypi|pythonhosted|crates|maven|golang|debian)[a-z0-9.-]*", re.M)
    bad = []
    for path in tracked():
        if path.suffix in (".ubj", ".bin", ".png") or path == ROOT / "tests/check/test_tidy.py":
            continue
        text = path.read_text(errors="replace")
        bad += [f"{where(path, text, m.start())}: {m[0].strip()}" for m in pattern.finditer(text)]
    assert not bad, "\n".join(bad)


def test_architecture_names_every_directory():
    text = (ROOT / "ARCHITECTURE.md").read_text()
    missing = [d.name for d in sorted((ROOT / "src").iterdir()) if d.is_dir() and f"`{d.name}" not in text]
    assert not missing, f"ARCHITECTURE.md does not name {missing}"


def test_faces_say_ownership_threads_errors():
    """Each face's comments speak of threads and errors at least once; one header per directory is the face."""
    bad = []
    for face in (ROOT / "src").glob("*/*.h"):
        if face.stem != face.parent.name or face.stem in ("base", "cli"):
            continue
        text = face.read_text()
        bad += [f"{face.relative_to(ROOT)}: says nothing of {word}" for word in ("Thread", "Error") if word.lower() not in text.lower()]
    assert not bad, "\n".join(bad)
