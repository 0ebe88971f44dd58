"""Side-by-side view of a log that does not fit the code: the entries, and the lines around the yield."""

from __future__ import annotations

import json
import linecache

from replay.client.histories import Recorded
from replay.core.errors import NonDeterminism

AROUND = 3
"""Entries and lines shown on either side of the difference."""

COLUMN = 48
"""Width of the left column, in characters."""


def side_by_side(recorded: Recorded, error: NonDeterminism) -> str:
    """Return the entries around the difference, beside the code's commands."""
    lines = [f"        {'the log has':<{COLUMN}} the code"]
    for index in range(max(0, error.index - AROUND), min(len(recorded.rows), error.index + AROUND + 1)):
        said = "does the same" if index < error.index else ""
        if index == error.index:
            said = f"yields {error.attempted}"
        lines.append(
            f"{'>' if index == error.index else ' '}{index:>6} {_entry(recorded.rows[index]):<{COLUMN}} {said}".rstrip()
        )
    path, _, line = error.location.rpartition(":")
    if path and line.isdigit():
        lines += ["", f"  {error.location}", *_source(path, int(line))]
    return "\n".join(lines)


def _entry(row: bytes) -> str:
    kind, _, fiber, id, *_ = json.loads(row)  # payloads are not decoded
    return f"{kind} {id}{f' (member {fiber})' if fiber else ''}"[:COLUMN].rstrip()


def _source(path: str, line: int) -> list[str]:
    around = range(max(1, line - AROUND), line + AROUND)
    found = [(number, linecache.getline(path, number).rstrip("\n")) for number in around]
    return [f"{'>' if number == line else ' '}{number:>6} {text}" for number, text in found if text or number == line]
