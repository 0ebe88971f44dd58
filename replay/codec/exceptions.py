"""Exceptions as data: class, arguments, state, cause and traceback text; rebuilt without running their `__init__`."""

from __future__ import annotations

import builtins
import contextlib
import copyreg
import json
import re
import threading
import traceback
from collections.abc import Callable
from typing import Any

from replay.codec.refusal import MAX_DEPTH, Refusal, too_deep
from replay.codec.registry import Registry, natural_name
from replay.core.errors import (
    KEPT_TEXT,
    CompensationFailed,
    ExecutionFailed,
    NotSerializable,
    RemoteError,
    StepFailed,
    Undecodable,
    text_of,
)

MAX_TEXT = 8_000
"""Longest message, traceback or part kept, in characters: an error must never be what breaks the payload limit."""

MAX_PARTS = 64_000
"""Longest sum of an exception's arguments and state, in characters, for the same reason."""

MAX_CAUSES = 5
"""Most nested exceptions kept; the traceback shows further ones."""

# Attributes that the builtins keep neither in `args` nor in `__dict__`.
_NATIVE: dict[type[BaseException], tuple[str, ...]] = {
    OSError: ("filename", "filename2"),
    ImportError: ("name", "path"),
    NameError: ("name",),
    AttributeError: ("name",),
}

_WITH_CAUSE = (StepFailed, ExecutionFailed, CompensationFailed)
"""Classes that always have an attribute `cause`."""

_TRACE = "_replay_traceback"
"""Attribute of a restored exception with the text of its original traceback."""

_open = threading.local()  # the exceptions being taken apart on this thread, outermost first


def traceback_of(error: BaseException) -> str | None:
    """Return the text of the traceback with which a recorded error was raised."""
    found: str | None = getattr(error, _TRACE, None)
    return found


def name_of(cls: type[BaseException], registry: Registry) -> str:
    """Return the name to store. Classes that no other process can find are allowed, and restored as `RemoteError`."""
    try:
        return registry.name_of(cls)
    except NotSerializable:
        if "<" in cls.__qualname__:
            return natural_name(cls)
        return f"{cls.__module__}:<nameless>.{cls.__qualname__}"  # a name that finds no class: not even a namesake


def take_apart(error: BaseException, name: str, write: Callable[[Any, int], Any], depth: int, *, traces: bool) -> Any:
    """Return *error* as plain data. Parts that cannot be encoded, or are too large, are replaced by their text."""
    if depth >= MAX_DEPTH:
        raise too_deep()
    chain: list[int] = _open.__dict__.setdefault("chain", [])
    if id(error) in chain or len(chain) >= MAX_CAUSES:
        raise Refusal("an exception that contains itself, or too many others. Fix: none needed, its text is stored")
    if not chain:
        _open.contexts = 0
    chain.append(id(error))
    try:
        return {"$exc": _parts(error, name, _Budget(write, depth + 1), traces)}
    finally:
        chain.pop()


class _Budget:
    """Writes the parts of one exception, within its size."""

    def __init__(self, write: Callable[[Any, int], Any], depth: int) -> None:
        self._write = write
        self._depth = depth
        self._left = MAX_PARTS

    def part(self, value: Any) -> Any:
        """Return *value* as plain data, its text where that is impossible or too large."""
        try:
            plain = self._write(value, self._depth)
            # Exceptions inside (groups) are cut one by one; anything else counts by its text.
            size = 0 if isinstance(plain, dict) and "$exc" in plain else len(json.dumps(plain))
        except (Refusal, RecursionError):
            plain, size = safe_repr(value), MAX_TEXT
        if size > MAX_TEXT and not _holds_exceptions(value):
            plain = (value if type(value) is str else safe_repr(value))[:MAX_TEXT]
        size = min(size, MAX_TEXT)
        if size > self._left:
            return "<left out: the exception is too large>"
        self._left -= size
        return plain

    def cause(self, error: BaseException) -> Any:
        """Return a cause as plain data, None where the chain is too long or turns back on itself."""
        try:
            return self._write(error, self._depth)
        except (Refusal, RecursionError):
            return None

    def context(self, error: BaseException | None) -> Any:
        """Return the exception that was being handled as plain data; None beyond `MAX_CAUSES` of them in one value."""
        if error is None or _open.__dict__.setdefault("contexts", 0) >= MAX_CAUSES:
            return None
        _open.contexts += 1
        return self.cause(error)


def _parts(error: BaseException, name: str, budget: _Budget, traces: bool) -> dict[str, Any]:
    # The descriptors of BaseException, because a class may hide them behind properties of its own.
    args = vars(BaseException)["args"].__get__(error)
    cause = vars(BaseException)["__cause__"].__get__(error)
    found: dict[str, Any] = {"type": name, "args": [budget.part(arg) for arg in args], "text": safe_text(error)}
    state = _state(error)
    trace = state.pop(_TRACE, None)
    state.pop(KEPT_TEXT, None)
    same = [key for key, value in state.items() if cause is not None and value is cause]
    kept = {key: budget.part(value) for key, value in state.items() if key not in same}
    if kept:
        found["state"] = kept
    if same:
        found["same"] = same
    native = {
        key: vars(cls)[key].__get__(error)
        for cls, keys in _NATIVE.items()
        if issubclass(type(error), cls)
        for key in keys
    }
    native = {key: budget.part(value) for key, value in native.items() if value is not None}
    if native:
        found["native"] = native
    written = budget.cause(cause) if cause is not None else None
    if written is not None:
        found["cause"] = written
    if traces:  # in digests, neither: those of 0.1 knew of no context
        context = vars(BaseException)["__context__"].__get__(error)
        written = True if context is not None and context is cause else budget.context(context)
        if written is not None:
            found["context"] = written
        if cause is None and vars(BaseException)["__suppress_context__"].__get__(error):
            found["suppress"] = True
        trace = trace if isinstance(trace, str) else trace_of(error)
        if trace:
            found["trace"] = trace[-MAX_TEXT:]
    return found


