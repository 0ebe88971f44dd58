"""Values that a command, an engine or a store cannot take are refused where they are given, with a remedy."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any

import pytest

from replay import Branch, Context, Engine, Event, NotSerializable, ReservedId, Retry, workflow
from replay.testing import Simulation
from tests.core.misuses import act, failing, helper, taker


def test_an_unserialisable_result_of_the_workflow_fails_it_with_the_path() -> None:
    @workflow
    def opaque(ctx: Context) -> Any:
        yield ctx.note("x")
        return {"a": [1, act]}

    assert ".a[1]" in str(failing(opaque))


@pytest.mark.parametrize("id", ["__x", "rollback:x", "", "x" * 201])
def test_reserved_and_impossible_ids_are_refused(id: str) -> None:
    @workflow
    def reserved(ctx: Context) -> Any:
        yield ctx.step(id, act)

    assert isinstance(failing(reserved), ReservedId)


def test_a_repeated_id_gets_a_number() -> None:
    @workflow
    def looping(ctx: Context) -> Any:
        for _ in range(3):
            yield ctx.step("ship", act)

    with Simulation([looping]) as sim:
        handle = sim.start(looping)
        sim.run()
        assert [step.id for step in sim.engine.detail(handle).steps] == ["ship", "ship#2", "ship#3"]


def test_a_payload_over_the_limit_is_refused_with_its_size() -> None:
    from replay import PayloadTooLarge

    @workflow
    def big(ctx: Context) -> Any:
        return (yield ctx.step("big", lambda: "x" * 2_000_000))

    error = failing(big)
    assert isinstance(error.cause, PayloadTooLarge)
    assert "2,000,002 bytes" in str(error)


def test_an_event_with_a_payload_of_another_type_is_refused_where_it_is_emitted() -> None:
    Shipped = Event("shipped", int)

    @workflow
    def emitting(ctx: Context) -> Any:
        yield ctx.emit(Shipped, "seven")  # type: ignore[arg-type]

    error = failing(emitting)
    assert isinstance(error, TypeError)
    assert "event 'shipped' carries int, not str ('seven')" in str(error)


@pytest.mark.parametrize(("key", "hint"), [(5, r"takes a text, not 5\. Fix:"), ("", r"is empty\. Fix:")])
def test_an_idempotency_key_that_tells_nothing_apart_is_refused_wherever_it_is_given(key: Any, hint: str) -> None:
    @workflow
    def child(ctx: Context) -> Any:
        yield ctx.note("x")

    @workflow
    def starting(ctx: Context) -> Any:
        yield ctx.start("child", child, idempotency_key=key)

    @workflow
    def waiting(ctx: Context) -> Any:
        yield ctx.child("child", child, idempotency_key=key)

    for definition in (starting, waiting):
        error = failing(definition)
        assert isinstance(error, TypeError | ValueError)
        assert re.search(f"idempotency_key {hint}", str(error))
    with Engine("memory://", workflows=[child]) as engine:
        with pytest.raises((TypeError, ValueError), match=f"idempotency_key {hint}"):
            engine.start(child, idempotency_key=key)
        handle = engine.start(child)
        with pytest.raises((TypeError, ValueError), match=f"dedupe_id {hint}"):
            engine.signal(handle, "go", dedupe_id=key)


def test_waiting_for_what_cannot_be_an_execution_is_refused_before_a_store_is_asked() -> None:
    @workflow
    def waiting(ctx: Context) -> Any:
        yield ctx.wait_for_execution(waiting, 5)  # type: ignore[arg-type]

    assert isinstance(failing(waiting), ReservedId)


@pytest.mark.parametrize(
    "metadata", [{"a": object()}, {"a": float("nan")}, {1: 2}, {"a": (1, 2)}, {"a": {"b": {3}}}, "team", ["team"]]
)
def test_metadata_that_json_would_change_or_cannot_hold_is_refused_wherever_it_is_given(metadata: Any) -> None:
    def definition(ctx: Context) -> Any:
        yield ctx.note("x")

    with pytest.raises(TypeError, match=r"metadata.* Fix:"):
        workflow(metadata=metadata)(definition)
    fine = workflow(metadata={"team": {"red": [1, 2.5, True, None]}})(definition)
    with Engine("memory://", workflows=[fine]) as engine:
        with pytest.raises(TypeError, match=r"metadata.* Fix:"):
            engine.start(fine, metadata=metadata)
        with pytest.raises(TypeError, match=r"metadata.* Fix:"):
            engine.find_executions(metadata=metadata)
        assert not engine.find_executions().items


def test_metadata_over_the_limit_is_refused_with_its_size() -> None:
    from replay import PayloadTooLarge

    @workflow
    def small(ctx: Context) -> Any:
        yield ctx.note("x")

    with Engine("memory://", workflows=[small], payload_limit=100) as engine:
        with pytest.raises(PayloadTooLarge, match="the metadata of 'small' takes 211 bytes"):
            engine.start(small, metadata={"text": "x" * 199})


def begun(ctx: Context) -> Any:
    found = helper(ctx)
    next(found)
    return found


@pytest.mark.parametrize(
    ("build", "hint"),
    [
        (lambda ctx: ctx.wait_for_signal(5), "ctx.wait_for_signal takes a Signal .or its id., not 5"),
        (lambda ctx: ctx.emit(5), "ctx.emit takes a Event .or its id., not 5"),
        (lambda ctx: ctx.switch("s", 1, [5]), "branches are Branch.id, match, run., not 5"),
        (lambda ctx: ctx.race([ctx.sleep(1)]), "ctx.race takes named members, or one mapping"),
        (lambda ctx: ctx.all(limit="2"), "must be a whole number, at least 1, not '2'"),
        (lambda ctx: ctx.map("m", act, [], limit=0), "must be a whole number, at least 1, not 0"),
        (lambda ctx: ctx.all([helper(ctx)] * 2), r"stands there twice. Fix: call helper\(...\) anew"),
        (lambda ctx: ctx.race(a=begun(ctx)), r"has begun already. Fix: call helper\(...\) anew"),
        (lambda ctx: ctx.race(), "ctx.race needs at least one member; an empty race would never end"),
        (lambda ctx: ctx.all(5), "ctx.all takes commands, generators, one iterable of them or one mapping, not 5"),
        (lambda ctx: ctx.switch("s", 1, [Branch("b", 1), Branch("b", 2)]), "branch ids must differ, not .'b', 'b'."),
        (
            lambda ctx: ctx.step("s", act).down(5),
            r"step 's': .down\(...\) takes a function of the step's result, not 5",
        ),
        (lambda ctx: ctx.step("s", act).retry(Retry(on=5)), "take exception classes, not 5"),
        (lambda ctx: ctx.child("c", act), "child 'c': pass a workflow .decorated with @workflow., not <function act"),
        (lambda ctx: ctx.child("c", taker, on_parent_close="stay"), "is 'cancel', 'abandon' or 'wait', not 'stay'"),
        (lambda ctx: ctx.sleep_until(datetime(2026, 1, 1)), "has no time zone. Fix: add tzinfo=timezone.utc"),
    ],
)
def test_what_a_command_cannot_take_is_refused_where_it_is_built(build: Any, hint: str) -> None:
    @workflow
    def wrong(ctx: Context) -> Any:
        return (yield build(ctx))

    error = failing(wrong)
    assert isinstance(error, TypeError | ValueError)
    assert re.search(hint, str(error))


def test_what_the_engine_cannot_take_is_refused_before_the_store_is_asked() -> None:
    from replay import PayloadTooLarge

    @workflow
    def small(ctx: Context) -> Any:
        yield ctx.note("x")

    with Engine("memory://", workflows=[small], payload_limit=100) as engine:
        handle = engine.start(small)
        for ask in (
            lambda: engine.signal(handle, 5),  # type: ignore[call-overload]
            lambda: engine.on(5, print),  # type: ignore[arg-type]
            lambda: engine.find_executions(workflow=5),  # type: ignore[arg-type]
            lambda: engine.count_executions(workflow=act),  # type: ignore[arg-type]
            lambda: engine.find_executions(limit="5"),  # type: ignore[arg-type]
        ):
            with pytest.raises((TypeError, ValueError), match=r"takes a|pass a workflow|limit is"):
                ask()
        with pytest.raises(PayloadTooLarge, match="the reason takes 202 bytes"):
            engine.cancel(handle, "x" * 200)


@pytest.mark.parametrize(
    "build",
    [
        lambda ctx: ctx.note("x", a=[1, act]),
        lambda ctx: ctx.emit("x", {"a": [1, act]}),
        lambda ctx: ctx.start("x", workflow("child")(helper), {"a": [1, act]}),
    ],
)
def test_an_unserialisable_value_of_a_command_is_refused_with_the_path_inside_it(build: Any) -> None:
    @workflow
    def opaque(ctx: Context) -> Any:
        yield build(ctx)

    error = failing(opaque)
    assert isinstance(error, NotSerializable)
    assert error.path == ".a[1]"


@pytest.mark.parametrize(
    "build",
    [
        lambda ctx: ctx.sleep(1, id=""),
        lambda ctx: ctx.sleep_until(1, id=""),
        lambda ctx: ctx.emit("e", id=""),
        lambda ctx: ctx.wait_for_signal("s", id=""),
        lambda ctx: ctx.all([ctx.sleep(1)], id=""),
        lambda ctx: ctx.step("s", act).timeout(0),
        lambda ctx: ctx.start("c", taker, timeout=0),
        lambda ctx: ctx.step("s", act).retry(Retry(initial=3600, cap=60)),
    ],
)
def test_an_empty_id_a_zero_timeout_and_a_cap_below_the_first_wait_are_refused(build: Any) -> None:
    @workflow
    def wrong(ctx: Context) -> Any:
        return (yield build(ctx))

    error = failing(wrong)
    assert isinstance(error, ValueError | ReservedId), error
    assert re.search(r"not allowed|more than 0 seconds|Fix: a cap of", str(error))


def test_a_first_wait_beyond_the_usual_cap_raises_the_cap() -> None:
    assert Retry(initial=3600).cap == 3600
    assert Retry().cap == 60


def test_a_change_id_may_hold_blanks() -> None:
    @workflow
    def changed(ctx: Context) -> Any:
        yield ctx.note("x")
        return ctx.patched("charge twice, refund once")

    with Simulation([changed]) as sim:
        handle = sim.start(changed)
        sim.run()
        assert handle.result() is True
