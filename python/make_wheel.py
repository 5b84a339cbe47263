"""Make the wheel: the package and libmyriad.so in a zip file, with the standard library alone.

    python3 python/make_wheel.py --library build/libmyriad.so --out build

It is a PEP 517 backend as well: ``pip install ./python`` takes the library from $MYRIAD_LIBRARY or ../build.
The same inputs give the same bytes.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import pathlib
import platform
import re
import shutil
import subprocess
import tempfile
import zipfile
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
SONAME = "libmyriad.so.0"


def project_version() -> str:
    """The version of the project: CMakeLists.txt says it, once."""
    found = re.search(r"project\(myriad VERSION ([0-9.]+)", (HERE.parent / "CMakeLists.txt").read_text())
    if found is None:
        raise SystemExit("make_wheel: CMakeLists.txt names no version")
    return found[1]


def stripped(library: pathlib.Path) -> bytes:
    """The library without debug information, if there is a program that takes it out."""
    strip = shutil.which("strip")
    if strip is None:
        return library.read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        small = pathlib.Path(folder) / SONAME
        subprocess.run([strip, "--strip-unneeded", "-o", str(small), str(library)], check=True)
        return small.read_bytes()


def make(library: pathlib.Path, out: pathlib.Path) -> str:
    """Write the wheel into a directory; gives its name."""
    version = project_version()
    tag = f"py3-none-linux_{platform.machine()}"
    info = f"myriad-{version}.dist-info"
    files: dict[str, bytes] = {
        f"myriad/{path.name}": path.read_bytes() for path in sorted((HERE / "myriad").iterdir()) if path.suffix in (".py", ".typed")}
    files[f"myriad/{SONAME}"] = stripped(library)
    files[f"{info}/METADATA"] = (f"Metadata-Version: 2.1\nName: myriad\nVersion: {version}\n"
                                 "Summary: Machine-learning inference for fleets of models\nLicense: Apache-2.0\n"
                                 "Requires-Python: >=3.11\nRequires-Dist: numpy\n").encode()
    files[f"{info}/WHEEL"] = f"Wheel-Version: 1.0\nGenerator: make_wheel\nRoot-Is-Purelib: false\nTag: {tag}\n".encode()
    record = "".join(f"{name},sha256={_digest(data)},{len(data)}\n" for name, data in files.items())
    files[f"{info}/RECORD"] = (record + f"{info}/RECORD,,\n").encode()
    name = f"myriad-{version}-{tag}.whl"
    building = out / (name + ".tmp")
    with zipfile.ZipFile(building, "w", zipfile.ZIP_DEFLATED) as wheel:
        for path, data in files.items():
            entry = zipfile.ZipInfo(path, (1980, 1, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (0o755 if path.endswith(SONAME) else 0o644) << 16
            wheel.writestr(entry, data)
    os.replace(building, out / name)
    return name


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


# ---- PEP 517 ----


def get_requires_for_build_wheel(config_settings: Any = None) -> list[str]:
    return []


def build_wheel(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    library = pathlib.Path(os.environ.get("MYRIAD_LIBRARY") or HERE.parent / "build" / "libmyriad.so")
    if not library.exists():
        raise SystemExit(f"make_wheel: {library} is not there: build it first (cmake --build --preset release), or set MYRIAD_LIBRARY")
    return make(library, pathlib.Path(wheel_directory))


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the wheel of the Python package.")
    parser.add_argument("--library", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    given = parser.parse_args()
    print(given.out / make(given.library, given.out))


if __name__ == "__main__":
    main()
