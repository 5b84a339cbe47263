"""Score Spark DataFrames: each row with the model of its segment, by the library, inside Spark's Python workers.

>>> from myriad import spark
>>> scored = spark.score(sales, "demo/packs/oj/r1.index", keep=["week"])
>>> scored.write.parquet("scored")

Needs pyspark 3.5 or newer and pyarrow where the driver runs; on the executors pyarrow and NumPy, as ``mapInArrow`` does.
This package and the pack go there by themselves.
"""

from __future__ import annotations

import collections
import difflib
import hashlib
import os
import pathlib
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ._abi import BY_KEY, LEVELS, OUTPUTS, STATUSES, library_path, lib
from ._errors import error
from ._pack import Output, Pack
from ._spark_rows import DETAILS, Plan

if TYPE_CHECKING:
    import pyarrow
    from pyspark import SparkContext
    from pyspark.sql import Column, DataFrame, SparkSession
    from pyspark.sql.types import DataType, StructField

_PLAIN = frozenset({"byte", "short", "integer", "long", "float", "double", "boolean", "string", "void"})


class Counts:
    """Rows by status and by level, counted while they are scored.

    Complete when an action on the answer has run. Spark counts a task of the last stage once, however often it was
    tried; if the answer is shuffled before it is written, or computed by several actions, its rows count each time.
    """

    def __init__(self, session: "SparkSession") -> None:
        context = session.sparkContext
        self._accumulators = [context.accumulator(0) for _ in (*STATUSES, *LEVELS)]
        self._accumulators.append(context.accumulator(0, _bits()))

    @property
    def statuses(self) -> dict[str, int]:
        """``{"ok": 998, "no_model": 2}``: those that there are."""
        return {word: a.value for word, a in zip(STATUSES, self._accumulators) if a.value}

    @property
    def levels(self) -> dict[str, int]:
        """``{"segment": 990, "parent": 8, "none": 2}``: which models answered."""
        return {word: a.value for word, a in zip(LEVELS, self._accumulators[len(STATUSES):-1]) if a.value}

    @property
    def models_used(self) -> int:
        """Models that have answered: a bit for each of the pack's, from the lowest on."""
        return self._accumulators[-1].value

    @property
    def rows(self) -> int:
        return sum(self.statuses.values())

    def __repr__(self) -> str:
        return f"<myriad.spark.Counts {self.statuses}>"


def _bits() -> Any:
    """How bits of tasks become one number. A class of a function pickles by value: executors unpickle it before they have
    this package."""
    from pyspark.accumulators import AccumulatorParam

    class Bits(AccumulatorParam[int]):
        def zero(self, value: int) -> int:
            return 0

        def addInPlace(self, value1: int, value2: int) -> int:  # noqa: N802
            return value1 | value2

    return Bits()


def score(df: "DataFrame", pack: str | os.PathLike[str] | Pack, keys: Sequence[str] | None = None,
          keep: Sequence[str] | None = None, *, output: Output = "value", details: Sequence[str] = DETAILS,
          counts: Counts | None = None, ship_package: bool = True) -> "DataFrame":
    """A DataFrame with the answer for each row of ``df``, as ``myriad batch run`` writes it.

    Columns: the partition columns, the kept ones, then ``prediction`` (``prediction_0`` … if there are several), ``model``,
    ``model_version``, ``level`` and ``status``. A row that can't be scored has a null prediction and a status that says
    why, never an exception.

    ``pack``: a pack (its ``.index`` file; ``myriad.open("demo", fleet="oj")`` finds the champion's) or one model file, on
    the driver's disk. Each executor gets it once; a worker process opens it once and maps it.

    ``keys``: columns with the values of the pack's partition columns, in their order (default: of the same names).

    ``keep``: columns to copy (default: all that are neither key nor feature).

    ``output``: ``"value"``, ``"margin"``, ``"probability"`` or ``"contribution"``.

    ``details``: which of ``model``, ``model_version``, ``level`` and ``status`` are columns of the answer; what is not, is not
    made.

    ``counts``: a ``Counts`` that is to know how many rows had which status.

    ``ship_package``: bring this package to the executors too. ``False``: they have it installed.

    Errors are raised here, before a job starts: a missing column (with the nearest name), one of a type that no model
    takes, a pack that can't be opened, an output that the models don't give.
    """
    opened = pack if isinstance(pack, Pack) else Pack(pack)
    columns = _Columns(df)
    labels = _labels(opened, output)
    told = _details(details)
    key_names = _key_names(opened, keys)
    kept = _kept(columns, opened, key_names, keep, [*labels, *told])
    plan, chosen = _plan(columns, opened, key_names, kept, output)
    plan["details"] = told
    plan["names"] = [*kept, *labels, *told]
    context = _context(df)
    plan["digest"], plan["files"] = _ship_pack(context, opened)
    plan["package"] = _ship_package(context) if ship_package else None
    accumulators = counts._accumulators if counts is not None else None
    return df.select(*chosen).mapInArrow(_task(plan, accumulators), _schema(columns, kept, labels, told))


