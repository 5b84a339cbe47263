"""Errors: one class, and one subclass per code that a caller may want to tell apart."""

from __future__ import annotations


class Error(Exception):
    """What went wrong, in words that name the file, field and value and the mend.

    ``code`` is myriad's name for it (``"NOT_FOUND"``, ``"BAD_INPUT"``, …).
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"

    def __reduce__(self) -> tuple[object, ...]:
        return (error, (self.code, self.message))


class NotFound(Error, LookupError):
    """A file, fleet, model or release that does not exist."""


class BadInput(Error, ValueError):
    """Rows, keys or arguments that are not acceptable."""


class BadFormat(Error, ValueError):
    """A pack or model file that is damaged, or is none."""


class Unsupported(Error, NotImplementedError):
    """A model, type or output that this version does not support."""


class OutOfMemory(Error, MemoryError):
    """Memory was short; nothing was written."""


class Denied(Error, PermissionError):
    """A token that is missing, not known, or does not reach so far."""


class Unavailable(Error, ConnectionError):
    """No server answered, or those that did are overloaded or stopping: later it may work."""


class DeadlineExceeded(Error, TimeoutError):
    """There was no answer in time."""


_CLASSES: dict[str, type[Error]] = {
    "NOT_FOUND": NotFound,
    "BAD_INPUT": BadInput,
    "BAD_USAGE": BadInput,
    "BAD_FORMAT": BadFormat,
    "UNSUPPORTED": Unsupported,
    "NO_MEMORY": OutOfMemory,
    "UNAUTHENTICATED": Denied,
    "DENIED": Denied,
    "UNAVAILABLE": Unavailable,
    "BUSY": Unavailable,
    "TOO_MANY": Unavailable,
    "TIMEOUT": DeadlineExceeded,
}


def error(code: str, message: str) -> Error:
    """The error of a code, of its own class where it has one."""
    return _CLASSES.get(code, Error)(code, message)
