"""``python -m myriad.spark``: a table scored on Spark into a directory that appears when it is whole.

The program that a scheduler starts: it opens the pack, reads the input, scores, writes beside the output, counts what was
written, gives it its name, and prints one line of JSON, or says on one line what is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import pathlib
import re
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from . import spark
from ._errors import Error, error
from ._pack import Pack
from ._spark_rows import DETAILS
from .registry import Registry

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_EXITS = {"BAD_USAGE": 64, "BAD_INPUT": 65, "BAD_FORMAT": 65, "NOT_FOUND": 66, "UNSUPPORTED": 69, "EXISTS": 73, "IO": 74,
          "DENIED": 77, "NO_MEMORY": 71}  # as the program `myriad` has them
_FORMATS = {".parquet": "parquet", ".csv": "csv", ".csv.gz": "csv", ".json": "json", ".ndjson": "json", ".jsonl": "json"}


def _arguments(given: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m myriad.spark", description="Score a table on Spark with the right model for each row.",
                                     epilog="Example: python -m myriad.spark --workspace prices --fleet oj --input 'sales/*.parquet' "
                                            "--output scored --by brand --master spark://10.0.0.4:7077 --max-executors 20")
    parser.add_argument("--workspace", default=".", help="the workspace of the fleet")
    parser.add_argument("--fleet", help="whose models score")
    parser.add_argument("--release", type=int, help="a release by number (default: champion)")
    parser.add_argument("--pack", help="a pack's .index file, instead of --workspace and --fleet")
    parser.add_argument("--input", required=True, action="append", help=".parquet, .csv or .json files, a glob of them; repeatable")
    parser.add_argument("--output", required=True, help="a directory, made when all rows are written; it must not be there")
    parser.add_argument("--by", default="", help="columns of directories: brand=1/part-….parquet")
    parser.add_argument("--keep", help="input columns to copy (default: all that are not features)")
    parser.add_argument("--output-kind", default="value", help="value, margin, probability or contribution")
    parser.add_argument("--details", help="model, model_version, level, status (default: all), or none: what is written beside the prediction")
    parser.add_argument("--format", default="parquet", choices=("parquet", "csv"))
    parser.add_argument("--master", help="spark://HOST:PORT, yarn, local[4] (default: what spark-submit or spark-defaults.conf says)")
    parser.add_argument("--min-executors", type=int, help="with --max-executors: so many stay")
    parser.add_argument("--max-executors", type=int, help="start executors when tasks wait, at most so many")
    parser.add_argument("--idle-seconds", type=float, default=60, help="an executor without work for so long is given back (default 60)")
    parser.add_argument("--conf", action="append", default=[], metavar="KEY=VALUE", help="a setting of Spark's; repeatable")
    found = parser.parse_args(given)
    if bool(found.pack) == bool(found.fleet):
        parser.error("give --fleet, or --pack")
    if found.min_executors is not None and found.max_executors is None:
        parser.error("--min-executors goes with --max-executors")
    if any("=" not in setting for setting in found.conf):
        parser.error("--conf is KEY=VALUE")
    return found


def settings(args: argparse.Namespace) -> dict[str, str]:
    """Spark's settings: executors that come when tasks wait and go when there is nothing to do."""
    found = {"spark.hadoop.mapreduce.fileoutputcommitter.marksuccessfuljobs": "false", "spark.ui.showConsoleProgress": "false"}
    if args.max_executors is not None:
        least, idle = args.min_executors or 0, f"{max(int(args.idle_seconds * 1000), 1)}ms"
        found |= {"spark.dynamicAllocation.enabled": "true", "spark.dynamicAllocation.shuffleTracking.enabled": "true",
                  "spark.dynamicAllocation.minExecutors": str(least), "spark.dynamicAllocation.initialExecutors": str(least),
                  "spark.dynamicAllocation.maxExecutors": str(args.max_executors), "spark.dynamicAllocation.executorIdleTimeout": idle,
                  "spark.dynamicAllocation.shuffleTracking.timeout": idle}
    return found | dict(setting.split("=", 1) for setting in args.conf)


@contextlib.contextmanager
def session_of(args: argparse.Namespace, name: str) -> Iterator["SparkSession"]:
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.appName(name)
    if args.master:
        builder = builder.master(args.master)
    for key, value in settings(args).items():
        builder = builder.config(key, value)
    session = builder.getOrCreate()
    try:
        yield session
    finally:
        session.stop()


def read(session: "SparkSession", paths: list[str], base: str | None = None) -> "DataFrame":
    """The input; below ``base``, directories store=7/ are columns. Cells of a CSV stay texts, as in `myriad batch run`: what reads as a number is one."""
    kinds = {kind for path in paths for suffix, kind in _FORMATS.items() if path.endswith(suffix)}
    if len(kinds) != 1 or not all(path.endswith(tuple(_FORMATS)) for path in paths):
        raise error("BAD_USAGE", f"--input {', '.join(paths)}: the format is found from the names, which must all end in .parquet, .csv or .json")
    kind = kinds.pop()
    reader = session.read.option("header", True).option("mode", "FAILFAST") if kind == "csv" else session.read
    if base is not None:
        reader = reader.option("basePath", base)
    try:
        return reader.format(kind).load(paths)
    except Exception as problem:  # Spark's own, of many classes
        code = "NOT_FOUND" if "PATH_NOT_FOUND" in str(problem) else "BAD_INPUT"
        raise error(code, cause(problem)) from None


