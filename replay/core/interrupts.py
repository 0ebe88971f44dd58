"""Exceptions that end the process or the test, whatever code they meet."""

from __future__ import annotations

import threading

TEST_PACKAGES = ("hypothesis", "_pytest")
"""Packages whose exceptions steer a test (`assume`, `skip`, `fail`, a draw without data): no code of the user's failed."""


def ends_the_process(error: BaseException) -> bool:
    """Tell whether *error* is a person's Ctrl-C or a test framework's own, and no failure of the code that it left.

    Both reach the main thread alone. There, simulations run; workers have threads of their own.
    """
    if threading.current_thread() is not threading.main_thread():
        return False
    return issubclass(type(error), KeyboardInterrupt) or steers_a_test(error)


def steers_a_test(error: BaseException) -> bool:
    """Tell whether *error* comes from a test framework. A base tells it: pytest's `skip` and `fail` pose as builtins."""
    return any(cls.__module__.partition(".")[0] in TEST_PACKAGES for cls in type(error).__mro__)
