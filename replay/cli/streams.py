"""Standard streams: open, even if whoever started the command closed them, and able to write any text."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from pathlib import Path


def open_streams() -> None:
    """Open closed standard streams on the null device. Characters that an encoding lacks are written as escapes."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:  # else the next file that is opened, a store perhaps, would be taken for it
            os.open(os.devnull, os.O_RDWR)
    nowhere = Path(os.devnull)
    sys.stdin = sys.stdin or nowhere.open(encoding="utf-8")
    sys.stdout = sys.stdout or nowhere.open("w", encoding="utf-8")
    sys.stderr = sys.stderr or nowhere.open("w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(ValueError):  # it was written to and closed
                stream.reconfigure(errors="backslashreplace")
