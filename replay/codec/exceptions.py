"""Exceptions as data: class, arguments, state, cause and traceback text; rebuilt without running their `__init__`."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from replay.core.errors import NotSerializable, RemoteError

MAX_TEXT = 8_000
"""Longest message or traceback kept, in characters: an error must never be what breaks the payload limit."""

MAX_CAUSES = 5


def take_apart(error: BaseException, name: str, encode: Callable[[Any], Any], depth: int = 0) -> dict[str, Any]:
    """Return *error* as a dict of encoded parts; parts that cannot be encoded are replaced by their text."""

    def part(value: Any) -> Any:
        try:
            return encode(value)
        except NotSerializable:
            return safe_text(value)

    state = {
        k: part(v) for k, v in vars(error).items() if isinstance(k, str) and k not in ("cause", "_replay_traceback")
    }
    cause = (
        getattr(error, "cause", None) if isinstance(getattr(error, "cause", None), BaseException) else error.__cause__
    )
    found: dict[str, Any] = {"type": name, "args": [part(a) for a in error.args], "text": safe_text(error)}
    if state:
        found["state"] = state
    if isinstance(cause, BaseException) and cause is not error and depth < MAX_CAUSES:
        found["cause"] = cause
    trace = getattr(error, "_replay_traceback", None) or trace_of(error)
    if trace:
        found["trace"] = trace
    return found


def put_together(cls: type[BaseException] | None, parts: dict[str, Any]) -> BaseException:
    """Return the exception that *parts* describe, a `RemoteError` if its class is not known."""
    text = str(parts.get("text", ""))
    args = parts.get("args")
    args = tuple(args) if isinstance(args, list) else ()
    error: BaseException
    if cls is None:
        error = RemoteError(str(parts.get("type")), text)
    else:
        error = _new(cls, args)
        state = parts.get("state")
        if isinstance(state, dict):
            for key, value in state.items():
                if (isinstance(key, str) and not key.startswith("__")) or key == "__notes__":
                    error.__dict__[key] = value
    cause = parts.get("cause")
    if isinstance(cause, BaseException):
        error.__cause__ = cause
    if cls is not None and issubclass(cls, _WITH_CAUSE):
        error.__dict__["cause"] = error.__cause__
    trace = parts.get("trace")
    if isinstance(trace, str):
        error.__dict__["_replay_traceback"] = trace
    return error


def _new(cls: type[BaseException], args: tuple[Any, ...]) -> BaseException:
    builtin = next((base for base in cls.__mro__ if base.__module__ == "builtins"), Exception)
    error = cls.__new__(cls, *args)
    try:
        builtin.__init__(error, *args)  # type: ignore[misc]  # the nearest builtin's own, on purpose
    except Exception:  # its builtin base wants other arguments: keep them as `args` alone
        error.args = args
    return error


def trace_of(error: BaseException) -> str:
    """Return the traceback's text (frames only, innermost last), without local values."""
    if error.__traceback__ is None:
        return ""
    return "".join(traceback.format_tb(error.__traceback__))[-MAX_TEXT:]


def safe_text(value: Any) -> str:
    """Return `str(value)`, cut; its class's name if that fails."""
    try:
        return str(value)[:MAX_TEXT]
    except Exception:  # a user's __str__ may raise anything
        return f"<{type(value).__name__}>"


def _with_cause() -> tuple[type[BaseException], ...]:
    from replay.core import errors

    return (errors.StepFailed, errors.ExecutionFailed, errors.CompensationFailed)


_WITH_CAUSE = _with_cause()
