"""Exceptions that end the process or the test, whatever code they meet."""

from __future__ import annotations

import threading

ENDS_A_TEST = ("hypothesis", "_pytest")
"""Packages whose exceptions steer a test (`skip`, `fail`, a draw without data)."""


def ends_the_process(error: BaseException) -> bool:
    """Tell whether *error* is a person's Ctrl-C or a test framework's own, and no failure of the code that it left.

    Both reach the main thread alone. There, simulations run; workers have threads of their own.
    """
    if isinstance(error, Exception) or threading.current_thread() is not threading.main_thread():
        return False
    cls = type(error)
    return issubclass(cls, KeyboardInterrupt) or cls.__module__.partition(".")[0] in ENDS_A_TEST
