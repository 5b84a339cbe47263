"""The registry of a workspace, driven through the program ``myriad``: models in, releases out.

The library has no registry (it only opens what a release is made of), so every method here is one call of the program
with ``--json``. It is found by ``$MYRIAD``, on ``PATH``, or beside this package.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ._errors import error
from ._export import Exported, export
from ._pack import Pack, Segment, segment_text

_CODES = {64: "BAD_USAGE", 65: "BAD_INPUT", 66: "NOT_FOUND", 69: "UNSUPPORTED", 70: "INTERNAL", 71: "NO_MEMORY",
          73: "EXISTS", 74: "IO", 75: "BUSY", 77: "DENIED", 130: "CANCELLED"}


@dataclasses.dataclass(frozen=True)
class Registered:
    """One version of the model of a segment."""

    name: str  #: ``oj@store=2,brand=1``
    fleet: str
    segment: str
    version: int
    reused: bool = False  #: this very model was there already; no version was added
    algorithm: str = ""
    format: str = ""
    objective: str = ""
    artifact: str = ""
    artifact_bytes: int = 0
    source: str = ""
    created: str = ""
    fingerprint: str = ""
    tags: Mapping[str, str] = dataclasses.field(default_factory=dict)
    metrics: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    signature: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Release:
    """An immutable map from segments to versions of models."""

    fleet: str
    number: int
    models: int
    pack: str  #: path of its pack
    aliases: tuple[str, ...] = ()
    created: str = ""
    new_models: int = 0  #: written by ``release``; the others are shared with earlier packs
    reused: bool = False  #: the newest release has exactly these models, so none was made


def program() -> str:
    """The program ``myriad``: ``$MYRIAD``, or on ``PATH``, or beside this package."""
    named = os.environ.get("MYRIAD")
    if named:
        return named
    beside = pathlib.Path(__file__).parent / "myriad"
    found = shutil.which("myriad") or (str(beside) if beside.exists() else None)
    if found is None:
        raise error("NOT_FOUND", "the program myriad is not on PATH: put build/ on it, or set MYRIAD to build/myriad")
    return found


def segment_parts(segment: Segment) -> dict[str, str]:
    """``store=2,brand=a%2Cb`` taken apart: names and plain values."""
    text = segment_text(segment)
    parts: dict[str, str] = {}
    for part in text.split(",") if text else []:
        name, equals, value = part.partition("=")
        if not equals:
            raise error("BAD_INPUT", f"segment '{text}': '{part}' is not name=value")
        parts[urllib.parse.unquote(name)] = urllib.parse.unquote(value)
    return parts


class Registry:
    """Models and releases of a workspace.

    >>> registry = myriad.Registry("prices", create=True)
    >>> registry.register(booster, "oj", {"store": 2, "brand": 1}, tags={"team": "juice"}, metrics={"rmse": 0.5})
    >>> release = registry.release("oj")
    >>> registry.open("oj").predict(frame)
    """

    def __init__(self, workspace: str | os.PathLike[str] = ".", create: bool = False) -> None:
        self.workspace = os.path.abspath(os.fspath(workspace))
        if not os.path.exists(os.path.join(self.workspace, "myriad.yaml")):
            if not create:
                raise error("NOT_FOUND", f"{self.workspace} is no workspace: Registry(…, create=True) makes one")
            self._run("init", self.workspace, workspace=False)

    def __repr__(self) -> str:
        return f"<myriad.Registry {self.workspace!r}>"

    def _run(self, *args: str, workspace: bool = True) -> Any:
        where = ["--workspace", self.workspace] if workspace else []
        try:
            done = subprocess.run([program(), *args, *where, "--json"], capture_output=True, text=True, encoding="utf-8")
        except OSError as problem:
            raise error("NOT_FOUND", f"the program myriad can't be run: {problem}") from None
        if done.returncode != 0:
            message = done.stderr.strip().rpartition("myriad: ")[2] or f"exit code {done.returncode}"
            raise error(_CODES.get(done.returncode, "INTERNAL"), message)
        return json.loads(done.stdout)

    # ---- models in ----

    def register(self, model: Any, fleet: str, segment: Segment = "", *, tags: Mapping[str, object] | None = None,
                 metrics: Mapping[str, float] | None = None, features: Sequence[str] | None = None) -> Registered:
        """Register a model of one segment (``""``: the global model) as its next version.

        ``model``: a LightGBM or XGBoost model (Booster or scikit-learn style), a scikit-learn estimator (linear ones
        directly, others by skl2onnx), an ONNX model, bytes of a model file, or the path of one.
        ``features`` replaces the names that the model has for its inputs.
        """
        with tempfile.TemporaryDirectory(prefix="myriad-") as folder:
            exported = export(model, features)
            path = exported.write(folder, "model")
            args = ["model", "import", path, "--fleet", fleet, "--segment", segment_text(segment), *_options(tags, metrics)]
            if exported.features:
                args += ["--features", _commas(exported.features)]
            answer = self._run(*args)
        shown = segment_text(segment)
        return Registered(f"{fleet}@{shown}", fleet, shown, int(answer["version"]), answer["reused"] > 0)

    def register_many(self, fleet: str, models: Mapping[Segment, Any] | Iterable[tuple[Segment, Any]], *,
                      tags: Mapping[str, object] | None = None, features: Sequence[str] | None = None) -> int:
        """Register many models at once, all or none; says how many became new versions.

        ``models`` are pairs of segment and model. One call of the program brings them in, so this is much faster than
        ``register`` for each.
        """
        pairs = list(models.items() if isinstance(models, Mapping) else models)
        if not pairs:
            return 0
        segments = [segment_parts(segment) for segment, _ in pairs]
        columns = list(dict.fromkeys(name for parts in segments for name in parts))
        with tempfile.TemporaryDirectory(prefix="myriad-") as folder:
            names: list[str] | None = None
            with open(os.path.join(folder, "manifest.csv"), "w", newline="", encoding="utf-8") as file:
                lines = csv.writer(file, lineterminator="\n")
                lines.writerow(["path", *columns])
                for number, (parts, (segment, model)) in enumerate(zip(segments, pairs)):
                    exported = export(model, features)
                    if number > 0 and exported.features != names:
                        raise error("BAD_INPUT", f"the model of '{segment_text(segment)}' has other features than the first one: "
                                                 "register it alone, or name features=")
                    names = exported.features
                    lines.writerow([os.path.basename(exported.write(folder, f"m{number}")), *(parts.get(c, "") for c in columns)])
            args = ["model", "import", "--manifest", file.name, "--fleet", fleet, *_options(tags, None)]
            if names:
                args += ["--features", _commas(names)]
            return int(self._run(*args)["imported"])

    def tag(self, name: str, tags: Mapping[str, object]) -> Registered:
        """Give the newest version of a model (``oj@store=2,brand=1``) tags, which makes a version with them.

        Versions never change, so this registers the same artifact again with the tags of both.
        """
        old = self.show(name)
        artifact = os.path.join(self.workspace, "artifacts", old.artifact[:2], old.artifact[2:])
        signature = list(old.signature.get("features", ())) or None
        with open(artifact, "rb") as file:
            model = file.read()
        names = signature if old.format.startswith("xgboost") and signature else None
        return self.register(Exported(model, pathlib.Path(old.source).suffix or ".model", names), old.fleet, old.segment,
                             tags={**old.tags, **tags}, metrics=_numbers(old.metrics))

    # ---- what is there ----

    def list(self, fleet: str | None = None, *, tag: str | None = None, segment: str | None = None,
             all_versions: bool = False) -> list[Registered]:
        """Models: of a fleet, with a tag (``"team=juice"``), whose segment has parts (``"brand=1"``)."""
        args = ["model", "list"]
        for flag, value in (("--fleet", fleet), ("--tag", tag), ("--segment", segment)):
            if value is not None:
                args += [flag, value]
        return [_registered(row) for row in self._run(*args, *(["--all-versions"] if all_versions else []))]

    def show(self, name: str, version: int | None = None) -> Registered:
        """One model by name (``oj@store=2,brand=1``; ``oj@`` is the global one): the newest version, or this one."""
        return _registered(self._run("model", "show", name, *(["--version", str(version)] if version is not None else [])))

    # ---- releases ----

    def release(self, fleet: str, promote: bool = True, explain: bool | None = None) -> Release:
        """Make a release of the newest versions, and let ``champion`` point to it.

        ``explain=True``: with what the outputs ``"leaf"`` and ``"contribution"`` need, from now on; ``False``: without
        it again, which is smaller.
        """
        flags = [] if promote else ["--no-promote"]
        if explain is not None:
            flags.append("--explain" if explain else "--no-explain")
        made = self._run("release", "create", fleet, *flags)
        found = next(r for r in self.releases(fleet) if r.number == made["release"])
        return dataclasses.replace(found, new_models=made["new_models"], reused=made["reused"])

    def releases(self, fleet: str) -> Sequence[Release]:
        """The releases of a fleet and their aliases."""
        return [Release(fleet, row["release"], row["models"], os.path.join(self.workspace, row["pack"]),
                        tuple(a for a in row["aliases"].split(",") if a), row["created"])
                for row in self._run("release", "list", fleet)]

    def promote(self, fleet: str, number: int) -> None:
        """Let ``champion`` point to a release: all models move at once."""
        self._run("release", "promote", fleet, str(number))

    def open(self, fleet: str, release: int | None = None) -> Pack:
        """The pack of a release: the champion's, or by number."""
        for found in self.releases(fleet):
            if found.number == release or release is None and "champion" in found.aliases:
                return Pack(found.pack)
        raise error("NOT_FOUND", f"fleet {fleet} has no release {release}" if release is not None else
                    f"fleet {fleet} has no champion: release('{fleet}') makes one")


def _commas(names: Sequence[str]) -> str:
    for name in names:
        if "," in name:
            raise error("BAD_INPUT", f"the feature '{name}' has a comma in its name, which --features can't hold")
    return ",".join(names)


def _options(tags: Mapping[str, object] | None, metrics: Mapping[str, float] | None) -> list[str]:
    given = [part for key, value in (tags or {}).items() for part in ("--tag", f"{key}={value}")]
    return given + [part for key, value in (metrics or {}).items() for part in ("--metric", f"{key}={float(value)!r}")]


def _numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    return {key: value for key, value in metrics.items() if isinstance(value, (int, float))}


def _registered(row: Mapping[str, Any]) -> Registered:
    known = {field.name for field in dataclasses.fields(Registered)}
    return Registered(**{key: value for key, value in row.items() if key in known})


__all__ = ["Registered", "Registry", "Release", "program", "segment_parts"]
