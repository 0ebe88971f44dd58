"""OpenTelemetry spans and metrics, made from committed entries: never during replay, and never twice.

Needs the extra `otel`, and a tracer or meter provider that the application has set up. All spans of an execution belong to one
trace, in whatever processes it ran: the trace's id is derived from the execution's.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from replay.core import entries as e
from replay.core.errors import describe_error, text_of
from replay.logs import get_logger
from replay.observability.observers import Observable
from replay.observability.step_context import prepare_steps

if TYPE_CHECKING:
    from replay.core.effects import Call
    from replay.core.requests import Header

log = get_logger("replay.engine")


def instrument(engine: Observable, *, tracer_provider: Any = None, meter_provider: Any = None) -> None:
    """Report spans and metrics of *engine*'s worker. An engine with a global provider does this by itself.

    Each engine is reported once: a call takes the place of that automatism, and a second call is ignored, with a warning.
    A step's span is current in its body.

    Spans: `step ID` for each attempt of a step (attempt, outcome), below `execution` for each that ended here (by an
    operator, too). Metrics: `replay.steps` and `replay.executions` (counters by outcome and workflow),
    `replay.step.duration` (histogram, seconds).

    Raises:
        ImportError: The OpenTelemetry API is not installed.
    """
    _instrument(engine, _Reporter(tracer_provider, meter_provider), automatic=False)


def instrument_if_configured(engine: Observable) -> None:
    """Call `instrument` if the API is installed and the application has set up a provider."""
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.trace") is None:
        return
    from opentelemetry import metrics, trace

    providers = (trace.get_tracer_provider(), metrics.get_meter_provider())
    if any(not type(provider).__name__.startswith(("Proxy", "_Proxy", "NoOp", "Default")) for provider in providers):
        _instrument(engine, _Reporter(None, None), automatic=True)


_instrumented: WeakKeyDictionary[Observable, tuple[Callable[[], None], bool]] = WeakKeyDictionary()
"""The reporter of each engine: the function that removes it, and whether the engine made it by itself."""


def _instrument(engine: Observable, reporter: _Reporter, *, automatic: bool) -> None:
    remove, by_itself = _instrumented.get(engine, (None, True))
    if remove is not None and (automatic or not by_itself):
        if not automatic:
            log.warning("instrument: this engine is instrumented already. Fix: call it once for each engine")
        return
    if remove is not None:
        remove()
    _instrumented[engine] = (engine.observe(reporter), automatic)
    prepare_steps(_make_span_current)


def _make_span_current(call: Call) -> None:
    """Make the span that the reporter will write for this attempt the current one of its body."""
    from opentelemetry import context, trace

    trace_id, _ = _derived(call.execution_id)
    span = trace.SpanContext(trace_id, _span_of(call.execution_id, call.id, call.attempt), False, trace.TraceFlags(1))
    context.attach(trace.set_span_in_context(trace.NonRecordingSpan(span)))


class _Reporter:
    def __init__(self, tracer_provider: Any, meter_provider: Any) -> None:
        from opentelemetry import metrics, trace

        self._trace = trace
        self._tracer = trace.get_tracer("replay", tracer_provider=tracer_provider)
        self._ids = _Ids.of(self._tracer)
        meter = metrics.get_meter("replay", meter_provider=meter_provider)
        self._steps = meter.create_counter("replay.steps", description="Steps that came back, by outcome")
        self._executions = meter.create_counter("replay.executions", description="Executions that ended, by status")
        self._seconds = meter.create_histogram("replay.step.duration", unit="s", description="Time a step body took")

    def __call__(self, header: Header, entry: e.Fact) -> None:
        match entry:
            case e.StepDone():
                self._step(header, entry, entry.seconds, entry.attempts, "completed")
            case e.StepFailed():
                self._step(header, entry, entry.seconds, entry.attempts, "failed", entry.error)
            case e.StepRetried():
                self._step(header, entry, entry.seconds, entry.attempt, "retried", entry.error)
            case e.ExecutionClosed():
                self._executions.add(1, {"status": entry.status, "workflow": header.workflow})
                self._execution(header, entry)
            case _:
                pass

    def _step(
        self, header: Header, entry: e.Fact, seconds: float, attempt: int, outcome: str, error: Any = None
    ) -> None:
        labels = {"outcome": outcome, "workflow": header.workflow}
        self._steps.add(1, labels)
        self._seconds.record(seconds, labels)
        facts = {"replay.step_id": entry.id, "replay.attempt": attempt, "replay.outcome": outcome}
        with self._ids_of(header.id, entry.id, attempt):
            span = self._start(header, f"step {entry.id}", entry.at - seconds, facts, self._parent(header))
        if error is not None:
            span.set_status(self._trace.Status(self._trace.StatusCode.ERROR, describe_error(error)))
            span.add_event("exception", _exception_fields(error))
        span.end(end_time=int(entry.at * 1e9))

    def _ids_of(self, execution_id: str, step_id: str, attempt: int) -> contextlib.AbstractContextManager[None]:
        """Give the step's span the id that was current in its body."""
        if self._ids is None:
            return contextlib.nullcontext()
        return self._ids.next(_derived(execution_id)[0], _span_of(execution_id, step_id, attempt))

    def _execution(self, header: Header, entry: e.ExecutionClosed) -> None:
        facts = {"replay.status": entry.status}
        if self._ids is None:
            span = self._start(header, "execution", header.created_at, facts, self._parent(header))
        else:
            root = self._trace.set_span_in_context(self._trace.INVALID_SPAN)
            with self._ids.next(*_derived(header.id)):
                span = self._start(header, "execution", header.created_at, facts, root)
        span.end(end_time=int(entry.at * 1e9))

    def _parent(self, header: Header) -> Any:
        trace = self._trace
        parent = trace.SpanContext(*_derived(header.id), is_remote=True, trace_flags=trace.TraceFlags(1))
        return trace.set_span_in_context(trace.NonRecordingSpan(parent))

    def _start(self, header: Header, name: str, start: float, facts: dict[str, Any], context: Any) -> Any:
        facts = {"replay.execution_id": header.id, "replay.workflow": header.workflow, **facts}
        return self._tracer.start_span(name, context=context, start_time=int(start * 1e9), attributes=facts)


