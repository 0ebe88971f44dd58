"""The fast replay path and the recorder's short cut do what the general ways do (invariant I6)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from replay import Context, workflow
from replay.client.histories import Recorded
from replay.codec import TaggedJson
from replay.core import entries as e
from replay.core import interpreter as interpreters
from replay.core import requests as r
from replay.core.cursor import LogCursor
from replay.core.effects import StartSteps, Wait, WakeUp
from replay.core.errors import NonDeterminism, NotSerializable
from replay.core.interpreter import Interpreter
from replay.core.patches import Patches
from replay.core.progress import current
from replay.core.recorder import Recorder
from replay.core.session import Session
from replay.core.settings import SessionSettings
from replay.testing.checks.recovery import record
from replay.worker.sources import make_context
from tests.budgets import examples
from tests.sim.programs import double, inboxes, program, programs
from tests.sim.test_programs import simulate

CODEC = TaggedJson()
CODEC.trust("tests")
SETTINGS = settings(
    max_examples=examples(60), deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def replayed(recorded: Recorded, rows: Sequence[bytes], *, fast: bool, definition: Any = program) -> dict[str, Any]:
    """Replay *rows* as a session does; return all that can be seen of it."""
    header, cursor = recorded.header, LogCursor()
    patches = Patches(rows, CODEC.decode_rows, cursor)
    input = CODEC.decode(header.input)
    interpreter = Interpreter(
        lambda ctx: definition.generator(ctx, input),
        make_context(header, patches.answer),
        cursor=cursor,
        digest=CODEC.digest,
    )
    error: NonDeterminism | None = None
    try:
        if fast:
            interpreter.feed_log(list(rows), CODEC.decode_rows)
        else:
            for row in CODEC.decode_rows(rows):
                interpreter.feed(row)
    except NonDeterminism as raised:
        error = raised
    outcome = interpreter.outcome
    seen = {
        "error": error and (str(error), error.index),
        "outcome": outcome and (outcome.status, outcome.value, repr(outcome.error)),
        "position": interpreter.position,
        "now": interpreter.context.now(),
        "fibers": [(n, f.id, type(f.wait).__name__, f.prefix) for n, f in sorted(interpreter.fibers.items())],
        "current": current(interpreter, 0),
        "patches asked": patches.new,
        "children": dict(interpreter.children),
        "warnings": interpreter.warnings,
        "void": interpreter.entries_to_void(outcome.error if outcome else None, CODEC.decode_rows(rows)),
    }
    interpreter.close()
    return seen


def next_entries(recorded: Recorded, rows: Sequence[bytes]) -> list[Any]:
    """Visit an execution whose log is *rows*; return the commits and calls of the visit's beginning."""
    header = msgspec.structs.replace(
        recorded.header,
        status="running",
        token="t",
        length=len(rows),
        result=None,
        error=None,
        ended_at=None,
        attempt=1,
    )
    settings = SessionSettings(CODEC, make_context, lambda: 0.5)
    claimed = r.Claimed(header, ())
    session = Session(claimed, program, settings)
    visit, reply, found, waits = session.run(claimed, 1e9), None, list[Any](), 0
    while True:
        try:
            effect = visit.send(reply)
        except StopIteration:
            session.close()  # it may be parked, and nobody keeps it
            return found
        reply = None
        match effect:
            case r.Load():
                reply = list(rows)
            case r.Commit():
                found.append((effect.entries, effect.then, effect.current, effect.creates))
                reply = r.Committed(1e9, parked=not isinstance(effect.then, r.KeepLease))
            case StartSteps():
                found.append([(call.id, call.token, call.args, call.attempt) for call in effect.calls])
            case Wait():
                reply, waits = WakeUp(1e9, drain=True), waits + 1
                if waits > 5:  # it waits for calls, which nobody runs here
                    visit.close()
                    session.close()
                    return found
            case _:
                pass


def slow(_scheduler: Any, _cursor: Any, _digest: Any, _rows: Any, index: int) -> int:
    """Stand for the fast path: leave all to the general way."""
    return index


