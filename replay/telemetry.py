"""OpenTelemetry spans and metrics, made from entries as they are committed: so never during replay, and never twice.

Needs the extra `otel`, and a tracer or meter provider that the application has set up. All spans of an execution are of one
trace, whichever processes it ran in: the trace's id is derived from the execution's.
"""

from __future__ import annotations

import hashlib
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from replay.core import entries as e

if TYPE_CHECKING:
    from replay.engine import Engine


def instrument(engine: Engine, *, tracer_provider: Any = None, meter_provider: Any = None) -> None:
    """Have *engine*'s worker report spans and metrics; an engine does this by itself where providers are set up globally.

    Spans: `step ID` for each step that came back (attempts, outcome), `execution` for each that ended here. Metrics:
    `replay.steps` and `replay.executions` (counters by outcome), `replay.step.duration` (histogram, seconds).

    Raises:
        ImportError: The OpenTelemetry API is not installed.
    """
    engine.on_entry(_Reporter(tracer_provider, meter_provider))


def instrument_if_configured(engine: Engine) -> None:
    """As `instrument`, if the API is installed and the application has set up a provider."""
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.trace") is None:
        return
    from opentelemetry import metrics, trace

    providers = (trace.get_tracer_provider(), metrics.get_meter_provider())
    if any(not type(provider).__name__.startswith(("Proxy", "_Proxy", "NoOp", "Default")) for provider in providers):
        instrument(engine)


class _Reporter:
    def __init__(self, tracer_provider: Any, meter_provider: Any) -> None:
        from opentelemetry import metrics, trace

        self._trace = trace
        self._tracer = trace.get_tracer("replay", tracer_provider=tracer_provider)
        meter = metrics.get_meter("replay", meter_provider=meter_provider)
        self._steps = meter.create_counter("replay.steps", description="Steps that came back, by outcome")
        self._executions = meter.create_counter("replay.executions", description="Executions that ended, by status")
        self._seconds = meter.create_histogram("replay.step.duration", unit="s", description="Time a step body took")
        self._began: dict[str, float] = {}

    def __call__(self, execution_id: str, entry: e.Fact) -> None:
        match entry:
            case e.Began():
                self._began[execution_id] = entry.at
            case e.StepDone():
                self._step(execution_id, entry, entry.seconds, entry.attempts, "completed")
            case e.StepFailed():
                self._step(execution_id, entry, entry.seconds, entry.attempts, "failed", entry.error)
            case e.StepRetried():
                self._step(execution_id, entry, entry.seconds, entry.attempt, "retried", entry.error)
            case e.Ended():
                self._executions.add(1, {"status": entry.status})
                began = self._began.pop(execution_id, entry.at)
                self._span(execution_id, "execution", began, entry.at, {"replay.status": entry.status}, None)
            case _:
                pass

    def _step(self, id: str, entry: e.Fact, seconds: float, attempt: int, outcome: str, error: Any = None) -> None:
        self._steps.add(1, {"outcome": outcome})
        self._seconds.record(seconds, {"outcome": outcome})
        facts = {"replay.step_id": entry.id, "replay.attempt": attempt, "replay.outcome": outcome}
        self._span(id, f"step {entry.id}", entry.at - seconds, entry.at, facts, error)

    def _span(self, id: str, name: str, start: float, end: float, facts: dict[str, Any], error: Any) -> None:
        trace = self._trace
        digest = hashlib.blake2b(id.encode(), digest_size=24).digest()
        parent = trace.SpanContext(
            int.from_bytes(digest[:16]), int.from_bytes(digest[16:]), is_remote=True, trace_flags=trace.TraceFlags(1)
        )
        context = trace.set_span_in_context(trace.NonRecordingSpan(parent))
        facts = {"replay.execution_id": id, **facts}
        span = self._tracer.start_span(name, context=context, start_time=int(start * 1e9), attributes=facts)
        if error is not None:
            span.set_status(trace.Status(trace.StatusCode.ERROR, str(error)))
            if isinstance(error, BaseException):
                span.record_exception(error)
        span.end(end_time=int(end * 1e9))
