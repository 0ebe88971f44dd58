"""Prove your own workflows: a simulated cluster, exhaustive crash and replay checks, drawn scenarios."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from replay.core.effects import Call
from replay.testing.checks.golden import assert_replays
from replay.testing.checks.recovery import assert_recovers, assert_replay_equivalent
from replay.testing.checks.sweep import Seed, try_seeds
from replay.testing.simulation.clock import VirtualClock
from replay.testing.simulation.effects import Effect, Ledger
from replay.testing.simulation.faults import CrashPoint, Faults
from replay.testing.simulation.simulation import SimHandle, Simulation
from replay.testing.simulation.stubs import REAL, calls, fails, hangs, returns, stub, takes
from replay.testing.step_environment import StepEnvironment, step_environment

if TYPE_CHECKING:
    from replay.testing.contracts import BusContract, QueueContract, StoreContract
    from replay.testing.contracts.agreement import store_agreement
    from replay.testing.profiles import load_profile
    from replay.testing.scenario.machine import WorkflowMachine
    from replay.testing.scenario.strategy import Run, histories, plan, run_plan, scenarios
    from replay.testing.scenario.targets import aim_for

__all__ = [
    "REAL",
    "BusContract",
    "Call",
    "CrashPoint",
    "Effect",
    "Faults",
    "Ledger",
    "QueueContract",
    "Run",
    "Seed",
    "SimHandle",
    "Simulation",
    "StepEnvironment",
    "StoreContract",
    "VirtualClock",
    "WorkflowMachine",
    "aim_for",
    "assert_recovers",
    "assert_replay_equivalent",
    "assert_replays",
    "calls",
    "fails",
    "hangs",
    "histories",
    "load_profile",
    "plan",
    "returns",
    "run_plan",
    "scenarios",
    "step_environment",
    "store_agreement",
    "stub",
    "takes",
    "try_seeds",
]

_LAZY = {
    "BusContract": "contracts",
    "QueueContract": "contracts",
    "Run": "scenario.strategy",
    "StoreContract": "contracts",
    "WorkflowMachine": "scenario.machine",
    "aim_for": "scenario.targets",
    "histories": "scenario.strategy",
    "load_profile": "profiles",
    "plan": "scenario.strategy",
    "run_plan": "scenario.strategy",
    "scenarios": "scenario.strategy",
    "store_agreement": "contracts.agreement",
}


def __getattr__(name: str) -> Any:
    """Import names that need Hypothesis or pytest at their first use."""
    if name in _LAZY:
        from importlib import import_module

        return getattr(import_module(f"replay.testing.{_LAZY[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