def _exception_fields(error: object) -> dict[str, str]:
    """Return the fields of the conventional event `exception`. The SDK's own reader stops at a text that raises."""
    known = issubclass(type(error), BaseException)
    message = text_of(error) if known else describe_error(error)  # type: ignore[arg-type]  # checked by its class
    return {"exception.type": f"{type(error).__module__}.{type(error).__qualname__}", "exception.message": message}


def _derived(execution_id: str) -> tuple[int, int]:
    """Return the ids of an execution's trace and of its own span. Steps refer to that span before it exists, in any process."""
    digest = hashlib.blake2b(execution_id.encode(), digest_size=24).digest()
    return int.from_bytes(digest[:16]), int.from_bytes(digest[16:])


def _span_of(execution_id: str, step_id: str, attempt: int) -> int:
    """Return the id of the span of one attempt of a step."""
    digest = hashlib.blake2b(f"{execution_id}\0{step_id}\0{attempt}".encode(), digest_size=8).digest()
    return int.from_bytes(digest) or 1


class _Ids:
    """Generates the ids of our tracer's spans as the SDK does, unless ids are given."""

    def __init__(self, real: Any) -> None:
        self._real = real
        self._given = threading.local()

    @classmethod
    def of(cls, tracer: Any) -> _Ids | None:
        """Replace the tracer's own generator. Return None for a tracer without one (it is an attribute of the SDK's)."""
        real = getattr(tracer, "id_generator", None)
        if real is None:
            return None
        tracer.id_generator = found = cls(real)
        return found

    @contextlib.contextmanager
    def next(self, trace_id: int, span_id: int) -> Iterator[None]:
        """Give these ids to the span that this thread starts in the block."""
        self._given.ids = (trace_id, span_id)
        try:
            yield
        finally:
            del self._given.ids

    def generate_trace_id(self) -> int:
        """See the SDK's `IdGenerator`."""
        given = getattr(self._given, "ids", None)
        return given[0] if given is not None else int(self._real.generate_trace_id())

    def generate_span_id(self) -> int:
        """See the SDK's `IdGenerator`."""
        given = getattr(self._given, "ids", None)
        return given[1] if given is not None else int(self._real.generate_span_id())

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)  # for attributes of later SDKs
