"""Loud misuse: each mistake has its own error, with a remedy, and loses nothing."""

from __future__ import annotations

import functools
import re
from datetime import datetime
from typing import Any, Optional, Protocol, TypedDict

import pytest

from replay import (
    Branch,
    ConfigError,
    Context,
    Engine,
    Event,
    ForgottenYield,
    NotACommand,
    NotSerializable,
    ReservedId,
    Retry,
    Signal,
    workflow,
)
from replay.core.entries import NoteAdded
from replay.testing import Simulation


def act(*args: Any) -> str:
    return "done"


def failing(definition: Any) -> Any:
    with Simulation([definition]) as sim:
        handle = sim.start(definition)
        sim.run()
        execution = sim.engine.get_execution(handle)
    assert execution.status == "failed", execution
    return execution.error


def test_a_command_on_a_line_of_its_own_is_a_forgotten_yield_that_names_its_line() -> None:
    @workflow
    def forgetful(ctx: Context) -> Any:
        ctx.step("lost", act)
        yield ctx.step("kept", act)

    error = failing(forgetful)
    assert isinstance(error, ForgottenYield)
    assert "'lost'" in str(error)
    assert f"line {forgetful.fn.__code__.co_firstlineno + 2}" in str(error)
    assert "Fix:" in str(error)


def test_a_command_built_right_before_the_return_is_a_forgotten_yield() -> None:
    @workflow
    def forgetful(ctx: Context) -> Any:
        yield ctx.step("kept", act)
        result = ctx.step("lost", act).retry(3)
        return str(result)

    assert isinstance(failing(forgetful), ForgottenYield)


def test_commands_that_are_built_first_and_yielded_later_are_fine() -> None:
    @workflow
    def orderly(ctx: Context) -> Any:
        steps = [ctx.step("s", act, n) for n in range(3)]
        extra = ctx.step("e", act).retry(2).timeout(5)
        for step in steps:
            yield step
        yield extra
        return (yield ctx.all(*[ctx.step("m", act), ctx.step("n", act).down(print)]))

    with Simulation([orderly]) as sim:
        handle = sim.start(orderly)
        sim.run()
        assert handle.result() == ("done", "done")


@pytest.mark.parametrize(
    ("value", "hint"), [(5, "not a command"), ([1], "ctx.all"), (None, "not a command"), ("x", "not a command")]
)
def test_yielding_something_else_names_the_line_and_the_remedy(value: Any, hint: str) -> None:
    @workflow
    def wrong(ctx: Context) -> Any:
        yield value

    error = failing(wrong)
    assert isinstance(error, NotACommand)
    assert hint in str(error)
    assert "test_misuse.py:" in str(error)


def test_yielding_a_helper_asks_for_yield_from() -> None:
    def helper(ctx: Context) -> Any:
        yield ctx.step("x", act)

    @workflow
    def yields(ctx: Context) -> Any:
        yield helper(ctx)

    @workflow
    def returns(ctx: Context) -> Any:
        yield ctx.note("x")
        return helper(ctx)

    for definition in (yields, returns):
        assert "yield from helper(...)" in str(failing(definition))


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


def test_a_workflow_that_catches_our_errors_for_ever_still_ends() -> None:
    @workflow
    def stubborn(ctx: Context) -> Any:
        while True:
            try:
                yield 5
            except NotACommand:
                pass

    assert isinstance(failing(stubborn), NotACommand)


def test_decorating_what_cannot_be_a_workflow_is_a_type_error_with_the_remedy() -> None:
    def plain(ctx: Context) -> int:
        return 1

    async def coroutine(ctx: Context) -> int:
        return 1

    async def generator(ctx: Context) -> Any:
        yield 1

    def many(ctx: Context, a: int, b: int) -> Any:
        yield

    for wrong, hint in (
        (plain, "never yields"),
        (coroutine, "async def"),
        (generator, "async def"),
        (many, "Fix: bundle"),
    ):
        with pytest.raises(TypeError, match=hint):
            workflow(wrong)  # type: ignore[call-overload]