def cause(problem: BaseException) -> str:
    """Spark explains itself on a hundred lines: the first that says something, and what was the cause of all others."""
    lines = [line.strip(" :\t") for line in str(problem).splitlines() if line.strip(" :\t")]
    first = next((line for line in lines if not line.startswith("An error occurred while calling")), type(problem).__name__)
    deepest = [line.removeprefix("Caused by: ") for line in lines if line.startswith("Caused by: ")]
    under = problem
    while (below := getattr(under, "_cause", None)) is not None:  # those that pyspark has made its own
        under = below
    if under is not problem:
        deepest.append(cause(under))
    return f"{first}: {deepest[-1]}" if deepest and deepest[-1] not in first else first


class _Output:
    """A directory in whatever file system Spark knows: written beside its place, renamed when it is whole."""

    def __init__(self, session: "SparkSession", place: str) -> None:
        context = session.sparkContext
        self.jvm: Any = context._jvm
        self.local = None if re.match(r"[A-Za-z][\w+.-]*:/", place) else pathlib.Path(place).absolute()
        self.place = self.local.as_uri() if self.local else place.rstrip("/")
        self.staging = f"{self.place}.staging-{context.applicationId}"
        self.files: Any = self._path(self.place).getFileSystem(context._jsc.hadoopConfiguration())
        if self.files.exists(self._path(self.place)):
            raise error("EXISTS", f"{place} exists already: remove it, or write elsewhere")

    def _path(self, text: str) -> Any:
        return self.jvm.org.apache.hadoop.fs.Path(text)

    def publish(self) -> None:
        if self.local:
            self._sync(pathlib.Path(self._path(self.staging).toUri().getPath()))
        if not self.files.rename(self._path(self.staging), self._path(self.place)):
            raise error("IO", f"{self.place}: what was written can't be given this name: is something there by now?")
        if self.local:
            _sync_one(self.local.parent)

    def _sync(self, folder: pathlib.Path) -> None:
        """What Spark wrote on this disk reaches it, without the sums that Hadoop keeps of local files."""
        for path in sorted(folder.rglob("*"), reverse=True):
            if path.name.startswith(".") and path.name.endswith(".crc"):
                path.unlink()
            else:
                _sync_one(path)
        _sync_one(folder)

    def drop(self) -> None:
        self.files.delete(self._path(self.staging), True)


def _sync_one(path: pathlib.Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def run(args: argparse.Namespace) -> dict[str, Any]:
    """One job; what it did."""
    began = time.monotonic()
    pack = Pack(args.pack) if args.pack else Registry(args.workspace).open(args.fleet, args.release)
    by = [name for name in args.by.split(",") if name]
    keep = None if args.keep is None else [name for name in args.keep.split(",") if name]
    details = [] if args.details == "none" else [*DETAILS] if args.details is None else [name for name in args.details.split(",") if name]
    with session_of(args, f"myriad {pack.fleet or pathlib.Path(pack.path).name}") as session:
        output = _Output(session, args.output)
        counts = spark.Counts(session)
        rows = read(session, args.input)
        scored = spark.score(rows, pack, keep=keep if keep is None else [*by, *keep], output=args.output_kind, details=details, counts=counts)
        missing = [name for name in by if name not in scored.columns]
        if missing:
            raise error("BAD_INPUT", f"--by {missing[0]}: there is no such column in the output: name it in --keep, if it is one of the input's")
        try:
            writer = scored.write.partitionBy(*by) if by else scored.write
            (writer.option("header", True) if args.format == "csv" else writer).format(args.format).save(output.staging)
            output.publish()
        except BaseException:
            output.drop()
            raise
        return {"application": session.sparkContext.applicationId, "fleet": pack.fleet, "release": pack.release, "rows": counts.rows,
                "levels": counts.levels, "statuses": counts.statuses, "output": args.output,
                "duration_ms": int((time.monotonic() - began) * 1000)}


def main(given: Sequence[str] | None = None) -> int:
    if (sys.argv[1:] if given is None else given) == ["--worker"]:
        from . import _spark_worker
        return _spark_worker.main()
    args = _arguments(given)
    try:
        print(json.dumps(run(args)))
        return 0
    except Error as problem:
        print(f"myriad: {problem.message}", file=sys.stderr)
        return _EXITS.get(problem.code, 70)
    except Exception as problem:  # of Spark: an executor's, a disk's, the master's
        print(f"myriad: Spark: {cause(problem)}", file=sys.stderr)
        return 74


__all__ = ["cause", "main", "read", "run", "session_of", "settings"]