def _task(plan: Plan, counts: Any) -> Callable[[Iterator["pyarrow.RecordBatch"]], Iterator["pyarrow.RecordBatch"]]:
    """The function of a task. It pickles by value, since what it imports may only be there once it runs."""

    def run(batches: Iterator["pyarrow.RecordBatch"]) -> Iterator["pyarrow.RecordBatch"]:
        if plan["package"] is not None:
            import os
            import sys

            from pyspark import SparkFiles

            place = os.path.abspath(os.path.join(SparkFiles.getRootDirectory(), plan["package"]))
            if place not in sys.path:
                sys.path.insert(0, place)
        from myriad import _spark_rows

        return _spark_rows.score(plan, batches, counts)

    return run


# ---- which columns ----


class _Columns:
    """The columns of a DataFrame by name."""

    def __init__(self, df: "DataFrame") -> None:
        self.fields: dict[str, StructField] = {field.name: field for field in df.schema.fields}
        self.names: list[str] = list(df.columns)
        self._times = collections.Counter(name.casefold() for name in self.names)

    def field(self, name: str, what: str) -> "StructField":
        """The one column of this name. Spark's names don't differ by case alone."""
        if name not in self.fields:
            raise error("BAD_INPUT", f"the DataFrame has no column '{name}', {what}{self._nearest(name)}")
        if self._times[name.casefold()] > 1:
            raise error("BAD_INPUT", f"the DataFrame has {self._times[name.casefold()]} columns '{name}', {what}: which one is "
                                     "meant is not known")
        return self.fields[name]

    def _nearest(self, name: str) -> str:
        by_case = {other.casefold(): other for other in self.names}
        near = difflib.get_close_matches(name.casefold(), by_case, 1, 0.6)
        return f": did you mean '{by_case[near[0]]}'?" if near else f": it has {', '.join(self.names[:12])}" + (
            " …" if len(self.names) > 12 else "")


def _key_names(pack: Pack, keys: Sequence[str] | None) -> list[str]:
    names = [keys] if isinstance(keys, str) else list(pack.keys if keys is None else keys)
    if len(names) != len(pack.keys):
        needed = f"{len(pack.keys)} are needed: {', '.join(pack.keys)}" if pack.keys else "the pack has no partition columns"
        raise error("BAD_INPUT", f"{len(names)} key columns, {needed}")
    return names


def _details(names: Sequence[str]) -> list[str]:
    """In our order, whatever theirs."""
    names = [names] if isinstance(names, str) else list(names)
    for name in names:
        if name not in DETAILS:
            near = difflib.get_close_matches(name, DETAILS, 1, 0.6)
            known = f"did you mean '{near[0]}'?" if near else f"{', '.join(DETAILS)} are known"
            raise error("BAD_INPUT", f"there is no detail '{name}': {known}")
        if names.count(name) > 1:
            raise error("BAD_INPUT", f"the detail '{name}' is named twice")
    return [name for name in DETAILS if name in names]


