"""Generators of the user's: closing them for good, and running a switch's branch."""

from __future__ import annotations

import inspect
from collections.abc import Generator
from typing import Any

from replay.core.commands import Command
from replay.core.copies import own
from replay.core.interrupts import ends_the_process

MAX_CLOSES = 1000
"""Yields in `finally` blocks after which a generator that is being closed is left alone."""


def close_generator(gen: Any) -> None:
    """Close *gen* and the generators to which it delegates, even if they yield in their `finally` blocks.

    Innermost first: a sub-generator that yields while its caller is closed would be left behind half closed. Each close
    takes it one yield nearer to its end.
    """
    for _ in range(MAX_CLOSES):
        inner = _innermost(gen)
        # User code that fails while closing ends its generator, too: there is nothing to save.
        try:
            inner.close()
        except BaseException as error:
            if ends_the_process(error):
                raise
        if inner is gen and gen.gi_frame is None:
            return


def _innermost(gen: Any) -> Any:
    while isinstance(inner := gen.gi_yieldfrom, Generator) and getattr(inner, "gi_frame", None) is not None:
        gen = inner
    return gen


def run_branch(run: Any, value: Any) -> Any:
    """Return the result of a `Branch.run`, which is a value, or a callable with or without a parameter for the switch's value."""
    if not callable(run) or isinstance(run, Command):
        return run
    code = getattr(run, "__code__", None)
    if code is None or hasattr(run, "__wrapped__"):
        takes = _required(run)
    else:
        takes = code.co_argcount - len(getattr(run, "__defaults__", None) or ())
        if getattr(run, "__self__", None) is not None:
            takes -= 1
    return run(own(value)) if takes >= 1 else run()


def _required(run: Any) -> int:
    """Return the number of required arguments of a partial, a callable object, a class or a wrapped function."""
    try:
        parameters = inspect.signature(run).parameters.values()
    except (TypeError, ValueError):  # some built-in functions have no signature
        return 0
    return sum(p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