def _state(error: BaseException) -> dict[str, Any]:
    """Return the instance's `__dict__` and slots (attrs exceptions have some)."""
    state = {key: value for key, value in _space(error).items() if type(key) is str and key != "__orig_class__"}
    for slot in copyreg._slotnames(type(error)):  # type: ignore[attr-defined]
        if slot not in state:
            # A slot may be empty, and a class may hide it behind a `__getattribute__` that raises anything.
            with contextlib.suppress(BaseException):
                state[slot] = object.__getattribute__(error, slot)
    return state


def _space(error: BaseException) -> dict[str, Any]:
    space: dict[str, Any] = vars(BaseException)["__dict__"].__get__(error)
    return space


def _holds_exceptions(value: Any) -> bool:
    return type(value) in (list, tuple) and 0 < len(value) <= 20 and all(isinstance(v, BaseException) for v in value)


def put_together(parts: Any, registry: Registry, read: Callable[[Any], Any]) -> BaseException:
    """Return the exception of *parts*; a `RemoteError` if its class is not known."""
    if type(parts) is not dict or type(parts.get("args", [])) is not list:
        raise Undecodable("a stored exception is damaged. Fix: restore the stored text")
    cls = registry.find_exception(parts.get("type"))
    args = tuple([read(arg) for arg in parts.get("args", ())])
    state = {key: read(value) for key, value in _dict(parts.get("state")).items()}
    native = {key: read(value) for key, value in _dict(parts.get("native")).items()}
    cause = read(parts["cause"]) if parts.get("cause") is not None else None
    error = _new(cls, args) if cls is not None else None
    if error is None:
        error = RemoteError(str(parts.get("type"))[:MAX_TEXT], str(parts.get("text", ""))[:MAX_TEXT])
    else:
        same = [key for key in _list(parts.get("same")) if type(key) is str]
        if isinstance(error, _WITH_CAUSE) and "cause" not in state:
            same.append("cause")
        _set_state(error, state | dict.fromkeys(same, cause))
        _set_native(error, native)
    about = parts.get("context")
    context = cause if about is True else None if about is None else read(about)
    # By descriptors, because a class may hide attributes behind properties of its own.
    if issubclass(type(context), BaseException):
        vars(BaseException)["__context__"].__set__(error, context)
    if issubclass(type(cause), BaseException):
        vars(BaseException)["__cause__"].__set__(error, cause)
    elif parts.get("suppress") is True:
        vars(BaseException)["__suppress_context__"].__set__(error, True)
    trace, text = parts.get("trace"), parts.get("text")
    if type(trace) is str:
        _space(error)[_TRACE] = trace
    if type(text) is str and type(error) is not RemoteError and safe_text(error) != text:
        _space(error)[KEPT_TEXT] = text  # its own text has changed, or cannot be read
    return error


def _new(cls: type[BaseException], args: tuple[Any, ...]) -> BaseException | None:
    """Return an instance made by the nearest builtin's own `__new__` and `__init__`; None if that is impossible."""
    builtin: Any = next(base for base in cls.__mro__ if vars(builtins).get(base.__name__) is base)
    error: BaseException
    try:
        error = builtin.__new__(cls, *args)
        builtin.__init__(error, *args)
    except Exception:  # its builtin base wants other arguments: keep them as `args` alone
        try:
            error = builtin.__new__(cls)
        except Exception:  # a group of text, a class of C with a layout of its own
            return None
        vars(BaseException)["args"].__set__(error, args)
    return error if type(error) is cls else None


def _set_state(error: BaseException, state: dict[str, Any]) -> None:
    slots = copyreg._slotnames(type(error))  # type: ignore[attr-defined]
    for key, value in state.items():
        if key == "__notes__":
            if type(value) is list:
                _space(error)[key] = [note for note in value if type(note) is str]
        elif key.startswith("__") or key in (_TRACE, KEPT_TEXT):
            continue  # nothing that Python itself looks at
        elif key in slots:
            object.__setattr__(error, key, value)
        else:
            _space(error)[key] = value


def _set_native(error: BaseException, native: dict[str, Any]) -> None:
    for cls, keys in _NATIVE.items():
        if isinstance(error, cls):
            for key in keys:
                if key in native:
                    vars(cls)[key].__set__(error, native[key])


def _dict(value: Any) -> dict[str, Any]:
    return value if type(value) is dict else {}


def _list(value: Any) -> list[Any]:
    return value if type(value) is list else []


def trace_of(error: BaseException) -> str:
    """Return the traceback's text (frames only, innermost last), without local values."""
    frames = vars(BaseException)["__traceback__"].__get__(error)
    return "" if frames is None else "".join(traceback.format_tb(frames))[-MAX_TEXT:]


def safe_text(value: Any) -> str:
    """Return `str(value)`, cut; its class's name if that fails."""
    try:
        text = text_of(value) if issubclass(type(value), BaseException) else "".join(str(value))
        return _without_address(text[:MAX_TEXT])
    except BaseException:  # a user's __str__ may raise anything
        return f"<{type(value).__name__}>"


def safe_repr(value: Any) -> str:
    """Return `repr(value)`, cut; its class's name if that fails."""
    try:
        return _without_address("".join(repr(value))[:MAX_TEXT])
    except BaseException:  # a user's __repr__ may raise anything
        return f"<{type(value).__name__}>"


def _without_address(text: str) -> str:
    """Return *text* without memory addresses, which would make digests differ between processes."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", text)
