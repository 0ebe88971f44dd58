"""Prove your own workflows: a simulated cluster, exhaustive crash and replay checks, drawn scenarios."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replay.testing.checks import assert_recovers, assert_replay_equivalent
from replay.testing.clock import VirtualClock
from replay.testing.faults import CrashPoint, Faults
from replay.testing.golden import assert_replays, histories
from replay.testing.seeds import Seed, try_seeds
from replay.testing.simulation import SimHandle, Simulation
from replay.testing.stubs import REAL, fails, hangs, returns, takes

if TYPE_CHECKING:
    from replay.testing.contracts import BusContract, QueueContract, StoreContract
    from replay.testing.contracts.agreement import store_agreement
    from replay.testing.drawing import Run, run_plan, scenarios
    from replay.testing.machine import WorkflowMachine

__all__ = [
    "REAL",
    "BusContract",
    "CrashPoint",
    "Faults",
    "QueueContract",
    "Run",
    "Seed",
    "SimHandle",
    "Simulation",
    "StoreContract",
    "VirtualClock",
    "WorkflowMachine",
    "assert_recovers",
    "assert_replay_equivalent",
    "assert_replays",
    "fails",
    "hangs",
    "histories",
    "returns",
    "run_plan",
    "scenarios",
    "store_agreement",
    "takes",
    "try_seeds",
]

_LAZY = {
    "BusContract": "contracts",
    "QueueContract": "contracts",
    "Run": "drawing",
    "StoreContract": "contracts",
    "WorkflowMachine": "machine",
    "run_plan": "drawing",
    "scenarios": "drawing",
    "store_agreement": "contracts.agreement",
}


def __getattr__(name: str) -> Any:
    """Load what needs Hypothesis or pytest only when it is asked for."""
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(f"replay.testing.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
