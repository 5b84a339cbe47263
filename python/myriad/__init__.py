"""myriad: machine-learning models of many segments, opened and scored in place.

>>> import myriad
>>> pack = myriad.open("demo/packs/oj/r1.index")       # or one model file, or myriad.open("demo", fleet="oj")
>>> pack.predict(frame)                                # pandas, polars, pyarrow: keys and features by name
>>> pack.predict(matrix, keys=[stores, brands])        # NumPy
>>> registry = myriad.Registry("demo")                 # drives the program `myriad`
>>> registry.register(booster, "oj", {"store": 2, "brand": 1}, tags={"team": "juice"})
>>> client = myriad.Client("http://10.0.0.4:8080")     # servers, found through any of them
>>> client.score("oj", frame)
"""

from __future__ import annotations

import os

from ._abi import VERSION as __version__
from ._errors import BadFormat, BadInput, DeadlineExceeded, Denied, Error, NotFound, OutOfMemory, Unavailable, Unsupported
from ._pack import Model, Pack, Predictions
from .client import Answer, Client, Endpoint
from .registry import Registered, Registry, Release


def open(path: str | os.PathLike[str], fleet: str | None = None, release: int | None = None) -> Pack:
    """Open a pack or a model file; with ``fleet``, the champion (or a release by number) of a workspace."""
    if fleet is None:
        if release is not None:
            raise Error("BAD_INPUT", "release= goes with fleet=: a path names its release")
        return Pack(path)
    return Registry(path).open(fleet, release)


__all__ = ["Answer", "BadFormat", "BadInput", "Client", "DeadlineExceeded", "Denied", "Endpoint", "Error", "Model", "NotFound",
           "OutOfMemory", "Pack", "Predictions", "Registered", "Registry", "Release", "Unavailable", "Unsupported", "__version__",
           "open"]
