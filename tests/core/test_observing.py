"""Audit hooks and OpenTelemetry: each entry is told once, never during replay, and never disturbs an execution."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from replay import Context, Flow, Retry, StepFields, workflow
from replay.cli.process.logging import JsonFormatter
from replay.core import entries as e
from replay.observability.audit import audit
from replay.observability.telemetry import instrument
from replay.testing import REAL, CrashPoint, Simulation, fails


def body() -> str:
    return "done"


@workflow
def two_steps(ctx: Context) -> Iterator[Any]:
    yield ctx.step("first", body)
    yield ctx.sleep(60)
    yield ctx.step("flaky", body).retry(Retry(attempts=2, initial=5.0))


def talking() -> str:
    logging.getLogger("shop").warning("trying")
    raise ValueError("busy\nvery busy")


@workflow
def talks(ctx: Context) -> Iterator[Any]:
    yield ctx.step("flaky", talking).retry(Retry(attempts=2, initial=5.0))


def what(entry: e.Fact) -> Any:
    return type(entry), entry.id, entry.at


FLAKY = {"flaky": fails(ValueError("busy"), times=1, then="late")}


@pytest.mark.parametrize("crash", [None, 3, 5, 7])
def test_entries_are_told_in_order_and_never_twice(crash: int | None) -> None:
    told: list[Any] = []
    point = None if crash is None else CrashPoint(crash, before=False)
    with Simulation([two_steps], steps=FLAKY, cache_size=0, crash_at=point) as sim:
        sim.engine.on_entry(lambda id, entry: told.append(what(entry)))
        handle = sim.start(two_steps)
        assert sim.settle(handle)
        audit = [what(entry) for entry in sim.engine.detail(handle).audit]
    assert [entry for entry in audit if entry in told] == told, "in the log's order, each once"
    if crash is None:
        assert told == audit


def test_a_handler_that_raises_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def broken(id: str, entry: e.Fact) -> None:
        raise RuntimeError("no")

    with Simulation([two_steps], steps=FLAKY) as sim:
        remove = sim.engine.on_entry(broken)
        handle = sim.start(two_steps)
        assert sim.settle(handle)
        remove()
        assert handle.status() == "completed"
    assert "on_entry" in caplog.text


def test_spans_and_metrics_are_made_once_and_not_by_replay() -> None:
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    with Simulation([two_steps], steps=FLAKY, cache_size=0) as sim:
        instrument(sim.engine, tracer_provider=tracers, meter_provider=MeterProvider([reader]))
        handle = sim.start(two_steps)
        assert sim.settle(handle)
    found = spans.get_finished_spans()
    assert [span.name for span in found] == ["step first", "step flaky", "step flaky", "execution"]
    assert len({span.context.trace_id for span in found}) == 1, "one execution is one trace"
    assert [span.status.is_ok for span in found] == [True, False, True, True]
    metrics = reader.get_metrics_data()
    assert metrics is not None
    points = {
        (metric.name, *point.attributes.values()): getattr(point, "value", None)
        for metric in metrics.resource_metrics[0].scope_metrics[0].metrics
        for point in metric.data.data_points
    }
    assert points["replay.steps", "completed", "two_steps"] == 2
    assert points["replay.steps", "retried", "two_steps"] == 1
    assert points["replay.executions", "completed", "two_steps"] == 1
    *steps, whole = found
    assert whole.parent is None
    assert {span.parent.span_id for span in steps} == {whole.context.span_id}, "steps are below their execution"
    assert {span.attributes["replay.workflow"] for span in found} == {"two_steps"}


def test_the_span_of_a_step_is_current_in_its_body() -> None:
    spans, tracers = InMemorySpanExporter(), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    attempts: list[int] = []

    def body() -> None:
        with tracers.get_tracer("user").start_as_current_span("query"):
            attempts.append(1)
            if len(attempts) == 1:
                raise ValueError("once")

    @workflow
    def queries(ctx: Context) -> Flow[None]:
        yield ctx.step("load", body).retry(2)

    with Simulation([queries], steps={"load": REAL}) as sim:
        instrument(sim.engine, tracer_provider=tracers)
        handle = sim.start(queries)
        assert sim.settle(handle)
    found = spans.get_finished_spans()
    steps = [span for span in found if span.name == "step load"]
    queried = [span for span in found if span.name == "query"]
    assert [span.parent.span_id for span in queried] == [span.context.span_id for span in steps]
    assert len({span.context.trace_id for span in found}) == 1


def test_an_engine_is_instrumented_once(caplog: pytest.LogCaptureFixture) -> None:
    spans, tracers = InMemorySpanExporter(), TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    with Simulation([two_steps]) as sim:
        for _ in range(2):
            instrument(sim.engine, tracer_provider=tracers)
        assert "instrumented already" in caplog.text
        handle = sim.start(two_steps)
        assert sim.settle(handle)
    assert [span.name for span in spans.get_finished_spans()].count("execution") == 1


def test_what_an_operator_ends_is_told_too() -> None:
    spans = InMemorySpanExporter()
    tracers = TracerProvider()
    tracers.add_span_processor(SimpleSpanProcessor(spans))
    told: list[Any] = []
    with Simulation([two_steps]) as sim:
        instrument(sim.engine, tracer_provider=tracers)
        sim.engine.on_entry(lambda id, entry: told.append(what(entry)))
        handle = sim.start(two_steps)
        sim.run()
        sim.engine.operator.force_fail(handle, "enough")
        assert [what(entry) for entry in sim.engine.detail(handle).audit] == told
    (whole,) = [span for span in spans.get_finished_spans() if span.name == "execution"]
    assert whole.attributes is not None
    assert whole.attributes["replay.status"] == "failed"


def test_failures_of_steps_are_logged_with_fields_and_so_is_what_their_bodies_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    caplog.handler.addFilter(StepFields())
    with Simulation([talks]) as sim:
        handle = sim.start(talks)
        assert sim.settle(handle)
    fields = ("levelname", "execution_id", "workflow", "step", "attempt")
    found = [tuple(getattr(each, name, None) for name in fields) for each in caplog.records]
    assert found == [
        ("WARNING", handle.id, "talks", "flaky", 1), ("INFO", handle.id, "talks", "flaky", 1),
        ("WARNING", handle.id, "talks", "flaky", 2), ("WARNING", handle.id, "talks", "flaky", 2),
    ]  # fmt: skip
    lines = [each.getMessage() for each in caplog.records]
    assert lines[1].startswith(f"step 'flaky' of execution {handle.id!r} failed (attempt 1), again in ")
    assert lines[3] == f"step 'flaky' of execution {handle.id!r} failed after 2: ValueError: busy very busy"


def test_json_logs_tell_by_fields_who_did_what_to_what_and_why(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "replay.audit")
    audit("pause", "schedule", "nightly", by="ann", why="the bank is down")
    audit("delete", "execution", "o-1", by="bob")
    said = [json.loads(JsonFormatter().format(record)) for record in caplog.records]
    assert [(each["action"], each["by"], each["why"]) for each in said] == [
        ("pause", "ann", "the bank is down"),
        ("delete", "bob", ""),
    ]
    assert (said[0]["schedule_id"], said[1]["execution_id"]) == ("nightly", "o-1")