def _labels(pack: Pack, output: str) -> list[str]:
    """The columns of numbers, named as ``myriad batch run`` does."""
    if output not in ("value", "margin", "probability", "contribution"):
        raise error("BAD_INPUT", f"output is {output!r}: value, margin, probability or contribution")
    width: int = lib.myr_models_width(pack._use().pointer, BY_KEY, OUTPUTS[output])
    if width == 0:  # scoring says why
        nothing = {name: [float("nan")] for name in pack.features}
        pack.predict(nothing, keys=[[None]] * len(pack.keys), output=output)
        raise error("UNSUPPORTED", f"{pack.path}: its models don't give the output {output}")
    if output == "probability":
        return [f"p_{k}" for k in range(width)]
    if output != "contribution":
        return _numbered("prediction" if output == "value" else output, width)
    parts = [*(f"contribution{{}}_{name}" for name in pack.features), "base{}"]
    margins = width // len(parts)
    return [part.format(f"_{k}" if margins > 1 else "") for k in range(margins) for part in parts]


def _numbered(label: str, width: int) -> list[str]:
    return [label] if width == 1 else [f"{label}_{k}" for k in range(width)]


def _kept(columns: _Columns, pack: Pack, keys: list[str], keep: Sequence[str] | None, made: list[str]) -> list[str]:
    """Partition columns, then what is kept: none twice, none of the names that we make."""
    taken = {name.casefold() for name in made}
    for key in keys:
        columns.field(key, "a partition column")
        if key.casefold() in taken:
            raise error("BAD_INPUT", f"the partition column '{key}' would stand twice in the answer: rename it")
    for name in pack.features:
        columns.field(name, "a feature")
    if keep is None:
        others = [name for name in columns.names if name not in keys and name not in pack.features]
        dropped = [name for name in others if name.casefold() in taken]
        if dropped:
            warnings.warn(f"left out {', '.join(dropped)}: the answer has columns of ours of these names", stacklevel=3)
        keep = [name for name in others if name not in dropped]
    else:
        keep = [keep] if isinstance(keep, str) else keep
        for name in keep:
            if name.casefold() in taken:
                raise error("BAD_INPUT", f"the column '{name}' of keep= would stand twice in the answer: rename it, or leave it out")
    for name in keep:
        columns.field(name, "which is to be kept")
    return list(dict.fromkeys([*keys, *keep]))


def _plan(columns: _Columns, pack: Pack, keys: list[str], kept: list[str], output: str) -> tuple[Plan, list["Column"]]:
    """What a task gets: kept columns first, then those of the models that are no plain copies. All have names of ours,
    so that none is there twice."""
    from pyspark.sql import functions

    chosen: list[Column] = [functions.col(_quoted(name)) for name in kept]
    places: dict[tuple[str, str], int] = {(name, "plain"): at for at, name in enumerate(kept)}
    inputs: list[int] = []

    def add(name: str, what: str, is_text: bool) -> None:
        form = _form(columns.field(name, what).dataType, name, what, is_text)
        if (name, form) not in places:
            places[name, form] = len(chosen)
            chosen.append(_column(name, form))
        inputs.append(places[name, form])

    for name in keys:
        add(name, "a partition column", True)
    for name in pack.features:
        add(name, "a feature", name in pack.text_features)
    key_labels = [f"\x01key{k}" for k in range(len(keys))]
    plan: Plan = {"package": None, "digest": "", "files": [], "kept": len(kept), "inputs": inputs,
                  "input_names": [*key_labels, *pack.features], "keys": key_labels, "output": output, "details": [], "names": []}
    return plan, [column.alias(f"c{at}") for at, column in enumerate(chosen)]


