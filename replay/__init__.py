"""Durable workflows as plain Python generators, on a deterministic replay engine."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

from replay.core.errors import (
    Cancelled,
    CompensationFailed,
    ConfigError,
    ExecutionCancelled,
    ExecutionEnded,
    ExecutionFailed,
    Fenced,
    ForgottenYield,
    LogTooLong,
    MisuseError,
    NoBranchMatched,
    NonDeterminism,
    NotACommand,
    NotSerializable,
    OperatorRefused,
    PayloadTooLarge,
    RemoteError,
    ReplayError,
    ReservedId,
    ScheduleError,
    SignalRefused,
    StepFailed,
    StepInterrupted,
    StepTimeout,
    StoreUnavailable,
    Undecodable,
    UnknownExecution,
    UnknownSchedule,
    UnknownWorkflow,
    WrongExecution,
)
from replay.core.retry import Retry
from replay.definition import Event, Signal, Workflow, workflow
from replay.version import installed_version

if TYPE_CHECKING:
    from replay.async_engine import AsyncEngine, AsyncHandle
    from replay.client.handles import Handle, StartResult, WorkflowInfo
    from replay.client.operator import Operator, Stuck
    from replay.client.records import Detail, Execution, Page, Status, StepRecord, Tree, WaitingMessage
    from replay.codec import TaggedJson, UnknownValue, serializable
    from replay.codec.log_rows import Unreadable
    from replay.core.commands import Branch, Command, ContinueAsNew, Flow, RollbackReport
    from replay.core.context import Context
    from replay.core.outcomes import Completed, Err, Ok, Received, TimedOut, Winner
    from replay.engine import Engine
    from replay.scheduling.schedules import ScheduleRecord
    from replay.worker.log_fields import StepFields
    from replay.worker.steps import CurrentStep, current_step

    __version__: str

__all__ = [
    "AsyncEngine",
    "AsyncHandle",
    "Branch",
    "Cancelled",
    "Command",
    "CompensationFailed",
    "Completed",
    "ConfigError",
    "Context",
    "ContinueAsNew",
    "CurrentStep",
    "Detail",
    "Engine",
    "Err",
    "Event",
    "Execution",
    "ExecutionCancelled",
    "ExecutionEnded",
    "ExecutionFailed",
    "Fenced",
    "Flow",
    "ForgottenYield",
    "Handle",
    "LogTooLong",
    "MisuseError",
    "NoBranchMatched",
    "NonDeterminism",
    "NotACommand",
    "NotSerializable",
    "Ok",
    "Operator",
    "OperatorRefused",
    "Page",
    "PayloadTooLarge",
    "Received",
    "RemoteError",
    "ReplayError",
    "ReservedId",
    "Retry",
    "RollbackReport",
    "ScheduleError",
    "ScheduleRecord",
    "Signal",
    "SignalRefused",
    "StartResult",
    "Status",
    "StepFailed",
    "StepFields",
    "StepInterrupted",
    "StepRecord",
    "StepTimeout",
    "StoreUnavailable",
    "Stuck",
    "TaggedJson",
    "TimedOut",
    "Tree",
    "Undecodable",
    "UnknownExecution",
    "UnknownSchedule",
    "UnknownValue",
    "UnknownWorkflow",
    "Unreadable",
    "WaitingMessage",
    "Winner",
    "Workflow",
    "WorkflowInfo",
    "WrongExecution",
    "current_step",
    "serializable",
    "workflow",
]

_LAZY = {
    "AsyncEngine": "async_engine",
    "AsyncHandle": "async_engine",
    "Branch": "core.commands",
    "Command": "core.commands",
    "Completed": "core.outcomes",
    "Context": "core.context",
    "ContinueAsNew": "core.commands",
    "CurrentStep": "worker.steps",
    "Detail": "client.records",
    "Engine": "engine",
    "Err": "core.outcomes",
    "Execution": "client.records",
    "Flow": "core.commands",
    "Handle": "client.handles",
    "Ok": "core.outcomes",
    "Operator": "client.operator",
    "Page": "client.records",
    "Received": "core.outcomes",
    "RollbackReport": "core.commands",
    "ScheduleRecord": "scheduling.schedules",
    "Status": "client.records",
    "StepFields": "worker.log_fields",
    "StepRecord": "client.records",
    "Stuck": "client.operator",
    "TaggedJson": "codec",
    "TimedOut": "core.outcomes",
    "Tree": "client.records",
    "UnknownValue": "codec",
    "Unreadable": "codec.log_rows",
    "StartResult": "client.handles",
    "Winner": "core.outcomes",
    "WaitingMessage": "client.records",
    "WorkflowInfo": "client.handles",
    "current_step": "worker.steps",
    "serializable": "codec",
}
"""Names by module, loaded at their first use: `import replay` must be quick, for command lines too."""

_RENAMED = {"Waited": "StartResult"}
"""Deprecated names. Removed in 0.4."""


def __getattr__(name: str) -> Any:
    """Load a name of `_LAZY` or `_RENAMED`, or the installed version (PEP 562)."""
    if name == "__version__":
        return installed_version()
    if name in _RENAMED:
        text = f"replay.{name} is deprecated, and removed in 0.4. Fix: use replay.{_RENAMED[name]}"
        warnings.warn(text, DeprecationWarning, stacklevel=2)
        return __getattr__(_RENAMED[name])
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f"replay.{_LAZY[name]}"), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})
