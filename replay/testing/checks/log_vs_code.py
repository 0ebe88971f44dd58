"""A log that does not fit today's code, shown side by side: its entries around the place, and the code's lines around its yield."""

from __future__ import annotations

import json
import linecache

from replay.client.histories import Recorded
from replay.core.errors import NonDeterminism

AROUND = 3
"""Entries and lines shown before and after the place."""

COLUMN = 48
"""Characters of the left side."""


def side_by_side(recorded: Recorded, error: NonDeterminism) -> str:
    """Return the neighbouring entries of the log beside what the code does there."""
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
    kind, _, fiber, id, *_ = json.loads(row)  # the payloads are not looked at
    return f"{kind} {id}{f' (member {fiber})' if fiber else ''}"[:COLUMN].rstrip()


def _source(path: str, line: int) -> list[str]:
    around = range(max(1, line - AROUND), line + AROUND)
    found = [(number, linecache.getline(path, number).rstrip("\n")) for number in around]
    return [f"{'>' if number == line else ' '}{number:>6} {text}" for number, text in found if text or number == line]