@SETTINGS
@given(programs, inboxes)
def test_the_fast_path_leaves_every_prefix_of_a_log_as_the_general_way_does(nodes: Any, inbox: dict[str, int]) -> None:
    with simulate(nodes, inbox) as sim:
        recorded = record(sim, "x-1")
    for upto in range(len(recorded.rows) + 1):
        rows = recorded.rows[:upto]
        assert replayed(recorded, rows, fast=True) == replayed(recorded, rows, fast=False)


@settings(SETTINGS, max_examples=examples(30))
@given(programs, inboxes, st.data())
def test_a_session_goes_on_with_the_same_entries_after_either_way(
    nodes: Any, inbox: dict[str, int], data: st.DataObject
) -> None:
    with simulate(nodes, inbox) as sim:
        recorded = record(sim, "x-1")
    rows = recorded.rows[: data.draw(st.integers(0, len(recorded.rows)))]
    fast = next_entries(recorded, rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpreters, "feed_plain_steps", slow)
        assert fast == next_entries(recorded, rows)


@settings(SETTINGS, max_examples=examples(30))
@given(programs, inboxes, st.data())
def test_the_fast_path_refuses_a_log_that_does_not_fit_as_the_general_way_does(
    nodes: Any, inbox: dict[str, int], data: st.DataObject
) -> None:
    with simulate(nodes, inbox) as sim:
        recorded = record(sim, "x-1")
    decoded = CODEC.decode_rows(recorded.rows)
    steps = [index for index, row in enumerate(decoded) if row[0] == "StepDone"]
    assume(steps)
    index = data.draw(st.sampled_from(steps))
    place, value = data.draw(st.sampled_from([(3, "other"), (2, 7), (4, "another result"), (5, 1), (0, "Noted")]))
    decoded[index][place] = value
    if place == 0:
        decoded[index] = [*decoded[index][:4], "text", {}]
    rows = [CODEC.encode(row) for row in decoded]
    assert replayed(recorded, rows, fast=True) == replayed(recorded, rows, fast=False)


@workflow("ids")
def ids(ctx: Context, names: list[Any]) -> Any:
    """Yield a step under each of *names*, and go on after a refusal."""
    seen = []
    for name in names:
        if name == "forgotten":
            ctx.step(name, double, 1)
        try:
            seen.append((yield ctx.step(name, double, 1)))
        except Exception as error:
            seen.append(type(error).__name__)
        if name == "patched":
            seen.append(ctx.patched("change"))
        if name == "exit":
            raise SystemExit
        if name == "differs":
            raise NonDeterminism("of the user's own")
    return seen


NAMES = ["a", "a#2", "a#3", "r", "_x", "__x", "rollback:a", "", "x" * 201, 7, "patched", "exit", "forgotten", "differs"]


@settings(SETTINGS, max_examples=examples(150))
@given(st.lists(st.sampled_from(NAMES), max_size=8), st.integers(0, 9))
@example(["a", "forgotten", "a", "a"], 9)
@example(["a", "a", "a#2", "a#3", "r", "_x"], 9)
@example(["a", "rollback:a", "rollback:a"], 9)
@example(["a", "differs", "a"], 9)
@example(["a", "exit", "a"], 9)
def test_the_fast_path_numbers_and_refuses_ids_as_the_general_way_does(names: list[Any], cut: int) -> None:
    header = r.Header("x-1", "ids", "", "default", "running", CODEC.encode(names), 0.0, 0.0)
    rows = [["Began", 1.0, 0, "", "w", 1]]
    while True:  # as the code wants it, in the general way
        interpreter = Interpreter(lambda ctx: ids.generator(ctx, names), make_context(header, lambda change: False))
        try:
            for row in rows:
                interpreter.feed(row)
        except NonDeterminism:
            break
        wanted = interpreter.root.id if interpreter.root.wait is not None else None
        interpreter.close()
        if wanted is None:
            break
        rows.append(["StepDone", 1.0 + len(rows), 0, wanted, 2, None, 1, 0.0])
    stored = [CODEC.encode(row) for row in rows][: cut + 1]
    recorded = Recorded(header, stored)
    assert replayed(recorded, stored, fast=True, definition=ids) == replayed(
        recorded, stored, fast=False, definition=ids
    )


