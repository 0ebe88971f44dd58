"""A refusal on its way up: it gathers the path to the offender, then becomes a `NotSerializable`."""

from __future__ import annotations

from typing import Any

from replay.core.errors import NotSerializable

MAX_DEPTH = 200
"""Deepest nesting: far beyond any real payload, far below what breaks a parser or Python's own stack."""

MAX_PATH = 200
"""Longest path shown, in characters: a value that contains itself has an endless one."""


class Refusal(Exception):
    """Raised inside the walk only."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.steps: list[str] = []  # innermost first

    def at(self, step: str) -> Refusal:
        """Note one step of the path, going outwards."""
        self.steps.append(step)
        return self

    def final(self) -> NotSerializable:
        """Return the error that the caller of `encode` gets."""
        path = "".join(reversed(self.steps))
        if len(path) > MAX_PATH:
            path = path[: MAX_PATH // 2] + " ... " + path[-20:]
        return NotSerializable(f"at {path}: {self}" if path else str(self), path)


def too_deep() -> Refusal:
    """Return the refusal of a value that nests too deeply, as one that contains itself does."""
    return Refusal(
        f"the value is nested deeper than {MAX_DEPTH} levels, or contains itself. Fix: store a flat list with ids that refer to each other"
    )


def key_step(key: Any) -> str:
    """Return how a dict's key stands in a path."""
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
    """Return the refusal of a value whose class the codec does not know, with the remedy that fits it."""
    fix = "pass plain data, attrs, dataclasses, enums or pydantic models, or codec.register(cls, encode=, decode=)"
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
