"""Prove your own workflows: a simulated cluster, exhaustive crash and replay checks, drawn scenarios."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replay.testing.checks import assert_recovers, assert_replay_equivalent
from replay.testing.clock import VirtualClock
from replay.testing.faults import CrashPoint, Faults
from replay.testing.simulation import SimHandle, Simulation
from replay.testing.stubs import REAL, fails, hangs, returns, takes

if TYPE_CHECKING:
    from replay.testing.drawing import Run, scenarios

__all__ = [
    "REAL",
    "CrashPoint",
    "Faults",
    "Run",
    "SimHandle",
    "Simulation",
    "VirtualClock",
    "assert_recovers",
    "assert_replay_equivalent",
    "fails",
    "hangs",
    "returns",
    "scenarios",
    "takes",
]

_LAZY = {"scenarios": "drawing", "Run": "drawing"}


def __getattr__(name: str) -> Any:
    """Load what needs Hypothesis only when it is asked for."""
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(f"replay.testing.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