def _form(type_: "DataType", name: str, what: str, is_text: bool) -> str:
    """How a column is read: as it is, or cast first where Arrow has a type that the library does not know."""
    kind = type_.typeName()
    if kind in _PLAIN or kind.startswith(("char", "varchar")):
        return "plain"
    if kind == "decimal" or kind.startswith("decimal("):
        return "decimal_text" if is_text else "double"
    if is_text and kind == "date":
        return "text"
    wanted = "numbers, text or dates" if is_text else "numbers"
    raise error("BAD_INPUT", f"the column '{name}', {what}, is {type_.simpleString()} and must be {wanted}: cast it first")


def _column(name: str, form: str) -> "Column":
    from pyspark.sql import functions

    column = functions.col(_quoted(name))
    if form == "double":
        return column.cast("double")
    if form == "text":
        return column.cast("string")
    if form == "decimal_text":  # 2.00 is 2, as in a table that gave a column of whole numbers a scale
        return functions.regexp_replace(column.cast("string"), r"\.0+$", "")
    return column


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _schema(columns: _Columns, kept: list[str], labels: list[str], details: list[str]) -> Any:
    from pyspark.sql import types

    made = {"model_version": types.LongType()}
    fields = [columns.fields[name] for name in kept]
    fields += [types.StructField(name, types.DoubleType()) for name in labels]
    fields += [types.StructField(name, made.get(name, types.StringType())) for name in details]
    return types.StructType(fields)


# ---- what goes to the executors ----

_shipped: set[tuple[str, str]] = set()  # application, name


def _context(df: "DataFrame") -> "SparkContext":
    try:
        return df.sparkSession.sparkContext
    except Exception:  # Spark Connect's session has none, and says so in its own way
        raise error("UNSUPPORTED", "the DataFrame is one of Spark Connect, which can't ship files: use a classic session") from None


def _ship(context: "SparkContext", name: str, place: pathlib.Path, archive: bool = False) -> None:
    """Have Spark copy a file to each executor under this name, once per application."""
    mark = (str(context.applicationId), name)
    if mark in _shipped:
        return
    if archive:
        context.addArchive(f"{place.as_uri()}#{name}")
    else:
        link = pathlib.Path(context._temp_dir) / name  # type: ignore[attr-defined]
        if not link.is_symlink():
            link.symlink_to(place)
        context.addFile(link.as_uri())
    _shipped.add(mark)


def _ship_pack(context: "SparkContext", pack: Pack) -> tuple[str, list[tuple[str, str]]]:
    """Each file under a name that no other pack has. The index has the sums of all models, so its digest stands for all."""
    index = pathlib.Path(pack.path).resolve()
    with open(index, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()[:20]
    files = [(f"myriad-{digest}-{k}", name) for k, name in enumerate((index.name, *pack.blob_files))]
    for shipped, name in files:
        _ship(context, shipped, index.with_name(name))
    return digest, files


def _ship_package(context: "SparkContext") -> str:
    """This package and its library, as an archive that Spark unpacks beside the files."""
    here = pathlib.Path(__file__).parent
    parts: Mapping[str, pathlib.Path] = {f"myriad/{path.name}": path for path in sorted(here.glob("*.py"))} | {
        "myriad/libmyriad.so.0": library_path()}
    digest = hashlib.sha256()
    for name, path in parts.items():
        digest.update(name.encode() + path.read_bytes())
    alias = f"myriad-package-{digest.hexdigest()[:20]}"
    archive = pathlib.Path(context._temp_dir) / f"{alias}.zip"  # type: ignore[attr-defined]
    if not archive.exists():
        with tempfile.NamedTemporaryFile(dir=archive.parent, delete=False) as building:
            with zipfile.ZipFile(building, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as into:
                for name, path in parts.items():
                    into.write(path, name)
        os.replace(building.name, archive)
    _ship(context, alias, archive, archive=True)
    return alias


__all__ = ["Counts", "score"]

if __name__ == "__main__":
    import sys

    from ._spark_job import main

    sys.exit(main())
