"""Who includes whom: src/layers.txt holds, faces only, foreign headers each in their directory."""
import re

from tree import ROOT, layers, sources

FOREIGN = {
    "duckdb.h": "table", "sqlite3.h": "db", "libpq-fe.h": "db", "hiredis": "db", "lua.h": "script", "lauxlib.h": "script", "lualib.h": "script",
    "onnxruntime_c_api.h": "runtime", "microhttpd.h": "net", "nghttp2": "net", "gnutls": "net", "protobuf-c": "net",
    "librdkafka": "stream", "xgboost": "train", "cblas.h": "train", "lapacke.h": "train", "curl": "fetch", "yaml.h": "spec", "glib.h": "jobs",
}
INCLUDE = re.compile(r'^\s*#\s*include\s+["<]([^">]+)[">]', re.M)


def includes(path):
    text = path.read_text()
    return [(text.count("\n", 0, m.start()) + 1, m[1]) for m in INCLUDE.finditer(text)]


def in_directory():
    return [(p, p.relative_to(ROOT / "src").parts[0]) for p in sources() if ROOT / "src" in p.parents]


def test_layers_have_no_cycle():
    left = {name: set(uses) for name, uses in layers().items()}
    while left:
        free = [name for name, uses in left.items() if not uses]
        assert free, f"src/layers.txt: a cycle among {sorted(left)}"
        for name in free:
            del left[name]
        for uses in left.values():
            uses.difference_update(free)


def test_every_directory_is_a_layer():
    there = {directory for _, directory in in_directory()}
    assert there == set(layers()), f"src/layers.txt and src/ differ: {there ^ set(layers())}"


def test_includes_follow_the_layers():
    bad = []
    known = layers()
    for path, directory in in_directory():
        for line, target in includes(path):
            other = target.split("/")[0]
            where = f"{path.relative_to(ROOT)}:{line}"
            if other not in known or other == directory:
                continue
            if other not in known[directory]:
                bad.append(f"{where}: {directory} may not include {other}: change the design in src/layers.txt or the code")
            if directory != "base" and other != "base" and target != f"{other}/{other}.h":
                bad.append(f"{where}: {target} is private to {other}: include {other}/{other}.h")
    assert not bad, "\n".join(bad)


def test_foreign_headers_stay_home():
    bad = []
    for path, directory in in_directory():
        for line, target in includes(path):
            owner = FOREIGN.get(target) or FOREIGN.get(target.split("/")[0])
            if owner and owner != directory:
                bad.append(f"{path.relative_to(ROOT)}:{line}: {target} belongs to src/{owner}/ alone")
    assert not bad, "\n".join(bad)


def test_public_headers_need_libc_alone():
    bad = []
    for path in (ROOT / "include").rglob("*.h"):
        for line, target in includes(path):
            if not target.startswith("myriad/") and target not in ("stddef.h", "stdint.h"):
                bad.append(f"{path.relative_to(ROOT)}:{line}: {target}")
    assert not bad, "\n".join(bad)
