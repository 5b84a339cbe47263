"""Write the lock files of the Python environments: every package with its version and the SHA-256 of its wheels.

pip itself resolves (install --dry-run --report), once for each Python and processor that set-up supports; the versions
are those of the first, so that all agree, and only the digests of the files are merged. No address enters the files.
Usage: fetch-lock.py [--upgrade]     (without --upgrade the versions of the present files are kept where they can be)
"""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
LOCKS = {
    "requirements.txt": ["rdata"],
    # xgboost-cpu is the module xgboost without the CUDA libraries, and the very file whose C library training opens
    "requirements-tests.txt": [
        "pytest", "hypothesis", "requests", "numpy", "pandas", "pyarrow", "scikit-learn", "lightgbm>=4",
        "xgboost-cpu==3.2.*", "tritonclient[http,grpc]", "onnx", "onnxruntime==1.32.*", "skl2onnx", "onnxmltools", "polars", "mlflow-skinny", "schemathesis", "httpx",
        "orjson", "psutil", "cloudevents<2",  # what the client of kserve imports, beside the above
        "kafka-python",  # an independent client, to see what streams do
    ],
}
# Locked and installed without what they say they need: kserve's package is a model server with Kubernetes' client
# (67 packages), of which tests import the REST client alone.
ALONE = {"requirements-tests.txt": ["kserve"]}
PYTHONS = ["3.11", "3.12", "3.13"]
CPUS = ["x86_64", "aarch64"]


def resolve(wanted: list[str], constraints: dict[str, str], python: str, cpu: str, *more: str) -> dict[str, tuple[str, str]]:
    """{package: (version, sha256)} as pip would install them, with the options `more`, on that Python and processor."""
    with tempfile.TemporaryDirectory() as scratch:
        pins = pathlib.Path(scratch, "constraints.txt")
        pins.write_text("".join(f"{name}=={version}\n" for name, version in constraints.items()), encoding="utf-8")
        platforms = [f"manylinux_2_{minor}_{cpu}" for minor in (34, 31, 28, 27, 26, 24, 17)]
        platforms += [f"manylinux2014_{cpu}", f"manylinux2010_{cpu}", f"manylinux1_{cpu}", f"linux_{cpu}"]
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--report",
                   f"{scratch}/report.json", "--only-binary=:all:", "--implementation", "cp", "--python-version", python,
                   "--target", f"{scratch}/target", "--constraint", str(pins)]
        for platform in platforms:
            command += ["--platform", platform]
        subprocess.run([*command, *more, *wanted], check=True)
        report = json.loads(pathlib.Path(scratch, "report.json").read_text(encoding="utf-8"))
    found = {}
    for item in report["install"]:
        name = re.sub(r"[-_.]+", "-", item["metadata"]["name"]).lower()
        found[name] = (item["metadata"]["version"], item["download_info"]["archive_info"]["hashes"]["sha256"])
    return found


def locked(path: pathlib.Path) -> dict[str, str]:
    """The versions of a lock file."""
    if not path.exists():
        return {}
    return dict(re.findall(r"^([\w.-]+)==(\S+)", path.read_text(encoding="utf-8"), re.M))


def main() -> int:
    versions: dict[str, str] = {}
    if "--upgrade" not in sys.argv[1:]:
        for name in LOCKS:
            versions |= locked(HERE / name)
    for lock, wanted in LOCKS.items():
        digests: dict[str, set[str]] = {}
        chosen: dict[str, str] = {}
        for python in PYTHONS:
            for cpu in CPUS:
                print(f"{lock}: Python {python}, {cpu}", flush=True)
                found = resolve(wanted, versions | chosen, python, cpu)
                if lock in ALONE:
                    found |= resolve(ALONE[lock], versions | chosen, python, cpu, "--no-deps")
                for name, (version, digest) in found.items():
                    chosen.setdefault(name, version)
                    if chosen[name] != version:
                        print(f"{lock}: {name} is {chosen[name]} and {version}", file=sys.stderr)
                        return 1
                    digests.setdefault(name, set()).add(digest)
        lines = [f"# Written by scripts/fetch-lock.py from: {', '.join(wanted)}",
                 *(f"# and without what it needs: {name}" for name in ALONE.get(lock, [])),
                 f"# Python {', '.join(PYTHONS)}; {', '.join(CPUS)}. Do not edit: change the list there and run it."]
        for name in sorted(chosen):
            lines.append(f"{name}=={chosen[name]} \\")
            lines += [f"    --hash=sha256:{digest} \\" for digest in sorted(digests[name])]
            lines[-1] = lines[-1].removesuffix(" \\")
        (HERE / lock).write_text("\n".join(lines) + "\n", encoding="utf-8")
        versions |= chosen
    return 0


if __name__ == "__main__":
    sys.exit(main())