def test_wrong_options_of_a_workflow_are_refused_at_import_with_the_remedy() -> None:
    def fine(ctx: Context) -> Any:
        yield ctx.note("x")

    for options, hint in (
        ({"signals": ["approved"]}, r"Fix: signals=\[Signal\('approved'\)\]"),
        ({"signals": "approved"}, r"Fix: signals=\[Signal\('approved'\)\]"),
        ({"signals": Signal("go")}, r"Fix: signals=\[Signal\(id='go'"),
        ({"signals": 3}, r"Fix: signals=\[Signal\(\.\.\.\)\]"),
    ):
        with pytest.raises(TypeError, match=hint):
            workflow(**options)(fine)  # type: ignore[arg-type]
    for key in ("", "with space"):
        with pytest.raises(ValueError, match="workflow key"):
            workflow(key)(fine)
    with pytest.raises(TypeError, match=r"not the partial .*Fix: write `def"):
        workflow(functools.partial(fine))
    with pytest.raises(TypeError, match=r"Fix: workflows=\[fine\]"):
        Engine("memory://", workflows=workflow(fine))  # type: ignore[arg-type]


def test_the_default_of_an_input_holds_when_there_is_none() -> None:
    @workflow(key="counting", retry=3)
    def counting(ctx: Context, n: int = 5) -> Any:
        yield ctx.note("n", text="texts and selves are data, too", n=n)
        return n

    with Simulation([counting]) as sim:
        handles = [sim.start(counting), sim.start(counting, 0)]
        sim.run()
        assert [handle.result() for handle in handles] == [5, 0]
        assert [entry.data["n"] for entry in sim.engine.detail(handles[0]).audit if isinstance(entry, NoteAdded)] == [5]


class Answer:
    def __init__(self, value: int) -> None:
        self.value = value

    def __call__(self, value: int) -> int:
        return self.value + value


def wrapped(fn: Any) -> Any:
    @functools.wraps(fn)
    def wrapper(*args: Any) -> Any:
        return fn(*args)

    return wrapper


@pytest.mark.parametrize(
    ("run", "result"),
    [
        (Answer(1), 4),
        (functools.partial(lambda a, b: a * b, 2), 6),
        (functools.partial(lambda a, b=1: a * b, 2), 2),
        (functools.partial(lambda a, *, b: a * b, b=2), 6),
        (wrapped(lambda value: value + 2), 5),
        (wrapped(lambda: 2), 2),
        (Answer(1).__call__, 4),
        (lambda: 7, 7),
        (dict, {}),
        ("plain", "plain"),
    ],
)
def test_a_branch_that_takes_the_value_gets_it_whatever_kind_of_callable_it_is(run: Any, result: Any) -> None:
    @workflow
    def switching(ctx: Context) -> Any:
        won = yield ctx.race(self=ctx.switch("s", 3, [Branch("three", 3, run)]))
        return won.value

    with Simulation([switching]) as sim:
        handle = sim.start(switching)
        sim.run()
        assert handle.result() == result


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


def test_a_new_beginning_that_is_not_returned_is_told_with_its_line() -> None:
    def sub_flow(ctx: Context) -> Any:
        yield ctx.note("x")
        return ctx.continue_as_new(1)

    @workflow
    def going_on(ctx: Context) -> Any:
        ctx.continue_as_new(1)
        yield ctx.note("x")

    @workflow
    def returning(ctx: Context) -> Any:
        yield ctx.note("x")
        ctx.continue_as_new(1)

    @workflow
    def dropping(ctx: Context) -> Any:
        return (yield ctx.all(sub_flow(ctx)))

    for definition, line in ((going_on, going_on), (returning, returning), (dropping, sub_flow)):
        error = failing(definition)
        assert isinstance(error, ForgottenYield)
        code = getattr(line, "fn", line).__code__
        assert any(f"line {code.co_firstlineno + n}" in str(error) for n in (2, 3))
        assert "Fix: write `return ctx.continue_as_new(...)`" in str(error)


def test_a_new_beginning_may_be_handed_up_and_things_tidied_before_it() -> None:
    def sub_flow(ctx: Context, n: int) -> Any:
        try:
            return ctx.continue_as_new(n - 1)
        finally:
            yield ctx.note("tidy")

    @workflow
    def handing_up(ctx: Context, n: int) -> Any:
        if n == 3:
            return (yield from sub_flow(ctx, n))
        if n == 2:
            return (yield ctx.switch("s", n, [Branch("two", 2, lambda n: sub_flow(ctx, n))]))
        if n == 1:
            again = ctx.continue_as_new(0)
            yield ctx.note("tidy")
            return again
        yield ctx.note("end")
        return "end"

    with Simulation([handing_up]) as sim:
        handle = sim.start(handing_up, 3)
        sim.run()
        assert handle.result() == "end"


