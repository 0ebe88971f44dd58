"""`AsyncEngine`: the client's verbs as coroutines. It wraps an `Engine`, and never blocks the loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

import attrs

from replay.async_engine.ends import Ends
from replay.async_engine.handles import AsyncHandle, ExecutionRef, async_id_of
from replay.async_engine.requests import Requests
from replay.client.handles import StartResult
from replay.client.records import Detail, Page, Status, execution_of
from replay.client.records import Execution as ExecutionRecord
from replay.client.starting import begins_after
from replay.core import requests as r
from replay.core.errors import ConfigError, StoreUnavailable, UnknownExecution
from replay.core.times import duration, instant
from replay.definition import Signal, Workflow
from replay.engine import Engine
from replay.ports import Store

P = ParamSpec("P")
T = TypeVar("T")
In = TypeVar("In")
Out = TypeVar("Out")


@attrs.frozen
class _OnLoop:
    """The parts that belong to one event loop."""

    requests: Requests
    ends: Ends


class AsyncEngine:
    """Starts, signals, waits for and inspects executions from coroutines. `run` covers all else that an `Engine` can.

    Requests of one turn of the loop are one call of the store: a hundred concurrent `start`s are one commit. Waiting holds no
    thread. Cancelling a coroutine that waits never cancels the execution.

    Args:
        engine: An `Engine`, or the store of a new one, which `aclose` closes.
        options: Options of the new engine.

    It may be made before there is a loop, and used from several, one after the other or at once.

    Example:
        async with AsyncEngine("redis://localhost:6379/0", workflows=[approve_order]) as engine:
            handle = await engine.start(approve_order, order)
            outcome = await handle.result(timeout=30)
    """

    def __init__(self, engine: Engine | str | Store, **options: Any) -> None:
        if isinstance(engine, Engine):
            if options:
                raise ConfigError(f"options ({', '.join(options)}) are the Engine's. Fix: pass them to it")
            self.engine, self._owns = engine, False
        else:
            self.engine, self._owns = Engine(engine, **options), True
        self._loops: dict[asyncio.AbstractEventLoop, _OnLoop] = {}
        self._closed = False

    # --- starting --------------------------------------------------------------------------------------------

    async def start(
        self,
        workflow: Workflow[In, Out] | str,
        input: In | None = None,
        *,
        idempotency_key: str | None = None,
        timeout: Any = None,
        id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        priority: int | None = None,
    ) -> AsyncHandle[Out]:
        """Start an execution. It is durable when this returns. See `Engine.start` for the arguments and what it raises."""
        return await self._start(
            self.engine.make_create(
                workflow,
                input,
                idempotency_key=idempotency_key,
                timeout=timeout,
                id=id,
                metadata=metadata,
                priority=priority,
            )
        )

    async def schedule(
        self,
        workflow: Workflow[In, Out] | str,
        input: In | None = None,
        *,
        at: Any = None,
        delay: Any = None,
        **options: Any,
    ) -> AsyncHandle[Out]:
        """Start an execution at an instant (*at*) or after a duration (*delay*). See `Engine.schedule`."""
        wait = begins_after(at, delay)
        when = instant(at, "schedule(at=)") if wait is None else await self.ping() + wait
        return await self._start(self.engine.make_create(workflow, input, at=when, **options))

    async def start_and_wait(
        self,
        workflow: Workflow[In, Out] | str,
        input: In | None = None,
        *,
        wait_timeout: Any = None,
        **options: Any,
    ) -> StartResult[Out]:
        """Start an execution and wait up to *wait_timeout* for its result. See `Engine.start_and_wait`."""
        handle = await self.start(workflow, input, **options)
        return StartResult(handle.id, await handle.result(wait_timeout))

    async def _start(self, create: r.Create) -> AsyncHandle[Any]:
        self.engine.check_created(create, await self._ask(create))
        return AsyncHandle(self, create.id)

    # --- messages --------------------------------------------------------------------------------------------

    async def signal(
        self,
        execution: ExecutionRef,
        signal: Signal[T] | str,
        payload: T | None = None,
        *,
        dedupe_id: str | None = None,
    ) -> None:
        """Send a signal. It is stored when this returns. See `Engine.signal`."""
        request = self.engine.make_signal(async_id_of(execution), signal, payload, dedupe_id=dedupe_id)
        if self.engine.lists_signals:
            self.engine.check_signal(await self._header(request.id), request.name, payload)
        await self._ask(request)

    async def cancel(self, execution: ExecutionRef, reason: str | None = None) -> None:
        """Ask an execution to stop. See `Engine.cancel`."""
        await self._ask(self.engine.make_cancel(async_id_of(execution), reason))

    # --- waiting and inspecting --------------------------------------------------------------------------------

    async def wait(self, execution: ExecutionRef, timeout: Any = None) -> Any:
        """Wait until an execution ends and return its result. It holds no thread.

        Raises:
            TimeoutError: It did not end within *timeout* (seconds or `timedelta`); it runs on.
            ExecutionFailed, ExecutionCancelled: It ended without a result.
            UnknownExecution: There is no such execution.
            StoreUnavailable: The store cannot be reached when the wait begins, or this engine was closed during it.
            Undecodable: Its result is of a class that is not known in this process.
        """
        id = async_id_of(execution)
        limit = None if timeout is None else duration(timeout, "wait(timeout=)")
        header = await self._on_loop().ends.wait(id, limit)
        if header is None:
            raise TimeoutError(f"execution {id!r} did not end within {limit:g} s; it runs on. Wait again, or cancel it")
        return self.engine.result_of(header)

    async def get_execution(self, execution: ExecutionRef) -> ExecutionRecord:
        """Return the current state of an execution. Raises `UnknownExecution`."""
        return execution_of(await self._header(async_id_of(execution)), self.engine.codec)

    async def find_executions(self, **filters: Any) -> Page[ExecutionRecord]:
        """Return a page of executions that match all given filters. See `Engine.find_executions`."""
        return await self.run(self.engine.find_executions, **filters)

    async def count_executions(self, *, workflow: Workflow[Any, Any] | str | None = None) -> dict[Status, int]:
        """Return the number of executions by status."""
        return await self.run(self.engine.count_executions, workflow=workflow)

    async def detail(self, execution: ExecutionRef) -> Detail:
        """Return an execution with its steps and its audit trail. See `Engine.detail`."""
        return await self.run(self.engine.detail, async_id_of(execution))

    async def ping(self) -> float:
        """Return the store's time, seconds since the epoch: it answers. Raises `StoreUnavailable`."""
        return await self._ask(r.Ping())

    async def run(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run any blocking call, such as a method of `engine` or its operator, in a thread: `await engine.run(operator.retry, id)`."""
        self._check_open()
        return await asyncio.to_thread(call, *args, **kwargs)

    @property
    def waits(self) -> int:
        """Number of executions that coroutines wait for now."""
        return sum(parts.ends.count for parts in self._loops.values())

    # --- closing ------------------------------------------------------------------------------------------------

    async def aclose(self) -> None:
        """End the waits of all loops with `StoreUnavailable`, and close the engine if it was made here."""
        if self._closed:
            return
        self._closed = True
        self._forget_closed_loops()
        running = asyncio.get_running_loop()
        for loop, parts in self._loops.items():
            if loop is running:
                _close(parts)
            else:
                loop.call_soon_threadsafe(_close, parts)
        if self._owns:
            await asyncio.to_thread(self.engine.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    # --- requests -----------------------------------------------------------------------------------------------

    async def _ask(self, request: r.Request[T]) -> T:
        return await self._on_loop().requests.ask(request)

    async def _header(self, id: str) -> r.Header:
        header = await self._ask(r.Get(id))
        if header is None:
            raise UnknownExecution(
                f"no execution {id!r} in namespace {self.engine.namespace!r}. Fix: check the id, the store and the namespace"
            )
        return header

    def _on_loop(self) -> _OnLoop:
        self._check_open()
        loop = asyncio.get_running_loop()
        found = self._loops.get(loop)
        if found is None:
            self._forget_closed_loops()
            requests = Requests(self.engine)
            found = self._loops[loop] = _OnLoop(requests, Ends(self.engine, requests))
        return found

    def _forget_closed_loops(self) -> None:
        for loop in [loop for loop in self._loops if loop.is_closed()]:
            self._loops.pop(loop).requests.close()

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable(
                "this engine is closed. Fix: go on with one that is open; what was started is stored"
            )


def _close(parts: _OnLoop) -> None:
    parts.ends.close()
    parts.requests.close()
