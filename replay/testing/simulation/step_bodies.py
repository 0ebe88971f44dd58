"""Step bodies in a simulation: a stub or the real body runs at once, its result arrives in virtual time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NoReturn

from replay.core.effects import Call, Returned
from replay.core.interrupts import steers_a_test
from replay.core.requests import Load
from replay.engine import Engine
from replay.ports import Codec
from replay.testing.simulation.effects import EffectWatch
from replay.testing.simulation.faults import Crash
from replay.testing.simulation.stubs import Hangs, KitRefusal, Takes
from replay.testing.simulation.timeline import short
from replay.worker import Worker
from replay.worker.steps import run_call


def run_body(
    call: Call, stand_in: Callable[[], Any], codec: Codec, payload_limit: int, now: float, watch: EffectWatch | None
) -> tuple[Returned, float | None]:
    """Run *stand_in* as the body of *call*. If it is the real body, *watch* looks at its effects.

    Returns:
        The result, and the virtual instant at which it arrives: 0.0 for at once, None for never.
    """
    original = call.fn
    arrives: float | None = 0.0

    def body(*args: Any, **kwargs: Any) -> Any:
        nonlocal arrives
        call.fn = original if watch is None else watch.around(call, original)
        found = stand_in()
        if isinstance(found, Takes):
            arrives = now + found.seconds
            return found.value
        return found

    call.fn = body
    try:
        returned = run_call(call, codec, payload_limit, waiting=_refuse)
    finally:
        call.fn = original
    if returned.error is not None and _ends_the_test(returned.error):
        raise returned.error
    if isinstance(returned.error, Hangs):
        arrives = None
    # Zero seconds of real time: the trace must not depend on the machine.
    return Returned(call, returned.value, returned.data, returned.error, 0.0, returned.final), arrives


def _refuse(call: Call, execution_id: str) -> NoReturn:
    raise KitRefusal(
        f"step {call.id!r} waits for execution {execution_id!r}, but nothing else runs during a step of a simulation. "
        f"Fix: stub the step, or `yield from ctx.child(...)` in the workflow"
    )


def _ends_the_test(error: BaseException) -> bool:
    return isinstance(error, Crash | KitRefusal | KeyboardInterrupt) or steers_a_test(error)


class LaunchRules:
    """Rules for starting a step (invariant I8): the same arguments each time, and no start after the result is recorded."""

    def __init__(self, engine: Engine, *, zombies: bool) -> None:
        self._engine = engine
        self._zombies = zombies
        self._first: dict[tuple[str, int], Call] = {}  # the first start of each step

    def violations(self, worker: Worker, call: Call) -> Iterator[str]:
        """Yield each rule that starting *call* on *worker* breaks."""
        session = next((s for s in worker.sessions() if s.id == call.execution_id), None)
        if session is None:
            return  # the lease is lost, so the step's result will be refused
        first = self._first.setdefault((call.token, session.header.amendments), call)
        if first.digest != call.digest:
            fiber = session.interpreter.fibers.get(call.fiber) if session.interpreter is not None else None
            place = fiber.where() if fiber is not None else ""
            yield (
                f"step {call.id!r} is run again with other arguments, ({_arguments(call)}) instead of ({_arguments(first)})"
                f"{f', at {place}' if place else ''}: they depend on something besides the log"
            )
        # A zombie may start a step that another worker has recorded: its result is refused.
        if not self._zombies and not session.header.amendments and self._is_recorded(call):
            yield f"step {call.id!r} runs although its result is recorded"

    def _is_recorded(self, call: Call) -> bool:
        mark = f'"{call.id}"'.encode()
        log = self._engine.ask(Load(call.execution_id))
        rows = [row for row in log if row.startswith(b'["StepDone"') and mark in row]
        return bool(rows) and any(row[3] == call.id for row in self._engine.codec.decode_rows(rows))


def _arguments(call: Call) -> str:
    return ", ".join([*map(short, call.args), *(f"{name}={short(value)}" for name, value in call.kwargs.items())])
