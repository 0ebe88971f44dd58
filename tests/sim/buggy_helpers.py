"""Helpers of the buggy workflows, in a module of their own."""

from __future__ import annotations

import time


def is_open() -> bool:
    return time.time() % 2 < 1
