"""World around each run of a check: hooks before and after it, and the effects of its step bodies."""

from __future__ import annotations

import contextlib
import inspect
import random
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from replay.testing.simulation.effects import EffectWatch, Ledger


@attrs.frozen
class World:
    """Arguments `effects`, `setup`, `check` and `teardown` of the checks.

    Attributes:
        effects: A `Ledger`; True: watch what bodies change; False: nothing.
        setup: Called before each run.
        check: Called with the handle after each run. It fails by raising `AssertionError` or returning False.
        teardown: Called at the end of each run.
    """

    effects: Ledger | bool = True
    setup: Callable[..., Any] | None = None
    check: Callable[..., Any] | None = None
    teardown: Callable[..., Any] | None = None

    @contextlib.contextmanager
    def run(self) -> Iterator[EffectWatch | None]:
        """Enclose one run; gives the watch for its simulation. The global random generator is afterwards as it was before."""
        ledger = self.effects if isinstance(self.effects, Ledger) else None
        if ledger is not None:
            ledger.clear()
        with _chance_restored():
            if self.setup is not None:
                self.setup()
            try:
                yield EffectWatch(ledger) if self.effects is not False else None
            finally:
                if self.teardown is not None:
                    self.teardown()

    def problem(self, handle: Any) -> str | None:
        """Call `check`; return its complaint, None if it has none."""
        if self.check is None:
            return None
        try:
            answer = self.check(handle) if _takes_one(self.check) else self.check()
        except AssertionError as error:
            return f"check={_name(self.check)} fails: {_said(error)}"
        return f"check={_name(self.check)} returns False" if answer is False else None


@contextlib.contextmanager
def _chance_restored() -> Iterator[None]:
    """Restore the global random generator at the end.

    Bodies, hooks and threads of the test's process may use it. Hypothesis refuses strategies that leave it changed, and a run is
    one: without this a scenario would fail by chance.
    """
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)


def seed_chance(seed: int) -> None:
    """Seed the global random generator for one run, so that real bodies draw the same in a repetition."""
    random.seed(f"run {seed}")  # no number: those are the seeds of shifted environments, which must differ


def _takes_one(fn: Callable[..., Any]) -> bool:
    try:
        inspect.signature(fn).bind(None)
    except TypeError:
        return False
    except ValueError:  # a built-in function has no signature
        return True
    return True


def _name(fn: Callable[..., Any]) -> str:
    return getattr(fn, "__name__", repr(fn))


def _said(error: AssertionError) -> str:
    """Return the error's text, or the line that raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    return str(error) or (f"{frames[-1].filename}:{frames[-1].lineno}: {frames[-1].line}" if frames else "assert")
