"""Shifted environments: hidden inputs of a workflow differ there, so that a replay that reads one diverges.

Shifted are the clocks of `time` and `datetime` wherever modules of the workflow's package hold them, the global random
generator, and the environment (empty in a cold replay). `uuid.uuid4`, `secrets` and `os.urandom` differ by themselves.

Not shifted are clocks read by other packages, clocks in closures and defaults, the file system, and the order of sets. The
order of sets is fixed within one process: `replay lint` finds it, or `replay check` on histories from another process.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import os
import random
import sys
import time
import types
from collections.abc import Callable, Iterator
from typing import Any

from replay.definition import Workflow, top_level_packages

SHIFT = 36.7 * 86_400.0 + 1.37
"""Seconds between two environments: it changes the day, hour, minute and fraction, so that no rounding hides it."""

_COUNTERS = ("time", "monotonic", "perf_counter", "time_ns", "monotonic_ns", "perf_counter_ns")
_CALENDAR = ("gmtime", "localtime", "ctime")
_REAL: dict[str, Callable[..., Any]] = {name: getattr(time, name) for name in (*_COUNTERS, *_CALENDAR)}


@contextlib.contextmanager
def shifted_environment(
    number: int, workflow: Workflow[Any, Any] | None = None, *, bare: bool = False
) -> Iterator[None]:
    """Shift clocks and `random` by *number*, in the modules of *workflow*, too; *bare* also clears `os.environ`."""
    clocks = _clocks(SHIFT * number)
    with contextlib.ExitStack() as back:
        for name in _REAL:
            back.callback(setattr, time, name, getattr(time, name))
            setattr(time, name, clocks[_REAL[name]])
        for module, name, real in _held(workflow, len(sys.modules)) if workflow is not None else ():
            if module.get(name) is real:
                back.callback(module.__setitem__, name, real)
                module[name] = clocks[real]
        if bare:
            environment = dict(os.environ)
            back.callback(os.environ.update, environment)
            os.environ.clear()
        back.callback(random.setstate, random.getstate())
        random.seed(number)
        yield


@functools.lru_cache(maxsize=64)
def _held(workflow: Workflow[Any, Any], modules: int) -> list[tuple[dict[str, Any], str, Any]]:
    """Return each clock held by a module of the workflow's package: namespace, name, clock.

    *modules* is the number of loaded modules: a new import invalidates the cached answer.
    """
    clocks = set(_clocks(0.0))
    held = []
    for top in top_level_packages([workflow]):
        for name, module in list(sys.modules.items()):
            if (name != top and not name.startswith(f"{top}.")) or name.partition(".")[0] == "replay":
                continue
            for key, value in list(vars(module).items()):
                if isinstance(value, types.BuiltinFunctionType | types.ModuleType | type) and value in clocks:
                    held.append((vars(module), key, value))
    return held


def _clocks(shift: float) -> dict[Any, Any]:
    """Return a replacement for each clock, *shift* seconds ahead."""

    def counter(name: str) -> Callable[[], float]:
        offset = int(shift * 1e9) if name.endswith("_ns") else shift
        return lambda: _REAL[name]() + offset

    def calendar(name: str) -> Callable[..., Any]:
        return lambda seconds=None: _REAL[name](_REAL["time"]() + shift if seconds is None else seconds)

    clocks: dict[Any, Any] = {_REAL[name]: counter(name) for name in _COUNTERS}
    clocks |= {_REAL[name]: calendar(name) for name in _CALENDAR}
    clocks[dt.datetime] = _shifted(dt.datetime, shift)
    clocks[dt.date] = _shifted(dt.date, shift)
    module = types.ModuleType("datetime")
    vars(module).update(vars(dt), datetime=clocks[dt.datetime], date=clocks[dt.date])
    clocks[dt] = module
    return clocks


def _shifted(real: Any, shift: float) -> Any:
    """Return a class like `datetime` or `date` whose present is shifted. Its instances are real ones."""

    class Kind(type):
        def __instancecheck__(cls, instance: Any) -> bool:
            return isinstance(instance, real)

        def __subclasscheck__(cls, other: Any) -> bool:
            return issubclass(other, real)

        def __getattr__(cls, name: str) -> Any:
            return getattr(real, name)

    def new(cls: Any, *args: Any, **options: Any) -> Any:
        return real(*args, **options)

    later = dt.timedelta(seconds=shift)
    present: dict[str, Any] = {"__new__": new, "today": staticmethod(lambda: _today(real, later))}
    if real is dt.datetime:
        present["now"] = staticmethod(lambda tz=None: dt.datetime.now(tz) + later)
        present["utcnow"] = staticmethod(lambda: dt.datetime.now(dt.UTC).replace(tzinfo=None) + later)
    return Kind(real.__name__, (), present)


def _today(real: Any, later: dt.timedelta) -> Any:
    now = dt.datetime.now() + later
    return now if real is dt.datetime else now.date()
