"""A refusal on its way up: it gathers the path to the offender, then becomes a `NotSerializable`."""

from __future__ import annotations

from typing import Any

from replay.core.errors import NotSerializable

MAX_DEPTH = 200
"""Deepest nesting: far beyond any real payload, far below what breaks a parser or Python's own stack."""

MAX_PATH = 200
"""Longest path in a message, in characters: a value that contains itself has an endless path."""


class Refusal(Exception):
    """Raised within the walk only."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.steps: list[str] = []  # innermost first

    def at(self, step: str) -> Refusal:
        """Add one step of the path, from inside out, and return this refusal."""
        self.steps.append(step)
        return self

    def final(self) -> NotSerializable:
        """Return the error for the caller of `encode`."""
        path = "".join(reversed(self.steps))
        if len(path) > MAX_PATH:
            path = path[: MAX_PATH // 2] + " ... " + path[-20:]
        return NotSerializable(f"at {path}: {self}" if path else str(self), path)


def too_deep() -> Refusal:
    """Return the refusal of a value that is nested too deeply, or contains itself."""
    return Refusal(
        f"the value is nested deeper than {MAX_DEPTH} levels, or contains itself. Fix: store a flat list with ids that refer to each other"
    )


def key_step(key: Any) -> str:
    """Return the step of a path for a dict's key."""
    if type(key) is str:
        return f".{key}" if key.isidentifier() else f"[{key[:50]!r}]"
    return f"[{short(key)}]"


def short(value: Any) -> str:
    """Return `repr(value)`, cut; its class's name if that fails."""
    try:
        return repr(value)[:50]
    except Exception:  # a user's __repr__ may raise anything
        return f"<{type(value).__name__}>"


def unknown_class(cls: type[Any]) -> Refusal:
    """Return the refusal of an unknown class, with a remedy for it."""
    fix = "pass plain data, attrs, dataclasses, structs, enums or pydantic models, or codec.register(cls, encode=, decode=)"
    for base in (bool, int, float, str, bytes, list, dict, set, frozenset, tuple):
        if issubclass(cls, base):
            fix = f"convert it with {base.__name__}(...), or codec.register(cls, encode=, decode=)"
    if cls.__module__.partition(".")[0] == "numpy":
        fix = "convert it with .item() or .tolist()"
    elif cls.__name__ in ("function", "builtin_function_or_method", "method", "type", "module"):
        fix = "pass its name and look it up inside the step"
    elif cls.__name__ in ("generator", "map", "filter", "zip", "dict_keys", "dict_values", "dict_items"):
        fix = "convert it with list(...)"
    elif cls.__name__ == "coroutine":
        fix = "await it inside the step and return its result"
    elif hasattr(cls, "fileno") or hasattr(cls, "__enter__"):
        fix = "open it inside the step and return plain data"
    return Refusal(
        f"a value of class {cls.__module__}.{cls.__qualname__} cannot be stored and restored exactly. Fix: {fix}"
    )
