"""Models of other libraries as the bytes of their own files; none of those libraries is imported here."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from ._errors import error

#: scikit-learn's regressors that are a weighted sum of their inputs
_LINEAR = {"LinearRegression", "Ridge", "RidgeCV", "Lasso", "LassoCV", "ElasticNet", "ElasticNetCV", "HuberRegressor",
           "BayesianRidge", "ARDRegression", "SGDRegressor", "LinearSVR", "Lars", "LassoLars", "TheilSenRegressor",
           "OrthogonalMatchingPursuit"}


@dataclasses.dataclass(frozen=True)
class Exported:
    """The bytes of a model file."""

    data: bytes
    suffix: str
    features: list[str] | None = None  #: names in place of the file's own

    def write(self, folder: str, stem: str) -> str:
        path = os.path.join(folder, stem + self.suffix)
        pathlib.Path(path).write_bytes(self.data)
        return path


def export(model: Any, features: Sequence[str] | None = None) -> Exported:
    """A model as a file's bytes. Raises Unsupported, naming the kind, for what has no file of its own."""
    names = list(features) if features is not None else None
    if isinstance(model, Exported):
        return dataclasses.replace(model, features=names or model.features)
    if isinstance(model, (bytes, bytearray, memoryview)):
        return Exported(bytes(model), ".model", names)
    if isinstance(model, (str, os.PathLike)):
        return _file(os.fspath(model), names)
    for kind in type(model).__mro__:
        home = kind.__module__.partition(".")[0]
        if home in _EXPORTERS:
            return _EXPORTERS[home](model, names)
    raise error("UNSUPPORTED", f"a {type(model).__module__}.{type(model).__qualname__} can't be registered: LightGBM, XGBoost, "
                               "scikit-learn and ONNX models can, and files of theirs by path")


def _file(path: str, names: list[str] | None) -> Exported:
    try:
        return Exported(pathlib.Path(path).read_bytes(), pathlib.Path(path).suffix or ".model", names)
    except OSError as problem:
        raise error("NOT_FOUND", f"{path}: {problem.strerror}") from None


def _lightgbm(model: Any, names: list[str] | None) -> Exported:
    booster = getattr(model, "booster_", model)
    return Exported(booster.model_to_string().encode(), ".txt", names)


def _xgboost(model: Any, names: list[str] | None) -> Exported:
    booster = model
    if hasattr(model, "get_booster"):
        booster = model.get_booster()
        best = getattr(model, "best_iteration", None)  # what its own predict() stops at
        if best is not None:
            booster = booster[: best + 1]
    return Exported(bytes(booster.save_raw("ubj")), ".ubj", names)


def _onnx(model: Any, names: list[str] | None) -> Exported:
    return Exported(model.SerializeToString(), ".onnx", names)


def _estimator_features(model: Any, names: list[str] | None) -> list[str]:
    found = names or [str(name) for name in getattr(model, "feature_names_in_", ())]
    return found or [f"f{j}" for j in range(int(model.n_features_in_))]


def _sklearn(model: Any, names: list[str] | None) -> Exported:
    if not hasattr(model, "n_features_in_"):
        raise error("BAD_INPUT", f"this {type(model).__name__} is not fitted: fit() it first")
    features = _estimator_features(model, names)
    if type(model).__name__ in _LINEAR and _is_one_output(model):
        return _linear(model, features)
    return _onnx_of_sklearn(model, features)


def _is_one_output(model: Any) -> bool:
    return int(getattr(model.coef_, "size", 0)) == int(model.n_features_in_)


def _linear(model: Any, features: list[str]) -> Exported:
    intercept = model.intercept_
    text = {"format": "myriad-linear", "version": 1, "features": features,
            "intercept": float(intercept if not getattr(intercept, "size", 1) == 1 or not hasattr(intercept, "item") else intercept.item()),
            "weights": [float(w) for w in model.coef_.reshape(-1)]}
    return Exported(json.dumps(text).encode(), ".json", None)


def _onnx_of_sklearn(model: Any, features: list[str]) -> Exported:
    try:
        import skl2onnx
        from skl2onnx.common.data_types import DoubleTensorType
    except ImportError:
        raise error("UNSUPPORTED", f"a scikit-learn {type(model).__name__} is registered as ONNX, which needs skl2onnx: "
                                   "pip install skl2onnx") from None
    options = {"zipmap": False} if hasattr(model, "classes_") else None
    try:
        made = skl2onnx.to_onnx(model, initial_types=[("X", DoubleTensorType([None, len(features)]))],
                                options={id(model): options} if options else None)
    except Exception as problem:  # skl2onnx has its own errors for each kind of trouble
        raise error("UNSUPPORTED", f"skl2onnx can't convert this {type(model).__name__}: {problem}") from problem
    return Exported(made.SerializeToString(), ".onnx", features)


_EXPORTERS: dict[str, Callable[[Any, list[str] | None], Exported]] = {
    "lightgbm": _lightgbm, "xgboost": _xgboost, "onnx": _onnx, "sklearn": _sklearn}