def helper(ctx: Context) -> Any:
    yield ctx.note("x")


class Later:
    def __await__(self) -> Any:
        yield


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        (lambda ctx: ctx.continue_as_new(1), "Fix: write `return ctx.continue_as_new"),
        (lambda ctx: act, "act itself at .*`yield ctx.step.id, act, "),
        (lambda ctx: ctx.rollback, "yielded ctx.rollback itself at .*`yield ctx.rollback"),
        (lambda ctx: ctx.now(), r"ctx.now\(\), .* give their answers without"),
        (lambda ctx: workflow("other")(helper), "helper itself at .*`yield from helper.ctx, "),
        (lambda ctx: Later(), "yielded an awaitable at .*Fix: run it as a step: `yield ctx.step"),
    ],
)
def test_yielding_what_is_meant_otherwise_names_what_to_write(value: Any, hint: str) -> None:
    @workflow
    def wrong(ctx: Context) -> Any:
        yield value(ctx)

    error = failing(wrong)
    assert isinstance(error, NotACommand)
    assert re.search(hint, str(error))


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


class Form(TypedDict):
    name: str


class Named(Protocol):
    name: str


@pytest.mark.parametrize(
    ("expected", "fits", "wrong"),
    [
        (int | str, "x", 1.5),
        (Optional[int], None, "x"),  # noqa: UP045
        (list[int] | None, [1], (1,)),
        (float | None, 3, True),
        (Form, {"name": "x"}, "x"),
        (Named, object(), None),
        (Any, object(), None),
        (dict[str, Any] | list[Any], {}, ()),
    ],
)
def test_payloads_are_checked_against_unions_and_what_has_no_instances(expected: Any, fits: Any, wrong: Any) -> None:
    for kind in (Signal, Event):
        definition = kind("form", expected)
        definition.check(fits)
        if wrong is not None:
            with pytest.raises((TypeError, ValueError), match=r"'form' carries .* Fix:"):
                definition.check(wrong)


def test_the_name_of_a_type_and_a_version_that_is_none_are_refused() -> None:
    for kind in (Signal, Event):
        with pytest.raises(TypeError, match=r"not its name 'Form'. Fix:"):
            kind("form", "Form")  # type: ignore[arg-type]
    for version in (None, True, 2.5, b"2"):
        with pytest.raises(TypeError, match=r"version=. takes .* Fix:"):
            workflow(version=version)(helper)  # type: ignore[arg-type]
    assert [workflow(version=version)(helper).version for version in ("", 2, "1.2+b")] == ["", "2", "1.2+b"]


def test_a_signal_is_declared_with_one_type() -> None:
    with pytest.raises(TypeError, match=r"'go' with two types, int and str\. Fix"):

        @workflow(signals=[Signal("go", int), Signal("go", str)])
        def undecided(ctx: Context) -> Any:
            yield ctx.wait_for_signal("go")


@pytest.mark.parametrize("limit", ["2", 0, 1.5, True])
def test_the_limit_of_a_queue_is_a_whole_number(limit: Any) -> None:
    with pytest.raises(ConfigError, match=r"queues: the limit of 'mail' is a whole number of at least 1"):
        Engine("memory://", queues={"mail": limit}).close()


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


def test_a_zero_timeout_is_refused_at_definition_and_start() -> None:
    with pytest.raises(ValueError, match="more than 0 seconds"):
        workflow(timeout=0)(taker.fn)
    with Engine("memory://", workflows=[taker]) as engine, pytest.raises(ValueError, match="more than 0 seconds"):
        engine.start(taker, timeout=0)


def test_a_change_id_may_hold_blanks() -> None:
    @workflow
    def changed(ctx: Context) -> Any:
        yield ctx.note("x")
        return ctx.patched("charge twice, refund once")

    with Simulation([changed]) as sim:
        handle = sim.start(changed)
        sim.run()
        assert handle.result() is True


@workflow
def taker(ctx: Context) -> Any:
    yield ctx.note("x")
