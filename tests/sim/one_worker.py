"""One worker over a memory store, under a virtual clock: the test says when it turns, and when each step returns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from replay.backends.memory import MemoryStore
from replay.codec import TaggedJson
from replay.core import requests as r
from replay.core.effects import Call
from replay.ports import Codec
from replay.testing.simulation.clock import VirtualClock
from replay.worker import Worker
from replay.worker.options import WorkerOptions
from replay.worker.steps import run_call
from replay.worker.turns import NewMessages
from tests.asking import ask


class OneWorker:
    """Args: *beside*: another worker, whose store and clock it shares."""

    def __init__(
        self,
        *workflows: Any,
        store: type[MemoryStore] = MemoryStore,
        beside: OneWorker | None = None,
        codec: Codec | None = None,
        **options: Any,
    ) -> None:
        self.clock = VirtualClock() if beside is None else beside.clock
        self.store = store(self.clock) if beside is None else beside.store
        self.codec = codec if codec is not None else TaggedJson()
        self.codec.trust("tests", *{workflow.fn.__module__ for workflow in workflows})
        self.options = WorkerOptions(**options)
        self.worker = Worker(self.store, workflows, self.options, codec=self.codec, clock=self.clock)

    def create(self, id: str, workflow: str, input: Any = None, *, rows: Sequence[list[Any]] = (), **more: Any) -> None:
        """Create an execution; *rows* are its log."""
        entries = tuple(self.codec.encode(row) for row in rows)
        ask(self.store, r.Create(id, workflow, self.codec.encode(input), entries=entries, **more))

    def turn(self) -> list[Call]:
        """Let the worker do all that can be done now; return the calls to run."""
        calls: list[Call] = []
        self.worker.hint()
        again = True
        while again:
            result = self.worker.turn()
            calls += result.calls
            again = result.again
        return calls

    def returns(self, *calls: Call) -> None:
        """Run *calls*, and leave their results in the worker's inbox."""
        for call in calls:
            self.worker.post(run_call(call, self.codec, self.options.payload_limit))

    def settle(self) -> None:
        """Turn and run steps until nothing more can happen without time passing."""
        while calls := self.turn():
            self.returns(*calls)

    def wait(self, seconds: float) -> None:
        self.clock.move_to(self.clock.now() + seconds)

    def deliver(
        self, id: str, kind: str = "signal", name: str = "go", payload: Any = None, *, notice: bool = False
    ) -> None:
        """Deliver a message; *notice*: the worker, which holds the lease, is notified."""
        message_id = f"{kind}-{self.clock.now()}"
        ask(self.store, r.Deliver(id, message_id, kind, name if kind != "cancel" else "", self.codec.encode(payload)))  # type: ignore[arg-type]
        if notice:
            self.worker.post(NewMessages(id))

    def header(self, id: str) -> r.Header:
        header: r.Header = ask(self.store, r.Get(id))
        return header

    def status(self, id: str) -> str:
        return self.header(id).status

    def result(self, id: str) -> Any:
        header = self.header(id)
        assert header.status == "completed", (header.status, header.error, header.current)
        return self.codec.decode(header.result or b"null")

    def error(self, id: str) -> Any:
        header = self.header(id)
        assert header.error is not None, header.status
        return self.codec.decode(header.error)

    def log(self, id: str) -> list[list[Any]]:
        """Return the rows of the log."""
        return self.codec.decode_rows(ask(self.store, r.Load(id)))