@pytest.mark.parametrize("index", [1, 2, 3])
@pytest.mark.parametrize(("place", "value"), [(3, "other"), (2, 7), (4, "another result"), (5, 1), (0, "Noted")])
def test_each_difference_between_log_and_code_is_treated_alike_in_both_ways(index: int, place: int, value: Any) -> None:
    header = r.Header("x-1", "ids", "", "default", "running", CODEC.encode(["a", "b", "c"]), 0.0, 0.0)
    digest = CODEC.digest((1,), {})
    rows: list[list[Any]] = [["Began", 1.0, 0, "", "w", 1]]
    rows += [["StepDone", 2.0, 0, id, 2, digest, 1, 0.0] for id in ("a", "b", "c")]
    rows[index][place] = value
    if place == 0:
        rows[index] = [*rows[index][:4], "text", {}]
    stored = [CODEC.encode(row) for row in rows]
    recorded = Recorded(header, stored)
    seen = replayed(recorded, stored, fast=True, definition=ids)
    assert seen == replayed(recorded, stored, fast=False, definition=ids)
    assert (seen["error"] is not None) == (place in (0, 2, 3))
    assert len(seen["warnings"]) == (place == 5)


def test_a_step_that_once_was_retried_is_replayed_alike_in_both_ways() -> None:
    """Its policy has been taken out of the code since."""
    header = r.Header("x-1", "ids", "", "default", "running", CODEC.encode(["a", "b"]), 0.0, 0.0)
    rows: list[list[Any]] = [["Began", 1.0, 0, "", "w", 1], ["StepRetried", 2.0, 0, "a", None, 1, 3.0, 0.0]]
    rows += [["StepDone", 4.0, 0, id, 2, None, 2, 0.0] for id in ("a", "b")]
    stored = [CODEC.encode(row) for row in rows]
    recorded = Recorded(header, stored)
    seen = replayed(recorded, stored, fast=True, definition=ids)
    assert seen == replayed(recorded, stored, fast=False, definition=ids)
    assert seen["outcome"][:2] == ("completed", [2, 2])


# --- the recorder's short cut -----------------------------------------------------------------------------------------

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(max_size=20) | st.datetimes(),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
INSTANTS = st.floats(0, 1e11, allow_nan=False)


class Listening:
    """Stands for an interpreter: takes what it is fed."""

    def feed_entry(self, entry: e.Fact) -> None:
        self.fed = entry


@settings(SETTINGS, max_examples=examples(200))
@given(
    at=INSTANTS,
    fiber=st.integers(0, 10**6),
    id=st.text(min_size=1),
    value=VALUES,
    digest=st.none() | st.integers(0, 2**53),
    attempts=st.integers(1, 10**6),
    seconds=INSTANTS,
)
@pytest.mark.parametrize("codec", [TaggedJson(), TaggedJson("json")], ids=["default", "json"])
def test_a_result_recorded_by_hand_is_the_row_that_the_codec_writes(
    codec: TaggedJson, at: float, fiber: int, id: str, value: Any, digest: int | None, attempts: int, seconds: float
) -> None:
    try:
        data = codec.encode(value)
        entry = e.StepDone(at, fiber, id, codec.decode(data), digest, attempts, seconds)
        general = codec.encode(e.to_row(entry))
    except NotSerializable:
        assume(False)
    header = r.Header("x-1", "w", "", "default", "running", b"null", 0.0, 0.0)
    listening: Any = Listening()
    recorder = Recorder(header, listening, SessionSettings(codec, make_context, lambda: 0.5))
    recorder.step_done(entry, data)
    (by_hand,) = recorder.entries
    assert listening.fed is entry
    (first,), (second,) = codec.decode_rows([by_hand]), codec.decode_rows([general])
    assert repr(e.from_row(first)) == repr(e.from_row(second)) == repr(entry)
