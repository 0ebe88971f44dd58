"""Coverage of a workflow's own code: the `yield`s that were reached, and those that were not."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from types import CodeType, FrameType
from typing import Any

from replay.core.commands import Command
from replay.describe import source

_PLUMBING = Command.__iter__.__code__


class Coverage:
    """The generator functions that were driven, with the places at which they were suspended.

    Args:
        module: The module that defines the workflow.
    """

    def __init__(self, module: str) -> None:
        self._modules = {module}
        self._reached: dict[CodeType, set[source.Place]] = {}

    def is_own(self, frame: FrameType) -> bool:
        """Tell whether *frame* is in a module of these generators, or beside one in its package."""
        module = str(frame.f_globals.get("__name__", ""))
        if module in self._modules:
            return True
        top = module.partition(".")[0]
        return top != "replay" and any(top == own.partition(".")[0] for own in self._modules)

    def is_raised(self, error: BaseException) -> bool:
        """Tell whether a `raise` in own code raised *error*, rather than a stand-in that does not fit."""
        trace, last = error.__traceback__, None
        while trace is not None:
            last, trace = trace, trace.tb_next
        return last is not None and self.is_own(last.tb_frame) and source.is_raise(last.tb_frame, last.tb_lasti)

    def line(self, error: BaseException) -> int:
        """Return the innermost line of own code that *error* came through, 0 if there is none."""
        line, trace = 0, error.__traceback__
        while trace is not None:
            line, trace = trace.tb_lineno if self.is_own(trace.tb_frame) else line, trace.tb_next
        return line

    def know(self, gen: Generator[Any, Any, Any]) -> None:
        """Count *gen*'s function as the workflow's."""
        code = getattr(gen, "gi_code", None)
        if code is not None and code is not _PLUMBING and code not in self._reached:
            self._reached[code] = set()
            frame = getattr(gen, "gi_frame", None)
            if frame is not None:
                self._modules.add(frame.f_globals.get("__name__", ""))

    def stack(self, active: Iterable[Generator[Any, Any, Any]]) -> Iterator[FrameType]:
        """Yield the suspended frames of *active* generators and of those that they delegate to, outermost first."""
        for gen in active:
            inner: Any = gen
            while (frame := getattr(inner, "gi_frame", None)) is not None:
                if inner.gi_code is not _PLUMBING:
                    self.know(inner)
                    yield frame
                inner = inner.gi_yieldfrom

    def reach(self, code: CodeType, place: source.Place) -> None:
        """Note that the `yield` at *place* was reached."""
        self._reached[code].add(place)

    def unreached(self) -> Iterator[str]:
        """Yield a message for each `yield` that was not reached."""
        for code, reached in self._reached.items():
            for place in source.yields(code):
                if place not in reached:
                    yield source.unreached(code, place)
